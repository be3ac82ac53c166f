r"""The reference models under their contracts: one registration a model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from reference import adversarial, autoencoders, divergences
from spec_tests.contracts.theory import Pieces
from spec_tests.registry import Unsupported, subject  # noqa: F401


@subject("theory", name="reference")
def pieces(pieces: Pieces) -> Pieces:
    """The reference pieces as they are."""
    return pieces


# Divergences and transport -----------------------------------------------------------------------


@subject("kl_divergence", name="reference")
def kl_divergence(p: Tensor, q: Tensor) -> Tensor:
    return divergences.kl_divergence(p, q)


@subject("js_divergence", name="reference")
def js_divergence(p: Tensor, q: Tensor) -> Tensor:
    return divergences.js_divergence(p, q)


@subject("wasserstein1", name="reference")
def wasserstein1(x: Tensor, y: Tensor, p: Tensor, q: Tensor) -> Tensor:
    return divergences.wasserstein1(x, y, p, q)


@subject("optimal_discriminator", name="reference")
def optimal_discriminator(p: Tensor, q: Tensor) -> Tensor:
    return adversarial.optimal_discriminator(p, q)


@subject("wasserstein1", name="reference.wasserstein1_on_the_line")
def wasserstein1_on_the_line(x: Tensor, y: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """The closed form, which needs points on a line."""
    if x.shape[1] != 1:
        raise Unsupported("points of one dimension only")
    return divergences.wasserstein1_on_the_line(x[:, 0], y[:, 0], p, q)


@subject("wasserstein1", name="reference.wasserstein1_dual", arrays="numpy")
def wasserstein1_dual(x: Any, y: Any, p: Any, q: Any) -> Tensor:
    """The best tabulated critic; its gradients in x and y are documented to be missing."""
    return divergences.wasserstein1_dual(*map(torch.as_tensor, (x, y, p, q)))


# Autoregressive models ---------------------------------------------------------------------------

# Autoencoders --------------------------------------------------------------------------------------


@subject("linear_autoencoder", name="reference")
def linear_autoencoder(x: Tensor, code_dim: int) -> tuple[Any, Any]:
    return autoencoders.linear_autoencoder(x, code_dim)


# Latent variable models ----------------------------------------------------------------------------

# Adversarial models --------------------------------------------------------------------------------
