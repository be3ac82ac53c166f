r"""Two ways to be far apart."""

from __future__ import annotations

import math

import torch

from pictures.registry import Drawing, picture
from pictures.style import BLUE, GREEN, GREY, ORANGE, heading, panels, say
from reference.adversarial import blurred_js
from reference.divergences import js_divergence, wasserstein1_on_the_line


@picture(
    "Jensen-Shannon and Wasserstein",
    family="divergences",
    claims=[
        "js_divergence.disjoint_is_log_two",
        "wasserstein1.distance_of_point_masses",
        "wasserstein1.gradient_survives_disjoint_supports",
        "theory.instance_noise_restores_gradient",
        "js_divergence.bounded",
        "wasserstein1.translation",
    ],
)
def js_and_w1() -> Drawing:
    """Two point masses, one at 0 and one at θ: how far apart two divergences say that they are."""
    one, here = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    theta = torch.arange(-60, 61, dtype=torch.float64) / 20
    vectors = torch.eye(2, dtype=torch.float64)  # where the masses lie apart, and where not
    js = torch.stack([js_divergence(vectors[0], vectors[int(t != 0)]) for t in theta])
    noisy = {
        s: torch.stack([blurred_js(here, t[None], one, one, s) for t in theta]) for s in (1, 0.3)
    }
    w1 = torch.stack([wasserstein1_on_the_line(here, t[None], one, one) for t in theta])
    figure, (left, right) = panels(1, 2, 2.7)
    for side in (theta < 0, theta > 0):
        left.plot(theta[side], js[side], color=BLUE)
    left.plot(0, js[60], "o", color=BLUE, markersize=5)
    left.axhline(math.log(2), color=GREY, linewidth=0.7, zorder=0)
    for sigma, colour, line, x, y in ((1, ORANGE, "--", 1.6, 0.15), (0.3, GREEN, ":", 1.0, 0.5)):
        left.plot(theta, noisy[sigma], line, color=colour)
        say(left, x, y, f"noise {sigma}", colour)
    say(left, -3, math.log(2) + 0.05, "log 2, with slope 0", BLUE)
    left.set(xlabel="θ", ylabel="nats", ylim=(-0.03, 0.8))
    heading(left, "Jensen-Shannon", "dashed and dotted: both masses blurred")
    right.plot(theta, w1, color=BLUE)
    say(right, 1.1, 0.85, "slope 1", BLUE)
    right.set(xlabel="θ", ylabel="distance", ylim=(-0.13, 3.3))
    heading(right, "Wasserstein-1", "the distance itself")
    alt = (
        f"Jensen-Shannon divergence of two point masses against their distance: {js[60]:.0f} where "
        f"they coincide and {js[0]:.3f} everywhere else, so without a slope; blurred by noise of "
        f"deviation 1 it falls smoothly, to {noisy[1][80]:.3f} at distance 1. The Wasserstein distance "
        f"is a V: {w1[80]:.0f} at distance 1 and {w1[120]:.0f} at distance 3."
    )
    return Drawing(figure, alt)
