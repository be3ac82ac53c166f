r"""A logistic collected into bins: levels of grey that know which of them are close.

.. code-block:: text

        tail <-|  0  |  1  |  2  |  3  |-> tail        K = 4 levels in [-1, 1], bins of width 2/3
              -1   -1/3   1/3    1
"""

from __future__ import annotations

__all__ = ["discretized_logistic"]

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from reference.autoregressive.levels import scaled_levels

if TYPE_CHECKING:
    from jaxtyping import Float, Int


def discretized_logistic(
    x: Int[Tensor, "*#shape"],
    mean: Float[Tensor, "*#shape"],
    log_scale: Float[Tensor, "*#shape"],
    levels: int,
) -> Float[Tensor, " ..."]:
    r"""The log-probability of a level under a logistic that is rounded to levels.

    .. math::

        \log p(k) = \log \left[ \sigma\!\left(\frac{v_k + h - \mu}{s}\right)
            - \sigma\!\left(\frac{v_k - h - \mu}{s}\right) \right],
        \qquad h = \frac{1}{K-1}

    with :math:`-\infty` for the lower end of the first bin and :math:`\infty` for the upper end of
    the last. The difference is taken in log space, by the identity

    .. math::

        \sigma(b) - \sigma(a) = \sigma(b)\, \sigma(-a)\, \bigl(1 - e^{-(b - a)}\bigr)

    Paper: PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood and Other
    Modifications (Salimans, Karpathy, Chen, Kingma, 2017), equation 2,
    https://arxiv.org/abs/1701.05517
    Claims: discretized_logistic_mixture.matches_cdf_differences,
    discretized_logistic_mixture.edges_take_tails, discretized_logistic_mixture.normalised,
    discretized_logistic_mixture.finite_everywhere
    Differs: no switch to the density where the difference is small.

    Args:
        x: Levels in [0, K).
        mean: Centres of the logistics, in the units in which levels span [-1, 1].
        log_scale: Logarithms of their scales.
        levels: K, two or more.

    Returns:
        The log-probabilities in nats, of the shape to which the three broadcast.

    Raises:
        ValueError: Fewer than two levels.

    >>> discretized_logistic(torch.tensor([0, 1]), torch.zeros(2), torch.zeros(2), levels=2).exp()
    tensor([0.5000, 0.5000])
    """
    if levels < 2:
        raise ValueError(f"there must be two levels or more, not {levels}")
    apart = scaled_levels(x, levels, mean.dtype) - mean
    half = 1 / (levels - 1)  # h
    precision = (-log_scale).exp()
    below = logsigmoid((apart + half) * precision)  # log of the mass below the bin's upper end
    above = logsigmoid((half - apart) * precision)
    inside = (-torch.expm1(-2 * half * precision)).log()
    return torch.where(x == 0, below, torch.where(x == levels - 1, above, below + above + inside))
