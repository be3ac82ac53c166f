r"""Known-wrong PixelRNNs: recurrences that run into the future, or forget what they may know.

Two small right networks, a row LSTM and a diagonal BiLSTM, document what they see; each mutant
replaces one method of them.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spec_tests.contracts.theory import Pieces
from spec_tests.mutants.autoregressive import _Convolution, _mask, _Network, _places, _raster
from spec_tests.registry import Unsupported, mutant

_M = "autoregressive_model."
_CAUSAL, _USES = _M + "causality", _M + "uses_the_allowed_past"
_ANCESTRAL = _M + "sampling_is_ancestral"

# Two right networks ------------------------------------------------------------------------------


class _PixelRNN(_Network):
    """A mask-A convolution of 3 x 3, recurrent layers of the same weights, and a 1 x 1 head."""

    layers, kernel = 1, 1

    def __init__(self, config: Any) -> None:
        if len(config.event_shape) != 3:
            raise Unsupported("images only")
        nn.Module.__init__(self)
        channels, k = config.event_shape[0], config.levels
        self.config, self.channels, self.levels = config, channels, k
        self.size, self.units = len(_raster(config.event_shape)), 2 * channels
        wide = 2 * self.units
        self.first = self.masked(channels, wide, 3, "A")
        self.gates = self.masked(wide, 4 * self.units, self.kernel, "B")
        self.widen = self.masked(self.units, wide, 1, "B")
        self.head = self.masked(wide, channels * k, 1, "B")
        self.bias = nn.Parameter(torch.randn(max(config.num_classes, 1), wide))
        self.extra()

    def extra(self) -> None:
        """Further parameters."""

    def masked(self, inputs: int, outputs: int, kernel: int, mask_type: str) -> _Convolution:
        settings = SimpleNamespace(
            in_channels=inputs, out_channels=outputs, kernel_size=kernel, mask_type=mask_type,
            data_channels=self.channels,
        )  # fmt: skip
        mask = _mask(settings)
        if mask_type == "B":
            mask[:, :, : kernel // 2] = 0  # along the row alone
        return _Convolution(settings, mask)

    def update(self, gates: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """The LSTM: four gates of each colour."""
        by_colour = gates.unflatten(1, (self.channels, 4, -1))
        o, f, i, g = (gate.flatten(1, 2) for gate in by_colour.unbind(2))
        memory = f.sigmoid() * memory + i.sigmoid() * g.tanh()
        return o.sigmoid() * memory.tanh(), memory

    def hidden(self, f: Tensor) -> Tensor:
        """The states ``(N, units, H, W)`` of one layer."""
        raise NotImplementedError

    def begin(self, x: Tensor) -> Tensor:
        return self.first(2 * x.to(self.bias.dtype) / (self.levels - 1) - 1)

    def flat(self, x: Tensor, y: Tensor | None) -> Tensor:
        f = self.begin(x) + self.bias[self.labels(x, y)][:, :, None, None]
        for _ in range(self.layers):
            f = f + self.widen(self.hidden(f))
        found = self.head(f.tanh()).unflatten(1, (self.channels, self.levels))
        return found.permute(0, 1, 3, 4, 2).flatten(1, 3)  # (N, D, K)

    def relative(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """For each pair of entries: whether past, rows up, columns right; and columns."""
        rank = torch.tensor(_raster(self.config.event_shape)).argsort()
        row, column = _places(self.config.event_shape, self.size)
        up, right = row[:, None] - row[None], column[None] - column[:, None]
        return rank[None] < rank[:, None], up, right, column


class _RowLSTM(_PixelRNN):
    kernel = 3

    def extra(self) -> None:
        self.state = nn.Parameter(torch.randn(4 * self.units, self.units, 3))

    @property
    def receptive_field(self) -> Tensor:
        past, up, right, _ = self.relative()
        return past & (right <= up) & (right >= -2 - up)

    def above(self, hidden: Tensor) -> Tensor:
        """What the row above says to a row's gates."""
        return F.conv1d(hidden, self.state, padding=1)

    def start(self, gates: Tensor) -> tuple[Tensor, Tensor]:
        zeros = gates.new_zeros(len(gates), self.units, gates.shape[3])
        return zeros, zeros

    def rows(self, height: int) -> range:
        return range(height)

    def hidden(self, f: Tensor) -> Tensor:
        gates = self.gates(f)
        hidden, memory = self.start(gates)
        found = {}
        for r in self.rows(gates.shape[2]):
            hidden, memory = self.update(gates[:, :, r] + self.above(hidden), memory)
            found[r] = hidden
        self.end(hidden, memory)
        return torch.stack([found[r] for r in range(gates.shape[2])], 2)

    def end(self, hidden: Tensor, memory: Tensor) -> None:
        """Nothing is kept."""


class _DiagonalBiLSTM(_PixelRNN):
    def extra(self) -> None:
        self.right_gates = self.masked(2 * self.units, 4 * self.units, 1, "B")
        self.states = nn.Parameter(torch.randn(2, 4 * self.units, self.units, 2))

    @property
    def receptive_field(self) -> Tensor:
        past, up, right, column = self.relative()
        width, last = self.config.event_shape[2], torch.arange(self.size) * self.channels
        end = (up == 1) & ((column[:, None] + right) == width - 1)
        missing = end & (column[:, None] + 1 < width - 1)
        return past & ~(missing & (last // self.size == self.channels - 1)[None])

    def skew(self, x: Tensor) -> Tensor:
        height = x.shape[2]
        rows = [F.pad(row, (r, height - 1 - r)) for r, row in enumerate(x.unbind(2))]
        return torch.stack(rows, 2)

    def unskew(self, s: Tensor) -> Tensor:
        width = s.shape[3] - s.shape[2] + 1
        return torch.stack([row[:, :, r : r + width] for r, row in enumerate(s.unbind(2))], 2)

    def before(self, hidden: Tensor, which: int) -> Tensor:
        """What the diagonal before says: the pixel above and the pixel beside."""
        return F.conv1d(F.pad(hidden, (1, 0)), self.states[which])

    def scan(
        self, gates: Tensor, which: int, start: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        (hidden, memory), found = start, []
        for diagonal in self.skew(gates).unbind(3):
            hidden, memory = self.update(diagonal + self.before(hidden, which), memory)
            found.append(hidden)
        return self.unskew(torch.stack(found, 3)), (hidden, memory)

    def start(self, f: Tensor) -> tuple[Tensor, Tensor]:
        zeros = f.new_zeros(len(f), self.units, f.shape[2])
        return zeros, zeros

    def mirrored(self, x: Tensor) -> Tensor:
        return x.flip(3)

    def down(self, right: Tensor) -> Tensor:
        return F.pad(right, (0, 0, 1, 0))[:, :, :-1]

    def hidden(self, f: Tensor) -> Tensor:
        left, _ = self.scan(self.gates(f), 0, self.start(f))
        right, _ = self.scan(self.right_gates(f).flip(3), 1, self.start(f))
        return left + self.down(self.mirrored(right))


# Row LSTMs ---------------------------------------------------------------------------------------


@mutant("autoregressive_model", rejected_by=[_CAUSAL, _M + "normalised"])
def row_lstm_runs_from_the_bottom_row(config: Any) -> Any:
    """The rows in the order of an image whose origin is below: each hears the row that is to come."""

    class Upwards(_RowLSTM):
        def rows(self, height: int) -> range:
            return range(height)[::-1]  # wrong: range(height)

    return Upwards(config)


@mutant("autoregressive_model", rejected_by=[_USES])
def state_to_state_convolution_masked(config: Any) -> Any:
    """Every convolution masked, to be safe: what is above and to the right is past, and not heard."""

    class Masked(_RowLSTM):
        def above(self, hidden: Tensor) -> Tensor:
            seen = hidden.new_tensor([1.0, 1.0, 0.0])  # wrong: all ones, the row above is past
            return F.conv1d(hidden, self.state * seen, padding=1)

    return Masked(config)


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def input_to_state_convolution_unmasked(config: Any) -> Any:
    """The k x 1 convolution along the row was left open: features of the next pixel know this one."""

    class Open(_RowLSTM):
        def extra(self) -> None:
            super().extra()
            self.gates.mask[:, :, 1] = 1  # wrong: 0

    return Open(config)


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def gates_split_across_colours(config: Any) -> Any:
    """``chunk(4)`` of channels that are grouped by colour: R forgets and writes by gates of G and B."""

    class Chunked(_RowLSTM):
        def update(self, gates: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
            o, f, i, g = gates.chunk(4, 1)  # wrong: by colour first
            memory = f.sigmoid() * memory + i.sigmoid() * g.tanh()
            return o.sigmoid() * memory.tanh(), memory

    return Chunked(config)


@mutant("autoregressive_model", rejected_by=[_M + "repeats_itself", _M + "item_by_item"])
def states_kept_between_batches(config: Any) -> Any:
    """A stateful layer that nobody resets: an image begins where the image of the last call ended."""

    class Stateful(_RowLSTM):
        kept: tuple[Tensor, Tensor] | None = None

        def start(self, gates: Tensor) -> tuple[Tensor, Tensor]:
            fresh = super().start(gates)
            same = self.kept is not None and self.kept[0].shape == fresh[0].shape
            return self.kept if same and self.kept else fresh  # wrong: fresh

        def end(self, hidden: Tensor, memory: Tensor) -> None:
            self.kept = hidden.detach(), memory.detach()

    return Stateful(config)


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def second_layer_starts_where_the_first_ended(config: Any) -> Any:
    """States handed on to the next layer, as between pieces of a text: the top hears the bottom row."""

    class Handed(_RowLSTM):
        layers = 2
        kept: tuple[Tensor, Tensor] | None = None

        def start(self, gates: Tensor) -> tuple[Tensor, Tensor]:
            kept, self.kept = self.kept, None
            return super().start(gates) if kept is None else kept

        def end(self, hidden: Tensor, memory: Tensor) -> None:
            self.kept = hidden, memory  # wrong: nothing is kept

        def flat(self, x: Tensor, y: Tensor | None) -> Tensor:
            found = super().flat(x, y)
            self.kept = None
            return found

    return Handed(config)


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def residual_around_the_first_convolution(config: Any) -> Any:
    """Residuals around every layer, the mask-A one included: each pixel's features hold the pixel."""

    class Residual(_RowLSTM):
        def begin(self, x: Tensor) -> Tensor:
            f = super().begin(x)
            return f + x.repeat_interleave(f.shape[1] // self.channels, 1)  # wrong: f

    return Residual(config)


@mutant("autoregressive_model", rejected_by=[_M + "item_by_item"])
def recurrence_runs_over_the_batch(config: Any) -> Any:
    """Time first where the batch is first: each image continues the one before it in the batch."""

    class Batched(_RowLSTM):
        def hidden(self, f: Tensor) -> Tensor:
            gates = self.gates(f).transpose(0, 2)  # wrong: rows stay in place
            hidden, memory = self.start(gates)
            found = []
            for r in range(gates.shape[2]):
                hidden, memory = self.update(gates[:, :, r] + self.above(hidden), memory)
                found.append(hidden)
            return torch.stack(found, 2).transpose(0, 2)

    return Batched(config)


@mutant("autoregressive_model", rejected_by=[_ANCESTRAL])
def sampler_keeps_the_states_of_an_empty_row(config: Any) -> Any:
    """A row's states cached when the row is begun: rows below hear zeros where pixels were drawn."""

    class Early(_RowLSTM):
        def hidden(self, f: Tensor) -> Tensor:
            stale, zeros = getattr(self, "stale", None), self.start(f)
            gates = self.gates(f)
            hidden, memory = zeros
            found = []
            for r in range(gates.shape[2]):
                if stale is not None and r in stale and len(stale) > r + 1:
                    hidden, memory = stale[r]
                else:
                    hidden, memory = self.update(gates[:, :, r] + self.above(hidden), memory)
                    if stale is not None and r not in stale and len(stale) == r:
                        stale[r] = hidden, memory
                found.append(hidden)
            return torch.stack(found, 2)

        def sample(self, n: int, y: Any = None, generator: Any = None) -> Tensor:
            self.stale: dict[int, tuple[Tensor, Tensor]] | None = {}
            x, _ = self.empty(n)
            flat, pixels = x.flatten(1), self.size // self.channels
            for i in self.sequence():
                row = i % pixels // self.config.event_shape[2]
                if len(self.stale) == row:  # wrong: when it is full
                    self.flat(x, y)
                flat[:, i] = self.pick(self.flat(flat.view(x.shape), y)[:, i], generator)
                x = flat.view(x.shape)
            self.stale = None
            return x

    return Early(config)


# Diagonal BiLSTMs --------------------------------------------------------------------------------


@mutant("autoregressive_model", rejected_by=[_CAUSAL, _M + "normalised"])
def second_scan_not_moved_down(config: Any) -> Any:
    """The two scans added as they are: the one from the right has seen the rest of the row."""

    class Level(_DiagonalBiLSTM):
        def down(self, right: Tensor) -> Tensor:
            return right  # wrong: one row lower

    return Level(config)


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def second_scan_moved_up(config: Any) -> Any:
    """Padded below instead of above: each pixel hears the scan that ends in the row below it."""

    class Up(_DiagonalBiLSTM):
        def down(self, right: Tensor) -> Tensor:
            return F.pad(right, (0, 0, 0, 1))[:, :, 1:]  # wrong: zeros in at the top

    return Up(config)


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def second_scan_rolled_down(config: Any) -> Any:
    """``roll`` where zeros must move in: the first row hears the last."""

    class Rolled(_DiagonalBiLSTM):
        def down(self, right: Tensor) -> Tensor:
            return right.roll(1, 2)  # wrong: zeros in the first row

    return Rolled(config)


@mutant("autoregressive_model", rejected_by=[_USES])
def both_scans_moved_down(config: Any) -> Any:
    """The sum is moved down, not the second scan: what lies to the left in its row is hardly seen."""

    class Both(_DiagonalBiLSTM):
        def hidden(self, f: Tensor) -> Tensor:
            left, _ = self.scan(self.gates(f), 0, self.start(f))
            right, _ = self.scan(self.right_gates(f).flip(3), 1, self.start(f))
            return self.down(left + self.mirrored(right))  # wrong: left + self.down(...)

    return Both(config)


@mutant("autoregressive_model", rejected_by=[_USES])
def second_scan_not_mirrored_back(config: Any) -> Any:
    """The scan of the mirrored image is added as it comes: past, but of the wrong columns."""

    class Mirror(_DiagonalBiLSTM):
        def mirrored(self, x: Tensor) -> Tensor:
            return x  # wrong: x.flip(3)

    return Mirror(config)


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def unskewed_one_column_late(config: Any) -> Any:
    """Offsets that count from one on the way back: each pixel gets the states of its successor."""

    class Late(_DiagonalBiLSTM):
        def unskew(self, s: Tensor) -> Tensor:
            return super().unskew(F.pad(s, (0, 1))[..., 1:])  # wrong: s

    return Late(config)


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def skewed_by_rolling(config: Any) -> Any:
    """Rows rolled within the width: their ends come first, and the scan passes them to their start."""

    class Rolled(_DiagonalBiLSTM):
        def skew(self, x: Tensor) -> Tensor:
            rows = [row.roll(r, 2) for r, row in enumerate(x.unbind(2))]  # wrong: padded
            return torch.stack(rows, 2)

        def unskew(self, s: Tensor) -> Tensor:
            return torch.stack([row.roll(-r, 2) for r, row in enumerate(s.unbind(2))], 2)

    return Rolled(config)


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def diagonal_padded_at_the_wrong_end(config: Any) -> Any:
    """The 2 x 1 convolution padded below: it hears the pixel beside and one of the row below."""

    class Below(_DiagonalBiLSTM):
        def before(self, hidden: Tensor, which: int) -> Tensor:
            return F.conv1d(F.pad(hidden, (0, 1)), self.states[which])  # wrong: (1, 0)

    return Below(config)


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def first_scan_starts_where_the_second_ended(config: Any) -> Any:
    """One state variable for both scans, run from the right first: rows begin knowing their end."""

    class Handed(_DiagonalBiLSTM):
        def hidden(self, f: Tensor) -> Tensor:
            right, state = self.scan(self.right_gates(f).flip(3), 1, self.start(f))
            left, _ = self.scan(self.gates(f), 0, state)  # wrong: self.start(f)
            return left + self.down(self.mirrored(right))

    return Handed(config)


# Theory ------------------------------------------------------------------------------------------


@mutant("theory", rejected_by=["theory.skew_unskew"])
def skewed_from_the_bottom_row(pieces: Pieces) -> Pieces:
    """The last row stays and the first is moved furthest: the pixel above lies in a later column."""

    def skew(x: Tensor) -> Tensor:
        height = x.shape[-2]
        offsets = range(height)[::-1]  # wrong: range(height)
        rows = [
            F.pad(row, (r, height - 1 - r)) for r, row in zip(offsets, x.unbind(-2), strict=True)
        ]
        return torch.stack(rows, -2)

    pieces.skew = skew  # type: ignore[attr-defined]
    return pieces


@mutant("theory", rejected_by=["theory.skew_unskew"])
def skewed_as_if_square(pieces: Pieces) -> Pieces:
    """2n - 1 columns, as the paper has them for n x n images, for n the width."""

    def skew(x: Tensor) -> Tensor:
        most = x.shape[-1] - 1  # wrong: x.shape[-2] - 1
        rows = [F.pad(row, (r, most - r)) for r, row in enumerate(x.unbind(-2))]
        return torch.stack(rows, -2)

    pieces.skew = skew  # type: ignore[attr-defined]
    return pieces


@mutant("theory", rejected_by=["theory.skew_unskew"])
def unskewed_from_the_first_column(pieces: Pieces) -> Pieces:
    """Cut to the width without moving the rows back: gaps for pixels."""

    def unskew(s: Tensor) -> Tensor:
        return s[..., : s.shape[-1] - s.shape[-2] + 1]  # wrong: row r from column r on

    pieces.unskew = unskew  # type: ignore[attr-defined]
    return pieces


def _with_cell(layer: Any, names: tuple[str, ...], update: Any) -> Any:
    """The layer class with cells that update by another rule."""

    class Changed(layer):  # type: ignore[misc]
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            for name in names:
                cell = getattr(self, name)
                state, channels = cell.state_to_state, cell.data_channels
                cell.forward = lambda gates, before, memory, state=state, channels=channels: update(
                    gates + state(before), memory, channels
                )

    return Changed


def _four(gates: Tensor, channels: int) -> tuple[Tensor, ...]:
    by_colour = gates.unflatten(1, (channels, 4, -1)).unbind(2)
    return tuple(gate.flatten(1, 2) for gate in by_colour)


def _all_sigmoid(gates: Tensor, memory: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    o, f, i, g = (gate.sigmoid() for gate in _four(gates, channels))
    memory = f * memory + i * g
    return o * memory.tanh(), memory


def _chunked(gates: Tensor, memory: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    o, f, i, g = gates.chunk(4, 1)
    memory = f.sigmoid() * memory + i.sigmoid() * g.tanh()
    return o.sigmoid() * memory.tanh(), memory


@mutant("theory", rejected_by=["theory.row_lstm_equations"])
def content_through_a_sigmoid(pieces: Any) -> Any:
    """Equation 3 read to the letter, one sigmoid for all four: no memory is ever negative."""
    layer = pieces.RowLSTMLayer
    pieces.RowLSTMLayer = _with_cell(layer, ("cell",), _all_sigmoid)  # wrong: tanh for g
    return pieces


@mutant("theory", rejected_by=["theory.row_lstm_equations"])
def gates_cut_without_regard_to_colour(pieces: Any) -> Any:
    """Four equal pieces of channels that come colour by colour: right for grey images alone."""
    pieces.RowLSTMLayer = _with_cell(pieces.RowLSTMLayer, ("cell",), _chunked)  # wrong: by colour
    return pieces


@mutant("theory", rejected_by=["theory.row_lstm_equations"])
def memory_lost_between_rows(pieces: Any) -> Any:
    """Hidden states are handed on and memories are not: every row begins to remember anew."""

    def update(gates: Tensor, memory: Tensor, channels: int) -> tuple[Tensor, Tensor]:
        o, _, i, g = _four(gates, channels)
        written = i.sigmoid() * g.tanh()  # wrong: + f.sigmoid() * memory
        return o.sigmoid() * written.tanh(), memory

    pieces.RowLSTMLayer = _with_cell(pieces.RowLSTMLayer, ("cell",), update)
    return pieces


def _with_layers(network: Any, forward: Any) -> Any:
    """The network class with layers of another forward pass."""

    class Changed(network):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            for layer in self.layers:
                right = layer.forward
                layer.forward = lambda f, layer=layer, right=right: forward(layer, f, right)

    return Changed


def _scans(pieces: Any, layer: Any, f: Tensor) -> tuple[Tensor, Tensor]:
    left = pieces.diagonal_scan(layer.left_cell, layer.left_gates(f))
    return left, pieces.diagonal_scan(layer.right_cell, layer.right_gates(f).flip(3)).flip(3)


@mutant("theory", rejected_by=["theory.diagonal_lstm_equations"])
def skewed_before_the_input_convolution(pieces: Any) -> Any:
    """The map is skewed first and convolved then: the bias fills the gaps, and states arise there."""
    right = pieces.DiagonalBiLSTMLayer

    def scan(cell: Any, gates: Any, f: Tensor) -> Tensor:
        hidden = memory = f.new_zeros(len(f), cell.hidden, f.shape[2])
        found = []
        for diagonal in gates(pieces.skew(f)).unbind(3):  # wrong: skew(gates(f))
            hidden, memory = cell(diagonal, F.pad(hidden, (1, 0)), memory)
            found.append(hidden)
        return pieces.unskew(torch.stack(found, 3))

    class Filled(right):  # type: ignore[misc, valid-type]
        def forward(self, f: Tensor) -> Tensor:
            left = scan(self.left_cell, self.left_gates, f)
            other = scan(self.right_cell, self.right_gates, f.flip(3)).flip(3)
            return f + self.widen(left + F.pad(other, (0, 0, 1, 0))[:, :, :-1])

    pieces.DiagonalBiLSTMLayer = Filled
    return pieces


@mutant("theory", rejected_by=["theory.diagonal_lstm_equations"])
def memory_carried_down_the_column(pieces: Any) -> Any:
    """The memory of the pixel above, as in the row LSTM, where the diagonal one keeps to its row."""
    right = pieces.DiagonalBiLSTMLayer

    class Column(right):  # type: ignore[misc, valid-type]
        def forward(self, f: Tensor) -> Tensor:
            turned = super().forward(f.transpose(2, 3))  # wrong: f
            return turned.transpose(2, 3)

    pieces.DiagonalBiLSTMLayer = Column
    return pieces


@mutant("theory", rejected_by=["theory.recurrent_steps"])
def diagonals_of_a_square_canvas(pieces: Any) -> Any:
    """Every image is padded to a square: right values, 2n - 1 steps for n the longer side."""

    def forward(layer: Any, f: Tensor, right: Any) -> Tensor:
        height, width = f.shape[2:]
        longer = max(height, width)  # wrong: no canvas but the image
        left, other = (
            pieces.diagonal_scan(cell, F.pad(gates, (0, longer - width, 0, longer - height)))
            for cell, gates in (
                (layer.left_cell, layer.left_gates(f)),
                (layer.right_cell, layer.right_gates(f).flip(3)),
            )
        )
        other = other[:, :, :height, :width].flip(3)
        above = F.pad(other, (0, 0, 1, 0))[:, :, :-1]
        return f + layer.widen(left[:, :, :height, :width] + above)

    pieces.DiagonalBiLSTM = _with_layers(pieces.DiagonalBiLSTM, forward)
    return pieces


@mutant("theory", rejected_by=["theory.recurrent_steps"])
def row_lstm_loops_over_the_batch(pieces: Any) -> Any:
    """Image after image: N times the steps for what could be done at once."""

    def forward(layer: Any, f: Tensor, right: Any) -> Tensor:
        return torch.cat([right(item) for item in f.split(1)])  # wrong: right(f)

    pieces.RowLSTM = _with_layers(pieces.RowLSTM, forward)
    return pieces


@mutant("theory", rejected_by=["theory.row_lstm_triangle"])
def triangle_with_its_right_half_masked(pieces: Any) -> Any:
    """The state-to-state convolution masked: what is above and to the right is not heard."""
    right = pieces.RowLSTM

    class Masked(right):  # type: ignore[misc, valid-type]
        def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            with torch.no_grad():
                for layer in self.layers:
                    weight = layer.cell.state_to_state.weight
                    weight[:, :, weight.shape[2] // 2 + 1 :] = 0  # wrong: as it is
            return super().logits(x, y)

    pieces.RowLSTM = Masked
    return pieces


@mutant("theory", rejected_by=["theory.row_lstm_triangle"])
def triangle_documented_as_the_whole_past(pieces: Any) -> Any:
    """Believes that a recurrence sees everything before it: it sees what k lets through."""
    pieces.RowLSTM = _whole_past(pieces.RowLSTM)  # wrong: the triangle
    return pieces


def _whole_past(network: Any) -> Any:
    class Believed(network):  # type: ignore[misc]
        @property
        def receptive_field(self) -> Tensor:
            rank = torch.tensor(_raster(self.event_shape)).argsort()
            return rank[None, :] < rank[:, None]

    return Believed


@mutant("theory", rejected_by=["theory.diagonal_bilstm_field"])
def bilstm_documented_as_the_whole_past(pieces: Any) -> Any:
    """The paper's own claim for its diagonal BiLSTM: the end of the row above is not seen."""
    pieces.DiagonalBiLSTM = _whole_past(pieces.DiagonalBiLSTM)  # wrong: less the row's end
    return pieces


@mutant("theory", rejected_by=["theory.diagonal_bilstm_field"])
def bilstm_without_its_second_scan(pieces: Any) -> Any:
    """One scan alone: of the rows above, what lies to the right is a blind spot again."""

    def forward(layer: Any, f: Tensor, right: Any) -> Tensor:
        return f + layer.widen(_scans(pieces, layer, f)[0])  # wrong: both

    pieces.DiagonalBiLSTM = _with_layers(pieces.DiagonalBiLSTM, forward)
    return pieces


@mutant("theory", rejected_by=["theory.recurrent_sampler_is_naive"])
def cache_runs_over_the_image_again(pieces: Any) -> Any:
    """A cache in name: right draws, each for the price of a pass over the image."""
    right = pieces.RowLSTMCache

    class Slow(right):  # type: ignore[misc, valid-type]
        def logits(self, row: int, column: int) -> Tensor:
            with torch.no_grad():
                found: Tensor = self.model.logits(self.image, self.y)  # wrong: one row of it
            return found[..., row, column]

    pieces.RowLSTMCache = Slow
    return pieces


@mutant("theory", rejected_by=["theory.recurrent_sampler_is_naive"])
def cache_keeps_the_states_of_an_unfinished_row(pieces: Any) -> Any:
    """The first states computed in a row are kept: they are of a row that was not drawn yet."""
    right = pieces.RowLSTMCache

    class Early(right):  # type: ignore[misc, valid-type]
        def logits(self, row: int, column: int) -> Tensor:
            kept = self.states[row + 1]
            found: Tensor = super().logits(row, column)
            if column:
                self.states[row + 1] = kept  # wrong: as super() left them
            return found

    pieces.RowLSTMCache = Early
    return pieces


@mutant("theory", rejected_by=["theory.recurrent_sampler_is_naive"])
def cache_begins_with_the_image_before(pieces: Any) -> Any:
    """States that are never cleared: a second batch begins below the last row of the first."""
    right = pieces.RowLSTMCache

    class Stale(right):  # type: ignore[misc, valid-type]
        def logits(self, row: int, column: int) -> Tensor:
            if row == 0 and column == 0:
                self.states[0] = self.states[-1]  # wrong: zeros
            found: Tensor = super().logits(row, column)
            return found

    pieces.RowLSTMCache = Stale
    return pieces


@mutant("theory", rejected_by=["theory.recurrent_sampler_is_naive"])
def cache_forgets_the_second_scan(pieces: Any) -> Any:
    """The scan from the right is not run when a row is full: its states stay those of no image."""
    right = pieces.DiagonalBiLSTMCache

    class Half(right):  # type: ignore[misc, valid-type]
        def _end_row(self, row: int) -> None:
            pass  # wrong: run it over the full row

    pieces.DiagonalBiLSTMCache = Half
    return pieces
