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

REZENDE = "Rezende and Mohamed 2015"
NICE = "Dinh, Krueger, Bengio 2014"
REALNVP = "Dinh, Sohl-Dickstein, Bengio 2016"
GLOW = "Kingma and Dhariwal 2018"
MAF = "Papamakarios, Pavlakou, Murray 2017"
IAF = "Kingma et al. 2016"
FFJORD = "Grathwohl et al. 2018"
THEIS = "Theis, van den Oord, Bethge 2015, section 3.1"
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
    why="""A shear moves points and keeps areas: an additive coupling is one, whatever its network. The
    diagonal scale alone changes volume, by the same factor everywhere, so NICE can only move mass
    about and never thin it out here and heap it up there. Three couplings are enough for every
    feature to act on every other; with fewer, or with masks that do not alternate, some entry of the
    Jacobian is zero.""",
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
    why="""What is kept passes through: rows of the identity, exactly. What moves depends on itself by
    its scale, on the other moved features not at all, exactly, and on what is kept through any
    network at all. The determinant is the product of the scales. A single coupling leaves half of
    the features alone; masks that alternate leave none after two.""",
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
    why="""Nothing is computed, only moved: every number of x is in y once, in the pixel that its block
    became. A reshape alone also is a bijection with the right shapes, and mixes up rows that are far
    apart, after which a convolution has no neighbours to look at.""",
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
    r"z = \operatorname{unsqueeze}(h, g(r)), \qquad \log |\det| = \log |\det \partial f| + \log |\det"
    r" \partial g|",
    sources=[f"{REALNVP}, section 3.6, equations 13 to 16"],
    why="""Half of the numbers leave after each scale and become noise as they are; only the other half
    goes on. Both halves have been through the scale's own layers, so its log-determinant counts
    for both, and the next scale adds that of the half it got.""",
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
    why="""The first batch only chooses where training starts. From then on scale and shift are
    parameters like others: batches no longer matter, in training as in evaluation, and a checkpoint
    that did not say 'initialised' would throw away what was learned with the next batch.""",
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
    why="""The Jacobian is block diagonal, with W once for each pixel. Volume has no sign: a reflection
    is as good as a rotation, and the logarithm of a negative determinant is NaN. Three triangular
    factors are the same matrix with its determinant in plain sight; their signs are kept apart,
    since a logarithm cannot hold them, so W cannot pass through a singular matrix.""",
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
    why="""One triangular map, read in two directions. Where all of the network's input is known, one
    pass gives every shift and scale; in the other direction each pass finishes one feature more. MAF
    puts the fast direction where densities are asked for, IAF where samples are, and with one network
    each undoes the other, log-determinants included.""",
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
    r" \tanh(a + b) \text{ rises}",
    sources=[f"{REZENDE}, appendix A.1"],
    assumptions=[
        "w is not zero",
        "without the correction two points may have one image: shown here",
    ],
    why="""Along w a planar layer is a function of one number, and its least slope is 1 + w·û. Changing
    u along w alone keeps the slope positive and leaves the rest of the push to training. Without it,
    for w·u = c < -1, the equation a + c tanh a = 0 has a root a > 0, and then ±a w/|w|² both land on
    the origin.""",
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
    r"\beta > -\alpha \;\Longleftrightarrow\; r \mapsto r + \frac{\beta r}{\alpha + r} \text{ rises}",
    sources=[f"{REZENDE}, appendix A.2"],
    assumptions=["without the constraint a whole sphere lands on the centre: shown here"],
    why="""A radial layer keeps every ray from its centre; on it, the slope at the centre, 1 + β/α, is
    the least. The D - 1 directions along the sphere grow as its radius does, so their factor comes
    to the power D - 1: two dimensions cannot tell whether it was remembered. With β = -3α, points
    at distance 2α go to the centre, from all sides.""",
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
    sources=["Chen et al. 2018, theorem 1 (Neural Ordinary Differential Equations)",
             f"{FFJORD}, equations 2 to 4"],
    why="""In a short time dt every axis grows by its own diagonal entry, and what the others do is of
    second order: the determinant of 1 + J dt is 1 + tr J dt. So a trace, where other flows need a
    determinant, and no triangles. The whole map's Jacobian is measured, and its logarithm of the
    determinant is the integral; the slope of log_det in the duration is the trace at the end of the
    path; the same field backwards in time returns. A linear field is solved by the matrix
    exponential, and halving the solver's steps divides its error by about sixteen.""",
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
    why="""The signs of different axes are independent, so on average only the diagonal is left. Over
    all sign vectors the average is no estimate but an equality. What one draw misses are the
    entries off the diagonal, and the squares of their sums are its variance: a field whose axes do
    not act on each other needs one draw only. One vector for the whole path keeps the estimate of
    the integral unbiased, since the path does not depend on it.""",
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
    sources=[THEIS, "CS182 L16, table of NLL on CIFAR-10: 256 levels cost 8.00 bits"],
    why="""A flow sees levels divided by K, and a density has units: mass per volume. In units of levels
    the volume is K^D times as large, so the density is that much smaller. Without the constant a
    flow is 8 bits per dimension better than it is; with K - 1 for K, or with one constant for all
    dimensions, by an amount that nobody would notice.""",
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
    why="""Jensen's inequality: the mean of the logarithm is below the logarithm of the mean. So a
    flow's figure for levels is never better than what the flow, as a model of levels, would deserve;
    all masses together are at most one, the rest of the density lies outside the box. Nor is it a
    poor bound: a mean is above the least that is averaged.""",
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
