r"""The fully visible belief network: every conditional is a linear softmax of the whole past.

The smallest parametric autoregressive model; its weights form a triangle in the order:

.. code-block:: text

    to \ from   x1  x2  x3
       x1        .   .   .        x1 has its bias alone
       x2        W   .   .
       x3        W   W   .
"""

from __future__ import annotations

__all__ = ["FullyVisibleBeliefNetwork", "fvbn_logits"]

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reference.autoregressive.chain_rule import chain_rule_log_prob, class_labels
from reference.autoregressive.sampling import complete, raster_order, sample

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


def fvbn_logits(
    x: Int[Tensor, "n d"], weight: Float[Tensor, "d k d k"], bias: Float[Tensor, "n d k"]
) -> Float[Tensor, "n k d"]:
    r"""Add to each dimension's bias one weight for each earlier dimension's level.

    .. math::

        \ell_{i,k} = b_{i,k} + \sum_{j < i} W_{i,k,j,x_j}

    Paper: The Neural Autoregressive Distribution Estimator (Larochelle, Murray, 2011),
    Section 2, https://proceedings.mlr.press/v15/larochelle11a.html
    Claims: autoregressive_model.causality, autoregressive_model.uses_the_allowed_past
    Differs: K levels where the paper has two; at K = 2 it is the same logistic autoregression,
    with one redundant weight for each pair.

    Args:
        x: (N, D), long in [0, K), columns in the order of generation.
        weight: (D, K, D, K): to dimension i, level k, from dimension j, level l.
        bias: (N, D, K), each item's own.

    Returns:
        (N, K, D).

    >>> fvbn_logits(torch.tensor([[1, 0]]), torch.ones(2, 2, 2, 2), torch.zeros(1, 2, 2))
    tensor([[[0., 1.],
             [0., 1.]]])
    """
    d, k = weight.shape[:2]
    past = torch.ones(d, d, dtype=torch.bool, device=weight.device).tril(-1)
    one_hot = F.one_hot(x, k).to(weight.dtype)  # (N, D, K)
    masked = weight * past[:, None, :, None]
    return bias.mT + torch.einsum("ikjl,njl->nki", masked, one_hot)


class FullyVisibleBeliefNetwork(nn.Module):
    r"""The logistic autoregressive network, with K levels and optional classes.

    .. math::

        p(x_i = k \mid x_{<i}, y) =
            \operatorname{softmax}_k \Big( b_{y,i,k} + \sum_{j < i} W_{i,k,j,x_j} \Big)

    Paper: The Neural Autoregressive Distribution Estimator (Larochelle, Murray, 2011),
    Section 2, https://proceedings.mlr.press/v15/larochelle11a.html
    Claims: autoregressive_model.causality, autoregressive_model.uses_the_allowed_past,
    autoregressive_model.normalised, autoregressive_model.chain_rule,
    autoregressive_model.conditioning
    Differs: K levels where the paper has two; classes, which choose the biases, are added.

    Args:
        event_shape: (D,), or (C, H, W).
        levels: K.
        num_classes: how many classes; 0: unconditional.

    Raises:
        ValueError: as for `raster_order`.

    >>> FullyVisibleBeliefNetwork.tiny().logits(torch.zeros(2, 3, 1, 2, dtype=torch.long)).shape
    torch.Size([2, 4, 3, 1, 2])
    """

    def __init__(self, event_shape: Sequence[int], levels: int, num_classes: int = 0) -> None:
        super().__init__()
        self.event_shape, self.num_classes = tuple(event_shape), num_classes
        size = len(raster_order(event_shape))
        scale = size**-0.5  # logits of order one, however many terms there are
        self.weight = nn.Parameter(scale * torch.randn(size, levels, size, levels))
        self.bias = nn.Parameter(torch.randn(max(num_classes, 1), size, levels))

    @classmethod
    def tiny(cls) -> FullyVisibleBeliefNetwork:
        """Six dimensions; C, H, W and K pairwise distinct."""
        return cls((3, 1, 2), levels=4)

    def logits(
        self, x: Int[Tensor, " n *event"], y: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, "n k *event"]:
        """All dimensions at once; channels last is the order of generation."""
        bias = self.bias[class_labels(x, y, self.num_classes)]
        ordered = fvbn_logits(x.movedim(1, -1).flatten(1), self.weight, bias)
        channels, *pixels = self.event_shape
        return ordered.reshape(*ordered.shape[:2], *pixels, channels).movedim(-1, 2)

    def log_prob(
        self, x: Int[Tensor, " n *event"], y: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, " n"]:
        """(N,), nats."""
        return chain_rule_log_prob(self.logits(x, y), x)

    def sample(
        self, n: int, y: Int[Tensor, " n"] | None = None, generator: torch.Generator | None = None
    ) -> Int[Tensor, " n *event"]:
        """Ancestral sampling; D passes."""
        device = self.bias.device
        return sample(
            lambda x: self.logits(x, y), n, self.event_shape, generator=generator, device=device
        )

    def complete(
        self,
        x: Int[Tensor, " n *event"],
        known: Bool[Tensor, "*event"],
        y: Int[Tensor, " n"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Int[Tensor, " n *event"]:
        """Ancestral completion; one pass for each unknown entry."""
        return complete(lambda x: self.logits(x, y), x, known, generator=generator)
