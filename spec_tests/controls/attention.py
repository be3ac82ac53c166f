r"""Unusual and right layers of causal self-attention."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from spec_tests.registry import Unsupported, control


class Loop(nn.Module):
    """Head by head and position by position, over the past alone."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.heads, self.width = config.num_heads, config.embed_dim // config.num_heads
        shape = (config.num_heads, config.embed_dim, self.width)
        self.query, self.key, self.value, self.out = (
            nn.Parameter(torch.randn(shape) / config.embed_dim**0.5) for _ in range(4)
        )

    def head(self, x: Tensor, index: int) -> Tensor:
        key, value = x @ self.key[index], x @ self.value[index]
        rows = []
        for t in range(x.shape[1]):
            query = x[:, t : t + 1] @ self.query[index]
            scores = (query @ key[:, : t + 1].mT) / self.width**0.5
            rows.append(scores.softmax(-1) @ value[:, : t + 1])
        return torch.cat(rows, 1)

    def forward(self, x: Tensor) -> Tensor:
        total = torch.zeros_like(x)
        for index in range(self.heads):
            total = total + self.head(x, index) @ self.out[index].T
        return total


@control("causal_self_attention")
def position_by_position(config: Any) -> Any:
    """No mask at all: the future is never offered. No biases; heads are summed, not concatenated."""
    return Loop(config)


class Biased(nn.Module):
    """Shared keys and values, a penalty on distance, and an additive mask kept as a buffer."""

    mask: Tensor

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.heads, self.width = config.num_heads, config.embed_dim // config.num_heads
        self.query = nn.Linear(config.embed_dim, config.embed_dim, bias=False)
        self.shared = nn.Linear(config.embed_dim, 2 * self.width)
        self.out = nn.Linear(config.embed_dim, config.embed_dim)
        places = torch.arange(config.length)
        apart = (places[:, None] - places[None, :]).float()
        self.register_buffer("mask", -0.1 * apart.abs() - 1e9 * (apart < 0))

    def forward(self, x: Tensor) -> Tensor:
        steps = x.shape[1]
        query = self.query(x).unflatten(-1, (self.heads, self.width)).transpose(1, 2)
        key, value = (part[:, None] for part in self.shared(x).chunk(2, -1))
        scores = query @ key.mT * self.width**-0.5 + self.mask[:steps, :steps]
        heads = scores.softmax(-1) @ value
        found: Tensor = self.out(heads.transpose(1, 2).flatten(2))
        return found


@control("causal_self_attention")
def one_key_for_all_heads_and_distance_penalised(config: Any) -> Any:
    """Multi-query attention with ALiBi's linear bias and a finite mask of -1e9."""
    return Biased(config)


class Skip(nn.Module):
    """Queries and keys of unit length and learned sharpness, dropout of none, and a skip connection."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.heads = config.num_heads
        self.project = nn.Linear(config.embed_dim, 3 * config.embed_dim)
        self.out = nn.Linear(config.embed_dim, config.embed_dim)
        self.sharpness = nn.Parameter(torch.ones(config.num_heads))
        self.dropout = nn.Dropout(0.0)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.project(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = parts
        scores = normalize(query, dim=-1) @ normalize(key, dim=-1).mT
        scores = scores * self.sharpness[:, None, None].exp()
        weights = torch.where(torch.ones_like(scores).tril() > 0, scores.exp(), 0.0)
        heads = self.dropout(weights / weights.sum(-1, keepdim=True)) @ value
        found: Tensor = x + self.out(heads.transpose(1, 2).flatten(2))
        return found


@control("causal_self_attention")
def unit_queries_and_a_skip_connection(config: Any) -> Any:
    """Cosine scores, which need no maximum taken off before exp, and the input added to the output."""
    if config.embed_dim == config.num_heads:
        raise Unsupported("a cosine of two numbers is a sign: heads are wider than one")
    return Skip(config)


class Rotary(nn.Module):
    """Queries and keys turned by an angle that grows with the position."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.heads = config.num_heads
        self.attend = nn.Linear(config.embed_dim, 3 * config.embed_dim)
        self.out = nn.Linear(config.embed_dim, config.embed_dim)

    @staticmethod
    def turned(x: Tensor) -> Tensor:
        half = x.shape[-1] // 2
        angle = 0.3 * torch.arange(x.shape[-2], device=x.device).to(x.dtype)[:, None]
        a, b, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
        cos, sin = angle.cos(), angle.sin()
        return torch.cat([a * cos - b * sin, a * sin + b * cos, rest], -1)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.attend(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = self.turned(parts[0]), self.turned(parts[1]), parts[2]
        scores = query @ key.mT / query.shape[-1] ** 0.5
        later = torch.ones_like(scores).triu(1).bool()
        logs = scores.masked_fill(later, -torch.inf)
        weights = (logs - logs.logsumexp(-1, keepdim=True)).exp()
        found: Tensor = self.out((weights @ value).transpose(1, 2).flatten(2))
        return found


@control("causal_self_attention")
def rotary_positions(config: Any) -> Any:
    """Positions enter by rotating queries and keys; weights are exp of a log-softmax."""
    return Rotary(config)
