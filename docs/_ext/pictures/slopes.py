r"""How steep networks are, and what is known of it from their weights alone."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from pictures.registry import Drawing, picture
from pictures.style import BLUE, GREEN, INK, ORANGE, heading, panels, say
from reference.adversarial import (
    clip_weights,
    clipped_network_bound,
    input_gradient,
    spectral_bound,
    spectral_norm,
)

WIDTH, CLIP = 16, 0.15


def _network(depth: int, normalised: bool = False) -> nn.Sequential:
    """A random ReLU network from the plane to a score."""
    widths = [2, *[WIDTH] * (depth - 1), 1]
    layers: list[nn.Module] = []
    for n, m in pairwise(widths):
        layer = nn.Linear(n, m)
        nn.init.normal_(layer.weight, std=0.5)
        layers += [spectral_norm(layer) if normalised else layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1], nn.Flatten(0))


@picture(
    "Slopes and their bounds",
    family="adversarial",
    claims=[
        "theory.clipping_bounds_slope",
        "theory.spectral_bound_holds_for_pairs",
        "spectral_norm.unit_norm",
        "theory.lipschitz_composes",
        "clip_weights.in_range",
    ],
)
def lipschitz() -> Drawing:
    """Measured slopes of random networks (dots) below what their weights promise (lines)."""
    figure, (left, right) = panels(1, 2, 2.9)
    points = 3 * torch.randn(400, 2)
    depths, worst = range(1, 7), {}
    limits = []
    for depth in depths:
        networks = [_network(depth) for _ in range(5)]
        for network in networks:
            clip_weights(network, CLIP)
        measured = [input_gradient(n, points).norm(dim=1).max().item() for n in networks]
        promised = [
            spectral_bound([m.weight for m in n if isinstance(m, nn.Linear)]).item()
            for n in networks
        ]
        limits.append(clipped_network_bound(CLIP, [2, *[WIDTH] * (depth - 1), 1]).euclidean)
        left.plot([depth] * 5, measured, "o", color=BLUE, markersize=4, alpha=0.8)
        left.plot([depth] * 5, promised, "_", color=ORANGE, markersize=11, markeredgewidth=1.3)
        worst[depth] = max(measured)
    left.plot(depths, limits, "--", color=GREEN)
    say(left, 4.0, limits[3] * 1.9, f"weights in ±{CLIP}", GREEN, ha="right")
    left.set(yscale="log", xlabel="layers", ylabel="slope", ylim=(1e-3, limits[-1] * 2.5))
    say(left, 1.1, 0.03, "● measured", BLUE)
    say(left, 1.1, 0.012, "▬ product of norms", ORANGE)
    heading(left, "Clipped weights", "dots ≤ bars ≤ dashed line")
    slopes = []
    for seed, depth in enumerate((2, 4, 6)):
        network = _network(depth, normalised=True)
        with torch.no_grad():
            for _ in range(20):  # the power iterations settle, as they do in training
                network(points)
        found = input_gradient(network.eval(), points).norm(dim=1).detach()
        slopes.append(float(found.max()))
        height = torch.linspace(0, 1, len(found))
        colour, line, share, side = (
            (BLUE, "-", 0.75, "right"), (ORANGE, "--", 0.25, "left"), (GREEN, "-.", 0.75, "right")
        )[seed]  # fmt: skip
        right.plot(found.sort().values, height, line, color=colour)
        place = float(found.quantile(share)) * (1.25 if side == "left" else 0.8)
        say(right, place, share, f"{depth} layers", colour, ha=side)
    right.axvline(1, color=INK, linewidth=1)
    say(right, 0.88, 0.08, "bound 1", INK, ha="right")
    right.set(xscale="log", xlabel="slope", ylabel="share of points below", ylim=(0, 1.02))
    right.set_xlim(1e-3, 1.3)
    heading(right, "Spectral normalisation", "every layer has norm 1")
    alt = (
        "Left: the steepest measured slopes of clipped networks of one to six layers lie below the "
        f"product of their spectral norms, and that below the bound by clipping, which is {limits[5]:.2g} "
        f"for six layers where at most {worst[6]:.2g} was measured. Right: slopes of networks whose "
        f"layers have spectral norm 1; the steepest are {', '.join(f'{s:.2f}' for s in slopes)} for 2, 4 "
        "and 6 layers, below the bound of 1."
    )
    return Drawing(figure, alt)
