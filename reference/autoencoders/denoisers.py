r"""The best denoisers in closed form: what a denoising autoencoder of any capacity learns.

.. code-block:: text

        o   o            data on a few points
       /|\ / \
      x-> o<-x           a noisy point is pulled to the average of the points it may have been,
                         which is uphill on the density of the noisy points
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = ["masking_noise", "noisy_log_density", "posterior_mean_denoiser", "wiener_denoiser"]


def _log_joint(
    x: Float[Tensor, "n d"],
    points: Float[Tensor, "m d"],
    weights: Float[Tensor, " m"],
    sigma: float,
) -> Float[Tensor, "n m"]:
    """The log-density of having been point m and having become x."""
    squared = (x[:, None] - points).square().sum(-1)
    constant = points.shape[1] * math.log(2 * math.pi * sigma**2) / 2
    return weights.log() - squared / (2 * sigma**2) - constant


def posterior_mean_denoiser(
    x: Float[Tensor, "n d"],
    points: Float[Tensor, "m d"],
    weights: Float[Tensor, " m"],
    sigma: float,
) -> Float[Tensor, "n d"]:
    r"""The mean of the clean point given the noisy one, for data on finitely many points.

    .. math::

        r(\tilde x) = \sum_m p(m \mid \tilde x)\, x_m, \qquad
        p(m \mid \tilde x) \propto w_m \exp\Bigl(-\frac{\|\tilde x - x_m\|^2}{2\sigma^2}\Bigr)

    Paper: What Regularized Auto-Encoders Learn from the Data-Generating Distribution (Alain,
    Bengio, 2014), Section 3, https://arxiv.org/abs/1211.4246
    Claims: theory.optimal_denoiser_is_posterior_mean, theory.tweedie
    Differs: none; the paper's data have a density, these have finitely many values.

    Args:
        x: noisy points (N, D).
        points: what a clean point can be (M, D).
        weights: their probabilities (M,).
        sigma: standard deviation of the noise in each coordinate, positive.

    Returns:
        (N, D).

    >>> two, even = torch.tensor([[-1.0], [1.0]]), torch.tensor([0.5, 0.5])
    >>> posterior_mean_denoiser(torch.tensor([[0.0], [3.0]]), two, even, 0.5)
    tensor([[0.],
            [1.]])
    """
    return _log_joint(x, points, weights, sigma).softmax(-1) @ points


def noisy_log_density(
    x: Float[Tensor, "n d"],
    points: Float[Tensor, "m d"],
    weights: Float[Tensor, " m"],
    sigma: float,
) -> Float[Tensor, " n"]:
    r"""The log-density of noisy points: the data smoothed by the noise.

    .. math::

        \log p_\sigma(\tilde x) = \log \sum_m w_m \mathcal N(\tilde x;\, x_m, \sigma^2 I)

    Paper: What Regularized Auto-Encoders Learn from the Data-Generating Distribution (Alain,
    Bengio, 2014), Section 3, https://arxiv.org/abs/1211.4246
    Claims: theory.tweedie
    Differs: as for `posterior_mean_denoiser`.

    Args:
        x: noisy points (N, D).
        points, weights, sigma: as for `posterior_mean_denoiser`.

    Returns:
        (N,), nats.

    >>> noisy_log_density(torch.zeros(1, 2), torch.zeros(1, 2), torch.ones(1), 1.0)
    tensor([-1.8379])
    """
    return _log_joint(x, points, weights, sigma).logsumexp(-1)


def wiener_denoiser(
    x: Float[Tensor, "n d"],
    mean: Float[Tensor, " d"],
    covariance: Float[Tensor, "d d"],
    sigma: float,
) -> Float[Tensor, "n d"]:
    r"""The best affine denoiser: each principal direction shrunk by its share of signal.

    .. math::

        r(\tilde x) = \mu + \Sigma (\Sigma + \sigma^2 I)^{-1} (\tilde x - \mu)

    Only mean and covariance of the data count; for Gaussian data no denoiser does better.

    Paper: Extrapolation, Interpolation, and Smoothing of Stationary Time Series (Wiener, 1949), in
    the form of Pattern Recognition and Machine Learning (Bishop, 2006), equation 2.116,
    https://www.microsoft.com/en-us/research/publication/pattern-recognition-machine-learning/
    Claims: theory.linear_denoiser_is_wiener
    Differs: vectors in place of stationary series.

    Args:
        x: noisy points (N, D).
        mean, covariance: of the data (D,) and (D, D).
        sigma: standard deviation of the noise, positive.

    Returns:
        (N, D).

    >>> wiener_denoiser(torch.ones(1, 2), torch.zeros(2), torch.diag(torch.tensor([3.0, 1.0])), 1.0)
    tensor([[0.7500, 0.5000]])
    """
    noisy = covariance + sigma**2 * torch.eye(len(mean), dtype=x.dtype, device=x.device)
    found: Tensor = mean + torch.linalg.solve(noisy, covariance @ (x - mean).mT).mT
    return found


def masking_noise(clean: Float[Tensor, "n d"], keep: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    r"""The noise that deletes entries, in the form that `denoising_loss` takes.

    .. math::

        \epsilon = (k - 1) \odot x \quad\Longrightarrow\quad x + \epsilon = k \odot x

    Paper: Extracting and Composing Robust Features with Denoising Autoencoders (Vincent,
    Larochelle, Bengio, Manzagol, 2008), Section 2.3, https://doi.org/10.1145/1390156.1390294
    Claims: theory.masking_noise_deletes
    Differs: none.

    Args:
        clean: points (N, D).
        keep: 1 where an entry is kept, 0 where it is deleted (N, D).

    Returns:
        What to add (N, D).

    >>> masking_noise(torch.tensor([[2.0, 3.0]]), torch.tensor([[1.0, 0.0]]))
    tensor([[ 0., -3.]])
    """
    return (keep - 1) * clean
