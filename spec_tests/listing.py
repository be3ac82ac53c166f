r"""``genspec claims``, ``genspec explain`` and ``genspec kill-matrix``: the catalogue in the terminal."""

from __future__ import annotations

import argparse
import inspect
import re
import textwrap

from spec_tests.adapters import adapter
from spec_tests.registry import (
    CLAIMS,
    CONTRACTS,
    Claim,
    Contract,
    Subject,
    UsageError,
    nearest,
)

__all__ = ["claims_command", "explain_command", "kill_matrix_command"]


def _contract(name: str | None) -> list[Contract]:
    """The named contract, or all of them by family."""
    from spec_tests import contracts

    known = contracts.CONTRACTS
    if name is not None and name not in known:
        raise UsageError(f"unknown contract {name!r}{nearest(name, list(known))}")
    chosen = [known[name]] if name else list(known.values())
    return sorted(chosen, key=lambda contract: (contract.family, contract.name))


def claims_command(options: argparse.Namespace) -> int:
    """Lists contracts with their signatures and claims."""
    from spec_tests import catalogue

    contracts, known = _contract(options.contract), catalogue.claims()
    for contract in contracts:
        own = [claim for claim in known if claim.contract == contract.name]
        print(f"{contract.name}  ({contract.kind}, {len(own)} claims)")
        print(textwrap.indent(textwrap.fill(contract.signature, 94), "    "))
        for claim in own:
            mark = "general" if claim.general else ""
            print(f"  {claim.id:<52} {claim.title:<60} {mark}".rstrip())
        print()
    print(
        f"{sum(c.contract in {k.name for k in contracts} for c in known)} claims; "
        f"`genspec explain CLAIM` tells more of one"
    )
    return 0


def explain_command(options: argparse.Namespace) -> int:
    """Everything about one claim: statement, reason, sources, assumptions, test, mutants."""
    from spec_tests import catalogue

    known = {claim.id: claim for claim in catalogue.claims()}
    if options.claim not in known:
        raise UsageError(f"unknown claim {options.claim!r}{_hint(options.claim, list(known))}")
    print(explanation(known[options.claim]))
    return 0


def _hint(word: str, known: list[str]) -> str:
    hint = nearest(word, known)
    return "; `genspec claims` lists them" if hint.startswith("; known") else hint


def explanation(claim: Claim) -> str:
    """The text of ``genspec explain``."""
    from spec_tests import catalogue

    said = claim.title if claim.contract == "theory" else f"{claim.contract} {claim.title}"
    parts = [claim.id, "=" * len(claim.id), "", said, ""]
    parts += [textwrap.indent(claim.statement.strip(), "    "), ""]
    if claim.contract in CONTRACTS:
        parts += [f"Contract: {CONTRACTS[claim.contract].signature}", ""]
    parts += [
        "Why it is true",
        "--------------",
        *(f"{paragraph}\n" for paragraph in _paragraphs(claim.why)),
    ]
    if claim.assumptions:
        parts += ["What it needs", "-------------"]
        for needed, without in claim.assumptions.items():
            parts += _paragraphs(f"- {needed}" + (f". Without it: {without}" if without else ""))
        parts += [""]
    parts += ["Sources: " + "; ".join(claim.sources), ""]
    own = [e for e in catalogue.load_subjects("reference") if e.contract == claim.contract]
    parts += ["Reference", *(f"    {e.place}  {e.name}" for e in own), ""]
    parts += [f"Test ({claim.place})", "----", claim.code]
    mistakes = [m for m in catalogue.mutants() if claim.id in m.rejected_by]
    if mistakes:
        parts += ["Classic mistakes that it rejects", "--------------------------------"]
        for entry in mistakes:
            parts += [f"{entry.name} ({entry.place})", *_paragraphs(entry.doc), _body(entry)]
    if claim.contract in CONTRACTS and claim.contract != "theory":
        parts += ["Check your own code", "-------------------"]
        parts += [textwrap.indent(adapter(CONTRACTS[claim.contract]), "    ")]
        parts += [f"    genspec verify my_subjects.py --claims '{claim.id}'"]
    return "\n".join(parts)


def _body(entry: Subject) -> str:
    """The code of a mutant, without what is said beside it."""
    lines = inspect.getsource(inspect.unwrap(entry.make)).splitlines(keepends=True)
    start = next((i for i, s in enumerate(lines) if s.lstrip().startswith(("def ", "class "))), 0)
    quoted = re.compile(r'^ *r?"""(?:.|\n)*?"""\n', re.MULTILINE)
    code = quoted.sub("", "".join(lines[start:]), count=1)
    return textwrap.indent(textwrap.dedent(code), "    ")


def _paragraphs(text: str) -> list[str]:
    """Paragraphs filled to the width of a page; indented formulas stay as they are."""
    text, found = re.sub(r":math:`([^`]*)`", r"\1", text), []
    for block in re.split(r"\n[ \t]*\n", text.strip("\n")):
        formula = block.startswith((" ", ".. "))
        found.append(
            block if formula else textwrap.fill(" ".join(block.split()), 96, break_on_hyphens=False)
        )
    return found


def kill_matrix_command(options: argparse.Namespace) -> int:
    """Judges every mutant by every claim of its contract and prints which reject it."""
    from spec_tests import catalogue
    from spec_tests.judge import PROFILES, judge
    from spec_tests.plan import REJECTIONS

    names = {contract.name for contract in _contract(options.contract)}
    toothless = 0
    for name in sorted(names):
        claims = [claim for claim in catalogue.claims_for(name) if claim.when == "always"]
        mutants = [entry for entry in catalogue.mutants() if entry.contract == name]
        if not claims or not mutants:
            continue
        rows = {}
        for entry in mutants:
            rows[entry.name] = "".join(
                "x"
                if judge(c, entry, dtype=c.dtypes[0], profile=PROFILES["ci"], shrink=False).verdict
                in REJECTIONS
                else "."
                for c in claims
            )
        print(_matrix(name, claims, rows), flush=True)
        dead = [c.id for i, c in enumerate(claims) if all(row[i] == "." for row in rows.values())]
        toothless += sum(not CLAIMS[id].general for id in dead)
        print(f"rejects no mutant: {', '.join(dead)}\n" if dead else "")
    return int(toothless > 0)


def _matrix(name: str, claims: list[Claim], rows: dict[str, str]) -> str:
    """Claims numbered down the page, mutants as rows of marks under the numbers."""
    lines = [f"{name}", ""]
    lines += [f"  {number:>2} {claim.id}" for number, claim in enumerate(claims, 1)]
    width = max(len(row) for row in rows)
    lines += ["", " " * (width + 2) + " ".join(f"{n:>2}" for n in range(1, len(claims) + 1))]
    lines += [
        f"{row:<{width}}  " + " ".join(f"{mark:>2}" for mark in marks)
        for row, marks in rows.items()
    ]
    return "\n".join(lines) + "\n"
