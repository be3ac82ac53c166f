r"""How near drawn images are to real ones, where no likelihood exists.

Images are levels, long (N, C, H, W), so that drawn ones are rounded as real ones are; distances are
between pixels in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from reference.divergences import wasserstein1_on_the_line
from spec_tests.train.data import Data, Part

__all__ = [
    "Figure",
    "compared",
    "covered",
    "energy_distance",
    "ink_distance",
    "mean_distance",
    "nearest_distance",
    "reader",
    "share_distance",
    "signed",
]

_MOST = 1000  # images that are compared with each other


class Figure(NamedTuple):
    """A figure of what is drawn, and the same one of real images."""

    name: str
    drawn: float
    real: float
    digits: int = 3


def signed(x: Tensor, levels: int) -> Tensor:
    """Levels as numbers in [-1, 1]."""
    return 2 * x.float() / max(levels - 1, 1) - 1


def _vectors(x: Tensor, levels: int) -> Tensor:
    return signed(x, levels).flatten(1).double()


def energy_distance(a: Tensor, b: Tensor, levels: int) -> float:
    r"""The energy distance of two samples, unbiased: about 0, either side, for one distribution.

    .. math::

        2 E|A - B| - E|A - A'| - E|B - B'|
    """
    one, other = (_vectors(x[:_MOST], levels) for x in (a, b))
    between = torch.cdist(one, other).mean()
    return float(2 * between - mean_distance(one) - mean_distance(other))


def mean_distance(x: Tensor) -> Tensor:
    """The mean distance of two different items of (N, D)."""
    return torch.cdist(x, x).sum() / max(len(x) * (len(x) - 1), 1)


def ink_distance(a: Tensor, b: Tensor, levels: int) -> float:
    """The Wasserstein-1 distance of the images' mean pixels."""
    one, other = (_vectors(x, levels).mean(1) for x in (a, b))
    weights = (torch.full_like(x, 1 / len(x)) for x in (one, other))
    return float(wasserstein1_on_the_line(one, other, *weights))


def nearest_distance(a: Tensor, among: Tensor, levels: int) -> float:
    """The mean distance to the nearest image of a set; copies would be at 0."""
    one, other = (signed(x, levels).flatten(1) for x in (a[:_MOST], among))
    return float(torch.cdist(one, other).amin(1).mean())


def reader(data: Data) -> Callable[[Tensor], Tensor]:
    """Labels for images, by logistic regression on the pixels of the training part."""
    from sklearn.linear_model import LogisticRegression

    part = Part(data.train.x[: 2 * _MOST], data.train.y[: 2 * _MOST])

    def pixels(x: Tensor) -> Tensor:
        return signed(x, data.levels).flatten(1)

    fitted = LogisticRegression(C=0.1, max_iter=2000).fit(pixels(part.x).numpy(), part.y.numpy())
    return lambda x: torch.from_numpy(fitted.predict(pixels(x).numpy()))


def covered(labels: Tensor, num_classes: int) -> int:
    """How many labels have at least a tenth of an equal share."""
    counts = labels.bincount(minlength=num_classes)
    return int((counts >= 0.1 * len(labels) / num_classes).sum())


def share_distance(a: Tensor, b: Tensor, num_classes: int) -> float:
    """Total variation of the shares of the labels: which part of one would have to change."""
    one, other = (x.bincount(minlength=num_classes) / len(x) for x in (a, b))
    return float(0.5 * (one - other).abs().sum())


def compared(drawn: Tensor, data: Data) -> list[Figure]:
    """Drawn images against real ones; then training images in their place."""
    held_out, train, levels = data.held_out, data.train, data.levels
    some = train.x[: len(held_out)]
    read = reader(data)
    labels, real_labels, held_labels = read(drawn), read(some), read(held_out.x)
    shares = [share_distance(y, held_labels, data.num_classes) for y in (labels, real_labels)]
    return [
        Figure("energy distance", *(energy_distance(x, held_out.x, levels) for x in (drawn, some))),
        Figure("mean pixel, W1", *(ink_distance(x, held_out.x, levels) for x in (drawn, some))),
        Figure("label shares, apart by", *shares),
        Figure(
            f"labels drawn, of {data.num_classes}",
            *(covered(y, data.num_classes) for y in (labels, real_labels)),
            digits=0,
        ),
        Figure(
            "to the nearest training image",
            *(nearest_distance(x, train.x, levels) for x in (drawn, held_out.x)),
        ),
    ]
