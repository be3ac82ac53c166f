r"""The residual blocks of BigGAN: one doubles an image, told its class, and one halves it.

.. code-block:: text

    up    x ─ CBN(c) ─ ReLU ─ x2 ─ conv3 ─ CBN(c) ─ ReLU ─ conv3 ─ (+) ──>     c: latent and class
          └────────────────── x2 ─ conv1 ──────────────────────────┘
    down  x ─ ReLU ─ conv3 ─ ReLU ─ conv3 ─ mean of 2x2 ─ (+) ──>
          └─ conv1 ─ mean of 2x2 ─────────────────────────┘
"""

from __future__ import annotations

__all__ = ["ConditionalBatchNorm2d", "DownBlock", "UpBlock"]

from typing import TYPE_CHECKING

from torch import nn
from torch.nn.functional import avg_pool2d, relu

from reference.adversarial.image_sizes import nearest_doubling
from reference.adversarial.spectral_norm import spectral_norm

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class ConditionalBatchNorm2d(nn.Module):
    r"""Batch normalisation whose gain and bias are linear in a condition, around one and zero.

    .. math::

        y_{c} = (1 + (A k)_c)\, \frac{x_c - \mu_c}{\sqrt{\sigma_c^2 + \epsilon}} + (B k)_c

    The condition k differs from item to item; mean and variance are of the whole batch.

    Paper: Large Scale GAN Training for High Fidelity Natural Image Synthesis (Brock, Donahue,
    Simonyan, 2018), Appendix B, https://arxiv.org/abs/1809.11096
    Claims: theory.conditional_batch_norm_gain_is_one_plus, image_generator.class_matters
    Differs: none.

    Args:
        channels: C.
        condition_dim: size of k.

    >>> import torch
    >>> ConditionalBatchNorm2d.tiny()(torch.zeros(2, 3, 5, 7), torch.zeros(2, 4)).shape
    torch.Size([2, 3, 5, 7])
    """

    def __init__(self, channels: int, condition_dim: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.gain = spectral_norm(nn.Linear(condition_dim, channels, bias=False))
        self.bias = spectral_norm(nn.Linear(condition_dim, channels, bias=False))

    @classmethod
    def tiny(cls) -> ConditionalBatchNorm2d:
        """Three channels, four numbers of condition."""
        return cls(3, 4)

    def forward(
        self, x: Float[Tensor, "n c h w"], condition: Float[Tensor, "n k"]
    ) -> Float[Tensor, "n c h w"]:
        gain, bias = self.gain(condition)[:, :, None, None], self.bias(condition)[:, :, None, None]
        y: Tensor = (1 + gain) * self.norm(x) + bias
        return y


class UpBlock(nn.Module):
    r"""Double height and width; `residual` and `shortcut` are added.

    .. math::

        y = C_2\, \rho\bigl(C_1\, U \rho(x, k), k\bigr) + S\, U x, \qquad
        \rho = \mathrm{ReLU} \circ \mathrm{CBN},\quad
        (U x)_{ij} = x_{\lfloor i/2 \rfloor \lfloor j/2 \rfloor}

    Paper: Large Scale GAN Training for High Fidelity Natural Image Synthesis (Brock, Donahue,
    Simonyan, 2018), Figure 15 b, https://arxiv.org/abs/1809.11096
    Claims: theory.residual_blocks_halve_and_double
    Differs: none.

    Args:
        channels: of the input.
        out_channels: of the output.
        condition_dim: size of k.

    >>> import torch
    >>> UpBlock.tiny()(torch.zeros(2, 3, 5, 7), torch.zeros(2, 6)).shape
    torch.Size([2, 4, 10, 14])
    """

    def __init__(self, channels: int, out_channels: int, condition_dim: int) -> None:
        super().__init__()
        self.norm_1 = ConditionalBatchNorm2d(channels, condition_dim)
        self.conv_1 = spectral_norm(nn.Conv2d(channels, out_channels, 3, padding=1))
        self.norm_2 = ConditionalBatchNorm2d(out_channels, condition_dim)
        self.conv_2 = spectral_norm(nn.Conv2d(out_channels, out_channels, 3, padding=1))
        self.shortcut = spectral_norm(nn.Conv2d(channels, out_channels, 1))

    @classmethod
    def tiny(cls) -> UpBlock:
        """Three channels to four, six numbers of condition."""
        return cls(3, 4, 6)

    def forward(
        self, x: Float[Tensor, "n c h w"], condition: Float[Tensor, "n k"]
    ) -> Float[Tensor, "n out h2 w2"]:
        residual = self.conv_1(nearest_doubling(relu(self.norm_1(x, condition))))
        residual = self.conv_2(relu(self.norm_2(residual, condition)))
        y: Tensor = residual + self.shortcut(nearest_doubling(x))
        return y


class DownBlock(nn.Module):
    r"""Halve height and width; the residual branch and the shortcut are added.

    .. math::

        y = P\, C_2\, \mathrm{ReLU}(C_1\, \mathrm{ReLU}(x)) + P\, S x, \qquad
        (P x)_{ij} = \tfrac14 \textstyle\sum_{a, b \in \{0, 1\}} x_{2i + a,\, 2j + b}

    Paper: Large Scale GAN Training for High Fidelity Natural Image Synthesis (Brock, Donahue,
    Simonyan, 2018), Figure 15 c, https://arxiv.org/abs/1809.11096
    Claims: theory.residual_blocks_halve_and_double
    Differs: none.

    Args:
        channels: of the input.
        out_channels: of the output.
        first: the input is an image, so no ReLU comes before the first convolution.

    >>> import torch
    >>> DownBlock.tiny()(torch.zeros(2, 3, 10, 14)).shape
    torch.Size([2, 4, 5, 7])
    """

    def __init__(self, channels: int, out_channels: int, first: bool = False) -> None:
        super().__init__()
        self.first = first
        self.conv_1 = spectral_norm(nn.Conv2d(channels, out_channels, 3, padding=1))
        self.conv_2 = spectral_norm(nn.Conv2d(out_channels, out_channels, 3, padding=1))
        self.shortcut = spectral_norm(nn.Conv2d(channels, out_channels, 1))

    @classmethod
    def tiny(cls) -> DownBlock:
        """Three channels to four."""
        return cls(3, 4)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n out h2 w2"]:
        residual = self.conv_1(x if self.first else relu(x))
        residual = self.conv_2(relu(residual))
        return avg_pool2d(residual + self.shortcut(x), 2)
