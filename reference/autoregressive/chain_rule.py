r"""The chain rule of probability with nothing left out: one table of conditionals a dimension.

Any distribution over K**D events is a product of D conditionals, so these tables can hold all of
them exactly; every other autoregressive model replaces the tables by a network.
"""

from __future__ import annotations

__all__ = [
    "chain_rule_log_prob",
    "class_labels",
    "conditional_tables",
    "prefix_index",
    "tabular_logits",
]

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float, Int


def chain_rule_log_prob(
    logits: Float[Tensor, "n k *event"], x: Int[Tensor, " n *event"]
) -> Float[Tensor, " n"]:
    r"""Add up the log-probabilities of the levels that occurred.

    .. math::

        \log p(x) = \sum_i \log p(x_i \mid x_{<i})
            = \sum_i \log \operatorname{softmax}(\ell_i)_{x_i}

    Paper: Pixel Recurrent Neural Networks (van den Oord, Kalchbrenner, Kavukcuoglu, 2016),
    Equation 1, https://arxiv.org/abs/1601.06759
    Claims: autoregressive_model.chain_rule, autoregressive_model.normalised,
    autoregressive_model.bits_per_dim, theory.one_pass_to_train
    Differs: none.

    Args:
        logits: (N, K, *event); -inf is a probability of zero.
        x: (N, *event), long in [0, K).

    Returns:
        (N,), nats.

    >>> chain_rule_log_prob(torch.zeros(1, 256, 3), torch.tensor([[0, 7, 255]]))  # 24 bits
    tensor([-16.6355])
    """
    return -F.cross_entropy(logits, x, reduction="none").flatten(1).sum(dim=1)


def prefix_index(
    x: Int[Tensor, "n d"], levels: int, label: Int[Tensor, " n"] | None = None
) -> Int[Tensor, "n d"]:
    r"""Number what came before each dimension: the row of its table of conditionals.

    .. math::

        r_i = y K^i + \sum_{j < i} x_j K^{i-1-j}

    A class y is simply one more variable, which comes before all others.

    Paper: Pixel Recurrent Neural Networks (van den Oord, Kalchbrenner, Kavukcuoglu, 2016),
    Equation 1, https://arxiv.org/abs/1601.06759
    Claims: autoregressive_model.causality, autoregressive_model.uses_the_allowed_past,
    autoregressive_model.conditioning
    Differs: none; the paper does not tabulate.

    Args:
        x: (N, D), long in [0, K), columns in the order of generation.
        levels: K.
        label: y, (N,), long; 0 if None.

    Returns:
        (N, D), long: without classes, entry i lies in [0, K**i).

    >>> prefix_index(torch.tensor([[1, 0, 1]]), levels=2)
    tensor([[0, 1, 2]])
    """
    rows = [torch.zeros_like(x[:, 0]) if label is None else label]
    for i in range(x.shape[1] - 1):
        rows.append(rows[-1] * levels + x[:, i])
    return torch.stack(rows, dim=1)


def tabular_logits(
    x: Int[Tensor, "n d"],
    tables: Sequence[Float[Tensor, "_ k"]],
    label: Int[Tensor, " n"] | None = None,
) -> Float[Tensor, "n k d"]:
    r"""Look up each dimension's logits in the row of its prefix.

    .. math::

        \ell_i = T_i[r_i(y, x_{<i})]

    Paper: Pixel Recurrent Neural Networks (van den Oord, Kalchbrenner, Kavukcuoglu, 2016),
    Equation 1, https://arxiv.org/abs/1601.06759
    Claims: autoregressive_model.causality, autoregressive_model.uses_the_allowed_past
    Differs: none; the paper does not tabulate.

    Args:
        x: (N, D), long in [0, K), columns in the order of generation.
        tables: D tables, the i-th of K**i rows for each class.
        label: y, (N,), long; 0 if None.

    Returns:
        (N, K, D).

    >>> tabular_logits(torch.tensor([[1, 0]]), [torch.zeros(1, 2), torch.eye(2)])
    tensor([[[0., 0.],
             [0., 1.]]])
    """
    rows = prefix_index(x, tables[0].shape[-1], label).unbind(dim=1)
    return torch.stack([table[row] for table, row in zip(tables, rows, strict=True)], dim=2)


def conditional_tables(joint: Float[Tensor, " ..."]) -> list[Float[Tensor, "_ k"]]:
    r"""Factorise any joint distribution into its tables of log-conditionals.

    .. math::

        T_i[r_i, k] = \log p(x_i = k \mid x_{<i})
            = \log \frac{\sum_{x_{>i}} p(x_{<i}, k, x_{>i})}{\sum_{x_{\ge i}} p(x_{<i}, x_{\ge i})}

    Paper: Pixel Recurrent Neural Networks (van den Oord, Kalchbrenner, Kavukcuoglu, 2016),
    Equation 1, https://arxiv.org/abs/1601.06759
    Claims: autoregressive_model.chain_rule, autoregressive_model.gibbs
    Differs: none; a prefix that never occurs, whose conditional is undefined, gets the uniform one.

    Args:
        joint: D axes of K entries in the order of generation; non-negative, sums to 1.

    Returns:
        D tables, the i-th (K**i, K), nats.

    Raises:
        ValueError: the axes differ in length.

    >>> [table.exp() for table in conditional_tables(torch.tensor([[0.5, 0.0], [0.1, 0.4]]))]
    [tensor([[0.5000, 0.5000]]), tensor([[1.0000, 0.0000],
            [0.2000, 0.8000]])]
    """
    if joint.ndim < 1 or len(set(joint.shape)) != 1:
        raise ValueError(f"every axis of joint needs the same K entries, not {tuple(joint.shape)}")
    levels, tables = joint.shape[0], []
    for i in range(joint.ndim):
        p = joint.reshape(levels**i, levels, -1).sum(dim=2)  # (K**i, K): p(x_<i, x_i)
        total = p.sum(dim=1, keepdim=True)
        tables.append(torch.where(total > 0, p / total, 1 / levels).log())
    return tables


def class_labels(
    x: Int[Tensor, " n *event"], y: Int[Tensor, " n"] | None, num_classes: int
) -> Int[Tensor, " n"]:
    r"""Check the labels that a batch is conditioned on; without classes they are all zero.

    .. math::

        p(x \mid y) = \prod_i p(x_i \mid x_{<i}, y), \qquad y \in \{0, \dots, C - 1\}

    Paper: Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016),
    Section 2.3, https://arxiv.org/abs/1606.05328
    Claims: autoregressive_model.conditioning
    Differs: none.

    Args:
        x: (N, *event), long.
        y: (N,), long, or None when there are no classes.
        num_classes: C; 0: unconditional.

    Returns:
        (N,), long.

    Raises:
        ValueError: labels without classes, classes without labels, or not one label an item.

    >>> class_labels(torch.zeros(2, 3), None, num_classes=0)
    tensor([0, 0])
    """
    if (y is None) == (num_classes > 0):
        raise ValueError(f"labels are given exactly when there are classes: {y=}, {num_classes=}")
    if y is None:
        return torch.zeros(len(x), dtype=torch.long, device=x.device)
    if y.shape != (len(x),):
        raise ValueError(f"{len(x)} items need as many labels, not shape {tuple(y.shape)}")
    return y
