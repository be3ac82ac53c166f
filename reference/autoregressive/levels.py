r"""Levels as real numbers: what a network is shown of a pixel.

.. code-block:: text

    level       0      1      2      3        K = 4
    value      -1    -1/3    1/3     1
"""

from __future__ import annotations

__all__ = ["scaled_levels"]

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float, Int


def scaled_levels(
    x: Int[Tensor, " *shape"], levels: int, dtype: torch.dtype
) -> Float[Tensor, " *shape"]:
    r"""Spread the levels evenly over [-1, 1].

    .. math::

        k \mapsto \frac{2k}{K - 1} - 1

    Paper: PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood and
    Other Modifications (Salimans, Karpathy, Chen, Kingma, 2017), Section 2.1,
    https://arxiv.org/abs/1701.05517
    Claims: autoregressive_model.uses_the_allowed_past
    Differs: none.

    Args:
        x: long in [0, K), of any shape.
        levels: K; a single level becomes -1.
        dtype: of the result.

    Returns:
        real numbers of the shape of x.

    >>> scaled_levels(torch.tensor([0, 1, 2]), levels=3, dtype=torch.float32)
    tensor([-1.,  0.,  1.])
    """
    return 2 * x.to(dtype) / max(levels - 1, 1) - 1
