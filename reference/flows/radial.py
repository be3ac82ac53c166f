r"""Radial flows: each layer moves points away from a centre, or towards it.

.. code-block:: text

     \   |   /         \    |    /      near the centre by a factor 1 + beta/alpha,
    ── · x · ──  ───> ──  · x ·  ──     far away by nothing: beta > 0 digs a hole,
     /   |   \         /    |    \      beta < 0 heaps points up
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from reference.flows.composition import Composition

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

__all__ = ["RadialFlow", "RadialLayer", "radial_step"]


def radial_step(
    x: Float[Tensor, "n d"],
    centre: Float[Tensor, " d"],
    alpha: Float[Tensor, " 1"],
    beta: Float[Tensor, " 1"],
) -> tuple[Float[Tensor, "n d"], Float[Tensor, " n"]]:
    r"""Move every point along its ray from the centre.

    .. math::

        f(x) = x + \frac{\beta}{\alpha + r} (x - x_0), \qquad r = \|x - x_0\|, \qquad
        \Bigl|\det \frac{\partial f}{\partial x}\Bigr| =
        \Bigl|1 + \frac{\beta}{\alpha + r}\Bigr|^{D-1}
        \Bigl|1 + \frac{\alpha \beta}{(\alpha + r)^2}\Bigr|

    D - 1 directions lie on the sphere around the centre and grow as it does; the last points
    outwards. Both factors are positive for every r if and only if :math:`\beta > -\alpha`.

    Paper: Variational Inference with Normalizing Flows (Rezende, Mohamed, 2015), Equation 14,
    https://arxiv.org/abs/1505.05770
    Claims: theory.radial_invertible_for_every_draw
    Differs: the second factor is simplified; the paper writes 1 + beta h + beta h' r.

    Args:
        x: points (N, D).
        centre: :math:`x_0` (D,).
        alpha: (1,), positive: how near is near.
        beta: (1,), greater than -alpha, or space is folded.

    Returns:
        the points moved (N, D), and the log-determinant (N,).

    >>> radial_step(torch.ones(1, 2), torch.ones(2), torch.ones(1), torch.ones(1))[1].exp()
    tensor([4.])
    """
    away = x - centre
    reach = alpha + away.norm(dim=1)
    ring, ray = 1 + beta / reach, 1 + alpha * beta / reach.square()
    log_det = (x.shape[1] - 1) * ring.abs().log() + ray.abs().log()
    return x + (beta / reach)[:, None] * away, log_det


class RadialLayer(nn.Module):
    r"""One radial step, with parameters that keep it invertible and an inverse in closed form.

    .. math::

        \alpha = e^a, \quad \beta = -\alpha + \log(1 + e^b), \qquad
        r^2 + (\alpha + \beta - r_z)\, r - \alpha r_z = 0

    The distance of z from the centre is :math:`r_z = r + \beta r / (\alpha + r)`, a quadratic in
    the distance r of x, with exactly one root that is not negative.

    Paper: Variational Inference with Normalizing Flows (Rezende, Mohamed, 2015), Appendix A.2,
    https://arxiv.org/abs/1505.05770
    Claims: flow.round_trip, flow.log_det_is_jacobian, flow.bijection
    Differs: the inverse, which the paper does not need, is added.

    Args:
        dim: Length D of a point.

    >>> layer, x = RadialLayer(3), torch.ones(5, 3)
    >>> torch.allclose(layer.inverse(layer(x)[0]), x, atol=1e-5)
    True
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.centre = nn.Parameter(torch.randn(dim))
        self.log_alpha = nn.Parameter(torch.zeros(1))
        self.raw_beta = nn.Parameter(torch.randn(1))

    def shape(self) -> tuple[Float[Tensor, " 1"], Float[Tensor, " 1"]]:
        """alpha > 0 and beta > -alpha, whatever the parameters."""
        alpha = self.log_alpha.exp()
        return alpha, functional.softplus(self.raw_beta) - alpha

    def forward(self, x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n d"], Float[Tensor, " n"]]:
        """From data towards noise, with the log-determinant of each item."""
        return radial_step(x, self.centre, *self.shape())

    def inverse(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """From noise towards data, along the same rays."""
        alpha, beta = self.shape()
        away = z - self.centre
        half = (away.norm(dim=1) - alpha - beta) / 2
        constant = alpha * away.norm(dim=1)
        root = (half.square() + constant).sqrt()
        # The second form subtracts nothing where the first would cancel.
        r = torch.where(half > 0, half + root, constant / (root - half.clamp_max(0)))
        return self.centre + away / (1 + beta / (alpha + r))[:, None]


class RadialFlow(Composition):
    r"""Radial layers one after another, invertible for every value of their parameters.

    .. math::

        z = f_K \circ \dots \circ f_1(x), \qquad
        f_k(x) = x + \frac{\beta_k}{\alpha_k + \|x - x_k\|} (x - x_k)

    Paper: Variational Inference with Normalizing Flows (Rezende, Mohamed, 2015), Equation 14 and
    Appendix A.2, https://arxiv.org/abs/1505.05770
    Claims: flow.round_trip, flow.log_det_is_jacobian, flow.log_prob_change_of_variables,
    flow.density_integrates_to_one, flow.sample_matches_density, flow.bijection,
    flow.sample_uses_its_generator
    Differs: the layers map data to noise.

    Args:
        dim: Length D of a point.
        layers: Number of layers.

    >>> RadialFlow.tiny().log_prob(torch.zeros(5, 3)).shape
    torch.Size([5])
    """

    def __init__(self, dim: int, layers: int) -> None:
        super().__init__((dim,), (RadialLayer(dim) for _ in range(layers)))

    @classmethod
    def tiny(cls) -> RadialFlow:
        """A model small enough for tests."""
        return cls(dim=3, layers=4)
