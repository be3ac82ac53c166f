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


transforms = distributions.transforms


def _by_way_of_positive_numbers() -> list[Any]:
    """R to (0, inf) by exp, and back by the inverse of softplus."""
    return [transforms.ExpTransform(), transforms.SoftplusTransform().inv]


def _by_way_of_an_interval() -> list[Any]:
    """R to (0, 1) by the logistic function, to (-1, 1), and back by the inverse of tanh."""
    centre = transforms.AffineTransform(-1.0, 2.0)
    return [transforms.SigmoidTransform(), centre, transforms.TanhTransform().inv]


def _by_way_of_doubling() -> list[Any]:
    """R to (0, inf) by exp, doubled, and back by the logarithm."""
    exp = transforms.ExpTransform()
    return [exp, transforms.AffineTransform(0.0, 2.0), exp.inv]


class _Transforms(torch.nn.Module):
    """Each feature shifted and scaled, then sent to a part of the line and back: data to noise.

    What takes R^D to another space (the simplex of stick breaking, Cholesky factors) is no flow of
    the contract; the transforms of a line are, one after another.
    """

    def __init__(self, config: Any, way: Any = _by_way_of_positive_numbers) -> None:
        super().__init__()
        self.shape, self.way = config.event_shape, way
        self.shift = torch.nn.Parameter(torch.zeros(self.shape))
        self.log_scale = torch.nn.Parameter(torch.zeros(self.shape))

    def line(self, part: Any, way: Any) -> Any:
        """The transform of a part of the event's features."""
        affine = transforms.AffineTransform(self.shift[part], self.log_scale[part].exp())
        return transforms.ComposeTransform([affine, *way()])

    def each(self) -> Any:
        """The transform of every feature, with a log-determinant for each of them."""
        return self.line(..., self.way)

    def transform(self) -> Any:
        return transforms.IndependentTransform(self.each(), len(self.shape))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        transform = self.transform()
        z = transform(x)
        return z, transform.log_abs_det_jacobian(x, z)

    def inverse(self, z: Tensor) -> Tensor:
        return self.transform().inv(z)

    def density(self) -> distributions.Distribution:
        zero = torch.zeros_like(self.shift)
        base = distributions.Independent(distributions.Normal(zero, zero + 1), len(self.shape))
        return distributions.TransformedDistribution(base, self.transform().inv)

    def log_prob(self, x: Tensor) -> Tensor:
        return self.density().log_prob(x)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Distributions draw from the global generator: seeded by the given one, then put back."""
        if generator is None:
            return self.density().sample((n,))
        seed = torch.randint(2**62, (), generator=generator, device=generator.device)
        with torch.random.fork_rng():
            torch.manual_seed(int(seed))
            return self.density().sample((n,))


@subject("flow", name="torch.distributions.transforms")
def flow_by_transforms(config: Any) -> Any:
    return _Transforms(config)


@subject("flow", name="torch.distributions.SigmoidTransform")
def flow_by_way_of_an_interval(config: Any) -> Any:
    return _Transforms(config, _by_way_of_an_interval)


class _Stacked(_Transforms):
    """One way for every other entry along the first dimension of the event, another for the rest.

    The dimension is counted from the batch: given -1 for the last, the transform says that it takes
    whole vectors, and still has a log-determinant for each entry (pytorch/pytorch issue 121220).
    """

    def each(self) -> Any:
        ways = _by_way_of_positive_numbers, _by_way_of_doubling
        parts = [self.line(i, ways[i % 2]) for i in range(self.shape[0])]
        return transforms.StackTransform(parts, dim=1)


@subject("flow", name="torch.distributions.StackTransform")
def flow_by_stacked_transforms(config: Any) -> Any:
    return _Stacked(config)


class _Concatenated(_Transforms):
    """The first entry along the first dimension of the event as it is but for scale, then the rest."""

    def each(self) -> Any:
        lengths = [1, self.shape[0] - 1] if self.shape[0] > 1 else [1]
        ways = (list, _by_way_of_positive_numbers)
        parts = [
            self.line(part, way)
            for part, way in zip((slice(0, 1), slice(1, None)), ways, strict=True)
        ]
        return transforms.CatTransform(parts[: len(lengths)], -len(self.shape), lengths)


@subject("flow", name="torch.distributions.CatTransform")
def flow_by_concatenated_transforms(config: Any) -> Any:
    return _Concatenated(config)


class _Cached(_Transforms):
    """One transform for life, which remembers its last argument and result (``cache_size=1``)."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        del self.log_scale
        self.scale = torch.nn.Parameter(torch.ones(self.shape))
        self.kept: Any = None

    def each(self) -> Any:
        """Made anew where moving the module has replaced its parameters."""
        if self.kept is None or self.kept.parts[0].loc is not self.shift:
            affine = transforms.AffineTransform(self.shift, self.scale)
            parts = [affine, *_by_way_of_positive_numbers()]
            self.kept = transforms.ComposeTransform(parts, cache_size=1)
        return self.kept


@subject("flow", name="torch.distributions.transforms.cache_size=1")
def flow_by_cached_transforms(config: Any) -> Any:
    return _Cached(config)


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


# What BigGAN adds --------------------------------------------------------------------------------


@subject("orthogonal_penalty", name="torch.linalg.matrix_norm")
def orthogonal_penalty_by_norm(weight: Tensor) -> Tensor:
    """The Frobenius norm of W W^T, its diagonal masked, squared."""
    rows = weight.flatten(1)
    own = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    return linalg.matrix_norm((rows @ rows.mT).masked_fill(own, 0)) ** 2


@subject("orthogonal_penalty", name="torch.combinations")
def orthogonal_penalty_by_combinations(weight: Tensor) -> Tensor:
    """Every pair once, and doubled."""
    rows = weight.flatten(1)
    one, other = torch.combinations(torch.arange(len(rows), device=rows.device)).unbind(1)
    return 2 * linalg.vecdot(rows[one], rows[other]).square().sum()


@subject("truncated_normal", name="torch.nn.init.trunc_normal_")
def truncated_normal_by_init(shape: Any, threshold: float, generator: Any) -> Tensor:
    empty = torch.empty(shape, device=generator.device)
    return torch.nn.init.trunc_normal_(empty, a=-threshold, b=threshold, generator=generator)


@subject("truncated_normal", name="torch.distributions.Normal")
def truncated_normal_by_quantiles(shape: Any, threshold: float, generator: Any) -> Tensor:
    """``icdf`` of uniform numbers between two values of ``cdf``, in double precision."""
    options: Any = {"device": generator.device, "dtype": torch.float64}
    noise = torch.rand(shape, generator=generator, **options)
    normal = distributions.Normal(torch.zeros((), **options), torch.ones((), **options))
    low, high = normal.cdf(torch.tensor([-threshold, threshold], **options))
    return normal.icdf(low + noise * (high - low)).to(torch.get_default_dtype())


class _EmbeddedRates(torch.nn.Module):
    """Batch normalisation without parameters, and embeddings for gain and bias."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.norm = torch.nn.BatchNorm2d(
            config.num_features, config.eps, config.momentum, affine=False
        )
        self.gain = torch.nn.Embedding(config.num_classes, config.num_features)
        self.bias = torch.nn.Embedding(config.num_classes, config.num_features)

    def gain_and_bias(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return self.gain(y), self.bias(y)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        gain, bias = (part[:, :, None, None] for part in self.gain_and_bias(y))
        return torch.addcmul(bias, gain, self.norm(x))


@subject("class_conditional_batch_norm", name="torch.nn.BatchNorm2d")
def batch_norm_with_embeddings(config: Any) -> Any:
    return _EmbeddedRates(config)


class _FunctionalStatistics(torch.nn.Module):
    """``batch_norm`` on buffers that are handed to it; rates linear in one-hot labels."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.gain = torch.nn.Linear(config.num_classes, config.num_features, bias=False)
        self.bias = torch.nn.Linear(config.num_classes, config.num_features, bias=False)
        self.register_buffer("mean", torch.zeros(config.num_features))
        self.register_buffer("variance", torch.ones(config.num_features))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        normal = functional.batch_norm(
            x,
            self.mean,
            self.variance,
            training=self.training,
            momentum=self.config.momentum,
            eps=self.config.eps,
        )
        label = functional.one_hot(y, self.config.num_classes).to(x)
        gain, bias = 1 + self.gain(label), self.bias(label)
        return gain[:, :, None, None] * normal + bias[:, :, None, None]


@subject("class_conditional_batch_norm", name="torch.nn.functional.batch_norm")
def batch_norm_by_functional(config: Any) -> Any:
    return _FunctionalStatistics(config)


# Cycle consistency -----------------------------------------------------------------------------


@subject("cycle_consistency_loss", name="torch.nn.L1Loss")
def cycle_by_l1(x_to_y: Any, y_to_x: Any, x: Tensor, y: Tensor) -> Tensor:
    loss = torch.nn.L1Loss()
    return loss(y_to_x(x_to_y(x)), x) + loss(x_to_y(y_to_x(y)), y)
