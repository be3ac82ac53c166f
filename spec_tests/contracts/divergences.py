r"""Divergences and transport: distances between distributions on finitely many points."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from hypothesis import strategies as st
from torch import Tensor

from spec_tests.contracts import add
from spec_tests.judge import stratified
from spec_tests.registry import Contract, Probe, Result
from spec_tests.strategies import normals, reals, simplex_pairs, simplexes

__all__ = [
    "Divergence",
    "OptimalDiscriminator",
    "TransportCost",
    "along_the_simplex",
    "separated_clouds",
    "transports",
    "weights",
]


class Divergence(Protocol):
    """``(p (n,), q (n,)) -> scalar``."""

    def __call__(self, p: Tensor, q: Tensor) -> Tensor: ...


class TransportCost(Protocol):
    """``(x (n,d), y (m,d), p (n,), q (m,)) -> scalar``."""

    def __call__(self, x: Tensor, y: Tensor, p: Tensor, q: Tensor) -> Tensor: ...


class OptimalDiscriminator(Protocol):
    """``(p (n,), q (n,)) -> (n,)``."""

    def __call__(self, p: Tensor, q: Tensor) -> Tensor: ...


def along_the_simplex(p: Tensor) -> Tensor:
    """A direction that keeps the sum of ``p`` and, for small steps, its positivity."""
    v = p * torch.randn_like(p)
    return v - p * v.sum() / p.sum()


def weights(size: int) -> Any:
    """Probability vectors ``(size,)`` without zeros or ties: the usual position of an optimal plan."""
    return normals((size,), scale=0.7).map(lambda logits: logits.softmax(0))


def _pair(interior: bool = False, smallest: int = 1) -> Any:
    pairs = simplex_pairs(smallest, interior=interior)
    return pairs.map(lambda pair: {"p": pair[0], "q": pair[1]})


@st.composite
def _nearly_disjoint(draw: st.DrawFn) -> dict[str, Tensor]:
    """Two interior distributions of which each is tiny where the other is not."""
    tiny = draw(st.sampled_from([1e-5, 1e-12, 1e-30]))
    p = torch.tensor([1.0, tiny, draw(st.sampled_from([tiny, 0.5]))], dtype=torch.float64)
    q = torch.tensor([tiny, 1.0, tiny], dtype=torch.float64)
    return {"p": p / p.sum(), "q": q / q.sum()}


def _call(subject: Any, inputs: dict[str, Any]) -> Any:
    return subject(*inputs.values())


_SIMPLEX = {"p": along_the_simplex, "q": along_the_simplex}

for name, summary in {
    "kl_divergence": "The Kullback-Leibler divergence of q from p in nats; inf where q = 0 < p.",
    "js_divergence": "The Jensen-Shannon divergence in nats: the divergence, not its square root.",
}.items():
    add(
        Contract(
            name=name,
            family="divergences",
            kind="function",
            signature="(p (n,), q (n,)) -> scalar",
            summary=summary,
            protocol=Divergence,
            results={"call": lambda config, p, q: Result(())},
            probes=(
                Probe(
                    "call",
                    inputs=lambda config: stratified([_pair(), _pair(interior=True)]),
                    call=_call,
                    differentiable=("p", "q"),
                    directions=_SIMPLEX,
                    smooth=lambda config: _pair(interior=True, smallest=2),
                    extreme=lambda config: _nearly_disjoint(),
                ),
            ),
        )
    )


# Optimal transport ---------------------------------------------------------------------------------


@st.composite
def _clouds(draw: st.DrawFn, n: int, m: int, dim: int, interior: bool = False) -> dict[str, Tensor]:
    """Points on a lattice or anywhere, so that they may coincide, with weights that may be 0."""
    x, y = draw(reals((n, dim))), draw(reals((m, dim)))
    p, q = draw(simplexes(n, interior)), draw(simplexes(m, interior))
    return {"x": x, "y": y, "p": p, "q": q}


@st.composite
def _general_clouds(draw: st.DrawFn, dim: int | None = None) -> dict[str, Tensor]:
    """Normal points with unequal weights, ``n != m``: the optimal plan and potentials are unique."""
    n, m = draw(st.sampled_from([(2, 3), (4, 2), (3, 5), (1, 3), (3, 4)]))
    dim = dim or draw(st.integers(1, 3))
    x, y = draw(normals((n, dim))), draw(normals((m, dim), scale=1.5, shift=0.5))
    return {"x": x, "y": y, "p": draw(weights(n)), "q": draw(weights(m))}


@st.composite
def _shared_points(draw: st.DrawFn) -> dict[str, Tensor]:
    """Clouds of which some points coincide, within a cloud and across."""
    dim = draw(st.integers(1, 3))
    x = draw(reals((3, dim)))
    rows = draw(st.lists(st.integers(0, 2), min_size=2, max_size=3))
    y = torch.cat([x[rows], draw(reals((1, dim)))])
    return {"x": x, "y": y, "p": draw(simplexes(3)), "q": draw(simplexes(len(y)))}


@st.composite
def _collinear(draw: st.DrawFn) -> dict[str, Tensor]:
    """Points of one line through space: many plans are optimal."""
    dim = draw(st.integers(2, 3))
    start, along = draw(normals((dim,))), draw(normals((dim,)))
    drawn = draw(_clouds(draw(st.integers(2, 3)), 4, 1))
    return drawn | {"x": start + drawn["x"] * along, "y": start + drawn["y"] * along}


@st.composite
def separated_clouds(draw: st.DrawFn) -> dict[str, Tensor]:
    """Clouds on one line, all of ``y`` beyond all of ``x``; ``along`` is the line's unit vector."""
    dim, n, m = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(2, 4))
    along = draw(normals((dim,)))
    along = along / along.norm()
    start = draw(normals((dim,)))
    far = draw(st.sampled_from([1.0, 30.0, 1e4]))
    x = start - draw(reals((n, 1), 0, 2)) * along
    y = start + (far + draw(reals((m, 1), 0, 2))) * along
    return {"x": x, "y": y, "p": draw(weights(n)), "q": draw(weights(m)), "along": along}


def transports() -> Any:
    """Weighted clouds of every kind that has fooled a solver: single, tied, collinear, weightless."""
    dims = st.integers(1, 3)
    return stratified(
        [
            dims.flatmap(lambda d: _clouds(1, 1, d)),
            dims.flatmap(lambda d: _clouds(1, 3, d)),
            dims.flatmap(lambda d: _clouds(4, 1, d)),
            _clouds(3, 5, 1),
            st.integers(2, 3).flatmap(lambda d: _clouds(4, 3, d)),
            _general_clouds(2),
            _shared_points(),
            _collinear(),
        ]
    )


@st.composite
def _extreme_clouds(draw: st.DrawFn, dim: int) -> dict[str, Tensor]:
    """Huge and tiny coordinates, and a weightless point where a point with weight lies."""
    drawn = draw(_general_clouds(dim))
    size = draw(st.sampled_from([1e-6, 1.0, 1e6]))
    x = torch.cat([drawn["x"], drawn["y"][:1]]) * size
    p = torch.cat([drawn["p"], torch.zeros(1, dtype=torch.float64)])
    return {"x": x, "y": drawn["y"] * size, "p": p, "q": drawn["q"]}


add(
    Contract(
        name="wasserstein1",
        family="divergences",
        kind="function",
        signature="(x (n,d), y (m,d), p (n,), q (m,)) -> scalar",
        summary="The Wasserstein-1 distance of weighted points, Euclidean and exact.",
        protocol=TransportCost,
        results={"call": lambda config, x, y, p, q: Result(())},
        probes=(
            Probe(
                "distance",
                iterative=True,
                inputs=lambda config: transports(),
                call=_call,
                differentiable=("x", "y"),
                smooth=lambda config: _general_clouds(),
                extreme=lambda config: stratified([_extreme_clouds(1), _extreme_clouds(2)]),
            ),
            Probe(
                "distance as a function of the weights",
                iterative=True,
                inputs=lambda config: _general_clouds(),
                call=_call,
                differentiable=("p", "q"),
                directions=_SIMPLEX,
                extreme=lambda config: stratified([_extreme_clouds(1), _extreme_clouds(2)]),
            ),
        ),
    )
)


# The discriminator ---------------------------------------------------------------------------------


def _discriminate(subject: Any, inputs: dict[str, Any]) -> Tensor:
    """The result where it is determined; 0 where neither distribution has mass."""
    p, q = inputs["p"], inputs["q"]
    result: Tensor = subject(p, q)
    return torch.where(p + q > 0, result, torch.zeros_like(result))


add(
    Contract(
        name="optimal_discriminator",
        family="divergences",
        kind="function",
        signature="(p (n,), q (n,)) -> (n,)",
        summary="The probability that a point is real, where data and generator are equally likely.",
        protocol=OptimalDiscriminator,
        results={"call": lambda config, p, q: Result((len(p),))},
        probes=(
            Probe(
                "call",
                inputs=lambda config: stratified([_pair(), _pair(interior=True)]),
                call=_discriminate,
                differentiable=("p", "q"),
                directions=_SIMPLEX,
                smooth=lambda config: _pair(interior=True, smallest=2),
                extreme=lambda config: _nearly_disjoint(),
            ),
        ),
    )
)
