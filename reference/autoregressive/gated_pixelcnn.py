r"""Gated PixelCNN: as fast to train as PixelCNN, and without its blind spot.

.. code-block:: text

    x --> gated layer, A, 7 x 7 --> gated layer, B, 3 x 3 --> ... --> h --> ReLU, 1 x 1 --> ReLU, 1 x 1
          (no residual)

The vertical stack ends with the last layer: all it knows has been told to the horizontal one.
"""

from __future__ import annotations

__all__ = ["GatedPixelCNN"]

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from reference.autoregressive.chain_rule import chain_rule_log_prob
from reference.autoregressive.gated_layer import GatedLayer
from reference.autoregressive.gated_receptive_field import gated_pixelcnn_receptive_field
from reference.autoregressive.levels import scaled_levels
from reference.autoregressive.masks import MaskedConv2d
from reference.autoregressive.sampling import complete, sample

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


class GatedPixelCNN(nn.Module):
    r"""PixelCNN of gated layers in two stacks, which misses no pixel within its reach.

    .. math::

        p(x) = \prod_i p(x_{i,R} \mid x_{<i})\, p(x_{i,G} \mid x_{<i}, x_{i,R})\,
            p(x_{i,B} \mid x_{<i}, x_{i,R}, x_{i,G})

    Paper: Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016),
    Sections 2.1 and 2.2, Figure 2, https://arxiv.org/abs/1606.05328
    Claims: autoregressive_model.causality, autoregressive_model.uses_the_allowed_past,
    autoregressive_model.normalised, autoregressive_model.chain_rule,
    theory.gated_pixelcnn_has_no_blind_spot
    Differs: the head (ReLU and 1 x 1 convolutions) is that of `PixelCNN`; conditions come as terms,
    which `ConditionalPixelCNN` computes.

    The paper's sizes: levels 256, hidden 384, 20 layers of 5 x 5 (ImageNet).

    Args:
        event_shape: (C, H, W); C is 1, or 3 for R, G, B.
        levels: K.
        hidden: p, features of each stack, a multiple of C.
        head: features between the last two convolutions, a multiple of C.
        layers: how many gated layers of type B follow the first, of type A.
        first_kernel, kernel: sides of the first layer's kernels and of the others', odd.

    Raises:
        ValueError: as for `raster_mask`, or for an event that is not (C, H, W).

    >>> GatedPixelCNN.tiny().logits(torch.zeros(7, 3, 4, 5, dtype=torch.long)).shape
    torch.Size([7, 2, 3, 4, 5])
    """

    def __init__(
        self,
        event_shape: tuple[int, int, int],
        levels: int,
        hidden: int = 12,
        head: int = 24,
        layers: int = 3,
        first_kernel: int = 7,
        kernel: int = 3,
    ) -> None:
        super().__init__()
        if len(event_shape) != 3:
            raise ValueError(f"event_shape must be (C, H, W), not {tuple(event_shape)}")
        c = event_shape[0]
        self.event_shape, self.levels = event_shape, levels
        self.kernels = first_kernel, kernel
        self.layers = nn.ModuleList([GatedLayer(c, hidden, first_kernel, c, first=True)])
        self.layers.extend(GatedLayer(hidden, hidden, kernel, c, False) for _ in range(layers))
        self.penultimate = MaskedConv2d(hidden, head, 1, "B", c)
        self.last = MaskedConv2d(head, c * levels, 1, "B", c)

    @classmethod
    def tiny(cls) -> GatedPixelCNN:
        """C, H, W, K, p and head pairwise distinct."""
        return cls((3, 4, 5), levels=2, hidden=6, head=9)

    @property
    def receptive_field(self) -> Bool[Tensor, "d d"]:
        """True at (i, j) where the logits of i may use x_j, over the flattened event."""
        return gated_pixelcnn_receptive_field(
            *self.event_shape, len(self.layers) - 1, *self.kernels, device=self.last.weight.device
        )

    def features(
        self, x: Int[Tensor, "n c h w"], terms: Sequence[Float[Tensor, "n g _ _"]] | None = None
    ) -> Float[Tensor, "n p h w"]:
        """What the horizontal stack knows at each pixel of the pixels before it."""
        if x.shape[1:] != self.event_shape:
            raise ValueError(f"expected images {self.event_shape}, not {tuple(x.shape[1:])}")
        v = h = scaled_levels(x, self.levels, self.last.weight.dtype)
        for i, layer in enumerate(self.layers):
            v, h = layer(v, h, None if terms is None else terms[i])
        return h

    def logits(
        self, x: Int[Tensor, "n c h w"], terms: Sequence[Float[Tensor, "n g _ _"]] | None = None
    ) -> Float[Tensor, "n k c h w"]:
        """Every conditional in one pass; `terms` are added before the gates, one a layer."""
        out: Tensor = self.last(self.penultimate(self.features(x, terms).relu()).relu())
        c, h, w = self.event_shape
        return out.view(-1, c, self.levels, h, w).transpose(1, 2)  # (N, K, C, H, W)

    def log_prob(self, x: Int[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
        """(N,), nats."""
        return chain_rule_log_prob(self.logits(x), x)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Int[Tensor, "n c h w"]:
        """Ancestral sampling; D passes."""
        device = self.last.weight.device
        return sample(self.logits, n, self.event_shape, generator=generator, device=device)

    def complete(
        self,
        x: Int[Tensor, "n c h w"],
        known: Bool[Tensor, "c h w"],
        generator: torch.Generator | None = None,
    ) -> Int[Tensor, "n c h w"]:
        """Ancestral completion; one pass for each unknown entry."""
        return complete(self.logits, x, known, generator=generator)
