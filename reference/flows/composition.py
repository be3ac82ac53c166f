r"""Bijections one after another: what every flow of this package is made of.

.. code-block:: text

    data x ──f1──> · ──f2──> · ──f3──> z noise      log_det = the sum of the layers' own
         x <──f1── · <──f2── · <──f3── z            undone from the last to the first
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol, cast

import torch
from torch import nn

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

__all__ = ["Bijection", "Composition", "change_of_variables"]


class Bijection(Protocol):
    """What a layer offers: called with data, it returns noise and its log-determinant."""

    def __call__(
        self, x: Float[Tensor, " n *event"]
    ) -> tuple[Float[Tensor, " n *event"], Float[Tensor, " n"]]: ...

    def inverse(self, z: Float[Tensor, " n *event"]) -> Float[Tensor, " n *event"]: ...


def change_of_variables(
    z: Float[Tensor, " n *event"], log_det: Float[Tensor, " n"]
) -> Float[Tensor, " n"]:
    r"""The log-density of data, from the noise that it is made of.

    .. math::

        \log p(x) = -\tfrac12 \|z\|^2 - \tfrac D2 \log 2\pi
        + \log \Bigl|\det \frac{\partial z}{\partial x}\Bigr|

    Paper: Variational Inference with Normalizing Flows (Rezende, Mohamed, 2015), Equation 5,
    https://arxiv.org/abs/1505.05770
    Claims: flow.log_prob_change_of_variables, flow.density_integrates_to_one
    Differs: the paper maps noise to data and subtracts.

    Args:
        z: the noise (N, \*event).
        log_det: of the map from data to noise, (N,).

    Returns:
        (N,), nats.

    >>> change_of_variables(torch.zeros(1, 2), torch.zeros(1))
    tensor([-1.8379])
    """
    return -0.5 * (z.square() + math.log(2 * math.pi)).flatten(1).sum(1) + log_det


class Composition(nn.Module):
    r"""A flow made of layers, from data to Gaussian noise and back.

    .. math::

        z = f_K \circ \dots \circ f_1(x), \qquad
        \log \Bigl|\det \frac{\partial z}{\partial x}\Bigr| = \sum_{k=1}^{K}
        \log \Bigl|\det \frac{\partial f_k}{\partial f_{k-1}}\Bigr|

    Paper: Variational Inference with Normalizing Flows (Rezende, Mohamed, 2015), Equations 6 and 7,
    https://arxiv.org/abs/1505.05770
    Claims: flow.round_trip, flow.log_det_is_jacobian, flow.log_prob_change_of_variables,
    flow.density_integrates_to_one, flow.sample_matches_density, flow.bijection,
    flow.sample_uses_its_generator
    Differs: the paper's layers map noise to samples.

    Args:
        event_shape: of one point, (D,) or (C, H, W).
        layers: from data towards noise; each is a `Bijection`.

    >>> flow = Composition((3,), [])
    >>> flow.inverse(flow(torch.ones(5, 3))[0]).shape
    torch.Size([5, 3])
    """

    def __init__(self, event_shape: tuple[int, ...], layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.event_shape = event_shape
        self.layers = nn.ModuleList(layers)

    def forward(
        self, x: Float[Tensor, " n *event"]
    ) -> tuple[Float[Tensor, " n *event"], Float[Tensor, " n"]]:
        """The noise that x is made of, and log|det dz/dx| of each item."""
        log_det = x.new_zeros(len(x))
        for layer in self.layers:
            x, added = layer(x)
            log_det = log_det + added
        return x, log_det

    def inverse(self, z: Float[Tensor, " n *event"]) -> Float[Tensor, " n *event"]:
        """The layers undone, the last one first."""
        for layer in cast("list[Bijection]", list(self.layers)[::-1]):
            z = layer.inverse(z)
        return z

    def log_prob(self, x: Float[Tensor, " n *event"]) -> Float[Tensor, " n"]:
        """log p(x) in nats."""
        return change_of_variables(*self.forward(x))

    def sample(
        self, n: int, generator: torch.Generator | None = None
    ) -> Float[Tensor, " n *event"]:
        """Draws of x: Gaussian noise, mapped back."""
        like = next(self.parameters())
        return self.inverse(like.new_empty(n, *self.event_shape).normal_(generator=generator))
