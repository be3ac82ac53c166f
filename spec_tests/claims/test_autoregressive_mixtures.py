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
    why=r"""A pixel :math:`(r, g, b)` is drawn by one component :math:`m`, of probability
    :math:`\pi_m`, which accounts for all its channels. Within it each channel is a logistic
    collected into bins,

    .. math::

        p_m(k) = \sigma\Bigl(\frac{v_k + h - \mu}{s}\Bigr)
        - \sigma\Bigl(\frac{v_k - h - \mu}{s}\Bigr),
        \qquad v_k = \frac{2k}{K - 1} - 1,\ h = \frac{1}{K - 1}

    with :math:`\mp\infty` for the outer ends, whose mean the values :math:`v` of earlier channels
    have moved; :math:`\mu^0` is the mean that the network gave. Summed over the components that may
    have drawn it, this is the first equation, and an image's probability is the product over its
    pixels.

    The oracle is that sum, term by term in NumPy and without logarithms: a table of all :math:`K^C`
    colours for each of the :math:`C`-channel pixels. A mixture of its own for every channel, a
    coefficient at the wrong pair or levels in other units are other densities, each of which may
    well be normalised.""",
    assumptions={
        "the channels of a pixel share their component": (
            "with halves for (black, black) and (white, white) a mixture for each channel gives "
            "1/4 to all four pairs"
        ),
        "the coefficients act on levels spread over [-1, 1]": (
            r"on levels counted from 0 to 255, :math:`\alpha = 1` moves a mean by up to 255 where "
            "the whole range is 2 wide"
        ),
    },
    sentence="the coupled mixture is a mixture of products of logistics",
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
    why=r"""The bins of a channel cover the real line: each ends where the next begins, so the
    masses telescope to :math:`\sigma(\infty) - \sigma(-\infty) = 1`, whatever mean and scale. The
    mean of blue is fixed once red and green are, so blue sums out:

    .. math::

        \sum_{r,g,b} p = \sum_m \pi_m \sum_r p_m(r) \sum_g p_m(g \mid r) \sum_b p_m(b \mid r, g)
        = \sum_m \pi_m = 1

    Each conditional of a channel :math:`x_c` given those before it is a quotient of such sums, and
    adds up to one over its levels :math:`k` too.

    The oracle is the number one. All :math:`K^C` colours are listed, with scales from
    :math:`e^{-20}` to :math:`e^{20}` and means far outside the image, where a bin without its tail,
    or a difference that cancels, loses all of the mass.""",
    assumptions={
        "the outer bins take the tails": (
            r"for :math:`K = 2, \mu = 0, s = 1` bins that end at :math:`\pm 2` have a mass of "
            "0.76 in all"
        ),
        "the mean of a channel moves with earlier channels only": (
            "for :math:`K = 2, s = 1` and a mean that is the channel's own value the masses sum "
            r"to :math:`2 \sigma(1) = 1.46`"
        ),
    },
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
    why=r"""Given red, the component that drew the pixel is no longer distributed by :math:`\pi`: by
    Bayes' rule it has the weights

    .. math::

        w_m(r) = \frac{\pi_m\, p_m(r)}{\sum_{m'} \pi_{m'}\, p_{m'}(r)}, \qquad
        p(g \mid r) = \frac{p(r, g)}{p(r)} = \sum_m w_m(r)\, p_m(g \mid r)

    The conditionals of a mixture are mixtures of other weights: the components that explain red
    count for more. For blue the weights are those given red and green, and the product of the three
    quotients telescopes to the joint. A sampler that mixes green by :math:`\pi` draws from a
    normalised distribution, and not from the one whose likelihood is trained.

    The oracle is a table of the probabilities of all colours in NumPy; its conditionals are
    quotients of sums, which know nothing of weights. The product of the model's conditionals is
    then held against its joint.""",
    assumptions={
        "the weights of a channel are those given the channels before it": (
            r"with halves for (black, black) and (white, white) the weights :math:`\pi` make "
            "green white half of the time after a black red; given red, never"
        ),
    },
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
    r"\alpha = 0, \text{ if components differ in both}",
    sources=[f"{SALIMANS}, §2.2"],
    why=r""":math:`R` and :math:`G` are the channels red and green, :math:`\perp` means
    independence, :math:`M` is the number of components and :math:`\alpha` the coefficient of green
    on red. With one component, :math:`p(g \mid r)` knows red by the mean :math:`\mu + \alpha r`
    alone, and the mass of the lowest bin falls strictly as the mean grows: independent if and only
    if :math:`\alpha = 0`. With two components and :math:`\alpha = 0`,

    .. math::

        p(r, g) - p(r)\, p(g)
        = \pi_1 \pi_2\, \bigl(p_1(r) - p_2(r)\bigr) \bigl(p_1(g) - p_2(g)\bigr)

    which is zero only where the components agree: red tells which of them it may have been, and so
    what green may be.

    The test changes one channel and watches the conditionals of all, for every coefficient by
    itself: those that the table names must change by more than rounding, the others not at all. No
    channel depends on a later one.""",
    assumptions={
        "for two components or more: they differ in both channels": (
            "if both have the same mean and scale in red, :math:`p_1(r) = p_2(r)`, and the "
            "channels are independent"
        ),
    },
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
    why=r""":math:`\theta` are the outputs of the network at a pixel :math:`x` of levels :math:`k`.
    Early in training they are absurd, means far outside the image and scales of :math:`e^{-1000}`;
    one NaN then reaches every weight, and the run is over.

    With log-scales held to :math:`[-7, 7]` all is finite. Means are at most :math:`3 \cdot 10^4`
    after coupling, so :math:`z = (\text{edge} - \mu) / s` stays below :math:`10^8`, and single
    precision goes to :math:`10^{38}`. The mass of a bin from :math:`a` to :math:`b` is taken as

    .. math::

        \log \sigma(b) + \log \sigma(-a) + \log\bigl(1 - e^{-(b - a)}\bigr)

    The first two are no steeper than the identity; the third has :math:`b - a = 2h / s > 0`, of
    known bounds.

    There is no oracle but the requirement: values and gradients are finite, and the probabilities
    of the levels add up to one, for outputs of size 10 to :math:`10^4`, up to 256 levels, and for
    the darkest and the brightest image.""",
    assumptions={
        "log-scales are bounded": (
            r"for :math:`\log s = -1000` the precision :math:`1/s` overflows, and at an edge that "
            "is the mean infinity times zero is NaN"
        ),
        "masses are differenced in log space": (
            r"in single precision :math:`\sigma(20) - \sigma(19) = 0`, and its logarithm is "
            r":math:`-\infty`"
        ),
    },
    sentence="any output of the network is a mixture, with finite gradients",
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
    r"\frac{\partial\, (D^\top\! D\, x)_{r,c}}{\partial\, x_{r',c'}} \ne 0 \iff \exists\, i, k: "
    r"r' \in \{2i - 1, 2i\},\ r \in \{2i, 2i + 1\},\ c' \in C'_k,\ c \in C_k, \qquad "
    r"\text{so } r' \le r",
    sources=[f"{SALIMANS}, §2.3 and Figure 2"],
    why=r""":math:`D` halves an image, rounding up, :math:`D^\top` doubles it again. Position
    :math:`(i, k)` of half the size reads rows :math:`2i - 1, 2i` and columns :math:`C'_k`, as its
    kernel ends at pixel :math:`(2i, 2k)`, and writes to rows :math:`2i, 2i + 1` and columns
    :math:`C_k`. So

    .. math::

        r' \le 2i \le r

    for whatever flows from :math:`r'` to :math:`r`. In the stream that looks to the right nothing
    may come from there: :math:`C'_k = \{2k - 1, 2k\}`, :math:`C_k = \{2k, 2k + 1\}`, so :math:`c'
    \le c`. The stream that looks down was moved down a row at the start and may look to both sides:
    both sets are :math:`\{2k - 1, 2k, 2k + 1\}`.

    The layers are affine, so unit steps give their whole Jacobian. It is held against the pattern
    enumerated from these sets, also for sizes that are odd, or 1; mistakes leak within a block, at
    some rows and columns only.""",
    assumptions={
        "images are padded before their first row and column": (
            "padded after the last, position 0 reads rows 0 and 1 and writes to row 0"
        ),
        "what exceeds the image is cropped at the end": (
            "cropped at the start, position 1 writes to row 1, and has read row 2"
        ),
        "weights in general position, for the dependences to be there": (
            "with zero weights nothing depends on anything"
        ),
    },
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
    why=r"""A position of half the size may know what the first of its 2 x 2 pixels may know
    (``theory.downsampling_keeps_causality``). After all halvings a position stands for a block of
    :math:`b \times b` pixels and knows the past of the first of them. Doubling hands this to the
    block, and what arrives from earlier blocks knows less: so pixel :math:`(r, c)` hears of its
    nearest neighbours, within the block, by no other way than the short-cuts. These bring features
    of the first half at full size, which know its own past.

    They pair the layer as far from the start as theirs is from the end: a stack, so that sizes fit.

    Hooks compare what every block gets with its mirror's features, bit by bit. Then dependences are
    measured over redrawn weights: with the short-cuts they must be the documented field, which for
    small images is all of the past; with zeros in their place, exactly the past of the block's
    first pixel, written down from coordinates.""",
    assumptions={
        "the image is no larger than the receptive field": (
            "at one resolution and 2 x 7 pixels, pixel (1, 0) does not see (0, 6), with "
            "short-cuts or without"
        ),
        "two resolutions or more, for the short-cuts to be needed": (
            "at one resolution :math:`b = 1`, and silencing them hides nothing"
        ),
    },
    sentence="short-cuts tell a pixel of its nearest past",
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
    why=r"""A feature :math:`h_i` is kept with probability :math:`1 - p` and then divided by it:

    .. math::

        \mathbb{E}\Bigl[\frac{b_i h_i}{1 - p}\Bigr] = \frac{(1 - p)\, h_i}{1 - p} = h_i

    What the next convolution computes has therefore in training the expectation that it has in
    evaluation, and the weights fit both. In evaluation nothing is drawn: the likelihood is that of
    the whole network, the same at every call. If dropout stayed on it would be a random number, and
    comparisons of models chance.

    The oracle for evaluation is a twin of the same weights without dropout; logits must be equal to
    the last bit, and for :math:`p = 0` in training mode too. In training the input of the second
    convolution is caught: kept features must be those of evaluation times :math:`1/(1 - p)`, and
    the fraction of the others lie around :math:`p` by Hoeffding's bound.""",
    assumptions={
        "kept features are divided by 1 - p": (
            "for :math:`p = 1/2` and without it evaluation sees features twice as large as "
            "training on the average"
        ),
        "what follows is linear, for its expectation to be the same": (
            r"the square is not: :math:`\mathbb{E}[(b h / (1 - p))^2] = h^2 / (1 - p)`"
        ),
    },
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
    why=""":math:`q_t, k_t, v_t` are query, key and value of position :math:`t`, :math:`E` the
    length of a query, :math:`y_t` what is read. Keys and values at :math:`s` know pixel :math:`s`
    itself, the query at :math:`t` the pixels before :math:`t`. So :math:`y_t` may average over
    :math:`s < t` only, and then knows exactly the past.

    For :math:`t = 0` the set is empty. A softmax over it is 0 / 0, and its NaN reaches every
    parameter through the gradient. A large negative score in place of minus infinity avoids the NaN
    and hides a leak: a softmax does not change when a constant is added to all scores, so equal
    scores of :math:`-10^9` are the uniform weights :math:`1/T`, and the first pixel reads the whole
    image. The empty sum is zero, and that is the read-out.

    The oracle is the definition in NumPy, one position after the other. Besides, keys and values
    are changed one at a time, and gradients must be finite.""",
    assumptions={
        "keys and values hold their own pixel": (
            "where the input was shifted before, position :math:`s` holds pixel :math:`s - 1`; "
            r"then :math:`s \le t` is right, and no set is empty"
        ),
        "hidden scores are minus infinity": (
            "with :math:`-10^9` and :math:`T = 4` the first read-out is :math:`(v_0 + v_1 + v_2 "
            "+ v_3) / 4`"
        ),
    },
    sentence="a read-out is an average of strictly earlier positions",
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
