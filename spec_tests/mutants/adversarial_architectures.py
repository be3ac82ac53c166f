r"""Classic mistakes in the architectures of adversarial networks and in CycleGAN's objective.

A mutant takes a right network and exchanges one part of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from spec_tests.registry import mutant

_DCGAN, _LATENT = "theory.dcgan_guidelines", "theory.vector_arithmetic"
_TRUNCATION = "theory.truncation_bounds_every_coordinate"
_PENALTY = "theory.orthogonal_penalty_zero_iff_orthogonal"
_GAIN, _BLOCKS = (
    "theory.conditional_batch_norm_gain_is_one_plus",
    "theory.residual_blocks_halve_and_double",
)
_FADE = "theory.fade_in_meets_both_ends"
_PIXEL, _SPREAD = (
    "theory.pixel_norm_has_unit_mean_square",
    "theory.minibatch_stddev_is_zero_iff_collapsed",
)
_TRANSLATOR, _PATCH = "theory.cyclegan_generator_translates", "theory.patches_see_no_further"
_OBJECTIVE, _POOL = (
    "theory.cyclegan_objective_adds_up",
    "theory.image_pool_keeps_size_and_history",
)
_CLASSES = "theory.conditional_game"


def _rebuilt(make: Callable[..., Any], change: Callable[[list[nn.Module]], Any]) -> Any:
    """A factory whose network has its list of layers changed."""

    def build(*arguments: Any, **keywords: Any) -> Any:
        model = make(*arguments, **keywords)
        model.layers = nn.Sequential(*change(list(model.layers)))
        return model

    return build


def _exchanged(kind: type, other: Callable[[Any], nn.Module]) -> Any:
    return lambda layers: [other(part) if isinstance(part, kind) else part for part in layers]


# DCGAN -------------------------------------------------------------------------------------------


@mutant("theory", rejected_by=[_DCGAN])
def leaky_slope_forgotten(pieces: Any) -> Any:
    """ReLU in the discriminator: what it is sure to be fake sends no gradient back."""
    change = _exchanged(nn.LeakyReLU, lambda part: nn.ReLU())  # wrong: LeakyReLU(0.2) stays
    pieces.DCGANDiscriminator = _rebuilt(pieces.DCGANDiscriminator, change)
    return pieces


@mutant("theory", rejected_by=[_DCGAN])
def pixels_batch_normalised(pieces: Any) -> Any:
    """Batch normalisation at the generator's output as well: the images share one mean."""

    def change(layers: list[nn.Module]) -> list[nn.Module]:
        last: Any = layers[-2]
        # wrong: no normalisation here
        return [*layers[:-1], nn.BatchNorm2d(last.out_channels), layers[-1]]

    pieces.DCGANGenerator = _rebuilt(pieces.DCGANGenerator, change)
    return pieces


@mutant("theory", rejected_by=[_DCGAN])
def images_batch_normalised(pieces: Any) -> Any:
    """Batch normalisation after the discriminator's first convolution too."""

    def change(layers: list[nn.Module]) -> list[nn.Module]:
        first: Any = layers[0]
        # wrong: no normalisation here
        return [first, nn.BatchNorm2d(first.out_channels), *layers[1:]]

    pieces.DCGANDiscriminator = _rebuilt(pieces.DCGANDiscriminator, change)
    return pieces


@mutant("theory", rejected_by=[_DCGAN])
def pooled_not_strided(pieces: Any) -> Any:
    """Convolutions of stride one, and pooling to halve: the old way, with its fixed arithmetic."""

    def change(layers: list[nn.Module]) -> list[nn.Module]:
        first: Any = layers[0]
        # wrong: kernel 4, stride 2, no pooling
        conv = nn.Conv2d(first.in_channels, first.out_channels, 3, padding=1)
        return [conv, nn.AvgPool2d(2), *layers[1:]]

    pieces.DCGANDiscriminator = _rebuilt(pieces.DCGANDiscriminator, change)
    return pieces


@mutant("theory", rejected_by=[_DCGAN])
def no_tanh_at_the_end(pieces: Any) -> Any:
    """The generator ends with its last convolution."""
    # wrong: all layers
    pieces.DCGANGenerator = _rebuilt(pieces.DCGANGenerator, lambda layers: layers[:-1])
    return pieces


@mutant("theory", rejected_by=[_DCGAN])
def activated_before_normalised(pieces: Any) -> Any:
    """ReLU first and batch normalisation after it: the same parts in the other order."""

    def change(layers: list[nn.Module]) -> list[nn.Module]:
        for i, part in enumerate(layers):
            if isinstance(part, nn.ReLU):
                layers[i - 1], layers[i] = part, layers[i - 1]  # wrong: normalise first
        return layers

    pieces.DCGANGenerator = _rebuilt(pieces.DCGANGenerator, change)
    return pieces


# Latent space ------------------------------------------------------------------------------------


@mutant("theory", rejected_by=[_LATENT])
def straight_line(pieces: Any) -> Any:
    """Linear interpolation: halfway the latent is shorter than any that was trained on."""
    pieces.slerp = lambda a, b, t: torch.lerp(a, b, t)  # wrong: along the great circle
    return pieces


@mutant("theory", rejected_by=[_LATENT])
def line_pushed_to_the_sphere(pieces: Any) -> Any:
    """Linear interpolation, then scaled to length: the right arc, at a pace that changes."""

    def slerp(a: Tensor, b: Tensor, t: float) -> Tensor:
        between = torch.lerp(a, b, t)  # wrong: sines of the angle for weights
        return between / between.norm(dim=-1, keepdim=True) * a.norm(dim=-1, keepdim=True)

    pieces.slerp = slerp
    return pieces


@mutant("theory", rejected_by=[_LATENT])
def angle_of_the_raw_vectors(pieces: Any) -> Any:
    """arccos of the inner product without dividing by the lengths: NaN for anything longer than one."""

    def slerp(a: Tensor, b: Tensor, t: float) -> Tensor:
        omega = torch.acos((a * b).sum(-1, keepdim=True))  # wrong: of the unit vectors
        return (((1 - t) * omega).sin() * a + (t * omega).sin() * b) / omega.sin()

    pieces.slerp = slerp
    return pieces


@mutant("theory", rejected_by=[_LATENT])
def sums_not_means(pieces: Any) -> Any:
    """Groups are added up: the one with more examples outweighs the others."""
    # wrong: mean(0) of each group
    pieces.vector_arithmetic = lambda base, minus, plus: base.sum(0) - minus.sum(0) + plus.sum(0)
    return pieces


# BigGAN ------------------------------------------------------------------------------------------


def _quantile(u: Tensor) -> Tensor:
    return math.sqrt(2) * torch.erfinv(2 * u - 1)


@mutant("theory", rejected_by=[_TRUNCATION])
def clamped_noise(pieces: Any) -> Any:
    """Tails are cut to the threshold and pile up there, where they should be drawn again."""
    # wrong: the quantile of u between both tails
    pieces.truncated_normal = lambda u, t: _quantile(u).clamp(-t, t)
    return pieces


@mutant("theory", rejected_by=[_TRUNCATION])
def shrunk_noise(pieces: Any) -> Any:
    """A normal scaled by the threshold: narrower, and without a bound."""
    # wrong: the quantile of u between both tails
    pieces.truncated_normal = lambda u, t: t * _quantile(u.clamp(1e-12, 1 - 1e-12))
    return pieces


@mutant("theory", rejected_by=[_TRUNCATION])
def uniform_noise(pieces: Any) -> Any:
    """Uniform in [-t, t]: the bound holds, the shape does not."""
    # wrong: the quantile of u between both tails
    pieces.truncated_normal = lambda u, t: (2 * u - 1) * t
    return pieces


@mutant("theory", rejected_by=[_TRUNCATION])
def one_tail_truncated(pieces: Any) -> Any:
    """Cut above the threshold alone."""
    mass = 0.5 * math.erfc(0)  # wrong: cut the lower tail off too

    def noise(u: Tensor, t: float) -> Tensor:
        top = mass + 0.5 * math.erf(t / math.sqrt(2))
        # wrong: u runs from Phi(-t) to Phi(t)
        return _quantile((u * top).clamp_min(1e-12)).clamp_max(t)

    pieces.truncated_normal = noise
    return pieces


@mutant("theory", rejected_by=[_PENALTY])
def lengths_penalised_too(pieces: Any) -> Any:
    """The distance of W W^T from the identity: filters are forced to length one as well."""

    def penalty(weight: Tensor) -> Tensor:
        rows = weight.flatten(1)
        return (rows @ rows.mT - torch.eye(len(rows)).to(rows)).square().sum()  # wrong: only i != j

    pieces.orthogonal_penalty = penalty
    return pieces


@mutant("theory", rejected_by=[_PENALTY])
def columns_for_filters(pieces: Any) -> Any:
    """W^T W of the flattened weight: the entries of a patch are compared, not the filters."""
    right = pieces.orthogonal_penalty
    pieces.orthogonal_penalty = lambda weight: right(weight.flatten(1).mT)  # wrong: right(weight)
    return pieces


@mutant("theory", rejected_by=[_PENALTY])
def penalty_not_squared(pieces: Any) -> Any:
    """Inner products are summed with their signs, and cancel."""

    def penalty(weight: Tensor) -> Tensor:
        gram = weight.flatten(1) @ weight.flatten(1).mT
        return (gram - gram.diag().diag()).sum()  # wrong: .square().sum()

    pieces.orthogonal_penalty = penalty
    return pieces


@mutant("theory", rejected_by=[_PENALTY])
def each_pair_once(pieces: Any) -> Any:
    """The upper triangle alone: half of the norm in the equation."""
    right = pieces.orthogonal_penalty
    pieces.orthogonal_penalty = lambda weight: right(weight) / 2  # wrong: no half
    return pieces


def _conditional(
    pieces: Any, forward: Callable[[Any, Tensor, Tensor, Tensor], Tensor]
) -> Callable[..., Any]:
    right = pieces.ConditionalBatchNorm2d

    class Layer(right):  # type: ignore[misc, valid-type]
        def forward(self, x: Tensor, condition: Tensor) -> Tensor:
            gain, bias = (m(condition)[:, :, None, None] for m in (self.gain, self.bias))
            return forward(self, x, gain, bias)

    return Layer


@mutant("theory", rejected_by=[_GAIN])
def gain_around_zero(pieces: Any) -> Any:
    """The gain is the linear map itself: without a condition, or at small weights, nothing passes."""
    pieces.ConditionalBatchNorm2d = _conditional(
        pieces,
        lambda self, x, gain, bias: gain * self.norm(x) + bias,  # wrong: 1 + gain
    )
    return pieces


@mutant("theory", rejected_by=[_GAIN])
def gain_of_an_exponential(pieces: Any) -> Any:
    """exp of the linear map: one at zero, and not linear."""
    pieces.ConditionalBatchNorm2d = _conditional(
        pieces,
        lambda self, x, gain, bias: gain.exp() * self.norm(x) + bias,  # wrong: 1 + gain
    )
    return pieces


@mutant("theory", rejected_by=[_GAIN])
def condition_of_the_first_item(pieces: Any) -> Any:
    """One gain for the batch, the first item's."""
    pieces.ConditionalBatchNorm2d = _conditional(
        pieces,
        lambda self, x, gain, bias: (1 + gain[:1]) * self.norm(x) + bias,  # wrong: gain
    )
    return pieces


@mutant("theory", rejected_by=[_GAIN])
def bias_never_added(pieces: Any) -> Any:
    """The bias is computed and forgotten."""
    pieces.ConditionalBatchNorm2d = _conditional(
        pieces,
        lambda self, x, gain, bias: (1 + gain) * self.norm(x),  # wrong: + bias
    )
    return pieces


@mutant("theory", rejected_by=[_BLOCKS])
def sum_activated(pieces: Any) -> Any:
    """A ReLU after the sum: the shortcut is no longer open in either direction."""

    class Block(pieces.DownBlock):  # type: ignore[misc, name-defined]
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).relu()  # wrong: no activation

    pieces.DownBlock = Block
    return pieces


@mutant("theory", rejected_by=[_BLOCKS])
def shortcut_subsampled(pieces: Any) -> Any:
    """Every other pixel of the shortcut, where the mean of four is due."""

    class Block(pieces.DownBlock):  # type: ignore[misc, name-defined]
        def forward(self, x: Tensor) -> Tensor:
            shortcut = self.shortcut(x)
            # wrong: the mean of four
            return super().forward(x) - avg_pool2d(shortcut, 2) + shortcut[:, :, ::2, ::2]

    pieces.DownBlock = Block
    return pieces


@mutant("theory", rejected_by=[_BLOCKS])
def shortcut_interpolated(pieces: Any) -> Any:
    """Bilinear enlargement on the shortcut and nearest in the residual: the two do not line up."""

    class Block(pieces.UpBlock):  # type: ignore[misc, name-defined]
        def forward(self, x: Tensor, condition: Tensor) -> Tensor:
            smooth = interpolate(x, scale_factor=2, mode="bilinear")  # wrong: nearest
            near = interpolate(x, scale_factor=2, mode="nearest")
            return super().forward(x, condition) + self.shortcut(smooth) - self.shortcut(near)

    pieces.UpBlock = Block
    return pieces


@mutant("theory", rejected_by=[_BLOCKS])
def residual_halved(pieces: Any) -> Any:
    """(residual + shortcut) / 2, an average in place of the sum."""

    class Block(pieces.UpBlock):  # type: ignore[misc, name-defined]
        def forward(self, x: Tensor, condition: Tensor) -> Tensor:
            return super().forward(x, condition) / 2  # wrong: no half

    pieces.UpBlock = Block
    return pieces


# Progressive growing -----------------------------------------------------------------------------


@mutant("theory", rejected_by=[_FADE])
def faded_out(pieces: Any) -> Any:
    """alpha weighs the old way: growing begins at the end."""
    # wrong: (1 - alpha) * old + alpha * new
    pieces.fade_in = lambda old, new, alpha: alpha * old + (1 - alpha) * new
    return pieces


@mutant("theory", rejected_by=[_FADE])
def alpha_added(pieces: Any) -> Any:
    """old + alpha new: at the end both are there."""
    pieces.fade_in = lambda old, new, alpha: old + alpha * new  # wrong: (1 - alpha) old
    return pieces


def _progressive(pieces: Any, name: str, forward: Any) -> None:
    right = getattr(pieces, name)

    class Model(right):  # type: ignore[misc, valid-type]
        def forward(self, x: Tensor, stage: int | None = None, alpha: float = 1.0) -> Tensor:
            return forward(super().forward, x, stage, alpha)  # type: ignore[no-any-return]

    setattr(pieces, name, Model)


@mutant("theory", rejected_by=[_FADE])
def detour_never_taken(pieces: Any) -> Any:
    """The generator ignores alpha: the new block is switched on at once, untrained."""
    _progressive(
        pieces,
        "ProgressiveGenerator",
        lambda f, z, stage, alpha: f(z, stage=stage, alpha=1.0),  # wrong: alpha=alpha
    )
    return pieces


@mutant("theory", rejected_by=[_FADE])
def squashed_alpha(pieces: Any) -> Any:
    """alpha goes through a sine: both ends are right and the way between is not a straight line."""
    _progressive(
        pieces,
        "ProgressiveGenerator",
        # wrong: alpha=alpha
        lambda f, z, stage, alpha: f(z, stage=stage, alpha=math.sin(alpha * math.pi / 2)),
    )
    return pieces


@mutant("theory", rejected_by=[_FADE])
def critic_always_grown(pieces: Any) -> Any:
    """The discriminator is not faded in with the generator."""
    _progressive(
        pieces,
        "ProgressiveDiscriminator",
        lambda f, x, stage, alpha: f(x, stage=stage, alpha=1.0),  # wrong: alpha=alpha
    )
    return pieces


@mutant("theory", rejected_by=[_PIXEL])
def norm_in_place_of_the_mean(pieces: Any) -> Any:
    """Length one in place of mean square one: features shrink with the number of channels."""
    # wrong: the mean over channels, not their sum
    pieces.pixel_norm = lambda x: x / (x.square().sum(1, keepdim=True) + 1e-8).sqrt()
    return pieces


@mutant("theory", rejected_by=[_PIXEL])
def normalised_over_the_image(pieces: Any) -> Any:
    """The mean square over the whole image, not of each pixel."""
    pieces.pixel_norm = lambda x: (
        # wrong: mean over channels alone
        x / (x.square().flatten(1).mean(1) + 1e-8).sqrt().view(-1, *[1] * (x.ndim - 1))
    )
    return pieces


def _appended(pieces: Any, spread: Callable[[Tensor], Tensor]) -> Any:
    pieces.minibatch_stddev = lambda x: torch.cat(
        [x, spread(x).expand(len(x), 1, *x.shape[2:])], dim=1
    )
    return pieces


@mutant("theory", rejected_by=[_SPREAD])
def spread_within_the_image(pieces: Any) -> Any:
    """The deviation over everything at once: a collapsed batch of one busy image looks varied."""
    return _appended(pieces, lambda x: x.std(correction=0))  # wrong: x.std(0, correction=0).mean()


@mutant("theory", rejected_by=[_SPREAD])
def root_of_the_mean_variance(pieces: Any) -> Any:
    """Averaged before the root: the noisiest place says it all."""
    # wrong: mean of the roots
    return _appended(pieces, lambda x: (x.var(0, unbiased=False).mean() + 1e-12).sqrt())


@mutant("theory", rejected_by=[_SPREAD])
def spread_without_a_guard(pieces: Any) -> Any:
    """The plain root, whose gradient is infinite where all images are equal."""
    # wrong: a guard under the root
    return _appended(pieces, lambda x: x.var(0, unbiased=False).sqrt().mean())


# CycleGAN ----------------------------------------------------------------------------------------


@mutant("theory", rejected_by=[_TRANSLATOR])
def batch_norm_in_the_translator(pieces: Any) -> Any:
    """Batch normalisation as in DCGAN: the contrast of one image rubs off on the others."""
    # wrong: InstanceNorm2d stays
    change = _exchanged(nn.InstanceNorm2d, lambda part: nn.BatchNorm2d(part.num_features))
    pieces.CycleGANGenerator = _rebuilt(pieces.CycleGANGenerator, change)
    return pieces


@mutant("theory", rejected_by=[_TRANSLATOR])
def running_statistics_in_the_translator(pieces: Any) -> Any:
    """Instance normalisation that tracks statistics: eval mode translates otherwise."""
    change = _exchanged(
        nn.InstanceNorm2d,
        # wrong: no running statistics
        lambda part: nn.InstanceNorm2d(part.num_features, track_running_stats=True),
    )
    pieces.CycleGANGenerator = _rebuilt(pieces.CycleGANGenerator, change)
    return pieces


@mutant("theory", rejected_by=[_TRANSLATOR])
def translation_not_squashed(pieces: Any) -> Any:
    """No tanh: pixels leave the other domain."""
    change = _exchanged(nn.Tanh, lambda part: nn.Identity())  # wrong: Tanh stays
    pieces.CycleGANGenerator = _rebuilt(pieces.CycleGANGenerator, change)
    return pieces


@mutant("theory", rejected_by=[_PATCH])
def larger_patches(pieces: Any) -> Any:
    """A last kernel of five: the patch is larger than said."""

    def change(layers: list[nn.Module]) -> list[nn.Module]:
        last: Any = layers[-1]
        return [*layers[:-1], nn.Conv2d(last.in_channels, 1, 5, padding=1)]  # wrong: a kernel of 4

    pieces.PatchDiscriminator = _rebuilt(pieces.PatchDiscriminator, change)
    return pieces


@mutant("theory", rejected_by=[_PATCH])
def patches_that_see_the_image(pieces: Any) -> Any:
    """Normalised over the image in between: every patch hears of every pixel."""

    def change(layers: list[nn.Module]) -> list[nn.Module]:
        second: Any = layers[2]
        # wrong: no statistics of the image
        return [*layers[:3], nn.InstanceNorm2d(second.out_channels), *layers[3:]]

    pieces.PatchDiscriminator = _rebuilt(pieces.PatchDiscriminator, change)
    return pieces


@mutant("theory", rejected_by=[_PATCH])
def best_patch_for_the_image(pieces: Any) -> Any:
    """The largest patch score in place of their mean: one good patch redeems the image."""

    class Model(pieces.PatchDiscriminator):  # type: ignore[misc, name-defined]
        def forward(self, x: Tensor) -> Tensor:
            # wrong: mean((1, 2))
            return self.patches(x).amax((1, 2))  # type: ignore[no-any-return]

    pieces.PatchDiscriminator = Model
    return pieces


@mutant("theory", rejected_by=[_OBJECTIVE])
def critics_exchanged(pieces: Any) -> Any:
    """G is judged by the critic of the domain it comes from: it learns to change nothing."""
    right = pieces.cyclegan_loss
    # wrong: d_x, d_y
    pieces.cyclegan_loss = lambda g, f, d_x, d_y, *rest: right(g, f, d_y, d_x, *rest)
    return pieces


@mutant("theory", rejected_by=[_OBJECTIVE])
def identity_on_the_source(pieces: Any) -> Any:
    """The distance of G(x) from x itself: the translator is asked not to translate."""

    def identity(g: Any, f: Any, x: Tensor, y: Tensor) -> Tensor:
        return (g(x) - x).abs().mean() + (f(y) - y).abs().mean()  # wrong: g(y) - y and f(x) - x

    pieces.identity_loss = identity
    return pieces


@mutant("theory", rejected_by=[_OBJECTIVE])
def weights_exchanged(pieces: Any) -> Any:
    """lambda on the identity and mu on the cycle."""
    right = pieces.cyclegan_loss
    pieces.cyclegan_loss = lambda *a: right(*a[:6], a[7], a[6])  # wrong: a[6], a[7]
    return pieces


@mutant("theory", rejected_by=[_OBJECTIVE])
def one_critic_counts(pieces: Any) -> Any:
    """The critics' mean in place of their sum."""
    right = pieces.cyclegan_loss

    def loss(*arguments: Any) -> Any:
        found = right(*arguments)
        half = found.adversarial / 2  # wrong: the sum of both critics
        return found._replace(adversarial=half, total=found.total - half)

    pieces.cyclegan_loss = loss
    return pieces


@mutant("theory", rejected_by=[_POOL])
def pool_of_the_latest(pieces: Any) -> Any:
    """A queue that drops the oldest: what it drops was never shown again, and history is a batch long."""

    def exchange(pool: Tensor, images: Tensor, capacity: int, generator: Any = None) -> Any:
        both = torch.cat([pool, images.detach()])
        # wrong: half of the batch comes from the pool
        return images.detach(), both[max(len(both) - capacity, 0) :]

    pieces.exchange_with_pool = exchange
    return pieces


@mutant("theory", rejected_by=[_POOL])
def pool_never_exchanges(pieces: Any) -> Any:
    """Filled once and then forgotten: the critic sees new images alone."""

    def exchange(pool: Tensor, images: Tensor, capacity: int, generator: Any = None) -> Any:
        # wrong: exchange with the full pool
        return images.detach(), torch.cat([pool, images.detach()])[:capacity]

    pieces.exchange_with_pool = exchange
    return pieces


@mutant("theory", rejected_by=[_POOL])
def shown_but_not_replaced(pieces: Any) -> Any:
    """Old images are shown and stay; the new ones they stood for are lost unseen."""

    def exchange(pool: Tensor, images: Tensor, capacity: int, generator: Any = None) -> Any:
        kept, shown = list(pool), []
        for image in images.detach():
            if len(kept) < capacity:
                kept.append(image)
            elif capacity and torch.rand((), generator=generator) < 0.5:
                # wrong: the new image takes the place of the old one in `kept`
                image = kept[int(torch.randint(capacity, (), generator=generator))]
            shown.append(image)
        return torch.stack(shown), torch.stack(kept) if kept else pool.clone()

    pieces.exchange_with_pool = exchange
    return pieces


@mutant("theory", rejected_by=[_POOL])
def pool_with_a_graph(pieces: Any) -> Any:
    """Images kept with the generator's graph: memory grows with every step, and the critic's step
    reaches the generator."""

    def exchange(pool: Tensor, images: Tensor, capacity: int, generator: Any = None) -> Any:
        # wrong: images.detach(), exchanged
        return images, torch.cat([pool, images.detach()])[:capacity]

    pieces.exchange_with_pool = exchange
    return pieces


@mutant("theory", rejected_by=[_POOL])
def pool_changed_in_place(pieces: Any) -> Any:
    """The caller's pool is written to."""
    right = pieces.exchange_with_pool

    def exchange(pool: Tensor, images: Tensor, capacity: int, generator: Any = None) -> Any:
        shown, after = right(pool, images, capacity, generator)
        pool[:] = after[: len(pool)]  # wrong: leave the pool alone
        return shown, after

    pieces.exchange_with_pool = exchange
    return pieces


# The conditional game ----------------------------------------------------------------------------


@mutant("theory", rejected_by=[_CLASSES])
def classes_all_alike(pieces: Any) -> Any:
    """The plain mean over classes, whatever their probability."""
    right = pieces.conditional_game_value
    pieces.conditional_game_value = lambda d, p, q, classes: right(
        d,
        p,
        q,
        torch.full_like(classes, 1 / len(classes)),  # wrong: classes
    )
    return pieces


@mutant("theory", rejected_by=[_CLASSES])
def game_of_the_mixtures(pieces: Any) -> Any:
    """Data and generator mixed over classes first, as if the discriminator were not told."""

    def value(d: Tensor, p: Tensor, q: Tensor, classes: Tensor) -> Tensor:
        # wrong: one game for each class, then the mean
        mixed = [(classes[:, None] * v).sum(0) for v in (d, p, q)]
        found: Tensor = pieces.game_value(*mixed)
        return found

    pieces.conditional_game_value = value
    return pieces


@mutant("theory", rejected_by=[_CLASSES])
def generator_of_the_next_class(pieces: Any) -> Any:
    """Labels of the fake batch shifted by one class: each game has the wrong opponent."""
    right = pieces.conditional_game_value
    # wrong: q, each class with its own
    pieces.conditional_game_value = lambda d, p, q, classes: right(d, p, q.roll(1, 0), classes)
    return pieces
