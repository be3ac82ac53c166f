r"""What pictures there are, and which claim each of them illustrates."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["MODULES", "Drawing", "Picture", "picture", "picture_for", "pictures"]

MODULES = (
    "divergences",
    "autoregressive",
    "autoencoders",
    "latent",
    "flows",
    "energy",
    "adversarial",
    "dirac",
    "slopes",
)
_PICTURES: dict[str, Picture] = {}


class Drawing(NamedTuple):
    """A figure, and what it shows in a sentence for those who do not see it."""

    figure: Figure
    alt: str


@dataclass(frozen=True)
class Picture:
    """One registered picture.

    Args:
        name: by which ``.. picture::`` asks for it; its function's, unless that name is taken.
        title: a few words.
        family: whose page it belongs to.
        claims: ids of what it illustrates, the first one most.
        draw: computes it.
    """

    name: str
    title: str
    family: str
    claims: tuple[str, ...]
    draw: Callable[[], Drawing]


def picture(
    title: str, *, family: str, claims: list[str], name: str = ""
) -> Callable[[Callable[[], Drawing]], Callable[[], Drawing]]:
    """Registers a function that draws."""

    def register(draw: Callable[[], Drawing]) -> Callable[[], Drawing]:
        known = name or draw.__name__
        if known in _PICTURES:
            raise ValueError(f"there are two pictures called {known!r}")
        _PICTURES[known] = Picture(known, title, family, tuple(claims), draw)
        return draw

    return register


@functools.cache
def pictures() -> dict[str, Picture]:
    """Every picture by its name."""
    for module in MODULES:
        importlib.import_module(f"pictures.{module}")
    return _PICTURES


def picture_for(claim_id: str) -> str | None:
    """The name of the picture that illustrates a claim, if there is one.

    Among several it is the one that names the claim first in its own list.
    """
    found = [p for p in pictures().values() if claim_id in p.claims]
    return min(found, key=lambda p: p.claims.index(claim_id)).name if found else None
