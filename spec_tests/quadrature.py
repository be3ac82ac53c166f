r"""Exact expectations for latent variable models: Gauss-Hermite rules, lattices, Gaussians read off.

A claim about a model with one or two latent dimensions needs no sampling: expectations over the noise
are sums over the nodes of a Gauss-Hermite rule (exact for polynomials), integrals over the latent are
sums over a lattice (the trapezoidal rule, which for a Gaussian of standard deviation :math:`\sigma`
and step :math:`h` errs by :math:`2 e^{-2 \pi^2 \sigma^2 / h^2}`), and a Gaussian log-density, being
quadratic, is known from a few of its values.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "HALF_LOG_TAU",
    "Quadratic",
    "box",
    "hermite",
    "hermite_line",
    "log_normal",
    "normal_points",
    "quadratic_of",
]

HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)


def hermite(nodes: int, dims: int = 1) -> tuple[Tensor, Tensor]:
    r"""Nodes ``(K, dims)`` and weights ``(K,)`` with :math:`\sum_k w_k f(u_k) = \mathbb E f(u)`,
    u standard normal, exact for polynomials of degree ``2 * nodes - 1`` in each dimension."""
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    line, mass = torch.from_numpy(points), torch.from_numpy(weights / weights.sum())
    return torch.cartesian_prod(*[line] * dims).reshape(-1, dims), _product([mass] * dims)


def hermite_line(nodes: int) -> tuple[Tensor, Tensor]:
    """The same in one dimension, nodes and weights both ``(K,)``."""
    points, weights = hermite(nodes)
    return points[:, 0], weights


def normal_points(dims: int, coarse: bool = False) -> Tensor:
    """Points ``(K, dims)`` that stand for a standard normal, all of one weight: the midpoints of K
    equally likely intervals, or the Fibonacci lattice, whose projections do not coincide."""
    if dims == 1:
        count = 500 if coarse else 1500
        return torch.special.ndtri((torch.arange(count, dtype=torch.float64) + 0.5) / count)[
            :, None
        ]
    other, count = (377, 610) if coarse else (987, 1597)
    index = torch.arange(count, dtype=torch.float64)
    uniform = torch.stack([(index + 0.5) / count, ((index * other) % count + 0.5) / count], -1)
    return torch.special.ndtri(uniform)


def _product(masses: list[Tensor]) -> Tensor:
    return torch.cartesian_prod(*masses).reshape(-1, len(masses)).prod(-1)


def box(centre: Tensor, step: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The lattice points ``centre + step * k`` within ``[low, high]``, as ``(K, dims)``."""
    lines = []
    for c, h, a, b in zip(*(t.tolist() for t in (centre, step, low, high)), strict=True):
        first, last = math.ceil((a - c) / h), math.floor((b - c) / h)
        lines.append(c + h * torch.arange(first, last + 1, dtype=torch.float64))
    return torch.cartesian_prod(*lines).reshape(-1, len(lines))


def log_normal(z: Tensor, mean: Tensor | float = 0.0, log_var: Tensor | float = 0.0) -> Tensor:
    """The log-density of a diagonal Gaussian, summed over the last dimension."""
    mean, log_var = torch.as_tensor(mean), torch.as_tensor(log_var)
    squared = (z - mean).square() * (-log_var).exp()
    return -(HALF_LOG_TAU + 0.5 * (log_var + squared)).sum(-1)


@dataclass(frozen=True)
class Quadratic:
    r"""The Gaussian that a quadratic log-density stands for, at each of K points: its mean
    ``(K, D)`` and its precision ``(K, D, D)``."""

    mean: Tensor
    precision: Tensor

    def scales(self) -> Tensor:
        """Standard deviations of each coordinate given the others ``(K, D)``."""
        return self.precision.diagonal(dim1=-2, dim2=-1).rsqrt()

    def proper(self) -> bool:
        """Whether every precision is positive definite."""
        finite = bool(torch.isfinite(self.precision).all() and torch.isfinite(self.mean).all())
        return finite and bool((torch.linalg.cholesky_ex(self.precision).info == 0).all())


def quadratic_of(
    log_density: Callable[[Tensor], Tensor], count: int, dims: int, rounds: int = 3
) -> Quadratic:
    r"""Reads mean and precision off a log-density that is quadratic in x.

    ``log_density`` takes ``(P * K, D)`` points, K for each of P probes, and returns ``(P * K,)``.
    Differences of a quadratic are exact at any step; each round starts where the last one ended, so
    that rounding stays small whatever the scale.
    """
    eye = torch.eye(dims, dtype=torch.float64)
    pairs = list(itertools.combinations(range(dims), 2))
    offsets = torch.stack(
        [torch.zeros(dims, dtype=torch.float64), *eye, *-eye, *(eye[d] + eye[e] for d, e in pairs)]
    )
    mean = torch.zeros(count, dims, dtype=torch.float64)
    step = torch.ones(count, dims, dtype=torch.float64)
    found = Quadratic(mean, eye.expand(count, dims, dims))
    for _ in range(rounds):
        points = mean + offsets[:, None] * step  # (P, K, D)
        values = log_density(points.reshape(-1, dims)).reshape(len(offsets), count)
        origin, right, left = values[0], values[1 : dims + 1].T, values[dims + 1 : 2 * dims + 1].T
        slope, curve = (right - left) / 2, right + left - 2 * origin[:, None]  # (K, D)
        hessian = torch.diag_embed(curve)
        for index, (d, e) in enumerate(pairs):
            mixed = values[2 * dims + 1 + index] - right[:, d] - right[:, e] + origin
            hessian[:, d, e] = hessian[:, e, d] = mixed
        precision = -hessian / (step[:, :, None] * step[:, None, :])
        found = Quadratic(mean, precision)
        if not found.proper():
            return found
        mean, step = mean + torch.linalg.solve(precision, slope / step), found.scales()
        found = Quadratic(mean, precision)
    return found
