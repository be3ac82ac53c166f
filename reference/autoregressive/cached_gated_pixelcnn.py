r"""Fast sampling from gated PixelCNN: the vertical stack row by row, the horizontal by pixels.

.. code-block:: text

    when row 2 is reached            then, pixel by pixel

    v v v v v                        . . . . .
    1 1 1 1 1  --+ 1 x 1             1 1 1 1 1      all of v's row 1 was told to row 2
    . . . . .  <-+                   h h 1 . .      h keeps its row, and computes one pixel

v reads whole rows, also to the right of the pixel, so its row is computed once it is complete; and
since v is shifted down before h hears of it, that is early enough.
"""

from __future__ import annotations

__all__ = ["GatedPixelCNNCache"]

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from reference.autoregressive.cached_pixelcnn import pixel_map
from reference.autoregressive.gated_layer import GatedLayer, gated_activation
from reference.autoregressive.gated_pixelcnn import GatedPixelCNN
from reference.autoregressive.levels import scaled_levels

if TYPE_CHECKING:
    from jaxtyping import Float, Int


class _LayerCache:
    """What one layer has been shown, with its padding, and what its vertical half told this row."""

    def __init__(self, layer: GatedLayer, shape: Sequence[int], term: Tensor | None) -> None:
        n, _, h, w = shape
        zeros, f, k = layer.link.weight.new_zeros, layer.vertical.in_channels, layer.k
        self.layer, self.w = layer, w
        self.v = zeros(n, f, h + k + 1, w + 2 * k)  # a row more above: the shift
        self.h = zeros(n, f, h, w + k)
        self.told = zeros(n, layer.link.out_channels, 1, w)
        blank = zeros(n, 2 * layer.link.out_channels, 1, 1)
        expanded = (blank if term is None else term).expand(n, -1, h, w)
        self.term_v, self.term_h = expanded.chunk(2, dim=1)
        self.across = pixel_map(layer.horizontal)
        self.out = pixel_map(layer.out)

    def look_up(self, row: int, v: Tensor | None) -> Tensor:
        """Take the row above, which is complete, through the vertical half; row 0 has none."""
        k, above = self.layer.k, torch.zeros_like(self.told)
        if v is not None:
            self.v[:, :, row + k, k : k + self.w] = v
        if row > 0:
            window = self.v[:, :, row : row + k + 1]
            above = self.layer.vertical(window) + self.term_v[:, :, row - 1 : row]
        self.told = self.layer.link(above)
        return gated_activation(above)[:, :, 0]  # (N, p, W)

    def step(self, row: int, column: int, h: Tensor | None) -> Tensor:
        """Take one pixel through the horizontal half."""
        k = self.layer.k
        if h is not None:
            self.h[:, :, row, column + k] = h
        a = self.across(self.h[:, :, row, column : column + k + 1]) + self.told[:, :, 0, column]
        out = self.out(gated_activation(a + self.term_h[:, :, row, column]))
        return out if h is None else h + out


class GatedPixelCNNCache:
    r"""What the layers of both stacks have been shown so far, and what the rows above told.

    .. math::

        h' = h + U \operatorname{gate}(W_h * h + L a_v(r - 1) + t_h): \qquad
        v, h \text{ and } L a_v(r - 1) \text{ are kept}

    Paper: Fast Generation for Convolutional Autoregressive Models (Ramachandran et al., 2017),
    Section 2, https://arxiv.org/abs/1704.06001
    Claims: theory.cached_pixelcnn_is_naive, theory.cached_sampling_costs_one_pass,
    autoregressive_model.sampler_matches_density
    Differs: whole images are kept where the last rows would do.

    Args:
        model: whose weights are read now; a cache does not follow their training.
        n: how many images.
        terms: as for `GatedPixelCNN.logits`.

    >>> GatedPixelCNNCache(GatedPixelCNN.tiny(), 7).logits(0, 0).shape
    torch.Size([7, 2, 3])
    """

    def __init__(
        self, model: GatedPixelCNN, n: int, terms: Sequence[Float[Tensor, "n g _ _"]] | None = None
    ) -> None:
        self.blank = model.last.weight.new_zeros((n, *model.event_shape), dtype=torch.long)
        layers = cast("list[GatedLayer]", list(model.layers))
        chosen = [None] * len(layers) if terms is None else terms
        self.levels = model.levels
        self.caches = [
            _LayerCache(layer, self.blank.shape, term)
            for layer, term in zip(layers, chosen, strict=True)
        ]
        self.head = [pixel_map(model.penultimate), pixel_map(model.last)]

    def logits(self, row: int, column: int) -> Float[Tensor, "n k c"]:
        """Compute the features of this pixel, keep them, and read its conditionals off."""
        v = h = None  # the first layer is shown the image, which is recorded
        for cache in self.caches if column == 0 else ():
            v = cache.look_up(row, v)
        for cache in self.caches:
            h = cache.step(row, column, h)
        for layer in self.head:
            h = layer(cast("Tensor", h).relu())
        return cast("Tensor", h).view(len(self.blank), -1, self.levels).mT  # (N, K, C)

    def record(self, row: int, column: int, pixel: Int[Tensor, "n c"]) -> None:
        """Show it to the first layer of both stacks."""
        first = self.caches[0]
        k, value = first.layer.k, scaled_levels(pixel, self.levels, first.h.dtype)
        first.v[:, :, row + k + 1, column + k] = value
        first.h[:, :, row, column + k] = value
