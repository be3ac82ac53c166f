r"""Causal self-attention, the layer of the autoregressive transformer.

Who reads whom in a sequence of four, a row for each reader:

.. code-block:: text

        0 1 2 3
    0   x . . .
    1   x x . .
    2   x x x .
    3   x x x x
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = ["CausalSelfAttention", "causal_attention"]


def causal_attention(
    query: Float[Tensor, "*batch t e"],
    key: Float[Tensor, "*batch s e"],
    value: Float[Tensor, "*batch s v"],
) -> Float[Tensor, "*batch t v"]:
    r"""Average the values of all positions so far, the weights from how well keys fit the query.

    .. math::

        y_t = \sum_{s \le t} a_{ts} v_s, \qquad
        a_{ts} = \frac{\exp(q_t \cdot k_s / \sqrt{E})}
                      {\sum_{r \le t} \exp(q_t \cdot k_r / \sqrt{E})}

    Fewer queries than keys are those of the last positions, as in a block that has a memory.

    Paper: Attention Is All You Need (Vaswani et al., 2017), equation 1 and Section 3.2.3,
    https://arxiv.org/abs/1706.03762
    Claims: causal_self_attention.causality, causal_self_attention.uses_the_allowed_past,
    causal_self_attention.rows_are_distributions
    Differs: none.

    Args:
        query: What is asked for (..., T, E).
        key: What is offered (..., S, E), S at least T.
        value: What is averaged (..., S, V).

    Returns:
        The averages (..., T, V); where S = T, the first is the first value.

    Raises:
        ValueError: More queries than keys.

    >>> causal_attention(*torch.zeros(2, 3, 1), torch.tensor([[3.0], [5.0], [1.0]])).flatten()
    tensor([3., 4., 3.])
    """
    ahead = key.shape[-2] - query.shape[-2]  # keys before the first query
    if ahead < 0:
        raise ValueError(f"{query.shape[-2]} queries for {key.shape[-2]} keys")
    scores = query @ key.mT / query.shape[-1] ** 0.5  # (..., T, S)
    later = torch.ones_like(scores, dtype=torch.bool).triu(1 + ahead)
    weights: Tensor = scores.masked_fill(later, float("-inf")).softmax(-1)
    return weights @ value


class CausalSelfAttention(nn.Module):
    r"""Several causal averages side by side, each of its own projection of the sequence.

    .. math::

        f(x) = [\mathrm{head}_1, \dots, \mathrm{head}_H]\, W^O, \qquad
        \mathrm{head}_h = \mathrm{attention}(x W^Q_h,\; x W^K_h,\; x W^V_h)

    Paper: Attention Is All You Need (Vaswani et al., 2017), Sections 3.2.2 and 3.2.3,
    https://arxiv.org/abs/1706.03762
    Claims: causal_self_attention.causality, causal_self_attention.uses_the_allowed_past,
    causal_self_attention.rows_are_distributions, causal_self_attention.prefix_consistency,
    causal_self_attention.one_average_per_head
    Differs: the projections have biases. The paper has E = 512 and H = 8.

    Args:
        embed_dim: E, a multiple of the number of heads.
        num_heads: H.
        attend: Who reads whom, as `causal_attention`; local attention is another.

    Raises:
        ValueError: The heads do not divide the embedding.

    >>> CausalSelfAttention.tiny()(torch.zeros(2, 5, 6)).shape
    torch.Size([2, 5, 6])
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        attend: Callable[[Tensor, Tensor, Tensor], Tensor] = causal_attention,
    ) -> None:
        super().__init__()
        if embed_dim % num_heads:
            raise ValueError(f"embed_dim {embed_dim} is no multiple of num_heads {num_heads}")
        self.num_heads, self.attend = num_heads, attend
        self.project = nn.Linear(embed_dim, 3 * embed_dim)
        self.out = nn.Linear(embed_dim, embed_dim)

    @classmethod
    def tiny(cls) -> CausalSelfAttention:
        """E = 6, H = 3."""
        return cls(6, num_heads=3)

    def forward(self, x: Float[Tensor, "n t e"]) -> Float[Tensor, "n t e"]:
        """Sequences of any length T."""
        return self.join(self.attend(*self.split(x)))

    def split(self, x: Float[Tensor, "n t e"]) -> tuple[Float[Tensor, "n h t d"], ...]:
        """Query, key and value of every head, each (N, H, T, E / H)."""
        parts = self.project(x).unflatten(-1, (3, self.num_heads, -1))  # (N, T, 3, H, E / H)
        return tuple(parts.permute(2, 0, 3, 1, 4))

    def join(self, heads: Float[Tensor, "n h t d"]) -> Float[Tensor, "n t e"]:
        """The heads side by side, mixed by the last projection."""
        out: Tensor = self.out(heads.transpose(1, 2).flatten(-2))
        return out
