r"""Critics that are handed to subjects: small, smooth where that matters, with gradients known.

Each takes ``(N, *event)`` to ``(N,)``, flattens the event itself, treats its items one by one, and
runs under ``torch.func.vmap``: a subject may call it with the batch or item by item.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import softplus

from spec_tests.strategies import normals

__all__ = [
    "ConvCritic",
    "FractionCritic",
    "LinearCritic",
    "LinearFunction",
    "QuadraticCritic",
    "SegmentCritic",
    "SmoothCritic",
    "critics",
    "linear_critics",
    "quadratic_critics",
]


def _numbers(value: Tensor) -> str:
    if value.numel() > 12:
        return f"tensor of shape {tuple(value.shape)}"
    return str([round(entry, 6) for entry in value.detach().flatten().tolist()])


class LinearCritic(nn.Module):
    r"""``w . x + b``: its gradient is ``w`` everywhere."""

    def __init__(self, weight: Tensor, bias: float = 0.25) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.clone())
        self.bias = nn.Parameter(torch.tensor(bias, dtype=weight.dtype))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight + self.bias

    def extra_repr(self) -> str:
        return f"w={_numbers(self.weight)}, b={float(self.bias):.4g}"


@dataclass(frozen=True)
class LinearFunction:
    r"""``w . x`` as a plain callable: no module, no parameters."""

    weight: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight


class QuadraticCritic(nn.Module):
    r"""``0.5 x.A x + b.x`` with symmetric ``A``: its gradient is ``A x + b``."""

    def __init__(self, matrix: Tensor, slope: Tensor) -> None:
        super().__init__()
        self.matrix = nn.Parameter((matrix + matrix.mT) / 2)
        self.slope = nn.Parameter(slope.clone())

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        return 0.5 * ((flat @ self.matrix) * flat).sum(1) + flat @ self.slope

    def gradient_at(self, x: Tensor) -> Tensor:
        """The gradient at each item (N, D)."""
        return (x.flatten(1) @ self.matrix + self.slope).detach()

    def extra_repr(self) -> str:
        return f"A={_numbers(self.matrix)}, b={_numbers(self.slope)}"


class SmoothCritic(nn.Module):
    r"""``c . tanh(W x + b)``, with a frozen parameter, a buffer, and a part in eval mode."""

    def __init__(self, features: int, seed: int, hidden: int = 3) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64)

        self.features, self.seed = features, seed
        self.hidden = nn.Linear(features, hidden, dtype=torch.float64)
        self.out = nn.Parameter(2 * draw(hidden))
        self.offset = nn.Parameter(draw(1), requires_grad=False)
        self.register_buffer("gain", 1 + draw(hidden).abs())
        self.dropout = nn.Dropout(0.5).eval()
        with torch.no_grad():
            self.hidden.weight.copy_(draw(hidden, features) / features**0.5)
            self.hidden.bias.copy_(draw(hidden))

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.hidden(x.flatten(1)) * self.gain).tanh() @ self.out + self.offset

    def extra_repr(self) -> str:
        return f"features={self.features}, seed={self.seed}"


class ConvCritic(nn.Module):
    r"""A convolution, softplus, and a weighted sum over the image."""

    def __init__(self, event: tuple[int, ...], seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        channels, height, width = event
        self.event, self.seed = event, seed
        kernel = torch.randn(3, channels, 2, 2, generator=generator, dtype=torch.float64)
        head = torch.randn(3 * (height - 1) * (width - 1), generator=generator, dtype=torch.float64)
        self.kernel, self.head = nn.Parameter(kernel / channels), nn.Parameter(head / 2)

    def forward(self, x: Tensor) -> Tensor:
        return softplus(nn.functional.conv2d(x, self.kernel)).flatten(1) @ self.head

    def extra_repr(self) -> str:
        return f"event={self.event}, seed={self.seed}"


class SegmentCritic(nn.Module):
    r"""Slope exactly one on the segments between pairs, and steeper wherever one leaves them.

    .. math::

        f(x) = a + \tfrac K2 \lVert x - r - a d \rVert^2 + K (a - \ell)_+^2 - K (-a)_+^2,
        \qquad a = d \cdot (x - r)

    with ``r`` the real end, ``d`` the direction and ``l`` the length of the nearest segment.
    """

    steepness = 10.0

    def __init__(self, real: Tensor, fake: Tensor) -> None:
        super().__init__()
        ahead = (fake - real).flatten(1)
        self.register_buffer("start", real.flatten(1).clone())
        self.register_buffer("length", ahead.norm(dim=1))
        self.register_buffer("direction", ahead / ahead.norm(dim=1, keepdim=True))
        self.register_buffer("centre", self.start + ahead / 2)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)[:, None]  # (n, 1, D) against (pairs, D)
        away = flat - self.start
        along = (away * self.direction).sum(-1)  # (n, pairs)
        off = (away - along[..., None] * self.direction).square().sum(-1)
        beyond = (along - self.length).relu().square() - (-along).relu().square()
        score = along + self.steepness * (off / 2 + beyond)
        nearest = (flat - self.centre).square().sum(-1).argmin(-1)
        own = nearest[:, None] == torch.arange(len(self.start), device=x.device)
        return (score * own.to(score)).sum(-1)

    def extra_repr(self) -> str:
        return f"pairs={len(self.start)}"


class FractionCritic(nn.Module):
    r"""``theta_j x_1^2 / 2`` where ``j`` is the rounded ``x_0``: one parameter for each item.

    Its gradient at an item is ``theta_j x_1``, so that the derivative of a gradient penalty in
    ``theta_j`` tells where on its segment item ``j`` was evaluated.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.ones(count, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        item = flat[:, 0].detach().round().long().clamp(0, len(self.theta) - 1)
        return self.theta[item] * flat[:, 1].square() / 2


def linear_critics(features: int) -> st.SearchStrategy[LinearCritic]:
    """Linear critics with slopes from well below to well above one, never zero."""
    sizes = st.sampled_from([0.3, 0.8, 1.5, 4.0])
    return st.builds(lambda w, size: LinearCritic(size * w / w.norm()), normals((features,)), sizes)


def quadratic_critics(features: int) -> st.SearchStrategy[QuadraticCritic]:
    """Quadratic critics whose gradient differs from item to item."""
    return st.builds(QuadraticCritic, normals((features, features), 0.7), normals((features,)))


def critics(event: tuple[int, ...]) -> st.SearchStrategy[nn.Module]:
    """Critics of every kind with parameters, for events of this shape."""
    features = int(torch.Size(event).numel())
    seeds = st.integers(0, 2**31 - 1)
    smooth = st.builds(lambda seed: SmoothCritic(features, seed), seeds)
    kinds = [linear_critics(features), quadratic_critics(features), smooth]
    if len(event) == 3:
        kinds.append(st.builds(lambda seed: ConvCritic(event, seed), seeds))
    return st.one_of(kinds)
