r"""The Kullback-Leibler divergence between two probability vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

__all__ = ["kl_divergence"]


def kl_divergence(p: Float[Tensor, " n"], q: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    r"""The nats that are wasted on average when p's outcomes are coded with a code made for q.

    .. math::

        D_{\mathrm{KL}}(p \,\|\, q) = \sum_{i=1}^{n} p_i \log \frac{p_i}{q_i},
        \qquad 0 \log \tfrac{0}{q} = 0, \quad p \log \tfrac{p}{0} = \infty

    Paper: On Information and Sufficiency (Kullback, Leibler, 1951), Section 2,
    https://doi.org/10.1214/aoms/1177729694
    Claims: kl_divergence.nonnegative, kl_divergence.matches_definition, kl_divergence.asymmetric,
    kl_divergence.additive, kl_divergence.convex
    Differs: a sum over n outcomes in place of the integral.

    The gradient is that of the formula, `log(p / q) + 1` and `-p / q`; an outcome with p = 0 has
    the constant 0 for its term, and so the gradient 0 (the one-sided slope in p there is -inf).

    Args:
        p: Probabilities (n,), non-negative and summing to 1.
        q: Probabilities (n,), non-negative and summing to 1.

    Returns:
        The divergence in nats, a 0-d tensor; `inf` where `q = 0 < p` for some outcome.

    Raises:
        ValueError: The shapes differ, or an entry is negative or NaN.

    >>> kl_divergence(torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.5]))
    tensor(0.6931)
    >>> kl_divergence(torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0.0]))
    tensor(inf)
    """
    if p.ndim != 1 or p.shape != q.shape:
        raise ValueError(f"p and q must have one shape (n,), got {(*p.shape,)} and {(*q.shape,)}")
    for name, probabilities in (("p", p), ("q", q)):
        if not (probabilities >= 0).all():
            raise ValueError(f"{name} must be non-negative, got {probabilities.tolist()}")
    # 1 log(1 / 1) stands in for 0 log(0 / q): the same value 0, and no NaN in the gradient.
    numerator = torch.where(p > 0, p, 1)
    denominator = torch.where(p > 0, q, 1)
    terms = torch.xlogy(numerator, numerator) - torch.xlogy(numerator, denominator)
    return terms.sum()
