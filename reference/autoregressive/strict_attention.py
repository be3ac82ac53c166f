r"""Causal attention that leaves the position itself out, as the first layer of a model must.

.. code-block:: text

        0 1 2 3
    0   . . . .       nobody to read: the average of nothing is set to zero
    1   x . . .
    2   x x . .
    3   x x x .
"""

from __future__ import annotations

__all__ = ["CausalAttentionBlock", "strictly_causal_attention"]

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reference.autoregressive.attention import causal_attention
from reference.autoregressive.gated_resnet import GatedResNetBlock

if TYPE_CHECKING:
    from jaxtyping import Float


def strictly_causal_attention(
    query: Float[Tensor, "*batch t e"],
    key: Float[Tensor, "*batch t e"],
    value: Float[Tensor, "*batch t v"],
) -> Float[Tensor, "*batch t v"]:
    r"""Average the values of all earlier positions, the weights from how well keys fit the query.

    .. math::

        y_0 = 0, \qquad y_t = \sum_{s < t} a_{ts} v_s, \qquad
        a_{ts} = \frac{\exp(q_t \cdot k_s / \sqrt{E})}{\sum_{r < t} \exp(q_t \cdot k_r / \sqrt{E})}

    Position t reads up to t - 1: causal attention of the queries from the second on, to the keys up
    to the last but one. No softmax is ever taken over nothing, which would be 0 / 0.

    Paper: PixelSNAIL: An Improved Autoregressive Generative Model (Chen, Mishra, Rohaninejad,
    Abbeel, 2018), model architecture, https://arxiv.org/abs/1712.09763
    Claims: theory.first_pixel_attends_to_nothing, autoregressive_model.causality
    Differs: none.

    Args:
        query: What is asked for (..., T, E).
        key: What is offered (..., T, E); position t may hold the answer to query t.
        value: What is averaged (..., T, V).

    Returns:
        The averages (..., T, V); the first is zero.

    >>> value = torch.tensor([[3.0], [5.0], [1.0]])
    >>> strictly_causal_attention(*torch.zeros(2, 3, 1), value).flatten()
    tensor([0., 3., 4.])
    """
    read = causal_attention(query[..., 1:, :], key[..., :-1, :], value[..., :-1, :])
    return F.pad(read, (0, 0, 1, 0))


class CausalAttentionBlock(nn.Module):
    r"""Gated residual blocks, one read-out of all earlier pixels, and a gated block that merges it.

    .. math::

        f' = \operatorname{blocks}(f), \qquad
        q = W^Q [f', \pi], \quad k = W^K [x, f', \pi], \quad v = W^V [x, f', \pi], \qquad
        f'' = \operatorname{merge}(f', \operatorname{attention}_{<}(q, k, v))

    with the position :math:`\pi` of each pixel. Query i knows pixels before i, key i knows pixel i.

    Paper: PixelSNAIL: An Improved Autoregressive Generative Model (Chen, Mishra, Rohaninejad,
    Abbeel, 2018), model architecture and Figure 2, https://arxiv.org/abs/1712.09763
    Claims: theory.first_pixel_attends_to_nothing, autoregressive_model.causality
    Differs: queries, keys and values are affine; the published code has a gated block before each.

    Args:
        seen: channels of x and of the positions.
        hidden: features in and out.
        keys, values: sizes of a query and of what is read out.
        convolutions: how many residual blocks.
        dropout: as for `GatedResNetBlock`.

    >>> CausalAttentionBlock(4, 5, 2, 3)(torch.zeros(2, 5, 6, 7), torch.zeros(2, 4, 6, 7)).shape
    torch.Size([2, 5, 6, 7])
    """

    def __init__(
        self,
        seen: int,
        hidden: int,
        keys: int,
        values: int,
        convolutions: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(GatedResNetBlock(hidden, "right", dropout=dropout) for _ in range(convolutions))
        )
        self.query = nn.Conv2d(hidden + 2, keys, 1)
        self.key = nn.Conv2d(seen + hidden, keys, 1)
        self.value = nn.Conv2d(seen + hidden, values, 1)
        self.merge = GatedResNetBlock(hidden, "right", values, dropout, kernel=(1, 1))

    def forward(
        self, f: Float[Tensor, "n f h w"], seen: Float[Tensor, "n s h w"]
    ) -> Float[Tensor, "n f h w"]:
        """The last two channels of `seen` are the positions."""
        f = self.blocks(f)
        offered = torch.cat([seen, f], dim=1)
        asked = torch.cat([seen[:, -2:], f], dim=1)
        parts = self.query(asked), self.key(offered), self.value(offered)
        read = strictly_causal_attention(*(part.flatten(2).mT for part in parts))  # (N, HW, V)
        out: Tensor = self.merge(f, read.mT.reshape(len(f), -1, *f.shape[2:]))
        return out
