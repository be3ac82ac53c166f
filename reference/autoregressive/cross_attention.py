r"""Attention without a mask: to all of a sequence, or from one sequence to all of another.

.. code-block:: text

    encoder to itself        decoder to encoder          no order of generation on the side that
        0 1 2                    0 1 2                   is read: all of it is given beforehand
    0   x x x                0   x x x
    1   x x x                1   x x x
    2   x x x
"""

from __future__ import annotations

__all__ = ["CrossAttention", "full_attention"]

from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float


def full_attention(
    query: Float[Tensor, "*batch t e"],
    key: Float[Tensor, "*batch s e"],
    value: Float[Tensor, "*batch s v"],
) -> Float[Tensor, "*batch t v"]:
    r"""Average all values, the weights from how well keys fit the query.

    .. math::

        y_t = \sum_s a_{ts} v_s, \qquad a_{ts} \propto \exp(q_t \cdot k_s / \sqrt{E})

    Paper: Attention Is All You Need (Vaswani et al., 2017), equation 1,
    https://arxiv.org/abs/1706.03762
    Claims: theory.superresolution_attends_to_the_whole_input
    Differs: none.

    Args:
        query: What is asked for (..., T, E).
        key: What is offered (..., S, E).
        value: What is averaged (..., S, V).

    Returns:
        The averages (..., T, V).

    >>> import torch
    >>> full_attention(*torch.zeros(2, 2, 1), torch.tensor([[3.0], [5.0]])).flatten()
    tensor([4., 4.])
    """
    weights: Tensor = (query @ key.mT / query.shape[-1] ** 0.5).softmax(-1)  # (..., T, S)
    return weights @ value


class CrossAttention(nn.Module):
    r"""Queries from the decoder, keys and values from the encoder, in several heads.

    .. math::

        \mathrm{head}_h = \mathrm{attention}(x W^Q_h,\; c\, W^K_h,\; c\, W^V_h)

    Paper: Attention Is All You Need (Vaswani et al., 2017), Sections 3.2.2 and 3.2.3,
    https://arxiv.org/abs/1706.03762
    Claims: theory.superresolution_attends_to_the_whole_input
    Differs: the projections have biases.

    Args:
        embed_dim: E, a multiple of the number of heads.
        num_heads: H.

    >>> import torch
    >>> CrossAttention.tiny()(torch.zeros(2, 5, 6), torch.zeros(2, 4, 6)).shape
    torch.Size([2, 5, 6])
    """

    def __init__(self, embed_dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query, self.out = nn.Linear(embed_dim, embed_dim), nn.Linear(embed_dim, embed_dim)
        self.offer = nn.Linear(embed_dim, 2 * embed_dim)

    @classmethod
    def tiny(cls) -> CrossAttention:
        """E = 6, H = 3."""
        return cls(6, num_heads=3)

    def forward(
        self, x: Float[Tensor, "n t e"], context: Float[Tensor, "n s e"]
    ) -> Float[Tensor, "n t e"]:
        """Sequences of any lengths T and S."""
        query = self.query(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (N, H, T, E/H)
        offer = self.offer(context).unflatten(-1, (2, self.num_heads, -1))
        key, value = offer.permute(2, 0, 3, 1, 4)  # each (N, H, S, E / H)
        heads = full_attention(query, key, value)
        out: Tensor = self.out(heads.transpose(1, 2).flatten(-2))
        return out
