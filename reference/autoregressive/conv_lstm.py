r"""The LSTM step of PixelRNN: a line of pixels at once, its states from a line that came before.

With three data channels every gate has an h / 3 of R, of G and of B, and the 4h channels that a
masked convolution hands over are grouped by colour first, by gate within a colour:

.. code-block:: text

    | o f i g | o f i g | o f i g |      not      | o o o | f f f | i i i | g g g |
        R         G         B                       which would give R the gates of G
"""

from __future__ import annotations

__all__ = ["ConvLSTMCell", "lstm_update"]

from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float


def lstm_update(
    gates: Float[Tensor, "n gates *line"],
    memory: Float[Tensor, "n h *line"],
    data_channels: int = 1,
) -> tuple[Float[Tensor, "n h *line"], Float[Tensor, "n h *line"]]:
    r"""Forget some of the memory, write to it, and show some of it.

    .. math::

        c' = \sigma(f) \odot c + \sigma(i) \odot \tanh(g), \qquad h' = \sigma(o) \odot \tanh(c')

    Paper: Pixel Recurrent Neural Networks (van den Oord, Kalchbrenner, Kavukcuoglu, 2016),
    Section 3.1, Equation 3, https://arxiv.org/abs/1601.06759
    Claims: theory.row_lstm_equations, theory.diagonal_lstm_equations
    Differs: none.

    Args:
        gates: (N, 4h, ...), before the nonlinearity: for each data channel in turn its share of o,
            of f, of i and of g.
        memory: c, (N, h, ...).
        data_channels: C, which divides h.

    Returns:
        h' and c', each (N, h, ...).

    Raises:
        ValueError: the gates are not four times the memory, or C does not divide it.

    >>> import torch
    >>> hidden, memory = lstm_update(torch.zeros(1, 4, 1), torch.ones(1, 1, 1))
    >>> memory
    tensor([[[0.5000]]])
    """
    features = memory.shape[1]
    if gates.shape[1] != 4 * features or features % data_channels:
        raise ValueError(
            f"{features} features of {data_channels} data channels need four times as many gates, "
            f"not {gates.shape[1]}"
        )
    share = features // data_channels
    by_gate = gates.reshape(len(gates), data_channels, 4, share, *gates.shape[2:]).unbind(2)
    o, f, i, g = (gate.flatten(1, 2) for gate in by_gate)  # each (N, C, h / C, ...) -> (N, h, ...)
    new_memory = f.sigmoid() * memory + i.sigmoid() * g.tanh()
    return o.sigmoid() * new_memory.tanh(), new_memory


class ConvLSTMCell(nn.Module):
    r"""The recurrent half of a PixelRNN layer: a convolution along the line before, then an LSTM.

    .. math::

        (h', c') = \operatorname{LSTM}(K^{ss} * h + \text{gates},\; c)

    The convolution is not masked: all of the line before is past, whatever its colour.

    Paper: Pixel Recurrent Neural Networks (van den Oord, Kalchbrenner, Kavukcuoglu, 2016),
    Sections 3.1 and 3.2, Equation 3, https://arxiv.org/abs/1601.06759
    Claims: theory.row_lstm_equations, theory.diagonal_lstm_equations, theory.recurrent_steps
    Differs: no bias, which the gates have: so states stay zero on a padding whose gates are zero.

    Args:
        hidden: h, a multiple of `data_channels`.
        kernel: k, how many neighbours of the line before are seen.
        data_channels: C.

    >>> import torch
    >>> cell = ConvLSTMCell(3, kernel=2)
    >>> cell(torch.zeros(1, 12, 5), torch.zeros(1, 3, 6), torch.zeros(1, 3, 5))[0].shape
    torch.Size([1, 3, 5])
    """

    def __init__(self, hidden: int, kernel: int, data_channels: int = 1) -> None:
        super().__init__()
        self.hidden, self.data_channels = hidden, data_channels
        self.state_to_state = nn.Conv1d(hidden, 4 * hidden, kernel, bias=False)

    def forward(
        self,
        gates: Float[Tensor, "n gates line"],
        before: Float[Tensor, "n h padded"],
        memory: Float[Tensor, "n h line"],
    ) -> tuple[Float[Tensor, "n h line"], Float[Tensor, "n h line"]]:
        """One step: `before` is the hidden line before this, padded by k - 1 in all."""
        return lstm_update(gates + self.state_to_state(before), memory, self.data_channels)
