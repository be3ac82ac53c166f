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
    r"\log p(k) = \log \sum_m \pi_m \left[\sigma\!\left(\frac{v_k + h - \mu_m}{s_m}\right) - "
    r"\sigma\!\left(\frac{v_k - h - \mu_m}{s_m}\right)\right], \quad v_k = \frac{2k}{K-1} - 1,\ "
    r"h = \frac{1}{K-1}",
    sources=[f"{SALIMANS}, equation 2"],
    why="""The probability of a level is what the mixture's distribution function gains over its bin.
    Far from the mean both values round to 0 or to 1, while their difference has a logarithm that is
    perfectly ordinary; approximating it by the density is off by nats for narrow components.""",
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
    why="""All mass below the first bin and above the last one belongs to them: pixels of 0 and 255
    are more frequent than their neighbours, and what lay outside would be lost to every level. To
    them alone: with thousands of levels the neighbours lie as close to the edge as makes no difference
    to a threshold on the value, and have a bin like all others.""",
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
    why="""Neighbouring bins share an edge and the outer ones reach to infinity, so the differences
    telescope to 1, whatever the weights, means and scales: a mass that is missing or counted twice
    makes bits per dimension incomparable.""",
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
    r"s \to 0: \quad p(k) \to [\,|v_k - \mu| < h\,], \qquad \log p(k) \simeq -\delta_k / s "
    r"\text{ at a distance } \delta_k \text{ from the bin}",
    sources=[f"{SALIMANS}, §2.1"],
    why="""A component narrower than its bin is a point mass: a network that is certain must be able
    to say so at a cost of zero, and one that is certain and wrong must pay in proportion to its
    error, which a floor under the probability or under the scale hides.""",
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
    r"p(k; a + c) = p(k; a), \qquad \pi = \mathrm{softmax}(a)",
    sources=[f"{SALIMANS}, §2.1", "contracts.md, discretized_logistic_mixture"],
    why="""The network gives one number for each component, which need not be the logarithm of a
    probability: adding a constant to all of an item's numbers leaves their softmax as it was. With
    one component the number says nothing at all.""",
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
    why="""The logarithm of the mass is finite wherever the scale is: of the order of the distance to
    the mean in scales. A difference of two rounded sigmoids is 0 there, its logarithm minus infinity
    and its gradient NaN, also where a ``where`` hides the value.""",
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
    r"\frac{\partial \log p(k)}{\partial \mu} \to \frac{\mathrm{sign}(v_k - \mu)}{s} \quad\text{as } "
    r"|v_k - \mu| / s \to \infty",
    sources=[f"{SALIMANS}, equation 2"],
    why="""The tails of a logistic are exponential, so an item far from the only mean pulls it with
    the constant force 1/s. A floor under the probability takes the force away exactly where the
    prediction is worst, and nothing is learned from the outlier.""",
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
