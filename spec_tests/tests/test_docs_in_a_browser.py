r"""The built book in a browser: axe-core finds nothing to complain of, nothing is wider than a phone.

Skipped unless ``GENSPEC_DOCS`` names a built site and Chromium is installed; ``tox -e docs`` has the
rest. Axe-core's rules are those of WCAG 2.1, levels A and AA, in both colour schemes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="it brings axe-core")

SITE = Path(os.environ.get("GENSPEC_DOCS", ""))
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}}
# One page of every kind that a generator or a person writes.
PAGES = [
    "index",
    "start-here",
    "verify-your-model",
    "concepts",
    "conventions",
    "contribute",
    "glossary",
    "bibliography",
    "pictures",
    "train",
    "digits",
    "search",
    "catalogue/contracts",
    "catalogue/general-claims",
    "catalogue/classic-mistakes",
    "catalogue/right-but-unusual",
    "families/adversarial",
    "families/latent",
    "contracts/vae",
    "claims/theory.tweedie",
    "claims/vae.elbo_below_log_likelihood",
    "claims/flow.log_det_is_jacobian",
    "mistakes/flow.log_det_of_the_inverse",
    "reference/latent",
    "reference/latent/vae",
]

pytestmark = pytest.mark.skipif(
    "GENSPEC_DOCS" not in os.environ or CHROMIUM is None,
    reason="needs a built site in GENSPEC_DOCS (tox -e docs) and Chromium",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


def opened(browser: Any, name: str, **options: Any) -> Any:
    page = browser.new_page(**options)
    page.goto((SITE / f"{name}.html").resolve().as_uri(), wait_until="load")
    return page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing(browser: Any, name: str, scheme: str) -> None:
    page = opened(browser, name, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true; })")
    found = axe.Axe().run(page, options=RULES)
    page.close()
    problems = [
        f"{violation['id']}: {violation['help']}: {node['html'][:200]} ({node['failureSummary']})"
        for violation in found.response["violations"]
        for node in violation["nodes"][:3]
    ]
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_wider_than_a_phone(browser: Any, name: str) -> None:
    page = opened(browser, name, viewport={"width": 390, "height": 844})
    width = page.evaluate("document.documentElement.scrollWidth")
    page.close()
    assert width <= 390, f"{name} is {width} pixels wide"


def test_the_keyboard_opens_a_fold(browser: Any) -> None:
    page = opened(browser, "mistakes/flow.log_det_of_the_inverse")
    page.locator("details.fold > summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("details.fold").first.evaluate("fold => fold.open")
    page.close()


def test_search_finds_a_claim_without_a_network(browser: Any) -> None:
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.goto((SITE / "search.html").resolve().as_uri() + "?q=tweedie")
    page.wait_for_selector("#search-results li a", timeout=20_000)
    found = [link.get_attribute("href") for link in page.locator("#search-results li a").all()]
    assert any("theory.tweedie" in (target or "") for target in found), found
    context.close()
