r"""What autoencoders find: a subspace, few atoms, or the way uphill."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pictures.registry import Drawing, picture
from pictures.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    arrows,
    density,
    heading,
    panels,
    power,
    say,
)
from reference.autoencoders import (
    LinearBottleneck,
    noisy_log_density,
    posterior_mean_denoiser,
    principal_directions,
    reconstruction_loss,
    ridge_code,
    soft_threshold,
    sparse_code,
)


def _angle(direction: Tensor, other: Tensor) -> float:
    """Between two lines, in degrees."""
    cosine = (direction @ other).abs() / (direction.norm() * other.norm())
    return math.degrees(math.acos(min(1.0, float(cosine))))


@picture(
    "A linear autoencoder finds the principal direction",
    family="autoencoders",
    claims=[
        "linear_autoencoder.spans_principal_subspace",
        "theory.gradient_descent_finds_pca",
        "linear_autoencoder.attains_pca_error",
    ],
)
def principal_subspace() -> Drawing:
    """The line that a bottleneck of one unit reconstructs on, while gradient descent trains it."""
    turn = torch.tensor([[0.8, -0.6], [0.6, 0.8]])
    cloud = (torch.randn(120, 2) * torch.tensor([1.5, 0.5]) @ turn.T).double()
    cloud = cloud - cloud.mean(0)
    principal = principal_directions(cloud, 1)[0]
    model, angles, shown = LinearBottleneck(2, 1).double(), [], {}
    optimiser = torch.optim.SGD(model.parameters(), lr=0.04)
    for step in range(301):
        ends = model.decode(torch.tensor([[0.0], [1.0]]).double()).detach()
        angles.append(_angle(ends[1] - ends[0], principal))
        if step in (0, 15, 40, 300):
            shown[step] = ends[0], (ends[1] - ends[0]) / (ends[1] - ends[0]).norm()
        loss = reconstruction_loss(cloud, model(cloud))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    figure, (left, right) = panels(1, 2, 3.1, width_ratios=(1.25, 1))
    left.plot(*cloud.T, "o", color=GREY, markersize=2.6, alpha=0.7)
    far = torch.tensor([[-4.0], [4.0]])
    left.plot(*(far * 0.92 * principal).T, color=GREEN, linewidth=5, alpha=0.45)
    styles = zip(shown.items(), (":", "-.", (0, (6, 3)), "-"), strict=True)
    for (step, (middle, direction)), line in styles:
        direction = direction * (direction @ principal).sign()
        left.plot(*(middle + far * direction).T, linestyle=line, color=BLUE, linewidth=1.4)
        tip = middle + direction * ((1.7 if step == 300 else 2.55) - middle[1]) / direction[1]
        say(left, tip[0] + 0.15, tip[1], f"{step}", BLUE)
    say(left, -0.6, -2.2, "principal direction", GREEN)
    left.set(aspect="equal", xlim=(-3.6, 4.2), ylim=(-2.8, 2.8))
    heading(left, "The decoder's line", "after 0, 15, 40 and 300 steps")
    right.semilogy(angles, color=BLUE)
    right.set(xlabel="steps", ylabel="degrees", ylim=(1e-2, 100))
    heading(right, "Angle", "to the principal direction")
    alt = (
        "A cloud of 120 points with its principal direction, and the line that a linear autoencoder "
        f"decodes to during training. The angle between the two falls from {angles[0]:.0f} degrees to "
        f"{angles[40]:.1f} after 40 steps and {angles[300]:.1g} after 300."
    )
    return Drawing(figure, alt)


@picture(
    "Shrinkage",
    family="autoencoders",
    claims=[
        "sparse_code.soft_threshold",
        "theory.l1_sparsifies_l2_shrinks",
        "sparse_code.zero_above_lambda_max",
        "sparse_code.penalty_path",
    ],
)
def shrinkage() -> Drawing:
    """What a price on codes does to one entry, and to six as the price rises."""
    v = torch.linspace(-3, 3, 241, dtype=torch.float64)
    eye = torch.eye(1, dtype=torch.float64)
    figure, (left, middle, right) = panels(1, 3, 2.8)
    hard = torch.where(v.abs() > 1, v, 0)
    for values, colour, line in (
        (soft_threshold(v, 1.0), BLUE, "-"),
        (ridge_code(v[:, None], eye, 1.0)[:, 0], ORANGE, "--"),
    ):
        left.plot(v, values, line, color=colour)
    for part in (v < -1, v.abs() <= 1, v > 1):
        left.plot(v[part], hard[part], ":", color=GREEN)
    say(left, 0.85, -0.5, "soft, |z|", BLUE)
    say(left, -2.9, 0.4, "ridge, z²", ORANGE)
    say(left, 1.1, 2.45, "hard", GREEN, ha="center")
    left.set(xlabel="entry v", ylabel="code z", xlim=(-3, 3), ylim=(-3, 3))
    heading(left, "One entry", "price 1")
    atoms = torch.nn.functional.normalize(torch.randn(6, 8, dtype=torch.float64), dim=1)
    x = torch.tensor([[1.6, -1.1, 0.8, 0.0, 0.0, 0.3]], dtype=torch.float64) @ atoms
    prices = torch.linspace(0.01, 1.8, 60).tolist()
    most = float((x @ atoms.T).abs().max())
    lasso = torch.cat([sparse_code(x, atoms, price) for price in prices])
    ridge = torch.cat([ridge_code(x, atoms, price) for price in prices])
    for panel, codes, colour, line, name in (
        (middle, lasso, BLUE, "-", "Price on |z|"),
        (right, ridge, ORANGE, "--", "Price on z²"),
    ):
        panel.plot(prices, codes, line, color=colour, linewidth=1.4)
        panel.axhline(0, color=GREY, linewidth=0.7)
        panel.set(xlabel="price", ylim=(-1.5, 1.9), xlim=(0, 1.8))
        left_over = int((codes[-1].abs() > 0).sum())
        heading(panel, name, f"six entries; {left_over} remain at 1.8")
    middle.axvline(most, color=INK, linewidth=0.8, linestyle=":")
    say(middle, most - 0.04, -1.3, "largest ⟨atom, x⟩", INK, ha="right", size=8.5)
    alt = (
        "Left: soft thresholding sets entries below the price to zero and shrinks the rest by it, hard "
        "thresholding leaves the rest, ridge halves everything. Right: codes of a point over six atoms "
        f"as the price rises. With absolute values all are zero from a price of {most:.2f} on; with "
        f"squares all six are still there at 1.8, the largest at {float(ridge[-1].abs().max()):.2f}."
    )
    return Drawing(figure, alt)


@picture(
    "A denoiser points uphill",
    family="autoencoders",
    claims=["theory.tweedie", "theory.optimal_denoiser_is_posterior_mean"],
)
def denoising_field() -> Drawing:
    """The step of the best denoiser and the slope of the noisy log-density, at the same places."""
    angle = torch.linspace(0.3, 3.9, 9, dtype=torch.float64)
    points = torch.stack([(1 + 0.15 * angle) * angle.cos(), (1 + 0.15 * angle) * angle.sin()], 1)
    weights, sigma = torch.full((9,), 1 / 9, dtype=torch.float64), 0.45
    side = torch.linspace(-2.1, 2.1, 10, dtype=torch.float64)
    places = torch.cartesian_prod(side, side).requires_grad_()
    log_p = noisy_log_density(places, points, weights, sigma)
    (score,) = torch.autograd.grad(log_p.sum(), places)
    places = places.detach()
    step = posterior_mean_denoiser(places, points, weights, sigma) - places
    worst = float((step - sigma**2 * score).norm(dim=1).max())
    fine = torch.linspace(-2.5, 2.5, 60, dtype=torch.float64)
    grid = torch.cartesian_prod(fine, fine)
    p = noisy_log_density(grid, points, weights, sigma).exp().view(60, 60).T
    figure, axes = panels(1, 2, 3.6, sharey=True)
    for panel, field, colour in ((axes[0], step, ORANGE), (axes[1], sigma**2 * score, PURPLE)):
        density(panel, fine, fine, p, BLUE, [float(p.max()) * s for s in (0.05, 0.25, 0.5, 0.75)])
        arrows(panel, places + 0.15 * field, 0.3 * field, colour, head=0.35)
        panel.plot(*points.T, "o", color=INK, markersize=3.5)
        panel.set(aspect="equal", xlim=(-2.4, 2.4), ylim=(-2.4, 2.4))
        panel.set(xticks=(-2, 0, 2), yticks=(-2, 0, 2))
    heading(axes[0], "Denoiser: r(x) − x", "towards the mean of the clean point")
    heading(axes[1], "Score: σ² ∇ log p(x)", "uphill on the density of noisy points")
    alt = (
        "Two fields of arrows over the density of nine points blurred by noise of deviation 0.45: the "
        "steps of the best denoiser, and the gradient of the log-density times the variance. They are "
        f"one field; at {len(places)} places they differ by {power(worst)} at most."
    )
    return Drawing(figure, alt)
