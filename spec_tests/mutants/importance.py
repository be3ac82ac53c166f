r"""Classic mistakes in the importance weighted bound."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from spec_tests.registry import mutant

_VALUE, _SLOPE = "iwae_bound.is_log_mean_exp", "iwae_bound.gradient"


def _bound(log_weights: Tensor) -> Tensor:
    return log_weights.logsumexp(0) - math.log(len(log_weights))


@mutant("iwae_bound", rejected_by=[_VALUE, _SLOPE, "iwae_bound.monotone"])
def bound_averaged_after_the_logarithm(log_weights: Tensor) -> Tensor:
    """The mean of the log-weights is the evidence lower bound again, however many samples are paid."""
    return log_weights.mean(0)  # wrong: .logsumexp(0) - log S


@mutant("iwae_bound", rejected_by=[_VALUE, "iwae_bound.one_sample_is_elbo"])
def bound_without_log_of_the_sample_count(log_weights: Tensor) -> Tensor:
    """The weights are summed and not averaged: log S too much, which beats every other model."""
    return log_weights.logsumexp(0)  # wrong: less log S


@mutant("iwae_bound", rejected_by=["iwae_bound.stable", "iwae_bound.finite_at_extremes"])
def bound_that_exponentiates_first(log_weights: Tensor) -> Tensor:
    """The formula as written: exp underflows to 0, and the logarithm of it is minus infinity."""
    return log_weights.exp().mean(0).log()  # wrong: .logsumexp(0) - log S


@mutant("iwae_bound", rejected_by=["iwae_bound.stable", "iwae_bound.shift_equivariant"])
def bound_with_an_epsilon_inside_the_logarithm(log_weights: Tensor) -> Tensor:
    """1e-8 under the logarithm keeps it finite and replaces every small weight."""
    top = log_weights.detach().clamp_min(0).amax(0)  # wrong: no clamp at 0
    return ((log_weights - top).exp().mean(0) + 1e-8).log() + top


@mutant("iwae_bound", rejected_by=[_VALUE, _SLOPE])
def bound_by_the_best_sample(log_weights: Tensor) -> Tensor:
    """The largest weight stands for the mean: no bound, and one sample alone is trained."""
    return log_weights.amax(0)  # wrong: .logsumexp(0) - log S


@mutant("iwae_bound", rejected_by=["iwae_bound.one_sample_is_elbo", "iwae_bound.shift_equivariant"])
def bound_that_forgets_to_add_the_maximum(log_weights: Tensor) -> Tensor:
    """The maximum is taken out for stability and never put back."""
    return _bound(log_weights - log_weights.amax(0))  # wrong: + the maximum


@mutant("iwae_bound", rejected_by=[_SLOPE, "iwae_bound.gradient_is_derivative"])
def bound_with_the_maximum_detached_once(log_weights: Tensor) -> Tensor:
    """The maximum is detached where it is added and not where it is taken out: the best sample loses
    its gradient."""
    top = log_weights.amax(0)
    return _bound(log_weights - top) + top.detach()  # wrong: detach both or none


@mutant("iwae_bound", rejected_by=["iwae_bound.stable"])
def bound_relative_to_the_maximum_of_the_batch(log_weights: Tensor) -> Tensor:
    """One maximum for all items: an item far below the best one underflows."""
    top = log_weights.max()  # wrong: .amax(0)
    return (log_weights - top).exp().mean(0).log() + top


@mutant("iwae_bound", rejected_by=[_SLOPE, "iwae_bound.gradient_is_derivative"])
def bound_with_the_gradient_of_the_elbo(log_weights: Tensor) -> Tensor:
    """Reported is the tighter bound, trained is the mean of the log-weights."""
    elbo = log_weights.mean(0)
    return elbo + (_bound(log_weights) - elbo).detach()  # wrong: _bound(log_weights)


@mutant("iwae_bound", rejected_by=["iwae_bound.item_by_item", _VALUE])
def bound_over_samples_and_items(log_weights: Tensor) -> Tensor:
    """The mean weight is taken over the batch as well, so that the likeliest image is all that counts."""
    # wrong: over samples alone
    return (log_weights.flatten().logsumexp(0) - math.log(log_weights.numel())).expand(
        log_weights.shape[1]
    )


@mutant("iwae_bound", rejected_by=["iwae_bound.leaves_inputs_alone"])
def bound_that_shifts_its_argument_in_place(log_weights: Tensor) -> Tensor:
    """``-=`` on the log-weights saves memory and changes them for the caller."""
    with torch.no_grad():
        top = log_weights.amax(0)
        log_weights -= top  # wrong: a new tensor
    return _bound(log_weights) + top


@mutant("iwae_bound", rejected_by=[_VALUE])
def bound_in_single_precision(log_weights: Tensor) -> Tensor:
    """A cast to float32 inside loses half the digits of whoever computes in float64."""
    return _bound(log_weights.float()).to(log_weights)  # wrong: the caller's dtype


@mutant("iwae_bound", rejected_by=[_VALUE, "iwae_bound.one_sample_is_elbo"])
def bound_that_divides_by_one_too_many(log_weights: Tensor) -> Tensor:
    """Divided by S + 1, which counts the maximum that was taken out as a sample of its own."""
    return log_weights.logsumexp(0) - math.log(len(log_weights) + 1)  # wrong: log S


@mutant("iwae_bound", rejected_by=["iwae_bound.same_value_under_autograd", _SLOPE])
def bound_that_is_another_in_training(log_weights: Tensor) -> Tensor:
    """Where a gradient is asked for the mean of the log-weights is returned: the loss that is logged
    in training is not the bound that is reported."""
    # wrong: _bound in both cases
    return log_weights.mean(0) if log_weights.requires_grad else _bound(log_weights)


@mutant("iwae_bound", rejected_by=["iwae_bound.leaves_global_state_alone"])
def bound_that_seeds_the_global_generator(log_weights: Tensor) -> Tensor:
    """``manual_seed`` 'for reproducibility' inside the bound: every later batch draws the same noise."""
    torch.manual_seed(0)  # wrong: no seeding
    return _bound(log_weights)


@mutant("iwae_bound", rejected_by=["iwae_bound.float32_agrees_with_float64"])
def bound_in_mixed_precision(log_weights: Tensor) -> Tensor:
    """What is given in float32 is summed in float16, whose three digits do not tell large weights apart."""
    # wrong: log_weights.dtype
    low = torch.float16 if log_weights.dtype == torch.float32 else log_weights.dtype
    return _bound(log_weights.to(low)).to(log_weights.dtype)
