r"""Multi-scale PixelCNN: first a small image, then the large one, of which the small one is a part.

.. code-block:: text

    the order for 3 x 5, factor 2        the small image       the rest, given all of the small one

        0  6  1  7  2                       0 1 2                 .  6  .  7  .
        8  9 10 11 12                       3 4 5                 8  9 10 11 12
        3 13  4 14  5                                             . 13  . 14  .

Pixels 0 to 5 come from an unconditional network. The others come from a network in raster order
whose every layer is shown the enlarged small image: 6 knows of 5, which is below and to the right.
"""

from __future__ import annotations

__all__ = ["MultiscalePixelCNN", "subsampled_order"]

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from reference.autoregressive.chain_rule import chain_rule_log_prob
from reference.autoregressive.conditional import ConditionalPixelCNN
from reference.autoregressive.conditions import SpatialEncoder
from reference.autoregressive.gated_pixelcnn import GatedPixelCNN
from reference.autoregressive.gated_receptive_field import gated_pixelcnn_receptive_field
from reference.autoregressive.levels import scaled_levels
from reference.autoregressive.sampling import complete, raster_order, sample

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


def subsampled_order(event_shape: tuple[int, int, int], factor: int) -> list[int]:
    r"""List the flattened indices of an image, those of the subsampled image first.

    .. math::

        \{(r, c) : f \mid r,\ f \mid c\} \text{ in raster order}, \quad
        \text{then the others in raster order}

    Paper: Pixel Recurrent Neural Networks (van den Oord, Kalchbrenner, Kavukcuoglu, 2016),
    Section 3.6, https://arxiv.org/abs/1601.06759
    Claims: autoregressive_model.order_is_a_permutation, theory.multiscale_is_one_density
    Differs: the paper generates the large image in full; here what is known is not drawn again.

    Args:
        event_shape: (C, H, W).
        factor: f; the small image has ceil(H / f) rows and ceil(W / f) columns.

    Returns:
        D indices, first generated first; within a pixel channel by channel.

    Raises:
        ValueError: the event is not (C, H, W), or the factor is below 1.

    >>> subsampled_order((1, 2, 3), factor=2)
    [0, 2, 1, 3, 4, 5]
    """
    if len(event_shape) != 3 or factor < 1:
        raise ValueError(f"expected (C, H, W) and a factor from 1, not {event_shape}, {factor}")
    _, height, width = event_shape

    def is_large(index: int) -> bool:
        row, column = divmod(index % (height * width), width)
        return row % factor > 0 or column % factor > 0

    return sorted(raster_order(event_shape), key=is_large)  # a stable sort


class MultiscalePixelCNN(nn.Module):
    r"""A gated PixelCNN of the subsampled image, and one of the rest conditional on it.

    .. math::

        p(x) = \prod_{i \in S} p(x_i \mid x_{S, <i}) \prod_{i \notin S} p(x_i \mid x_S, x_{<i}),
        \qquad S \text{ the subsampled pixels}

    The enlarged image is a map of features that biases every layer of the second network.

    Paper: Pixel Recurrent Neural Networks (van den Oord, Kalchbrenner, Kavukcuoglu, 2016),
    Section 3.6, https://arxiv.org/abs/1601.06759
    Claims: autoregressive_model.causality, autoregressive_model.uses_the_allowed_past,
    autoregressive_model.order_is_a_permutation, autoregressive_model.normalised,
    theory.multiscale_is_one_density
    Differs: gated PixelCNNs where the paper has PixelRNNs; two scales; the large network draws the
    pixels that are not subsampled only, so that each pixel is counted once and the product is a
    density of the large image.

    Args:
        event_shape: (C, H, W) of the large image.
        levels: K.
        factor: f, every how many rows and columns the small image takes a pixel.
        maps: F, features of the enlarged small image.
        hidden, head, layers: as for `GatedPixelCNN`, of both networks.

    Raises:
        ValueError: as for `subsampled_order` and `GatedPixelCNN`.

    >>> MultiscalePixelCNN.tiny().logits(torch.zeros(7, 3, 4, 5, dtype=torch.long)).shape
    torch.Size([7, 2, 3, 4, 5])
    """

    def __init__(
        self,
        event_shape: tuple[int, int, int],
        levels: int,
        factor: int = 2,
        maps: int = 8,
        hidden: int = 12,
        head: int = 24,
        layers: int = 3,
    ) -> None:
        super().__init__()
        self.event_shape, self.levels, self.factor = event_shape, levels, factor
        self.sequence = subsampled_order(event_shape, factor)
        c, h, w = event_shape
        small = (c, -(-h // factor), -(-w // factor))  # rounded up
        self.small = GatedPixelCNN(small, levels, hidden, head, layers)
        self.encode = SpatialEncoder(c, maps)
        # As wide as linear interpolation needs: each pixel is reached from all sides.
        self.enlarge = nn.ConvTranspose2d(maps, maps, 2 * factor - 1, factor, padding=factor - 1)
        self.large = ConditionalPixelCNN(
            event_shape, levels, maps=maps, hidden=hidden, head=head, layers=layers
        )

    @classmethod
    def tiny(cls) -> MultiscalePixelCNN:
        """C, H, W, K, F, p and head pairwise distinct."""
        return cls((3, 4, 5), levels=2, maps=7, hidden=6, head=9)

    @property
    def order(self) -> Int[Tensor, " d"]:
        """The flattened indices, first generated first."""
        return torch.tensor(self.sequence, device=self.enlarge.weight.device)

    @property
    def receptive_field(self) -> Bool[Tensor, "d d"]:
        """True at (i, j) where the logits of i may use x_j, over the flattened event."""
        c, h, w = self.event_shape
        device, f = self.enlarge.weight.device, self.factor
        index = torch.arange(c * h * w, device=device).view(c, h, w)[:, ::f, ::f].flatten()
        image = self.large.image
        field = gated_pixelcnn_receptive_field(
            *self.event_shape, len(image.layers) - 1, *image.kernels, self._felt(), device
        )
        field[index] = False
        field[index[:, None], index] = self.small.receptive_field
        return field

    def _felt(self) -> Bool[Tensor, "d h w"]:
        """True at (j, r, c) where x_j is subsampled, and felt at (r, c) of the enlarged image."""
        c, h, w = self.event_shape
        row, column = (torch.arange(size, device=self.enlarge.weight.device) for size in (h, w))
        f, reach = self.factor, 3 * self.factor  # f - 1 when enlarged, 2f when encoded
        rows = ((row[:, None] - row).abs() < reach) & (row % f == 0)[:, None]  # (H from, H to)
        columns = ((column[:, None] - column).abs() < reach) & (column % f == 0)[:, None]
        felt = rows[:, None, :, None] & columns[None, :, None, :]
        return felt.repeat(c, 1, 1, 1).flatten(0, 1)

    def logits(self, x: Int[Tensor, "n c h w"]) -> Float[Tensor, "n k c h w"]:
        """Every conditional in one pass of each network."""
        if x.shape[1:] != self.event_shape:
            raise ValueError(f"expected images {self.event_shape}, not {tuple(x.shape[1:])}")
        f = self.factor
        small = x[:, :, ::f, ::f]
        shown = scaled_levels(small, self.levels, self.enlarge.weight.dtype)
        maps = self.enlarge(self.encode(shown), output_size=x.shape[2:])
        found = self.large.logits(x, spatial=maps).clone()
        found[:, :, :, ::f, ::f] = self.small.logits(small)
        return found

    def log_prob(self, x: Int[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
        """(N,), nats."""
        return chain_rule_log_prob(self.logits(x), x)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Int[Tensor, "n c h w"]:
        """Ancestral sampling, the small image first; D passes."""
        return sample(
            self.logits, n, self.event_shape, self.sequence, generator, self.enlarge.weight.device
        )

    def complete(
        self,
        x: Int[Tensor, "n c h w"],
        known: Bool[Tensor, "c h w"],
        generator: torch.Generator | None = None,
    ) -> Int[Tensor, "n c h w"]:
        """Ancestral completion; one pass for each unknown entry."""
        return complete(self.logits, x, known, self.sequence, generator)
