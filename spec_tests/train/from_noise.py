r"""Games whose generator draws images from noise, told the label or not."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from reference.adversarial import gan_losses, gradient_penalty, slerp
from spec_tests.train import fidelity
from spec_tests.train.data import Data, Part
from spec_tests.train.fidelity import Figure
from spec_tests.train.game import Match, Turn
from spec_tests.train.pictures import showcase
from spec_tests.train.views import Row, shown

__all__ = ["FromNoise"]


class FromNoise(Match):
    """The critic tells images of the data from those that the generator makes of normal noise."""

    def turns(self, part: Part) -> Iterator[Turn]:
        rules, recipe = self.family, self.recipe
        for turn in range(rules.critic_steps):
            step = rules.critic_steps * self.step + turn
            x, given = self.real(part, recipe.batch_size, recipe.seed, step)
            yield "critic", self._critic_loss(x, given)
        fake = self.model.generator(self._noise(len(x)), *given)
        generator_loss = gan_losses(rules.losses).generator_loss
        yield "generator", generator_loss(self.model.critic(fake, *given))

    def _critic_loss(self, x: Tensor, given: tuple[Tensor, ...]) -> Tensor:
        def critic(images: Tensor) -> Tensor:
            scores: Tensor = self.model.critic(images, *given)
            return scores

        with torch.no_grad():
            fake = self.model.generator(self._noise(len(x)), *given)
        loss = gan_losses(self.family.losses).discriminator_loss(critic(x), critic(fake))
        if self.family.penalty:
            loss = loss + self.family.penalty * gradient_penalty(critic, x, fake)
        return loss

    def _noise(self, n: int) -> Tensor:
        return torch.randn(n, self.model.latent_dim).to(self.device)

    @torch.no_grad()
    def draw(self, z: Tensor, y: Tensor) -> Tensor:
        """(N, C, H, W): the levels that the generator makes of noise, for labels if it is told."""
        given = (y.to(self.device),) if self.classes else ()
        images = self.model.generator.eval()(z.to(self.device), *given).cpu()
        return shown((images + 1) / 2, tuple(images.shape[1:]), self.levels)

    def _fixed_noise(self, n: int) -> Tensor:
        """The same for every evaluation of a run."""
        generator = torch.Generator().manual_seed(self.recipe.seed)
        return torch.randn(n, self.model.latent_dim, generator=generator)

    def score(self, part: Part) -> float:
        """The energy distance of as many images as the part has."""
        drawn = self.draw(self._fixed_noise(len(part)), part.y)
        return fidelity.energy_distance(drawn, part.x, self.levels)

    def figures(self, data: Data) -> list[Figure]:
        """Drawn images, one for each held-out one and with its label, against held-out ones."""
        drawn = self.draw(self._fixed_noise(len(data.held_out)), data.held_out.y)
        found = fidelity.compared(drawn, data)
        if self.classes:
            read = fidelity.reader(data)
            right = [
                float((read(x) == data.held_out.y).double().mean())
                for x in (drawn, data.held_out.x)
            ]
            found.append(Figure("read as the label asked for", *right))
        return found

    def rows(self, data: Data, columns: int) -> list[Row]:
        """Held out, samples, and a walk through the latent space.

        Told the label, a column is a label, and the walk leads down from one latent to another;
        otherwise each row of the walk leads from its left end to its right one.
        """
        held_out = showcase(data, columns)
        y = torch.arange(columns) % data.num_classes
        samples = [
            ("samples", self.draw(z, y)) for z in self._fixed_noise(4 * columns).split(columns)
        ]
        return [*held_out, *samples, *(self._down(y) if self.classes else self._across(columns))]

    def _down(self, y: Tensor) -> list[Row]:
        start, end = self._fixed_noise(2).split(1)
        walk = (slerp(start, end, t / 4).expand(len(y), -1) for t in range(5))
        return [("one latent", self.draw(z, y)) for z in walk]

    def _across(self, columns: int) -> list[Row]:
        ends = self._fixed_noise(6).split(2)
        steps = range(columns)
        walks = (
            torch.cat([slerp(z[:1], z[1:], t / max(columns - 1, 1)) for t in steps]) for z in ends
        )
        return [("between", self.draw(z, torch.zeros(columns).long())) for z in walks]
