r"""Classic mistakes of causal self-attention: in the mask, the softmax, the heads and the layout."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from spec_tests.registry import mutant


class Attention(nn.Module):
    """A right layer, of which a mutant replaces one step."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.heads, self.length = config.num_heads, config.length
        self.project = nn.Linear(config.embed_dim, 3 * config.embed_dim)
        self.out = nn.Linear(config.embed_dim, config.embed_dim)

    def split(self, x: Tensor) -> Tensor:
        """``(N, T, E) -> (N, H, T, E / H)``."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def join(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2).flatten(2)

    def hidden(self, scores: Tensor) -> Tensor:
        """True where a weight must vanish."""
        return torch.ones_like(scores, dtype=torch.bool).triu(1)

    def weights(self, scores: Tensor) -> Tensor:
        return scores.masked_fill(self.hidden(scores), float("-inf")).softmax(-1)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (self.split(part) for part in self.project(x).chunk(3, -1))
        scores = query @ key.mT / query.shape[-1] ** 0.5
        found: Tensor = self.out(self.join(self.weights(scores) @ value))
        return found


@mutant("causal_self_attention", rejected_by=["causal_self_attention.causality"])
def nothing_masked(config: Any) -> Any:
    """The encoder's layer, without a mask: every position reads the answer it has to predict."""

    class Mutant(Attention):
        def weights(self, scores: Tensor) -> Tensor:
            return scores.softmax(-1)  # wrong: masked first

    return Mutant(config)


@mutant("causal_self_attention", rejected_by=["causal_self_attention.causality"])
def mask_transposed(config: Any) -> Any:
    """The lower triangle hidden instead of the upper: each position sees its future and no past."""

    class Mutant(Attention):
        def hidden(self, scores: Tensor) -> Tensor:
            return torch.ones_like(scores, dtype=torch.bool).tril(-1)  # wrong: triu(1)

    return Mutant(config)


@mutant("causal_self_attention", rejected_by=["causal_self_attention.causality"])
def scores_multiplied_by_the_mask(config: Any) -> Any:
    """Scores of the future set to zero, not to minus infinity: exp(0) = 1 is a weight like any."""

    class Mutant(Attention):
        def weights(self, scores: Tensor) -> Tensor:
            return scores.tril().softmax(-1)  # wrong: -inf, not 0

    return Mutant(config)


@mutant("causal_self_attention", rejected_by=["causal_self_attention.causality"])
def masked_by_minus_ten(config: Any) -> Any:
    """A mask of -10, which a large score of a later token outweighs."""

    class Mutant(Attention):
        def weights(self, scores: Tensor) -> Tensor:
            return (scores - 10.0 * self.hidden(scores)).softmax(-1)  # wrong: -inf

    return Mutant(config)


@mutant(
    "causal_self_attention",
    rejected_by=["causal_self_attention.causality", "causal_self_attention.prefix_consistency"],
)
def value_masked_but_not_the_normaliser(config: Any) -> Any:
    """Softmax first, mask second: later tokens still count in the denominator."""

    class Mutant(Attention):
        def weights(self, scores: Tensor) -> Tensor:
            return scores.softmax(-1).tril()  # wrong: mask before softmax

    return Mutant(config)


@mutant("causal_self_attention", rejected_by=["causal_self_attention.rows_are_distributions"])
def sigmoid_weights(config: Any) -> Any:
    """A sigmoid for each pair, not normalised over the positions: the output grows with the past."""

    class Mutant(Attention):
        def weights(self, scores: Tensor) -> Tensor:
            return scores.sigmoid().tril()  # wrong: softmax of what is seen

    return Mutant(config)


@mutant(
    "causal_self_attention",
    rejected_by=["causal_self_attention.rows_are_distributions", "causal_self_attention.causality"],
)
def softmax_over_the_queries(config: Any) -> Any:
    """The softmax along the wrong axis: columns sum to one, and depend on later readers."""

    class Mutant(Attention):
        def weights(self, scores: Tensor) -> Tensor:
            seen = scores.masked_fill(self.hidden(scores), float("-inf"))
            return seen.softmax(-2)  # wrong: softmax(-1)

    return Mutant(config)


@mutant("causal_self_attention", rejected_by=["causal_self_attention.uses_the_allowed_past"])
def own_position_hidden(config: Any) -> Any:
    """The diagonal masked too (the first position excepted): a token never reads itself."""

    class Mutant(Attention):
        def hidden(self, scores: Tensor) -> Tensor:
            later = torch.ones_like(scores, dtype=torch.bool).triu(0)  # wrong: triu(1)
            first = torch.zeros_like(later)
            first[..., 0, 0] = True
            return later & ~first

    return Mutant(config)


@mutant("causal_self_attention", rejected_by=["causal_self_attention.uses_the_allowed_past"])
def window_of_three(config: Any) -> Any:
    """Only the last three positions are read: local attention under the name of the full one."""

    class Mutant(Attention):
        def hidden(self, scores: Tensor) -> Tensor:
            everything = torch.ones_like(scores, dtype=torch.bool)
            return everything.triu(1) | everything.tril(-3)  # wrong: triu(1) alone

    return Mutant(config)


@mutant("causal_self_attention", rejected_by=["causal_self_attention.causality"])
def heads_by_a_reshape(config: Any) -> Any:
    """(N,T,E) viewed as (N,H,T,E/H) without a transpose: positions are mixed with features."""

    class Mutant(Attention):
        def split(self, x: Tensor) -> Tensor:
            return x.reshape(len(x), self.heads, x.shape[1], -1)  # wrong: split E, then transpose

    return Mutant(config)


@mutant("causal_self_attention", rejected_by=["causal_self_attention.one_average_per_head"])
def one_head_whatever_was_asked(config: Any) -> Any:
    """``num_heads`` is stored and never used: one set of weights for all features."""

    class Mutant(Attention):
        def split(self, x: Tensor) -> Tensor:
            return x[:, None]  # wrong: self.heads parts of E

    return Mutant(config)


@mutant("causal_self_attention", rejected_by=["causal_self_attention.one_average_per_head"])
def scores_over_their_sum(config: Any) -> Any:
    """Scores divided by their sum, without exp: rows sum to one, and weights are negative."""

    class Mutant(Attention):
        def weights(self, scores: Tensor) -> Tensor:
            seen = scores.tril()
            total = seen.sum(-1, keepdim=True)
            small = total.abs() < 1e-3
            return seen / torch.where(small, torch.full_like(total, 1e-3), total)  # wrong: softmax

    return Mutant(config)


@mutant("causal_self_attention", rejected_by=["causal_self_attention.prefix_consistency"])
def scale_from_the_length(config: Any) -> Any:
    """Scores divided by the square root of the sequence's length instead of the head's width."""

    class Mutant(Attention):
        def weights(self, scores: Tensor) -> Tensor:
            steps = scores.shape[-1]
            return super().weights(scores / steps**0.5)  # wrong: by the head's width alone

    return Mutant(config)


@mutant("causal_self_attention", rejected_by=["causal_self_attention.prefix_consistency"])
def padded_in_front(config: Any) -> Any:
    """Short sequences filled up with zeros in front, which every position then attends to."""

    class Mutant(Attention):
        def forward(self, x: Tensor) -> Tensor:
            steps = x.shape[1]
            filled = functional.pad(x, (0, 0, self.length - steps, 0))  # wrong: x as it is
            return super().forward(filled)[:, -steps:]

    return Mutant(config)


@mutant("causal_self_attention", rejected_by=["causal_self_attention.item_by_item"])
def batch_taken_for_time(config: Any) -> Any:
    """A layer that wants time first, given the batch first: items of the batch read each other."""

    class Mutant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            sizes = config.embed_dim, config.num_heads
            self.attend = nn.MultiheadAttention(*sizes)  # wrong: batch_first=True

        def forward(self, x: Tensor) -> Tensor:
            later = torch.ones(len(x), len(x), dtype=torch.bool, device=x.device).triu(1)
            found: Tensor = self.attend(x, x, x, attn_mask=later, need_weights=False)[0]
            return found

    return Mutant()


@mutant(
    "causal_self_attention",
    rejected_by=[
        "causal_self_attention.repeats_itself",
        "causal_self_attention.train_and_eval_agree",
    ],
)
def dropout_always_on(config: Any) -> Any:
    """``functional.dropout`` without ``training=self.training``: weights vanish at test time too."""

    class Mutant(Attention):
        def weights(self, scores: Tensor) -> Tensor:
            return functional.dropout(super().weights(scores), 0.1)  # wrong: no dropout

    return Mutant(config)


@mutant("causal_self_attention", rejected_by=["causal_self_attention.follows_its_inputs_device"])
def mask_left_on_the_cpu(config: Any) -> Any:
    """The mask kept as a plain attribute, which ``to`` does not move."""

    class Mutant(Attention):
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            later = torch.ones(self.length, self.length, dtype=torch.bool).triu(1)
            self.mask = later  # wrong: register_buffer("mask", later)

        def hidden(self, scores: Tensor) -> Tensor:
            steps = scores.shape[-1]
            return self.mask[:steps, :steps]

    return Mutant(config)


@mutant("causal_self_attention", rejected_by=["causal_self_attention.finite_at_extremes"])
def exponentials_of_raw_scores(config: Any) -> Any:
    """exp without taking off the largest score: infinity over infinity."""

    class Mutant(Attention):
        def weights(self, scores: Tensor) -> Tensor:
            grown = scores.exp().tril()  # wrong: less the largest score
            return grown / grown.sum(-1, keepdim=True)

    return Mutant(config)


@mutant("causal_self_attention", rejected_by=["causal_self_attention.gradient_is_derivative"])
def weights_detached(config: Any) -> Any:
    """No gradient through the weights: queries and keys are never trained."""

    class Mutant(Attention):
        def weights(self, scores: Tensor) -> Tensor:
            return super().weights(scores).detach()  # wrong: no detach

    return Mutant(config)


@mutant("causal_self_attention", rejected_by=["causal_self_attention.float32_agrees_with_float64"])
def weights_in_half_precision(config: Any) -> Any:
    """The softmax of single-precision scores taken in bfloat16: three digits of each weight."""

    class Mutant(Attention):
        def weights(self, scores: Tensor) -> Tensor:
            if scores.dtype == torch.float32:
                return super().weights(scores.bfloat16()).float()  # wrong: in float32
            return super().weights(scores)

    return Mutant(config)
