r"""How images of levels look to a model of real or binary numbers, and back; and lines of codes.

.. code-block:: text

    level      0     1     2     3    of K = 4
    pixel      0    1/3   2/3    1        what an autoencoder rebuilds
    binary     0     0     1     1        what a machine of binary units is told
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["Row", "binary", "lines", "pixels", "shown"]

Row = tuple[str, Tensor]  # what the row shows, and its images as levels (N, C, H, W); -1: unknown


def pixels(x: Tensor, levels: int) -> Tensor:
    """Levels as real numbers in [0, 1]."""
    return x / max(levels - 1, 1)


def binary(x: Tensor, levels: int) -> Tensor:
    """1 for the upper half of the levels, 0 for the lower, as real numbers."""
    return (2 * x >= levels - 1).to(torch.get_default_dtype())


def shown(values: Tensor, event_shape: tuple[int, ...], levels: int) -> Tensor:
    """The level next to each number of [0, 1], as images."""
    nearest = (values * (levels - 1)).round().clamp(0, levels - 1)
    return nearest.long().view(-1, *event_shape)


def lines(codes: Tensor, decode: Callable[[Tensor], Tensor], count: int) -> list[Row]:
    """Rows of what lies on the straight line from one code to the next one, and between others.

    Args:
        codes: of as many images as a row is long, (N, \\*code).
        decode: from codes to images of levels.
        count: of rows.
    """
    n = len(codes)
    steps = torch.linspace(0, 1, n, device=codes.device).view(-1, *(1,) * (codes.dim() - 1))
    ends = ((codes[2 * row % n], codes[(2 * row + 1) % n]) for row in range(count))
    return [("between", decode(start + steps * (end - start))) for start, end in ends]
