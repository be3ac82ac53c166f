r"""Three ways to bound a critic's slope: clip its weights, or penalise its gradient in two places.

.. code-block:: text

    clip_weights        the box [-c, c] for every weight: some Lipschitz constant, hard to choose
    gradient_penalty    slope 1 at random points between data and samples (WGAN-GP)
    r1_penalty          slope 0 at the data
"""

from __future__ import annotations

__all__ = ["clip_weights", "gradient_penalty", "input_gradient", "r1_penalty", "segment_points"]

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float

    Critic = Callable[[Float[Tensor, " n *event"]], Float[Tensor, " n"]]


def input_gradient(critic: Critic, points: Float[Tensor, " n *event"]) -> Float[Tensor, "n d"]:
    r"""Differentiate each item's score by that item, so that the result is differentiable again.

    .. math::

        g_i = \nabla_{x_i} f(x_i), \qquad
        \text{all at once, since } \nabla_{x_i} \textstyle\sum_j f(x_j) = \nabla_{x_i} f(x_i)

    Paper: Improved Training of Wasserstein GANs (Gulrajani et al., 2017), Algorithm 1,
    https://arxiv.org/abs/1704.00028
    Claims: gradient_penalty.reaches_critic_parameters, gradient_penalty.leaves_inputs_alone
    Differs: none. Items must not influence each other's scores: no batch normalisation.

    Args:
        critic: any callable from (N, *event) to (N,).
        points: (N, *event), left as they are.

    Returns:
        (N, D), each item's gradient flattened; zero for a critic that ignores its input.

    >>> input_gradient(lambda x: x.square().sum(1), torch.tensor([[1.0, 2.0]])).detach()
    tensor([[2., 4.]])
    """
    with torch.enable_grad():  # a caller's no_grad is about the result, not about this derivative
        points = points.clone().requires_grad_()
        score = critic(points).sum()
        if not score.requires_grad:
            return torch.zeros_like(points).flatten(1)
        (gradient,) = torch.autograd.grad(score, points, create_graph=True, materialize_grads=True)
    return gradient.flatten(1)


def segment_points(
    real: Float[Tensor, " n *event"],
    fake: Float[Tensor, " n *event"],
    generator: torch.Generator | None = None,
) -> Float[Tensor, " n *event"]:
    r"""Draw one uniform point on the segment from each real item to its fake partner.

    .. math::

        \hat x_i = (1 - t_i) x_i + t_i \tilde x_i, \qquad t_i \sim U[0, 1) \text{ independent}

    Paper: Improved Training of Wasserstein GANs (Gulrajani et al., 2017), Algorithm 1, line 6,
    https://arxiv.org/abs/1704.00028
    Claims: gradient_penalty.on_the_segments
    Differs: t counts from the real end; its distribution is the same.

    Args:
        real, fake: (N, *event).
        generator: the only source of randomness; torch's own if None.

    Returns:
        (N, *event).

    Raises:
        ValueError: the shapes differ.

    >>> bool((segment_points(torch.zeros(5, 2), torch.ones(5, 2)).diff(dim=1) == 0).all())
    True
    """
    if real.shape != fake.shape:
        raise ValueError(f"pairs need equal shapes, not {real.shape} and {fake.shape}")
    one_per_item = (len(real),) + (1,) * (real.ndim - 1)
    t = torch.rand(one_per_item, generator=generator, dtype=real.dtype, device=real.device)
    return torch.lerp(real, fake, t)


def gradient_penalty(
    critic: Critic,
    real: Float[Tensor, " n *event"],
    fake: Float[Tensor, " n *event"],
    generator: torch.Generator | None = None,
) -> Float[Tensor, ""]:
    r"""Penalise a critic's slope for being other than one, between the data and the samples.

    .. math::

        \frac1N \sum_i \big( \lVert \nabla_{\hat x_i} f(\hat x_i) \rVert_2 - 1 \big)^2

    Paper: Improved Training of Wasserstein GANs (Gulrajani et al., 2017), Equation 3,
    https://arxiv.org/abs/1704.00028
    Claims: gradient_penalty.linear_critic, gradient_penalty.zero_iff_unit_slope,
    gradient_penalty.on_the_segments, gradient_penalty.norm_over_whole_event,
    gradient_penalty.reaches_critic_parameters, gradient_penalty.finite_at_zero_gradient,
    gradient_penalty.leaves_inputs_alone
    Differs: without the weight lambda = 10, which is the caller's to multiply by.

    Args:
        critic: any callable from (N, *event) to (N,).
        real, fake: (N, *event), paired in order.
        generator: as for `segment_points`.

    Returns:
        scalar, differentiable in the critic's parameters.

    Raises:
        ValueError: the shapes differ.

    >>> gradient_penalty(lambda x: 3 * x[:, 0], torch.zeros(2, 4), torch.ones(2, 4)).detach()
    tensor(4.)
    """
    gradient = input_gradient(critic, segment_points(real, fake, generator))
    # vector_norm, not a square root: its derivative at zero is zero, where a root's is NaN.
    slope: Tensor = torch.linalg.vector_norm(gradient, dim=1)  # (N,)
    return (slope - 1).square().mean()


def r1_penalty(discriminator: Critic, real: Float[Tensor, " n *event"]) -> Float[Tensor, ""]:
    r"""Penalise any slope of the discriminator at the data.

    .. math::

        \frac{1}{2N} \sum_i \lVert \nabla_{x_i} D(x_i) \rVert_2^2

    Paper: Which Training Methods for GANs do actually Converge? (Mescheder, Geiger, Nowozin,
    2018), Equation 9, https://arxiv.org/abs/1801.04406
    Claims: r1_penalty.quadratic_discriminator, r1_penalty.reaches_parameters
    Differs: without the weight gamma, which is the caller's to multiply by.

    Args:
        discriminator: any callable from (N, *event) to (N,), raw scores.
        real: (N, *event).

    Returns:
        scalar, differentiable in the discriminator's parameters.

    >>> r1_penalty(lambda x: 3 * x[:, 0], torch.ones(2, 4)).detach()
    tensor(4.5000)
    """
    return 0.5 * input_gradient(discriminator, real).square().sum(dim=1).mean()


@torch.no_grad()
def clip_weights(module: nn.Module, bound: float) -> None:
    r"""Move every parameter to the nearest point of a box, in place.

    .. math::

        \theta \leftarrow \max(-c, \min(c, \theta))

    Paper: Wasserstein GAN (Arjovsky, Chintala, Bottou, 2017), Algorithm 1, line 7,
    https://arxiv.org/abs/1701.07875
    Claims: clip_weights.in_range, clip_weights.idempotent, clip_weights.leaves_small_weights_alone
    Differs: none.

    Args:
        module: its parameters are clipped, its buffers are not.
        bound: c, not negative.

    Raises:
        ValueError: the bound is negative or NaN.

    >>> layer = nn.Linear(3, 2)
    >>> clip_weights(layer, 0.01)
    >>> bool(layer.weight.abs().max() <= 0.01)
    True
    """
    if not bound >= 0:
        raise ValueError(f"bound must not be negative: {bound}")
    for parameter in module.parameters():
        parameter.clamp_(-bound, bound)
