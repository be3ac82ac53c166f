r"""Conditional gated PixelCNN: images of a class, of a person, or like a map.

.. code-block:: text

    y, embedding, map --> terms of layer 1    terms of layer 2    ...
                               |                   |
    x ------------------> gated layer 1 ----> gated layer 2 ----> ... ----> logits of p(x | h)

A map that an encoder makes of x itself would show each pixel its own answer: encode another image.
"""

from __future__ import annotations

__all__ = ["ConditionalPixelCNN"]

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from reference.autoregressive.chain_rule import chain_rule_log_prob, class_labels
from reference.autoregressive.conditions import GateConditions
from reference.autoregressive.gated_pixelcnn import GatedPixelCNN
from reference.autoregressive.sampling import complete, sample

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


class ConditionalPixelCNN(nn.Module):
    r"""Gated PixelCNN given a class label, an embedding, a spatial map, or several of them.

    .. math::

        p(x \mid h) = \prod_i p(x_i \mid x_{<i}, h)

    Paper: Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016),
    Section 2.3, Equation 3, https://arxiv.org/abs/1606.05328
    Claims: autoregressive_model.conditioning, autoregressive_model.causality,
    autoregressive_model.normalised, theory.conditioning_enters_every_pixel
    Differs: none beyond `GatedPixelCNN`.

    Args:
        event_shape, levels: as for `GatedPixelCNN`.
        num_classes: how many classes; 0: no label is given.
        embedding: E, entries of the embedding vector; 0: none is given.
        maps: F, features of the spatial map; 0: none is given.
        hidden, head, layers: as for `GatedPixelCNN`.

    Raises:
        ValueError: as for `GatedPixelCNN`, or there is nothing to condition on.

    >>> model, x = ConditionalPixelCNN.tiny(), torch.zeros(7, 3, 4, 5, dtype=torch.long)
    >>> model.logits(x, torch.arange(7), torch.ones(7, 8), torch.ones(7, 10, 4, 5)).shape
    torch.Size([7, 2, 3, 4, 5])
    """

    def __init__(
        self,
        event_shape: tuple[int, int, int],
        levels: int,
        num_classes: int = 0,
        embedding: int = 0,
        maps: int = 0,
        hidden: int = 12,
        head: int = 24,
        layers: int = 3,
    ) -> None:
        super().__init__()
        self.num_classes, self.sizes = num_classes, (embedding, maps)
        if not (num_classes or embedding or maps):
            raise ValueError(f"nothing to condition on: {num_classes=}, {embedding=}, {maps=}")
        self.image = GatedPixelCNN(event_shape, levels, hidden, head, layers)
        self.conditions = nn.ModuleList(
            GateConditions(4 * hidden, num_classes, embedding, maps) for _ in range(layers + 1)
        )

    @classmethod
    def tiny(cls) -> ConditionalPixelCNN:
        """C, H, W, K, the classes, E, F, p and head pairwise distinct."""
        return cls((3, 4, 5), 2, num_classes=7, embedding=8, maps=10, hidden=6, head=9)

    @property
    def receptive_field(self) -> Bool[Tensor, "d d"]:
        """True at (i, j) where the logits of i may use x_j, over the flattened event."""
        return self.image.receptive_field

    def terms(
        self,
        x: Int[Tensor, "n c h w"],
        y: Int[Tensor, " n"] | None = None,
        embedding: Float[Tensor, "n e"] | None = None,
        spatial: Float[Tensor, "n f h w"] | None = None,
    ) -> list[Float[Tensor, "n g _ _"]]:
        """What each layer adds before its gates; of x it reads how many and how large, no pixel."""
        n, (e, f), pixels = len(x), self.sizes, x.shape[2:]
        for given, wanted in (
            (embedding, (n, e) if e else None),
            (spatial, (n, f, *pixels) if f else None),
        ):
            shape = None if given is None else tuple(given.shape)
            if shape != wanted:
                raise ValueError(f"expected a condition of shape {wanted}, not {shape}")
        label = class_labels(x, y, self.num_classes)
        return [condition(label, embedding, spatial) for condition in self.conditions]

    def logits(
        self,
        x: Int[Tensor, "n c h w"],
        y: Int[Tensor, " n"] | None = None,
        embedding: Float[Tensor, "n e"] | None = None,
        spatial: Float[Tensor, "n f h w"] | None = None,
    ) -> Float[Tensor, "n k c h w"]:
        """Every conditional in one pass."""
        return self.image.logits(x, self.terms(x, y, embedding, spatial))

    def log_prob(
        self,
        x: Int[Tensor, "n c h w"],
        y: Int[Tensor, " n"] | None = None,
        embedding: Float[Tensor, "n e"] | None = None,
        spatial: Float[Tensor, "n f h w"] | None = None,
    ) -> Float[Tensor, " n"]:
        """(N,), nats."""
        return chain_rule_log_prob(self.logits(x, y, embedding, spatial), x)

    def sample(
        self,
        n: int,
        y: Int[Tensor, " n"] | None = None,
        embedding: Float[Tensor, "n e"] | None = None,
        spatial: Float[Tensor, "n f h w"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Int[Tensor, "n c h w"]:
        """Ancestral sampling; D passes."""
        shape, device = self.image.event_shape, self.image.last.weight.device
        return sample(
            lambda x: self.logits(x, y, embedding, spatial),
            n,
            shape,
            generator=generator,
            device=device,
        )

    def complete(
        self,
        x: Int[Tensor, "n c h w"],
        known: Bool[Tensor, "c h w"],
        y: Int[Tensor, " n"] | None = None,
        embedding: Float[Tensor, "n e"] | None = None,
        spatial: Float[Tensor, "n f h w"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Int[Tensor, "n c h w"]:
        """Ancestral completion; one pass for each unknown entry."""
        return complete(
            lambda x: self.logits(x, y, embedding, spatial), x, known, generator=generator
        )
