r"""BigGAN: residual blocks, the class and the latent in every one of them, spectral norms throughout.

.. code-block:: text

    k = [z, e_y]                            told to every conditional batch normalisation
    z ──linear──> (4w, h, w) ──up(k)──> (2w, 2h, 2w) ──up(k)──> (w, 4h, 4w) ──BN, ReLU, conv, tanh──> x
    x ──down──> (w, ..) ──down──> (2w, ..) ──ReLU, sum over pixels──> phi ──> psi(phi) + e_y . phi
"""

from __future__ import annotations

__all__ = ["BigGANDiscriminator", "BigGANGenerator"]

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from reference.adversarial.image_sizes import smallest_map
from reference.adversarial.residual_blocks import DownBlock, UpBlock
from reference.adversarial.spectral_norm import spectral_norm

if TYPE_CHECKING:
    from jaxtyping import Float, Int


class BigGANGenerator(nn.Module):
    r"""Residual blocks that double the image, each normalised as latent and class say.

    .. math::

        G(z, y) = \tanh C\, \mathrm{ReLU}\, \mathrm{BN}\, B_d(\cdots B_1(W z, k) \cdots, k),
        \qquad k = [z, e_y]

    Paper: Large Scale GAN Training for High Fidelity Natural Image Synthesis (Brock, Donahue,
    Simonyan, 2018), Section 3 and Appendix B, https://arxiv.org/abs/1809.11096
    Claims: image_generator.range, image_generator.class_matters, image_generator.latent_matters,
    image_generator.batch_independent, image_generator.state_dict_round_trips
    Differs: every block gets the whole latent, as in the paper's deep variant, not a part of it; no
    self-attention, no moving average of the weights.

    Args:
        latent_dim: L; 120 in the paper, drawn by `truncated_normal` to sample.
        image_shape: (C, H, W), sides multiples of 2^doublings.
        num_classes: K.
        embed_dim: E, of the class embedding that all blocks share; 128 in the paper.
        doublings: 5 in the paper, for 128 by 128.
        features: of the last block, doubled in each block before it; 96 in the paper.

    >>> BigGANGenerator.tiny()(torch.zeros(5, 2), torch.tensor([0, 1, 2, 3, 0])).shape
    torch.Size([5, 3, 8, 12])
    """

    def __init__(
        self,
        latent_dim: int,
        image_shape: tuple[int, int, int],
        num_classes: int,
        embed_dim: int = 3,
        doublings: int = 2,
        features: int = 4,
    ) -> None:
        super().__init__()
        channels, height, width = image_shape
        rows, columns = smallest_map(height, width, doublings)
        wide = features * 2**doublings
        self.embedding = nn.Embedding(num_classes, embed_dim)
        self.first = nn.Sequential(
            spectral_norm(nn.Linear(latent_dim, wide * rows * columns)),
            nn.Unflatten(1, (wide, rows, columns)),
        )
        self.blocks = nn.ModuleList(
            UpBlock(wide >> i, wide >> (i + 1), latent_dim + embed_dim) for i in range(doublings)
        )
        self.last = nn.Sequential(
            nn.BatchNorm2d(features),
            nn.ReLU(),
            spectral_norm(nn.Conv2d(features, channels, 3, padding=1)),
            nn.Tanh(),
        )

    @classmethod
    def tiny(cls) -> BigGANGenerator:
        """L, C, K, H, W pairwise distinct."""
        return cls(2, (3, 8, 12), num_classes=4)

    def forward(self, z: Float[Tensor, "n l"], y: Int[Tensor, " n"]) -> Float[Tensor, "n c h w"]:
        condition = torch.cat([z, self.embedding(y)], dim=1)
        x = self.first(z)
        for block in self.blocks:
            x = block(x, condition)
        image: Tensor = self.last(x)
        return image


class BigGANDiscriminator(nn.Module):
    r"""Residual blocks that halve the image, and a projection on the class.

    .. math::

        s(x, y) = \psi(\phi(x)) + e_y \cdot \phi(x), \qquad
        \phi(x) = \textstyle\sum_{ij} \mathrm{ReLU}\, B_d(\cdots B_1(x))_{ij}

    Paper: Large Scale GAN Training for High Fidelity Natural Image Synthesis (Brock, Donahue,
    Simonyan, 2018), Section 3 and Appendix B, https://arxiv.org/abs/1809.11096
    Claims: image_discriminator.raw_scores, image_discriminator.class_matters,
    image_discriminator.sees_every_pixel
    Differs: no self-attention, no block that keeps the size.

    Args:
        image_shape: (C, H, W), sides multiples of 2^doublings.
        num_classes: K.
        doublings: halvings.
        features: of the first block, doubled in each block after it.

    >>> model = BigGANDiscriminator.tiny()
    >>> model(torch.zeros(5, 3, 8, 12), torch.tensor([0, 1, 2, 3, 0])).shape
    torch.Size([5])
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int,
        doublings: int = 2,
        features: int = 4,
    ) -> None:
        super().__init__()
        channels, height, width = image_shape
        smallest_map(height, width, doublings)
        sizes = [channels, *(features << i for i in range(doublings))]
        self.blocks = nn.Sequential(
            *(DownBlock(sizes[i], sizes[i + 1], first=i == 0) for i in range(doublings)), nn.ReLU()
        )
        self.score = spectral_norm(nn.Linear(sizes[-1], 1))
        self.embedding = spectral_norm(nn.Linear(num_classes, sizes[-1], bias=False))

    @classmethod
    def tiny(cls) -> BigGANDiscriminator:
        """C, K, H, W pairwise distinct."""
        return cls((3, 8, 12), num_classes=4)

    def forward(self, x: Float[Tensor, "n c h w"], y: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        phi = self.blocks(x).sum((2, 3))
        embedded = self.embedding.weight.mT[y]  # (N, F): a linear layer of one-hot classes
        score: Tensor = self.score(phi).squeeze(1) + (embedded * phi).sum(1)
        return score
