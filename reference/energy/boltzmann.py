r"""The Boltzmann machine: binary units, every pair of which may be connected.

.. code-block:: text

    s_1 --- s_2
     | \   / |        one weight for each pair, the same both ways, none from a unit to itself
     |   X   |
     | /   \ |
    s_3 --- s_4

Small machines are enumerated: all 2**D states, listed once.
"""

from __future__ import annotations

__all__ = ["BoltzmannMachine", "all_states", "correlations"]

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float


def all_states(units: int) -> Float[Tensor, "s d"]:
    r"""Every state of some binary units.

    .. math::

        \{0, 1\}^D \text{, counted up: the last unit changes fastest}

    Paper: A Learning Algorithm for Boltzmann Machines (Ackley, Hinton, Sejnowski, 1985), Section 2,
    https://doi.org/10.1207/s15516709cog0901_7
    Claims: theory.boltzmann_conditionals, theory.rbm_gradient
    Differs: none.

    Args:
        units: D.

    Returns:
        (2**D, D), float64.

    >>> all_states(2).int().tolist()
    [[0, 0], [0, 1], [1, 0], [1, 1]]
    """
    number = torch.arange(2**units)[:, None]
    return (number >> torch.arange(units - 1, -1, -1) & 1).double()


def correlations(
    probability: Float[Tensor, " s"], states: Float[Tensor, "s d"]
) -> Float[Tensor, "d d"]:
    r"""How often each pair of units is on together.

    .. math::

        \langle s_i s_j \rangle = \sum_s p(s)\, s_i s_j

    Paper: A Learning Algorithm for Boltzmann Machines (Ackley, Hinton, Sejnowski, 1985),
    Section 3, https://doi.org/10.1207/s15516709cog0901_7
    Claims: theory.boltzmann_learning_rule
    Differs: none.

    Args:
        probability: of each state (S,).
        states: (S, D).

    Returns:
        (D, D), symmetric; the diagonal holds the means.

    >>> correlations(torch.tensor([0.5, 0.5]), torch.tensor([[0.0, 1.0], [1.0, 1.0]]))
    tensor([[0.5000, 0.5000],
            [0.5000, 1.0000]])
    """
    return (probability[:, None] * states).mT @ states


class BoltzmannMachine(nn.Module):
    r"""A density over binary units whose energy is a sum over units and pairs.

    .. math::

        p(s) = \frac{e^{-E(s)}}{\sum_{s'} e^{-E(s')}}, \qquad
        E(s) = -\sum_i b_i s_i - \sum_{i < j} w_{ij} s_i s_j

    Paper: A Learning Algorithm for Boltzmann Machines (Ackley, Hinton, Sejnowski, 1985), Section 2,
    https://doi.org/10.1207/s15516709cog0901_7
    Claims: theory.boltzmann_conditionals, theory.boltzmann_learning_rule,
    theory.gibbs_sweep_is_stationary
    Differs: all units are visible, at temperature 1.

    Args:
        units: D.

    >>> BoltzmannMachine.tiny().log_prob(torch.zeros(5, 3)).shape
    torch.Size([5])
    """

    def __init__(self, units: int) -> None:
        super().__init__()
        self.upper = nn.Parameter(0.1 * torch.randn(units, units))  # its strict upper triangle
        self.bias = nn.Parameter(torch.zeros(units))

    @classmethod
    def tiny(cls) -> BoltzmannMachine:
        """Three units."""
        return cls(3)

    @property
    def weight(self) -> Float[Tensor, "d d"]:
        """Symmetric, with zeros on the diagonal."""
        upper = self.upper.triu(1)
        return upper + upper.mT

    def energy(self, s: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """E(s); each pair counts once."""
        return -(s @ self.bias) - 0.5 * ((s @ self.weight) * s).sum(-1)

    def log_prob(self, s: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """(N,), nats; the constant is summed over all states, exponential in D."""
        states = all_states(len(self.bias)).to(self.bias)
        return -self.energy(s) - (-self.energy(states)).logsumexp(0)

    def on_probability(self, s: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """The probability that each unit is on, given all the others."""
        return (self.bias + s @ self.weight).sigmoid()

    def gibbs_sweep(
        self, s: Float[Tensor, "n d"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "n d"]:
        """Every unit in turn drawn anew, given the latest state of the others."""
        s = s.clone()
        for i in range(s.shape[1]):
            s[:, i] = torch.bernoulli(self.on_probability(s)[:, i], generator=generator)
        return s
