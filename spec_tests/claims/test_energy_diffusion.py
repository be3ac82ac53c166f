r"""Diffusion: Gaussian steps compose, Bayes' rule takes one back, the bound is tight for Gaussians."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spec_tests import check
from spec_tests.contracts.diffusion import (
    STRATA,
    DiffusionScheduleConfig,
    alpha_bar,
    drawn_inputs,
    posterior_mean_variance,
    q_mean_variance,
)
from spec_tests.handle import Built, Handle
from spec_tests.judge import stratified
from spec_tests.quadrature import hermite_line
from spec_tests.registry import claim
from spec_tests.strategies import positives, reals
from spec_tests.tolerance import eps, guarded, rounding

DDPM = "Ho, Jain, Abbeel 2020, 'Denoising Diffusion Probabilistic Models'"
DEEP = (
    "Sohl-Dickstein et al. 2015, 'Deep Unsupervised Learning using Nonequilibrium Thermodynamics'"
)
LECTURE = "CS182 2020 L16, table of bits per dimension, 'Deep Diffusion'"


def _cases() -> st.SearchStrategy[tuple[DiffusionScheduleConfig, dict[str, Tensor]]]:
    def pair(configs: st.SearchStrategy[DiffusionScheduleConfig]) -> st.SearchStrategy:
        return configs.flatmap(lambda config: st.tuples(st.just(config), drawn_inputs(config)))

    return stratified([pair(configs) for configs in STRATA])


CASES = _cases()


def _resolution(left: Tensor) -> float:
    """How finely a schedule is known: constants that were stored in single precision say less."""
    single = bool((left.float().double() == left).all())
    return eps(torch.float32 if single else torch.float64)


def _judged_schedule(model: Built) -> Tensor:
    """alpha_bar of a subject, where it is a schedule at all."""
    left = alpha_bar(model)
    check.that(
        bool(((left >= 0) & (left < 1)).all()),
        f"alpha_bar lies in [{left.min():.6g}, {left.max():.6g}], not within [0, 1)",
    )
    return left


@claim(
    "diffusion_schedule.noise_grows",
    r"1 > \bar\alpha_0 > \bar\alpha_1 > \dots > \bar\alpha_{T-1} \ge 0",
    sources=[f"{DDPM}, section 2", f"{DEEP}, section 2.1"],
    why="""Each step multiplies the signal that is left by a factor below one and adds noise. A share
    that rises, or a list of the steps' own factors, is no chain; a share of one would be a step that
    does nothing, which cannot be taken back.""",
    effort=0.3,
)
@given(config=stratified(list(STRATA)))
def test_the_share_of_signal_falls(
    subject: Handle, device: str, dtype: torch.dtype, config: DiffusionScheduleConfig
) -> None:
    left = _judged_schedule(subject.build(config))
    rises = (left[1:] >= left[:-1]).nonzero()
    if len(rises):
        t = int(rises[0])
        raise check.Violation(
            f"alpha_bar does not fall from step {t} ({left[t]:.6g}) to step {t + 1} "
            f"({left[t + 1]:.6g})"
        )


@claim(
    "diffusion_schedule.preserves_variance",
    r"q(x_t \mid x_0) = \mathcal N\bigl(\sqrt{\bar\alpha_t}\, x_0, (1 - \bar\alpha_t) I\bigr)",
    sources=[f"{DDPM}, equation 4"],
    why="""If the data have unit variance, so has every x_t: what the signal loses the noise brings.
    The mean is scaled by the root of the share, the variance is the rest of it, for each item at the
    step of its own.""",
)
@given(case=CASES)
def test_mean_and_variance_share_what_is_left(
    subject: Handle,
    device: str,
    dtype: torch.dtype,
    case: tuple[DiffusionScheduleConfig, dict[str, Tensor]],
) -> None:
    config, drawn = case
    model = subject.build(config)
    left = _judged_schedule(model)[drawn["t"].cpu()].view(-1, *(1,) * (drawn["x0"].dim() - 1))
    mean, variance = q_mean_variance(model, drawn["x0"], drawn["t"])
    x0 = drawn["x0"].cpu().double()
    known = _resolution(left) / left.sqrt().clamp_min(1e-3)
    allowed = guarded(subject.dtype, scale=1.0) + 4 * known * x0.abs()
    check.close(mean, left.sqrt() * x0, allowed, "the mean of q_mean_variance")
    bound = guarded(subject.dtype) + 4 * _resolution(left)
    check.close(variance, (1 - left).expand_as(x0), bound, "the variance of q_mean_variance")


@claim(
    "diffusion_schedule.marginals_compose",
    r"q(x_t \mid x_0) = \int q(x_t \mid x_{t-1})\, q(x_{t-1} \mid x_0)\, dx_{t-1}, \qquad "
    r"\alpha_t = \bar\alpha_t / \bar\alpha_{t-1}",
    sources=[f"{DDPM}, equations 2 and 4"],
    why="""Two Gaussian steps are one: the means multiply, and the noise of the first is scaled by the
    second before its own is added. Asked at two neighbouring steps, the members must say so of each
    other.""",
)
@given(config=stratified(list(STRATA)), x0=reals((1, 3)))
def test_a_step_after_the_others_is_one_step_more(
    subject: Handle, device: str, dtype: torch.dtype, config: DiffusionScheduleConfig, x0: Tensor
) -> None:
    model = subject.build(config)
    left = _judged_schedule(model)
    steps = torch.arange(config.steps, device=x0.device)
    mean, variance = (
        part.detach().cpu().double()
        for part in q_mean_variance(model, x0.expand(config.steps, 3), steps)
    )
    alpha = (left[1:] / left[:-1].clamp_min(1e-300))[:, None]
    known = 8 * _resolution(left) / left[:-1].clamp_min(1e-3)[:, None]
    allowed = guarded(subject.dtype) + known * (1 + x0.abs().max())
    for t in range(1, config.steps):
        a = alpha[t - 1]
        check.close(
            mean[t], a.sqrt() * mean[t - 1], allowed[t - 1],
            f"the mean at step {t}, against a step from the mean at step {t - 1},",
        )  # fmt: skip
        check.close(
            variance[t], a * variance[t - 1] + 1 - a, allowed[t - 1],
            f"the variance at step {t}, against a step from the variance at step {t - 1},",
        )  # fmt: skip


@claim(
    "diffusion_schedule.posterior_is_bayes",
    r"q(x_{t-1} \mid x_t, x_0) \propto q(x_t \mid x_{t-1})\, q(x_{t-1} \mid x_0)",
    sources=[f"{DDPM}, equations 6 and 7"],
    why="""Two Gaussian messages about one variable: what the data say of x_{t-1}, and what x_t says.
    Precisions add, and the mean is the average weighted by them. Here it is computed in that form from
    alpha_bar alone; the papers' form, with the two messages over a common denominator, must agree.""",
)
@given(case=CASES)
def test_the_step_back_is_the_product_of_two_gaussians(
    subject: Handle,
    device: str,
    dtype: torch.dtype,
    case: tuple[DiffusionScheduleConfig, dict[str, Tensor]],
) -> None:
    config, drawn = case
    t = drawn["t"].clamp_min(1)
    model = subject.build(config)
    left = _judged_schedule(model)
    found = posterior_mean_variance(model, drawn["x0"], drawn["xt"], t)
    shape = (-1, *(1,) * (drawn["x0"].dim() - 1))
    x0, xt = (drawn[name].cpu().double() for name in ("x0", "xt"))
    now, before = left[t.cpu()].view(shape), left[t.cpu() - 1].view(shape)
    exact = _combined(now, before, x0, xt)
    moved = [
        _combined(now * (1 + a * known), before * (1 + b * known), x0, xt)
        for known in [_resolution(left)]
        for a, b in ((1, 0), (-1, 0), (0, 1), (0, -1))
    ]
    for part, name in enumerate(("mean", "variance")):
        spread = sum((m[part] - exact[part]).abs() for m in moved)
        size = float(exact[part].abs().max())
        check.close(
            found[part],
            exact[part].expand_as(x0),
            guarded(subject.dtype, scale=size) + 4 * spread,
            f"the {name} of posterior_mean_variance",
        )


def _combined(now: Tensor, before: Tensor, x0: Tensor, xt: Tensor) -> tuple[Tensor, Tensor]:
    """The product of N(x; sqrt(before) x0, 1 - before) and N(xt; sqrt(alpha) x, 1 - alpha)."""
    alpha = (now.clamp_min(0) / before).clamp_max(1 - 1e-15)
    first, second = 1 / (1 - before), alpha / (1 - alpha)
    variance = 1 / (first + second)
    pull = alpha.sqrt() / (1 - alpha) * xt
    return variance * (first * before.sqrt() * x0 + pull), variance


@claim(
    "diffusion_schedule.first_step_returns_the_data",
    r"q(x_{t-1} \mid x_t, x_0)\big|_{t = 0} = \delta(x_0)",
    sources=[f"{DDPM}, equation 7 with ᾱ = 1 before the first step"],
    why="""Before the first step lies the data point, which is known: whatever it was turned into, the
    mean is x0 and nothing is uncertain. A product that starts one step late, or an index of -1 that
    wraps round to the noisy end, shows here.""",
    effort=0.5,
)
@given(config=stratified(list(STRATA)), x0=reals((2, 3)), xt=reals((2, 3)))
def test_before_the_first_step_is_the_data(
    subject: Handle,
    device: str,
    dtype: torch.dtype,
    config: DiffusionScheduleConfig,
    x0: Tensor,
    xt: Tensor,
) -> None:
    model = subject.build(config)
    left = _judged_schedule(model)
    t = torch.zeros(2, dtype=torch.long, device=x0.device)
    mean, variance = posterior_mean_variance(model, x0, xt, t)
    known = 8 * _resolution(left) / float(1 - left[0])
    allowed = guarded(subject.dtype, scale=3.0) + known * 3
    check.close(mean, x0, allowed, "the posterior mean at step 0")
    check.close(variance, torch.zeros(2, 3), allowed, "the posterior variance at step 0")


# Theory: data that are Gaussian -------------------------------------------------------------------


def _reverse(left: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The exact steps back for data N(mean, variance): x_{t-1} | x_t ~ N(gain x_t + shift, spread)."""
    padded = torch.cat([torch.ones(1, dtype=left.dtype), left])
    before, now = padded[:-1, None], padded[1:, None]
    alpha = now / before
    prior_mean, prior = before.sqrt() * mean, before * variance + 1 - before
    gain = alpha.sqrt() * prior / (alpha * prior + 1 - alpha)
    shift = prior_mean - gain * alpha.sqrt() * prior_mean
    return gain, shift, prior - gain * alpha.sqrt() * prior


@claim(
    "theory.diffusion_elbo",
    r"\mathbb E_{q}\,[\text{bound}(x_0)] \le \log p(x_0), \qquad "
    r"\mathbb E_{q(x_0)}\text{bound} = -H(x_0) - D_{\mathrm{KL}}\bigl(q(x_T) \,\|\, \mathcal N(0, I)\bigr)",
    sources=[f"{DDPM}, equation 5", f"{DEEP}, section 2.4", LECTURE],
    why="""A diffusion model is a latent variable model whose latent is the whole chain. With Gaussian
    data and the steps back that Bayes' rule gives for them, the chain's own density is Gaussian and
    known, and the bound, averaged over the noise, stays below it for every point, and for steps that
    are off as well. Averaged over the data it is short of the negative entropy by one thing only: that
    the noisy end is not quite standard normal.""",
    effort=0.3,
)
@given(
    steps=st.sampled_from([1, 2, 5]),
    mean=reals((1,), -1.0, 1.0),
    variance=positives((1,), 0.3, 2.0),
    point=reals((1, 1), -2.0, 2.0),
    wrong=reals((1,), -0.5, 0.5),
)
def test_the_bound_lies_below_the_log_density(
    subject: Handle,
    device: str,
    dtype: torch.dtype,
    steps: int,
    mean: Tensor,
    variance: Tensor,
    point: Tensor,
    wrong: Tensor,
) -> None:
    pieces = subject.pieces().raw
    mean, variance, point, wrong = (part.double() for part in (mean, variance, point, wrong))
    left = pieces.cosine_alpha_bar(steps).clamp_min(1e-4)
    gain, shift, spread = _reverse(left, mean, variance)
    slack = rounding(torch.float64, length=64 * steps, scale=10.0)
    for off in (0 * wrong, wrong):
        back = (gain, shift + off, spread)
        check.at_most(
            _expected_bound(pieces, left, back, point),
            _log_normal(point, *_chain_density(*back)),
            slack,
            f"the bound averaged over noise (steps off by {float(off):.3g}), against log p,",
        )
    nodes, weights = hermite_line(3)
    averaged = sum(
        w * _expected_bound(pieces, left, (gain, shift, spread), (mean + variance.sqrt() * x)[None])
        for x, w in zip(nodes, weights, strict=True)
    )
    entropy = 0.5 * (2 * math.pi * math.e * variance).log()
    end_mean, end = left[-1].sqrt() * mean, left[-1] * variance + 1 - left[-1]
    short = 0.5 * (end + end_mean.square() - 1 - end.log())
    check.close(
        averaged, (-entropy - short).squeeze(), slack, "the bound averaged over the data as well"
    )


@claim(
    "theory.diffusion_chain_returns",
    r"x_T \sim \mathcal N(0, 1),\; x_{t-1} \sim p(x_{t-1} \mid x_t) \;\Rightarrow\; "
    r"x_0 \sim p(x_0)",
    sources=[f"{DDPM}, algorithm 2"],
    why="""Sampling is the chain run backwards, from the last step to the first, each with noise of its
    own. With affine steps x_0 is an affine function of all the noise: its coefficients, read off one
    unit of noise at a time, give the mean and variance of the draw, and they must be those of the
    chain's density.""",
    effort=0.3,
)
@given(
    steps=st.sampled_from([1, 2, 5]),
    mean=reals((1,), -1.0, 1.0),
    variance=positives((1,), 0.3, 2.0),
)
def test_the_chain_run_backwards_draws_from_its_density(
    subject: Handle, device: str, dtype: torch.dtype, steps: int, mean: Tensor, variance: Tensor
) -> None:
    pieces = subject.pieces().raw
    left = pieces.cosine_alpha_bar(steps).clamp_min(1e-4)
    back = _reverse(left, mean.double(), variance.double())

    def draw(noise: Tensor) -> Tensor:
        found: Tensor = pieces.diffusion_sample(steps, _denoiser(back), noise)
        return found

    units = torch.cat(
        [torch.zeros(1, steps + 1), torch.eye(steps + 1)]
    ).double()  # (1 + T + 1, T + 1)
    drawn = draw(units.T[:, :, None])[:, 0]  # each column of noise is one item of the batch
    expected_mean, expected_variance = _chain_density(*back)
    slack = rounding(torch.float64, length=64 * steps, scale=10.0)
    check.close(drawn[:1], expected_mean, slack, "the draw without noise, against the mean of p,")
    spread = (drawn[1:] - drawn[0]).square().sum(0, keepdim=True)
    check.close(spread, expected_variance, slack, "the variance of the draw, against that of p,")


def _denoiser(back: tuple[Tensor, ...]) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The affine steps back as a model offers them."""
    gain, shift, spread = back
    return lambda x, t: (gain[t] * x + shift[t], spread[t].expand_as(x))


def _expected_bound(pieces: Any, left: Tensor, back: tuple[Tensor, ...], x0: Tensor) -> Tensor:
    """The bound averaged over the noise: each term is quadratic in the noise of its step alone."""
    denoiser = _denoiser(back)
    nodes, weights = hermite_line(3)  # exact for quadratics
    total = torch.zeros((), dtype=torch.float64)
    for node, weight in zip(nodes, weights, strict=True):
        noise = torch.full((len(left), 1, 1), float(node), dtype=torch.float64)
        total = total + weight * pieces.diffusion_elbo(left, denoiser, x0, noise)[0]
    return total


def _chain_density(gain: Tensor, shift: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of x_0 when the chain starts from N(0, 1) and steps back."""
    mean, variance = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    for t in reversed(range(len(gain))):
        mean = gain[t] * mean + shift[t]
        variance = gain[t] ** 2 * variance + spread[t]
    return mean, variance


def _log_normal(x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    return (-0.5 * ((x - mean).square() / variance + (2 * math.pi * variance).log())).squeeze()
