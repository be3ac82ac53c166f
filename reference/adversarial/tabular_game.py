r"""The game on a finite space, with a critic that always has its best answer ready.

The generator is a table q. Against the best answer each loss becomes a function of the ratio q / p
alone, rising in it, and so every step evens the ratio out:

.. code-block:: text

    kind             best score       loss of a sample           slope in log(q / p), at q = p
    minimax          log p/q          log D     with D = q/(p+q)     1 - D           1/2
    non_saturating   log p/q         -log (1 - D)                    D               1/2
    least_squares    p/(p + q)        D^2 / 2                        D^2 (1 - D)     1/8
    hinge            sign(p - q)      sign(q - p)                    a step at q = p
"""

from __future__ import annotations

__all__ = ["best_scores", "tabular_turn"]

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from reference.adversarial.losses import gan_losses

if TYPE_CHECKING:
    from jaxtyping import Float


def best_scores(p: Float[Tensor, " n"], q: Float[Tensor, " n"], kind: str) -> Float[Tensor, " n"]:
    r"""The raw scores that minimise the discriminator's loss, point by point.

    .. math::

        s^* = \log \frac{p}{q} \text{ (both logistic games)}, \qquad
        s^* = \frac{p}{p + q} \text{ (least squares)}, \qquad
        s^* = \operatorname{sign}(p - q) \text{ (hinge)}

    Paper: Generative Adversarial Networks (Goodfellow et al., 2014), Proposition 1,
    https://arxiv.org/abs/1406.2661; Least Squares Generative Adversarial Networks (Mao et al.,
    2016), Equation 5, https://arxiv.org/abs/1611.04076; Geometric GAN (Lim, Ye, 2017), Section 3,
    https://arxiv.org/abs/1705.02894
    Claims: theory.best_scores_are_best
    Differs: the sample space is enumerated.

    Args:
        p: probabilities of the data, positive.
        q: probabilities of the generator, positive.
        kind: "minimax", "non_saturating", "least_squares" or "hinge".

    Returns:
        (n,).

    Raises:
        ValueError: another kind; in the Wasserstein game no finite score is best.

    >>> best_scores(torch.tensor([0.75, 0.25]), torch.tensor([0.25, 0.75]), "least_squares")
    tensor([0.7500, 0.2500])
    """
    if kind in ("minimax", "non_saturating"):
        return p.log() - q.log()
    if kind == "least_squares":
        return p / (p + q)
    if kind == "hinge":
        return (p - q).sign()
    raise ValueError(f"no scores are best in the game {kind!r}")


def tabular_turn(
    p: Float[Tensor, " n"], q: Float[Tensor, " n"], kind: str, step_size: float
) -> Float[Tensor, " n"]:
    r"""One turn: the best critic, then one step of the generator's table in its logarithms.

    .. math::

        q'(x) \propto q(x)\, e^{-h\, \ell(s^*(x))}

    where :math:`\ell` is the generator's loss of one sample: samples of which the critic complains
    become rarer. This is mirror descent, and each step contracts the spread of :math:`\log q/p`:

    .. math::

        d(p, q') \le (1 - h\, m)\, d(p, q), \qquad
        d(p, q) = \max \log \tfrac qp - \min \log \tfrac qp

    with m the least slope of the loss in :math:`\log q/p` between the two ends. A minimax turn with
    h = 1 is the mean of q and p.

    Paper: f-GAN: Training Generative Neural Samplers using Variational Divergence Minimization
    (Nowozin, Cseke, Tomioka, 2016), Section 2, https://arxiv.org/abs/1606.00709
    Claims: theory.tables_contract, theory.hinge_walks_to_the_data
    Differs: a table instead of a network, the critic's answer in closed form, mirror descent.

    Args:
        p, q, kind: as for `best_scores`.
        step_size: h.

    Returns:
        the next q (n,).

    >>> tabular_turn(torch.tensor([0.5, 0.5]), torch.tensor([0.8, 0.2]), "minimax", 1.0)
    tensor([0.6500, 0.3500])
    """
    loss = gan_losses(kind).generator_loss
    complaints = torch.stack([loss(score[None]) for score in best_scores(p, q, kind)])
    return (q.log() - step_size * complaints).softmax(0)
