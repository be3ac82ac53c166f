r"""Adversarial training: what the losses of both players must be."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spec_tests import check
from spec_tests.contracts.adversarial import BATCHES, KINDS, GanLossesConfig
from spec_tests.handle import Handle
from spec_tests.judge import stratified
from spec_tests.numerics import array, gradients
from spec_tests.registry import claim
from spec_tests.strategies import normals, reals
from spec_tests.tolerance import guarded, rounding

GAN = "Goodfellow et al. 2014, 'Generative Adversarial Networks'"
WGAN = "Arjovsky, Chintala, Bottou 2017, 'Wasserstein GAN'"
SN = "Miyato et al. 2018, 'Spectral Normalization for GANs'"
LSGAN = "Mao et al. 2016, 'Least Squares GANs'"
LECTURE = "CS182 2021 L19"
LOGS = ("minimax", "non_saturating")


def _log_sigmoid(s: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """``log sigmoid(s)``, exact at any size."""
    return -np.logaddexp(0.0, -s)


def _sigmoid(s: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.exp(_log_sigmoid(s))


def discriminator_value(kind: str, real: Tensor, fake: Tensor) -> np.float64:
    """The discriminator's loss by its definition, in float64."""
    r, f = array(real), array(fake)
    if kind in LOGS:
        return np.float64(-_log_sigmoid(r).mean() - _log_sigmoid(-f).mean())
    if kind == "least_squares":
        return np.float64(((r - 1) ** 2).mean() / 2 + (f**2).mean() / 2)
    if kind == "wasserstein":
        return np.float64(f.mean() - r.mean())
    return np.float64(np.maximum(0, 1 - r).mean() + np.maximum(0, 1 + f).mean())


def generator_value(kind: str, fake: Tensor) -> np.float64:
    """The generator's loss by its definition, in float64."""
    f = array(fake)
    if kind == "minimax":
        return np.float64(_log_sigmoid(-f).mean())
    if kind == "non_saturating":
        return np.float64(-_log_sigmoid(f).mean())
    if kind == "least_squares":
        return np.float64(((f - 1) ** 2).mean() / 2)
    return np.float64(-f.mean())


def discriminator_slopes(kind: str, real: Tensor, fake: Tensor) -> tuple[Any, Any]:
    """The derivatives of the discriminator's loss in each score, in float64."""
    r, f = array(real), array(fake)
    slopes = {
        "least_squares": (r - 1, f),
        "wasserstein": (-np.ones_like(r), np.ones_like(f)),
        "hinge": (-(r < 1).astype(float), (f > -1).astype(float)),
    }.get(kind, (-_sigmoid(-r), _sigmoid(f)))
    return slopes[0] / len(r), slopes[1] / len(f)


def generator_slopes(kind: str, fake: Tensor) -> Any:
    """The derivatives of the generator's loss in each score, in float64."""
    f = array(fake)
    slopes = {
        "minimax": -_sigmoid(f),
        "non_saturating": -_sigmoid(-f),
        "least_squares": f - 1,
    }.get(kind, -np.ones_like(f))
    return slopes / len(f)


def _allowed(kind: str, dtype: torch.dtype, value: Any) -> float:
    """A guard has a place under a logarithm only."""
    size = max(float(np.abs(np.asarray(value)).max()), 1.0)
    return (guarded if kind in LOGS else rounding)(dtype, length=16, scale=size)


def games(kinds: tuple[str, ...] = KINDS) -> Any:
    """Each kind of game among ``kinds`` in a stratum of its own."""
    return stratified([st.just(GanLossesConfig(kind)) for kind in kinds])


def score_pairs(entries: Any = reals, sizes: Any = BATCHES) -> Any:
    """Real and fake scores in batches of different sizes, one item included."""
    return stratified([st.tuples(entries((real,)), entries((fake,))) for real, fake in sizes])


def _apart(shape: tuple[int, ...]) -> Any:
    """Scores that keep away from the hinge's kinks at 1 and -1."""
    values = st.sampled_from([-12.0, -3.5, -1.75, -0.5, 0.0, 0.25, 0.75, 1.5, 2.25, 12.0])
    nudges = st.floats(-0.2, 0.2)
    return st.lists(st.tuples(values, nudges).map(sum), min_size=shape[0], max_size=shape[0]).map(
        lambda drawn: torch.tensor(drawn, dtype=torch.float64)
    )


@claim(
    "gan_losses.discriminator_is_cross_entropy",
    r"L_D = -\frac1N \sum_{i=1}^N \log \sigma(s_i) "
    r"- \frac1M \sum_{j=1}^M \log(1 - \sigma(\tilde s_j))",
    sources=[f"{GAN}, Equation 1", f"{LECTURE}, 'Small GAN details'"],
    why=r"""The discriminator is a classifier, and :math:`D = \sigma(s)` its probability of "real".
    The cross-entropy of a label :math:`y` is :math:`-y \log D - (1 - y) \log(1 - D)`. The real
    items, with scores :math:`s_1, \dots, s_N`, have :math:`y = 1` and keep the first term; the
    fakes, with scores :math:`\tilde s_1, \dots, \tilde s_M`, have :math:`y = 0` and keep the
    second. Each batch is averaged by itself and the means are added, so an undecided discriminator,
    with all scores zero, pays log 4.

    The oracle is NumPy's ``logaddexp`` in double precision: from

    .. math::

        -\log \sigma(s) = \log(1 + e^{-s}), \qquad -\log(1 - \sigma(s)) = \log(1 + e^{s})

    it needs neither a sigmoid nor a framework's loss, and has no guard to argue about.
    """,
    assumptions={
        "the scores are raw outputs, log-odds": (
            "the probabilities 1 and 0 of a perfect discriminator, taken for scores, cost 0.313 "
            "+ 0.693 = 1.006 and not 0"
        ),
    },
    sentence="give the discriminator the cross-entropy of real against fake",
)
@given(config=games(LOGS), scores=score_pairs())
def test_the_discriminators_loss_is_the_cross_entropy_of_real_against_fake(
    subject: Handle,
    device: str,
    dtype: torch.dtype,
    config: GanLossesConfig,
    scores: tuple[Tensor, Tensor],
) -> None:
    loss = subject.build(config).discriminator_loss(*scores)
    expected = discriminator_value(config.kind, *scores)
    check.close(
        loss,
        expected,
        _allowed(config.kind, dtype, expected),
        f"the {config.kind} discriminator's loss at real scores {array(scores[0])} and fake "
        f"scores {array(scores[1])}",
    )


@st.composite
def _tables(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor]:
    """How often each of n points is drawn by the data and by the generator, and its score."""
    size = draw(st.integers(2, 5))
    counts = st.lists(st.integers(0, 3), min_size=size, max_size=size).filter(any)
    drawn = [torch.tensor(draw(counts)) for _ in range(2)]
    return drawn[0], drawn[1], draw(normals((size,), 2.0))


@claim(
    "gan_losses.matches_game_value",
    r"L_D = -V, \quad L_G^{\text{minimax}} = V - \mathbb E_{p} \log D, \quad "
    r"\min_s L_D = \log 4 - 2 D_{\mathrm{JS}}(p \,\|\, q), \qquad "
    r"V = \mathbb E_{p} \log D + \mathbb E_{q} \log (1 - D)",
    sources=[f"{GAN}, Equation 1", f"{LECTURE}, 'The GAN game'"],
    why=r"""On a finite space let the real batch hold each point as often as :math:`p` says and the
    fake batch as often as :math:`q` says. The means of the losses are then expectations without
    error, and the discriminator's loss is minus the value :math:`V` of the game. The minimax
    generator minimises the part of :math:`V` that its samples enter, so that both losses add up to
    :math:`-\mathbb E_p \log D`, which no generator can change.

    At one point :math:`-p \log D - q \log(1 - D)` is least at :math:`D = p / (p + q)`, which is the
    score :math:`s = \log(p / q)`. Put back, with :math:`m = (p + q)/2`,

    .. math::

        L_D = -\sum_x p \log \frac{p}{2m} - \sum_x q \log \frac{q}{2m}
            = 2 \log 2 - 2 D_{\mathrm{JS}}(p \,\|\, q).

    The expectations and the divergence are summed in NumPy over the points, not over the batch.
    """,
    assumptions={
        "the batches hold the points exactly as often as p and q say": (
            "a random batch only estimates V: a single draw from p = (1/2, 1/2) sees one of the "
            "two points"
        ),
        "the scores are free at every point": (
            "a discriminator with one score for all points reaches log 4 at best, while log 4 - "
            "2 JS is 0 for p = (1, 0) and q = (0, 1)"
        ),
        "both distributions have full support, for the least loss to be attained": (
            "for p = (1, 0) and q = (0, 1) the loss tends to 0 as the scores grow, and no score "
            "reaches it"
        ),
    },
    sentence="are the value of the game",
)
@given(config=games(LOGS), table=_tables())
def test_the_losses_are_the_value_of_the_game(
    subject: Handle, device: str, dtype: torch.dtype, config: GanLossesConfig, table: Any
) -> None:
    real_counts, fake_counts, scores = table
    losses = subject.build(config)
    p, q = (array(c) / float(c.sum()) for c in (real_counts, fake_counts))
    real, fake = (scores.repeat_interleave(c) for c in (real_counts, fake_counts))
    d = 1 / (1 + np.exp(-array(scores)))
    data_part, generator_part = float(p @ np.log(d)), float(q @ np.log1p(-d))
    allowed = guarded(dtype, length=16, scale=8.0)
    loss = losses.discriminator_loss(real, fake)
    check.close(
        loss, -data_part - generator_part, allowed, "the discriminator's loss, minus V(D, G),"
    )
    if config.kind == "minimax":
        found = losses.generator_loss(fake)
        check.close(found, generator_part, allowed, "the generator's loss, E_q log(1 - D),")
        check.close(loss + found, -data_part, 2 * allowed, "the sum of both losses, -E_p log D,")
    if (p > 0).all() and (q > 0).all():
        best = torch.as_tensor(np.log(p / q)).to(scores)
        least = losses.discriminator_loss(
            best.repeat_interleave(real_counts), best.repeat_interleave(fake_counts)
        )
        middle = (p + q) / 2
        js = float(p @ np.log(p / middle) + q @ np.log(q / middle)) / 2
        check.close(
            least, math.log(4) - 2 * js, allowed, "the loss at D = p/(p + q), log 4 - 2 JS,"
        )
        check.at_least(loss, least, allowed, "the loss at other scores, against that at p/(p + q),")


@claim(
    "gan_losses.discriminator_gradient",
    r"\frac{\partial L_D}{\partial s_i} = -\frac{1 - \sigma(s_i)}{N}, \qquad "
    r"\frac{\partial L_D}{\partial \tilde s_j} = \frac{\sigma(\tilde s_j)}{M} \qquad "
    r"\text{(both logarithmic games)}",
    sources=[f"{GAN}, Algorithm 1", f"{LSGAN}, Equation 2", f"{WGAN}, Algorithm 1"],
    why=r"""Differentiate term by term: :math:`\frac{d}{ds} \log(1 + e^{-s}) = -(1 - \sigma(s))` for
    a real score and :math:`\frac{d}{ds} \log(1 + e^{s}) = \sigma(s)` for a fake one, each over the
    size of its own batch, :math:`N` or :math:`M`. Both are the probability of "real" minus the
    label: an item that is classified rightly pulls little, a wrong one with nearly its full weight.
    The other games, in the same order:

    .. math::

        \text{least squares } \frac{s_i - 1}{N},\ \frac{\tilde s_j}{M}; \qquad
        \text{critic } -\frac1N,\ \frac1M; \qquad
        \text{hinge } -\frac{[s_i < 1]}{N},\ \frac{[\tilde s_j > -1]}{M}.

    Values alone would not show a batch that was detached within the loss: the discriminator would
    never learn from it. So the slopes are asked of autograd, and compared with these formulas in
    NumPy.
    """,
    assumptions={
        "the scores keep away from the hinge's kinks": (
            "at a real score of exactly 1 the slope is -1/N from the left and 0 from the right, "
            "and either is a subgradient"
        ),
    },
    sentence="teach the discriminator by both batches",
)
@given(config=games(), scores=score_pairs(_apart, ((3, 5), (1, 1))))
def test_both_batches_pull_the_discriminator_with_the_slopes_of_its_loss(
    subject: Handle, device: str, dtype: torch.dtype, config: GanLossesConfig, scores: Any
) -> None:
    subject.needs_gradients()
    leaves = [s.requires_grad_() for s in scores]
    loss = subject.build(config).discriminator_loss(*leaves)
    found = gradients(loss, leaves, what="discriminator's loss")
    expected = discriminator_slopes(config.kind, *leaves)
    for name, gradient, slope in zip(("real", "fake"), found, expected, strict=True):
        check.close(
            gradient,
            torch.as_tensor(slope),
            _allowed(config.kind, dtype, slope),
            f"the slope of the {config.kind} discriminator's loss in the {name} scores",
        )


@claim(
    "gan_losses.generator_gradient",
    r"M \frac{\partial L_G}{\partial \tilde s_j} = -\sigma(\tilde s_j) \text{ (minimax)}, \qquad "
    r"-(1 - \sigma(\tilde s_j)) \text{ (non-saturating)}",
    sources=[f"{GAN}, Section 3", f"{LECTURE}, 'Small GAN details'"],
    why=r"""The minimax generator's loss is the mean of :math:`\log(1 - \sigma(\tilde s)) = -\log(1 +
    e^{\tilde s})`, with slope :math:`-\sigma(\tilde s)`; the non-saturating one's is the mean of
    :math:`-\log \sigma(\tilde s) = \log(1 + e^{-\tilde s})`, with slope :math:`-(1 - \sigma(\tilde
    s))`. Early in learning the discriminator rejects every sample, and :math:`\tilde s` is very
    negative. At :math:`\tilde s = -13`, where half of the test's scores lie, the first slope is
    :math:`-2 \cdot 10^{-6}`: the loss saturates. The second is :math:`-1` up to as much: the full
    signal. Both have the same sign, and so the same aim.

    For least squares the slope is :math:`\tilde s - 1`, for the critic and the hinge game
    :math:`-1`, all over :math:`M`. The formulas are the oracle, in NumPy, against autograd through
    the subject.
    """,
    assumptions={
        "the generator sees the discriminator only through these scores": (
            "a loss that uses real scores too, as a relativistic one does, has another slope: "
            r":math:`-(1 - \sigma(\tilde s - s))`"
        ),
    },
    sentence="teach the generator by rejected samples, but for minimax",
)
@given(config=games(), fake=stratified([_apart((1,)), _apart((4,))]))
def test_the_minimax_generator_learns_nothing_from_rejected_samples_and_the_others_do(
    subject: Handle, device: str, dtype: torch.dtype, config: GanLossesConfig, fake: Tensor
) -> None:
    subject.needs_gradients()
    losses = subject.build(config)
    scores = torch.cat([fake, torch.full_like(fake, -13.0)])
    leaf = scores.clone().requires_grad_()
    loss = losses.generator_loss(leaf)
    value = generator_value(config.kind, scores)
    check.close(
        loss, value, _allowed(config.kind, dtype, value), f"the {config.kind} generator's loss"
    )
    (gradient,) = gradients(loss, [leaf], what="generator's loss")
    slope = generator_slopes(config.kind, scores)
    check.close(
        gradient,
        torch.as_tensor(slope),
        _allowed(config.kind, dtype, slope),
        f"the slope of the {config.kind} generator's loss at scores {array(scores)}",
    )


@claim(
    "gan_losses.least_squares_optimum",
    r"\arg\min_s L_D = \frac{p}{p + q}, \qquad \min_s L_D = \tfrac14 \bigl(1 - "
    r"\chi^2_{\text{Pearson}}(p \,\|\, \tfrac{p + q}{2})\bigr)",
    sources=[f"{LSGAN}, Section 3.2"],
    why=r"""With target 1 for real and 0 for fake a point with probabilities :math:`p` and :math:`q`
    adds :math:`\frac12 p (s - 1)^2 + \frac12 q s^2`. The slope :math:`p (s - 1) + q s` vanishes at
    :math:`s = p / (p + q)`, the posterior of "real", and what is left is :math:`\frac12 pq / (p +
    q)`. With :math:`m = (p + q)/2` and :math:`pq = m^2 - (p - m)^2` the sum over all points is

    .. math::

        \frac12 \sum_x \frac{m^2 - (p - m)^2}{2m} = \frac14 \Bigl(1 - \sum_x \frac{(p - m)^2}{m}\Bigr)
            = \frac14 \bigl(1 - \chi^2(p \,\|\, m)\bigr).

    The loss is a parabola in each score, so a move :math:`d` away from the best score adds
    :math:`\frac12 (p + q)\, d^2` exactly. The test asks for both numbers, which NumPy sums over the
    points; the batches hold each point as often as :math:`p` and :math:`q` say.
    """,
    assumptions={
        "the targets are 1 for real and 0 for fake": (
            "with targets 1 and -1 the best score is (p - q)/(p + q), which is 0 and not 1/2 "
            "where p = q"
        ),
        "the scores are raw and free at every point": (
            "squashed to (0, 1) by a sigmoid no finite score reaches the optimum 1 of a point "
            "with q = 0"
        ),
    },
    sentence="are solved by the posterior for least squares, and measure chi-square",
)
@given(table=_tables())
def test_least_squares_is_solved_by_the_posterior_and_measures_chi_square(
    subject: Handle, device: str, dtype: torch.dtype, table: Any
) -> None:
    real_counts, fake_counts, move = table
    losses = subject.build(GanLossesConfig("least_squares"))
    p, q = (array(c) / float(c.sum()) for c in (real_counts, fake_counts))
    best = np.divide(p, p + q, out=np.zeros_like(p), where=p + q > 0)

    def loss(scores: np.ndarray[Any, Any]) -> Tensor:
        s = torch.as_tensor(scores).to(move)
        return losses.discriminator_loss(
            s.repeat_interleave(real_counts), s.repeat_interleave(fake_counts)
        )

    middle = np.where(p + q > 0, (p + q) / 2, 1.0)
    chi_square = np.float64(((p - (p + q) / 2) ** 2 / middle).sum())
    allowed = rounding(dtype, length=16, scale=4 + float(move.square().max()))
    check.close(
        loss(best), (1 - chi_square) / 4, allowed, "the least-squares loss at s = p/(p + q),"
    )
    away = best + array(move)
    rise = np.float64(((p + q) * array(move) ** 2).sum()) / 2
    check.close(
        loss(away),
        (1 - chi_square) / 4 + rise,
        allowed,
        "the least-squares loss away from s = p/(p + q)",
    )


@claim(
    "gan_losses.wasserstein_linear",
    r"L_D(a s + b,\, a \tilde s + b) = a\, L_D(s, \tilde s), \qquad "
    r"L_G(a \tilde s + b) = a\, L_G(\tilde s) - b",
    sources=[f"{WGAN}, Algorithm 1", f"{LECTURE}, 'Wasserstein GAN'"],
    why=r"""The critic's loss :math:`L_D = \overline{\tilde s} - \overline{s}` is a difference of two
    means, and the generator's is :math:`L_G = -\overline{\tilde s}`. A mean is linear, and it moves
    by :math:`b` when all its terms do:

    .. math::

        (a \overline{\tilde s} + b) - (a \overline{s} + b) = a\,(\overline{\tilde s} - \overline{s}), \qquad
        -(a \overline{\tilde s} + b) = a L_G - b.

    Blindness to a shift is what the dual of optimal transport asks for: potentials are defined up
    to a constant. Linearity shows that no sigmoid and no logarithm squashes the scores, and why the
    slope of the critic must be bounded by other means: doubled scores are twice as good. The test
    checks the values, means taken in NumPy, and then both laws on the subject's own results, for
    negative :math:`a` as well.
    """,
    assumptions={
        "the same a and b for both batches": "a shift of the real scores alone by b changes the loss by -b",
    },
    sentence="are linear for a critic, and blind to a shift",
)
@given(scores=score_pairs(), scale=st.sampled_from([-3.0, 0.5, 100.0]), shift=st.floats(-5, 5))
def test_the_critics_loss_is_linear_and_blind_to_a_shift(
    subject: Handle, device: str, dtype: torch.dtype, scores: Any, scale: float, shift: float
) -> None:
    losses = subject.build(GanLossesConfig("wasserstein"))
    real, fake = scores
    loss, other = losses.discriminator_loss(real, fake), losses.generator_loss(fake)
    allowed = rounding(dtype, length=16, scale=abs(scale) * 4 + abs(shift) + 1)
    check.close(
        loss,
        discriminator_value("wasserstein", real, fake),
        allowed,
        "the critic's loss, mean(fake) - mean(real),",
    )
    check.close(other, generator_value("wasserstein", fake), allowed, "the loss -mean(fake)")
    moved = scale * real + shift, scale * fake + shift
    check.close(
        losses.discriminator_loss(*moved),
        scale * loss,
        allowed,
        f"the critic's loss of scores times {scale} plus {shift:.4g}",
    )
    check.close(
        losses.generator_loss(moved[1]),
        scale * other - shift,
        allowed,
        f"the generator's loss of scores times {scale} plus {shift:.4g}",
    )


@claim(
    "gan_losses.hinge_saturates",
    r"L_D = \overline{(1 - s)_+} + \overline{(1 + \tilde s)_+}, \qquad L_D = 0 \iff "
    r"s_i \ge 1 \text{ and } \tilde s_j \le -1 \text{ for all } i, j; \qquad "
    r"L_G = -\overline{\tilde s}",
    sources=["Lim and Ye 2017, 'Geometric GAN', Equation 13", f"{SN}, Equation 16"],
    why=r"""Both means have terms that are never negative, so the loss is zero exactly if every term
    is: :math:`(1 - s_i)_+ = 0` says :math:`s_i \ge 1`, and :math:`(1 + \tilde s_j)_+ = 0` says
    :math:`\tilde s_j \le -1`. Beyond the margin the discriminator is content: value and slope are
    zero, and it spends its capacity on items within it. The generator's loss has no margin: its
    slope is :math:`-1/M` everywhere, so that a sample which has passed for real still moves on.

    The test compares both losses with the formulas in NumPy, and then takes scores that lie on the
    margin or beyond: there the discriminator's loss must be zero to the last bit, since :math:`1 -
    s` never rounds to a positive number.
    """,
    assumptions={
        "every score is beyond the margin": "a single real score of 0.9 among N costs 0.1/N",
        "the margin is one": (
            r"without it, as :math:`(-s)_+ + (\tilde s)_+`, a discriminator that answers 0 to "
            "everything pays nothing"
        ),
    },
    sentence="let the discriminator rest beyond the hinge's margin, and only there",
)
@given(
    scores=score_pairs(),
    slack=st.sampled_from([0.0, 0.5, 30.0]),
)
def test_the_hinge_is_zero_beyond_the_margin_and_only_there(
    subject: Handle, device: str, dtype: torch.dtype, scores: Any, slack: float
) -> None:
    losses = subject.build(GanLossesConfig("hinge"))
    real, fake = scores
    allowed = rounding(dtype, length=16, scale=40.0)
    check.close(
        losses.discriminator_loss(real, fake),
        discriminator_value("hinge", real, fake),
        allowed,
        "the hinge loss relu(1 - real).mean() + relu(1 + fake).mean()",
    )
    check.close(losses.generator_loss(fake), generator_value("hinge", fake), allowed, "-mean(fake)")
    beyond = real.abs() + 1 + slack, -fake.abs() - 1 - slack
    check.close(
        losses.discriminator_loss(*beyond),
        0.0,
        0.0,
        "the hinge loss with all scores beyond the margin",
    )
    check.close(
        losses.generator_loss(beyond[1]),
        generator_value("hinge", beyond[1]),
        allowed,
        "the generator's loss at scores beyond the margin",
    )


def _extremes(shape: tuple[int, ...]) -> Any:
    values = st.sampled_from([-1e4, -800.0, -120.0, -40.0, -18.0, 18.0, 40.0, 120.0, 800.0, 1e4])
    return st.lists(values, min_size=shape[0], max_size=shape[0]).map(
        lambda drawn: torch.tensor(drawn, dtype=torch.float64)
    )


@claim(
    "gan_losses.stable",
    r"-\log \sigma(s) = \max(-s, 0) + \log(1 + e^{-|s|}), \qquad "
    r"\frac{d}{ds} \bigl(-\log \sigma(s)\bigr) = -\sigma(-s), \qquad |s| \le 10^4",
    sources=["contracts.md, gan_losses: scores are raw outputs", f"{GAN}, Section 3"],
    why=r"""Write :math:`-\log \sigma(s) = \log(1 + e^{-s})`. For :math:`s < 0` take :math:`e^{-s}`
    out of the logarithm: what remains is :math:`-s + \log(1 + e^{s})`. In either case the exponent
    is :math:`-|s|`, nothing overflows, and the result has a few roundings at any size.
    Differentiated, it gives :math:`-\sigma(-s)`, which is :math:`-1` at :math:`s = -10^4`.

    Computed as it is written, :math:`\sigma(-10^4)` rounds to zero and the logarithm is infinite. A
    floor under the logarithm makes the value finite and flat: the slope is gone exactly where the
    generator needs it. By the same rounding :math:`1 - \sigma(40)` is zero in double precision, and
    :math:`1 - \sigma(18)` in single. The scores of the test are of these sizes, of either sign, in
    all games; NumPy's ``logaddexp`` gives the values, the closed formulas the slopes.
    """,
    assumptions={
        "the loss is computed from the score": (
            "from the probability it cannot be: at s = 40 and at s = 800 it is the same number, "
            r"1, with losses :math:`-\log(1 - D)` of 40 and 800"
        ),
    },
    sentence="give the right values and gradients at scores of any size",
)
@given(config=games(), scores=score_pairs(_extremes, ((2, 3), (1, 1))))
def test_scores_of_any_size_give_the_right_values_and_gradients(
    subject: Handle, device: str, dtype: torch.dtype, config: GanLossesConfig, scores: Any
) -> None:
    losses = subject.build(config)
    leaves = [s.requires_grad_(subject.carries_gradients) for s in scores]
    expected = discriminator_value(config.kind, *leaves), generator_value(config.kind, leaves[1])
    found = losses.discriminator_loss(*leaves), losses.generator_loss(leaves[1])
    where = f"at real scores {array(leaves[0])} and fake scores {array(leaves[1])}"
    for player, loss, value in zip(("discriminator", "generator"), found, expected, strict=True):
        largest_term = float(max(np.abs(array(s)).max() for s in leaves)) + 1
        size = largest_term**2 if config.kind == "least_squares" else largest_term
        allowed = guarded(dtype, length=4, scale=abs(value)) + rounding(dtype, length=4, scale=size)
        check.close(loss, value, allowed, f"the {config.kind} {player}'s loss {where}")
    if not subject.carries_gradients:
        return
    slopes = [*discriminator_slopes(config.kind, *leaves), generator_slopes(config.kind, leaves[1])]
    computed = [
        *gradients(found[0], leaves, what="discriminator's loss"),
        *gradients(found[1], leaves[1:], what="generator's loss"),
    ]
    names = (
        "the discriminator's loss in real",
        "the discriminator's loss in fake",
        "the generator's loss in fake",
    )
    for name, gradient, slope in zip(names, computed, slopes, strict=True):
        size = float(np.abs(slope).max())
        check.close(
            gradient,
            torch.as_tensor(slope),
            guarded(dtype, length=4, scale=size),
            f"the slope of {name} scores {where}",
        )


def _value_of_play(kind: str, real: Tensor, fake: Tensor) -> float:
    """What the discriminator wants large and the generator small."""
    if kind in LOGS:
        return -discriminator_value(kind, real, fake)
    return float(real.double().mean() - fake.double().mean())


@claim(
    "gan_losses.directions",
    r"V(s - \eta \nabla L_D) > V(s), \qquad V(\tilde s - \eta \nabla L_G) < V(\tilde s)",
    sources=[f"{GAN}, Algorithm 1", f"{LECTURE}, 'The GAN game'"],
    why=r"""What the discriminator wants large and the generator small, :math:`V`, is minus the
    cross-entropy in the logarithmic games and the gap :math:`\overline s - \overline{\tilde s}` in
    the others. Either one rises in every real score and falls in every fake one. So it is enough to
    know three signs:

    .. math::

        \frac{\partial L_D}{\partial s_i} < 0, \qquad \frac{\partial L_D}{\partial \tilde s_j} > 0, \qquad
        \frac{\partial L_G}{\partial \tilde s_j} < 0.

    A step of descent by the discriminator raises the real scores and lowers the fake ones, and
    :math:`V` goes up; one by the generator raises the fake scores, and :math:`V` goes down. The
    slopes given in ``gan_losses.discriminator_gradient`` and ``gan_losses.generator_gradient`` have
    these signs for scores in (0, 1): least squares pulls towards targets that lie at its ends, and
    the hinge is within its margin. The test takes steps of 0.01 and evaluates :math:`V` in NumPy.
    """,
    assumptions={
        "least squares: the scores lie between the targets 0 and 1": "a real score of 1.5 has the slope +0.5 and is pulled down to 1",
        "hinge: the scores lie within the margin": "with real scores above 1 and fake ones below -1 the slopes are zero and V stays",
    },
    sentence="move the game to their owner's advantage",
)
@given(
    config=games(),
    scores=score_pairs(
        lambda shape: st.lists(st.floats(0.05, 0.95), min_size=shape[0], max_size=shape[0]).map(
            lambda drawn: torch.tensor(drawn, dtype=torch.float64)
        ),
        ((3, 5), (1, 1)),
    ),
)
def test_a_step_on_either_loss_moves_the_game_to_its_owners_advantage(
    subject: Handle, device: str, dtype: torch.dtype, config: GanLossesConfig, scores: Any
) -> None:
    subject.needs_gradients()
    losses = subject.build(config)
    real, fake = (s.requires_grad_() for s in scores)
    before = _value_of_play(config.kind, real, fake)
    at_real, at_fake = gradients(
        losses.discriminator_loss(real, fake), [real, fake], what="discriminator's loss"
    )
    step = 0.01
    after = _value_of_play(config.kind, real - step * at_real, fake - step * at_fake)
    check.that(
        after > before,
        f"a step on the {config.kind} discriminator's loss lowered what it "
        f"maximises, from {before:.8g} to {after:.8g}",
    )
    (at_fake,) = gradients(losses.generator_loss(fake), [fake], what="generator's loss")
    after = _value_of_play(config.kind, real, fake - step * at_fake)
    check.that(
        after < before,
        f"a step on the {config.kind} generator's loss raised what it "
        f"minimises, from {before:.8g} to {after:.8g}",
    )
    check.that(
        bool((at_real < 0).all() and (at_fake < 0).all()),
        f"some score is pushed the wrong way: slopes {array(at_real)} at real scores in the "
        f"discriminator's loss, {array(at_fake)} at fake scores in the generator's; all must be < 0",
    )


@claim(
    "gan_losses.batch_sizes_may_differ",
    r"L_D(s_{1..N}, \tilde s_{1..M}) = \tfrac{1}{N M} \sum_{ij} L_D(s_i, \tilde s_j)",
    sources=[f"{GAN}, Algorithm 1"],
    why=r"""Every discriminator's loss here is a mean of a function :math:`a` over the real scores
    plus a mean of a function :math:`b` over the fake ones. Averaged over all pairs of a real and a
    fake item, each real term appears :math:`M` times and each fake term :math:`N` times:

    .. math::

        \frac{1}{NM} \sum_{i,j} \bigl( a(s_i) + b(\tilde s_j) \bigr)
            = \frac1N \sum_i a(s_i) + \frac1M \sum_j b(\tilde s_j).

    So the loss of two batches follows from the losses of single items, which the subject itself
    supplies: no formula is needed, and batches of unequal size, such as 3 and 5, tell. A mean over
    both batches joined would give the larger one more weight; a sum would grow with the batch, and
    the step with it. A batch that is repeated or shuffled counts no more than once: that holds for
    the generator's loss as well.
    """,
    assumptions={
        "the loss of an item does not depend on the other items": (
            "a relativistic loss, which compares each score with the other batch's mean, is no "
            "mean over pairs"
        ),
    },
    sentence="average each batch by itself",
)
@given(config=games(), scores=score_pairs(sizes=((3, 5), (1, 4), (4, 1))))
def test_each_batch_is_averaged_by_itself(
    subject: Handle, device: str, dtype: torch.dtype, config: GanLossesConfig, scores: Any
) -> None:
    losses = subject.build(config)
    real, fake = scores
    loss = losses.discriminator_loss(real, fake)
    allowed = 2 * _allowed(config.kind, dtype, 20.0)
    singles = [losses.discriminator_loss(r[None], f[None]) for r in real for f in fake]
    check.close(
        loss,
        torch.stack(singles).mean(),
        allowed,
        f"the loss of {len(real)} real and {len(fake)} fake scores, against its mean over pairs,",
    )
    check.close(
        losses.discriminator_loss(real.repeat(3), fake.flip(0)),
        loss,
        allowed,
        "the loss with the real batch three times over and the fake one reversed",
    )
    check.close(
        losses.generator_loss(fake.repeat(2)),
        losses.generator_loss(fake),
        allowed,
        "the generator's loss of a batch twice over",
    )


@claim(
    "gan_losses.has_no_memory",
    r"L_G(\tilde s) \text{ and } L_D(s, \tilde s) \text{ depend on their arguments alone}",
    sources=["contracts.md, gan_losses", f"{GAN}, Algorithm 1"],
    why="""The players alternate: the same object is called with the discriminator's scores, then
    with the generator's, thousands of times. A loss that keeps something of the last call (the mean
    of the last real batch to compare with, a running average of itself) is another function at
    every call: the generator's step depends on which real items came just before, a resumed run
    differs from one that was never interrupted, and evaluating the loss for a plot changes the
    training.

    The test needs no oracle but the subject itself. It takes the generator's loss of a batch, calls
    the discriminator's loss on other scores, and takes the first again: both must agree. The
    discriminator's loss after all these calls must be that of a fresh instance which has seen
    nothing.
    """,
    sentence="remember nothing of the other player",
)
@given(config=games(), scores=score_pairs(sizes=((3, 5),)), other=score_pairs(sizes=((4, 2),)))
def test_one_players_loss_remembers_nothing_of_the_others(
    subject: Handle,
    device: str,
    dtype: torch.dtype,
    config: GanLossesConfig,
    scores: Any,
    other: Any,
) -> None:
    losses = subject.build(config)
    alone = losses.generator_loss(scores[1])
    losses.discriminator_loss(*other)
    allowed = rounding(dtype, length=8, scale=20.0)
    check.close(
        losses.generator_loss(scores[1]),
        alone,
        allowed,
        "the generator's loss after a call of the discriminator's, against before,",
    )
    fresh = subject.build(config).discriminator_loss(*scores)
    check.close(
        losses.discriminator_loss(*scores),
        fresh,
        allowed,
        "the discriminator's loss after other calls, against the first call of a fresh instance,",
    )
