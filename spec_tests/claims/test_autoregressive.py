r"""Claims about the logits and the densities of autoregressive models.

A model over few enough events is judged by listing them all: normalisation and entropies are then
sums. Causality needs no enumeration: one dimension after the other is changed, all of them in one
batch, and the logits tell which dimensions noticed.
"""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spec_tests import check
from spec_tests.chain_rule import (
    all_events,
    ancestral_log_joint,
    chain_of,
    classes,
    dimension_name,
    documented_field,
    log_p_of,
    of_class,
    order_in_words,
    order_of,
    past_of,
)
from spec_tests.check import Violation
from spec_tests.contracts.autoregressive import (
    AutoregressiveModelConfig,
    log_prob,
    logits,
    models,
)
from spec_tests.event_spaces import (
    ENUMERABLE,
    LARGE,
    LARGE_COLOUR,
    LARGE_GREY,
    LONG_VECTORS,
    WITH_CLASSES,
)
from spec_tests.handle import Built, Handle, SubjectError
from spec_tests.judge import stratified
from spec_tests.numerics import size_of, wide
from spec_tests.registry import claim
from spec_tests.tolerance import guarded, rounding

PIXELRNN = "van den Oord, Kalchbrenner, Kavukcuoglu 2016, 'Pixel Recurrent Neural Networks'"
GATED = "van den Oord et al. 2016, 'Conditional Image Generation with PixelCNN Decoders'"
LECTURE = "CS182 2021 L17, 'Generative Modeling'"


# Causality ---------------------------------------------------------------------------------------


def _changes(model: Built, x: Tensor, y: Tensor) -> tuple[Tensor, float]:
    """``(D, D)``: the largest change of the logits of row i when dimension j of ``x`` changes.

    Every dimension is changed in one batch, behind the untouched event; the second result is how
    far rounding can move a logit.
    """
    d, levels = model.config.dims, model.config.levels
    batch = x.expand(d + 1, *x.shape[1:]).clone().view(d + 1, d)
    every = torch.arange(d, device=x.device)
    other = (
        torch.randint(1, levels, (d,), device=x.device) if levels > 1 else torch.zeros_like(every)
    )
    batch[1 + every, every] = (batch[1 + every, every] + other) % levels
    found = logits(model, batch.view(d + 1, *x.shape[1:]), y.expand(d + 1))
    flat = wide(found).flatten(2)  # (1 + D, K, D)
    change = torch.where(flat[1:] == flat[:1], 0.0, (flat[1:] - flat[:1]).abs())
    return change.amax(1).mT, rounding(found.dtype, scale=size_of(found))


@claim(
    "autoregressive_model.causality",
    r"x_{<i} = x'_{<i} \;\Rightarrow\; \ell_i(x) = \ell_i(x'), \qquad p(x) = \prod_i "
    r"\operatorname{softmax}(\ell_i(x))_{x_i}",
    sources=[f"{PIXELRNN}, Equations 1 and 2", f"{LECTURE}, 'Autoregressive generative models'"],
    why=r"""The logits :math:`\ell_i(x)` are to be those of the conditional
    :math:`p(x_i \mid x_{<i})`, where ``<`` is the documented order, or raster order. A function of
    more than :math:`x_{<i}` is not a conditional, and then the product is not a distribution: let
    each of two bits be predicted to equal the other,

    .. math::

        p(x_1 \mid x_2)\, p(x_2 \mid x_1) = [x_1 = x_2], \qquad
        \sum_x [x_1 = x_2] = 2 .

    Such a model reports likelihoods that no distribution has, and no sampler can follow it, for it
    needs what is not yet drawn.

    For every class, each dimension is changed in turn, all in one batch behind the untouched event.
    The logits of the dimension itself and of all before it must stay as they were; a difference
    beyond rounding is a leak. Nothing is assumed of the architecture.""",
)
@given(config=LARGE)
def test_logits_do_not_change_with_their_own_or_a_later_dimension(
    subject: Handle, device: str, dtype: torch.dtype, config: AutoregressiveModelConfig
) -> None:
    model = subject.build(config)
    past = past_of(order_of(model))
    for y in classes(config, 1, subject.device):
        x = torch.randint(config.levels, (1, *config.event_shape), device=device)
        change, noise = _changes(model, x, y)
        leak = torch.where(past, 0.0, change)
        i, j = (int(n) for n in torch.nonzero(leak == leak.max())[0])
        check.at_most(
            leak.max(), 0.0, noise,
            f"the change of the logits of {dimension_name(config.event_shape, i)} with "
            f"{dimension_name(config.event_shape, j)}{of_class(model, y)}, which does not precede it in "
            f"{order_in_words(model)},",
        )  # fmt: skip


def _kinds_of_past(config: AutoregressiveModelConfig, order: list[int]) -> dict[str, Tensor]:
    """The kinds of dependence that a model of an undocumented receptive field must have some of."""
    d, past = config.dims, past_of(order)
    before = torch.zeros(d, d, dtype=torch.bool)
    before[
        torch.tensor(order[1:], dtype=torch.long), torch.tensor(order[:-1], dtype=torch.long)
    ] = True
    kinds = {"the dimension generated just before it": before}
    if len(config.event_shape) == 3:
        _, height, width = config.event_shape
        place = torch.arange(d) % (height * width)
        row, column = place // width, place % width
        same_row = row[:, None] == row[None, :]
        same_pixel = same_row & (column[:, None] == column[None, :])
        kinds = {}  # channels that are independent given the pixels before them are a model too
        kinds["an earlier pixel of its row"] = past & same_row & ~same_pixel
        kinds["an earlier row"] = past & ~same_row
    return kinds


def _judge_use(
    config: AutoregressiveModelConfig, order: list[int], field: Tensor | None, used: Tensor
) -> str:
    """What is missing from the union of dependences seen so far; empty if nothing is."""
    if field is not None:
        missing = torch.nonzero(field & ~used)
        if not len(missing):
            return ""
        i, j = (dimension_name(config.event_shape, int(n)) for n in missing[0])
        return (
            f"the logits of {i} never change with {j}, which the documented receptive_field holds "
            f"({len(missing)} of {int(field.sum())} dependences are missing)"
        )
    for kind, pairs in _kinds_of_past(config, order).items():
        if pairs.any() and not (used & pairs).any():
            return f"no logits of any dimension ever change with {kind}"
    return ""


@claim(
    "autoregressive_model.uses_the_allowed_past",
    r"\bigcup_\theta \{(i, j) : \ell_i \text{ changes with } x_j\} = R, \qquad R "
    r"\subseteq \{(i, j) : j < i\}",
    sources=[f"{PIXELRNN}, §3", f"{GATED}, §2.2 and Figure 1"],
    why=r"""A constant is causal. Where a model documents its receptive field R, the pairs of a
    dimension i and a dimension j that its logits react to, collected over redrawn parameters, must
    be R: one pair more and the documentation is wrong, one pair less and part of the past is
    wasted, or forgotten by a mask.

    Where it documents none, a blind spot is its own affair (``theory.blind_spot``), and so are
    channels that ignore each other given the pixels before. But somewhere a dimension of a vector
    must use the one drawn just before, and a pixel of an image an earlier pixel of its row, and one
    of an earlier row.

    The dependences are measured as in ``autoregressive_model.causality``, by changing one dimension
    after the other. A network may be deaf to an input at one setting of its parameters (a unit that
    is off), hence the union over up to thirty.""",
    assumptions={
        "parameters are redrawn": (
            "with output weights of zero, a common initialisation, the logits depend on "
            "nothing, whatever the masks"
        ),
    },
    dtypes=("float64",),
)
@given(config=LARGE)
def test_logits_change_with_what_they_may_use(
    subject: Handle, device: str, dtype: torch.dtype, config: AutoregressiveModelConfig
) -> None:
    used = torch.zeros(config.dims, config.dims, dtype=torch.bool)
    missing = ""
    for _ in range(30):
        model = subject.build(config)
        order = order_of(model)
        field = documented_field(model, past_of(order))
        x = torch.randint(config.levels, (1, *config.event_shape), device=device)
        y = torch.randint(max(config.num_classes, 1), (1,), device=device)
        change, noise = _changes(model, x, y)
        seen = change > noise
        if field is not None and (seen & ~field).any():
            i, j = (
                dimension_name(config.event_shape, int(n)) for n in torch.nonzero(seen & ~field)[0]
            )
            raise Violation(
                f"the logits of {i} change with {j}, which the documented receptive_field leaves out"
            )
        used |= seen
        missing = _judge_use(config, order, field, used)
        if not missing:
            return
    raise Violation(f"over 30 draws of the parameters, {missing}")


@claim(
    "autoregressive_model.order_is_a_permutation",
    r"\{\pi_1, \dots, \pi_D\} = \{0, \dots, D - 1\}",
    sources=[
        "Germain et al. 2015, 'MADE: Masked Autoencoder for Distribution Estimation', §4.2",
        "contracts.md, autoregressive_model",
    ],
    why=r"""The chain rule holds in any order :math:`\pi`,

    .. math::

        p(x) = \prod_{k=1}^D p(x_{\pi_k} \mid x_{\pi_1}, \dots, x_{\pi_{k-1}}),

    as long as every dimension has its turn, once: then each factor is a quotient of two
    neighbouring marginals and the product telescopes. A dimension that is left out is never drawn
    and costs nothing, so that the probabilities of all events sum to the number of its levels
    instead of 1; one that appears twice is drawn again after others were drawn from its first
    value.

    The test asks for a tensor of D integers and sorts it: it must list 0 to D - 1, indices of the
    flattened event. The other claims of the contract read the past of each dimension off this
    order.""",
    assumptions={
        "every dimension appears": (
            "two bits of which the second is never predicted give each event :math:`p(x_1)`, "
            "and the sum over the four events is 2"
        ),
    },
    effort=0.5,
)
@given(config=models(LONG_VECTORS + LARGE_GREY + LARGE_COLOUR, (0, 2)))
def test_order_names_every_dimension_once(
    subject: Handle, device: str, dtype: torch.dtype, config: AutoregressiveModelConfig
) -> None:
    model = subject.build(config)
    model.needs("order")
    found, d = model.value("order"), config.dims
    right = isinstance(found, Tensor) and found.dtype == torch.long and tuple(found.shape) == (d,)
    check.that(right, f"order must be a long tensor of shape {(d,)}, not {found!r}")
    listed = sorted(int(i) for i in found)
    check.that(
        listed == list(range(d)),
        f"order {found.tolist()} is not a permutation of 0 to {d - 1}, the flattened event",
    )


# Densities ---------------------------------------------------------------------------------------


@claim(
    "autoregressive_model.normalised",
    r"\sum_{x} e^{\log p(x)} = 1",
    sources=[f"{PIXELRNN}, Equation 1", f"{LECTURE}, 'Autoregressive generative models'"],
    why=r"""Sum over the dimension that is drawn last; all other factors do not depend on it, and
    its own conditional sums to one:

    .. math::

        \sum_{x_1} \cdots \sum_{x_D} \prod_{i \le D} p(x_i \mid x_{<i})
        = \sum_{x_1} \cdots \sum_{x_{D-1}} \prod_{i < D} p(x_i \mid x_{<i}) = \dots = 1 .

    Then the one before it, and so on to the first. No constant has to be estimated, which is what
    sets these models apart from energy models.

    All :math:`K^D` events of a small shape are listed and their probabilities added, for every
    class, by the model's own ``log_prob`` where it has one. A single leak from a later dimension
    stops the telescope (``autoregressive_model.causality``), and so does a term that is missing,
    doubled or averaged.""",
    assumptions={
        "no conditional depends on its own dimension or a later one": (
            "two bits that are each predicted to equal the other: (0, 0) and (1, 1) have "
            "probability 1 both, and the sum is 2"
        ),
        "each conditional sums to one over its levels": (
            "raw logits in place of their log-softmax: logits of zero give each of the "
            ":math:`K^D` events :math:`e^0 = 1`"
        ),
    },
    effort=0.6,
)
@given(config=ENUMERABLE)
def test_probabilities_of_all_events_sum_to_one(
    subject: Handle, device: str, dtype: torch.dtype, config: AutoregressiveModelConfig
) -> None:
    model = subject.build(config)
    events = all_events(config, subject.device)
    for y in classes(config, len(events), subject.device):
        total = log_p_of(model, events, y).logsumexp(0).exp()
        check.close(
            total, 1.0, guarded(dtype, length=len(events)),
            f"the sum of the probabilities of all {len(events)} events{of_class(model, y)}",
        )  # fmt: skip


@claim(
    "autoregressive_model.chain_rule",
    r"\log p(x) = \sum_{i=1}^D \log \operatorname{softmax}(\ell_i(x))_{x_i}, \qquad "
    r"\operatorname{softmax}(\ell)_k = e^{\ell_k} \Big/ \sum_j e^{\ell_j}",
    sources=[f"{PIXELRNN}, Equation 1"],
    why=r"""The chain rule writes :math:`p(x)` as the product of the conditionals, and the
    logarithm of a product is the sum of the logarithms: over all D dimensions, not their mean,
    given the label, and in nats. Logits are free up to a constant for each dimension, which the
    softmax takes away; it runs over the K levels, the second dimension of the tensor, and over
    nothing else.

    The oracle is the model's own logits, at the same events and labels, put through a log-softmax
    and gathered in double precision by the test. So the claim ties ``log_prob`` to ``logits`` and
    says nothing of either alone: that the logits are those of a distribution is
    ``autoregressive_model.causality``, and that the whole is one is
    ``autoregressive_model.normalised``.""",
    sentence="log_prob adds up the conditionals",
)
@given(config=LARGE, n=st.sampled_from([1, 2, 5]))
def test_log_prob_adds_up_the_conditionals(
    subject: Handle, device: str, dtype: torch.dtype, config: AutoregressiveModelConfig, n: int
) -> None:
    model = subject.build(config)
    model.needs("log_prob")
    x = torch.randint(config.levels, (n, *config.event_shape), device=device)
    y = torch.randint(max(config.num_classes, 1), (n,), device=device)
    expected = chain_of(model, x, y)
    allowed = guarded(dtype, length=config.dims * config.levels, scale=size_of(expected))
    check.close(
        log_prob(model, x, y), expected, allowed, "log_prob, against the logits it adds up,"
    )


def _uniform_at_zero(model: Built, x: Tensor, y: Tensor) -> bool:
    """Whether the module, with zeros for parameters, gives every level the same logit."""
    if not model.is_module:
        return False
    with torch.no_grad():
        for parameter in model.module.parameters():
            parameter.zero_()
    try:
        found = logits(model, x, y)
    except (Violation, SubjectError):  # zeros are no parameters of every architecture: 0 / |0|
        return False
    return bool((found == found[:, :1]).all())


@claim(
    "autoregressive_model.bits_per_dim",
    r"\frac{1}{K^D}\sum_x \frac{-\log_2 p(x)}{D} = \log_2 K + "
    r"\frac{D_{\mathrm{KL}}(u \,\|\, p)}{D \log 2} \ge \log_2 K",
    sources=[
        "CS182 2020 L16, table of bits per dimension",
        ("Theis, van den Oord, Bethge 2015, 'A note on the evaluation of generative models', §3.1"),
    ],
    why=r"""Let :math:`u` be uniform over the :math:`K^D` events. Then the mean code length in
    nats is a cross-entropy,

    .. math::

        -\sum_x u(x) \log p(x) = -\sum_x u(x) \log u(x) + \sum_x u(x) \log \frac{u(x)}{p(x)}
        = D \log K + D_{\mathrm{KL}}(u \,\|\, p) .

    Divided by :math:`D \log 2` it is the statement, and the divergence is never negative
    (``autoregressive_model.gibbs``): no code for noise is shorter than :math:`\log_2 K` bits a
    dimension. Uniform logits attain it, 8.00 bits for the 256 levels of a byte, the number to
    remember when reading a table of likelihoods.

    The divergence is computed by a route of its own: each conditional is asked for with zeros in
    place of what comes later. A module whose parameters at zero give uniform logits is also judged
    at 256 levels.""",
    assumptions={
        "the probabilities sum to one, or less": (
            "a mean over dimensions in place of the sum makes uniform logits cost "
            r":math:`(\log_2 K)/D` bits"
        ),
        "the data are noise, all events alike": "an image that is always the same can be coded in 0 bits",
    },
    sentence="noise costs log2 K bits a dimension or more",
    effort=0.6,
)
@given(
    config=stratified(
        [*ENUMERABLE.genspec_strata, models(((1,), (2,), (1, 1, 2), (3, 1, 1)), (0,), (256,))]
    )
)
def test_noise_costs_log_k_bits_a_dimension_or_more(
    subject: Handle, device: str, dtype: torch.dtype, config: AutoregressiveModelConfig
) -> None:
    model = subject.build(config)
    per_dim = config.dims * math.log(2)
    if config.levels == 256:
        x = torch.randint(256, (3, *config.event_shape), device=device)
        y = torch.zeros(3, dtype=torch.long, device=device)
        if _uniform_at_zero(model, x, y):
            bits = -log_p_of(model, x, y) / per_dim
            check.close(
                bits, torch.full((3,), 8.0), guarded(dtype, length=256, scale=8.0),
                "the code length under uniform logits, in bits a dimension,",
            )  # fmt: skip
        return
    events = all_events(config, subject.device)
    for y in classes(config, len(events), subject.device):
        bits = -log_p_of(model, events, y).mean() / per_dim
        divergence = -ancestral_log_joint(model, y).mean() / per_dim - math.log2(config.levels)
        allowed = guarded(dtype, length=len(events), scale=size_of(bits))
        what = f"the mean code length of all events{of_class(model, y)}, in bits a dimension,"
        check.at_least(bits, math.log2(config.levels), allowed, what)
        check.close(bits, math.log2(config.levels) + divergence, allowed, what)


@claim(
    "autoregressive_model.gibbs",
    r"-\sum_x q(x) \log p(x) = H(q) + D_{\mathrm{KL}}(q \,\|\, p) \ge H(q), \quad "
    r"\text{with equality for } q = p",
    sources=[
        "Cover and Thomas 2006, 'Elements of Information Theory', Theorem 2.6.3",
        f"{LECTURE}, 'Autoregressive generative models'",
    ],
    why=r"""Adding and subtracting :math:`\log q` splits the cross-entropy into
    :math:`H(q) = -\sum_x q \log q` and the divergence; and by Jensen's inequality, as the logarithm
    is concave,

    .. math::

        -D_{\mathrm{KL}}(q \,\|\, p) = \sum_{q > 0} q(x) \log \frac{p(x)}{q(x)}
        \le \log \sum_{q > 0} p(x) \le \log 1 = 0,

    with equality only for :math:`q = p`. The training loss has a floor, the entropy of the data. A
    likelihood beyond it is a bug (a leak, a mean over dimensions), never a good model.

    The test takes random data, and the model's own distribution, over all events. The divergence
    comes from conditionals that are asked for one by one, with nothing but zeros after the
    dimension that they predict, so that a leak cannot enter it.""",
    assumptions={
        "the probabilities of the model sum to one, or less": (
            "a ``log_prob`` that is the mean over the dimensions gives two fair bits a "
            r"cross-entropy of :math:`\log 2`, where their entropy is :math:`2 \log 2`"
        ),
    },
    effort=0.6,
)
@given(config=ENUMERABLE, own=st.booleans())
def test_cross_entropy_is_the_entropy_plus_the_divergence(
    subject: Handle, device: str, dtype: torch.dtype, config: AutoregressiveModelConfig, own: bool
) -> None:
    model = subject.build(config)
    events = all_events(config, subject.device)
    y = torch.randint(max(config.num_classes, 1), (1,), device=device).expand(len(events))
    log_p, ancestral = log_p_of(model, events, y), ancestral_log_joint(model, y)
    weight = torch.randn(len(events), dtype=torch.float64).relu() + 1e-3
    q = ancestral.exp() if own else weight / weight.sum()
    support = q > 0
    q, log_q = q[support], q[support].log()
    entropy, cross = -(q * log_q).sum(), -(q * log_p[support]).sum()
    divergence = (q * (log_q - ancestral[support])).sum()
    allowed = guarded(dtype, length=len(events), scale=size_of(cross))
    data = "the model's own distribution" if own else "random data"
    what = f"the cross-entropy of {data}{of_class(model, y)}"
    check.at_least(cross, entropy, allowed, f"{what}, against its entropy,")
    check.close(cross, entropy + divergence, allowed, f"{what}, against entropy plus divergence,")


@claim(
    "autoregressive_model.conditioning",
    r"y \ne y' \;\Rightarrow\; \ell(x, y) \ne \ell(x, y') \text{ for some } x, \theta",
    sources=[f"{GATED}, §2.3"],
    why=r"""A label that is accepted and ignored is no condition: every :math:`p(x \mid y)` is
    then the mixture of all classes, and a sampler that is asked for one of them returns any. The
    likelihood hardly tells, as a label is worth at most the logarithm of the number of classes, for
    a whole image.

    A label acts through parameters of its own, a bias or an embedding. Drawn from a continuous
    distribution, those of two classes coincide with probability 0, and the logits differ somewhere.

    For one event, the logits under all labels are computed in one batch and compared in pairs. Each
    pair has five draws of the parameters to differ by more than rounding, somewhere. That each
    class is causal and sums to one is part of ``autoregressive_model.causality`` and
    ``autoregressive_model.normalised``.""",
    assumptions={
        "parameters are redrawn": "an embedding of labels that starts at zero makes all classes alike until it is trained",
    },
)
@given(config=WITH_CLASSES)
def test_every_two_classes_have_different_logits(
    subject: Handle, device: str, dtype: torch.dtype, config: AutoregressiveModelConfig
) -> None:
    count = config.num_classes
    same = ~torch.eye(count, dtype=torch.bool)
    for _ in range(5):
        model = subject.build(config)
        x = torch.randint(config.levels, (1, *config.event_shape), device=device)
        y = torch.arange(count, device=device)
        found = logits(model, x.expand(count, *x.shape[1:]).clone(), y)
        flat = wide(found).flatten(1)
        change = torch.where(flat[:, None] == flat[None], 0.0, (flat[:, None] - flat[None]).abs())
        same &= change.amax(2) <= rounding(found.dtype, scale=size_of(found))
        if not same.any():
            return
    one, other = (int(n) for n in torch.nonzero(same)[0])
    raise Violation(
        f"classes {one} and {other} have the same logits, over 5 draws of the parameters"
    )
