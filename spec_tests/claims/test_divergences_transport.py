r"""Transport: the Wasserstein distance of point clouds, and the critics that measure it."""

from __future__ import annotations

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
from spec_tests.strategies import normals, reals, simplexes
from spec_tests.tolerance import guarded, rounding

# Oracles -------------------------------------------------------------------------------------------


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
    sources=["Peyré and Cuturi 2019, §2.3", "CS182 2021 L19"],
    why=r"""A plan :math:`\gamma` has the row sums :math:`p` and the column sums :math:`q`. With a single
    row there is only one: :math:`\gamma_{1j} = q_j`, all of the mass goes where :math:`q` wants
    it. Its cost is the sum of the statement, and for two single points the distance of the points,
    however far apart they are.

    So here the answer is known without solving a program. The test takes the Euclidean norms in
    NumPy, and puts the single point now first, now second. Squared costs and city blocks fail, and
    so does a regularised solver whose accuracy depends on the scale.""",
    assumptions={
        "one of the two measures is a single point": (
            r"for :math:`\tfrac12 (\delta_0 + \delta_1)` on both sides the mean distance "
            "of independent points is ½, and :math:`W = 0`"
        ),
    },
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
        "Villani 2009, chapter 6",
        "Peyré and Cuturi 2019, Proposition 2.3",
    ],
    why=r"""Leaving all mass where it is costs nothing. A plan read backwards costs the same. For the
    triangle inequality glue two plans at the middle measure, :math:`\pi_{ik} = \sum_j \gamma_{ij}
    \gamma'_{jk} / \nu_j`: it is a plan from :math:`\mu` to :math:`\rho`, and

    .. math::

        \sum_{ijk} \frac{\gamma_{ij} \gamma'_{jk}}{\nu_j} \|x_i - z_k\|
        \le \sum_{ij} \gamma_{ij} \|x_i - y_j\| + \sum_{jk} \gamma'_{jk} \|y_j - z_k\|.

    It is positive between different measures; the test asks for a part of this, that :math:`W` is
    at least the distance of the means (the norm is convex, so the mean of lengths is at least the
    length of the mean). The Sinkhorn value, and independent transport, give a positive distance of
    a cloud from itself.""",
    assumptions={
        "the cost is a distance": "with squared distances the cost from 0 to 2 is 4, and by way of 1 it is 1 + 1",
    },
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
    why="""Arrays are a notation for measures. Another order of the points permutes the rows of every
    plan. A point listed twice with shares :math:`s` and :math:`1 - s` of its mass: split its row
    of a plan in this ratio, or add the two rows up, and the cost stays. A point without mass has a
    row of zeros in every plan, since entries are not negative and add up to 0.

    The test rewrites the measures in these three ways and compares the subject with itself. A
    solver that takes all points for equally heavy, as in an assignment problem, gives another
    number as soon as a point is split; one that takes logarithms of the weights gives NaN for the
    weight 0.""",
    assumptions={
        "shares add up to the mass of the point": (
            "listing a point of mass ½ twice with its full mass makes a measure of mass "
            "3/2, to which no plan exists"
        ),
    },
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
    sources=[
        "CS182 2021 L19, 'better distance'",
        "Arjovsky, Chintala, Bottou 2017, 'Wasserstein GAN', Example 1",
    ],
    why=r"""Moving every point by :math:`t` is a plan of cost :math:`\|t\|`. No plan is cheaper: by the
    triangle inequality for the norm

    .. math::

        \sum_{ij} \gamma_{ij} \|y_j - x_i\| \ge \Bigl\| \sum_{ij} \gamma_{ij} (y_j - x_i) \Bigr\|
        = \|\bar y - \bar x\| = \|t\|.

    Moving both clouds changes no difference :math:`x_i - y_j`, hence no cost. So the distance
    grows with the gap between two copies, where the JS divergence stays at log 2: this is the
    lecture's argument for it. The translations go up to 40 times the size of the cloud; the
    squared cost is caught at once.""",
    assumptions={
        "all points move by the same vector": (
            "exchanging two points of equal mass moves each by their distance, and the "
            "measure not at all"
        ),
    },
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
    why=r"""Every cost is a Euclidean distance. Under :math:`x \mapsto ax` all are multiplied by
    :math:`|a|`, mirrored or not, so every plan's cost is, and the best plan stays best. A rotation
    :math:`R` changes no distance at all.

    The subject is compared with itself at :math:`a = -3, -1, 0, \tfrac12, 20` and for random
    orthogonal matrices. Scaling by 0 puts all points in one place: the distance is 0, and a root
    of a sum of squares is still a number there. An entropic regularisation of fixed size is a
    length, and breaks the first equation; city blocks break the second.""",
    assumptions={
        ":math:`R` is orthogonal": (
            "stretching one axis by 2 doubles the distance of points along it and leaves others"
        ),
        "the norm is Euclidean": r"a turn by 45° makes the city-block length of (1, 0) :math:`\sqrt 2`",
    },
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
    why=r"""For :math:`s, t` on the line :math:`|s - t| = \int |1_{s \le u} - 1_{t \le u}| \, du`, so for
    any plan

    .. math::

        \sum_{ij} \gamma_{ij} |x_i - y_j| \ge \int \Bigl| \sum_{ij} \gamma_{ij} (1_{x_i \le u}
        - 1_{y_j \le u}) \Bigr| du = \int |F_\mu(u) - F_\nu(u)| \, du.

    Equality needs that past each :math:`u` mass goes one way only, which the plan that fills
    :math:`y` from the left with the mass of :math:`x` from the left achieves. The oracle sorts the
    points and adds up the area between two step functions. A line in space is a line: the test
    lays it in up to three dimensions, and the distance must not change.""",
    assumptions={
        "the points lie on a line": (
            "for ½ on each of (0, 0), (1, 1) against ½ on each of (0, 1), (1, 0) both "
            "coordinates have equal distribution functions, and :math:`W = 1`"
        ),
    },
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
    sources=[
        "Kantorovich and Rubinstein 1958",
        "Arjovsky, Chintala, Bottou 2017, 'Wasserstein GAN', equation 2",
    ],
    why=r"""One direction is a line. For a plan with marginals :math:`p`, :math:`q` and potentials with
    :math:`f_i + g_j \le c_{ij}`,

    .. math::

        \sum_i p_i f_i + \sum_j q_j g_j = \sum_{ij} \gamma_{ij} (f_i + g_j) \le \sum_{ij} \gamma_{ij} c_{ij}.

    That the two meet is the duality theorem of linear programming: both programs are feasible and
    bounded, as the product plan and :math:`f = g = 0` show. The dual has become the loss of a
    WGAN.

    Both programs are solved here by SciPy, independently of the subject and of each other: no plan
    may be cheaper than the value and no critic may gain more, so the value lies between two
    certificates and cannot be off by more than the solver is.""",
    assumptions={
        "both measures have the same mass": (
            "for :math:`p = (1)` and :math:`q = (2)` there is no plan, and :math:`g = -f "
            "= t` gains without bound"
        ),
    },
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
    sources=[
        "Kantorovich and Rubinstein 1958",
        "Arjovsky, Chintala, Bottou 2017, 'Wasserstein GAN', §3",
        "CS182 2021 L19",
    ],
    why=r"""Under any plan :math:`\mathbb{E}_p f - \mathbb{E}_q f = \sum_{ij} \gamma_{ij} (f(x_i) - f(y_j))
    \le c \sum_{ij} \gamma_{ij} \|x_i - y_j\|`; take the best plan. This is why a WGAN's critic
    underestimates the distance, never overestimates it, as long as its slope is kept below 1.

    The critics of the test are of slope 1 by construction: linear, a sine, distances from a point
    or from the nearest point of a cloud. The last two are what nearest-neighbour shortcuts
    maximise, and the linear ones what a comparison of means sees; other clouds refute each. From
    the other side no plan costs less than :math:`W`, so independent transport, :math:`\sum_{ij}
    p_i q_j \|x_i - y_j\|`, is dearer.""",
    assumptions={
        "the slope of the critic is at most :math:`c`": (
            r"for :math:`\delta_1` against :math:`\delta_0` the critic :math:`f(u) = 10u` "
            "has the gap 10, and :math:`W = 1`"
        ),
    },
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
    sources=[
        "Arjovsky, Chintala, Bottou 2017, 'Wasserstein GAN', Example 1 and Figure 1",
        "CS182 2021 L19",
    ],
    why=r"""If all :math:`x` lie before all :math:`y` on a line along the unit vector :math:`u`, every plan
    moves all mass forward, so all cost the same: :math:`W = \sum_j q_j \langle y_j, u \rangle -
    \sum_i p_i \langle x_i, u \rangle`. Sideways steps :math:`h` change distances of size :math:`d
    > 0` by :math:`h^2 / 2d` only, so this is the gradient in space too: :math:`-p_i u` and
    :math:`q_j u`, however far apart the clouds are.

    The supports are disjoint, so JS is log 2 there and has no slope at all: this is why a WGAN
    trains where a GAN stalls. The test differentiates the subject at clouds of known order; a
    solver whose optimal value comes back as a bare number fails.""",
    assumptions={
        "all :math:`x` come before all :math:`y`": (
            "for :math:`x = 0` between :math:`y = -1` and :math:`y = 1`, of mass ½ each, "
            "the two pulls on :math:`x` cancel"
        ),
    },
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
    why=r"""By duality :math:`W = \max_{f, g} \sum_i p_i f_i + \sum_j q_j g_j`, a maximum of linear
    functions of :math:`q`; where the maximiser is unique up to a constant, its gradient is the
    potential :math:`g` (Danskin's theorem). A constant may be moved from :math:`f` to :math:`g`,
    so along the simplex only differences count. From a point mass the value is :math:`\sum_j q_j
    \|x - y_j\|` for all :math:`q`, and the potential the distance travelled.

    A subject that multiplies a constant plan by the costs has the right gradient in the points and
    none in the weights, which move the plan. Weights far from 0 are drawn, so that the derivative
    exists in all directions.""",
    assumptions={
        "the potential is unique up to a constant": (
            r"with weight ½ on each of 0 and 1 in :math:`p`, and :math:`\tfrac12 + t`, "
            r":math:`\tfrac12 - t` in :math:`q`, the distance is :math:`|t|`, which has a "
            "kink at 0"
        ),
    },
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
    why=r"""Write :math:`p, q` for the weights of points :math:`x_i, y_j`. For any plan :math:`\gamma` and
    any critic :math:`f` of slope at most 1,

    .. math::

        \sum_{ij} \gamma_{ij} \|x_i - y_j\| - \Bigl( \sum_i p_i f(x_i) - \sum_j q_j f(y_j) \Bigr)
        = \sum_{ij} \gamma_{ij} \bigl( \|x_i - y_j\| - f(x_i) + f(y_j) \bigr) \ge 0,

    a sum of terms that are not negative. It is 0, and then both are optimal, exactly if each
    vanishes: mass travels only where the critic falls at full slope (complementary slackness). So
    the best WGAN critic has slope 1 along the transport.

    Nothing is compared with a solver here. The plan must have the two marginals, the critic slope
    at most 1 between all points of both clouds, and the sum above must be 0: together these prove
    both optimal.""",
    sentence="the best plan moves mass only where the best critic falls at full slope",
    assumptions={
        "the cost is a distance": (
            r"with squared distances a single function with :math:`f(x) - f(y) \le |x - "
            "y|^2` on the whole line is constant, and gains nothing between "
            r":math:`\delta_0` and :math:`\delta_1`"
        ),
    },
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
