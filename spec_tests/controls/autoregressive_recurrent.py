r"""Unusual but right PixelRNNs: other cells, other borders, other ways around the loop.

Most are the networks that the mutants of this name spoil, spoilt in a way that does no harm.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spec_tests.mutants.autoregressive_recurrent import _DiagonalBiLSTM, _RowLSTM
from spec_tests.registry import Unsupported, control


@control("autoregressive_model")
def row_lstm_that_begins_with_what_it_learnt(config: Any) -> Any:
    """The first row hears learnt states in place of zeros, and learnt pixels beyond the borders."""

    class Learnt(_RowLSTM):
        def extra(self) -> None:
            super().extra()
            self.first_row = nn.Parameter(torch.randn(2, self.units, 1))
            self.border = nn.Parameter(torch.randn(self.units, 2))

        def start(self, gates: Tensor) -> tuple[Tensor, Tensor]:
            size = len(gates), self.units, gates.shape[3]
            return self.first_row[0].expand(size), self.first_row[1].expand(size)

        def above(self, hidden: Tensor) -> Tensor:
            left, right = self.border.expand(len(hidden), self.units, 2).split(1, 2)
            return F.conv1d(torch.cat([left, hidden, right], 2), self.state)

    return Learnt(config)


@control("autoregressive_model")
def row_lstm_with_residuals_twice(config: Any) -> Any:
    """The input of a layer is added to it twice: other features of the same past."""

    class Twice(_RowLSTM):
        layers = 2

        @property
        def receptive_field(self) -> Tensor:
            past, up, right, _ = self.relative()
            return past & (right <= up) & (right >= -3 - up)

        def hidden(self, f: Tensor) -> Tensor:
            self.input = f
            return super().hidden(f)

        def flat(self, x: Tensor, y: Tensor | None) -> Tensor:
            widen = self.widen.forward
            self.widen.forward = lambda hidden: self.input + widen(hidden)
            try:
                return super().flat(x, y)
            finally:
                del self.widen.forward, self.input

    return Twice(config)


@control("autoregressive_model")
def scans_that_share_their_states(config: Any) -> Any:
    """The second scan begins a row with what the first knew at its end: it is moved down, so that the
    row that hears of it is the next."""

    class Shared(_DiagonalBiLSTM):
        def hidden(self, f: Tensor) -> Tensor:
            left, state = self.scan(self.gates(f), 0, self.start(f))
            right, _ = self.scan(self.right_gates(f).flip(3), 1, state)
            return left + self.down(self.mirrored(right))

    return Shared(config)


@control("autoregressive_model")
def diagonals_in_raster_order(config: Any) -> Any:
    """No skewing: pixel after pixel in two loops, and zeros where a neighbour is no pixel."""

    class Loops(_DiagonalBiLSTM):
        def scan(self, gates: Tensor, which: int, start: Any) -> tuple[Tensor, Any]:
            zero = start[0][:, :, 0]
            above, beside = self.states[which].unbind(2)
            states: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
            for r, c in product(range(gates.shape[2]), range(gates.shape[3])):
                up, _ = states.get((r - 1, c), (zero, zero))
                left, memory = states.get((r, c - 1), (zero, zero))
                total = gates[:, :, r, c] + up @ above.T + left @ beside.T
                hidden, memory = self.update(total[..., None], memory[..., None])
                states[r, c] = hidden[..., 0], memory[..., 0]
            found = torch.stack([hidden for hidden, _ in states.values()], 2)
            return found.unflatten(2, gates.shape[2:]), start

    return Loops(config)


@control("autoregressive_model")
def bilstm_of_the_pixel_before(config: Any) -> Any:
    """The image moved on by one pixel in raster order, in place of a masked convolution: at the
    beginning of a row the end of the row above is the very pixel seen, so all of the past is."""
    if config.event_shape[0] != 1:
        raise Unsupported("grey images only")

    class Moved(_DiagonalBiLSTM):
        @property
        def receptive_field(self) -> Tensor:
            return self.relative()[0]

        def begin(self, x: Tensor) -> Tensor:
            before = F.pad(x.flatten(1)[:, :-1], (1, 0)).view(x.shape)
            scaled = 2 * before.to(self.bias.dtype) / (self.levels - 1) - 1
            wide = self.first.bias.shape[0]
            return scaled * self.first.weight[:, :1, 0, 0].view(wide, 1, 1)

    return Moved(config)


@control("autoregressive_model")
def gated_unit_for_each_row(config: Any) -> Any:
    """A GRU whose steps are whole rows, fully connected: no convolution, no word of what it sees."""
    if len(config.event_shape) != 3:
        raise Unsupported("images only")
    channels, _, width = config.event_shape

    class Rows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            entries = width * channels
            self.rows = nn.GRUCell(entries, 9)
            self.start = nn.Embedding(max(config.num_classes, 1), 9)
            self.inside = nn.Parameter(torch.randn(entries, 7, entries) / entries**0.5)
            self.below = nn.Linear(9, entries * 7)
            self.last = nn.Parameter(torch.randn(entries, config.levels, 7))

        def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            label = torch.zeros(len(x), dtype=torch.long, device=x.device) if y is None else y
            state, found = self.start(label), []
            for row in x.permute(2, 0, 3, 1).flatten(2).to(self.last.dtype):  # pixel by pixel
                weight = self.inside * torch.ones_like(self.inside[:, 0]).tril(-1)[:, None]
                inside = torch.einsum("ohi,ni->noh", weight, row)
                features = (inside + self.below(state).unflatten(1, (-1, 7))).tanh()
                found.append(torch.einsum("okh,noh->nko", self.last, features))
                state = self.rows(row, state)
            return torch.stack(found, 2).unflatten(3, (width, channels)).movedim(4, 2)

    return Rows()
