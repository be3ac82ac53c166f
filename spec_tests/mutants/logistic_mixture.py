r"""Classic mistakes of discretised logistic mixtures: in the bins, the tails and the logarithms."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from spec_tests.registry import mutant

PREFIX = "discretized_logistic_mixture"
LogMass = Callable[[Tensor, Tensor, Tensor, int], Tensor]


def right_log_mass(x: Tensor, means: Tensor, log_scales: Tensor, levels: int) -> Tensor:
    """The logarithm of each component's mass in the bin of ``x (N,1)``."""
    half = 1 / (levels - 1)
    apart, precision = 2 * half * x.to(means) - 1 - means, (-log_scales).exp()
    below, above = logsigmoid((apart + half) * precision), logsigmoid((half - apart) * precision)
    inside = (-torch.expm1(-2 * half * precision)).log()
    return torch.where(x == 0, below, torch.where(x == levels - 1, above, below + above + inside))


def mixed(log_weights: Tensor, log_mass: Tensor) -> Tensor:
    return (log_weights.log_softmax(-1) + log_mass).logsumexp(-1)


@mutant(PREFIX, rejected_by=[f"{PREFIX}.edges_take_tails", f"{PREFIX}.normalised"])
def outer_bins_end_at_the_border(
    x: Tensor, log_weights: Tensor, means: Tensor, log_scales: Tensor, levels: int
) -> Tensor:
    """The first and last bin cut off like all others: what lies beyond belongs to no level."""
    half = 1 / (levels - 1)
    apart, precision = 2 * half * x[:, None].to(means) - 1 - means, (-log_scales).exp()
    below, above = logsigmoid((apart + half) * precision), logsigmoid((half - apart) * precision)
    inside = below + above + (-torch.expm1(-2 * half * precision)).log()
    return mixed(log_weights, inside)  # wrong: below for 0, above for levels - 1


@mutant(PREFIX, rejected_by=[f"{PREFIX}.edges_take_tails", f"{PREFIX}.normalised"])
def tails_of_bytes_only(
    x: Tensor, log_weights: Tensor, means: Tensor, log_scales: Tensor, levels: int
) -> Tensor:
    """The last level taken to be 255 whatever ``levels`` says, as in code that was copied."""
    half = 1 / (levels - 1)
    k = x[:, None]
    apart, precision = 2 * half * k.to(means) - 1 - means, (-log_scales).exp()
    below, above = logsigmoid((apart + half) * precision), logsigmoid((half - apart) * precision)
    inside = below + above + (-torch.expm1(-2 * half * precision)).log()
    rest = torch.where(k == 255, above, inside)  # wrong: levels - 1
    return mixed(log_weights, torch.where(k == 0, below, rest))


@mutant(PREFIX, rejected_by=[f"{PREFIX}.mixture_weights_shift_invariant", f"{PREFIX}.normalised"])
def weights_taken_as_normalised(
    x: Tensor, log_weights: Tensor, means: Tensor, log_scales: Tensor, levels: int
) -> Tensor:
    """The network's numbers added as if they were log-probabilities: the model can buy likelihood by
    raising all of them."""
    log_mass = right_log_mass(x[:, None], means, log_scales, levels)
    return (log_weights + log_mass).logsumexp(-1)  # wrong: log_weights.log_softmax(-1)


@mutant(PREFIX, rejected_by=[f"{PREFIX}.normalised", f"{PREFIX}.matches_cdf_differences"])
def bins_of_width_two_over_levels(
    x: Tensor, log_weights: Tensor, means: Tensor, log_scales: Tensor, levels: int
) -> Tensor:
    """Bins of width 2/K around levels that are 2/(K-1) apart: there are gaps between them."""
    half, k = 1 / levels, x[:, None]  # wrong: 1 / (levels - 1)
    apart = 2 * k.to(means) / (levels - 1) - 1 - means
    precision = (-log_scales).exp()
    below, above = logsigmoid((apart + half) * precision), logsigmoid((half - apart) * precision)
    inside = below + above + (-torch.expm1(-2 * half * precision)).log()
    return mixed(
        log_weights, torch.where(k == 0, below, torch.where(k == levels - 1, above, inside))
    )


@mutant(PREFIX, rejected_by=[f"{PREFIX}.matches_cdf_differences"])
def levels_spread_over_zero_to_one(
    x: Tensor, log_weights: Tensor, means: Tensor, log_scales: Tensor, levels: int
) -> Tensor:
    """Levels at k/(K-1): normalised, and centred elsewhere than the means are measured."""
    moved, finer = 2 * means - 1, log_scales + math.log(2)  # wrong: means, log_scales
    return mixed(log_weights, right_log_mass(x[:, None], moved, finer, levels))


@mutant(PREFIX, rejected_by=[f"{PREFIX}.normalised"])
def levels_placed_in_single_precision(
    x: Tensor, log_weights: Tensor, means: Tensor, log_scales: Tensor, levels: int
) -> Tensor:
    """Dividing integers gives torch's default dtype: in float64, bins are off by 1e-8, which is many
    scales of a narrow component."""
    half, k = 1 / (levels - 1), x[:, None]
    place = 2 * k / (levels - 1)  # wrong: k.to(means)
    apart, precision = place.to(means) - 1 - means, (-log_scales).exp()
    below, above = logsigmoid((apart + half) * precision), logsigmoid((half - apart) * precision)
    inside = below + above + (-torch.expm1(-2 * half * precision)).log()
    return mixed(
        log_weights, torch.where(k == 0, below, torch.where(k == levels - 1, above, inside))
    )


@mutant(PREFIX, rejected_by=[f"{PREFIX}.matches_cdf_differences"])
def log_variance_in_place_of_log_scale(
    x: Tensor, log_weights: Tensor, means: Tensor, log_scales: Tensor, levels: int
) -> Tensor:
    """exp(-s/2) as the precision, the habit of Gaussian code."""
    halved = log_scales / 2  # wrong: log_scales
    return mixed(log_weights, right_log_mass(x[:, None], means, halved, levels))


@mutant(
    PREFIX,
    rejected_by=[f"{PREFIX}.matches_cdf_differences", f"{PREFIX}.limit_of_small_scale"],
)
def density_where_the_difference_is_small(
    x: Tensor, log_weights: Tensor, means: Tensor, log_scales: Tensor, levels: int
) -> Tensor:
    """PixelCNN++'s published way: log-scales no lower than -7, and below a mass of 1e-5 the density
    in the middle times the width, nats away from the mass of a narrow component."""
    half, k = 1 / (levels - 1), x[:, None]
    log_scales = log_scales.clamp_min(-7.0)  # wrong: no floor
    apart, precision = 2 * half * k.to(means) - 1 - means, (-log_scales).exp()
    plus, minus, middle = ((apart + h) * precision for h in (half, -half, 0.0))
    delta = plus.sigmoid() - minus.sigmoid()
    density = middle - log_scales - 2 * torch.nn.functional.softplus(middle) + math.log(2 * half)
    inside = torch.where(delta > 1e-5, delta.clamp_min(1e-12).log(), density)  # wrong: the mass
    return mixed(
        log_weights,
        torch.where(
            k == 0, logsigmoid(plus), torch.where(k == levels - 1, logsigmoid(-minus), inside)
        ),
    )


def _difference(x: Tensor, means: Tensor, log_scales: Tensor, levels: int) -> Tensor:
    """The mass as a difference of sigmoids."""
    half = 1 / (levels - 1)
    apart, precision = 2 * half * x.to(means) - 1 - means, (-log_scales).exp()
    plus, minus = ((apart + half) * precision).sigmoid(), ((apart - half) * precision).sigmoid()
    upper = torch.where(x == levels - 1, torch.ones_like(plus), plus)
    return upper - torch.where(x == 0, torch.zeros_like(minus), minus)


@mutant(
    PREFIX,
    rejected_by=[f"{PREFIX}.limit_of_small_scale", f"{PREFIX}.far_gradient_pulls_the_mean"],
)
def floor_under_the_mass(
    x: Tensor, log_weights: Tensor, means: Tensor, log_scales: Tensor, levels: int
) -> Tensor:
    """log(max(p, 1e-12)): no outlier costs more than 28 nats, and none has a gradient."""
    mass = _difference(x[:, None], means, log_scales, levels)
    return mixed(log_weights, mass.clamp_min(1e-12).log())  # wrong: log-sigmoids, no floor


@mutant(PREFIX, rejected_by=[f"{PREFIX}.finite_everywhere", f"{PREFIX}.finite_at_extremes"])
def logarithm_of_a_difference(
    x: Tensor, log_weights: Tensor, means: Tensor, log_scales: Tensor, levels: int
) -> Tensor:
    """The formula as it is written: minus infinity as soon as both sigmoids round to one number."""
    mass = _difference(x[:, None], means, log_scales, levels)
    return mixed(log_weights, mass.log())  # wrong: computed as a logarithm


@mutant(PREFIX, rejected_by=[f"{PREFIX}.finite_everywhere"])
def infinities_hidden_by_where(
    x: Tensor, log_weights: Tensor, means: Tensor, log_scales: Tensor, levels: int
) -> Tensor:
    """``where`` picks the stable branch, but the other one's infinite slope times zero is NaN."""
    k = x[:, None]
    naive = _difference(k, means, log_scales, levels)
    stable = right_log_mass(k, means, log_scales, levels)
    return mixed(log_weights, torch.where(naive > 1e-3, naive.log(), stable))  # wrong: stable alone


@mutant(PREFIX, rejected_by=[f"{PREFIX}.normalised", f"{PREFIX}.matches_cdf_differences"])
def mean_of_logarithms(
    x: Tensor, log_weights: Tensor, means: Tensor, log_scales: Tensor, levels: int
) -> Tensor:
    """The weighted mean of the components' log-probabilities: by Jensen never more than the log of
    the mean, and no distribution."""
    log_mass = right_log_mass(x[:, None], means, log_scales, levels)
    return (log_weights.softmax(-1) * log_mass).sum(-1)  # wrong: log of the mean


@mutant(PREFIX, rejected_by=[f"{PREFIX}.matches_cdf_differences"])
def gaussian_tails(
    x: Tensor, log_weights: Tensor, means: Tensor, log_scales: Tensor, levels: int
) -> Tensor:
    """Gaussian components under the name of logistic ones, with thinner tails."""
    half, k = 1 / (levels - 1), x[:, None]
    apart, precision = 2 * half * k.to(means) - 1 - means, (-log_scales).exp()
    below = torch.special.log_ndtr((apart + half) * precision)  # wrong: logsigmoid
    under = torch.special.log_ndtr((apart - half) * precision)  # wrong: logsigmoid
    above = torch.special.log_ndtr((half - apart) * precision)  # wrong: logsigmoid
    inside = (below.exp() - under.exp()).clamp_min(1e-300).log()
    return mixed(
        log_weights, torch.where(k == 0, below, torch.where(k == levels - 1, above, inside))
    )


@mutant(PREFIX, rejected_by=[f"{PREFIX}.gradient_is_derivative"])
def weights_get_no_gradient(
    x: Tensor, log_weights: Tensor, means: Tensor, log_scales: Tensor, levels: int
) -> Tensor:
    """The mixture's weights as constants: the value is right and they are never trained."""
    log_mass = right_log_mass(x[:, None], means, log_scales, levels)
    return mixed(log_weights.detach(), log_mass)  # wrong: no detach
