r"""What progressive growing adds to convolutions: fading in, and two layers without parameters."""

from __future__ import annotations

__all__ = ["fade_in", "minibatch_stddev", "pixel_norm"]

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float


def fade_in(
    old: Float[Tensor, " *shape"], new: Float[Tensor, " *shape"], alpha: float
) -> Float[Tensor, " *shape"]:
    r"""Mix what the network did before it grew with what it does now.

    .. math::

        (1 - \alpha)\, \text{old} + \alpha\, \text{new}

    Paper: Progressive Growing of GANs for Improved Quality, Stability, and Variation (Karras,
    Aila, Laine, Lehtinen, 2017), Figure 2, https://arxiv.org/abs/1710.10196
    Claims: theory.fade_in_meets_both_ends
    Differs: none.

    Args:
        old: the way around the new block.
        new: the way through it.
        alpha: 0 to 1.

    Returns:
        the mixture; exactly `old` at 0 and `new` at 1.

    Raises:
        ValueError: alpha is outside [0, 1].

    >>> fade_in(torch.tensor([0.0]), torch.tensor([8.0]), alpha=0.25)
    tensor([2.])
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be in [0, 1], not {alpha}")
    return (1 - alpha) * old + alpha * new


def pixel_norm(x: Float[Tensor, "n c *size"]) -> Float[Tensor, "n c *size"]:
    r"""Give the features of every pixel unit mean square.

    .. math::

        y_{c} = x_{c} \Big/ \sqrt{\tfrac1C \textstyle\sum_{c'} x_{c'}^2 + 10^{-8}}

    Paper: Progressive Growing of GANs (Karras et al., 2017), Section 4.2,
    https://arxiv.org/abs/1710.10196
    Claims: theory.pixel_norm_has_unit_mean_square
    Differs: none.

    Args:
        x: features.

    Returns:
        the same shape.

    >>> pixel_norm(torch.tensor([[3.0, 3.0]]))
    tensor([[1., 1.]])
    """
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


def minibatch_stddev(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c1 h w"]:
    r"""Append a channel that says how much the batch varies: a collapsed generator shows.

    .. math::

        \frac{1}{C H W} \sum_{chw} \sqrt{\mathrm{Var}_n\, x_{nchw}}

    Paper: Progressive Growing of GANs (Karras et al., 2017), Section 3,
    https://arxiv.org/abs/1710.10196
    Claims: theory.minibatch_stddev_is_zero_iff_collapsed
    Differs: no guard under the root; where all items are equal the gradient is set to zero.

    Args:
        x: features of a batch.

    Returns:
        (N, C + 1, H, W).

    >>> minibatch_stddev(torch.tensor([0.0, 2.0]).view(2, 1, 1, 1)).flatten(1)
    tensor([[0., 1.],
            [2., 1.]])
    """
    variance = x.var(0, unbiased=False)
    varies = variance > 0
    # The inner where keeps the gradient free of 0/0 too.
    deviation = torch.where(varies, torch.where(varies, variance, 1).sqrt(), 0).mean()
    return torch.cat([x, deviation.expand(len(x), 1, *x.shape[2:])], dim=1)
