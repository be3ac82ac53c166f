r"""Classic mistakes in PixelCNN++ and PixelSNAIL: shifts, sizes, masks, and the mixture of a pixel.

Each is the reference model with one layer, or one line of its density, replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reference.autoregressive.attention import causal_attention
from reference.autoregressive.coupled_channels import coupled_means
from reference.autoregressive.discretized_logistic import discretized_logistic
from reference.autoregressive.gated_resnet import GatedResNetBlock
from reference.autoregressive.levels import scaled_levels
from reference.autoregressive.pixelcnn_pp import PixelCNNPlusPlus
from reference.autoregressive.pixelsnail import PixelSNAIL
from reference.autoregressive.shifted_convolutions import ShiftedConv2d, ShiftedConvTranspose2d
from reference.autoregressive.strict_attention import CausalAttentionBlock
from reference.autoregressive.two_streams import TwoStreamBlock
from spec_tests.registry import Unsupported, mutant

_M = "autoregressive_model."
_CAUSAL, _USES, _CHAIN = _M + "causality", _M + "uses_the_allowed_past", _M + "chain_rule"
_NORMALISED, _SAMPLER = _M + "normalised", _M + "sampler_matches_density"


def _network(config: Any, kind: type = PixelCNNPlusPlus, **options: Any) -> Any:
    """A right model, or one of a class that is derived from it."""
    if len(config.event_shape) != 3:
        raise Unsupported("images only")
    return kind(config.event_shape, config.levels, config.num_classes, hidden=5, **options)


def _swapped(network: Any, right: type, wrong: type, where: Callable[[Any], bool] = bool) -> Any:
    """Every layer of class ``right`` becomes one of class ``wrong``, with the same parameters."""
    for layer in network.modules():
        if type(layer) is right and where(layer):
            layer.__class__ = wrong
    return network


# Shifts and sizes --------------------------------------------------------------------------------


class _PaddedAfter(ShiftedConv2d):
    """The kernel starts at its pixel instead of ending there."""

    def forward(self, x: Tensor) -> Tensor:
        height, width = self.kernel_size
        sides = (width // 2, width // 2) if self.stream == "down" else (0, width - 1)
        padded = F.pad(x, (*sides, 0, height - 1))
        return F.conv2d(padded, self.weight, self.bias, stride=self.stride)


class _CroppedAtTheStart(ShiftedConvTranspose2d):
    """What exceeds the image is taken from its top and left."""

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        out = F.pad(self.spread(x), (0, 1, 0, 1))
        return out[:, :, 1 : 1 + size[0], 1 : 1 + size[1]]


class _PulledBack(ShiftedConvTranspose2d):
    """Nearest neighbours, rounded up: position i reads half (i + 1) // 2."""

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        rows, columns = (
            ((torch.arange(n, device=x.device) + 1) // 2).clamp(max=half - 1)
            for n, half in zip(size, x.shape[-2:], strict=True)
        )
        return x[:, :, rows][:, :, :, columns]


class _Pooled(ShiftedConv2d):
    """The mean of every 2 x 2 block, the incomplete ones too."""

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 2, ceil_mode=True)


class _Repeated(ShiftedConvTranspose2d):
    """Every position four times."""

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        wide = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        return wide[:, :, : size[0], : size[1]]


@mutant("autoregressive_model", rejected_by=[_CAUSAL, _NORMALISED])
def shifted_convolution_padded_on_the_wrong_side(config: Any) -> Any:
    """The stream that knows what is to the left is padded on its right: it reads the next column."""
    network = _network(config)

    def where(m: Any) -> bool:
        return m.stream == "right" and m.stride[0] == 1

    return _swapped(network, ShiftedConv2d, _PaddedAfter, where)  # wrong: padded before


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def halving_without_the_shift(config: Any) -> Any:
    """An ordinary convolution of stride 2: a position of half the size has read all four pixels that it
    will be given back to, so each learns of itself; nothing leaks from one block to the next."""
    network, halving = _network(config), lambda m: m.stride[0] == 2
    return _swapped(network, ShiftedConv2d, _PaddedAfter, halving)  # wrong: padded before


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def doubling_cropped_at_the_start(config: Any) -> Any:
    """The surplus row and column are cut from the wrong end: odd rows and columns get what belongs to
    the pixel after them."""
    network = _network(config)
    return _swapped(network, ShiftedConvTranspose2d, _CroppedAtTheStart)  # wrong: at the end


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def nearest_doubling_rounds_up(config: Any) -> Any:
    """Nearest neighbours with the index rounded up: right at even rows and columns, and at odd ones
    the features of the next block, which has read them."""
    return _swapped(_network(config), ShiftedConvTranspose2d, _PulledBack)  # wrong: half i // 2


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def pooled_and_repeated(config: Any) -> Any:
    """Average pooling and repetition in place of the shifted pair: the mean of a block holds features
    that know its first pixels, and is handed to these."""
    network, halving = _network(config), lambda m: m.stride[0] == 2
    network = _swapped(network, ShiftedConv2d, _Pooled, halving)  # wrong: shifted, stride 2
    return _swapped(network, ShiftedConvTranspose2d, _Repeated)


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def streams_feed_each_other(config: Any) -> Any:
    """Stream down is given the features of stream right as well: it looks to both sides, and a column
    to the right has already seen the pixel."""

    class Mutual(TwoStreamBlock):
        def forward(self, streams: Any, mirror: Any = None) -> Any:
            down, right = super().forward(streams, mirror)
            return down + 0.3 * right, right  # wrong: down, right

    return _swapped(_network(config), TwoStreamBlock, Mutual)


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def shortcut_from_before_the_shift(config: Any) -> Any:
    """The last short-cut comes from a layer of the right size that was not shifted yet: the pixel itself
    arrives at the end."""

    class Unshifted(PixelCNNPlusPlus):
        def features(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            value = scaled_levels(x, self.levels, self.last.weight.dtype)
            seen = torch.cat([value, torch.ones_like(value[:, :1])], 1)
            down, right = self.enter_down, self.enter_right
            self.plain = down.above(seen), right.above(seen)  # wrong: down(seen), right(seen)
            return super().features(x, y)

    network = _network(config, Unshifted)
    network.second_half[-1].register_forward_pre_hook(lambda m, given: (given[0], network.plain))
    return network


def _silenced(module: nn.Module, given: Any) -> Any:
    return given[0], tuple(torch.zeros_like(f) for f in given[1])


@mutant("autoregressive_model", rejected_by=[_USES])
def shortcuts_forgotten(config: Any) -> Any:
    """All goes through the coarsest size and nothing around it: most pixels never hear of the one to
    their left, though the receptive field says so."""
    network = _network(config)
    for layer in network.second_half:
        if isinstance(layer, TwoStreamBlock):
            layer.register_forward_pre_hook(_silenced)  # wrong: mirrors as they are
    return network


# Attention ---------------------------------------------------------------------------------------


def _attending(config: Any, read: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Any:
    """A PixelSNAIL that reads with ``read``."""

    class Reads(CausalAttentionBlock):
        def forward(self, f: Tensor, seen: Tensor) -> Tensor:
            f = self.blocks(f)
            offered, asked = torch.cat([seen, f], 1), torch.cat([seen[:, -2:], f], 1)
            parts = self.query(asked), self.key(offered), self.value(offered)
            found = read(*(part.flatten(2).mT for part in parts))
            return self.merge(f, found.mT.reshape(len(f), -1, *f.shape[2:]))

    return _swapped(_network(config, PixelSNAIL), CausalAttentionBlock, Reads)


def _masked(query: Tensor, key: Tensor, value: Tensor, hidden: float) -> Tensor:
    """Earlier positions alone, all others with a score of ``hidden``."""
    scores = query @ key.mT / query.shape[-1] ** 0.5
    later = torch.ones_like(scores, dtype=torch.bool).triu()
    return scores.masked_fill(later, hidden).softmax(-1) @ value


@mutant("autoregressive_model", rejected_by=[_CAUSAL, _NORMALISED])
def attention_with_its_own_pixel(config: Any) -> Any:
    """The diagonal of the mask is open, as it is right after a strict layer; but here keys and values
    hold the pixels themselves."""
    return _attending(config, causal_attention)  # wrong: strictly causal


@mutant("autoregressive_model", rejected_by=[_CAUSAL, _NORMALISED, _SAMPLER])
def softmax_over_nothing(config: Any) -> Any:
    """Minus infinity for every key of the first pixel: 0 / 0, and NaN for all that read from it."""
    hidden = float("-inf")  # wrong: and zero for the first pixel, without a softmax
    return _attending(config, lambda q, k, v: _masked(q, k, v, hidden))


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def large_negative_score_for_nothing(config: Any) -> Any:
    """Minus a billion in place of minus infinity, so that there is no NaN: equal scores for the first
    pixel, which therefore averages over the whole image."""
    hidden = -1e9  # wrong: minus infinity, and zero for the first pixel
    return _attending(config, lambda q, k, v: _masked(q, k, v, hidden))


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def attention_mask_transposed(config: Any) -> Any:
    """Queries and keys swapped in the mask: every pixel reads all that come after it."""

    def read(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        flipped = (part.flip(-2) for part in (query, key, value))  # wrong: not flipped
        found = causal_attention(*(part[..., 1:, :] for part in flipped))
        return F.pad(found.flip(-2), (0, 0, 0, 1))

    return _attending(config, read)


# Dropout -----------------------------------------------------------------------------------------


class _AlwaysOn(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.4)  # training by default


@mutant("autoregressive_model", rejected_by=[_M + "repeats_itself", _M + "train_and_eval_agree"])
def dropout_left_on_in_evaluation(config: Any) -> Any:
    """The functional form, whose ``training`` is True unless told otherwise: likelihoods are those of
    another random network at each call."""
    network = _network(config)
    for layer in network.modules():
        if isinstance(layer, GatedResNetBlock):
            layer.dropout = _AlwaysOn()  # wrong: nn.Dropout
    return network


# The mixture of a pixel --------------------------------------------------------------------------


def _log_mass(network: Any, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
    """log pi (N, M, H, W), and the log-mass of the levels that occurred (N, M, C, H, W)."""
    log_weights, means, log_scales, coefficients = network.mixture(x, y)
    centres = coupled_means(scaled_levels(x, network.levels, means.dtype), means, coefficients)
    found = discretized_logistic(x[:, None], centres, log_scales, network.levels)
    return log_weights.log_softmax(1), found


def _coloured(config: Any) -> None:
    if len(config.event_shape) != 3 or config.event_shape[0] != 3:
        raise Unsupported("only wrong with three channels")


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def green_conditioned_on_blue(config: Any) -> Any:
    """The last coefficient at the wrong end: green's mean moves with blue. It is normalised still, as a
    density in the order R, B, G; but the conditionals are given, and sampled, in the order R, G, B."""
    _coloured(config)

    class Swapped(PixelCNNPlusPlus):
        def mixture(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, ...]:  # type: ignore[override]
            log_weights, means, log_scales, coefficients = super().mixture(x, y)
            blue = scaled_levels(x, self.levels, means.dtype)[:, None, 2]
            shift = torch.zeros_like(means)
            shift[:, :, 1] = coefficients[:, :, 2] * blue  # wrong: blue's, by green
            kept = torch.cat([coefficients[:, :, :2], 0 * coefficients[:, :, 2:]], 2)
            return log_weights, means + shift, log_scales, kept

    return _network(config, Swapped)


@mutant("autoregressive_model", rejected_by=[_CHAIN, _M + "gibbs"])
def indicator_of_its_own_for_every_channel(config: Any) -> Any:
    """The density sums over components channel by channel, and multiplies: normalised, and another
    distribution than the one that the conditionals share a component in."""
    _coloured(config)

    class Separate(PixelCNNPlusPlus):
        def log_prob(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            log_weights, log_mass = _log_mass(self, x, y)
            mixed = (log_weights[:, :, None] + log_mass).logsumexp(1)  # wrong: log_mass.sum(2)
            return mixed.sum((1, 2, 3))

    return _network(config, Separate)


@mutant("autoregressive_model", rejected_by=[_CHAIN, _M + "gibbs"])
def green_mixed_by_the_weights_of_red(config: Any) -> Any:
    """Each channel's conditional uses the weights of the joint, as if red said nothing about the
    component: normalised, but the conditionals do not multiply to the density."""
    _coloured(config)

    class Unweighted(PixelCNNPlusPlus):
        def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            log_weights, means, log_scales, coefficients = self.mixture(x, y)
            value = scaled_levels(x, self.levels, means.dtype)
            centres = coupled_means(value, means, coefficients)[:, :, None]
            every = torch.arange(self.levels, device=x.device).view(-1, 1, 1, 1)
            mass = discretized_logistic(every, centres, log_scales[:, :, None], self.levels)
            weights = log_weights.log_softmax(1)[:, :, None, None]  # wrong: given earlier channels
            return (weights + mass).logsumexp(1)

    return _network(config, Unweighted)


@mutant("autoregressive_model", rejected_by=[_CHAIN, _SAMPLER])
def coupling_in_the_sampler_alone(config: Any) -> Any:
    """Green's mean is moved by the red that was drawn, but the density is computed without: samples of
    one model, likelihoods of another."""
    _coloured(config)

    class Uncoupled(PixelCNNPlusPlus):
        def log_prob(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            log_weights, means, log_scales, _ = self.mixture(x, y)
            centres = means  # wrong: coupled_means(value, means, coefficients)
            mass = discretized_logistic(x[:, None], centres, log_scales, self.levels)
            return (log_weights.log_softmax(1) + mass.sum(2)).logsumexp(1).sum((1, 2))

    return _network(config, Uncoupled)


@mutant("autoregressive_model", rejected_by=[_CHAIN, _NORMALISED, _M + "bits_per_dim"])
def channels_averaged_in_log_prob(config: Any) -> Any:
    """The mean over channels where their masses multiply: three channels for the price of one."""
    _coloured(config)

    class Averaged(PixelCNNPlusPlus):
        def log_prob(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            log_weights, log_mass = _log_mass(self, x, y)
            return (log_weights + log_mass.mean(2)).logsumexp(1).sum((1, 2))  # wrong: sum(2)

    return _network(config, Averaged)


@mutant("autoregressive_model", rejected_by=[_CHAIN, _NORMALISED])
def outer_levels_without_tails(config: Any) -> Any:
    """The first and last bin end where the others would: what lies beyond is lost to the density, and
    black and white, the commonest of levels, pay for it."""

    class Short(PixelCNNPlusPlus):
        def log_prob(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            log_weights, means, log_scales, coefficients = self.mixture(x, y)
            value = scaled_levels(x, self.levels, means.dtype)
            apart = value[:, None] - coupled_means(value, means, coefficients)
            half, precision = 1 / (self.levels - 1), (-log_scales).exp()
            inside = (
                F.logsigmoid((apart + half) * precision)
                + (-torch.expm1(-2 * half * precision)).log()
            )
            above = F.logsigmoid((half - apart) * precision)
            mass = inside + above  # wrong: the outer bins reach to infinity
            return (log_weights.log_softmax(1) + mass.sum(2)).logsumexp(1).sum((1, 2))

    return _network(config, Short)


# Theory ------------------------------------------------------------------------------------------

_DEFINITION = "theory.coupled_mixture_matches_its_definition"
_DEPEND = "theory.coupled_mixture_channels_depend"
_CONDITIONALS = "theory.coupled_mixture_chain_rule"


@mutant("theory", rejected_by=[_DEFINITION, _CONDITIONALS])
def mixture_density_multiplies_mixtures(pieces: Any) -> Any:
    """A product of one mixture for each channel, in place of a mixture of products."""

    def log_prob(
        x: Tensor, log_weights: Tensor, means: Tensor, log_scales: Tensor, coefficients: Tensor,
        levels: int,
    ) -> Tensor:  # fmt: skip
        centres = coupled_means(scaled_levels(x, levels, means.dtype), means, coefficients)
        mass = discretized_logistic(x[:, None], centres, log_scales, levels)
        mixed = (log_weights.log_softmax(1)[:, :, None] + mass).logsumexp(1)
        return mixed.sum((1, 2, 3))  # wrong: over channels before the mixture

    pieces.coupled_mixture_log_prob = log_prob
    return pieces


@mutant("theory", rejected_by=[_DEFINITION])
def coefficients_of_blue_swapped(pieces: Any) -> Any:
    """Red's coefficient multiplies green and green's red: pairs taken in another order."""
    right = pieces.coupled_mixture_log_prob

    def log_prob(x: Tensor, *parameters: Any) -> Tensor:
        log_weights, means, log_scales, coefficients, levels = parameters
        of_blue = coefficients[:, :, 1:].flip(2)  # wrong: not flipped
        turned = torch.cat([coefficients[:, :, :1], of_blue], 2)
        return right(x, log_weights, means, log_scales, turned, levels)

    pieces.coupled_mixture_log_prob = log_prob
    return pieces


@mutant("theory", rejected_by=["theory.coupled_mixture_normalised", _DEFINITION])
def blue_moved_by_itself(pieces: Any) -> Any:
    """The diagonal is among the pairs: the mean of a channel moves with its own value."""
    right = pieces.coupled_mixture_log_prob

    def log_prob(x: Tensor, *parameters: Any) -> Tensor:
        log_weights, means, log_scales, coefficients, levels = parameters
        own = 0.5 * scaled_levels(x, levels, means.dtype)[:, None]
        return right(x, log_weights, means + own, log_scales, coefficients, levels)  # wrong: means

    pieces.coupled_mixture_log_prob = log_prob
    return pieces


@mutant("theory", rejected_by=[_CONDITIONALS, _DEPEND])
def conditionals_mixed_by_the_weights_of_the_joint(pieces: Any) -> Any:
    """Seeing red does not change the weights: with zero coefficients green would not depend on it."""

    def conditionals(
        x: Tensor, log_weights: Tensor, means: Tensor, log_scales: Tensor, coefficients: Tensor,
        levels: int,
    ) -> Tensor:  # fmt: skip
        value = scaled_levels(x, levels, means.dtype)
        centres = coupled_means(value, means, coefficients)[:, :, None]
        every = torch.arange(levels).view(-1, 1, 1, 1)
        mass = discretized_logistic(every, centres, log_scales[:, :, None], levels)
        weights = log_weights.log_softmax(1)[:, :, None, None]  # wrong: given earlier channels
        return (weights + mass).logsumexp(1)

    pieces.coupled_mixture_logits = conditionals
    return pieces


@mutant("theory", rejected_by=[_CONDITIONALS, _DEPEND])
def coupling_forgotten_in_the_conditionals(pieces: Any) -> Any:
    """Means that no channel moves: with one component all channels are independent."""
    right = pieces.coupled_mixture_logits

    def conditionals(x: Tensor, *parameters: Any) -> Tensor:
        log_weights, means, log_scales, coefficients, levels = parameters
        none = 0 * coefficients  # wrong: coefficients
        return right(x, log_weights, means, log_scales, none, levels)

    pieces.coupled_mixture_logits = conditionals
    return pieces


@mutant("theory", rejected_by=["theory.coupled_mixture_finite_at_extremes"])
def log_scales_without_bounds(pieces: Any) -> Any:
    """Whatever the network says: exp(-log s) overflows, and infinity times zero is NaN."""

    def split(out: Tensor, components: int, channels: int) -> tuple[Tensor, ...]:
        n, _, h, w = out.shape
        sizes = [1, channels, channels, channels * (channels - 1) // 2]
        parts = out.view(n, components, -1, h, w).split(sizes, 2)
        return parts[0][:, :, 0], *parts[1:]  # wrong: log-scales clamped

    pieces.split_mixture = split
    return pieces


@mutant("theory", rejected_by=["theory.downsampling_keeps_causality"])
def doubling_writes_one_pixel_early(pieces: Any) -> Any:
    """Cropped at the start: each position writes to the pixel before its own."""
    pieces.ShiftedConvTranspose2d = _CroppedAtTheStart  # wrong: at the end
    return pieces


@mutant("theory", rejected_by=["theory.downsampling_keeps_causality"])
def halving_reads_the_whole_block(pieces: Any) -> Any:
    """Padded after the image: half a position has read both of its rows."""
    pieces.ShiftedConv2d = _PaddedAfter  # wrong: padded before
    return pieces


@mutant("theory", rejected_by=["theory.shortcuts_reach_the_output"])
def shortcuts_silent(pieces: Any) -> Any:
    """Every block of the second half gets zeros from its mirror."""
    right = pieces.PixelCNNPlusPlus

    class Silent(right):  # type: ignore[misc, valid-type]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            for layer in self.second_half:
                if isinstance(layer, TwoStreamBlock):
                    layer.register_forward_pre_hook(_silenced)  # wrong: mirrors as they are

    pieces.PixelCNNPlusPlus = Silent
    return pieces


@mutant("theory", rejected_by=["theory.shortcuts_reach_the_output"])
def shortcuts_first_in_first_out(pieces: Any) -> Any:
    """A queue in place of a stack: where all sizes are equal it runs, and the last block gets the
    deepest features instead of the first."""
    right = pieces.PixelCNNPlusPlus

    class Queue(right):  # type: ignore[misc, valid-type]
        def features(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            if self.resolutions > 1:
                return super().features(x, y)
            value = scaled_levels(x, self.levels, self.last.weight.dtype)
            seen = torch.cat([value, torch.ones_like(value[:, :1])], 1)
            passed = [(self.enter_down(seen), self.enter_right(seen))]
            for layer in self.first_half:
                passed.append(layer(passed[-1]))
            streams = passed[-1]
            for layer, mirror in zip(self.second_half, passed[1:], strict=True):  # wrong: reversed
                streams = layer(streams, mirror)
            return streams[1]

    pieces.PixelCNNPlusPlus = Queue
    return pieces


@mutant("theory", rejected_by=["theory.shortcuts_reach_the_output"])
def receptive_field_without_the_shortcuts(pieces: Any) -> Any:
    """Counts what comes up from half the size, and forgets what goes around it."""
    right = pieces.pixelcnn_pp_receptive_field

    def field(height: int, width: int, blocks: int, resolutions: int) -> Tensor:
        found, side = right(height, width, blocks, resolutions), 2 ** (resolutions - 1)
        p = torch.arange(height * width)
        first = p // width // side * side * width + p % width // side * side
        return found & found[first]  # wrong: found

    pieces.pixelcnn_pp_receptive_field = field
    return pieces


@mutant("theory", rejected_by=["theory.dropout_in_training_only"])
def dropout_without_rescaling(pieces: Any) -> Any:
    """Features are dropped and those kept stay as they were: evaluation sees more than training did."""
    right = pieces.GatedResNetBlock

    class Unscaled(right):  # type: ignore[misc, valid-type]
        def __init__(self, *arguments: Any, dropout: float = 0.0, **options: Any) -> None:
            super().__init__(*arguments, dropout=dropout, **options)

            class Drop(nn.Dropout):
                def forward(self, x: Tensor) -> Tensor:
                    shrunk = 1 - self.p if self.training else 1.0  # wrong: 1
                    return super().forward(x) * shrunk

            self.dropout = Drop(dropout)

    pieces.GatedResNetBlock = Unscaled
    return pieces


@mutant("theory", rejected_by=["theory.dropout_in_training_only"])
def dropout_at_test_time(pieces: Any) -> Any:
    """``eval`` does not reach the dropout: the likelihood is a random number."""
    right = pieces.PixelCNNPlusPlus

    class Noisy(right):  # type: ignore[misc, valid-type]
        def train(self, mode: bool = True) -> Any:
            super().train(mode)
            for layer in self.modules():
                if isinstance(layer, nn.Dropout):
                    layer.train()  # wrong: in the mode given
            return self

    pieces.PixelCNNPlusPlus = Noisy
    return pieces


@mutant("theory", rejected_by=["theory.first_pixel_attends_to_nothing"])
def nothing_has_a_softmax(pieces: Any) -> Any:
    """All scores of the first position are minus infinity, and their softmax is NaN."""
    hidden = float("-inf")  # wrong: and zero for the first position, without a softmax
    pieces.strictly_causal_attention = lambda q, k, v: _masked(q, k, v, hidden)
    return pieces


@mutant("theory", rejected_by=["theory.first_pixel_attends_to_nothing"])
def nothing_is_everything(pieces: Any) -> Any:
    """A large negative score for what is masked: where all is masked, all is read."""
    hidden = -1e9  # wrong: minus infinity, and zero for the first position
    pieces.strictly_causal_attention = lambda q, k, v: _masked(q, k, v, hidden)
    return pieces


@mutant("theory", rejected_by=["theory.first_pixel_attends_to_nothing"])
def first_position_reads_itself(pieces: Any) -> Any:
    """The diagonal is open at the first position, so that it has something to read."""

    def read(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        found = _masked(query, key, value, -1e9)
        return torch.cat([value[..., :1, :], found[..., 1:, :]], -2)  # wrong: zeros first

    pieces.strictly_causal_attention = read
    return pieces
