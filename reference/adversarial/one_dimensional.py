r"""Adversarial training on the line, without chance: what theory says of it can be read off its path.

.. code-block:: text

    noise z      . . . . .                 a fixed set of points, not a draw
                  \  \ | / /               generator  G(z) = z + theta_0 + theta_1 z + ...
    samples         . . . . .
    data                       . . . . .   critic     D(x) = psi_0 + psi_1 x + psi_2 x^2 / 2 + ...
                 ---------------------------------> x

In each turn the critic moves first, and the generator sees the critic that has moved.
"""

from __future__ import annotations

__all__ = ["play_turns", "taylor_polynomial"]

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from reference.adversarial.losses import GanLosses

if TYPE_CHECKING:
    from jaxtyping import Float

    Critic = Callable[[Tensor], Tensor]
    Penalty = Callable[[Critic, Tensor, Tensor], Tensor]


def taylor_polynomial(
    coefficients: Float[Tensor, " k"], points: Float[Tensor, "n 1"]
) -> Float[Tensor, " n"]:
    r"""A polynomial whose coefficients are its derivatives at zero: both players of a small game.

    .. math::

        f(x) = \sum_k c_k \phi_k(x), \qquad \phi_k(x) = \frac{x^k}{k!}

    Paper: Which Training Methods for GANs do actually Converge? (Mescheder, Geiger, Nowozin, 2018),
    Section 2, https://arxiv.org/abs/1801.04406
    Claims: theory.turns_near_the_data
    Differs: the paper's players are one number each; these have as many as are given.

    Args:
        coefficients: c (K,).
        points: x (N, 1), one number in each item.

    Returns:
        (N,).

    >>> taylor_polynomial(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([[0.0], [3.0]]))
    tensor([ 1., 25.])
    """
    orders = torch.arange(len(coefficients), device=points.device)
    return points.pow(orders) @ (coefficients / (orders + 1.0).to(points).lgamma().exp())


def play_turns(
    theta: Float[Tensor, " g"],
    psi: Float[Tensor, " d"],
    data: Float[Tensor, "n 1"],
    noise: Float[Tensor, "m 1"],
    losses: GanLosses,
    step_size: float,
    turns: int,
    penalty: Penalty | None = None,
    bound: float = math.inf,
    critic_steps: int = 1,
) -> tuple[Float[Tensor, "t g"], Float[Tensor, "t d"]]:
    r"""Train both players by gradient steps in turns, on all of the data and all of the noise.

    .. math::

        \psi_{t+1} = \Pi_c\bigl[\psi_t - h \nabla_\psi (L_D + R)(\theta_t, \psi_t)\bigr], \qquad
        \theta_{t+1} = \theta_t - h \nabla_\theta L_G(\theta_t, \psi_{t+1})

    Paper: Generative Adversarial Networks (Goodfellow et al., 2014), Algorithm 1,
    https://arxiv.org/abs/1406.2661; Wasserstein GAN (Arjovsky, Chintala, Bottou, 2017),
    Algorithm 1, https://arxiv.org/abs/1701.07875
    Claims: theory.turns_near_the_data, theory.damped_turns_arrive, theory.undamped_turns_circle,
    theory.clipped_turns_circle, theory.slope_one_is_no_rest, theory.a_sure_critic_stops_minimax
    Differs: the batch is everything; both players are polynomials.

    Args:
        theta: of the generator, which takes noise z to z + taylor_polynomial(theta, z).
        psi: of the critic, taylor_polynomial(psi, x).
        data, noise: points on the line.
        losses: of the game.
        step_size: h, of both players.
        turns: how many.
        penalty: R, from (critic, data, samples); none if None.
        bound: c, of the box to which psi is clipped after each step.
        critic_steps: of the critic in each turn.

    Returns:
        the paths of theta (turns + 1, G) and of psi (turns + 1, D), the start included.

    >>> from reference.adversarial import gan_losses
    >>> zero, data = torch.zeros(1), torch.ones(1, 1)
    >>> play_turns(zero, torch.zeros(2), data, 0 * data, gan_losses("wasserstein"), 0.5, turns=2)[0]
    tensor([[0.0000],
            [0.2500],
            [0.6875]])
    """
    thetas, psis = [theta.detach()], [psi.detach()]
    for _ in range(turns):
        theta, psi = thetas[-1], psis[-1]
        samples = noise + taylor_polynomial(theta, noise)[:, None]
        for _ in range(critic_steps):
            psi = _critic_step(psi, data, samples, losses, step_size, penalty).clamp(-bound, bound)
        thetas.append(_generator_step(theta, psi, noise, losses, step_size))
        psis.append(psi)
    return torch.stack(thetas), torch.stack(psis)


def _critic_step(
    psi: Tensor,
    data: Tensor,
    samples: Tensor,
    losses: GanLosses,
    step_size: float,
    penalty: Penalty | None,
) -> Tensor:
    with torch.enable_grad():
        own = psi.clone().requires_grad_()

        def critic(x: Tensor) -> Tensor:
            return taylor_polynomial(own, x)

        loss = losses.discriminator_loss(critic(data), critic(samples))
        if penalty is not None:
            loss = loss + penalty(critic, data, samples)
    return psi - step_size * torch.autograd.grad(loss, own)[0]


def _generator_step(
    theta: Tensor, psi: Tensor, noise: Tensor, losses: GanLosses, step_size: float
) -> Tensor:
    with torch.enable_grad():
        own = theta.clone().requires_grad_()
        samples = noise + taylor_polynomial(own, noise)[:, None]
        loss = losses.generator_loss(taylor_polynomial(psi, samples))
    return theta - step_size * torch.autograd.grad(loss, own)[0]
