r"""Latent variable models: the four formulas of a variational autoencoder, and the autoencoder itself.

Nothing here is estimated that can be computed. Expectations over the noise are Gauss-Hermite sums, p(x)
is a sum over a lattice of codes, binary data are enumerated, and a Gaussian likelihood is read off a
few of its values. Samplers alone are sampled, and judged by bounds that hold at every sample size.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import scipy.special
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spec_tests import check
from spec_tests.contracts.latent import batches, bits, configs, shaped
from spec_tests.handle import Built, Handle
from spec_tests.judge import stratified
from spec_tests.marginals import (
    ALARM,
    DRAWS,
    chance_of_repeating,
    compare_slopes,
    cpu,
    draw_samples,
    encoder_parameters,
    expectations,
    gaussian_of,
    judge_counts,
    judge_projections,
    kl_formula,
    kl_terms,
    on_lattices,
    outcomes,
    seeded,
)
from spec_tests.numerics import gradients
from spec_tests.quadrature import HALF_LOG_TAU, hermite, log_normal
from spec_tests.registry import Unsupported, claim
from spec_tests.state import generators, seed_everything
from spec_tests.strategies import normals, reals
from spec_tests.tolerance import guarded, rounding

KINGMA = "Kingma and Welling 2013"
L17 = "CS182 L17, 'Variational autoencoders'"


def slack(dtype: torch.dtype, terms: Tensor, length: int = 1) -> Tensor:
    """What rounding may move a sum by whose terms have these absolute values, item by item."""
    return rounding(dtype, length=length) * (1 + terms)


def within(low: float, high: float) -> Any:
    return lambda shape: reals(shape, low, high)


def among(*values: float) -> Any:
    return lambda shape: st.lists(
        st.sampled_from(values), min_size=math.prod(shape), max_size=math.prod(shape)
    ).map(lambda drawn: torch.tensor(drawn, dtype=torch.float64).reshape(shape))


def constant(value: float) -> Any:
    return lambda shape: st.just(torch.full(shape, value, dtype=torch.float64))


EXTREME = ((1, 1), (1, 3), (4, 2))


# gaussian_kl ---------------------------------------------------------------------------------------


@claim(
    "gaussian_kl.matches_quadrature",
    r"D_{\mathrm{KL}}\bigl(\mathcal N(\mu, \mathrm{diag}\,\sigma^2) \,\|\, \mathcal N(0, I)\bigr)"
    r" = \mathbb E_{z \sim q}[\log q(z) - \log p(z)]",
    sources=[f"{KINGMA}, appendix B", L17],
    why="""The divergence is the expected log-ratio of the two densities. It is a quadratic in z, of
    which a Gauss-Hermite rule gives the exact mean; the densities know nothing of the closed form
    ½(μ² + σ² − 1 − log σ²).""",
)
@given(drawn=shaped(mean=within(-5, 5), log_var=within(-6, 6)))
def test_is_the_expected_log_ratio_of_the_densities(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Tensor]
) -> None:
    found = subject(drawn["mean"], drawn["log_var"])
    mean, log_var = (v[..., None, None] for v in cpu(drawn["mean"], drawn["log_var"]))
    nodes, weights = hermite(20)
    z = mean + (0.5 * log_var).exp() * nodes
    ratio = log_normal(z, mean, log_var) - log_normal(z)  # (N, L, K)
    terms = kl_terms(mean[..., 0, 0], log_var[..., 0, 0])
    check.close(found, (ratio * weights).sum((-1, -2)), slack(dtype, terms, 20), "the divergence")


@claim(
    "gaussian_kl.nonnegative_zero_iff_standard",
    r"D_{\mathrm{KL}} \ge 0, \qquad D_{\mathrm{KL}} = 0 \iff \mu = 0,\ \sigma = 1",
    sources=["Gibbs' inequality", L17],
    why="""Each dimension adds ½μ² + ½(eᵛ − 1 − v) with v = log σ²; both parts are convex and vanish at
    0 alone, where the posterior is the prior. Small departures are drawn as well, at which the value
    is small and must still be there.""",
)
@given(
    drawn=stratified(
        [
            shaped(mean=constant(0.0), log_var=constant(0.0)),
            shaped(mean=among(0.0, 0.01, -0.01), log_var=constant(0.0)),
            shaped(mean=constant(0.0), log_var=among(0.0, 0.02, -0.02)),
            shaped(mean=within(-3, 3), log_var=within(-6, 6)),
        ]
    )
)
def test_is_zero_for_the_standard_normal_and_positive_elsewhere(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Tensor]
) -> None:
    found = subject(drawn["mean"], drawn["log_var"])
    mean, log_var = cpu(drawn["mean"], drawn["log_var"])
    room = slack(dtype, kl_terms(mean, log_var))
    check.at_least(found, 0.0, room, "the divergence")
    check.at_least(found, 0.5 * mean.square().sum(-1), room, "the divergence, against |mean|²/2,")
    curve = 0.5 * (log_var.expm1() - log_var).sum(-1)
    check.at_least(found, curve, room, "the divergence, against that of the variance alone,")
    standard = (mean == 0).all(-1) & (log_var == 0).all(-1)
    check.close(
        cpu(found)[0][standard],
        torch.zeros(int(standard.sum())),
        room[standard],
        "the divergence of the standard normal from itself",
    )


@claim(
    "gaussian_kl.additive_over_dims",
    r"D_{\mathrm{KL}}(q_1 \otimes q_2 \,\|\, p_1 \otimes p_2)"
    r" = D_{\mathrm{KL}}(q_1 \| p_1) + D_{\mathrm{KL}}(q_2 \| p_2)",
    sources=["chain rule of relative entropy; Cover and Thomas, theorem 2.5.3"],
    why="""Independent dimensions have densities that multiply, so their log-ratios add: the divergence
    is a sum over dimensions, never a mean, whatever their order and number.""",
)
@given(drawn=shaped(((1, 2), (3, 2), (2, 5)), mean=within(-3, 3), log_var=within(-6, 6)))
def test_adds_up_over_the_dimensions(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Tensor]
) -> None:
    mean, log_var = drawn["mean"], drawn["log_var"]
    room = slack(dtype, kl_terms(*cpu(mean, log_var)), 4)
    whole = cpu(subject(mean, log_var))[0]
    parts = [
        subject(mean[:, d : d + 1].contiguous(), log_var[:, d : d + 1].contiguous())
        for d in range(mean.shape[1])
    ]
    check.close(whole, cpu(sum(parts))[0], room, "the divergence, against the sum over dimensions,")
    check.close(
        subject(mean.flip(-1), log_var.flip(-1)),
        whole,
        room,
        "the divergence, with the dimensions in reverse order,",
    )


@claim(
    "gaussian_kl.gradient",
    r"\nabla_\mu = \mu, \qquad \nabla_{\log \sigma^2} = \tfrac12(\sigma^2 - 1)",
    sources=[f"{KINGMA}, appendix B, differentiated"],
    why="""Differentiate ½(μ² + σ² − 1 − log σ²). The pull on the mean is towards 0, that on the
    variance towards 1 from both sides.""",
)
@given(
    drawn=stratified(
        [
            shaped(mean=within(-3, 3), log_var=within(-6, 6)),
            shaped(EXTREME, mean=among(0.0, -1e3, 1e3), log_var=among(-60.0, -12.0, 12.0, 60.0)),
        ]
    )
)
def test_has_the_gradient_of_the_closed_form(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Tensor]
) -> None:
    subject.needs_gradients()
    mean, log_var = (drawn[k].requires_grad_() for k in ("mean", "log_var"))
    pull = torch.arange(1, len(mean) + 1, device=mean.device, dtype=dtype)
    found = gradients((pull * subject(mean, log_var)).sum(), [mean, log_var])
    m, v, c = cpu(mean, log_var, pull[:, None])
    check.close(found[0], c * m, slack(dtype, c * m.abs()), "the gradient in mean")
    check.close(found[1], 0.5 * c * v.expm1(), slack(dtype, c * v.exp()), "the gradient in log_var")


@claim(
    "gaussian_kl.holds_at_extremes",
    r"|\log \sigma^2| \le 60 \;\Rightarrow\; D_{\mathrm{KL}} = \tfrac12(\mu^2 + e^{v} - 1 - v) < \infty",
    sources=[f"{KINGMA}, appendix B"],
    why="""An untrained encoder can put out any log-variance. The value is finite far beyond what
    training needs, and clamping the log-variance changes it, and ends its gradient, silently.""",
)
@given(
    drawn=shaped(
        EXTREME,
        mean=among(0.0, -1e3, 1.0, 1e3),
        log_var=among(-60.0, -35.5, -11.0, 0.0, 11.0, 35.5, 60.0),
    )
)
def test_holds_at_extreme_variances(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Tensor]
) -> None:
    found = subject(drawn["mean"], drawn["log_var"])
    mean, log_var = cpu(drawn["mean"], drawn["log_var"])
    check.finite(found, "the divergence")
    check.close(
        found, kl_formula(mean, log_var), slack(dtype, kl_terms(mean, log_var), 4), "the divergence"
    )


# reparameterize --------------------------------------------------------------------------------------


@claim(
    "reparameterize.affine_in_noise",
    r"z = \mu + e^{\frac12 \log \sigma^2} \odot \epsilon",
    sources=[f"{KINGMA}, section 2.4", L17],
    why="""The noise is an argument, so the draw is a formula: the mean where the noise is 0, a
    standard deviation away where it is 1, each entry from its own mean, variance and noise. Shifting
    the mean shifts the draw by as much, to the last digit.""",
)
@given(
    drawn=stratified(
        [
            shaped(mean=within(-3, 3), log_var=within(-6, 6), noise=within(-3, 3)),
            shaped(EXTREME, mean=within(-3, 3), log_var=within(-6, 6), noise=constant(0.0)),
            shaped(EXTREME, mean=constant(0.0), log_var=within(-6, 6), noise=constant(1.0)),
            shaped(EXTREME, mean=within(-3, 3), log_var=constant(0.0), noise=within(-3, 3)),
            shaped(
                EXTREME,
                mean=among(0.0, 1.0),
                log_var=among(-40.0, -11.0, 11.0, 40.0),
                noise=among(-2.0, 0.5),
            ),
        ]
    )
)
def test_is_the_mean_plus_the_standard_deviation_times_the_noise(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Tensor]
) -> None:
    arguments = drawn["mean"], drawn["log_var"], drawn["noise"]
    found = subject(*arguments)
    mean, log_var, noise = cpu(*arguments)
    step = (0.5 * log_var).exp() * noise
    size = mean.abs() + step.abs()
    check.close(found, mean + step, guarded(dtype) * (1 + size), "the draw")
    moved = cpu(subject(torch.zeros_like(arguments[0]), *arguments[1:]))[0]
    check.close(
        cpu(found)[0] - moved, mean, slack(dtype, size), "the draw less the draw from mean 0"
    )


@claim(
    "reparameterize.moments",
    r"\epsilon \sim \mathcal N(0, I) \;\Rightarrow\; \mathbb E z = \mu,\quad \operatorname{Var} z = \sigma^2",
    sources=[f"{KINGMA}, section 2.4"],
    why="""An affine map of a standard normal is normal: mean μ, standard deviation exp(½ log σ²), no
    correlation between dimensions. The expectations over the noise are Gauss-Hermite sums.""",
)
@given(drawn=shaped(((1, 1), (1, 2), (3, 2)), mean=within(-3, 3), log_var=within(-4, 4)))
def test_has_the_mean_and_the_variance_asked_for(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Tensor]
) -> None:
    mean, log_var = drawn["mean"], drawn["log_var"]
    nodes, weights = hermite(4, mean.shape[1])
    count = len(nodes)
    noise = nodes.to(mean).repeat(len(mean), 1)
    draws = subject(mean.repeat_interleave(count, 0), log_var.repeat_interleave(count, 0), noise)
    z = cpu(draws)[0].reshape(len(mean), count, -1)
    m, v = cpu(mean, log_var)
    first = (weights[:, None] * z).sum(1)
    room = guarded(dtype) * (1 + m.square() + v.exp())
    check.close(first, m, room, "the mean of the draws")
    centred = z - first[:, None]
    second = torch.einsum("k,nki,nkj->nij", weights, centred, centred)
    check.close(
        second,
        torch.diag_embed(v.exp()),
        guarded(dtype) * (1 + float(v.exp().max())),
        "the covariance of the draws",
    )


@claim(
    "reparameterize.gradient_equals_exact",
    r"\mathbb E_\epsilon\bigl[\nabla f(\mu + \sigma \epsilon)\bigr] = \nabla\, \mathbb E_{z}[f(z)]",
    sources=[f"{KINGMA}, section 2.4", "CS182 L17, 'The reparameterization trick'"],
    why="""With the noise held fixed the draw is a smooth function of mean and variance, so derivative
    and expectation change places. For the cubic f = z + b z² + c z³ the exact derivatives are
    1 + 2bμ + 3c(μ² + σ²) and, in log σ², σ²(b + 3cμ); a path that is cut loses its share.""",
)
@given(
    drawn=shaped(((1, 1), (1, 3), (3, 2)), mean=within(-2, 2), log_var=within(-4, 2)),
    b=st.sampled_from([-1.0, 0.5, 2.0]),
    c=st.sampled_from([0.0, 0.5]),
)
def test_has_pathwise_gradients_that_average_to_the_exact_one(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Tensor], b: float, c: float
) -> None:
    subject.needs_gradients()
    mean, log_var = (drawn[k].requires_grad_() for k in ("mean", "log_var"))
    nodes, weights = hermite(6)
    total = torch.zeros((), device=mean.device, dtype=dtype)
    for node, weight in zip(nodes[:, 0].tolist(), weights.tolist(), strict=True):
        z = subject(mean, log_var, torch.full_like(mean, node).detach())
        total = total + weight * (z + b * z.square() + c * z**3).sum()
    found = gradients(total, [mean, log_var])
    m, v = cpu(mean, log_var)
    room = guarded(dtype) * (1 + m.square() + v.exp()) * (1 + v.exp())
    exact = 1 + 2 * b * m + 3 * c * (m.square() + v.exp())
    check.close(found[0], exact, room, "the expected gradient in mean")
    check.close(found[1], v.exp() * (b + 3 * c * m), room, "the expected gradient in log_var")


@claim(
    "reparameterize.lower_variance_than_score",
    r"f(z) = z^2:\quad \operatorname{Var}\bigl[\nabla_\mu f(\mu + \sigma\epsilon)\bigr] = 4\sigma^2"
    r" < \operatorname{Var}\bigl[f(z)\, \nabla_\mu \log q(z)\bigr]",
    sources=[f"{KINGMA}, section 2.2", "Mohamed et al. 2020, section 3"],
    why="""Both estimators of the gradient are unbiased. The pathwise one multiplies the slope of f, the
    score-function one its value, by a number of size 1/σ: for a quadratic the former varies by 4σ²,
    the latter by (μ⁴ + 14μ²σ² + 15σ⁴)/σ².""",
    assumptions=[
        "f is smooth on the scale of σ: for cos(4z/σ) the order is reversed, as is checked"
    ],
)
@given(drawn=shaped(((1, 1), (3, 2)), mean=within(-2, 2), log_var=within(-3, 2)))
def test_varies_less_than_the_score_function_estimator(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Tensor]
) -> None:
    subject.needs_gradients()
    mean, log_var = drawn["mean"].requires_grad_(), drawn["log_var"]
    nodes, weights = hermite(40)
    m, v = cpu(mean, log_var)
    deviation, mass = (0.5 * v).exp(), weights[:, None, None]
    paths: list[list[Tensor]] = [[], []]
    for node in nodes[:, 0].tolist():
        z = subject(mean, log_var, torch.full_like(mean, node).detach())
        rate = 4 / deviation.to(z)
        paths[0].append(cpu(gradients(z.square().sum(), [mean])[0])[0])
        paths[1].append(cpu(gradients((rate * z).cos().sum(), [mean])[0])[0])
    draws = m + deviation * nodes[:, :, None]
    score = nodes[:, :, None] / deviation
    for path, values, smooth in (
        (torch.stack(paths[0]), draws.square(), True),
        (torch.stack(paths[1]), (4 / deviation * draws).cos(), False),
    ):
        spread = [
            (mass * g.square()).sum(0) - (mass * g).sum(0).square() for g in (path, values * score)
        ]
        if smooth:
            room = guarded(dtype) * (1 + m.square() + v.exp())
            check.close(spread[0], 4 * v.exp(), room, "the variance of the pathwise gradient of z²")
        low, high = spread if smooth else spread[::-1]
        check.that(
            (low < high).all(),
            f"the pathwise gradient of {'z²' if smooth else 'cos(4z/σ)'} "
            f"has variance {spread[0].tolist()}, the score-function one {spread[1].tolist()}: "
            f"the {'former' if smooth else 'latter'} must be smaller",
        )


# gaussian_log_likelihood ----------------------------------------------------------------------------


def density_terms(x: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    return (2 + log_var.abs() + (x - mean).square() * (-log_var).exp()).sum(-1)


@claim(
    "gaussian_log_likelihood.matches_scipy",
    r"\log p(x) = \sum_d \log \mathcal N(x_d; \mu_d, \sigma_d^2)",
    sources=[f"{KINGMA}, appendix C.2"],
    why="""The density of independent Gaussians is a product, its logarithm a sum over dimensions,
    with log σ + ½ log 2π in each. The oracle is scipy.stats.norm.""",
)
@given(drawn=shaped(x=within(-3, 3), mean=within(-3, 3), log_var=within(-6, 6)))
def test_is_the_sum_of_scipys_log_densities(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Tensor]
) -> None:
    found = subject(*drawn.values())
    x, mean, log_var = cpu(*drawn.values())
    exact = scipy.stats.norm.logpdf(x.numpy(), mean.numpy(), (0.5 * log_var).exp().numpy()).sum(-1)
    check.close(found, exact, slack(dtype, density_terms(x, mean, log_var)), "the log-density")


@claim(
    "gaussian_log_likelihood.unit_variance_is_mse",
    r"\sigma = 1 \;\Rightarrow\; \log p(x) = -\tfrac12 \|x - \mu\|^2 - \tfrac D2 \log 2\pi",
    sources=[L17, "CS182 2021, 'mean squared error is a Gaussian log-likelihood'"],
    why="""Least squares is maximum likelihood with a fixed variance: what is left is half the squared
    error, and one constant ½ log 2π for each dimension.""",
)
@given(drawn=shaped(x=within(-5, 5), mean=within(-5, 5), log_var=constant(0.0)))
def test_is_half_the_squared_error_at_unit_variance(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Tensor]
) -> None:
    found = subject(*drawn.values())
    x, mean, log_var = cpu(*drawn.values())
    exact = -0.5 * (x - mean).square().sum(-1) - x.shape[1] * HALF_LOG_TAU
    check.close(found, exact, slack(dtype, density_terms(x, mean, log_var)), "the log-density")


@claim(
    "gaussian_log_likelihood.integrates_to_one",
    r"\int e^{\log p(x)} \, dx = 1",
    sources=["definition of a density"],
    why="""What makes log-likelihoods comparable is that the density spends a total of one, whatever
    the variance: a dropped or doubled constant shows here without any formula to compare with. The
    integral is a sum over a lattice of one or two dimensions, scaled to the variance.""",
)
@given(drawn=shaped(((1, 1), (3, 1), (2, 2)), mean=within(-3, 3), log_var=within(-6, 6)))
def test_integrates_to_one(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Tensor]
) -> None:
    mean, log_var = drawn["mean"], drawn["log_var"]
    step, dims = 0.5, mean.shape[1]
    line = step * torch.arange(-18, 19, dtype=torch.float64)
    lattice = torch.cartesian_prod(*[line] * dims).reshape(-1, dims)
    count = len(lattice)
    centres, logs = mean.repeat_interleave(count, 0), log_var.repeat_interleave(count, 0)
    points = centres + (0.5 * logs).exp() * lattice.to(mean).repeat(len(mean), 1)
    log_density = cpu(subject(points, centres, logs))[0].reshape(len(mean), count)
    volume = (0.5 * cpu(log_var)[0]).exp().prod(-1) * step**dims
    total = log_density.exp().sum(-1) * volume
    check.close(
        total, torch.ones_like(total), rounding(dtype, length=64), "the integral of the density"
    )


@claim(
    "gaussian_log_likelihood.gradient",
    r"\nabla_\mu = \frac{x - \mu}{\sigma^2} = -\nabla_x, \qquad"
    r" \nabla_{\log \sigma^2} = \tfrac12\Bigl(\frac{(x - \mu)^2}{\sigma^2} - 1\Bigr)",
    sources=[f"{KINGMA}, appendix C.2, differentiated"],
    why="""The error is weighted by the precision, and the variance is pulled to the squared error:
    only with both do a learned mean and a learned variance have the right optimum.""",
)
@given(
    drawn=stratified(
        [
            shaped(x=within(-3, 3), mean=within(-3, 3), log_var=within(-6, 6)),
            shaped(
                EXTREME,
                x=among(-1e4, 0.0, 1e4),
                mean=among(0.0, 1.0),
                log_var=among(-20.0, 11.0, 40.0),
            ),
            shaped(EXTREME, x=among(-10.0, 0.0), mean=among(0.0, 1.0), log_var=among(-40.0, 40.0)),
        ]
    )
)
def test_has_the_gradient_of_the_formula(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Tensor]
) -> None:
    subject.needs_gradients()
    leaves = [drawn[k].requires_grad_() for k in ("x", "mean", "log_var")]
    pull = torch.arange(1, len(leaves[0]) + 1, device=leaves[0].device, dtype=dtype)
    found = gradients((pull * subject(*leaves)).sum(), leaves)
    x, mean, log_var = cpu(*leaves)
    c = cpu(pull)[0][:, None]
    weighted = c * (x - mean) * (-log_var).exp()
    for gradient, sign, name in ((found[0], -1, "x"), (found[1], 1, "mean")):
        check.close(
            gradient, sign * weighted, slack(dtype, weighted.abs()), f"the gradient in {name}"
        )
    ratio = (x - mean).square() * (-log_var).exp()
    check.close(found[2], 0.5 * c * (ratio - 1), slack(dtype, c * ratio), "the gradient in log_var")


@claim(
    "gaussian_log_likelihood.holds_at_extremes",
    r"|\log \sigma^2| \le 40,\ \frac{|x - \mu|}{\sigma} \le 10^{10} \;\Rightarrow\; |\log p(x)| < \infty",
    sources=["contracts.md: finite at extreme inputs"],
    why="""The logarithm of a density is finite where the density itself underflows or overflows, so it
    must not be computed as the logarithm of a density, nor with a floor under the variance.""",
)
@given(
    drawn=stratified(
        [
            shaped(
                EXTREME,
                x=among(-1e4, 0.0, 1e4),
                mean=among(0.0, 1.0),
                log_var=among(-20.0, -11.0, 0.0, 11.0, 40.0),
            ),
            shaped(
                EXTREME,
                x=among(-10.0, 0.0, 1.0),
                mean=among(0.0, 1.0),
                log_var=among(-40.0, -25.5, 0.0, 40.0),
            ),
        ]
    )
)
def test_holds_at_extreme_variances_and_far_from_the_mean(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Tensor]
) -> None:
    found = subject(*drawn.values())
    x, mean, log_var = cpu(*drawn.values())
    check.finite(found, "the log-density")
    check.close(
        found,
        log_normal(x, mean, log_var),
        slack(dtype, density_terms(x, mean, log_var), 4),
        "the log-density",
    )


# bernoulli_log_likelihood ---------------------------------------------------------------------------


def log_expit(a: Tensor) -> Tensor:
    return torch.from_numpy(np.asarray(scipy.special.log_expit(a.numpy())))


@claim(
    "bernoulli_log_likelihood.matches_scipy",
    r"\log p(x) = \sum_d x_d \log \sigma(a_d) + (1 - x_d) \log \sigma(-a_d)",
    sources=[f"{KINGMA}, appendix C.1, equation 11"],
    why="""One coin for each dimension, heads with probability σ(a): a one contributes log σ(a), a
    zero log(1 − σ(a)) = log σ(−a). The oracle is scipy.special.log_expit.""",
)
@given(drawn=shaped(x=bits, logits=within(-6, 6)))
def test_is_the_sum_of_the_coins_log_probabilities(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Tensor]
) -> None:
    found = subject(*drawn.values())
    x, logits = cpu(*drawn.values())
    check.close(
        found,
        log_expit((2 * x - 1) * logits).sum(-1),
        slack(dtype, logits.abs().sum(-1)),
        "the log-probability",
    )


@claim(
    "bernoulli_log_likelihood.normalised",
    r"\sum_{x \in \{0, 1\}^D} e^{\log p(x)} = 1",
    sources=["definition of a probability"],
    why="""All 2ᴰ outcomes are enumerated. A mean over dimensions, a missing (1 − x) term, or logits
    taken for probabilities leave a total other than one.""",
)
@given(drawn=shaped(((1, 1), (1, 3), (1, 5)), logits=within(-6, 6)))
def test_sums_to_one_over_all_outcomes(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Tensor]
) -> None:
    logits = drawn["logits"]
    outcomes = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * logits.shape[1])
    outcomes = outcomes.reshape(-1, logits.shape[1]).to(logits)
    found = cpu(subject(outcomes, logits.repeat(len(outcomes), 1)))[0]
    check.close(
        found.exp().sum(), 1.0, rounding(dtype, length=len(outcomes)), "the total probability"
    )


@claim(
    "bernoulli_log_likelihood.stable",
    r"|a| \le 10^4 \;\Rightarrow\; \log p(x) = -\sum_d |a_d|\,[x_d \ne \mathbb 1(a_d > 0)] + o(1)",
    sources=["contracts.md: finite at extreme inputs", "CS231n, 'numeric stability'"],
    why="""σ(a) rounds to 1 for a > 37 in double precision, so log(1 − σ(a)) is −inf where the truth is
    −a, and an ε under the logarithm makes it log ε: a confident mistake then costs too little and has
    no gradient. log σ(−a) = −softplus(a) is exact everywhere.""",
)
@given(
    drawn=shaped(
        EXTREME, x=bits, logits=among(-1e4, -710.0, -40.0, -17.5, 0.0, 17.5, 40.0, 710.0, 1e4)
    )
)
def test_is_exact_for_huge_logits(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Tensor]
) -> None:
    x, logits = drawn["x"], drawn["logits"].requires_grad_(subject.carries_gradients)
    found = subject(x, logits)
    check.finite(found, "the log-probability")
    bit, a = cpu(x, logits)
    check.close(
        found,
        log_expit((2 * bit - 1) * a).sum(-1),
        slack(dtype, a.abs().sum(-1)),
        "the log-probability",
    )
    if subject.carries_gradients:
        gradient = gradients(found.sum(), [logits])[0]
        check.finite(gradient, "the gradient in the logits")
        exact = bit - torch.special.expit(a)
        check.close(gradient, exact, rounding(dtype), "the gradient in the logits")


@claim(
    "bernoulli_log_likelihood.gradient",
    r"\nabla_a \log p(x) = x - \sigma(a)",
    sources=["CS231n, 'the gradient of the cross-entropy'"],
    why="""The derivative of log σ(a) is 1 − σ(a), that of log σ(−a) is −σ(a): observed minus expected,
    never larger than one.""",
)
@given(drawn=shaped(x=bits, logits=within(-6, 6)))
def test_has_the_gradient_observed_minus_expected(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Tensor]
) -> None:
    subject.needs_gradients()
    x, logits = drawn["x"], drawn["logits"].requires_grad_()
    pull = torch.arange(1, len(x) + 1, device=x.device, dtype=dtype)
    found = gradients((pull * subject(x, logits)).sum(), [logits])[0]
    bit, a, c = cpu(x, logits, pull[:, None])
    check.close(
        found, c * (bit - torch.special.expit(a)), slack(dtype, c), "the gradient in the logits"
    )


@claim(
    "bernoulli_log_likelihood.symmetric",
    r"\log p(x \mid a) = \log p(1 - x \mid -a)",
    sources=["σ(−a) = 1 − σ(a)"],
    why="""Renaming the two sides of a coin turns the sign of its log-odds and changes no
    probability.""",
)
@given(drawn=shaped(x=bits, logits=within(-6, 6)))
def test_is_unchanged_when_both_sides_of_the_coin_are_renamed(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Tensor]
) -> None:
    x, logits = drawn["x"], drawn["logits"]
    room = slack(dtype, cpu(logits)[0].abs().sum(-1))
    check.close(
        subject(1 - x, -logits),
        cpu(subject(x, logits))[0],
        room,
        "the log-probability after renaming",
    )


# vae: the bound -------------------------------------------------------------------------------------


@st.composite
def _models(
    draw: st.DrawFn,
    likelihood: str,
    data_dims: tuple[int, ...],
    latent_dims: tuple[int, ...],
    items: tuple[int, int] = (1, 4),
    samples: tuple[int, int] = (1, 5),
) -> dict[str, Any]:
    config = draw(configs(likelihood, data_dims, latent_dims))
    return {"config": config, **draw(batches(config, items, samples))}


def models(
    sizes: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (((1, 3), (1,)), ((2, 4), (2, 3))),
    **options: Any,
) -> Any:
    """A config with a batch and noise for it, a stratum for each likelihood and pair of sizes."""
    return stratified(
        [_models(kind, *size, **options) for kind in ("gaussian", "bernoulli") for size in sizes]
    )


SMALL = (((1, 3), (1,)), ((2,), (2,)))


_NODES = {1: 16, 2: 8, 3: 5}


@claim(
    "vae.two_estimators_agree",
    r"\mathbb E_\epsilon\,\hat{\mathcal L}(x) = \mathbb E_{q(z|x)}[\log p(x|z)] - D_{\mathrm{KL}}(q \| p(z))"
    r" = \mathbb E_{q(z|x)}[\log p(x|z) + \log p(z) - \log q(z|x)]",
    sources=[f"{KINGMA}, equations 6 and 7", L17],
    why="""With the divergence in closed form or sampled like the rest, the bound has one expectation
    over the noise. It is computed by Gauss-Hermite quadrature, one node at a time, and compared with
    both forms, made of the subject's own encoder and likelihood. Any unbiased estimator passes; a
    weight on the divergence, a missing term, or a decoder that never sees the noise does not.""",
)
@given(batch=models((((1, 3), (1,)), ((2, 4), (2,)), ((2,), (3,)))))
def test_has_the_expectation_of_both_estimators(
    subject: Handle, device: str, dtype: torch.dtype, batch: dict[str, Any]
) -> None:
    config = batch["config"]
    model = subject.build(config)
    found = expectations(model, batch["x"], config.latent_dim, _NODES[config.latent_dim])
    room = guarded(dtype) * (1 + found.size)
    what = "the expectation of elbo over the noise"
    check.close(found.elbo, cpu(found.analytic)[0], room, f"{what}, against E log p(x|z) - KL,")
    check.close(
        found.elbo,
        cpu(found.sampled)[0],
        room,
        f"{what}, against E[log p(x|z) + log p(z) - log q(z|x)],",
    )


@claim(
    "vae.elbo_below_log_likelihood",
    r"\mathbb E_\epsilon\,\hat{\mathcal L}(x) \le \log p(x) = \log \int p(x|z)\,p(z)\,dz",
    sources=[f"{KINGMA}, section 2.2", L17],
    why="""By Jensen's inequality the mean of the logarithm of p(x, z)/q(z|x) lies below the logarithm
    of its mean, which is p(x); by Pinsker's it lies lower by at least twice the squared total
    variation between q and the posterior, so it is attained at the posterior alone. p(x) is a sum
    over a lattice of codes in one or two dimensions.""",
    assumptions=["it is the expectation that is bounded: a single draw may exceed log p(x)"],
    dtypes=("float64",),
    effort=0.6,
)
@given(batch=models(SMALL, items=(1, 2), samples=(1, 1)))
def test_lies_below_the_log_likelihood(
    subject: Handle, device: str, dtype: torch.dtype, batch: dict[str, Any]
) -> None:
    model = subject.build(batch["config"])
    for index, found in enumerate(on_lattices(model, batch["x"])):
        room = guarded(dtype, scale=found.size)
        check.at_most(
            found.elbo,
            found.log_evidence,
            room,
            f"the expected elbo of item {index}, against log p(x),",
        )
        check.at_least(
            found.log_evidence - found.elbo,
            2 * found.distance**2,
            room,
            f"log p(x) - elbo of item {index}, against twice the squared total variation "
            f"between q and the posterior,",
        )


@claim(
    "vae.gap_is_kl",
    r"\log p(x) - \mathbb E_\epsilon\,\hat{\mathcal L}(x) = D_{\mathrm{KL}}\bigl(q(z|x) \,\|\, p(z|x)\bigr)",
    sources=[f"{KINGMA}, equation 1", L17],
    why="""log p(x) = log p(x, z) − log p(z|x) for every z; averaging over q and adding and subtracting
    log q gives bound plus divergence. The posterior comes from the likelihood and the prior on a
    lattice of codes, q from ``encode``.""",
    dtypes=("float64",),
    effort=0.6,
)
@given(batch=models(SMALL, items=(1, 2), samples=(1, 1)))
def test_misses_the_log_likelihood_by_the_divergence_from_the_posterior(
    subject: Handle, device: str, dtype: torch.dtype, batch: dict[str, Any]
) -> None:
    model = subject.build(batch["config"])
    for index, found in enumerate(on_lattices(model, batch["x"])):
        check.close(
            found.log_evidence - found.elbo,
            found.divergence,
            guarded(dtype, scale=found.size),
            f"log p(x) - elbo of item {index}, against KL(q || posterior),",
        )


@claim(
    "vae.is_reparameterised",
    r"\nabla_\phi\, \hat{\mathcal L}(x, \epsilon) \text{ averages to }"
    r" \nabla_\phi \bigl(\mathbb E_{q_\phi}[\log p(x|z)] - D_{\mathrm{KL}}(q_\phi \| p(z))\bigr)",
    sources=[f"{KINGMA}, section 2.4", "CS182 L17, 'The reparameterization trick'"],
    why="""The encoder learns through the draw as well as through the divergence. Its parameters are
    found by moving them and watching ``encode``; the oracle is the slope of the exact bound by finite
    differences of values alone, along a random direction in all of them, and in x for real data. A
    detached draw, or an encoder that gets the divergence's gradient only, has another slope.""",
    dtypes=("float64",),
    effort=0.6,
)
@given(batch=models(samples=(1, 1)))
def test_sends_the_gradient_through_the_draw_to_the_encoder(
    subject: Handle, device: str, dtype: torch.dtype, batch: dict[str, Any]
) -> None:
    subject.needs_gradients()
    config, x = batch["config"], batch["x"]
    model = subject.build(config)
    groups = {}
    if model.is_module and (encoder := encoder_parameters(model, x)):
        groups["its encoder's parameters"] = encoder
    if config.likelihood == "gaussian":
        groups["x"] = [x.requires_grad_()]
    if not groups:
        raise Unsupported("a plain object, whose parameters cannot be found, and binary data")
    pull = torch.randn(len(x), device=x.device, dtype=dtype)

    def exact() -> float:
        found = expectations(model, x, config.latent_dim, 4)
        return float((pull * found.analytic).sum().detach())

    found = expectations(model, x, config.latent_dim, 4)
    total = (pull * found.elbo).sum()
    slopes = {name: gradients(total, leaves, what="elbo") for name, leaves in groups.items()}
    for name, leaves in groups.items():
        along = [torch.randn_like(leaf) for leaf in leaves]
        compare_slopes(
            exact, leaves, along, slopes[name], f"the expected gradient of elbo in {name}"
        )


# vae: batches and samples -----------------------------------------------------------------------------


def _room(dtype: torch.dtype, *values: Tensor) -> float:
    scale = max(float(v.detach().abs().max()) for v in values)
    return rounding(dtype, length=64, scale=max(scale, 1.0))


@claim(
    "vae.averages_over_samples",
    r"\hat{\mathcal L}(x, \epsilon_{1..S}) = \frac1S \sum_{s=1}^S \hat{\mathcal L}(x, \epsilon_s)",
    sources=[f"{KINGMA}, equation 7"],
    why="""More draws estimate the same bound more closely: elbo is their mean, neither their sum (which
    grows with S) nor the logarithm of a mean of weights (a tighter bound, of another name).""",
)
@given(batch=models(items=(1, 4), samples=(2, 5)))
def test_is_the_mean_over_the_samples(
    subject: Handle, device: str, dtype: torch.dtype, batch: dict[str, Any]
) -> None:
    model, x, noise = subject.build(batch["config"]), batch["x"], batch["noise"]
    singles = torch.stack([model.elbo(x, one[None].contiguous()) for one in noise])
    check.close(
        model.elbo(x, noise),
        cpu(singles.mean(0))[0],
        _room(dtype, singles),
        f"elbo with {len(noise)} samples, against the mean over them one by one,",
    )


@claim(
    "vae.batch_independent",
    r"\frac{\partial \hat{\mathcal L}(x_i)}{\partial (x_j, \epsilon_j)} = 0 \quad (i \ne j)",
    sources=[f"{KINGMA}, section 2.1: i.i.d. data, a code for each"],
    why="""Each item has its own code, drawn with its own noise: other items, and other items' noise,
    are no part of its bound. That its own noise is a part of it, the expectation over the noise
    shows.""",
)
@given(batch=models(items=(2, 5)))
def test_gives_each_item_its_own_noise_and_no_other(
    subject: Handle, device: str, dtype: torch.dtype, batch: dict[str, Any]
) -> None:
    model, x, noise = subject.build(batch["config"]), batch["x"], batch["noise"]
    before = model.elbo(x, noise)
    last = len(x) - 1
    others = x.roll(1, 0)
    others[last], other_noise = x[last], noise.flip(0).roll(1, 1) + 1
    other_noise[:, last] = noise[:, last]
    after = model.elbo(others, other_noise)
    check.close(
        after[last],
        cpu(before[last])[0],
        _room(dtype, before, after),
        "elbo of the last item, with other items and noise beside it,",
    )


@claim(
    "vae.minibatch_unbiased",
    r"\binom NM^{-1} \sum_{|B| = M} \frac NM \sum_{i \in B} \hat{\mathcal L}(x_i) = \sum_{i=1}^N \hat{\mathcal L}(x_i)",
    sources=[f"{KINGMA}, equation 8"],
    why="""Each item is in the same share M/N of all minibatches, so stochastic gradients follow the
    bound of the whole data set, provided that an item is worth the same in every minibatch. All
    minibatches of all sizes are enumerated.""",
)
@given(batch=models(items=(2, 4), samples=(1, 3)))
def test_is_estimated_without_bias_from_minibatches(
    subject: Handle, device: str, dtype: torch.dtype, batch: dict[str, Any]
) -> None:
    model, x, noise = subject.build(batch["config"]), batch["x"], batch["noise"]
    values = model.elbo(x, noise)
    count, full = len(x), cpu(values)[0].sum()
    for size in range(1, count):
        chosen = [list(b) for b in itertools.combinations(range(count), size)]
        sums = [model.elbo(x[b], noise[:, b]).sum() * (count / size) for b in chosen]
        check.close(
            torch.stack(sums).mean(),
            full,
            count * _room(dtype, values),
            f"the mean over all minibatches of {size} of {count} items, rescaled,",
        )


# vae: the likelihood and the sampler ------------------------------------------------------------------


@st.composite
def _codes(draw: st.DrawFn, likelihood: str, data_dims: tuple[int, ...]) -> dict[str, Any]:
    config = draw(configs(likelihood, data_dims, (1, 2)))
    return {"config": config, "z": draw(normals((3, config.latent_dim)))}


@claim(
    "vae.likelihood_is_normalised",
    r"\int p(x|z)\,dx = 1, \qquad \sum_{x \in \{0, 1\}^D} p(x|z) = 1",
    sources=[f"{KINGMA}, appendix C", L17],
    why="""log p(x|z) with its constants is what makes the bound a bound on log p(x): squared error, or
    a binary cross-entropy averaged over pixels, is not a log-likelihood, and weighs reconstruction
    against divergence by accident. Binary outcomes are enumerated, real ones integrated over a
    lattice that is placed where log_likelihood itself says the mass is.""",
    dtypes=("float64",),
)
@given(
    drawn=stratified(
        [
            _codes("gaussian", (1,)),
            _codes("gaussian", (2,)),
            _codes("bernoulli", (1, 2)),
            _codes("bernoulli", (3, 4)),
        ]
    )
)
def test_has_a_likelihood_of_total_one(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Any]
) -> None:
    config, z = drawn["config"], drawn["z"]
    model, dims = subject.build(config), config.data_dim
    if config.likelihood == "bernoulli":
        x = outcomes(dims)
        volume = torch.ones(len(z), dtype=torch.float64)
        points = x.repeat(len(z), 1)
        count = len(x)
    else:
        shape = gaussian_of(model, z, dims)
        factor = torch.linalg.cholesky(shape.precision)  # (3, D, D)
        line = 0.5 * torch.arange(-18, 19, dtype=torch.float64)
        lattice = torch.cartesian_prod(*[line] * dims).reshape(-1, dims)
        offsets = torch.linalg.solve_triangular(
            factor.mT, lattice.T.expand(len(z), -1, -1), upper=True
        ).mT
        points = (shape.mean[:, None] + offsets).reshape(-1, dims)
        volume = 0.5**dims / factor.diagonal(dim1=-2, dim2=-1).prod(-1)
        count = len(lattice)
    found = cpu(model.log_likelihood(points.to(z), z.repeat_interleave(count, 0)))[0]
    total = found.reshape(len(z), count).exp().sum(-1) * volume
    check.close(
        total, torch.ones_like(total), guarded(dtype, scale=dims), "the total of p(x|z) over all x"
    )


@claim(
    "vae.sample_matches_density",
    r"z \sim \mathcal N(0, I),\ x \sim p(x|z) \;\Rightarrow\; x \sim p(x) = \int p(x|z)\,p(z)\,dz",
    sources=[f"{KINGMA}, section 2.1", L17],
    why="""To sample is to draw a code from the prior and then x from p(x|z): the decoder's mean is not
    a sample, and a model whose likelihood has noise draws noisy data. Binary samples are counted
    over all outcomes and compared in relative entropy (Agrawal's bound); real ones are compared in
    the distribution functions of their coordinates and of random projections, mixtures of Gaussians
    over the codes (the Dvoretzky-Kiefer-Wolfowitz inequality). Both bounds hold at any sample
    size, here 10 001 draws, with false-alarm probability 1e-13 for each of at most 5000 tests.""",
    dtypes=("float64",),
    error=1e-9,
    effort=0.6,
)
@given(
    drawn=stratified(
        [
            _codes("gaussian", (1,)),
            _codes("gaussian", (2,)),
            _codes("bernoulli", (1, 2)),
            _codes("bernoulli", (3, 4)),
        ]
    ),
    seed=st.integers(0, 2**31 - 1),
)
def test_draws_from_its_own_marginal(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Any], seed: int
) -> None:
    config, like = drawn["config"], drawn["z"]
    model = subject.build(config)
    model.needs("sample")
    x = cpu(draw_samples(model, DRAWS, seeded(subject, seed)))[0]
    if config.likelihood == "bernoulli":
        judge_counts(model, config, x, like)
    else:
        judge_projections(model, config, x, like)


@claim(
    "vae.sample_uses_its_generator",
    r"\text{sample}(n, g) \text{ is a function of the state of } g \text{ alone, and advances it}",
    sources=[
        "contracts.md: where a signature has a generator, the subject uses that and nothing else"
    ],
    why="""A seeded generator makes a draw repeatable: same state, same sample, whatever the global
    generators hold; another seed, or the same generator once more, another sample. Every draw, of the
    code and of the observation noise, comes from it, and none from the global generators.""",
)
@given(
    drawn=stratified([_codes("gaussian", (1, 3)), _codes("bernoulli", (2, 4))]),
    n=st.sampled_from([1, 2, 7]),
    seed=st.integers(0, 2**20),
)
def test_draws_from_the_generator_it_is_given_and_from_no_other(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Any], n: int, seed: int
) -> None:
    model = subject.build(drawn["config"])
    model.needs("sample")
    for count in (n, 256):
        seed_everything(1)
        before = generators()
        generator = seeded(subject, seed)
        first = draw_samples(model, count, generator)
        check.that(generators() == before, "sample drew from, or reseeded, a global generator")
        second = draw_samples(model, count, generator)
        seed_everything(2)
        check.equal(
            draw_samples(model, count, seeded(subject, seed)),
            first,
            "the sample from a generator of the same seed",
        )
    other = draw_samples(model, 256, seeded(subject, seed + 1))
    if chance_of_repeating(first, drawn["config"].likelihood) < math.log(ALARM):
        check.that((second != first).any(), "two samples in a row from one generator are the same")
        check.that((other != first).any(), "generators of different seeds give the same sample")


# theory ------------------------------------------------------------------------------------------------


def tuples(count: int, size: int) -> list[tuple[int, ...]]:
    """All draws of ``size`` from ``count`` equally likely codes."""
    return list(itertools.product(range(count), repeat=size))


def _table(pieces: Built, table: Tensor, picks: tuple[int, ...]) -> Tensor:
    """The reference estimate of log p(x) from the codes ``picks``, the likelihoods being a table
    (K codes, N items)."""
    items = torch.arange(table.shape[1])
    z = torch.tensor(picks, dtype=table.dtype)[:, None, None].expand(-1, len(items), 1)
    estimate: Tensor = pieces.log_marginal_likelihood(
        lambda x, z: table[z[:, 0].long(), items], torch.zeros(len(items), 2, dtype=table.dtype), z
    )
    return estimate


@claim(
    "theory.jensen",
    r"\mathbb E \log \tfrac1S \sum_s p(x|z_s) \le \log p(x), \text{ rising with } S",
    sources=["Burda, Grosse, Salakhutdinov 2015, theorem 1", L17],
    why="""The logarithm is concave, so the mean logarithm of an average lies below the logarithm of
    its mean. Over K equally likely codes every draw of S of them is enumerated: one draw gives the
    mean log-likelihood, a second adds the mean of log cosh of half the difference of two
    log-likelihoods, which is zero only where the code does not matter.""",
    dtypes=("float64",),
)
@given(table=stratified([reals((3, 2), -4, 2), reals((4, 1), -4, 2), reals((2, 3), -700, -690)]))
def test_the_mean_log_of_an_average_rises_with_the_draws_to_the_log_of_the_mean(
    subject: Handle, device: str, dtype: torch.dtype, table: Tensor
) -> None:
    pieces = subject.pieces()
    count = len(table)
    room = rounding(dtype, length=count**3, scale=float(table.abs().max()) + 1)
    bounds = [
        torch.stack([_table(pieces, table, picks) for picks in tuples(count, size)]).mean(0)
        for size in (1, 2, 3)
    ]
    evidence = table.logsumexp(0) - math.log(count)
    check.close(bounds[0], table.mean(0), room, "the mean of log p(x|z) over single draws")
    gain = (table[:, None] - table[None]).mul(0.5).cosh().log().mean((0, 1))
    check.close(bounds[1] - bounds[0], gain, room, "what a second draw adds")
    check.at_most(bounds[1], bounds[2], room, "the bound with two draws, against three,")
    check.at_most(bounds[2], evidence, room, "the bound with three draws, against log p(x),")


@st.composite
def linear_models(draw: st.DrawFn, latent_dim: int, orthogonal: bool = False) -> dict[str, Tensor]:
    """Weight, bias and noise of a linear Gaussian model, with data; its columns, scaled by the noise,
    are orthogonal where asked, so that the posterior is diagonal."""
    dims = draw(st.sampled_from([latent_dim, latent_dim + 1, 4]))
    log_var = draw(reals((dims,), -1, 1))
    weight = draw(normals((dims, latent_dim)))
    if orthogonal:
        basis = torch.linalg.qr(weight).Q
        sizes = draw(reals((latent_dim,), 0.25, 2))
        weight = (0.5 * log_var).exp()[:, None] * basis * sizes
    return {
        "weight": weight,
        "bias": draw(reals((dims,), -1, 1)),
        "log_var": log_var,
        "x": draw(reals((3, dims), -2, 2)),
    }


def _parts(model: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    return model["weight"], model["bias"], model["log_var"]


def _evidence(model: dict[str, Tensor]) -> Tensor:
    """log p(x) by SciPy."""
    weight, bias, log_var = _parts(model)
    covariance = weight @ weight.T + log_var.exp().diag()
    oracle = scipy.stats.multivariate_normal(bias.numpy(), covariance.numpy())
    return torch.from_numpy(np.atleast_1d(oracle.logpdf(model["x"].numpy())))


@claim(
    "theory.marginal_monte_carlo_unbiased",
    r"\mathbb E_{z_{1..S} \sim p(z)} \Bigl[\tfrac1S \sum_s p(x|z_s)\Bigr] = p(x)",
    sources=["Burda, Grosse, Salakhutdinov 2015, section 3", L17],
    why="""An average of draws has the mean of one draw, for any S: it is the estimate of p(x) that is
    unbiased, not its logarithm. Over finitely many codes all draws are enumerated; for a linear
    Gaussian model the mean over the prior is a sum over a lattice and p(x) a Gaussian in closed
    form.""",
    dtypes=("float64",),
)
@given(table=reals((3, 2), -4, 2), model=linear_models(1))
def test_the_average_likelihood_is_unbiased_for_the_marginal(
    subject: Handle, device: str, dtype: torch.dtype, table: Tensor, model: dict[str, Tensor]
) -> None:
    pieces = subject.pieces()
    for size in (1, 2, 3):
        estimates = [_table(pieces, table, picks).exp() for picks in tuples(len(table), size)]
        check.close(
            torch.stack(estimates).mean(0),
            table.exp().mean(0),
            rounding(dtype, length=27, scale=float(table.exp().max())),
            f"the mean of the estimate of p(x) over all draws of {size} codes",
        )
    weight, bias, log_var = _parts(model)
    line = torch.linspace(-10, 10, 321, dtype=torch.float64)
    mass = (-0.5 * line.square()).softmax(0)
    x = model["x"]
    estimate = pieces.log_marginal_likelihood(
        lambda x, z: log_normal(x, z @ weight.T + bias, log_var),
        x.repeat_interleave(len(line), 0),
        line.repeat(len(x))[None, :, None],
    )
    found = (mass * estimate.exp().reshape(len(x), -1)).sum(-1)
    exact = pieces.linear_gaussian_log_evidence(x, weight, bias, log_var)
    check.close(
        found.log(),
        exact,
        guarded(dtype, scale=float(exact.abs().max())),
        "the logarithm of the mean of the estimate, against the evidence in closed form,",
    )


@claim(
    "theory.linear_gaussian_posterior_is_bayes",
    r"\log p(x|z) + \log p(z) = \log p(x) + \log p(z|x) \quad \text{for every } z",
    sources=["Tipping and Bishop 1999, section 3.1"],
    why="""The joint density of a linear Gaussian model factorises both ways. Evidence and posterior in
    closed form must multiply to the joint at every code, and the evidence is SciPy's Gaussian with
    covariance W Wᵀ + ψ.""",
    dtypes=("float64",),
)
@given(model=stratified([linear_models(1), linear_models(2)]), scale=st.sampled_from([0.5, 3.0]))
def test_the_linear_gaussian_posterior_obeys_bayes_rule(
    subject: Handle, device: str, dtype: torch.dtype, model: dict[str, Tensor], scale: float
) -> None:
    pieces = subject.pieces()
    weight, bias, log_var = _parts(model)
    x, evidence = model["x"], _evidence(model)
    found = pieces.linear_gaussian_log_evidence(x, weight, bias, log_var)
    size = float(evidence.abs().max()) + float(weight.square().sum()) * scale**2 + 10
    room = guarded(dtype, scale=size)
    check.close(found, evidence, room, "the log-evidence, against SciPy,")
    mean, covariance = pieces.linear_gaussian_posterior(x, weight, bias, log_var)
    z = scale * torch.randn(len(x), weight.shape[1], dtype=dtype)
    joint = log_normal(x, z @ weight.T + bias, log_var) + log_normal(z)
    posterior = torch.distributions.MultivariateNormal(mean, covariance).log_prob(z)
    check.close(found + posterior, joint, room, "log p(x) + log p(z|x), against log p(x, z),")


def _linear_vae(
    pieces: Built, model: dict[str, Tensor], encoder: Tensor, offset: Tensor, latent_log_var: Tensor
) -> Any:
    """The reference's linear autoencoder with these parameters."""
    weight, bias, log_var = _parts(model)
    vae = pieces.LinearGaussianVAE(weight.shape[0], weight.shape[1]).to(weight)
    with torch.no_grad():
        vae.decoder.weight.copy_(weight)
        vae.decoder.bias.copy_(bias)
        vae.noise_log_var.copy_(log_var)
        vae.encoder.weight.copy_(encoder)
        vae.encoder.bias.copy_(offset)
        vae.latent_log_var.copy_(latent_log_var)
    return vae


def _at_the_posterior(pieces: Built, model: dict[str, Tensor]) -> Any:
    """The linear autoencoder whose encoder is the exact posterior."""
    weight, bias, log_var = _parts(model)
    corners = torch.cat(
        [torch.zeros(1, len(bias), dtype=bias.dtype), torch.eye(len(bias), dtype=bias.dtype)]
    )
    means, covariance = pieces.linear_gaussian_posterior(corners, weight, bias, log_var)
    return _linear_vae(
        pieces, model, (means[1:] - means[0]).T, means[0], covariance.diagonal().log()
    )


def _bound(vae: Any, x: Tensor) -> Tensor:
    """The expected bound: quadratic in the noise, so that few nodes are exact."""
    dims = vae.latent_log_var.numel()
    u, w = hermite(3, dims)
    values: Tensor = torch.stack([vae.elbo(x, node.expand(1, len(x), dims)) for node in u])
    return (w[:, None] * values).sum(0)


@claim(
    "theory.tight_at_the_posterior",
    r"q(z|x) = p(z|x) \iff \mathcal L(x) = \log p(x)",
    sources=[f"{KINGMA}, equation 1", "Lucas et al. 2019, section 4"],
    why="""The gap is the divergence of q from the posterior. Where the columns of the decoder, scaled
    by the noise, are orthogonal, the posterior of a linear Gaussian model is a diagonal Gaussian, and
    an affine encoder can be exact: the bound is then log p(x) for every x, and the sampled estimate is
    log p(x) for every draw. Moving the encoder's mean or variance opens a gap of the divergence
    between two Gaussians.""",
    dtypes=("float64",),
)
@given(
    model=stratified([linear_models(1), linear_models(2, orthogonal=True)]),
    shift=st.sampled_from([-1.0, 0.5]),
    factor=st.sampled_from([-1.0, 0.0, 0.5]),
)
def test_the_bound_is_attained_at_the_posterior_and_nowhere_else(
    subject: Handle,
    device: str,
    dtype: torch.dtype,
    model: dict[str, Tensor],
    shift: float,
    factor: float,
) -> None:
    pieces = subject.pieces()
    x, evidence = model["x"], _evidence(model)
    room = guarded(dtype, scale=float(evidence.abs().max()) + 10)
    vae = _at_the_posterior(pieces, model)
    check.close(vae.log_evidence(x), evidence, room, "the model's own log_evidence, against SciPy,")
    check.close(_bound(vae, x), evidence, room, "the bound at the posterior, against log p(x),")
    mean, log_var = vae.encode(x)
    z = mean + (0.5 * log_var).exp() * torch.randn(5, *mean.shape, dtype=dtype)
    sampled = [
        pieces.elbo_sampled(
            vae.log_likelihood(x, one)[None],
            log_normal(one)[None],
            log_normal(one, mean, log_var)[None],
        )
        for one in z
    ]
    check.close(
        torch.stack(sampled),
        evidence.expand(5, -1),
        room,
        "the sampled estimate at the posterior, draw by draw, against log p(x),",
    )
    with torch.no_grad():
        variance = vae.latent_log_var.exp()
        vae.encoder.bias.add_(shift)
        vae.latent_log_var.add_(factor)
    gap = 0.5 * (shift**2 / variance + math.exp(factor) - 1 - factor).sum()
    check.close(
        evidence - _bound(vae, x),
        gap.expand(len(x)),
        room * (1 + float(gap)),
        "the gap with the posterior moved, against the divergence of two Gaussians,",
    )


@claim(
    "theory.linear_vae_is_ppca",
    r"\max \tfrac1N \sum_n \mathcal L(x_n) = -\tfrac12 \Bigl(D \log 2\pi + \sum_{l \le L} \log"
    r" \lambda_l + (D - L) \log \sigma^2 + D\Bigr), \quad W = U_L (\Lambda_L - \sigma^2 I)^{1/2}",
    sources=["Tipping and Bishop 1999, section 3.2", "Lucas et al. 2019, section 4"],
    why="""At the maximum-likelihood solution of probabilistic PCA the decoder's columns are principal
    directions, hence orthogonal, so the posterior is diagonal and an affine encoder attains it: the
    bound equals the likelihood, whose maximum is known from the eigenvalues. There every gradient of
    the bound vanishes, with one noise variance for all features, and no other parameters do better.
    The encoder then projects on the principal subspace.""",
    dtypes=("float64",),
)
@given(
    x=stratified([normals((9, 3), 1.0, 0.5), normals((12, 4)), normals((7, 2), 2.0)]),
    latent_dim=st.sampled_from([1, 2]),
    away=st.sampled_from([0.1, 1.0]),
)
def test_the_linear_autoencoder_at_its_optimum_is_probabilistic_pca(
    subject: Handle, device: str, dtype: torch.dtype, x: Tensor, latent_dim: int, away: float
) -> None:
    pieces = subject.pieces()
    dims = x.shape[1]
    latent_dim = min(latent_dim, dims - 1)
    x = x * torch.linspace(1, 2, dims, dtype=dtype)
    values, vectors = np.linalg.eigh(np.cov(x.numpy().T, bias=True))
    top = torch.from_numpy(values[::-1].copy())
    directions = torch.from_numpy(vectors[:, ::-1].copy())[:, :latent_dim]
    noise = top[latent_dim:].mean()
    weight = directions * (top[:latent_dim] - noise).sqrt()
    model = {"weight": weight, "bias": x.mean(0), "log_var": noise.log().repeat(dims), "x": x}
    vae = _at_the_posterior(pieces, model)
    best = -0.5 * (
        dims * math.log(2 * math.pi)
        + top[:latent_dim].log().sum()
        + (dims - latent_dim) * noise.log()
        + dims
    )
    room = guarded(dtype, scale=float(best.abs()) + dims)
    reached = _bound(vae, x).mean()
    check.close(reached, best, room, "the bound at the solution of probabilistic PCA")
    check.close(vae.log_evidence(x).mean(), best, room, "the log-evidence there")
    for (name, _), slope_ in zip(
        vae.named_parameters(), torch.autograd.grad(reached, list(vae.parameters())), strict=True
    ):
        flat = slope_.sum() if name == "noise_log_var" else slope_
        check.close(
            flat, torch.zeros_like(flat), room * 10, f"the bound's gradient in {name} there"
        )
    rows = vae.encoder.weight.detach()
    check.close(
        rows @ directions @ directions.T,
        rows,
        room,
        "the encoder, projected on the principal subspace,",
    )
    with torch.no_grad():
        for name, parameter in vae.named_parameters():
            moved = torch.randn(()) if name == "noise_log_var" else torch.randn_like(parameter)
            parameter.add_(away * moved)
    check.at_most(_bound(vae, x).mean(), best, room, "the bound at other parameters")


@claim(
    "theory.elbo_estimators_agree",
    r"\mathbb E\,\hat{\mathcal L}^A = \mathbb E\,\hat{\mathcal L}^B; \qquad \operatorname{Var} \hat{\mathcal"
    r" L}^B = 0 \text{ if } p(x|z) = p(x), \quad \hat{\mathcal L}^A = \hat{\mathcal L}^B \text{ if } q = p(z)",
    sources=[f"{KINGMA}, section 2.3"],
    why="""The sampled divergence has the exact one as its mean. The analytic form 'typically has less
    variance': it has none where the decoder ignores the code, and the same where q is the prior. It
    need not have less: at the posterior the sampled form has none.""",
    assumptions=["q away from the posterior: there the order of the variances is reversed"],
    dtypes=("float64",),
)
@given(
    drawn=stratified(
        [
            shaped(((1, 2), (3, 2)), mean=constant(0.0), log_var=constant(0.0)),
            shaped(((1, 1), (3, 2)), mean=within(-2, 2), log_var=within(-2, 2)),
        ]
    ),
    slopes=reals((2,), -2, 2),
)
def test_the_two_estimators_of_the_bound_have_one_expectation(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Tensor], slopes: Tensor
) -> None:
    pieces = subject.pieces()
    mean, log_var = drawn["mean"], drawn["log_var"]
    u, w = hermite(6, mean.shape[1])
    z = mean + (0.5 * log_var).exp() * u[:, None]  # (K, N, L)
    prior, posterior = log_normal(z), log_normal(z, mean, log_var)
    likelihood = (slopes[: mean.shape[1]] * z).sum(-1) - z.square().sum(-1)
    kl = kl_formula(mean, log_var)
    room = rounding(dtype, length=36) * (
        1 + (prior.abs() + posterior.abs() + likelihood.abs()).amax(0)
    )
    sampled = torch.stack(
        [
            pieces.elbo_sampled(*(t[k : k + 1] for t in (likelihood, prior, posterior)))
            for k in range(len(u))
        ]
    )
    analytic = torch.stack([pieces.elbo_analytic(likelihood[k : k + 1], kl) for k in range(len(u))])
    check.close(
        (w[:, None] * sampled).sum(0),
        (w[:, None] * (likelihood + prior - posterior)).sum(0),
        room,
        "the mean of elbo_sampled over the noise",
    )
    check.close(
        (w[:, None] * analytic).sum(0),
        (w[:, None] * sampled).sum(0),
        room,
        "the mean of elbo_analytic over the noise, against that of elbo_sampled,",
    )
    check.close(
        pieces.elbo_sampled(likelihood, prior, posterior),
        sampled.mean(0),
        room,
        "elbo_sampled of all draws at once, against the mean over them,",
    )
    check.close(
        pieces.elbo_analytic(likelihood, kl),
        analytic.mean(0),
        room,
        "elbo_analytic of all draws at once, against the mean over them,",
    )
    if bool((mean == 0).all() and (log_var == 0).all()):
        check.close(
            analytic, sampled, room.expand_as(sampled), "elbo_analytic where q is the prior"
        )
    ignored = pieces.elbo_analytic(torch.full_like(likelihood, -2.0), kl)
    check.close(ignored, -2.0 - kl, room, "elbo_analytic where the decoder ignores the code")


@claim(
    "theory.minibatch_objective_unbiased",
    r"\binom NM^{-1} \sum_{|B| = M} \frac NM \sum_{i \in B} \mathcal L_i = \sum_{i=1}^N \mathcal L_i",
    sources=[f"{KINGMA}, equation 8"],
    why="""Every item is in the share M/N of all minibatches of M items; all of them are enumerated.""",
    dtypes=("float64",),
)
@given(elbo=stratified([reals((n,), -50, 5) for n in (1, 3, 5)]))
def test_the_minibatch_objective_is_unbiased(
    subject: Handle, device: str, dtype: torch.dtype, elbo: Tensor
) -> None:
    pieces = subject.pieces()
    count = len(elbo)
    for size in range(1, count + 1):
        found = [
            pieces.minibatch_objective(elbo[list(b)], count)
            for b in itertools.combinations(range(count), size)
        ]
        check.close(
            torch.stack(found).mean(),
            elbo.sum(),
            rounding(dtype, length=count, scale=50.0 * count),
            f"the mean over all minibatches of {size} of {count} items",
        )
