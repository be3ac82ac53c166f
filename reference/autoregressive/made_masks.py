r"""The masked layers of MADE: every unit has a degree, and connections go from low degrees to high ones.

.. code-block:: text

    rank of the input            x1:0  x2:1  x3:2      a hidden unit of degree m may know
                                   |  \  |              the inputs of rank <= m
    degree of the hidden unit     m:0    m:1
                                     \   |  \
    rank of the output           x1:0  x2:1  x3:2      an output knows units of degree < its rank

Somewhere on every path from an input to an output the rank therefore rises: the one strict
comparison is at the output, all others may be equal.
"""

from __future__ import annotations

__all__ = ["made_degrees", "made_masks", "made_receptive_field", "masked_layers"]

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


def made_degrees(
    rank: Int[Tensor, " d"], hidden: Sequence[int], generator: torch.Generator | None = None
) -> list[Int[Tensor, " _"]]:
    r"""Draw a degree for every hidden unit, layer by layer.

    .. math::

        m^0 = r, \qquad m^l_k \sim \mathrm{Uniform}\{\min_{k'} m^{l-1}_{k'}, \dots, D - 2\}

    Paper: MADE: Masked Autoencoder for Distribution Estimation (Germain, Gregor, Murray,
    Larochelle, 2015), Sections 4.1 and 4.2, https://arxiv.org/abs/1502.03509
    Claims: theory.made_with_fixed_order_reaches_every_past
    Differs: degrees count from 0, the paper's from 1. The paper's lower bound keeps a unit from
    having no input at all; D - 2 keeps it from having no output (D = 1 has no such degree).

    Args:
        rank: r, (D,): the place of every input in the order of generation.
        hidden: how many units each hidden layer has.
        generator: the only source of randomness; torch's own if None.

    Returns:
        the ranks, then one (H,) of degrees for each hidden layer, long.

    >>> [len(m) for m in made_degrees(torch.tensor([1, 0, 2]), (7, 5))]
    [3, 7, 5]
    """
    degrees, most = [rank], max(len(rank) - 2, 0)
    for size in hidden:
        least = int(degrees[-1].min())
        degrees.append(torch.randint(least, most + 1, (size,), generator=generator))
    return degrees


def made_masks(degrees: Sequence[Int[Tensor, " _"]]) -> list[Bool[Tensor, "_ _"]]:
    r"""Compare the degrees of neighbouring layers: which connections are kept.

    .. math::

        M^l_{k', k} = [m^l_{k'} \ge m^{l-1}_k], \qquad M^{\text{out}}_{d, k} = [r_d > m^L_k]

    Paper: MADE: Masked Autoencoder for Distribution Estimation (Germain, Gregor, Murray,
    Larochelle, 2015), Sections 4.1 and 4.2, https://arxiv.org/abs/1502.03509
    Claims: theory.made_masks
    Differs: none.

    Args:
        degrees: the ranks (D,) of the inputs, then the degrees of each hidden layer.

    Returns:
        one mask (to, from) for each hidden layer and one for the output, True where kept. Without
        hidden layers the output's alone: the mask of direct connections.

    >>> for mask in made_masks([torch.tensor([0, 1, 2]), torch.tensor([0, 1])]):
    ...     print(mask.int().tolist())
    [[1, 0, 0], [1, 1, 0]]
    [[0, 0], [1, 0], [1, 1]]
    """
    inner = [upper[:, None] >= lower[None, :] for lower, upper in pairwise(degrees)]
    return [*inner, degrees[0][:, None] > degrees[-1][None, :]]


def made_receptive_field(
    degrees: Sequence[Int[Tensor, " _"]], direct: bool = False
) -> Bool[Tensor, "d d"]:
    r"""Multiply the masks: which inputs can reach which logits.

    .. math::

        R = M^{\text{out}} M^L \cdots M^1 \;\lor\; M^{\text{direct}}

    in Boolean algebra. With few hidden units some of the past may have no path.

    Paper: MADE: Masked Autoencoder for Distribution Estimation (Germain, Gregor, Murray,
    Larochelle, 2015), Section 4.1, https://arxiv.org/abs/1502.03509
    Claims: autoregressive_model.uses_the_allowed_past, theory.made_masks
    Differs: none.

    Args:
        degrees: as for `made_masks`.
        direct: whether inputs and outputs are connected directly as well.

    Returns:
        (D, D): True at (i, j) where the logits of i may use x_j.

    >>> made_receptive_field([torch.tensor([0, 1, 2]), torch.tensor([1])]).int()
    tensor([[0, 0, 0],
            [0, 0, 0],
            [1, 1, 0]], dtype=torch.int32)
    """
    first, *later = made_masks(degrees)
    paths = first.double()
    for mask in later:
        paths = mask.double() @ paths  # counts paths
    reach = paths > 0
    return reach | made_masks(degrees[:1])[0] if direct else reach


def masked_layers(
    h: Float[Tensor, "n _"],
    weights: Sequence[Float[Tensor, "_ _"]],
    biases: Sequence[Float[Tensor, ...]],
    masks: Sequence[Bool[Tensor, "_ _"]],
) -> Float[Tensor, "n _"]:
    r"""Apply a stack of linear layers with masked weights, a ReLU between each two.

    .. math::

        h^l = (W^l \odot M^l)\, \operatorname{relu}(h^{l-1}) + b^l

    Paper: MADE: Masked Autoencoder for Distribution Estimation (Germain, Gregor, Murray,
    Larochelle, 2015), Sections 4 and 4.2, https://arxiv.org/abs/1502.03509
    Claims: autoregressive_model.causality
    Differs: none.

    Args:
        h: (N, first input); no ReLU is applied to it.
        weights: one (to, from) for each layer.
        biases: one (to,), or (N, to), for each.
        masks: one (to, from) for each, True where a weight is kept.

    Returns:
        (N, last output).

    >>> masked_layers(torch.ones(1, 2), [torch.ones(1, 2)], [torch.ones(1)], [torch.eye(2)[:1] > 0])
    tensor([[2.]])
    """
    for layer, (weight, bias, mask) in enumerate(zip(weights, biases, masks, strict=True)):
        # Masked here, not in the stored weight: no optimiser step can undo it.
        h = F.linear(h.relu() if layer else h, weight * mask) + bias
    return h
