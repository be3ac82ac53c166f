r"""Autoregressive models: what masks, caches, blocks and scans cost, and what they save."""

from __future__ import annotations

import copy

import torch
from torch import nn

from spec_tests.bench.timing import peak_megabytes, ratio, seconds

__all__ = ["rows"]

_ATTEND = """
from reference.autoregressive import local_attention, local_blocks_1d
import torch
blocks = local_blocks_1d({0} ** 2, 64)
q, k, v = torch.randn(3, 1, {0} ** 2, 32)
local_attention(q[:, :64], k[:, :64], v[:, :64], local_blocks_1d(64, 64))
"""


def without_masks(model: nn.Module) -> nn.Module:
    """The same network with plain convolutions in place of masked ones."""
    from reference.autoregressive import MaskedConv2d

    plain = copy.deepcopy(model)
    for module in plain.modules():
        if isinstance(module, MaskedConv2d):
            module.forward = nn.Conv2d.forward.__get__(module)  # type: ignore[method-assign]
    return plain


def _likelihood() -> float:
    from reference.autoregressive import PixelCNN

    model = PixelCNN((3, 32, 32), 256, hidden=24, head=48, blocks=5)
    x = torch.randint(256, (8, 3, 32, 32))
    plain = without_masks(model)
    with torch.no_grad():
        return ratio(lambda: model.log_prob(x), lambda: plain.log_prob(x), rounds=10)


@torch.no_grad()
def _speed_of_pixelcnn_cache() -> float:
    from reference.autoregressive import PixelCNN, PixelCNNCache, cached_sample

    model, n = PixelCNN((1, 32, 32), 4, hidden=16, head=32, blocks=5), 8
    x = torch.randint(4, (n, 1, 32, 32))
    cached = seconds(lambda: cached_sample(PixelCNNCache(model, n)), rounds=3)
    return 32 * 32 * seconds(lambda: model.logits(x), rounds=15) / cached


@torch.no_grad()
def _speed_of_gated_cache() -> float:
    from reference.autoregressive import GatedPixelCNN, GatedPixelCNNCache, cached_sample

    model, n = GatedPixelCNN((1, 32, 32), 4), 8
    x = torch.randint(4, (n, 1, 32, 32))
    cached = seconds(lambda: cached_sample(GatedPixelCNNCache(model, n)), rounds=3)
    return 32 * 32 * seconds(lambda: model.logits(x), rounds=15) / cached


@torch.no_grad()
def _speed_of_transformer_cache() -> float:
    from reference.autoregressive import PixelTransformer, transformer_sample

    model, n = PixelTransformer((1, 32, 32), 4), 8
    x = torch.randint(4, (n, 1, 32, 32))
    cached = seconds(lambda: transformer_sample(model, n), rounds=3)
    return 32 * 32 * seconds(lambda: model.logits(x), rounds=5) / cached


def _attended_pairs(side: int) -> int:
    from reference.autoregressive import local_blocks_1d

    return sum(len(q) * len(memory) for q, memory in local_blocks_1d(side**2, 64))


def _scan_steps(height: int, width: int) -> int:
    """How often each cell of a diagonal BiLSTM runs for one likelihood."""
    from reference.autoregressive import ConvLSTMCell, DiagonalBiLSTM

    model = DiagonalBiLSTM((1, height, width), 2, layers=1)
    cell = next(m for m in model.modules() if isinstance(m, ConvLSTMCell))
    calls: list[None] = []
    hook = cell.register_forward_hook(lambda *_: calls.append(None))
    with torch.no_grad():
        model.log_prob(torch.zeros(1, 1, height, width, dtype=torch.long))
    hook.remove()
    return len(calls)


def rows() -> list[tuple[str, str]]:
    """What is compared, and the ratio."""
    sides = (16, 32, 64)
    pairs = [_attended_pairs(side) for side in sides]
    memory = [
        peak_megabytes(_ATTEND.format(side), "local_attention(q, k, v, blocks)") for side in sides
    ]
    steps = ", ".join(f"{h}x{w}: {_scan_steps(h, w)}" for h, w in ((5, 8), (16, 16), (32, 32)))
    return [
        ("PixelCNN log_prob 32x32x3 / without masks", f"{_likelihood():.2f}"),
        ("PixelCNN 32x32 grey, naive / cached sampling", f"{_speed_of_pixelcnn_cache():.0f}"),
        ("gated PixelCNN 32x32 grey, naive / cached", f"{_speed_of_gated_cache():.0f}"),
        ("transformer 32x32 grey, naive / cached", f"{_speed_of_transformer_cache():.0f}"),
        ("local attention, pairs at 16², 32², 64²", ", ".join(map(str, pairs))),
        (
            "  the same, a pixel",
            ", ".join(f"{p / s**2:.0f}" for p, s in zip(pairs, sides, strict=True)),
        ),
        ("  peak memory, MB", ", ".join(f"{m:.1f}" for m in memory)),
        ("diagonal BiLSTM, steps of each scan", steps),
    ]
