r"""A mixture of logistics for whole pixels: one set of weights, shared by the channels of a pixel.

The channels are dependent in two ways: each shifts the means of those after it, and each that is
known says something about the component.

.. code-block:: text

    pi ------------> R  <--- mean and scale of R in each component
    pi given R ----> G  <--- those of G, its mean shifted by R
    pi given R, G -> B  <--- those of B, its mean shifted by R and G
"""

from __future__ import annotations

__all__ = [
    "coupled_mixture_log_prob",
    "coupled_mixture_logits",
]

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from reference.autoregressive.coupled_channels import coupled_means
from reference.autoregressive.discretized_logistic import discretized_logistic
from reference.autoregressive.levels import scaled_levels

if TYPE_CHECKING:
    from jaxtyping import Float, Int


def coupled_mixture_log_prob(
    x: Int[Tensor, "n c h w"],
    log_weights: Float[Tensor, "n m h w"],
    means: Float[Tensor, "n m c h w"],
    log_scales: Float[Tensor, "n m c h w"],
    coefficients: Float[Tensor, "n m p h w"],
    levels: int,
) -> Float[Tensor, " n"]:
    r"""The log-probability of images whose pixels are independent, each of one coupled mixture.

    .. math::

        \log p(x) = \sum_{\text{pixels}} \log \sum_m \pi_m \prod_c p_m(x_c \mid x_{<c})

    where :math:`p_m(x_c \mid x_{<c})` is the logistic of mean :math:`\mu_{m,c}(x_{<c})`, rounded:
    one component accounts for all channels of a pixel.

    Paper: PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood and Other
    Modifications (Salimans, Karpathy, Chen, Kingma, 2017), equations 2 and 3,
    https://arxiv.org/abs/1701.05517
    Claims: theory.coupled_mixture_matches_its_definition, theory.coupled_mixture_normalised,
    theory.coupled_mixture_chain_rule, theory.coupled_mixture_channels_depend
    Differs: no switch to the density where a bin's mass is small.

    Args:
        x: Levels in [0, K) (N, C, H, W).
        log_weights: log pi, up to a constant for each pixel (N, M, H, W).
        means, log_scales: Of each component and channel (N, M, C, H, W).
        coefficients: As for `coupled_means`.
        levels: K, two or more.

    Returns:
        (N,), nats.

    >>> zero, x = torch.zeros(1, 2, 3, 1, 1), torch.tensor([0, 1, 1]).view(1, 3, 1, 1)
    >>> coupled_mixture_log_prob(x, zero[:, :, 0], zero, zero, zero, levels=2).exp()
    tensor([0.1250])
    """
    centres = coupled_means(scaled_levels(x, levels, means.dtype), means, coefficients)
    log_mass = discretized_logistic(x[:, None], centres, log_scales, levels)  # (N, M, C, H, W)
    return (log_weights.log_softmax(1) + log_mass.sum(2)).logsumexp(1).sum((1, 2))


def coupled_mixture_logits(
    x: Int[Tensor, "n c h w"],
    log_weights: Float[Tensor, "n m h w"],
    means: Float[Tensor, "n m c h w"],
    log_scales: Float[Tensor, "n m c h w"],
    coefficients: Float[Tensor, "n m p h w"],
    levels: int,
) -> Float[Tensor, "n k c h w"]:
    r"""Every channel's conditional, given the channels before it, under the coupled mixture.

    .. math::

        p(x_c = k \mid x_{<c}) = \sum_m w_m(x_{<c})\, p_m(k \mid x_{<c}), \qquad
        w_m(x_{<c}) = \frac{\pi_m \prod_{c' < c} p_m(x_{c'} \mid x_{<c'})}
            {\sum_l \pi_l \prod_{c' < c} p_l(x_{c'} \mid x_{<c'})}

    The joint probability of the first c channels is a sum over components too, with the remaining
    factors summed out; the quotient of two neighbouring ones is the formula above. By Bayes' rule
    its weights are the component's distribution given the channels that are known: R is drawn with
    the weights pi, but G with those of the components that explain R, and B with those that explain
    R and G.

    Paper: PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood and Other
    Modifications (Salimans, Karpathy, Chen, Kingma, 2017), equations 2 and 3,
    https://arxiv.org/abs/1701.05517
    Claims: theory.coupled_mixture_chain_rule, theory.coupled_mixture_channels_depend,
    autoregressive_model.chain_rule
    Differs: none; the paper draws a component, then all channels from it, which comes to the same.

    Args:
        x, log_weights, means, log_scales, coefficients, levels: As for `coupled_mixture_log_prob`.

    Returns:
        (N, K, C, H, W), log-probabilities in nats.

    >>> zero, x = torch.zeros(1, 2, 3, 1, 1), torch.zeros(1, 3, 1, 1, dtype=torch.long)
    >>> coupled_mixture_logits(x, zero[:, :, 0], zero, zero, zero, levels=2).exp().flatten()
    tensor([0.5000, 0.5000, 0.5000, 0.5000, 0.5000, 0.5000])
    """
    centres = coupled_means(scaled_levels(x, levels, means.dtype), means, coefficients)
    taken = discretized_logistic(x[:, None], centres, log_scales, levels)  # (N, M, C, H, W)
    before = F.pad(taken.cumsum(2)[:, :, :-1], (0, 0, 0, 0, 1, 0))  # of the channels before
    weights = (log_weights.log_softmax(1)[:, :, None] + before).log_softmax(1)
    every = torch.arange(levels, device=x.device).view(-1, 1, 1, 1)
    log_mass = discretized_logistic(every, centres[:, :, None], log_scales[:, :, None], levels)
    return (weights[:, :, None] + log_mass).logsumexp(1)  # from (N, M, K, C, H, W)
