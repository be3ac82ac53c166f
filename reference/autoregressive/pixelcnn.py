r"""PixelCNN: all conditionals of an image in one pass of masked convolutions.

.. code-block:: text

    x --> mask A, 7 x 7 --> [ residual block ] x blocks --> ReLU, 1 x 1 --> ReLU, 1 x 1 --> logits

    residual block, all mask B (2h features in, 2h out):

    --+--> ReLU, 1 x 1 to h --> ReLU, 3 x 3 to h --> ReLU, 1 x 1 to 2h --(+)-->
      |                                                                   |
      +-------------------------------------------------------------------+

Only the first layer hides the pixel itself: afterwards its features no longer contain it.
"""

from __future__ import annotations

__all__ = ["PixelCNN", "ResidualBlock"]

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from reference.autoregressive.chain_rule import chain_rule_log_prob, class_labels
from reference.autoregressive.levels import scaled_levels
from reference.autoregressive.masks import MaskedConv2d
from reference.autoregressive.receptive_field import pixelcnn_receptive_field
from reference.autoregressive.sampling import complete, sample

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


class ResidualBlock(nn.Module):
    r"""Three masked convolutions through a bottleneck, added to their input.

    .. math::

        f + W_3 \operatorname{relu}(W_2 \operatorname{relu}(W_1 \operatorname{relu}(f)))

    Paper: Pixel Recurrent Neural Networks (van den Oord, Kalchbrenner, Kavukcuoglu, 2016),
    Section 3.3 and Figure 5, https://arxiv.org/abs/1601.06759
    Claims: autoregressive_model.causality
    Differs: none.

    Args:
        hidden: h, a multiple of `channels`; the block has 2h features.
        kernel: side of the middle convolution, odd.
        channels: of the data.

    >>> ResidualBlock(6, 3, channels=3)(torch.zeros(2, 12, 4, 5)).shape
    torch.Size([2, 12, 4, 5])
    """

    def __init__(self, hidden: int, kernel: int, channels: int) -> None:
        super().__init__()
        self.narrow = MaskedConv2d(2 * hidden, hidden, 1, "B", channels)
        self.look = MaskedConv2d(hidden, hidden, kernel, "B", channels)
        self.widen = MaskedConv2d(hidden, 2 * hidden, 1, "B", channels)

    def forward(self, f: Float[Tensor, "n f h w"]) -> Float[Tensor, "n f h w"]:
        out: Tensor = self.widen(self.look(self.narrow(f.relu()).relu()).relu())
        return f + out


class PixelCNN(nn.Module):
    r"""The masked convolutional network with a K-way softmax for every pixel and channel.

    .. math::

        p(x \mid y) = \prod_i p(x_{i,R} \mid x_{<i}, y)\, p(x_{i,G} \mid x_{<i}, x_{i,R}, y)\,
            p(x_{i,B} \mid x_{<i}, x_{i,R}, x_{i,G}, y)

    Paper: Pixel Recurrent Neural Networks (van den Oord, Kalchbrenner, Kavukcuoglu, 2016),
    Section 3.5, Table 1 and Equations 1 and 2, https://arxiv.org/abs/1601.06759
    Claims: autoregressive_model.causality, autoregressive_model.uses_the_allowed_past,
    autoregressive_model.normalised, autoregressive_model.chain_rule,
    autoregressive_model.conditioning, theory.blind_spot
    Differs: optional classes, each a bias on the features of the first layer.

    The paper's sizes: levels 256, blocks 15, hidden 128 and head 1024 (CIFAR-10).

    Args:
        event_shape: (C, H, W); C is 1, or 3 for R, G, B.
        levels: K.
        num_classes: how many classes; 0: unconditional.
        hidden: h, a multiple of C; the trunk has 2h features.
        head: features between the last two convolutions, a multiple of C.
        blocks: how many residual blocks.
        first_kernel, kernel: sides of the mask-A and of the mask-B convolutions, odd.

    Raises:
        ValueError: as for `raster_mask`, or for an event that is not (C, H, W).

    >>> PixelCNN.tiny().logits(torch.zeros(7, 3, 4, 5, dtype=torch.long)).shape
    torch.Size([7, 2, 3, 4, 5])
    """

    def __init__(
        self,
        event_shape: tuple[int, int, int],
        levels: int,
        num_classes: int = 0,
        hidden: int = 12,
        head: int = 24,
        blocks: int = 2,
        first_kernel: int = 7,
        kernel: int = 3,
    ) -> None:
        super().__init__()
        if len(event_shape) != 3:
            raise ValueError(f"event_shape must be (C, H, W), not {tuple(event_shape)}")
        c = event_shape[0]
        self.event_shape, self.levels, self.num_classes = event_shape, levels, num_classes
        self.kernels = first_kernel, kernel
        self.first = MaskedConv2d(c, 2 * hidden, first_kernel, "A", c)
        self.class_bias = nn.Embedding(num_classes, 2 * hidden) if num_classes else None
        self.blocks = nn.Sequential(*(ResidualBlock(hidden, kernel, c) for _ in range(blocks)))
        self.penultimate = MaskedConv2d(2 * hidden, head, 1, "B", c)
        self.last = MaskedConv2d(head, c * levels, 1, "B", c)

    @classmethod
    def tiny(cls) -> PixelCNN:
        """C, H, W, K, h and head pairwise distinct."""
        return cls((3, 4, 5), levels=2, hidden=6, head=9)

    @property
    def receptive_field(self) -> Bool[Tensor, "d d"]:
        """True at (i, j) where the logits of i may use x_j, over the flattened event."""
        first, kernel = self.kernels
        blocks, device = len(self.blocks), self.first.weight.device
        return pixelcnn_receptive_field(*self.event_shape, blocks, first, kernel, device)

    def features(
        self, x: Int[Tensor, "n c h w"], y: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, "n f h w"]:
        """What the trunk knows at each pixel of the pixels before it: its representation."""
        if x.shape[1:] != self.event_shape:
            raise ValueError(f"expected images {self.event_shape}, not {tuple(x.shape[1:])}")
        label = class_labels(x, y, self.num_classes)
        f: Tensor = self.first(scaled_levels(x, self.levels, self.first.weight.dtype))
        if self.class_bias is not None:
            f = f + self.class_bias(label)[:, :, None, None]
        out: Tensor = self.blocks(f)
        return out

    def logits(
        self, x: Int[Tensor, "n c h w"], y: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, "n k c h w"]:
        """Every conditional in one pass."""
        out: Tensor = self.last(self.penultimate(self.features(x, y).relu()).relu())
        c, h, w = self.event_shape
        return out.view(-1, c, self.levels, h, w).transpose(1, 2)  # (N, K, C, H, W)

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
