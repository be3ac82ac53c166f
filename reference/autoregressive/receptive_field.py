r"""The receptive field of PixelCNN, by composing its masks; what it misses is the blind spot.

.. code-block:: text

    the 3 x 3 mask (* is the centre)     stacked any number of times (x is predicted)

            1 1 1                            1 1 1 1 1 1 0 0
            1 * .                            1 1 1 1 1 0 0 0
            . . .                            1 1 1 1 x . . .

A layer that goes up one row can go right by one column and no more, so a pixel above and far
enough to the right is never seen, however deep the stack.
"""

from __future__ import annotations

__all__ = ["pixelcnn_receptive_field", "spread"]

from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from reference.autoregressive.masks import raster_mask

if TYPE_CHECKING:
    from jaxtyping import Bool


def spread(
    felt: Bool[Tensor, "d c h w"], mask: Bool[Tensor, "c c k_rows k_columns"]
) -> Bool[Tensor, "d c h w"]:
    r"""Tell where inputs are felt after a masked convolution, from where they were before it.

    .. math::

        s'_{o,r,c} = \bigvee_{i,u,v} m_{o,i,u,v} \wedge s_{i,\,r+u,\,c+v}

    Paper: Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016),
    Section 2.2 and Figure 1, https://arxiv.org/abs/1606.05328
    Claims: autoregressive_model.uses_the_allowed_past, theory.blind_spot
    Differs: none.

    Args:
        felt: (D, C, H, W), one map for each input.
        mask: the taps of the convolution, (C, C, k, k'), of one feature a data channel.

    Returns:
        (D, C, H, W).

    >>> spread(torch.eye(1, 4, dtype=torch.bool).view(1, 1, 1, 4), torch.ones(1, 1, 1, 3) > 0).int()
    tensor([[[[1, 1, 0, 0]]]], dtype=torch.int32)
    """
    rows, columns = mask.shape[2:]
    paths = F.conv2d(felt.double(), mask.double(), padding=(rows // 2, columns // 2))
    return paths > 0


def pixelcnn_receptive_field(
    channels: int,
    height: int,
    width: int,
    blocks: int,
    first_kernel: int = 7,
    kernel: int = 3,
    device: torch.device | str = "cpu",
) -> Bool[Tensor, "d d"]:
    r"""Compose the masks: which inputs can reach which logits, blind spot included.

    .. math::

        R = B_1 B_1 \, (I + B_1 B_k B_1)^{\text{blocks}} A_{k_0}

    in Boolean algebra, with :math:`M_k` the D x D pattern of a k x k convolution masked by type M.

    Paper: Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016),
    Section 2.2 and Figure 1, https://arxiv.org/abs/1606.05328
    Claims: autoregressive_model.uses_the_allowed_past, theory.blind_spot
    Differs: none.

    Args:
        channels, height, width: the event, D = channels * height * width.
        blocks, first_kernel, kernel: as for `PixelCNN`.
        device: where it is computed.

    Returns:
        (D, D) over the flattened (C, H, W): True at (i, j) where the logits of i may use x_j.

    >>> pixelcnn_receptive_field(1, 2, 4, blocks=9, first_kernel=3)[4].view(2, 4).int()
    tensor([[1, 1, 0, 0],
            [0, 0, 0, 0]], dtype=torch.int32)
    """

    def through(reach: Tensor, size: int, mask_type: Literal["A", "B"]) -> Tensor:
        return spread(reach, raster_mask(channels, channels, size, mask_type, channels, device))

    d = channels * height * width
    reach = torch.eye(d, dtype=torch.bool, device=device).view(d, channels, height, width)
    reach = through(reach, first_kernel, "A")
    for _ in range(blocks):
        reach = reach | through(through(through(reach, 1, "B"), kernel, "B"), 1, "B")
    reach = through(through(reach, 1, "B"), 1, "B")
    return reach.flatten(1).mT  # reach[j] is where input j is felt
