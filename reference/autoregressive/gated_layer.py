r"""The gated layer: two stacks of convolutions that between them see all of the past.

.. code-block:: text

    vertical stack v       horizontal stack h        what h knows of the past of *

                                                        1 1 1 1 1
       1 1 1 1 1                                        1 1 1 1 1       no blind spot
       1 1 1 1 1                                        1 1 1 1 1
       1 1[1]1 1              1 1[*]. .                 1 1 * . .

    one layer, + a condition's terms where there are any:

    v ----> conv, rows up to its own --(+)--+--> gate --> v
                                            |
                                  down one row, 1 x 1
                                            |
    h --+-> conv, its row, masked --(+)----(+)--> gate --> 1 x 1 --(+)--> h
        |                                                           |
        +-----------------------------------------------------------+

The colours are masked in h alone: what v saw of a row is told to the rows below it only.
"""

from __future__ import annotations

__all__ = ["GatedLayer", "RowConv2d", "gated_activation"]

from typing import TYPE_CHECKING, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from reference.autoregressive.masks import MaskedConv2d, raster_mask

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


def gated_activation(features: Float[Tensor, "n g *space"]) -> Float[Tensor, "n p *space"]:
    r"""Let one half of the features decide how much of the other half passes.

    .. math::

        y = \tanh(f) \odot \sigma(g)

    Paper: Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016),
    Section 2.1, Equation 2, https://arxiv.org/abs/1606.05328
    Claims: autoregressive_model.causality
    Differs: none. Feature i of a half meets feature i of the other, so both halves must list the
    colours in the same order.

    Args:
        features: (N, 2p, ...): f, then g.

    Returns:
        (N, p, ...), in (-1, 1).

    >>> gated_activation(Tensor([[9.0, 9.0, 9.0, -9.0]])).round()
    tensor([[1., 0.]])
    """
    f, g = features.chunk(2, dim=1)
    return f.tanh() * g.sigmoid()


class RowConv2d(nn.Conv2d):
    r"""A convolution over the row to the left, twice: once for each half of a gate.

    .. math::

        y_{r,c} = \sum_{j = 0}^{k} (w_j \odot m_j)\, x_{r,c-j} + b

    where m hides, at the centre tap j = 0 alone, the colours that type A or B of `raster_mask`
    hides: in each half for itself, lest a gate pair R with G.

    Paper: Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016),
    Section 2.2 and Figure 2 (the n x 1 convolution), https://arxiv.org/abs/1606.05328
    Claims: autoregressive_model.causality, autoregressive_model.uses_the_allowed_past
    Differs: none; the half kernel is the alternative that the paper names.

    Args:
        in_channels: a multiple of `channels`.
        hidden: p, a multiple of `channels`; the result has 2p features.
        kernel: the side of the full kernel, odd; k is half of it, rounded down.
        mask_type, channels: as for `raster_mask`.

    >>> RowConv2d(1, 4, 3, "A", channels=1)(Tensor(2, 1, 5, 6)).shape
    torch.Size([2, 8, 5, 6])
    """

    mask: Bool[Tensor, "out in 1 k"]

    def __init__(
        self,
        in_channels: int,
        hidden: int,
        kernel: int,
        mask_type: Literal["A", "B"],
        channels: int,
    ) -> None:
        k = kernel // 2
        super().__init__(in_channels, 2 * hidden, (1, k + 1))
        mask = raster_mask(in_channels, hidden, kernel, mask_type, channels, self.weight.device)
        self.register_buffer("mask", mask[:, :, k : k + 1, : k + 1].repeat(2, 1, 1, 1))

    def forward(self, x: Float[Tensor, "n in h w"]) -> Float[Tensor, "n out h w"]:
        left = F.pad(x, (self.mask.shape[-1] - 1, 0))
        return F.conv2d(left, self.weight * self.mask, self.bias)


class GatedLayer(nn.Module):
    r"""One step of both stacks; the horizontal one also hears what the vertical one saw above it.

    .. math::

        a_v = W_v * v + t_v, \quad v' = \operatorname{gate}(a_v), \qquad
        h' = h + U \operatorname{gate}(W_h * h + L \operatorname{down}(a_v) + t_h)

    Paper: Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016),
    Section 2.2, Figure 2 and Equations 4 and 5 (the terms t), https://arxiv.org/abs/1606.05328
    Claims: autoregressive_model.causality, theory.gated_pixelcnn_has_no_blind_spot,
    theory.conditioning_enters_every_pixel
    Differs: the link L reads the vertical features after t_v is added.

    Args:
        in_channels: features of both stacks before it.
        hidden: p, features of both stacks behind it, a multiple of `channels`.
        kernel: side of the kernels, odd.
        channels: of the data.
        first: type A and no residual, where the input is the image; type B otherwise.

    >>> [s.shape[1] for s in GatedLayer(3, 6, 5, 3, first=True)(*Tensor(2, 1, 3, 4, 5))]
    [6, 6]
    """

    def __init__(
        self, in_channels: int, hidden: int, kernel: int, channels: int, first: bool
    ) -> None:
        super().__init__()
        self.first, self.k = first, kernel // 2
        self.vertical = nn.Conv2d(in_channels, 2 * hidden, (self.k + 1, 2 * self.k + 1))
        self.horizontal = RowConv2d(in_channels, hidden, kernel, "A" if first else "B", channels)
        self.link = nn.Conv2d(2 * hidden, 2 * hidden, 1)
        self.out = MaskedConv2d(hidden, hidden, 1, "B", channels)

    def forward(
        self,
        v: Float[Tensor, "n f h w"],
        h: Float[Tensor, "n f h w"],
        term: Float[Tensor, "n g #h #w"] | None = None,
    ) -> tuple[Float[Tensor, "n p h w"], Float[Tensor, "n p h w"]]:
        term_v, term_h = (0.0, 0.0) if term is None else term.chunk(2, dim=1)
        above = self.vertical(F.pad(v, (self.k, self.k, self.k, 0))) + term_v
        down = F.pad(above, (0, 0, 1, -1))  # the last row out, a row of zeros in at the top
        out: Tensor = self.out(gated_activation(self.horizontal(h) + self.link(down) + term_h))
        return gated_activation(above), out if self.first else h + out
