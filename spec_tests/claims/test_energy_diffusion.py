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
    why=r"""Step s keeps the share :math:`\alpha_s = 1 - \beta_s` of the signal's variance and adds
    noise of variance :math:`\beta_s`. The share that is left after step t is the product

    .. math::

        \bar\alpha_t = \prod_{s \le t} \alpha_s, \qquad 0 \le \alpha_s < 1,

    which starts below 1, falls strictly while anything is left, and stays at 0 or above. It is a
    condition of the contract: a share that rises would need noise of negative variance, and a list
    of the steps' own factors instead of their product does rise whenever the noise of a later step
    is smaller. A share of 1, or one repeated, would be a step that does nothing, and Bayes' rule
    for the way back would divide by 0.

    The numbers are read off ``alpha_bar`` and compared with their neighbours, strictly.""",
    assumptions={
        "every step adds noise": r"for :math:`\beta_t = 0` two neighbours are equal,"
        r" :math:`\bar\alpha_t = \bar\alpha_{t-1}`",
        "no step adds more than all": r"for :math:`\beta_t = 1.1` the factor is -0.1, and the"
        " root that scales the mean is not real",
    },
    sentence="share of signal falls from step to step",
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
    why=r"""By induction: if
    :math:`x_{t-1} = \sqrt{\bar\alpha_{t-1}}\, x_0 + \sqrt{1 - \bar\alpha_{t-1}}\, \epsilon`, and
    the step is :math:`x_t = \sqrt{\alpha_t}\, x_{t-1} + \sqrt{1 - \alpha_t}\, \epsilon_t` with
    fresh noise, the variances of the two noises add up to

    .. math::

        \alpha_t (1 - \bar\alpha_{t-1}) + 1 - \alpha_t = 1 - \alpha_t \bar\alpha_{t-1} = 1 -
        \bar\alpha_t.

    So data of unit variance keep it at every step, :math:`\bar\alpha_t + (1 - \bar\alpha_t) = 1`:
    what the signal loses the noise brings, and a network sees inputs of one size at all steps.

    The mean must be the root of the share times the data, the variance the rest of it, for each
    item at the step of its own; both are computed from ``alpha_bar``, which
    ``diffusion_schedule.noise_grows`` judges.""",
    assumptions={
        "noise is fresh at every step": r"one draw used for two steps with :math:`\beta = 1/2`"
        r" makes the variance :math:`(\tfrac12 + \sqrt{\tfrac12})^2 = 1.46`, where 3/4 is right",
        "the mean is scaled by the root": r"scaled by :math:`\bar\alpha_t` itself, data of unit"
        r" variance have :math:`\bar\alpha_t^2 + 1 - \bar\alpha_t`: 3/4 for :math:`\bar\alpha_t ="
        " 1/2`",
    },
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
    why=r"""Two Gaussian steps are one. If :math:`x_{t-1}` has the mean m and the variance v, then

    .. math::

        x_t = \sqrt{\alpha_t}\, x_{t-1} + \sqrt{1 - \alpha_t}\, \epsilon_t \sim \mathcal
        N\bigl(\sqrt{\alpha_t}\, m,\; \alpha_t v + 1 - \alpha_t\bigr):

    means multiply, and the noise of the first step is scaled by the second before its own is added.
    That is what lets training jump to any step at once, and it must be the place to which the
    single steps lead.

    The subject is asked at every two neighbouring steps, and the later answer compared with one
    step from the earlier, with :math:`\alpha_t` from ``alpha_bar``; no formula for the marginals is
    used. A schedule that was stored in single precision is known to that precision only, and the
    room grows where a small share divides.""",
    assumptions={
        "noise is fresh at every step": r"one draw used for two steps with :math:`\beta = 1/2`"
        " makes the variance 1.46, where 3/4 is right",
        "each step shrinks the signal": "noise of variance 1/2 that is added twice without"
        " shrinking makes the variance 1, where 3/4 is right",
    },
    sentence="composes: a step after the others is one step more",
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
    why=r"""Two Gaussian messages about one variable: what the data say of :math:`x_{t-1}`, and what
    :math:`x_t` says. Their product is Gaussian; the coefficients of :math:`x_{t-1}` in the exponent
    give precision and mean:

    .. math::

        \frac1{\tilde\beta_t} = \frac1{1 - \bar\alpha_{t-1}} + \frac{\alpha_t}{1 - \alpha_t}, \qquad
        \tilde\mu_t = \tilde\beta_t \Bigl( \frac{\sqrt{\bar\alpha_{t-1}}\, x_0}{1 -
        \bar\alpha_{t-1}} + \frac{\sqrt{\alpha_t}\, x_t}{1 - \alpha_t} \Bigr).

    Over the common denominator, as
    :math:`\alpha_t (1 - \bar\alpha_{t-1}) + 1 - \alpha_t = 1 - \bar\alpha_t`, the variance is the
    paper's :math:`\tilde\beta_t = (1 - \alpha_t)(1 - \bar\alpha_{t-1}) / (1 - \bar\alpha_t)`.

    The test computes the form with precisions from ``alpha_bar`` alone, from the second step on,
    and allows for the precision to which the schedule is known.""",
    assumptions={
        "the steps are a Markov chain": "other processes have the same law of :math:`x_t` given"
        " :math:`x_0` and another way back: that of DDIM (Song, Meng, Ermon 2021) may have"
        " variance 0",
        "there is a step before": r"at the first step :math:`\bar\alpha_{t-1} = 1`, and the"
        " message of the data has infinite precision:"
        " ``diffusion_schedule.first_step_returns_the_data``",
    },
    sentence="step back is the product of two Gaussians",
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
    why=r"""Before the first step lies the data point, nothing of which has been lost:
    :math:`\bar\alpha_{-1} = 1`, an empty product. In the posterior of
    ``diffusion_schedule.posterior_is_bayes`` then

    .. math::

        \tilde\beta_0 = \frac{(1 - \alpha_0) \cdot 0}{1 - \bar\alpha_0} = 0, \qquad \tilde\mu_0 =
        \frac{1 - \alpha_0}{1 - \bar\alpha_0}\, x_0 + 0 \cdot x_t = x_0,

    since :math:`\alpha_0 = \bar\alpha_0`. Whatever the data were turned into, given :math:`x_0`
    there is nothing left to infer.

    It is an edge that code gets wrong without a crash: ``alpha_bar[t - 1]`` at t = 0 is in Python
    the last entry, the noisiest, and a variance that is clipped for its logarithm is no longer 0.
    Mean and variance are compared with :math:`x_0` and 0, for :math:`x_t` drawn anywhere.""",
    sentence="returns the data before the first step",
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
    r"\mathbb E_{q}\,[\text{bound}(x_0)] \le \log p(x_0); \qquad p(x_{t-1} \mid x_t) = q(x_{t-1} \mid x_t)"
    r" \;\Rightarrow\; \mathbb E_{q(x_0)}\text{bound} = -H(x_0) - D_{\mathrm{KL}}\bigl(q(x_T) \,\|\,"
    r" \mathcal N(0, I)\bigr)",
    sources=[f"{DDPM}, equation 5", f"{DEEP}, section 2.4", LECTURE],
    why=r"""A diffusion model is a latent variable model whose latent is the whole chain. By
    Jensen's inequality

    .. math::

        \log p(x_0) = \log \mathbb E_q \frac{p(x_{0:T})}{q(x_{1:T} \mid x_0)} \ge \mathbb E_q \log
        \frac{p(x_{0:T})}{q(x_{1:T} \mid x_0)},

    whatever the model's steps back. Averaged over the data, the right-hand side is :math:`-H(x_0)`
    less the divergence between the two joint laws of the chain. By the chain rule that is the
    divergence of the noisy ends plus that of each step back from the true one, and the steps vanish
    if they are exact.

    With Gaussian data the true steps back are affine and known, and so is :math:`\log p(x_0)`, from
    a recursion of means and variances in the test. Averages over noise are exact, since each term
    is quadratic and three nodes of a quadrature do. The inequality is judged for steps that are off
    as well.""",
    assumptions={
        "the noisy end is counted": r"for :math:`\mathcal N(0, 1)` data and one step with"
        r" :math:`\bar\alpha = 1/2` the bound without it averages :math:`-H + 0.35`, more than"
        " any density can score",
        "each step back is exact (for the equality)": "a step whose mean is off by d loses"
        " :math:`d^2 / 2s`, s its variance",
        "the data are Gaussian (for Gaussian steps to be exact)": (
            "if :math:`x_0` is -1 or 1, the true first step back is one of two points, and no"
            " Gaussian is"
        ),
    },
    sentence="the bound lies below the log-density",
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
    why=r"""Sampling is the chain run backwards, from the last step to the first, each with noise of
    its own; its end has the law
    :math:`p(x_0) = \int \mathcal N(x_T; 0, 1) \prod_t p(x_{t-1} \mid x_t)\, dx_{1:T}`. Let the
    steps be affine, :math:`x_{t-1} = g_t x_t + s_t + \sqrt{v_t}\, \epsilon_t`; then mean and
    variance follow from t = T down to 1:

    .. math::

        m_{t-1} = g_t m_t + s_t, \qquad V_{t-1} = g_t^2 V_t + v_t, \qquad m_T = 0, \; V_T = 1.

    The draw itself is an affine function of all the noise. Its coefficients are read off by giving
    the sampler one unit of noise at a time; without noise it must return the mean, and the squares
    of the coefficients must add up to the variance. So the law is checked exactly, with no draws,
    against a recursion that the sampler does not use.""",
    assumptions={
        "every step draws": r"for data of unit variance and one step with :math:`\bar\alpha ="
        " 10^{-4}` the exact step back has :math:`g = 0.01`; without noise samples have the"
        " variance :math:`10^{-4}`",
        "steps are taken from the last to the first": "the step that belongs to slightly noisy"
        " data hardly moves pure noise, and the step for pure noise comes last and forgets"
        " everything before it",
    },
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
