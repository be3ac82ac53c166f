r"""Planar flows: each layer pushes space along one direction, more or less along another.

.. code-block:: text

    . . . . . .          . . .   . . .       the hyperplane w·x + b = 0 is where x moves most:
    . . . . . .   ───>   . . .   . . .       space opens up (or closes) along it
    . . . . . .          . . .   . . .
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

__all__ = ["PlanarFlow", "PlanarLayer", "planar_push", "planar_step"]


def planar_push(w: Float[Tensor, " d"], u: Float[Tensor, " d"]) -> Float[Tensor, " d"]:
    r"""Correct the direction u so that the layer has an inverse.

    .. math::

        \hat u = u + \bigl(\log(1 + e^{w^\top u}) - 1 - w^\top u\bigr) \frac{w}{\|w\|^2}
        \quad\Longrightarrow\quad w^\top \hat u = \log(1 + e^{w^\top u}) - 1 > -1

    Paper: Variational Inference with Normalizing Flows (Rezende, Mohamed, 2015), Appendix A.1,
    https://arxiv.org/abs/1505.05770
    Claims: theory.planar_invertible_for_every_draw
    Differs: none.

    Args:
        w: normal of the hyperplane, (D,), not zero.
        u: where to push, (D,), any.

    Returns:
        (D,): u, changed along w alone.

    >>> planar_push(torch.tensor([1.0, 0.0]), torch.tensor([-9.0, 2.0]))
    tensor([-0.9999,  2.0000])
    """
    product = w @ u
    return u + (functional.softplus(product) - 1 - product) * w / w.square().sum()


def planar_step(
    x: Float[Tensor, "n d"],
    w: Float[Tensor, " d"],
    push: Float[Tensor, " d"],
    b: Float[Tensor, " 1"],
) -> tuple[Float[Tensor, "n d"], Float[Tensor, " n"]]:
    r"""Push every point along one direction, and tell how much the volume around it grows.

    .. math::

        f(x) = x + \hat u \tanh(w^\top x + b), \qquad
        \log \Bigl|\det \frac{\partial f}{\partial x}\Bigr|
        = \log \bigl|1 + \hat u^\top w\, (1 - \tanh^2(w^\top x + b))\bigr|

    Paper: Variational Inference with Normalizing Flows (Rezende, Mohamed, 2015), Equations 10 to
    12, https://arxiv.org/abs/1505.05770
    Claims: theory.planar_invertible_for_every_draw
    Differs: none.

    Args:
        x: points (N, D).
        w: normal of the hyperplane (D,).
        push: from `planar_push` (D,); others may fold space.
        b: offset of the hyperplane (1,).

    Returns:
        the points moved (N, D), and the log-determinant (N,).

    >>> planar_step(torch.zeros(1, 2), torch.ones(2), torch.ones(2), torch.zeros(1))[1].exp()
    tensor([3.])
    """
    height = (x @ w + b).tanh()
    growth = 1 + (w @ push) * (1 - height.square())
    return x + push * height[:, None], growth.abs().log()


class PlanarLayer(nn.Module):
    r"""One planar step; its inverse is found by bisection, its gradient by Newton's formula.

    .. math::

        z = x + \hat u \tanh(w^\top x + b) \quad\Longrightarrow\quad
        w^\top z = a + w^\top \hat u \tanh(a + b), \quad a = w^\top x

    The right-hand side rises with a, since :math:`w^\top \hat u > -1`: a is the only number to be
    searched for, and it tells how far every other coordinate was pushed.

    Paper: Variational Inference with Normalizing Flows (Rezende, Mohamed, 2015), Appendix A.1,
    https://arxiv.org/abs/1505.05770
    Claims: flow.round_trip, flow.log_det_is_jacobian, flow.bijection
    Differs: the inverse, which the paper does not need, is added.

    Args:
        dim: Length D of a point.

    >>> PlanarLayer(3)(torch.ones(5, 3))[1].shape
    torch.Size([5])
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(dim) / dim**0.5)
        self.u = nn.Parameter(torch.randn(dim) / dim**0.5)
        self.b = nn.Parameter(torch.zeros(1))

    def forward(self, x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n d"], Float[Tensor, " n"]]:
        """From data towards noise, with the log-determinant of each item."""
        return planar_step(x, self.w, planar_push(self.w, self.u), self.b)

    def inverse(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """From noise towards data: only the coordinate along w needs a search."""
        push, along = planar_push(self.w, self.u), z @ self.w
        gain = self.w @ push
        with torch.no_grad():
            low, high = along - gain.abs(), along + gain.abs()  # tanh moves it by less than that
            for _ in range(64):  # an interval halved 64 times is below rounding
                middle = (low + high) / 2
                short = middle + gain * (middle + self.b).tanh() < along
                low, high = torch.where(short, middle, low), torch.where(short, high, middle)
            found = (low + high) / 2
            slope = 1 + gain * (1 - (found + self.b).tanh().square())
        # A step of Newton's that moves nothing, and carries the gradient of the solution.
        found = found - (found + gain * (found + self.b).tanh() - along) / slope
        return z - push * (found + self.b).tanh()[:, None]


class PlanarFlow(Composition):
    r"""Planar layers one after another, invertible for every value of their parameters.

    .. math::

        z = f_K \circ \dots \circ f_1(x), \qquad
        f_k(x) = x + \hat u_k \tanh(w_k^\top x + b_k)

    Paper: Variational Inference with Normalizing Flows (Rezende, Mohamed, 2015), Equations 10 to 12
    and Appendix A.1, https://arxiv.org/abs/1505.05770
    Claims: flow.round_trip, flow.log_det_is_jacobian, flow.log_prob_change_of_variables,
    flow.density_integrates_to_one, flow.sample_matches_density, flow.bijection,
    flow.sample_uses_its_generator
    Differs: the layers map data to noise, as other flows of this package do, where the paper maps
    noise to posterior samples.

    Args:
        dim: Length D of a point.
        layers: Number of layers.

    >>> model = PlanarFlow.tiny()
    >>> x = torch.ones(5, 3)
    >>> torch.allclose(model.inverse(model(x)[0]), x, atol=1e-5)
    True
    """

    def __init__(self, dim: int, layers: int) -> None:
        super().__init__((dim,), (PlanarLayer(dim) for _ in range(layers)))

    @classmethod
    def tiny(cls) -> PlanarFlow:
        """A model small enough for tests."""
        return cls(dim=3, layers=4)
