r"""Autoencoders: the best affine code of data, and how gradient descent finds it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spec_tests import check
from spec_tests.contracts.autoencoders import (
    any_data,
    data_with_gap,
    few_points,
    fit,
    full_rank_data,
    tied_data,
)
from spec_tests.handle import Handle
from spec_tests.judge import stratified
from spec_tests.numerics import gradients
from spec_tests.registry import claim
from spec_tests.tolerance import guarded, rounding

Data = dict[str, Any]


# Oracles and tolerances ----------------------------------------------------------------------------


def principal(x: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, all singular values (D,) and directions (D, D) of the centred data, in float64."""
    data = x.detach().double().cpu().numpy()
    mean = data.mean(0)
    found, directions = np.linalg.svd(data - mean, full_matrices=True)[1:]
    values = np.zeros(data.shape[1])
    values[: len(found)] = found
    return mean, values, directions


def least_error(x: Tensor, code_dim: int) -> float:
    """The squared error, summed over points, that no affine code of this length goes below."""
    return float((principal(x)[1][code_dim:] ** 2).sum())


def projected(x: Tensor, code_dim: int, points: Tensor) -> Tensor:
    """Points projected to the principal plane through the mean, in float64."""
    mean, _, directions = principal(x)
    onto = directions[:code_dim].T @ directions[:code_dim]
    moved = (points.detach().double().cpu().numpy() - mean) @ onto + mean
    return torch.as_tensor(moved)


def size_of(*tensors: Tensor) -> float:
    return max([1.0, *(float(t.detach().abs().max()) for t in tensors)])


def moved(dtype: torch.dtype, x: Tensor, *others: Tensor) -> float:
    """How far a reconstruction may be moved: by a solver's 1e-5 of the data's spread, by rounding."""
    spread = size_of(*(t - x.mean(0) for t in (x, *others)))
    exact = rounding(dtype, length=x.shape[1], scale=size_of(x, *others))
    return max(guarded(dtype, scale=spread), exact)


def error_slack(dtype: torch.dtype, x: Tensor, least: float) -> float:
    """How far the summed squared error may lie from the least one.

    It is stationary there: off by what a reconstruction moves, squared; plus rounding and the guard.
    """
    exact = rounding(dtype, length=x.shape[1], scale=size_of(x))
    items = float(len(x))
    return guarded(dtype, scale=least) + 2 * exact * (least * items) ** 0.5 + items * exact**2


def squared_error(x: Tensor, reconstruction: Tensor) -> float:
    return float((x.double() - reconstruction.double()).square().sum())


def fitted(subject: Handle, data: Data) -> tuple[Tensor, int, Any]:
    """The data, the length of the code, and the reconstruction as a map of points."""
    x, code_dim = data["x"], data["code_dim"]
    encode, decode = fit(subject, x, code_dim)
    return x, code_dim, lambda points: decode(encode(points))


# The claims ----------------------------------------------------------------------------------------


@claim(
    "linear_autoencoder.attains_pca_error",
    r"\sum_n \|x_n - g(f(x_n))\|^2 = \sum_{i > k} s_i^2",
    sources=["Pearson 1901", "Eckart and Young 1936", "Baldi and Hornik 1989"],
    why=r"""Let :math:`P` be the orthogonal projection onto the directions of an affine plane of dimension
    :math:`k` through :math:`b`. A decoder's image lies in such a plane, and the encoder can do no
    better than reach the nearest point in it. The error is then

    .. math::

        \sum_n \|(I - P)(x_n - b)\|^2 = \sum_n \|(I - P)(x_n - \bar x)\|^2 + N \|(I - P)(\bar x - b)\|^2,

    so the plane should pass through the mean. With the centred data :math:`X = U S V^\top` the
    first term is :math:`\|X\|^2 - \|XP\|^2 = \sum_i s_i^2 (1 - w_i)`, where :math:`w_i = v_i^\top
    P v_i` lies between 0 and 1 and :math:`\sum_i w_i = k`: it is least when the first :math:`k`
    weights are 1.

    The oracle is NumPy's singular values in float64. Data off the origin, of any rank, and with
    ties, where several codes are best, are drawn.""",
    assumptions={
        "encoder and decoder are affine": "points on a circle, coded by their angle, are rebuilt exactly from one number",
    },
)
@given(data=any_data())
def test_loses_exactly_the_trailing_variance(
    subject: Handle, device: str, dtype: torch.dtype, data: Data
) -> None:
    x, code_dim, rebuild = fitted(subject, data)
    least = least_error(x, code_dim)
    slack = error_slack(dtype, x, least)
    check.close(squared_error(x, rebuild(x)), least, slack, "the summed squared error")


@claim(
    "linear_autoencoder.spans_principal_subspace",
    r"s_k > s_{k+1} \;\Rightarrow\; g(f(x)) = \bar x + V_k V_k^\top (x - \bar x)",
    sources=["Pearson 1901", "Bourlard and Kamp 1988", "Baldi and Hornik 1989"],
    why=r"""In ``linear_autoencoder.attains_pca_error`` the loss is :math:`\sum_i s_i^2 (1 - w_i)` with
    :math:`\sum_i w_i = k`. If :math:`s_k > s_{k+1}`, any weight moved from the first :math:`k`
    directions to later ones costs, so the plane is unique: the span of :math:`V_k` through the
    mean. On the data the reconstruction is the projection onto it, and an affine map is fixed on
    the affine hull by its values on the data, seen in training or not.

    The code itself is free: any invertible map of it can be undone by the decoder. So the test
    looks at :math:`g(f(x))` alone, at new points of the hull, and allows for the error that
    rounding in the data makes when the gap is small.""",
    assumptions={
        "a gap in the spectrum at :math:`k`": (
            r"for the corners :math:`(\pm 1, \pm 1)` of a square every line through the "
            "origin is as good as any other"
        ),
        "the point lies in the affine hull of the data": (
            "for data on the first axis of the plane :math:`f(x) = x_1 + 5 x_2` is as "
            "good an encoder as :math:`x_1`, and rebuilds (0, 1) as (5, 0)"
        ),
    },
)
@given(data=data_with_gap())
def test_projects_new_points_onto_the_principal_plane(
    subject: Handle, device: str, dtype: torch.dtype, data: Data
) -> None:
    x, code_dim, rebuild = fitted(subject, data)
    points = data["points"]
    expected = projected(x, code_dim, points)
    slack = moved(dtype, x, points) * _sensitivity(x, code_dim)
    check.close(rebuild(points), expected, slack, "the reconstruction of a new point")


def _sensitivity(x: Tensor, code_dim: int) -> float:
    """How much an error in the data turns the principal plane: spread over gap, 1 without a gap."""
    values = principal(x)[1]
    if code_dim >= len(values) or values[code_dim - 1] < 1e-6 * max(values[0], 1e-300):
        return 1.0
    return float(values[0] / (values[code_dim - 1] - values[code_dim]))


@claim(
    "linear_autoencoder.no_linear_code_beats_it",
    r"\sum_n \|x_n - g(f(x_n))\|^2 \le \sum_n \|x_n - B(A x_n + a) - b\|^2 \quad \text{for all }"
    r" A, a, B, b",
    sources=["Eckart and Young 1936", "Baldi and Hornik 1989"],
    why="""Eckart and Young: a rival reconstruction :math:`B(A x_n + a) + b`, centred, is a matrix of rank
    at most :math:`k`, and no such matrix is nearer to the centred data :math:`X` than its first
    :math:`k` singular components. (By the same count of weights as in
    ``linear_autoencoder.attains_pca_error``; moving the offset off the mean only adds to the
    error.)

    This is the claim from below, and the test needs no singular values for it: it tries rivals.
    They are planes with their best encoders: a random one, the principal plane turned by a random
    rotation or moved off the mean, the plane of the least variance, and one through the origin. A
    subject that has confused the order of eigenvalues, or forgotten to centre, is beaten by one of
    them.""",
    assumptions={
        "rivals are affine": "points on a circle, coded by their angle, are rebuilt exactly from one number",
        "the error is squared": (
            "of the numbers 0, 0, 9, coded by nothing but an offset, the squared error is "
            "least at 3, the absolute one at 0"
        ),
    },
)
@given(data=any_data(), angle=st.floats(0.05, 1.5))
def test_is_beaten_by_no_other_affine_autoencoder(
    subject: Handle, device: str, dtype: torch.dtype, data: Data, angle: float
) -> None:
    x, code_dim, rebuild = fitted(subject, data)
    error = squared_error(x, rebuild(x))
    mean, _, directions = (torch.as_tensor(part) for part in principal(x))
    points = x.detach().double().cpu()
    best = directions[:code_dim]
    turned = directions @ torch.matrix_exp(angle * _skew(torch.randn_like(directions)))
    rivals = {
        "a random plane": (torch.linalg.qr(torch.randn_like(best).T).Q.T, mean),
        "the principal plane, turned": (turned[:code_dim], mean),
        "the principal plane, moved": (best, mean + angle * torch.randn_like(mean)),
        "the directions of least variance": (directions[-code_dim:], mean),
        "a plane through the origin": (best, torch.zeros_like(mean)),
    }
    for name, (plane, origin) in rivals.items():
        centred = points - origin
        rival = squared_error(points, centred @ plane.T @ plane + origin)
        slack = error_slack(dtype, x, rival)
        check.at_most(error, rival, slack, f"the summed squared error, against that of {name},")


def _skew(matrix: Tensor) -> Tensor:
    return (matrix - matrix.T) / matrix.shape[0]


@claim(
    "linear_autoencoder.projection",
    r"R = g \circ f: \quad R \circ R = R, \quad \langle R'u, v \rangle = \langle u, R'v \rangle, \quad"
    r" \operatorname{tr} R' = k",
    sources=["Pearson 1901", "Baldi and Hornik 1989"],
    why=r"""The best encoder sends a point to the nearest one of the plane. So the reconstruction is
    :math:`R(x) = \bar x + P (x - \bar x)` with an orthogonal projection :math:`P`, whatever
    coordinates the code has: what lies in the plane stays (:math:`P^2 = P`), what is lost is at
    right angles to it (:math:`P^\top = P`), and the trace of a projection is its rank. The trace
    :math:`k` says that all of the code is used.

    The test applies :math:`R` twice, and reads its matrix off the images of the unit vectors about
    the mean. It needs no singular values, so that ties in the spectrum, where the plane is one of
    many, can be judged as well. A decoder that does not undo whitening gives a matrix with
    :math:`P^2 \ne P`.""",
    assumptions={
        "the data span the whole space": (
            "for data on the first axis of the plane :math:`f(x) = x_1 + 5 x_2` is "
            "optimal on them, and an oblique projection"
        ),
    },
)
@given(data=stratified([*full_rank_data().genspec_strata, tied_data()]))
def test_is_an_orthogonal_projection_that_uses_the_whole_code(
    subject: Handle, device: str, dtype: torch.dtype, data: Data
) -> None:
    x, code_dim, rebuild = fitted(subject, data)
    points, mean = data["points"], x.mean(0)
    once, slack = rebuild(points), moved(dtype, x, points)
    check.close(rebuild(once), once, slack, "the reconstruction of a reconstruction")
    spread = size_of(x - mean)
    basis = spread * torch.eye(x.shape[1], device=device, dtype=dtype)
    linear = (rebuild(mean + basis) - rebuild(mean[None])) / spread
    bound = 2 * slack / spread
    check.close(linear, linear.T, bound, "the matrix of the reconstruction, against its transpose,")
    check.close(linear.trace(), code_dim, len(linear) * bound, "the trace of the reconstruction")


@claim(
    "linear_autoencoder.keeps_the_mean",
    r"g(f(\bar x)) = \bar x",
    sources=["Pearson 1901", "Baldi and Hornik 1989"],
    why=r"""The decomposition in ``linear_autoencoder.attains_pca_error`` has the term :math:`N \|(I -
    P)(\bar x - b)\|^2`, so the best plane contains the centre of gravity, and what lies in the
    plane is rebuilt as it is. It also follows from least squares: with a free offset in the
    decoder the residuals add up to zero, and an affine map takes the mean of the points to the
    mean of their reconstructions.

    Code that never centres spends a dimension on the mean, and code that forgets to add it back
    rebuilds everything about the origin. Both look right on centred toy data; the means drawn here
    are far from 0.""",
    assumptions={
        "encoder and decoder have offsets": (
            "the points (3, 0) and (0, 1) have the mean (1.5, 0.5); without offsets the "
            "best code of length one is along the first axis, and rebuilds it as (1.5, 0)"
        ),
    },
)
@given(data=any_data())
def test_reconstructs_the_mean_as_itself(
    subject: Handle, device: str, dtype: torch.dtype, data: Data
) -> None:
    x, _, rebuild = fitted(subject, data)
    mean = x.double().mean(0).to(dtype)
    check.close(rebuild(mean[None])[0], mean, moved(dtype, x), "the reconstruction of the mean")


@claim(
    "linear_autoencoder.error_falls_with_code_dim",
    r"E_{k-1} - E_k = s_k^2 \ge 0, \qquad E_k = 0 \iff k \ge \operatorname{rank}",
    sources=["Eckart and Young 1936"],
    why=r"""With :math:`E_k = \sum_{i > k} s_i^2` (``linear_autoencoder.attains_pca_error``) the difference
    of two neighbours is one term, :math:`E_{k-1} - E_k = s_k^2`. Each further dimension saves the
    variance along its direction, the largest first, so the savings decrease. :math:`E_k` is 0
    exactly if all later singular values are, that is if :math:`k` is at least the rank of the
    centred data.

    The test fits codes of every length to the same data and compares the savings, one by one, with
    the squared singular values from NumPy. A code that leaves out the strongest direction has the
    right total at full length, and the wrong savings on the way.""",
    assumptions={
        "encoder and decoder are affine": (
            "points on a circle, coded by their angle, are rebuilt exactly from one "
            "number, so that :math:`E_1 = 0` at rank 2"
        ),
    },
)
@given(data=any_data())
def test_saves_one_singular_value_with_each_further_dimension(
    subject: Handle, device: str, dtype: torch.dtype, data: Data
) -> None:
    x = data["x"]
    values = principal(x)[1]
    before = float((values**2).sum())
    for code_dim in range(1, x.shape[1] + 1):
        error = squared_error(x, fitted(subject, {"x": x, "code_dim": code_dim})[2](x))
        slack = 2 * error_slack(dtype, x, float((values[code_dim - 1 :] ** 2).sum()))
        what = f"what dimension {code_dim} of the code saves"
        check.close(before - error, values[code_dim - 1] ** 2, slack, what)
        before = error
    check.close(before, 0.0, error_slack(dtype, x, 0.0), "the error of a code of full length")


@claim(
    "linear_autoencoder.translation_equivariant",
    r"R_{x + t}(u + t) = R_x(u) + t, \qquad R_{xQ}(uQ) = R_x(u)\,Q, \qquad R_{cx}(cu) = c\,R_x(u)",
    sources=["Pearson 1901"],
    why=r"""Squared error knows no origin, no axes and no unit. If :math:`T` is a translation, a rotation
    or a magnification by :math:`c`, then :math:`\|Tx - Ty\| = |c| \, \|x - y\|`, so the error of
    :math:`T \circ R \circ T^{-1}` on the transformed data is :math:`c^2` times that of :math:`R`
    on the data: one is optimal exactly if the other is, and with a gap the optimum is unique.

    The subject is fitted again to the transformed data and compared with itself. Dividing each
    feature by its standard deviation survives the first and the third change, and breaks the
    second: the axes have become special.""",
    sentence="moves, turns and grows with the data",
    assumptions={
        "a gap in the spectrum at :math:`k`": (
            r"for the corners :math:`(\pm 1, \pm 1)` of a square every line through the "
            "origin is as good as any other"
        ),
        "all axes are magnified alike": (
            "the points (±2, 0) and (0, ±1) vary most along the first axis; with the "
            "second stretched by 3, along the second"
        ),
    },
)
@given(
    data=data_with_gap(),
    far=st.sampled_from([1.0, 100.0]),
    factor=st.sampled_from([-2.0, 0.5, 8.0]),
)
def test_moves_turns_and_grows_with_the_data(
    subject: Handle, device: str, dtype: torch.dtype, data: Data, far: float, factor: float
) -> None:
    x, code_dim, rebuild = fitted(subject, data)
    points = data["points"]
    plain = rebuild(points)
    t = far * torch.randn_like(x[0])
    turn = torch.linalg.qr(torch.randn(x.shape[1], x.shape[1], device=device, dtype=dtype)).Q
    changes = {
        "moved": (lambda u: u + t),
        "turned": (lambda u: u @ turn),
        "magnified": (lambda u: factor * u),
    }
    for name, change in changes.items():
        there = fitted(subject, {"x": change(x), "code_dim": code_dim})[2](change(points))
        slack = 2 * moved(dtype, change(x), x, points, change(points)) * _sensitivity(x, code_dim)
        check.close(there, change(plain), slack, f"the reconstruction, with all data {name},")


@claim(
    "linear_autoencoder.tolerates_fewer_points_than_dims",
    r"N - 1 \le k \;\Rightarrow\; g(f(x_n)) = x_n, \quad \text{for any } N \ge 1",
    sources=["contracts.md, linear_autoencoder", "Turk and Pentland 1991"],
    why=r"""The :math:`N` centred points add up to zero, so they span at most :math:`N - 1` dimensions: a
    code of that length loses nothing, and a longer one has dimensions to spare. A single point is
    its own mean, and every code rebuilds it.

    Images have more pixels than many data sets have images, so this is no corner case. Three
    shortcuts fail: a covariance that is inverted is singular here, one that is divided by :math:`N
    - 1` is NaN for one point, and the thin decomposition has only :math:`\min(N, D)` directions,
    so that a slice of :math:`k` rows is silently shorter than asked. Where the code is shorter
    than :math:`N - 1` the test compares the error with NumPy's singular values instead.""",
    assumptions={
        r":math:`k \ge N - 1`": "the three corners of a triangle are not rebuilt from a code of length one",
    },
)
@given(data=few_points())
def test_rebuilds_few_points_exactly(
    subject: Handle, device: str, dtype: torch.dtype, data: Data
) -> None:
    x, code_dim, rebuild = fitted(subject, data)
    again = rebuild(x)
    check.finite(again, "the reconstruction")
    if code_dim >= len(x) - 1:
        check.close(again, x, moved(dtype, x), "the reconstruction of the data")
        return
    least = least_error(x, code_dim)
    error = squared_error(x, again)
    check.close(error, least, error_slack(dtype, x, least), "the summed squared error")


@claim(
    "linear_autoencoder.codes_single_points",
    r"f(u_{1..M})_i = f(u_i), \qquad g(z_{1..M})_i = g(z_i), \qquad f, g \text{ affine}",
    sources=["contracts.md, linear_autoencoder"],
    why=r"""What was learned from :math:`x` is fixed: encoder and decoder are affine maps of one point and
    of one code. It is a requirement of the contract, and what breaks without it is every later
    use: a point's code would depend on the company in which it is encoded. An encoder that takes
    off the mean of whatever batch it is given is right on the training data, and codes every
    single point as 0.

    The test encodes and decodes the same points in a batch and alone, and compares the subject
    with itself. That both maps are affine is judged at midpoints: the code of :math:`\tfrac12 (u +
    v)` must be the midpoint of the codes, and so for decoding.""",
)
@given(data=any_data())
def test_encodes_and_decodes_each_item_by_itself(
    subject: Handle, device: str, dtype: torch.dtype, data: Data
) -> None:
    x, points = data["x"], data["points"]
    encode, decode = fit(subject, x, data["code_dim"])
    for batch in (points, x):
        codes = encode(batch)
        back, slack = decode(codes), moved(dtype, x, batch)
        code_slack = guarded(dtype, scale=size_of(codes, x))
        for i in range(len(batch)):
            alone = encode(batch[i : i + 1])
            check.close(alone[0], codes[i], code_slack, f"the code of point {i} alone")
            check.close(decode(codes[i : i + 1])[0], back[i], slack, f"code {i} decoded alone")
        half = encode((batch[:1] + batch[-1:]) / 2)
        middle = (codes[:1] + codes[-1:]) / 2
        check.close(half, middle, code_slack, "the code of a midpoint, against the midpoint,")
        check.close(
            decode(middle), (back[:1] + back[-1:]) / 2, slack, "a midpoint of codes decoded"
        )


# Theory --------------------------------------------------------------------------------------------


@st.composite
def training_data(draw: st.DrawFn) -> Data:
    """Twelve points in four dimensions with variances 1, 0.7, 0.4 and 0.1 about a mean of size 1."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31 - 1)))
    noise = torch.randn(12, 4, generator=generator, dtype=torch.float64)
    left, _, right = torch.linalg.svd(noise - noise.mean(0), full_matrices=False)
    mean = torch.randn(4, generator=generator, dtype=torch.float64)
    mean = mean / mean.norm()
    variances = torch.tensor([1.0, 0.7, 0.4, 0.1], dtype=torch.float64)
    return {"x": left * (12 * variances).sqrt() @ right + mean, "code_dim": draw(st.integers(1, 3))}


@claim(
    "theory.gradient_descent_finds_pca",
    r"\theta_{t+1} = \theta_t - \eta \nabla L(\theta_t) \;\Rightarrow\; L(\theta_t) \to \frac1N"
    r" \sum_{i > k} s_i^2",
    sources=["Baldi and Hornik 1989", "CS182 2021 L17, 'Autoencoders'"],
    why=r"""The loss :math:`L(A, a, B, b) = \frac1N \sum_n \|x_n - B(A x_n + a) - b\|^2` is not convex:
    :math:`(A, B)` and :math:`(-A, -B)` are equally good, and their mean is not. But its only
    minima are global, and all other critical points are saddles
    (``theory.other_critical_points_are_saddles``), which descent from a random start leaves. At a
    global minimum the loss is PCA's, :math:`\frac1N \sum_{i > k} s_i^2`, and with a gap in the
    spectrum so are the reconstructions; the code is an arbitrary invertible map of the principal
    components.

    The test trains the reference's bottleneck for 500 steps of momentum descent and compares its
    loss with NumPy's singular values, and its reconstructions with those of the closed form. The
    spectrum is drawn with fixed gaps, so that this is long enough.""",
    sentence="a linear bottleneck descends to the error of the principal components",
    assumptions={
        "the start is not a critical point": (
            "with all weights and biases zero, on centred data, every gradient vanishes, "
            "as each factor multiplies the other"
        ),
        "the step is short": (
            "for the loss :math:`(x - bax)^2` with :math:`x = 1` a step of 2 from "
            ":math:`a = b = 2` goes to -22, and on from there to infinity"
        ),
        "the data are centred or there are biases": "see ``theory.pca_needs_centring``",
    },
    dtypes=("float64",),
    effort=0.1,
)
@given(data=training_data())
def test_descends_to_the_error_of_the_principal_components(
    subject: Handle, device: str, dtype: torch.dtype, data: Data
) -> None:
    pieces = subject.pieces()
    x, code_dim = data["x"], data["code_dim"]
    model = pieces.LinearBottleneck(x.shape[1], code_dim).to(device=device, dtype=dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 0.3  # the loss is quartic: from far away this step would be too long
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.8, nesterov=True)
    for _ in range(500):
        optimizer.zero_grad(set_to_none=True)
        pieces.reconstruction_loss(x, model(x)).backward()
        optimizer.step()
    least = least_error(x, code_dim) / len(x)
    loss = float(pieces.reconstruction_loss(x, model(x)).detach())
    check.close(loss, least, guarded(dtype), "the loss after training, against PCA's,")
    encode, decode = pieces.linear_autoencoder(x, code_dim)
    apart = float((model(x) - decode(encode(x))).detach().square().mean())
    check.close(apart, 0.0, guarded(dtype), "the distance of its reconstructions from PCA's")


@claim(
    "theory.other_critical_points_are_saddles",
    r"\nabla L = 0 \text{ at every set of } k \text{ eigenvectors}, \qquad \lambda_{\min}(\nabla^2 L) < 0"
    r" \text{ but at the first } k",
    sources=["Baldi and Hornik 1989, Facts 3 and 4"],
    why=r"""Let a bottleneck code by the principal directions in a set :math:`S` of size :math:`k`. Its
    residual is :math:`x - \bar x` projected to the other directions, which is uncorrelated with
    the code and orthogonal to the decoder's columns: all gradients vanish, and the loss is
    :math:`\frac1N \sum_{i \notin S} s_i^2`.

    If :math:`S` is not the leading set, some :math:`j \in S` is weaker than some :math:`i \notin
    S`. Turn the direction by an angle :math:`\alpha`, to :math:`\cos\alpha \, v_j + \sin\alpha \,
    v_i`:

    .. math::

        L(\alpha) = L(0) - \sin^2 \alpha \; \tfrac1N (s_i^2 - s_j^2),

    which falls at once: the Hessian has a negative direction. The test builds the swapped code,
    checks that its gradient is zero by autograd, that its loss is as computed from NumPy's
    singular values, and that the turn saves just this much.""",
    sentence="descent can leave every critical point but the best",
    assumptions={
        "the variances exchanged differ": (
            "with :math:`s_k = s_{k+1}` the exchange costs nothing, and the set is "
            "another global minimum"
        ),
    },
    dtypes=("float64",),
    effort=0.5,
)
@given(data=training_data(), turn=st.sampled_from([0.05, 0.2]))
def test_can_leave_every_critical_point_but_the_best(
    subject: Handle, device: str, dtype: torch.dtype, data: Data, turn: float
) -> None:
    pieces = subject.pieces()
    x, code_dim = data["x"], data["code_dim"]
    directions = pieces.principal_directions(x - x.mean(0), x.shape[1])
    swapped = [*range(code_dim - 1), code_dim]  # the last of the leading ones for the next
    loss, steepest = _loss_at(pieces, x, directions[swapped])
    slack = guarded(dtype)
    check.close(steepest, 0.0, slack, "the gradient at a set of eigenvectors that is not the best")
    expected = least_error(x, code_dim) / len(x)
    values = principal(x)[1] ** 2 / len(x)
    gain = float(values[code_dim - 1] - values[code_dim])
    check.close(loss, expected + gain, slack, "the loss at that saddle")
    c, s = torch.cos(torch.tensor(turn)).item(), torch.sin(torch.tensor(turn)).item()
    turned = directions[swapped].clone()
    turned[-1] = c * directions[code_dim] + s * directions[code_dim - 1]
    lower, _ = _loss_at(pieces, x, turned)
    check.close(
        loss - lower, gain * s**2, slack, "what turning towards the stronger direction saves"
    )
    best, flat = _loss_at(pieces, x, directions[:code_dim])
    check.close(best, expected, slack, "the loss at the leading eigenvectors")
    check.close(flat, 0.0, slack, "the gradient at the leading eigenvectors")


def _loss_at(pieces: Any, x: Tensor, rows: Tensor) -> tuple[float, float]:
    """The loss of a bottleneck that codes by these directions about the mean, and its steepest slope."""
    mean, (code_dim, dim) = x.mean(0), rows.shape
    model = pieces.LinearBottleneck(dim, code_dim).to(x)
    with torch.no_grad():
        model.encoder.weight.copy_(rows)
        model.encoder.bias.copy_(-rows @ mean)
        model.decoder.weight.copy_(rows.T)
        model.decoder.bias.copy_(mean)
    loss = pieces.reconstruction_loss(x, model(x))
    slopes = gradients(loss, list(model.parameters()), what="reconstruction loss")
    return float(loss.detach()), max(float(slope.abs().max()) for slope in slopes)


@claim(
    "theory.pca_needs_centring",
    r"\bar x \parallel v_D, \; N \|\bar x\|^2 \ge s_1^2 \;\Rightarrow\; \min_{A, B} \sum_n"
    r" \|x_n - B A x_n\|^2 = \sum_{i < D} s_i^2 \ge \sum_{i > 1} s_i^2 \qquad (k = 1)",
    sources=["Bourlard and Kamp 1988", "Jolliffe 2002, §14.2.3"],
    why=r"""Here :math:`v_i`, :math:`s_i` are the principal directions and singular values of the centred
    data. Without biases the best code is made of the singular vectors of the data as they are,
    whose matrix of second moments is

    .. math::

        \sum_n x_n x_n^\top = \sum_i s_i^2 v_i v_i^\top + N \bar x \bar x^\top.

    If the mean lies along :math:`v_D`, where the data vary least, the directions stay and only the
    last moment changes, to :math:`s_D^2 + N \|\bar x\|^2`. As soon as this is the largest, a code
    of length one spends its direction on the mean and loses all the others: no better than coding
    nothing about the mean but the weakest direction. PCA keeps :math:`v_1` and loses the rest.

    The test places the mean at 20 to 200 times the spread and compares both errors with NumPy's
    singular values. On centred data the two agree.""",
    sentence="a linear code is spent on the mean where nothing is centred",
    assumptions={
        "the mean is far from the origin": r"for :math:`\bar x = 0` both errors are :math:`\sum_{i > 1} s_i^2`",
        "there are no biases": "with them the code starts from the mean, and the error is PCA's",
    },
)
@given(data=training_data(), far=st.floats(20.0, 200.0))
def test_spends_its_code_on_the_mean_where_nothing_is_centred(
    subject: Handle, device: str, dtype: torch.dtype, data: Data, far: float
) -> None:
    pieces = subject.pieces()
    centred = data["x"] - data["x"].mean(0)
    _, values, directions = (torch.as_tensor(part).to(centred) for part in principal(centred))
    x = centred + far * directions[-1]  # the mean lies where the data vary least

    def without_biases(points: Tensor) -> float:
        rows = pieces.principal_directions(points, 1)
        return squared_error(points, points @ rows.T @ rows)

    encode, decode = pieces.linear_autoencoder(x, 1)
    affine = squared_error(x, decode(encode(x)))
    slack = error_slack(dtype, x, float((values**2).sum()))
    check.close(affine, (values[1:] ** 2).sum(), slack, "the error of PCA")
    check.at_least(
        without_biases(x), (values[:-1] ** 2).sum() * 0.9, slack, "the error without biases"
    )
    same = "the error without biases on centred data"
    check.close(without_biases(centred), (values[1:] ** 2).sum(), slack, same)
