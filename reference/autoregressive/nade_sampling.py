r"""NADE's fast sampler: the recurrence is resumed where it stood, never started again.

.. code-block:: text

    naive    a1 -> draw x1;   a1, a2 -> draw x2;   a1, a2, a3 -> draw x3     O(HD) a draw
    cached   a1 -> draw x1 ------> a2 -> draw x2 ------> a3 -> draw x3       O(H) a draw

All that must be remembered of the past is the H sums.
"""

from __future__ import annotations

__all__ = ["nade_complete", "nade_sample"]

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from reference.autoregressive.chain_rule import class_labels
from reference.autoregressive.nade import NADE

if TYPE_CHECKING:
    from jaxtyping import Bool, Int


@torch.no_grad()
def nade_complete(
    network: NADE,
    x: Int[Tensor, " n *event"],
    known: Bool[Tensor, "*event"],
    y: Int[Tensor, " n"] | None = None,
    generator: torch.Generator | None = None,
) -> Int[Tensor, " n *event"]:
    r"""Draw the unknown entries of x in order, keeping one sum for each hidden unit.

    .. math::

        x_i \sim \operatorname{softmax}(b_i + V_i\, \sigma(a)), \qquad a \leftarrow a + W_{i, x_i}

    Paper: The Neural Autoregressive Distribution Estimator (Larochelle, Murray, 2011),
    Section 3, https://proceedings.mlr.press/v15/larochelle11a.html
    Claims: theory.nade_sampler_is_naive, autoregressive_model.sampling_is_ancestral,
    autoregressive_model.completion_matches_density
    Differs: known entries; the paper samples from scratch.

    Args:
        network: whose weights come in the order of generation.
        x: levels in [0, K), long; its unknown entries are ignored.
        known: True where x is given.
        y: (N,), long, given when there are classes.
        generator: the only source of randomness; torch's own if None.

    Returns:
        a fresh (N, *event), long: draw for draw what `NADE.complete` returns.

    Raises:
        ValueError: `known` has another shape than the event.

    >>> known = torch.ones(3, 1, 2, dtype=torch.bool)
    >>> nade_complete(NADE.tiny(), torch.full((1, 3, 1, 2), 3), known).flatten()
    tensor([3, 3, 3, 3, 3, 3])
    """
    if known.shape != x.shape[1:]:
        raise ValueError(f"known has shape {tuple(known.shape)}, the event {tuple(x.shape[1:])}")
    flat, is_known = torch.where(known, x, 0).flatten(1), known.flatten().tolist()
    a = network.start[class_labels(x, y, network.num_classes)]  # (N, H)
    for t, i in enumerate(network.order.tolist()):
        if not is_known[i]:
            probability = (a.sigmoid() @ network.output[t].T + network.bias[t]).softmax(dim=1)
            flat[:, i] = torch.multinomial(probability, 1, generator=generator)[:, 0]
        a = a + network.columns[t, flat[:, i]]
    return flat.view(x.shape)


def nade_sample(
    network: NADE,
    n: int,
    y: Int[Tensor, " n"] | None = None,
    generator: torch.Generator | None = None,
) -> Int[Tensor, " n *event"]:
    r"""Draw n events from scratch, O(HD) in all: a completion in which nothing is known.

    .. math::

        x_1 \sim p(x_1),\; x_2 \sim p(x_2 \mid x_1),\; \dots,\; x_D \sim p(x_D \mid x_{<D})

    Paper: The Neural Autoregressive Distribution Estimator (Larochelle, Murray, 2011),
    Section 3, https://proceedings.mlr.press/v15/larochelle11a.html
    Claims: theory.nade_sampler_is_naive, autoregressive_model.sampler_matches_density
    Differs: none.

    Args:
        network, y, generator: as for `nade_complete`.
        n: how many.

    Returns:
        (n, *event), long: draw for draw what `NADE.sample` returns.

    >>> nade_sample(NADE.tiny(), 7).shape
    torch.Size([7, 3, 1, 2])
    """
    shape, device = network.event_shape, network.bias.device
    x = torch.zeros((n, *shape), dtype=torch.long, device=device)
    known = torch.zeros(shape, dtype=torch.bool, device=device)
    return nade_complete(network, x, known, y, generator)
