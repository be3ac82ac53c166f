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

BURDA = "Burda, Grosse, Salakhutdinov 2015, 'Importance Weighted Autoencoders'"


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
    why=r"""With :math:`w_s = p(x, z_s)/q(z_s|x)` for draws :math:`z_s \sim q`, each weight has mean
    :math:`p(x)`, and so has their average. Its logarithm is therefore an estimate of
    :math:`\log p(x)` that is too low on average, by Jensen's inequality, and less so the more
    weights are averaged. All of that rests on the order of the steps: the mean first, then the
    logarithm, over samples and not over items.

    The other order gives the evidence lower bound again, however many samples have been paid for.
    A sum in place of the mean adds log S, and beats every other model; a mean over the items as
    well lets the likeliest image stand for all.

    The oracle is ``scipy.special.logsumexp`` with weights 1/S, in double precision. Samples in
    reverse order must give the same number.""",
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
    why=r"""Let :math:`\mathcal L_k(w_I)` be the bound of the k weights whose indices are in I. The
    mean of k + 1 weights is the mean, over the one that is left out, of the means of the k
    others, and the logarithm is strictly concave:

    .. math::

        \mathcal L_{k+1}(w_I) = \log \frac{1}{k+1} \sum_{j \in I} \bar w_{I \setminus j}
        \;\ge\; \frac{1}{k+1} \sum_{j \in I} \mathcal L_k(w_{I \setminus j}) ,

    with equality only if all these means, hence all weights, are equal. Averaged over all I of
    size k + 1, the right side counts every set of size k equally often. In expectation over
    independent draws it is the theorem: the bound rises with the number of samples.

    All subsets of the samples are listed, so nothing is random. The weights of an item are drawn
    apart by factors of at least :math:`e^{1/2}`, so that every rise is far above rounding.""",
    assumptions={
        "the weights of an item are not all equal": (
            "for w = (1, 1) both bounds are 0, and nothing rises"
        ),
    },
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
    sources=[
        f"{BURDA}, section 3",
        "Kingma and Welling 2013, 'Auto-Encoding Variational Bayes', equation 2",
    ],
    why=r"""The mean of one number is that number, so
    :math:`\mathcal L_1 = \log w_1 = \log p(x, z_1) - \log q(z_1|x)`: the usual estimate of the
    evidence lower bound. The same holds for S copies of one weight.

    That is the case that theory is interested in: where q is the exact posterior,
    :math:`p(x, z)/q(z|x) = p(x)` at every z, all weights are equal, and the bound is
    :math:`\log p(x)` with a single sample; more of them buy nothing.

    The oracle is the log-weight itself. A forgotten division by S shows as log S, one by S + 1
    already at a single sample, and a maximum that is taken out for stability and never put back
    as the whole value.""",
    assumptions={
        "the samples have equal weights, where there are several": (
            "for w = (1, 3) the bound of two is log 2 = 0.693, and the mean log-weight is "
            r":math:`\tfrac12 \log 3 = 0.549`"
        ),
    },
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
    r"|\log w_s| \le 10^4 \;\Rightarrow\; \mathcal L_S \text{ and } \frac{\partial \mathcal"
    r" L_S}{\partial \log w_s} \text{ are finite and exact}",
    sources=["Blanchard, Higham, Higham 2021, 'Accurately computing the log-sum-exp'"],
    why=r"""A log-weight is a sum over pixels, easily a few thousand in size, where its exponential
    is 0 or infinite. With m the largest of the item's,

    .. math::

        \log \frac1S \sum_s e^{a_s} = m + \log \frac1S \sum_s e^{a_s - m}, \qquad a_s = \log w_s,

    no exponential exceeds 1 and one of them is 1, so the sum lies between 1 and S: nothing
    overflows, and what underflows is too small to matter. The maximum must be the item's own;
    with that of the batch, an item that is 2000 nats below the best one underflows as a whole.

    Log-weights up to :math:`\pm 10^4` are drawn. The value is compared with SciPy's log-sum-exp
    and the gradient with SciPy's softmax, both in double precision.""",
    sentence="is exact for log-weights of ten thousand",
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
    why=r"""A factor :math:`e^c` common to all weights of an item leaves their mean as a factor and
    the logarithm as a term:

    .. math::

        \log \frac1S \sum_s e^{a_s + c} = c + \log \frac1S \sum_s e^{a_s}, \qquad a_s = \log w_s .

    Constants of a density, or a change of units of x, move the bound by as much and change no
    gradient in the model. An :math:`\varepsilon` under the logarithm breaks this: it is
    negligible beside weights of size 1 and everything beside weights of :math:`e^{-20}`.

    The subject is compared with itself, at log-weights that are shifted by c in the first item,
    2c in the second, and so on, with c from :math:`-1000` to 1000. If items are mixed anywhere,
    the shifts get mixed too.""",
    assumptions={
        "the factor is common to all samples of the item": (
            "if one of two equal weights is multiplied by :math:`e^2` the bound rises by 1.434, "
            "not by 2 or 1"
        ),
    },
    sentence="moves with its log-weights",
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
    why=r"""By the chain rule, with :math:`w_s = e^{a_s}`,

    .. math::

        \frac{\partial}{\partial a_s} \log \frac1S \sum_t e^{a_t}
        = \frac{e^{a_s}}{\sum_t e^{a_t}} = \tilde w_s .

    Each sample pulls with its share of the weight, and the shares add up to one. That is what
    differs from training on the mean of the log-weights, where every sample pulls with 1/S: here
    samples that explain x count, and bad ones are forgiven.

    Values say nothing about this. A maximum that is detached in one of its two places, or a
    gradient borrowed from another bound, leaves the value exact. So autograd's gradient is
    compared with ``scipy.special.softmax``, item n being given the weight n, so that a gradient
    that runs into another item is seen.""",
    assumptions={
        "at least one sample of the item has a positive weight": (
            r"if all log-weights are :math:`-\infty` the shares are 0/0, and the gradient is "
            "undefined"
        ),
    },
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
