r"""What autoregressive models see: receptive fields, the masks that make them, levels of grey."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pictures.registry import Drawing, picture
from pictures.style import BLUE, GREY, INK, ORANGE, board, cells, heading, panels, say
from reference.autoregressive import (
    DiagonalBiLSTM,
    GatedPixelCNN,
    ImageTransformer,
    PixelCNN,
    RowLSTM,
    discretized_logistic,
    made_degrees,
    made_masks,
    made_receptive_field,
    raster_mask,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = 7, 11


def _measured(model: torch.nn.Module, at: int) -> Tensor:
    """Which pixels the logits of one change with, when each is changed in turn."""
    model = model.double()
    d = SIZE[0] * SIZE[1]
    seen = torch.zeros(d, dtype=torch.bool)
    for _ in range(3):  # images, so that no path is missed because a unit happens to be off
        images = torch.randint(2, (d,)).repeat(d + 1, 1)
        images[torch.arange(d) + 1, torch.arange(d)] ^= 1
        with torch.no_grad():
            logits = model.logits(images.view(-1, 1, *SIZE)).flatten(2)[..., at]
        seen |= (logits[1:] - logits[0]).abs().amax(1) > 1e-12
    return seen.view(SIZE)


@picture(
    "Receptive fields",
    family="autoregressive",
    claims=[
        "theory.blind_spot",
        "theory.gated_pixelcnn_has_no_blind_spot",
        "theory.row_lstm_triangle",
        "theory.diagonal_bilstm_field",
        "theory.local_layers_reach_further",
        "theory.local_pattern",
        "autoregressive_model.uses_the_allowed_past",
        "autoregressive_model.causality",
    ],
)
def receptive_fields() -> Drawing:
    """What one pixel, the dot, sees of those drawn before it: measured by changing every pixel."""
    event, at = (1, *SIZE), 5 * SIZE[1] + 5
    models = {
        "PixelCNN": PixelCNN(event, 2, blocks=3, first_kernel=3),
        "Gated PixelCNN": GatedPixelCNN(event, 2, layers=3, first_kernel=3),
        "Row LSTM": RowLSTM(event, 2, layers=1, first_kernel=3),
        "Diagonal BiLSTM": DiagonalBiLSTM(event, 2, layers=1, first_kernel=3),
        "Local attention, 1-D": ImageTransformer(event, 2, block=11, layers=1),
        "Local attention, 2-D": ImageTransformer(event, 2, block=(2, 4), halo=(2, 3), layers=1),
    }
    figure, axes = panels(2, 3, 4.0)
    counts = []
    for panel, (name, model) in zip(axes, models.items(), strict=True):
        board(panel, *SIZE)
        order = getattr(model, "order", torch.arange(SIZE[0] * SIZE[1]))
        rank = order.argsort().view(SIZE)
        past, here = rank < rank.flatten()[at], rank == rank.flatten()[at]
        seen = _measured(model, at)
        cells(panel, ~past & ~here, GREY, fill=0.12)
        cells(panel, past & ~seen, ORANGE, fill=0, line=0.8, mark="x")
        cells(panel, seen, BLUE)
        cells(panel, here, INK, mark="o")
        counts.append(f"{name} {int(seen.sum())} of {int(past.sum())}")
        heading(panel, name, f"sees {int(seen.sum())} of the {int(past.sum())} drawn before")
    alt = (
        "Six grids of 7 by 11 pixels with one pixel to be predicted; the pixels that it depends on "
        f"are filled, earlier pixels that it misses are crossed out. It sees: {', '.join(counts)}."
    )
    return Drawing(figure, alt)


def _matrix(panel: Axes, mask: Tensor, size: int, title: str, below: str) -> None:
    """A mask, in a square of ``size`` cells."""
    board(panel, size, size)
    cells(panel, ~mask, GREY, fill=0.18)
    cells(panel, mask, BLUE)
    heading(panel, title, below)


def _names(panel: Axes, rows: list[object], columns: list[object]) -> None:
    """Names to the left of the rows and under the columns."""
    for place, name in enumerate(rows):
        say(panel, -0.8, place, str(name), ha="right", size=8)
    for place, name in enumerate(columns):
        say(panel, place, len(rows) - 0.45, str(name), ha="center", va="top", size=8)


@picture(
    "Masks",
    family="autoregressive",
    claims=[
        "masked_conv2d.causality",
        "theory.made_masks",
        "theory.masks_compose",
        "masked_conv2d.uses_the_allowed_past",
        "theory.made_with_fixed_order_reaches_every_past",
    ],
)
def masks() -> Drawing:
    """Weights that are kept, filled: of masked convolutions (above) and of MADE (below)."""
    figure, axes = panels(2, 4, 4.4)
    for panel, kind in zip(axes[:2], ("A", "B"), strict=True):
        taps = raster_mask(1, 1, 5, kind)[0, 0]
        _matrix(panel, taps, 5, f"Type {kind}, 5 × 5", f"keeps {int(taps.sum())} of 25")
    for panel, kind in zip(axes[2:4], ("A", "B"), strict=True):
        taps = raster_mask(3, 3, 1, kind, data_channels=3)[:, :, 0, 0]
        _matrix(panel, taps, 5, f"Type {kind}, centre", f"colours; keeps {int(taps.sum())} of 9")
        _names(panel, ["R", "G", "B"], ["R", "G", "B"])
    degrees = made_degrees(torch.arange(5), (8, 8), torch.Generator().manual_seed(4))
    whole = made_receptive_field(degrees)
    for panel, mask, name, ends in zip(
        axes[4:],
        [*made_masks(degrees), whole],
        ["MADE, layer 1", "layer 2", "output", "product"],
        [(1, 0), (2, 1), (0, 2), (0, 0)],
        strict=True,
    ):
        _matrix(panel, mask, 8, name, f"keeps {int(mask.sum())} of {mask.numel()}")
        _names(panel, *(degrees[end].tolist() for end in ends))
    alt = (
        "Above, the 5 by 5 masks of types A and B, which differ in the centre alone, and their "
        "centre taps for red, green and blue, of which A keeps 3 and B keeps 6. Below, MADE's three "
        f"masks with the degrees of their units, and their product, in which all {int(whole.sum())} "
        "entries that are kept lie below the diagonal."
    )
    return Drawing(figure, alt)


@picture(
    "A logistic in bins",
    name="discretized_logistic",
    family="autoregressive",
    claims=[
        "discretized_logistic_mixture.edges_take_tails",
        "discretized_logistic_mixture.matches_cdf_differences",
        "discretized_logistic_mixture.normalised",
        "theory.mixture_output_is_ordinal",
    ],
)
def logistic_bins() -> Drawing:
    """Probabilities of eight levels (bars) and the logistic that is rounded to them (line)."""
    levels, k = 8, torch.arange(8)
    places = 2 * k / (levels - 1) - 1
    figure, axes = panels(1, 2, 2.6, sharey=True)
    told = []
    for panel, mean, scale in zip(axes, (0.1, 0.85), (0.22, 0.22), strict=True):
        of = torch.tensor(mean).expand(levels), torch.tensor(scale).log().expand(levels)
        p = discretized_logistic(k, *of, levels).exp()
        x, half = torch.linspace(-1.6, 1.9, 200), 1 / (levels - 1)
        s = ((x - mean) / scale).sigmoid()
        curve = s * (1 - s) / scale * 2 * half  # density times the width of a bin
        inner = (k > 0) & (k < levels - 1)
        for where, colour in ((inner, BLUE), (~inner, ORANGE)):
            panel.bar(
                places[where].tolist(),
                p[where].tolist(),
                width=1.8 * half,
                color=colour,
                alpha=0.75,
            )
        panel.fill_between(
            x, curve, where=x.abs() > 1 + half, color=ORANGE, alpha=0.25, linewidth=0
        )
        panel.plot(x, curve, color=INK, linewidth=1.2)
        for end, side in ((0, "right"), (levels - 1, "left")):
            above = max(float(p[end]), float(curve[(x - places[end]).abs().argmin()])) + 0.04
            say(panel, places[end], above, f"{p[end]:.3f}", ORANGE, ha=side)
        panel.set(xlabel="level", xlim=(-1.6, 1.9), ylim=(0, 0.62))
        panel.set_xticks(places.tolist(), [str(i) for i in k.tolist()])
        heading(panel, f"mean {mean}, scale {scale}", f"the bars sum to {p.sum():.4f}")
        told.append(f"{p[-1]:.3f} for mean {mean}")
    axes[0].set_ylabel("probability")
    alt = (
        "Bars for the probabilities of eight levels under a discretised logistic, with its density; "
        f"the last level takes the whole upper tail: {' and '.join(told)}. All bars sum to one."
    )
    return Drawing(figure, alt)
