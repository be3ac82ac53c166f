"""Models that compress a point to a code and rebuild it from that code.

The linear optimum in closed form (`linear_autoencoder`, which is PCA), the networks that gradient
descent trains towards it or beyond it, codes that are sparse, denoisers and what they learn, layers
trained one by one, and codes found without an encoder.
"""

from reference.autoencoders.bottleneck import (
    DeepBottleneck,
    LinearBottleneck,
    reconstruction_loss,
)
from reference.autoencoders.convolutional import ConvolutionalAutoencoder
from reference.autoencoders.denoisers import (
    masking_noise,
    noisy_log_density,
    posterior_mean_denoiser,
    wiener_denoiser,
)
from reference.autoencoders.denoising import denoising_loss
from reference.autoencoders.implicit import activation_maximisation, invert_decoder
from reference.autoencoders.layerwise import (
    classifier_from_encoder,
    greedy_linear_stack,
    layer_loss,
)
from reference.autoencoders.linear import linear_autoencoder, principal_directions
from reference.autoencoders.sparse import soft_threshold, sparse_code
from reference.autoencoders.sparse_autoencoder import (
    SparseAutoencoder,
    code_penalty,
    ridge_code,
)
from reference.autoencoders.spike_and_slab import SpikeAndSlab

__all__ = [
    "ConvolutionalAutoencoder",
    "DeepBottleneck",
    "LinearBottleneck",
    "SparseAutoencoder",
    "SpikeAndSlab",
    "activation_maximisation",
    "classifier_from_encoder",
    "code_penalty",
    "denoising_loss",
    "greedy_linear_stack",
    "invert_decoder",
    "layer_loss",
    "linear_autoencoder",
    "masking_noise",
    "noisy_log_density",
    "posterior_mean_denoiser",
    "principal_directions",
    "reconstruction_loss",
    "ridge_code",
    "soft_threshold",
    "sparse_code",
    "wiener_denoiser",
]
