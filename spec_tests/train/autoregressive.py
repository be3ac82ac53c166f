r"""Autoregressive models: the figure is exact, and an image can be completed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from spec_tests.train.family import Family, Trainable

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["AUTOREGRESSIVE", "MODELS"]


def _given(y: Tensor | None) -> tuple[Tensor, ...]:
    """The label as arguments: models without classes need not take one."""
    return () if y is None else (y,)


def _nats(model: Any, x: Tensor, y: Tensor | None) -> Tensor:
    log_prob: Tensor = model.log_prob(x, *_given(y))
    return -log_prob


def _sample(model: Any, n: int, y: Tensor | None, generator: torch.Generator) -> Tensor:
    drawn: Tensor = model.sample(n, *_given(y), generator=generator)
    return drawn


def _complete(
    model: Any, x: Tensor, known: Tensor, y: Tensor | None, generator: torch.Generator
) -> Tensor:
    drawn: Tensor = model.complete(x, known, *_given(y), generator=generator)
    return drawn


AUTOREGRESSIVE = Family(
    loss=lambda model, x, y: _nats(model, x, y).mean(),
    nats=_nats,
    sample=_sample,
    complete=_complete,
)

_TRANSFORMER = {"embed_dim": 48, "num_heads": 4, "hidden": 96, "layers": 3}


def _model(place: str, size: Mapping[str, Any], classes: bool = False) -> Trainable:
    return Trainable(f"reference.autoregressive.{place}", size, AUTOREGRESSIVE, classes)


MODELS = {
    "conditional_pixelcnn": _model(
        "conditional:ConditionalPixelCNN", {"hidden": 24, "head": 64, "layers": 4}, classes=True
    ),
    "diagonal_bilstm": _model(
        "diagonal_bilstm:DiagonalBiLSTM", {"hidden": 28, "head": 64, "layers": 2}
    ),
    "fvbn": _model("fvbn:FullyVisibleBeliefNetwork", {}),  # has no sizes: 1.2 million
    "gated_pixelcnn": _model(
        "gated_pixelcnn:GatedPixelCNN", {"hidden": 24, "head": 64, "layers": 4}
    ),
    "image_transformer": _model(
        "image_transformer:ImageTransformer", {**_TRANSFORMER, "block": 16}
    ),
    "image_transformer_2d": _model(
        "image_transformer:ImageTransformer", {**_TRANSFORMER, "block": [4, 4], "halo": [2, 2]}
    ),
    "made": _model("made:MADE", {"hidden": [27]}),
    "multiscale_pixelcnn": _model(
        "multiscale:MultiscalePixelCNN",
        {"factor": 2, "maps": 8, "hidden": 17, "head": 64, "layers": 4},
    ),
    "nade": _model("nade:NADE", {"hidden": 27}),
    "pixel_transformer": _model("pixel_transformer:PixelTransformer", _TRANSFORMER),
    "pixelcnn": _model("pixelcnn:PixelCNN", {"hidden": 28, "head": 64, "blocks": 5}),
    "pixelcnn_pp": _model(
        "pixelcnn_pp:PixelCNNPlusPlus",
        {"hidden": 13, "components": 5, "blocks": 1, "resolutions": 2},
    ),
    "pixelsnail": _model(
        "pixelsnail:PixelSNAIL",
        {"hidden": 24, "keys": 8, "values": 24, "components": 5, "blocks": 3},
    ),
    "ride": _model(
        "recurrent_mixture:RIDE",
        {"hidden": 70, "kernel": 5, "experts": 16, "scales": 4, "features": 16},
    ),
    "row_lstm": _model("row_lstm:RowLSTM", {"hidden": 26, "head": 64, "layers": 2}),
}
