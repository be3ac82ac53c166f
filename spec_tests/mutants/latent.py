r"""Classic mistakes in variational autoencoders and the formulas that they are made of."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from reference.latent import VAE, LinearGaussianVAE
from spec_tests.contracts.latent import VAEConfig
from spec_tests.registry import mutant

LOG_TAU = math.log(2 * math.pi)


# gaussian_kl ---------------------------------------------------------------------------------------


def _kl(mean: Tensor, log_var: Tensor) -> Tensor:
    return 0.5 * (mean.square() + log_var.exp() - 1 - log_var)


@mutant("gaussian_kl", rejected_by=["gaussian_kl.matches_quadrature", "gaussian_kl.gradient"])
def divergence_without_its_half(mean: Tensor, log_var: Tensor) -> Tensor:
    """The factor ½ is lost, so the posterior is pulled to the prior twice as hard as it should be."""
    return 2 * _kl(mean, log_var).sum(-1)  # wrong: _kl(mean, log_var).sum(-1)


@mutant(
    "gaussian_kl", rejected_by=["gaussian_kl.matches_quadrature", "gaussian_kl.additive_over_dims"]
)
def divergence_averaged_over_dims(mean: Tensor, log_var: Tensor) -> Tensor:
    """A mean over latent dimensions weakens the divergence by their number."""
    return _kl(mean, log_var).mean(-1)  # wrong: .sum(-1)


@mutant("gaussian_kl", rejected_by=["gaussian_kl.matches_quadrature", "gaussian_kl.item_by_item"])
def divergence_summed_over_the_batch(mean: Tensor, log_var: Tensor) -> Tensor:
    """Every item is charged for the whole batch, so the weight of the divergence grows with N."""
    return _kl(mean, log_var).sum().expand(len(mean))  # wrong: .sum(-1)


@mutant(
    "gaussian_kl", rejected_by=["gaussian_kl.matches_quadrature", "gaussian_kl.holds_at_extremes"]
)
def divergence_of_the_prior_from_the_posterior(mean: Tensor, log_var: Tensor) -> Tensor:
    """The arguments are exchanged: the reverse divergence explodes where the posterior is sharp."""
    # wrong: KL(q || p), not KL(p || q)
    return 0.5 * ((mean.square() + 1) * (-log_var).exp() - 1 + log_var).sum(-1)


@mutant("gaussian_kl", rejected_by=["gaussian_kl.matches_quadrature", "gaussian_kl.gradient"])
def divergence_takes_log_var_for_log_std(mean: Tensor, log_var: Tensor) -> Tensor:
    """The log-variance is read as a log standard deviation, and squared once more."""
    return _kl(mean, 2 * log_var).sum(-1)  # wrong: _kl(mean, log_var)


@mutant("gaussian_kl", rejected_by=["gaussian_kl.nonnegative_zero_iff_standard"])
def divergence_with_the_sign_of_the_bound(mean: Tensor, log_var: Tensor) -> Tensor:
    """The paper's appendix states the negative, and it is copied as it stands."""
    return -_kl(mean, log_var).sum(-1)  # wrong: no minus


@mutant("gaussian_kl", rejected_by=["gaussian_kl.nonnegative_zero_iff_standard"])
def divergence_without_its_constant(mean: Tensor, log_var: Tensor) -> Tensor:
    """The −1 has no gradient and is dropped: the standard normal is then half a nat a dimension away
    from itself."""
    return 0.5 * (mean.square() + log_var.exp() - log_var).sum(-1)  # wrong: - 1 in each dimension


@mutant("gaussian_kl", rejected_by=["gaussian_kl.holds_at_extremes", "gaussian_kl.gradient"])
def divergence_of_a_clamped_variance(mean: Tensor, log_var: Tensor) -> Tensor:
    """A clamp of the log-variance at ±10 'for stability' changes the value and stops its gradient."""
    return _kl(mean, log_var.clamp(-10, 10)).sum(-1)  # wrong: no clamp


@mutant("gaussian_kl", rejected_by=["gaussian_kl.gradient", "gaussian_kl.gradient_is_derivative"])
def divergence_with_a_detached_variance(mean: Tensor, log_var: Tensor) -> Tensor:
    """exp(log_var) is detached, so the variance is pushed up without end."""
    return 0.5 * (mean.square() + log_var.exp().detach() - 1 - log_var).sum(-1)  # wrong: no detach


@mutant("gaussian_kl", rejected_by=["gaussian_kl.matches_quadrature"])
def divergence_in_single_precision(mean: Tensor, log_var: Tensor) -> Tensor:
    """A cast to float32 inside loses half the digits of whoever computes in float64."""
    return _kl(mean.float(), log_var.float()).sum(-1).to(mean)  # wrong: the caller's dtype


# reparameterize --------------------------------------------------------------------------------------


@mutant("reparameterize", rejected_by=["reparameterize.affine_in_noise", "reparameterize.moments"])
def draw_scaled_by_the_variance(mean: Tensor, log_var: Tensor, noise: Tensor) -> Tensor:
    """The noise is scaled by the variance: the half in the exponent is forgotten."""
    return mean + log_var.exp() * noise  # wrong: (0.5 * log_var).exp()


@mutant("reparameterize", rejected_by=["reparameterize.affine_in_noise", "reparameterize.moments"])
def draw_scaled_by_the_log_variance(mean: Tensor, log_var: Tensor, noise: Tensor) -> Tensor:
    """The encoder's second output is taken for a standard deviation, which may then be negative."""
    return mean + log_var * noise  # wrong: (0.5 * log_var).exp()


@mutant("reparameterize", rejected_by=["reparameterize.moments"])
def draw_is_the_mean(mean: Tensor, log_var: Tensor, noise: Tensor) -> Tensor:
    """The noise is forgotten: the model is a plain autoencoder with a penalty."""
    return mean + 0 * log_var  # wrong: + (0.5 * log_var).exp() * noise


@mutant(
    "reparameterize",
    rejected_by=["reparameterize.affine_in_noise", "reparameterize.repeats_itself"],
)
def draw_with_noise_of_its_own(mean: Tensor, log_var: Tensor, noise: Tensor) -> Tensor:
    """Fresh noise is drawn inside in place of the noise that was handed in."""
    return mean + (0.5 * log_var).exp() * torch.randn_like(noise)  # wrong: * noise


@mutant(
    "reparameterize",
    rejected_by=["reparameterize.gradient_equals_exact", "reparameterize.gradient_is_derivative"],
)
def draw_with_a_detached_deviation(mean: Tensor, log_var: Tensor, noise: Tensor) -> Tensor:
    """The standard deviation is detached, so the variance learns from the divergence alone."""
    return mean + (0.5 * log_var).exp().detach() * noise  # wrong: no detach


@mutant(
    "reparameterize",
    rejected_by=[
        "reparameterize.gradient_equals_exact",
        "reparameterize.lower_variance_than_score",
    ],
)
def draw_without_a_path(mean: Tensor, log_var: Tensor, noise: Tensor) -> Tensor:
    """``normal.sample()`` in place of ``rsample()``: no gradient reaches the encoder."""
    return (mean + (0.5 * log_var).exp() * noise).detach()  # wrong: no detach


@mutant(
    "reparameterize", rejected_by=["reparameterize.affine_in_noise", "reparameterize.item_by_item"]
)
def draw_with_noise_shared_by_the_batch(mean: Tensor, log_var: Tensor, noise: Tensor) -> Tensor:
    """One draw of the noise serves all items, whose codes then move together."""
    return mean + (0.5 * log_var).exp() * noise[:1]  # wrong: * noise


@mutant("reparameterize", rejected_by=["reparameterize.moments"])
def draw_with_noise_shared_by_the_dims(mean: Tensor, log_var: Tensor, noise: Tensor) -> Tensor:
    """One number serves all dimensions, which are then perfectly correlated."""
    return mean + (0.5 * log_var).exp() * noise[:, :1]  # wrong: * noise


@mutant("reparameterize", rejected_by=["reparameterize.affine_in_noise"])
def draw_of_a_clamped_variance(mean: Tensor, log_var: Tensor, noise: Tensor) -> Tensor:
    """The log-variance is clamped at ±10, so a confident posterior is drawn from too widely."""
    return mean + (0.5 * log_var.clamp(-10, 10)).exp() * noise  # wrong: no clamp


@mutant("reparameterize", rejected_by=["reparameterize.affine_in_noise"])
def draw_in_single_precision(mean: Tensor, log_var: Tensor, noise: Tensor) -> Tensor:
    """A cast to float32 inside loses half the digits of whoever computes in float64."""
    # wrong: the caller's dtype
    return (mean.float() + (0.5 * log_var.float()).exp() * noise.float()).to(mean)


@mutant("reparameterize", rejected_by=["reparameterize.leaves_inputs_alone"])
def draw_in_place(mean: Tensor, log_var: Tensor, noise: Tensor) -> Tensor:
    """The noise is scaled in place, so the caller's noise is no longer standard normal."""
    return mean + noise.mul_((0.5 * log_var).exp().detach())  # wrong: noise * ..., not in place


# gaussian_log_likelihood ----------------------------------------------------------------------------


def _log_density(x: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    return -0.5 * (LOG_TAU + log_var + (x - mean).square() * (-log_var).exp())


@mutant(
    "gaussian_log_likelihood",
    rejected_by=[
        "gaussian_log_likelihood.matches_scipy",
        "gaussian_log_likelihood.integrates_to_one",
    ],
)
def density_without_its_constant(x: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """½ log 2π has no gradient and is dropped: log-likelihoods no longer compare between models."""
    # wrong: no last term
    return _log_density(x, mean, log_var).sum(-1) + 0.5 * LOG_TAU * x.shape[1]


@mutant(
    "gaussian_log_likelihood",
    rejected_by=[
        "gaussian_log_likelihood.unit_variance_is_mse",
        "gaussian_log_likelihood.integrates_to_one",
    ],
)
def density_with_one_constant_for_all_dims(x: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """½ log 2π is subtracted once after the sum and not once for each dimension."""
    # wrong: no last term
    return _log_density(x, mean, log_var).sum(-1) + 0.5 * LOG_TAU * (x.shape[1] - 1)


@mutant(
    "gaussian_log_likelihood",
    rejected_by=[
        "gaussian_log_likelihood.unit_variance_is_mse",
        "gaussian_log_likelihood.gradient",
    ],
)
def density_with_the_whole_squared_error(x: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """The squared error is not halved: the likelihood of half the variance."""
    squared = (x - mean).square() * (-log_var).exp()
    return -(0.5 * LOG_TAU + 0.5 * log_var + squared).sum(-1)  # wrong: 0.5 * squared


@mutant(
    "gaussian_log_likelihood",
    rejected_by=["gaussian_log_likelihood.matches_scipy", "gaussian_log_likelihood.gradient"],
)
def density_takes_log_var_for_log_std(x: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """exp(log_var) is used as the standard deviation."""
    return _log_density(x, mean, 2 * log_var).sum(-1)  # wrong: log_var


@mutant(
    "gaussian_log_likelihood",
    rejected_by=["gaussian_log_likelihood.integrates_to_one", "gaussian_log_likelihood.gradient"],
)
def density_without_its_log_variance(x: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """The weighted squared error alone: a learned variance grows without end."""
    return _log_density(x, mean, log_var).sum(-1) + 0.5 * log_var.sum(-1)  # wrong: no last term


@mutant("gaussian_log_likelihood", rejected_by=["gaussian_log_likelihood.matches_scipy"])
def density_averaged_over_dims(x: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """A mean over features, as ``mse_loss`` takes by default, weakens the data by their number."""
    return _log_density(x, mean, log_var).mean(-1)  # wrong: .sum(-1)


@mutant("gaussian_log_likelihood", rejected_by=["gaussian_log_likelihood.item_by_item"])
def density_summed_over_the_batch(x: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """The sum runs over items as well, so that every item has the likelihood of the batch."""
    return _log_density(x, mean, log_var).sum().expand(len(x))  # wrong: .sum(-1)


@mutant("gaussian_log_likelihood", rejected_by=["gaussian_log_likelihood.holds_at_extremes"])
def density_with_a_floor_under_the_variance(x: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """1e-6 is added to the variance in the quotient, which caps what a confident mistake costs."""
    squared = (x - mean).square() / (log_var.exp() + 1e-6)  # wrong: / log_var.exp()
    return -0.5 * (LOG_TAU + log_var + squared).sum(-1)


@mutant(
    "gaussian_log_likelihood",
    rejected_by=["gaussian_log_likelihood.holds_at_extremes", "gaussian_log_likelihood.gradient"],
)
def density_of_a_clamped_variance(x: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """The log-variance is clamped at ±10, and has no gradient beyond."""
    return _log_density(x, mean, log_var.clamp(-10, 10)).sum(-1)  # wrong: no clamp


@mutant(
    "gaussian_log_likelihood",
    rejected_by=[
        "gaussian_log_likelihood.holds_at_extremes",
        "gaussian_log_likelihood.finite_at_extremes",
    ],
)
def density_as_the_log_of_a_density(x: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """The density is computed and its logarithm taken: −inf as soon as the density underflows."""
    density = (-0.5 * (x - mean).square() / log_var.exp()).exp() / (
        2 * math.pi * log_var.exp()
    ).sqrt()
    return density.log().sum(-1)  # wrong: the sum of the logarithms


@mutant(
    "gaussian_log_likelihood",
    rejected_by=[
        "gaussian_log_likelihood.matches_scipy",
        "gaussian_log_likelihood.keeps_double_precision",
    ],
)
def density_in_single_precision(x: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """A cast to float32 inside loses half the digits of whoever computes in float64."""
    # wrong: the caller's dtype
    return _log_density(x.float(), mean.float(), log_var.float()).sum(-1).to(x)


# bernoulli_log_likelihood ---------------------------------------------------------------------------


def _log_mass(x: Tensor, logits: Tensor) -> Tensor:
    return x * functional.logsigmoid(logits) + (1 - x) * functional.logsigmoid(-logits)


@mutant(
    "bernoulli_log_likelihood",
    rejected_by=["bernoulli_log_likelihood.stable", "bernoulli_log_likelihood.finite_at_extremes"],
)
def coins_by_sigmoid_then_log(x: Tensor, logits: Tensor) -> Tensor:
    """A sigmoid and then a logarithm: 0 · (−inf) = NaN as soon as the sigmoid rounds to 0 or 1."""
    p = logits.sigmoid()
    return (x * p.log() + (1 - x) * (1 - p).log()).sum(-1)  # wrong: logsigmoid(±logits)


@mutant("bernoulli_log_likelihood", rejected_by=["bernoulli_log_likelihood.stable"])
def coins_with_an_epsilon_in_the_log(x: Tensor, logits: Tensor) -> Tensor:
    """1e-12 under the logarithm caps the cost of a confident mistake at 28 nats."""
    p = logits.sigmoid()
    # wrong: logsigmoid(±logits)
    return (x * (p + 1e-12).log() + (1 - x) * (1 - p + 1e-12).log()).sum(-1)


@mutant("bernoulli_log_likelihood", rejected_by=["bernoulli_log_likelihood.stable"])
def coins_with_clamped_logits(x: Tensor, logits: Tensor) -> Tensor:
    """Logits are clamped at ±10, so a confident mistake costs 10 nats and has no gradient."""
    return _log_mass(x, logits.clamp(-10, 10)).sum(-1)  # wrong: no clamp


@mutant("bernoulli_log_likelihood", rejected_by=["bernoulli_log_likelihood.normalised"])
def coins_averaged_over_dims(x: Tensor, logits: Tensor) -> Tensor:
    """``reduction="mean"`` over pixels weakens the data by their number."""
    return _log_mass(x, logits).mean(-1)  # wrong: .sum(-1)


@mutant("bernoulli_log_likelihood", rejected_by=["bernoulli_log_likelihood.item_by_item"])
def coins_summed_over_the_batch(x: Tensor, logits: Tensor) -> Tensor:
    """The sum runs over items as well."""
    return _log_mass(x, logits).sum().expand(len(x))  # wrong: .sum(-1)


@mutant(
    "bernoulli_log_likelihood",
    rejected_by=["bernoulli_log_likelihood.matches_scipy", "bernoulli_log_likelihood.gradient"],
)
def coins_with_their_sides_exchanged(x: Tensor, logits: Tensor) -> Tensor:
    """Ones are scored with the probability of a zero."""
    return _log_mass(1 - x, logits).sum(-1)  # wrong: _log_mass(x, logits)


@mutant(
    "bernoulli_log_likelihood",
    rejected_by=["bernoulli_log_likelihood.normalised", "bernoulli_log_likelihood.symmetric"],
)
def coins_that_score_ones_alone(x: Tensor, logits: Tensor) -> Tensor:
    """The term of the zeros is missing, as if this were the cross-entropy over classes: logits of
    +∞ are then always best."""
    return (x * functional.logsigmoid(logits)).sum(-1)  # wrong: + (1 - x) * logsigmoid(-logits)


@mutant("bernoulli_log_likelihood", rejected_by=["bernoulli_log_likelihood.matches_scipy"])
def coins_with_the_sign_of_a_loss(x: Tensor, logits: Tensor) -> Tensor:
    """The cross-entropy, a loss, is returned where its negative is asked for."""
    # wrong: minus this
    return functional.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)


@mutant("bernoulli_log_likelihood", rejected_by=["bernoulli_log_likelihood.gradient"])
def coins_squashed_twice(x: Tensor, logits: Tensor) -> Tensor:
    """A decoder that ends in a sigmoid meets a loss that takes logits: no pixel can be sure."""
    return _log_mass(x, logits.sigmoid()).sum(-1)  # wrong: _log_mass(x, logits)


@mutant("bernoulli_log_likelihood", rejected_by=["bernoulli_log_likelihood.matches_scipy"])
def coins_in_single_precision(x: Tensor, logits: Tensor) -> Tensor:
    """A cast to float32 inside loses half the digits of whoever computes in float64."""
    return _log_mass(x.float(), logits.float()).sum(-1).to(x)  # wrong: the caller's dtype


# vae -------------------------------------------------------------------------------------------------


class Mutable(VAE):
    """The reference model with the steps of its bound apart, each of which a mutant replaces."""

    def code(self, mean: Tensor, log_var: Tensor, noise: Tensor) -> Tensor:
        return mean + (0.5 * log_var).exp() * noise

    def divergence(self, mean: Tensor, log_var: Tensor) -> Tensor:
        return _kl(mean, log_var).sum(-1)

    def combine(self, likelihood: Tensor, divergence: Tensor) -> Tensor:
        return likelihood.mean(0) - divergence

    def elbo(self, x: Tensor, noise: Tensor) -> Tensor:
        mean, log_var = self.encode(x)
        likelihood = self.log_likelihood(x, self.code(mean, log_var, noise))
        return self.combine(likelihood, self.divergence(mean, log_var))


def _built(config: VAEConfig, kind: type[VAE] = Mutable, **steps: Callable[..., Any]) -> Any:
    """The model with some of its steps replaced by plain functions."""
    model = kind(config.data_dim, config.latent_dim, 6, config.likelihood)  # type: ignore[arg-type]
    for name, step in steps.items():
        object.__setattr__(model, name, step)
    return model


_UNBIASED = "vae.two_estimators_agree"


@mutant("vae", rejected_by=[_UNBIASED, "vae.elbo_below_log_likelihood", "vae.gap_is_kl"])
def bound_without_divergence(config: VAEConfig) -> Any:
    """The reconstruction alone is no bound: it exceeds log p(x)."""
    # wrong: ... - divergence
    return _built(config, combine=lambda likelihood, divergence: likelihood.mean(0))


@mutant("vae", rejected_by=[_UNBIASED, "vae.elbo_below_log_likelihood", "vae.gap_is_kl"])
def bound_plus_divergence(config: VAEConfig) -> Any:
    """A sign: the divergence is added, so that posteriors flee from the prior."""
    # wrong: - divergence
    return _built(config, combine=lambda likelihood, divergence: likelihood.mean(0) + divergence)


@mutant("vae", rejected_by=[_UNBIASED, "vae.gap_is_kl"])
def bound_with_a_weighted_divergence(config: VAEConfig) -> Any:
    """A β of 4 on the divergence is another objective, below the bound and of another name."""
    return _built(
        config,
        # wrong: - divergence
        combine=lambda likelihood, divergence: likelihood.mean(0) - 4 * divergence,
    )


@mutant("vae", rejected_by=[_UNBIASED])
def bound_with_divergence_averaged_over_dims(config: VAEConfig) -> Any:
    """The divergence is a mean over the code and the likelihood a sum over the data."""
    # wrong: .sum(-1)
    return _built(config, divergence=lambda mean, log_var: _kl(mean, log_var).mean(-1))


@mutant("vae", rejected_by=["vae.batch_independent", "vae.item_by_item"])
def bound_with_divergence_averaged_over_the_batch(config: VAEConfig) -> Any:
    """Every item is charged the mean divergence of its batch; the sum is right, no item is."""
    # wrong: .sum(-1) alone
    return _built(config, divergence=lambda m, v: _kl(m, v).sum(-1).mean().expand(len(m)))


@mutant("vae", rejected_by=["vae.averages_over_samples"])
def bound_summed_over_samples(config: VAEConfig) -> Any:
    """The likelihood is a sum over the S draws: with more draws the divergence counts for less."""
    # wrong: likelihood.mean(0)
    return _built(config, combine=lambda likelihood, divergence: likelihood.sum(0) - divergence)


@mutant("vae", rejected_by=["vae.averages_over_samples"])
def bound_by_log_mean_exp(config: VAEConfig) -> Any:
    """The logarithm of the mean likelihood less the divergence is neither this bound nor the
    importance-weighted one."""

    def combine(likelihood: Tensor, divergence: Tensor) -> Tensor:
        # wrong: likelihood.mean(0) - divergence
        return likelihood.logsumexp(0) - math.log(len(likelihood)) - divergence

    return _built(config, combine=combine)


@mutant("vae", rejected_by=["vae.averages_over_samples", "vae.item_by_item"])
def bound_averaged_over_the_wrong_axis(config: VAEConfig) -> Any:
    """The mean runs over the items in place of the samples."""
    # wrong: likelihood.mean(0)
    return _built(config, combine=lambda likelihood, divergence: likelihood.mean(1)[0] - divergence)


@mutant("vae", rejected_by=[_UNBIASED])
def decoder_given_the_mean(config: VAEConfig) -> Any:
    """The decoder sees the posterior's mean, never a draw: an autoencoder with a penalty."""
    # wrong: + (0.5 * log_var).exp() * noise
    return _built(config, code=lambda mean, log_var, noise: mean + 0 * noise)


@mutant("vae", rejected_by=[_UNBIASED, "vae.gap_is_kl"])
def code_scaled_by_the_variance(config: VAEConfig) -> Any:
    """exp(log_var) scales the noise, while the divergence takes it for the variance."""
    # wrong: (0.5 * log_var).exp()
    return _built(config, code=lambda mean, log_var, noise: mean + log_var.exp() * noise)


@mutant("vae", rejected_by=["vae.batch_independent", "vae.minibatch_unbiased", "vae.item_by_item"])
def code_with_noise_shared_by_the_batch(config: VAEConfig) -> Any:
    """The first item's noise serves all items."""
    # wrong: * noise
    return _built(config, code=lambda m, v, noise: m + (0.5 * v).exp() * noise[:, :1])


@mutant("vae", rejected_by=["vae.is_reparameterised", "vae.gradient_is_derivative"])
def code_without_a_path(config: VAEConfig) -> Any:
    """``sample()`` in place of ``rsample()``: the encoder learns from the divergence alone."""
    # wrong: no detach
    return _built(config, code=lambda m, v, noise: (m + (0.5 * v).exp() * noise).detach())


@mutant("vae", rejected_by=["vae.is_reparameterised"])
def code_with_a_detached_deviation(config: VAEConfig) -> Any:
    """The path through the standard deviation is cut: the encoder's variances learn to be 1."""
    # wrong: no detach
    return _built(config, code=lambda m, v, noise: m + (0.5 * v).exp().detach() * noise)


@mutant("vae", rejected_by=["vae.is_reparameterised"])
def divergence_without_gradient(config: VAEConfig) -> Any:
    """The divergence is logged, not learned: it is detached from the bound."""
    # wrong: no detach
    return _built(config, divergence=lambda mean, log_var: _kl(mean, log_var).sum(-1).detach())


@mutant("vae", rejected_by=["vae.averages_over_samples"])
def bound_in_single_precision(config: VAEConfig) -> Any:
    """The average is taken in float32 whatever the model computes in."""

    def combine(likelihood: Tensor, divergence: Tensor) -> Tensor:
        # wrong: the model's dtype
        return (likelihood.float().mean(0) - divergence.float()).to(likelihood)

    return _built(config, combine=combine)


@mutant("vae", rejected_by=["vae.gap_is_kl", _UNBIASED])
def code_of_a_clamped_variance(config: VAEConfig) -> Any:
    """The log-variance is clamped to [−1, 1] in the draw alone: q is not what ``encode`` says."""
    # wrong: no clamp
    return _built(config, code=lambda m, v, noise: m + (0.5 * v.clamp(-1, 1)).exp() * noise)


class Unnormalised(Mutable):
    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        if self.likelihood == "bernoulli":
            return _log_mass(x, self.decoder(z)).mean(-1)  # wrong: .sum(-1)
        # wrong: the log-density, with its variance and constant
        return -(x - self.decoder(z).chunk(2, -1)[0]).square().sum(-1)


@mutant("vae", rejected_by=["vae.likelihood_is_normalised"])
def likelihood_is_a_reconstruction_loss(config: VAEConfig) -> Any:
    """Squared error, or cross-entropy averaged over pixels, is no log-likelihood: the balance of
    reconstruction and divergence is an accident of scale, and the 'bound' bounds nothing."""
    return _built(config, Unnormalised)  # wrong: VAE's, with variance and constants


class OneConstant(Mutable):
    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        # wrong: 0.0
        constant = 0.5 * LOG_TAU * (x.shape[-1] - 1) if self.likelihood == "gaussian" else 0.0
        return super().log_likelihood(x, z) + constant


@mutant("vae", rejected_by=["vae.likelihood_is_normalised"])
def likelihood_with_one_constant_for_all_dims(config: VAEConfig) -> Any:
    """½ log 2π is subtracted once, not once for each feature: right in one dimension alone."""
    return _built(config, OneConstant)  # wrong: one constant for each feature


class SigmoidThenLog(Mutable):
    def __init__(self, *sizes: Any) -> None:
        super().__init__(*sizes)
        if self.likelihood == "bernoulli":
            self.decoder = nn.Sequential(nn.Linear(self.latent_dim, sizes[0]))

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        if self.likelihood == "gaussian":
            return super().log_likelihood(x, z)
        p = self.decoder(z).sigmoid()
        return (x * p.log() + (1 - x) * (1 - p).log()).sum(-1)  # wrong: logsigmoid(±logits)


@mutant("vae", rejected_by=["vae.finite_at_extremes"])
def likelihood_by_sigmoid_then_log(config: VAEConfig) -> Any:
    """The decoder's probabilities round to 0 or 1, and their logarithms are −inf."""
    return _built(config, SigmoidThenLog)  # wrong: logits, not probabilities


class BatchNormalised(Mutable):
    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_var = super().encode(x)
        return mean - 0.5 * mean.mean(0), log_var  # wrong: mean alone


@mutant("vae", rejected_by=["vae.batch_independent", "vae.minibatch_unbiased", "vae.item_by_item"])
def encoder_centred_over_the_batch(config: VAEConfig) -> Any:
    """An item's posterior depends on which others share its batch."""
    return _built(config, BatchNormalised)  # wrong: no statistics of the batch


class Annealed(Mutable):
    def combine(self, likelihood: Tensor, divergence: Tensor) -> Tensor:
        # wrong: 1.0 in both modes
        return likelihood.mean(0) - (0.1 if self.training else 1.0) * divergence


@mutant("vae", rejected_by=["vae.train_and_eval_agree", _UNBIASED])
def bound_annealed_in_train_mode(config: VAEConfig) -> Any:
    """A warm-up weight inside ``elbo``: what is reported in training is not the bound."""
    return _built(config, Annealed)  # wrong: the weight belongs to the training loop


class DropsOut(Mutable):
    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return super().encode(functional.dropout(x, 0.5, self.training))  # wrong: encode(x)


@mutant("vae", rejected_by=["vae.repeats_itself", "vae.train_and_eval_agree"])
def encoder_with_dropout(config: VAEConfig) -> Any:
    """Noise that is not an argument enters in train mode: the bound is no function of its inputs."""
    return _built(config, DropsOut)  # wrong: no noise but the argument


class LosesState(Mutable):
    def __init__(self, *sizes: Any) -> None:
        super().__init__(*sizes)
        # wrong: self.register_buffer(...)
        self.shift = torch.randn(self.latent_dim, dtype=torch.float64)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_var = super().encode(x)
        return mean + self.shift.to(x), log_var


@mutant("vae", rejected_by=["vae.state_dict_round_trips"])
def encoder_with_a_plain_tensor(config: VAEConfig) -> Any:
    """A tensor that is neither parameter nor buffer is missing from the checkpoint."""
    return _built(config, LosesState)  # wrong: a registered buffer


class Sampler(Mutable):
    """The sampler in steps."""

    prior_scale, share, observed, own_generator = 1.0, False, True, True

    def codes(self, n: int, generator: torch.Generator | None) -> Tensor:
        weight = self.decoder.get_parameter("0.weight")
        return self.prior_scale * weight.new_empty(n, self.latent_dim).normal_(generator=generator)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        source = generator if self.own_generator else None
        z = self.codes(n, generator)
        out = self.decoder(z[:1].expand_as(z) if self.share else z)
        if self.likelihood == "bernoulli":
            p = out.sigmoid()
            return torch.bernoulli(p, generator=source) if self.observed else p.round()
        mean, log_var = out.chunk(2, -1)
        noise = torch.empty_like(mean).normal_(generator=source)
        return mean + (0.5 * log_var).exp() * noise if self.observed else mean


class Noiseless(Sampler):
    observed = False  # wrong: True


@mutant("vae", rejected_by=["vae.sample_matches_density"])
def sample_without_observation_noise(config: VAEConfig) -> Any:
    """The decoder's mean is shown as a sample: smooth pictures that the model never generates."""
    return _built(config, Noiseless)  # wrong: observed = True


class Probabilities(Sampler):
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        if self.likelihood == "gaussian":
            return super().sample(n, generator)
        z = self.decoder.get_parameter("0.weight").new_empty(n, self.latent_dim)
        # wrong: torch.bernoulli(...) of these
        return self.decoder(z.normal_(generator=generator)).sigmoid()


@mutant("vae", rejected_by=["vae.sample_matches_density"])
def sample_of_grey_probabilities(config: VAEConfig) -> Any:
    """Binary data are sampled as probabilities: grey, which the model gives no mass."""
    return _built(config, Probabilities)  # wrong: bernoulli(probabilities)


class WidePrior(Sampler):
    prior_scale = 2.0  # wrong: 1.0


@mutant("vae", rejected_by=["vae.sample_matches_density"])
def sample_from_a_wider_prior(config: VAEConfig) -> Any:
    """Codes are drawn with another scale than the divergence knows as the prior's."""
    return _built(config, WidePrior)  # wrong: prior_scale = 1.0


class SharedCode(Sampler):
    share = True  # wrong: False


@mutant("vae", rejected_by=["vae.sample_matches_density"])
def sample_of_one_code(config: VAEConfig) -> Any:
    """One code is drawn for the whole batch, whose items differ by observation noise alone."""
    return _built(config, SharedCode)  # wrong: share = False


class SharedByNeighbours(Sampler):
    def codes(self, n: int, generator: torch.Generator | None) -> Tensor:
        # wrong: super().codes(n, generator)
        return super().codes((n + 1) // 2, generator).repeat_interleave(2, 0)[:n]


@mutant("vae", rejected_by=["vae.samples_are_independent"])
def sample_of_one_code_for_two(config: VAEConfig) -> Any:
    """Two neighbours share a code and have noise of their own: every frequency is right."""
    return _built(config, SharedByNeighbours)  # wrong: a code for each


class Doubled(Sampler):
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        half = super().sample((n + 1) // 2, generator)
        return torch.cat([half, half])[:n]  # wrong: n draws


@mutant("vae", rejected_by=["vae.samples_are_independent"])
def sample_that_doubles_a_half_batch(config: VAEConfig) -> Any:
    """Half of the batch is drawn and shown twice."""
    return _built(config, Doubled)  # wrong: n draws


class OddPlaceCopied(Sampler):
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        even = super().sample(n - n % 2 if n > 1 else n, generator)
        return torch.cat([even, even[: n - len(even)]])  # wrong: one more draw


@mutant("vae", rejected_by=["vae.samples_are_independent"])
def sample_that_copies_into_the_odd_place(config: VAEConfig) -> Any:
    """The sampler works in pairs, and the last of an odd number of samples is the first again."""
    return _built(config, OddPlaceCopied)  # wrong: n draws


class OddCoinsCopied(OddPlaceCopied):
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        if self.likelihood == "gaussian":
            return Sampler.sample(self, n, generator)
        return super().sample(n, generator)  # wrong: Sampler.sample here too


@mutant("vae", rejected_by=["vae.samples_are_independent"])
def sample_that_copies_binary_data_into_the_odd_place(config: VAEConfig) -> Any:
    """The same with binary data alone, of which two samples may well be equal."""
    return _built(config, OddCoinsCopied)  # wrong: n draws


class GlobalNoise(Sampler):
    own_generator = False  # wrong: True


@mutant("vae", rejected_by=["vae.sample_uses_its_generator"])
def sample_with_global_observation_noise(config: VAEConfig) -> Any:
    """The code comes from the generator, the observation noise from torch's own: no repeats."""
    return _built(config, GlobalNoise)  # wrong: own_generator = True


class Reseeded(Sampler):
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        fresh = torch.Generator(self.decoder.get_parameter("0.weight").device)
        seed = 0 if generator is None else generator.initial_seed()
        return super().sample(n, fresh.manual_seed(seed))  # wrong: generator, not a fresh one


@mutant("vae", rejected_by=["vae.sample_uses_its_generator"])
def sample_from_a_copy_of_its_generator(config: VAEConfig) -> Any:
    """The generator's seed is used and its state is not advanced: every batch is the same."""
    return _built(config, Reseeded)  # wrong: the generator itself


# theory ----------------------------------------------------------------------------------------------


def _replaced(pieces: Any, **replacements: Any) -> Any:
    for name, piece in replacements.items():
        setattr(pieces, name, piece)
    return pieces


@mutant("theory", rejected_by=["theory.jensen", "theory.marginal_monte_carlo_unbiased"])
def evidence_as_a_mean_of_logs(pieces: Any) -> Any:
    """log p(x|z) is averaged in place of p(x|z): more draws then never come closer to log p(x)."""

    def estimate(log_likelihood: Any, x: Tensor, z: Tensor) -> Tensor:
        # wrong: .logsumexp(0) - log S
        return torch.stack([log_likelihood(x, draw) for draw in z]).mean(0)

    return _replaced(pieces, log_marginal_likelihood=estimate)


@mutant("theory", rejected_by=["theory.jensen", "theory.marginal_monte_carlo_unbiased"])
def evidence_as_a_sum_over_draws(pieces: Any) -> Any:
    """The sum over draws is never divided by their number, and exceeds log p(x) by log S."""

    def estimate(log_likelihood: Any, x: Tensor, z: Tensor) -> Tensor:
        # wrong: less log S
        return torch.stack([log_likelihood(x, draw) for draw in z]).logsumexp(0)

    return _replaced(pieces, log_marginal_likelihood=estimate)


@mutant("theory", rejected_by=["theory.linear_gaussian_posterior_is_bayes"])
def posterior_without_its_prior(pieces: Any) -> Any:
    """The identity in Σ⁻¹ = I + Wᵀψ⁻¹W is forgotten: least squares, not a posterior."""

    def posterior(
        x: Tensor, weight: Tensor, bias: Tensor, log_var: Tensor
    ) -> tuple[Tensor, Tensor]:
        scaled = weight / log_var.exp()[:, None]
        # wrong: torch.eye(...)
        covariance = torch.linalg.inv(weight.T @ scaled + 1e-3 * torch.eye(weight.shape[1]).to(x))
        return (x - bias) @ scaled @ covariance, covariance

    return _replaced(pieces, linear_gaussian_posterior=posterior)


@mutant(
    "theory",
    rejected_by=[
        "theory.linear_gaussian_posterior_is_bayes",
        "theory.marginal_monte_carlo_unbiased",
    ],
)
def evidence_without_the_spread_of_codes(pieces: Any) -> Any:
    """The marginal's covariance is taken to be the noise alone: W Wᵀ is missing."""

    def evidence(x: Tensor, weight: Tensor, bias: Tensor, log_var: Tensor) -> Tensor:
        return _log_density(x, bias, log_var).sum(-1)  # wrong: covariance W Wᵀ + ψ

    return _replaced(pieces, linear_gaussian_log_evidence=evidence)


class LooseLinear(LinearGaussianVAE):
    def elbo(self, x: Tensor, noise: Tensor) -> Tensor:
        mean, log_var = self.encode(x)
        return super().elbo(x, noise) - _kl(mean, log_var).sum(-1)  # wrong: no last term


@mutant("theory", rejected_by=["theory.tight_at_the_posterior", "theory.linear_vae_is_ppca"])
def linear_bound_with_a_doubled_divergence(pieces: Any) -> Any:
    """Twice the divergence leaves a gap at the posterior, and another optimum than PCA's."""
    return _replaced(pieces, LinearGaussianVAE=LooseLinear)  # wrong: elbo as it was


class UnitNoiseLinear(LinearGaussianVAE):
    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        # wrong: self.noise_log_var
        return _log_density(x, self.decoder(z), 0 * self.noise_log_var).sum(-1)


@mutant("theory", rejected_by=["theory.linear_vae_is_ppca", "theory.tight_at_the_posterior"])
def linear_model_that_ignores_its_noise(pieces: Any) -> Any:
    """The learned noise variance never enters the likelihood, which stays a squared error."""
    return _replaced(pieces, LinearGaussianVAE=UnitNoiseLinear)  # wrong: the learned noise


@mutant("theory", rejected_by=["theory.elbo_estimators_agree", "theory.tight_at_the_posterior"])
def sampled_bound_without_its_entropy(pieces: Any) -> Any:
    """log q(z|x) is left out of the sampled bound: the posterior may collapse to a point for free."""
    return _replaced(
        pieces,
        # wrong: (likelihood + prior - posterior)
        elbo_sampled=lambda likelihood, prior, posterior: (likelihood + prior).mean(0),
    )


@mutant("theory", rejected_by=["theory.elbo_estimators_agree"])
def analytic_bound_plus_divergence(pieces: Any) -> Any:
    """A sign: the divergence is added."""
    # wrong: - kl
    return _replaced(pieces, elbo_analytic=lambda likelihood, kl: likelihood.mean(0) + kl)


@mutant("theory", rejected_by=["theory.minibatch_objective_unbiased"])
def minibatch_objective_not_rescaled(pieces: Any) -> Any:
    """The sum over the minibatch is not rescaled, so a prior on parameters would outweigh the data."""
    # wrong: times N / M
    return _replaced(pieces, minibatch_objective=lambda elbo, dataset_size: elbo.sum())


class LeftInEval(Sampler):
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        self.eval()  # wrong: leave the mode alone, or restore it
        return super().sample(n, generator)


@mutant("vae", rejected_by=["vae.leaves_global_state_alone"])
def sample_that_stays_in_eval_mode(config: VAEConfig) -> Any:
    """Sampling turns the model to eval and never back: the rest of the epoch trains without dropout."""
    return _built(config, LeftInEval)  # wrong: leave the mode alone
