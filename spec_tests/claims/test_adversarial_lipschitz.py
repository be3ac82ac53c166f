r"""Theory of slopes: what bounds them in a network, and why a critic should have slope one."""

from __future__ import annotations

import copy
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
from spec_tests.handle import Handle
from spec_tests.judge import stratified
from spec_tests.numerics import array
from spec_tests.registry import claim
from spec_tests.strategies import normals, simplexes
from spec_tests.tolerance import guarded, rounding

WGAN = "Arjovsky, Chintala, Bottou 2017, 'Wasserstein GAN'"
WGAN_GP = "Gulrajani et al. 2017, 'Improved Training of Wasserstein GANs'"
SN = "Miyato et al. 2018, 'Spectral Normalization for GANs'"
LECTURE = "CS182 2021 L19"


@st.composite
def _widths(draw: st.DrawFn, layers_: int) -> list[int]:
    return draw(st.lists(st.integers(1, 6), min_size=layers_ + 1, max_size=layers_ + 1))


def widths() -> Any:
    """Numbers of features from input to output, of one, two and three layers."""
    return stratified([_widths(depth) for depth in (1, 2, 3)])


def _network(sizes: list[int], activation: nn.Module) -> nn.Sequential:
    """A network of affine layers with normal weights from torch's generator."""
    parts: list[nn.Module] = []
    for n, m in pairwise(sizes):
        layer = nn.Linear(n, m).double()
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.copy_(torch.randn_like(parameter))
        parts += [layer, copy.deepcopy(activation)]
    return nn.Sequential(*parts[:-1])


def _slopes(network: nn.Module, features: int, order: float) -> Tensor:
    """Measured slopes ``|f(x) - f(y)| / |x - y|`` of pairs far apart and close together."""
    x = 2 * torch.randn(40, features, dtype=torch.float64)
    y = x + torch.randn_like(x) * torch.tensor([1e-3, 1.0]).repeat(20)[:, None]
    with torch.no_grad():
        top = (network(x) - network(y)).norm(order, dim=1)
    return top / (x - y).norm(order, dim=1)


def _matrices(network: nn.Sequential) -> list[Tensor]:
    return [m.weight.detach() for m in network if isinstance(m, nn.Linear)]


ACTIVATIONS = st.sampled_from([nn.ReLU(), nn.LeakyReLU(0.2), nn.Tanh()])


@claim(
    "theory.clipping_bounds_slope",
    r"|W_{ij}| \le c \;\Rightarrow\; \lVert W \rVert_{\infty} \le c D, \quad "
    r"\lVert W \rVert_{2} \le c \sqrt{m D} \quad (W \in \mathbb R^{m \times D}), \qquad "
    r"\text{of a network: the product over its layers}",
    sources=[f"{LECTURE}, 'Wasserstein GAN' (the slide's c D)", f"{WGAN}, Section 3"],
    why=r"""In the norm of the largest coordinate a matrix stretches by its largest absolute row sum,
    at most :math:`D` terms of size :math:`c`. In the Euclidean norm it stretches by its largest
    singular value, which is at most the root of the sum of all squared singular values:

    .. math::

        \lVert W \rVert_2 \le \lVert W \rVert_F
            = \Bigl( \sum_{ij} W_{ij}^2 \Bigr)^{1/2} \le c \sqrt{m D}.

    ReLU, leaky ReLU and tanh stretch no distance, and factors multiply along the layers
    (``theory.lipschitz_composes``). So a clipped linear critic (:math:`m = 1`) has slope at most
    :math:`c D` in the one norm and :math:`c \sqrt D` in the other.

    Both are attained when every weight is :math:`c`: the matrix :math:`c\, 1 1^\top` has equality
    in each step, and so has a linear chain of such matrices. The test computes these norms exactly
    and measures slopes of random clipped networks between pairs of points, far apart and close.
    """,
    assumptions={
        "the activation stretches nothing": (
            r"with :math:`t \mapsto 2t` for an activation the slope of every hidden layer "
            "doubles"
        ),
        "all weights of all layers are clipped": "one free layer with norm 100 multiplies the slope by up to 100",
    },
    dtypes=("float64",),
)
@given(sizes=widths(), bound=st.sampled_from([0.01, 0.3, 2.0]), activation=ACTIVATIONS)
def test_clipped_weights_bound_the_slope_in_either_norm(
    subject: Handle,
    device: str,
    dtype: torch.dtype,
    sizes: list[int],
    bound: float,
    activation: Any,
) -> None:
    pieces = subject.pieces()
    network = _network(sizes, activation)
    pieces.clip_weights(network, bound)
    limit = pieces.clipped_network_bound(bound, sizes)
    first = pieces.clipped_layer_bound(bound, sizes[0], sizes[1])
    product = 1.0
    for order, name in ((math.inf, "max_norm"), (2.0, "euclidean")):
        whole, one = np.float64(getattr(limit, name)), np.float64(getattr(first, name))
        slack = 1e4 * rounding(dtype, scale=whole)  # small steps lose digits
        check.at_most(
            _slopes(network, sizes[0], order),
            whole,
            slack,
            f"the slope of a network clipped to {bound}, widths {sizes}, in the {name}",
        )
        norms = [torch.linalg.matrix_norm(w, order) for w in _matrices(network)]
        check.at_most(norms[0], one, rounding(dtype, scale=one), f"the {name} of the first layer")
        full = [torch.full_like(w, bound) for w in _matrices(network)]
        check.close(
            torch.linalg.matrix_norm(full[0], order),
            one,
            rounding(dtype, length=8, scale=one),
            f"the {name} of a layer with every weight {bound}, which attains the bound,",
        )
        product = full[0]
        for w in full[1:]:
            product = w @ product
        check.close(
            torch.linalg.matrix_norm(product, order),
            whole,
            rounding(dtype, length=32, scale=whole),
            f"the {name} of a linear chain with every weight {bound}, which attains the bound,",
        )


@claim(
    "theory.lipschitz_composes",
    r"\mathrm{Lip}(f \circ g) \le \mathrm{Lip}(f)\, \mathrm{Lip}(g), \qquad "
    r"\mathrm{Lip}(f) = \sup_{x \ne y} \frac{\lVert f(x) - f(y) \rVert}{\lVert x - y \rVert}",
    sources=[f"{SN}, Section 2.1, Equation 7", f"{LECTURE}, 'Spectral norm'"],
    why=r"""Apply one bound after the other:

    .. math::

        \lVert f(g(x)) - f(g(y)) \rVert \le \mathrm{Lip}(f)\, \lVert g(x) - g(y) \rVert
            \le \mathrm{Lip}(f)\, \mathrm{Lip}(g)\, \lVert x - y \rVert.

    So bounds multiply along a chain. An affine layer has the Lipschitz constant :math:`\sigma(W)`,
    its bias drops out of differences, and an activation with slope at most one adds nothing: the
    bound of a network is the product over its layers, and that of two networks in a row is the
    product of theirs. A sum of norms would be no bound, as :math:`3 \cdot 3 > 3 + 3`.

    The test compares the bound with NumPy's singular values; with the exact norm of the product of
    matrices, which never exceeds it; with slopes measured between pairs of points; and the bounds
    of clipped networks in the same way.
    """,
    assumptions={
        "the norm on the output of g is that on the input of f": (
            r"the identity of :math:`\mathbb R^D` has constant 1 in the largest coordinate and 1 "
            r"in the Euclidean norm, but from the first to the second it has :math:`\sqrt D`, "
            "not 1 times 1"
        ),
        "aligned directions, for equality": (
            "for diag(1, 0) after diag(0, 1) the product of the norms is 1, and the composition "
            "is zero"
        ),
    },
    dtypes=("float64",),
)
@given(sizes=widths(), more=_widths(2), bound=st.sampled_from([0.1, 1.5]))
def test_slopes_of_a_composition_multiply(
    subject: Handle,
    device: str,
    dtype: torch.dtype,
    sizes: list[int],
    more: list[int],
    bound: float,
) -> None:
    pieces = subject.pieces()
    more = [sizes[-1], *more[1:]]
    one, two = _network(sizes, nn.ReLU()), _network(more, nn.Tanh())
    weights, others = _matrices(one), _matrices(two)
    first, second = pieces.spectral_bound(weights), pieces.spectral_bound(others)
    both = pieces.spectral_bound([*weights, *others])
    exact = np.prod([np.linalg.norm(array(w), 2) for w in [*weights, *others]])
    allowed = rounding(dtype, length=64, scale=exact)
    check.close(
        both, exact, allowed, "the bound of a chain, the product of the largest singular values,"
    )
    check.close(first * second, both, allowed, "the product of two networks' bounds")
    matrix = torch.eye(sizes[0], dtype=torch.float64)
    for w in [*weights, *others]:
        matrix = w @ matrix
    check.at_most(
        np.linalg.norm(array(matrix), 2), both, allowed, "the norm of the product of matrices"
    )
    check.at_most(
        _slopes(nn.Sequential(one, two), sizes[0], 2.0),
        first * second,
        1e4 * allowed,
        "the slope of two networks in a row",
    )
    parts = [pieces.clipped_network_bound(bound, s) for s in (sizes, more, sizes + more[1:])]
    for index in range(2):
        whole = np.float64(parts[2][index])
        check.close(
            np.float64(parts[0][index] * parts[1][index]),
            whole,
            rounding(dtype, length=8, scale=whole),
            "the product of two clipped networks' bounds, against that of both in a row,",
        )


@claim(
    "theory.spectral_bound_holds_for_pairs",
    r"\lVert f(x) - f(y) \rVert_2 \le \prod_\ell \sigma(W_\ell)\, \lVert x - y \rVert_2",
    sources=[f"{SN}, Equation 7", f"{LECTURE}, 'Spectral norm'"],
    why=r"""Follow two inputs through the network :math:`f`, whose layers have the matrices
    :math:`W_\ell`. An affine layer stretches their difference by at most its largest singular value
    :math:`\sigma(W_\ell)`, by the definition of it, and ReLU, leaky ReLU and tanh stretch no
    coordinate of the difference. Multiplied over the layers this is the bound, so a network of
    spectrally normalised dense layers has slope at most one.

    It cannot be improved from the singular values alone. Build a linear chain in which the leading
    left singular vector of each matrix is the leading right one of the next. The input along the
    first right vector is stretched by :math:`\sigma(W_1)`, arrives along the next leading vector,
    is stretched by :math:`\sigma(W_2)`, and so on: the norm of the product is the product of the
    norms. The test builds such chains, takes the norm of their product from NumPy's decomposition,
    and measures slopes of random networks between pairs of points.
    """,
    assumptions={
        "the activation has slope at most one": (
            r"for the one-layer network :math:`x \mapsto x^2` with weight 1 the slope at 3 is 6, "
            "and the bound 1"
        ),
        "the layers are in a row": (
            "a residual block :math:`x + f(x)` with :math:`f(x) = x` has slope 2, with the "
            "bound 1 for its only matrix"
        ),
    },
    dtypes=("float64",),
)
@given(sizes=widths(), activation=ACTIVATIONS)
def test_the_product_of_spectral_norms_bounds_every_pair_and_is_attained(
    subject: Handle, device: str, dtype: torch.dtype, sizes: list[int], activation: Any
) -> None:
    pieces = subject.pieces()
    network = _network(sizes, activation)
    limit = np.float64(pieces.spectral_bound(_matrices(network)))
    check.at_most(
        _slopes(network, sizes[0], 2.0),
        limit,
        1e4 * rounding(dtype, scale=limit),
        f"the slope of a network of widths {sizes}, against the product of spectral norms,",
    )
    chain, passed = [], torch.eye(sizes[0], dtype=torch.float64)[0]
    for n, m in pairwise(sizes):
        left, values, _ = torch.linalg.svd(torch.randn(m, n, dtype=torch.float64))
        turn = torch.linalg.qr(torch.cat([passed[:, None], torch.randn(n, n).double()], 1)).Q
        aligned = left[:, : len(values)] * values @ turn.mT[: len(values)]
        chain.append(aligned)
        passed = left[:, 0]
    product = chain[0]
    for w in chain[1:]:
        product = w @ product
    tight = np.float64(pieces.spectral_bound(chain))
    check.close(
        tight,
        np.linalg.norm(array(product), 2),
        rounding(dtype, length=64, scale=tight),
        "the bound of an aligned linear chain, which is its norm,",
    )


def _dense(weight: Tensor, height: int, width: int, padding: int) -> np.ndarray[Any, Any]:
    """The matrix of a convolution of whole images, entry by entry."""
    w = array(weight)
    out, into, kh, kw = w.shape
    rows, columns = height + 2 * padding - kh + 1, width + 2 * padding - kw + 1
    matrix = np.zeros((out, rows, columns, into, height, width))
    for i in range(rows):
        for j in range(columns):
            for a in range(kh):
                for b in range(kw):
                    y, x = i + a - padding, j + b - padding
                    if 0 <= y < height and 0 <= x < width:
                        matrix[:, i, j, :, y, x] += w[:, :, a, b]
    return matrix.reshape(out * rows * columns, into * height * width)


@claim(
    "theory.reshaped_norm_is_not_operator_norm",
    r"\sigma(w_{\text{flat}}) \le \lVert w * \cdot \rVert_{2 \to 2} \le \sqrt{k_h k_w}\; "
    r"\sigma(w_{\text{flat}}), \qquad "
    r"w_{\text{flat}} \in \mathbb R^{C_{\text{out}} \times C_{\text{in}} k_h k_w}",
    sources=[
        "Tsuzuku, Sato, Sugiyama 2018, 'Lipschitz-Margin Training', Section 4",
        "Sedghi, Gupta, Long 2018, 'The Singular Values of Convolutional Layers'",
    ],
    why=r"""Each place of the output is :math:`w_{\text{flat}}` times one patch :math:`x_P` of the
    image, and a pixel lies in at most :math:`k_h k_w` patches:

    .. math::

        \lVert w * x \rVert^2 = \sum_P \lVert w_{\text{flat}}\, x_P \rVert^2
            \le \sigma(w_{\text{flat}})^2 \sum_P \lVert x_P \rVert^2
            \le k_h k_w\, \sigma(w_{\text{flat}})^2\, \lVert x \rVert^2.

    From below: put the leading right singular vector into one patch of an image that is zero
    elsewhere. An image as large as the kernel, not padded, has one patch, and there the lower bound
    is attained. The upper one is nearly so: a 3 by 3 kernel of ones has flattened norm 3, and
    stretches a constant image by nearly 9. A spectrally normalised convolution is therefore not
    1-Lipschitz.

    The oracle is the convolution's dense matrix, filled entry by entry in NumPy, and its largest
    singular value.
    """,
    assumptions={
        "stride one, for the flattened norm to be too small": (
            "with a stride as large as the kernel the patches do not overlap, and the flattened "
            "norm is the slope"
        ),
        "the image holds a whole patch, for the lower bound": (
            "a 1 by 1 image padded by one meets only the centre of a 3 by 3 kernel of ones: the "
            "norm is 1, not 3"
        ),
    },
    dtypes=("float64",),
    effort=0.5,
)
@given(
    weight=stratified([normals(shape) for shape in ((3, 2, 2, 3), (1, 2, 3, 3), (2, 1, 1, 1))]),
    extra=st.sampled_from([(0, 0), (1, 2), (3, 2)]),
    padding=st.sampled_from([0, 1]),
)
def test_the_flattened_norm_of_a_convolution_is_not_its_slope(
    subject: Handle, device: str, dtype: torch.dtype, weight: Tensor, extra: Any, padding: int
) -> None:
    pieces = subject.pieces()
    kh, kw = weight.shape[2:]
    height, width = kh + extra[0], kw + extra[1]
    flat = np.linalg.norm(array(weight.flatten(1)), 2)
    true = np.linalg.norm(_dense(weight, height, width, padding), 2)
    allowed = rounding(dtype, length=64, scale=4 * flat)
    norm = pieces.conv_operator_norm(weight, height, width, padding)
    bound = pieces.conv_norm_bound(weight)
    check.close(norm, true, allowed, f"the norm of the convolution of {height} by {width} images")
    check.close(bound, math.sqrt(kh * kw) * flat, allowed, "sqrt(kh kw) sigma(flattened)")
    check.at_most(norm, bound, allowed, "the norm of the convolution, against its bound,")
    single = pieces.conv_operator_norm(weight, kh, kw, 0)
    check.close(
        single, flat, allowed, "the norm on images as large as the kernel, sigma(flattened),"
    )
    ones = torch.ones(1, 1, 3, 3).to(weight)
    larger = float(pieces.conv_operator_norm(ones, 7, 7, 1))
    check.that(
        3 * 2 < larger < float(pieces.conv_norm_bound(ones)),
        f"a kernel of ones stretches 7 by 7 images by {larger}: more than twice its flattened norm 3, "
        f"and less than the bound 9",
    )


@st.composite
def _weighted_points(draw: st.DrawFn, features: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Points and probabilities of two distributions of different sizes."""
    n, m = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    x, y = draw(normals((n, features))), draw(normals((m, features), shift=1.0))
    return x, y, draw(simplexes(n, interior=True)), draw(simplexes(m, interior=True))


@claim(
    "theory.wgan_optimal_critic_has_unit_slope",
    r"\gamma^\star(x, y) > 0 \;\Rightarrow\; f^\star(x) - f^\star(y) = \lVert x - y \rVert, "
    r"\text{ and } f^\star \text{ is affine on the segment from } x \text{ to } y",
    sources=[f"{WGAN_GP}, Proposition 1", f"{WGAN}, Equation 2"],
    why=r"""Let :math:`\gamma^\star` be an optimal transport plan from the data to the samples and
    :math:`f^\star` a best 1-Lipschitz critic. By duality the cost of the one is the gap in mean
    score of the other, and both are sums over :math:`\gamma^\star`:

    .. math::

        \sum_{x, y} \gamma^\star(x, y)\, \bigl( \lVert x - y \rVert - f^\star(x) + f^\star(y) \bigr) = 0.

    No term is negative, so each is zero. On the segment let :math:`z` be at the distance :math:`r`
    from :math:`x`: being 1-Lipschitz, :math:`f^\star(z) \ge f^\star(x) - r` and :math:`f^\star(z)
    \le f^\star(y) + \lVert x - y \rVert - r`, which is the same number. So every extension falls
    with slope one all the way, which is why the gradient penalty asks for slope one between data
    and samples.

    The test checks the constraint, the cost against the gap (on the line also against SciPy's
    distance), each joined pair, and the least and greatest extension on the way.
    """,
    assumptions={
        "the pair is joined by an optimal plan": (
            "for data at 0 and 1 and samples at -1 and 2, all with weight 1/2, the independent "
            "plan joins 0 to 2 and 1 to -1 as well, and a best critic falls by 2 along both "
            "together, not by 4"
        ),
        "the critic is a best one": "half of it is 1-Lipschitz as well, and has slope one half along the transport",
    },
    dtypes=("float64",),
)
@given(case=stratified([_weighted_points(1), _weighted_points(2)]), t=st.floats(0.0, 1.0))
def test_the_best_critic_has_slope_one_along_the_transport(
    subject: Handle, device: str, dtype: torch.dtype, case: Any, t: float
) -> None:
    pieces = subject.pieces()
    x, y, p, q = case
    at_x, at_y = pieces.kantorovich_potentials(x, y, p, q)
    plan = pieces.transport_plan(x, y, p, q)
    points, scores = torch.cat([x, y]), torch.cat([at_x, at_y])
    distances = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    allowed = guarded(dtype, scale=float(distances.max()))
    check.at_most(
        (scores[:, None] - scores).abs(), distances, allowed, "the difference of two of f's values"
    )
    gap = (p * at_x).sum() - (q * at_y).sum()
    check.close((plan * (x[:, None] - y).norm(dim=-1)).sum(), gap, allowed, "the cost of transport")
    if x.shape[1] == 1:
        distance = stats.wasserstein_distance(
            *(array(v[:, 0]) for v in (x, y)), *(array(w) for w in (p, q))
        )
        check.close(
            gap, distance, allowed, "the gap in mean score, against the distance on the line,"
        )
    for i, j in (plan > 1e-6).nonzero().tolist():
        length = (x[i] - y[j]).norm()
        check.close(
            at_x[i] - at_y[j], length, allowed, "the fall of f along a pair that transport joins"
        )
        between = (1 - t) * x[i] + t * y[j]
        away = (points - between).norm(dim=1)
        for extension in ((scores + away).min(), (scores - away).max()):
            check.close(
                extension,
                at_x[i] - t * length,
                allowed,
                f"an extension of f at the fraction {t:.4g} of the way",
            )
