r"""Divergences: what separates two distributions on finitely many points."""

from __future__ import annotations

import math
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spec_tests import check
from spec_tests.contracts.divergences import weights
from spec_tests.handle import Handle
from spec_tests.judge import stratified
from spec_tests.numerics import gradients
from spec_tests.registry import claim
from spec_tests.strategies import normals, simplexes, sizes
from spec_tests.tolerance import guarded, rounding

# Oracles -------------------------------------------------------------------------------------------


def definition_of_kl(p: Tensor, q: Tensor) -> float:
    """The sum of the definition, term by term, in float64 without any array library."""
    terms = []
    for a, b in zip(p.double().tolist(), q.double().tolist(), strict=True):
        if a > 0:
            terms.append(math.inf if b == 0 else a * (math.log(a) - math.log(b)))
    return math.fsum(terms)


def definition_of_js(p: Tensor, q: Tensor) -> float:
    m = (p.double() + q.double()) / 2
    return (definition_of_kl(p, m) + definition_of_kl(q, m)) / 2


def total_variation_norm(p: Tensor, q: Tensor) -> float:
    """The sum of the absolute differences, between 0 and 2."""
    return float((p.double() - q.double()).abs().sum())


def near(value: float, dtype: torch.dtype, size: int = 64) -> float:
    """The tolerance for a divergence of this value: a guard under a logarithm is legal."""
    return guarded(dtype, length=size, scale=abs(value) if math.isfinite(value) else 1.0)


# What is drawn -------------------------------------------------------------------------------------

Pair = dict[str, Tensor]


def both(p: Tensor, q: Tensor) -> Pair:
    """Two vectors, each divided by its sum."""
    return {"p": p / p.sum(), "q": q / q.sum()}


@st.composite
def pairs(draw: st.DrawFn, smallest: int = 2, largest: int = 6, interior: bool = True) -> Pair:
    """Two probability vectors over one set."""
    size = draw(st.integers(smallest, largest))
    return both(draw(simplexes(size, interior)), draw(simplexes(size, interior)))


@st.composite
def inside(draw: st.DrawFn, keep: bool = True, size: int = 0) -> Pair:
    """``q`` interior and ``p`` zero somewhere; with ``keep`` False the roles are exchanged."""
    size = size or draw(st.integers(2, 6))
    p, q = draw(simplexes(size)), draw(simplexes(size, True))
    empty = draw(st.integers(0, size - 1))
    p[empty] = 0
    if p.sum() == 0:
        p[empty - 1] = 1
    return both(p, q) if keep else both(q, p)


@st.composite
def tiny_pairs(draw: st.DrawFn) -> Pair:
    """Probabilities down to 1e-30, of one vector where the other has mass, or of both."""
    exponents = st.lists(st.sampled_from([0, 0, -4, -9, -30]), min_size=4, max_size=4)

    def vector() -> Tensor:
        powers = torch.tensor(draw(exponents), dtype=torch.float64)
        return torch.cat([10.0**powers, torch.ones(1, dtype=torch.float64)])

    return both(vector(), vector())


@st.composite
def disjoint(draw: st.DrawFn) -> Pair:
    """No point has mass under both; their order is arbitrary and some have none at all."""
    n, m, spare = draw(st.integers(1, 4)), draw(st.integers(1, 5)), draw(st.integers(0, 2))
    p = torch.cat([draw(simplexes(n, True)), torch.zeros(m + spare, dtype=torch.float64)])
    q = torch.cat(
        [torch.zeros(n, dtype=torch.float64), draw(simplexes(m, True)), torch.zeros(spare)]
    )
    order = torch.tensor(draw(st.permutations(range(len(p)))))
    return both(p[order], q[order])


@st.composite
def nearly_equal(draw: st.DrawFn) -> Pair:
    """Two interior vectors that differ by 1e-3 down to the last bits."""
    p = draw(weights(draw(st.integers(2, 8))))
    change = draw(normals(tuple(p.shape))) * draw(st.sampled_from([1e-3, 1e-6, 1e-9, 1e-16]))
    return both(p, p * (1 + change))


def one_point() -> Any:
    return st.just(both(*torch.ones(2, 1, dtype=torch.float64)))


def neighbours(p: Tensor) -> list[Tensor]:
    """Distributions so close to ``p`` that what should be 0 rounds to either side of it."""
    close_by = [p * (1 + scale * torch.randn_like(p)) for scale in (1e-15, 1e-8, 1e-7) * 10]
    return [q / q.sum() for q in close_by]


def large_pairs() -> Any:
    """Vectors over hundreds of points."""
    return sizes(200, 400).flatmap(lambda n: st.builds(both, weights(n), weights(n)))


def equal_pairs() -> Any:
    """One vector twice, with and without zeros."""
    some = sizes(1, 6).flatmap(simplexes)
    return stratified([vectors.map(lambda p: both(p, p.clone())) for vectors in (some, weights(7))])


def any_pairs() -> Any:
    """Pairs of every kind: interior, zeros in either or both, disjoint, tiny, many, one point."""
    return stratified(
        [
            pairs(),
            pairs(interior=False),
            inside(),
            inside(keep=False),
            disjoint(),
            tiny_pairs(),
            large_pairs(),
            one_point(),
        ]
    )


# Kullback-Leibler ----------------------------------------------------------------------------------


@claim(
    "kl_divergence.matches_definition",
    r"D_{\mathrm{KL}}(p \,\|\, q) = \sum_i p_i \log \frac{p_i}{q_i}, \quad 0\log\tfrac{0}{q} = 0,"
    r" \quad p\log\tfrac{p}{0} = \infty",
    sources=["Kullback and Leibler 1951, §2", "CS182 2021 L17"],
    why=r"""It is the definition; what has to be argued is the two conventions. As :math:`t \to 0`,
    :math:`t \log t \to 0`, so an outcome that :math:`p` never produces costs nothing, whatever
    :math:`q` says of it. As :math:`q_i \to 0` with :math:`p_i > 0` fixed, :math:`p_i \log(p_i /
    q_i) \to \infty`: an outcome that :math:`q` holds impossible and :math:`p` does not costs
    infinitely much. An eps under the logarithm hides this: with 1e-10 the price is about 20 nats,
    and a model that cannot produce the data looks merely poor.

    The oracle adds up the terms in Python floats with an exactly rounded sum and no array library.
    The pairs drawn have zeros in either or both, probabilities down to 1e-30, hundreds of points,
    or one.""",
    assumptions={
        ":math:`q_i > 0` wherever :math:`p_i > 0`, for a finite value": (
            r"for :math:`p = (\tfrac12, \tfrac12)` and :math:`q = (1, 0)` the divergence "
            "is infinite, while that of :math:`q` from :math:`p` is log 2"
        ),
    },
)
@given(pair=any_pairs())
def test_is_the_sum_of_its_definition(
    subject: Handle, device: str, dtype: torch.dtype, pair: Pair
) -> None:
    p, q = pair.values()
    expected = definition_of_kl(p, q)
    what = "KL(p || q)" + (", with q = 0 < p somewhere," if math.isinf(expected) else "")
    check.close(subject(p, q), expected, near(expected, dtype, len(p)), what)
    even, tiny = torch.full_like(p[:1], 0.5).repeat(2), torch.ones_like(p[:1]).repeat(2)
    tiny[1] = 1e-30
    expected = definition_of_kl(even, tiny)
    what = "KL(p || q) for p = [0.5, 0.5] and q = [1, 1e-30]"
    check.close(subject(even, tiny), expected, near(expected, dtype, 2), what)


@claim(
    "kl_divergence.nonnegative",
    r"D_{\mathrm{KL}}(p \,\|\, q) \ge \tfrac12 \|p - q\|_1^2 \ge 0, \qquad"
    r" D_{\mathrm{KL}}(p \,\|\, q) = 0 \iff p = q",
    sources=[
        "Cover and Thomas 2006, 'Elements of Information Theory', Theorem 2.6.3",
        "Cover and Thomas 2006, 'Elements of Information Theory', Lemma 11.6.1",
        "CS182 2021 L17",
    ],
    why=r"""The function :math:`-\log` is convex, so by Jensen's inequality, over the support of :math:`p`,

    .. math::

        D_{\mathrm{KL}}(p \,\|\, q) = \sum_i p_i \Bigl(-\log \frac{q_i}{p_i}\Bigr)
        \ge -\log \sum_{p_i > 0} q_i \ge -\log 1 = 0.

    It is strictly convex, so equality needs a constant ratio :math:`q_i / p_i`, which is 1 as both
    sum to 1. Pinsker's inequality says by how much the value exceeds 0. Merge the outcomes into
    :math:`A = \{p_i > q_i\}` and the rest: by the log-sum inequality the divergence can only fall,
    the distance :math:`\|p - q\|_1` stays, and for two outcomes of probabilities :math:`a` and
    :math:`b` the difference :math:`D_{\mathrm{KL}} - 2(a - b)^2` is 0 at :math:`b = a` and has the
    slope :math:`(b - a)\bigl(\tfrac{1}{b(1-b)} - 4\bigr)` in :math:`b`, which points away from
    :math:`a`. A function that is always 0 fulfils the first inequality and fails the second.""",
    assumptions={
        "both vectors sum to one": (
            r"for :math:`p = (\tfrac12, \tfrac12)` and :math:`q = (1, 1)` the sum is "
            r":math:`-\log 2`"
        ),
    },
)
@given(
    pair=stratified([*equal_pairs().genspec_strata, pairs(interior=False), pairs(), nearly_equal()])
)
def test_is_zero_for_equal_distributions_and_positive_for_others(
    subject: Handle, device: str, dtype: torch.dtype, pair: Pair
) -> None:
    p, q = pair.values()
    value, slack = subject(p, q), near(1.0, dtype)
    check.at_least(value, total_variation_norm(p, q) ** 2 / 2, slack, "KL(p || q)")
    if torch.equal(p, q):
        check.close(value, 0.0, slack, "KL(p || p)")


@claim(
    "kl_divergence.asymmetric",
    r"\exists\, p, q:\quad D_{\mathrm{KL}}(p \,\|\, q) \ne D_{\mathrm{KL}}(q \,\|\, p)",
    sources=["Goodfellow, Bengio, Courville 2016, 'Deep Learning', §3.13", "CS182 2021 L17"],
    why=r"""The average is over :math:`p` alone. Let the support of :math:`p` be a proper part of that of
    :math:`q`: every ratio :math:`p_i / q_i` that counts is finite, so :math:`D_{\mathrm{KL}}(p
    \,\|\, q) < \infty`; the other way round some :math:`q_i > 0` meets :math:`p_i = 0`, and the
    value is infinite. This decides what a fitted model does: minimising
    :math:`D_{\mathrm{KL}}(\text{data} \,\|\, \text{model})` over the model forces it to cover
    every mode, minimising :math:`D_{\mathrm{KL}}(\text{model} \,\|\, \text{data})` lets it seek
    one.

    The test compares the difference of the two directions, between a sharp vector and the uniform
    one, with the definition in float64: it is neither 0 nor of the wrong sign. A symmetrised
    divergence fails here, and so does one whose arguments are exchanged.""",
    assumptions={
        "the two vectors are no permutations of each other that exchange their roles": "for :math:`p = (a, 1-a)` and :math:`q = (1-a, a)` both directions agree",
    },
)
@given(a=st.floats(0.02, 0.2), pair=inside())
def test_depends_on_which_distribution_comes_first(
    subject: Handle, device: str, dtype: torch.dtype, a: float, pair: Pair
) -> None:
    sharp = torch.tensor([a, 1 - a], device=device, dtype=dtype)
    flat = torch.full_like(sharp, 0.5)
    gap = subject(sharp, flat) - subject(flat, sharp)
    expected = definition_of_kl(sharp, flat) - definition_of_kl(flat, sharp)
    check.close(gap, expected, near(1.0, dtype), "KL(p || uniform) - KL(uniform || p)")
    part, whole = pair.values()
    check.finite(subject(part, whole), "KL(p || q), p's support within q's,")
    check.that(
        bool(torch.isposinf(subject(whole, part))),
        f"KL(q || p) is {float(subject(whole, part))}, expected inf: p is 0 where q is not",
    )


@claim(
    "kl_divergence.additive",
    r"D_{\mathrm{KL}}(p \otimes r \,\|\, q \otimes s) = D_{\mathrm{KL}}(p \,\|\, q) +"
    r" D_{\mathrm{KL}}(r \,\|\, s)",
    sources=["Cover and Thomas 2006, 'Elements of Information Theory', Theorem 2.5.3"],
    why=r"""The logarithm of a product of ratios is the sum of their logarithms, and each factor sums to 1:

    .. math::

        \sum_{ij} p_i r_j \Bigl(\log \frac{p_i}{q_i} + \log \frac{r_j}{s_j}\Bigr)
        = \sum_i p_i \log \frac{p_i}{q_i} + \sum_j r_j \log \frac{r_j}{s_j}.

    A VAE's KL term is a sum over latent dimensions for this reason. Where a point of :math:`p` is
    ruled out by :math:`q`, both sides are infinite. The subject is compared with itself, at sizes
    :math:`n`, :math:`m` and :math:`nm`, so the unit of the logarithm does not matter, but a mean
    over outcomes does: it divides by another number on each side.""",
    assumptions={
        "both joint distributions are products": (
            "for two fair bits that are always equal, against two independent fair bits, "
            "the divergence is log 2, and that of each bit is 0"
        ),
    },
)
@given(first=stratified([pairs(), inside(), inside(keep=False)]), second=pairs())
def test_adds_up_over_independent_factors(
    subject: Handle,
    device: str,
    dtype: torch.dtype,
    first: Pair,
    second: Pair,
) -> None:
    (p, q), (r, s) = first.values(), second.values()
    joint = subject(torch.outer(p, r).flatten(), torch.outer(q, s).flatten())
    total = subject(p, q) + subject(r, s)
    check.close(joint, total, near(float(total), dtype), "KL between the products")


@claim(
    "kl_divergence.convex",
    r"D_{\mathrm{KL}}(\lambda p + \bar\lambda p' \,\|\, \lambda q + \bar\lambda q') \le \lambda"
    r" D_{\mathrm{KL}}(p \,\|\, q) + \bar\lambda D_{\mathrm{KL}}(p' \,\|\, q')",
    sources=["Cover and Thomas 2006, 'Elements of Information Theory', Theorem 2.7.2"],
    why=r"""Take one outcome, with masses :math:`a = \lambda p_i`, :math:`a' = \bar\lambda p'_i` and
    :math:`b = \lambda q_i`, :math:`b' = \bar\lambda q'_i`, where :math:`\bar\lambda = 1 -
    \lambda`. As :math:`t \log t` is convex, Jensen's inequality with the weights :math:`b / (b +
    b')` and :math:`b' / (b + b')` gives the log-sum inequality

    .. math::

        (a + a') \log \frac{a + a'}{b + b'} \le a \log \frac{a}{b} + a' \log \frac{a'}{b'},

    and the factors :math:`\lambda` cancel inside the logarithms of the right-hand side. Summed
    over outcomes it is the claim, jointly in both arguments: mixing two pairs of distributions
    makes them no easier to tell apart. The cross entropy without the entropy fails it: it is
    convex in :math:`q` and linear in :math:`p`, but not jointly convex.""",
    assumptions={
        "both arguments are mixed with the same weight": (
            "for fixed pairs :math:`p = q = (1, 0)` and :math:`p' = q' = (0, 1)` the "
            "right-hand side is 0, but mixing :math:`p` with weight ½ and :math:`q` with "
            "weight ¼ gives a positive divergence"
        ),
    },
)
@given(
    first=stratified([pairs(4, 4), inside(size=4)]), second=pairs(4, 4), part=st.floats(0.1, 0.9)
)
def test_is_jointly_convex(
    subject: Handle, device: str, dtype: torch.dtype, first: Pair, second: Pair, part: float
) -> None:
    (p, q), (p2, q2) = first.values(), second.values()
    mixed = subject(part * p + (1 - part) * p2, part * q + (1 - part) * q2)
    bound = part * subject(p, q) + (1 - part) * subject(p2, q2)
    slack = near(float(bound), dtype)
    check.at_most(mixed, bound, slack, "KL between the mixtures, against the mixture of the KLs,")


@claim(
    "kl_divergence.gradient_in_q",
    r"\partial_{q_i} D_{\mathrm{KL}}(p \,\|\, q) = -\frac{p_i}{q_i}",
    sources=["contracts.md, conventions", "CS182 2021 L17"],
    why=r"""Only the term :math:`-p_i \log q_i` depends on :math:`q_i`, and its derivative is :math:`-p_i /
    q_i`; where :math:`p_i = 0` the term is 0 for every :math:`q_i`, and so is the slope. This is
    why maximum likelihood can ignore the entropy of the data.

    Code that computes :math:`0 \cdot \log 0 = \mathrm{NaN}` and then replaces the value by 0
    leaves NaN in the gradient: the backward pass multiplies the 0 of the branch that was not taken
    by the infinite slope of the logarithm. A subject is free to normalise its arguments, which
    adds a constant to every :math:`\partial_{q_i}`; so the test compares differences
    :math:`\partial_{q_i} - \partial_{q_0}`, the slopes as mass moves along the simplex.""",
    assumptions={
        ":math:`q_i > 0` wherever :math:`p_i > 0`": (
            r"at :math:`p = (\tfrac12, \tfrac12)`, :math:`q = (1, 0)` the divergence is "
            "infinite and has no slope"
        ),
    },
)
@given(pair=stratified([pairs(), inside()]))
def test_has_the_gradient_of_cross_entropy_in_q(
    subject: Handle, device: str, dtype: torch.dtype, pair: Pair
) -> None:
    p, q = pair.values()
    _check_gradient_along_simplex(subject, p, q, -p / q, "KL(p || q)")


def _check_gradient_along_simplex(
    subject: Handle, p: Tensor, q: Tensor, expected: Tensor, what: str
) -> None:
    """The gradient in ``q``, in every direction that moves mass from the first point to another."""
    subject.needs_gradients()
    leaf = q.detach().clone().requires_grad_()
    (found,) = gradients(subject(p, leaf), [leaf], what=what)
    check.finite(found, f"the gradient of {what} in q")
    size = float(expected.abs().max())
    bound = guarded(q.dtype, length=len(q), scale=size)
    check.close(
        found[1:] - found[0],
        expected[1:] - expected[0],
        bound,
        f"the slope of {what} as mass moves in q from point 0 to another,",
    )


# Jensen-Shannon ------------------------------------------------------------------------------------


@claim(
    "js_divergence.mixture_definition",
    r"D_{\mathrm{JS}}(p \,\|\, q) = \tfrac12 D_{\mathrm{KL}}(p \,\|\, m) + \tfrac12"
    r" D_{\mathrm{KL}}(q \,\|\, m), \quad m = \tfrac12(p + q)",
    sources=[
        "Lin 1991",
        "Goodfellow et al. 2014, 'Generative Adversarial Networks', equation 6",
        "CS182 2021 L19",
    ],
    why=r"""It is the definition, in nats: half of the divergence of each distribution from their even
    mixture. The contract asks for the divergence and not for its square root, the Jensen-Shannon
    distance, which is what some libraries return under that name: at disjoint supports the former
    is log 2 = 0.693, the latter 0.833. Nor is it the sum of the two terms: the value of the GAN
    game is :math:`2 D_{\mathrm{JS}} - \log 4`, and the factor 2 easily ends up inside.

    The oracle computes both KL divergences term by term in Python floats, with :math:`0 \log 0 =
    0`; as :math:`m_i > 0` wherever :math:`p_i > 0` no term is infinite.""",
    assumptions={
        "the mixture is even": (
            r"with weights :math:`\pi` and :math:`1 - \pi` the two terms are weighed so as "
            r"well, and the maximum is the entropy of :math:`\pi`, less than log 2 unless "
            r":math:`\pi = \tfrac12`"
        ),
    },
)
@given(pair=any_pairs())
def test_is_the_mean_divergence_from_the_mixture(
    subject: Handle, device: str, dtype: torch.dtype, pair: Pair
) -> None:
    p, q = pair.values()
    expected = definition_of_js(p, q)
    check.close(subject(p, q), expected, near(expected, dtype, len(p)), "JS(p, q)")


@claim(
    "js_divergence.bounded",
    r"0 \le D_{\mathrm{JS}}(p \,\|\, q) \le \tfrac{\log 2}{2} \|p - q\|_1 \le \log 2",
    sources=["Lin 1991, Theorem 3", "CS182 2021 L19, 'What does the GAN optimize?'"],
    why=r"""Write :math:`a_i = p_i / (p_i + q_i)` and :math:`h(a) = -a \log a - (1 - a) \log(1 - a)` for
    the entropy of a coin. Collecting terms,

    .. math::

        D_{\mathrm{JS}}(p \,\|\, q) = \sum_i \frac{p_i + q_i}{2} \bigl(\log 2 - h(a_i)\bigr).

    As :math:`h` is concave, with the value 0 at 0 and 1 and log 2 at ½, it lies above the two
    chords, :math:`h(a) \ge 2 \log 2 \min(a, 1 - a)`, so the bracket is at most :math:`\log 2 \, |2
    a_i - 1| = \log 2 \, |p_i - q_i| / (p_i + q_i)`. Summed up this is the bound; and :math:`h \le
    \log 2` gives 0 on the other side. In words: it is the information that a sample carries about
    which of the two it came from, and that is a fair coin, at most log 2 nats.""",
    assumptions={
        "both vectors sum to one": "for :math:`p = (2, 0)` and :math:`q = (0, 2)` the sum is 2 log 2",
    },
    sentence="lies between 0 and log 2",
)
@given(pair=any_pairs())
def test_lies_between_zero_and_log_two(
    subject: Handle, device: str, dtype: torch.dtype, pair: Pair
) -> None:
    p, q = pair.values()
    value, slack = subject(p, q), near(1.0, dtype, len(p))
    check.at_least(value, 0.0, slack, "JS(p, q)")
    bound = math.log(2) * total_variation_norm(p, q) / 2
    check.at_most(value, bound, slack, "JS(p, q), against log 2 times the total variation,")


@claim(
    "js_divergence.symmetric",
    r"D_{\mathrm{JS}}(p \,\|\, q) = D_{\mathrm{JS}}(q \,\|\, p)",
    sources=["Lin 1991", "CS182 2021 L19"],
    why=r"""The mixture :math:`m = \tfrac12 (p + q)` does not change when :math:`p` and :math:`q` are
    exchanged, and the two halves change places. The test needs no oracle: the subject is compared
    with itself, on pairs with zeros in either argument, so that code which takes the support of
    its first argument for both is found out. A one-sided divergence :math:`D_{\mathrm{KL}}(p
    \,\|\, m)` fails: for :math:`p = (1, 0)` and :math:`q = (\tfrac12, \tfrac12)` it is 0.288 one
    way and 0.144 the other.""",
    assumptions={
        "the mixture is even": (
            "with the weights 0.9 and 0.1 the pair (1, 0), (½, ½) has the value 0.129, "
            "and 0.064 in the other order"
        ),
    },
)
@given(pair=any_pairs())
def test_does_not_depend_on_the_order_of_its_arguments(
    subject: Handle, device: str, dtype: torch.dtype, pair: Pair
) -> None:
    p, q = pair.values()
    check.close(
        subject(p, q), subject(q, p), near(1.0, dtype, len(p)), "JS(p, q), against JS(q, p),"
    )


@claim(
    "js_divergence.zero_iff_equal",
    r"D_{\mathrm{JS}}(p \,\|\, q) \ge \tfrac18 \|p - q\|_1^2, \qquad D_{\mathrm{JS}}(p \,\|\, q) = 0"
    r" \iff p = q",
    sources=[
        "Goodfellow et al. 2014, 'Generative Adversarial Networks', Theorem 1",
        "Cover and Thomas 2006, 'Elements of Information Theory', Lemma 11.6.1",
    ],
    why=r"""Each half is a KL divergence, so it is not negative, and is 0 exactly if :math:`p` (or
    :math:`q`) equals the mixture, and so the other. Quantitatively, :math:`p - m = \tfrac12 (p -
    q)`, and Pinsker's inequality (``kl_divergence.nonnegative``) for each half gives

    .. math::

        D_{\mathrm{JS}} \ge \tfrac12 \cdot \tfrac12 \|p - m\|_1^2 + \tfrac12 \cdot \tfrac12 \|q - m\|_1^2
        = \tfrac18 \|p - q\|_1^2.

    For nearly equal vectors the terms are of both signs and cancel almost wholly: the computed sum
    can be -1e-17, and a square root taken on the way makes NaN. Training ends just there. So the
    test also asks for thirty neighbours of :math:`p`, at relative distances 1e-15 to 1e-7, and
    demands a finite value each time.""",
    assumptions={
        "both vectors sum to one": (
            r"for :math:`p = (1, 1)` and :math:`q = (\tfrac12, \tfrac12)` the sum is "
            "0.085, below the bound of 0.125"
        ),
    },
    effort=2.0,
)
@given(pair=stratified([*equal_pairs().genspec_strata, nearly_equal(), pairs(interior=False)]))
def test_is_zero_exactly_for_equal_distributions(
    subject: Handle, device: str, dtype: torch.dtype, pair: Pair
) -> None:
    p, q = pair.values()
    value, slack = subject(p, q), near(1.0, dtype)
    check.finite(value, "JS(p, q)")
    check.at_least(value, total_variation_norm(p, q) ** 2 / 8, slack, "JS(p, q)")
    if torch.equal(p, q):
        check.close(value, 0.0, slack, "JS(p, p)")
    for close_by in neighbours(p):
        check.finite(
            subject(p, close_by), f"JS(p, q) for p = {p.tolist()}, q = {close_by.tolist()}"
        )


@claim(
    "js_divergence.sqrt_is_a_metric",
    r"\sqrt{D_{\mathrm{JS}}(p, r)} \le \sqrt{D_{\mathrm{JS}}(p, q)} + \sqrt{D_{\mathrm{JS}}(q, r)}",
    sources=["Endres and Schindelin 2003", "Österreicher and Vajda 2003"],
    why=r"""A function is the square of a distance in a Hilbert space if :math:`\sum_{ab} c_a c_b D(p_a,
    p_b) \le 0` for all weights with :math:`\sum_a c_a = 0` (Schoenberg). In this sum whatever
    depends on one argument only vanishes, which leaves of JS, outcome by outcome, :math:`-\tfrac12
    f(p_a + p_b)` with :math:`f(u) = u \log u`. Now

    .. math::

        u \log u = \int_0^\infty \bigl(e^{-ut} - 1 + u\,(1 - e^{-t})\bigr) \frac{dt}{t^2}

    (both sides are 0 at :math:`u = 0` and 1 and have the second derivative :math:`1/u`), and
    constant and linear parts vanish too: the sum is :math:`-\tfrac12 \int (\sum_a c_a e^{-p_a
    t})^2 t^{-2} dt \le 0`. So the root obeys the triangle inequality.

    Judged at points between :math:`p` and :math:`r`, where it is tightest, and elsewhere.""",
    assumptions={
        "the root is taken": (
            r"for :math:`p = (1, 0)`, :math:`r = (0, 1)` and :math:`q = (\tfrac12, "
            r"\tfrac12)` JS is 0.693 from :math:`p` to :math:`r`, and 0.216 + 0.216 by way "
            "of :math:`q`"
        ),
    },
)
@given(
    pair=stratified([pairs(), pairs(interior=False), disjoint(), nearly_equal()]),
    part=st.floats(0.2, 0.8),
)
def test_has_a_square_root_that_obeys_the_triangle_inequality(
    subject: Handle,
    device: str,
    dtype: torch.dtype,
    pair: Pair,
    part: float,
) -> None:
    p, r = pair.values()
    anywhere = torch.rand_like(p)
    slack = near(1.0, dtype)
    for close_by in neighbours(p):
        check.finite(
            subject(p, close_by), f"JS(p, q) for p = {p.tolist()}, q = {close_by.tolist()}"
        )
    for q in (part * p + (1 - part) * r, anywhere / anywhere.sum()):
        longest = (subject(p, r).double() - slack).clamp(min=0).sqrt()
        detour = sum(
            (subject(*ends).double() + slack).clamp(min=0).sqrt() for ends in ((p, q), (q, r))
        )
        check.at_most(
            longest, detour, rounding(dtype), "the root of JS(p, r), against the detour by q,"
        )


@claim(
    "js_divergence.disjoint_is_log_two",
    r"\operatorname{supp} p \cap \operatorname{supp} q = \emptyset \;\Rightarrow\;"
    r" D_{\mathrm{JS}}(p \,\|\, q) = \log 2",
    sources=[
        "Arjovsky and Bottou 2017, 'Towards Principled Methods for Training GANs', Theorem 2.1",
        "CS182 2021 L19, 'almost identical in these two cases'",
    ],
    why=r"""On the support of :math:`p` the mixture is :math:`p / 2`, so

    .. math::

        D_{\mathrm{KL}}(p \,\|\, m) = \sum_i p_i \log \frac{p_i}{p_i / 2} = \log 2,

    and likewise for :math:`q`. Where the points lie does not enter. A generator whose samples are
    close to the data but disjoint from them has the same JS as one whose samples are far away, and
    a slope of 0: nothing tells it to come closer. Images lie near thin sets, which two continuous
    distributions almost never share, so this is the rule at the start of training and not the
    exception; ``wasserstein1.gradient_survives_disjoint_supports`` is the cure.""",
    assumptions={
        "the supports are disjoint": (
            r"for :math:`p = (\tfrac12, \tfrac12, 0)` and :math:`q = (0, \tfrac12, "
            r"\tfrac12)` the value is ½ log 2"
        ),
    },
    sentence="is log 2 for disjoint supports",
)
@given(pair=disjoint())
def test_is_log_two_for_disjoint_supports(
    subject: Handle, device: str, dtype: torch.dtype, pair: Pair
) -> None:
    check.close(subject(*pair.values()), math.log(2), near(1.0, dtype), "JS of disjoint p and q")


@claim(
    "js_divergence.finite_where_kl_is_infinite",
    r"p_i > 0 = q_i \text{ for some } i, \;\; p_j q_j > 0 \text{ for some } j \;\Rightarrow\;"
    r" D_{\mathrm{KL}}(p \,\|\, q) = \infty, \quad 0 < D_{\mathrm{JS}}(p \,\|\, q) < \log 2",
    sources=["Lin 1991", "Goodfellow et al. 2014, 'Generative Adversarial Networks', §4.1"],
    why=r"""The mixture has mass wherever :math:`p` or :math:`q` has, so each ratio :math:`p_i / m_i` is at
    most 2 and no logarithm diverges. Where the supports overlap some confusion is left: :math:`\|p
    - q\|_1 = 2 - 2 \sum_i \min(p_i, q_i) < 2`, and the bound of ``js_divergence.bounded`` is
    strictly below log 2. As :math:`p \ne q` the value is positive, by
    ``js_divergence.zero_iff_equal``.

    The test draws one vector with a zero and one without, in both orders, and demands a finite
    value between the two bounds. The mean of the KL divergences both ways, which is symmetric too,
    is infinite there.""",
    assumptions={
        "the supports overlap": "for :math:`p = (1, 0)` and :math:`q = (0, 1)` the value is log 2 itself",
    },
    sentence="stays below log 2 where only part of the support is shared",
)
@given(pair=stratified([inside(), inside(keep=False)]))
def test_stays_below_log_two_where_only_part_of_the_support_is_shared(
    subject: Handle, device: str, dtype: torch.dtype, pair: Pair
) -> None:
    p, q = pair.values()
    value = subject(p, q)
    check.finite(value, "JS(p, q)")
    bound = math.log(2) * total_variation_norm(p, q) / 2
    check.at_most(value, bound, near(1.0, dtype), "JS(p, q) of overlapping p and q")
    check.at_least(value, total_variation_norm(p, q) ** 2 / 8, near(1.0, dtype), "JS(p, q)")


@claim(
    "js_divergence.gradient_in_q",
    r"\partial_{q_i} D_{\mathrm{JS}}(p \,\|\, q) = \tfrac12 \log \frac{q_i}{m_i}",
    sources=[
        "contracts.md, conventions",
        "Goodfellow et al. 2014, 'Generative Adversarial Networks', Proposition 2",
    ],
    why=r"""The divergence is :math:`\tfrac12 \sum_i (p_i \log p_i + q_i \log q_i) - \sum_i m_i \log m_i`.
    Since :math:`\partial m_i / \partial q_i = \tfrac12`,

    .. math::

        \partial_{q_i} D_{\mathrm{JS}} = \tfrac12 (\log q_i + 1) - \tfrac12 (\log m_i + 1)
        = \tfrac12 \log \frac{q_i}{m_i}.

    Where :math:`p_i = 0 < q_i` the slope is ½ log 2, finite: an outcome that the data lack is
    pushed down. Both halves contribute; detaching :math:`q` in its own term loses part of what a
    generator should learn. Terms masked after the logarithm give NaN at :math:`p_i = 0`, which is
    why zeros in :math:`p` are drawn. Judged along the simplex, as ``kl_divergence.gradient_in_q``.""",
    assumptions={
        ":math:`q_i > 0`": (
            r"as :math:`q_i \to 0` with :math:`p_i > 0` the slope falls to minus infinity, "
            "although the value stays finite"
        ),
    },
)
@given(pair=stratified([pairs(), inside()]))
def test_has_the_gradient_of_the_log_ratio_to_the_mixture(
    subject: Handle, device: str, dtype: torch.dtype, pair: Pair
) -> None:
    p, q = pair.values()
    expected = (2 * q / (p + q)).log() / 2
    _check_gradient_along_simplex(subject, p, q, expected, "JS(p, q)")


# The optimal discriminator -------------------------------------------------------------------------


def _where_open(p: Tensor, q: Tensor) -> Tensor:
    return p + q == 0


@claim(
    "optimal_discriminator.formula",
    r"D^*(x) = \frac{p(x)}{p(x) + q(x)}",
    sources=[
        "Goodfellow et al. 2014, 'Generative Adversarial Networks', Proposition 1",
        "CS182 2021 L19",
    ],
    why=r"""The discriminator's reward :math:`\sum_x p(x) \log D(x) + q(x) \log(1 - D(x))` falls apart into
    one problem for each point. With :math:`a = p(x)` and :math:`b = q(x)` the slope of :math:`a
    \log d + b \log(1 - d)` is :math:`a/d - b/(1 - d)`, which vanishes only at :math:`d = a / (a +
    b)`; the function is concave, so this is its maximum. It is also Bayes' rule, for a point that
    is real or fake with equal chances.

    Only the ratio matters, so a point that both hold nearly impossible is judged as firmly as any
    other: at :math:`p = 10^{-30}`, :math:`q = 3 \cdot 10^{-30}` the answer is ¼, and an eps in the
    denominator makes it 0. The oracle divides in float64.""",
    assumptions={
        ":math:`p(x) + q(x) > 0`": (
            "where neither has mass every answer is as good as any other, and the test "
            "leaves the point out"
        ),
        "real and fake are equally likely": (
            r"with a share :math:`\pi` of real points the best answer is :math:`\pi p / "
            r"(\pi p + (1 - \pi) q)`; for :math:`p = q` that is :math:`\pi`"
        ),
    },
)
@given(pair=any_pairs())
def test_is_the_share_of_real_mass_at_each_point(
    subject: Handle, device: str, dtype: torch.dtype, pair: Pair
) -> None:
    p, q = pair.values()
    open_ = _where_open(p, q)
    total = torch.where(open_, torch.ones_like(p), p + q).double()
    found = torch.where(open_, torch.zeros_like(p), subject(p, q))
    check.close(found, p.double() / total, guarded(dtype), "D*")


@claim(
    "optimal_discriminator.maximises_the_game",
    r"V(D^*) - V(D) \ge 2 \sum_x (p + q)(D^* - D)^2, \quad V(D) = \sum_x p \log D + q \log(1 - D)",
    sources=[
        "Goodfellow et al. 2014, 'Generative Adversarial Networks', Proposition 1",
        "CS182 2021 L19",
    ],
    why=r"""At a point with :math:`s = p + q` and :math:`D^* = p / s` the deficit of another answer
    :math:`D` is

    .. math::

        s \Bigl( D^* \log \frac{D^*}{D} + (1 - D^*) \log \frac{1 - D^*}{1 - D} \Bigr)
        = s \, D_{\mathrm{KL}}\bigl(\mathrm{Ber}(D^*) \,\|\, \mathrm{Ber}(D)\bigr).

    For two coins Pinsker's inequality reads :math:`D_{\mathrm{KL}} \ge \tfrac12 (2\,|D^* - D|)^2`,
    which is the bound: every other discriminator loses, and at least by this much.

    The oracle is the game itself. The subject's answer is put into :math:`V` and compared with
    five rivals, the true one raised or lowered among them; the margin makes sure that an answer a
    little off is found out too. It must also be a probability, which the odds :math:`p / q` are
    not.""",
    assumptions={
        "the reward is the logarithm": (
            "with the squared rewards of LSGAN and labels 1 and 0 the best answer is the "
            r"same, but the margin is exactly :math:`\sum (p + q)(D^* - D)^2`, half of the "
            "bound"
        ),
    },
)
@given(
    pair=stratified([pairs(), inside(), inside(keep=False), disjoint()]),
    step=st.floats(0.02, 0.3),
)
def test_beats_every_other_discriminator(
    subject: Handle,
    device: str,
    dtype: torch.dtype,
    pair: Pair,
    step: float,
) -> None:
    p, q = (side.double() for side in pair.values())
    judged = ~_where_open(p, q)
    best, slack = subject(*pair.values()).double()[judged], near(1.0, dtype)
    p, q = p[judged], q[judged]
    check.at_least(best, 0.0, slack, "D*, a probability,")
    check.at_most(best, 1.0, slack, "D*, a probability,")
    value = _game_value(best.clamp(0, 1), p, q)
    truth = p / (p + q)
    anything = (2 * torch.randn_like(p)).sigmoid()
    rivals = {
        "an arbitrary one": anything,
        "one half everywhere": torch.full_like(p, 0.5),
        "D* raised": (truth + step).clamp(max=0.99),
        "D* lowered": (truth - step).clamp(min=0.01),
        "1 - D*": (1 - truth).clamp(0.01, 0.99),
    }
    for name, rival in rivals.items():
        loss = 2 * ((p + q) * (truth - rival).square()).sum()
        bound = _game_value(rival, p, q) + loss
        check.at_least(value, bound, slack, f"the value of the game at D*, against {name},")


def _game_value(d: Tensor, p: Tensor, q: Tensor) -> Tensor:
    return torch.xlogy(p, d).sum() + torch.xlogy(q, 1 - d).sum()


@claim(
    "optimal_discriminator.half_at_equilibrium",
    r"D^*(x) = \tfrac12 \iff p(x) = q(x) > 0, \qquad D^*(x) > \tfrac12 \iff p(x) > q(x)",
    sources=[
        "Goodfellow et al. 2014, 'Generative Adversarial Networks', §4.1 and Figure 1",
        "CS182 2021 L19",
    ],
    why=r"""Subtract one half from ``optimal_discriminator.formula``:

    .. math::

        D^* - \tfrac12 = \frac{p - q}{2\,(p + q)}.

    It vanishes exactly where :math:`p = q`, and has the sign of :math:`p - q` elsewhere. A
    generator that reproduces the data leaves nothing to tell apart; where it produces too little
    the discriminator leans to "real", by half the relative difference, and the slope of this lean
    is what drives the generator. The test compares the lean with that fraction and, separately,
    its sign wherever the two probabilities differ by more than a thousandth.""",
    assumptions={
        "real and fake are equally likely": "with two real points for each fake one the best answer at :math:`p = q` is ⅔",
    },
)
@given(pair=stratified([*equal_pairs().genspec_strata, pairs(), pairs(interior=False)]))
def test_is_one_half_exactly_where_the_probabilities_agree(
    subject: Handle, device: str, dtype: torch.dtype, pair: Pair
) -> None:
    p, q = pair.values()
    judged = ~_where_open(p, q)
    lean = (subject(p, q) - 0.5)[judged]
    p, q = p[judged], q[judged]
    check.close(lean, (p - q) / (p + q) / 2, guarded(dtype), "D* - 1/2")
    differs = (p - q).abs() > 1e-3 * (p + q)
    check.that(
        bool((lean.sign() == (p - q).sign())[differs].all()),
        f"D* - 1/2 is {lean.tolist()} where p - q is {(p - q).tolist()}: it leans the wrong way",
    )


@claim(
    "optimal_discriminator.roles_exchange",
    r"D^*_{p,q}(x) + D^*_{q,p}(x) = 1",
    sources=["Goodfellow et al. 2014, 'Generative Adversarial Networks', Proposition 1"],
    why=r"""Calling real what was fake exchanges the probabilities of the two answers:

    .. math::

        \frac{p}{p + q} + \frac{q}{q + p} = 1.

    It is the symmetry of the game: :math:`D \mapsto 1 - D` turns the reward for :math:`(p, q)`
    into that for :math:`(q, p)`. The subject is compared with itself, at every point where either
    has mass. One-sided label smoothing breaks it, for it moves the optimum to :math:`0.9\, p / (p
    + q)`, and so does an eps in the denominator where both are rare.""",
    assumptions={
        "both labels are treated alike": "with real labels of 0.9 and fake ones of 0 the two answers add up to 0.9",
    },
)
@given(pair=any_pairs())
def test_is_complementary_when_real_and_fake_change_places(
    subject: Handle, device: str, dtype: torch.dtype, pair: Pair
) -> None:
    p, q = pair.values()
    total = (subject(p, q) + subject(q, p))[~_where_open(p, q)]
    check.close(total, torch.ones_like(total), guarded(dtype), "D*(p, q) + D*(q, p)")
