r"""Two tools of BigGAN: latents without their tails, and weights whose filters do not overlap.

.. code-block:: text

    normal    ..--==######==--..        redrawn            .==######==.
                |          |            or by quantiles    |          |
               -t          t                              -t          t
"""

from __future__ import annotations

__all__ = ["orthogonal_penalty", "redrawn_normal", "truncated_normal"]

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from reference.adversarial.spectral_norm import flattened_weight

if TYPE_CHECKING:
    from jaxtyping import Float


def truncated_normal(
    uniform: Float[Tensor, " *shape"], threshold: float
) -> Float[Tensor, " *shape"]:
    r"""Turn uniform noise into normal noise that never leaves an interval.

    .. math::

        z = \Phi^{-1}\bigl(\Phi(-t) + u\,(\Phi(t) - \Phi(-t))\bigr), \qquad |z| \le t

    Latents near the middle are those the generator met most often: a small t gives better images
    that vary less.

    Paper: Large Scale GAN Training for High Fidelity Natural Image Synthesis (Brock, Donahue,
    Simonyan, 2018), Section 3.1, https://arxiv.org/abs/1809.11096
    Claims: theory.truncation_bounds_every_coordinate, truncated_normal.matches_distribution
    Differs: the quantile function, where the paper redraws what falls outside (as
    `redrawn_normal` does): one distribution.

    Args:
        uniform: independent numbers in [0, 1].
        threshold: t > 0, also infinite.

    Returns:
        numbers in [-t, t], of the density of a normal there, rescaled.

    Raises:
        ValueError: the threshold is not positive.

    >>> truncated_normal(torch.tensor([0.0, 0.5, 1.0]).double(), threshold=2.0)
    tensor([-2.,  0.,  2.], dtype=torch.float64)
    """
    if not threshold > 0:
        raise ValueError(f"the threshold must be positive, not {threshold}")
    # By the distance from the middle, the same on both sides: the tails keep their digits.
    mass = math.erf(threshold / math.sqrt(2))
    z = math.sqrt(2) * torch.erfinv((2 * uniform - 1) * mass)
    return z.clamp(-threshold, threshold)  # rounding at the ends


def redrawn_normal(
    shape: tuple[int, ...], threshold: float, generator: torch.Generator
) -> Float[Tensor, " ..."]:
    r"""Draw normal noise, and draw again what falls outside an interval until nothing does.

    .. math::

        z_i \sim \mathcal N(0, 1) \;\big|\; |z_i| \le t

    A number is redrawn 1 / P(|z| <= t) - 1 times on average: 0.05 times at t = 2, 30 times at 0.04.

    Paper: Large Scale GAN Training for High Fidelity Natural Image Synthesis (Brock, Donahue,
    Simonyan, 2018), Section 3.1, https://arxiv.org/abs/1809.11096
    Claims: truncated_normal.matches_distribution, truncated_normal.within_threshold,
    truncated_normal.no_point_mass, truncated_normal.draws_are_independent
    Differs: none.

    Args:
        shape: of what is drawn.
        threshold: t > 0, also infinite.
        generator: the only source of randomness.

    Returns:
        numbers in [-t, t] on the generator's device, in torch's default dtype.

    Raises:
        ValueError: the threshold is not positive.

    >>> z = redrawn_normal((1000, 5), threshold=0.5, generator=torch.Generator().manual_seed(0))
    >>> bool((z.abs() <= 0.5).all()), bool((z.abs() > 0.49).any())
    (True, True)
    """
    if not threshold > 0:
        raise ValueError(f"the threshold must be positive, not {threshold}")
    z = torch.randn(shape, generator=generator, device=generator.device)
    while (outside := z.abs() > threshold).any():
        again = torch.randn(int(outside.sum()), generator=generator, device=generator.device)
        z[outside] = again
    return z


def orthogonal_penalty(weight: Float[Tensor, " ..."]) -> Float[Tensor, ""]:
    r"""Penalise pairs of filters that are not perpendicular, and leave their lengths alone.

    .. math::

        R(W) = \bigl\lVert W W^\top \odot (\mathbf 1 - I) \bigr\rVert_F^2
            = \sum_{i \ne j} (w_i \cdot w_j)^2

    With it, truncated latents fall less often on what the generator never learned.

    Paper: Large Scale GAN Training for High Fidelity Natural Image Synthesis (Brock, Donahue,
    Simonyan, 2018), Equation 3, https://arxiv.org/abs/1809.11096
    Claims: theory.orthogonal_penalty_zero_iff_orthogonal, orthogonal_penalty.matches_definition,
    orthogonal_penalty.gradient, orthogonal_penalty.attains_the_welch_bound
    Differs: the weight beta is the caller's; rows are filters, as in the authors' code.

    Args:
        weight: of a linear layer or convolution, output channels first.

    Returns:
        scalar.

    >>> orthogonal_penalty(torch.tensor([[1.0, 0.0], [2.0, 3.0]]))  # both orders of one pair
    tensor(8.)
    """
    rows = flattened_weight(weight)
    gram = rows @ rows.mT
    return (gram - gram.diag().diag()).square().sum()
