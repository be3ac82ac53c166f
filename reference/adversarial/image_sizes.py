r"""Images that double and halve: what the convolutional generators share."""

from __future__ import annotations

__all__ = ["nearest_doubling", "smallest_map"]

from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn.functional import interpolate

if TYPE_CHECKING:
    from jaxtyping import Float


def smallest_map(height: int, width: int, doublings: int) -> tuple[int, int]:
    r"""The height and width that so many doublings turn into those of the image.

    .. math::

        (h, w) = (H, W) / 2^{d}

    Paper: Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
    Networks (Radford, Metz, Chintala, 2015), Figure 1, https://arxiv.org/abs/1511.06434
    Claims: theory.dcgan_guidelines
    Differs: none.

    Args:
        height, width: of the image.
        doublings: at least 1.

    Returns:
        height and width of the smallest map.

    Raises:
        ValueError: a side is no multiple of 2^doublings, or there is no doubling.

    >>> import torch
    >>> smallest_map(64, 32, doublings=4)
    (4, 2)
    """
    factor = 2**doublings
    if doublings < 1 or height % factor or width % factor:
        raise ValueError(f"{height} by {width} cannot be halved {doublings} times")
    return height // factor, width // factor


def nearest_doubling(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h2 w2"]:
    r"""Double height and width: every pixel becomes four.

    .. math::

        (U x)_{ij} = x_{\lfloor i/2 \rfloor \lfloor j/2 \rfloor}

    Paper: Large Scale GAN Training for High Fidelity Natural Image Synthesis (Brock, Donahue,
    Simonyan, 2018), Figure 15 b, https://arxiv.org/abs/1809.11096
    Claims: theory.residual_blocks_halve_and_double, theory.fade_in_meets_both_ends
    Differs: none.

    Args:
        x: images or features.

    Returns:
        (N, C, 2H, 2W).

    >>> import torch
    >>> nearest_doubling(torch.tensor([[[[3.0, 5.0]]]]))
    tensor([[[[3., 3., 5., 5.],
              [3., 3., 5., 5.]]]])
    """
    return interpolate(x, scale_factor=2, mode="nearest")
