r"""What BigGAN adds: filters kept apart, latents without tails, batch normalisation by class."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from hypothesis import strategies as st
from torch import Tensor

from spec_tests.check import Violation
from spec_tests.contracts import add
from spec_tests.contracts.images import evaluated, trained
from spec_tests.handle import Built, Handle
from spec_tests.judge import stratified
from spec_tests.registry import Contract, Probe, Result
from spec_tests.strategies import integers_below, normals, seeded
from spec_tests.tolerance import eps

__all__ = [
    "EVALUATING",
    "LAYOUTS",
    "SHAPES",
    "TRAINING",
    "ClassConditionalBatchNorm",
    "NormConfig",
    "OrthogonalPenalty",
    "TruncatedNormal",
    "defaulting_to",
    "draw_truncated",
    "labelled_images",
    "norms",
    "weights",
]


class OrthogonalPenalty(Protocol):
    r"""``(weight (O,*rest)) -> scalar``: the sum of ``(w_i . w_j)^2`` over all ``i != j``.

    ``w_i`` is ``weight[i]``, flattened: all that leads to one output, as linear layers and
    convolutions store it. Both orders of a pair count, no pair of a filter with itself does, and
    nothing is averaged: BigGAN's Equation 3 with beta = 1, whose columns are the rows here. The
    weight has two dimensions or more and may lie in memory in any order.
    """

    def __call__(self, weight: Tensor) -> Tensor: ...


class TruncatedNormal(Protocol):
    r"""``(shape, threshold, generator) -> (*shape)``: ``N(0, 1)``, given that ``|z| <= threshold``.

    All numbers are independent. What falls outside is drawn again, not moved to the edge.
    ``threshold > 0`` may be infinite; it is judged from 0.04 upwards, the smallest of the paper, so
    that redrawing ends. ``shape`` is a tuple, also ``()`` or with zeros in it. All randomness comes
    from the ``torch.Generator``; the result is a new tensor on its device, in torch's default dtype.
    """

    def __call__(
        self, shape: tuple[int, ...], threshold: float, generator: torch.Generator
    ) -> Tensor: ...


@dataclass(frozen=True)
class NormConfig:
    """C channels, K classes; ``eps`` is under the root, ``momentum`` the weight of a new batch."""

    num_features: int
    num_classes: int
    eps: float = 1e-5
    momentum: float = 0.1


class ClassConditionalBatchNorm(Protocol):
    r"""A module ``(x (N,C,H,W), y long (N,)) -> (N,C,H,W)``: ``gain[y] * normalised x + bias[y]``.

    Normalised is ``(x - mean) / sqrt(variance + eps)``, channel by channel. In training mode mean
    and biased variance are those of the whole batch, over N, H and W, whatever its classes, and
    the running ones move: ``running = (1 - momentum) * running + momentum * batch``, the variance
    unbiased, as in PyTorch. In eval mode the running ones are used and nothing moves. Gain and bias
    belong to class and channel and are the same in both modes; how they are parametrised, where
    they and the running statistics start, and a training batch of one number a channel are open.

    ``gain_and_bias(y) -> (gain (N,C), bias (N,C))`` is optional. The gain is the whole factor: with
    a parametrisation of one plus an embedding, the one is in it.
    """

    def __call__(self, x: Tensor, y: Tensor) -> Tensor: ...

    def gain_and_bias(self, y: Tensor) -> tuple[Tensor, Tensor]: ...


# The orthogonal penalty --------------------------------------------------------------------------

# Linear layers, wide, tall and square; convolutions over one, two and three axes; single rows and
# columns.
SHAPES = (
    (3, 5), (5, 3), (4, 4), (4, 2, 3, 2), (7, 1, 2, 1), (3, 2, 4), (2, 3, 1, 2, 2), (1, 4), (4, 1),
)  # fmt: skip


# Where the numbers may lie in memory: the last axis, the first one, or the channels innermost.
LAYOUTS = (
    *((shape, "rows") for shape in SHAPES),
    ((3, 5), "columns"), ((3, 2, 4), "columns"), ((4, 2, 3, 2), "channels last"),
)  # fmt: skip


@st.composite
def weights(
    draw: st.DrawFn, shape: tuple[int, ...], layout: str = "rows", scale: float = 1.0
) -> Tensor:
    """Normal weights of this shape, in this order in memory."""
    weight = scale * draw(normals(shape))
    if layout == "columns":
        return weight.mT.contiguous().mT
    return weight.contiguous(memory_format=torch.channels_last) if layout != "rows" else weight


@st.composite
def _degenerate(draw: st.DrawFn, shape: tuple[int, ...]) -> dict[str, Tensor]:
    """Dead, equal, tiny and large filters."""
    weight = draw(normals(shape))
    kind = draw(st.sampled_from(["zero", "one dead", "equal", "tiny", "large"]))
    if kind == "one dead":
        weight[-1] = 0
    if kind == "equal":
        weight = weight[:1].expand(shape).clone()
    return {"weight": weight * {"zero": 0.0, "tiny": 1e-12, "large": 1e4}.get(kind, 1.0)}


add(
    Contract(
        name="orthogonal_penalty",
        family="adversarial",
        kind="function",
        signature="(weight (O,*rest)) -> scalar",
        summary="The squared inner products of all pairs of different filters, summed: W W^T, with "
        "one row for each output, without its diagonal.",
        protocol=OrthogonalPenalty,
        results={"call": lambda config, weight: Result(())},
        probes=(
            Probe(
                "call",
                inputs=lambda config: stratified(
                    [st.fixed_dictionaries({"weight": weights(*case)}) for case in LAYOUTS]
                ),
                call=lambda subject, i: subject(i["weight"]),
                differentiable=("weight",),
                extreme=lambda config: stratified([_degenerate(shape) for shape in SHAPES]),
                guard=False,
            ),
        ),
    )
)


# The truncated normal ----------------------------------------------------------------------------


@contextmanager
def defaulting_to(dtype: torch.dtype) -> Iterator[None]:
    """torch's default dtype inside, which must be the same at the end."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
        if torch.get_default_dtype() != dtype:
            raise Violation(
                f"the call changed the default dtype: {dtype} became {torch.get_default_dtype()}"
            )
    finally:
        torch.set_default_dtype(before)


def draw_truncated(
    subject: Handle, shape: tuple[int, ...], threshold: float, generator: torch.Generator
) -> Tensor:
    """One call of the subject, in the dtype that is judged."""
    with defaulting_to(subject.dtype):
        found: Tensor = subject(shape, threshold, generator)
    return found


def _drawn(subject: Handle, inputs: dict[str, Any]) -> Tensor:
    generator = torch.Generator(subject.device).manual_seed(inputs["draw_seed"])
    return draw_truncated(subject, inputs["shape"], inputs["threshold"], generator)


_NO_TENSOR = "no tensor goes in: the device is the generator's, and claims pass one"

add(
    Contract(
        name="truncated_normal",
        family="adversarial",
        kind="function",
        signature="(shape, threshold, generator) -> (*shape)",
        summary="Independent standard normal numbers, drawn again until none lies beyond the "
        "threshold: the latents of the truncation trick.",
        protocol=TruncatedNormal,
        results={"call": lambda config, shape, threshold, generator: Result(tuple(shape))},
        probes=(
            Probe(
                "call",
                inputs=lambda config: st.fixed_dictionaries(
                    {
                        "shape": st.sampled_from([(7,), (3, 4), (2, 1, 5), (1,)]),
                        "threshold": st.sampled_from([0.04, 0.5, 2.0, math.inf]),
                        "draw_seed": st.integers(0, 2**31 - 1),
                    }
                ),
                call=_drawn,
            ),
        ),
        exempt={
            "follows_its_inputs_device": _NO_TENSOR,
            "names_its_devices": _NO_TENSOR,
            "agrees_with_cpu": "generators of two devices draw different numbers",
            "float32_agrees_with_float64": "a generator draws other numbers in another dtype",
        },
    )
)


# Batch normalisation by class --------------------------------------------------------------------

# Batch, height and width; a training batch has two numbers a channel at least.
TRAINING = ((5, 2, 3), (1, 2, 4), (4, 3, 1), (2, 1, 5), (3, 1, 1))
EVALUATING = ((2, 2, 3), (1, 1, 1), (4, 1, 2))


def norms(sizes: tuple[tuple[int, int], ...]) -> st.SearchStrategy[NormConfig]:
    """Configs of one of the numbers of channels and classes, with a guard small or large."""
    return st.builds(
        lambda size, eps, momentum: NormConfig(*size, eps, momentum),
        st.sampled_from(sizes),
        st.sampled_from([1e-5, 1e-3, 0.3]),
        st.sampled_from([0.1, 0.35]),
    )


@st.composite
def labelled_images(
    draw: st.DrawFn, config: NormConfig, sizes: tuple[tuple[int, int, int], ...] = TRAINING
) -> dict[str, Tensor]:
    """Images whose channels, and whose classes, have means and scales of their own; labels."""
    n, height, width = draw(st.sampled_from(sizes))
    source = seeded(draw(st.integers(0, 2**31 - 1)))

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=source, dtype=torch.float64)

    y = draw(integers_below(config.num_classes, (n,)))
    of_class = noise(config.num_classes, config.num_features, 1, 1)[y]
    scale = (0.7 * noise(config.num_features, 1, 1)).exp()
    x = noise(config.num_features, 1, 1) + scale * (
        noise(n, config.num_features, height, width) + of_class
    )
    if draw(st.booleans()):
        x = x.contiguous(memory_format=torch.channels_last)
    return {"x": x, "y": y}


@st.composite
def _degenerate_images(draw: st.DrawFn, config: NormConfig) -> dict[str, Tensor]:
    """Constant channels, small and large, and one item over and over."""
    inputs = draw(labelled_images(config, ((7, 3, 5), (1, 5, 7))))
    x = inputs["x"]
    level = draw(st.sampled_from([0.0, 1e7, 1e9, None]))
    if level is None:
        inputs["x"] = x[:1].expand_as(x).contiguous()
    else:
        inputs["x"] = (level * x[:1, :, :1, :1]).expand_as(x).contiguous()
    return inputs


def _warm_up(config: NormConfig) -> dict[str, Tensor]:
    x = torch.randn(4, config.num_features, 2, 3, dtype=torch.float64)
    return {"x": x, "y": torch.arange(4) % config.num_classes}


def settle(model: Built) -> None:
    r"""Two calls in train mode, and a hundred where the second differs from the first.

    The harness redraws the parameters. A power iteration behind gain and bias (BigGAN's are
    spectrally normalised) follows after some calls, and the running statistics leave their start:
    those of two instances differ, as the batch is drawn from torch's generator.
    """
    module, handle = model.module, model.handle
    with torch.no_grad():
        at = next(module.parameters(), torch.empty((), dtype=handle.dtype, device=handle.device))
        inputs = _warm_up(model.config)
        x, y = inputs["x"].to(at), inputs["y"].to(at.device)
        module.train()
        first, second = (handle.guarded(lambda: module(x, y)) for _ in range(2))
        if float((second - first).abs().max()) > 64 * eps(x.dtype) * float(first.abs().max()):
            for _ in range(98):
                handle.guarded(lambda: module(x, y))


add(
    Contract(
        name="class_conditional_batch_norm",
        family="adversarial",
        kind="factory",
        signature="(num_features, num_classes, eps, momentum) -> module "
        "(x (N,C,H,W), y long (N,)) -> (N,C,H,W); gain_and_bias(y) -> (gain (N,C), bias (N,C))?",
        summary="Batch normalisation with statistics that all classes share, and a gain and a bias "
        "for each class and channel, which act on the items of that class alone.",
        protocol=ClassConditionalBatchNorm,
        config=NormConfig,
        strata=(norms(((3, 2), (2, 4))), norms(((1, 3), (4, 4))), norms(((2, 1), (1, 1)))),
        results={"call": lambda config, x, y: Result(tuple(x.shape))},
        optional=("gain_and_bias",),
        probes=(
            # Train mode comes first: a lazily built module is warmed up by it. Its derivative in the
            # parameters is judged by a claim: a power iteration follows them, its gradient does not.
            Probe(
                "the call in train mode",
                inputs=labelled_images,
                call=trained,
                differentiable=("x",),
                mode_free=False,
                extreme=_degenerate_images,
            ),
            Probe(
                "the call in eval mode",
                inputs=lambda config: labelled_images(config, EVALUATING),
                call=evaluated,
                batched={"x": 0, "y": 0},
                differentiable=("x",),
                parameters=True,
                mode_free=False,
                extreme=_degenerate_images,
            ),
            Probe(
                "gain_and_bias",
                inputs=lambda config: st.sampled_from([1, 3]).flatmap(
                    lambda n: st.fixed_dictionaries({"y": integers_below(config.num_classes, (n,))})
                ),
                call=lambda model, i: tuple(model.gain_and_bias(i["y"])),
                batched={"y": 0},
                parameters=True,
            ),
        ),
        warm_up=_warm_up,
        settle=settle,
    )
)
