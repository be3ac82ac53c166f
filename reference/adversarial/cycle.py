r"""Cycle consistency: what a translation between two unpaired domains may not forget.

.. code-block:: text

    x --x_to_y--> .  --y_to_x--> x'      |x' - x|, and likewise from y
"""

from __future__ import annotations

__all__ = ["cycle_consistency_loss"]

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float

    Map = Callable[[Tensor], Tensor]


def cycle_consistency_loss(
    x_to_y: Map, y_to_x: Map, x: Float[Tensor, " n *event"], y: Float[Tensor, " m *other"]
) -> Float[Tensor, ""]:
    r"""Add the mean absolute errors of the two journeys there and back.

    .. math::

        L(G, F) = \overline{|F(G(x)) - x|} + \overline{|G(F(y)) - y|}

    bars for means over a batch and all numbers of its items. Any bijection and its inverse have
    loss zero: the loss keeps what is needed to return, and does not say which y belongs to an x.

    Paper: Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks (Zhu,
    Park, Isola, Efros, 2017), equation 2, https://arxiv.org/abs/1703.10593
    Claims: cycle_consistency_loss.matches_definition, cycle_consistency_loss.zero_iff_inverse,
    cycle_consistency_loss.both_directions_count, cycle_consistency_loss.symmetric_in_roles,
    cycle_consistency_loss.batches_are_averaged, cycle_consistency_loss.gradient_reaches_both
    Differs: the norm is divided by the number of pixels, as in the authors' code.

    Args:
        x_to_y: G, takes a batch of the first domain to the second.
        y_to_x: F, takes a batch of the second domain to the first.
        x: Items of the first domain (N, ...).
        y: Items of the second domain (M, ...), not paired with x.

    Returns:
        The loss, a scalar.

    >>> import torch
    >>> double, minus_one = lambda x: 2 * x, lambda y: y - 1
    >>> cycle_consistency_loss(double, minus_one, torch.tensor([[3.0]]), torch.tensor([[4.0]]))
    tensor(4.)
    """
    there_and_back = (y_to_x(x_to_y(x)) - x).abs().mean()
    return there_and_back + (x_to_y(y_to_x(y)) - y).abs().mean()
