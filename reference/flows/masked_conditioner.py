r"""A network with two heads whose outputs for a feature know the features before it, and no other.

.. code-block:: text

    input    rank      0   1   2       a hidden unit of degree m reads the inputs of rank <= m,
                       | \ |           an output of rank r reads the hidden units of degree < r
    hidden   degree    0   1
                         \ | \
    output   rank      0   1   2       (the first feature has a constant shift and scale)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = ["MaskedConditioner"]


class MaskedConditioner(nn.Module):
    r"""Shift and log-scale of each feature, computed from the features before it alone.

    .. math::

        (\mu_i, \alpha_i) = c_i(x_1, \dots, x_{i-1})

    Paper: Masked Autoregressive Flow for Density Estimation (Papamakarios, Pavlakou, Murray, 2017),
    Section 3.1, https://arxiv.org/abs/1705.07057
    Claims: theory.maf_iaf_mutual_inverses
    Differs: one hidden layer; alpha is kept in (-1, 1), so that no layer runs away.

    Args:
        dim: D.
        hidden: units of the hidden layer; D - 1 or more, or some of the past goes unread.

    >>> [part.shape for part in MaskedConditioner(3, 4)(torch.zeros(5, 3))]
    [torch.Size([5, 3]), torch.Size([5, 3])]
    """

    reads: Tensor
    tells: Tensor

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(dim, hidden), nn.Linear(hidden, 2 * dim)
        rank, degree = torch.arange(dim), torch.arange(hidden) % max(dim - 1, 1)
        self.register_buffer("reads", degree[:, None] >= rank)  # (hidden, D)
        self.register_buffer("tells", rank.repeat(2)[:, None] > degree)  # (2 D, hidden)

    def forward(self, x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]]:
        """mu and alpha, (N, D) each."""
        hidden = functional.linear(x, self.enter.weight * self.reads, self.enter.bias).tanh()
        out = functional.linear(hidden, self.leave.weight * self.tells, self.leave.bias)
        shift, log_scale = out.chunk(2, dim=1)
        return shift, log_scale.tanh()
