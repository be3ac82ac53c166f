r"""What each flow promises of its own: triangles, permutations, passes, constraints, traces.

The oracle is nearly always the Jacobian by autograd, entry by entry: a zero that the architecture
promises is exactly zero, and what it promises to depend on is not.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.optimize
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from spec_tests import check
from spec_tests.handle import Handle, redraw_parameters
from spec_tests.registry import claim
from spec_tests.tolerance import guarded, rounding

REZENDE = "Rezende and Mohamed 2015, 'Variational Inference with Normalizing Flows'"
NICE = "Dinh, Krueger, Bengio 2014, 'NICE'"
REALNVP = "Dinh, Sohl-Dickstein, Bengio 2016, 'Density estimation using Real NVP'"
GLOW = "Kingma and Dhariwal 2018, 'Glow'"
MAF = "Papamakarios, Pavlakou, Murray 2017, 'Masked Autoregressive Flow'"
IAF = "Kingma et al. 2016, 'Inverse Autoregressive Flow'"
FFJORD = "Grathwohl et al. 2018, 'FFJORD'"
THEIS = "Theis, van den Oord, Bethge 2015, 'A note on the evaluation of generative models', §3.1"
DOUBLE = torch.float64
SLACK = rounding(DOUBLE, length=32, scale=8.0)
GUARD = guarded(DOUBLE)


def drawn(module: Any) -> Any:
    """A module in float64 with every parameter redrawn: zeros at the start hide mistakes."""
    module = module.double()
    redraw_parameters(module)
    return module


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=DOUBLE)


def jacobian(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The Jacobian of one item of a function of batches, flattened: (D, D) for x (*event)."""
    found = torch.autograd.functional.jacobian(lambda v: function(v[None])[0], x)
    size = x.numel()
    flat: Tensor = found.reshape(size, size)
    return flat


def forward(model: Any) -> Callable[[Tensor], Tensor]:
    return lambda x: model(x)[0]


# Couplings ------------------------------------------------------------------------------------------


@claim(
    "theory.nice_preserves_volume_up_to_scale",
    r"\det \frac{\partial f_k}{\partial x} = 1, \qquad"
    r" \log \Bigl|\det \frac{\partial z}{\partial x}\Bigr| = \sum_d s_d \text{ for every } x",
    sources=[f"{NICE}, sections 3.2 and 3.3"],
    why=r"""An additive coupling adds to one part of x a function of the other part,
    :math:`z_B = x_B + m(x_A)`, :math:`z_A = x_A`:

    .. math::

        \frac{\partial f_k}{\partial x} = \begin{pmatrix} I & 0 \\ \partial m / \partial x_A & I
        \end{pmatrix}, \qquad \det \frac{\partial f_k}{\partial x} = 1,

    whatever the network m. A shear moves points and keeps areas. The last layer
    :math:`z_d = e^{s_d} h_d` alone changes volume, by :math:`e^{\sum_d s_d}` at every x: NICE can
    only move mass about, and never thin it out here and heap it up there.

    With alternating masks three couplings let every feature act on every other. The oracle is
    autograd's Jacobian of the whole model, entry by entry, at random parameters.""",
    assumptions={
        "the shift reads the kept features alone": ":math:`z = x + 2x` is a shift by a function"
        " of what is shifted, and triples every length",
        "masks alternate": "with one mask for all layers the kept half is only scaled: it is"
        " never shifted",
        "there are three couplings or more": "after two, a feature of the half that was moved"
        " first does not depend on the others of that half: its entries of the Jacobian are 0",
    },
    sentence="NICE changes volume by one factor everywhere",
)
@given(shape=st.sampled_from([(2,), (5,), (1, 2, 3)]))
def test_nice_changes_volume_by_one_factor_everywhere(
    subject: Handle, device: str, dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    pieces, size = subject.pieces().raw, math.prod(shape)
    keeps = (torch.arange(size) % 2).double().reshape(shape)
    network = nn.Sequential(nn.Linear(size, 4), nn.Tanh(), nn.Linear(4, size))
    coupling, x = drawn(pieces.AdditiveCoupling(keeps, network)), normal(3, *shape)
    for item in x:
        shear = jacobian(forward(coupling), item)
        check.close(shear.det(), 1.0, SLACK, "the determinant of an additive coupling")
        check.that((shear - torch.eye(size)).any(), "the coupling leaves every point where it is")
    check.close(coupling(x)[1], torch.zeros(3), SLACK, "log_det of an additive coupling")
    model = drawn(pieces.NICE(shape, 3, 4))
    maps = torch.stack([jacobian(forward(model), item) for item in x])
    volumes = torch.linalg.slogdet(maps).logabsdet
    check.that((maps != 0).all(), "after three couplings some feature does not depend on another")
    scales = sum(m.log_scale.sum() for m in model.modules() if hasattr(m, "log_scale"))
    check.close(volumes, scales.expand(3), SLACK, "log|det dz/dx|, against the sum of log-scales,")
    check.close(model(x)[1], volumes, SLACK, "log_det of NICE, against its Jacobian's,")


_MASKS = {
    (2,): [torch.tensor([1.0, 0.0])],
    (5,): [torch.tensor([1.0, 0.0, 0.0, 1.0, 0.0])],
}


def _network(shape: tuple[int, ...]) -> nn.Module:
    if len(shape) == 1:
        return nn.Sequential(nn.Linear(shape[0], 6), nn.Tanh(), nn.Linear(6, 2 * shape[0]))
    c = shape[0]
    return nn.Sequential(
        nn.Conv2d(c, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 2 * c, 3, padding=1)
    )


@claim(
    "theory.realnvp_is_triangular",
    r"\frac{\partial z}{\partial x} = \begin{pmatrix} I & 0 \\ * & \operatorname{diag} e^{s}"
    r" \end{pmatrix} \text{ with the kept features first}; \quad b_k + b_{k+1} = 1",
    sources=[f"{REALNVP}, equations 6 to 8 and sections 3.4 and 3.5"],
    why=r"""With kept features A and moved features B, a coupling is :math:`z_A = x_A` and
    :math:`z_B = x_B \odot e^{s(x_A)} + t(x_A)`. What is kept passes through: rows of the identity.
    A moved feature depends on itself by its scale, on the other moved ones not at all, and on the
    kept ones through any networks s and t. Expanding the determinant of the triangle along its
    diagonal,

    .. math::

        \log \Bigl|\det \frac{\partial z}{\partial x}\Bigr| = \sum_{d \in B} s_d(x_A),

    without a derivative of any network. One coupling leaves A alone; if the masks :math:`b_k` (1
    where a feature is kept) and :math:`b_{k+1}` add up to 1, two layers move everything.

    The Jacobian by autograd must have its zeros and ones exactly, with no tolerance, since nothing
    is computed where nothing depends. Checkerboards are checked to differ between neighbours in
    both directions.""",
    assumptions={
        "the networks read the kept features alone": "a scale that reads what it scales, :math:`z"
        " = x e^{x}`, has the slope :math:`(1 + x) e^{x}` and not :math:`e^x`, and two preimages"
        " for z between :math:`-1/e` and 0",
        "the scale is never zero": r":math:`z_B = 0 \cdot x_B + t(x_A)` forgets what it moved",
        "masks alternate": "with one mask for all layers half of the features reach the noise as"
        " they were",
    },
)
@given(shape=st.sampled_from([(2,), (5,), (1, 2, 4), (3, 2, 1)]), first=st.integers(0, 1))
def test_a_coupling_is_triangular_and_masks_alternate(
    subject: Handle, device: str, dtype: torch.dtype, shape: Any, first: int
) -> None:
    pieces = subject.pieces().raw
    board, half = pieces.checkerboard_mask, pieces.channel_mask
    masks = _MASKS.get(shape) or [board(shape, first), half(shape, first)]
    for keeps in masks:
        if not 0 < int(keeps.sum()) < keeps.numel():
            continue  # one channel has no halves
        layer, x = drawn(pieces.AffineCoupling(keeps, _network(shape))), normal(*shape)
        entries, kept = jacobian(forward(layer), x), keeps.flatten() == 1
        eye = torch.eye(x.numel(), dtype=DOUBLE)
        check.equal(entries[kept], eye[kept], "the row of a kept feature in the Jacobian")
        block = entries[~kept][:, ~kept]
        stray = block - block.diagonal().diag()
        check.that(not stray.any(), "a moved feature depends on another moved one")
        check.that((block.diagonal() > 0).all(), "the scale of a moved feature is not positive")
        check.that(entries[~kept][:, kept].any(1).all(), "a moved feature ignores what is kept")
        scales = block.diagonal().log().sum()
        check.close(layer(x[None])[1], scales, SLACK, "log_det, against the sum of log-scales,")
    if len(shape) == 1:
        models = [pieces.RealNVP(shape[0], 4, 3)]
    else:
        models = [pieces.ImageRealNVP((1, 2, 4), 2, 3)]
        both = torch.stack([board(shape, 0), board(shape, 1)])
        check.close(both.sum(0), torch.ones(shape), 0.0, "two checkerboards, together,")
        for axis in (2, 3):
            check.that((both.diff(dim=axis) != 0).all(), "neighbours have one colour")
        check.close(half(shape, 0) + half(shape, 1), torch.ones(shape), 0.0, "two channel masks")
        kept = half(shape, 1)[:, 0, 0]
        check.that(int(kept.sum()) == shape[0] // 2, "a channel mask does not keep half")
        check.that((half(shape, 1) == kept[:, None, None]).all(), "a channel is kept in part")
    for model in models:
        for layers in (m for m in model.modules() if isinstance(m, nn.ModuleList)):
            known = [layer.keeps for layer in layers if hasattr(layer, "keeps")]
            for one, other in itertools.pairwise(known):
                check.close(one + other, torch.ones_like(one), 0.0, "two masks in a row, together,")


# Images ---------------------------------------------------------------------------------------------


@claim(
    "theory.squeeze_is_a_bijection",
    r"\operatorname{unsqueeze} \circ \operatorname{squeeze} = \operatorname{id} ="
    r" \operatorname{squeeze} \circ \operatorname{unsqueeze}, \qquad"
    r" \{ y_{n\,\cdot\,ij} \} = \{ x_{n,\cdot,2i+a,2j+b} \}_{a,b \in \{0,1\}}",
    sources=[f"{REALNVP}, section 3.6"],
    why="""Nothing is computed, only moved: every number of x is in y once, in the pixel (i, j)
    that its block of 2 × 2 pixels became. The map is a permutation of coordinates; its Jacobian is
    a permutation matrix, whose determinant is 1 or -1, so that a squeeze costs no volume. It trades
    width and height for channels, after which a mask over channels is a mask over places as well.

    A reshape alone is a bijection with the right shapes too, and puts into one pixel numbers from
    rows that are far apart, after which a convolution has no neighbours to look at. So the test
    fills x with numbers that are all different, and compares for every pixel of y the set of its
    numbers with that of the block; the order of the four within the channels is left open, but the
    two functions must undo each other in both orders.""",
    assumptions={
        "width and height are even": "three rows make one pair, and the third row has no partner",
    },
)
@given(
    n=st.integers(1, 2),
    c=st.sampled_from([1, 3]),
    h=st.sampled_from([2, 4]),
    w=st.sampled_from([2, 6]),
)
def test_squeezing_moves_every_block_into_one_pixel(
    subject: Handle, device: str, dtype: torch.dtype, n: int, c: int, h: int, w: int
) -> None:
    pieces = subject.pieces().raw
    x = torch.randperm(n * c * h * w).double().reshape(n, c, h, w)
    y = pieces.squeeze(x)
    expected = (n, 4 * c, h // 2, w // 2)
    check.that(y.shape == expected, f"squeeze gave {tuple(y.shape)}, expected {expected}")
    for i, j in itertools.product(range(h // 2), range(w // 2)):
        block = x[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].flatten(1).sort(1).values
        check.equal(y[:, :, i, j].sort(1).values, block, f"the numbers in pixel ({i}, {j})")
    check.equal(pieces.unsqueeze(y), x, "unsqueeze(squeeze(x))")
    check.equal(pieces.squeeze(pieces.unsqueeze(y)), y, "squeeze(unsqueeze(y))")


@claim(
    "theory.factored_out_half_is_finished",
    r"z = \operatorname{unsqueeze}(h, g(r)), \quad (h, r) = f(\operatorname{squeeze} x); \qquad"
    r" \log \Bigl|\det \frac{\partial z}{\partial x}\Bigr| = \log |\det \partial f| + \log |\det"
    r" \partial g|",
    sources=[f"{REALNVP}, section 3.6, equations 13 to 16"],
    why=r"""Half of the numbers, h, leave after each scale f and become noise as they are; only the
    other half r goes on, through the next scale g. The Jacobian of the second stage has the two
    halves as blocks:

    .. math::

        \frac{\partial (h, g(r))}{\partial (h, r)} = \begin{pmatrix} I & 0 \\ 0 & \partial g
        \end{pmatrix}, \qquad \det = \det \partial g.

    Squeezing only moves numbers, and determinants of composed maps multiply: so f counts for both
    halves, and g adds that of the half it got. What is finished is spared the later layers, which
    saves work and gives what is decided at a fine scale a short way to the loss.

    The oracle is autograd's Jacobian of the whole. Then the parameters of g are changed: exactly
    half of the entries of z may move.""",
    assumptions={
        "what is finished is not touched again": "if g acts on both halves its log-determinant"
        " counts twice, and changing it moves every entry of z",
    },
)
@given(c=st.sampled_from([1, 2]), h=st.sampled_from([2, 4]), w=st.sampled_from([2, 6]))
def test_later_scales_leave_the_finished_half_alone(
    subject: Handle, device: str, dtype: torch.dtype, c: int, h: int, w: int
) -> None:
    pieces = subject.pieces().raw
    here = drawn(pieces.DiagonalScale((4 * c, h // 2, w // 2)))
    rest = drawn(pieces.DiagonalScale((2 * c, h // 2, w // 2)))
    model, x = pieces.Squeezed(here, rest).double(), normal(2, c, h, w)
    z, log_det = model(x)
    volume = torch.linalg.slogdet(jacobian(forward(model), x[0])).logabsdet
    check.close(log_det, volume.expand(2), SLACK, "log_det of two scales, against the Jacobian's,")
    check.close(model.inverse(z), x, SLACK, "the inverse of two scales")
    with torch.no_grad():
        rest.log_scale.add_(1.0)
    changed = (model(x)[0] != z).sum((1, 2, 3))
    check.close(
        changed,
        torch.full((2,), c * h * w // 2),
        0.0,
        "the number of entries that the next scale changes",
    )


@claim(
    "theory.actnorm_first_batch",
    r"\text{first training batch: } \overline{z_c} = 0, \; \overline{z_c^2} = 1; \qquad"
    r" \text{later: } z = e^s (x + b) \text{ with } s, b \text{ as they are}",
    sources=[f"{GLOW}, section 3.1"],
    why=r"""With :math:`b_c = -\overline{x_c}` and :math:`e^{-2 s_c} = \overline{(x_c + b_c)^2}`,
    averages over the items and pixels of the first training batch, channel c comes out with

    .. math::

        \overline{z_c} = e^{s_c}\, (\overline{x_c} + b_c) = 0, \qquad \overline{z_c^2} = e^{2 s_c}\,
        \overline{(x_c + b_c)^2} = 1.

    The batch only chooses where training starts. From then on scale and shift are parameters like
    others, each item is mapped by itself, and :math:`\log|\det| = H W \sum_c s_c`. If they followed
    every batch, the density of an image would depend on its neighbours and would be no density.

    Batches of other means and spreads follow, in training and in evaluation, and the map must stay
    as it is, also in a copy that was loaded from the state dict: a checkpoint that did not say
    'initialised' would throw away what was learned with the next batch.""",
    assumptions={
        "every channel varies in the first batch": "a constant channel has variance 0, and"
        " :math:`e^{s}` would be 1/0; the reference then stops at :math:`10^6`, and the second"
        " moment of z is 0",
    },
)
@given(shape=st.sampled_from([(7, 3, 2, 5), (4, 1, 3, 2), (9, 2, 1, 1)]))
def test_actnorm_initialises_itself_once(
    subject: Handle, device: str, dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    pieces, channels, pixels = subject.pieces().raw, shape[1], shape[2] * shape[3]
    first, second = 3 * normal(*shape) + 2, 0.5 * normal(*shape) - 1
    layer = pieces.ActNorm(channels).double().eval()
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    layer(first)
    for name, value in layer.state_dict().items():
        check.equal(value, before[name], f"{name} after a batch in eval mode")
    layer.train()
    z = layer(first)[0]
    zeros = torch.zeros(channels, dtype=DOUBLE)
    check.close(z.mean((0, 2, 3)), zeros, SLACK, "the mean of a channel of the first batch")
    check.close(z.square().mean((0, 2, 3)), zeros + 1, GUARD, "the variance of a channel")
    slope = layer(second + 1)[0] - layer(second)[0]
    log_scale = slope.log().mean((0, 2, 3))
    check.close(slope.log(), log_scale[:, None, None].expand(shape), SLACK, "the scale of an item")
    check.equal(layer(first)[0], z, "the first batch, after others have been seen,")
    check.close(
        layer(second)[1],
        (pixels * log_scale.sum()).expand(shape[0]),
        rounding(DOUBLE, length=pixels * channels, scale=8.0),
        "log_det of actnorm, against the pixels times the sum of log-scales,",
    )
    fresh = pieces.ActNorm(channels).double()
    fresh.load_state_dict(layer.state_dict())
    for mode in (True, False):
        found = fresh.train(mode)(second)[0]
        check.equal(found, layer(second)[0], "a batch, after the state dict was loaded,")
    own = pieces.ActNorm(channels).double().train()(second)[0]
    check.that((own != found).any(), "another first batch starts from the same place")


@claim(
    "theory.one_by_one_log_det",
    r"z_{ij} = W x_{ij} \;\Rightarrow\; \log \Bigl|\det \frac{\partial z}{\partial x}\Bigr| = H W \log"
    r" |\det W|, \qquad W = P L (U + \operatorname{diag} s)",
    sources=[f"{GLOW}, equations 9 to 11"],
    why=r"""Pixels do not mix, so with the pixels in order the Jacobian is block diagonal with W
    once for each,

    .. math::

        \det (I_{HW} \otimes W) = (\det W)^{HW}.

    W mixes the channels of pixel (i, j), and H W pixels take part. Volume has no sign: a reflection
    is as good as a rotation, and the logarithm of a negative determinant is NaN. In the factored
    form P is a permutation, L and U triangular with ones and zeros on their diagonals, so that
    :math:`|\det W| = 1 \cdot 1 \cdot \prod_c |s_c|` is in plain sight. The signs of s are kept
    apart, as constants, since a logarithm cannot hold them; so no step of training takes W through
    a singular matrix.

    Each pixel is multiplied by W in the test itself, ``slogdet`` of W times the number of pixels is
    the log-determinant, and both forms must agree for matrices of either sign, also after the
    factors were redrawn.""",
    assumptions={
        "W is invertible": "((1, 1), (1, 1)) maps (1, 0) and (0, 1) to one point",
        "rows may be permuted": "W = ((0, 1), (1, 0)) is no product L (U + diag s): the entry 0"
        " in its corner makes :math:`s_1 = 0`, and then the first column is 0",
        "the signs of s are kept": r"with :math:`s = e^{\log |s|}` the reflection diag(1, -1)"
        " becomes the identity",
    },
    sentence="a 1×1 convolution counts every pixel",
)
@given(c=st.sampled_from([1, 2, 3, 5]), reflects=st.booleans())
def test_a_one_by_one_convolution_counts_every_pixel(
    subject: Handle, device: str, dtype: torch.dtype, c: int, reflects: bool
) -> None:
    pieces = subject.pieces().raw
    weight = torch.linalg.qr(normal(c, c)).Q @ (normal(c, c) / 4 + torch.eye(c))
    if bool(weight.det() < 0) != reflects:
        weight[0] = -weight[0]
    x = normal(2, c, 2, 3)
    slack = SLACK * float(torch.linalg.cond(weight)) * 8
    volume = torch.linalg.slogdet(weight).logabsdet
    lu = pieces.LUConv1x1(weight).double()
    check.close(lu.weight(), weight, slack, "P L (U + diag s), against W,")
    for layer, what in ((pieces.InvertibleConv1x1(weight).double(), "plain"), (lu, "LU")):
        z, log_det = layer(x)
        for i, j in itertools.product(range(2), range(3)):
            check.close(
                z[:, :, i, j], x[:, :, i, j] @ weight.T, slack, f"pixel ({i}, {j}), {what},"
            )
        check.close(
            log_det, (6 * volume).expand(2), slack, f"log_det, {what}, against H W log|det W|,"
        )
        check.close(layer.inverse(z), x, slack, f"the inverse, {what},")
    trained = drawn(lu)
    plain = pieces.InvertibleConv1x1(trained.weight().detach()).double()
    slack = SLACK * float(torch.linalg.cond(trained.weight())) * 8
    check.close(
        trained(x)[0], plain(x)[0], slack, "the factors after training, against their product,"
    )
    check.close(
        trained(x)[1], plain(x)[1], slack, "log_det of the factors, against their product's,"
    )
    sign = trained.weight().det().sign()
    check.that(bool((sign < 0) == reflects), "training has changed the sign of the determinant")
    turn = pieces.random_rotation(c).double()
    slack = rounding(torch.float32, length=c)
    check.close(turn @ turn.T, torch.eye(c), slack, "Q Q^T of the matrix to start from")


# Autoregressive flows -------------------------------------------------------------------------------


class Counter:
    """How often a network was called since it was last asked."""

    def __init__(self, *networks: nn.Module) -> None:
        self.calls = 0
        for network in networks:
            network.register_forward_hook(self._count)

    def _count(self, *_: Any) -> None:
        self.calls += 1

    def since(self) -> int:
        found, self.calls = self.calls, 0
        return found


@claim(
    "theory.maf_iaf_mutual_inverses",
    r"f_{\text{IAF}} = f_{\text{MAF}}^{-1}; \qquad \text{passes: MAF } 1 \text{ to evaluate, } D"
    r" \text{ to sample; IAF } D \text{ to evaluate, } 1 \text{ to sample}",
    sources=[f"{MAF}, sections 3.1 and 3.2", f"{IAF}, section 3"],
    why=r"""One triangular map, read in two directions:

    .. math::

        z_i = \bigl(x_i - \mu_i(x_{<i})\bigr)\, e^{-\alpha_i(x_{<i})} \iff x_i = \mu_i(x_{<i}) +
        z_i\, e^{\alpha_i(x_{<i})}.

    Where x is known, one pass of the network gives every shift and scale. Where z is known, feature
    i needs the features before it: after k passes the first k are right, by induction, so D passes
    do. MAF takes x for the data and z for the noise, IAF the other way round; with one network each
    undoes the other, and :math:`\log|\det| = \mp \sum_i \alpha_i`.

    The two layers share one network, and a hook counts its calls. The Jacobian by autograd must be
    exactly triangular, with every entry below the diagonal in use; with orders that alternate
    between layers, none of the whole model's entries may be zero.""",
    assumptions={
        "shift and scale of a feature read earlier features alone": (
            "a feature that sets its own scale, :math:`z = x e^{-x}`, has the slope 0 at x = 1,"
            " and D passes do not undo it"
        ),
        "IAF shifts before it scales, as MAF does": r"IAF written as :math:`x = z e^{-\alpha} -"
        r" \mu` is a flow as good as any, and undoes MAF for :math:`\mu = 0` or :math:`\alpha ="
        " 0` alone",
    },
    sentence="MAF and IAF are one map in two directions",
)
@given(dim=st.sampled_from([1, 2, 3, 5]))
def test_maf_and_iaf_are_one_map_in_two_directions(
    subject: Handle, device: str, dtype: torch.dtype, dim: int
) -> None:
    pieces = subject.pieces().raw
    conditioner = drawn(pieces.MaskedConditioner(dim, 7))
    maf, iaf = (
        pieces.AutoregressiveLayer(conditioner),
        pieces.InverseAutoregressiveLayer(conditioner),
    )
    counter, x = Counter(conditioner), normal(4, dim)
    z, log_det = maf(x)
    check.that(counter.since() == 1, "MAF takes more than one pass from data to noise")
    check.close(maf.inverse(z), x, SLACK, "MAF's inverse")
    passes = counter.since()
    check.that(passes == dim, f"MAF takes {passes} passes to sample {dim} features")
    back, shrinks = iaf(z)
    passes = counter.since()
    check.that(passes == dim, f"IAF takes {passes} passes from data to noise, for {dim} features")
    check.close(iaf.inverse(x), z, SLACK, "IAF's samples from x, against MAF's noise for x,")
    check.that(counter.since() == 1, "IAF takes more than one pass to sample")
    check.close(back, x, SLACK, "IAF of MAF")
    check.close(shrinks, -log_det, SLACK, "IAF's log_det, against MAF's with the sign changed,")
    upwards = torch.ones(dim, dim).triu(1).bool()
    for layer, what in ((maf, "MAF"), (iaf, "IAF")):
        entries = jacobian(forward(layer), x[0])
        check.that(not entries[upwards].any(), f"{what}: a feature depends on a later one")
        check.that((entries[~upwards] != 0).all(), f"{what}: a feature ignores an earlier one")
        check.that((entries.diagonal() > 0).all(), f"{what}: a scale is not positive")
    for model in (pieces.MAF(dim, 3, 7), pieces.IAF(dim, 3, 7)):
        orders = jacobian(forward(drawn(model)), x[0])
        check.that(
            (orders != 0).all(), "with orders that alternate, a feature still ignores another"
        )


# Planar and radial flows ----------------------------------------------------------------------------


def _rises(values: Tensor, what: str) -> None:
    size = rounding(DOUBLE, scale=1 + float(values.abs().max()))
    check.at_least(values.diff(), 0.0, size, f"the step of {what} from one point to the next")


@claim(
    "theory.planar_invertible_for_every_draw",
    r"w^\top \hat u = \log(1 + e^{w^\top u}) - 1 > -1 \;\Rightarrow\; a \mapsto a + w^\top \hat u"
    r" \tanh(a + b) \text{ rises}, \qquad \hat u = u + \bigl(\log(1 + e^{w^\top u}) - 1 - w^\top u\bigr)"
    r" \frac{w}{\|w\|^2}",
    sources=[f"{REZENDE}, appendix A.1"],
    assumptions={
        "w is not zero": "at w = 0 the layer is a shift, and the correction is 0/0",
        "u is corrected": r"for :math:`c = w^\top u < -1` and b = 0 the equation :math:`a + c"
        r" \tanh a = 0` has a root a > 0, and :math:`\pm a w / \|w\|^2` both land on the origin"
        " if u lies along w; c = -2 gives a = 1.915",
    },
    why=r"""The layer is :math:`f(x) = x + \hat u \tanh(w^\top x + b)`. Along w it is a function of
    one number, :math:`a = w^\top x`, whose slope

    .. math::

        1 + w^\top \hat u\, \bigl(1 - \tanh^2(a + b)\bigr) \ge \min(1,\, 1 + w^\top \hat u) > 0

    is also :math:`\det \partial f / \partial x`, by the matrix determinant lemma. It rises from
    minus to plus infinity, so :math:`w^\top z` tells a, and a tells how far the other coordinates
    were pushed: :math:`x = z - \hat u \tanh(a + b)`. Changing u along w alone gives
    :math:`w^\top \hat u` its value and leaves the rest of the push to training.

    The formula for :math:`w^\top \hat u`, the rise along w and the log-determinant (against
    autograd's) are checked for random w and u; then the counterexample below is built, and the
    corrected layer takes its two points apart.""",
)
@given(
    dim=st.sampled_from([1, 2, 3]),
    b=st.floats(-2.0, 2.0),
    c=st.floats(-6.0, -1.5),
)
def test_the_corrected_planar_layer_never_folds_space(
    subject: Handle, device: str, dtype: torch.dtype, dim: int, b: float, c: float
) -> None:
    pieces, w, u = subject.pieces().raw, normal(dim), 3 * normal(dim)
    offset = torch.tensor([b], dtype=DOUBLE)
    push = pieces.planar_push(w, u)
    product = w @ u
    wanted = torch.logaddexp(product, torch.zeros_like(product)) - 1
    check.close(w @ push, wanted, SLACK * 8, "w·û")
    across = (push - u) - (push - u) @ w / w.square().sum() * w
    check.close(across, torch.zeros_like(w), SLACK * 8, "the change of u across w")
    line = torch.linspace(-5, 5, 101, dtype=DOUBLE)[:, None] * w / w.square().sum()
    z, log_det = pieces.planar_step(line, w, push, offset)
    _rises(z @ w, "w·f(x) along w")
    for item, found in zip(line[::25], log_det[::25], strict=True):
        moved = jacobian(lambda x: pieces.planar_step(x, w, push, offset)[0], item)
        sign, exact = torch.linalg.slogdet(moved)
        check.that(bool(sign > 0) or bool(exact < -20), "the determinant is negative")
        room = SLACK * (1 + (-exact).exp())
        check.close(found, exact, room, "log_det of a planar step")
    root = scipy.optimize.brentq(lambda a: a + c * math.tanh(a), 1e-3, -c + 1)
    here, zero = root * w / w.square().sum(), torch.zeros(1, dtype=DOUBLE)
    both, free = torch.stack([here, -here]), c * w / w.square().sum()
    folded = pieces.planar_step(both, w, free, zero)[0]
    check.close(folded, torch.zeros_like(both), GUARD, "the counterexample's two images")
    apart = pieces.planar_step(both, w, pieces.planar_push(w, free), zero)[0]
    check.that((apart[0] != apart[1]).any(), "the corrected layer maps two points to one")


@claim(
    "theory.radial_invertible_for_every_draw",
    r"\beta > -\alpha \;\Longleftrightarrow\; \frac{d}{dr} \Bigl(r + \frac{\beta r}{\alpha + r}\Bigr) > 0"
    r" \text{ for all } r \ge 0 \qquad (\alpha > 0)",
    sources=[f"{REZENDE}, appendix A.2"],
    assumptions={
        "beta exceeds -alpha": r"for :math:`\beta = -3 \alpha` all points at the distance"
        r" :math:`2 \alpha` land on the centre, a whole sphere of them",
        "alpha is positive": r"for :math:`\alpha = -1` the layer divides by zero at the distance 1",
    },
    why=r"""A radial layer moves x along its ray from the centre, and its distance r to
    :math:`r + \beta r / (\alpha + r)`. The slope of that is

    .. math::

        1 + \frac{\alpha \beta}{(\alpha + r)^2}, \qquad \text{which at the centre is } 1 +
        \frac{\beta}{\alpha}

    and, for negative :math:`\beta`, least there. So it is positive everywhere just for
    :math:`\beta > -\alpha`, distances keep their order, and every distance is reached. The D - 1
    directions along the sphere grow as its radius does, by :math:`1 + \beta / (\alpha + r)`; this
    factor enters the determinant with the power D - 1, of which two dimensions cannot tell whether
    it was remembered.

    Distances along a random ray must rise, and the log-determinant must be that of autograd's
    Jacobian in one to four dimensions; the counterexample below is built as well.""",
)
@given(dim=st.sampled_from([1, 2, 3, 4]))
def test_the_constrained_radial_layer_never_folds_space(
    subject: Handle, device: str, dtype: torch.dtype, dim: int
) -> None:
    pieces = subject.pieces().raw
    layer, way = drawn(pieces.RadialLayer(dim)), nn.functional.normalize(normal(dim), dim=0)
    alpha, beta = (value.detach() for value in layer.shape())
    check.that(bool(alpha > 0) and bool(beta > -alpha), f"alpha = {alpha}, beta = {beta}")
    centre = layer.centre.detach()
    reach = torch.linspace(0.05, 6, 60, dtype=DOUBLE)[:, None]
    z, log_det = pieces.radial_step(centre + reach * way, centre, alpha, beta)
    _rises((z - centre) @ way, "the distance from the centre")
    for item, found in zip((centre + reach * way)[::15], log_det[::15], strict=True):
        moved = jacobian(lambda x: pieces.radial_step(x, centre, alpha, beta)[0], item)
        sign, exact = torch.linalg.slogdet(moved)
        check.that(bool(sign > 0), "the determinant is negative")
        check.close(found, exact, SLACK * (1 + 1 / moved.det()), "log_det of a radial step")
    check.close(layer(centre + reach * way)[0], z, SLACK, "the layer, against the step it makes,")
    both = torch.stack([centre + 2 * alpha * way, centre - 2 * alpha * way])
    folded = pieces.radial_step(both, centre, alpha, -3 * alpha)[0]
    check.close(folded, centre.expand(2, dim), GUARD, "the counterexample's two images")
    apart = layer(both)[0]
    check.that((apart[0] != apart[1]).any(), "the constrained layer maps two points to one")


# Continuous flows -----------------------------------------------------------------------------------


@claim(
    "theory.continuous_log_det",
    r"\frac{dx}{dt} = v \;\Rightarrow\; \frac{d}{dt} \log p_t(x(t)) = -\operatorname{tr} \frac{\partial"
    r" v}{\partial x}, \qquad \log \Bigl|\det \frac{\partial z}{\partial x}\Bigr| = \int_0^T"
    r" \operatorname{tr} \frac{\partial v}{\partial x}\, dt",
    sources=["Chen et al. 2018, 'Neural Ordinary Differential Equations', theorem 1",
             f"{FFJORD}, equations 2 to 4"],
    why=r"""Let x(t) follow the field v from x = x(0) to z = x(T). In a short time dt every axis
    grows by its own diagonal entry, and what the others do is of second order:

    .. math::

        \det (I + J\, dt) = 1 + \operatorname{tr} J\, dt + O(dt^2), \qquad J = \frac{\partial
        v}{\partial x}.

    The determinants of short stretches multiply, so log det integrates the trace along the path
    (Liouville's formula). Mass stays with the points, hence their density :math:`p_t` falls by what
    volume gains. The oracle is the Jacobian of the whole solved map by autograd; the slope of
    ``log_det`` in the duration must be the trace at the end of the path, and the same field
    backwards in time must return. The solver is tried on a linear field, solved by the matrix
    exponential (halving its steps divides the error by about sixteen), and on a field that depends
    on time alone.""",
    assumptions={
        "the field is smooth enough for one path through each point": (
            "from 0 the field :math:`v = 3 x^{2/3}` allows x = 0 for ever and :math:`x = t^3`"
        ),
        "paths last until T": "under :math:`v = x^2` the path from 1 is at infinity at t = 1",
        "the solver's steps are small": "one Euler step of v = x gives a determinant of 2 at T ="
        " 1, where the exponential of the integral is 2.718",
    },
    effort=0.3,
)  # fmt: skip
@given(dim=st.sampled_from([1, 2, 3]))
def test_volume_grows_by_the_trace_along_the_path(
    subject: Handle, device: str, dtype: torch.dtype, dim: int
) -> None:
    pieces = subject.pieces().raw
    model, x = drawn(pieces.ContinuousFlow(dim, 5, steps=12, duration=0.5)), normal(2, dim)
    z, log_det = model(x)
    exact = torch.stack([torch.linalg.slogdet(jacobian(forward(model), item))[1] for item in x])
    check.close(log_det, exact, GUARD * (1 + exact.abs()), "log_det, against the Jacobian's,")
    check.close(model.inverse(z), x, GUARD * (1 + x.abs() + z.abs()), "the path, there and back,")
    step = 1e-3
    ends = []
    for time in (0.5 + step, 0.5 - step):
        model.duration = time
        ends.append(model(x)[1])
    trace = torch.stack([jacobian(lambda v: model.field(0.5, v), item).trace() for item in z])
    slope = (ends[0] - ends[1]) / (2 * step)
    check.close(
        slope, trace, 10 * GUARD * (1 + trace.abs()), "the slope of log_det in the duration"
    )
    matrix, start = nn.functional.normalize(normal(dim, dim), dim=(0, 1)) * 2, normal(4, dim)
    solved = start @ torch.linalg.matrix_exp(matrix).T
    errors = [
        (pieces.runge_kutta(lambda t, y: y @ matrix.T, start, 0.0, 1.0, n) - solved).abs().max()
        for n in (4, 8, 64)
    ]
    check.at_most(errors[1], errors[0] / 8, SLACK, "the error after twice as many steps")
    check.at_most(errors[2], 0.0, GUARD * (1 + float(solved.abs().max())), "the error of 64 steps")
    clock = pieces.runge_kutta(
        lambda t, y: y.new_tensor([t**3]), torch.zeros(1).double(), 2.0, 1.0, 1
    )
    check.close(clock, -3.75, SLACK, "the integral of t^3 from 2 back to 1")


@claim(
    "theory.hutchinson_unbiased",
    r"2^{-D} \sum_{\epsilon \in \{-1, 1\}^D} \epsilon^\top J \epsilon = \operatorname{tr} J, \qquad"
    r" \operatorname{Var} = \sum_{i < j} (J_{ij} + J_{ji})^2",
    sources=[f"{FFJORD}, equation 7", "Hutchinson 1989, 'A stochastic estimator of the trace'"],
    why=r"""Let J be the Jacobian of the field. For independent signs
    :math:`\mathbb E[\epsilon_i \epsilon_j]` is 1 for i = j and 0 otherwise, so

    .. math::

        \epsilon^\top J \epsilon = \sum_i J_{ii}\, \epsilon_i^2 + \sum_{i < j} (J_{ij} + J_{ji})\,
        \epsilon_i \epsilon_j

    has the trace as its first part, exactly, since :math:`\epsilon_i^2 = 1`, and a second part of
    mean zero. The products :math:`\epsilon_i \epsilon_j` of different pairs are uncorrelated and
    have variance 1, which gives the variance: a field whose axes do not act on each other needs one
    draw only. One vector for the whole path keeps the integral of the estimates unbiased, since the
    path does not depend on it.

    Over all :math:`2^D` sign vectors the average is no estimate but an equality, against the trace
    of autograd's Jacobian; the variance over them is compared with its entries off the diagonal.""",
    assumptions={
        "signs of different axes are uncorrelated": "one sign for all axes gives the sum of all"
        " entries of J, every time",
        "their mean is zero": r"noise in {0, 1} times :math:`\sqrt 2` has :math:`\mathbb"
        r" E[\epsilon_i^2] = 1`, and half of every entry off the diagonal stays in the average",
        "every square is 1 (for the variance)": "with normal noise even the 1 × 1 matrix J = 1,"
        " which needs no estimate, has the variance 2",
    },
    effort=0.5,
)
@given(dim=st.sampled_from([1, 2, 3]))
def test_signs_average_to_the_trace(
    subject: Handle, device: str, dtype: torch.dtype, dim: int
) -> None:
    pieces = subject.pieces().raw
    model, x = drawn(pieces.ContinuousFlow(dim, 5, steps=2)), normal(2, dim)

    def field(v: Tensor) -> Tensor:
        return model.field(0.3, v)

    signs = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=dim)), dtype=DOUBLE)
    entries = torch.stack([jacobian(field, item) for item in x])
    trace = entries.diagonal(dim1=1, dim2=2).sum(1)
    check.close(pieces.exact_divergence(field, x), trace, SLACK, "the exact divergence")
    estimates = torch.stack(
        [pieces.hutchinson_divergence(field, x, e.expand(2, dim)) for e in signs]
    )
    check.close(estimates.mean(0), trace, SLACK, "the mean over all sign vectors")
    both = (entries + entries.mT).triu(1)
    spread = both.square().sum((1, 2))
    check.close(estimates.var(0, correction=0), spread, SLACK * 8, "the variance over sign vectors")
    if dim > 1:
        check.that((estimates[0] != trace).any(), "an estimate from one draw is exact")
    z, log_det = model(x)
    runs = [model(x, e.expand(2, dim)) for e in signs]
    for end, _ in runs:
        check.close(end, z, SLACK, "the end of the path, with another noise for the trace,")
    mean = torch.stack([run[1] for run in runs]).mean(0)
    check.close(mean, log_det, SLACK * 8, "the mean of log_det over all sign vectors")


# Levels ---------------------------------------------------------------------------------------------

_NODES, _WEIGHTS = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(12))


def _cube(dims: int) -> tuple[Tensor, Tensor]:
    """Nodes (M, dims) and weights (M,) of a Gauss-Legendre rule on the unit cube."""
    nodes = torch.cartesian_prod(*[(_NODES + 1) / 2] * dims).reshape(-1, dims)
    weights = torch.cartesian_prod(*[_WEIGHTS / 2] * dims).reshape(-1, dims).prod(1)
    return nodes, weights


def _bound(pieces: Any, log_prob: Any, x: Tensor, levels: int) -> Tensor:
    """The mean over the noise of the dequantised log-probability, by quadrature."""
    nodes, weights = _cube(x.shape[1])
    found = [pieces.dequantized_log_prob(log_prob, x, u.expand(x.shape), levels) for u in nodes]
    return weights @ torch.stack(found)


@claim(
    "theory.dequantized_flow_counts_its_units",
    r"p_{x+u}(v) = K^{-D}\, p(v / K): \quad \text{uniform } p \text{ costs } \log_2 K \text{ bits;"
    r" } \mathcal N(m, S) \text{ becomes } \mathcal N(K m, K^2 S)",
    sources=[THEIS, "CS182 2020 L16, table of NLL on CIFAR-10: 256 levels cost 8.00 bits"],
    why=r"""A flow sees :math:`y = v / K`, levels x plus noise u, :math:`v = x + u`, divided by
    their number K; and a density has units: mass per volume. In units of levels the volume is
    :math:`K^D` times as large:

    .. math::

        p_{x+u}(v) = p(y)\, \Bigl|\det \frac{\partial y}{\partial v}\Bigr| = K^{-D}\, p(v / K).

    In bits per dimension that is :math:`\log_2 K` more. Without the constant a flow at 256 levels
    is 8 bits per dimension better than it is; with one constant for all dimensions, nearly as much
    where they are many; with K - 1 for K, by 0.0056 bits, which nobody would notice.

    Two densities have the answer in closed form: the uniform one costs what a fair die of K faces
    costs, and a Gaussian scaled by K is a Gaussian, which SciPy evaluates. The mean over the noise
    is taken by Gauss-Legendre quadrature, not by draws.""",
    assumptions={
        "levels are divided by K": "divided by K - 1 the last level leaves the unit interval:"
        " 255.5 / 255 is 1.002",
    },
)
@given(dims=st.integers(1, 2), levels=st.sampled_from([2, 5, 256]))
def test_the_scale_of_the_levels_is_paid_for(
    subject: Handle, device: str, dtype: torch.dtype, dims: int, levels: int
) -> None:
    pieces = subject.pieces().raw
    x = torch.randint(levels, (3, dims))
    flat = _bound(pieces, lambda v: torch.zeros(len(v), dtype=DOUBLE), x, levels)
    check.close(
        -flat / (dims * math.log(2)),
        torch.full((3,), math.log2(levels), dtype=DOUBLE),
        SLACK,
        f"bits per dimension of the uniform density, at {levels} levels",
    )
    mean, root = normal(dims), normal(dims, dims)
    covariance = root @ root.T + torch.eye(dims, dtype=DOUBLE)
    density = torch.distributions.MultivariateNormal(mean, covariance)
    scaled = scipy.stats.multivariate_normal(
        (levels * mean).numpy(), (levels**2 * covariance).numpy()
    )
    nodes, weights = _cube(dims)
    oracle = [scaled.logpdf((x + u).numpy()).reshape(3) for u in nodes]
    check.close(
        _bound(pieces, density.log_prob, x, levels),
        weights @ torch.from_numpy(np.stack(oracle)),
        SLACK * 8,
        "the bound of a Gaussian, against the Gaussian of the levels,",
    )


@claim(
    "theory.dequantized_flow_is_below",
    r"\mathbb E_u[\log p_{x+u}(x + u)] \le \log \int_{[0,1)^D} p_{x+u}(x + u)\, du = \log P(x), \qquad"
    r" \sum_x P(x) \le 1",
    sources=[THEIS],
    why=r"""The logarithm is concave, so by Jensen's inequality the mean log-density of x + u over
    uniform noise u is at most the logarithm of the mean, which is the mass that the density puts
    into the unit cube of the levels x:

    .. math::

        \mathbb E_u[\log p_{x+u}(x + u)] \le \log \mathbb E_u[p_{x+u}(x + u)] = \log P(x).

    The cubes of different levels do not overlap, so their masses add up to one at most; the rest
    lies outside the box. A flow's figure for levels is therefore never better than what the flow,
    as a model of levels, would deserve. Nor is it arbitrarily poor: a mean is at least the least of
    what is averaged.

    The masses are integrated from what ``forward`` returns. The inequality holds exactly of the
    quadrature too, whose weights are positive and add up to one.""",
    assumptions={
        "the noise is uniform on the cube": "with u = 1/2 always, a density of 100 on an interval"
        " of length 0.01 around 1/2 scores log 100, where the log-mass is 0",
        "the density of x + u is in units of levels": "without the factor :math:`K^{-D}` the"
        " uniform density scores 0 for each of K levels, and the masses seem to add up to K",
    },
    sentence="the bound of a flow lies below its log-mass",
    effort=0.3,
)
@given(levels=st.sampled_from([2, 3]))
def test_the_bound_of_a_flow_is_below_its_log_mass(
    subject: Handle, device: str, dtype: torch.dtype, levels: int
) -> None:
    pieces = subject.pieces().raw
    flow = drawn(pieces.RealNVP(2, 3, 4))
    x = torch.cartesian_prod(torch.arange(levels), torch.arange(levels))
    nodes, weights = _cube(2)
    with torch.no_grad():
        bound = _bound(pieces, flow.log_prob, x, levels)
        inside = (x[:, None] + nodes).reshape(-1, 2) / levels
        z, log_det = flow(inside)
        density = (log_det - 0.5 * z.square().sum(1) - math.log(2 * math.pi)).exp()
    mass = density.reshape(len(x), -1) @ weights / levels**2
    check.at_most(bound, mass.log(), GUARD, "the bound, against the logarithm of the mass,")
    check.at_most(bound.exp().sum(), 1.0, GUARD, "the sum over all levels of exp(bound)")
    least = density.reshape(len(x), -1).amin(1).log() - 2 * math.log(levels)
    check.at_least(bound, least, GUARD, "the bound, against the least log-density in the cell,")
