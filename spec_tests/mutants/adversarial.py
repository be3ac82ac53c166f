r"""Classic mistakes of adversarial training: in the losses, the penalties and the norms."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.nn.utils import parametrizations, parametrize

from spec_tests.registry import mutant

# The losses of the game --------------------------------------------------------------------------


class Losses:
    """Right losses of a kind, of which a mutant replaces one."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        if self.kind == "least_squares":
            return ((real - 1).square().mean() + fake.square().mean()) / 2
        if self.kind == "wasserstein":
            return fake.mean() - real.mean()
        if self.kind == "hinge":
            return (1 - real).relu().mean() + (1 + fake).relu().mean()
        return softplus(-real).mean() + softplus(fake).mean()

    def generator_loss(self, fake: Tensor) -> Tensor:
        if self.kind == "minimax":
            return -softplus(fake).mean()
        if self.kind == "non_saturating":
            return softplus(-fake).mean()
        if self.kind == "least_squares":
            return (fake - 1).square().mean() / 2
        return -fake.mean()

    @property
    def logarithmic(self) -> bool:
        return self.kind in ("minimax", "non_saturating")


@mutant(
    "gan_losses",
    rejected_by=["gan_losses.discriminator_is_cross_entropy", "gan_losses.matches_game_value"],
)
def halved_cross_entropy(config: Any) -> Losses:
    """The two cross-entropies averaged, as a classifier's loss over both batches would be: half the
    value of the game, at the equilibrium log 2 and not log 4."""

    class Halved(Losses):
        def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
            # wrong: the sum, not its half
            return super().discriminator_loss(real, fake) / (2 if self.logarithmic else 1)

    return Halved(config.kind)


@mutant(
    "gan_losses",
    rejected_by=["gan_losses.batch_sizes_may_differ", "gan_losses.item_by_item"],
)
def summed_over_the_batch(config: Any) -> Losses:
    """A sum in place of the mean: the step grows with the batch, and the learning rate with it."""

    class Summed(Losses):
        def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
            return super().discriminator_loss(real, fake) * len(real)  # wrong: no factor

        def generator_loss(self, fake: Tensor) -> Tensor:
            return super().generator_loss(fake) * len(fake)  # wrong: no factor

    return Summed(config.kind)


@mutant(
    "gan_losses",
    rejected_by=["gan_losses.directions", "gan_losses.discriminator_is_cross_entropy"],
)
def labels_swapped(config: Any) -> Losses:
    """Real labelled 0 and fake 1 for the discriminator alone: it learns to call fakes real while
    the generator still climbs its score, and both players pull in one direction."""

    class Swapped(Losses):
        def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
            return super().discriminator_loss(fake, real)  # wrong: (real, fake)

    return Swapped(config.kind)


@mutant("gan_losses", rejected_by=["gan_losses.stable", "gan_losses.finite_at_extremes"])
def logarithm_after_the_sigmoid(config: Any) -> Losses:
    """log(sigmoid(s)) computed as written: the sigmoid of -800 is zero, its logarithm -inf, and one
    confident discriminator ends the run."""

    class Naive(Losses):
        def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
            if not self.logarithmic:
                return super().discriminator_loss(real, fake)
            # wrong: softplus of the score
            return -real.sigmoid().log().mean() - (1 - fake.sigmoid()).log().mean()

    return Naive(config.kind)


@mutant("gan_losses", rejected_by=["gan_losses.stable"])
def floor_under_the_logarithm(config: Any) -> Losses:
    """log(D + 1e-8): always finite, but flat where the discriminator is sure, so that exactly the
    samples it rejects teach the generator nothing."""

    class Floored(Losses):
        def generator_loss(self, fake: Tensor) -> Tensor:
            if self.kind != "non_saturating":
                return super().generator_loss(fake)
            return -(fake.sigmoid() + 1e-8).log().mean()  # wrong: softplus(-fake).mean()

    return Floored(config.kind)


@mutant("gan_losses", rejected_by=["gan_losses.generator_gradient", "gan_losses.stable"])
def saturating_generator(config: Any) -> Losses:
    """log(1 - D) where -log D was asked for: right about the direction, and next to no gradient at
    the start, when every sample is rejected."""

    class Saturating(Losses):
        def generator_loss(self, fake: Tensor) -> Tensor:
            if self.kind != "non_saturating":
                return super().generator_loss(fake)
            return -softplus(fake).mean()  # wrong: softplus(-fake).mean()

    return Saturating(config.kind)


@mutant(
    "gan_losses",
    rejected_by=["gan_losses.batch_sizes_may_differ", "gan_losses.matches_game_value"],
)
def mean_of_both_batches_joined(config: Any) -> Losses:
    """One mean over real and fake scores concatenated, doubled: right for equal batches, and for
    others the larger batch outvotes the smaller."""

    class Joined(Losses):
        def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
            if not self.logarithmic:
                return super().discriminator_loss(real, fake)
            # wrong: a mean for each batch
            return 2 * torch.cat([softplus(-real), softplus(fake)]).mean()

    return Joined(config.kind)


@mutant("gan_losses", rejected_by=["gan_losses.hinge_saturates"])
def hinge_without_margin(config: Any) -> Losses:
    """relu(-real) + relu(fake): a discriminator that answers 0 to everything is already content."""

    class Marginless(Losses):
        def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
            if self.kind != "hinge":
                return super().discriminator_loss(real, fake)
            return (-real).relu().mean() + fake.relu().mean()  # wrong: 1 - real, 1 + fake

    return Marginless(config.kind)


@mutant("gan_losses", rejected_by=["gan_losses.generator_gradient", "gan_losses.hinge_saturates"])
def hinge_for_the_generator_too(config: Any) -> Losses:
    """relu(1 - fake) for the generator: samples beyond the margin stop learning, where the hinge
    game's generator has the whole line."""

    class Hinged(Losses):
        def generator_loss(self, fake: Tensor) -> Tensor:
            if self.kind != "hinge":
                return super().generator_loss(fake)
            return (1 - fake).relu().mean()  # wrong: -fake.mean()

    return Hinged(config.kind)


@mutant("gan_losses", rejected_by=["gan_losses.wasserstein_linear", "gan_losses.directions"])
def critic_minimises_its_own_advantage(config: Any) -> Losses:
    """real.mean() - fake.mean() as a loss: the formula of the paper, which the critic maximises,
    handed to an optimiser that minimises."""

    class Upside(Losses):
        def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
            sign = -1 if self.kind == "wasserstein" else 1  # wrong: 1
            return sign * super().discriminator_loss(real, fake)

    return Upside(config.kind)


@mutant("gan_losses", rejected_by=["gan_losses.wasserstein_linear"])
def critic_with_a_sigmoid(config: Any) -> Losses:
    """The Wasserstein critic's scores squashed to (0, 1): no longer a distance, bounded by 1 and
    flat for scores of any size."""

    class Squashed(Losses):
        def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
            if self.kind != "wasserstein":
                return super().discriminator_loss(real, fake)
            return fake.sigmoid().mean() - real.sigmoid().mean()  # wrong: the scores themselves

    return Squashed(config.kind)


@mutant("gan_losses", rejected_by=["gan_losses.least_squares_optimum"])
def least_squares_without_the_half(config: Any) -> Losses:
    """(s - 1)^2 + s^2 unhalved: the optimum is the same, the value and the step are twice as large."""

    class Whole(Losses):
        def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
            factor = 2 if self.kind == "least_squares" else 1  # wrong: 1, the half stays
            return factor * super().discriminator_loss(real, fake)

    return Whole(config.kind)


@mutant("gan_losses", rejected_by=["gan_losses.least_squares_optimum"])
def least_squares_of_probabilities(config: Any) -> Losses:
    """Squares of sigmoid(s) - 1: the saturation that least squares was to remove comes back."""

    class Squashed(Losses):
        def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
            if self.kind == "least_squares":
                real, fake = real.sigmoid(), fake.sigmoid()  # wrong: the raw scores
            return super().discriminator_loss(real, fake)

    return Squashed(config.kind)


@mutant(
    "gan_losses",
    rejected_by=["gan_losses.discriminator_gradient", "gan_losses.gradient_is_derivative"],
)
def fakes_detached_inside_the_loss(config: Any) -> Losses:
    """The fake scores detached in the loss, where the samples were meant: the discriminator never
    learns from a fake."""

    class Detached(Losses):
        def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
            return super().discriminator_loss(real, fake.detach())  # wrong: fake, with its graph

    return Detached(config.kind)


@mutant("gan_losses", rejected_by=["gan_losses.has_no_memory"])
def relative_to_the_last_real_batch(config: Any) -> Losses:
    """The generator's scores taken relative to the real ones of the last discriminator step: another
    game (a relativistic one), and another loss at every call."""

    class Relative(Losses):
        last = 0.0

        def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
            self.last = float(real.mean())  # wrong: no memory
            return super().discriminator_loss(real, fake)

        def generator_loss(self, fake: Tensor) -> Tensor:
            return super().generator_loss(fake - self.last)  # wrong: fake alone

    return Relative(config.kind)


@mutant("gan_losses", rejected_by=["gan_losses.generator_gradient", "gan_losses.directions"])
def generator_plays_for_the_other_side(config: Any) -> Losses:
    """The generator minimises -log(1 - D), what the discriminator minimises of its samples: it makes
    them easier to reject."""

    class Traitor(Losses):
        def generator_loss(self, fake: Tensor) -> Tensor:
            return -super().generator_loss(fake)  # wrong: without the minus

    return Traitor(config.kind)


@mutant("gan_losses", rejected_by=["gan_losses.stable"])
def scores_clipped_to_forty(config: Any) -> Losses:
    """Scores clamped before the softplus, to be safe: the value is wrong beyond and the gradient
    exactly zero."""

    class Clamped(Losses):
        def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
            # wrong: no clamp
            return super().discriminator_loss(real.clamp(-40, 40), fake.clamp(-40, 40))

    return Clamped(config.kind)


# The gradient penalty ----------------------------------------------------------------------------


def fractions(real: Tensor) -> Tensor:
    """One uniform fraction for each item, of a shape that spreads over the event."""
    return torch.rand(len(real), *[1] * (real.ndim - 1), dtype=real.dtype, device=real.device)


def slopes_at(critic: Any, points: Tensor, keep: bool = True) -> Tensor:
    """Each item's gradient, flattened."""
    points = points.detach().clone().requires_grad_()
    (found,) = torch.autograd.grad(critic(points).sum(), points, create_graph=keep)
    return found.flatten(1)


def two_sided(gradient: Tensor) -> Tensor:
    return (torch.linalg.vector_norm(gradient, dim=1) - 1).square().mean()


@mutant("gradient_penalty", rejected_by=["gradient_penalty.fractions_are_uniform"])
def one_fraction_for_the_batch(critic: Any, real: Tensor, fake: Tensor) -> Tensor:
    """torch.rand(1) for the whole batch: every pair is judged at the same fraction, and the
    penalty of a step depends on one number."""
    t = torch.rand(1, dtype=real.dtype, device=real.device)  # wrong: len(real) of them
    return two_sided(slopes_at(critic, real + t * (fake - real)))


@mutant("gradient_penalty", rejected_by=["gradient_penalty.on_the_segments"])
def one_fraction_for_every_pixel(critic: Any, real: Tensor, fake: Tensor) -> Tensor:
    """torch.rand_like(real): a fraction of its own for each pixel gives points of the box between
    the two images, off the segment."""
    # wrong: fractions(real)
    return two_sided(slopes_at(critic, real + torch.rand_like(real) * (fake - real)))


@mutant("gradient_penalty", rejected_by=["gradient_penalty.fractions_are_uniform"])
def always_the_midpoint(critic: Any, real: Tensor, fake: Tensor) -> Tensor:
    """The fraction fixed at one half: the critic is free to be steep anywhere else on the way."""
    return two_sided(slopes_at(critic, (real + fake) / 2))  # wrong: a random fraction


@mutant("gradient_penalty", rejected_by=["gradient_penalty.fractions_are_uniform"])
def only_at_the_real_data(critic: Any, real: Tensor, fake: Tensor) -> Tensor:
    """The penalty at the real items, as R1 takes it: nothing is asked of the critic between data
    and samples, where it is used."""
    return two_sided(slopes_at(critic, real))  # wrong: on the way to fake


@mutant(
    "gradient_penalty",
    rejected_by=["gradient_penalty.on_the_segments", "gradient_penalty.fractions_are_uniform"],
)
def beyond_the_ends(critic: Any, real: Tensor, fake: Tensor) -> Tensor:
    """Fractions from a normal distribution (randn for rand): half of the points lie outside the
    segment."""
    # wrong: rand
    t = torch.randn(len(real), *[1] * (real.ndim - 1), dtype=real.dtype, device=real.device)
    return two_sided(slopes_at(critic, real + t * (fake - real)))


@mutant("gradient_penalty", rejected_by=["gradient_penalty.fractions_are_independent"])
def evenly_spaced_fractions(critic: Any, real: Tensor, fake: Tensor) -> Tensor:
    """linspace over the batch: uniform as a set, but the first item is always judged at the real
    end and the last at the fake."""
    t = torch.linspace(0, 1, len(real), dtype=real.dtype, device=real.device)  # wrong: torch.rand
    shaped = t.reshape(-1, *[1] * (real.ndim - 1))
    return two_sided(slopes_at(critic, real + shaped * (fake - real)))


@mutant("gradient_penalty", rejected_by=["gradient_penalty.on_the_segments"])
def another_items_partner(critic: Any, real: Tensor, fake: Tensor) -> Tensor:
    """The fakes shuffled before pairing, as a second loader would: the contract pairs real[i] with
    fake[i]."""
    other = fake.roll(1, 0)  # wrong: fake
    return two_sided(slopes_at(critic, real + fractions(real) * (other - real)))


@mutant("gradient_penalty", rejected_by=["gradient_penalty.zero_iff_unit_slope"])
def one_sided(critic: Any, real: Tensor, fake: Tensor) -> Tensor:
    """max(0, slope - 1)^2: a critic with slope below one goes free, and the two-sided penalty that
    holds it at one was asked for."""
    gradient = slopes_at(critic, real + fractions(real) * (fake - real))
    return (gradient.norm(dim=1) - 1).relu().square().mean()  # wrong: no relu


@mutant(
    "gradient_penalty",
    rejected_by=["gradient_penalty.linear_critic", "gradient_penalty.item_by_item"],
)
def norm_of_the_whole_batch(critic: Any, real: Tensor, fake: Tensor) -> Tensor:
    """gradients.norm() without a dimension: one norm for the batch, which grows with its size."""
    gradient = slopes_at(critic, real + fractions(real) * (fake - real))
    return (gradient.norm() - 1).square()  # wrong: norm(dim=1), then the mean


@mutant(
    "gradient_penalty",
    rejected_by=["gradient_penalty.norm_over_whole_event", "gradient_penalty.linear_critic"],
)
def norm_over_the_channels(critic: Any, real: Tensor, fake: Tensor) -> Tensor:
    """gradients.norm(dim=1) on images: one norm for each pixel, over its channels, and the mean
    over pixels; right for vectors, and every pixel is asked to have slope one."""
    points = (real + fractions(real) * (fake - real)).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(points).sum(), points, create_graph=True)
    # wrong: gradient.flatten(1)
    return (torch.linalg.vector_norm(gradient, dim=1) - 1).square().mean()


@mutant(
    "gradient_penalty",
    rejected_by=[
        "gradient_penalty.reaches_critic_parameters",
        "gradient_penalty.gradient_is_derivative",
    ],
)
def no_graph_of_the_gradient(critic: Any, real: Tensor, fake: Tensor) -> Tensor:
    """create_graph left out: the value is right and its gradient is zero, so the penalty is printed
    and never felt."""
    points = real + fractions(real) * (fake - real)
    return two_sided(slopes_at(critic, points, keep=False))  # wrong: keep=True


@mutant("gradient_penalty", rejected_by=["gradient_penalty.linear_critic"])
def square_of_the_norm(critic: Any, real: Tensor, fake: Tensor) -> Tensor:
    """(||g||^2 - 1)^2, the root forgotten: zero at the same slopes, and far steeper elsewhere."""
    gradient = slopes_at(critic, real + fractions(real) * (fake - real))
    return (gradient.square().sum(1) - 1).square().mean()  # wrong: norm(dim=1) - 1


@mutant("gradient_penalty", rejected_by=["gradient_penalty.linear_critic"])
def weighted_by_ten(critic: Any, real: Tensor, fake: Tensor) -> Tensor:
    """The paper's lambda = 10 multiplied in: the caller multiplies by it again."""
    # wrong: no factor, that is the caller's
    return 10 * two_sided(slopes_at(critic, real + fractions(real) * (fake - real)))


@mutant("gradient_penalty", rejected_by=["gradient_penalty.finite_at_zero_gradient"])
def root_of_a_sum_of_squares(critic: Any, real: Tensor, fake: Tensor) -> Tensor:
    """sqrt(sum of squares) without a guard: its slope at zero is infinite, and a dead critic turns
    every parameter into NaN."""
    gradient = slopes_at(critic, real + fractions(real) * (fake - real))
    return (gradient.square().sum(1).sqrt() - 1).square().mean()  # wrong: a guarded root


@mutant("gradient_penalty", rejected_by=["gradient_penalty.leaves_inputs_alone"])
def backward_into_the_parameters(critic: Any, real: Tensor, fake: Tensor) -> Tensor:
    """The gradient by the input taken with backward(): it also adds the scores' gradients to the
    parameters' .grad, and the optimiser's next step uses them."""
    points = (real + fractions(real) * (fake - real)).detach().requires_grad_()
    critic(points).sum().backward(create_graph=True)  # wrong: autograd.grad by the points
    assert points.grad is not None
    return two_sided(points.grad.flatten(1))


@mutant("gradient_penalty", rejected_by=["gradient_penalty.leaves_inputs_alone"])
def critic_left_in_eval_mode(critic: Any, real: Tensor, fake: Tensor) -> Tensor:
    """The critic put in eval mode for the penalty and left there: the rest of the training runs
    without its dropout."""
    if isinstance(critic, nn.Module):
        critic.eval()  # wrong: the mode stays
    return two_sided(slopes_at(critic, real + fractions(real) * (fake - real)))


@mutant("gradient_penalty", rejected_by=["gradient_penalty.accepts_inputs_with_gradients"])
def detaches_the_callers_fakes(critic: Any, real: Tensor, fake: Tensor) -> Tensor:
    """fake.detach_() in place: the generator's own loss, computed from the same samples, no longer
    reaches it."""
    fake.detach_()  # wrong: not in place
    return two_sided(slopes_at(critic, real + fractions(real) * (fake - real)))


# The R1 penalty ----------------------------------------------------------------------------------


@mutant("r1_penalty", rejected_by=["r1_penalty.quadratic_discriminator"])
def r1_without_the_half(discriminator: Any, real: Tensor) -> Tensor:
    """The mean squared norm itself: gamma means twice what it does in the paper."""
    return slopes_at(discriminator, real).square().sum(1).mean()  # wrong: half of it


@mutant("r1_penalty", rejected_by=["r1_penalty.quadratic_discriminator"])
def r1_mean_over_the_event(discriminator: Any, real: Tensor) -> Tensor:
    """A mean over pixels too: the larger the image, the weaker the penalty."""
    return slopes_at(discriminator, real).square().mean() / 2  # wrong: .sum(1).mean()


@mutant("r1_penalty", rejected_by=["r1_penalty.item_by_item", "r1_penalty.quadratic_discriminator"])
def r1_sum_over_the_batch(discriminator: Any, real: Tensor) -> Tensor:
    """Summed over the items: the penalty grows with the batch."""
    return slopes_at(discriminator, real).square().sum() / 2  # wrong: .sum(1).mean()


@mutant(
    "r1_penalty",
    rejected_by=["r1_penalty.reaches_parameters", "r1_penalty.gradient_is_derivative"],
)
def r1_without_a_graph(discriminator: Any, real: Tensor) -> Tensor:
    """create_graph left out: a number that regularises nothing."""
    return slopes_at(discriminator, real, keep=False).square().sum(1).mean() / 2  # wrong: keep=True


@mutant("r1_penalty", rejected_by=["r1_penalty.zero_iff_flat_at_the_data"])
def r1_near_the_data(discriminator: Any, real: Tensor) -> Tensor:
    """The gradient at noisy copies of the data (DRAGAN's points): a discriminator that is flat at
    the data itself is penalised."""
    noisy = real + 0.1 * torch.randn_like(real)  # wrong: real itself
    return slopes_at(discriminator, noisy).square().sum(1).mean() / 2


@mutant(
    "r1_penalty",
    rejected_by=[
        "r1_penalty.quadratic_discriminator",
        "r1_penalty.zero_iff_flat_at_the_data",
        "r1_penalty.finite_at_zero_gradient",
    ],
)
def r1_centred_at_one(discriminator: Any, real: Tensor) -> Tensor:
    """(||g|| - 1)^2 in place of ||g||^2: pulls the slope at the data to one, where R1 pulls it to
    zero and thereby converges."""
    return two_sided(slopes_at(discriminator, real)) / 2  # wrong: the mean of norm^2


@mutant("r1_penalty", rejected_by=["r1_penalty.quadratic_discriminator"])
def r1_norm_not_squared(discriminator: Any, real: Tensor) -> Tensor:
    """The norm without its square: a pull of constant size, with a kink at the equilibrium."""
    return slopes_at(discriminator, real).norm(dim=1).mean() / 2  # wrong: squared


@mutant("r1_penalty", rejected_by=["r1_penalty.finite_at_zero_gradient"])
def r1_root_then_square(discriminator: Any, real: Tensor) -> Tensor:
    """The squares summed, rooted and squared again: 0 * inf = NaN in the gradient at the
    equilibrium, where the slope is zero."""
    norm = slopes_at(discriminator, real).square().sum(1).sqrt()  # wrong: no root, no square
    return norm.square().mean() / 2


@mutant("r1_penalty", rejected_by=["r1_penalty.leaves_inputs_alone"])
def r1_marks_the_data(discriminator: Any, real: Tensor) -> Tensor:
    """real.requires_grad_() on the caller's own batch: every later use of the data builds a graph."""
    real.requires_grad_()  # wrong: on a detached copy
    (gradient,) = torch.autograd.grad(discriminator(real).sum(), real, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean() / 2


# Spectral normalisation --------------------------------------------------------------------------


def parametrized(layer: nn.Module, parametrization: nn.Module) -> nn.Module:
    parametrize.register_parametrization(layer, "weight", parametrization, unsafe=True)
    return layer


class Divided(nn.Module):
    """A weight divided by a function of it."""

    def __init__(self, size: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.size = size

    def forward(self, weight: Tensor) -> Tensor:
        return weight / self.size(weight)


def rows_of(layer: nn.Module) -> Callable[[Tensor], Tensor]:
    """The right flattening of a layer's weight."""
    swap = isinstance(layer, nn.ConvTranspose2d)
    return lambda weight: (weight.transpose(0, 1) if swap else weight).flatten(1)


@mutant("spectral_norm", rejected_by=["spectral_norm.gradient_through_sigma"])
def norm_held_constant(layer: nn.Module) -> nn.Module:
    """sigma detached: the gradient keeps its component along the weight, which only changes a scale
    that is divided out again."""
    rows = rows_of(layer)
    return parametrized(
        layer,
        # wrong: no detach
        Divided(lambda weight: torch.linalg.matrix_norm(rows(weight), 2).detach()),
    )


@mutant(
    "spectral_norm",
    rejected_by=["spectral_norm.transposed_layout", "spectral_norm.unit_norm"],
)
def transposed_flattened_as_stored(layer: nn.Module) -> nn.Module:
    """weight.flatten(1) for every layer: a transposed convolution stores its input channels first,
    and the norm is that of another matrix."""
    return parametrizations.spectral_norm(layer, dim=0)  # wrong: 1 for transposed layers


@mutant("spectral_norm", rejected_by=["spectral_norm.unit_norm", "spectral_norm.keeps_direction"])
def frobenius_norm(layer: nn.Module) -> nn.Module:
    """Divided by the root of all squares: an upper bound of the norm, so the layer is 1-Lipschitz,
    and needlessly flat; right for rank one only."""
    # wrong: largest singular value
    return parametrized(layer, Divided(lambda weight: weight.norm()))


@mutant("spectral_norm", rejected_by=["spectral_norm.unit_norm"])
def only_where_larger_than_one(layer: nn.Module) -> nn.Module:
    """W / max(1, sigma): weights with a small norm stay small, and the product of layers vanishes."""
    rows = rows_of(layer)
    return parametrized(
        layer,
        # wrong: no clamp
        Divided(lambda weight: torch.linalg.matrix_norm(rows(weight), 2).clamp_min(1)),
    )


@mutant("spectral_norm", rejected_by=["spectral_norm.keeps_direction"])
def every_singular_value_clipped(layer: nn.Module) -> nn.Module:
    """The decomposition taken and every singular value set to one: the norm is one, and so is
    everything else; the weight has lost what it learned."""
    swap = isinstance(layer, nn.ConvTranspose2d)

    class Orthogonal(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            oriented = weight.transpose(0, 1) if swap else weight
            left, _, right = torch.linalg.svd(oriented.flatten(1), full_matrices=False)
            flat = (left @ right).reshape(oriented.shape)  # wrong: left @ diag(s / s[0]) @ right
            return flat.transpose(0, 1) if swap else flat

    return parametrized(layer, Orthogonal())


class Estimated(nn.Module):
    """Power iteration by the book, with the choices that mutants get wrong."""

    def __init__(self, layer: nn.Module, persistent: bool = True, frozen: bool = True) -> None:
        super().__init__()
        self.rows, self.frozen = rows_of(layer), frozen
        weight = layer.weight.detach()  # type: ignore[operator, union-attr]
        u = torch.randn_like(self.rows(weight)[:, 0])  # type: ignore[arg-type]
        self.register_buffer("u", u / u.norm(), persistent=persistent)

    def step(self, matrix: Tensor, u: Tensor) -> Tensor:
        v = matrix.mT @ u
        fresh = matrix @ (v / v.norm())
        return fresh / fresh.norm()

    def forward(self, weight: Tensor) -> Tensor:
        matrix = self.rows(weight)
        u = self.u.clone()
        if self.training or not self.frozen:
            with torch.no_grad():
                u = self.step(matrix, u)
                self.u.copy_(u)
        return weight / (matrix.mT @ u).norm()


@mutant("spectral_norm", rejected_by=["spectral_norm.eval_is_frozen"])
def iterates_in_eval_mode(layer: nn.Module) -> nn.Module:
    """A power iteration at every forward, training or not: evaluation changes the network, and two
    evaluations of one input differ."""
    return parametrized(layer, Estimated(layer, frozen=False))  # wrong: frozen


@mutant("spectral_norm", rejected_by=["spectral_norm.state_round_trips"])
def vectors_outside_the_state(layer: nn.Module) -> nn.Module:
    """The singular vector in a buffer that is not saved: a loaded layer divides by the norm along a
    random direction."""
    return parametrized(layer, Estimated(layer, persistent=False))  # wrong: persistent


@mutant(
    "spectral_norm",
    rejected_by=["spectral_norm.unit_norm", "spectral_norm.power_iteration_monotone"],
)
def a_new_vector_every_time(layer: nn.Module) -> nn.Module:
    """The iteration started afresh at every forward: one step from a random vector, for ever, is a
    bad estimate and a noisy one."""

    class Forgetful(Estimated):
        def step(self, matrix: Tensor, u: Tensor) -> Tensor:
            fresh = torch.randn_like(u)  # wrong: u
            return super().step(matrix, fresh / fresh.norm())

    return parametrized(layer, Forgetful(layer))


@mutant(
    "spectral_norm",
    rejected_by=["spectral_norm.follows_training", "spectral_norm.power_iteration_monotone"],
)
def normalised_once(layer: nn.Module) -> nn.Module:
    """The weight divided once, when the layer is wrapped: after the first step of the optimiser the
    norm is whatever it is."""
    with torch.no_grad():
        # wrong: at every forward
        layer.weight.div_(torch.linalg.matrix_norm(rows_of(layer)(layer.weight), 2))  # type: ignore
    return layer


@mutant("spectral_norm", rejected_by=["spectral_norm.keeps_direction"])
def bias_divided_too(layer: nn.Module) -> nn.Module:
    """The bias divided along with the weight: it does not change the slope, and should stay."""
    size = torch.linalg.matrix_norm(rows_of(layer)(layer.weight.detach()), 2)  # type: ignore
    if layer.bias is not None:
        with torch.no_grad():
            layer.bias.div_(size)  # type: ignore[operator, union-attr]  # wrong: bias stays
    return parametrizations.spectral_norm(layer)


@mutant("spectral_norm", rejected_by=["spectral_norm.keeps_direction"])
def forward_with_the_raw_weight(layer: nn.Module) -> nn.Module:
    """The normalised weight is there to be read, and the forward uses the other one."""

    class Shown(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        @property
        def weight(self) -> Tensor:
            raw: Tensor = self.layer.weight  # type: ignore[assignment]
            return raw / torch.linalg.matrix_norm(rows_of(self.layer)(raw), 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x)  # wrong: with the normalised weight

    return Shown()


@mutant("spectral_norm", rejected_by=["spectral_norm.survives_rank_one"])
def guard_that_swallows_small_weights(layer: nn.Module) -> nn.Module:
    """W / (sigma + 0.01): for weights of the usual size hardly seen, and far too small for a layer
    whose norm is 0.01."""
    rows = rows_of(layer)
    return parametrized(
        layer,
        # wrong: no guard of this size
        Divided(lambda weight: torch.linalg.matrix_norm(rows(weight), 2) + 0.01),
    )


@mutant("spectral_norm", rejected_by=["spectral_norm.survives_rank_one"])
def differentiated_singular_vectors(layer: nn.Module) -> nn.Module:
    """sigma as u . W v with u and v left in the graph: their derivatives divide by differences of
    singular values, NaN for a weight of rank one."""
    rows = rows_of(layer)

    def size(weight: Tensor) -> Tensor:
        left, _, right = torch.linalg.svd(rows(weight), full_matrices=False)
        return left[:, 0] @ rows(weight) @ right[0]  # wrong: left and right detached

    return parametrized(layer, Divided(size))


# Weight clipping ---------------------------------------------------------------------------------


@mutant(
    "clip_weights",
    rejected_by=["clip_weights.leaves_buffers_alone"],
)
def clips_the_state_dict(module: nn.Module, bound: float) -> None:
    """Every tensor of the state dict clamped: the running variance of batch normalisation ends at
    0.01, and the network in eval mode is another."""
    for value in module.state_dict().values():  # wrong: parameters()
        value.clamp_(-bound, bound)


@mutant("clip_weights", rejected_by=["clip_weights.in_range"])
def clips_no_bias(module: nn.Module, bound: float) -> None:
    """Only parameters of two dimensions and more: biases and gains grow as they like."""
    for parameter in module.parameters():
        if parameter.ndim > 1:  # wrong: all of them
            parameter.data.clamp_(-bound, bound)


@mutant("clip_weights", rejected_by=["clip_weights.in_range"])
def clips_what_is_trained(module: nn.Module, bound: float) -> None:
    """Frozen parameters passed over: the slope of the network depends on them all the same."""
    for parameter in module.parameters():
        if parameter.requires_grad:  # wrong: frozen ones too
            parameter.data.clamp_(-bound, bound)


@mutant("clip_weights", rejected_by=["clip_weights.in_range"])
def clips_the_children_only(module: nn.Module, bound: float) -> None:
    """A loop over children and their own weights: what lies deeper, and the module's own
    parameters, are missed."""
    for child in module.children():  # wrong: module.parameters()
        for parameter in child.parameters(recurse=False):
            parameter.data.clamp_(-bound, bound)


@mutant(
    "clip_weights",
    rejected_by=["clip_weights.in_range", "clip_weights.leaves_small_weights_alone"],
)
def rescales_to_the_norm(module: nn.Module, bound: float) -> None:
    """Each parameter scaled down until its norm is at most the bound: small entries shrink with the
    large ones."""
    for parameter in module.parameters():
        norm = parameter.data.norm()
        # wrong: clamp_(-bound, bound)
        parameter.data.mul_(min(1.0, bound / float(norm)) if norm > 0 else 1.0)


@mutant("clip_weights", rejected_by=["clip_weights.in_range"])
def clips_from_above_only(module: nn.Module, bound: float) -> None:
    """clamp(max=c) without the lower end: negative weights are not bounded."""
    for parameter in module.parameters():
        parameter.data.clamp_(max=bound)  # wrong: min=-bound as well


@mutant("clip_weights", rejected_by=["clip_weights.in_range"])
def clips_the_absolute_value(module: nn.Module, bound: float) -> None:
    """The absolute value clipped and the sign lost."""
    for parameter in module.parameters():
        parameter.data.abs_().clamp_(max=bound)  # wrong: clamp_(-bound, bound)


@mutant("clip_weights", rejected_by=["clip_weights.keeps_the_parameters"])
def replaces_the_parameters(module: nn.Module, bound: float) -> None:
    """New Parameters with clipped values in place of the old: the optimiser trains the old ones
    from here on, which nobody uses."""
    for part in module.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            # wrong: clamp_ in place
            setattr(part, name, nn.Parameter(parameter.detach().clamp(-bound, bound)))


@mutant("clip_weights", rejected_by=["clip_weights.keeps_the_parameters"])
def clips_the_gradients_too(module: nn.Module, bound: float) -> None:
    """torch.nn.utils.clip_grad_value_ along the way: another technique, and the next step is
    another."""
    for parameter in module.parameters():
        parameter.data.clamp_(-bound, bound)
    nn.utils.clip_grad_value_(module.parameters(), 1e-3 * bound)  # wrong: gradients stay


@mutant(
    "clip_weights",
    rejected_by=["clip_weights.idempotent", "clip_weights.leaves_small_weights_alone"],
)
def squashes_smoothly(module: nn.Module, bound: float) -> None:
    """c tanh(w / c): inside the box, but every weight moves, and again at every call."""
    for parameter in module.parameters():
        # wrong: clamp_(-bound, bound)
        parameter.data.copy_(bound * (parameter.data / bound).tanh())


# Theory ------------------------------------------------------------------------------------------


@mutant("theory", rejected_by=["theory.gan_value_is_js", "theory.gan_fits"])
def discriminator_calls_fakes_real(pieces: Any) -> Any:
    """q/(p + q) for the best discriminator: the probability that a point is fake."""
    right = pieces.optimal_discriminator
    pieces.optimal_discriminator = lambda p, q: right(q, p)  # wrong: right(p, q)
    return pieces


@mutant("theory", rejected_by=["theory.gan_value_is_js", "theory.more_modes_lower_value"])
def value_is_one_divergence(pieces: Any) -> Any:
    """V(D*, G) = JS - log 4, the factor 2 forgotten."""
    js = pieces.js_divergence
    pieces.game_value_at_optimum = lambda p, q: js(p, q) - math.log(4)  # wrong: 2 * js(p, q)
    return pieces


@mutant("theory", rejected_by=["theory.more_modes_lower_value", "theory.gan_value_is_js"])
def value_of_the_generators_part_alone(pieces: Any) -> Any:
    """Only E_q log(1 - D*), what the generator's samples enter: the more modes are dropped, the
    more density its samples have over the data's, and the lower this part falls."""

    def value(p: Tensor, q: Tensor) -> Tensor:
        on = q > 0
        return -(q[on] * (q[on] / (p[on] + q[on])).log()).sum()  # wrong: plus E_p log D*

    pieces.game_value_at_optimum = value
    return pieces


@mutant("theory", rejected_by=["theory.clipping_bounds_slope"])
def euclidean_bound_of_one_weight(pieces: Any) -> Any:
    """c for the slope of a layer with weights in [-c, c], as if it had one input."""
    kind = pieces.SlopeBound
    pieces.clipped_layer_bound = lambda c, n, m=1: kind(c * n, c)  # wrong: c * math.sqrt(m * n)
    return pieces


@mutant("theory", rejected_by=["theory.clipping_bounds_slope"])
def coordinate_bound_for_distances(pieces: Any) -> Any:
    """The lecture's c D read as the Euclidean bound: true, and never attained: c sqrt(m D) is."""
    kind, right = pieces.SlopeBound, pieces.clipped_network_bound

    def bound(c: float, sizes: list[int]) -> Any:
        # wrong: .euclidean for the second
        return kind(right(c, sizes).max_norm, right(c, sizes).max_norm)

    pieces.clipped_network_bound = bound
    return pieces


@mutant(
    "theory", rejected_by=["theory.lipschitz_composes", "theory.spectral_bound_holds_for_pairs"]
)
def slopes_of_layers_added(pieces: Any) -> Any:
    """The norms of the layers summed: constants of maps in a row multiply."""
    pieces.spectral_bound = lambda weights: torch.stack(
        [torch.linalg.matrix_norm(w, 2) for w in weights]
    ).sum()  # wrong: .prod()
    return pieces


@mutant(
    "theory", rejected_by=["theory.spectral_bound_holds_for_pairs", "theory.lipschitz_composes"]
)
def frobenius_norms_multiplied(pieces: Any) -> Any:
    """Frobenius norms in place of spectral ones: a bound, and not a tight one."""
    # wrong: matrix_norm(w, 2)
    pieces.spectral_bound = lambda weights: torch.stack([w.norm() for w in weights]).prod()
    return pieces


@mutant("theory", rejected_by=["theory.reshaped_norm_is_not_operator_norm"])
def flattened_norm_as_slope(pieces: Any) -> Any:
    """The norm of the flattened kernel taken for the convolution's: pixels lie in several patches."""
    # wrong: times sqrt(kh kw)
    pieces.conv_norm_bound = lambda weight: torch.linalg.matrix_norm(weight.flatten(1), 2)
    return pieces


@mutant("theory", rejected_by=["theory.reshaped_norm_is_not_operator_norm"])
def norm_without_padding(pieces: Any) -> Any:
    """The convolution's norm computed without its padding: the border is left out."""
    right = pieces.conv_operator_norm
    pieces.conv_operator_norm = lambda weight, height, width, padding=0: right(
        weight,
        height,
        width,  # wrong: and padding
    )
    return pieces


@mutant("theory", rejected_by=["theory.wgan_optimal_critic_has_unit_slope"])
def critic_of_half_the_slope(pieces: Any) -> Any:
    """A critic kept at slope one half: 1-Lipschitz, and not the best."""
    right = pieces.kantorovich_potentials

    def potentials(*arguments: Tensor) -> tuple[Tensor, Tensor]:
        at_x, at_y = right(*arguments)
        return at_x / 2, at_y / 2  # wrong: at_x, at_y

    pieces.kantorovich_potentials = potentials
    return pieces


@mutant("theory", rejected_by=["theory.wgan_optimal_critic_has_unit_slope"])
def independent_plan(pieces: Any) -> Any:
    """The product of the marginals for a transport plan: it joins pairs along which the critic is
    not steep."""
    pieces.transport_plan = lambda x, y, p, q: p[:, None] * q  # wrong: an optimal plan
    return pieces


@mutant("gradient_penalty", rejected_by=["gradient_penalty.keeps_double_precision"])
def penalty_with_a_norm_in_single_precision(critic: Any, real: Tensor, fake: Tensor) -> Tensor:
    """The norm is taken in float32, which rounds what a float64 caller asked for to seven digits."""
    fraction = torch.rand(len(real), *[1] * (real.ndim - 1), dtype=real.dtype, device=real.device)
    x = (real + fraction * (fake - real)).detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    # wrong: stay in float64
    norm = (slope.flatten(1).float().square().sum(1) + 1e-12).sqrt().to(real.dtype)
    return (norm - 1).square().mean()
