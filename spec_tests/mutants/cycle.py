r"""Classic mistakes of cycle-consistency losses."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from spec_tests.registry import mutant

PREFIX = "cycle_consistency_loss"


def journeys(x_to_y: Any, y_to_x: Any, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """What each batch misses of itself after its journey."""
    return y_to_x(x_to_y(x)) - x, x_to_y(y_to_x(y)) - y


@mutant(PREFIX, rejected_by=[f"{PREFIX}.both_directions_count", f"{PREFIX}.symmetric_in_roles"])
def forward_cycle_alone(x_to_y: Any, y_to_x: Any, x: Tensor, y: Tensor) -> Tensor:
    """Only x travels: what F does away from G's images costs nothing."""
    return journeys(x_to_y, y_to_x, x, y)[0].abs().mean()  # wrong: plus the cycle of y


@mutant(PREFIX, rejected_by=[f"{PREFIX}.matches_definition", f"{PREFIX}.zero_iff_inverse"])
def mean_squared_errors(x_to_y: Any, y_to_x: Any, x: Tensor, y: Tensor) -> Tensor:
    """Squares in place of absolute values, which blur what is translated."""
    one, other = journeys(x_to_y, y_to_x, x, y)
    return one.square().mean() + other.square().mean()  # wrong: abs()


@mutant(PREFIX, rejected_by=[f"{PREFIX}.matches_definition"])
def rounded_at_the_kink(x_to_y: Any, y_to_x: Any, x: Tensor, y: Tensor) -> Tensor:
    """The smooth L1 loss, quadratic below an error of one: half of it is missing further out."""
    one, other = journeys(x_to_y, y_to_x, x, y)
    # wrong: e.abs().mean()
    return sum(functional.smooth_l1_loss(e, torch.zeros_like(e)) for e in (one, other))  # type: ignore[return-value]


@mutant(PREFIX, rejected_by=[f"{PREFIX}.matches_definition", f"{PREFIX}.both_directions_count"])
def average_of_the_two_cycles(x_to_y: Any, y_to_x: Any, x: Tensor, y: Tensor) -> Tensor:
    """The mean of both cycles instead of their sum: half of what the weight lambda was tuned for."""
    one, other = journeys(x_to_y, y_to_x, x, y)
    return (one.abs().mean() + other.abs().mean()) / 2  # wrong: the sum


@mutant(PREFIX, rejected_by=[f"{PREFIX}.matches_definition", f"{PREFIX}.batches_are_averaged"])
def all_errors_in_one_mean(x_to_y: Any, y_to_x: Any, x: Tensor, y: Tensor) -> Tensor:
    """Twice the mean over all numbers of both batches: the larger batch or domain outweighs the
    other."""
    one, other = journeys(x_to_y, y_to_x, x, y)
    # wrong: a mean for each batch
    return 2 * torch.cat([one.flatten(), other.flatten()]).abs().mean()


@mutant(PREFIX, rejected_by=[f"{PREFIX}.matches_definition", f"{PREFIX}.batches_are_averaged"])
def summed_over_the_batch(x_to_y: Any, y_to_x: Any, x: Tensor, y: Tensor) -> Tensor:
    """Sums over the items: the loss grows with the batch."""
    # wrong: .mean()
    one, other = (e.flatten(1).abs().mean(1).sum() for e in journeys(x_to_y, y_to_x, x, y))
    return one + other


@mutant(PREFIX, rejected_by=[f"{PREFIX}.matches_definition"])
def summed_over_the_pixels(x_to_y: Any, y_to_x: Any, x: Tensor, y: Tensor) -> Tensor:
    """The whole norm of each item: the loss grows with the resolution."""
    # wrong: .mean(1)
    one, other = (e.flatten(1).abs().sum(1).mean() for e in journeys(x_to_y, y_to_x, x, y))
    return one + other


@mutant(PREFIX, rejected_by=[f"{PREFIX}.gradient_reaches_both", f"{PREFIX}.gradient_is_derivative"])
def translation_detached(x_to_y: Any, y_to_x: Any, x: Tensor, y: Tensor) -> Tensor:
    """The translated batches taken out of the graph, as in the discriminator's step: only the ways
    back learn."""
    one = y_to_x(x_to_y(x).detach()) - x  # wrong: no detach
    other = x_to_y(y_to_x(y).detach()) - y  # wrong: no detach
    return one.abs().mean() + other.abs().mean()


@mutant(PREFIX, rejected_by=[f"{PREFIX}.gradient_reaches_both"])
def second_cycle_without_a_gradient(x_to_y: Any, y_to_x: Any, x: Tensor, y: Tensor) -> Tensor:
    """The cycle of y under ``no_grad``: its value is reported and nobody learns from it."""
    with torch.no_grad():  # wrong: with gradients
        other = (x_to_y(y_to_x(y)) - y).abs().mean()
    return (y_to_x(x_to_y(x)) - x).abs().mean() + other


@mutant(PREFIX, rejected_by=[f"{PREFIX}.leaves_inputs_alone"])
def modes_of_the_maps_overwritten(x_to_y: Any, y_to_x: Any, x: Tensor, y: Tensor) -> Tensor:
    """``eval()`` called on what is handed in and not undone: the training loop goes on in another mode."""
    for each in (x_to_y, y_to_x):
        if isinstance(each, nn.Module):
            each.eval()  # wrong: leave the mode alone
    one, other = journeys(x_to_y, y_to_x, x, y)
    return one.abs().mean() + other.abs().mean()


@mutant(PREFIX, rejected_by=[f"{PREFIX}.zero_iff_inverse", f"{PREFIX}.matches_definition"])
def distance_of_the_translation(x_to_y: Any, y_to_x: Any, x: Tensor, y: Tensor) -> Tensor:
    """The journeys compared with each other's batch means, not with where they began."""
    one, other = y_to_x(x_to_y(x)), x_to_y(y_to_x(y))
    # wrong: one - x and other - y
    return (one - x.mean(0)).abs().mean() + (other - y.mean(0)).abs().mean()


@mutant(PREFIX, rejected_by=[f"{PREFIX}.zero_iff_inverse"])
def guarded_root_of_squares(x_to_y: Any, y_to_x: Any, x: Tensor, y: Tensor) -> Tensor:
    """sqrt(e^2 + 1e-4) for a smooth absolute value: exact inverses still cost a hundredth."""
    # wrong: e.abs()
    one, other = ((e.square() + 1e-4).sqrt() for e in journeys(x_to_y, y_to_x, x, y))
    return one.mean() + other.mean()


@mutant(PREFIX, rejected_by=[f"{PREFIX}.leaves_what_maps_hand_back"])
def difference_written_into_the_reconstruction(
    x_to_y: Any, y_to_x: Any, x: Tensor, y: Tensor
) -> Tensor:
    """An in-place subtraction saves memory and, where a map hands back what it was given, empties
    the caller's own batch."""
    forward = y_to_x(x_to_y(x)).sub_(x).abs().mean()  # wrong: - x
    return forward + x_to_y(y_to_x(y)).sub_(y).abs().mean()  # type: ignore[no-any-return]  # wrong: - y
