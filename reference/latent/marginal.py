r"""The likelihood of a latent variable model by brute force: average over draws from the prior.

Unbiased for p(x), and hopeless in many dimensions, where next to no draw explains x: the reason to
learn an encoder that proposes better ones.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float
    from torch import Tensor

__all__ = ["log_marginal_likelihood", "log_mean_exp"]


def log_mean_exp(log_values: Float[Tensor, "s n"]) -> Float[Tensor, " n"]:
    r"""The logarithm of a mean of numbers that are given by their logarithms.

    .. math::

        \log \frac1S \sum_{s=1}^{S} e^{a_s} = m + \log \frac1S \sum_{s=1}^{S} e^{a_s - m},
        \qquad m = \max_s a_s

    Paper: Importance Weighted Autoencoders (Burda, Grosse, Salakhutdinov, 2015), Section 3,
    https://arxiv.org/abs/1509.00519
    Claims: theory.marginal_monte_carlo_unbiased
    Differs: none.

    Args:
        log_values: Logarithms (S, N), S >= 1.

    Returns:
        The logarithm of the mean over S (N,).

    Raises:
        ValueError: There is nothing to average.

    >>> log_mean_exp(torch.tensor([[-1e4], [-1e4]]))
    tensor([-10000.])
    """
    if log_values.ndim == 0 or len(log_values) == 0:
        raise ValueError(f"log_values must be (S, N) with S >= 1, got {(*log_values.shape,)}")
    return torch.logsumexp(log_values, dim=0) - math.log(len(log_values))


def log_marginal_likelihood(
    log_likelihood: Callable[[Float[Tensor, "n d"], Float[Tensor, "n l"]], Float[Tensor, " n"]],
    x: Float[Tensor, "n d"],
    z: Float[Tensor, "s n l"],
) -> Float[Tensor, " n"]:
    r"""The log of the average likelihood of x over draws of z from the prior.

    .. math::

        p(x) = \int p(x \mid z) \, p(z) \, dz
        \;\approx\; \hat p(x) = \frac1S \sum_{s=1}^{S} p(x \mid z_s), \qquad z_s \sim p(z)

    The mean of :math:`\hat p(x)` is p(x), for any S. The mean of its logarithm, which is what is
    returned, lies below log p(x) by Jensen's inequality, and rises to it with S.

    Paper: Importance Weighted Autoencoders (Burda, Grosse, Salakhutdinov, 2015), Section 3,
    https://arxiv.org/abs/1509.00519
    Claims: theory.marginal_monte_carlo_unbiased, theory.jensen
    Differs: the prior is the proposal, so that the weights are the likelihoods.

    Args:
        log_likelihood: log p(x | z) of each item: (x (N, D), z (N, L)) -> (N,).
        x: Data (N, D).
        z: Draws from the prior for each item (S, N, L).

    Returns:
        The logarithm of the estimate of p(x), for each item, in nats (N,).

    Raises:
        ValueError: z does not hold S >= 1 draws for each item of x.

    >>> x, z = torch.zeros(2, 3), torch.zeros(5, 2, 1)
    >>> log_marginal_likelihood(lambda x, z: -x.square().sum(-1) - z.sum(-1), x, z)
    tensor([0., 0.])
    """
    if z.ndim != 3 or z.shape[1] != len(x) or len(z) == 0:
        raise ValueError(f"z must be (S, {len(x)}, L) with S >= 1, got {(*z.shape,)}")
    return log_mean_exp(torch.stack([log_likelihood(x, draw) for draw in z]))
