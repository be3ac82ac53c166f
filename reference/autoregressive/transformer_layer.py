r"""One layer of a transformer that generates, and the shift that hides from it what it predicts.

.. code-block:: text

    drawn          x1  x2  x3                     h --+--> attention --(+)--> norm --+--> ...
                     \   \   \                        |                 |            |
    is given    S    x1  x2 (x3)                      +-----------------+            +--> two linear
    predicts    x1   x2  x3                                                          layers alike

Position t is given the level drawn at t - 1, the first a start token S; then attention may look at
its own position as well as at all before it.
"""

from __future__ import annotations

__all__ = ["TransformerLayer", "shifted"]

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from reference.autoregressive.attention import CausalSelfAttention, causal_attention

if TYPE_CHECKING:
    from jaxtyping import Float, Int


def shifted(
    tokens: Int[Tensor, "n t"], start: Int[Tensor, " n"], steps: Int[Tensor, " s"]
) -> Int[Tensor, "n s"]:
    r"""Give each step the token of the step before it; the first gets the start token.

    .. math::

        u_t = x_{t-1}, \qquad u_0 = S

    Paper: Attention Is All You Need (Vaswani et al., 2017), Section 3.1 (outputs offset by one
    position), https://arxiv.org/abs/1706.03762
    Claims: autoregressive_model.causality, autoregressive_model.uses_the_allowed_past
    Differs: none.

    Args:
        tokens: in the order of generation (N, T), long.
        start: S, each item's own (N,), long.
        steps: those that are asked for, in [0, T).

    Returns:
        (N, S), long.

    >>> shifted(torch.tensor([[5, 6, 7]]), torch.tensor([9]), torch.arange(3))
    tensor([[9, 5, 6]])
    """
    return torch.where(steps == 0, start[:, None], tokens[:, steps - 1])


class TransformerLayer(nn.Module):
    r"""Attention, then two linear layers at every position, each added to its input and normalised.

    .. math::

        a = \operatorname{norm}(h + \operatorname{attention}(h)), \qquad
        h' = \operatorname{norm}(a + W_2 \operatorname{relu}(W_1 a))

    Paper: Image Transformer (Parmar et al., 2018), Section 3.2, equations 1 and 2,
    https://arxiv.org/abs/1802.05751
    Claims: autoregressive_model.causality, theory.image_transformer_positions,
    theory.superresolution_attends_to_the_whole_input
    Differs: no dropout.

    Args:
        embed_dim: E.
        num_heads: H, a divisor of E.
        hidden: features between the two linear layers.
        attend: as for `CausalSelfAttention`.
        across: attention to something else, between the two; takes (h, context), None for none.

    >>> TransformerLayer.tiny()(torch.zeros(2, 5, 6)).shape
    torch.Size([2, 5, 6])
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        hidden: int,
        attend: Callable[[Tensor, Tensor, Tensor], Tensor] = causal_attention,
        across: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.attention, self.across = CausalSelfAttention(embed_dim, num_heads, attend), across
        self.feed = nn.Sequential(
            nn.Linear(embed_dim, hidden), nn.ReLU(), nn.Linear(hidden, embed_dim)
        )
        self.norm_read, self.norm_fed = nn.LayerNorm(embed_dim), nn.LayerNorm(embed_dim)
        self.norm_across = nn.LayerNorm(embed_dim) if across is not None else None

    @classmethod
    def tiny(cls) -> TransformerLayer:
        """E = 6, H = 3, 8 hidden features."""
        return cls(6, num_heads=3, hidden=8)

    def forward(
        self, h: Float[Tensor, "n t e"], context: Float[Tensor, "n s e"] | None = None
    ) -> Float[Tensor, "n t e"]:
        """All positions at once."""
        return self.finish(h, self.attention(h), context)

    def finish(
        self,
        h: Float[Tensor, "n t e"],
        read: Float[Tensor, "n t e"],
        context: Float[Tensor, "n s e"] | None = None,
    ) -> Float[Tensor, "n t e"]:
        """What follows attention, position by position."""
        h = self.norm_read(h + read)
        if self.across is not None and self.norm_across is not None:
            h = self.norm_across(h + self.across(h, context))
        out: Tensor = self.norm_fed(h + self.feed(h))
        return out
