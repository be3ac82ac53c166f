r"""The order of generation: any permutation of the dimensions gives a chain rule of its own.

.. code-block:: text

    order    2  0  1        first generated first      past    x0  x1  x2
    rank     1  2  0        x2 is the first             x0      .   .   1
                                                        x1      1   .   1     row i, column j:
                                                        x2      .   .   .     1 where j precedes i
"""

from __future__ import annotations

__all__ = ["generation_order", "past_of"]

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from reference.autoregressive.sampling import raster_order

if TYPE_CHECKING:
    from jaxtyping import Bool, Int


def generation_order(
    event_shape: Sequence[int], order: Sequence[int] | None = None
) -> Int[Tensor, " d"]:
    r"""Check an order of generation; raster order is the default.

    .. math::

        p(x) = \prod_{t=1}^{D} p(x_{o_t} \mid x_{o_1}, \dots, x_{o_{t-1}}), \qquad
        o \text{ a permutation}

    Paper: MADE: Masked Autoencoder for Distribution Estimation (Germain, Gregor, Murray,
    Larochelle, 2015), Section 4.3, https://arxiv.org/abs/1502.03509
    Claims: autoregressive_model.order_is_a_permutation
    Differs: none.

    Args:
        event_shape: (D,), or (C, H, W).
        order: flattened indices, first generated first; raster order if None.

    Returns:
        (D,), long.

    Raises:
        ValueError: not a permutation, or as for `raster_order`.

    >>> generation_order((3,), [2, 0, 1])
    tensor([2, 0, 1])
    """
    raster = raster_order(event_shape)
    chosen = raster if order is None else [int(i) for i in order]
    if sorted(chosen) != sorted(raster):
        raise ValueError(f"order {chosen} is no permutation of {len(raster)} dimensions")
    return torch.tensor(chosen)


def past_of(order: Int[Tensor, " d"]) -> Bool[Tensor, "d d"]:
    r"""Mark, for every dimension, those that are generated before it.

    .. math::

        P_{ij} = [r_j < r_i], \qquad r = o^{-1}

    Paper: MADE: Masked Autoencoder for Distribution Estimation (Germain, Gregor, Murray,
    Larochelle, 2015), Section 4.3, https://arxiv.org/abs/1502.03509
    Claims: autoregressive_model.uses_the_allowed_past
    Differs: none.

    Args:
        order: flattened indices, first generated first.

    Returns:
        (D, D): row i, column j is True where j precedes i.

    >>> past_of(torch.tensor([2, 0, 1])).int()
    tensor([[0, 0, 1],
            [1, 0, 1],
            [0, 0, 0]], dtype=torch.int32)
    """
    rank = order.argsort()
    return rank[None, :] < rank[:, None]
