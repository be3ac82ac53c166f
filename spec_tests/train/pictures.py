r"""A picture of what a model draws, in rows; a kind of model has those that it can fill.

.. code-block:: text

    held out   [ ][ ][ ]...     images that the model has not seen
    rebuilt    [ ][ ][ ]...     what comes back from their codes
    known      [ ][ ][ ]...     their upper halves, which the model is told
    completed  [ ][ ][ ]...     its continuation of each
    completed  [ ][ ][ ]...     and another one
    samples    [ ][ ][ ]...     its own, from nothing
    samples    [ ][ ][ ]...
    between    [ ][ ][ ]...     along a line from code to code, or along one coordinate
"""

from __future__ import annotations

import io
from collections.abc import Callable

import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from spec_tests.train.data import Data, Part
from spec_tests.train.loop import Training
from spec_tests.train.views import Row

__all__ = ["portrait", "showcase", "top_half"]

Draw = Callable[[nn.Module, Tensor, torch.Generator], list[Row]]

_MARGIN, _GAP, _INK, _PAPER, _UNKNOWN = 74, 4, (60, 60, 60), (255, 255, 255), (150, 170, 200)


def top_half(event_shape: tuple[int, int, int]) -> Tensor:
    """True where a completion is given the image."""
    known = torch.zeros(event_shape, dtype=torch.bool)
    known[:, : event_shape[1] // 2] = True
    return known


def showcase(
    data: Data,
    columns: int,
    sample: Callable[[Tensor], Tensor] | None = None,
    complete: Callable[[Part], Tensor] | None = None,
    reconstruct: Callable[[Tensor], list[Row]] | None = None,
    traverse: Callable[[Tensor], list[Row]] | None = None,
) -> list[Row]:
    """The rows of the picture, given how to draw from labels, to complete and to rebuild images."""
    part = _first_of_each_label(data, columns)
    x = part.x.long()
    rows = [("held out", x)]
    if reconstruct:
        rows += reconstruct(x)
    if complete:
        known = torch.where(top_half(data.event_shape), x, -1)
        twice = complete(part.at(torch.arange(columns).repeat(2)))  # one pass for both rows
        rows += [("known", known), *(("completed", half) for half in twice.split(columns))]
    if sample:
        drawn = sample((torch.arange(columns) % data.num_classes).repeat(2))
        rows += [("samples", half) for half in drawn.split(columns)]
    return [*rows, *(traverse(x) if traverse else [])]


def _first_of_each_label(data: Data, columns: int) -> Part:
    """Held-out images with the labels 0, 1, ... in turn, so far as there are such."""
    held_out = data.held_out
    places = [
        ((held_out.y == label % data.num_classes).nonzero()[:, 0], label // data.num_classes)
        for label in range(columns)
    ]
    chosen = [int(at[turn]) if len(at) > turn else 0 for at, turn in places]
    return held_out.at(torch.tensor(chosen))


@torch.no_grad()
def portrait(training: Training, data: Data, columns: int) -> bytes:
    """The PNG of a model with the weights that it has now."""
    model, family, device = training.model.eval(), training.family, training.device
    generator = torch.Generator(device).manual_seed(training.recipe.seed)

    def label(y: Tensor) -> Tensor | None:
        return y.to(device) if training.classes else None

    def sample(y: Tensor) -> Tensor:
        assert family.sample is not None
        return family.sample(model, len(y), label(y), generator).cpu()

    def complete(part: Part) -> Tensor:
        assert family.complete is not None
        known = top_half(data.event_shape).to(device)
        x, y = part.x.long().to(device), label(part.y)
        return family.complete(model, x, known, y, generator).cpu()

    def rows_of(draw: Draw | None) -> Callable[[Tensor], list[Row]] | None:
        if draw is None:
            return None
        return lambda x: [(name, row.cpu()) for name, row in draw(model, x.to(device), generator)]

    rows = showcase(
        data,
        columns,
        sample if family.sample else None,
        complete if family.complete else None,
        rows_of(family.reconstruct),
        rows_of(family.traverse),
    )
    return png(rows, data.levels)


def png(rows: list[Row], levels: int) -> bytes:
    """Rows of images with a name before each."""
    n, _, height, width = rows[0][1].shape
    zoom = max(1, round(48 / max(height, width)))
    tall, wide = height * zoom + _GAP, width * zoom + _GAP
    sheet = Image.new("RGB", (_MARGIN + n * wide, len(rows) * tall + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for down, (name, images) in enumerate(rows):
        top = down * tall + _GAP
        draw.text((6, top + tall / 2 - 8), name, fill=_INK)
        for right, image in enumerate(images):
            picture = _picture(image, levels).resize(
                (width * zoom, height * zoom), Image.Resampling.NEAREST
            )
            sheet.paste(picture, (_MARGIN + right * wide, top))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _picture(image: Tensor, levels: int) -> Image.Image:
    """(C, H, W) levels, C 1 or 3, as a picture; what is -1 is shown as unknown."""
    light = (image.clamp(0) * 255 / max(levels - 1, 1)).round().expand(3, -1, -1)
    unknown = torch.tensor(_UNKNOWN).view(3, 1, 1).to(light)
    shown = torch.where(image < 0, unknown, light)
    return Image.fromarray(shown.to(torch.uint8).permute(1, 2, 0).contiguous().numpy())
