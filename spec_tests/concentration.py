r"""Bounds that hold at every sample size, for claims in which sampling is the point.

A test whose false-alarm probability must stay below one in a thousand million cannot trust a limit
theorem that far into the tail; these inequalities need no limit.
"""

from __future__ import annotations

import math

import scipy.stats
from torch import Tensor

from spec_tests.check import Violation

__all__ = ["FALSE_ALARM", "draws_follow", "freedman", "likelihood_ratio", "no_closer_than_chance"]

FALSE_ALARM = 1e-12  # of one test; a claim makes at most a few hundred, which leaves it below 1e-9


def likelihood_ratio(counts: Tensor, log_p: Tensor) -> tuple[float, float]:
    r"""The G statistic, halved, and a bound on the logarithm of its tail probability.

    .. math::

        t = \sum_x n_x \log \frac{n_x / n}{p_x}, \qquad
        \Pr[t \ge s] \le e^{-s} \Bigl(\frac{e s}{k - 1}\Bigr)^{k - 1} \quad (s > k - 1)

    for ``n`` independent draws over ``k`` cells (Agrawal, *Finite-Sample Concentration of the
    Multinomial in Relative Entropy*, 2020). A draw where ``p = 0`` makes ``t`` infinite.
    """
    n, drawn = counts.sum(), counts > 0
    t = float((counts * ((counts / n).log() - log_p))[drawn].sum())
    free = max(int((log_p > -math.inf).sum()) - 1, 1)
    if t <= free:
        return t, 0.0
    return t, -t + free * (1 + math.log(t / free)) if math.isfinite(t) else -math.inf


def draws_follow(counts: Tensor, log_p: Tensor, names: list[str], what: str) -> None:
    """The counts could be independent draws from ``exp(log_p)``; else names the worst cell."""
    t, log_bound = likelihood_ratio(counts, log_p)
    if log_bound > math.log(FALSE_ALARM):
        return
    n = float(counts.sum())
    expected = n * log_p.exp()
    worst = int(((counts - expected).abs() / (expected + 1e-9).sqrt()).argmax())
    raise Violation(
        f"{what}: of {n:.0f} draws {int(counts[worst])} are {names[worst]}, where its probability "
        f"{float(log_p[worst].exp()):.4g} makes {expected[worst]:.1f} expected; draws from this "
        f"density deviate as much over all cells (G = {2 * t:.4g}, {len(counts)} cells) with "
        f"probability below {FALSE_ALARM:g}"
    )


def freedman(total: float, variance: float, steps: int) -> float:
    r"""A bound on the probability that a martingale strays by ``total`` or more, either way.

    .. math::

        \Pr\bigl[|S| \ge s,\ V \le v\bigr] \le 2 \exp \frac{-s^2}{2 (v + s/3)}

    for increments of size at most 1 and ``V`` the sum of their conditional variances (Freedman,
    *On Tail Probabilities for Martingales*, 1975); ``variance`` is rounded up to a power of 1.2 and
    the bound multiplied by the number of powers up to ``steps``, so that V need not be known before.
    """
    base = 1.2
    power = max(math.ceil(math.log(max(variance, 1.0), base)), 0)
    peels = math.ceil(math.log(max(steps, 2), base)) + 1
    s = abs(total)
    return min(1.0, 2 * peels * math.exp(-(s**2) / (2 * (base**power + s / 3)))) if s else 1.0


def no_closer_than_chance(pairs: Tensor, alarm: float, what: str) -> None:
    r"""The two draws of each pair ``(P, 2, D)`` could be independent of one another.

    .. math::

        d(a, b) + d(a', b') < d(a, b') + d(a', b)

    If all four are independent draws from one density, whatever it is, exchanging b and b' changes
    nothing, so that the inequality and its opposite are equally likely: among comparisons that do
    not tie the number that hold is binomial with probability a half.
    """
    spread = pairs.flatten(0, 1).std(0).clamp_min(1e-300)  # an exchange leaves it as it is
    half = len(pairs) // 2
    (a, b), (c, d) = (part.unbind(1) for part in (pairs[:half], pairs[half : 2 * half]))
    within = (((a - b).abs() + (c - d).abs()) / spread).sum(1)
    across = (((a - d).abs() + (c - b).abs()) / spread).sum(1)
    closer, trials = int((within < across).sum()), int((within != across).sum())
    if scipy.stats.binom.sf(closer - 1, trials, 0.5) < alarm:
        raise Violation(
            f"{what} are closer to each other than to those of another pair in {closer} of "
            f"{trials} comparisons; were they independent it would be half of them, and so many "
            f"with probability below {alarm:g}"
        )
