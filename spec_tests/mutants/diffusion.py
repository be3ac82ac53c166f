r"""Classic mistakes in diffusion schedules: shares and their roots, indices off by one, lost betas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from reference.energy import DiffusionSchedule, cosine_alpha_bar, linear_alpha_bar
from spec_tests.contracts.diffusion import DiffusionScheduleConfig
from spec_tests.registry import mutant

_GROWS, _SHARE = "diffusion_schedule.noise_grows", "diffusion_schedule.preserves_variance"
_COMPOSE, _BAYES = "diffusion_schedule.marginals_compose", "diffusion_schedule.posterior_is_bayes"
_FIRST, _ITEMS = "diffusion_schedule.first_step_returns_the_data", "diffusion_schedule.item_by_item"
Config = DiffusionScheduleConfig


def _wide(values: Tensor, x: Tensor) -> Tensor:
    return values.to(x.dtype).view(-1, *(1,) * (x.dim() - 1))


def _built(config: Config, **members: Callable[..., Any]) -> Any:
    """The reference with some members replaced by functions of (schedule, ...)."""
    schedule = DiffusionSchedule(linear_alpha_bar(config.steps))
    for name, member in members.items():
        object.__setattr__(schedule, name, member.__get__(schedule))
    return schedule


def _posterior(
    alpha_bar: Tensor, before: Tensor, x0: Tensor, xt: Tensor, t: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The two means' coefficients, the step's noise and the posterior variance."""
    now, before = _wide(alpha_bar[t], x0), _wide(before, x0)
    alpha = now / before
    beta = 1 - alpha
    of_data = before.sqrt() * beta / (1 - now)
    of_noisy = alpha.sqrt() * (1 - before) / (1 - now)
    return of_data, of_noisy, beta.expand_as(x0), (beta * (1 - before) / (1 - now)).expand_as(x0)


def _before(alpha_bar: Tensor, t: Tensor) -> Tensor:
    return torch.where(t > 0, alpha_bar[(t - 1).clamp_min(0)], 1.0)


@mutant("diffusion_schedule", rejected_by=[_GROWS])
def steps_without_a_product(config: Config) -> Any:
    """The factors of the single steps, not their running product: late steps are nearly clean."""
    beta = torch.linspace(0.3, 0.1, config.steps, dtype=torch.float64)
    return DiffusionSchedule(1 - beta)  # wrong: (1 - beta).cumprod(0)


@mutant("diffusion_schedule", rejected_by=[_GROWS])
def schedule_back_to_front(config: Config) -> Any:
    """Flipped for sampling and handed out like that: step 0 is the noisiest."""
    return DiffusionSchedule(linear_alpha_bar(config.steps).flip(0))  # wrong: no flip


@mutant("diffusion_schedule", rejected_by=[_GROWS])
def schedule_that_begins_with_the_clean_data(config: Config) -> Any:
    """A leading 1 is kept, so that step 0 adds nothing and the last step is never reached."""
    left = linear_alpha_bar(config.steps)
    return DiffusionSchedule(torch.cat([torch.ones(1, dtype=left.dtype), left[:-1]]))  # wrong: left


@mutant("diffusion_schedule", rejected_by=[_GROWS])
def schedule_one_step_too_long(config: Config) -> Any:
    """The leading 1 is kept and so is the last step: T + 1 entries, every index one late."""
    left = linear_alpha_bar(config.steps)
    return DiffusionSchedule(torch.cat([torch.ones(1, dtype=left.dtype), left]))  # wrong: left


@mutant("diffusion_schedule", rejected_by=[_SHARE, _COMPOSE])
def mean_without_the_root(config: Config) -> Any:
    """The share itself scales the mean: the signal's variance falls with its square."""

    def q(s: DiffusionSchedule, x0: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        left = _wide(s.alpha_bar[t], x0)
        return left * x0, (1 - left).expand_as(x0)  # wrong: left.sqrt()

    return _built(config, q_mean_variance=q)


@mutant("diffusion_schedule", rejected_by=[_SHARE, _COMPOSE])
def deviation_for_variance(config: Config) -> Any:
    """The root that sampling needs is returned where the variance is asked for."""

    def q(s: DiffusionSchedule, x0: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        left = _wide(s.alpha_bar[t], x0)
        return left.sqrt() * x0, (1 - left).sqrt().expand_as(x0)  # wrong: 1 - left

    return _built(config, q_mean_variance=q)


@mutant("diffusion_schedule", rejected_by=[_COMPOSE, _SHARE])
def noise_of_the_last_step_alone(config: Config) -> Any:
    """The variance of one step, as if the earlier noise had been taken away again."""

    def q(s: DiffusionSchedule, x0: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        left = s.alpha_bar[t]
        beta = 1 - left / _before(s.alpha_bar, t)  # wrong: 1 - left
        return _wide(left.sqrt(), x0) * x0, _wide(beta, x0).expand_as(x0)

    return _built(config, q_mean_variance=q)


@mutant("diffusion_schedule", rejected_by=[_ITEMS, _SHARE])
def one_step_for_the_whole_batch(config: Config) -> Any:
    """The first item's step is used for all: training sees one noise level a batch."""

    def q(s: DiffusionSchedule, x0: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        left = s.alpha_bar[t[0]].to(x0.dtype)  # wrong: alpha_bar[t]
        return left.sqrt() * x0, (1 - left).expand_as(x0)

    return _built(config, q_mean_variance=q)


@mutant("diffusion_schedule", rejected_by=[_BAYES])
def posterior_with_the_steps_own_noise(config: Config) -> Any:
    """beta itself for the posterior variance: the larger of the paper's two choices for the model is
    not what Bayes' rule says of the data."""

    def back(s: DiffusionSchedule, x0: Tensor, xt: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        a, b, beta, _ = _posterior(s.alpha_bar, _before(s.alpha_bar, t), x0, xt, t)
        variance = torch.where(_wide(t, x0) > 0, beta, 0.0)  # wrong: the posterior's
        return a * x0 + b * xt, variance

    return _built(config, posterior_mean_variance=back)


@mutant("diffusion_schedule", rejected_by=[_BAYES])
def posterior_with_swapped_coefficients(config: Config) -> Any:
    """The weights of the data and of the noisy point change places."""

    def back(s: DiffusionSchedule, x0: Tensor, xt: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        a, b, _, variance = _posterior(s.alpha_bar, _before(s.alpha_bar, t), x0, xt, t)
        mean = b * x0 + a * xt  # wrong: a * x0 + b * xt
        return torch.where(_wide(t, x0) > 0, mean, x0), variance

    return _built(config, posterior_mean_variance=back)


@mutant("diffusion_schedule", rejected_by=[_BAYES])
def posterior_with_the_share_where_the_factor_is_meant(config: Config) -> Any:
    """alpha-bar for alpha under the root of the noisy point's weight: two letters, one bar."""

    def back(s: DiffusionSchedule, x0: Tensor, xt: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        before = _before(s.alpha_bar, t)
        a, b, _, variance = _posterior(s.alpha_bar, before, x0, xt, t)
        return a * x0 + b * _wide(before, x0).sqrt() * xt, variance  # wrong: b * xt

    return _built(config, posterior_mean_variance=back)


@mutant("diffusion_schedule", rejected_by=[_FIRST])
def what_precedes_the_first_step_wraps_round(config: Config) -> Any:
    """alpha_bar[t - 1] at t = 0 is alpha_bar[-1], the last: data are taken back to noise."""

    def back(s: DiffusionSchedule, x0: Tensor, xt: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        a, b, _, variance = _posterior(s.alpha_bar, s.alpha_bar[t - 1], x0, xt, t)  # wrong: _before
        return a * x0 + b * xt, variance

    return _built(config, posterior_mean_variance=back)


@mutant("diffusion_schedule", rejected_by=[_FIRST])
def variance_of_the_first_step_clipped(config: Config) -> Any:
    """The sampler's trick against log 0, step 1's variance at step 0, sits in the posterior itself."""

    def back(s: DiffusionSchedule, x0: Tensor, xt: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        a, b, _, variance = _posterior(s.alpha_bar, _before(s.alpha_bar, t), x0, xt, t)
        one = torch.ones_like(t)
        *_, second = _posterior(s.alpha_bar, _before(s.alpha_bar, one), x0, xt, one)
        return a * x0 + b * xt, torch.where(_wide(t, x0) > 0, variance, second)  # wrong: variance

    return _built(config, posterior_mean_variance=back)


@mutant("diffusion_schedule", rejected_by=[_BAYES])
def posterior_of_the_step_after(config: Config) -> Any:
    """Steps are numbered from 1 in the paper and from 0 here: the posterior is one step late."""

    def back(s: DiffusionSchedule, x0: Tensor, xt: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        later = (t + 1).clamp_max(len(s.alpha_bar) - 1)  # wrong: t
        a, b, _, variance = _posterior(s.alpha_bar, _before(s.alpha_bar, later), x0, xt, later)
        first = _wide(t, x0) == 0
        return torch.where(first, x0, a * x0 + b * xt), torch.where(first, 0.0, variance)

    return _built(config, posterior_mean_variance=back)


@mutant("diffusion_schedule", rejected_by=[_BAYES])
def log_variance_for_variance(config: Config) -> Any:
    """The logarithm that the loss wants is returned as the variance (clipped where it is zero)."""

    def back(s: DiffusionSchedule, x0: Tensor, xt: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        a, b, _, variance = _posterior(s.alpha_bar, _before(s.alpha_bar, t), x0, xt, t)
        logarithm = variance.clamp_min(1e-20).log()
        return a * x0 + b * xt, torch.where(_wide(t, x0) > 0, logarithm, 0.0)  # wrong: variance

    return _built(config, posterior_mean_variance=back)


@mutant("diffusion_schedule", rejected_by=["diffusion_schedule.gradient_is_derivative"])
def posterior_of_a_detached_estimate(config: Config) -> Any:
    """The estimate of the data is detached: a loss on the posterior's mean trains nothing."""
    return _built(
        config,
        posterior_mean_variance=lambda s, x0, xt, t: DiffusionSchedule.posterior_mean_variance(
            s,
            x0.detach(),  # wrong: x0
            xt,
            t,
        ),
    )


@mutant("diffusion_schedule", rejected_by=["diffusion_schedule.follows_its_inputs_device"])
def shares_in_a_plain_attribute(config: Config) -> Any:
    """The schedule is no buffer, and stays on the CPU when the module moves."""

    class Plain(DiffusionSchedule):
        def __init__(self, alpha_bar: Tensor) -> None:
            torch.nn.Module.__init__(self)
            self.alpha_bar = alpha_bar  # wrong: register_buffer

    return Plain(cosine_alpha_bar(config.steps))


@mutant("diffusion_schedule", rejected_by=["diffusion_schedule.leaves_inputs_alone"])
def noises_in_place(config: Config) -> Any:
    """The data are scaled in place to save memory: the next epoch trains on what is left of them."""
    return _built(
        config,
        q_mean_variance=lambda s, x0, t: (
            x0.detach().mul_(_wide(s.alpha_bar[t].sqrt(), x0)),  # wrong: a new tensor
            _wide(1 - s.alpha_bar[t], x0).expand_as(x0),
        ),
    )


# Theory ------------------------------------------------------------------------------------------

_ELBO, _CHAIN = "theory.diffusion_elbo", "theory.diffusion_chain_returns"


@mutant("theory", rejected_by=[_ELBO])
def bound_without_its_noisy_end(pieces: Any) -> Any:
    """The term of the last step has no parameters and is dropped: the number is no bound."""
    right, divergence = pieces.diffusion_elbo, pieces.gaussian_divergence

    def bound(alpha_bar: Tensor, denoiser: Any, x0: Tensor, noise: Tensor) -> Tensor:
        end = alpha_bar[-1].sqrt() * x0, (1 - alpha_bar[-1]).expand_as(x0)
        missing = divergence(*end, torch.zeros_like(x0), torch.ones_like(x0))
        return right(alpha_bar, denoiser, x0, noise) + missing  # wrong: right alone

    pieces.diffusion_elbo = bound
    return pieces


@mutant("theory", rejected_by=[_ELBO])
def bound_averaged_over_the_steps(pieces: Any) -> Any:
    """One divergence a step, averaged where the bound adds: good as a loss, no log-likelihood."""
    right = pieces.diffusion_elbo

    def bound(alpha_bar: Tensor, denoiser: Any, x0: Tensor, noise: Tensor) -> Tensor:
        return right(alpha_bar, denoiser, x0, noise) / len(alpha_bar)  # wrong: no division

    pieces.diffusion_elbo = bound
    return pieces


@mutant("theory", rejected_by=[_ELBO])
def bound_with_divergences_the_other_way_round(pieces: Any) -> Any:
    """The model's step back is compared with the posterior in the order that no bound has."""
    import reference.energy.diffusion_bound as module

    right, divergence = pieces.diffusion_elbo, pieces.gaussian_divergence

    def swapped(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
        return divergence(c, d, a, b)  # wrong: (a, b, c, d)

    def bound(*arguments: Any) -> Tensor:
        module.gaussian_divergence = swapped
        try:
            return right(*arguments)
        finally:
            module.gaussian_divergence = divergence

    pieces.diffusion_elbo = bound
    return pieces


@mutant("theory", rejected_by=[_CHAIN])
def chain_without_fresh_noise(pieces: Any) -> Any:
    """Only the start is random: every step back goes to the mean, and samples crowd together."""
    right = pieces.diffusion_sample

    def draw(steps: int, denoiser: Any, noise: Tensor) -> Tensor:
        only_first = torch.cat([noise[:1], torch.zeros_like(noise[1:])])
        return right(steps, denoiser, only_first)  # wrong: noise

    pieces.diffusion_sample = draw
    return pieces


@mutant("theory", rejected_by=[_CHAIN])
def chain_run_forwards(pieces: Any) -> Any:
    """The loop over steps counts up: the first step back from pure noise is the finest one."""
    right = pieces.diffusion_sample

    def draw(steps: int, denoiser: Any, noise: Tensor) -> Tensor:
        return right(steps, lambda x, t: denoiser(x, steps - 1 - t), noise)  # wrong: t

    pieces.diffusion_sample = draw
    return pieces


@mutant("theory", rejected_by=[_CHAIN])
def chain_scaled_by_the_variance(pieces: Any) -> Any:
    """The noise is multiplied by the variance where its root is meant."""
    right = pieces.diffusion_sample

    def draw(steps: int, denoiser: Any, noise: Tensor) -> Tensor:
        def squared(x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
            mean, variance = denoiser(x, t)
            return mean, variance.square()  # wrong: variance

        return right(steps, squared, noise)

    pieces.diffusion_sample = draw
    return pieces
