r"""Invertible 1 x 1 convolutions: one matrix mixes the channels of every pixel.

.. code-block:: text

    plain:  z = W x                     log|det W| costs C^3 at every step
    LU:     W = P L (U + diag(s))       log|det W| = sum log|s|: P permutes, L and U have ones and
                                        zeros on their diagonals, the signs of s never change
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = ["InvertibleConv1x1", "LUConv1x1", "random_rotation"]


def random_rotation(
    channels: int, generator: torch.Generator | None = None
) -> Float[Tensor, "c c"]:
    r"""Draw the matrix to start from: it mixes the channels and keeps all lengths.

    .. math::

        A = Q R, \qquad A_{ij} \sim \mathcal N(0, 1), \qquad Q^\top Q = I

    Paper: Glow: Generative Flow with Invertible 1x1 Convolutions (Kingma, Dhariwal, 2018), Section
    3.2, https://arxiv.org/abs/1807.03039
    Claims: theory.one_by_one_log_det
    Differs: reflections are drawn as well.

    Args:
        channels: C.
        generator: the only source of randomness; torch's own if None.

    Returns:
        Q, (C, C), |det Q| = 1.

    >>> random_rotation(3).det().abs().sub(1).abs() < 1e-5
    tensor(True)
    """
    q: Tensor = torch.linalg.qr(torch.randn(channels, channels, generator=generator)).Q
    return q


class InvertibleConv1x1(nn.Module):
    r"""Mix the channels of each pixel by a matrix.

    .. math::

        z_{ij} = W x_{ij}, \qquad
        \log \Bigl|\det \frac{\partial z}{\partial x}\Bigr| = H W \log |\det W|

    A permutation of the channels, as between RealNVP's couplings, is a special case.

    Paper: Glow: Generative Flow with Invertible 1x1 Convolutions (Kingma, Dhariwal, 2018), Equations
    8 and 9, https://arxiv.org/abs/1807.03039
    Claims: flow.round_trip, flow.log_det_is_jacobian, theory.one_by_one_log_det
    Differs: none.

    Args:
        weight: W to start from, (C, C), invertible; its determinant may be negative.

    >>> layer = InvertibleConv1x1(torch.tensor([[0.0, 2.0], [1.0, 0.0]]))
    >>> round(layer(torch.ones(1, 2, 1, 3))[1].exp().item(), 4)
    8.0
    """

    def __init__(self, weight: Float[Tensor, "c c"]) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.clone())

    def forward(
        self, x: Float[Tensor, "n c h w"]
    ) -> tuple[Float[Tensor, "n c h w"], Float[Tensor, " n"]]:
        """From data towards noise; every pixel counts in the log-determinant."""
        z = (self.weight @ x.flatten(2)).reshape(x.shape)
        log_det = torch.linalg.slogdet(self.weight).logabsdet * x.shape[2] * x.shape[3]
        return z, log_det.expand(len(x))

    def inverse(self, z: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """From noise towards data: a system of equations, the same for every pixel."""
        x: Tensor = torch.linalg.solve(self.weight, z.flatten(2))
        return x.reshape(z.shape)


class LUConv1x1(nn.Module):
    r"""The same by triangular factors, whose determinants are read off their diagonals.

    .. math::

        W = P L\, (U + \operatorname{diag}(s)), \qquad s = \sigma \odot e^a, \qquad
        \log |\det W| = \sum_c a_c

    Paper: Glow: Generative Flow with Invertible 1x1 Convolutions (Kingma, Dhariwal, 2018), Equations
    10 and 11, https://arxiv.org/abs/1807.03039
    Claims: flow.round_trip, flow.log_det_is_jacobian, theory.one_by_one_log_det
    Differs: none; as in the paper P and the signs of s are fixed.

    Args:
        weight: W to start from, (C, C), invertible.

    >>> w = torch.tensor([[0.0, 2.0], [1.0, 0.0]])
    >>> torch.equal(LUConv1x1(w).weight(), w)
    True
    """

    permutation: Tensor
    signs: Tensor

    def __init__(self, weight: Float[Tensor, "c c"]) -> None:
        super().__init__()
        permutation, lower, upper = torch.linalg.lu(weight)
        self.register_buffer("permutation", permutation)
        self.register_buffer("signs", upper.diagonal().sign())
        self.lower = nn.Parameter(lower.tril(-1))
        self.upper = nn.Parameter(upper.triu(1))
        self.log_scale = nn.Parameter(upper.diagonal().abs().log())

    def triangles(self) -> tuple[Float[Tensor, "c c"], Float[Tensor, "c c"]]:
        """L and U + diag(s); what lies on the wrong side of a diagonal is ignored."""
        eye = torch.eye(len(self.signs), dtype=self.signs.dtype, device=self.signs.device)
        diagonal = self.signs * self.log_scale.exp()
        return self.lower.tril(-1) + eye, self.upper.triu(1) + diagonal.diag()

    def weight(self) -> Float[Tensor, "c c"]:
        """W, multiplied out."""
        lower, upper = self.triangles()
        return self.permutation @ lower @ upper

    def forward(
        self, x: Float[Tensor, "n c h w"]
    ) -> tuple[Float[Tensor, "n c h w"], Float[Tensor, " n"]]:
        """From data towards noise; every pixel counts in the log-determinant."""
        z = (self.weight() @ x.flatten(2)).reshape(x.shape)
        return z, (self.log_scale.sum() * x.shape[2] * x.shape[3]).expand(len(x))

    def inverse(self, z: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """From noise towards data: two triangular systems."""
        lower, upper = self.triangles()
        x = self.permutation.T @ z.flatten(2)
        x = torch.linalg.solve_triangular(lower, x, upper=False, unitriangular=True)
        found: Tensor = torch.linalg.solve_triangular(upper, x, upper=True)
        return found.reshape(z.shape)
