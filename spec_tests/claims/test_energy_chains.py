r"""Boltzmann machines and Markov chains, by enumeration: what is learnt, and what a chain ends in."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spec_tests import check
from spec_tests.chain_rule import index_of
from spec_tests.concentration import draws_follow
from spec_tests.handle import Handle, redraw_parameters
from spec_tests.marginals import outcomes
from spec_tests.registry import claim
from spec_tests.state import seed_everything
from spec_tests.strategies import simplexes
from spec_tests.tolerance import rounding

ACKLEY = "Ackley, Hinton, Sejnowski 1985, 'A Learning Algorithm for Boltzmann Machines'"
HINTON = "Hinton 2002, 'Training Products of Experts by Minimizing Contrastive Divergence'"
GSN = "Bengio et al. 2014, 'Deep Generative Stochastic Networks Trainable by Backprop'"
NOTES = "EECS notes, 'Boltzmann machines' and 'Generative stochastic networks'"
SEEDS = st.integers(0, 2**31 - 1)
SLACK = rounding(torch.float64, length=64, scale=1.0)


def _drawn(make: Any, seed: int) -> Any:
    """A machine in float64 with parameters of order one."""
    seed_everything(seed)
    model = make.double()
    redraw_parameters(model)
    return model


def _energies(machine: Any, states: Tensor) -> Tensor:
    """The energy written out, pair by pair."""
    weight, bias = machine.weight.detach(), machine.bias.detach()
    total = -(states * bias).sum(1)
    for i in range(len(bias)):
        for j in range(i):
            total = total - weight[i, j] * states[:, i] * states[:, j]
    return total


@claim(
    "theory.boltzmann_conditionals",
    r"p(s) \propto e^{-E(s)}, \qquad p(s_i = 1 \mid s_{-i}) = \sigma\Bigl(b_i + \sum_{j \ne i} "
    r"w_{ij} s_j\Bigr)",
    sources=[f"{ACKLEY}, section 2", NOTES],
    why=r"""The energy is :math:`E(s) = -\sum_i b_i s_i - \sum_{i < j} w_{ij} s_i s_j`, with
    :math:`w_{ij} = w_{ji}`. Between two states that differ in unit i alone, everything without
    :math:`s_i` cancels:

    .. math::

        \log \frac{p(s_i = 1, s_{-i})}{p(s_i = 0, s_{-i})} = E(s_i = 0) - E(s_i = 1) = b_i + \sum_{j
        \ne i} w_{ij} s_j,

    where :math:`s_{-i}` are the other units. All that a unit sees of them is a weighted sum, and
    the logistic function turns log-odds into a probability. The constant Z, a sum over :math:`2^D`
    states, is never needed.

    The oracle writes the energy out pair by pair, in a loop of its own, and enumerates the density;
    each unit's probability is compared with the two states that it chooses between.""",
    assumptions={
        "each pair counts once": r"a quadratic form :math:`s^\top W s` of a symmetric matrix"
        " holds each pair twice, and the log-odds have :math:`2 w_{ij}`",
        "no unit is connected to itself": "as :math:`s^2 = s`, a unit with the energy :math:`-w"
        r" s^2` is on with probability :math:`\sigma(w)`; a weighted sum over all units says"
        r" :math:`\sigma(0)` where it is off",
    },
    effort=0.3,
)
@given(units=st.sampled_from([1, 2, 3, 4]), seed=SEEDS)
def test_a_unit_sees_a_weighted_sum_of_the_others(
    subject: Handle, device: str, dtype: torch.dtype, units: int, seed: int
) -> None:
    machine = _drawn(subject.pieces().raw.BoltzmannMachine(units), seed)
    states = outcomes(units)
    log_p = (-_energies(machine, states)).log_softmax(0)
    check.close(machine.log_prob(states), log_p, SLACK, "log_prob of each state")
    for i in range(units):
        on, off = states.clone(), states.clone()
        on[:, i], off[:, i] = 1, 0
        pair = torch.stack([log_p[index_of(s.long(), 2)] for s in (off, on)])
        check.close(
            machine.on_probability(states)[:, i], pair.softmax(0)[1], SLACK,
            f"on_probability of unit {i}, against the two states it chooses between,",
        )  # fmt: skip


@claim(
    "theory.boltzmann_learning_rule",
    r"\frac{\partial}{\partial w_{ij}} \mathbb E_{\text{data}} \log p(s) = \langle s_i s_j "
    r"\rangle_{\text{data}} - \langle s_i s_j \rangle_{\text{model}}",
    sources=[f"{ACKLEY}, section 3", NOTES],
    why=r"""With :math:`\log p(s) = -E(s) - \log Z` the weight :math:`w_{ij}` multiplies
    :math:`s_i s_j` in the first term, and in the second

    .. math::

        \frac{\partial \log Z}{\partial w_{ij}} = \frac1Z \sum_s e^{-E(s)} s_i s_j = \langle s_i s_j
        \rangle_{\text{model}},

    as in every exponential family. Averaged over the data: how often two units are on together when
    awake, less how often when dreaming. The rule is local, and zero once the model agrees with the
    data on every pair; for biases the pair is (i, i), since :math:`s_i^2 = s_i`.

    The oracle is autograd's gradient of the log-likelihood, its constant summed over all states,
    for data that are any distribution over them; the rule uses two averages and no derivative.""",
    assumptions={
        "every unit is seen in the data": "a hidden unit must be averaged over its conditional;"
        r" if it is taken to be off, :math:`\langle s_i h \rangle_{\text{data}} = 0`, and the"
        " rule lowers its weights whatever the data",
        "each pair has one weight": "if :math:`w_{ij}` and :math:`w_{ji}` are tied entries of one"
        " matrix, and both products are summed, the gradient is twice the rule",
    },
    effort=0.3,
)
@given(
    case=st.sampled_from([2, 3, 4]).flatmap(lambda d: st.tuples(st.just(d), simplexes(2**d))),
    seed=SEEDS,
)
def test_pairs_are_learnt_from_two_averages(
    subject: Handle, device: str, dtype: torch.dtype, case: tuple[int, Tensor], seed: int
) -> None:
    units, data = case
    pieces = subject.pieces().raw
    machine, states = _drawn(pieces.BoltzmannMachine(units), seed), outcomes(units)
    log_p = machine.log_prob(states)
    data = data.cpu().double()
    (data * log_p).sum().backward()
    model = log_p.detach().exp()
    rule = pieces.correlations(data, states) - pieces.correlations(model, states)
    above = torch.ones(units, units).triu(1).bool()
    check.close(machine.upper.grad[above], rule[above], SLACK, "the gradient in each pair's weight")
    check.close(machine.bias.grad, rule.diagonal(), SLACK, "the gradient in each unit's bias")
    biggest = float(rule[above].abs().max())
    same = pieces.correlations(model, states) - pieces.correlations(model, states)
    check.close(same, torch.zeros_like(same), SLACK, "the rule for data like the model")
    check.at_most(biggest, 1.0, SLACK, "a difference of two probabilities")


@claim(
    "theory.gibbs_sweep_is_stationary",
    r"\sum_s p(s)\, T_1 T_2 \cdots T_D(s, s') = p(s')",
    sources=["Geman and Geman 1984, 'Stochastic Relaxation, Gibbs Distributions'", NOTES],
    why=r"""Let :math:`T_i` draw unit i anew, from its conditional given all the others. If s has
    the law p, so has the new state:

    .. math::

        \sum_{s_i} p(s_i, s_{-i})\, p(s_i' \mid s_{-i}) = p(s_{-i})\, p(s_i' \mid s_{-i}) = p(s_i',
        s_{-i}).

    A sweep is one such step after another, each given the latest state of the rest, and what every
    step leaves as it is the sweep leaves too. (In general it is not reversible: the order of the
    units counts.)

    The sweep is run from 4000 independent draws of the density itself, by a machine of two units
    that want to agree, and the ends are counted. A likelihood-ratio test, whose bound holds at any
    number of draws, compares them with the density, which is enumerated from the energy pair by
    pair.""",
    assumptions={
        "units are drawn one at a time": "for the machine of the test, w = 3 and biases -1.5 and"
        " -1, both units at once from the old state turn p(00) = 0.309 into 0.217 in one step",
        "each sees the latest state of the others": "with w = 10 and biases -5 and both drawn"
        " from the old state, 01 becomes 10 with probability 0.987, and the chain swaps back and"
        " forth; its law is uniform, where :math:`p(01) = 0.003`",
    },
    effort=0.2,
    error=1e-9,
)
@given(seed=SEEDS)
def test_a_sweep_leaves_the_density_as_it_is(
    subject: Handle, device: str, dtype: torch.dtype, seed: int
) -> None:
    machine = _drawn(subject.pieces().raw.BoltzmannMachine(2), seed)
    with torch.no_grad():
        machine.upper.fill_(3.0)
        machine.bias.copy_(torch.tensor([-1.5, -1.0]))
    states = outcomes(2)
    log_p = (-_energies(machine, states)).log_softmax(0)
    source = torch.Generator().manual_seed(seed)
    start = states[torch.multinomial(log_p.exp(), 4000, replacement=True, generator=source)]
    with torch.no_grad():
        end = machine.gibbs_sweep(start, source)
    counts = torch.bincount(index_of(end.long(), 2), minlength=4).double()
    draws_follow(counts, log_p, ["00", "01", "10", "11"], "states after one sweep")
    moved = float((end != start).any(1).double().mean())
    check.that(moved > 0, "a sweep never changes a state")


# Restricted machines ------------------------------------------------------------------------------


def _machine(pieces: Any, shape: tuple[int, int], seed: int) -> Any:
    return _drawn(pieces.RBM(*shape), seed)


def _flat(model: Any, value: Tensor) -> Tensor:
    """The gradient of a scalar in all parameters, as one vector."""
    found = torch.autograd.grad(value, list(model.parameters()), allow_unused=True)
    parts = [torch.zeros_like(p) if g is None else g
             for g, p in zip(found, model.parameters(), strict=True)]  # fmt: skip
    return torch.cat([part.flatten() for part in parts])


def _marginal(model: Any, visible: int, hidden: int) -> Tensor:
    """log p(v) from the energy of every joint state."""
    v, h = outcomes(visible), outcomes(hidden)
    energy = model.energy(v.repeat_interleave(len(h), 0), h.repeat(len(v), 1))
    joint = (-energy).log_softmax(0).view(len(v), len(h))
    return joint.logsumexp(1)


SHAPES = st.sampled_from([(1, 2), (2, 3), (3, 2), (3, 3)])


@claim(
    "theory.rbm_gradient",
    r"\nabla \log p(v) = -\nabla F(v) + \mathbb E_{p(v')} \nabla F(v')",
    sources=[f"{HINTON}, section 2", NOTES],
    why=r"""With the free energy F, :math:`\log p(v) = -F(v) - \log Z` and
    :math:`Z = \sum_{v'} e^{-F(v')}`: the constant has parameters of its own:

    .. math::

        -\nabla \log Z = \frac1Z \sum_{v'} e^{-F(v')}\, \nabla F(v') = \mathbb E_{p(v')} \nabla
        F(v').

    The first term lowers the free energy of the data, the second raises that of what the model
    dreams; they balance when the model agrees with the data. Training on the free energy alone
    would dig a hole that swallows everything.

    The oracle is the joint density of visible and hidden states, enumerated from the energy and
    summed over h: its values and autograd's gradient, for data that are any distribution over the
    visible states.""",
    assumptions={
        "the constant is differentiated as well": "a larger bias of every visible unit then"
        " lowers the loss for ever, whatever the data, as long as each is on sometimes",
        "the second average is over the model": "taken over the data it cancels the first, and"
        " nothing is learned",
    },
    sentence="the gradient is the data's average less the model's",
    effort=0.3,
)
@given(shape=SHAPES, seed=SEEDS)
def test_the_gradient_is_data_less_model(
    subject: Handle, device: str, dtype: torch.dtype, shape: tuple[int, int], seed: int
) -> None:
    pieces = subject.pieces().raw
    model = _machine(pieces, shape, seed)
    v, log_p = outcomes(shape[0]), _marginal(model, *shape)
    found = pieces.exact_log_likelihood(model, v)
    check.close(found, log_p, SLACK, "the log-likelihood of each visible state")
    data = torch.randn(len(v), dtype=torch.float64).softmax(0)
    free = model.free_energy(v)
    rule = _flat(model, -(data * free).sum()) + _flat(
        model, (log_p.detach().exp() * model.free_energy(v)).sum()
    )
    exact = _flat(model, (data * log_p).sum())
    check.close(rule, exact, SLACK, "the data's average less the model's")
    check.close(
        _flat(model, (data * found).sum()), exact, SLACK, "the gradient of the log-likelihood"
    )


@claim(
    "theory.cd_converges_to_gradient",
    r"\mathbb E_{v_0 \sim q,\; v_k \sim T^k(v_0, \cdot)}\, [\nabla F(v_0) - \nabla F(v_k)]"
    r" \xrightarrow{k \to \infty} -\nabla\, \mathbb E_q \log p(v)",
    sources=[f"{HINTON}, sections 2 and 3", NOTES],
    why=r"""By ``theory.rbm_gradient`` the right-hand side is
    :math:`\mathbb E_q \nabla F - \mathbb E_p \nabla F`. The dreamt :math:`v_k` come from a chain
    with matrix T that was started at the data q. The chain is reversible and p is stationary
    (``rbm.gibbs_leaves_it_stationary``), so from any state v

    .. math::

        \sum_{v'} \bigl| T^k(v, v') - p(v') \bigr| \le \frac{\lambda_2^k}{\sqrt{p(v)}},

    with :math:`\lambda_2 < 1` the second largest eigenvalue of T in modulus. After k sweeps the
    data are forgotten but for that factor, and the average of the contrastive gradient has come as
    close to the true one; with few sweeps it is biased.

    The exact transition matrix carries the average, over all states and no draws; the bias after 1
    to 40 sweeps is held against the bound, with the eigenvalue from the matrix itself and the
    gradient from the enumerated marginal.""",
    assumptions={
        "the chain forgets where it began": "for one unit in each layer, biases -10 and w = 20,"
        r" :math:`\lambda_2 = 0.9998`: two states that hardly ever change, and after 40 sweeps"
        " the gradient still takes the data for the model",
        "k is large": "for k = 0 the dreams are the data, and the gradient is 0 for every model",
    },
    effort=0.3,
)
@given(shape=st.sampled_from([(2, 2), (2, 3), (3, 2)]), seed=SEEDS)
def test_more_sweeps_come_closer_to_the_gradient(
    subject: Handle, device: str, dtype: torch.dtype, shape: tuple[int, int], seed: int
) -> None:
    pieces = subject.pieces().raw
    model = _machine(pieces, shape, seed)
    v = outcomes(shape[0])
    data = torch.randn(len(v), dtype=torch.float64).softmax(0)
    log_p = _marginal(model, *shape)
    exact = -_flat(model, (data * log_p).sum())
    each = torch.stack(
        [
            torch.stack([_flat(model, pieces.contrastive_divergence(model, a, b))
                         for b in v[:, None]])
            for a in v[:, None]
        ]
    )  # (from, to, parameters)  # fmt: skip
    transition = pieces.gibbs_transition(model).detach()
    rows = torch.ones(len(v), dtype=torch.float64)
    check.close(transition.sum(1), rows, SLACK, "a row of the transition matrix")
    second = float(torch.linalg.eigvals(transition).abs().sort().values[-2])
    steep = float(each.abs().max()) * len(v)
    reached = torch.eye(len(v), dtype=torch.float64)
    for sweeps in range(1, 41):
        reached = reached @ transition
        average = torch.einsum("a,ab,abp->p", data, reached, each)
        gap = float((average - exact).abs().max())
        if sweeps in (1, 2, 5, 10, 40):
            spread = float((1 / log_p.exp().min()).sqrt())
            check.at_most(
                gap, steep * spread * second**sweeps, SLACK * steep,
                f"the bias of {sweeps} sweeps, against the second eigenvalue {second:.4g} to that power,",
            )  # fmt: skip


@claim(
    "theory.gibbs_chain_follows_its_matrix",
    r"\Pr[v_k = v' \mid v_0 = v] = (T^k)(v, v')",
    sources=[f"{HINTON}, section 3"],
    why=r"""One sweep draws all hidden units given the visible ones, independently, and then all
    visible units given those; nothing of the old visible state survives but through them. So the
    probability of v' after v is

    .. math::

        T(v, v') = \sum_h \prod_j p(h_j \mid v) \prod_i p(v'_i \mid h),

    and since each sweep sees the last one's end alone, k sweeps have the k-th power of the matrix
    (Chapman and Kolmogorov).

    The matrix is computed in the test, from the two conditionals. Four thousand chains are run from
    one state with weights four times as strong as usual, so that it matters whether hidden units
    are drawn, and the counts of their ends meet its row in a likelihood-ratio test whose bound
    holds at any number of draws.""",
    assumptions={
        "hidden units are drawn": "let one hidden unit have p(h = 1) = 1/2, and push two visible"
        " units up or down by a field of 5: drawn, they disagree with probability 0.013; given"
        " the field of the average, 0, they are fair coins and disagree half of the time",
        "each sweep starts where the last one ended": "two sweeps that both start from v have the"
        " law of one",
    },
    effort=0.2,
    error=1e-9,
)
@given(sweeps=st.sampled_from([1, 2]), seed=SEEDS)
def test_chains_end_where_the_matrix_says(
    subject: Handle, device: str, dtype: torch.dtype, sweeps: int, seed: int
) -> None:
    pieces = subject.pieces().raw
    model = _machine(pieces, (2, 2), seed)
    v, h = outcomes(2), outcomes(2)
    with torch.no_grad():
        model.weight.mul_(4)  # strong enough for the hidden draws to matter
        up, down = model.hidden_probability(v), model.visible_probability(h)
    given_v = torch.where(h[None] > 0, up[:, None], 1 - up[:, None]).prod(-1)
    given_h = torch.where(v[None] > 0, down[:, None], 1 - down[:, None]).prod(-1)
    matrix = torch.linalg.matrix_power(given_v @ given_h, sweeps)
    source = torch.Generator().manual_seed(seed)
    end = pieces.gibbs_chain(model, v[1:2].expand(4000, 2).clone(), sweeps, source)
    counts = torch.bincount(index_of(end.long(), 2), minlength=4).double()
    names = ["00", "01", "10", "11"]
    draws_follow(counts, matrix[1].log(), names, f"states {sweeps} sweeps after 01")


# Generative stochastic networks -------------------------------------------------------------------


@claim(
    "theory.gsn_stationary",
    r"\pi\, C P = \pi \iff \pi = p \qquad\text{for } P(x \mid \tilde x) \propto p(x)\, "
    r"C(\tilde x \mid x)",
    sources=[f"{GSN}, theorem 1", NOTES],
    why=r"""Draw x from p and corrupt it into :math:`\tilde x` by C, a matrix of probabilities. Then
    :math:`P(x' \mid \tilde x)` is, by Bayes' rule, the law of what :math:`\tilde x` came from, so
    :math:`(x', \tilde x)` has the joint law of :math:`(x, \tilde x)`, and x' the law p: it is
    stationary. With m the law of :math:`\tilde x`,

    .. math::

        p(x)\, (C P)(x, x') = \sum_{\tilde x} \frac{p(x)\, C(\tilde x \mid x)\; p(x')\, C(\tilde x
        \mid x')}{m(\tilde x)}

    is symmetric as well. Where the corruption connects all states the chain has one stationary law
    only. That is why a denoiser, which learns a local posterior alone, gives a sampler of the
    whole.

    Random p and C are tabulated; the posterior and the transition matrix are computed in the test,
    and 4096 steps from one state must reach the law that the eigenvector gives.""",
    assumptions={
        "the corruption connects all states that have probability": (
            "a corruption that does nothing, C = I, makes every law stationary, the uniform one"
            " as well"
        ),
        "the reconstruction is a draw": "for p = (0.6, 0.4) and a corruption that erases"
        " everything, the likeliest point is always the first, and the chain ends in (1, 0)",
    },
    effort=0.3,
)
@given(seed=SEEDS, size=st.sampled_from([2, 3, 5]))
def test_the_denoising_chain_draws_from_the_data(
    subject: Handle, device: str, dtype: torch.dtype, seed: int, size: int
) -> None:
    pieces = subject.pieces().raw
    source = torch.Generator().manual_seed(seed)
    p = torch.randn(size, generator=source, dtype=torch.float64).softmax(0)
    corruption = torch.randn(size, size + 1, generator=source, dtype=torch.float64).softmax(1)
    back = pieces.gsn_reconstruction(p, corruption)
    posterior = (p[:, None] * corruption / (p @ corruption)).T
    check.close(back, posterior, SLACK, "the reconstruction (what is seen, what it was)")
    chain = pieces.gsn_transition(corruption, back)
    check.close(chain, corruption @ posterior, SLACK, "the transition matrix")
    check.close(p @ chain, p, SLACK, "the data's distribution after one step")
    power = torch.linalg.matrix_power(chain, 4096)
    check.close(
        pieces.stationary_distribution(chain), power[0], 1e3 * SLACK,
        "the stationary distribution, against 4096 steps from one state,",
    )  # fmt: skip
    still = torch.eye(size, dtype=torch.float64)
    fixed = pieces.gsn_transition(still, pieces.gsn_reconstruction(p, still))
    other = torch.full((size,), 1 / size, dtype=torch.float64)
    check.close(other @ fixed, other, SLACK, "a uniform start under a corruption that does nothing")
