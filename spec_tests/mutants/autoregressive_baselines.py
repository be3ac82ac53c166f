r"""Classic mistakes of baselines: in units, in the noise on levels, in what is conditioned on."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from spec_tests.contracts.theory import Pieces
from spec_tests.registry import mutant

BOUND = "theory.dequantized_bound_is_the_mean_log_density"
BELOW = "theory.dequantized_bound_is_below"
BEST = "theory.dequantized_fit_is_best"


@mutant("theory", rejected_by=["theory.uniform_costs_log2_levels"])
def nats_per_dimension(pieces: Pieces) -> Pieces:
    """Natural logarithms reported as bits: every model looks better by a factor of 0.69."""
    pieces.bits_per_dimension = lambda log_prob, dims: -log_prob / dims  # wrong: / log 2
    return pieces


@mutant("theory", rejected_by=["theory.uniform_costs_log2_levels"])
def nats_times_log_two(pieces: Pieces) -> Pieces:
    """Multiplies by log 2 where the change from nats to bits divides by it."""
    # wrong: / log 2
    pieces.bits_per_dimension = lambda log_prob, dims: -log_prob * math.log(2) / dims
    return pieces


def _log_normal(v: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    found: Tensor = torch.distributions.MultivariateNormal(
        mean, covariance, validate_args=False
    ).log_prob(v)
    return found


@mutant("theory", rejected_by=[BELOW, BOUND])
def density_in_the_middle_of_the_cell(pieces: Pieces) -> Pieces:
    """The density at x + 1/2 taken for the mass of the cell: a narrow Gaussian 'costs' fewer bits than
    the levels have, even fewer than none."""
    # wrong: less a 24th of the trace of the precision
    pieces.dequantized_gaussian_bound = lambda x, mean, covariance: _log_normal(
        x.to(mean) + 0.5, mean, covariance
    )
    return pieces


@mutant("theory", rejected_by=[BOUND])
def noise_around_the_level(pieces: Pieces) -> Pieces:
    """Noise in [-1/2, 1/2) for a fit with noise in [0, 1): all cells are shifted by half a level."""
    pieces.dequantized_gaussian_bound = lambda x, mean, covariance: (
        _log_normal(x.to(mean), mean, covariance)  # wrong: x + 1/2
        - torch.linalg.inv(covariance).diagonal().sum() / 24
    )
    return pieces


@mutant("theory", rejected_by=[BOUND])
def noise_of_variance_one(pieces: Pieces) -> Pieces:
    """The noise's variance taken to be 1 and not 1/12, so that the bound is needlessly low."""
    pieces.dequantized_gaussian_bound = lambda x, mean, covariance: (
        _log_normal(x.to(mean) + 0.5, mean, covariance)
        - torch.linalg.inv(covariance).diagonal().sum() / 2  # wrong: / 24
    )
    return pieces


def _fit(
    x: Tensor, dtype: torch.dtype, noise: float, shift: float, spare: int
) -> tuple[Tensor, Tensor]:
    values = x.to(dtype)
    centred = values - values.mean(0)
    eye = torch.eye(x.shape[1], dtype=dtype, device=x.device)
    return values.mean(0) + shift, centred.mT @ centred / (len(x) - spare) + noise * eye


@mutant("theory", rejected_by=[BEST])
def fit_without_the_noises_variance(pieces: Pieces) -> Pieces:
    """The covariance of the levels alone, with a little on the diagonal so that it can be inverted."""
    # wrong: noise 1/12
    pieces.dequantized_gaussian_fit = lambda x, dtype=torch.float64: _fit(x, dtype, 1e-3, 0.5, 0)
    return pieces


@mutant("theory", rejected_by=[BEST])
def fit_without_the_noises_mean(pieces: Pieces) -> Pieces:
    """The mean of the levels, although level k is spread over [k, k + 1)."""
    # wrong: shift 1/2
    pieces.dequantized_gaussian_fit = lambda x, dtype=torch.float64: _fit(x, dtype, 1 / 12, 0.0, 0)
    return pieces


@mutant("theory", rejected_by=[BEST])
def fit_with_the_unbiased_covariance(pieces: Pieces) -> Pieces:
    """Divides by N - 1: unbiased, and not what maximises the likelihood."""
    # wrong: spare 0
    pieces.dequantized_gaussian_fit = lambda x, dtype=torch.float64: _fit(x, dtype, 1 / 12, 0.5, 1)
    return pieces


@mutant("theory", rejected_by=["theory.gaussian_conditional_by_precision"])
def completion_ignores_the_correlation(pieces: Pieces) -> Pieces:
    """The right mean, with the covariance that the unknown pixels have when nothing is known."""
    right = pieces.gaussian_conditional
    pieces.gaussian_conditional = lambda known, values, mean, covariance: (
        right(known, values, mean, covariance)[0],
        covariance[~known][:, ~known],  # wrong: right(...)[1]
    )
    return pieces


@mutant("theory", rejected_by=["theory.gaussian_conditional_by_precision"])
def completion_of_uncentred_values(pieces: Pieces) -> Pieces:
    """The known values weighed as they are, and not as they differ from their mean."""
    right = pieces.gaussian_conditional
    pieces.gaussian_conditional = lambda known, values, mean, covariance: right(
        known,
        values + mean,  # wrong: values
        mean,
        covariance,
    )
    return pieces
