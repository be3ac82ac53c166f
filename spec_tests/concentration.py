r"""Bounds that hold at every sample size, for claims in which sampling is the point.

A test whose false-alarm probability must stay below one in a thousand million cannot trust a limit
theorem that far into the tail; these inequalities need no limit.
"""

from __future__ import annotations

import math

from torch import Tensor

from spec_tests.check import Violation

__all__ = ["FALSE_ALARM", "draws_follow", "freedman", "likelihood_ratio"]

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
