r"""What one turn of adversarial training does near the data: a matrix, and its eigenvalues the rate.

.. code-block:: text

    K = 0      |eigenvalue| = 1     the players circle          WGAN without a constraint
    K > 0      |eigenvalue| < 1     they spiral in              R1, instance noise, data with a width
                                                                in a game whose loss is curved
"""

from __future__ import annotations

__all__ = ["turn_matrix"]

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float

_AT_REST = {  # slope t of the generator's loss and curvature kappa of the critic's, at the best score
    "minimax": (0.5, 0.5),
    "non_saturating": (0.5, 0.5),
    "least_squares": (0.5, 2.0),
    "wasserstein": (1.0, 0.0),
    "hinge": (1.0, 0.0),
}


def turn_matrix(
    data: Float[Tensor, "n 1"],
    noise: Float[Tensor, "n 1"],
    sizes: tuple[int, int],
    kind: str,
    step_size: float,
    r1: float = 0.0,
) -> Float[Tensor, "s s"]:
    r"""Linearise a turn of `play_turns` where the samples are the data and the critic is at rest.

    .. math::

        A = \begin{pmatrix} I & h\, t J^\top \\ 0 & I \end{pmatrix}
            \begin{pmatrix} I & 0 \\ -h\, t J & I - h K \end{pmatrix}, \qquad
        J_{kl} = \mathbb E[\phi_k'(x)\, \phi_l(z)], \quad
        K = \kappa\, \mathbb E[\phi \phi^\top] + \gamma\, \mathbb E[\phi' \phi'^\top]

    with :math:`\phi_k(x) = x^k / k!`, and

    .. math::

        \text{logistic games: } t = \tfrac12, \kappa = \tfrac12; \quad
        \text{least squares: } t = \tfrac12, \kappa = 2; \quad
        \text{Wasserstein, hinge: } t = 1, \kappa = 0

    Noise on data and samples alike spreads :math:`\phi`, and so instance noise raises K.

    Paper: Which Training Methods for GANs do actually Converge? (Mescheder, Geiger, Nowozin, 2018),
    Section 4 and Appendix D, https://arxiv.org/abs/1801.04406
    Claims: theory.turns_near_the_data, theory.damped_turns_arrive
    Differs: a turn in place of the flow; polynomials in place of networks.

    Args:
        data: points that the generator reaches, in the order of their noise.
        noise: points.
        sizes: how many coefficients theta and psi have.
        kind: of the losses, as for `gan_losses`.
        step_size: h.
        r1: gamma, the weight of `r1_penalty`.

    Returns:
        (G + D, G + D), theta before psi.

    Raises:
        ValueError: another kind.

    >>> place = torch.zeros(1, 1)  # a point mass, and no penalty: two numbers that circle
    >>> turn_matrix(place, place, (1, 2), "wasserstein", 0.5)
    tensor([[ 0.7500,  0.0000,  0.5000],
            [ 0.0000,  1.0000,  0.0000],
            [-0.5000,  0.0000,  1.0000]])
    """
    if kind not in _AT_REST:
        raise ValueError(f"kind must be one of {', '.join(_AT_REST)}, not {kind!r}")
    (pull, curvature), (g, d) = _AT_REST[kind], sizes
    features = _powers(data, d)
    slopes = torch.cat([torch.zeros_like(data), features[:, :-1]], 1)  # phi_k' = phi_{k-1}
    jacobian = slopes.mT @ _powers(noise, g) / len(data)
    damping = (curvature * features.mT @ features + r1 * slopes.mT @ slopes) / len(data)
    critic = torch.eye(g + d).to(data)
    critic[g:, :g] = -step_size * pull * jacobian
    critic[g:, g:] -= step_size * damping
    generator = torch.eye(g + d).to(data)
    generator[:g, g:] = step_size * pull * jacobian.mT
    return generator @ critic


def _powers(points: Tensor, count: int) -> Tensor:
    """x^k / k! for each k below `count` (N, K)."""
    orders = torch.arange(count, device=points.device)
    return points.pow(orders) / (orders + 1.0).to(points).lgamma().exp()
