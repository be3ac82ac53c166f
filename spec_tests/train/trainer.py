r"""What every kind of training shares: the recipe, one move of an optimizer, the average, what to keep."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spec_tests.train.data import Data, Part

__all__ = ["Diverged", "Recipe", "Trainer", "Weights", "copied", "lent"]

Weights = dict[str, Tensor]


class Diverged(Exception):
    """The loss or its gradient is no number any more; the message names the step."""


@dataclass(frozen=True)
class Recipe:
    """How a model is trained; with the data and the sizes it fixes a run of so many steps."""

    seed: int = 0
    batch_size: int = 32
    lr: float = 2e-3
    warmup: int = 100  # steps over which the learning rate grows to its value
    clip: float = 1.0  # the largest norm of the gradient; 0: any
    average: float = 0.995  # of the moving average of the weights; 0: the weights themselves
    keep: str = "best"  # on the validation part; or "last"
    every: int = 100  # steps between evaluations, each of which is followed by a checkpoint


def copied(weights: Weights) -> Weights:
    """Weights of their own memory, without history."""
    return {name: value.detach().clone() for name, value in weights.items()}


class Trainer(ABC):
    """A model being trained, by one player or by two: weights, their average, and what to keep.

    Args:
        model: all that is trained.
        learner: the part of it whose averaged weights are kept.
        optimizers: each moves its own part.
        recipe: how.
        classes: whether the model is told the label.
    """

    def __init__(
        self,
        model: nn.Module,
        learner: nn.Module,
        optimizers: list[torch.optim.Optimizer],
        recipe: Recipe,
        classes: bool,
    ) -> None:
        self.model, self.learner, self.optimizers = model, learner, optimizers
        self.recipe, self.classes = recipe, classes
        self.step, self.seconds = 0, 0.0
        self.device = next(model.parameters()).device
        self.average = copied(self.followed())
        self.kept: Weights = {}
        self.kept_score = self.last_score = math.nan  # on the validation part

    @abstractmethod
    def advance(self, part: Part) -> float:
        """One step of training; returns its loss."""

    @abstractmethod
    def score(self, part: Part) -> float:
        """How far the learner, with the weights that it has now, is from a part; less is better."""

    def followed(self) -> Weights:
        """What is averaged, as it is now."""
        return dict(self.learner.named_parameters())

    def beside(self) -> Weights:
        """What a checkpoint holds besides weights and optimizers."""
        return {}

    def take(self, beside: Weights) -> None:  # noqa: B027, most hold nothing besides
        """Goes on from what a checkpoint holds besides."""

    def seed(self) -> None:
        """Makes every draw of this step a function of the seed and the step."""
        torch.manual_seed(self.recipe.seed * 1_000_003 + self.step)

    def move(self, loss: Tensor, optimizer: torch.optim.Optimizer) -> tuple[float, float]:
        """Moves one optimizer's own parameters; returns the loss and the norm of its gradient.

        Raises:
            Diverged: one of the two is not finite.
        """
        own = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        optimizer.zero_grad(set_to_none=True)
        loss.backward(inputs=own)
        norm = float(nn.utils.clip_grad_norm_(own, self.recipe.clip or math.inf))
        value, step = float(loss.detach()), self.step + 1
        if not (math.isfinite(value) and math.isfinite(norm)):
            raise Diverged(f"at step {step} the loss is {value}, its gradient's norm {norm}")
        for group in optimizer.param_groups:
            group["lr"] = self.recipe.lr * min(1.0, step / max(self.recipe.warmup, 1))
        optimizer.step()
        return value, norm

    @torch.no_grad()
    def follow(self) -> None:
        """Moves the average; it forgets faster at first, when the weights are still far off."""
        decay = min(self.recipe.average, self.step / (10 + self.step))
        for name, value in self.followed().items():
            self.average[name].lerp_(value.detach(), 1 - decay)

    def evaluate(self, data: Data) -> None:
        """Looks at the validation part and keeps the averaged weights if they are to be kept."""
        found = copied(self.learner.state_dict()) | copied(self.average)
        with lent(self.learner, found):
            self.last_score = self.score(data.validation)
        if self.recipe.keep == "last" or not self.kept_score <= self.last_score:
            self.kept, self.kept_score = found, self.last_score


@contextmanager
def lent(model: nn.Module, weights: Weights) -> Iterator[None]:
    """Lends the model other weights for the time of the block."""
    own = copied(model.state_dict())
    model.load_state_dict(weights)
    try:
        yield
    finally:
        model.load_state_dict(own)
