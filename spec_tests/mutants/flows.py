r"""Classic mistakes in normalising flows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from reference.flows import AffineCoupling, Composition, PlanarLayer, RealNVP, planar_step
from spec_tests.contracts.flows import FlowConfig
from spec_tests.registry import Unsupported, mutant

_DET, _TRIP = "flow.log_det_is_jacobian", "flow.round_trip"
_MASS, _DENSITY = "flow.density_integrates_to_one", "flow.log_prob_change_of_variables"
_SAMPLES, _GENERATOR = "flow.sample_matches_density", "flow.sample_uses_its_generator"


def _built(config: FlowConfig, **members: Callable[..., Any]) -> Any:
    """RealNVP with some members replaced by functions of (model, ...)."""
    if len(config.event_shape) != 1 or config.event_shape[0] < 2:
        raise Unsupported("vectors of two features or more")
    model = RealNVP(config.event_shape[0], 4, 6)
    for name, member in members.items():
        object.__setattr__(model, name, member.__get__(model))
    return model


def _with_log_det(config: FlowConfig, change: Callable[[Tensor, Tensor], Tensor]) -> Any:
    """RealNVP whose log-determinant is ``change(log_det, x)``."""

    def forward(m: RealNVP, x: Tensor) -> tuple[Tensor, Tensor]:
        z, log_det = RealNVP.forward(m, x)
        return z, change(log_det, x)

    return _built(config, forward=forward)


@mutant("flow", rejected_by=[_DET, _MASS])
def log_det_left_out(config: FlowConfig) -> Any:
    """Volume is taken to be preserved: the flow shrinks all data to a point, at no cost."""
    return _with_log_det(config, lambda log_det, x: torch.zeros_like(log_det))  # wrong: log_det


@mutant("flow", rejected_by=[_DET, _MASS])
def log_det_of_the_inverse(config: FlowConfig) -> Any:
    """The sign belongs to the map from noise to data, and the map is the other one."""
    return _with_log_det(config, lambda log_det, x: -log_det)  # wrong: log_det


@mutant("flow", rejected_by=[_DET])
def log_det_averaged_over_features(config: FlowConfig) -> Any:
    """A mean over features where the determinant of a triangle is a product."""
    return _with_log_det(
        config,
        lambda log_det, x: log_det / x.shape[1],  # wrong: log_det, which is a sum already
    )


@mutant("flow", rejected_by=[_DET, "flow.item_by_item"])
def log_det_averaged_over_the_batch(config: FlowConfig) -> Any:
    """Every item is given the batch's mean: right on average, and wrong for each."""
    return _with_log_det(
        config,
        lambda log_det, x: log_det.mean().expand(len(x)),  # wrong: one for each item
    )


@mutant("flow", rejected_by=[_DET, _MASS])
def log_det_of_the_last_layer(config: FlowConfig) -> Any:
    """``log_det = added`` where ``+=`` was meant."""

    def forward(m: RealNVP, x: Tensor) -> tuple[Tensor, Tensor]:
        added = x.new_zeros(len(x))
        for layer in m.layers:
            x, added = layer(x)  # wrong: log_det + added
        return x, added

    return _built(config, forward=forward)


@mutant("flow", rejected_by=["flow.gradient_is_derivative"])
def log_det_without_a_gradient(config: FlowConfig) -> Any:
    """The log-determinant is detached: reported, and never trained."""
    return _with_log_det(config, lambda log_det, x: log_det.detach())  # wrong: no detach


@mutant("flow", rejected_by=[_DET])
def log_det_in_half_precision(config: FlowConfig) -> Any:
    """Mixed precision rounds the sum of the log-scales to three digits."""
    return _with_log_det(config, lambda log_det, x: log_det.half().to(x))  # wrong: log_det as it is


@mutant("flow", rejected_by=[_TRIP, "flow.bijection", _SAMPLES])
def inverse_with_layers_in_the_same_order(config: FlowConfig) -> Any:
    """``reversed`` is forgotten: the first layer is undone first."""

    def inverse(m: RealNVP, z: Tensor) -> Tensor:
        for layer in m.layers:  # wrong: reversed(m.layers)
            z = layer.inverse(z)  # type: ignore[operator]
        return z

    return _built(config, inverse=inverse)


@mutant("flow", rejected_by=[_TRIP, _SAMPLES])
def inverse_that_scales_before_it_shifts(config: FlowConfig) -> Any:
    """The shift is subtracted after the scale is undone, so that it is not undone itself."""

    def inverse(m: RealNVP, z: Tensor) -> Tensor:
        for layer in reversed(m.layers):
            assert isinstance(layer, AffineCoupling)
            log_scale, shift = layer.scale_and_shift(z)
            z = z * (-log_scale).exp() - shift  # wrong: (z - shift) * exp(-log_scale)
        return z

    return _built(config, inverse=inverse)


@mutant("flow", rejected_by=[_TRIP])
def inverse_of_a_coupling_that_reads_what_it_moves(config: FlowConfig) -> Any:
    """The mask is applied to the output of the network and not to its input: the scale depends on
    what it scales, and the inverse reads other values."""
    model = _built(config)
    for layer in model.layers:

        def scale_and_shift(x: Tensor, layer: AffineCoupling = layer) -> tuple[Tensor, Tensor]:
            found = layer.network(x)  # wrong: x * layer.keeps
            log_scale, shift = found.chunk(2, dim=-1)
            return log_scale.tanh() * (1 - layer.keeps), shift * (1 - layer.keeps)

        layer.scale_and_shift = scale_and_shift
    return model


@mutant("flow", rejected_by=[_DENSITY, _MASS])
def density_without_its_constant(config: FlowConfig) -> Any:
    """½ D log 2π has no gradient and is dropped: bits per dimension come out 1.3 too low."""

    def log_prob(m: RealNVP, x: Tensor) -> Tensor:
        constant = 0.5 * x.shape[1] * math.log(2 * math.pi)
        return RealNVP.log_prob(m, x) + constant  # wrong: nothing is added

    return _built(config, log_prob=log_prob)


@mutant("flow", rejected_by=[_DENSITY, _MASS])
def density_with_one_constant_for_all_dimensions(config: FlowConfig) -> Any:
    """½ log 2π is counted once, as if every point had one coordinate."""

    def log_prob(m: RealNVP, x: Tensor) -> Tensor:
        z, log_det = m.forward(x)
        constant = 0.5 * math.log(2 * math.pi)  # wrong: D times that
        return -0.5 * z.square().sum(-1) - constant + log_det

    return _built(config, log_prob=log_prob)


@mutant("flow", rejected_by=[_DENSITY, _MASS])
def density_divided_by_the_determinant(config: FlowConfig) -> Any:
    """The log-determinant of data to noise is subtracted, as it would be from noise to data."""

    def log_prob(m: RealNVP, x: Tensor) -> Tensor:
        return RealNVP.log_prob(m, x) - 2 * m.forward(x)[1]  # wrong: log_prob as it is

    return _built(config, log_prob=log_prob)


@mutant("flow", rejected_by=[_SAMPLES])
def samples_mapped_the_wrong_way(config: FlowConfig) -> Any:
    """Noise is sent through forward, which makes noise of data."""

    def sample(m: RealNVP, n: int, generator: torch.Generator) -> Tensor:
        return m.forward(  # wrong: m.inverse
            next(m.parameters()).new_empty(n, *m.event_shape).normal_(generator=generator)
        )[0]

    return _built(config, sample=sample)


@mutant("flow", rejected_by=[_SAMPLES])
def samples_at_a_low_temperature(config: FlowConfig) -> Any:
    """The noise is scaled by 0.7, as for prettier pictures, in what claims to be a draw."""

    def sample(m: RealNVP, n: int, generator: torch.Generator) -> Tensor:
        z = next(m.parameters()).new_empty(n, *m.event_shape).normal_(generator=generator)
        return m.inverse(0.7 * z)  # wrong: m.inverse(z)

    return _built(config, sample=sample)


@mutant("flow", rejected_by=[_SAMPLES])
def samples_of_one_number_for_all_features(config: FlowConfig) -> Any:
    """One normal number is broadcast over the features: each is right and all are the same."""

    def sample(m: RealNVP, n: int, generator: torch.Generator) -> Tensor:
        like = next(m.parameters())
        z = like.new_empty(n, 1).normal_(generator=generator)  # wrong: (n, *m.event_shape)
        return m.inverse(z.expand(n, *m.event_shape))

    return _built(config, sample=sample)


@mutant("flow", rejected_by=[_SAMPLES])
def samples_of_uniform_noise(config: FlowConfig) -> Any:
    """``rand`` for ``randn``: uniform noise of the right mean and variance."""

    def sample(m: RealNVP, n: int, generator: torch.Generator) -> Tensor:
        like = next(m.parameters())
        u = like.new_empty(n, *m.event_shape).uniform_(generator=generator)  # wrong: normal_
        return m.inverse((u - 0.5) * 12**0.5)

    return _built(config, sample=sample)


@mutant("flow", rejected_by=[_GENERATOR])
def samples_from_the_global_generator(config: FlowConfig) -> Any:
    """The generator is accepted and never used."""

    def sample(m: RealNVP, n: int, generator: torch.Generator) -> Tensor:
        z = torch.randn(n, *m.event_shape)  # wrong: generator=generator
        return m.inverse(z.to(next(m.parameters())))

    return _built(config, sample=sample)


@mutant("flow", rejected_by=[_GENERATOR])
def samples_from_a_seed_of_their_own(config: FlowConfig) -> Any:
    """A fresh generator of a fixed seed: every sample is the same one."""

    def sample(m: RealNVP, n: int, generator: torch.Generator) -> Tensor:
        like, own = next(m.parameters()), torch.Generator().manual_seed(0)  # wrong: generator
        return m.inverse(like.new_empty(n, *m.event_shape).normal_(generator=own))

    return _built(config, sample=sample)


class Unconstrained(PlanarLayer):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return planar_step(x, self.w, 12 * self.u, self.b)


@mutant("flow", rejected_by=["flow.bijection", _TRIP])
def planar_layers_without_their_constraint(config: FlowConfig) -> Any:
    """Where wᵀu < -1 a planar layer folds space: two points have one image, and log|det| hides it."""
    if len(config.event_shape) != 1:
        raise Unsupported("vectors only")
    (dim,) = config.event_shape
    layers = [Unconstrained(dim) for _ in range(3)]  # wrong: PlanarLayer, whose push is corrected
    return Composition((dim,), layers)


class Folded(nn.Module):
    """The absolute value of the first feature; an inverse that knows one half."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = x + self.shift
        z = torch.cat([y[:, :1].abs(), y[:, 1:]], 1)
        return z, 0 * z.sum(1)

    def inverse(self, z: Tensor) -> Tensor:
        return z - self.shift


@mutant("flow", rejected_by=["flow.bijection", _TRIP])
def a_feature_without_its_sign(config: FlowConfig) -> Any:
    """An absolute value has |det| = 1 everywhere and two points for each image."""
    if len(config.event_shape) != 1:
        raise Unsupported("vectors only")
    return Folded(config.event_shape[0])  # wrong: no absolute value of a feature


class Squashed(nn.Module):
    """Maps onto the open unit cube and claims a Gaussian base."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(math.prod(config.event_shape)))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = x.flatten(1) * self.log_scale.exp()
        slope = functional.logsigmoid(y) + functional.logsigmoid(-y) + self.log_scale
        return y.sigmoid().reshape(x.shape), slope.sum(1)

    def inverse(self, z: Tensor) -> Tensor:
        y = z.flatten(1).clamp(1e-6, 1 - 1e-6).logit()
        return (y * (-self.log_scale).exp()).reshape(z.shape)


@mutant("flow", rejected_by=[_TRIP, "flow.bijection", _MASS])
def a_flow_that_is_not_onto(config: FlowConfig) -> Any:
    """A sigmoid at the end: log-determinant and inverse are right inside the cube, where only a part
    of the Gaussian lies, so that the density has too little mass."""
    return Squashed(config)  # wrong: no sigmoid at the end


class PerChannel(nn.Module):
    """A scale for each channel whose log-determinant forgets the pixels."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(config.event_shape[0], 1, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x * self.log_scale.exp(), self.log_scale.sum().expand(len(x))

    def inverse(self, z: Tensor) -> Tensor:
        return z * (-self.log_scale).exp()


@mutant("flow", rejected_by=[_DET])
def log_det_without_the_number_of_pixels(config: FlowConfig) -> Any:
    """Actnorm and 1×1 convolutions act on every pixel; H·W is missing before the sum."""
    if len(config.event_shape) != 3:
        raise Unsupported("images only")
    return PerChannel(config)  # wrong: log_det times H W


class BatchScaled(nn.Module):
    """Divides by the spread of the batch it is given."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.register_buffer("spread", torch.ones(()))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.training:
            spread = x.square().mean().sqrt() + 1e-3
            with torch.no_grad():
                self.spread.copy_(spread)
        else:
            spread = self.spread
        return x / spread, -spread.log().expand(len(x)) * x[0].numel()

    def inverse(self, z: Tensor) -> Tensor:
        return z * self.spread


@mutant("flow", rejected_by=["flow.item_by_item", "flow.train_and_eval_agree"])
def actnorm_that_starts_anew_with_every_batch(config: FlowConfig) -> Any:
    """Scaled by the statistics of each training batch, where the first one should set them for good:
    the items of a batch share a density that none has alone."""
    return BatchScaled(config)  # wrong: the first batch sets it for good


class Shuffled(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.order = torch.randperm(dim)
        self.log_scale = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return (x * self.log_scale.exp())[:, self.order], self.log_scale.sum().expand(len(x))

    def inverse(self, z: Tensor) -> Tensor:
        return z[:, self.order.argsort()] * (-self.log_scale).exp()


@mutant("flow", rejected_by=["flow.state_dict_round_trips"])
def permutation_that_is_not_saved(config: FlowConfig) -> Any:
    """A random order of the features, kept as a plain attribute: a checkpoint loads into another."""
    if len(config.event_shape) != 1:
        raise Unsupported("vectors only")
    return Shuffled(config.event_shape[0])  # wrong: the order is a buffer


@mutant("flow", rejected_by=["flow.repeats_itself"])
def log_det_estimated_by_one_probe(config: FlowConfig) -> Any:
    """Hutchinson's estimate with one random vector is unbiased, and another number at every call."""
    return _with_log_det(
        config,
        lambda log_det, x: log_det * torch.randn_like(log_det).square(),  # wrong: log_det
    )


@mutant("flow", rejected_by=["flow.leaves_inputs_alone"])
def forward_that_works_in_place(config: FlowConfig) -> Any:
    """``x += shift`` on the caller's batch: the second epoch sees other data."""

    def forward(m: RealNVP, x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            x += 1.0  # wrong: a new tensor, x + 1.0
        return RealNVP.forward(m, x)

    return _built(config, forward=forward, inverse=lambda m, z: RealNVP.inverse(m, z) - 1.0)


@mutant("flow", rejected_by=["flow.inverse_is_differentiable"])
def inverse_without_a_graph(config: FlowConfig) -> Any:
    """The inverse runs under ``no_grad``: samples are right, and nothing is learnt from them."""
    return _built(config, inverse=lambda m, z: RealNVP.inverse(m, z).detach())  # wrong: no detach


@mutant("flow", rejected_by=["flow.samples_are_independent"])
def sample_that_fills_an_odd_place_by_a_copy(config: FlowConfig) -> Any:
    """Noise is drawn in pairs, and the last of an odd number is the first once more."""

    def sample(m: RealNVP, n: int, generator: torch.Generator | None = None) -> Tensor:
        found = RealNVP.sample(m, n, generator)
        if n % 2 and n > 1:
            found = torch.cat([found[:-1], found[:1]])  # wrong: drawn anew
        return found

    return _built(config, sample=sample)
