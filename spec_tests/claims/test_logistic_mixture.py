r"""Claims about the discretised mixture of logistics.

The oracle is the definition, a difference of two distribution functions, in decimal arithmetic of
sixty digits: nothing cancels there and nothing underflows.
"""

from __future__ import annotations

import decimal
from decimal import Decimal
from typing import Any

import numpy as np
import scipy.special
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spec_tests import check
from spec_tests.contracts.logistic_mixture import EXTREME, among, mixtures
from spec_tests.handle import Handle
from spec_tests.judge import stratified
from spec_tests.numerics import gradients
from spec_tests.registry import claim
from spec_tests.strategies import reals
from spec_tests.tolerance import guarded, rounding

SALIMANS = "Salimans et al. 2017, 'PixelCNN++'"
DIGITS = decimal.Context(prec=60, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)


def _logistic(z: Decimal) -> Decimal:
    grown = DIGITS.exp(-abs(z))
    return DIGITS.divide(Decimal(1) if z > 0 else grown, DIGITS.add(1, grown))


def _mass(k: int, levels: int, mean: float, log_scale: float) -> Decimal:
    """The mass of one logistic in the bin of level k, edges with their tails."""
    scale = DIGITS.exp(Decimal(log_scale))

    def standard(edge: int) -> Decimal:
        place = DIGITS.divide(Decimal(edge), Decimal(levels - 1)) - 1
        return DIGITS.divide(DIGITS.subtract(place, Decimal(mean)), scale)

    if k == 0:
        return _logistic(standard(1))
    if k == levels - 1:
        return _logistic(-standard(2 * k - 1))
    low, high = standard(2 * k - 1), standard(2 * k + 1)
    if low > 0:  # the same mass in the other tail, where it does not cancel
        low, high = -high, -low
    return DIGITS.subtract(_logistic(high), _logistic(low))


def _oracle(drawn: dict[str, Any]) -> Tensor:
    """The log-probability of every item, by definition."""
    found = []
    columns = (
        drawn[name].double().cpu().tolist() for name in ("log_weights", "means", "log_scales")
    )
    for k, *row in zip(drawn["x"].tolist(), *columns, strict=True):
        weights = [DIGITS.exp(Decimal(w)) for w in row[0]]
        parts = [
            DIGITS.multiply(w, _mass(k, drawn["levels"], mean, log_scale))
            for w, mean, log_scale in zip(weights, row[1], row[2], strict=True)
        ]
        with decimal.localcontext(DIGITS):
            found.append(float((sum(parts) / sum(weights)).ln()))
    return torch.tensor(found, dtype=torch.float64)


def _slack(drawn: dict[str, Any], dtype: torch.dtype, expected: Tensor) -> Tensor:
    """A guard's share of each value, and what rounding the place of a bin does at the finest scale."""
    steep = ((2 + drawn["means"].abs()) * (-drawn["log_scales"]).exp()).amax(-1).double().cpu()
    size = 1 + steep + drawn["log_weights"].abs().amax(-1).double().cpu()
    return guarded(dtype) * expected.abs().clamp_min(1.0) + rounding(dtype) * size


def _call(subject: Handle, drawn: dict[str, Any], **changed: Any) -> Tensor:
    found: Tensor = subject(*(drawn | changed).values())
    return found


def within(low: float, high: float) -> Any:
    return lambda shape: reals(shape, low, high)


@claim(
    "discretized_logistic_mixture.matches_cdf_differences",
    r"\log p(k) = \log \sum_m \pi_m \left[\sigma\!\left(\frac{v_k + h - \mu_m}{s_m}\right) - \sigma\!\left(\frac{v_k - h - \mu_m}{s_m}\right)\right], "
    r"\quad 0 < k < K - 1, \quad v_k = \frac{2k}{K-1} - 1,\ h = \frac{1}{K-1}",
    sources=[f"{SALIMANS}, equation 2"],
    why=r"""The logistic distribution of mean :math:`\mu` and scale s has the distribution
    function :math:`\sigma((v - \mu)/s)`, with :math:`\sigma(z) = 1/(1 + e^{-z})`. The probability
    of a level is what it gains over the level's bin, of half-width h around :math:`v_k`, and a
    mixture adds these up with weights :math:`\pi_m`.

    Far from the mean both values round to 0 or to 1, while the logarithm of their difference is an
    ordinary number, by the identity

    .. math::

        \sigma(b) - \sigma(a) = \sigma(b)\, \sigma(-a)\, \bigl(1 - e^{-(b - a)}\bigr) .

    Taking the density at the middle times 2h instead is 2.1 nats too low in the far tail of a
    component with :math:`s = e^{-7}`, at 256 levels. The oracle is the plain difference in decimal
    arithmetic of sixty digits, where nothing cancels that matters and nothing underflows; the outer
    levels take their tails there too.""",
    assumptions={
        "the level is not the first or the last": (
            r"at 256 levels, a component at :math:`\mu = -2` with :math:`s = 0.1` has nearly all its mass below "
            ":math:`-1 - h`, and level 0, which owns it, would get nearly none"
        ),
    },
)
@given(
    drawn=stratified(
        [
            *mixtures().genspec_strata,
            *mixtures(((2, 2, 256), (3, 1, 5)), log_scales=within(-9, -4)).genspec_strata,
            *mixtures(((2, 3, 8),), means=within(-40, 40)).genspec_strata,
        ]
    )
)
def test_is_the_logarithm_of_the_gain_of_the_distribution_function(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Any]
) -> None:
    expected = _oracle(drawn)
    found = _call(subject, drawn)
    check.close(found, expected, _slack(drawn, dtype, expected), "the log-probability")


@claim(
    "discretized_logistic_mixture.edges_take_tails",
    r"p(0) = \sum_m \pi_m\, \sigma\!\left(\frac{-1 + h - \mu_m}{s_m}\right), \qquad p(K-1) = "
    r"\sum_m \pi_m\, \sigma\!\left(-\frac{1 - h - \mu_m}{s_m}\right)",
    sources=[f"{SALIMANS}, §2.1"],
    why=r"""Levels are places on [-1, 1], while a logistic lives on the whole line. Its mass
    beyond the outer bins has to go to some level, or it is lost: :math:`\sum_k p(k) < 1`. It goes
    to the nearest, as it does when values are clipped to 0 and 255, so that the first bin reaches
    down to minus infinity and the last one up to infinity:

    .. math::

        p(0) = \int_{-\infty}^{-1 + h} f, \qquad p(K-1) = \int_{1 - h}^{\infty} f,

    where f is the mixture's density. This is also why saturated pixels can be likelier than their
    neighbours.

    To the two of them alone: with thousands of levels the neighbours lie so close that a threshold
    on the value takes them for an edge. The oracle for the edges is SciPy's log-sigmoid and
    log-sum-exp; the neighbours are compared with the difference in sixty digits.""",
)
@given(
    drawn=stratified(
        [
            *mixtures(log_scales=within(-2, 3)).genspec_strata,
            *mixtures(((2, 1, 4096), (1, 2, 65536)), log_scales=within(-2, 3)).genspec_strata,
        ]
    ),
    edge=stratified([st.just("first"), st.just("last")]),
)
def test_first_and_last_level_have_all_that_lies_beyond(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Any], edge: str
) -> None:
    last = edge == "last"
    level = drawn["levels"] - 1 if last else 0
    found = _call(subject, drawn, x=torch.full_like(drawn["x"], level))
    log_weights, means, log_scales = (
        drawn[name].double().cpu().numpy() for name in ("log_weights", "means", "log_scales")
    )
    inner = 1 - 1 / (drawn["levels"] - 1)
    apart = (means - inner) if last else (-inner - means)
    logs = scipy.special.log_softmax(log_weights, -1)
    tail = scipy.special.log_expit(apart / np.exp(log_scales))
    expected = torch.from_numpy(scipy.special.logsumexp(logs + tail, axis=-1))
    check.close(
        found, expected, _slack(drawn, dtype, expected), f"the log-probability of the {edge} level"
    )
    if drawn["levels"] < 3:
        return
    neighbours = drawn | {"x": torch.full_like(drawn["x"], level - 1 if last else 1)}
    expected = _oracle(neighbours)
    check.close(
        _call(subject, neighbours), expected, _slack(drawn, dtype, expected),
        f"the log-probability of the neighbour of the {edge} level",
    )  # fmt: skip


WIDE = within(-20, 20)


@claim(
    "discretized_logistic_mixture.normalised",
    r"\sum_{k=0}^{K-1} p(k) = 1",
    sources=[f"{SALIMANS}, §2.1"],
    why=r"""Let F be the mixture's distribution function. Neighbouring bins share an edge,
    :math:`v_k + h = v_{k+1} - h`, and the outer ones reach to infinity, so the gains telescope:

    .. math::

        F(-1 + h) + \sum_{k=1}^{K-2} \bigl[F(v_k + h) - F(v_k - h)\bigr] + 1 - F(1 - h) = 1,

    whatever the weights, means and scales. A mass that is missing or counted twice makes bits per
    dimension incomparable, and a sum above one lets a model buy likelihood.

    All K levels are asked for and their probabilities added, with log-scales from -20 to 20 and
    means far outside [-1, 1]. A floor under each probability, a bin cut at the border, or places of
    levels that were rounded to single precision do not sum to one there.""",
    assumptions={
        "the bins adjoin, with h half the distance of two levels": (
            "a half-width of 1/K leaves gaps: for K = 2, mean 0 and scale 1 the mass between "
            "-1/2 and 1/2, 0.245, is lost"
        ),
        "the outer bins reach to infinity": "cut off at -2 and 2, the two bins of the same example hold 0.76",
    },
    dtypes=("float64",),
)
@given(
    drawn=stratified(
        [
            *mixtures(log_scales=WIDE).genspec_strata,
            *mixtures(
                ((2, 3, 7), (2, 2, 256)), means=within(-30, 30), log_scales=WIDE
            ).genspec_strata,
        ]
    )
)
def test_probabilities_of_all_levels_sum_to_one(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Any]
) -> None:
    levels = drawn["levels"]
    repeated = {
        name: drawn[name].repeat_interleave(levels, 0)
        for name in ("log_weights", "means", "log_scales")
    }
    x = torch.arange(levels, device=subject.device).repeat(len(drawn["x"]))
    found = _call(subject, drawn, x=x, **repeated).detach().double().cpu().view(-1, levels)
    check.close(
        found.exp().sum(-1), torch.ones(len(found)), guarded(dtype, length=levels),
        f"the sum of the probabilities of all {levels} levels",
    )  # fmt: skip


@claim(
    "discretized_logistic_mixture.limit_of_small_scale",
    r"s \to 0: \quad p(k) \to [\,|v_k - \mu| < h\,], \qquad \log p(k) \simeq -\delta_k / "
    r"s \text{ for } \delta_k = |v_k - \mu| - h > 0",
    sources=[f"{SALIMANS}, §2.1"],
    why=r"""For one component, the mass of a bin that does not hold the mean is a difference of
    two tails, of which the nearer edge, at a distance :math:`\delta_k`, has all but a vanishing
    part:

    .. math::

        p(k) = \sigma(-\delta_k / s) - \sigma(-(\delta_k + 2h)/s) = e^{-\delta_k / s}\,(1 + o(1)) .

    The bin that holds the mean gets the rest, which tends to 1. So a component narrower than its
    bin is a point mass: a network that is certain must be able to say so at a cost of zero, and one
    that is certain and wrong must pay in proportion to its error. A floor under the probability or
    the scale hides both.

    With log-scales from -20 to -14, the log-probability of every level is compared with 0 or
    :math:`-\delta_k / s`, which takes no sigmoid at all.""",
    assumptions={
        "the mean does not lie on an edge": "there the two neighbouring levels have probability 1/2 each, at any small scale",
        "one component": (
            "in a mixture the cost of a level is that of the component with the least "
            r":math:`\delta_k / s_m`, and the limit inside a bin is the weight of the components "
            "in it"
        ),
    },
)
@given(
    level=stratified([st.just(place) for place in ("first", "inner", "last")]),
    levels=st.sampled_from([2, 3, 9, 256]),
    offset=st.sampled_from([-0.6, -0.3, 0.0, 0.3, 0.6]),
    log_scale=st.sampled_from([-20.0, -17.0, -14.0]),
)
def test_narrow_component_is_a_point_mass(
    subject: Handle, device: str, dtype: torch.dtype, level: str, levels: int, offset: float,
    log_scale: float,
) -> None:  # fmt: skip
    k = {"first": 0, "inner": levels // 2, "last": levels - 1}[level]
    half = 1 / (levels - 1)
    mean = torch.tensor(2 * k * half - 1 + offset * half, dtype=dtype).item()
    x = torch.arange(levels, device=subject.device)
    numbers = torch.tensor([0.0, mean, log_scale], device=subject.device, dtype=dtype)
    found = subject(x, *(n.expand(levels, 1).clone() for n in numbers), levels)
    apart = (x.double().cpu() * 2 * half - 1 - mean).abs() - half
    scale = torch.tensor(log_scale).double().exp()
    expected = torch.where(apart < 0, torch.zeros(levels), -apart / scale)
    room = guarded(dtype) * expected.abs().clamp_min(1.0) + rounding(dtype, scale=2.0) / scale
    room[k] = guarded(dtype)
    check.close(found, expected, room, f"the log-probability, by level, for a mean in bin {k},")


@claim(
    "discretized_logistic_mixture.mixture_weights_shift_invariant",
    r"p(k; a + c) = p(k; a), \qquad \pi_m = \operatorname{softmax}(a)_m = e^{a_m} \Big/ "
    r"\sum_j e^{a_j}",
    sources=[f"{SALIMANS}, §2.1", "contracts.md, discretized_logistic_mixture"],
    why=r"""The network gives one number :math:`a_m` for each component, which need not be the
    logarithm of a probability. A constant that is added to all of them cancels in

    .. math::

        \pi_m = \frac{e^{a_m + c}}{\sum_j e^{a_j + c}} = \frac{e^{a_m}}{\sum_j e^{a_j}},

    and with a single component the number says nothing at all. Code that takes the numbers for
    normalised log-weights multiplies all probabilities by :math:`e^c`: the model buys likelihood by
    raising c, and training finds that out at once.

    The layer is its own oracle: each item's log-weights get a constant of their own, up to
    hundreds, where exponentials that were not shifted overflow, and no log-probability may move.""",
    assumptions={
        "one constant for all components of an item": r"0 and :math:`\log 3` added to two equal log-weights make them 1/4 and 3/4",
    },
)
@given(
    drawn=mixtures(means=within(-1, 1), log_scales=within(-2, 2)),
    shift=st.sampled_from([-300.0, -1.5, 0.7, 40.0]),
)
def test_adding_a_constant_to_the_log_weights_changes_nothing(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Any], shift: float
) -> None:
    base = _call(subject, drawn)
    by_item = shift * (1 + torch.arange(len(drawn["x"]), device=subject.device)).to(dtype)
    moved = _call(subject, drawn, log_weights=drawn["log_weights"] + by_item[:, None])
    size = 1 + float(by_item.abs().max())
    check.close(
        moved, base.detach(), guarded(dtype, scale=float(base.detach().abs().max()))
        + rounding(dtype, scale=size), f"the log-probability with {shift} added to all log-weights",
    )  # fmt: skip


@claim(
    "discretized_logistic_mixture.finite_everywhere",
    r"|\log p(k)| < \infty, \quad |\nabla \log p(k)| < \infty, \qquad \log p(k) \le 0",
    sources=["contracts.md, discretized_logistic_mixture", f"{SALIMANS}, their published code"],
    why=r"""With :math:`a < b` the two edges of a bin in scales from the mean, the logarithm of
    its mass is

    .. math::

        \log \sigma(b) + \log \sigma(-a) + \log\bigl(1 - e^{-(b - a)}\bigr),

    and every term is finite: :math:`\log \sigma(z) \ge -|z| - \log 2`. The value is of the order of
    the distance to the mean in scales, its slope in the mean at most :math:`1/s`. A difference of
    two rounded sigmoids is 0 there, its logarithm minus infinity and its gradient NaN; a ``where``
    that picks another branch hides the value and not the gradient, as zero times an infinite slope
    is NaN.

    Means reach to ten thousand and log-scales from -20 to 20, the levels include both edges, and
    value and gradient in all three inputs must be finite. A probability cannot exceed one, so that
    the value is at most 0.""",
    assumptions={
        "the scale has a reciprocal": (
            "at a log-scale of -710, :math:`1/s` overflows in double precision, and at -89 in "
            "single"
        ),
    },
)
@given(
    drawn=stratified(
        [
            *mixtures(**EXTREME).genspec_strata,
            *mixtures(log_scales=WIDE).genspec_strata,
            *mixtures(
                ((2, 1, 256), (2, 2, 2)), means=among(-3e3, 3e3), log_scales=within(-20, -3)
            ).genspec_strata,
        ]
    )
)
def test_value_and_gradient_are_finite_at_any_scale_and_distance(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Any]
) -> None:
    names = ("log_weights", "means", "log_scales")
    leaves = {name: drawn[name].clone().requires_grad_(subject.carries_gradients) for name in names}
    found = _call(subject, drawn, **leaves)
    check.finite(found, "the log-probability")
    check.at_most(found, 0.0, guarded(dtype), "the log-probability")
    if not subject.carries_gradients:
        return
    for name, gradient in zip(names, gradients(found.sum(), list(leaves.values())), strict=True):
        check.finite(gradient, f"the gradient in {name}")


@claim(
    "discretized_logistic_mixture.far_gradient_pulls_the_mean",
    r"\frac{\partial \log p(k)}{\partial \mu} \to \frac{\mathrm{sign}(v_k - \mu)}{s} "
    r"\quad\text{as } |v_k - \mu| / s \to \infty",
    sources=[f"{SALIMANS}, equation 2"],
    why=r"""For one component, with :math:`a < b` the edges of the bin in scales from the mean,
    use :math:`\sigma' = \sigma (1 - \sigma)`:

    .. math::

        \frac{\partial}{\partial \mu} \log\bigl[\sigma(b) - \sigma(a)\bigr]
        = -\frac{\sigma'(b) - \sigma'(a)}{s\,[\sigma(b) - \sigma(a)]} = \frac{\sigma(a) + \sigma(b) - 1}{s} .

    Far above the mean both sigmoids tend to 1, far below to 0: an item pulls the mean with the
    constant force :math:`1/s`, however far it is. The tails are exponential; Gaussian ones would
    pull ever harder. A floor under the probability takes the force away exactly where the
    prediction is worst, and nothing is learned from the outlier.

    The mean is put at 600 or -600, and autograd's gradient compared with :math:`\pm 1/s`.""",
    assumptions={
        "the bin ends on the side of the mean": (
            "the last level reaches to infinity: with the mean at 600 its probability is 1 and "
            "the force 0"
        ),
        "one component": (
            "in a mixture each is pulled by :math:`1/s_m` times its share of the item's "
            "probability, and the shares sum to one"
        ),
    },
)
@given(
    levels=stratified([st.just(count) for count in (2, 5, 256)]),
    sign=st.sampled_from([-1.0, 1.0]),
    log_scale=st.sampled_from([-12.0, -5.0, 0.0, 2.0]),
    where=st.floats(0, 1),
)
def test_distant_item_pulls_the_mean_with_the_force_of_one_over_the_scale(
    subject: Handle, device: str, dtype: torch.dtype, levels: int, sign: float, log_scale: float,
    where: float,
) -> None:  # fmt: skip
    subject.needs_gradients()
    top = levels - 2 if sign > 0 else levels - 1  # the bin at the mean's side has no far tail
    k = max(min(round(where * (levels - 1)), top), 0 if sign > 0 else 1)
    numbers = torch.tensor([[0.4], [sign * 600.0], [log_scale]], device=subject.device, dtype=dtype)
    log_weight, mean, scale = (n[None].clone() for n in numbers)
    mean.requires_grad_()
    found = subject(torch.tensor([k], device=subject.device), log_weight, mean, scale, levels)
    gradient = gradients(found.sum(), [mean])[0]
    force = -sign * float(torch.tensor(-log_scale, dtype=torch.float64).exp())
    check.close(
        gradient, torch.full((1, 1), force), guarded(dtype, scale=abs(force)),
        f"the gradient in the mean of level {k}'s log-probability, the mean {sign * 600:g},",
    )  # fmt: skip
