r"""Adversarial models: the table, and the rules of each game. Torch is imported when one is built."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spec_tests.train.family import Trainable

if TYPE_CHECKING:
    from spec_tests.train.game import Match

__all__ = ["MODELS", "Contest", "Rules"]


@dataclass(frozen=True)
class Rules:
    """What both sides minimise, and how they take turns."""

    losses: str  # a kind of `gan_losses`
    betas: tuple[float, float] = (0.5, 0.999)  # of both sides' Adam
    critic_steps: int = 1  # before each step of the generator
    penalty: float = 0.0  # weight of the gradient penalty
    cycle: float = 10.0  # weight of the way there and back
    pool: int = 50  # of old translations, shown to the critics again
    match: str = "spec_tests.train.from_noise:FromNoise"
    score_name: str = "energy distance"  # to the validation part; of both domains, added
    standing: str = ""  # the figures of a game say it themselves


@dataclass(frozen=True)
class Contest(Trainable):
    """A game that can be played: its players, their sizes, its rules."""

    family: Rules

    @property
    def modules(self) -> tuple[str, ...]:
        """What it depends on besides its players and the loop."""
        return "adversarial", "game", "fidelity", self.family.match.split(":")[0].split(".")[-1]

    @property
    def match(self) -> Callable[..., Match]:
        """Plays it: called with the players, the rules, a recipe, whether classes, levels."""
        module, _, name = self.family.match.partition(":")
        found: Callable[..., Match] = getattr(importlib.import_module(module), name)
        return found


_PLAYERS = "spec_tests.train.players:"
_DCGAN = {"latent_dim": 32, "features": 28, "doublings": 2}
_RECIPE = {"lr": 5e-4, "clip": 0.0}
MODELS: dict[str, Contest] = {
    "conditional_gan": Contest(
        _PLAYERS + "conditional_dcgan",
        {**_DCGAN, "embed_dim": 10},
        Rules("non_saturating"),
        classes=True,
        recipe=_RECIPE,
    ),
    "cyclegan": Contest(
        _PLAYERS + "cyclegan",
        {"blocks": 1, "features": 7, "critic_features": 12},
        Rules("least_squares", match="spec_tests.train.translation:Translation"),
        recipe={"lr": 2e-3, "clip": 0.0},
    ),
    "dcgan": Contest(_PLAYERS + "dcgan", _DCGAN, Rules("non_saturating"), recipe=_RECIPE),
    "sn_gan": Contest(
        _PLAYERS + "spectral_dcgan",
        _DCGAN,
        Rules("hinge", betas=(0.0, 0.9), critic_steps=2),
        recipe=_RECIPE,
    ),
    "wgan_gp": Contest(
        _PLAYERS + "unnormed_dcgan",
        _DCGAN,
        Rules("wasserstein", betas=(0.0, 0.9), critic_steps=5, penalty=10.0),
        recipe={"lr": 1e-3, "clip": 0.0},
    ),
}
