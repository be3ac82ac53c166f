r"""Unusual but right ways to compute the importance weighted bound."""

from __future__ import annotations

import math
from typing import Any

import scipy.special
import torch
from torch import Tensor

from spec_tests.registry import control


@control("iwae_bound")
def bound_sample_by_sample(log_weights: Tensor) -> Tensor:
    """A running ``logaddexp``: no tensor of all weights is ever held."""
    total = log_weights[0]
    for row in log_weights[1:]:
        total = torch.logaddexp(total, row)
    return total - math.log(len(log_weights))


@control("iwae_bound")
def bound_from_the_normalised_weights(log_weights: Tensor) -> Tensor:
    """A log-weight less its normalised one is the log of the sum, whichever sample is taken."""
    shares = log_weights.log_softmax(0)
    best = shares.detach().argmax(0, keepdim=True)
    total = log_weights.gather(0, best) - shares.gather(0, best)
    return total[0] - math.log(len(log_weights))


@control("iwae_bound")
def bound_with_the_maximum_taken_out_by_hand(log_weights: Tensor) -> Tensor:
    """The maximum is detached on both sides, so that its gradient cancels."""
    top = log_weights.detach().amax(0)
    return (log_weights - top).exp().mean(0).log() + top


@control("iwae_bound", arrays="numpy")
def bound_by_scipy(log_weights: Any) -> Any:
    """SciPy on NumPy arrays, with 1/S as the factor of every weight."""
    return scipy.special.logsumexp(log_weights, axis=0, b=1 / len(log_weights))


@control("iwae_bound")
def bound_item_by_item(log_weights: Tensor) -> Tensor:
    """A loop over the items, each of its samples in ascending order."""
    columns = [column.sort().values.logsumexp(0) for column in log_weights.T]
    return torch.stack(columns) - math.log(len(log_weights))
