r"""The denoising criterion: rebuild the clean point from a corrupted one.

.. code-block:: text

    clean --(+ noise)--> corrupted --denoiser--> rebuilt
      |                                             |
      +--------------- squared distance ------------+
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float

    Denoiser = Callable[[Float[Tensor, "n d"]], Float[Tensor, "n d"]]

__all__ = ["denoising_loss"]


def denoising_loss(
    denoiser: Denoiser, clean: Float[Tensor, "n d"], noise: Float[Tensor, "n d"]
) -> Float[Tensor, ""]:
    r"""Average the squared distance of the denoised points from the clean ones.

    .. math::

        L = \frac1N \sum_{i=1}^N \bigl\| r(x_i + \epsilon_i) - x_i \bigr\|^2

    Copying the input, which an ordinary autoencoder of large capacity ends up with, costs the
    squared noise; whoever does better must know where the data lie.

    Paper: Extracting and Composing Robust Features with Denoising Autoencoders (Vincent,
    Larochelle, Bengio, Manzagol, 2008), Section 2.3, https://doi.org/10.1145/1390156.1390294
    Claims: denoising_loss.matches_definition, denoising_loss.target_is_clean,
    denoising_loss.denoiser_sees_the_corrupted, denoising_loss.gradient_reaches_denoiser
    Differs: additive noise and squared error, where the paper deletes entries and has a
    cross-entropy.

    Args:
        denoiser: Takes points (N, D) to points (N, D).
        clean: The points to rebuild (N, D).
        noise: What is added to them (N, D).

    Returns:
        The loss, a scalar.

    Raises:
        ValueError: The noise has another shape than the points.

    >>> import torch
    >>> denoising_loss(lambda x: x, torch.zeros(2, 2), torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
    tensor(13.)
    """
    if noise.shape != clean.shape:
        raise ValueError(f"noise of shape {(*noise.shape,)} for points of {(*clean.shape,)}")
    return (denoiser(clean + noise) - clean).square().sum(-1).mean()
