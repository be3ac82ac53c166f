r"""The discretised mixture of logistics: a distribution over levels that are ordered."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from hypothesis import strategies as st
from torch import Tensor

from spec_tests.contracts import add
from spec_tests.judge import stratified
from spec_tests.registry import Contract, Probe, Result
from spec_tests.strategies import integers_below, reals

__all__ = ["SHAPES", "DiscretizedLogisticMixture", "among", "mixtures"]

# (N, M, levels): one item, one component, two levels (both of them edges), and 256.
SHAPES = ((1, 1, 2), (3, 1, 5), (1, 4, 3), (5, 2, 256), (4, 3, 16))


class DiscretizedLogisticMixture(Protocol):
    """``(x long (N,), log_weights (N,M), means (N,M), log_scales (N,M), levels) -> (N,)``."""

    def __call__(
        self, x: Tensor, log_weights: Tensor, means: Tensor, log_scales: Tensor, levels: int
    ) -> Tensor: ...


def among(*values: float) -> Any:
    """``shape ->`` tensors with entries of ``values``."""

    def entries(shape: tuple[int, ...]) -> st.SearchStrategy[Tensor]:
        chosen = integers_below(len(values), shape)
        return chosen.map(lambda index: torch.tensor(values, dtype=torch.float64)[index])

    return entries


def _within(low: float, high: float) -> Any:
    return lambda shape: reals(shape, low, high)


_WEIGHTS, _MEANS, _LOG_SCALES = _within(-3, 3), _within(-2, 2), _within(-6, 2)


@st.composite
def _mixture(
    draw: st.DrawFn, shape: tuple[int, int, int], log_weights: Any, means: Any, log_scales: Any
) -> dict[str, Any]:
    items, components, levels = shape
    return {
        "x": draw(integers_below(levels, (items,))),
        "log_weights": draw(log_weights((items, components))),
        "means": draw(means((items, components))),
        "log_scales": draw(log_scales((items, components))),
        "levels": levels,
    }


def mixtures(
    shapes: tuple[tuple[int, int, int], ...] = SHAPES,
    log_weights: Any = _WEIGHTS,
    means: Any = _MEANS,
    log_scales: Any = _LOG_SCALES,
) -> Any:
    """The arguments by name, a stratum for each ``(N, M, levels)``."""
    return stratified([_mixture(shape, log_weights, means, log_scales) for shape in shapes])


EXTREME = {
    "log_weights": among(0.0, -200.0, 200.0),
    "means": among(0.0, -1.0, 1.0, 0.3, -50.0, 50.0, 1e4, -1e4),
    "log_scales": among(-20.0, -12.0, 0.0, 12.0, 20.0),
}

add(
    Contract(
        name="discretized_logistic_mixture",
        family="autoregressive",
        kind="function",
        signature="(x long (N,), log_weights (N,M), means (N,M), log_scales (N,M), levels) -> (N,)",
        summary="The log-probability of a level under a mixture of logistics whose mass is "
        "collected into bins around the levels, which are spread over [-1, 1].",
        protocol=DiscretizedLogisticMixture,
        results={
            "call": lambda config, x, log_weights, means, log_scales, levels: Result((len(x),))
        },
        probes=(
            Probe(
                "call",
                inputs=lambda config: mixtures(),
                call=lambda subject, inputs: subject(*inputs.values()),
                batched=dict.fromkeys(("x", "log_weights", "means", "log_scales"), 0),
                differentiable=("log_weights", "means", "log_scales"),
                smooth=lambda config: mixtures(log_scales=_within(-3, 2)),
                extreme=lambda config: mixtures(**EXTREME),
            ),
        ),
    )
)
