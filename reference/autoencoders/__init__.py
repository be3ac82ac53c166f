"""Models that compress a point to a short code and rebuild it from that code.

The linear optimum in closed form (`linear_autoencoder`, which is PCA), and the networks that
gradient descent trains towards it (`LinearBottleneck`) or beyond it (`DeepBottleneck`).
"""

from reference.autoencoders.bottleneck import (
    DeepBottleneck,
    LinearBottleneck,
    reconstruction_loss,
)
from reference.autoencoders.denoising import denoising_loss
from reference.autoencoders.linear import linear_autoencoder, principal_directions
from reference.autoencoders.sparse import soft_threshold, sparse_code

__all__ = [
    "DeepBottleneck",
    "LinearBottleneck",
    "denoising_loss",
    "linear_autoencoder",
    "principal_directions",
    "reconstruction_loss",
    "soft_threshold",
    "sparse_code",
]
