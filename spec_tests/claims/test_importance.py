r"""The importance weighted bound: a log-mean-exp, judged against SciPy and by enumerating subsets."""

from __future__ import annotations

import itertools

import scipy.special
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spec_tests import check
from spec_tests.contracts.importance import extreme_log_weights, log_weights
from spec_tests.handle import Handle
from spec_tests.judge import stratified
from spec_tests.numerics import gradients
from spec_tests.registry import claim
from spec_tests.strategies import reals
from spec_tests.tolerance import rounding

BURDA = "Burda, Grosse, Salakhutdinov 2015"


def double(value: Tensor) -> Tensor:
    return value.detach().to("cpu", torch.float64)


def oracle(weights: Tensor) -> Tensor:
    """SciPy's log-sum-exp of the weights divided by S."""
    w = double(weights).numpy()
    return torch.as_tensor(scipy.special.logsumexp(w, axis=0, b=1 / len(w)))


def room(dtype: torch.dtype, weights: Tensor) -> float:
    """What rounding may move a bound made of these log-weights."""
    return rounding(dtype, length=len(weights), scale=1 + float(weights.abs().max()))


@claim(
    "iwae_bound.is_log_mean_exp",
    r"\mathcal L_S = \log \frac1S \sum_{s=1}^S w_s",
    sources=[f"{BURDA}, equation 8"],
    why="""The bound is the logarithm of the average weight, so the weights are averaged before the
    logarithm is taken, over the samples and not over the items, whatever the order of the samples.
    SciPy's log-sum-exp is the oracle.""",
)
@given(weights=log_weights())
def test_is_the_logarithm_of_the_mean_weight(
    subject: Handle, device: str, dtype: torch.dtype, weights: Tensor
) -> None:
    found = subject(weights.clone())
    check.close(found, oracle(weights), room(dtype, weights), "the bound")
    turned = subject(weights.flip(0).contiguous())
    check.close(
        turned, found, room(dtype, weights), "the bound, with the samples in reverse order,"
    )


@st.composite
def spread(draw: st.DrawFn, samples: int, items: int) -> Tensor:
    """Log-weights whose samples differ by at least a half, in a drawn order."""
    columns = [draw(st.permutations(range(samples))) for _ in range(items)]
    ranks = torch.tensor(columns, dtype=torch.float64).T
    return ranks * draw(st.sampled_from([0.5, 1.0, 3.0])) + draw(reals((items,), -3, 3))


@claim(
    "iwae_bound.monotone",
    r"\binom Sk^{-1} \sum_{|I| = k} \mathcal L_k(w_I) < \binom S{k+1}^{-1} \sum_{|I| = k + 1}"
    r" \mathcal L_{k+1}(w_I)",
    sources=[f"{BURDA}, theorem 1"],
    why="""The mean over k + 1 weights is the mean, over which one is left out, of the means over the
    k others; the logarithm is strictly concave, so by Jensen's inequality the bound rises unless the
    weights are equal. All subsets of the samples are enumerated, so no draw is involved.""",
    assumptions=["the rise is strict where the weights of an item differ"],
)
@given(weights=stratified([spread(2, 3), spread(4, 1), spread(5, 2)]))
def test_rises_with_the_number_of_samples(
    subject: Handle, device: str, dtype: torch.dtype, weights: Tensor
) -> None:
    count, items = weights.shape
    slack = room(dtype, weights)
    means = []
    for size in range(1, count + 1):
        subsets = list(itertools.combinations(range(count), size))
        batch = torch.cat([weights[list(subset)] for subset in subsets], dim=1)
        means.append(double(subject(batch)).reshape(len(subsets), items).mean(0))
    for size, (fewer, more) in enumerate(itertools.pairwise(means), start=1):
        rise = float((more - fewer).min())
        check.that(
            rise > slack,
            f"from {size} to {size + 1} samples the mean bound over all subsets changes by "
            f"{rise:.6g} where it must rise",
        )


@claim(
    "iwae_bound.one_sample_is_elbo",
    r"\mathcal L_1 = \log w_1, \qquad w_1 = \dots = w_S \Rightarrow \mathcal L_S = \log w_1",
    sources=[f"{BURDA}, section 3", "Kingma and Welling 2013, equation 2"],
    why="""With one sample the mean is the sample, and the bound the usual estimate of the evidence
    lower bound. So it is where all weights are equal, as they are at the exact posterior.""",
)
@given(weights=log_weights(((1, 1), (1, 5))), copies=st.sampled_from([1, 2, 6]))
def test_of_one_sample_is_its_log_weight(
    subject: Handle, device: str, dtype: torch.dtype, weights: Tensor, copies: int
) -> None:
    repeated = weights.repeat(copies, 1)
    check.close(
        subject(repeated),
        weights[0],
        room(dtype, repeated),
        f"the bound of {copies} equal weight{'s' if copies > 1 else ''}, against the log-weight,",
    )


@claim(
    "iwae_bound.stable",
    r"|\log w_s| \le 10^4 \;\Rightarrow\; \mathcal L_S,\ \nabla \mathcal L_S \text{ exact}",
    sources=["Higham, Higham and Blanchard 2021, 'Accurately computing the log-sum-exp'"],
    why="""A log-weight is a sum over pixels and easily a few thousand, where its exponential is 0 or
    infinite. Taken relative to the largest of the same item, no exponential overflows and the sum is
    at least 1: value and gradient are as exact as anywhere.""",
)
@given(weights=extreme_log_weights())
def test_is_exact_for_log_weights_of_ten_thousand(
    subject: Handle, device: str, dtype: torch.dtype, weights: Tensor
) -> None:
    found = subject(weights.requires_grad_())
    check.finite(found, "the bound")
    check.close(found, oracle(weights), room(dtype, weights), "the bound")
    if subject.carries_gradients:
        (slope,) = gradients(found.sum(), [weights])
        check.finite(slope, "the gradient of the bound")
        shares = torch.as_tensor(scipy.special.softmax(double(weights).numpy(), axis=0))
        check.close(slope, shares, room(dtype, weights), "the gradient of the bound")


@claim(
    "iwae_bound.shift_equivariant",
    r"\mathcal L_S(\log w + c) = \mathcal L_S(\log w) + c",
    sources=[f"{BURDA}, equation 8"],
    why="""A factor common to all weights of an item, such as the constant of a density, leaves the
    mean as a factor and the logarithm as a term; each item has its own.""",
)
@given(
    weights=log_weights(((1, 2), (3, 1), (5, 3))),
    shift=st.sampled_from([-1000.0, -20.0, 0.5, 30.0, 1000.0]),
)
def test_moves_with_its_log_weights(
    subject: Handle, device: str, dtype: torch.dtype, weights: Tensor, shift: float
) -> None:
    steps = shift * torch.arange(1, weights.shape[1] + 1).to(weights)
    moved = weights + steps
    slack = room(dtype, moved) + room(dtype, weights)
    expected = double(subject(weights)) + double(steps)
    check.close(subject(moved), expected, slack, f"the bound, shifted by multiples of {shift:g},")


@claim(
    "iwae_bound.gradient",
    r"\frac{\partial \mathcal L_S}{\partial \log w_s} = \tilde w_s = \frac{w_s}{\sum_t w_t}",
    sources=[f"{BURDA}, equation 13"],
    why="""Differentiate the logarithm of the sum: each sample pulls with its share of the weight, and
    the shares add up to 1. An item's bound does not depend on the weights of the others.""",
)
@given(weights=log_weights())
def test_has_the_normalised_weights_as_gradient(
    subject: Handle, device: str, dtype: torch.dtype, weights: Tensor
) -> None:
    subject.needs_gradients()
    pull = torch.arange(1, weights.shape[1] + 1).to(weights)
    (found,) = gradients((pull * subject(weights.requires_grad_())).sum(), [weights])
    shares = torch.as_tensor(scipy.special.softmax(double(weights).numpy(), axis=0))
    slack = room(dtype, weights) * float(pull.max())
    check.close(
        found, shares * double(pull), slack, "the gradient (s, n), of the sum of n × bound n,"
    )
