r"""The best linear autoencoder in closed form: principal component analysis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float
    from torch import Tensor

__all__ = ["linear_autoencoder", "principal_directions"]


def principal_directions(centred: Float[Tensor, "n d"], count: int) -> Float[Tensor, "count d"]:
    r"""Orthonormal directions, in which centred points vary most, then next most, and so on.

    .. math::

        X = U \,\mathrm{diag}(s)\, V^\top, \quad s_1 \ge s_2 \ge \dots, \qquad
        \text{directions} = (v_1, \dots, v_k)^\top

    Paper: On Lines and Planes of Closest Fit to Systems of Points in Space (Pearson, 1901),
    https://doi.org/10.1080/14786440109462720
    Claims: linear_autoencoder.spans_principal_subspace,
    linear_autoencoder.tolerates_fewer_points_than_dims
    Differs: none.

    Args:
        centred: Points (N, D) whose mean is 0.
        count: Number of directions k, from 1 to D.

    Returns:
        Directions as rows (k, D), orthonormal also where the data span fewer than k dimensions.

    Raises:
        ValueError: `count` is not in 1..D.

    >>> principal_directions(torch.tensor([[0.0, 3.0], [0.0, -3.0]]), 1).abs()
    tensor([[0., 1.]])
    """
    if not 1 <= count <= centred.shape[1]:
        raise ValueError(f"count must be in 1..{centred.shape[1]}, got {count}")
    directions: Tensor = torch.linalg.svd(centred, full_matrices=False).Vh  # (min(N, D), D)
    if count > len(directions):
        # Fewer points than directions asked for: any orthonormal completion is as good.
        basis = torch.linalg.qr(directions.detach().T, mode="complete").Q  # (D, D)
        directions = torch.cat([directions, basis.T[len(directions) :]])
    return directions[:count]


def linear_autoencoder(
    x: Float[Tensor, "n d"], code_dim: int
) -> tuple[
    Callable[[Float[Tensor, "m d"]], Float[Tensor, "m k"]],
    Callable[[Float[Tensor, "m k"]], Float[Tensor, "m d"]],
]:
    r"""The encoder and decoder with the least squared error of all affine ones: PCA.

    .. math::

        \min_{\text{affine } f, g} \sum_n \| x_n - g(f(x_n)) \|^2
        = \sum_{i > k} s_i^2, \qquad
        f(x) = V_k (x - \bar x), \quad g(z) = V_k^\top z + \bar x

    Here s and V belong to the centred data. Without centring the best *linear* map is another one,
    and is no better: the mean then uses up code.

    Paper: Neural Networks and Principal Component Analysis: Learning from Examples Without Local
    Minima (Baldi, Hornik, 1989), https://doi.org/10.1016/0893-6080(89)90014-2
    Claims: linear_autoencoder.attains_pca_error, linear_autoencoder.spans_principal_subspace,
    linear_autoencoder.no_linear_code_beats_it, linear_autoencoder.projection,
    linear_autoencoder.error_falls_with_code_dim, linear_autoencoder.translation_equivariant,
    linear_autoencoder.tolerates_fewer_points_than_dims, theory.gradient_descent_finds_pca
    Differs: solved in closed form; the codes are the orthonormal choice of the many optimal ones.

    Differentiable in x where the singular values are distinct; equal ones (N = 1, or two constant
    features) give the fit but no gradient. The code of a point, unlike its reconstruction, is
    determined only up to a sign.

    Args:
        x: Data (N, D), N >= 1; it need be neither centred nor of full rank.
        code_dim: Length of the code k, from 1 to D.

    Returns:
        `encode` (M, D) -> (M, k) and `decode` (M, k) -> (M, D).

    Raises:
        ValueError: x is not (N, D) with N >= 1, or `code_dim` is not in 1..D.

    >>> x = torch.tensor([[1.0, 1.0], [2.0, 2.0], [6.0, 6.0]])
    >>> encode, decode = linear_autoencoder(x, 1)
    >>> torch.allclose(decode(encode(x)), x)
    True
    """
    if x.ndim != 2 or len(x) == 0:
        raise ValueError(f"x must be (N, D) with N >= 1, got {(*x.shape,)}")
    if not 1 <= code_dim <= x.shape[1]:
        raise ValueError(f"code_dim must be in 1..{x.shape[1]}, got {code_dim}")
    mean = x.mean(0)
    directions = principal_directions(x - mean, code_dim)

    def encode(points: Float[Tensor, "m d"]) -> Float[Tensor, "m k"]:
        return (points - mean) @ directions.T

    def decode(codes: Float[Tensor, "m k"]) -> Float[Tensor, "m d"]:
        return codes @ directions + mean

    return encode, decode
