r"""The reference models under their contracts: one registration a model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from reference import (
    adversarial,
    autoencoders,
    autoregressive,
    divergences,
    energy,
    flows,
    latent,
)
from spec_tests.contracts.theory import Pieces
from spec_tests.registry import Unsupported, subject


@subject("theory", name="reference")
def pieces(pieces: Pieces) -> Pieces:
    """The reference pieces as they are."""
    return pieces


# Divergences and transport -----------------------------------------------------------------------


@subject("kl_divergence", name="reference")
def kl_divergence(p: Tensor, q: Tensor) -> Tensor:
    return divergences.kl_divergence(p, q)


@subject("js_divergence", name="reference")
def js_divergence(p: Tensor, q: Tensor) -> Tensor:
    return divergences.js_divergence(p, q)


@subject("wasserstein1", name="reference")
def wasserstein1(x: Tensor, y: Tensor, p: Tensor, q: Tensor) -> Tensor:
    return divergences.wasserstein1(x, y, p, q)


@subject("optimal_discriminator", name="reference")
def optimal_discriminator(p: Tensor, q: Tensor) -> Tensor:
    return adversarial.optimal_discriminator(p, q)


@subject("wasserstein1", name="reference.wasserstein1_on_the_line")
def wasserstein1_on_the_line(x: Tensor, y: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """The closed form, which needs points on a line."""
    if x.shape[1] != 1:
        raise Unsupported("points of one dimension only")
    return divergences.wasserstein1_on_the_line(x[:, 0], y[:, 0], p, q)


@subject("wasserstein1", name="reference.wasserstein1_dual", arrays="numpy")
def wasserstein1_dual(x: Any, y: Any, p: Any, q: Any) -> Tensor:
    """The best tabulated critic; its gradients in x and y are documented to be missing."""
    return divergences.wasserstein1_dual(*map(torch.as_tensor, (x, y, p, q)))


# Autoregressive models ---------------------------------------------------------------------------


@subject("masked_conv2d", name="reference.MaskedConv2d")
def masked_conv2d(config: Any) -> Any:
    return autoregressive.MaskedConv2d(
        config.in_channels,
        config.out_channels,
        config.kernel_size,
        config.mask_type,
        config.data_channels,
    )


def _full_past(event_shape: tuple[int, ...]) -> Tensor:
    """Row i, column j: whether j comes before i in raster order, channel by channel."""
    rank = torch.tensor(autoregressive.raster_order(event_shape)).argsort()
    return rank[None, :] < rank[:, None]


@subject("autoregressive_model", name="reference.TabularChainRule")
def tabular_chain_rule(config: Any) -> Any:
    if config.levels ** len(autoregressive.raster_order(config.event_shape)) > 2**13:
        raise Unsupported("too many events for a table")
    model = autoregressive.TabularChainRule(config.event_shape, config.levels, config.num_classes)
    model.receptive_field = _full_past(config.event_shape)
    return model


@subject("autoregressive_model", name="reference.FullyVisibleBeliefNetwork")
def fully_visible_belief_network(config: Any) -> Any:
    model = autoregressive.FullyVisibleBeliefNetwork(
        config.event_shape, config.levels, config.num_classes
    )
    model.receptive_field = _full_past(config.event_shape)
    return model


@subject("autoregressive_model", name="reference.PixelCNN")
def pixelcnn(config: Any) -> Any:
    if len(config.event_shape) != 3:
        raise Unsupported("images only")
    return autoregressive.PixelCNN(config.event_shape, config.levels, config.num_classes)


# Causal self-attention -------------------------------------------------------------------------


@subject("causal_self_attention", name="reference.CausalSelfAttention")
def causal_self_attention(config: Any) -> Any:
    return autoregressive.CausalSelfAttention(config.embed_dim, config.num_heads)


# The discretised mixture of logistics ----------------------------------------------------------


@subject("discretized_logistic_mixture", name="reference")
def discretized_logistic_mixture(
    x: Tensor, log_weights: Tensor, means: Tensor, log_scales: Tensor, levels: int
) -> Tensor:
    return autoregressive.discretized_logistic_mixture(x, log_weights, means, log_scales, levels)


# Autoencoders --------------------------------------------------------------------------------------


@subject("linear_autoencoder", name="reference")
def linear_autoencoder(x: Tensor, code_dim: int) -> tuple[Any, Any]:
    return autoencoders.linear_autoencoder(x, code_dim)


# Sparse coding ---------------------------------------------------------------------------------


@subject("sparse_code", name="reference")
def sparse_code(x: Tensor, dictionary: Tensor, penalty: float) -> Tensor:
    return autoencoders.sparse_code(x, dictionary, penalty)


# Denoising -------------------------------------------------------------------------------------


@subject("denoising_loss", name="reference")
def denoising_loss(denoiser: Any, clean: Tensor, noise: Tensor) -> Tensor:
    return autoencoders.denoising_loss(denoiser, clean, noise)


# Latent variable models ----------------------------------------------------------------------------


@subject("gaussian_kl", name="reference")
def gaussian_kl(mean: Tensor, log_var: Tensor) -> Tensor:
    return latent.gaussian_kl(mean, log_var)


@subject("reparameterize", name="reference")
def reparameterize(mean: Tensor, log_var: Tensor, noise: Tensor) -> Tensor:
    return latent.reparameterize(mean, log_var, noise)


@subject("gaussian_log_likelihood", name="reference")
def gaussian_log_likelihood(x: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    return latent.gaussian_log_likelihood(x, mean, log_var)


@subject("bernoulli_log_likelihood", name="reference")
def bernoulli_log_likelihood(x: Tensor, logits: Tensor) -> Tensor:
    return latent.bernoulli_log_likelihood(x, logits)


@subject("vae", name="reference.VAE")
def vae(config: Any) -> Any:
    return latent.VAE(config.data_dim, config.latent_dim, 8, config.likelihood)


@subject("vae", name="reference.LinearGaussianVAE")
def linear_gaussian_vae(config: Any) -> Any:
    if config.likelihood != "gaussian":
        raise Unsupported("Gaussian data only")
    return latent.LinearGaussianVAE(config.data_dim, config.latent_dim)


# Importance weighting -----------------------------------------------------------------------------


@subject("iwae_bound", name="reference")
def iwae_bound(log_weights: Tensor) -> Tensor:
    return latent.iwae_bound(log_weights)


# Energy based models ------------------------------------------------------------------------------


@subject("rbm", name="reference.RBM")
def rbm(config: Any) -> Any:
    return energy.RBM(config.visible, config.hidden)


# Normalising flows --------------------------------------------------------------------------------


@subject("flow", name="reference.RealNVP")
def realnvp(config: Any) -> Any:
    if len(config.event_shape) != 1 or config.event_shape[0] < 2:
        raise Unsupported("vectors of two features or more")
    return flows.RealNVP(config.event_shape[0], 4, 6)


@subject("flow", name="reference.PlanarFlow")
def planar_flow(config: Any) -> Any:
    if len(config.event_shape) != 1:
        raise Unsupported("vectors only")
    return flows.PlanarFlow(config.event_shape[0], 3)


# Adversarial models ------------------------------------------------------------------------------


@subject("gan_losses", name="reference")
def gan_losses(config: Any) -> Any:
    """The two losses of one of five games."""
    return adversarial.gan_losses(config.kind)


@subject("gradient_penalty", name="reference")
def gradient_penalty(critic: Any, real: Tensor, fake: Tensor) -> Tensor:
    return adversarial.gradient_penalty(critic, real, fake)


@subject("r1_penalty", name="reference")
def r1_penalty(discriminator: Any, real: Tensor) -> Tensor:
    return adversarial.r1_penalty(discriminator, real)


@subject("spectral_norm", name="reference")
def spectral_norm(layer: Any) -> Any:
    return adversarial.spectral_norm(layer)


@subject("clip_weights", name="reference")
def clip_weights(module: Any, bound: float) -> None:
    adversarial.clip_weights(module, bound)


# Cycle consistency -----------------------------------------------------------------------------


@subject("cycle_consistency_loss", name="reference")
def cycle_consistency_loss(x_to_y: Any, y_to_x: Any, x: Tensor, y: Tensor) -> Tensor:
    return adversarial.cycle_consistency_loss(x_to_y, y_to_x, x, y)
