r"""A page for each file of reference code: for each public name its mathematics, then the code."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from claim_page import crumbs
from known import Known, Module, Package, is_code
from plain_text import examples, first_sentence, flat, inline, literal, prose, sections, title
from source_code import show_object

__all__ = ["module_page", "package_page"]

_FIELD = re.compile(r"^(Paper|Papers|Claims|Differs|Source|Sources):\s*", re.MULTILINE)


def package_page(known: Known, package: Package) -> str:
    """What a package holds, file by file, as reST."""
    parts = [
        title(f"{known.title(package.name)}: the code", "="),
        prose(inspect.getdoc(package.module) or "", known.link),
    ]
    if package.name in known.families:
        parts.append(f"What is claimed of it: :doc:`/families/{package.name}`.\n")
    for module in known.modules(package):
        says = inline(first_sentence(inspect.getdoc(module.module) or "")).removeprefix(chr(92))
        names = ", ".join(link for n in module.public if (link := known.reference(n)))
        place = f"/reference/{package.name}/{module.name}"
        parts.append(f"- :doc:`{module.name}.py <{place}>`: {says}" + (f" ({names})" * bool(names)))
    return "\n".join(parts) + "\n"


def module_page(known: Known, package: Package, module: Module, folder: Path) -> str:
    """One file as reST."""
    parts = [
        ":orphan:\n",
        title(literal(module.path), "="),
        crumbs(known, package.name) if package.name in known.families else "",
        prose(inspect.getdoc(module.module) or "", known.link),
    ]
    for name in module.public:
        thing = getattr(module.module, name)
        parts += [
            f".. anchor:: reference.{package.name}.{name}\n",
            title(literal(name), "-"),
            explained(known, inspect.getdoc(thing) or "") if is_code(thing) else "",
            show_object(thing, folder, docstring=False)
            if is_code(thing)
            else _assigned(module, name),
        ]
    if not module.public:
        parts.append(_whole(module, folder))
    return "\n".join(parts)


def _assigned(module: Module, name: str) -> str:
    """The line that gives a public value its value."""
    lines = inspect.getsource(module.module).splitlines()
    line = next(line for line in lines if re.match(rf"{name}\b.*=", line))
    return f".. code-block:: python\n\n   {line}\n"


def _whole(module: Module, folder: Path) -> str:
    """A file without public names: helpers of its family."""
    import os

    where = os.path.relpath(module.module.__file__ or "", folder)
    return f".. literalinclude:: {where}\n   :language: python\n"


def explained(known: Known, doc: str) -> str:
    """A docstring: text and formulas, then papers, claims, arguments and results, then examples."""
    start = _FIELD.search(doc)
    text, rest = (doc[: start.start()], doc[start.start() :]) if start else (doc, "")
    block, _, after = rest.partition("\n\n")
    pieces = _FIELD.split(block)[1:]
    lines = []
    for label, content in zip(pieces[::2], pieces[1::2], strict=True):
        shown = _claims(known, content) if label == "Claims" else inline(content, known.link)
        lines.append(f":{label}: {shown}")
    for label, items in sections(doc):
        lines += [f":{label}:"] + [f"   | {inline(item, known.link)}" for item in items]
    return "\n\n".join(
        [prose(text, known.link), prose(after, known.link), "\n".join(lines), examples(doc)]
    )


def _claims(known: Known, text: str) -> str:
    ids = [part.strip(" .`") for part in flat(text).split(",")]
    return ", ".join(known.link(id) or inline(id) for id in ids if id)
