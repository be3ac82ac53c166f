r"""``index.html``: the matrix of subjects x claims in one file that fetches nothing.

Rows are subjects, columns claims, a table per contract. A click on a cell opens the claim's
statement and source and, for a rejection, the counterexample and the command that reproduces it.
Everything that comes from outside is escaped; the page's data travels as JSON in which ``<`` cannot
end the element that holds it.
"""

from __future__ import annotations

import html
import json
from collections import Counter
from pathlib import Path
from urllib.parse import quote

from spec_tests.plan import REJECTIONS, ClaimCard, Plan, Verdict
from spec_tests.report.formulas import display, prose

__all__ = ["render"]

_MARKS = {
    "holds": "✓",
    "unsupported": "–",
    "violated": "✗",
    "error": "!",
    "timeout": "⏱",
    "crashed": "☠",
    "missing": "?",
    "expected": "(✗)",
}
_HERE = Path(__file__).parent


def render(verdicts: list[Verdict], plan: Plan, torch: str, book: str = "") -> str:
    """The whole page; ``book`` is the address of the built book, whose pages it links to."""
    by_contract: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        by_contract.setdefault(verdict.contract, []).append(verdict)
    tables = "\n".join(_table(contract, own, plan) for contract, own in sorted(by_contract.items()))
    claims = {verdict.claim: _card(plan.claims[verdict.claim], book) for verdict in verdicts}
    return (
        (_HERE / "page.html")
        .read_text()
        .replace("{{style}}", (_HERE / "page.css").read_text())
        .replace("{{script}}", (_HERE / "page.js").read_text())
        .replace("{{totals}}", _totals(verdicts, torch))
        .replace("{{tables}}", tables)
        .replace("{{data}}", _json({"claims": claims, "cells": [_cell(v) for v in verdicts]}))
    )


def _kind(verdict: Verdict) -> str:
    return "expected" if verdict.expected else verdict.verdict


def _totals(verdicts: list[Verdict], torch: str) -> str:
    kinds = Counter(_kind(verdict) for verdict in verdicts)
    items = [
        f'<label class="total {kind}"><input type="checkbox" name="kind" value="{kind}" checked>'
        f"<b>{kinds[kind]}</b> {kind}</label>"
        for kind in _MARKS
        if kinds[kind]
    ]
    rejected = sum(v.verdict in REJECTIONS and not v.expected for v in verdicts)
    verdict = (
        f"{rejected} of {len(verdicts)} verdicts reject" if rejected else "nothing is rejected"
    )
    return f"<p class='outcome'>{verdict} · torch {html.escape(torch)}</p>" + "".join(items)


def _table(contract: str, verdicts: list[Verdict], plan: Plan) -> str:
    claims = sorted({verdict.claim for verdict in verdicts})
    rows: dict[tuple[str, str, str], dict[str, list[Verdict]]] = {}
    for verdict in verdicts:
        key = (verdict.subject, verdict.device, "")
        rows.setdefault(key, {}).setdefault(verdict.claim, []).append(verdict)
    head = "".join(
        f'<th scope="col" title="{html.escape(plan.claims[id].title)}"><div><span>'
        f"{html.escape(id.partition('.')[2])}</span></div></th>"
        for id in claims
    )
    body = "".join(_row(key, cells, claims) for key, cells in rows.items())
    return (
        f'<section data-contract="{html.escape(contract)}"><h2>{html.escape(contract)}</h2>'
        f'<div class="scroll"><table><thead><tr><th scope="col" class="corner">subject</th>'
        f"{head}</tr></thead><tbody>{body}</tbody></table></div></section>"
    )


def _row(key: tuple[str, str, str], cells: dict[str, list[Verdict]], claims: list[str]) -> str:
    subject, device, _ = key
    shown = []
    for claim in claims:
        marks = "".join(_button(verdict) for verdict in cells.get(claim, []))
        shown.append(f"<td>{marks}</td>")
    where = "" if device == "cpu" else f" <small>{html.escape(device)}</small>"
    name = html.escape(subject)
    return f'<tr data-subject="{name}"><th scope="row">{name}{where}</th>{"".join(shown)}</tr>'


def _button(verdict: Verdict) -> str:
    kind = _kind(verdict)
    label = html.escape(f"{verdict.claim}, {verdict.subject}, {verdict.dtype}: {kind}")
    identity = html.escape("|".join(verdict.key), quote=True)
    return (
        f'<button class="{kind}" data-kind="{kind}" data-key="{identity}" '
        f'aria-label="{label}" title="{label}">{_MARKS[kind]}</button>'
    )


def _card(card: ClaimCard, book: str) -> dict[str, object]:
    return {
        "title": f"{card.contract} {card.title}",
        "statement": display(card.statement),
        "why": prose(card.why),
        "page": f"{book.rstrip('/')}/claims/{quote(card.id)}.html" if book else "",
        "sources": card.sources,
        "code": card.code,
        "place": card.place,
    }


def _cell(verdict: Verdict) -> dict[str, object]:
    line = verdict.line()
    return {key: value for key, value in line.items() if value not in ("", None)}


def _json(data: object) -> str:
    """JSON that is safe inside a script element."""
    return (
        json.dumps(data, ensure_ascii=True, allow_nan=False)
        .replace("<", "\\u003c")
        .replace("&", "\\u0026")
    )
