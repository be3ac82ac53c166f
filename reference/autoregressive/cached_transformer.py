r"""The transformer's fast sampler: keys and values are kept, and one position is computed a step.

.. code-block:: text

    naive     step t: every layer reads all T positions anew           T passes of T positions
    cached    step t: every layer computes position t alone            T passes of one position
                      and reads the keys and values of the past

What a position once offered never changes, because it has never seen what comes after it.
"""

from __future__ import annotations

__all__ = ["transformer_complete", "transformer_sample", "transformer_step"]

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from reference.autoregressive.chain_rule import class_labels
from reference.autoregressive.cross_attention import full_attention
from reference.autoregressive.image_transformer import ImageTransformer
from reference.autoregressive.pixel_transformer import PixelTransformer
from reference.autoregressive.transformer_layer import TransformerLayer

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


def transformer_step(
    layer: TransformerLayer,
    h: Float[Tensor, "n 1 e"],
    cache: Float[Tensor, "t 2 n heads d"],
    seen: Int[Tensor, " s"],
    context: Float[Tensor, "n c e"] | None = None,
) -> Float[Tensor, "n 1 e"]:
    r"""Run a layer at one position, given what the earlier ones have left in the cache.

    .. math::

        k_t = W^K h_t, \quad v_t = W^V h_t, \qquad
        y_t = \operatorname{attention}(W^Q h_t,\; k_{M(t)},\; v_{M(t)}), \quad t \in M(t)

    Paper: Image Transformer (Parmar et al., 2018), Section 4, https://arxiv.org/abs/1802.05751
    Claims: theory.cached_transformer_is_naive
    Differs: none; the paper does not describe a cache.

    Args:
        layer: whose attention is causal within `seen`.
        h: its input at position t (N, 1, E).
        cache: keys and values of all heads (T, 2, N, H, E / H); those of t are written into it.
        seen: M(t), the positions that t reads, ascending; t itself is the last.
        context: as for `TransformerLayer`.

    Returns:
        Its output at position t (N, 1, E).

    >>> layer, h, cache = TransformerLayer.tiny(), torch.ones(1, 1, 6), torch.zeros(1, 2, 1, 3, 2)
    >>> bool((transformer_step(layer, h, cache, torch.tensor([0])) - layer(h)).abs().max() < 1e-6)
    True
    """
    query, key, value = layer.attention.split(h)  # each (N, H, 1, E / H)
    cache[int(seen[-1])] = torch.stack([key, value]).squeeze(-2)
    keys, values = cache[seen].movedim(0, -2)  # each (N, H, S, E / H)
    return layer.finish(h, layer.attention.join(full_attention(query, keys, values)), context)


@torch.no_grad()
def transformer_complete(
    model: PixelTransformer | ImageTransformer,
    x: Int[Tensor, " n *event"],
    known: Bool[Tensor, "*event"],
    y: Int[Tensor, " n"] | None = None,
    generator: torch.Generator | None = None,
    context: Float[Tensor, "n c e"] | None = None,
) -> Int[Tensor, " n *event"]:
    r"""Draw the unknown entries of x in order, computing every position once.

    .. math::

        x_t \sim \operatorname{softmax}(\operatorname{head}(h^L_t)), \qquad
        h^l_t = \operatorname{layer}_l(h^{l-1}_t;\; k^l_{\le t},\, v^l_{\le t})

    Paper: Image Transformer (Parmar et al., 2018), Section 4, https://arxiv.org/abs/1802.05751
    Claims: theory.cached_transformer_is_naive, autoregressive_model.completion_matches_density
    Differs: none; the paper does not describe a cache.

    Args:
        model: whose parameters are used.
        x: levels in [0, K), long; its unknown entries are ignored.
        known: True where x is given; a known entry costs a step as well.
        y: (N,), long, given when there are classes.
        generator: the only source of randomness; torch's own if None.
        context: as for `ImageTransformer.logits`.

    Returns:
        a fresh (N, *event), long: draw for draw what `model.complete` returns.

    Raises:
        ValueError: `known` has another shape than the event.

    >>> known = torch.ones(3, 4, 5, dtype=torch.bool)
    >>> int(transformer_complete(PixelTransformer.tiny(), torch.full((1, 3, 4, 5), 6), known).min())
    6
    """
    if known.shape != x.shape[1:]:
        raise ValueError(f"known has shape {tuple(known.shape)}, the event {tuple(x.shape[1:])}")
    label, order = class_labels(x, y, model.num_classes), model.order
    drawn = torch.where(known, x, 0).flatten(1)[:, order]  # (N, T), in the order of generation
    is_known = known.flatten()[order].tolist()
    layers = [layer for layer in model.layers if isinstance(layer, TransformerLayer)]
    weight = model.tokens.weight
    caches = [
        weight.new_zeros(len(order), 2, len(x), heads, weight.shape[1] // heads)
        for heads in (layer.attention.num_heads for layer in layers)
    ]
    for queries, memory in model.blocks:
        for i in queries.tolist():
            seen = memory[memory <= i].to(x.device)  # all of them: one query needs no mask
            h = model.embed(drawn, label, seen[-1:])  # (N, 1, E)
            for layer, cache in zip(layers, caches, strict=True):
                h = transformer_step(layer, h, cache, seen, context)
            if not is_known[i]:
                probability = model.head(h)[:, 0].softmax(dim=1)
                drawn[:, i] = torch.multinomial(probability, 1, generator=generator)[:, 0]
    return drawn[:, order.argsort()].view(x.shape)


def transformer_sample(
    model: PixelTransformer | ImageTransformer,
    n: int,
    y: Int[Tensor, " n"] | None = None,
    generator: torch.Generator | None = None,
    context: Float[Tensor, "n c e"] | None = None,
) -> Int[Tensor, " n *event"]:
    r"""Draw n events from scratch, T positions in all: a completion in which nothing is known.

    .. math::

        x_1 \sim p(x_1),\; x_2 \sim p(x_2 \mid x_1),\; \dots,\; x_D \sim p(x_D \mid x_{<D})

    Paper: Image Transformer (Parmar et al., 2018), Section 4, https://arxiv.org/abs/1802.05751
    Claims: theory.cached_transformer_is_naive, autoregressive_model.sampler_matches_density,
    autoregressive_model.sampling_is_ancestral
    Differs: none; the paper does not describe a cache.

    Args:
        model, y, generator, context: as for `transformer_complete`.
        n: how many.

    Returns:
        (n, *event), long: draw for draw what `model.sample` returns.

    >>> transformer_sample(PixelTransformer.tiny(), 2).shape
    torch.Size([2, 3, 4, 5])
    """
    shape, device = model.event_shape, model.order.device
    x = torch.zeros((n, *shape), dtype=torch.long, device=device)
    known = torch.zeros(shape, dtype=torch.bool, device=device)
    return transformer_complete(model, x, known, y, generator, context)
