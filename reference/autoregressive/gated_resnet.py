r"""The gated residual block of PixelCNN++ and PixelSNAIL, and its activation.

.. code-block:: text

    f --+--> cELU, conv --(+)--> cELU, dropout, conv to 2h --> value * sigmoid(gate) --(+)-->
        |                  ^                                                            |
        |    a --> cELU, 1x1                                                            |
        +-------------------------------------------------------------------------------+
"""

from __future__ import annotations

__all__ = ["GatedResNetBlock", "concat_elu"]

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reference.autoregressive.shifted_convolutions import ShiftedConv2d

if TYPE_CHECKING:
    from jaxtyping import Float

    from reference.autoregressive.shifted_convolutions import Stream


def concat_elu(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n cc h w"]:
    r"""An activation that keeps both signs: twice the channels, none of which is ever dead.

    .. math::

        \operatorname{cELU}(x) = [\operatorname{elu}(x), \operatorname{elu}(-x)]

    Paper: PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood and Other
    Modifications (Salimans, Karpathy, Chen, Kingma, 2017), published code,
    https://arxiv.org/abs/1701.05517
    Claims: autoregressive_model.uses_the_allowed_past
    Differs: none.

    Args:
        x: (N, C, H, W).

    Returns:
        (N, 2C, H, W).

    >>> concat_elu(torch.ones(1, 1, 1, 1)).flatten()
    tensor([ 1.0000, -0.6321])
    """
    return F.elu(torch.cat([x, -x], dim=1))


class GatedResNetBlock(nn.Module):
    r"""Two shifted convolutions added to their input, the second of them gated.

    .. math::

        f + u \odot \sigma(g), \qquad [u, g] = W_2 * \operatorname{drop}(\operatorname{cELU}(
            W_1 * \operatorname{cELU}(f) + V \operatorname{cELU}(a)))

    Paper: PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood and Other
    Modifications (Salimans, Karpathy, Chen, Kingma, 2017), Sections 2.4, 2.5 and 3,
    https://arxiv.org/abs/1701.05517
    Claims: theory.dropout_in_training_only, autoregressive_model.causality
    Differs: no weight normalisation; no bias for each class.

    Args:
        hidden: h, features in and out.
        stream: "down", or "right" (down and right).
        aside: features of the second input `a`, as of a short-cut; 0: there is none.
        dropout: probability that a feature between the convolutions is dropped, in training mode.
        kernel: height and width of the convolutions; those of the stream if None.

    >>> GatedResNetBlock(4, "down", aside=3)(torch.zeros(2, 4, 5, 6), torch.zeros(2, 3, 5, 6)).shape
    torch.Size([2, 4, 5, 6])
    """

    def __init__(
        self,
        hidden: int,
        stream: Stream,
        aside: int = 0,
        dropout: float = 0.0,
        kernel: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.first = ShiftedConv2d(2 * hidden, hidden, stream, kernel)
        self.aside = nn.Conv2d(2 * aside, hidden, 1) if aside else None
        self.dropout = nn.Dropout(dropout)
        self.second = ShiftedConv2d(2 * hidden, 2 * hidden, stream, kernel)

    def forward(
        self, f: Float[Tensor, "n f h w"], a: Float[Tensor, "n a h w"] | None = None
    ) -> Float[Tensor, "n f h w"]:
        g: Tensor = self.first(concat_elu(f))
        if self.aside is not None and a is not None:
            g = g + self.aside(concat_elu(a))
        value, gate = self.second(self.dropout(concat_elu(g))).chunk(2, dim=1)
        out: Tensor = f + value * gate.sigmoid()
        return out
