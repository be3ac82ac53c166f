r"""Sparse coding: the few atoms of a dictionary, and how much of each, that a point is made of."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from hypothesis import strategies as st
from torch import Tensor

from spec_tests.contracts import add
from spec_tests.judge import stratified
from spec_tests.registry import Contract, Probe, Result
from spec_tests.strategies import normals

__all__ = ["KINDS", "SparseCode", "dictionaries", "lambda_max", "problems"]

# Fewer atoms than dimensions, more, correlated ones, atoms of unequal length, one atom, one number.
KINDS = ("few", "many", "correlated", "unequal", "one", "line")


class SparseCode(Protocol):
    """``(x (N,D), dictionary (K,D), penalty) -> (N,K)``."""

    def __call__(self, x: Tensor, dictionary: Tensor, penalty: float) -> Tensor: ...


def lambda_max(x: Tensor, dictionary: Tensor) -> Tensor:
    """The penalty of each row from which on its code is zero: ``max_k |x . a_k|`` (N,)."""
    return (x @ dictionary.mT).abs().amax(-1)


@st.composite
def dictionaries(draw: st.DrawFn, kind: str) -> Tensor:
    """Atoms ``(K, D)`` as rows, in general position, so that the code is unique."""
    atoms, dims = {
        "few": (3, 5), "many": (6, 4), "correlated": (4, 6), "unequal": (5, 3), "one": (1, 3),
        "line": (2, 1),
    }[kind]  # fmt: skip
    drawn = draw(normals((atoms, dims)))
    if kind == "correlated":
        drawn = drawn + 1.5 * drawn[:1] / drawn[:1].norm()
    drawn = drawn / drawn.norm(dim=-1, keepdim=True).clamp_min(1e-3)
    if kind in ("unequal", "line"):
        drawn = drawn * torch.linspace(0.6, 2.0, atoms, dtype=torch.float64)[:, None]
    return drawn


@st.composite
def _problem(
    draw: st.DrawFn, kind: str, share: tuple[float, float], items: tuple[int, ...]
) -> dict[str, Any]:
    dictionary = draw(dictionaries(kind))
    x = draw(normals((draw(st.sampled_from(items)), dictionary.shape[1]), scale=2.0))
    largest = float(lambda_max(x, dictionary).max())
    return {
        "x": x,
        "dictionary": dictionary,
        "penalty": max(draw(st.floats(*share)) * largest, 0.01),
    }


def problems(
    share: tuple[float, float] = (0.05, 0.9),
    kinds: tuple[str, ...] = KINDS,
    items: tuple[int, ...] = (1, 2, 4),
) -> Any:
    """Points, a dictionary and a penalty that is such a share of the one that stops everything; a
    stratum for each kind of dictionary."""
    return stratified([_problem(kind, share, items) for kind in kinds])


add(
    Contract(
        name="sparse_code",
        family="autoencoders",
        kind="function",
        signature="(x (N,D), dictionary (K,D), penalty) -> (N,K)",
        summary="For each row of x, the code z that minimises half the squared error of "
        "z @ dictionary plus the penalty times the sum of |z|.",
        protocol=SparseCode,
        results={"call": lambda config, x, dictionary, penalty: Result((len(x), len(dictionary)))},
        probes=(
            Probe(
                "call",
                iterative=True,
                inputs=lambda config: problems((0.2, 0.9)),
                call=lambda subject, inputs: subject(*inputs.values()),
                batched={"x": 0},
                differentiable=("x", "dictionary"),
            ),
        ),
    )
)
