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
    why=r""":math:`s` is the skewed map, :math:`x` the map of :math:`H \times W` pixels, :math:`r`
    and :math:`c` row and column from 0. Row :math:`r` begins in column :math:`r`, so pixel
    :math:`(r, c)` lies in column :math:`d = r + c`, one of :math:`H + W - 1`. Its neighbour to the
    left, :math:`(r, c - 1)`, and the one above, :math:`(r - 1, c)`, both lie in column :math:`d -
    1`: a recurrence that goes through the columns has, at each, all that its pixels need, and can
    compute them at once.

    No two pixels share a place, so unskewing is to read entry :math:`(r, r + c)` back. All other
    entries are gaps; what a recurrence left there is no pixel and must not return.

    The oracle moves entry by entry, in two loops, for maps whose entries all differ, wide, high and
    of a single row or column. The gaps are then filled with :math:`-7`, and the map must come back
    the same.""",
    assumptions={
        "there are H + W - 1 columns": (
            "with :math:`2W - 1`, right for squares, a map of 3 rows and 2 columns has 3 columns "
            "and needs 4"
        ),
        "lower rows are moved further": (
            "with row :math:`r` moved by :math:`H - 1 - r` the pixel above lies in column "
            ":math:`d + 1`, which is computed later"
        ),
    },
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
    why=r""":math:`f_r` are the features of row :math:`r`, :math:`h_r` and :math:`c_r` its hidden
    states and memories. The masked convolution :math:`K^{is}` runs along the row, :math:`K^{ss}`
    over :math:`k` neighbours in the row above; their sum gives four gates, and with :math:`c =
    c_{r-1}` of the same column

    .. math::

        c_r = \sigma(f) \odot c + \sigma(i) \odot \tanh(g), \qquad h_r = \sigma(o) \odot \tanh(c_r)

    This is a definition, and what can go wrong is in its details: what stands above the first row
    and beside the outermost pixel, where the memory comes from, and how :math:`4h` channels are
    cut. They come colour by colour, each with its own four gates. Cut into four equal pieces, the
    gates of red would be made of green, which is drawn after it.

    The oracle starts from the layer's input gates and weights and runs pixel by pixel and unit by
    unit, without a convolution and with the exponential function of the standard library.""",
    assumptions={
        "states are zero outside the image": (
            "if the outermost state were repeated, pixel :math:`(r, 0)` would hear :math:`(r - "
            "1, 0)` by two taps"
        ),
        "the content g passes through tanh": (
            "with one sigmoid for all four no memory ever becomes negative"
        ),
    },
    sentence="a row LSTM layer is its equations, pixel by pixel",
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
    why=r"""Arrows tell the scan from the left from that from the right, :math:`f` are the layer's
    features, :math:`W` its 1 x 1 convolution. The states of a pixel need those of the pixel above
    and of the one beside. Raster order and the order of diagonals (``theory.skew_unskew``) both
    respect this, and a recurrence has one solution, whatever order it is computed in.

    Skewing adds gaps. Those to the left of a row must hold zero states: zero gates keep them so, as
    :math:`\sigma(0) \cdot 0 + \sigma(0) \tanh 0 = 0` and the state-to-state convolution has no
    bias. Those to its right are heard by no pixel. The scan from the right has seen the rest of its
    row; so row :math:`r` adds its states of row :math:`r - 1`, all of which is past.

    The oracle knows no diagonals and no gaps: two plain loops in raster order, rows run from the
    left and then from the right, one pixel and one unit at a time.""",
    assumptions={
        "the gates are zero in the gaps": (
            "skewed before the input convolution, whose bias fills them, states arise in the "
            "gaps and enter each row but the first from the left"
        ),
        "the second scan is moved down by a row": (
            "added where it stands it tells :math:`(r, c)` of :math:`(r, c + 1)`, which is drawn "
            "later"
        ),
    },
    sentence="a diagonal BiLSTM layer is two scans in raster order",
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
    why="""A recurrent network must wait for itself, and its least time is the longest chain of
    states of which each needs the one before. In a row LSTM a row's states need the row above
    alone: chains have length :math:`H`, and :math:`H` steps, each of a whole row, suffice. In the
    diagonal LSTM a state needs the pixel above and the one beside. A chain goes down or aside at
    each link; the longest, from corner to corner, has :math:`H + W - 1` pixels. The pixels of one
    diagonal do not need each other, so as many steps suffice.

    A network that loops over images, or pads to a square, computes the right values, and only a
    count finds it. Hooks count how often each cell runs during one likelihood, for batches of one
    and of three.""",
    assumptions={
        "no state of a row LSTM needs another of its row": (
            "with a tap on the left neighbour as well as on :math:`k = 3` above, the longest "
            "chain has :math:`2(H - 1) + W` states"
        ),
    },
    sentence="cells run once for each row or diagonal",
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
    why="""Radii are :math:`a` of the first convolution and :math:`b` of the kernels in :math:`L`
    layers. Row :math:`r - m` is seen through paths of few kinds of steps: the first convolution, up
    to :math:`a` to either side if it goes up, to the left only if it stays in its row; one
    convolution along the row in each layer, up to :math:`b` to the left; and :math:`m` rows to
    climb, by states, up to :math:`b` to either side, or by the first convolution.

    Furthest to the left lead the first convolution in its own row and :math:`m` steps of the state:
    :math:`a + bL + bm`. To the right only climbing leads: one row by the first convolution and the
    others by states, :math:`a + b(m - 1)`, in one layer as in many. All between is reached.
    PixelCNN's view widens as fast, but needs a layer for each row it climbs.

    The prediction from coordinates, the documented field (Boolean algebra), and what the network's
    logits change with must agree.""",
    assumptions={
        "the first kernel is larger than 1": (
            "with :math:`a = 0` and one channel the mask leaves no tap of the first convolution, "
            "and nothing is seen"
        ),
        "the first kernel is no smaller than the others": (
            "with :math:`a = 1` and :math:`b = 3` the state alone reaches :math:`c + 2` in the "
            "row above, from features that know their left neighbour, where :math:`c + 1` is "
            "predicted"
        ),
    },
    sentence="a row LSTM sees exactly the predicted triangle",
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
    why=r"""The two scans bring to :math:`(r, c)` the features of all rows above, and of its own row
    up to :math:`c`. Features come from a mask-A convolution of radius :math:`a`: they know pixels
    before their own within :math:`a`, and not their own last colour.

    So the last colour of a pixel is heard through a later pixel within :math:`a` of it, if one lies
    in what is brought together. For most there is one: the neighbour to the right, or the one below
    the end of a higher row. The end of the row above, :math:`(r - 1, W - 1)`, is followed by row
    :math:`r` alone, and the features that know it stand in the columns from :math:`W - 1 - a` on:
    heard if :math:`c \ge W - 1 - a`, else not. A further layer does not help, as it looks to the
    right in no row but those above. Of a colour image blue alone is missing, since the features of
    blue know red and green.

    The prediction, the documented field (Boolean algebra) and the dependences of the network must
    agree.""",
    assumptions={
        "the first kernel is larger than 1": (
            "with :math:`a = 0` and one channel the mask leaves no tap of it, and nothing is seen"
        ),
        "one layer or more": "without any, only the window of the first convolution is seen",
    },
    sentence="a diagonal BiLSTM misses exactly the end of the row above",
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
    r"\text{steps of a cell} \le \#\text{draws} \ \text{in place of}\ \#\text{draws} \times H "
    r"\text{ or } \times (H + W - 1)",
    sources=[f"{PIXELRNN}, §3.1 and §3.2"],
    why="""The states of a full row, or of drawn pixels, depend on the past alone and never change
    again; a sampler may keep them. A draw then costs each cell at most one step, where the naive
    sampler runs over the image, :math:`H` or :math:`H + W - 1` steps, for each.

    Induction over the draws: from equal levels both compute equal probabilities, and draw from
    generators in equal states :math:`g` by the same call. So samples and completions are equal
    number by number, and the generators end in the same state. A state kept too early lacks the
    last draw; one kept at the border of a row, or from the batch before, is another image's.

    The oracle is the naive sampler, which asks for all logits anew at every draw. The conditionals
    from which the cache drew are recorded, and compared with one pass over the finished images;
    hooks count the steps of the cells.""",
    assumptions={
        "no kept state knows of what is drawn later": (
            "with the scan from the right not moved down, the states of a row change with each "
            "pixel that is drawn in it"
        ),
        "a cache starts every batch afresh": (
            "states left over from the batch before stand above the first row of the next"
        ),
    },
    sentence="cached samplers draw what the naive one draws",
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
