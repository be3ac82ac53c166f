r"""Theory of gated, conditional, multi-scale and cached PixelCNN.

What a network can see is found by changing one input after the other, all in one batch, over
several draws of the weights; what it should see is written down in closed form.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from spec_tests import check
from spec_tests.chain_rule import past_of, raster
from spec_tests.claims.test_autoregressive import GATED, LECTURE, PIXELRNN
from spec_tests.handle import Handle
from spec_tests.judge import stratified
from spec_tests.registry import claim
from spec_tests.tolerance import rounding

FAST = "Ramachandran et al. 2017, 'Fast Generation for Convolutional Autoregressive Models'"

Event = tuple[int, int, int]


def _places(event: Event) -> tuple[Tensor, Tensor, Tensor]:
    """Channel, row and column of every dimension of the flattened event."""
    _, height, width = event
    index = torch.arange(math.prod(event))
    pixel = index % (height * width)
    return index // (height * width), pixel // width, pixel % width


def _seen(step: Callable[[Tensor], Tensor], event: Event, levels: int) -> Tensor:
    """Bool ``(D, D)``: whether the logits of row i change when column j of one random image does."""
    d = math.prod(event)
    batch = torch.randint(levels, (1, d)).repeat(d + 1, 1)
    every = torch.arange(d)
    batch[1 + every, every] = (batch[1 + every, every] + torch.randint(1, levels, (d,))) % levels
    return _moved(step(batch.view(d + 1, *event)))


def _moved(found: Tensor) -> Tensor:
    """Bool ``(D, M)``: whether the logits of a dimension differ between item 0 and item 1 + j."""
    flat = found.detach().flatten(2)
    change = (flat[1:] - flat[:1]).abs().amax(1).mT
    return change > rounding(found.dtype, scale=_size(flat))


def _size(value: Tensor) -> float:
    return max(float(value.detach().abs().max()), 1.0)


def _first(pairs: Tensor) -> list[int]:
    return pairs.nonzero()[0].tolist() if bool(pairs.any()) else []


def _judge_set(found: Tensor, expected: Tensor, what: str) -> None:
    """Two sets of dependences are one; the message names a pair."""
    more, less = found & ~expected, expected & ~found
    check.that(not more.any(), f"{what}: {_first(more)} (to, from) must not be there, and is")
    check.that(not less.any(), f"{what}: {_first(less)} (to, from) must be there, and is not")


# The receptive field -----------------------------------------------------------------------------


def _rectangle(event: Event, first: int, later: int, layers: int) -> Tensor:
    r"""What the two stacks see, in closed form: a rectangle above, and the row to the left.

    With radii a and b the reach is m = a + b layers. If a = 0, no tap of type A lies left of the
    pixel: what comes from there are features of earlier pixels, which do not know their own last
    colour.
    """
    a, b = first // 2, later // 2
    m = a + b * layers
    channel, row, column = _places(event)
    up, right = row[:, None] - row[None, :], column[None, :] - column[:, None]
    above = (up >= 1) & (up <= m + 1) & (right.abs() <= m)
    left = (up == 0) & (right < 0) & (right >= -m) & ((channel < event[0] - 1) | (a > 0))[None, :]
    own = (up == 0) & (right == 0) & (channel[None, :] < channel[:, None])
    return above | left | own


@claim(
    "theory.gated_pixelcnn_has_no_blind_spot",
    r"\text{seen}(r, c) = \{(r - u, c + d) : 1 \le u \le m + 1,\ |d| \le m\} \cup "
    r"\{(r, c - d) : 1 \le d \le m\}, \qquad m = a + bL",
    sources=[f"{GATED}, §2.2 and Figure 1"],
    why=r"""Let :math:`a` be the radius of the first kernel, :math:`b` that of the :math:`L` others,
    :math:`m = a + bL`. The vertical stack needs no mask, as its kernels end in their own row.
    Rectangles add up to rectangles: its features at :math:`(r, c)` know the rows :math:`r - m` to
    :math:`r` and the columns :math:`c - m` to :math:`c + m`, pixels of their own row to the right
    among them. They are told one row lower only, where all of it is past: hence :math:`u` from 1 to
    :math:`m + 1`. The horizontal stack adds the :math:`m` pixels to the left; what it brings along
    from there, rectangles of earlier layers, lies within the last one.

    A masked kernel moves right only while it moves up. Stacked kernels of 3 x 3 therefore reach
    :math:`d \le u` to the right, :math:`u` rows above: what lies beyond is PixelCNN's blind spot.

    The closed form, from coordinates, is held against the composed masks and against what the
    logits of the network change with, over redrawn weights. In its own pixel a colour sees the
    earlier ones.""",
    assumptions={
        "the first kernel is wider than 1": (
            "with :math:`a = 0` and one channel type A hides the only tap of the row, and the "
            "features to the left do not know their own pixel: of the row to the left nothing is "
            "seen"
        ),
        "the vertical features are told one row lower": (
            "told in their own row they bring :math:`(r, c)` and :math:`(r, c + 1)` along, which "
            "are not drawn yet"
        ),
    },
    sentence="two stacks see the whole rectangle above",
    dtypes=("float64",),
    effort=0.3,
)
@given(
    kernels=st.sampled_from([(3, 3), (5, 3), (7, 3), (3, 1), (5, 5), (3, 5), (1, 3)]),
    layers=st.integers(0, 3),
    event=stratified(
        [
            st.sampled_from([(1, 3, 7), (1, 4, 6), (1, 2, 8), (1, 5, 4), (1, 7, 1)]),
            st.sampled_from([(3, 3, 2), (3, 2, 4), (3, 1, 5)]),
        ]
    ),
)
def test_two_stacks_see_the_whole_rectangle_above(
    subject: Handle, device: str, dtype: torch.dtype, kernels: tuple[int, int], layers: int,
    event: Event,
) -> None:  # fmt: skip
    pieces = subject.pieces().raw
    first, later = kernels
    expected = _rectangle(event, first, later, layers)
    composed = pieces.gated_pixelcnn_receptive_field(*event, layers, first, later)
    _judge_set(composed, expected, f"the composed masks for an event of {event}")
    blind = pieces.pixelcnn_receptive_field(*event, layers, first, later)
    check.that(
        not (blind & ~expected).any(), "PixelCNN of the same kernels sees what two stacks miss"
    )
    past = past_of(raster(event))
    a, m = first // 2, first // 2 + layers * (later // 2)
    if a and m >= max(event[2] - 1, event[1] - 2):
        _judge_set(composed, past, f"an image of {event}, covered by {m} pixels either side")
    if m > a and event[1] > 1 and event[2] > a + 1:
        cured = bool((past & composed & ~blind).any())
        check.that(cured, f"the blind spot of PixelCNN in an image of {event} is still there")
    found = torch.zeros_like(expected)
    for _ in range(20):
        network = pieces.GatedPixelCNN(
            event, 2, hidden=6, head=6, layers=layers, first_kernel=first, kernel=later
        ).double()
        found |= _seen(network.logits, event, 2)
        if not (expected & ~found).any():
            break
    _judge_set(found, expected, "what the logits of the network change with")


# Cached samplers ---------------------------------------------------------------------------------


def _lively(model: Any) -> Any:
    """In float64, with matrices twice as large: what was drawn before matters for what is drawn."""
    with torch.no_grad():
        for parameter in model.double().parameters():
            parameter.mul_(2.0 if parameter.ndim > 1 else 1.0)
    return model


def _sampled(
    pieces: Any, kind: str, event: Event, levels: int, n: int
) -> tuple[Callable[[Tensor], Tensor], Any]:
    """The logits of a model of this kind, given what it is conditioned on, and a cache for it."""
    y = torch.randint(3, (n,))
    if kind == "PixelCNN":
        model = _lively(pieces.PixelCNN(event, levels, 3, hidden=6, head=9, first_kernel=5))
        return lambda x: model.logits(x, y), pieces.PixelCNNCache(model, n, y)
    if kind == "GatedPixelCNN":
        model = _lively(pieces.GatedPixelCNN(event, levels, hidden=6, head=9, first_kernel=5))
        return model.logits, pieces.GatedPixelCNNCache(model, n)
    model = _lively(pieces.ConditionalPixelCNN(event, levels, 3, 2, 4, hidden=6, head=9))
    given = y, torch.randn(n, 2).double(), torch.randn(n, 4, *event[1:]).double()
    terms = model.terms(torch.zeros(n, *event).long(), *given)
    return lambda x: model.logits(x, *given), pieces.GatedPixelCNNCache(model.image, n, terms)


def _naive(
    step: Callable[[Tensor], Tensor], x: Tensor, known: Tensor, source: torch.Generator
) -> Tensor:
    """One pass for each unknown entry, in raster order, one draw of ``torch.multinomial`` each."""
    flat, is_known = torch.where(known, x, 0).flatten(1), known.flatten().tolist()
    for i in raster(tuple(x.shape[1:])):
        if not is_known[i]:
            with torch.no_grad():
                p = step(flat.view(x.shape)).flatten(2)[:, :, i].softmax(1)
            flat[:, i] = torch.multinomial(p, 1, generator=source)[:, 0]
    return flat.view(x.shape)


def _judge_conditionals(cache: Any, step: Callable[[Tensor], Tensor], x: Tensor) -> None:
    """Told an image colour by colour, the cache gives the logits of one pass over the image."""
    with torch.no_grad():
        expected = step(x)  # (N, K, C, H, W)
        for row, column, c in product(*map(range, (*x.shape[2:], x.shape[1]))):
            found = cache.logits(row, column)[:, :, c]
            allowed = rounding(expected.dtype, length=100, scale=_size(expected))
            check.close(
                found, expected[:, :, c, row, column], allowed,
                f"the cached logits of colour {c} of pixel ({row}, {column}), against a pass,",
            )  # fmt: skip
            blank = torch.where(torch.arange(x.shape[1]) <= c, x[:, :, row, column], 0)
            cache.record(row, column, blank)


KINDS = stratified([st.just(k) for k in ("PixelCNN", "GatedPixelCNN", "ConditionalPixelCNN")])


@claim(
    "theory.cached_pixelcnn_is_naive",
    r"\texttt{cached}(g) = \texttt{naive}(g) \quad\text{draw for draw}",
    sources=[f"{FAST}, §2"],
    why=""":math:`g` is the state of the generator. In a causal network the features at a pixel
    depend on pixels before it and, for each colour, on its own earlier colours. Once the pixel is
    drawn they are final: a pass over the image, made at any later time, computes the same numbers
    there. A sampler may therefore keep them and compute, for each draw, the features of one pixel.

    Induction over the draws: equal levels so far give equal probabilities, and the same call with a
    generator in the same state gives equal levels and leaves equal states. So the images are the
    same, not only their distribution.

    The oracle is written in the test: a pass of the network for each unknown entry, in raster
    order, and one ``torch.multinomial``. The cache, told an image colour by colour, must also give
    the logits of one pass over it; and after a first sample it must draw a second as if it were
    new.""",
    assumptions={
        "the network is causal": (
            "with a normalisation over all positions each draw changes the features everywhere, "
            "and those that were kept are stale"
        ),
        "its layers are deterministic": (
            "with dropout left on the naive sampler draws new features at every pass, and the "
            "cached one keeps the first"
        ),
    },
    sentence="the cached sampler draws what the naive one draws",
    dtypes=("float64",),
    effort=0.3,
)
@given(
    kind=KINDS,
    event=st.sampled_from([(1, 4, 5), (1, 1, 6), (1, 6, 1), (3, 2, 3), (3, 3, 1), (3, 1, 1)]),
    levels=st.sampled_from([2, 3, 5]),
    n=st.sampled_from([1, 3, 5]),
    seed=st.integers(0, 2**31 - 1),
)
def test_cached_sampler_draws_what_the_naive_one_draws(
    subject: Handle, device: str, dtype: torch.dtype, kind: str, event: Event, levels: int, n: int,
    seed: int,
) -> None:  # fmt: skip
    pieces = subject.pieces().raw
    step, cache = _sampled(pieces, kind, event, levels, n)
    one, other = (torch.Generator().manual_seed(seed) for _ in range(2))
    nothing = torch.zeros(event, dtype=torch.bool)
    _judge_conditionals(cache, step, torch.randint(levels, (n, *event)))
    x, known = torch.randint(levels, (n, *event)), torch.rand(event) < 0.5
    for what in ("a first", "a second"):
        found = pieces.cached_sample(cache, one)
        expected = _naive(step, x, nothing, other)
        check.equal(found, expected, f"{what} sample of {n} from {kind}, cached against naive,")
    found = pieces.cached_complete(cache, x, known, one)
    check.equal(found, _naive(step, x, known, other), f"a completion by {kind}, cached, naive,")
    same = torch.equal(one.get_state(), other.get_state())
    check.that(same, "the cached sampler left the generator in another state than the naive one")


class _Counter(TorchDispatchMode):
    """Counts the multiplications and additions of matrix products and convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func.overloadpacket)
        if count is not None:
            self.total += int(count(*args, **(kwargs or {}), out_val=out))
        return out


def _operations(action: Callable[[], Any]) -> int:
    with _Counter() as counter, torch.no_grad():
        action()
    return counter.total


@claim(
    "theory.cached_sampling_costs_one_pass",
    r"\text{operations}(\texttt{cached sample}) \le C \cdot \text{operations}(\text{one pass}), "
    r"\qquad \text{operations}(\texttt{naive sample}) = D \cdot \text{operations}(\text{one pass})",
    sources=[f"{FAST}, §2", f"{LECTURE}, 'PixelCNN: slow to sample'"],
    why="""One pass computes the features of all :math:`HW` pixels, and a convolution costs the same
    at each. The cached sampler computes the features of one pixel for each draw, :math:`D = CHW`
    times with :math:`C` colours: what :math:`C` passes cost, or less, as the rows of a vertical
    stack need no repetition. They are needed once more for every further colour, since the features
    of green know the red that was drawn. The naive sampler makes :math:`D` passes and uses one
    pixel of each.

    A wrong cache that computes too much draws the right images; no comparison of samples finds it.
    So the test counts the multiplications and additions of matrix products and convolutions, as
    they are dispatched, which does not depend on the machine as seconds do. The naive count must be
    exactly :math:`D` passes, which tells that the counter works.""",
    assumptions={
        "operations are counted, not time": (
            "a pass computes all pixels side by side, the cached sampler one after the other: as "
            "many operations, and :math:`HW` times as many that wait for each other"
        ),
    },
    sentence="cached sampling computes every feature once for each colour",
    dtypes=("float64",),
    effort=0.2,
)
@given(
    kind=KINDS,
    event=st.sampled_from([(1, 3, 2), (1, 2, 4), (3, 2, 1), (3, 1, 2)]),
    n=st.sampled_from([1, 3]),
)
def test_cached_sampling_computes_every_feature_once_a_colour(
    subject: Handle, device: str, dtype: torch.dtype, kind: str, event: Event, n: int
) -> None:
    pieces = subject.pieces().raw
    step, cache = _sampled(pieces, kind, event, 3, n)
    x = torch.zeros(n, *event, dtype=torch.long)
    one = _operations(lambda: step(x))
    cached = _operations(lambda: pieces.cached_sample(cache))
    naive = _operations(lambda: pieces.sample(step, n, event))
    check.that(
        naive == math.prod(event) * one,
        f"naive sampling of {event} takes {naive} operations, a pass {one}",
    )
    check.that(
        0 < cached <= event[0] * one,
        f"cached sampling of {event} from {kind} takes {cached} operations, a pass {one}, of "
        f"which one for each of {event[0]} colours is enough",
    )


# Conditions --------------------------------------------------------------------------------------


def _carried(event: Event, radius: int, layers: int) -> Tensor:
    """Bool ``(D, H W)``: whether a dimension hears of the map at a pixel, in closed form.

    In its own row the map travels right with every layer but the first; the vertical stack takes
    it down a row, and on from there in all directions that the kernels allow.
    """
    _, row, column = _places(event)
    pixel = torch.arange(event[1] * event[2])
    down = row[:, None] - (pixel // event[2])[None, :]
    right = column[:, None] - (pixel % event[2])[None, :]
    m = radius * layers
    in_row = (down == 0) & (right >= 0) & (right <= m)
    return in_row | ((down >= 1) & (down <= m + 1) & (right.abs() <= m))


def _hears(model: Any, x: Tensor, given: dict[str, Tensor], kind: str, cells: int) -> Tensor:
    """Bool ``(D, cells)``: which logits change with which cell of one kind of condition."""
    base = given[kind]
    batch = base.repeat(cells + 1, *(1 for _ in base.shape[1:]))
    for cell in range(cells):
        if kind == "y":
            batch[1 + cell] = (base[0] + 1 + cell) % (cells + 1)
        elif kind == "embedding":
            batch[1 + cell, cell] += 1
        else:
            batch[1 + cell].flatten(1)[:, cell] += 1
    wide = {k: v.expand(cells + 1, *v.shape[1:]) for k, v in given.items()} | {kind: batch}
    return _moved(model.logits(x.expand(cells + 1, *x.shape[1:]), **wide))


@claim(
    "theory.conditioning_enters_every_pixel",
    r"\frac{\partial \ell_i}{\partial h} \ne 0 \ \forall i, \qquad \frac{\partial \ell_{(r,c)}}"
    r"{\partial s_{(r,c)}} \ne 0, \qquad \frac{\partial \ell_i}{\partial x_j} = 0 \ \forall j \ge i",
    sources=[f"{GATED}, §2.3, Equations 3 to 5"],
    why=r"""Let :math:`h` be a class or a vector, :math:`s` a map, :math:`\ell_i` the logits of
    dimension :math:`i` in raster order. Every layer adds a term before its gates,

    .. math::

        y = \tanh(W_f * x + V_f h) \odot \sigma(W_g * x + V_g h)

    and a condition is no pixel: :math:`V` needs no mask, is the same at every pixel, and reaches
    all colours. A map enters by a 1 x 1 convolution, so first at its own pixel. From there the
    causal kernels carry it to the right in its row, and to both sides in the rows below; pooled, it
    would be a vector.

    For fixed conditions the added terms are constants, and the zeros of :math:`\partial \ell_i /
    \partial x_j` stay, also if :math:`s` is an encoder's view of another image.

    The test changes each class, entry of the vector and pixel of the map by itself. The reach of
    the map is written down from coordinates: to the right in its row, and a rectangle below.""",
    assumptions={
        "the condition is not computed from x": (
            "with :math:`s = x` the logits of a pixel change with the pixel, and the "
            "probabilities of all images no longer sum to one"
        ),
        "weights in general position": "with :math:`V = 0` no condition is heard",
    },
    dtypes=("float64",),
    effort=0.3,
)
@given(
    event=stratified([st.sampled_from([(1, 3, 5), (1, 4, 2)]), st.sampled_from([(3, 2, 3)])]),
    layers=st.integers(0, 2),
)
def test_conditions_reach_every_pixel_and_leave_the_order_alone(
    subject: Handle, device: str, dtype: torch.dtype, event: Event, layers: int
) -> None:
    pieces = subject.pieces().raw
    d, pixels = math.prod(event), event[1] * event[2]
    carried = _carried(event, 1, layers)
    every = {kind: torch.ones(d, n, dtype=torch.bool) for kind, n in (("y", 2), ("embedding", 4))}
    missing = {**every, "spatial": carried}
    for _ in range(10):
        encoder = pieces.SpatialEncoder(2, 5).double()
        model = pieces.ConditionalPixelCNN(
            event, 3, num_classes=3, embedding=4, maps=5, hidden=6, head=6, layers=layers
        ).double()
        given = {
            "y": torch.randint(3, (1,)),
            "embedding": torch.randn(1, 4).double(),
            "spatial": encoder(torch.randn(1, 2, *event[1:]).double()).detach(),
        }
        x = torch.randint(3, (1, *event))

        def step(images: Tensor, model: Any = model, given: Any = given) -> Tensor:
            n = len(images)
            return model.logits(images, **{k: v.expand(n, *v.shape[1:]) for k, v in given.items()})

        future = _seen(step, event, 3) & ~past_of(raster(event))
        check.that(
            not future.any(),
            f"given conditions, the logits of dimension {_first(future)[:1]} change with dimension "
            f"{_first(future)[1:]} of x, which does not precede it",
        )
        for kind, cells in (("y", 2), ("embedding", 4), ("spatial", pixels)):
            heard = _hears(model, x, given, kind, cells)
            if kind == "spatial":
                stray = heard & ~carried
                check.that(
                    not stray.any(),
                    f"dimension {_first(stray)[:1]} hears of the map at pixel {_first(stray)[1:]}, "
                    f"out of reach of the kernels",
                )
            missing[kind] = missing[kind] & ~heard
        if not any(bool(pairs.any()) for pairs in missing.values()):
            return
    lost = next(kind for kind, pairs in missing.items() if pairs.any())
    raise check.Violation(
        f"over 10 draws of the weights, dimension {_first(missing[lost])[0]} never hears of "
        f"{lost} {_first(missing[lost])[1]}"
    )


# Two scales --------------------------------------------------------------------------------------


@claim(
    "theory.multiscale_is_one_density",
    r"\sum_x p(x) = 1, \qquad \sum_{x_{\bar S}} p(x_S, x_{\bar S}) = p_{\text{small}}(x_S)",
    sources=[f"{PIXELRNN}, §3.6"],
    why=r"""The small image :math:`x_S` is a part of the large one, the pixels :math:`S` in every so
    many rows and columns; :math:`\bar S` are the others. The model is

    .. math::

        p(x) = p_{\text{small}}(x_S)
        \prod_{i \in \bar S} p(x_i \mid x_S, x_j : j \in \bar S,\ j < i)

    Summed over the last pixel of :math:`\bar S` its factor gives one; then the one before it, until
    :math:`p_{\text{small}}(x_S)` is left. That is the second equation, and summed over :math:`x_S`
    it gives the first. If the likelihoods of both images were added, the pixels of :math:`S` would
    count twice; if the large network predicted them again, their marginal would no longer be the
    small network's.

    The oracle is the list of all images: their probabilities are summed, in all and for each small
    image, also for odd sizes, single rows and single pixels.""",
    assumptions={
        "each pixel is counted once": (
            "of a single binary pixel, at 1/2 in both networks, the product of the two "
            "likelihoods sums to 1/2"
        ),
        "the small image is a part of the large one": (
            "an average of 2 x 2 pixels is not: given the average, probability goes to images "
            "that have another one"
        ),
    },
    effort=0.3,
)
@given(
    case=stratified(
        [
            st.sampled_from([((1, 3, 3), 2, 2), ((1, 2, 3), 2, 2), ((1, 4, 2), 2, 3)]),
            st.sampled_from([((1, 1, 4), 3, 2), ((1, 4, 1), 3, 3), ((1, 1, 1), 4, 2)]),
            st.sampled_from([((3, 1, 2), 2, 2), ((3, 1, 1), 3, 2), ((3, 2, 1), 2, 2)]),
        ]
    )
)
def test_subsampled_marginal_is_the_small_model(
    subject: Handle, device: str, dtype: torch.dtype, case: tuple[Event, int, int]
) -> None:
    pieces = subject.pieces().raw
    event, levels, factor = case
    model = pieces.MultiscalePixelCNN(event, levels, factor, hidden=6, head=6).to(dtype)
    events = torch.tensor(list(product(range(levels), repeat=math.prod(event)))).view(-1, *event)
    with torch.no_grad():
        p = model.log_prob(events).double().exp()
    allowed = rounding(dtype, length=len(events))
    check.close(p.sum(), 1.0, allowed, f"the sum over all {len(events)} images")
    part = events[:, :, ::factor, ::factor]
    small, index = part.flatten(1).unique(dim=0, return_inverse=True)
    marginal = torch.zeros(len(small), dtype=torch.float64).index_add(0, index, p)
    with torch.no_grad():
        expected = model.small.log_prob(small.view(-1, *part.shape[1:])).double().exp()
    check.close(marginal, expected, allowed, "the marginal of the subsampled pixels")
    first = model.order.tolist()[: part[0].numel()]
    named = torch.arange(math.prod(event)).view(event)[:, ::factor, ::factor].flatten().tolist()
    check.that(
        sorted(first) == sorted(named),
        f"the order begins with {first}, the subsampled pixels are {named}",
    )
