r"""Latent variable models on images of levels: the reference's networks, two ways to say a pixel.

.. code-block:: text

    levels     x ──encoder──> q(z | x)      z ──decoder──> a logistic for each pixel, in levels
    binary     ink or paper ──> q(z | x)    z ──decoder──> a coin for each pixel

Trained on the evidence lower bound with one draw; the figure is the importance weighted bound.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from reference.autoregressive import discretized_logistic, scaled_levels
from reference.latent import (
    VAE,
    ConvolutionalVAE,
    bernoulli_log_likelihood,
    elbo_analytic,
    gaussian_kl,
    gaussian_log_likelihood,
    iwae_bound,
    reparameterize,
)
from spec_tests.train.views import Row, binary, lines, shown

__all__ = ["BinaryVAE", "LevelsVAE", "bernoulli_vae", "convolutional_vae", "vae"]

Shape = tuple[int, int, int]


class LevelsVAE(nn.Module):
    """Levels, each said by a logistic that is collected into bins: exact masses, no densities."""

    def __init__(self, model: VAE | ConvolutionalVAE, event_shape: Shape, levels: int) -> None:
        super().__init__()
        self.model, self.event_shape, self.levels = model, tuple(event_shape), levels

    def seen(self, x: Tensor) -> Tensor:
        """What the encoder is shown, (N, D)."""
        weight = next(self.model.parameters())
        return scaled_levels(x, self.levels, weight.dtype).flatten(1)

    def said(self, z: Tensor) -> list[Tensor]:
        """What the decoder says of each pixel, (N, D) each: centres and log-scales."""
        if isinstance(self.model, ConvolutionalVAE):
            return self.model.decode(z)
        return list(
            self.model.decoder(z).chunk(2 if self.model.likelihood == "gaussian" else 1, -1)
        )

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """log P(x | z), nats."""
        mean, log_scale = self.said(z)
        return discretized_logistic(x.flatten(1), mean, log_scale, self.levels).sum(-1)

    def expected(self, z: Tensor) -> Tensor:
        """The picture that a code stands for."""
        return shown((self.said(z)[0] + 1) / 2, self.event_shape, self.levels)

    def draw(self, z: Tensor, generator: torch.Generator) -> Tensor:
        """An image from P(x | z)."""
        mean, log_scale = self.said(z)
        logistic = torch.empty_like(mean).uniform_(generator=generator).logit(eps=1e-6)
        return shown((mean + log_scale.exp() * logistic + 1) / 2, self.event_shape, self.levels)

    def codes(self, n: int, generator: torch.Generator | None) -> Tensor:
        """Draws from the prior."""
        dims = cast("Tensor", self.model.decoder[0].weight).shape[1]
        like = next(self.model.parameters())
        return like.new_empty(n, dims).normal_(generator=generator)

    # What training asks for.

    def loss(self, x: Tensor) -> Tensor:
        """Minus the evidence lower bound, one draw."""
        mean, log_var = self.model.encode(self.seen(x))
        z = reparameterize(mean, log_var, torch.randn_like(mean))
        return -elbo_analytic(self.log_likelihood(x, z)[None], gaussian_kl(mean, log_var)).mean()

    def nats(self, x: Tensor, draws: int = 16) -> Tensor:
        """Minus the importance weighted bound."""
        mean, log_var = self.model.encode(self.seen(x))
        zero = torch.zeros_like(mean)
        log_weights = []
        for _ in range(draws):
            z = reparameterize(mean, log_var, torch.randn_like(mean))
            joint = self.log_likelihood(x, z) + gaussian_log_likelihood(z, zero, zero)
            log_weights.append(joint - gaussian_log_likelihood(z, mean, log_var))
        return -iwae_bound(torch.stack(log_weights))

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Images of the model: a code from the prior, then every pixel from what is said of it."""
        return self.draw(self.codes(n, generator), generator)

    def reconstruct(self, x: Tensor, generator: torch.Generator) -> list[Row]:
        """What the mean code of each image stands for."""
        return [("rebuilt", self.expected(self.model.encode(self.seen(x))[0]))]

    def traverse(self, x: Tensor, generator: torch.Generator) -> list[Row]:
        """Codes of the prior without the noise of the pixels, lines, and the busiest coordinates."""
        mean, log_var = self.model.encode(self.seen(x))
        rows = [("noiseless", self.expected(self.codes(len(x), generator)))]
        rows += lines(mean, self.expected, 2)
        used = [
            gaussian_kl(mean[:, k : k + 1], log_var[:, k : k + 1]).mean()
            for k in range(mean.shape[1])
        ]
        for k in torch.stack(used).argsort(descending=True)[:4].tolist():
            z = mean[:1].repeat(len(x), 1)
            z[:, k] = torch.linspace(-2.5, 2.5, len(x))
            rows.append((f"z{k + 1} moves", self.expected(z)))
        return rows


class BinaryVAE(LevelsVAE):
    """Ink or paper, each pixel said by a coin."""

    def seen(self, x: Tensor) -> Tensor:
        """What the encoder is shown, (N, D)."""
        return binary(x, self.levels).flatten(1)

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """log P(x | z), nats."""
        return bernoulli_log_likelihood(self.seen(x), *self.said(z))

    def expected(self, z: Tensor) -> Tensor:
        """The probability of ink."""
        return shown(self.said(z)[0].sigmoid(), self.event_shape, self.levels)

    def draw(self, z: Tensor, generator: torch.Generator) -> Tensor:
        """An image from P(x | z)."""
        coins = torch.bernoulli(self.said(z)[0].sigmoid(), generator=generator)
        return shown(coins, self.event_shape, self.levels)


def vae(event_shape: Shape, levels: int, latent_dim: int, hidden_dim: int) -> LevelsVAE:
    """Full layers, and a logistic for each pixel; its two numbers are those of the Gaussian."""
    network = VAE(math.prod(event_shape), latent_dim, hidden_dim, "gaussian")
    return LevelsVAE(network, event_shape, levels)


def bernoulli_vae(event_shape: Shape, levels: int, latent_dim: int, hidden_dim: int) -> BinaryVAE:
    """Full layers, and a coin for each pixel."""
    network = VAE(math.prod(event_shape), latent_dim, hidden_dim, "bernoulli")
    return BinaryVAE(network, event_shape, levels)


def convolutional_vae(event_shape: Shape, levels: int, latent_dim: int, hidden: int) -> LevelsVAE:
    """Convolutions, and a logistic for each pixel."""
    return LevelsVAE(
        ConvolutionalVAE(event_shape, latent_dim, hidden, "gaussian"), event_shape, levels
    )
