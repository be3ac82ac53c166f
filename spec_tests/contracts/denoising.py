r"""Denoising: a network is shown a corrupted point and asked for the clean one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from spec_tests.contracts import add
from spec_tests.judge import stratified
from spec_tests.registry import Contract, Probe, Result
from spec_tests.strategies import normals

__all__ = [
    "SHAPES",
    "DenoisingLoss",
    "LinearDenoiser",
    "LinearFunction",
    "SmoothDenoiser",
    "denoisers",
    "tasks",
]

SHAPES = ((1, 1), (1, 4), (5, 1), (3, 2), (2, 6))  # (N, D)


class DenoisingLoss(Protocol):
    """``(denoiser, clean (N,D), noise (N,D)) -> scalar``."""

    def __call__(
        self, denoiser: Callable[[Tensor], Tensor], clean: Tensor, noise: Tensor
    ) -> Tensor: ...


class LinearDenoiser(nn.Module):
    r"""``W x + b``: its gradient of a squared error is known."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.mT + self.bias

    def extra_repr(self) -> str:
        if self.weight.numel() > 16:
            return f"D={len(self.bias)}"
        return f"W={self.weight.detach().tolist()}, b={self.bias.detach().tolist()}"


@dataclass(frozen=True)
class LinearFunction:
    """``W x + b`` as a plain callable: no module, no parameters."""

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return x @ self.weight.mT + self.bias


class SmoothDenoiser(nn.Module):
    """``C tanh(A x + b)`` with a frozen parameter, a buffer, and a part that is in eval mode."""

    gain: Tensor

    def __init__(self, dims: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.dims, self.seed = dims, seed

        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64)

        self.first = nn.Parameter(draw(3, dims) / dims**0.5)
        self.second = nn.Parameter(draw(dims, 3))
        self.offset = nn.Parameter(draw(3), requires_grad=False)
        self.register_buffer("gain", 1 + draw(dims).abs())
        self.dropout = nn.Dropout(0.5).eval()

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.dropout((x @ self.first.mT + self.offset).tanh())
        return hidden @ self.second.mT * self.gain

    def extra_repr(self) -> str:
        return f"D={self.dims}, seed={self.seed}"


@st.composite
def denoisers(
    draw: st.DrawFn, dims: int, kinds: tuple[str, ...] = ("smooth", "linear", "function")
) -> Callable[[Tensor], Tensor]:
    """Maps ``(N, D) -> (N, D)`` that treat their items one by one: modules and a function."""
    kind = draw(st.sampled_from(kinds))
    if kind == "smooth":
        return SmoothDenoiser(dims, draw(st.integers(0, 2**31 - 1)))
    weight, bias = draw(normals((dims, dims))), draw(normals((dims,)))
    return LinearDenoiser(weight, bias) if kind == "linear" else LinearFunction(weight, bias)


@st.composite
def _task(draw: st.DrawFn, shape: tuple[int, int], kinds: tuple[str, ...]) -> dict[str, Any]:
    return {
        "denoiser": draw(denoisers(shape[1], kinds)),
        "clean": draw(normals(shape, scale=2.0)),
        "noise": draw(normals(shape)),
    }


def tasks(kinds: tuple[str, ...] = ("smooth", "linear", "function")) -> Any:
    """A denoiser, clean points and noise, with a stratum for each of :data:`SHAPES`."""
    return stratified([_task(shape, kinds) for shape in SHAPES])


add(
    Contract(
        name="denoising_loss",
        family="autoencoders",
        kind="function",
        signature="(denoiser, clean (N,D), noise (N,D)) -> scalar",
        summary="The squared distance from the clean point to what the denoiser makes of clean "
        "plus noise, summed over D, averaged over the batch.",
        protocol=DenoisingLoss,
        results={"call": lambda config, denoiser, clean, noise: Result(())},
        probes=(
            Probe(
                "call",
                inputs=lambda config: tasks(),
                call=lambda subject, inputs: subject(*inputs.values()),
                batched={"clean": 0, "noise": 0},
                combine="mean",
                differentiable=("clean", "noise"),
                parameters=True,
                guard=False,
            ),
        ),
    )
)
