r"""PixelCNN++: whole pixels, drawn one after the other from a mixture of logistics.

.. code-block:: text

                    first half                  second half
    full size    x -> o -> o ----.         .-> o -> o -> mixture
                      |    '-----|---------|---^    ^
                      '----------|---------|--------'      short-cuts, last in, first out
    half size                    o -> o -> o
                                 '---------^

Each o is a pair of features, of stream down and stream right. One network pass sees no channel of
the pixel that it predicts: G learns of R through the mixture alone.
"""

from __future__ import annotations

__all__ = ["PixelCNNPlusPlus"]

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
from reference.autoregressive.pixelcnn_pp_receptive_field import pixelcnn_pp_receptive_field
from reference.autoregressive.sampling import complete, sample
from reference.autoregressive.shifted_convolutions import StrictConv2d
from reference.autoregressive.two_streams import TwoStreamBlock, TwoStreamDoubling, TwoStreamHalving

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


class PixelCNNPlusPlus(nn.Module):
    r"""The two-stream convolutional network with short-cuts, and a mixture of logistics for a pixel.

    .. math::

        p(x \mid y) = \prod_i \sum_m \pi_{i,m} \prod_c p_{i,m}(x_{i,c} \mid x_{i,<c}), \qquad
        \pi_i,\, p_i \text{ from } x_{<i},\, y

    with i over pixels: all channels of a pixel share one mixture.

    Paper: PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood and Other
    Modifications (Salimans, Karpathy, Chen, Kingma, 2017), Section 2, Figure 2 and equations 2
    and 3, https://arxiv.org/abs/1701.05517
    Claims: autoregressive_model.causality, autoregressive_model.uses_the_allowed_past,
    autoregressive_model.normalised, autoregressive_model.chain_rule, theory.shortcuts_reach_the_output,
    theory.dropout_in_training_only, theory.downsampling_keeps_causality
    Differs: no weight normalisation; the bias of a class enters the first features alone. As in the
    published code, a channel of ones tells the image from its padding.

    The paper's sizes: levels 256, hidden 160, components 10, blocks 5, resolutions 3, dropout 0.5.

    Args:
        event_shape: (C, H, W); any H and W.
        levels: K, two or more.
        num_classes: how many classes; 0: unconditional.
        hidden: features of each stream.
        components: M, of the mixture.
        blocks: how many residual blocks before each halving and after the last.
        resolutions: how many sizes, each half of the one before.
        dropout: probability that a feature within a block is dropped, in training mode.

    Raises:
        ValueError: For an event that is not (C, H, W), or fewer than two levels.

    >>> PixelCNNPlusPlus.tiny().logits(torch.zeros(7, 3, 4, 5, dtype=torch.long)).shape
    torch.Size([7, 2, 3, 4, 5])
    """

    def __init__(
        self,
        event_shape: tuple[int, int, int],
        levels: int,
        num_classes: int = 0,
        hidden: int = 8,
        components: int = 3,
        blocks: int = 1,
        resolutions: int = 2,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if len(event_shape) != 3 or levels < 2:
            raise ValueError(f"cannot model {levels} levels of an event {tuple(event_shape)}")
        self.event_shape, self.levels, self.num_classes = event_shape, levels, num_classes
        self.blocks, self.resolutions, self.components = blocks, resolutions, components
        c = event_shape[0]
        self.enter_down = StrictConv2d(c + 1, hidden, "down")
        self.enter_right = StrictConv2d(c + 1, hidden, "right")
        self.class_bias = nn.Embedding(num_classes, 2 * hidden) if num_classes else None

        def row(count: int, mirrored: bool) -> list[nn.Module]:
            return [TwoStreamBlock(hidden, mirrored, dropout) for _ in range(count)]

        first, second = row(blocks, False), row(blocks, True)
        for _ in range(resolutions - 1):
            first += [TwoStreamHalving(hidden), *row(blocks, False)]
            second += [TwoStreamDoubling(hidden), *row(blocks + 1, True)]
        self.first_half, self.second_half = nn.ModuleList(first), nn.ModuleList(second)
        self.last = nn.Conv2d(hidden, components * (1 + 2 * c + c * (c - 1) // 2), 1)

    @classmethod
    def tiny(cls) -> PixelCNNPlusPlus:
        """C, H, W, K and the number of features pairwise distinct; three resolutions."""
        return cls((3, 4, 5), levels=2, hidden=6, resolutions=3)

    @property
    def receptive_field(self) -> Bool[Tensor, "d d"]:
        """True at (i, j) where the logits of i may use x_j, over the flattened event."""
        c, h, w = self.event_shape
        device = self.last.weight.device
        pixels = pixelcnn_pp_receptive_field(h, w, self.blocks, self.resolutions, device)
        return coupled_receptive_field(pixels, c)

    def features(
        self, x: Int[Tensor, "n c h w"], y: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, "n f h w"]:
        """What the network knows at each pixel of the pixels before it: its representation."""
        if x.shape[1:] != self.event_shape:
            raise ValueError(f"expected images {self.event_shape}, not {tuple(x.shape[1:])}")
        label = class_labels(x, y, self.num_classes)
        value = scaled_levels(x, self.levels, self.last.weight.dtype)
        seen = torch.cat([value, torch.ones_like(value[:, :1])], dim=1)
        down, right = self.enter_down(seen), self.enter_right(seen)
        if self.class_bias is not None:
            bias = self.class_bias(label)[:, :, None, None].chunk(2, dim=1)
            down, right = down + bias[0], right + bias[1]
        passed = [(down, right)]
        for layer in self.first_half:
            passed.append(layer(passed[-1]))
        streams = passed.pop()
        for layer in self.second_half:
            if isinstance(layer, TwoStreamDoubling):
                streams = layer(streams, tuple(passed[-1][0].shape[-2:]))
            else:
                streams = layer(streams, passed.pop())
        known: Tensor = streams[1]
        return known

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
