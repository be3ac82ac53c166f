r"""Unusual but right autoregressive models, of other orders, shapes and habits than the house's own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spec_tests.controls.autoregressive import _Dense, _raster
from spec_tests.registry import Unsupported, control


def _log_prob(found: Tensor, x: Tensor) -> Tensor:
    return -F.cross_entropy(found, x, reduction="none").flatten(1).sum(1)


class _Sampled(_Dense):
    """A right model of any order with every member, each step a pass."""

    @property
    def order(self) -> Tensor:
        return self.turn

    @property
    def receptive_field(self) -> Tensor:
        return self.seen()

    def log_prob(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return _log_prob(self.logits(x, y), x)

    def complete(
        self, x: Tensor, known: Tensor, y: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:  # fmt: skip
        flat = torch.where(known, x, 0).flatten(1)
        for i in self.turn.tolist():
            if not bool(known.flatten()[i]):
                p = self.logits(flat.view(x.shape), y).flatten(2)[:, :, i].softmax(1)
                flat[:, i] = torch.multinomial(p, 1, generator=generator)[:, 0]
        return flat.view(x.shape)

    def sample(
        self, n: int, y: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        shape, device = self.config.event_shape, self.turn.device
        x = torch.zeros((n, *shape), dtype=torch.long, device=device)
        return self.complete(x, torch.zeros(shape, dtype=torch.bool, device=device), y, generator)


@control("autoregressive_model")
def levels_that_cannot_occur(config: Any) -> Any:
    """Some levels are impossible wherever they stand: -inf among the logits, zero among the
    probabilities, and no sample ever holds them."""

    class Impossible(_Sampled):
        def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            found = super().logits(x, y).flatten(2)
            place = torch.arange(found.shape[2], device=x.device)
            banned = torch.arange(self.levels, device=x.device)[:, None] == place % self.levels
            banned = banned & (place % 2 == 0)  # one level of every second dimension
            return found.masked_fill(banned, -torch.inf).view(len(x), -1, *x.shape[1:])

    return Impossible(config, _raster(config.event_shape))


@control("autoregressive_model")
def logits_far_from_zero(config: Any) -> Any:
    """A large offset, other for each dimension and item, is added to all logits of a dimension: no
    probability changes, and the offset of one may come from what precedes it."""

    class Offset(_Sampled):
        def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            found = super().logits(x, y).flatten(2)
            ordered = x.flatten(1)[:, self.turn]
            before = (ordered.cumsum(1) - ordered)[:, self.turn.argsort()]
            offset = 100.0 * before - 300.0 * torch.arange(found.shape[2], device=x.device)
            return (found + offset[:, None]).view(len(x), -1, *x.shape[1:])

    return Offset(config, _raster(config.event_shape))


@control("autoregressive_model")
def last_dimension_first(config: Any) -> Any:
    """Raster order reversed, last channel of the last pixel first, with every member."""
    return _Sampled(config, _raster(config.event_shape).flip(0))


@control("autoregressive_model")
def columns_first_as_documented(config: Any) -> Any:
    """Generates column by column and says so: any order is right if it is the documented one."""
    index = torch.arange(len(_raster(config.event_shape))).view(config.event_shape)
    order = index if index.ndim == 1 else index.permute(2, 1, 0).flatten()
    return _Sampled(config, order)


@control("autoregressive_model")
def dimension_by_dimension(config: Any) -> Any:
    """One small network for each dimension, called in a Python loop on what precedes it alone."""
    turn, k = _raster(config.event_shape), config.levels
    count = max(config.num_classes, 1)

    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleList(
                nn.Sequential(nn.Linear(i * k + count, 5), nn.Tanh(), nn.Linear(5, k))
                for i in range(len(turn))
            )

        def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            real = self.parts[0][0].weight.dtype
            label = torch.zeros(len(x), dtype=torch.long, device=x.device) if y is None else y
            given = [F.one_hot(label, count).to(real)]
            columns: list[Any] = [None] * len(turn)
            for part, i in zip(self.parts, turn.tolist(), strict=True):
                columns[i] = part(torch.cat(given, 1))
                given.append(F.one_hot(x.flatten(1)[:, i], k).to(real))
            return torch.stack(columns, 2).view(len(x), k, *x.shape[1:])

    return Loop()


@control("autoregressive_model")
def recurrent_over_shifted_inputs(config: Any) -> Any:
    """``nn.GRU`` over the sequence shifted by one, a start symbol in front and the class as the first
    state; one head for all dimensions."""
    turn, k = _raster(config.event_shape), config.levels

    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(k + 1, 5)
            self.begin = nn.Embedding(max(config.num_classes, 1), 7)
            self.cell, self.head = nn.GRU(5, 7, batch_first=True), nn.Linear(7, k)
            self.register_buffer("turn", turn)

        def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            label = torch.zeros(len(x), dtype=torch.long, device=x.device) if y is None else y
            shifted = F.pad(x.flatten(1)[:, self.turn][:, :-1], (1, 0), value=k)
            state, _ = self.cell(self.embed(shifted), self.begin(label)[None])
            found = self.head(state).mT[:, :, self.turn.argsort()]
            return found.reshape(len(x), k, *x.shape[1:])

        def receptive_field(self) -> Tensor:
            rank = self.turn.argsort()
            return rank[None, :] < rank[:, None]

        def log_prob(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            return _log_prob(self.logits(x, y), x)

    return Recurrent()


@control("autoregressive_model")
def mixture_with_exact_conditionals(config: Any) -> Any:
    """A mixture of two models of one order: what was seen re-weights the two, so each conditional
    needs the likelihood of its past, and the product is exactly the mixed density."""

    class Mixture(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            turn = _raster(config.event_shape)
            self.parts = nn.ModuleList(_Dense(config, turn) for _ in range(2))
            self.weight = nn.Parameter(torch.randn(2))
            self.register_buffer("turn", turn)

        def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            terms = []
            for part, weight in zip(self.parts, self.weight.log_softmax(0), strict=True):
                log_p = part.logits(x, y).flatten(2).log_softmax(1)  # (N, K, D)
                taken = log_p.gather(1, x.flatten(1)[:, None])[:, 0, self.turn]
                past = F.pad(taken[:, :-1], (1, 0)).cumsum(1)[:, self.turn.argsort()]
                terms.append(log_p + past[:, None] + weight)
            return torch.stack(terms).logsumexp(0).view(len(x), -1, *x.shape[1:])

        def log_prob(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            each = [_log_prob(part.logits(x, y), x) for part in self.parts]
            return (torch.stack(each, 1) + self.weight.log_softmax(0)).logsumexp(1)

        @property
        def receptive_field(self) -> Tensor:
            return self.parts[0].seen()

    return Mixture()


@control("autoregressive_model")
def namespace_of_functions(config: Any) -> Any:
    """No class and no module: functions in a namespace, over a fixed table of pairwise scores; it
    samples by comparing uniforms with the distribution function."""
    turn, k, shape = _raster(config.event_shape), config.levels, config.event_shape
    d, count = len(turn), max(config.num_classes, 1)
    pairs = torch.randn(d, k, d, k, dtype=torch.float64) / d
    single = torch.randn(count, d, k, dtype=torch.float64)
    rank = turn.argsort()
    past = (rank[None, :] < rank[:, None])[:, None, :, None]

    def logits(x: Tensor, y: Tensor | None = None) -> Tensor:
        label = torch.zeros(len(x), dtype=torch.long, device=x.device) if y is None else y
        hot = F.one_hot(x.flatten(1), k).double()
        scores = torch.einsum("ikjl,njl->nki", (pairs * past).to(x.device), hot)
        return (scores + single.to(x.device)[label].mT).view(len(x), k, *shape)

    def sample(n: int, y: Any = None, generator: Any = None) -> Tensor:
        device = generator.device if generator is not None else "cpu"
        x = torch.zeros(n, d, dtype=torch.long, device=device)
        for i in turn.tolist():
            p = logits(x.view(n, *shape), y).flatten(2)[:, :, i].softmax(1).cumsum(1)
            u = torch.rand(n, 1, generator=generator, device=device, dtype=torch.float64)
            x[:, i] = (p[:, :-1] <= u).sum(1)
        return x.view(n, *shape)

    return SimpleNamespace(
        logits=logits,
        log_prob=lambda x, y=None: _log_prob(logits(x, y), x),
        sample=sample,
        order=lambda: turn.clone(),
    )


@control("autoregressive_model")
def completion_that_looks_ahead(config: Any) -> Any:
    """Completes by conditioning on all known entries, also on those that come later, by listing every
    completion: better than ancestral where something later is known, the same behind it."""
    if config.levels ** len(_raster(config.event_shape)) > 2**9 or config.num_classes:
        raise Unsupported("few enough events to list, without classes")

    class Exact(_Sampled):
        def complete(
            self, x: Tensor, known: Tensor, y: Any = None, generator: Any = None
        ) -> Tensor:
            d, shape = len(self.turn), self.config.event_shape
            index = torch.arange(self.levels**d, device=x.device)[:, None]
            powers = self.levels ** torch.arange(d, device=x.device)
            events = index // powers % self.levels  # (K^D, D)
            log_p = self.log_prob(events.view(-1, *shape))
            fits = (events == x.flatten(1)[:, None]) | ~known.flatten()  # (N, K^D, D)
            chance = log_p.masked_fill(~fits.all(2), -torch.inf).softmax(1)
            drawn = torch.multinomial(chance, 1, generator=generator)[:, 0]
            return events[drawn].view(x.shape)

    return Exact(config, _raster(config.event_shape))


@control("autoregressive_model")
def sums_by_subtraction(config: Any) -> Any:
    """The running sum over the past is the sum up to here less the term that stands here: rounding is
    all that is left of it."""
    turn, k = _raster(config.event_shape), config.levels

    class Subtracting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            d = len(turn)
            self.columns = nn.Parameter(torch.randn(d, k, 6) / d**0.5)
            self.start = nn.Parameter(torch.randn(max(config.num_classes, 1), 6))
            self.output = nn.Parameter(torch.randn(d, k, 6))
            self.register_buffer("turn", turn)

        def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            label = torch.zeros(len(x), dtype=torch.long, device=x.device) if y is None else y
            places = torch.arange(x[0].numel(), device=x.device)
            seen = self.columns[places, x.flatten(1)[:, self.turn]]
            held = self.start[label][:, None] + seen.cumsum(1) - seen
            found = torch.einsum("dkh,ndh->nkd", self.output, held.sigmoid())
            return found[:, :, self.turn.argsort()].reshape(len(x), k, *x.shape[1:])

    return Subtracting()


@control("autoregressive_model")
def one_bias_for_all_dimensions(config: Any) -> Any:
    """Weights depend on the distance alone and the bias is shared: fewer parameters, no leak, and the
    class counts as one more level that comes before all others."""
    turn, k = _raster(config.event_shape), config.levels
    d, count = len(turn), max(config.num_classes, 1)

    class Stationary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(d, k, k) / d**0.5)
            self.label = nn.Parameter(torch.randn(count, k))
            self.bias = nn.Parameter(torch.randn(k))
            self.register_buffer("turn", turn)

        def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            known = self.bias if y is None else self.bias + self.label[y]
            hot = F.one_hot(x.flatten(1)[:, self.turn], k).to(self.bias.dtype)
            padded = F.pad(hot, (0, 0, d, 0))[:, :-1]  # (N, 2 D - 1, K)
            windows = padded.unfold(1, d, 1).flip(3)  # (N, D, K, D): one before, two before, ...
            found = torch.einsum("tkl,nilt->nki", self.weight, windows) + known.view(-1, k, 1)
            return found[:, :, self.turn.argsort()].reshape(len(x), k, *x.shape[1:])

    return Stationary()
