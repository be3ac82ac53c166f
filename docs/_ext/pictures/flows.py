r"""What a flow does to space, and so to a density."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pictures.registry import Drawing, picture
from pictures.style import BLUE, GREY, ORANGE, density, heading, panels
from reference.flows import RealNVP


def _crescent(count: int) -> Tensor:
    """Points along half a circle, with noise."""
    angle = math.pi * (torch.rand(count) - 0.1)
    arc = 1.7 * torch.stack([angle.cos(), angle.sin()], 1) - torch.tensor([0.0, 0.8])
    return arc + 0.22 * torch.randn(count, 2)


@picture(
    "A flow bends a grid",
    family="flows",
    claims=[
        "flow.log_prob_change_of_variables",
        "flow.bijection",
        "flow.log_det_is_jacobian",
        "flow.density_integrates_to_one",
        "theory.realnvp_is_triangular",
    ],
)
def flow_grid() -> Drawing:
    """A RealNVP, trained for a moment: its inverse takes the straight grid to the bent one."""
    flow = RealNVP(2, layers=6, hidden=32)
    optimiser = torch.optim.Adam(flow.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=0.02, total_steps=300)
    for _ in range(300):
        loss = -flow.log_prob(_crescent(256)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    figure, (left, right) = panels(1, 2, 3.6)
    at, along = torch.linspace(-1.8, 1.8, 7), torch.linspace(-1.8, 1.8, 49)
    axis = torch.linspace(-3, 3, 44)
    x, y = torch.meshgrid(axis, axis, indexing="xy")
    points = torch.stack([x, y], -1).view(-1, 2)
    normal = (-0.5 * points.square().sum(1)).exp() / (2 * math.pi)
    with torch.no_grad():
        modelled = flow.log_prob(points).exp()
        for level in at:
            for line in ([level.expand(49), along], [along, level.expand(49)]):
                straight = torch.stack(line, 1)
                left.plot(*straight.T, color=GREY, linewidth=0.8)
                right.plot(*flow.inverse(straight).T, color=GREY, linewidth=0.8)
        drawn = torch.randn(100, 2)
        left.plot(*drawn.T, ".", color=ORANGE, markersize=3.5)
        right.plot(*flow.inverse(drawn).T, ".", color=ORANGE, markersize=3.5)
        held_out = float(flow.log_prob(_crescent(2000)).mean())
    area = float(axis[1] - axis[0]) ** 2
    for panel, values in ((left, normal), (right, modelled)):
        levels = [float(values.max()) * share for share in (0.05, 0.2, 0.4, 0.6, 0.8)]
        density(panel, axis, axis, values.view(44, 44), BLUE, levels)
        panel.set(xlim=(-2.7, 2.7), ylim=(-2.7, 2.7), aspect="equal")
    heading(left, "Noise z", "a normal density, draws, a straight grid")
    heading(right, "Data x = f⁻¹(z)", "its density, the same draws, the same grid")
    alt = (
        "Left a straight grid over a normal density with draws of it; right the same grid and draws "
        "after the inverse of a trained RealNVP, bent into a crescent. No two lines of the grid "
        f"meet more than once. The density on the right sums to {float(modelled.sum()) * area:.3f} "
        f"over the picture; fresh data have a mean log-density of {held_out:.2f} nats."
    )
    return Drawing(figure, alt)
