r"""Autoencoders on images: no likelihood, so the figure is the squared error of a held-out pixel.

A pixel is a number in [0, 1]. Beside the figure stands what the mean image costs, and what the best
affine code of the same width does: principal components, fitted to the training images.
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from reference.autoencoders import (
    ConvolutionalAutoencoder,
    DeepBottleneck,
    LinearBottleneck,
    SparseAutoencoder,
    denoising_loss,
    linear_autoencoder,
    reconstruction_loss,
    wiener_denoiser,
)
from spec_tests.train.data import Data
from spec_tests.train.views import Row, lines, pixels, shown

__all__ = [
    "Denoising",
    "Rebuilding",
    "Sparse",
    "bottleneck",
    "compared",
    "convolutional_autoencoder",
    "denoising_autoencoder",
    "linear_bottleneck",
    "sparse_autoencoder",
]

Shape = tuple[int, int, int]


class Rebuilding(nn.Module):
    """An autoencoder of the pixels of images, as vectors unless it takes images."""

    def __init__(
        self, model: nn.Module, event_shape: Shape, levels: int, flat: bool = True
    ) -> None:
        super().__init__()
        self.model: Any = model
        self.event_shape, self.levels, self.flat = tuple(event_shape), levels, flat

    def seen(self, x: Tensor) -> Tensor:
        """What the model is shown."""
        values = pixels(x, self.levels).to(next(self.parameters()))
        return values.flatten(1) if self.flat else values

    def spoilt(self, x: Tensor) -> Tensor:
        """What the model is to rebuild the image from; here, all of it."""
        return self.seen(x)

    def code_width(self, x: Tensor) -> int:
        """How many numbers the code of an image has."""
        return prod(self.model.encode(self.seen(x[:1])).shape)

    def decode(self, code: Tensor) -> Tensor:
        """The image of levels that a code stands for."""
        return shown(self.model.decode(code), self.event_shape, self.levels)

    # What training asks for.

    def loss(self, x: Tensor) -> Tensor:
        """Squared error of an image."""
        values = self.seen(x)
        return reconstruction_loss(values.flatten(1), self.model(values).flatten(1))

    def nats(self, x: Tensor) -> Tensor:
        """The squared error of each image (not nats: nothing here is a probability)."""
        return (self.model(self.spoilt(x)) - self.seen(x)).square().flatten(1).sum(1)

    def reconstruct(self, x: Tensor, generator: torch.Generator) -> list[Row]:
        """What is made of the images."""
        return [("rebuilt", shown(self.model(self.seen(x)), self.event_shape, self.levels))]

    def traverse(self, x: Tensor, generator: torch.Generator) -> list[Row]:
        """Straight lines from the code of one image to that of another."""
        return lines(self.model.encode(self.seen(x)), self.decode, 3)


class Sparse(Rebuilding):
    """A wide code with a price on its size."""

    def code_width(self, x: Tensor) -> int:
        """How many units of the code are not zero, on average."""
        active = (self.model.encode(self.seen(x)) > 0).sum(1).double().mean()
        return min(max(round(float(active)), 1), prod(self.event_shape))

    def decode(self, code: Tensor) -> Tensor:
        """The image of levels that a code stands for."""
        return shown(self.model.decoder(code), self.event_shape, self.levels)

    def loss(self, x: Tensor) -> Tensor:
        """Squared error, and the price."""
        found: Tensor = self.model.loss(self.seen(x))
        return found


class Denoising(Rebuilding):
    """The clean image from one with Gaussian noise on every pixel."""

    def __init__(self, model: nn.Module, event_shape: Shape, levels: int, sigma: float) -> None:
        super().__init__(model, event_shape, levels)
        self.sigma = sigma

    def spoilt(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """With noise."""
        clean = self.seen(x)
        return clean + self.sigma * torch.empty_like(clean).normal_(generator=generator)

    def loss(self, x: Tensor) -> Tensor:
        """Squared error of the clean image."""
        clean = self.seen(x)
        return denoising_loss(self.model, clean, self.sigma * torch.randn_like(clean))

    def reconstruct(self, x: Tensor, generator: torch.Generator) -> list[Row]:
        """What is shown, and what is made of it."""
        noisy = self.spoilt(x, generator)
        images = (
            shown(values, self.event_shape, self.levels) for values in (noisy, self.model(noisy))
        )
        return list(zip(("with noise", "denoised"), images, strict=True))


def compared(model: Any, data: Data) -> list[tuple[str, str]]:
    """Squared error for a pixel of the mean image, of as many principal components, of no change."""
    train, clean = (
        pixels(p.x.flatten(1).double(), data.levels) for p in (data.train, data.held_out)
    )
    torch.manual_seed(0)
    told = model.spoilt(data.held_out.x.long()).flatten(1).double()
    width, mean = model.code_width(data.held_out.x.long()), train.mean(0)
    encode, decode = linear_autoencoder(train, width)
    found = [("mean", mean, "the mean image")]
    found.append(("PCA", decode(encode(told)), f"{width} principal components"))
    if isinstance(model, Denoising):
        best = wiener_denoiser(told, mean, train.mT.cov(), model.sigma)
        found += [("affine", best, "the best affine denoiser"), ("noise", told, "as it came")]
    return [(key, f"{(clean - x).square().mean():.4f}, {words}") for key, x, words in found]


def bottleneck(event_shape: Shape, levels: int, hidden_dim: int, code_dim: int) -> Rebuilding:
    """A hidden layer on each side of the code."""
    return Rebuilding(DeepBottleneck(prod(event_shape), hidden_dim, code_dim), event_shape, levels)


def linear_bottleneck(event_shape: Shape, levels: int, code_dim: int) -> Rebuilding:
    """No hidden layer: what gradient descent makes of principal components."""
    return Rebuilding(LinearBottleneck(prod(event_shape), code_dim), event_shape, levels)


def convolutional_autoencoder(
    event_shape: Shape, levels: int, hidden: int, code_channels: int
) -> Rebuilding:
    """A code of a quarter of the height and width, with channels."""
    model = ConvolutionalAutoencoder(event_shape[0], hidden, code_channels)
    return Rebuilding(model, event_shape, levels, flat=False)


def sparse_autoencoder(event_shape: Shape, levels: int, code_dim: int, price: float) -> Sparse:
    """More units in the code than there are pixels, few of them on."""
    return Sparse(SparseAutoencoder(prod(event_shape), code_dim, price), event_shape, levels)


def denoising_autoencoder(
    event_shape: Shape, levels: int, hidden_dim: int, code_dim: int, sigma: float
) -> Denoising:
    """A code that may be as wide as the image: the noise is what forbids copying."""
    model = DeepBottleneck(prod(event_shape), hidden_dim, code_dim)
    return Denoising(model, event_shape, levels, sigma)
