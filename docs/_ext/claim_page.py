r"""The page of one claim: what it says, why, what it needs, code beside test, the classic mistakes."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from bibliography import cited
from counterexamples import Found
from known import Known, is_code
from pictures import picture_for
from plain_text import first_sentence, indent, inline, literal, prose, title
from source_code import names_used, show, show_object, wrong_lines

from spec_tests.adapters import adapter
from spec_tests.registry import Claim, Subject

__all__ = ["REGISTRATION", "claim_page", "crumbs", "evidence", "mutant_anchor", "sentence", "when"]

REGISTRATION = ("claim", "general_claim", "mutant", "control", "subject")


def sentence(claim: Claim) -> str:
    """The claim in words, as reST."""
    if claim.contract == "theory":
        return inline(claim.title[:1].upper() + claim.title[1:])
    return f"{literal(claim.contract)} {inline(claim.title).removeprefix(chr(92))}"


def mutant_anchor(mutant: Subject) -> str:
    """The address of a mutant's page."""
    return f"mutant.{mutant.contract}.{mutant.name}"


def crumbs(known: Known, family: str, contract: str = "") -> str:
    """Where the page stands: links to the family and the contract."""
    steps = [f":doc:`{known.title(family)} </families/{family}>`"]
    if contract == "theory":
        steps.append(f":ref:`theory <{family}.theory>`")
    elif contract:
        steps.append(f":ref:`{contract} <{contract}>`")
    return ".. container:: crumbs\n\n" + indent(" › ".join(steps)) + "\n"


def when(claim: Claim) -> list[str]:
    """A field for claims that are not judged in every run."""
    words = {"accelerator": "on devices other than the CPU", "audit": "with ``--device-audit``"}
    return [f":Judged: {words.get(claim.when, claim.when)}"] if claim.when != "always" else []


def claim_page(
    known: Known, claim: Claim, folder: Path, found: dict[tuple[str, str, str], Found]
) -> str:
    """The whole page as reST."""
    parts = [
        ":orphan:\n:hide-toc:\n",
        f".. anchor:: {claim.id}\n",
        title(sentence(claim), "="),
        crumbs(known, claim.family, claim.contract),
        ".. math::\n",
        indent(claim.statement.strip()) + "\n",
        _details(claim),
        _picture(claim),
        title("Why it is true", "-"),
        prose(claim.why, known.link),
        _needs(known, claim),
        title("The code and the test", "-"),
        _sides(known, claim, folder),
        _mistakes(known, claim, folder, found),
        _your_own(known, claim),
        _neighbours(known, claim),
    ]
    return "\n".join(part for part in parts if part)


def _details(claim: Claim) -> str:
    lines = [f":Id: {literal(claim.id)}"]
    lines.append(":Sources: " + "; ".join(_source(s) for s in claim.sources))
    if claim.error:
        lines.append(
            f":Statistical: rejects a right subject with probability at most {claim.error:.1g}"
        )
    return "\n".join([*lines, *when(claim)]) + "\n"


def _source(text: str) -> str:
    if text.startswith("contracts.md"):
        return ":doc:`the conventions </conventions>`"
    key = cited(text)
    return inline(text) + (f" :cite:p:`{key}`" if key else "")


def _picture(claim: Claim) -> str:
    name = picture_for(claim.id)
    return f".. picture:: {name}\n" if name else ""


def _needs(known: Known, claim: Claim) -> str:
    if not claim.assumptions:
        return ""
    items = []
    for needed, without in claim.assumptions.items():
        line = inline(needed[:1].upper() + needed[1:], known.link)
        items.append(
            f"- {line}" + (f". *Without it:* {_spoken(known, without)}." if without else ".")
        )
    return title("What it needs", "-") + "\n" + "\n".join(items) + "\n"


def _spoken(known: Known, text: str) -> str:
    return inline(text, known.link).removeprefix(chr(92))


def _sides(known: Known, claim: Claim, folder: Path) -> str:
    """The reference code on the left, the test on the right."""
    test = show(claim.place.path, claim.test.__qualname__, claim.place.line, folder, REGISTRATION)
    names, others = _judged(known, claim)
    if claim.general:
        code = (
            f"It is judged of every member of {known.linked(claim.contract)}; the same claim is made "
            f"of other contracts: :ref:`{claim.id.partition('.')[2]} "
            f"<general.{claim.id.partition('.')[2]}>`.\n"
        )
    else:
        objects = known.public
        code = "\n".join(
            f"{known.reference(name)}:\n\n{show_object(objects[name], folder, docstring=False)}"
            for name in names
        )
    more = f"Judged as well: {', '.join(others)}.\n" if others else ""
    sides = [("The reference", f"{code}\n{more}"), ("The test", test)]
    return ".. container:: sides\n\n" + "\n".join(
        indent(f".. container:: side\n\n{indent(f'**{name}**')}\n\n{indent(text)}\n")
        for name, text in sides
    )


def _judged(known: Known, claim: Claim) -> tuple[list[str], list[str]]:
    """The public names whose code is shown, and links to the others that the claim judges."""
    public = known.public
    if claim.contract == "theory":
        used = sorted(names_used(claim.test) & set(public))
        return used, []
    shown: list[str] = []
    for entry in known.subjects["reference"]:
        if entry.contract == claim.contract:
            shown += [n for n in sorted(names_used(entry.make) & set(public)) if n not in shown]
    first = _plainest(shown, claim.contract, public)
    others = [link for n in shown if n not in first and (link := known.reference(n))]
    return first, others


def _plainest(names: list[str], contract: str, public: dict[str, Any]) -> list[str]:
    """What is called like its contract, or else what has the fewest lines."""
    alike = [n for n in names if n.lower() == contract.replace("_", "") or n == contract]
    shown = [n for n in names if is_code(public[n])]
    return alike or sorted(shown, key=lambda n: len(inspect.getsource(public[n])))[:1]


def evidence(found: Found | None) -> str:
    """What the suite says against a mutant, and the input that shows it."""
    if not found:
        return ""
    lines = [found["message"], "", *found["counterexample"].splitlines()]
    text = "\n".join(line[:400] for line in lines).strip()
    return ".. code-block:: text\n   :class: evidence\n\n" + indent(text or "(no message)") + "\n"


def _mistakes(
    known: Known, claim: Claim, folder: Path, found: dict[tuple[str, str, str], Found]
) -> str:
    mutants = known.rejected(claim)
    if not mutants:
        return ""
    parts = [title("Classic mistakes that it rejects", "-")]
    for mutant in mutants:
        line = inline(first_sentence(mutant.doc) or mutant.name.replace("_", " "))
        wrong = wrong_lines(mutant.make)
        body = [
            ".. code-block:: python\n\n" + indent("\n".join(wrong)) + "\n" if wrong else "",
            "What the suite finds:\n",
            evidence(found.get((claim.id, mutant.contract, mutant.name))),
            f"The whole code: :ref:`{mutant.name} <{mutant_anchor(mutant)}>`.\n",
        ]
        parts.append(
            f".. fold:: {line}\n   :class: mistake\n\n" + indent("\n".join(filter(None, body)))
        )
    return "\n".join(parts)


def _your_own(known: Known, claim: Claim) -> str:
    head = title("Check your own code", "-")
    if claim.contract == "theory":
        return (
            head + "\nThe claim relates several pieces of the reference library. What of it can be "
            "asked of a single implementation is claimed of the contracts of "
            f":doc:`this family </families/{claim.family}>`.\n\n.. code-block:: sh\n\n"
            f"   genspec verify reference --claims '{claim.id}'\n"
        )
    contract = known.contracts[claim.contract]
    return (
        f"{head}\n{inline(contract.summary).rstrip('.')}: write this adapter, and run the command.\n\n"
        ".. code-block:: python\n\n" + indent(adapter(contract)) + "\n"
        f".. code-block:: sh\n\n   genspec verify my_subjects.py --claims '{claim.id}'\n"
    )


def _neighbours(known: Known, claim: Claim) -> str:
    before, after = known.neighbours(claim)
    steps = []
    if before:
        steps.append(f"Before: :ref:`{before.id} <{before.id}>`")
    if after:
        steps.append(f"Next: :ref:`{after.id} <{after.id}>`")
    return ".. container:: neighbours\n\n" + indent(" · ".join(steps)) + "\n" if steps else ""
