r"""Unusual and right ways to compute the discretised mixture of logistics."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.special
import torch
from torch import Tensor
from torch.nn.functional import softplus

from spec_tests.registry import control


@control("discretized_logistic_mixture")
def by_hyperbolic_functions(
    x: Tensor, log_weights: Tensor, means: Tensor, log_scales: Tensor, levels: int
) -> Tensor:
    """The mass of an inner bin as sinh(d)/(cosh(d) + cosh(z)), all four exponentials in log space."""
    k, half = x[:, None], 1 / (levels - 1)
    precision = torch.exp(-log_scales)
    z, d = (2 * k.to(means) / (levels - 1) - 1 - means) * precision, half * precision
    below = torch.logsumexp(torch.stack([d, -d, z, -z]), 0)
    inner = d + (-torch.expm1(-2 * d)).log() - below
    inner = torch.where(k == 0, -softplus(-z - d), inner)
    inner = torch.where(k == levels - 1, -softplus(z - d), inner)
    weights = log_weights - log_weights.logsumexp(-1, keepdim=True)
    return torch.logsumexp(weights + inner, -1)


@control("discretized_logistic_mixture")
def component_by_component(
    x: Tensor, log_weights: Tensor, means: Tensor, log_scales: Tensor, levels: int
) -> Tensor:
    """Inner and outer levels apart, a component after the other joined by ``logaddexp``; the inner
    mass from the tail that is thinner, by a difference of log-sigmoids."""
    found = []
    for item, level in enumerate(x.tolist()):
        total = None
        for weight, mean, log_scale in zip(
            log_weights[item], means[item], log_scales[item], strict=True
        ):
            scale = log_scale.exp()
            high = (2 * level + 1) / (levels - 1) - 1
            low = (2 * level - 1) / (levels - 1) - 1
            if level == 0:
                mass = -softplus((mean - high) / scale)
            elif level == levels - 1:
                mass = -softplus((low - mean) / scale)
            else:
                width = (high - low) / scale
                grown = torch.log(-torch.expm1(-width))
                mass = grown - softplus((mean - high) / scale) - softplus((low - mean) / scale)
            joint = weight + mass
            total = joint if total is None else torch.logaddexp(total, joint)
        assert total is not None
        found.append(total - log_weights[item].logsumexp(0))
    return torch.stack(found)


@control("discretized_logistic_mixture", arrays="numpy")
def by_scipy_from_the_thinner_tail(
    x: Any, log_weights: Any, means: Any, log_scales: Any, levels: int
) -> Any:
    """NumPy arrays; the difference of the two log-distribution functions by log1p."""
    k, half = x[:, None], 1 / (levels - 1)
    wide = log_scales.astype(np.float64)
    apart, precision = 2 * k * half - 1 - means.astype(np.float64), np.exp(-wide)
    upper, lower = (apart + half) * precision, (apart - half) * precision
    flip = lower > 0
    high, low = np.where(flip, -lower, upper), np.where(flip, -upper, lower)
    gain = scipy.special.log_expit(high), scipy.special.log_expit(low)
    inner = gain[0] + np.log(-np.expm1(np.minimum(gain[1] - gain[0], -math.ulp(0.0))))
    close = upper - lower < 1e-3  # the two differ by rounding: the bin's width is known better
    product = scipy.special.log_expit(upper) + scipy.special.log_expit(-lower)
    inner = np.where(close, product + np.log(-np.expm1(lower - upper)), inner)
    log_mass = np.where(k == 0, scipy.special.log_expit(upper), inner)
    log_mass = np.where(k == levels - 1, scipy.special.log_expit(-lower), log_mass)
    weights = scipy.special.log_softmax(log_weights.astype(np.float64), -1)
    return scipy.special.logsumexp(weights + log_mass, axis=-1).astype(means.dtype)
