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
    why=r"""The probability of a visible state is that of all joint states which contain it, so
    :math:`e^{-F(v)} = \sum_h e^{-E(v, h)}` gives :math:`p(v) = e^{-F(v)} / Z`. The energy is linear
    in each hidden unit, the sum over their :math:`2^H` states factorises, and with b and c the
    biases of the layers and W the weights

    .. math::

        F(v) = -b^\top v - \sum_j \log \bigl(1 + e^{c_j + (W^\top v)_j}\bigr).

    The test carries out the sum, over every state of both layers. Where no energy is offered,
    Bayes' rule in both directions, :math:`p(v)\, p(h \mid v) = p(h)\, p(v \mid h)`, gives the ratio
    of two marginals from the conditionals, through any hidden state h; then free energies count by
    their differences, since a constant is lost in Z.""",
    assumptions={
        "hidden units are 0 or 1": "for units that are -1 or 1 a unit of field a adds"
        r" :math:`\log 2 \cosh a` and not :math:`\log(1 + e^a)`: 1.13 and not 1.31 for a = 1",
        "no two hidden units are connected (for the product form)": (
            "with the additional energy :math:`-h_1 h_2` two units without a field add"
            r" :math:`\log(3 + e)` and not :math:`\log 4`"
        ),
    },
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
    why=r"""A requirement. Trained machines have units that are all but certain, with a large field
    a, and :math:`\log(1 + e^a)` overflows on the way there: past a = 88 in single precision and a =
    709 in double. Yet its value is harmless,

    .. math::

        \log(1 + e^a) = \max(a, 0) + \log(1 + e^{-|a|}),

    and so is its slope :math:`\sigma(a)`. An infinite free energy makes every probability 0 or NaN;
    a shortcut that takes a for the value too early is off by nearly :math:`e^{-a}`, 0.018 for each
    unit at a = 4.

    Weights are drawn five times and two thousand times their usual size. The free energy must be
    finite, with its gradient, and where the energy is offered agree with the logarithm of the sum
    over all hidden states, shifted by its largest term.""",
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
    why=r"""Let :math:`e_j` be the state in which unit j alone is on. The energy is linear in
    :math:`h_j`, and given v the hidden units are independent; so the odds of unit j are those of
    two states that differ in it alone, whatever the others do:

    .. math::

        \frac{p(h_j = 1 \mid v)}{p(h_j = 0 \mid v)} = \frac{e^{-E(v, e_j)}}{e^{-E(v, 0)}}.

    A trained unit may be all but certain, and must then be drawn so. A probability that is clamped
    away from 0 and 1 makes another chain than the energy's; one computed as :math:`e^a / (1 + e^a)`
    is infinity over infinity for a large field, NaN.

    Weights are drawn five times and two thousand times their usual size. Where an energy is offered
    its differences are the oracle, in double precision; else the probabilities must be finite and
    lie in [0, 1].""",
    assumptions={
        "no two units of a layer are connected": "with the additional energy :math:`-h_1 h_2` the"
        " odds of :math:`h_1` are e times as large when :math:`h_2` is on",
    },
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
    why=r"""Given v, the exponent :math:`-E(v, h)` is a constant plus one term for each hidden unit,
    for no two of them are connected. The exponential of a sum is a product, and each factor is
    normalised by itself:

    .. math::

        p(h \mid v) = \frac{\prod_j e^{a_j h_j}}{\sum_{h'} \prod_j e^{a_j h'_j}} = \prod_j
        \frac{e^{a_j h_j}}{1 + e^{a_j}}, \qquad a_j = c_j + \sum_i v_i w_{ij},

    with the hidden biases c and the weights w; the same holds for v given h. So
    ``hidden_probability`` and ``visible_probability`` are conditionals of one joint density.

    All joint states are enumerated, and the softmax of the energies over one layer is the oracle.
    Without an energy the joint is :math:`e^{-F(v)}\, p(h \mid v)` up to a constant, and the visible
    conditional must fit it.""",
    assumptions={
        "no two units of a layer are connected": "with the energy :math:`-h_1 h_2` alone both"
        " units are on with probability :math:`e / (3 + e) = 0.475`, where the product of their"
        " probabilities is :math:`0.650^2 = 0.423`",
    },
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
    sources=[
        "Geman and Geman 1984, 'Stochastic Relaxation, Gibbs Distributions'",
        f"{HINTON}, section 3",
    ],
    why=r"""Let :math:`\pi(v) = e^{-F(v)} / Z`. To draw h given v, and then v' given h, is a Markov
    chain on visible states. Since both conditionals belong to one joint p(v, h),

    .. math::

        \pi(v)\, T(v, v') = \sum_h p(v, h)\, p(v' \mid h) = \sum_h \frac{p(v, h)\, p(v', h)}{p(h)},

    which does not change when v and v' change places: detailed balance. Summed over v, where the
    rows of T add up to one, it says that :math:`\pi` is stationary. No probability is zero, so the
    chain reaches every state in one step, and there is no other stationary law. Contrastive
    divergence rests on it.

    The matrix is built from the two conditionals in full, and :math:`\pi` from the free energy
    alone, so that neither is judged by itself.""",
    assumptions={
        "both conditionals belong to one joint density": "for one unit in each layer, b = c = -1"
        " and w = 4, the model has p(v = 1) = 0.850; with the hidden unit drawn at the"
        " temperature 2 the chain ends in 0.754",
        "weights are finite (for there to be no other law)": (
            "where v' always copies h and h copies v, the chain stays where it is, and every law"
            " is stationary"
        ),
    },
    sentence="Gibbs sampling leaves the model as it is",
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
    why=r"""'Restricted' means that no connection lies within a layer: the energy has one term for
    each unit and one for each pair across. Such a function of binary units is known from the states
    with at most one unit of each layer on,

    .. math::

        b_i = E(e_i, 0) - E(0, 0), \qquad w_{ij} = E(e_i, e_j) - E(e_i, 0) - E(0, e_j) + E(0, 0),

    and :math:`c_j` like :math:`b_i`, where :math:`e_i` has unit i alone on: 1 + V + H + VH numbers
    for :math:`2^{V + H}` states. (Here they carry the sign of the energy; biases and weights are
    usually their negatives.)

    They are read off and every other state must agree: a connection within a layer, or a product of
    three units, would show where two units of a layer are on. The log-odds of each hidden unit must
    be minus its terms.""",
    assumptions={
        "units are 0 or 1": "for real units the energy may be quadratic in each, as in a machine"
        r" with Gaussian visible units, :math:`\tfrac12 v_i^2`, and two states do not tell",
    },
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
    why=r"""Independent coins satisfy every identity that is claimed of the model: without weights
    the free energy is linear, both conditionals are products that belong to one joint, and the
    transition matrix draws from the model in one step. So a machine whose layers are cut apart by a
    mistake passes all of them, and learns no more than the mean of each pixel.

    The log-odds of hidden unit j are :math:`c_j + \sum_i v_i w_{ij}`, with its bias c and its
    weights w, and differ between two states v unless all its weights are 0; likewise for the other
    layer. Weights drawn from a density are zero with probability zero, so that for each unit the
    largest and the smallest probability over all states of the other layer must differ.""",
    assumptions={
        "no unit has all of its weights zero": "a unit without weights is a coin of its own, and"
        " a right machine may start like that; parameters are drawn at random here",
    },
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
