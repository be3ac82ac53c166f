r"""Diagonal BiLSTM, the PixelRNN that sees all rows above: two scans along the diagonals.

.. code-block:: text

    \ scan: pixel o sees          / scan, shifted           together: the rows above whole,
    its neighbours x, and         down one row so that      and the row to the left
    through them a quadrant       it ends above o

      q q x . .                     . . q q q                 q q q q q
      q x o . .                     . . o . .                 q q o . .

The upper scan's step takes a whole diagonal, which is a column of the skewed map.
"""

from __future__ import annotations

__all__ = ["DiagonalBiLSTM", "DiagonalBiLSTMLayer", "diagonal_scan"]

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reference.autoregressive.conv_lstm import ConvLSTMCell
from reference.autoregressive.masks import MaskedConv2d
from reference.autoregressive.pixel_rnn import PixelRNN
from reference.autoregressive.recurrent_reach import diagonal_bilstm_reach
from reference.autoregressive.skewing import skew, unskew

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


def diagonal_scan(
    cell: ConvLSTMCell, gates: Float[Tensor, "n gates h w"]
) -> Float[Tensor, "n hidden h w"]:
    r"""Run an LSTM from the upper left corner to the lower right, H + W - 1 steps of a diagonal.

    .. math::

        (h_{r,c}, c_{r,c}) = \operatorname{LSTM}(K_0 h_{r-1,c} + K_1 h_{r,c-1} + \text{gates}_{r,c},
            \; c_{r,c-1})

    Paper: Pixel Recurrent Neural Networks (van den Oord, Kalchbrenner, Kavukcuoglu, 2016),
    Section 3.2 and Figure 3, https://arxiv.org/abs/1601.06759
    Claims: theory.diagonal_lstm_equations, theory.recurrent_steps
    Differs: none; the first states are zero, where the paper is silent.

    Args:
        cell: of kernel 2.
        gates: (N, 4h, H, W), what the input adds to them.

    Returns:
        the hidden states (N, h, H, W).

    >>> diagonal_scan(ConvLSTMCell(3, kernel=2), torch.zeros(1, 12, 4, 5)).shape
    torch.Size([1, 3, 4, 5])
    """
    hidden = memory = gates.new_zeros(gates.shape[0], cell.hidden, gates.shape[2])
    diagonals = []
    for diagonal in skew(gates).unbind(3):  # (N, 4h, H)
        hidden, memory = cell(diagonal, F.pad(hidden, (1, 0)), memory)  # no row above the first
        diagonals.append(hidden)
    return unskew(torch.stack(diagonals, dim=3))


class DiagonalBiLSTMLayer(nn.Module):
    r"""Two diagonal scans, the one from the right moved down a row; added to their input.

    .. math::

        f_{r,c} \leftarrow f_{r,c} + W (\overrightarrow{h}_{r,c} + \overleftarrow{h}_{r-1,c})

    The scan from the right has seen the rest of its row, which row r must not know of row r: hence
    that of the row above, all of which is past.

    Paper: Pixel Recurrent Neural Networks (van den Oord, Kalchbrenner, Kavukcuoglu, 2016),
    Sections 3.2 and 3.3, Figures 4 and 5 (right), https://arxiv.org/abs/1601.06759
    Claims: theory.diagonal_lstm_equations, theory.recurrent_steps, theory.diagonal_bilstm_field
    Differs: none; the residual's 1 x 1 convolution follows the sum of the scans.

    Args:
        hidden: h, a multiple of `channels`; the layer has 2h features.
        channels: of the data.

    >>> DiagonalBiLSTMLayer(6, channels=3)(torch.zeros(2, 12, 4, 5)).shape
    torch.Size([2, 12, 4, 5])
    """

    def __init__(self, hidden: int, channels: int) -> None:
        super().__init__()
        self.left_gates = MaskedConv2d(2 * hidden, 4 * hidden, 1, "B", channels)
        self.right_gates = MaskedConv2d(2 * hidden, 4 * hidden, 1, "B", channels)
        self.left_cell = ConvLSTMCell(hidden, 2, channels)
        self.right_cell = ConvLSTMCell(hidden, 2, channels)
        self.widen = MaskedConv2d(hidden, 2 * hidden, 1, "B", channels)

    def reach(self, felt: Bool[Tensor, "d c h w"]) -> Bool[Tensor, "d c h w"]:
        """The same layer in Boolean algebra."""
        return diagonal_bilstm_reach(felt)

    def forward(self, f: Float[Tensor, "n f h w"]) -> Float[Tensor, "n f h w"]:
        left = diagonal_scan(self.left_cell, self.left_gates(f))
        right = diagonal_scan(self.right_cell, self.right_gates(f).flip(3)).flip(3)
        above = F.pad(right, (0, 0, 1, 0))[:, :, :-1]  # down one row, zeros in the first
        out: Tensor = self.widen(left + above)
        return f + out


class DiagonalBiLSTM(PixelRNN):
    r"""PixelRNN of diagonal BiLSTM layers: a likelihood takes H + W - 1 steps a layer and scan.

    .. math::

        p(x \mid y) = \prod_i p(x_i \mid \{x_j : j < i\} \setminus \{x_{C-1,\,r-1,\,W-1}
            \text{ if } c + a < W - 1\},\, y), \qquad i \text{ at pixel } (r, c)

    All of the past but for one entry, the last colour of the last pixel of the row above. The layers
    carry to (r, c) all features of the rows above and of its own row up to c. But the mask-A
    convolution comes first, of radius a >= 1: no feature of a pixel knows its own last colour, which
    is known to later pixels within a columns alone, and in row r those begin at column W - 1 - a. No
    number of layers helps.

    Paper: Pixel Recurrent Neural Networks (van den Oord, Kalchbrenner, Kavukcuoglu, 2016),
    Section 3.2 and Table 1, https://arxiv.org/abs/1601.06759
    Claims: autoregressive_model.causality, autoregressive_model.uses_the_allowed_past,
    autoregressive_model.normalised, theory.diagonal_bilstm_field, theory.recurrent_steps,
    theory.recurrent_sampler_is_naive
    Differs: optional classes. The paper counts the whole past as seen, which holds where W <= a + 1.

    The paper's sizes: levels 256, layers 12, hidden 128 and head 1024 (CIFAR-10).

    Args:
        event_shape, levels, num_classes, hidden, head, first_kernel: as for `PixelRNN`.
        layers: how many diagonal BiLSTMs.

    Raises:
        ValueError: as for `PixelRNN`.

    >>> DiagonalBiLSTM.tiny().logits(torch.zeros(7, 3, 4, 5, dtype=torch.long)).shape
    torch.Size([7, 2, 3, 4, 5])
    """

    def __init__(
        self,
        event_shape: tuple[int, int, int],
        levels: int,
        num_classes: int = 0,
        hidden: int = 6,
        head: int = 12,
        layers: int = 2,
        first_kernel: int = 7,
    ) -> None:
        scans = [DiagonalBiLSTMLayer(hidden, event_shape[0]) for _ in range(layers)]
        super().__init__(event_shape, levels, num_classes, scans, hidden, head, first_kernel)

    @classmethod
    def tiny(cls) -> DiagonalBiLSTM:
        """C, H, W, K, h and head pairwise distinct."""
        return cls((3, 4, 5), levels=2, hidden=6, head=9)
