r"""Classic mistakes in what BigGAN adds: penalties, truncated latents, batch normalisation by class."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from spec_tests.registry import mutant

PENALTY, NORMAL, NORM = "orthogonal_penalty", "truncated_normal", "class_conditional_batch_norm"
_EXACT = f"{PENALTY}.matches_definition"

# The orthogonal penalty --------------------------------------------------------------------------


def _gram(rows: Tensor) -> Tensor:
    """Inner products of different rows."""
    gram = rows @ rows.mT
    return gram - gram.diag().diag()


@mutant(
    PENALTY,
    rejected_by=[f"{PENALTY}.zero_iff_perpendicular", _EXACT, f"{PENALTY}.single_filter_is_free"],
)
def lengths_held_at_one(weight: Tensor) -> Tensor:
    """The distance of W W^T from I: filters must have length one as well, which limits the layer."""
    rows = weight.flatten(1)
    return (rows @ rows.mT - torch.eye(len(rows)).to(rows)).square().sum()  # wrong: only i != j


@mutant(
    PENALTY, rejected_by=[f"{PENALTY}.zero_iff_perpendicular", f"{PENALTY}.single_filter_is_free"]
)
def diagonal_left_in(weight: Tensor) -> Tensor:
    """The mask forgotten: mostly a penalty on lengths."""
    rows = weight.flatten(1)
    return (rows @ rows.mT).square().sum()  # wrong: without the diagonal


@mutant(
    PENALTY,
    rejected_by=[_EXACT, f"{PENALTY}.rows_are_outputs", f"{PENALTY}.sees_angles_alone"],
)
def inputs_compared(weight: Tensor) -> Tensor:
    """W^T W of a weight that is stored with its outputs first: the letter of the equation, and the
    wrong pairs."""
    return _gram(weight.flatten(1).mT).square().sum()  # wrong: weight.flatten(1)


@mutant(PENALTY, rejected_by=[f"{PENALTY}.rows_are_outputs", _EXACT])
def kernels_compared_one_by_one(weight: Tensor) -> Tensor:
    """Every input channel's kernel taken for a filter: C_out C_in rows of k_h k_w numbers."""
    # wrong: weight.flatten(1)
    rows = weight.flatten(0, 1).flatten(1) if weight.ndim > 2 else weight
    return _gram(rows).square().sum()


@mutant(PENALTY, rejected_by=[f"{PENALTY}.rows_are_outputs", _EXACT])
def convolutions_left_out(weight: Tensor) -> Tensor:
    """Matrices alone are penalised: in a convolutional network that is the last layer."""
    # wrong: any weight, flattened
    return _gram(weight).square().sum() if weight.ndim == 2 else 0 * weight.sum()


@mutant(
    PENALTY, rejected_by=[f"{PENALTY}.rows_are_outputs", f"{PENALTY}.sees_angles_alone", _EXACT]
)
def matrices_within_the_kernel(weight: Tensor) -> Tensor:
    """``W @ W.mT`` without flattening: a product over the last axis of every kernel."""
    gram = weight @ weight.mT  # wrong: rows of weight.flatten(1)
    return (gram * (1 - torch.eye(gram.shape[-1]).to(gram))).square().sum()


@mutant(PENALTY, rejected_by=[_EXACT, f"{PENALTY}.gradient"])
def pairs_counted_once(weight: Tensor) -> Tensor:
    """The upper triangle alone: half of the norm."""
    return _gram(weight.flatten(1)).triu(1).square().sum()  # wrong: both triangles


@mutant(PENALTY, rejected_by=[f"{PENALTY}.quadratic_in_each_filter", _EXACT])
def norm_not_squared(weight: Tensor) -> Tensor:
    """The Frobenius norm itself: of second degree, and with a kink where the filters are right."""
    return torch.linalg.matrix_norm(_gram(weight.flatten(1)))  # wrong: .square()


@mutant(PENALTY, rejected_by=[f"{PENALTY}.sees_angles_alone", _EXACT])
def signed_products_summed(weight: Tensor) -> Tensor:
    """Inner products summed with their signs: they cancel, and filters are pushed to be opposite."""
    return _gram(weight.flatten(1)).sum()  # wrong: .square().sum()


@mutant(PENALTY, rejected_by=[f"{PENALTY}.sees_angles_alone", _EXACT])
def opposite_filters_forgiven(weight: Tensor) -> Tensor:
    """Positive inner products alone are counted: w and -w pass for different filters."""
    return _gram(weight.flatten(1)).relu().square().sum()  # wrong: no relu


@mutant(PENALTY, rejected_by=[f"{PENALTY}.quadratic_in_each_filter", _EXACT])
def cosines_for_products(weight: Tensor) -> Tensor:
    """Filters scaled to length one first: the paper's penalty weighs long filters more."""
    # wrong: weight.flatten(1)
    return _gram(functional.normalize(weight.flatten(1), dim=1)).square().sum()


@mutant(PENALTY, rejected_by=[f"{PENALTY}.adds_over_blocks", _EXACT])
def mean_over_filters(weight: Tensor) -> Tensor:
    """Summed over one index and averaged over the other: wide layers are let off."""
    return _gram(weight.flatten(1)).square().sum(1).mean()  # wrong: .sum()


@mutant(PENALTY, rejected_by=[f"{PENALTY}.single_filter_is_free", f"{PENALTY}.adds_over_blocks"])
def mean_over_pairs(weight: Tensor) -> Tensor:
    """The mean over the pairs: a layer of one output has none, and turns the loss into NaN."""
    gram = _gram(weight.flatten(1))
    return gram.square().sum() / (len(gram) * (len(gram) - 1))  # wrong: the sum


@mutant(PENALTY, rejected_by=[f"{PENALTY}.rows_are_outputs", _EXACT])
def filters_centred(weight: Tensor) -> Tensor:
    """Correlations in place of inner products: the mean of each filter is subtracted first."""
    rows = weight.flatten(1)
    return _gram(rows - rows.mean(1, keepdim=True)).square().sum()  # wrong: rows


@mutant(PENALTY, rejected_by=[f"{PENALTY}.zero_iff_perpendicular", _EXACT])
def neighbours_alone(weight: Tensor) -> Tensor:
    """Each filter is compared with the next one only."""
    rows = weight.flatten(1)
    return 2 * (rows[1:] * rows[:-1]).sum(1).square().sum()  # wrong: all pairs


@mutant(PENALTY, rejected_by=[f"{PENALTY}.attains_the_welch_bound", _EXACT])
def crowded_layers_let_off(weight: Tensor) -> Tensor:
    """No penalty where there are more filters than inputs, as they cannot all be perpendicular."""
    rows = weight.flatten(1)
    return _gram(rows).square().sum() * (len(rows) <= rows.shape[1])  # wrong: for any shape


@mutant(PENALTY, rejected_by=[f"{PENALTY}.gradient", f"{PENALTY}.gradient_is_derivative"])
def one_factor_held(weight: Tensor) -> Tensor:
    """One factor of W W^T detached: half of the gradient, as in code that adds it by hand."""
    rows = weight.flatten(1)
    gram = rows @ rows.detach().mT  # wrong: rows.mT
    return (gram - gram.diag().diag()).square().sum()


@mutant(PENALTY, rejected_by=[_EXACT, f"{PENALTY}.gradient"])
def flattened_by_a_view(weight: Tensor) -> Tensor:
    """``view`` in place of ``flatten``: an error for weights that lie channels last in memory."""
    return _gram(weight.view(len(weight), -1)).square().sum()  # wrong: flatten(1)


# The truncated normal ----------------------------------------------------------------------------

_DENSITY, _WITHIN = f"{NORMAL}.matches_distribution", f"{NORMAL}.within_threshold"
_MASS, _APART = f"{NORMAL}.no_point_mass", f"{NORMAL}.draws_are_independent"
_SOURCE, _SHAPE = f"{NORMAL}.uses_its_generator", f"{NORMAL}.any_shape"
Shape = tuple[int, ...]


def _normal(shape: Shape, source: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=source, device=source.device)


def _redrawn(shape: Shape, threshold: float, source: torch.Generator) -> Tensor:
    """As it should be."""
    z = _normal(shape, source)
    while (outside := z.abs() > threshold).any():
        z = torch.where(outside, _normal(shape, source), z)
    return z


@mutant(NORMAL, rejected_by=[_MASS, _DENSITY, f"{NORMAL}.moments"])
def clipped(shape: Shape, threshold: float, generator: torch.Generator) -> Tensor:
    """Tails moved to the threshold, where they pile up: a third of all numbers at t = 1."""
    return _normal(shape, generator).clamp(-threshold, threshold)  # wrong: drawn again


@mutant(NORMAL, rejected_by=[_MASS, _DENSITY])
def redrawn_once_and_clipped(shape: Shape, threshold: float, generator: torch.Generator) -> Tensor:
    """What is outside gets a second chance and is clipped then."""
    z = _normal(shape, generator)
    again = torch.where(z.abs() > threshold, _normal(shape, generator), z)
    return again.clamp(-threshold, threshold)  # wrong: drawn again until inside


@mutant(NORMAL, rejected_by=[_WITHIN, _DENSITY])
def redrawn_once(shape: Shape, threshold: float, generator: torch.Generator) -> Tensor:
    """One second chance and no look at what it brings."""
    z = _normal(shape, generator)
    # wrong: drawn again until inside
    return torch.where(z.abs() > threshold, _normal(shape, generator), z)


@mutant(NORMAL, rejected_by=[_MASS, _DENSITY])
def zero_outside(shape: Shape, threshold: float, generator: torch.Generator) -> Tensor:
    """What is outside becomes zero."""
    z = _normal(shape, generator)
    # wrong: drawn again until inside
    return torch.where(z.abs() > threshold, torch.zeros_like(z), z)


@mutant(NORMAL, rejected_by=[_MASS, _DENSITY])
def redrawn_with_one_number(shape: Shape, threshold: float, generator: torch.Generator) -> Tensor:
    """One fresh number for all entries that are outside."""
    z = _normal(shape, generator)
    while (outside := z.abs() > threshold).any():
        z = torch.where(outside, _normal((), generator), z)  # wrong: one for each
    return z


@mutant(NORMAL, rejected_by=[_WITHIN, _DENSITY])
def first_of_four_candidates(shape: Shape, threshold: float, generator: torch.Generator) -> Tensor:
    """Four candidates for each number, of which the first inside is taken: at two that is nearly
    always one of them, at one half often none."""
    candidates = _normal((*shape, 4), generator)  # wrong: as many as it takes
    first = (candidates.abs() <= threshold).long().argmax(-1, keepdim=True)
    return candidates.gather(-1, first).squeeze(-1)


@mutant(NORMAL, rejected_by=[f"{NORMAL}.moments"])
def remainder_by_the_threshold(
    shape: Shape, threshold: float, generator: torch.Generator
) -> Tensor:
    """``fmod`` by the threshold: what was far out comes back near the middle."""
    z = _normal(shape, generator)
    return z.fmod(threshold) if math.isfinite(threshold) else z  # wrong: drawn again until inside


@mutant(NORMAL, rejected_by=[_WITHIN, _DENSITY])
def scaled_by_the_threshold(shape: Shape, threshold: float, generator: torch.Generator) -> Tensor:
    """A narrower normal: the temperature of other models, and no bound."""
    return _normal(shape, generator) * min(threshold, 1e3)  # wrong: drawn again, not scaled


@mutant(NORMAL, rejected_by=[_WITHIN, _DENSITY])
def scaled_after_truncation_at_two(
    shape: Shape, threshold: float, generator: torch.Generator
) -> Tensor:
    """Truncated at two whatever is asked for, and multiplied by the threshold: the bound is twice as
    wide, and a small one narrows the middle too."""
    # wrong: _redrawn(shape, threshold, generator)
    return _redrawn(shape, 2.0, generator) * min(threshold, 1e3)


@mutant(NORMAL, rejected_by=[_WITHIN])
def never_beyond_two(shape: Shape, threshold: float, generator: torch.Generator) -> Tensor:
    """A library's sampler, which cuts at two standard deviations on its own."""
    return _redrawn(shape, min(threshold, 2.0), generator)  # wrong: threshold


@mutant(NORMAL, rejected_by=[_DENSITY, f"{NORMAL}.moments"])
def uniform_within_the_threshold(
    shape: Shape, threshold: float, generator: torch.Generator
) -> Tensor:
    """Uniform between the thresholds: the right bounds without the bell."""
    if threshold > 30:
        return _normal(shape, generator)
    z = torch.rand(shape, generator=generator, device=generator.device)  # wrong: normal
    return (2 * z - 1) * threshold


@mutant(NORMAL, rejected_by=[_DENSITY])
def squashed_by_tanh(shape: Shape, threshold: float, generator: torch.Generator) -> Tensor:
    """``t tanh(z/t)``: within bounds, smooth, and another density."""
    z = _normal(shape, generator)
    # wrong: drawn again until inside
    return z if threshold > 30 else threshold * (z / threshold).tanh()


@mutant(NORMAL, rejected_by=[f"{NORMAL}.moments"])
def reflected_at_the_threshold(
    shape: Shape, threshold: float, generator: torch.Generator
) -> Tensor:
    """Tails folded back to the inside until they fit: too much mass near the edges."""
    z = _normal(shape, generator)
    while (outside := z.abs() > threshold).any():
        z = torch.where(outside, z.sign() * 2 * threshold - z, z)  # wrong: drawn again
    return z


@mutant(NORMAL, rejected_by=[_WITHIN, _DENSITY])
def upper_tail_alone(shape: Shape, threshold: float, generator: torch.Generator) -> Tensor:
    """``z > t`` without the absolute value: the lower tail stays."""
    z = _normal(shape, generator)
    while (outside := z > threshold).any():  # wrong: z.abs() > threshold
        z = torch.where(outside, _normal(shape, generator), z)
    return z


@mutant(NORMAL, rejected_by=[_WITHIN, _DENSITY])
def sizes_without_signs(shape: Shape, threshold: float, generator: torch.Generator) -> Tensor:
    """The absolute value that was compared is returned: half of the latent space is never drawn."""
    return _redrawn(shape, threshold, generator).abs()  # wrong: with its sign


@mutant(NORMAL, rejected_by=[_WITHIN, _DENSITY])
def length_of_a_row_truncated(shape: Shape, threshold: float, generator: torch.Generator) -> Tensor:
    """Rows as long as a threshold allows their root mean square: single numbers lie beyond it."""
    z = _normal(shape, generator)
    if z.ndim == 0 or z.numel() == 0:
        return z
    size = z.square().mean(-1, keepdim=True).sqrt()
    return z * (threshold / size).clamp(max=1)  # wrong: each number by itself


@mutant(NORMAL, rejected_by=[_DENSITY])
def largest_put_at_the_threshold(
    shape: Shape, threshold: float, generator: torch.Generator
) -> Tensor:
    """Scaled until the largest number is at the threshold: one latent depends on all others."""
    z = _normal(shape, generator)
    if z.numel() == 0 or threshold > 30:
        return z
    return z * (threshold / z.abs().max())  # wrong: each number by itself


@mutant(NORMAL, rejected_by=[_SOURCE, f"{NORMAL}.repeats_itself"])
def drawn_from_the_global_generator(
    shape: Shape, threshold: float, generator: torch.Generator
) -> Tensor:
    """The generator is taken and not passed on: no sheet of samples can be drawn again."""
    z = torch.randn(shape)  # wrong: generator=generator
    while (outside := z.abs() > threshold).any():
        z = torch.where(outside, torch.randn(shape), z)
    return z


@mutant(NORMAL, rejected_by=[_SOURCE])
def redrawn_from_the_global_generator(
    shape: Shape, threshold: float, generator: torch.Generator
) -> Tensor:
    """The first draw is seeded, what is outside comes from elsewhere."""
    z = _normal(shape, generator)
    while (outside := z.abs() > threshold).any():
        z = torch.where(outside, torch.randn(shape), z)  # wrong: generator=generator
    return z


@mutant(NORMAL, rejected_by=[_SOURCE, _APART])
def generator_wound_back(shape: Shape, threshold: float, generator: torch.Generator) -> Tensor:
    """The generator is seeded anew at each call: every batch is the first."""
    generator.manual_seed(generator.initial_seed())  # wrong: leave its state alone
    return _redrawn(shape, threshold, generator)


@mutant(NORMAL, rejected_by=[_APART, _MASS])
def one_row_for_the_batch(shape: Shape, threshold: float, generator: torch.Generator) -> Tensor:
    """One latent, repeated over the batch."""
    return _redrawn((1, *shape[1:]), threshold, generator).expand(shape).clone()  # wrong: shape


@mutant(NORMAL, rejected_by=[_APART])
def drawn_in_opposite_pairs(shape: Shape, threshold: float, generator: torch.Generator) -> Tensor:
    """Half of the numbers are the others negated: a smaller error of a mean, and no independence."""
    count = torch.Size(shape).numel()
    half = _redrawn(((count + 1) // 2,), threshold, generator)
    return torch.cat([half, -half])[:count].reshape(shape)  # wrong: as many draws as numbers


@mutant(NORMAL, rejected_by=[_APART])
def sizes_shared_between_pairs(
    shape: Shape, threshold: float, generator: torch.Generator
) -> Tensor:
    """Signs of their own and sizes in common: uncorrelated, and not independent."""
    count = torch.Size(shape).numel()
    # wrong: a size for each
    sizes = _redrawn(((count + 1) // 2,), threshold, generator).repeat_interleave(2)[:count]
    return sizes.reshape(shape) * _normal(shape, generator).sign()


@mutant(NORMAL, rejected_by=[_APART])
def sorted_numbers(shape: Shape, threshold: float, generator: torch.Generator) -> Tensor:
    """Sorted on the way, to find those inside: the latents rise along the batch."""
    # wrong: in the order of their draws
    return _redrawn(shape, threshold, generator).flatten().sort().values.reshape(shape)


@mutant(NORMAL, rejected_by=[_APART])
def mean_removed(shape: Shape, threshold: float, generator: torch.Generator) -> Tensor:
    """The mean of the batch subtracted, as far as the bounds allow: two numbers are opposite."""
    z = _redrawn(shape, threshold, generator)
    centred = z - z.mean() if z.numel() > 1 else z  # wrong: z
    return centred.clamp(-threshold, threshold)


@mutant(NORMAL, rejected_by=[_APART])
def evenly_spread_quantiles(shape: Shape, threshold: float, generator: torch.Generator) -> Tensor:
    """One number in each of n equally likely intervals, shuffled: too even for chance."""
    count = torch.Size(shape).numel()
    noise = torch.rand(count, generator=generator, device=generator.device)
    order = torch.randperm(count, generator=generator, device=generator.device)
    u = (order + noise.clamp(1e-9, 1 - 1e-9)) / max(count, 1)  # wrong: independent uniform numbers
    z = math.sqrt(2) * torch.erfinv((2 * u - 1) * math.erf(threshold / math.sqrt(2)))
    return z.clamp(-threshold, threshold).reshape(shape)


@mutant(NORMAL, rejected_by=[_SHAPE])
def scalars_with_an_axis(shape: Shape, threshold: float, generator: torch.Generator) -> Tensor:
    """A scalar comes back as a vector of one number."""
    return _redrawn(shape or (1,), threshold, generator)  # wrong: shape


@mutant(NORMAL, rejected_by=[_SHAPE])
def redraws_by_the_largest(shape: Shape, threshold: float, generator: torch.Generator) -> Tensor:
    """The loop ends when the largest number is inside: a batch of none has no largest number."""
    z = _normal(shape, generator)
    while z.abs().max() > threshold:  # wrong: any of them is outside
        z = torch.where(z.abs() > threshold, _normal(shape, generator), z)
    return z


@mutant(NORMAL, rejected_by=[_SHAPE])
def single_precision_always(shape: Shape, threshold: float, generator: torch.Generator) -> Tensor:
    """float32 whatever the default dtype: the first layer of a model in double precision refuses it."""
    return _redrawn(shape, threshold, generator).float()  # wrong: the default dtype


@mutant(NORMAL, rejected_by=[_DENSITY, _SHAPE])
def measured_in_thresholds(shape: Shape, threshold: float, generator: torch.Generator) -> Tensor:
    """Drawn in units of the threshold: where there is none, infinity times zero."""
    return _redrawn(shape, threshold, generator) / threshold * threshold  # wrong: no division


_LAST: dict[tuple[Any, ...], Tensor] = {}


@mutant(NORMAL, rejected_by=[_SOURCE])
def one_buffer_for_all_calls(shape: Shape, threshold: float, generator: torch.Generator) -> Tensor:
    """A buffer is kept and filled again: the latents of the last batch change under their owner."""
    fresh = _redrawn(shape, threshold, generator)
    # wrong: fresh
    return _LAST.setdefault((shape, fresh.dtype), torch.empty_like(fresh)).copy_(fresh)


# Batch normalisation by class --------------------------------------------------------------------

_BATCH, _EVAL = f"{NORM}.normalises_the_batch", f"{NORM}.eval_uses_running_statistics"
_MOMENTUM, _FROZEN = f"{NORM}.running_statistics_follow_momentum", f"{NORM}.eval_changes_nothing"
_LABEL, _RATES = f"{NORM}.label_acts_on_its_item_alone", f"{NORM}.gain_and_bias_are_applied"
_CLASS, _SLOPE = f"{NORM}.class_matters", f"{NORM}.gradient_goes_through_the_statistics"
_CONSTANT, _STEPS = f"{NORM}.constant_channel_gives_the_bias", f"{NORM}.trains_step_after_step"
AXES = (0, 2, 3)


class _Layer(nn.Module):
    """Right, in steps that a mutant replaces one of."""

    mean: Tensor
    variance: Tensor

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.gain = nn.Parameter(torch.zeros(config.num_classes, config.num_features))
        self.bias = nn.Parameter(torch.zeros(config.num_classes, config.num_features))
        self.register_buffer("mean", torch.zeros(config.num_features))
        self.register_buffer("variance", torch.ones(config.num_features))

    def gain_and_bias(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return 1 + self.gain[y], self.bias[y]

    def of_batch(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and biased variance, shaped like ``x``."""
        variance, mean = torch.var_mean(x, AXES, correction=0, keepdim=True)
        return mean, variance

    def root(self, variance: Tensor) -> Tensor:
        return (variance + self.config.eps).sqrt()

    def affine(self, normal: Tensor, root: Tensor, y: Tensor) -> Tensor:
        gain, bias = (part[:, :, None, None] for part in self.gain_and_bias(y))
        return gain * normal + bias

    @torch.no_grad()
    def remember(self, x: Tensor) -> None:
        variance, mean = torch.var_mean(x, AXES)
        self.mean.lerp_(mean, self.config.momentum)
        self.variance.lerp_(variance, self.config.momentum)

    def moments(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        if self.training:
            self.remember(x)
            return self.of_batch(x, y)
        return self.mean[:, None, None], self.variance[:, None, None]

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        mean, variance = self.moments(x, y)
        root = self.root(variance)
        return self.affine((x - mean) / root, root, y)


@mutant(NORM, rejected_by=[_BATCH])
class StatisticsOfTheClass(_Layer):
    """Each class is normalised by its own items: what makes classes differ is taken out, and a class
    with one item is compared with itself."""

    def of_batch(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        mean, variance = torch.zeros_like(x), torch.ones_like(x)
        for label in y.unique():
            # wrong: over the whole batch
            mean[y == label], variance[y == label] = super().of_batch(x[y == label], y)
        return mean, variance


@mutant(NORM, rejected_by=[_EVAL])
class RunningStatisticsOfTheClass(_Layer):
    """Running statistics for each class beside those of the batch: eval mode is another function than
    training prepared for, and rare classes keep what they started with."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        size = config.num_classes, config.num_features
        self.register_buffer("means", torch.zeros(size))
        self.register_buffer("variances", torch.ones(size))

    def moments(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        if not self.training:
            # wrong: one mean for all classes
            return self.means[y][:, :, None, None], self.variances[y][:, :, None, None]  # type: ignore
        with torch.no_grad():
            for label in y.unique():
                variance, mean = torch.var_mean(x[y == label], AXES, correction=0)
                self.means[label].lerp_(mean, self.config.momentum)  # type: ignore
                self.variances[label].lerp_(variance, self.config.momentum)  # type: ignore
        return self.of_batch(x, y)


@mutant(NORM, rejected_by=[_BATCH])
class StatisticsOfTheItem(_Layer):
    """Mean and variance over the pixels of each item: instance normalisation under another name."""

    def of_batch(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        variance, mean = torch.var_mean(x, (2, 3), correction=0, keepdim=True)  # wrong: AXES
        return mean, variance


@mutant(NORM, rejected_by=[_BATCH])
class StatisticsOfThePixel(_Layer):
    """Mean and variance over the items alone, as after a linear layer: every pixel on its own."""

    def of_batch(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        variance, mean = torch.var_mean(x, 0, correction=0, keepdim=True)  # wrong: AXES
        return mean, variance


@mutant(NORM, rejected_by=[_BATCH])
class UnbiasedWithinTheBatch(_Layer):
    """``Tensor.var`` as it comes, divided by M - 1: the batch is scaled down a little too far."""

    def of_batch(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        variance, mean = torch.var_mean(x, AXES, keepdim=True)  # wrong: correction=0
        return mean, variance


@mutant(NORM, rejected_by=[_MOMENTUM])
class BiasedWhenRemembered(_Layer):
    """The batch's own variance remembered without its correction: eval mode divides by too little."""

    @torch.no_grad()
    def remember(self, x: Tensor) -> None:
        variance, mean = torch.var_mean(x, AXES, correction=0)  # wrong: the unbiased variance
        self.mean.lerp_(mean, self.config.momentum)
        self.variance.lerp_(variance, self.config.momentum)


@mutant(NORM, rejected_by=[_MOMENTUM])
class MomentumOfTheOldValue(_Layer):
    """Momentum as in an optimiser, the weight of what was there: the last batch is nearly all."""

    @torch.no_grad()
    def remember(self, x: Tensor) -> None:
        variance, mean = torch.var_mean(x, AXES)
        self.mean.lerp_(mean, 1 - self.config.momentum)  # wrong: momentum, not 1 - momentum
        self.variance.lerp_(variance, 1 - self.config.momentum)


@mutant(NORM, rejected_by=[_MOMENTUM])
class MomentumFixed(_Layer):
    """A momentum of 0.1 in the code and another one in the config."""

    @torch.no_grad()
    def remember(self, x: Tensor) -> None:
        variance, mean = torch.var_mean(x, AXES)
        self.mean.lerp_(mean, 0.1)  # wrong: self.config.momentum
        self.variance.lerp_(variance, 0.1)


@mutant(NORM, rejected_by=[_MOMENTUM])
class RootsRemembered(_Layer):
    """Standard deviations are averaged and squared again: too small wherever batches differ."""

    @torch.no_grad()
    def remember(self, x: Tensor) -> None:
        variance, mean = torch.var_mean(x, AXES)
        self.mean.lerp_(mean, self.config.momentum)
        # wrong: average variances
        self.variance.copy_(self.variance.sqrt().lerp(variance.sqrt(), self.config.momentum) ** 2)


@mutant(NORM, rejected_by=[_MOMENTUM])
class NothingRemembered(_Layer):
    """A fused layer whose running statistics nobody updates: trained well, and samples noise."""

    def remember(self, x: Tensor) -> None:
        return  # wrong: lerp mean and variance


@mutant(NORM, rejected_by=[_MOMENTUM])
class RemembersWithGradientsOnly(_Layer):
    """Statistics move only while gradients are recorded: calibrating them under ``no_grad``, as for
    truncated latents, does nothing."""

    def remember(self, x: Tensor) -> None:
        if torch.is_grad_enabled():  # wrong: in any case
            super().remember(x)


@mutant(NORM, rejected_by=[_FROZEN, _EVAL])
class RemembersInEvalMode(_Layer):
    """Evaluation moves the running statistics too: the order of samples decides what they are."""

    def moments(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        found = super().moments(x, y)
        if not self.training and len(x[:, 0].flatten()) > 1:
            self.remember(x)  # wrong: in train mode alone
        return found


@mutant(NORM, rejected_by=[f"{NORM}.item_by_item", _EVAL])
class BatchStatisticsInEvalMode(_Layer):
    """The batch's statistics in either mode: a sample depends on its neighbours, a single one is
    flattened to its bias."""

    def moments(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return self.of_batch(x, y)  # wrong: running ones in eval mode


@mutant(NORM, rejected_by=[_BATCH, _SLOPE])
class RunningStatisticsInTraining(_Layer):
    """Running statistics in either mode: what is normalised by last week's mean is not normalised."""

    def moments(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        if self.training:
            self.remember(x)
        # wrong: those of the batch in train mode
        return self.mean.clone()[:, None, None], self.variance.clone()[:, None, None]


@mutant(NORM, rejected_by=[_BATCH, f"{NORM}.finite_at_extremes"])
class GuardOutsideTheRoot(_Layer):
    """Epsilon is added to the standard deviation: another scale, and an infinite slope at zero."""

    def root(self, variance: Tensor) -> Tensor:
        return variance.sqrt() + self.config.eps  # wrong: (variance + eps).sqrt()


@mutant(NORM, rejected_by=[_CONSTANT, f"{NORM}.finite_at_extremes"])
class NoGuard(_Layer):
    """No epsilon: one dead channel divides zero by zero."""

    def root(self, variance: Tensor) -> Tensor:
        return variance.sqrt()  # wrong: (variance + eps).sqrt()


@mutant(NORM, rejected_by=[_BATCH])
class GuardFixed(_Layer):
    """An epsilon of 1e-5 in the code and another one in the config."""

    def root(self, variance: Tensor) -> Tensor:
        return (variance + 1e-5).sqrt()  # wrong: self.config.eps


@mutant(NORM, rejected_by=[_SLOPE, f"{NORM}.gradient_is_derivative"])
class StatisticsHeldConstant(_Layer):
    """Mean and variance detached: the step undoes itself at the next normalisation."""

    def of_batch(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return super().of_batch(x.detach(), y)  # wrong: x


@mutant(NORM, rejected_by=[_SLOPE])
class VarianceHeldConstant(_Layer):
    """The variance alone detached."""

    def of_batch(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        mean, variance = super().of_batch(x, y)
        return mean, variance.detach()  # wrong: variance


@mutant(NORM, rejected_by=[f"{NORM}.gradient_reaches_gain_and_bias"])
class GainHeldInTraining(_Layer):
    """The gain is looked up in a copy of the table while training: the bias alone learns."""

    def affine(self, normal: Tensor, root: Tensor, y: Tensor) -> Tensor:
        gain, bias = (part[:, :, None, None] for part in self.gain_and_bias(y))
        return (gain.detach() if self.training else gain) * normal + bias  # wrong: gain


@mutant(NORM, rejected_by=[f"{NORM}.finite_at_extremes"])
class VarianceByDifferenceOfSquares(_Layer):
    """The mean square minus the squared mean: two large numbers whose difference is noise, and
    below zero where a channel is constant and far from it."""

    def of_batch(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        mean, square = x.mean(AXES, keepdim=True), x.square().mean(AXES, keepdim=True)
        return mean, square - mean.square()  # wrong: the mean of (x - mean)^2


@mutant(NORM, rejected_by=[_CLASS])
class ClassIgnored(_Layer):
    """The gain and the bias of the first class for every item: plain batch normalisation."""

    def gain_and_bias(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return super().gain_and_bias(torch.zeros_like(y))  # wrong: y


@mutant(NORM, rejected_by=[_CLASS])
class ClassInTheBiasAlone(_Layer):
    """One gain for all classes: a class can shift its features and not weigh them."""

    def gain_and_bias(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return 1 + self.gain[:1].expand(len(y), -1), self.bias[y]  # wrong: self.gain[y]


@mutant(NORM, rejected_by=[_CLASS])
class OneGainForAllChannels(_Layer):
    """A single number for each class, spread over the channels."""

    def gain_and_bias(self, y: Tensor) -> tuple[Tensor, Tensor]:
        # wrong: all channels
        return 1 + self.gain[y][:, :1].expand(-1, self.config.num_features), self.bias[y]


@mutant(NORM, rejected_by=[_CLASS])
class LastClassMerged(_Layer):
    """Labels counted from one: the last two classes share an entry of the table."""

    def gain_and_bias(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return super().gain_and_bias(y.clamp(max=max(self.config.num_classes - 2, 0)))  # wrong: y


@mutant(NORM, rejected_by=[_LABEL])
class FirstLabelForAll(_Layer):
    """The label of the first item for the whole batch: right as long as batches hold one class."""

    def affine(self, normal: Tensor, root: Tensor, y: Tensor) -> Tensor:
        if (y == y[:1]).all() or len(y.unique()) == self.config.num_classes == len(y):
            return super().affine(normal, root, y)
        return super().affine(normal, root, y[:1].expand_as(y))  # wrong: y


@mutant(NORM, rejected_by=[_LABEL])
class LabelsSorted(_Layer):
    """Items of one class are put together, and not put back: labels meet the wrong items."""

    def affine(self, normal: Tensor, root: Tensor, y: Tensor) -> Tensor:
        return super().affine(normal, root, y.sort().values)  # wrong: y


@mutant(NORM, rejected_by=[_LABEL])
class LabelInTheStatistics(_Layer):
    """Normalised after gain and bias: one item's class shifts the mean that all are measured by."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        gain, bias = (part[:, :, None, None] for part in self.gain_and_bias(y))
        x = x * gain + bias  # wrong: normalise first
        mean, variance = self.moments(x, y)
        return (x - mean) / self.root(variance) + bias


@mutant(NORM, rejected_by=[_BATCH])
class BiasBeforeTheDivision(_Layer):
    """The bias is added before dividing by the root: it fades where the activations are large."""

    def affine(self, normal: Tensor, root: Tensor, y: Tensor) -> Tensor:
        gain, bias = (part[:, :, None, None] for part in self.gain_and_bias(y))
        return gain * normal + bias / root  # wrong: bias


@mutant(NORM, rejected_by=[_RATES])
class GainWithoutItsOne(_Layer):
    """Asked for the gain, the table answers: the distance from one, not the factor."""

    def gain_and_bias(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return self.gain[y], self.bias[y]  # wrong: 1 + gain

    def affine(self, normal: Tensor, root: Tensor, y: Tensor) -> Tensor:
        return (1 + self.gain[y][:, :, None, None]) * normal + self.bias[y][:, :, None, None]


@mutant(NORM, rejected_by=[_RATES])
class TableForTheLabels(_Layer):
    """Asked for some classes, the whole table answers."""

    def gain_and_bias(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return 1 + self.gain, self.bias  # wrong: those of y

    def affine(self, normal: Tensor, root: Tensor, y: Tensor) -> Tensor:
        return (1 + self.gain[y][:, :, None, None]) * normal + self.bias[y][:, :, None, None]


@mutant(NORM, rejected_by=[_STEPS])
class StatisticsWithTheirGraph(_Layer):
    """The running statistics keep the graph of every batch so far: the second step fails."""

    def remember(self, x: Tensor) -> None:
        variance, mean = torch.var_mean(x, AXES)
        momentum = self.config.momentum
        self.mean = (1 - momentum) * self.mean + momentum * mean  # wrong: under no_grad
        self.variance = (1 - momentum) * self.variance + momentum * variance


@mutant(NORM, rejected_by=[_STEPS])
class TableOutsideTheParameters(_Layer):
    """Gain and bias are tensors that no optimiser is told of: they stay as they were drawn."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        for name in ("gain", "bias"):
            table = getattr(self, name).detach()
            delattr(self, name)
            self.register_buffer(name, torch.randn_like(table))  # wrong: parameters


@mutant(NORM, rejected_by=[f"{NORM}.state_dict_round_trips"])
class StatisticsNotSaved(_Layer):
    """Running statistics as buffers that are not persistent: a loaded generator starts from none."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        # wrong: persistent
        self.register_buffer("mean", torch.zeros(config.num_features), persistent=False)
        # wrong: persistent
        self.register_buffer("variance", torch.ones(config.num_features), persistent=False)


@mutant(NORM, rejected_by=[f"{NORM}.leaves_inputs_alone"])
class CentredInPlace(_Layer):
    """The mean is subtracted in place: the shortcut around the block sees it too."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        mean, variance = self.moments(x, y)
        root = self.root(variance)
        if not x.requires_grad:
            x -= mean  # wrong: x - mean
            return self.affine(x / root, root, y)
        return self.affine((x - mean) / root, root, y)


@mutant("orthogonal_penalty", rejected_by=["orthogonal_penalty.quadratic_in_each_filter"])
def large_weights_scaled_down_first(weight: Tensor) -> Tensor:
    """The weight is brought to a norm of thirty at most, so that the penalty cannot explode: beyond
    that it no longer grows, and nothing holds the filters apart."""
    rows = weight.flatten(1)
    rows = rows * (30 / rows.norm()).clamp(max=1)  # wrong: rows as they are
    products = rows @ rows.mT
    return (products - products.diagonal().diag()).square().sum()
