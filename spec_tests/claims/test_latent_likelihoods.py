r"""What a decoder says of data: log-densities of Gaussians and log-probabilities of coins.

SciPy is the oracle of the values; the totals are sums over a lattice or over all outcomes.
"""

from __future__ import annotations

import numpy as np
import scipy.special
import scipy.stats
import torch
from hypothesis import given
from torch import Tensor

from spec_tests import check
from spec_tests.contracts.latent import bits, shaped
from spec_tests.entries import EXTREME, among, constant, slack, within
from spec_tests.handle import Handle
from spec_tests.judge import stratified
from spec_tests.marginals import cpu
from spec_tests.numerics import gradients
from spec_tests.quadrature import HALF_LOG_TAU, log_normal
from spec_tests.registry import claim
from spec_tests.tolerance import rounding

KINGMA = "Kingma and Welling 2013, 'Auto-Encoding Variational Bayes'"
L17 = "CS182 2021 L17, 'Variational autoencoders'"


# gaussian_log_likelihood ----------------------------------------------------------------------------


def density_terms(x: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    return (2 + log_var.abs() + (x - mean).square() * (-log_var).exp()).sum(-1)


@claim(
    "gaussian_log_likelihood.matches_scipy",
    r"\log p(x) = \sum_d \log \mathcal N(x_d; \mu_d, \sigma_d^2)",
    sources=[f"{KINGMA}, appendix C.2"],
    why=r"""Given mean and variance the features are independent, so the density is a product and
    its logarithm a sum:

    .. math::

        \log p(x)
        = -\tfrac12 \sum_d \Bigl(\log 2\pi + v_d + \frac{(x_d - \mu_d)^2}{e^{v_d}}\Bigr),
        \qquad v = \log \sigma^2 .

    Each of the three terms has its own classic mistake: the constant is dropped, the half of
    :math:`\log \sigma = \tfrac12 v` is forgotten, the error is divided by the standard deviation
    in place of the variance. A mean over features is the fourth.

    The oracle is ``scipy.stats.norm.logpdf`` in double precision, called with the standard
    deviation :math:`e^{v/2}` and added up over features. It was written by others, and
    parametrised otherwise.""",
    assumptions={
        "features are independent given mean and variance": (
            "with unit variances and correlation 0.9 the log-density of a pair at its mean is "
            r"larger than the sum by :math:`-\tfrac12 \log 0.19 = 0.830`"
        ),
    },
    sentence="is the sum of SciPy's log-densities",
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
    sources=[L17, "CS182 2021 L17, 'mean squared error is a Gaussian log-likelihood'"],
    why=r"""Put :math:`\sigma = 1` into the log-density: :math:`\log \sigma` vanishes, the error is
    divided by one, and the rest is half the squared Euclidean distance and
    :math:`\tfrac12 \log 2\pi` for each of the D dimensions. Hence minimising squared error is
    maximum likelihood under a Gaussian of fixed variance.

    The half and the sum matter as soon as the term is added to another one. A decoder that is
    trained with the whole squared error has, without saying so, the variance :math:`\tfrac12`;
    one trained with the mean over D features has the variance D, and its divergence weighs D
    times as much as in the bound. The constant has no gradient, but without it values cannot be
    compared between numbers of dimensions or between variances.

    The oracle is the right-hand side, written out in double precision.""",
    assumptions={
        "the variance is one": (
            r"at :math:`\sigma = 0.1` a squared error weighs 100 times as much, and each "
            r"dimension adds :math:`-\log 0.1 = 2.303`"
        ),
    },
    sentence="is minus half the squared error plus a constant at unit variance",
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
    sources=["Bishop 2006, 'Pattern Recognition and Machine Learning', section 1.2.1"],
    why=r"""Log-likelihoods of two models can be compared because both densities spend a total of
    one. Substituting :math:`u = (x - \mu)/\sigma` turns the integral into a product of standard
    normal ones, each equal to 1; the Jacobian of the substitution is what :math:`-\log \sigma`
    in the log-density is for.

    The test has no formula of the density. It adds up :math:`e^{\log p(x)}` over a lattice around
    the mean with spacing :math:`\tfrac12 \sigma`, out to :math:`9\sigma`, times the volume of a
    cell. Such a sum is far better than its spacing suggests: by Poisson's summation formula

    .. math::

        h \sum_k \varphi(kh) = 1 + 2 \sum_{m \ge 1} e^{-2\pi^2 m^2 / h^2}
        = 1 + 2 e^{-79} + \dots \quad\text{at } h = \tfrac12 ,

    where :math:`\varphi` is the standard normal density, and the tails beyond 9 hold
    :math:`2 \cdot 10^{-19}`. A constant that is dropped or doubled shows at once.""",
    assumptions={
        "the total is an integral, not a sum over levels": (
            r"at :math:`\sigma = 0.1` the density is 3.99 at its mean, so over integer levels the "
            "sum alone exceeds one"
        ),
    },
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
    r"\nabla_\mu \log p = \frac{x - \mu}{\sigma^2} = -\nabla_x \log p, \qquad \nabla_{\log"
    r" \sigma^2} \log p = \tfrac12\Bigl(\frac{(x - \mu)^2}{\sigma^2} - 1\Bigr)",
    sources=[f"{KINGMA}, appendix C.2, differentiated"],
    why=r"""Differentiate :math:`-\tfrac12(\log 2\pi + v + (x - \mu)^2 e^{-v})` with
    :math:`v = \log \sigma^2`. The error is weighted by the precision: a feature that is
    predicted with confidence pulls harder. In v the slope vanishes where
    :math:`\sigma^2 = (x - \mu)^2`, and averaged over data where the variance is the mean
    squared error, so a decoder that learns both learns how wrong it is. Drop the term
    :math:`\tfrac12 v` and the second gradient is never negative: the variance grows without
    end.

    Autograd's gradient in all three arguments is compared with these formulas in double
    precision, also far from the mean and at log-variances of :math:`\pm 40`, where a clamp or a
    floor under the variance has other slopes. Item n enters with weight n, so that items cannot
    be confused.""",
    assumptions={
        "mean and log-variance are separate arguments": (
            r"with :math:`\sigma = \mu` the slope of the log-density at :math:`x = \mu` is "
            r":math:`-1/\mu`, where that in the mean alone is 0"
        ),
    },
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
    r"|v_d| \le 40,\ \frac{|x_d - \mu_d|}{\sigma_d} \le 10^{10} \;\Rightarrow\; \log p(x) ="
    r" -\tfrac12 \sum_d \bigl(\log 2\pi + v_d + (x_d - \mu_d)^2 e^{-v_d}\bigr) > -\infty,"
    r" \quad v = \log \sigma^2",
    sources=["contracts.md: finite at extreme inputs"],
    why=r"""A density of :math:`e^{-10^{6}}` is 0 in any floating-point format, its logarithm
    :math:`-10^6` is an ordinary number: the logarithm must be assembled from its terms, never
    taken of a density. And a floor under the variance, such as :math:`10^{-6}` added to it, is
    no innocent guard. At :math:`v = -40` the variance is :math:`4 \cdot 10^{-18}`, and with the
    floor a confident mistake costs some :math:`10^{11}` times too little.

    The test draws errors up to :math:`10^4` and log-variances from :math:`-40` to 40, wherever
    their combination stays within the bounds of the statement, and compares with the sum of its
    terms in double precision. Allowed is rounding, relative to the absolute size of the terms.""",
    assumptions={
        "the squared standardised error fits into the format": (
            "an error of :math:`10^{20}` standard deviations has a square of :math:`10^{40}`, "
            "which overflows single precision"
        ),
    },
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
    why=r"""Each feature is a coin that shows 1 with probability
    :math:`\sigma(a_d) = 1/(1 + e^{-a_d})`. A one contributes :math:`\log \sigma(a_d)`, a zero
    :math:`\log(1 - \sigma(a_d)) = \log \sigma(-a_d)`, and the coins are independent given the
    code, so the logarithms add up. It is the negative binary cross-entropy, summed over
    features: a loss function of a library gives it with the other sign, and often averaged.

    The oracle is ``scipy.special.log_expit``, the logarithm of the logistic function, at
    :math:`\pm a_d` according to the bit, added up in double precision. It shares no code with the
    subject, and needs no probability, so it is as exact for large logits as for small ones.""",
    assumptions={
        "the data are zeros and ones": (
            r"with :math:`a = 0` the expression is :math:`\log \tfrac12` for every grey value in "
            r"[0, 1], and its exponential integrates to :math:`\tfrac12`, not to 1"
        ),
        "the features are independent given the logits": (
            r"two fair coins that always agree show (1, 1) with probability :math:`\tfrac12`, and "
            r"the product says :math:`\tfrac14`"
        ),
    },
    sentence="is the sum of the coins' log-probabilities",
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
    sources=["Bishop 2006, 'Pattern Recognition and Machine Learning', section 1.2"],
    why=r"""Sum and product change places, and a coin shows one of its two sides:

    .. math::

        \sum_{x \in \{0, 1\}^D} \prod_d \sigma(a_d)^{x_d} \sigma(-a_d)^{1 - x_d}
        = \prod_d \bigl(\sigma(a_d) + \sigma(-a_d)\bigr) = 1 .

    Here :math:`a_d` are the logits and :math:`\sigma(a) = 1/(1 + e^{-a})`. All :math:`2^D`
    outcomes are listed, for up to five coins, and the exponentials of what the subject says of
    them are added up: no formula is compared with another, so nothing can be wrong in the same
    way on both sides. A mean over features takes the D-th root of every probability, and the
    total exceeds one; if the term of the zeros is missing, or logits are taken for probabilities,
    the total is off as well.

    That two sides have been exchanged cannot be seen here;
    ``bernoulli_log_likelihood.matches_scipy`` sees it.""",
    assumptions={
        "every feature takes two values": (
            r"a third level :math:`\tfrac12`, scored by the same expression at :math:`a = 0`, "
            r"makes the total :math:`\tfrac32`"
        ),
    },
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
    r"|a_d| \le 10^4 \;\Rightarrow\; \log p(x) = -\sum_d \Bigl(\max(0, -s_d a_d) + \log\bigl(1"
    r" + e^{-|a_d|}\bigr)\Bigr) \text{ and its gradient are exact}, \quad s_d = 2 x_d - 1",
    sources=["contracts.md: finite at extreme inputs", "CS231n, 'numeric stability'"],
    why=r"""The logarithm of a probability is wanted, and the probability is a detour:
    :math:`\sigma(a)` rounds to 1 from :math:`a = 37` on in double precision, from
    :math:`a = 17` on in single, so :math:`\log(1 - \sigma(a))` is :math:`-\infty` where the
    truth is :math:`-a`, and a product with 0 makes it NaN. An :math:`\varepsilon` under the
    logarithm hides that: the worst mistake costs :math:`-\log \varepsilon` and its gradient is
    gone, just where it is needed most. The sum above holds no logarithm of anything below 1,
    and no exponential of anything above 0.

    Logits of up to :math:`\pm 10^4` are drawn, with those where :math:`\sigma` starts to round.
    Value and gradient must be finite; the value is compared with ``scipy.special.log_expit``, the
    gradient with :math:`x - \sigma(a)`.""",
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
    why=r"""With :math:`\sigma' = \sigma(1 - \sigma)` the derivative of :math:`\log \sigma(a)` is
    :math:`1 - \sigma(a)`, and that of :math:`\log \sigma(-a)` is :math:`-\sigma(a)`. Hence

    .. math::

        \nabla_a \log p(x) = x\,(1 - \sigma(a)) - (1 - x)\,\sigma(a) = x - \sigma(a) ,

    observed minus expected, as in every exponential family in its natural parameter. It is never
    larger than one, and it does not die when the model is confident and wrong, which is why
    decoders put out logits.

    Autograd's gradient is compared with :math:`x - \sigma(a)` in double precision, with weight n
    on item n. A decoder that ends in a sigmoid before a loss that takes logits is seen here: its
    logits never leave (0, 1), and an extra factor :math:`\sigma(1 - \sigma)` shrinks each slope.""",
    assumptions={
        "the derivative is taken in the logit": (
            "in the probability itself it is :math:`(x - p)/(p(1 - p))`, a million at "
            ":math:`x = 1` and :math:`p = 10^{-6}`"
        ),
    },
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
    why=r"""Since :math:`\sigma(-a) = 1 - \sigma(a)`, turning the sign of the logits exchanges the
    probabilities of heads and tails, and :math:`1 - x` exchanges what was seen:

    .. math::

        (1 - x) \log \sigma(-a) + x \log \sigma(a) = \log p(x \mid a) .

    Both sides of the equation are computed by the subject, so the test has no oracle that could
    share its mistake. It does not know which side is called 1; it knows that the name must not
    matter. A term that is missing for the zeros, an :math:`\varepsilon` added to one of the two
    probabilities only, or a weight on the ones breaks the symmetry.""",
    assumptions={
        "ones and zeros are weighted alike": (
            r"with a weight of 2 on ones, as for rare classes, a one costs :math:`2 \log 2` at "
            r":math:`a = 0` and a zero :math:`\log 2`"
        ),
    },
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
