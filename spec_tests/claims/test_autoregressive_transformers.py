r"""Theory of transformers that generate images: what local attention reads, what it costs, where
positions enter, and what a cache may keep.

Who reads whom is listed here from coordinates, pair by pair, and compared with the weights that the
attention gives when its values are unit vectors: then the output is the matrix of weights itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from spec_tests import check
from spec_tests.chain_rule import past_of, raster
from spec_tests.check import Violation
from spec_tests.handle import Handle
from spec_tests.judge import stratified
from spec_tests.registry import claim
from spec_tests.tolerance import rounding

PARMAR = "Parmar et al. 2018, 'Image Transformer'"
VASWANI = "Vaswani et al. 2017, 'Attention Is All You Need'"
LECTURE = "CS182 2020 L16, 'Image Transformer'"
Event = tuple[int, int, int]
Pair = tuple[int, int]

# 1-D: length and block. 2-D: event, block and halo, no two sizes alike where that can be.
LINES = ((1, 3), (5, 2), (6, 3), (7, 3), (8, 3), (9, 9), (4, 7), (10, 1))
RECTANGLES: tuple[tuple[Event, Pair, Pair], ...] = (
    ((1, 4, 5), (2, 3), (1, 2)),
    ((3, 3, 4), (2, 3), (1, 1)),
    ((1, 5, 7), (2, 3), (2, 1)),
    ((1, 6, 4), (1, 2), (3, 0)),
    ((3, 4, 2), (3, 1), (0, 1)),
    ((1, 3, 7), (2, 2), (1, 4)),
    ((1, 2, 3), (4, 5), (1, 2)),
)
IMAGES: tuple[Event, ...] = ((1, 3, 4), (3, 2, 3), (1, 1, 5), (3, 1, 2), (1, 4, 3))


# Who reads whom, pair by pair --------------------------------------------------------------------


def _line(length: int, block: int) -> Tensor:
    """``(T, T)`` bool: position t reads s, its own block's or the block's before, up to itself."""
    pairs = torch.zeros(length, length, dtype=torch.bool)
    for t in range(length):
        for s in range(t + 1):
            pairs[t, s] = t // block - s // block in (0, 1)
    return pairs


def _places(event: Event, block: Pair) -> list[tuple[int, int, int]]:
    """Row, column and channel of every sub-pixel, block by block and in raster order in each."""
    channels, height, width = event
    every = [(r, c, k) for r in range(height) for c in range(width) for k in range(channels)]
    return sorted(every, key=lambda p: (p[0] // block[0], p[1] // block[1], *p))


def _rectangle(event: Event, block: Pair, halo: Pair) -> Tensor:
    """``(T, T)`` bool: t reads s, generated no later, in its block or in the halo around it."""
    places = _places(event, block)
    pairs = torch.zeros(len(places), len(places), dtype=torch.bool)
    for t, (row, column, _) in enumerate(places):
        top, left = row // block[0] * block[0], column // block[1] * block[1]
        for s, (r, c, _) in enumerate(places[: t + 1]):
            above = top - halo[0] <= r < top + block[0]
            pairs[t, s] = above and left - halo[1] <= c < left + block[1] + halo[1]
    return pairs


def _dense(query: Tensor, key: Tensor, allowed: Tensor) -> Tensor:
    """The weights of all pairs at once, those that are not allowed at zero."""
    scores = (query @ key.T) / math.sqrt(query.shape[1])
    return scores.masked_fill(~allowed, -math.inf).softmax(1)


def _judge_weights(pieces: Any, blocks: Any, allowed: Tensor, what: str) -> None:
    """The weights of ``local_attention`` are those of the dense softmax over the allowed pairs."""
    length = len(allowed)
    query, key = torch.randn(2, length, 3, dtype=torch.float64)
    weights = pieces.local_attention(query, key, torch.eye(length, dtype=torch.float64), blocks)
    wrong = (weights != 0) != allowed
    if wrong.any():
        t, s = (int(i) for i in wrong.nonzero()[0])
        reads = "reads" if weights[t, s] != 0 else "does not read"
        raise Violation(f"position {t} {reads} position {s} in {what}")
    room = rounding(torch.float64, length=length)
    check.close(weights, _dense(query, key, allowed), room, f"the weights of {what}")


@claim(
    "theory.local_pattern",
    r"\{s : a_{ts} > 0\} = \{s \le t : s \in M_{b(t)}\}, \qquad M_b = \text{block } b \text{ and the "
    r"one before (1-D), or its rectangle with a halo above and beside (2-D)}",
    sources=[f"{PARMAR}, §3.3 and Figure 2", f"{LECTURE}, query and memory blocks"],
    why="""Positions are counted in the order of generation, :math:`a_{ts}` is the weight that
    :math:`t` gives to :math:`s`, :math:`b(t)` the block of :math:`t`. All of a block shares one
    memory :math:`M_b`, which makes its scores one dense product; so what a position reads depends
    on where it lies. With blocks of :math:`l`, the first of a block reads back a whole block, the
    last nearly two.

    In 2-D the order of generation must follow the blocks. Then all above a block and to its left
    has been drawn, and what lies to its right in the same rows has not, though raster order would
    have it so; a halo to the right counts above the block only. Blocks at the border are smaller,
    and nothing is padded.

    With unit vectors for values the output is the matrix of weights itself. The oracle lists the
    pairs from rows and columns, one by one; weights must be zero outside them, and inside those of
    a dense softmax.""",
    assumptions={
        "in 2-D images are generated block by block": (
            "in raster order, pixel (1, 1) of a left block of 2 x 2 is drawn after (0, 2), which "
            "reads it through its halo"
        ),
        "within a block the past alone is read": (
            "the first position of a block would else read the last"
        ),
    },
)
@given(case=stratified([st.sampled_from(LINES), st.sampled_from(RECTANGLES)]))
def test_each_position_reads_its_memory_block_and_nothing_else(
    subject: Handle, device: str, dtype: torch.dtype, case: Any
) -> None:
    pieces = subject.pieces().raw
    if len(case) == 2:
        length, block = case
        blocks = pieces.local_blocks_1d(length, block)
        return _judge_weights(
            pieces, blocks, _line(length, block), f"blocks of {block} in a line of {length}"
        )
    event, block, halo = case
    _, height, width = event
    flat = [k * height * width + r * width + c for r, c, k in _places(event, block)]
    order = [int(i) for i in pieces.block_order(event, block)]
    check.that(order == flat, f"blocks of {block} in {event} are generated in the order {order}")
    what = f"blocks of {block} with a halo of {halo} in an image of {event}"
    blocks = pieces.local_blocks_2d(event, block, halo)
    return _judge_weights(pieces, blocks, _rectangle(event, block, halo), what)


def _reach(pairs: Tensor, layers: int) -> Tensor:
    """What a stack lets the logits of t use, by walking from reader to read, one layer a step."""
    length = len(pairs)
    field = torch.zeros(length, length, dtype=torch.bool)
    for t in range(length):
        here = {t}
        for _ in range(layers):
            here |= {s for at in here for s in range(length) if pairs[at, s]}
        for s in here - {0}:
            field[t, s - 1] = True  # position s is given what was drawn at s - 1
    return field


@claim(
    "theory.local_layers_reach_further",
    r"R_{tj} = \bigl[j < t \,\wedge\, \lfloor t / l \rfloor - \lfloor (j + 1) / l \rfloor \le L\bigr]"
    r"\quad\text{(1-D, } L \text{ layers)}",
    sources=[f"{PARMAR}, §3.3", "contracts.md, autoregressive_model.receptive_field"],
    why=r"""Let :math:`P_{ts}` say whether one layer lets :math:`t` read :math:`s`: in 1-D, if
    :math:`s \le t` and their blocks of length :math:`l` are the same or neighbours. A stack of
    :math:`L` layers lets information pass from :math:`s` to :math:`t` if there is a chain of
    :math:`L` such reads, so by the Boolean power :math:`P^L`. A chain goes back at most one block
    at a link, and may stay; any :math:`s \le t` not more than :math:`L` blocks back is reached.

    Position :math:`s` is given the level that was drawn at :math:`s - 1`. Hence

    .. math::

        R_{tj} = (P^L)_{t,\, j+1}

    which is the statement, with :math:`j + 1 \le t` written as :math:`j < t`. No layer computes a
    score that far.

    The oracle in 1-D is this formula; in 2-D it walks from reader to read, as many steps as there
    are layers, over pairs that were listed from coordinates.""",
    assumptions={
        "one layer or more": (
            "without a layer a position knows its own input :math:`x_{t-1}` and nothing else, "
            "which is less than the formula says"
        ),
        "each position reads itself, or has a residual connection": (
            "if blocks read the block before alone, two layers reach what is two blocks back and "
            "nothing between"
        ),
    },
    effort=0.5,
)
@given(
    case=stratified([st.sampled_from(LINES), st.sampled_from(RECTANGLES)]),
    layers=stratified([st.sampled_from([0, 1]), st.sampled_from([2, 3])]),
)
def test_every_layer_adds_a_block_to_what_is_seen(
    subject: Handle, device: str, dtype: torch.dtype, case: Any, layers: int
) -> None:
    pieces = subject.pieces().raw
    if len(case) == 2:
        length, block = case
        t, j = torch.arange(length)[:, None], torch.arange(length)
        expected = (j < t) & (t // block - (j + 1) // block <= layers) if layers else t == j + 1
        blocks = pieces.local_blocks_1d(length, block)
    else:
        event, rectangle, halo = case
        expected = _reach(_rectangle(event, rectangle, halo), layers)
        blocks = pieces.local_blocks_2d(event, rectangle, halo)
    found = pieces.local_field(blocks, layers)
    check.equal(found, expected, f"what {layers} layers of {case} let the logits use")


# What it costs -----------------------------------------------------------------------------------


class _Work(TorchDispatchMode):
    """Counts the numbers that are computed: all of them, and those of the largest tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.total = self.largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, Tensor):
                self.total += tensor.numel()
                self.largest = max(self.largest, tensor.numel())
        return found


def _work(attend: Callable[..., Tensor], length: int) -> _Work:
    parts = torch.randn(3, length, 2, dtype=torch.float64)
    with _Work() as work:
        attend(*parts)
    return work


def _pairs(blocks: Any) -> int:
    """How many pairs a list of blocks attends to."""
    return sum(int((memory <= queries[:, None]).sum()) for queries, memory in blocks)


def _growing(pieces: Any, kind: str, times: int) -> tuple[int, Any]:
    """Number of positions and blocks of images that grow in one direction, the block fixed."""
    if kind == "a line":
        return 4 * times, pieces.local_blocks_1d(4 * times, 4)
    event = (1, 2 * times, 6) if kind == "an image that grows down" else (3, 4, 2 * times)
    return math.prod(event), pieces.local_blocks_2d(event, (2, 2), (1, 2))


@claim(
    "theory.local_attention_cost",
    r"\#\{(t, s) : a_{ts} > 0\} = \alpha T + \beta \;\text{(local)}, \qquad \tfrac12 T (T + 1)"
    r"\;\text{(full)}",
    sources=[f"{PARMAR}, §3.3", f"{VASWANI}, Table 1"],
    why=r"""In blocks of :math:`l` positions every block but the first has :math:`l^2` pairs with
    the block before it and :math:`l (l + 1) / 2` within itself. With :math:`T / l` blocks that is

    .. math::

        \frac{T}{l} \Bigl(l^2 + \frac{l (l + 1)}{2}\Bigr) - l^2 = \frac{3 l + 1}{2}\, T - l^2

    :math:`\alpha T + \beta` with an :math:`\alpha` that depends on the block alone; in 2-D
    likewise, block by block. Full attention has :math:`T (T + 1) / 2` pairs, and twice the side of
    an image is sixteen times as many.

    A mask saves nothing: a matrix of all pairs that is thrown away was computed and stored. So the
    test counts every number that any operation returns, and the largest tensor, for images that
    grow three times by the same piece. A straight line has equal steps; the count does not depend
    on the machine.""",
    assumptions={
        "the block, and the halo, stay as they are while the image grows": (
            "with :math:`l = T` there is one block, and all :math:`T (T + 1) / 2` pairs"
        ),
        "the image grows by whole blocks": (
            "with :math:`l = 2` there are 10, 13 and 17 pairs for 4, 5 and 6 positions: a line "
            "in steps of whole blocks only"
        ),
    },
    effort=0.25,
)
@given(
    kind=st.sampled_from(
        ["a line", "an image that grows down", "an image that grows to the right"]
    ),
    n=st.sampled_from([3, 4, 5]),
)
def test_local_attention_costs_a_fixed_amount_for_each_position(
    subject: Handle, device: str, dtype: torch.dtype, kind: str, n: int
) -> None:
    pieces = subject.pieces().raw
    sizes = [_growing(pieces, kind, times) for times in (n, 2 * n, 3 * n, 4 * n)]
    pairs = [_pairs(blocks) for _, blocks in sizes]
    work = [
        _work(lambda q, k, v, blocks=blocks: pieces.local_attention(q, k, v, blocks), length)
        for length, blocks in sizes
    ]
    totals = [w.total for w in work]
    for what, counts in (("attended pairs", pairs), ("numbers computed", totals)):
        steps = [b - a for a, b in pairwise(counts)]
        check.that(
            len(set(steps)) == 1,
            f"the {what} of {kind}, each time longer by as much, are {counts}: no straight line",
        )
    check.that(
        work[3].largest <= 5 * work[0].largest,
        f"the largest tensor grows from {work[0].largest} to {work[3].largest} numbers when {kind} "
        f"grows four times as long",
    )
    length = sizes[0][0]
    full = [_work(pieces.causal_attention, times * length).largest for times in (1, 4)]
    check.that(full[1] == 16 * full[0], f"full attention stores {full[0]}, then {full[1]} scores")
    whole = _pairs([(torch.arange(length), torch.arange(length))])
    check.that(pairs[0] < whole, f"{pairs[0]} of {whole} pairs in {length} positions are not local")


@claim(
    "theory.block_as_large_as_image_is_full_attention",
    r"l \ge T \;\Rightarrow\; \operatorname{local}_l(q, k, v) = \operatorname{causal}(q, k, v)",
    sources=[f"{PARMAR}, §3.3"],
    why=r"""With :math:`l \ge T` there is one block, no block before it, and its memory is itself.
    Within a block :math:`t` reads :math:`s \le t`: the same scores and the same softmax as causal
    attention. In 2-D a rectangle as large as the image leaves raster order as it is, and a halo
    around it holds no pixel.

    Nothing beyond the image may count. A block is easily filled up with zeros to its full length;
    but a key of zeros has the score 0, not minus infinity, and takes a share of the weights from
    those that are there.

    The oracle is a dense softmax over :math:`s \le t`, for images smaller than the block by up to
    three rows and columns. Then two transformers of the same weights, one with the block in a line
    and one with the rectangle, must give the same logits, and document the full past.""",
    assumptions={
        "nothing is read beyond the image": (
            "beside one real key of score 0 a padded one takes half of the weight"
        ),
        "the block and the one before hold the image": (
            "for :math:`l = 1` and :math:`T = 3` the last position does not read the first; in a "
            r"line :math:`l \ge T / 2` would do"
        ),
    },
    effort=0.5,
)
@given(
    event=st.sampled_from(IMAGES), extra=st.integers(0, 3), halo=st.sampled_from([(0, 0), (1, 2)])
)
def test_one_block_for_everything_is_full_attention(
    subject: Handle, device: str, dtype: torch.dtype, event: Event, extra: int, halo: Pair
) -> None:
    pieces = subject.pieces().raw
    length, rectangle = math.prod(event), (event[1] + extra, event[2] + extra)
    whole = torch.ones(length, length).tril().bool()
    what = f"one block for an image of {event}"
    _judge_weights(pieces, pieces.local_blocks_1d(length, length + extra), whole, what)
    _judge_weights(pieces, pieces.local_blocks_2d(event, rectangle, halo), whole, what)
    line = pieces.ImageTransformer(event, 3, block=length + extra).double()
    image = pieces.ImageTransformer(event, 3, block=rectangle, halo=halo).double()
    image.load_state_dict(line.state_dict())
    x = torch.randint(3, (2, *event))
    size = float(line.logits(x).detach().abs().max())
    room = rounding(torch.float64, length=length, scale=max(size, 1.0))
    check.close(image.logits(x), line.logits(x), room, f"2-D against 1-D logits, {what},")
    check.equal(image.receptive_field, past_of(raster(event)), f"the receptive field, {what},")
    small = pieces.ImageTransformer(event, 3, block=1, layers=1)
    local = int(small.receptive_field.sum())
    check.that(
        length < 3 or local < length * (length - 1) // 2,
        f"a block of one sub-pixel and one layer use {local} pairs of an image of {event}",
    )


# Where positions enter ---------------------------------------------------------------------------


def _entering(model: Any, x: Tensor) -> list[tuple[Tensor, Tensor]]:
    """What every layer of the model was given, and what it returned."""
    seen: list[tuple[Tensor, Tensor]] = []
    hooks = [
        layer.register_forward_hook(lambda _, given, found: seen.append((given[0], found)))
        for layer in model.layers
    ]
    with torch.no_grad():
        model.logits(x)
    for hook in hooks:
        hook.remove()
    return seen


def _closest(points: Tensor) -> tuple[float, int, int]:
    """The smallest distance between two rows, and which they are."""
    apart = torch.cdist(points[None], points[None], compute_mode="donot_use_mm_for_euclid_dist")[0]
    apart.fill_diagonal_(math.inf)
    i, j = divmod(int(apart.argmin()), len(points))
    return float(apart[i, j]), i, j


@claim(
    "theory.image_transformer_positions",
    r"(r, c, k) \mapsto P_{r,c,k} \text{ is injective}, \qquad h^1 = \text{level} + P, \qquad "
    r"h^{l+1} = \operatorname{layer}_l(h^l), \quad h_1 = \dots = h_T \Rightarrow "
    r"\operatorname{layer}_l(h)_1 = \dots = \operatorname{layer}_l(h)_T",
    sources=[f"{PARMAR}, §3.1 and Figure 1", f"{LECTURE}, 'position encodings are 3-dimensional'"],
    why=r"""Attention is an average of values with weights from keys, and does not change when the
    positions that are read are put in another order. Without a code of its place, a pixel's past
    would be a bag of levels. So row, column and channel :math:`(r, c, k)` get a code :math:`P`, no
    two the same. Half of it are sines and cosines of :math:`r`, half of :math:`cC + k` with
    :math:`C` channels; the fastest wave turns by one radian a step, and as :math:`2\pi` is
    irrational no two integers meet on the circle.

    The code is added once, to the levels: :math:`h^1` is what the first layer is given, and each
    later :math:`h^{l+1}` what the layer before returned. Given one token everywhere a layer
    averages equal values, with weights that sum to one, and must return one token everywhere.

    The test measures the least distance between codes, compares what hooks see enter and leave, and
    feeds equal tokens.""",
    assumptions={
        "coordinates are coded side by side": (
            "the sum of a code of the row and the same code of the column is one for (1, 2) and "
            "(2, 1)"
        ),
        "for equal tokens, the weights of every position sum to one": (
            "with a padded key of value zero each position keeps another share, and equal tokens "
            "part"
        ),
    },
    sentence="every place has its code, and the first layer alone is told",
    effort=0.5,
)
@given(
    event=st.sampled_from([*IMAGES, (3, 5, 8), (1, 9, 7)]),
    block=st.sampled_from([4, (2, 3)]),
    width=st.sampled_from([4, 8, 12]),
)
def test_every_place_has_its_code_and_the_first_layer_alone_is_told(
    subject: Handle, device: str, dtype: torch.dtype, event: Event, block: Any, width: int
) -> None:
    pieces = subject.pieces().raw
    codes = pieces.coordinate_encoding(event, width).double().permute(1, 2, 0, 3).flatten(0, 2)
    apart, i, j = _closest(codes)
    names = [_place(event, n) for n in (i, j)]
    check.that(apart > 1e-2, f"{names[0]} and {names[1]} of {event} are {apart:.3g} apart in code")
    model = pieces.ImageTransformer(event, 3, block=block, embed_dim=width, layers=3).double()
    steps = _entering(model, torch.randint(3, (2, *event)))
    for layer, ((_, left), (entered, _)) in enumerate(pairwise(steps)):
        check.equal(entered, left, f"what layer {layer + 2} is given, against layer {layer + 1},")
    token = torch.randn(1, 1, width, dtype=torch.float64).expand(1, len(codes), width)
    for layer in model.layers:
        found = layer(token).detach()
        room = rounding(torch.float64, length=len(codes), scale=max(float(found.abs().max()), 1.0))
        check.close(
            found, found[:, :1].expand_as(found), room,
            "what a layer makes of equal tokens, against its first position,",
        )  # fmt: skip
    with torch.no_grad():
        model.tokens.weight.zero_()
    apart, i, j = _closest(_entering(model, torch.zeros(1, *event, dtype=torch.long))[0][0][0])
    check.that(apart > 1e-2, f"the first layer cannot tell steps {i} and {j} of {event} apart")


def _place(event: Event, index: int) -> str:
    """A sub-pixel by its number in raster order."""
    pixel, channel = divmod(index, event[0])
    return f"(row {pixel // event[2]}, column {pixel % event[2]}, channel {channel})"


# The cache ---------------------------------------------------------------------------------------


def _transformers(pieces: Any) -> dict[str, Callable[[Event, int], Any]]:
    """A transformer of every kind, for an event and a number of classes."""
    image = pieces.ImageTransformer
    return {
        "pixel transformer": lambda e, c: pieces.PixelTransformer(e, 4, c),
        "1-D local": lambda e, c: image(e, 4, c, block=4),
        "2-D local": lambda e, c: image(e, 4, c, block=(2, 2), halo=(1, 1)),
        "mixture output": lambda e, c: image(e, 4, c, block=(1, 2), components=2, layers=3),
    }


def _vivid(model: nn.Module, factor: float = 3.0) -> Any:
    """In double precision, its matrices multiplied: what was drawn before matters to the draws."""
    with torch.no_grad():
        for parameter in model.double().parameters():
            if parameter.ndim >= 2:
                parameter *= factor
    return model


def _counted(model: Any, action: Callable[[], Tensor]) -> tuple[Tensor, list[int]]:
    """The result of ``action`` and how many positions each layer computed for it."""
    rows = [0] * len(model.layers)

    def watch(index: int) -> Any:
        def count(_: Any, given: tuple[Tensor, ...]) -> None:
            rows[index] += given[0].shape[1]

        return model.layers[index].attention.project.register_forward_pre_hook(count)

    hooks = [watch(index) for index in range(len(rows))]
    found = action()
    for hook in hooks:
        hook.remove()
    return found, rows


@claim(
    "theory.cached_transformer_is_naive",
    r"\texttt{transformer\_sample}(g) = \texttt{sample}(g) \;\text{ draw for draw}, \qquad T \text{ "
    r"positions a layer instead of } T^2",
    sources=[f"{PARMAR}, §4", f"{VASWANI}, §3.2.3"],
    why="""In a causal stack what position :math:`t` computes depends on positions up to :math:`t`,
    layer by layer. Its key and value are thus final when step :math:`t` is made, and may be kept:
    the step computes one position at each layer and reads the kept ones. That is :math:`T`
    positions a layer in all, where the naive sampler computes :math:`T` at each of :math:`T` steps.

    Both sum the same terms, so the probabilities are equal, up to rounding; from generators
    :math:`g` in equal states the same call draws equal levels, and by induction equal images.

    The oracle is the naive sampler: full passes of the model. It is compared for images, classes,
    completions and super-resolution, and for local attention in both forms, where a step must read
    what its block's memory holds, no less and no more. A hook counts the positions that each layer
    computes. Weights are enlarged, so that what was drawn before matters.""",
    assumptions={
        "the stack is causal": (
            "without a mask the keys of early positions change with every level drawn"
        ),
        "the code of a position does not depend on how many follow": (
            "counted from the end, all positions shift at each step, and every key with them"
        ),
    },
    dtypes=("float64",),
    effort=0.25,
)
@given(
    kind=st.sampled_from(
        ["pixel transformer", "1-D local", "2-D local", "mixture output", "super-resolution"]
    ),
    event=st.sampled_from([(1, 3, 4), (3, 2, 3), (1, 5, 3)]),
    num_classes=st.sampled_from([0, 2]),
    seed=st.integers(0, 2**31 - 1),
)
def test_the_cached_transformer_draws_what_the_naive_one_draws(
    subject: Handle, device: str, dtype: torch.dtype, kind: str, event: Event, num_classes: int,
    seed: int,
) -> None:  # fmt: skip
    pieces, n, length = subject.pieces().raw, 3, math.prod(event)
    y, given = torch.arange(n) % num_classes if num_classes else None, {}
    if kind == "super-resolution":
        whole = _vivid(pieces.SuperResolutionTransformer((1, 1, 2), event, 4, block=4))
        model, y = whole.decoder, None
        given = {"context": whole.encode(torch.randint(4, (n, 1, 1, 2))).detach()}
    else:
        model = _vivid(_transformers(pieces)[kind](event, num_classes))

    def source() -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    what = f"of the {kind} on {event}"
    expected = model.sample(n, y, generator=source(), **given)
    found, rows = _counted(
        model, lambda: pieces.transformer_sample(model, n, y, generator=source(), **given)
    )
    check.equal(found, expected, f"the cached sample {what}")
    check.that(
        set(rows) == {length}, f"its layers computed {rows} positions {what}, not {length} each"
    )
    known = torch.rand(event) < 0.4
    x = torch.randint(4, (n, *event))
    expected = model.complete(x, known, y, generator=source(), **given)
    found = pieces.transformer_complete(model, x, known, y, generator=source(), **given)
    check.equal(found, expected, f"the cached completion {what}")


# Super-resolution --------------------------------------------------------------------------------


def _each_changed(x: Tensor, levels: int) -> Tensor:
    """``(1 + D, *event)``: the event, and a copy with each dimension changed in turn."""
    count = x[0].numel()
    batch = x.expand(count + 1, *x.shape[1:]).clone().view(count + 1, count)
    every = torch.arange(count)
    batch[1 + every, every] = (
        batch[1 + every, every] + torch.randint(1, levels, (count,))
    ) % levels
    return batch.view(count + 1, *x.shape[1:])


def _felt(found: Tensor) -> tuple[Tensor, float]:
    """``(D, changed)``: the largest change of each dimension's logits, and what rounding does."""
    flat = found.detach().flatten(2)  # (1 + changed, K, D)
    size = max(float(flat.abs().max()), 1.0)
    return (flat[1:] - flat[:1]).abs().amax(1).T, rounding(torch.float64, scale=size)


def _redrawn(build: Callable[[], Any]) -> Iterator[Any]:
    for _ in range(4):  # a dependence may be tiny by chance, not four times
        yield _vivid(build(), 2.0)


@claim(
    "theory.superresolution_attends_to_the_whole_input",
    r"\frac{\partial\, \ell_i}{\partial\, s_j} \ne 0 \;\text{ for all } i, j, \qquad "
    r"\frac{\partial\, \ell_i}{\partial\, x_j} = 0 \;\text{ for all } j \ge i",
    sources=[f"{PARMAR}, §3.2 and §5.3", f"{LECTURE}, 'Superresolution'"],
    why=r"""The model is :math:`p(x \mid s) = \prod_i p(x_i \mid x_{<i}, s)`, with :math:`\ell_i`
    the logits of :math:`x_i`, and :math:`i` counted in the order of generation. The small image
    :math:`s` is given beforehand, so any function of all of it may enter each factor, the first one
    too. Cross-attention is a softmax over all features of :math:`s` without a mask: every weight is
    positive, and for weights in general position every logit changes with every entry.

    The large image keeps its order. If the model computed :math:`s` from :math:`x` inside, the
    derivative in :math:`x_j` would gain the path

    .. math::

        \frac{\partial \ell_i}{\partial s} \frac{\partial s}{\partial x_j} \ne 0
        \quad \text{also for } j \ge i

    and the pixels would see themselves. The test changes each entry of both images by itself. It
    includes encoders without a layer, whose features know one entry each, so that the attention
    itself must read them all; and it probes that layer alone.""",
    assumptions={
        "the small image is not computed from the target inside the model": (
            "with :math:`s = x` for one binary pixel the model may give it all the probability, "
            "and both values sum to 2"
        ),
        "weights in general position": "with values of zero nothing of the small image is heard",
    },
    dtypes=("float64",),
    effort=0.25,
)
@given(
    sizes=st.sampled_from([((1, 2, 3), (1, 4, 5)), ((3, 1, 2), (3, 2, 3)), ((1, 1, 2), (1, 3, 4))]),
    block=st.sampled_from([4, (2, 3)]),
    encoders=st.sampled_from([0, 1, 2]),
)
def test_every_conditional_uses_all_of_the_small_image_and_the_past_of_the_large(
    subject: Handle, device: str, dtype: torch.dtype, sizes: tuple[Event, Event], block: Any,
    encoders: int,
) -> None:  # fmt: skip
    pieces = subject.pieces().raw
    small, event = sizes
    given, made = math.prod(small), math.prod(event)
    unused = torch.ones(made, given, dtype=torch.bool)
    unread = torch.ones(made, made, dtype=torch.bool)

    def build() -> Any:
        return pieces.SuperResolutionTransformer(
            small, event, 3, block=block, encoder_layers=encoders
        )

    for model in _redrawn(build):
        s, x = torch.randint(3, (1, *small)), torch.randint(3, (1, *event))
        change, noise = _felt(model.logits(x.expand(1 + given, *event), _each_changed(s, 3)))
        unused &= ~(change > noise)
        change, noise = _felt(model.logits(_each_changed(x, 3), s.expand(1 + made, *small)))
        past = past_of(model.decoder.order.tolist())
        leak = torch.where(past, 0.0, change)
        i, j = (int(n) for n in torch.nonzero(leak == leak.max())[0])
        check.at_most(leak.max(), 0.0, noise, f"the change of logits {i} with {j} of the target")
        unread &= ~(change > noise)
        field = model.decoder.receptive_field
        if not unused.any() and not (unread & field).any():
            break
    else:
        i, j = (int(n) for n in (unused if unused.any() else unread & field).nonzero()[0])
        image = "small" if unused.any() else "large"
        raise Violation(f"logits {i} of {event} never change with entry {j} of the {image} image")
    _judge_across(lambda: pieces.CrossAttention(6, 2))


def _judge_across(build: Callable[[], Any]) -> None:
    """Every reader of five uses every feature of four."""
    unused = torch.ones(4, 5, dtype=torch.bool)
    for across in _redrawn(build):
        h, context = torch.randn(1, 5, 6).double(), torch.randn(1, 4, 6).double()
        changed = context + torch.diag_embed(torch.ones(6, 4)).permute(1, 2, 0)  # (4, 4, 6)
        found = across(h.expand(5, 5, 6), torch.cat([context, changed])).detach()
        room = rounding(torch.float64, scale=max(float(found.abs().max()), 1.0))
        unused &= (found[1:] - found[:1]).abs().amax(2) <= room  # (changed, reader)
        if not unused.any():
            return
    s, t = (int(n) for n in unused.nonzero()[0])
    raise Violation(f"reader {t} of the decoder never changes with feature {s} of the encoder")


# Outputs -----------------------------------------------------------------------------------------


def _log_odds(logits: Tensor) -> Tensor:
    """``(..., K - 1)``: log of Pr[level <= k] over Pr[level > k]."""
    up = logits.logcumsumexp(-1)[..., :-1]
    down = logits.flip(-1).logcumsumexp(-1).flip(-1)[..., 1:]
    return up - down


@claim(
    "theory.mixture_output_is_ordinal",
    r"\log \frac{\Pr[x \le k]}{\Pr[x > k]} = \frac{v_k + h - \mu}{s}\;(M = 1), \qquad "
    r"\Pr[x \le k] = \sum_m \pi_m\, \sigma\!\Bigl(\frac{v_k + h - \mu_m}{s_m}\Bigr)",
    sources=[f"{PARMAR}, §3.4", "Salimans et al. 2017, 'PixelCNN++', equation 2"],
    why=r"""Level :math:`k` is the bin around :math:`v_k = 2k/(K - 1) - 1` of half-width :math:`h =
    1/(K - 1)`, and each of :math:`M` logistics, of weight :math:`\pi_m`, mean :math:`\mu_m` and
    scale :math:`s_m`, gives it the mass between its ends. A bin ends where the next begins and the
    first has no lower end, so for :math:`k < K - 1` the masses up to :math:`k` telescope to the
    second equation. For one logistic :math:`\sigma` is undone by the log-odds:

    .. math::

        \log \frac{\sigma(z)}{1 - \sigma(z)} = z, \qquad z = \frac{v_k + h - \mu}{s}

    affine in :math:`k`, and two numbers fix the law for any :math:`K`. Levels lie on a line, and
    one that was never seen gets its mass from its neighbours. To a softmax they are :math:`K` names
    with weights of their own.

    The oracle is the weighted sum of :math:`\sigma` at the edges. A softmax must bend, and the size
    of the mixture's head not depend on :math:`K`.""",
    assumptions={
        "one component, for affine log-odds": (
            "halves at the means -5 and 5 with scale 1 have the log-odds 0, 1.10 and 5.70 at 0, "
            "5 and 10"
        ),
        "the outer bins take the tails": (
            "cut off and renormalised, the mass of all levels up to :math:`k` is no difference "
            r"of two :math:`\sigma`, and the log-odds bend at both ends"
        ),
    },
    sentence="a mixture orders the levels, and a softmax does not",
    effort=0.5,
)
@given(levels=st.integers(3, 9), components=st.sampled_from([1, 2, 5]), n=st.sampled_from([1, 4]))
def test_a_mixture_orders_the_levels_and_a_softmax_does_not(
    subject: Handle, device: str, dtype: torch.dtype, levels: int, components: int, n: int
) -> None:
    pieces = subject.pieces().raw
    parameters = torch.randn(n, 3 * components, dtype=torch.float64)
    weights, means, scales = parameters.view(n, 3, 1, components).unbind(1)
    found = pieces.mixture_logits(parameters, levels)
    edges = (2 * torch.arange(levels - 1, dtype=torch.float64) + 1) / (levels - 1) - 1  # v + h
    apart = (edges[:, None] - means) / scales.exp()  # (n, K - 1, M)
    below = (weights.softmax(-1) * apart.sigmoid()).sum(-1)
    room = rounding(torch.float64, length=levels * components)
    check.close(found.exp().cumsum(-1)[..., :-1], below, room, "the mass up to each level")
    check.close(found.exp().sum(-1), torch.ones(n), room, "the mass of all levels")
    event = (1, 2, 3)
    x = torch.randint(levels, (n, *event))
    one = pieces.ImageTransformer(event, levels, components=1).double()
    odds = _log_odds(one.logits(x).detach().movedim(1, -1))
    size = float(odds.abs().max())
    steps, room = odds.diff(dim=-1), rounding(torch.float64, length=levels, scale=max(size, 1.0))
    check.at_least(steps, 0.0, 0.0, "the step of the log-odds from one level to the next")
    check.close(
        steps, steps[..., :1].expand_as(steps), room,
        "the step of the log-odds under one logistic, against the first step,",
    )  # fmt: skip
    free = pieces.ImageTransformer(event, levels).double()
    steps = _log_odds(free.logits(x).detach().movedim(1, -1)).diff(dim=-1)
    bends = float((steps - steps[..., :1]).abs().max())
    check.that(
        bends > 1e-3 or levels < 4, "the log-odds of a softmax over free logits are affine in k"
    )
    sizes = {
        sum(p.numel() for p in pieces.ImageTransformer(event, k, components=2).head.parameters())
        for k in (levels, levels + 4)
    }
    check.that(len(sizes) == 1, f"a mixture's head has {sizes} parameters, depending on K")
