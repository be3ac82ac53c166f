r"""Conditional GAN: both players are told the class, and play one game for each.

.. code-block:: text

    z ──┐                              x ──┐
        ├─ any generator ──> x             ├─ any discriminator ──> score
    y ──┘  of L + E numbers            y ──┘  of C + 1 channels
"""

from __future__ import annotations

__all__ = [
    "ConditionalDiscriminator",
    "ConditionalGenerator",
    "ProjectionDiscriminator",
    "conditional_game_value",
]

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from reference.adversarial.dcgan import DCGANDiscriminator, DCGANGenerator
from reference.adversarial.game import game_value

if TYPE_CHECKING:
    from jaxtyping import Float, Int


def conditional_game_value(
    d: Float[Tensor, "k n"],
    p: Float[Tensor, "k n"],
    q: Float[Tensor, "k n"],
    classes: Float[Tensor, " k"],
) -> Float[Tensor, ""]:
    r"""The value of the conditional game: the mean of one game for each class.

    .. math::

        V(D, G) = \mathbb E_{y}\bigl[\mathbb E_{x \sim p(\cdot \mid y)} \log D(x \mid y)
            + \mathbb E_{x \sim q(\cdot \mid y)} \log(1 - D(x \mid y))\bigr]

    Paper: Conditional Generative Adversarial Nets (Mirza, Osindero, 2014), Equation 2,
    https://arxiv.org/abs/1411.1784
    Claims: theory.conditional_game
    Differs: the generator is its distributions over an enumerated space.

    Args:
        d: probability that each point is real, given each class.
        p: probabilities of the data, a row for each class.
        q: probabilities of the generator, likewise.
        classes: probability of each class.

    Returns:
        scalar, nats.

    >>> half = torch.full((3, 2), 0.5)
    >>> conditional_game_value(half, half, half, torch.tensor([0.2, 0.3, 0.5]))  # -log 4
    tensor(-1.3863)
    """
    values = torch.stack([game_value(*rows) for rows in zip(d, p, q, strict=True)])
    return (classes * values).sum()


class ConditionalGenerator(nn.Module):
    r"""Any generator, with an embedding of the class after its noise.

    .. math::

        G(z \mid y) = g\bigl([z, e_y]\bigr)

    Paper: Conditional Generative Adversarial Nets (Mirza, Osindero, 2014), Section 3.2,
    https://arxiv.org/abs/1411.1784
    Claims: image_generator.class_matters, image_generator.latent_matters
    Differs: a learned embedding, not a one-hot vector through a layer of its own.

    Args:
        generator: takes (N, L + embed_dim).
        num_classes: K.
        embed_dim: E.

    >>> ConditionalGenerator.tiny()(torch.zeros(5, 2), torch.tensor([0, 1, 2, 3, 0])).shape
    torch.Size([5, 3, 8, 12])
    """

    def __init__(self, generator: nn.Module, num_classes: int, embed_dim: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_classes, embed_dim)
        self.generator = generator

    @classmethod
    def tiny(cls) -> ConditionalGenerator:
        """A DCGAN with L = 2, E = 5 and four classes."""
        return cls(DCGANGenerator(2 + 5, (3, 8, 12)), num_classes=4, embed_dim=5)

    def forward(self, z: Float[Tensor, "n l"], y: Int[Tensor, " n"]) -> Float[Tensor, "n c h w"]:
        x: Tensor = self.generator(torch.cat([z, self.embedding(y)], dim=1))
        return x


class ConditionalDiscriminator(nn.Module):
    r"""Any discriminator, shown an embedding of the class as one more channel.

    .. math::

        s(x \mid y) = d\bigl([x, E_y]\bigr), \qquad E_y \in \mathbb R^{1 \times H \times W}

    Paper: Conditional Generative Adversarial Nets (Mirza, Osindero, 2014), Section 3.2,
    https://arxiv.org/abs/1411.1784
    Claims: image_discriminator.class_matters, image_discriminator.sees_every_pixel
    Differs: the class joins as a channel, as convolutions need it.

    Args:
        discriminator: takes (N, C + 1, H, W).
        num_classes: K.
        height, width: of the images.

    >>> model = ConditionalDiscriminator.tiny()
    >>> model(torch.zeros(5, 3, 8, 12), torch.tensor([0, 1, 2, 3, 0])).shape
    torch.Size([5])
    """

    def __init__(self, discriminator: nn.Module, num_classes: int, height: int, width: int) -> None:
        super().__init__()
        self.plane = height, width
        self.embedding = nn.Embedding(num_classes, height * width)
        self.discriminator = discriminator

    @classmethod
    def tiny(cls) -> ConditionalDiscriminator:
        """A DCGAN of three channels and one, and four classes."""
        return cls(DCGANDiscriminator((3 + 1, 8, 12)), 4, 8, 12)

    def forward(self, x: Float[Tensor, "n c h w"], y: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        plane = self.embedding(y).unflatten(1, (1, *self.plane))
        score: Tensor = self.discriminator(torch.cat([x, plane], dim=1))
        return score


class ProjectionDiscriminator(nn.Module):
    r"""A score of the image, plus how well its features point along its class.

    .. math::

        s(x, y) = e_y \cdot \phi(x) + \psi(\phi(x)), \qquad \psi \text{ affine}

    which is the form of log p(x, y) / q(x, y) when classes are log-linear in the features.

    Paper: cGANs with Projection Discriminator (Miyato, Koyama, 2018), Equation 3,
    https://arxiv.org/abs/1802.05637
    Claims: image_discriminator.class_matters, image_discriminator.raw_scores
    Differs: no spectral normalisation here; `BigGANDiscriminator` has it.

    Args:
        features: phi, (N, C, H, W) to (N, F).
        feature_dim: F.
        num_classes: K.

    >>> model = ProjectionDiscriminator.tiny()
    >>> model(torch.zeros(5, 3, 8, 12), torch.tensor([0, 1, 2, 3, 0])).shape
    torch.Size([5])
    """

    def __init__(self, features: nn.Module, feature_dim: int, num_classes: int) -> None:
        super().__init__()
        self.features = features
        self.score = nn.Linear(feature_dim, 1)
        self.embedding = nn.Embedding(num_classes, feature_dim)

    @classmethod
    def tiny(cls) -> ProjectionDiscriminator:
        """Seven features of three channels, and four classes."""
        features = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 12, 7), nn.Tanh())
        return cls(features, feature_dim=7, num_classes=4)

    def forward(self, x: Float[Tensor, "n c h w"], y: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        phi = self.features(x)
        score: Tensor = self.score(phi).squeeze(1) + (self.embedding(y) * phi).sum(1)
        return score
