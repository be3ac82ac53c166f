r"""Adversarial training: penalties on the critic's gradient, between data and samples and at the data."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from spec_tests import check
from spec_tests.contracts.critics import (
    FractionCritic,
    LinearCritic,
    LinearFunction,
    QuadraticCritic,
    SegmentCritic,
    linear_critics,
    quadratic_critics,
)
from spec_tests.handle import Handle
from spec_tests.judge import stratified
from spec_tests.numerics import array, gradients
from spec_tests.registry import claim
from spec_tests.strategies import normals
from spec_tests.tolerance import guarded

WGAN_GP = "Gulrajani et al. 2017, 'Improved Training of Wasserstein GANs'"
R1 = "Mescheder, Geiger, Nowozin 2018, 'Which Training Methods for GANs do actually Converge?'"
LECTURE = "CS182 2021 L19"


# The gradient penalty -----------------------------------------------------------------------------
SHAPES = ((5,), (1,), (2, 3, 4))


@st.composite
def _batches(draw: st.DrawFn, event: tuple[int, ...], count: int | None = None) -> Any:
    """A critic's quadratic and linear form over ``event``, and two batches of events."""
    n = count or draw(st.sampled_from([1, 3]))
    features = math.prod(event)
    return {
        "linear": draw(linear_critics(features)),
        "quadratic": draw(quadratic_critics(features)),
        "real": draw(normals((n, *event))),
        "fake": draw(normals((n, *event), shift=1.0)),
    }


def batches_of_events(shapes: Any = SHAPES) -> Any:
    """Critics with known gradients, real and fake items: vectors, single numbers, images."""
    return stratified([_batches(event) for event in shapes])


def _two_sided(slopes: Tensor) -> float:
    return float((slopes.double() - 1).square().mean())


@claim(
    "gradient_penalty.linear_critic",
    r"f(x) = w \cdot x + b \;\Rightarrow\; P = (\lVert w \rVert_2 - 1)^2",
    sources=[f"{WGAN_GP}, Equation 3"],
    why=r"""The gradient of :math:`f(x) = w \cdot x + b` is :math:`w` at every point. Whatever point
    of whatever segment is drawn, the slope is :math:`\lVert w \rVert_2`, every item pays
    :math:`(\lVert w \rVert_2 - 1)^2`, and so does their mean: the one case in which the penalty is
    known without knowing where it was taken, and no randomness is left.

    The norms of the test run from 0.3 to 4, over events that are vectors, single numbers and
    images; the expected number is the norm of the weight vector itself. A root or a square
    forgotten, a weight such as :math:`\lambda = 10` multiplied in, or one norm over the whole batch
    each give another number. The critic is sometimes a module and sometimes a plain function: the
    penalty needs its scores and autograd, and no ``parameters()``.
    """,
    assumptions={
        "the critic is linear": (
            "for :math:`f(x) = x^2 / 2` and the pair 0 and 2 the penalty is :math:`(2t - 1)^2`: "
            "anything from 0 to 1, as t is drawn"
        ),
    },
    sentence="is known for a linear critic",
)
@given(case=batches_of_events(), plain=st.booleans())
def test_the_penalty_of_a_linear_critic_is_known(
    subject: Handle, device: str, dtype: torch.dtype, case: dict[str, Any], plain: bool
) -> None:
    weight = case["linear"].weight
    critic = LinearFunction(weight.detach()) if plain else case["linear"]
    size = float(weight.norm())
    check.close(
        subject(critic, case["real"], case["fake"]),
        (size - 1) ** 2,
        guarded(dtype, length=weight.numel(), scale=size**2),
        f"the penalty of a linear critic with ||w|| = {size:.6g}",
    )


@claim(
    "gradient_penalty.zero_iff_unit_slope",
    r"P = 0 \iff \lVert \nabla f(\hat x_i) \rVert_2 = 1 \text{ for all } i, \qquad "
    r"P(a f) = (|a| - 1)^2 \text{ if } f \text{ has slope one there}",
    sources=[f"{WGAN_GP}, Section 4, 'Two-sided penalty'"],
    why=r"""The penalty :math:`P = \frac1N \sum_i (\lVert \nabla f(\hat x_i) \rVert - 1)^2` is a mean
    of squares and zero exactly if each is, so if the slope is one at every point :math:`\hat x_i`
    that was drawn. A factor :math:`a` multiplies the gradient, so slope one becomes :math:`|a|`,
    and the penalty :math:`(|a| - 1)^2`. It is two-sided: slopes of 1/4 are pushed up as those of
    7/4 are pushed down, since the best critic has slope one along the transport
    (``theory.wgan_optimal_critic_has_unit_slope``), not one at most.

    The test's critic is the distance from a point far away, :math:`f(x) = \lVert x - c \rVert`. Its
    gradient :math:`(x - c)/\lVert x - c \rVert` has norm one everywhere but points elsewhere at
    every item, so that the known value holds wherever the subject looks, and for a critic that is
    not linear.
    """,
    assumptions={
        "slope one at the points that are drawn": (
            "a critic that is steeper elsewhere may pay nothing: :math:`P = 0` does not make it "
            "1-Lipschitz"
        ),
    },
    sentence="is two-sided and vanishes at unit slope",
)
@given(
    case=batches_of_events(),
    scale=stratified([st.just(a) for a in (1.0, -1.0, 0.25, 0.75, 1.5, -3.0)]),
)
def test_the_penalty_is_two_sided_and_vanishes_at_unit_slope(
    subject: Handle, device: str, dtype: torch.dtype, case: dict[str, Any], scale: float
) -> None:
    far = 20.0

    def distance(x: Tensor) -> Tensor:
        return scale * torch.linalg.vector_norm(x.flatten(1) - far, dim=1)

    check.close(
        subject(distance, case["real"], case["fake"]),
        (abs(scale) - 1) ** 2,
        guarded(dtype, length=64, scale=scale**2),
        f"the penalty of a critic with slope {abs(scale)} everywhere",
    )


@claim(
    "gradient_penalty.norm_over_whole_event",
    r"\tilde x_i = x_i \;\Rightarrow\; P = \tfrac1N \textstyle\sum_i "
    r"\bigl( \lVert \nabla_{x_i} f(x_i) \rVert_2 - 1 \bigr)^2, \quad "
    r"\lVert g \rVert_2^2 = \sum_{c, h, w} g_{chw}^2",
    sources=[f"{WGAN_GP}, Equation 3 and Algorithm 1"],
    why=r"""A critic maps an event, vector or image, to one number, so its gradient is one vector
    with as many entries as the event, and the norm in the dual of optimal transport is over all of
    them. For images a norm over the channels alone, which ``norm(dim=1)`` takes of a batch of shape
    (N, C, H, W), asks every pixel for slope one.

    Where real and fake item coincide, the segment is one point, and the random fraction drops out.
    There a quadratic critic with symmetric matrix :math:`A` has the gradient :math:`A x_i + b`,
    different for each item, and the penalty is the mean of :math:`(\lVert A x_i + b \rVert - 1)^2`,
    computed without autograd. The mean comes after the square; a norm over the whole batch, or a
    mean before the square, differs. A batch of 37 items shows chunks whose means are averaged as if
    all were of one size.
    """,
    assumptions={
        "the critic treats items one by one": (
            r"with scores :math:`x_i - \bar x`, as batch normalisation centres them, the "
            "gradient of the sum of all scores is zero, though each score has the slope 1 - 1/N "
            "in its own item"
        ),
    },
    sentence="takes the norm over the event and the mean over the items",
)
@given(case=stratified([*(_batches(e) for e in (*SHAPES, (3, 2, 2))), _batches((5,), 37)]))
def test_the_norm_runs_over_the_event_and_the_mean_over_the_items(
    subject: Handle, device: str, dtype: torch.dtype, case: dict[str, Any]
) -> None:
    critic, real = case["quadratic"], case["real"]
    slopes = critic.gradient_at(real).norm(dim=1)
    expected = _two_sided(slopes)
    check.close(
        subject(critic, real, real.clone()),
        expected,
        guarded(dtype, length=real[0].numel(), scale=float(slopes.max()) ** 2),
        f"the penalty of {len(real)} events of shape {tuple(real.shape[1:])} with slopes "
        f"{array(slopes)}",
    )


@st.composite
def _pairs_apart(draw: st.DrawFn, event: tuple[int, ...], count: int) -> tuple[Tensor, Tensor]:
    """Pairs far from one another, in drawn order."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31 - 1)))
    places = 30.0 * torch.randperm(count, generator=generator).double()
    at = places.reshape(count, *[1] * len(event))
    real, fake = (
        at + torch.randn(count, *event, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    return real, fake


@claim(
    "gradient_penalty.on_the_segments",
    r"\hat x_i = (1 - t_i)\, x_i + t_i\, \tilde x_i \text{ for some } t_i \in [0, 1], "
    r"\text{ one for all numbers of the event}",
    sources=[f"{WGAN_GP}, Algorithm 1, line 6", f"{LECTURE}, 'Wasserstein GAN'"],
    why=r"""How can a test know where a penalty was evaluated? By a critic that pays for every other
    place. Let :math:`r` be the real end of a pair, :math:`d` the unit direction to the fake,
    :math:`\ell` the length, :math:`a = d \cdot (x - r)` and :math:`K = 10`, and near this pair

    .. math::

        f(x) = a + \tfrac K2 \lVert x - r - a d \rVert^2 + K (a - \ell)_+^2 - K (-a)_+^2.

    The slope along :math:`d` is one plus something positive beyond either end, and the slope
    sideways is :math:`K` times the distance from the line. So :math:`\lVert \nabla f \rVert = 1` on
    the segment and larger off it, and the penalty is zero exactly if every point lies on the
    segment of its own pair. A fraction for each pixel, another item's partner, or a fraction from a
    normal distribution leaves it. The pairs lie far apart, so that the nearest segment is an item's
    own.
    """,
    assumptions={
        "one fraction for all numbers of an event": (
            "with the fractions (0, 1) for the two coordinates of the pair (0, 0) and (1, 1) "
            "the point (0, 1) is reached, 0.71 off the segment"
        ),
        "the i-th real item is paired with the i-th fake": (
            "after a shuffle the points lie on other segments; that is also a valid estimate of "
            "the penalty, but not the one that the contract asks for"
        ),
    },
    sentence="judges the critic on the segment of each pair",
)
@given(
    pair=stratified(
        [
            _pairs_apart((3,), 12),
            _pairs_apart((2, 2, 3), 9),
            _pairs_apart((2,), 1),
            _pairs_apart((1,), 7),
        ]
    )
)
def test_the_critic_is_judged_on_the_segment_of_each_pair(
    subject: Handle, device: str, dtype: torch.dtype, pair: tuple[Tensor, Tensor]
) -> None:
    critic = SegmentCritic(*pair)
    check.close(
        subject(critic, *pair),
        0.0,
        guarded(dtype),
        "the penalty of a critic that has slope one on the segment of each pair, and is steeper off it,",
    )


def _fractions(subject: Handle, near: Tensor, far: Tensor) -> np.ndarray[Any, Any]:
    """Where on its segment each item was evaluated, read from the derivative of the penalty."""
    count = len(near)
    real, fake = (torch.zeros(count, 2).to(near) for _ in range(2))
    real[:, 0] = fake[:, 0] = torch.arange(count).to(near)
    real[:, 1], fake[:, 1] = near, far
    critic = FractionCritic(count).to(near)
    (gradient,) = gradients(subject(critic, real, fake), [critic.theta], what="penalty")
    # 2 (s - 1) s / N with slope s = 1 + t, where t counts from the end at 1.
    scaled = array(gradient) * count / 2
    with np.errstate(invalid="ignore"):
        t = (np.sqrt(1 + 4 * scaled) - 1) / 2
    bad = ~((t > -1e-3) & (t < 1 + 1e-3))
    check.that(
        not bad.any(),
        "the derivative of the penalty in the critic's parameters does not belong to a point of the "
        f"segment, for {int(bad.sum())} of {count} items",
    )
    return np.asarray(t)


_UNLIKELY = math.log(2e13)  # each test below has a false-alarm probability under 1e-13


@claim(
    "gradient_penalty.fractions_are_uniform",
    r"t_i \sim U[0, 1]",
    sources=[f"{WGAN_GP}, Algorithm 1, line 4"],
    why=r"""The critic :math:`f(x) = \frac12 \theta_j x_1^2`, with one parameter for each item
    :math:`j` (whose number is written in :math:`x_0`), tells where item :math:`j` was evaluated.
    Its slope there is :math:`\theta_j x_1`, so that at :math:`\theta_j = 1` the penalty has the
    derivative

    .. math::

        \frac{\partial P}{\partial \theta_j} = \frac2N (x_1 - 1)\, x_1,

    and with ends at 1 and 2 the point :math:`x_1 = 1 + t` is the root of a quadratic equation. This
    reads the fraction from what training uses, whatever the subject's code looks like.

    By the Dvoretzky-Kiefer-Wolfowitz inequality, with Massart's constant, the empirical
    distribution function of :math:`n` independent fractions is farther than
    :math:`\sqrt{\log(2/\alpha) / 2n}` from the uniform one with probability at most :math:`\alpha =
    10^{-13}`. The fractions come from one call with 1024 items or from 96 calls with one: a
    fraction that is shared, fixed, normal, or drawn once and kept fails one of them.
    """,
    assumptions={
        "the fractions are independent": (
            "one fraction shared by 1024 items has an empirical distribution function with a "
            "single step, at least 1/2 away from the uniform one"
        ),
    },
    sentence="draws a uniform fraction of each segment",
    error=1e-10,
    effort=0.1,
)
@given(real_near=st.booleans(), calls=stratified([st.just(1), st.just(96)]))
def test_the_fraction_of_a_segment_is_uniform(
    subject: Handle, device: str, dtype: torch.dtype, real_near: bool, calls: int
) -> None:
    subject.needs_gradients()
    count = 1024 if calls == 1 else 1
    one, two = (torch.full((count,), v, device=subject.device, dtype=dtype) for v in (1.0, 2.0))
    ends = (one, two) if real_near else (two, one)
    t = np.sort(np.concatenate([_fractions(subject, *ends) for _ in range(calls)]))
    n = len(t)
    steps = np.arange(n + 1) / n
    distance = max(float((steps[1:] - t).max()), float((t - steps[:-1]).max()))
    bound = math.sqrt(_UNLIKELY / (2 * n))
    check.at_most(
        distance,
        bound,
        1e-3,
        f"the distance of the distribution of {n} fractions (mean {t.mean():.3f}, from {t[0]:.3f} to "
        f"{t[-1]:.3f}) from the uniform one",
    )


@claim(
    "gradient_penalty.fractions_are_independent",
    r"t_i, t_j \text{ independent and uniform} \;\Rightarrow\; \mathbb E\,[(2 t_i - 1)(2 t_j - "
    "1)]"
    r" = 0 \text{ for } i \ne j, \text{ in one call and in two}",
    sources=[f"{WGAN_GP}, Algorithm 1, line 4"],
    why=r"""For uniform :math:`t` the number :math:`r = 2t - 1` has mean zero and lies in [-1, 1], so
    the product of two independent ones has mean zero and lies there too. Products over :math:`n`
    pairs that share no item are independent of one another, and Hoeffding's inequality bounds their
    mean:

    .. math::

        \Pr\Bigl( \bigl| \overline{r_i r_j} \bigr| > \sqrt{2 \log(2/\alpha) / n} \Bigr)
            \le \alpha = 10^{-13}.

    Fractions that are shared, repeated or mirrored have :math:`\mathbb E\, r^2 = 1/3` or minus
    that, and evenly spaced ones nearly so; for 768 pairs the bound is 0.28. The pairs are
    neighbours, items half a batch apart, items mirrored in the batch, and one item in two calls: a
    grid over the batch, antithetic halves and a generator that is seeded anew at every call each
    show in one of them. The fractions are read as in ``gradient_penalty.fractions_are_uniform``.
    Zero correlation is necessary for independence, not sufficient.
    """,
    assumptions={
        "the pairs share no item": (
            r"from :math:`r_1, \dots, r_n` the products of all pairs are dependent: their sum is "
            r"half of :math:`(\sum_i r_i)^2 - \sum_i r_i^2`, to which Hoeffding's inequality "
            "does not apply"
        ),
    },
    sentence="draws a fraction of its own for every item and every call",
    error=1e-10,
    effort=0.1,
)
@given(real_near=st.booleans())
def test_every_item_and_every_call_has_a_fraction_of_its_own(
    subject: Handle, device: str, dtype: torch.dtype, real_near: bool
) -> None:
    subject.needs_gradients()
    one, two = (torch.full((1536,), v, device=subject.device, dtype=dtype) for v in (1.0, 2.0))
    ends = (one, two) if real_near else (two, one)
    first, second = (2 * _fractions(subject, *ends) - 1 for _ in range(2))
    half = len(first) // 2
    products = {
        "neighbouring items": first[0::2] * first[1::2],
        "items half a batch apart": first[:half] * first[half:],
        "an item in two calls": first * second,
        "mirrored items": first[:half] * first[::-1][:half],
    }
    for name, product in products.items():
        check.at_most(
            abs(float(product.mean())),
            math.sqrt(2 * _UNLIKELY / len(product)),
            1e-3,
            f"the correlation (times 1/3) of the fractions of {name}",
        )


@claim(
    "gradient_penalty.reaches_critic_parameters",
    r"f(x) = w \cdot x + b, \ w \ne 0 \;\Rightarrow\; \nabla_w P"
    r" = 2 (\lVert w \rVert_2 - 1) \frac{w}{\lVert w \rVert_2}",
    sources=[f"{WGAN_GP}, Algorithm 1, lines 7 and 9"],
    why=r"""The penalty is a loss of the critic: what counts is its derivative in the critic's
    parameters, which runs through the gradient by the input. That gradient must therefore be
    computed with a graph of its own (``create_graph`` in PyTorch); without it the penalty is a
    number that is printed and never felt.

    For a linear critic :math:`P = (\lVert w \rVert - 1)^2`, and :math:`\nabla \lVert w \rVert = w /
    \lVert w \rVert` gives the statement. For a quadratic critic with gradients :math:`g_i = A x_i +
    b`, at pairs that coincide,

    .. math::

        \nabla_b P = \frac1N \sum_i 2 (\lVert g_i \rVert - 1) \frac{g_i}{\lVert g_i \rVert}.

    Both closed forms are evaluated without differentiating anything; the first is compared with
    ``autograd.grad`` and the second with what ``backward`` leaves in ``.grad``.
    """,
    assumptions={
        "no slope is zero": (
            "at w = 0 the penalty has a kink: it falls with slope -2 in every direction, and "
            "there is no derivative (``gradient_penalty.finite_at_zero_gradient`` asks for a "
            "finite one)"
        ),
    },
    sentence="trains the critic",
)
@given(case=batches_of_events())
def test_the_penalty_trains_the_critic(
    subject: Handle, device: str, dtype: torch.dtype, case: dict[str, Any]
) -> None:
    subject.needs_gradients()
    linear, quadratic, real = case["linear"], case["quadratic"], case["real"]
    weight = linear.weight.detach()
    size = weight.norm()
    (gradient,) = gradients(subject(linear, real, case["fake"]), [linear.weight], what="penalty")
    check.close(
        gradient,
        2 * (size - 1) * weight / size,
        guarded(dtype, scale=float(size) * 2),
        f"the gradient of the penalty in w, for a linear critic with ||w|| = {float(size):.6g},",
    )
    slopes = quadratic.gradient_at(real)  # A x + b
    sizes = slopes.norm(dim=1, keepdim=True)
    if bool((sizes < 0.05).any()):  # near the kink of the norm at zero slope
        return
    loss = subject(quadratic, real, real.clone())
    check.that(
        loss.requires_grad,
        "the penalty does not depend on the critic's parameters by autograd: no graph was kept",
    )
    subject.guarded(loss.backward)
    expected = (2 * (sizes - 1) * slopes / sizes).mean(0)
    found = quadratic.slope.grad
    check.that(
        found is not None, "the penalty's backward left no gradient in the critic's parameters"
    )
    check.close(
        found,
        expected,
        guarded(dtype, length=32, scale=2 * float(sizes.max()) / 0.05),
        "the gradient of the penalty in b, for a critic with gradient A x + b,",
    )


def _flat_critics(kind: str, features: int) -> nn.Module:
    if kind == "zero weights":
        return LinearCritic(torch.zeros(features, dtype=torch.float64))
    matrix = torch.eye(features, dtype=torch.float64) * (kind == "at its top")
    return QuadraticCritic(matrix, torch.zeros(features, dtype=torch.float64))


@claim(
    "gradient_penalty.finite_at_zero_gradient",
    r"\nabla f = 0 \;\Rightarrow\; P = 1, \quad |\nabla_\theta P| < \infty",
    sources=[f"{WGAN_GP}, Equation 3", "contracts.md, conventions: finite value and gradient"],
    why=r"""Where the gradient vanishes every item pays :math:`(0 - 1)^2 = 1`. The danger is in the
    derivative: the norm :math:`\sqrt{\sum g_k^2}` has, by the chain rule, the derivative :math:`g_k
    / \sqrt{\sum g_k^2}`, which is 0/0 at :math:`g = 0`. Autograd computes it as zero times
    infinity, and one NaN is enough to spoil every parameter at the next step. A norm that knows its
    subgradient (zero, in PyTorch's ``vector_norm``), or a small number under the root, avoids that.

    Critics with no slope are not rare: a ReLU network that died, a last layer initialised to zero,
    an item at a maximum. The test takes these: a linear critic with :math:`w = 0`, a quadratic form
    that is zero, and one whose only flat point is the one it is evaluated at. The value must be 1,
    and the derivative in every parameter a finite number; which subgradient, is left open.
    """,
    sentence="is one for a flat critic, and its gradients stay finite",
)
@given(
    kind=stratified([st.just(k) for k in ("zero weights", "zero form", "at its top")]),
    event=st.sampled_from(SHAPES),
    count=st.sampled_from([1, 3]),
)
def test_a_flat_critic_is_penalised_by_one_and_its_parameters_stay_finite(
    subject: Handle, device: str, dtype: torch.dtype, kind: str, event: tuple[int, ...], count: int
) -> None:
    critic = _flat_critics(kind, math.prod(event)).to(device=subject.device, dtype=dtype)
    real = torch.zeros(count, *event, device=subject.device, dtype=dtype)
    fake = real.clone() if kind == "at its top" else real + 1
    loss = subject(critic, real, fake)
    check.close(loss, 1.0, guarded(dtype), "the penalty of a critic whose gradient is zero")
    if subject.carries_gradients:
        names, leaves = zip(*critic.named_parameters(), strict=True)
        for name, gradient in zip(names, gradients(loss, leaves, what="penalty"), strict=True):
            check.finite(
                gradient, f"the gradient of the penalty in {name}, where the slope is zero,"
            )


@claim(
    "gradient_penalty.accepts_inputs_with_gradients",
    r"P(f, x, G(z)) = P(f, x, \texttt{detach}(G(z)))",
    sources=[f"{WGAN_GP}, Algorithm 1", "contracts.md, conventions: inputs are left as they were"],
    why=r"""In a training step the fakes come out of the generator with their graph, and the real
    batch may be a leaf that asks for gradients (adversarial examples, a learned augmentation). The
    penalty differentiates by its own points :math:`\hat x`, and it is a loss of the critic alone:
    its value and its gradient in the critic are the same whether the fakes carry a graph or not.

    Three things go wrong in practice. ``fake.detach_()`` cuts the samples from the generator for
    all later uses, ``requires_grad_()`` on the caller's tensor marks it for good, and ``backward``
    inside the penalty adds to ``.grad`` of whatever it reaches. The test looks for each after the
    call, and compares value and gradient with the closed form for a linear critic, :math:`(\lVert w
    \rVert - 1)^2` and :math:`2 (\lVert w \rVert - 1)\, w / \lVert w \rVert`.
    """,
    sentence="takes fakes that carry the generator's graph",
)
@given(case=batches_of_events(), frozen=st.booleans())
def test_fakes_may_carry_the_generators_graph(
    subject: Handle, device: str, dtype: torch.dtype, case: dict[str, Any], frozen: bool
) -> None:
    subject.needs_gradients()
    critic, weight = case["linear"], case["linear"].weight
    critic.bias.requires_grad_(not frozen)
    source = case["fake"].clone().requires_grad_()
    real, fake = case["real"].clone().requires_grad_(), source * 1.0
    loss = subject(critic, real, fake)
    size = weight.detach().norm()
    check.close(
        loss,
        (float(size) - 1) ** 2,
        guarded(dtype, length=64, scale=float(size) ** 2),
        "the penalty of a linear critic, with a fake batch that carries a graph,",
    )
    check.that(real.requires_grad and real.is_leaf, "the call changed requires_grad of real")
    check.that(fake.requires_grad and not fake.is_leaf, "the call detached fake from its graph")
    for name, tensor in {"real": real, "fake's source": source, "w": weight}.items():
        check.that(tensor.grad is None, f"the call wrote to the .grad of {name}")
    (gradient,) = gradients(loss, [weight], what="penalty")
    check.close(
        gradient,
        2 * (size - 1) * weight.detach() / size,
        guarded(dtype, scale=float(size) * 2),
        "the gradient of the penalty in w, with a fake batch that carries a graph,",
    )


# The R1 penalty -----------------------------------------------------------------------------------
@claim(
    "r1_penalty.quadratic_discriminator",
    r"D(x) = \tfrac12 x^\top A x + b^\top x \;\Rightarrow\; R_1 = \tfrac{1}{2N} \sum_i "
    r"\lVert A x_i + b \rVert_2^2",
    sources=[f"{R1}, Equation 9"],
    why=r"""For symmetric :math:`A` the gradient of :math:`\frac12 x^\top A x + b^\top x` is :math:`A
    x + b`, different at every item and known without autograd. The penalty is half the mean over
    the items of the squared norm, and the squares are summed over all numbers of an event:

    .. math::

        R_1 = \frac{1}{2N} \sum_{i=1}^N \sum_k (A x_i + b)_k^2.

    The half belongs to it: the paper's regulariser is :math:`\gamma` times this, and without the
    half the same :math:`\gamma` means twice as much. A mean over the event would weaken it as
    images grow, a sum over the batch would strengthen it with the batch size, and a norm without
    its square would have a kink at the equilibrium. Every such choice gives another number here,
    for vectors, single numbers and images.
    """,
    assumptions={
        "A is symmetric": (
            "for A = ((0, 1), (0, 0)) the form is :math:`x_1 x_2 / 2`: at (0, 1) its gradient "
            "is (1/2, 0), that of the symmetric part, while A x is (1, 0)"
        ),
        "the discriminator treats items one by one": (
            r"with scores :math:`x_i - \bar x` the gradient of the sum of all scores is zero, "
            "though each score depends on its item"
        ),
    },
    sentence="is half the mean squared gradient",
)
@given(case=batches_of_events((*SHAPES, (3, 2, 2))), plain=st.booleans())
def test_the_penalty_is_half_the_mean_squared_gradient(
    subject: Handle, device: str, dtype: torch.dtype, case: dict[str, Any], plain: bool
) -> None:
    form, real = case["quadratic"], case["real"]
    squares = array(form.gradient_at(real).double().square().sum(1))
    discriminator = (lambda x: form(x)) if plain else form
    check.close(
        subject(discriminator, real),
        float(squares.mean()) / 2,
        guarded(dtype, length=real[0].numel(), scale=float(squares.max())),
        f"the penalty of {len(real)} events of shape {tuple(real.shape[1:])} with squared slopes "
        f"{squares}",
    )


@claim(
    "r1_penalty.zero_iff_flat_at_the_data",
    r"R_1 = 0 \iff \nabla D(x_i) = 0 \text{ for every real } x_i",
    sources=[f"{R1}, Section 4.1"],
    why=r"""A mean of squared norms is zero exactly if each norm is. So the penalty is zero if and
    only if the discriminator is flat at the real items: whatever it does elsewhere costs nothing.
    That is its purpose: at the equilibrium, where the generator has found the data, a discriminator
    that stays flat there sends the generator nowhere, while a penalty on slope one would push on.

    The test's discriminator is steep everywhere but at the data:

    .. math::

        D(x) = 50 \min_i \lVert x - x_i \rVert^2 + \tau \sum_k x_k,

    with slope :math:`100\, \lVert x - x_i \rVert` near :math:`x_i` from its first term, which
    vanishes at the data only. What remains there is the tilt, with squared norm :math:`d \tau^2`
    for events of :math:`d` numbers, so the penalty is :math:`d \tau^2 / 2`, and zero for
    :math:`\tau = 0`. Noisy copies of the data, or points on the way to the fakes, cost much more.
    """,
    assumptions={
        "the penalty looks at the real items alone": (
            "for :math:`D(x) = 50 x^2` and the only item 0, noise of size 0.1 adds about "
            r":math:`\frac12 \cdot 10^2 = 50` to a penalty of zero"
        ),
    },
    sentence="looks at the data and nowhere else",
)
@given(case=batches_of_events(), tilt=st.sampled_from([0.0, 0.5, 2.0]))
def test_the_penalty_looks_at_the_data_and_nowhere_else(
    subject: Handle, device: str, dtype: torch.dtype, case: dict[str, Any], tilt: float
) -> None:
    real = case["real"]
    data, features = real.flatten(1), real[0].numel()

    def discriminator(x: Tensor) -> Tensor:
        away = x.flatten(1)[:, None] - data
        steep = 50 * away.square().sum(-1).amin(-1)
        return steep + tilt * x.flatten(1).sum(1)

    check.close(
        subject(discriminator, real),
        features * tilt**2 / 2,
        guarded(dtype, length=features, scale=features * (tilt**2 + 1)),
        f"the penalty of a discriminator with slope {tilt} in each coordinate at the data",
    )


@claim(
    "r1_penalty.reaches_parameters",
    r"D(x) = \tfrac12 x^\top A x + b^\top x \;\Rightarrow\; \nabla_b R_1"
    r" = \tfrac1N \sum_i (A x_i + b)",
    sources=[f"{R1}, Equation 9"],
    why=r"""The penalty regularises the discriminator, so its derivative in the parameters is all
    that training sees of it; it runs through the gradient by the input, which must have been
    computed with a graph of its own. From :math:`R_1 = \frac{1}{2N} \sum_i \lVert A x_i + b
    \rVert^2` with symmetric :math:`A`,

    .. math::

        \frac{\partial R_1}{\partial b} = \frac1N \sum_i (A x_i + b),

    and for a linear discriminator, where :math:`R_1 = \frac12 \lVert w \rVert^2` at any data, it is
    :math:`w`: R1 is weight decay there. Both closed forms are computed from the matrices alone. One
    is compared with ``autograd.grad``, the other with what ``backward`` leaves in ``.grad``, since
    a subject may support only what training does.
    """,
    assumptions={
        "A is symmetric": (
            r"the gradient of the form is :math:`\frac12 (A + A^\top) x + b`; the part of A that "
            "changes sign under transposition drops out"
        ),
    },
    sentence="trains the discriminator",
)
@given(case=batches_of_events())
def test_the_penalty_trains_the_discriminator(
    subject: Handle, device: str, dtype: torch.dtype, case: dict[str, Any]
) -> None:
    subject.needs_gradients()
    linear, form, real = case["linear"], case["quadratic"], case["real"]
    (gradient,) = gradients(subject(linear, real), [linear.weight], what="penalty")
    weight = linear.weight.detach()
    check.close(
        gradient,
        weight,
        guarded(dtype, scale=float(weight.norm())),
        "the gradient of the penalty in w, for a linear discriminator,",
    )
    loss = subject(form, real)
    check.that(
        loss.requires_grad,
        "the penalty does not depend on the discriminator's parameters by autograd: no graph was kept",
    )
    subject.guarded(loss.backward)
    slopes = form.gradient_at(real)
    found = form.slope.grad
    check.that(found is not None, "the penalty's backward left no gradient in the parameters")
    check.close(
        found,
        slopes.mean(0),
        guarded(dtype, length=32, scale=float(slopes.abs().max())),
        "the gradient of the penalty in b, for a discriminator with gradient A x + b,",
    )


@claim(
    "r1_penalty.finite_at_zero_gradient",
    r"\nabla D = 0 \;\Rightarrow\; R_1 = 0, \quad \nabla_\theta R_1 = 0",
    sources=[f"{R1}, Equation 9"],
    why="""The penalty is half a mean of sums of squares :math:`g_k^2`, a smooth function of the
    gradient with derivative :math:`g_k / N`. Where the discriminator is flat both are zero, so by
    the chain rule the derivative in every parameter is zero as well: no subgradient has to be
    chosen, unlike with ``gradient_penalty.finite_at_zero_gradient``.

    A detour through a root spoils that. Computed as the norm and squared again, the chain rule
    multiplies the square's slope 0 with the root's slope, infinite at zero, and 0 times infinity is
    NaN. It is met exactly at the equilibrium, which R1 is there to reach. The test takes
    discriminators that are flat because a weight is zero, because the whole form is, or because the
    data lie at its stationary point, and asks for a penalty of zero and a derivative of zero in
    every parameter.
    """,
    sentence="costs a flat discriminator nothing and stays finite",
)
@given(
    kind=stratified([st.just(k) for k in ("zero weights", "zero form", "at its top")]),
    event=st.sampled_from(SHAPES),
    count=st.sampled_from([1, 3]),
)
def test_a_flat_discriminator_costs_nothing_and_stays_finite(
    subject: Handle, device: str, dtype: torch.dtype, kind: str, event: tuple[int, ...], count: int
) -> None:
    critic = _flat_critics(kind, math.prod(event)).to(device=subject.device, dtype=dtype)
    at = 0.0 if kind == "at its top" else 1.0
    real = torch.full((count, *event), at, device=subject.device, dtype=dtype)
    loss = subject(critic, real)
    check.close(
        loss, 0.0, guarded(dtype), "the penalty of a discriminator that is flat at the data"
    )
    if subject.carries_gradients:
        names, leaves = zip(*critic.named_parameters(), strict=True)
        for name, gradient in zip(names, gradients(loss, leaves, what="penalty"), strict=True):
            check.finite(
                gradient, f"the gradient of the penalty in {name}, where the slope is zero,"
            )
            check.close(
                gradient,
                torch.zeros_like(gradient),
                guarded(dtype),
                f"the gradient of the penalty in {name}, where the slope is zero,",
            )
