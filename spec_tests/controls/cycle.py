r"""Unusual and right ways to compute the cycle-consistency loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from spec_tests.registry import control


@control("cycle_consistency_loss")
def by_the_library(x_to_y: Any, y_to_x: Any, x: Tensor, y: Tensor) -> Tensor:
    """``l1_loss`` of each cycle, target first."""
    return functional.l1_loss(y, x_to_y(y_to_x(y))) + functional.l1_loss(x, y_to_x(x_to_y(x)))


@control("cycle_consistency_loss")
def item_by_item(x_to_y: Any, y_to_x: Any, x: Tensor, y: Tensor) -> Tensor:
    """Each item makes its journey alone, as a batch of one."""
    one = [(y_to_x(x_to_y(item[None])) - item[None]).abs().mean() for item in x]
    other = [(x_to_y(y_to_x(item[None])) - item[None]).abs().mean() for item in y]
    return torch.stack(one).mean() + torch.stack(other).mean()


@control("cycle_consistency_loss")
def two_halves_of_an_absolute_value(x_to_y: Any, y_to_x: Any, x: Tensor, y: Tensor) -> Tensor:
    """An absolute value as relu(e) + relu(-e), errors scaled before they are added up."""
    total = torch.zeros((), dtype=x.dtype, device=x.device)
    for there, back, batch in ((x_to_y, y_to_x, x), (y_to_x, x_to_y, y)):
        error = (batch - back(there(batch))).flatten() / batch.numel()
        total = total + (error.relu() + (-error).relu()).sum()
    return total


@control("cycle_consistency_loss")
def guarded_absolute_value(x_to_y: Any, y_to_x: Any, x: Tensor, y: Tensor) -> Tensor:
    """A root of squares with a guard of 1e-14 under it: 1e-7 for an error of zero."""

    def error(there: Any, back: Any, batch: Tensor) -> Tensor:
        return ((back(there(batch)) - batch).square() + 1e-14).sqrt().mean()

    return error(x_to_y, y_to_x, x) + error(y_to_x, x_to_y, y)
