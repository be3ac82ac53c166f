r"""The training loop: Adam, warm-up, clipped gradients, averaged weights, the best on validation.

Everything random is a function of the seed and the step: the order of the images of the seed and
the epoch, dropout and other draws of the seed and the step. A run that goes on from a checkpoint
is therefore the run that was never interrupted, bit for bit on one machine's CPU.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from spec_tests.train.data import Data, Part
from spec_tests.train.models import Family

__all__ = ["Budget", "Diverged", "Recipe", "Training", "bits_per_dim", "fit", "nats"]

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
    clip: float = 1.0  # the largest norm of the gradient
    average: float = 0.995  # of the moving average of the weights; 0: the weights themselves
    keep: str = "best"  # on the validation part; or "last"
    every: int = 100  # steps between evaluations, each of which is followed by a checkpoint


@dataclass(frozen=True)
class Budget:
    """Ends a run at whichever comes first."""

    steps: float = math.inf
    seconds: float = math.inf  # of the process (all its threads), spent in training steps

    def spent(self, training: Training) -> float:
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


def bits_per_dim(nats: Tensor, event_shape: tuple[int, ...]) -> tuple[float, float]:
    """Mean over the items in bits per dimension, and its standard error."""
    bits = nats.double() / (math.prod(event_shape) * math.log(2))
    error = float(bits.std()) / math.sqrt(len(bits)) if len(bits) > 1 else math.nan
    return float(bits.mean()), error


def copied(weights: Weights) -> Weights:
    """Weights of their own memory, without history."""
    return {name: value.detach().clone() for name, value in weights.items()}


class Training:
    """A model being trained: its weights, their average, the optimizer, and what to keep."""

    def __init__(self, model: nn.Module, family: Family, recipe: Recipe, classes: bool) -> None:
        self.model, self.family, self.recipe, self.classes = model, family, recipe, classes
        self.step, self.seconds = 0, 0.0
        self.device = next(model.parameters()).device
        self.optimizer = torch.optim.Adam(model.parameters(), lr=recipe.lr)
        self.average: Weights = copied(dict(model.named_parameters()))
        self.kept: Weights = {}
        self.kept_bits = self.last_bits = math.nan  # on the validation part

    def arguments(self, part: Part) -> tuple[Tensor, Tensor | None]:
        """What the model takes for these images."""
        return part.x.to(self.device).long(), part.y.to(self.device) if self.classes else None

    def advance(self, part: Part) -> float:
        """One step of training; returns its loss, nats per item."""
        recipe, step = self.recipe, self.step
        torch.manual_seed(recipe.seed * 1_000_003 + step)
        self.model.train()
        images = batch(part, recipe.batch_size, recipe.seed, step)
        loss = self.family.loss(self.model, *self.arguments(images))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip)
        value = float(loss.detach())
        if not (math.isfinite(value) and math.isfinite(float(norm))):
            raise Diverged(f"at step {step + 1} the loss is {value}, its gradient's norm {norm}")
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.lr * min(1.0, (step + 1) / max(recipe.warmup, 1))
        self.optimizer.step()
        self.step += 1
        self._follow()
        return value

    @torch.no_grad()
    def _follow(self) -> None:
        """Moves the average; it forgets faster at first, when the weights are still far off."""
        decay = min(self.recipe.average, self.step / (10 + self.step))
        for name, parameter in self.model.named_parameters():
            self.average[name].lerp_(parameter.detach(), 1 - decay)

    def evaluate(self, data: Data) -> None:
        """Looks at the validation part and keeps the averaged weights if they are to be kept."""
        found = copied(self.model.state_dict()) | copied(self.average)
        with lent(self.model, found):
            self.last_bits, _ = bits_per_dim(nats(self, data.validation), data.event_shape)
        if self.recipe.keep == "last" or not self.kept_bits <= self.last_bits:
            self.kept, self.kept_bits = found, self.last_bits


@contextmanager
def lent(model: nn.Module, weights: Weights) -> Iterator[None]:
    """Lends the model other weights for the time of the block."""
    own = copied(model.state_dict())
    model.load_state_dict(weights)
    try:
        yield
    finally:
        model.load_state_dict(own)


@torch.no_grad()
def nats(training: Training, part: Part, size: int = 128) -> Tensor:
    """(N,), float64: what the model, in evaluation mode, says of every image of the part."""
    torch.manual_seed(training.recipe.seed)
    training.model.eval()
    found = []
    for index in torch.arange(len(part)).split(size):
        x, y = training.arguments(part.at(index))
        found.append(training.family.nats(training.model, x, y).double().cpu())
    return torch.cat(found)


def fit(
    training: Training,
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
