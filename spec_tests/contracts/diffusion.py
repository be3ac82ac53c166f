r"""Diffusion: the schedule by which data turn into noise, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from hypothesis import strategies as st
from torch import Tensor

from spec_tests import check
from spec_tests.contracts import add
from spec_tests.handle import Built
from spec_tests.registry import Contract, Probe
from spec_tests.strategies import integers_below, normals

__all__ = [
    "STRATA",
    "DiffusionScheduleConfig",
    "Schedule",
    "alpha_bar",
    "drawn_inputs",
    "posterior_mean_variance",
    "q_mean_variance",
]


class Schedule(Protocol):
    """What the factory returns; steps are numbered from 0, ``t`` is long ``(N,)`` in ``[0, T)``.

    Variances have the shape of the mean, or one that broadcasts to it, or ``(N,)``.
    """

    @property
    def alpha_bar(self) -> Tensor: ...

    def q_mean_variance(self, x0: Tensor, t: Tensor) -> tuple[Tensor, Tensor]: ...

    def posterior_mean_variance(
        self, x0: Tensor, xt: Tensor, t: Tensor
    ) -> tuple[Tensor, Tensor]: ...


@dataclass(frozen=True)
class DiffusionScheduleConfig:
    """T, how many steps there are."""

    steps: int


STRATA = tuple(st.sampled_from([DiffusionScheduleConfig(t) for t in few])
               for few in ((2, 3), (5, 8), (20, 50)))  # fmt: skip
EVENTS = ((4,), (1,), (3, 2, 5))


@st.composite
def drawn_inputs(draw: st.DrawFn, config: DiffusionScheduleConfig) -> dict[str, Tensor]:
    """A batch of 1, 2 or 6 items, vectors or images, each at a step of its own."""
    shape = (draw(st.sampled_from([1, 2, 6])), *draw(st.sampled_from(EVENTS)))
    return {
        "x0": draw(normals(shape)),
        "xt": draw(normals(shape, scale=1.5)),
        "t": draw(integers_below(config.steps, shape[:1])),
    }


def alpha_bar(model: Built) -> Tensor:
    """The schedule, checked to be T real numbers; an attribute, a property or a method."""
    check.that(model.has("alpha_bar"), "the schedule has no member alpha_bar")
    found = model.value("alpha_bar")
    steps = model.config.steps
    check.that(
        isinstance(found, Tensor) and found.is_floating_point() and found.shape == (steps,),
        f"alpha_bar must hold {steps} real numbers, one for each step, and is {found!r}",
    )
    result: Tensor = found.detach().to("cpu", torch.float64)
    return result


def _pair(model: Built, member: str, found: Any, like: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance, checked, the variance spread to the shape of the mean."""
    check.that(
        isinstance(found, (tuple, list)) and len(found) == 2,
        f"{member} must return a mean and a variance, and returned a {type(found).__name__}",
    )
    mean, variance = found
    for name, part in (("mean", mean), ("variance", variance)):
        check.that(
            isinstance(part, Tensor) and part.is_floating_point(),
            f"the {name} of {member} must be a real tensor, and is a {type(part).__name__}",
        )
        check.that(
            part.device.type == like.device.type,
            f"the {name} of {member} is on {part.device}, not on {like.device}",
        )
    check.that(
        mean.shape == like.shape and mean.dtype == like.dtype,
        f"the mean of {member} is {mean.dtype} {tuple(mean.shape)}, expected {like.dtype} "
        f"{tuple(like.shape)}",
    )
    if variance.shape == like.shape[:1]:
        variance = variance.view(-1, *(1,) * (like.dim() - 1))
    fits = variance.dim() == 0 or (
        variance.dim() == like.dim()
        and all(v in (1, n) for v, n in zip(variance.shape, like.shape, strict=True))
    )
    check.that(
        fits,
        f"the variance of {member} has shape {tuple(variance.shape)}, which does not spread to "
        f"{tuple(like.shape)}",
    )
    return mean, variance.to(like.dtype).expand(like.shape)


def q_mean_variance(model: Built, x0: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Of x_t given x_0, both ``(N, *event)``, checked."""
    return _pair(model, "q_mean_variance", model.q_mean_variance(x0, t), x0)


def posterior_mean_variance(
    model: Built, x0: Tensor, xt: Tensor, t: Tensor
) -> tuple[Tensor, Tensor]:
    """Of x_{t-1} given x_t and x_0, both ``(N, *event)``, checked."""
    found = model.posterior_mean_variance(x0, xt, t)
    return _pair(model, "posterior_mean_variance", found, x0)


def _call_q(model: Built, i: dict[str, Any]) -> tuple[Tensor, Tensor]:
    return q_mean_variance(model, i["x0"], i["t"])


def _call_posterior(model: Built, i: dict[str, Any]) -> tuple[Tensor, Tensor]:
    return posterior_mean_variance(model, i["x0"], i["xt"], i["t"])


add(
    Contract(
        name="diffusion_schedule",
        family="energy",
        kind="factory",
        signature="(steps T) -> alpha_bar (T,); q_mean_variance(x0 (N,*event), t long (N,)) -> "
        "(mean, variance); posterior_mean_variance(x0, xt, t) -> (mean, variance)",
        summary="A chain of T variance-preserving Gaussian steps, numbered from 0: alpha_bar[t] is "
        "the share of the data's variance that is left after step t, q is the law of x_t given "
        "x_0, the posterior that of what precedes step t (x_0 itself before step 0).",
        protocol=Schedule,
        config=DiffusionScheduleConfig,
        strata=STRATA,
        warm_up=lambda config: {
            "x0": torch.randn(2, 3),
            "xt": torch.randn(2, 3),
            "t": torch.zeros(2, dtype=torch.long),
        },
        probes=(
            Probe(
                "q_mean_variance",
                inputs=drawn_inputs,
                call=_call_q,
                batched={"x0": 0, "t": 0},
                differentiable=("x0",),
            ),
            Probe(
                "posterior_mean_variance",
                inputs=drawn_inputs,
                call=_call_posterior,
                batched={"x0": 0, "xt": 0, "t": 0},
                differentiable=("x0", "xt"),
            ),
        ),
    )
)
