r"""PyTorch's own implementations under the contracts: nobody here wrote what is judged."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributions, linalg
from torch.nn import functional

from spec_tests.registry import Unsupported, subject

# Divergences and transport -----------------------------------------------------------------------


@subject("kl_divergence", name="torch.nn.functional.kl_div")
def kl_by_functional(p: Tensor, q: Tensor) -> Tensor:
    return functional.kl_div(q.log(), p, reduction="sum")


@subject("kl_divergence", name="torch.distributions")
def kl_by_distributions(p: Tensor, q: Tensor) -> Tensor:
    return distributions.kl_divergence(
        distributions.Categorical(probs=p), distributions.Categorical(probs=q)
    )


@subject("js_divergence", name="torch.distributions")
def js_by_distributions(p: Tensor, q: Tensor) -> Tensor:
    """Half the divergence from the mixture, from either side, each by PyTorch's closed form."""
    mixture = distributions.Categorical(probs=(p + q) / 2)
    sides = [distributions.Categorical(probs=side) for side in (p, q)]
    return sum(distributions.kl_divergence(side, mixture) for side in sides) / 2


# Causal self-attention -------------------------------------------------------------------------


class _MultiheadAttention(torch.nn.Module):
    """PyTorch's layer with the mask that its documentation asks for."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.attend = torch.nn.MultiheadAttention(
            config.embed_dim, config.num_heads, batch_first=True
        )

    def forward(self, x: Tensor) -> Tensor:
        later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
        return self.attend(x, x, x, attn_mask=later, is_causal=True, need_weights=False)[0]


@subject("causal_self_attention", name="torch.nn.MultiheadAttention")
def attention_by_multihead(config: Any) -> Any:
    return _MultiheadAttention(config)


class _ScaledDotProduct(torch.nn.Module):
    """``is_causal=True`` between two projections."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.heads = config.num_heads
        self.project = torch.nn.Linear(config.embed_dim, 3 * config.embed_dim)
        self.out = torch.nn.Linear(config.embed_dim, config.embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.project(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        found = functional.scaled_dot_product_attention(*parts, is_causal=True)
        return self.out(found.transpose(1, 2).flatten(2))


@subject("causal_self_attention", name="torch.nn.functional.scaled_dot_product_attention")
def attention_by_scaled_dot_product(config: Any) -> Any:
    return _ScaledDotProduct(config)


# Autoencoders --------------------------------------------------------------------------------------


@subject("linear_autoencoder", name="torch.linalg.svd")
def pca_by_svd(x: Tensor, code_dim: int) -> tuple[Any, Any]:
    mean = x.mean(0)
    thin = code_dim <= min(x.shape)
    directions = linalg.svd(x - mean, full_matrices=not thin).Vh[:code_dim]
    return lambda points: (points - mean) @ directions.T, lambda codes: codes @ directions + mean


@subject("linear_autoencoder", name="torch.pca_lowrank")
def pca_by_lowrank(x: Tensor, code_dim: int) -> tuple[Any, Any]:
    """Randomised, so all directions are asked for and the leading ones kept."""
    if code_dim > min(x.shape):
        raise Unsupported("no more directions than there are points")
    mean = x.mean(0)
    directions = torch.pca_lowrank(x, q=min(x.shape))[2][:, :code_dim]
    return lambda points: (points - mean) @ directions, lambda codes: codes @ directions.T + mean


# Denoising -------------------------------------------------------------------------------------


@subject("denoising_loss", name="torch.nn.functional.mse_loss")
def denoising_by_mse(denoiser: Any, clean: Tensor, noise: Tensor) -> Tensor:
    """A sum over all numbers, divided by the batch."""
    return functional.mse_loss(denoiser(clean + noise), clean, reduction="sum") / len(clean)


# Latent variable models ----------------------------------------------------------------------------


@subject("gaussian_kl", name="torch.distributions")
def gaussian_kl_by_distributions(mean: Tensor, log_var: Tensor) -> Tensor:
    posterior = distributions.Normal(mean, (0.5 * log_var).exp())
    prior = distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    return distributions.kl_divergence(
        distributions.Independent(posterior, 1), distributions.Independent(prior, 1)
    )


@subject("gaussian_log_likelihood", name="torch.distributions")
def gaussian_by_distributions(x: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    each = distributions.Normal(mean, (0.5 * log_var).exp())
    return distributions.Independent(each, 1).log_prob(x)


@subject("gaussian_log_likelihood", name="torch.nn.functional.gaussian_nll_loss")
def gaussian_by_functional(x: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """With every constant (``full``); its ``eps`` stays at the documented default."""
    loss = functional.gaussian_nll_loss(mean, x, log_var.exp(), full=True, reduction="none")
    return -loss.sum(-1)


@subject("bernoulli_log_likelihood", name="torch.distributions")
def bernoulli_by_distributions(x: Tensor, logits: Tensor) -> Tensor:
    return distributions.Independent(distributions.Bernoulli(logits=logits), 1).log_prob(x)


@subject("bernoulli_log_likelihood", name="torch.nn.functional.binary_cross_entropy_with_logits")
def bernoulli_by_logits(x: Tensor, logits: Tensor) -> Tensor:
    return -functional.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)


@subject("bernoulli_log_likelihood", name="torch.nn.functional.binary_cross_entropy")
def bernoulli_by_probabilities(x: Tensor, logits: Tensor) -> Tensor:
    """The loss that takes probabilities, after a sigmoid; it documents a floor under its logarithms."""
    return -functional.binary_cross_entropy(logits.sigmoid(), x, reduction="none").sum(-1)


# Normalising flows --------------------------------------------------------------------------------


class _Transforms(torch.nn.Module):
    """A base density and a transform of PyTorch's, with parameters for each feature."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.shape = config.event_shape
        self.shift = torch.nn.Parameter(torch.zeros(self.shape))
        self.log_scale = torch.nn.Parameter(torch.zeros(self.shape))

    def transform(self) -> distributions.Transform:
        """From data to noise: affine, then R to (0, inf) by exp, and back by softplus's inverse."""
        transforms = distributions.transforms
        parts = [
            transforms.AffineTransform(self.shift, self.log_scale.exp()),
            transforms.ExpTransform(),
            transforms.SoftplusTransform().inv,
        ]
        return transforms.IndependentTransform(transforms.ComposeTransform(parts), len(self.shape))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        transform = self.transform()
        z = transform(x)
        return z, transform.log_abs_det_jacobian(x, z)

    def inverse(self, z: Tensor) -> Tensor:
        return self.transform().inv(z)

    def log_prob(self, x: Tensor) -> Tensor:
        zero = torch.zeros_like(self.shift)
        base = distributions.Independent(distributions.Normal(zero, zero + 1), len(self.shape))
        return distributions.TransformedDistribution(base, self.transform().inv).log_prob(x)


@subject("flow", name="torch.distributions.transforms")
def flow_by_transforms(config: Any) -> Any:
    """``sample`` is left out: distributions draw from the global generator."""
    return _Transforms(config)


class _Orthogonal(torch.nn.Module):
    """A linear layer whose weight PyTorch keeps orthogonal."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        size = torch.Size(config.event_shape).numel()
        layer = torch.nn.Linear(size, size, bias=False)
        self.turn = torch.nn.utils.parametrizations.orthogonal(layer)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.turn(x.flatten(1)).view_as(x), x.new_zeros(len(x))

    def inverse(self, z: Tensor) -> Tensor:
        return (z.flatten(1) @ self.turn.weight).view_as(z)


@subject("flow", name="torch.nn.utils.parametrizations.orthogonal")
def flow_by_orthogonal_weights(config: Any) -> Any:
    return _Orthogonal(config)


# Adversarial models ------------------------------------------------------------------------------


class _Game:
    """Two losses under the contract's names; what PyTorch has no function for is unsupported."""

    def __init__(self, discriminator_loss: Any, generator_loss: Any) -> None:
        self.discriminator_loss, self.generator_loss = discriminator_loss, generator_loss


def _classifier_games(kind: str, classify: Any) -> _Game:
    """The two games of a classifier, from ``classify(scores, label)``, a mean."""

    def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
        return classify(real, 1.0) + classify(fake, 0.0)

    if kind == "minimax":
        return _Game(discriminator_loss, lambda fake: -classify(fake, 0.0))
    if kind == "non_saturating":
        return _Game(discriminator_loss, lambda fake: classify(fake, 1.0))
    raise Unsupported("a loss for classifiers")


@subject("gan_losses", name="torch.nn.BCEWithLogitsLoss")
def gan_losses_by_logits(config: Any) -> Any:
    loss = torch.nn.BCEWithLogitsLoss()
    return _classifier_games(config.kind, lambda s, label: loss(s, torch.full_like(s, label)))


@subject("gan_losses", name="torch.nn.functional.binary_cross_entropy")
def gan_losses_by_probabilities(config: Any) -> Any:
    """The loss that takes probabilities, after a sigmoid; with a documented floor under its logs."""
    return _classifier_games(
        config.kind,
        lambda s, label: functional.binary_cross_entropy(s.sigmoid(), torch.full_like(s, label)),
    )


@subject("gan_losses", name="torch.nn.functional.softplus")
def gan_losses_by_softplus(config: Any) -> Any:
    return _classifier_games(
        config.kind, lambda s, label: functional.softplus(s if label == 0 else -s).mean()
    )


@subject("gan_losses", name="torch.nn.functional.soft_margin_loss")
def gan_losses_by_soft_margin(config: Any) -> Any:
    """The logistic loss with labels of 1 and -1."""
    return _classifier_games(
        config.kind,
        lambda s, label: functional.soft_margin_loss(s, torch.full_like(s, 2 * label - 1)),
    )


@subject("gan_losses", name="torch.nn.functional.cross_entropy")
def gan_losses_by_two_classes(config: Any) -> Any:
    """The logits of two classes, of which the second's is the score."""

    def classify(s: Tensor, label: float) -> Tensor:
        labels = torch.full_like(s, label, dtype=torch.long)
        return functional.cross_entropy(torch.stack([torch.zeros_like(s), s], 1), labels)

    return _classifier_games(config.kind, classify)


@subject("gan_losses", name="torch.nn.functional.mse_loss")
def gan_losses_by_squares(config: Any) -> Any:
    if config.kind != "least_squares":
        raise Unsupported("a loss of squares")

    def half(s: Tensor, target: float) -> Tensor:
        return 0.5 * functional.mse_loss(s, torch.full_like(s, target))

    return _Game(lambda real, fake: half(real, 1.0) + half(fake, 0.0), lambda fake: half(fake, 1.0))


@subject("gan_losses", name="torch.nn.functional.hinge_embedding_loss")
def gan_losses_by_hinge(config: Any) -> Any:
    """Items with label -1 pay ``max(0, margin - x)``, items with label 1 pay ``x``."""
    if config.kind not in ("hinge", "wasserstein"):
        raise Unsupported("a hinge")

    def pay(s: Tensor, label: int) -> Tensor:
        return functional.hinge_embedding_loss(s, torch.full_like(s, label), margin=1.0)

    if config.kind == "wasserstein":
        return _Game(lambda real, fake: pay(-real, 1) + pay(fake, 1), lambda fake: pay(-fake, 1))
    return _Game(lambda real, fake: pay(real, -1) + pay(-fake, -1), lambda fake: pay(-fake, 1))


@subject("gradient_penalty", name="torch.func.grad")
def gradient_penalty_by_transforms(critic: Any, real: Tensor, fake: Tensor) -> Tensor:
    """The gradient of one item's score, mapped over the items."""
    fractions = torch.rand(len(real), *[1] * (real.ndim - 1)).to(real)
    points = real + fractions * (fake - real)
    slopes = torch.func.vmap(torch.func.grad(lambda x: critic(x[None])[0]))(points)
    return (linalg.vector_norm(slopes.flatten(1), dim=1) - 1).square().mean()


@subject("r1_penalty", name="torch.func.grad")
def r1_penalty_by_transforms(discriminator: Any, real: Tensor) -> Tensor:
    slopes = torch.func.vmap(torch.func.grad(lambda x: discriminator(x[None])[0]))(real)
    return slopes.square().flatten(1).sum(1).mean() / 2


@subject("spectral_norm", name="torch.nn.utils.spectral_norm")
def spectral_norm_by_hook(layer: Any) -> Any:
    return torch.nn.utils.spectral_norm(layer)


@subject("spectral_norm", name="torch.nn.utils.parametrizations.spectral_norm")
def spectral_norm_by_parametrization(layer: Any) -> Any:
    return torch.nn.utils.parametrizations.spectral_norm(layer)


@subject("clip_weights", name="torch.Tensor.clamp_")
def clip_weights_by_clamp(module: Any, bound: float) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.clamp_(-bound, bound)


@subject("clip_weights", name="torch.nn.utils.vector_to_parameters")
def clip_weights_as_one_vector(module: Any, bound: float) -> None:
    parameters = list(module.parameters())
    if not parameters:
        raise Unsupported("no parameters to make a vector of")
    with torch.no_grad():
        clipped = torch.nn.utils.parameters_to_vector(parameters).clamp(-bound, bound)
        torch.nn.utils.vector_to_parameters(clipped, parameters)


# Cycle consistency -----------------------------------------------------------------------------


@subject("cycle_consistency_loss", name="torch.nn.L1Loss")
def cycle_by_l1(x_to_y: Any, y_to_x: Any, x: Tensor, y: Tensor) -> Tensor:
    loss = torch.nn.L1Loss()
    return loss(y_to_x(x_to_y(x)), x) + loss(x_to_y(y_to_x(y)), y)
