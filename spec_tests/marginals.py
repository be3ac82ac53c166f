r"""What a latent variable model must give: its expected bound, its evidence, its marginal.

Everything is made of the model's own ``encode`` and ``log_likelihood`` and the prior N(0, I), by the
sums of :mod:`spec_tests.quadrature`; the claims compare it with ``elbo`` and ``sample``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from spec_tests import check
from spec_tests.contracts.latent import VAEConfig
from spec_tests.handle import Built, Handle
from spec_tests.numerics import slope
from spec_tests.quadrature import (
    Quadratic,
    box,
    hermite,
    log_normal,
    normal_points,
    quadratic_of,
)
from spec_tests.registry import Unsupported

__all__ = [
    "ALARM",
    "DRAWS",
    "Expected",
    "OnLattice",
    "chance_of_repeating",
    "compare_slopes",
    "cpu",
    "draw_samples",
    "encoder_parameters",
    "expectations",
    "gaussian_of",
    "judge_counts",
    "judge_projections",
    "kl_formula",
    "kl_terms",
    "on_lattices",
    "outcomes",
    "seeded",
]


def cpu(*values: Tensor) -> tuple[Tensor, ...]:
    """The values in double precision on the CPU, where oracles are computed."""
    return tuple(v.detach().to("cpu", torch.float64) for v in values)


def kl_terms(mean: Tensor, log_var: Tensor) -> Tensor:
    """The sizes of what a divergence is a sum of, item by item."""
    return (1 + mean.square() + log_var.exp() + log_var.abs()).sum(-1)


def kl_formula(mean: Tensor, log_var: Tensor) -> Tensor:
    """The divergence of a diagonal Gaussian from the standard one, in closed form."""
    return 0.5 * (mean.square() + (log_var.expm1() - log_var)).sum(-1)


@dataclass(frozen=True)
class Expected:
    """Expectations over the noise, item by item, and the size of what they are made of."""

    elbo: Tensor
    analytic: Tensor
    sampled: Tensor
    size: Tensor


def expectations(model: Built, x: Tensor, latent_dim: int, nodes: int) -> Expected:
    """The subject's bound and the two textbook ones over the nodes of one Gauss-Hermite rule, every
    node an item of its own; differentiable."""
    u, w = hermite(nodes, latent_dim)
    u, w = u.to(x), w.to(x)
    n, k = len(x), len(u)
    points, noise = x.repeat_interleave(k, 0), u.repeat(n, 1)
    elbo = model.elbo(points, noise[None]).reshape(n, k)
    mean, log_var = model.encode(x)
    z = mean[:, None] + (0.5 * log_var).exp()[:, None] * u  # (N, K, L)
    likelihood = model.log_likelihood(points, z.reshape(n * k, -1)).reshape(n, k)
    ratio = log_normal(z, mean[:, None], log_var[:, None]) - log_normal(z)
    terms = (elbo.abs() * w).sum(-1) + (likelihood.abs() * w).sum(-1) + (ratio.abs() * w).sum(-1)
    return Expected(
        (elbo * w).sum(-1),
        (likelihood * w).sum(-1) - kl_formula(mean, log_var),
        ((likelihood - ratio) * w).sum(-1),
        cpu(terms + kl_terms(mean, log_var))[0],
    )


@dataclass(frozen=True)
class OnLattice:
    """One item's bound, evidence and divergence as sums over one lattice of codes."""

    elbo: float
    log_evidence: float
    divergence: float
    distance: float
    size: float


_RESOLVED = 1e-8  # what a lattice may get wrong of an integral: a thousandth of what claims allow


def on_lattices(model: Built, x: Tensor, finer: float = 1.0) -> list[OnLattice]:
    r"""Sums over a lattice of codes around q that covers the prior as well, for each item.

    The noise that reaches a lattice point z is (z - mean) / sigma, so the bound is evaluated at those
    points too. Sums obey Jensen's inequality as integrals do: however rough the decoder, nothing here
    depends on how well the lattice resolves it, only on its resolving q, which is compared with the
    closed form. For a smooth decoder log p(x) is its integral to 1e-8 as well (steps that are
    ``finer`` agree, see the tests); for one with kinks to 1e-4.
    """
    means, log_vars = cpu(*model.encode(x))
    deviations = (0.5 * log_vars).exp()
    lattices, steps = [], []
    for mean, deviation in zip(means, deviations, strict=True):
        low = torch.minimum(torch.full_like(mean, -9.0), mean - 8.5 * deviation)
        high = torch.maximum(torch.full_like(mean, 9.0), mean + 8.5 * deviation)
        coarse = ((high - low) / 140).clamp_min(0.18) if len(mean) > 1 else (high - low) / 600
        step = torch.minimum(0.8 * deviation, coarse) / finer
        if float(((high - low) / step).prod()) > 60_000 * finer ** len(mean):
            raise Unsupported("q too narrow to be resolved by a lattice")
        lattices.append(box(mean, step, low, high))
        steps.append(step)
    counts = torch.tensor([len(z) for z in lattices])
    item = torch.repeat_interleave(torch.arange(len(x)), counts)
    z = torch.cat(lattices)
    u = (z - means[item]) / deviations[item]
    core = (u.abs() <= 8.5).all(-1)
    likelihood = cpu(model.log_likelihood(x[item], z.to(x)))[0]
    bound = torch.zeros(len(z), dtype=torch.float64)
    bound[core] = cpu(model.elbo(x[item[core]], u[core].to(x)[None]))[0]
    found = []
    for index, step in enumerate(steps):
        own = item == index
        joint = likelihood[own] + log_normal(z[own]) + step.log().sum()
        evidence = float(joint.logsumexp(0))
        density = log_normal(u[own]) - 0.5 * log_vars[index].sum()
        _judge_resolution(z[own], density, step.prod(), kl_formula(means[index], log_vars[index]))
        log_q = density.masked_fill(~core[own], -math.inf).log_softmax(0)
        q, posterior = log_q.exp(), joint - evidence
        seen = core[own]
        found.append(
            OnLattice(
                float((q * bound[own])[seen].sum()),
                evidence,
                float((q * (log_q - posterior))[seen].sum()),
                float(0.5 * (q - posterior.exp()).abs().sum()),
                float((q * (bound[own].abs() + posterior.abs() + log_q.abs()))[seen].sum())
                + abs(evidence),
            )
        )
    return found


def _judge_resolution(z: Tensor, log_q: Tensor, cell: Tensor, divergence: Tensor) -> None:
    """The sums over q that must stand for integrals: its mass, its divergence from the prior."""
    mass = log_q.exp() * cell
    found = (mass * (log_q - log_normal(z))).sum()
    error = torch.maximum((mass.sum() - 1).abs(), (found - divergence).abs() / (1 + divergence))
    if float(error) > _RESOLVED:
        raise Unsupported(f"q is not resolved by a lattice, whose sums are off by {error:.1g}")


def encoder_parameters(model: Built, x: Tensor) -> list[Tensor]:
    """The parameters that ``encode`` depends on."""
    found: list[Tensor] = []
    with torch.no_grad():
        before = model.encode(x)
        for parameter in model.module.parameters():
            kept = parameter.clone()
            parameter.add_(torch.randn_like(parameter))
            after = model.encode(x)
            parameter.copy_(kept)
            moved = any(bool((a != b).any()) for a, b in zip(after, before, strict=True))
            if moved and parameter.requires_grad:
                found.append(parameter)
    return found


def compare_slopes(
    value: Callable[[], float],
    leaves: list[Tensor],
    along: list[Tensor],
    gradient: list[Tensor],
    what: str,
) -> None:
    origins = [leaf.detach().clone() for leaf in leaves]

    def moved(t: float) -> float:
        with torch.no_grad():
            for leaf, origin, v in zip(leaves, origins, along, strict=True):
                leaf.copy_(origin + t * v)
        try:
            return float(value())
        finally:
            with torch.no_grad():
                for leaf, origin in zip(leaves, origins, strict=True):
                    leaf.copy_(origin)

    measured = slope(moved)
    if not measured.smooth:
        return
    pairs = [(g * v).sum() for g, v in zip(gradient, along, strict=True)]
    size = sum(float((g * v).abs().sum()) for g, v in zip(gradient, along, strict=True))
    room = (
        1e-6 * max(size, abs(measured.value), 1e-3) + 10 * measured.error + 1e-9 * abs(moved(0.0))
    )
    check.close(float(sum(pairs)), measured.value, room, f"{what}, along a random direction,")


def outcomes(dims: int) -> Tensor:
    """All of {0, 1}^dims, as ``(2^dims, dims)``."""
    return torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * dims).reshape(
        -1, dims
    )


def gaussian_of(model: Built, z: Tensor, dims: int) -> Quadratic:
    """The Gaussian p(x|z) that ``log_likelihood`` stands for, for each code."""

    def log_density(points: Tensor) -> Tensor:
        return cpu(model.log_likelihood(points.to(z), z.repeat(len(points) // len(z), 1)))[0]

    found = quadratic_of(log_density, len(z), dims)
    check.that(
        found.proper(),
        "log_likelihood, as a function of x, is not the logarithm of a Gaussian "
        "density: its second differences are not those of a concave quadratic",
    )
    return found


ALARM = 1e-13  # of one test; no run of a claim makes more than a few thousand
DRAWS = 10_001


def draw_samples(model: Built, n: int, generator: torch.Generator) -> Tensor:
    """``sample(n, generator)``, its shape checked."""
    found = model.sample(n, generator)
    expected = (n, model.config.data_dim)
    check.that(
        isinstance(found, Tensor),
        f"sample({n}, generator) returned {type(found).__name__}, expected a tensor",
    )
    check.that(
        tuple(found.shape) == expected,
        f"sample({n}, generator) returned shape {tuple(found.shape)}, expected {expected}",
    )
    if model.is_module:
        wanted = model.handle.dtype
        check.that(found.dtype == wanted, f"sample returned {found.dtype}, the model is {wanted}")
    values: Tensor = found.detach()
    return values


def seeded(subject: Handle, seed: int) -> torch.Generator:
    return torch.Generator(device=subject.device).manual_seed(seed)


def entropy_bound(cells: int) -> float:
    r"""The t with P(n KL(empirical || p) >= t) <= alarm for any n: (e t / (k-1))^(k-1) e^-t, k cells
    (Agrawal 2020, 'Finite-sample concentration of the multinomial in relative entropy')."""
    k, t = cells - 1, float(cells)
    while k * (1 + math.log(t / k)) - t > math.log(ALARM):
        t += 0.5
    return t


def mixture_cdf(model: Built, z: Tensor, directions: Tensor, cuts: Tensor) -> Tensor:
    """The distribution functions of the projections of x ``(J, Q)``, codes z being equally likely."""
    shape = gaussian_of(model, z, directions.shape[1])
    centre = directions @ shape.mean.T  # (J, K)
    spread = torch.linalg.inv(shape.precision)
    deviation = torch.einsum("jd,kde,je->jk", directions, spread, directions).sqrt()
    standard = (cuts[:, :, None] - centre[:, None]) / deviation[:, None]
    return torch.special.ndtr(standard).mean(-1)


def judge_counts(model: Built, config: VAEConfig, x: Tensor, like: Tensor) -> None:
    check.that(
        ((x == 0) | (x == 1)).all(),
        "a Bernoulli model draws zeros and ones; sample returned "
        f"{float(x[(x != 0) & (x != 1)][:1].sum()):.6g}",
    )
    values, z = outcomes(config.data_dim), normal_points(config.latent_dim)
    found = model.log_likelihood(
        values.repeat(len(z), 1).to(like), z.repeat_interleave(len(values), 0).to(like)
    )
    probability = cpu(found)[0].reshape(len(z), -1).exp().mean(0)
    code = (x.long() * 2 ** torch.arange(config.data_dim - 1, -1, -1)).sum(-1)
    frequency = torch.bincount(code, minlength=len(values)).double() / len(x)
    entropy = float(torch.special.xlogy(frequency, frequency / probability).sum())
    check.at_most(
        len(x) * entropy,
        0.0,
        entropy_bound(len(values)),
        "n times the relative entropy of the sampled frequencies "
        f"{[round(f, 4) for f in frequency.tolist()]} from the model's probabilities "
        f"{[round(p, 4) for p in probability.tolist()]}",
    )


def judge_projections(model: Built, config: VAEConfig, x: Tensor, like: Tensor) -> None:
    check.finite(x, "the sample")
    dims = config.data_dim
    directions = torch.eye(dims, dtype=torch.float64)
    if dims > 1:
        scaled = torch.randn(3, dims, dtype=torch.float64) / x.std(0).clamp_min(1e-12)
        directions = torch.cat([directions, scaled])
    projected = (x @ directions.T).sort(0).values.T  # (J, n)
    ranks = torch.linspace(0, len(x) - 1, 200).long()
    cuts, empirical = projected[:, ranks].contiguous(), (ranks + 1).double() / len(x)
    fine, coarse = (
        mixture_cdf(model, normal_points(config.latent_dim, c).to(like), directions, cuts)
        for c in (False, True)
    )
    room = math.sqrt(math.log(2 / ALARM) / (2 * len(x))) + 2 * (fine - coarse).abs() + 1 / len(x)
    check.close(
        empirical.expand_as(fine),
        fine,
        room,
        "the share of samples up to a cut (first index: coordinate or projection; "
        "second: cut), against its probability,",
    )


def chance_of_repeating(x: Tensor, likelihood: str) -> float:
    """The logarithm of the largest probability that any model has of drawing this sample."""
    if likelihood == "gaussian":
        return -math.inf
    share = cpu(x.mean(0))[0]
    entropy = -(torch.special.xlogy(share, share) + torch.special.xlogy(1 - share, 1 - share))
    return -len(x) * float(entropy.max())
