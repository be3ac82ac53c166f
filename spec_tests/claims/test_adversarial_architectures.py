r"""Theory of the architectures of adversarial networks: guidelines as structure, blocks, objectives."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn

from spec_tests import check
from spec_tests.check import Violation
from spec_tests.handle import Handle, redraw_parameters
from spec_tests.judge import stratified
from spec_tests.registry import claim
from spec_tests.strategies import normals, simplexes
from spec_tests.tolerance import guarded, rounding

DCGAN = "Radford, Metz, Chintala 2015, 'Unsupervised Representation Learning with DCGANs'"
BIGGAN = "Brock, Donahue, Simonyan 2018, 'Large Scale GAN Training'"
PROGRESSIVE = "Karras et al. 2017, 'Progressive Growing of GANs'"
CYCLEGAN = "Zhu et al. 2017, 'Unpaired Image-to-Image Translation'"
CGAN = "Mirza and Osindero 2014, 'Conditional Generative Adversarial Nets'"
LECTURE = "CS182 2021 L19, 'Generative Adversarial Networks'"

SIZES = st.sampled_from([(1, 2), (2, 1), (2, 3)])  # of the smallest map


def _drawn(subject: Handle, module: Any, training: bool = True) -> nn.Module:
    """A module with fresh parameters, where the claim is judged."""
    check.that(isinstance(module, nn.Module), f"{type(module).__name__} is no module")
    module.to(device=subject.device, dtype=subject.dtype)
    redraw_parameters(module)
    return module.train(training)  # type: ignore[no-any-return]


def _normal(subject: Handle, *shape: int) -> Tensor:
    drawn = torch.randn(*shape, dtype=torch.float64)
    return drawn.to(device=subject.device, dtype=subject.dtype)


def _twice(x: Tensor) -> Tensor:
    """Every pixel four times."""
    return (
        x[:, :, :, None, :, None]
        .expand(-1, -1, -1, 2, -1, 2)
        .reshape(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
    )


def _half(x: Tensor) -> Tensor:
    """Means of two by two pixels."""
    return x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).mean((3, 5))


# DCGAN -------------------------------------------------------------------------------------------


def _steps(model: nn.Module, x: Tensor) -> list[tuple[nn.Module, tuple[int, ...]]]:
    """The parts that a forward runs through, in order, with the shapes that they give."""
    seen: list[tuple[nn.Module, tuple[int, ...]]] = []
    hooks = [
        part.register_forward_hook(lambda part, _, out: seen.append((part, tuple(out.shape))))
        for part in model.modules()
        if not list(part.children())
    ]
    model(x)
    for hook in hooks:
        hook.remove()
    reshapes = (nn.Flatten, nn.Unflatten, nn.Identity)
    return [(part, shape) for part, shape in seen if not isinstance(part, reshapes)]


def _said(steps: Any) -> str:
    return " > ".join(type(part).__name__ for part, _ in steps)


def _guidelines(steps: Any, conv: type, pattern: list[list[type]], who: str) -> list[Any]:
    """Every convolution is a ``conv``, followed by just what the pattern says; their steps."""
    text = _said(steps)
    check.that(
        not any(isinstance(part, nn.Linear) or "Pool" in type(part).__name__ for part, _ in steps),
        f"the {who} runs through {text}: neither pooling nor full layers have a place there",
    )
    convs = [i for i, (part, _) in enumerate(steps) if isinstance(part, conv)]
    starts = convs == [] or convs[0] == 0
    check.that(
        starts and len(convs) == len(pattern),
        f"the {who} runs through {text}: it should be {len(pattern)} {conv.__name__}, each with its "
        f"normalisation and activation",
    )
    for index, (i, end) in enumerate(pairwise([*convs, len(steps)])):
        found = [type(part) for part, _ in steps[i + 1 : end]]
        check.that(
            found == pattern[index],
            f"convolution {index} of the {who} is followed by {[t.__name__ for t in found]}, not by "
            f"{[t.__name__ for t in pattern[index]]}",
        )
    return [steps[i] for i in convs]


@claim(
    "theory.dcgan_guidelines",
    r"\text{strides for pooling},\quad \text{batch normalisation except at the images},\quad "
    r"\text{ReLU and tanh in } G,\ \text{LeakyReLU in } D",
    sources=[f"{DCGAN}, Section 3, 'Architecture guidelines'", f"{LECTURE}, 'DCGAN'"],
    why="""Requirements, each with a reason. Strided convolutions let the network learn how
    to resize; a transposed one of kernel 4, stride 2 and padding 1 makes :math:`2 (n - 1) - 2 + 4
    = 2 n` pixels of n. Full layers tie it to one size. Batch normalisation keeps deep generators
    from collapsing, but at the pixels, and at the discriminator's input, it would fix the mean of
    a batch of images. A ReLU has no slope where its input is negative, so in D it would be silent
    towards the generator where D says no; a leaky one is not.

    The parts are watched by hooks while they run, with the sizes that they give, so that order
    counts and not the way in which the module is written. What is run is compared with the list.""",
    assumptions={
        "the sides can be halved as often as asked": (
            "a side of 7 halves to 3, and doubles to 6 again"
        ),
    },
    dtypes=("float64",),
    effort=0.5,
    sentence="DCGAN is built as its guidelines say",
)
@given(
    doublings=st.sampled_from([1, 2, 3]),
    small=SIZES,
    channels=st.sampled_from([1, 3]),
    latent=st.sampled_from([1, 5]),
)
def test_dcgan_is_built_as_its_guidelines_say(
    subject: Handle,
    device: str,
    dtype: torch.dtype,
    doublings: int,
    small: tuple[int, int],
    channels: int,
    latent: int,
) -> None:
    pieces = subject.pieces()
    height, width = (side << doublings for side in small)
    check.that(
        tuple(pieces.smallest_map(height, width, doublings)) == small,
        f"{height} by {width} halved {doublings} times is {small}",
    )
    shape = (channels, height, width)
    generator = _drawn(subject, pieces.DCGANGenerator(latent, shape, doublings))
    steps = _steps(generator, _normal(subject, 4, latent))
    inner: list[type] = [nn.BatchNorm2d, nn.ReLU]
    convs = _guidelines(steps, nn.ConvTranspose2d, [inner] * doublings + [[nn.Tanh]], "generator")
    for i, (_, got) in enumerate(convs):
        due = tuple(side << i for side in small)
        check.that(got[2:] == due, f"map {i} of the generator is {got[2:]}, not {due}")
    critic = _drawn(subject, pieces.DCGANDiscriminator(shape, doublings))
    steps = _steps(critic, _normal(subject, 4, *shape))
    body: list[list[type]] = [[nn.LeakyReLU]] + [[nn.BatchNorm2d, nn.LeakyReLU]] * (doublings - 1)
    convs = _guidelines(steps, nn.Conv2d, [*body, []], "discriminator")
    for i, (_, got) in enumerate(convs[:-1]):
        due = (height >> (i + 1), width >> (i + 1))
        check.that(got[2:] == due, f"map {i} of the discriminator is {got[2:]}, not {due}")


# Latent space --------------------------------------------------------------------------------------


@claim(
    "theory.vector_arithmetic",
    r"\angle(a, s(t)) = t\, \angle(a, b),\quad \lVert s(t) \rVert = \lVert a \rVert = \lVert b \rVert,"
    r"\qquad \bar z_1 - \bar z_2 + \bar z_3",
    sources=[
        "White 2016, 'Sampling Generative Networks', Section 2",
        f"{DCGAN}, Section 6.3.2",
        f"{LECTURE}, 'vector arithmetic'",
    ],
    why=r"""Let :math:`\omega` be the angle between a and b, both of length r, and :math:`s(t)
    = (\sin((1 - t) \omega)\, a + \sin(t \omega)\, b) / \sin \omega`. In an orthonormal basis of
    their plane :math:`a = (r, 0)` and :math:`b = r (\cos \omega, \sin \omega)`, and

    .. math::

        \sin(\omega - t \omega) + \sin(t \omega) \cos \omega = \sin \omega \cos(t \omega)
        \implies s(t) = r (\cos(t \omega), \sin(t \omega)),

    an even walk along the great circle. Normal latents in many dimensions all have nearly one
    length; the chord leaves the shell on which the generator was trained, the circle does not.

    Arithmetic takes the mean :math:`\bar z` of each group first, whatever its number, so that
    what its members do not share averages out. Angles are measured by chords, which lose no
    digits where the arccosine does; for parallel latents the walk must be straight.""",
    assumptions={
        "a and b have one length": (
            "halfway from (1, 0) to (0, 2) the length is 1.58 and the angle is 63 degrees, not 45"
        ),
        "a and b are not opposite": (
            r"from a to -a every great circle leads, and :math:`\sin \omega = 0`"
        ),
    },
    dtypes=("float64",),
)
@given(
    a=normals((3, 4)),
    b=normals((3, 4)),
    t=st.sampled_from([0.0, 0.25, 0.5, 0.9, 1.0]),
    near=st.booleans(),
    counts=st.sampled_from([(1, 2, 3), (3, 1, 2), (2, 2, 2)]),
)
def test_walks_keep_the_length_and_sums_exchange_what_is_shared(
    subject: Handle,
    device: str,
    dtype: torch.dtype,
    a: Tensor,
    b: Tensor,
    t: float,
    near: bool,
    counts: tuple[int, int, int],
) -> None:
    pieces = subject.pieces()
    b = a + 1e-3 * b if near else b
    b = b * (a.norm(dim=1) / b.norm(dim=1))[:, None]
    walked = pieces.slerp(a, b, t)
    room = guarded(dtype, scale=float(a.norm(dim=1).max()))
    check.close(walked.norm(dim=1), a.norm(dim=1), room, f"the length at the fraction {t}")

    def angle(u: Tensor, v: Tensor) -> Tensor:
        chord = (u / u.norm(dim=1)[:, None] - v / v.norm(dim=1)[:, None]).norm(dim=1)
        return 2 * torch.asin((chord / 2).clamp_max(1))

    check.close(angle(a, walked), t * angle(a, b), room * 1e-2, f"the angle at the fraction {t}")
    check.close(angle(walked, b), (1 - t) * angle(a, b), room * 1e-2, "the angle that is left")
    check.close(pieces.slerp(a, 2 * a, t), a * (1 + t), room, "the walk to a parallel latent")
    groups = [_normal(subject, n, 4) for n in counts]
    signed = list(zip((1, -1, 1), groups, strict=True))
    expected = [
        sum(sign * float(group[:, i].sum()) / len(group) for sign, group in signed)
        for i in range(4)
    ]
    found = pieces.vector_arithmetic(*groups)
    check.close(found, expected, rounding(dtype, length=8), "base - minus + plus, each a mean,")


# BigGAN ------------------------------------------------------------------------------------------


@claim(
    "theory.truncation_bounds_every_coordinate",
    r"|z_i| \le t, \qquad \Pr(z_i \le s) = \frac{\Phi(s) - \Phi(-t)}{\Phi(t) - \Phi(-t)}",
    sources=[f"{BIGGAN}, Section 3.1, 'truncation trick'", f"{LECTURE}, 'BigGAN'"],
    why=r"""What falls outside is drawn again, so the result is a normal given that it lies in
    [-t, t]: its density is the normal's, divided by the mass inside, and

    .. math::

        F(s) = \frac{\Phi(s) - \Phi(-t)}{\Phi(t) - \Phi(-t)}, \qquad z(u) = \Phi^{-1}\bigl(\Phi(-t) +
        u\, (\Phi(t) - \Phi(-t))\bigr) = F^{-1}(u).

    For a uniform u the number z(u) has the distribution function F. Clamping has the same bound
    and piles mass up at the ends, 0.32 of it at t = 1; shrinking narrows the middle and has no
    bound.

    The noise is handed in as u, so the claim is judged without statistics: SciPy's distribution
    function of the truncated normal must return each u, ends included. A threshold of zero must
    be refused.""",
    assumptions={
        "t is positive": ("for t = 0 one conditions on an event of probability zero, and F is 0/0"),
        "u is uniform on [0, 1] (for the distribution)": (
            "with u squared the median of z is at u = 1/4, below zero"
        ),
    },
    dtypes=("float64",),
)
@given(
    threshold=st.sampled_from([0.04, 0.5, 1.0, 2.0, 6.0]),
    uniform=st.lists(st.floats(0.0, 1.0), min_size=6, max_size=6),
)
def test_truncated_noise_is_a_normal_within_its_bounds(
    subject: Handle, device: str, dtype: torch.dtype, threshold: float, uniform: list[float]
) -> None:
    pieces = subject.pieces()
    u = torch.tensor([*uniform, 0.0, 0.5, 1.0, 0.75]).to(device=device, dtype=dtype).view(2, 5)
    z = pieces.truncated_normal(u, threshold)
    check.that(z.shape == u.shape, f"noise of shape {tuple(u.shape)} gave {tuple(z.shape)}")
    check.at_most(z.abs(), threshold, rounding(dtype), f"|z| truncated at {threshold}")
    back = stats.truncnorm.cdf(z.detach().cpu().numpy(), -threshold, threshold)
    check.close(
        back,
        u,
        rounding(dtype, length=16),
        f"the distribution function, truncated at {threshold}, of z(u),",
    )
    try:
        pieces.truncated_normal(u, 0.0)
    except Exception:
        return
    raise Violation("a threshold of 0 leaves no interval, and no error was raised")


@claim(
    "theory.orthogonal_penalty_zero_iff_orthogonal",
    r"R(W) = \sum_{i \ne j} (w_i \cdot w_j)^2, \qquad R(W) = 0 \iff w_i \perp w_j \ (i \ne j)",
    sources=[f"{BIGGAN}, Equation 3"],
    why=r"""Flatten the weight to one row :math:`w_i` for each filter. Then

    .. math::

        R(W) = \bigl\lVert W W^\top \odot (\mathbf 1 - I) \bigr\rVert_F^2 = \sum_{i \ne j} (w_i \cdot
        w_j)^2,

    and a sum of squares vanishes only with all of them. The diagonal is left out, so that filters
    of any length cost nothing as long as they are perpendicular: asking for :math:`W W^\top = I`,
    as earlier work did, fixes lengths as well and limits what the layer can do.

    The test draws perpendicular filters of many lengths, tilts one, and computes the double sum
    in plain Python floats. There may be more filters than directions; then not all can be
    perpendicular, and the sum says what is left.""",
    assumptions={
        "there are no more filters than inputs (for zero to be in reach)": (
            "three filters of length one in the plane pay at least 1.5, as at angles of 120 degrees"
        ),
        "filters are the rows of the flattened weight": (
            "W = ((1, 1), (0, 0)) has perpendicular rows and parallel columns"
        ),
    },
    dtypes=("float64",),
)
@given(
    shape=st.sampled_from([(3, 5), (2, 2, 1, 3), (4, 1, 2, 3), (5, 3), (1, 4)]),
    tilt=st.sampled_from([0.0, 0.1, -2.0]),
)
def test_the_penalty_counts_pairs_of_filters_that_are_not_perpendicular(
    subject: Handle, device: str, dtype: torch.dtype, shape: tuple[int, ...], tilt: float
) -> None:
    pieces = subject.pieces()
    count, size = shape[0], math.prod(shape[1:])
    if count <= size:
        rows = torch.linalg.qr(_normal(subject, size, count)).Q.mT
        rows = rows * (0.5 + torch.arange(count).to(rows))[:, None]  # of many lengths
        rows[0] = rows[0] + tilt * rows[-1] if count > 1 else rows[0]
        what = (
            "perpendicular filters" if tilt == 0 or count == 1 else f"filters, one tilted by {tilt}"
        )
    else:
        rows, what = _normal(subject, count, size), "more filters than directions"
    plain = rows.tolist()
    expected = sum(
        sum(p * q for p, q in zip(plain[i], plain[j], strict=True)) ** 2
        for i in range(count)
        for j in range(count)
        if i != j
    )
    found = pieces.orthogonal_penalty(rows.reshape(shape))
    room = rounding(dtype, length=count * count * size, scale=float(rows.square().sum()) ** 2)
    check.close(found, expected, room, f"the penalty of {what}")


@claim(
    "theory.conditional_batch_norm_gain_is_one_plus",
    r"y_{nc} = (1 + (A k_n)_c)\, \hat x_{nc} + (B k_n)_c",
    sources=[f"{BIGGAN}, Appendix B", f"{LECTURE}, 'BigGAN'"],
    why=r"""Write :math:`\hat x` for the activations, normalised by mean and variance of the
    whole batch, and :math:`k_n` for the condition of item n (class and latent). Without a
    condition the layer is plain batch normalisation: gain one, not zero, which would switch the
    layer off. A and B have no constants and are shared, so that gain minus one and bias are
    linear in the condition, which may differ from item to item.

    .. math::

        g(k + 2 k') - 1 = (g(k) - 1) + 2\, (g(k') - 1), \qquad b(k + 2 k') = b(k) + 2\, b(k').

    The test does not look inside. For each item and channel it fits the output by a line over the
    normalised pixels, which must be exact, and reads gain and bias from it; they must obey these
    equations, and change with the condition.""",
    assumptions={
        "the maps have no constants": (
            "a constant of 0.5 in A gives the gain 1.5 without a condition"
        ),
        "an item's pixels are not all equal (to read the gain)": (
            "with one pixel every gain fits, with some bias"
        ),
        "statistics are the batch's, over all conditions": (
            "over the items of one condition a group of one item with one pixel becomes its bias"
        ),
    },
    dtypes=("float64",),
)
@given(
    channels=st.sampled_from([1, 3]),
    condition=st.sampled_from([1, 4]),
    size=st.sampled_from([(2, 3), (4, 1), (5, 2)]),
)
def test_gain_and_bias_are_linear_around_one_and_zero(
    subject: Handle,
    device: str,
    dtype: torch.dtype,
    channels: int,
    condition: int,
    size: tuple[int, int],
) -> None:
    pieces = subject.pieces()
    layer = _drawn(subject, pieces.ConditionalBatchNorm2d(channels, condition), training=False)
    layer.train()
    x = 3 * _normal(subject, 5, channels, *size) + 1
    with torch.no_grad():
        for _ in range(3):  # power iterations
            layer(x, _normal(subject, 5, condition))
    parts = [
        part for part in layer.modules() if not isinstance(part, nn.modules.batchnorm._BatchNorm)
    ]
    for part in parts:
        part.training = False  # the batch's statistics, and weights that stay
    normal = (x - x.mean((0, 2, 3), keepdim=True)) / (
        x.var((0, 2, 3), unbiased=False, keepdim=True) + 1e-5
    ).sqrt()
    room = guarded(dtype, scale=20.0)
    zero = torch.zeros(5, condition).to(x)
    check.close(layer(x, zero), normal, room, "batch normalisation without a condition")

    def line(k: Tensor) -> tuple[Tensor, Tensor]:
        """Gain (N, C) and bias (N, C) by least squares."""
        y = layer(x, k)
        flat, out = normal.flatten(2), y.flatten(2)
        centred = flat - flat.mean(2, keepdim=True)
        gain = (centred * out).sum(2) / centred.square().sum(2)
        bias = out.mean(2) - gain * flat.mean(2)
        fitted = gain[..., None] * flat + bias[..., None]
        check.close(out, fitted, room, "the layer, against the best line over normalised pixels,")
        return gain, bias

    one, other = _normal(subject, 5, condition), _normal(subject, 5, condition)
    mixed = torch.cat([other[:1], one[1:]])
    check.close(
        layer(x, mixed)[1:], layer(x, one)[1:], room, "the others, when item 0's condition changes,"
    )
    found, apart = line(one + 2 * other), (line(one), line(other))
    for i, (name, start) in enumerate((("gain", 1.0), ("bias", 0.0))):
        expected = start + (apart[0][i] - start) + 2 * (apart[1][i] - start)
        scale = 1 + float(expected.detach().abs().max())
        check.close(found[i], expected, room * scale, f"the {name}, linear in the condition,")
        check.that(
            bool(((apart[0][i] - start).abs() > 1e-6).any()), f"the {name} ignores the condition"
        )


def _silenced(block: nn.Module, keep: nn.Module) -> list[nn.Module]:
    """Sets every convolution that is not the shortcut to zero; what they were."""
    shortcut = set(keep.modules())
    found = [m for m in block.modules() if isinstance(m, nn.Conv2d) and m not in shortcut]
    with torch.no_grad():
        for conv in found[-1:]:
            for parameter in conv.parameters():
                parameter.zero_()
    return found


@claim(
    "theory.residual_blocks_halve_and_double",
    r"W_{\text{last}} = 0 \;\Rightarrow\; \mathrm{up}(x) = S\, U x,\quad \mathrm{down}(x) = P\, S x",
    sources=[f"{BIGGAN}, Figure 15", f"{LECTURE}, 'BigGAN'"],
    why=r"""A block is a sum, residual branch plus shortcut. If the last convolution of the
    branch, :math:`W_{\text{last}}`, is zero with its constant, the branch adds nothing and the
    shortcut is left: pixels repeated (U) and mixed over channels by a 1 by 1 convolution S, or
    mixed and averaged over two by two (P). S acts on each pixel by itself and is affine, so it
    commutes with both:

    .. math::

        S\, U x = U\, S x, \qquad S\, P x = P\, S x.

    So signals and gradients pass from end to end at the start of training. Normalising,
    activating or scaling the sum would break the passage.

    The oracle mixes channels by one ``einsum`` with the shortcut's own weights, and resizes by
    reshaping. With weights as drawn, the branch must change something.""",
    assumptions={
        "the constant of the last convolution is zero too": (
            "a constant of 0.3 adds 0.3 to every pixel"
        ),
        "nothing follows the sum": ("a ReLU after it turns a shortcut of -1 into 0"),
    },
    dtypes=("float64",),
    effort=0.5,
)
@given(
    channels=st.sampled_from([(1, 2), (3, 2), (4, 4)]),
    size=st.sampled_from([(1, 2), (3, 2), (2, 5)]),
    first=st.booleans(),
)
def test_blocks_without_their_residual_are_resized_shortcuts(
    subject: Handle,
    device: str,
    dtype: torch.dtype,
    channels: tuple[int, int],
    size: tuple[int, int],
    first: bool,
) -> None:
    pieces = subject.pieces()
    into, out = channels
    height, width = size
    x, condition = _normal(subject, 3, into, height, width), _normal(subject, 3, 4)
    large = _normal(subject, 3, into, 2 * height, 2 * width)
    for block, arguments, due in (
        (pieces.UpBlock(into, out, 4), (x, condition), (2 * height, 2 * width)),
        (pieces.DownBlock(into, out, first), (large,), size),
    ):
        name = type(block).__name__
        block = _drawn(subject, block)
        with torch.no_grad():
            for _ in range(3):
                block(*arguments)
        block.eval()
        before = block(*arguments)
        check.that(
            tuple(before.shape) == (3, out, *due),
            f"{name} made {tuple(before.shape)} of {tuple(arguments[0].shape)}, not {(3, out, *due)}",
        )
        convs = _silenced(block, block.shortcut)
        check.that(len(convs) >= 2, f"{name} has {len(convs)} convolutions beside its shortcut")
        after = block(*arguments)
        weight, bias = block.shortcut.weight.flatten(1), block.shortcut.bias
        mixed = torch.einsum("oc,nchw->nohw", weight, arguments[0]) + bias[:, None, None]
        expected = _twice(mixed) if len(arguments) == 2 else _half(mixed)
        room = rounding(dtype, length=16, scale=1 + float(expected.detach().abs().max()))
        check.close(after, expected, room, f"{name} with its last convolution at zero")
        check.that(
            float((before - after).abs().max()) > 1e-6, f"the residual of {name} changes nothing"
        )
    check.close(pieces.nearest_doubling(x), _twice(x), rounding(dtype), "the doubled image")


# Progressive growing --------------------------------------------------------------------------------


@claim(
    "theory.fade_in_meets_both_ends",
    r"G_s(z; 0) = U\, G_{s-1}(z; 1), \qquad D_s(x; 0) = D_{s-1}(P x; 1), \qquad "
    r"G_s(z; \alpha) = (1 - \alpha)\, G_s(z; 0) + \alpha\, G_s(z; 1)",
    sources=[f"{PROGRESSIVE}, Figure 2", f"{LECTURE}, 'Progressive GAN'"],
    why=r"""A network that grows must not forget. Stage s has a detour: the last stage's
    image, repeated by U, and the new block's image are mixed with weights :math:`1 - \alpha` and
    :math:`\alpha`. At 0 the image is the old one with every pixel four times; at 1 the detour is
    gone; between them

    .. math::

        G_s(z; \alpha) = (1 - \alpha)\, U G_{s-1}(z; 1) + \alpha\, G_s(z; 1),

    a straight line, so that nothing jumps. The discriminator mixes features where the detour
    enters: at 0 it scores a large image by its two by two means (P), as before. Between the ends
    its score is not linear in :math:`\alpha`, for layers follow.

    Both networks are built with drawn parameters, and images and scores are compared between
    stages; U and P are reshapes of the test's own. The new block must draw something at the other
    end.""",
    assumptions={
        "the smaller network is fully grown": (
            r"stage s at :math:`\alpha = 0` goes on from stage s - 1 at :math:`\alpha = 1`, and "
            "not from 0.5"
        ),
        "nothing but the mixture follows the images (for the straight line)": (
            "with a tanh after it, halfway from 0 to 2 is 0.76, where the mean of both ends is 0.48"
        ),
    },
    dtypes=("float64",),
    effort=0.5,
)
@given(
    alpha=st.sampled_from([0.0, 0.3, 1.0]),
    stage=st.sampled_from([1, 2]),
    small=SIZES,
    channels=st.sampled_from([1, 3]),
)
def test_a_grown_network_starts_where_the_smaller_one_ended(
    subject: Handle,
    device: str,
    dtype: torch.dtype,
    alpha: float,
    stage: int,
    small: tuple[int, int],
    channels: int,
) -> None:
    pieces = subject.pieces()
    old, new = _normal(subject, 2, 3), _normal(subject, 2, 3)
    check.equal(pieces.fade_in(old, new, 0.0), old, "the mixture at alpha = 0")
    check.equal(pieces.fade_in(old, new, 1.0), new, "the mixture at alpha = 1")
    mixed = (1 - alpha) * old + alpha * new
    check.close(
        pieces.fade_in(old, new, alpha), mixed, rounding(dtype, scale=8), f"alpha = {alpha}"
    )

    shape = (channels, small[0] << 2, small[1] << 2)
    sizes = [(small[0] << s, small[1] << s) for s in range(3)]
    generator = _drawn(subject, pieces.ProgressiveGenerator(2, shape, doublings=2))
    z, room = _normal(subject, 3, 2), rounding(dtype, length=64, scale=2.0)
    before, zero, one, between = (
        generator(z, stage=s, alpha=a)
        for s, a in ((stage - 1, 1.0), (stage, 0.0), (stage, 1.0), (stage, alpha))
    )
    for image, s in ((before, stage - 1), (zero, stage), (one, stage)):
        check.that(
            tuple(image.shape[2:]) == sizes[s],
            f"stage {s} drew {tuple(image.shape[2:])}, not {sizes[s]}",
        )
    check.close(
        zero, _twice(before), room, f"stage {stage} at alpha = 0, against stage {stage - 1},"
    )
    check.close(between, (1 - alpha) * zero + alpha * one, room, f"the image at alpha = {alpha}")
    check.that(bool((zero - one).abs().max() > 1e-6), "the new block draws nothing at alpha = 1")
    if stage == 2:
        check.close(generator(z), one, room, "the image by default, fully grown,")

    critic = _drawn(subject, pieces.ProgressiveDiscriminator(shape, doublings=2))
    x = _normal(subject, 3, channels, *sizes[stage])
    scores = critic(x, stage=stage, alpha=0.0)
    room = rounding(dtype, length=256, scale=1 + float(scores.detach().abs().max()))
    smaller = critic(_half(x), stage=stage - 1, alpha=1.0)
    check.close(scores, smaller, room, f"the score of stage {stage} at alpha = 0")
    grown = critic(x, stage=stage, alpha=1.0)
    check.that(bool((grown - scores).abs().max() > 1e-9), "the new block is not asked at alpha = 1")
    if stage == 2:
        check.close(critic(x), grown, room, "the score by default, fully grown,")


@claim(
    "theory.pixel_norm_has_unit_mean_square",
    r"\tfrac1C \textstyle\sum_c y_{nchw}^2 = 1, \qquad y_{n \cdot hw} \parallel x_{n \cdot hw}",
    sources=[f"{PROGRESSIVE}, Section 4.2"],
    why=r"""The C features of one pixel are divided by their root mean square:

    .. math::

        y_c = \frac{x_c}{\sqrt{\frac1C \sum_k x_k^2 + \varepsilon}} \implies \frac1C \sum_c y_c^2 =
        \frac{m}{m + \varepsilon}, \qquad m = \tfrac1C \textstyle\sum_k x_k^2,

    which is one up to the guard :math:`\varepsilon`. One positive number divides all features of
    the pixel, so their direction stays. No statistics over the image or the batch, and nothing to
    learn; yet no layer can make magnitudes run away, which is how competing networks drive one
    another up.

    The test measures mean squares where the guard does not count, and multiplies the length back
    in to find x again, for feature maps and for plain vectors.""",
    assumptions={
        "the features are large against the guard": (
            r"a pixel of zeros stays zero, and one with :math:`m = \varepsilon` gets the mean "
            "square 1/2"
        ),
    },
    dtypes=("float64",),
)
@given(x=stratified([normals((2, 3, 4, 5), 2.0), normals((3, 1, 2, 2)), normals((4, 6), 5.0)]))
def test_the_features_of_a_pixel_have_unit_mean_square(
    subject: Handle, device: str, dtype: torch.dtype, x: Tensor
) -> None:
    y = subject.pieces().pixel_norm(x)
    room = guarded(dtype)
    big = x.square().mean(1) > 1e-2  # the guard counts below
    check.close(y.square().mean(1)[big], 1.0, room, "the mean square of a pixel's features")
    length = x.square().mean(1, keepdim=True).sqrt()
    check.close(
        (y * length)[big[:, None].expand_as(x)],
        x[big[:, None].expand_as(x)],
        room * 10,
        "the features, with their length given back,",
    )


@claim(
    "theory.minibatch_stddev_is_zero_iff_collapsed",
    r"s(x) = \overline{\sqrt{\mathrm{Var}_n\, x_{nchw}}}, \qquad s = 0 \iff x_1 = \dots = x_N",
    sources=[
        f"{PROGRESSIVE}, Section 3",
        "Salimans et al. 2016, 'Improved Techniques', Section 3.2",
    ],
    why=r"""A discriminator that sees one image at a time cannot know that the generator draws
    the same one over and over. One number for the whole batch tells it: the standard deviation
    over the items n, in every place (c, h, w), averaged over places (the bar). A mean of numbers
    that are not negative is zero only if each is, and a variance over items is zero only if all
    items agree there; hence the equivalence.

    The oracle is NumPy's standard deviation. The gradient is looked at where the batch has
    collapsed: the root of a variance v has the slope :math:`1 / (2 \sqrt v)`, infinite at zero,
    times a slope of v which is zero. Without a guard under the root the product is NaN, at the
    moment when the gradient is needed most.""",
    assumptions={
        "the deviation is taken over the items": (
            "two equal images with pixels 0 and 2 have s = 0, and a deviation of 1 over "
            "everything at once"
        ),
        "the guard under the root is left out of account": (
            "with one of 1e-8 a collapsed batch has s = 1e-4"
        ),
    },
    dtypes=("float64",),
)
@given(x=stratified([normals((4, 3, 2, 5)), normals((2, 1, 3, 1)), normals((1, 2, 2, 3))]))
def test_the_spread_of_a_batch_is_appended_and_vanishes_with_it(
    subject: Handle, device: str, dtype: torch.dtype, x: Tensor
) -> None:
    pieces = subject.pieces()
    for what, batch in (("a batch", x), ("one image over and over", x[:1].expand_as(x))):
        found = pieces.minibatch_stddev(batch)
        n, channels, height, width = x.shape
        due = (n, channels + 1, height, width)
        check.that(
            tuple(found.shape) == due, f"the result has shape {tuple(found.shape)}, not {due}"
        )
        check.equal(found[:, :-1], batch, "the features that were there")
        expected = float(np.std(batch.detach().cpu().numpy(), axis=0).mean())
        check.close(found[:, -1], expected, guarded(dtype), f"the spread of {what}")
    x = x[:1].expand_as(x).clone().requires_grad_()
    (slope,) = torch.autograd.grad(pieces.minibatch_stddev(x)[:, -1].sum(), [x])
    check.finite(slope, "the gradient of the spread where all images are equal")


# CycleGAN ------------------------------------------------------------------------------------------


@claim(
    "theory.cyclegan_generator_translates",
    r"G: [-1, 1]^{C \times H \times W} \to [-1, 1]^{C \times H \times W}, \qquad "
    r"\frac{\partial G(x)_i}{\partial x_j} = 0 \ (i \ne j)",
    sources=[
        f"{CYCLEGAN}, Section 4 and Appendix 7.2",
        "Ulyanov et al. 2016, 'Instance Normalization'",
    ],
    why=r"""A translator gives an image of the same size (strides and enlargements cancel)
    with pixels within the range of tanh, and of this image alone. Instance normalisation makes
    the last point true: it takes mean and variance over the pixels of one item and one channel,
    so that every layer acts item by item, and

    .. math::

        G(x_1, \dots, x_N) = (G(x_1), \dots, G(x_N)).

    It keeps no running statistics, so train and eval mode agree, and batches of one, as in the
    paper, are as good as any. With batch normalisation the contrast of one image would rub off on
    the others.

    The test translates a batch, each of its items alone, and the batch in eval mode, and asks for
    one answer; and the images must not all be one.""",
    assumptions={
        "no layer mixes items": (
            "two items at -1 and 1 stay apart under batch normalisation, and each alone becomes 0"
        ),
        "strides divide the sides": ("a side of 9 is halved to 5 and 3, and doubled to 6 and 12"),
    },
    dtypes=("float64",),
    effort=0.5,
)
@given(size=st.sampled_from([(8, 8), (8, 12), (16, 8)]), channels=st.sampled_from([1, 3]))
def test_a_translator_keeps_the_size_and_treats_images_one_by_one(
    subject: Handle, device: str, dtype: torch.dtype, size: tuple[int, int], channels: int
) -> None:
    pieces = subject.pieces()
    model = _drawn(subject, pieces.CycleGANGenerator(channels, blocks=1, features=2))
    x = _normal(subject, 3, channels, *size).tanh()
    y = model(x)
    check.that(y.shape == x.shape, f"{tuple(x.shape)} became {tuple(y.shape)}")
    check.at_most(y.abs(), 1.0, rounding(dtype), "the absolute value of a pixel")
    room = rounding(dtype, length=2048)
    alone = torch.cat([model(one[None]) for one in x])
    check.close(y, alone, room, "the translation of a batch, against its items one by one,")
    check.close(model.eval()(x), y, room, "the translation in eval mode")
    varied = (y - y.mean((2, 3), keepdim=True)).abs().max()
    check.that(bool(varied > 1e-9) and bool((y[0] - y[1]).abs().max() > 1e-9), "it draws one image")


@claim(
    "theory.patches_see_no_further",
    r"\frac{\partial s_{ij}}{\partial x_{hw}} = 0 \ \text{ outside } "
    r"[4i - 7,\, 4i + 14] \times [4j - 7,\, 4j + 14], \qquad s(x) = \overline{s_{ij}(x)}",
    sources=[
        f"{CYCLEGAN}, Section 4",
        "Isola et al. 2017, 'Image-to-Image Translation', Section 3.2.2",
    ],
    why=r"""A convolution of kernel k whose outputs lie j pixels of the image apart widens the
    window that a score sees by :math:`(k - 1) j`. Kernels of 4 with strides 2, 2, 1 have j = 1,
    2, 4, so the window is

    .. math::

        1 + 3 \cdot 1 + 3 \cdot 2 + 3 \cdot 4 = 22,

    and each padding of one moves its start by j, to :math:`4 i - 1 - 2 - 4 = 4 i - 7`. The
    discriminator judges texture, is the same everywhere, takes images of any size, and its
    verdict on the image is the mean of the patches.

    The receptive field is not computed but found: the pixels at which the score of a middle patch
    has a gradient, over three draws of the parameters. None may lie outside of the window, and
    none inside may be without influence.""",
    assumptions={
        "no layer takes statistics over the image": (
            "with instance normalisation in between every pixel has a gradient in every patch"
        ),
        "the window lies within the image": (
            "at the border it is cut off: patch 0 sees rows 0 to 14, not -7 to 14"
        ),
    },
    dtypes=("float64",),
    effort=0.25,
)
@given(channels=st.sampled_from([1, 3]), size=st.sampled_from([(32, 24), (28, 40)]))
def test_the_score_of_a_patch_depends_on_the_patch_alone(
    subject: Handle, device: str, dtype: torch.dtype, channels: int, size: tuple[int, int]
) -> None:
    pieces = subject.pieces()
    model = pieces.PatchDiscriminator(channels, features=3)
    seen: Any = None
    for _ in range(3):
        model = _drawn(subject, model)
        x = _normal(subject, 2, channels, *size).requires_grad_()
        scores = model.patches(x)
        i, j = scores.shape[1] // 2, scores.shape[2] // 2
        (slope,) = torch.autograd.grad(scores[:, i, j].sum(), [x], retain_graph=True)
        seen = (slope != 0).any(0).any(0) | (seen if seen is not None else False)
        check.close(
            model(x), scores.mean((1, 2)), rounding(dtype, length=64), "the mean of the patches"
        )
    rows, columns = (seen.any(dim).nonzero().flatten() for dim in (1, 0))
    for name, found, at, side in (("row", rows, i, size[0]), ("column", columns, j, size[1])):
        due = (max(4 * at - 7, 0), min(4 * at + 14, side - 1))
        got = (int(found.min()), int(found.max()))
        check.that(got == due, f"patch {name} {at} sees {name}s {got[0]} to {got[1]}, not {due}")
    window = seen[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    check.that(bool(window.all()), "a pixel within the patch has no influence on its score")
    check.that(
        model.receptive_field == 22,
        f"the receptive field is said to be {model.receptive_field}, not 22",
    )


@st.composite
def _translators(draw: st.DrawFn) -> dict[str, Any]:
    """Two domains of one shape, and two affine maps between them."""
    size = draw(st.sampled_from([1, 3]))
    n, m = draw(st.sampled_from([(2, 3), (4, 1), (1, 1)]))
    return {
        "x": draw(normals((n, size))),
        "y": draw(normals((m, size))),
        "a": draw(normals((size, size))),
        "b": draw(normals((size, size))),
        "w": draw(normals((size, 2))),
    }


@claim(
    "theory.cyclegan_objective_adds_up",
    r"L = L_{\mathrm{GAN}}(G, D_Y) + L_{\mathrm{GAN}}(F, D_X) + \lambda L_{\mathrm{cyc}} "
    r"+ \mu L_{\mathrm{id}}, \qquad L_{\mathrm{id}} = 0 \iff G|_Y = \mathrm{id},\ F|_X = \mathrm{id}",
    sources=[f"{CYCLEGAN}, Equation 3 and Section 5.2", LECTURE],
    why=r"""Each translator is judged by the critic of the domain it paints: G, which draws
    images of Y, by :math:`D_Y`, and F by :math:`D_X`. With least squares the translators pay

    .. math::

        \tfrac12 \overline{(D_Y(G(x)) - 1)^2} + \tfrac12 \overline{(D_X(F(y)) - 1)^2},

    and :math:`\lambda` times the cycle term, which binds them together. The identity term
    :math:`\overline{|G(y) - y|} + \overline{|F(x) - x|}` asks each to leave its own target alone,
    which is G on y, not on x; a mean of absolute values, it is zero only if both do. Exchanging a
    critic or a domain still trains, and learns something else.

    Every part is written out for affine maps, with scores of more than one number, and compared
    under several weights; maps that keep their targets and change all else must pay no identity
    loss.""",
    assumptions={
        "X and Y are the points that were drawn (for the equivalence)": (
            "a map that keeps 1 and 2 and sends 3 to 0 pays nothing for y = (1, 2)"
        ),
    },
    dtypes=("float64",),
    sentence="the translators' loss is the weighted sum of its parts",
)
@given(drawn=_translators(), weights=st.sampled_from([(10.0, 0.0), (2.0, 5.0), (0.0, 1.0)]))
def test_the_translators_loss_is_the_weighted_sum_of_its_parts(
    subject: Handle,
    device: str,
    dtype: torch.dtype,
    drawn: dict[str, Any],
    weights: tuple[float, float],
) -> None:
    pieces = subject.pieces()
    x, y, a, b, w = drawn.values()

    def forth(v: Tensor) -> Tensor:
        return v @ a + 0.5

    def back(v: Tensor) -> Tensor:
        return v @ b - 0.25

    def critic_x(v: Tensor) -> Tensor:
        return v @ w[:, :1] + 0.3  # scores of any shape: patches

    def critic_y(v: Tensor) -> Tensor:
        return v @ w - 0.7

    found = pieces.cyclegan_loss(forth, back, critic_x, critic_y, x, y, *weights)
    fooling = [
        ((critic(v) - 1) ** 2).mean() / 2
        for critic, v in ((critic_y, forth(x)), (critic_x, back(y)))
    ]
    cycle = (back(forth(x)) - x).abs().mean() + (forth(back(y)) - y).abs().mean()
    identity = (forth(y) - y).abs().mean() + (back(x) - x).abs().mean()
    adversarial = fooling[0] + fooling[1]
    total = adversarial + weights[0] * cycle + weights[1] * identity
    for name, due in (
        ("adversarial", adversarial),
        ("cycle", cycle),
        ("identity", identity),
        ("total", total),
    ):
        scale = 1 + float(total)
        check.close(getattr(found, name), due, guarded(dtype, scale=scale), f"the {name} part")
    check.close(pieces.identity_loss(forth, back, x, y), identity, guarded(dtype), "identity loss")

    def kept(v: Tensor, on: Tensor) -> Tensor:
        """The identity on one domain and nowhere else."""
        own = (v[:, None] == on).all(-1).any(-1)
        return torch.where(own[:, None], v, -v + 1)

    nothing = pieces.identity_loss(lambda v: kept(v, y), lambda v: kept(v, x), x, y)
    check.close(nothing, 0.0, rounding(dtype), "the identity loss of maps that keep their targets")


@claim(
    "theory.image_pool_keeps_size_and_history",
    r"|P'| = \min(B, |P| + N), \qquad P \cup x = \text{shown} \cup P'",
    sources=[
        "Shrivastava et al. 2017, 'Learning from Simulated and Unsupervised Images', Section 2.3",
        f"{CYCLEGAN}, Section 4",
    ],
    why=r"""Old translations keep a critic from forgetting what it already knew to be fake.
    Let P be the pool, B its capacity and N the number of images x that come in. One image is
    handled at a time, in one of three ways: while there is room it is kept and shown; after that,
    by a coin, it is shown itself, or takes the place of an old one, which is shown in its stead.
    The first adds one to the pool, the others none; and in each

    .. math::

        P \cup \{x\} = \{\text{shown}\} \cup P'.

    So nothing is lost unseen and nothing is invented. Both follow for a batch by induction.

    Images are numbered, so that these are equations between sets of numbers. Of 400 images that
    meet a full pool between 100 and 300 must be shown at once: by Hoeffding's inequality a fair
    coin fails with probability below :math:`10^{-21}`.""",
    assumptions={
        "the images are all different": (
            "of two equal ones a set counts one, and the pool holds both"
        ),
        "the pool has room for one at least (for a history)": (
            "with B = 0 every image is shown and none is kept"
        ),
    },
    dtypes=("float64",),
    error=1e-12,
)
@given(
    capacity=st.sampled_from([0, 1, 4, 7]),
    batches=st.sampled_from([(1, 2, 3), (5, 5), (9,), (3, 1, 8)]),
    seed=st.integers(0, 2**31 - 1),
)
def test_the_pool_exchanges_images_one_for_one(
    subject: Handle,
    device: str,
    dtype: torch.dtype,
    capacity: int,
    batches: tuple[int, ...],
    seed: int,
) -> None:
    pieces = subject.pieces()
    generator = torch.Generator().manual_seed(seed)
    pool = torch.zeros(0, 2, device=device, dtype=dtype)
    drawn = 0
    for n in batches:
        images = (torch.arange(2 * n, device=device, dtype=dtype) + 2 * drawn).view(n, 2)
        kept = pool.clone()
        shown, after = pieces.exchange_with_pool(pool, images.requires_grad_(), capacity, generator)
        check.equal(pool, kept, "the pool that was handed in")
        check.that(len(shown) == n, f"{n} images came in and {len(shown)} were shown")
        size = min(capacity, len(pool) + n)
        check.that(
            len(after) == size, f"a pool of {len(pool)} and {n} images has {len(after)} after"
        )
        check.that(not shown.requires_grad, "the critic's images carry the generator's graph")
        numbers = [{int(v) for v in t.detach()[:, 0]} for t in (pool, images, shown, after)]
        before, new, seen, left = numbers
        check.that(len(left) == size, "an image is kept twice")
        check.that(seen | left <= before | new, "an image was shown that never came in")
        check.that(
            before | new <= seen | left,
            f"images {sorted((before | new) - seen - left)} were lost unseen",
        )
        check.that(
            not seen & left & before, "an old image is shown and kept: the new one went nowhere"
        )
        fill = max(capacity - len(pool), 0)
        first = {int(v) for v in images.detach()[:fill, 0]}
        check.that(first <= seen, "an image was not shown while there was room for it")
        drawn, pool = drawn + n, after
    if capacity:
        many = torch.arange(400, device=device, dtype=dtype).view(-1, 1) + 1000
        full = torch.arange(capacity, device=device, dtype=dtype).view(-1, 1)
        shown, after = pieces.exchange_with_pool(full, many, capacity, generator)
        same = int((shown == many).sum())
        check.that(100 < same < 300, f"of 400 images {same} were shown at once, about half are due")
        check.that(not bool((after < 1000).any()), "an old image is never replaced")


# The conditional game ---------------------------------------------------------------------------------


@st.composite
def _classes(draw: st.DrawFn, count: int) -> dict[str, Tensor]:
    n = draw(st.integers(1, 5))
    p = torch.stack([draw(simplexes(n, interior=True)) for _ in range(count)])
    q = torch.stack([draw(simplexes(n, interior=True)) for _ in range(count)])
    return {"p": p, "q": q, "classes": draw(simplexes(count))}


def _divergence(p: Tensor, q: Tensor) -> float:
    """Jensen and Shannon's, in NumPy."""
    a, b = (v.detach().cpu().numpy().astype(np.float64) for v in (p, q))
    m = (a + b) / 2
    return float((stats.entropy(a, m) + stats.entropy(b, m)) / 2)


@claim(
    "theory.conditional_game",
    r"\max_D V(D, G) = \mathbb E_y\bigl[2\, D_{\mathrm{JS}}(p(\cdot | y) \| q(\cdot | y))\bigr] - \log 4",
    sources=[
        f"{CGAN}, Equation 2",
        "Goodfellow et al. 2014, 'Generative Adversarial Networks', Theorem 1",
        LECTURE,
    ],
    why=r"""Given the class y there is one game for each, and D may answer each by itself. In
    the game of y the best answer is :math:`p(\cdot | y) / (p(\cdot | y) + q(\cdot | y))`, its
    value :math:`2 D_{\mathrm{JS}} - \log 4`; values average over classes. A discriminator that is
    not told the class plays against the mixtures, and as JS is jointly convex

    .. math::

        D_{\mathrm{JS}}\bigl(\mathbb E_y\, p(\cdot | y) \,\|\, \mathbb E_y\, q(\cdot | y)\bigr) \le
        \mathbb E_y D_{\mathrm{JS}}\bigl(p(\cdot | y) \,\|\, q(\cdot | y)\bigr).

    A generator that draws good images of the wrong classes is at its optimum there, and not here.

    The oracle is SciPy's relative entropy. The value is found for the best answer of each class,
    for the best that is not told, and for three that are drawn, none of which may have more.""",
    assumptions={
        "data and generator have the classes with equal probabilities": (
            "if the data show class 1 alone and the generator class 2 alone, D reads the label "
            r"and wins 0, where the images may give :math:`-\log 4`"
        ),
        "D may be any function of image and class": (
            r"one that must be constant has :math:`-\log 4` at most"
        ),
    },
    dtypes=("float64",),
)
@given(drawn=stratified([_classes(count) for count in (1, 2, 3)]))
def test_the_conditional_game_is_the_mean_of_one_game_for_each_class(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Tensor]
) -> None:
    pieces = subject.pieces()
    p, q, classes = drawn.values()
    best = torch.stack([pieces.optimal_discriminator(*rows) for rows in zip(p, q, strict=True)])
    value = pieces.conditional_game_value(best, p, q, classes)
    weights = classes.tolist()
    expected = sum(
        w * 2 * _divergence(*rows) for w, *rows in zip(weights, p, q, strict=True)
    ) - math.log(4)
    room = guarded(dtype)
    check.close(value, expected, room, "the value at the best discriminator of each class")
    mean_p, mean_q = ((classes[:, None] * v).sum(0) for v in (p, q))
    blind = pieces.optimal_discriminator(mean_p, mean_q).expand_as(p)
    unaware = pieces.conditional_game_value(blind, p, q, classes)
    check.close(
        unaware,
        2 * _divergence(mean_p, mean_q) - math.log(4),
        room,
        "the value of a discriminator that is not told the class, the game of the mixtures,",
    )
    check.at_most(unaware, value, room, "what the class adds")
    for _ in range(3):
        other = torch.sigmoid(_normal(subject, *p.shape))
        check.at_most(
            pieces.conditional_game_value(other, p, q, classes),
            value,
            room,
            "another discriminator",
        )
