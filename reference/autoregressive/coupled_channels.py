r"""Channels of a pixel that shift each other's means: what a mixture of whole pixels is made of.

.. code-block:: text

    for each component:

        mean of R     mu_R
        mean of G     mu_G + a * R                  R, G: the values that occurred
        mean of B     mu_B + b * R + c * G
"""

from __future__ import annotations

__all__ = ["coupled_means", "coupled_receptive_field", "split_mixture"]

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


def coupled_means(
    value: Float[Tensor, "n c h w"],
    means: Float[Tensor, "n m c h w"],
    coefficients: Float[Tensor, "n m p h w"],
) -> Float[Tensor, "n m c h w"]:
    r"""Shift the mean of each channel in proportion to the channels before it.

    .. math::

        \mu_c(v) = \mu_c + \sum_{c' < c} a_{c,c'} v_{c'}

    Paper: PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood and Other
    Modifications (Salimans, Karpathy, Chen, Kingma, 2017), equation 3,
    https://arxiv.org/abs/1701.05517
    Claims: theory.coupled_mixture_channels_depend, theory.coupled_mixture_matches_its_definition
    Differs: none; the published code bounds the coefficients by a tanh.

    Args:
        value: The pixels, levels spread over [-1, 1] (N, C, H, W).
        means: mu (N, M, C, H, W).
        coefficients: a (N, M, P, H, W), P = C (C - 1) / 2 pairs: G by R, B by R, B by G.

    Returns:
        (N, M, C, H, W).

    >>> value, one = torch.tensor([0.5, -1.0, 0.7]).view(1, 3, 1, 1), torch.ones(1, 1, 3, 1, 1)
    >>> coupled_means(value, one, 2 * one).flatten()
    tensor([1., 2., 0.])
    """
    channels = means.shape[2]
    later, earlier = torch.tril_indices(channels, channels, -1, device=means.device)
    return means.index_add(2, later, coefficients * value[:, None, earlier])


def split_mixture(
    out: Float[Tensor, "n f h w"], components: int, channels: int
) -> tuple[
    Float[Tensor, "n m h w"],
    Float[Tensor, "n m c h w"],
    Float[Tensor, "n m c h w"],
    Float[Tensor, "n m p h w"],
]:
    r"""Read the output of a network as the parameters of a mixture for each pixel.

    .. math::

        F = M (1 + 2C + P), \qquad P = C (C - 1) / 2, \qquad -7 \le \log s \le 7

    Paper: PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood and Other
    Modifications (Salimans, Karpathy, Chen, Kingma, 2017), Sections 2.1 and 2.2,
    https://arxiv.org/abs/1701.05517
    Claims: autoregressive_model.normalised, autoregressive_model.float32_agrees_with_float64
    Differs: log-scales are bounded from below at -7 in the published code alone, from above here
    alone: at 7 a logistic is flat over all levels, and single precision still tells them apart.

    Args:
        out: (N, F, H, W).
        components: M.
        channels: C.

    Returns:
        log_weights (N, M, H, W), means and log_scales (N, M, C, H, W), coefficients (N, M, P, H, W).

    >>> [part.shape[2] for part in split_mixture(torch.zeros(2, 40, 5, 7), 4, 3)]
    [5, 3, 3, 3]
    """
    sizes = [1, channels, channels, channels * (channels - 1) // 2]
    n, _, h, w = out.shape
    by_component = out.view(n, components, -1, h, w)
    log_weights, means, log_scales, coefficients = torch.split(by_component, sizes, dim=2)
    return log_weights[:, :, 0], means, log_scales.clamp(-7, 7), coefficients


def coupled_receptive_field(pixels: Bool[Tensor, "p p"], channels: int) -> Bool[Tensor, "d d"]:
    r"""Which dimensions a conditional may use, when the network sees whole earlier pixels.

    .. math::

        R_{(c,i),(c',j)} = P_{ij} \lor (i = j \land c' < c)

    Paper: PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood and Other
    Modifications (Salimans, Karpathy, Chen, Kingma, 2017), Section 2.2,
    https://arxiv.org/abs/1701.05517
    Claims: autoregressive_model.uses_the_allowed_past
    Differs: none.

    Args:
        pixels: P, True at (i, j) where the features of pixel i may use pixel j; H * W = p.
        channels: C.

    Returns:
        (D, D) over the flattened (C, H, W).

    >>> coupled_receptive_field(torch.zeros(1, 1, dtype=torch.bool), channels=2).int()
    tensor([[0, 0],
            [1, 0]], dtype=torch.int32)
    """
    device, size = pixels.device, len(pixels) * channels
    same = torch.eye(len(pixels), dtype=torch.bool, device=device)[None, :, None]
    earlier = torch.ones(channels, channels, dtype=torch.bool, device=device).tril(-1)
    return (pixels[None, :, None] | (earlier[:, None, :, None] & same)).reshape(size, size)
