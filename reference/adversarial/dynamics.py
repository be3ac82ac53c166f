r"""The smallest game of all, in which every instability of training can be computed.

.. code-block:: text

    data      a point mass at 0          psi (slope of D)
    generator a point mass at theta         ^      .--<--.
    critic    D(x) = psi x                  |     /       \      gradient steps circle the
                                            |    |    x    |     equilibrium (0, 0), unless
                                            |     \       /      something pulls them in
                                            |      '-->--'
                                            +--------------> theta
"""

from __future__ import annotations

__all__ = ["dirac_gan_eigenvalues", "dirac_gan_field", "follow_field"]

import cmath
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

if TYPE_CHECKING:
    from jaxtyping import Float

Kind = Literal["gan", "non_saturating", "wasserstein", "wasserstein_gp", "instance_noise", "r1"]


def _over_noise(score: Callable[[Tensor], Tensor], sigma: float) -> Tensor:
    """The mean of a smooth function of a normal number, by a sum over a fine grid."""
    grid = torch.linspace(-9, 9, 181, dtype=torch.float64)
    weights = (-0.5 * grid.square()).softmax(0)
    return (weights * score(sigma * grid)).sum(-1)


def _payoffs(theta: Tensor, psi: Tensor, kind: Kind, strength: float) -> tuple[Tensor, Tensor]:
    """What the generator and the discriminator each want to raise."""
    fake = psi * theta
    if kind in ("wasserstein", "wasserstein_gp"):
        away = psi.abs() - 1 if kind == "wasserstein_gp" else torch.zeros_like(psi)
        return fake, -fake - 0.5 * strength * away.square()
    if kind == "instance_noise":
        slope, place = psi[..., None], theta[..., None]
        of_fake = _over_noise(lambda noise: logsigmoid(-slope * (place + noise)), strength)
        of_real = _over_noise(lambda noise: logsigmoid(slope * noise), strength)
        return -of_fake, of_fake + of_real
    value = logsigmoid(-fake) + logsigmoid(torch.zeros_like(fake))
    pull = 0.5 * strength * psi.square() if kind == "r1" else 0.0
    wanted = logsigmoid(fake) if kind == "non_saturating" else -logsigmoid(-fake)
    return wanted, value - pull


def dirac_gan_field(
    state: Float[Tensor, "*n 2"], kind: Kind, strength: float = 1.0
) -> Float[Tensor, "*n 2"]:
    r"""Where gradient steps of both players lead, from one state of the Dirac-GAN.

    .. math::

        v(\theta, \psi) = \begin{pmatrix} \psi f'(-\theta\psi) \\ -\theta f'(-\theta\psi)
            \end{pmatrix}, \qquad f(t) = \log \sigma(t), \text{ or } t \text{ for Wasserstein}

    The discriminator raises f(D(0)) + f(-D(theta)), of which penalties are taken off:

    .. math::

        \text{r1: } \tfrac\gamma2 \psi^2, \qquad
        \text{wasserstein\_gp: } \tfrac\gamma2 (|\psi| - 1)^2

    Instance noise of standard deviation gamma is added to data and samples alike, and integrated.

    Paper: Which Training Methods for GANs do actually Converge? (Mescheder, Geiger, Nowozin, 2018),
    Sections 2 and 3, https://arxiv.org/abs/1801.04406
    Claims: theory.dirac_gan, theory.dirac_gan_trajectories
    Differs: the sign of psi is turned, so that D scores real data high.

    Args:
        state: (theta, psi) (..., 2).
        kind: the game.
        strength: gamma, of the penalty or the noise.

    Returns:
        The velocity of each state (..., 2).

    Raises:
        ValueError: an unknown game.

    >>> dirac_gan_field(torch.tensor([2.0, 1.0], dtype=torch.float64), "wasserstein")
    tensor([ 1., -2.], dtype=torch.float64)
    """
    if kind not in (
        "gan",
        "non_saturating",
        "wasserstein",
        "wasserstein_gp",
        "instance_noise",
        "r1",
    ):
        raise ValueError(f"there is no game {kind!r}")
    with torch.enable_grad():
        theta, psi = (part.detach().requires_grad_() for part in state.unbind(-1))
        generator, discriminator = _payoffs(theta, psi, kind, strength)
        (up,) = torch.autograd.grad(generator.sum(), theta, retain_graph=True)
        (steeper,) = torch.autograd.grad(discriminator.sum(), psi)
    return torch.stack([up, steeper], dim=-1)


def dirac_gan_eigenvalues(kind: Kind, strength: float = 1.0) -> tuple[complex, complex]:
    r"""How the field turns and pulls close to the equilibrium: eigenvalues of its Jacobian at 0.

    .. math::

        \text{gan: } \pm \tfrac12 i, \quad \text{wasserstein: } \pm i, \quad
        \text{r1: } -\tfrac\gamma2 \pm \sqrt{\tfrac{\gamma^2}4 - \tfrac14}, \quad
        \text{noise: } -\tfrac{\sigma^2}4 \pm \sqrt{\tfrac{\sigma^4}{16} - \tfrac14}

    Negative real parts: small steps converge. None: they circle, and finite steps move out.

    Paper: Which Training Methods for GANs do actually Converge? (Mescheder, Geiger, Nowozin, 2018),
    Lemmas 2.3, 3.2 and 4.1, https://arxiv.org/abs/1801.04406
    Claims: theory.dirac_gan
    Differs: none.

    Args:
        kind: a game whose field is differentiable at 0; with a gradient penalty around slope one it
            is not.
        strength: gamma, of the penalty or the noise.

    Returns:
        The two eigenvalues.

    Raises:
        ValueError: another game.

    >>> dirac_gan_eigenvalues("r1", 1.0)
    ((-0.5+0j), (-0.5+0j))
    """
    if kind not in ("gan", "non_saturating", "wasserstein", "instance_noise", "r1"):
        raise ValueError(f"the field of {kind!r} has no Jacobian at the equilibrium")
    pull = {"r1": strength, "instance_noise": strength**2 / 2}.get(kind, 0.0)
    turn = 1.0 if kind == "wasserstein" else 0.5
    root = cmath.sqrt(pull**2 / 4 - turn**2)
    return -pull / 2 + root, -pull / 2 - root


def follow_field(
    field: Callable[[Tensor], Tensor],
    start: Float[Tensor, "*n 2"],
    step_size: float,
    steps: int,
    alternating: bool = False,
) -> Float[Tensor, "t *n 2"]:
    r"""The path of gradient steps: both players at once, or the discriminator after the generator.

    .. math::

        \theta_{t+1} = \theta_t + h\, v_\theta(\theta_t, \psi_t), \qquad
        \psi_{t+1} = \psi_t + h\, v_\psi(\theta_{t \text{ or } t+1}, \psi_t)

    Paper: Which Training Methods for GANs do actually Converge? (Mescheder, Geiger, Nowozin, 2018),
    Section 2.2, https://arxiv.org/abs/1801.04406
    Claims: theory.dirac_gan_trajectories
    Differs: none.

    Args:
        field: takes states (..., 2) to velocities.
        start: (..., 2).
        step_size: h.
        steps: how many.
        alternating: whether the discriminator sees the generator's step already.

    Returns:
        The path (steps + 1, ..., 2), the start included.

    >>> turn = lambda s: torch.stack([s[..., 1], -s[..., 0]], -1)
    >>> follow_field(turn, torch.tensor([0.0, 1.0]), 1.0, 2)
    tensor([[0., 1.],
            [1., 1.],
            [2., 0.]])
    """
    path = [start]
    for _ in range(steps):
        now = path[-1]
        moved = now + step_size * field(now)
        if alternating:
            seen = torch.stack([moved[..., 0], now[..., 1]], -1)
            steeper = now[..., 1] + step_size * field(seen)[..., 1]
            moved = torch.stack([moved[..., 0], steeper], -1)
        path.append(moved)
    return torch.stack(path)
