r"""The page of one classic mistake: the code with the wrong line marked, and what is found in it."""

from __future__ import annotations

import inspect
from pathlib import Path

from claim_page import REGISTRATION, crumbs, evidence, mutant_anchor, sentence
from counterexamples import Found
from known import Known, is_code
from plain_text import indent, inline, literal, prose, title
from source_code import names_used, show_object

from spec_tests.registry import Subject

__all__ = ["mistake_page"]


def mistake_page(
    known: Known, mutant: Subject, folder: Path, found: dict[tuple[str, str, str], Found]
) -> str:
    """The whole page as reST."""
    claims = [known.claims[id] for id in mutant.rejected_by]
    family = known.home(mutant).family
    name = mutant.name.replace("_", " ")
    parts = [
        ":orphan:\n",
        f".. anchor:: {mutant_anchor(mutant)}\n",
        title(f"Mistake: {inline(name).removeprefix(chr(92))}", "="),
        crumbs(known, family, mutant.contract),
        prose(mutant.doc, known.link) if mutant.doc else "",
        show_object(mutant.make, folder, REGISTRATION, docstring=False),
        _helpers(mutant, folder),
        title("What the suite finds", "-"),
    ]
    for claim in claims:
        verdict = found.get((claim.id, mutant.contract, mutant.name))
        parts += [
            f":ref:`{claim.id} <{claim.id}>` says *{verdict['verdict'] if verdict else 'no'}*: "
            f"{sentence(claim).removeprefix(chr(92))}.\n",
            evidence(verdict),
        ]
    parts.append(
        f"Id: {literal(f'{mutant.contract}.{mutant.name}')}. All of them: "
        ":doc:`/catalogue/classic-mistakes`.\n"
    )
    return "\n".join(part for part in parts if part)


def _helpers(mutant: Subject, folder: Path) -> str:
    """The functions and classes of its file that a mutant is made with."""
    own = vars(inspect.getmodule(inspect.unwrap(mutant.make)))
    used = [own[name] for name in sorted(names_used(mutant.make) & set(own))]
    here = [thing for thing in used if is_code(thing) and thing.__module__ == own["__name__"]]
    if not here:
        return ""
    shown = "\n".join(show_object(thing, folder, docstring=False) for thing in here)
    return ".. fold:: What it is made with\n\n" + indent(shown)
