r"""What CycleGAN's translators minimise, and the pool of old translations for its critics.

.. code-block:: text

    total = adversarial(G, D_y) + adversarial(F, D_x) + lambda * cycle(G, F) + mu * identity(G, F)
"""

from __future__ import annotations

__all__ = ["CycleGANLoss", "cyclegan_loss", "exchange_with_pool", "identity_loss"]

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from reference.adversarial.cycle import cycle_consistency_loss
from reference.adversarial.losses import gan_losses

if TYPE_CHECKING:
    from jaxtyping import Float

    Map = Callable[[Tensor], Tensor]


class CycleGANLoss(NamedTuple):
    """The parts of the translators' loss, scalars, unweighted, and their weighted sum."""

    adversarial: Tensor
    cycle: Tensor
    identity: Tensor
    total: Tensor


def identity_loss(
    x_to_y: Map, y_to_x: Map, x: Float[Tensor, " n *event"], y: Float[Tensor, " m *event"]
) -> Float[Tensor, ""]:
    r"""Ask each translator to leave alone what is already of its target domain.

    .. math::

        L(G, F) = \overline{|G(y) - y|} + \overline{|F(x) - x|}

    Without it a translator may repaint day as night if the other one paints it back.

    Paper: Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks (Zhu,
    Park, Isola, Efros, 2017), Section 5.2, https://arxiv.org/abs/1703.10593
    Claims: theory.cyclegan_objective_adds_up
    Differs: the norm is divided by the number of pixels, as in the authors' code.

    Args:
        x_to_y: G.
        y_to_x: F.
        x: items of the first domain.
        y: items of the second domain, of the same shape.

    Returns:
        scalar, zero if and only if G keeps y and F keeps x.

    >>> negative, same = lambda x: -x, lambda y: y
    >>> identity_loss(negative, same, torch.tensor([[3.0]]), torch.tensor([[4.0]]))
    tensor(8.)
    """
    return (x_to_y(y) - y).abs().mean() + (y_to_x(x) - x).abs().mean()


def cyclegan_loss(
    x_to_y: Map,
    y_to_x: Map,
    critic_x: Map,
    critic_y: Map,
    x: Float[Tensor, " n *event"],
    y: Float[Tensor, " m *event"],
    cycle_weight: float = 10.0,
    identity_weight: float = 0.0,
) -> CycleGANLoss:
    r"""What both translators minimise together.

    .. math::

        L = L_{\mathrm{GAN}}(G, D_Y) + L_{\mathrm{GAN}}(F, D_X)
            + \lambda L_{\mathrm{cyc}}(G, F) + \mu L_{\mathrm{id}}(G, F)

    Paper: Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks (Zhu,
    Park, Isola, Efros, 2017), Equation 3 and Sections 4 and 5.2, https://arxiv.org/abs/1703.10593
    Claims: theory.cyclegan_objective_adds_up
    Differs: least squares are halved, as in `gan_losses`.

    Args:
        x_to_y, y_to_x: G and F.
        critic_x, critic_y: scores of either domain's images, of any shape: patches count alike.
        x, y: items of the two domains, unpaired.
        cycle_weight: lambda.
        identity_weight: mu; 0.5 lambda in the paper, where it is used.

    Returns:
        the adversarial part (both translators), the cycle, the identity, and the weighted sum.

    >>> same, zero = lambda x: x, lambda x: 0 * x
    >>> cyclegan_loss(same, same, zero, zero, torch.ones(2, 3), torch.ones(4, 3)).total
    tensor(1.)
    """
    generator_loss = gan_losses("least_squares").generator_loss
    adversarial = generator_loss(critic_y(x_to_y(x)).flatten())
    adversarial = adversarial + generator_loss(critic_x(y_to_x(y)).flatten())
    cycle = cycle_consistency_loss(x_to_y, y_to_x, x, y)
    identity = identity_loss(x_to_y, y_to_x, x, y)
    total = adversarial + cycle_weight * cycle + identity_weight * identity
    return CycleGANLoss(adversarial, cycle, identity, total)


def exchange_with_pool(
    pool: Float[Tensor, " p *event"],
    images: Float[Tensor, " n *event"],
    capacity: int,
    generator: torch.Generator | None = None,
) -> tuple[Float[Tensor, " n *event"], Float[Tensor, " q *event"]]:
    r"""Show a critic old translations as often as new ones, so that it does not forget them.

    .. math::

        \text{one by one:}\quad |P| < B:\ P \leftarrow P \cup \{x\},\ \text{show } x; \qquad
        \text{else: with } \tfrac12\ \text{show } x,\ \text{with } \tfrac12\
        \text{show } P_j,\ P_j \leftarrow x,\ j \text{ uniform}

    Paper: Learning from Simulated and Unsupervised Images through Adversarial Training
    (Shrivastava et al., 2017), Section 2.3, https://arxiv.org/abs/1612.07828
    Claims: theory.image_pool_keeps_size_and_history
    Differs: item by item, as in the authors' code of CycleGAN.

    Args:
        pool: what is kept so far; (0, *event) at the start.
        images: the new ones.
        capacity: B; 50 in CycleGAN; 0 keeps nothing.
        generator: of the choices.

    Returns:
        what to show the critic, and the new pool; both without a graph, `pool` unchanged.

    >>> shown, pool = exchange_with_pool(torch.zeros(0, 1), torch.ones(3, 1), capacity=2)
    >>> shown.shape, pool.shape
    (torch.Size([3, 1]), torch.Size([2, 1]))
    """
    kept, shown = list(pool.detach()), []
    for image in images.detach():
        at, chosen = torch.rand(2, generator=generator).tolist()
        if len(kept) < capacity:
            kept.append(image)
        elif capacity and chosen < 0.5:
            index = int(at * capacity)
            image, kept[index] = kept[index], image
        shown.append(image)
    return torch.stack(shown), torch.stack(kept) if kept else pool.detach().clone()
