r"""Writes the pages that the registries know everything about, before Sphinx reads the book.

.. code-block:: text

    families/<family>            what is claimed of a family, in reading order
    contracts/<contract>         how a subject is called, its adapter, its claims
    claims/<claim id>            one claim
    mistakes/<contract>.<name>   one classic mistake
    reference/<family>/<module>  one file of reference code
    catalogue/                   what concerns all families

What a person writes lies beside: ``docs/*.md``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from claim_page import claim_page
from contract_page import contract_page
from counterexamples import counterexamples
from family_page import family_page
from known import Known
from mistake_page import mistake_page
from overviews import (
    classic_mistakes,
    contract_list,
    general_claims,
    right_but_unusual,
    toctrees,
)
from reference_page import module_page, package_page
from sphinx.application import Sphinx

__all__ = ["setup", "write_pages"]

FOLDERS = ("catalogue", "claims", "contracts", "families", "mistakes", "reference")


def pages(known: Known, docs: Path) -> dict[str, str]:
    """The text of every generated page, by its path without suffix."""
    found = {
        "catalogue/contracts": contract_list(known),
        "catalogue/general-claims": general_claims(known, docs / "catalogue"),
        "catalogue/classic-mistakes": classic_mistakes(known),
        "catalogue/right-but-unusual": right_but_unusual(known, docs / "catalogue"),
    }
    for family in known.families:
        found[f"families/{family}"] = family_page(known, family, docs / "families")
    for contract in known.contracts.values():
        if contract.name != "theory":
            page = contract_page(known, contract, docs / "contracts")
            found[f"contracts/{contract.name}"] = page
    for package in known.packages:
        folder = docs / "reference" / package.name
        found[f"reference/{package.name}"] = package_page(known, package)
        for module in known.modules(package):
            page = module_page(known, package, module, folder)
            found[f"reference/{package.name}/{module.name}"] = page
    verdicts = counterexamples(docs / "_build" / "counterexamples.json")
    for claim in known.claims.values():
        found[f"claims/{claim.id}"] = claim_page(known, claim, docs / "claims", verdicts)
    for mutant in known.mutants:
        page = mistake_page(known, mutant, docs / "mistakes", verdicts)
        found[f"mistakes/{mutant.contract}.{mutant.name}"] = page
    return found


def write_pages(app: Sphinx) -> None:
    """Writes what has changed and removes what no longer exists."""
    docs = Path(app.srcdir)
    known = Known()
    wanted = {docs / f"{name}.rst": text for name, text in pages(known, docs).items()}
    wanted[docs / "catalogue" / "toctrees.inc"] = toctrees(known)
    for folder in FOLDERS:
        for old in set((docs / folder).rglob("*.*")) - set(wanted):
            old.unlink()
    for path, text in wanted.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    sys.dont_write_bytecode = True
    app.connect("builder-inited", write_pages)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
