r"""Adversarial training whose end is known beforehand: who reaches the data, how fast, and who never.

Three kinds of game in which theory gives numbers: a critic with its best answer ready (descent on a
divergence), a critic on the line that is a table of slopes (transport), and both players in turns, one
step each (the eigenvalues of a matrix, or a quantity that no turn changes). Every threshold below is
the one that the theory gives for the start that was drawn.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from spec_tests import check
from spec_tests.handle import Handle
from spec_tests.judge import stratified
from spec_tests.registry import claim
from spec_tests.strategies import seeded, simplexes
from spec_tests.tolerance import guarded, rounding

MESCHEDER = (
    "Mescheder, Geiger, Nowozin 2018, 'Which Training Methods for GANs do actually Converge?'"
)
WGAN = "Arjovsky, Chintala, Bottou 2017, 'Wasserstein GAN'"
WGAN_GP = "Gulrajani et al. 2017, 'Improved Training of Wasserstein GANs'"
GAN = "Goodfellow et al. 2014, 'Generative Adversarial Networks'"
LSGAN = "Mao et al. 2016, 'Least Squares Generative Adversarial Networks'"
LECTURE = "CS182 2021 L19"
SEEDS = st.integers(0, 2**31 - 1)
SLACK = rounding(torch.float64, length=64, scale=4.0)


def _uniform(source: torch.Generator, shape: tuple[int, ...], low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=source, dtype=torch.float64)


# The critic answers: tables -----------------------------------------------------------------------


@st.composite
def table_pairs(draw: st.DrawFn, size: int) -> tuple[Tensor, Tensor]:
    """Two distributions over `size` points, no probability below half of the uniform one's."""
    p, q = (0.5 * draw(simplexes(size)) + 0.5 / size for _ in range(2))
    return p, q


def _losses_by_hand(s: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    """What the discriminator pays for a score of a real point, and of a fake one."""
    if kind == "least_squares":
        return (s - 1) ** 2 / 2, s**2 / 2
    if kind == "hinge":
        return (1 - s).clamp_min(0), (1 + s).clamp_min(0)
    return (-s).exp().log1p(), s.exp().log1p()


def _least_loss(p: Tensor, q: Tensor, kind: str) -> Tensor:
    """What the discriminator pays at its best: a divergence in disguise."""
    if kind == "least_squares":
        return 0.5 * (p * q / (p + q)).sum()
    if kind == "hinge":
        return 2 - (p - q).abs().sum()
    m = (p + q) / 2
    return math.log(4) - (p * (p / m).log() + q * (q / m).log()).sum()


@claim(
    "theory.best_scores_are_best",
    r"\min_s \sum_x p\, a(s) + q\, b(s) = \log 4 - 2 D_{\mathrm{JS}} \text{ (logistic)}, \quad "
    r"\tfrac12 \sum_x \tfrac{pq}{p + q} \text{ (least squares)}, \quad 2 - \lVert p - q \rVert_1 "
    r"\text{ (hinge)}",
    sources=[f"{GAN}, proposition 1", f"{LSGAN}, section 3.2", f"{LECTURE}, 'LSGAN'"],
    why=r"""The score s of each point x can be chosen by itself. With a and b what the
    discriminator pays for a real and a fake one, set the derivative of :math:`p\, a(s) + q\,
    b(s)` to zero:

    .. math::

        s = \log \tfrac pq \text{ (logistic)}, \qquad s = \tfrac{p}{p + q} \text{ (least squares)},
        \qquad s = \operatorname{sign}(p - q) \text{ (hinge)},

    the last since :math:`p (1 - s)_+ + q (1 + s)_+` is made of straight pieces with kinks at 1
    and -1, where it is 2q and 2p. What is left to pay measures how well p and q can be told
    apart: Jensen-Shannon, a chi-square divergence from the mean, and, as :math:`2 \min(p, q) = p
    + q - |p - q|`, total variation. The Wasserstein loss is linear in the score, so without a
    bound none is best, and the reference refuses.

    The oracle is the divergence in closed form, and other scores, which must pay more.""",
    assumptions={
        "the critic may take any value at any point": (
            r"one that is constant pays :math:`\log 4` at its best, whatever p and q are"
        ),
        "p and q are positive (for a finite logistic score)": (
            "where q = 0 the best score is infinite, and the least loss is only approached"
        ),
    },
    effort=0.5,
    dtypes=("float64",),
)
@given(
    pair=stratified([table_pairs(2), table_pairs(5)]),
    kind=stratified([*map(st.just, ("minimax", "non_saturating", "least_squares", "hinge"))]),
    shift=st.floats(-1.5, 1.5),
)
def test_the_best_answer_leaves_a_divergence(
    subject: Handle, device: str, dtype: torch.dtype, pair: tuple[Tensor, Tensor], kind: str,
    shift: float,
) -> None:  # fmt: skip
    pieces, (p, q) = subject.pieces().raw, (t.cpu() for t in pair)
    best = pieces.best_scores(p, q, kind)
    check.that(best.shape == p.shape, f"the scores have shape {tuple(best.shape)}")

    def paid(s: Tensor) -> Tensor:
        real, fake = _losses_by_hand(s, kind)
        return (p * real + q * fake).sum()

    least = _least_loss(p, q, kind)
    check.close(paid(best), least, SLACK, f"the discriminator's loss of {kind} at its best")
    for other in (best + shift, best * (1 + shift), shift * p.cos()):
        check.at_least(paid(other), least, SLACK, f"the discriminator's loss of {kind} elsewhere")
    try:
        pieces.best_scores(p, q, "wasserstein")
    except ValueError:
        return
    check.that(False, "without a bound the Wasserstein game has a best score")


RATES = {  # step size, complaint about log q/p = r against the best answer, and its slope in r
    "minimax": (1.0, lambda r: -(-r).exp().log1p(), lambda r: (-r).sigmoid()),
    "non_saturating": (1.0, lambda r: r.exp().log1p(), lambda r: r.sigmoid()),
    "least_squares": (
        6.0, lambda r: r.sigmoid() ** 2 / 2, lambda r: r.sigmoid() ** 2 * (-r).sigmoid()
    ),
}  # fmt: skip


@claim(
    "theory.tables_contract",
    r"d_{t+1} \le (1 - h\, m)\, d_t, \quad d = \max \log \tfrac qp - \min \log \tfrac qp, \qquad "
    r"D_{\mathrm{JS}}(p \,\|\, q) \le \tfrac{d^2}{16}",
    sources=[f"{GAN}, proposition 2", f"{LSGAN}, section 3.2",
             "Bushell 1973, 'Hilbert's metric and positive contraction mappings'"],
    why=r"""Let :math:`r = \log q / p`. Against its best answer the critic's complaint c about
    a point depends on r alone and rises with it: :math:`\log \sigma(r)` in minimax, :math:`\log(1
    + e^r)` non-saturating, :math:`\sigma(r)^2 / 2` in least squares. A step makes samples rarer
    by their complaint, :math:`r' = r - h\, c(r)` plus a constant, and for two points the mean
    value theorem gives

    .. math::

        r'(x) - r'(y) = (1 - h\, c'(\xi))\, (r(x) - r(y)).

    So the spread d (Hilbert's distance) shrinks by a factor between 1 - hM and 1 - hm, the
    extreme slopes on the way: 1/2 at the data in both logistic games, 1/8 in least squares.
    Minimax is slow where samples are too many, non-saturating where they are too few: it sees a
    lost mode last.

    Hoeffding's lemma gives :math:`\mathrm{KL} \le d^2 / 8` in both directions, and as KL is
    convex JS is at most a quarter of their sum. The turns that are needed for a millionth are
    counted beforehand.""",
    assumptions={
        "h M is at most one": (
            "with h = 6 near the data the logistic games have 1 - 6/2 = -2, and the spread "
            "doubles"
        ),
        "p and q are positive everywhere": (
            "where q = 0 the spread is infinite, and a step that multiplies q never brings the "
            "point back"
        ),
    },
    effort=0.3,
    dtypes=("float64",),
)  # fmt: skip
@given(
    pair=stratified([table_pairs(2), table_pairs(5)]), kind=stratified([*map(st.just, RATES)])
)  # fmt: skip
def test_every_turn_evens_out_the_ratio_at_the_rate_of_its_loss(
    subject: Handle, device: str, dtype: torch.dtype, pair: tuple[Tensor, Tensor], kind: str
) -> None:
    pieces, (p, q) = subject.pieces().raw, (t.cpu() for t in pair)
    h, complaint, slope = RATES[kind]
    goal = 4e-3  # d^2 / 16 is a millionth

    def ratio(at: Tensor) -> Tensor:
        return at.log() - p.log()

    def extremes(low: float, high: float) -> tuple[float, float]:
        along = slope(torch.linspace(low, high, 200, dtype=torch.float64))
        ends = slope(torch.tensor([low, high], dtype=torch.float64))  # its least is at an end
        return float(ends.min()), float(along.max()) * (1 + 1e-3)

    spread = float(ratio(q).max() - ratio(q).min())
    least, _ = extremes(-spread, spread)
    turns = max(math.ceil(math.log(goal / max(spread, goal)) / math.log1p(-h * least)), 1)
    for turn in range(turns):
        before = ratio(q)
        least, most = extremes(float(before.min()), float(before.max()))
        q = pieces.tabular_turn(p, q, kind, h)
        check.close(q.sum(), 1.0, SLACK, "the mass of the generator's table")
        moved = before - h * complaint(before) - ratio(q)  # one number: what normalises q
        check.close(moved, moved.mean(), SLACK, f"the step of log q/p in turn {turn}, {kind},")
        now = float(ratio(q).max() - ratio(q).min())
        check.at_most(
            now, (1 - h * least) * spread, SLACK, f"the spread after turn {turn}, {kind},"
        )
        check.at_least(
            now, (1 - h * most) * spread, SLACK, f"the spread after turn {turn}, {kind},"
        )
        spread = now
    check.at_most(spread, goal, SLACK, f"the spread of log q/p after {turns} turns of {kind}")
    m = (p + q) / 2
    js = 0.5 * (p * (p / m).log() + q * (q / m).log()).sum()
    check.at_most(js, goal**2 / 16, SLACK, f"JS after {turns} turns of {kind}")


@claim(
    "theory.hinge_walks_to_the_data",
    r"g_{t+1} = |g_t - 2h|, \qquad g = |\operatorname{logit} q - \operatorname{logit} p|",
    sources=["Lim and Ye 2017, 'Geometric GAN', section 3", f"{LECTURE}, 'Improving GAN training'"],
    why=r"""The best hinge score is a verdict, :math:`\operatorname{sign}(p - q)`, and not a
    degree. With two points one gets 1 and the other -1, and a step h multiplies q by :math:`e^h`
    and :math:`e^{-h}` before it is normalised:

    .. math::

        \operatorname{logit} q' = \operatorname{logit} q \pm 2 h,

    towards the data. So the generator walks by the same 2h of log-odds in every turn, and once it
    is closer than that it steps over them and back for ever: :math:`g' = |g - 2h|`. Constant
    speed, and rest only up to the step; where the other losses' complaints fade as samples and
    data agree, this one does not.

    The distance g is checked after every turn, with three more turns than it takes to arrive. At
    the data the verdict is zero, or rounding's, and nothing is said.""",
    assumptions={
        "there are two points": (
            "for p uniform on three and q = (1/3, 1/2, 1/6) a step of 0.1 moves the first "
            "point, which was right, to 0.344"
        ),
    },
    effort=0.3,
    dtypes=("float64",),
)
@given(pair=table_pairs(2), h=st.sampled_from([0.02, 0.1]))
def test_a_verdict_moves_the_odds_at_constant_speed(
    subject: Handle, device: str, dtype: torch.dtype, pair: tuple[Tensor, Tensor], h: float
) -> None:
    pieces, (p, q) = subject.pieces().raw, (t.cpu() for t in pair)
    gap = float((q.logit() - p.logit())[0].abs())
    turns = math.ceil(gap / (2 * h)) + 3
    for _ in range(turns):
        q = pieces.tabular_turn(p, q, "hinge", h)
        found = float((q.logit() - p.logit())[0].abs())
        if min(found, gap) > 1e-9:  # at the data the verdict is zero, or rounding's
            check.close(found, abs(gap - 2 * h), SLACK, "the distance in log-odds after a turn")
        gap = found
    check.at_most(gap, 2 * h, SLACK, f"the distance in log-odds after {turns} turns")


# The critic answers: the line ---------------------------------------------------------------------


@claim(
    "theory.transport_training",
    r"W_\infty(t + 1) \le \max(W_\infty(t) - hc,\, hc), \qquad W_1(t) = W_1(0) - t h c "
    r"\text{ while the supports lie apart}",
    sources=[f"{WGAN}, algorithm 1 and section 3", f"{LECTURE}, 'Wasserstein GAN'"],
    why=r"""The best critic of slope at most c leads every sample to its partner in order with
    slope c, however far away the data are. A sample with a gap g to its partner moves by hc
    towards it and is then :math:`|g - hc|` away, at most :math:`\max(g - hc, hc)`. Pairing in
    order is the best plan for the longest way as well as for the mean, so sorting anew can only
    help: that is the bound on :math:`W_\infty`. Where the supports lie apart and no gap is below
    hc, all samples walk the same way, and

    .. math::

        W_1(t + 1) = \tfrac1n \sum_i (g_i - hc) = W_1(t) - hc,

    while Jensen-Shannon reports :math:`\log 2` throughout. All arrive within hc after
    :math:`W_\infty / hc` turns.

    The distances are SciPy's and those of sorted lists, after every turn.""",
    assumptions={
        "all points lie on a line": (
            "in the plane there is no order, and the best critic may lead a sample between partners"
        ),
        "data and samples are as many": (
            "one sample at 0 between data at -1 and 1 has half a partner on either side, and is "
            "pushed nowhere"
        ),
    },
    effort=0.3,
    dtypes=("float64",),
)
@given(
    seed=SEEDS, size=st.integers(1, 7), apart=st.sampled_from([0.0, 4.0, -6.0]),
    h=st.sampled_from([0.05, 0.3]), bound=st.sampled_from([1.0, 0.4]),
)  # fmt: skip
def test_samples_walk_to_their_partners_at_the_slope_of_the_critic(
    subject: Handle, device: str, dtype: torch.dtype, seed: int, size: int, apart: float, h: float,
    bound: float,
) -> None:  # fmt: skip
    pieces, source = subject.pieces().raw, seeded(seed)
    real = _uniform(source, (size,), -1, 1)
    fake = apart + _uniform(source, (size,), -1, 1)
    step = h * bound

    def gaps(at: Tensor) -> Tensor:
        return (at.sort().values - real.sort().values).abs()

    turns = math.ceil(float(gaps(fake).max()) / step)
    straight = math.floor(float(gaps(fake).min()) / step) if apart else 0
    first = scipy.stats.wasserstein_distance(real.numpy(), fake.numpy())
    for turn in range(1, turns + 1):
        before = float(gaps(fake).max())
        fake = pieces.transport_turn(real, fake, h, bound)
        check.at_most(
            gaps(fake).max(), max(before - step, step), SLACK, f"the longest way after {turn} turns"
        )
        if turn <= straight:
            now = scipy.stats.wasserstein_distance(real.numpy(), fake.numpy())
            check.close(now, first - turn * step, SLACK, f"W1 after {turn} turns")
    check.at_most(gaps(fake).max(), step, SLACK, f"the longest way after all of {turns} turns")


@st.composite
def lattice_points(draw: st.DrawFn, largest: int = 4) -> tuple[Tensor, Tensor]:
    """As many data as samples at different places k/20 of [0, 0.95], so that no cell is narrow."""
    size = draw(st.integers(1, largest))
    places = st.lists(st.integers(0, 19), min_size=2 * size, max_size=2 * size, unique=True)
    drawn = torch.tensor(draw(places), dtype=torch.float64) / 20
    return drawn[:size], drawn[size:]


def _areas(pieces: Any, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """The edges (all points) and what moves each slope, checked against the two step functions."""
    edges = torch.cat([real, fake]).sort().values
    features = [pieces.cell_features(t, edges) for t in (real, fake)]
    found: Tensor = features[0].mean(0) - features[1].mean(0)
    below = [(t[:, None] <= edges[:-1]).double().mean(0) for t in (real, fake)]
    check.close(found, (below[1] - below[0]) * edges.diff(), SLACK, "the areas of the cells")
    transport = scipy.stats.wasserstein_distance(real.numpy(), fake.numpy())
    check.close(found.abs().sum(), transport, SLACK, "the sum of the areas, W1,")
    return edges, found


@claim(
    "theory.clipped_slopes_measure_transport",
    r"\max_{|s| \le c} \sum_j s_j A_j = c\, W_1, \qquad \text{without a bound: } t h \lVert A "
    r"\rVert^2 \to \infty, \qquad \text{hinge, within the margin: } 2 - W_1",
    sources=[f"{WGAN}, section 3 and algorithm 1", f"{LECTURE}, 'Wasserstein GAN'",
             "Lim and Ye 2017, 'Geometric GAN', section 3"],
    why=r"""On the line a critic is its slopes :math:`s_j` on the cells between points, and
    what it reads, :math:`\mathbb E_{\text{data}} f - \mathbb E_{\text{samples}} f = \sum_j s_j
    A_j`, is linear in them; :math:`A_j` is the area between both distribution functions over cell
    j, so that :math:`W_1 = \sum |A_j|`. Gradient ascent adds hA in each step:

    .. math::

        s(t) = \operatorname{clip}(t h A, -c, c) \;\to\; c \operatorname{sign} A, \qquad \text{reading }
        c\, W_1,

    reached after :math:`c / (h \min |A|)` steps. Clipping measures in a unit of its own. Without
    the bound the reading after t steps is :math:`t h \lVert A \rVert^2`, a statement about t.
    With slopes within one, points in an interval of length one and scores of 0 at its start, all
    scores stay within the margin of the hinge, and its loss is 2 less the reading: no critic of
    such slopes pays less.

    The areas are checked against step functions, and their sum against SciPy's distance.""",
    assumptions={
        "slopes may differ from cell to cell": (
            "of areas 1 and -1 a critic of one slope reads 0, and W1 is 2"
        ),
        "scores stay within the margin (for the hinge)": (
            "for points 3 apart a slope of one has a score of 3 somewhere, which gains no more "
            "than 1 does"
        ),
    },
    effort=0.5,
    dtypes=("float64",),
)  # fmt: skip
@given(
    points=lattice_points(), bound=st.sampled_from([0.01, 0.3, 1.0]), h=st.sampled_from([1.0, 2.5]),
    seed=SEEDS,
)  # fmt: skip
def test_a_clipped_critic_reads_the_distance_in_units_of_its_bound(
    subject: Handle, device: str, dtype: torch.dtype, points: tuple[Tensor, Tensor], bound: float,
    h: float, seed: int,
) -> None:  # fmt: skip
    pieces, (real, fake) = subject.pieces().raw, (t.cpu() for t in points)
    edges, areas = _areas(pieces, real, fake)
    transport, flat = areas.abs().sum(), torch.zeros_like(areas)
    flattest = float(areas[areas.abs() > 1e-9].abs().min())
    steps = math.ceil(bound / (h * flattest) - 1e-9)
    readings = pieces.train_slopes(flat, areas, h, steps, bound) @ areas
    check.that(readings.shape == (steps + 1,), f"{steps} steps give {len(readings)} critics")
    check.at_most(readings, bound * transport, SLACK, "the reading of a clipped critic")
    check.close(readings[-1], bound * transport, SLACK, f"the reading after {steps} steps, c W1,")
    if steps > 1:
        check.that(readings[-2] < readings[-1], "the flattest slope had reached the bound before")
    free = pieces.train_slopes(flat, areas, h, 300) @ areas
    expected = h * areas.square().sum() * torch.arange(301)
    check.close(free, expected, SLACK * 300, "the reading of a critic without a bound")
    unit = pieces.train_slopes(flat, areas, h, math.ceil(1 / (h * flattest)), 1.0)[-1]
    source = seeded(seed)
    losses = pieces.gan_losses("hinge").discriminator_loss
    scores = [pieces.cell_features(t, edges) for t in (real, fake)]
    paid = losses(scores[0] @ unit, scores[1] @ unit)
    check.close(paid, 2 - transport, SLACK, "the hinge loss of slopes within one")
    other, bias = _uniform(source, unit.shape, -1, 1), 3 * _uniform(source, (), -1, 1)
    paid = losses(scores[0] @ other + bias, scores[1] @ other + bias)
    check.at_least(paid, 2 - transport, SLACK, "the hinge loss of other slopes within one")


@claim(
    "theory.penalised_slopes_exceed_transport",
    r"s_j^* = \operatorname{sign}(A_j)\Bigl(1 + \frac{|A_j|}{2 w_j}\Bigr), \qquad \sum_j s_j^* A_j = W_1 "
    r"+ \sum_j \frac{A_j^2}{2 w_j}, \qquad s_j(t) - s_j^* \propto (1 - 2 h w_j)^t",
    sources=[f"{WGAN_GP}, section 4 and algorithm 1", f"{LECTURE}, 'Improved Wasserstein GAN'"],
    why=r"""Slope s of a cell with area A gains sA and pays :math:`w (|s| - 1)^2`, where w is
    the penalty's weight times the chance that it looks at this cell, the share of the segments
    between partners that lies in it. As long as s has the sign of A, the gradient of the
    difference is

    .. math::

        A - 2 w (s - \operatorname{sign} A) = -2 w (s - s^*), \qquad s^* = \operatorname{sign} A +
        \frac{A}{2 w},

    so each step of size h shrinks the deviation by 1 - 2hw: slowly where the penalty seldom
    looks. At rest the reading exceeds :math:`W_1 = \sum |A|` by :math:`\sum A^2 / 2w`, less the
    heavier the penalty is. Slope minus one is as good as plus one to it: a slope of the wrong
    sign settles at :math:`-\operatorname{sign} A + A / 2w`, unless |A| > 2w pushes it over.

    The whole path is compared with the geometric sequence, for starts of both signs.""",
    assumptions={
        "slopes start with the sign of their area": (
            "for A = 0.1 and w = 1 a slope that starts at -1 comes to rest at -0.95, not at 1.05"
        ),
        "2 h w is below one": ("for hw = 1.5 each step multiplies the deviation by -2"),
    },
    effort=0.5,
    dtypes=("float64",),
)
@given(points=lattice_points(), weight=st.sampled_from([0.3, 1.0, 10.0]))
def test_a_penalised_critic_reads_more_than_the_distance(
    subject: Handle, device: str, dtype: torch.dtype, points: tuple[Tensor, Tensor], weight: float
) -> None:
    pieces, (real, fake) = subject.pieces().raw, (t.cpu() for t in points)
    edges, areas = _areas(pieces, real, fake)
    low, high = torch.minimum(real, fake)[:, None], torch.maximum(real, fake)[:, None]
    inside = (torch.minimum(high, edges[1:]) - torch.maximum(low, edges[:-1])).clamp_min(0)
    shares = pieces.segment_shares(real, fake, edges)
    check.close(shares, (inside / (high - low)).mean(0), SLACK, "the shares of the cells")
    used = areas.abs() > 1e-9  # where no segment passes, the distribution functions agree
    areas, penalties = areas[used], weight * shares[used]
    h = 0.4 / weight
    steps = math.ceil(math.log(1e-9) / math.log1p(-2 * h * float(penalties.min())))
    best = areas.sign() + areas / (2 * penalties)
    path = pieces.train_slopes(areas.sign(), areas, h, steps, penalties=penalties)
    decay = (1 - 2 * h * penalties) ** torch.arange(steps + 1)[:, None]
    scale = float(best.abs().max())
    check.close(path, best + (areas.sign() - best) * decay, SLACK * scale * steps, "the slopes")
    excess = (areas.square() / (2 * penalties)).sum()
    allowed = guarded(torch.float64, scale=scale)
    check.close(path[-1] @ areas, areas.abs().sum() + excess, allowed, "the reading at rest")
    wrong = pieces.train_slopes(-areas.sign(), areas, h, steps, penalties=penalties)[-1]
    trapped = areas.abs() < 1.9 * penalties
    settled = (-areas.sign() + areas / (2 * penalties))[trapped]
    check.close(wrong[trapped], settled, allowed, "slopes that began with the wrong sign")
    over = areas.abs() > 2.1 * penalties
    check.that(bool((wrong * areas > 0)[over].all()), "a slope stays on the wrong side of zero")


@claim(
    "theory.spectral_critic_measures_less",
    r"\max_{\lVert s \rVert_2 \le 1} \sum_j s_j A_j = \lVert A \rVert_2, \qquad "
    r"\frac{W_1}{\sqrt k} \le \lVert A \rVert_2 \le W_1",
    sources=["Miyato et al. 2018, 'Spectral Normalization for GANs', section 2",
             f"{LECTURE}, 'Spectral norm'"],
    why=r"""Spectral normalisation divides the slopes s on the k cells by their Euclidean
    norm. By Cauchy and Schwarz the reading :math:`s \cdot A / \lVert s \rVert` is at most
    :math:`\lVert A \rVert_2`, reached where s points along A, and

    .. math::

        \lVert A \rVert_2 \le \lVert A \rVert_1 = W_1 \le \sqrt k\, \lVert A \rVert_2 :

    less than transport, though every slope could be one, for unit norm asks for more than unit
    slope. The gradient :math:`(A - (A \cdot \hat s)\, \hat s) / \lVert s \rVert`, with
    :math:`\hat s` the unit vector, is at right angles to s: steps lengthen s and turn it towards
    A.

    The path is computed by hand with this formula until the angle is below a hundredth; training
    the normalised layer by autograd must give the same reading, which is then within :math:`\cos
    0.01` of the most.""",
    assumptions={
        "the start is not opposite to A": (
            r"at :math:`\hat s = -A / \lVert A \rVert` the gradient is zero, and the reading "
            r"stays at :math:`-\lVert A \rVert`"
        ),
        "there is more than one cell (for a difference)": (
            "with one, both norms are |A|"
        ),
    },
    effort=0.2,
    dtypes=("float64",),
)  # fmt: skip
@given(points=lattice_points(), seed=SEEDS)
def test_a_normalised_critic_turns_to_the_areas(
    subject: Handle, device: str, dtype: torch.dtype, points: tuple[Tensor, Tensor], seed: int
) -> None:
    pieces, (real, fake) = subject.pieces().raw, (t.cpu() for t in points)
    edges, areas = _areas(pieces, real, fake)
    size = areas.norm()
    source = seeded(seed)
    start = areas / size + _uniform(source, areas.shape, -0.5, 0.5) / math.sqrt(len(areas))
    h, slopes, steps = float(start @ start / size) / 2, start, 0
    while float(slopes @ areas / (slopes.norm() * size)) < math.cos(0.01) and steps < 100:
        unit = slopes / slopes.norm()
        slopes = slopes + h * (areas - (areas @ unit) * unit) / slopes.norm()
        steps += 1
    layer = nn.Linear(len(areas), 1, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(start[None])
    critic = pieces.spectral_norm(layer)
    optimizer = torch.optim.SGD(critic.parameters(), lr=h)
    losses = pieces.gan_losses("wasserstein")
    scores = [pieces.cell_features(t, edges) for t in (real, fake)]

    def reading() -> Tensor:
        return -losses.discriminator_loss(*(critic(t)[:, 0] for t in scores))

    for _ in range(steps):
        optimizer.zero_grad()
        (-reading()).backward()
        optimizer.step()
    found = reading().detach()
    allowed = guarded(torch.float64)
    check.close(found, slopes @ areas / slopes.norm(), allowed, f"the reading after {steps} steps")
    check.at_least(found, math.cos(0.01) * size, allowed, f"the reading after {steps} steps")
    check.at_most(found, size, allowed, "the reading of a critic of norm one")
    check.at_most(found, areas.abs().sum(), allowed, "the reading of a critic of norm one")


# In turns -----------------------------------------------------------------------------------------


def _cloud(size: int) -> Tensor:
    """Normal quantiles of mean 0 and variance 1, (N, 1)."""
    middle = torch.special.ndtri((torch.arange(size, dtype=torch.float64) + 0.5) / size)
    return (middle / middle.std(correction=0))[:, None]


def _r1(pieces: Any, weight: float) -> Any:
    if weight == 0:
        return None
    return lambda critic, data, samples: weight * pieces.r1_penalty(critic, data)


def _rest(sizes: tuple[int, int], kind: str, shift: float, stretch: float) -> Tensor:
    """theta and psi at rest: the samples are the data, the critic is flat at its best score."""
    theta = [shift, stretch - 1][: sizes[0]]
    psi = [0.5 if kind == "least_squares" else 0.0] + [0.0] * (sizes[1] - 1)
    return torch.tensor(theta + psi, dtype=torch.float64)


def _matrix(x: Tensor, z: Tensor, sizes: tuple[int, int], kind: str, h: float, r1: float) -> Any:
    """A turn near the data, written out with explicit sums."""
    pull = 1.0 if kind in ("wasserstein", "hinge") else 0.5
    curve = {"least_squares": 2.0, "wasserstein": 0.0, "hinge": 0.0}.get(kind, 0.5)
    at, noise, (g, d) = x[:, 0].numpy(), z[:, 0].numpy(), sizes
    phi = np.array([at**k / math.factorial(k) for k in range(d)])
    dphi = np.array([0 * at if k == 0 else at ** (k - 1) / math.factorial(k - 1) for k in range(d)])
    moves = np.array([noise**k / math.factorial(k) for k in range(g)])
    seen = h * pull * dphi @ moves.T / len(at)  # (d, g)
    damping = h * (curve * phi @ phi.T + r1 * dphi @ dphi.T) / len(at)
    upper = np.hstack([np.eye(g) - seen.T @ seen, seen.T @ (np.eye(d) - damping)])
    return torch.from_numpy(np.vstack([upper, np.hstack([-seen, np.eye(d) - damping])]))


def _turns(pieces: Any, z: Tensor, data: Tensor, state: Tensor, kind: str, h: float, turns: int,
           penalty: Any = None, sizes: tuple[int, int] = (1, 2), **more: Any) -> Tensor:  # fmt: skip
    """The path of (theta, psi) in one tensor."""
    theta, psi = state[: sizes[0]], state[sizes[0] :]
    found = pieces.play_turns(
        theta, psi, data, z, pieces.gan_losses(kind), h, turns, penalty, **more
    )
    shapes = [tuple(part.shape) for part in found]
    expected = [(turns + 1, size) for size in sizes]
    check.that(shapes == expected, f"the paths have shapes {shapes}, not {expected}")
    path = torch.cat(list(found), 1)
    check.equal(path[0], state, "the start of the path")
    return path


@claim(
    "theory.turns_near_the_data",
    r"A = \begin{pmatrix} I & h t J^\top \\ 0 & I \end{pmatrix} \begin{pmatrix} I & 0 \\ -h t J & I - h "
    r"K \end{pmatrix}, \qquad K = \kappa\, \mathbb E[\phi \phi^\top] + \gamma\, \mathbb E[\phi' "
    r"\phi'^\top]",
    sources=[f"{MESCHEDER}, section 4 and appendix D",
             "Nagarajan and Kolter 2017, 'Gradient descent GAN optimization is locally stable'",
             f"{LECTURE}, 'Improving GAN training'"],
    why=r"""The generator is a polynomial in the noise with moments :math:`m(z) = (1, z,
    \dots)`, the critic one in x with features :math:`\phi(x) = (1, x, x^2 / 2, \dots)`. At rest
    the samples are the data, and the critic is flat. To first order in the deviations
    :math:`(\theta, \psi)` the critic sees by :math:`J = \mathbb E[\phi'(x)\, m(z)^\top]` how far
    the samples have moved, the generator follows by its transpose, both times t, the slope of the
    loss at rest (1/2, or 1 for Wasserstein and hinge):

    .. math::

        \psi' = (I - h K) \psi - h t J \theta, \qquad \theta' = \theta + h t J^\top \psi'.

    K collects what pulls the critic back: the loss's curvature :math:`\kappa` (1/2 logistic, 2
    least squares, else 0) over the width of the data, and R1 with weight :math:`\gamma`. With K =
    0 the determinant is one, and the players circle.

    The matrix is written out with explicit sums, and the derivative of a played turn is found by
    central differences.""",
    assumptions={
        "the generator can draw the data": (
            "one that only shifts a point cannot meet data of width 1, and no critic is flat "
            "there"
        ),
        "scores stay within the hinge's margin": (
            "beyond it the hinge has slope 0, and t = 1 no longer holds"
        ),
    },
    effort=0.3,
    dtypes=("float64",),
)  # fmt: skip
@given(
    kind=st.sampled_from(["minimax", "non_saturating", "least_squares", "wasserstein", "hinge"]),
    sizes=st.sampled_from([(1, 2), (2, 3), (1, 3), (2, 2)]), r1=st.sampled_from([0.0, 0.7]),
    seed=SEEDS,
)  # fmt: skip
def test_one_turn_near_the_data_is_the_matrix(
    subject: Handle, device: str, dtype: torch.dtype, kind: str, sizes: tuple[int, int], r1: float,
    seed: int,
) -> None:  # fmt: skip
    pieces, source, z, h = subject.pieces().raw, seeded(seed), _cloud(5), 0.2
    shift, stretch = (float(v) for v in _uniform(source, (2,), 0.5, 1.5))
    stretch = stretch if sizes[0] > 1 else 1.0
    data, rest = shift + stretch * z, _rest(sizes, kind, shift, stretch)
    exact = _matrix(data, z, sizes, kind, h, r1)
    found = pieces.turn_matrix(data, z, sizes, kind, h, r1)
    check.close(found, exact, SLACK * 16, f"the matrix of a turn of {kind}")

    def turn(state: Tensor) -> Tensor:
        return _turns(pieces, z, data, state, kind, h, 1, _r1(pieces, r1), sizes)[1]

    check.close(turn(rest), rest, SLACK, f"a turn of {kind} that starts at rest")
    step = 1e-4
    columns = [(turn(rest + step * e) - turn(rest - step * e)) / (2 * step)
               for e in torch.eye(sum(sizes), dtype=torch.float64)]  # fmt: skip
    check.close(torch.stack(columns, 1), exact, guarded(torch.float64), f"a turn of {kind}")
    place = torch.zeros(1, 1, dtype=torch.float64)
    circle = pieces.turn_matrix(place, place, (1, 2), kind, h)
    check.close(torch.linalg.det(circle[[0, 2]][:, [0, 2]]), 1.0, SLACK, "the area of a circle")
    far = _uniform(source, (4,), -2, 2)
    by_hand = sum(far[k] * data[:, 0] ** k / math.factorial(k) for k in range(4))
    check.close(pieces.taylor_polynomial(far, data), by_hand, SLACK * 16, "a polynomial")


METHODS = {  # kind, sizes, step size, weight of R1
    "minimax, on data with a width": ("minimax", (1, 2), 1.0, 0.0),
    "instance noise, on one point": ("minimax", (1, 2), 1.0, 0.0),
    "non-saturating, on data with a width": ("non_saturating", (1, 2), 1.0, 0.0),
    "non-saturating with R1": ("non_saturating", (2, 3), 0.6, 1.0),
    "least squares, on data with a width": ("least_squares", (1, 2), 0.35, 0.0),
    "hinge with R1": ("hinge", (1, 2), 0.5, 1.0),
    "Wasserstein with R1": ("wasserstein", (2, 3), 0.5, 1.0),
}


@claim(
    "theory.damped_turns_arrive",
    r"\lVert A^T \rVert \le 10^{-8} \implies \lVert z_T \rVert \le 10^{-6} \lVert z_0 \rVert, "
    r"\qquad z_{t+k} = A^k z_t + O(\lVert z_t \rVert^2), \qquad W_1 \le \sqrt 2 \lVert z \rVert",
    sources=[f"{MESCHEDER}, theorem 4.1 and section 3", f"{LECTURE}, 'Improving GAN training'"],
    why=r"""Let A be the matrix of a turn near the data and T the number of turns after which
    its power is below :math:`10^{-8}` in norm. Turns are smooth, so the deviation z obeys
    :math:`z_{t+1} = A z_t + O(|z_t|^2)`, and once it is small the powers of A govern it. Two
    digits are left to the first turns, which are too far out for the matrix; so the first
    implication is one about the starts that are drawn, not about all. What is reached is a
    distance: for samples that miss :math:`\delta` of the shift and :math:`\epsilon` of the
    stretch of normalised points z

    .. math::

        W_1 \le \overline{|\delta + \epsilon z|} \le |\delta| + |\epsilon| \le \sqrt 2\, \lVert (\delta,
        \epsilon) \rVert.

    Damped are logistic and least-squares games on data that have a width, instance noise that
    lends one to a single point, and R1 in games whose loss is straight. The last quarter of each
    path must follow the matrix, ten turns ahead.""",
    assumptions={
        "K is positive on what J sees": (
            "the Wasserstein game without R1 has determinant one, and no power of its matrix is "
            "small"
        ),
        "the step is small": (
            "the least-squares game with h K = 3 multiplies the critic's deviation by -2 in "
            "each turn"
        ),
    },
    effort=0.4,
    dtypes=("float64",),
)  # fmt: skip
@given(method=st.sampled_from([*METHODS]), seed=SEEDS)
def test_damped_training_reaches_the_data_at_the_rate_of_its_matrix(
    subject: Handle, device: str, dtype: torch.dtype, method: str, seed: int
) -> None:
    pieces, source, z = subject.pieces().raw, seeded(seed), _cloud(6)
    kind, sizes, h, r1 = METHODS[method]
    shift = float(_uniform(source, (), -0.6, 0.6))
    stretch = float(_uniform(source, (), 0.7, 1.2)) if sizes[0] > 1 else 1.0
    data, rest = shift + stretch * z, _rest(sizes, kind, shift, stretch)
    start = rest + _uniform(source, rest.shape, -0.5, 0.5)
    seen = torch.ones(sum(sizes), dtype=torch.bool)
    if kind in ("hinge", "wasserstein"):  # blind to a constant, which stays as it is
        seen[sizes[0]], start[sizes[0]] = False, 0.0
    matrix = _matrix(data, z, sizes, kind, h, r1)[seen][:, seen]
    power, turns = matrix, 1
    while torch.linalg.matrix_norm(power, 2) > 1e-8:
        power, turns = power @ matrix, turns + 1
        check.that(turns < 2000, f"the matrix of {method} does not contract")
    path = _turns(pieces, z, data, start, kind, h, turns, _r1(pieces, r1), sizes)
    away = (path - rest)[:, seen]
    allowed = 1e-6 * float(away[0].norm())
    check.at_most(away[-1].norm(), allowed, SLACK, f"the deviation after {turns} turns of {method}")
    near = away[3 * turns // 4 :]
    ahead = near[:-10] @ torch.linalg.matrix_power(matrix, 10).mT
    error = (near[10:] - ahead).norm(dim=1) / near[:-10].norm(dim=1)
    check.at_most(error, 0.0, guarded(torch.float64), f"ten turns of {method} against the matrix")
    sharp = torch.zeros_like(z) if method.startswith("instance noise") else z
    made = sharp + path[-1, 0] + (path[-1, 1] * sharp if sizes[0] > 1 else 0)
    real = shift + stretch * sharp
    distance = float((made.sort(0).values - real.sort(0).values).abs().mean())
    check.at_most(distance, math.sqrt(2) * allowed, SLACK, f"W1 after {turns} turns of {method}")


@claim(
    "theory.undamped_turns_circle",
    r"u^2 + \psi^2 - h u \psi \text{ is kept by turns}, \qquad |z_{t+1}|^2 = (1 + h^2 f'^2) |z_t|^2 "
    r"\text{ at once}",
    sources=[
        f"{MESCHEDER}, section 2.2, lemmas 2.3 and 2.4",
        f"{LECTURE}, 'Improving GAN training'",
    ],
    why=r"""The Wasserstein game without a constraint, shift u of the samples against slope
    :math:`\psi` of the critic, is :math:`\psi' = \psi - h u`, :math:`u' = u + h \psi'`, on data
    of any width and however far away. Turns keep a quadratic form:

    .. math::

        u'^2 + \psi'^2 - h u' \psi' = u' u + \psi'^2 = u^2 + \psi' (h u + \psi') = u^2 + \psi^2 - h u
        \psi.

    It lies between :math:`(1 \mp h/2)(u^2 + \psi^2)`, so no number of turns brings the state
    nearer than the ratio of both allows. Steps at once are at right angles to the state z, of
    length :math:`h f' |z|` with f' the slope of the loss, and each lengthens it by the factor of
    Pythagoras: unregularised descent does not fail slowly, it fails at a known rate.

    The form and the factor are checked along paths of a hundred turns, in the second case for the
    logistic game as well.""",
    assumptions={
        "h is below two": (
            "for h = 3 the trace of a turn is 2 - 9 = -7, the form has two signs, and the state "
            "runs away"
        ),
        "the loss has no curvature (for turns)": (
            "the logistic game on data that have a width is damped, and arrives"
        ),
    },
    effort=0.15,
    dtypes=("float64",),
)
@given(seed=SEEDS, h=st.sampled_from([0.1, 0.5]), width=st.sampled_from([0.0, 0.4]))
def test_without_damping_no_number_of_turns_is_enough(
    subject: Handle, device: str, dtype: torch.dtype, seed: int, h: float, width: float
) -> None:
    pieces, source, z = subject.pieces().raw, seeded(seed), width * _cloud(4)
    shift = float(_uniform(source, (), 3, 6))  # the supports lie apart
    state = torch.cat([torch.zeros(2).double(), _uniform(source, (1,), -1, 1)])
    path = _turns(pieces, z, shift + z, state, "wasserstein", h, 120)
    u, psi = path[:, 0] - shift, path[:, 2]
    kept, scale = u**2 + psi**2 - h * u * psi, 4 * shift**2
    check.close(kept, kept[0], SLACK * scale * 50, "what turns of the Wasserstein game keep")
    nearest = (1 - h / 2) / (1 + h / 2) * float((u**2 + psi**2)[0])
    check.at_least(u**2 + psi**2, nearest, SLACK * scale * 50, "the distance from rest, squared,")
    for kind in ("gan", "wasserstein"):
        start = _uniform(source, (2,), 0.2, 1.0)
        at_once = pieces.follow_field(
            lambda at, kind=kind: pieces.dirac_gan_field(at, kind), start, h, 100
        )
        squared = at_once.square().sum(1)
        slope = at_once.prod(1).sigmoid() if kind == "gan" else torch.ones(101).double()
        growth = 1 + h**2 * slope[:-1] ** 2
        check.close(squared[1:] / squared[:-1], growth, SLACK, f"the growth of {kind} at once")


@claim(
    "theory.clipped_turns_circle",
    r"u_t^2 + \psi_t^2 \ge \frac{\min(E_0,\; c^2 (1 - h^2/4))}{1 + h/2}, \qquad E = u^2 + \psi^2 - h u "
    r"\psi",
    sources=[f"{MESCHEDER}, lemma 2.4", f"{WGAN}, algorithm 1", f"{LECTURE}, 'Wasserstein GAN'"],
    why=r"""Clipping bounds the critic's slope :math:`\psi` by c and damps nothing. Between
    two clippings turns keep :math:`E = u^2 + \psi^2 - h u \psi`, as those of the Wasserstein game
    do. A turn that clips leaves :math:`|\psi| = c`, where E is least for :math:`u = h \psi / 2`:

    .. math::

        E \ge c^2 \bigl(1 - \tfrac{h^2}4\bigr), \qquad u^2 + \psi^2 \ge \frac{E}{1 + h/2}.

    So after any number of turns E is at least the smaller of its first value and this one, and
    one step each never comes to rest; its generator passes over the data again and again. That
    clipping works when the critic is trained between the steps is another claim's
    (``theory.transport_training``).

    The bound is checked after each of 120 turns, from starts on either side, together with the
    box and the generator's steps.""",
    assumptions={
        "the critic takes one step in each turn": (
            "one that is trained to its bound leads every sample to within hc of its partner"
        ),
        "the game does not start at rest": (r"for :math:`u = \psi = 0` E is zero, and stays so"),
    },
    effort=0.15,
    dtypes=("float64",),
)
@given(seed=SEEDS, h=st.sampled_from([0.1, 0.4]), bound=st.sampled_from([0.3, 1.0]))
def test_clipping_alone_never_comes_to_rest(
    subject: Handle, device: str, dtype: torch.dtype, seed: int, h: float, bound: float
) -> None:
    pieces, source, z = subject.pieces().raw, seeded(seed), 0.3 * _cloud(4)
    shift = float(_uniform(source, (), -3, 3))
    state = torch.cat([shift + _uniform(source, (1,), -2, 2), torch.zeros(1).double(),
                       bound * _uniform(source, (1,), -1, 1)])  # fmt: skip
    path = _turns(pieces, z, shift + z, state, "wasserstein", h, 120, bound=bound)
    u, psi = path[:, 0] - shift, path[:, 2]
    check.at_most(psi.abs(), bound, SLACK, "the slope of a clipped critic")
    first = float((u**2 + psi**2 - h * u * psi)[0])
    never = min(first, bound**2 * (1 - h**2 / 4)) / (1 + h / 2)
    check.at_least(u**2 + psi**2, never, SLACK * 120, "the distance from rest, squared,")
    steps = path[1:, 0] - path[:-1, 0]
    check.close(steps, h * psi[1:], SLACK, "a step of the generator, against the critic's slope,")


@claim(
    "theory.slope_one_is_no_rest",
    r"\max_{s \le t \le s + K} |u_t| > \lambda \quad \text{for every } s, \qquad K = \left\lceil "
    r"\frac{\log 2}{-\log(1 - 2 h \lambda)} \right\rceil + \left\lceil \frac{8 \lambda}h \right\rceil + 1",
    sources=[f"{MESCHEDER}, section 2.3 and lemma 3.1 on WGAN-GP", f"{WGAN_GP}, equation 3",
             f"{LECTURE}, 'Improved Wasserstein GAN'"],
    why=r"""Where samples and data agree the best critic is flat, and a penalty :math:`\lambda
    (|\psi| - 1)^2` forbids it. While the samples' shift obeys :math:`|u| \le \lambda`, a slope
    :math:`\psi > 0` has

    .. math::

        \psi' = \psi - h u - 2 h \lambda (\psi - 1) \ge (1 - 2 h \lambda)\, \psi + h \lambda,

    whose fixed point is 1/2: it keeps its sign, and the distance from 1/2 halves within
    :math:`\log 2 / {-\log(1 - 2 h \lambda)}` turns, so that :math:`\psi \ge 1/4`. From then on
    each turn moves u by at least h/4 in one direction, and :math:`2 \lambda` are passed after
    :math:`8 \lambda / h` more. So the samples leave that neighbourhood in every window of K + 1
    states: a heavier penalty drives them further.

    The test starts almost on the data, compares every step of the critic with the formula, and
    looks at every window.""",
    assumptions={
        "the slope is not exactly zero": (
            r"at :math:`u = \psi = 0` the absolute value has no derivative, autograd takes 0, "
            "and the game rests"
        ),
        "the critic takes one step in each turn": (
            "trained to its best in between, it leads the samples to the data, up to the step"
        ),
        r"2 h :math:`\lambda` is below one": (
            r"for :math:`h \lambda = 1` a slope of 2 becomes 0 in one step, at u = 0"
        ),
    },
    effort=0.1,
    dtypes=("float64",),
)  # fmt: skip
@given(seed=SEEDS, weight=st.sampled_from([0.25, 0.6]), width=st.sampled_from([0.0, 0.5]))
def test_a_penalty_around_slope_one_drives_the_samples_off_the_data(
    subject: Handle, device: str, dtype: torch.dtype, seed: int, weight: float, width: float
) -> None:
    pieces, source, z, h = subject.pieces().raw, seeded(seed), width * _cloud(4), 0.3
    shift = float(_uniform(source, (), -3, 3))
    state = torch.tensor([shift + 1e-3, 0.0, 1e-3], dtype=torch.float64)

    def penalty(critic: Any, data: Tensor, samples: Tensor) -> Tensor:
        found: Tensor = weight * pieces.gradient_penalty(critic, data, samples)
        return found

    window = math.ceil(math.log(2) / -math.log1p(-2 * h * weight)) + math.ceil(8 * weight / h) + 1
    path = _turns(pieces, z, shift + z, state, "wasserstein", h, 4 * window + 20, penalty)
    u, psi = path[:, 0] - shift, path[:, 2]
    expected = psi[:-1] - h * u[:-1] - 2 * h * weight * (psi[:-1] - psi[:-1].sign())
    check.close(psi[1:], expected, SLACK, "the critic's slope after its step")
    furthest = u.abs().unfold(0, window + 1, 1).amax(1)
    check.at_least(furthest, weight, SLACK, f"the way from the data within {window} turns")


@claim(
    "theory.a_sure_critic_stops_minimax",
    r"\psi_k \ge \tfrac1b \log(1 + h a b k) =: L, \qquad |\nabla L_G| \le L e^{-aL} \text{ (minimax)}, "
    r"\qquad |\nabla L_G| \ge L \sigma(aL) \text{ (non-saturating)}",
    sources=["Arjovsky and Bottou 2017, 'Towards Principled Methods for Training GANs', section 2",
             f"{GAN}, section 3", f"{LECTURE}, 'GAN training'"],
    why=r"""Let data lie in [a, b] and the samples be their mirror image, and let :math:`D(x)
    = \psi x`. As :math:`\sigma(-y) \ge e^{-y} / 2` for positive y, a critic's step is at least

    .. math::

        \psi' \ge \psi + 2 h a\, \sigma(-b \psi) \ge \psi + h a\, e^{-b \psi} \implies e^{b \psi'} \ge
        e^{b \psi} + h a b,

    and k steps from zero give :math:`e^{b \psi} \ge 1 + h a b k`: the slope is at least L. The
    generator feels the slope times the chance that a sample is taken for real, :math:`\psi\,
    \sigma(-\psi |x|) \le \psi e^{-a \psi}`, which falls once :math:`a \psi \ge 1`: like a power
    of 1/k in the minimax game, where JS is :math:`\log 2` on all sides. With the non-saturating
    loss it is :math:`\psi\, \sigma(\psi |x|) \ge L \sigma(a L)`, nearly the slope itself.

    Both bounds are computed from the points that were drawn, and compared with one step of the
    generator after 60 or 250 of the critic.""",
    assumptions={
        "the supports lie apart": (
            "where they meet, a = 0, and neither bound says anything: no critic is ever sure "
            "there"
        ),
        "a L is at least one (for minimax)": (
            r"before that :math:`\psi e^{-a \psi}` still rises, and a steeper critic may push "
            "more"
        ),
    },
    effort=0.1,
    dtypes=("float64",),
)  # fmt: skip
@given(seed=SEEDS, steps=st.sampled_from([60, 250]))
def test_a_critic_that_is_sure_leaves_the_minimax_generator_nothing(
    subject: Handle, device: str, dtype: torch.dtype, seed: int, steps: int
) -> None:
    pieces, source, h = subject.pieces().raw, seeded(seed), 0.5
    half, width = float(_uniform(source, (), 2, 4)), float(_uniform(source, (), 0.1, 0.6))
    z = width * _cloud(4) - half  # noise at -half, data mirrored
    near, far = half - float((z + half).abs().max()), half + float((z + half).abs().max())
    grown = math.log1p(h * near * far * steps) / far
    check.that(grown * near >= 1, "the critic was not trained for long enough to bound its slope")
    pulls = {}
    for kind in ("minimax", "non_saturating"):
        path = _turns(pieces, z, -z, torch.zeros(3).double(), kind, h, 1, critic_steps=steps)
        check.close(path[1, 1], 0.0, SLACK * steps, "the constant of a critic of mirrored points")
        check.at_least(path[1, 2], grown, SLACK, f"the critic's slope after {steps} steps")
        pulls[kind] = float(path[1, 0]) / h
    nothing = grown * math.exp(-near * grown)
    check.at_most(pulls["minimax"], nothing, SLACK, "the pull that minimax has left")
    check.that(pulls["minimax"] > 0, "minimax pushes the samples away from the data")
    full = grown / (1 + math.exp(-near * grown))
    check.at_least(pulls["non_saturating"], full, SLACK, "the pull of the non-saturating loss")
