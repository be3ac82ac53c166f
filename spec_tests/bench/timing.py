r"""How two costs are compared: turn by turn, by the ratio of their least processor times."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

from torch import Tensor

__all__ = ["peak_megabytes", "ratio", "seconds", "step"]


def seconds(call: Callable[[], object], rounds: int = 1) -> float:
    """The least processor time of a call: what else runs on the machine only adds to it."""
    times = []
    for _ in range(rounds):
        started = time.process_time()
        call()
        times.append(time.process_time() - started)
    return min(times)


def ratio(ours: Callable[[], object], other: Callable[[], object], rounds: int = 30) -> float:
    """Least time of ``ours`` over that of ``other``, measured turn by turn."""
    times: tuple[list[float], list[float]] = ([], [])
    for call in (ours, other):
        call()
    for _ in range(rounds):
        for call, taken in zip((ours, other), times, strict=True):
            taken.append(seconds(call))
    return min(times[0]) / min(times[1])


def step(module: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], None]:
    """A forward and a backward pass."""

    def run() -> None:
        module(x).square().mean().backward()

    return run


def peak_megabytes(setup: str, statement: str) -> float:
    """What a statement adds to the peak memory of a process of its own, after its set-up."""
    code = (
        f"import resource, torch\ntorch.set_num_threads(1)\n{setup}\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        f"{statement}\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)
