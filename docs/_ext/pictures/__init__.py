r"""The book's pictures: drawn from the reference models while the book is built.

A module for each family holds functions marked ``@picture``; each computes what it shows with the
reference code and returns a figure and the sentence that says the same in words. ``render`` makes
of it an SVG that takes its colours from the page, and ``.. picture:: NAME`` puts it there.
"""

from __future__ import annotations

from pictures.registry import Drawing, Picture, picture, picture_for, pictures

__all__ = ["Drawing", "Picture", "picture", "picture_for", "pictures", "setup"]


def setup(app):  # type: ignore[no-untyped-def]
    """Sphinx's entry point; what it needs is imported only here."""
    from pictures.directive import setup as add_directive

    return add_directive(app)
