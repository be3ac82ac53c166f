r"""Deep convolutional GAN: strides in place of pooling, batch normalisation on both sides.

.. code-block:: text

    z (L,1,1) ──> (4w, h, w) ──x2──> (2w, 2h, 2w) ──x2──> (C, 4h, 4w)       fractional strides
    x (C, 4h, 4w) ──/2──> (w, 2h, 2w) ──/2──> (2w, h, w) ──> score          strides
"""

from __future__ import annotations

__all__ = ["DCGANDiscriminator", "DCGANGenerator"]

from typing import TYPE_CHECKING

from torch import nn

from reference.adversarial.image_sizes import smallest_map

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class DCGANGenerator(nn.Module):
    r"""Fractionally strided convolutions from noise to pixels, each doubling the image.

    .. math::

        G = \tanh \circ\, T_{d} \circ \mathrm{ReLU} \circ \mathrm{BN} \circ T_{d-1} \circ \cdots
            \circ \mathrm{ReLU} \circ \mathrm{BN} \circ T_0

    with transposed convolutions T; the first makes the smallest map out of z, the last has no
    batch normalisation.

    Paper: Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
    Networks (Radford, Metz, Chintala, 2015), Section 3, https://arxiv.org/abs/1511.06434
    Claims: theory.dcgan_guidelines, image_generator.range, image_generator.batch_independent,
    image_generator.state_dict_round_trips
    Differs: kernels of 4, which overlap evenly, in place of 5; weights keep torch's initialisation.

    Args:
        latent_dim: L; 100 in the paper.
        image_shape: (C, H, W), sides multiples of 2^doublings.
        doublings: 4 in the paper, for 64 by 64.
        features: of the last hidden map, doubled in each map before it; 128 in the paper.

    >>> import torch
    >>> DCGANGenerator.tiny()(torch.zeros(5, 2)).shape
    torch.Size([5, 3, 8, 12])
    """

    def __init__(
        self,
        latent_dim: int,
        image_shape: tuple[int, int, int],
        doublings: int = 2,
        features: int = 4,
    ) -> None:
        super().__init__()
        channels, height, width = image_shape
        small = smallest_map(height, width, doublings)
        here = features * 2 ** (doublings - 1)
        parts: list[nn.Module] = [
            nn.Unflatten(1, (latent_dim, 1, 1)),
            nn.ConvTranspose2d(latent_dim, here, small, bias=False),
        ]
        for _ in range(doublings - 1):
            parts += [nn.BatchNorm2d(here), nn.ReLU()]
            parts += [nn.ConvTranspose2d(here, here // 2, 4, stride=2, padding=1, bias=False)]
            here //= 2
        parts += [nn.BatchNorm2d(here), nn.ReLU()]
        parts += [nn.ConvTranspose2d(here, channels, 4, stride=2, padding=1), nn.Tanh()]
        self.layers = nn.Sequential(*parts)

    @classmethod
    def tiny(cls) -> DCGANGenerator:
        """L, C, H, W pairwise distinct."""
        return cls(2, (3, 8, 12), doublings=2, features=4)

    def forward(self, z: Float[Tensor, "n l"]) -> Float[Tensor, "n c h w"]:
        x: Tensor = self.layers(z)
        return x


class DCGANDiscriminator(nn.Module):
    r"""Strided convolutions from pixels to one score, each halving the image.

    .. math::

        s = C_{d} \circ \mathrm{LReLU} \circ \mathrm{BN} \circ C_{d-1} \circ \cdots
            \circ \mathrm{LReLU} \circ C_0

    the first convolution has no batch normalisation, and the last covers the smallest map.

    Paper: Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
    Networks (Radford, Metz, Chintala, 2015), Section 3, https://arxiv.org/abs/1511.06434
    Claims: theory.dcgan_guidelines, image_discriminator.raw_scores,
    image_discriminator.sees_every_pixel
    Differs: kernels of 4 in place of 5; the score before the sigmoid is returned.

    Args:
        image_shape: (C, H, W), sides multiples of 2^doublings.
        doublings: halvings; 4 in the paper.
        features: of the first map, doubled in each map after it.
        batch_norm: False for a critic whose slope is bounded, by a penalty or by spectral norms:
            there no item may influence another's score.

    >>> import torch
    >>> DCGANDiscriminator.tiny()(torch.zeros(5, 3, 8, 12)).shape
    torch.Size([5])
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        doublings: int = 2,
        features: int = 4,
        batch_norm: bool = True,
    ) -> None:
        super().__init__()
        channels, height, width = image_shape
        small = smallest_map(height, width, doublings)
        here = features
        parts: list[nn.Module] = [nn.Conv2d(channels, here, 4, stride=2, padding=1)]
        parts += [nn.LeakyReLU(0.2)]
        for _ in range(doublings - 1):
            parts += [nn.Conv2d(here, 2 * here, 4, stride=2, padding=1, bias=not batch_norm)]
            parts += [nn.BatchNorm2d(2 * here)] if batch_norm else []
            parts += [nn.LeakyReLU(0.2)]
            here *= 2
        parts += [nn.Conv2d(here, 1, small), nn.Flatten(0)]
        self.layers = nn.Sequential(*parts)

    @classmethod
    def tiny(cls) -> DCGANDiscriminator:
        """C, H, W and the features pairwise distinct."""
        return cls((3, 8, 12), doublings=2, features=4)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
        score: Tensor = self.layers(x)
        return score
