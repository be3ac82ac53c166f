r"""MADE: an autoencoder made autoregressive by masking its weights.

.. code-block:: text

    x, one-hot --> mask, W1 --> ReLU --> mask, W2 --> ReLU --> ... --> mask, V --(+)--> logits
        |                                                                        |
        +---------------------- strict mask, A (direct connections) -------------+

All D conditionals come from one pass. The masks follow from degrees alone, so one set of weights
serves several orders and connectivities:

.. code-block:: text

    mask set 0   order 0 1 2   degrees ...      `made.chosen = 0` picks the set that every member
    mask set 1   order 2 0 1   degrees ...      uses; train with `made.chosen = step % num_masks`
"""

from __future__ import annotations

__all__ = ["MADE"]

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reference.autoregressive.chain_rule import chain_rule_log_prob, class_labels
from reference.autoregressive.made_masks import (
    made_degrees,
    made_masks,
    made_receptive_field,
    masked_layers,
)
from reference.autoregressive.order import generation_order
from reference.autoregressive.sampling import complete, sample

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


class MADE(nn.Module):
    r"""The masked autoencoder for distribution estimation, with K levels and optional classes.

    .. math::

        h^l = \operatorname{relu}((W^l \odot M^l) h^{l-1} + b^l), \qquad
        p(x_d = k \mid x_{<d}, y) = \operatorname{softmax}_k \big( (V \odot M^{\text{out}}) h^L
            + (A \odot M^{\text{direct}}) x + c_y \big)_{d,k}

    Paper: MADE: Masked Autoencoder for Distribution Estimation (Germain, Gregor, Murray,
    Larochelle, 2015), Section 4, https://arxiv.org/abs/1502.03509
    Claims: autoregressive_model.causality, autoregressive_model.uses_the_allowed_past,
    autoregressive_model.normalised, autoregressive_model.chain_rule,
    autoregressive_model.conditioning, theory.made_masks, theory.made_orders_share_weights
    Differs: K levels where the paper has two, one-hot, an input's levels sharing its rank. Classes,
    which choose the biases of the first and of the last layer, are added. Biases do not depend on
    the mask set (the paper's 'connectivity weights' are left out).

    The paper's sizes: levels 2, hidden (8000,) or (8000, 8000), 1 to 32 mask sets (MNIST).

    Args:
        event_shape: (D,), or (C, H, W).
        levels: K.
        num_classes: how many classes; 0: unconditional.
        hidden: units in each hidden layer.
        direct: whether inputs are connected to outputs directly as well.
        order: of mask set 0, flattened indices, first generated first; raster order if None.
        num_masks: how many mask sets share the weights.
        shuffle: whether each further set draws an order of its own, not only degrees.
        generator: draws degrees and orders; torch's own if None.

    Raises:
        ValueError: no mask set, no hidden layer, or as for `generation_order`.

    >>> MADE.tiny().logits(torch.zeros(9, 3, 1, 2, dtype=torch.long)).shape
    torch.Size([9, 4, 3, 1, 2])
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        levels: int,
        num_classes: int = 0,
        hidden: Sequence[int] = (32,),
        direct: bool = False,
        order: Sequence[int] | None = None,
        num_masks: int = 1,
        shuffle: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if num_masks < 1 or not hidden:
            raise ValueError(f"needs a mask set and a hidden layer: {num_masks=}, {hidden=}")
        self.event_shape, self.levels, self.num_classes = tuple(event_shape), levels, num_classes
        self.num_masks, self.chosen = num_masks, 0
        rank = generation_order(event_shape, order).argsort()
        for layer, degrees in enumerate(_mask_sets(rank, hidden, num_masks, shuffle, generator)):
            self.register_buffer(f"degrees{layer}", degrees)
        outside, classes = len(rank) * levels, max(num_classes, 1)
        sizes = [outside, *hidden, outside]
        self.weights = nn.ParameterList(torch.randn(n, m) * m**-0.5 for m, n in pairwise(sizes))
        self.biases = nn.ParameterList(torch.zeros(n) for n in hidden[1:])
        self.first_bias = nn.Parameter(torch.randn(classes, hidden[0]))
        self.last_bias = nn.Parameter(torch.randn(classes, outside))
        self.direct = nn.Parameter(torch.randn(outside, outside) / outside) if direct else None

    @classmethod
    def tiny(cls) -> MADE:
        """Two hidden layers, direct connections, two orders; all sizes pairwise distinct."""
        return cls((3, 1, 2), 4, hidden=(9, 7), direct=True, num_masks=2, shuffle=True)

    def _set(self, index: int) -> list[Tensor]:
        """Ranks of the inputs, then the degrees of each hidden layer."""
        return [self.get_buffer(f"degrees{layer}")[index] for layer in range(len(self.weights))]

    @property
    def order(self) -> Int[Tensor, " d"]:
        """Flattened indices, first generated first, in the chosen mask set."""
        return self._set(self.chosen)[0].argsort()

    @property
    def receptive_field(self) -> Bool[Tensor, "d d"]:
        """True at (i, j) where the logits of i may use x_j: what the masks let through."""
        return made_receptive_field(self._set(self.chosen), self.direct is not None)

    def logits(
        self, x: Int[Tensor, " n *event"], y: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, "n k *event"]:
        """Every conditional in one pass, with the chosen mask set."""
        return self._logits(x, y, self.chosen)

    def _logits(self, x: Tensor, y: Tensor | None, mask_set: int) -> Tensor:
        label, k, degrees = class_labels(x, y, self.num_classes), self.levels, self._set(mask_set)
        one_hot = F.one_hot(x.flatten(1), k).flatten(1).to(self.last_bias.dtype)  # (N, D K)
        masks = made_masks(degrees)
        masks[0] = masks[0].repeat_interleave(k, dim=1)  # the K levels of an input share its rank
        masks[-1] = masks[-1].repeat_interleave(k, dim=0)
        biases = [self.first_bias[label], *self.biases, self.last_bias[label]]
        found = masked_layers(one_hot, list(self.weights), biases, masks)
        if self.direct is not None:
            strict = made_masks(degrees[:1])[0].repeat_interleave(k, dim=0)
            found = found + F.linear(one_hot, self.direct * strict.repeat_interleave(k, dim=1))
        return found.view(len(x), -1, k).mT.reshape(len(x), k, *self.event_shape)

    def log_prob(
        self, x: Int[Tensor, " n *event"], y: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, " n"]:
        """(N,), nats, with the chosen mask set."""
        return chain_rule_log_prob(self.logits(x, y), x)

    def ensemble_log_prob(
        self, x: Int[Tensor, " n *event"], y: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, " n"]:
        """(N,), nats: the mean of the probabilities, not of their logs, over all mask sets.

        A density, but of no single order: `logits`, `sample` and `complete` belong to one set.
        """
        each = [chain_rule_log_prob(self._logits(x, y, m), x) for m in range(self.num_masks)]
        return torch.stack(each).logsumexp(dim=0) - math.log(self.num_masks)

    def sample(
        self, n: int, y: Int[Tensor, " n"] | None = None, generator: torch.Generator | None = None
    ) -> Int[Tensor, " n *event"]:
        """Ancestral sampling in the chosen order; D passes."""
        order, device = self.order.tolist(), self.last_bias.device
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
        """Ancestral completion in the chosen order; one pass for each unknown entry."""
        return complete(lambda x: self.logits(x, y), x, known, self.order.tolist(), generator)


def _mask_sets(
    rank: Int[Tensor, " d"],
    hidden: Sequence[int],
    num_masks: int,
    shuffle: bool,
    generator: torch.Generator | None,
) -> list[Int[Tensor, "m _"]]:
    """For the inputs and each hidden layer the degrees in every mask set."""
    sets = []
    for index in range(num_masks):
        if index and shuffle:
            rank = torch.randperm(len(rank), generator=generator)
        sets.append(made_degrees(rank, hidden, generator))
    return [torch.stack(layer) for layer in zip(*sets, strict=True)]
