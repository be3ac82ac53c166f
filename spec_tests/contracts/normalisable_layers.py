r"""Layers with known singular values, to be normalised, and networks of all sorts, to clip."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

__all__ = ["Patchwork", "as_matrix", "largest", "layers", "networks", "rank_one_layers"]


def _swapped(layer: nn.Module) -> bool:
    """Whether the weight is stored with its input channels first."""
    return isinstance(layer, nn.ConvTranspose2d)


def as_matrix(layer: nn.Module, weight: Tensor) -> Tensor:
    """The weight with one row for each output channel: transposed layers store those second."""
    return (weight.transpose(0, 1) if _swapped(layer) else weight).flatten(1)


def largest(layer: nn.Module, weight: Tensor) -> Tensor:
    """The largest singular value of the weight of ``layer``, in float64."""
    return torch.linalg.matrix_norm(as_matrix(layer, weight).detach().double().cpu(), 2)


def _with_singular_values(layer: nn.Module, values: Tensor, generator: torch.Generator) -> None:
    """Sets the weight to one with these singular values and random singular vectors."""
    matrix = as_matrix(layer, layer.weight.detach())  # type: ignore[arg-type]
    rows, columns = matrix.shape

    def orthonormal(size: int) -> Tensor:
        noise = torch.randn(size, len(values), generator=generator, dtype=torch.float64)
        return torch.linalg.qr(noise).Q

    fresh = orthonormal(rows) * values @ orthonormal(columns).mT
    shape = layer.weight.shape  # type: ignore[union-attr]
    with torch.no_grad():
        if _swapped(layer):
            fresh = fresh.reshape(shape[1], shape[0], *shape[2:]).transpose(0, 1)
        layer.weight.copy_(fresh.reshape(shape))  # type: ignore[operator, union-attr]
        if layer.bias is not None:
            layer.bias.copy_(  # type: ignore[operator, union-attr]
                torch.randn(layer.bias.shape, generator=generator, dtype=torch.float64)
            )


_MAKES: dict[str, tuple[Callable[..., nn.Module], tuple[int, ...]]] = {
    "wide": (lambda bias: nn.Linear(7, 3, bias=bias), (4, 7)),
    "tall": (lambda bias: nn.Linear(2, 5, bias=bias), (4, 2)),
    "one output": (lambda bias: nn.Linear(4, 1, bias=bias), (3, 4)),
    "one input": (lambda bias: nn.Linear(1, 4, bias=bias), (3, 1)),
    "conv": (
        lambda bias: nn.Conv2d(2, 5, (3, 2), stride=(2, 1), padding=(1, 0), bias=bias),
        (3, 2, 5, 4),
    ),
    "grouped": (lambda bias: nn.Conv2d(4, 6, 2, dilation=2, groups=2, bias=bias), (3, 4, 5, 4)),
    "pointwise": (lambda bias: nn.Conv2d(3, 4, 1, bias=bias), (2, 3, 5, 4)),
    "transposed": (
        lambda bias: nn.ConvTranspose2d(
            2, 5, (3, 2), stride=(2, 1), padding=(1, 0), output_padding=(1, 0), bias=bias
        ),
        (3, 2, 4, 3),
    ),
    "transposed, fewer outputs": (
        lambda bias: nn.ConvTranspose2d(6, 2, (2, 3), bias=bias),
        (3, 6, 4, 3),
    ),
}


@st.composite
def layers(draw: st.DrawFn, make: str, gap: float = 0.6) -> dict[str, Any]:
    r"""A layer and a batch for it: the weight's largest singular value stands out by ``gap``.

    Its size is 1e-3, below one, above one, or 1e3; the bias is left out now and then.
    """
    build, shape = _MAKES[make]
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31 - 1)))
    layer = build(draw(st.booleans())).double()
    size = draw(st.sampled_from([1e-3, 0.4, 2.5, 1e3]))
    rank = min(as_matrix(layer, layer.weight.detach()).shape)  # type: ignore[arg-type]
    rest = gap * torch.rand(rank - 1, generator=generator, dtype=torch.float64)
    values = torch.cat([torch.ones(1, dtype=torch.float64), rest])
    if rank > 1 and draw(st.booleans()):
        values[1] = gap
    _with_singular_values(layer, size * values, generator)
    return {"layer": layer, "x": torch.randn(shape, generator=generator, dtype=torch.float64)}


@st.composite
def rank_one_layers(draw: st.DrawFn, make: str) -> dict[str, Any]:
    """A layer whose weight is an outer product (now and then of one output alone), and a batch."""
    build, shape = _MAKES[make]
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31 - 1)))
    layer = build(True).double()
    size = torch.tensor([draw(st.sampled_from([0.01, 0.4, 30.0]))], dtype=torch.float64)
    _with_singular_values(layer, size, generator)
    if draw(st.booleans()):
        with torch.no_grad():  # the other outputs are dead: their singular values are exactly zero
            rows = as_matrix(layer, layer.weight)  # type: ignore[arg-type]
            alone = torch.zeros_like(rows)
            alone[0] = size * rows[0] / rows[0].norm()
            by_output = layer.weight.transpose(0, 1) if _swapped(layer) else layer.weight  # type: ignore
            by_output.copy_(alone.reshape(by_output.shape))  # type: ignore[operator]
    return {"layer": layer, "x": torch.randn(shape, generator=generator, dtype=torch.float64)}


class Patchwork(nn.Module):
    r"""Parameters in every place a module can hold them, and buffers that look like parameters.

    A parameter of its own, one of no dimension, a list, nested layers, batch normalisation, one
    weight that two layers share, and one that is frozen.
    """

    def __init__(self, seed: int, scale: float) -> None:
        super().__init__()
        self.seed, self.scale = seed, scale
        self.own = nn.Parameter(torch.zeros(2, 3))
        self.single = nn.Parameter(torch.zeros(()))
        self.listed = nn.ParameterList([nn.Parameter(torch.zeros(n)) for n in (1, 4)])
        self.nested = nn.Sequential(
            nn.Conv2d(2, 3, 2), nn.Sequential(nn.BatchNorm2d(3), nn.ReLU()), nn.Flatten()
        )
        self.encode, self.decode = nn.Linear(4, 4), nn.Linear(4, 4, bias=False)
        self.decode.weight = self.encode.weight
        self.register_buffer("table", torch.zeros(5))
        self.register_buffer("scratch", torch.zeros(3), persistent=False)
        self.double()
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for tensor in [*self.parameters(), *self.buffers()]:
                if tensor.is_floating_point():
                    noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
                    tensor.copy_(scale * noise)
        self.encode.bias.requires_grad_(False)

    def extra_repr(self) -> str:
        return f"seed={self.seed}, scale={self.scale}"


def networks(make: str) -> st.SearchStrategy[nn.Module]:
    """Modules to be clipped: a patchwork, one layer, a sequence, or one without parameters."""
    scales, seeds = st.sampled_from([0.01, 1.0, 30.0]), st.integers(0, 2**31 - 1)
    if make == "patchwork":
        return st.builds(Patchwork, seeds, scales)
    if make == "empty":
        return st.just(nn.Sequential(nn.ReLU(), nn.Flatten()))

    def build(seed: int, scale: float) -> nn.Module:
        layer = nn.Linear(3, 2).double()
        network = (
            layer if make == "layer" else nn.Sequential(layer, nn.Tanh(), nn.Linear(2, 1)).double()
        )
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for p in network.parameters():
                p.copy_(scale * torch.randn(p.shape, generator=generator, dtype=torch.float64))
        return network

    return st.builds(build, seeds, scales)
