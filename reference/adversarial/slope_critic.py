r"""A critic on the line is a table of slopes, and the Wasserstein game one number for each cell.

.. code-block:: text

    f(x)          ___                     slopes   s  =   +1  +1   0  -1
              /\_/   \        edges  |---|---|---|---|
             /        \              areas  A_j = how far F_samples is above F_data in the cell

    E_data f - E_samples f = sum_j s_j A_j          clip |s| <= c      largest for s = c sign A
"""

from __future__ import annotations

__all__ = ["cell_features", "segment_shares", "train_slopes", "transport_turn"]

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float


def cell_features(points: Float[Tensor, " n"], edges: Float[Tensor, " e"]) -> Float[Tensor, "n k"]:
    r"""How much of each cell lies to the left of a point: f is linear in them, with its slopes.

    .. math::

        \psi_j(x) = \min(\max(x - e_j, 0), e_{j+1} - e_j), \qquad
        f(x) = f(e_0) + \sum_j s_j \psi_j(x)

    Paper: Wasserstein GAN (Arjovsky, Chintala, Bottou, 2017), Section 3,
    https://arxiv.org/abs/1701.07875
    Claims: theory.clipped_slopes_measure_transport
    Differs: the critic is piecewise linear on the line.

    Args:
        points: x (N,), between the first edge and the last.
        edges: e, ascending (K + 1,).

    Returns:
        (N, K), in the units of the points.

    >>> cell_features(torch.tensor([1.5]), torch.tensor([0.0, 1.0, 2.0, 3.0]))
    tensor([[1.0000, 0.5000, 0.0000]])
    """
    return torch.minimum((points[:, None] - edges[:-1]).relu(), edges.diff())


def segment_shares(
    real: Float[Tensor, " n"], fake: Float[Tensor, " n"], edges: Float[Tensor, " e"]
) -> Float[Tensor, " k"]:
    r"""How often the gradient penalty looks at each cell: the law of its points, integrated.

    .. math::

        w_j = \frac1N \sum_i \frac{|\psi_j(x_i) - \psi_j(\tilde x_i)|}{|x_i - \tilde x_i|}
            = P\bigl(t x_i + (1 - t) \tilde x_i \in [e_j, e_{j+1}]\bigr)

    Paper: Improved Training of Wasserstein GANs (Gulrajani et al., 2017), Algorithm 1, line 6,
    https://arxiv.org/abs/1704.00028
    Claims: theory.penalised_slopes_exceed_transport
    Differs: the uniform fraction is integrated out.

    Args:
        real, fake: pairs of points, no point its own partner (N,).
        edges: of the cells (K + 1,).

    Returns:
        (K,), of sum one.

    >>> segment_shares(torch.tensor([0.5]), torch.tensor([2.0]), torch.tensor([0.0, 1.0, 2.0]))
    tensor([0.3333, 0.6667])
    """
    crossed = (cell_features(real, edges) - cell_features(fake, edges)).abs()
    return (crossed / (real - fake).abs()[:, None]).mean(0)


def train_slopes(
    slopes: Float[Tensor, " k"],
    areas: Float[Tensor, " k"],
    step_size: float,
    steps: int,
    bound: float = math.inf,
    penalties: Float[Tensor, " k"] | None = None,
) -> Float[Tensor, "t k"]:
    r"""Gradient ascent of the critic alone: clipped, penalised around slope one, or let loose.

    .. math::

        s' = \Pi_c\Bigl[s + h\, \nabla_s \sum_j \bigl(s_j A_j - w_j (|s_j| - 1)^2\bigr)\Bigr]

    Paper: Wasserstein GAN (Arjovsky, Chintala, Bottou, 2017), Algorithm 1,
    https://arxiv.org/abs/1701.07875; Improved Training of Wasserstein GANs (Gulrajani et al.,
    2017), Equation 3, https://arxiv.org/abs/1704.00028
    Claims: theory.clipped_slopes_measure_transport, theory.penalised_slopes_exceed_transport
    Differs: slopes of a piecewise linear critic are clipped in place of a network's weights.

    Args:
        slopes: to start from (K,).
        areas: A, the difference of the means of `cell_features`, data less samples (K,).
        step_size: h.
        steps: how many.
        bound: c.
        penalties: w, the weight of each cell's penalty; none if None.

    Returns:
        The path (steps + 1, K).

    >>> train_slopes(torch.zeros(2), torch.tensor([0.5, -0.1]), 1.0, steps=3, bound=1.0)[-1]
    tensor([ 1.0000, -0.3000])
    """
    path = [slopes]
    for _ in range(steps):
        now = path[-1]
        up = areas if penalties is None else areas - 2 * penalties * (now - now.sign())
        path.append((now + step_size * up).clamp(-bound, bound))
    return torch.stack(path)


def transport_turn(
    real: Float[Tensor, " n"], fake: Float[Tensor, " n"], step_size: float, bound: float = 1.0
) -> Float[Tensor, " n"]:
    r"""One turn against the best critic of slope at most c: every sample walks to its partner.

    .. math::

        \tilde x_{(i)}' = \tilde x_{(i)} + h\, c\, \operatorname{sign}(x_{(i)} - \tilde x_{(i)})

    On the line the best plan pairs the points in order, and the best critic falls or rises with
    slope c all the way from one partner to the other.

    Paper: Wasserstein GAN (Arjovsky, Chintala, Bottou, 2017), Algorithm 1 with the critic trained
    till optimality, https://arxiv.org/abs/1701.07875
    Claims: theory.transport_training
    Differs: samples are free parameters; h counts for each sample, not for the mean.

    Args:
        real: data (N,).
        fake: as many samples (N,).
        step_size: h.
        bound: c.

    Returns:
        the next samples (N,), in the order in which they came.

    >>> transport_turn(torch.tensor([7.0, 1.0]), torch.tensor([0.0, 3.0]), 0.5)
    tensor([0.5000, 3.5000])
    """
    partners = real.sort().values[fake.argsort().argsort()]
    return fake + step_size * bound * (partners - fake).sign()
