r"""``sample(n, generator)`` as general claims call it: any number of draws, from a seeded generator."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from spec_tests.handle import Built

__all__ = ["drawn_from", "draws"]


def draws() -> st.SearchStrategy[dict[str, Any]]:
    """How many, and the generator's seed."""
    return st.fixed_dictionaries(
        {"n": st.sampled_from([1, 2, 3]), "draw_seed": st.integers(0, 2**31 - 1)}
    )


def drawn_from(model: Built, inputs: dict[str, Any]) -> Tensor:
    """The draws; the audit's ``meta`` device has no generator."""
    device = model.handle.device
    source = None
    if device.type != "meta":
        source = torch.Generator(device).manual_seed(inputs["draw_seed"])
    found: Tensor = model.sample(inputs["n"], source)
    return found
