r"""PyTorch's own implementations under the contracts: nobody here wrote what is judged."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributions, linalg
from torch.nn import functional

from spec_tests.registry import Unsupported, subject  # noqa: F401

# Divergences and transport -----------------------------------------------------------------------


@subject("kl_divergence", name="torch.nn.functional.kl_div")
def kl_by_functional(p: Tensor, q: Tensor) -> Tensor:
    return functional.kl_div(q.log(), p, reduction="sum")


@subject("kl_divergence", name="torch.distributions")
def kl_by_distributions(p: Tensor, q: Tensor) -> Tensor:
    return distributions.kl_divergence(
        distributions.Categorical(probs=p), distributions.Categorical(probs=q)
    )


@subject("js_divergence", name="torch.distributions")
def js_by_distributions(p: Tensor, q: Tensor) -> Tensor:
    """Half the divergence from the mixture, from either side, each by PyTorch's closed form."""
    mixture = distributions.Categorical(probs=(p + q) / 2)
    sides = [distributions.Categorical(probs=side) for side in (p, q)]
    return sum(distributions.kl_divergence(side, mixture) for side in sides) / 2


# Autoencoders --------------------------------------------------------------------------------------


@subject("linear_autoencoder", name="torch.linalg.svd")
def pca_by_svd(x: Tensor, code_dim: int) -> tuple[Any, Any]:
    mean = x.mean(0)
    thin = code_dim <= min(x.shape)
    directions = linalg.svd(x - mean, full_matrices=not thin).Vh[:code_dim]
    return lambda points: (points - mean) @ directions.T, lambda codes: codes @ directions + mean


@subject("linear_autoencoder", name="torch.pca_lowrank")
def pca_by_lowrank(x: Tensor, code_dim: int) -> tuple[Any, Any]:
    """Randomised, so all directions are asked for and the leading ones kept."""
    if code_dim > min(x.shape):
        raise Unsupported("no more directions than there are points")
    mean = x.mean(0)
    directions = torch.pca_lowrank(x, q=min(x.shape))[2][:, :code_dim]
    return lambda points: (points - mean) @ directions, lambda codes: codes @ directions.T + mean


# Latent variable models ----------------------------------------------------------------------------

# Adversarial models --------------------------------------------------------------------------------
