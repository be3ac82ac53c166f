r"""Unusual and right ways to compute the denoising loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from spec_tests.registry import control


@control("denoising_loss")
def mean_squared_error_times_the_dimension(denoiser: Any, clean: Tensor, noise: Tensor) -> Tensor:
    """``mse_loss`` is an average over N and D: D times it is the loss."""
    return clean.shape[1] * functional.mse_loss(denoiser(noise + clean), clean)


@control("denoising_loss")
def one_item_after_the_other(denoiser: Any, clean: Tensor, noise: Tensor) -> Tensor:
    """The denoiser is called with batches of one."""
    total = torch.zeros((), dtype=clean.dtype, device=clean.device)
    for point, added in zip(clean, noise, strict=True):
        error = denoiser((point + added)[None])[0] - point
        total = total + error.dot(error) / len(clean)
    return total


@control("denoising_loss")
def inner_products_of_the_error(denoiser: Any, clean: Tensor, noise: Tensor) -> Tensor:
    """The trace of the error's Gram matrix, by einsum."""
    error = clean - denoiser(torch.add(clean, noise))
    return torch.einsum("nd,nd->", error, error) / len(error)
