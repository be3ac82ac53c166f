r"""The first generative adversarial networks: full layers on both sides, images laid out as vectors.

.. code-block:: text

    z (L) ──> hidden ──ReLU──> hidden ──ReLU──> C*H*W ──tanh──> image
    image ──> C*H*W ──> hidden ──maxout──> hidden ──maxout──> score
"""

from __future__ import annotations

__all__ = ["FullyConnectedDiscriminator", "FullyConnectedGenerator", "Maxout"]

import math
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float


class Maxout(nn.Module):
    r"""The largest of several affine functions: a convex, piecewise linear unit.

    .. math::

        h_i(x) = \max_{k} \; w_{ik} \cdot x + b_{ik}

    Paper: Maxout Networks (Goodfellow et al., 2013), Section 3, https://arxiv.org/abs/1302.4389
    Claims: image_discriminator.gradient_reaches_image_and_parameters
    Differs: none.

    Args:
        in_features: D.
        out_features: units.
        pieces: affine functions of each unit.

    >>> import torch
    >>> Maxout(3, 2, pieces=5)(torch.zeros(4, 3)).shape
    torch.Size([4, 2])
    """

    def __init__(self, in_features: int, out_features: int, pieces: int = 2) -> None:
        super().__init__()
        self.pieces = pieces
        self.affine = nn.Linear(in_features, out_features * pieces)

    @classmethod
    def tiny(cls) -> Maxout:
        """Three features, two units, five pieces."""
        return cls(3, 2, 5)

    def forward(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n units"]:
        affine: Tensor = self.affine(x)
        return affine.view(len(x), -1, self.pieces).amax(-1)


class FullyConnectedGenerator(nn.Module):
    r"""A multilayer perceptron from noise to pixels.

    .. math::

        G(z) = \tanh\bigl(W_3\, \mathrm{ReLU}(W_2\, \mathrm{ReLU}(W_1 z))\bigr)

    Paper: Generative Adversarial Networks (Goodfellow et al., 2014), Section 5,
    https://arxiv.org/abs/1406.2661
    Claims: image_generator.range, image_generator.latent_matters,
    image_generator.batch_independent, image_generator.reaches_every_pixel
    Differs: tanh for pixels in [-1, 1] in place of a sigmoid for [0, 1].

    Args:
        latent_dim: L.
        image_shape: (C, H, W), any size.
        hidden: units of each hidden layer; 1200 in the paper for MNIST.

    >>> import torch
    >>> FullyConnectedGenerator.tiny()(torch.zeros(4, 2)).shape
    torch.Size([4, 3, 5, 7])
    """

    def __init__(
        self, latent_dim: int, image_shape: tuple[int, int, int], hidden: int = 16
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(latent_dim, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, math.prod(image_shape)),
            nn.Tanh(),
            nn.Unflatten(1, tuple(image_shape)),
        )

    @classmethod
    def tiny(cls) -> FullyConnectedGenerator:
        """L, C, H, W and the width pairwise distinct."""
        return cls(2, (3, 5, 7), hidden=11)

    def forward(self, z: Float[Tensor, "n l"]) -> Float[Tensor, "n c h w"]:
        x: Tensor = self.layers(z)
        return x


class FullyConnectedDiscriminator(nn.Module):
    r"""A maxout network from pixels to one score.

    .. math::

        D(x) = \sigma(s(x)), \qquad s(x) = w \cdot h_2(h_1(x)) + b,
        \qquad h_1, h_2 \text{ maxout}

    Paper: Generative Adversarial Networks (Goodfellow et al., 2014), Section 5,
    https://arxiv.org/abs/1406.2661
    Claims: image_discriminator.raw_scores, image_discriminator.sees_every_pixel
    Differs: the score before the sigmoid is returned; no dropout.

    Args:
        image_shape: (C, H, W), any size.
        hidden: units of each hidden layer.

    >>> import torch
    >>> FullyConnectedDiscriminator.tiny()(torch.zeros(4, 3, 5, 7)).shape
    torch.Size([4])
    """

    def __init__(self, image_shape: tuple[int, int, int], hidden: int = 16) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            Maxout(math.prod(image_shape), hidden),
            Maxout(hidden, hidden),
            nn.Linear(hidden, 1),
        )

    @classmethod
    def tiny(cls) -> FullyConnectedDiscriminator:
        """C, H, W and the width pairwise distinct."""
        return cls((3, 5, 7), hidden=11)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
        score: Tensor = self.layers(x)
        return score.squeeze(1)
