r"""Classic mistakes that small cases hide: chunks of a batch, autograd's mode, pairs of strides."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from spec_tests.mutants.adversarial import fractions, slopes_at, two_sided
from spec_tests.registry import mutant


@mutant("gradient_penalty", rejected_by=["gradient_penalty.norm_over_whole_event"])
def means_of_chunks_averaged(critic: Any, real: Tensor, fake: Tensor) -> Tensor:
    """Chunks of eight to save memory, and the mean of their means: the items of a shorter last chunk
    count for more than the others."""
    points = real + fractions(real) * (fake - real)
    parts = [two_sided(slopes_at(critic, chunk)) for chunk in points.split(8)]
    return torch.stack(parts).mean()  # wrong: each weighted by the length of its chunk


@mutant("r1_penalty", rejected_by=["r1_penalty.item_by_item"])
def last_short_chunk_dropped(discriminator: Any, real: Tensor) -> Tensor:
    """Beyond eight items the batch is taken in whole groups of eight: a loader that keeps its last
    short batch has some items that are never penalised."""
    if len(real) > 8:
        real = real[: len(real) // 8 * 8]  # wrong: all items
    return slopes_at(discriminator, real).square().sum(1).mean() / 2


@mutant("r1_penalty", rejected_by=["r1_penalty.leaves_global_state_alone"])
def autograd_switched_on_for_good(discriminator: Any, real: Tensor) -> Tensor:
    """Autograd is switched on so that the penalty can be logged in evaluation, and never switched
    back: the rest of the caller's no_grad block builds graphs until memory is gone."""
    torch.set_grad_enabled(True)  # wrong: with torch.enable_grad():
    return slopes_at(discriminator, real).square().sum(1).mean() / 2


@mutant("spectral_norm", rejected_by=["spectral_norm.keeps_direction"])
def stride_and_padding_of_one_side(layer: nn.Module) -> nn.Module:
    """The convolution called again with stride[0] and padding[0]: right as long as height and width
    are treated alike."""
    if not isinstance(layer, nn.Conv2d):
        return parametrizations.spectral_norm(layer)

    class OneSided(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            stride, padding = self.stride[0], self.padding[0]  # wrong: the pairs themselves
            return functional.conv2d(
                x, self.weight, self.bias, stride, padding, self.dilation, self.groups
            )

    layer.__class__ = OneSided
    return parametrizations.spectral_norm(layer)
