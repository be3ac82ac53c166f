r"""Claims about PixelCNN++ and PixelSNAIL: the mixture whose channels are coupled, streams that are
shifted, halved and doubled, short-cuts, dropout, and attention to strictly earlier pixels.

The oracle of the mixture is its definition: the masses of all colours of a pixel, added up over the
components in NumPy. Joint, marginals and conditionals of any channel are then sums of one table.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from torch import Tensor, nn

from spec_tests import check
from spec_tests.chain_rule import all_events, past_of, raster
from spec_tests.contracts.autoregressive import AutoregressiveModelConfig
from spec_tests.handle import Handle, redraw_parameters
from spec_tests.judge import stratified
from spec_tests.numerics import gradients
from spec_tests.registry import claim
from spec_tests.tolerance import guarded, rounding

SALIMANS = "Salimans et al. 2017, 'PixelCNN++'"
CHEN = "Chen et al. 2018, 'PixelSNAIL'"

# Mixtures: parameters, and the table of all colours ----------------------------------------------

Parameters = tuple[Tensor, Tensor, Tensor, Tensor]


def _mixtures(
    n: int, components: int, channels: int, size: tuple[int, int], dtype: torch.dtype
) -> Parameters:
    """Weights, means, log-scales and coefficients of ``n`` images, none of them zero."""
    pairs = channels * (channels - 1) // 2
    log_weights = torch.randn(n, components, *size, dtype=dtype)
    means = torch.randn(n, components, channels, *size, dtype=dtype)
    log_scales = -1 + torch.randn(means.shape, dtype=dtype).clamp(-2, 2)
    size_of = 0.4 + torch.rand(n, components, pairs, *size, dtype=dtype)
    return log_weights, means, log_scales, size_of * torch.randn(size_of.shape).sign().to(dtype)


def _masses(mean: np.ndarray, log_scale: np.ndarray, levels: int) -> np.ndarray:
    """``(..., K)``: what a logistic gains over each bin, taken in the tail where it does not cancel."""
    inner = (2 * np.arange(1, levels) - 1) / (levels - 1) - 1
    edges = np.concatenate([[-np.inf], inner, [np.inf]])
    z = (edges - mean[..., None]) * np.exp(-log_scale)[..., None]
    low, high = z[..., :-1], z[..., 1:]
    turned = low > 0
    low, high = np.where(turned, -high, low), np.where(turned, -low, high)
    found: np.ndarray = expit(high) - expit(low)
    return found


def _table(parameters: Parameters, levels: int) -> Tensor:
    """``(N, H, W, K[, K, K])``: the probability of every colour of every pixel, by definition."""
    log_weights, means, log_scales, coefficients = (
        p.detach().cpu().double().movedim((1, 0), (-1, 0)).numpy() for p in parameters
    )  # (N, H, W, M) and (N, C, H, W, M), as components are put last
    weights = np.exp(log_weights - log_weights.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    value = 2 * np.arange(levels) / (levels - 1) - 1
    red = _masses(means[:, 0], log_scales[:, 0], levels)  # (N, H, W, M, K)
    if means.shape[1] == 1:
        return torch.from_numpy(np.einsum("nhwm,nhwmr->nhwr", weights, red))
    a, b, c = (coefficients[:, i, ..., None] for i in range(3))
    by_red = means[:, 1, ..., None] + a * value
    green = _masses(by_red, log_scales[:, 1, ..., None], levels)
    by_both = means[:, 2, ..., None, None] + (b * value)[..., None] + (c * value)[..., None, :]
    blue = _masses(by_both, log_scales[:, 2, ..., None, None], levels)
    joint = np.einsum("nhwm,nhwmr,nhwmrg,nhwmrgb->nhwrgb", weights, red, green, blue)
    return torch.from_numpy(joint)


def _colours(channels: int, levels: int) -> Tensor:
    """``(K^C, C, 1, 1)``: a one-pixel image of every colour."""
    return all_events(AutoregressiveModelConfig((channels, 1, 1), levels), torch.device("cpu"))


def _repeated(parameters: Parameters, times: int) -> list[Tensor]:
    return [p.expand(times, *p.shape[1:]) for p in parameters]


SHAPES = stratified(
    [
        st.tuples(st.just(channels), components, st.sampled_from([2, 3, 4]))
        for channels in (1, 3)
        for components in (st.just(1), st.sampled_from([2, 3, 5]))
    ]
)


@claim(
    "theory.coupled_mixture_matches_its_definition",
    r"p(r, g, b) = \sum_m \pi_m\, p_m(r)\, p_m(g \mid r)\, p_m(b \mid r, g), \qquad \mu_G = \mu_G^0 "
    r"+ \alpha r,\ \mu_B = \mu_B^0 + \beta r + \gamma g",
    sources=[f"{SALIMANS}, equations 2 and 3"],
    why="""One component accounts for all channels of a pixel, and within it each channel is a rounded
    logistic whose mean the earlier channels have moved. A mixture of its own for every channel, a
    coefficient at the wrong channel, or levels counted in other units than [-1, 1] is another
    density. The image's probability is the product over its pixels.""",
    effort=0.6,
)
@given(shape=SHAPES, n=st.sampled_from([1, 2]), size=st.sampled_from([(1, 1), (2, 3), (3, 1)]))
def test_coupled_mixture_is_a_mixture_of_products_of_logistics(
    subject: Handle, device: str, dtype: torch.dtype, shape: tuple[int, int, int], n: int,
    size: tuple[int, int],
) -> None:  # fmt: skip
    pieces = subject.pieces().raw
    channels, components, levels = shape
    parameters = _mixtures(n, components, channels, size, dtype)
    x = torch.randint(levels, (n, channels, *size))
    table = _table(parameters, levels)  # (N, H, W, K, ...)
    places = torch.meshgrid(*(torch.arange(s) for s in (n, *size)), indexing="ij")
    expected = table[(*places, *x.unbind(1))].log().sum((1, 2))
    found = pieces.coupled_mixture_log_prob(x, *parameters, levels)
    allowed = guarded(dtype, length=x[0].numel(), scale=float(expected.abs().max()))
    check.close(found, expected, allowed, "the log-probability of an image under coupled mixtures")


@claim(
    "theory.coupled_mixture_normalised",
    r"\sum_{r,g,b} p(r, g, b) = 1, \qquad \sum_k p(x_c = k \mid x_{<c}) = 1",
    sources=[f"{SALIMANS}, §2.1 and §2.2"],
    why="""Blue sums out for any means that red and green have set, then green, then red, then the
    components: scales may be as fine or as flat and means as far off as they like. A bin without its
    tail, or a coupling that moves the mean of its own channel, breaks the sum.""",
    dtypes=("float64",),
    effort=0.6,
)
@given(shape=SHAPES, spread=stratified([st.just(1.0), st.just(7.0), st.just(20.0)]))
def test_probabilities_of_all_colours_sum_to_one(
    subject: Handle, device: str, dtype: torch.dtype, shape: tuple[int, int, int], spread: float
) -> None:
    pieces = subject.pieces().raw
    channels, components, levels = shape
    log_weights, means, log_scales, coefficients = _mixtures(1, components, channels, (1, 1), dtype)
    log_scales = spread * (2 * torch.rand_like(log_scales) - 1)
    parameters = (log_weights, spread * means, log_scales, coefficients)
    colours = _colours(channels, levels)
    repeated = _repeated(parameters, len(colours))
    found = pieces.coupled_mixture_log_prob(colours, *repeated, levels)
    check.finite(found, "the log-probability of a colour")
    check.close(
        found.logsumexp(0).exp(), 1.0, guarded(dtype, length=len(colours)),
        f"the sum of the probabilities of all {len(colours)} colours",
    )  # fmt: skip
    total = pieces.coupled_mixture_logits(colours, *repeated, levels).logsumexp(1).exp()
    check.close(
        total, torch.ones(1), guarded(dtype, length=levels),
        "the sum of a channel's conditional over its levels",
    )  # fmt: skip


@claim(
    "theory.coupled_mixture_chain_rule",
    r"p(g \mid r) = \frac{\sum_b p(r, g, b)}{\sum_{g', b} p(r, g', b)} = \sum_m w_m(r)\, p_m(g \mid r), "
    r"\qquad p(r)\, p(g \mid r)\, p(b \mid r, g) = p(r, g, b)",
    sources=[f"{SALIMANS}, equations 2 and 3"],
    why="""The conditionals of a mixture are mixtures, of other weights: seeing red makes the components
    that explain it likelier, and green is mixed by those. The weights of the joint, used again for
    every channel, sum to one as well and belong to another distribution. The conditionals are quotients
    of sums over the table of all colours; they multiply to the joint.""",
    effort=0.6,
)
@given(shape=SHAPES)
def test_conditionals_of_the_channels_are_those_of_the_joint(
    subject: Handle, device: str, dtype: torch.dtype, shape: tuple[int, int, int]
) -> None:
    pieces = subject.pieces().raw
    channels, components, levels = shape
    parameters = _mixtures(1, components, channels, (1, 1), dtype)
    table, colours = _table(parameters, levels)[0, 0, 0], _colours(channels, levels)
    repeated = _repeated(parameters, len(colours))
    found = pieces.coupled_mixture_logits(colours, *repeated, levels)[..., 0, 0]  # (K^C, K, C)
    seen, flat = colours.flatten(1), found.log_softmax(1)
    for c in range(channels):
        marginal = table.flatten(c + 1).sum(-1) if c + 1 < channels else table
        given_past = marginal / marginal.sum(-1, keepdim=True)
        expected = given_past[tuple(seen[:, :c].T)].expand(len(colours), levels)
        check.close(
            found[:, :, c].exp(), expected, guarded(dtype, length=levels),
            f"the probabilities of the levels of channel {c}, given the channels before it,",
        )  # fmt: skip
    taken = flat.gather(1, seen[:, None]).sum((1, 2))
    log_p = pieces.coupled_mixture_log_prob(colours, *repeated, levels)
    allowed = guarded(dtype, length=levels, scale=float(log_p.abs().max()))
    check.close(taken, log_p, allowed, "the product of the conditionals, against the joint,")


# Which channels depend on which, by kind of mixture: coefficients of (G on R, B on R, B on G).
KINDS: dict[str, tuple[int, tuple[int, int, int], set[tuple[int, int]]]] = {
    "one component, no coefficients": (1, (0, 0, 0), set()),
    "one component, green by red": (1, (1, 0, 0), {(1, 0)}),
    "one component, blue by red": (1, (0, 1, 0), {(2, 0)}),
    "one component, blue by green": (1, (0, 0, 1), {(2, 1)}),
    "one component, all coefficients": (1, (1, 1, 1), {(1, 0), (2, 0), (2, 1)}),
    "two components, no coefficients": (2, (0, 0, 0), {(1, 0), (2, 0), (2, 1)}),
    "three components, all coefficients": (3, (1, 1, 1), {(1, 0), (2, 0), (2, 1)}),
}


@claim(
    "theory.coupled_mixture_channels_depend",
    r"M = 1: \ \alpha = 0 \Leftrightarrow G \perp R, \qquad M \ge 2: \ G \not\perp R \text{ even for } "
    r"\alpha = 0",
    sources=[f"{SALIMANS}, §2.2"],
    why="""Channels talk through the coefficients, and through the component that they share: red tells
    which component it may have been, and so what green may be. With one component and no coefficients
    they are independent, and each coefficient by itself connects its own two channels and no others.
    Whatever the parameters, no channel depends on one that is drawn after it.""",
    effort=0.6,
)
@given(kind=stratified([st.just(name) for name in KINDS]), levels=st.sampled_from([2, 3, 4]))
def test_channels_depend_through_coefficients_and_through_components(
    subject: Handle, device: str, dtype: torch.dtype, kind: str, levels: int
) -> None:
    pieces = subject.pieces().raw
    components, kept, expected = KINDS[kind]
    log_weights, means, _, coefficients = _mixtures(1, components, 3, (1, 1), dtype)
    step = torch.arange(components, dtype=dtype).view(1, -1, 1, 1, 1)
    means = 0.2 * means + step - (components - 1) / 2  # components that a colour tells apart
    parameters = (
        log_weights, means, torch.full_like(means, -0.5),
        coefficients * torch.tensor(kept, dtype=dtype).view(1, 1, 3, 1, 1),
    )  # fmt: skip
    x = torch.randint(levels, (1, 3, 1, 1)).repeat(4, 1, 1, 1)
    for c in range(3):
        x[c + 1, c] = (x[0, c] + 1) % levels
    found = pieces.coupled_mixture_logits(x, *_repeated(parameters, 4), levels)[..., 0, 0]
    changes = (found[1:] - found[:1]).abs().amax(1)  # (changed channel, channel that notices)
    for c, other in ((c, other) for c in range(3) for other in range(3)):
        change = float(changes[other, c])
        names = f"the conditional of {'RGB'[c]} by {'RGB'[other]} ({kind})"
        if (c, other) in expected:
            check.at_least(change, 1e-3, 0.0, f"the change of {names}")
        else:
            check.at_most(change, 0.0, rounding(dtype), f"the change of {names}")


@claim(
    "theory.coupled_mixture_finite_at_extremes",
    r"|\theta| \le 10^4 \;\Rightarrow\; |\log p(x)| < \infty,\quad |\nabla_\theta \log p(x)| < \infty,"
    r"\quad \sum_k p(k \mid x_{<c}) = 1",
    sources=[f"{SALIMANS}, their published code, which bounds log-scales at -7"],
    why="""Early in training a network says absurd things: a scale of e to the minus thousand, means far
    outside the image. Log-scales are bounded, so a bin's mass has a logarithm in single precision as
    well, and its gradient leads back; one NaN would end the run.""",
    effort=0.6,
)
@given(
    channels=stratified([st.just(1), st.just(3)]),
    components=st.sampled_from([1, 3]),
    levels=st.sampled_from([2, 3, 256]),
    size=st.sampled_from([10.0, 1e3, 1e4]),
)
def test_any_output_of_the_network_is_a_mixture(
    subject: Handle, device: str, dtype: torch.dtype, channels: int, components: int, levels: int,
    size: float,
) -> None:  # fmt: skip
    pieces = subject.pieces().raw
    features = components * (1 + 2 * channels + channels * (channels - 1) // 2)
    out = size * torch.randint(-1, 2, (3, features, 1, 2)).to(dtype) + torch.randn(
        3, features, 1, 2
    )
    out = out.to(dtype).requires_grad_()
    x = torch.randint(levels, (3, channels, 1, 2))
    x[0], x[1] = 0, levels - 1
    parameters = pieces.split_mixture(out, components, channels)
    found = pieces.coupled_mixture_logits(x, *parameters, levels)
    total = found.logsumexp(1).exp()
    check.close(total, torch.ones(1), guarded(dtype, length=levels), "the sum of a conditional")
    log_p = pieces.coupled_mixture_log_prob(x, *parameters, levels)
    for name, value in (("log-probability", log_p), ("logits", found)):
        check.finite(value, f"the {name} for outputs of size {size:g}")
        gradient = gradients(value.sum(), [out])[0]
        check.finite(gradient, f"the gradient of the {name} for outputs of size {size:g}")


# Streams that are halved and doubled -------------------------------------------------------------


def _seen_twice(fine: int, offsets: tuple[int, ...], writes: tuple[int, ...]) -> Tensor:
    """Along one axis, bool ``(fine, fine)``: what a position sees after halving and doubling.

    Position i' of half the size reads ``2 i' + offsets`` and writes to ``2 i' + writes``.
    """
    seen = torch.zeros(fine, fine, dtype=torch.bool)
    for half in range((fine + 1) // 2):
        for to in (2 * half + w for w in writes):
            for source in (2 * half + o for o in offsets):
                if 0 <= to < fine and 0 <= source < fine:
                    seen[to, source] = True
    return seen


_AXES = {
    "down": (((-1, 0), (0, 1)), ((-1, 0, 1), (-1, 0, 1))),
    "right": (((-1, 0), (0, 1)), ((-1, 0), (0, 1))),
}


@claim(
    "theory.downsampling_keeps_causality",
    r"\frac{\partial\, (D^\top\! D\, x)_{r,c}}{\partial\, x_{r',c'}} \ne 0 \iff \exists\, i: "
    r"r \in \{2i, 2i + 1\},\ r' \in \{2i - 1, 2i\},\ \dots \qquad \text{so } r' \le r",
    sources=[f"{SALIMANS}, §2.3 and Figure 2"],
    why="""A position of half the size knows what the first of its own 2 x 2 pixels may know, and writes
    to pixels on and after that one, so nothing flows back. Padding or cropping on the other side makes
    it know the last of them instead, and that leaks within the block, at some rows and columns only.
    The whole Jacobian is compared with the pattern that the two kernels prescribe, also for sizes that
    are odd, or 1.""",
    dtypes=("float64",),
    effort=0.5,
)
@given(
    stream=stratified([st.just("down"), st.just("right")]),
    size=st.sampled_from([(1, 1), (1, 4), (5, 1), (2, 2), (3, 4), (4, 5), (5, 3), (6, 7), (3, 3)]),
    channels=st.sampled_from([(1, 2, 1), (2, 1, 3)]),
)
def test_halving_and_doubling_show_each_pixel_its_past_alone(
    subject: Handle, device: str, dtype: torch.dtype, stream: str, size: tuple[int, int],
    channels: tuple[int, int, int],
) -> None:  # fmt: skip
    pieces = subject.pieces().raw
    rows, columns = (_seen_twice(n, *axis) for n, axis in zip(size, _AXES[stream], strict=True))
    expected = rows[:, None, :, None] & columns[None, :, None, :]
    halve = pieces.ShiftedConv2d(channels[0], channels[1], stream, stride=2)
    double = pieces.ShiftedConvTranspose2d(channels[1], channels[2], stream)
    pair = nn.ModuleList([halve, double]).double()
    redraw_parameters(pair)
    count = channels[0] * size[0] * size[1]
    steps = torch.eye(count, dtype=torch.float64).view(count, channels[0], *size)
    with torch.no_grad():
        half = halve(torch.cat([torch.zeros_like(steps[:1]), steps]))
        wanted = tuple((n + 1) // 2 for n in size)
        check.that(
            tuple(half.shape[-2:]) == wanted,
            f"half of {size} is {tuple(half.shape[-2:])}, not {wanted}",
        )
        found = double(half, size)
    check.that(tuple(found.shape[-2:]) == size, f"{size} came back as {tuple(found.shape[-2:])}")
    change = (found[1:] - found[:1]).abs().amax(1).view(channels[0], *size, *size).amax(0)
    seen = change.permute(2, 3, 0, 1) > rounding(torch.float64)  # (H, W, H', W')
    what = f"what pixel (r, c) sees after halving and doubling an image of {size[0]} x {size[1]}"
    check.equal(seen, expected, f"{what}, stream {stream},")


# Short-cuts --------------------------------------------------------------------------------------


def _dependences(network: Any, size: tuple[int, int], draws: int, wanted: Tensor) -> Tensor:
    """``(p, p)``: which pixels the logits of each pixel change with, over redrawn parameters."""
    p = size[0] * size[1]
    seen = torch.zeros(p, p, dtype=torch.bool)
    every = torch.arange(p)
    for _ in range(draws):
        redraw_parameters(network)
        batch = torch.randint(2, (1, p)).repeat(p + 1, 1)
        batch[every + 1, every] ^= 1
        with torch.no_grad():
            found = network.logits(batch.view(-1, 1, *size)).flatten(2)
        bound = rounding(torch.float64, scale=float(found.abs().max()))
        seen |= ((found[1:] - found[:1]).abs().amax(1) > bound).mT
        if bool((seen == wanted).all()):
            break
    return seen


def _whole_blocks(size: tuple[int, int], side: int) -> Tensor:
    """``(p, p)``: the past of the first pixel of each pixel's block of ``side`` x ``side``."""
    p = size[0] * size[1]
    row, column = torch.arange(p) // size[1], torch.arange(p) % size[1]
    first_row, first_column = row // side * side, column // side * side
    above = row[None, :] < first_row[:, None]
    left = (row[None, :] == first_row[:, None]) & (column[None, :] < first_column[:, None])
    return above | left


def _blocks_of_second_half(network: Any, pieces: Any) -> list[nn.Module]:
    return [m for m in network.second_half if isinstance(m, pieces.TwoStreamBlock)]


def _watched(network: Any, pieces: Any, size: tuple[int, int]) -> list[tuple[Any, Any]]:
    """For every block of the second half: the features it got from its mirror, and the mirror's."""
    first: list[Any] = [[]]
    got: list[Any] = []

    def entered(module: nn.Module, inputs: Any, output: Any) -> None:
        first[0].append(output)

    hooks = [m.register_forward_hook(entered) for m in (network.enter_down, network.enter_right)]
    for layer in network.first_half:
        hooks.append(layer.register_forward_hook(lambda m, i, output: first.append(output)))
    for block in _blocks_of_second_half(network, pieces):
        hooks.append(block.register_forward_pre_hook(lambda m, inputs: got.append(inputs[1:])))
    with torch.no_grad():
        network.logits(torch.randint(2, (2, 1, *size)))
    for hook in hooks:
        hook.remove()
    check.that(
        len(got) == len(first) - 1,
        f"{len(got)} blocks in the second half for {len(first) - 1} features of the first",
    )
    return list(zip(got, reversed(first[:-1]), strict=True))


@claim(
    "theory.shortcuts_reach_the_output",
    r"\text{without short-cuts } (r, c) \text{ sees the past of } (b \lfloor r/b \rfloor, "
    r"b \lfloor c/b \rfloor), \quad b = 2^{\text{resolutions} - 1}; \qquad \text{with them, its own}",
    sources=[f"{SALIMANS}, §2.4 and Figures 2 and 6"],
    why="""A position of the coarsest size may know only what the first of its b x b pixels may know,
    so what comes up from there tells the others nothing of their nearest neighbours. The short-cuts
    do, from the layer of the first half that is as far from the start as theirs is from the end: every
    block gets the features of its mirror, unchanged. Silenced, they leave exactly the whole blocks.""",
    dtypes=("float64",),
    effort=0.25,
)
@given(
    resolutions=stratified([st.just(1), st.just(2), st.just(3)]),
    size=st.sampled_from([(4, 5), (5, 3), (2, 7), (1, 6), (6, 1)]),
)
def test_shortcuts_tell_a_pixel_of_its_nearest_past(
    subject: Handle, device: str, dtype: torch.dtype, resolutions: int, size: tuple[int, int]
) -> None:
    pieces = subject.pieces().raw
    network = pieces.PixelCNNPlusPlus((1, *size), 2, hidden=4, resolutions=resolutions).double()
    for index, (got, mirror) in enumerate(_watched(network, pieces, size)):
        right = len(got) == 1 and got[0] is not None and len(got[0]) == 2
        same = right and all(
            a.shape == b.shape and torch.equal(a, b) for a, b in zip(got[0], mirror, strict=True)
        )
        check.that(same, f"block {index} of the second half does not get its mirror's features")
    field = pieces.pixelcnn_pp_receptive_field(*size, 1, resolutions).cpu()
    past = past_of(raster((1, *size)))
    check.that(not bool((field & ~past).any()), "the receptive field holds more than the past")
    if resolutions > 1 or size[1] < 7:
        check.equal(field, past, f"the receptive field for {size}, which is small,")
    seen = _dependences(network, size, 12, field)
    check.equal(seen, field, "what the logits change with, against the receptive field,")
    for block in _blocks_of_second_half(network, pieces):
        block.register_forward_pre_hook(
            lambda m, inputs: (inputs[0], tuple(torch.zeros_like(f) for f in inputs[1]))
        )
    blocks = _whole_blocks(size, 2 ** (resolutions - 1)) & field
    seen = _dependences(network, size, 12, blocks)
    check.equal(seen, blocks, "what the logits change with when the short-cuts are silenced")


# Dropout -----------------------------------------------------------------------------------------


def _twins(pieces: Any, name: str, rate: float) -> tuple[Any, Any]:
    """Two networks of the same parameters, the second without dropout."""
    event, levels = ((1, 3, 4), 3) if rate < 0.5 else ((3, 2, 3), 2)
    network = getattr(pieces, name)(event, levels, dropout=rate).double()
    redraw_parameters(network)
    plain = getattr(pieces, name)(event, levels).double()
    plain.load_state_dict(network.state_dict())
    return network, plain


def _captured(block: Any, f: Tensor) -> Tensor:
    """What goes into the second convolution of a gated block."""
    kept: list[Tensor] = []
    hook = block.second.register_forward_pre_hook(lambda m, inputs: kept.append(inputs[0]))
    with torch.no_grad():
        block(f)
    hook.remove()
    return kept[0]


@claim(
    "theory.dropout_in_training_only",
    r"\text{training: } h_i \mapsto \frac{b_i h_i}{1 - p},\ b_i \sim \mathrm{Bernoulli}(1 - p); "
    r"\qquad \text{evaluation: } h_i \mapsto h_i",
    sources=[f"{SALIMANS}, §2.5", "Srivastava et al. 2014, 'Dropout'"],
    why="""Features are dropped between the two convolutions of a block so that training cannot
    memorise; those kept grow by 1 / (1 - p), which leaves the expectation as it was. A likelihood is
    that of the network as a whole: in evaluation it is the one without dropout, to the last bit, and
    the same at each call. With p = 0 the mode changes nothing.""",
    error=1e-9,
    dtypes=("float64",),
    effort=0.25,
)
@given(
    name=stratified([st.just("PixelCNNPlusPlus"), st.just("PixelSNAIL")]),
    rate=st.sampled_from([0.2, 0.5, 0.8]),
)
def test_dropout_acts_in_training_mode_and_keeps_the_expectation(
    subject: Handle, device: str, dtype: torch.dtype, name: str, rate: float
) -> None:
    pieces = subject.pieces().raw
    network, plain = _twins(pieces, name, rate)
    x = torch.randint(network.levels, (2, *network.event_shape))
    with torch.no_grad():
        expected = plain.eval().logits(x)
        check.equal(network.eval().logits(x), expected, "the logits in eval mode, with dropout,")
        check.equal(plain.train().logits(x), expected, "the logits in train mode, dropout 0,")
        network.train()
        first, second = network.logits(x), network.logits(x)
    changed = float((first - second).abs().max())
    check.that(changed > 0, "dropout changes nothing in train mode: two calls give the same logits")
    block = pieces.GatedResNetBlock(16, "right", dropout=rate).double()
    f = torch.randn(3, 16, 8, 9, dtype=torch.float64)
    whole = _captured(block.eval(), f)
    seen = _captured(block.train(), f)
    dropped = seen == 0
    kept = torch.where(dropped, seen, whole / (1 - rate))
    check.close(
        seen,
        kept,
        rounding(torch.float64, scale=10.0),
        "a feature that was kept, times 1 / (1 - p),",
    )
    strays = math.sqrt(math.log(2 / 1e-11) / (2 * whole.numel()))  # Hoeffding's bound
    check.close(
        float(dropped.double().mean()), rate, strays, "the fraction of features dropped in training"
    )


# Attention to strictly earlier pixels ------------------------------------------------------------


def _read_out(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """One sequence, one position after the other, in NumPy."""
    q, k, v = (t.detach().cpu().double().numpy() for t in (query, key, value))
    out = np.zeros((len(q), v.shape[1]))
    for t in range(1, len(q)):
        scores = np.array([q[t] @ k[s] / math.sqrt(q.shape[1]) for s in range(t)])
        weights = np.exp(scores - scores.max())
        out[t] = (weights / weights.sum()) @ v[:t]
    return torch.from_numpy(out)


def _noticed(read: Callable[..., Tensor], parts: list[Tensor], which: int) -> Tensor:
    """``(T, T)``: whether the read-out at t changes with position s of query, key or value."""
    length = parts[0].shape[-2]
    copies = [part.expand(length + 1, *part.shape).clone() for part in parts]
    every = torch.arange(length)
    copies[which][every + 1, every] += 1.0
    found = read(*copies)
    return ((found[1:] - found[:1]).abs().amax(-1) > 0).mT


@claim(
    "theory.first_pixel_attends_to_nothing",
    r"y_0 = 0, \qquad y_t = \sum_{s < t} \operatorname{softmax}_{s < t}"
    r"\bigl(q_t \cdot k_s / \sqrt{E}\bigr)\, v_s",
    sources=[f"{CHEN}, model architecture and published code"],
    why="""Keys and values hold the pixel itself, so a pixel may read earlier ones only, and the first
    has none. A softmax over nothing is 0 / 0, whose NaN reaches every parameter through the gradient;
    scores masked by a large negative number are equal among themselves there, and the softmax averages
    over the whole image, the future included. The read-out of nothing is zero.""",
    effort=0.6,
)
@given(
    length=stratified([st.just(1), st.just(2), st.sampled_from([3, 5, 6])]),
    sizes=st.sampled_from([(1, 2), (3, 1), (4, 3)]),
    scale=st.sampled_from([0.0, 1.0, 30.0]),
)
def test_read_out_is_an_average_of_strictly_earlier_positions(
    subject: Handle, device: str, dtype: torch.dtype, length: int, sizes: tuple[int, int],
    scale: float,
) -> None:  # fmt: skip
    pieces = subject.pieces().raw
    read, (e, v) = pieces.strictly_causal_attention, sizes
    parts = [torch.randn(2, length, n, dtype=dtype) for n in (e, e, v)]
    parts[0] = (scale * parts[0]).requires_grad_()
    parts[1:] = [part.requires_grad_() for part in parts[1:]]
    found = read(*parts)
    check.equal(found[:, 0].detach(), torch.zeros(2, v, dtype=dtype), "the first read-out")
    expected = torch.stack([_read_out(*item) for item in zip(*parts, strict=True)])
    allowed = rounding(dtype, length=length, scale=10.0 * max(scale, 1.0))
    check.close(found, expected, allowed, "the read-out, against the average of earlier values,")
    if length > 1:
        for gradient in gradients(found.square().sum(), parts):
            check.finite(gradient, "the gradient of the read-out")
    single = [part[0].detach() for part in parts]
    earlier = torch.ones(length, length, dtype=torch.bool).tril(-1)
    values = _noticed(read, single, 2)
    check.that(
        not bool((values & ~earlier).any()), "a read-out changes with its own or a later value"
    )
    if scale <= 1:
        check.equal(values, earlier, "which values each read-out changes with")
    keys = _noticed(read, single, 1)
    check.that(not bool((keys & ~earlier).any()), "a read-out changes with its own or a later key")
