r"""The Gaussian row of the table: fitted, not trained; its bound, its samples, its completions."""

from __future__ import annotations

import torch
from torch import Tensor

from reference.autoregressive import (
    dequantized_gaussian_bound,
    dequantized_gaussian_fit,
    gaussian_conditional,
)
from spec_tests.train.data import Data, Part
from spec_tests.train.loop import bits_per_dim
from spec_tests.train.pictures import png, showcase, top_half

__all__ = ["gaussian"]


def gaussian(data: Data, seed: int, columns: int = 10) -> tuple[float, float, int, bytes]:
    """Bits per dimension (an upper bound), its error, the number of parameters, and a picture."""
    mean, covariance = dequantized_gaussian_fit(data.train.x.flatten(1))
    bound = dequantized_gaussian_bound(data.held_out.x.flatten(1), mean, covariance)
    bits, error = bits_per_dim(-bound, data.event_shape)
    generator = torch.Generator().manual_seed(seed)
    d = len(mean)

    def sample(y: Tensor) -> Tensor:
        return levels(drawn(mean.expand(len(y), d), covariance))

    def complete(part: Part) -> Tensor:
        known = top_half(data.event_shape).flatten()
        noisy = part.x.flatten(1).to(mean)
        noisy = noisy + torch.rand(noisy.shape, generator=generator, dtype=noisy.dtype)
        filled = noisy.clone()
        filled[:, ~known] = drawn(*gaussian_conditional(known, noisy, mean, covariance))
        return torch.where(known, part.x.flatten(1).long(), levels(filled).flatten(1)).view(
            -1, *data.event_shape
        )

    def drawn(mean: Tensor, covariance: Tensor) -> Tensor:
        root = torch.linalg.cholesky(covariance)
        noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype)
        return mean + noise @ root.mT

    def levels(values: Tensor) -> Tensor:
        """The level whose cell a value lies in, or the outermost one."""
        return values.floor().clamp(0, data.levels - 1).long().view(-1, *data.event_shape)

    rows = showcase(data, columns, sample, complete)
    return bits, error, d + d * (d + 1) // 2, png(rows, data.levels)
