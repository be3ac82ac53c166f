r"""Autoencoders whose narrow middle layer forces them to compress, to be trained by gradient.

.. code-block:: text

    x (N, D) ──> hidden ──> code (N, k) ──> hidden ──> reconstruction (N, D)       k < D
                   encoder ┘          └ decoder
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

__all__ = ["DeepBottleneck", "LinearBottleneck", "reconstruction_loss"]


def reconstruction_loss(
    x: Float[Tensor, "n d"], reconstruction: Float[Tensor, "n d"]
) -> Float[Tensor, ""]:
    r"""The squared error of a reconstruction, summed over features, mean over the batch.

    .. math::

        \frac1N \sum_{n=1}^N \| x_n - \hat x_n \|^2

    Paper: Neural Networks and Principal Component Analysis: Learning from Examples Without Local
    Minima (Baldi, Hornik, 1989), https://doi.org/10.1016/0893-6080(89)90014-2
    Claims: theory.gradient_descent_finds_pca
    Differs: the mean over the batch in place of the sum.

    Args:
        x: Data (N, D).
        reconstruction: What the autoencoder made of it (N, D).

    Returns:
        The loss, in squared units of x, a 0-d tensor.

    Raises:
        ValueError: The shapes differ.

    >>> import torch
    >>> reconstruction_loss(torch.zeros(2, 3), torch.ones(2, 3))
    tensor(3.)
    """
    if x.shape != reconstruction.shape:
        raise ValueError(f"shapes differ: {(*x.shape,)} and {(*reconstruction.shape,)}")
    return (x - reconstruction).square().sum(-1).mean()


class LinearBottleneck(nn.Module):
    r"""An autoencoder of two affine layers, whose best weights span the principal subspace.

    .. math::

        z = W_e x + b_e, \qquad \hat x = W_d z + b_d

    Paper: Neural Networks and Principal Component Analysis: Learning from Examples Without Local
    Minima (Baldi, Hornik, 1989), https://doi.org/10.1016/0893-6080(89)90014-2
    Claims: theory.gradient_descent_finds_pca
    Differs: biases, so that the data need not be centred.

    Args:
        data_dim: Length D of a point.
        code_dim: Length k of its code.

    >>> import torch
    >>> LinearBottleneck.tiny()(torch.zeros(2, 5)).shape
    torch.Size([2, 5])
    """

    def __init__(self, data_dim: int, code_dim: int) -> None:
        super().__init__()
        self.encoder = nn.Linear(data_dim, code_dim)
        self.decoder = nn.Linear(code_dim, data_dim)

    @classmethod
    def tiny(cls) -> LinearBottleneck:
        """A model small enough for tests."""
        return cls(data_dim=5, code_dim=2)

    def encode(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """The code of each point."""
        code: Tensor = self.encoder(x)
        return code

    def decode(self, code: Float[Tensor, "n k"]) -> Float[Tensor, "n d"]:
        """The point that each code stands for."""
        reconstruction: Tensor = self.decoder(code)
        return reconstruction

    def forward(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """The reconstruction of each point from its code."""
        return self.decode(self.encode(x))


class DeepBottleneck(nn.Module):
    r"""An autoencoder with a hidden layer on each side: non-linear dimensionality reduction.

    .. math::

        z = W_2 \,\sigma(W_1 x + b_1) + b_2, \qquad \hat x = W_4 \,\sigma(W_3 z + b_3) + b_4

    Paper: Reducing the Dimensionality of Data with Neural Networks (Hinton, Salakhutdinov, 2006),
    Figure 1, https://doi.org/10.1126/science.1127647 (for MNIST: 784-1000-500-250-30, mirrored)
    Claims: theory.gradient_descent_finds_pca
    Differs: one hidden layer a side in place of three; linear outputs; no pretraining.

    Args:
        data_dim: Length D of a point.
        hidden_dim: Width of the hidden layer on each side.
        code_dim: Length k of its code.

    >>> import torch
    >>> DeepBottleneck.tiny().encode(torch.zeros(4, 5)).shape
    torch.Size([4, 2])
    """

    def __init__(self, data_dim: int, hidden_dim: int, code_dim: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(data_dim, hidden_dim), nn.Sigmoid(), nn.Linear(hidden_dim, code_dim)
        )
        self.decoder = nn.Sequential(
            nn.Linear(code_dim, hidden_dim), nn.Sigmoid(), nn.Linear(hidden_dim, data_dim)
        )

    @classmethod
    def tiny(cls) -> DeepBottleneck:
        """A model small enough for tests."""
        return cls(data_dim=5, hidden_dim=7, code_dim=2)

    def encode(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """The code of each point."""
        code: Tensor = self.encoder(x)
        return code

    def decode(self, code: Float[Tensor, "n k"]) -> Float[Tensor, "n d"]:
        """The point that each code stands for."""
        reconstruction: Tensor = self.decoder(code)
        return reconstruction

    def forward(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """The reconstruction of each point from its code."""
        return self.decode(self.encode(x))
