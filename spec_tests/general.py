r"""The machinery of the general claims: one test, judged for every contract through its probes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from hypothesis import strategies as st
from torch import Tensor, nn

from spec_tests.handle import Built, Handle
from spec_tests.judge import show, stratified
from spec_tests.registry import CLAIMS, Claim, Contract, Probe, place_of

__all__ = [
    "Case",
    "cases",
    "clone",
    "general_claim",
    "modules_in",
    "outputs",
    "probe_of",
    "start",
]


@dataclass(frozen=True)
class Case:
    """One drawn call of a subject: the probe, the config, and the named inputs."""

    probe: str
    config: Any
    inputs: dict[str, Any]

    def lines(self) -> list[str]:
        """The call as a person reads it, an input a line."""
        head = [] if self.probe == "call" else [f"member = {self.probe}"]
        if self.config is not None:
            head.append(f"config = {self.config!r}")
        return head + [f"{name} = {show(value)}" for name, value in self.inputs.items()]


@st.composite
def _case(draw: Any, probe: Probe, configs: Any, inputs: Callable[[Any], Any]) -> Case:
    config = draw(configs)
    return Case(probe.name, config, draw(inputs(config)))


def cases(
    contract: Contract,
    wanted: Callable[[Probe], bool] = lambda probe: True,
    inputs: Callable[[Probe], Callable[[Any], Any] | None] = lambda probe: probe.inputs,
) -> Any | None:
    """Cases over the probes that are ``wanted`` and every stratum; ``None`` where there is none."""
    strata = []
    for probe in contract.probes:
        draw = inputs(probe)
        if not wanted(probe) or draw is None:
            continue
        if contract.kind == "function":
            drawn = draw(None)
            for one in getattr(drawn, "genspec_strata", (drawn,)):
                strata.append(_case(probe, st.none(), lambda config, one=one: one))
        else:
            strata.extend(_case(probe, configs, draw) for configs in contract.strata)
    return stratified(strata) if strata else None


def general_claim(
    name: str,
    statement: str,
    *,
    why: str,
    draw: Callable[[Contract], Any | None],
    dtypes: tuple[str, ...] = ("float64", "float32"),
    effort: float = 1.0,
    when: str = "always",
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Registers one test as the claim ``contract.name`` of every contract that ``draw`` serves.

    ``draw`` gives the strategy of :class:`Case` for a contract, or ``None`` where the claim says
    nothing; a contract may exempt itself with a reason.
    """
    from spec_tests.contracts import CONTRACTS

    def register(test: Callable[..., None]) -> Callable[..., None]:
        for contract in CONTRACTS.values():
            strategy = None if name in contract.exempt else draw(contract)
            if strategy is None:
                continue
            id = f"{contract.name}.{name}"
            entry = Claim(
                id,
                contract.name,
                statement,
                ("contracts.md, conventions",),
                inspect.cleandoc(why),
                {},
                test,
                {"case": strategy},
                place_of(test),
                dtypes,
                0.0,
                effort,
                general=True,
                when=when,
            )
            CLAIMS.add(id, entry)
        test.general_claim = name  # type: ignore[attr-defined]
        return test

    return register


def probe_of(subject: Handle, case: Case) -> Probe:
    """The probe that a case was drawn for."""
    return next(p for p in subject.contract.probes if p.name == case.probe)


def start(subject: Handle, case: Case, **options: Any) -> Handle | Built:
    """What the probe is called on: the function itself, or the object built from the config."""
    built = subject if case.config is None else subject.build(case.config, **options)
    if isinstance(built, Built) and case.probe in subject.contract.optional:
        built.needs(case.probe)
    return built


def outputs(probe: Probe, target: Handle | Built, inputs: dict[str, Any]) -> tuple[Tensor, ...]:
    """The probe's results as a tuple."""
    found = probe.call(target, inputs)
    return found if isinstance(found, tuple) else (found,)


def clone(inputs: dict[str, Any]) -> dict[str, Any]:
    """Fresh tensors, the same modules."""
    return {k: v.detach().clone() if isinstance(v, Tensor) else v for k, v in inputs.items()}


def modules_in(value: Any) -> list[nn.Module]:
    """The modules among drawn inputs, also within dataclasses and sequences."""
    if isinstance(value, nn.Module):
        return [value]
    if isinstance(value, dict):
        return [m for item in value.values() for m in modules_in(item)]
    if isinstance(value, (list, tuple)):
        return [m for item in value for m in modules_in(item)]
    if hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        return [m for f in fields(value) for m in modules_in(getattr(value, f.name))]
    return []
