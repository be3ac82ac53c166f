r"""A mixture of logistics collected into bins: levels of grey, around several that are likely."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from reference.autoregressive.discretized_logistic import discretized_logistic

if TYPE_CHECKING:
    from jaxtyping import Float, Int

__all__ = ["discretized_logistic_mixture"]


def discretized_logistic_mixture(
    x: Int[Tensor, " n"],
    log_weights: Float[Tensor, "n m"],
    means: Float[Tensor, "n m"],
    log_scales: Float[Tensor, "n m"],
    levels: int,
) -> Float[Tensor, " n"]:
    r"""The log-probability of a level under a mixture of logistics that is rounded to levels.

    .. math::

        \log p(k) = \log \sum_m \pi_m \left[
            \sigma\!\left(\frac{v_k + h - \mu_m}{s_m}\right)
            - \sigma\!\left(\frac{v_k - h - \mu_m}{s_m}\right) \right],
        \qquad v_k = \frac{2k}{K-1} - 1, \quad h = \frac{1}{K-1}

    with :math:`-\infty` for the lower end of the first bin and :math:`\infty` for the upper end of
    the last.

    Paper: PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood and Other
    Modifications (Salimans, Karpathy, Chen, Kingma, 2017), equation 2,
    https://arxiv.org/abs/1701.05517
    Claims: discretized_logistic_mixture.matches_cdf_differences,
    discretized_logistic_mixture.edges_take_tails, discretized_logistic_mixture.normalised,
    discretized_logistic_mixture.limit_of_small_scale,
    discretized_logistic_mixture.mixture_weights_shift_invariant,
    discretized_logistic_mixture.finite_everywhere,
    discretized_logistic_mixture.far_gradient_pulls_the_mean
    Differs: one channel; the paper's channels shift each other's means. No floor under the scales,
    and no switch to the density where the difference is small.

    Args:
        x: Levels in [0, K) (N,).
        log_weights: Logarithms of the mixture's weights, up to a constant for each item (N, M).
        means: Centres of the logistics, in the units in which levels span [-1, 1] (N, M).
        log_scales: Logarithms of their scales (N, M).
        levels: K, two or more.

    Returns:
        The log-probability of each item in nats (N,).

    Raises:
        ValueError: Fewer than two levels.

    >>> import torch
    >>> zero = torch.zeros(2, 1)
    >>> discretized_logistic_mixture(torch.tensor([0, 1]), zero, zero, zero, levels=2).exp()
    tensor([0.5000, 0.5000])
    """
    log_mass = discretized_logistic(x[:, None], means, log_scales, levels)  # (N, M)
    return (log_weights.log_softmax(-1) + log_mass).logsumexp(-1)
