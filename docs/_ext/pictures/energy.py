r"""Chains that lead from data to noise, and from anywhere to a model's density."""

from __future__ import annotations

import torch

from pictures.registry import Drawing, picture
from pictures.style import BLUE, GREEN, GREY, INK, ORANGE, density, heading, panels, power, say
from reference.energy import (
    RBM,
    all_states,
    cosine_alpha_bar,
    exact_log_likelihood,
    gibbs_transition,
    linear_alpha_bar,
    noised_mean_variance,
)


@picture(
    "Diffusion: schedules and the way to noise",
    family="energy",
    claims=[
        "diffusion_schedule.noise_grows",
        "diffusion_schedule.marginals_compose",
        "diffusion_schedule.preserves_variance",
        "theory.diffusion_chain_returns",
    ],
)
def diffusion_schedule() -> Drawing:
    """Signal left by two schedules, its ratio to the noise, and what becomes of two points."""
    steps = 200
    figure, axes = panels(1, 3, 2.8, width_ratios=(1, 1, 1.7))
    schedules = {"linear": linear_alpha_bar(steps), "cosine": cosine_alpha_bar(steps)}
    halves = {}
    for (name, left), colour, line in zip(
        schedules.items(), (BLUE, ORANGE), ("-", "--"), strict=True
    ):
        axes[0].plot(left, line, color=colour)
        axes[1].semilogy(left / (1 - left), line, color=colour)
        halves[name] = int((left < 0.5).nonzero()[0])
        say(axes[0], halves[name] + (8 if name == "cosine" else -8), 0.5, name, colour,
            ha="left" if name == "cosine" else "right")  # fmt: skip
    axes[0].set(xlabel="step", ylim=(-0.03, 1.03))
    axes[1].set(xlabel="step", ylim=(1e-5, 1e4))
    heading(axes[0], "Signal left", "ᾱ of two schedules")
    heading(axes[1], "Signal to noise", "ᾱ / (1 − ᾱ)")
    alpha_bar = schedules["cosine"]
    data, weights = torch.tensor([[-1.2], [0.8]], dtype=torch.float64), torch.tensor([0.35, 0.65])
    x = torch.linspace(-2.9, 2.9, 90, dtype=torch.float64)
    spread = 0.02  # of the data around their two points
    columns = []
    for t in range(0, steps, 4):
        mean, variance = noised_mean_variance(alpha_bar, data, torch.tensor([t, t]))
        variance = variance + alpha_bar[t] * spread
        p = (-0.5 * (x - mean).square() / variance).exp() / (2 * torch.pi * variance).sqrt()
        columns.append((weights[:, None] * p).sum(0))
    density(
        axes[2],
        torch.arange(0, steps, 4),
        x,
        torch.stack(columns, 1),
        BLUE,
        [0.05, 0.15, 0.3, 0.6, 1],
    )
    ratio = torch.cat([alpha_bar[:1], alpha_bar[1:] / alpha_bar[:-1]])
    paths = [
        data[torch.tensor([0, 0, 1, 1])] + spread**0.5 * torch.randn(4, 1, dtype=torch.float64)
    ]
    for share in ratio:
        noise = torch.randn(4, 1, dtype=torch.float64)
        paths.append(share.sqrt() * paths[-1] + (1 - share).sqrt() * noise)
    axes[2].plot(range(0, steps + 1, 2), torch.stack(paths)[::2, :, 0], color=INK, linewidth=0.7)
    axes[2].set(xlabel="step", xlim=(0, steps), ylim=(-2.9, 2.9))
    heading(axes[2], "From data to noise", "four paths over the density, cosine")
    alt = (
        f"Left: the share of signal over {steps} steps; half is left after {halves['linear']} steps of "
        f"the linear schedule and after {halves['cosine']} of the cosine one. Middle: the ratio of "
        f"signal to noise, which ends at {power(float(alpha_bar[-1]))} for cosine. Right: a density of two "
        "narrow modes that spreads and merges into a normal one, with four paths of noisy steps."
    )
    return Drawing(figure, alt)


@picture(
    "Gibbs sampling of an RBM",
    family="energy",
    claims=[
        "rbm.gibbs_leaves_it_stationary",
        "theory.gibbs_chain_follows_its_matrix",
        "theory.gibbs_sweep_is_stationary",
    ],
)
def rbm() -> Drawing:
    """Total variation to the exact density by sweeps, and the density that it falls to."""
    states = all_states(4)
    weight = torch.randn(4, 3, dtype=torch.float64)
    figure, (left, right) = panels(1, 2, 2.9, width_ratios=(1, 1.3))
    after, told = {}, []
    for scale, colour, line in ((1.0, BLUE, "-"), (2.5, ORANGE, "--"), (4.0, GREEN, "-.")):
        model = RBM(4, 3).double().requires_grad_(False)
        model.weight.copy_(scale * weight)
        exact = exact_log_likelihood(model, states).exp()
        transition, now = gibbs_transition(model), torch.eye(16, dtype=torch.float64)[0]
        distances = []
        for sweep in range(41):
            distances.append(float((now - exact).abs().sum() / 2))
            if scale == 2.5 and sweep in (1, 8):
                after[sweep] = now
            now = now @ transition
        left.semilogy(distances, line, color=colour)
        told.append(f"{power(distances[20])} for weights of scale {scale:g}")
        near = next(k for k, distance in enumerate(distances) if distance < 3e-6)
        say(left, near + 1, 3e-6, f"× {scale:g}", colour)
        if scale == 2.5:
            shown = exact
    left.set(xlabel="sweeps", ylabel="total variation", ylim=(1e-7, 1.5))
    heading(left, "How far from p(v)", "three strengths of the weights")
    order = shown.argsort(descending=True)
    right.bar(range(16), shown[order].tolist(), width=0.8, color=GREY, alpha=0.7)
    for p, mark in zip(after.values(), ("x", "o"), strict=True):
        fill = {"markerfacecolor": "none"} if mark == "o" else {}
        right.plot(p[order], mark, color=ORANGE, markersize=5, markeredgewidth=1.3, **fill)
    say(right, 8.5, 0.25, "×  after 1 sweep", ORANGE)
    say(right, 8.5, 0.215, "○  after 8 sweeps", ORANGE)
    say(right, 8.5, 0.285, "■  exact p(v)", GREY)
    names = ["".join(map(str, states[i].int().tolist())) for i in order]
    right.set_xticks(range(16), names, rotation=90, size=7.5)
    right.set(ylabel="probability")
    heading(right, "Visible states", "weights × 2.5, from 0000")
    alt = (
        "Left: total variation between the distribution of a Gibbs chain and the RBM's own, by sweeps; "
        f"after 20 sweeps it is {', '.join(told)}: the stronger the weights, the slower. Right: the "
        "exact probabilities of the 16 visible states, and those of the chain after 1 and 8 sweeps."
    )
    return Drawing(figure, alt)
