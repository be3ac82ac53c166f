r"""The Dirac-GAN: the smallest game, whose training dynamics fit in a plane."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pictures.registry import Drawing, picture
from pictures.style import BLUE, GREY, INK, ORANGE, arrows, heading, panels
from reference.adversarial import dirac_gan_field, follow_field

STEP, CLIP = 0.1, 1.0


def _clipped(state: Tensor) -> Tensor:
    """The Wasserstein field, stopped where the critic's slope would leave [-1, 1]."""
    field = dirac_gan_field(state, "wasserstein")
    slope = (state[..., 1] + STEP * field[..., 1]).clamp(-CLIP, CLIP)
    return torch.stack([field[..., 0], (slope - state[..., 1]) / STEP], -1)


@picture(
    "Phase portraits of the Dirac-GAN",
    family="adversarial",
    claims=["theory.dirac_gan_trajectories", "theory.dirac_gan"],
)
def dirac_gan() -> Drawing:
    """Gradient steps of both players at once from the circle; the cross is the equilibrium."""
    games: dict[str, Callable[[Tensor], Tensor]] = {
        "GAN": lambda s: dirac_gan_field(s, "gan"),
        "Non-saturating GAN": lambda s: dirac_gan_field(s, "non_saturating"),
        "WGAN, clipped": _clipped,
        "WGAN, gradient penalty": lambda s: dirac_gan_field(s, "wasserstein_gp"),
        "GAN with R1": lambda s: dirac_gan_field(s, "r1", 0.5),
        "GAN, instance noise": lambda s: dirac_gan_field(s, "instance_noise", 1.0),
    }
    start = torch.tensor([1.3, 0.0], dtype=torch.float64)
    side = torch.linspace(-1.8, 1.8, 7, dtype=torch.float64)
    grid = torch.cartesian_prod(side, side)
    figure, axes = panels(2, 3, 5.2, sharex=True, sharey=True)
    ends = []
    for panel, (name, field) in zip(axes, games.items(), strict=True):
        flow = field(grid)
        arrows(panel, grid, 0.5 * flow / (flow.norm(dim=-1, keepdim=True) + 0.3), GREY)
        path = follow_field(field, start, STEP, 400)
        panel.plot(*path.T, color=BLUE, linewidth=1.3)
        panel.plot(*start, "o", color=BLUE, markersize=6)
        panel.plot(*path[-1], "s", color=ORANGE, markersize=6)
        panel.plot(0, 0, "+", color=INK, markersize=9, markeredgewidth=1.6)
        ends.append(f"{name} at {path[-1].norm():.2f}")
        heading(panel, name, f"after 400 steps: {path[-1].norm():.2f} away")
        panel.set(xlim=(-2.1, 2.1), ylim=(-2.1, 2.1), aspect="equal")
        panel.set(xticks=(-2, 0, 2), yticks=(-2, 0, 2))
    for panel in axes[3:]:
        panel.set_xlabel("generator θ")
    for panel in axes[::3]:
        panel.set_ylabel("critic's slope ψ")
    alt = (
        "Six phase portraits of generator against discriminator, each with a path of 400 gradient "
        f"steps that starts 1.3 from the equilibrium. Distances at the end: {', '.join(ends)}."
    )
    return Drawing(figure, alt)
