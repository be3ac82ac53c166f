r"""The game of translators between two unpaired domains: digits, and digits inverted and turned.

.. code-block:: text

    train    | first half: x | second half: turned, y |     no image has its partner in the game
    held out | x and turned(x): the true partner, which only the report looks at
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from reference.adversarial import cyclegan_loss, exchange_with_pool, gan_losses
from spec_tests.train import fidelity
from spec_tests.train.data import Data, Part
from spec_tests.train.fidelity import Figure, signed
from spec_tests.train.game import Match, Turn
from spec_tests.train.pictures import showcase
from spec_tests.train.trainer import Weights
from spec_tests.train.views import Row, shown

__all__ = ["Translation", "turned", "unturned"]


def turned(x: Tensor) -> Tensor:
    """Ink and paper exchanged, and a quarter turn to the left: from domain x, in [-1, 1], to y."""
    return -x.rot90(1, (2, 3))


def unturned(y: Tensor) -> Tensor:
    """Back from domain y to x."""
    return -y.rot90(-1, (2, 3))


class Translation(Match):
    """Each critic tells its domain's images from translations, new ones and old ones alike."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.pools: Weights = {}  # what each critic may be shown again

    def turns(self, part: Part) -> Iterator[Turn]:
        x, y = self._unpaired(part)
        there, back = self.model.generator.values()
        critic_x, critic_y = self.model.critic.values()
        with torch.no_grad():
            fake_y, fake_x = self._pooled("y", there(x)), self._pooled("x", back(y))
        loss = gan_losses(self.family.losses).discriminator_loss
        yield "critic", loss(critic_x(x), critic_x(fake_x)) + loss(critic_y(y), critic_y(fake_y))
        found = cyclegan_loss(there, back, critic_x, critic_y, x, y, self.family.cycle)
        yield "generator", found.total

    def _unpaired(self, part: Part) -> tuple[Tensor, Tensor]:
        """A batch of either domain, each from a half of its own, in an order of its own."""
        half, size, seed = len(part) // 2, self.recipe.batch_size, 2 * self.recipe.seed
        one, other = Part(part.x[:half], part.y[:half]), Part(part.x[half:], part.y[half:])
        x, _ = self.real(one, size, seed, self.step)
        y, _ = self.real(other, size, seed + 1, self.step)
        return x, turned(y)

    def _pooled(self, domain: str, images: Tensor) -> Tensor:
        pool = self.pools.get(domain, images[:0])
        mixed, self.pools[domain] = exchange_with_pool(pool, images, self.family.pool)
        return mixed

    def beside(self) -> Weights:
        """The curves and the pools."""
        return super().beside() | {f"pool_{domain}": x for domain, x in self.pools.items()}

    def take(self, beside: Weights) -> None:
        """Goes on with the curves and the pools."""
        super().take(beside)
        self.pools = {
            name.removeprefix("pool_"): value.to(self.device)
            for name, value in beside.items()
            if name.startswith("pool_")
        }

    @torch.no_grad()
    def translate(self, way: str, images: Tensor) -> Tensor:
        """Images in [-1, 1], translated ``x_to_y`` or ``y_to_x``."""
        found: Tensor = self.model.generator.eval()[way](images.to(self.device))
        return found.cpu()

    def _levels(self, images: Tensor) -> Tensor:
        return shown((images + 1) / 2, tuple(images.shape[1:]), self.levels)

    def score(self, part: Part) -> float:
        """The energy distances of both domains, added; no image's partner is looked at."""
        x = signed(part.x, self.levels)
        return sum(
            fidelity.energy_distance(self._levels(drawn), self._levels(real), self.levels)
            for drawn, real in (
                (self.translate("x_to_y", x), turned(x)),
                (self.translate("y_to_x", turned(x)), x),
            )
        )

    def figures(self, data: Data) -> list[Figure]:
        """Translations of held-out images beside their true partners, then training images there.

        Training images in the place of translations are partners of nobody's: what they give is the
        figure of a translator into the right domain that forgets what it was given.
        """
        x, other = (signed(part.x, self.levels) for part in (data.held_out, data.train))
        y, n = turned(x), min(len(x), len(other))
        there, back = self.translate("x_to_y", x), self.translate("y_to_x", y)
        x_again, y_again = self.translate("y_to_x", there), self.translate("x_to_y", back)
        read = fidelity.reader(data)

        def apart(one: Tensor, two: Tensor) -> float:
            """Pixel by pixel."""
            return float((one[:n] - two[:n]).abs().mean())

        def far(one: Tensor, two: Tensor) -> float:
            return fidelity.energy_distance(self._levels(one), self._levels(two), self.levels)

        def label(images: Tensor) -> float:
            """How many are read as their origin's label."""
            return float((read(self._levels(images)) == data.held_out.y).double().mean())

        strange, strange_y = apart(other, x), apart(turned(other), y)
        return [
            Figure("energy distance, x to y", far(there, y), far(turned(other[:n]), y)),
            Figure("energy distance, y to x", far(back, x), far(other[:n], x)),
            Figure("there and back, x", apart(x_again, x), strange),
            Figure("there and back, y", apart(y_again, y), strange_y),
            Figure("to the true partner, x to y", apart(there, y), strange_y),
            Figure("to the true partner, y to x", apart(back, x), strange),
            Figure("label kept, x to y", label(unturned(there)), label(x)),
            Figure("label kept, y to x", label(back), label(x)),
        ]

    def rows(self, data: Data, columns: int) -> list[Row]:
        """Held-out images there and back from either domain, each above its true partner."""
        x = signed(showcase(data, columns)[0][1], self.levels)
        rows = []
        for start, end, ways in (
            (x, turned(x), ("x_to_y", "y_to_x")),
            (turned(x), x, ("y_to_x", "x_to_y")),
        ):
            names = ("x", "G(x)", "F(G(x))") if start is x else ("y", "F(y)", "G(F(y))")
            there = self.translate(ways[0], start)
            images = (start, there, self.translate(ways[1], there), end)
            rows += zip((*names, "partner"), map(self._levels, images), strict=True)
        return rows
