r"""Latent variable models: what the bound costs beyond the networks."""

from __future__ import annotations

from typing import Literal

import torch

from spec_tests.bench.timing import ratio

__all__ = ["rows"]


def _step(likelihood: Literal["gaussian", "bernoulli"]) -> float:
    """A step on the bound over one that runs the same networks forward and back without it."""
    from reference.latent import VAE

    model = VAE(784, 20, 500, likelihood)
    x, noise = torch.rand(128, 784).round(), torch.randn(1, 128, 20)

    def bound() -> None:
        (-model.elbo(x, noise).mean()).backward()

    def networks() -> None:
        mean, _ = model.encoder(x).chunk(2, dim=-1)
        model.decoder(mean).sum().backward()

    return ratio(bound, networks)


def rows() -> list[tuple[str, str]]:
    """What is compared, and the ratio."""
    return [
        ("VAE step, Gaussian 784-500-20 / networks alone", f"{_step('gaussian'):.2f}"),
        ("VAE step, Bernoulli 784-500-20 / networks alone", f"{_step('bernoulli'):.2f}"),
    ]
