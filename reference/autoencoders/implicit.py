r"""The implicit autoencoder: no encoder, the code is what the decoder needs to say the point.

.. code-block:: text

    z_0 ──> decoder ──> x^_0 ──> how far from x?
     ^                              │
     └──── a step downhill ─────────┘        until the code says x as well as it can
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float

    Decoder = Callable[[Float[Tensor, "n k"]], Float[Tensor, "n d"]]
    Unit = Callable[[Float[Tensor, "n d"]], Float[Tensor, " n"]]

__all__ = ["activation_maximisation", "invert_decoder"]


def _slope(total: Float[Tensor, ""], at: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
    (found,) = torch.autograd.grad(total, at)
    return found


def invert_decoder(
    decoder: Decoder,
    x: Float[Tensor, "n d"],
    start: Float[Tensor, "n k"],
    step_size: float,
    steps: int,
) -> Float[Tensor, "n k"]:
    r"""Find each point's code by gradient descent on the decoder's input.

    .. math::

        z \leftarrow z - \eta\, \nabla_z \tfrac12 \bigl\| g(z) - x \bigr\|^2

    Of a linear decoder, started at zero, this is the pseudo-inverse: the shortest of all codes that
    rebuild the point best. The step must be below twice the inverse of the largest squared singular
    value of the decoder's Jacobian.

    Paper: Inverting The Generator Of A Generative Adversarial Network (Creswell, Bharath, 2016),
    Section 2, https://arxiv.org/abs/1611.05644
    Claims: theory.implicit_inversion
    Differs: squared error in place of a cross-entropy.

    Args:
        decoder: takes codes (N, k) to points (N, D), each on its own.
        x: points (N, D).
        start: first guesses (N, k).
        step_size: eta.
        steps: how many.

    Returns:
        The codes (N, k), cut off from the graph.

    >>> invert_decoder(lambda z: 2 * z, torch.ones(1, 1), torch.zeros(1, 1), 0.25, 1)
    tensor([[0.5000]])
    """
    z = start.detach()
    for _ in range(steps):
        z = z.requires_grad_()
        with torch.enable_grad():
            error = 0.5 * (decoder(z) - x.detach()).square().sum()
            z = (z - step_size * _slope(error, z)).detach()
    return z


def activation_maximisation(
    unit: Unit, start: Float[Tensor, "n d"], step_size: float, steps: int, radius: float
) -> Float[Tensor, "n d"]:
    r"""Find the input of given length that excites a unit most.

    .. math::

        x \leftarrow \rho\, \frac{x + \eta \nabla u(x)}{\| x + \eta \nabla u(x) \|}

    Of a linear unit this is its weight vector, scaled to the length.

    Paper: Visualizing Higher-Layer Features of a Deep Network (Erhan, Bengio, Courville, Vincent,
    2009), Section 3.2, https://www.iro.umontreal.ca/~lisa/publications2/index.php/publications/show/247
    Claims: theory.activation_maximisation_finds_the_weights
    Differs: none.

    Args:
        unit: takes points (N, D) to activations (N,).
        start: first guesses (N, D), not zero.
        step_size: eta.
        steps: how many.
        radius: rho, the length of the result.

    Returns:
        (N, D), each of length rho, cut off from the graph.

    >>> activation_maximisation(lambda x: x[:, 1], torch.ones(1, 2), 1e6, 1, radius=3.0).round()
    tensor([[0., 3.]])
    """
    x = start.detach()
    for _ in range(steps):
        x = x.requires_grad_()
        with torch.enable_grad():
            uphill = _slope(unit(x).sum(), x)
        moved = x.detach() + step_size * uphill
        x = radius * moved / moved.norm(dim=-1, keepdim=True)
    return x
