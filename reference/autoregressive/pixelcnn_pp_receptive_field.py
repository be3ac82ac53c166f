r"""The receptive field of PixelCNN++, by sending every input through the network in Boolean algebra.

.. code-block:: text

    3 x 6 pixels, one block, two resolutions; what the pixel x may use:

    1 1 1 1 1 1        rows above through stream down, as far as it reaches,
    1 1 1 1 1 1        its own row through stream right:
    1 1 1 x . .        no blind spot, but an end
"""

from __future__ import annotations

__all__ = ["pixelcnn_pp_receptive_field"]

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from reference.autoregressive.shifted_convolutions import KERNELS, shifted_pad

if TYPE_CHECKING:
    from jaxtyping import Bool

    from reference.autoregressive.shifted_convolutions import Stream

    # One image for each input: True where it is felt. Stream down, then stream right.
    Felt = tuple[Bool[Tensor, "p 1 h w"], Bool[Tensor, "p 1 h w"]]


def _look(
    felt: Tensor, stream: Stream, stride: int = 1, kernel: tuple[int, int] | None = None
) -> Tensor:
    kernel = kernel or KERNELS[stream]
    ones = torch.ones(1, 1, *kernel, dtype=torch.float64, device=felt.device)
    return F.conv2d(shifted_pad(felt.double(), kernel, stream), ones, stride=stride) > 0


def _spread(felt: Tensor, stream: Stream, size: tuple[int, int]) -> Tensor:
    ones = torch.ones(1, 1, *KERNELS[stream], dtype=torch.float64, device=felt.device)
    out, left = F.conv_transpose2d(felt.double(), ones, stride=2), stream == "down"
    return out[:, :, : size[0], left : left + size[1]] > 0


def _enter(felt: Tensor) -> Felt:
    lower, righter = F.pad(felt, (0, 0, 1, -1)), F.pad(felt, (1, -1))
    above = _look(lower, "down", kernel=(1, 3))
    return _look(lower, "down"), above | _look(righter, "right", kernel=(2, 1))


def _block(streams: Felt, mirror: Felt | None = None) -> Felt:
    down, right = (_look(felt, stream) for felt, stream in zip(streams, KERNELS, strict=True))
    if mirror is not None:
        down, right = down | mirror[0], right | mirror[1]
    down = _look(down, "down")
    return down, _look(right | down, "right")


def pixelcnn_pp_receptive_field(
    height: int, width: int, blocks: int, resolutions: int, device: torch.device | str = "cpu"
) -> Bool[Tensor, "p p"]:
    r"""Follow every pixel through the network: where a connection exists, it is felt.

    .. math::

        P_{ij} = \bigvee_{\text{paths from } j \text{ to } i} 1

    Paper: PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood and Other
    Modifications (Salimans, Karpathy, Chen, Kingma, 2017), Sections 2.3 and 2.4 and Figure 2,
    https://arxiv.org/abs/1701.05517
    Claims: autoregressive_model.uses_the_allowed_past, theory.shortcuts_reach_the_output
    Differs: none; the paper does not compute it.

    Args:
        height, width: of the image; p = height * width.
        blocks, resolutions: as for `PixelCNNPlusPlus`.
        device: where it is computed.

    Returns:
        (p, p): True at (i, j) where the features of pixel i may use pixel j, in raster order.

    >>> pixelcnn_pp_receptive_field(2, 2, blocks=1, resolutions=1).int()
    tensor([[0, 0, 0, 0],
            [1, 0, 0, 0],
            [1, 1, 0, 0],
            [1, 1, 1, 0]], dtype=torch.int32)
    """
    p = height * width
    passed = [_enter(torch.eye(p, dtype=torch.bool, device=device).view(p, 1, height, width))]
    for level in range(resolutions):
        if level:
            down, right = passed[-1]
            passed.append((_look(down, "down", 2), _look(right, "right", 2)))
        for _ in range(blocks):
            passed.append(_block(passed[-1]))
    streams = passed.pop()
    for level in range(resolutions):
        if level:
            h, w = passed[-1][0].shape[-2:]
            streams = _spread(streams[0], "down", (h, w)), _spread(streams[1], "right", (h, w))
        for _ in range(blocks + (level > 0)):
            streams = _block(streams, passed.pop())
    return streams[1].flatten(1).mT  # the output image of pixel j is column j
