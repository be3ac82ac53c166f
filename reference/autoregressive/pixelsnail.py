r"""PixelSNAIL: causal convolutions for what is near, attention for what is anywhere before.

.. code-block:: text

    x --> first layer --> [ gated residual blocks --> attention --> gated block ] x blocks --> mixture
     \                                                   ^
      '--------------------------------------------------'   keys and values hold the pixels too

Convolutions alone forget what is far above to the right, and an end comes to their reach; a pixel
that attends to all earlier ones misses nothing.
"""

from __future__ import annotations

__all__ = ["PixelSNAIL"]

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reference.autoregressive.chain_rule import class_labels
from reference.autoregressive.coupled_channels import coupled_receptive_field, split_mixture
from reference.autoregressive.levels import scaled_levels
from reference.autoregressive.logistic_mixture_image import (
    coupled_mixture_log_prob,
    coupled_mixture_logits,
)
from reference.autoregressive.sampling import complete, sample
from reference.autoregressive.shifted_convolutions import StrictConv2d
from reference.autoregressive.strict_attention import CausalAttentionBlock

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


class PixelSNAIL(nn.Module):
    r"""Causal convolutions and attention in turn, and a mixture of logistics for every pixel.

    .. math::

        p(x \mid y) = \prod_i \sum_m \pi_{i,m} \prod_c p_{i,m}(x_{i,c} \mid x_{i,<c}), \qquad
        \pi_i,\, p_i \text{ from all of } x_{<i},\, y

    with i over pixels: all channels of a pixel share one mixture.

    Paper: PixelSNAIL: An Improved Autoregressive Generative Model (Chen, Mishra, Rohaninejad,
    Abbeel, 2018), model architecture and Figure 2, https://arxiv.org/abs/1712.09763
    Claims: autoregressive_model.causality, autoregressive_model.uses_the_allowed_past,
    autoregressive_model.normalised, autoregressive_model.chain_rule,
    theory.first_pixel_attends_to_nothing, theory.dropout_in_training_only
    Differs: no weight normalisation; classes, each a bias on the first features, are added.

    The paper's sizes (CIFAR-10): levels 256, hidden 256, components 10, blocks 12 of 4 convolutions,
    keys 16, values 128, dropout 0.5.

    Args:
        event_shape: (C, H, W); any H and W.
        levels: K, two or more.
        num_classes: how many classes; 0: unconditional.
        hidden, keys, values, convolutions, dropout: as for `CausalAttentionBlock`.
        components: M, of the mixture.
        blocks: how many `CausalAttentionBlock`s.

    Raises:
        ValueError: For an event that is not (C, H, W), or fewer than two levels.

    >>> PixelSNAIL.tiny().logits(torch.zeros(7, 3, 4, 5, dtype=torch.long)).shape
    torch.Size([7, 2, 3, 4, 5])
    """

    def __init__(
        self,
        event_shape: tuple[int, int, int],
        levels: int,
        num_classes: int = 0,
        hidden: int = 8,
        keys: int = 4,
        values: int = 6,
        convolutions: int = 1,
        dropout: float = 0.0,
        components: int = 3,
        blocks: int = 2,
    ) -> None:
        super().__init__()
        if len(event_shape) != 3 or levels < 2:
            raise ValueError(f"cannot model {levels} levels of an event {tuple(event_shape)}")
        self.event_shape, self.levels, self.num_classes = event_shape, levels, num_classes
        self.components, c = components, event_shape[0]
        self.enter = StrictConv2d(c + 2, hidden, "right")
        self.class_bias = nn.Embedding(num_classes, hidden) if num_classes else None
        self.blocks = nn.ModuleList(
            CausalAttentionBlock(c + 2, hidden, keys, values, convolutions, dropout)
            for _ in range(blocks)
        )
        self.last = nn.Conv2d(hidden, components * (1 + 2 * c + c * (c - 1) // 2), 1)

    @classmethod
    def tiny(cls) -> PixelSNAIL:
        """C, H, W, K and the numbers of features pairwise distinct."""
        return cls((3, 4, 5), levels=2, hidden=6, keys=8, values=7)

    @property
    def receptive_field(self) -> Bool[Tensor, "d d"]:
        """True at (i, j) where the logits of i may use x_j: all of the past."""
        c, h, w = self.event_shape
        earlier = torch.ones(h * w, h * w, dtype=torch.bool, device=self.last.weight.device)
        return coupled_receptive_field(earlier.tril(-1), c)

    def features(
        self, x: Int[Tensor, "n c h w"], y: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, "n f h w"]:
        """What the network knows at each pixel of the pixels before it: its representation."""
        if x.shape[1:] != self.event_shape:
            raise ValueError(f"expected images {self.event_shape}, not {tuple(x.shape[1:])}")
        label = class_labels(x, y, self.num_classes)
        value = scaled_levels(x, self.levels, self.last.weight.dtype)
        h, w = self.event_shape[1:]
        row = torch.arange(h, device=x.device).to(value.dtype) / h  # in [0, 1)
        column = torch.arange(w, device=x.device).to(value.dtype) / w
        place = torch.stack(torch.meshgrid(row, column, indexing="ij")).expand(len(x), 2, h, w)
        seen = torch.cat([value, place], dim=1)
        f: Tensor = self.enter(seen)
        if self.class_bias is not None:
            f = f + self.class_bias(label)[:, :, None, None]
        for block in self.blocks:
            f = block(f, seen)
        return f

    def mixture(
        self, x: Int[Tensor, "n c h w"], y: Int[Tensor, " n"] | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The parameters of every pixel's mixture, as of `split_mixture`."""
        out = self.last(F.elu(self.features(x, y)))
        return split_mixture(out, self.components, self.event_shape[0])

    def logits(
        self, x: Int[Tensor, "n c h w"], y: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, "n k c h w"]:
        """Every conditional in one pass."""
        return coupled_mixture_logits(x, *self.mixture(x, y), self.levels)

    def log_prob(
        self, x: Int[Tensor, "n c h w"], y: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, " n"]:
        """(N,), nats, from the joint probabilities of whole pixels."""
        return coupled_mixture_log_prob(x, *self.mixture(x, y), self.levels)

    def sample(
        self, n: int, y: Int[Tensor, " n"] | None = None, generator: torch.Generator | None = None
    ) -> Int[Tensor, "n c h w"]:
        """Ancestral sampling; D passes."""
        device = self.last.weight.device
        return sample(
            lambda x: self.logits(x, y), n, self.event_shape, generator=generator, device=device
        )

    def complete(
        self,
        x: Int[Tensor, "n c h w"],
        known: Bool[Tensor, "c h w"],
        y: Int[Tensor, " n"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Int[Tensor, "n c h w"]:
        """Ancestral completion; one pass for each unknown entry."""
        return complete(lambda x: self.logits(x, y), x, known, generator=generator)
