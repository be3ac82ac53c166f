r"""What claims and docstrings cite is in ``docs/references.bib``, and nothing else is.

Skipped where pybtex is missing; ``tox -e docs`` has it.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spec_tests import catalogue

pytest.importorskip("pybtex", reason="pybtex is not installed (tox -e docs)")

ROOT = Path(__file__).parents[2]
# Sources that are no publication: definitions, an identity, another claim, a measurement.
DEFINITIONS = (
    "contracts.md",
    "measured: ",
    "the conditions of sparse_code.kkt",
    "the implicit function theorem",
    "torch.nn.",
    "σ(−a) = 1 − σ(a)",
)


def _bibliography() -> Any:
    """The book's own reader of the file."""
    path = ROOT / "docs" / "_ext" / "bibliography.py"
    spec = importlib.util.spec_from_file_location("bibliography", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _papers() -> Iterator[str]:
    """What the docstrings of the reference models give as ``Paper:``."""
    for path in sorted((ROOT / "reference").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                found = re.search(r"Papers?:(.*?)Claims:", ast.get_docstring(node) or "", re.DOTALL)
                if found:
                    yield " ".join(found[1].split())


BOOK = _bibliography()
cited = BOOK.cited
ENTRIES = BOOK.parse_file(str(ROOT / "docs" / "references.bib")).entries
SOURCES = sorted({source for claim in catalogue.claims() for source in claim.sources})
PAPERS = sorted(set(_papers()))


def _addresses(entry: Any) -> set[str]:
    """Where an entry says that it can be read."""
    prefixes = {"doi": "https://doi.org/", "eprint": "https://arxiv.org/abs/", "url": ""}
    return {
        prefix + entry.fields[name] for name, prefix in prefixes.items() if name in entry.fields
    }


@pytest.mark.parametrize("source", SOURCES)
def test_the_source_of_a_claim_is_in_the_bibliography(source: str) -> None:
    assert source.startswith(DEFINITIONS) or cited(source), (
        f"no entry of docs/references.bib is cited as {source!r}; add one, or the beginning of this "
        "source to the field 'cited' of the entry that is meant"
    )


@pytest.mark.parametrize("paper", PAPERS)
def test_the_addresses_of_a_paper_are_in_the_bibliography(paper: str) -> None:
    known = {address for entry in ENTRIES.values() for address in _addresses(entry)}
    unknown = set(re.findall(r"https?://[^\s;,]+", paper)) - known
    assert not unknown, f"docs/references.bib has no entry with {unknown}"


@pytest.mark.parametrize("key", ENTRIES)
def test_an_entry_is_cited(key: str) -> None:
    entry = ENTRIES[key]
    title = entry.fields["title"].strip("{}").lower()
    by_claim = key in {cited(source) for source in SOURCES}
    by_docstring = any(title in p.lower() or any(a in p for a in _addresses(entry)) for p in PAPERS)
    assert by_claim or by_docstring, f"no claim and no docstring cites {key}"


@pytest.mark.parametrize("key", ENTRIES)
def test_every_way_to_call_an_entry_is_in_use(key: str) -> None:
    names = [" ".join(n.split()) for n in ENTRIES[key].fields.get("cited", "").split(";")]
    unused = [name for name in names if not any(s.startswith(name) for s in SOURCES)]
    assert not unused, f"{key} says that claims cite it as {unused}, and none does"


def test_definitions_are_sources() -> None:
    unused = [name for name in DEFINITIONS if not any(s.startswith(name) for s in SOURCES)]
    assert not unused, f"no claim has {unused} for a source"
