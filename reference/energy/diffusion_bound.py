r"""The variational bound of a diffusion model, and the chain that draws from it.

The chain of noised data is a latent variable of T parts; the bound is the ELBO of that model, and
all but its last term are divergences between Gaussians.
"""

from __future__ import annotations

__all__ = ["Denoiser", "diffusion_elbo", "diffusion_sample", "gaussian_divergence"]

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

from reference.energy.diffusion import noised_mean_variance, step_back_mean_variance

if TYPE_CHECKING:
    from jaxtyping import Float

Denoiser: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(x_t (N, D), t long (N,)) -> mean and variance of x_{t-1}, both (N, D)."""


def gaussian_divergence(
    mean: Float[Tensor, "n d"],
    variance: Float[Tensor, "n d"],
    other_mean: Float[Tensor, "n d"],
    other_variance: Float[Tensor, "n d"],
) -> Float[Tensor, " n"]:
    r"""KL divergence of one diagonal Gaussian from another.

    .. math::

        D_{\mathrm{KL}} = \tfrac12 \sum_d \Bigl( \frac{v_d + (m_d - m'_d)^2}{v'_d} - 1
            + \log \frac{v'_d}{v_d} \Bigr)

    Paper: Denoising Diffusion Probabilistic Models (Ho, Jain, Abbeel, 2020), Equation 5,
    https://arxiv.org/abs/2006.11239
    Claims: theory.diffusion_elbo
    Differs: none.

    Args:
        mean, variance: of the first (N, D); variances are positive.
        other_mean, other_variance: of the second (N, D).

    Returns:
        (N,), nats.

    >>> gaussian_divergence(*torch.ones(4, 1, 2))
    tensor([0.])
    """
    ratio = variance / other_variance
    apart = (mean - other_mean).square() / other_variance
    return 0.5 * (ratio + apart - 1 - ratio.log()).sum(-1)


def diffusion_elbo(
    alpha_bar: Float[Tensor, " t"],
    denoiser: Denoiser,
    x0: Float[Tensor, "n d"],
    noise: Float[Tensor, "t n d"],
) -> Float[Tensor, " n"]:
    r"""A lower bound on the log-density of the data, one noise sample for each step.

    .. math::

        \log p(x_0) \ge -D_{\mathrm{KL}}\bigl(q(x_T | x_0) \,\|\, \mathcal N(0, I)\bigr)
            - \sum_{t > 1} \mathbb E\, D_{\mathrm{KL}}\bigl(q(x_{t-1} | x_t, x_0) \,\|\,
              p(x_{t-1} | x_t)\bigr) + \mathbb E \log p(x_0 | x_1)

    Paper: Denoising Diffusion Probabilistic Models (Ho, Jain, Abbeel, 2020), Equation 5,
    https://arxiv.org/abs/2006.11239
    Claims: theory.diffusion_elbo
    Differs: the data are continuous, with a density where the paper has levels.

    Args:
        alpha_bar: the schedule (T,).
        denoiser: mean and variance of the step back.
        x0: data (N, D).
        noise: standard normal (T, N, D), one draw of x_t for each step.

    Returns:
        (N,), nats.

    >>> forget = lambda x, t: (torch.zeros_like(x), torch.ones_like(x))
    >>> diffusion_elbo(torch.tensor([0.0]), forget, torch.zeros(1, 2), torch.zeros(1, 1, 2))
    tensor([-1.8379])
    """
    steps = len(alpha_bar)
    zero, one = torch.zeros_like(x0), torch.ones_like(x0)
    last = torch.full((len(x0),), steps - 1, device=x0.device)
    bound = -gaussian_divergence(*noised_mean_variance(alpha_bar, x0, last), zero, one)
    for step in range(steps):
        t = torch.full_like(last, step)
        mean, variance = noised_mean_variance(alpha_bar, x0, t)
        xt = mean + variance.sqrt() * noise[step]
        back_mean, back_variance = denoiser(xt, t)
        if step > 0:
            true = step_back_mean_variance(alpha_bar, x0, xt, t)
            bound = bound - gaussian_divergence(*true, back_mean, back_variance)
        else:
            squared = (x0 - back_mean).square() / back_variance
            constant = (2 * math.pi * back_variance).log()
            bound = bound - 0.5 * (squared + constant).sum(-1)
    return bound


def diffusion_sample(
    steps: int, denoiser: Denoiser, noise: Float[Tensor, "s n d"]
) -> Float[Tensor, "n d"]:
    r"""Start from noise and step back T times.

    .. math::

        x_T \sim \mathcal N(0, I), \qquad x_{t-1} = \mu(x_t, t) + \sigma(x_t, t)\, \epsilon_t

    Paper: Denoising Diffusion Probabilistic Models (Ho, Jain, Abbeel, 2020), Algorithm 2,
    https://arxiv.org/abs/2006.11239
    Claims: theory.diffusion_chain_returns
    Differs: the last step draws as well, from the density p(x_0 | x_1) that the bound speaks of.

    Args:
        steps: T.
        denoiser: mean and variance of the step back.
        noise: standard normal (T + 1, N, D): the start, then one for each step.

    Returns:
        (N, D).

    Raises:
        ValueError: not T + 1 layers of noise.

    >>> halve = lambda x, t: (x / 2, torch.zeros_like(x))
    >>> diffusion_sample(3, halve, torch.ones(4, 1, 2))
    tensor([[0.1250, 0.1250]])
    """
    if len(noise) != steps + 1:
        raise ValueError(f"{steps} steps need noise of {steps + 1} layers, not {len(noise)}")
    x = noise[0]
    for step in reversed(range(steps)):
        t = torch.full((len(x),), step, device=x.device)
        mean, variance = denoiser(x, t)
        x = mean + variance.sqrt() * noise[steps - step]
    return x
