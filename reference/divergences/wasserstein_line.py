r"""The Wasserstein-1 distance on the line: the area between two distribution functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

__all__ = ["wasserstein1_on_the_line"]


def wasserstein1_on_the_line(
    x: Float[Tensor, " n"],
    y: Float[Tensor, " m"],
    p: Float[Tensor, " n"],
    q: Float[Tensor, " m"],
) -> Float[Tensor, ""]:
    r"""The Wasserstein-1 distance of points on a line: the area between distribution functions.

    .. math::

        W_1 = \int_{-\infty}^{\infty} |F(t) - G(t)| \, dt, \qquad
        F(t) = \sum_{x_i \le t} p_i, \quad G(t) = \sum_{y_j \le t} q_j

    Paper: Calculation of the Wasserstein Distance Between Probability Distributions on the Line
    (Vallender, 1974), https://doi.org/10.1137/1118101
    Claims: wasserstein1.matches_cdf_in_1d
    Differs: none.

    Args:
        x: Points (n,).
        y: Points (m,).
        p: Probabilities of x (n,).
        q: Probabilities of y (m,).

    Returns:
        The distance, in the units of the points, a 0-d tensor, differentiable in everything.

    Raises:
        ValueError: Shapes do not fit.

    >>> x, y = torch.tensor([0.0, 1.0]), torch.tensor([5.0, 6.0])
    >>> wasserstein1_on_the_line(x, y, torch.tensor([0.5, 0.5]), torch.tensor([0.5, 0.5]))
    tensor(5.)
    """
    if x.ndim != 1 or y.ndim != 1 or x.shape != p.shape or y.shape != q.shape:
        shapes = [(*tensor.shape,) for tensor in (x, y, p, q)]
        raise ValueError(f"x, y, p, q must be (n,), (m,), (n,), (m,), got {shapes}")
    steps = torch.cat([p, -q])
    points, order = torch.cat([x, y]).sort()
    height = steps[order].cumsum(0)[:-1]  # F - G between each point and the next
    return (height.abs() * points.diff()).sum()
