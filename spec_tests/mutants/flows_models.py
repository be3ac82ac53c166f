r"""Classic mistakes in the flows by name: NICE, RealNVP, Glow, MAF, IAF, planar, radial, FFJORD."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from reference import flows
from spec_tests.contracts.flows import FlowConfig
from spec_tests.registry import Unsupported, mutant

_DET, _TRIP, _MASS = (
    "flow.log_det_is_jacobian",
    "flow.round_trip",
    "flow.density_integrates_to_one",
)
_SAMPLES = "flow.sample_matches_density"
_NICE, _TRIANGLE = "theory.nice_preserves_volume_up_to_scale", "theory.realnvp_is_triangular"
_SQUEEZE, _FACTORED = "theory.squeeze_is_a_bijection", "theory.factored_out_half_is_finished"
_ACTNORM, _MIXING = "theory.actnorm_first_batch", "theory.one_by_one_log_det"
_MAF = "theory.maf_iaf_mutual_inverses"
_PLANAR, _RADIAL = (
    "theory.planar_invertible_for_every_draw",
    "theory.radial_invertible_for_every_draw",
)
_TRACE, _SIGNS = "theory.continuous_log_det", "theory.hutchinson_unbiased"
_UNITS, _BELOW = "theory.dequantized_flow_counts_its_units", "theory.dequantized_flow_is_below"

Pair = tuple[Tensor, Tensor]


def _vector(config: FlowConfig, least: int = 1) -> int:
    if len(config.event_shape) != 1 or config.event_shape[0] < least:
        raise Unsupported("vectors only" if least == 1 else f"vectors of {least} features or more")
    return config.event_shape[0]


def _image(config: FlowConfig, even: bool = False) -> Any:
    shape = config.event_shape
    if len(shape) != 3 or (even and (shape[1] % 2 or shape[2] % 2)):
        raise Unsupported("images of even sides only" if even else "images only")
    return shape


# Couplings, scales and squeezes ---------------------------------------------------------------------


class ForgottenScale(flows.DiagonalScale):
    def forward(self, x: Tensor) -> Pair:
        return super().forward(x)[0], x.new_zeros(len(x))


@mutant("flow", rejected_by=[_DET, _MASS])
def nice_without_the_volume_of_its_scale(config: FlowConfig) -> Any:
    """The couplings preserve volume, so the log-determinant is taken to be zero, last scale and all:
    likelihood grows without end as the scale shrinks the data."""
    model = flows.NICE((_vector(config, 2),), 3, 4)
    model.layers[-1] = ForgottenScale(config.event_shape)  # wrong: the scale's own log_det
    return model


class Unexpanded(flows.DiagonalScale):
    def forward(self, x: Tensor) -> Pair:
        return super().forward(x)[0], self.log_scale.sum()


@mutant("flow", rejected_by=[_DET])
def log_det_without_a_batch(config: FlowConfig) -> Any:
    """One number for all items, since it does not depend on x: it broadcasts, until somebody sums."""
    return Unexpanded(config.event_shape)  # wrong: log_det.expand(N)


class ChannelSum(flows.AffineCoupling):
    def forward(self, x: Tensor) -> Pair:
        log_scale, shift = self.scale_and_shift(x)
        return x * log_scale.exp() + shift, log_scale.sum(1).flatten(1).mean(1)


@mutant("flow", rejected_by=[_DET])
def coupling_averaged_over_pixels(config: FlowConfig) -> Any:
    """The log-scales of an image coupling are summed over channels and averaged over pixels."""
    shape = _image(config)
    if shape[0] < 2:
        raise Unsupported("two channels")
    network = nn.Conv2d(shape[0], 2 * shape[0], 3, padding=1)
    layer = ChannelSum(flows.channel_mask(shape, 1), network)  # wrong: sums over pixels as well
    return flows.Composition(shape, [layer])


class Swapped(flows.Squeezed):
    def inverse(self, z: Tensor) -> Tensor:
        rest, finished = flows.squeeze(z).chunk(2, dim=1)
        rest = self.rest.inverse(rest)
        return flows.unsqueeze(self.transform.inverse(torch.cat([finished, rest], dim=1)))


class Shuffled(flows.Squeezed):
    def inverse(self, z: Tensor) -> Tensor:
        finished, rest = flows.squeeze(z).chunk(2, dim=1)
        both = torch.cat([finished, self.rest.inverse(rest)], dim=1)
        return functional.pixel_shuffle(
            self.transform.inverse(both).unflatten(1, (4, -1)).transpose(1, 2).flatten(1, 2), 2
        )


class Unfinished(flows.Squeezed):
    def forward(self, x: Tensor) -> Pair:
        y, _ = self.transform(flows.squeeze(x))
        finished, rest = y.chunk(2, dim=1)
        rest, log_det = self.rest(rest)
        return flows.unsqueeze(torch.cat([finished, rest], dim=1)), log_det


def _two_scales(config: FlowConfig, level: type[flows.Squeezed]) -> Any:
    c, h, w = _image(config, even=True)
    glow = flows.Glow((c, h, w), 2, 1, 3)
    squeezed = glow.layers[0]
    glow.layers[0] = level(squeezed.transform, squeezed.rest)
    return glow


@mutant("flow", rejected_by=[_TRIP])
def halves_that_come_back_swapped(config: FlowConfig) -> Any:
    """On the way back the finished half is sent through the coarser scale, and the rest is not."""
    return _two_scales(config, Swapped)  # wrong: the rest goes through the coarser scale


@mutant("flow", rejected_by=[_TRIP, _SAMPLES])
def squeeze_undone_in_another_order(config: FlowConfig) -> Any:
    """The squeeze puts the four pixels of a channel next to each other; its inverse expects all
    channels of a pixel."""
    if _image(config, even=True)[0] < 2:
        raise Unsupported("the orders are one for one channel")
    return _two_scales(config, Shuffled)  # wrong: unsqueeze, the inverse of squeeze


@mutant("flow", rejected_by=[_DET])
def finished_half_without_its_log_det(config: FlowConfig) -> Any:
    """Only what reaches the last scale is counted: what was done to the factored-out half is free."""
    return _two_scales(config, Unfinished)  # wrong: log-determinants are added


# Actnorm and 1 x 1 convolutions -----------------------------------------------------------------------


class Restless(flows.ActNorm):
    def forward(self, x: Tensor) -> Pair:
        if not self.training:
            self.initialise(x)
        return super().forward(x)


@mutant("flow", rejected_by=[_TRIP, "flow.gradient_is_derivative"])
def actnorm_that_starts_anew_in_evaluation(config: FlowConfig) -> Any:
    """The condition is the wrong way round: each test batch is normalised by its own statistics."""
    shape = _image(config)
    return flows.Composition(shape, [Restless(shape[0])])  # wrong: initialised in training, once


class OncePerImage(flows.InvertibleConv1x1):
    def forward(self, x: Tensor) -> Pair:
        z, log_det = super().forward(x)
        return z, log_det / (x.shape[2] * x.shape[3])


class Transposed(flows.InvertibleConv1x1):
    def inverse(self, z: Tensor) -> Tensor:
        return torch.einsum("oc,nohw->nchw", self.weight, z)


class Signed(flows.InvertibleConv1x1):
    def forward(self, x: Tensor) -> Pair:
        z, _ = super().forward(x)
        return z, (torch.logdet(self.weight) * x.shape[2] * x.shape[3]).expand(len(x))


class Unsigned(flows.LUConv1x1):
    def inverse(self, z: Tensor) -> Tensor:
        lower, upper = self.triangles()
        upper = upper.triu(1) + self.log_scale.exp().diag()
        found: Tensor = torch.linalg.solve(self.permutation @ lower @ upper, z.flatten(2))
        return found.reshape(z.shape)


def _mixed(config: FlowConfig, layer: type[nn.Module]) -> Any:
    shape = _image(config)
    return flows.Composition(
        shape, [layer(flows.random_rotation(shape[0])), flows.ActNorm(shape[0])]
    )


@mutant("flow", rejected_by=[_DET])
def mixing_counted_once_an_image(config: FlowConfig) -> Any:
    """log|det W| without the number of pixels that W is applied to."""
    return _mixed(config, OncePerImage)  # wrong: H W log|det W|


@mutant("flow", rejected_by=[_TRIP, _SAMPLES])
def mixing_undone_by_the_transpose(config: FlowConfig) -> Any:
    """Right for the rotation that training starts from, and for nothing after the first step."""
    return _mixed(config, Transposed)  # wrong: solve(W, z)


@mutant("flow", rejected_by=[_DET])
def logdet_of_a_reflection(config: FlowConfig) -> Any:
    """``logdet`` where ``slogdet`` is meant: NaN for every matrix of negative determinant."""
    return _mixed(config, Signed)  # wrong: slogdet


@mutant("flow", rejected_by=[_TRIP, _SAMPLES])
def factors_that_lose_their_signs_on_the_way_back(config: FlowConfig) -> Any:
    """The inverse rebuilds the diagonal as exp(log s) and forgets the signs that were split off."""
    return _mixed(config, Unsigned)  # wrong: sign * exp(log s)


# Planar and radial flows ------------------------------------------------------------------------------


class Disc(flows.RadialLayer):
    def forward(self, x: Tensor) -> Pair:
        z, log_det = super().forward(x)
        alpha, beta = self.shape()
        reach = alpha + (x - self.centre).norm(dim=1)
        return z, log_det - (x.shape[1] - 2) * (1 + beta / reach).log()


@mutant("flow", rejected_by=[_DET])
def radial_without_its_power(config: FlowConfig) -> Any:
    """The factor of the sphere is counted once and not D - 1 times: right in the plane, where the
    figures of the paper are."""
    dim = _vector(config)
    layers = [Disc(dim) for _ in range(2)]  # wrong: counts the sphere's factor D - 1 times
    return flows.Composition((dim,), layers)


class OtherRoot(flows.RadialLayer):
    def inverse(self, z: Tensor) -> Tensor:
        alpha, beta = self.shape()
        away = z - self.centre
        half = (away.norm(dim=1) - alpha - beta) / 2
        r = half + (half.square() - alpha * away.norm(dim=1)).clamp_min(0).sqrt()
        return self.centre + away / (1 + beta / (alpha + r))[:, None]


@mutant("flow", rejected_by=[_TRIP, _SAMPLES])
def radial_inverse_with_a_sign_in_its_root(config: FlowConfig) -> Any:
    """Minus where the quadratic formula has plus, its constant term being negative already."""
    dim = _vector(config)
    layers = [OtherRoot(dim) for _ in range(2)]  # wrong: the root of half² + alpha |z|
    return flows.Composition((dim,), layers)


# Autoregressive flows ---------------------------------------------------------------------------------


class Present(flows.MaskedConditioner):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__(dim, hidden)
        self.tells |= torch.cat([torch.zeros(dim), torch.ones(dim)])[:, None].bool() & (
            torch.arange(dim).repeat(2)[:, None] >= torch.arange(hidden) % max(dim - 1, 1)
        )


@mutant("flow", rejected_by=[_DET, _TRIP])
def maf_whose_scale_knows_its_own_feature(config: FlowConfig) -> Any:
    """'At most' for 'less than' in the output mask of the scale: the feature sets its own scale, the
    diagonal of the Jacobian has another term, and passes no longer end."""
    dim = _vector(config)
    conditioner = Present(dim, 6)  # wrong: degrees before the feature's own
    return flows.Composition((dim,), [flows.AutoregressiveLayer(conditioner)])


class Growing(flows.InverseAutoregressiveLayer):
    def forward(self, x: Tensor) -> Pair:
        z, log_det = super().forward(x)
        return z, -log_det


@mutant("flow", rejected_by=[_DET, _MASS])
def iaf_with_the_log_det_of_its_sampler(config: FlowConfig) -> Any:
    """The log-determinant of noise to data is reported for data to noise."""
    dim = _vector(config)
    layer = Growing(flows.MaskedConditioner(dim, 6))  # wrong: log_det of data to noise
    return flows.Composition((dim,), [layer])


class Hasty(flows.AutoregressiveLayer):
    def inverse(self, z: Tensor) -> Tensor:
        x = torch.zeros_like(z)
        for _ in range(z.shape[1] - 1):
            shift, log_scale = self.conditioner(x)
            x = z * log_scale.exp() + shift
        return x


@mutant("flow", rejected_by=[_TRIP, _SAMPLES])
def maf_that_samples_in_a_pass_too_few(config: FlowConfig) -> Any:
    """The first feature 'needs no pass', and so the last one misses its own."""
    dim = _vector(config)
    return flows.Composition((dim,), [Hasty(flows.MaskedConditioner(dim, 6))])  # wrong: D passes


# Continuous flows -------------------------------------------------------------------------------------


class Guessing(flows.ContinuousFlow):
    def forward(self, x: Tensor, noise: Tensor | None = None) -> Pair:
        return super().forward(x, torch.randn_like(x).sign())


@mutant("flow", rejected_by=["flow.repeats_itself", _DET])
def continuous_flow_evaluated_by_one_probe(config: FlowConfig) -> Any:
    """Hutchinson's estimate, meant for training, is what evaluation reports: another density at every
    call, and by Jensen too high on average."""
    return Guessing(_vector(config), 5, 8, 0.5)  # wrong: the exact trace


class Ones(flows.ContinuousFlow):
    def forward(self, x: Tensor, noise: Tensor | None = None) -> Pair:
        return super().forward(x, torch.ones_like(x))


@mutant("flow", rejected_by=[_DET])
def trace_that_sums_all_entries(config: FlowConfig) -> Any:
    """The gradient of the sum of the velocities, summed: one backward pass, and every entry of the
    Jacobian is in it, not the diagonal alone."""
    return Ones(_vector(config), 5, 8, 0.5)  # wrong: each axis by itself


class Stopped(flows.ContinuousFlow):
    def inverse(self, z: Tensor) -> Tensor:
        return flows.runge_kutta(lambda t, x: -self.field(t, x), z, 0.0, self.duration, self.steps)


@mutant("flow", rejected_by=[_TRIP])
def continuous_flow_with_a_clock_that_runs_forward(config: FlowConfig) -> Any:
    """The velocity is negated and time is not: right for a field that does not depend on time."""
    return Stopped(_vector(config), 5, 8, 0.5)  # wrong: t from duration to 0


@mutant("flow", rejected_by=[_TRIP, _DET])
def continuous_flow_in_one_step(config: FlowConfig) -> Any:
    """A solver so coarse that the reversed path does not return, nor the integral of the trace give
    the volume: the flow is right in the limit, and the program is not there."""
    return flows.ContinuousFlow(_vector(config), 5, 1)  # wrong: more than 1 step


# Pieces -----------------------------------------------------------------------------------------------


def _replaced(piece: Any, **members: Callable[..., Any]) -> Any:
    """A subclass of a reference module with some members replaced."""
    return type(piece.__name__, (piece,), members)


@mutant("theory", rejected_by=[_NICE])
def additive_coupling_that_also_moves_what_it_reads(pieces: Any) -> Any:
    """The mask is applied to the network's input and not to its output: everything is shifted."""

    def shift(m: Any, x: Tensor) -> Tensor:
        found = m.network((x * m.keeps).flatten(1))
        return found.reshape(x.shape)  # wrong: times 1 - keeps

    pieces.AdditiveCoupling = _replaced(pieces.AdditiveCoupling, shift=shift)
    return pieces


@mutant("theory", rejected_by=[_NICE])
def nice_whose_masks_do_not_alternate(pieces: Any) -> Any:
    """The same half is kept in every layer: it is never moved, and each part is as Gaussian as it was."""
    right = pieces.NICE

    def stuck(*arguments: Any) -> Any:
        model = right(*arguments)
        for layer in model.layers[:-1]:
            layer.keeps.copy_(model.layers[0].keeps)  # wrong: keeps of its own
        return model

    pieces.NICE = stuck
    return pieces


@mutant("theory", rejected_by=[_NICE])
def nice_that_scales_for_nothing(pieces: Any) -> Any:
    """The last layer scales, and the log-determinant does not know."""
    right = pieces.NICE

    def free(shape: Any, *arguments: Any) -> Any:
        model = right(shape, *arguments)
        model.layers[-1] = ForgottenScale(shape)  # wrong: DiagonalScale
        return model

    pieces.NICE = free
    return pieces


@mutant("theory", rejected_by=[_TRIANGLE])
def coupling_whose_network_sees_everything(pieces: Any) -> Any:
    """The network's input is not masked: the scale of a feature depends on the feature."""

    def scale_and_shift(m: Any, x: Tensor) -> Pair:
        log_scale, shift = m.network(x).chunk(2, dim=1)  # wrong: m.network(x * m.keeps)
        return log_scale.tanh() * (1 - m.keeps), shift * (1 - m.keeps)

    pieces.AffineCoupling = _replaced(pieces.AffineCoupling, scale_and_shift=scale_and_shift)
    return pieces


@mutant("theory", rejected_by=[_TRIANGLE])
def coupling_that_ignores_what_it_keeps(pieces: Any) -> Any:
    """Triangular to perfection: the network is given zeros, and every feature is on its own."""

    def scale_and_shift(m: Any, x: Tensor) -> Pair:
        found = m.network(torch.zeros_like(x))  # wrong: x * m.keeps
        log_scale, shift = found.chunk(2, dim=1)
        return log_scale.tanh() * (1 - m.keeps), shift * (1 - m.keeps)

    pieces.AffineCoupling = _replaced(pieces.AffineCoupling, scale_and_shift=scale_and_shift)
    return pieces


@mutant("theory", rejected_by=[_TRIANGLE])
def realnvp_whose_masks_do_not_alternate(pieces: Any) -> Any:
    """``k % 2`` forgotten: half of the features are noise already, whatever the data."""
    right = pieces.RealNVP

    def stuck(*arguments: Any) -> Any:
        model = right(*arguments)
        for layer in model.layers:
            layer.keeps.copy_(model.layers[0].keeps)  # wrong: keeps of its own
        return model

    pieces.RealNVP = stuck
    return pieces


@mutant("theory", rejected_by=[_TRIANGLE])
def checkerboard_of_stripes(pieces: Any) -> Any:
    """Rows are forgotten in the parity: columns alternate, and neighbours above are of one colour."""
    pieces.checkerboard_mask = lambda shape, first: (
        ((torch.arange(shape[2]) + first) % 2).float().expand(shape)  # wrong: rows counted too
    )
    return pieces


@mutant("theory", rejected_by=[_SQUEEZE])
def squeeze_by_a_reshape(pieces: Any) -> Any:
    """The right shapes without a permutation: a pixel's channels come from all over the image."""

    def squeeze(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return x.reshape(n, 4 * c, h // 2, w // 2)  # wrong: a block of 2 x 2 for each pixel

    def unsqueeze(y: Tensor) -> Tensor:
        n, c, h, w = y.shape
        return y.reshape(n, c // 4, 2 * h, 2 * w)  # wrong: a block of 2 x 2 for each pixel

    pieces.squeeze, pieces.unsqueeze = squeeze, unsqueeze
    return pieces


@mutant("theory", rejected_by=[_SQUEEZE])
def unsqueeze_with_rows_and_columns_swapped(pieces: Any) -> Any:
    """The two pixels off the diagonal of each block change places: a texture, hardly visible."""
    right = pieces.unsqueeze

    def unsqueeze(y: Tensor) -> Tensor:
        swapped = y.unflatten(1, (-1, 2, 2)).transpose(2, 3)  # wrong: no transpose
        return right(swapped.flatten(1, 3))

    pieces.unsqueeze = unsqueeze
    return pieces


@mutant("theory", rejected_by=[_FACTORED])
def next_scale_for_everything(pieces: Any) -> Any:
    """The next scale is applied to both halves: nothing is ever finished."""

    def forward(m: Any, x: Tensor) -> Pair:
        y, log_det = m.transform(flows.squeeze(x))
        one, other = y.chunk(2, dim=1)
        one, first = m.rest(one)  # wrong: one is finished
        other, second = m.rest(other)
        return flows.unsqueeze(torch.cat([one, other], dim=1)), log_det + first + second

    def inverse(m: Any, z: Tensor) -> Tensor:
        both = [m.rest.inverse(half) for half in flows.squeeze(z).chunk(2, dim=1)]
        return flows.unsqueeze(m.transform.inverse(torch.cat(both, dim=1)))

    pieces.Squeezed = _replaced(pieces.Squeezed, forward=forward, inverse=inverse)
    return pieces


@mutant("theory", rejected_by=[_FACTORED])
def scales_whose_log_dets_do_not_add_up(pieces: Any) -> Any:
    """The next scale's log-determinant replaces that of the scale before."""
    pieces.Squeezed = Unfinished  # wrong: log-determinants are added
    return pieces


def _actnorm(pieces: Any, **members: Callable[..., Any]) -> Any:
    pieces.ActNorm = _replaced(pieces.ActNorm, **members)
    return pieces


@mutant("theory", rejected_by=[_ACTNORM])
def actnorm_that_starts_anew_with_every_training_batch(pieces: Any) -> Any:
    """The flag is never set: batch normalisation without running statistics."""

    def forward(m: Any, x: Tensor) -> Pair:
        m.initialised.fill_(False)  # wrong: no reset
        return flows.ActNorm.forward(m, x)

    return _actnorm(pieces, forward=forward)


@mutant("theory", rejected_by=[_ACTNORM])
def actnorm_whose_flag_is_not_saved(pieces: Any) -> Any:
    """'Initialised' is a plain attribute: training that goes on from a checkpoint throws scale and
    shift away with its first batch."""

    def __init__(m: Any, channels: int) -> None:  # noqa: N807
        flows.ActNorm.__init__(m, channels)
        del m.initialised
        m.initialised = torch.tensor(False)  # wrong: a buffer

    return _actnorm(pieces, __init__=__init__)


@mutant("theory", rejected_by=[_ACTNORM])
def actnorm_initialised_by_a_batch_in_evaluation(pieces: Any) -> Any:
    """Whatever comes first sets the scale, be it a test image."""

    def forward(m: Any, x: Tensor) -> Pair:
        if not m.initialised:  # wrong: and m.training
            m.initialise(x)
        return flows.ActNorm.forward(m, x)

    return _actnorm(pieces, forward=forward)


@mutant("theory", rejected_by=[_ACTNORM])
def actnorm_over_channels_together(pieces: Any) -> Any:
    """One mean and one spread for all channels: none of them comes out standardised."""

    def initialise(m: Any, x: Tensor) -> None:
        with torch.no_grad():
            m.shift.fill_(-float(x.mean()))  # wrong: a channel's mean
            m.log_scale.fill_(-math.log(float(x.std())))  # wrong: a channel's spread
            m.initialised.fill_(True)

    return _actnorm(pieces, initialise=initialise)


@mutant("theory", rejected_by=[_MIXING])
def convolution_counted_once(pieces: Any) -> Any:
    """log|det W| of one pixel, for all of them."""
    pieces.InvertibleConv1x1 = OncePerImage  # wrong: H W log|det W|
    return pieces


@mutant("theory", rejected_by=[_MIXING])
def convolution_with_the_log_of_a_signed_determinant(pieces: Any) -> Any:
    """Half of all matrices have a negative determinant, and NaN for a likelihood."""
    pieces.InvertibleConv1x1 = Signed  # wrong: slogdet
    return pieces


@mutant("theory", rejected_by=[_MIXING])
def factors_without_signs(pieces: Any) -> Any:
    """s = exp(log s) everywhere: consistent, and another matrix than the one it was made from."""

    def triangles(m: Any) -> Pair:
        lower, upper = flows.LUConv1x1.triangles(m)
        return lower, upper.triu(1) + m.log_scale.exp().diag()  # wrong: times the signs

    pieces.LUConv1x1 = _replaced(pieces.LUConv1x1, triangles=triangles)
    return pieces


@mutant("theory", rejected_by=[_MAF])
def maf_evaluated_feature_by_feature(pieces: Any) -> Any:
    """Right, and D times as slow as it need be: the network is called once for every feature."""

    def forward(m: Any, x: Tensor) -> Pair:
        passes = [m.conditioner(x) for _ in range(x.shape[1] + 1)]  # wrong: one pass
        shift, log_scale = passes[-1]
        return (x - shift) * (-log_scale).exp(), -log_scale.sum(1)

    pieces.AutoregressiveLayer = _replaced(pieces.AutoregressiveLayer, forward=forward)
    return pieces


@mutant("theory", rejected_by=[_MAF])
def iaf_that_scales_before_it_shifts(pieces: Any) -> Any:
    """x = z e^-a - m: a flow as good as any, and not the inverse of MAF with the same network."""

    def inverse(m: Any, z: Tensor) -> Tensor:
        shift, log_scale = m.conditioner(z)
        return z * (-log_scale).exp() - shift  # wrong: (z - shift) * exp(-log_scale)

    layer = pieces.InverseAutoregressiveLayer
    pieces.InverseAutoregressiveLayer = _replaced(layer, inverse=inverse)
    return pieces


@mutant("theory", rejected_by=[_MAF])
def conditioner_of_the_present(pieces: Any) -> Any:
    """The scale's mask lets a feature see itself."""
    pieces.MaskedConditioner = Present  # wrong: degrees before the feature's own
    return pieces


class _Blind(flows.MaskedConditioner):
    """With hidden units of degree 0 alone, everything depends on the first feature only."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__(dim, hidden)
        self.reads &= torch.arange(dim) == 0


@mutant("theory", rejected_by=[_MAF])
def conditioner_of_the_first_feature(pieces: Any) -> Any:
    """The masks are strict enough, and leave out most of the past."""
    pieces.MaskedConditioner = _Blind  # wrong: all earlier features
    return pieces


@mutant("theory", rejected_by=[_PLANAR])
def planar_push_uncorrected(pieces: Any) -> Any:
    """u is used as it is: wherever w·u falls below -1, space folds."""
    pieces.planar_push = lambda w, u: u  # wrong: corrected along w
    return pieces


@mutant("theory", rejected_by=[_PLANAR])
def planar_push_along_the_unit_normal(pieces: Any) -> Any:
    """Divided by |w| and not by its square: the correction has the wrong length unless |w| = 1."""

    def push(w: Tensor, u: Tensor) -> Tensor:
        along = w / w.norm()  # wrong: w.square().sum()
        return u + (functional.softplus(w @ u) - 1 - w @ u) * along

    pieces.planar_push = push
    return pieces


@mutant("theory", rejected_by=[_PLANAR])
def planar_log_det_with_the_slope_of_a_sigmoid(pieces: Any) -> Any:
    """h (1 - h) where the derivative of tanh is 1 - h²."""

    def step(x: Tensor, w: Tensor, push: Tensor, b: Tensor) -> Pair:
        height = (x @ w + b).tanh()
        growth = 1 + (w @ push) * height * (1 - height)  # wrong: (1 - height²)
        return x + push * height[:, None], growth.abs().log()

    pieces.planar_step = step
    return pieces


@mutant("theory", rejected_by=[_RADIAL])
def radial_power_of_one(pieces: Any) -> Any:
    """The factor along the sphere is counted once in every dimension."""
    right = pieces.radial_step

    def step(x: Tensor, centre: Tensor, alpha: Tensor, beta: Tensor) -> Pair:
        z, log_det = right(x, centre, alpha, beta)
        ring = 1 + beta / (alpha + (x - centre).norm(dim=1))
        return z, log_det - (x.shape[1] - 2) * ring.abs().log()  # wrong: log_det

    pieces.radial_step = step
    return pieces


@mutant("theory", rejected_by=[_RADIAL])
def radial_beta_at_will(pieces: Any) -> Any:
    """Only alpha is constrained: a beta below -alpha turns the neighbourhood of the centre inside out."""

    def shape(m: Any) -> Pair:
        return m.log_alpha.exp(), 4 * m.raw_beta  # wrong: softplus(raw_beta) - alpha

    pieces.RadialLayer = _replaced(pieces.RadialLayer, shape=shape)
    return pieces


@mutant("theory", rejected_by=[_TRACE])
def runge_kutta_of_order_one(pieces: Any) -> Any:
    """Euler's steps: twice the work halves the error, where it should divide it by sixteen."""

    def euler(slope: Any, state: Tensor, start: float, stop: float, steps: int) -> Tensor:
        h = (stop - start) / steps
        for k in range(steps):
            state = state + h * slope(start + k * h, state)  # wrong: four slopes a step
        return state

    pieces.runge_kutta = euler
    return pieces


@mutant("theory", rejected_by=[_TRACE])
def runge_kutta_with_equal_weights(pieces: Any) -> Any:
    """The four slopes are averaged, and the two in the middle of the step count no more than others."""

    def average(slope: Any, state: Tensor, start: float, stop: float, steps: int) -> Tensor:
        h = (stop - start) / steps
        for k in range(steps):
            t = start + k * h
            a = slope(t, state)
            b = slope(t + h / 2, state + h / 2 * a)
            c = slope(t + h / 2, state + h / 2 * b)
            d = slope(t + h, state + h * c)
            state = state + h / 4 * (a + b + c + d)  # wrong: h / 6 * (a + 2 * b + 2 * c + d)
        return state

    pieces.runge_kutta = average
    return pieces


@mutant("theory", rejected_by=[_TRACE])
def continuous_density_that_grows_with_the_volume(pieces: Any) -> Any:
    """The sign of the density's change is given to the log-determinant."""

    def forward(m: Any, x: Tensor, noise: Tensor | None = None) -> Pair:
        z, log_det = flows.ContinuousFlow.forward(m, x, noise)
        return z, -log_det  # wrong: log_det

    pieces.ContinuousFlow = _replaced(pieces.ContinuousFlow, forward=forward)
    return pieces


@mutant("theory", rejected_by=[_SIGNS])
def hutchinson_with_positive_noise(pieces: Any) -> Any:
    """Noise in {0, 1}: its mean is not zero, and the entries off the diagonal stay in the average."""
    right = pieces.hutchinson_divergence
    pieces.hutchinson_divergence = lambda field, x, noise: right(
        field,
        x,
        (noise + 1) / 2**0.5,  # wrong: noise, in {-1, 1}
    )
    return pieces


@mutant("theory", rejected_by=[_SIGNS])
def hutchinson_that_averages_the_axes(pieces: Any) -> Any:
    """A mean over features for the sum: the trace over D."""
    right = pieces.hutchinson_divergence
    pieces.hutchinson_divergence = lambda field, x, noise: (
        right(field, x, noise) / x.shape[1]  # wrong: no division
    )
    return pieces


@mutant("theory", rejected_by=[_SIGNS])
def divergence_of_the_first_axis(pieces: Any) -> Any:
    """One product with the Jacobian, along the first axis alone."""
    right = pieces.hutchinson_divergence
    pieces.exact_divergence = lambda field, x: right(
        field,
        x,
        torch.eye(x.shape[1]).to(x)[:1].expand_as(x),  # wrong: each axis, summed
    )
    return pieces


@mutant("theory", rejected_by=[_UNITS, _BELOW])
def levels_that_pay_no_rent(pieces: Any) -> Any:
    """The density on [0, 1) is reported as a probability of levels: 8 bits per dimension too good."""

    def estimate(log_prob: Any, x: Tensor, noise: Tensor, levels: int) -> Tensor:
        return log_prob((x + noise) / levels)  # wrong: less D log(levels)

    pieces.dequantized_log_prob = estimate
    return pieces


@mutant("theory", rejected_by=[_UNITS])
def levels_that_pay_once_an_image(pieces: Any) -> Any:
    """log K is subtracted once and not for every dimension."""
    pieces.dequantized_log_prob = lambda log_prob, x, noise, levels: (
        log_prob((x + noise) / levels) - math.log(levels)  # wrong: D log(levels)
    )
    return pieces


@mutant("theory", rejected_by=[_UNITS])
def levels_divided_by_one_too_few(pieces: Any) -> Any:
    """x / (K - 1), as for pictures: with noise the last level leaves the unit interval."""
    pieces.dequantized_log_prob = lambda log_prob, x, noise, levels: (
        log_prob((x + noise) / (levels - 1)) - x[0].numel() * math.log(levels - 1)  # wrong: levels
    )
    return pieces
