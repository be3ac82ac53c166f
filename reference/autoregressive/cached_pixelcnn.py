r"""Fast sampling from PixelCNN: one column of features for each pixel, not a pass over the image.

.. code-block:: text

    image, kept --> window --> A --> f --> 1 x 1 --> u, kept --> window --> B --> 1 x 1 --(+)--> ...
                                     |                                                     |
                                     +-----------------------------------------------------+

Only what a convolution with an extent is shown has to be kept; 1 x 1 layers look at one pixel.
"""

from __future__ import annotations

__all__ = ["PixelCNNCache", "pixel_map"]

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from reference.autoregressive.chain_rule import class_labels
from reference.autoregressive.gated_layer import RowConv2d
from reference.autoregressive.levels import scaled_levels
from reference.autoregressive.masks import MaskedConv2d
from reference.autoregressive.pixelcnn import PixelCNN, ResidualBlock

if TYPE_CHECKING:
    from jaxtyping import Float, Int


@torch.no_grad()
def pixel_map(conv: MaskedConv2d | RowConv2d) -> Callable[[Tensor], Tensor]:
    r"""Take a masked convolution at one pixel: a matrix times the taps in rows up to its own.

    .. math::

        y = W \operatorname{vec}(x_{\text{window}}) + b

    Paper: Fast Generation for Convolutional Autoregressive Models (Ramachandran et al., 2017),
    Section 2, https://arxiv.org/abs/1704.06001
    Claims: theory.cached_pixelcnn_is_naive
    Differs: none.

    Args:
        conv: a square kernel, of which the rows below the centre are masked, or a single row.

    Returns:
        a function of windows (N, in, ...), flattened, to features (N, out).

    >>> pixel_map(MaskedConv2d(2, 5, 3, "B"))(torch.zeros(4, 2, 2, 3)).shape
    torch.Size([4, 5])
    """
    rows = conv.mask.shape[2] // 2 + 1
    matrix = (conv.weight * conv.mask)[:, :, :rows].flatten(1)
    return lambda window: F.linear(window.flatten(1), matrix, conv.bias)


class PixelCNNCache:
    r"""What PixelCNN's convolutions with an extent have been shown so far.

    .. math::

        f_0 = A_{k_0} x, \quad u_l = \operatorname{relu}(W_1 \operatorname{relu}(f_{l-1})), \quad
        f_l = f_{l-1} + W_3 \operatorname{relu}(W_2 * u_l): \qquad x \text{ and } u_l \text{ are kept}

    Paper: Fast Generation for Convolutional Autoregressive Models (Ramachandran et al., 2017),
    Section 2, https://arxiv.org/abs/1704.06001
    Claims: theory.cached_pixelcnn_is_naive, theory.cached_sampling_costs_one_pass,
    autoregressive_model.sampler_matches_density
    Differs: whole images are kept where the last rows would do.

    Args:
        model: whose weights are read now; a cache does not follow their training.
        n: how many images.
        y: (N,), long, given when there are classes.

    >>> PixelCNNCache(PixelCNN.tiny(), 7).logits(0, 0).shape
    torch.Size([7, 2, 3])
    """

    def __init__(self, model: PixelCNN, n: int, y: Int[Tensor, " n"] | None = None) -> None:
        c, h, w = model.event_shape
        zeros, blocks = model.first.weight.new_zeros, cast("list[ResidualBlock]", model.blocks)
        self.blank = zeros((n, c, h, w), dtype=torch.long)
        self.k, self.b = (size // 2 for size in model.kernels)
        self.image = zeros(n, c, h + self.k, w + 2 * self.k)  # with its padding: above, both sides
        width = model.penultimate.in_channels // 2
        self.kept = [zeros(n, width, h + self.b, w + 2 * self.b) for _ in blocks]
        self.levels, label = model.levels, class_labels(self.blank, y, model.num_classes)
        self.bias = 0.0 if model.class_bias is None else model.class_bias(label)
        self.first = pixel_map(model.first)
        self.blocks = [
            [pixel_map(conv) for conv in (block.narrow, block.look, block.widen)]
            for block in blocks
        ]
        self.head = [pixel_map(model.penultimate), pixel_map(model.last)]

    def logits(self, row: int, column: int) -> Float[Tensor, "n k c"]:
        """Compute the features of this pixel, keep them, and read its conditionals off."""
        k, b = self.k, self.b
        f = self.first(self.image[:, :, row : row + k + 1, column : column + 2 * k + 1]) + self.bias
        for kept, (narrow, look, widen) in zip(self.kept, self.blocks, strict=True):
            kept[:, :, row + b, column + b] = narrow(f.relu()).relu()
            window = kept[:, :, row : row + b + 1, column : column + 2 * b + 1]
            f = f + widen(look(window).relu())
        for layer in self.head:
            f = layer(f.relu())
        return f.view(len(f), -1, self.levels).mT  # (N, K, C)

    def record(self, row: int, column: int, pixel: Int[Tensor, "n c"]) -> None:
        """Show it to the first layer of the steps to come."""
        value = scaled_levels(pixel, self.levels, self.image.dtype)
        self.image[:, :, row + self.k, column + self.k] = value
