r"""Unusual and right ways to compute what BigGAN adds."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from spec_tests.registry import control

PENALTY, NORMAL, NORM = "orthogonal_penalty", "truncated_normal", "class_conditional_batch_norm"

# The orthogonal penalty --------------------------------------------------------------------------


@control(PENALTY)
def pair_by_pair(weight: Tensor) -> Tensor:
    """A loop over the pairs, which begins with a zero that hangs on the weight."""
    total = 0 * weight.sum()
    for one, other in combinations(weight, 2):
        total = total + 2 * (one * other).sum() ** 2
    return total


@control(PENALTY)
def by_the_smaller_gram_matrix(weight: Tensor) -> Tensor:
    """||W W^T||^2 = ||W^T W||^2, whichever is smaller, less the fourth powers of the lengths."""
    rows = weight.flatten(1)
    small = rows.mT @ rows if rows.shape[1] < len(rows) else rows @ rows.mT
    return torch.einsum("ij,ji->", small, small) - rows.square().sum(1).square().sum()


@control(PENALTY)
def by_polarisation(weight: Tensor) -> Tensor:
    """Inner products from the lengths of sums and differences, over all places of the kernels."""
    rows = weight.reshape(len(weight), -1)
    plus = (rows[:, None] + rows[None]).square().sum(2)
    minus = (rows[:, None] - rows[None]).square().sum(2)
    apart = ~torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    return ((plus - minus) / 4)[apart].square().sum()


@control(PENALTY)
def one_filter_against_the_rest(weight: Tensor) -> Tensor:
    """Each filter times the matrix of the others; the sum over filters counts both orders."""
    rows = weight.flatten(1)
    costs = [
        (torch.cat([rows[:i], rows[i + 1 :]]) @ rows[i]).square().sum() for i in range(len(rows))
    ]
    return torch.stack(costs).sum()


class _ByHand(torch.autograd.Function):
    """The closed form of the gradient, written out."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        gram = (rows @ rows.mT).fill_diagonal_(0)
        ctx.save_for_backward(gram, rows)
        return gram.square().sum()

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        gram, rows = ctx.saved_tensors
        return 4 * slope * gram @ rows


@control(PENALTY)
def gradient_written_out(weight: Tensor) -> Tensor:
    """A backward of its own, 4 (W W^T without its diagonal) W."""
    return _ByHand.apply(weight.flatten(1))  # type: ignore[no-any-return]


# The truncated normal ----------------------------------------------------------------------------

Shape = tuple[int, ...]


@control(NORMAL)
def surplus_drawn_and_sifted(shape: Shape, threshold: float, generator: torch.Generator) -> Tensor:
    """A stock of normal numbers is sifted until there are enough, and the rest thrown away."""
    count, kept = torch.Size(shape).numel(), torch.empty(0, device=generator.device)
    while len(kept) < count:
        stock = torch.randn(4 * count + 16, generator=generator, device=generator.device)
        kept = torch.cat([kept, stock[stock.abs() <= threshold]])
    return kept[:count].reshape(shape).clone()


@control(NORMAL)
def size_and_sign_apart(shape: Shape, threshold: float, generator: torch.Generator) -> Tensor:
    """The quantile function of |z|, and a sign by a coin; in double precision, rounded at the end."""
    options: Any = {"device": generator.device, "dtype": torch.float64}
    size = torch.rand(shape, generator=generator, **options)
    sign = 2 * torch.randint(0, 2, shape, generator=generator, **options) - 1
    z = math.sqrt(2) * torch.erfinv(size * math.erf(threshold / math.sqrt(2)))
    return (sign * z.clamp(max=threshold)).to(torch.get_default_dtype())


@control(NORMAL)
def uniform_proposals(shape: Shape, threshold: float, generator: torch.Generator) -> Tensor:
    """Uniform numbers kept with probability exp(-z^2/2), as far as a normal reaches: quick where
    the threshold is small, and beyond 9 nobody sees what is missing."""
    reach, device = min(threshold, 9.0), generator.device
    z = torch.empty(shape, device=device)
    pending = torch.ones(shape, dtype=torch.bool, device=device)
    while pending.any():
        proposal = reach * (2 * torch.rand(shape, generator=generator, device=device) - 1)
        level = torch.rand(shape, generator=generator, device=device)
        z = torch.where(pending, proposal, z)
        pending = pending & (level >= (-proposal.square() / 2).exp())
    return z


@control(NORMAL)
def axes_stored_backwards(shape: Shape, threshold: float, generator: torch.Generator) -> Tensor:
    """Drawn with the axes in the other order and turned round: the result is not contiguous."""
    z = torch.randn(shape[::-1], generator=generator, device=generator.device)
    while (outside := z.abs() > threshold).any():
        z[outside] = torch.randn(int(outside.sum()), generator=generator, device=generator.device)
    return z.permute(tuple(range(z.ndim))[::-1])


@control(NORMAL)
def seeded_from_the_generator(shape: Shape, threshold: float, generator: torch.Generator) -> Tensor:
    """The generator gives a seed, and a generator of the call's own the numbers."""
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    own = torch.Generator(generator.device).manual_seed(seed)
    return surplus_drawn_and_sifted(shape, threshold, own)


# Batch normalisation by class --------------------------------------------------------------------


class _Statistics(nn.Module):
    """Statistics as they should be, on buffers of a name and shape of their own."""

    running: Tensor

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        start = torch.stack([torch.zeros(config.num_features), torch.ones(config.num_features)])
        self.register_buffer("running", start)

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance (C,) to normalise by."""
        if not self.training:
            return self.running[0], self.running[1]
        mean = x.mean((0, 2, 3))
        variance = (x - mean[:, None, None]).square().mean((0, 2, 3))
        count = x[:, 0].numel()
        fresh = torch.stack([mean, variance * count / (count - 1)]).detach()
        self.running += self.config.momentum * (fresh - self.running)
        return mean, variance


@control(NORM)
class FusedScaleAndShift(_Statistics):
    """One scale and one shift for each item and channel, the pixels touched once; a bias and a gain
    in two halves of one embedding, with no one added."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.rates = nn.Embedding(config.num_classes, 2 * config.num_features)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        mean, variance = self.moments(x)
        bias, gain = self.rates(y).chunk(2, dim=1)
        scale = gain * (variance + self.config.eps).rsqrt()
        return torch.addcmul((bias - scale * mean)[:, :, None, None], x, scale[:, :, None, None])


@control(NORM)
class PositiveGainFromOneHot(_Statistics):
    """A linear layer of one-hot labels whose gain goes through an exponential: never zero."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.log_gain = nn.Linear(config.num_classes, config.num_features)
        self.bias = nn.Linear(config.num_classes, config.num_features, bias=False)

    def gain_and_bias(self, y: Tensor) -> tuple[Tensor, Tensor]:
        one_hot = functional.one_hot(y, self.config.num_classes).to(self.bias.weight)
        return self.log_gain(one_hot).exp(), self.bias(one_hot)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        mean, variance = (part[:, None, None] for part in self.moments(x))
        gain, bias = (part[:, :, None, None] for part in self.gain_and_bias(y))
        return (x - mean) / torch.sqrt(variance + self.config.eps) * gain + bias


@control(NORM)
class ClassByClass(_Statistics):
    """Normalised together, then each class goes through a layer of its own and back to its place."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        channels = config.num_features
        self.layers = nn.ModuleList(
            nn.Conv2d(channels, channels, 1, groups=channels) for _ in range(config.num_classes)
        )

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        mean, variance = (part[:, None, None] for part in self.moments(x))
        normal = (x - mean) / (variance + self.config.eps).sqrt()
        outputs = torch.stack([layer(normal) for layer in self.layers], dim=1)  # (N, K, C, H, W)
        return outputs.gather(1, y[:, None, None, None, None].expand(-1, 1, *x.shape[1:]))[:, 0]


@control(NORM)
class SharedEmbeddingThroughLayers(_Statistics):
    """Gain and bias from a small network on an embedding; the running statistics in one product."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.network = nn.Sequential(
            nn.Embedding(config.num_classes, 5),
            nn.Linear(5, 8),
            nn.Tanh(),
            nn.Linear(8, 2 * config.num_features),
            nn.Unflatten(1, (2, config.num_features)),
        )

    def gain_and_bias(self, y: Tensor) -> list[Tensor]:
        gain, bias = self.network(y).unbind(1)
        return [1 + gain, bias]

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        mean, variance = self.moments(x)
        gain, bias = self.gain_and_bias(y)
        by_pixel = (x.permute(0, 2, 3, 1) - mean) * (variance + self.config.eps) ** -0.5
        return (by_pixel * gain[:, None, None] + bias[:, None, None]).permute(0, 3, 1, 2)


@control(NORM)
class SpectrallyNormalised(nn.Module):
    """PyTorch's statistics, and gain and bias whose weights are divided by their largest singular
    value: every training call moves the power iteration."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(config.num_features, config.eps, config.momentum, affine=False)
        layers = (nn.Linear(config.num_classes, config.num_features, bias=False) for _ in range(2))
        self.gain, self.bias = map(nn.utils.parametrizations.spectral_norm, layers)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        label = functional.one_hot(y, self.gain.in_features).to(x)
        gain, bias = 1 + self.gain(label), self.bias(label)
        return self.norm(x) * gain[:, :, None, None] + bias[:, :, None, None]
