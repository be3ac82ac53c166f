r"""Spectral normalisation: a layer's weight divided by its largest singular value.

.. code-block:: text

    original --------------------------> / sigma --> layer.weight
        |                                   ^
        +--> one power iteration --> u, v --+   sigma = u . W v, u and v held constant
             (training mode only)
"""

from __future__ import annotations

__all__ = ["SpectralNorm", "flattened_weight", "power_iteration", "spectral_norm"]

from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

if TYPE_CHECKING:
    from jaxtyping import Float

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


def flattened_weight(
    weight: Float[Tensor, " ..."], transposed: bool = False, groups: int = 1
) -> Float[Tensor, "out rest"]:
    r"""Lay a layer's weight out as a matrix with one row for each output channel.

    .. math::

        W_{o,\,(i, a, b)} = w_{o,i,a,b}, \qquad
        \text{transposed: } W_{o,\,(i, a, b)} = w_{i,o,a,b}

    Paper: Spectral Normalization for Generative Adversarial Networks (Miyato et al., 2018),
    Section 2.1, https://arxiv.org/abs/1802.05957
    Claims: spectral_norm.transposed_layout, theory.reshaped_norm_is_not_operator_norm
    Differs: transposed convolutions, which torch stores (in, out / groups, kh, kw), are added.

    Args:
        weight: of a linear or convolution layer.
        transposed: whether the layer is a transposed convolution.
        groups: of a transposed convolution; the others store theirs by output channel already.

    Returns:
        (out, rest), a view or a copy.

    >>> flattened_weight(torch.zeros(2, 3, 5, 7), transposed=True).shape
    torch.Size([3, 70])
    """
    if transposed:
        by_group = weight.reshape(groups, -1, *weight.shape[1:])  # (groups, in, out, kh, kw)
        weight = by_group.transpose(1, 2).flatten(0, 1)
    return weight.flatten(1)


def power_iteration(
    matrix: Float[Tensor, "m n"], u: Float[Tensor, " m"], v: Float[Tensor, " n"]
) -> tuple[Float[Tensor, " m"], Float[Tensor, " n"]]:
    r"""Turn unit vectors towards the leading singular pair of a matrix.

    .. math::

        v \leftarrow \frac{W^\top u}{\lVert W^\top u \rVert}, \qquad
        u \leftarrow \frac{W v}{\lVert W v \rVert}

    so that u . W v rises towards the largest singular value, unless u starts orthogonal to it.

    Paper: Spectral Normalization for Generative Adversarial Networks (Miyato et al., 2018),
    Algorithm 1 (Appendix A), https://arxiv.org/abs/1802.05957
    Claims: spectral_norm.power_iteration_monotone, spectral_norm.survives_rank_one
    Differs: a vector that the matrix sends to zero leaves its partner as it was.

    Args:
        matrix: W, (m, n).
        u: (m,), of length 1.
        v: (n,), of length 1.

    Returns:
        u and v after one step.

    >>> power_iteration(torch.diag(torch.tensor([2.0, 0.0])), torch.ones(2), torch.ones(2))
    (tensor([1., 0.]), tensor([1., 0.]))
    """
    v = _unit(matrix.mT @ u, v)
    return _unit(matrix @ v, u), v


def _unit(x: Tensor, otherwise: Tensor) -> Tensor:
    largest = x.abs().amax()
    # Scaled first: the squares of tiny weights would vanish. Zero has no direction.
    direction = x / torch.where(largest > 0, largest, 1)
    length = torch.linalg.vector_norm(direction)
    return torch.where(largest > 0, direction / length, otherwise)


class SpectralNorm(nn.Module):
    r"""The parametrization of a weight by itself over its estimated largest singular value.

    .. math::

        \bar W = W / \sigma, \qquad \sigma = u^\top W v, \qquad
        \frac{\partial \sigma}{\partial W} = u v^\top

    Paper: Spectral Normalization for Generative Adversarial Networks (Miyato et al., 2018),
    Equations 8 to 12 and Algorithm 1, https://arxiv.org/abs/1802.05957
    Claims: spectral_norm.unit_norm, spectral_norm.keeps_direction,
    spectral_norm.gradient_through_sigma, spectral_norm.eval_is_frozen,
    spectral_norm.state_round_trips, spectral_norm.survives_rank_one
    Differs: u and v are warmed up by 15 iterations when made; an all-zero weight stays zero.

    Args:
        weight: the weight at the start.
        transposed, groups: as for `flattened_weight`.
    """

    u: Float[Tensor, " m"]
    v: Float[Tensor, " n"]

    def __init__(
        self, weight: Float[Tensor, " ..."], transposed: bool = False, groups: int = 1
    ) -> None:
        super().__init__()
        self.transposed, self.groups = transposed, groups
        matrix = flattened_weight(weight.detach(), transposed, groups)
        u, v = (_unit(torch.randn_like(x), x) for x in (matrix[:, 0], matrix[0]))
        for _ in range(15):
            u, v = power_iteration(matrix, u, v)
        self.register_buffer("u", u)
        self.register_buffer("v", v)

    def forward(self, weight: Float[Tensor, " ..."]) -> Float[Tensor, " ..."]:
        matrix = flattened_weight(weight, self.transposed, self.groups)
        # Copies: autograd keeps these, and a second forward before backward writes the buffers.
        u, v = self.u.clone(), self.v.clone()
        if self.training:
            with torch.no_grad():
                u, v = power_iteration(matrix, u, v)
                self.u.copy_(u)
                self.v.copy_(v)
        sigma = torch.dot(u, matrix @ v)
        return weight / torch.where(sigma == 0, 1, sigma)

    def right_inverse(self, weight: Float[Tensor, " ..."]) -> Float[Tensor, " ..."]:
        """Let `layer.weight = w` set the original: its direction is kept, its length is not."""
        return weight


def spectral_norm(layer: Layer) -> Layer:
    r"""Normalise the weight of a layer, in place: `layer.weight` becomes W / sigma(W).

    .. math::

        \bar W_{\mathrm{SN}} = W / \sigma(W)

    Paper: Spectral Normalization for Generative Adversarial Networks (Miyato et al., 2018),
    Equation 8, https://arxiv.org/abs/1802.05957
    Claims: spectral_norm.unit_norm, spectral_norm.transposed_layout
    Differs: one power iteration each time that `.weight` is read in training mode.

    Args:
        layer: linear, convolution or transposed convolution; its bias is left alone.

    Returns:
        the same layer; its trainable parameter is `layer.parametrizations.weight.original`.

    Raises:
        ValueError: another kind of layer.

    >>> layer = spectral_norm(nn.Linear(1, 1)).eval()
    >>> layer.weight.abs()
    tensor([[1.]], grad_fn=<AbsBackward0>)
    """
    if not isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        raise ValueError(f"spectral_norm takes Linear, Conv2d or ConvTranspose2d, not {layer}")
    transposed = isinstance(layer, nn.ConvTranspose2d)
    groups = 1 if isinstance(layer, nn.Linear) else layer.groups
    normalise = SpectralNorm(layer.weight, transposed, groups)
    parametrize.register_parametrization(layer, "weight", normalise.train(layer.training))
    layer.train(layer.training)  # the wrapper that torch added starts in training mode
    return layer
