r"""Classic mistakes in small adversarial games whose end is known beforehand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from spec_tests.registry import mutant

_BEST, _TABLES = "theory.best_scores_are_best", "theory.tables_contract"
_HINGE, _WALK = "theory.hinge_walks_to_the_data", "theory.transport_training"
_CLIPPED, _PENALISED = (
    "theory.clipped_slopes_measure_transport",
    "theory.penalised_slopes_exceed_transport",
)
_SPECTRAL, _NEAR = "theory.spectral_critic_measures_less", "theory.turns_near_the_data"
_ARRIVE, _CIRCLE = "theory.damped_turns_arrive", "theory.undamped_turns_circle"
_BOX, _UNREST = "theory.clipped_turns_circle", "theory.slope_one_is_no_rest"
_SURE = "theory.a_sure_critic_stops_minimax"


# The critic answers: tables -----------------------------------------------------------------------


@mutant("theory", rejected_by=[_BEST, _TABLES])
def scores_with_the_roles_exchanged(pieces: Any) -> Any:
    """log q/p: the best critic praises the samples, and the generator makes more of what it has."""
    right, turn = pieces.best_scores, pieces.tabular_turn
    pieces.best_scores = lambda p, q, kind: right(q, p, kind)  # wrong: right(p, q, kind)
    # wrong: step_size
    pieces.tabular_turn = lambda p, q, kind, step_size: turn(p, q, kind, -step_size)
    return pieces


@mutant("theory", rejected_by=[_BEST])
def least_squares_labels_of_both_signs(pieces: Any) -> Any:
    """(p - q)/(p + q) is best for labels 1 and -1; the labels here are 1 and 0."""
    right = pieces.best_scores
    pieces.best_scores = lambda p, q, kind: (
        (p - q) / (p + q) if kind == "least_squares" else right(p, q, kind)  # wrong: p / (p + q)
    )
    return pieces


@mutant("theory", rejected_by=[_BEST])
def a_best_critic_without_a_bound(pieces: Any) -> Any:
    """The sign of p - q for the Wasserstein loss as well, which a score twice as large improves on."""
    right = pieces.best_scores
    pieces.best_scores = lambda p, q, kind: (
        # wrong: an error: no score is best
        (p - q).sign() if kind == "wasserstein" else right(p, q, kind)
    )
    return pieces


@mutant("theory", rejected_by=[_HINGE])
def verdict_by_degrees(pieces: Any) -> Any:
    """The hinge critic answers p - q in place of its sign: it whispers where the two are close."""
    right = pieces.tabular_turn

    def turn(p: Tensor, q: Tensor, kind: str, step_size: float) -> Tensor:
        if kind != "hinge":
            return right(p, q, kind, step_size)
        return (q.log() + step_size * (p - q)).softmax(0)  # wrong: (p - q).sign()

    pieces.tabular_turn = turn
    return pieces


@mutant("theory", rejected_by=[_TABLES])
def one_complaint_for_both_logistic_games(pieces: Any) -> Any:
    """The non-saturating table takes minimax steps: fast where a mode is lost, slow in a crowd."""
    right = pieces.tabular_turn
    pieces.tabular_turn = lambda p, q, kind, step_size: right(
        p,
        q,
        "minimax" if kind == "non_saturating" else kind,  # wrong: kind
        step_size,
    )
    return pieces


@mutant("theory", rejected_by=[_TABLES])
def step_in_probabilities(pieces: Any) -> Any:
    """The complaint is taken from q itself, cut at zero and normalised: rare points lose most."""

    def turn(p: Tensor, q: Tensor, kind: str, step_size: float) -> Tensor:
        loss = pieces.gan_losses(kind).generator_loss
        complaints = torch.stack([loss(s[None]) for s in pieces.best_scores(p, q, kind)])
        # wrong: a step in log q
        moved = (q - step_size * (complaints - complaints.mean())).clamp_min(1e-6)
        return moved / moved.sum()

    pieces.tabular_turn = turn
    return pieces


# The critic answers: the line ---------------------------------------------------------------------


@mutant("theory", rejected_by=[_WALK])
def partners_as_they_come(pieces: Any) -> Any:
    """Data and samples are paired by their index and not in order: a plan, but not the best one."""
    pieces.transport_turn = lambda real, fake, step_size, bound=1.0: (
        fake + step_size * bound * (real - fake).sign()  # wrong: the partner in order
    )
    return pieces


@mutant("theory", rejected_by=[_WALK])
def steps_as_long_as_the_way(pieces: Any) -> Any:
    """The gradient of the squared distance: close samples hardly move, and far ones jump."""

    def turn(real: Tensor, fake: Tensor, step_size: float, bound: float = 1.0) -> Tensor:
        # wrong: the sign of the way
        return fake + step_size * bound * (real.sort().values[fake.argsort().argsort()] - fake)

    pieces.transport_turn = turn
    return pieces


@mutant("theory", rejected_by=[_CLIPPED])
def clipping_after_training_alone(pieces: Any) -> Any:
    """Weights are clipped once, at the end: on the way the reading is of no unit at all."""
    right = pieces.train_slopes

    def train(slopes: Tensor, areas: Tensor, step_size: float, steps: int,
              bound: float = torch.inf, penalties: Any = None) -> Tensor:  # fmt: skip
        # wrong: with the bound, in every step
        path = right(slopes, areas, 2 * step_size, steps, penalties=penalties).clone()
        path[-1] = path[-1].clamp(-bound, bound)  # wrong: not here alone
        return path

    pieces.train_slopes = train
    return pieces


@mutant("theory", rejected_by=[_CLIPPED])
def cells_without_an_end(pieces: Any) -> Any:
    """Features rise beyond their cell: the slopes of a point are those of all cells up to it."""
    # wrong: not beyond the width of the cell
    pieces.cell_features = lambda points, edges: (points[:, None] - edges[:-1]).relu()
    return pieces


@mutant("theory", rejected_by=[_PENALISED])
def one_sided_penalty(pieces: Any) -> Any:
    """Only slopes above one cost: a legitimate variant, but wrong signs then right themselves."""
    right = pieces.train_slopes

    def train(slopes: Tensor, areas: Tensor, step_size: float, steps: int,
              bound: float = torch.inf, penalties: Any = None) -> Tensor:  # fmt: skip
        if penalties is None:
            return right(slopes, areas, step_size, steps, bound)
        path = [slopes]
        for _ in range(steps):
            over = path[-1] - path[-1].clamp(-1, 1)  # wrong: slope less its sign
            path.append(path[-1] + step_size * (areas - 2 * penalties * over))
        return torch.stack(path)

    pieces.train_slopes = train
    return pieces


@mutant("theory", rejected_by=[_PENALISED])
def penalty_halved_by_its_square(pieces: Any) -> Any:
    """The derivative of a square without its two: half of the documented weight."""
    right = pieces.train_slopes
    pieces.train_slopes = lambda slopes, areas, step_size, steps, bound=torch.inf, penalties=None: (
        # wrong: penalties
        right(slopes, areas, step_size, steps, bound, None if penalties is None else penalties / 2)
    )
    return pieces


@mutant("theory", rejected_by=[_PENALISED])
def long_segments_counted_more(pieces: Any) -> Any:
    """Shares of the total length in place of the mean of shares: far pairs count more than near."""

    def shares(real: Tensor, fake: Tensor, edges: Tensor) -> Tensor:
        crossed = (pieces.cell_features(real, edges) - pieces.cell_features(fake, edges)).abs()
        return crossed.sum(0) / crossed.sum()  # wrong: shares of each segment, then their mean

    pieces.segment_shares = shares
    return pieces


class _DetachedNorm(nn.Module):
    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) / self.layer.weight.detach().norm()


@mutant("theory", rejected_by=[_SPECTRAL])
def norm_without_its_gradient(pieces: Any) -> Any:
    """The norm is a constant to the gradient: steps are not at right angles, and turn too little."""
    pieces.spectral_norm = _DetachedNorm  # wrong: the norm has a gradient too
    return pieces


@mutant("theory", rejected_by=[_SPECTRAL])
def normalised_by_no_one(pieces: Any) -> Any:
    """The layer as it was: the reading grows with every step."""
    pieces.spectral_norm = lambda layer: layer  # wrong: divide by the norm
    return pieces


# In turns -----------------------------------------------------------------------------------------


def _playing(pieces: Any, change: Callable[..., Any]) -> Any:
    """The pieces with another way of playing: ``change(right, theta, psi, *rest, **more)``."""
    right = pieces.play_turns
    pieces.play_turns = lambda *parts, **more: change(right, *parts, **more)
    return pieces


@mutant("theory", rejected_by=[_NEAR, _ARRIVE, _CIRCLE])
def both_players_at_once(pieces: Any) -> Any:
    """The generator sees the critic before its step: circles open into spirals that run outwards."""

    def at_once(right: Any, theta: Tensor, psi: Tensor, data: Tensor, noise: Tensor, losses: Any,
                step_size: float, turns: int, *rest: Any, **more: Any) -> Any:  # fmt: skip
        still = losses._replace(discriminator_loss=lambda real, fake: 0 * (real.sum() + fake.sum()))
        path = [(theta, psi)]
        for _ in range(turns):
            now = *path[-1], data, noise
            moved = right(*now, still, step_size, 1)[0][-1]
            # wrong: the critic first, then the generator
            path.append((moved, right(*now, losses, step_size, 1, *rest, **more)[1][-1]))
        return tuple(torch.stack(part) for part in zip(*path, strict=True))

    return _playing(pieces, at_once)


@mutant("theory", rejected_by=[_NEAR, _ARRIVE, _UNREST])
def penalty_forgotten_in_training(pieces: Any) -> Any:
    """The penalty is handed in and never added: R1 in name, circles in fact."""

    def play(right: Any, *parts: Any, **more: Any) -> Any:
        return right(*parts[:7], None, *parts[8:], **more)  # wrong: parts[7]

    return _playing(pieces, play)


@mutant("theory", rejected_by=[_CIRCLE, _BOX])
def weight_decay_on_the_quiet(pieces: Any) -> Any:
    """The critic's weights shrink by a hundredth in every turn: circles seem to converge."""

    def play(right: Any, theta: Tensor, psi: Tensor, data: Tensor, noise: Tensor, losses: Any,
             step_size: float, turns: int, *rest: Any, **more: Any) -> Any:  # fmt: skip
        path = [(theta, psi)]
        for _ in range(turns):
            shrunk = path[-1][0], 0.99 * path[-1][1]  # wrong: path[-1][1]
            found = right(*shrunk, data, noise, losses, step_size, 1, *rest, **more)
            path.append((found[0][-1], found[1][-1]))
        return tuple(torch.stack(part) for part in zip(*path, strict=True))

    return _playing(pieces, play)


@mutant("theory", rejected_by=[_BOX])
def clipping_forgotten_in_training(pieces: Any) -> Any:
    """The bound is handed in and not used: the critic is as steep as it likes."""

    def play(right: Any, *parts: Any, bound: float = torch.inf, **more: Any) -> Any:
        return right(*parts, **more)  # wrong: bound=bound

    return _playing(pieces, play)


@mutant("theory", rejected_by=[_SURE])
def one_step_of_the_critic_whatever_is_asked(pieces: Any) -> Any:
    """The number of the critic's steps is ignored: it is never sure of anything."""

    def play(right: Any, *parts: Any, critic_steps: int = 1, **more: Any) -> Any:
        return right(*parts, **more)  # wrong: critic_steps=critic_steps

    return _playing(pieces, play)


@mutant("theory", rejected_by=[_SURE])
def minimax_that_does_not_saturate(pieces: Any) -> Any:
    """The generator of the minimax game gets the other loss: vanishing gradients are never seen."""
    right = pieces.gan_losses
    # wrong: kind
    pieces.gan_losses = lambda kind: right("non_saturating" if kind == "minimax" else kind)
    return pieces


@mutant("theory", rejected_by=[_SURE])
def non_saturating_that_saturates(pieces: Any) -> Any:
    """The minimax loss under the other name: the generator stands still where it is worst."""
    right = pieces.gan_losses
    # wrong: kind
    pieces.gan_losses = lambda kind: right("minimax" if kind == "non_saturating" else kind)
    return pieces


@mutant("theory", rejected_by=[_UNREST])
def penalty_around_slope_zero(pieces: Any) -> Any:
    """The mean squared slope in place of its distance from one: that is R1's cousin, and it rests."""

    def penalty(critic: Any, real: Tensor, fake: Tensor, generator: Any = None) -> Tensor:
        # wrong: the mean of (slope - 1)^2
        found: Tensor = pieces.input_gradient(critic, real).square().sum(1).mean()
        return found

    pieces.gradient_penalty = penalty
    return pieces


@mutant("theory", rejected_by=[_NEAR])
def polynomial_without_factorials(pieces: Any) -> Any:
    """Coefficients of powers, where derivatives at zero are asked for."""

    def polynomial(coefficients: Tensor, points: Tensor) -> Tensor:
        return points ** torch.arange(len(coefficients)) @ coefficients  # wrong: divided by k!

    pieces.taylor_polynomial = polynomial
    return pieces


@mutant("theory", rejected_by=[_NEAR])
def curvature_of_the_data_alone(pieces: Any) -> Any:
    """Real scores are taken to damp the critic, and fake ones are forgotten: half of the curvature."""
    right = pieces.turn_matrix

    def matrix(data: Tensor, noise: Tensor, sizes: Any, kind: str, step_size: float,
               r1: float = 0.0) -> Tensor:  # fmt: skip
        found, g = right(data, noise, sizes, kind, step_size, r1), sizes[0]
        undamped = right(data, noise, sizes, "wasserstein", step_size, r1)
        half = found.clone()
        half[g:, g:] = (found[g:, g:] + undamped[g:, g:]) / 2  # wrong: found
        return half

    pieces.turn_matrix = matrix
    return pieces
