r"""Claims about masked convolutions: what an output sees, and that the rest is a convolution.

The Jacobian of an affine layer is found by changing one input after the other, all in one batch;
what it may hold is written down from the order of generation, never from a mask.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spec_tests import check
from spec_tests.check import Violation
from spec_tests.claims.test_autoregressive import LECTURE, PIXELRNN
from spec_tests.contracts import CONTRACTS
from spec_tests.contracts.autoregressive import (
    MaskedConv2dConfig,
    image_sizes,
)
from spec_tests.handle import Built, Handle
from spec_tests.judge import stratified
from spec_tests.numerics import gradients, size_of, wide
from spec_tests.parameter_gradients import judge_parameter_gradient
from spec_tests.registry import Unsupported, claim
from spec_tests.tolerance import rounding

CONVOLUTIONS = stratified(CONTRACTS["masked_conv2d"].strata)


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
    return wide(change).permute(1, 2, 3, 0).reshape(*change.shape[1:], *x.shape[1:]), noise


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
    return wide(gradients(total, [copies])[0]).reshape(*shape, *x.shape[1:])


@st.composite
def _small_images(draw: st.DrawFn, largest: int = 5) -> tuple[int, int]:
    return draw(image_sizes(largest))


def _image(config: MaskedConv2dConfig, size: tuple[int, int], like: Handle) -> Tensor:
    return torch.randn(1, config.in_channels, *size, dtype=like.dtype, device=like.device)


@claim(
    "masked_conv2d.causality",
    r"\frac{\partial\, y_{o,r,c}}{\partial\, x_{i,r',c'}} = 0 \quad\text{unless } (r',c') \text{ precedes } (r,c) "
    r"\text{ in raster order, or equals it and } g(i) < g(o) \text{ (A)},\ g(i) \le g(o) \text{ (B)}",
    sources=[f"{PIXELRNN}, §3.4 and Figure 2", f"{LECTURE}, 'PixelCNN'"],
    why=r"""The data channel of channel i of C is :math:`g(i) = \lfloor i\,n / C \rfloor`, one of
    :math:`n = 1` or 3: equal groups, one after the other. A stack of these layers is to give the
    factors of :math:`p(x) = \prod_i p(x_i \mid x_{<i})`, pixel after pixel and R, G, B within a
    pixel, so an output that helps to predict group :math:`g(o)` may hold earlier pixels and earlier
    groups. Type B may hold its own group too: what it reads has passed a layer of type A
    (``theory.masks_compose``).

    One forbidden entry lets the network copy its answer: training loss falls to nothing and samples
    are noise.

    The allowed pairs are written down from the order, not from any mask. The whole Jacobian is
    judged by autograd and by values: the layer is affine, so a step of a thousand at each input
    gives its derivative, and shows the smallest leak. Rounding alone may make an entry non-zero, as
    in a convolution by Fourier transform.""",
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
    r"\frac{\partial\, y_{o,r,c}}{\partial\, x_{i,r',c'}} \ne 0 \quad\text{for almost all weights, wherever the mask allows "
    "it and the kernel reaches}",
    sources=[f"{PIXELRNN}, §3.4 and Figure 2"],
    why=r"""A layer that sees nothing is causal too, so ``masked_conv2d.causality`` needs this
    other half. An entry of the Jacobian is one tap of the kernel,

    .. math::

        \frac{\partial\, y_{o,r,c}}{\partial\, x_{i,r',c'}} = k_{o,i,r'-r,c'-c},

    and a tap that is drawn from a continuous distribution is zero with probability 0. Hence every
    tap that the order allows must show: the rows above in full width, the row itself up to the
    centre, and at the centre the groups that the type admits. An over-masked layer still trains,
    and only its likelihood is worse than it had to be; no loss curve gives that away.

    Weights are drawn three times, and a pair counts as unused if no draw moves the output by more
    than rounding. The list of allowed pairs comes from the order of generation, not from the layer.""",
    assumptions={
        "the weights are drawn anew, from a continuous distribution": "a kernel of zeros has the right mask and sees nothing",
    },
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
    r"\theta_{t+1} = \mathrm{opt}(\theta_t, \nabla L(\theta_t)) \;\Rightarrow\; "
    r"f_{\theta_{t+1}} \text{ is causal}",
    sources=[f"{PIXELRNN}, §3.4"],
    why=r"""If the layer computes :math:`f_\theta(x) = (m \odot \theta) * x + b`, it depends on
    :math:`\theta` through :math:`m \odot \theta` alone and is causal at every :math:`\theta`, so
    also at whatever an optimiser makes of it. By the chain rule the gradient is masked as well,

    .. math::

        \nabla_\theta L = m \odot \nabla_{m \odot \theta} L .

    A weight that was masked once, at construction or at the first call, is free afterwards: the
    first step fills its forbidden taps. Masking its gradient helps only what was zero to begin
    with; momentum that was gathered before moves a tap all the same.

    Four steps of SGD with momentum, Adam or AdamW, all with weight decay, are taken on a loss that
    asks for three times the input itself, so that every leak pays; then the Jacobian is judged as
    in ``masked_conv2d.causality``.""",
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
    return wide(layer(x)) - wide(layer(torch.zeros_like(x)))


@claim(
    "masked_conv2d.linear_and_shift_equivariant",
    r"f(ax + bz) - f(0) = a\,[f(x) - f(0)] + b\,[f(z) - f(0)], \qquad f(\tau x) - f(0) = \tau\,[f(x) - f(0)] "
    r"\text{ away from the border}",
    sources=[f"{PIXELRNN}, §3.4"],
    why=r"""With :math:`\bar x` the image and zeros around it, a convolution is

    .. math::

        f(x)_{o,r,c} = b_o + \sum_{i,u,v} k_{o,i,u,v}\, \bar x_{i,r+u,c+v} .

    The bias is :math:`f(0)`; what is left is a sum of inputs times constants, hence linear. The
    constants do not depend on :math:`(r, c)`, so a shift :math:`\tau` of the image by whole pixels
    renames the places of the sum and nothing else. A mask takes taps away and adds nothing. A
    normalisation, an activation, or weights of their own for some positions would be another layer.

    The test compares the response to :math:`2x - 3z` with the combination of the responses, and the
    response to a patch that was moved with the moved response, in an image with room enough around
    the patch.""",
    assumptions={
        "the response to the patch stays within the image, before and after the shift": (
            "a kernel that copies the left neighbour answers the row (0, 0, 1) by zeros, as the "
            "copy falls off the image; the same row moved one place to the left is answered by "
            "(0, 0, 1)"
        ),
    },
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
    allowed = rounding(dtype, length=length, scale=size_of(both) + size_of(layer(0 * x)))
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
    why=r"""An affine layer that commutes with shifts
    (``masked_conv2d.linear_and_shift_equivariant``) is known from its response to one impulse: an
    impulse at :math:`p` on input channel i puts :math:`k_{o,i,u,v}` at :math:`p - (u, v)`. The test
    reads the kernel off there, in the middle of a canvas so large that no border is near, and asks
    two things of it.

    Nothing may lie outside a kernel of the given side. And the kernel must explain the output at
    every pixel of any other image, of one smaller than the kernel too: the oracle is PyTorch's
    plain convolution in double precision, of that kernel, with zeros beyond the border. A
    reflection, a wrap to the other side or any other constant differs in the first row or column,
    and a wrap even shows the future.""",
    assumptions={
        "the side of the kernel is odd": "a kernel of side 2 has no centre, and padding by one on each side makes 4 pixels of 3",
    },
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
    scale = size_of(found) + size_of(layer(0 * canvas))
    inside = torch.zeros(2 * k + 1, 2 * k + 1, dtype=torch.bool)
    first, last = k - k // 2, k + k // 2 + 1
    inside[first:last, first:last] = True
    beyond = found.abs().amax((0, 1)).masked_fill(inside, 0.0).max()
    check.at_most(
        beyond, 0.0, rounding(dtype, scale=scale), f"the response outside a kernel of side {k}"
    )
    kernel = found[:, :, first:last, first:last].flip(2, 3).transpose(0, 1)  # (out, in, k, k)
    x = _image(config, size, subject)
    allowed = rounding(dtype, length=channels * k * k, scale=scale * size_of(x))
    check.close(
        _response(layer, x), F.conv2d(wide(x), kernel, padding=k // 2), allowed,
        "the output less that at zero, against the zero-padded correlation with its own kernel,",
    )  # fmt: skip


@claim(
    "masked_conv2d.bias_free_of_position",
    r"f(0)_{o,r,c} = b_o \quad\text{for every } (r, c) \text{ and every image size}",
    sources=["contracts.md, masked_conv2d"],
    why=r"""For an image of zeros every product in the sum of the convolution is zero, beyond the
    border as well as inside, and :math:`f(0)_{o,r,c} = b_o` is what remains: with nothing to see
    there is nothing to tell positions apart.

    A bias that grows down the image, a padding by ones, or a table of positions inside the layer
    tells the network where it is. That may even help, but it is another layer: it does not commute
    with shifts, and it has no value at a size that it was not built for.

    Two images of zeros of different sizes are put through the layer, and every pixel of both is
    compared with the first pixel of the first. The oracle is the layer itself at another place.""",
)
@given(config=CONVOLUTIONS, size=image_sizes(), other=image_sizes())
def test_adds_the_same_bias_everywhere(
    subject: Handle, device: str, dtype: torch.dtype, config: MaskedConv2dConfig,
    size: tuple[int, int], other: tuple[int, int],
) -> None:  # fmt: skip
    layer = subject.build(config)
    bias = None
    for shape in (size, other):
        constant = wide(layer(0 * _image(config, shape, subject)))
        bias = constant[:, :, :1, :1] if bias is None else bias
        check.close(
            constant, bias.expand(constant.shape), rounding(dtype, scale=size_of(constant)),
            f"the output for an image of zeros, {shape[0]} x {shape[1]}, against its first pixel,",
        )  # fmt: skip


@claim(
    "masked_conv2d.gradient_in_parameters",
    r"\langle \nabla_\theta F(\theta), v \rangle = \tfrac{d}{dt} F(\theta + t "
    r"v)\big|_{t=0}, \qquad F(\theta) = \langle c, f_\theta(x) \rangle",
    sources=["contracts.md, conventions"],
    why=r"""This is the definition of a gradient, for the sum :math:`F` of the outputs with random
    weights :math:`c`, along one random direction :math:`v` in the space of all parameters. If it
    holds for almost every :math:`c` and :math:`v`, it holds for every partial derivative.

    The left side is autograd's, the right side a difference quotient of fourth order at two step
    sizes, whose distance is its error. The quotient calls the layer and knows only values, so that
    it cannot share a mistake with the backward pass: a weight that was detached, masked through
    ``weight.data`` or overwritten on the way has a gradient of zero, and trains nothing.

    A layer that writes its mask into the weight at every call keeps the parameters in a subspace.
    The direction is then read back after a call and judged within that subspace.""",
    assumptions={
        "the value is differentiable at the parameters": (
            ":math:`|t|` at 0 has slopes of 1 and -1; where the one-sided slopes differ, "
            "nothing is judged"
        ),
    },
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
    judge_parameter_gradient(layer.module, lambda: (weights * layer(x)).sum(), "output")
