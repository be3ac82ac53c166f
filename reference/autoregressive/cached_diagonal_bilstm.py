r"""Fast sampling from the diagonal BiLSTM: the states of drawn pixels are kept, one is computed.

.. code-block:: text

    kept:   scan from the left    a a a a a      scan from the right    s s s s s
                                  l l o . .      (full rows alone)          o

The scan from the left goes on to o from a, above it, and l. What the scan from the right knows at o,
moved down a row, is s; when a row is full that scan runs over it, from its end back to its beginning.
"""

from __future__ import annotations

__all__ = ["DiagonalBiLSTMCache"]

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from reference.autoregressive.conv_lstm import ConvLSTMCell
from reference.autoregressive.diagonal_bilstm import DiagonalBiLSTM

if TYPE_CHECKING:
    from jaxtyping import Float, Int


class _Scan:
    """The states of one scan, hidden and memory, (N, h, 1) each; zero outside of the image."""

    def __init__(self, zero: Float[Tensor, "n h one"]) -> None:
        self.zero = zero
        self.states: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def at(self, row: int, column: int) -> tuple[Tensor, Tensor]:
        return self.states.get((row, column), (self.zero, self.zero))

    def step(self, cell: ConvLSTMCell, gates: Tensor, row: int, column: int, back: int) -> None:
        """Go on to a pixel from the one above it and the one `back` of it."""
        hidden, memory = self.at(row, column + back)
        neighbours = torch.cat([self.at(row - 1, column)[0], hidden], dim=2)
        self.states[row, column] = cell(gates.flatten(2), neighbours, memory)


class DiagonalBiLSTMCache:
    r"""The states of both scans of every layer so far, for `cached_sample` and `cached_complete`.

    .. math::

        \ell_{r,c} = f(x \text{ within } a;\; \overrightarrow{h}_{r-1,c},\,
            \overrightarrow{h}_{r,c-1},\, \overrightarrow{c}_{r,c-1},\, \overleftarrow{h}_{r-1,c})

    A draw costs each scan one step, of a pixel, where the naive sampler takes H + W - 1, of a
    diagonal. A pixel's states that its last draw leaves are final: none of its features depends on
    its own last colour.

    Paper: Pixel Recurrent Neural Networks (van den Oord, Kalchbrenner, Kavukcuoglu, 2016),
    Section 3.2, https://arxiv.org/abs/1601.06759
    Claims: theory.recurrent_sampler_is_naive, autoregressive_model.sampler_matches_density,
    autoregressive_model.sampling_is_ancestral
    Differs: the paper does not say how it samples.

    Args:
        model: whose weights are used.
        n: how many images.
        y: (N,), long, given when there are classes.

    >>> DiagonalBiLSTMCache(DiagonalBiLSTM.tiny(), 7).logits(0, 0).shape
    torch.Size([7, 2, 3])
    """

    def __init__(self, model: DiagonalBiLSTM, n: int, y: Int[Tensor, " n"] | None = None) -> None:
        self.model, self.y, (c, h, w) = model, y, model.event_shape
        weight = model.first.weight  # of 2h features
        self.blank = torch.zeros(n, c, h, w, dtype=torch.long, device=weight.device)
        self.image = self.blank.clone()
        zero = weight.new_zeros(n, len(weight) // 2, 1)
        self.left = [_Scan(zero) for _ in model.layers]
        self.right = [_Scan(zero) for _ in model.layers]
        self.inputs: list[dict[int, Tensor]] = [{} for _ in model.layers]  # of this row

    @torch.no_grad()
    def logits(self, row: int, column: int) -> Float[Tensor, "n k c"]:
        """Go on to this pixel, keep its states, and read its conditionals off."""
        f = self._first(row, column)
        layer: Any  # a DiagonalBiLSTMLayer, which nn.ModuleList does not know
        kept = zip(self.model.layers, self.left, self.right, self.inputs, strict=True)
        for layer, left, right, inputs in kept:
            inputs[column] = f
            left.step(layer.left_cell, layer.left_gates(f), row, column, back=-1)
            seen = left.at(row, column)[0] + right.at(row - 1, column)[0]
            f = f + layer.widen(seen[..., None])
        if column == self.blank.shape[3] - 1:
            self._end_row(row)
        return self.model.head(f)[..., 0, 0]

    def _first(self, row: int, column: int) -> Float[Tensor, "n f 1 1"]:
        """The first layer's features, from the pixels in its reach."""
        margin = self.model.first.kernel_size[0] // 2
        top, left = max(row - margin, 0), max(column - margin, 0)
        window = self.image[:, :, top : row + 1, left : column + margin + 1]
        return self.model.embed(window, self.y)[:, :, row - top, column - left, None, None]

    def _end_row(self, row: int) -> None:
        """Run the scan from the right over a full row."""
        layer: Any
        for layer, right, inputs in zip(self.model.layers, self.right, self.inputs, strict=True):
            for column in sorted(inputs, reverse=True):
                gates = layer.right_gates(inputs[column])
                right.step(layer.right_cell, gates, row, column, back=1)

    def record(self, row: int, column: int, pixel: Int[Tensor, "n c"]) -> None:
        """Show it to the steps to come."""
        self.image[:, :, row, column] = pixel
