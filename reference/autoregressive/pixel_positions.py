r"""Where a sub-pixel is: waves of many lengths for its row, and for its column and channel.

.. code-block:: text

    row r                 column c, channel k of C
    [ sin cos sin cos  |  sin cos sin cos ]        E numbers, half for each coordinate
      of r                of c C + k               slow waves tell far places apart, fast ones near
"""

from __future__ import annotations

__all__ = ["coordinate_encoding"]

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float


def coordinate_encoding(event_shape: Sequence[int], embed_dim: int) -> Float[Tensor, "c h w e"]:
    r"""Encode row, column and channel of every sub-pixel of an image.

    .. math::

        P_{k,r,c} = [\varphi(r),\; \varphi(cC + k)], \qquad
        \varphi(i) = (\sin \omega_j i,\, \cos \omega_j i)_{j < E/4}, \quad
        \omega_j = 10000^{-4j/E}

    Paper: Image Transformer (Parmar et al., 2018), Section 3.1 (sines and cosines, half for the
    row, half for column and channel), https://arxiv.org/abs/1802.05751
    Claims: theory.image_transformer_positions
    Differs: none.

    Args:
        event_shape: (C, H, W).
        embed_dim: E, a multiple of 4.

    Returns:
        (C, H, W, E), entries in [-1, 1].

    Raises:
        ValueError: not an image, or an E that is no multiple of 4.

    >>> coordinate_encoding((1, 1, 2), 4)[0, 0]
    tensor([[0.0000, 1.0000, 0.0000, 1.0000],
            [0.0000, 1.0000, 0.8415, 0.5403]])
    """
    if len(event_shape) != 3 or embed_dim % 4:
        raise ValueError(f"{embed_dim} numbers cannot place an event of {tuple(event_shape)}")
    channels, height, width = event_shape
    rate = 10000 ** (-torch.arange(0, embed_dim, 4) / embed_dim)  # (E / 4,)

    def waves(places: Tensor) -> Tensor:
        angle = places[..., None] * rate
        return torch.stack([angle.sin(), angle.cos()], -1).flatten(-2)  # (..., E / 2)

    rows = waves(torch.arange(height)).expand(channels, width, -1, -1).transpose(1, 2)
    across = torch.arange(width) * channels + torch.arange(channels)[:, None]  # (C, W)
    columns = waves(across)[:, None].expand_as(rows)
    return torch.cat([rows, columns], -1)
