r"""RealNVP for vectors: half of the features set the scale and shift of the other half, in turns.

.. code-block:: text

    layer 1    x1 ─────────┬──────────> kept        layer 2    moved ──> the next layer's x1
                        scale, shift                            and so on: every feature moves
    layer 1    x2 ──> * exp(scale) + shift ──> moved            in every second layer
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from reference.flows.composition import Composition

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = ["AffineCoupling", "RealNVP"]


class AffineCoupling(nn.Module):
    r"""Scale and shift some features by functions of the others.

    .. math::

        z = b \odot x + (1 - b) \odot \bigl(x \odot e^{s(b \odot x)} + t(b \odot x)\bigr), \qquad
        \log \Bigl|\det \frac{\partial z}{\partial x}\Bigr| = \sum_d (1 - b_d)\, s_d(b \odot x)

    The Jacobian is triangular once the features are sorted by the mask b, so its determinant costs
    a sum, whatever the networks s and t.

    Paper: Density estimation using Real NVP (Dinh, Sohl-Dickstein, Bengio, 2016), Equations 6 to 9,
    https://arxiv.org/abs/1605.08803
    Claims: flow.round_trip, flow.log_det_is_jacobian, flow.bijection,
    theory.realnvp_is_triangular
    Differs: one network with two heads gives s and t.

    Args:
        keeps: Which features are kept, as zeros and ones, (D,) or (C, H, W).
        network: From (N, D) to (N, 2 D), or from (N, C, H, W) to (N, 2 C, H, W): s, then t.

    >>> layer = AffineCoupling(torch.tensor([1.0, 0.0, 1.0]), nn.Linear(3, 6))
    >>> layer(torch.zeros(2, 3))[1].shape
    torch.Size([2])
    """

    keeps: Tensor

    def __init__(self, keeps: Float[Tensor, " *event"], network: nn.Module) -> None:
        super().__init__()
        self.register_buffer("keeps", keeps.clone())
        self.network = network

    def scale_and_shift(
        self, x: Float[Tensor, " n *event"]
    ) -> tuple[Float[Tensor, " n *event"], Float[Tensor, " n *event"]]:
        """log-scale in (-1, 1), so that no layer runs away, and shift; both 0 for what is kept."""
        log_scale, shift = self.network(x * self.keeps).chunk(2, dim=1)
        moves = 1 - self.keeps
        return log_scale.tanh() * moves, shift * moves

    def forward(
        self, x: Float[Tensor, " n *event"]
    ) -> tuple[Float[Tensor, " n *event"], Float[Tensor, " n"]]:
        """From data towards noise, with the log-determinant of each item."""
        log_scale, shift = self.scale_and_shift(x)
        return x * log_scale.exp() + shift, log_scale.flatten(1).sum(1)

    def inverse(self, z: Float[Tensor, " n *event"]) -> Float[Tensor, " n *event"]:
        """From noise towards data: what is kept is the same on both sides."""
        log_scale, shift = self.scale_and_shift(z)
        return (z - shift) * (-log_scale).exp()


class RealNVP(Composition):
    r"""Affine couplings one after another, with masks that alternate.

    .. math::

        z = f_K \circ \dots \circ f_1(x), \qquad
        \log p(x) = \log \mathcal N(z; 0, I) + \sum_{k=1}^{K}
        \log \Bigl|\det \frac{\partial f_k}{\partial f_{k-1}}\Bigr|

    Paper: Density estimation using Real NVP (Dinh, Sohl-Dickstein, Bengio, 2016), Section 3,
    https://arxiv.org/abs/1605.08803
    Claims: flow.round_trip, flow.log_det_is_jacobian, flow.log_prob_change_of_variables,
    flow.density_integrates_to_one, flow.sample_matches_density, flow.bijection,
    flow.sample_uses_its_generator, theory.realnvp_is_triangular
    Differs: vectors only (`ImageRealNVP` is the other); no batch normalisation.

    Args:
        dim: Length D of a point, at least 2.
        layers: Number of couplings; two reach every feature.
        hidden: Width of their networks.

    Raises:
        ValueError: There is nothing to couple.

    >>> model = RealNVP.tiny()
    >>> z, log_det = model(torch.zeros(5, 3))
    >>> z.shape, log_det.shape
    (torch.Size([5, 3]), torch.Size([5]))
    """

    def __init__(self, dim: int, layers: int, hidden: int) -> None:
        if dim < 2:
            raise ValueError(f"a coupling needs two features or more, got dim = {dim}")
        even = (torch.arange(dim) % 2).float()
        masks = [even if k % 2 == 0 else 1 - even for k in range(layers)]
        couplings = [
            AffineCoupling(
                mask, nn.Sequential(nn.Linear(dim, hidden), nn.Tanh(), nn.Linear(hidden, 2 * dim))
            )
            for mask in masks
        ]
        super().__init__((dim,), couplings)

    @classmethod
    def tiny(cls) -> RealNVP:
        """A model small enough for tests."""
        return cls(dim=3, layers=4, hidden=5)
