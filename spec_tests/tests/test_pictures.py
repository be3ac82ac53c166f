r"""The book's pictures: each is a small SVG of its own, says what it shows, and is always the same.

Skipped without matplotlib or Sphinx, which only the book needs; `tox -e docs` has both.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from spec_tests import catalogue

EXTENSIONS = Path(__file__).parents[2] / "docs" / "_ext"
MOST = 60_000  # bytes of one picture
COLOURS = re.compile(r"#[0-9a-fA-F]{3,8}\b(?!-)")

pytest.importorskip("matplotlib")
pytest.importorskip("sphinx")


@pytest.fixture(scope="module")
def book() -> Any:
    """The registry and the renderer of the book's pictures."""
    sys.path.insert(0, str(EXTENSIONS))
    try:
        import pictures
        import pictures.svg

        pictures.pictures()
        yield pictures
    finally:
        sys.path.remove(str(EXTENSIONS))


def _names() -> list[str]:
    """Read from the source, so that nothing is drawn while tests are collected."""
    found = []
    for path in sorted((EXTENSIONS / "pictures").glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            for mark in getattr(node, "decorator_list", ()):
                if isinstance(mark, ast.Call) and getattr(mark.func, "id", "") == "picture":
                    options = {k.arg: k.value for k in mark.keywords}
                    name = options.get("name")
                    found.append(name.value if isinstance(name, ast.Constant) else node.name)
    return found


@pytest.mark.parametrize("name", _names())
def test_a_picture_is_small_accessible_and_self_contained(book: Any, name: str) -> None:
    text = book.svg.inline_svg(name, "here-")
    root = ElementTree.fromstring(text)
    assert len(text.encode()) < MOST, f"{len(text.encode())} bytes"
    title = root.find("{http://www.w3.org/2000/svg}title")
    assert title is not None and title.text, "has no title"
    alt = root.attrib["aria-label"]
    assert root.attrib["role"] == "img"
    assert len(alt) > 60 and alt.endswith(".") and re.search(r"\d", alt), f"says little: {alt!r}"
    inside = text.replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert "://" not in inside and "@" not in inside, "refers to something elsewhere"
    ids = [e.attrib["id"] for e in root.iter() if "id" in e.attrib]
    assert len(ids) == len(set(ids)) and all(i.startswith("here-") for i in ids), ids
    used = {e.attrib["href"] for e in root.iter() if "href" in e.attrib}
    used |= set(re.findall(r"url\(([^)]+)\)", inside))
    assert used <= {f"#{i}" for i in ids}, f"refers to {used - {f'#{i}' for i in ids}}"
    fixed = [s for e in root.iter() if COLOURS.search(s := e.get("style", ""))]
    assert not fixed, f"has a colour that dark pages cannot change: {fixed[:3]}"


@pytest.mark.parametrize("name", _names())
def test_a_picture_is_the_same_whenever_it_is_drawn(book: Any, name: str) -> None:
    first = book.svg.drawn(name)
    book.svg.drawn.cache_clear()
    assert book.svg.drawn(name) == first


def test_pictures_illustrate_claims_that_exist(book: Any) -> None:
    known = {claim.id: claim.family for claim in catalogue.claims()}
    for found in book.pictures().values():
        assert set(found.claims) <= set(known), set(found.claims) - set(known)
        assert found.family in set(known.values()), found.family
        assert book.picture_for(found.claims[0]) == found.name
    assert book.picture_for("no.such_claim") is None


def test_every_picture_is_on_the_page_of_pictures(book: Any) -> None:
    page = (EXTENSIONS.parent / "pictures.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"\{picture\} (\w+)", page)) == sorted(book.pictures())
