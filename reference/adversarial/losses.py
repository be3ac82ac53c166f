r"""The losses of the discriminator and of the generator in five adversarial games.

With score s and D = sigmoid(s), the generator's loss as a function of the fake's score:

.. code-block:: text

    kind            loss              slope          at s = -9, a fake that is clearly rejected
    minimax         log(1 - D)        -D             -0.0001: nothing to learn from
    non_saturating  -log D            -(1 - D)       -0.9999: a full signal
    least_squares   (s - 1)^2 / 2     s - 1          -10
    wasserstein     -s                -1             -1
    hinge           -s                -1             -1
"""

from __future__ import annotations

__all__ = ["GanLosses", "gan_losses"]

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor
from torch.nn.functional import logsigmoid

if TYPE_CHECKING:
    from jaxtyping import Float

    DiscriminatorLoss = Callable[[Float[Tensor, " n"], Float[Tensor, " m"]], Float[Tensor, ""]]
    GeneratorLoss = Callable[[Float[Tensor, " m"]], Float[Tensor, ""]]


class GanLosses(NamedTuple):
    """The two losses of a game, each to be minimised by its owner; means over the batch.

    Args:
        discriminator_loss: takes real scores (N,) and fake scores (M,) to a scalar.
        generator_loss: takes fake scores (M,) to a scalar.
    """

    discriminator_loss: DiscriminatorLoss
    generator_loss: GeneratorLoss


# log D = logsigmoid(s) and log(1 - D) = logsigmoid(-s) keep scores of any size finite; softplus is
# not used because torch rounds it to a straight line above 20.


def _cross_entropy(real: Tensor, fake: Tensor) -> Tensor:
    return -logsigmoid(real).mean() - logsigmoid(-fake).mean()


def _minimax(fake: Tensor) -> Tensor:
    return logsigmoid(-fake).mean()


def _non_saturating(fake: Tensor) -> Tensor:
    return -logsigmoid(fake).mean()


def _squares(real: Tensor, fake: Tensor) -> Tensor:
    return 0.5 * (real - 1).square().mean() + 0.5 * fake.square().mean()


def _square(fake: Tensor) -> Tensor:
    return 0.5 * (fake - 1).square().mean()


def _difference(real: Tensor, fake: Tensor) -> Tensor:
    return fake.mean() - real.mean()


def _hinges(real: Tensor, fake: Tensor) -> Tensor:
    return (1 - real).relu().mean() + (1 + fake).relu().mean()


def _score(fake: Tensor) -> Tensor:
    return -fake.mean()


_LOSSES = {
    "minimax": GanLosses(_cross_entropy, _minimax),
    "non_saturating": GanLosses(_cross_entropy, _non_saturating),
    "least_squares": GanLosses(_squares, _square),
    "wasserstein": GanLosses(_difference, _score),
    "hinge": GanLosses(_hinges, _score),
}


def gan_losses(kind: str) -> GanLosses:
    r"""Look up the pair of losses of a game.

    .. math::

        \begin{align*}
        \text{minimax} &: -\overline{\log D(x)} - \overline{\log(1 - D(\tilde x))},
            && \overline{\log(1 - D(\tilde x))} \\
        \text{non-saturating} &: \text{the same}, && -\overline{\log D(\tilde x)} \\
        \text{least squares} &:
            \tfrac12 \overline{(s(x) - 1)^2} + \tfrac12 \overline{s(\tilde x)^2},
            && \tfrac12 \overline{(s(\tilde x) - 1)^2} \\
        \text{Wasserstein} &: \overline{s(\tilde x)} - \overline{s(x)},
            && -\overline{s(\tilde x)} \\
        \text{hinge} &: \overline{\max(0, 1 - s(x))} + \overline{\max(0, 1 + s(\tilde x))},
            && -\overline{s(\tilde x)}
        \end{align*}

    discriminator first, x real and x-tilde fake, bars for means over the batch.

    Paper: Generative Adversarial Networks (Goodfellow et al., 2014), Equation 1 and Section 3,
    https://arxiv.org/abs/1406.2661; Least Squares Generative Adversarial Networks (Mao et al.,
    2016), Section 3, https://arxiv.org/abs/1611.04076; Wasserstein GAN (Arjovsky, Chintala,
    Bottou, 2017), Section 3, https://arxiv.org/abs/1701.07875; Geometric GAN (Lim, Ye, 2017),
    https://arxiv.org/abs/1705.02894
    Claims: gan_losses.discriminator_is_cross_entropy, gan_losses.matches_game_value,
    gan_losses.generator_gradient, gan_losses.least_squares_optimum, gan_losses.wasserstein_linear,
    gan_losses.hinge_saturates, gan_losses.stable, gan_losses.directions,
    gan_losses.batch_sizes_may_differ
    Differs: the signs are turned so that each player minimises.

    Args:
        kind: "minimax", "non_saturating", "least_squares", "wasserstein" or "hinge".

    Returns:
        the pair `(discriminator_loss, generator_loss)`, nats for the first two kinds.

    Raises:
        ValueError: another kind.

    >>> import torch
    >>> gan_losses("hinge").discriminator_loss(torch.tensor([0.5, 2.0]), torch.tensor([-3.0]))
    tensor(0.2500)
    """
    if kind not in _LOSSES:
        raise ValueError(f"kind must be one of {', '.join(_LOSSES)}, not {kind!r}")
    return _LOSSES[kind]
