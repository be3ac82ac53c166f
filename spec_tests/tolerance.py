r"""How far a right implementation may stray: every tolerance of the suite is derived here.

.. math::

    \text{rounding}(n, s) = C\,\varepsilon\,n\,s, \qquad
    \text{guarded}(s) = \max\bigl(10^{-5}\max(1, s),\ \text{rounding}(n, s)\bigr)

A sum of :math:`n` terms of size at most :math:`s`, computed in any order and by any backward-stable
algebra, errs by at most a small multiple of :math:`n\,\varepsilon\,s` (Higham, *Accuracy and
Stability of Numerical Algorithms*, §4.2); :math:`C = 256` covers a dozen such steps after another.
``contracts.md`` lets a numerical guard move a value by 1e-5, absolute or relative, whichever is
larger; ``guarded`` is for the values at which a guard has a place (under a logarithm or a root, or
where a solver iterates), ``rounding`` for all others.
"""

from __future__ import annotations

import torch

__all__ = ["GUARD", "eps", "guarded", "rounding"]

GUARD = 1e-5
_STEPS = 256


def eps(dtype: torch.dtype) -> float:
    """The distance from 1 to the next larger number of ``dtype``."""
    return float(torch.finfo(dtype).eps)


def rounding(dtype: torch.dtype, *, length: int = 1, scale: float = 1.0) -> float:
    """Bound for exact algebra: ``length`` additions of terms no larger than ``scale``."""
    return _STEPS * eps(dtype) * max(length, 1) * max(float(scale), 1e-300)


def guarded(dtype: torch.dtype, *, length: int = 1, scale: float = 1.0) -> float:
    """Bound where a numerical guard or an iterative solver is legal; ``scale`` is the value's size."""
    size = max(float(scale), 1.0)
    return max(GUARD * size, rounding(dtype, length=length, scale=size))
