r"""The score-function estimator: the gradient of an expectation that no path leads through.

.. code-block:: text

    reparameterised   parameters --> z = mean + sigma * noise --> value       gradient along the path
    score function    parameters --> log q(z)  x  value, as a number          gradient of log q alone
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

__all__ = ["leave_one_out_baseline", "score_function_surrogate"]


def score_function_surrogate(
    value: Float[Tensor, "s n"],
    log_q: Float[Tensor, "s n"],
    baseline: Float[Tensor, "s n"] | float = 0.0,
) -> Float[Tensor, " n"]:
    r"""A number whose gradient estimates that of an expectation under q, whatever the value is.

    .. math::

        \nabla \mathbb E_{q}[f(z)] = \mathbb E_q\bigl[(f(z) - b)\, \nabla \log q(z)\bigr]

    f need not be differentiable, and z may be discrete. What the value itself owes to the
    parameters, other than through z, is not counted.

    Paper: Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning
    (Williams, 1992), Section 4, https://doi.org/10.1007/BF00992696
    Claims: theory.score_function_is_unbiased, theory.baseline_keeps_the_mean
    Differs: none.

    Args:
        value: f at each draw (S, N); no gradient flows through it.
        log_q: log q(z) of each draw (S, N), a function of the parameters; the draws are fixed.
        baseline: b, which must not depend on the draw that it is used for.

    Returns:
        (N,), to be differentiated; the value means nothing.

    >>> import torch
    >>> log_q = torch.zeros(2, 1, requires_grad=True)
    >>> score_function_surrogate(torch.tensor([[1.0], [5.0]]), log_q).sum().backward()
    >>> log_q.grad.flatten()
    tensor([0.5000, 2.5000])
    """
    return ((value - baseline).detach() * log_q).mean(0)


def leave_one_out_baseline(value: Float[Tensor, "s n"]) -> Float[Tensor, "s n"]:
    r"""For each draw the mean value of the others: it lowers the variance and keeps the mean.

    .. math::

        b_s = \frac{1}{S - 1} \sum_{r \ne s} f(z_r)

    Paper: Variational Inference for Monte Carlo Objectives (Mnih, Rezende, 2016), Section 2.4,
    https://arxiv.org/abs/1602.06725
    Claims: theory.baseline_keeps_the_mean
    Differs: the arithmetic mean, for an expectation in place of its logarithm.

    Args:
        value: f at each draw (S, N), S at least 2.

    Returns:
        (S, N).

    Raises:
        ValueError: a single draw has no others.

    >>> import torch
    >>> leave_one_out_baseline(torch.tensor([[1.0], [5.0], [9.0]])).flatten()
    tensor([7., 5., 3.])
    """
    if len(value) < 2:
        raise ValueError("a baseline of the other draws needs two draws or more")
    return (value.sum(0) - value) / (len(value) - 1)
