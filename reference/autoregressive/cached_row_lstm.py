r"""Fast sampling from the row LSTM: the states of full rows are kept, so a draw costs a row, not H.

.. code-block:: text

    . . . . .        not computed again: all that row r needs of the rows above are
    . . . . .        the pixels in reach of the first convolution
    k k k k k   <--- and each layer's states after the row above
    x x o . .        computed for each draw: row r
"""

from __future__ import annotations

__all__ = ["RowLSTMCache"]

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from reference.autoregressive.row_lstm import RowLSTM

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from reference.autoregressive.row_lstm import State


class RowLSTMCache:
    r"""The states of every row LSTM so far, for `cached_sample` and `cached_complete`.

    .. math::

        \ell_r = f(x_{r-a}, \dots, x_r;\; h_{r-1}, c_{r-1}): \qquad h_r \text{ and } c_r
        \text{ of every layer are kept}

    A draw costs each layer one step, of a row, where the naive sampler takes H. The row's states that
    the last draw in it leaves are final: no pixel's features depend on its own last colour.

    Paper: Pixel Recurrent Neural Networks (van den Oord, Kalchbrenner, Kavukcuoglu, 2016),
    Section 3.1, Equation 3, https://arxiv.org/abs/1601.06759
    Claims: theory.recurrent_sampler_is_naive, autoregressive_model.sampler_matches_density,
    autoregressive_model.sampling_is_ancestral
    Differs: the paper does not say how it samples.

    Args:
        model: whose weights are used.
        n: how many images.
        y: (N,), long, given when there are classes.

    >>> RowLSTMCache(RowLSTM.tiny(), 7).logits(0, 0).shape
    torch.Size([7, 2, 3])
    """

    def __init__(self, model: RowLSTM, n: int, y: Int[Tensor, " n"] | None = None) -> None:
        self.model, self.y, (c, h, w) = model, y, model.event_shape
        self.blank = torch.zeros(n, c, h, w, dtype=torch.long, device=model.first.weight.device)
        self.image = self.blank.clone()
        begin: list[State | None] = [None for _ in model.layers]
        self.states = [begin for _ in range(h + 1)]  # before each row

    @torch.no_grad()
    def logits(self, row: int, column: int) -> Float[Tensor, "n k c"]:
        """Compute this row, keep its states, and read a pixel's conditionals off."""
        margin = self.model.first.kernel_size[0] // 2
        strip = self.image[:, :, max(row - margin, 0) : row + 1]
        f = self.model.embed(strip, self.y)[:, :, -1:]
        layer: Any  # a RowLSTMLayer, which nn.ModuleList does not know
        after: list[State | None] = []
        for layer, state in zip(self.model.layers, self.states[row], strict=True):
            f, new_state = layer.run(f, state)
            after.append(new_state)
        self.states[row + 1] = after
        return self.model.head(f)[:, :, :, 0, column]

    def record(self, row: int, column: int, pixel: Int[Tensor, "n c"]) -> None:
        """Show it to the steps to come."""
        self.image[:, :, row, column] = pixel
