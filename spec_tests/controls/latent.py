r"""Unusual but right formulas and autoencoders, which every claim must accept."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, distributions, nn
from torch.nn import functional

from spec_tests.contracts.latent import VAEConfig
from spec_tests.registry import Unsupported, control

LOG_TAU = math.log(2 * math.pi)


# Functions ---------------------------------------------------------------------------------------


@control("gaussian_kl")
def divergence_by_loops(mean: Tensor, log_var: Tensor) -> Tensor:
    """Item by item and dimension by dimension, with the standard deviation squared."""
    rows = []
    for m, v in zip(mean, log_var, strict=True):
        rows.append(
            sum((a * a + (0.5 * b).exp() ** 2 - 1 - b) / 2 for a, b in zip(m, v, strict=True))
        )
    return torch.stack(rows)


@control("gaussian_kl")
def divergence_by_trace_and_determinant(mean: Tensor, log_var: Tensor) -> Tensor:
    """The formula for full covariances: trace, squared mean, log-determinant."""
    covariance = torch.diag_embed(log_var.exp())
    trace = covariance.diagonal(dim1=-2, dim2=-1).sum(-1)
    log_det = 2 * torch.linalg.cholesky(covariance).diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return 0.5 * (trace + torch.einsum("nl,nl->n", mean, mean) - mean.shape[1] - log_det)


class _Divergence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, mean: Tensor, log_var: Tensor) -> Tensor:
        ctx.save_for_backward(mean, log_var)
        return (0.5 * (mean**2 + torch.expm1(log_var) - log_var)).sum(1)

    @staticmethod
    def backward(ctx: Any, *pulls: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_var = ctx.saved_tensors
        pull = pulls[0][:, None]
        return pull * mean, pull * 0.5 * torch.expm1(log_var)


@control("gaussian_kl")
def divergence_with_its_own_backward(mean: Tensor, log_var: Tensor) -> Tensor:
    """A hand-written gradient, which is the right one."""
    return _Divergence.apply(mean, log_var)


@control("reparameterize")
def draw_by_addcmul(mean: Tensor, log_var: Tensor, noise: Tensor) -> Tensor:
    """One fused operation, the standard deviation a square root of the variance."""
    return torch.addcmul(mean, log_var.exp().sqrt(), noise)


@control("reparameterize")
def draw_with_a_guarded_root(mean: Tensor, log_var: Tensor, noise: Tensor) -> Tensor:
    """An ε under the root, which moves the draw by less than the contracts allow a guard."""
    return mean + (log_var.exp() + 1e-14).sqrt() * noise


@control("reparameterize")
def draw_through_a_distribution(mean: Tensor, log_var: Tensor, noise: Tensor) -> Tensor:
    """The transform of torch.distributions that takes the noise to the draw."""
    affine = distributions.AffineTransform(mean, torch.pow(math.e, log_var / 2))
    return affine(noise)


@control("gaussian_log_likelihood")
def density_by_multivariate_normal(x: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """A full covariance that happens to be diagonal, by its Cholesky factor."""
    factor = torch.diag_embed((0.5 * log_var).exp())
    return distributions.MultivariateNormal(mean, scale_tril=factor).log_prob(x)


@control("gaussian_log_likelihood")
def density_by_loops_over_dims(x: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """Dimension by dimension, last first, the constants added at the end."""
    total = torch.zeros_like(x[:, 0])
    for d in reversed(range(x.shape[1])):
        z = (x[:, d] - mean[:, d]) * torch.exp(-log_var[:, d] / 2)
        total = total - z * z / 2 - log_var[:, d] / 2
    return total - x.shape[1] * LOG_TAU / 2


@control("gaussian_log_likelihood")
def density_by_a_loss_with_a_lower_floor(x: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """PyTorch's loss, with every constant and the floor under its variance far below any variance."""
    loss = functional.gaussian_nll_loss(
        mean, x, log_var.exp(), full=True, eps=1e-30, reduction="none"
    )
    return -loss.sum(-1)


@control("bernoulli_log_likelihood")
def coins_by_softplus(x: Tensor, logits: Tensor) -> Tensor:
    """The log-probability as x·a − softplus(a)."""
    return (x * logits - functional.softplus(logits)).sum(-1)


@control("bernoulli_log_likelihood")
def coins_as_two_classes(x: Tensor, logits: Tensor) -> Tensor:
    """A softmax over the classes 0 and 1, of which the first has logit 0."""
    two = torch.stack([torch.zeros_like(logits), logits], -1).log_softmax(-1)
    return two.gather(-1, x.long()[..., None])[..., 0].sum(-1)


@control("bernoulli_log_likelihood")
def coins_by_the_signed_logit(x: Tensor, logits: Tensor) -> Tensor:
    """log σ(±a), the sign chosen by the datum, as a logaddexp."""
    signed = torch.where(x > 0.5, logits, -logits)
    return -torch.logaddexp(torch.zeros_like(signed), -signed).sum(-1)


# vae -------------------------------------------------------------------------------------------------


class Sampled(nn.Module):
    """The bound with every term sampled, one sample at a time; the decoder is linear in z."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        self.mean = nn.Linear(config.data_dim, config.latent_dim)
        self.log_var = nn.Linear(config.data_dim, config.latent_dim)
        self.decoder = nn.Linear(config.latent_dim, config.data_dim)
        self.observed = nn.Parameter(torch.zeros(config.data_dim))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.mean(x), self.log_var(x)

    def conditional(self, z: Tensor) -> Any:
        out = self.decoder(z)
        if self.config.likelihood == "bernoulli":
            return distributions.Independent(distributions.Bernoulli(logits=out), 1)
        deviation = (0.5 * self.observed).exp().expand_as(out)
        return distributions.Independent(distributions.Normal(out, deviation), 1)

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        found: Tensor = self.conditional(z).log_prob(x)
        return found

    def one(self, x: Tensor, noise: Tensor) -> Tensor:
        mean, log_var = self.encode(x)
        q = distributions.Independent(distributions.Normal(mean, (0.5 * log_var).exp()), 1)
        z = mean + (0.5 * log_var).exp() * noise
        prior = -0.5 * (z.square() + LOG_TAU).sum(-1)
        found: Tensor = self.log_likelihood(x, z) + prior - q.log_prob(z)
        return found

    def elbo(self, x: Tensor, noise: Tensor) -> Tensor:
        total = torch.zeros_like(x[:, 0])
        for one in noise:
            total = total + self.one(x, one)
        return total / len(noise)


@control("vae")
def every_term_sampled_in_a_loop(config: VAEConfig) -> Any:
    """The sampled estimator, by torch.distributions that check their arguments; no sampler."""
    return Sampled(config)


class EntropyForm(Sampled):
    def one(self, x: Tensor, noise: Tensor) -> Tensor:
        mean, log_var = self.encode(x)
        z = mean + (0.5 * log_var).exp() * noise
        entropy = 0.5 * (1 + LOG_TAU + log_var).sum(-1)
        return self.log_likelihood(x, z) - 0.5 * (z.square() + LOG_TAU).sum(-1) + entropy


@control("vae")
def joint_density_plus_entropy(config: VAEConfig) -> Any:
    """log p(x, z) sampled and the entropy of q in closed form: a third estimator of the bound."""
    return EntropyForm(config)


class Softplus(Sampled):
    """A standard deviation by softplus, a deep decoder of ReLUs, and a sampler."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__(config)
        self.decoder = nn.Sequential(  # type: ignore[assignment]
            nn.Linear(config.latent_dim, 9),
            nn.ReLU(),
            nn.Linear(9, 7),
            nn.ReLU(),
            nn.Linear(7, config.data_dim),
        )

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_var = super().encode(x)
        return mean, 2 * (functional.softplus(log_var) + 1e-4).log()

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        z = torch.empty(n, self.config.latent_dim).to(self.observed).normal_(generator=generator)
        p = self.conditional(z).base_dist
        if self.config.likelihood == "bernoulli":
            uniform = torch.empty_like(p.probs).uniform_(generator=generator)
            return (uniform < p.probs).to(p.probs)
        return p.mean + p.stddev * torch.empty_like(p.mean).normal_(generator=generator)


@control("vae")
def softplus_deviation_and_rough_decoder(config: VAEConfig) -> Any:
    """The encoder's deviation is a softplus, reported as a log-variance; the decoder has kinks; each
    coin compares one uniform number with its probability."""
    return Softplus(config)


class Correlated(nn.Module):
    """Observation noise with a full covariance, fixed at 0.1, and weights shared both ways."""

    weight: Tensor

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(config.data_dim, config.latent_dim))
        self.spread = nn.Parameter(torch.zeros(config.latent_dim))
        noise = 0.1 * torch.eye(config.data_dim) + 0.08
        self.register_buffer("factor", torch.linalg.cholesky(noise))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean = x @ self.weight
        return mean, self.spread - functional.softplus(mean.square())

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        found: Tensor = distributions.MultivariateNormal(
            (z @ self.weight.T).sinh(), scale_tril=self.factor
        ).log_prob(x)
        return found

    def elbo(self, x: Tensor, noise: Tensor) -> Tensor:
        mean, log_var = self.encode(x)
        z = (mean + (0.5 * log_var).exp() * noise).flatten(0, 1)
        likelihood = self.log_likelihood(x.repeat(len(noise), 1), z).reshape(noise.shape[:2])
        q = distributions.Normal(mean, (0.5 * log_var).exp())
        p = distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
        return likelihood.mean(0) - distributions.kl_divergence(q, p).sum(-1)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        shapes = (n, self.weight.shape[1]), (n, self.weight.shape[0])
        z, e = (self.weight.new_empty(s).normal_(generator=generator) for s in shapes)
        return (z @ self.weight.T).sinh() + e @ self.factor.T


@control("vae")
def correlated_noise_and_tied_weights(config: VAEConfig) -> Any:
    """A Gaussian likelihood of full covariance; encoder and decoder share one matrix; real data only."""
    if config.likelihood != "gaussian":
        raise Unsupported("real data only")
    return Correlated(config)


class Plain:
    """No module: fixed numbers in the dtype of the data."""

    def __init__(self, config: VAEConfig) -> None:
        self.config = config
        shape = (config.data_dim, config.latent_dim)
        self.weight = (
            torch.linspace(-1, 1, math.prod(shape), dtype=torch.float64).reshape(shape) + 0.1
        )

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean = 0.5 * x @ self.weight.to(x)
        return mean, torch.sin(mean) - 1

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        out = z @ self.weight.to(z).T
        if self.config.likelihood == "bernoulli":
            return -functional.binary_cross_entropy_with_logits(out, x, reduction="none").sum(-1)
        return -0.5 * ((x - out).square() * 4 + LOG_TAU - math.log(4)).sum(-1)

    def elbo(self, x: Tensor, noise: Tensor) -> Tensor:
        mean, log_var = self.encode(x)
        terms = [self.log_likelihood(x, mean + (log_var / 2).exp() * one) for one in noise]
        kl = (mean.square() + log_var.exp() - 1 - log_var).sum(-1) / 2
        return torch.stack(terms).mean(0) - kl

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        draw = {"generator": generator, "dtype": torch.float64, "device": generator.device}
        z = torch.randn(n, self.config.latent_dim, **draw)
        out = z @ self.weight.to(z).T
        if self.config.likelihood == "bernoulli":
            return (torch.rand(out.shape, **draw) < out.sigmoid()).to(out)
        return out + 0.5 * torch.randn(out.shape, **draw)


@control("vae")
def plain_object(config: VAEConfig) -> Any:
    """An object with the methods and no parameters: method contracts ask for no module."""
    return Plain(config)
