r"""Unusual but right flows: other layers, other inverses, other ways to the log-determinant."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from spec_tests.contracts.flows import FlowConfig
from spec_tests.registry import Unsupported, control


class Chain(nn.Module):
    """Layers of ``forward(x) -> (z, log_det)`` and ``inverse(z)``, with density and sampler."""

    def __init__(self, config: FlowConfig, layers: list[nn.Module]) -> None:
        super().__init__()
        self.event_shape = config.event_shape
        self.layers = nn.ModuleList(layers)
        self.register_buffer("origin", torch.zeros(()))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        terms = []
        for layer in self.layers:
            x, term = layer(x)
            terms.append(term)
        return x, torch.stack(terms).sum(0)

    def inverse(self, z: Tensor) -> Tensor:
        for layer in list(self.layers)[::-1]:
            z = layer.inverse(z)  # type: ignore[operator]
        return z

    def log_prob(self, x: Tensor) -> Tensor:
        z, log_det = self.forward(x)
        base = torch.distributions.Normal(torch.zeros_like(z), torch.ones_like(z))
        return base.log_prob(z).flatten(1).sum(1) + log_det

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        noise = torch.randn(
            (n, *self.event_shape),
            generator=generator,
            dtype=self.origin.dtype,
            device=self.origin.device,
        )
        return self.inverse(noise)


class ActNorm(nn.Module):
    """A scale and shift for each channel, set by the first batch in training mode and only by it."""

    ready: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(channels, 1, 1))
        self.shift = nn.Parameter(torch.zeros(channels, 1, 1))
        self.register_buffer("ready", torch.tensor(False))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.training and not self.ready:
            with torch.no_grad():
                spread = x.std((0, 2, 3), keepdim=True)[0] + 1e-6
                self.log_scale.copy_(-spread.log())
                self.shift.copy_(-x.mean((0, 2, 3), keepdim=True)[0] / spread)
                self.ready.fill_(True)
        z = x * self.log_scale.exp() + self.shift
        pixels = x.shape[2] * x.shape[3]
        return z, (pixels * self.log_scale.sum()).expand(len(x))

    def inverse(self, z: Tensor) -> Tensor:
        return (z - self.shift) * (-self.log_scale).exp()


class Mixing(nn.Module):
    """An invertible 1×1 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linalg.qr(torch.randn(channels, channels)).Q)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = functional.conv2d(x, self.weight[:, :, None, None])
        pixels = x.shape[2] * x.shape[3]
        return z, (pixels * torch.linalg.slogdet(self.weight).logabsdet).expand(len(x))

    def inverse(self, z: Tensor) -> Tensor:
        solved = torch.linalg.solve(self.weight, z.flatten(2))
        return solved.reshape(z.shape)


class ImageCoupling(nn.Module):
    """The first channels set a sigmoid scale and a shift of the others, through convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.kept = channels // 2
        moved = channels - self.kept
        self.network = nn.Sequential(
            nn.Conv2d(self.kept, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2 * moved, 1)
        )

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        kept, moved = x[:, : self.kept], x[:, self.kept :]
        raw, shift = self.network(kept).chunk(2, dim=1)
        return kept, moved, functional.logsigmoid(raw + 2), shift

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kept, moved, log_scale, shift = self.parts(x)
        z = torch.cat([kept, (moved + shift) * log_scale.exp()], 1)
        return z, log_scale.sum((1, 2, 3))

    def inverse(self, z: Tensor) -> Tensor:
        kept, moved, log_scale, shift = self.parts(z)
        return torch.cat([kept, moved / log_scale.exp() - shift], 1)


@control("flow")
def steps_of_glow(config: FlowConfig) -> Any:
    """Actnorm that initialises itself from data, 1×1 convolutions and couplings; images only."""
    if len(config.event_shape) != 3:
        raise Unsupported("images only")
    channels = config.event_shape[0]
    layers: list[nn.Module] = []
    for _ in range(2):
        layers += [ActNorm(channels), Mixing(channels)]
        if channels > 1:
            layers.append(ImageCoupling(channels))
    return Chain(config, layers)


class Autoregressive(nn.Module):
    """Each feature is scaled and shifted by functions of those before it; D passes invert it."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.randn(dim, dim))
        self.second = nn.Parameter(torch.randn(2, dim, dim) / dim**0.5)
        self.bias = nn.Parameter(torch.zeros(2, dim))

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = functional.softplus(x @ self.first.tril(-1).T) - math.log(2)
        # Feature 0 of hidden is constant, so that the diagonal of the second matrix may stay.
        mean, raw = torch.einsum("nd,ked->kne", hidden, self.second.tril()) + self.bias[:, None]
        return mean, raw.tanh()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_scale = self.statistics(x)
        return (x - mean) * (-log_scale).exp(), -log_scale.sum(1)

    def inverse(self, z: Tensor) -> Tensor:
        x = torch.zeros_like(z)
        for _ in range(z.shape[1]):
            mean, log_scale = self.statistics(x)
            x = z * log_scale.exp() + mean
        return x


class Reversed(nn.Module):
    """The features in reverse order, one of them negated: orientation may change, volume does not."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = x.flip(1)
        return torch.cat([-z[:, :1], z[:, 1:]], 1), x.new_zeros(len(x))

    def inverse(self, z: Tensor) -> Tensor:
        return torch.cat([-z[:, :1], z[:, 1:]], 1).flip(1)


@control("flow")
def masked_autoregressive_layers(config: FlowConfig) -> Any:
    """Triangular layers that are inverted one feature at a time, with mirrors in between."""
    if len(config.event_shape) != 1:
        raise Unsupported("vectors only")
    (dim,) = config.event_shape
    return Chain(config, [Autoregressive(dim), Reversed(), Autoregressive(dim), Reversed()])


class Elementwise(nn.Module):
    """sinh(δ asinh(x) + ε), for each entry by itself: no density, no sampler."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.log_tail = nn.Parameter(torch.zeros(math.prod(config.event_shape)))
        self.skew = nn.Parameter(torch.zeros(math.prod(config.event_shape)))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        flat = x.flatten(1)
        tail = 0.5 * (1 + self.log_tail.sigmoid())
        inner = tail * flat.asinh() + self.skew
        log_slope = inner.cosh().log() + tail.log() - 0.5 * flat.square().log1p()
        return inner.sinh().reshape(x.shape), log_slope.sum(1)

    def inverse(self, z: Tensor) -> Tensor:
        tail = 0.5 * (1 + self.log_tail.sigmoid())
        return ((z.flatten(1).asinh() - self.skew) / tail).sinh().reshape(z.shape)


@control("flow")
def entries_one_by_one(config: FlowConfig) -> Any:
    """Each entry has a bijection of its own; only what the contract insists on is offered."""
    return Elementwise(config)


class Additive(nn.Module):
    """Half of the entries are shifted by a function of the others: volume is preserved."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.half = dim // 2
        self.network = nn.Sequential(
            nn.Linear(self.half, 5), nn.ELU(), nn.Linear(5, dim - self.half)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        flat = x.flatten(1)
        kept, moved = flat[:, : self.half], flat[:, self.half :]
        z = torch.cat([moved + self.network(kept), kept], 1)
        return z.reshape(x.shape), x.new_zeros(len(x))

    def inverse(self, z: Tensor) -> Tensor:
        flat = z.flatten(1)
        moved, kept = flat.split([flat.shape[1] - self.half, self.half], 1)
        return torch.cat([kept, moved - self.network(kept)], 1).reshape(z.shape)


@control("flow")
def couplings_that_preserve_volume(config: FlowConfig) -> Any:
    """NICE without its scale, of vectors or images: the log-determinant is zero and right."""
    dim = math.prod(config.event_shape)
    if dim < 2:
        raise Unsupported("nothing to couple")
    return Chain(config, [Additive(dim) for _ in range(3)])


class Unbounded(nn.Module):
    """An affine coupling with ReLUs and no bound on its log-scale."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.half = dim // 2
        self.network = nn.Sequential(
            nn.Linear(self.half, 6), nn.ReLU(), nn.Linear(6, 2 * (dim - self.half))
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kept, moved = x[:, : self.half], x[:, self.half :]
        log_scale, shift = self.network(kept).chunk(2, 1)
        return torch.cat([moved * log_scale.exp() + shift, kept], 1), log_scale.sum(1)

    def inverse(self, z: Tensor) -> Tensor:
        moved, kept = z.split([z.shape[1] - self.half, self.half], 1)
        log_scale, shift = self.network(kept).chunk(2, 1)
        return torch.cat([kept, (moved - shift) * (-log_scale).exp()], 1)


@control("flow")
def couplings_without_a_bound_on_their_scale(config: FlowConfig) -> Any:
    """exp of an unbounded network, with kinks: ill-conditioned far out, and a bijection."""
    if len(config.event_shape) != 1 or config.event_shape[0] < 2:
        raise Unsupported("vectors of two features or more")
    return Chain(config, [Unbounded(config.event_shape[0]) for _ in range(2)])


class Residual(nn.Module):
    """x + ½ tanh(A x + b) with a contraction A; the inverse is a fixed point, stopped at 1e-7."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(dim, dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def step(self, x: Tensor) -> tuple[Tensor, Tensor]:
        matrix = self.weight / (1 + self.weight.square().sum()).sqrt()
        return 0.5 * (x @ matrix.T + self.bias).tanh(), matrix

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        move, matrix = self.step(x)
        slopes = 0.5 - 2 * move.square()
        eye = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        jacobian = eye + slopes[:, :, None] * matrix
        return x + move, torch.linalg.slogdet(jacobian).logabsdet

    def inverse(self, z: Tensor) -> Tensor:
        x = z
        for _ in range(24):
            x = z - self.step(x)[0]
        return x


@control("flow")
def residual_layers_with_an_iterated_inverse(config: FlowConfig) -> Any:
    """Inverted by iterations that stop at a tolerance, and are differentiated as they stand."""
    if len(config.event_shape) != 1:
        raise Unsupported("vectors only")
    return Chain(config, [Residual(config.event_shape[0]) for _ in range(2)])


class Triangle:
    """No module: one affine map with a fixed triangular matrix, in the dtype of what it is given."""

    def __init__(self, config: FlowConfig) -> None:
        self.shape = config.event_shape
        dim = math.prod(self.shape)
        rows = torch.arange(1.0, dim + 1, dtype=torch.float64)
        lower = torch.sin(rows[:, None] + 2 * rows).tril(-1) * 0.3
        self.matrix = lower + (1.5 - 1 / rows).diag()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        matrix = self.matrix.to(x)
        z = x.flatten(1) @ matrix.T + 0.25
        log_det = matrix.diagonal().log().sum().expand(len(x))
        return z.reshape(x.shape), log_det

    def inverse(self, z: Tensor) -> Tensor:
        columns = (z.flatten(1) - 0.25).T
        return torch.linalg.solve_triangular(self.matrix.to(z), columns, upper=False).T.reshape(
            z.shape
        )

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        noise = torch.randn(n, *self.shape, dtype=torch.float64, generator=generator)
        return self.inverse(noise)


@control("flow")
def a_fixed_triangular_matrix(config: FlowConfig) -> Any:
    """A plain object without parameters, which samples but offers no log_prob."""
    return Triangle(config)
