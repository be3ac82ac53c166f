r"""Which entry of ``docs/references.bib`` a source means.

Sources are written for people: ``Kingma and Welling 2013, section 2.3``. An entry lists in its
field ``cited`` how it is called at the start of such a line, with ``;`` between several ways.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pybtex.database import BibliographyData, parse_file

__all__ = ["cited"]

_FILE = Path(__file__).parents[1] / "references.bib"


@cache
def _names() -> dict[str, str]:
    """The keys of the entries by the names that they are called by, longest first."""
    entries: BibliographyData = parse_file(str(_FILE))
    found = {
        " ".join(name.split()): key
        for key, entry in entries.entries.items()
        for name in entry.fields.get("cited", "").split(";")
        if name.strip()
    }
    return dict(sorted(found.items(), key=lambda pair: -len(pair[0])))


def cited(source: str) -> str | None:
    """The key of the entry that a source starts with; None for definitions and folklore."""
    return next((key for name, key in _names().items() if source.startswith(name)), None)
