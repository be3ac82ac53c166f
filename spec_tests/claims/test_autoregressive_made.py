r"""Theory of NADE and MADE: shared weights, masks from degrees, any order, features of the past."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from spec_tests import check
from spec_tests.chain_rule import all_events, past_of, raster
from spec_tests.contracts.autoregressive import AutoregressiveModelConfig
from spec_tests.handle import Handle
from spec_tests.judge import stratified
from spec_tests.numerics import gradients
from spec_tests.registry import claim
from spec_tests.tolerance import rounding

NADE = "Larochelle and Murray 2011, 'The Neural Autoregressive Distribution Estimator'"
MADE = "Germain et al. 2015, 'MADE: Masked Autoencoder for Distribution Estimation'"
LECTURE = "CS182 2021 L17, 'Generative Modeling'"

EVENTS = st.sampled_from([(2,), (3,), (5,), (1, 2, 3), (3, 2, 1), (3, 1, 2)])


# Helpers -----------------------------------------------------------------------------------------


class _Work(TorchDispatchMode):
    """Counts the numbers that are written, and the multiplications of matrix products."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        parts = found if isinstance(found, (tuple, list)) else [found]
        self.total += sum(part.numel() for part in parts if isinstance(part, Tensor))
        if (count := flop_registry.get(func._overloadpacket)) is not None:
            self.total += count(*args, **(kwargs or {}), out_val=found)
        return found


def _work(action: Callable[[], Any]) -> int:
    with torch.no_grad(), _Work() as work:
        action()
    return work.total


def _judge_linear(cost: Callable[[int], int], d: int, what: str) -> None:
    """Doubling the dimensions twice: the second increment is twice the first, four times if D^2."""
    one, two, four = cost(d), cost(2 * d), cost(4 * d)
    growth = (four - two) / (two - one)
    check.that(
        growth < 2.3,
        f"{what} costs {one}, {two} and {four} operations for {d}, {2 * d} and {4 * d} dimensions: "
        f"the second increment is {growth:.3g} times the first, not twice",
    )


def _shuffled(event: Sequence[int], seed: int) -> list[int]:
    source = torch.Generator().manual_seed(seed)
    return torch.randperm(math.prod(event), generator=source).tolist()


def _redraw(network: torch.nn.Module, scale: float = 1.0) -> Any:
    """In double precision, with biases of order one and every dependence visible."""
    network = network.double()
    with torch.no_grad():
        for parameter in network.parameters():
            fan_in = max(parameter[0].numel(), 1) if parameter.ndim > 1 else 4
            parameter.copy_(scale * torch.randn_like(parameter) / fan_in**0.5)
    return network


def _sees(answer: Callable[[Tensor], Tensor], event: Sequence[int], levels: int) -> Tensor:
    """Bool ``(positions, D)``: which parts ``(N, ?, positions)`` of the answer change with x_j."""
    d = math.prod(event)
    batch = torch.randint(levels, (1, d)).repeat(d + 1, 1)
    every = torch.arange(d)
    batch[every + 1, every] = (batch[every + 1, every] + torch.randint(1, levels, (d,))) % levels
    with torch.no_grad():
        found = answer(batch.view(-1, *event))
    noise = rounding(found.dtype, scale=max(float(found.abs().max()), 1.0))
    return ((found[1:] - found[:1]).abs().amax(1) > noise).mT


def _judge_field(
    build: Callable[[], Any], answer: Callable[[Any, Tensor], Tensor], event: Sequence[int],
    expected: Callable[[Any], Tensor], what: str,
) -> None:  # fmt: skip
    """What changes with what, over up to 20 draws of the weights, is exactly the expected set."""
    levels, seen, field = 3, None, torch.zeros(0)
    for _ in range(20):
        network = build()
        field = expected(network)
        now = _sees(lambda x, network=network: answer(network, x), event, levels)
        seen = now if seen is None else seen | now
        if not (field & ~seen).any() or (seen & ~field).any():
            break
    check.equal(seen, field, what)


# NADE --------------------------------------------------------------------------------------------


@claim(
    "theory.nade_linear_cost",
    r"a_1 = c,\ a_{i+1} = a_i + W_{x_i} \iff a_i = c + \sum_{j<i} W_{x_j}, \qquad "
    r"\text{cost}(\log p(x)) = O(HD)",
    sources=[f"{NADE}, §3"],
    why=r"""Before their sigmoid the hidden units of dimension :math:`i` hold :math:`a_i`: the bias
    :math:`c`, and one column :math:`W_{x_j}` of :math:`H` weights for the level of each earlier
    dimension :math:`j`. Neighbours share all of the sum but its last term:

    .. math::

        a_{i+1} = c + \sum_{j<i} W_{x_j} + W_{x_i} = a_i + W_{x_i}

    So :math:`D - 1` additions of :math:`H` numbers do the work of :math:`D(D-1)/2`, and the logits,
    read from :math:`\sigma(a_i)`, cost :math:`O(H)` for each dimension besides.

    The test adds up every sum anew. The gradient is written out as well: column :math:`j` occurs in
    each later sum, so its gradient is the sum of those that arrive at the dimensions after
    :math:`j`. The operations of a whole likelihood are counted for :math:`D = 64`, 128 and 256; if
    the cost is affine in :math:`D` the second increase is twice the first, and four times if it is
    :math:`D^2`.""",
    assumptions={
        "all dimensions share one matrix W": (
            "with a matrix of its own for each dimension no two sums have a term in common, and "
            "all :math:`D(D-1)/2` columns must be added"
        ),
        "the past enters by a sum over single dimensions": (
            "with a weight for each pair of earlier dimensions the step from :math:`a_i` to "
            ":math:`a_{i+1}` adds :math:`i - 1` columns, and the cost is quadratic again"
        ),
    },
    dtypes=("float64",),
)
@given(n=st.sampled_from([1, 2, 4]), d=st.sampled_from([1, 2, 5, 9]), h=st.sampled_from([1, 3, 7]))
def test_the_recurrence_is_the_sum_over_the_past_at_linear_cost(
    subject: Handle, device: str, dtype: torch.dtype, n: int, d: int, h: int
) -> None:
    pieces = subject.pieces().raw
    start = torch.randn(n, h, dtype=dtype, requires_grad=True)
    columns = torch.randn(n, d, h, dtype=dtype, requires_grad=True)
    upstream = torch.randn(n, d, h, dtype=dtype)
    found = pieces.nade_activations(start, columns)
    defined = torch.stack([start + columns[:, :i].sum(1) for i in range(d)], 1)
    allowed = rounding(dtype, length=d)
    check.close(found, defined, allowed, "a, against the sum over the past,")
    in_start, in_columns = gradients((upstream * found).sum(), [start, columns], what="a")
    later = torch.stack([upstream[:, j + 1 :].sum(1) for j in range(d)], 1)
    check.close(in_start, upstream.sum(1), allowed, "the gradient of a in c")
    check.close(in_columns, later, allowed, "the gradient of a in the columns")

    def likelihood(size: int) -> int:
        network = pieces.NADE((size,), 2, hidden=h)
        return _work(lambda: network.log_prob(torch.zeros(1, size, dtype=torch.long)))

    _judge_linear(likelihood, 64, "one likelihood of NADE")


@claim(
    "theory.nade_sampler_is_naive",
    r"\texttt{nade\_sample}(n, g) = \texttt{sample}(n, g) \text{ draw for draw}, \qquad "
    r"\text{cost} = O(HD) \text{ against } O(HD^2)",
    sources=[f"{NADE}, §3", "contracts.md, autoregressive_model"],
    why="""The next conditional needs of the past nothing but the sum :math:`a_i`
    (``theory.nade_linear_cost``), and a sampler that has just drawn :math:`x_i` has :math:`a_{i+1}`
    by one addition: :math:`O(H)` a draw. The naive sampler computes a likelihood, :math:`O(HD)`,
    for each of :math:`D` draws.

    Both ask for the same probabilities in the same order and draw by the same call from one
    generator. By induction over the order the levels so far are equal, hence the next
    probabilities, hence the next levels, and at the end the state of the generator: the samples are
    equal, not only in distribution.

    The oracle is the naive sampler, which reads its conditionals off the logits and has no cache.
    Completions are compared too: a known entry is not drawn, but its column must be added.
    Operations are counted at three sizes.""",
    assumptions={
        "the conditionals know the past by the running sum alone": (
            "with a direct weight from each :math:`x_j` to the later logits, two pasts of one "
            "sum have two conditionals"
        ),
        "both samplers draw one number at a time, by the same call": (
            "with all uniform numbers drawn ahead and an inverted distribution function the "
            "distribution is the same and the samples are others"
        ),
    },
    dtypes=("float64",),
    effort=0.6,
)
@given(
    event=EVENTS, levels=st.sampled_from([2, 4]), classes=st.sampled_from([0, 3]),
    seed=st.integers(0, 2**31 - 1),
)  # fmt: skip
def test_the_cached_sampler_draws_what_the_naive_one_draws(
    subject: Handle, device: str, dtype: torch.dtype, event: tuple[int, ...], levels: int,
    classes: int, seed: int,
) -> None:  # fmt: skip
    pieces = subject.pieces().raw
    network = _redraw(pieces.NADE(event, levels, classes, 5, _shuffled(event, seed)), scale=3.0)
    n = 6
    y = torch.randint(classes, (n,)) if classes else None

    def pair(draw: Callable[[Any], Tensor], naive: Callable[[Any], Tensor], what: str) -> None:
        one, other = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed)
        check.equal(draw(one), naive(other), f"{what}, against the naive one's,")
        same = torch.equal(one.get_state(), other.get_state())
        check.that(same, f"{what} take other numbers from the generator than the naive one's")

    pair(
        lambda g: pieces.nade_sample(network, n, y, g), lambda g: network.sample(n, y, g),
        "the samples of the cached sampler",
    )  # fmt: skip
    x, known = torch.randint(levels, (n, *event)), torch.rand(event) < 0.5
    pair(
        lambda g: pieces.nade_complete(network, x, known, y, g),
        lambda g: network.complete(x, known, y, g), "the completions of the cached sampler",
    )  # fmt: skip

    def cost(size: int) -> int:
        long = pieces.NADE((size,), 2, hidden=3)
        return _work(lambda: pieces.nade_sample(long, 1))

    _judge_linear(cost, 8, "a sample of NADE, cached,")


# MADE: masks -------------------------------------------------------------------------------------


@st.composite
def _degrees(draw: st.DrawFn, wild: bool = True) -> list[Tensor]:
    """Ranks of the inputs, then any integers as degrees of one to three hidden layers."""
    d = draw(st.integers(1, 6))
    rank = torch.tensor(draw(st.permutations(range(d))))
    low, high = (-1, d) if wild else (0, max(d - 2, 0))
    sizes = draw(st.lists(st.sampled_from([1, 2, 4, 7]), min_size=1, max_size=3))
    layers = [draw(st.lists(st.integers(low, high), min_size=n, max_size=n)) for n in sizes]
    return [rank, *(torch.tensor(layer) for layer in layers)]


def _paths(degrees: list[Tensor]) -> Tensor:
    """Bool ``(D, D)`` by following every input forward, unit by unit."""
    rank, *hidden = [layer.tolist() for layer in degrees]
    found = torch.zeros(len(rank), len(rank), dtype=torch.bool)
    for j, place in enumerate(rank):
        lit = [place]  # the degrees of the units that know x_j
        for layer in hidden:
            lit = [m for m in layer if lit and m >= min(lit)]
        for i, other in enumerate(rank):
            found[i, j] = bool(lit) and other > min(lit)
    return found


def _product(masks: Sequence[Tensor]) -> Tensor:
    """How many paths lead from each input to each output."""
    total = masks[0].long()
    for mask in masks[1:]:
        total = mask.long() @ total
    return total


@claim(
    "theory.made_masks",
    r"M^{\text{out}} M^L \cdots M^1 \text{ is strictly lower triangular in the order, for any "
    r"degrees}; \qquad \text{full} \Leftarrow \{0, \dots, D-2\} \subseteq m^l\ \forall l",
    sources=[f"{MADE}, §4.1 and 4.2"],
    why=r"""The degree of input :math:`j` is its rank :math:`r_j` in the order of generation, from
    0; hidden unit :math:`k` of layer :math:`l` has any degree :math:`m^l_k`. A connection is kept
    where

    .. math::

        M^l_{k'k} = [m^l_{k'} \ge m^{l-1}_k], \qquad M^{\text{out}}_{ik} = [r_i > m^L_k]

    Entry :math:`(i, j)` of the product of the masks counts the paths from input :math:`j` to output
    :math:`i`. Along a path :math:`r_j \le m^1 \le \dots \le m^L < r_i`: there is none unless
    :math:`r_j < r_i`, whatever the degrees. If every layer has a unit of each degree from 0 to
    :math:`D - 2`, those of degree :math:`r_j` lead to every output of a higher rank, and the past
    is full. So a poor choice of degrees cannot leak; it loses dependences.

    The oracle follows each input forward, unit by unit and without matrices, for drawn degrees that
    may lie outside the useful range.""",
    assumptions={
        "the comparison at the output is strict": (
            r"with :math:`\ge` there as well, one input of rank 0 and a unit of degree 0, the "
            "input reaches its own output"
        ),
        "for the full past, each degree from 0 to D - 2 occurs in every layer": (
            "with :math:`D = 3` and one unit of degree 1 the third output sees both inputs, and "
            "the second does not see the first"
        ),
    },
    effort=0.6,
)
@given(degrees=_degrees(), few=st.booleans())
def test_products_of_the_masks_are_strictly_lower_triangular(
    subject: Handle, device: str, dtype: torch.dtype, degrees: list[Tensor], few: bool
) -> None:
    pieces = subject.pieces().raw
    rank, d = degrees[0].cpu(), len(degrees[0])
    degrees = [layer.cpu() for layer in degrees]
    if not few:
        degrees[1:] = [torch.cat([layer, torch.arange(d - 1)]) for layer in degrees[1:]]
    masks = pieces.made_masks(degrees)
    shapes = [tuple(mask.shape) for mask in masks]
    sizes = [len(layer) for layer in degrees]
    wanted = list(zip([*sizes[1:], d], sizes, strict=True))
    check.that(shapes == wanted, f"the masks have shapes {shapes}, expected (to, from) {wanted}")
    order, product = rank.argsort(), _product(masks)
    ordered = product[order][:, order]
    leak = ordered.triu().nonzero()
    check.that(
        not len(leak),
        f"a path leads from rank {leak[0, 1] if len(leak) else 0} to rank "
        f"{leak[0, 0] if len(leak) else 0} with degrees {[m.tolist() for m in degrees]}",
    )
    check.equal(product > 0, _paths(degrees), "where the product of the masks is not zero")
    check.equal(
        pieces.made_receptive_field(degrees), _paths(degrees), "the receptive field of the masks"
    )
    if not few:
        check.equal(product > 0, past_of(order.tolist()), "what is reached through all degrees")
    direct = pieces.made_receptive_field(degrees, True)
    check.equal(direct, past_of(order.tolist()), "the receptive field with direct connections")


@claim(
    "theory.made_with_fixed_order_reaches_every_past",
    r"R = \{(i, j) : r_j < r_i\} \iff \{0, \dots, D - 2\} \subseteq m^l \text{ in every layer } l, "
    r"\text{ or there are direct connections}",
    sources=[f"{MADE}, §4.1 and 4.2"],
    why=r""":math:`R` holds the pairs (output, input) that some path joins, :math:`r` the ranks,
    :math:`m^l` the degrees of layer :math:`l`. Where all degrees occur, :math:`j` reaches every
    later :math:`i` through units of degree :math:`r_j` (``theory.made_masks``). Where one is
    missing from a layer, take the neighbours of ranks :math:`r_j` and :math:`r_i = r_j + 1`, with
    :math:`r_j` the missing degree. A path between them has

    .. math::

        r_j \le m^1 \le \dots \le m^L < r_j + 1

    so all its units have degree :math:`r_j`: there is none. Hence :math:`D - 1` units a layer are
    the least that will do, unless a direct connection joins the two.

    Degrees must be drawn between the least degree of the layer below, or a unit has no input, and
    :math:`D - 2`, or it has no output. With :math:`40 (D - 1)` units and :math:`D \le 6` one is
    missed with a probability below :math:`10^{-16}`. The last oracle is the network: over redrawn
    weights its logits change with all of the past and nothing else.""",
    assumptions={
        "no path cancels another, as for weights in general position": (
            "two units of equal inputs, read with the weights 1 and :math:`-1`, join input and "
            "output and transmit nothing"
        ),
        "for drawn degrees, enough units": (
            "with :math:`D = 3` and two units a layer, degrees 0 and 1 both occur in half of the "
            "draws only"
        ),
    },
    dtypes=("float64",),
)
@given(
    d=st.integers(2, 6), sizes=st.lists(st.sampled_from([1, 2, 5, 9]), min_size=1, max_size=3),
    direct=st.booleans(), seed=st.integers(0, 2**31 - 1),
)  # fmt: skip
def test_the_past_is_full_if_and_only_if_no_degree_is_missing(
    subject: Handle, device: str, dtype: torch.dtype, d: int, sizes: list[int], direct: bool,
    seed: int,
) -> None:  # fmt: skip
    pieces = subject.pieces().raw
    order = _shuffled((d,), seed)
    rank, source = torch.tensor(order).argsort(), torch.Generator().manual_seed(seed)
    degrees = pieces.made_degrees(rank, sizes, source)
    for below, layer in pairwise(degrees):
        inside = bool((layer >= below.min()).all()) and bool((layer <= d - 2).all())
        check.that(
            inside,
            f"degrees {layer.tolist()} above a layer of {below.tolist()} leave units without input "
            f"or output, in {d} dimensions",
        )
    complete = all(set(range(d - 1)) <= set(layer.tolist()) for layer in degrees[1:])
    field = pieces.made_receptive_field(degrees, direct)
    full = torch.equal(field, past_of(order))
    state = "every degree occurs" if complete else "a degree is missing"
    check.that(
        full == (complete or direct),
        f"the past is {'full' if full else 'not full'} although {state} in {degrees[1:]}, "
        f"{direct=}",
    )
    many = pieces.made_degrees(rank, [40 * (d - 1)], source)
    check.equal(
        many[1].unique(), torch.arange(d - 1), f"the degrees of 40 units for each of {d - 1}"
    )
    _judge_field(
        lambda: _redraw(pieces.MADE((d,), 3, hidden=[40 * d], order=order, direct=direct)),
        lambda network, x: network.logits(x).flatten(2), (d,),
        lambda network: past_of(order), f"what the logits change with, in the order {order},",
    )  # fmt: skip


@claim(
    "theory.made_orders_share_weights",
    r"\sum_x p_m(x) = 1 \text{ for each mask set } m \text{ of one } \theta, \qquad "
    r"o_m \ne o_{m'} \Rightarrow p_m \ne p_{m'}, \qquad "
    r"\sum_x \tfrac1M \sum_m p_m(x) = 1",
    sources=[f"{MADE}, §4.3 and 4.4"],
    why=r"""It is the masks that make the model autoregressive, not the weights. Under mask set
    :math:`m` with order :math:`o_m` the conditional of each dimension is a softmax, and depends on
    what comes before it in :math:`o_m` alone. Summed over the last dimension of the order, then
    over the one before it, and so on, the product of the conditionals gives one, for whatever
    :math:`\theta`.

    Nothing ties the densities to each other: one conditions :math:`x_1` on :math:`x_2` where
    another does the reverse, and for weights in general position they differ. The mean of :math:`M`
    densities is a density. That of their logarithms is not: by the inequality between the means

    .. math::

        \sum_x \prod_m p_m(x)^{1/M} \le \sum_x \tfrac1M \sum_m p_m(x) = 1

    with equality only if all :math:`p_m` agree. The oracle is the list of all events: each density
    is summed over it, all pairs are compared, and the ensemble is held against the mean.""",
    assumptions={
        "the densities differ if the weights are in general position": (
            "with all weights zero each mask set gives the same product of softmaxes of the biases"
        ),
        "the ensemble averages probabilities": (
            "of the densities (0.9, 0.1) and (0.1, 0.9) the geometric mean is (0.3, 0.3) and "
            "sums to 0.6"
        ),
    },
    dtypes=("float64",),
    effort=0.8,
)
@given(
    event=st.sampled_from([((2,), 3), ((4,), 2), ((3, 1, 1), 3), ((1, 2, 2), 2), ((3, 1, 2), 2)]),
    classes=st.sampled_from([0, 2]), deep=st.booleans(), seed=st.integers(0, 2**31 - 1),
)  # fmt: skip
def test_every_mask_set_makes_a_density_of_its_own_from_the_same_weights(
    subject: Handle, device: str, dtype: torch.dtype, event: tuple[tuple[int, ...], int],
    classes: int, deep: bool, seed: int,
) -> None:  # fmt: skip
    pieces = subject.pieces().raw
    shape, levels = event
    hidden = [20, 15] if deep else [25]

    def made(count: int) -> Any:
        source = torch.Generator().manual_seed(seed)
        return pieces.MADE(
            shape, levels, classes, hidden=hidden, direct=deep, num_masks=count, shuffle=True,
            generator=source,
        )  # fmt: skip

    network, single = _redraw(made(4)), made(1)
    sizes = [sum(p.numel() for p in model.parameters()) for model in (network, single)]
    check.that(
        sizes[0] == sizes[1], f"four mask sets have {sizes[0]} parameters, one has {sizes[1]}"
    )
    events = all_events(AutoregressiveModelConfig(shape, levels), torch.device("cpu"))
    y = torch.zeros(len(events), dtype=torch.long) if classes else None
    allowed = rounding(torch.float64, length=len(events))
    orders, densities = [], []
    for index in range(4):
        network.chosen = index
        order = network.order.tolist()
        p = network.log_prob(events, y).detach().exp()
        check.close(p.sum(), 1.0, allowed, f"the sum of all probabilities in the order {order}")
        for other, q in zip(orders, densities, strict=True):
            check.that(
                other == order or float((p - q).abs().max()) > allowed,
                f"the orders {order} and {other} have one density",
            )
        orders.append(order)
        densities.append(p)
        leak = _sees(
            lambda x: network.logits(x, None if y is None else y[: len(x)]).flatten(2),
            shape, levels,
        ) & ~past_of(order)  # fmt: skip
        check.that(
            not leak.any(), f"in the order {order} dimension {leak.nonzero()[:1].tolist()} leaks"
        )
    mean = torch.stack(densities).mean(0)
    found = network.ensemble_log_prob(events, y).detach().exp()
    check.close(found, mean, allowed, "the probability of the ensemble, against the mean,")
    check.that(network.chosen == 3, "the likelihood of the ensemble changed the chosen mask set")


# Features ----------------------------------------------------------------------------------------


@claim(
    "theory.features_see_only_the_past",
    r"f_i(x) \text{ changes with } x_j \iff (i, j) \in R, \qquad \ell_i = g(f_i)",
    sources=[f"{LECTURE}, 'Using autoregressive generative models: representations'"],
    why=r"""The logits of dimension :math:`i` are a function :math:`g` of the features :math:`f_i`
    at that dimension, and of nothing else that knows :math:`x`. What the logits use must therefore
    be in :math:`f_i`; and what is in :math:`f_i` some head :math:`g` will use. So for weights in
    general position both depend on the same set, the receptive field :math:`R`, of which pair
    :math:`(i, j)` says that :math:`j` may be used at :math:`i`. A feature that held :math:`x_i`
    would leak it into the likelihood, and as a representation it would be the pixel, not a code of
    what precedes it.

    NADE's features :math:`\sigma(c + \sum_{j<i} W_{x_j})` hold all of the past in any order;
    PixelCNN's are grouped by colour, and hold what its composed masks let through.

    The test changes one dimension after the other, over redrawn weights. NADE is held against its
    order, PixelCNN against its composed masks, which must lie within the raster order's past.""",
    assumptions={
        "the logits of a dimension are read from the features at that dimension": (
            r"where the shift by one comes last, :math:`\ell_i = g(f_{i-1})`, the features may "
            "hold their own pixel, and the model is causal"
        ),
        "weights in general position": (
            "with :math:`W = 0` NADE's features are constant, and see nothing"
        ),
    },
    dtypes=("float64",),
)
@given(
    case=stratified(
        [
            st.tuples(st.just("NADE"), EVENTS),
            st.tuples(
                st.just("PixelCNN"), st.sampled_from([(1, 3, 4), (3, 2, 3), (3, 1, 2), (1, 2, 7)])
            ),
        ]
    ),
    seed=st.integers(0, 2**31 - 1),
)
def test_features_change_with_the_past_and_with_nothing_else(
    subject: Handle, device: str, dtype: torch.dtype, case: tuple[str, tuple[int, ...]], seed: int
) -> None:
    pieces = subject.pieces().raw
    kind, event = case
    if kind == "NADE":
        order = _shuffled(event, seed)
        _judge_field(
            lambda: _redraw(pieces.NADE(event, 3, 0, 4, order)),
            lambda network, x: network.features(x).flatten(2), event,
            lambda network: past_of(order), f"what NADE's features change with, in {order},",
        )  # fmt: skip
        return
    c, h, w = event

    def by_colour(network: Any, x: Tensor) -> Tensor:
        f = network.features(x)  # (N, 2 hidden, H, W), the first third of the features R
        return f.view(len(x), c, -1, h, w).transpose(1, 2).flatten(2)

    predicted = pieces.pixelcnn_receptive_field(c, h, w, 1, 5, 3).cpu()
    late = predicted & ~past_of(raster(event))
    check.that(not late.any(), "the receptive field of PixelCNN holds what is not yet generated")
    _judge_field(
        lambda: _redraw(
            pieces.PixelCNN(event, 3, hidden=6, head=6, blocks=1, first_kernel=5, kernel=3)
        ),
        by_colour, event, lambda network: predicted, "what PixelCNN's features change with",
    )  # fmt: skip
