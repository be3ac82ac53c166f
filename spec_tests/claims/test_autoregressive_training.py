r"""Claims about training autoregressive models, and about moving them."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from hypothesis import given
from torch import Tensor

from spec_tests import check
from spec_tests.chain_rule import (
    all_events,
    documented_field,
    order_of,
    past_of,
    raster,
)
from spec_tests.claims import test_general
from spec_tests.claims.test_autoregressive import LECTURE, PIXELRNN
from spec_tests.contracts import CONTRACTS
from spec_tests.contracts.autoregressive import (
    AutoregressiveModelConfig,
    log_prob,
    logits,
    models,
    sample,
)
from spec_tests.general import Case, cases
from spec_tests.handle import Handle
from spec_tests.judge import stratified
from spec_tests.parameter_gradients import judge_parameter_gradient
from spec_tests.registry import Unsupported, claim


@claim(
    "autoregressive_model.gradient_in_parameters",
    r"\langle \nabla_\theta F(\theta), v \rangle = \tfrac{d}{dt} F(\theta + t v)\big|_{t=0}, \qquad F(\theta) = \langle c, \ell_\theta(x) \rangle "
    r"\text{ or } \langle c, \log p_\theta(x) \rangle",
    sources=["contracts.md, conventions"],
    why=r"""Maximum likelihood follows :math:`\nabla_\theta \log p_\theta(x)`, and whatever
    autograd returns is what training does: a ``detach`` left over from sampling, an in-place write
    or a cached tensor trains something else while every value is right.

    The claim is the definition of a gradient, for a random linear combination :math:`F` of the
    logits, then of ``log_prob``, along one random direction :math:`v` in the space of all
    parameters. The right side is a difference quotient of fourth order, at two step sizes whose
    distance is its error. It calls the model and knows only values, so that it shares nothing with
    the backward pass. Logits of minus infinity (levels that cannot be) are left out of the
    combination.""",
    assumptions={
        "the value is differentiable at the parameters": (
            "a ReLU at exactly 0 has the slopes 0 and 1; where the one-sided slopes differ, "
            "nothing is judged"
        ),
    },
    sentence="has the gradient of its logits and log_prob in its parameters",
    dtypes=("float64",),
    effort=0.6,
)
@given(config=stratified(CONTRACTS["autoregressive_model"].strata))
def test_has_the_gradient_of_its_logits_and_log_prob_in_its_parameters(
    subject: Handle, device: str, dtype: torch.dtype, config: AutoregressiveModelConfig
) -> None:
    subject.needs_gradients()
    model = subject.build(config)
    x = torch.randint(config.levels, (2, *config.event_shape), device=device)
    y = torch.randint(max(config.num_classes, 1), (2,), device=device)
    weights = torch.randn(2, config.levels, *config.event_shape, dtype=torch.float64, device=device)

    def total() -> Tensor:
        found = logits(model, x, y)
        return torch.where(found > -math.inf, weights * found, 0.0).sum()

    judge_parameter_gradient(model.module, total, "logits")
    if model.has("log_prob") and torch.isfinite(log_prob(model, x, y)).all():
        judge_parameter_gradient(
            model.module, lambda: (log_prob(model, x, y) * weights[:, 0].flatten(1)[:, 0]).sum(),
            "log_prob",
        )  # fmt: skip


def _copies(config: AutoregressiveModelConfig, faithful: float = 0.9) -> Tensor:
    """log q of every event: each dimension copies the one before it, else takes another level."""
    events = all_events(config, torch.device("cpu")).flatten(1)
    order = raster(config.event_shape)
    total = torch.full((len(events),), -math.log(config.levels), dtype=torch.float64)
    for here, before in zip(order[1:], order[:-1], strict=True):
        copied = events[:, here] == events[:, before]
        total += torch.where(copied, faithful, (1 - faithful) / (config.levels - 1)).log()
    return total


@claim(
    "autoregressive_model.fits",
    r"\min_{t \le 200} \mathbb{E}_q[-\log p_{\theta_t}] - H(q) \le \tfrac12\, \bigl(D \log K - H(q)\bigr)",
    sources=[f"{LECTURE}, 'Autoregressive generative models'", f"{PIXELRNN}, §5"],
    why=r"""In the data :math:`q` the first dimension is uniform and each other copies its
    predecessor nine times out of ten, else takes another level. Every single dimension is then
    uniform, so that independent dimensions cost :math:`D \log K`, while

    .. math::

        H(q) = \log K + (D - 1) \Bigl(-0.9 \log 0.9 - 0.1 \log \frac{0.1}{K - 1}\Bigr) .

    The gap between the two is all dependence, and it takes learning the past to close any of it.

    That half can be recovered is no theorem but a requirement on the whole of initialisation,
    gradient and architecture. Two hundred steps of Adam on the exact loss (all events, weighted by
    :math:`q`, so that there is no noise of batches) have to reach it from a fresh initialisation,
    at one of two learning rates. The goal comes from the formula for :math:`q`, not from any model.""",
    assumptions={
        "each dimension may use the one drawn just before": (
            r"without it no model does better than :math:`D \log K` for D = 2, and the claim is "
            "not asked of one that documents it"
        ),
        "no event of the data is excluded": (
            "a logit of minus infinity at an event that occurs makes the loss infinite at every "
            "step"
        ),
    },
    effort=0.1,
)
@given(
    config=stratified([models(((4,),), (0,), (2, 3)), models(((1, 1, 4), (3, 1, 1)), (0,), (2,))])
)
def test_training_recovers_half_of_the_dependence_or_more(
    subject: Handle, device: str, dtype: torch.dtype, config: AutoregressiveModelConfig
) -> None:
    subject.needs_gradients()
    events, log_q = all_events(config, subject.device), _copies(config)
    q = log_q.exp().to(subject.device, dtype)
    entropy = float(-(log_q.exp() * log_q).sum())
    goal = (entropy + config.dims * math.log(config.levels)) / 2
    reached = math.inf
    for rate in (0.03, 0.005):
        model = subject.build(config, training=True, redraw=False)
        parameters = [p for p in model.module.parameters() if p.requires_grad]
        if not parameters:
            raise Unsupported("no trainable parameters")
        order = order_of(model)
        field = documented_field(model, past_of(order))
        colour = len(config.event_shape) == 3 and config.event_shape[0] > 1
        if field is None and colour:
            raise Unsupported("it documents no field, and its channels may ignore each other")
        if field is not None and not all(field[i, j] for j, i in pairwise(order)):
            raise Unsupported("it documents that it does not see the dimension drawn just before")
        optimizer = torch.optim.Adam(parameters, lr=rate)
        for _ in range(200):
            optimizer.zero_grad()
            found = logits(model, events).log_softmax(1)
            chosen = found.flatten(2).gather(1, events.flatten(1)[:, None]).sum((1, 2))
            loss = -(q * chosen).sum()
            reached = min(reached, float(loss.detach()))
            if reached <= goal:
                return
            if math.isinf(float(loss.detach())):
                raise Unsupported("it excludes events that the data contain")
            if loss.requires_grad:
                loss.backward()
            optimizer.step()
    check.at_most(
        reached, goal, 0.0,
        f"the cross-entropy after training, of data of entropy {entropy:.4g} whose dimensions copy "
        f"each other,",
    )  # fmt: skip


@claim(
    "autoregressive_model.survives_moving",
    r"\ell_{\theta \to \text{float64}}(x) = \ell_\theta(x), \qquad \text{up to the "
    "rounding of float32}",
    sources=["contracts.md, conventions"],
    why=r"""``module.to(dtype)`` and ``.to(device)`` reach parameters and registered buffers and
    nothing else. A mask or an order kept as a plain attribute stays behind, a cache keeps the
    precision of the first call, and a cast in the middle of the network undoes the move. The
    failure is a crash at best; at worst half of the network computes in another precision, which
    nobody sees.

    The module is used in float32, moved to float64 and used again: logits and ``log_prob`` must
    have the new dtype and their old values. The oracle is a second module that was float64 from the
    start and has the same parameters. The sampler must still run; its draws in the two precisions
    may differ, as a rounded probability can decide a level.""",
    effort=0.5,
)
@given(
    case=cases(
        CONTRACTS["autoregressive_model"], lambda probe: probe.name in ("logits", "log_prob")
    )
)
def test_logits_are_the_same_after_moving_to_float64(
    subject: Handle, device: str, dtype: torch.dtype, case: Case
) -> None:
    test_general.test_computes_the_same_after_moving(
        subject=subject, device=device, dtype=dtype, case=case
    )
    model = subject.build(case.config, dtype=torch.float32)
    subject.guarded(lambda: model.module.to(torch.float64))
    if model.has("sample"):
        source = torch.Generator(subject.device).manual_seed(1)
        sample(model, 2, torch.zeros(2, dtype=torch.long, device=device), source)
