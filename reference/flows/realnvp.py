r"""RealNVP for vectors: half of the features set the scale and shift of the other half, in turns.

.. code-block:: text

    layer 1    x1 ─────────┬──────────> kept        layer 2    moved ──> the next layer's x1
                        scale, shift                            and so on: every feature moves
    layer 1    x2 ──> * exp(scale) + shift ──> moved            in every second layer
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

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
    Claims: flow.round_trip, flow.log_det_is_jacobian, flow.bijection
    Differs: one network with two heads gives s and t.

    Args:
        keeps: Which of the D features are kept, as zeros and ones (D,).
        hidden: Width of the hidden layer.

    >>> layer = AffineCoupling(torch.tensor([1.0, 0.0, 1.0]), hidden=4)
    >>> layer(torch.zeros(2, 3))[1].shape
    torch.Size([2])
    """

    keeps: Tensor

    def __init__(self, keeps: Float[Tensor, " d"], hidden: int) -> None:
        super().__init__()
        self.register_buffer("keeps", keeps.clone())
        dim = len(keeps)
        self.network = nn.Sequential(nn.Linear(dim, hidden), nn.Tanh(), nn.Linear(hidden, 2 * dim))

    def scale_and_shift(
        self, x: Float[Tensor, "n d"]
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]]:
        """log-scale in (-1, 1), so that no layer runs away, and shift; both 0 for what is kept."""
        log_scale, shift = self.network(x * self.keeps).chunk(2, dim=-1)
        moves = 1 - self.keeps
        return log_scale.tanh() * moves, shift * moves

    def forward(self, x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n d"], Float[Tensor, " n"]]:
        """From data towards noise, with the log-determinant of each item."""
        log_scale, shift = self.scale_and_shift(x)
        return x * log_scale.exp() + shift, log_scale.sum(-1)

    def inverse(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """From noise towards data: what is kept is the same on both sides."""
        log_scale, shift = self.scale_and_shift(z)
        return (z - shift) * (-log_scale).exp()


class RealNVP(nn.Module):
    r"""Affine couplings one after another, with masks that alternate.

    .. math::

        z = f_K \circ \dots \circ f_1(x), \qquad
        \log p(x) = \log \mathcal N(z; 0, I) + \sum_{k=1}^{K}
        \log \Bigl|\det \frac{\partial f_k}{\partial f_{k-1}}\Bigr|

    Paper: Density estimation using Real NVP (Dinh, Sohl-Dickstein, Bengio, 2016), Section 3,
    https://arxiv.org/abs/1605.08803
    Claims: flow.round_trip, flow.log_det_is_jacobian, flow.log_prob_change_of_variables,
    flow.density_integrates_to_one, flow.sample_matches_density, flow.bijection,
    flow.sample_uses_its_generator
    Differs: vectors only, so neither convolutions nor scales; no batch normalisation.

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
        super().__init__()
        if dim < 2:
            raise ValueError(f"a coupling needs two features or more, got dim = {dim}")
        self.dim = dim
        even = (torch.arange(dim) % 2).float()
        masks = [even if k % 2 == 0 else 1 - even for k in range(layers)]
        self.layers = nn.ModuleList(AffineCoupling(mask, hidden) for mask in masks)

    @classmethod
    def tiny(cls) -> RealNVP:
        """A model small enough for tests."""
        return cls(dim=3, layers=4, hidden=5)

    def forward(self, x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n d"], Float[Tensor, " n"]]:
        """The noise that x is made of, and log|det dz/dx|."""
        log_det = x.new_zeros(len(x))
        for layer in self.layers:
            x, added = layer(x)
            log_det = log_det + added
        return x, log_det

    def inverse(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """The layers undone, the last one first."""
        for layer in reversed(self.layers):
            assert isinstance(layer, AffineCoupling)  # a ModuleList may hold anything
            z = layer.inverse(z)
        return z

    def log_prob(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """log p(x) in nats."""
        z, log_det = self.forward(x)
        return -0.5 * (z.square() + math.log(2 * math.pi)).sum(-1) + log_det

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "n d"]:
        """Draws of x: Gaussian noise, mapped back."""
        like = next(self.parameters())
        return self.inverse(like.new_empty(n, self.dim).normal_(generator=generator))
