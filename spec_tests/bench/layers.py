r"""Single layers against the plain ones of PyTorch."""

from __future__ import annotations

import torch
from torch import nn

from spec_tests.bench.timing import ratio, step

__all__ = ["rows"]


def _masked_convolution() -> float:
    from reference.autoregressive import MaskedConv2d

    x = torch.randn(16, 32, 32, 32)
    return ratio(step(MaskedConv2d(32, 32, 5, "B"), x), step(nn.Conv2d(32, 32, 5, padding=2), x))


def _spectral_normalisation() -> float:
    from reference.adversarial import spectral_norm

    x = torch.randn(16, 32, 32, 32)
    theirs = torch.nn.utils.parametrizations.spectral_norm(nn.Conv2d(32, 64, 3, padding=1))
    return ratio(step(spectral_norm(nn.Conv2d(32, 64, 3, padding=1)), x), step(theirs, x))


def _gradient_penalty() -> float:
    from reference.adversarial import gradient_penalty

    critic = nn.Sequential(nn.Linear(256, 256), nn.Tanh(), nn.Linear(256, 1), nn.Flatten(0))
    real, fake = torch.randn(64, 256), torch.randn(64, 256)

    def plain() -> None:
        (critic(fake).mean() - critic(real).mean()).backward()

    def penalised() -> None:
        loss = critic(fake).mean() - critic(real).mean()
        (loss + 10 * gradient_penalty(critic, real, fake)).backward()

    return ratio(penalised, plain)


def rows() -> list[tuple[str, str]]:
    """What is compared, and the ratio."""
    return [
        ("masked_conv2d / nn.Conv2d, forward and backward", f"{_masked_convolution():.2f}"),
        ("spectral_norm / torch's, convolution's step", f"{_spectral_normalisation():.2f}"),
        ("critic step with gradient penalty / without", f"{_gradient_penalty():.2f}"),
    ]
