r"""The loop of two players: each moves its own parameters, in turn, and both are watched.

Only the generator's weights are averaged and kept: with its batch statistics, averaged likewise,
since those of the last batches are those of other weights.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from spec_tests.train.adversarial import Rules
from spec_tests.train.data import Data, Part
from spec_tests.train.fidelity import Figure, signed
from spec_tests.train.loop import batch
from spec_tests.train.players import Players
from spec_tests.train.trainer import Recipe, Trainer, Weights
from spec_tests.train.views import Row

__all__ = ["Match", "Turn"]

Turn = tuple[str, Tensor]  # the side that moves, and its loss


class Match(Trainer):
    """A game being played; a kind of game says what the turns are and what is looked at."""

    SIDES: ClassVar = ("critic", "generator")
    model: Players

    def __init__(
        self, model: Players, family: Rules, recipe: Recipe, classes: bool, levels: int
    ) -> None:
        adams = [
            torch.optim.Adam(getattr(model, side).parameters(), lr=recipe.lr, betas=family.betas)
            for side in self.SIDES
        ]
        super().__init__(model, model.generator, [*adams], recipe, classes)
        self.family, self.levels = family, levels
        self.curves: list[list[float]] = []  # loss and gradient norm of each side, step by step

    @abstractmethod
    def turns(self, part: Part) -> Iterator[Turn]:
        """Gives each side's loss when the other one has moved."""

    @abstractmethod
    def figures(self, data: Data) -> list[Figure]:
        """What is reported of the held-out part."""

    @abstractmethod
    def rows(self, data: Data, columns: int) -> list[Row]:
        """The rows of the picture."""

    def advance(self, part: Part) -> float:
        """One round: the critic's turns and the generator's; returns the critic's mean loss."""
        self.seed()
        self.model.train()
        moves: dict[str, list[tuple[float, float]]] = {side: [] for side in self.SIDES}
        for side, loss in self.turns(part):
            moves[side].append(self.move(loss, self.optimizers[self.SIDES.index(side)]))
        self.step += 1
        self.follow()
        means = [
            sum(column) / len(column) for s in self.SIDES for column in zip(*moves[s], strict=True)
        ]
        self.curves.append(means)
        return means[0]

    def followed(self) -> Weights:
        """The generator's weights and its batch statistics."""
        state = self.learner.state_dict()
        return {name: value for name, value in state.items() if value.is_floating_point()}

    def beside(self) -> Weights:
        """The curves."""
        return {"curves": torch.tensor(self.curves, dtype=torch.float64).view(-1, 4)}

    def take(self, beside: Weights) -> None:
        """Goes on with the curves."""
        self.curves = beside["curves"].tolist()

    def real(
        self, part: Part, size: int, seed: int, step: int
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The images of one turn in [-1, 1], and their labels if the players are told."""
        images = batch(part, size, seed, step)
        given = (images.y.to(self.device),) if self.classes else ()
        return signed(images.x, self.levels).to(self.device), given
