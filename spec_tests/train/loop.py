r"""The training loop: Adam, warm-up, clipped gradients, averaged weights, the best on validation.

Everything random is a function of the seed and the step: the order of the images of the seed and
the epoch, dropout and other draws of the seed and the step. A run that goes on from a checkpoint
is therefore the run that was never interrupted, bit for bit on one machine's CPU.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from spec_tests.train.data import Data, Part
from spec_tests.train.family import Family
from spec_tests.train.trainer import Recipe, Trainer

__all__ = ["Budget", "Recipe", "Training", "batch", "bits_per_dim", "fit", "nats"]


@dataclass(frozen=True)
class Budget:
    """Ends a run at whichever comes first."""

    steps: float = math.inf
    seconds: float = math.inf  # of the process (all its threads), spent in training steps

    def spent(self, training: Trainer) -> float:
        """The part of the budget that is used up; 1 or more ends the run."""
        return max(training.step / self.steps, training.seconds / self.seconds)


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, n: int) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))


def batch(part: Part, size: int, seed: int, step: int) -> Part:
    """The images of one step: each epoch goes through all in an order of its own."""
    size = min(size, len(part))
    epoch, place = divmod(step, len(part) // size)
    return part.at(_order(seed, epoch, len(part))[place * size : (place + 1) * size])


def bits_per_dim(
    nats: Tensor, event_shape: tuple[int, ...], unit: float = math.log(2)
) -> tuple[float, float]:
    """Mean over the items in bits (or another unit) per dimension, and its standard error."""
    bits = nats.double() / (math.prod(event_shape) * unit)
    error = float(bits.std()) / math.sqrt(len(bits)) if len(bits) > 1 else math.nan
    return float(bits.mean()), error


class Training(Trainer):
    """One model that minimises one loss."""

    def __init__(self, model: nn.Module, family: Family, recipe: Recipe, classes: bool) -> None:
        adam = torch.optim.Adam(model.parameters(), lr=recipe.lr)
        super().__init__(model, model, [adam], recipe, classes)
        self.family = family

    def arguments(self, part: Part) -> tuple[Tensor, Tensor | None]:
        """What the model takes for these images."""
        return part.x.to(self.device).long(), part.y.to(self.device) if self.classes else None

    def advance(self, part: Part) -> float:
        """One step of training; returns its loss."""
        self.seed()
        self.model.train()
        images = batch(part, self.recipe.batch_size, self.recipe.seed, self.step)
        loss = self.family.loss(self.model, *self.arguments(images))
        value, _ = self.move(loss, self.optimizers[0])
        self.step += 1
        self.follow()
        return value

    def score(self, part: Part) -> float:
        """The mean of the family's figure."""
        event_shape = tuple(part.x.shape[1:])
        return bits_per_dim(nats(self, part), event_shape, self.family.unit)[0]


@torch.no_grad()
def nats(training: Training, part: Part, size: int = 128, final: bool = False) -> Tensor:
    """(N,), float64: what the model, in evaluation mode, says of every image of the part.

    ``final``: by the family's more expensive figure, if it has one.
    """
    family = training.family
    cost = (final and family.held_out) or family.nats
    torch.manual_seed(training.recipe.seed)
    training.model.eval()
    found = []
    for index in torch.arange(len(part)).split(size):
        x, y = training.arguments(part.at(index))
        found.append(cost(training.model, x, y).double().cpu())
    return torch.cat(found)


def fit(
    training: Trainer,
    data: Data,
    budget: Budget,
    after_step: Callable[[float], None] = lambda loss: None,
    after_evaluation: Callable[[], None] = lambda: None,
) -> None:
    """Trains until the budget is spent; every evaluation, and the end, is a place to go on from.

    Raises:
        Diverged: the loss or its gradient is not finite.
    """
    evaluated = -1
    while budget.spent(training) < 1:
        started = time.process_time()
        loss = training.advance(data.train)
        training.seconds += time.process_time() - started
        after_step(loss)
        if training.step % training.recipe.every == 0:
            training.evaluate(data)
            after_evaluation()
            evaluated = training.step
    if evaluated != training.step:
        training.evaluate(data)
        after_evaluation()
