r"""What a gated layer can be told beside the image: a class, a vector, or a map of features.

.. code-block:: text

    class y      --> V[y]   --+        the same at every pixel
    embedding e  --> V e    --+--> terms of one layer, for both stacks and both halves of the gates
    map s        --> V * s  --+        1 x 1: each pixel has its own

No V is masked. What is conditioned on is no function of x, so wherever it enters, and whatever an
encoder saw of another image, the logits of x_i depend on no pixel of x but those before it.
"""

from __future__ import annotations

__all__ = ["GateConditions", "SpatialEncoder"]

from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float, Int


class SpatialEncoder(nn.Module):
    r"""Two ordinary convolutions that turn another image into a map of features.

    .. math::

        s = m(h)

    Paper: Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016),
    Section 2.3, https://arxiv.org/abs/1606.05328
    Claims: theory.conditioning_enters_every_pixel
    Differs: the paper's m enlarges a vector by transposed convolutions; this one looks at an image
    of the size of x, which must not be x itself.

    Args:
        channels: of the other image.
        features: F, of the map.

    >>> SpatialEncoder(2, 5)(Tensor(7, 2, 3, 4)).shape
    torch.Size([7, 5, 3, 4])
    """

    def __init__(self, channels: int, features: int) -> None:
        super().__init__()
        self.look = nn.Conv2d(channels, features, 3, padding=1)
        self.again = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, image: Float[Tensor, "n c h w"]) -> Float[Tensor, "n f h w"]:
        out: Tensor = self.again(self.look(image).relu())
        return out


class GateConditions(nn.Module):
    r"""The terms that one gated layer adds before its gates, from any of three kinds of condition.

    .. math::

        y = \tanh(W_f * x + V_f^\top h) \odot \sigma(W_g * x + V_g^\top h), \qquad
        y = \tanh(W_f * x + V_f * s) \odot \sigma(W_g * x + V_g * s)

    Paper: Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016),
    Section 2.3, Equations 4 and 5, https://arxiv.org/abs/1606.05328
    Claims: autoregressive_model.conditioning, theory.conditioning_enters_every_pixel
    Differs: given several kinds, their terms add up.

    Args:
        width: of the terms: 4p, for two stacks of two half gates each.
        num_classes, embedding, maps: classes, entries of the vector, features of the map; 0: none.

    >>> GateConditions(12, num_classes=0, embedding=3, maps=0)(None, Tensor(2, 3), None).shape
    torch.Size([2, 12, 1, 1])
    """

    def __init__(self, width: int, num_classes: int, embedding: int, maps: int) -> None:
        super().__init__()
        self.of_class = nn.Embedding(num_classes, width) if num_classes else None
        self.of_vector = nn.Linear(embedding, width, bias=False) if embedding else None
        self.of_map = nn.Conv2d(maps, width, 1, bias=False) if maps else None

    def forward(
        self,
        y: Int[Tensor, " n"] | None,
        embedding: Float[Tensor, "n e"] | None,
        spatial: Float[Tensor, "n f h w"] | None,
    ) -> Float[Tensor, "n g _ _"]:
        terms: list[Tensor] = []  # (N, 4p, 1, 1), the map's (N, 4p, H, W)
        if self.of_class is not None:
            terms.append(self.of_class(y)[:, :, None, None])
        if self.of_vector is not None:
            terms.append(self.of_vector(embedding)[:, :, None, None])
        if self.of_map is not None:
            terms.append(self.of_map(spatial))
        return sum(terms[1:], start=terms[0])
