r"""Image pieces of a multi-scale flow: squeezing, and the two masks of its couplings.

.. code-block:: text

    squeeze: every 2 x 2 block of a channel becomes one pixel of four channels

      a b | e f          a e     b f     c g     d h
      c d | g h    ───>  i ·     j ·     k ·     l ·        (1, 4, 4) -> (4, 2, 2)
      ----+----
      i j | · ·
      k l | · ·

    checkerboard mask                   channel mask
      0 1 0 1    ones are kept, so every    channels 0 .. C/2-1 are kept, or the others:
      1 0 1 0    moved pixel has four       for squeezed images, whose channels are the
      0 1 0 1    kept neighbours            pixels of a block
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

__all__ = ["channel_mask", "checkerboard_mask", "squeeze", "unsqueeze"]


def squeeze(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n cc hh ww"]:
    r"""Trade resolution for channels: each 2 x 2 block becomes one pixel.

    .. math::

        y_{4c + 2a + b,\, i,\, j} = x_{c,\, 2i + a,\, 2j + b}, \qquad a, b \in \{0, 1\}

    A permutation of the numbers: its log-determinant is 0.

    Paper: Density estimation using Real NVP (Dinh, Sohl-Dickstein, Bengio, 2016), Section 3.6 and
    Figure 3, https://arxiv.org/abs/1605.08803
    Claims: theory.squeeze_is_a_bijection
    Differs: none; the order of the four is not given there.

    Args:
        x: images (N, C, H, W) of even height and width.

    Returns:
        (N, 4 C, H / 2, W / 2).

    Raises:
        ValueError: height or width is odd.

    >>> squeeze(torch.tensor([[[[1, 2], [3, 4]]]]).float()).flatten()
    tensor([1., 2., 3., 4.])
    """
    n, c, h, w = x.shape
    if h % 2 or w % 2:
        raise ValueError(f"height and width must be even to be squeezed, not {h} x {w}")
    blocks = x.reshape(n, c, h // 2, 2, w // 2, 2)  # (N, C, i, a, j, b)
    return blocks.permute(0, 1, 3, 5, 2, 4).reshape(n, 4 * c, h // 2, w // 2)


def unsqueeze(y: Float[Tensor, "n cc hh ww"]) -> Float[Tensor, "n c h w"]:
    r"""Undo `squeeze`: spread every four channels over a 2 x 2 block.

    .. math::

        x_{c,\, 2i + a,\, 2j + b} = y_{4c + 2a + b,\, i,\, j}

    Paper: Density estimation using Real NVP (Dinh, Sohl-Dickstein, Bengio, 2016), Section 3.6 and
    Figure 3, https://arxiv.org/abs/1605.08803
    Claims: theory.squeeze_is_a_bijection
    Differs: none.

    Args:
        y: (N, 4 C, H, W).

    Returns:
        (N, C, 2 H, 2 W).

    Raises:
        ValueError: the number of channels is no multiple of four.

    >>> unsqueeze(squeeze(torch.ones(1, 3, 2, 4))).shape
    torch.Size([1, 3, 2, 4])
    """
    n, c, h, w = y.shape
    if c % 4:
        raise ValueError(f"channels must come in fours to be unsqueezed, not {c}")
    blocks = y.reshape(n, c // 4, 2, 2, h, w)  # (N, C, a, b, i, j)
    return blocks.permute(0, 1, 4, 2, 5, 3).reshape(n, c // 4, 2 * h, 2 * w)


def checkerboard_mask(shape: tuple[int, int, int], first: int) -> Float[Tensor, "c h w"]:
    r"""Keep every second pixel, as the squares of one colour on a chess board.

    .. math::

        b_{c,i,j} = (i + j + f) \bmod 2

    Paper: Density estimation using Real NVP (Dinh, Sohl-Dickstein, Bengio, 2016), Section 3.4,
    https://arxiv.org/abs/1605.08803
    Claims: theory.realnvp_is_triangular
    Differs: none.

    Args:
        shape: (C, H, W).
        first: f, of the top left pixel: 1 if it is kept, or 0.

    Returns:
        zeros and ones (C, H, W).

    >>> checkerboard_mask((1, 2, 3), 0)[0]
    tensor([[0., 1., 0.],
            [1., 0., 1.]])
    """
    rows, columns = torch.arange(shape[1])[:, None], torch.arange(shape[2])
    return ((rows + columns + first) % 2).float().expand(shape)


def channel_mask(shape: tuple[int, int, int], first: int) -> Float[Tensor, "c h w"]:
    r"""Keep the first half of the channels, or the second.

    .. math::

        b_{c,i,j} = \begin{cases} f & c < \lfloor C/2 \rfloor \\ 1 - f & \text{else} \end{cases}

    Paper: Density estimation using Real NVP (Dinh, Sohl-Dickstein, Bengio, 2016), Section 3.4,
    https://arxiv.org/abs/1605.08803
    Claims: theory.realnvp_is_triangular
    Differs: an odd number of channels is allowed; the second half is the larger one.

    Args:
        shape: (C, H, W).
        first: f: 1 if the first half is kept, or 0.

    Returns:
        zeros and ones (C, H, W).

    >>> channel_mask((3, 1, 1), 1).flatten()
    tensor([1., 0., 0.])
    """
    half = (torch.arange(shape[0]) >= shape[0] // 2)[:, None, None]
    return (half ^ bool(first)).float().expand(shape)
