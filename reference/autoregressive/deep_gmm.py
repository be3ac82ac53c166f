r"""Deep Gaussian mixture: layers of linear maps, one of which is taken in each layer.

.. code-block:: text

    x <--[ A11 A12 A13 ]<--[ A21 A22 ]<--[ A31 A32 ]<-- z, standard normal

         3 x 2 x 2 = 12 paths, each a Gaussian, from the parameters of 3 + 2 + 2 = 7

A density of continuous patches: a baseline of tables in which images are compared.
"""

from __future__ import annotations

__all__ = ["DeepGMM", "deep_gmm_components", "deep_gmm_log_prob", "deep_gmm_push"]

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    Layer = tuple[Float[Tensor, " _"], Float[Tensor, "_ d d"], Float[Tensor, "_ d"]]


def deep_gmm_log_prob(x: Float[Tensor, "n d"], layers: Sequence[Layer]) -> Float[Tensor, " n"]:
    r"""Sum over all paths, by undoing one layer at a time in all ways at once.

    .. math::

        p_l(x) = \sum_k \pi_{lk}\, \frac{p_{l+1}\bigl(A_{lk}^{-1} (x - b_{lk})\bigr)}{|\det A_{lk}|},
        \qquad p_{L+1} = \mathcal N(0, I)

    Paper: Factoring Variations in Natural Images with Deep Gaussian Mixture Models (van den Oord,
    Schrauwen, 2014), Section 2,
    https://papers.nips.cc/paper/2014/hash/8c3039bd5842dca3d944faab91447818-Abstract.html
    Claims: theory.deep_mixture_is_flat, theory.deep_mixture_integrates_to_one,
    theory.responsibilities_are_the_gradient
    Differs: the sum is exact, where the paper's training keeps the likeliest path alone.

    Args:
        x: points (N, D).
        layers: for each layer, the nearest to x first: logarithms of the weights up to a constant
            (K,), matrices (K, D, D), shifts (K, D).

    Returns:
        (N,), nats.

    >>> layer = torch.zeros(2), torch.stack([torch.eye(1), 2 * torch.eye(1)]), torch.zeros(2, 1)
    >>> deep_gmm_log_prob(torch.zeros(1, 1), [layer]).exp()  # the mean of 0.3989 and half of it
    tensor([0.2992])
    """
    if not layers:
        return -0.5 * (x.square() + math.log(2 * math.pi)).sum(-1)
    (log_weights, matrices, shifts), *rest = layers
    before = torch.linalg.solve(matrices, (x[:, None] - shifts)[..., None])[..., 0]  # (N, K, D)
    log_volume = torch.linalg.slogdet(matrices).logabsdet
    inner = deep_gmm_log_prob(before.flatten(0, 1), rest).view(before.shape[:2])
    found: Tensor = (log_weights.log_softmax(0) - log_volume + inner).logsumexp(1)
    return found


def deep_gmm_components(
    layers: Sequence[Layer],
) -> tuple[Float[Tensor, " p"], Float[Tensor, "p d"], Float[Tensor, "p d d"]]:
    r"""The same density as one flat mixture with a Gaussian for every path.

    .. math::

        \pi = \prod_l \pi_{l k_l}, \qquad R = A_{1 k_1} \cdots A_{L k_L}, \qquad
        \mu = b_{1 k_1} + A_{1 k_1} (b_{2 k_2} + A_{2 k_2} (\cdots)), \qquad \Sigma = R R^\top

    Paper: Factoring Variations in Natural Images with Deep Gaussian Mixture Models (van den Oord,
    Schrauwen, 2014), Section 2,
    https://papers.nips.cc/paper/2014/hash/8c3039bd5842dca3d944faab91447818-Abstract.html
    Claims: theory.deep_mixture_is_flat
    Differs: none.

    Args:
        layers: as for `deep_gmm_log_prob`, one or more.

    Returns:
        log-weights (P,), means (P, D) and roots R (P, D, D) of the P paths, the choice in the last
        layer running fastest.

    >>> layer = torch.zeros(2), torch.stack([torch.eye(1), 2 * torch.eye(1)]), torch.ones(2, 1)
    >>> deep_gmm_components([layer, layer])[1].flatten()
    tensor([2., 2., 3., 3.])
    """
    (log_weights, matrices, shifts), *rest = layers
    log_weights = log_weights.log_softmax(0)
    if not rest:
        return log_weights, shifts, matrices
    inner_weights, means, roots = deep_gmm_components(rest)
    return (
        (log_weights[:, None] + inner_weights).flatten(),
        (shifts[:, None] + (matrices[:, None] @ means[..., None])[..., 0]).flatten(0, 1),
        (matrices[:, None] @ roots).flatten(0, 1),
    )


def deep_gmm_push(
    z: Float[Tensor, "n d"], path: Int[Tensor, "n l"], layers: Sequence[Layer]
) -> Float[Tensor, "n d"]:
    r"""Take standard normal numbers through the maps of given paths: what sampling does.

    .. math::

        x = b_{1 k_1} + A_{1 k_1} (b_{2 k_2} + A_{2 k_2} (\cdots z))

    Paper: Factoring Variations in Natural Images with Deep Gaussian Mixture Models (van den Oord,
    Schrauwen, 2014), Section 2,
    https://papers.nips.cc/paper/2014/hash/8c3039bd5842dca3d944faab91447818-Abstract.html
    Claims: theory.deep_mixture_samples_its_density
    Differs: none.

    Args:
        z: (N, D).
        path: which map is taken in each layer (N, L), long.
        layers: as for `deep_gmm_log_prob`.

    Returns:
        (N, D).

    >>> layer = torch.zeros(2), torch.stack([torch.eye(1), 2 * torch.eye(1)]), torch.ones(2, 1)
    >>> deep_gmm_push(torch.tensor([[3.0]]), torch.tensor([[1, 0]]), [layer, layer])
    tensor([[9.]])
    """
    for (_, matrices, shifts), taken in zip(reversed(layers), path.mT.flip(0), strict=True):
        z = shifts[taken] + (matrices[taken] @ z[..., None])[..., 0]
    return z


class DeepGMM(nn.Module):
    r"""Layers of linear maps with weights of their own, and the density of all paths through them.

    .. math::

        p(x) = \sum_{k_1, \dots, k_L} \Bigl(\prod_l \pi_{l k_l}\Bigr)\,
            \mathcal N\bigl(x;\, \mu_{k_1 \dots k_L},\, \Sigma_{k_1 \dots k_L}\bigr)

    Paper: Factoring Variations in Natural Images with Deep Gaussian Mixture Models (van den Oord,
    Schrauwen, 2014), Section 2,
    https://papers.nips.cc/paper/2014/hash/8c3039bd5842dca3d944faab91447818-Abstract.html
    Claims: theory.deep_mixture_is_flat, theory.deep_mixture_samples_its_density
    Differs: full matrices, and no penalty on them; trained by whoever calls it.

    Args:
        dims: D.
        widths: how many maps each layer has, the nearest to x first.

    Raises:
        ValueError: no layers, or a layer without maps.

    >>> DeepGMM.tiny().log_prob(torch.zeros(5, 3)).shape
    torch.Size([5])
    """

    def __init__(self, dims: int, widths: Sequence[int]) -> None:
        super().__init__()
        if not widths or min(widths) < 1:
            raise ValueError(f"every layer needs a map, not {tuple(widths)}")
        eye = torch.eye(dims)
        self.log_weights = nn.ParameterList(torch.zeros(k) for k in widths)
        self.matrices = nn.ParameterList(eye + 0.3 * torch.randn(k, dims, dims) for k in widths)
        self.shifts = nn.ParameterList(torch.randn(k, dims) for k in widths)

    @classmethod
    def tiny(cls) -> DeepGMM:
        """D = 3, layers of 4 and 2 maps."""
        return cls(3, (4, 2))

    @property
    def layers(self) -> list[Layer]:
        """The parameters layer by layer."""
        return list(zip(self.log_weights, self.matrices, self.shifts, strict=True))

    def log_prob(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """(N,), nats."""
        return deep_gmm_log_prob(x, self.layers)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "n d"]:
        """A path for each item, layer by layer, then a standard normal number through its maps."""
        taken = [
            torch.multinomial(w.detach().softmax(0), n, replacement=True, generator=generator)
            for w in self.log_weights
        ]
        like = self.shifts[0]
        z = torch.randn(n, like.shape[1], generator=generator, dtype=like.dtype, device=like.device)
        with torch.no_grad():
            return deep_gmm_push(z, torch.stack(taken, 1), self.layers)
