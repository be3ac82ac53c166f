r"""Walks and sums in a generator's latent space.

.. code-block:: text

    smiling woman - neutral woman + neutral man = smiling man     (each the mean of a few latents)
"""

from __future__ import annotations

__all__ = ["slerp", "vector_arithmetic"]

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float


def slerp(start: Float[Tensor, "n l"], end: Float[Tensor, "n l"], t: float) -> Float[Tensor, "n l"]:
    r"""Walk from one latent to another along the great circle, at constant speed.

    .. math::

        \frac{\sin((1 - t)\,\omega)}{\sin \omega}\, a + \frac{\sin(t\,\omega)}{\sin \omega}\, b,
        \qquad \cos \omega = \frac{a \cdot b}{\lVert a \rVert \lVert b \rVert}

    Normal vectors in many dimensions lie close to a sphere; a straight line between two of them
    passes through its inside, where the generator was never trained.

    Paper: Sampling Generative Networks (White, 2016), Section 2, https://arxiv.org/abs/1609.04468
    Claims: theory.vector_arithmetic
    Differs: the straight line where the vectors are parallel; opposite ones have no shortest way
    and take it too.

    Args:
        start: a.
        end: b.
        t: how far, 0 to 1.

    Returns:
        one latent for each pair.

    >>> slerp(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), 0.5)
    tensor([[0.7071, 0.7071]])
    """
    a = torch.nn.functional.normalize(start, dim=-1)
    b = torch.nn.functional.normalize(end, dim=-1)
    # Twice the angle of half the chord: accurate for near vectors, where arccos is not.
    omega = 2 * torch.atan2((a - b).norm(dim=-1), (a + b).norm(dim=-1)).unsqueeze(-1)
    sine = omega.sin()
    straight = sine < 1e-6
    safe = torch.where(straight, 1, sine)
    here = torch.where(straight, 1 - t, ((1 - t) * omega).sin() / safe)
    there = torch.where(straight, t, (t * omega).sin() / safe)
    return here * start + there * end


def vector_arithmetic(
    base: Float[Tensor, "n l"], minus: Float[Tensor, "m l"], plus: Float[Tensor, "k l"]
) -> Float[Tensor, " l"]:
    r"""Exchange what one group of latents has in common for what another has.

    .. math::

        z = \bar z_{\text{base}} - \bar z_{\text{minus}} + \bar z_{\text{plus}}

    Paper: Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
    Networks (Radford, Metz, Chintala, 2015), Section 6.3.2, https://arxiv.org/abs/1511.06434
    Claims: theory.vector_arithmetic
    Differs: none.

    Args:
        base: latents of images with the feature, such as smiling women.
        minus: latents of images of the same kind without it, such as neutral women.
        plus: latents of images of another kind without it, such as neutral men.

    Returns:
        the latent of an image of the other kind with the feature.

    >>> vector_arithmetic(torch.tensor([[3.0]]), torch.tensor([[1.0]]), torch.tensor([[4.0], [6.0]]))
    tensor([7.])
    """
    return base.mean(0) - minus.mean(0) + plus.mean(0)
