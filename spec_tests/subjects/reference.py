r"""The reference models under their contracts: one registration a model."""

from __future__ import annotations

from functools import partial
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


def _recurrent(kind: Any, config: Any) -> Any:
    """The paper's first kernel and a layer for an even number of levels; a small one, two layers."""
    if len(config.event_shape) != 3:
        raise Unsupported("images only")
    kernel, layers = ((7, 1), (3, 2))[config.levels % 2]
    return kind(
        config.event_shape, config.levels, config.num_classes, layers=layers, first_kernel=kernel
    )


@subject("autoregressive_model", name="reference.RowLSTM")
def row_lstm(config: Any) -> Any:
    return _recurrent(autoregressive.RowLSTM, config)


@subject("autoregressive_model", name="reference.DiagonalBiLSTM")
def diagonal_bilstm(config: Any) -> Any:
    return _recurrent(autoregressive.DiagonalBiLSTM, config)


def _with_cache(kind: Any, cache: Any) -> Any:
    """The model with the fast sampler that stands apart."""

    class Cached(kind):
        def sample(self, n: int, y: Tensor | None = None, generator: Any = None) -> Tensor:
            return autoregressive.cached_sample(cache(self, n, y), generator)

        def complete(
            self, x: Tensor, known: Tensor, y: Tensor | None = None, generator: Any = None
        ) -> Tensor:
            return autoregressive.cached_complete(cache(self, len(x), y), x, known, generator)

    return Cached


@subject("autoregressive_model", name="reference.RowLSTM.cached")
def row_lstm_cached(config: Any) -> Any:
    return _recurrent(_with_cache(autoregressive.RowLSTM, autoregressive.RowLSTMCache), config)


@subject("autoregressive_model", name="reference.DiagonalBiLSTM.cached")
def diagonal_bilstm_cached(config: Any) -> Any:
    kind = _with_cache(autoregressive.DiagonalBiLSTM, autoregressive.DiagonalBiLSTMCache)
    return _recurrent(kind, config)


class _CachedPixelCNN(autoregressive.PixelCNN):
    """With the sampler that computes one pixel's features at a time."""

    def sample(self, n: int, y: Any = None, generator: Any = None) -> Tensor:
        cache = autoregressive.PixelCNNCache(self, n, y)
        return autoregressive.cached_sample(cache, generator)

    def complete(self, x: Tensor, known: Tensor, y: Any = None, generator: Any = None) -> Tensor:
        cache = autoregressive.PixelCNNCache(self, len(x), y)
        return autoregressive.cached_complete(cache, x, known, generator)


@subject("autoregressive_model", name="reference.PixelCNN.cached")
def cached_pixelcnn(config: Any) -> Any:
    if len(config.event_shape) != 3:
        raise Unsupported("images only")
    return _CachedPixelCNN(config.event_shape, config.levels, config.num_classes)


@subject("autoregressive_model", name="reference.GatedPixelCNN")
def gated_pixelcnn(config: Any) -> Any:
    if len(config.event_shape) != 3 or config.num_classes:
        raise Unsupported("images without classes only")
    return autoregressive.GatedPixelCNN(config.event_shape, config.levels)


class _CachedGatedPixelCNN(autoregressive.GatedPixelCNN):
    """With the sampler that computes one pixel's features at a time."""

    def sample(self, n: int, generator: Any = None) -> Tensor:
        cache = autoregressive.GatedPixelCNNCache(self, n)
        return autoregressive.cached_sample(cache, generator)

    def complete(self, x: Tensor, known: Tensor, generator: Any = None) -> Tensor:
        cache = autoregressive.GatedPixelCNNCache(self, len(x))
        return autoregressive.cached_complete(cache, x, known, generator)


@subject("autoregressive_model", name="reference.GatedPixelCNN.cached")
def cached_gated_pixelcnn(config: Any) -> Any:
    if len(config.event_shape) != 3 or config.num_classes:
        raise Unsupported("images without classes only")
    return _CachedGatedPixelCNN(config.event_shape, config.levels)


@subject("autoregressive_model", name="reference.ConditionalPixelCNN")
def conditional_pixelcnn(config: Any) -> Any:
    if len(config.event_shape) != 3 or not config.num_classes:
        raise Unsupported("images with classes only")
    return autoregressive.ConditionalPixelCNN(config.event_shape, config.levels, config.num_classes)


@subject("autoregressive_model", name="reference.MultiscalePixelCNN")
def multiscale_pixelcnn(config: Any) -> Any:
    if len(config.event_shape) != 3 or config.num_classes:
        raise Unsupported("images without classes only")
    return autoregressive.MultiscalePixelCNN(config.event_shape, config.levels, layers=2)


@subject("autoregressive_model", name="reference.RIDE")
def ride(config: Any) -> Any:
    """A neighbourhood of radius one for an even number of levels, of two for an odd one."""
    if len(config.event_shape) != 3 or config.num_classes:
        raise Unsupported("images without classes only")
    kernel = 3 + 2 * (config.levels % 2)
    return autoregressive.RIDE(config.event_shape, config.levels, kernel=kernel)


@subject("autoregressive_model", name="reference.PixelCNNPlusPlus")
def pixelcnn_plus_plus(config: Any) -> Any:
    """Three sizes for images of five levels, two for all others."""
    if len(config.event_shape) != 3:
        raise Unsupported("images only")
    return autoregressive.PixelCNNPlusPlus(
        config.event_shape,
        config.levels,
        config.num_classes,
        hidden=5,
        resolutions=3 if config.levels == 5 else 2,
    )


@subject("autoregressive_model", name="reference.PixelSNAIL")
def pixelsnail(config: Any) -> Any:
    if len(config.event_shape) != 3:
        raise Unsupported("images only")
    return autoregressive.PixelSNAIL(config.event_shape, config.levels, config.num_classes)


@subject("autoregressive_model", name="reference.NADE")
def nade(config: Any) -> Any:
    return autoregressive.NADE(config.event_shape, config.levels, config.num_classes)


@subject("autoregressive_model", name="reference.NADE.cached_sampler")
def nade_with_a_cached_sampler(config: Any) -> Any:
    """Inside out: even dimensions backwards, then odd ones; samples by resuming the recurrence."""
    d = len(autoregressive.raster_order(config.event_shape))
    order = [*reversed(range(0, d, 2)), *range(1, d, 2)]
    model = autoregressive.NADE(
        config.event_shape, config.levels, config.num_classes, hidden=7, order=order
    )
    model.sample = partial(autoregressive.nade_sample, model)
    model.complete = partial(autoregressive.nade_complete, model)
    return model


@subject("autoregressive_model", name="reference.MADE")
def made(config: Any) -> Any:
    return autoregressive.MADE(config.event_shape, config.levels, config.num_classes)


@subject("autoregressive_model", name="reference.MADE.shuffled")
def made_of_another_order(config: Any) -> Any:
    """The last of three mask sets, of an order and a connectivity drawn with a fixed seed."""
    model = autoregressive.MADE(
        config.event_shape,
        config.levels,
        config.num_classes,
        num_masks=3,
        shuffle=True,
        generator=torch.Generator().manual_seed(config.levels),
    )
    model.chosen = 2
    return model


@subject("autoregressive_model", name="reference.MADE.deep")
def made_with_two_hidden_layers(config: Any) -> Any:
    """Two hidden layers and direct connections."""
    return autoregressive.MADE(
        config.event_shape, config.levels, config.num_classes, hidden=(24, 18), direct=True
    )


def _cached(model: Any) -> Any:
    """The transformer with the samplers that keep keys and values."""
    model.sample = partial(autoregressive.transformer_sample, model)
    model.complete = partial(autoregressive.transformer_complete, model)
    return model


@subject("autoregressive_model", name="reference.PixelTransformer")
def pixel_transformer(config: Any) -> Any:
    return autoregressive.PixelTransformer(config.event_shape, config.levels, config.num_classes)


@subject("autoregressive_model", name="reference.PixelTransformer.cached")
def pixel_transformer_cached(config: Any) -> Any:
    return _cached(pixel_transformer(config))


def _image_transformer(config: Any, **options: Any) -> Any:
    if len(config.event_shape) != 3:
        raise Unsupported("images only")
    return autoregressive.ImageTransformer(
        config.event_shape, config.levels, config.num_classes, **options
    )


@subject("autoregressive_model", name="reference.ImageTransformer1d")
def image_transformer_1d(config: Any) -> Any:
    """Blocks of five sub-pixels, two layers: three blocks are seen at most."""
    return _image_transformer(config, block=5)


@subject("autoregressive_model", name="reference.ImageTransformer2d")
def image_transformer_2d(config: Any) -> Any:
    """Blocks of two by three, one row above and two columns beside: an order of its own."""
    return _image_transformer(config, block=(2, 3), halo=(1, 2))


@subject("autoregressive_model", name="reference.ImageTransformer2d.mixture")
def image_transformer_2d_mixture(config: Any) -> Any:
    """A mixture of three logistics over the levels, blocks of three by two and three layers."""
    return _image_transformer(config, block=(3, 2), halo=(2, 1), layers=3, components=3)


@subject("autoregressive_model", name="reference.ImageTransformer1d.cached")
def image_transformer_1d_cached(config: Any) -> Any:
    return _cached(image_transformer_1d(config))


@subject("autoregressive_model", name="reference.ImageTransformer2d.cached")
def image_transformer_2d_cached(config: Any) -> Any:
    return _cached(image_transformer_2d(config))


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


@subject("vae", name="reference.ConvolutionalVAE")
def convolutional_vae(config: Any) -> Any:
    return latent.ConvolutionalVAE((1, 1, config.data_dim), config.latent_dim, 3, config.likelihood)


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


@subject("diffusion_schedule", name="reference.linear_alpha_bar")
def linear_diffusion_schedule(config: Any) -> Any:
    return energy.DiffusionSchedule(energy.linear_alpha_bar(config.steps))


@subject("diffusion_schedule", name="reference.cosine_alpha_bar")
def cosine_diffusion_schedule(config: Any) -> Any:
    return energy.DiffusionSchedule(energy.cosine_alpha_bar(config.steps))


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


@subject("flow", name="reference.RadialFlow")
def radial_flow(config: Any) -> Any:
    if len(config.event_shape) != 1:
        raise Unsupported("vectors only")
    return flows.RadialFlow(config.event_shape[0], 3)


@subject("flow", name="reference.NICE")
def nice(config: Any) -> Any:
    if config.event_shape == (1,):
        raise Unsupported("two features or more")
    return flows.NICE(config.event_shape, 3, 5)


@subject("flow", name="reference.ImageRealNVP")
def image_realnvp(config: Any) -> Any:
    if len(config.event_shape) != 3 or config.event_shape[1] % 2 or config.event_shape[2] % 2:
        raise Unsupported("images of even height and width")
    return flows.ImageRealNVP(config.event_shape, 2, 3)


def _glow(config: Any, lu: bool) -> Any:
    """Two scales where the sides are even, one where they are not."""
    if len(config.event_shape) != 3:
        raise Unsupported("images only")
    even = config.event_shape[1] % 2 == config.event_shape[2] % 2 == 0
    return flows.Glow(config.event_shape, 2 if even else 1, 1, 3, lu)


@subject("flow", name="reference.Glow")
def glow(config: Any) -> Any:
    return _glow(config, lu=False)


@subject("flow", name="reference.Glow.lu")
def glow_with_triangular_factors(config: Any) -> Any:
    return _glow(config, lu=True)


@subject("flow", name="reference.MAF")
def maf(config: Any) -> Any:
    if len(config.event_shape) != 1:
        raise Unsupported("vectors only")
    return flows.MAF(config.event_shape[0], 2, 6)


@subject("flow", name="reference.IAF")
def iaf(config: Any) -> Any:
    if len(config.event_shape) != 1:
        raise Unsupported("vectors only")
    return flows.IAF(config.event_shape[0], 2, 6)


@subject("flow", name="reference.ContinuousFlow")
def continuous_flow(config: Any) -> Any:
    if len(config.event_shape) != 1:
        raise Unsupported("vectors only")
    return flows.ContinuousFlow(config.event_shape[0], 5, steps=4, duration=0.25)


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


# What BigGAN adds --------------------------------------------------------------------------------


@subject("orthogonal_penalty", name="reference")
def orthogonal_penalty(weight: Tensor) -> Tensor:
    return adversarial.orthogonal_penalty(weight)


@subject("truncated_normal", name="reference.redrawn_normal")
def redrawn_normal(shape: tuple[int, ...], threshold: float, generator: Any) -> Tensor:
    return adversarial.redrawn_normal(shape, threshold, generator)


@subject("truncated_normal", name="reference.truncated_normal")
def truncated_normal(shape: tuple[int, ...], threshold: float, generator: Any) -> Tensor:
    """The quantiles of uniform noise with 53 random bits, in which an exact zero hardly occurs."""
    noise = torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float64)
    return adversarial.truncated_normal(noise, threshold).to(torch.get_default_dtype())


@subject("class_conditional_batch_norm", name="reference.ClassConditionalBatchNorm2d")
def class_conditional_batch_norm(config: Any) -> Any:
    return adversarial.ClassConditionalBatchNorm2d(
        config.num_features, config.num_classes, config.eps, config.momentum
    )


class _SharedEmbedding(torch.nn.Module):
    """BigGAN's layer: gain and bias by spectrally normalised maps of an embedding of the class."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(config.num_classes, 5)
        self.layer = adversarial.ConditionalBatchNorm2d(config.num_features, 5)
        self.layer.norm.eps, self.layer.norm.momentum = config.eps, config.momentum

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.layer(x, self.embedding(y))


@subject("class_conditional_batch_norm", name="reference.ConditionalBatchNorm2d")
def class_conditional_batch_norm_of_an_embedding(config: Any) -> Any:
    return _SharedEmbedding(config)


# Players over images -----------------------------------------------------------------------------


def _image(config: Any, sides: int = 1, classes: bool | None = None) -> tuple[int, int, int]:
    """The shape of an image whose sides are multiples of ``sides``, with classes or without."""
    if config.height % sides or config.width % sides:
        raise Unsupported(f"sides that are multiples of {sides}")
    if classes is not None and classes != bool(config.num_classes):
        raise Unsupported("with classes only" if classes else "without classes only")
    return config.channels, config.height, config.width


def _doublings(config: Any) -> int:
    """As many as leave a smallest map of two rows or columns, and one at least."""
    sides = (config.height, config.width)
    return max((d for d in (1, 2, 3) if all(s % 2**d == 0 and s > 2**d for s in sides)), default=1)


@subject("image_generator", name="reference.FullyConnectedGenerator")
def fully_connected_generator(config: Any) -> Any:
    shape = _image(config, classes=False)
    return adversarial.FullyConnectedGenerator(config.latent_dim, shape)


@subject("image_discriminator", name="reference.FullyConnectedDiscriminator")
def fully_connected_discriminator(config: Any) -> Any:
    return adversarial.FullyConnectedDiscriminator(_image(config, classes=False))


@subject("image_generator", name="reference.DCGANGenerator")
def dcgan_generator(config: Any) -> Any:
    shape = _image(config, 2, classes=False)
    return adversarial.DCGANGenerator(config.latent_dim, shape, _doublings(config))


@subject("image_discriminator", name="reference.DCGANDiscriminator")
def dcgan_discriminator(config: Any) -> Any:
    shape = _image(config, 2, classes=False)
    return adversarial.DCGANDiscriminator(shape, _doublings(config))


@subject("image_discriminator", name="reference.DCGANDiscriminator.unnormed")
def dcgan_unnormed_discriminator(config: Any) -> Any:
    """The critic of WGAN-GP, where no item may influence another's score."""
    shape = _image(config, 2, classes=False)
    return adversarial.DCGANDiscriminator(shape, _doublings(config), batch_norm=False)


@subject("image_generator", name="reference.ConditionalGenerator")
def conditional_generator(config: Any) -> Any:
    """A DCGAN told the class where sides are even, full layers where they are not."""
    shape = _image(config, classes=True)
    if config.height % 2 or config.width % 2:
        body: Any = adversarial.FullyConnectedGenerator(config.latent_dim + 3, shape)
    else:
        body = adversarial.DCGANGenerator(config.latent_dim + 3, shape, _doublings(config))
    return adversarial.ConditionalGenerator(body, config.num_classes, 3)


@subject("image_discriminator", name="reference.ConditionalDiscriminator")
def conditional_discriminator(config: Any) -> Any:
    """A DCGAN with the class as a channel where sides are even, full layers where they are not."""
    channels, height, width = _image(config, classes=True)
    shape = channels + 1, height, width
    if height % 2 or width % 2:
        body: Any = adversarial.FullyConnectedDiscriminator(shape)
    else:
        body = adversarial.DCGANDiscriminator(shape, _doublings(config))
    return adversarial.ConditionalDiscriminator(body, config.num_classes, height, width)


@subject("image_discriminator", name="reference.ProjectionDiscriminator")
def projection_discriminator(config: Any) -> Any:
    shape = _image(config, classes=True)
    features = torch.nn.Sequential(
        torch.nn.Conv2d(shape[0], 6, 3, padding=1),
        torch.nn.LeakyReLU(0.2),
        torch.nn.Flatten(),
        torch.nn.Linear(6 * config.height * config.width, 7),
        torch.nn.LeakyReLU(0.2),
    )
    return adversarial.ProjectionDiscriminator(features, 7, config.num_classes)


@subject("image_generator", name="reference.BigGANGenerator")
def biggan_generator(config: Any) -> Any:
    shape = _image(config, 2, classes=True)
    doublings = 2 if min(shape[1:]) >= 16 else 1
    return adversarial.BigGANGenerator(
        config.latent_dim, shape, config.num_classes, doublings=doublings
    )


@subject("image_discriminator", name="reference.BigGANDiscriminator")
def biggan_discriminator(config: Any) -> Any:
    shape = _image(config, 2, classes=True)
    doublings = 2 if min(shape[1:]) >= 16 else 1
    return adversarial.BigGANDiscriminator(shape, config.num_classes, doublings=doublings)


@subject("image_generator", name="reference.ProgressiveGenerator")
def progressive_generator(config: Any) -> Any:
    """Fully grown, or halfway through fading in for colour images."""
    shape = _image(config, 2, classes=False)
    model = adversarial.ProgressiveGenerator(config.latent_dim, shape, _doublings(config))
    if config.channels == 3:
        model.forward = partial(model.forward, alpha=0.5)
    return model


@subject("image_discriminator", name="reference.ProgressiveDiscriminator")
def progressive_discriminator(config: Any) -> Any:
    """Fully grown, or halfway through fading in for colour images."""
    shape = _image(config, 2, classes=False)
    model = adversarial.ProgressiveDiscriminator(shape, _doublings(config))
    if config.channels == 3:
        model.forward = partial(model.forward, alpha=0.5)
    return model


@subject("image_discriminator", name="reference.PatchDiscriminator")
def patch_discriminator(config: Any) -> Any:
    if min(_image(config, 4, classes=False)[1:]) < 8:
        raise Unsupported("sides of 8 at least")
    return adversarial.PatchDiscriminator(config.channels, features=4)


# Cycle consistency -----------------------------------------------------------------------------


@subject("cycle_consistency_loss", name="reference")
def cycle_consistency_loss(x_to_y: Any, y_to_x: Any, x: Tensor, y: Tensor) -> Tensor:
    return adversarial.cycle_consistency_loss(x_to_y, y_to_x, x, y)
