r"""The page of one family's reference code: for each public name its mathematics, then the code."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

from known import Known, Package, is_code
from plain_text import examples, flat, inline, literal, prose, sections, title
from source_code import show_object

__all__ = ["reference_page"]

_FIELD = re.compile(r"^(Paper|Papers|Claims|Differs|Source|Sources):\s*", re.MULTILINE)


def reference_page(known: Known, package: Package, folder: Path) -> str:
    """The whole page as reST, file by file."""
    parts = [
        title(f"{known.title(package.name)}: the code", "="),
        prose(inspect.getdoc(package.module) or "", known.link),
    ]
    if package.name in known.families:
        parts.append(f"What is claimed of it: :doc:`/families/{package.name}`.\n")
    things = known.objects(package)
    files: dict[str, list[str]] = {}
    for name, thing in things.items():
        files.setdefault(_module(thing, package), []).append(name)
    for module, names in sorted(files.items()):
        parts += [title(literal(module.replace(".", "/") + ".py"), "-"), _about(known, module)]
        for name in names:
            parts += [
                f".. anchor:: reference.{package.name}.{name}\n",
                title(literal(name), "~"),
                explained(known, inspect.getdoc(things[name]) or "")
                if is_code(things[name])
                else "",
                show_object(things[name], folder, docstring=False),
            ]
    return "\n".join(parts)


def _module(thing: Any, package: Package) -> str:
    name = getattr(thing, "__module__", None) if is_code(thing) else None
    return name if name and name.startswith("reference") else package.module.__name__


def _about(known: Known, module: str) -> str:
    import importlib

    found = importlib.import_module(module)
    return "" if hasattr(found, "__path__") else prose(inspect.getdoc(found) or "", known.link)


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
