r"""NICE: half of the features are shifted by a function of the other half; volume is preserved.

.. code-block:: text

    x1 ──────┬─────> kept ──┐                  the Jacobian of a coupling:   | I  0 |
           shift            ├─> next coupling                                | *  I |
    x2 ────> + ────> moved ─┘                  whatever the network * is, det = 1
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from reference.flows.composition import Composition

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = ["NICE", "AdditiveCoupling", "DiagonalScale"]


class AdditiveCoupling(nn.Module):
    r"""Shift some features by a function of the others.

    .. math::

        z = x + (1 - b) \odot m(b \odot x), \qquad \det \frac{\partial z}{\partial x} = 1

    Paper: NICE: Non-linear Independent Components Estimation (Dinh, Krueger, Bengio, 2014),
    Equations 9 and 10 and Section 3.2, https://arxiv.org/abs/1410.8516
    Claims: flow.round_trip, flow.log_det_is_jacobian, theory.nice_preserves_volume_up_to_scale
    Differs: the two halves are told apart by a mask b and keep their places.

    Args:
        keeps: which features are kept, as zeros and ones, of the shape of one point.
        network: m, from (N, D) to (N, D), D the number of features.

    >>> layer = AdditiveCoupling(torch.tensor([1.0, 0.0]), nn.Linear(2, 2))
    >>> layer(torch.ones(5, 2))[1]
    tensor([0., 0., 0., 0., 0.])
    """

    keeps: Tensor

    def __init__(self, keeps: Float[Tensor, " *event"], network: nn.Module) -> None:
        super().__init__()
        self.register_buffer("keeps", keeps.clone())
        self.network = network

    def shift(self, x: Float[Tensor, " n *event"]) -> Float[Tensor, " n *event"]:
        """m(b x) for the features that move, 0 for those that are kept."""
        found: Tensor = self.network((x * self.keeps).flatten(1))
        return found.reshape(x.shape) * (1 - self.keeps)

    def forward(
        self, x: Float[Tensor, " n *event"]
    ) -> tuple[Float[Tensor, " n *event"], Float[Tensor, " n"]]:
        """From data towards noise; the log-determinant is 0."""
        return x + self.shift(x), x.new_zeros(len(x))

    def inverse(self, z: Float[Tensor, " n *event"]) -> Float[Tensor, " n *event"]:
        """From noise towards data: what is kept is the same on both sides."""
        return z - self.shift(z)


class DiagonalScale(nn.Module):
    r"""Scale every feature by a number of its own: the only change of volume in NICE.

    .. math::

        z = e^s \odot x, \qquad \log \Bigl|\det \frac{\partial z}{\partial x}\Bigr| = \sum_d s_d

    Paper: NICE: Non-linear Independent Components Estimation (Dinh, Krueger, Bengio, 2014),
    Section 3.3 and Equation 11, https://arxiv.org/abs/1410.8516
    Claims: flow.log_det_is_jacobian, theory.nice_preserves_volume_up_to_scale
    Differs: none.

    Args:
        event_shape: of one point.

    >>> DiagonalScale((3,))(torch.ones(2, 3))[1].tolist()
    [0.0, 0.0]
    """

    def __init__(self, event_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(event_shape))

    def forward(
        self, x: Float[Tensor, " n *event"]
    ) -> tuple[Float[Tensor, " n *event"], Float[Tensor, " n"]]:
        """From data towards noise; every item has the same log-determinant."""
        return x * self.log_scale.exp(), self.log_scale.sum().expand(len(x))

    def inverse(self, z: Float[Tensor, " n *event"]) -> Float[Tensor, " n *event"]:
        """From noise towards data."""
        return z * (-self.log_scale).exp()


class NICE(Composition):
    r"""Additive couplings with masks that alternate, then one scale for each feature.

    .. math::

        z = e^s \odot (f_K \circ \dots \circ f_1)(x), \qquad
        \log p(x) = \log \mathcal N(z; 0, I) + \sum_d s_d

    The log-determinant does not depend on x: cells of equal volume stay equal, wherever they are.

    Paper: NICE: Non-linear Independent Components Estimation (Dinh, Krueger, Bengio, 2014),
    Section 3, https://arxiv.org/abs/1410.8516
    Claims: flow.round_trip, flow.log_det_is_jacobian, flow.log_prob_change_of_variables,
    flow.density_integrates_to_one, flow.sample_matches_density, flow.bijection,
    flow.sample_uses_its_generator, theory.nice_preserves_volume_up_to_scale
    Differs: a Gaussian prior, of the two in the paper; one hidden layer, of tanh, not five of ReLU.

    Args:
        event_shape: of one point, with D features in all, at least 2.
        layers: Number of couplings; three let every feature act on every other.
        hidden: Width of their networks.

    Raises:
        ValueError: There is nothing to couple.

    >>> NICE.tiny().sample(5).shape
    torch.Size([5, 1, 2, 3])
    """

    def __init__(self, event_shape: tuple[int, ...], layers: int, hidden: int) -> None:
        dim = prod(event_shape)
        if dim < 2:
            raise ValueError(f"a coupling needs two features or more, got {event_shape}")
        even = (torch.arange(dim) % 2).float().reshape(event_shape)
        masks = [even if k % 2 == 0 else 1 - even for k in range(layers)]
        couplings = [
            AdditiveCoupling(
                mask, nn.Sequential(nn.Linear(dim, hidden), nn.Tanh(), nn.Linear(hidden, dim))
            )
            for mask in masks
        ]
        super().__init__(event_shape, [*couplings, DiagonalScale(event_shape)])

    @classmethod
    def tiny(cls) -> NICE:
        """A model small enough for tests."""
        return cls(event_shape=(1, 2, 3), layers=4, hidden=5)
