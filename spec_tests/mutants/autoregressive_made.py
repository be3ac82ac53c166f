r"""Known-wrong NADEs, MADEs and masked convolutions that only some case brings to light.

Each is a small right network with one method replaced; a leak may wait for a mode, a layer, a class,
a level or the sampler before it shows.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spec_tests.mutants.autoregressive import _Convolution, _mask, _raster
from spec_tests.registry import Unsupported, mutant

_M = "autoregressive_model."
_CAUSAL, _USES = _M + "causality", _M + "uses_the_allowed_past"
_SAMPLER, _ANCESTRAL = _M + "sampler_matches_density", _M + "sampling_is_ancestral"
_GENERATOR = _M + "sampler_uses_its_generator"
_COMPLETION, _RANDOM = _M + "completion_matches_density", _M + "completion_keeps_known_pixels"
_REST = _M + "completion_is_ancestral"


class _Model(nn.Module):
    """What NADE and MADE have in common: all but the logits, which come as ``flat``."""

    turn: Tensor

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config, self.levels = config, config.levels
        self.register_buffer("turn", torch.tensor(self.sequence()))
        self.size = len(self.turn)
        self.classes = max(config.num_classes, 1)

    def sequence(self) -> list[int]:
        """Generated backwards, so that an order forgotten anywhere shows."""
        return _raster(self.config.event_shape)[::-1]

    @property
    def order(self) -> Tensor:
        return self.turn

    @property
    def rank(self) -> Tensor:
        return self.turn.argsort()

    @property
    def receptive_field(self) -> Tensor:
        return self.rank[None, :] < self.rank[:, None]

    def labels(self, x: Tensor, y: Tensor | None) -> Tensor:
        return torch.zeros_like(x.flatten(1)[:, 0]) if y is None else y

    def flat(self, x: Tensor, y: Tensor | None) -> Tensor:
        """``(N, D, K)`` in memory order."""
        raise NotImplementedError

    def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.flat(x, y).mT.reshape(len(x), self.levels, *x.shape[1:])

    def log_prob(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return -F.cross_entropy(self.logits(x, y), x, reduction="none").flatten(1).sum(1)

    def pick(self, found: Tensor, generator: torch.Generator | None, step: int) -> Tensor:
        """One level for each item from logits ``(N, K)``."""
        return torch.multinomial(found.softmax(1), 1, generator=generator)[:, 0]

    def fill(
        self, x: Tensor, known: Tensor, y: Tensor | None, generator: torch.Generator | None
    ) -> Tensor:
        flat, given = torch.where(known, x, 0).flatten(1), known.flatten().tolist()
        for step, i in enumerate(self.turn.tolist()):
            if not given[i]:
                found = self.flat(flat.view(x.shape), y)[:, i]
                flat[:, i] = self.pick(found, generator, step)
        return flat.view(x.shape)

    def nothing(self, n: int) -> tuple[Tensor, Tensor]:
        shape, device = self.config.event_shape, self.turn.device
        x = torch.zeros((n, *shape), dtype=torch.long, device=device)
        return x, torch.zeros(shape, dtype=torch.bool, device=device)

    def sample(
        self, n: int, y: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        return self.fill(*self.nothing(n), y, generator)

    def complete(
        self, x: Tensor, known: Tensor, y: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:  # fmt: skip
        return self.fill(x, known, y, generator)


class _Made(_Model):
    """A right MADE: every degree in every hidden layer, direct connections, one-hot inputs."""

    hidden: tuple[int, ...] = (12, 10)

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        d, k = self.size, self.levels
        sizes = [d * k, *self.hidden, d * k]
        self.weights = nn.ParameterList(torch.randn(n, m) / m**0.5 for m, n in pairwise(sizes))
        self.direct = nn.Parameter(torch.randn(d * k, d * k) / d)
        self.start = nn.Parameter(torch.randn(self.classes, self.hidden[0]))
        self.bias = nn.Parameter(torch.randn(self.classes, d, k))

    def degrees(self, layer: int, size: int) -> Tensor:
        return torch.arange(size, device=self.turn.device) % max(self.size - 1, 1)

    def inputs(self) -> Tensor:
        return self.rank

    def outputs(self) -> Tensor:
        return self.rank

    def inner(self, upper: Tensor, lower: Tensor) -> Tensor:
        return upper[:, None] >= lower[None, :]

    def outer(self, upper: Tensor, lower: Tensor) -> Tensor:
        return upper[:, None] > lower[None, :]

    def beside(self) -> Tensor:
        """The mask of the direct connections."""
        return self.outputs()[:, None] > self.inputs()[None, :]

    def masks(self) -> list[Tensor]:
        levels = [self.inputs(), *(self.degrees(n, size) for n, size in enumerate(self.hidden))]
        masks = [self.inner(u, v) for u, v in zip(levels[1:], levels[:-1], strict=True)]
        masks[0] = masks[0].repeat_interleave(self.levels, 1)
        return [*masks, self.outer(self.outputs(), levels[-1]).repeat_interleave(self.levels, 0)]

    def encoded(self, x: Tensor) -> Tensor:
        return F.one_hot(x.flatten(1), self.levels).flatten(1).to(self.bias.dtype)

    def act(self, h: Tensor, layer: int) -> Tensor:
        return h.tanh()

    def stack(self, hot: Tensor, y: Tensor) -> Tensor:
        """The hidden layers and the output, without direct connections: ``(N, D K)``."""
        h = hot
        for layer, (weight, mask) in enumerate(zip(self.weights, self.masks(), strict=True)):
            a = F.linear(h, weight * mask)
            if layer == len(self.hidden):
                return a
            h = self.act(a + self.start[y] if layer == 0 else a, layer)
        raise AssertionError("there is always an output")

    def flat(self, x: Tensor, y: Tensor | None) -> Tensor:
        label, hot, k = self.labels(x, y), self.encoded(x), self.levels
        beside = self.beside().repeat_interleave(k, 0).repeat_interleave(k, 1)
        found = self.stack(hot, label) + F.linear(hot, self.direct * beside)
        return found.view(len(x), self.size, k) + self.bias[label]


class _Nade(_Model):
    """A right NADE: a running sum of columns, one sigmoid layer shared by all dimensions."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        d, k = self.size, self.levels
        self.columns = nn.Parameter(torch.randn(d, k, 6) / d**0.5)
        self.start = nn.Parameter(torch.randn(self.classes, 6))
        self.output = nn.Parameter(torch.randn(d, k, 6))
        self.bias = nn.Parameter(torch.randn(d, k))

    def held(self, start: Tensor, seen: Tensor) -> Tensor:
        return torch.cat([start[:, None], seen[:, :-1]], 1).cumsum(1)

    def flat(self, x: Tensor, y: Tensor | None) -> Tensor:
        ordered = x.flatten(1)[:, self.turn]
        seen = self.columns[torch.arange(self.size, device=x.device), ordered]
        h = self.held(self.start[self.labels(x, y)], seen).sigmoid()
        found = torch.einsum("dkh,ndh->ndk", self.output, h) + self.bias
        return found[:, self.rank]

    def resumed(self, a: Tensor, t: int, level: Tensor) -> Tensor:
        return a + self.columns[t, level]

    def begun(self, n: int, y: Tensor | None) -> Tensor:
        label = torch.zeros(n, dtype=torch.long, device=self.turn.device) if y is None else y
        return self.start[label]

    @torch.no_grad()
    def sample(
        self, n: int, y: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        a, x = self.begun(n, y), self.nothing(n)[0].flatten(1)
        for t, i in enumerate(self.turn.tolist()):
            x[:, i] = self.pick(a.sigmoid() @ self.output[t].T + self.bias[t], generator, t)
            a = self.resumed(a, t, x[:, i])
        return x.view(n, *self.config.event_shape)


# Masks -------------------------------------------------------------------------------------------


@mutant("autoregressive_model", rejected_by=[_CAUSAL, _M + "normalised"])
def made_outputs_see_their_own_degree(config: Any) -> Any:
    """``>=`` at the output, where the one strict comparison belongs: every input sees itself."""

    class Loose(_Made):
        def outer(self, upper: Tensor, lower: Tensor) -> Tensor:
            return upper[:, None] >= lower[None, :]  # wrong: > at the output

    return Loose(config)


@mutant("autoregressive_model", rejected_by=[_USES])
def made_is_strict_in_every_layer(config: Any) -> Any:
    """A strict comparison in the hidden layers too: each costs another neighbour, and nothing leaks."""

    class Strict(_Made):
        def inner(self, upper: Tensor, lower: Tensor) -> Tensor:
            return upper[:, None] > lower[None, :]  # wrong: >= in hidden layers

        def beside(self) -> Tensor:
            return torch.zeros_like(super().beside())

    return Strict(config)


@mutant("autoregressive_model", rejected_by=[_USES])
def made_misses_the_highest_degree(config: Any) -> Any:
    """Degrees drawn below D - 2, one short: the last dimension never sees the one before it."""

    class Short(_Made):
        def degrees(self, layer: int, size: int) -> Tensor:
            return super().degrees(layer, size).clamp(max=max(self.size - 3, 0))  # wrong: D - 2

        def beside(self) -> Tensor:
            return torch.zeros_like(super().beside())

    return Short(config)


@mutant("autoregressive_model", rejected_by=[_M + "train_and_eval_agree", _M + "repeats_itself"])
def made_draws_its_degrees_anew_in_training(config: Any) -> Any:
    """Connectivity drawn at every call in train mode: the likelihood that is trained has no value."""

    class Anew(_Made):
        def degrees(self, layer: int, size: int) -> Tensor:
            if not self.training:
                return super().degrees(layer, size)
            most = max(self.size - 1, 1)
            return torch.randint(most, (size,), device=self.turn.device)  # wrong: drawn once

    return Anew(config)


@mutant("autoregressive_model", rejected_by=[_M + "repeats_itself"])
def made_takes_the_next_mask_at_every_call(config: Any) -> Any:
    """Cycles through its mask sets by itself: what a call computes depends on the calls before."""

    class Cycles(_Made):
        calls = 0

        def degrees(self, layer: int, size: int) -> Tensor:
            self.calls += 1
            return super().degrees(layer, size).roll(self.calls // 2)  # wrong: the chosen set

    return Cycles(config)


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def made_orders_its_outputs_alone(config: Any) -> Any:
    """The permutation reaches the degrees of the outputs and not those of the inputs."""

    class Half(_Made):
        def inputs(self) -> Tensor:
            return torch.arange(self.size, device=self.turn.device)  # wrong: self.rank

    return Half(config)


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def made_direct_connections_are_not_masked(config: Any) -> Any:
    """The short cut from input to output was added after the masks: every input is its own answer."""

    class Open(_Made):
        def beside(self) -> Tensor:
            return torch.ones_like(super().beside())  # wrong: super().beside()

    return Open(config)


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def made_direct_connections_keep_the_diagonal(config: Any) -> Any:
    """The short cut is masked with ``>=``, as hidden layers are: each level predicts itself."""

    class Diagonal(_Made):
        def beside(self) -> Tensor:
            return self.outputs()[:, None] >= self.inputs()[None, :]  # wrong: >

    return Diagonal(config)


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def made_forgets_the_mask_of_its_third_layer(config: Any) -> Any:
    """Masks were written for two hidden layers; a third mixes all degrees, and only depth shows it."""

    class Deep(_Made):
        hidden = (12, 10, 9)

        def masks(self) -> list[Tensor]:
            masks = super().masks()
            masks[2] = torch.ones_like(masks[2])  # wrong: as the degrees say
            return masks

    return Deep(config)


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def made_adds_a_residual_across_degrees(config: Any) -> Any:
    """A residual between layers whose units have other degrees: it takes a high unit to a low one."""

    class Residual(_Made):
        hidden = (11, 11)

        def degrees(self, layer: int, size: int) -> Tensor:
            found = super().degrees(layer, size)
            return found.flip(0) if layer else found

        def stack(self, hot: Tensor, y: Tensor) -> Tensor:
            first, second, last = (w * m for w, m in zip(self.weights, self.masks(), strict=True))
            h = (F.linear(hot, first) + self.start[y]).tanh()
            return F.linear(h + F.linear(h, second).tanh(), last)  # wrong: without the first h

    return Residual(config)


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def made_leaks_in_train_mode_alone(config: Any) -> Any:
    """Masked weights are cached for evaluation, and training multiplies by no mask."""

    class Cached(_Made):
        def masks(self) -> list[Tensor]:
            masks = super().masks()
            return [torch.ones_like(m) for m in masks] if self.training else masks  # wrong: masks

    return Cached(config)


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def made_masks_are_parameters(config: Any) -> Any:
    """The masks are parameters: the optimiser trains them away with the weights."""

    class Trained(_Made):
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            right = super().masks()
            self.kept = nn.ParameterList(m.to(self.bias.dtype) for m in right)  # wrong: buffers

        def masks(self) -> list[Tensor]:
            return list(self.kept)

    return Trained(config)


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def made_averages_the_logits_of_two_orders(config: Any) -> Any:
    """An ensemble that averages logits: two orders together are no order."""

    class Both(_Made):
        backward = False

        def inputs(self) -> Tensor:
            return self.size - 1 - self.rank if self.backward else self.rank

        def outputs(self) -> Tensor:
            return self.inputs()

        def flat(self, x: Tensor, y: Tensor | None) -> Tensor:
            one = super().flat(x, y)
            self.backward = True
            other = super().flat(x, y)
            self.backward = False
            return (one + other) / 2  # wrong: the mean of their probabilities

    return Both(config)


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def made_label_shifts_the_mask(config: Any) -> Any:
    """The label is put before x, and the mask is not moved with it: each input passes for the one
    before, and only models of classes leak."""

    class Shifted(_Made):
        def inputs(self) -> Tensor:
            if not self.config.num_classes:
                return self.rank
            return (self.rank - 1).clamp(min=0)  # wrong: self.rank, whatever stands before

    return Shifted(config)


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def made_second_class_is_not_masked(config: Any) -> Any:
    """The embedding of a class is multiplied with x ahead of the masks; that of one class is not
    zero in the training that was looked at."""

    class Product(_Made):
        def flat(self, x: Tensor, y: Tensor | None) -> Tensor:
            found = super().flat(x, y)
            if y is None:
                return found
            mixed = F.linear(self.encoded(x), self.direct).view(found.shape)  # wrong: masked
            return found + 0.1 * (y == 1)[:, None, None] * mixed

    return Product(config)


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def made_leaks_a_millionth(config: Any) -> Any:
    """The mask is one part in a million where it should be zero: no sum over events shows it."""

    class Faint(_Made):
        def masks(self) -> list[Tensor]:
            return [m + 1e-6 * (~m) for m in super().masks()]  # wrong: 0 where not m

    return Faint(config)


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def made_leaks_its_brightest_level(config: Any) -> Any:
    """Saturated inputs are treated apart, by a path without a mask: level K - 1 gives itself away."""

    class Bright(_Made):
        def flat(self, x: Tensor, y: Tensor | None) -> Tensor:
            saturated = (x.flatten(1) == self.levels - 1).to(self.bias.dtype)
            found = super().flat(x, y)
            return found + 0.3 * saturated[:, :, None] * self.bias[0]  # wrong: found

    return Bright(config)


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def made_tells_the_first_by_the_last(config: Any) -> Any:
    """One forbidden pair in a long event: the last dimension enters the first one's logits."""

    class Ends(_Made):
        def beside(self) -> Tensor:
            mask = super().beside()
            mask[self.turn[0], self.turn[-1]] = self.size > 1  # wrong: False
            return mask

    return Ends(config)


@mutant("autoregressive_model", rejected_by=[_USES])
def made_last_forgets_the_first(config: Any) -> Any:
    """One missing pair in a documented full past: a window one dimension too short."""

    class Window(_Made):
        def masks(self) -> list[Tensor]:
            return [torch.zeros_like(m) for m in super().masks()]

        def beside(self) -> Tensor:
            mask = super().beside()
            mask[self.turn[-1], self.turn[0]] = False  # wrong: True
            return mask

    return Window(config)


@mutant("autoregressive_model", rejected_by=[_USES])
def made_documents_one_dependence_too_few(config: Any) -> Any:
    """The documented receptive field leaves one pair out that the network uses."""

    class Modest(_Made):
        @property
        def receptive_field(self) -> Tensor:
            field = super().receptive_field.clone()
            field[self.turn[-1], self.turn[0]] = False  # wrong: True: it is used
            return field

    return Modest(config)


@mutant("autoregressive_model", rejected_by=[_CAUSAL, _M + "normalised"])
def made_levels_viewed_as_dimensions(config: Any) -> Any:
    """``(N, D, K)`` viewed as ``(N, K, D)`` instead of transposed: dimensions become levels."""

    class Viewed(_Made):
        def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            return self.flat(x, y).reshape(len(x), self.levels, *x.shape[1:])  # wrong: flat.mT

    return Viewed(config)


@mutant("autoregressive_model", rejected_by=[_M + "item_by_item", _M + "train_and_eval_agree"])
def made_normalises_over_its_batch(config: Any) -> Any:
    """Batch normalisation between the layers: in training an item is coded by its company."""

    class Batch(_Made):
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.norm = nn.BatchNorm1d(self.hidden[0])

        def act(self, h: Tensor, layer: int) -> Tensor:
            if layer == 0 and len(h) > 1:
                h = self.norm(h)  # wrong: nothing of the other items
            return h.tanh()

    return Batch(config)


@mutant("autoregressive_model", rejected_by=[_M + "keeps_double_precision"])
def made_computes_in_single_precision(config: Any) -> Any:
    """A float32 one-hot sets the precision of the first layer, and a cast hides it at the end."""

    class Single(_Made):
        def stack(self, hot: Tensor, y: Tensor) -> Tensor:
            masked = [w.float() * m for w, m in zip(self.weights, self.masks(), strict=True)]
            h = (F.linear(hot.float(), masked[0]) + self.start[y].float()).tanh()  # wrong: double
            for weight in masked[1:-1]:
                h = F.linear(h, weight).tanh()
            return F.linear(h, masked[-1]).to(hot.dtype)

    return Single(config)


# The recurrence ----------------------------------------------------------------------------------


@mutant("autoregressive_model", rejected_by=[_CAUSAL, _M + "normalised"])
def nade_adds_the_column_before_it_predicts(config: Any) -> Any:
    """The two lines of the loop swapped: each dimension is predicted from itself."""

    class Early(_Nade):
        def held(self, start: Tensor, seen: Tensor) -> Tensor:
            return start[:, None] + seen.cumsum(1)  # wrong: without x_i's column

    return Early(config)


@mutant("autoregressive_model", rejected_by=[_USES])
def nade_replaces_where_it_should_add(config: Any) -> Any:
    """``a = c + W_x`` in place of ``a += W_x``: a memory of one dimension, and no leak."""

    class Short(_Nade):
        def held(self, start: Tensor, seen: Tensor) -> Tensor:
            before = torch.cat([torch.zeros_like(seen[:, :1]), seen[:, :-1]], 1)
            return start[:, None] + before  # wrong: before.cumsum(1)

    return Short(config)


@mutant("autoregressive_model", rejected_by=[_SAMPLER])
def nade_sampler_adds_the_wrong_column(config: Any) -> Any:
    """The cached sampler takes the column of level 0 of whatever was drawn: it remembers nothing."""

    class Blind(_Nade):
        def resumed(self, a: Tensor, t: int, level: Tensor) -> Tensor:
            return super().resumed(a, t, torch.zeros_like(level))  # wrong: level

    return Blind(config)


@mutant("autoregressive_model", rejected_by=[_SAMPLER, _ANCESTRAL])
def nade_sampler_takes_columns_in_memory_order(config: Any) -> Any:
    """The cached sampler forgets that columns are stored in the order of generation."""

    class Memory(_Nade):
        def resumed(self, a: Tensor, t: int, level: Tensor) -> Tensor:
            return super().resumed(a, int(self.turn[t]), level)  # wrong: t

    return Memory(config)


@mutant("autoregressive_model", rejected_by=[_GENERATOR])
def nade_sampler_goes_on_from_the_last_call(config: Any) -> Any:
    """The cache is not reset: a second sample begins with what the first one ended with."""

    class Stale(_Nade):
        left: Tensor | None = None

        def begun(self, n: int, y: Tensor | None) -> Tensor:
            fresh = super().begun(n, y)
            if self.left is None or self.left.shape != fresh.shape:
                return fresh
            return self.left  # wrong: fresh, at every call

        def resumed(self, a: Tensor, t: int, level: Tensor) -> Tensor:
            self.left = super().resumed(a, t, level)
            return self.left

    return Stale(config)


@mutant("autoregressive_model", rejected_by=[_SAMPLER])
def nade_sampler_starts_from_class_zero(config: Any) -> Any:
    """The cache starts from the first row of the class biases, whatever class is asked for."""
    if not config.num_classes:
        raise Unsupported("only wrong with classes")

    class First(_Nade):
        def begun(self, n: int, y: Tensor | None) -> Tensor:
            return super().begun(n, None)  # wrong: y

    return First(config)


# Samplers ----------------------------------------------------------------------------------------


@mutant("autoregressive_model", rejected_by=[_SAMPLER])
def sampler_takes_the_best_last_level(config: Any) -> Any:
    """The last dimension is decided, not drawn: the loop ends one early and an argmax finishes it."""

    class Decided(_Made):
        def pick(self, found: Tensor, generator: torch.Generator | None, step: int) -> Tensor:
            drawn = super().pick(found, generator, step)
            return found.argmax(1) if step == self.size - 1 else drawn  # wrong: drawn

    return Decided(config)


@mutant("autoregressive_model", rejected_by=[_M + "samples_are_independent"])
def sampler_fills_an_odd_place_by_a_copy(config: Any) -> Any:
    """Samples are drawn in pairs, and the last of an odd number is the one before it once more."""

    class Paired(_Made):
        def sample(self, n: int, y: Any = None, generator: Any = None) -> Tensor:
            found = super().sample(n, y, generator)
            if n % 2 and n > 1:
                found[-1] = found[-2]  # wrong: a draw of its own
            return found

    return Paired(config)


@mutant("autoregressive_model", rejected_by=[_SAMPLER])
def sampler_at_a_temperature(config: Any) -> Any:
    """Logits are divided by 0.8, left over from making pictures: likely events come too often."""

    class Sharpened(_Made):
        def pick(self, found: Tensor, generator: torch.Generator | None, step: int) -> Tensor:
            return super().pick(found / 0.8, generator, step)  # wrong: found

    return Sharpened(config)


@mutant("autoregressive_model", rejected_by=[_GENERATOR])
def sampler_that_seeds_where_no_generator_is_given(config: Any) -> Any:
    """A default seed for reproducible pictures: every later draw of the program is the same."""

    class Seeded(_Made):
        def sample(self, n: int, y: Any = None, generator: Any = None) -> Tensor:
            if generator is None:
                torch.manual_seed(0)  # wrong: leave the global generator
            return super().sample(n, y, generator)

    return Seeded(config)


@mutant("autoregressive_model", rejected_by=[_SAMPLER])
def sampler_reuses_one_uniform(config: Any) -> Any:
    """One uniform number for an item serves all its dimensions: high levels follow high levels."""

    class Reused(_Made):
        def sample(self, n: int, y: Any = None, generator: Any = None) -> Tensor:
            self.drawn = torch.rand(
                n, generator=generator, device=self.turn.device, dtype=self.bias.dtype
            )
            return super().sample(n, y, generator)

        def complete(self, *given: Any, **named: Any) -> Tensor:
            raise Unsupported("samples only")

        def pick(self, found: Tensor, generator: torch.Generator | None, step: int) -> Tensor:
            below = found.softmax(1).cumsum(1)[:, :-1]
            return (below <= self.drawn[:, None]).sum(1)  # wrong: a fresh one a step

    return Reused(config)


@mutant("autoregressive_model", rejected_by=[_SAMPLER, _ANCESTRAL])
def sampler_alone_is_not_masked(config: Any) -> Any:
    """Sampling runs a fast path without masks: the zeros that stand for the future are believed."""

    class Fast(_Made):
        fast = False

        def masks(self) -> list[Tensor]:
            masks = super().masks()
            return [torch.ones_like(m) for m in masks] if self.fast else masks  # wrong: masks

        def sample(self, n: int, y: Any = None, generator: Any = None) -> Tensor:
            self.fast = True
            found = super().sample(n, y, generator)
            self.fast = False
            return found

    return Fast(config)


@mutant("autoregressive_model", rejected_by=[_GENERATOR])
def sampler_passes_the_generator_once(config: Any) -> Any:
    """The generator reaches the first draw, and all others come from the global one."""

    class Once(_Made):
        def pick(self, found: Tensor, generator: torch.Generator | None, step: int) -> Tensor:
            return super().pick(found, None if step else generator, step)  # wrong: generator

    return Once(config)


@mutant("autoregressive_model", rejected_by=[_SAMPLER])
def sampler_returns_the_order_of_generation(config: Any) -> Any:
    """Draws are put side by side as they come, and never back into their places."""

    class Unplaced(_Made):
        def sample(self, n: int, y: Any = None, generator: Any = None) -> Tensor:
            found = super().sample(n, y, generator)
            return found.flatten(1)[:, self.turn].view(found.shape)  # wrong: found

    return Unplaced(config)


# Completions -------------------------------------------------------------------------------------


@mutant("autoregressive_model", rejected_by=[_COMPLETION])
def completion_goes_in_raster_order(config: Any) -> Any:
    """Holes are filled from the top left, whatever order the model was trained for."""

    class Raster(_Made):
        def complete(
            self, x: Tensor, known: Tensor, y: Any = None, generator: Any = None
        ) -> Tensor:
            flat, given = torch.where(known, x, 0).flatten(1), known.flatten().tolist()
            for i in _raster(self.config.event_shape):  # wrong: self.turn
                if not given[i]:
                    found = self.flat(flat.view(x.shape), y)[:, i]
                    flat[:, i] = self.pick(found, generator, 0)
            return flat.view(x.shape)

    return Raster(config)


@mutant("autoregressive_model", rejected_by=[_REST])
def completion_ignores_the_label(config: Any) -> Any:
    """Completes every image as one of class 0."""

    class Unlabelled(_Made):
        def complete(
            self, x: Tensor, known: Tensor, y: Any = None, generator: Any = None
        ) -> Tensor:
            return super().complete(x, known, None, generator)  # wrong: y

    return Unlabelled(config)


@mutant("autoregressive_model", rejected_by=[_REST])
def completion_pastes_what_is_scattered(config: Any) -> Any:
    """Known entries count up to the first hole; later ones are pasted over what was drawn there, and
    what follows them was drawn for other neighbours."""

    class Pastes(_Made):
        def complete(
            self, x: Tensor, known: Tensor, y: Any = None, generator: Any = None
        ) -> Tensor:
            prefix = torch.zeros_like(known.flatten())
            prefix[self.turn] = known.flatten()[self.turn].long().cumprod(0).bool()
            drawn = super().complete(x, prefix.view(known.shape), y, generator)  # wrong: known
            return torch.where(known, x, drawn)

    return Pastes(config)


@mutant("autoregressive_model", rejected_by=[_REST])
def completion_hides_known_entries_among_holes(config: Any) -> Any:
    """The cache is not told of known entries: it steps over them as if nothing stood there."""

    class Skips(_Made):
        def complete(
            self, x: Tensor, known: Tensor, y: Any = None, generator: Any = None
        ) -> Tensor:
            flat, given = torch.zeros_like(x).flatten(1), known.flatten().tolist()
            begun = False
            for i in self.turn.tolist():
                if given[i]:
                    flat[:, i] = flat[:, i] if begun else x.flatten(1)[:, i]  # wrong: x
                    continue
                begun = True
                found = self.flat(flat.view(x.shape), y)[:, i]
                flat[:, i] = self.pick(found, generator, 0)
            return torch.where(known, x, flat.view(x.shape))

    return Skips(config)


@mutant("autoregressive_model", rejected_by=[_COMPLETION])
def completion_draws_once_for_the_batch(config: Any) -> Any:
    """One random number a step for the whole batch: equal beginnings get equal ends."""

    class Shared(_Made):
        def complete(
            self, x: Tensor, known: Tensor, y: Any = None, generator: Any = None
        ) -> Tensor:
            self.shared = True
            found = super().complete(x, known, y, generator)
            self.shared = False
            return found

        def pick(self, found: Tensor, generator: torch.Generator | None, step: int) -> Tensor:
            if not getattr(self, "shared", False):
                return super().pick(found, generator, step)
            u = found.new_empty(1).uniform_(generator=generator)  # wrong: one for each item, (N, 1)
            return (found.softmax(1).cumsum(1)[:, :-1] <= u).sum(1)

    return Shared(config)


@mutant("autoregressive_model", rejected_by=[_REST])
def completion_of_the_first_items_beginning(config: Any) -> Any:
    """The first image's known entries are broadcast over the batch; each item's own are pasted in at
    the end, and the rest continues another image."""

    class First(_Made):
        def complete(
            self, x: Tensor, known: Tensor, y: Any = None, generator: Any = None
        ) -> Tensor:
            drawn = super().complete(x[:1].expand(x.shape), known, y, generator)  # wrong: x
            return torch.where(known, x, drawn)

    return First(config)


@mutant("autoregressive_model", rejected_by=[_REST])
def completion_of_nothing_is_noise(config: Any) -> Any:
    """Without a known entry the loop has nothing to start from, and its uniform initial values are
    returned."""

    class Noise(_Made):
        def complete(
            self, x: Tensor, known: Tensor, y: Any = None, generator: Any = None
        ) -> Tensor:
            if bool(known.any()):
                return super().complete(x, known, y, generator)
            noise = torch.randint(self.levels, x.shape, generator=generator, device=x.device)
            return noise  # wrong: a sample of the model

    return Noise(config)


# Masked convolutions -----------------------------------------------------------------------------

_SEES = "masked_conv2d.causality"


@mutant("masked_conv2d", rejected_by=[_SEES])
def convolution_with_a_residual(config: Any) -> Any:
    """The input is added to the output where the channels allow it: type A is undone from outside."""

    class Residual(_Convolution):
        def forward(self, x: Tensor) -> Tensor:
            y = super().forward(x)
            return y + x if x.shape == y.shape else y  # wrong: y

    return Residual(config)


@mutant("masked_conv2d", rejected_by=[_SEES, "masked_conv2d.train_and_eval_agree"])
def convolution_unmasked_in_evaluation(config: Any) -> Any:
    """The mask is applied in training, and evaluation trusts the weights to have stayed masked."""

    class Trusting(_Convolution):
        def effective(self) -> Tensor:
            return self.weight * self.mask if self.training else self.weight  # wrong: always masked

    return Trusting(config)


@mutant("masked_conv2d", rejected_by=[_SEES])
def blue_alone_sees_itself(config: Any) -> Any:
    """The loop over colours ends one early: in type A the last of the three keeps its own channel."""
    mask, c, n = _mask(config), config.kernel_size // 2, config.data_channels
    if n == 3:
        mask[-config.out_channels // n :, -config.in_channels // n :, c, c] = 1  # wrong: 0
    return _Convolution(config, mask)


@mutant("masked_conv2d", rejected_by=[_SEES])
def convolution_leaks_a_billionth(config: Any) -> Any:
    """Forbidden weights are scaled by 1e-9 instead of removed, far below what a loss can show."""
    mask = _mask(config)
    return _Convolution(config, (mask + 1e-9 * (1 - mask)).double())  # wrong: mask


@mutant("masked_conv2d", rejected_by=["masked_conv2d.uses_the_allowed_past"])
def wide_kernels_lose_their_edge(config: Any) -> Any:
    """The mask of three columns is reused for wider kernels: what they reach beyond is zero."""
    mask, c = _mask(config), config.kernel_size // 2
    mask[..., : max(c - 1, 0)] = 0  # wrong: past, and seen
    return _Convolution(config, mask)


@mutant("masked_conv2d", rejected_by=["masked_conv2d.item_by_item"])
def convolution_pads_with_the_batch(config: Any) -> Any:
    """The border is filled with the mean border of the batch: alone an image is another image."""

    class Bordered(_Convolution):
        def forward(self, x: Tensor) -> Tensor:
            others = x[:, :, :1, :1].mean(0, keepdim=True) - x[:, :, :1, :1]
            m = self.config.kernel_size // 2
            frame = F.pad(torch.zeros_like(x), (m, m, m, m), value=1.0)
            wide = F.pad(x, (m, m, m, m)) + frame * others  # wrong: zeros around x
            return F.conv2d(wide, self.effective(), self.bias)

    return Bordered(config)


# Theory ------------------------------------------------------------------------------------------


@mutant("theory", rejected_by=["theory.made_masks"])
def mask_products_with_a_diagonal(pieces: Any) -> Any:
    """``>=`` at the output: the product of the masks is triangular with a full diagonal."""

    def masks(degrees: Any) -> list[Tensor]:
        inner = [upper[:, None] >= lower for lower, upper in pairwise(degrees)]
        return [*inner, degrees[0][:, None] >= degrees[-1]]  # wrong: >

    pieces.made_masks = masks
    return pieces


@mutant("theory", rejected_by=["theory.made_masks"])
def mask_products_that_miss_a_neighbour(pieces: Any) -> Any:
    """A strict comparison in the hidden layers: triangular, and never full however many units there are."""

    def masks(degrees: Any) -> list[Tensor]:
        inner = [upper[:, None] > lower for lower, upper in pairwise(degrees)]  # wrong: >=
        return [*inner, degrees[0][:, None] > degrees[-1]]

    pieces.made_masks = masks
    return pieces


@mutant("theory", rejected_by=["theory.made_masks"])
def masks_from_output_to_input(pieces: Any) -> Any:
    """Masks made (from, to) for weights that are (to, from): square layers hide the mistake."""
    right = pieces.made_masks
    pieces.made_masks = lambda degrees: [mask.mT for mask in right(degrees)]  # wrong: mask
    return pieces


@mutant("theory", rejected_by=["theory.made_with_fixed_order_reaches_every_past"])
def degrees_end_one_too_low(pieces: Any) -> Any:
    """The exclusive bound of ``randint`` taken for an inclusive one: degree D - 2 never occurs."""
    right = pieces.made_degrees

    def low(rank: Tensor, hidden: Any, generator: Any = None) -> list[Tensor]:
        most = max(len(rank) - 3, 0)  # wrong: D - 2
        return [rank, *(m.clamp(max=most) for m in right(rank, hidden, generator)[1:])]

    pieces.made_degrees = low
    return pieces


@mutant("theory", rejected_by=["theory.made_with_fixed_order_reaches_every_past"])
def degrees_below_every_input(pieces: Any) -> Any:
    """Each layer draws from all degrees, whatever the layer below holds: units without any input."""

    def careless(rank: Tensor, hidden: Any, generator: Any = None) -> list[Tensor]:
        most = max(len(rank) - 1, 1)
        least = 0  # wrong: the least degree of the layer below
        drawn = [torch.randint(least, most, (n,), generator=generator) for n in hidden]
        return [rank, *drawn]

    pieces.made_degrees = careless
    return pieces


@mutant("theory", rejected_by=["theory.made_with_fixed_order_reaches_every_past"])
def field_taken_for_the_whole_past(pieces: Any) -> Any:
    """Believes that a MADE of any size sees its whole past."""

    def whole(degrees: Any, direct: bool = False) -> Tensor:
        return degrees[0][:, None] > degrees[0]  # wrong: the masks' product

    pieces.made_receptive_field = whole
    return pieces


@mutant("theory", rejected_by=["theory.made_orders_share_weights"])
def ensemble_averages_log_probabilities(pieces: Any) -> Any:
    """The mean of the logs: a geometric mean, whose sum over all events falls short of one."""
    right = pieces.MADE

    class Geometric(right):  # type: ignore[misc, valid-type]
        def ensemble_log_prob(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            found = [self._logits(x, y, index) for index in range(self.num_masks)]
            cost = [F.cross_entropy(each, x, reduction="none") for each in found]
            return -torch.stack(cost).mean(0).flatten(1).sum(1)  # wrong: logsumexp - log M of log p

    pieces.MADE = Geometric
    return pieces


@mutant("theory", rejected_by=["theory.made_orders_share_weights"])
def every_mask_set_is_the_first(pieces: Any) -> Any:
    """The chosen set is documented and not used: all orders have one density, that of the first."""
    right = pieces.MADE

    class First(right):  # type: ignore[misc, valid-type]
        def _logits(self, x: Tensor, y: Tensor | None, mask_set: int) -> Tensor:
            return super()._logits(x, y, 0)  # wrong: mask_set

    pieces.MADE = First
    return pieces


@mutant("theory", rejected_by=["theory.made_orders_share_weights"])
def every_mask_set_has_a_bias(pieces: Any) -> Any:
    """A bias of its own for each set of masks: several models in one, not one in several orders."""
    right = pieces.MADE

    class Biased(right):  # type: ignore[misc, valid-type]
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            self.own = nn.Parameter(torch.zeros(self.num_masks, self.levels))

        def _logits(self, x: Tensor, y: Tensor | None, mask_set: int) -> Tensor:
            found = super()._logits(x, y, mask_set)
            own = self.own[mask_set]
            return found + own.view(-1, *[1] * (found.ndim - 2))  # wrong: found

    pieces.MADE = Biased
    return pieces


@mutant("theory", rejected_by=["theory.nade_linear_cost", "theory.features_see_only_the_past"])
def recurrence_includes_the_current_column(pieces: Any) -> Any:
    """a_i holds the column of x_i: the hidden units of a dimension have seen it."""

    def inclusive(start: Tensor, columns: Tensor) -> Tensor:
        return start[:, None] + columns.cumsum(1)  # wrong: columns before it

    network = pieces.NADE

    class Inclusive(network):  # type: ignore[misc, valid-type]
        def features(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            ordered = x.flatten(1)[:, self.order]
            seen = self.columns[torch.arange(ordered.shape[1]), ordered]
            label = torch.zeros(len(x), dtype=torch.long) if y is None else y
            hidden = inclusive(self.start[label], seen).sigmoid()[:, self.order.argsort()]
            return hidden.mT.reshape(len(x), -1, *self.event_shape)

    pieces.nade_activations, pieces.NADE = inclusive, Inclusive
    return pieces


@mutant("theory", rejected_by=["theory.nade_linear_cost"])
def recurrence_detaches_its_past(pieces: Any) -> Any:
    """The running sum is detached at every step, as in truncated training: right values, and
    gradients that know the last column alone."""

    def truncated(start: Tensor, columns: Tensor) -> Tensor:
        held = [start]
        for column in columns[:, :-1].unbind(1):
            held.append(held[-1].detach() + column)  # wrong: with its gradient
        return torch.stack(held, 1)

    pieces.nade_activations = truncated
    return pieces


@mutant("theory", rejected_by=["theory.nade_linear_cost"])
def nade_by_a_triangular_product(pieces: Any) -> Any:
    """The sums over the past as a product with a triangular matrix: the right numbers, in O(HD^2)."""
    right = pieces.NADE

    class Quadratic(right):  # type: ignore[misc, valid-type]
        def features(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            ordered = x.flatten(1)[:, self.order]
            d = ordered.shape[1]
            seen = self.columns[torch.arange(d), ordered]  # (N, D, H)
            past = torch.ones(d, d, dtype=seen.dtype).tril(-1)
            label = torch.zeros(len(x), dtype=torch.long) if y is None else y
            hidden = (self.start[label][:, None] + past @ seen).sigmoid()  # wrong: a running sum
            return hidden[:, self.order.argsort()].mT.reshape(len(x), -1, *self.event_shape)

    pieces.NADE = Quadratic
    return pieces


@mutant("theory", rejected_by=["theory.nade_sampler_is_naive"])
def cached_sampler_starts_over(pieces: Any) -> Any:
    """The naive sampler under the name of the cached one: the same draws, at quadratic cost."""

    def naive(network: Any, n: int, y: Any = None, generator: Any = None) -> Any:
        return network.sample(n, y, generator)  # wrong: one sum, resumed after each draw

    pieces.nade_sample = naive
    return pieces


@mutant("theory", rejected_by=["theory.nade_sampler_is_naive"])
def cached_sampler_skips_known_entries(pieces: Any) -> Any:
    """A known entry needs no draw, and its column is forgotten with it."""

    @torch.no_grad()
    def skips(network: Any, x: Tensor, known: Tensor, y: Any = None, generator: Any = None) -> Any:
        flat, given = torch.where(known, x, 0).flatten(1), known.flatten().tolist()
        a = network.start[torch.zeros(len(x), dtype=torch.long) if y is None else y]
        for t, i in enumerate(network.order.tolist()):
            if given[i]:
                continue  # wrong: add its column
            p = (a.sigmoid() @ network.output[t].T + network.bias[t]).softmax(1)
            flat[:, i] = torch.multinomial(p, 1, generator=generator)[:, 0]
            a = a + network.columns[t, flat[:, i]]
        return flat.view(x.shape)

    pieces.nade_complete = skips
    return pieces


@mutant("theory", rejected_by=["theory.nade_sampler_is_naive"])
def cached_sampler_draws_ahead(pieces: Any) -> Any:
    """All uniform numbers are drawn before the first level: the same distribution, other samples."""

    @torch.no_grad()
    def ahead(network: Any, n: int, y: Any = None, generator: Any = None) -> Tensor:
        d = len(network.order)
        noise = torch.rand(n, d, generator=generator, dtype=network.bias.dtype)
        flat = torch.zeros(n, d, dtype=torch.long)
        a = network.start[torch.zeros(n, dtype=torch.long) if y is None else y]
        for t, i in enumerate(network.order.tolist()):
            p = (a.sigmoid() @ network.output[t].T + network.bias[t]).softmax(1)
            flat[:, i] = (p.cumsum(1)[:, :-1] <= noise[:, t : t + 1]).sum(1)  # wrong: multinomial
            a = a + network.columns[t, flat[:, i]]
        return flat.view(n, *network.event_shape)

    pieces.nade_sample = ahead
    return pieces


@mutant("theory", rejected_by=["theory.features_see_only_the_past"])
def features_hold_their_own_pixel(pieces: Any) -> Any:
    """Features are taken before the image is shifted or masked: a code of the pixel, not of its past."""
    right = pieces.PixelCNN

    class Open(right):  # type: ignore[misc, valid-type]
        def features(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            return super().features(x, y) + x[:, :1].to(self.first.weight.dtype)  # wrong: none of x

    pieces.PixelCNN = Open
    return pieces


@mutant("theory", rejected_by=["theory.features_see_only_the_past"])
def features_of_the_first_layer(pieces: Any) -> Any:
    """The first layer's output handed out for the trunk's: of the past, its nearest part alone."""
    right = pieces.PixelCNN

    class Shallow(right):  # type: ignore[misc, valid-type]
        def features(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            value = 2 * x.to(self.first.weight.dtype) / (self.levels - 1) - 1
            return self.first(value)  # wrong: the trunk after it as well

    pieces.PixelCNN = Shallow
    return pieces
