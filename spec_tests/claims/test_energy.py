r"""Restricted Boltzmann machines, by exact enumeration of every state of both layers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spec_tests import check
from spec_tests.contracts.energy import STRATA, RBMConfig
from spec_tests.handle import Built, Handle
from spec_tests.judge import stratified
from spec_tests.marginals import outcomes
from spec_tests.numerics import gradients
from spec_tests.registry import NotOffered, Unsupported, claim
from spec_tests.tolerance import guarded, rounding

HINTON = "Hinton 2010, 'A Practical Guide to Training Restricted Boltzmann Machines'"
SMOLENSKY = "Smolensky 1986, 'Information processing in dynamical systems', chapter 6"
machines = stratified(list(STRATA))


@dataclass(frozen=True)
class Machine:
    r"""Everything that a machine says of its states, in double precision on the CPU.

    ``v`` and ``h`` are all states of the layers, ``free_energy`` is ``(2^V,)``, ``given_v`` and
    ``given_h`` are log p(h|v) and log p(v|h), both ``(2^V, 2^H)``, and ``energy`` is ``(2^V, 2^H)`` or
    ``None``. ``slack`` is what rounding may move a log-probability by: what is lost where a
    probability is close to 1 counts.
    """

    v: Tensor
    h: Tensor
    free_energy: Tensor
    hidden: Tensor
    visible: Tensor
    given_v: Tensor
    given_h: Tensor
    energy: Tensor | None
    slack: float

    @property
    def known_energy(self) -> Tensor:
        if self.energy is None:
            raise NotOffered("no energy")
        return self.energy


def _log_product(p: Tensor, states: Tensor) -> Tensor:
    """log of the probability of each of ``states`` under coins ``p``: (P, K), (S, K) -> (P, S)."""
    on, off = p.log()[:, None], (-p).log1p()[:, None]
    return torch.where(states[None] > 0, on, off).sum(-1)


def _drawn_at_random(model: Built) -> bool:
    """Whether the harness has drawn parameters, of a size that saturates no unit."""
    return model.is_module and any(p.requires_grad for p in model.module.parameters())


def _judge_saturated(model: Built, name: str, p: Tensor) -> None:
    """Weights that the subject fixes itself may be so large that a probability rounds to 0 or 1."""
    lies = f"{name} lies in [{p.min():.6g}, {p.max():.6g}]"
    inside = bool(((p >= 0) & (p <= 1)).all())
    check.that(inside and not _drawn_at_random(model), f"{lies}, not within (0, 1)")
    raise Unsupported(f"{lies}, where logarithms are lost")


def enumerate_machine(model: Built, config: RBMConfig, like: Handle) -> Machine:
    """Asks the machine about all of its states."""
    v, h = outcomes(config.visible), outcomes(config.hidden)

    def asked(states: Tensor) -> Tensor:
        return states.to(like.device, like.dtype)

    def received(values: Tensor) -> Tensor:
        return values.detach().to("cpu", torch.float64)

    free = received(model.free_energy(asked(v)))
    hidden = received(model.hidden_probability(asked(v)))
    visible = received(model.visible_probability(asked(h)))
    for name, p in (("hidden_probability", hidden), ("visible_probability", visible)):
        if not bool(((p > 0) & (p < 1)).all()):
            _judge_saturated(model, name, p)
    energy = None
    if model.has("energy"):
        pairs = asked(v.repeat_interleave(len(h), 0)), asked(h.repeat(len(v), 1))
        energy = received(model.energy(*pairs)).reshape(len(v), len(h))
        check.finite(energy, "energy")
    check.finite(free, "free_energy")
    lost = sum(float((1 / (p * (1 - p))).max()) for p in (hidden, visible))
    size = float(free.abs().max()) + (0.0 if energy is None else float(energy.abs().max()))
    slack = rounding(like.dtype, length=v.shape[1] + h.shape[1], scale=1 + size + lost)
    given_v, given_h = _log_product(hidden, h), _log_product(visible, v).T
    return Machine(v, h, free, hidden, visible, given_v, given_h, energy, slack)


@claim(
    "rbm.free_energy_marginalises",
    r"F(v) = -\log \sum_h e^{-E(v, h)}; \qquad F(v') - F(v) = \log \frac{p(v \mid h)\, p(h \mid v')}"
    r"{p(h \mid v)\, p(v' \mid h)} \text{ for every } h",
    sources=[f"{HINTON}, section 16.1"],
    why="""The free energy of a visible state is that of all joint states which contain it; the sum over
    the 2^H hidden states is carried out. Where no energy is offered, Bayes' rule gives the ratio of two
    marginals from the conditionals, through any hidden state, and free energies count by their
    differences.""",
)
@given(config=machines)
def test_free_energy_sums_out_the_hidden_units(
    subject: Handle, device: str, dtype: torch.dtype, config: RBMConfig
) -> None:
    machine = enumerate_machine(subject.build(config), config, subject)
    if machine.energy is not None:
        exact = -(-machine.energy).logsumexp(1)
        check.close(machine.free_energy, exact, machine.slack, "free_energy of each visible state")
        return
    log_ratio = machine.given_h - machine.given_v  # log p(v) up to a constant of h
    difference = log_ratio[:1] - log_ratio
    found = (machine.free_energy - machine.free_energy[0])[:, None].expand_as(difference)
    check.close(
        found,
        difference,
        4 * machine.slack,
        "free_energy (visible state, hidden state that it is compared through), less that of zeros,",
    )


def _strong(subject: Handle, config: RBMConfig, factor: float) -> Built:
    """A machine with its matrices multiplied, whose units are all but certain."""
    model = subject.build(config)
    if not _drawn_at_random(model):
        raise NotOffered("no parameters to draw at random")
    with torch.no_grad():
        for parameter in model.module.parameters():
            if parameter.requires_grad and parameter.ndim > 1:
                parameter.mul_(factor)
    return model


@claim(
    "rbm.free_energy_of_strong_weights",
    r"F(v) = -\log \sum_h e^{-E(v, h)} \quad\text{for weights of any size}",
    sources=[f"{HINTON}, section 16.1"],
    why="""Trained machines have units that are all but certain. log(1 + e^a) is a itself for a large
    field, and e^a overflows on the way there; a shortcut that begins too early is off by e^-a. The
    weights are drawn five times and two thousand times their usual size, and the free energy must
    be finite, with its gradient, and where the energy is offered agree with the sum over all hidden
    states.""",
    effort=0.5,
)
@given(config=machines, factor=st.sampled_from([5.0, 2000.0]))
def test_free_energy_survives_strong_weights(
    subject: Handle, device: str, dtype: torch.dtype, config: RBMConfig, factor: float
) -> None:
    model = _strong(subject, config, factor)
    trained = [p for p in model.module.parameters() if p.requires_grad]
    v, h = outcomes(config.visible), outcomes(config.hidden)

    def asked(states: Tensor) -> Tensor:
        return states.to(subject.device, subject.dtype)

    free = model.free_energy(asked(v))
    check.finite(free, f"free_energy with weights {factor:.0f} times as large")
    for gradient in gradients(free.sum(), trained, what="free_energy"):
        check.finite(
            gradient, f"the gradient of free_energy with weights {factor:.0f} times as large"
        )
    if model.has("energy"):
        pairs = asked(v.repeat_interleave(len(h), 0)), asked(h.repeat(len(v), 1))
        energy = model.energy(*pairs).detach().to("cpu", torch.float64).reshape(len(v), len(h))
        exact = -(-energy).logsumexp(1)
        size = factor + float(energy.abs().max())
        slack = rounding(dtype, length=config.visible + config.hidden, scale=size)
        check.close(free, exact, slack, "free_energy, against the sum over the hidden states,")


@claim(
    "rbm.conditionals_of_strong_weights",
    r"p(h_j = 1 \mid v) = \sigma\bigl(E(v, 0) - E(v, e_j)\bigr), \quad p(v_i = 1 \mid h) = "
    r"\sigma\bigl(E(0, h) - E(e_i, h)\bigr) \quad\text{for weights of any size}",
    sources=[f"{HINTON}, section 2"],
    why="""A trained unit may be all but certain, and must then be drawn so: a probability that is
    clamped away from 0 and 1, or computed as e^a / (1 + e^a), which is NaN for a large field, makes
    another chain than the energy's. Weights are drawn five times and two thousand times their usual
    size; where the energy is offered it gives each unit's odds.""",
    effort=0.5,
)
@given(config=machines, factor=st.sampled_from([5.0, 2000.0]))
def test_conditionals_survive_strong_weights(
    subject: Handle, device: str, dtype: torch.dtype, config: RBMConfig, factor: float
) -> None:
    model = _strong(subject, config, factor)
    layers = (outcomes(config.visible), outcomes(config.hidden))
    v, h = (states.to(subject.device, subject.dtype) for states in layers)
    for name, found, states, width in (
        ("hidden_probability", model.hidden_probability(v), v, config.hidden),
        ("visible_probability", model.visible_probability(h), h, config.visible),
    ):
        what = f"{name} with weights {factor:.0f} times as large"
        check.finite(found, what)
        sums = rounding(dtype, length=2 ** (config.visible + config.hidden))  # of a sum over states
        check.at_least(found, 0.0, sums, what)
        check.at_most(found, 1.0, sums, what)
        if not model.has("energy"):
            continue
        for unit in range(width):
            off = torch.zeros(len(states), width).to(states)
            on = off.clone()
            on[:, unit] = 1
            energies = [
                model.energy(*((states, s) if name.startswith("hidden") else (s, states)))
                for s in (off, on)
            ]
            wide = [e.detach().to("cpu", torch.float64) for e in energies]
            size = factor + max(float(e.abs().max()) for e in wide)
            slack = guarded(dtype) + rounding(dtype, length=len(layers), scale=size)
            check.close(
                found[:, unit], (wide[0] - wide[1]).sigmoid(), slack, f"{what}, unit {unit},"
            )


@claim(
    "rbm.conditionals_match_joint",
    r"\prod_j p(h_j \mid v) = \frac{e^{-E(v,h)}}{\sum_{h'} e^{-E(v,h')}}, \qquad"
    r" \prod_i p(v_i \mid h) = \frac{e^{-E(v,h)}}{\sum_{v'} e^{-E(v',h)}}",
    sources=[f"{HINTON}, section 2, equations 7 and 8", SMOLENSKY],
    why="""Both conditionals belong to one joint density, and no two units of a layer are connected, so
    that each conditional is a product. All joint states are enumerated; without an energy the joint is
    exp(-F(v)) p(h|v), which the visible conditional must fit.""",
)
@given(config=machines)
def test_conditionals_are_those_of_the_joint(
    subject: Handle, device: str, dtype: torch.dtype, config: RBMConfig
) -> None:
    machine = enumerate_machine(subject.build(config), config, subject)
    if machine.energy is None:
        joint = machine.given_v - machine.free_energy[:, None]
    else:
        joint = -machine.energy
        check.close(
            machine.given_v,
            joint.log_softmax(1),
            4 * machine.slack,
            "log p(h|v) (visible state, hidden state) by hidden_probability",
        )
    check.close(
        machine.given_h,
        joint.log_softmax(0),
        4 * machine.slack,
        "log p(v|h) (visible state, hidden state) by visible_probability",
    )


@claim(
    "rbm.gibbs_leaves_it_stationary",
    r"\sum_v \pi(v)\, T(v, v') = \pi(v'), \quad \pi(v)\, T(v, v') = \pi(v')\, T(v', v), \quad"
    r" T(v, v') = \sum_h p(h \mid v)\, p(v' \mid h)",
    sources=["Geman and Geman 1984", f"{HINTON}, section 3"],
    why="""To draw the hidden units given the visible ones and then the visible ones given the hidden is
    a Markov chain on visible states; its exact transition matrix leaves exp(-F)/Z as it is, in
    detailed balance, and reaches every state in one step. Contrastive divergence rests on it.""",
)
@given(config=machines)
def test_gibbs_sampling_leaves_the_model_as_it_is(
    subject: Handle, device: str, dtype: torch.dtype, config: RBMConfig
) -> None:
    machine = enumerate_machine(subject.build(config), config, subject)
    transition = machine.given_v.exp() @ machine.given_h.exp().T  # (from, to)
    density = (-machine.free_energy).softmax(0)
    slack = machine.slack
    check.close(
        transition.sum(1), torch.ones(len(density)), slack, "a row of the transition matrix"
    )
    check.close(density @ transition, density, slack, "the density after one Gibbs step")
    flow = density[:, None] * transition
    check.close(flow, flow.T, slack, "the flow (from, to), against the flow back,")


@claim(
    "rbm.energy_is_bilinear",
    r"E(v, h) = E(0, 0) + \sum_i v_i\, b_i + \sum_j h_j\, c_j + \sum_{ij} v_i h_j\, w_{ij}",
    sources=[SMOLENSKY, f"{HINTON}, equation 1"],
    why="""'Restricted' means no connection within a layer: the energy has a term for each unit and one
    for each pair across. These are read off the states with at most one unit of each layer on; every
    other state must agree, and the energy's differences give the log-odds of every unit.""",
)
@given(config=machines)
def test_energy_has_no_connection_within_a_layer(
    subject: Handle, device: str, dtype: torch.dtype, config: RBMConfig
) -> None:
    machine = enumerate_machine(subject.build(config), config, subject)
    energy, v, h = machine.known_energy, machine.v, machine.h
    rows = 2 ** torch.arange(config.visible - 1, -1, -1)  # where unit i alone is on
    columns = 2 ** torch.arange(config.hidden - 1, -1, -1)
    base, b, c = energy[0, 0], energy[rows, 0] - energy[0, 0], energy[0, columns] - energy[0, 0]
    w = energy[rows][:, columns] - base - b[:, None] - c
    expected = base + (v @ b)[:, None] + h @ c + v @ w @ h.T
    check.close(
        energy,
        expected,
        machine.slack * (1 + len(b)) * (1 + len(c)),
        "energy (visible state, hidden state), against its units and pairs across,",
    )
    odds = machine.hidden.logit()
    check.close(
        odds, -(c + v @ w), 4 * machine.slack * (1 + len(b)), "the log-odds of a hidden unit"
    )


@claim(
    "rbm.layers_interact",
    r"\exists v, v':\ p(h_j \mid v) \ne p(h_j \mid v'), \qquad \exists h, h':\ p(v_i \mid h) \ne p(v_i"
    r" \mid h')",
    sources=[f"{HINTON}, section 2"],
    why="""Independent coins satisfy every identity that is claimed of the model. With weights drawn at
    random each unit of one layer depends on the other layer; one that does not is disconnected.""",
)
@given(config=machines)
def test_every_unit_depends_on_the_other_layer(
    subject: Handle, device: str, dtype: torch.dtype, config: RBMConfig
) -> None:
    model = subject.build(config)
    if not _drawn_at_random(model):
        raise NotOffered("no parameters to draw at random")
    machine = enumerate_machine(model, config, subject)
    for layer, p in (("hidden", machine.hidden), ("visible", machine.visible)):
        least, unit = (p.amax(0) - p.amin(0)).min(0)
        check.that(
            float(least) > 0,
            f"{layer}_probability of unit {int(unit)} is {float(p[0, unit]):.6g} whatever the other "
            f"layer's state",
        )
