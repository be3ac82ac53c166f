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
    why=r"""With scores :math:`e_{ts} = q_t \cdot k_s / \sqrt{d}`, the layer computes

    .. math::

        y_t = \sum_{s \le t} a_{ts} v_s, \qquad a_{ts} = \frac{\exp e_{ts}}{\sum_{u \le t} \exp e_{tu}} .

    Query, key and value of a token are functions of that token, so neither the values, nor a
    numerator, nor the denominator holds any token after t. The logits of step t are computed from
    :math:`y_t`: if a later token had any weight there, training would copy the answer.

    A mask may be forgotten, transposed, added after the softmax (later tokens stay in the
    denominator), or so weak that a large score outweighs it. So every token is replaced in turn, by
    a near one and by one far off, whose score would win any softmax that is not masked; all earlier
    outputs must stay. Autograd, asked for the gradient of every output in the tokens after it, must
    agree.""",
    assumptions={
        "nothing but the attention mixes positions": (
            "a normalisation over the whole sequence: the mean of (0, 0) is 0, that of (0, 2) "
            "is 1, and the first output has moved"
        ),
    },
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
    r"\frac{\partial\, y_t}{\partial\, x_s} \ne 0 \quad\text{for all } s \le t \text{ "
    "and almost all weights and tokens}",
    sources=[f"{VASWANI}, §3.2.3 and Table 1"],
    why=r"""A layer in which every position sees itself alone is causal too. A softmax gives each
    allowed position a weight :math:`a_{ts} > 0`, as an exponential is never zero, and the value
    :math:`v_s` enters :math:`y_t` with that weight; for almost all weights and tokens the change
    through values and scores together does not cancel. So each replaced token shows in all outputs
    from its own position on: the path between any two positions has length one, where a stack of
    convolutions needs many layers.

    The test draws the layer up to four times and collects the pairs that react. A window, a
    diagonal masked along with the future, or a mask that is off by one leaves pairs that never do.""",
    assumptions={
        "the mask hides the future alone": "with a window of three, token 1 never reaches output 4 of a single layer",
        "no weight underflows": (
            "a score that lies 800 below the largest has a weight that rounds to 0 in double "
            "precision"
        ),
    },
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
    why=r"""Equal tokens have equal values v in every head, and with :math:`W_h` the part of the
    output's projection that belongs to head h

    .. math::

        y_t = \sum_h W_h \sum_{s \le t} a^h_{ts}\, v_h = \sum_h \Bigl(\sum_{s \le t} a^h_{ts}\Bigr) W_h\, v_h .

    If the weights sum to one, the average of equal values is that value, whatever the scores.
    Conversely the outputs agree for almost all weights only if every row has the same sum as the
    first; a sum of 2 everywhere would be a matter of scale, which no input can tell from larger
    values.

    A softmax taken before the mask, or over queries instead of keys, loses part of the weight, and
    early positions most; weights by a sigmoid grow with the past. No weight is looked at: the
    output for equal tokens, at every position, is compared with the first.""",
    assumptions={
        "the place of a token enters the weights alone, not the values": (
            "if the place itself is the value, the averages over 1, then 1 and 2, then 1 to 3 "
            "are 1, 1.5 and 2"
        ),
    },
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
    why=r"""By the formula of ``causal_self_attention.causality``, :math:`y_t` is computed from
    the first t tokens. Whatever follows them, or that nothing does, cannot matter:
    :math:`f(x_{1..T'})_t` and :math:`f(x_{1..T})_t` are the same sum. Causality alone does not say
    so, for it compares sequences of one length: a layer may be causal at each length and another
    function at the next.

    In practice samples are drawn from ever longer prefixes while training sees whole sequences. If
    the two differ, what was trained is not what is sampled, and a cache of keys and values is
    wrong.

    The layer is its own oracle: every prefix, down to one token, against the beginning of the
    output for the whole.""",
    assumptions={
        "neither scale nor padding depends on the length": (
            r"scores 0 and 2 divided by :math:`\sqrt{T}` give the second a weight of 0.80 for T "
            "= 2 and of 0.73 among the first two of T = 4"
        ),
    },
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
    r"y_2(u, v) - y_2(v, v) = \sum_{h=1}^{H} a_h(u, v)\, W_h\,(u - v), \qquad a_h > "
    r"0:\quad H \text{ directions for a given } u - v",
    sources=[f"{VASWANI}, §3.2.2"],
    why=r"""Take a sequence of two tokens, u then v. At the second place head h gives weight
    :math:`a_h` to the first token and :math:`1 - a_h` to the second; with :math:`W_h` its map from
    tokens to the output and c the biases,

    .. math::

        y_2(u, v) = c + \sum_h W_h \bigl[a_h u + (1 - a_h) v\bigr]
        = y_2(v, v) + \sum_h a_h\, W_h (u - v) .

    Hold :math:`\delta = u - v` fixed and move both tokens about: the H vectors :math:`W_h \delta`
    stay, and only the weights vary. The differences span at most H directions, and for almost all
    parameters exactly H; with one head they never turn round, a weight being positive.

    The rank is read off the singular values of 48 differences, from three draws of the layer at
    most. A layer that ignores its number of heads has rank one.""",
    assumptions={
        "values are affine in the tokens": (
            r"with values :math:`\tanh(V x)` the difference of the two values turns while u - v "
            "stays, and one head spans many directions"
        ),
        "the weights depend on more than u - v": (
            "scores from the distance of two tokens alone are constant here, and all heads "
            "together span one direction"
        ),
    },
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
