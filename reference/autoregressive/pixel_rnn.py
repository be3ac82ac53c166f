r"""PixelRNN: what its kinds have in common, around the recurrent layers that tell them apart.

.. code-block:: text

    x --> mask A, 7 x 7 --> [ recurrent layer ] x layers --> ReLU, 1 x 1 --> ReLU, 1 x 1 --> logits

    a recurrent layer, 2h features in, 2h out; all masks are of type B:

    --+--> input-to-state, to 4h gates --> LSTM, h features --> 1 x 1, to 2h --(+)-->
      |                                                                         |
      +-------------------------------------------------------------------------+
"""

from __future__ import annotations

__all__ = ["PixelRNN"]

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from reference.autoregressive.chain_rule import chain_rule_log_prob, class_labels
from reference.autoregressive.levels import scaled_levels
from reference.autoregressive.masks import MaskedConv2d, raster_mask
from reference.autoregressive.receptive_field import spread
from reference.autoregressive.sampling import complete, sample

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


class PixelRNN(nn.Module):
    r"""A mask-A convolution, recurrent layers, and a K-way softmax for every pixel and channel.

    .. math::

        p(x \mid y) = \prod_i p(x_{i,R} \mid x_{<i}, y)\, p(x_{i,G} \mid x_{<i}, x_{i,R}, y)\,
            p(x_{i,B} \mid x_{<i}, x_{i,R}, x_{i,G}, y)

    Paper: Pixel Recurrent Neural Networks (van den Oord, Kalchbrenner, Kavukcuoglu, 2016),
    Sections 3.3 to 3.5, Table 1 and Equations 1 and 2, https://arxiv.org/abs/1601.06759
    Claims: autoregressive_model.causality, autoregressive_model.uses_the_allowed_past,
    autoregressive_model.normalised, autoregressive_model.chain_rule
    Differs: optional classes, each a bias on the features of the first layer.

    Args:
        event_shape: (C, H, W); C is 1, or 3 for R, G, B.
        levels: K.
        num_classes: how many classes; 0: unconditional.
        layers: modules from (N, 2h, H, W) to the same, each with a `reach`, which says the same of
            who is felt where (`RowLSTMLayer`, `DiagonalBiLSTMLayer`).
        hidden: h, a multiple of C.
        head: features between the last two convolutions, a multiple of C.
        first_kernel: side of the mask-A convolution, odd.

    Raises:
        ValueError: as for `raster_mask`, or for an event that is not (C, H, W).

    >>> x = torch.zeros(7, 3, 4, 5, dtype=torch.long)
    >>> PixelRNN((3, 4, 5), levels=2, num_classes=0, layers=(), hidden=6, head=9).logits(x).shape
    torch.Size([7, 2, 3, 4, 5])
    """

    def __init__(
        self,
        event_shape: tuple[int, int, int],
        levels: int,
        num_classes: int,
        layers: Iterable[nn.Module],
        hidden: int,
        head: int,
        first_kernel: int = 7,
    ) -> None:
        super().__init__()
        if len(event_shape) != 3:
            raise ValueError(f"event_shape must be (C, H, W), not {tuple(event_shape)}")
        c = event_shape[0]
        self.event_shape, self.levels, self.num_classes = event_shape, levels, num_classes
        self.first = MaskedConv2d(c, 2 * hidden, first_kernel, "A", c)
        self.class_bias = nn.Embedding(num_classes, 2 * hidden) if num_classes else None
        self.layers = nn.ModuleList(layers)
        self.penultimate = MaskedConv2d(2 * hidden, head, 1, "B", c)
        self.last = MaskedConv2d(head, c * levels, 1, "B", c)

    @property
    def receptive_field(self) -> Bool[Tensor, "d d"]:
        """True at (i, j) where the logits of i may use x_j, over the flattened event."""
        c, size = self.event_shape[0], math.prod(self.event_shape)
        inputs = torch.eye(size, dtype=torch.bool, device=self.first.weight.device)
        mask = raster_mask(c, c, self.first.kernel_size[0], "A", c, inputs.device)
        felt: Tensor = spread(inputs.view(size, *self.event_shape), mask)
        layer: Any  # of no type that has a reach, as far as nn.ModuleList knows
        for layer in self.layers:
            felt = layer.reach(felt)
        return felt.flatten(1).mT  # the head's 1 x 1 convolutions of type B add nothing

    def embed(
        self, x: Int[Tensor, "n c h w"], y: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, "n f h w"]:
        """The first layer, of a piece of an image too."""
        label = class_labels(x, y, self.num_classes)
        f: Tensor = self.first(scaled_levels(x, self.levels, self.first.weight.dtype))
        return f if self.class_bias is None else f + self.class_bias(label)[:, :, None, None]

    def features(
        self, x: Int[Tensor, "n c h w"], y: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, "n f h w"]:
        """What the trunk knows at each pixel of the pixels before it: its representation."""
        if x.shape[1:] != self.event_shape:
            raise ValueError(f"expected images {self.event_shape}, not {tuple(x.shape[1:])}")
        f = self.embed(x, y)
        for layer in self.layers:
            f = layer(f)
        return f

    def head(self, f: Float[Tensor, "n f h w"]) -> Float[Tensor, "n k c h w"]:
        """Two convolutions of one pixel each, of a piece of a map too."""
        out: Tensor = self.last(self.penultimate(f.relu()).relu())
        split = out.view(len(out), self.event_shape[0], self.levels, *out.shape[2:])
        return split.transpose(1, 2)  # (N, K, C, H, W)

    def logits(
        self, x: Int[Tensor, "n c h w"], y: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, "n k c h w"]:
        """Every conditional in one pass."""
        return self.head(self.features(x, y))

    def log_prob(
        self, x: Int[Tensor, "n c h w"], y: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, " n"]:
        """(N,), nats."""
        return chain_rule_log_prob(self.logits(x, y), x)

    def sample(
        self, n: int, y: Int[Tensor, " n"] | None = None, generator: torch.Generator | None = None
    ) -> Int[Tensor, "n c h w"]:
        """Ancestral sampling; D passes."""
        device = self.first.weight.device
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
