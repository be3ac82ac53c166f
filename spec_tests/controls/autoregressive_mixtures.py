r"""Unusual but right kin of PixelCNN++ and PixelSNAIL, which every claim must accept."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from reference.autoregressive.coupled_channels import coupled_means
from reference.autoregressive.discretized_logistic import discretized_logistic
from reference.autoregressive.levels import scaled_levels
from reference.autoregressive.pixelcnn_pp import PixelCNNPlusPlus
from reference.autoregressive.pixelsnail import PixelSNAIL
from reference.autoregressive.shifted_convolutions import ShiftedConvTranspose2d
from reference.autoregressive.strict_attention import CausalAttentionBlock
from spec_tests.registry import Unsupported, control


def _network(config: Any, kind: type) -> Any:
    if len(config.event_shape) != 3:
        raise Unsupported("images only")
    return kind(config.event_shape, config.levels, config.num_classes, hidden=5)


def _drawn(log_p: Tensor, generator: torch.Generator | None) -> Tensor:
    """One index for each item, from ``(N, K)``."""
    return torch.multinomial(log_p.softmax(1), 1, generator=generator)[:, 0]


@control("autoregressive_model")
def component_drawn_before_the_colours(config: Any) -> Any:
    """The sampler draws a component for each pixel, by the weights of the joint, then its channels from
    that component alone: nothing is reweighted, and the colours are distributed as they should be."""

    class Composed(PixelCNNPlusPlus):
        @torch.no_grad()
        def sample(
            self, n: int, y: Tensor | None = None, generator: torch.Generator | None = None
        ) -> Tensor:
            channels, height, width = self.event_shape
            device = self.last.weight.device
            x = torch.zeros((n, *self.event_shape), dtype=torch.long, device=device)
            every = torch.arange(self.levels, device=device)
            items = torch.arange(n, device=device)
            for r, c in ((r, c) for r in range(height) for c in range(width)):
                log_weights, means, log_scales, coefficients = self.mixture(x, y)
                m = _drawn(log_weights[:, :, r, c], generator)
                for k in range(channels):
                    value = scaled_levels(x, self.levels, means.dtype)
                    centre = coupled_means(value, means, coefficients)[items, m, k, r, c]
                    scale = log_scales[items, m, k, r, c]
                    log_p = discretized_logistic(
                        every, centre[:, None], scale[:, None], self.levels
                    )
                    x[:, k, r, c] = _drawn(log_p, generator)
            return x

    return _network(config, Composed)


@control("autoregressive_model")
def doubled_by_repetition(config: Any) -> Any:
    """Position i reads half i // 2, which knows the past of the first pixel of its block: nothing leaks.
    What it has read differs from the transposed convolution's, so no receptive field is documented."""

    class Repeated(ShiftedConvTranspose2d):
        def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
            wide = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
            return wide[:, :, : size[0], : size[1]]

    network = _network(config, type("Undocumented", (PixelCNNPlusPlus,), {"receptive_field": None}))
    for layer in network.modules():
        if isinstance(layer, ShiftedConvTranspose2d):
            layer.__class__ = Repeated
            layer.spread = nn.Identity()
    return network


@control("autoregressive_model")
def attention_with_a_place_for_nothing(config: Any) -> Any:
    """One key more, whose score is zero and whose value is learnt, comes before all pixels: the first one
    reads it alone, and no softmax is over nothing."""

    class Sink(CausalAttentionBlock):
        def forward(self, f: Tensor, seen: Tensor) -> Tensor:
            f = self.blocks(f)
            offered, asked = torch.cat([seen, f], 1), torch.cat([seen[:, -2:], f], 1)
            query, key, value = (
                part.flatten(2).mT
                for part in (self.query(asked), self.key(offered), self.value(offered))
            )
            nothing = self.nothing.expand(len(f), 1, -1)
            scores = query @ torch.cat([torch.zeros_like(key[:, :1]), key], 1).mT
            later = torch.ones_like(scores, dtype=torch.bool).triu(1)
            weights = scores.masked_fill(later, float("-inf")).softmax(-1)
            found = weights @ torch.cat([nothing, value], 1)
            return self.merge(f, found.mT.reshape(len(f), -1, *f.shape[2:]))

    network = _network(config, PixelSNAIL)
    for layer in network.modules():
        if isinstance(layer, CausalAttentionBlock):
            layer.__class__ = Sink
            layer.nothing = nn.Parameter(torch.randn(layer.value.out_channels))
    return network
