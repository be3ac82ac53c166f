r"""Bounds on the likelihood of a latent variable model, where the likelihood is known."""

from __future__ import annotations

import torch

from pictures.registry import Drawing, picture
from pictures.style import BLUE, GREEN, GREY, INK, ORANGE, heading, panels, say
from reference.latent import LinearGaussianVAE, gaussian_log_likelihood, iwae_bound

POINT = torch.tensor([[1.5]], dtype=torch.float64)


def _model() -> LinearGaussianVAE:
    """One latent number, one visible: x = 1.2 z and noise of variance 0.5."""
    model = LinearGaussianVAE(1, 1).double().requires_grad_(False)
    model.decoder.weight.fill_(1.2)
    model.decoder.bias.zero_()
    model.noise_log_var.fill_(0.5).log_()
    model.encoder.weight.zero_()
    return model


def _exact_elbo(model: LinearGaussianVAE, mean: float, deviation: float) -> float:
    """The bound for q = N(mean, deviation²).

    Noise of 1 and -1 has the mean and variance of a normal, and log p(x|z) is quadratic in z: two
    values of the noise integrate it without error.
    """
    model.encoder.bias.fill_(mean)
    model.latent_log_var.fill_(deviation).log_().mul_(2)
    return float(model.elbo(POINT, torch.tensor([-1.0, 1.0]).double().view(2, 1, 1)))


@picture(
    "The lower bound and its gap",
    family="latent",
    claims=[
        "vae.elbo_below_log_likelihood",
        "vae.gap_is_kl",
        "theory.tight_at_the_posterior",
        "theory.linear_gaussian_posterior_is_bayes",
    ],
)
def elbo() -> Drawing:
    """The bound along the encoder's mean and along its deviation; log p(x) is the line on top."""
    model = _model()
    evidence = float(model.log_evidence(POINT))
    centre, covariance = model.posterior(POINT)
    best_mean, best_deviation = float(centre), float(covariance.sqrt())
    figure, (left, right) = panels(1, 2, 2.9, sharey=True)
    means = torch.linspace(-0.6, 2.4, 91).tolist()
    for deviation, colour, line in ((best_deviation, BLUE, "-"), (1.0, ORANGE, "--")):
        left.plot(means, [_exact_elbo(model, m, deviation) for m in means], line, color=colour)
    say(left, 1.65, -2.45, f"deviation {best_deviation:.2f}", BLUE)
    say(left, best_mean, -3.2, "deviation 1", ORANGE, ha="center")
    off = 0.2
    bound = _exact_elbo(model, off, best_deviation)
    gap = 0.5 * ((off - best_mean) / best_deviation) ** 2
    left.annotate("", (off, bound), (off, evidence), arrowprops={"arrowstyle": "<->", "lw": 0.9})
    say(left, off - 0.07, (bound + evidence) / 2, "gap", INK, ha="right")
    left.set(xlabel="mean of q(z | x)", ylabel="nats", ylim=(-4.6, -1.4))
    heading(left, "Along the mean", "for two deviations of q")
    deviations = torch.logspace(-1, 0.45, 91).tolist()
    right.plot(deviations, [_exact_elbo(model, best_mean, d) for d in deviations], color=BLUE)
    right.set(xlabel="deviation of q(z | x)", xscale="log")
    right.set_xticks([0.1, 0.3, 1, 2], ["0.1", "0.3", "1", "2"])
    heading(right, "Along the deviation", "at the mean of the posterior")
    for panel, best in ((left, best_mean), (right, best_deviation)):
        panel.axhline(evidence, color=GREEN, linewidth=1.2)
        panel.plot(best, evidence, "o", color=INK, markersize=5)
    say(right, 0.1, evidence + 0.14, "log p(x)", GREEN)
    alt = (
        f"The evidence lower bound of one point against the encoder's mean and deviation. It stays "
        f"below log p(x) = {evidence:.3f} and touches it only at the posterior, mean {best_mean:.3f} and "
        f"deviation {best_deviation:.3f}. At mean {off} it is {bound:.3f}: the gap of "
        f"{evidence - bound:.3f} equals the divergence from the posterior, {gap:.3f}."
    )
    return Drawing(figure, alt)


@picture(
    "More samples, a tighter bound",
    family="latent",
    claims=["iwae_bound.monotone", "iwae_bound.one_sample_is_elbo", "theory.jensen"],
)
def iwae() -> Drawing:
    """The importance weighted bound by the number of samples, for a proposal that is off."""
    model, mean, deviation, repeats = _model(), 0.3, 0.8, 4000
    evidence = float(model.log_evidence(POINT))
    noise = torch.randn(256, repeats, 1, dtype=torch.float64)
    z = mean + deviation * noise
    zero = torch.zeros_like(z)
    log_weights = (
        model.log_likelihood(POINT, z)
        + gaussian_log_likelihood(z, zero, zero)
        - gaussian_log_likelihood(z, zero + mean, zero + 2 * torch.tensor(deviation).log())
    )
    counts = [2**k for k in range(9)]
    bounds = torch.stack([iwae_bound(log_weights[:s]) for s in counts])  # (counts, repeats)
    low, high = bounds.quantile(torch.tensor([0.1, 0.9]).double(), dim=1)
    figure, (panel,) = panels(1, 1, 2.8)
    panel.axhline(evidence, color=GREEN, linewidth=1.2)
    panel.fill_between(counts, low, high, color=BLUE, alpha=0.18, linewidth=0)
    panel.plot(counts, bounds.mean(1), "-o", color=BLUE, markersize=5)
    bound = _exact_elbo(model, mean, deviation)
    panel.plot(
        1, bound, "s", color=ORANGE, markersize=9, markerfacecolor="none", markeredgewidth=1.5
    )
    say(panel, 1.12, bound - 0.3, f"exact lower bound {bound:.3f}".replace("-", "−"), ORANGE)
    words = f"log p(x) = {evidence:.3f}".replace("-", "−")
    say(panel, 256, evidence + 0.45, words, GREEN, ha="right")
    say(panel, 2.1, -4.7, "the band holds 8 of 10 estimates", GREY)
    panel.set(xscale="log", xlabel="samples S", ylabel="nats")
    panel.set_xticks(counts, [str(s) for s in counts])
    means = bounds.mean(1).tolist()
    alt = (
        f"Mean importance weighted bound against the number of samples: {means[0]:.3f} with one, where "
        f"the exact lower bound is {bound:.3f}, {means[3]:.3f} with 8 and {means[8]:.3f} with 256, "
        f"rising to log p(x) = {evidence:.3f}."
    )
    return Drawing(figure, alt)
