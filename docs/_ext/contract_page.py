r"""The page of one contract: how a subject is called, an adapter to copy, and all that is claimed."""

from __future__ import annotations

from pathlib import Path

from claim_page import crumbs
from known import Known
from overviews import mistake
from plain_text import flat, indent, inline, literal, prose, title
from source_code import names_used, show_object

from spec_tests.adapters import adapter
from spec_tests.registry import Contract

__all__ = ["claim_list", "contract_page", "wrapped"]

KINDS = {
    "function": "a function: the subject is what is called",
    "factory": "a factory: the subject is called with a config and returns the object",
}


def contract_page(known: Known, contract: Contract, folder: Path) -> str:
    """The whole page as reST."""
    return "\n".join(
        [
            ":orphan:\n",
            f".. anchor:: {contract.name}\n",
            title(literal(contract.name), "="),
            crumbs(known, contract.family),
            inline(contract.summary) + "\n",
            ".. code-block:: text\n   :class: signature\n",
            indent(wrapped(contract.signature)) + "\n",
            _facts(known, contract),
            title("What is claimed", "-"),
            claim_list(known, contract.name, contract.family),
            title("What is claimed of every subject", "-"),
            "From the :doc:`conventions </conventions>`; each is explained once, under its name.\n",
            claim_list(known, contract.name, contract.family, general=True),
            title("An adapter to copy", "-"),
            _adapters(known, contract, folder),
            title("The contract as code", "-"),
            show_object(contract.protocol, folder),
            show_object(contract.config, folder) if contract.config is not None else "",
            _mistakes(known, contract),
        ]
    )


def wrapped(signature: str) -> str:
    """The signature with a line for every member."""
    return flat(signature).replace(" -> encode", "\n-> encode").replace("; ", ";\n")


def claim_list(known: Known, contract: str, family: str, general: bool = False) -> str:
    """A line for every claim of its own, or for every general one, linked."""
    lines = []
    for claim in known.claims_of(contract, family, general):
        says = claim.title[:1].upper() + claim.title[1:]
        lines.append(f"- :ref:`{says} <{claim.id}>`")
    return "\n".join(lines) + "\n"


def _facts(known: Known, contract: Contract) -> str:
    lines = [f":Kind: {KINDS.get(contract.kind, contract.kind)}"]
    if contract.optional:
        lines.append(":May be left out: " + ", ".join(map(literal, contract.optional)))
    names: set[str] = set()
    for entry in known.subjects["reference"]:
        if entry.contract == contract.name:
            names |= names_used(entry.make)
    shown = [link for name in sorted(names) if (link := known.reference(name))]
    if shown:
        lines.append(":Reference: " + ", ".join(shown))
    for claim, reason in contract.exempt.items():
        lines.append(f":Exempt from {claim.replace('_', ' ')}: {inline(reason)}")
    return "\n".join(lines) + "\n"


def _adapters(known: Known, contract: Contract, folder: Path) -> str:
    parts = [
        ".. code-block:: python\n",
        indent(adapter(contract)),
        ".. code-block:: sh\n",
        indent(f"genspec verify my_subjects.py --claims '{contract.name}.*'\n"),
    ]
    for bundle, entries in known.subjects.items():
        for entry in entries:
            if entry.contract == contract.name:
                parts += [
                    f".. fold:: How {literal(entry.name)} is plugged in (bundle {literal(bundle)})\n",
                    indent(prose(entry.doc, known.link)) if entry.doc else "",
                    indent(show_object(entry.make, folder, docstring=False)),
                ]
    return "\n".join(parts)


def _mistakes(known: Known, contract: Contract) -> str:
    mutants = [m for m in known.mutants if m.contract == contract.name]
    if not mutants:
        return ""
    lines = [f"- {mistake(m)}" for m in mutants]
    return title("Classic mistakes", "-") + "\n" + "\n".join(lines) + "\n"
