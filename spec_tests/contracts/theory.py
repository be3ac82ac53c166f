r"""Theory: claims that hold between several pieces of one library, judged on the reference.

The subject of a ``theory.*`` claim is a set of pieces. It is called with the reference pieces (every
public name of :mod:`reference`, by attribute) and returns the pieces to judge; a mutant replaces one.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any, Protocol

from spec_tests.contracts import add
from spec_tests.registry import Contract

__all__ = ["Pieces", "TheoryPieces"]


class TheoryPieces(Protocol):
    """``(pieces) -> pieces``: the reference pieces, some of them replaced."""

    def __call__(self, pieces: Pieces) -> Pieces: ...


class Pieces:
    """Every public function and class of :mod:`reference` as an attribute; assign to replace one."""

    def __init__(self) -> None:
        package = importlib.import_module("reference")
        for family in pkgutil.iter_modules(package.__path__, "reference."):
            module: Any = importlib.import_module(family.name)
            for name in getattr(module, "__all__", ()):
                setattr(self, name, getattr(module, name))


add(
    Contract(
        name="theory",
        family="theory",
        kind="theory",
        signature="(pieces) -> pieces",
        summary="Theorems that hold between several reference pieces.",
        protocol=TheoryPieces,
    )
)
