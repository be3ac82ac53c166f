r"""Sparse coding: a point as the sum of few atoms, found by minimising rather than by an encoder.

.. code-block:: text

    soft_threshold(v, t)        /
                               /        what is weaker than the threshold is dropped,
              _______________ /         what is stronger is shrunk by it
             /   -t       t
            /
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = ["soft_threshold", "sparse_code"]


def soft_threshold(v: Float[Tensor, " *shape"], threshold: float) -> Float[Tensor, " *shape"]:
    r"""Shrink every entry towards zero by the threshold, and stop there.

    .. math::

        S_t(v) = \arg\min_z\, \tfrac12 (v - z)^2 + t|z| = \mathrm{sign}(v) \max(|v| - t, 0)

    Paper: Regression Shrinkage and Selection via the Lasso (Tibshirani, 1996), Section 2.2,
    https://doi.org/10.1111/j.2517-6161.1996.tb02080.x
    Claims: sparse_code.soft_threshold
    Differs: none.

    >>> soft_threshold(torch.tensor([-3.0, 0.5, 2.0]), 1.0)
    tensor([-2.,  0.,  1.])
    """
    return v.sign() * (v.abs() - threshold).relu()


def _descend(
    target: Float[Tensor, "n k"], gram: Float[Tensor, "k k"], penalty: float
) -> Float[Tensor, "n k"]:
    """Minimise over one entry of the code after the other until none of them moves."""
    z = torch.zeros_like(target)
    lengths = gram.diagonal().clamp_min(torch.finfo(gram.dtype).tiny)  # an atom of zeros: z stays 0
    for _ in range(10_000):
        before = z.clone()
        for k in range(len(gram)):
            others = z @ gram[:, k] - z[:, k] * gram[k, k]
            z[:, k] = soft_threshold(target[:, k] - others, penalty) / lengths[k]
        if (z - before).abs().max() <= 1e-10 * z.abs().max():
            break
    return z


def sparse_code(
    x: Float[Tensor, "n d"], dictionary: Float[Tensor, "k d"], penalty: float
) -> Float[Tensor, "n k"]:
    r"""Find the code that reconstructs each point best for its size.

    .. math::

        z = \arg\min_z\, \tfrac12 \|x - zA\|^2 + \lambda \|z\|_1

    Coordinate descent finds which atoms are in use, S, and their signs s; given these, the code
    solves a linear system, through which gradients pass:

    .. math::

        A_S A_S^\top z_S = A_S x - \lambda s

    Paper: Emergence of simple-cell receptive field properties by learning a sparse code for natural
    images (Olshausen, Field, 1996), https://doi.org/10.1038/381607a0; the descent from Pathwise
    coordinate optimization (Friedman et al., 2007), https://arxiv.org/abs/0708.1485
    Claims: sparse_code.kkt, sparse_code.soft_threshold, sparse_code.zero_above_lambda_max,
    sparse_code.penalty_path
    Differs: absolute values as the measure of size, one of the paper's three.

    Args:
        x: Points (N, D).
        dictionary: Atoms as rows (K, D); those in use by one point are linearly independent.
        penalty: The price of a unit of code, positive.

    Returns:
        The codes (N, K), zero for atoms that are not in use.

    >>> sparse_code(torch.tensor([[3.0, 0.5]]), torch.eye(2), penalty=1.0)
    tensor([[2., 0.]])
    """
    target, gram = x @ dictionary.mT, dictionary @ dictionary.mT
    with torch.no_grad():
        descended = _descend(target, gram, penalty)
        sizes = descended.abs()  # what the descent has not quite brought to zero is not in use
        signs = descended.sign() * (sizes > 1e-7 * sizes.amax(-1, keepdim=True))
    used = signs.abs()
    system = gram * used[:, :, None] * used[:, None, :] + torch.diag_embed(1 - used)  # (N, K, K)
    rhs = used * (target - penalty * signs)  # (N, K)
    codes: Tensor = (torch.linalg.pinv(system, hermitian=True) @ rhs[:, :, None])[:, :, 0]
    return used * codes  # exactly zero, not up to rounding
