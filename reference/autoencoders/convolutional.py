r"""A convolutional autoencoder: strides on the way down, transposed convolutions on the way up.

.. code-block:: text

    (C, H, W) ──stride 2──> (h, H/2, W/2) ──stride 2──> (k, H/4, W/4)
        ^                                                   │
        └──── transposed, x2 ──── (h, H/2, W/2) <──── transposed, x2
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

__all__ = ["ConvolutionalAutoencoder"]


class ConvolutionalAutoencoder(nn.Module):
    r"""Two strided convolutions, and the two transposed ones that undo their shapes.

    .. math::

        z = W_2 *_2 \operatorname{relu}(W_1 *_2 x), \qquad
        \hat x = W_4 *_2^\top \operatorname{relu}(W_3 *_2^\top z)

    Paper: Stacked Convolutional Auto-Encoders for Hierarchical Feature Extraction (Masci, Meier,
    Cireşan, Schmidhuber, 2011), https://doi.org/10.1007/978-3-642-21735-7_7
    Claims: theory.convolutional_code_moves_with_the_image
    Differs: strides and transposed convolutions in place of pooling and unpooling.

    Args:
        channels: C of the images.
        hidden: features between the two steps.
        code_channels: k, of the code, whose height and width are a quarter of the image's.

    Raises:
        ValueError: height or width of an image is no multiple of four.

    >>> import torch
    >>> ConvolutionalAutoencoder.tiny().encode(torch.zeros(5, 1, 8, 12)).shape
    torch.Size([5, 2, 2, 3])
    """

    def __init__(self, channels: int, hidden: int, code_channels: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, hidden, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, code_channels, 4, stride=2, padding=1),
        )
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(code_channels, hidden, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(hidden, channels, 4, stride=2, padding=1),
        )

    @classmethod
    def tiny(cls) -> ConvolutionalAutoencoder:
        """One channel, three hidden features, a code of two."""
        return cls(1, 3, 2)

    def encode(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k i j"]:
        """The code of each image, a small image itself."""
        if x.shape[2] % 4 or x.shape[3] % 4:
            raise ValueError(f"height and width must be multiples of 4, not {tuple(x.shape[2:])}")
        code: Tensor = self.encoder(x)
        return code

    def decode(self, code: Float[Tensor, "n k i j"]) -> Float[Tensor, "n c h w"]:
        """The image that each code stands for."""
        reconstruction: Tensor = self.decoder(code)
        return reconstruction

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """The reconstruction of each image from its code."""
        return self.decode(self.encode(x))
