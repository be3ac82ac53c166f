r"""What BigGAN adds: the orthogonal penalty, the truncated normal, batch normalisation by class."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats
from torch import Tensor

from spec_tests import check
from spec_tests.contracts.biggan import (
    EVALUATING,
    LAYOUTS,
    TRAINING,
    NormConfig,
    draw_truncated,
    labelled_images,
    norms,
    weights,
)
from spec_tests.contracts.images import evaluated, trained
from spec_tests.handle import Built, Handle
from spec_tests.judge import stratified
from spec_tests.numerics import array, gradients
from spec_tests.registry import claim
from spec_tests.state import generators
from spec_tests.strategies import seeded, standard_normal
from spec_tests.tolerance import guarded, rounding

BIGGAN = "Brock, Donahue, Simonyan 2018, 'Large Scale GAN Training'"
PENALTY = f"{BIGGAN}, Equation 3"
TRICK = f"{BIGGAN}, Section 3.1, 'truncation trick'"
BATCH_NORM = "Ioffe and Szegedy 2015, 'Batch Normalization'"
MODULATION = "de Vries et al. 2017, 'Modulating early visual processing by language'"

Array = np.ndarray[Any, Any]


# The orthogonal penalty --------------------------------------------------------------------------


def _filters(weight: Tensor) -> list[list[float]]:
    """Every filter as a list of numbers."""
    return [f.flatten().tolist() for f in weight.detach().double().cpu()]


def _inner(p: list[float], q: list[float]) -> float:
    return math.fsum(a * b for a, b in zip(p, q, strict=True))


def _penalty(weight: Tensor) -> float:
    """The sum over pairs, one by one."""
    filters = _filters(weight)
    pairs = combinations(range(len(filters)), 2)
    return math.fsum(2 * _inner(filters[i], filters[j]) ** 2 for i, j in pairs)


def _room(weight: Tensor, power: int = 4) -> float:
    """Rounding of sums of products of ``power`` entries."""
    size = float(weight.detach().double().square().sum()) ** (power / 2)
    return rounding(weight.dtype, length=weight[0].numel() + len(weight), scale=size)


WEIGHTS = stratified([weights(*case) for case in LAYOUTS])


def _perpendicular(rows: int, columns: int, seed: int) -> Tensor:
    """Filters at right angles, of lengths that differ, none of them one."""
    source = seeded(seed)
    turned = torch.linalg.qr(standard_normal(source, columns, columns)).Q[:rows]
    return turned * (0.5 + 0.75 * torch.arange(rows, dtype=torch.float64))[:, None]


ROOMY = ((3, 5), (4, 4), (4, 2, 3, 2), (2, 3, 1, 2, 2), (3, 2, 4))  # no more filters than inputs


@claim(
    "orthogonal_penalty.matches_definition",
    r"R(W) = \bigl\lVert W W^\top \odot (\mathbf 1 - I) \bigr\rVert_F^2 = "
    r"\sum_{i \ne j} (w_i \cdot w_j)^2",
    sources=[PENALTY],
    why="""Entry (i, j) of W W^T is the inner product of filters i and j, the mask removes i = j, and
    the squared Frobenius norm is the sum of squares. The matrix is symmetric, so each pair is met
    twice. The oracle adds up the pairs one by one, for linear layers and for convolutions over one,
    two and three axes, whatever the order of the numbers in memory.""",
)
@given(weight=WEIGHTS, scale=st.sampled_from([0.3, 3.0]))
def test_adds_up_the_squared_inner_products_of_all_pairs_of_filters(
    subject: Handle, device: str, dtype: torch.dtype, weight: Tensor, scale: float
) -> None:
    weight *= scale
    check.close(
        subject(weight),
        _penalty(weight),
        _room(weight),
        f"the penalty of {len(weight)} filters of {weight[0].numel()} numbers, shape "
        f"{tuple(weight.shape)},",
    )


@claim(
    "orthogonal_penalty.zero_iff_perpendicular",
    r"R(W) = 0 \iff w_i \perp w_j\ (i \ne j), \qquad w_i \perp w_j,\ w_i' = w_i + t\, w_j \;"
    r"\Rightarrow\; R(W') = 2\, t^2 \lVert w_j \rVert^4",
    sources=[PENALTY],
    why="""A sum of squares is zero only if every square is. Perpendicular filters of any lengths
    cost nothing: unlike the distance of W W^T from I, this penalty does not ask for length one. If
    one of them is tilted towards one other, that pair alone is left, and it counts whichever pair
    it is.""",
    assumptions={
        "there are no more filters than inputs (for zero to be in reach)": (
            "three filters of length one in the plane pay at least 1.5, as at angles of 120 degrees"
        ),
    },
)
@given(
    shape=stratified([st.just(shape) for shape in ROOMY]),
    seed=st.integers(0, 2**31 - 1),
    tilt=st.sampled_from([0.05, -1.0]),
)
def test_is_zero_for_perpendicular_filters_and_counts_every_tilted_pair(
    subject: Handle,
    device: str,
    dtype: torch.dtype,
    shape: tuple[int, ...],
    seed: int,
    tilt: float,
) -> None:
    rows = _perpendicular(shape[0], math.prod(shape[1:]), seed)
    upright = rows.to(device=device, dtype=dtype).reshape(shape)
    lengths = [round(float(r.norm()), 4) for r in rows]
    room = _room(upright)
    check.close(
        subject(upright), 0.0, room, f"the penalty of perpendicular filters of lengths {lengths}"
    )
    for i, j in combinations(range(len(rows)), 2):
        tilted = rows.clone()
        tilted[i] += tilt * rows[j]
        check.close(
            subject(tilted.to(upright).reshape(shape)),
            2 * tilt**2 * float(rows[j].norm()) ** 4,
            2 * room,
            f"the penalty of perpendicular filters of which filter {i} is tilted towards {j}",
        )


@claim(
    "orthogonal_penalty.quadratic_in_each_filter",
    r"R(W \text{ with } a\, w_i) = a^2 R_i + (R - R_i), \quad R_i = 2 \sum_{j \ne i} "
    r"(w_i \cdot w_j)^2, \qquad R(a W) = a^4 R(W)",
    sources=[PENALTY],
    why="""Each inner product is linear in each of its two filters. What is divided by the lengths (the
    cosine of the angle) would not change at all, what is not squared would scale by a and a^2, and
    what holds down lengths would scale in another way. The whole weight is also taken a thousand
    times larger and smaller: a bound on its norm shows only there.""",
)
@given(weight=WEIGHTS, factor=st.sampled_from([0.5, -2.0, 3.0]))
def test_is_quadratic_in_each_filter_and_of_fourth_degree_in_all(
    subject: Handle, device: str, dtype: torch.dtype, weight: Tensor, factor: float
) -> None:
    whole = subject(weight)
    for i in range(len(weight)):
        longer, without = weight.clone(), weight.clone()
        longer[i] *= factor
        without[i] = 0
        rest = subject(without)
        check.close(
            subject(longer),
            factor**2 * (whole - rest) + rest,
            2 * _room(longer) + 20 * _room(weight),
            f"the penalty with filter {i} times {factor}",
        )
    for size in (factor, 1e3, 1e-3):
        check.close(
            subject(size * weight),
            size**4 * whole,
            2 * _room(size * weight),
            f"the penalty of the weight times {size:g}",
        )


@claim(
    "orthogonal_penalty.sees_angles_alone",
    r"R(P\, S\, W Q) = R(W) \quad (Q^\top Q = I,\ P \text{ a permutation},\ S = \mathrm{diag}(\pm 1))",
    sources=[PENALTY],
    why="""(W Q)(W Q)^T = W W^T: turning the space of inputs leaves all inner products, shuffling the
    filters reorders the pairs, a change of sign is squared away. Turning the outputs is no symmetry:
    perpendicular filters of lengths a and b, mixed at 45 degrees, have the inner product
    (b^2 - a^2)/2.""",
    assumptions={
        "the inputs are turned, not stretched": (
            "rows (1, 1) and (1, -1) are perpendicular, and with the first input doubled their "
            "inner product is 3"
        ),
    },
)
@given(weight=WEIGHTS, seed=st.integers(0, 2**31 - 1))
def test_turned_inputs_shuffled_filters_and_signs_change_nothing(
    subject: Handle, device: str, dtype: torch.dtype, weight: Tensor, seed: int
) -> None:
    source = seeded(seed)
    flat = weight.flatten(1)
    turn = torch.linalg.qr(standard_normal(source, flat.shape[1], flat.shape[1])).Q.to(flat)
    order = torch.randperm(len(flat), generator=source).to(flat.device)
    signs = torch.randint(0, 2, (len(flat), 1), generator=source).to(flat) * 2 - 1
    whole, room = subject(weight), 4 * _room(weight)
    for what, other in {
        "after a rotation of the inputs": flat @ turn,
        "with the filters in another order": flat[order],
        "with some filters negated": signs * flat,
    }.items():
        check.close(subject(other.view(weight.shape)), whole, room, f"the penalty {what}")
    a, b = 0.5, 2.0
    mixed = torch.tensor([[a, b, 0.0], [-a, b, 0.0]], dtype=torch.float64) / math.sqrt(2)
    check.close(
        subject(mixed.to(weight)),
        (b**2 - a**2) ** 2 / 2,
        rounding(dtype, length=8, scale=b**4),
        "the penalty of two perpendicular filters of lengths 0.5 and 2, mixed at 45 degrees,",
    )


@claim(
    "orthogonal_penalty.rows_are_outputs",
    r"R(w) = R\bigl(w \text{ as } C_{\text{out}} \times (C_{\text{in}} k_h k_w)\bigr)",
    sources=[PENALTY, "torch.nn.Conv2d: weight (out, in / groups, kh, kw)"],
    why="""A filter is everything that leads to one output, so the weight of a convolution is flattened
    behind its first dimension, and how the rest is arranged does not matter. Filters that look at
    one place each, and no two at the same, are perpendicular; copies of one filter are as far from
    it as can be.""",
)
@given(shape=st.sampled_from([(3, 2, 2, 3), (4, 1, 3, 2), (2, 3, 5)]), seed=st.integers(0, 10**6))
def test_compares_whole_filters_of_a_convolution(
    subject: Handle, device: str, dtype: torch.dtype, shape: tuple[int, ...], seed: int
) -> None:
    source = seeded(seed)
    weight = standard_normal(source, *shape).to(device=device, dtype=dtype)
    count, size = shape[0], weight[0].numel()
    room = _room(weight)
    whole = subject(weight)
    check.close(subject(weight.flatten(1)), whole, room, "the penalty of the flattened weight")
    shuffled = weight.flatten(1)[:, torch.randperm(size, generator=source).to(weight.device)]
    check.close(
        subject(shuffled.view(shape)), whole, room, "with the numbers of all filters rearranged"
    )
    apart = torch.zeros(count, size, dtype=torch.float64)
    apart.fill_diagonal_(1.0)
    apart *= 1 + torch.arange(size)
    check.close(
        subject(apart.to(weight).view(shape)),
        0.0,
        room,
        "the penalty of convolutions whose filters look at one place each",
    )
    copies = weight[:1].expand(shape).contiguous()
    check.close(
        subject(copies),
        count * (count - 1) * float(weight[0].double().square().sum()) ** 2,
        _room(copies),
        f"the penalty of {count} copies of one filter",
    )


@claim(
    "orthogonal_penalty.gradient",
    r"\nabla_W R = 4\, \bigl(W W^\top \odot (\mathbf 1 - I)\bigr) W, \qquad "
    r"\nabla_{w_i} R = 4 \sum_{j \ne i} (w_i \cdot w_j)\, w_j",
    sources=[PENALTY],
    why="""Filter i is in the pairs (i, j) and (j, i), and each is a square: two times two. A step
    against the gradient takes from w_i what points along the others, and nothing along itself when
    it is perpendicular to them. Code that adds 2 (...) W to the gradients by hand has half of it: its
    weight means something else.""",
)
@given(weight=WEIGHTS)
def test_the_gradient_is_four_times_the_masked_gram_matrix_times_the_weight(
    subject: Handle, device: str, dtype: torch.dtype, weight: Tensor
) -> None:
    subject.needs_gradients()
    leaf = weight.requires_grad_()
    (found,) = gradients(subject(leaf), [leaf], what="penalty")
    filters = _filters(weight)
    expected = np.array(
        [
            [
                4 * math.fsum(_inner(f, g) * g[k] for j, g in enumerate(filters) if j != i)
                for k in range(len(f))
            ]
            for i, f in enumerate(filters)
        ]
    )
    check.close(
        found.flatten(1),
        torch.tensor(expected),
        8 * _room(weight, 3),
        "the gradient of the penalty",
    )


@claim(
    "orthogonal_penalty.adds_over_blocks",
    r"R\begin{pmatrix} A \\ B \end{pmatrix} = R(A) + R(B) + 2\, \lVert A B^\top \rVert_F^2",
    sources=[PENALTY],
    why="""The pairs of a stack are those within A, those within B, and one of each, in both orders.
    A mean over pairs, or over filters, does not add up.""",
    assumptions={
        "the penalty is a sum, not a mean": (
            "blocks that cost 2 and 4 cost 3 on average, and 6 in all"
        ),
    },
)
@given(
    shape=st.sampled_from([(5,), (2, 3), (1, 2, 2)]),
    counts=st.sampled_from([(1, 1), (3, 1), (2, 4)]),
    seed=st.integers(0, 2**31 - 1),
)
def test_a_stack_of_filters_costs_what_its_blocks_cost_and_their_pairs(
    subject: Handle,
    device: str,
    dtype: torch.dtype,
    shape: tuple[int, ...],
    counts: tuple[int, int],
    seed: int,
) -> None:
    source = seeded(seed)
    a, b = (standard_normal(source, n, *shape).to(device=device, dtype=dtype) for n in counts)
    across = 2 * math.fsum(_inner(p, q) ** 2 for p in _filters(a) for q in _filters(b))
    stack = torch.cat([a, b])
    check.close(
        subject(stack),
        subject(a) + subject(b) + across,
        2 * _room(stack),
        f"the penalty of {counts[0]} filters on top of {counts[1]}",
    )


@claim(
    "orthogonal_penalty.single_filter_is_free",
    r"O = 1 \;\Rightarrow\; R = 0,\ \nabla R = 0",
    sources=[PENALTY],
    why="""One filter has nobody to be perpendicular to: BigGAN's critic ends in such a layer. The sum
    over no pairs is zero, where a mean over no pairs is 0/0. Filters that are all dead cost nothing
    either, where a detour through lengths or a root divides by zero.""",
)
@given(
    shape=stratified([st.just(s) for s in ((1, 1), (1, 4), (1, 2, 3, 2), (3, 5), (2, 2, 1, 3))]),
    seed=st.integers(0, 2**31 - 1),
)
def test_a_single_filter_and_dead_ones_cost_nothing(
    subject: Handle, device: str, dtype: torch.dtype, shape: tuple[int, ...], seed: int
) -> None:
    weight = 3 * standard_normal(seeded(seed), *shape) * (shape[0] == 1)
    leaf = weight.to(device=device, dtype=dtype).requires_grad_(subject.carries_gradients)
    what = "one filter" if shape[0] == 1 else f"{shape[0]} dead filters"
    cost = subject(leaf)
    check.close(cost, 0.0, _room(leaf), f"the penalty of {what}")
    if subject.carries_gradients:
        (slope,) = gradients(cost, [leaf], what="penalty")
        check.close(slope, 0.0, 8 * _room(leaf, 3), f"the gradient of the penalty of {what}")


@claim(
    "orthogonal_penalty.attains_the_welch_bound",
    r"\lVert w_i \rVert = 1 \;\Rightarrow\; R(W) \ge \frac{O^2}{D} - O, \text{ with equality iff } "
    r"W^\top W = \tfrac{O}{D} I",
    sources=[
        "Welch 1974, 'Lower Bounds on the Maximum Cross Correlation of Signals'",
        "Benedetto and Fickus 2003, 'Finite Normalized Tight Frames'",
        PENALTY,
    ],
    why="""O filters of unit length in D < O dimensions cannot all be perpendicular. R + O is
    ||W W^T||_F^2 = ||W^T W||_F^2, the sum of D squared eigenvalues that add up to O, so it is O^2/D
    at least, and no more if they are equal. O unit vectors evenly spaced on a circle attain it: three
    at 120 degrees cost 9/2 - 3 = 3/2. So does an orthonormal basis taken several times.""",
)
@given(
    weight=stratified([weights(shape) for shape in ((5, 3), (7, 1, 2, 1), (4, 4), (4, 1))]),
    count=st.integers(2, 9),
    turn=st.floats(0, 3),
    copies=st.integers(1, 4),
)
def test_unit_filters_spread_evenly_cost_least(
    subject: Handle,
    device: str,
    dtype: torch.dtype,
    weight: Tensor,
    count: int,
    turn: float,
    copies: int,
) -> None:
    flat = weight.flatten(1)
    unit = (flat / flat.norm(dim=1, keepdim=True).clamp_min(1e-3)).view(weight.shape)
    short = bool((flat.norm(dim=1) < 1e-3).any())
    rows, columns = flat.shape
    if not short:
        check.at_least(
            subject(unit),
            rows**2 / columns - rows,
            4 * _room(unit),
            f"the penalty of {rows} unit filters in {columns} dimensions",
        )
    angles = turn + 2 * math.pi * torch.arange(count, dtype=torch.float64) / count
    circle = torch.stack([angles.cos(), angles.sin()], 1).to(device=device, dtype=dtype)
    if count > 2:
        check.close(
            subject(circle),
            count**2 / 2 - count,
            4 * _room(circle),
            f"the penalty of {count} unit filters spread evenly over a circle",
        )
    bases = torch.eye(3, dtype=dtype, device=device).repeat(copies, 1)
    check.close(
        subject(bases),
        3 * copies * (copies - 1),
        4 * _room(bases),
        f"the penalty of an orthonormal basis of 3 filters, {copies} times over,",
    )


# The truncated normal ----------------------------------------------------------------------------

_ALARM = 1e-13  # of one test; a claim makes at most a few hundred
_LOG = math.log(2 / _ALARM)
ONE_CALL = ((4096,), 1)
PAIRS = ((2,), 512)

# Threshold, shape and number of calls. The smallest threshold in one call: redrawing takes a while.
CASES = (
    (0.04, *ONE_CALL), (0.5, (64, 64), 1), (0.5, *PAIRS), (1.0, (16, 2, 128), 1), (1.0, (), 512),
    (2.0, *ONE_CALL), (2.0, *PAIRS), (40.0, (64, 64), 1), (math.inf, (32, 1, 128), 1),
    (math.inf, *PAIRS),
)  # fmt: skip


def draw_cases(cases: Any = CASES) -> Any:
    """Threshold, shape and number of calls, with the generator's seed."""
    return stratified(
        [st.tuples(st.just(case), st.integers(0, 2**31 - 1)) for case in dict.fromkeys(cases)]
    )


def _calls(
    subject: Handle, case: tuple[float, tuple[int, ...], int], seed: int
) -> tuple[Array, float]:
    """The draws of so many calls in a row, (calls, *shape), and the threshold."""
    threshold, shape, count = case
    source = torch.Generator(subject.device).manual_seed(seed)
    drawn = [draw_truncated(subject, shape, threshold, source) for _ in range(count)]
    for z in drawn:
        check.finite(z, f"a number truncated at {threshold}")
    return array(torch.stack(drawn)), threshold


def _about(case: tuple[float, tuple[int, ...], int]) -> str:
    threshold, shape, count = case
    return f"truncated at {threshold:g}, of {count} call{'s' * (count > 1)} with shape {shape}"


def _below(z: Array, threshold: float) -> Array:
    """The distribution function of a normal number given that it is within the threshold."""
    mass = special.erf(threshold / math.sqrt(2))
    return np.clip((special.erf(z / math.sqrt(2)) / mass + 1) / 2, 0.0, 1.0)


def _distance(z: Array, threshold: float) -> float:
    """How far the empirical distribution function strays from the truncated normal's."""
    u = np.sort(_below(z.ravel(), threshold))
    steps = np.arange(len(u) + 1) / len(u)
    return max(float((steps[1:] - u).max()), float((u - steps[:-1]).max()))


def _even_moment(k: int, t: float) -> float:
    r"""``E z^k`` for even k by parts: :math:`(k-1)\,m_{k-2} - 2 t^{k-1} \phi(t) / P(|z| \le t)`."""
    if k == 0:
        return 1.0
    edge = 0.0 if t > 30 else 2 * t ** (k - 1) * stats.norm.pdf(t) / special.erf(t / math.sqrt(2))
    return float((k - 1) * _even_moment(k - 2, t) - edge)


@claim(
    "truncated_normal.within_threshold",
    r"|z_i| \le t, \qquad \Pr\bigl[\max_i |z_i| \le q\bigr] = \Pr\bigl[|z| \le q\bigr]^n",
    sources=[TRICK],
    why="""No number lies beyond the threshold, in no call. The other half: n independent numbers come
    close to it. The largest of them exceeds the q at which P(|z| <= q)^n is 1e-13; so a threshold
    that is tighter than the one asked for, such as one at two whatever is asked for, shows.""",
    error=1e-10,
    effort=0.1,
)
@given(drawn=draw_cases())
def test_stays_within_the_threshold_and_comes_close_to_it(
    subject: Handle, device: str, dtype: torch.dtype, drawn: Any
) -> None:
    case, seed = drawn
    z, threshold = _calls(subject, case, seed)
    if math.isfinite(threshold):
        check.at_most(
            np.abs(z),
            threshold,
            rounding(dtype, scale=threshold),
            f"the absolute value of a number {_about(case)},",
        )
    share = math.exp(math.log(_ALARM) / z.size)
    nearly = math.sqrt(2) * special.erfinv(share * special.erf(threshold / math.sqrt(2)))
    check.at_least(
        np.abs(z).max(),
        nearly,
        rounding(dtype, scale=nearly),
        f"the largest of {z.size} absolute values {_about(case)},",
    )
    check.that(
        z.min() < 0 < z.max(), f"all {z.size} numbers {_about(case)}, have the same sign: {z.min()}"
    )


@claim(
    "truncated_normal.matches_distribution",
    r"\Pr[z \le s] = \frac{\Phi(s) - \Phi(-t)}{\Phi(t) - \Phi(-t)}, \qquad |s| \le t",
    sources=[TRICK, "Dvoretzky, Kiefer, Wolfowitz 1956", "Massart 1990"],
    why="""Redrawing conditions on |z| <= t: inside, the density keeps its shape and is scaled by one
    number. Clipping, scaling, squashing and reflecting give other densities within the same bounds.
    The empirical distribution of n draws strays from theirs by sqrt(log(2/a)/2n) or more with
    probability at most a = 1e-13.""",
    assumptions={
        "the threshold is positive": (
            "at zero one conditions on an event of probability zero, and the distribution "
            "function is 0/0"
        ),
    },
    error=1e-10,
    effort=0.1,
)
@given(drawn=draw_cases())
def test_is_distributed_as_a_normal_given_that_it_is_within_the_threshold(
    subject: Handle, device: str, dtype: torch.dtype, drawn: Any
) -> None:
    case, seed = drawn
    z, threshold = _calls(subject, case, seed)
    distance = _distance(z, threshold)
    check.at_most(
        distance,
        math.sqrt(_LOG / (2 * z.size)),
        rounding(dtype, length=64),
        f"the distance of the distribution of {z.size} numbers {_about(case)}, from the truncated "
        f"normal's",
    )


@claim(
    "truncated_normal.moments",
    r"\mathbb E z = 0, \qquad \mathbb E z^2 = 1 - \frac{2\, t\, \varphi(t)}{2 \Phi(t) - 1}",
    sources=[TRICK, "Bernstein's inequality"],
    why="""Integration by parts gives the even moments. Without the tails the variance is below one:
    0.77 at t = 2, 0.29 at t = 1, next to t^2/3 for small t, where the density is flat. Clipped
    numbers have 0.92 at t = 2 and 0.52 at t = 1. The bound on a mean of n numbers within b and of
    variance v is Bernstein's; where nothing is cut off, the sum of squares is chi-squared.""",
    error=1e-10,
    effort=0.1,
)
@given(
    drawn=draw_cases(
        [(t, shape, 1) for t in (0.04, 0.5, 1.0, 2.0, 3.0, 40.0, math.inf) for shape in [(64, 256)]]
    )
)
def test_has_the_mean_and_variance_of_a_truncated_normal(
    subject: Handle, device: str, dtype: torch.dtype, drawn: Any
) -> None:
    case, seed = drawn
    z, t = _calls(subject, case, seed)
    n, about = z.size, _about(case)
    second = float((z**2).mean())
    if t > 30:
        low, high = (float(stats.chi2.ppf(p, n)) / n for p in (_ALARM, 1 - _ALARM))
        middle, half = (low + high) / 2, (high - low) / 2
        check.close(second, middle, half, f"the mean square of {n} numbers {about},")
        room = float(stats.norm.isf(_ALARM)) / math.sqrt(n)
        check.close(float(z.mean()), 0.0, room, f"the mean of {n} numbers {about},")
        return
    moments = {k: _even_moment(k, t) for k in (2, 4)}

    def bernstein(variance: float, bound: float) -> float:
        b = bound * _LOG / 3
        return (b + math.sqrt(b**2 + 2 * n * variance * _LOG)) / n

    check.close(float(z.mean()), 0.0, bernstein(moments[2], t), f"the mean of {n} numbers {about},")
    spread = max(moments[4] - moments[2] ** 2, 0.0)
    check.close(
        second,
        moments[2],
        bernstein(spread, t**2),
        f"the mean square of {n} numbers {about},",
    )


@claim(
    "truncated_normal.no_point_mass",
    r"\Pr[z = s] = 0 \text{ for every } s, \qquad s = \pm t \text{ included}",
    sources=[TRICK],
    why="""A continuous distribution meets no value twice. Clipping leaves every number that was beyond
    the threshold exactly at it: a third of all numbers at t = 1, so that hardly a latent is without
    some. Replacing them by zero or by one common number piles them up there. The
    number of draws within a millionth of the threshold is binomial, and of 4096 draws with 24 random
    bits hardly ten agree.""",
    error=1e-10,
    effort=0.1,
)
@given(drawn=draw_cases([c for c in CASES if c[2] == 1]))
def test_piles_up_nowhere_not_even_at_the_threshold(
    subject: Handle, device: str, dtype: torch.dtype, drawn: Any
) -> None:
    case, seed = drawn
    z, t = _calls(subject, case, seed)
    values, counts = np.unique(z.ravel(), return_counts=True)
    often = int(counts.argmax())
    check.that(
        counts.max() <= 8 and len(values) >= z.size - 64,
        f"of {z.size} numbers {_about(case)}, {z.size - len(values)} repeat an earlier one; "
        f"{values[often]:.8g} occurs {counts.max()} times",
    )
    if t < 30:
        edge = t * (1 - 1e-6)
        near = int((np.abs(z) >= edge).sum())
        p = 1 - special.erf(edge / math.sqrt(2)) / special.erf(t / math.sqrt(2))
        check.that(
            stats.binom.sf(near - 1, z.size, p) > _ALARM,
            f"of {z.size} numbers {_about(case)}, {near} lie at the threshold, {z.size * p:.2g} "
            f"are expected so near to it",
        )


def _pairings(z: Array) -> dict[str, tuple[Array, Array]]:
    """Disjoint pairs of the draws (calls, *shape), by what the two have to do with each other."""
    flat = z.ravel()
    half, quarter = len(flat) // 2, len(flat) // 4
    pairs = {
        "neighbouring numbers": (flat[0::2], flat[1::2]),
        "numbers half of the draws apart": (flat[:half], flat[half:]),
        "numbers a quarter of the draws apart": (flat[:quarter], flat[quarter:half]),
        "mirrored numbers": (flat[:half], flat[::-1][:half]),
    }
    if z.shape[0] > 1:
        across = z.reshape(z.shape[0], -1)
        pairs["the same place in two calls"] = (across[0::2].ravel(), across[1::2].ravel())
    elif z.ndim > 2:
        rows = z[0].reshape(z.shape[1], -1)
        pairs["neighbouring rows"] = (rows[0::2].ravel(), rows[1::2].ravel())
    return pairs


@claim(
    "truncated_normal.draws_are_independent",
    r"\mathbb E\bigl[g(z_i)\, g(z_j)\bigr] = 0 \ (i \ne j), \quad g = 2 F_z - 1 \text{ and } "
    r"2 F_{|z|} - 1",
    sources=[TRICK, "Hoeffding 1963", "Kolmogorov 1933"],
    why="""Each number is redrawn on its own, not with its row or its batch, and does not know the
    others. g(z) is uniform on [-1, 1], so products over disjoint pairs have mean zero, and by
    Hoeffding's inequality the mean of n exceeds sqrt(2 log(2/a)/n) with probability at most
    a = 1e-13; equal or opposite numbers have 1/3, also in size alone. Nor may the numbers be spread
    more evenly than chance does it: Kolmogorov's distribution has a lower tail too.""",
    error=2e-10,
    effort=0.1,
)
@given(
    drawn=draw_cases(
        [
            (0.5, (64, 64), 1),
            (1.0, *ONE_CALL),
            (1.0, (2,), 1024),
            (2.0, (2, 16, 128), 1),
            (2.0, (3, 2), 1024),
            (math.inf, (64, 64), 1),
            (math.inf, (1,), 2048),
        ]
    )
)
def test_every_number_of_every_call_is_drawn_on_its_own(
    subject: Handle, device: str, dtype: torch.dtype, drawn: Any
) -> None:
    case, seed = drawn
    z, t = _calls(subject, case, seed)
    for name, (one, other) in _pairings(z).items():
        for what, rank in (
            ("", lambda s: 2 * _below(s, t) - 1),
            (" in size", lambda s: 4 * _below(np.abs(s), t) - 3),
        ):
            product = float((rank(one) * rank(other)).mean())
            check.at_most(
                abs(product),
                math.sqrt(2 * _LOG / one.size),
                rounding(dtype, length=64),
                f"the correlation (times 1/3){what} of {name} {_about(case)}, ({product:.3f})",
            )
    distance = _distance(z, t)
    check.that(
        stats.kstwo.cdf(distance, z.size) > _ALARM,
        f"{z.size} numbers {_about(case)}, are spread too evenly to be independent: their "
        f"distribution is within {distance:.2g} of the exact one",
    )


@claim(
    "truncated_normal.uses_its_generator",
    r"z = f(\text{shape},\, t,\, \text{state of the generator})",
    sources=[
        "contracts.md: where a signature has a generator, the subject uses that and nothing else"
    ],
    why="""A seeded generator makes a sheet of samples repeatable: same state, same numbers, whatever the
    global generators hold; another seed, or the same generator once more, other numbers. Nothing
    comes from the global generators, the generator is not wound back, and a later call does not
    write into what an earlier one returned.""",
)
@given(
    shape=st.sampled_from([(5,), (3, 4), (2, 1, 6)]),
    threshold=stratified([st.just(t) for t in (0.3, 2.0, math.inf)]),
    seed=st.integers(0, 2**30),
)
def test_draws_truncated_numbers_from_the_generator_it_is_given(
    subject: Handle,
    device: str,
    dtype: torch.dtype,
    shape: tuple[int, ...],
    threshold: float,
    seed: int,
) -> None:
    def seeded_by(number: int) -> torch.Generator:
        return torch.Generator(subject.device).manual_seed(number)

    generator, before = seeded_by(seed), generators()
    first = draw_truncated(subject, shape, threshold, generator)
    kept = first.detach().clone()
    check.that(generators() == before, "the call drew from, or reseeded, a global generator")
    second = draw_truncated(subject, shape, threshold, generator)
    check.equal(first.detach(), kept, "what the first call returned, after the second")
    check.that(
        (second != kept).any(), "two calls in a row with one generator give the same numbers"
    )
    torch.rand(5)  # the global generator moves on
    again = draw_truncated(subject, shape, threshold, seeded_by(seed))
    check.equal(again.detach(), kept, "the draw from a generator of the same seed")
    other = draw_truncated(subject, shape, threshold, seeded_by(seed + 1))
    check.that((other != kept).any(), "generators of different seeds give the same numbers")


@claim(
    "truncated_normal.any_shape",
    r"z \in \mathbb R^{\text{shape}}, \quad \text{also } () \text{ and } (3, 0, 2), "
    r"\qquad \text{dtype: torch's default}",
    sources=["contracts.md, conventions"],
    why="""A scalar is a tensor without dimensions and a batch of none is a batch: masks, loops until
    nothing is left, and reshapes must survive both. Like torch's own samplers the result has the
    default dtype, whichever that is, and belongs to the caller: numbers written into it stay there.""",
    dtypes=("float64",),
)
@given(
    shape=stratified([st.just(s) for s in ((), (0,), (3, 0, 2), (1, 1), (2, 3, 1, 4), (7,))]),
    threshold=st.sampled_from([0.3, 2.0, math.inf]),
    kind=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 2**31 - 1),
)
def test_gives_numbers_of_any_shape_in_the_default_dtype(
    subject: Handle,
    device: str,
    dtype: torch.dtype,
    shape: tuple[int, ...],
    threshold: float,
    kind: torch.dtype,
    seed: int,
) -> None:
    source = torch.Generator(subject.device).manual_seed(seed)
    subject.dtype = kind
    try:
        drawn = [draw_truncated(subject, shape, threshold, source).detach() for _ in range(2)]
    finally:
        subject.dtype = dtype
    for z in drawn:  # shape, dtype and device are checked at every call
        check.finite(z, "a truncated normal number")
        if math.isfinite(threshold):
            check.at_most(z.abs(), threshold, rounding(kind), "its absolute value")
    written = torch.arange(drawn[0].numel(), device=drawn[0].device).to(drawn[0]).view(shape)
    subject.guarded(lambda: drawn[0].copy_(written))
    check.equal(drawn[0], written, "what was written into the result")


# Batch normalisation by class --------------------------------------------------------------------

_COUNTS = (((3, 2), (2, 4)), ((1, 3), (4, 4)), ((2, 1), (1, 1)))
# A single weight over its own singular value is one, and has nothing to learn.
_TRAINABLE = (*_COUNTS[:2], ((2, 1), (3, 3)))
ROUNDS = 12


@st.composite
def _layers(draw: st.DrawFn, counts: Any, sizes: Any = TRAINING, batches: int = 2) -> Any:
    """A config and batches for it."""
    config = draw(norms(counts))
    return config, [draw(labelled_images(config, sizes)) for _ in range(batches)]


def layers(sizes: Any = TRAINING, batches: int = 2, counts: Any = _COUNTS) -> Any:
    """Configs of every kind, each with batches of labelled images."""
    return stratified([_layers(one, sizes, batches) for one in counts])


def gains_and_biases(model: Built) -> tuple[Array, Array]:
    r"""Gain and bias (K, C), read off the layer: slope and intercept in training mode.

    Every class has one item, and all items are equal: their mean is 0 and their variance 1.25
    whoever is averaged over, so what the layer makes of the four pixels is known but for the two.
    """
    config: NormConfig = model.config
    pixels = torch.tensor([-1.5, -0.5, 0.5, 1.5])
    at = {"device": model.handle.device, "dtype": model.handle.dtype}
    x = pixels.to(**at).expand(config.num_classes, config.num_features, 1, 4).contiguous()
    y = torch.arange(config.num_classes, device=model.handle.device)
    found = array(trained(model, {"x": x, "y": y}))[:, :, 0]
    normal = pixels.double().numpy() / math.sqrt(1.25 + config.eps)
    return (found * normal).sum(-1) / (normal**2).sum(), found.mean(-1)


def _batch_statistics(x: Tensor) -> tuple[Array, Array, int]:
    """Mean and biased variance (C,) over items and pixels, and of how many numbers they are."""
    by_channel = array(x).transpose(1, 0, 2, 3).reshape(x.shape[1], -1)
    return by_channel.mean(1), by_channel.var(1), by_channel.shape[1]


def _applied(
    inputs: dict[str, Tensor], moments: tuple[Array, Array], rates: tuple[Array, Array], eps: float
) -> Array:
    """Normalised by mean and variance, times the gain, plus the bias, of each item's class."""
    (mean, variance), (gain, bias), y = moments, rates, array(inputs["y"]).astype(int)
    normal = (array(inputs["x"]) - mean[:, None, None]) / np.sqrt(variance + eps)[:, None, None]
    return gain[y][:, :, None, None] * normal + bias[y][:, :, None, None]


def _room_of(dtype: torch.dtype, expected: Array, length: int = 64) -> float:
    return guarded(dtype, length=length, scale=float(np.abs(expected).max(initial=0.0)))


def _train(model: Built, inputs: dict[str, Tensor]) -> Tensor:
    """A call in train mode that moves the running statistics."""
    model.module.train()
    found: Tensor = model(inputs["x"], inputs["y"])
    return found


def running_statistics(model: Built, rates: tuple[Array, Array]) -> tuple[Array, Array, Array]:
    """Mean and variance (C,) that eval mode uses, and in which channels they can be seen.

    Eval mode is a line over x. Its slope and height, in the class with the largest gain, tell both.
    """
    config: NormConfig = model.config
    gain, bias = rates
    at = {"device": model.handle.device, "dtype": model.handle.dtype}
    y = torch.arange(config.num_classes, device=model.handle.device)
    ends = [
        torch.full((config.num_classes, config.num_features, 1, 1), level, **at)
        for level in (-1.0, 1.0)
    ]
    low, high = (array(evaluated(model, {"x": x, "y": y}))[:, :, 0, 0] for x in ends)
    best = np.abs(gain).argmax(0), np.arange(config.num_features)
    slope, middle = ((high - low) / 2)[best], ((high + low) / 2)[best]
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = (bias[best] - middle) / slope
        variance = (gain[best] / slope) ** 2 - config.eps
    return mean, variance, np.abs(gain[best]) > 0.05


@claim(
    "class_conditional_batch_norm.normalises_the_batch",
    r"y_{nchw} = \gamma_{k_n c}\, \frac{x_{nchw} - \mu_c}{\sqrt{\sigma_c^2 + \epsilon}} + "
    r"\beta_{k_n c}, \quad \mu_c, \sigma_c^2 \text{ over } n, h, w",
    sources=[f"{BATCH_NORM}, Algorithm 1", f"{BIGGAN}, Section 3", f"{MODULATION}, Section 3"],
    why="""In training mode the layer subtracts the mean of the batch and divides by the root of its
    biased variance plus epsilon. All classes share both: an item's class does not decide what it is
    compared with. Gain and bias are read off a batch of equal items, where every way of averaging
    agrees; then batches of other sizes, with channels and classes of other means and scales, tell
    the ways apart. What the layer saw before does not matter.""",
    assumptions={
        "the mode is training": (
            "in eval mode running statistics are used, and a batch shifted by 1 keeps its shift"
        ),
    },
)
@given(case=layers())
def test_training_mode_normalises_by_the_statistics_of_the_whole_batch(
    subject: Handle, device: str, dtype: torch.dtype, case: Any
) -> None:
    config, batches = case
    model = subject.build(config)
    rates = gains_and_biases(model)
    for inputs in batches:
        mean, variance, count = _batch_statistics(inputs["x"])
        expected = _applied(inputs, (mean, variance), rates, config.eps)
        check.close(
            _train(model, inputs),
            torch.from_numpy(expected),
            _room_of(dtype, expected),
            f"the layer in train mode, on a batch {tuple(inputs['x'].shape)} ({count} numbers a "
            f"channel) of classes {inputs['y'].tolist()},",
        )


@claim(
    "class_conditional_batch_norm.eval_uses_running_statistics",
    r"\text{eval: } y_{nchw} = \gamma_{k_n c}\, \frac{x_{nchw} - m_c}{\sqrt{v_c + \epsilon}} + "
    r"\beta_{k_n c}, \quad m, v \text{ the same for every class and batch}",
    sources=[f"{BATCH_NORM}, Section 3.1 and Algorithm 2", f"{MODULATION}, Section 3"],
    why="""A sample must not depend on which others are drawn beside it. In eval mode each channel is a
    line over x, with the gain and the bias of training mode and one running mean and variance behind
    the lines of all classes. Two values of one class tell these; all other values of all classes,
    one item or many, must lie where they say. Training on items of one class moves the lines of
    all.""",
)
@given(case=layers(batches=1), single=st.booleans(), other=st.integers(0, 2**31 - 1))
def test_eval_mode_normalises_by_running_statistics_that_all_classes_share(
    subject: Handle, device: str, dtype: torch.dtype, case: Any, single: bool, other: int
) -> None:
    config, (inputs,) = case
    model = subject.build(config)
    labels = torch.zeros_like(inputs["y"]) if single else inputs["y"]
    for _ in range(2):
        _train(model, {"x": 2 * inputs["x"] + 1, "y": labels})
    rates = gains_and_biases(model)
    mean, variance, seen = running_statistics(model, rates)
    check.that(
        not seen.any() or bool((variance[seen] + config.eps > 0).all()),
        f"eval mode divides by the root of {variance + config.eps}",
    )
    for size in EVALUATING:
        shape = size[0], config.num_features, *size[1:]
        source = seeded(other)
        fresh = {
            "x": 5 * standard_normal(source, *shape).to(inputs["x"]),
            "y": torch.randint(config.num_classes, size[:1], generator=source).to(device),
        }
        expected = _applied(fresh, (mean, np.abs(variance)), rates, config.eps)
        found = array(evaluated(model, fresh))
        check.close(
            torch.from_numpy(found[:, seen]),
            torch.from_numpy(expected[:, seen]),
            _room_of(dtype, expected[:, seen], 1024),
            f"the layer in eval mode, on a batch {shape} of classes {fresh['y'].tolist()}, with "
            f"running means {mean} and variances {variance},",
        )


@claim(
    "class_conditional_batch_norm.running_statistics_follow_momentum",
    r"m \leftarrow (1 - \alpha)\, m + \alpha\, \bar x, \qquad v \leftarrow (1 - \alpha)\, v + "
    r"\tfrac{\alpha}{M - 1} \textstyle\sum (x - \bar x)^2",
    sources=[
        f"{BATCH_NORM}, Algorithm 2, line 10 (the unbiased variance)",
        "torch.nn.BatchNorm2d: momentum, and the running variance",
    ],
    why="""The batch's own variance divides by M, its number of items times pixels, and underestimates
    by a factor (M - 1)/M on average; what eval mode uses is corrected for that. Each training call
    moves the running values by the momentum, whether gradients are recorded or not, whatever
    classes are in the batch. Both are read off eval mode before and after.""",
    dtypes=("float64",),
)
@given(case=layers(), recorded=st.booleans())
def test_a_training_batch_moves_the_running_statistics_by_the_momentum(
    subject: Handle, device: str, dtype: torch.dtype, case: Any, recorded: bool
) -> None:
    config, batches = case
    model = subject.build(config)
    rates = gains_and_biases(model)
    mean, variance, seen = running_statistics(model, rates)
    for inputs in batches:
        with torch.set_grad_enabled(recorded):
            _train(model, inputs)
        of_batch, biased, count = _batch_statistics(inputs["x"])
        keep, new = 1 - config.momentum, config.momentum
        mean = keep * mean + new * of_batch
        variance = keep * variance + new * biased * count / (count - 1)
        found_mean, found_variance, _ = running_statistics(model, rates)
        what = f"after a batch {tuple(inputs['x'].shape)}, with momentum {config.momentum},"
        for name, found, expected in (
            ("mean", found_mean, mean),
            ("variance", found_variance, variance),
        ):
            check.close(
                torch.from_numpy(found[seen]),
                torch.from_numpy(expected[seen]),
                _room_of(dtype, np.concatenate([variance[seen], mean[seen]]), 1024),
                f"the running {name} {what}",
            )


@claim(
    "class_conditional_batch_norm.eval_changes_nothing",
    r"\text{eval: } \text{state}_{k+1} = \text{state}_k, \quad f_{k+1} = f_k",
    sources=[f"{BATCH_NORM}, Algorithm 2", "contracts.md, conventions: what a mode may change"],
    why="""Evaluation is no training: whatever passes through in eval mode, running statistics and
    results stay bit for bit what they were. Otherwise a sample sheet of one class shifts the next
    one.""",
)
@given(case=layers())
def test_calls_in_eval_mode_leave_the_layer_as_it_is(
    subject: Handle, device: str, dtype: torch.dtype, case: Any
) -> None:
    config, (inputs, others) = case
    model = subject.build(config)
    _train(model, others)
    module = model.module.eval()
    before = model(inputs["x"], inputs["y"]).detach().clone()
    state = {k: v.clone() for k, v in module.state_dict().items() if isinstance(v, Tensor)}
    for _ in range(3):
        model(7 * others["x"] + 3, others["y"])
    for name, value in module.state_dict().items():
        if name in state:
            check.equal(value, state[name], f"{name} of the state dict after calls in eval mode")
    after = model(inputs["x"], inputs["y"]).detach()
    check.equal(after, before, "the layer in eval mode, after other calls in eval mode,")


@claim(
    "class_conditional_batch_norm.label_acts_on_its_item_alone",
    r"\frac{y_n - \beta_{k}}{\gamma_{k}} = \hat x_n \text{ for every } k = k_n, \qquad "
    r"y_m \text{ does not depend on } k_n\ (m \ne n)",
    sources=[f"{MODULATION}, Section 3", f"{BIGGAN}, Section 3"],
    why="""The class picks two numbers a channel and nothing else. Given another label an item keeps its
    normalised pixels and gets another line; the other items keep everything, in either mode. And
    labels go with their items: shuffled together, the results are shuffled.""",
)
@given(
    case=layers(((5, 2, 3), (3, 1, 2), (4, 3, 1)), 1), mode=st.sampled_from([trained, evaluated])
)
def test_another_label_changes_the_line_of_its_item_and_no_other_item(
    subject: Handle, device: str, dtype: torch.dtype, case: Any, mode: Any
) -> None:
    config, (inputs,) = case
    model = subject.build(config)
    gain, bias = gains_and_biases(model)
    x, y = inputs["x"], inputs["y"]
    before = array(mode(model, inputs))
    room = _room_of(dtype, before)
    for n in range(len(y)):
        label = int(y[n] + 1) % config.num_classes
        other = y.clone()
        other[n] = label
        after = array(mode(model, {"x": x, "y": other}))
        rest = [m for m in range(len(y)) if m != n]
        what = f"when the label of item {n} becomes {label}"
        check.close(
            torch.from_numpy(after[rest]),
            torch.from_numpy(before[rest]),
            room,
            f"the other items, {what},",
        )
        own = int(y[n])
        # (old - old bias) * new gain = (new - new bias) * old gain, whatever the two gains are.
        one = (before[n] - bias[own][:, None, None]) * gain[label][:, None, None]
        two = (after[n] - bias[label][:, None, None]) * gain[own][:, None, None]
        check.close(
            torch.from_numpy(two),
            torch.from_numpy(one),
            guarded(dtype, length=64, scale=float(np.abs(one).max()) + float(np.abs(gain).max())),
            f"item {n} without its bias, times the gain of its old class, {what},",
        )
    order = torch.randperm(len(y)).to(y.device)
    check.close(
        mode(model, {"x": x[order], "y": y[order]}),
        torch.from_numpy(before[order.cpu().numpy()]),
        room,
        "items and labels shuffled together",
    )


@claim(
    "class_conditional_batch_norm.gain_and_bias_are_applied",
    r"(\gamma, \beta) = \texttt{gain\_and\_bias}(k) \;\Rightarrow\; y_n = \gamma_{k_n} \hat x_n + "
    r"\beta_{k_n}",
    sources=[f"{BIGGAN}, Section 3", "contracts.md, conventions"],
    why="""Who asks a layer for its gain wants the factor by which it multiplies. Where the parameters
    hold the distance from one, the one belongs to it. Both are compared with slope and intercept of
    what the layer does, in either mode, for labels in any order, more than once.""",
)
@given(
    config=stratified([norms(one) for one in _COUNTS]),
    labels=st.lists(st.integers(0, 11), min_size=1, max_size=6),
)
def test_gain_and_bias_are_those_that_a_call_applies(
    subject: Handle, device: str, dtype: torch.dtype, config: NormConfig, labels: list[int]
) -> None:
    model = subject.build(config)
    model.needs("gain_and_bias")
    y = torch.tensor([label % config.num_classes for label in labels], device=device)
    found = model.gain_and_bias(y)
    check.that(
        isinstance(found, (tuple, list)) and len(found) == 2,
        f"gain_and_bias returned {type(found).__name__}, expected a pair (gain (N,C), bias (N,C))",
    )
    for name, one, other in zip(("gain", "bias"), found, gains_and_biases(model), strict=True):
        expected = other[array(y).astype(int)]
        check.that(
            isinstance(one, Tensor) and one.shape == expected.shape and one.dtype == dtype,
            f"the {name} is {getattr(one, 'dtype', type(one).__name__)} of shape "
            f"{tuple(getattr(one, 'shape', ()))}, expected {dtype} of shape {expected.shape}",
        )
        check.close(
            one,
            torch.from_numpy(expected),
            _room_of(dtype, expected),
            f"the {name} of classes {y.tolist()}, against what a call applies,",
        )


@claim(
    "class_conditional_batch_norm.class_matters",
    r"k \ne l \;\Rightarrow\; \gamma_{kc} \not\equiv \gamma_{lc},\ \beta_{kc} \not\equiv "
    r"\beta_{lc}, \qquad c \ne d \;\Rightarrow\; \gamma_{kc} \not\equiv \gamma_{kd}",
    sources=[f"{BIGGAN}, Section 3", f"{MODULATION}, Section 3"],
    why="""A layer that ignores the class, or uses it in the bias alone, trains and samples without a
    complaint. Over redraws of the parameters every two classes must differ in gain and in bias, in
    every channel, and channels must differ from one another: the class speaks to each on its own.""",
)
@given(config=norms(((3, 2), (2, 4), (4, 3))))
def test_every_class_has_a_gain_and_a_bias_of_its_own_in_every_channel(
    subject: Handle, device: str, dtype: torch.dtype, config: NormConfig
) -> None:
    names = ("gain", "bias")
    classes = {name: set(combinations(range(config.num_classes), 2)) for name in names}
    channels = {name: set(combinations(range(config.num_features), 2)) for name in names}
    for _ in range(ROUNDS):
        rates = gains_and_biases(subject.build(config))
        for name, rate in zip(names, rates, strict=True):
            room = _room_of(dtype, rate)
            classes[name] -= {
                (k, j) for k, j in classes[name] if (np.abs(rate[k] - rate[j]) > room).all()
            }
            channels[name] -= {
                (c, d) for c, d in channels[name] if (np.abs(rate[:, c] - rate[:, d]) > room).all()
            }
        if not any([*classes.values(), *channels.values()]):
            return
    for name in names:
        for what, alike in (("classes", classes[name]), ("channels", channels[name])):
            check.that(
                not alike,
                f"{what} {min(alike, default=())} have the same {name}, over {ROUNDS} redraws of "
                f"the parameters",
            )


@claim(
    "class_conditional_batch_norm.gradient_goes_through_the_statistics",
    r"\frac{\partial L}{\partial x} = \frac{1}{\sqrt{\sigma^2 + \epsilon}} \bigl(h - "
    r"\overline{h} - \hat x\, \overline{h \hat x}\bigr), \quad h = \gamma_{k}\, "
    r"\frac{\partial L}{\partial y}",
    sources=[f"{BATCH_NORM}, Section 3"],
    why="""In training mode every number of a channel is part of its mean and variance, so the gradient
    at one item reaches all others. Averages run over the batch's items and pixels, and the gains of
    the classes are inside them. With the statistics held constant only the first term is left, and
    the layer can drift. In eval mode nothing else was there to begin with.""",
)
@given(case=layers(batches=1), training=st.booleans())
def test_the_gradient_in_the_input_goes_through_mean_and_variance(
    subject: Handle, device: str, dtype: torch.dtype, case: Any, training: bool
) -> None:
    subject.needs_gradients()
    config, (inputs,) = case
    model = subject.build(config)
    gain, bias = gains_and_biases(model)
    x = inputs["x"].requires_grad_()
    found = (trained if training else evaluated)(model, inputs)
    cotangent = torch.randn_like(found)
    (slope,) = gradients((cotangent * found).sum(), [x], what="layer's output")
    h = gain[array(inputs["y"]).astype(int)][:, :, None, None] * array(cotangent)
    if training:
        mean, variance, _ = _batch_statistics(x)
        root = np.sqrt(variance + config.eps)[:, None, None]
        normal = (array(x) - mean[:, None, None]) / root
        axes = (0, 2, 3)
        expected = (
            h - h.mean(axes, keepdims=True) - normal * (h * normal).mean(axes, keepdims=True)
        ) / root
        seen = np.ones(config.num_features, bool)
    else:
        _, variance, seen = running_statistics(model, (gain, bias))
        expected = h / np.sqrt(np.abs(variance) + config.eps)[:, None, None]
    check.close(
        slope[:, torch.from_numpy(seen).to(slope.device)],
        torch.from_numpy(expected[:, seen]),
        _room_of(dtype, expected[:, seen], 1024),
        f"the gradient in the input, in {'train' if training else 'eval'} mode,",
    )


@claim(
    "class_conditional_batch_norm.gradient_reaches_gain_and_bias",
    r"\nabla_\theta \langle h, f_{\text{train}}(x, k) \rangle \approx \nabla_\theta \langle h, "
    r"f_{\text{eval}}(m + \sqrt{v + \epsilon}\, \hat x,\, k) \rangle",
    sources=[
        f"{BATCH_NORM}, Algorithm 1",
        "contracts.md, conventions: the gradient is of the value",
    ],
    why="""The parameters enter by gain and bias alone, which are those of the class in either mode.
    Pixels placed so that eval mode normalises them to what training mode makes of the batch give the
    same result, so the same gradient in the parameters; in eval mode that is compared with finite
    differences. A gain that is detached in training, or looked up where no gradient is recorded,
    stays as it was drawn. Compared for each parameter is the part of the one gradient along the
    other, to a tenth: a power iteration that divides by a singular value goes on in training.""",
    dtypes=("float64",),
)
@given(case=layers(batches=1, counts=_TRAINABLE))
def test_the_parameters_learn_from_equal_pixels_alike_in_either_mode(
    subject: Handle, device: str, dtype: torch.dtype, case: Any
) -> None:
    subject.needs_gradients()
    config, (inputs,) = case
    model = subject.build(config)
    rates = gains_and_biases(model)
    mean, variance, seen = running_statistics(model, rates)
    of_batch, biased, _ = _batch_statistics(inputs["x"])
    normal = array(inputs["x"]) - of_batch[:, None, None]
    normal /= np.sqrt(biased + config.eps)[:, None, None]
    placed = mean[:, None, None] + np.sqrt(np.abs(variance) + config.eps)[:, None, None] * normal
    shown = torch.from_numpy(seen)[:, None, None].to(inputs["x"])
    same = {"x": torch.from_numpy(placed).nan_to_num().to(inputs["x"]), "y": inputs["y"]}
    weight = shown * torch.randn_like(inputs["x"])
    named = {n: p for n, p in model.module.named_parameters() if p.requires_grad}
    found, expected = (
        gradients((weight * mode(model, given)).sum(), list(named.values()), what="layer's output")
        for mode, given in ((trained, inputs), (evaluated, same))
    )
    size = max((float(slope.norm()) for slope in expected), default=0.0)
    for name, one, other in zip(named, found, expected, strict=True):
        check.finite(one, f"the gradient in the parameter {name} in train mode")
        if float(other.norm()) > size / 100:
            share = float((one * other).sum() / other.square().sum())
            check.close(
                share,
                1.0,
                0.1,  # of a turn by the power iteration, if there is one
                f"the gradient in the parameter {name} in train mode, along that in eval mode and "
                f"over its length,",
            )


@claim(
    "class_conditional_batch_norm.constant_channel_gives_the_bias",
    r"x_{nchw} = a_c \;\Rightarrow\; y_{nchw} = \beta_{k_n c}, \quad |\nabla_x y| < \infty",
    sources=[f"{BATCH_NORM}, Algorithm 1 (epsilon, for numerical stability)"],
    why="""A dead channel has variance zero and its numbers are their own mean: zero over the root of
    epsilon is zero. That is what epsilon is for, and why it is under the root with the variance:
    outside it the root of zero has an infinite slope.""",
    assumptions={
        "epsilon is positive": ("without it a constant channel is 0/0, NaN"),
    },
)
@given(
    config=stratified([norms(one) for one in _COUNTS]),
    size=st.sampled_from(TRAINING),
    level=st.sampled_from([0.0, -3.3, 40.7]),
)
def test_a_constant_channel_becomes_the_bias_of_the_class(
    subject: Handle,
    device: str,
    dtype: torch.dtype,
    config: NormConfig,
    size: tuple[int, int, int],
    level: float,
) -> None:
    model = subject.build(config)
    gain, bias = gains_and_biases(model)
    x = torch.full((size[0], config.num_features, *size[1:]), level, device=device, dtype=dtype)
    y = torch.arange(size[0], device=device) % config.num_classes
    leaf = x.requires_grad_()
    found = trained(model, {"x": leaf, "y": y})
    expected = np.broadcast_to(bias[array(y).astype(int)][:, :, None, None], found.shape)
    lost = rounding(dtype, length=size[0] * size[1] * size[2], scale=abs(level))
    check.close(
        found,
        torch.tensor(expected),
        _room_of(dtype, expected) + lost * float(np.abs(gain).max()) / math.sqrt(config.eps),
        f"the layer in train mode, on channels that are {level} throughout,",
    )
    (slope,) = gradients((torch.randn_like(found) * found).sum(), [leaf], what="layer's output")
    check.finite(slope, f"the gradient in a channel that is {level} throughout")


@claim(
    "class_conditional_batch_norm.trains_step_after_step",
    r"L\bigl(\theta - \eta \nabla L(\theta)\bigr) < L(\theta), \quad \text{at the second step too}",
    sources=[f"{BATCH_NORM}, Algorithm 2", f"{BIGGAN}, Section 3"],
    why="""Gain and bias are learned: a small step against the gradient lowers the loss. The running
    statistics are carried from step to step as numbers, without the graph of the step before, which
    is gone by then, and would grow with every batch if it were not.""",
    dtypes=("float64",),
)
@given(case=layers(((5, 2, 3), (1, 2, 4), (4, 3, 1)), counts=_TRAINABLE))
def test_gain_and_bias_learn_in_one_step_after_another(
    subject: Handle, device: str, dtype: torch.dtype, case: Any
) -> None:
    subject.needs_gradients()
    config, batches = case
    model = subject.build(config)
    for step, inputs in enumerate(batches):
        target = torch.randn_like(inputs["x"])
        inputs["x"].requires_grad_()  # as what comes out of the layer before
        parameters = [p for p in model.module.parameters() if p.requires_grad]
        check.that(bool(parameters), "the layer has no parameters to train")
        model.module.zero_grad()
        loss = (_train(model, inputs) - target).square().mean()
        subject.guarded(loss.backward)
        slopes = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        size = float(torch.stack([s.square().sum() for s in slopes]).sum())
        check.that(size > 0, f"step {step + 1} leaves no gradient in the parameters")
        carried = [name for name, b in model.module.named_buffers() if b.requires_grad]
        check.that(not carried, f"after step {step + 1} the buffers {carried} carry a graph")
        before = float(loss.detach())
        with torch.no_grad():
            for parameter, slope in zip(parameters, slopes, strict=True):
                parameter -= 1e-4 * before / size * slope
            after = float((trained(model, inputs) - target).square().mean())
        check.that(
            after < before,
            f"a small step against the gradient, the {step + 1}. in a row, took the loss from "
            f"{before:.10g} to {after:.10g}",
        )
