r"""Super-resolution: a large image, generated while every step looks at all of a small one.

.. code-block:: text

    small image --> [ attention to itself, no mask ] x layers --> features, one a sub-pixel
                                                                      |
    large image so far --> [ local attention --> attention to the features --> linear ] x layers
"""

from __future__ import annotations

__all__ = ["SuperResolutionTransformer"]

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from reference.autoregressive.cross_attention import full_attention
from reference.autoregressive.image_transformer import ImageTransformer
from reference.autoregressive.pixel_positions import coordinate_encoding
from reference.autoregressive.transformer_layer import TransformerLayer

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


class SuperResolutionTransformer(nn.Module):
    r"""An encoder of small images, and an image transformer that attends to its features.

    .. math::

        p(x \mid s) = \prod_t p\bigl(x_t \mid x_{<t},\, \operatorname{encode}(s)\bigr)

    Paper: Image Transformer (Parmar et al., 2018), Sections 3.2 and 5.3,
    https://arxiv.org/abs/1802.05751
    Claims: theory.superresolution_attends_to_the_whole_input, theory.cached_transformer_is_naive
    Differs: no dropout; the encoder's attention is full, its input being small.

    The paper's sizes: 8 x 8 to 32 x 32, 4 encoder and 12 decoder layers (CelebA).

    Args:
        small_shape: (C, h, w) of what is given.
        event_shape: (C, H, W) of what is generated.
        levels: K, of both.
        encoder_layers: layers of the encoder.
        block, halo, components, embed_dim, num_heads, hidden, layers: as for `ImageTransformer`.

    Raises:
        ValueError: as for `ImageTransformer`.

    >>> model = SuperResolutionTransformer.tiny()
    >>> model.sample(torch.zeros(2, 3, 1, 2, dtype=torch.long)).shape
    torch.Size([2, 3, 4, 5])
    """

    positions: Float[Tensor, "d e"]
    offset: Int[Tensor, " d"]

    def __init__(
        self,
        small_shape: tuple[int, int, int],
        event_shape: tuple[int, int, int],
        levels: int,
        block: int | tuple[int, int] = 5,
        halo: tuple[int, int] = (1, 2),
        components: int = 0,
        embed_dim: int = 12,
        num_heads: int = 2,
        hidden: int = 16,
        layers: int = 2,
        encoder_layers: int = 1,
    ) -> None:
        super().__init__()
        self.small_shape = tuple(small_shape)
        where = coordinate_encoding(small_shape, embed_dim).flatten(0, 2)  # (d, E)
        area = small_shape[1] * small_shape[2]
        offset = torch.arange(len(where)) // area * levels
        self.register_buffer("positions", where, persistent=False)
        self.register_buffer("offset", offset, persistent=False)
        self.tokens = nn.Embedding(small_shape[0] * levels, embed_dim)
        self.encoder = nn.Sequential(
            *(
                TransformerLayer(embed_dim, num_heads, hidden, full_attention)
                for _ in range(encoder_layers)
            )
        )
        self.decoder = ImageTransformer(
            event_shape, levels, 0, block, halo, components, embed_dim, num_heads, hidden, layers,
            context=True,
        )  # fmt: skip

    @classmethod
    def tiny(cls) -> SuperResolutionTransformer:
        """From 1 x 2 to 4 x 5; K = 7."""
        return cls((3, 1, 2), (3, 4, 5), levels=7)

    def encode(self, small: Int[Tensor, "n c h w"]) -> Float[Tensor, "n s e"]:
        """Features of every sub-pixel, each of which has seen the whole small image."""
        if small.shape[1:] != self.small_shape:
            raise ValueError(f"expected images {self.small_shape}, not {tuple(small.shape[1:])}")
        h: Tensor = self.encoder(self.tokens(small.flatten(1) + self.offset) + self.positions)
        return h

    def logits(
        self, x: Int[Tensor, "n C H W"], small: Int[Tensor, "n c h w"]
    ) -> Float[Tensor, "n k C H W"]:
        """Every conditional in one pass, given the small images."""
        return self.decoder.logits(x, context=self.encode(small))

    def log_prob(
        self, x: Int[Tensor, "n C H W"], small: Int[Tensor, "n c h w"]
    ) -> Float[Tensor, " n"]:
        """(N,), nats."""
        return self.decoder.log_prob(x, context=self.encode(small))

    @torch.no_grad()
    def sample(
        self, small: Int[Tensor, "n c h w"], generator: torch.Generator | None = None
    ) -> Int[Tensor, "n C H W"]:
        """One large image for each small one; the encoder runs once, the decoder D times."""
        return self.decoder.sample(len(small), None, generator, self.encode(small))

    @torch.no_grad()
    def complete(
        self,
        x: Int[Tensor, "n C H W"],
        known: Bool[Tensor, "C H W"],
        small: Int[Tensor, "n c h w"],
        generator: torch.Generator | None = None,
    ) -> Int[Tensor, "n C H W"]:
        """Ancestral completion of large images, given small ones too."""
        return self.decoder.complete(x, known, None, generator, self.encode(small))
