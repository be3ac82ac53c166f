r"""The image transformer: local attention, so that large images can be read by every layer.

.. code-block:: text

    1-D, blocks of 8 in raster order      2-D, blocks of 2 x 4, generated one after another
    1 1 1 1 1 1                           1 1 1 1 2 2       a number is the block
    1 1 2 2 2 2                           1 1 1 1 2 2       that a pixel belongs to
    2 2 2 2 3 3                           3 3 3 3 4 4

Where a sub-pixel is (row, column, channel) is said once, at the first layer.
"""

from __future__ import annotations

__all__ = ["ImageTransformer"]

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from reference.autoregressive.chain_rule import chain_rule_log_prob, class_labels
from reference.autoregressive.cross_attention import CrossAttention
from reference.autoregressive.local_attention import local_attention, local_field
from reference.autoregressive.local_blocks import block_order, local_blocks_1d, local_blocks_2d
from reference.autoregressive.mixture_output import LogisticMixtureHead
from reference.autoregressive.order import generation_order
from reference.autoregressive.pixel_positions import coordinate_encoding
from reference.autoregressive.sampling import complete, sample
from reference.autoregressive.transformer_layer import TransformerLayer, shifted

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    Blocks = Sequence[tuple[Int[Tensor, " _q"], Int[Tensor, " _m"]]]


def blocks_of(
    event_shape: Sequence[int], block: int | tuple[int, int], halo: tuple[int, int]
) -> tuple[Blocks, Int[Tensor, " d"]]:
    """Blocks of 1-D or 2-D local attention, and the order of generation that they go with."""
    if isinstance(block, int):
        order = generation_order(event_shape)
        return local_blocks_1d(len(order), block), order
    order = generation_order(event_shape, block_order(event_shape, block))
    return local_blocks_2d(event_shape, block, halo), order


class ImageTransformer(nn.Module):
    r"""Every conditional in one pass of local attention, of which each layer reaches further.

    .. math::

        h^0_t = E_{c(t-1),\,x_{t-1}} + P_{r(t),\,c(t)} + U_y, \qquad
        h^l = \operatorname{layer}_l(h^{l-1}), \qquad
        p(x_t \mid x_{<t}, y) = \operatorname{head}(h^L_t)

    Paper: Image Transformer (Parmar et al., 2018), Sections 3 and 5.2,
    https://arxiv.org/abs/1802.05751
    Claims: autoregressive_model.causality, autoregressive_model.uses_the_allowed_past,
    autoregressive_model.order_is_a_permutation, autoregressive_model.conditioning,
    theory.block_as_large_as_image_is_full_attention, theory.image_transformer_positions,
    theory.local_layers_reach_further, theory.mixture_output_is_ordinal,
    theory.cached_transformer_is_naive
    Differs: no dropout; with logistics the levels are embedded as they are without, where the paper
    takes the three channels of a pixel through a convolution.

    The paper's sizes: levels 256, layers 12, embed_dim 512, num_heads 4, hidden 2048, block 256
    (1-D) or (8, 8) with a halo of (8, 8), 10 components (CIFAR-10).

    Args:
        event_shape: (C, H, W).
        levels: K.
        num_classes: how many classes; 0: unconditional.
        block: sub-pixels in a block of 1-D, (height, width) of one of 2-D attention.
        halo: rows above and columns beside a 2-D block that it reads too.
        components: logistics in the mixture; 0: a softmax over levels.
        embed_dim: E, a multiple of 4 and of `num_heads`.
        num_heads, hidden: as for `TransformerLayer`.
        layers: L.
        context: every layer also attends to a context that `logits` is given.

    Raises:
        ValueError: as for `local_blocks_1d`, `local_blocks_2d` and `coordinate_encoding`.

    >>> ImageTransformer.tiny().logits(torch.zeros(2, 3, 4, 5, dtype=torch.long)).shape
    torch.Size([2, 7, 3, 4, 5])
    """

    order: Int[Tensor, " d"]
    offset: Int[Tensor, " d"]
    positions: Float[Tensor, "d e"]

    def __init__(
        self,
        event_shape: tuple[int, int, int],
        levels: int,
        num_classes: int = 0,
        block: int | tuple[int, int] = 5,
        halo: tuple[int, int] = (1, 2),
        components: int = 0,
        embed_dim: int = 12,
        num_heads: int = 2,
        hidden: int = 16,
        layers: int = 2,
        context: bool = False,
    ) -> None:
        super().__init__()
        self.event_shape, self.num_classes = tuple(event_shape), num_classes
        where = coordinate_encoding(event_shape, embed_dim).flatten(0, 2)  # (D, E)
        self.blocks, order = blocks_of(event_shape, block, halo)
        channel = order // (event_shape[1] * event_shape[2])
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("offset", channel * levels, persistent=False)
        self.register_buffer("positions", where[order], persistent=False)
        self.tokens = nn.Embedding(event_shape[0] * levels + 1, embed_dim)  # the last one starts
        self.classes = nn.Embedding(num_classes, embed_dim) if num_classes else None
        attend = partial(local_attention, blocks=self.blocks)
        across = partial(CrossAttention, embed_dim, num_heads) if context else lambda: None
        self.layers = nn.ModuleList(
            TransformerLayer(embed_dim, num_heads, hidden, attend, across()) for _ in range(layers)
        )
        mixture = partial(LogisticMixtureHead, embed_dim, levels, components)
        self.head = mixture() if components else nn.Linear(embed_dim, levels)

    @classmethod
    def tiny(cls) -> ImageTransformer:
        """C, H, W, K and E pairwise distinct, 2-D blocks that do not divide the image."""
        return cls((3, 4, 5), levels=7, block=(3, 2))

    @property
    def receptive_field(self) -> Bool[Tensor, "d d"]:
        """True at (i, j) where the logits of i may use x_j, over the flattened event."""
        rank = self.order.argsort()
        return local_field(self.blocks, len(self.layers)).to(rank.device)[rank][:, rank]

    def embed(
        self, drawn: Int[Tensor, "n d"], label: Int[Tensor, " n"], steps: Int[Tensor, " s"]
    ) -> Float[Tensor, "n s e"]:
        """What the first layer is given at some steps, of levels in the order of generation."""
        start = torch.full_like(label, self.tokens.num_embeddings - 1)
        given = shifted(drawn + self.offset, start, steps)  # channels have levels of their own
        found: Tensor = self.tokens(given) + self.positions[steps]
        return found if self.classes is None else found + self.classes(label)[:, None]

    def logits(
        self,
        x: Int[Tensor, "n c h w"],
        y: Int[Tensor, " n"] | None = None,
        context: Float[Tensor, "n s e"] | None = None,
    ) -> Float[Tensor, "n k c h w"]:
        """Every conditional in one pass."""
        if x.shape[1:] != self.event_shape:
            raise ValueError(f"expected images {self.event_shape}, not {tuple(x.shape[1:])}")
        label = class_labels(x, y, self.num_classes)
        steps = torch.arange(len(self.order), device=x.device)
        h = self.embed(x.flatten(1)[:, self.order], label, steps)  # (N, D, E)
        for layer in self.layers:
            h = layer(h, context)
        found: Tensor = self.head(h)[:, self.order.argsort()].mT  # (N, K, D), in memory order
        return found.reshape(*found.shape[:2], *self.event_shape)

    def log_prob(
        self,
        x: Int[Tensor, "n c h w"],
        y: Int[Tensor, " n"] | None = None,
        context: Float[Tensor, "n s e"] | None = None,
    ) -> Float[Tensor, " n"]:
        """(N,), nats."""
        return chain_rule_log_prob(self.logits(x, y, context), x)

    def sample(
        self,
        n: int,
        y: Int[Tensor, " n"] | None = None,
        generator: torch.Generator | None = None,
        context: Float[Tensor, "n s e"] | None = None,
    ) -> Int[Tensor, "n c h w"]:
        """Ancestral sampling in `order`; D passes."""
        order, device = self.order.tolist(), self.order.device
        return sample(
            lambda x: self.logits(x, y, context), n, self.event_shape, order, generator, device
        )

    def complete(
        self,
        x: Int[Tensor, "n c h w"],
        known: Bool[Tensor, "c h w"],
        y: Int[Tensor, " n"] | None = None,
        generator: torch.Generator | None = None,
        context: Float[Tensor, "n s e"] | None = None,
    ) -> Int[Tensor, "n c h w"]:
        """Ancestral completion in `order`; one pass for each unknown entry."""
        order = self.order.tolist()
        return complete(lambda x: self.logits(x, y, context), x, known, order, generator)
