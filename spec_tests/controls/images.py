r"""Generators and discriminators that are right in an unusual way."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate, leaky_relu, one_hot

from spec_tests.registry import Unsupported, control

GENERATOR, DISCRIMINATOR = "image_generator", "image_discriminator"


def _label(config: Any, y: Tensor | None, like: Tensor) -> Tensor:
    """Classes as one-hot numbers, none where there are none."""
    if y is None:
        return like.new_zeros(len(like), 0)
    return one_hot(y, config.num_classes).to(like)


@control(GENERATOR)
class InstanceNormGenerator(nn.Module):
    """Instance normalisation, with statistics of the item itself in either mode; bilinear enlargement
    from two by two to any size."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.first = nn.Linear(config.latent_dim + config.num_classes, 6 * 4)
        self.norm = nn.InstanceNorm2d(6, affine=True)
        self.last = nn.Conv2d(6, config.channels, 3, padding=1, padding_mode="replicate")

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        small = self.first(torch.cat([z, _label(self.config, y, z)], 1)).view(-1, 6, 2, 2)
        size = (self.config.height, self.config.width)
        large = interpolate(small, size=size, mode="bilinear", align_corners=True)
        return torch.tanh(self.last(leaky_relu(self.norm(large), 0.2)))


@control(GENERATOR)
class StyleModulatedGenerator(nn.Module):
    """A learned constant image, its features scaled by what the latent says, and the latent itself put
    on the sphere first: with a single latent number only its sign is left."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.start = nn.Parameter(torch.randn(1, 7, config.height, config.width))
        self.style = nn.Sequential(
            nn.Linear(config.latent_dim + config.num_classes, 8), nn.LeakyReLU(0.2), nn.Linear(8, 7)
        )
        self.last = nn.Conv2d(7, config.channels, 1)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        z = z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        style = self.style(torch.cat([z, _label(self.config, y, z)], 1))
        return torch.tanh(self.last(self.start * style[:, :, None, None]))


@control(GENERATOR)
class NearestUpsamplingGenerator(nn.Module):
    """Rows and columns repeated and convolved, with batch normalisation in float and dropout in
    training; sizes that are powers of two."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        if config.height % 4 or config.width % 4:
            raise Unsupported("sides that are multiples of 4")
        self.config = config
        self.rows, self.columns = config.height // 4, config.width // 4
        self.first = nn.Linear(config.latent_dim + config.num_classes, 5 * self.rows * self.columns)
        self.layers = nn.Sequential(
            nn.BatchNorm2d(5, momentum=0.5),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(5, 6, 3, padding=1),
            nn.Dropout2d(0.1),
            nn.ELU(),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(6, config.channels, 3, padding=1),
            nn.Hardtanh(),
        )

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        small = self.first(torch.cat([z, _label(self.config, y, z)], 1))
        image: Tensor = self.layers(small.view(-1, 5, self.rows, self.columns))
        return image


@control(GENERATOR)
class ClampedGenerator(nn.Module):
    """A linear generator whose pixels are clamped to [-1, 1], class by class with other weights: no
    gradient where it saturates."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.shape = (config.channels, config.height, config.width)
        count, pixels = max(config.num_classes, 1), math.prod(self.shape)
        self.weight = nn.Parameter(torch.randn(count, pixels, config.latent_dim) / 3)
        self.bias = nn.Parameter(torch.zeros(count, pixels))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        which = torch.zeros(len(z), dtype=torch.long, device=z.device) if y is None else y
        pixels = torch.einsum("npl,nl->np", self.weight[which], z) + self.bias[which]
        return pixels.clamp(-1, 1).view(-1, *self.shape)


@control(GENERATOR)
def waves_without_parameters(config: Any) -> Any:
    """A plain function, nothing to train: plane waves whose phases the latent sets, the class their
    frequency."""

    def generate(z: Tensor, y: Tensor | None = None) -> Tensor:
        channel, row, column = (
            torch.arange(n, device=z.device).to(z)
            for n in (config.channels, config.height, config.width)
        )
        place = 0.7 * channel[:, None, None] + 1.1 * row[:, None] + 0.6 * column
        weights = 1 / (1 + torch.arange(config.latent_dim, device=z.device).to(z))
        kind = torch.zeros(len(z), device=z.device).to(z) if y is None else y.to(z)
        phase = (z * weights).sum(1)[:, None, None, None]
        return torch.sin(place * (1 + 0.3 * kind)[:, None, None, None] + phase)

    return generate


@control(GENERATOR)
class LazyGenerator(nn.Module):
    """Layers that learn their sizes from the first batch, and an embedding that multiplies the latent's
    features."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.shape = (config.channels, config.height, config.width)
        self.first, self.last = nn.LazyLinear(9), nn.LazyLinear(math.prod(self.shape))
        self.embed = nn.Embedding(max(config.num_classes, 1), 9)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        hidden = self.first(z).tanh()
        if y is not None:
            hidden = hidden * (1 + self.embed(y)) + self.embed(y)
        image: Tensor = self.last(hidden).tanh()
        return image.view(-1, *self.shape)


# Discriminators ----------------------------------------------------------------------------------


@control(DISCRIMINATOR)
class MinibatchDeviationDiscriminator(nn.Module):
    """Scores depend on the batch in either mode: its guarded standard deviation is one more feature."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        size = config.channels * config.height * config.width
        self.first = nn.Linear(size + config.num_classes, 9)
        self.last = nn.Linear(10, 1)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        phi = leaky_relu(self.first(torch.cat([x.flatten(1), _label(self.config, y, x)], 1)), 0.2)
        deviation = (phi.var(0, unbiased=False) + 1e-8).sqrt().mean().expand(len(x), 1)
        score: Tensor = self.last(torch.cat([phi, deviation], 1))
        return score.squeeze(1)


@control(DISCRIMINATOR)
class SpectralDiscriminator(nn.Module):
    """Spectral normalisation by torch, no bias anywhere, and a largest slope of one: scores grow with
    the images alone."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        norm = nn.utils.parametrizations.spectral_norm
        self.conv = norm(nn.Conv2d(config.channels, 8, 3, padding=1, bias=False))
        size = 8 * config.height * config.width
        self.last = norm(nn.Linear(size, max(config.num_classes, 1), bias=False))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        scores = self.last(leaky_relu(self.conv(x), 0.1).flatten(1))
        which = torch.zeros(len(x), dtype=torch.long, device=x.device) if y is None else y
        return scores.gather(1, which[:, None]).squeeze(1)  # type: ignore[no-any-return]


@control(DISCRIMINATOR)
class MaxPoolingDiscriminator(nn.Module):
    """Pooling, batch normalisation and dropout, as no guideline would have it: a pixel counts only where
    it is the largest of its block."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.MaxPool2d(2, ceil_mode=True),
            nn.Conv2d(config.channels, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.LeakyReLU(0.2),
            nn.Dropout(0.1),
            nn.Flatten(),
            nn.LazyLinear(5),
        )
        self.score = nn.Linear(5, 1)
        self.embed = nn.Embedding(max(config.num_classes, 1), 5)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        phi = self.layers(x)
        score: Tensor = self.score(phi).squeeze(1)
        return score if y is None else score + (phi * self.embed(y)).sum(1)


@control(DISCRIMINATOR)
def fixed_filters(config: Any) -> Any:
    """A plain function, nothing to train: the image against two fixed patterns, quadratic in the first,
    the class deciding how they are mixed."""

    def score(x: Tensor, y: Tensor | None = None) -> Tensor:
        n = x[0].numel()
        pattern = torch.sin(1.3 * torch.arange(n, device=x.device).to(x) + 0.4)
        one = x.flatten(1) @ pattern
        other = x.flatten(1) @ pattern.flip(0)
        kind = torch.zeros_like(one) if y is None else y.to(x)
        return one + (1 + kind) * other - 0.1 * one.square()

    return score


@control(DISCRIMINATOR)
class GroupedStatisticsDiscriminator(nn.Module):
    """Minibatch statistics over pairs of neighbours in the batch: the order of the items counts."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.kernel = nn.Parameter(torch.randn(5, config.channels + config.num_classes, 3, 3))
        self.last = nn.Linear(5 * config.height * config.width + 1, 1)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        planes = _label(self.config, y, x)[:, :, None, None].expand(-1, -1, *x.shape[2:])
        phi = leaky_relu(conv2d(torch.cat([x, planes], 1), self.kernel, padding=1), 0.2).flatten(1)
        partner = phi.roll(1, 0)
        apart = ((phi - partner).square().mean(1, keepdim=True) + 1e-6).sqrt()
        score: Tensor = self.last(torch.cat([phi, apart], 1))
        return score.squeeze(1)
