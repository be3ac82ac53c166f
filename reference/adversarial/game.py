r"""The value of the adversarial game on a finite sample space, and its best discriminator."""

from __future__ import annotations

__all__ = ["game_value", "game_value_at_optimum", "optimal_discriminator"]

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float


def game_value(
    d: Float[Tensor, " n"], p: Float[Tensor, " n"], q: Float[Tensor, " n"]
) -> Float[Tensor, ""]:
    r"""What the discriminator maximises and the generator, through q, minimises.

    .. math::

        V(D, G) = \sum_x p(x) \log D(x) + q(x) \log(1 - D(x))

    Paper: Generative Adversarial Networks (Goodfellow et al., 2014), Equation 1,
    https://arxiv.org/abs/1406.2661
    Claims: gan_losses.matches_game_value, optimal_discriminator.maximises_the_game
    Differs: the generator is its distribution q over an enumerated space; 0 log 0 = 0.

    Args:
        d: probability that each point is real, in [0, 1].
        p: probabilities of the data.
        q: probabilities of the generator.

    Returns:
        scalar, nats; -inf for a discriminator that is certain and may be wrong.

    >>> half = torch.tensor([0.5, 0.5])
    >>> game_value(half, half, half)  # -log 4
    tensor(-1.3863)
    """
    return _expected_log(p, d) + _expected_log(q, 1 - d)


def optimal_discriminator(p: Float[Tensor, " n"], q: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    r"""The probability that a point is real when each source is as likely as the other.

    .. math::

        D^*(x) = \frac{p(x)}{p(x) + q(x)}

    Paper: Generative Adversarial Networks (Goodfellow et al., 2014), Proposition 1,
    https://arxiv.org/abs/1406.2661
    Claims: optimal_discriminator.formula, optimal_discriminator.maximises_the_game,
    optimal_discriminator.half_at_equilibrium
    Differs: 1/2 where neither has mass, which the paper leaves open.

    Args:
        p: probabilities of the data.
        q: probabilities of the generator.

    Returns:
        (n,), in [0, 1].

    >>> optimal_discriminator(torch.tensor([0.75, 0.25, 0.0]), torch.tensor([0.25, 0.75, 0.0]))
    tensor([0.7500, 0.2500, 0.5000])
    """
    total = p + q
    nowhere = total == 0
    # The inner where keeps the gradient free of 0/0 too.
    return torch.where(nowhere, 0.5, p / torch.where(nowhere, 1, total))


def game_value_at_optimum(p: Float[Tensor, " n"], q: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    r"""The generator's criterion: the value of the game when the discriminator plays its best.

    .. math::

        V(D^*, G) = \sum_x p \log \frac{p}{p + q} + q \log \frac{q}{p + q}
            = 2 D_{\mathrm{JS}}(p \,\|\, q) - \log 4

    Paper: Generative Adversarial Networks (Goodfellow et al., 2014), Theorem 1,
    https://arxiv.org/abs/1406.2661
    Claims: theory.gan_value_is_js, theory.more_modes_lower_value
    Differs: none.

    Args:
        p: probabilities of the data.
        q: probabilities of the generator.

    Returns:
        scalar, nats, in [-log 4, 0]: the least when p = q, the greatest for disjoint supports.

    >>> game_value_at_optimum(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]))
    tensor(0.)
    """
    # 1 - D* is D* with the roles exchanged: computed so, it does not round to 0 where q << p.
    return _expected_log(p, optimal_discriminator(p, q)) + _expected_log(
        q, optimal_discriminator(q, p)
    )


def _expected_log(p: Tensor, d: Tensor) -> Tensor:
    never = (p == 0) & (d == 0)  # 0 log 0 = 0, in the gradient as well
    return (p * torch.where(never, 1, d).log()).sum()
