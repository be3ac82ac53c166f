r"""The variational autoencoder of fully connected layers, for real or binary data.

.. code-block:: text

    x (N, D) ──encoder──> mean, log_var (N, L) ──+ noise──> z (N, L) ──decoder──> p(x | z)

The few formulas of `likelihoods` that it needs are written out again: this file runs by itself.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from typing import Literal

    from jaxtyping import Float
    from torch import Tensor

__all__ = ["VAE"]


class VAE(nn.Module):
    r"""A latent Gaussian code, a decoder that explains x by it, an encoder that infers it from x.

    .. math::

        p(z) = \mathcal N(0, I), \qquad
        q(z \mid x) = \mathcal N\bigl(\mu(x), \mathrm{diag}\,\sigma^2(x)\bigr), \qquad
        \log p(x) \ge \mathcal L(x) = \mathbb E_{q(z \mid x)}[\log p(x \mid z)]
        - D_{\mathrm{KL}}\bigl(q(z \mid x) \,\|\, p(z)\bigr)

    Gaussian: the decoder gives the mean and log-variance of each feature. Bernoulli: its logit.

    Paper: Auto-Encoding Variational Bayes (Kingma, Welling, 2013), Section 3 and Appendix C,
    https://arxiv.org/abs/1312.6114 (500 hidden units for MNIST, 200 for Frey Face)
    Claims: vae.elbo_below_log_likelihood, vae.gap_is_kl, vae.two_estimators_agree,
    vae.is_reparameterised, vae.minibatch_unbiased, vae.batch_independent
    Differs: the Gaussian mean is not squashed to (0, 1), so that data need not lie there.

    Args:
        data_dim: Length D of a point.
        latent_dim: Length L of its code.
        hidden_dim: Width of the one hidden layer of the encoder, and of the decoder.
        likelihood: "gaussian" for real data, "bernoulli" for data in {0, 1}.

    Raises:
        ValueError: The likelihood is neither.

    >>> model = VAE.tiny()
    >>> model.elbo(torch.zeros(4, 5), torch.zeros(3, 4, 2)).shape
    torch.Size([4])
    """

    def __init__(
        self,
        data_dim: int,
        latent_dim: int,
        hidden_dim: int,
        likelihood: Literal["gaussian", "bernoulli"],
    ) -> None:
        super().__init__()
        if likelihood not in ("gaussian", "bernoulli"):
            raise ValueError(f"likelihood must be 'gaussian' or 'bernoulli', got {likelihood!r}")
        self.latent_dim = latent_dim
        self.likelihood = likelihood
        self.encoder = nn.Sequential(
            nn.Linear(data_dim, hidden_dim), nn.Tanh(), nn.Linear(hidden_dim, 2 * latent_dim)
        )
        outputs = 2 * data_dim if likelihood == "gaussian" else data_dim
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, hidden_dim), nn.Tanh(), nn.Linear(hidden_dim, outputs)
        )

    @classmethod
    def tiny(cls, likelihood: Literal["gaussian", "bernoulli"] = "gaussian") -> VAE:
        """A model small enough for tests."""
        return cls(data_dim=5, latent_dim=2, hidden_dim=7, likelihood=likelihood)

    def encode(self, x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n l"], Float[Tensor, "n l"]]:
        """The mean and the log-variance of q(z | x)."""
        mean, log_var = self.encoder(x).chunk(2, dim=-1)
        return mean, log_var

    def log_likelihood(
        self, x: Float[Tensor, "*#batch d"], z: Float[Tensor, "*#batch l"]
    ) -> Float[Tensor, "*batch"]:
        """log p(x | z) in nats, of each item; leading dimensions broadcast."""
        if self.likelihood == "bernoulli":
            logits = self.decoder(z)
            ones, zeros = functional.logsigmoid(logits), functional.logsigmoid(-logits)
            log_mass: Tensor = (x * ones + (1 - x) * zeros).sum(-1)
            return log_mass
        mean, log_var = self.decoder(z).chunk(2, dim=-1)
        standardized: Tensor = (x - mean) * (-0.5 * log_var).exp()
        terms: Tensor = math.log(2 * math.pi) + log_var + standardized.square()
        return -0.5 * terms.sum(-1)

    def elbo(self, x: Float[Tensor, "n d"], noise: Float[Tensor, "s n l"]) -> Float[Tensor, " n"]:
        """The lower bound on log p(x) in nats: divergence in closed form, mean over S draws."""
        expected = (len(x), self.latent_dim)
        if noise.ndim != 3 or len(noise) == 0 or noise.shape[1:] != expected:
            raise ValueError(f"noise must be (S >= 1, {expected}), got {(*noise.shape,)}")
        mean, log_var = self.encode(x)
        z = mean + (0.5 * log_var).exp() * noise  # (S, N, L)
        kl = 0.5 * (mean.square() + (log_var.expm1() - log_var)).sum(-1)
        return self.log_likelihood(x, z).mean(0) - kl

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "n d"]:
        """Draws of x: a code from the prior, then x from p(x | z), observation noise included."""
        weight = self.decoder.get_parameter("0.weight")  # its dtype and device are the model's
        z = weight.new_empty(n, self.latent_dim).normal_(generator=generator)
        if self.likelihood == "bernoulli":
            return torch.bernoulli(self.decoder(z).sigmoid(), generator=generator)
        mean, log_var = self.decoder(z).chunk(2, dim=-1)
        noise = torch.empty_like(mean).normal_(generator=generator)
        draws: Tensor = mean + (0.5 * log_var).exp() * noise
        return draws
