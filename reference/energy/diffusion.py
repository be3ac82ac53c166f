r"""Diffusion: noise is added in T small Gaussian steps, and a model learns to take them back.

.. code-block:: text

    data  x_0 --> x_1 --> ... --> x_{t-1} --> x_t --> ... --> x_T  noise       q, fixed
          x_0 <-- x_1 <-- ... <-- x_{t-1} <-- x_t <-- ... <-- x_T              p, learnt

Steps are numbered from 0 in code: entry t of a schedule belongs to the paper's step t + 1, and what
precedes step 0 is the data.
"""

from __future__ import annotations

__all__ = [
    "DiffusionSchedule",
    "cosine_alpha_bar",
    "linear_alpha_bar",
    "noised_mean_variance",
    "step_back_mean_variance",
]

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float, Int


def linear_alpha_bar(steps: int, first: float = 1e-4, last: float = 0.02) -> Float[Tensor, " t"]:
    r"""The share of signal that is left after each step, for noise variances that rise linearly.

    .. math::

        \bar\alpha_t = \prod_{s \le t} (1 - \beta_s), \qquad
        \beta_s = \tfrac{1000}{T} \Bigl(\beta_{\text{first}} + \tfrac{s}{T - 1}
            (\beta_{\text{last}} - \beta_{\text{first}})\Bigr)

    Paper: Denoising Diffusion Probabilistic Models (Ho, Jain, Abbeel, 2020), Section 4,
    https://arxiv.org/abs/2006.11239
    Claims: diffusion_schedule.noise_grows
    Differs: the paper has T = 1000; for another T the variances are scaled, so that as much noise
    is added in all, and kept below 0.999.

    Args:
        steps: T.
        first, last: variances of the first and the last of 1000 steps.

    Returns:
        (T,), float64.

    Raises:
        ValueError: no steps.

    >>> linear_alpha_bar(1000)[-1]
    tensor(4.0358e-05, dtype=torch.float64)
    """
    if steps < 1:
        raise ValueError(f"there must be at least one step, not {steps}")
    beta = 1000 / steps * torch.linspace(first, last, steps, dtype=torch.float64)
    return (1 - beta.clamp_max(0.999)).cumprod(0)


def cosine_alpha_bar(steps: int, offset: float = 0.008) -> Float[Tensor, " t"]:
    r"""The share of signal that is left after each step, along a quarter of a squared cosine.

    .. math::

        \bar\alpha_t = \frac{f(t + 1)}{f(0)}, \qquad
        f(t) = \cos^2\left(\frac{t / T + s}{1 + s} \cdot \frac{\pi}{2}\right)

    Paper: Improved Denoising Diffusion Probabilistic Models (Nichol, Dhariwal, 2021),
    Equation 17, https://arxiv.org/abs/2102.09672
    Claims: diffusion_schedule.noise_grows
    Differs: each ratio of two neighbours is at least 0.001, as the paper clips its variances.

    Args:
        steps: T.
        offset: s, which keeps the first steps from being too small.

    Returns:
        (T,), float64.

    Raises:
        ValueError: no steps.

    >>> cosine_alpha_bar(2)
    tensor([0.4938, 0.0005], dtype=torch.float64)
    """
    if steps < 1:
        raise ValueError(f"there must be at least one step, not {steps}")
    t = torch.arange(steps + 1, dtype=torch.float64)
    f = ((t / steps + offset) / (1 + offset) * (math.pi / 2)).cos().square()
    return (f[1:] / f[:-1]).clamp_min(0.001).cumprod(0)


def _of_items(values: Float[Tensor, " n"], x: Float[Tensor, " n *event"]) -> Tensor:
    """One number for each item, shaped to multiply x."""
    return values.to(x.dtype).view(-1, *(1,) * (x.dim() - 1))


def noised_mean_variance(
    alpha_bar: Float[Tensor, " t"], x0: Float[Tensor, " n *event"], t: Int[Tensor, " n"]
) -> tuple[Float[Tensor, " n *event"], Float[Tensor, " n *event"]]:
    r"""Mean and variance of the data after step t, all steps taken in one.

    .. math::

        q(x_t \mid x_0) = \mathcal N\bigl(\sqrt{\bar\alpha_t}\, x_0,\; (1 - \bar\alpha_t) I\bigr)

    Paper: Denoising Diffusion Probabilistic Models (Ho, Jain, Abbeel, 2020), Equation 4,
    https://arxiv.org/abs/2006.11239
    Claims: diffusion_schedule.preserves_variance, diffusion_schedule.marginals_compose
    Differs: none.

    Args:
        alpha_bar: the schedule (T,).
        x0: data (N, *event).
        t: the step of each item, in [0, T), long (N,).

    Returns:
        The mean and the variance, both (N, *event).

    >>> noised_mean_variance(torch.tensor([0.64, 0.25]), torch.ones(1, 1), torch.tensor([1]))
    (tensor([[0.5000]]), tensor([[0.7500]]))
    """
    left = _of_items(alpha_bar[t], x0)
    return left.sqrt() * x0, (1 - left).expand_as(x0)


def step_back_mean_variance(
    alpha_bar: Float[Tensor, " t"],
    x0: Float[Tensor, " n *event"],
    xt: Float[Tensor, " n *event"],
    t: Int[Tensor, " n"],
) -> tuple[Float[Tensor, " n *event"], Float[Tensor, " n *event"]]:
    r"""Mean and variance before step t, of what is known to have begun at x0 and come to xt.

    .. math::

        q(x_{t-1} \mid x_t, x_0) = \mathcal N\left(
            \frac{\sqrt{\bar\alpha_{t-1}}\, \beta_t}{1 - \bar\alpha_t} x_0
            + \frac{\sqrt{\alpha_t}\, (1 - \bar\alpha_{t-1})}{1 - \bar\alpha_t} x_t,\;
            \frac{1 - \bar\alpha_{t-1}}{1 - \bar\alpha_t} \beta_t I \right)

    with :math:`\alpha_t = 1 - \beta_t = \bar\alpha_t / \bar\alpha_{t-1}`. Before step 0 lies the
    data itself: there :math:`\bar\alpha_{-1} = 1`, the mean is x0 and the variance zero.

    Paper: Denoising Diffusion Probabilistic Models (Ho, Jain, Abbeel, 2020), Equations 6 and 7,
    https://arxiv.org/abs/2006.11239
    Claims: diffusion_schedule.posterior_is_bayes, diffusion_schedule.first_step_returns_the_data
    Differs: none.

    Args:
        alpha_bar: the schedule (T,).
        x0, xt: the data and what became of it (N, *event).
        t: the step of each item, in [0, T), long (N,).

    Returns:
        The mean and the variance, both (N, *event).

    >>> x0, xt = torch.ones(1, 1), torch.zeros(1, 1)
    >>> step_back_mean_variance(torch.tensor([0.5, 0.25]), x0, xt, torch.tensor([0]))
    (tensor([[1.]]), tensor([[0.]]))
    """
    now = _of_items(alpha_bar[t], x0)
    before = _of_items(torch.where(t > 0, alpha_bar[(t - 1).clamp_min(0)], 1.0), x0)
    alpha = now / before
    beta, noise, noise_before = 1 - alpha, 1 - now, 1 - before
    mean = (before.sqrt() * beta * x0 + alpha.sqrt() * noise_before * xt) / noise
    return mean, (noise_before / noise * beta).expand_as(x0)


class DiffusionSchedule(nn.Module):
    r"""A schedule with what follows from it.

    .. math::

        q(x_{1:T} \mid x_0) = \prod_t \mathcal N\bigl(x_t;\, \sqrt{\alpha_t}\, x_{t-1},\,
            \beta_t I\bigr)

    Paper: Denoising Diffusion Probabilistic Models (Ho, Jain, Abbeel, 2020), Section 2,
    https://arxiv.org/abs/2006.11239
    Claims: diffusion_schedule.noise_grows, diffusion_schedule.marginals_compose,
    diffusion_schedule.posterior_is_bayes, theory.diffusion_elbo
    Differs: none.

    Args:
        alpha_bar: the share of signal left after each step (T,), decreasing within (0, 1).

    >>> DiffusionSchedule.tiny().alpha_bar.shape
    torch.Size([4])
    """

    alpha_bar: Float[Tensor, " t"]

    def __init__(self, alpha_bar: Float[Tensor, " t"]) -> None:
        super().__init__()
        self.register_buffer("alpha_bar", alpha_bar)

    @classmethod
    def tiny(cls) -> DiffusionSchedule:
        """Four steps."""
        return cls(cosine_alpha_bar(4))

    def q_mean_variance(
        self, x0: Float[Tensor, " n *event"], t: Int[Tensor, " n"]
    ) -> tuple[Float[Tensor, " n *event"], Float[Tensor, " n *event"]]:
        """Of x_t given x_0."""
        return noised_mean_variance(self.alpha_bar, x0, t)

    def posterior_mean_variance(
        self, x0: Float[Tensor, " n *event"], xt: Float[Tensor, " n *event"], t: Int[Tensor, " n"]
    ) -> tuple[Float[Tensor, " n *event"], Float[Tensor, " n *event"]]:
        """Of x_{t-1} given x_t and x_0."""
        return step_back_mean_variance(self.alpha_bar, x0, xt, t)
