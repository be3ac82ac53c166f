r"""CycleGAN: two translators and two critics of patches, over two unpaired domains.

.. code-block:: text

    x ──conv7──/2──/2──residual blocks──x2──x2──conv7──tanh──> image of the other domain
    x ──/2──/2──conv──> a score for every patch
"""

from __future__ import annotations

__all__ = ["CycleGANGenerator", "PatchDiscriminator"]

from typing import TYPE_CHECKING

from torch import Tensor, nn

from reference.adversarial.image_sizes import smallest_map

if TYPE_CHECKING:
    from jaxtyping import Float


def _convolution(channels: int, out: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    """A convolution that mirrors the border, instance normalisation, ReLU."""
    return [
        nn.Conv2d(channels, out, kernel, stride, kernel // 2, padding_mode="reflect"),
        nn.InstanceNorm2d(out),
        nn.ReLU(),
    ]


class _ResidualBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        first, second = _convolution(channels, channels, 3), _convolution(channels, channels, 3)
        self.layers = nn.Sequential(*first, *second[:2])

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.layers(x)
        return x + change


class CycleGANGenerator(nn.Module):
    r"""Translate an image: halve twice, change it by residual blocks, double twice.

    .. math::

        G = \tanh C\, T_2 T_1\, (1 + R_B) \cdots (1 + R_1)\, S_2 S_1 C_0

    with instance normalisation, so that an image's contrast is its own and no other's.

    Paper: Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks (Zhu,
    Park, Isola, Efros, 2017), Section 4 and Appendix 7.2, https://arxiv.org/abs/1703.10593
    Claims: theory.cyclegan_generator_translates
    Differs: none but the sizes.

    Args:
        channels: of both domains.
        blocks: residual blocks; 9 in the paper for 256 by 256.
        features: of the first convolution; 64 in the paper.

    Sides must be multiples of 4, and 8 at least.

    >>> import torch
    >>> CycleGANGenerator.tiny()(torch.zeros(2, 3, 8, 12)).shape
    torch.Size([2, 3, 8, 12])
    """

    def __init__(self, channels: int, blocks: int = 9, features: int = 64) -> None:
        super().__init__()
        parts = _convolution(channels, features, 7)
        parts += _convolution(features, 2 * features, 3, stride=2)
        parts += _convolution(2 * features, 4 * features, 3, stride=2)
        parts += [_ResidualBlock(4 * features) for _ in range(blocks)]
        for wide in (4 * features, 2 * features):
            double = nn.ConvTranspose2d(wide, wide // 2, 3, 2, padding=1, output_padding=1)
            parts += [double, nn.InstanceNorm2d(wide // 2), nn.ReLU()]
        parts += [nn.Conv2d(features, channels, 7, padding=3, padding_mode="reflect"), nn.Tanh()]
        self.layers = nn.Sequential(*parts)

    @classmethod
    def tiny(cls) -> CycleGANGenerator:
        """Three channels, two blocks, two features."""
        return cls(3, blocks=2, features=2)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        smallest_map(x.shape[2], x.shape[3], 2)
        y: Tensor = self.layers(x)
        return y


class PatchDiscriminator(nn.Module):
    r"""A score for every patch of an image; the image's own is their mean.

    .. math::

        s(x) = \frac{1}{h w} \sum_{ij} s_{ij}(x)

    where s_ij sees one patch alone: what looks real close by is judged, the whole is not.

    Paper: Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks (Zhu,
    Park, Isola, Efros, 2017), Section 4 and Appendix 7.2, https://arxiv.org/abs/1703.10593
    Claims: theory.patches_see_no_further, image_discriminator.raw_scores,
    image_discriminator.sees_every_pixel
    Differs: two strides in place of three, no convolution of stride one between.

    Args:
        channels: C.
        features: of the first convolution; 64 in the paper.

    >>> import torch
    >>> PatchDiscriminator.tiny().patches(torch.zeros(2, 3, 16, 12)).shape
    torch.Size([2, 3, 2])
    """

    receptive_field = 22  # rows and columns: 4 + 2 * 3 + 4 * 3

    def __init__(self, channels: int, features: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, features, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(features, 2 * features, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * features, 1, 4, padding=1),
        )

    @classmethod
    def tiny(cls) -> PatchDiscriminator:
        """Three channels, four features."""
        return cls(3, features=4)

    def patches(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n rows columns"]:
        """A score for each patch."""
        scores: Tensor = self.layers(x)
        return scores.squeeze(1)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
        return self.patches(x).mean((1, 2))
