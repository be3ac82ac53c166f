r"""The linear Gaussian variational autoencoder, in which evidence and posterior have closed forms.

It is the yardstick for bounds and estimators: whatever they say can be compared with the truth.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

__all__ = ["LinearGaussianVAE", "linear_gaussian_log_evidence", "linear_gaussian_posterior"]


def linear_gaussian_log_evidence(
    x: Float[Tensor, "n d"],
    weight: Float[Tensor, "d l"],
    bias: Float[Tensor, " d"],
    log_var: Float[Tensor, " d"],
) -> Float[Tensor, " n"]:
    r"""The exact log p(x) when z is standard normal and x is linear in z with Gaussian noise.

    .. math::

        x = W z + b + \psi^{1/2} \epsilon \;\Rightarrow\;
        p(x) = \mathcal N(x; b, C), \qquad C = W W^\top + \mathrm{diag}\,\psi

    Paper: Probabilistic Principal Component Analysis (Tipping, Bishop, 1999), Section 3.1,
    https://doi.org/10.1111/1467-9868.00196
    Claims: theory.linear_vae_is_ppca, theory.marginal_monte_carlo_unbiased
    Differs: a noise variance for each feature (factor analysis), not one for all.

    Args:
        x: Data (N, D).
        weight: W (D, L).
        bias: b (D,).
        log_var: log ψ, the logarithms of the noise variances (D,).

    Returns:
        log p(x) of each item in nats (N,).

    >>> linear_gaussian_log_evidence(torch.zeros(1, 2), torch.zeros(2, 1), *torch.zeros(2, 2))
    tensor([-1.8379])
    """
    factor = torch.linalg.cholesky(weight @ weight.T + log_var.exp().diag())  # C = F Fᵀ
    whitened: Tensor = torch.linalg.solve_triangular(factor, (x - bias).T, upper=False)  # (D, N)
    log_det: Tensor = 2 * factor.diagonal().log().sum()
    return -0.5 * (len(bias) * math.log(2 * math.pi) + log_det + whitened.square().sum(0))


def linear_gaussian_posterior(
    x: Float[Tensor, "n d"],
    weight: Float[Tensor, "d l"],
    bias: Float[Tensor, " d"],
    log_var: Float[Tensor, " d"],
) -> tuple[Float[Tensor, "n l"], Float[Tensor, "l l"]]:
    r"""The exact p(z | x): a Gaussian whose covariance is the same for every x.

    .. math::

        p(z \mid x) = \mathcal N\bigl(z; \Sigma W^\top \psi^{-1} (x - b), \Sigma\bigr), \qquad
        \Sigma = \bigl(I + W^\top \mathrm{diag}(\psi)^{-1} W\bigr)^{-1}

    Paper: Probabilistic Principal Component Analysis (Tipping, Bishop, 1999), Section 3.1,
    https://doi.org/10.1111/1467-9868.00196
    Claims: theory.tight_at_the_posterior, vae.gap_is_kl
    Differs: a noise variance for each feature (factor analysis), not one for all.

    Args:
        x: Data (N, D).
        weight: W (D, L).
        bias: b (D,).
        log_var: log ψ, the logarithms of the noise variances (D,).

    Returns:
        The posterior means (N, L), and the covariance (L, L) that all share. It is diagonal, and a
        diagonal q can be exact, where L = 1 or the columns of ψ^(-1/2) W are orthogonal.

    >>> linear_gaussian_posterior(torch.ones(1, 1), torch.ones(1, 1), *torch.zeros(2, 1))
    (tensor([[0.5000]]), tensor([[0.5000]]))
    """
    scaled = (weight.T * (-log_var).exp()).T  # ψ⁻¹ W, (D, L)
    identity = torch.eye(weight.shape[1], dtype=weight.dtype, device=weight.device)
    covariance = torch.linalg.inv(identity + weight.T @ scaled)
    return (x - bias) @ scaled @ covariance, covariance


class LinearGaussianVAE(nn.Module):
    r"""A variational autoencoder whose encoder and decoder are affine.

    .. math::

        p(z) = \mathcal N(0, I), \quad p(x \mid z) = \mathcal N(W z + b, \mathrm{diag}\,\psi),
        \quad q(z \mid x) = \mathcal N(V x + c, \mathrm{diag}\,\sigma^2)

    Paper: Don't Blame the ELBO! A Linear VAE Perspective on Posterior Collapse (Lucas, Tucker,
    Grosse, Norouzi, 2019), Section 4, https://arxiv.org/abs/1911.02469
    Claims: theory.linear_vae_is_ppca, theory.tight_at_the_posterior, vae.elbo_below_log_likelihood
    Differs: a noise variance for each feature; the encoder has a bias in place of centred data.

    Args:
        data_dim: Length D of a point.
        latent_dim: Length L of its code.

    >>> model = LinearGaussianVAE.tiny()
    >>> x, noise = torch.zeros(4, 5), torch.zeros(3, 4, 2)
    >>> model.elbo(x, noise).shape == model.log_evidence(x).shape
    True
    """

    def __init__(self, data_dim: int, latent_dim: int) -> None:
        super().__init__()
        self.encoder = nn.Linear(data_dim, latent_dim)
        self.decoder = nn.Linear(latent_dim, data_dim)
        self.latent_log_var = nn.Parameter(torch.zeros(latent_dim))
        self.noise_log_var = nn.Parameter(torch.zeros(data_dim))

    @classmethod
    def tiny(cls) -> LinearGaussianVAE:
        """A model small enough for tests."""
        return cls(data_dim=5, latent_dim=2)

    def encode(self, x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n l"], Float[Tensor, "n l"]]:
        """The mean and the log-variance of q(z | x); the latter is the same for every x."""
        mean: Tensor = self.encoder(x)
        return mean, self.latent_log_var.expand_as(mean)

    def log_likelihood(
        self, x: Float[Tensor, "*#batch d"], z: Float[Tensor, "*#batch l"]
    ) -> Float[Tensor, "*batch"]:
        """log p(x | z) in nats, of each item; leading dimensions broadcast."""
        standardized: Tensor = (x - self.decoder(z)) * (-0.5 * self.noise_log_var).exp()
        constants = math.log(2 * math.pi) + self.noise_log_var
        return -0.5 * (constants + standardized.square()).sum(-1)

    def elbo(self, x: Float[Tensor, "n d"], noise: Float[Tensor, "s n l"]) -> Float[Tensor, " n"]:
        """The lower bound on log p(x) in nats: divergence in closed form, mean over S draws."""
        mean, log_var = self.encode(x)
        if noise.ndim != 3 or len(noise) == 0 or noise.shape[1:] != mean.shape:
            raise ValueError(f"noise must be (S >= 1, {(*mean.shape,)}), got {(*noise.shape,)}")
        z = mean + (0.5 * log_var).exp() * noise  # (S, N, L)
        kl = 0.5 * (mean.square() + (log_var.expm1() - log_var)).sum(-1)
        return self.log_likelihood(x, z).mean(0) - kl

    def log_evidence(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """The exact log p(x) in nats."""
        decoder = self.decoder
        return linear_gaussian_log_evidence(x, decoder.weight, decoder.bias, self.noise_log_var)

    def posterior(
        self, x: Float[Tensor, "n d"]
    ) -> tuple[Float[Tensor, "n l"], Float[Tensor, "l l"]]:
        """The exact means (N, L) and shared covariance (L, L) of p(z | x)."""
        decoder = self.decoder
        return linear_gaussian_posterior(x, decoder.weight, decoder.bias, self.noise_log_var)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "n d"]:
        """Draws of x, observation noise included."""
        bias = self.decoder.bias
        z = bias.new_empty(n, self.decoder.in_features).normal_(generator=generator)
        noise = bias.new_empty(n, len(bias)).normal_(generator=generator)
        draws: Tensor = self.decoder(z) + (0.5 * self.noise_log_var).exp() * noise
        return draws
