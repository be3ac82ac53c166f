r"""Energy models: the restricted Boltzmann machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from hypothesis import strategies as st
from torch import Tensor

from spec_tests.contracts import add
from spec_tests.registry import Contract, Probe, Result
from spec_tests.strategies import integers_below

__all__ = ["RBMConfig", "RestrictedBoltzmannMachine", "rbm_configs"]


class RestrictedBoltzmannMachine(Protocol):
    """What the factory returns; ``energy(v (N,V), h (N,H)) -> (N,)`` is optional."""

    def free_energy(self, v: Tensor) -> Tensor: ...

    def hidden_probability(self, v: Tensor) -> Tensor: ...

    def visible_probability(self, h: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class RBMConfig:
    """The numbers of binary units."""

    visible: int
    hidden: int


def rbm_configs(sizes: tuple[tuple[int, int], ...]) -> st.SearchStrategy[RBMConfig]:
    """Configs among these ``(visible, hidden)``."""
    return st.sampled_from([RBMConfig(*pair) for pair in sizes])


STRATA = (
    rbm_configs(((1, 1), (1, 3), (3, 1))),
    rbm_configs(((2, 4), (3, 5))),
    rbm_configs(((4, 2), (5, 3))),
)


def _units(*names: str) -> Callable[[RBMConfig], st.SearchStrategy[dict[str, Tensor]]]:
    """Batches of one, two or five binary states of the layers called ``v`` and ``h``."""

    def inputs(config: RBMConfig) -> st.SearchStrategy[dict[str, Tensor]]:
        width = {"v": config.visible, "h": config.hidden}

        def of(count: int) -> st.SearchStrategy[dict[str, Tensor]]:
            layers = [integers_below(2, (count, width[name])) for name in names]
            return st.tuples(*layers).map(
                lambda drawn: {
                    name: units.to(torch.float64) for name, units in zip(names, drawn, strict=True)
                }
            )

        return st.sampled_from([1, 2, 5]).flatmap(of)

    return inputs


def _probe(member: str, *names: str) -> Probe:
    def call(model: Any, inputs: dict[str, Any]) -> Any:
        return getattr(model, member)(*(inputs[name] for name in names))

    return Probe(
        member,
        inputs=_units(*names),
        call=call,
        batched=dict.fromkeys(names, 0),
        parameters=True,
        guard=False,
    )


add(
    Contract(
        name="rbm",
        family="energy",
        kind="factory",
        signature="(visible, hidden) -> free_energy(v (N,V)) -> (N,), hidden_probability(v) -> "
        "(N,H), visible_probability(h (N,H)) -> (N,V); energy(v, h) -> (N,)?",
        summary="A restricted Boltzmann machine of binary units: p(v, h) ∝ exp(-energy(v, h)), "
        "free energy -log of its sum over h; without energy, free energies count by differences.",
        protocol=RestrictedBoltzmannMachine,
        config=RBMConfig,
        strata=STRATA,
        results={
            "free_energy": lambda config, v: Result((len(v),)),
            "hidden_probability": lambda config, v: Result((len(v), config.hidden)),
            "visible_probability": lambda config, h: Result((len(h), config.visible)),
            "energy": lambda config, v, h: Result((len(v),)),
        },
        optional=("energy",),
        warm_up=lambda config: {"v": torch.zeros(2, config.visible)},
        probes=(
            _probe("free_energy", "v"),
            _probe("hidden_probability", "v"),
            _probe("visible_probability", "h"),
            _probe("energy", "v", "h"),
        ),
    )
)
