r"""Mistakes against the conventions that every contract shares, each on one simple function."""

from __future__ import annotations

import torch
from torch import Tensor

from spec_tests.registry import mutant


def _kl(mean: Tensor, log_var: Tensor) -> Tensor:
    return 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(-1)


@mutant("gaussian_kl", rejected_by=["gaussian_kl.float32_agrees_with_float64"])
def divergence_wrong_in_single_precision_only(mean: Tensor, log_var: Tensor) -> Tensor:
    """A fast path for float32, which float64 tests never enter, forgets the constant."""
    if mean.dtype == torch.float32:
        return 0.5 * (mean.square() + log_var.exp() - log_var).sum(-1)  # wrong: - 1 is missing
    return _kl(mean, log_var)


@mutant("gaussian_kl", rejected_by=["gaussian_kl.float32_agrees_with_float64"])
def divergence_through_half_precision(mean: Tensor, log_var: Tensor) -> Tensor:
    """An autocast left on rounds float32 inputs to eight bits."""
    if mean.dtype == torch.float32:
        return _kl(mean.bfloat16(), log_var.bfloat16()).float()  # wrong: _kl(mean, log_var)
    return _kl(mean, log_var)


@mutant("gaussian_kl", rejected_by=["gaussian_kl.leaves_global_state_alone"])
def divergence_that_seeds_for_reproducibility(mean: Tensor, log_var: Tensor) -> Tensor:
    """A seed set 'for reproducibility' makes every later draw of the program the same."""
    torch.manual_seed(0)  # wrong: no seeding here
    return _kl(mean, log_var)


@mutant("gaussian_kl", rejected_by=["gaussian_kl.leaves_global_state_alone"])
def divergence_that_sets_the_default_dtype(mean: Tensor, log_var: Tensor) -> Tensor:
    """The default dtype is set for a constant and never set back."""
    torch.set_default_dtype(mean.dtype)  # wrong: dtype=mean.dtype where it is needed
    return _kl(mean, log_var) + torch.zeros(len(mean), device=mean.device)


@mutant("gaussian_kl", rejected_by=["gaussian_kl.leaves_global_state_alone"])
def divergence_that_turns_gradients_off(mean: Tensor, log_var: Tensor) -> Tensor:
    """Gradients are turned off for a check of the inputs and never turned on again."""
    torch.set_grad_enabled(False)  # wrong: a block `with torch.no_grad()`
    return _kl(mean, log_var)


@mutant("gaussian_kl", rejected_by=["gaussian_kl.same_value_under_autograd"])
def divergence_with_free_bits_in_training(mean: Tensor, log_var: Tensor) -> Tensor:
    """A training trick (at least one nat) is applied whenever a gradient is asked for."""
    divergence = _kl(mean, log_var)
    return divergence.clamp_min(1.0) if mean.requires_grad else divergence  # wrong: divergence


@mutant(
    "gaussian_kl",
    rejected_by=["gaussian_kl.names_its_devices", "gaussian_kl.follows_its_inputs_device"],
)
def divergence_with_a_constant_from_the_cpu(mean: Tensor, log_var: Tensor) -> Tensor:
    """A tensor is created without saying where, and is on the CPU while the inputs are elsewhere."""
    # wrong: device=mean.device is missing
    return _kl(mean, log_var) + torch.zeros(len(mean), dtype=mean.dtype)
