r"""Claims about causal self-attention, judged by what the layer does: its weights are its own affair.

Inputs are changed position by position, a batch item for each, and the outputs tell which positions
noticed. That weights sum to one, and that there are as many averages as heads, follows from how the
output answers to sequences of equal tokens and to one token that is replaced.
"""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spec_tests import check
from spec_tests.check import Violation
from spec_tests.contracts.attention import CONFIGS, CausalSelfAttentionConfig
from spec_tests.handle import Built, Handle
from spec_tests.judge import stratified
from spec_tests.numerics import gradients
from spec_tests.registry import claim
from spec_tests.tolerance import guarded, rounding

VASWANI = "Vaswani et al. 2017, 'Attention Is All You Need'"
LAYERS = stratified(CONFIGS)


def _tokens(subject: Handle, *shape: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(shape, dtype=torch.float64).to(subject.device, subject.dtype)


def _replaced(x: Tensor, size: float) -> Tensor:
    """``(T, T, E)``: one sequence ``(T, E)``, of which copy s has another token at position s."""
    steps = len(x)
    step = size * torch.randn(steps, x.shape[-1], dtype=torch.float64).to(x)
    return x.expand(steps, *x.shape) + torch.diag_embed(step.mT).permute(1, 2, 0)


def _responses(layer: Built, x: Tensor, size: float) -> tuple[Tensor, float]:
    """``(s, t)``: the largest change of output t when token s is replaced, and what rounding does."""
    found = layer(torch.cat([x[None], _replaced(x, size)])).detach().double().cpu()
    change = (found[1:] - found[:1]).abs().amax(-1)
    scale = max(float(found.abs().max()), 1.0)
    return change, rounding(x.dtype, length=x.shape[-1], scale=scale)


@claim(
    "causal_self_attention.causality",
    r"\frac{\partial\, y_t}{\partial\, x_s} = 0 \quad\text{for all } s > t",
    sources=[f"{VASWANI}, §3.2.3", "CS182 2021 L17, 'Generative Modeling'"],
    why="""The logits of step t are computed from the output at t; if a later token has any weight
    there, training copies the answer. Every token is replaced in turn, by a near one and by one far
    off, whose score would win any softmax that is not masked; autograd must agree.""",
)
@given(config=LAYERS, size=st.sampled_from([1.0, 30.0]))
def test_output_does_not_change_with_any_later_token(
    subject: Handle, device: str, dtype: torch.dtype, config: CausalSelfAttentionConfig,
    size: float,
) -> None:  # fmt: skip
    layer = subject.build(config)
    x = _tokens(subject, config.length, config.embed_dim)
    change, noise = _responses(layer, x, size)
    later = change.tril(-1)  # rows s, columns t: s > t
    s, t = divmod(int(later.argmax()), config.length)
    check.at_most(later.max(), 0.0, noise, f"the change of position {t} when token {s} is replaced")
    if not subject.carries_gradients:
        return
    leaf = x[None].clone().requires_grad_()
    out = layer(leaf)
    for t in range(config.length):
        slope = gradients((out[0, t] * torch.randn_like(out[0, t])).sum(), [leaf])[0][0, t + 1 :]
        check.close(
            slope, torch.zeros_like(slope), rounding(dtype),
            f"the gradient of position {t} in the tokens after it",
        )  # fmt: skip


@claim(
    "causal_self_attention.uses_the_allowed_past",
    r"\frac{\partial\, y_t}{\partial\, x_s} \ne 0 \quad\text{for all } s \le t",
    sources=[f"{VASWANI}, §3.2.3 and Table 1"],
    why="""A layer in which every position sees itself alone is causal too. A softmax gives every
    allowed position a positive weight, so each replaced token shows in all outputs from its own
    position on: the path between any two positions has length one.""",
)
@given(config=LAYERS)
def test_output_changes_with_every_earlier_token_and_its_own(
    subject: Handle, device: str, dtype: torch.dtype, config: CausalSelfAttentionConfig
) -> None:
    unused = torch.ones(config.length, config.length).triu().bool()  # rows s, columns t: s <= t
    for _ in range(4):  # a weight may be tiny by chance, not four times
        layer = subject.build(config)
        x = _tokens(subject, config.length, config.embed_dim, scale=0.5)
        change, noise = _responses(layer, x, 0.5)
        unused = unused & ~(change > noise)
        if not unused.any():
            return
    s, t = (int(i) for i in unused.nonzero()[0])
    raise Violation(
        f"position {t} of {config.length} does not change when token {s} is replaced; "
        f"{int(unused.sum())} of {int(unused.numel() + config.length) // 2} allowed pairs are unused"
    )


@claim(
    "causal_self_attention.rows_are_distributions",
    r"x_1 = \dots = x_T \;\Rightarrow\; y_1 = \dots = y_T, \qquad\text{since } \sum_{s \le t} "
    r"a_{ts} = 1",
    sources=[f"{VASWANI}, §3.2.1, equation 1"],
    why="""The average of equal values is that value, whatever the weights, if and only if these sum
    to one over the positions that are seen. A softmax taken before the mask, or over queries instead
    of keys, loses part of the weight, and early positions most.""",
    assumptions=["the place of a token enters the weights alone, not the values"],
)
@given(config=LAYERS, batch=st.sampled_from([1, 2, 3]))
def test_equal_tokens_give_equal_outputs_at_every_position(
    subject: Handle, device: str, dtype: torch.dtype, config: CausalSelfAttentionConfig, batch: int
) -> None:
    layer = subject.build(config)
    token = _tokens(subject, batch, 1, config.embed_dim)
    found = layer(token.repeat(1, config.length, 1))
    size = max(float(found.detach().abs().max()), 1.0)
    check.close(
        found, found[:, :1].detach().repeat(1, config.length, 1),
        guarded(dtype, length=config.length, scale=size),
        "the output for a sequence of equal tokens, against its first position,",
    )  # fmt: skip


@claim(
    "causal_self_attention.prefix_consistency",
    r"f(x_{1..T'}) = f(x_{1..T})_{1..T'} \qquad\text{for all } T' \le T \le \text{length}",
    sources=[f"{VASWANI}, §3.2.3", "CS182 2021 L17, 'Generative Modeling'"],
    why="""Samples are drawn from ever longer prefixes, while training sees whole sequences: the two
    must compute the same function, or what was trained is not what is sampled.""",
)
@given(config=LAYERS, batch=st.sampled_from([1, 2]))
def test_output_of_a_prefix_is_the_prefix_of_the_output(
    subject: Handle, device: str, dtype: torch.dtype, config: CausalSelfAttentionConfig, batch: int
) -> None:
    layer = subject.build(config)
    x = _tokens(subject, batch, config.length, config.embed_dim)
    whole = layer(x).detach()
    room = rounding(
        dtype, length=config.embed_dim + config.length, scale=max(float(whole.abs().max()), 1.0)
    )
    for steps in range(1, config.length + 1):
        check.close(
            layer(x[:, :steps].clone()), whole[:, :steps], room,
            f"the output of the first {steps} of {config.length} tokens",
        )  # fmt: skip


def _shares(layer: Built, config: CausalSelfAttentionConfig, subject: Handle, count: int) -> Tensor:
    """``(count, E)``: what the output owes to the first of two tokens, ``sum_h a_h W_h (u - v)``.

    The difference u - v is one and the same while both tokens wander: the values move in a fixed
    direction for each head, and the weights alone vary.
    """
    apart = _tokens(subject, 1, config.embed_dim)
    v = _tokens(subject, count, config.embed_dim, scale=1.5)
    both = torch.stack([torch.stack([v + apart, v], 1), torch.stack([v, v], 1)])
    found = layer(both.flatten(0, 1)).detach().unflatten(0, (2, count))[:, :, 1]
    return (found[0] - found[1]).double().cpu()


@claim(
    "causal_self_attention.one_average_per_head",
    r"y_2(u, v) - y_2(v, v) = \sum_{h=1}^{H} a_h(u, v)\, W_h\,(u - v), \qquad a_h > 0:"
    r"\quad H \text{ directions for a given } u - v",
    sources=[f"{VASWANI}, §3.2.2"],
    why="""Each head averages with weights of its own, and the output adds what the heads found. Two
    tokens at a fixed distance are moved about; the influence of the first then spans as many
    directions as there are heads, no fewer and no more, and with one head it never turns round, a
    weight being positive.""",
    assumptions=["values are affine in the tokens"],
    dtypes=("float64",),
)
@given(
    config=stratified(
        [
            st.just(CausalSelfAttentionConfig(embed, heads, 3))
            for embed, heads in ((5, 1), (6, 2), (6, 3), (8, 4), (3, 3))
        ]
    )
)
def test_first_of_two_tokens_acts_in_as_many_directions_as_there_are_heads(
    subject: Handle, device: str, dtype: torch.dtype, config: CausalSelfAttentionConfig
) -> None:
    ranks = []
    for _ in range(3):  # a head may be asleep by chance, not three times
        shares = _shares(subject.build(config), config, subject, count=48)
        values = torch.linalg.svdvals(shares)
        ranks.append(int((values > 1e-9 * max(float(values[0]), 1e-3)).sum()))
        if ranks[-1] > config.num_heads:
            break
        if config.num_heads == 1:
            along = shares @ shares[shares.norm(dim=1).argmax()]
            check.at_least(
                along / along.abs().max().clamp_min(1e-300), 0.0, rounding(dtype),
                "the influence of the first token, along its largest, (a weight is negative)",
            )  # fmt: skip
        if ranks[-1] == config.num_heads:
            return
    raise Violation(
        f"the influence of one token spans {ranks[-1]} directions while the weights vary; "
        f"{config.num_heads} heads give {config.num_heads}"
    )
