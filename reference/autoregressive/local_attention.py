r"""Local attention: each block of a sequence reads a memory of fixed size, and nothing else.

Who reads whom with blocks of three positions in a line, a row for each reader (x: own block, m: the
block before; the last block is shorter):

.. code-block:: text

        0 1 2 3 4 5 6 7
    0   x . . . . . . .
    1   x x . . . . . .
    2   x x x . . . . .
    3   m m m x . . . .
    4   m m m x x . . .
    5   m m m x x x . .
    6   . . . m m m x .
    7   . . . m m m x x
"""

from __future__ import annotations

__all__ = ["local_attention", "local_field"]

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from reference.autoregressive.attention import causal_attention

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    Blocks = Sequence[tuple[Int[Tensor, " _q"], Int[Tensor, " _m"]]]


def local_attention(
    query: Float[Tensor, "*batch t e"],
    key: Float[Tensor, "*batch t e"],
    value: Float[Tensor, "*batch t v"],
    blocks: Blocks,
) -> Float[Tensor, "*batch t v"]:
    r"""Attend block by block: no score is computed between positions that are far apart.

    .. math::

        y_t = \sum_{s \in M_{b(t)},\, s \le t} a_{ts} v_s, \qquad
        a_{ts} \propto \exp(q_t \cdot k_s / \sqrt{E})

    Paper: Image Transformer (Parmar et al., 2018), Section 3.3, https://arxiv.org/abs/1802.05751
    Claims: theory.local_attention_cost, theory.local_pattern,
    theory.block_as_large_as_image_is_full_attention
    Differs: the last block is shorter, where the paper pads it with zeros.

    Args:
        query, key, value: as for `causal_attention`, T positions each.
        blocks: as from `local_blocks_1d` and `local_blocks_2d`, covering all T in turn.

    Returns:
        The averages (..., T, V).

    >>> one, two, three = torch.arange(3).split(1)
    >>> blocks = [(one, one), (two, torch.tensor([0, 1])), (three, torch.tensor([1, 2]))]
    >>> local_attention(*torch.eye(3).expand(3, 3, 3), blocks)
    tensor([[1.0000, 0.0000, 0.0000],
            [0.3595, 0.6405, 0.0000],
            [0.0000, 0.3595, 0.6405]])
    """
    parts = [
        causal_attention(query[..., q, :], key[..., m, :], value[..., m, :]) for q, m in blocks
    ]
    return torch.cat(parts, -2)


def local_field(blocks: Blocks, layers: int) -> Bool[Tensor, "t t"]:
    r"""Compose the pattern of a layer with itself: which inputs reach which logits.

    .. math::

        R_{t,j} = \bigl(P^{L}\bigr)_{t,\,j+1}

    in Boolean algebra, P the pattern of one layer; position j + 1 is given the level drawn at j.

    Paper: Image Transformer (Parmar et al., 2018), Section 3.3, https://arxiv.org/abs/1802.05751
    Claims: theory.local_layers_reach_further, autoregressive_model.uses_the_allowed_past
    Differs: none; the paper does not compute it.

    Args:
        blocks: as for `local_attention`.
        layers: L.

    Returns:
        (T, T), both axes in the order of generation: row t, column j is True where the logits of t
        may use the level drawn at j.

    >>> one, two, three = torch.arange(3).split(1)
    >>> blocks = [(one, one), (two, torch.tensor([0, 1])), (three, three)]
    >>> local_field(blocks, layers=1).int()
    tensor([[0, 0, 0],
            [1, 0, 0],
            [0, 1, 0]], dtype=torch.int32)
    """
    length = sum(len(queries) for queries, _ in blocks)
    pattern = torch.zeros(length, length)
    for queries, memory in blocks:
        pattern[queries[:, None], memory] = (memory <= queries[:, None]).float()
    reach = torch.eye(length)
    for _ in range(layers):
        reach = (reach @ pattern > 0).float()  # counts paths
    return torch.cat([reach[:, 1:], torch.zeros(length, 1)], dim=1) > 0
