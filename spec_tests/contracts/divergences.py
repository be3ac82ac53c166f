r"""Divergences and transport: distances between distributions on finitely many points."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from hypothesis import strategies as st
from torch import Tensor

from spec_tests.contracts import add
from spec_tests.judge import stratified
from spec_tests.registry import Contract, Probe, Result
from spec_tests.strategies import reals, simplex_pairs, simplexes

__all__ = ["Divergence", "OptimalDiscriminator", "TransportCost", "along_the_simplex", "weighted_points"]


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
