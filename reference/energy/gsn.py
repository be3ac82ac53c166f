r"""The generative stochastic network: spoil, then restore, and the chain draws from the data.

.. code-block:: text

    x --- corruption C ---> x~ --- reconstruction P(x | x~) ---> x' --- C ---> ...

On a finite space both are matrices, and the chain's stationary distribution can be computed.
"""

from __future__ import annotations

__all__ = ["gsn_reconstruction", "gsn_transition", "stationary_distribution"]

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float


def gsn_reconstruction(
    p: Float[Tensor, " n"], corruption: Float[Tensor, "n m"]
) -> Float[Tensor, "m n"]:
    r"""The best reconstruction: Bayes' rule from what is seen to what it was.

    .. math::

        P(x \mid \tilde x) = \frac{p(x)\, C(\tilde x \mid x)}{\sum_{x'} p(x')\, C(\tilde x \mid x')}

    Paper: Deep Generative Stochastic Networks Trainable by Backprop (Bengio, Thibodeau-Laufer,
    Alain, Yosinski, 2014), Section 2, https://arxiv.org/abs/1306.1091
    Claims: theory.gsn_stationary
    Differs: tabulated where the paper learns it.

    Args:
        p: probabilities of the data (n,).
        corruption: C, row x holds the probabilities of what x turns into (n, m).

    Returns:
        (m, n), rows that sum to 1; uniform for what no data turn into.

    >>> gsn_reconstruction(torch.tensor([0.8, 0.2]), torch.full((2, 2), 0.5))
    tensor([[0.8000, 0.2000],
            [0.8000, 0.2000]])
    """
    joint = (p[:, None] * corruption).mT  # (m, n)
    seen = joint.sum(1, keepdim=True)
    return torch.where(seen > 0, joint / seen.clamp_min(1e-300), 1 / len(p))  # never seen: 0 / 0


def gsn_transition(
    corruption: Float[Tensor, "n m"], reconstruction: Float[Tensor, "m n"]
) -> Float[Tensor, "n n"]:
    r"""One step of the chain: corrupt, then draw a reconstruction.

    .. math::

        T(x, x') = \sum_{\tilde x} C(\tilde x \mid x)\, P(x' \mid \tilde x)

    Paper: Deep Generative Stochastic Networks Trainable by Backprop (Bengio, Thibodeau-Laufer,
    Alain, Yosinski, 2014), Section 2, https://arxiv.org/abs/1306.1091
    Claims: theory.gsn_stationary
    Differs: none.

    Args:
        corruption: C (n, m).
        reconstruction: P (m, n).

    Returns:
        (n, n), rows that sum to 1.

    >>> gsn_transition(torch.eye(2), torch.eye(2))
    tensor([[1., 0.],
            [0., 1.]])
    """
    return corruption @ reconstruction


def stationary_distribution(transition: Float[Tensor, "n n"]) -> Float[Tensor, " n"]:
    r"""The distribution that a chain leaves as it is, by least squares.

    .. math::

        \pi T = \pi, \qquad \sum_x \pi_x = 1

    Paper: Deep Generative Stochastic Networks Trainable by Backprop (Bengio, Thibodeau-Laufer,
    Alain, Yosinski, 2014), Theorem 1, https://arxiv.org/abs/1306.1091
    Claims: theory.gsn_stationary
    Differs: none.

    Args:
        transition: T (n, n), with one stationary distribution; where there are several, that of
            smallest norm is returned.

    Returns:
        (n,).

    >>> stationary_distribution(torch.tensor([[0.5, 0.5], [0.25, 0.75]]))
    tensor([0.3333, 0.6667])
    """
    n = len(transition)
    still = transition.mT - torch.eye(n, dtype=transition.dtype, device=transition.device)
    equations = torch.cat([still, torch.ones_like(still[:1])])
    right = torch.zeros_like(equations[:, 0])
    right[-1] = 1
    found: Tensor = torch.linalg.pinv(equations) @ right
    return found
