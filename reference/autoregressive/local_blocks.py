r"""Blocks of a sequence and of an image: who generates together, and what they read.

Which pixels a 2 x 2 block reads with a halo of (1, 2), one row above and two columns beside it:

.. code-block:: text

    . . m m m m m m     q: the query block, in raster order within itself
    . . m m q q - -     m: its memory, blocks that were generated before
    . . m m q q - -     -: to the right of it, generated later: hidden
    . . . . . . . .

Positions are counted in the order of generation throughout, so a block's queries are neighbours and
end its memory. A list of blocks holds, for each, the positions that ask and those that are read.
"""

from __future__ import annotations

__all__ = ["block_order", "local_blocks_1d", "local_blocks_2d"]

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from reference.autoregressive.sampling import raster_order

if TYPE_CHECKING:
    from jaxtyping import Int

    Blocks = Sequence[tuple[Int[Tensor, " _q"], Int[Tensor, " _m"]]]


def block_order(event_shape: Sequence[int], block: tuple[int, int]) -> list[int]:
    r"""List the flattened indices of an image generated one rectangle after another.

    .. math::

        (\lfloor r / b_h \rfloor,\; \lfloor c / b_w \rfloor,\; r,\; c,\; \text{channel})
        \quad\text{in lexicographic order}

    Paper: Image Transformer (Parmar et al., 2018), Section 3.3, https://arxiv.org/abs/1802.05751
    Claims: theory.local_pattern, autoregressive_model.order_is_a_permutation
    Differs: none.

    Args:
        event_shape: (C, H, W).
        block: height and width of a rectangle; those at the border may be smaller.

    Returns:
        D indices: block by block in raster order, and within a block in raster order again.

    Raises:
        ValueError: not an image, or an empty block.

    >>> block_order((1, 2, 4), (2, 2))  # 0 1 | 2 3
    [0, 1, 4, 5, 2, 3, 6, 7]
    """
    if len(event_shape) != 3 or min(block) < 1:
        raise ValueError(f"no blocks of {tuple(block)} in an event of {tuple(event_shape)}")
    (bh, bw), (_, height, width) = block, event_shape
    index = torch.tensor(raster_order(event_shape)).view(height, width, -1)
    corners = product(range(0, height, bh), range(0, width, bw))
    return [i for r, c in corners for i in index[r : r + bh, c : c + bw].flatten().tolist()]


def local_blocks_1d(length: int, block: int) -> Blocks:
    r"""Cut a sequence into blocks, each of which reads itself and the block before.

    .. math::

        M_b = \{s : (b - 1)\, l \le s < (b + 1)\, l\}

    Paper: Image Transformer (Parmar et al., 2018), Section 3.3, https://arxiv.org/abs/1802.05751
    Claims: theory.local_pattern, theory.local_attention_cost
    Differs: the memory is as long as the block; in the paper its length is free.

    Args:
        length: T.
        block: l, the positions in a block; the last may have fewer.

    Returns:
        For each block its positions and those it reads, ascending.

    Raises:
        ValueError: an empty sequence or block.

    >>> [memory.tolist() for _, memory in local_blocks_1d(5, block=2)]
    [[0, 1], [0, 1, 2, 3], [2, 3, 4]]
    """
    if length < 1 or block < 1:
        raise ValueError(f"no blocks of {block} in a sequence of {length}")
    steps = torch.arange(length)
    starts = range(0, length, block)
    return [(steps[s : s + block], steps[max(s - block, 0) : s + block]) for s in starts]


def local_blocks_2d(
    event_shape: Sequence[int], block: tuple[int, int], halo: tuple[int, int]
) -> Blocks:
    r"""Cut an image into rectangles, each of which reads what surrounds it above and beside.

    .. math::

        M_b = \{s \le \max b : r_b - m_h \le \text{row}(s) < r_b + b_h,\;
            c_b - m_w \le \text{column}(s) < c_b + b_w + m_w\}

    Paper: Image Transformer (Parmar et al., 2018), Section 3.3, https://arxiv.org/abs/1802.05751
    Claims: theory.local_pattern, theory.local_attention_cost
    Differs: none.

    Args:
        event_shape: (C, H, W).
        block: (b_h, b_w), as for `block_order`.
        halo: (m_h, m_w), rows above and columns to either side.

    Returns:
        For each block its positions and those it reads, ascending in the order of generation.

    Raises:
        ValueError: as for `block_order`, or a negative halo.

    >>> [memory.tolist() for _, memory in local_blocks_2d((1, 1, 5), (1, 2), halo=(0, 1))]
    [[0, 1], [1, 2, 3], [3, 4]]
    """
    if min(halo) < 0:
        raise ValueError(f"a halo of {tuple(halo)} is negative")
    (bh, bw), (mh, mw), (_, height, width) = block, halo, event_shape
    step = torch.tensor(block_order(event_shape, block)).argsort().view(*event_shape)
    blocks = []
    for r, c in product(range(0, height, bh), range(0, width, bw)):
        queries = step[:, r : r + bh, c : c + bw].flatten().sort().values
        near = step[:, max(r - mh, 0) : r + bh, max(c - mw, 0) : c + bw + mw].flatten()
        blocks.append((queries, near[near <= queries[-1]].sort().values))
    return blocks
