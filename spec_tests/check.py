r"""What claims assert with: each check says what it compared, and reports its headroom.

Headroom is the largest observed deviation over the allowed one: 0 is exact, above 1 is a violation.
A claim whose headroom stays near 0 for every right subject has a tolerance that could be tighter.
"""

from __future__ import annotations

import math
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

__all__ = ["Violation", "at_least", "at_most", "close", "equal", "finite", "headroom", "that"]

headroom: ContextVar[float | None] = ContextVar("headroom", default=None)


class Violation(AssertionError):
    """A subject does not do what the claim says; the message is for the subject's author."""


def _spend(ratio: float) -> None:
    known = headroom.get()
    if not math.isnan(ratio):
        headroom.set(ratio if known is None else max(known, ratio))


def _double(value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach().to("cpu", torch.float64)
    return torch.as_tensor(value, dtype=torch.float64)


def _show(value: float) -> str:
    return f"{value:.10g}"


def that(condition: bool | Tensor, message: str) -> None:
    """Raises :class:`Violation` with ``message`` unless ``condition`` holds."""
    if not bool(condition):
        raise Violation(message)


def finite(value: Tensor, what: str) -> None:
    """Every entry of ``value`` is a finite number."""
    bad = ~torch.isfinite(value.detach())
    if bad.any():
        where = tuple(int(i) for i in bad.nonzero()[0])
        raise Violation(f"{what} is {value[where].item()} at {_at(where)}; it must be finite")


def close(actual: Any, expected: Any, tolerance: float | Tensor, what: str) -> None:
    """``actual`` equals ``expected`` to within ``tolerance``; equal infinities agree, and so do NaN
    and an expected NaN (two ways of asking a subject for what it cannot compute)."""
    a, e = _double(actual), _double(expected)
    if a.shape != e.shape:
        if a.numel() != e.numel() and e.numel() != 1:
            raise Violation(f"{what} has shape {tuple(a.shape)}, expected {tuple(e.shape)}")
        e = e.expand(a.shape) if e.numel() == 1 else e.reshape(a.shape)
    t = _double(tolerance).expand(a.shape)
    same = (a == e) | (a.isnan() & e.isnan())
    deviation = torch.where(same, torch.zeros_like(a), (a - e).abs())
    ratio = (deviation / t.clamp_min(1e-300)).nan_to_num(nan=math.inf, posinf=math.inf)
    ratio = torch.where(same, torch.zeros_like(a), ratio)
    if ratio.numel() == 0:
        return
    worst = int(ratio.flatten().argmax())
    _spend(float(ratio.flatten()[worst]))
    if ratio.flatten()[worst] > 1:
        where = tuple(int(i) for i in torch.unravel_index(torch.tensor(worst), a.shape))
        got, want = float(a.flatten()[worst]), float(e.flatten()[worst])
        raise Violation(
            f"{what}{' at ' + _at(where) if where else ''} is {_show(got)}, expected {_show(want)} "
            f"(off by {abs(got - want):.3g}, allowed {float(t.flatten()[worst]):.3g})"
        )


def equal(actual: Tensor, expected: Tensor, what: str) -> None:
    """``actual`` equals ``expected`` bit for bit (NaN equals NaN)."""
    if actual.shape != expected.shape:
        raise Violation(f"{what} has shape {tuple(actual.shape)}, expected {tuple(expected.shape)}")
    differs = (actual != expected) & ~((actual != actual) & (expected != expected))
    if differs.any():
        where = tuple(int(i) for i in differs.nonzero()[0])
        raise Violation(
            f"{what} at {_at(where)} is {actual[where].item()}, expected exactly "
            f"{expected[where].item()}"
        )


def at_most(actual: Any, bound: Any, slack: float | Tensor, what: str) -> None:
    """``actual <= bound + slack``, entry by entry."""
    a = _double(actual)
    b, s = _double(bound).expand(a.shape), _double(slack).expand(a.shape)
    excess = a - b
    ratio = (excess / s.clamp_min(1e-300)).nan_to_num(nan=math.inf, posinf=math.inf)
    if ratio.numel() == 0:
        return
    worst = int(ratio.flatten().argmax())
    _spend(max(float(ratio.flatten()[worst]), 0.0))
    if ratio.flatten()[worst] > 1:
        where = tuple(int(i) for i in torch.unravel_index(torch.tensor(worst), a.shape))
        raise Violation(
            f"{what}{' at ' + _at(where) if where else ''} is {_show(float(a.flatten()[worst]))}, "
            f"which must not exceed {_show(float(b.flatten()[worst]))} "
            f"(slack {float(s.flatten()[worst]):.3g})"
        )


def at_least(actual: Any, bound: Any, slack: float | Tensor, what: str) -> None:
    """``actual >= bound - slack``, entry by entry."""
    a = _double(actual)
    b, s = _double(bound).expand(a.shape), _double(slack).expand(a.shape)
    short = (a + s < b) | a.isnan()
    if short.any():
        where = tuple(int(i) for i in short.nonzero()[0])
        raise Violation(
            f"{what}{' at ' + _at(where) if where else ''} is {_show(float(a[where]))}, "
            f"which must not fall below {_show(float(b[where]))} (slack {float(s[where]):.3g})"
        )
    if a.numel():
        _spend(max(float(((b - a) / s.clamp_min(1e-300)).max()), 0.0))


def _at(where: tuple[int, ...]) -> str:
    return "[" + ", ".join(map(str, where)) + "]"
