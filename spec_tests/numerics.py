r"""Derivatives by finite differences, and gradients asked of a subject with blame where it is due."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spec_tests.check import Violation

__all__ = ["Slope", "array", "gradients", "size_of", "slope", "wide"]


@dataclass(frozen=True)
class Slope:
    r"""A directional derivative :math:`\tfrac{d}{dt} f(x + t v)|_0` with its own error estimate.

    ``smooth`` is False where the one-sided slopes or two step sizes disagree: at a kink, or where
    rounding drowns the difference. Nothing may be concluded there.
    """

    value: float
    error: float
    smooth: bool


def slope(f: Callable[[float], float], step: float = 1e-3) -> Slope:
    r"""The derivative of ``f`` at 0 by a five-point stencil at two step sizes.

    .. math::

        f'(0) = \frac{8\,[f(h) - f(-h)] - [f(2h) - f(-2h)]}{12 h} + O(h^4)

    The finer estimate is returned, its distance from the coarser one is the error estimate, and
    the second-order one-sided slopes on either side must agree as well. Where a kink lies within
    the steps, ten and a hundred times smaller ones are tried: a network of many rectifiers has one
    near almost every point, and none at it.
    """
    base = f(0.0)
    for h in (step, step / 10, step / 100):
        found = _slope(f, base, h)
        if found.smooth:
            break
    return found


def _slope(f: Callable[[float], float], base: float, step: float) -> Slope:
    """The derivative by one pair of step sizes."""

    def stencil(h: float) -> tuple[float, float]:
        one, minus, two, minus_two = f(h), f(-h), f(2 * h), f(-2 * h)
        centre = (8 * (one - minus) - (two - minus_two)) / (12 * h)
        right = (4 * one - two - 3 * base) / (2 * h)
        left = (3 * base - 4 * minus + minus_two) / (2 * h)
        return centre, abs(right - left)

    coarse, _ = stencil(step)
    fine, jump = stencil(step / 4)
    scale = max(abs(fine), abs(coarse), 1e-3)
    error = abs(fine - coarse)
    smooth = error <= 1e-6 * scale and jump <= 1e-3 * scale
    return Slope(fine, error, smooth)


def gradients(
    output: Tensor, inputs: Sequence[Tensor], *, create_graph: bool = False, what: str = "result"
) -> list[Tensor]:
    """Autograd's gradients of the scalar ``output``, zeros where it does not depend on an input."""
    if not output.requires_grad:
        return [torch.zeros_like(x) for x in inputs]
    try:
        found = torch.autograd.grad(
            output, list(inputs), create_graph=create_graph, allow_unused=True, retain_graph=True
        )
    except RuntimeError as failure:
        raise Violation(f"the backward pass of the {what} raised: {failure}") from failure
    return [torch.zeros_like(x) if g is None else g for g, x in zip(found, inputs, strict=True)]


def wide(value: Tensor) -> Tensor:
    """The value in float64 on the CPU, without its graph."""
    return value.detach().cpu().double()


def array(value: Tensor) -> np.ndarray[Any, Any]:
    """The value in float64 as a NumPy array, without its graph."""
    return wide(value).numpy()


def size_of(value: Tensor) -> float:
    """The largest finite absolute entry, at least 1."""
    finite = value.detach().abs().nan_to_num(0.0, 0.0, 0.0)
    return max(float(finite.max()) if finite.numel() else 0.0, 1.0)
