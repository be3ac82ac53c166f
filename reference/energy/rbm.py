r"""The restricted Boltzmann machine: two layers of binary units, connected across and not within.

.. code-block:: text

    hidden     h_1   h_2   h_3          given one layer, the units of the other are independent:
                 \  / | \  /            no edge joins two units of one layer
    visible     v_1   v_2
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

__all__ = ["RBM"]


class RBM(nn.Module):
    r"""Binary visible and hidden units with a bilinear energy.

    .. math::

        p(v, h) \propto e^{-E(v, h)}, \qquad E(v, h) = -b^\top v - c^\top h - v^\top W h

    The hidden units can be summed out one by one, which leaves the free energy

    .. math::

        F(v) = -\log \sum_h e^{-E(v, h)}
        = -b^\top v - \sum_j \log\bigl(1 + e^{c_j + (W^\top v)_j}\bigr)

    Paper: A Practical Guide to Training Restricted Boltzmann Machines (Hinton, 2010), Sections 2
    and 16.1, https://www.cs.toronto.edu/~hinton/absps/guideTR.pdf
    Claims: rbm.free_energy_marginalises, rbm.conditionals_match_joint,
    rbm.gibbs_leaves_it_stationary, rbm.energy_is_bilinear, rbm.layers_interact
    Differs: none.

    Args:
        visible: Number V of visible units.
        hidden: Number H of hidden units.

    >>> model = RBM.tiny()
    >>> model.free_energy(torch.zeros(5, 4)).shape
    torch.Size([5])
    """

    def __init__(self, visible: int, hidden: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.01 * torch.randn(visible, hidden))
        self.visible_bias = nn.Parameter(torch.zeros(visible))
        self.hidden_bias = nn.Parameter(torch.zeros(hidden))

    @classmethod
    def tiny(cls) -> RBM:
        """A model small enough for tests."""
        return cls(visible=4, hidden=3)

    def energy(self, v: Float[Tensor, "n v"], h: Float[Tensor, "n h"]) -> Float[Tensor, " n"]:
        """E(v, h), of each pair."""
        across = ((v @ self.weight) * h).sum(-1)
        return -(v @ self.visible_bias) - h @ self.hidden_bias - across

    def free_energy(self, v: Float[Tensor, "n v"]) -> Float[Tensor, " n"]:
        """F(v): the hidden units summed out one by one; softplus survives large arguments."""
        inputs = self.hidden_bias + v @ self.weight  # (N, H)
        return -(v @ self.visible_bias) - functional.softplus(inputs).sum(-1)

    def hidden_probability(self, v: Float[Tensor, "n v"]) -> Float[Tensor, "n h"]:
        """The probability that each hidden unit is 1, given the visible ones."""
        return (self.hidden_bias + v @ self.weight).sigmoid()

    def visible_probability(self, h: Float[Tensor, "n h"]) -> Float[Tensor, "n v"]:
        """The probability that each visible unit is 1, given the hidden ones."""
        return (self.visible_bias + h @ self.weight.T).sigmoid()

    def gibbs_step(
        self, v: Float[Tensor, "n v"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "n v"]:
        """One sweep of the Markov chain that leaves p(v) unchanged: hidden, then visible units."""
        h = torch.bernoulli(self.hidden_probability(v), generator=generator)
        return torch.bernoulli(self.visible_probability(h), generator=generator)
