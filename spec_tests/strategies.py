r"""Strategies for what claims draw: plural nouns, valid by construction, in float64 on the CPU.

The harness moves what is drawn to the device and dtype of the cell. Small arrays are drawn number by
number, so that Hypothesis can shrink them; :func:`normals` fills larger ones from a drawn seed.
"""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import Tensor

__all__ = [
    "integers_below",
    "normals",
    "positives",
    "reals",
    "seeded",
    "simplex_pairs",
    "simplexes",
    "sizes",
    "standard_normal",
]


def sizes(smallest: int, largest: int) -> st.SearchStrategy[int]:
    """Integers in ``[smallest, largest]``."""
    return st.integers(smallest, largest)


def _number(low: float, high: float) -> st.SearchStrategy[float]:
    """Numbers in ``[low, high]``: round ones (which shrink well, and meet ties and zeros) and any."""
    whole = st.integers(int(low), int(high)).map(float)
    eighths = st.integers(int(low * 8), int(high * 8)).map(lambda n: n / 8)
    return st.one_of(whole, eighths, st.floats(low, high, allow_subnormal=False))


def reals(
    shape: tuple[int, ...], low: float = -3.0, high: float = 3.0
) -> st.SearchStrategy[Tensor]:
    """Tensors of ``shape`` with entries in ``[low, high]``, zeros and ties included."""
    count = int(torch.Size(shape).numel())
    entries = st.lists(_number(low, high), min_size=count, max_size=count)
    return entries.map(lambda values: torch.tensor(values, dtype=torch.float64).reshape(shape))


def normals(
    shape: tuple[int, ...], scale: float = 1.0, shift: float = 0.0
) -> st.SearchStrategy[Tensor]:
    """Tensors of ``shape`` with independent normal entries, from a drawn seed."""

    def fill(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return shift + scale * torch.randn(shape, generator=generator, dtype=torch.float64)

    return st.integers(0, 2**31 - 1).map(fill)


def positives(
    shape: tuple[int, ...], low: float = 0.05, high: float = 2.0
) -> st.SearchStrategy[Tensor]:
    """Tensors of ``shape`` with entries in ``[low, high]``, ``low > 0``."""
    count = int(torch.Size(shape).numel())
    entries = st.lists(st.floats(low, high), min_size=count, max_size=count)
    return entries.map(lambda values: torch.tensor(values, dtype=torch.float64).reshape(shape))


def integers_below(levels: int, shape: tuple[int, ...]) -> st.SearchStrategy[Tensor]:
    """Long tensors of ``shape`` with entries in ``[0, levels)``."""
    count = int(torch.Size(shape).numel())
    entries = st.lists(st.integers(0, levels - 1), min_size=count, max_size=count)
    return entries.map(lambda values: torch.tensor(values, dtype=torch.long).reshape(shape))


@st.composite
def simplexes(draw: st.DrawFn, size: int, interior: bool = False) -> Tensor:
    """Probability vectors ``(size,)``; zeros occur unless ``interior``, never all of them."""
    low = 1 if interior else 0
    weights = draw(st.lists(st.integers(low, 20), min_size=size, max_size=size))
    if sum(weights) == 0:
        weights[draw(st.integers(0, size - 1))] = 1
    drawn = torch.tensor(weights, dtype=torch.float64)
    return drawn / drawn.sum()


@st.composite
def simplex_pairs(
    draw: st.DrawFn, smallest: int = 1, largest: int = 6, interior: bool = False
) -> tuple[Tensor, Tensor]:
    """Two probability vectors over one set of ``smallest`` to ``largest`` points."""
    size = draw(st.integers(smallest, largest))
    return draw(simplexes(size, interior)), draw(simplexes(size, interior))


def seeded(seed: int) -> torch.Generator:
    """A generator on the CPU, for what a claim draws itself."""
    return torch.Generator().manual_seed(seed)


def standard_normal(source: torch.Generator, *shape: int) -> Tensor:
    """Independent standard normal numbers in float64."""
    return torch.randn(shape, generator=source, dtype=torch.float64)
