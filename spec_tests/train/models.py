r"""What can be trained: a table of names, open to every family.

A trainable is a class, the sizes that give it about sixty thousand parameters on the digits, and a
family that says how such a model is trained, evaluated and sampled. Torch is imported when a model
is built, so that ``genspec --help`` stays quick.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from spec_tests.registry import UsageError, nearest

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

__all__ = ["AUTOREGRESSIVE", "TRAINABLES", "Family", "Trainable", "trainable"]

_EVENT = ("event_shape", "levels", "num_classes")


@dataclass(frozen=True)
class Family:
    """How one kind of model is trained, evaluated and sampled.

    ``x`` is long (N, C, H, W); ``y`` is long (N,), or None for a model without classes.
    """

    loss: Callable[[nn.Module, Tensor, Tensor | None], Tensor]  # nats per item, to be minimised
    nats: Callable[[nn.Module, Tensor, Tensor | None], Tensor]  # (N,), minus log p(x | y)
    sample: Callable[[nn.Module, int, Tensor | None, torch.Generator], Tensor]
    complete: (
        Callable[[nn.Module, Tensor, Tensor, Tensor | None, torch.Generator], Tensor] | None
    ) = None
    bound: bool = False  # `nats` is an upper bound, not the value itself


def _given(y: Tensor | None) -> tuple[Tensor, ...]:
    """The label as arguments: models without classes need not take one."""
    return () if y is None else (y,)


def _nats(model: Any, x: Tensor, y: Tensor | None) -> Tensor:
    log_prob: Tensor = model.log_prob(x, *_given(y))
    return -log_prob


def _sample(model: Any, n: int, y: Tensor | None, generator: torch.Generator) -> Tensor:
    drawn: Tensor = model.sample(n, *_given(y), generator=generator)
    return drawn


def _complete(
    model: Any, x: Tensor, known: Tensor, y: Tensor | None, generator: torch.Generator
) -> Tensor:
    drawn: Tensor = model.complete(x, known, *_given(y), generator=generator)
    return drawn


AUTOREGRESSIVE = Family(
    loss=lambda model, x, y: _nats(model, x, y).mean(),
    nats=_nats,
    sample=_sample,
    complete=_complete,
)


@dataclass(frozen=True)
class Trainable:
    """A model that can be trained: where its class is, and its sizes unless others are given."""

    place: str  # "package.module:Class"
    size: Mapping[str, Any] = field(default_factory=dict)
    classes: bool = False  # always conditioned on the label; otherwise when asked to
    family: Family = AUTOREGRESSIVE

    @property
    def builder(self) -> Callable[..., nn.Module]:
        """The class, called with ``event_shape``, ``levels``, perhaps ``num_classes``, and sizes."""
        module, _, name = self.place.partition(":")
        found: Callable[..., nn.Module] = getattr(importlib.import_module(module), name)
        return found

    def sizes(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Every size of the model, those given and the table's for the others.

        Raises:
            UsageError: the model has no such size.
        """
        known = [n for n in inspect.signature(self.builder).parameters if n not in _EVENT]
        for name in given:
            if name not in known:
                raise UsageError(f"--size {name}: {self.place} has none{nearest(name, known)}")
        return {**self.size, **given}

    def build(
        self, event_shape: tuple[int, ...], levels: int, num_classes: int, size: Mapping[str, Any]
    ) -> nn.Module:
        """A fresh model, drawn from torch's own generator.

        Raises:
            UsageError: it cannot be conditioned on a class, or does not accept its sizes.
        """
        classes = {"num_classes": num_classes}
        if "num_classes" not in inspect.signature(self.builder).parameters:
            if num_classes:
                raise UsageError(f"--classes: {self.place} cannot be conditioned on a label")
            classes = {}
        try:
            return self.builder(event_shape=event_shape, levels=levels, **classes, **size)
        except ValueError as problem:
            raise UsageError(f"{self.place} refuses its sizes: {problem}") from problem


_AR = "reference.autoregressive."
_TRANSFORMER = {"embed_dim": 48, "num_heads": 4, "hidden": 96, "layers": 3}
TRAINABLES: dict[str, Trainable] = {
    "conditional_pixelcnn": Trainable(
        _AR + "conditional:ConditionalPixelCNN", {"hidden": 24, "head": 64, "layers": 4}, True
    ),
    "diagonal_bilstm": Trainable(
        _AR + "diagonal_bilstm:DiagonalBiLSTM", {"hidden": 28, "head": 64, "layers": 2}
    ),
    "fvbn": Trainable(_AR + "fvbn:FullyVisibleBeliefNetwork"),  # has no sizes: 1.2 million
    "gated_pixelcnn": Trainable(
        _AR + "gated_pixelcnn:GatedPixelCNN", {"hidden": 24, "head": 64, "layers": 4}
    ),
    "image_transformer": Trainable(
        _AR + "image_transformer:ImageTransformer", {**_TRANSFORMER, "block": 16}
    ),
    "image_transformer_2d": Trainable(
        _AR + "image_transformer:ImageTransformer",
        {**_TRANSFORMER, "block": [4, 4], "halo": [2, 2]},
    ),
    "made": Trainable(_AR + "made:MADE", {"hidden": [27]}),
    "multiscale_pixelcnn": Trainable(
        _AR + "multiscale:MultiscalePixelCNN",
        {"factor": 2, "maps": 8, "hidden": 17, "head": 64, "layers": 4},
    ),
    "nade": Trainable(_AR + "nade:NADE", {"hidden": 27}),
    "pixel_transformer": Trainable(_AR + "pixel_transformer:PixelTransformer", _TRANSFORMER),
    "pixelcnn": Trainable(_AR + "pixelcnn:PixelCNN", {"hidden": 28, "head": 64, "blocks": 5}),
    "pixelcnn_pp": Trainable(
        _AR + "pixelcnn_pp:PixelCNNPlusPlus",
        {"hidden": 13, "components": 5, "blocks": 1, "resolutions": 2},
    ),
    "pixelsnail": Trainable(
        _AR + "pixelsnail:PixelSNAIL",
        {"hidden": 24, "keys": 8, "values": 24, "components": 5, "blocks": 3},
    ),
    "row_lstm": Trainable(_AR + "row_lstm:RowLSTM", {"hidden": 26, "head": 64, "layers": 2}),
}


def trainable(name: str) -> Trainable:
    """The table's entry.

    Raises:
        UsageError: there is none; the message names the nearest and lists all.
    """
    if name not in TRAINABLES:
        hint = nearest(name, list(TRAINABLES))
        known = "" if hint.startswith("; known") else f"; known: {', '.join(sorted(TRAINABLES))}"
        raise UsageError(f"unknown model {name!r}{hint}{known}")
    return TRAINABLES[name]
