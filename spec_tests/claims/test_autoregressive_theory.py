r"""Theory of autoregressive models: what masks compose to, what models can represent, what passes cost."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from spec_tests import check
from spec_tests.chain_rule import (
    all_events,
    raster,
)
from spec_tests.claims.test_autoregressive import GATED, LECTURE, PIXELRNN
from spec_tests.contracts.autoregressive import (
    AutoregressiveModelConfig,
)
from spec_tests.handle import Handle
from spec_tests.numerics import size_of
from spec_tests.registry import claim
from spec_tests.tolerance import rounding


def _reach(height: int, width: int, first: int, later: int, blocks: int) -> Tensor:
    r"""Which pixels a stack sees, in closed form (one channel, ``first >= later``).

    A layer moves left freely but right only when it moves up, by at most its radius. To climb m rows
    at most m layers move up, so the first gives ``a`` columns to the right and each other ``b``.
    """
    a, b = first // 2, later // 2
    r, c = torch.arange(height * width) // width, torch.arange(height * width) % width
    up, right = r[:, None] - r[None, :], c[None, :] - c[:, None]
    gained = torch.where(up > 0, a + b * (up - 1).clamp(0, blocks), 0)
    most = a + blocks * b
    seen = (up >= 0) & (up <= most) & (right <= gained) & (right >= -most)
    return seen & ((up > 0) | (right < 0))


@claim(
    "theory.blind_spot",
    r"\text{missing}(r, c) = \{(r - m, c + d) : m \ge 1,\ d > a + b\,\min(m - 1, L)\} "
    r"\cup \{\text{beyond } a + bL \text{ rows or columns}\}",
    sources=[f"{GATED}, §2.2 and Figure 1"],
    why=r"""The first layer, of type A, has a kernel of radius :math:`a`; the L blocks, of type B,
    have radius :math:`b`. Follow a value through the stack, backwards from the output. In each
    layer it stays (type B only), goes left in its row, or goes up by at least one row, and only a
    step up may also lead to the right, by at most the radius. To climb :math:`m` rows at most
    :math:`m` layers step up; with the first among them, as :math:`a \ge b`, they reach

    .. math::

        d \le a + b \min(m - 1, L),

    columns to the right, and steps of one row attain it. What lies further right was generated
    before and is never seen, however many blocks are added: the blind spot is a wedge.

    Three sets must be one: this formula, the composed masks, and the dependences of the network,
    measured by changing one pixel after the other over redrawn weights.""",
    assumptions={
        "one data channel": (
            "with R, G and B, the G of a pixel sees the R of the same pixel, and a set of "
            "earlier pixels no longer says what an output sees"
        ),
        "the first kernel is no smaller than the others": (
            "radii :math:`a = 1` and :math:`b = 3`, one block: one column left by the first and "
            "three right, one row up, by the second reach :math:`d = 2` in the row above, where "
            "the formula allows 1"
        ),
    },
    sentence="a PixelCNN misses exactly the predicted pixels",
    dtypes=("float64",),
    effort=0.3,
)
@given(
    kernels=st.sampled_from([(3, 3), (5, 3), (7, 3), (3, 1), (5, 5), (1, 1)]),
    blocks=st.integers(0, 3),
    size=st.sampled_from([(3, 7), (4, 6), (2, 8), (5, 4)]),
)
def test_pixelcnn_misses_exactly_the_predicted_pixels(
    subject: Handle, device: str, dtype: torch.dtype, kernels: tuple[int, int], blocks: int,
    size: tuple[int, int],
) -> None:  # fmt: skip
    pieces = subject.pieces().raw
    first, later = kernels
    predicted = _reach(*size, first, later, blocks)
    composed = pieces.pixelcnn_receptive_field(1, *size, blocks, first, later).cpu()
    check.equal(composed, predicted, f"the composed masks of an image of {size[0]} x {size[1]}")
    count = size[0] * size[1]
    seen = torch.zeros(count, count, dtype=torch.bool)
    for _ in range(20):
        network = pieces.PixelCNN(
            (1, *size), 2, hidden=6, head=6, blocks=blocks, first_kernel=first, kernel=later
        ).double()
        x = torch.randint(2, (1, 1, *size))
        batch = x.repeat(count + 1, 1, 1, 1).flatten(1)
        batch[torch.arange(count) + 1, torch.arange(count)] ^= 1
        with torch.no_grad():
            found = network.logits(batch.view(-1, 1, *size)).flatten(2)
        seen |= ((found[1:] - found[:1]).abs().amax(1) > rounding(dtype)).mT
        if bool((predicted & ~seen).sum() == 0):
            break
    check.equal(seen, predicted, "what the logits of the network change with")


@claim(
    "theory.masks_compose",
    r"A_{ij} = 0 \text{ for } j \ge i, \quad B_{ij} = 0 \text{ for } j > i, \quad B_{ii} = 1 \;\Rightarrow\; "
    r"(B^n A)_{ij} = 0 \text{ for } j \ge i, \quad B^n A \ge A",
    sources=[f"{PIXELRNN}, §3.4"],
    why=r"""Write what a layer lets through as a matrix of zeros and ones, rows and columns in the
    order of generation. Type A is strictly lower triangular, type B lower triangular with a full
    diagonal. An entry of a product is a sum over paths,

    .. math::

        (B^n A)_{ij} = \sum_{k_1, \dots, k_n} B_{i k_1} B_{k_1 k_2} \cdots A_{k_n j}, \qquad
        i \ge k_1 \ge \dots \ge k_n > j,

    and the one strict inequality makes the whole strict. As :math:`B \ge I` entry by entry, also
    :math:`B^n A \ge A`: nothing is lost. So one layer of type A comes first, and any number of type
    B may follow.

    The patterns are measured, by sending unit impulses through a convolution with the library's
    masks, for one channel and for three; the products are then taken as matrices.""",
    assumptions={
        "one of the layers is of type A": ":math:`B^n` has a positive diagonal: every pixel sees itself",
        "the others are of type B": (
            "between two neighbours of a row no third fits, so :math:`A^2` is 0 there: the "
            "nearest past is lost"
        ),
        "no connection leads around the layer of type A": ":math:`I + B^n A`, a residual from the input, has the answer on its diagonal",
        "all layers follow one order": (
            "strict masks for opposite orders of two pixels, one after the other, lead from a "
            "pixel back to itself"
        ),
    },
    effort=0.3,
)
@given(
    channels=st.sampled_from([1, 3]),
    kernel=st.sampled_from([1, 3, 5]),
    size=st.sampled_from([(2, 3), (3, 2), (1, 4)]),
    depth=st.integers(1, 4),
)
def test_one_strict_layer_keeps_a_stack_strict(
    subject: Handle, device: str, dtype: torch.dtype, channels: int, kernel: int,
    size: tuple[int, int], depth: int,
) -> None:  # fmt: skip
    pieces = subject.pieces().raw
    order = torch.tensor(raster((channels, *size)))

    def pattern(mask_type: str) -> Tensor:
        mask = pieces.raster_mask(channels, channels, kernel, mask_type, channels).double()
        d = len(order)
        inputs = torch.eye(d, dtype=torch.float64).view(d, channels, *size)
        reach = F.conv2d(inputs, mask, padding=kernel // 2).flatten(1).mT > 0  # (to, from)
        return reach[order][:, order].double()

    a, b = pattern("A"), pattern("B")
    check.that(bool((a.triu() == 0).all()), "the pattern of a type A layer is not strictly lower")
    check.that(
        bool((b.triu(1) == 0).all()), "the pattern of a type B layer is not lower triangular"
    )
    check.that(bool((b.diagonal() > 0).all()), "type B does not see its own data channel")
    stack = torch.linalg.matrix_power(b, depth) @ a
    check.that(bool((stack.triu() == 0).all()), f"{depth} layers of B after A see their own pixel")
    check.that(bool((stack >= a).all()), f"{depth} layers of B after A see less than A alone")


@claim(
    "theory.any_joint_is_a_product_of_conditionals",
    r"p(x) = \prod_{i=1}^D p(x_i \mid x_{<i}) \quad\text{for every joint } p",
    sources=[f"{PIXELRNN}, Equation 1", f"{LECTURE}, 'Autoregressive generative models'"],
    why=r"""Each conditional is a quotient of two neighbouring marginals, and the product
    telescopes:

    .. math::

        \prod_{i=1}^D \frac{p(x_1, \dots, x_i)}{p(x_1, \dots, x_{i-1})} = p(x_1, \dots, x_D),

    the empty marginal being 1. Nothing is assumed of p. If :math:`p(x) = 0`, take the first prefix
    of probability zero: its factor is 0, and so is the product; the conditionals after it are 0/0
    and may be anything. An autoregressive model with enough parameters, in the worst case a table
    for every prefix, therefore represents every distribution, in any order.

    Random joints, with zeros and without, are turned into tables, and the model's density over all
    events is compared with the joint that was drawn.""",
    assumptions={
        "each conditional may use all of its past": (
            "three bits of which the third is the parity of the others: conditionals that see "
            "one earlier bit at most are all uniform and give 1/8 to every event, where the "
            "joint gives 1/4 or 0"
        ),
    },
    effort=0.6,
)
@given(
    event=st.sampled_from([((3,), 2), ((2,), 4), ((1, 1, 3), 3), ((3, 1, 1), 2), ((3, 1, 2), 2)]),
    zeros=st.booleans(),
)
def test_tables_of_conditionals_reproduce_the_joint(
    subject: Handle, device: str, dtype: torch.dtype, event: tuple[tuple[int, ...], int],
    zeros: bool,
) -> None:  # fmt: skip
    pieces = subject.pieces().raw
    shape, levels = event
    config = AutoregressiveModelConfig(shape, levels)
    joint = torch.rand((levels,) * config.dims, dtype=torch.float64)
    if zeros:
        joint = (joint - 0.5).relu() + (torch.arange(joint.numel()) == 0).view(joint.shape).double()
    joint = joint / joint.sum()
    model = pieces.TabularChainRule.from_joint(joint, shape)
    events = all_events(config, torch.device("cpu"))
    in_order = events.flatten(1)[:, raster(shape)]
    expected = joint[tuple(in_order.T)]
    found = model.log_prob(events).exp()
    check.close(found, expected, rounding(torch.float64, length=len(events)), "the tables' p(x)")


@claim(
    "theory.fvbn_log_odds_are_affine",
    r"\log \frac{p(x_i = 1 \mid x_{<i})}{p(x_i = 0 \mid x_{<i})} = c_i + \sum_{j < i} "
    "w_{ij} x_j",
    sources=["Larochelle and Murray 2011, 'The Neural Autoregressive Distribution Estimator', §2"],
    why=r"""A fully visible belief network of bits is one logistic regression for each bit,
    :math:`p(x_i = 1 \mid x_{<i}) = \sigma(c_i + \sum_{j<i} w_{ij} x_j)`, and the log-odds of
    :math:`\sigma(z)` are :math:`z`. In an affine function :math:`f` the effects of two flips add
    up:

    .. math::

        f(x^{jk}) - f(x^j) - f(x^k) + f(x) = 0 .

    So it cannot represent a parity. For the third bit to be the exclusive or of the first two,
    :math:`f` would have to be large at (0, 1) and (1, 0) and very negative at (0, 0) and (1, 1),
    while the two pairs have equal sums. Tables can, and so can a hidden layer.

    The second difference is taken in two random bits of a random event, for the log-odds of every
    bit. That a flip changes a later bit at all is asked as well, for a constant is affine too.""",
    assumptions={
        "the inputs are the bits themselves": (
            r"with the product :math:`x_1 x_2` as a further input, :math:`t\,(2 x_1 + 2 x_2 - 4 "
            "x_1 x_2 - 1)` is the log-odds of a parity, ever more exactly as t grows"
        ),
    },
    effort=0.6,
)
@given(d=st.integers(3, 6))
def test_flipping_two_bits_adds_up_in_the_belief_network(
    subject: Handle, device: str, dtype: torch.dtype, d: int
) -> None:
    pieces = subject.pieces().raw
    network = pieces.FullyVisibleBeliefNetwork((d,), 2).double()
    x = torch.randint(2, (1, d))
    j, k = (int(n) for n in torch.randperm(d - 1)[:2])
    batch = x.repeat(4, 1)
    batch[1, j] ^= 1
    batch[2, k] ^= 1
    batch[3, j] ^= 1
    batch[3, k] ^= 1
    found = network.logits(batch).detach()
    odds = found[:, 1] - found[:, 0]  # (4, D)
    check.close(
        odds[3] - odds[1] - odds[2] + odds[0], torch.zeros(d),
        rounding(torch.float64, length=d, scale=size_of(odds)),
        f"the second difference of the log-odds in bits {j} and {k}",
    )  # fmt: skip
    last = max(j, k) + 1
    change = float((odds[1] - odds[0])[last].abs())
    check.that(change > 0, f"bit {j} does not change the log-odds of bit {last}")


class _Counted:
    """A logits function that counts its calls."""

    def __init__(self, levels: int) -> None:
        self.levels, self.calls = levels, 0

    def __call__(self, x: Tensor) -> Tensor:
        self.calls += 1
        total = x.flatten(1).cumsum(1) - x.flatten(1)
        flat = torch.stack([torch.sin(total + k).double() for k in range(self.levels)], 1)
        return flat.view(len(x), self.levels, *x.shape[1:])


@claim(
    "theory.passes_to_sample",
    r"\text{passes}(\texttt{sample}) = D, \qquad \text{passes}(\texttt{complete}) = "
    r"\#\{\text{unknown}\}",
    sources=[f"{PIXELRNN}, §2.1", f"{LECTURE}, 'PixelCNN: slow to sample'"],
    why=r"""The logits of dimension i need :math:`x_{<i}`, of which the last was drawn a moment
    ago. So the passes cannot be merged: the network runs once for each dimension, and D is H·W·C
    for an image, 3072 for one of 32 by 32 pixels in colour. Each pass computes the logits of all
    dimensions and uses those of one. A known entry needs no draw, and costs no pass.

    The network is replaced by a function that counts its calls. D times, and once for each hole, is
    what the plain sampler takes; caches make a pass cheaper without making them fewer. Training has
    no such bill: ``theory.one_pass_to_train``.""",
    assumptions={
        "each conditional depends on the draw just before": (
            "dimensions that are independent given an image of half the size can be drawn "
            "together, in one pass: multiscale models do so"
        ),
    },
    effort=0.6,
)
@given(
    event=st.sampled_from([(1,), (4,), (1, 2, 3), (3, 2, 1), (3, 1, 2)]),
    seed=st.integers(0, 2**31 - 1),
)
def test_sampling_takes_one_pass_for_each_unknown_dimension(
    subject: Handle, device: str, dtype: torch.dtype, event: tuple[int, ...], seed: int
) -> None:
    pieces = subject.pieces().raw
    source = torch.Generator().manual_seed(seed)
    step, size = _Counted(3), math.prod(event)
    pieces.sample(step, 2, event, generator=source)
    check.that(step.calls == size, f"sampling {event} took {step.calls} passes, not {size}")
    known = torch.rand(event, generator=source) < 0.5
    step.calls, unknown = 0, int((~known).sum())
    pieces.complete(step, torch.zeros((2, *event), dtype=torch.long), known, generator=source)
    check.that(
        step.calls == unknown,
        f"completing {unknown} of {size} entries took {step.calls} passes",
    )


@claim(
    "theory.one_pass_to_train",
    r"\text{passes}(\log p(x)) = 1 \quad\text{for a batch of any size}, \qquad "
    r"\text{passes}(\texttt{sample}) = D",
    sources=[f"{PIXELRNN}, §1 and §3.5", f"{GATED}, §2"],
    why=r"""All of x is known in training, so no conditional waits for another: feed in the whole
    image, and the masks see to it that output i depends on :math:`x_{<i}` alone. One pass gives all
    D conditionals of every item of the batch, and their logarithms are added up
    (``autoregressive_model.chain_rule``). This is why masked convolutions and masked attention
    train in parallel and sample one by one.

    Every layer without parts of its own carries a counter. It must stand at 1 after ``log_prob`` of
    a batch, and at 1 + D after one image was sampled besides: the same network, run D times as in
    ``theory.passes_to_sample``.""",
    assumptions={
        "masks hide the future, not the order of computing": "a recurrent network runs its cell once for each position or row, in training too",
        "the past is the data": "a network that is trained on its own draws must draw them first, one after the other",
    },
    effort=0.3,
)
@given(event=st.sampled_from([(1, 2, 3), (3, 2, 1), (3, 3, 2)]), n=st.sampled_from([1, 4]))
def test_each_layer_runs_once_for_a_likelihood(
    subject: Handle, device: str, dtype: torch.dtype, event: tuple[int, ...], n: int
) -> None:
    pieces = subject.pieces().raw
    network = pieces.PixelCNN(event, 3, hidden=6, head=6)
    calls = dict.fromkeys((m for m in network.modules() if not list(m.children())), 0)

    def count(module: nn.Module, *_: Any) -> None:
        calls[module] += 1

    hooks = [m.register_forward_hook(count) for m in calls]
    network.log_prob(torch.randint(3, (n, *event)))
    worst = max(calls.values())
    check.that(worst == 1, f"a layer ran {worst} times for the likelihood of {n} images of {event}")
    network.sample(1)
    expected = 1 + math.prod(event)
    found = {calls[m] for m in calls}
    check.that(
        found == {expected},
        f"layers ran {found} times for one likelihood and one sample of {event}",
    )
    for hook in hooks:
        hook.remove()
