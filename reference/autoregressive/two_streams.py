r"""Layers over the two streams of PixelCNN++, which see the same past together.

.. code-block:: text

    down:   1 1 1 1 1            right:  1 1 1 1 1 <- from stream down
            1 1 1 1 1                    1 1 1 1 1
            . . * . .                    1 1 * . .

The left stream (down) sees all rows above and feeds the other one, so nothing is blind; the other
way round a column to the right would reach what lies to its left.
"""

from __future__ import annotations

__all__ = ["TwoStreamBlock", "TwoStreamDoubling", "TwoStreamHalving"]

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from reference.autoregressive.gated_resnet import GatedResNetBlock
from reference.autoregressive.shifted_convolutions import ShiftedConv2d, ShiftedConvTranspose2d

if TYPE_CHECKING:
    from jaxtyping import Float

    Features = tuple[Float[Tensor, "n f h w"], Float[Tensor, "n f h w"]]
    Halved = tuple[Float[Tensor, "n f hh ww"], Float[Tensor, "n f hh ww"]]


class TwoStreamBlock(nn.Module):
    r"""A gated residual block for each stream, with the features of a mirror beside them.

    .. math::

        d' = \operatorname{block}_d(d, \bar d), \qquad
        r' = \operatorname{block}_r(r, [d', \bar r])

    Paper: PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood and Other
    Modifications (Salimans, Karpathy, Chen, Kingma, 2017), Sections 2.3 and 2.4,
    https://arxiv.org/abs/1701.05517
    Claims: theory.shortcuts_reach_the_output, autoregressive_model.causality
    Differs: none.

    Args:
        hidden: features of each stream.
        mirrored: whether a short-cut leads here.
        dropout: as for `GatedResNetBlock`.

    >>> pair = torch.zeros(2, 3, 4, 5), torch.zeros(2, 3, 4, 5)
    >>> TwoStreamBlock(3, mirrored=True)(pair, pair)[1].shape
    torch.Size([2, 3, 4, 5])
    """

    def __init__(self, hidden: int, mirrored: bool, dropout: float = 0.0) -> None:
        super().__init__()
        self.down = GatedResNetBlock(hidden, "down", hidden * mirrored, dropout)
        self.right = GatedResNetBlock(hidden, "right", hidden * (1 + mirrored), dropout)

    def forward(self, streams: Features, mirror: Features | None = None) -> Features:
        down, right = streams
        if mirror is None:
            down = self.down(down)
            return down, self.right(right, down)
        down = self.down(down, mirror[0])
        return down, self.right(right, torch.cat([down, mirror[1]], dim=1))


class TwoStreamHalving(nn.Module):
    r"""Both streams at half the height and width, rounded up, by shifted convolutions of stride 2.

    .. math::

        (d, r) \mapsto (w_d *_2 d,\; w_r *_2 r)

    Paper: PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood and Other
    Modifications (Salimans, Karpathy, Chen, Kingma, 2017), Section 2.3,
    https://arxiv.org/abs/1701.05517
    Claims: theory.downsampling_keeps_causality, autoregressive_model.causality
    Differs: none.

    Args:
        hidden: features of each stream.

    >>> TwoStreamHalving(3)((torch.zeros(2, 3, 4, 5), torch.zeros(2, 3, 4, 5)))[0].shape
    torch.Size([2, 3, 2, 3])
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.down = ShiftedConv2d(hidden, hidden, "down", stride=2)
        self.right = ShiftedConv2d(hidden, hidden, "right", stride=2)

    def forward(self, streams: Features) -> Halved:
        return self.down(streams[0]), self.right(streams[1])


class TwoStreamDoubling(nn.Module):
    r"""Both streams at twice the height and width, less what exceeds the image.

    .. math::

        (d, r) \mapsto (w_d *_2^\top d,\; w_r *_2^\top r)

    Paper: PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood and Other
    Modifications (Salimans, Karpathy, Chen, Kingma, 2017), Section 2.3,
    https://arxiv.org/abs/1701.05517
    Claims: theory.downsampling_keeps_causality, autoregressive_model.causality
    Differs: odd sizes are cropped.

    Args:
        hidden: features of each stream.

    >>> TwoStreamDoubling(3)((torch.zeros(2, 3, 2, 3), torch.zeros(2, 3, 2, 3)), (4, 5))[0].shape
    torch.Size([2, 3, 4, 5])
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.down = ShiftedConvTranspose2d(hidden, hidden, "down")
        self.right = ShiftedConvTranspose2d(hidden, hidden, "right")

    def forward(self, streams: Halved, size: tuple[int, int]) -> Features:
        """To images of `size`."""
        return self.down(streams[0], size), self.right(streams[1], size)
