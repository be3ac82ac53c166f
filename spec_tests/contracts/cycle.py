r"""Cycle consistency: two maps between two domains, each asked to undo the other."""

from __future__ import annotations

import math
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
    "DOMAINS",
    "AffineFunction",
    "AffineMap",
    "CycleConsistencyLoss",
    "SmoothMap",
    "cycles",
    "matrices",
]

Shape = tuple[int, ...]
Map = Callable[[Tensor], Tensor]

# Shapes of an item of x and of y: alike, of one size, larger and smaller, images, single numbers.
DOMAINS: tuple[tuple[Shape, Shape], ...] = (
    ((3,), (3,)), ((6,), (2, 3)), ((2,), (5,)), ((3, 2, 2), (1, 2, 4)), ((1,), (1,)),
)  # fmt: skip


class CycleConsistencyLoss(Protocol):
    """``(x_to_y, y_to_x, x (N,*event), y (M,*event')) -> scalar``."""

    def __call__(self, x_to_y: Map, y_to_x: Map, x: Tensor, y: Tensor) -> Tensor: ...


class AffineMap(nn.Module):
    r"""``A x + b``, flattened and given its new shape."""

    def __init__(self, matrix: Tensor, bias: Tensor, shape: Shape) -> None:
        super().__init__()
        self.matrix, self.bias = nn.Parameter(matrix.clone()), nn.Parameter(bias.clone())
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1) @ self.matrix.mT + self.bias).unflatten(1, self.shape)

    def extra_repr(self) -> str:
        matrix, bias = self.matrix.detach(), self.bias.detach()
        if matrix.numel() > 16:
            return f"matrix of {tuple(matrix.shape)}, to items of {self.shape}"
        return f"A={matrix.tolist()}, b={bias.tolist()}, to items of {self.shape}"


@dataclass(frozen=True)
class AffineFunction:
    """``A x + b`` as a plain callable: no module, no parameters."""

    matrix: Tensor
    bias: Tensor
    shape: Shape

    def __call__(self, x: Tensor) -> Tensor:
        return (x.flatten(1) @ self.matrix.mT + self.bias).unflatten(1, self.shape)


class SmoothMap(nn.Module):
    """``C tanh(A x + b)`` with a frozen parameter, a buffer, and a part that is in eval mode."""

    gain: Tensor

    def __init__(self, source: Shape, target: Shape, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.target, self.seed = target, seed
        wide, size = math.prod(target), math.prod(source)

        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64)

        self.first = nn.Parameter(draw(4, size) / size**0.5)
        self.second = nn.Parameter(draw(wide, 4))
        self.offset = nn.Parameter(draw(4), requires_grad=False)
        self.register_buffer("gain", 1 + draw(wide).abs())
        self.dropout = nn.Dropout(0.5).eval()

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.dropout((x.flatten(1) @ self.first.mT + self.offset).tanh())
        return (hidden @ self.second.mT * self.gain).unflatten(1, self.target)

    def extra_repr(self) -> str:
        return f"to items of {self.target}, seed={self.seed}"


@st.composite
def matrices(draw: st.DrawFn, rows: int, columns: int) -> Tensor:
    """Matrices ``(rows, columns)`` with singular values of 1: orthonormal rows or columns."""
    drawn = draw(normals((max(rows, columns), min(rows, columns))))
    q = torch.linalg.qr(drawn).Q
    return q if rows >= columns else q.mT.contiguous()


@st.composite
def _maps(draw: st.DrawFn, source: Shape, target: Shape, kinds: tuple[str, ...]) -> Map:
    kind = draw(st.sampled_from(kinds))
    if kind == "smooth":
        return SmoothMap(source, target, draw(st.integers(0, 2**31 - 1)))
    matrix = draw(normals((math.prod(target), math.prod(source))))
    bias = draw(normals((math.prod(target),)))
    return (AffineMap if kind == "affine" else AffineFunction)(matrix, bias, target)


@st.composite
def _cycle(
    draw: st.DrawFn, domain: tuple[Shape, Shape], batches: Any, kinds: tuple[str, ...]
) -> dict[str, Any]:
    here, there = domain
    n, m = draw(batches)
    return {
        "x_to_y": draw(_maps(here, there, kinds)),
        "y_to_x": draw(_maps(there, here, kinds)),
        "x": draw(normals((n, *here), scale=2.0)),
        "y": draw(normals((m, *there), scale=2.0)),
    }


UNEQUAL = st.sampled_from([(2, 5), (4, 1), (1, 3), (1, 1)])
EQUAL = st.sampled_from([1, 3]).map(lambda n: (n, n))


def cycles(
    batches: Any = UNEQUAL, kinds: tuple[str, ...] = ("smooth", "affine", "function")
) -> Any:
    """Two maps, ``x`` and ``y``, with a stratum for each of :data:`DOMAINS`."""
    return stratified([_cycle(domain, batches, kinds) for domain in DOMAINS])


def _call(subject: Any, inputs: dict[str, Any]) -> Tensor:
    found: Tensor = subject(*inputs.values())
    return found


add(
    Contract(
        name="cycle_consistency_loss",
        family="adversarial",
        kind="function",
        signature="(x_to_y, y_to_x, x (N,*event), y (M,*event')) -> scalar",
        summary="The mean absolute error of x after a journey to the other domain and back, and "
        "the same for y, summed.",
        protocol=CycleConsistencyLoss,
        results={"call": lambda config, x_to_y, y_to_x, x, y: Result(())},
        probes=(
            Probe(
                "call",
                inputs=lambda config: cycles(),
                call=_call,
                differentiable=("x", "y"),
                parameters=True,
            ),
            Probe(
                "the loss of equal batches",
                inputs=lambda config: cycles(EQUAL),
                call=_call,
                batched={"x": 0, "y": 0},
                combine="mean",
            ),
        ),
    )
)
