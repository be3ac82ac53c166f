r"""How steep a network can be, read off its weights: one number a layer, multiplied.

.. code-block:: text

    f = W3 relu(W2 relu(W1 x))     slope <= |W3| * 1 * |W2| * 1 * |W1|

The same c in [-c, c] bounds the slope differently in different norms of the input; the lecture's
c * D is the one for the largest coordinate, and c * sqrt(D) the one for Euclidean distance.
"""

from __future__ import annotations

__all__ = [
    "SlopeBound",
    "clipped_layer_bound",
    "clipped_network_bound",
    "conv_norm_bound",
    "conv_operator_norm",
    "spectral_bound",
]

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float


class SlopeBound(NamedTuple):
    """Two Lipschitz constants of one map, each for one norm on both its input and its output.

    Args:
        max_norm: largest-coordinate norm (l-infinity).
        euclidean: Euclidean norm (l2).
    """

    max_norm: float
    euclidean: float


def clipped_layer_bound(bound: float, in_features: int, out_features: int = 1) -> SlopeBound:
    r"""Bound the slope of an affine layer whose weights lie in [-c, c], before or after a ReLU.

    .. math::

        \lVert W \rVert_{\infty \to \infty} = \max_i \sum_j |W_{ij}| \le c D, \qquad
        \lVert W \rVert_{2 \to 2} \le \lVert W \rVert_F \le c \sqrt{m D}

    for W with m rows and D columns; both are attained when every weight is c.

    Paper: Wasserstein GAN (Arjovsky, Chintala, Bottou, 2017), Section 3,
    https://arxiv.org/abs/1701.07875
    Claims: theory.clipping_bounds_slope
    Differs: the paper says only that some constant exists; the lecture's c * D is `max_norm`.

    Args:
        bound: c.
        in_features: D.
        out_features: m.

    Returns:
        the two constants.

    >>> clipped_layer_bound(0.01, in_features=100)
    SlopeBound(max_norm=1.0, euclidean=0.1)
    """
    return SlopeBound(bound * in_features, bound * math.sqrt(in_features * out_features))


def clipped_network_bound(bound: float, widths: Sequence[int]) -> SlopeBound:
    r"""Multiply the bounds of the layers of a clipped ReLU network.

    .. math::

        \prod_{\ell} c\, n_{\ell-1} \ \text{(largest coordinate)}, \qquad
        \prod_{\ell} c \sqrt{n_\ell\, n_{\ell-1}} \ \text{(Euclidean)}

    Paper: Wasserstein GAN (Arjovsky, Chintala, Bottou, 2017), Section 3,
    https://arxiv.org/abs/1701.07875
    Claims: theory.clipping_bounds_slope, theory.lipschitz_composes
    Differs: as for `clipped_layer_bound`.

    Args:
        bound: c.
        widths: n_0, ..., n_L: of the input, then of each layer's output.

    Returns:
        the two constants.

    >>> clipped_network_bound(0.1, [8, 2])
    SlopeBound(max_norm=0.8, euclidean=0.4)
    """
    layers = [clipped_layer_bound(bound, n, m) for n, m in pairwise(widths)]
    return SlopeBound(
        math.prod(layer.max_norm for layer in layers),
        math.prod(layer.euclidean for layer in layers),
    )


def spectral_bound(weights: Sequence[Float[Tensor, "_ _"]]) -> Float[Tensor, ""]:
    r"""Multiply the largest singular values of the layers of a ReLU network.

    .. math::

        \lVert f \rVert_{\mathrm{Lip}} \le \prod_\ell \sigma(W_\ell), \qquad
        \sigma(W) = \max_{\lVert h \rVert_2 \le 1} \lVert W h \rVert_2

    Paper: Spectral Normalization for Generative Adversarial Networks (Miyato et al., 2018),
    Section 2.1, Equation 7, https://arxiv.org/abs/1802.05957
    Claims: theory.spectral_bound_holds_for_pairs, theory.lipschitz_composes
    Differs: none.

    Args:
        weights: the matrices of the layers, at least one.

    Returns:
        scalar: a Lipschitz constant for Euclidean distance.

    >>> spectral_bound([torch.tensor([[3.0, 4.0]]), torch.eye(2)])
    tensor(5.)
    """
    return torch.stack([torch.linalg.matrix_norm(w, 2) for w in weights]).prod()


def conv_norm_bound(weight: Float[Tensor, "out in kh kw"]) -> Float[Tensor, ""]:
    r"""Bound a convolution's true norm by that of its weight flattened to a matrix.

    .. math::

        \lVert x \mapsto w * x \rVert_{2 \to 2}
            \le \sqrt{k_h k_w}\; \sigma(w \text{ as } \text{out} \times \text{in} k_h k_w)

    since each input pixel lies in at most kh kw of the patches that the matrix multiplies. The
    root cannot be left out: spectral normalisation of the flattened weight does not make a
    convolution 1-Lipschitz.

    Paper: Lipschitz-Margin Training (Tsuzuku, Sato, Sugiyama, 2018), on convolutions,
    https://arxiv.org/abs/1802.04034
    Claims: theory.reshaped_norm_is_not_operator_norm
    Differs: stated for stride 1; larger strides can only lower the norm.

    Args:
        weight: (out, in, kh, kw).

    Returns:
        scalar.

    >>> conv_norm_bound(torch.ones(1, 1, 3, 3))
    tensor(9.0000)
    """
    sigma: Tensor = torch.linalg.matrix_norm(weight.flatten(1), 2)
    return math.sqrt(math.prod(weight.shape[2:])) * sigma


def conv_operator_norm(
    weight: Float[Tensor, "out in kh kw"], height: int, width: int, padding: int = 0
) -> Float[Tensor, ""]:
    r"""The largest singular value of a convolution as a linear map of whole images.

    .. math::

        \max_{x \ne 0} \frac{\lVert w * x \rVert_2}{\lVert x \rVert_2}

    Paper: The Singular Values of Convolutional Layers (Sedghi, Gupta, Long, 2018), Section 2,
    https://arxiv.org/abs/1805.10408
    Claims: theory.reshaped_norm_is_not_operator_norm
    Differs: zero padding, by the dense matrix; the paper's is circular, by Fourier transform.

    Args:
        weight: (out, in, kh, kw).
        height, width: of the input images.
        padding: zeros on each side.

    Returns:
        scalar.

    >>> conv_operator_norm(torch.ones(1, 1, 1, 1), height=3, width=4)
    tensor(1.)
    """
    size = weight.shape[1] * height * width
    basis = torch.eye(size, dtype=weight.dtype, device=weight.device)
    images = F.conv2d(basis.view(size, weight.shape[1], height, width), weight, padding=padding)
    sigma: Tensor = torch.linalg.matrix_norm(images.flatten(1), 2)  # of the transpose: the same
    return sigma
