r"""The receptive field of gated PixelCNN, by composing what its two stacks see.

.. code-block:: text

    three layers of 3 x 3 kernels (x is predicted)

        PixelCNN                gated PixelCNN

    . . . . . . . . .         . 1 1 1 1 1 1 1 .
    . 1 1 1 1 1 1 1 .         . 1 1 1 1 1 1 1 .
    . 1 1 1 1 1 1 . .         . 1 1 1 1 1 1 1 .
    . 1 1 1 1 1 . . .         . 1 1 1 1 1 1 1 .
    . 1 1 1 x . . . .         . 1 1 1 x . . . .

Above x the vertical stack sees a whole rectangle, and one row more than its kernels reach.
"""

from __future__ import annotations

__all__ = ["gated_pixelcnn_receptive_field"]

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from reference.autoregressive.masks import raster_mask
from reference.autoregressive.receptive_field import spread

if TYPE_CHECKING:
    from jaxtyping import Bool


def gated_pixelcnn_receptive_field(
    channels: int,
    height: int,
    width: int,
    layers: int,
    first_kernel: int = 7,
    kernel: int = 3,
    condition: Bool[Tensor, "d h w"] | None = None,
    device: torch.device | str = "cpu",
) -> Bool[Tensor, "d d"]:
    r"""Follow every input through the stacks: which inputs can reach which logits.

    .. math::

        V_l = (F_l V_{l-1}) \vee T, \qquad
        H_l = H_{l-1} \vee R_l H_{l-1} \vee \downarrow V_l \vee T

    in Boolean algebra: F the full kernel over the rows so far, R the masked row, T the condition.
    With a the radius of the first kernel and b of the others, m = a + b layers, it is, for a >= 1,
    m + 1 rows above of m columns either side, and m pixels to the left: if the image is no larger,
    the whole past.

    Paper: Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016),
    Section 2.2 and Figure 1, https://arxiv.org/abs/1606.05328
    Claims: autoregressive_model.uses_the_allowed_past, theory.gated_pixelcnn_has_no_blind_spot
    Differs: none.

    Args:
        channels, height, width: the event, D = channels * height * width.
        layers, first_kernel, kernel: as for `GatedPixelCNN`.
        condition: True at (j, r, c) where x_j is felt in the condition at pixel (r, c); none if None.
        device: where it is computed.

    Returns:
        (D, D) over the flattened (C, H, W): True at (i, j) where the logits of i may use x_j.

    >>> gated_pixelcnn_receptive_field(1, 2, 4, layers=0, first_kernel=3)[5].view(2, 4).int()
    tensor([[1, 1, 1, 0],
            [1, 0, 0, 0]], dtype=torch.int32)
    """
    d = channels * height * width
    v = h = torch.eye(d, dtype=torch.bool, device=device).view(d, channels, height, width)
    term = torch.zeros_like(v) if condition is None else condition[:, None].expand_as(v)
    for i in range(layers + 1):
        k = (kernel if i else first_kernel) // 2
        mask = raster_mask(channels, channels, 2 * k + 1, "B" if i else "A", channels, device)
        full = torch.ones_like(mask)
        full[:, :, k + 1 :] = False
        v = spread(v, full) | term
        row = spread(h, mask[:, :, k : k + 1])
        h = (
            row | F.pad(v, (0, 0, 1, -1)) | term | (h if i else row)
        )  # the residual, but in the first
    return h.flatten(1).mT  # h[j] is where input j is felt
