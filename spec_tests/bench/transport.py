r"""Optimal transport on the line against SciPy's."""

from __future__ import annotations

import torch
from scipy.stats import wasserstein_distance

from spec_tests.bench.timing import ratio

__all__ = ["rows"]


def _on_the_line(count: int) -> float:
    from reference.divergences import wasserstein1_on_the_line

    x, y = torch.randn(2, count, dtype=torch.float64)
    p, q = torch.rand(2, count, dtype=torch.float64).softmax(1)
    points = [tensor.numpy() for tensor in (x, y, p, q)]
    return ratio(
        lambda: wasserstein1_on_the_line(x, y, p, q), lambda: wasserstein_distance(*points)
    )


def rows() -> list[tuple[str, str]]:
    """What is compared, and the ratio."""
    return [
        (f"exact W1 on the line, n = {count} / SciPy's", f"{_on_the_line(count):.2f}")
        for count in (100, 10_000)
    ]
