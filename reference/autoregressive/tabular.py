r"""The tabular autoregressive model: free parameters for every conditional of a small event.

.. code-block:: text

    table 0     table 1        table 2             K = 2, D = 3: 1 + 2 + 4 rows of logits,
    [ . . ]     [ . . ] x=0    [ . . ] x=0,0       which together hold any p(x)
                [ . . ] x=1    [ . . ] x=0,1
                               [ . . ] x=1,0
                               [ . . ] x=1,1
"""

from __future__ import annotations

__all__ = ["TabularChainRule"]

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from reference.autoregressive.chain_rule import (
    chain_rule_log_prob,
    class_labels,
    conditional_tables,
    tabular_logits,
)
from reference.autoregressive.sampling import complete, raster_order, sample

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


class TabularChainRule(nn.Module):
    r"""The exact autoregressive model of a small event: free logits for every prefix.

    .. math::

        p(x) = \prod_i p(x_i \mid x_{<i}), \qquad
        p(x_i \mid x_{<i}) = \operatorname{softmax}(T_i[r_i(x_{<i})])_{x_i}

    Paper: Pixel Recurrent Neural Networks (van den Oord, Kalchbrenner, Kavukcuoglu, 2016),
    Equation 1, https://arxiv.org/abs/1601.06759
    Claims: autoregressive_model.causality, autoregressive_model.uses_the_allowed_past,
    autoregressive_model.normalised, autoregressive_model.chain_rule, autoregressive_model.fits
    Differs: tables in place of a network, hence no bound on what it can represent.

    Args:
        event_shape: (D,), or (C, H, W).
        levels: K.
        num_classes: how many classes have tables of their own; 0: unconditional.

    Raises:
        ValueError: K**D exceeds 2**20, the largest event held in tables.

    >>> TabularChainRule.tiny().logits(torch.zeros(2, 3, 1, 2, dtype=torch.long)).shape
    torch.Size([2, 4, 3, 1, 2])
    """

    def __init__(self, event_shape: Sequence[int], levels: int, num_classes: int = 0) -> None:
        super().__init__()
        self.event_shape, self.levels, self.num_classes = tuple(event_shape), levels, num_classes
        size = len(raster_order(event_shape))
        if levels < 1 or levels**size > 2**20:
            raise ValueError(f"cannot tabulate {levels} levels over {self.event_shape}")
        classes = max(num_classes, 1)
        self.tables = nn.ParameterList(
            torch.randn(classes * levels**i, levels) for i in range(size)
        )

    @classmethod
    def tiny(cls) -> TabularChainRule:
        """Six dimensions; C, H, W and K pairwise distinct."""
        return cls((3, 1, 2), levels=4)

    @classmethod
    def from_joint(
        cls, joint: Float[Tensor, " ..."], event_shape: Sequence[int]
    ) -> TabularChainRule:
        """The model that is `joint`, whose axes come in the order of generation."""
        model = cls(event_shape, levels=joint.shape[0])
        if joint.ndim != len(model.tables):
            raise ValueError(f"joint has {joint.ndim} axes, the event {len(model.tables)}")
        model.tables = nn.ParameterList(conditional_tables(joint))
        return model

    def logits(
        self, x: Int[Tensor, " n *event"], y: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, "n k *event"]:
        """All dimensions at once; channels last is the order of generation."""
        label = class_labels(x, y, self.num_classes)
        found = tabular_logits(x.movedim(1, -1).flatten(1), list(self.tables), label)
        channels, *pixels = self.event_shape
        return found.reshape(*found.shape[:2], *pixels, channels).movedim(-1, 2)

    def log_prob(
        self, x: Int[Tensor, " n *event"], y: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, " n"]:
        """(N,), nats."""
        return chain_rule_log_prob(self.logits(x, y), x)

    def sample(
        self, n: int, y: Int[Tensor, " n"] | None = None, generator: torch.Generator | None = None
    ) -> Int[Tensor, " n *event"]:
        """Ancestral sampling; D passes."""
        device = self.tables[0].device
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
