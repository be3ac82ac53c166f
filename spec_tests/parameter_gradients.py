r"""What the gradients of a module's parameters must be: the slopes of its value."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from spec_tests import check
from spec_tests.numerics import gradients, slope
from spec_tests.registry import Unsupported

__all__ = ["judge_parameter_gradient"]


def judge_parameter_gradient(module: nn.Module, total: Callable[[], Tensor], what: str) -> None:
    """Compares autograd with finite differences along what is left of a random direction.

    A module may keep its parameters in a subspace by writing zeros into a masked weight at every
    call; then only the directions within it can be judged, and they are read back after a call.
    """
    named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    if not named:
        raise Unsupported("no trainable parameters")
    parameters = [p for _, p in named]
    total()  # what is projected at a call is projected now
    origin = [p.detach().clone() for p in parameters]
    found = gradients(total(), parameters, what=what)
    along = [torch.randn_like(p) for p in origin]

    def place(t: float) -> None:
        with torch.no_grad():
            for p, start, direction in zip(parameters, origin, along, strict=True):
                p.copy_(start + t * direction)

    place(1.0)
    total()
    kept = [(p.detach() - start) for p, start in zip(parameters, origin, strict=True)]
    close_by = [torch.where((k - a).abs() < 1e-6, a, k) for k, a in zip(kept, along, strict=True)]
    along[:] = close_by

    def moved(t: float) -> float:
        place(t)
        return float(total().detach())

    measured = slope(moved, step=1e-5)
    place(0.0)
    terms = torch.stack([(g * a).sum() for g, a in zip(found, along, strict=True)])
    sizes = torch.stack([(g * a).abs().sum() for g, a in zip(found, along, strict=True)])
    if not measured.smooth or not torch.isfinite(terms).all():
        return
    size = max(float(sizes.sum()), abs(measured.value), 1e-3)
    tolerance = 1e-6 * size + 10 * measured.error
    check.close(
        float(terms.sum()), measured.value, tolerance,
        f"the gradient of the {what} in the parameters, along a random direction,",
    )  # fmt: skip
