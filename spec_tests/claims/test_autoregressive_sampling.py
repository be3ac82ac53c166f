r"""Claims about samplers and completions of autoregressive models.

Where the events can be listed, draws are counted against the density; where they cannot, the
probabilities that the model gives to its own draws form a martingale. Both bounds hold at any
sample size.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spec_tests import check
from spec_tests.chain_rule import (
    all_events,
    classes,
    event_names,
    gathered,
    index_of,
    log_p_of,
    of_class,
    order_of,
)
from spec_tests.claims.test_autoregressive import LECTURE, PIXELRNN
from spec_tests.concentration import FALSE_ALARM, draws_follow, freedman
from spec_tests.contracts import CONTRACTS
from spec_tests.contracts.autoregressive import (
    AutoregressiveModelConfig,
    complete,
    logits,
    models,
    sample,
)
from spec_tests.event_spaces import (
    LARGE,
    LARGE_COLOUR,
    LARGE_GREY,
    LONG_VECTORS,
    SAMPLED,
)
from spec_tests.handle import Built, Handle
from spec_tests.judge import stratified
from spec_tests.numerics import wide
from spec_tests.registry import claim
from spec_tests.state import generators, seed_everything
from spec_tests.strategies import integers_below

# Samplers ----------------------------------------------------------------------------------------

FAST = 0.05  # seconds for a thousand draws
VIVID = st.sampled_from([1.0, 0.25])  # shares of the factor that makes the past count most


def _seeded(subject: Handle, seed: int) -> torch.Generator:
    return torch.Generator(subject.device).manual_seed(seed)


def _vivid(subject: Handle, config: AutoregressiveModelConfig, share: float = 1.0) -> Built:
    """A model whose conditionals depend on the past: its matrices multiplied by what helps most.

    Redrawn weights of a usual size make nearly independent dimensions, on which no sample shows
    whether the sampler looked at what it had drawn before. With a ``share`` of that factor they
    depend on it and stay undecided, which shows sharpening.
    """
    model = subject.build(config)
    if not model.is_module:
        return model
    matrices = [p for p in model.module.parameters() if p.requires_grad and p.ndim >= 2]
    origin = [p.detach().clone() for p in matrices]
    x = torch.randint(config.levels, (64, *config.event_shape), device=subject.device)
    y = torch.zeros(64, dtype=torch.long, device=subject.device)

    def scaled(factor: float) -> float:
        with torch.no_grad():
            for p, start in zip(matrices, origin, strict=True):
                p.copy_(factor * start)
            chances = wide(logits(model, x, y)).flatten(2).softmax(1)
        return float(chances.var(0).sum())

    factors = (1.0, 2.0, 4.0, 8.0)
    spread = [scaled(factor) for factor in factors]
    scaled(share * factors[max(range(len(factors)), key=spread.__getitem__)])
    return model


@claim(
    "autoregressive_model.sampler_matches_density",
    r"x \sim \texttt{sample} \;\Rightarrow\; \Pr[x] = e^{\log p(x)}",
    sources=[
        f"{PIXELRNN}, §2.1",
        ("Agrawal 2020, 'Finite-Sample Concentration of the Multinomial in Relative Entropy'"),
    ],
    why=r"""A level that is drawn from the conditional of those before it makes the prefix right
    if the shorter prefix was: :math:`\Pr[x_{\le i}] = \Pr[x_{<i}]\, p(x_i \mid x_{<i})`, and by
    induction :math:`\Pr[x] = p(x)`.

    Sampler and likelihood are two programs for this one distribution, and each is the oracle of the
    other. About 1200 draws, of two calls, lest the second find what a cache kept of the first, are
    counted over all events, and ten times as many where they come fast. With :math:`n_x` draws of
    event :math:`x` among n,

    .. math::

        G / 2 = \sum_x n_x \log \frac{n_x / n}{p(x)}

    is n times the divergence of the frequencies from the density; its tail has a bound that holds
    at any sample size, so that a right sampler is rejected with probability below :math:`10^{-9}`.
    The matrices are scaled until the conditionals depend on the past, or stale logits would pass.""",
    assumptions={
        "each level is drawn from logits that know all earlier draws": (
            "a second bit that copies the first, with both drawn from one pass over zeros: (1, "
            "0) comes up, whose probability is 0"
        ),
        "the draws of a batch are independent": "one random number for the whole batch repeats one event 1200 times",
    },
    error=1e-9,
    effort=0.3,
)
@given(config=SAMPLED, n=st.sampled_from([1200, 1201]), seed=st.integers(0, 2**31 - 1))
def test_samples_have_the_frequencies_of_the_density(
    subject: Handle, device: str, dtype: torch.dtype, config: AutoregressiveModelConfig, n: int,
    seed: int,
) -> None:  # fmt: skip
    model = _vivid(subject, config)
    model.needs("sample")
    y = torch.arange(n, device=device) % max(config.num_classes, 1)
    source, half = _seeded(subject, seed), n // 2
    started = time.perf_counter()
    calls = [sample(model, len(part), part, source) for part in (y[:half], y[half:])]
    if time.perf_counter() - started < FAST:
        calls.append(sample(model, 10 * n, y.repeat(10), source))
        y = y.repeat(11)
    found = index_of(torch.cat(calls), config.levels)
    events = all_events(config, subject.device)
    for label in classes(config, len(events), subject.device):
        counts = torch.bincount(found[y.cpu() == int(label[0])], minlength=len(events)).double()
        draws_follow(
            counts, log_p_of(model, events, label), event_names(config),
            f"the sampler against the density{of_class(model, label)}",
        )  # fmt: skip


def _judge_draws(model: Built, x: Tensor, y: Tensor, drawn: Tensor, what: str) -> None:
    """The ``drawn`` dimensions are on average as probable as their own conditionals predict."""
    p = wide(logits(model, x, y)).flatten(2).softmax(1)[:, :, drawn]  # (N, K, D drawn)
    taken = p.gather(1, x.cpu().flatten(1)[:, None, drawn])[:, 0]
    mean = p.square().sum(1)
    variance = float((p.pow(3).sum(1) - mean.square()).clamp_min(0).sum())
    total, steps = float((taken - mean).sum()), taken.numel()
    check.that(
        freedman(total, variance, steps) > FALSE_ALARM,
        f"the {what} levels have probability {float(taken.mean()):.4g} on average under their own "
        f"conditionals, which predict {float(mean.mean()):.4g} ({steps} draws; ancestral sampling "
        f"strays as far with probability below {FALSE_ALARM:g})",
    )


@claim(
    "autoregressive_model.sampling_is_ancestral",
    r"\mathbb{E}\Bigl[\sum_i p_i(x_i) - \sum_k p_i(k)^2\Bigr] = 0, \qquad "
    r"p_i(k) = p(x_i = k \mid x_{<i}),\quad x \sim \texttt{sample}",
    sources=[f"{PIXELRNN}, §2.1", "Freedman 1975, 'On Tail Probabilities for Martingales'"],
    why=r"""Given :math:`x_{<i}`, the level :math:`x_i` is drawn from :math:`p_i`, so the
    probability that the model gives to its own draw is on average

    .. math::

        \mathbb{E}\bigl[p_i(x_i) \mid x_{<i}\bigr] = \sum_k p_i(k)\, p_i(k) .

    The differences :math:`p_i(x_i) - \sum_k p_i(k)^2`, one after the other and item after item,
    form a martingale with steps of at most 1, and Freedman's inequality bounds how far their sum
    strays, in terms of the variances that the model itself states. No event has to be listed: this
    judges samplers on images too large for that, where caches and borders go wrong.

    A bit with :math:`p = (0.8, 0.2)` predicts 0.68; taking the likelier level always yields 0.8,
    and stale logits draw levels that the right ones find improbable. It is one number of many: what
    it misses, ``autoregressive_model.sampler_matches_density`` finds on small events.""",
    assumptions={
        "the logits are causal": (
            "logits that give 0.9 to whatever bit stands there make each draw's probability "
            "0.9, and the prediction :math:`0.9^2 + 0.1^2 = 0.82`"
        ),
    },
    error=1e-9,
    effort=0.3,
)
@given(config=LARGE, vivid=VIVID, seed=st.integers(0, 2**31 - 1))
def test_samples_are_as_probable_as_their_conditionals_predict(
    subject: Handle, device: str, dtype: torch.dtype, config: AutoregressiveModelConfig, vivid: float,
    seed: int,
) -> None:  # fmt: skip
    model = _vivid(subject, config, vivid)
    model.needs("sample")
    n = max(1500 // config.dims, 60)
    y = torch.arange(n, device=device) % max(config.num_classes, 1)
    x = sample(model, n, y, _seeded(subject, seed))
    _judge_draws(model, x, y, torch.ones(config.dims, dtype=torch.bool), "sampled")


def _judge_generator(
    subject: Handle, model: Built, draw: Callable[[torch.Generator], Tensor], what: str
) -> None:
    """``draw`` uses the generator that it is given: it alone, and really."""
    before = generators()
    first_source, other_source = _seeded(subject, 20), _seeded(subject, 21)
    untouched = first_source.get_state()
    first = draw(first_source)
    check.that(
        generators() == before, f"{what} drew from a global generator although it was given one"
    )
    seed_everything(99)
    check.equal(draw(_seeded(subject, 20)), first, f"{what}, from a generator seeded as before,")
    draw(other_source)
    same = torch.equal(first_source.get_state(), other_source.get_state())
    check.that(not same, f"{what} reseeded the generator: it ends in one state from any seed")
    advanced = not torch.equal(first_source.get_state(), untouched)
    check.that(
        advanced,
        f"{what} drew nothing from the generator, which would give the same again and again",
    )


def _undecided(model: Built, y: Tensor) -> bool:
    """Whether the first dimension to be drawn has more than one level that can occur."""
    config = model.config
    x = torch.zeros(1, *config.event_shape, dtype=torch.long, device=model.handle.device)
    first = wide(logits(model, x, y[:1])).flatten(2)[0, :, order_of(model)[0]]
    return float(first.softmax(0).max()) < 0.999


@claim(
    "autoregressive_model.sampler_uses_its_generator",
    r"\texttt{sample}(n, g) = h(n, \text{state of } g), \qquad \text{nothing else is "
    r"drawn from, and } g \text{ moves on}",
    sources=["contracts.md, conventions"],
    why=r"""Who hands in a generator wants three things: the same samples for the same seed,
    whatever else the program draws; other samples the next time; and the global generators
    undisturbed. A sampler that ignores its generator cannot be repeated; one that seeds it, or a
    generator of its own, says the same at every call and correlates all that is drawn later.

    The test compares states. With a generator, those of the global ones must not change, and two
    generators of equal seed must give equal samples, with another global seed between; generators
    of different seeds must end in different states, and a state must change if the first dimension
    has more than one level that can occur. Without a generator, two global seeds must end in two
    states. It does so for 1, 2 and 3 samples, as a single one and an odd number are where shapes
    and pairs go wrong.""",
    effort=0.6,
)
@given(config=stratified(CONTRACTS["autoregressive_model"].strata), n=st.sampled_from([1, 2, 3]))
def test_sampler_draws_from_the_generator_and_from_nothing_else(
    subject: Handle, device: str, dtype: torch.dtype, config: AutoregressiveModelConfig, n: int
) -> None:
    model = subject.build(config)
    model.needs("sample")
    y = torch.randint(max(config.num_classes, 1), (n,), device=device)
    ends = []
    for seed_of_all in (31, 32):
        seed_everything(seed_of_all)
        sample(model, n, y)
        ends.append(generators().torch)
    check.that(
        ends[0] != ends[1],
        f"sample(n={n}) without a generator reseeds the global ones: it ends in one state from any",
    )
    if _undecided(model, y):
        _judge_generator(subject, model, lambda g: sample(model, n, y, g), f"sample(n={n})")


@claim(
    "autoregressive_model.samples_are_independent",
    r"\Pr[x^{(a)} = x^{(b)}] = \sum_x p(x)^2 \qquad (a \ne b \text{ of one call})",
    sources=["contracts.md, autoregressive_model", "Clopper and Pearson 1934"],
    why=r"""Independent draws of one distribution coincide with the probability that both are
    :math:`x`, summed over :math:`x`:

    .. math::

        \Pr[x^{(a)} = x^{(b)}] = \sum_x \Pr[x^{(a)} = x]\, \Pr[x^{(b)} = x] = \sum_x p(x)^2 .

    A sampler that works in pairs and fills an odd place by a copy, or shares a random number
    between two places, has the right frequencies over many samples and says the same thing twice:
    the two coincide always.

    The right side is a sum over all events of a small shape. The left side is counted over sixty
    calls of three or four samples, for neighbouring places; the count is binomial, and its exact
    tails decide. The frequency of coincidences does not prove independence, but no copy can hide
    from it.""",
    assumptions={
        "both samples have the same class": (
            r"samples of two classes coincide with probability :math:`\sum_x p(x \mid y)\, p(x "
            r"\mid y')`"
        ),
    },
    error=1e-9,
    effort=0.2,
)
@given(config=SAMPLED, n=st.sampled_from([3, 4]), seed=st.integers(0, 2**31 - 1))
def test_two_samples_of_a_call_coincide_as_often_as_chance_has_it(
    subject: Handle, device: str, dtype: torch.dtype, config: AutoregressiveModelConfig, n: int,
    seed: int,
) -> None:  # fmt: skip
    model = subject.build(config)
    model.needs("sample")
    y, calls = torch.zeros(n, dtype=torch.long, device=device), 60
    events = all_events(config, subject.device)
    log_p = log_p_of(model, events, y[:1].expand(len(events)))
    chance = float((2 * log_p).logsumexp(0).exp())
    source = _seeded(subject, seed)
    found = torch.stack(
        [index_of(sample(model, n, y, source), config.levels) for _ in range(calls)]
    )
    for a, b in pairwise(range(n)):
        count = int((found[:, a] == found[:, b]).sum())
        tails = (
            scipy.stats.binom.sf(count - 1, calls, chance),
            scipy.stats.binom.cdf(count, calls, chance),
        )
        check.that(
            min(tails) > FALSE_ALARM,
            f"samples {a} and {b} of {n} coincide in {count} of {calls} calls, where independent draws "
            f"do so with probability {chance:.4g}",
        )


# Completion --------------------------------------------------------------------------------------


def _patterns(config: AutoregressiveModelConfig) -> Any:
    """Known entries: scattered, none, all."""
    every = torch.ones(config.event_shape, dtype=torch.bool)
    scattered = integers_below(2, config.event_shape).map(lambda drawn: drawn.bool())
    return st.one_of(scattered, scattered, scattered, st.sampled_from([every, ~every]))


@claim(
    "autoregressive_model.completion_keeps_known_pixels",
    r"\hat x_i = x_i \text{ for known } i, \qquad \hat x \text{ does not depend on unknown } x_j",
    sources=[f"{PIXELRNN}, §5.8 and Figure 9", f"{LECTURE}, 'image completion'"],
    why=r"""Completion fills holes and nothing else. A known entry that is drawn anew is lost
    data; what stands in the holes beforehand is junk, and a completion that reads it depends on how
    the caller happened to fill them. A result that shares memory with the input, be it only where
    nothing was missing, overwrites the data when it is written to.

    The mask is scattered, full or empty, and True means known. The known entries of the result are
    compared with the input; a second call, from a generator of the same seed, gets other junk in
    the holes and must return the same; the result is overwritten, and the caller's image must be as
    it was. With nothing known, the generator is used as in
    ``autoregressive_model.sampler_uses_its_generator``. What is drawn is judged by
    ``autoregressive_model.completion_is_ancestral``.""",
)
@given(
    case=stratified(CONTRACTS["autoregressive_model"].strata).flatmap(
        lambda config: st.tuples(st.just(config), _patterns(config))
    ),
    n=st.sampled_from([1, 2, 3]),
)
def test_completion_keeps_what_is_known_and_ignores_what_is_not(
    subject: Handle, device: str, dtype: torch.dtype,
    case: tuple[AutoregressiveModelConfig, Tensor], n: int,
) -> None:  # fmt: skip
    config, known = case
    model = subject.build(config)
    model.needs("complete")
    x = torch.randint(config.levels, (n, *config.event_shape), device=device)
    junk = torch.where(known, x, torch.randint(config.levels, x.shape, device=device))
    y = torch.randint(max(config.num_classes, 1), (n,), device=device)
    original = x.clone()
    found = complete(model, x, known, y, _seeded(subject, 5))
    check.equal(found[:, known], x[:, known], "the known entries of the completion")
    other = complete(model, junk, known, y, _seeded(subject, 5))
    check.equal(other, found, "the completion with other junk in the unknown entries")
    complete(model, x, known, y)
    found.fill_(0)
    check.equal(x, original, "x, after writing to the completion, which must be a fresh tensor,")
    if not known.any() and _undecided(model, y):
        _judge_generator(subject, model, lambda g: complete(model, x, known, y, g), "complete")


@claim(
    "autoregressive_model.completion_matches_density",
    r"\Pr[\hat x_{>m} \mid x_{\le m}] = \prod_{i > m} p(x_i \mid x_{<i}) = p(x_{>m} \mid x_{\le m})",
    sources=[
        f"{PIXELRNN}, §5.8",
        ("Agrawal 2020, 'Finite-Sample Concentration of the Multinomial in Relative Entropy'"),
    ],
    why=r"""Let the first m entries of the order be known. The conditional is a quotient, in which
    the first m factors of the chain rule cancel:

    .. math::

        p(x_{>m} \mid x_{\le m}) = \frac{\prod_{i \le D} p(x_i \mid x_{<i})}{\prod_{i \le m} p(x_i \mid x_{<i})}
        = \prod_{i > m} p(x_i \mid x_{<i}) .

    So drawing the rest in order, each level given what is known and what was drawn, is exact
    conditioning. Sampling everything anew and pasting the known entries over it keeps them just as
    well, but what follows them belongs to another beginning.

    All events are listed, those that do not fit the beginning get probability 0, and 1200
    completions are counted against the rest by the bound of
    ``autoregressive_model.sampler_matches_density``.""",
    assumptions={
        "the known entries come first in the order": (
            "let the second bit copy the first and be known to be 1: the first must be 1, and "
            "drawn before the second it is 0 half of the time"
        ),
    },
    error=1e-9,
    effort=0.3,
)
@given(config=SAMPLED, prefix=st.integers(1, 6), seed=st.integers(0, 2**31 - 1))
def test_completions_of_a_prefix_follow_its_conditional(
    subject: Handle, device: str, dtype: torch.dtype, config: AutoregressiveModelConfig,
    prefix: int, seed: int,
) -> None:  # fmt: skip
    model = _vivid(subject, config)
    model.needs("complete")
    first = order_of(model)[: min(prefix, config.dims - 1)]
    known = torch.zeros(config.dims, dtype=torch.bool, device=device)
    known[first] = True
    start = torch.randint(config.levels, (1, config.dims), device=device)
    label = torch.randint(max(config.num_classes, 1), (1,), device=device)
    x = torch.randint(config.levels, (1200, config.dims), device=device)
    x = torch.where(known, start, x).view(-1, *config.event_shape)
    mask = known.view(config.event_shape)
    found = complete(model, x, mask, label.expand(len(x)), _seeded(subject, seed))
    events = all_events(config, subject.device)
    fits = (events.flatten(1)[:, first] == start[:, first]).all(1).cpu()
    log_p = gathered(logits(model, events, label.expand(len(events))), events)
    log_p = log_p[:, ~known.cpu()].sum(1).masked_fill(~fits, -math.inf)
    counts = torch.bincount(index_of(found, config.levels), minlength=len(events)).double()
    draws_follow(
        counts, log_p, event_names(config),
        f"completions of the first {len(first)} known dimensions{of_class(model, label)}",
    )  # fmt: skip


@claim(
    "autoregressive_model.completion_is_ancestral",
    r"\hat x_i \sim p(x_i \mid \hat x_{<i}) \quad \text{for every } i \text{ after the last known "
    r"entry}, \qquad \hat x_j = x_j \text{ for known } j < i",
    sources=[f"{PIXELRNN}, §5.8", "Freedman 1975, 'On Tail Probabilities for Martingales'"],
    why=r"""Behind the last known entry nothing is left to anticipate: exact conditioning and
    ancestral drawing agree (``autoregressive_model.completion_matches_density``, with the filled-in
    beginning for the known one). Each level there is drawn from the conditional of all before it,
    of what was known, what was drawn between, and each item's own. Hence
    :math:`p_i(\hat x_i) - \sum_k p_i(k)^2` has mean zero for these i, and the martingale bound of
    ``autoregressive_model.sampling_is_ancestral`` applies; the images may be too large to list.

    A completion that honours the known entries up to the first hole alone, and pastes the others
    over what it drew, keeps them all, and what follows them does not fit.

    Known entries are scattered before a random place of the order, or there are none; only what
    comes after that place is judged.""",
    assumptions={
        "only entries after the last known one are judged": (
            "a first bit that is copied by a second, known to be 1: its draw is 0 half of the "
            "time, where conditioning makes it 1"
        ),
    },
    error=1e-9,
    effort=0.3,
)
@given(
    config=stratified([models(e, (0, 2)) for e in (LONG_VECTORS, LARGE_GREY, LARGE_COLOUR)]),
    share=st.sampled_from([0.0, 0.3, 0.5, 0.6]),
    vivid=VIVID,
    seed=st.integers(0, 2**31 - 1),
)
def test_completions_are_as_probable_as_their_conditionals_predict(
    subject: Handle, device: str, dtype: torch.dtype, config: AutoregressiveModelConfig,
    share: float, vivid: float, seed: int,
) -> None:  # fmt: skip
    model = _vivid(subject, config, vivid)
    model.needs("complete")
    order = torch.tensor(order_of(model))
    last = min(round(share * config.dims), config.dims - 1)
    drawn = torch.ones(config.dims, dtype=torch.bool)
    drawn[order[:last]] = False
    known = ~drawn & (torch.rand(config.dims) < 0.5)
    known[order[last - 1 : last]] = True
    n = max(1500 // int(drawn.sum()), 60)
    y = torch.arange(n, device=device) % max(config.num_classes, 1)
    x = torch.randint(config.levels, (n, *config.event_shape), device=device)
    mask = known.view(config.event_shape).to(device)
    found = complete(model, x, mask, y, _seeded(subject, seed))
    _judge_draws(model, found, y, drawn, "completed")
