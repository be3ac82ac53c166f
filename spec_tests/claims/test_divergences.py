r"""Divergences and transport: what separates two distributions on finitely many points."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize
from torch import Tensor

from spec_tests import check
from spec_tests.contracts.divergences import separated_clouds, transports, weights
from spec_tests.handle import Handle
from spec_tests.judge import stratified
from spec_tests.numerics import gradients
from spec_tests.registry import claim
from spec_tests.strategies import normals, reals, simplexes, sizes
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


def distances(x: Tensor, y: Tensor) -> np.ndarray:
    """Euclidean distances ``(n, m)`` in float64."""
    a, b = x.detach().double().cpu().numpy(), y.detach().double().cpu().numpy()
    return np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1))


def masses(p: Tensor) -> np.ndarray:
    mass: np.ndarray = p.detach().double().cpu().numpy()
    return mass / mass.sum()


def best_plan_cost(cost: np.ndarray, p: np.ndarray, q: np.ndarray) -> float:
    """The primal: the least cost of a plan with marginals ``p`` and ``q``."""
    n, m = cost.shape
    rows, columns = np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))
    found = optimize.linprog(cost.ravel(), A_eq=np.vstack([rows, columns]), b_eq=np.r_[p, q])
    return float(found.fun)


def best_critic_gap(cost: np.ndarray, p: np.ndarray, q: np.ndarray) -> float:
    """The dual: the largest ``p·f + q·g`` with ``f_i + g_j`` at most the cost of ``(i, j)``."""
    n, m = cost.shape
    pairs = np.hstack([np.kron(np.eye(n), np.ones((m, 1))), np.kron(np.ones((n, 1)), np.eye(m))])
    found = optimize.linprog(
        -np.r_[p, q], A_ub=pairs, b_ub=cost.ravel(), bounds=[(0, 0)] + [(None, None)] * (n + m - 1)
    )
    return -float(found.fun)


def area_between_cdfs(x: Tensor, y: Tensor, p: Tensor, q: Tensor) -> float:
    """The integral of the absolute difference of two step functions on the line."""
    points = np.r_[x.double().cpu().numpy(), y.double().cpu().numpy()]
    steps, order = np.r_[masses(p), -masses(q)], np.argsort(points, kind="stable")
    heights = np.cumsum(steps[order])[:-1]
    return float(np.abs(heights) @ np.diff(points[order]))


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
    sources=["Kullback and Leibler 1951, §2", "CS182 L17"],
    why="""It is the definition. x·log x tends to 0 with x, so an outcome that p never produces costs
    nothing, whatever q says of it; an outcome that q holds impossible and p does not costs infinitely
    much, and no guard may hide that.""",
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
    sources=["Gibbs' inequality", "Pinsker's inequality", "CS182 L17"],
    why="""-log is convex, so Jensen's inequality gives 0; Pinsker's inequality says by how much more
    it is when p and q differ, which a function that is always 0 does not meet.""",
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
    sources=["Goodfellow et al. 2016, Deep Learning, §3.13", "CS182 L17"],
    why="""The average is over p alone. Where the support of p is a proper part of that of q, one way is
    finite and the other infinite: fitting q by KL(p || q) covers every mode, by KL(q || p) it seeks
    one.""",
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
    sources=["Cover and Thomas 2006, Theorem 2.5.3"],
    why="""The logarithm of a product of ratios is the sum of their logarithms, and each factor's
    probabilities sum to 1. A VAE's KL term is a sum over latent dimensions for this reason.""",
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
    sources=["Cover and Thomas 2006, Theorem 2.7.2"],
    why="""By the log-sum inequality, jointly in both arguments: mixing two pairs of distributions makes
    them no easier to tell apart.""",
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
    sources=["contracts.md, conventions", "CS182 L17"],
    why="""Only -p_i log q_i depends on q_i; where p_i = 0 that is nothing, and the slope is 0. Code that
    computes 0·log 0 = NaN and then replaces the value by 0 leaves NaN in the gradient. Judged along
    the simplex, where the sum of q stays 1.""",
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
    sources=["Lin 1991", "Goodfellow et al. 2014, equation 6", "CS182 L19"],
    why="""It is the definition, in nats, and not its square root, which is what some libraries call the
    Jensen-Shannon distance.""",
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
    sources=["Lin 1991, Theorem 3", "CS182 L19, 'What does the GAN optimize?'"],
    why="""It is the information that a sample carries about which of the two it came from, and that is
    a fair coin: at most log 2.""",
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
    sources=["Lin 1991", "CS182 L19"],
    why="The definition does not change when p and q are exchanged.",
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
    sources=["Goodfellow et al. 2014, Theorem 1", "Pinsker's inequality"],
    why="""Each half is a KL divergence, 0 exactly if p (or q) equals the mixture, and so the other.
    For nearly equal vectors the terms cancel and the sum can round below 0, where a square root taken
    on the way makes NaN.""",
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
    why="""JS is of negative type, so its root embeds in a Hilbert space. JS itself is not a metric:
    halfway between p and r it is about a quarter each way, so the triangle inequality fails.""",
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
        "Arjovsky and Bottou 2017, Theorem 2.1",
        "CS182 L19, 'almost identical in these two cases'",
    ],
    why="""On the support of p the mixture is p/2. Where the points lie does not enter, so a generator
    whose samples are close but disjoint learns nothing from JS about getting closer.""",
)
@given(pair=disjoint())
def test_is_log_two_for_disjoint_supports(
    subject: Handle, device: str, dtype: torch.dtype, pair: Pair
) -> None:
    check.close(subject(*pair.values()), math.log(2), near(1.0, dtype), "JS of disjoint p and q")


@claim(
    "js_divergence.finite_where_kl_is_infinite",
    r"D_{\mathrm{KL}}(p \,\|\, q) = \infty, \quad D_{\mathrm{JS}}(p \,\|\, q) < \log 2",
    sources=["Lin 1991", "Goodfellow et al. 2014, §4.1"],
    why="""The mixture has mass wherever p or q has, so no logarithm diverges; and where the supports
    overlap, some confusion is left.""",
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
    sources=["contracts.md, conventions", "Goodfellow et al. 2014, Proposition 2"],
    why="""The terms that come from the mixture add up to a constant, which no direction along the
    simplex sees. Where p_i = 0 < q_i the slope is ½ log 2, finite: an outcome that the data lack is
    pushed down.""",
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
    sources=["Goodfellow et al. 2014, Proposition 1", "CS182 L19"],
    why="""For each point, a log d + b log(1 - d) has its maximum at d = a / (a + b). Only the ratio
    matters, so a point that both hold nearly impossible is judged as firmly as any other.""",
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
    sources=["Goodfellow et al. 2014, Proposition 1", "CS182 L19"],
    why="""The deficit is a sum of Bernoulli KL divergences, (p + q) KL(D* || D), each of which Pinsker's
    inequality bounds below: every other discriminator loses, and by how much.""",
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
    sources=["Goodfellow et al. 2014, §4.1 and Figure 1", "CS182 L19"],
    why="""A generator that reproduces the data leaves nothing to tell apart; where it produces too
    little, the discriminator leans to 'real', and by half the relative difference.""",
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
    sources=["Goodfellow et al. 2014, Proposition 1"],
    why="Calling real what was fake exchanges the probabilities of the two answers.",
)
@given(pair=any_pairs())
def test_is_complementary_when_real_and_fake_change_places(
    subject: Handle, device: str, dtype: torch.dtype, pair: Pair
) -> None:
    p, q = pair.values()
    total = (subject(p, q) + subject(q, p))[~_where_open(p, q)]
    check.close(total, torch.ones_like(total), guarded(dtype), "D*(p, q) + D*(q, p)")


# Wasserstein ---------------------------------------------------------------------------------------

Clouds = dict[str, Tensor]


@st.composite
def _from_a_point(draw: st.DrawFn, dim: int, interior: bool) -> Clouds:
    """A single point and a cloud; the weights are far from 0 where ``interior``."""
    m = draw(st.integers(2, 5)) if interior else draw(st.sampled_from([1, 1, 2, 3, 4]))
    x, y = draw(reals((1, dim), -9, 9)), draw(reals((m, dim), -9, 9))
    q = draw(weights(m) if interior else simplexes(m))
    return {"x": x, "y": y, "p": torch.ones(1, dtype=torch.float64), "q": q}


def from_a_point(interior: bool = False) -> Any:
    """A single point and a cloud, in one to three dimensions."""
    return stratified([_from_a_point(dim, interior) for dim in (1, 2, 3)])


@st.composite
def _on_a_line(draw: st.DrawFn, dim: int) -> Clouds:
    n, m = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    drawn = {"s": reals((n,)), "t": reals((m,)), "p": simplexes(n), "q": simplexes(m)}
    along = draw(normals((dim,)))
    return {name: draw(strategy) for name, strategy in drawn.items()} | {"along": along}


def on_a_line() -> Any:
    """Positions ``s`` and ``t`` along a direction of one to three dimensions, with weights."""
    return stratified([_on_a_line(dim) for dim in (1, 2, 3)])


def transport(subject: Handle, clouds: Clouds, **changes: Tensor) -> Tensor:
    """The subject's distance of the clouds, some of their parts replaced."""
    found: Tensor = subject(*({**clouds, **changes}[name] for name in ("x", "y", "p", "q")))
    return found


def spent(clouds: Clouds, value: Any, dtype: torch.dtype) -> float:
    """The tolerance for a distance: a solver may stop 1e-5 away; rounding grows with coordinates."""
    size = max(float(clouds[name].abs().max()) for name in ("x", "y"))
    exact = rounding(dtype, length=len(clouds["p"]) * len(clouds["q"]), scale=size)
    return max(guarded(dtype, scale=float(value)), exact)


@claim(
    "wasserstein1.distance_of_point_masses",
    r"W_1(\delta_x, q) = \sum_j q_j \|x - y_j\|_2",
    sources=["Peyré and Cuturi 2019, §2.3", "CS182 L19"],
    why="""From a single point there is only one plan: all of its mass goes where q wants it. For two
    single points the distance is that of the points, however far apart they are.""",
)
@given(clouds=from_a_point(), swap=st.booleans())
def test_is_the_mean_distance_to_a_single_point(
    subject: Handle, device: str, dtype: torch.dtype, clouds: Clouds, swap: bool
) -> None:
    x, y, one, q = (clouds[name] for name in ("x", "y", "p", "q"))
    expected = float(masses(q) @ distances(x, y)[0])
    if swap:
        clouds = {"x": y, "y": x, "p": q, "q": one}
    found = transport(subject, clouds)
    check.close(found, expected, spent(clouds, expected, dtype), "the distance to a point mass")


@claim(
    "wasserstein1.metric",
    r"W(\mu, \mu) = 0, \quad W(\mu, \nu) = W(\nu, \mu), \quad W(\mu, \rho) \le W(\mu, \nu) +"
    r" W(\nu, \rho)",
    sources=[
        "Villani 2009, Theorem 6.9 context, chapter 6",
        "Peyré and Cuturi 2019, Proposition 2.3",
    ],
    why="""Leaving all mass where it is costs nothing; a plan read backwards costs the same; two plans
    glued at the middle make one. It is positive between different measures: moving the mean by a
    vector costs at least its length.""",
)
@given(clouds=transports())
def test_is_a_metric(subject: Handle, device: str, dtype: torch.dtype, clouds: Clouds) -> None:
    x, y, p, q = (clouds[name] for name in ("x", "y", "p", "q"))
    z, r = torch.randn_like(x[:1]).repeat(2, 1), torch.rand_like(x[:1, 0])
    z[1] += 1
    r = torch.cat([r, 1 - r])
    there = transport(subject, clouds)
    slack = 3 * spent(clouds | {"y": torch.cat([y, z])}, there, dtype)
    check.close(
        subject(x, x.clone(), p, p.clone()), 0.0, slack, "the distance of a cloud from itself"
    )
    check.close(
        subject(y, x, q, p), there, slack, "the distance from y to x, against that from x to y,"
    )
    detour = subject(x, z, p, r) + subject(z, y, r, q)
    check.at_most(there, detour, slack, "the distance, against a detour,")
    shift = torch.linalg.vector_norm(p.double() @ x.double() - q.double() @ y.double())
    check.at_least(there, shift, slack, "the distance, against that of the means,")


@claim(
    "wasserstein1.sees_measures_not_lists",
    r"\textstyle\sum_i p_i \delta_{x_i} = \sum_k p'_k \delta_{x'_k} \;\Rightarrow\; W\bigl((x, p), \nu\bigr)"
    r" = W\bigl((x', p'), \nu\bigr)",
    sources=["Peyré and Cuturi 2019, §2.2"],
    why="""The order of points, points listed twice with their mass shared, and points without mass are
    matters of notation: the measure is the same.""",
)
@given(clouds=transports(), share=st.floats(0.1, 0.9))
def test_does_not_depend_on_how_a_measure_is_written_down(
    subject: Handle, device: str, dtype: torch.dtype, clouds: Clouds, share: float
) -> None:
    x, p = clouds["x"], clouds["p"]
    plain = transport(subject, clouds)
    slack = spent(clouds, plain, dtype)
    order = torch.randperm(len(p), device=device)
    shuffled = transport(subject, clouds, x=x[order], p=p[order])
    check.close(shuffled, plain, slack, "the distance with the points of x in another order")
    twice = torch.cat([p[:1] * share, p[1:], p[:1] * (1 - share)])
    split = transport(subject, clouds, x=torch.cat([x, x[:1]]), p=twice)
    check.close(split, plain, slack, "the distance with the first point of x listed twice")
    nothing = torch.cat([clouds["q"], torch.zeros_like(p[:1])])
    spare = transport(subject, clouds, y=torch.cat([clouds["y"], x[:1] + 1]), q=nothing)
    check.close(spare, plain, slack, "the distance with a point without mass added to y")


@claim(
    "wasserstein1.translation",
    r"W(\mu, \mu + t) = \|t\|_2, \qquad W(\mu + t, \nu + t) = W(\mu, \nu)",
    sources=["CS182 L19, 'better distance'", "Arjovsky et al. 2017, Example 1"],
    why="""Moving every point by t costs its length, and no plan is cheaper, since the mean has to move
    by t. It grows with the distance where JS stays at log 2. Moving both changes no distance.""",
)
@given(clouds=transports(), size=st.sampled_from([0.25, 3.0, 40.0]))
def test_grows_with_the_translation_that_separates_two_copies(
    subject: Handle, device: str, dtype: torch.dtype, clouds: Clouds, size: float
) -> None:
    x, y, p = clouds["x"], clouds["y"], clouds["p"]
    t = size * torch.randn_like(x[0])
    length = float(torch.linalg.vector_norm(t.double()))
    moved = clouds | {"y": x + t, "q": p.clone()}
    slack = spent(moved, length, dtype)
    check.close(
        transport(subject, moved), length, slack, "the distance of a cloud from its translate"
    )
    plain, both = transport(subject, clouds), transport(subject, clouds, x=x + t, y=y + t)
    slack = spent(clouds | {"y": y + t}, plain, dtype)
    check.close(both, plain, slack, "the distance with both clouds moved by one vector")


@claim(
    "wasserstein1.scaling",
    r"W(a\mu, a\nu) = |a|\, W(\mu, \nu), \qquad W(R\mu, R\nu) = W(\mu, \nu)",
    sources=["Villani 2009, chapter 6", "Peyré and Cuturi 2019, §2.3"],
    why="""Every cost is a Euclidean distance: multiplied by |a| under scaling, mirrored or not, and
    unchanged by a rotation, so the best plan stays best.""",
)
@given(clouds=transports(), factor=st.sampled_from([-3.0, -1.0, 0.0, 0.5, 20.0]))
def test_scales_with_the_space_and_does_not_see_rotations(
    subject: Handle, device: str, dtype: torch.dtype, clouds: Clouds, factor: float
) -> None:
    x, y = clouds["x"], clouds["y"]
    plain = transport(subject, clouds)
    scaled = transport(subject, clouds, x=factor * x, y=factor * y)
    slack = max(abs(factor), 1.0) * spent(clouds, plain, dtype)
    check.close(
        scaled, abs(factor) * plain, slack, f"the distance with the space scaled by {factor}"
    )
    turn = torch.linalg.qr(torch.randn_like(x[:1].T @ x[:1])).Q
    turned = transport(subject, clouds, x=x @ turn, y=y @ turn)
    check.close(turned, plain, spent(clouds, plain, dtype), "the distance with the space rotated")


@claim(
    "wasserstein1.matches_cdf_in_1d",
    r"d = 1: \quad W(\mu, \nu) = \int |F_\mu(t) - F_\nu(t)| \, dt",
    sources=["Vallender 1974", "Peyré and Cuturi 2019, Remark 2.30"],
    why="""On the line mass never needs to cross: what has to pass t is |F(t) - G(t)|. A line in space
    is a line, so collinear points in any dimension have the same distance.""",
)
@given(line=on_a_line())
def test_is_the_area_between_distribution_functions_on_a_line(
    subject: Handle, device: str, dtype: torch.dtype, line: Clouds
) -> None:
    s, t, p, q, along = (line[name] for name in ("s", "t", "p", "q", "along"))
    along = along / torch.linalg.vector_norm(along)
    clouds = {"x": s[:, None] * along, "y": t[:, None] * along, "p": p, "q": q}
    expected = area_between_cdfs(s, t, p, q)
    found = transport(subject, clouds)
    check.close(found, expected, spent(clouds, expected, dtype), "the distance of points on a line")


@claim(
    "wasserstein1.primal_equals_dual",
    r"\min_{\gamma \in \Pi(p, q)} \sum_{ij} \gamma_{ij} \|x_i - y_j\| = W = \max_{f_i + g_j \le"
    r" \|x_i - y_j\|} \sum_i p_i f_i + \sum_j q_j g_j",
    sources=["Kantorovich and Rubinstein 1958", "Arjovsky et al. 2017, equation 2"],
    why="""Linear programming duality. No plan may be cheaper than the value and no critic may gain
    more: both programs are solved here, and the value has to lie between them.""",
    effort=0.8,
)
@given(clouds=transports())
def test_is_the_optimum_of_both_linear_programs(
    subject: Handle, device: str, dtype: torch.dtype, clouds: Clouds
) -> None:
    cost, p, q = distances(clouds["x"], clouds["y"]), masses(clouds["p"]), masses(clouds["q"])
    plan, critic = best_plan_cost(cost, p, q), best_critic_gap(cost, p, q)
    found, slack = transport(subject, clouds), spent(clouds, plan, dtype)
    check.at_most(found, plan, slack, "the distance, against the cost of the best plan,")
    check.at_least(found, critic, slack, "the distance, against the gap of the best critic,")


@claim(
    "wasserstein1.bounds_every_lipschitz_critic",
    r"\|f\|_L \le c \;\Rightarrow\; \mathbb{E}_p f - \mathbb{E}_q f \le c\, W(p, q)",
    sources=["Kantorovich and Rubinstein 1958", "Arjovsky et al. 2017, §3", "CS182 L19"],
    why="""Under any plan, E_p f - E_q f is the mean of f(x) - f(y), at most c‖x - y‖ each. For the
    distance from a single point as critic the bound is attained by mass that has to move straight away
    from it, and no plan costs less than the bound: independent transport is too dear.""",
)
@given(clouds=transports())
def test_is_at_least_the_gap_of_any_critic_and_at_most_the_cost_of_any_plan(
    subject: Handle, device: str, dtype: torch.dtype, clouds: Clouds
) -> None:
    x, y = clouds["x"].double(), clouds["y"].double()
    p, q = (torch.as_tensor(masses(clouds[name])).to(device) for name in ("p", "q"))
    found = transport(subject, clouds)
    slack = spent(clouds, found, dtype)
    c, a = torch.randn_like(x[0]), torch.randn_like(x[0])
    a = a / torch.linalg.vector_norm(a)
    critics = {
        "a linear critic of slope 1": lambda u: u @ a,
        "the distance from a point": lambda u: torch.linalg.vector_norm(u - c, dim=-1),
        "minus the distance from a point": lambda u: -torch.linalg.vector_norm(u - c, dim=-1),
        "a sine of slope 1": lambda u: torch.sin(u @ a),
        "minus the distance from x": lambda u: -torch.cdist(u, x[p > 0]).amin(1),
        "the distance from y": lambda u: torch.cdist(u, y[q > 0]).amin(1),
    }
    for name, critic in critics.items():
        gap = p @ critic(x) - q @ critic(y)
        check.at_least(found, gap, slack, f"the distance, against the gap in the mean of {name},")
    independent = p @ torch.as_tensor(distances(x, y)).to(device) @ q
    check.at_most(found, independent, slack, "the distance, against the independent plan,")


@claim(
    "wasserstein1.gradient_survives_disjoint_supports",
    r"\nabla_{x_i} W = -p_i u, \quad \nabla_{y_j} W = q_j u \quad \text{for all } x \text{ before all }"
    r" y \text{ on a line along } u",
    sources=["Arjovsky et al. 2017, Example 1 and Figure 1", "CS182 L19"],
    why="""Each piece of mass travels along u, and moving a point towards the other cloud saves its mass
    times the step, however far away that is. The supports are disjoint, so JS is log 2 there and has
    no slope at all: this is why the WGAN trains where the GAN stalls.""",
)
@given(clouds=separated_clouds())
def test_pulls_disjoint_clouds_together(
    subject: Handle, device: str, dtype: torch.dtype, clouds: Clouds
) -> None:
    subject.needs_gradients()
    x, y = (clouds[name].clone().requires_grad_() for name in ("x", "y"))
    distance = transport(subject, clouds, x=x, y=y)
    at_x, at_y = gradients(distance, [x, y], what="distance")
    u, slack = clouds["along"], guarded(dtype)
    check.close(at_x, -clouds["p"][:, None] * u, slack, "the gradient in x")
    check.close(at_y, clouds["q"][:, None] * u, slack, "the gradient in y")


@claim(
    "wasserstein1.gradient_in_weights",
    r"\partial_{q_j} W(\delta_x, q) - \partial_{q_k} W(\delta_x, q) = \|x - y_j\| - \|x - y_k\|",
    sources=["Peyré and Cuturi 2019, §9.1", "contracts.md, conventions"],
    why="""The derivative in the weights is a Kantorovich potential, which a constant may be added to:
    along the simplex only differences count. From a point mass it is the distance travelled.""",
)
@given(clouds=from_a_point(interior=True), swap=st.booleans())
def test_has_the_potential_as_its_gradient_in_the_weights(
    subject: Handle, device: str, dtype: torch.dtype, clouds: Clouds, swap: bool
) -> None:
    subject.needs_gradients()
    x, y, one, q = (clouds[name] for name in ("x", "y", "p", "q"))
    q.requires_grad_()
    distance = subject(y, x, q, one) if swap else subject(x, y, one, q)
    (found,) = gradients(distance, [q], what="distance")
    expected = torch.linalg.vector_norm(y - x, dim=-1)
    slack = guarded(dtype, scale=float(expected.max()))
    check.close(
        found[1:] - found[0],
        expected[1:] - expected[0],
        slack,
        "the slope of the distance as mass moves from point 0 to another,",
    )


# Theory --------------------------------------------------------------------------------------------


@claim(
    "theory.kantorovich_duality",
    r"\gamma^* \in \Pi(p, q), \quad \|f^*\|_L \le 1, \quad \gamma^*_{ij} > 0 \Rightarrow f^*(x_i) -"
    r" f^*(y_j) = \|x_i - y_j\|",
    sources=["Kantorovich and Rubinstein 1958", "Villani 2009, Theorem 5.10"],
    why="""A plan and a critic are both optimal exactly if mass travels only where the critic falls at
    full slope (complementary slackness). So the best WGAN critic has slope 1 along the transport, and
    the plan's cost equals the critic's gap.""",
    effort=0.6,
)
@given(clouds=transports())
def test_moves_mass_only_where_the_best_critic_falls_at_full_slope(
    subject: Handle, device: str, dtype: torch.dtype, clouds: Clouds
) -> None:
    pieces = subject.pieces()
    x, y, p, q = (clouds[name] for name in ("x", "y", "p", "q"))
    arguments = (x, y, p, q)
    plan, (at_x, at_y) = (
        pieces.transport_plan(*arguments),
        pieces.kantorovich_potentials(*arguments),
    )
    cost = torch.as_tensor(distances(x, y)).to(plan)
    slack = spent(clouds, float(cost.max()), dtype)
    check.at_least(plan, 0.0, slack, "the plan")
    check.close(plan.sum(1), p, slack, "the mass that the plan takes from each x")
    check.close(plan.sum(0), q, slack, "the mass that the plan brings to each y")
    points, scores = torch.cat([x, y]), torch.cat([at_x, at_y])
    steps = torch.as_tensor(distances(points, points)).to(scores)
    check.at_most(scores[:, None] - scores, steps, slack, "the critic's fall between two points")
    wasted = plan * (cost - (at_x[:, None] - at_y))
    check.close(wasted.sum(), 0.0, slack, "what the plan pays beyond the critic's fall")
    gap = pieces.wasserstein1_dual(*arguments)
    check.close((plan * cost).sum(), gap, slack, "the cost of the plan, against the critic's gap,")
