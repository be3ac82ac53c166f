r"""What a model of images must beat: the uniform distribution and one multivariate Gaussian.

A Gaussian has a density, an image has levels. Spread every level over a unit cell and compare:

.. code-block:: text

      p(v)      _                    level 0 | level 1 | level 2     P(1) = area over [1, 2)
              /   \                  --------+---------+--------     bound: the mean of log p
           /    |    \               0       1         2       3     over the cell, <= log P(1)
      ___/______|______\___ v
"""

from __future__ import annotations

__all__ = [
    "bits_per_dimension",
    "dequantized_gaussian_bound",
    "dequantized_gaussian_fit",
    "gaussian_conditional",
]

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


def bits_per_dimension(log_prob: Float[Tensor, " n"], dims: int) -> Float[Tensor, " n"]:
    r"""Translate a log-probability into the bits that a code spends on each dimension.

    .. math::

        b(x) = -\frac{\log p(x)}{D \log 2}, \qquad
        p \text{ uniform over } K \text{ levels}: \; b = \log_2 K

    Paper: A note on the evaluation of generative models (Theis, van den Oord, Bethge, 2015),
    Section 3.1, https://arxiv.org/abs/1511.01844
    Claims: theory.uniform_costs_log2_levels
    Differs: none.

    Args:
        log_prob: (N,), nats.
        dims: D, all channels of all pixels.

    Returns:
        (N,), bits.

    >>> bits_per_dimension(torch.tensor([-3072 * math.log(256)]), 3 * 32 * 32)
    tensor([8.])
    """
    return -log_prob / (dims * math.log(2))


def dequantized_gaussian_fit(
    x: Int[Tensor, "n d"], dtype: torch.dtype = torch.float64
) -> tuple[Float[Tensor, " d"], Float[Tensor, "d d"]]:
    r"""Fit mean and covariance to levels with uniform noise, the noise integrated out.

    .. math::

        \mu = \overline{x} + \tfrac12, \qquad
        \Sigma = \overline{(x - \overline{x})(x - \overline{x})^\top} + \tfrac1{12} I

    the mean and the covariance of :math:`x + u`, :math:`u \sim \mathcal U[0, 1)^D`, and so what
    maximises `dequantized_gaussian_bound` on x. A pixel that never changes keeps the variance 1/12
    of the noise: the covariance can always be inverted.

    Paper: A note on the evaluation of generative models (Theis, van den Oord, Bethge, 2015),
    Section 3.1, https://arxiv.org/abs/1511.01844
    Claims: theory.dequantized_fit_is_best
    Differs: the noise is not drawn; its moments are exact.

    Args:
        x: levels (N, D), flattened.
        dtype: of the result.

    Returns:
        :math:`\mu` (D,) and :math:`\Sigma` (D, D), in levels.

    >>> dequantized_gaussian_fit(torch.tensor([[0], [2]]))[0]
    tensor([1.5000], dtype=torch.float64)
    """
    values = x.to(dtype)
    centred = values - values.mean(0)
    noise = torch.eye(x.shape[1], dtype=dtype, device=x.device) / 12
    return values.mean(0) + 0.5, centred.mT @ centred / len(x) + noise


def dequantized_gaussian_bound(
    x: Int[Tensor, "n d"], mean: Float[Tensor, " d"], covariance: Float[Tensor, "d d"]
) -> Float[Tensor, " n"]:
    r"""Bound the log-mass that a Gaussian puts on each cell of levels, by Jensen's inequality.

    .. math::

        \log P(x) = \log \int_{[0,1)^D} \mathcal N(x + u; \mu, \Sigma)\, du
        \;\ge\; \mathbb E_u[\log \mathcal N(x + u; \mu, \Sigma)]
        = \log \mathcal N\bigl(x + \tfrac12; \mu, \Sigma\bigr) - \tfrac1{24} \operatorname{tr} \Sigma^{-1}

    Paper: A note on the evaluation of generative models (Theis, van den Oord, Bethge, 2015),
    Section 3.1, https://arxiv.org/abs/1511.01844
    Claims: theory.dequantized_bound_is_the_mean_log_density, theory.dequantized_bound_is_below
    Differs: the expectation is in closed form, the logarithm of a Gaussian being quadratic.

    Args:
        x: levels (N, D), flattened.
        mean: :math:`\mu` (D,), with level k spread over [k, k + 1).
        covariance: :math:`\Sigma` (D, D), positive definite.

    Returns:
        (N,), nats.

    >>> dequantized_gaussian_bound(torch.tensor([[3]]), torch.tensor([3.5]), torch.eye(1) / 12)
    tensor([-0.1765])
    """
    root = torch.linalg.cholesky(covariance)
    centred = x.to(mean) + 0.5 - mean
    standard = torch.linalg.solve_triangular(root, centred.mT, upper=False)  # (D, N)
    volume = root.diagonal().log().sum() + 0.5 * len(mean) * math.log(2 * math.pi)
    trace = torch.cholesky_inverse(root).diagonal().sum()
    bound: Tensor = -0.5 * standard.square().sum(0) - volume - trace / 24
    return bound


def gaussian_conditional(
    known: Bool[Tensor, " d"],
    values: Float[Tensor, "n d"],
    mean: Float[Tensor, " d"],
    covariance: Float[Tensor, "d d"],
) -> tuple[Float[Tensor, "n u"], Float[Tensor, "u u"]]:
    r"""Condition a Gaussian on some of its coordinates: what completes an image.

    .. math::

        \mu_{u \mid k} = \mu_u + \Sigma_{uk} \Sigma_{kk}^{-1} (v_k - \mu_k), \qquad
        \Sigma_{u \mid k} = \Sigma_{uu} - \Sigma_{uk} \Sigma_{kk}^{-1} \Sigma_{ku}

    Paper: Pattern Recognition and Machine Learning (Bishop, 2006), Equations 2.81 and 2.82,
    https://www.microsoft.com/en-us/research/publication/pattern-recognition-machine-learning/
    Claims: theory.gaussian_conditional_by_precision
    Differs: none.

    Args:
        known: which coordinates are given.
        values: (N, D); those of unknown coordinates are ignored.
        mean, covariance: of the joint Gaussian.

    Returns:
        for the U unknown coordinates the means (N, U) and their common covariance (U, U).

    >>> both = torch.tensor([[2.0, 1.0], [1.0, 1.0]])
    >>> known, values = torch.tensor([False, True]), torch.tensor([[0.0, 3.0]])
    >>> gaussian_conditional(known, values, torch.zeros(2), both)
    (tensor([[3.]]), tensor([[1.]]))
    """
    unknown = ~known
    across = covariance[unknown][:, known]  # (U, K)
    gain = torch.linalg.solve(covariance[known][:, known], across.mT).mT
    shifted = mean[unknown] + (values - mean)[:, known] @ gain.mT
    return shifted, covariance[unknown][:, unknown] - gain @ across.mT
