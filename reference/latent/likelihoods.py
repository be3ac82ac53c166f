r"""The densities that a variational autoencoder is made of, in log space and with every constant.

Each takes any number of leading dimensions, (S, N, D) say, and sums over the last one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch.nn import functional

if TYPE_CHECKING:
    from jaxtyping import Float, Shaped
    from torch import Tensor

__all__ = [
    "bernoulli_log_likelihood",
    "gaussian_kl",
    "gaussian_log_likelihood",
    "reparameterize",
]


def _check_same_shape(*tensors: Tensor) -> None:
    """Refuse what would broadcast, and give a plausible and wrong number."""
    shapes = [(*tensor.shape,) for tensor in tensors]
    if len(set(shapes)) > 1:
        raise ValueError(f"all shapes must be equal, got {shapes}")


def gaussian_kl(
    mean: Float[Tensor, "*batch l"], log_var: Float[Tensor, "*batch l"]
) -> Float[Tensor, "*batch"]:
    r"""The divergence of a diagonal Gaussian from the standard one: the cost of a code in nats.

    .. math::

        D_{\mathrm{KL}}\bigl(\mathcal N(\mu, \mathrm{diag}\,\sigma^2) \,\|\, \mathcal N(0, I)\bigr)
        = \tfrac12 \sum_{l=1}^{L} \bigl( \mu_l^2 + \sigma_l^2 - 1 - \log \sigma_l^2 \bigr)

    Paper: Auto-Encoding Variational Bayes (Kingma, Welling, 2013), Appendix B,
    https://arxiv.org/abs/1312.6114
    Claims: gaussian_kl.matches_quadrature, gaussian_kl.nonnegative_zero_iff_standard,
    gaussian_kl.additive_over_dims, gaussian_kl.gradient
    Differs: none (the paper states the negative).

    Args:
        mean: Means (N, L).
        log_var: Logarithms of the variances (N, L).

    Returns:
        The divergence of each item in nats (N,), never negative.

    Raises:
        ValueError: The shapes differ.

    >>> import torch
    >>> gaussian_kl(torch.tensor([[1.0, 2.0]]), torch.zeros(1, 2))
    tensor([2.5000])
    """
    _check_same_shape(mean, log_var)
    # expm1(v) - v >= 0 also after rounding; exp(v) - 1 - v is not, for v near 0.
    return 0.5 * (mean.square() + (log_var.expm1() - log_var)).sum(-1)


def reparameterize(
    mean: Float[Tensor, "*batch l"],
    log_var: Float[Tensor, "*batch l"],
    noise: Float[Tensor, "*batch l"],
) -> Float[Tensor, "*batch l"]:
    r"""A draw from a diagonal Gaussian as a differentiable function of its parameters.

    .. math::

        z = \mu + \sigma \odot \epsilon, \qquad \sigma = \exp(\tfrac12 \log \sigma^2),
        \quad \epsilon \sim \mathcal N(0, I)

    Paper: Auto-Encoding Variational Bayes (Kingma, Welling, 2013), Section 2.4,
    https://arxiv.org/abs/1312.6114
    Claims: reparameterize.moments, reparameterize.gradient_equals_exact
    Differs: none.

    Args:
        mean: Means (N, L).
        log_var: Logarithms of the variances (N, L).
        noise: Standard normal draws (N, L).

    Returns:
        The draws z (N, L).

    Raises:
        ValueError: The shapes differ.

    >>> import torch
    >>> reparameterize(torch.ones(1, 1), torch.tensor([[4.0]]).log(), torch.tensor([[3.0]]))
    tensor([[7.]])
    """
    _check_same_shape(mean, log_var, noise)
    return mean + (0.5 * log_var).exp() * noise


def gaussian_log_likelihood(
    x: Float[Tensor, "*batch d"],
    mean: Float[Tensor, "*batch d"],
    log_var: Float[Tensor, "*batch d"],
) -> Float[Tensor, "*batch"]:
    r"""The log-density of real data under a diagonal Gaussian.

    .. math::

        \log \mathcal N(x; \mu, \mathrm{diag}\,\sigma^2) = -\tfrac12 \sum_{d=1}^{D} \Bigl(
        \log 2\pi + \log \sigma_d^2 + \frac{(x_d - \mu_d)^2}{\sigma_d^2} \Bigr)

    With unit variance this is minus half the squared error, less `D/2 log 2π`.

    Paper: Auto-Encoding Variational Bayes (Kingma, Welling, 2013), Appendix C.2,
    https://arxiv.org/abs/1312.6114
    Claims: gaussian_log_likelihood.matches_scipy, gaussian_log_likelihood.unit_variance_is_mse
    Differs: none.

    Args:
        x: Data (N, D).
        mean: Means (N, D).
        log_var: Logarithms of the variances (N, D).

    Returns:
        The log-density of each item in nats (N,).

    Raises:
        ValueError: The shapes differ.

    >>> import torch
    >>> gaussian_log_likelihood(*torch.zeros(3, 1, 2))
    tensor([-1.8379])
    """
    _check_same_shape(x, mean, log_var)
    standardized = (x - mean) * (-0.5 * log_var).exp()  # divided before squaring: no overflow
    return -0.5 * (math.log(2 * math.pi) + log_var + standardized.square()).sum(-1)


def bernoulli_log_likelihood(
    x: Shaped[Tensor, "*batch d"], logits: Float[Tensor, "*batch d"]
) -> Float[Tensor, "*batch"]:
    r"""The log-probability of binary data under independent coins, given their logits.

    .. math::

        \log p(x) = \sum_{d=1}^{D} x_d \log \sigma(a_d) + (1 - x_d) \log \sigma(-a_d),
        \qquad \log \sigma(a) = -\mathrm{softplus}(-a)

    Paper: Auto-Encoding Variational Bayes (Kingma, Welling, 2013), Appendix C.1, equation 11,
    https://arxiv.org/abs/1312.6114
    Claims: bernoulli_log_likelihood.normalised, bernoulli_log_likelihood.stable
    Differs: logits in place of probabilities. For grey x, between 0 and 1, this is the negative
    cross-entropy that is often trained on, and not a probability.

    Args:
        x: Data (N, D), each entry 0 or 1, of any dtype.
        logits: Log-odds of a 1 (N, D).

    Returns:
        The log-probability of each item in nats (N,).

    Raises:
        ValueError: The shapes differ.

    >>> import torch
    >>> bernoulli_log_likelihood(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, -1e4]]))
    tensor([-0.6931])
    """
    _check_same_shape(x, logits)
    x = x.to(logits.dtype)
    log_one, log_zero = functional.logsigmoid(logits), functional.logsigmoid(-logits)
    return (x * log_one + (1 - x) * log_zero).sum(-1)
