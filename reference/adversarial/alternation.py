r"""One step for each player in turn, each with its own parameters; and what happens without turns.

.. code-block:: text

    discriminator step    fakes are data: no gradient into the generator
    generator step        the discriminator is a fixed function: gradients pass through, none stay

    naive variant         the discriminator is trained once and then kept: the generator runs to
                          wherever it was happiest, and nobody tells it that all samples are alike
"""

from __future__ import annotations

__all__ = ["discriminator_step", "generator_step"]

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from reference.adversarial.losses import GanLosses

if TYPE_CHECKING:
    from jaxtyping import Float


def _step(loss: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
    """Move an optimiser's own parameters; gradients of all others are not computed."""
    own = [p for group in optimizer.param_groups for p in group["params"]]
    for parameter, gradient in zip(own, torch.autograd.grad(loss, own), strict=True):
        parameter.grad = gradient
    optimizer.step()
    optimizer.zero_grad()
    return loss.detach()


def discriminator_step(
    generator: nn.Module,
    discriminator: nn.Module,
    losses: GanLosses,
    optimizer: torch.optim.Optimizer,
    real: Float[Tensor, " n *event"],
    noise: Float[Tensor, "m l"],
) -> Float[Tensor, ""]:
    r"""One step of the discriminator, the generator held fixed.

    .. math::

        \phi \leftarrow \phi - \eta\, \nabla_\phi L_D\bigl(D_\phi(x), D_\phi(G_\theta(z))\bigr)

    Paper: Generative Adversarial Networks (Goodfellow et al., 2014), Algorithm 1,
    https://arxiv.org/abs/1406.2661
    Claims: theory.one_sgd_step_each
    Differs: none, with k = 1.

    Args:
        generator: takes noise to samples.
        discriminator: takes samples to raw scores (N,).
        losses: of the game.
        optimizer: of the discriminator's parameters.
        real: data.
        noise: of as many samples as there shall be.

    Returns:
        The loss before the step, a scalar, cut off from the graph.

    >>> from reference.adversarial import gan_losses
    >>> d = nn.Sequential(nn.Linear(2, 1), nn.Flatten(0))
    >>> step = torch.optim.SGD(d.parameters(), lr=0.1)
    >>> parts = nn.Linear(3, 2), d, gan_losses("wasserstein"), step
    >>> discriminator_step(*parts, torch.ones(5, 2), torch.ones(5, 3)).shape
    torch.Size([])
    """
    with torch.no_grad():
        fake = generator(noise)
    return _step(losses.discriminator_loss(discriminator(real), discriminator(fake)), optimizer)


def generator_step(
    generator: nn.Module,
    discriminator: nn.Module,
    losses: GanLosses,
    optimizer: torch.optim.Optimizer,
    noise: Float[Tensor, "m l"],
) -> Float[Tensor, ""]:
    r"""One step of the generator, through a discriminator that stays as it is.

    .. math::

        \theta \leftarrow \theta - \eta\, \nabla_\theta L_G\bigl(D_\phi(G_\theta(z))\bigr)

    Paper: Generative Adversarial Networks (Goodfellow et al., 2014), Algorithm 1,
    https://arxiv.org/abs/1406.2661
    Claims: theory.one_sgd_step_each
    Differs: none.

    Args:
        generator, discriminator, losses, noise: as for `discriminator_step`.
        optimizer: of the generator's parameters.

    Returns:
        The loss before the step, a scalar, cut off from the graph.

    >>> from reference.adversarial import gan_losses
    >>> g, d = nn.Linear(3, 2), nn.Sequential(nn.Linear(2, 1), nn.Flatten(0))
    >>> step = torch.optim.SGD(g.parameters(), lr=0.1)
    >>> generator_step(g, d, gan_losses("wasserstein"), step, torch.ones(5, 3)).shape
    torch.Size([])
    """
    return _step(losses.generator_loss(discriminator(generator(noise))), optimizer)
