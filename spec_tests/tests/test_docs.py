r"""The built book: offline, formulas rendered, a page for each thing, every link resolved.

Skipped unless ``GENSPEC_DOCS`` names a built site; ``tox -e docs`` builds one and runs these tests.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from spec_tests import catalogue
from spec_tests.contracts import CONTRACTS

SITE = Path(os.environ.get("GENSPEC_DOCS", ""))

pytestmark = pytest.mark.skipif(
    "GENSPEC_DOCS" not in os.environ, reason="GENSPEC_DOCS names no built site (tox -e docs)"
)

# Elements whose attributes make a browser fetch something, and those attributes.
FETCHES = {
    "link": ("href", "imagesrcset"),
    "script": ("src",),
    "img": ("src", "srcset"),
    "source": ("src", "srcset"),
    "iframe": ("src",),
    "video": ("src", "poster"),
    "audio": ("src",),
    "embed": ("src",),
    "object": ("data",),
    "input": ("src",),
    "image": ("href", "xlink:href"),
    "use": ("href", "xlink:href"),
    "track": ("src",),
}
ELSEWHERE = re.compile(r"^\s*(?:[a-z]+:)?//", re.IGNORECASE)
CSS_ADDRESS = re.compile(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)", re.IGNORECASE)
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"}


@dataclass
class Page:
    """What a test needs to know of one page."""

    path: Path
    ids: Counter[str] = field(default_factory=Counter)
    links: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    styles: list[str] = field(default_factory=list)
    formulas: list[str] = field(default_factory=list)  # the text that a reader sees in each
    text: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.path.relative_to(SITE).as_posix()


class Reader(HTMLParser):
    """Fills a :class:`Page`."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.page = Page(path)
        self.open: list[tuple[str, str]] = []  # (element, its classes)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if "id" in values:
            self.page.ids[values["id"]] += 1
        if tag == "a" and "href" in values:
            self.page.links.append(values["href"])
        self.page.fetched += [values[name] for name in FETCHES.get(tag, ()) if name in values]
        if "style" in values:
            self.page.styles.append(values["style"])
        classes = values.get("class", "")
        if tag in ("div", "span") and "math" in classes.split():
            self.page.formulas.append("")
        if tag not in VOID:
            self.open.append((tag, classes))

    def handle_endtag(self, tag: str) -> None:
        names = [name for name, _ in self.open]
        if tag in names:
            del self.open[len(names) - 1 - names[::-1].index(tag) :]

    def handle_data(self, data: str) -> None:
        inside = [name for name, _ in self.open]
        if "style" in inside:
            self.page.styles.append(data)
        if "script" in inside or "style" in inside:
            return
        in_formula = any(
            name in ("div", "span") and "math" in classes.split() for name, classes in self.open
        )
        if in_formula and "annotation" not in inside:
            self.page.formulas[-1] += data
        elif not {"pre", "code", "annotation"} & set(inside):
            self.page.text.append(data)


@cache
def site() -> dict[str, Page]:
    """Every page of the book by its path within the site."""
    found = {}
    for path in sorted(SITE.rglob("*.html")):
        reader = Reader(path)
        reader.feed(path.read_text(encoding="utf-8"))
        found[reader.page.name] = reader.page
    return found


def addresses(style: str) -> list[str]:
    """What a stylesheet makes a browser fetch."""
    return [first or second for first, second in CSS_ADDRESS.findall(style)]


def test_the_site_was_built() -> None:
    assert len(site()) > 10, f"{SITE} holds {len(site())} pages; is it a built site?"


def test_no_page_fetches_from_elsewhere() -> None:
    found = [
        f"{page.name}: {address}"
        for page in site().values()
        for address in [*page.fetched, *(a for style in page.styles for a in addresses(style))]
        if ELSEWHERE.match(address)
    ]
    assert not found, "\n".join(found)


def test_no_stylesheet_fetches_from_elsewhere_or_what_is_missing() -> None:
    found = []
    for path in SITE.rglob("*.css"):
        for address in addresses(path.read_text(encoding="utf-8")):
            if address.startswith(("data:", "#")):
                continue
            if ELSEWHERE.match(address) or not (path.parent / urlsplit(address).path).exists():
                found.append(f"{path.relative_to(SITE)}: {address}")
    assert not found, "\n".join(found)


def test_no_script_fetches_from_elsewhere() -> None:
    calls = re.compile(
        r"""(?:fetch|importScripts|import|\.open)\(\s*(?:"GET",\s*)?["'`](?:[a-z]+:)?//[^"'`]*"""
        r"""|\.src\s*=\s*["'`](?:[a-z]+:)?//[^"'`]*"""
    )
    found = [
        f"{path.relative_to(SITE)}: {match[0]}"
        for path in SITE.rglob("*.js")
        for match in calls.finditer(path.read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(found)


def test_every_formula_is_rendered() -> None:
    total, raw = 0, []
    for page in site().values():
        for formula in page.formulas:
            total += 1
            if "\\" in formula or "$" in formula or not formula.strip():
                raw.append(f"{page.name}: {formula.strip()[:80]!r}")
    assert total >= len(catalogue.claims()) // 4, f"only {total} formulas on all pages"
    assert not raw, "\n".join(raw)


def test_no_markup_is_left_in_the_text() -> None:
    leftovers = re.compile(r"\\[a-z]{3,}[ {_^(\\]|:(?:math|ref|doc|class|func):`|``|^\s*\.\. \w+::")
    found = [
        f"{page.name}: {text.strip()[:80]!r}"
        for page in site().values()
        for text in page.text
        if leftovers.search(text)
    ]
    assert not found, "\n".join(found)


def places(anchor: str) -> list[tuple[str, int]]:
    """The pages that hold an address, and how often."""
    return [(page.name, page.ids[anchor]) for page in site().values() if page.ids[anchor]]


def linked(page: str) -> set[str]:
    """The pages that a page leads to, by their paths in the site."""
    here = (SITE / page).parent
    parts = (urlsplit(link) for link in site()[page].links)
    targets = ((here / unquote(part.path)).resolve() for part in parts if part.path)
    return {os.path.relpath(target, SITE.resolve()) for target in targets}


def test_every_claim_has_a_page_of_its_own_to_which_its_family_leads() -> None:
    wrong = []
    for claim in catalogue.claims():
        own = f"claims/{claim.id}.html"
        if places(claim.id) != [(own, 1)]:
            wrong.append(f"{claim.id}: expected once on {own}, found {places(claim.id)}")
        elif own not in linked(f"families/{claim.family}.html"):
            wrong.append(f"{claim.id}: families/{claim.family}.html does not lead to it")
    assert not wrong, "\n".join(wrong)


def test_every_contract_has_a_page_of_its_own_to_which_its_family_leads() -> None:
    wrong = []
    for contract in CONTRACTS.values():
        own = f"contracts/{contract.name}.html"
        if contract.name != "theory" and (
            own not in site()
            or site()[own].ids[contract.name] != 1
            or own not in linked(f"families/{contract.family}.html")
        ):
            wrong.append(own)
    assert not wrong, f"not there, or not led to: {wrong}"


def test_every_mutant_has_a_page_of_its_own_to_which_its_family_leads() -> None:
    families = {claim.id: claim.family for claim in catalogue.claims()}
    wrong = []
    for mutant in catalogue.mutants():
        own = f"mistakes/{mutant.contract}.{mutant.name}.html"
        family = families[mutant.rejected_by[0]]
        if places(f"mutant.{mutant.contract}.{mutant.name}") != [(own, 1)]:
            wrong.append(own)
        elif own not in linked(f"families/{family}.html"):
            wrong.append(f"{own}: families/{family}.html does not lead to it")
    assert not wrong, "\n".join(wrong)


def test_every_control_has_its_place() -> None:
    wanted = [f"control.{c.contract}.{c.name}" for c in catalogue.controls()]
    wrong = [anchor for anchor in wanted if [n for _, n in places(anchor)] != [1]]
    assert not wrong, f"not at exactly one place: {wrong}"


def test_every_reference_file_has_a_page_of_its_own_to_which_its_family_leads() -> None:
    wrong = []
    for path in sorted((Path(__file__).parents[2] / "reference").glob("*/[!_]*.py")):
        family, own = path.parent.name, f"reference/{path.parent.name}/{path.stem}.html"
        if own not in site() or own not in linked(f"families/{family}.html"):
            wrong.append(own)
    assert not wrong, f"not there, or not led to: {wrong}"


def test_every_id_of_a_page_is_unique() -> None:
    found = [
        f"{page.name}: {id} {count} times"
        for page in site().values()
        for id, count in page.ids.items()
        if count > 1
    ]
    assert not found, "\n".join(found)


def test_every_internal_link_resolves() -> None:
    broken = []
    for page in site().values():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path
            name = os.path.relpath(target, SITE.resolve()) if parts.path else page.name
            anchor = unquote(parts.fragment)
            if not target.exists() or (anchor and name in site() and not site()[name].ids[anchor]):
                broken.append(f"{page.name}: {link}")
    assert not broken, "\n".join(broken)
