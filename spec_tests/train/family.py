r"""What training needs to know of a kind of model (`Family`), and of one model (`Trainable`).

Torch is imported when a model is built, so that ``genspec --help`` stays quick.
"""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from spec_tests.registry import UsageError, nearest

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from spec_tests.train.data import Data

__all__ = ["Family", "Trainable", "uniform"]

_EVENT = ("event_shape", "levels", "num_classes")
_BITS = "bits per dimension"


def uniform(model: nn.Module, data: Data) -> list[tuple[str, str]]:
    """What equal probabilities for all levels cost, exactly."""
    return [("uniform", f"{math.log2(data.levels):.3f} = log2 {data.levels}")]


@dataclass(frozen=True)
class Family:
    """How one kind of model is trained, evaluated and shown.

    ``x`` is long (N, C, H, W); ``y`` is long (N,), or None for a model without classes. A row is
    what it shows and its images: (str, long (N, C, H, W)); -1 is shown as unknown.
    """

    loss: Callable[[nn.Module, Tensor, Tensor | None], Tensor]  # of the batch, to be minimised
    nats: Callable[[nn.Module, Tensor, Tensor | None], Tensor]
    """(N,), a cost summed over the dimensions: minus log p(x | y), or what `score_name` says."""
    sample: Callable[[nn.Module, int, Tensor | None, torch.Generator], Tensor] | None = None
    complete: (
        Callable[[nn.Module, Tensor, Tensor, Tensor | None, torch.Generator], Tensor] | None
    ) = None
    reconstruct: Callable[[nn.Module, Tensor, torch.Generator], list[tuple[str, Tensor]]] | None = (
        None  # rows that go with those images, column by column
    )
    traverse: Callable[[nn.Module, Tensor, torch.Generator], list[tuple[str, Tensor]]] | None = (
        None  # rows that lead from one code to another
    )
    held_out: Callable[[nn.Module, Tensor, Tensor | None], Tensor] | None = None
    """A more expensive `nats` for the held-out part, where there is one."""
    beside: Callable[[nn.Module, Data], list[tuple[str, str]]] = uniform  # figures to compare with
    score_name: str = _BITS
    unit: float = math.log(2)  # of the score, in units of `nats` for each dimension
    digits: int = 3  # of the score, after the point
    bound: bool = False  # `nats` is an upper bound, not the value itself
    note: str = ""  # how the figure was got, in a few words

    @property
    def standing(self) -> str:
        """What is said after the figure and its name."""
        if self.score_name.startswith(_BITS):
            words = ["at most" if self.bound else "exactly", self.note]
        else:
            words = [self.note]
        return "".join(f", {word}" for word in words if word)


@dataclass(frozen=True)
class Trainable:
    """A model that can be trained: where its class is, and its sizes unless others are given."""

    place: str  # "package.module:Class"
    size: Mapping[str, Any]
    family: Family
    classes: bool = False  # always conditioned on the label; otherwise when asked to
    recipe: Mapping[str, Any] = field(default_factory=dict)  # where it is not `Recipe`'s own

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
