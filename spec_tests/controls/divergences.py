r"""Unusual but right divergences, transport costs and optimal discriminators."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy import optimize
from torch import Tensor, nn

from spec_tests.registry import Unsupported, control

# Divergences ---------------------------------------------------------------------------------------


@control("kl_divergence")
def kl_over_the_support_only(p: Tensor, q: Tensor) -> Tensor:
    """Outcomes without mass are left out by indexing: the definition's 0 log 0 = 0 taken literally."""
    some = p > 0
    return (p[some] * (p[some].log() - q[some].log())).sum()


@control("kl_divergence")
def kl_as_a_bregman_divergence(p: Tensor, q: Tensor) -> Tensor:
    """With the terms q - p, as generalised to measures that need not sum to 1: over probability
    vectors they add up to nothing, and the gradients differ by a constant only."""
    some = p > 0
    a, b = torch.where(some, p, 1), torch.where(some, q, 1)
    return (torch.where(some, a * (a.log() - b.log()), 0) - p + q).sum()


@control("kl_divergence")
def kl_of_normalised_arguments(p: Tensor, q: Tensor) -> Tensor:
    """Both are divided by their sums first, as some libraries do: the gradient off the simplex is
    another one, along it the same."""
    p, q = p / p.sum(), q / q.sum()
    some = p > 0
    return (p[some] * (p[some] / q[some]).log()).sum()


@control("kl_divergence")
def kl_as_a_python_float(p: Tensor, q: Tensor) -> Any:
    """A Python float where no gradient is asked for, a tensor otherwise."""
    value = kl_over_the_support_only(p, q)
    return value if value.requires_grad else float(value)


@control("js_divergence")
def js_of_a_detached_mixture(p: Tensor, q: Tensor) -> Tensor:
    """The mixture is held constant: by the envelope theorem its terms add up to a constant slope,
    which no direction along the simplex sees."""
    m = ((p + q) / 2).detach()
    sides = ((side[side > 0], m[side > 0]) for side in (p, q))
    return sum((side * (side / mixed).log()).sum() for side, mixed in sides) / 2


@control("js_divergence")
def js_as_a_difference_of_entropies(p: Tensor, q: Tensor) -> Tensor:
    """H(m) - (H(p) + H(q)) / 2: for nearly equal vectors it may round below 0 by a few units."""

    def entropy(side: Tensor) -> Tensor:
        some = side > 0
        return -(side[some] * side[some].log()).sum()

    return entropy((p + q) / 2) - (entropy(p) + entropy(q)) / 2


@control("js_divergence")
def js_from_the_game(p: Tensor, q: Tensor) -> Tensor:
    """(V(D*) + log 4) / 2, the value of the GAN game at its best discriminator."""
    some, other = p > 0, q > 0
    real = (p[some] * (2 * p[some] / (p + q)[some]).log()).sum()
    fake = (q[other] * (2 * q[other] / (p + q)[other]).log()).sum()
    return (real + fake) / 2


# The optimal discriminator -------------------------------------------------------------------------


@control("optimal_discriminator")
def discriminator_from_log_odds(p: Tensor, q: Tensor) -> Tensor:
    """sigmoid(log p - log q), as a network's logit would be read: NaN where neither has mass, which
    the contract leaves open."""
    return torch.sigmoid(p.log() - q.log())


@control("optimal_discriminator")
def discriminator_with_one_where_open(p: Tensor, q: Tensor) -> Tensor:
    """1 where neither has mass: as good an answer there as any."""
    nowhere = p + q == 0
    return torch.where(nowhere, 1, p / torch.where(nowhere, 1, p + q))


@control("optimal_discriminator")
def discriminator_of_two_logits(p: Tensor, q: Tensor) -> Tensor:
    """The first of a softmax over (log p, log q): a classifier with a logit for each answer."""
    return torch.stack([p.log(), q.log()]).softmax(0)[0]


# Wasserstein ---------------------------------------------------------------------------------------


def _solved(cost: np.ndarray, p: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, ...]:
    """Plan and potentials from SciPy's interior-point solver."""
    n, m = cost.shape
    marginals = np.vstack([np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))])
    found = optimize.linprog(
        cost.ravel(), A_eq=marginals, b_eq=np.r_[p / p.sum(), q / q.sum()], method="highs-ipm"
    )
    return found.x.reshape(n, m), found.eqlin.marginals[:n], found.eqlin.marginals[n:]


class _Transport(torch.autograd.Function):
    """Optimal transport over a cost matrix, with its backward pass written by hand."""

    @staticmethod
    def forward(ctx: Any, cost: Tensor, p: Tensor, q: Tensor) -> Tensor:
        parts = (t.detach().cpu().double().numpy() for t in (cost, p, q))
        solved = [torch.as_tensor(part).to(cost) for part in _solved(*parts)]
        ctx.save_for_backward(*solved)
        return (solved[0] * cost).sum()

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, ...]:
        return tuple(slope * part for part in ctx.saved_tensors)


@control("wasserstein1")
def wasserstein_with_a_handwritten_backward(x: Tensor, y: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """A custom autograd function: its gradient in the weights is a potential, defined up to a constant,
    so that only directions along the simplex mean anything."""
    return _Transport.apply(torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist"), p, q)


@control("wasserstein1")
def wasserstein_with_a_guarded_root(x: Tensor, y: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """An eps under the root, against its infinite slope at 0: it moves a distance by at most 1e-6."""
    return _Transport.apply(((x[:, None] - y).square().sum(-1) + 1e-12).sqrt(), p, q)


@control("wasserstein1")
def wasserstein_by_assignment(x: Tensor, y: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """Weights that are equal are an assignment problem, solved without a linear program; others are
    declared unsupported."""
    if len(x) != len(y) or not torch.allclose(
        torch.cat([p, q]), torch.full_like(p[:1], 1 / len(p))
    ):
        raise Unsupported("equally many points of equal weight only")
    if p.requires_grad or q.requires_grad:
        raise Unsupported("no gradient in the weights")
    cost = torch.linalg.vector_norm(x[:, None] - y, dim=-1)
    rows, columns = optimize.linear_sum_assignment(cost.detach().cpu().numpy())
    return cost[rows, columns].mean()


@control("wasserstein1")
def wasserstein_through_a_module(x: Tensor, y: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """Points without mass are dropped before solving, and distances come from an ``nn.Module``."""
    some, other = p > 0, q > 0
    if bool(some.all() and other.all()):
        cost = nn.PairwiseDistance(eps=0.0)(x[:, None], y)
        return _Transport.apply(cost, p, q)
    cost = nn.PairwiseDistance(eps=0.0)(x[some][:, None], y[other])
    return _Transport.apply(cost, p[some], q[other])
