r"""Small repairs of the theme's HTML, for screen readers and for those who use no mouse.

Captions of the menu get the level that a heading must have, blocks of code and formulas can be
reached and scrolled by the keyboard, and the bibliography loses roles that WAI-ARIA has withdrawn
or forbids.
"""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx

__all__ = ["setup"]

REPAIRS = {
    "furo_navigation_tree": [('role="heading"', 'role="heading" aria-level="2"')],
    "body": [
        ("<pre>", '<pre tabindex="0">'),
        ('<div class="math"', '<div tabindex="0" class="math"'),
        (' role="doc-biblioentry"', ""),
        ('<div role="list" class="citation-list">', '<div class="citation-list">'),
    ],
}


def repair(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Changes what the theme has prepared for one page."""
    for part, replacements in REPAIRS.items():
        for old, new in replacements:
            if context.get(part):
                context[part] = context[part].replace(old, new)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("html-page-context", repair, priority=900)  # after the theme's own
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
