r"""Densities for levels: noise fills the gaps between them, and the units are counted.

.. code-block:: text

    level x        0       1       2       3                 K = 4 levels
    x + u          [───────)[──────)[──────)[──────)         u uniform in [0, 1)
    (x + u) / K    0      1/4     1/2     3/4      1         what the flow sees: log K for each
                                                             dimension is the price of the scale
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float, Int

__all__ = ["dequantized_log_prob"]


def dequantized_log_prob(
    log_prob: Callable[[Tensor], Tensor],
    x: Int[Tensor, " n *event"],
    noise: Float[Tensor, " n *event"],
    levels: int,
) -> Float[Tensor, " n"]:
    r"""Estimate a lower bound of the log-probability of levels, from a density on [0, 1).

    .. math::

        \log P(x) = \log \int_{[0,1)^D} p\Bigl(\frac{x + u}{K}\Bigr) K^{-D}\, du \;\ge\;
        \mathbb E_u\Bigl[\log p\Bigl(\frac{x + u}{K}\Bigr)\Bigr] - D \log K

    The density of x + u is that of (x + u) / K over :math:`K^D`, by the change of variables;
    without it, 256 levels look 8 bits per dimension cheaper than they are. To report the bound in
    bits, divide by -D log 2, as `reference.autoregressive.bits_per_dimension` does.

    Paper: A note on the evaluation of generative models (Theis, van den Oord, Bethge, 2015),
    Section 3.1, https://arxiv.org/abs/1511.01844
    Claims: theory.dequantized_flow_counts_its_units, theory.dequantized_flow_is_below
    Differs: the density is that of x + u in units of K levels.

    Args:
        log_prob: of a flow, from (N, \*event) to (N,), nats.
        x: levels, (N, \*event), in [0, K).
        noise: u, of the shape of x, uniform in [0, 1); the mean over draws of it is the bound.
        levels: K.

    Returns:
        (N,), nats.

    Raises:
        ValueError: one noise is needed for each number.

    >>> import torch
    >>> uniform = lambda v: torch.zeros(len(v))
    >>> nats = dequantized_log_prob(uniform, torch.ones(1, 3).long(), torch.rand(1, 3), 256)
    >>> -nats / (3 * math.log(2))
    tensor([8.])
    """
    if noise.shape != x.shape:
        raise ValueError(f"noise of shape {tuple(noise.shape)} for x of {tuple(x.shape)}")
    return log_prob((x + noise) / levels) - x[0].numel() * math.log(levels)
