r"""Adversarial training: what the players' losses, the penalties and the norms must be."""

from __future__ import annotations

import copy
import math
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn

from spec_tests import check
from spec_tests.contracts.adversarial import BATCHES, KINDS, GanLossesConfig, normalised, settle
from spec_tests.contracts.critics import (
    FractionCritic,
    LinearCritic,
    LinearFunction,
    QuadraticCritic,
    SegmentCritic,
    linear_critics,
    quadratic_critics,
)
from spec_tests.contracts.normalisable_layers import (
    as_matrix,
    largest,
    layers,
    networks,
    rank_one_layers,
)
from spec_tests.handle import Handle
from spec_tests.judge import stratified
from spec_tests.numerics import gradients
from spec_tests.registry import Unsupported, claim
from spec_tests.strategies import normals, reals, simplex_pairs, simplexes
from spec_tests.tolerance import guarded, rounding

GAN = "Goodfellow et al. 2014, Generative Adversarial Networks"
WGAN = "Arjovsky, Chintala, Bottou 2017, Wasserstein GAN"
WGAN_GP = "Gulrajani et al. 2017, Improved Training of Wasserstein GANs"
SN = "Miyato et al. 2018, Spectral Normalization for GANs"
R1 = "Mescheder, Geiger, Nowozin 2018, Which Training Methods for GANs do actually Converge?"
LSGAN = "Mao et al. 2016, Least Squares GANs"
LECTURE = "CS182 L19"
LOGS = ("minimax", "non_saturating")


# The losses of the game --------------------------------------------------------------------------


def _array(x: Tensor) -> np.ndarray[Any, Any]:
    return x.detach().double().cpu().numpy()


def _log_sigmoid(s: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """``log sigmoid(s)``, exact at any size."""
    return -np.logaddexp(0.0, -s)


def _sigmoid(s: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.exp(_log_sigmoid(s))


def discriminator_value(kind: str, real: Tensor, fake: Tensor) -> np.float64:
    """The discriminator's loss by its definition, in float64."""
    r, f = _array(real), _array(fake)
    if kind in LOGS:
        return np.float64(-_log_sigmoid(r).mean() - _log_sigmoid(-f).mean())
    if kind == "least_squares":
        return np.float64(((r - 1) ** 2).mean() / 2 + (f**2).mean() / 2)
    if kind == "wasserstein":
        return np.float64(f.mean() - r.mean())
    return np.float64(np.maximum(0, 1 - r).mean() + np.maximum(0, 1 + f).mean())


def generator_value(kind: str, fake: Tensor) -> np.float64:
    """The generator's loss by its definition, in float64."""
    f = _array(fake)
    if kind == "minimax":
        return np.float64(_log_sigmoid(-f).mean())
    if kind == "non_saturating":
        return np.float64(-_log_sigmoid(f).mean())
    if kind == "least_squares":
        return np.float64(((f - 1) ** 2).mean() / 2)
    return np.float64(-f.mean())


def discriminator_slopes(kind: str, real: Tensor, fake: Tensor) -> tuple[Any, Any]:
    """The derivatives of the discriminator's loss in each score, in float64."""
    r, f = _array(real), _array(fake)
    slopes = {
        "least_squares": (r - 1, f),
        "wasserstein": (-np.ones_like(r), np.ones_like(f)),
        "hinge": (-(r < 1).astype(float), (f > -1).astype(float)),
    }.get(kind, (-_sigmoid(-r), _sigmoid(f)))
    return slopes[0] / len(r), slopes[1] / len(f)


def generator_slopes(kind: str, fake: Tensor) -> Any:
    """The derivatives of the generator's loss in each score, in float64."""
    f = _array(fake)
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
    r"L_D = -\overline{\log \sigma(s)} - \overline{\log(1 - \sigma(\tilde s))}",
    sources=[f"{GAN}, Equation 1", f"{LECTURE}, 'Small GAN details'"],
    why="""The discriminator is a classifier of real (label 1) against fake (label 0), and its loss is
    the binary cross-entropy, the mean over the real batch plus the mean over the fake one. The oracle
    is ``logaddexp(0, -s)`` in NumPy.""",
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
        f"the {config.kind} discriminator's loss at real scores {_array(scores[0])} and fake "
        f"scores {_array(scores[1])}",
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
    r"L_D = -V(D, G), \quad L_G = V(D, G) - \mathbb E_{p} \log D, \qquad "
    r"V = \mathbb E_{p} \log D + \mathbb E_{q} \log (1 - D)",
    sources=[f"{GAN}, Equation 1", f"{LECTURE}, 'The GAN game'"],
    why="""Batches in which every point of a finite space occurs as often as the distributions say
    turn the means into exact expectations. The discriminator minimises minus the value; the minimax
    generator minimises the part of the value that depends on its samples, so that the two losses
    add up to what no generator can change; and no scores make the discriminator's loss lower than
    log p/q do, where it is log 4 - 2 JS(p, q).""",
)
@given(config=games(LOGS), table=_tables())
def test_the_losses_are_the_value_of_the_game(
    subject: Handle, device: str, dtype: torch.dtype, config: GanLossesConfig, table: Any
) -> None:
    real_counts, fake_counts, scores = table
    losses = subject.build(config)
    p, q = (_array(c) / float(c.sum()) for c in (real_counts, fake_counts))
    real, fake = (scores.repeat_interleave(c) for c in (real_counts, fake_counts))
    d = 1 / (1 + np.exp(-_array(scores)))
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
    r"\frac{\partial L_D}{\partial \tilde s_j} = \frac{\sigma(\tilde s_j)}{M}",
    sources=[f"{GAN}, Algorithm 1", f"{LSGAN}, Equation 2", f"{WGAN}, Algorithm 1"],
    why="""Both batches teach the discriminator, each item with the weight of its own batch. For
    least squares the slopes are (s - 1)/N and s/M, for the critic -1/N and 1/M, and for the hinge
    the same inside the margin and zero beyond.""",
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
    r"\text{minimax: } -\sigma(s), \qquad \text{non-saturating: } -(1 - \sigma(s))",
    sources=[f"{GAN}, Section 3", f"{LECTURE}, 'Small GAN details'"],
    why="""Early in learning the discriminator rejects every sample, s is very negative, and the slope
    of log(1 - sigma(s)) is -sigma(s), next to nothing: the minimax loss saturates. That of
    -log sigma(s) is -(1 - sigma(s)), next to -1: the full signal. For least squares it is s - 1,
    for the critic and the hinge -1, all divided by M.""",
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
        f"the slope of the {config.kind} generator's loss at scores {_array(scores)}",
    )


@claim(
    "gan_losses.least_squares_optimum",
    r"\arg\min_s L_D = \frac{p}{p + q}, \qquad \min_s L_D = \tfrac14 \bigl(1 - "
    r"\chi^2_{\text{Pearson}}(p \,\|\, \tfrac{p + q}{2})\bigr)",
    sources=[f"{LSGAN}, Section 3.2"],
    why="""With target 1 for real and 0 for fake the loss at a point is half of p (s - 1)^2 + q s^2,
    least at s = p/(p + q), where it is half of pq/(p + q). With m = (p + q)/2, pq is
    m^2 - (p - m)^2, so the sum is (1 - chi^2(p || m))/4. A move d of the scores costs half of
    (p + q) d^2 more.""",
)
@given(table=_tables())
def test_least_squares_is_solved_by_the_posterior_and_measures_chi_square(
    subject: Handle, device: str, dtype: torch.dtype, table: Any
) -> None:
    real_counts, fake_counts, move = table
    losses = subject.build(GanLossesConfig("least_squares"))
    p, q = (_array(c) / float(c.sum()) for c in (real_counts, fake_counts))
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
    away = best + _array(move)
    rise = np.float64(((p + q) * _array(move) ** 2).sum()) / 2
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
    why="""The critic's loss is a difference of means: linear in the scores, blind to a constant that
    is added to all of them, and without a logarithm or a squashing. It equals
    mean(fake) - mean(real).""",
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
    r"L_D = \overline{(1 - s)_+} + \overline{(1 + \tilde s)_+}, \qquad "
    r"s \ge 1,\ \tilde s \le -1 \;\Rightarrow\; L_D = 0",
    sources=["Lim, Ye 2017, Geometric GAN, Equation 13", f"{SN}, Equation 16"],
    why="""The discriminator is content once every score is beyond the margin: the loss is exactly
    zero there, and no score within it is. The generator's loss -mean(fake) has no margin and
    never saturates.""",
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
    r"-\log \sigma(-10^4) = 10^4, \qquad \frac{d}{ds} \log \sigma(s) \Big|_{-10^4} = 1",
    sources=["contracts.md, gan_losses: scores are raw outputs", f"{GAN}, Section 3"],
    why="""sigma(-1e4) rounds to zero and sigma(40) to one, so a logarithm taken after the sigmoid is
    infinite, or, with a guard, flat: the value is wrong and the gradient is gone exactly where the
    generator needs it. In terms of the score, -log sigma(s) = log(1 + e^-s) is exact at any size.""",
)
@given(config=games(), scores=score_pairs(_extremes, ((2, 3), (1, 1))))
def test_scores_of_any_size_give_the_right_values_and_gradients(
    subject: Handle, device: str, dtype: torch.dtype, config: GanLossesConfig, scores: Any
) -> None:
    losses = subject.build(config)
    leaves = [s.requires_grad_(subject.carries_gradients) for s in scores]
    expected = discriminator_value(config.kind, *leaves), generator_value(config.kind, leaves[1])
    found = losses.discriminator_loss(*leaves), losses.generator_loss(leaves[1])
    where = f"at real scores {_array(leaves[0])} and fake scores {_array(leaves[1])}"
    for player, loss, value in zip(("discriminator", "generator"), found, expected, strict=True):
        largest_term = float(max(np.abs(_array(s)).max() for s in leaves)) + 1
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
    why="""Each player minimises its own loss: a small step of descent by the discriminator raises
    what it tells apart, one by the generator lowers it. Among scores in (0, 1) the least-squares
    targets lie on the outside, and between -1 and 1 the hinge is active; there all games agree on
    the direction, score by score.""",
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
        f"some score is pushed the wrong way: slopes {_array(at_real)} at real scores in the "
        f"discriminator's loss, {_array(at_fake)} at fake scores in the generator's; all must be < 0",
    )


@claim(
    "gan_losses.batch_sizes_may_differ",
    r"L_D(s_{1..N}, \tilde s_{1..M}) = \tfrac{1}{N M} \sum_{ij} L_D(s_i, \tilde s_j)",
    sources=[f"{GAN}, Algorithm 1"],
    why="""Each batch has its own mean. Then the loss is the mean over all pairs of single items, and a
    batch that is repeated, or shuffled, counts no more than once; a mean over the two batches
    concatenated weighs the larger one more.""",
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
    why="""The players alternate, and a loss that remembers the other's last batch (to compare with it,
    or to smooth over steps) is another function at every call.""",
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


# The gradient penalty ----------------------------------------------------------------------------

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
    why="""The gradient of a linear critic is w wherever it is taken, so the penalty is known without
    knowing where. The critic may be a module or a plain function.""",
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
    r"P = 0 \iff \lVert \nabla f \rVert = 1, \qquad P(a f) = (|a| - 1)^2 \text{ for unit slope}",
    sources=[f"{WGAN_GP}, Section 4, 'Two-sided penalty'"],
    why="""The distance from a far point has slope one everywhere, along another direction at every
    item: its penalty is zero. Scaled by a it is (|a| - 1)^2, and below one as much as above: the
    penalty is two-sided.""",
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
    r"P = \tfrac1N \textstyle\sum_i \bigl( \lVert \nabla_{x_i} f(x_i) \rVert_2 - 1 \bigr)^2, \quad "
    r"\lVert g \rVert_2^2 = \sum_{c, h, w} g_{chw}^2",
    sources=[f"{WGAN_GP}, Equation 3 and Algorithm 1"],
    why="""Where the pair is one point the segment is too, and the gradient A x + b of a quadratic
    critic is known at it, different for each item. The norm is taken over all numbers of an event,
    whatever its shape, and the mean over the items after the square.""",
)
@given(case=batches_of_events((*SHAPES, (3, 2, 2))))
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
        f"{_array(slopes)}",
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
    r"\hat x_i = (1 - t) x_i + t \tilde x_i \text{ for some } t \in [0, 1]",
    sources=[f"{WGAN_GP}, Algorithm 1, line 6", f"{LECTURE}, 'Wasserstein GAN'"],
    why="""A critic that has slope one on the segments of the pairs, and is steeper wherever one leaves
    them (sideways or past either end), is penalised exactly if some point lies elsewhere: with a
    fraction for every pixel, with another item's partner, or beyond the ends.""",
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
    scaled = _array(gradient) * count / 2
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
    why="""A critic with one parameter for each item, x_1^2 theta_j / 2, makes the derivative of the
    penalty in theta_j tell where item j was evaluated. By the Dvoretzky-Kiefer-Wolfowitz inequality
    the empirical distribution of n fractions is farther than sqrt(log(2/a)/2n) from the uniform one
    with probability at most a = 1e-13. One call with many items, and many calls with one.""",
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
    r"\mathbb E\,[(2 t_i - 1)(2 t_j - 1)] = 0 \text{ for } i \ne j",
    sources=[f"{WGAN_GP}, Algorithm 1, line 4"],
    why="""The products over disjoint pairs of items are independent, lie in [-1, 1] and have mean
    zero, so by Hoeffding's inequality the mean of n exceeds sqrt(2 log(2/a)/n) with probability at
    most a = 1e-13. Neighbours, items half a batch apart, and items of two calls; shared, repeated,
    mirrored or evenly spaced fractions have a mean of +-1/3.""",
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
    r"\nabla_w (\lVert w \rVert - 1)^2 = 2 (\lVert w \rVert - 1) \frac{w}{\lVert w \rVert}",
    sources=[f"{WGAN_GP}, Algorithm 1, lines 7 and 9"],
    why="""The penalty is a loss of the critic: its derivative in the critic's parameters goes through
    the gradient by the input, which must have been computed with a graph of its own. Closed forms
    for a linear critic, and for a quadratic one where the pair is one point, by ``backward``.""",
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
    why="""A dead or constant critic has gradient zero, and the penalty is 1. The root in the norm has
    an infinite slope there: without a guard or a norm that knows its subgradient, 0 * inf = NaN
    reaches every parameter.""",
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
    why="""In a training step the fakes come out of the generator with their graph, and real data may
    be leaves that ask for gradients. The penalty is the same, its gradient reaches the critic, and
    the tensors keep their place in the caller's graph.""",
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


# The R1 penalty ----------------------------------------------------------------------------------


@claim(
    "r1_penalty.quadratic_discriminator",
    r"D(x) = \tfrac12 x^\top A x + b^\top x \;\Rightarrow\; R_1 = \tfrac{1}{2N} \sum_i "
    r"\lVert A x_i + b \rVert_2^2",
    sources=[f"{R1}, Equation 9"],
    why="""The gradient of a quadratic is known at every item. Squares are summed over all numbers of
    an event and averaged over the items, and the half belongs to the penalty.""",
)
@given(case=batches_of_events((*SHAPES, (3, 2, 2))), plain=st.booleans())
def test_the_penalty_is_half_the_mean_squared_gradient(
    subject: Handle, device: str, dtype: torch.dtype, case: dict[str, Any], plain: bool
) -> None:
    form, real = case["quadratic"], case["real"]
    squares = _array(form.gradient_at(real).double().square().sum(1))
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
    why="""A discriminator that is flat at the data and steep everywhere else is not penalised: the
    gradient is taken at the real items themselves, not near them, nor on the way to the fakes.
    Tilted by w at the data, it is penalised by half of ||w||^2.""",
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
    r"\nabla_b R_1 = \tfrac1N \sum_i (A x_i + b)",
    sources=[f"{R1}, Equation 9"],
    why="""The penalty regularises the discriminator's parameters, so the gradient by the input needs a
    graph of its own. Closed forms for w of a linear and b of a quadratic discriminator.""",
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
    why="""The penalty is a sum of squares: where the discriminator is flat it is zero and so is its
    gradient in the parameters. A detour through a root (norm, then square) makes that 0 * inf.""",
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


# Spectral normalisation --------------------------------------------------------------------------

MAKES = (
    "wide",
    "tall",
    "one output",
    "one input",
    "conv",
    "grouped",
    "pointwise",
    "transposed",
    "transposed, fewer outputs",
)


def weighted_layers(makes: tuple[str, ...] = MAKES, gap: float = 0.6) -> Any:
    """Layers of each make, with a batch to run forwards on."""
    return stratified([layers(make, gap) for make in makes])


def _raw(layer: nn.Module, shape: torch.Size) -> nn.Parameter:
    """The trainable parameter behind the weight, whatever it is called."""
    for parameter in layer.parameters():
        if parameter.shape == shape and parameter.requires_grad:
            return parameter
    raise Unsupported("no trainable parameter has the shape of the weight")


def _with_weight(layer: nn.Module, weight: Tensor, x: Tensor) -> Tensor:
    """What the layer as it was handed over computes with another weight."""
    result: Tensor = torch.func.functional_call(layer, {"weight": weight}, (x,))
    return result


def _judge_gradient(subject: Handle, layer: nn.Module, made: nn.Module, x: Tensor) -> None:
    """The gradient in the trainable weight is that of the layer with W / sigma(W), exactly."""
    raw = _raw(made, layer.weight.shape)
    output = subject.guarded(lambda: made(x))
    cotangent = torch.randn_like(output)
    (found,) = gradients((cotangent * output).sum(), [raw], what="normalised layer's output")
    exact = raw.detach().clone().requires_grad_()
    sigma = torch.linalg.matrix_norm(as_matrix(layer, exact), 2)
    loss = (cotangent * _with_weight(layer, exact / sigma, x)).sum()
    (expected,) = torch.autograd.grad(loss, exact)
    allowed = guarded(raw.dtype, length=32) * (float(expected.abs().max()) + 1 / float(sigma))
    check.close(
        found, expected, allowed, "the gradient in the trainable weight, against W / sigma(W),"
    )


@claim(
    "spectral_norm.unit_norm",
    r"\sigma(W / \sigma(W)) = 1",
    sources=[f"{SN}, Equation 8", f"{LECTURE}, 'Spectral norm'"],
    why="""After enough forwards in training mode the largest singular value of ``.weight``, output
    channels as rows, is one, whether the original was larger or smaller, and it stays so in eval
    mode. The oracle is a singular value decomposition.""",
)
@given(case=weighted_layers())
def test_the_largest_singular_value_becomes_one(
    subject: Handle, device: str, dtype: torch.dtype, case: dict[str, Any]
) -> None:
    layer, x = case["layer"], case["x"]
    original = float(largest(layer, layer.weight))
    made = normalised(subject, layer)
    weight = settle(subject, made, x)
    about = f"(the original's was {original:.6g})"
    check.close(
        largest(layer, weight),
        1.0,
        guarded(dtype, length=16),
        f"the largest singular value after training-mode forwards {about}",
    )
    made.eval()
    subject.guarded(lambda: made(x))
    check.close(
        largest(layer, made.weight),
        1.0,
        guarded(dtype, length=16),  # type: ignore[arg-type]
        f"the largest singular value in eval mode {about}",
    )


@claim(
    "spectral_norm.keeps_direction",
    r"\bar W = W / \sigma(W), \qquad \bar W \text{ acts with the layer's own bias, stride, padding}",
    sources=[f"{SN}, Equation 8"],
    why="""Normalising divides the whole weight by one number: it clips no singular value and leaves a
    weight with a small one no smaller than one with a large. The forward uses the normalised
    weight, and bias, stride, padding, dilation and groups are the layer's own.""",
)
@given(case=weighted_layers())
def test_the_weight_is_divided_by_one_number_and_the_rest_of_the_layer_is_kept(
    subject: Handle, device: str, dtype: torch.dtype, case: dict[str, Any]
) -> None:
    layer, x = case["layer"], case["x"]
    made = normalised(subject, layer)
    weight = settle(subject, made, x)
    exact = layer.weight.detach() / largest(layer, layer.weight).to(layer.weight)
    check.close(weight, exact, guarded(dtype, length=16), "the normalised weight, W / sigma(W),")
    for mode in (True, False):
        made.train(mode)
        found = subject.guarded(lambda: made(x))
        expected = _with_weight(layer, exact, x).detach()
        check.close(
            found,
            expected,
            guarded(dtype, length=32, scale=float(expected.abs().max())),
            f"the output of the normalised layer in {'train' if mode else 'eval'} mode",
        )


@claim(
    "spectral_norm.transposed_layout",
    r"\sigma\bigl(\bar w \text{ as } C_{\text{out}} \times (C_{\text{in}} k_h k_w)\bigr) = 1",
    sources=[f"{SN}, Section 2.1", "torch.nn.ConvTranspose2d: weight (in, out / groups, kh, kw)"],
    why="""A transposed convolution stores its input channels first. Flattened as it is stored the
    matrix is another, with another largest singular value, even where both channel counts agree.""",
)
@given(case=weighted_layers(("transposed", "transposed, fewer outputs")))
def test_transposed_convolutions_have_their_output_channels_as_rows(
    subject: Handle, device: str, dtype: torch.dtype, case: dict[str, Any]
) -> None:
    layer, x = case["layer"], case["x"]
    weight = settle(subject, normalised(subject, layer), x)
    stored = float(torch.linalg.matrix_norm(weight.flatten(1).double(), 2))
    check.close(
        largest(layer, weight),
        1.0,
        guarded(dtype, length=16),
        f"the largest singular value with output channels as rows (it is {stored:.6g} with input "
        f"channels as rows)",
    )


@claim(
    "spectral_norm.gradient_through_sigma",
    r"\frac{\partial L}{\partial W} = \frac{1}{\sigma} \bigl( G - \langle G, \bar W \rangle\, "
    r"u v^\top \bigr), \qquad G = \frac{\partial L}{\partial \bar W}",
    sources=[f"{SN}, Equation 12 and Section 2.1"],
    why="""The normalised weight does not change when W is scaled, so the gradient in W has no component
    along W: the term u v^T is the derivative of sigma. Treating sigma as a constant loses it. Judged
    on the trainable parameter, against autograd through an exact singular value.""",
)
@given(case=weighted_layers(gap=0.4))
def test_the_gradient_goes_through_the_norm(
    subject: Handle, device: str, dtype: torch.dtype, case: dict[str, Any]
) -> None:
    subject.needs_gradients()
    layer, x = case["layer"], case["x"]
    made = normalised(subject, layer)
    settle(subject, made, x)
    _judge_gradient(subject, layer, made, x)


@claim(
    "spectral_norm.eval_is_frozen",
    r"\text{eval: } \bar W_{k+1} = \bar W_k, \quad \text{state}_{k+1} = \text{state}_k",
    sources=[f"{SN}, Algorithm 1", "contracts.md, conventions: what a mode may change"],
    why="""Power iterations belong to training. In eval mode the layer is a fixed function: any number
    of forwards leaves the weight, the output and the state dict bit for bit as they were, also long
    before the estimate has converged.""",
)
@given(
    case=weighted_layers(("wide", "tall", "conv", "transposed"), gap=0.95), warm=st.integers(1, 3)
)
def test_eval_mode_changes_nothing(
    subject: Handle, device: str, dtype: torch.dtype, case: dict[str, Any], warm: int
) -> None:
    layer, x = case["layer"], case["x"]
    made = normalised(subject, layer)
    settle(subject, made, x, forwards=warm)
    with torch.no_grad():  # another weight, as after a large step: the estimate is stale
        _raw(made, layer.weight.shape).copy_(torch.randn_like(layer.weight))
    settle(subject, made, x, forwards=1)
    made.eval()
    output = subject.guarded(lambda: made(x)).detach().clone()
    weight = made.weight.detach().clone()  # type: ignore[operator, union-attr]
    state = {k: v.clone() for k, v in made.state_dict().items() if isinstance(v, Tensor)}
    for _ in range(4):
        subject.guarded(lambda: made(x + 1))
    check.equal(made.weight.detach(), weight, "the weight after forwards in eval mode")  # type: ignore[operator, union-attr]
    for name, value in made.state_dict().items():
        if name in state:
            check.equal(value, state[name], f"{name} of the state dict after forwards in eval mode")
    check.equal(subject.guarded(lambda: made(x)), output, "the output after forwards in eval mode")


@claim(
    "spectral_norm.follows_training",
    r"W \to W' \;\Rightarrow\; \bar W \to W' / \sigma(W')",
    sources=[f"{SN}, Algorithm 1"],
    why="""The norm is that of the weight as it is now. After steps of an optimiser on the layer's
    parameters, and further forwards, the largest singular value is one again and the direction is
    that of the new weight: the estimate is neither computed once and kept nor lost.""",
)
@given(case=weighted_layers(("wide", "tall", "one output", "conv", "transposed")))
def test_the_norm_follows_the_weight_through_training(
    subject: Handle, device: str, dtype: torch.dtype, case: dict[str, Any]
) -> None:
    subject.needs_gradients()
    layer, x = case["layer"], case["x"]
    made = normalised(subject, layer)
    settle(subject, made, x, forwards=3)
    raw = _raw(made, layer.weight.shape)
    before = raw.detach().clone()
    optimizer = torch.optim.SGD(made.parameters(), lr=1.0)
    for _ in range(2):
        optimizer.zero_grad()
        loss = subject.guarded(lambda: made(x).square().mean())
        subject.guarded(loss.backward)
        if raw.grad is not None:
            raw.grad.mul_(0.5 * raw.detach().norm() / raw.grad.norm().clamp_min(1e-30))
        optimizer.step()
    check.that(
        float((raw.detach() - before).norm()) > 1e-3 * float(before.norm()),
        "an optimiser's steps on the layer's parameters leave its weight where it was",
    )
    values = torch.linalg.svdvals(as_matrix(layer, raw.detach()).double())
    if len(values) > 1 and values[1] > 0.9 * values[0]:
        return  # a thousand forwards need not tell two nearly equal singular values apart
    weight = settle(subject, made, x)
    check.close(
        weight,
        raw.detach() / values[0].to(raw),
        guarded(dtype, length=16),
        "the normalised weight after two steps of an optimiser and more forwards, W' / sigma(W'),",
    )


@claim(
    "spectral_norm.state_round_trips",
    r"\bar W(\text{load}(\text{state})) = \bar W",
    sources=[
        f"{SN}, Algorithm 1",
        "contracts.md, conventions: after its state dict went into a fresh instance",
    ],
    why="""The singular vectors are state: without them a layer loaded for evaluation divides by the
    quadratic form of random vectors. A fresh layer with another weight loads the state dict and in
    eval mode computes what the old one does, also before the estimate has converged.""",
)
@given(
    case=weighted_layers(("wide", "tall", "one output", "conv", "grouped", "transposed"), gap=0.9),
    warm=st.sampled_from([1, 2, 60]),
)
def test_a_fresh_layer_computes_the_same_from_the_state_dict(
    subject: Handle, device: str, dtype: torch.dtype, case: dict[str, Any], warm: int
) -> None:
    layer, x = case["layer"], case["x"]
    made = normalised(subject, layer)
    settle(subject, made, x, forwards=warm)
    made.eval()
    expected = subject.guarded(lambda: made(x)).detach().clone()
    state = {k: v.clone() if isinstance(v, Tensor) else v for k, v in made.state_dict().items()}
    other = copy.deepcopy(layer)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.copy_(torch.randn_like(parameter))
    fresh = normalised(subject, other)
    missing, unexpected = subject.guarded(lambda: fresh.load_state_dict(state, strict=False))
    lost = [*missing, *unexpected]
    check.that(not lost, f"the state dict of one layer does not fit another: {lost}")
    fresh.eval()
    check.close(
        subject.guarded(lambda: fresh(x)),
        expected,
        rounding(dtype, length=32, scale=1 + float(expected.abs().max())),
        f"the output of a fresh layer that loaded the state dict after {warm} forwards",
    )


@claim(
    "spectral_norm.power_iteration_monotone",
    r"|\sigma(\bar W_{k+1}) - 1| \le |\sigma(\bar W_k) - 1| \to 0",
    sources=[f"{SN}, Algorithm 1", "Golub, Van Loan, Matrix Computations, §8.2.1"],
    why="""A step of power iteration never lowers the estimate u . W v of sigma, and the estimate never
    exceeds sigma: the norm of the effective weight falls towards one. Started afresh by another
    weight put in place of the first, so that the vectors know nothing of it.""",
)
@given(case=weighted_layers(("wide", "tall", "conv", "transposed")), seed=st.integers(0, 2**31 - 1))
def test_every_forward_improves_the_estimate(
    subject: Handle, device: str, dtype: torch.dtype, case: dict[str, Any], seed: int
) -> None:
    layer, x = case["layer"], case["x"]
    made = normalised(subject, layer)
    settle(subject, made, x, forwards=3)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(layer.weight.shape[-1], generator=generator)
    rows = torch.randperm(as_matrix(layer, layer.weight).shape[0], generator=generator)
    with torch.no_grad():  # the same singular values, other vectors
        raw = _raw(made, layer.weight.shape)
        shuffled = layer.weight.detach()[..., order]
        raw.copy_(shuffled[:, rows] if isinstance(layer, nn.ConvTranspose2d) else shuffled[rows])
    errors = []
    for _ in range(12):
        weight = settle(subject, made, x, forwards=1)
        errors.append(abs(float(largest(layer, weight)) - 1))
    for index in range(1, len(errors)):
        check.at_most(
            errors[index],
            errors[index - 1],
            guarded(dtype, length=16),
            f"the distance of the largest singular value from one after {index + 1} forwards",
        )
    check.close(
        largest(layer, settle(subject, made, x)),
        1.0,
        guarded(dtype, length=16),
        "the largest singular value once the estimate has come to rest",
    )


@claim(
    "spectral_norm.survives_rank_one",
    r"W = s\, a b^\top \;\Rightarrow\; \bar W = a b^\top, \quad |\nabla| < \infty",
    sources=[f"{SN}, Section 2.1"],
    why="""An outer product has one singular value and all others are zero: power iteration is there in
    one step, and neither the value nor the gradient may divide by a difference of the zeros. Dead
    outputs, whose rows are zero, make them exact.""",
)
@given(
    case=stratified(
        [
            rank_one_layers(m)
            for m in ("wide", "tall", "one output", "conv", "pointwise", "transposed")
        ]
    )
)
def test_outer_products_are_normalised_and_have_their_gradient(
    subject: Handle, device: str, dtype: torch.dtype, case: dict[str, Any]
) -> None:
    layer, x = case["layer"], case["x"]
    made = normalised(subject, layer)
    weight = settle(subject, made, x)
    exact = layer.weight.detach() / largest(layer, layer.weight).to(layer.weight)
    check.close(weight, exact, guarded(dtype, length=16), "the normalised weight of rank one")
    if not subject.carries_gradients:
        return
    _judge_gradient(subject, layer, made, x)


# Weight clipping ---------------------------------------------------------------------------------


def clippings(makes: tuple[str, ...] = ("patchwork", "layer", "sequence", "empty")) -> Any:
    """Modules and bounds, from far below the weights to far above."""
    bounds = st.sampled_from([1e-6, 0.01, 0.3, 2.0, 1e6])
    return stratified([st.tuples(networks(make), bounds) for make in makes])


def _clip(subject: Handle, module: nn.Module, bound: float) -> None:
    result = subject(module, bound)
    check.that(result is None, f"clip_weights returned {type(result).__name__}, expected None")


def _copies(tensors: Any) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors}


@claim(
    "clip_weights.in_range",
    r"\theta \leftarrow \max(-c, \min(c, \theta)) \text{ for every parameter}",
    sources=[f"{WGAN}, Algorithm 1, line 7", f"{LECTURE}, 'Wasserstein GAN'"],
    why="""Every entry of every parameter (weights, biases, gains; nested, shared or frozen) goes to the
    nearest point of [-c, c]: what is outside to the end on its own side. Scaling, zeroing or
    clipping the norm would also bound the weights, and give others.""",
)
@given(case=clippings())
def test_every_parameter_moves_to_the_nearest_point_of_the_box(
    subject: Handle, device: str, dtype: torch.dtype, case: tuple[nn.Module, float]
) -> None:
    module, bound = case
    before = _copies(module.named_parameters())
    _clip(subject, module, bound)
    after = dict(module.named_parameters())
    check.that(list(after) == list(before), f"the parameters {list(before)} became {list(after)}")
    for name, old in before.items():
        check.close(
            after[name],
            old.clamp(-bound, bound),
            rounding(dtype, scale=min(bound, 1e3)),
            f"{name}, clipped to [-{bound}, {bound}],",
        )


@claim(
    "clip_weights.idempotent",
    r"\text{clip}_c \circ \text{clip}_c = \text{clip}_c, \qquad "
    r"\text{clip}_a \circ \text{clip}_b = \text{clip}_{\min(a, b)}",
    sources=[f"{WGAN}, Algorithm 1, line 7"],
    why="""A projection does nothing to what is already there: clipping twice is clipping once, bit for
    bit, and of two bounds the smaller decides.""",
)
@given(case=clippings(("patchwork", "layer", "sequence")), wider=st.sampled_from([1.0, 3.0]))
def test_clipping_twice_is_clipping_once(
    subject: Handle, device: str, dtype: torch.dtype, case: tuple[nn.Module, float], wider: float
) -> None:
    module, bound = case
    other = copy.deepcopy(module)
    _clip(subject, module, bound)
    once = _copies(module.named_parameters())
    _clip(subject, module, wider * bound)
    for name, parameter in module.named_parameters():
        check.equal(parameter.detach(), once[name], f"{name} after a second clipping")
    _clip(subject, other, wider * bound)
    _clip(subject, other, bound)
    for name, parameter in other.named_parameters():
        check.equal(
            parameter.detach(), once[name], f"{name}, clipped to {wider * bound}, then {bound},"
        )


@claim(
    "clip_weights.leaves_small_weights_alone",
    r"|\theta| \le c \;\Rightarrow\; \theta \text{ unchanged}",
    sources=[f"{WGAN}, Algorithm 1, line 7"],
    why="""What lies in the box stays bit for bit as it is, next to others that are clipped: nothing is
    rescaled. Bounds as wide as the weights change nothing at all.""",
)
@given(case=clippings(("patchwork", "layer", "sequence")))
def test_weights_within_the_bound_stay_bit_for_bit(
    subject: Handle, device: str, dtype: torch.dtype, case: tuple[nn.Module, float]
) -> None:
    module, bound = case
    before = _copies(module.named_parameters())
    widest = max(float(value.abs().max()) for value in before.values())
    _clip(subject, module, widest)
    for name, parameter in module.named_parameters():
        check.equal(parameter.detach(), before[name], f"{name}, with a bound that nothing exceeds,")
    _clip(subject, module, bound)
    for name, parameter in module.named_parameters():
        inside = before[name].abs() <= 0.999 * bound
        check.equal(
            parameter.detach()[inside],
            before[name][inside],
            f"the entries of {name} that lie within {bound}",
        )


@claim(
    "clip_weights.leaves_buffers_alone",
    r"\text{buffers unchanged}",
    sources=["contracts.md, clip_weights", f"{WGAN}, Algorithm 1, line 7"],
    why="""Only what is trained is clipped. The running statistics of batch normalisation are estimates
    of the data's mean and variance: clipped to 0.01 they would make the network another in eval
    mode. So would a change of mode.""",
)
@given(case=clippings(("patchwork",)), training=st.booleans())
def test_buffers_and_modes_stay_as_they_are(
    subject: Handle, device: str, dtype: torch.dtype, case: tuple[nn.Module, float], training: bool
) -> None:
    module, bound = case
    module.train(training)
    before = _copies(module.named_buffers())
    _clip(subject, module, bound)
    after = dict(module.named_buffers())
    check.that(list(after) == list(before), f"the buffers {list(before)} became {list(after)}")
    for name, old in before.items():
        check.equal(after[name], old, f"the buffer {name}, after clipping to {bound},")
    check.that(
        all(m.training == training for m in module.modules()), "clipping changed the module's mode"
    )


@claim(
    "clip_weights.keeps_the_parameters",
    r"\theta \text{ is the same Parameter, with its } \texttt{.grad} \text{ and } "
    r"\texttt{requires\_grad}",
    sources=["contracts.md, clip_weights: in place", f"{WGAN}, Algorithm 1, line 7"],
    why="""The optimiser holds the Parameter objects: new ones in their place would never be trained
    again. Gradients, the flags of frozen parameters, and weights that two layers share survive, and
    the next step of the optimiser moves the module.""",
)
@given(case=clippings(("patchwork", "layer", "sequence")))
def test_the_parameters_are_changed_in_place(
    subject: Handle, device: str, dtype: torch.dtype, case: tuple[nn.Module, float]
) -> None:
    module, bound = case
    before = dict(module.named_parameters(remove_duplicate=False))
    flags = {name: p.requires_grad for name, p in before.items()}
    for p in before.values():
        p.grad = torch.full_like(p, 0.5)
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=bound)
    _clip(subject, module, bound)
    after = dict(module.named_parameters(remove_duplicate=False))
    for name, p in before.items():
        check.that(after.get(name) is p, f"{name} is another Parameter now: optimisers lose it")
        check.that(p.requires_grad == flags[name], f"clipping changed requires_grad of {name}")
        check.that(
            p.is_leaf and p.grad_fn is None, f"{name} is no leaf of autograd's graph any more"
        )
        check.that(
            p.grad is not None and bool((p.grad == 0.5).all()),
            f"clipping changed the .grad of {name}",
        )
    old = _copies(after.items())
    optimizer.step()
    moved = {name for name, p in after.items() if not torch.equal(p.detach(), old[name])}
    still = {name for name in after if flags[name]} - moved
    check.that(not still, f"an optimiser made before the clipping does not move {sorted(still)}")


# Theory: the game --------------------------------------------------------------------------------


def _js(p: np.ndarray[Any, Any], q: np.ndarray[Any, Any]) -> float:
    middle = (p + q) / 2

    def kl(a: np.ndarray[Any, Any]) -> float:
        on = a > 0
        return float((a[on] * np.log(a[on] / middle[on])).sum())

    return (kl(p) + kl(q)) / 2


@claim(
    "theory.gan_value_is_js",
    r"V(D^*, G) = 2\, D_{\mathrm{JS}}(p_{\text{data}} \,\|\, p_G) - \log 4 \ge -\log 4",
    sources=[f"{GAN}, Theorem 1", f"{LECTURE}, 'What does the GAN optimize?'"],
    why="""At D* = p/(p + q) the value is the sum of KL(p || m) and KL(q || m) minus 2 log 2, with
    m = (p + q)/2. It is least, -log 4, exactly when the generator has found the data. D* attains
    it, and no other discriminator more.""",
)
@given(
    pair=stratified(
        [
            simplex_pairs(),
            simplex_pairs(interior=True),
            simplex_pairs(2, 5).map(lambda t: (t[0], t[0])),
        ]
    ),
    shift=st.floats(-0.4, 0.4),
)
def test_against_the_best_discriminator_the_generator_minimises_jensen_shannon(
    subject: Handle, device: str, dtype: torch.dtype, pair: tuple[Tensor, Tensor], shift: float
) -> None:
    pieces = subject.pieces()
    p, q = pair
    js = _js(_array(p), _array(q))
    allowed = guarded(dtype, length=8)
    value = pieces.game_value_at_optimum(p, q)
    check.close(value, 2 * js - math.log(4), allowed, "V(D*, G), 2 JS(p, q) - log 4,")
    check.close(
        value,
        2 * pieces.js_divergence(p, q) - math.log(4),
        allowed,
        "V(D*, G), against js_divergence,",
    )
    check.at_least(value, -math.log(4), allowed, "V(D*, G)")
    equal = float((p - q).abs().sum()) < 1e-9
    check.that(
        equal or float(value) > -math.log(4) + float((p - q).abs().sum()) ** 2 / 8,
        f"V(D*, G) = {float(value)} is -log 4 though the generator differs from the data",
    )  # Pinsker: 2 JS >= ||p - q||_1^2 / 4
    best = pieces.optimal_discriminator(p, q)
    check.close(pieces.game_value(best, p, q), value, allowed, "V at D* = p/(p + q)")
    other = (best + shift).clamp(0.01, 0.99)
    check.at_most(pieces.game_value(other, p, q), value, allowed, "V at another discriminator")


@claim(
    "theory.more_modes_lower_value",
    r"S' \subset S \;\Rightarrow\; V(D^*, p|_{S'}) > V(D^*, p|_S)",
    sources=[f"{LECTURE}, 'What does the GAN optimize?'", f"{GAN}, Theorem 1"],
    why="""A generator that covers a set of modes with mass a, in the right proportions, has
    2 JS = a log(2a/(1 + a)) + (1 - a) log 2 + log(2/(1 + a)), which falls strictly as a grows: in
    the value of the game dropping a mode never pays (in practice training finds it all the same).""",
)
@given(p=stratified([simplexes(n, interior=True) for n in (2, 3, 5)]))
def test_dropping_a_mode_raises_the_value(
    subject: Handle, device: str, dtype: torch.dtype, p: Tensor
) -> None:
    pieces = subject.pieces()
    values = []
    for kept in range(len(p), 0, -1):
        q = torch.where(torch.arange(len(p), device=p.device) < kept, p, 0)
        values.append(float(pieces.game_value_at_optimum(p, q / q.sum())))
        a = float(p[:kept].sum())
        exact = a * math.log(2 * a / (1 + a)) + (1 - a) * math.log(2) + math.log(2 / (1 + a))
        check.close(
            values[-1],
            exact - math.log(4),
            guarded(dtype, length=8),
            f"V(D*, G) for a generator that covers {kept} of {len(p)} modes",
        )
    for more, fewer in pairwise(values):
        check.that(fewer > more, f"dropping a mode lowered V(D*, G) from {more} to {fewer}")


@claim(
    "theory.gan_fits",
    r"\text{descent on } V(D^*_q, q) \;\Rightarrow\; D_{\mathrm{JS}}(p \,\|\, q) \to 0",
    sources=[f"{GAN}, Proposition 2"],
    why="""With a table for a generator, and a discriminator that answers every step with its best, the
    game is descent on the Jensen-Shannon divergence, which is convex in q with its least value at
    the data.""",
    effort=0.2,
    dtypes=("float64",),
)
@given(p=stratified([simplexes(n, interior=True) for n in (2, 4)]), seed=st.integers(0, 99))
def test_a_tabular_generator_finds_the_data(
    subject: Handle, device: str, dtype: torch.dtype, p: Tensor, seed: int
) -> None:
    pieces = subject.pieces()
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p).requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.1)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.99)
    start = _js(_array(p), _array(logits.softmax(0)))
    for _ in range(400):
        optimizer.zero_grad()
        q = logits.softmax(0)
        best = pieces.optimal_discriminator(p, q).detach()
        pieces.game_value(best, p, q).backward()
        optimizer.step()
        schedule.step()
    end = _js(_array(p), _array(logits.softmax(0)))
    check.at_most(
        end,
        0.0,
        guarded(dtype),
        f"JS(p, q) after 400 steps of the game (it was {start:.4g} at the start)",
    )


# Theory: slopes ----------------------------------------------------------------------------------


@st.composite
def _widths(draw: st.DrawFn, layers_: int) -> list[int]:
    return draw(st.lists(st.integers(1, 6), min_size=layers_ + 1, max_size=layers_ + 1))


def widths() -> Any:
    """Numbers of features from input to output, of one, two and three layers."""
    return stratified([_widths(depth) for depth in (1, 2, 3)])


def _network(sizes: list[int], activation: nn.Module) -> nn.Sequential:
    """A network of affine layers with normal weights from torch's generator."""
    parts: list[nn.Module] = []
    for n, m in pairwise(sizes):
        layer = nn.Linear(n, m).double()
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.copy_(torch.randn_like(parameter))
        parts += [layer, copy.deepcopy(activation)]
    return nn.Sequential(*parts[:-1])


def _slopes(network: nn.Module, features: int, order: float) -> Tensor:
    """Measured slopes ``|f(x) - f(y)| / |x - y|`` of pairs far apart and close together."""
    x = 2 * torch.randn(40, features, dtype=torch.float64)
    y = x + torch.randn_like(x) * torch.tensor([1e-3, 1.0]).repeat(20)[:, None]
    with torch.no_grad():
        top = (network(x) - network(y)).norm(order, dim=1)
    return top / (x - y).norm(order, dim=1)


def _matrices(network: nn.Sequential) -> list[Tensor]:
    return [m.weight.detach() for m in network if isinstance(m, nn.Linear)]


ACTIVATIONS = st.sampled_from([nn.ReLU(), nn.LeakyReLU(0.2), nn.Tanh()])


@claim(
    "theory.clipping_bounds_slope",
    r"|W_{ij}| \le c \;\Rightarrow\; \lVert W \rVert_{\infty} \le c D, \quad "
    r"\lVert W \rVert_{2} \le c \sqrt{m D}, \qquad \text{layers: the product}",
    sources=[f"{LECTURE}, 'Wasserstein GAN' (the slide's c D)", f"{WGAN}, Section 3"],
    why="""A row of D weights within c sums to at most c D, and the Frobenius norm of an m by D matrix is
    at most c sqrt(m D): a clipped critic (m = 1) has slope at most c D for the largest coordinate
    and c sqrt(D) for Euclidean distance, and layers multiply. Both are attained when every weight
    is c.""",
    dtypes=("float64",),
)
@given(sizes=widths(), bound=st.sampled_from([0.01, 0.3, 2.0]), activation=ACTIVATIONS)
def test_clipped_weights_bound_the_slope_in_either_norm(
    subject: Handle,
    device: str,
    dtype: torch.dtype,
    sizes: list[int],
    bound: float,
    activation: Any,
) -> None:
    pieces = subject.pieces()
    network = _network(sizes, activation)
    pieces.clip_weights(network, bound)
    limit = pieces.clipped_network_bound(bound, sizes)
    first = pieces.clipped_layer_bound(bound, sizes[0], sizes[1])
    product = 1.0
    for order, name in ((math.inf, "max_norm"), (2.0, "euclidean")):
        whole, one = np.float64(getattr(limit, name)), np.float64(getattr(first, name))
        slack = 1e4 * rounding(dtype, scale=whole)  # small steps lose digits
        check.at_most(
            _slopes(network, sizes[0], order),
            whole,
            slack,
            f"the slope of a network clipped to {bound}, widths {sizes}, in the {name}",
        )
        norms = [torch.linalg.matrix_norm(w, order) for w in _matrices(network)]
        check.at_most(norms[0], one, rounding(dtype, scale=one), f"the {name} of the first layer")
        full = [torch.full_like(w, bound) for w in _matrices(network)]
        check.close(
            torch.linalg.matrix_norm(full[0], order),
            one,
            rounding(dtype, length=8, scale=one),
            f"the {name} of a layer with every weight {bound}, which attains the bound,",
        )
        product = full[0]
        for w in full[1:]:
            product = w @ product
        check.close(
            torch.linalg.matrix_norm(product, order),
            whole,
            rounding(dtype, length=32, scale=whole),
            f"the {name} of a linear chain with every weight {bound}, which attains the bound,",
        )


@claim(
    "theory.lipschitz_composes",
    r"\mathrm{Lip}(f \circ g) \le \mathrm{Lip}(f)\, \mathrm{Lip}(g)",
    sources=[f"{SN}, Section 2.1, Equation 7", f"{LECTURE}, 'Spectral norm'"],
    why="""What one layer stretches the next can stretch again, each by its own factor at most:
    constants multiply along a chain. So the bound of a network is the product of its layers' bounds,
    the bound of two networks in a row is the product of theirs, and the norm of a product of
    matrices never exceeds it.""",
    dtypes=("float64",),
)
@given(sizes=widths(), more=_widths(2), bound=st.sampled_from([0.1, 1.5]))
def test_slopes_of_a_composition_multiply(
    subject: Handle,
    device: str,
    dtype: torch.dtype,
    sizes: list[int],
    more: list[int],
    bound: float,
) -> None:
    pieces = subject.pieces()
    more = [sizes[-1], *more[1:]]
    one, two = _network(sizes, nn.ReLU()), _network(more, nn.Tanh())
    weights, others = _matrices(one), _matrices(two)
    first, second = pieces.spectral_bound(weights), pieces.spectral_bound(others)
    both = pieces.spectral_bound([*weights, *others])
    exact = np.prod([np.linalg.norm(_array(w), 2) for w in [*weights, *others]])
    allowed = rounding(dtype, length=64, scale=exact)
    check.close(
        both, exact, allowed, "the bound of a chain, the product of the largest singular values,"
    )
    check.close(first * second, both, allowed, "the product of two networks' bounds")
    matrix = torch.eye(sizes[0], dtype=torch.float64)
    for w in [*weights, *others]:
        matrix = w @ matrix
    check.at_most(
        np.linalg.norm(_array(matrix), 2), both, allowed, "the norm of the product of matrices"
    )
    check.at_most(
        _slopes(nn.Sequential(one, two), sizes[0], 2.0),
        first * second,
        1e4 * allowed,
        "the slope of two networks in a row",
    )
    parts = [pieces.clipped_network_bound(bound, s) for s in (sizes, more, sizes + more[1:])]
    for index in range(2):
        whole = np.float64(parts[2][index])
        check.close(
            np.float64(parts[0][index] * parts[1][index]),
            whole,
            rounding(dtype, length=8, scale=whole),
            "the product of two clipped networks' bounds, against that of both in a row,",
        )


@claim(
    "theory.spectral_bound_holds_for_pairs",
    r"\lVert f(x) - f(y) \rVert_2 \le \prod_\ell \sigma(W_\ell)\, \lVert x - y \rVert_2",
    sources=[f"{SN}, Equation 7", f"{LECTURE}, 'Spectral norm'"],
    why="""ReLU, LeakyReLU and tanh have slope at most one, so only the matrices can stretch. The bound
    is tight for a linear chain in which each layer passes its leading left singular vector on as the
    next one's leading right one; and a network whose layers are spectrally normalised has slope at
    most one.""",
    dtypes=("float64",),
)
@given(sizes=widths(), activation=ACTIVATIONS)
def test_the_product_of_spectral_norms_bounds_every_pair_and_is_attained(
    subject: Handle, device: str, dtype: torch.dtype, sizes: list[int], activation: Any
) -> None:
    pieces = subject.pieces()
    network = _network(sizes, activation)
    limit = np.float64(pieces.spectral_bound(_matrices(network)))
    check.at_most(
        _slopes(network, sizes[0], 2.0),
        limit,
        1e4 * rounding(dtype, scale=limit),
        f"the slope of a network of widths {sizes}, against the product of spectral norms,",
    )
    chain, passed = [], torch.eye(sizes[0], dtype=torch.float64)[0]
    for n, m in pairwise(sizes):
        left, values, _ = torch.linalg.svd(torch.randn(m, n, dtype=torch.float64))
        turn = torch.linalg.qr(torch.cat([passed[:, None], torch.randn(n, n).double()], 1)).Q
        aligned = left[:, : len(values)] * values @ turn.mT[: len(values)]
        chain.append(aligned)
        passed = left[:, 0]
    product = chain[0]
    for w in chain[1:]:
        product = w @ product
    tight = np.float64(pieces.spectral_bound(chain))
    check.close(
        tight,
        np.linalg.norm(_array(product), 2),
        rounding(dtype, length=64, scale=tight),
        "the bound of an aligned linear chain, which is its norm,",
    )


def _dense(weight: Tensor, height: int, width: int, padding: int) -> np.ndarray[Any, Any]:
    """The matrix of a convolution of whole images, entry by entry."""
    w = _array(weight)
    out, into, kh, kw = w.shape
    rows, columns = height + 2 * padding - kh + 1, width + 2 * padding - kw + 1
    matrix = np.zeros((out, rows, columns, into, height, width))
    for i in range(rows):
        for j in range(columns):
            for a in range(kh):
                for b in range(kw):
                    y, x = i + a - padding, j + b - padding
                    if 0 <= y < height and 0 <= x < width:
                        matrix[:, i, j, :, y, x] += w[:, :, a, b]
    return matrix.reshape(out * rows * columns, into * height * width)


@claim(
    "theory.reshaped_norm_is_not_operator_norm",
    r"\sigma(w_{\text{flat}}) \not\ge \lVert w * \cdot \rVert_{2 \to 2} "
    r"\le \sqrt{k_h k_w}\; \sigma(w_{\text{flat}})",
    sources=[
        "Tsuzuku, Sato, Sugiyama 2018, Lipschitz-Margin Training, Section 4",
        "Sedghi, Gupta, Long 2018, The Singular Values of Convolutional Layers",
    ],
    why="""The flattened weight multiplies patches, and a pixel lies in up to kh kw of them: the true
    norm of the convolution is at most sqrt(kh kw) times larger, and can be larger: for a 3 by 3
    kernel of ones the flattened norm is 3 and the convolution's approaches 9. On an image as large
    as the kernel there is one patch and the two agree. A spectrally normalised convolution is
    therefore not 1-Lipschitz.""",
    dtypes=("float64",),
    effort=0.5,
)
@given(
    weight=stratified([normals(shape) for shape in ((3, 2, 2, 3), (1, 2, 3, 3), (2, 1, 1, 1))]),
    extra=st.sampled_from([(0, 0), (1, 2), (3, 2)]),
    padding=st.sampled_from([0, 1]),
)
def test_the_flattened_norm_of_a_convolution_is_not_its_slope(
    subject: Handle, device: str, dtype: torch.dtype, weight: Tensor, extra: Any, padding: int
) -> None:
    pieces = subject.pieces()
    kh, kw = weight.shape[2:]
    height, width = kh + extra[0], kw + extra[1]
    flat = np.linalg.norm(_array(weight.flatten(1)), 2)
    true = np.linalg.norm(_dense(weight, height, width, padding), 2)
    allowed = rounding(dtype, length=64, scale=4 * flat)
    norm = pieces.conv_operator_norm(weight, height, width, padding)
    bound = pieces.conv_norm_bound(weight)
    check.close(norm, true, allowed, f"the norm of the convolution of {height} by {width} images")
    check.close(bound, math.sqrt(kh * kw) * flat, allowed, "sqrt(kh kw) sigma(flattened)")
    check.at_most(norm, bound, allowed, "the norm of the convolution, against its bound,")
    single = pieces.conv_operator_norm(weight, kh, kw, 0)
    check.close(
        single, flat, allowed, "the norm on images as large as the kernel, sigma(flattened),"
    )
    ones = torch.ones(1, 1, 3, 3).to(weight)
    larger = float(pieces.conv_operator_norm(ones, 7, 7, 1))
    check.that(
        3 * 2 < larger < float(pieces.conv_norm_bound(ones)),
        f"a kernel of ones stretches 7 by 7 images by {larger}: more than twice its flattened norm 3, "
        f"and less than the bound 9",
    )


@st.composite
def _weighted_points(draw: st.DrawFn, features: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Points and probabilities of two distributions of different sizes."""
    n, m = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    x, y = draw(normals((n, features))), draw(normals((m, features), shift=1.0))
    return x, y, draw(simplexes(n, interior=True)), draw(simplexes(m, interior=True))


@claim(
    "theory.wgan_optimal_critic_has_unit_slope",
    r"\gamma^\star(x, y) > 0 \;\Rightarrow\; f^\star(x) - f^\star(y) = \lVert x - y \rVert",
    sources=[f"{WGAN_GP}, Proposition 1", f"{WGAN}, Equation 2"],
    why="""Along the optimal transport the best 1-Lipschitz critic falls with slope one: complementary
    slackness of the two linear programs. Every extension to the space then has slope one on the
    whole segment, as the least and the greatest 1-Lipschitz extension agree there; this is why the
    gradient penalty asks for slope one between data and samples. On the line the mean gap in score
    is SciPy's distance.""",
    dtypes=("float64",),
)
@given(case=stratified([_weighted_points(1), _weighted_points(2)]), t=st.floats(0.0, 1.0))
def test_the_best_critic_has_slope_one_along_the_transport(
    subject: Handle, device: str, dtype: torch.dtype, case: Any, t: float
) -> None:
    pieces = subject.pieces()
    x, y, p, q = case
    at_x, at_y = pieces.kantorovich_potentials(x, y, p, q)
    plan = pieces.transport_plan(x, y, p, q)
    points, scores = torch.cat([x, y]), torch.cat([at_x, at_y])
    distances = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    allowed = guarded(dtype, scale=float(distances.max()))
    check.at_most(
        (scores[:, None] - scores).abs(), distances, allowed, "the difference of two of f's values"
    )
    gap = (p * at_x).sum() - (q * at_y).sum()
    check.close((plan * (x[:, None] - y).norm(dim=-1)).sum(), gap, allowed, "the cost of transport")
    if x.shape[1] == 1:
        distance = stats.wasserstein_distance(
            *(_array(v[:, 0]) for v in (x, y)), *(_array(w) for w in (p, q))
        )
        check.close(
            gap, distance, allowed, "the gap in mean score, against the distance on the line,"
        )
    for i, j in (plan > 1e-6).nonzero().tolist():
        length = (x[i] - y[j]).norm()
        check.close(
            at_x[i] - at_y[j], length, allowed, "the fall of f along a pair that transport joins"
        )
        between = (1 - t) * x[i] + t * y[j]
        away = (points - between).norm(dim=1)
        for extension in ((scores + away).min(), (scores - away).max()):
            check.close(
                extension,
                at_x[i] - t * length,
                allowed,
                f"an extension of f at the fraction {t:.4g} of the way",
            )
