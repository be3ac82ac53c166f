r"""Tensors by what their entries may be, and what rounding may move a sum of such entries."""

from __future__ import annotations

import math
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from spec_tests.strategies import reals
from spec_tests.tolerance import rounding

__all__ = ["EXTREME", "among", "constant", "slack", "within"]

EXTREME = ((1, 1), (1, 3), (4, 2))  # shapes in which extreme entries are drawn


def within(low: float, high: float) -> Any:
    """``shape -> strategy`` of tensors with entries in ``[low, high]``."""
    return lambda shape: reals(shape, low, high)


def among(*values: float) -> Any:
    """``shape -> strategy`` of tensors with these entries."""
    return lambda shape: st.lists(
        st.sampled_from(values), min_size=math.prod(shape), max_size=math.prod(shape)
    ).map(lambda drawn: torch.tensor(drawn, dtype=torch.float64).reshape(shape))


def constant(value: float) -> Any:
    """``shape -> strategy`` of the one tensor with this entry everywhere."""
    return lambda shape: st.just(torch.full(shape, value, dtype=torch.float64))


def slack(dtype: torch.dtype, terms: Tensor, length: int = 1) -> Tensor:
    """What rounding may move a sum by whose terms have these absolute values, item by item."""
    return rounding(dtype, length=length) * (1 + terms)
