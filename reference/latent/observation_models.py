r"""What a decoder may say of data: real numbers of one spread, or one of K levels.

The Gaussian with a spread of its own for each feature and the Bernoulli are in `likelihoods`; the
discretised logistic is `reference.autoregressive.discretized_logistic_mixture`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from jaxtyping import Float, Int

__all__ = ["categorical_log_likelihood", "fixed_gaussian_log_likelihood"]


def fixed_gaussian_log_likelihood(
    x: Float[Tensor, "n d"], mean: Float[Tensor, "n d"], sigma: float
) -> Float[Tensor, " n"]:
    r"""A Gaussian whose standard deviation is a constant: squared error with units.

    .. math::

        \log p(x) = -\frac{\|x - \mu\|^2}{2\sigma^2} - D \log \sigma - \frac D2 \log 2\pi

    Paper: Auto-Encoding Variational Bayes (Kingma, Welling, 2013), Appendix C.2,
    https://arxiv.org/abs/1312.6114
    Claims: theory.observation_models_are_densities
    Differs: one fixed sigma, where the paper's decoder gives one for each feature.

    Args:
        x, mean: (N, D).
        sigma: standard deviation, positive.

    Returns:
        (N,), nats.

    Raises:
        ValueError: sigma is not positive.

    >>> import torch
    >>> fixed_gaussian_log_likelihood(torch.zeros(1, 2), torch.zeros(1, 2), sigma=1.0)
    tensor([-1.8379])
    """
    if sigma <= 0:
        raise ValueError(f"sigma must be positive, not {sigma}")
    constant = math.log(sigma) + 0.5 * math.log(2 * math.pi)
    return (-0.5 * ((x - mean) / sigma).square() - constant).sum(-1)


def categorical_log_likelihood(
    x: Int[Tensor, "n d"], logits: Float[Tensor, "n k d"]
) -> Float[Tensor, " n"]:
    r"""One of K levels for each feature, independently given the code: K = 256 for bytes.

    .. math::

        \log p(x) = \sum_d \log \operatorname{softmax}(\ell_d)_{x_d}

    Paper: Auto-Encoding Variational Bayes (Kingma, Welling, 2013), Appendix C,
    https://arxiv.org/abs/1312.6114
    Claims: theory.observation_models_are_densities
    Differs: K levels, where the paper has two.

    Args:
        x: levels in [0, K), long (N, D).
        logits: (N, K, D).

    Returns:
        (N,), nats.

    >>> import torch
    >>> categorical_log_likelihood(torch.tensor([[0, 255, 7]]), torch.zeros(1, 256, 3))
    tensor([-16.6355])
    """
    return -functional.cross_entropy(logits, x, reduction="none").sum(-1)
