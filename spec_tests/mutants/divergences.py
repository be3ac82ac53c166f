r"""Classic mistakes with divergences, transport costs and the optimal discriminator."""

from __future__ import annotations

from typing import Any

import torch
from scipy import optimize
from torch import Tensor

from spec_tests.registry import mutant

# Kullback-Leibler ----------------------------------------------------------------------------------


def _kl(p: Tensor, q: Tensor) -> Tensor:
    """A right one to go wrong from."""
    some = p > 0
    a, b = torch.where(some, p, 1), torch.where(some, q, 1)
    return (torch.xlogy(a, a) - torch.xlogy(a, b)).sum()


@mutant(
    "kl_divergence",
    rejected_by=[
        "kl_divergence.matches_definition",
        "kl_divergence.asymmetric",
        "kl_divergence.gradient_in_q",
    ],
)
def kl_with_its_arguments_exchanged(p: Tensor, q: Tensor) -> Tensor:
    """KL(q || p) for KL(p || q), as ``kl_div(input, target)`` invites: it seeks one mode where the
    other covers all, and is infinite where the other is not."""
    return _kl(q, p)  # wrong: _kl(p, q)


@mutant(
    "kl_divergence",
    rejected_by=["kl_divergence.matches_definition", "kl_divergence.nonnegative"],
)
def kl_with_nan_for_zero_times_log_zero(p: Tensor, q: Tensor) -> Tensor:
    """The formula as it stands: 0 * log 0 is NaN, and one outcome without mass spoils the sum."""
    return (p * (p / q).log()).sum()  # wrong: mask p = 0 before the logarithm


@mutant(
    "kl_divergence",
    rejected_by=["kl_divergence.matches_definition", "kl_divergence.asymmetric"],
)
def kl_with_a_guard_that_hides_infinity(p: Tensor, q: Tensor) -> Tensor:
    """An eps under the logarithm: an outcome that q rules out costs 20 nats instead of infinitely
    many, so a model that can never produce the data looks merely poor."""
    return (p * ((p + 1e-10) / (q + 1e-10)).log()).sum()  # wrong: no eps


@mutant("kl_divergence", rejected_by=["kl_divergence.gradient_in_q"])
def kl_with_nan_in_the_gradient_of_what_it_masks(p: Tensor, q: Tensor) -> Tensor:
    """NaN terms replaced after they were computed: the value is right, and the backward pass multiplies
    0 by the infinite slope of the logarithm that was replaced."""
    terms = p * (p / q).log()  # wrong: mask p = 0 before the logarithm
    return torch.where(p > 0, terms, torch.zeros_like(terms)).sum()


@mutant(
    "kl_divergence",
    rejected_by=[
        "kl_divergence.matches_definition",
        "kl_divergence.additive",
        "kl_divergence.nonnegative",
    ],
)
def kl_averaged_over_outcomes(p: Tensor, q: Tensor) -> Tensor:
    """The mean over outcomes for the sum (``reduction="mean"``): too small by a factor of n, and no
    longer additive over independent factors."""
    return _kl(p, q) / len(p)  # wrong: no division


@mutant("kl_divergence", rejected_by=["kl_divergence.matches_definition"])
def kl_in_bits(p: Tensor, q: Tensor) -> Tensor:
    """The logarithm of base 2: bits where nats are asked for, larger by 1 / log 2."""
    # wrong: no division, nats
    return _kl(p, q) / torch.log(torch.tensor(2.0, dtype=p.dtype, device=p.device))


@mutant(
    "kl_divergence",
    rejected_by=[
        "kl_divergence.nonnegative",
        "kl_divergence.convex",
        "kl_divergence.matches_definition",
    ],
)
def kl_without_the_entropy(p: Tensor, q: Tensor) -> Tensor:
    """The cross entropy, -sum p log q: it has the same gradient in q, and is positive where p = q."""
    return -torch.xlogy(p, q).sum()  # wrong: plus sum p log p


@mutant(
    "kl_divergence",
    rejected_by=["kl_divergence.asymmetric", "kl_divergence.matches_definition"],
)
def kl_made_symmetric(p: Tensor, q: Tensor) -> Tensor:
    """Jeffreys' divergence, KL both ways: another function, infinite wherever either is."""
    return (_kl(p, q) + _kl(q, p)) / 2  # wrong: _kl(p, q)


@mutant(
    "kl_divergence", rejected_by=["kl_divergence.nonnegative", "kl_divergence.matches_definition"]
)
def kl_with_its_sign_lost(p: Tensor, q: Tensor) -> Tensor:
    """sum p log(q / p), without the minus: a loss that pushes the distributions apart."""
    return -_kl(p, q)  # wrong: _kl(p, q)


@mutant("kl_divergence", rejected_by=["kl_divergence.gradient_is_derivative"])
def kl_that_does_not_carry_the_gradient_of_p(p: Tensor, q: Tensor) -> Tensor:
    """The first argument is detached as if it were data: a generator behind p learns nothing."""
    return _kl(p.detach(), q)  # wrong: _kl(p, q)


# Jensen-Shannon ------------------------------------------------------------------------------------


def _js(p: Tensor, q: Tensor) -> Tensor:
    m = (p + q) / 2
    return (_kl(p, m) + _kl(q, m)) / 2


@mutant(
    "js_divergence",
    rejected_by=[
        "js_divergence.mixture_definition",
        "js_divergence.bounded",
        "js_divergence.disjoint_is_log_two",
        "js_divergence.finite_where_kl_is_infinite",
    ],
)
def js_square_root(p: Tensor, q: Tensor) -> Tensor:
    """The Jensen-Shannon distance, the root of the divergence, as SciPy's function of that name
    returns: too large everywhere between 0 and 1."""
    return _js(p, q).clamp(min=0).sqrt()  # wrong: no root


@mutant(
    "js_divergence",
    rejected_by=["js_divergence.disjoint_is_log_two", "js_divergence.bounded"],
)
def js_not_halved(p: Tensor, q: Tensor) -> Tensor:
    """The sum of the two KL divergences for their mean: the value of the GAN game is 2 JS - log 4, and
    the 2 went in here."""
    return 2 * _js(p, q)  # wrong: _js(p, q)


@mutant(
    "js_divergence", rejected_by=["js_divergence.symmetric", "js_divergence.mixture_definition"]
)
def js_from_one_side_only(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || m) alone: what q has beyond p is not counted."""
    return _kl(p, (p + q) / 2)  # wrong: the mean with KL(q || m)


@mutant(
    "js_divergence",
    rejected_by=["js_divergence.finite_where_kl_is_infinite", "js_divergence.disjoint_is_log_two"],
)
def js_without_the_mixture(p: Tensor, q: Tensor) -> Tensor:
    """The mean of KL(p || q) and KL(q || p): symmetric, but infinite where the supports differ."""
    return (_kl(p, q) + _kl(q, p)) / 2  # wrong: KL of each from (p + q) / 2


@mutant("js_divergence", rejected_by=["js_divergence.disjoint_is_log_two"])
def js_in_bits(p: Tensor, q: Tensor) -> Tensor:
    """Logarithms of base 2: its maximum is 1, not log 2."""
    # wrong: no division, nats
    return _js(p, q) / torch.log(torch.tensor(2.0, dtype=p.dtype, device=p.device))


@mutant(
    "js_divergence",
    rejected_by=["js_divergence.zero_iff_equal", "js_divergence.sqrt_is_a_metric"],
)
def js_squared_from_a_nan_distance(p: Tensor, q: Tensor) -> Tensor:
    """The root is taken of a sum that can round below 0, and squared again: NaN for nearly equal
    distributions, which is where training ends."""
    m = (p + q) / 2
    left = torch.special.xlog1py(p, (p - m) / m) + torch.special.xlog1py(q, (q - m) / m)
    # wrong: no root on the way
    return (left.sum() / 2 - 4 * torch.finfo(p.dtype).eps).sqrt().square()


@mutant("js_divergence", rejected_by=["js_divergence.sqrt_is_a_metric"])
def js_of_squared_differences(p: Tensor, q: Tensor) -> Tensor:
    """The square of the divergence, for one square too many on the way from a distance: its root is
    JS itself, which breaks the triangle inequality."""
    return _js(p, q).square()  # wrong: no square


@mutant("js_divergence", rejected_by=["js_divergence.gradient_in_q"])
def js_with_a_gradient_that_is_nan_off_the_support(p: Tensor, q: Tensor) -> Tensor:
    """Both KL terms are masked after the logarithm: right values, NaN gradients where p = 0."""
    m = (p + q) / 2
    terms = [side * (side / m).log() for side in (p, q)]  # wrong: mask before the logarithm
    first, second = (torch.where(side > 0, t, 0 * m) for side, t in zip((p, q), terms, strict=True))
    return (first + second).sum() / 2


@mutant(
    "js_divergence",
    rejected_by=["js_divergence.gradient_in_q", "js_divergence.gradient_is_derivative"],
)
def js_that_detaches_q(p: Tensor, q: Tensor) -> Tensor:
    """q is treated as data in its own term: half of the generator's gradient is missing."""
    m = (p + q) / 2
    return (_kl(p, m) + _kl(q.detach(), m)) / 2  # wrong: no detach


# The optimal discriminator -------------------------------------------------------------------------


@mutant(
    "optimal_discriminator",
    rejected_by=[
        "optimal_discriminator.formula",
        "optimal_discriminator.maximises_the_game",
        "optimal_discriminator.half_at_equilibrium",
    ],
)
def discriminator_of_fakes(p: Tensor, q: Tensor) -> Tensor:
    """q / (p + q): the probability that a point is fake, with real and fake confused."""
    return torch.where(p + q > 0, q / (p + q), 0.5 * torch.ones_like(p))  # wrong: p over the sum


@mutant(
    "optimal_discriminator",
    rejected_by=["optimal_discriminator.formula", "optimal_discriminator.maximises_the_game"],
)
def odds_for_probability(p: Tensor, q: Tensor) -> Tensor:
    """p / q: the odds, which exceed 1 and are infinite where q has no mass."""
    return p / q  # wrong: p / (p + q)


@mutant("optimal_discriminator", rejected_by=["optimal_discriminator.maximises_the_game"])
def sigmoid_of_the_difference(p: Tensor, q: Tensor) -> Tensor:
    """sigmoid(p - q) for the sigmoid of log p - log q: right where p = q and complementary, and far
    too timid elsewhere."""
    return torch.sigmoid(p - q)  # wrong: the difference of logarithms


@mutant("optimal_discriminator", rejected_by=["optimal_discriminator.formula"])
def discriminator_with_an_eps_below(p: Tensor, q: Tensor) -> Tensor:
    """p / (p + q + eps): where both are rare, the eps outweighs them and everything seems fake."""
    return p / (p + q + 1e-8)  # wrong: no eps


@mutant(
    "optimal_discriminator",
    rejected_by=["optimal_discriminator.formula", "optimal_discriminator.maximises_the_game"],
)
def hard_decision(p: Tensor, q: Tensor) -> Tensor:
    """The better guess, 0 or 1: the classifier with the fewest errors, and infinite log loss."""
    return torch.where(p == q, 0.5, (p > q).to(p.dtype)) + 0 * q  # wrong: p / (p + q)


@mutant("optimal_discriminator", rejected_by=["optimal_discriminator.half_at_equilibrium"])
def normalised_over_the_points(p: Tensor, q: Tensor) -> Tensor:
    """Divided by its sum over points as if it were a distribution: it is one probability a point."""
    share = torch.where(p + q > 0, p / (p + q), 0 * p)
    return share / share.sum()  # wrong: share


@mutant("optimal_discriminator", rejected_by=["optimal_discriminator.roles_exchange"])
def discriminator_with_smoothed_labels(p: Tensor, q: Tensor) -> Tensor:
    """0.9 p / (p + q), the optimum under one-sided label smoothing: no longer the game's."""
    return torch.where(p + q > 0, 0.9 * p / (p + q), 0 * p)  # wrong: no factor


@mutant("optimal_discriminator", rejected_by=["optimal_discriminator.gradient_is_derivative"])
def discriminator_with_a_constant_denominator(p: Tensor, q: Tensor) -> Tensor:
    """The sum below is detached: the value is right, and the gradient of the generator's share gone."""
    total = (p + q).detach()  # wrong: no detach
    return p / torch.where(total > 0, total, torch.ones_like(total))


# Wasserstein ---------------------------------------------------------------------------------------


def _costs(x: Tensor, y: Tensor, norm: float = 2.0) -> Tensor:
    return torch.linalg.vector_norm(x[:, None] - y, ord=norm, dim=-1)


def _plan(cost: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """The optimal plan, a constant."""
    (n, m), (a, b) = cost.shape, (w.detach().double() / w.detach().double().sum() for w in (p, q))
    rows = torch.kron(torch.eye(n), torch.ones(1, m))
    columns = torch.kron(torch.ones(1, n), torch.eye(m))
    found = optimize.linprog(
        cost.detach().cpu().double().flatten().numpy(),
        A_eq=torch.cat([rows, columns]).double().numpy(),
        b_eq=torch.cat([a, b]).cpu().numpy(),
    )
    return torch.as_tensor(found.x).reshape(n, m).to(cost)


@mutant(
    "wasserstein1",
    rejected_by=[
        "wasserstein1.primal_equals_dual",
        "wasserstein1.scaling",
        "wasserstein1.translation",
        "wasserstein1.distance_of_point_masses",
        "wasserstein1.gradient_survives_disjoint_supports",
    ],
)
def wasserstein_with_squared_costs(x: Tensor, y: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """The squared distance as cost: the square of the Wasserstein-2 distance, and no metric."""
    cost = _costs(x, y).square()  # wrong: no square
    return (_plan(cost, p, q) * cost).sum()


@mutant(
    "wasserstein1",
    rejected_by=["wasserstein1.distance_of_point_masses", "wasserstein1.scaling"],
)
def wasserstein_with_city_blocks(x: Tensor, y: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """The sum of coordinate differences as cost: right in one dimension, and blind to rotations of
    space being harmless."""
    cost = _costs(x, y, norm=1.0)  # wrong: norm=2.0
    return (_plan(cost, p, q) * cost).sum()


@mutant(
    "wasserstein1",
    rejected_by=[
        "wasserstein1.primal_equals_dual",
        "wasserstein1.metric",
        "wasserstein1.translation",
    ],
)
def wasserstein_of_independent_transport(x: Tensor, y: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """The mean distance of independent draws: one plan of many, and positive for equal clouds."""
    return p @ _costs(x, y) @ q  # wrong: the best plan, not the product


@mutant(
    "wasserstein1",
    rejected_by=["wasserstein1.primal_equals_dual", "wasserstein1.bounds_every_lipschitz_critic"],
)
def wasserstein_by_nearest_neighbours(x: Tensor, y: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """Every point goes to its nearest neighbour (a chamfer distance): no account is kept of how much
    arrives, so the value is too small."""
    cost = _costs(x, y)
    return torch.maximum(p @ cost.amin(1), cost.amin(0) @ q)  # wrong: a plan with both marginals


@mutant("wasserstein1", rejected_by=["wasserstein1.primal_equals_dual", "wasserstein1.metric"])
def wasserstein_with_entropic_blur(x: Tensor, y: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """Sinkhorn's iterations with regularisation 0.1: smooth and fast, and larger than the distance;
    that of a cloud from itself is not 0."""
    cost, reach = _costs(x, y), 0.1  # wrong: reach -> 0
    f, g = torch.zeros_like(p), torch.zeros_like(q)
    for _ in range(100):
        f = -reach * ((g - cost) / reach + q.log()).logsumexp(1)
        g = -reach * ((f[:, None] - cost) / reach + p.log()[:, None]).logsumexp(0)
    plan = ((f[:, None] + g - cost) / reach).exp() * p[:, None] * q
    return (plan * cost).sum()


@mutant(
    "wasserstein1",
    rejected_by=["wasserstein1.sees_measures_not_lists", "wasserstein1.matches_cdf_in_1d"],
)
def wasserstein_of_equal_weights(x: Tensor, y: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """Every point counts the same, as in an assignment problem: the weights are not read."""
    cost = _costs(x, y)
    even, level = torch.full_like(p, 1 / len(p)), torch.full_like(q, 1 / len(q))
    return (_plan(cost, even, level) * cost).sum()  # wrong: p, q


@mutant(
    "wasserstein1",
    rejected_by=["wasserstein1.primal_equals_dual", "wasserstein1.matches_cdf_in_1d"],
)
def wasserstein_of_each_coordinate(x: Tensor, y: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """The closed form of the line for each coordinate, averaged: it sees marginals only, and clouds
    with equal marginals seem to be one."""
    total = 0 * (x.sum() + y.sum() + p.sum() + q.sum())
    for a, b in zip(x.T, y.T, strict=True):  # wrong: distances in the whole space
        points, order = torch.cat([a, b]).sort()
        gaps = torch.cat([p, -q])[order].cumsum(0)[:-1].abs()
        total = total + (gaps * points.diff()).sum()
    return total / x.shape[1]


@mutant("wasserstein1", rejected_by=["wasserstein1.bounds_every_lipschitz_critic"])
def wasserstein_of_the_means(x: Tensor, y: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """The distance of the two means: what a linear critic sees. Right for translates, 0 for clouds
    of different shape about one mean."""
    return torch.linalg.vector_norm(p @ x - q @ y)  # wrong: the best plan over all pairs


@mutant(
    "wasserstein1",
    rejected_by=[
        "wasserstein1.gradient_survives_disjoint_supports",
        "wasserstein1.gradient_is_derivative",
    ],
)
def wasserstein_without_a_gradient_in_the_points(
    x: Tensor, y: Tensor, p: Tensor, q: Tensor
) -> Tensor:
    """The solver's optimal value is returned as a number: a generator gets no gradient from it."""
    cost = _costs(x, y)
    return (_plan(cost, p, q) * cost).sum().detach()  # wrong: no detach


@mutant(
    "wasserstein1",
    rejected_by=["wasserstein1.gradient_in_weights", "wasserstein1.gradient_is_derivative"],
)
def wasserstein_with_a_plan_held_constant(x: Tensor, y: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """The plan is a constant, so the gradient in the points is right; that in the weights, which only
    the dual potentials know, is 0."""
    cost = _costs(x, y)
    return (_plan(cost, p, q) * cost).sum()  # wrong: add potentials for p and q


@mutant("wasserstein1", rejected_by=["wasserstein1.finite_at_extremes"])
def wasserstein_with_a_bare_root(x: Tensor, y: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """The root of a sum of squares, whose slope at 0 is infinite: one point without mass that meets
    another makes the whole gradient NaN."""
    cost = (x[:, None] - y).square().sum(-1).sqrt()  # wrong: vector_norm, slope 0 at 0
    return (_plan(cost, p, q) * cost).sum()


# Theory --------------------------------------------------------------------------------------------


@mutant("theory", rejected_by=["theory.kantorovich_duality"])
def plan_that_ignores_distances(pieces: Any) -> Any:
    """The independent plan: it has the right marginals, and sends mass where the critic does not
    fall."""
    pieces.transport_plan = lambda x, y, p, q: torch.outer(p, q)  # wrong: the cheapest plan
    return pieces


@mutant("theory", rejected_by=["theory.kantorovich_duality"])
def critic_that_is_too_steep(pieces: Any) -> Any:
    """A critic of slope 2: it claims twice the distance, which only 1-Lipschitz critics may."""
    right = pieces.kantorovich_potentials
    # wrong: no factor 2
    pieces.kantorovich_potentials = lambda *given: tuple(2 * part for part in right(*given))
    return pieces
