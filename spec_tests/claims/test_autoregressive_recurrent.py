r"""Claims about PixelRNN: skewing, the recurrences, how far they see, and their fast samplers.

Every recurrence is written out once more here, pixel by pixel: no skewing, no convolution, no gates
of several pixels at once. What a network sees is predicted in closed form, and measured by changing
one input after the other over redrawn weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from spec_tests import check
from spec_tests.handle import Handle
from spec_tests.judge import stratified
from spec_tests.registry import claim
from spec_tests.strategies import sizes
from spec_tests.tolerance import rounding

PIXELRNN = "van den Oord, Kalchbrenner, Kavukcuoglu 2016, 'Pixel Recurrent Neural Networks'"

IMAGES = stratified(
    [
        st.tuples(st.sampled_from([1, 3]), st.sampled_from(shapes))
        for shapes in (((1, 1), (1, 4), (5, 1)), ((2, 3), (2, 5)), ((4, 2), (3, 2)), ((3, 4),))
    ]
)  # (C, (H, W))


# Skewing -----------------------------------------------------------------------------------------


@claim(
    "theory.skew_unskew",
    r"s_{r,\,r+c} = x_{r,c}, \quad s = 0 \text{ elsewhere}, \qquad \operatorname{unskew}(s) = x "
    r"\text{ whatever fills the gaps}",
    sources=[f"{PIXELRNN}, §3.2 and Figure 3"],
    why="""Each row begins one column after the row above it, so the pixel to the left and the pixel
    above of any pixel both lie in the column before its own: column by column, H + W - 1 of them, a
    recurrence along the diagonals has all that it needs. The gaps are no pixels; what a recurrence
    leaves there must not come back.""",
)
@given(
    batch=st.sampled_from([(), (2,), (2, 3)]),
    size=stratified(
        [
            st.tuples(sizes(1, 6), sizes(1, 6)),
            st.tuples(st.just(1), sizes(2, 6)),
            st.tuples(sizes(2, 6), st.just(1)),
        ]
    ),
)
def test_skewing_moves_row_r_by_r_and_unskewing_moves_it_back(
    subject: Handle, device: str, dtype: torch.dtype, batch: tuple[int, ...],
    size: tuple[int, int],
) -> None:  # fmt: skip
    pieces, (height, width) = subject.pieces().raw, size
    x = 1 + torch.arange(math.prod((*batch, *size)), dtype=dtype).view(*batch, *size)
    expected = torch.zeros(*batch, height, height + width - 1, dtype=dtype)
    for r, c in product(range(height), range(width)):
        expected[..., r, r + c] = x[..., r, c]
    found = pieces.skew(x.clone())
    check.equal(found, expected, f"skew of a map of {height} x {width}")
    check.equal(pieces.unskew(expected.clone()), x, "unskew of a skewed map")
    junk = torch.where(expected == 0, -7.0, expected)
    check.equal(pieces.unskew(junk), x, "unskew of a skewed map with -7 in its gaps")


# The recurrences ---------------------------------------------------------------------------------


def _lstm(gates: Tensor, memory: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """One pixel of one image by Equation 3: gates ``(4h,)``, colour by colour o, f, i and g."""
    hidden, new = torch.empty_like(memory), torch.empty_like(memory)
    share = len(memory) // channels
    for unit in range(len(memory)):
        colour, place = divmod(unit, share)
        o, f, i, g = (float(gates[(4 * colour + gate) * share + place]) for gate in range(4))
        sigmoid = lambda v: 1 / (1 + math.exp(-v))  # noqa: E731
        value = sigmoid(f) * float(memory[unit]) + sigmoid(i) * math.tanh(g)
        new[unit], hidden[unit] = value, sigmoid(o) * math.tanh(value)
    return hidden, new


def _row_states(gates: Tensor, kernel: Tensor, channels: int) -> Tensor:
    """Hidden states ``(h, H, W)`` of a row LSTM from the gates ``(4h, H, W)`` of one image."""
    _, height, width = gates.shape
    features, radius = kernel.shape[1], kernel.shape[2] // 2
    hidden = torch.zeros(features, height, width, dtype=gates.dtype)
    memory = torch.zeros_like(hidden)
    for r, c in product(range(height), range(width)):
        total, before = gates[:, r, c].clone(), torch.zeros_like(memory[:, 0, 0])
        if r:
            before = memory[:, r - 1, c]
            for tap in range(kernel.shape[2]):
                if 0 <= c + tap - radius < width:
                    total += kernel[:, :, tap] @ hidden[:, r - 1, c + tap - radius]
        hidden[:, r, c], memory[:, r, c] = _lstm(total, before, channels)
    return hidden


def _diagonal_states(gates: Tensor, kernel: Tensor, channels: int, step: int) -> Tensor:
    """The same of a diagonal LSTM that runs to the right (``step`` 1) or to the left (-1)."""
    _, height, width = gates.shape
    hidden = torch.zeros(kernel.shape[1], height, width, dtype=gates.dtype)
    memory = torch.zeros_like(hidden)
    for r, c in product(range(height), range(width)[::step]):
        total, before = gates[:, r, c].clone(), torch.zeros_like(memory[:, 0, 0])
        if r:
            total += kernel[:, :, 0] @ hidden[:, r - 1, c]
        if 0 <= c - step < width:
            total += kernel[:, :, 1] @ hidden[:, r, c - step]
            before = memory[:, r, c - step]
        hidden[:, r, c], memory[:, r, c] = _lstm(total, before, channels)
    return hidden


def _redrawn(module: nn.Module) -> nn.Module:
    """In double precision, with weights of the usual size and biases that are not zero."""
    with torch.no_grad():
        for p in module.double().parameters():
            p.copy_(torch.randn_like(p) / max(p[0].numel(), 1) ** 0.5)
    return module


def _judge_layer(layer: Any, f: Tensor, hidden: Tensor, what: str) -> None:
    """The layer adds its widened hidden states, those written out here, to its input."""
    with torch.no_grad():
        check.close(
            layer(f.clone()), f + layer.widen(hidden[None]), rounding(f.dtype, length=f.numel()),
            what,
        )  # fmt: skip


@claim(
    "theory.row_lstm_equations",
    r"(h_r, c_r) = \operatorname{LSTM}(K^{ss} * h_{r-1} + K^{is} * f_r,\; c_{r-1}), \qquad "
    r"h_{-1} = c_{-1} = 0",
    sources=[f"{PIXELRNN}, §3.1, Equation 3", f"{PIXELRNN}, §3.3 and Figure 5"],
    why="""A row's gates are what its own features say, plus what the hidden states of the row above
    say, each pixel hearing its k neighbours there; the memory stays in its column. Written out pixel
    by pixel and unit by unit, from the top row down, with nothing above the first and beside the
    outermost, it is what the layer adds to its input. A gate of R must be made of R: each colour has
    its own four.""",
    dtypes=("float64",),
)
@given(image=IMAGES, kernel=st.sampled_from([1, 3, 5]))
def test_row_lstm_layer_is_its_equations_pixel_by_pixel(
    subject: Handle, device: str, dtype: torch.dtype, image: tuple[int, tuple[int, int]],
    kernel: int,
) -> None:  # fmt: skip
    pieces, (channels, size) = subject.pieces().raw, image
    hidden = 2 * channels
    layer = _redrawn(pieces.RowLSTMLayer(hidden, kernel, channels))
    f = torch.randn(1, 2 * hidden, *size, dtype=torch.float64)
    with torch.no_grad():
        gates, weight = layer.input_to_state(f)[0], layer.cell.state_to_state.weight
        states = _row_states(gates, weight, channels)
    _judge_layer(layer, f, states, f"a row LSTM layer of {channels} colours on {size}")


@claim(
    "theory.diagonal_lstm_equations",
    r"\overrightarrow{h}_{r,c} \text{ from } \overrightarrow{h}_{r-1,c},\ "
    r"\overrightarrow{h}_{r,c-1},\ \overrightarrow{c}_{r,c-1}; \quad \overleftarrow{h}_{r,c} "
    r"\text{ from } \overleftarrow{h}_{r-1,c},\ \overleftarrow{h}_{r,c+1},\ "
    r"\overleftarrow{c}_{r,c+1}; \qquad f_{r,c} + W(\overrightarrow{h}_{r,c} + "
    r"\overleftarrow{h}_{r-1,c})",
    sources=[f"{PIXELRNN}, §3.2, Equation 3", f"{PIXELRNN}, §3.3 and Figure 5"],
    why="""Skewing is only a way to compute many pixels at once. The plain recurrence visits them in
    raster order, from the left and again from the right, hears the pixel above and the pixel beside,
    and carries the memory along the row; the states of the second scan are those of the row above.
    With nothing beyond the border: what runs on in the gaps of a skewed map must not be heard.""",
    dtypes=("float64",),
)
@given(image=IMAGES)
def test_diagonal_layer_is_two_scans_in_raster_order(
    subject: Handle, device: str, dtype: torch.dtype, image: tuple[int, tuple[int, int]]
) -> None:
    pieces, (channels, size) = subject.pieces().raw, image
    hidden = 2 * channels
    layer = _redrawn(pieces.DiagonalBiLSTMLayer(hidden, channels))
    f = torch.randn(1, 2 * hidden, *size, dtype=torch.float64)
    with torch.no_grad():
        left, right = (
            _diagonal_states(gates(f)[0], cell.state_to_state.weight, channels, step)
            for gates, cell, step in (
                (layer.left_gates, layer.left_cell, 1),
                (layer.right_gates, layer.right_cell, -1),
            )
        )
    states = left.clone()
    states[:, 1:] += right[:, :-1]
    _judge_layer(layer, f, states, f"a diagonal BiLSTM layer of {channels} colours on {size}")


class _Steps:
    """Counts how often each recurrent cell of a network runs."""

    def __init__(self, network: nn.Module, cell: type[nn.Module]) -> None:
        self.cells = {m: 0 for m in network.modules() if isinstance(m, cell)}
        self.hooks = [m.register_forward_hook(self._count) for m in self.cells]

    def _count(self, module: nn.Module, *_: Any) -> None:
        self.cells[module] += 1

    def taken(self) -> list[int]:
        found = list(self.cells.values())
        self.cells = dict.fromkeys(self.cells, 0)
        return found


def _network(pieces: Any, kind: str, event: tuple[int, int, int], layers: int, **more: Any) -> Any:
    """A small one, in double precision."""
    made = getattr(pieces, kind)(event, hidden=3, head=6, layers=layers, **more)
    return made.double()


KINDS = ("RowLSTM", "DiagonalBiLSTM")


@claim(
    "theory.recurrent_steps",
    r"\text{steps}(\text{row LSTM}) = H, \qquad \text{steps}(\text{diagonal BiLSTM}) = H + W - 1 "
    r"\text{ for each of two scans}",
    sources=[f"{PIXELRNN}, §3.1 and §3.2", "CS182 2021 L17, 'PixelRNN'"],
    why="""What a recurrent network costs in time is how often it must wait for itself. A row LSTM
    waits once for each row, as a row's states depend on the row above alone. In the diagonal LSTM a
    pixel waits for the one to the left and the one above, so a diagonal is the most that can be done
    at once, and an image has H + W - 1 of them. Neither number depends on the batch.""",
    effort=0.4,
)
@given(
    kind=st.sampled_from(KINDS), image=IMAGES, layers=st.integers(1, 3), n=st.sampled_from([1, 3])
)
def test_cells_run_once_for_each_row_or_diagonal(
    subject: Handle, device: str, dtype: torch.dtype, kind: str,
    image: tuple[int, tuple[int, int]], layers: int, n: int,
) -> None:  # fmt: skip
    pieces, (channels, (height, width)) = subject.pieces().raw, image
    network = _network(pieces, kind, (channels, height, width), layers, levels=2)
    steps = _Steps(network, pieces.ConvLSTMCell)
    network.log_prob(torch.randint(2, (n, channels, height, width)))
    cells, each = (layers, height) if kind == "RowLSTM" else (2 * layers, height + width - 1)
    found = steps.taken()
    check.that(
        found == [each] * cells,
        f"the cells of {layers} layers of {kind} took {found} steps for the likelihood of {n} images "
        f"of {height} x {width}; documented are {each} for each of {cells} cells",
    )


# How far they see --------------------------------------------------------------------------------


def _pixels(height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """For each pair of pixels, reader first: rows up, columns to the right, and the reader's column."""
    r, c = torch.arange(height * width) // width, torch.arange(height * width) % width
    return r[:, None] - r[None, :], c[None, :] - c[:, None], c[:, None]


def _in_colour(earlier: Tensor, channels: int) -> Tensor:
    """``(D, D)``: every colour of the earlier pixels, and in its own pixel the earlier colours."""
    colours = torch.ones(channels, channels, dtype=torch.bool)
    own = torch.eye(len(earlier), dtype=torch.bool)
    field = torch.kron(colours, earlier) | torch.kron(colours.tril(-1), own)
    return field


def _measured(build: Callable[[], Any], predicted: Tensor) -> Tensor:
    """The dependences of a network, over redrawn weights, until all that was predicted was seen."""
    seen = torch.zeros_like(predicted)
    for _ in range(20):
        network = _redrawn(build())
        event, count = network.event_shape, len(predicted)
        x = torch.randint(2, (1, count)).repeat(count + 1, 1)
        x[torch.arange(count) + 1, torch.arange(count)] ^= 1
        with torch.no_grad():
            found = network.logits(x.view(-1, *event)).flatten(2)
        noise = rounding(found.dtype, scale=max(float(found.abs().max()), 1.0))
        seen |= ((found[1:] - found[:1]).abs().amax(1) > noise).mT
        if not bool((predicted & ~seen).any()):
            break
    return seen


def _judge_field(build: Callable[[], Any], predicted: Tensor, what: str) -> None:
    documented = build().receptive_field.cpu()
    check.equal(documented, predicted, f"the documented receptive field of {what}")
    check.equal(_measured(build, predicted), predicted, f"what the logits change with in {what}")


@claim(
    "theory.row_lstm_triangle",
    r"\{(r, c') : c - a - bL \le c' < c\} \cup \bigcup_{m \ge 1} \{(r - m, c') : "
    r"c - a - b(L + m) \le c' \le c + a + b(m - 1)\}",
    sources=[f"{PIXELRNN}, §3.1 and Figure 4"],
    why="""The states of a row hear k neighbours of the row above, b on each side, so what is seen
    widens by b columns a row: a triangle, which no number of layers opens further on the right, as
    all else that they do in a row goes to the left. The first convolution, of radius a, adds its
    window, and L layers their L convolutions along the row. PixelCNN's view widens as fast, but by
    a layer for each row; here a single layer climbs to the top of the image. Prediction, Boolean
    algebra and network agree.""",
    assumptions=["the first kernel is larger than 1, and no smaller than the others"],
    dtypes=("float64",),
    effort=0.3,
)
@given(
    channels=st.sampled_from([1, 1, 3]),
    kernels=st.sampled_from([(3, 3), (5, 3), (3, 1), (5, 5), (7, 3)]),
    layers=st.integers(1, 3),
    size=stratified([st.just(size) for size in ((3, 7), (2, 8), (4, 6), (6, 3))]),
)
def test_row_lstm_sees_exactly_the_predicted_triangle(
    subject: Handle, device: str, dtype: torch.dtype, channels: int, kernels: tuple[int, int],
    layers: int, size: tuple[int, int],
) -> None:  # fmt: skip
    pieces, (first, kernel) = subject.pieces().raw, kernels
    a, b = first // 2, kernel // 2
    up, right, _ = _pixels(*size)
    furthest = torch.where(up > 0, a + b * (up - 1), -1)
    earlier = (up >= 0) & (right <= furthest) & (right >= -a - b * (layers + up))
    _judge_field(
        lambda: _network(pieces, "RowLSTM", (channels, *size), layers, levels=2,
                         first_kernel=first, kernel=kernel),
        _in_colour(earlier, channels),
        f"{layers} row LSTMs of kernel {kernel} after one of {first}, image {(channels, *size)}",
    )  # fmt: skip


@claim(
    "theory.diagonal_bilstm_field",
    r"\{\text{all before } (r, c)\} \setminus \{\text{the last colour of } (r - 1, W - 1) "
    r"\text{ if } c + a < W - 1\}",
    sources=[f"{PIXELRNN}, §3.2 and Figure 4", "measured: the paper counts the whole past as seen"],
    why="""At (r, c) the scans bring together the features of all rows above and of this row up to c.
    But those features come from a mask-A convolution, in which no pixel knows its own last colour:
    that is known to later pixels within a columns alone. For the end of the row above these lie at the
    end of row r, so until c is within a of it the very last entry drawn is missing (of a colour
    image B alone: the features of B know R and G), and more layers do not help: they never look right in their row.
    Everything else is seen by one layer. Prediction, Boolean algebra and network agree.""",
    assumptions=["the first kernel is larger than 1", "one layer or more"],
    dtypes=("float64",),
    effort=0.3,
)
@given(
    channels=st.sampled_from([1, 1, 3]),
    first=st.sampled_from([3, 5, 7]),
    layers=st.integers(1, 3),
    size=stratified([st.just(size) for size in ((3, 5), (2, 8), (4, 6), (5, 3))]),
)
def test_diagonal_bilstm_misses_exactly_the_end_of_the_row_above(
    subject: Handle, device: str, dtype: torch.dtype, channels: int, first: int, layers: int,
    size: tuple[int, int],
) -> None:  # fmt: skip
    pieces = subject.pieces().raw
    up, right, column = _pixels(*size)
    past = (up > 0) | ((up == 0) & (right < 0))
    end = (up == 1) & (column + right == size[1] - 1)
    missing = end & (column + first // 2 < size[1] - 1)
    last_colour = (torch.arange(channels) == channels - 1).expand(channels, channels)
    predicted = _in_colour(past, channels) & ~torch.kron(last_colour, missing)
    _judge_field(
        lambda: _network(pieces, "DiagonalBiLSTM", (channels, *size), layers, levels=2,
                         first_kernel=first),
        predicted, f"{layers} diagonal BiLSTMs after a kernel of {first}, image {size}",
    )  # fmt: skip


# Sampling ----------------------------------------------------------------------------------------


def _drawn(seed: int, draw: Callable[[torch.Generator], Tensor]) -> tuple[Tensor, Tensor]:
    """What was drawn, and the state in which the generator was left."""
    source = torch.Generator().manual_seed(seed)
    return draw(source), source.get_state()


class _Overheard:
    """A cache, and the last logits that it gave at each pixel: by then all other colours are drawn."""

    def __init__(self, cache: Any) -> None:
        self.cache, self.blank, self.record = cache, cache.blank, cache.record
        self.given: dict[tuple[int, int], Tensor] = {}

    def logits(self, row: int, column: int) -> Tensor:
        self.given[row, column] = self.cache.logits(row, column)
        return self.given[row, column]

    def map(self) -> Tensor:
        """``(N, K, C, H, W)``."""
        return torch.stack(list(self.given.values()), -1).unflatten(-1, self.blank.shape[2:])


def _judge_draws(naive: Any, fast: Any, what: str) -> None:
    check.equal(fast[0], naive[0], f"{what} by the cached sampler, against the naive one,")
    check.equal(fast[1], naive[1], f"the generator's state after {what} by the cached sampler")


@claim(
    "theory.recurrent_sampler_is_naive",
    r"\texttt{cached}(g) = \texttt{naive}(g) \text{ draw for draw}, \qquad "
    r"\text{steps} = \#\text{draws} \ \text{in place of}\ \#\text{draws} \times H "
    r"\text{ or } \times (H + W - 1)",
    sources=[f"{PIXELRNN}, §3.1 and §3.2"],
    why="""States of rows that are full, or of pixels that are drawn, never change again, so a sampler
    may keep them, and each draw costs every cell a single step in place of a pass over the image. It
    must not show: it draws from the same conditionals, and from one generator both samplers draw the
    same levels and leave it in the same state, for samples and for completions. A state kept too early lacks the last draw, one kept at
    the border of a row or of an earlier batch is another image's; equality finds all of them.""",
    dtypes=("float64",),
    effort=0.3,
)
@given(
    kind=st.sampled_from(KINDS), image=IMAGES, layers=st.integers(1, 2),
    classes=st.sampled_from([0, 2]), first=st.sampled_from([1, 3, 7]), n=st.sampled_from([1, 4]),
    seed=st.integers(0, 2**31 - 1),
)  # fmt: skip
def test_cached_samplers_draw_what_the_naive_one_draws(
    subject: Handle, device: str, dtype: torch.dtype, kind: str,
    image: tuple[int, tuple[int, int]], layers: int, classes: int, first: int, n: int, seed: int,
) -> None:  # fmt: skip
    pieces, event = subject.pieces().raw, (image[0], *image[1])
    network = _network(
        pieces, kind, event, layers, levels=3, num_classes=classes, first_kernel=first
    )
    _redrawn(network)
    y = torch.randint(classes, (n,)) if classes else None
    cache = _Overheard(getattr(pieces, f"{kind}Cache")(network, n, y))
    naive = _drawn(seed, lambda g: network.sample(n, y, g))
    steps = _Steps(network, pieces.ConvLSTMCell)
    _judge_draws(naive, _drawn(seed, lambda g: pieces.cached_sample(cache, g)), "a sample")
    found, size = steps.taken(), math.prod(event)
    check.that(
        max(found) <= size,
        f"a cached sample of {event} took {max(found)} steps of a cell, one for each draw is {size}",
    )
    with torch.no_grad():
        expected = network.logits(naive[0], y)
    check.close(
        cache.map(), expected, rounding(expected.dtype, length=size, scale=max(float(expected.abs().max()), 1)),
        f"the conditionals from which the cached sampler of {kind} drew",
    )  # fmt: skip
    known, x = torch.rand(event) < 0.5, torch.randint(3, (n, *event))
    _judge_draws(
        _drawn(seed + 1, lambda g: network.complete(x, known, y, g)),
        _drawn(seed + 1, lambda g: pieces.cached_complete(cache, x, known, g)),
        "a completion",
    )
