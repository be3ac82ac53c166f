r"""Claims about the baselines: bits per dimension, and a Gaussian that is compared with levels.

The logarithm of a Gaussian is quadratic, so its mean over a cell is a sum over the corners of a
two-point Gauss-Legendre rule, exactly; the mass of a cell comes from SciPy.
"""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spec_tests import check
from spec_tests.handle import Handle
from spec_tests.judge import stratified
from spec_tests.registry import claim
from spec_tests.strategies import integers_below, reals
from spec_tests.tolerance import guarded, rounding

THEIS = "Theis, van den Oord, Bethge 2015, 'A note on the evaluation of generative models', §3.1"
L16 = "CS182 2020 L16, table of NLL on CIFAR-10"
NODES = (0.5 - 0.5 / math.sqrt(3), 0.5 + 0.5 / math.sqrt(3))  # of the two-point rule on [0, 1]


@st.composite
def gaussians(draw: st.DrawFn, dims: int, least: float = 0.05) -> dict[str, Tensor]:
    """Levels x (N, D) and a Gaussian whose covariance is neither diagonal nor nearly singular."""
    root = draw(reals((dims, dims), -2, 2))
    return {
        "x": draw(integers_below(5, (3, dims))),
        "mean": draw(reals((dims,), -1, 6)),
        "covariance": root @ root.mT + least * torch.eye(dims, dtype=torch.float64),
    }


def _scipy(drawn: dict[str, Tensor]) -> Any:
    return scipy.stats.multivariate_normal(
        drawn["mean"].double().cpu().numpy(), drawn["covariance"].double().cpu().numpy()
    )


def _bound(pieces: Any, drawn: dict[str, Tensor], size: int) -> Tensor:
    found: Tensor = pieces.dequantized_gaussian_bound(
        drawn["x"], drawn["mean"], drawn["covariance"]
    )
    check.that(found.shape == (size,), f"the bound has shape {tuple(found.shape)}, not ({size},)")
    return found


def _steepness(drawn: dict[str, Tensor]) -> float:
    """How far rounding of the mean and the covariance can move the logarithm of the density."""
    covariance = drawn["covariance"].double()
    far = (drawn["x"].double() + 0.5 - drawn["mean"].double()).norm(dim=1).amax()
    inverse = torch.linalg.inv(covariance).norm()
    return float(1 + inverse * (1 + far) ** 2 * (1 + covariance.norm() * inverse))


@claim(
    "theory.uniform_costs_log2_levels",
    r"p(x) = K^{-D} \implies -\frac{\log p(x)}{D \log 2} = \log_2 K",
    sources=[THEIS, f"{L16}: 256 levels cost 8.00 bits"],
    why=r"""Of :math:`D` independent values, each equally likely one of :math:`K` levels, every image has
    the probability :math:`K^{-D}`, and

    .. math::

        -\frac{\log p(x)}{D \log 2} = \frac{D \log K}{D \log 2} = \log_2 K.

    A code for one of :math:`K` equally likely levels takes :math:`\log_2 K` bits, whatever the
    size of the image. Dividing by :math:`D` makes models of images of different sizes comparable,
    dividing by :math:`\log 2` turns nats into bits; the result is the first row of each table, 8
    bits for bytes. A model that costs more has learned less than nothing. Reported in nats it
    would seem to be 5.55, better than the uniform distribution without having learned anything.
    The test takes numbers of levels up to 256 and images of several shapes.""",
    assumptions={
        "the logarithm of the probability is in nats": (
            "for bits the division by log 2 has been done already, and 8 bits would be "
            "reported as 11.5"
        ),
    },
    sentence="the uniform distribution costs log2 of the levels",
)
@given(levels=st.integers(2, 256), shape=st.tuples(*(st.integers(1, 5),) * 3), n=st.integers(1, 3))
def test_the_uniform_distribution_costs_log2_of_the_levels(
    subject: Handle, device: str, dtype: torch.dtype, levels: int, shape: tuple[int, ...], n: int
) -> None:
    dims = math.prod(shape)
    log_prob = -dims * torch.full((n,), levels, dtype=dtype, device=device).log()
    check.close(
        subject.pieces().bits_per_dimension(log_prob, dims),
        torch.full((n,), math.log2(levels), dtype=torch.float64),
        rounding(dtype, scale=8),
        f"bits per dimension of the uniform distribution over {levels} levels of {dims} dimensions",
    )


@claim(
    "theory.dequantized_bound_is_the_mean_log_density",
    r"\log \mathcal N\bigl(x + \tfrac12; \mu, \Sigma\bigr) - \tfrac1{24} \operatorname{tr} \Sigma^{-1}"
    r" = \mathbb E_{u \sim \mathcal U[0,1)^D}[\log \mathcal N(x + u; \mu, \Sigma)]",
    sources=[THEIS],
    why=r"""Uniform noise :math:`u` on levels makes a density model and a mass function comparable. For a
    Gaussian nothing need be sampled. With the precision :math:`\Lambda = \Sigma^{-1}`, :math:`v =
    u - \tfrac12` and :math:`c = x + \tfrac12 - \mu`,

    .. math::

        \mathbb{E}\bigl[(c + v)^\top \Lambda (c + v)\bigr] = c^\top \Lambda c
        + \operatorname{tr} \Lambda \, \mathbb{E}[v v^\top] = c^\top \Lambda c + \tfrac1{12} \operatorname{tr} \Lambda,

    as :math:`v` has mean zero, independent entries and the variance 1/12. Half of this, with a
    minus sign, is the statement.

    The logarithm of a Gaussian is quadratic, so the two-point Gauss-Legendre rule in each
    direction integrates it exactly: the oracle averages SciPy's log-density over :math:`2^D`
    corners. Leaving the trace out compares the model with images on which no noise was put.""",
    sentence="the bound is the mean of the log-density over the cell",
    assumptions={
        "the log-density is quadratic": (
            "for :math:`-|v|` in one dimension the mean over the cell [-½, ½) is -¼, and "
            "value and curvature at the centre know nothing of it"
        ),
        "the noise fills the cell": "for noise in [-½, ½) the centre is the level itself",
    },
)
@given(drawn=stratified([gaussians(1), gaussians(2), gaussians(3)]))
def test_the_bound_is_the_mean_of_the_log_density_over_the_cell(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Tensor]
) -> None:
    x = drawn["x"].double().cpu().numpy()
    corners = [x + np.array(u) for u in product(NODES, repeat=x.shape[1])]
    oracle = np.mean([np.atleast_1d(_scipy(drawn).logpdf(v)) for v in corners], axis=0)
    check.close(
        _bound(subject.pieces(), drawn, len(x)),
        torch.from_numpy(oracle),
        rounding(dtype, length=x.shape[1] ** 2, scale=_steepness(drawn)),
        "the bound, against the mean of the log-density over the cell,",
    )


@claim(
    "theory.dequantized_bound_is_below",
    r"\mathbb E_u[\log \mathcal N(x + u; \mu, \Sigma)] \le "
    r"\log \int_{[0,1)^D} \mathcal N(x + u; \mu, \Sigma)\, du = \log P(x) \le 0",
    sources=[THEIS],
    why="""By Jensen's inequality for the concave logarithm the mean of the logarithms is at most the
    logarithm of the mean, and the mean of the density over a cell of volume 1 is the cell's mass
    :math:`P(x)`, a probability. So a number from a density with uniform noise is an honest figure
    for levels: the discrete model :math:`P` assigns at least that much. The gap closes where the
    density is flat over the cell.

    The density itself, at the level or in the middle of its cell, is no bound. Where the Gaussian
    is narrow it exceeds the mass, and where it is narrower still it exceeds one, so that an image
    "costs" fewer bits than none. The masses of the oracle are differences of SciPy's distribution
    function, taken from the thinner tail, and for two dimensions an integral over such
    differences.""",
    sentence="the bound is below the log-mass of the cell",
    assumptions={
        "the cell has volume one": (
            "for pixels scaled to [0, 1] cells of width 1/256 have the mass density times "
            "1/256, and 8 bits per dimension must be added"
        ),
        "noise is averaged over, not left out": (
            r"for :math:`\sigma = 0.1` the density in the middle of the cell is 4 for each "
            "dimension"
        ),
    },
)
@given(drawn=stratified([gaussians(1, 0.01), gaussians(2, 0.01)]))
def test_the_bound_is_below_the_log_mass_of_the_cell(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Tensor]
) -> None:
    x = drawn["x"].double().cpu().numpy()
    mass = torch.from_numpy(np.array([_mass(drawn, cell) for cell in x]))
    check.at_most(
        _bound(subject.pieces(), drawn, len(x)),
        mass.clamp_min(1e-300).log().where(mass > 1e-9, 0.0),  # SciPy's mass is absolute
        guarded(dtype, scale=_steepness(drawn)) if dtype == torch.float32 else guarded(dtype),
        "the bound, against the logarithm of the mass of the cell,",
    )


def _mass(drawn: dict[str, Tensor], cell: np.ndarray) -> float:
    """The mass of [cell, cell + 1): an integral over the last coordinate of the first one's mass."""
    mean = drawn["mean"].double().cpu().numpy()
    covariance = drawn["covariance"].double().cpu().numpy()
    if len(cell) == 1:
        return _between(cell[0], mean[0], covariance[0, 0])
    gain = covariance[0, 1] / covariance[1, 1]
    rest = covariance[0, 0] - gain * covariance[0, 1]
    nodes, weights = np.polynomial.legendre.leggauss(200)
    v = cell[1] + (nodes + 1) / 2
    density = scipy.stats.norm.pdf(v, mean[1], math.sqrt(covariance[1, 1]))
    slices = _between(cell[0], mean[0] + gain * (v - mean[1]), rest)
    return float(np.sum(weights / 2 * density * slices))


def _between(low: float, mean: Any, variance: float) -> Any:
    """The mass that a Gaussian has between ``low`` and ``low + 1``, from the tail that is thinner."""
    a, b = (low - mean) / math.sqrt(variance), (low + 1 - mean) / math.sqrt(variance)
    a, b = np.where(a > 0, -b, a), np.where(a > 0, -a, b)
    return scipy.stats.norm.cdf(b) - scipy.stats.norm.cdf(a)


@claim(
    "theory.dequantized_fit_is_best",
    r"\bigl(\overline{x} + \tfrac12,\ \operatorname{cov}(x) + \tfrac1{12} I\bigr) = "
    r"\arg\max_{\mu, \Sigma} \sum_n \mathbb E_u[\log \mathcal N(x_n + u; \mu, \Sigma)]",
    sources=[THEIS],
    why=r"""The mean bound is the expected log-likelihood of noisy levels :math:`x_n + u`. For any data a
    Gaussian's is

    .. math::

        -\tfrac12 \log \det 2\pi\Sigma - \tfrac12 \operatorname{tr} \Sigma^{-1} \bigl( C + (m - \mu)(m - \mu)^\top \bigr)

    with their mean :math:`m` and covariance :math:`C` (divided by :math:`N`). It is highest at
    :math:`\mu = m`, and in :math:`\Lambda = \Sigma^{-1}` it is concave with the slope
    :math:`\tfrac12 (\Lambda^{-1} - C)`, so :math:`\Sigma = C`. Noise in [0, 1) moves the mean by ½
    and, being independent of the level, adds its variance 1/12 in each direction. That twelfth is
    what keeps a pixel that never changes from having variance zero and infinite density.

    The test differentiates the bound at the fit: no slope may be left in mean or covariance.""",
    assumptions={
        "the likelihood is maximised, not an unbiased estimate sought": (
            "dividing by :math:`N - 1` leaves a slope: for 4 points the variance of the "
            "levels is too large by a third"
        ),
    },
)
@given(
    x=stratified([integers_below(4, (6, 1)), integers_below(3, (5, 2)), integers_below(2, (4, 3))])
)
def test_the_fit_is_where_the_bound_has_no_slope(
    subject: Handle, device: str, dtype: torch.dtype, x: Tensor
) -> None:
    pieces = subject.pieces()
    mean, covariance = (part.detach() for part in pieces.dequantized_gaussian_fit(x, dtype))
    mean, covariance = mean.requires_grad_(), covariance.requires_grad_()
    value = pieces.dequantized_gaussian_bound(x, mean, covariance).mean()
    slopes = torch.autograd.grad(value, (mean, covariance))
    for slope, what in zip(slopes, ("mean", "covariance"), strict=True):
        check.close(
            slope,
            torch.zeros_like(slope),
            rounding(dtype, length=x.numel(), scale=12**2 * 10),  # an inverse of at most 12, twice
            f"the slope of the mean bound in the fitted {what}",
        )


@claim(
    "theory.gaussian_conditional_by_precision",
    r"\Sigma_{u \mid k} = (\Lambda_{uu})^{-1}, \qquad "
    r"\mu_{u \mid k} = \mu_u - \Lambda_{uu}^{-1} \Lambda_{uk} (v_k - \mu_k), \qquad "
    r"\Lambda = \Sigma^{-1}",
    sources=[
        "Bishop 2006, 'Pattern Recognition and Machine Learning', equations 2.73 and 2.75, against 2.81 and 2.82"
    ],
    why=r"""Write :math:`u` for the unknown and :math:`k` for the known coordinates. Up to what does not
    depend on :math:`d = v_u - \mu_u` the log-density is, with :math:`e = v_k - \mu_k`,

    .. math::

        -\tfrac12 d^\top \Lambda_{uu} d - d^\top \Lambda_{uk} e
        = -\tfrac12 (d - \bar d)^\top \Lambda_{uu} (d - \bar d) + \text{const},
        \qquad \bar d = -\Lambda_{uu}^{-1} \Lambda_{uk} e.

    So the precision of the conditional is the block :math:`\Lambda_{uu}`; the block
    :math:`\Sigma_{uu}` belongs to not knowing the others. Completing an image from its upper half
    by the Gaussian is this formula, and the uncertainty that is left does not depend on the image.

    The reference solves with the block :math:`\Sigma_{kk}` of the covariance (the Schur
    complement); the test inverts the whole matrix and takes the block of the precision, another
    way to the same numbers.""",
    assumptions={
        r":math:`\Sigma` is invertible": (
            r"for two equal coordinates :math:`\Lambda` does not exist, although the "
            "conditional does: it is the known value"
        ),
        "the distribution is Gaussian": (
            r"for a uniform point of the unit circle :math:`\Sigma = \tfrac12 I` says that "
            "one coordinate tells nothing of the other, and it tells its size"
        ),
    },
)
@given(drawn=gaussians(4, 0.5), known=st.permutations((True, True, False, False)))
def test_a_conditional_has_the_block_of_the_precision(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Tensor], known: list[bool]
) -> None:
    k = torch.tensor(known, device=device)
    values = drawn["x"].to(dtype)
    mean, covariance = subject.pieces().gaussian_conditional(
        k, values, drawn["mean"], drawn["covariance"]
    )
    full = drawn["covariance"].double().cpu()
    at, precision = k.cpu(), torch.linalg.inv(full)
    left = torch.linalg.inv(precision[~at][:, ~at])
    shift = (values - drawn["mean"]).double().cpu()[:, at]
    expected = drawn["mean"].double().cpu()[~at] - shift @ (left @ precision[~at][:, at]).mT
    scale = float(full.norm() * precision.norm() * (1 + shift.norm()) * (1 + full.norm()))
    slack = rounding(dtype, length=4, scale=scale)
    check.close(mean, expected, slack, "the mean of the unknown coordinates given the known ones")
    check.close(covariance, left, slack, "the covariance of the unknown ones given the known ones")
