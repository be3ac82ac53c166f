r"""Continuous flows: points drift along a vector field for a while.

.. code-block:: text

    data  x(0) ──────> x(t) ──────> x(T)  noise        dx/dt = v(t, x)
                                                       d log_det / dt = trace of dv/dx
    data  x(0) <────── x(t) <────── x(T)  noise        the same field, backwards in time
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from reference.flows.composition import change_of_variables
from reference.flows.divergence import exact_divergence, hutchinson_divergence

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = [
    "ContinuousFlow",
    "VectorField",
    "runge_kutta",
]


def runge_kutta(
    slope: Callable[[float, Tensor], Tensor],
    state: Float[Tensor, " *shape"],
    start: float,
    stop: float,
    steps: int,
) -> Float[Tensor, " *shape"]:
    r"""Follow an ordinary differential equation by the classical method of order four.

    .. math::

        y_{k+1} = y_k + \tfrac h6 (a + 2 b + 2 c + d), \qquad
        a = v(t, y), \; b = v(t + \tfrac h2, y + \tfrac h2 a), \;
        c = v(t + \tfrac h2, y + \tfrac h2 b), \; d = v(t + h, y + h c)

    Paper: Solving Ordinary Differential Equations I (Hairer, Nørsett, Wanner, 1993), Table II.1.2,
    https://doi.org/10.1007/978-3-540-78862-1
    Claims: theory.continuous_log_det
    Differs: none. FFJORD itself has a solver that adapts its steps.

    Args:
        slope: v, of time and state.
        state: at time `start`.
        start, stop: times; backwards if start > stop.
        steps: of equal length.

    Returns:
        the state at time `stop`; the error falls as steps ** -4.

    >>> runge_kutta(lambda t, y: y, torch.ones(1), 0.0, 1.0, 8)
    tensor([2.7183])
    """
    h = (stop - start) / steps
    for k in range(steps):
        t = start + k * h
        a = slope(t, state)
        b = slope(t + h / 2, state + h / 2 * a)
        c = slope(t + h / 2, state + h / 2 * b)
        d = slope(t + h, state + h * c)
        state = state + h / 6 * (a + 2 * b + 2 * c + d)
    return state


class VectorField(nn.Module):
    r"""A small network that tells where each point drifts at each time.

    .. math::

        v(t, x) = W_2 \tanh(W_1 x + t w + b_1) + b_2

    Paper: FFJORD: Free-form Continuous Dynamics for Scalable Reversible Generative Models
    (Grathwohl, Chen, Bettencourt, Sutskever, Duvenaud, 2018), Appendix B.1,
    https://arxiv.org/abs/1810.01367
    Claims: flow.log_det_is_jacobian
    Differs: one hidden layer; the paper has three, with gates that depend on the time.

    Args:
        dim: D.
        hidden: units of the hidden layer.

    >>> VectorField(3, 4)(0.5, torch.zeros(5, 3)).shape
    torch.Size([5, 3])
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.time = nn.Parameter(torch.zeros(hidden))

    def forward(self, t: float, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """The velocity of each point."""
        found: Tensor = self.leave((self.enter(x) + t * self.time).tanh())
        return found


class ContinuousFlow(nn.Module):
    r"""FFJORD: the noise is where data have drifted to after a while.

    .. math::

        z = x + \int_0^T v(t, x(t))\, dt, \qquad
        \log \Bigl|\det \frac{\partial z}{\partial x}\Bigr| =
        \int_0^T \operatorname{tr} \frac{\partial v}{\partial x}(t, x(t))\, dt

    Paths never meet, so any smooth field makes a bijection; its Jacobian need have no structure.

    Paper: FFJORD: Free-form Continuous Dynamics for Scalable Reversible Generative Models
    (Grathwohl, Chen, Bettencourt, Sutskever, Duvenaud, 2018), Equations 2 to 4 and 8,
    https://arxiv.org/abs/1810.01367
    Claims: flow.round_trip, flow.log_det_is_jacobian, flow.log_prob_change_of_variables,
    flow.density_integrates_to_one, flow.sample_matches_density, flow.bijection,
    flow.sample_uses_its_generator, theory.continuous_log_det, theory.hutchinson_unbiased
    Differs: a solver of fixed steps, differentiated step by step and not by the adjoint equation;
    time runs from data to noise.

    Args:
        dim: D.
        hidden: units of the vector field.
        steps: of the solver.
        duration: T.

    >>> model, x = ContinuousFlow.tiny(), torch.ones(5, 3)
    >>> torch.allclose(model.inverse(model(x)[0]), x, atol=1e-5)
    True
    """

    def __init__(self, dim: int, hidden: int, steps: int, duration: float = 1.0) -> None:
        super().__init__()
        self.dim, self.steps, self.duration = dim, steps, duration
        self.field = VectorField(dim, hidden)

    @classmethod
    def tiny(cls) -> ContinuousFlow:
        """A model small enough for tests."""
        return cls(dim=3, hidden=5, steps=8)

    def forward(
        self, x: Float[Tensor, "n d"], noise: Float[Tensor, "n d"] | None = None
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, " n"]]:
        """z and log|det dz/dx|; with noise (one draw for the whole path), an unbiased estimate."""

        def slope(t: float, state: Float[Tensor, "n d1"]) -> Float[Tensor, "n d1"]:
            here, field = state[:, :-1], partial(self.field, t)
            if noise is None:
                growth = exact_divergence(field, here)
            else:
                growth = hutchinson_divergence(field, here, noise)
            return torch.cat([field(here), growth[:, None]], dim=1)

        start = torch.cat([x, x.new_zeros(len(x), 1)], dim=1)  # position and log_det
        end = runge_kutta(slope, start, 0.0, self.duration, self.steps)
        return end[:, :-1], end[:, -1]

    def inverse(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """From noise to data: the same field, backwards in time."""
        return runge_kutta(self.field, z, self.duration, 0.0, self.steps)

    def log_prob(
        self, x: Float[Tensor, "n d"], noise: Float[Tensor, "n d"] | None = None
    ) -> Float[Tensor, " n"]:
        """log p(x) in nats; with noise, an unbiased estimate to train with."""
        return change_of_variables(*self.forward(x, noise))

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "n d"]:
        """Draws of x: Gaussian noise, drifted back."""
        like = next(self.parameters())
        return self.inverse(like.new_empty(n, self.dim).normal_(generator=generator))
