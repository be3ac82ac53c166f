r"""Greedy layer-wise pretraining: one shallow autoencoder at a time, each on the codes of the last.

.. code-block:: text

    step 1   x ──> [layer 1] ──> code 1 ──> (decoder 1) ──> x
    step 2   x ──> [layer 1, frozen] ──> code 1 ──> [layer 2] ──> code 2 ──> (decoder 2) ──> code 1
    then     x ──> [layer 1] ──> [layer 2] ──> new output layer ──> class scores
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from reference.autoencoders.bottleneck import reconstruction_loss
from reference.autoencoders.linear import linear_autoencoder

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = ["classifier_from_encoder", "greedy_linear_stack", "layer_loss"]


def layer_loss(
    layers: Sequence[nn.Module], decoder: nn.Module, x: Float[Tensor, "n d"]
) -> Float[Tensor, ""]:
    r"""What the last layer is trained by: to rebuild what it is given, the others held fixed.

    .. math::

        L_k = \frac1N \sum_n \bigl\| d_k(f_k(h_n)) - h_n \bigr\|^2, \qquad
        h = f_{k-1}(\dots f_1(x))

    Paper: Greedy Layer-Wise Training of Deep Networks (Bengio, Lamblin, Popovici, Larochelle,
    2007), Section 3, https://papers.nips.cc/paper/3048-greedy-layer-wise-training-of-deep-networks
    Claims: theory.layerwise_freezes_the_rest
    Differs: squared error in place of a cross-entropy.

    Args:
        layers: the stack so far; the last one is trained, at least one.
        decoder: takes the last layer's codes back to what it was given; thrown away afterwards.
        x: data (N, D).

    Returns:
        The loss, a scalar; gradients reach the last layer and the decoder alone.

    Raises:
        ValueError: no layers.

    >>> layer_loss([nn.Identity(), nn.Identity()], nn.Identity(), torch.ones(2, 3))
    tensor(0.)
    """
    if not layers:
        raise ValueError("there is no layer to train")
    with torch.no_grad():
        for layer in layers[:-1]:
            x = layer(x)
    return reconstruction_loss(x, decoder(layers[-1](x)))


def greedy_linear_stack(
    x: Float[Tensor, "n d"], dims: Sequence[int]
) -> list[tuple[Float[Tensor, "_k _d"], Float[Tensor, " _k"]]]:
    r"""Linear layers stacked greedily, each at its optimum.

    .. math::

        W_k \cdots W_1 x + b \text{ spans the same subspace as the first } d_k
        \text{ principal directions}

    Paper: Greedy Layer-Wise Training of Deep Networks (Bengio, Lamblin, Popovici, Larochelle,
    2007), Section 3, https://papers.nips.cc/paper/3048-greedy-layer-wise-training-of-deep-networks
    Claims: theory.greedy_linear_layers_find_pca
    Differs: the optimum of each linear layer in closed form, in place of training.

    Args:
        x: data (N, D).
        dims: the widths of the codes, falling, the first at most D.

    Returns:
        The weight (k, d) and bias (k,) of each layer.

    >>> [w.shape for w, b in greedy_linear_stack(torch.randn(9, 4), [3, 1])]
    [torch.Size([3, 4]), torch.Size([1, 3])]
    """
    layers = []
    for code_dim in dims:
        encode, _ = linear_autoencoder(x, code_dim)
        origin = torch.zeros_like(x[:1])
        bias = encode(origin)[0]
        units = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        layers.append(((encode(units) - bias).mT, bias))  # an affine map, read off its basis
        x = encode(x)
    return layers


def classifier_from_encoder(encoder: nn.Module, code_dim: int, num_classes: int) -> nn.Sequential:
    r"""A classifier that starts where the autoencoder ended: its encoder, and a new output layer.

    .. math::

        s(x) = V f(x) + c, \qquad V = 0,\; c = 0 \text{ at first}

    The weights are copied: fine-tuning leaves the autoencoder as it was.

    Paper: Greedy Layer-Wise Training of Deep Networks (Bengio, Lamblin, Popovici, Larochelle,
    2007), Section 2.3, https://papers.nips.cc/paper/3048-greedy-layer-wise-training-of-deep-networks
    Claims: theory.pretraining_initialises_supervised
    Differs: the output layer starts at zero, so that all classes are equally likely at first.

    Args:
        encoder: takes (N, D) to codes (N, k).
        code_dim: k.
        num_classes: of the new output layer.

    Returns:
        Takes (N, D) to scores (N, classes).

    >>> classifier_from_encoder(nn.Linear(4, 2), 2, 3)(torch.ones(5, 4)).shape
    torch.Size([5, 3])
    """
    like = next(encoder.parameters())
    head = nn.Linear(code_dim, num_classes, device=like.device, dtype=like.dtype)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return nn.Sequential(copy.deepcopy(encoder), head)
