r"""What the pictures have in common: colours, sizes, and a few things that matplotlib lacks.

A colour here is a name: ``svg`` replaces it by a property of the page, which has one value on a
light background and another on a dark one. Lines also differ in their style, never in colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "BLUE",
    "GREEN",
    "GREY",
    "INK",
    "ORANGE",
    "PAPER",
    "PURPLE",
    "SETTINGS",
    "arrows",
    "board",
    "cells",
    "density",
    "heading",
    "panels",
    "power",
    "say",
]

INK, PAPER = "#000000", "#fefefe"
BLUE, ORANGE, GREEN, PURPLE, GREY = "#1f62b0", "#b3500b", "#177a45", "#7a3fc0", "#646b76"

WIDTH = 7.2  # inches, of every picture

SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "genspec",
    "path.simplify_threshold": 0.2,
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "legend.handlelength": 2.6,
    "figure.constrained_layout.h_pad": 0.06,
    "figure.constrained_layout.w_pad": 0.06,
}


def panels(rows: int, columns: int, height: float, **options: Any) -> tuple[Figure, list[Axes]]:
    """A figure of the common width, and its axes row by row."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False, **options).flat)


def say(axes: Axes, x: float, y: float, text: str, colour: str = INK, **options: Any) -> None:
    """Words at a place of the data."""
    axes.text(x, y, text, color=colour, **{"ha": "left", "va": "center", **options})


def power(number: float) -> str:
    """The size of a small number, to be read aloud."""
    return f"about 10 to the power {round(math.log10(number))}" if number else "zero"


def heading(axes: Axes, title: str, below: str = "") -> None:
    """A title, and a plain line under it."""
    axes.set_title(title, pad=17 if below else 6)
    if below:
        axes.annotate(
            below, (0, 1), (0, 5), xycoords="axes fraction", textcoords="offset points", va="bottom"
        )


def board(axes: Axes, rows: int, columns: int) -> None:
    """Axes for a grid of cells: row 0 on top, no scales."""
    axes.set(xlim=(-0.55, columns - 0.45), ylim=(rows - 0.45, -0.55), aspect="equal")
    axes.set_axis_off()
    axes.set_anchor("NW")


def cells(
    axes: Axes, where: Tensor, colour: str, *, fill: float = 1.0, mark: str = "", line: float = 0.0
) -> None:
    """Squares where a Boolean matrix is true: filled, outlined, or with a mark in each.

    Args:
        fill: opacity of the inside.
        mark: ``"x"`` crosses the cell out, ``"o"`` puts a dot in it.
        line: width of the outline, 0 for none.
    """
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    places = where.nonzero().tolist()
    if not places:
        return
    half = 0.44 if line == 0 else 0.41
    corners = [(-half, -half), (half, -half), (half, half), (-half, half), (0, 0)]
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY]
    points = [(c + dx, r + dy) for r, c in places for dx, dy in corners]
    path = Path(points, codes * len(places))
    patch = PathPatch(path, facecolor=colour, alpha=fill, linewidth=0)
    if fill:
        axes.add_patch(patch)
    if line:
        axes.add_patch(PathPatch(path, fill=False, edgecolor=colour, linewidth=line))
    if mark == "x":
        d = 0.2
        ends = [(-d, -d), (d, d), (-d, d), (d, -d)]
        points = [(c + dx, r + dy) for r, c in places for dx, dy in ends]
        cross = Path(points, [Path.MOVETO, Path.LINETO] * (2 * len(places)))
        axes.add_patch(PathPatch(cross, fill=False, edgecolor=colour, linewidth=1.3))
    elif mark == "o":
        rows, columns = zip(*places, strict=True)
        axes.plot(columns, rows, "o", color=PAPER, markersize=4, markeredgewidth=0)


def arrows(axes: Axes, places: Tensor, steps: Tensor, colour: str, head: float = 0.25) -> None:
    """An arrow at each place (N, 2), which is its middle; ``head`` is a share of its length."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    tips, tails = places + steps / 2, places - steps / 2
    across = torch.stack([-steps[:, 1], steps[:, 0]], 1)
    left, right = (tips - head * steps + side * 0.6 * head * across for side in (1, -1))
    points = torch.stack([tails, tips, left, tips, right], 1).flatten(0, 1)
    codes = [Path.MOVETO, Path.LINETO, Path.MOVETO, Path.LINETO, Path.LINETO] * len(places)
    axes.add_patch(PathPatch(Path(points, codes), fill=False, edgecolor=colour, linewidth=0.9))


def density(
    axes: Axes, x: Tensor, y: Tensor, values: Tensor, colour: str, levels: Sequence[float]
) -> None:
    """Regions of high values, the darker the higher: one colour at several opacities."""
    opacities = torch.linspace(0.1, 0.55, len(levels)).tolist()
    tops = [*levels[1:], float(values.max()) + 1]
    for low, high, opacity in zip(levels, tops, opacities, strict=True):
        axes.contourf(x, y, values, levels=[low, high], colors=[colour], alpha=opacity)
