r"""Claims about masked convolutions and autoregressive models.

A model over few enough events is judged by listing them all: normalisation, entropies and the
distribution of samples are then sums. Causality needs no enumeration: one dimension after the other
is changed, all of them in one batch, and the logits tell which dimensions noticed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import scipy.stats
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from spec_tests import check
from spec_tests.chain_rule import (
    all_events,
    ancestral_log_joint,
    classes,
    event_names,
    gathered,
    index_of,
    order_of,
    past_of,
    raster,
)
from spec_tests.check import Violation
from spec_tests.claims import test_general
from spec_tests.concentration import FALSE_ALARM, draws_follow, freedman
from spec_tests.contracts import CONTRACTS
from spec_tests.contracts.autoregressive import (
    AutoregressiveModelConfig,
    MaskedConv2dConfig,
    complete,
    image_sizes,
    log_prob,
    logits,
    models,
    sample,
)
from spec_tests.general import Case, cases
from spec_tests.handle import Built, Handle, SubjectError
from spec_tests.judge import stratified
from spec_tests.numerics import gradients, slope
from spec_tests.registry import Unsupported, claim
from spec_tests.state import generators, seed_everything
from spec_tests.strategies import integers_below
from spec_tests.tolerance import guarded, rounding

PIXELRNN = "van den Oord, Kalchbrenner, Kavukcuoglu 2016, 'Pixel Recurrent Neural Networks'"
GATED = "van den Oord et al. 2016, 'Conditional Image Generation with PixelCNN Decoders'"
LECTURE = "CS182 2021 L17, 'Generative Modeling'"

CONVOLUTIONS = stratified(CONTRACTS["masked_conv2d"].strata)


def _wide(value: Tensor) -> Tensor:
    return value.detach().cpu().double()


def _size(value: Tensor) -> float:
    """The largest finite absolute entry, at least 1."""
    finite = value.detach().abs().nan_to_num(0.0, 0.0, 0.0)
    return max(float(finite.max()) if finite.numel() else 0.0, 1.0)


# What the gradients of parameters must be --------------------------------------------------------


def _judge_parameter_gradient(module: nn.Module, total: Callable[[], Tensor], what: str) -> None:
    """Compares autograd with finite differences along what is left of a random direction.

    A module may keep its parameters in a subspace by writing zeros into a masked weight at every
    call; then only the directions within it can be judged, and they are read back after a call.
    """
    named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    if not named:
        raise Unsupported("no trainable parameters")
    parameters = [p for _, p in named]
    total()  # what is projected at a call is projected now
    origin = [p.detach().clone() for p in parameters]
    found = gradients(total(), parameters, what=what)
    along = [torch.randn_like(p) for p in origin]

    def place(t: float) -> None:
        with torch.no_grad():
            for p, start, direction in zip(parameters, origin, along, strict=True):
                p.copy_(start + t * direction)

    place(1.0)
    total()
    kept = [(p.detach() - start) for p, start in zip(parameters, origin, strict=True)]
    close_by = [torch.where((k - a).abs() < 1e-6, a, k) for k, a in zip(kept, along, strict=True)]
    along[:] = close_by

    def moved(t: float) -> float:
        place(t)
        return float(total().detach())

    measured = slope(moved, step=1e-5)
    place(0.0)
    terms = torch.stack([(g * a).sum() for g, a in zip(found, along, strict=True)])
    sizes = torch.stack([(g * a).abs().sum() for g, a in zip(found, along, strict=True)])
    if not measured.smooth or not torch.isfinite(terms).all():
        return
    size = max(float(sizes.sum()), abs(measured.value), 1e-3)
    tolerance = 1e-6 * size + 10 * measured.error
    check.close(
        float(terms.sum()), measured.value, tolerance,
        f"the gradient of the {what} in the parameters, along a random direction,",
    )  # fmt: skip


# Masked convolution: helpers ---------------------------------------------------------------------


def _allowed(config: MaskedConv2dConfig, height: int, width: int) -> Tensor:
    """Bool ``(out, H, W, in, H, W)``: whether an output may see an input, and the kernel reaches."""
    rows, columns = torch.arange(height), torch.arange(width)
    down = rows[None, :] - rows[:, None]  # (H out, H in): > 0 below
    right = columns[None, :] - columns[:, None]
    down, right = down[:, None, :, None], right[None, :, None, :]  # (H, W, H', W')
    radius = config.kernel_size // 2
    reached = (down.abs() <= radius) & (right.abs() <= radius)
    before = reached & ((down < 0) | ((down == 0) & (right < 0)))
    here = (down == 0) & (right == 0)
    groups = config.data_channels
    g_in = torch.arange(config.in_channels) * groups // config.in_channels
    g_out = torch.arange(config.out_channels) * groups // config.out_channels
    strict = g_in[None, :] < g_out[:, None]
    visible = strict if config.mask_type == "A" else g_in[None, :] <= g_out[:, None]
    return before[None, :, :, None] | (
        here[None, :, :, None] & visible[:, None, None, :, None, None]
    )


def _jacobian(layer: Built, x: Tensor, step: float = 1e3) -> tuple[Tensor, float]:
    """Changes ``(out, H, W, in, H, W)`` of the output of one image per unit of each input.

    All steps are taken in one batch and are large, so that the smallest weight shows; the second
    result is how far rounding can move an entry.
    """
    count = x[0].numel()
    steps = step * torch.eye(count, dtype=x.dtype, device=x.device).view(count, *x.shape[1:])
    found = layer(torch.cat([x, x + steps])).detach()
    change = (found[1:] - found[:1]) / step  # (in H W, out, H, W)
    noise = rounding(x.dtype, scale=max(float(found.abs().max()), step)) / step
    return _wide(change).permute(1, 2, 3, 0).reshape(*change.shape[1:], *x.shape[1:]), noise


def _where(config: MaskedConv2dConfig, index: Tensor) -> str:
    o, r, c, i, r2, c2 = (int(n) for n in index)
    n = config.data_channels
    groups = (
        ""
        if n == 1
        else (
            f" (group {'RGB'[o * n // config.out_channels]} from group "
            f"{'RGB'[i * n // config.in_channels]})"
        )
    )
    return f"output channel {o} at ({r}, {c}), input channel {i} at ({r2}, {c2}){groups}"


def _judge_causality(layer: Built, x: Tensor, after: str = "") -> None:
    config: MaskedConv2dConfig = layer.config
    allowed = _allowed(config, *x.shape[2:])
    change, noise = _jacobian(layer, x)
    leak = torch.where(allowed, 0.0, change.abs())
    worst = torch.nonzero(leak == leak.max())[0]
    check.at_most(
        leak.max(), 0.0, noise,
        f"the change{after} of {_where(config, worst)}, per unit of that input, which type "
        f"{config.mask_type} hides,",
    )  # fmt: skip


def _batched_gradient(layer: Built, x: Tensor) -> Tensor:
    """The Jacobian ``(out, H, W, in, H, W)`` by autograd, one copy of the image for each output."""
    shape = (layer.config.out_channels, *x.shape[2:])
    count = math.prod(shape)
    copies = x.detach().expand(count, *x.shape[1:]).clone().requires_grad_()
    total = layer(copies).reshape(count, count).diagonal().sum()
    return _wide(gradients(total, [copies])[0]).reshape(*shape, *x.shape[1:])


@st.composite
def _small_images(draw: st.DrawFn, largest: int = 5) -> tuple[int, int]:
    return draw(image_sizes(largest))


def _image(config: MaskedConv2dConfig, size: tuple[int, int], like: Handle) -> Tensor:
    return torch.randn(1, config.in_channels, *size, dtype=like.dtype, device=like.device)


# Masked convolution: claims ----------------------------------------------------------------------


@claim(
    "masked_conv2d.causality",
    r"\frac{\partial\, y_{o,r,c}}{\partial\, x_{i,r',c'}} = 0 \quad\text{unless } (r',c') "
    r"\text{ precedes } (r,c) \text{ in raster order, or equals it and } g(i) < g(o)\ (\le g(o) "
    r"\text{ for B})",
    sources=[f"{PIXELRNN}, §3.4 and Figure 2", f"{LECTURE}, 'PixelCNN'"],
    why="""A tap on or after the pixel that is predicted lets the network copy its answer: training
    loss falls to nothing and samples are noise. The whole Jacobian is judged, by values (steps of a
    thousand at every input, one batch) and by autograd; an entry may differ from zero by rounding
    alone, as it does in a convolution by Fourier transform.""",
)
@given(config=CONVOLUTIONS, size=_small_images())
def test_output_does_not_change_with_any_forbidden_input(
    subject: Handle, device: str, dtype: torch.dtype, config: MaskedConv2dConfig,
    size: tuple[int, int],
) -> None:  # fmt: skip
    layer = subject.build(config)
    x = _image(config, size, subject)
    _judge_causality(layer, x)
    if not subject.carries_gradients:
        return
    gradient = torch.where(_allowed(config, *size), 0.0, _batched_gradient(layer, x).abs())
    worst = torch.nonzero(gradient == gradient.max())[0]
    check.at_most(
        gradient.max(), 0.0, rounding(dtype), f"the gradient of {_where(config, worst)}, forbidden,"
    )


@claim(
    "masked_conv2d.uses_the_allowed_past",
    r"\frac{\partial\, y_{o,r,c}}{\partial\, x_{i,r',c'}} \ne 0 \quad\text{wherever the mask allows "
    r"it and the kernel reaches}",
    sources=[f"{PIXELRNN}, §3.4 and Figure 2"],
    why="""A layer that sees nothing is causal too. Over redrawn weights every tap that the order
    allows is non-zero: rows above in full width, the row itself up to the centre, and at the centre
    the groups that the type admits. An over-masked layer still trains, to a worse likelihood.""",
)
@given(config=CONVOLUTIONS, size=_small_images())
def test_output_changes_with_every_allowed_input(
    subject: Handle, device: str, dtype: torch.dtype, config: MaskedConv2dConfig,
    size: tuple[int, int],
) -> None:  # fmt: skip
    unused = _allowed(config, *size)
    for _ in range(3):  # a weight may be tiny by chance, not three times
        change, noise = _jacobian(subject.build(config), _image(config, size, subject))
        unused = unused & (change.abs() <= noise)
        if not unused.any():
            return
    raise Violation(
        f"nothing changes in {_where(config, unused.nonzero()[0])}, which type {config.mask_type} "
        f"shows; {int(unused.sum())} allowed pairs are unused in an image of {size[0]} x {size[1]}"
    )


def _optimizers() -> Any:
    """Makers of optimisers that move every weight, masked ones included."""
    return {
        "SGD, momentum 0.9, weight decay 0.1": lambda p: torch.optim.SGD(
            p, lr=0.05, momentum=0.9, weight_decay=0.1
        ),
        "Adam, weight decay 0.1": lambda p: torch.optim.Adam(p, lr=0.05, weight_decay=0.1),
        "AdamW, weight decay 0.1": lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0.1),
    }


@claim(
    "masked_conv2d.stays_masked_after_training",
    r"\theta_{t+1} = \mathrm{opt}(\theta_t, \nabla) \;\Rightarrow\; f_{\theta_{t+1}} "
    r"\text{ is causal}",
    sources=[f"{PIXELRNN}, §3.4"],
    why="""Masking the weight once is undone by the first optimiser step; masking its gradient is
    undone by weight decay, by momentum gathered before, or by an optimiser that divides by a small
    second moment. The loss asks for the input itself, so that every leak pays.""",
)
@given(
    config=CONVOLUTIONS,
    kind=st.sampled_from(sorted(_optimizers())),
    size=image_sizes(4),
)
def test_is_causal_after_optimiser_steps(
    subject: Handle, device: str, dtype: torch.dtype, config: MaskedConv2dConfig, kind: str,
    size: tuple[int, int],
) -> None:  # fmt: skip
    subject.needs_gradients()
    layer = subject.build(config, training=True)
    parameters = [p for p in layer.module.parameters() if p.requires_grad]
    if not parameters:
        raise Unsupported("no trainable parameters")
    optimizer = _optimizers()[kind](parameters)
    wanted = -(-config.out_channels // config.in_channels)
    for _ in range(4):
        x = _image(config, size, subject)
        target = 3 * x.repeat(1, wanted, 1, 1)[:, : config.out_channels]
        optimizer.zero_grad()
        (layer(x) - target).square().mean().backward()
        optimizer.step()
    layer.module.train(subject.training)
    _judge_causality(layer, _image(config, size, subject), f", after four steps of {kind},")


def _response(layer: Built, x: Tensor) -> Tensor:
    """What the output owes to the input: the constant part taken off."""
    return _wide(layer(x)) - _wide(layer(torch.zeros_like(x)))


@claim(
    "masked_conv2d.linear_and_shift_equivariant",
    r"f(ax + bz) - f(0) = a\,[f(x) - f(0)] + b\,[f(z) - f(0)], \qquad "
    r"f(\tau x) - f(0) = \tau\,[f(x) - f(0)] \text{ away from the border}",
    sources=[f"{PIXELRNN}, §3.4"],
    why="""A convolution is affine and looks at every pixel with one and the same kernel; the mask
    takes taps away and adds nothing. A normalisation, an activation, or weights of their own for some
    positions would be another layer.""",
)
@given(config=CONVOLUTIONS, shift=st.sampled_from([(1, 2), (2, 1), (2, 0), (0, 3)]))
def test_is_affine_and_moves_with_its_input(
    subject: Handle, device: str, dtype: torch.dtype, config: MaskedConv2dConfig,
    shift: tuple[int, int],
) -> None:  # fmt: skip
    layer = subject.build(config)
    margin = config.kernel_size // 2
    patch = _image(config, (2, 3), subject)
    room = (margin + 3, margin + 4, margin + 2, margin + 3)  # left, right, top, bottom
    x = F.pad(patch, room)
    z = torch.randn_like(x)
    one, other, both = _response(layer, x), _response(layer, z), _response(layer, 2 * x - 3 * z)
    length = config.in_channels * config.kernel_size**2
    allowed = rounding(dtype, length=length, scale=_size(both) + _size(layer(0 * x)))
    check.close(both, 2 * one - 3 * other, allowed, "f(2x - 3z) - f(0), against the combination,")
    moved = _response(layer, x.roll(shift, (2, 3)))
    check.close(
        moved, one.roll(shift, (2, 3)), allowed,
        f"the response to a patch moved by {shift}, against the moved response,",
    )  # fmt: skip


@claim(
    "masked_conv2d.zero_padded_same_size",
    r"f(x)_{o,r,c} - f(0)_{o,r,c} = \sum_{i,u,v} k_{o,i,u,v}\, \bar x_{i,r+u,c+v}, \qquad "
    r"\bar x = 0 \text{ outside the image}",
    sources=["contracts.md, masked_conv2d", f"{PIXELRNN}, §3"],
    why="""The kernel is read off the response to an impulse far from any border, and must explain
    the output at every pixel of any image, of one smaller than the kernel too: beyond the border
    there are zeros, not reflections and not the other side, and nothing lies outside the kernel.""",
)
@given(config=CONVOLUTIONS, size=image_sizes())
def test_is_the_correlation_with_one_kernel_and_zeros_beyond_the_border(
    subject: Handle, device: str, dtype: torch.dtype, config: MaskedConv2dConfig,
    size: tuple[int, int],
) -> None:  # fmt: skip
    layer = subject.build(config)
    channels, k = config.in_channels, config.kernel_size
    canvas = torch.zeros(channels, channels, 2 * k + 1, 2 * k + 1, dtype=dtype, device=device)
    each = torch.arange(channels, device=device)
    canvas[each, each, k, k] = 1.0
    found = _response(layer, canvas)  # (in, out, 2k + 1, 2k + 1)
    scale = _size(found) + _size(layer(0 * canvas))
    inside = torch.zeros(2 * k + 1, 2 * k + 1, dtype=torch.bool)
    first, last = k - k // 2, k + k // 2 + 1
    inside[first:last, first:last] = True
    beyond = found.abs().amax((0, 1)).masked_fill(inside, 0.0).max()
    check.at_most(
        beyond, 0.0, rounding(dtype, scale=scale), f"the response outside a kernel of side {k}"
    )
    kernel = found[:, :, first:last, first:last].flip(2, 3).transpose(0, 1)  # (out, in, k, k)
    x = _image(config, size, subject)
    allowed = rounding(dtype, length=channels * k * k, scale=scale * _size(x))
    check.close(
        _response(layer, x), F.conv2d(_wide(x), kernel, padding=k // 2), allowed,
        "the output less that at zero, against the zero-padded correlation with its own kernel,",
    )  # fmt: skip


@claim(
    "masked_conv2d.bias_free_of_position",
    r"f(0)_{o,r,c} = b_o \quad\text{for every } (r, c) \text{ and every image size}",
    sources=["contracts.md, masked_conv2d"],
    why="""With nothing to see there is nothing to tell positions apart: what the layer adds is one
    number for each output channel, the same in an image of any size.""",
)
@given(config=CONVOLUTIONS, size=image_sizes(), other=image_sizes())
def test_adds_the_same_bias_everywhere(
    subject: Handle, device: str, dtype: torch.dtype, config: MaskedConv2dConfig,
    size: tuple[int, int], other: tuple[int, int],
) -> None:  # fmt: skip
    layer = subject.build(config)
    bias = None
    for shape in (size, other):
        constant = _wide(layer(0 * _image(config, shape, subject)))
        bias = constant[:, :, :1, :1] if bias is None else bias
        check.close(
            constant, bias.expand(constant.shape), rounding(dtype, scale=_size(constant)),
            f"the output for an image of zeros, {shape[0]} x {shape[1]}, against its first pixel,",
        )  # fmt: skip


@claim(
    "masked_conv2d.gradient_in_parameters",
    r"\langle \nabla_\theta f_\theta(x), v \rangle = \tfrac{d}{dt} f_{\theta + t v}(x)\big|_{t=0}",
    sources=["contracts.md, conventions"],
    why="""Finite differences know only values: a detached weight trains nothing. A layer that writes
    its mask into the weight at every call keeps it in a subspace, and is judged within it.""",
    dtypes=("float64",),
)
@given(config=CONVOLUTIONS, size=image_sizes(4))
def test_has_the_gradient_of_its_value_in_its_parameters(
    subject: Handle, device: str, dtype: torch.dtype, config: MaskedConv2dConfig,
    size: tuple[int, int],
) -> None:  # fmt: skip
    subject.needs_gradients()
    layer = subject.build(config)
    x = _image(config, size, subject)
    weights = torch.randn_like(layer(x))
    _judge_parameter_gradient(layer.module, lambda: (weights * layer(x)).sum(), "output")


# Autoregressive models: what is drawn ------------------------------------------------------------

LONG_VECTORS = ((1,), (2,), (3,), (4,), (5,), (7,))
LARGE_GREY = ((1, 3, 4), (1, 4, 3), (1, 2, 7), (1, 5, 2), (1, 1, 6), (1, 6, 1), (1, 4, 5))
LARGE_COLOUR = ((3, 2, 3), (3, 3, 2), (3, 1, 4), (3, 4, 1), (3, 2, 4))

LARGE = stratified(
    [
        models(events, kinds)
        for events in (LONG_VECTORS, LARGE_GREY, LARGE_COLOUR)
        for kinds in ((0,), (2, 3))
    ]
)


def _few(*pairs: tuple[tuple[int, ...], tuple[int, ...]], kinds: tuple[int, ...] = (0,)) -> Any:
    """Configs of the event shapes, each with the levels at which its events can be listed."""
    return st.one_of(*(models((event,), kinds, levels) for event, levels in pairs))


_VECTORS = (((1,), (2, 5)), ((2,), (3, 4, 5)), ((3,), (2, 3, 4)), ((4,), (2, 3)))
_GREY = (((1, 1, 3), (2, 3, 4)), ((1, 3, 1), (2, 4)), ((1, 2, 2), (2, 3)), ((1, 2, 3), (2,)),
         ((1, 3, 2), (2,)), ((1, 1, 1), (3,)))  # fmt: skip
_COLOUR = (((3, 1, 1), (2, 3, 4)), ((3, 1, 2), (2,)), ((3, 2, 1), (2,)))

ENUMERABLE = stratified(
    [_few(*few, kinds=kinds) for few in (_VECTORS, _GREY, _COLOUR) for kinds in ((0,), (2, 3))]
)
# A class may act through the past alone, through the row above too: more than a row and a column.
WITH_CLASSES = stratified(
    [
        models(events, (2, 3, 4))
        for events in (((2,), (3,), (5,)), ((1, 2, 3), (1, 3, 2)), ((3, 2, 3), (3, 3, 2)))
    ]
)
SAMPLED = stratified(
    [
        _few(((2,), (3, 4)), ((3,), (2, 3)), ((3,), (2, 3)), kinds=(0, 2)),
        _few(((1, 1, 3), (2, 3)), ((1, 2, 2), (2,)), ((1, 3, 1), (2, 3)), kinds=(0, 2)),
        _few(((3, 1, 1), (2, 3)), kinds=(0, 2)),
        _few(((3, 1, 2), (2,)), ((3, 2, 1), (2,)), kinds=(0, 2)),
    ]
)


def _chain(model: Built, x: Tensor, y: Tensor) -> Tensor:
    """log p(x) in float64: the gathered log-softmax of the logits, added up."""
    return gathered(logits(model, x, y), x).sum(1)


def _log_p(model: Built, x: Tensor, y: Tensor) -> Tensor:
    """log p(x) by the subject's own ``log_prob`` where it has one, else from its logits."""
    return _wide(log_prob(model, x, y)) if model.has("log_prob") else _chain(model, x, y)


def _of_class(model: Built, y: Tensor) -> str:
    return f" given class {int(y[0])}" if model.config.num_classes else ""


# Causality ---------------------------------------------------------------------------------------


def _changes(model: Built, x: Tensor, y: Tensor) -> tuple[Tensor, float]:
    """``(D, D)``: the largest change of the logits of row i when dimension j of ``x`` changes.

    Every dimension is changed in one batch, behind the untouched event; the second result is how
    far rounding can move a logit.
    """
    d, levels = model.config.dims, model.config.levels
    batch = x.expand(d + 1, *x.shape[1:]).clone().view(d + 1, d)
    every = torch.arange(d, device=x.device)
    other = (
        torch.randint(1, levels, (d,), device=x.device) if levels > 1 else torch.zeros_like(every)
    )
    batch[1 + every, every] = (batch[1 + every, every] + other) % levels
    found = logits(model, batch.view(d + 1, *x.shape[1:]), y.expand(d + 1))
    flat = _wide(found).flatten(2)  # (1 + D, K, D)
    change = torch.where(flat[1:] == flat[:1], 0.0, (flat[1:] - flat[:1]).abs())
    return change.amax(1).mT, rounding(found.dtype, scale=_size(found))


def _name(event_shape: tuple[int, ...], index: int) -> str:
    """A dimension of the flattened event as a person names it."""
    if len(event_shape) == 1:
        return f"dimension {index}"
    channels, height, width = event_shape
    channel, pixel = divmod(index, height * width)
    colour = f"{'RGB'[channel]} of " if channels == 3 else ""
    return f"{colour}pixel ({pixel // width}, {pixel % width})"


def _documents_order(model: Built) -> str:
    return "the documented order" if model.has("order") else "raster order, channel by channel"


@claim(
    "autoregressive_model.causality",
    r"x_{<i} = x'_{<i} \;\Rightarrow\; \ell_i(x) = \ell_i(x')",
    sources=[f"{PIXELRNN}, Equations 1 and 2", f"{LECTURE}, 'Autoregressive generative models'"],
    why="""A conditional that sees its own dimension, or one drawn later, is no conditional: the
    product is not a density and the sampler cannot follow it. For every class, each dimension is
    changed in turn; the logits of it and of all before it must stay as they were.""",
)
@given(config=LARGE)
def test_logits_do_not_change_with_their_own_or_a_later_dimension(
    subject: Handle, device: str, dtype: torch.dtype, config: AutoregressiveModelConfig
) -> None:
    model = subject.build(config)
    past = past_of(order_of(model))
    for y in classes(config, 1, subject.device):
        x = torch.randint(config.levels, (1, *config.event_shape), device=device)
        change, noise = _changes(model, x, y)
        leak = torch.where(past, 0.0, change)
        i, j = (int(n) for n in torch.nonzero(leak == leak.max())[0])
        check.at_most(
            leak.max(), 0.0, noise,
            f"the change of the logits of {_name(config.event_shape, i)} with "
            f"{_name(config.event_shape, j)}{_of_class(model, y)}, which does not precede it in "
            f"{_documents_order(model)},",
        )  # fmt: skip


def _documented(model: Built, past: Tensor) -> Tensor | None:
    """The documented receptive field, checked to be one, or ``None``."""
    found = model.value("receptive_field")
    if found is None:
        return None
    d = model.config.dims
    right = isinstance(found, Tensor) and found.dtype == torch.bool and found.shape == (d, d)
    check.that(right, f"receptive_field must be a bool tensor of shape {(d, d)}")
    field = found.detach().cpu()
    future = torch.nonzero(field & ~past)
    if len(future):
        i, j = (_name(model.config.event_shape, int(n)) for n in future[0])
        raise Violation(
            f"receptive_field lets the logits of {i} use {j}, which does not precede it in "
            f"{_documents_order(model)}"
        )
    return field


def _kinds_of_past(config: AutoregressiveModelConfig, order: list[int]) -> dict[str, Tensor]:
    """The kinds of dependence that a model of an undocumented receptive field must have some of."""
    d, past = config.dims, past_of(order)
    before = torch.zeros(d, d, dtype=torch.bool)
    before[
        torch.tensor(order[1:], dtype=torch.long), torch.tensor(order[:-1], dtype=torch.long)
    ] = True
    kinds = {"the dimension generated just before it": before}
    if len(config.event_shape) == 3:
        _, height, width = config.event_shape
        place = torch.arange(d) % (height * width)
        row, column = place // width, place % width
        same_row = row[:, None] == row[None, :]
        same_pixel = same_row & (column[:, None] == column[None, :])
        kinds = {}  # channels that are independent given the pixels before them are a model too
        kinds["an earlier pixel of its row"] = past & same_row & ~same_pixel
        kinds["an earlier row"] = past & ~same_row
    return kinds


def _judge_use(
    config: AutoregressiveModelConfig, order: list[int], field: Tensor | None, used: Tensor
) -> str:
    """What is missing from the union of dependences seen so far; empty if nothing is."""
    if field is not None:
        missing = torch.nonzero(field & ~used)
        if not len(missing):
            return ""
        i, j = (_name(config.event_shape, int(n)) for n in missing[0])
        return (
            f"the logits of {i} never change with {j}, which the documented receptive_field holds "
            f"({len(missing)} of {int(field.sum())} dependences are missing)"
        )
    for kind, pairs in _kinds_of_past(config, order).items():
        if pairs.any() and not (used & pairs).any():
            return f"no logits of any dimension ever change with {kind}"
    return ""


@claim(
    "autoregressive_model.uses_the_allowed_past",
    r"\bigcup_\theta \{(i, j) : \ell_i \text{ changes with } x_j\} = R, \qquad R \subseteq \{j < i\}",
    sources=[f"{PIXELRNN}, §3", f"{GATED}, §2.2 and Figure 1"],
    why="""A constant is causal. Where a model documents its receptive field R, the dependences seen
    over redrawn parameters are R, no more and no less. Where it documents none, blind spots are its
    own affair, and so are channels that ignore each other; but somewhere a vector's dimension must use
    the one drawn just before, and an image's pixel an earlier pixel of its row and an earlier row.""",
    dtypes=("float64",),
)
@given(config=LARGE)
def test_logits_change_with_what_they_may_use(
    subject: Handle, device: str, dtype: torch.dtype, config: AutoregressiveModelConfig
) -> None:
    used = torch.zeros(config.dims, config.dims, dtype=torch.bool)
    missing = ""
    for _ in range(30):
        model = subject.build(config)
        order = order_of(model)
        field = _documented(model, past_of(order))
        x = torch.randint(config.levels, (1, *config.event_shape), device=device)
        y = torch.randint(max(config.num_classes, 1), (1,), device=device)
        change, noise = _changes(model, x, y)
        seen = change > noise
        if field is not None and (seen & ~field).any():
            i, j = (_name(config.event_shape, int(n)) for n in torch.nonzero(seen & ~field)[0])
            raise Violation(
                f"the logits of {i} change with {j}, which the documented receptive_field leaves out"
            )
        used |= seen
        missing = _judge_use(config, order, field, used)
        if not missing:
            return
    raise Violation(f"over 30 draws of the parameters, {missing}")


@claim(
    "autoregressive_model.order_is_a_permutation",
    r"\{\pi_1, \dots, \pi_D\} = \{0, \dots, D - 1\}",
    sources=["Germain et al. 2015, 'MADE', §4.2", "contracts.md, autoregressive_model"],
    why="""The chain rule holds in any order, as long as every dimension has its turn, once.""",
    effort=0.5,
)
@given(config=models(LONG_VECTORS + LARGE_GREY + LARGE_COLOUR, (0, 2)))
def test_order_names_every_dimension_once(
    subject: Handle, device: str, dtype: torch.dtype, config: AutoregressiveModelConfig
) -> None:
    model = subject.build(config)
    model.needs("order")
    found, d = model.value("order"), config.dims
    right = isinstance(found, Tensor) and found.dtype == torch.long and tuple(found.shape) == (d,)
    check.that(right, f"order must be a long tensor of shape {(d,)}, not {found!r}")
    listed = sorted(int(i) for i in found)
    check.that(
        listed == list(range(d)),
        f"order {found.tolist()} is not a permutation of 0 to {d - 1}, the flattened event",
    )


# Densities ---------------------------------------------------------------------------------------


@claim(
    "autoregressive_model.normalised",
    r"\sum_{x} e^{\log p(x)} = 1",
    sources=[f"{PIXELRNN}, Equation 1", f"{LECTURE}, 'Autoregressive generative models'"],
    why="""Each conditional sums to one, so the last dimension sums out, then the one before, and so
    on to the first; with one leak the sum stops. All K^D events are listed, for every class.""",
    effort=0.6,
)
@given(config=ENUMERABLE)
def test_probabilities_of_all_events_sum_to_one(
    subject: Handle, device: str, dtype: torch.dtype, config: AutoregressiveModelConfig
) -> None:
    model = subject.build(config)
    events = all_events(config, subject.device)
    for y in classes(config, len(events), subject.device):
        total = _log_p(model, events, y).logsumexp(0).exp()
        check.close(
            total, 1.0, guarded(dtype, length=len(events)),
            f"the sum of the probabilities of all {len(events)} events{_of_class(model, y)}",
        )  # fmt: skip


@claim(
    "autoregressive_model.chain_rule",
    r"\log p(x) = \sum_i \log \operatorname{softmax}(\ell_i(x))_{x_i}",
    sources=[f"{PIXELRNN}, Equation 1"],
    why="""The log of a product is the sum of the logs: over all dimensions, not their mean, with the
    labels given, in nats, and with logits that need not be normalised.""",
)
@given(config=LARGE, n=st.sampled_from([1, 2, 5]))
def test_log_prob_adds_up_the_conditionals(
    subject: Handle, device: str, dtype: torch.dtype, config: AutoregressiveModelConfig, n: int
) -> None:
    model = subject.build(config)
    model.needs("log_prob")
    x = torch.randint(config.levels, (n, *config.event_shape), device=device)
    y = torch.randint(max(config.num_classes, 1), (n,), device=device)
    expected = _chain(model, x, y)
    allowed = guarded(dtype, length=config.dims * config.levels, scale=_size(expected))
    check.close(
        log_prob(model, x, y), expected, allowed, "log_prob, against the logits it adds up,"
    )


def _uniform_at_zero(model: Built, x: Tensor, y: Tensor) -> bool:
    """Whether the module, with zeros for parameters, gives every level the same logit."""
    if not model.is_module:
        return False
    with torch.no_grad():
        for parameter in model.module.parameters():
            parameter.zero_()
    try:
        found = logits(model, x, y)
    except (Violation, SubjectError):  # zeros are no parameters of every architecture: 0 / |0|
        return False
    return bool((found == found[:, :1]).all())


@claim(
    "autoregressive_model.bits_per_dim",
    r"\frac{1}{K^D}\sum_x \frac{-\log_2 p(x)}{D} = \log_2 K + "
    r"\frac{D_{\mathrm{KL}}(u \,\|\, p)}{D \log 2} \ge \log_2 K",
    sources=["CS182 2020 L16, table of bits per dimension", ("Theis et al. 2016, 'A note on the "
             "evaluation of generative models', §3.1")],
    why="""No code for data without structure is shorter than log2 K bits a dimension, and uniform
    logits attain it: 8.00 for the 256 levels of a byte. A mean in place of a sum, a forgotten
    dimension, or bits called nats go below.""",
    effort=0.6,
)  # fmt: skip
@given(
    config=stratified(
        [*ENUMERABLE.genspec_strata, models(((1,), (2,), (1, 1, 2), (3, 1, 1)), (0,), (256,))]
    )
)
def test_noise_costs_log_k_bits_a_dimension_or_more(
    subject: Handle, device: str, dtype: torch.dtype, config: AutoregressiveModelConfig
) -> None:
    model = subject.build(config)
    per_dim = config.dims * math.log(2)
    if config.levels == 256:
        x = torch.randint(256, (3, *config.event_shape), device=device)
        y = torch.zeros(3, dtype=torch.long, device=device)
        if _uniform_at_zero(model, x, y):
            bits = -_log_p(model, x, y) / per_dim
            check.close(
                bits, torch.full((3,), 8.0), guarded(dtype, length=256, scale=8.0),
                "the code length under uniform logits, in bits a dimension,",
            )  # fmt: skip
        return
    events = all_events(config, subject.device)
    for y in classes(config, len(events), subject.device):
        bits = -_log_p(model, events, y).mean() / per_dim
        divergence = -ancestral_log_joint(model, y).mean() / per_dim - math.log2(config.levels)
        allowed = guarded(dtype, length=len(events), scale=_size(bits))
        what = f"the mean code length of all events{_of_class(model, y)}, in bits a dimension,"
        check.at_least(bits, math.log2(config.levels), allowed, what)
        check.close(bits, math.log2(config.levels) + divergence, allowed, what)


@claim(
    "autoregressive_model.gibbs",
    r"-\sum_x q(x) \log p(x) = H(q) + D_{\mathrm{KL}}(q \,\|\, p) \ge H(q), \quad "
    r"\text{with equality for } q = p",
    sources=["Cover and Thomas, 'Elements of Information Theory', Theorem 2.6.3",
             f"{LECTURE}, 'Autoregressive generative models'"],
    why="""The training loss has a floor, the entropy of the data; a likelihood below it is a bug
    (a leak, a mean over dimensions), never a good model. The divergence is computed from conditionals
    that are asked for one by one, with nothing but zeros after the dimension they predict.""",
    effort=0.6,
)  # fmt: skip
@given(config=ENUMERABLE, own=st.booleans())
def test_cross_entropy_is_the_entropy_plus_the_divergence(
    subject: Handle, device: str, dtype: torch.dtype, config: AutoregressiveModelConfig, own: bool
) -> None:
    model = subject.build(config)
    events = all_events(config, subject.device)
    y = torch.randint(max(config.num_classes, 1), (1,), device=device).expand(len(events))
    log_p, ancestral = _log_p(model, events, y), ancestral_log_joint(model, y)
    weight = torch.randn(len(events), dtype=torch.float64).relu() + 1e-3
    q = ancestral.exp() if own else weight / weight.sum()
    support = q > 0
    q, log_q = q[support], q[support].log()
    entropy, cross = -(q * log_q).sum(), -(q * log_p[support]).sum()
    divergence = (q * (log_q - ancestral[support])).sum()
    allowed = guarded(dtype, length=len(events), scale=_size(cross))
    data = "the model's own distribution" if own else "random data"
    what = f"the cross-entropy of {data}{_of_class(model, y)}"
    check.at_least(cross, entropy, allowed, f"{what}, against its entropy,")
    check.close(cross, entropy + divergence, allowed, f"{what}, against entropy plus divergence,")


@claim(
    "autoregressive_model.conditioning",
    r"y \ne y' \;\Rightarrow\; \ell(x, y) \ne \ell(x, y') \text{ for some } x, \theta",
    sources=[f"{GATED}, §2.3"],
    why="""A label that is accepted and ignored is no condition. Each pair of classes must differ
    somewhere over redrawn parameters; that each class is causal and sums to one is part of
    ``causality`` and ``normalised``.""",
)
@given(config=WITH_CLASSES)
def test_every_two_classes_have_different_logits(
    subject: Handle, device: str, dtype: torch.dtype, config: AutoregressiveModelConfig
) -> None:
    count = config.num_classes
    same = ~torch.eye(count, dtype=torch.bool)
    for _ in range(5):
        model = subject.build(config)
        x = torch.randint(config.levels, (1, *config.event_shape), device=device)
        y = torch.arange(count, device=device)
        found = logits(model, x.expand(count, *x.shape[1:]).clone(), y)
        flat = _wide(found).flatten(1)
        change = torch.where(flat[:, None] == flat[None], 0.0, (flat[:, None] - flat[None]).abs())
        same &= change.amax(2) <= rounding(found.dtype, scale=_size(found))
        if not same.any():
            return
    one, other = (int(n) for n in torch.nonzero(same)[0])
    raise Violation(
        f"classes {one} and {other} have the same logits, over 5 draws of the parameters"
    )


# Samplers ----------------------------------------------------------------------------------------


FAST = 0.05  # seconds for a thousand draws
VIVID = st.sampled_from([1.0, 0.25])  # shares of the factor that makes the past count most


def _seeded(subject: Handle, seed: int) -> torch.Generator:
    return torch.Generator(subject.device).manual_seed(seed)


def _vivid(subject: Handle, config: AutoregressiveModelConfig, share: float = 1.0) -> Built:
    """A model whose conditionals depend on the past: its matrices multiplied by what helps most.

    Redrawn weights of a usual size make nearly independent dimensions, on which no sample shows
    whether the sampler looked at what it had drawn before. With a ``share`` of that factor they
    depend on it and stay undecided, which shows sharpening.
    """
    model = subject.build(config)
    if not model.is_module:
        return model
    matrices = [p for p in model.module.parameters() if p.requires_grad and p.ndim >= 2]
    origin = [p.detach().clone() for p in matrices]
    x = torch.randint(config.levels, (64, *config.event_shape), device=subject.device)
    y = torch.zeros(64, dtype=torch.long, device=subject.device)

    def scaled(factor: float) -> float:
        with torch.no_grad():
            for p, start in zip(matrices, origin, strict=True):
                p.copy_(factor * start)
            chances = _wide(logits(model, x, y)).flatten(2).softmax(1)
        return float(chances.var(0).sum())

    factors = (1.0, 2.0, 4.0, 8.0)
    spread = [scaled(factor) for factor in factors]
    scaled(share * factors[max(range(len(factors)), key=spread.__getitem__)])
    return model


@claim(
    "autoregressive_model.sampler_matches_density",
    r"x \sim \texttt{sample} \;\Rightarrow\; \Pr[x] = e^{\log p(x)}",
    sources=[f"{PIXELRNN}, §2.1", ("Agrawal 2020, 'Finite-Sample Concentration of the Multinomial in "
             "Relative Entropy'")],
    why="""Sampler and likelihood are two programs for one distribution, and the mistakes in one are
    not in the other: logits from before the last draw, a greedy choice, channels before pixels,
    labels dropped, one random number for the whole batch, a temperature. About 1200 draws are counted
    over all events, of two calls, lest the second find what a cache kept of the first, and where they
    come fast ten times as many; the likelihood-ratio statistic G has a tail bound that holds at any
    sample size.""",
    error=1e-9,
    effort=0.3,
)  # fmt: skip
@given(config=SAMPLED, n=st.sampled_from([1200, 1201]), seed=st.integers(0, 2**31 - 1))
def test_samples_have_the_frequencies_of_the_density(
    subject: Handle, device: str, dtype: torch.dtype, config: AutoregressiveModelConfig, n: int,
    seed: int,
) -> None:  # fmt: skip
    model = _vivid(subject, config)
    model.needs("sample")
    y = torch.arange(n, device=device) % max(config.num_classes, 1)
    source, half = _seeded(subject, seed), n // 2
    started = time.perf_counter()
    calls = [sample(model, len(part), part, source) for part in (y[:half], y[half:])]
    if time.perf_counter() - started < FAST:
        calls.append(sample(model, 10 * n, y.repeat(10), source))
        y = y.repeat(11)
    found = index_of(torch.cat(calls), config.levels)
    events = all_events(config, subject.device)
    for label in classes(config, len(events), subject.device):
        counts = torch.bincount(found[y.cpu() == int(label[0])], minlength=len(events)).double()
        draws_follow(
            counts, _log_p(model, events, label), event_names(config),
            f"the sampler against the density{_of_class(model, label)}",
        )  # fmt: skip


def _judge_draws(model: Built, x: Tensor, y: Tensor, drawn: Tensor, what: str) -> None:
    """The ``drawn`` dimensions are on average as probable as their own conditionals predict."""
    p = _wide(logits(model, x, y)).flatten(2).softmax(1)[:, :, drawn]  # (N, K, D drawn)
    taken = p.gather(1, x.cpu().flatten(1)[:, None, drawn])[:, 0]
    mean = p.square().sum(1)
    variance = float((p.pow(3).sum(1) - mean.square()).clamp_min(0).sum())
    total, steps = float((taken - mean).sum()), taken.numel()
    check.that(
        freedman(total, variance, steps) > FALSE_ALARM,
        f"the {what} levels have probability {float(taken.mean()):.4g} on average under their own "
        f"conditionals, which predict {float(mean.mean()):.4g} ({steps} draws; ancestral sampling "
        f"strays as far with probability below {FALSE_ALARM:g})",
    )


@claim(
    "autoregressive_model.sampling_is_ancestral",
    r"\mathbb{E}\Bigl[\sum_i p_i(x_i) - \sum_k p_i(k)^2\Bigr] = 0, \qquad "
    r"p_i(k) = p(x_i = k \mid x_{<i}),\quad x \sim \texttt{sample}",
    sources=[f"{PIXELRNN}, §2.1", "Freedman 1975, 'On Tail Probabilities for Martingales'"],
    why="""In ancestral sampling every level is drawn from the conditional of what was drawn before
    it, so the probability that the model itself gives to each draw is on average what that conditional
    predicts. The differences form a martingale, whatever the size of the event: this judges samplers
    on images too large to list, where caches and borders go wrong.""",
    error=1e-9,
    effort=0.3,
)
@given(config=LARGE, vivid=VIVID, seed=st.integers(0, 2**31 - 1))
def test_samples_are_as_probable_as_their_conditionals_predict(
    subject: Handle, device: str, dtype: torch.dtype, config: AutoregressiveModelConfig, vivid: float,
    seed: int,
) -> None:  # fmt: skip
    model = _vivid(subject, config, vivid)
    model.needs("sample")
    n = max(1500 // config.dims, 60)
    y = torch.arange(n, device=device) % max(config.num_classes, 1)
    x = sample(model, n, y, _seeded(subject, seed))
    _judge_draws(model, x, y, torch.ones(config.dims, dtype=torch.bool), "sampled")


def _judge_generator(
    subject: Handle, model: Built, draw: Callable[[torch.Generator], Tensor], what: str
) -> None:
    """``draw`` uses the generator that it is given: it alone, and really."""
    before = generators()
    first_source, other_source = _seeded(subject, 20), _seeded(subject, 21)
    untouched = first_source.get_state()
    first = draw(first_source)
    check.that(
        generators() == before, f"{what} drew from a global generator although it was given one"
    )
    seed_everything(99)
    check.equal(draw(_seeded(subject, 20)), first, f"{what}, from a generator seeded as before,")
    draw(other_source)
    same = torch.equal(first_source.get_state(), other_source.get_state())
    check.that(not same, f"{what} reseeded the generator: it ends in one state from any seed")
    advanced = not torch.equal(first_source.get_state(), untouched)
    check.that(
        advanced,
        f"{what} drew nothing from the generator, which would give the same again and again",
    )


def _undecided(model: Built, y: Tensor) -> bool:
    """Whether the first dimension to be drawn has more than one level that can occur."""
    config = model.config
    x = torch.zeros(1, *config.event_shape, dtype=torch.long, device=model.handle.device)
    first = _wide(logits(model, x, y[:1])).flatten(2)[0, :, order_of(model)[0]]
    return float(first.softmax(0).max()) < 0.999


@claim(
    "autoregressive_model.sampler_uses_its_generator",
    r"\texttt{sample}(n, g) = h(n, \text{state of } g), \qquad \text{and nothing else is drawn from}",
    sources=["contracts.md, conventions"],
    why="""Who hands in a generator wants the same samples for the same seed, whatever else the program
    draws, and wants its other random numbers undisturbed. For one sample, an even and an odd number;
    without a generator the sampler draws as well.""",
    effort=0.6,
)
@given(config=stratified(CONTRACTS["autoregressive_model"].strata), n=st.sampled_from([1, 2, 3]))
def test_sampler_draws_from_the_generator_and_from_nothing_else(
    subject: Handle, device: str, dtype: torch.dtype, config: AutoregressiveModelConfig, n: int
) -> None:
    model = subject.build(config)
    model.needs("sample")
    y = torch.randint(max(config.num_classes, 1), (n,), device=device)
    ends = []
    for seed_of_all in (31, 32):
        seed_everything(seed_of_all)
        sample(model, n, y)
        ends.append(generators().torch)
    check.that(
        ends[0] != ends[1],
        f"sample(n={n}) without a generator reseeds the global ones: it ends in one state from any",
    )
    if _undecided(model, y):
        _judge_generator(subject, model, lambda g: sample(model, n, y, g), f"sample(n={n})")


@claim(
    "autoregressive_model.samples_are_independent",
    r"\Pr[x^{(a)} = x^{(b)}] = \sum_x p(x)^2 \qquad (a \ne b \text{ of one call})",
    sources=["contracts.md, autoregressive_model", "Clopper and Pearson 1934"],
    why="""The samples of one call are draws of one distribution and have nothing else in common. A
    sampler that works in pairs and fills an odd place by a copy, or shares a random number, has the
    right frequencies over many samples and says the same thing twice. Over many calls of three and of
    four, two places must coincide as often as two independent draws do.""",
    error=1e-9,
    effort=0.2,
)
@given(config=SAMPLED, n=st.sampled_from([3, 4]), seed=st.integers(0, 2**31 - 1))
def test_two_samples_of_a_call_coincide_as_often_as_chance_has_it(
    subject: Handle, device: str, dtype: torch.dtype, config: AutoregressiveModelConfig, n: int,
    seed: int,
) -> None:  # fmt: skip
    model = subject.build(config)
    model.needs("sample")
    y, calls = torch.zeros(n, dtype=torch.long, device=device), 60
    events = all_events(config, subject.device)
    log_p = _log_p(model, events, y[:1].expand(len(events)))
    chance = float((2 * log_p).logsumexp(0).exp())
    source = _seeded(subject, seed)
    found = torch.stack(
        [index_of(sample(model, n, y, source), config.levels) for _ in range(calls)]
    )
    for a, b in pairwise(range(n)):
        count = int((found[:, a] == found[:, b]).sum())
        tails = (
            scipy.stats.binom.sf(count - 1, calls, chance),
            scipy.stats.binom.cdf(count, calls, chance),
        )
        check.that(
            min(tails) > FALSE_ALARM,
            f"samples {a} and {b} of {n} coincide in {count} of {calls} calls, where independent draws "
            f"do so with probability {chance:.4g}",
        )


# Completion --------------------------------------------------------------------------------------


def _patterns(config: AutoregressiveModelConfig) -> Any:
    """Known entries: scattered, none, all."""
    every = torch.ones(config.event_shape, dtype=torch.bool)
    scattered = integers_below(2, config.event_shape).map(lambda drawn: drawn.bool())
    return st.one_of(scattered, scattered, scattered, st.sampled_from([every, ~every]))


@claim(
    "autoregressive_model.completion_keeps_known_pixels",
    r"\hat x_i = x_i \text{ for known } i, \qquad \hat x \text{ does not depend on unknown } x_j",
    sources=[f"{PIXELRNN}, §5.8 and Figure 9", f"{LECTURE}, 'image completion'"],
    why="""Completion fills holes and nothing else. Known entries are kept whatever their pattern,
    what stands in the holes beforehand is junk that must not be read, the result is a tensor of its
    own even where nothing was missing, and the generator is used as the sampler uses it.""",
)
@given(
    case=stratified(CONTRACTS["autoregressive_model"].strata).flatmap(
        lambda config: st.tuples(st.just(config), _patterns(config))
    ),
    n=st.sampled_from([1, 2, 3]),
)
def test_completion_keeps_what_is_known_and_ignores_what_is_not(
    subject: Handle, device: str, dtype: torch.dtype,
    case: tuple[AutoregressiveModelConfig, Tensor], n: int,
) -> None:  # fmt: skip
    config, known = case
    model = subject.build(config)
    model.needs("complete")
    x = torch.randint(config.levels, (n, *config.event_shape), device=device)
    junk = torch.where(known, x, torch.randint(config.levels, x.shape, device=device))
    y = torch.randint(max(config.num_classes, 1), (n,), device=device)
    original = x.clone()
    found = complete(model, x, known, y, _seeded(subject, 5))
    check.equal(found[:, known], x[:, known], "the known entries of the completion")
    other = complete(model, junk, known, y, _seeded(subject, 5))
    check.equal(other, found, "the completion with other junk in the unknown entries")
    complete(model, x, known, y)
    found.fill_(0)
    check.equal(x, original, "x, after writing to the completion, which must be a fresh tensor,")
    if not known.any() and _undecided(model, y):
        _judge_generator(subject, model, lambda g: complete(model, x, known, y, g), "complete")


@claim(
    "autoregressive_model.completion_matches_density",
    r"\Pr[\hat x_{>m} \mid x_{\le m}] = \prod_{i > m} p(x_i \mid x_{<i})",
    sources=[f"{PIXELRNN}, §5.8", ("Agrawal 2020, 'Finite-Sample Concentration of the Multinomial in "
             "Relative Entropy'")],
    why="""When the known entries come first in the order, ancestral sampling of the rest is exact
    conditioning. Sampling everything anew and pasting the known entries over it keeps them just as
    well, but what follows them then belongs to another beginning.""",
    error=1e-9,
    effort=0.3,
)  # fmt: skip
@given(config=SAMPLED, prefix=st.integers(1, 6), seed=st.integers(0, 2**31 - 1))
def test_completions_of_a_prefix_follow_its_conditional(
    subject: Handle, device: str, dtype: torch.dtype, config: AutoregressiveModelConfig,
    prefix: int, seed: int,
) -> None:  # fmt: skip
    model = _vivid(subject, config)
    model.needs("complete")
    first = order_of(model)[: min(prefix, config.dims - 1)]
    known = torch.zeros(config.dims, dtype=torch.bool, device=device)
    known[first] = True
    start = torch.randint(config.levels, (1, config.dims), device=device)
    label = torch.randint(max(config.num_classes, 1), (1,), device=device)
    x = torch.randint(config.levels, (1200, config.dims), device=device)
    x = torch.where(known, start, x).view(-1, *config.event_shape)
    mask = known.view(config.event_shape)
    found = complete(model, x, mask, label.expand(len(x)), _seeded(subject, seed))
    events = all_events(config, subject.device)
    fits = (events.flatten(1)[:, first] == start[:, first]).all(1).cpu()
    log_p = gathered(logits(model, events, label.expand(len(events))), events)
    log_p = log_p[:, ~known.cpu()].sum(1).masked_fill(~fits, -math.inf)
    counts = torch.bincount(index_of(found, config.levels), minlength=len(events)).double()
    draws_follow(
        counts, log_p, event_names(config),
        f"completions of the first {len(first)} known dimensions{_of_class(model, label)}",
    )  # fmt: skip


@claim(
    "autoregressive_model.completion_is_ancestral",
    r"\hat x_i \sim p(x_i \mid \hat x_{<i}) \quad \text{for every } i \text{ after the last known "
    r"entry}, \qquad \hat x_j = x_j \text{ for known } j < i",
    sources=[f"{PIXELRNN}, §5.8", "Freedman 1975, 'On Tail Probabilities for Martingales'"],
    why="""Behind the last known entry nothing is left to anticipate: each level is drawn from the
    conditional of all before it, of what was known, what was drawn between, and each item's own. A
    completion that counts the known entries up to the first hole alone, and pastes the others over
    what it drew, keeps them all, and what follows them does not fit. Known entries are scattered
    before a random place, or there are none; the images may be too large to list.""",
    error=1e-9,
    effort=0.3,
)
@given(
    config=stratified([models(e, (0, 2)) for e in (LONG_VECTORS, LARGE_GREY, LARGE_COLOUR)]),
    share=st.sampled_from([0.0, 0.3, 0.5, 0.6]),
    vivid=VIVID,
    seed=st.integers(0, 2**31 - 1),
)
def test_completions_are_as_probable_as_their_conditionals_predict(
    subject: Handle, device: str, dtype: torch.dtype, config: AutoregressiveModelConfig,
    share: float, vivid: float, seed: int,
) -> None:  # fmt: skip
    model = _vivid(subject, config, vivid)
    model.needs("complete")
    order = torch.tensor(order_of(model))
    last = min(round(share * config.dims), config.dims - 1)
    drawn = torch.ones(config.dims, dtype=torch.bool)
    drawn[order[:last]] = False
    known = ~drawn & (torch.rand(config.dims) < 0.5)
    known[order[last - 1 : last]] = True
    n = max(1500 // int(drawn.sum()), 60)
    y = torch.arange(n, device=device) % max(config.num_classes, 1)
    x = torch.randint(config.levels, (n, *config.event_shape), device=device)
    mask = known.view(config.event_shape).to(device)
    found = complete(model, x, mask, y, _seeded(subject, seed))
    _judge_draws(model, found, y, drawn, "completed")


# Training ----------------------------------------------------------------------------------------


@claim(
    "autoregressive_model.gradient_in_parameters",
    r"\langle \nabla_\theta \ell_\theta(x), v \rangle = "
    r"\tfrac{d}{dt} \ell_{\theta + t v}(x)\big|_{t=0}",
    sources=["contracts.md, conventions"],
    why="""Maximum likelihood follows the gradient of the logits, and of log_prob: a ``detach`` or an
    in-place write on the way there trains something else. Finite differences know only values.""",
    dtypes=("float64",),
    effort=0.6,
)
@given(config=stratified(CONTRACTS["autoregressive_model"].strata))
def test_has_the_gradient_of_its_logits_and_log_prob_in_its_parameters(
    subject: Handle, device: str, dtype: torch.dtype, config: AutoregressiveModelConfig
) -> None:
    subject.needs_gradients()
    model = subject.build(config)
    x = torch.randint(config.levels, (2, *config.event_shape), device=device)
    y = torch.randint(max(config.num_classes, 1), (2,), device=device)
    weights = torch.randn(2, config.levels, *config.event_shape, dtype=torch.float64, device=device)

    def total() -> Tensor:
        found = logits(model, x, y)
        return torch.where(found > -math.inf, weights * found, 0.0).sum()

    _judge_parameter_gradient(model.module, total, "logits")
    if model.has("log_prob") and torch.isfinite(log_prob(model, x, y)).all():
        _judge_parameter_gradient(
            model.module, lambda: (log_prob(model, x, y) * weights[:, 0].flatten(1)[:, 0]).sum(),
            "log_prob",
        )  # fmt: skip


def _copies(config: AutoregressiveModelConfig, faithful: float = 0.9) -> Tensor:
    """log q of every event: each dimension copies the one before it, else takes another level."""
    events = all_events(config, torch.device("cpu")).flatten(1)
    order = raster(config.event_shape)
    total = torch.full((len(events),), -math.log(config.levels), dtype=torch.float64)
    for here, before in zip(order[1:], order[:-1], strict=True):
        copied = events[:, here] == events[:, before]
        total += torch.where(copied, faithful, (1 - faithful) / (config.levels - 1)).log()
    return total


@claim(
    "autoregressive_model.fits",
    r"\min_\theta \mathbb{E}_q[-\log p_\theta] - H(q) \le \tfrac12\, \bigl(D \log K - H(q)\bigr)",
    sources=[f"{LECTURE}, 'Autoregressive generative models'", f"{PIXELRNN}, §5"],
    why="""In the data each dimension copies its predecessor nine times out of ten, so a model of
    independent dimensions pays D log K and the gap to the entropy H(q) is all in the dependence.
    Trained by Adam on the exact loss (all events, weighted), an autoregressive model recovers at
    least half of it; one of several learning rates has to do.""",
    effort=0.1,
)
@given(
    config=stratified([models(((4,),), (0,), (2, 3)), models(((1, 1, 4), (3, 1, 1)), (0,), (2,))])
)
def test_training_recovers_half_of_the_dependence_or_more(
    subject: Handle, device: str, dtype: torch.dtype, config: AutoregressiveModelConfig
) -> None:
    subject.needs_gradients()
    events, log_q = all_events(config, subject.device), _copies(config)
    q = log_q.exp().to(subject.device, dtype)
    entropy = float(-(log_q.exp() * log_q).sum())
    goal = (entropy + config.dims * math.log(config.levels)) / 2
    reached = math.inf
    for rate in (0.03, 0.005):
        model = subject.build(config, training=True, redraw=False)
        parameters = [p for p in model.module.parameters() if p.requires_grad]
        if not parameters:
            raise Unsupported("no trainable parameters")
        order = order_of(model)
        field = _documented(model, past_of(order))
        colour = len(config.event_shape) == 3 and config.event_shape[0] > 1
        if field is None and colour:
            raise Unsupported("it documents no field, and its channels may ignore each other")
        if field is not None and not all(field[i, j] for j, i in pairwise(order)):
            raise Unsupported("it documents that it does not see the dimension drawn just before")
        optimizer = torch.optim.Adam(parameters, lr=rate)
        for _ in range(200):
            optimizer.zero_grad()
            found = logits(model, events).log_softmax(1)
            chosen = found.flatten(2).gather(1, events.flatten(1)[:, None]).sum((1, 2))
            loss = -(q * chosen).sum()
            reached = min(reached, float(loss.detach()))
            if reached <= goal:
                return
            if math.isinf(float(loss.detach())):
                raise Unsupported("it excludes events that the data contain")
            if loss.requires_grad:
                loss.backward()
            optimizer.step()
    check.at_most(
        reached, goal, 0.0,
        f"the cross-entropy after training, of data of entropy {entropy:.4g} whose dimensions copy "
        f"each other,",
    )  # fmt: skip


@claim(
    "autoregressive_model.survives_moving",
    r"f_{\theta.\text{to}(d)}(x) = f_\theta(x)",
    sources=["contracts.md, conventions"],
    why="""``module.to(dtype)`` and ``.to(device)`` reach parameters and registered buffers and nothing
    else: a mask kept as a plain attribute stays behind. The module is used in float32, moved to
    float64 and used again, the sampler too (draws in the two precisions may differ).""",
    effort=0.5,
)
@given(
    case=cases(
        CONTRACTS["autoregressive_model"], lambda probe: probe.name in ("logits", "log_prob")
    )
)
def test_logits_are_the_same_after_moving_to_float64(
    subject: Handle, device: str, dtype: torch.dtype, case: Case
) -> None:
    test_general.test_computes_the_same_after_moving(
        subject=subject, device=device, dtype=dtype, case=case
    )
    model = subject.build(case.config, dtype=torch.float32)
    subject.guarded(lambda: model.module.to(torch.float64))
    if model.has("sample"):
        sample(model, 2, torch.zeros(2, dtype=torch.long, device=device), _seeded(subject, 1))


# Theory ------------------------------------------------------------------------------------------


def _reach(height: int, width: int, first: int, later: int, blocks: int) -> Tensor:
    r"""Which pixels a stack sees, in closed form (one channel, ``first >= later``).

    A layer moves left freely but right only when it moves up, by at most its radius. To climb m rows
    at most m layers move up, so the first gives ``a`` columns to the right and each other ``b``.
    """
    a, b = first // 2, later // 2
    r, c = torch.arange(height * width) // width, torch.arange(height * width) % width
    up, right = r[:, None] - r[None, :], c[None, :] - c[:, None]
    gained = torch.where(up > 0, a + b * (up - 1).clamp(0, blocks), 0)
    most = a + blocks * b
    seen = (up >= 0) & (up <= most) & (right <= gained) & (right >= -most)
    return seen & ((up > 0) | (right < 0))


@claim(
    "theory.blind_spot",
    r"\text{missing}(r, c) = \{(r - m, c + d) : d > a + b\,\min(m - 1, L)\} \cup \{\text{beyond "
    r"} a + bL \text{ rows or columns}\}",
    sources=[f"{GATED}, §2.2 and Figure 1"],
    why="""A masked layer moves information right only while moving it down a row: reaching a pixel
    m rows above takes at most m of the layers, so the first kernel of radius a and blocks of radius b
    see at most a + b(m - 1) columns to the right of it. What lies further right was generated before
    and is never seen, however many blocks are added. The prediction, the composed masks and the
    dependences of the network, over redrawn weights, are one set.""",
    assumptions=["one data channel", "the first kernel is no smaller than the others"],
    dtypes=("float64",),
    effort=0.3,
)
@given(
    kernels=st.sampled_from([(3, 3), (5, 3), (7, 3), (3, 1), (5, 5), (1, 1)]),
    blocks=st.integers(0, 3),
    size=st.sampled_from([(3, 7), (4, 6), (2, 8), (5, 4)]),
)
def test_pixelcnn_misses_exactly_the_predicted_pixels(
    subject: Handle, device: str, dtype: torch.dtype, kernels: tuple[int, int], blocks: int,
    size: tuple[int, int],
) -> None:  # fmt: skip
    pieces = subject.pieces().raw
    first, later = kernels
    predicted = _reach(*size, first, later, blocks)
    composed = pieces.pixelcnn_receptive_field(1, *size, blocks, first, later).cpu()
    check.equal(composed, predicted, f"the composed masks of an image of {size[0]} x {size[1]}")
    count = size[0] * size[1]
    seen = torch.zeros(count, count, dtype=torch.bool)
    for _ in range(20):
        network = pieces.PixelCNN(
            (1, *size), 2, hidden=6, head=6, blocks=blocks, first_kernel=first, kernel=later
        ).double()
        x = torch.randint(2, (1, 1, *size))
        batch = x.repeat(count + 1, 1, 1, 1).flatten(1)
        batch[torch.arange(count) + 1, torch.arange(count)] ^= 1
        with torch.no_grad():
            found = network.logits(batch.view(-1, 1, *size)).flatten(2)
        seen |= ((found[1:] - found[:1]).abs().amax(1) > rounding(dtype)).mT
        if bool((predicted & ~seen).sum() == 0):
            break
    check.equal(seen, predicted, "what the logits of the network change with")


@claim(
    "theory.masks_compose",
    r"B^n A \text{ is strictly lower triangular for every } n, \qquad A + B + \dots \text{ is not}",
    sources=[f"{PIXELRNN}, §3.4"],
    why="""In the order of generation type A is strictly lower triangular and type B lower triangular
    with a full diagonal; products of the two kinds are strict as long as one factor is. So one layer
    of type A comes first and any number of type B may follow: without A the pixel sees itself, and
    with A throughout the nearest past is lost.""",
    effort=0.3,
)
@given(
    channels=st.sampled_from([1, 3]),
    kernel=st.sampled_from([1, 3, 5]),
    size=st.sampled_from([(2, 3), (3, 2), (1, 4)]),
    depth=st.integers(1, 4),
)
def test_one_strict_layer_keeps_a_stack_strict(
    subject: Handle, device: str, dtype: torch.dtype, channels: int, kernel: int,
    size: tuple[int, int], depth: int,
) -> None:  # fmt: skip
    pieces = subject.pieces().raw
    order = torch.tensor(raster((channels, *size)))

    def pattern(mask_type: str) -> Tensor:
        mask = pieces.raster_mask(channels, channels, kernel, mask_type, channels).double()
        d = len(order)
        inputs = torch.eye(d, dtype=torch.float64).view(d, channels, *size)
        reach = F.conv2d(inputs, mask, padding=kernel // 2).flatten(1).mT > 0  # (to, from)
        return reach[order][:, order].double()

    a, b = pattern("A"), pattern("B")
    check.that(bool((a.triu() == 0).all()), "the pattern of a type A layer is not strictly lower")
    check.that(
        bool((b.triu(1) == 0).all()), "the pattern of a type B layer is not lower triangular"
    )
    check.that(bool((b.diagonal() > 0).all()), "type B does not see its own data channel")
    stack = torch.linalg.matrix_power(b, depth) @ a
    check.that(bool((stack.triu() == 0).all()), f"{depth} layers of B after A see their own pixel")
    check.that(bool((stack >= a).all()), f"{depth} layers of B after A see less than A alone")


@claim(
    "theory.any_joint_is_a_product_of_conditionals",
    r"p(x) = \prod_i p(x_i \mid x_{<i}) \quad\text{for every joint } p",
    sources=[f"{PIXELRNN}, Equation 1", f"{LECTURE}, 'Autoregressive generative models'"],
    why="""The product telescopes: each conditional is a quotient of two neighbouring marginals.
    Nothing is assumed of p; zeros are reproduced, and a prefix that never occurs may have any
    conditional. An autoregressive model with enough parameters therefore represents everything.""",
    effort=0.6,
)
@given(
    event=st.sampled_from([((3,), 2), ((2,), 4), ((1, 1, 3), 3), ((3, 1, 1), 2), ((3, 1, 2), 2)]),
    zeros=st.booleans(),
)
def test_tables_of_conditionals_reproduce_the_joint(
    subject: Handle, device: str, dtype: torch.dtype, event: tuple[tuple[int, ...], int],
    zeros: bool,
) -> None:  # fmt: skip
    pieces = subject.pieces().raw
    shape, levels = event
    config = AutoregressiveModelConfig(shape, levels)
    joint = torch.rand((levels,) * config.dims, dtype=torch.float64)
    if zeros:
        joint = (joint - 0.5).relu() + (torch.arange(joint.numel()) == 0).view(joint.shape).double()
    joint = joint / joint.sum()
    model = pieces.TabularChainRule.from_joint(joint, shape)
    events = all_events(config, torch.device("cpu"))
    in_order = events.flatten(1)[:, raster(shape)]
    expected = joint[tuple(in_order.T)]
    found = model.log_prob(events).exp()
    check.close(found, expected, rounding(torch.float64, length=len(events)), "the tables' p(x)")


@claim(
    "theory.fvbn_log_odds_are_affine",
    r"\log \frac{p(x_i = 1 \mid x_{<i})}{p(x_i = 0 \mid x_{<i})} = c_i + \sum_{j < i} w_{ij} x_j",
    sources=["Larochelle and Murray 2011, 'The Neural Autoregressive Distribution Estimator', §2"],
    why="""A fully visible belief network of bits is one logistic regression for each bit: flipping
    two earlier bits changes the log-odds by the sum of the two changes. It cannot represent a parity
    (the third bit the exclusive or of the first two), which tables can.""",
    effort=0.6,
)
@given(d=st.integers(3, 6))
def test_flipping_two_bits_adds_up_in_the_belief_network(
    subject: Handle, device: str, dtype: torch.dtype, d: int
) -> None:
    pieces = subject.pieces().raw
    network = pieces.FullyVisibleBeliefNetwork((d,), 2).double()
    x = torch.randint(2, (1, d))
    j, k = (int(n) for n in torch.randperm(d - 1)[:2])
    batch = x.repeat(4, 1)
    batch[1, j] ^= 1
    batch[2, k] ^= 1
    batch[3, j] ^= 1
    batch[3, k] ^= 1
    found = network.logits(batch).detach()
    odds = found[:, 1] - found[:, 0]  # (4, D)
    check.close(
        odds[3] - odds[1] - odds[2] + odds[0], torch.zeros(d),
        rounding(torch.float64, length=d, scale=_size(odds)),
        f"the second difference of the log-odds in bits {j} and {k}",
    )  # fmt: skip
    last = max(j, k) + 1
    change = float((odds[1] - odds[0])[last].abs())
    check.that(change > 0, f"bit {j} does not change the log-odds of bit {last}")


class _Counted:
    """A logits function that counts its calls."""

    def __init__(self, levels: int) -> None:
        self.levels, self.calls = levels, 0

    def __call__(self, x: Tensor) -> Tensor:
        self.calls += 1
        total = x.flatten(1).cumsum(1) - x.flatten(1)
        flat = torch.stack([torch.sin(total + k).double() for k in range(self.levels)], 1)
        return flat.view(len(x), self.levels, *x.shape[1:])


@claim(
    "theory.passes_to_sample",
    r"\text{passes}(\texttt{sample}) = D, \qquad \text{passes}(\texttt{complete}) = "
    r"\#\{\text{unknown}\}",
    sources=[f"{PIXELRNN}, §2.1", f"{LECTURE}, 'PixelCNN: slow to sample'"],
    why="""Each draw needs the one before it, so naive ancestral sampling costs one pass of the network
    for every dimension, H·W·C for an image; a known entry needs no draw and costs none.""",
    effort=0.6,
)
@given(
    event=st.sampled_from([(1,), (4,), (1, 2, 3), (3, 2, 1), (3, 1, 2)]),
    seed=st.integers(0, 2**31 - 1),
)
def test_sampling_takes_one_pass_for_each_unknown_dimension(
    subject: Handle, device: str, dtype: torch.dtype, event: tuple[int, ...], seed: int
) -> None:
    pieces = subject.pieces().raw
    source = torch.Generator().manual_seed(seed)
    step, size = _Counted(3), math.prod(event)
    pieces.sample(step, 2, event, generator=source)
    check.that(step.calls == size, f"sampling {event} took {step.calls} passes, not {size}")
    known = torch.rand(event, generator=source) < 0.5
    step.calls, unknown = 0, int((~known).sum())
    pieces.complete(step, torch.zeros((2, *event), dtype=torch.long), known, generator=source)
    check.that(
        step.calls == unknown,
        f"completing {unknown} of {size} entries took {step.calls} passes",
    )


@claim(
    "theory.one_pass_to_train",
    r"\text{passes}(\log p(x)) = 1",
    sources=[f"{PIXELRNN}, §1 and §3.5", f"{GATED}, §2"],
    why="""All of x is known in training, so the masked network computes every conditional at once:
    each of its layers runs once for log_prob of a whole batch of images, though sampling one image
    runs them once for every dimension.""",
    effort=0.3,
)
@given(event=st.sampled_from([(1, 2, 3), (3, 2, 1), (3, 3, 2)]), n=st.sampled_from([1, 4]))
def test_each_layer_runs_once_for_a_likelihood(
    subject: Handle, device: str, dtype: torch.dtype, event: tuple[int, ...], n: int
) -> None:
    pieces = subject.pieces().raw
    network = pieces.PixelCNN(event, 3, hidden=6, head=6)
    calls = dict.fromkeys((m for m in network.modules() if not list(m.children())), 0)

    def count(module: nn.Module, *_: Any) -> None:
        calls[module] += 1

    hooks = [m.register_forward_hook(count) for m in calls]
    network.log_prob(torch.randint(3, (n, *event)))
    worst = max(calls.values())
    check.that(worst == 1, f"a layer ran {worst} times for the likelihood of {n} images of {event}")
    network.sample(1)
    expected = 1 + math.prod(event)
    found = {calls[m] for m in calls}
    check.that(
        found == {expected},
        f"layers ran {found} times for one likelihood and one sample of {event}",
    )
    for hook in hooks:
        hook.remove()
