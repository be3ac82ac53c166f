r"""NADE: one hidden layer for every conditional, all of them sharing one matrix of weights.

.. code-block:: text

    x1       x2       x3               a1 = c            what the hidden units know at first
      \        \        \              a2 = a1 + W[x1]   one column more for each dimension
    c --> a1 --(+)-> a2 --(+)-> a3     a3 = a2 + W[x2]   that is seen: O(H) a step, O(HD) in all
          |        |        |
       V1 h1    V2 h2    V3 h3         h = sigmoid(a)
          |        |        |
       p(x1)   p(x2|.)   p(x3|.)

Written as D separate sums, of 0, 1, ..., D - 1 columns, the same numbers cost O(HD^2).
"""

from __future__ import annotations

__all__ = ["NADE", "nade_activations"]

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from reference.autoregressive.chain_rule import chain_rule_log_prob, class_labels
from reference.autoregressive.order import generation_order, past_of
from reference.autoregressive.sampling import complete, sample

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


def nade_activations(
    start: Float[Tensor, "n h"], columns: Float[Tensor, "n d h"]
) -> Float[Tensor, "n d h"]:
    r"""Run the recurrence: what the hidden units hold when each dimension is predicted.

    .. math::

        a_1 = c, \qquad a_{i+1} = a_i + W_{x_i}
        \qquad\Longleftrightarrow\qquad a_i = c + \sum_{j < i} W_{x_j}

    Paper: The Neural Autoregressive Distribution Estimator (Larochelle, Murray, 2011),
    Section 3, https://proceedings.mlr.press/v15/larochelle11a.html
    Claims: theory.nade_linear_cost
    Differs: none.

    Args:
        start: c, (N, H), each item's own.
        columns: (N, D, H): for each dimension in order the weights of the level that occurred.

    Returns:
        (N, D, H), before the sigmoid; the last column is never used.

    >>> nade_activations(torch.zeros(1, 1), torch.tensor([[[1.0], [2.0], [4.0]]])).flatten()
    tensor([0., 1., 3.])
    """
    # Shifted before it is summed: subtracting x_i's own column afterwards would leave its rounding.
    return torch.cat([start[:, None], columns[:, :-1]], dim=1).cumsum(dim=1)


class NADE(nn.Module):
    r"""The neural autoregressive distribution estimator, with K levels and optional classes.

    .. math::

        p(x_i = k \mid x_{<i}, y) = \operatorname{softmax}_k (b_i + V_i h_i), \qquad
        h_i = \sigma\Big(c_y + \sum_{j < i} W_{j, x_j}\Big)

    Paper: The Neural Autoregressive Distribution Estimator (Larochelle, Murray, 2011),
    Section 3, https://proceedings.mlr.press/v15/larochelle11a.html
    Claims: autoregressive_model.causality, autoregressive_model.uses_the_allowed_past,
    autoregressive_model.normalised, autoregressive_model.chain_rule,
    autoregressive_model.conditioning, theory.nade_linear_cost, theory.features_see_only_the_past
    Differs: K levels where the paper has two: one column of W for each level; at K = 2 it is the
    same model with redundant weights. Classes, which choose c, are added. V is not tied to W.

    The paper's sizes: levels 2, hidden 500 (binarised MNIST, D = 784).

    Args:
        event_shape: (D,), or (C, H, W).
        levels: K.
        num_classes: how many classes; 0: unconditional.
        hidden: H.
        order: flattened indices, first generated first; raster order if None.

    Raises:
        ValueError: as for `generation_order`.

    >>> NADE.tiny().logits(torch.zeros(7, 3, 1, 2, dtype=torch.long)).shape
    torch.Size([7, 4, 3, 1, 2])
    """

    order: Int[Tensor, " d"]

    def __init__(
        self,
        event_shape: Sequence[int],
        levels: int,
        num_classes: int = 0,
        hidden: int = 16,
        order: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.event_shape, self.num_classes = tuple(event_shape), num_classes
        self.register_buffer("order", generation_order(event_shape, order))
        d = len(self.order)
        # All weights come in the order of generation.
        self.columns = nn.Parameter(torch.randn(d, levels, hidden) * d**-0.5)  # W
        self.start = nn.Parameter(torch.randn(max(num_classes, 1), hidden))  # c
        self.output = nn.Parameter(torch.randn(d, levels, hidden) * hidden**-0.5)  # V
        self.bias = nn.Parameter(torch.zeros(d, levels))  # b

    @classmethod
    def tiny(cls) -> NADE:
        """C, H, W, K and the number of hidden units pairwise distinct; last dimension first."""
        return cls((3, 1, 2), levels=4, hidden=5, order=range(5, -1, -1))

    @property
    def receptive_field(self) -> Bool[Tensor, "d d"]:
        """The full past: every hidden unit adds up all that was seen."""
        return past_of(self.order)

    def features(
        self, x: Int[Tensor, " n *event"], y: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, "n h *event"]:
        """The hidden units, for each dimension when it is predicted: a code of its past."""
        label = class_labels(x, y, self.num_classes)
        ordered = x.flatten(1)[:, self.order]
        seen = self.columns[torch.arange(ordered.shape[1], device=x.device), ordered]  # (N, D, H)
        hidden = nade_activations(self.start[label], seen).sigmoid()
        return hidden[:, self.order.argsort()].mT.reshape(len(x), -1, *self.event_shape)

    def logits(
        self, x: Int[Tensor, " n *event"], y: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, "n k *event"]:
        """Every conditional in one pass."""
        place = self.order.argsort()
        hidden = self.features(x, y).flatten(2)  # (N, H, D)
        found = torch.einsum("dkh,nhd->nkd", self.output[place], hidden) + self.bias[place].mT
        return found.view(*found.shape[:2], *self.event_shape)

    def log_prob(
        self, x: Int[Tensor, " n *event"], y: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, " n"]:
        """(N,), nats."""
        return chain_rule_log_prob(self.logits(x, y), x)

    def sample(
        self, n: int, y: Int[Tensor, " n"] | None = None, generator: torch.Generator | None = None
    ) -> Int[Tensor, " n *event"]:
        """Ancestral sampling from the definition; D passes. `nade_complete` is the faster way."""
        order, device = self.order.tolist(), self.bias.device
        return sample(
            lambda x: self.logits(x, y), n, self.event_shape, order, generator, device=device
        )

    def complete(
        self,
        x: Int[Tensor, " n *event"],
        known: Bool[Tensor, "*event"],
        y: Int[Tensor, " n"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Int[Tensor, " n *event"]:
        """Ancestral completion; one pass for each unknown entry."""
        return complete(lambda x: self.logits(x, y), x, known, self.order.tolist(), generator)
