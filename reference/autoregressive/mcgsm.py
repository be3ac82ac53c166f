r"""A mixture of conditional Gaussian scale mixtures: experts that predict, gates that say which one.

.. code-block:: text

    c: which linear prediction          p(x)   /\           one centre a^T h for each c,
    s: how sure of it                       __/  \__        several widths for each centre:
                                      _____/        \_____  a sharp peak and heavy tails
"""

from __future__ import annotations

__all__ = ["discretized_gaussian", "mcgsm", "mcgsm_logits"]

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from reference.autoregressive.levels import scaled_levels

if TYPE_CHECKING:
    from jaxtyping import Float, Int


def mcgsm(
    h: Float[Tensor, "*batch f"],
    log_priors: Float[Tensor, "c s"],
    log_precisions: Float[Tensor, "c s"],
    predictors: Float[Tensor, "c f"],
    loadings: Float[Tensor, "c b"],
    features: Float[Tensor, "b f"],
) -> tuple[Float[Tensor, "*batch c s"], Float[Tensor, "*batch c"]]:
    r"""Weigh the experts by how well they explain the features, and let each of them predict.

    .. math::

        p(x \mid h) = \sum_{c,s} p(c, s \mid h)\, \mathcal N(x; a_c^\top h, e^{-\alpha_{cs}}), \qquad
        p(c, s \mid h) \propto \exp\bigl(\eta_{cs} - \tfrac12 e^{\alpha_{cs}} h^\top K_c h\bigr), \qquad
        K_c = \sum_b \beta_{cb}^2\, v_b v_b^\top

    Paper: Mixtures of Conditional Gaussian Scale Mixtures Applied to Multiscale Image
    Representations (Theis, Hosseini, Bethge, 2012), https://arxiv.org/abs/1109.4389; Generative
    Image Modeling Using Spatial LSTMs (Theis, Bethge, 2015), Section 2.1 (the factorised form),
    https://arxiv.org/abs/1506.03478
    Claims: theory.mcgsm_is_a_conditional_of_gaussians
    Differs: none.

    Args:
        h: features (..., F).
        log_priors: eta (C, S).
        log_precisions: alpha (C, S).
        predictors: a (C, F).
        loadings: beta (C, B).
        features: v, common to all experts (B, F).

    Returns:
        log p(c, s | h) in nats (..., C, S) and the predictions (..., C).

    >>> one = torch.ones(1, 1)
    >>> mcgsm(torch.tensor([2.0]), one, one, 3 * one, one, one)
    (tensor([[0.]]), tensor([6.]))
    """
    energies = (h @ features.mT).square() @ loadings.square().mT  # h^T K_c h, (..., C)
    gates = log_priors - 0.5 * log_precisions.exp() * energies[..., None]
    return gates.flatten(-2).log_softmax(-1).view(gates.shape), h @ predictors.mT


def discretized_gaussian(
    x: Int[Tensor, "*#shape"],
    mean: Float[Tensor, "*#shape"],
    log_scale: Float[Tensor, "*#shape"],
    levels: int,
) -> Float[Tensor, " ..."]:
    r"""The log-probability of a level under a Gaussian that is rounded to levels.

    .. math::

        \log p(k) = \log \left[ \Phi\!\left(\frac{v_k + \frac1{K-1} - \mu}{\sigma}\right)
            - \Phi\!\left(\frac{v_k - \frac1{K-1} - \mu}{\sigma}\right) \right], \qquad
        v_k = \frac{2k}{K-1} - 1

    with :math:`-\infty` for the lower end of the first bin and :math:`\infty` for the upper end of
    the last. A bin above the mean is mirrored, since only small values of :math:`\Phi` are exact.

    Paper: Denoising Diffusion Probabilistic Models (Ho, Jain, Abbeel, 2020), Equation 13,
    https://arxiv.org/abs/2006.11239
    Claims: theory.discretized_gaussian_is_a_difference_of_cdfs
    Differs: none.

    Args:
        x: levels in [0, K).
        mean: in the units in which levels span [-1, 1].
        log_scale: log sigma.
        levels: K, two or more.

    Returns:
        The log-probabilities in nats, of the shape to which the three broadcast.

    Raises:
        ValueError: fewer than two levels.

    >>> discretized_gaussian(torch.tensor([0, 1]), torch.zeros(2), torch.zeros(2), levels=2).exp()
    tensor([0.5000, 0.5000])
    """
    if levels < 2:
        raise ValueError(f"there must be two levels or more, not {levels}")
    half, precision = 1 / (levels - 1), (-log_scale).exp()
    apart = (scaled_levels(x, levels, mean.dtype) - mean) * precision
    lower = torch.special.log_ndtr(apart + half * precision)  # of the first bin
    upper = torch.special.log_ndtr(half * precision - apart)  # of the last
    near = half * precision - apart.abs()  # the ends of the bin or of its mirror image, below zero
    wide = torch.special.log_ndtr(near)
    thin = torch.special.log_ndtr(near - 2 * half * precision)
    inside = wide + (-torch.expm1(thin - wide)).log()
    return torch.where(x == 0, lower, torch.where(x == levels - 1, upper, inside))


def mcgsm_logits(
    log_gates: Float[Tensor, "*batch c s"],
    predictions: Float[Tensor, "*batch c"],
    log_precisions: Float[Tensor, "c s"],
    levels: int,
) -> Float[Tensor, "*batch k"]:
    r"""The log-masses of all levels under the conditional mixture, bin by bin.

    .. math::

        \ell_k = \log \sum_{c,s} p(c, s \mid h) \int_{\text{bin } k} \mathcal N(x; a_c^\top h,
            e^{-\alpha_{cs}})\, dx, \qquad \sum_k e^{\ell_k} = 1

    Paper: Generative Image Modeling Using Spatial LSTMs (Theis, Bethge, 2015), Section 2.1,
    https://arxiv.org/abs/1506.03478
    Claims: theory.discretized_gaussian_is_a_difference_of_cdfs, autoregressive_model.chain_rule
    Differs: the density is integrated over each level's bin, and so becomes a mass.

    Args:
        log_gates, predictions: from `mcgsm`.
        log_precisions: alpha (C, S).
        levels: K, two or more.

    Returns:
        (..., K), nats.

    >>> gates, precisions = torch.zeros(1, 1), torch.full((1, 1), 9.0)
    >>> mcgsm_logits(gates, torch.tensor([0.0]), precisions, levels=3).exp()
    tensor([0., 1., 0.])
    """
    level = torch.arange(levels, device=predictions.device).view(-1, 1, 1)
    means = predictions[..., None, :, None]  # (..., 1, C, 1)
    log_masses = discretized_gaussian(level, means, -0.5 * log_precisions, levels)
    return (log_gates[..., None, :, :] + log_masses).flatten(-2).logsumexp(-1)
