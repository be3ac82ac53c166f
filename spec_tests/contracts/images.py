r"""The two players of a game over images: who draws them, and who scores them.

Two probes each. In eval mode a result is a function of its inputs. In train mode it may depend on the
batch, on dropout, and on buffers that every call moves (running statistics, power iterations): there
the call works on copies of the buffers, so that it can be repeated. Its derivative in the parameters
is judged in eval mode alone: one power iteration follows the weight, and its gradient by convention
does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from spec_tests.contracts import add
from spec_tests.handle import Built
from spec_tests.registry import Contract, Probe, Result
from spec_tests.strategies import integers_below, normals

__all__ = [
    "LARGE",
    "OBLONG",
    "ODD",
    "SQUARE",
    "DiscriminatorConfig",
    "GeneratorConfig",
    "ImageDiscriminator",
    "ImageGenerator",
    "discriminators",
    "draw_images",
    "draw_latents",
    "evaluated",
    "generators",
    "labelled",
    "settle",
    "trained",
]


@dataclass(frozen=True)
class GeneratorConfig:
    """``num_classes`` 0 is unconditional."""

    latent_dim: int
    channels: int
    height: int
    width: int
    num_classes: int = 0


@dataclass(frozen=True)
class DiscriminatorConfig:
    """``num_classes`` 0 is unconditional."""

    channels: int
    height: int
    width: int
    num_classes: int = 0


class ImageGenerator(Protocol):
    """``(z (N,L), y long (N,)?) -> (N,C,H,W)``; ``y`` is passed where there are classes, only there."""

    def __call__(self, z: Tensor, y: Tensor | None = None) -> Tensor: ...


class ImageDiscriminator(Protocol):
    """``(x (N,C,H,W), y long (N,)?) -> (N,)``; ``y`` is passed where there are classes, only there."""

    def __call__(self, x: Tensor, y: Tensor | None = None) -> Tensor: ...


# Calls -------------------------------------------------------------------------------------------


def labelled(model: Built, inputs: dict[str, Any]) -> tuple[Tensor, ...]:
    """The arguments of a call: the first input, and the labels where there are classes."""
    first, y = inputs.values()
    return (first, y) if model.config.num_classes else (first,)


def draw_latents(config: GeneratorConfig, n: int, scale: float = 1.0) -> dict[str, Any]:
    """``n`` latents and labels from torch's generator, every class in turn."""
    z = scale * torch.randn(n, config.latent_dim, dtype=torch.float64)
    return {"z": z, "y": torch.arange(n) % max(config.num_classes, 1)}


def draw_images(config: DiscriminatorConfig, n: int, scale: float = 1.0) -> dict[str, Any]:
    """``n`` images and labels from torch's generator, every class in turn."""
    size = (n, config.channels, config.height, config.width)
    x = scale * (2 * torch.rand(size, dtype=torch.float64) - 1)
    return {"x": x, "y": torch.arange(n) % max(config.num_classes, 1)}


def settle(model: Built) -> None:
    r"""Three calls in train mode, for what follows the parameters slowly.

    The harness redraws the parameters; power iterations and running statistics still belong to the
    old ones, as they never do in a model that was trained.
    """
    module, handle = model.module, model.handle
    if not any(True for _ in module.buffers()):
        return
    draw = draw_latents if isinstance(model.config, GeneratorConfig) else draw_images
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(31)
        module.train()
        at = next(module.parameters(), torch.empty((), dtype=handle.dtype, device=handle.device))
        for _ in range(3):
            first, y = draw(model.config, 4).values()
            given = labelled(model, {"first": first.to(at), "y": y.to(at.device)})
            handle.guarded(lambda given=given: module(*given))


@contextmanager
def _mode(model: Built, training: bool) -> Iterator[None]:
    """The module in one mode, each of its parts then back in its own; a plain object has none."""
    parts = list(model.module.modules()) if model.is_module else []
    before = [part.training for part in parts]
    try:
        for part in parts[:1]:
            part.train(training)
        yield
    finally:
        for part, was in zip(parts, before, strict=True):
            part.training = was


def evaluated(model: Built, inputs: dict[str, Any]) -> Tensor:
    """The call in eval mode."""
    with _mode(model, training=False):
        found: Tensor = model(*labelled(model, inputs))
    return found


def trained(model: Built, inputs: dict[str, Any]) -> Tensor:
    """The call in train mode, on copies of the buffers."""
    arguments = labelled(model, inputs)
    if not model.is_module:
        return model(*arguments)  # type: ignore[no-any-return]
    module = model.module
    buffers = dict(module.named_buffers())
    lazy = any(isinstance(b, nn.parameter.UninitializedTensorMixin) for b in buffers.values())
    copies = {} if lazy else {name: buffer.clone() for name, buffer in buffers.items()}

    def call(*given: Any) -> Any:
        return torch.func.functional_call(module, copies, given)

    with _mode(model, training=True):
        found: Tensor = model.handle.invoke(call, "call", model.config, arguments, {})
    return found


# What is drawn -----------------------------------------------------------------------------------

SQUARE = ((4, 4), (8, 8))
OBLONG = ((4, 8), (8, 4), (16, 8))
LARGE = ((16, 16), (8, 16))
ODD = ((5, 7), (3, 6), (6, 10))  # for those who can; others say that they cannot


def generators(sizes: Any, classes: tuple[int, ...], latents: tuple[int, ...] = (1, 2, 5)) -> Any:
    """Configs of generators, of one of the sizes and numbers of classes."""
    return st.builds(
        lambda latent, channels, size, count: GeneratorConfig(latent, channels, *size, count),
        st.sampled_from(latents),
        st.sampled_from((1, 3)),
        st.sampled_from(sizes),
        st.sampled_from(classes),
    )


def discriminators(sizes: Any, classes: tuple[int, ...]) -> Any:
    """Configs of discriminators, of one of the sizes and numbers of classes."""
    return st.builds(
        lambda channels, size, count: DiscriminatorConfig(channels, *size, count),
        st.sampled_from((1, 3)),
        st.sampled_from(sizes),
        st.sampled_from(classes),
    )


@st.composite
def _latents(
    draw: st.DrawFn, config: GeneratorConfig, batches: tuple[int, ...], scale: float = 1.0
) -> dict[str, Any]:
    n = draw(st.sampled_from(batches))
    z = draw(normals((n, config.latent_dim), scale))
    return {"z": z, "y": draw(integers_below(max(config.num_classes, 1), (n,)))}


@st.composite
def _images(
    draw: st.DrawFn, config: DiscriminatorConfig, batches: tuple[int, ...]
) -> dict[str, Any]:
    n = draw(st.sampled_from(batches))
    x = draw(normals((n, config.channels, config.height, config.width))).tanh()
    return {"x": x, "y": draw(integers_below(max(config.num_classes, 1), (n,)))}


@st.composite
def _degenerate_images(draw: st.DrawFn, config: DiscriminatorConfig) -> dict[str, Any]:
    """Blank images, and batches of one image over and over, as a collapsed generator draws them."""
    inputs = draw(_images(config, (1, 2, 4)))
    kind = draw(st.sampled_from(["white", "black", "grey", "one image", "two values"]))
    x: Tensor = inputs["x"]
    flat = {"white": 1.0, "black": -1.0, "grey": 0.0}
    if kind in flat:
        inputs["x"] = torch.full_like(x, flat[kind])
    else:
        inputs["x"] = x[:1].expand_as(x).contiguous() if kind == "one image" else x.sign()
    return inputs


def _probes(eval_mode: Any, train_mode: Any, extreme: Any, name: str, batched: Any) -> Any:
    """Train mode comes first: a lazily built module is warmed up by the first probe."""
    return (
        Probe(
            "the call in train mode",
            inputs=train_mode,
            call=trained,
            differentiable=(name,),
            deterministic=False,
            mode_free=False,
            guard=False,
        ),
        Probe(
            "the call in eval mode",
            inputs=eval_mode,
            call=evaluated,
            batched=batched,
            differentiable=(name,),
            parameters=True,
            mode_free=False,
            extreme=extreme,
            guard=False,
        ),
    )


# Batch normalisation cannot be trained on one item, and is ill-conditioned on two.
TRAINING, EVALUATING = (4, 5), (1, 2, 4)

add(
    Contract(
        name="image_generator",
        family="adversarial",
        kind="factory",
        signature="(latent_dim, channels, height, width, num_classes) -> "
        "callable (z (N,L), y long (N,)?) -> (N,C,H,W)",
        summary="Draws an image in [-1, 1] from every latent vector, and from its label where there "
        "are classes; in eval mode a function of the item's own latent and label alone.",
        protocol=ImageGenerator,
        config=GeneratorConfig,
        strata=(
            generators(SQUARE, (0,)),
            generators(OBLONG, (0,)),
            generators(SQUARE + OBLONG, (2, 3)),
            generators(LARGE, (0, 3)),
            generators(ODD, (0, 2)),
        ),
        results={
            "call": lambda config, z, y=None: Result(
                (len(z), config.channels, config.height, config.width)
            )
        },
        probes=_probes(
            lambda config: _latents(config, EVALUATING),
            lambda config: _latents(config, TRAINING),
            lambda config: _latents(config, EVALUATING, 1e3),
            "z",
            {"z": 0, "y": 0},
        ),
        warm_up=lambda config: draw_latents(config, 4),
        settle=settle,
    )
)

add(
    Contract(
        name="image_discriminator",
        family="adversarial",
        kind="factory",
        signature="(channels, height, width, num_classes) -> "
        "callable (x (N,C,H,W), y long (N,)?) -> (N,)",
        summary="Scores images, and their labels where there are classes: raw scores of either sign, "
        "confined to no interval around zero; the rest of the batch may have a say.",
        protocol=ImageDiscriminator,
        config=DiscriminatorConfig,
        strata=(
            discriminators(SQUARE, (0,)),
            discriminators(OBLONG, (0,)),
            discriminators(SQUARE + OBLONG, (2, 3)),
            discriminators(LARGE, (0, 3)),
            discriminators(ODD, (0, 2)),
        ),
        results={"call": lambda config, x, y=None: Result((len(x),))},
        probes=_probes(
            lambda config: _images(config, EVALUATING),
            lambda config: _images(config, TRAINING),
            _degenerate_images,
            "x",
            {},
        ),
        warm_up=lambda config: draw_images(config, 4),
        settle=settle,
    )
)
