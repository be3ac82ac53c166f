r"""Curves as a small SVG: lines over steps, panel beside panel, on any background.

The colours are of middle lightness, so that they stand out from white paper and from black alike;
the paper itself is left as it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from torch import Tensor

__all__ = ["COLOURS", "Panel", "svg"]

COLOURS = ("#2f7fd6", "#c8661b")
_GREY = "#7d7d7d"
_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 380, 240, 50, 34, 14, 34
_POINTS = 300  # of a line; each is the mean of the steps around it


@dataclass(frozen=True)
class Panel:
    """Lines over the same steps: a title, a name and the values of each line, (steps,)."""

    title: str
    lines: Sequence[tuple[str, Tensor]]
    logarithmic: bool = False


def svg(panels: Sequence[Panel]) -> bytes:
    """The panels from left to right."""
    width = _WIDTH * len(panels)
    body = "".join(
        f'<g transform="translate({_WIDTH * i} 0)">{_panel(panel)}</g>'
        for i, panel in enumerate(panels)
    )
    names = escape("; ".join(panel.title for panel in panels))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_HEIGHT}" '
        f'width="{width}" height="{_HEIGHT}" role="img" aria-label="{names}" '
        f'font-family="sans-serif" font-size="11" fill="{_GREY}">{body}</svg>\n'
    ).encode()


def _panel(panel: Panel) -> str:
    steps = max(len(values) for _, values in panel.lines)
    lines = [(name, *thinned(values)) for name, values in panel.lines]
    if panel.logarithmic:
        lines = [(name, at, values.clamp(1e-6).log10()) for name, at, values in lines]
    everything = [float(v) for _, _, values in lines for v in values]
    low, high, ticks = _scale(everything, panel.logarithmic)

    def across(step: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * step / max(steps, 1)

    def down(value: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * (value - low) / (high - low)

    drawn = [_text(_LEFT, 14, panel.title, "start", 'font-weight="bold"')]
    for tick in ticks:
        y = down(tick)
        drawn.append(
            f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="{_GREY}" stroke-opacity=".3"/>'
        )
        drawn.append(_text(_LEFT - 6, y + 4, _number(tick, panel.logarithmic), "end"))
    for step in (tick for tick in _scale([0, steps])[2] if tick <= steps):
        drawn.append(_text(across(step), _HEIGHT - _BOTTOM + 16, f"{step:.6g}", "middle"))
    drawn.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 4, "step", "middle"))
    for place, (name, at, values) in enumerate(lines):
        colour = COLOURS[place % len(COLOURS)]
        points = " ".join(
            f"{across(float(s)):.1f},{down(float(v)):.1f}" for s, v in zip(at, values, strict=True)
        )
        drawn.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        )
        drawn.append(_text(_LEFT + 90 * place, 28, name, "start", f'style="fill:{colour}"'))
    return "".join(drawn)


def thinned(values: Tensor) -> tuple[Tensor, Tensor]:
    """Steps and values of at most some hundreds of points, each the mean of its neighbours."""
    size = math.ceil(len(values) / _POINTS)
    chunks = [chunk for chunk in values.split(max(size, 1)) if len(chunk)]
    means = values.new_tensor([float(chunk.mean()) for chunk in chunks])
    middles = [size * i + (len(chunk) + 1) / 2 for i, chunk in enumerate(chunks)]
    return values.new_tensor(middles), means


def _scale(values: list[float], whole: bool = True) -> tuple[float, float, list[float]]:
    """The ends of the axis, and its ticks: round numbers, or whole ones."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    span = max(high - low, 1e-3)
    unit = 10.0 ** math.floor(math.log10(span / 2))
    unit *= next(m for m in (1, 2, 5, 10) if span / (m * unit) <= 5)
    unit = max(unit, 1.0) if whole else unit
    first = math.floor(low / unit)
    last = max(math.ceil(high / unit), first + 1)
    return first * unit, last * unit, [tick * unit for tick in range(first, last + 1)]


def _number(tick: float, logarithmic: bool) -> str:
    return f"{10**tick:g}" if logarithmic else f"{tick:.6g}"


def _text(x: float, y: float, text: str, anchor: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{escape(text)}</text>'
