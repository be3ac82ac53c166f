r"""The pixel transformer: an image as a sequence of sub-pixels, read with full masked attention.

.. code-block:: text

    given      S   R1  G1  B1  R2  G2         S: the start token, one for each class
               |   |   |   |   |   |
              [ masked attention layers ]     position t sees itself and all before it
               |   |   |   |   |   |
    predicts   R1  G1  B1  R2  G2  B2
"""

from __future__ import annotations

__all__ = ["PixelTransformer"]

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from reference.autoregressive.chain_rule import chain_rule_log_prob, class_labels
from reference.autoregressive.local_blocks import local_blocks_1d
from reference.autoregressive.order import generation_order, past_of
from reference.autoregressive.sampling import complete, sample
from reference.autoregressive.transformer_layer import TransformerLayer, shifted

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


class PixelTransformer(nn.Module):
    r"""Every conditional in one pass of attention over the whole past.

    .. math::

        h^0_t = E_{x_{t-1}} + P_t, \qquad h^{l} = \operatorname{layer}_l(h^{l-1}), \qquad
        p(x_t \mid x_{<t}, y) = \operatorname{softmax}(W h^L_t + b)

    Paper: Image Transformer (Parmar et al., 2018), Sections 3.1 and 3.2,
    https://arxiv.org/abs/1802.05751
    Claims: autoregressive_model.causality, autoregressive_model.uses_the_allowed_past,
    autoregressive_model.normalised, autoregressive_model.chain_rule,
    autoregressive_model.conditioning, theory.cached_transformer_is_naive
    Differs: attention is not local; positions are learned one by one; one embedding of levels for
    all channels; a start token for each class, where the paper adds an embedding of the class to
    every position; no dropout. Normalisation follows each sum, as in the paper.

    The paper's sizes: levels 256, layers 12, embed_dim 512, num_heads 4 and hidden 2048 (CIFAR-10).

    Args:
        event_shape: (D,), or (C, H, W).
        levels: K.
        num_classes: how many classes; 0: unconditional.
        embed_dim: E, a multiple of `num_heads`.
        num_heads, hidden: as for `TransformerLayer`.
        layers: L.

    Raises:
        ValueError: as for `raster_order` and `CausalSelfAttention`.

    >>> PixelTransformer.tiny().logits(torch.zeros(2, 3, 4, 5, dtype=torch.long)).shape
    torch.Size([2, 7, 3, 4, 5])
    """

    order: Int[Tensor, " d"]

    def __init__(
        self,
        event_shape: Sequence[int],
        levels: int,
        num_classes: int = 0,
        embed_dim: int = 12,
        num_heads: int = 2,
        hidden: int = 16,
        layers: int = 2,
    ) -> None:
        super().__init__()
        self.event_shape, self.levels, self.num_classes = tuple(event_shape), levels, num_classes
        self.register_buffer("order", generation_order(event_shape), persistent=False)
        self.blocks = local_blocks_1d(len(self.order), len(self.order))  # one, for the sampler
        self.tokens = nn.Embedding(levels + max(num_classes, 1), embed_dim)
        self.positions = nn.Embedding(len(self.order), embed_dim)
        self.layers = nn.ModuleList(
            TransformerLayer(embed_dim, num_heads, hidden) for _ in range(layers)
        )
        self.head = nn.Linear(embed_dim, levels)

    @classmethod
    def tiny(cls) -> PixelTransformer:
        """C, H, W, K, E and H pairwise distinct."""
        return cls((3, 4, 5), levels=7, embed_dim=12, num_heads=2)

    @property
    def receptive_field(self) -> Bool[Tensor, "d d"]:
        """The whole past: (D, D) over the flattened event."""
        return past_of(self.order)

    def embed(
        self, drawn: Int[Tensor, "n d"], label: Int[Tensor, " n"], steps: Int[Tensor, " s"]
    ) -> Float[Tensor, "n s e"]:
        """What the first layer is given at some steps, of levels in the order of generation."""
        given = shifted(drawn, self.levels + label, steps)
        found: Tensor = self.tokens(given) + self.positions(steps)
        return found

    def logits(
        self, x: Int[Tensor, " n *event"], y: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, "n k *event"]:
        """Every conditional in one pass."""
        if x.shape[1:] != self.event_shape:
            raise ValueError(f"expected events {self.event_shape}, not {tuple(x.shape[1:])}")
        label = class_labels(x, y, self.num_classes)
        steps = torch.arange(len(self.order), device=x.device)
        h = self.embed(x.flatten(1)[:, self.order], label, steps)  # (N, D, E)
        for layer in self.layers:
            h = layer(h)
        found: Tensor = self.head(h)[:, self.order.argsort()].mT  # (N, K, D), in memory order
        return found.reshape(*found.shape[:2], *self.event_shape)

    def log_prob(
        self, x: Int[Tensor, " n *event"], y: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, " n"]:
        """(N,), nats."""
        return chain_rule_log_prob(self.logits(x, y), x)

    def sample(
        self, n: int, y: Int[Tensor, " n"] | None = None, generator: torch.Generator | None = None
    ) -> Int[Tensor, " n *event"]:
        """Ancestral sampling; D passes."""
        device = self.order.device
        return sample(
            lambda x: self.logits(x, y), n, self.event_shape, generator=generator, device=device
        )

    def complete(
        self,
        x: Int[Tensor, " n *event"],
        known: Bool[Tensor, "*event"],
        y: Int[Tensor, " n"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Int[Tensor, " n *event"]:
        """Ancestral completion; one pass for each unknown entry."""
        return complete(lambda x: self.logits(x, y), x, known, generator=generator)
