r"""The page of one family: its contracts, what is claimed of each, and its theory."""

from __future__ import annotations

import inspect
from pathlib import Path

from adapters import adapter
from known import Known
from plain_text import first_sentence, flat, indent, inline, literal, prose, title
from source_code import names_used, show, show_object

from spec_tests.registry import Claim, Contract, Subject

__all__ = ["family_page", "sentence"]

REGISTRATION = ("claim", "general_claim", "mutant", "control", "subject")


def sentence(claim: Claim) -> str:
    """The claim in words, as reST."""
    if claim.contract == "theory":
        return inline(claim.title[:1].upper() + claim.title[1:])
    return f"{literal(claim.contract)} {inline(claim.title).removeprefix(chr(92))}"


def family_page(known: Known, family: str, folder: Path) -> str:
    """The whole page as reST."""
    parts = [title(known.title(family), "="), _introduction(known, family)]
    for contract in known.contracts_of(family):
        parts += _contract(known, contract, family, folder)
    theory = known.claims_of("theory", family)
    if theory:
        parts += [
            f".. anchor:: {family}.theory\n",
            title("Theory", "-"),
            "What holds between several pieces of the reference library.\n",
        ]
        for claim in theory:
            parts += _claim(known, claim, folder)
    return "\n".join(parts)


def _introduction(known: Known, family: str) -> str:
    package = next((p for p in known.packages if p.name == family), None)
    if package is None:
        return ""
    text = prose(inspect.getdoc(package.module) or "", known.link)
    return f"{text}\nThe models themselves: :doc:`/reference/{family}`.\n"


# Contracts ----------------------------------------------------------------------------------------


def _contract(known: Known, contract: Contract, family: str, folder: Path) -> list[str]:
    parts = [
        f".. anchor:: {contract.name}\n",
        title(literal(contract.name), "-"),
        inline(contract.summary) + "\n",
        ".. code-block:: text\n   :class: signature\n",
        indent(_wrapped(contract.signature)) + "\n",
        _facts(known, contract),
        ".. fold:: An adapter to copy\n",
        indent(_adapter(known, contract, folder)),
        ".. fold:: The contract as code\n",
        indent(_protocol(contract, folder)),
    ]
    for claim in known.claims_of(contract.name, family):
        parts += _claim(known, claim, folder)
    general = known.claims_of(contract.name, family, general=True)
    if general:
        parts += [
            f".. anchor:: {contract.name}.general\n",
            title(f"General claims about {literal(contract.name)}", "~"),
        ]
        parts += [_general(known, claim, folder) for claim in general]
    return parts


def _wrapped(signature: str) -> str:
    """The signature with a line for every member."""
    return flat(signature).replace(" -> encode", "\n-> encode").replace("; ", ";\n")


def _facts(known: Known, contract: Contract) -> str:
    kind = {
        "function": "a function: the subject is what is called",
        "factory": "a factory: the subject is called with a config and returns the object",
    }.get(contract.kind, contract.kind)
    lines = [f":Kind: {kind}"]
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


def _adapter(known: Known, contract: Contract, folder: Path) -> str:
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
                    f"How {literal(entry.name)} is plugged in (bundle {literal(bundle)}):\n",
                    show_object(entry.make, folder),
                ]
    return "\n".join(parts)


def _protocol(contract: Contract, folder: Path) -> str:
    parts = [show_object(contract.protocol, folder)]
    if contract.config is not None:
        parts.append(show_object(contract.config, folder))
    return "\n".join(parts)


# Claims -------------------------------------------------------------------------------------------


def _claim(known: Known, claim: Claim, folder: Path) -> list[str]:
    return [
        f".. anchor:: {claim.id}\n",
        title(sentence(claim), "~"),
        ".. math::\n",
        indent(claim.statement.strip()) + "\n",
        prose(claim.why, known.link),
        _details(claim),
        ".. fold:: The test\n",
        indent(
            show(claim.place.path, claim.test.__qualname__, claim.place.line, folder, REGISTRATION)
        ),
        *(_mutant(known, claim, mutant, folder) for mutant in known.rejected(claim)),
    ]


def _details(claim: Claim) -> str:
    lines = [f":Id: {literal(claim.id)}"]
    lines += (
        [":Assumes: " + "; ".join(inline(a) for a in claim.assumptions)]
        if claim.assumptions
        else []
    )
    lines.append(":Sources: " + "; ".join(_source(s) for s in claim.sources))
    if claim.error:
        lines.append(
            f":Statistical: rejects a right subject with probability at most {claim.error:.1g}"
        )
    if claim.when != "always":
        when = {"accelerator": "on devices other than the CPU", "audit": "with ``--device-audit``"}
        lines.append(f":Judged: {when.get(claim.when, claim.when)}")
    return "\n".join(lines) + "\n"


def _source(text: str) -> str:
    return (
        ":doc:`the conventions </conventions>`" if text.startswith("contracts.md") else inline(text)
    )


def mutant_anchor(mutant: Subject) -> str:
    return f"mutant.{mutant.contract}.{mutant.name}"


def home(known: Known, mutant: Subject) -> str | None:
    """The claim under which a mutant's code is shown: the first that rejects it."""
    return next((id for id in mutant.rejected_by if id in known.claims), None)


def _mutant(known: Known, claim: Claim, mutant: Subject, folder: Path) -> str:
    line = inline(first_sentence(mutant.doc) or mutant.name.replace("_", " "))
    head = f".. fold:: *Rejected:* {line.removeprefix(chr(92))}\n"
    if claim.id != home(known, mutant):
        shown = (
            f"See {_escape_ref(mutant)}, shown with {known.linked(home(known, mutant) or '')}.\n"
        )
        return head + "   :class: mistake\n\n" + indent(shown)
    more = flat(mutant.doc).rstrip(".") != first_sentence(mutant.doc)
    parts = [
        f".. anchor:: {mutant_anchor(mutant)}\n",
        f"{literal(mutant.name)}\n",
        prose(mutant.doc, known.link) if more else "",
        show_object(mutant.make, folder, REGISTRATION, docstring=False),
    ]
    return head + "   :class: mistake\n\n" + indent("\n".join(parts))


def _escape_ref(mutant: Subject) -> str:
    return f":ref:`{mutant.name} <{mutant_anchor(mutant)}>`"


def _general(known: Known, claim: Claim, folder: Path) -> str:
    """An item of the list of general claims; its anchor is the claim's."""
    name = claim.id.partition(".")[2]
    words = inline(claim.title).removeprefix(chr(92))
    parts = [f".. anchor:: {claim.id}\n", f":ref:`{name} <general.{name}>`: {words}\n"]
    parts += [_mutant(known, claim, mutant, folder) for mutant in known.rejected(claim)]
    return "-" + indent("\n".join(parts), 2)[1:]
