r"""The markup of claims as HTML: formulas become MathML, which browsers set without help.

What claims use: paragraphs, ``:math:`...```, ````code````, and ``.. math::`` blocks.
"""

from __future__ import annotations

import html
import re
import textwrap

from latex2mathml.converter import convert

__all__ = ["display", "prose"]

_PIECE = re.compile(r":math:`([^`]+)`|``(.+?)``|`([^`]+)`", re.DOTALL)


def display(tex: str) -> str:
    """A formula on a line of its own; blank lines separate equations."""
    lines = [part.strip() for part in re.split(r"\n\s*\n", tex.strip())]
    joined = r" \\ ".join(lines)
    if r"\begin" not in joined and (len(lines) > 1 or re.search(r"(?<!\\)&|\\\\", joined)):
        joined = rf"\begin{{aligned}} {joined} \end{{aligned}}"
    return _mathml(joined, "block")


def _mathml(tex: str, display: str) -> str:
    """MathML, or the formula as it is written where it cannot be read."""
    known = tex.replace(r"\arg", r"\operatorname{arg}").replace(r"\_", "_")
    try:
        mathml: str = convert(" ".join(known.split()), display=display)
    except Exception:  # the converter raises whatever comes to it
        return f"<code>{html.escape(tex)}</code>"
    return mathml.replace(' xmlns="http://www.w3.org/1998/Math/MathML"', "")  # HTML needs no name


def prose(text: str) -> str:
    """Paragraphs and formulas of a reason."""
    parts = []
    for block in re.split(r"\n[ \t]*\n(?!    |   )", text.strip()):
        head, marker, formula = block.partition(".. math::")
        if head.strip():
            parts.append(f"<p>{_inline(head)}</p>")
        if marker:
            parts.append(display(textwrap.dedent(formula)))
    return "".join(parts)


def _inline(text: str) -> str:
    """A paragraph with its formulas and code."""
    parts, end = [], 0
    for match in _PIECE.finditer(text):
        parts.append(html.escape(text[end : match.start()]))
        formula, code, single = match.groups()
        shown = _mathml(formula, "inline") if formula else None
        parts.append(shown or f"<code>{html.escape(code or single)}</code>")
        end = match.end()
    return "".join([*parts, html.escape(text[end:])])
