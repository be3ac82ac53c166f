r"""Unusual but right flows: reflections, exponentials, splines with corners, planets."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from spec_tests.contracts.flows import FlowConfig
from spec_tests.registry import Unsupported, control


def _noise(like: Tensor, n: int, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.empty((n, *shape), dtype=like.dtype, device=like.device).normal_(
        generator=generator
    )


class Reflections(nn.Module):
    """Householder's reflections, each its own inverse; scale by one number at the end."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.shape, self.size = config.event_shape, math.prod(config.event_shape)
        self.normals = nn.Parameter(torch.randn(3, self.size))
        self.log_scale = nn.Parameter(torch.zeros(()))

    def reflect(self, x: Tensor, order: list[int]) -> Tensor:
        for index in order:
            normal = functional.normalize(self.normals[index], dim=0)
            x = x - 2 * (x @ normal)[:, None] * normal
        return x

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = self.reflect(x.flatten(1), [0, 1, 2]) * self.log_scale.exp()
        return z.reshape(x.shape), (self.size * self.log_scale).expand(len(x))

    def inverse(self, z: Tensor) -> Tensor:
        return self.reflect(z.flatten(1) / self.log_scale.exp(), [2, 1, 0]).reshape(z.shape)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        return self.inverse(_noise(self.log_scale, n, self.shape, generator))


@control("flow")
def an_odd_number_of_reflections(config: FlowConfig) -> Any:
    """Orientation is reversed everywhere: the determinant is negative, and its logarithm is not NaN."""
    return Reflections(config)


class Exponential(nn.Module):
    """z = exp(A) x: any A gives an invertible matrix, and log det exp(A) = tr A."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.shape = config.event_shape
        self.generator = nn.Parameter(torch.zeros(math.prod(self.shape), math.prod(self.shape)))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = x.flatten(1) @ torch.linalg.matrix_exp(self.generator).T
        return z.reshape(x.shape), self.generator.trace().repeat(len(x))

    def inverse(self, z: Tensor) -> Tensor:
        x = z.flatten(1) @ torch.linalg.matrix_exp(-self.generator).T
        return x.reshape(z.shape)

    def log_prob(self, x: Tensor) -> Tensor:
        """By the covariance of x, without z."""
        root = torch.linalg.matrix_exp(-self.generator)
        mean = torch.zeros_like(root[0])
        density = torch.distributions.MultivariateNormal(mean, root @ root.T, validate_args=False)
        return density.log_prob(x.flatten(1))


@control("flow")
def a_matrix_exponential(config: FlowConfig) -> Any:
    """No factors and no determinant: the trace of a generator, and the density as a Gaussian's."""
    return Exponential(config)


class Polygon(nn.Module):
    """Each feature by a piecewise linear function through knots on [-4, 4], the identity outside."""

    bins = 5

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.shape = config.event_shape
        size = math.prod(config.event_shape)
        self.widths = nn.Parameter(torch.randn(size, self.bins))
        self.heights = nn.Parameter(torch.randn(size, self.bins))

    def knots(self, raw: Tensor) -> Tensor:
        shares = 0.1 / self.bins + 0.9 * raw.softmax(1)
        return functional.pad(8 * shares.cumsum(1), (1, 0)) - 4

    def pieces(self, x: Tensor, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        inside = (x.T >= source[:, :1]) & (x.T < source[:, -1:])  # (D, N)
        bin = torch.searchsorted(source.detach(), x.T.detach().contiguous(), right=True) - 1
        bin = bin.clamp(0, self.bins - 1)
        left, right = source.gather(1, bin), source.gather(1, bin + 1)
        low, high = target.gather(1, bin), target.gather(1, bin + 1)
        slope = (high - low) / (right - left)
        moved = torch.where(inside, low + slope * (x.T - left), x.T)
        return moved.T, torch.where(inside, slope, torch.ones_like(slope)).T

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z, slope = self.pieces(x.flatten(1), self.knots(self.widths), self.knots(self.heights))
        return z.reshape(x.shape), slope.log().sum(1)

    def inverse(self, z: Tensor) -> Tensor:
        x, _ = self.pieces(z.flatten(1), self.knots(self.heights), self.knots(self.widths))
        return x.reshape(z.shape)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        return self.inverse(_noise(self.widths, n, self.shape, generator))


@control("flow")
def splines_with_corners(config: FlowConfig) -> Any:
    """The density jumps at the knots, and the map has no derivative there: continuous is enough."""
    if len(config.event_shape) == 1 and config.event_shape[0] == 2:
        raise Unsupported("a density that jumps is not summed over a lattice")
    return Polygon(config)


class Planets(nn.Module):
    """Half of the features are places, half are speeds: leapfrog steps in a drawn potential."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.half = dim // 2
        self.springs = nn.Parameter(torch.randn(4, self.half))
        self.phase = nn.Parameter(torch.zeros(4))

    def force(self, places: Tensor) -> Tensor:
        return -(places @ self.springs.T + self.phase).sin() @ self.springs / 4

    def leap(self, state: Tensor, h: float) -> Tensor:
        places, speeds = state.split(self.half, 1)
        for _ in range(5):
            speeds = speeds + h / 2 * self.force(places)
            places = places + h * speeds
            speeds = speeds + h / 2 * self.force(places)
        return torch.cat([places, speeds], 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.leap(x, 0.3), torch.zeros(len(x), dtype=x.dtype, device=x.device)

    def inverse(self, z: Tensor) -> Tensor:
        return self.leap(z, -0.3)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        return self.inverse(_noise(self.phase, n, (2 * self.half,), generator))


@control("flow")
def planets_by_leapfrog(config: FlowConfig) -> Any:
    """A physical system: coarse steps that keep volume exactly and run backwards without error."""
    if len(config.event_shape) != 1 or config.event_shape[0] % 2:
        raise Unsupported("places and speeds, as many of each")
    return Planets(config.event_shape[0])
