r"""Instance noise: blur data and samples alike, and disjoint supports overlap again.

.. code-block:: text

    without noise    |            |         JS = log 2 wherever the second one stands: no slope
                     0            d

    with noise      .-.          .-.        the tails overlap, and JS says in which direction
                  _/   \________/   \_      they would overlap more
"""

from __future__ import annotations

__all__ = ["blurred_js"]

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float


def blurred_js(
    x: Float[Tensor, " n"],
    y: Float[Tensor, " m"],
    p: Float[Tensor, " n"],
    q: Float[Tensor, " m"],
    sigma: float,
) -> Float[Tensor, ""]:
    r"""The JS divergence of two sets of points on the line after Gaussian noise on both.

    .. math::

        D_{\mathrm{JS}}\bigl(p * \mathcal N(0, \sigma^2) \,\|\, q * \mathcal N(0, \sigma^2)\bigr)

    integrated on a grid that covers both.

    Paper: Towards Principled Methods for Training Generative Adversarial Networks (Arjovsky, Bottou,
    2017), Section 3, https://arxiv.org/abs/1701.04862; Amortised MAP Inference for Image
    Super-resolution (Sønderby et al., 2016), Section 4
    Claims: theory.instance_noise_restores_gradient
    Differs: points on a line, where the divergence can be integrated.

    Args:
        x, y: places on the line (n,) and (m,).
        p, q: their probabilities (n,) and (m,).
        sigma: standard deviation of the noise, positive.

    Returns:
        A scalar, nats, in [0, log 2]; differentiable in all tensors.

    Raises:
        ValueError: sigma is not positive.

    >>> one = torch.ones(1, dtype=torch.float64)
    >>> blurred_js(0 * one, 0 * one, one, one, sigma=1.0)
    tensor(0., dtype=torch.float64)
    """
    if sigma <= 0:
        raise ValueError(f"sigma must be positive, not {sigma}")
    ends = torch.cat([x, y]).detach()
    low, high = float(ends.min()) - 9 * sigma, float(ends.max()) + 9 * sigma
    count = math.ceil((high - low) / sigma * 16) + 1
    grid = torch.linspace(low, high, count, dtype=x.dtype, device=x.device)

    def log_density(points: Tensor, weights: Tensor) -> Tensor:
        normal = -0.5 * ((grid[:, None] - points) / sigma).square()
        return (normal + weights.log()).logsumexp(1)

    log_p, log_q = log_density(x, p), log_density(y, q)
    log_m = torch.logaddexp(log_p, log_q) - math.log(2)
    mass = float(grid[1] - grid[0]) / (sigma * math.sqrt(2 * math.pi))
    terms = log_p.exp() * (log_p - log_m) + log_q.exp() * (log_q - log_m)
    found: Tensor = 0.5 * mass * terms.sum()
    return found
