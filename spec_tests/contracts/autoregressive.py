r"""Autoregressive models: the masked convolution they are built from, and the models themselves."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from hypothesis import strategies as st
from torch import Tensor

from spec_tests import check
from spec_tests.contracts import add
from spec_tests.devices import MixedDevices
from spec_tests.handle import Built, SubjectError
from spec_tests.registry import Contract, Probe, Result
from spec_tests.strategies import integers_below, normals, sizes

__all__ = [
    "AutoregressiveModel",
    "AutoregressiveModelConfig",
    "MaskedConv2dConfig",
    "MaskedConvolution",
    "complete",
    "convolutions",
    "image_sizes",
    "log_prob",
    "logits",
    "models",
    "sample",
]

# Masked convolution ------------------------------------------------------------------------------


@dataclass(frozen=True)
class MaskedConv2dConfig:
    """``in_channels`` and ``out_channels`` are multiples of ``data_channels``, 1 or 3."""

    in_channels: int
    out_channels: int
    kernel_size: int
    mask_type: str
    data_channels: int


class MaskedConvolution(Protocol):
    """``(N,in,H,W) -> (N,out,H,W)``, zero padded, stride 1; sees the raster-order past alone."""

    def __call__(self, x: Tensor) -> Tensor: ...


def convolutions(mask_type: str, data_channels: int, kernels: tuple[int, ...]) -> Any:
    """Configs with ``in_channels`` and ``out_channels`` different multiples of ``data_channels``."""
    multiples = st.sampled_from([(1, 2), (2, 1), (2, 3), (3, 2), (1, 1)])
    return st.builds(
        lambda pair, kernel: MaskedConv2dConfig(
            pair[0] * data_channels, pair[1] * data_channels, kernel, mask_type, data_channels
        ),
        multiples,
        st.sampled_from(kernels),
    )


@st.composite
def image_sizes(draw: st.DrawFn, largest: int = 6) -> tuple[int, int]:
    """``(H, W)``, not square, each from 1 to ``largest``: also smaller than any kernel."""
    height = draw(sizes(1, largest))
    width = draw(sizes(1, largest).filter(lambda size: size != height))
    return height, width


@st.composite
def _images(draw: st.DrawFn, config: MaskedConv2dConfig) -> dict[str, Tensor]:
    batch, size = draw(st.sampled_from([1, 2, 4])), draw(image_sizes())
    return {"x": draw(normals((batch, config.in_channels, *size)))}


add(
    Contract(
        name="masked_conv2d",
        family="autoregressive",
        kind="factory",
        signature="(in_channels, out_channels, kernel_size, mask_type, data_channels) -> "
        "callable (N,in,H,W) -> (N,out,H,W)",
        summary="A convolution of stride 1 and 'same' size that sees the past of raster order, and "
        "at the centre tap the data channels before its own (A), or up to its own (B).",
        protocol=MaskedConvolution,
        config=MaskedConv2dConfig,
        strata=tuple(
            convolutions(mask_type, data_channels, kernels)
            for mask_type in "AB"
            for data_channels in (1, 3)
            for kernels in ((1,), (3,), (5, 7))
        ),
        results={"call": lambda config, x: Result((x.shape[0], config.out_channels, *x.shape[2:]))},
        probes=(
            Probe(
                "call",
                inputs=_images,
                call=lambda subject, inputs: subject(inputs["x"]),
                batched={"x": 0},
                differentiable=("x",),
                guard=False,
            ),
        ),
        warm_up=lambda config: {"x": torch.randn(2, config.in_channels, 4, 5).double()},
    )
)

# Autoregressive models ---------------------------------------------------------------------------


@dataclass(frozen=True)
class AutoregressiveModelConfig:
    """``event_shape`` is ``(D,)`` or ``(C, H, W)``; ``num_classes`` 0 is unconditional."""

    event_shape: tuple[int, ...]
    levels: int
    num_classes: int = 0

    @property
    def dims(self) -> int:
        """D, the number of dimensions of the flattened event."""
        return math.prod(self.event_shape)


class AutoregressiveModel(Protocol):
    r"""``logits`` is required; each of the others is optional.

    ``order`` (long ``(D,)``) and ``receptive_field`` (bool ``(D,D)``) are attributes, properties or
    methods without arguments. ``y`` is passed where the config has classes, and only there.
    """

    def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor: ...

    def log_prob(self, x: Tensor, y: Tensor | None = None) -> Tensor: ...

    def sample(
        self, n: int, y: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor: ...

    def complete(
        self,
        x: Tensor,
        known: Tensor,
        y: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor: ...

    @property
    def order(self) -> Tensor: ...

    @property
    def receptive_field(self) -> Tensor: ...


def _labels(model: Built, y: Tensor | None) -> tuple[Tensor, ...]:
    """The label argument, where there are classes."""
    return (y,) if model.config.num_classes and y is not None else ()


def _number(model: Built, value: Any, shape: tuple[int, ...], member: str) -> Tensor:
    """Checks a real result. Integer inputs give no dtype: a module's parameters do, else it is open."""
    label = f"autoregressive_model's {member}"
    check.that(isinstance(value, Tensor), f"{label} returned a {type(value)}, expected a tensor")
    check.that(
        tuple(value.shape) == shape,
        f"{label} returned shape {tuple(value.shape)}, expected {shape}",
    )
    check.that(value.is_floating_point(), f"{label} returned {value.dtype}, expected real numbers")
    if model.is_module:
        found = {p.dtype for p in model.module.parameters() if p.is_floating_point()}
        wanted = "/".join(map(str, found))
        fits = not found or value.dtype in found
        check.that(fits, f"{label} returned {value.dtype}, while the parameters are {wanted}")
    at = model.handle.device.type
    check.that(value.device.type == at, f"{label} returned a tensor on {value.device}, not on {at}")
    if value.device.type != "meta":
        wrong = value.isnan() | (value == math.inf)
        check.that(
            not wrong.any(), f"{label} holds NaN or +inf: {value.detach()[wrong][:3].tolist()}"
        )
    return value


def logits(model: Built, x: Tensor, y: Tensor | None = None) -> Tensor:
    """``(N, K, *event)``, checked; -inf is the logit of what cannot be."""
    found = model.logits(x, *_labels(model, y))
    shape = (len(x), model.config.levels, *model.config.event_shape)
    return _number(model, found, shape, "logits")


def log_prob(model: Built, x: Tensor, y: Tensor | None = None) -> Tensor:
    """``(N,)`` by the subject's own ``log_prob``, checked."""
    found = model.log_prob(x, *_labels(model, y))
    return _number(model, found, (len(x),), "log_prob")


def _levels(model: Built, found: Tensor, member: str) -> Tensor:
    levels = model.config.levels
    if found.device.type != "meta" and found.numel():
        low, high = int(found.min()), int(found.max())
        check.that(
            0 <= low and high < levels,
            f"{member} returned levels from {low} to {high}, outside [0, {levels})",
        )
    return found


def sample(
    model: Built, n: int, y: Tensor | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """``n`` events by the subject's own sampler, checked to be levels."""
    return _levels(model, model.sample(n, *_labels(model, y), generator=generator), "sample")


def complete(
    model: Built,
    x: Tensor,
    known: Tensor,
    y: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The subject's own completion, checked to be levels."""
    found = model.complete(x, known, *_labels(model, y), generator=generator)
    return _levels(model, found, "complete")


def _drawn(model: Built, inputs: dict[str, Any], draw: Callable[[Any], Tensor]) -> Tensor:
    """``draw`` with a seeded generator where the model is, as numbers that compare by value.

    The audit's ``meta`` device has no generator, and a sampler that reads values gets no further
    there; what it needs of the network is then audited alone.
    """
    device = model.handle.device
    if device.type != "meta":
        return draw(torch.Generator(device).manual_seed(inputs["draw_seed"])).float()
    try:
        return draw(None)
    except SubjectError as failure:
        cause: BaseException | None = failure
        while cause is not None:
            if isinstance(cause, MixedDevices) or "not on the expected device" in str(cause):
                raise
            cause = cause.__cause__
    shape = (1, *model.config.event_shape)
    return logits(model, torch.zeros(shape, dtype=torch.long, device=device), inputs["y"][:1])


VECTORS = tuple((d,) for d in (1, 2, 3, 4, 5))
GREY = ((1, 2, 3), (1, 3, 2), (1, 1, 4), (1, 4, 1), (1, 2, 4), (1, 4, 2))
COLOUR = ((3, 1, 2), (3, 2, 1), (3, 1, 1), (3, 2, 3), (3, 1, 4))


def models(
    events: tuple[tuple[int, ...], ...],
    classes: tuple[int, ...] = (0,),
    levels: tuple[int, ...] = (2, 3, 4, 5),
) -> Any:
    """Configs with one of the event shapes, of the numbers of classes, and of the levels."""
    return st.builds(
        AutoregressiveModelConfig,
        st.sampled_from(events),
        st.sampled_from(levels),
        st.sampled_from(classes),
    )


@st.composite
def _events(draw: st.DrawFn, config: AutoregressiveModelConfig) -> dict[str, Any]:
    batch = draw(st.sampled_from([1, 2, 3]))
    return {
        "x": draw(integers_below(config.levels, (batch, *config.event_shape))),
        "y": draw(integers_below(max(config.num_classes, 1), (batch,))),
    }


@st.composite
def _draws(draw: st.DrawFn, config: AutoregressiveModelConfig) -> dict[str, Any]:
    n = draw(st.sampled_from([1, 2, 3]))
    y = draw(integers_below(max(config.num_classes, 1), (n,)))
    return {"n": n, "y": y, "draw_seed": draw(st.integers(0, 2**31 - 1))}


@st.composite
def _gaps(draw: st.DrawFn, config: AutoregressiveModelConfig) -> dict[str, Any]:
    known = draw(integers_below(2, config.event_shape)).bool()
    return {**draw(_events(config)), "known": known, "draw_seed": draw(st.integers(0, 2**31 - 1))}


add(
    Contract(
        name="autoregressive_model",
        family="autoregressive",
        kind="factory",
        signature="(event_shape, levels, num_classes) -> logits (x long (N,*event), y?) -> "
        "(N,K,*event), and optionally log_prob, sample, complete, order, receptive_field",
        summary="The logits of every dimension given those before it, over K levels.",
        protocol=AutoregressiveModel,
        config=AutoregressiveModelConfig,
        strata=(
            models(VECTORS, (0, 2, 3)),
            models(GREY),
            models(COLOUR),
            models(GREY + COLOUR, (2, 3)),
        ),
        results={
            "sample": lambda config, n, y=None, generator=None: Result(
                (n, *config.event_shape), "long"
            ),
            "complete": lambda config, x, known, y=None, generator=None: Result(
                tuple(x.shape), "long"
            ),
        },
        optional=("log_prob", "sample", "complete", "order", "receptive_field"),
        probes=(
            Probe(
                "logits",
                inputs=_events,
                call=lambda model, i: logits(model, i["x"], i["y"]),
                batched={"x": 0, "y": 0},
                guard=False,
            ),
            Probe(
                "log_prob",
                inputs=_events,
                call=lambda model, i: log_prob(model, i["x"], i["y"]),
                batched={"x": 0, "y": 0},
            ),
            Probe(
                "sample",
                inputs=_draws,
                call=lambda model, i: _drawn(
                    model, i, lambda source: sample(model, i["n"], i["y"], source)
                ),
                deterministic=False,
            ),
            Probe(
                "complete",
                inputs=_gaps,
                call=lambda model, i: _drawn(
                    model, i, lambda source: complete(model, i["x"], i["known"], i["y"], source)
                ),
                deterministic=False,
            ),
        ),
        warm_up=lambda config: {
            "x": torch.randint(config.levels, (4, *config.event_shape)),
            "y": torch.arange(4) % max(config.num_classes, 1),
        },
        exempt={
            "survives_moving": "draws in float32 and in float64 differ; judged by a claim of the "
            "family on logits and log_prob",
        },
    )
)
