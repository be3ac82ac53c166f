r"""The loop of a fast sampler: pixel by pixel, from features that a cache keeps.

.. code-block:: text

    naive, two steps of it:                cached:

    1 1 1 1 1         1 1 1 1 1            k k k k k         1  computed in this step
    1 1 1 1 1         1 1 1 1 1            k k k k k         k  kept from an earlier one
    1 1 * 1 1         1 1 1 * 1            k k k * .         .  not there yet: its weights are zero

A colour is a step of its own: the features of G at a pixel depend on its R, so every drawn colour is
recorded before the pixel is computed again. What the last colour's step leaves is final.
"""

from __future__ import annotations

__all__ = ["PixelCache", "cached_complete", "cached_sample"]

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


@runtime_checkable
class PixelCache(Protocol):
    r"""The features of a batch of images so far, pixel by pixel in raster order.

    .. math::

        \ell_{r,c} = f(\text{features at earlier pixels},\; x_{r,c,<\text{channel}})

    Paper: Fast Generation for Convolutional Autoregressive Models (Ramachandran et al., 2017),
    Section 2, https://arxiv.org/abs/1704.06001
    Claims: theory.cached_pixelcnn_is_naive, theory.cached_sampling_costs_one_pass
    Differs: none.
    """

    blank: Int[Tensor, "n c h w"]

    def logits(self, row: int, column: int) -> Float[Tensor, "n k c"]:
        """The conditionals of one pixel, given all that was recorded."""

    def record(self, row: int, column: int, pixel: Int[Tensor, "n c"]) -> None:
        """Remember what was drawn at a pixel so far; colours that are still to come are ignored."""


@torch.no_grad()
def cached_complete(
    cache: PixelCache,
    x: Int[Tensor, "n c h w"],
    known: Bool[Tensor, "c h w"],
    generator: torch.Generator | None = None,
) -> Int[Tensor, "n c h w"]:
    r"""Draw the unknown entries in raster order, computing one pixel's features for each.

    .. math::

        x_i \sim p(x_i \mid x_{<i}) \quad \text{for each unknown } i, \text{ in order}

    Paper: Fast Generation for Convolutional Autoregressive Models (Ramachandran et al., 2017),
    Section 2, https://arxiv.org/abs/1704.06001
    Claims: theory.cached_pixelcnn_is_naive, theory.cached_sampling_costs_one_pass,
    autoregressive_model.completion_keeps_known_pixels
    Differs: none.

    Args:
        cache: of as many images; what earlier use left in it does not matter.
        x: levels in [0, K), long; its unknown entries are ignored.
        known: True where x is given.
        generator: the only source of randomness; torch's own if None.

    Returns:
        a fresh (N, C, H, W), long: from one generator, draw for draw what `complete` returns.

    Raises:
        ValueError: `known` has another shape than the event, or the cache than x.

    >>> from reference.autoregressive import PixelCNN, PixelCNNCache
    >>> x, known = torch.ones(7, 3, 4, 5).long(), torch.ones(3, 4, 5).bool()
    >>> bool((cached_complete(PixelCNNCache(PixelCNN.tiny(), 7), x, known) == x).all())
    True
    """
    if x.shape != cache.blank.shape or known.shape != x.shape[1:]:
        shapes = tuple(x.shape), tuple(known.shape)
        raise ValueError(f"x and known are {shapes}, the cache is of {tuple(cache.blank.shape)}")
    filled, is_known = torch.where(known, x, 0), known.tolist()
    channels, height, width = known.shape
    for row in range(height):
        for column in range(width):
            for c in range(channels):
                found = cache.logits(row, column)  # also at known pixels: later ones ask for them
                if not is_known[c][row][column]:
                    p = found[:, :, c].softmax(dim=1)  # (N, K)
                    filled[:, c, row, column] = torch.multinomial(p, 1, generator=generator)[:, 0]
                cache.record(row, column, filled[:, :, row, column])
    return filled


def cached_sample(
    cache: PixelCache, generator: torch.Generator | None = None
) -> Int[Tensor, "n c h w"]:
    r"""Draw as many images as the cache is of: a completion in which nothing is known.

    .. math::

        x_1 \sim p(x_1),\; x_2 \sim p(x_2 \mid x_1),\; \dots,\; x_D \sim p(x_D \mid x_{<D})

    Paper: Fast Generation for Convolutional Autoregressive Models (Ramachandran et al., 2017),
    Section 2, https://arxiv.org/abs/1704.06001
    Claims: theory.cached_pixelcnn_is_naive, theory.cached_sampling_costs_one_pass,
    autoregressive_model.sampler_matches_density, autoregressive_model.sampling_is_ancestral
    Differs: none.

    Args:
        cache, generator: as for `cached_complete`.

    Returns:
        (n, C, H, W), long: from one generator, draw for draw what `sample` returns.

    >>> from reference.autoregressive import PixelCNN, PixelCNNCache
    >>> cached_sample(PixelCNNCache(PixelCNN.tiny(), 7)).shape
    torch.Size([7, 3, 4, 5])
    """
    return cached_complete(cache, cache.blank, torch.zeros_like(cache.blank[0]).bool(), generator)
