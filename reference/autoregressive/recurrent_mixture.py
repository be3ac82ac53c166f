r"""RIDE: a spatial LSTM reads the image from two sides, and a mixture of experts says what comes next.

.. code-block:: text

    seen by the state at *          + : the neighbourhood that it reads itself, radius 1
                                    x : through the states above and to the left
    x x x x x .
    x x x + + +   <- one column     . : never seen: states come from the left and from above,
    x x x + * .      to the right       and look no further right than their neighbourhood
"""

from __future__ import annotations

__all__ = ["RIDE", "spatial_lstm"]

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from reference.autoregressive.chain_rule import chain_rule_log_prob
from reference.autoregressive.levels import scaled_levels
from reference.autoregressive.masks import MaskedConv2d
from reference.autoregressive.mcgsm import mcgsm, mcgsm_logits
from reference.autoregressive.sampling import complete, sample

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


def spatial_lstm(
    inputs: Float[Tensor, "n g h w"],
    from_left: Float[Tensor, "g f"],
    from_above: Float[Tensor, "g f"],
) -> Float[Tensor, "n f h w"]:
    r"""A two-dimensional LSTM: each pixel's state from those of the pixels to its left and above.

    .. math::

        (g, o, i, r, c) &= (\tanh, \sigma, \sigma, \sigma, \sigma)(u_{ij} + L\, h_{i,j-1}
            + A\, h_{i-1,j}) \\
        m_{ij} &= g \odot i + m_{i,j-1} \odot c + m_{i-1,j} \odot r, \qquad
        h_{ij} = \tanh(m_{ij} \odot o)

    Paper: Generative Image Modeling Using Spatial LSTMs (Theis, Bethge, 2015), Section 2.2,
    https://arxiv.org/abs/1506.03478
    Claims: theory.spatial_lstm_equations
    Differs: none; states beyond the border are zero.

    Args:
        inputs: u, what the gates get of the image (N, 5F, H, W), in the order g, o, i, r, c.
        from_left, from_above: L and A (5F, F).

    Returns:
        h (N, F, H, W).

    >>> spatial_lstm(torch.zeros(2, 15, 4, 5), torch.zeros(15, 3), torch.zeros(15, 3)).shape
    torch.Size([2, 3, 4, 5])
    """
    width, nothing = inputs.shape[3], inputs.new_zeros(len(inputs), from_left.shape[1])
    above, rows = [(nothing, nothing)] * width, []
    for row in inputs.unbind(2):
        left, states = (nothing, nothing), []
        for u, (h_above, m_above) in zip(row.unbind(2), above, strict=True):
            gates = u + left[0] @ from_left.mT + h_above @ from_above.mT  # (N, 5F)
            g, *others = gates.chunk(5, 1)
            o, i, r, c = (gate.sigmoid() for gate in others)
            memory = g.tanh() * i + left[1] * c + m_above * r
            left = (memory * o).tanh(), memory
            states.append(left)
        above = states
        rows.append(torch.stack([h for h, _ in states], 2))
    return torch.stack(rows, 2)


class RIDE(nn.Module):
    r"""A recurrent image density estimator: spatial LSTM, then a mixture of conditional Gaussians.

    .. math::

        p(x) = \prod_{ij} p(x_{ij} \mid h_{ij}), \qquad
        h_{ij} = f(x_{N(ij)}, h_{i,j-1}, h_{i-1,j})

    Channels of a pixel come one after the other: each has a mixture of its own, which is shown the
    channels before it beside the state.

    Paper: Generative Image Modeling Using Spatial LSTMs (Theis, Bethge, 2015), Section 2.3 and
    Figure 1, https://arxiv.org/abs/1506.03478
    Claims: autoregressive_model.causality, autoregressive_model.uses_the_allowed_past,
    autoregressive_model.normalised, theory.spatial_lstm_equations
    Differs: one layer; colours; levels, by integrating the density over bins, where the paper adds
    noise to them.

    The authors' sizes: hidden 64, neighbourhoods of 5 pixels, 32 experts of 4 scales, 32 features.

    Args:
        event_shape: (C, H, W).
        levels: K, two or more.
        hidden: F, numbers in a state.
        kernel: side of the square whose past half a state reads, odd, 3 or more.
        experts, scales, features: of the mixture.

    Raises:
        ValueError: an event that is not (C, H, W), fewer than two levels, or a kernel that is even
            or too small.

    >>> RIDE.tiny().logits(torch.zeros(7, 3, 4, 5, dtype=torch.long)).shape
    torch.Size([7, 2, 3, 4, 5])
    """

    def __init__(
        self,
        event_shape: tuple[int, int, int],
        levels: int,
        hidden: int = 6,
        kernel: int = 3,
        experts: int = 3,
        scales: int = 2,
        features: int = 4,
    ) -> None:
        super().__init__()
        if len(event_shape) != 3 or levels < 2 or kernel < 3:
            raise ValueError(f"no RIDE for {event_shape=}, {levels=}, {kernel=}")
        self.event_shape, self.levels, self.kernel = event_shape, levels, kernel
        c = event_shape[0]
        self.read = MaskedConv2d(c, 5 * hidden, kernel, "A")
        self.from_left = nn.Parameter(torch.randn(5 * hidden, hidden) / hidden**0.5)
        self.from_above = nn.Parameter(torch.randn(5 * hidden, hidden) / hidden**0.5)
        shown = hidden + c + 1  # the state, the channels before, a constant
        self.log_priors = nn.Parameter(torch.zeros(c, experts, scales))
        self.log_precisions = nn.Parameter(torch.randn(c, experts, scales))
        self.predictors = nn.Parameter(0.5 * torch.randn(c, experts, shown))
        self.loadings = nn.Parameter(0.5 * torch.randn(c, experts, features))
        self.features = nn.Parameter(torch.randn(c, features, shown) / shown**0.5)

    @classmethod
    def tiny(cls) -> RIDE:
        """C, H, W, K and F pairwise distinct."""
        return cls((3, 4, 5), levels=2, hidden=6)

    @property
    def receptive_field(self) -> Bool[Tensor, "d d"]:
        """True at (i, j) where the logits of i may use x_j, over the flattened event."""
        every = torch.ones(self.event_shape, device=self.from_left.device)
        channel, row, column = every.nonzero().unbind(1)
        down, right = row[:, None] - row, column - column[:, None]  # from j to i, from i to j
        above = (down > 0) & (right <= self.kernel // 2)
        beside = (down == 0) & (right < 0)
        same = (down == 0) & (right == 0) & (channel < channel[:, None])
        return above | beside | same

    def logits(self, x: Int[Tensor, "n c h w"]) -> Float[Tensor, "n k c h w"]:
        """Every conditional, in H W steps of the recurrence."""
        values = scaled_levels(x, self.levels, self.from_left.dtype)
        state = spatial_lstm(self.read(values), self.from_left, self.from_above)
        found = []
        for c in range(self.event_shape[0]):
            before = torch.cat([values[:, :c], torch.zeros_like(values[:, c:])], 1)
            shown = torch.cat([state, before, torch.ones_like(values[:, :1])], 1).movedim(1, -1)
            parts = self.predictors[c], self.loadings[c], self.features[c]
            gates, predictions = mcgsm(shown, self.log_priors[c], self.log_precisions[c], *parts)
            found.append(mcgsm_logits(gates, predictions, self.log_precisions[c], self.levels))
        return torch.stack(found, 1).movedim(-1, 1)  # (N, K, C, H, W)

    def log_prob(self, x: Int[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
        """(N,), nats."""
        return chain_rule_log_prob(self.logits(x), x)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Int[Tensor, "n c h w"]:
        """Ancestral sampling; D passes."""
        device = self.from_left.device
        return sample(self.logits, n, self.event_shape, generator=generator, device=device)

    def complete(
        self,
        x: Int[Tensor, "n c h w"],
        known: Bool[Tensor, "c h w"],
        generator: torch.Generator | None = None,
    ) -> Int[Tensor, "n c h w"]:
        """Ancestral completion; one pass for each unknown entry."""
        return complete(self.logits, x, known, generator=generator)
