r"""Where an input is felt after a layer of PixelRNN: the layer itself, in Boolean algebra.

.. code-block:: text

    row LSTM, k = 3           diagonal BiLSTM

    . . . * + . .             . . . * + + +       what is felt at * before the layer is felt after it
    . . + + + + .             + + + + + + +       at * and at every +
    . + + + + + +             + + + + + + +
"""

from __future__ import annotations

__all__ = ["diagonal_bilstm_reach", "row_lstm_reach"]

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from reference.autoregressive.masks import raster_mask
from reference.autoregressive.receptive_field import spread

if TYPE_CHECKING:
    from jaxtyping import Bool


def row_lstm_reach(felt: Bool[Tensor, "d c h w"], kernel: int) -> Bool[Tensor, "d c h w"]:
    r"""Along the row by the masked convolution, then down, wider by the kernel's radius each row.

    .. math::

        s_r = B_k f_r \vee D_k s_{r-1}, \qquad f_r \leftarrow f_r \vee s_r

    with :math:`B_k` the masked row convolution and :math:`D_k` one without mask, which mixes colours.

    Paper: Pixel Recurrent Neural Networks (van den Oord, Kalchbrenner, Kavukcuoglu, 2016),
    Section 3.1 and Figure 4, https://arxiv.org/abs/1601.06759
    Claims: autoregressive_model.uses_the_allowed_past, theory.row_lstm_triangle
    Differs: none.

    Args:
        felt: (D, C, H, W), for each of D inputs where it is felt before the layer.
        kernel: k, odd.

    Returns:
        (D, C, H, W), after it.

    >>> row_lstm_reach(torch.eye(4).view(4, 1, 1, 4).repeat(1, 1, 2, 1) > 0, kernel=3)[0, 0].int()
    tensor([[1, 1, 0, 0],
            [1, 1, 1, 0]], dtype=torch.int32)
    """
    channels, middle = felt.shape[1], kernel // 2
    mask = raster_mask(channels, channels, kernel, "B", channels, felt.device)
    state = spread(felt, mask[:, :, middle : middle + 1])
    rows = [state[:, :, 0]]
    for row in state.unbind(2)[1:]:
        any_colour = rows[-1].any(dim=1, keepdim=True).double()
        rows.append(row | (F.max_pool1d(any_colour, kernel, stride=1, padding=middle) > 0))
    return felt | torch.stack(rows, dim=2)


def diagonal_bilstm_reach(felt: Bool[Tensor, "d c h w"]) -> Bool[Tensor, "d c h w"]:
    r"""To the right in its own row, and from the row below on everywhere.

    .. math::

        f_{r,c} \leftarrow f_{r,c} \vee \bigvee_{c' < c} f_{r,c'} \vee
            \bigvee_{r' < r} \bigvee_{c'} f_{r',c'}

    where every colour of an earlier pixel is felt by every colour.

    Paper: Pixel Recurrent Neural Networks (van den Oord, Kalchbrenner, Kavukcuoglu, 2016),
    Section 3.2 and Figure 4, https://arxiv.org/abs/1601.06759
    Claims: autoregressive_model.uses_the_allowed_past, theory.diagonal_bilstm_field
    Differs: none.

    Args:
        felt: (D, C, H, W), for each of D inputs where it is felt before the layer.

    Returns:
        (D, C, H, W), after it.

    >>> diagonal_bilstm_reach(torch.eye(4).view(4, 1, 2, 2) > 0)[1, 0].int()  # of the upper right
    tensor([[0, 1],
            [1, 1]], dtype=torch.int32)
    """
    any_colour = felt.any(dim=1, keepdim=True)
    so_far = any_colour.cumsum(dim=3) > 0  # in this row, up to here
    rows_so_far = so_far[..., -1:].cumsum(dim=2) > 0  # in the rows up to this one
    left = F.pad(so_far, (1, 0))[..., :-1]
    above = F.pad(rows_so_far, (0, 0, 1, 0))[:, :, :-1]
    return felt | left | above
