r"""The importance weighted bound: the logarithm of an average of importance weights.

.. code-block:: text

    z_1 ... z_S ~ q(z | x)        a_s = log p(x, z_s) - log q(z_s | x)        log mean exp over s
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

__all__ = ["iwae_bound"]


def iwae_bound(log_weights: Float[Tensor, "s n"]) -> Float[Tensor, " n"]:
    r"""A lower bound on log p(x) that tightens with the number of samples.

    .. math::

        \mathcal L_S(x) = \log \frac1S \sum_{s=1}^{S} w_s
        = m + \log \frac1S \sum_{s=1}^{S} e^{\log w_s - m},
        \qquad w_s = \frac{p(x, z_s)}{q(z_s \mid x)}, \quad m = \max_s \log w_s

    With one sample it is the estimate of the evidence lower bound. The maximum is taken out, so
    that weights beyond the range of floating point neither overflow nor vanish.

    Paper: Importance Weighted Autoencoders (Burda, Grosse, Salakhutdinov, 2015), Equation 8,
    https://arxiv.org/abs/1509.00519
    Claims: iwae_bound.is_log_mean_exp, iwae_bound.monotone, iwae_bound.one_sample_is_elbo,
    iwae_bound.stable, iwae_bound.shift_equivariant, iwae_bound.gradient
    Differs: none; the weights are an argument, so that any model and proposal can make them.

    Args:
        log_weights: Logarithms of the importance weights (S, N), S >= 1 samples of each item.

    Returns:
        The bound of each item, in nats (N,).

    Raises:
        ValueError: There is no sample, or not one row a sample.

    >>> import torch
    >>> iwae_bound(torch.tensor([[-1e4, 0.0], [-1e4, math.log(3)]]))
    tensor([-1.0000e+04,  6.9315e-01])
    """
    if log_weights.ndim != 2 or len(log_weights) == 0:
        raise ValueError(f"log_weights must be (S, N) with S >= 1, got {(*log_weights.shape,)}")
    return log_weights.logsumexp(0) - math.log(len(log_weights))
