r"""Classic mistakes of generators and discriminators of images.

Small networks that are right but for one thing, each from a plain multilayer perceptron or a small
convolutional network.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from spec_tests.registry import mutant

GENERATOR, DISCRIMINATOR = "image_generator", "image_discriminator"


class _Generator(nn.Module):
    """A perceptron with batch normalisation, the label embedded beside the latent."""

    hidden = 12

    def __init__(self, config: Any, latents: int | None = None) -> None:
        super().__init__()
        self.config = config
        self.shape = (config.channels, config.height, config.width)
        self.embed = nn.Embedding(config.num_classes, 3) if config.num_classes else None
        width = (latents or config.latent_dim) + (3 if config.num_classes else 0)
        self.first = nn.Linear(width, self.hidden)
        self.norm: nn.Module = nn.BatchNorm1d(self.hidden)
        self.last = nn.Linear(self.hidden, math.prod(self.shape))

    def condition(self, z: Tensor, y: Tensor | None) -> Tensor:
        return z if self.embed is None else torch.cat([z, self.embed(y)], 1)

    def features(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        hidden: Tensor = self.norm(self.first(self.condition(z, y)))
        return torch.nn.functional.leaky_relu(hidden, 0.2)

    def logits(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        out: Tensor = self.last(self.features(z, y))
        return out.view(len(z), *self.shape)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return self.logits(z, y).tanh()


@mutant(GENERATOR, rejected_by=[f"{GENERATOR}.range"])
class sigmoid_for_pixels(_Generator):
    """Pixels in [0, 1] while the data were scaled to [-1, 1]: no dark half, and an easy giveaway."""

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return self.logits(z, y).sigmoid()  # wrong: .tanh()


@mutant(GENERATOR, rejected_by=[f"{GENERATOR}.range"])
class pixels_not_squashed(_Generator):
    """The last layer's output as it is: pixels that no data have."""

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return self.logits(z, y)  # wrong: .tanh()


@mutant(GENERATOR, rejected_by=[f"{GENERATOR}.range"])
class rescaled_twice(_Generator):
    """2 x - 1 once more, on pixels in [-1, 1] already: they reach -3."""

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return 2 * self.logits(z, y).tanh() - 1  # wrong: tanh alone


@mutant(GENERATOR, rejected_by=[f"{GENERATOR}.range"])
class squashed_in_training_alone(_Generator):
    """The tanh lives in the loss, so that in eval mode it is missing."""

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        # wrong: tanh in either mode
        return self.logits(z, y).tanh() if self.training else self.logits(z, y)


@mutant(GENERATOR, rejected_by=[f"{GENERATOR}.batch_independent", f"{GENERATOR}.item_by_item"])
class batch_statistics_in_eval(_Generator):
    """Batch normalisation without running statistics: an image depends on who is drawn with it, and
    cannot be drawn alone."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.norm = nn.BatchNorm1d(self.hidden, track_running_stats=False)  # wrong: track them


@mutant(GENERATOR, rejected_by=[f"{GENERATOR}.batch_independent", f"{GENERATOR}.item_by_item"])
class normalised_over_the_batch_axis(_Generator):
    """Layer statistics taken over the batch axis as well: with mean and variance go the neighbours."""

    def features(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        hidden = self.first(self.condition(z, y))
        # wrong: self.norm(hidden)
        return torch.nn.functional.leaky_relu(hidden - hidden.mean(), 0.2)


@mutant(GENERATOR, rejected_by=[f"{GENERATOR}.class_matters"])
class label_ignored(_Generator):
    """Takes the label and embeds zeros instead."""

    def condition(self, z: Tensor, y: Tensor | None) -> Tensor:
        return super().condition(z, None if y is None else torch.zeros_like(y))  # wrong: y


@mutant(GENERATOR, rejected_by=[f"{GENERATOR}.class_matters"])
class label_ignored_in_training(_Generator):
    """The label joins in eval mode alone: what it does was never trained."""

    def condition(self, z: Tensor, y: Tensor | None) -> Tensor:
        if self.training and y is not None:
            y = torch.zeros_like(y)  # wrong: y as it is
        return super().condition(z, y)


@mutant(GENERATOR, rejected_by=[f"{GENERATOR}.class_matters"])
class label_after_the_last_layer_times_zero(_Generator):
    """The class is added at the end with a gate that was frozen at zero: it never opens."""

    gate: Tensor

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.register_buffer("gate", torch.zeros(()))  # wrong: a parameter
        self.shift = nn.Embedding(max(config.num_classes, 1), config.channels)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        label = torch.zeros(len(z), dtype=torch.long, device=z.device)
        logits = self.logits(z, None if y is None else label)
        if y is not None:
            logits = logits + self.gate * self.shift(y)[:, :, None, None]
        return logits.tanh()


@mutant(GENERATOR, rejected_by=[f"{GENERATOR}.class_matters"])
class last_two_classes_share_an_embedding(_Generator):
    """The table has a row too few and the index is clamped: the last class is drawn as the one before."""

    def condition(self, z: Tensor, y: Tensor | None) -> Tensor:
        # wrong: y
        return super().condition(z, None if y is None else y.clamp_max(self.config.num_classes - 2))


@mutant(GENERATOR, rejected_by=[f"{GENERATOR}.batch_independent", f"{GENERATOR}.item_by_item"])
class label_of_the_first_item(_Generator):
    """One label for the whole batch, the first one's, as when classes were drawn batch by batch."""

    def condition(self, z: Tensor, y: Tensor | None) -> Tensor:
        return super().condition(z, None if y is None else y[:1].expand(len(y)))  # wrong: y


@mutant(GENERATOR, rejected_by=[f"{GENERATOR}.range"])
class channels_last(_Generator):
    """(N, H, W, C), as pictures are shown and not as convolutions take them."""

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return self.logits(z, y).tanh().permute(0, 2, 3, 1)  # wrong: no permutation


@mutant(GENERATOR, rejected_by=[f"{GENERATOR}.latent_matters"])
class last_latent_unused(_Generator):
    """A slice that ends one too early: one coordinate of z draws nothing."""

    def condition(self, z: Tensor, y: Tensor | None) -> Tensor:
        kept = torch.cat([z[:, :-1], torch.zeros_like(z[:, -1:])], 1)  # wrong: z
        return super().condition(kept, y)


@mutant(GENERATOR, rejected_by=[f"{GENERATOR}.latent_matters"])
class folded_latent(_Generator):
    """The mean of all latents in place of the first one, which falls away: with one number nothing is
    lost, with more one is."""

    def condition(self, z: Tensor, y: Tensor | None) -> Tensor:
        if z.shape[1] > 1:
            z = torch.cat([z[:, 1:].mean(1, keepdim=True), z[:, 1:]], 1)  # wrong: z as it is
        return super().condition(z, y)


@mutant(GENERATOR, rejected_by=[f"{GENERATOR}.repeats_itself"])
class dropout_in_eval(_Generator):
    """Functional dropout, which knows no mode: the same latent gives another image every time."""

    def features(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        # wrong: training=self.training
        return torch.nn.functional.dropout(super().features(z, y), 0.5)


@mutant(GENERATOR, rejected_by=[f"{GENERATOR}.repeats_itself"])
class noise_of_its_own(_Generator):
    """Noise from the global generator on every feature, in eval mode too: no image can be drawn again."""

    def features(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        found = super().features(z, y)
        return found + 0.1 * torch.randn_like(found)  # wrong: found


@mutant(GENERATOR, rejected_by=[f"{GENERATOR}.item_by_item", f"{GENERATOR}.batch_independent"])
class one_latent_for_all(_Generator):
    """The first latent broadcast over the batch: N copies of one image."""

    def condition(self, z: Tensor, y: Tensor | None) -> Tensor:
        return super().condition(z[:1].expand_as(z), y)  # wrong: z


@mutant(GENERATOR, rejected_by=[f"{GENERATOR}.leaves_inputs_alone"])
class latent_normalised_in_place(_Generator):
    """z is put on the sphere by an in-place division: the caller's latents are others afterwards."""

    def condition(self, z: Tensor, y: Tensor | None) -> Tensor:
        with torch.no_grad():
            z /= z.abs().amax(1, keepdim=True).clamp_min(1e-6)  # wrong: z = z / ...
        return super().condition(z, y)


@mutant(GENERATOR, rejected_by=[f"{GENERATOR}.reaches_every_pixel"])
class border_left_black(_Generator):
    """The transposed convolutions came out one row short; a constant row was padded on."""

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        drawn = super().forward(z, y)[:, :, :-1]  # wrong: all rows
        return torch.nn.functional.pad(drawn, (0, 0, 0, 1), value=-1.0)


@mutant(GENERATOR, rejected_by=[f"{GENERATOR}.reaches_every_pixel"])
class one_colour_for_the_image(_Generator):
    """The smallest map is one pixel, and nothing after it tells rows or columns apart."""

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        drawn = super().forward(z, y)
        return drawn[:, :, :1, :1].expand_as(drawn)  # wrong: drawn


@mutant(GENERATOR, rejected_by=[f"{GENERATOR}.gradient_reaches_latent_and_parameters"])
class detached_images(_Generator):
    """Images detached inside the generator, for the discriminator's step: its own step learns nothing."""

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return super().forward(z, y).detach()  # wrong: no detach


@mutant(GENERATOR, rejected_by=[f"{GENERATOR}.gradient_reaches_latent_and_parameters"])
class latent_cut_off_in_training(_Generator):
    """``torch.tensor(z)``-like copies in training: the latent of an image cannot be optimised."""

    def condition(self, z: Tensor, y: Tensor | None) -> Tensor:
        return super().condition(z.detach() if self.training else z, y)  # wrong: z


@mutant(GENERATOR, rejected_by=[f"{GENERATOR}.state_dict_round_trips"])
class running_statistics_not_saved(_Generator):
    """Mean and variance kept as non-persistent buffers: the checkpoint draws other images."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        norm: Any = self.norm
        norm._non_persistent_buffers_set |= set(norm._buffers)  # wrong: persistent buffers


class _PlainSpectralNorm(nn.Module):
    """One power iteration in training; u stays behind when the state is saved."""

    u: Tensor

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.register_buffer("u", torch.randn(rows), persistent=False)

    def forward(self, weight: Tensor) -> Tensor:
        v = torch.nn.functional.normalize(weight.detach().mT @ self.u, dim=0)
        if self.training:
            with torch.no_grad():
                self.u.copy_(torch.nn.functional.normalize(weight @ v, dim=0))
        u = torch.nn.functional.normalize(weight.detach() @ v, dim=0)
        return weight / (u @ weight @ v)


@mutant(GENERATOR, rejected_by=[f"{GENERATOR}.state_dict_round_trips"])
class singular_vector_not_saved(_Generator):
    """Spectral normalisation whose vector is no part of the state: after loading, the same weights are
    divided by another estimate."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        norm = _PlainSpectralNorm(self.hidden)  # wrong: u belongs to the state
        nn.utils.parametrize.register_parametrization(self.first, "weight", norm, unsafe=True)


# Discriminators ----------------------------------------------------------------------------------


class _Discriminator(nn.Module):
    """A perceptron of one hidden layer, with a score for each class beside the common one."""

    hidden = 10

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        size = config.channels * config.height * config.width
        self.first = nn.Linear(size, self.hidden)
        self.last = nn.Linear(self.hidden, 1)
        self.embed = nn.Embedding(config.num_classes, self.hidden) if config.num_classes else None

    def features(self, x: Tensor) -> Tensor:
        return torch.nn.functional.leaky_relu(self.first(x.flatten(1)), 0.2)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        phi = self.features(x)
        score: Tensor = self.last(phi).squeeze(1)
        return score if self.embed is None else score + (self.embed(y) * phi).sum(1)


@mutant(DISCRIMINATOR, rejected_by=[f"{DISCRIMINATOR}.raw_scores"])
class sigmoid_at_the_end(_Discriminator):
    """Probabilities where scores are due: the loss squashes them again."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return super().forward(x, y).sigmoid()  # wrong: no sigmoid


@mutant(DISCRIMINATOR, rejected_by=[f"{DISCRIMINATOR}.raw_scores"])
class sigmoid_in_eval_alone(_Discriminator):
    """A probability for whoever looks at it, a score for the loss: two functions under one name."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        score = super().forward(x, y)
        return score if self.training else score.sigmoid()  # wrong: score


@mutant(DISCRIMINATOR, rejected_by=[f"{DISCRIMINATOR}.raw_scores"])
class tanh_at_the_end(_Discriminator):
    """Scores confined to (-1, 1): a Wasserstein critic that flattens out far from the data."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return super().forward(x, y).tanh()  # wrong: no tanh


@mutant(DISCRIMINATOR, rejected_by=[f"{DISCRIMINATOR}.raw_scores"])
class log_probabilities(_Discriminator):
    """log D(x) in place of the logit: never positive, and half of the loss is built in."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return torch.nn.functional.logsigmoid(super().forward(x, y))  # wrong: the score itself


@mutant(DISCRIMINATOR, rejected_by=[f"{DISCRIMINATOR}.raw_scores"])
class a_column_of_scores(_Discriminator):
    """(N, 1): against labels of shape (N,) a loss broadcasts it to N by N without a word."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return super().forward(x, y)[:, None]  # wrong: shape (N,)


@mutant(DISCRIMINATOR, rejected_by=[f"{DISCRIMINATOR}.sees_every_pixel"])
class first_channel_alone(_Discriminator):
    """``x[:, 0]``: colours go unseen, and the generator paints them as it likes."""

    def features(self, x: Tensor) -> Tensor:
        return super().features(x[:, :1].expand_as(x))  # wrong: x


@mutant(DISCRIMINATOR, rejected_by=[f"{DISCRIMINATOR}.sees_every_pixel"])
class border_stepped_over(_Discriminator):
    """Strides without padding never reach the last row and column."""

    def features(self, x: Tensor) -> Tensor:
        seen = torch.nn.functional.pad(x[:, :, :-1, :-1], (0, 1, 0, 1))  # wrong: x
        return super().features(seen)


@mutant(DISCRIMINATOR, rejected_by=[f"{DISCRIMINATOR}.sees_every_pixel"])
class every_other_pixel(_Discriminator):
    """Subsampled by a stride of two with a kernel of one: three quarters of the image are free."""

    def features(self, x: Tensor) -> Tensor:
        seen = torch.zeros_like(x)
        seen[:, :, ::2, ::2] = x[:, :, ::2, ::2]  # wrong: x
        return super().features(seen)


@mutant(DISCRIMINATOR, rejected_by=[f"{DISCRIMINATOR}.class_matters"])
class label_of_the_image_ignored(_Discriminator):
    """An unconditional discriminator in a conditional game: any good image passes for any class."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return super().forward(x, None if y is None else torch.zeros_like(y))  # wrong: y


@mutant(DISCRIMINATOR, rejected_by=[f"{DISCRIMINATOR}.class_matters"])
class labels_shifted_by_one_item(_Discriminator):
    """The labels rolled along the batch: each image is judged under its neighbour's class."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return super().forward(x, None if y is None else y.roll(1))  # wrong: y


@mutant(DISCRIMINATOR, rejected_by=[f"{DISCRIMINATOR}.tells_images_apart"])
class one_score_for_the_batch(_Discriminator):
    """The batch mean for everyone: no image is told whether it was the bad one."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        score = super().forward(x, y)
        return score.mean().expand(len(score))  # wrong: score


@mutant(DISCRIMINATOR, rejected_by=[f"{DISCRIMINATOR}.gradient_reaches_image_and_parameters"])
class features_under_no_grad(_Discriminator):
    """Frozen features computed under ``no_grad``: the generator gets no gradient through them."""

    def features(self, x: Tensor) -> Tensor:
        with torch.no_grad():  # wrong: with gradients
            return super().features(x)


@mutant(DISCRIMINATOR, rejected_by=[f"{DISCRIMINATOR}.finite_at_extremes"])
class unguarded_minibatch_deviation(_Discriminator):
    """The batch's standard deviation without a guard under the root: a collapsed generator gets NaN for
    a gradient, when it needs one most."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        # wrong: a guard under the root
        return super().forward(x, y) + x.var(0, unbiased=False).sqrt().mean()


@mutant(DISCRIMINATOR, rejected_by=[f"{DISCRIMINATOR}.finite_at_extremes"])
class contrast_divided_out(_Discriminator):
    """Images divided by their standard deviation without a guard: a blank image scores NaN."""

    def features(self, x: Tensor) -> Tensor:
        return super().features(x / x.std((1, 2, 3), keepdim=True))  # wrong: a guard in the divisor


@mutant(DISCRIMINATOR, rejected_by=[f"{DISCRIMINATOR}.repeats_itself"])
class instance_noise_in_eval(_Discriminator):
    """Noise on the images in eval mode too: the same image never gets the same score twice."""

    def features(self, x: Tensor) -> Tensor:
        return super().features(x + 0.1 * torch.randn_like(x))  # wrong: noise in training alone


@mutant(DISCRIMINATOR, rejected_by=[f"{DISCRIMINATOR}.leaves_inputs_alone"])
class images_rescaled_in_place(_Discriminator):
    """Data brought from [0, 1] to [-1, 1] by in-place arithmetic, on the caller's batch."""

    def features(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x.mul_(2).sub_(1)  # wrong: x = 2 * x - 1
        return super().features(x)


@mutant(DISCRIMINATOR, rejected_by=[f"{DISCRIMINATOR}.gradient_is_derivative"])
class deviation_of_the_batch_detached(_Discriminator):
    """The deviation over the batch, which shows a collapse, is measured outside the graph: the
    generator is told that it collapses, and not how to stop."""

    hidden = 64  # so many rectifiers that a kink lies near almost every point

    def features(self, x: Tensor) -> Tensor:
        phi = super().features(x)
        spread = phi.detach().var(0, unbiased=False)  # wrong: phi
        return phi + (spread + 1e-8).sqrt().mean()
