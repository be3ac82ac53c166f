r"""The pages about all families: contracts, general claims, classic mistakes, unusual right code."""

from __future__ import annotations

import re
from pathlib import Path

from claim_page import REGISTRATION, mutant_anchor, when
from known import Known
from plain_text import first_sentence, indent, inline, literal, prose, title
from source_code import show, show_object

from spec_tests.registry import Claim, Subject

__all__ = [
    "classic_mistakes",
    "contract_list",
    "general_claims",
    "mistake",
    "right_but_unusual",
    "toctrees",
]


def toctrees(known: Known) -> str:
    """The part of the book's contents that is generated."""
    groups = {
        "What is claimed": [
            "catalogue/contracts",
            *(f"families/{f}" for f in known.families),
            "catalogue/general-claims",
        ],
        "Mutants and controls": ["catalogue/classic-mistakes", "catalogue/right-but-unusual"],
        "Reference code": [f"{known.title(p.name)} <reference/{p.name}>" for p in known.packages],
    }
    return "\n".join(
        f".. toctree::\n   :hidden:\n   :caption: {caption}\n\n" + indent("\n".join(entries)) + "\n"
        for caption, entries in groups.items()
    )


def contract_list(known: Known) -> str:
    """Every contract with what it computes and how much is claimed of it."""
    parts = [
        title("All contracts", "="),
        (
            "What an implementation can be judged as. Pick the one that describes yours; its page "
            "has an adapter to copy.\n"
        ),
    ]
    for family in known.families:
        rows = [
            (
                known.linked(c.name),
                inline(c.summary),
                str(sum(claim.contract == c.name for claim in known.claims.values())),
            )
            for c in known.contracts_of(family)
        ]
        parts += [title(known.title(family), "-"), f"The whole page: :doc:`/families/{family}`.\n"]
        parts += (
            [_table(("contract", "what it computes", "claims"), (30, 60, 10), rows)] if rows else []
        )
    return "\n".join(parts)


def _table(head: tuple[str, ...], widths: tuple[int, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [
        ".. list-table::",
        "   :header-rows: 1",
        "   :class: wide",
        "   :widths: " + " ".join(map(str, widths)),
        "",
    ]
    for row in [head, *rows]:
        for index, cell in enumerate(row):
            lines.append(f"   {'*' if index == 0 else ' '} - {cell}")
    return "\n".join(lines) + "\n"


def general_claims(known: Known, folder: Path) -> str:
    """Each general claim once, with the contracts that it is judged on."""
    by_name: dict[str, list[Claim]] = {}
    for claim in known.claims.values():
        if claim.general:
            by_name.setdefault(claim.id.partition(".")[2], []).append(claim)
    parts = [
        title("General claims", "="),
        (
            "These follow from the :doc:`conventions </conventions>` and are judged on every contract "
            "that they make sense for. Each is written once.\n"
        ),
    ]
    for name, claims in sorted(by_name.items()):
        first = claims[0]
        listed = ", ".join(f":ref:`{c.contract} <{c.id}>`" for c in claims)
        parts += [
            f".. anchor:: general.{name}\n",
            title(f"A subject {first.title}", "-"),
            ".. math::\n",
            indent(first.statement.strip()) + "\n",
            prose(first.why, known.link),
            f":Name: {literal(name)}",
            f":Judged on: {listed}",
            *when(first),
            "",
            ".. fold:: The test\n",
            indent(
                show(
                    first.place.path,
                    first.test.__qualname__,
                    first.place.line,
                    folder,
                    REGISTRATION,
                )
            ),
        ]
    return "\n".join(parts)


def classic_mistakes(known: Known) -> str:
    """Every mutant, with the claims that reject it."""
    parts = [
        title("Classic mistakes", "="),
        (
            "Each is an implementation with one thing wrong that people really get wrong. The claims "
            "beside it must reject it, and genspec's own tests check that they do.\n"
        ),
    ]
    groups: dict[tuple[str, str], list[Subject]] = {}
    for mutant in known.mutants:
        family = known.home(mutant).family
        groups.setdefault((family, mutant.contract), []).append(mutant)
    for family in known.families:
        own = {contract: group for (of, contract), group in groups.items() if of == family}
        parts += [title(known.title(family), "-")] if own else []
        for contract, group in own.items():
            rows = [(mistake(mutant), _rejections(known, mutant)) for mutant in group]
            name = "Theory" if contract == "theory" else literal(contract)
            parts += [title(name, "~"), _table(("mistake", "rejected by"), (60, 40), rows)]
    return "\n".join(parts) if groups else "\n".join([*parts, "None is registered yet.\n"])


def mistake(mutant: Subject) -> str:
    """The mistake in words, which lead to its page."""
    says = re.sub(r"[`<>]", "", first_sentence(mutant.doc) or mutant.name.replace("_", " "))
    return f":ref:`{says.replace(chr(92), chr(92) * 2)} <{mutant_anchor(mutant)}>`"


def _rejections(known: Known, mutant: Subject) -> str:
    """The claims that reject a mutant, a line each, without the name of its own contract."""
    links = []
    for id in mutant.rejected_by:
        shown = id.removeprefix(f"{mutant.contract}.")
        links.append(f"| :ref:`{shown} <{id}>`" if id in known.claims else f"| {literal(id)}")
    return ("\n" + " " * 7).join(links)


def right_but_unusual(known: Known, folder: Path) -> str:
    """Every control."""
    parts = [
        title("Right but unusual", "="),
        (
            "A claim must reject what is wrong and accept what is right, however odd it looks. These "
            "controls are right, and every claim of their contract must accept them.\n"
        ),
    ]
    contract = ""
    for control in sorted(known.controls, key=lambda control: control.key):
        if control.contract != contract:
            contract = control.contract
            parts.append(title(literal(contract), "-"))
        parts += [
            f".. anchor:: control.{contract}.{control.name}\n",
            title(inline(control.name.replace("_", " ")), "~"),
            prose(control.doc, known.link),
            ".. fold:: The code\n",
            indent(show_object(control.make, folder, REGISTRATION, docstring=False)),
        ]
    return "\n".join(parts) if known.controls else "\n".join([*parts, "None is registered yet.\n"])
