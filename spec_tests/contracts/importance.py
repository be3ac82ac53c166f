r"""Importance weighting: the bound made of the log-weights of several samples."""

from __future__ import annotations

from typing import Protocol

import torch
from hypothesis import strategies as st
from torch import Tensor

from spec_tests.contracts import add
from spec_tests.judge import stratified
from spec_tests.registry import Contract, Probe, Result
from spec_tests.strategies import integers_below, reals

__all__ = ["ImportanceWeightedBound", "extreme_log_weights", "log_weights"]


class ImportanceWeightedBound(Protocol):
    """``(log_weights (S,N)) -> (N,)``."""

    def __call__(self, log_weights: Tensor) -> Tensor: ...


SHAPES = ((1, 1), (1, 4), (2, 1), (2, 5), (4, 3), (7, 2))  # (S, N): more samples than items, fewer


def log_weights(
    shapes: tuple[tuple[int, int], ...] = SHAPES, size: float = 6.0
) -> st.SearchStrategy[Tensor]:
    """Log-weights ``(S, N)`` in ``[-size, size]``, a stratum a shape; ties occur."""
    strata: st.SearchStrategy[Tensor] = stratified([reals(shape, -size, size) for shape in shapes])
    return strata


def extreme_log_weights() -> st.SearchStrategy[Tensor]:
    """Log-weights among 0 and ±1e4, far apart and close together."""
    values = torch.tensor([-1e4, -1e4 + 1, -800.0, 0.0, 800.0, 1e4 - 1, 1e4], dtype=torch.float64)
    strata: st.SearchStrategy[Tensor] = stratified(
        [
            integers_below(len(values), shape).map(lambda index: values[index])
            for shape in ((1, 3), (2, 1), (3, 4))
        ]
    )
    return strata


def _named(drawn: st.SearchStrategy[Tensor]) -> st.SearchStrategy[dict[str, Tensor]]:
    """The tensors as the probe's named input, stratum by stratum."""
    strata = [one.map(lambda w: {"log_weights": w}) for one in drawn.genspec_strata]  # type: ignore[attr-defined]
    named: st.SearchStrategy[dict[str, Tensor]] = stratified(strata)
    return named


add(
    Contract(
        name="iwae_bound",
        family="latent",
        kind="function",
        signature="(log_weights (S,N)) -> (N,)",
        summary="The importance weighted bound on log p(x): the logarithm of the mean of S "
        "weights, given by their logarithms, for each of N items.",
        protocol=ImportanceWeightedBound,
        results={"call": lambda config, log_weights: Result((log_weights.shape[1],))},
        probes=(
            Probe(
                "call",
                inputs=lambda config: _named(log_weights()),
                call=lambda subject, i: subject(i["log_weights"]),
                batched={"log_weights": 1},
                differentiable=("log_weights",),
                extreme=lambda config: _named(extreme_log_weights()),
                guard=False,
            ),
        ),
    )
)
