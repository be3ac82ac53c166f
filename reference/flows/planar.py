r"""Planar flows: each layer pushes space along one direction, more or less along another.

.. code-block:: text

    . . . . . .          . . .   . . .       the hyperplane w·x + b = 0 is where x moves most:
    . . . . . .   ───>   . . .   . . .       space opens up (or closes) along it
    . . . . . .          . . .   . . .
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

__all__ = ["PlanarFlow"]


class PlanarFlow(nn.Module):
    r"""Layers :math:`f(x) = x + \hat u \tanh(w^\top x + b)`, invertible for every parameter.

    .. math::

        \log \Bigl|\det \frac{\partial f}{\partial x}\Bigr|
        = \log \bigl(1 + \hat u^\top w\, (1 - \tanh^2(w^\top x + b))\bigr), \qquad
        \hat u = u + \bigl(\log(1 + e^{w^\top u}) - 1 - w^\top u\bigr) \frac{w}{\|w\|^2}

    The correction makes :math:`w^\top \hat u > -1`, so that :math:`a \mapsto a + w^\top \hat u
    \tanh(a + b)` rises along w and has an inverse, found by bisection.

    Paper: Variational Inference with Normalizing Flows (Rezende, Mohamed, 2015), Equations 10 to 12
    and Appendix A.1, https://arxiv.org/abs/1505.05770
    Claims: flow.round_trip, flow.log_det_is_jacobian, flow.log_prob_change_of_variables,
    flow.density_integrates_to_one, flow.sample_matches_density, flow.bijection,
    flow.sample_uses_its_generator
    Differs: the layers map data to noise, as other flows of this package do, where the paper maps
    noise to posterior samples; the inverse, which the paper does not need, is added.

    Args:
        dim: Length D of a point.
        layers: Number of layers.

    >>> model = PlanarFlow.tiny()
    >>> x = torch.ones(5, 3)
    >>> torch.allclose(model.inverse(model(x)[0]), x, atol=1e-5)
    True
    """

    def __init__(self, dim: int, layers: int) -> None:
        super().__init__()
        self.dim = dim
        self.w = nn.ParameterList([torch.randn(dim) / dim**0.5 for _ in range(layers)])
        self.u = nn.ParameterList([torch.randn(dim) / dim**0.5 for _ in range(layers)])
        self.b = nn.ParameterList([torch.zeros(1) for _ in range(layers)])

    @classmethod
    def tiny(cls) -> PlanarFlow:
        """A model small enough for tests."""
        return cls(dim=3, layers=4)

    def push(self, w: Float[Tensor, " d"], u: Float[Tensor, " d"]) -> Float[Tensor, " d"]:
        """The direction u, corrected so that its product with w exceeds -1."""
        product = w @ u
        return u + (functional.softplus(product) - 1 - product) * w / w.square().sum()

    def forward(self, x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n d"], Float[Tensor, " n"]]:
        """The noise that x is made of, and log|det dz/dx|."""
        log_det = x.new_zeros(len(x))
        for w, u, b in zip(self.w, self.u, self.b, strict=True):
            push, height = self.push(w, u), (x @ w + b).tanh()
            x = x + push * height[:, None]
            log_det = log_det + ((w @ push) * (1 - height.square())).log1p()
        return x, log_det

    def inverse(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """The layers undone, the last one first: only the coordinate along w needs a search."""
        layers = list(zip(self.w, self.u, self.b, strict=True))
        for w, u, b in reversed(layers):
            push, along = self.push(w, u), z @ w
            reach = (w @ push).abs()  # tanh moves the coordinate by less than this
            low, high = along - reach, along + reach
            for _ in range(64):  # an interval halved 64 times is below rounding
                middle = (low + high) / 2
                short = middle + (w @ push) * (middle + b).tanh() < along
                low, high = torch.where(short, middle, low), torch.where(short, high, middle)
            z = z - push * ((low + high) / 2 + b).tanh()[:, None]
        return z

    def log_prob(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """log p(x) in nats."""
        z, log_det = self.forward(x)
        return -0.5 * (z.square() + math.log(2 * math.pi)).sum(-1) + log_det

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "n d"]:
        """Draws of x: Gaussian noise, mapped back."""
        like = next(self.parameters())
        return self.inverse(like.new_empty(n, self.dim).normal_(generator=generator))
