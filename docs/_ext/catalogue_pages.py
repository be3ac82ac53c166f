r"""Writes the pages that the registries know everything about, before Sphinx reads the book.

``families/<family>.rst`` holds the contracts and claims, ``reference/<family>.rst`` the reference
code, and ``catalogue/`` what concerns all families. A claim's anchor is always
``families/<family>.html#<claim id>``. What a person writes lies beside: ``docs/*.md``.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from family_page import family_page
from known import Known
from overviews import (
    classic_mistakes,
    contract_list,
    general_claims,
    right_but_unusual,
    toctrees,
)
from reference_page import reference_page
from sphinx.application import Sphinx

__all__ = ["setup", "write_pages"]

FOLDERS = ("catalogue", "families", "reference")


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
    for package in known.packages:
        found[f"reference/{package.name}"] = reference_page(known, package, docs / "reference")
    return found


def write_pages(app: Sphinx) -> None:
    """Writes what has changed and removes what no longer exists."""
    docs = Path(app.srcdir)
    known = Known()
    wanted = {docs / f"{name}.rst": text for name, text in pages(known, docs).items()}
    wanted[docs / "catalogue" / "toctrees.inc"] = toctrees(known)
    for folder in FOLDERS:
        (docs / folder).mkdir(exist_ok=True)
        for old in set((docs / folder).iterdir()) - set(wanted):
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    for path, text in wanted.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    sys.dont_write_bytecode = True
    app.connect("builder-inited", write_pages)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
