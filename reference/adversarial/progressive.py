r"""Progressive growing: train small images first, then fade in the block that doubles them.

.. code-block:: text

    z ──> block 0 ──> block 1 ──(x2)──> block 2 ──> to_image[2] ──── alpha ───┐
                         │                                                    (+) ──> image
                         └─────────> to_image[1] ──(x2)────────── 1 - alpha ──┘
"""

from __future__ import annotations

__all__ = ["ProgressiveDiscriminator", "ProgressiveGenerator"]

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from reference.adversarial.growing_layers import fade_in, minibatch_stddev, pixel_norm
from reference.adversarial.image_sizes import nearest_doubling, smallest_map

if TYPE_CHECKING:
    from jaxtyping import Float


class _PixelNorm(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return pixel_norm(x)


class ProgressiveGenerator(nn.Module):
    r"""One block for each size; any of them can be the last, faded in by alpha.

    .. math::

        G_s(z; \alpha) = (1 - \alpha)\, U\, t_{s-1}(h_{s-1}) + \alpha\, t_s(h_s), \qquad
        h_s = B_s(U h_{s-1})

    with the nearest-neighbour doubling U and one convolution to the image, t, for each size.

    Paper: Progressive Growing of GANs (Karras et al., 2017), Sections 2 and 4, Table 2,
    https://arxiv.org/abs/1710.10196
    Claims: theory.fade_in_meets_both_ends, image_generator.range, image_generator.latent_matters
    Differs: tanh after each t, for images in [-1, 1]; weights are not rescaled at run time; one
    width for all blocks.

    Args:
        latent_dim: L; 512 in the paper.
        image_shape: (C, H, W) of the largest image, sides multiples of 2^doublings.
        doublings: 8 in the paper, from 4 by 4 to 1024 by 1024.
        features: of every block; 512 down to 16 in the paper.

    >>> import torch
    >>> model = ProgressiveGenerator.tiny()
    >>> model(torch.zeros(5, 2), stage=1, alpha=0.3).shape  # half the full size
    torch.Size([5, 3, 4, 6])
    """

    def __init__(
        self,
        latent_dim: int,
        image_shape: tuple[int, int, int],
        doublings: int = 2,
        features: int = 6,
    ) -> None:
        super().__init__()
        channels, height, width = image_shape
        rows, columns = smallest_map(height, width, doublings)
        start = [
            nn.Linear(latent_dim, features * rows * columns),
            nn.Unflatten(1, (features, rows, columns)),
        ]
        self.blocks = nn.ModuleList(
            nn.Sequential(
                *(start if stage == 0 else []),
                nn.LeakyReLU(0.2),
                _PixelNorm(),
                nn.Conv2d(features, features, 3, padding=1),
                nn.LeakyReLU(0.2),
                _PixelNorm(),
            )
            for stage in range(doublings + 1)
        )
        self.to_image = nn.ModuleList(
            nn.Sequential(nn.Conv2d(features, channels, 1), nn.Tanh()) for _ in self.blocks
        )

    @classmethod
    def tiny(cls) -> ProgressiveGenerator:
        """L, C, H, W pairwise distinct; images of 2x3, 4x6 and 8x12."""
        return cls(2, (3, 8, 12))

    def forward(
        self, z: Float[Tensor, "n l"], stage: int | None = None, alpha: float = 1.0
    ) -> Float[Tensor, "n c h w"]:
        """The image after so many doublings; all of them by default."""
        last = len(self.blocks) - 1 if stage is None else stage
        before = h = self.blocks[0](z)
        for block in list(self.blocks)[1 : last + 1]:
            before, h = h, block(nearest_doubling(h))
        new: Tensor = self.to_image[last](h)
        if last == 0:
            return new
        return fade_in(nearest_doubling(self.to_image[last - 1](before)), new, alpha)


class ProgressiveDiscriminator(nn.Module):
    r"""The generator's mirror image, with the spread of the batch among its last features.

    .. math::

        s_0 = B_0, \qquad h_s(x; \alpha) = (1 - \alpha)\, f_{s-1}(P x) + \alpha\, P B_s(f_s(x))

    with the mean of 2 by 2 pixels P and one convolution from the image, f, for each size.

    Paper: Progressive Growing of GANs (Karras et al., 2017), Sections 2 and 3, Table 2,
    https://arxiv.org/abs/1710.10196
    Claims: theory.fade_in_meets_both_ends, image_discriminator.raw_scores,
    image_discriminator.sees_every_pixel
    Differs: as for `ProgressiveGenerator`.

    Args:
        image_shape: (C, H, W) of the largest image, sides multiples of 2^doublings.
        doublings: halvings.
        features: of every block.

    >>> import torch
    >>> ProgressiveDiscriminator.tiny()(torch.zeros(5, 3, 4, 6), stage=1, alpha=0.3).shape
    torch.Size([5])
    """

    def __init__(
        self, image_shape: tuple[int, int, int], doublings: int = 2, features: int = 6
    ) -> None:
        super().__init__()
        channels, height, width = image_shape
        rows, columns = smallest_map(height, width, doublings)
        self.from_image = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, features, 1), nn.LeakyReLU(0.2))
            for _ in range(doublings + 1)
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(features, features, 3, padding=1), nn.LeakyReLU(0.2))
            for _ in range(doublings)
        )
        self.last = nn.Sequential(
            nn.Conv2d(features + 1, features, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(features * rows * columns, 1),
        )

    @classmethod
    def tiny(cls) -> ProgressiveDiscriminator:
        """C, H, W and the features pairwise distinct."""
        return cls((3, 8, 12))

    def forward(
        self, x: Float[Tensor, "n c h w"], stage: int | None = None, alpha: float = 1.0
    ) -> Float[Tensor, " n"]:
        """The score of images after so many doublings; all of them by default."""
        top = len(self.blocks) if stage is None else stage
        h = self.from_image[top](x)
        for at in range(top, 0, -1):
            h = avg_pool2d(self.blocks[at - 1](h), 2)
            if at == top:
                h = fade_in(self.from_image[top - 1](avg_pool2d(x, 2)), h, alpha)
        score: Tensor = self.last(minibatch_stddev(h))
        return score.squeeze(1)
