r"""The variational autoencoder of images: strides in the encoder, transposed convolutions back.

.. code-block:: text

    x (C, H, W) ──stride 2, twice──> features ──linear──> mean, log_var (L)
    z (L) ──linear──> features ──transposed, x2, twice, cropped──> what is said of each pixel
"""

from __future__ import annotations

__all__ = ["ConvolutionalVAE"]

import math
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from reference.latent.estimators import elbo_analytic
from reference.latent.likelihoods import (
    bernoulli_log_likelihood,
    gaussian_kl,
    gaussian_log_likelihood,
    reparameterize,
)

if TYPE_CHECKING:
    from jaxtyping import Float


class ConvolutionalVAE(nn.Module):
    r"""The model of `VAE` with convolutions; images come and go as vectors.

    .. math::

        \log p(x) \ge \mathbb E_{q(z \mid x)}[\log p(x \mid z)]
        - D_{\mathrm{KL}}\bigl(q(z \mid x) \,\|\, p(z)\bigr)

    Paper: Auto-Encoding Variational Bayes (Kingma, Welling, 2013), Section 3,
    https://arxiv.org/abs/1312.6114; convolutions as in CS182 2021 L17
    Claims: vae.elbo_below_log_likelihood, vae.gap_is_kl, vae.two_estimators_agree,
    vae.is_reparameterised, vae.batch_independent
    Differs: convolutions in place of full layers.

    Args:
        event_shape: (C, H, W) of the images; D = C * H * W. Any height and width.
        latent_dim: L.
        hidden: features after the first convolution; twice as many after the second.
        likelihood: "gaussian" for real data, "bernoulli" for data in {0, 1}.

    Raises:
        ValueError: the likelihood is neither.

    >>> ConvolutionalVAE.tiny().elbo(torch.zeros(4, 2 * 5 * 6), torch.zeros(3, 4, 2)).shape
    torch.Size([4])
    """

    def __init__(
        self,
        event_shape: tuple[int, int, int],
        latent_dim: int,
        hidden: int,
        likelihood: Literal["gaussian", "bernoulli"],
    ) -> None:
        super().__init__()
        if likelihood not in ("gaussian", "bernoulli"):
            raise ValueError(f"likelihood must be 'gaussian' or 'bernoulli', not {likelihood!r}")
        self.event_shape, self.likelihood = tuple(event_shape), likelihood
        channels, *size = event_shape
        small = [math.ceil(math.ceil(s / 2) / 2) for s in size]
        said = 2 * channels if likelihood == "gaussian" else channels
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, hidden, 3, stride=2, padding=1),
            nn.Tanh(),
            nn.Conv2d(hidden, 2 * hidden, 3, stride=2, padding=1),
            nn.Tanh(),
            nn.Flatten(),
            nn.Linear(2 * hidden * math.prod(small), 2 * latent_dim),
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, 2 * hidden * math.prod(small)),
            nn.Unflatten(1, (2 * hidden, *small)),
            nn.Tanh(),
            nn.ConvTranspose2d(2 * hidden, hidden, 4, stride=2, padding=1),
            nn.Tanh(),
            nn.ConvTranspose2d(hidden, said, 4, stride=2, padding=1),
        )

    @classmethod
    def tiny(cls) -> ConvolutionalVAE:
        """C, H, W and L pairwise distinct where they can be."""
        return cls((2, 5, 6), latent_dim=2, hidden=3, likelihood="gaussian")

    def encode(self, x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n l"], Float[Tensor, "n l"]]:
        """The mean and the log-variance of q(z | x)."""
        mean, log_var = self.encoder(x.view(-1, *self.event_shape)).chunk(2, dim=-1)
        return mean, log_var

    def decode(self, z: Float[Tensor, "n l"]) -> list[Float[Tensor, "n d"]]:
        """What is said of each pixel: mean and log-variance, or the logit."""
        channels, height, width = self.event_shape
        said = self.decoder(z)[:, :, :height, :width]  # odd sizes come back one too large
        return [part.flatten(1) for part in said.split(channels, dim=1)]

    def log_likelihood(
        self, x: Float[Tensor, "n d"], z: Float[Tensor, "n l"]
    ) -> Float[Tensor, " n"]:
        """log p(x | z) in nats, of each item."""
        said = self.decode(z)
        if self.likelihood == "bernoulli":
            return bernoulli_log_likelihood(x, *said)
        return gaussian_log_likelihood(x, *said)

    def elbo(self, x: Float[Tensor, "n d"], noise: Float[Tensor, "s n l"]) -> Float[Tensor, " n"]:
        """The lower bound on log p(x) in nats: divergence in closed form, mean over S draws."""
        mean, log_var = self.encode(x)
        draws = [self.log_likelihood(x, reparameterize(mean, log_var, one)) for one in noise]
        return elbo_analytic(torch.stack(draws), gaussian_kl(mean, log_var))

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "n d"]:
        """Draws of x: a code from the prior, then x from p(x | z), observation noise included."""
        weight = self.decoder.get_parameter("0.weight")  # its dtype and device are the model's
        z = weight.new_empty(n, weight.shape[1]).normal_(generator=generator)
        said = self.decode(z)
        if self.likelihood == "bernoulli":
            return torch.bernoulli(said[0].sigmoid(), generator=generator)
        noise = torch.empty_like(said[0]).normal_(generator=generator)
        return reparameterize(said[0], said[1], noise)
