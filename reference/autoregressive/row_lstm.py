r"""Row LSTM, the PixelRNN that reads an image row by row: H steps, each of a whole row at once.

.. code-block:: text

    a layer: input-to-state (i, masked) along the row, state-to-state (s) from the row above

    previous row      s s s           seen from o:   x x x x x x .     a triangle, which grows
                       \|/                           . x x x x . .     by a column a row
    this row         i--o                            . . x o . . .

The rest of the network is that of `PixelRNN`.
"""

from __future__ import annotations

__all__ = ["MaskedRowConv", "RowLSTM", "RowLSTMLayer"]

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reference.autoregressive.conv_lstm import ConvLSTMCell
from reference.autoregressive.masks import MaskedConv2d, raster_mask
from reference.autoregressive.pixel_rnn import PixelRNN
from reference.autoregressive.recurrent_reach import row_lstm_reach

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    State = tuple[Float[Tensor, "n hidden w"], Float[Tensor, "n hidden w"]]


class MaskedRowConv(nn.Conv2d):
    r"""A k x 1 convolution along the rows that sees its own pixel and those to the left of it.

    .. math::

        y_{r,c} = b + \sum_{j=-\lfloor k/2 \rfloor}^{0} (w \odot m)_j\, x_{r,c+j}

    with :math:`m` the middle row of the raster mask of type B.

    Paper: Pixel Recurrent Neural Networks (van den Oord, Kalchbrenner, Kavukcuoglu, 2016),
    Sections 3.1 and 3.4, https://arxiv.org/abs/1601.06759
    Claims: autoregressive_model.causality, theory.row_lstm_triangle
    Differs: none.

    Args:
        in_channels, out_channels, kernel_size, data_channels: as for `MaskedConv2d`.

    Raises:
        ValueError: as for `raster_mask`.

    >>> MaskedRowConv(1, 4, kernel_size=3)(torch.zeros(2, 1, 5, 6)).shape
    torch.Size([2, 4, 5, 6])
    """

    mask: Bool[Tensor, "out in one k"]

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, data_channels: int = 1
    ) -> None:
        middle = kernel_size // 2
        super().__init__(in_channels, out_channels, (1, kernel_size), padding=(0, middle))
        mask = raster_mask(
            in_channels, out_channels, kernel_size, "B", data_channels, self.weight.device
        )
        self.register_buffer("mask", mask[:, :, middle : middle + 1])

    def forward(self, x: Float[Tensor, "n in h w"]) -> Float[Tensor, "n out h w"]:
        return F.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)


class RowLSTMLayer(nn.Module):
    r"""An LSTM that runs down the image, its states a whole row; added to its input.

    .. math::

        (h_r, c_r) = \operatorname{LSTM}(K^{ss} * h_{r-1} + K^{is} * f_r,\; c_{r-1}), \qquad
        f_r \leftarrow f_r + W h_r

    Paper: Pixel Recurrent Neural Networks (van den Oord, Kalchbrenner, Kavukcuoglu, 2016),
    Sections 3.1 and 3.3, Figure 5 (right), https://arxiv.org/abs/1601.06759
    Claims: theory.row_lstm_equations, theory.recurrent_steps, theory.row_lstm_triangle
    Differs: none; the first states are zero, where the paper is silent.

    Args:
        hidden: h, a multiple of `channels`; the layer has 2h features.
        kernel: k, of both convolutions, odd.
        channels: of the data.

    >>> RowLSTMLayer(6, 3, channels=3)(torch.zeros(2, 12, 4, 5)).shape
    torch.Size([2, 12, 4, 5])
    """

    def __init__(self, hidden: int, kernel: int, channels: int) -> None:
        super().__init__()
        self.hidden, self.kernel = hidden, kernel
        self.input_to_state = MaskedRowConv(2 * hidden, 4 * hidden, kernel, channels)
        self.cell = ConvLSTMCell(hidden, kernel, channels)
        self.widen = MaskedConv2d(hidden, 2 * hidden, 1, "B", channels)

    def reach(self, felt: Bool[Tensor, "d c h w"]) -> Bool[Tensor, "d c h w"]:
        """The same layer in Boolean algebra."""
        return row_lstm_reach(felt, self.kernel)

    def run(
        self, f: Float[Tensor, "n f h w"], state: State | None = None
    ) -> tuple[Float[Tensor, "n f h w"], State]:
        """Any number of rows, from the states of the row above them to those of the last."""
        zeros = f.new_zeros(f.shape[0], self.hidden, f.shape[3])
        hidden, memory = (zeros, zeros) if state is None else state
        margin, rows = self.kernel // 2, []
        for gates in self.input_to_state(f).unbind(2):  # H steps, of (N, 4h, W)
            hidden, memory = self.cell(gates, F.pad(hidden, (margin, margin)), memory)
            rows.append(hidden)
        out: Tensor = self.widen(torch.stack(rows, dim=2))
        return f + out, (hidden, memory)

    def forward(self, f: Float[Tensor, "n f h w"]) -> Float[Tensor, "n f h w"]:
        return self.run(f)[0]


class RowLSTM(PixelRNN):
    r"""PixelRNN of row LSTM layers: a likelihood takes H steps a layer, whatever the width.

    .. math::

        p(x \mid y) = \prod_i p(x_i \mid \{x_j : j < i,\ j \text{ in the triangle of } i\},\, y)

    With a first kernel of radius a and L layers of radius b, where b <= a, pixel (r, c) sees of row
    r - m the columns from c - a - b (L + m) to c + a + b (m - 1), and of its own those before c.

    Paper: Pixel Recurrent Neural Networks (van den Oord, Kalchbrenner, Kavukcuoglu, 2016),
    Section 3.1, Figure 4 and Table 1, https://arxiv.org/abs/1601.06759
    Claims: autoregressive_model.causality, autoregressive_model.uses_the_allowed_past,
    autoregressive_model.normalised, theory.row_lstm_triangle, theory.recurrent_steps,
    theory.recurrent_sampler_is_naive
    Differs: optional classes.

    The paper's sizes: levels 256, layers 12, hidden 128 and head 1024 (CIFAR-10).

    Args:
        event_shape, levels, num_classes, hidden, head, first_kernel: as for `PixelRNN`.
        layers: L, how many row LSTMs.
        kernel: of the convolutions in them, odd; the paper asks for 3 or more.

    Raises:
        ValueError: as for `PixelRNN`.

    >>> RowLSTM.tiny().logits(torch.zeros(7, 3, 4, 5, dtype=torch.long)).shape
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
        kernel: int = 3,
    ) -> None:
        rows = [RowLSTMLayer(hidden, kernel, event_shape[0]) for _ in range(layers)]
        super().__init__(event_shape, levels, num_classes, rows, hidden, head, first_kernel)

    @classmethod
    def tiny(cls) -> RowLSTM:
        """C, H, W, K, h and head pairwise distinct."""
        return cls((3, 4, 5), levels=2, hidden=6, head=9)
