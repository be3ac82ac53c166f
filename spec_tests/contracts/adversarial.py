r"""Adversarial training: the losses of both players, and what keeps a critic's slope in bounds."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from spec_tests.check import Violation
from spec_tests.contracts import add
from spec_tests.contracts.critics import critics
from spec_tests.contracts.normalisable_layers import layers, networks
from spec_tests.judge import stratified
from spec_tests.registry import Contract, Probe, Result
from spec_tests.strategies import normals, reals
from spec_tests.tolerance import eps

__all__ = [
    "BATCHES",
    "EVENTS",
    "KINDS",
    "ClipWeights",
    "GanLosses",
    "GanLossesConfig",
    "GradientPenalty",
    "R1Penalty",
    "SpectralNorm",
    "normalised",
    "settle",
]

KINDS = ("minimax", "non_saturating", "least_squares", "wasserstein", "hinge")
BATCHES = ((3, 5), (1, 4), (4, 1), (1, 1))  # sizes of the real and of the fake batch
EVENTS = ((5,), (1,), (2, 3, 4), (3, 2, 2))


class GanLosses(Protocol):
    """The two losses of a game, each to be minimised by its owner."""

    def discriminator_loss(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor: ...

    def generator_loss(self, fake_scores: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class GanLossesConfig:
    """Which game is played."""

    kind: str


class GradientPenalty(Protocol):
    """``(critic, real (N,*event), fake (N,*event)) -> scalar``."""

    def __call__(
        self, critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor
    ) -> Tensor: ...


class R1Penalty(Protocol):
    """``(discriminator, real (N,*event)) -> scalar``."""

    def __call__(self, discriminator: Callable[[Tensor], Tensor], real: Tensor) -> Tensor: ...


class SpectralNorm(Protocol):
    """``(layer) -> layer``."""

    def __call__(self, layer: nn.Module) -> nn.Module: ...


class ClipWeights(Protocol):
    """``(module, bound) -> None``, in place."""

    def __call__(self, module: nn.Module, bound: float) -> None: ...


# The losses of the game --------------------------------------------------------------------------


@st.composite
def _scores(draw: st.DrawFn, entries: Any = reals) -> dict[str, Tensor]:
    real, fake = draw(st.sampled_from(BATCHES))
    return {"real_scores": draw(entries((real,))), "fake_scores": draw(entries((fake,)))}


def _fakes(entries: Any = reals) -> Any:
    return st.sampled_from([1, 4]).flatmap(
        lambda count: entries((count,)).map(lambda scores: {"fake_scores": scores})
    )


def _huge(shape: tuple[int, ...]) -> Any:
    count = shape[0]
    values = st.sampled_from([-1e4, -700.0, -90.0, 0.0, 90.0, 700.0, 1e4])
    return st.lists(values, min_size=count, max_size=count).map(
        lambda drawn: torch.tensor(drawn, dtype=torch.float64)
    )


add(
    Contract(
        name="gan_losses",
        family="adversarial",
        kind="factory",
        signature="kind -> discriminator_loss(real (N,), fake (M,)), generator_loss(fake (M,))",
        summary="Each player's loss in an adversarial game, from the discriminator's raw scores.",
        protocol=GanLosses,
        config=GanLossesConfig,
        strata=tuple(st.just(GanLossesConfig(kind)) for kind in KINDS),
        results={
            "discriminator_loss": lambda config, real_scores, fake_scores: Result(()),
            "generator_loss": lambda config, fake_scores: Result(()),
        },
        probes=(
            Probe(
                "discriminator_loss",
                inputs=lambda config: _scores(),
                call=lambda losses, i: losses.discriminator_loss(
                    i["real_scores"], i["fake_scores"]
                ),
                differentiable=("real_scores", "fake_scores"),
                smooth=lambda config: _scores(normals),
                extreme=lambda config: _scores(_huge),
            ),
            Probe(
                "generator_loss",
                inputs=lambda config: _fakes(),
                call=lambda losses, i: losses.generator_loss(i["fake_scores"]),
                batched={"fake_scores": 0},
                combine="mean",
                differentiable=("fake_scores",),
                smooth=lambda config: _fakes(normals),
                extreme=lambda config: _fakes(_huge),
            ),
        ),
    )
)


# Penalties on a critic's gradient ----------------------------------------------------------------


@st.composite
def _critic_and(
    draw: st.DrawFn, event: tuple[int, ...], names: tuple[str, ...], kinds: Any = critics
) -> dict[str, Any]:
    count = draw(st.sampled_from([1, 3]))
    drawn = {name: draw(normals((count, *event))) for name in names}
    return {"critic": draw(kinds(event)), **drawn}


def _smooth_points(names: tuple[str, ...]) -> Any:
    """Away from where a slope of zero puts a kink into its norm: there is none at random points."""
    return stratified([_critic_and(event, names) for event in ((5,), (2, 3, 4))])


add(
    Contract(
        name="gradient_penalty",
        family="adversarial",
        kind="function",
        signature="(critic, real (N,*event), fake (N,*event)) -> scalar",
        summary="The mean squared distance from one of the critic's slope, at one random point of "
        "the segment between each real item and its fake.",
        protocol=GradientPenalty,
        results={"call": lambda config, critic, real, fake: Result(())},
        probes=(
            Probe(
                "call",
                inputs=lambda config: stratified(
                    [_critic_and(event, ("real", "fake")) for event in EVENTS]
                ),
                call=lambda subject, i: subject(i["critic"], i["real"], i["fake"]),
                smooth=lambda config: _smooth_points(("real", "fake")),
                parameters=True,
                deterministic=False,
            ),
            Probe(
                "the penalty of pairs that coincide",
                inputs=lambda config: stratified(
                    [_critic_and(event, ("real",)) for event in EVENTS]
                ),
                call=lambda subject, i: subject(i["critic"], i["real"], i["real"].clone()),
                batched={"real": 0},
                combine="mean",
            ),
        ),
    )
)

add(
    Contract(
        name="r1_penalty",
        family="adversarial",
        kind="function",
        signature="(discriminator, real (N,*event)) -> scalar",
        summary="Half the mean squared norm of the discriminator's gradient at the real data.",
        protocol=R1Penalty,
        results={"call": lambda config, discriminator, real: Result(())},
        probes=(
            Probe(
                "call",
                inputs=lambda config: stratified(
                    [_critic_and(event, ("real",)) for event in EVENTS]
                ),
                call=lambda subject, i: subject(i["critic"], i["real"]),
                batched={"real": 0},
                combine="mean",
                smooth=lambda config: _smooth_points(("real",)),
                parameters=True,
            ),
        ),
    )
)


# Spectral normalisation --------------------------------------------------------------------------


def normalised(subject: Any, layer: nn.Module) -> nn.Module:
    """What the subject makes of a copy of ``layer``: a module whose ``.weight`` has its shape."""
    shape = layer.weight.shape  # type: ignore[union-attr]
    result = subject(copy.deepcopy(layer))
    if not isinstance(result, nn.Module):
        raise Violation(f"spectral_norm returned {result!r}, expected a layer")
    weight = subject.guarded(lambda: getattr(result, "weight", None))
    if not isinstance(weight, Tensor) or weight.shape != shape:
        found = tuple(weight.shape) if isinstance(weight, Tensor) else weight
        raise Violation(f"the normalised layer's .weight is {found}, expected shape {tuple(shape)}")
    return result


def settle(subject: Any, layer: nn.Module, x: Tensor, forwards: int | None = None) -> Tensor:
    r"""The effective weight after training-mode forwards: so many, or until it moves no more.

    At least 40 and at most 1000; it has come to rest when ten forwards in a row leave it as it is.
    """

    def step() -> Tensor:
        layer(x)
        return layer.weight.detach().clone()  # type: ignore[operator, union-attr, return-value]

    layer.train()
    weight = subject.guarded(step)
    limit = (2 if weight.device.type == "meta" else forwards) or 1000
    still = 0
    for count in range(1, limit):
        if forwards is None and count >= 40 and still >= 10:
            break
        before, weight = weight, subject.guarded(step)
        if weight.device.type != "meta" and forwards is None:
            moved = float((weight - before).abs().max())
            still = still + 1 if moved <= 8 * eps(weight.dtype) * float(weight.abs().max()) else 0
    return weight


add(
    Contract(
        name="spectral_norm",
        family="adversarial",
        kind="function",
        signature="(layer) -> layer, its .weight divided by its largest singular value",
        summary="A layer whose weight is divided by its largest singular value, with its output "
        "channels as rows, as estimated over the forwards in training mode.",
        protocol=SpectralNorm,
        probes=(
            Probe(
                "the normalised weight",
                iterative=True,
                inputs=lambda config: stratified(
                    [layers(make, gap=0.4) for make in ("wide", "conv", "transposed")]
                ),
                call=lambda subject, i: settle(subject, normalised(subject, i["layer"]), i["x"]),
            ),
        ),
    )
)


# Weight clipping ---------------------------------------------------------------------------------


def _clipped(subject: Any, inputs: dict[str, Any]) -> tuple[Tensor, ...]:
    """The parameters of a clipped copy of the module."""
    module = copy.deepcopy(inputs["module"])
    subject(module, inputs["bound"])
    return tuple(p.detach() for p in module.parameters())


add(
    Contract(
        name="clip_weights",
        family="adversarial",
        kind="function",
        signature="(module, bound) -> None, in place",
        summary="Moves every parameter to the nearest point of [-bound, bound]; buffers stay.",
        protocol=ClipWeights,
        probes=(
            Probe(
                "the clipped parameters",
                inputs=lambda config: stratified(
                    [
                        st.fixed_dictionaries(
                            {"module": networks(make), "bound": st.sampled_from([0.01, 0.5, 2.0])}
                        )
                        for make in ("patchwork", "sequence")
                    ]
                ),
                call=_clipped,
                guard=False,
            ),
        ),
    )
)
