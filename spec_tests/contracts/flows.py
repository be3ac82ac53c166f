r"""Normalising flows: bijections of a space of vectors or images with a known log-determinant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from hypothesis import strategies as st
from torch import Tensor

from spec_tests.contracts import add
from spec_tests.contracts.draws import drawn_from, draws
from spec_tests.registry import Contract, Probe, Result
from spec_tests.strategies import normals

__all__ = ["STRATA", "Flow", "FlowConfig", "points"]


class Flow(Protocol):
    """What the factory returns; ``log_prob(x)`` and ``sample(n, generator)`` are optional."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]: ...

    def inverse(self, z: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class FlowConfig:
    """The shape of one event: ``(D,)`` or ``(C, H, W)``."""

    event_shape: tuple[int, ...]


def _shapes(*shapes: tuple[int, ...]) -> st.SearchStrategy[FlowConfig]:
    return st.sampled_from([FlowConfig(shape) for shape in shapes])


STRATA = (
    _shapes((1,)),
    _shapes((2,)),
    _shapes((3,), (4,)),
    _shapes((1, 2, 4), (2, 4, 2), (3, 2, 2), (2, 1, 3)),
)


def points(config: FlowConfig, scale: float = 1.5) -> st.SearchStrategy[Tensor]:
    """Batches of one, two or five events with normal entries."""
    return st.sampled_from([1, 2, 5]).flatmap(
        lambda n: normals((n, *config.event_shape), scale=scale)
    )


def _named(name: str) -> Any:
    return lambda config: points(config).map(lambda drawn: {name: drawn})


def _first_batch(config: FlowConfig) -> dict[str, Tensor]:
    """Data of unlike spread and centre, for subjects that initialise themselves from it."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(16, *config.event_shape, generator=generator)
    return {"x": 1.3 * x + 0.4}


add(
    Contract(
        name="flow",
        family="flows",
        kind="factory",
        signature="(event_shape) -> forward(x (N,*event)) -> (z (N,*event), log_det (N,)), "
        "inverse(z) -> x; log_prob(x) -> (N,)?, sample(n, generator)?",
        summary="A bijection of all of R^D from data to noise of density N(0, I), with "
        "log_det = log|det dz/dx| for each item.",
        protocol=Flow,
        config=FlowConfig,
        strata=STRATA,
        results={
            "forward": lambda config, x: (Result(tuple(x.shape)), Result((len(x),))),
            "inverse": lambda config, z: Result(tuple(z.shape)),
            "log_prob": lambda config, x: Result((len(x),)),
        },
        optional=("log_prob", "sample"),
        warm_up=_first_batch,
        data_dependent=True,
        probes=(
            Probe(
                "forward",
                iterative=True,
                inputs=_named("x"),
                call=lambda model, i: model.forward(i["x"]),
                batched={"x": 0},
                differentiable=("x",),
                parameters=True,
            ),
            Probe(
                "inverse",
                iterative=True,
                inputs=_named("z"),
                call=lambda model, i: model.inverse(i["z"]),
                batched={"z": 0},
            ),
            Probe(
                "log_prob",
                iterative=True,
                inputs=_named("x"),
                call=lambda model, i: model.log_prob(i["x"]),
                batched={"x": 0},
                differentiable=("x",),
                parameters=True,
            ),
            Probe(
                "sample",
                iterative=True,
                inputs=lambda config: draws(),
                call=drawn_from,
                deterministic=False,
            ),
        ),
        exempt={
            "float32_agrees_with_float64": "an inverse may be ill-conditioned; flow.round_trip "
            "measures by how much"
        },
    )
)
