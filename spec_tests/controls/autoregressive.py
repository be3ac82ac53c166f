r"""Unusual but right masked convolutions and autoregressive models, which every claim must accept."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from spec_tests.registry import Unsupported, control

# Masked convolutions -----------------------------------------------------------------------------


def _sees_centre(config: Any) -> Tensor:
    """Bool ``(out, in)``: which input channels an output channel sees in its own pixel."""
    n = config.data_channels
    g_in = torch.arange(config.in_channels) // (config.in_channels // n)
    g_out = torch.arange(config.out_channels) // (config.out_channels // n)
    return g_in[None] < g_out[:, None] + (config.mask_type == "B")


def _mask(config: Any) -> Tensor:
    k = config.kernel_size
    flat = torch.zeros(config.out_channels, config.in_channels, k * k)
    flat[..., : k * k // 2] = 1
    flat[..., k * k // 2] = _sees_centre(config).float()
    return flat.view(*flat.shape[:2], k, k)


@control("masked_conv2d")
def two_stacks(config: Any) -> Any:
    """Rows above, the row to the left and the centre are three convolutions, cropped and added: no
    weight is ever masked, as nothing forbidden exists."""
    k = config.kernel_size
    m = k // 2

    class Stacks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            shape = (config.out_channels, config.in_channels)
            self.above = nn.Parameter(torch.randn(*shape, m, k)) if m else None
            self.left = nn.Parameter(torch.randn(*shape, 1, m)) if m else None
            self.centre = nn.Parameter(torch.randn(*shape, 1, 1))
            self.bias = nn.Parameter(torch.randn(config.out_channels))
            self.register_buffer("visible", _sees_centre(config)[:, :, None, None])

        def forward(self, x: Tensor) -> Tensor:
            h, w = x.shape[2:]
            y = F.conv2d(x, self.centre * self.visible, self.bias)
            if m:
                y = y + F.conv2d(F.pad(x, (m, m, m, 0)), self.above)[:, :, :h]
                y = y + F.conv2d(F.pad(x, (m, 0, 0, 0)), self.left)[:, :, :, :w]
            return y

    return Stacks()


class _Masking(nn.Module):
    """``weight * mask`` as a parametrisation."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.mask


@control("masked_conv2d")
def parametrised_weight(config: Any) -> Any:
    """The mask is a parametrisation of a plain ``nn.Conv2d``, whose ``weight`` is already masked."""
    layer = nn.Conv2d(
        config.in_channels, config.out_channels, config.kernel_size,
        padding=config.kernel_size // 2,
    )  # fmt: skip
    parametrize.register_parametrization(layer, "weight", _Masking(_mask(config)))
    return layer


@control("masked_conv2d")
def masked_in_place(config: Any) -> Any:
    """The best-known implementation: every call writes zeros into the weight before it is used, so
    the parameters live in a subspace that the optimiser leaves and the next call restores."""

    class InPlace(nn.Conv2d):
        def __init__(self) -> None:
            k = config.kernel_size
            super().__init__(config.in_channels, config.out_channels, k, padding=k // 2)
            self.register_buffer("mask", _mask(config))

        def forward(self, x: Tensor) -> Tensor:
            self.weight.data *= self.mask
            return super().forward(x)

    return InPlace()


@control("masked_conv2d")
def unfolded_patches(config: Any) -> Any:
    """Patches are cut out first and only the allowed taps exist as weights: no mask, no convolution."""
    k = config.kernel_size

    class Patches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            taps = _mask(config).permute(0, 1, 2, 3).flatten(1).bool()  # (out, in k k)
            self.register_buffer("place", taps.nonzero())
            self.weight = nn.Parameter(torch.randn(int(taps.sum())))
            self.bias = nn.Parameter(torch.randn(config.out_channels))

        def forward(self, x: Tensor) -> Tensor:
            patches = F.unfold(x, k, padding=k // 2)  # (N, in k k, H W)
            full = x.new_zeros(config.out_channels, patches.shape[1])
            full = full.index_put(tuple(self.place.T), self.weight)
            y = torch.einsum("op,npl->nol", full, patches) + self.bias[:, None]
            return y.unflatten(2, x.shape[2:])

    return Patches()


@control("masked_conv2d")
def by_fourier_transform(config: Any) -> Any:
    """Multiplies spectra: what the mask forbids comes out as rounding noise instead of zero."""
    k = config.kernel_size

    class Fourier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            shape = (config.out_channels, config.in_channels, k, k)
            self.weight = nn.Parameter(torch.randn(shape) / k)
            self.bias = nn.Parameter(torch.randn(config.out_channels))
            self.register_buffer("mask", _mask(config))

        def forward(self, x: Tensor) -> Tensor:
            size = [x.shape[2] + k - 1, x.shape[3] + k - 1]
            kernel = (self.weight * self.mask).flip(2, 3)
            spectrum = torch.einsum(
                "oihw,nihw->nohw", torch.fft.rfft2(kernel, s=size), torch.fft.rfft2(x, s=size)
            )
            full = torch.fft.irfft2(spectrum, s=size)
            m = k // 2
            cut = full[:, :, m : m + x.shape[2], m : m + x.shape[3]]
            return cut + self.bias[:, None, None]

    return Fourier()


@control("masked_conv2d")
def without_bias_and_channels_last(config: Any) -> Any:
    """No bias, and a result whose memory runs channels last: the contract asks for neither."""

    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(_mask(config).shape))
            self.register_buffer("mask", _mask(config), persistent=False)

        def forward(self, x: Tensor) -> Tensor:
            weight = self.weight * self.mask
            y = F.conv2d(x, weight, padding=config.kernel_size // 2)
            return y.contiguous(memory_format=torch.channels_last)

    return Bare()


@control("masked_conv2d")
def plain_function_of_shifts(config: Any) -> Any:
    """No module: a closure over fixed weights that adds shifted copies of the image, tap by tap."""
    k, m = config.kernel_size, config.kernel_size // 2
    weight = torch.randn(_mask(config).shape, dtype=torch.float64) * _mask(config)

    def convolve(x: Tensor) -> Tensor:
        h, w = x.shape[2:]
        padded, taps = F.pad(x, (m, m, m, m)), weight.to(x)
        y = x.new_zeros(len(x), config.out_channels, h, w)
        for u in range(k):
            for v in range(k):
                shifted = padded[:, :, u : u + h, v : v + w]
                y = y + torch.einsum("oi,nihw->nohw", taps[:, :, u, v], shifted)
        return y

    return convolve


@control("masked_conv2d", arrays="numpy")
def numpy_loops(config: Any) -> Any:
    """NumPy, pixel by pixel: no autograd, no modes, no parameters that anybody could redraw."""
    m = config.kernel_size // 2
    weight = (torch.randn(_mask(config).shape).double() * _mask(config)).numpy()

    def convolve(x: np.ndarray) -> np.ndarray:
        n, _, h, w = x.shape
        padded = np.pad(x, ((0, 0), (0, 0), (m, m), (m, m)))
        y = np.empty((n, config.out_channels, h, w), x.dtype)
        for r in range(h):
            for c in range(w):
                window = padded[:, :, r : r + 2 * m + 1, c : c + 2 * m + 1]
                y[:, :, r, c] = np.tensordot(window, weight.astype(x.dtype), ((1, 2, 3), (1, 2, 3)))
        return y

    return convolve


# Autoregressive models ---------------------------------------------------------------------------


def _raster(event_shape: tuple[int, ...]) -> Tensor:
    """The flattened indices, first generated first."""
    index = torch.arange(int(np.prod(event_shape))).view(event_shape)
    return index if index.ndim == 1 else index.permute(1, 2, 0).flatten()


class _Dense(nn.Module):
    """One linear layer from the one-hot past to the logits, in the order ``self.turn``."""

    turn: Tensor

    def __init__(self, config: Any, turn: Tensor) -> None:
        super().__init__()
        self.config, self.levels, d = config, config.levels, len(turn)
        self.weight = nn.Parameter(torch.randn(d, self.levels, d, self.levels) / d**0.5)
        self.bias = nn.Parameter(torch.randn(max(config.num_classes, 1), d, self.levels))
        self.register_buffer("turn", turn)

    def seen(self) -> Tensor:
        rank = self.turn.argsort()
        return rank[None, :] < rank[:, None]

    def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        label = torch.zeros(len(x), dtype=torch.long, device=x.device) if y is None else y
        hot = F.one_hot(x.flatten(1), self.levels).to(self.weight.dtype)
        weight = self.weight * self.seen()[:, None, :, None]
        found = torch.einsum("ikjl,njl->nik", weight, hot) + self.bias[label]
        return found.mT.reshape(len(x), self.levels, *x.shape[1:])


@control("autoregressive_model")
def backwards(config: Any) -> Any:
    """Generates the last dimension first and says so, in a method; offers nothing else."""

    class Backwards(_Dense):
        def order(self) -> Tensor:
            return self.turn.clone()

    return Backwards(config, _raster(config.event_shape).flip(0))


@control("autoregressive_model")
def an_order_of_its_own(config: Any) -> Any:
    """Every instance draws an order, keeps it in a buffer, documents it and what it sees."""

    class Shuffled(_Dense):
        @property
        def order(self) -> Tensor:
            return self.turn

        @property
        def receptive_field(self) -> Tensor:
            return self.seen()

        def sample(self, n: int, y: Any = None, generator: Any = None) -> Tensor:
            device = self.bias.device
            x = torch.zeros(n, len(self.turn), dtype=torch.long, device=device)
            noise = torch.rand(
                n, len(self.turn), generator=generator, device=device, dtype=self.bias.dtype
            )  # all of it before the first draw, used by inverting the distribution function
            for i in self.turn.tolist():
                found = self.logits(x.view(n, *self.config.event_shape), y).flatten(2)[:, :, i]
                below = found.softmax(1).cumsum(1)[:, :-1]
                x[:, i] = (below <= noise[:, i : i + 1]).sum(1)
            return x.view(n, *self.config.event_shape)

    return Shuffled(config, torch.randperm(len(_raster(config.event_shape))))


@control("autoregressive_model")
def unnormalised_and_out_of_line(config: Any) -> Any:
    """Logits shifted by a large number of each position, in a memory layout with levels last."""

    class Shifted(_Dense):
        def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            found = super().logits(x, y)
            shift = torch.arange(found[0, 0].numel(), device=x.device).view(found.shape[2:])
            return (found + 5 * shift).movedim(1, -1).contiguous().movedim(-1, 1)

    return Shifted(config, _raster(config.event_shape))


@control("autoregressive_model")
def log_softmax_with_forbidden_levels(config: Any) -> Any:
    """Log-probabilities for logits, and -inf for the level above the one drawn before."""

    class Forbids(_Dense):
        def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            found = super().logits(x, y).flatten(2)  # (N, K, D)
            earlier = x.flatten(1)[:, self.turn].roll(1, 1)
            before = torch.empty_like(earlier)
            before[:, self.turn] = earlier
            banned = F.one_hot((before + 1) % self.levels, self.levels).mT.bool()
            banned[:, :, self.turn[0]] = False
            return (
                found.masked_fill(banned, -torch.inf)
                .log_softmax(1)
                .view(len(x), self.levels, *x.shape[1:])
            )

        def log_prob(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            return self.logits(x, y).gather(1, x[:, None]).flatten(1).sum(1)

        def complete(
            self, x: Tensor, known: Tensor, y: Any = None, generator: Any = None
        ) -> Tensor:
            filled = torch.where(known, x, 0).flatten(1)
            for i in self.turn.tolist():
                if bool(known.flatten()[i]):
                    continue
                found = self.logits(filled.view(x.shape), y).flatten(2)[:, :, i]
                noise = torch.rand(
                    found.shape, generator=generator, device=x.device, dtype=torch.float64
                )
                filled[:, i] = (found - (-noise.log()).log()).argmax(1)  # Gumbel's maximum
            return filled.view(x.shape)

    return Forbids(config, _raster(config.event_shape))


@control("autoregressive_model")
def recurrent_loop(config: Any) -> Any:
    """A recurrent cell run dimension by dimension, sampler and likelihood each with a loop of its own."""
    d, k = len(_raster(config.event_shape)), config.levels

    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.cell = nn.Embedding(k, 6), nn.GRUCell(6, 8)
            self.start = nn.Embedding(max(config.num_classes, 1), 8)
            self.head = nn.Linear(8, k)
            self.register_buffer("turn", _raster(config.event_shape), persistent=False)

        def begin(self, n: int, y: Tensor | None) -> Tensor:
            zeros = torch.zeros(n, dtype=torch.long, device=self.turn.device)
            return self.start(zeros if y is None else y)

        def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            flat, state, columns = x.flatten(1), self.begin(len(x), y), []
            for i in self.turn.tolist():
                columns.append(self.head(state))
                state = self.cell(self.embed(flat[:, i]), state)
            back = self.turn.argsort()
            return torch.stack(columns, 2)[:, :, back].view(len(x), k, *config.event_shape)

        def sample(self, n: int, y: Any = None, generator: Any = None) -> Tensor:
            state = self.begin(n, y)
            flat = torch.zeros(n, d, dtype=torch.long, device=self.turn.device)
            for i in self.turn.tolist():
                p = self.head(state).softmax(1)
                flat[:, i] = torch.multinomial(p, 1, generator=generator)[:, 0]
                state = self.cell(self.embed(flat[:, i]), state)
            return flat.view(n, *config.event_shape)

    return Recurrent()


@control("autoregressive_model")
def convolutional_with_a_blind_spot(config: Any) -> Any:
    """Two small masked convolutions, a blind spot wherever the image is wide, and no word about it."""
    if len(config.event_shape) != 3 or config.num_classes:
        raise Unsupported("images without classes")
    channels = config.event_shape[0]

    class Settings:
        kernel_size, data_channels = 3, channels
        in_channels, out_channels, mask_type = channels, 2 * channels, "A"

    class Head(Settings):
        in_channels, out_channels, mask_type = 2 * channels, channels * config.levels, "B"

    class Blind(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = masked_in_place(Settings), masked_in_place(Head)

        def logits(self, x: Tensor) -> Tensor:
            y = self.last(self.first(x.to(self.first.weight.dtype) - 1).tanh())
            return y.unflatten(1, (channels, config.levels)).transpose(1, 2)

        def log_prob(self, x: Tensor) -> Tensor:
            return -F.cross_entropy(self.logits(x), x, reduction="none").sum((1, 2, 3))

    return Blind()


@control("autoregressive_model")
def window_of_two(config: Any) -> Any:
    """Sees the two dimensions before its own, in vectors alone, and documents exactly that."""
    if len(config.event_shape) != 1:
        raise Unsupported("vectors only")

    class Window(_Dense):
        def seen(self) -> Tensor:
            gap = self.turn[:, None] - self.turn[None, :]
            return (gap > 0) & (gap <= 2)

        def receptive_field(self) -> Tensor:
            return self.seen()

    return Window(config, _raster(config.event_shape))


@control("autoregressive_model")
def table_in_a_plain_object(config: Any) -> Any:
    """No module: a table in single precision for every prefix, filled at construction."""
    turn, k = _raster(config.event_shape), config.levels
    if k ** len(turn) > 2**12:
        raise Unsupported("too many events for a table")

    class Table:
        def __init__(self) -> None:
            count = max(config.num_classes, 1)
            self.rows = [torch.randn(count, k**i, k) for i in range(len(turn))]

        def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            label = torch.zeros(len(x), dtype=torch.long, device=x.device) if y is None else y
            flat, prefix, columns = x.flatten(1), torch.zeros_like(label), []
            for i, at in enumerate(turn.tolist()):
                columns.append(self.rows[i].to(x.device)[label, prefix])
                prefix = prefix * k + flat[:, at]
            back = turn.argsort().tolist()
            return torch.stack([columns[j] for j in back], 2).view(len(x), k, *config.event_shape)

        def log_prob(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            return -F.cross_entropy(self.logits(x, y), x, reduction="none").flatten(1).sum(1)

    return Table()
