r"""Classic mistakes of transformers that generate: the shift, the blocks, the cache, the positions.

A wrong model is a small right transformer with one step replaced; the docstring of each says which
mistake it is and what follows from it.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spec_tests.contracts.theory import Pieces
from spec_tests.registry import Unsupported, mutant

_M = "autoregressive_model."
_CAUSAL, _USES = _M + "causality", _M + "uses_the_allowed_past"
_SAMPLER, _ANCESTRAL = _M + "sampler_matches_density", _M + "sampling_is_ancestral"

# A right transformer to spoil --------------------------------------------------------------------


class _Layer(nn.Module):
    """One head, normalised before it reads, and two linear layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.before, self.middle = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, 12), nn.GELU(), nn.Linear(12, width))

    def weights(self, scores: Tensor, seen: Tensor) -> Tensor:
        return scores.masked_fill(~seen, -torch.inf).softmax(-1)

    def read(self, h: Tensor, seen: Tensor) -> Tensor:
        query, key, value = self.project(self.before(h)).chunk(3, -1)
        scores = query @ key.mT / query.shape[-1] ** 0.5
        return h + self.out(self.weights(scores, seen) @ value)

    def forward(self, h: Tensor, seen: Tensor) -> Tensor:
        h = self.read(h, seen)
        return h + self.feed(self.middle(h))


class _Transformer(nn.Module):
    """A right model of two layers; each mutant replaces a piece."""

    width = 8

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config, self.levels = config, config.levels
        index = torch.arange(config.dims).view(config.event_shape)
        turn = index if index.ndim == 1 else index.permute(1, 2, 0).flatten()
        self.register_buffer("turn", self.sequence(turn))
        self.start = nn.Embedding(max(config.num_classes, 1), self.width)
        self.embedding = nn.Embedding(config.levels, self.width)
        self.places = nn.Parameter(torch.randn(config.dims, self.width))
        self.layers = nn.ModuleList(self.layer(i) for i in range(2))
        self.last, self.head = nn.LayerNorm(self.width), nn.Linear(self.width, config.levels)

    def layer(self, index: int) -> nn.Module:
        return _Layer(self.width)

    def sequence(self, turn: Tensor) -> Tensor:
        return turn

    def first(self, n: int, y: Tensor | None) -> Tensor:
        """The start token, ``(N, 1, E)``."""
        label = torch.zeros(n, dtype=torch.long, device=self.turn.device) if y is None else y
        return self.start(label)[:, None]

    def inputs(self, levels: Tensor, y: Tensor | None) -> Tensor:
        """What the first layer is given, of levels in the order of generation."""
        tokens = torch.cat([self.first(len(levels), y), self.embedding(levels)[:, :-1]], 1)
        return tokens + self.places

    def seen(self, h: Tensor) -> Tensor:
        """Row t, column s: whether position t reads s."""
        steps = torch.arange(h.shape[1], device=h.device)
        return steps <= steps[:, None]

    def scores(self, levels: Tensor, y: Tensor | None) -> Tensor:
        """``(N, T, K)`` in the order of generation."""
        h = self.inputs(levels, y)
        for layer in self.layers:
            h = layer(h, self.seen(h))
        found: Tensor = self.head(self.last(h))
        return found

    def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        found = self.scores(x.flatten(1)[:, self.turn], y)[:, self.turn.argsort()]
        return found.mT.reshape(len(x), self.levels, *x.shape[1:])

    def step(self, levels: Tensor, t: int, y: Tensor | None) -> Tensor:
        """The logits ``(N, K)`` of one step of the sampler, what came before it being drawn."""
        return self.scores(levels, y)[:, t]

    def sample(self, n: int, y: Any = None, generator: Any = None) -> Tensor:
        levels = torch.zeros(n, self.config.dims, dtype=torch.long, device=self.turn.device)
        with torch.no_grad():
            for t in range(self.config.dims):
                chance = self.step(levels, t, y).softmax(1)
                levels[:, t] = torch.multinomial(chance, 1, generator=generator)[:, 0]
        return levels[:, self.turn.argsort()].view(n, *self.config.event_shape)


# What it sees ------------------------------------------------------------------------------------


@mutant("autoregressive_model", rejected_by=[_CAUSAL, _M + "normalised"])
def transformer_without_the_shift(config: Any) -> Any:
    """The input is not moved by one: a mask that shows each position to itself shows it the answer."""

    class Unshifted(_Transformer):
        def inputs(self, levels: Tensor, y: Tensor | None) -> Tensor:
            tokens = self.embedding(levels) + self.first(len(levels), y)  # wrong: moved by one
            return tokens + self.places

    return Unshifted(config)


@mutant("autoregressive_model", rejected_by=[_USES])
def transformer_shifted_twice(config: Any) -> Any:
    """The data loader moves the input by one, and the model once more: the last level is never seen."""

    class Twice(_Transformer):
        def inputs(self, levels: Tensor, y: Tensor | None) -> Tensor:
            return super().inputs(F.pad(levels, (1, 0))[:, :-1], y)  # wrong: levels

    return Twice(config)


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def transformer_masked_in_its_first_layer_only(config: Any) -> Any:
    """The mask is passed to the first layer and forgotten in the second, which reads everything."""

    class Open(_Layer):
        def weights(self, scores: Tensor, seen: Tensor) -> Tensor:
            return scores.softmax(-1)  # wrong: masked

    class Forgets(_Transformer):
        def layer(self, index: int) -> nn.Module:
            return Open(self.width) if index else _Layer(self.width)

    return Forgets(config)


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def transformer_with_a_small_penalty_for_a_mask(config: Any) -> Any:
    """One layer adds -10 instead of minus infinity: the future keeps a weight of e^-10."""

    class Soft(_Layer):
        def weights(self, scores: Tensor, seen: Tensor) -> Tensor:
            return (scores - 10.0 * (~seen).to(scores.dtype)).softmax(-1)  # wrong: infinity

    class Leaks(_Transformer):
        def layer(self, index: int) -> nn.Module:
            return Soft(self.width) if index else _Layer(self.width)

    return Leaks(config)


def _block_of(h: Tensor, size: int = 3) -> tuple[Tensor, Tensor]:
    """The block of every reader, as a column, and of everything that is read."""
    block = torch.arange(h.shape[1], device=h.device) // size
    return block[:, None], block


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def memory_block_on_the_right(config: Any) -> Any:
    """Rolled the wrong way: each block's memory is the block after it, not the one before."""

    class Right(_Transformer):
        def seen(self, h: Tensor) -> Tensor:
            reader, read = _block_of(h)
            return (super().seen(h) & (reader == read)) | (read == reader + 1)  # wrong: reader - 1

    return Right(config)


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def first_block_remembers_the_last(config: Any) -> Any:
    """``roll`` without blanking what comes round: the memory of the first block is the last."""

    class Rolled(_Transformer):
        def seen(self, h: Tensor) -> Tensor:
            reader, read = _block_of(h)
            before = (reader - 1) % (int(read[-1]) + 1)  # wrong: not modulo
            return (super().seen(h) & (reader == read)) | ((read == before) & (read != reader))

    return Rolled(config)


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def block_open_within_itself(config: Any) -> Any:
    """Masked between blocks alone: within its block a position reads what comes after it."""

    class Open(_Transformer):
        def seen(self, h: Tensor) -> Tensor:
            reader, read = _block_of(h)
            return read <= reader  # wrong: and super().seen(h)

    return Open(config)


@mutant("autoregressive_model", rejected_by=[_USES])
def blocks_without_memory(config: Any) -> Any:
    """The memory block was forgotten and the whole past is documented: blocks know nothing of each other."""

    class Alone(_Transformer):
        def seen(self, h: Tensor) -> Tensor:
            reader, read = _block_of(h)
            return super().seen(h) & (reader == read)  # wrong: reader - read <= 1

        @property
        def receptive_field(self) -> Tensor:
            rank = self.turn.argsort()
            return rank[None, :] < rank[:, None]

    return Alone(config)


@mutant("autoregressive_model", rejected_by=[_USES])
def field_of_one_layer_documented(config: Any) -> Any:
    """Documents what one local layer reads, where the second reads what the first has gathered."""

    class Short(_Transformer):
        def seen(self, h: Tensor) -> Tensor:
            reader, read = _block_of(h, 2)
            return super().seen(h) & (reader - read <= 1)

        @property
        def receptive_field(self) -> Tensor:
            pairs = self.seen(self.places[None])  # wrong: P @ P
            field = F.pad(pairs[:, 1:], (0, 1))  # position s is given what was drawn at s - 1
            rank = self.turn.argsort()
            return field[rank][:, rank]

    return Short(config)


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def generated_by_blocks_and_documented_as_raster(config: Any) -> Any:
    """Generates rectangle by rectangle and documents no order: in raster order it sees the future."""

    class Rectangles(_Transformer):
        def sequence(self, turn: Tensor) -> Tensor:
            if len(config.event_shape) != 3:
                raise Unsupported("images only")
            _, height, width = config.event_shape
            row, column = turn % (height * width) // width, turn % width
            return turn[(row // 2 * width + column // 2).argsort(stable=True)]  # wrong: not told

    return Rectangles(config)


@mutant("autoregressive_model", rejected_by=[_CAUSAL])
def layer_norm_over_the_positions(config: Any) -> Any:
    """Normalised over time and features together: mean and variance have seen the whole image."""

    class Normed(_Transformer):
        def scores(self, levels: Tensor, y: Tensor | None) -> Tensor:
            h = self.inputs(levels, y)
            for layer in self.layers:
                h = layer(F.layer_norm(h, h.shape[1:]), self.seen(h))  # wrong: over features
            found: Tensor = self.head(self.last(h))
            return found

    return Normed(config)


@mutant("autoregressive_model", rejected_by=[_M + "item_by_item"])
def mask_as_long_as_the_batch(config: Any) -> Any:
    """The mask is made for ``x.shape[0]`` positions: a batch of one image is not masked at all."""

    class Batch(_Transformer):
        def seen(self, h: Tensor) -> Tensor:
            seen = torch.ones(h.shape[1], h.shape[1], dtype=torch.bool, device=h.device)
            n = min(len(h), h.shape[1])  # wrong: h.shape[1]
            seen[:n] = super().seen(h)[:n]
            return seen

    return Batch(config)


@mutant("autoregressive_model", rejected_by=[_M + "item_by_item"])
def attention_over_the_batch(config: Any) -> Any:
    """Batch and time in each other's place: position t of an image reads position t of the others."""

    class Across(_Layer):
        def read(self, h: Tensor, seen: Tensor) -> Tensor:
            turned = h.transpose(0, 1)  # wrong: h
            steps = torch.arange(len(h), device=h.device)
            return super().read(turned, steps <= steps[:, None]).transpose(0, 1)

    class Turned(_Transformer):
        def layer(self, index: int) -> nn.Module:
            return Across(self.width) if index else _Layer(self.width)

    return Turned(config)


# Classes, modes, heads ---------------------------------------------------------------------------


@mutant("autoregressive_model", rejected_by=[_M + "conditioning"])
def start_token_shared_by_the_classes(config: Any) -> Any:
    """One start token for all classes: the label never gets into the sequence."""

    class Shared(_Transformer):
        def first(self, n: int, y: Tensor | None) -> Tensor:
            return super().first(n, None)  # wrong: y

    return Shared(config)


@mutant("autoregressive_model", rejected_by=[_M + "repeats_itself", _M + "train_and_eval_agree"])
def dropout_on_in_eval(config: Any) -> Any:
    """Dropout without ``self.training``: every likelihood of one image is another."""

    class Dropped(_Transformer):
        def inputs(self, levels: Tensor, y: Tensor | None) -> Tensor:
            return F.dropout(super().inputs(levels, y), 0.2)  # wrong: if training

    return Dropped(config)


@mutant("autoregressive_model", rejected_by=[_M + "chain_rule", _M + "normalised"])
def start_token_takes_a_share(config: Any) -> Any:
    """The output is tied to the input's table, start token and all, which is given a probability."""

    class Tied(_Transformer):
        def log_prob(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            found = self.logits(x, y)
            found = F.pad(found, [0, 0] * len(self.config.event_shape) + [0, 1])  # wrong: K levels
            return found.log_softmax(1).gather(1, x[:, None]).flatten(1).sum(1)

    return Tied(config)


# Samplers with a cache ---------------------------------------------------------------------------


@mutant("autoregressive_model", rejected_by=[_SAMPLER, _ANCESTRAL])
def cache_written_after_it_is_read(config: Any) -> Any:
    """Keys are appended after the step that needs them: while sampling no position sees itself, and
    the level that was drawn last is missing."""

    class Late(_Transformer):
        def step(self, levels: Tensor, t: int, y: Tensor | None) -> Tensor:
            return self.scores(F.pad(levels, (1, 0))[:, :-1], y)[:, t]  # wrong: levels

    return Late(config)


@mutant("autoregressive_model", rejected_by=[_SAMPLER, _ANCESTRAL])
def cache_counts_positions_from_one(config: Any) -> Any:
    """The sampler's counter is one ahead of the training code's: every level gets its neighbour's place."""

    class Ahead(_Transformer):
        def step(self, levels: Tensor, t: int, y: Tensor | None) -> Tensor:
            ahead = self.places.roll(-1, 0)  # wrong: self.places
            h = self.inputs(levels, y) - self.places + ahead
            for layer in self.layers:
                h = layer(h, self.seen(h))
            found: Tensor = self.head(self.last(h))[:, t]
            return found

    return Ahead(config)


@mutant("autoregressive_model", rejected_by=[_ANCESTRAL])
def cache_emptied_at_every_block(config: Any) -> Any:
    """The cache holds one block and starts empty at the next: training reads the block before as well."""

    class Emptied(_Transformer):
        emptied = False

        def seen(self, h: Tensor) -> Tensor:
            reader, read = _block_of(h)
            back = 0 if self.emptied else 1  # wrong: 1, as in training
            return super().seen(h) & (reader - read <= back)

        def step(self, levels: Tensor, t: int, y: Tensor | None) -> Tensor:
            self.emptied = True
            found = super().step(levels, t, y)
            self.emptied = False
            return found

    return Emptied(config)


@mutant("autoregressive_model", rejected_by=[_SAMPLER])
def cache_started_without_the_class(config: Any) -> Any:
    """The sampler begins with the first class's start token, whatever class was asked for."""

    class Unlabelled(_Transformer):
        def sample(self, n: int, y: Any = None, generator: Any = None) -> Tensor:
            return super().sample(n, None, generator)  # wrong: y

    return Unlabelled(config)


# Causal self-attention ---------------------------------------------------------------------------

_A = "causal_self_attention."


class _Attention(nn.Module):
    """A right layer of several heads; a mutant says which pairs are seen, or pads."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.heads, self.length = config.num_heads, config.length
        self.project = nn.Linear(config.embed_dim, 3 * config.embed_dim)
        self.out = nn.Linear(config.embed_dim, config.embed_dim)

    def seen(self, steps: int) -> Tensor:
        return torch.ones(steps, steps, device=self.out.weight.device).tril().bool()

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        scores = query @ key.mT / query.shape[-1] ** 0.5
        weights = scores.masked_fill(~self.seen(query.shape[-2]), -torch.inf).softmax(-1)
        return weights @ value

    def forward(self, x: Tensor) -> Tensor:
        parts = self.project(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        found: Tensor = self.out(self.attend(*parts).transpose(1, 2).flatten(2))
        return found


@mutant(
    "causal_self_attention",
    rejected_by=[_A + "prefix_consistency", _A + "rows_are_distributions"],
)
def padding_counted_in_the_softmax(config: Any) -> Any:
    """Padded to whole blocks, and the pads left unmasked: not the future, but a share of the weight."""

    class Padded(_Attention):
        def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            pads = -query.shape[-2] % 4
            key, value = (F.pad(part, (0, 0, 0, pads)) for part in (key, value))
            scores = query @ key.mT / query.shape[-1] ** 0.5
            hidden = F.pad(~self.seen(query.shape[-2]), (0, pads), value=False)  # wrong: True
            return scores.masked_fill(hidden, -torch.inf).softmax(-1) @ value

    return Padded(config)


@mutant("causal_self_attention", rejected_by=[_A + "prefix_consistency"])
def mask_cut_from_the_wrong_end(config: Any) -> Any:
    """The mask is made once for the longest sequence, and a short one gets its last rows."""

    class Cut(_Attention):
        def seen(self, steps: int) -> Tensor:
            return super().seen(self.length)[self.length - steps :, :steps]  # wrong: [:steps]

    return Cut(config)


@mutant("causal_self_attention", rejected_by=[_A + "causality"])
def memory_rolled_round(config: Any) -> Any:
    """Local attention by ``roll``: the first block's memory is the last block, which is its future."""

    class Rolled(_Attention):
        def seen(self, steps: int) -> Tensor:
            block = torch.arange(steps, device=self.out.weight.device) // 2
            before = (block[:, None] - 1) % (int(block[-1]) + 1)  # wrong: not modulo
            return super().seen(steps) | (block == before)

    return Rolled(config)


@mutant("causal_self_attention", rejected_by=[_A + "uses_the_allowed_past"])
def shifted_inside_the_layer(config: Any) -> Any:
    """Keys and values moved by one inside the layer: the input was to be shifted, once, and not here."""

    class Shifted(_Attention):
        def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            key, value = (part.roll(1, -2) for part in (key, value))  # wrong: as they are
            key, value = (part * self.late(part) for part in (key, value))
            return super().attend(query * self.late(query), key, value)

        def late(self, part: Tensor) -> Tensor:
            """Zero at the first position, one elsewhere."""
            return (torch.arange(part.shape[-2], device=part.device) > 0).to(part)[:, None]

    return Shifted(config)


# Theory ------------------------------------------------------------------------------------------


@mutant("theory", rejected_by=["theory.local_attention_cost"])
def local_attention_by_a_mask(pieces: Pieces) -> Pieces:
    """All T x T scores, most of them thrown away by a mask: the right answer at the full price."""

    def masked(query: Tensor, key: Tensor, value: Tensor, blocks: Any) -> Tensor:
        hidden = torch.ones(query.shape[-2], query.shape[-2], dtype=torch.bool)
        for queries, memory in blocks:
            hidden[queries[:, None], memory] = memory > queries[:, None]
        scores = query @ key.mT / query.shape[-1] ** 0.5  # wrong: block by block
        return scores.masked_fill(hidden, -torch.inf).softmax(-1) @ value

    pieces.local_attention = masked  # type: ignore[attr-defined]
    return pieces


@mutant("theory", rejected_by=["theory.local_attention_cost", "theory.local_pattern"])
def memory_of_everything_before(pieces: Any) -> Any:
    """Queries in blocks, memory from the very beginning: half of all pairs, however small the block."""
    right = pieces.local_blocks_1d

    def everything(length: int, block: int) -> Any:
        steps = torch.arange(length)
        blocks = right(length, block)
        return [(q, steps[: int(q[-1]) + 1]) for q, _ in blocks]  # wrong: from one block back on

    pieces.local_blocks_1d = everything
    return pieces


@mutant("theory", rejected_by=["theory.local_attention_cost", "theory.local_pattern"])
def halo_of_everything_above(pieces: Any) -> Any:
    """The halo's rows counted from the top of the image: the memory grows as the image does."""
    right = pieces.local_blocks_2d

    def above(event_shape: Any, block: Any, halo: Any) -> Any:
        return right(event_shape, block, (event_shape[1], halo[1]))  # wrong: halo

    pieces.local_blocks_2d = above
    return pieces


@mutant(
    "theory",
    rejected_by=["theory.local_pattern", "theory.block_as_large_as_image_is_full_attention"],
)
def last_block_padded_with_zeros(pieces: Any) -> Any:
    """A key of zeros behind every memory, unmasked: its score of zero takes a share of the weight."""

    def padded(query: Tensor, key: Tensor, value: Tensor, blocks: Any) -> Tensor:
        parts = []
        for q, m in blocks:
            keys, values = (F.pad(part[..., m, :], (0, 0, 0, 1)) for part in (key, value))
            scores = query[..., q, :] @ keys.mT / query.shape[-1] ** 0.5
            hidden = F.pad(m > q[:, None], (0, 1), value=False)  # wrong: True
            parts.append(scores.masked_fill(hidden, -torch.inf).softmax(-1) @ values)
        return torch.cat(parts, -2)

    pieces.local_attention = padded
    return pieces


@mutant("theory", rejected_by=["theory.block_as_large_as_image_is_full_attention"])
def block_never_larger_than_half_the_image(pieces: Any) -> Any:
    """A block that does not fit is halved until it does: full attention is never reached."""
    right = pieces.local_blocks_1d

    def halved(length: int, block: int) -> Any:
        return right(length, min(block, max(length // 3, 1)))  # wrong: block

    pieces.local_blocks_1d = halved
    return pieces


@mutant("theory", rejected_by=["theory.local_pattern", "theory.local_layers_reach_further"])
def memory_of_half_a_block(pieces: Any) -> Any:
    """The memory begins in the middle of the block before: its first half is never read."""
    right = pieces.local_blocks_1d

    def half(length: int, block: int) -> Any:
        blocks = right(length, block)
        return [(q, m[m >= int(q[0]) - block // 2]) for q, m in blocks]  # wrong: - block

    pieces.local_blocks_1d = half
    return pieces


@mutant("theory", rejected_by=["theory.local_pattern"])
def blocks_generated_in_raster_order(pieces: Any) -> Any:
    """Raster order over the image with rectangular blocks: what lies left below has not been drawn."""

    def order(event_shape: Any, block: Any) -> Any:
        return pieces.raster_order(event_shape)  # wrong: rectangle after rectangle

    pieces.block_order = order
    return pieces


@mutant("theory", rejected_by=["theory.local_pattern", "theory.local_layers_reach_further"])
def halo_on_the_left_only(pieces: Any) -> Any:
    """No halo on the right: of the row of blocks above, what lies right of the block is past as well."""
    right = pieces.local_blocks_2d

    def left(event_shape: Any, block: Any, halo: Any) -> Any:
        height, width = event_shape[1:]
        column = torch.tensor(pieces.block_order(event_shape, block)) % (height * width) % width
        blocks = right(event_shape, block, halo)
        return [(q, m[column[m] <= int(column[q].max())]) for q, m in blocks]  # wrong: m

    pieces.local_blocks_2d = left
    return pieces


@mutant("theory", rejected_by=["theory.local_layers_reach_further"])
def field_of_one_layer_for_any_number(pieces: Any) -> Any:
    """The pattern of one layer given for the whole stack: deeper networks see more."""
    right = pieces.local_field
    pieces.local_field = lambda blocks, layers: right(blocks, min(layers, 1))  # wrong: layers
    return pieces


@mutant("theory", rejected_by=["theory.local_layers_reach_further"])
def field_without_the_shift(pieces: Any) -> Any:
    """Positions taken for what they are given: the field has every pixel see itself."""
    right = pieces.local_field

    def unshifted(blocks: Any, layers: int) -> Tensor:
        field = right(blocks, layers)
        return torch.cat([torch.zeros_like(field[:, :1]), field[:, :-1]], 1)  # wrong: field

    pieces.local_field = unshifted
    return pieces


_POSITIONS = "theory.image_transformer_positions"


@mutant("theory", rejected_by=[_POSITIONS])
def channels_at_one_place(pieces: Any) -> Any:
    """Row and column without the channel: red, green and blue of a pixel are at the same place."""
    right = pieces.coordinate_encoding

    def pixels(event_shape: Any, embed_dim: int) -> Tensor:
        grey = right((1, *event_shape[1:]), embed_dim)
        return grey.expand(event_shape[0], -1, -1, -1)  # wrong: a code for each channel

    pieces.coordinate_encoding = pixels
    return pieces


@mutant("theory", rejected_by=[_POSITIONS])
def row_and_column_added(pieces: Any) -> Any:
    """The codes of row and column added into the same numbers: (1, 2) and (2, 1) are one place."""
    right = pieces.coordinate_encoding

    def added(event_shape: Any, embed_dim: int) -> Tensor:
        rows, columns = right(event_shape, 2 * embed_dim).chunk(2, -1)
        return rows + columns  # wrong: side by side

    pieces.coordinate_encoding = added
    return pieces


@mutant("theory", rejected_by=[_POSITIONS])
def positions_at_every_layer(pieces: Any) -> Any:
    """Positions added again before every layer, as some later models do: not this one."""
    right = pieces.ImageTransformer

    class Every(right):  # type: ignore[misc, valid-type]
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            for layer in self.layers[1:]:
                layer.register_forward_pre_hook(self.placed)

        def placed(self, layer: Any, given: Any) -> Any:
            return (given[0] + self.positions, *given[1:])  # wrong: given

    pieces.ImageTransformer = Every
    return pieces


@mutant("theory", rejected_by=[_POSITIONS])
def layers_with_a_place_of_their_own(pieces: Any) -> Any:
    """A learned bias for every position inside each layer: equal tokens part at the second layer."""
    right = pieces.ImageTransformer

    class Biased(right):  # type: ignore[misc, valid-type]
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            for layer in self.layers:
                layer.register_forward_hook(self.placed)

        def placed(self, layer: Any, given: Any, found: Tensor) -> Tensor:
            return found + 0.1 * self.positions  # wrong: found

    pieces.ImageTransformer = Biased
    return pieces


@mutant("theory", rejected_by=[_POSITIONS])
def image_transformer_without_positions(pieces: Any) -> Any:
    """Levels alone are embedded: a past that is put in another order is the same past."""
    right = pieces.ImageTransformer

    class Placeless(right):  # type: ignore[misc, valid-type]
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            self.positions.zero_()  # wrong: as they are

    pieces.ImageTransformer = Placeless
    return pieces


_CACHED = "theory.cached_transformer_is_naive"


def _steps(
    pieces: Any, model: Any, x: Tensor, known: Tensor, label: Tensor, generator: Any, context: Any,
    seen: Any,
) -> Tensor:  # fmt: skip
    """A cached completion in which ``seen(memory, t)`` says which positions step t reads."""
    order = model.order
    drawn = torch.where(known, x, 0).flatten(1)[:, order]
    weight, heads = model.tokens.weight, model.layers[0].attention.num_heads
    shape = (len(order), 2, len(x), heads, weight.shape[1] // heads)
    caches = [weight.new_zeros(shape) for _ in model.layers]
    with torch.no_grad():
        for queries, memory in model.blocks:
            for t in queries.tolist():
                h = model.embed(drawn, label, torch.tensor([t]))
                for layer, cache in zip(model.layers, caches, strict=True):
                    query, key, value = layer.attention.split(h)
                    cache[t] = torch.stack([key, value]).squeeze(-2)
                    keys, values = cache[seen(memory, t)].movedim(0, -2)
                    read = pieces.full_attention(query, keys, values)
                    h = layer.finish(h, layer.attention.join(read), context)
                if not known.flatten()[order[t]]:
                    chance = model.head(h)[:, 0].softmax(1)
                    drawn[:, t] = torch.multinomial(chance, 1, generator=generator)[:, 0]
    return drawn[:, order.argsort()].view(x.shape)


def _with_steps(pieces: Any, seen: Any, labelled: bool = True) -> Any:
    """The pieces with samplers that read ``seen(memory, t)``, and the class where ``labelled``."""

    def complete(
        model: Any, x: Tensor, known: Tensor, y: Any = None, generator: Any = None,
        context: Any = None,
    ) -> Tensor:  # fmt: skip
        label = y if labelled and y is not None else torch.zeros(len(x), dtype=torch.long)
        return _steps(pieces, model, x, known, label, generator, context, seen)

    def sample(
        model: Any, n: int, y: Any = None, generator: Any = None, context: Any = None
    ) -> Tensor:
        x = torch.zeros(n, *model.event_shape, dtype=torch.long)
        return complete(model, x, torch.zeros_like(x[0]).bool(), y, generator, context)

    pieces.transformer_complete, pieces.transformer_sample = complete, sample
    return pieces


@mutant("theory", rejected_by=[_CACHED])
def cache_one_position_behind(pieces: Any) -> Any:
    """Each step reads the keys up to the one before it: its own is stored too late."""
    return _with_steps(pieces, lambda memory, t: memory[memory < max(t, 1)])  # wrong: memory <= t


@mutant("theory", rejected_by=[_CACHED])
def cache_that_is_never_cut(pieces: Any) -> Any:
    """Every key so far is read while sampling, where training reads a local memory."""
    return _with_steps(pieces, lambda memory, t: torch.arange(t + 1))  # wrong: memory <= t


@mutant("theory", rejected_by=[_CACHED])
def cache_reads_the_whole_memory_block(pieces: Any) -> Any:
    """Slots of the block that are still empty are read as well: zeros that count in the softmax."""
    return _with_steps(pieces, lambda memory, t: memory)  # wrong: memory[memory <= t]


@mutant("theory", rejected_by=[_CACHED])
def cache_of_the_first_class(pieces: Any) -> Any:
    """The label does not reach the cached sampler, which draws the first class for everyone."""
    return _with_steps(pieces, lambda memory, t: memory[memory <= t], labelled=False)  # wrong: y


@mutant("theory", rejected_by=[_CACHED])
def cached_sampler_that_is_the_naive_one(pieces: Any) -> Any:
    """Kept for the name: every step computes all positions again."""

    def sample(model: Any, n: int, *rest: Any, **named: Any) -> Tensor:
        return model.sample(n, *rest, **named)  # wrong: one new position a step

    pieces.transformer_sample = sample
    return pieces


_SUPER = "theory.superresolution_attends_to_the_whole_input"


def _with_super(pieces: Any, encode: Any) -> Any:
    """The pieces with a super-resolution whose ``encode(model, small, right)`` is another."""
    right = pieces.SuperResolutionTransformer

    class Mutant(right):  # type: ignore[misc, valid-type]
        def encode(self, small: Tensor) -> Tensor:
            return encode(self, small, super().encode)

    pieces.SuperResolutionTransformer = Mutant
    return pieces


@mutant("theory", rejected_by=[_SUPER])
def small_image_without_its_last_column(pieces: Any) -> Any:
    """A slice that ends one short: the last feature of the encoder is never attended to."""

    def short(model: Any, small: Tensor, right: Any) -> Tensor:
        last = torch.tensor([small.shape[3] - 1])
        return right(small.index_fill(3, last, 0))  # wrong: right(small)

    return _with_super(pieces, short)


@mutant("theory", rejected_by=[_SUPER])
def first_feature_for_all(pieces: Any) -> Any:
    """One summary vector in place of the sequence of features, taken from the first pixel."""

    def first(model: Any, small: Tensor, right: Any) -> Tensor:
        return right(small)[:, :1]  # wrong: all of them

    return _with_super(pieces, first)


@mutant("theory", rejected_by=[_SUPER])
def small_image_made_from_the_target(pieces: Any) -> Any:
    """The input is downsampled from the target inside the model: its pixels see themselves."""
    right = pieces.SuperResolutionTransformer

    class Leaks(right):  # type: ignore[misc, valid-type]
        def logits(self, x: Tensor, small: Tensor) -> Tensor:
            _, height, width = self.small_shape
            made = x[:, :, -height:, -width:]
            return super().logits(x, (small + made) % 3)  # wrong: small

    pieces.SuperResolutionTransformer = Leaks
    return pieces


@mutant("theory", rejected_by=[_SUPER])
def encoder_masked_like_the_decoder(pieces: Any) -> Any:
    """A causal mask between decoder and encoder: the first pixels see the first features only."""
    right = pieces.CrossAttention

    class Masked(right):  # type: ignore[misc, valid-type]
        def forward(self, x: Tensor, context: Tensor) -> Tensor:
            rows = [
                super(Masked, self).forward(x[:, t : t + 1], context[:, : t + 1])  # wrong: context
                for t in range(x.shape[1])
            ]
            return torch.cat(rows, 1)

    pieces.CrossAttention = Masked
    return pieces


_ORDINAL = "theory.mixture_output_is_ordinal"


@mutant("theory", rejected_by=[_ORDINAL])
def densities_for_masses(pieces: Any) -> Any:
    """The density at each level's centre in place of the mass of its bin: the masses do not add up."""

    def densities(parameters: Tensor, levels: int) -> Tensor:
        weights, means, scales = parameters.unflatten(-1, (3, 1, -1)).unbind(-3)
        places = torch.linspace(-1, 1, levels, dtype=parameters.dtype)[:, None]
        z = (places - means) / scales.exp()
        log_density = F.logsigmoid(z) + F.logsigmoid(-z) - scales  # wrong: CDF differences
        return (weights.log_softmax(-1) + log_density).logsumexp(-1)

    pieces.mixture_logits = densities
    return pieces


@mutant("theory", rejected_by=[_ORDINAL])
def tails_cut_off_and_renormalised(pieces: Any) -> Any:
    """The ends get no tails, and the rest is scaled up: log-odds that bend at both ends."""
    right = pieces.mixture_logits

    def cut(parameters: Tensor, levels: int) -> Tensor:
        inner = right(parameters, levels + 2)[..., 1:-1]  # wrong: right(parameters, levels)
        return inner - inner.logsumexp(-1, keepdim=True)

    pieces.mixture_logits = cut
    return pieces


@mutant("theory", rejected_by=[_ORDINAL])
def softmax_whatever_was_asked(pieces: Any) -> Any:
    """The argument for the mixture is taken and ignored: a softmax of K free logits."""
    right = pieces.ImageTransformer

    class Softmax(right):  # type: ignore[misc, valid-type]
        def __init__(self, *arguments: Any, components: int = 0, **named: Any) -> None:
            super().__init__(*arguments, **named)  # wrong: components=components

    pieces.ImageTransformer = Softmax
    return pieces
