r"""Shifted convolutions: ordinary kernels over an image padded so that they end at their pixel.

.. code-block:: text

    down, 2 x 3        right, 2 x 2         * is the pixel whose output is computed:
                                            it is the last row of the kernel (down),
     1  1  1             1  1               or its last tap (right)
     1  *  1             1  *

Stream down hides its own row, by one shift down at the start; stream right hides its own pixel and
what follows, by a shift to the right. No weight is masked, so strides and transposes work as usual:

.. code-block:: text

    columns      0   1   2   3   4        stride 2, right: column c' reads 2c' - 1 and 2c'
                 |  /    |  /    |
    halved       0       1       2        transposed:      column c' writes 2c' and 2c' + 1,
                 | \     | \     | \                       what exceeds the image is cropped
    doubled      0   1   2   3   4  (5)
"""

from __future__ import annotations

__all__ = ["ShiftedConv2d", "ShiftedConvTranspose2d", "StrictConv2d", "shifted_pad"]

from typing import TYPE_CHECKING, Literal

import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float

    Stream = Literal["down", "right"]

KERNELS: dict[Stream, tuple[int, int]] = {"down": (2, 3), "right": (2, 2)}


def shifted_pad(
    x: Float[Tensor, "n c h w"], kernel: tuple[int, int], stream: Stream
) -> Float[Tensor, "n c hh ww"]:
    r"""Pad an image with zeros so that a kernel sees no row below, and in stream right no column to
    the right.

    .. math::

        y_{r,c} = \sum_{u,v} k_{u,v}\, x_{r - (k_h - 1) + u,\; c - \ell + v}, \qquad
        \ell = \begin{cases} (k_w - 1) / 2 & \text{down} \\ k_w - 1 & \text{right} \end{cases}

    Paper: PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood and Other
    Modifications (Salimans, Karpathy, Chen, Kingma, 2017), Section 2.3 and Figure 2,
    https://arxiv.org/abs/1701.05517
    Claims: theory.downsampling_keeps_causality, autoregressive_model.causality
    Differs: none.

    Args:
        x: (N, C, H, W).
        kernel: its height and width.
        stream: "down", or "right" (down and right).

    Returns:
        (N, C, H + kh - 1, W + kw - 1).

    Raises:
        ValueError: An even width in stream down, which has no centre, or an unknown stream.

    >>> import torch
    >>> shifted_pad(torch.ones(1, 1, 1, 2), (2, 2), "right")[0, 0]
    tensor([[0., 0., 0.],
            [0., 1., 1.]])
    """
    height, width = kernel
    if stream not in KERNELS:
        raise ValueError(f"stream must be 'down' or 'right', not {stream!r}")
    if stream == "down" and width % 2 == 0:
        raise ValueError(f"the kernel of stream down needs an odd width, not {width}")
    sides = (width // 2, width // 2) if stream == "down" else (width - 1, 0)
    return F.pad(x, (*sides, height - 1, 0))


class ShiftedConv2d(nn.Conv2d):
    r"""A convolution whose kernel ends at its pixel; stride 2 halves an image, rounding up.

    .. math::

        y = w * \operatorname{pad}(x) + b

    Paper: PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood and Other
    Modifications (Salimans, Karpathy, Chen, Kingma, 2017), Section 2.3 and Figure 2,
    https://arxiv.org/abs/1701.05517
    Claims: theory.downsampling_keeps_causality, autoregressive_model.causality
    Differs: the weight is used as it is, without weight normalisation.

    Args:
        in_channels, out_channels: of the convolution.
        stream: "down", or "right" (down and right).
        kernel: its height and width; those of the stream if None.
        stride: 1 or 2.

    >>> import torch
    >>> ShiftedConv2d(2, 4, "down", stride=2)(torch.zeros(3, 2, 5, 6)).shape
    torch.Size([3, 4, 3, 3])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stream: Stream,
        kernel: tuple[int, int] | None = None,
        stride: int = 1,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel or KERNELS[stream], stride)
        self.stream: Stream = stream

    def forward(self, x: Float[Tensor, "n in h w"]) -> Float[Tensor, "n out hh ww"]:
        height, width = self.kernel_size
        return super().forward(shifted_pad(x, (height, width), self.stream))


class ShiftedConvTranspose2d(nn.Module):
    r"""The way back from half the size: each position writes to its own 2 x 2 pixels and beyond.

    .. math::

        y_{r,c} = b + \sum_{r',c'} w^\top_{r - 2r',\; c - 2c' + \ell}\, x_{r',c'}, \qquad
        \ell = \begin{cases} 1 & \text{down} \\ 0 & \text{right} \end{cases}

    Position (r', c') knows what pixel (2r', 2c') may know, and is read by pixels on and after it.

    Paper: PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood and Other
    Modifications (Salimans, Karpathy, Chen, Kingma, 2017), Section 2.3,
    https://arxiv.org/abs/1701.05517
    Claims: theory.downsampling_keeps_causality, autoregressive_model.causality
    Differs: odd sizes, which the paper's images do not have, are cropped.

    Args:
        in_channels, out_channels: of the convolution.
        stream: "down", or "right" (down and right).

    >>> import torch
    >>> ShiftedConvTranspose2d(2, 4, "down")(torch.zeros(3, 2, 3, 3), (5, 6)).shape
    torch.Size([3, 4, 5, 6])
    """

    def __init__(self, in_channels: int, out_channels: int, stream: Stream) -> None:
        super().__init__()
        self.left = KERNELS[stream][1] // 2 if stream == "down" else 0
        self.spread = nn.ConvTranspose2d(in_channels, out_channels, KERNELS[stream], stride=2)

    def forward(
        self, x: Float[Tensor, "n in hh ww"], size: tuple[int, int]
    ) -> Float[Tensor, "n out h w"]:
        """To an image of `size`, of which `x` has half the height and width, rounded up."""
        out: Tensor = self.spread(x)
        return out[:, :, : size[0], self.left : self.left + size[1]]


class StrictConv2d(nn.Module):
    r"""The first layer of a stream, which hides the pixel itself.

    .. code-block:: text

        down:   1  1  1            right:  1  1  1        1 x 3 above, and 2 x 1 to the left;
                1  1  1                    1              the corner is in both
                .  *  .                    1  *

    .. math::

        y = w_{\text{above}} * \operatorname{down}(x) + w_{\text{left}} * \operatorname{right}(x) + b

    Paper: PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood and Other
    Modifications (Salimans, Karpathy, Chen, Kingma, 2017), Section 2.3 and Figure 2,
    https://arxiv.org/abs/1701.05517
    Claims: autoregressive_model.causality, autoregressive_model.uses_the_allowed_past
    Differs: images are shifted before the convolution and not after, which shifts no bias.

    Args:
        in_channels, out_channels: of the convolution.
        stream: "down", or "right" (down and right).

    >>> import torch
    >>> StrictConv2d(2, 4, "right")(torch.zeros(3, 2, 5, 6)).shape
    torch.Size([3, 4, 5, 6])
    """

    def __init__(self, in_channels: int, out_channels: int, stream: Stream) -> None:
        super().__init__()
        kernel = KERNELS["down"] if stream == "down" else (1, 3)
        self.above = ShiftedConv2d(in_channels, out_channels, "down", kernel)
        self.left = None
        if stream == "right":
            self.left = ShiftedConv2d(in_channels, out_channels, "right", (2, 1))

    def forward(self, x: Float[Tensor, "n in h w"]) -> Float[Tensor, "n out h w"]:
        above: Tensor = self.above(F.pad(x, (0, 0, 1, -1)))  # the image, one row lower
        if self.left is None:
            return above
        left: Tensor = self.left(F.pad(x, (1, -1)))  # the image, one column to the right
        return above + left
