r"""The convolution that cannot see the future: raster order over pixels, channel order within one.

A 5 x 5 kernel for one data channel; 1 is a tap that is kept, the centre is the pixel to predict:

.. code-block:: text

       type A           type B
    1  1  1  1  1    1  1  1  1  1     rows above: all of the past
    1  1  1  1  1    1  1  1  1  1
    1  1 (0) 0  0    1  1 (1) 0  0     this row: the left, and the centre for B only
    0  0  0  0  0    0  0  0  0  0     rows below: the future
    0  0  0  0  0    0  0  0  0  0

With three data channels the centre tap is itself a matrix, from input group to output group:

.. code-block:: text

           type A         type B
    from:  R  G  B        R  G  B
    to R   0  0  0        1  0  0      A: strictly earlier colours (the input layer)
    to G   1  0  0        1  1  0      B: also its own, whose features already exclude it
    to B   1  1  0        1  1  1
"""

from __future__ import annotations

__all__ = ["MaskedConv2d", "raster_mask"]

from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


def raster_mask(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    mask_type: Literal["A", "B"],
    data_channels: int = 1,
    device: torch.device | str | None = None,
) -> Bool[Tensor, "out in k k"]:
    r"""Mark the taps of a convolution kernel that lie in the past of the pixel at its centre.

    .. math::

        m_{o,i,r} = [r < c] + [r = c] \cdot
            \begin{cases} [g(i) < g(o)] & \text{A} \\ [g(i) \le g(o)] & \text{B} \end{cases}

    where r is a tap's raster index, c that of the centre, and :math:`g(a) = \lfloor aC/n \rfloor`
    the data channel to which channel a of n belongs.

    Paper: Pixel Recurrent Neural Networks (van den Oord, Kalchbrenner, Kavukcuoglu, 2016),
    Section 3.4 and Figure 2, https://arxiv.org/abs/1601.06759
    Claims: masked_conv2d.causality, masked_conv2d.uses_the_allowed_past
    Differs: none.

    Args:
        in_channels: number of input channels, a multiple of `data_channels`.
        out_channels: number of output channels, a multiple of `data_channels`.
        kernel_size: side of the square kernel, odd.
        mask_type: "A" hides the pixel's own data channel, "B" shows it.
        data_channels: C, the channels of the data: 1, or 3 for R, G, B.
        device: where the mask is made.

    Returns:
        (out, in, k, k), True where a weight is kept.

    Raises:
        ValueError: even kernel, unknown type, or channels that do not split into groups.

    >>> raster_mask(1, 1, 3, "A")[0, 0].int()
    tensor([[1, 1, 1],
            [1, 0, 0],
            [0, 0, 0]], dtype=torch.int32)
    >>> raster_mask(3, 3, 1, "A", data_channels=3)[:, :, 0, 0].int()
    tensor([[0, 0, 0],
            [1, 0, 0],
            [1, 1, 0]], dtype=torch.int32)
    """
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"kernel_size must be odd, to have a centre, not {kernel_size}")
    if mask_type not in ("A", "B"):
        raise ValueError(f"mask_type must be 'A' or 'B', not {mask_type!r}")
    for channels in (in_channels, out_channels):
        if data_channels < 1 or channels < 1 or channels % data_channels:
            raise ValueError(f"{channels} channels do not split into {data_channels} equal groups")
    tap = torch.arange(kernel_size**2, device=device).view(kernel_size, kernel_size)
    centre = kernel_size**2 // 2
    g_in = torch.arange(in_channels, device=device) * data_channels // in_channels
    g_out = torch.arange(out_channels, device=device) * data_channels // out_channels
    visible = g_in < g_out[:, None] if mask_type == "A" else g_in <= g_out[:, None]  # (out, in)
    return (tap < centre) | ((tap == centre) & visible[:, :, None, None])


class MaskedConv2d(nn.Conv2d):
    r"""A convolution of stride 1 and 'same' size whose kernel is multiplied by a raster mask.

    .. math::

        y = (w \odot m) * x + b

    Paper: Pixel Recurrent Neural Networks (van den Oord, Kalchbrenner, Kavukcuoglu, 2016),
    Section 3.4, https://arxiv.org/abs/1601.06759
    Claims: masked_conv2d.causality, masked_conv2d.uses_the_allowed_past,
    masked_conv2d.stays_masked_after_training, masked_conv2d.linear_and_shift_equivariant,
    masked_conv2d.bias_free_of_position
    Differs: channels are grouped in thirds (first R, then G, then B), where the paper is silent.

    Args:
        in_channels, out_channels, kernel_size, mask_type, data_channels: as for `raster_mask`.

    Raises:
        ValueError: as for `raster_mask`.

    >>> MaskedConv2d(1, 4, 3, "A")(torch.zeros(2, 1, 5, 6)).shape
    torch.Size([2, 4, 5, 6])
    """

    mask: Bool[Tensor, "out in k k"]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        mask_type: Literal["A", "B"],
        data_channels: int = 1,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
        mask = raster_mask(
            in_channels, out_channels, kernel_size, mask_type, data_channels, self.weight.device
        )
        self.register_buffer("mask", mask)

    def forward(self, x: Float[Tensor, "n in h w"]) -> Float[Tensor, "n out h w"]:
        # Masked here, not in the stored weight: no optimiser step can undo it.
        return F.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)
