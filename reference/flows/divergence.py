r"""The divergence of a vector field, exact or by one random direction.

.. code-block:: text

    J = dv/dx  (D, D)        exact:       e1 J e1 + e2 J e2 + ... + eD J eD     D products
                             Hutchinson:  e J e  for one random e               1 product

A product e J costs as much as v itself, whatever D: J is never written down.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = ["exact_divergence", "hutchinson_divergence"]


def hutchinson_divergence(
    field: Callable[[Tensor], Tensor], x: Float[Tensor, "n d"], noise: Float[Tensor, "n d"]
) -> Float[Tensor, " n"]:
    r"""Estimate the trace of the Jacobian by one product with it.

    .. math::

        \epsilon^\top \frac{\partial v}{\partial x} \epsilon, \qquad
        \mathbb E[\epsilon \epsilon^\top] = I \;\Longrightarrow\;
        \mathbb E\Bigl[\epsilon^\top \frac{\partial v}{\partial x} \epsilon\Bigr] =
        \operatorname{tr} \frac{\partial v}{\partial x}

    Paper: FFJORD: Free-form Continuous Dynamics for Scalable Reversible Generative Models
    (Grathwohl, Chen, Bettencourt, Sutskever, Duvenaud, 2018), Equation 7 and Section 3.1,
    https://arxiv.org/abs/1810.01367
    Claims: theory.hutchinson_unbiased
    Differs: none.

    Args:
        field: v at one time, item by item.
        x: points (N, D).
        noise: of mean 0 and covariance I, (N, D): signs, or normal numbers.

    Returns:
        (N,).

    >>> hutchinson_divergence(lambda x: 3 * x, torch.zeros(1, 2), torch.tensor([[1.0, -1.0]]))
    tensor([6.])
    """
    training = torch.is_grad_enabled()
    with torch.enable_grad():
        here = x if x.requires_grad else x.detach().requires_grad_()
        (product,) = torch.autograd.grad(field(here), here, noise, create_graph=training)
    return (product * noise).sum(1)


def exact_divergence(
    field: Callable[[Tensor], Tensor], x: Float[Tensor, "n d"]
) -> Float[Tensor, " n"]:
    r"""The trace of the Jacobian: one product with it for each axis.

    .. math::

        \operatorname{tr} \frac{\partial v}{\partial x} =
        \sum_{d=1}^{D} e_d^\top \frac{\partial v}{\partial x} e_d

    Paper: Neural Ordinary Differential Equations (Chen, Rubanova, Bettencourt, Duvenaud, 2018),
    Section 4, https://arxiv.org/abs/1806.07366
    Claims: theory.hutchinson_unbiased, theory.continuous_log_det
    Differs: none.

    Args:
        field: v at one time, item by item.
        x: points (N, D).

    Returns:
        (N,).

    >>> exact_divergence(lambda x: x.square(), torch.tensor([[1.0, 2.0]])).tolist()
    [6.0]
    """
    n, d = x.shape
    axes = torch.eye(d, dtype=x.dtype, device=x.device).repeat_interleave(n, 0)  # (D N, D)
    return hutchinson_divergence(field, x.repeat(d, 1), axes).reshape(d, n).sum(0)
