r"""Unusual and right transformers: other places for positions, no softmax, no mask, no matrix."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from spec_tests.registry import control

# Models ------------------------------------------------------------------------------------------


class _Model(nn.Module):
    """Tokens in, logits out; how the positions read each other is a method of its own."""

    width = 8

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config, self.levels = config, config.levels
        index = torch.arange(config.dims).view(config.event_shape)
        turn = index if index.ndim == 1 else index.permute(1, 2, 0).flatten()
        self.register_buffer("turn", turn)
        self.start = nn.Embedding(max(config.num_classes, 1), self.width)
        self.embedding = nn.Embedding(config.levels, self.width)
        self.places = nn.Parameter(torch.randn(config.dims, self.width))
        self.project = nn.ModuleList(nn.Linear(self.width, 3 * self.width) for _ in range(2))
        self.feed = nn.ModuleList(nn.Linear(self.width, self.width) for _ in range(2))
        self.head = nn.Linear(self.width, config.levels)

    def inputs(self, levels: Tensor, y: Tensor | None) -> Tensor:
        label = torch.zeros_like(levels[:, 0]) if y is None else y
        first = self.start(label)[:, None]
        return torch.cat([first, self.embedding(levels)[:, :-1]], 1) + self.places

    def read(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        scores = query @ key.mT / self.width**0.5
        later = torch.ones_like(scores).triu(1).bool()
        return scores.masked_fill(later, -torch.inf).softmax(-1) @ value

    def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        h = self.inputs(x.flatten(1)[:, self.turn], y)
        for project, feed in zip(self.project, self.feed, strict=True):
            h = h + self.read(*project(layer_norm(h, h.shape[-1:])).chunk(3, -1))
            h = h + feed(h).tanh()
        found: Tensor = self.head(h)[:, self.turn.argsort()].mT
        return found.reshape(len(x), self.levels, *x.shape[1:])


@control("autoregressive_model")
def rotary_positions_and_no_others(config: Any) -> Any:
    """No embedding of positions: queries and keys are turned, and how far apart two are is what counts."""

    class Rotary(_Model):
        def inputs(self, levels: Tensor, y: Tensor | None) -> Tensor:
            return super().inputs(levels, y) - self.places

        def turned(self, part: Tensor) -> Tensor:
            steps = torch.arange(part.shape[1], device=part.device, dtype=part.dtype)
            rates = 10.0 ** -torch.arange(self.width // 2, device=part.device, dtype=part.dtype)
            angle = steps[:, None] * rates
            a, b = part.chunk(2, -1)
            return torch.cat(
                [a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1
            )

        def read(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            return super().read(self.turned(query), self.turned(key), value)

    return Rotary(config)


@control("autoregressive_model")
def places_of_the_inputs_after_the_shift(config: Any) -> Any:
    """Each level brings its own place along when it is moved by one, where others are told the place of
    what they predict: the start token has none. A position says nothing about levels either way."""

    class Moved(_Model):
        def inputs(self, levels: Tensor, y: Tensor | None) -> Tensor:
            tokens = super().inputs(levels, y) - self.places
            moved = self.places.roll(1, 0)
            return tokens + torch.cat([torch.zeros_like(moved[:1]), moved[1:]])

    return Moved(config)


@control("autoregressive_model")
def one_position_at_a_time(config: Any) -> Any:
    """No mask and no matrix: a loop over positions keeps keys and values in lists, in training too; the
    sampler draws by the largest of K numbers, each noise of Gumbel's law added."""

    class Loop(_Model):
        def read(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            rows, keys, values = [], [], []
            for q, k, v in zip(*(part.unbind(1) for part in (query, key, value)), strict=True):
                keys.append(k)
                values.append(v)
                scores = torch.stack([(q * past).sum(-1) for past in keys]) / self.width**0.5
                weights = scores.softmax(0)  # (t, N)
                rows.append((weights[..., None] * torch.stack(values)).sum(0))
            return torch.stack(rows, 1)

        def sample(self, n: int, y: Any = None, generator: Any = None) -> Tensor:
            device, shape = self.turn.device, self.config.event_shape
            flat = torch.zeros(n, self.config.dims, dtype=torch.long, device=device)
            with torch.no_grad():
                for at in self.turn.tolist():
                    found = self.logits(flat.view(n, *shape), y).flatten(2)[:, :, at]
                    noise = torch.rand(
                        found.shape, generator=generator, dtype=torch.float64, device=device
                    )
                    flat[:, at] = (found - (-noise.log()).log()).argmax(1)
            return flat.view(n, *shape)

    return Loop(config)


@control("autoregressive_model")
def masked_by_minus_ten_thousand(config: Any) -> Any:
    """A finite mask that no score comes near: e^-10000 is zero in any precision that is judged."""

    class Finite(_Model):
        def read(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            scores = query @ key.mT / self.width**0.5
            return (scores - 1e4 * torch.ones_like(scores).triu(1)).softmax(-1) @ value

    return Finite(config)


@control("autoregressive_model")
def blocks_that_read_one_summary_of_the_past(config: Any) -> Any:
    """Full attention within blocks of three, and of every earlier block the mean of its values alone; the
    field, which is the whole past, is not documented."""

    class Summaries(_Model):
        def read(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            parts = []
            for start in range(0, query.shape[1], 3):
                q, k, v = (part[:, start : start + 3] for part in (query, key, value))
                before = value[:, :start].sum(1, keepdim=True) / max(start, 1)
                parts.append(super().read(q, k, v) + before)
            return torch.cat(parts, 1)

    return Summaries(config)


# Causal self-attention ---------------------------------------------------------------------------


class _Heads(nn.Module):
    """Projections to heads and back."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.heads = config.num_heads
        self.project = nn.Linear(config.embed_dim, 3 * config.embed_dim)
        self.out = nn.Linear(config.embed_dim, config.embed_dim)

    def read(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        parts = self.project(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        found: Tensor = self.out(self.read(*parts).transpose(1, 2).flatten(2))
        return found


@control("causal_self_attention")
def recurrent_linear_attention(config: Any) -> Any:
    """No softmax: weights are products of positive features, so two running sums hold all of the past
    and a step costs the same wherever it is."""

    class Linear(_Heads):
        def read(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            query, key = query.square() + 0.1, key.square() + 0.1
            memory = key.new_zeros(*key.shape[:2], key.shape[-1], value.shape[-1])
            total, rows = torch.zeros_like(key[:, :, 0]), []
            for t in range(query.shape[2]):
                memory = memory + key[:, :, t, :, None] * value[:, :, t, None, :]
                total = total + key[:, :, t]
                above = torch.einsum("nhe,nhev->nhv", query[:, :, t], memory)
                rows.append(above / (query[:, :, t] * total).sum(-1, keepdim=True))
            return torch.stack(rows, 2)

    return Linear(config)


@control("causal_self_attention")
def in_blocks_with_a_running_maximum(config: Any) -> Any:
    """Two keys at a time, as on an accelerator: numerator, denominator and largest score so far."""

    class Online(_Heads):
        def read(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            steps = torch.arange(query.shape[2], device=query.device)
            largest = torch.full_like(query[..., :1], -torch.inf)
            above, below = torch.zeros_like(value), torch.zeros_like(largest)
            for start in range(0, len(steps), 2):
                part = slice(start, start + 2)
                scores = query @ key[:, :, part].mT / query.shape[-1] ** 0.5
                scores = scores.masked_fill(steps[part] > steps[:, None], -torch.inf)
                most = torch.maximum(largest, scores.detach().amax(-1, keepdim=True))
                safe = torch.where(most == -torch.inf, 0.0, most)
                kept, fresh = (largest - safe).exp(), (scores - safe).exp()
                above = kept * above + fresh @ value[:, :, part]
                below = kept * below + fresh.sum(-1, keepdim=True)
                largest = most
            return above / below

    return Online(config)
