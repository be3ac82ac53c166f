r"""Unusual but right gated, multi-scale and cached networks of images."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spec_tests.registry import Unsupported, control


def _noise(*shape: int) -> nn.Parameter:
    weight = torch.randn(shape)
    return nn.Parameter(weight / weight[0].numel() ** 0.5)


class _Pixels(nn.Module):
    """Two stacks over one-hot pixels; rows reach as far as the image is wide, so nothing is missed."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        if len(config.event_shape) != 3:
            raise Unsupported("images only")
        self.config, (c, h, w), k = config, config.event_shape, config.levels
        self.features = f = 5
        self.above = _noise(2 * f, c * k, h, 2 * w - 1)
        self.left = _noise(2 * f, c * k, 1, w)
        self.colours = _noise(c, f, c * k)  # for each colour, from all earlier ones
        self.label = _noise(max(config.num_classes, 1), 2 * f)
        self.head, self.bias = _noise(c, k, f), nn.Parameter(torch.randn(c, k) / 2)

    def hot(self, x: Tensor) -> Tensor:
        """(N, C K, H, W), colour by colour."""
        found = F.one_hot(x, self.config.levels).to(self.bias.dtype)
        return found.movedim(-1, 2).flatten(1, 2)

    def context(self, hot: Tensor, y: Tensor | None) -> Tensor:
        """The gated features of all earlier pixels, (N, F, H, W)."""
        _, h, w = self.config.event_shape
        padded = F.pad(hot, (w - 1, w - 1, h, -1))  # shifted down by a row before it is looked at
        above = F.conv2d(padded, self.above)
        left = F.conv2d(F.pad(hot, (w, -1)), self.left)
        label = self.label[torch.zeros_like(hot[:, 0, 0, 0]).long() if y is None else y]
        f, g = (above + left + label[:, :, None, None]).chunk(2, 1)
        return f.tanh() * g.sigmoid()

    def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        c, k = self.config.event_shape[0], self.config.levels
        hot = self.hot(x)
        context, parts = self.context(hot, y), []
        for i in range(c):
            earlier = torch.einsum("fi,nihw->nfhw", self.colours[i, :, : i * k], hot[:, : i * k])
            found = torch.einsum("kf,nfhw->nkhw", self.head[i], context + earlier.tanh())
            parts.append(found + self.bias[i][:, None, None])
        return torch.stack(parts, 2)


@control("autoregressive_model")
def stack_shifted_before_its_kernel(config: Any) -> Any:
    """The image goes down a row before the vertical kernel sees it, and each colour has a head of its
    own: nothing needs a mask."""

    class Shifted(_Pixels):
        @property
        def receptive_field(self) -> Tensor:
            c, h, w = self.config.event_shape
            index = torch.arange(c * h * w)
            rank = (index % (h * w)) * c + index // (h * w)
            return rank[None] < rank[:, None]

    return Shifted(config)


@control("autoregressive_model")
def rows_sampled_with_a_running_cache(config: Any) -> Any:
    """The sampler keeps what the rows above say, computed once a row, and a sum over the row so far
    that it adds to with every pixel; its draws invert the distribution function."""

    class Running(_Pixels):
        @torch.no_grad()
        def sample(self, n: int, y: Any = None, generator: Any = None) -> Tensor:
            c, h, w = self.config.event_shape
            x = torch.zeros(n, c, h, w, dtype=torch.long, device=self.bias.device)
            label = self.label[torch.zeros_like(x[:, 0, 0, 0]) if y is None else y]
            for row in range(h):
                padded = F.pad(self.hot(x), (w - 1, w - 1, h, -1))
                waiting = F.conv2d(padded, self.above)[:, :, row] + label[:, :, None]
                for column in range(w):
                    f, g = waiting[:, :, column].chunk(2, 1)
                    context = f.tanh() * g.sigmoid()
                    for i in range(c):
                        x[:, i, row, column] = self.drawn(
                            context, x[:, :, row, column], i, generator
                        )
                    pixel = self.hot(x[:, :, row : row + 1, column : column + 1])[:, :, 0, 0]
                    for later in range(column + 1, w):
                        kernel = self.left[:, :, 0, w - (later - column)]
                        waiting[:, :, later] += pixel @ kernel.T
            return x

        def drawn(self, context: Tensor, pixel: Tensor, i: int, generator: Any) -> Tensor:
            k = self.config.levels
            hot = F.one_hot(pixel, k).to(context.dtype).flatten(1)[:, : i * k]
            earlier = (hot @ self.colours[i, :, : i * k].T).tanh()
            p = ((context + earlier) @ self.head[i].T + self.bias[i]).softmax(1)
            u = torch.rand(len(p), 1, generator=generator, device=p.device, dtype=p.dtype)
            return (p.cumsum(1)[:, :-1] <= u).sum(1)

    return Running(config)


@control("autoregressive_model")
def corners_before_the_rest(config: Any) -> Any:
    """Three scales in one dense layer: every fourth row and column, then every second, then all,
    each scale backwards; the order is a method and the only thing that is documented."""
    if len(config.event_shape) != 3:
        raise Unsupported("images only")
    c, h, w = config.event_shape

    def scale(index: int) -> int:
        row, column = divmod(index % (h * w), w)
        return next(s for s, step in enumerate((4, 2, 1)) if not row % step and not column % step)

    class Scales(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            d, k = c * h * w, config.levels
            self.weight = nn.Parameter(torch.randn(d, k, d, k) / (d * k) ** 0.5)
            self.label = _noise(max(config.num_classes, 1), d, k)
            turn = sorted(range(d), key=lambda i: (scale(i), -i))
            self.register_buffer("turn", torch.tensor(turn))

        def order(self) -> Tensor:
            return self.turn

        def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            rank = self.turn.argsort()
            seen = (rank[None] < rank[:, None])[:, None, :, None]
            hot = F.one_hot(x.flatten(1), config.levels).to(self.weight.dtype)
            found = torch.einsum("ikjl,njl->nki", self.weight * seen, hot)
            label = self.label[torch.zeros_like(x[:, 0, 0, 0]) if y is None else y].mT
            return (found + label).reshape(len(x), config.levels, c, h, w)

    return Scales()
