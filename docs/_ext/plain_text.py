r"""Turns sentences and docstrings of the code into reST that cannot be misread as markup.

What is kept: ````code````, ```code```, roles such as ``:math:`...```, addresses, ``.. math::`` and
``.. code-block::``, lists with ``-`` or ``*``. Every other character stands for itself.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator

__all__ = [
    "blocks",
    "examples",
    "first_sentence",
    "flat",
    "indent",
    "inline",
    "literal",
    "prose",
    "sections",
    "title",
]

Link = Callable[[str], str | None]

_MARKUP = re.compile(
    r"``(?P<code>.+?)``"
    r"|:math:`(?P<math>[^`]+)`"
    r"|:[a-z:]+:`(?P<role>[^`]+)`"
    r"|`(?P<single>[^`]+)`(?:__?)?"
    r"|(?P<url>https?://[^\s<>\"\\]*[^\s<>\"\\.,;:)\]])",
    re.DOTALL,
)
_SPECIAL = re.compile(r"([\\*`_|<>\[\]{}])")
_STARTERS = "-+.(:=#~^\"'!,;/&%$@?•"  # what could start a list, a field or a line of a title
_BLOCK = re.compile(r"^\.\. (math|code-block)::[ ]*(.*)$")
_DETAILS = re.compile(
    r"^(Args|Arguments|Returns|Raises|Yields|Example|Examples|Note|Notes):\s*$|^>>> "
)
_ITEM = re.compile(r"^[-*] +")


def flat(text: str) -> str:
    """The words of ``text`` on one line."""
    return " ".join(text.split())


def indent(text: str, by: int = 3) -> str:
    return textwrap.indent(text, " " * by)


def literal(code: str) -> str:
    """``code`` as inline code."""
    return f"``{flat(code)}``" if "`" not in code and code.strip() else _escaped(code)


def _escaped(text: str) -> str:
    return re.sub(r":(?=:)|:$", r"\:", _SPECIAL.sub(r"\\\1", text))


def _marked(match: re.Match[str], link: Link | None) -> str:
    kind, content = match.lastgroup, flat(match.group(match.lastgroup or 0))
    if kind == "url":
        return f"`{_escaped(content)} <{content}>`__"
    if kind == "math":
        return f":math:`{content}`"
    if kind == "role":
        content = content.rpartition("<")[2].removesuffix(">").lstrip("~!").rpartition(".")[2]
    return (link(content) if link else None) or literal(content)


def inline(text: str, link: Link | None = None) -> str:
    """One line of reST; ``link`` may turn a piece of code into a reference."""
    text, parts, end = flat(text), [], 0
    for match in _MARKUP.finditer(text):
        parts += [_escaped(text[end : match.start()]), rf"\ {_marked(match, link)}\ "]
        end = match.end()
    line = "".join([*parts, _escaped(text[end:])]).strip(" ").removeprefix("\\ ")
    if parts and end == len(text):
        line = line.removesuffix("\\")
    return "\\" + line if line and (line[0].isalnum() or line[0] in _STARTERS) else line


def title(text: str, mark: str) -> str:
    """A section title; ``text`` is reST."""
    return f"{text}\n{mark * (len(text) + 4)}\n"


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """Pieces of a docstring as ``(kind, content)``; kind is ``text`` or the name of a directive."""
    lines = text.splitlines()
    while lines:
        if not lines[0].strip():
            lines.pop(0)
            continue
        start = _BLOCK.match(lines[0])
        taken = [lines.pop(0)]
        if start:
            while lines and (not lines[0].strip() or lines[0].startswith(" ")):
                taken.append(lines.pop(0))
            first = [start[2]] if start[1] == "math" and start[2] else []
            body = "\n".join([*first, textwrap.dedent("\n".join(taken[1:])).strip("\n")])
            kind = start[1] if start[1] == "math" else f"code-block {start[2] or 'text'}"
            yield kind, body
        else:
            while lines and lines[0].strip() and not _BLOCK.match(lines[0]):
                taken.append(lines.pop(0))
            yield "text", "\n".join(taken)


def _paragraph(text: str, link: Link | None) -> Iterator[str]:
    """A paragraph, a list, or a picture: lines that are indented as a whole."""
    lines = text.splitlines()
    if all(line.startswith("    ") for line in lines):
        yield ".. code-block:: text\n\n" + indent(textwrap.dedent(text))
    elif _ITEM.match(lines[0]):
        items: list[str] = []
        for line in lines:
            if _ITEM.match(line):
                items.append(_ITEM.sub("", line))
            else:
                items[-1] += " " + line.strip()
        yield "\n".join(f"- {inline(item, link)}" for item in items)
    else:
        yield inline(text, link)


def prose(text: str, link: Link | None = None) -> str:
    """The part of a docstring that explains: up to its arguments, results and examples."""
    parts: list[str] = []
    for kind, content in blocks(text):
        if kind != "text":
            name, _, option = kind.partition(" ")
            parts.append(f".. {name}:: {option}".rstrip() + "\n\n" + indent(content))
            continue
        lines = content.splitlines()
        stop = next((i for i, line in enumerate(lines) if _DETAILS.match(line)), len(lines))
        if stop:
            parts += (
                _paragraph("\n".join(lines[:stop]).rstrip(":"), link)
                if content.rstrip().endswith("::")
                else _paragraph("\n".join(lines[:stop]), link)
            )
        if stop < len(lines):
            break
    return "\n\n".join(parts) + "\n"


def sections(doc: str) -> Iterator[tuple[str, list[str]]]:
    """``Args``, ``Returns`` and ``Raises`` of a docstring, each with its items."""
    for match in re.finditer(
        r"^(Args|Returns|Raises|Yields):\n((?:    .*\n?|\n(?=    ))+)", doc, re.MULTILINE
    ):
        items: list[str] = []
        for line in textwrap.dedent(match[2]).splitlines():
            if line[:1].strip() and (match[1] in ("Args", "Raises") or not items):
                items.append(line)
            elif line.strip():
                items[-1] += " " + line.strip()
        yield (
            {"Args": "Takes", "Yields": "Gives", "Returns": "Returns"}.get(match[1], match[1]),
            items,
        )


def examples(doc: str) -> str:
    """The doctests of a docstring as one block."""
    found = re.findall(r"^[ ]*>>> .*(?:\n(?![ ]*$).*)*", doc, re.MULTILINE)
    text = "\n".join(textwrap.dedent(block) for block in found)
    return ".. code-block:: pycon\n\n" + indent(text) + "\n" if found else ""


def first_sentence(text: str) -> str:
    """The first sentence of a docstring, without its full stop."""
    paragraph = flat(text.strip().split("\n\n")[0]) if text.strip() else ""
    return re.split(r"(?<=[.:;])\s", paragraph)[0].rstrip(".:; ")
