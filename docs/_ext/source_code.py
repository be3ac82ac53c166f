r"""Finds where objects are written and includes them: code is shown as it stands, never pasted."""

from __future__ import annotations

import ast
import functools
import inspect
import os
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from plain_text import indent

__all__ = ["WRONG", "names_used", "show", "show_object", "wrong_lines"]

WRONG = "# wrong"  # points at the line of a mutant that is wrong

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@functools.cache
def _tree(path: str) -> ast.Module:
    return ast.parse(Path(path).read_text(encoding="utf-8"))


def _definitions(path: str) -> Iterator[tuple[str, Definition]]:
    """Top-level functions, classes and the methods of classes, by qualified name."""
    for node in _tree(path).body:
        if isinstance(node, Definition):
            yield node.name, node
            for inner in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(inner, Definition):
                    yield f"{node.name}.{inner.name}", inner


def _first_line(node: Definition) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


def _definition(path: str, name: str, line: int) -> tuple[str, Definition] | None:
    """The definition called ``name`` that spans ``line``, or else the outermost one that does."""
    spanning = [
        (key, node)
        for key, node in _definitions(path)
        if not line or _first_line(node) <= line <= (node.end_lineno or 0)
    ]
    named = [(key, node) for key, node in spanning if key == name]
    return next(iter(named or (spanning if line else [])), None)


def _left_out(
    path: str, node: Definition, decorators: tuple[str, ...], docstring: bool
) -> list[range]:
    """The lines of what the page says already: leading ``decorators``, and the docstring."""
    out, end = [], _first_line(node) - 1
    for decorator in node.decorator_list:
        function = decorator.func if isinstance(decorator, ast.Call) else decorator
        if getattr(function, "id", getattr(function, "attr", "")) not in decorators:
            break
        end = decorator.end_lineno or decorator.lineno
    out.append(range(_first_line(node), end + 1))
    first = node.body[0]
    if docstring and ast.get_docstring(node) is not None and len(node.body) > 1:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        end = first.end_lineno or first.lineno
        while end < len(lines) and not lines[end].strip():
            end += 1
        out.append(range(first.lineno, end + 1))
    return out


def _kept(node: Definition, out: list[range]) -> list[tuple[int, int]]:
    """What remains of a definition, as stretches of lines."""
    kept: list[tuple[int, int]] = []
    for line in range(_first_line(node), (node.end_lineno or 0) + 1):
        if any(line in lines for lines in out):
            continue
        if kept and kept[-1][1] == line - 1:
            kept[-1] = (kept[-1][0], line)
        else:
            kept.append((line, line))
    return kept


def _marked(path: str, node: Definition) -> list[int]:
    """The lines of a definition that a comment ``# wrong`` points at: its own, and the next one
    where it stands alone."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    span = range(_first_line(node), (node.end_lineno or 0) + 1)
    return [
        line
        for line in span
        if WRONG in lines[line - 1] or lines[line - 2].strip().startswith(WRONG)
    ]


def wrong_lines(thing: Any) -> list[str]:
    """The marked lines of a mutant, which is a function that may call others of its file."""
    path, node = _node(thing)
    if node is None:
        return []
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return [lines[line - 1].strip() for line in _marked(path, node)]


def _node(thing: Any) -> tuple[str, Definition | None]:
    """The file and the definition of a function or class."""
    thing = inspect.unwrap(thing)
    try:
        path = inspect.getsourcefile(thing) or ""
        line = inspect.getsourcelines(thing)[1]
    except (TypeError, OSError):
        return "", None
    found = _definition(path, thing.__qualname__, line)
    return path, found[1] if found else None


def show(
    path: str,
    name: str,
    line: int,
    folder: Path,
    without: tuple[str, ...] = (),
    docstring: bool = True,
) -> str:
    """A ``literalinclude`` of one definition, for a page in ``folder``.

    Args:
        line: a line of the definition, which tells it from others of the same name; 0 if unknown.
        without: leading decorators that are left out.
        docstring: whether its docstring is shown.
    """
    found = _definition(path, name, line)
    if found is None:
        return _lines(path, line)
    name, node = found
    kept = _kept(node, _left_out(path, node, without, not docstring))
    options = [":language: python"]
    shift = 0
    if [key for key, _ in _definitions(path)].count(name) == 1:
        options.append(f":pyobject: {name}")
        shift = _first_line(node) - 1
    stretches = [f"{first - shift}-{last - shift}" for first, last in kept]
    if shift == 0 or kept != [(_first_line(node), node.end_lineno)]:
        options.append(":lines: " + ",".join(stretches))
    shown = [line for first, last in kept for line in range(first, last + 1)]
    marked = [str(shown.index(line) + 1) for line in _marked(path, node) if line in shown]
    if marked:
        options.append(":emphasize-lines: " + ",".join(marked))
    where = os.path.relpath(path, folder)
    return f".. literalinclude:: {where}\n" + indent("\n".join(options)) + "\n"


def show_object(
    thing: Any, folder: Path, without: tuple[str, ...] = (), docstring: bool = True
) -> str:
    """The same for a function or class itself; its text where it has no definition of its own."""
    thing = inspect.unwrap(thing)
    code = getattr(thing, "__code__", None)
    try:
        path = inspect.getsourcefile(thing) or ""
        line = code.co_firstlineno if code else inspect.getsourcelines(thing)[1]
    except (TypeError, OSError):
        return ""
    return show(path, thing.__qualname__, line, folder, without, docstring) if path else ""


def _lines(path: str, line: int) -> str:
    """The statement that starts at ``line``, for what has no definition: a lambda in a loop."""
    for node in _tree(path).body:
        if node.lineno <= line <= (node.end_lineno or 0):
            text = "\n".join(Path(path).read_text().splitlines()[node.lineno - 1 : node.end_lineno])
            return ".. code-block:: python\n\n" + indent(textwrap.dedent(text)) + "\n"
    return ""


def names_used(thing: Any) -> set[str]:
    """Every name and attribute in the source of a function."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(thing))))
    except (TypeError, OSError, SyntaxError):
        return set()
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return names | {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
