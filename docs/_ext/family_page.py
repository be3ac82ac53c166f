r"""The page of one family: its pictures, its contracts and claims in reading order, its code."""

from __future__ import annotations

import inspect
from pathlib import Path

from contract_page import claim_list, wrapped
from known import Known
from overviews import mistake
from pictures import pictures
from plain_text import first_sentence, indent, inline, prose, title

__all__ = ["family_page"]


def family_page(known: Known, family: str, folder: Path) -> str:
    """The whole page as reST."""
    parts = [title(known.title(family), "="), _introduction(known, family)]
    parts += [f".. picture:: {p.name}\n" for p in pictures().values() if p.family == family]
    for contract in known.contracts_of(family):
        parts += [
            title(f":ref:`{contract.name} <{contract.name}>`", "-"),
            inline(contract.summary) + "\n",
            ".. code-block:: text\n   :class: signature\n",
            indent(wrapped(contract.signature)) + "\n",
            claim_list(known, contract.name, family),
            _folded(known, contract.name, family),
        ]
    if known.claims_of("theory", family):
        parts += [
            f".. anchor:: {family}.theory\n",
            title("Theory", "-"),
            "What holds between several pieces of the reference library.\n",
            claim_list(known, "theory", family),
            _folded(known, "theory", family),
        ]
    return "\n".join([*parts, _code(known, family)])


def _folded(known: Known, contract: str, family: str) -> str:
    """The claims of every subject and the classic mistakes, each behind a line."""
    general = known.claims_of(contract, family, general=True)
    own = [m for m in known.mutants if m.contract == contract and known.home(m).family == family]
    parts = []
    if general:
        listed = claim_list(known, contract, family, general=True)
        parts.append(f".. fold:: {len(general)} claims of every subject\n\n{indent(listed)}")
    if own:
        listed = "\n".join(f"- {mistake(mutant)}" for mutant in own)
        parts.append(
            f".. fold:: {len(own)} classic mistakes\n   :class: mistake\n\n{indent(listed)}\n"
        )
    return "\n".join(parts)


def _introduction(known: Known, family: str) -> str:
    package = next((p for p in known.packages if p.name == family), None)
    return prose(inspect.getdoc(package.module) or "", known.link) if package else ""


def _code(known: Known, family: str) -> str:
    package = next((p for p in known.packages if p.name == family), None)
    if package is None:
        return ""
    lines = []
    for module in known.modules(package):
        says = first_sentence(inspect.getdoc(module.module) or "")
        lines.append(
            f"- :doc:`{module.path} </reference/{family}/{module.name}>`: "
            f"{inline(says).removeprefix(chr(92))}"
        )
    return title("The reference code", "-") + "\n" + "\n".join(lines) + "\n"
