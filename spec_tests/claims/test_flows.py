r"""Normalising flows: bijections, their Jacobians, and the densities and samples made of them.

A flow that undoes itself may still report any log-determinant, so every log-determinant meets one
that is measured: the Jacobian by autograd, or the areas of the cells of a mapped lattice.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spec_tests import check
from spec_tests.concentration import FALSE_ALARM
from spec_tests.contracts.flows import STRATA, FlowConfig, points
from spec_tests.handle import Built, Handle
from spec_tests.judge import stratified
from spec_tests.numerics import gradients
from spec_tests.registry import Unsupported, claim
from spec_tests.state import generators
from spec_tests.tolerance import eps, guarded, rounding

DINH = "Dinh, Sohl-Dickstein, Bengio 2016, 'Density estimation using Real NVP'"
RULE = "Rezende and Mohamed 2015, 'Variational Inference with Normalizing Flows', equation 5"
HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)
DRAWS = 8000


@st.composite
def _drawn(draw: st.DrawFn, configs: Any, scale: float) -> dict[str, Any]:
    config = draw(configs)
    return {"config": config, "x": draw(points(config, scale)), "z": draw(points(config, scale))}


def flows(scale: float = 1.0) -> Any:
    """A config with points ``x`` and ``z`` on either side, in every stratum."""
    return stratified([_drawn(configs, scale) for configs in STRATA])


def double(value: Tensor) -> Tensor:
    return value.detach().to("cpu", torch.float64)


def scaled(subject: Handle, config: FlowConfig, factor: float) -> Built:
    """A flow with its drawn parameters multiplied: gentle far from the data, or strong."""
    model = subject.build(config)
    if model.is_module:
        with torch.no_grad():
            for parameter in model.module.parameters():
                if parameter.requires_grad:
                    parameter.mul_(factor)
    return model


def in_range(value: Tensor, what: str) -> None:
    """Finite; far out, where an unbounded scale may overflow, infinite is no finding and NaN is one."""
    if torch.isinf(value).any() and not torch.isnan(value).any():
        raise Unsupported(f"{what} overflows far from the data")
    check.finite(value, what)


def flat(value: Tensor) -> Tensor:
    return double(value).flatten(1)


def over_items(room: Tensor, like: Tensor) -> Tensor:
    """One number an item, in the shape of the events."""
    return room.reshape(-1, *[1] * (like.ndim - 1)).expand(like.shape)


@dataclass(frozen=True)
class Stretch:
    """By how much the flow stretches and shrinks a small step, at most, at each point ``(N,)``."""

    largest: Tensor
    smallest: Tensor

    @property
    def condition(self) -> Tensor:
        return (1 + self.largest) * (1 + 1 / self.smallest)


def stretch_at(model: Built, x: Tensor) -> Stretch:
    """The extreme singular values of the Jacobian at each item, by central differences."""
    n, dims = len(x), x[0].numel()
    step = eps(x.dtype) ** (1 / 3) * (1 + x.detach().abs().max())
    moves = torch.cat([torch.eye(dims), -torch.eye(dims)]).to(x) * step
    near = (x.detach().flatten(1)[:, None] + moves).reshape(n * 2 * dims, *x.shape[1:])
    with torch.no_grad():
        ends = double(model.forward(near)[0]).reshape(n, 2, dims, dims)
    columns = (ends[:, 0] - ends[:, 1]) / (2 * float(step))
    values = torch.linalg.svdvals(columns.nan_to_num(0.0, 0.0, 0.0))
    return Stretch(values[:, 0], values[:, -1].clamp_min(1e-300))


def judge_round_trips(
    model: Built, x: Tensor, z: Tensor, dtype: torch.dtype, finite: Callable[[Tensor, str], None]
) -> None:
    """Both ways around; rounding may grow by the flow's condition, a solver's error by its slope."""
    image = model.forward(x)[0]
    finite(image, "z of forward")
    back = model.inverse(image)
    finite(back, "inverse of forward's z")
    stretch = stretch_at(model, x)
    size = 1 + flat(x).abs().amax(1) + flat(image).abs().amax(1)
    length = x[0].numel()
    room = guarded(dtype) * size + rounding(dtype, length=length) * size * stretch.condition
    check.close(back, x, over_items(room, x), "inverse(forward(x)), against x,")
    source = model.inverse(z)
    finite(source, "inverse")
    there = model.forward(source)[0]
    stretch = stretch_at(model, source)
    size = 1 + flat(z).abs().amax(1) + flat(source).abs().amax(1)
    room = guarded(dtype) * size * (1 + stretch.largest)
    room = room + rounding(dtype, length=length) * size * stretch.condition
    check.close(there, z, over_items(room, z), "forward(inverse(z)), against z,")


@claim(
    "flow.round_trip",
    r"f^{-1}(f(x)) = x, \qquad f(f^{-1}(z)) = z",
    sources=[f"{DINH}, section 3.3"],
    why=r"""A flow is a chain :math:`f = f_K \circ \dots \circ f_1` of layers that can each be
    undone, and the last is undone first:

    .. math::

        f^{-1} = f_1^{-1} \circ \dots \circ f_K^{-1}.

    Both orders are tried, since a map may have an inverse on one side only: the logarithm undoes
    the exponential, yet no point at all is sent to -1.

    The flow is its own oracle, so a wrong pair that agrees passes here
    (``flow.log_det_is_jacobian`` measures the map itself). What is exact is the room for rounding:
    an error :math:`\varepsilon` in z becomes :math:`\varepsilon / \sigma_{\min}` in x, where
    :math:`\sigma_{\min}` is the least singular value of the Jacobian. The singular values are
    measured by central differences at each point, and the tolerance grows with them, no further.""",
    assumptions={
        "values stay in the range of floating point for parameters of their usual size": (
            "in single precision :math:`z = e^{100} x` sends 1 to infinity, from which nothing"
            " returns"
        ),
    },
    sentence="inverse undoes forward, and forward undoes inverse",
)
@given(drawn=flows())
def test_inverse_undoes_forward_and_forward_inverse(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Any]
) -> None:
    judge_round_trips(subject.build(drawn["config"]), drawn["x"], drawn["z"], dtype, check.finite)


def jacobians(model: Built, x: Tensor) -> Tensor:
    """dz/dx of each item by autograd, ``(N, D, D)``: one copy of an item for each row."""
    n, dims = len(x), x[0].numel()
    copies = x.detach().repeat_interleave(dims, 0).requires_grad_()
    z = model.forward(copies)[0].reshape(n, dims, dims)
    (rows,) = gradients(z.diagonal(dim1=1, dim2=2).sum(), [copies], what="forward")
    return double(rows).reshape(n, dims, dims)


@claim(
    "flow.log_det_is_jacobian",
    r"\text{log\_det}_n = \log \Bigl|\det \frac{\partial z_n}{\partial x_n}\Bigr|",
    sources=[RULE, f"{DINH}, equation 8"],
    why=r"""To first order a small cube at x becomes a parallelepiped whose edges are the columns of
    the Jacobian, so :math:`|\det \partial z / \partial x|` is the factor by which volume grows.
    Jacobians of composed layers multiply, and the logarithms of their determinants add:

    .. math::

        \log \Bigl|\det \frac{\partial z}{\partial x}\Bigr| = \sum_k \log \Bigl|\det \frac{\partial
        f_k}{\partial h_{k-1}}\Bigr|, \qquad h_k = f_k(h_{k-1}), \; h_0 = x,

    each taken at the point that its layer receives. An image's log-determinant sums over all of its
    pixels.

    The oracle looks at z alone: autograd gives the Jacobian one row for each output, and an LU
    decomposition its determinant, item by item. Nothing is known of masks, triangles or layers. The
    room for rounding grows with the condition number of the Jacobian.""",
    assumptions={
        "f is differentiable at x": r"for :math:`z = x + \max(x, 0)` the slope at 0 is 1 from the"
        " left and 2 from the right",
        "the Jacobian is invertible": ":math:`z = x^3` is a bijection, and at 0 its"
        " log-determinant is minus infinity",
    },
    sentence="log det is that of the Jacobian",
)
@given(drawn=flows(1.5))
def test_log_det_is_that_of_the_jacobian(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Any]
) -> None:
    subject.needs_gradients()
    model, x = subject.build(drawn["config"]), drawn["x"]
    found = model.forward(x)[1]
    jacobian = jacobians(model, x)
    check.finite(jacobian, "the Jacobian dz/dx")
    exact = torch.linalg.slogdet(jacobian).logabsdet
    values = torch.linalg.svdvals(jacobian)
    condition = values[:, 0] / values[:, -1].clamp_min(1e-300)
    room = guarded(dtype) * (1 + exact.abs()) + rounding(dtype, length=x[0].numel()) * condition
    check.close(found, exact, room, "log_det, against the Jacobian's,")


def log_density(model: Built, x: Tensor) -> Tensor:
    """log p(x) as the subject offers it, or from its forward."""
    if model.has("log_prob"):
        return double(model.log_prob(x))
    z, log_det = model.forward(x)
    return double(log_det) - (0.5 * flat(z).square() + HALF_LOG_TAU).sum(1)


def _integral(corners: Tensor, density: Tensor) -> float:
    """The sum over quadrilateral cells of their areas times the mean density of their corners."""
    diagonals = corners[1:, 1:] - corners[:-1, :-1], corners[:-1, 1:] - corners[1:, :-1]
    (a, b), (c, d) = diagonals[0].unbind(-1), diagonals[1].unbind(-1)
    area = 0.5 * (a * d - b * c).abs()
    mean = (density[1:, 1:] + density[:-1, :-1] + density[:-1, 1:] + density[1:, :-1]) / 4
    return float((area * mean).sum())


@claim(
    "flow.density_integrates_to_one",
    r"\int_{\mathbb R^2} p(x)\, dx = 1, \qquad p(x) = \mathcal N(f(x); 0, I)\, \Bigl|\det \frac{\partial"
    r" f}{\partial x}\Bigr|",
    sources=[RULE],
    why=r"""By the change of variables :math:`z = f(x)`, for which
    :math:`dz = |\det \partial f / \partial x|\, dx`,

    .. math::

        \int p(x)\, dx = \int \mathcal N(f(x); 0, I)\, \Bigl|\det \frac{\partial f}{\partial
        x}\Bigr|\, dx = \int \mathcal N(z; 0, I)\, dz = 1,

    whatever the parameters. A density that can be pushed up everywhere at once has no maximum
    likelihood.

    The sum is taken in two dimensions over a lattice that follows the flow: the lattice of noise on
    :math:`[-6.5, 6.5]^2`, beyond which there is less than :math:`10^{-9}` of the mass, is mapped
    back, so that its cells lie where the density is. Their areas are measured in the space of the
    data from their corners, without any log-determinant. The sums at three step sizes tell the
    error of the finest.""",
    assumptions={
        "f is onto": "with a sigmoid at the end z fills the unit square alone, and the mass is"
        " :math:`0.341^2 = 0.117`",
        "f is one to one": "each z between -2 and 2 has three preimages under :math:`z = x^3 -"
        r" 3x`, and the mass is :math:`1 + 2 \cdot 0.954 = 2.91`",
    },
    dtypes=("float64",),
    effort=0.25,
)
@given(config=STRATA[1])
def test_density_has_mass_one(
    subject: Handle, device: str, dtype: torch.dtype, config: FlowConfig
) -> None:
    model = scaled(subject, config, 0.5)
    line = torch.linspace(-6.5, 6.5, 129, device=device, dtype=dtype)
    lattice = torch.cartesian_prod(line, line)
    with torch.no_grad():
        x = model.inverse(lattice)
        in_range(x, "inverse of a point of the lattice [-6.5, 6.5]²")
        density = log_density(model, x).exp().reshape(129, 129)
    corners = double(x).reshape(129, 129, 2)
    fine, middle, coarse = (
        _integral(corners[::step, ::step], density[::step, ::step]) for step in (1, 2, 4)
    )
    error = abs(fine - middle) + abs(middle - coarse) / 4
    check.close(fine, 1.0, guarded(dtype) + error, "the integral of the density over the plane")


@claim(
    "flow.log_prob_change_of_variables",
    r"\log p(x) = -\tfrac12 \|z\|^2 - \tfrac D2 \log 2\pi + \log \Bigl|\det \frac{\partial z}{\partial"
    r" x}\Bigr|",
    sources=[RULE, f"{DINH}, equations 2 and 3"],
    why=r"""The mass in a small cell does not change when the cell is mapped, but its volume does:

    .. math::

        p(x)\, |dx| = \mathcal N(z; 0, I)\, |dz|, \qquad \frac{|dz|}{|dx|} = \Bigl|\det
        \frac{\partial z}{\partial x}\Bigr|.

    So the log-determinant of the map from data to noise is added; with that of noise to data it
    would be subtracted. The logarithm of a standard normal density in D dimensions is
    :math:`-\tfrac12 \|z\|^2 - \tfrac D2 \log 2\pi`, with a constant for every dimension. The
    constant has no gradient, so that a loss may drop it, and bits per dimension may not.

    The right-hand side is computed in double precision from what ``forward`` returns, which
    ``flow.log_det_is_jacobian`` judges against autograd; the mass of the result is judged by
    ``flow.density_integrates_to_one``.""",
    assumptions={
        "every z has one preimage": "for :math:`z = x^3 - 3x` the formula has a mass of 2.91: the"
        " masses of three cells x are all counted against that of one cell z",
    },
    sentence="log prob is the log-density of the noise plus log det",
)
@given(drawn=flows(1.5))
def test_log_prob_is_the_base_density_plus_log_det(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Any]
) -> None:
    model, x = subject.build(drawn["config"]), drawn["x"]
    model.needs("log_prob")
    found = model.log_prob(x)
    z, log_det = model.forward(x)
    base = 0.5 * flat(z).square() + HALF_LOG_TAU
    room = guarded(dtype) * (1 + base.sum(1) + double(log_det).abs())
    check.close(found, double(log_det) - base.sum(1), room, "log_prob, against forward's terms,")


@claim(
    "flow.bijection",
    r"f : \mathbb R^D \to \mathbb R^D \text{ is onto and one to one; } \operatorname{sign} \det"
    r" \frac{\partial z}{\partial x} \text{ is constant}",
    sources=[
        "Rezende and Mohamed 2015, 'Variational Inference with Normalizing Flows', appendix A.1",
        "Papamakarios et al. 2021, section 2.1",
    ],
    why=r"""Noise is unbounded, so every point of :math:`\mathbb R^D` must be reached, far from the
    data as well, and come from one point alone. A map that fails has no inverse, or a density of
    the wrong mass.

    A continuous bijection of :math:`\mathbb R^D` is a homeomorphism (Brouwer's invariance of
    domain), and a homeomorphism keeps orientation everywhere or reverses it everywhere: its degree
    is 1 or -1 and, where the Jacobian is invertible, equals the sign of the determinant. So the
    sign never changes; where it does, space is folded, and ``log|det|`` hides it.

    Points are drawn four times as far out as usual and sent both ways. The signs of the
    determinant, from autograd, are compared along lines through the origin, for weak parameters and
    for strong ones; a sign that rounding could turn is not counted, nor is a point at which the
    flow overflows.""",
    assumptions={
        "f is continuous": "the map that changes the sign of x for |x| < 1 and leaves other x"
        " alone is a bijection of the line whose slope has both signs",
    },
)
@given(drawn=flows(4.0))
def test_is_a_bijection_far_from_the_data(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Any]
) -> None:
    model, x, z = scaled(subject, drawn["config"], 0.5), drawn["x"], drawn["z"]
    judge_round_trips(model, x, z, dtype, in_range)
    if subject.carries_gradients:
        judge_orientation(model, x, dtype)
        judge_orientation(scaled(subject, drawn["config"], 2.5), x, dtype)


def judge_orientation(model: Built, x: Tensor, dtype: torch.dtype) -> None:
    """The sign of the determinant is the same at all points of a lattice where it is sure."""
    grid = torch.linspace(-2, 2, 9).to(x)  # between the points and their antipodes
    along = (grid.reshape(-1, *[1] * x.ndim) * x).flatten(0, 1)
    jacobian = jacobians(model, along)
    jacobian = jacobian[jacobian.isfinite().all(-1).all(-1)]
    signs = torch.linalg.slogdet(jacobian).sign
    values = torch.linalg.svdvals(jacobian)
    sure = signs[values[:, -1] > rounding(dtype, length=x[0].numel()) * values[:, 0]]
    check.that(
        len(sure) == 0 or bool((sure == sure[0]).all()),
        f"det dz/dx is positive at {int((sure > 0).sum())} points and negative at "
        f"{int((sure < 0).sum())} others: the flow folds space",
    )


@claim(
    "flow.inverse_is_differentiable",
    r"\frac{\partial x}{\partial z} = \Bigl(\frac{\partial z}{\partial x}\Bigr)^{-1}, \qquad "
    r"\frac{\partial x}{\partial \theta} = -\Bigl(\frac{\partial z}{\partial x}\Bigr)^{-1} "
    r"\frac{\partial f_\theta(x)}{\partial \theta}",
    sources=["contracts.md, conventions", "the implicit function theorem"],
    why=r"""A flow that is trained through its samples (variational inference, a reverse divergence)
    needs the gradient of its inverse, however the inverse is found. Differentiate
    :math:`f_\theta(x(z, \theta)) = z`, once in z and once in :math:`\theta`:

    .. math::

        \frac{\partial f}{\partial x} \frac{\partial x}{\partial z} = I, \qquad \frac{\partial
        f}{\partial x} \frac{\partial x}{\partial \theta} + \frac{\partial f}{\partial \theta} = 0,

    and solve. So the oracle needs ``forward`` alone: its Jacobian by autograd and one linear solve
    give what a random weighting of x must pull back to z and to every parameter. An inverse that
    iterates without a graph returns a right value that nothing can learn from.""",
    assumptions={
        "the Jacobian is invertible": r":math:`z = x^3` has the inverse :math:`\sqrt[3]{z}`,"
        " whose slope at 0 is infinite",
    },
    sentence="inverse has the gradient of an inverse function",
    dtypes=("float64",),
    effort=0.5,
)
@given(drawn=flows())
def test_the_inverse_has_the_gradient_of_an_inverse(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Any]
) -> None:
    subject.needs_gradients()
    model, z = subject.build(drawn["config"]), drawn["z"].clone().requires_grad_()
    x = model.inverse(z)
    weights = torch.randn_like(x)
    trained = [p for p in model.module.parameters() if p.requires_grad] if model.is_module else []
    pulled, *found = gradients((weights * x).sum(), [z, *trained], what="inverse")
    point = x.detach()
    jacobian = jacobians(model, point)  # (N, D, D)
    expected = torch.linalg.solve(jacobian.mT, flat(weights)[:, :, None])[:, :, 0]
    values = torch.linalg.svdvals(jacobian)
    condition = float((values[:, 0] / values[:, -1]).max()) * (1 + float(1 / values[:, -1].min()))
    room = guarded(dtype) * (1 + float(expected.abs().max())) * (1 + condition)
    check.close(flat(pulled), expected, room, "the gradient of inverse in z")
    back = expected.reshape(point.shape).to(point)
    image = model.forward(point)[0]
    implied = gradients(-(back * image).sum(), trained, what="forward") if trained else []
    for one, other in zip(found, implied, strict=True):
        size = 1 + float(other.detach().abs().max())
        check.close(
            one,
            other,
            guarded(dtype) * size * (1 + condition),
            "the gradient of inverse in a parameter",
        )


def draw_samples(model: Built, n: int, generator: torch.Generator) -> Tensor:
    """``sample(n, generator)``, its shape checked."""
    model.needs("sample")
    found = model.sample(n, generator)
    expected = (n, *model.config.event_shape)
    check.that(
        isinstance(found, Tensor) and tuple(found.shape) == expected,
        f"sample({n}, generator) returned {getattr(found, 'shape', type(found).__name__)}, "
        f"expected shape {expected}",
    )
    if model.is_module:
        wanted = model.handle.dtype
        check.that(found.dtype == wanted, f"sample returned {found.dtype}, the model is {wanted}")
    drawn: Tensor = found.detach()
    return drawn


def _seeded(subject: Handle, seed: int) -> torch.Generator:
    return torch.Generator(device=subject.device).manual_seed(seed)


def _distance(values: Tensor, distribution: Any) -> float:
    """Kolmogorov's distance of the empirical distribution from a known one."""
    found: float = scipy.stats.kstest(values.numpy(), distribution.cdf, method="asymp").statistic
    return found


@claim(
    "flow.sample_matches_density",
    r"x \sim \text{sample} \;\Rightarrow\; f(x) \sim \mathcal N(0, I)",
    sources=[f"{DINH}, section 3.1", "Dvoretzky, Kiefer, Wolfowitz 1956", "Massart 1990"],
    why=r"""A sample is noise mapped back, :math:`x = f^{-1}(z)`, so mapping it forward must return
    standard normal noise. Conversely, if :math:`f(x) \sim \mathcal N(0, I)` then for any set A

    .. math::

        \Pr[x \in A] = \Pr[f(x) \in f(A)] = \int_{f(A)} \mathcal N(z; 0, I)\, dz = \int_A p(x)\, dx:

    the sampler draws from the density that ``log_prob`` reports. Of the law of z the test looks at
    each coordinate, at three random projections, and at the squared length, which is chi-square for
    independent coordinates and not for copies of one number.

    The empirical distribution function of n independent draws strays from the true one by more than
    :math:`\sqrt{\log(2 / \alpha) / 2n}` with probability :math:`\alpha` at most, at any n
    (Dvoretzky, Kiefer and Wolfowitz; the constant is Massart's): 0.042 for 8000 draws and
    :math:`\alpha = 10^{-12}`.""",
    assumptions={
        "f is one to one": "each z between -2 and 2 has three preimages under :math:`z = x^3 -"
        " 3x`: a sampler that takes the least and one that takes the greatest have the same"
        " normal image",
        "the draws of one call are independent": "one draw that is repeated 8000 times has the"
        " right law, and its empirical distribution function is a single step",
    },
    error=1e-9,
    effort=0.25,
    dtypes=("float64",),
)
@given(config=stratified(list(STRATA)), seed=st.integers(0, 2**31 - 1))
def test_samples_follow_the_density(
    subject: Handle, device: str, dtype: torch.dtype, config: FlowConfig, seed: int
) -> None:
    model = scaled(subject, config, 0.5)
    with torch.no_grad():
        x = draw_samples(model, DRAWS, _seeded(subject, seed))
        in_range(x, "sample")
        z = flat(model.forward(x.to(dtype))[0])
    dims = z.shape[1]
    distinct = len(torch.unique(flat(x), dim=0))
    check.that(
        distinct > DRAWS // 2, f"of {DRAWS} draws only {distinct} are distinct: draws are repeated"
    )
    room = math.sqrt(math.log(2 / FALSE_ALARM) / (2 * DRAWS)) + guarded(dtype)
    normal, length = scipy.stats.norm(), scipy.stats.chi2(dims)
    for d in range(dims):
        what = f"Kolmogorov's distance of coordinate {d} of forward(sample) from a standard normal"
        check.at_most(_distance(z[:, d], normal), 0.0, room, what)
    for direction in torch.nn.functional.normalize(torch.randn(3, dims, dtype=z.dtype), dim=1):
        what = "Kolmogorov's distance of a projection of forward(sample) from a standard normal"
        check.at_most(_distance(z @ direction, normal), 0.0, room, what)
    what = "Kolmogorov's distance of the squared length of forward(sample) from its chi-square law"
    check.at_most(_distance(z.square().sum(1), length), 0.0, room, what)


@claim(
    "flow.sample_uses_its_generator",
    r"\text{sample}(n, g) \text{ is a function of the state of } g \text{ alone, and advances it}",
    sources=["contracts.md, conventions"],
    why="""A requirement of the contract: a seeded generator makes a draw repeatable, so that a
    figure can be drawn again and a failure found again. Code that takes its noise from the global
    generator gives other samples as soon as anything else is random in the program; code with a
    seed of its own gives the same samples for ever.

    The same state must give the same sample, bit for bit, whatever the global generators hold,
    which the test moves on in between and finds untouched by the call. The same generator once
    more, or one of another seed, must give another sample: continuous draws coincide with
    probability zero. No oracle is needed, only calls that are compared.""",
    sentence="samples follow their generator",
    effort=0.5,
)
@given(
    config=stratified(list(STRATA)),
    n=st.sampled_from([1, 2, 7]),
    seed=st.integers(0, 2**31 - 2),
)
def test_flow_samples_follow_their_generator(
    subject: Handle, device: str, dtype: torch.dtype, config: FlowConfig, n: int, seed: int
) -> None:
    model = subject.build(config)
    model.needs("sample")
    generator = _seeded(subject, seed)
    before = generators()
    first = draw_samples(model, n, generator)
    check.that(generators() == before, "sample drew from, or reseeded, a global generator")
    second = draw_samples(model, n, generator)
    torch.rand(5)  # the global generator moves on
    again = draw_samples(model, n, _seeded(subject, seed))
    check.equal(again, first, "the sample from a generator of the same seed")
    check.that((second != first).any(), "two samples in a row from one generator are the same")
    other = draw_samples(model, n, _seeded(subject, seed + 1))
    check.that((other != first).any(), "generators of different seeds give the same sample")


@claim(
    "flow.samples_are_independent",
    r"\Pr[x^{(a)} = x^{(b)}] = 0 \qquad (a \ne b \text{ of one call})",
    sources=["contracts.md, flow"],
    why=r"""Two independent draws from a density are never equal: given the first, the second would
    have to hit a single point,

    .. math::

        \Pr[x^{(a)} = x^{(b)}] = \int p(x) \int_{\{x\}} p(y)\, dy\, dx = 0.

    A sampler that works in pairs and fills an odd place by a copy, or spreads one draw over the
    batch, says the same thing twice. Frequencies over many samples hardly show it, and every
    average over such a batch is taken over fewer draws than it claims.

    All pairs of small batches, even and odd, are compared bit for bit. Equality is the only
    dependence that is looked for here; ``flow.sample_matches_density`` bounds others, over
    thousands of draws.""",
    assumptions={
        "the law has a density": "the rectified normal max(z, 0) is 0 half of the time, so that"
        " two draws are equal a quarter of the time",
    },
    dtypes=("float64",),  # single precision repeats itself once in 10^8
    effort=0.3,
)
@given(
    config=stratified(list(STRATA)), n=st.sampled_from([2, 3, 4, 5]), seed=st.integers(0, 2**31 - 1)
)
def test_no_two_samples_of_a_call_are_equal(
    subject: Handle, device: str, dtype: torch.dtype, config: FlowConfig, n: int, seed: int
) -> None:
    found = flat(draw_samples(scaled(subject, config, 0.5), n, _seeded(subject, seed)))
    for a in range(n):
        for b in range(a):
            check.that(not torch.equal(found[a], found[b]), f"samples {b} and {a} of {n} are equal")
