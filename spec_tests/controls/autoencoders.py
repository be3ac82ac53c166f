r"""Unusual but right linear autoencoders."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from spec_tests.registry import control

Maps = tuple[Any, Any]


def _plane(x: Tensor, code_dim: int) -> tuple[Tensor, Tensor]:
    """The mean and the leading directions, by the decomposition of the covariance."""
    mean = x.mean(0)
    vectors = torch.linalg.eigh((x - mean).T @ (x - mean)).eigenvectors
    return mean, vectors.T.flip(0)[:code_dim]


@control("linear_autoencoder")
def code_in_skewed_coordinates(x: Tensor, code_dim: int) -> Maps:
    """The code is mapped by an invertible matrix and shifted, and the decoder maps it back: neither
    the code's axes, nor their order, angles or origin are part of the optimum."""
    mean, rows = _plane(x, code_dim)
    skew = torch.eye(code_dim).to(x) * 3 + torch.ones(code_dim, code_dim).triu(1).to(x)
    shift = torch.arange(code_dim, device=x.device).to(x) - 5

    def encode(points: Tensor) -> Tensor:
        return (points - mean) @ rows.T @ skew + shift

    def decode(codes: Tensor) -> Tensor:
        return (codes - shift) @ torch.linalg.inv(skew) @ rows + mean

    return encode, decode


@control("linear_autoencoder")
def code_of_points_that_were_not_centred(x: Tensor, code_dim: int) -> Maps:
    """The encoder is linear, without offset; what the decoder adds is the mean's part outside the
    plane."""
    mean, rows = _plane(x, code_dim)
    return lambda u: u @ rows.T, lambda z: z @ rows + (mean - mean @ rows.T @ rows)


@control("linear_autoencoder")
def code_with_random_signs(x: Tensor, code_dim: int) -> Maps:
    """Each direction points either way, drawn anew at each fit: codes differ between fits, while
    reconstructions do not."""
    mean, rows = _plane(x, code_dim)
    signs = (torch.randint(0, 2, (code_dim, 1), device=x.device) * 2 - 1).to(x)
    rows = rows * signs
    return lambda u: (u - mean) @ rows.T, lambda z: z @ rows + mean


@control("linear_autoencoder")
def whitened_code(x: Tensor, code_dim: int) -> Maps:
    """Codes of unit variance, as probabilistic PCA has them, undone by a decoder whose columns are not
    orthonormal; directions without variance are left as they are."""
    mean, rows = _plane(x, code_dim)
    scale = ((x - mean) @ rows.T).square().mean(0).sqrt().detach()
    scale = torch.where(scale > 1e-3, scale, torch.ones_like(scale))
    return lambda u: (u - mean) @ rows.T / scale, lambda z: z * scale @ rows + mean


@control("linear_autoencoder")
def orthogonal_iteration(x: Tensor, code_dim: int) -> Maps:
    """An iterative solver, run until the plane moves no more: legal up to 1e-5."""
    mean = x.mean(0)
    basis = torch.linalg.qr(torch.randn(x.shape[1], code_dim).to(x)).Q
    gram = (x - mean).T @ (x - mean)
    shift = 1e-9 * torch.eye(len(gram)).to(x)  # keeps a basis where there is no variance
    for _ in range(100):
        basis = torch.linalg.qr((gram + shift) @ basis).Q
    return lambda u: (u - mean) @ basis, lambda z: z @ basis.T + mean


class _Linear(nn.Module):
    """A layer whose weight and bias are given, and carry gradients."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias

    def forward(self, points: Tensor) -> Tensor:
        return nn.functional.linear(points, self.weight, self.bias)


@control("linear_autoencoder")
def pair_of_layers(x: Tensor, code_dim: int) -> Any:
    """Two modules in a list, weights and biases multiplied out: as a trained network would store
    them."""
    mean, rows = _plane(x, code_dim)
    return [_Linear(rows, -rows @ mean), _Linear(rows.T, mean)]
