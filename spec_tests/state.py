r"""The global state that a subject must leave as it found it, and that the harness restores."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

__all__ = ["TorchGenerator", "generators", "guarded_state", "modes", "seed_everything"]


class TorchGenerator:
    """torch's default generator in the shape that Hypothesis manages generators in."""

    def seed(self, seed: int) -> None:
        seed_torch(seed % 2**63)

    def getstate(self) -> torch.Tensor:
        return torch.get_rng_state()

    def setstate(self, state: torch.Tensor) -> None:
        torch.set_rng_state(state)


def seed_torch(seed: int) -> None:
    """Seeds the CPU's default generator, and those of GPUs that are in use.

    ``torch.manual_seed`` does the same, and for every kind of accelerator that is not there it
    formats a stack trace, which costs more than most of what a claim computes.
    """
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)


def seed_everything(seed: int) -> None:
    """Seeds Python's, NumPy's and torch's default generators."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    seed_torch(seed)


@dataclass(frozen=True)
class Generators:
    """A snapshot of the three global generators."""

    torch: bytes
    numpy: tuple[Any, ...]
    python: Any


def generators() -> Generators:
    """The state of the three global generators, comparable by ``==``."""
    name, keys, *rest = np.random.get_state()
    numpy = (name, np.asarray(keys).tobytes(), *rest)
    return Generators(torch.get_rng_state().numpy().tobytes(), numpy, random.getstate())


def modes() -> dict[str, Any]:
    """The global settings that change what other code computes, by name."""
    return {
        "default dtype": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "grad mode": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "anomaly detection": torch.is_anomaly_enabled(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "NumPy error handling": np.geterr(),
        "float32 matmul precision": torch.get_float32_matmul_precision(),
    }


@contextmanager
def guarded_state() -> Iterator[None]:
    """Restores whatever the body changes; TF32 is off inside."""
    before = (torch.get_rng_state(), np.random.get_state(), random.getstate())
    dtype, grad = torch.get_default_dtype(), torch.is_grad_enabled()
    precision, anomaly = torch.get_float32_matmul_precision(), torch.is_anomaly_enabled()
    deterministic, errors = torch.are_deterministic_algorithms_enabled(), np.geterr()
    tf32 = (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)
    try:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        with torch.enable_grad():
            yield
    finally:
        torch.set_rng_state(before[0])
        np.random.set_state(before[1])
        random.setstate(before[2])
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(grad)
        torch.set_float32_matmul_precision(precision)
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = tf32
        torch.autograd.set_detect_anomaly(anomaly)
        torch.use_deterministic_algorithms(deterministic)
        np.seterr(**errors)  # type: ignore[arg-type]
        if torch.get_default_device().type != "cpu":
            torch.set_default_device(None)
