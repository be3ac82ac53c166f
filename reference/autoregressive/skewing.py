r"""Skewing: a map whose columns are the diagonals of an image, so that one step takes a diagonal.

.. code-block:: text

    a b c  skew      a b c . .       row r is moved right by r; pixel (r, c) is now in column r + c.
    d e f  ------>   . d e f .       left of e and above e are d and b, and both
    g h i  <------   . . g h i       are now in the column before e's.
           unskew
"""

from __future__ import annotations

__all__ = ["skew", "unskew"]

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Shaped


def skew(x: Shaped[Tensor, "*n h w"]) -> Shaped[Tensor, "*n h d"]:
    r"""Move each row one column further right than the row above it; zeros fill the gaps.

    .. math::

        s_{r,\,r+c} = x_{r,c}, \qquad s_{r,\,j} = 0 \text{ elsewhere}

    Paper: Pixel Recurrent Neural Networks (van den Oord, Kalchbrenner, Kavukcuoglu, 2016),
    Section 3.2 and Figure 3, https://arxiv.org/abs/1601.06759
    Claims: theory.skew_unskew, theory.diagonal_lstm_equations
    Differs: any height and width, where the paper's images are square.

    Args:
        x: (..., H, W), both at least 1.

    Returns:
        (..., H, H + W - 1).

    >>> import torch
    >>> skew(torch.tensor([[1, 2, 3], [4, 5, 6]]))
    tensor([[1, 2, 3, 0],
            [0, 4, 5, 6]])
    """
    height, width = x.shape[-2:]
    diagonals = height + width - 1
    # In a line, row r of the padded map begins at r (H + W); cut into rows one shorter, at
    # r (H + W - 1) + r: in column r.
    line = F.pad(x, (0, height)).flatten(-2)
    return line[..., : height * diagonals].reshape(*x.shape[:-1], diagonals)


def unskew(s: Shaped[Tensor, "*n h d"]) -> Shaped[Tensor, "*n h w"]:
    r"""Move each row back to where it was before `skew`.

    .. math::

        x_{r,c} = s_{r,\,r+c}

    Paper: Pixel Recurrent Neural Networks (van den Oord, Kalchbrenner, Kavukcuoglu, 2016),
    Section 3.2, https://arxiv.org/abs/1601.06759
    Claims: theory.skew_unskew, theory.diagonal_lstm_equations
    Differs: any height and width, where the paper's images are square.

    Args:
        s: (..., H, H + W - 1); what stands in the gaps is dropped.

    Returns:
        (..., H, W).

    Raises:
        ValueError: fewer columns than rows.

    >>> import torch
    >>> unskew(torch.tensor([[1, 2, 3, 9], [9, 4, 5, 6]]))
    tensor([[1, 2, 3],
            [4, 5, 6]])
    """
    height, diagonals = s.shape[-2:]
    if diagonals < height:
        raise ValueError(f"a skewed map has H + W - 1 columns, not {diagonals} of H = {height}")
    line = F.pad(s.flatten(-2), (0, height))
    return line.reshape(*s.shape[:-1], diagonals + 1)[..., : diagonals + 1 - height]
