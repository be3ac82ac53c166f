r"""Flows on images of levels: noise fills the gaps between levels, and the first layer sets the scale.

.. code-block:: text

    level x ──> (x + u) / K in [0, 1) ──actnorm──> mean 0, variance 1 ──flow──> z

The figure is a bound: a mean of log-densities over the noise u is below the log of the mean, and
that is the mass which the density gives to the cell of a level.
"""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn

from reference.flows import (
    IAF,
    MAF,
    NICE,
    ActNorm,
    Composition,
    Glow,
    ImageRealNVP,
    change_of_variables,
    dequantized_log_prob,
)
from spec_tests.train.views import Row, lines

__all__ = ["Dequantized", "glow", "iaf", "maf", "nice", "realnvp"]

Shape = tuple[int, int, int]


class Dequantized(nn.Module):
    """A flow of images, or of vectors of all their numbers, that is told of levels."""

    def __init__(self, flow: Composition, event_shape: Shape, levels: int) -> None:
        super().__init__()
        self.scale, self.flow = ActNorm(event_shape[0]), flow
        self.event_shape, self.levels = tuple(event_shape), levels

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """From numbers in [0, 1) to noise, with the log-determinant of each item."""
        scaled, log_det = self.scale(values)
        z, added = self.flow(scaled.view(-1, *self.flow.event_shape))
        return z, log_det + added

    def log_prob(self, values: Tensor) -> Tensor:
        """The log-density of numbers in [0, 1), nats."""
        return change_of_variables(*self.forward(values))

    def decode(self, z: Tensor) -> Tensor:
        """The image of levels whose cell the noise falls into, or the nearest one."""
        values = self.scale.inverse(self.flow.inverse(z).view(-1, *self.event_shape))
        return (values * self.levels).floor().clamp(0, self.levels - 1).long()

    # What training asks for.

    def loss(self, x: Tensor) -> Tensor:
        """The mean of `nats`."""
        return self.nats(x).mean()

    def nats(self, x: Tensor, draws: int = 1) -> Tensor:
        """An upper bound of minus the log-mass of an image, averaged over draws of the noise."""
        like = next(self.parameters())
        noise = [torch.rand(x.shape, dtype=like.dtype, device=x.device) for _ in range(draws)]
        bound = [dequantized_log_prob(self.log_prob, x, one, self.levels) for one in noise]
        return -torch.stack(bound).mean(0)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Images of levels."""
        like = next(self.parameters())
        return self.decode(like.new_empty(n, *self.flow.event_shape).normal_(generator=generator))

    def traverse(self, x: Tensor, generator: torch.Generator) -> list[Row]:
        """Straight lines in the noise, which are curves in the images."""
        values = (x + 0.5) / self.levels
        return lines(self.forward(values)[0], self.decode, 3)


def nice(event_shape: Shape, levels: int, layers: int, hidden: int) -> Dequantized:
    """Additive couplings of every second pixel."""
    return Dequantized(NICE(event_shape, layers, hidden), event_shape, levels)


def realnvp(event_shape: Shape, levels: int, scales: int, hidden: int) -> Dequantized:
    """Checkerboards and channels, at several scales."""
    return Dequantized(ImageRealNVP(event_shape, scales, hidden), event_shape, levels)


def glow(event_shape: Shape, levels: int, scales: int, steps: int, hidden: int) -> Dequantized:
    """Actnorm, mixed channels and couplings, at several scales."""
    return Dequantized(Glow(event_shape, scales, steps, hidden), event_shape, levels)


def maf(event_shape: Shape, levels: int, layers: int, hidden: int) -> Dequantized:
    """Pixel by pixel in raster order, then in the opposite one, and so on."""
    return Dequantized(MAF(prod(event_shape), layers, hidden), event_shape, levels)


def iaf(event_shape: Shape, levels: int, layers: int, hidden: int) -> Dequantized:
    """As `maf`, the other way around: quick to sample and slow to train."""
    return Dequantized(IAF(prod(event_shape), layers, hidden), event_shape, levels)
