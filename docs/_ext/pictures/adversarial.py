r"""The adversarial game: its best discriminator, its value, and what the generator is taught."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pictures.registry import Drawing, picture
from pictures.style import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, heading, panels, say
from reference.adversarial import (
    game_value_at_optimum,
    gan_losses,
    optimal_discriminator,
)


def _bell(x: Tensor, mean: float, scale: float) -> Tensor:
    """Probabilities of a fine grid under a normal density."""
    return (-0.5 * ((x - mean) / scale).square()).softmax(0)


@picture(
    "The best discriminator",
    family="adversarial",
    claims=[
        "optimal_discriminator.formula",
        "optimal_discriminator.half_at_equilibrium",
        "optimal_discriminator.maximises_the_game",
        "theory.gan_value_is_js",
    ],
    name="optimal_discriminator",
)
def best_discriminator() -> Drawing:
    """Data (solid), generator (dashed), and above them the discriminator that plays best."""
    x = torch.linspace(-5, 5, 201, dtype=torch.float64)
    data = 0.5 * _bell(x, -1.5, 0.6) + 0.5 * _bell(x, 1.5, 0.6)
    generators = {
        "one mode missed": _bell(x, 1.5, 0.6),
        "too broad": _bell(x, 0, 2.2),
        "the data itself": data,
    }
    figure, axes = panels(2, 3, 3.4, sharex=True, sharey="row", height_ratios=(1, 1))
    values = []
    for index, (name, fake) in enumerate(generators.items()):
        above, below = axes[index], axes[index + 3]
        d = optimal_discriminator(data, fake)
        values.append(float(game_value_at_optimum(data, fake)))
        above.axhline(0.5, color=GREY, linewidth=0.7)
        above.plot(x, d, color=PURPLE)
        above.set(ylim=(-0.05, 1.05), yticks=(0, 0.5, 1))
        heading(above, name.capitalize(), f"value {values[-1]:.3f}".replace("-", "−"))
        step = float(x[1] - x[0])
        below.fill_between(x, data / step, color=BLUE, alpha=0.18, linewidth=0)
        below.plot(x, data / step, color=BLUE)
        below.plot(x, fake / step, "--", color=ORANGE)
        below.set(xlabel="x", yticks=())
    axes[0].set_ylabel("D*(x)")
    axes[3].set_ylabel("density")
    say(axes[3], -2.1, 0.43, "data", BLUE, ha="center")
    say(axes[3], 2.6, 0.55, "generator", ORANGE)
    alt = (
        "Densities of data with two modes and of three generators, with the best discriminator above "
        f"each. A generator that misses a mode gives the game the value {values[0]:.3f}, one that is "
        f"too broad {values[1]:.3f}; where it equals the data the discriminator is one half "
        f"everywhere and the value is {values[2]:.3f}, minus log 4."
    )
    return Drawing(figure, alt)


@picture(
    "Saturation",
    family="adversarial",
    claims=["gan_losses.generator_gradient", "gan_losses.directions", "gan_losses.stable"],
)
def gradient_saturation() -> Drawing:
    """How hard each loss pulls at a generated point that the discriminator gives the score s."""
    kinds = {
        "minimax": (BLUE, "-", -3.4, 0.28),
        "non_saturating": (ORANGE, "--", -5.9, 1.25),
        "least_squares": (GREEN, "-.", -1.0, 2.65),
        "wasserstein": (PURPLE, ":", 2.6, 1.25),
    }
    score = torch.linspace(-6, 6, 121, dtype=torch.float64, requires_grad=True)
    figure, (panel,) = panels(1, 1, 2.9)
    at = {}
    for kind, (colour, line, x, y) in kinds.items():
        loss = torch.stack([gan_losses(kind).generator_loss(s[None]) for s in score]).sum()
        (slope,) = torch.autograd.grad(loss, score)
        at[kind] = float(slope[20].abs())  # s = -4
        panel.plot(score.detach(), slope.abs(), line, color=colour)
        words = kind.replace("_", "-").replace("wasserstein", "Wasserstein and hinge")
        say(panel, x, y, words.replace("least-squares", "least squares"), colour)
    panel.axvspan(-6, -3, color=GREY, alpha=0.1, linewidth=0)
    say(panel, -5.9, 2.7, "fakes that are\nclearly rejected", INK)
    panel.set(
        xlabel="score s of a generated point", ylabel="|slope of the loss|", ylim=(-0.06, 3.1)
    )
    panel.set(xlim=(-6, 6))
    alt = (
        "Size of the slope of the generator's loss against the score of a fake. At score -4, where a "
        f"fake is rejected, it is {at['minimax']:.3f} for minimax, {at['non_saturating']:.3f} for the "
        f"non-saturating loss, {at['wasserstein']:.0f} for Wasserstein and hinge, and "
        f"{at['least_squares']:.0f} for least squares, beyond the top of the picture."
    )
    return Drawing(figure, alt)


@picture("Dropped modes", family="adversarial", claims=["theory.more_modes_lower_value"])
def mode_dropping() -> Drawing:
    """Data on eight modes; a generator that draws k of them equally often, and its value."""
    modes, data = 8, torch.full((8,), 1 / 8, dtype=torch.float64)
    covered = [torch.arange(modes) < k for k in range(1, modes + 1)]
    values = [float(game_value_at_optimum(data, c.double() / c.sum())) for c in covered]
    angle = torch.arange(modes) * 2 * math.pi / modes
    figure, (panel,) = panels(1, 1, 2.7)
    panel.plot(range(1, 9), values, "-o", color=BLUE, markersize=5)
    panel.axhline(-math.log(4), color=GREY, linewidth=0.9, linestyle="--")
    say(panel, 1, -math.log(4) - 0.06, "−log 4: the generator draws like the data", INK, va="top")
    for k, (which, value) in enumerate(zip(covered, values, strict=True), start=1):
        ring = k + 0.2 * angle.sin(), value + 0.27 + 0.13 * angle.cos()
        for of, fill in ((which, BLUE), (~which, "none")):
            panel.plot(
                ring[0][of], ring[1][of], "o",
                markersize=3.6, color=BLUE, markerfacecolor=fill, markeredgewidth=0.7,
            )  # fmt: skip
    panel.set(xlabel="modes that the generator draws", ylabel="value at the best D")
    panel.set(ylim=(-1.62, 0.08), xticks=range(1, 9))
    alt = (
        "Value of the game against the best discriminator for generators that draw 1 to 8 of the "
        f"data's eight modes, with a ring of dots for each: it falls from {values[0]:.3f} with one mode "
        f"over {values[3]:.3f} with four to {values[7]:.3f}, minus log 4, with all."
    )
    return Drawing(figure, alt)
