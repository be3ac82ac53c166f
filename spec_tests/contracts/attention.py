r"""Causal self-attention: the layer that lets every position read all positions up to its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from hypothesis import strategies as st
from torch import Tensor

from spec_tests.contracts import add
from spec_tests.registry import Contract, Probe, Result
from spec_tests.strategies import normals

__all__ = ["CONFIGS", "CausalSelfAttention", "CausalSelfAttentionConfig", "sequences"]


@dataclass(frozen=True)
class CausalSelfAttentionConfig:
    """``num_heads`` divides ``embed_dim``; ``length`` is the longest sequence."""

    embed_dim: int
    num_heads: int
    length: int


class CausalSelfAttention(Protocol):
    """``(N,T,E) -> (N,T,E)`` for any ``T <= length``."""

    def __call__(self, x: Tensor) -> Tensor: ...


def _configs(pairs: tuple[tuple[int, int], ...], lengths: tuple[int, ...]) -> Any:
    return st.builds(
        lambda pair, length: CausalSelfAttentionConfig(*pair, length),
        st.sampled_from(pairs),
        st.sampled_from(lengths),
    )


# One head, several, heads of width one, and sequences of one position.
CONFIGS = (
    _configs(((5, 1), (8, 1)), (4, 6)),
    _configs(((6, 2), (6, 3), (8, 2)), (5, 7)),
    _configs(((4, 4), (2, 2), (1, 1)), (3, 5)),
    _configs(((5, 1), (6, 2)), (1, 2)),
)


@st.composite
def sequences(
    draw: st.DrawFn, config: CausalSelfAttentionConfig, scale: float = 1.0
) -> dict[str, Tensor]:
    """A batch ``x (N,T,E)``: as long as the layer allows, or any shorter length."""
    steps = draw(st.one_of(st.just(config.length), st.integers(1, config.length)))
    batch = draw(st.sampled_from([1, 2, 3]))
    return {"x": draw(normals((batch, steps, config.embed_dim), scale=scale))}


add(
    Contract(
        name="causal_self_attention",
        family="autoregressive",
        kind="factory",
        signature="(embed_dim, num_heads, length) -> module (N,T,E) -> (N,T,E), any T <= length",
        summary="Self-attention in which each position attends to all positions up to its own and "
        "to no other.",
        protocol=CausalSelfAttention,
        config=CausalSelfAttentionConfig,
        strata=CONFIGS,
        results={"call": lambda config, x: Result(tuple(x.shape))},
        probes=(
            Probe(
                "call",
                inputs=sequences,
                call=lambda layer, inputs: layer(inputs["x"]),
                batched={"x": 0},
                differentiable=("x",),
                parameters=True,
                extreme=lambda config: sequences(config, scale=100.0),
            ),
        ),
        warm_up=lambda config: {"x": torch.randn(2, config.length, config.embed_dim).double()},
    )
)
