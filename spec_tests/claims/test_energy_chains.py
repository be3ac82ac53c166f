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
    why="""All that a unit sees of the others is a weighted sum: the energy of a state with the unit on,
    less that with it off, is linear in them, and the log-odds are that difference. The energy is
    written out pair by pair and the density is enumerated; each pair counts once, and no unit speaks
    to itself.""",
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
    why="""The gradient of an exponential family is a difference of two averages of what multiplies the
    parameter: how often two units are on together when awake, less how often when dreaming. It is
    local, and it is zero when the model agrees with the data on every pair. Autograd's gradient of the
    enumerated log-likelihood is the oracle.""",
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
    why="""Drawing one unit from its conditional leaves the joint density as it is; so does one unit
    after another, as long as each sees the latest state of the rest. All at once, from the old state,
    does not: two units that want to agree then swap for ever. The sweep is run from many draws of the
    density itself and its end is tested against it.""",
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
    why="""The log-likelihood is minus the free energy, less a constant that has parameters of its own:
    its gradient is the second average. Training on the free energy alone would dig a hole that swallows
    everything. The enumerated joint of visible and hidden states is the oracle, for value and
    gradient.""",
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
    r"\mathbb E_{v_k \sim q T^k}\, [\nabla F(v_0) - \nabla F(v_k)] \xrightarrow{k \to \infty} "
    r"-\nabla\, \mathbb E_q \log p(v)",
    sources=[f"{HINTON}, sections 2 and 3", NOTES],
    why="""The dreamt states are those of a chain that was started at the data. After k sweeps it has
    forgotten the data but for the k-th power of its second eigenvalue, and the average of the
    contrastive gradient has come as close to the true one; with one sweep it is biased. The chain's
    exact transition matrix carries the average.""",
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
    gaps = []
    for sweeps in range(1, 41):
        reached = reached @ transition
        average = torch.einsum("a,ab,abp->p", data, reached, each)
        gaps.append(float((average - exact).abs().max()))
        if sweeps in (1, 2, 5, 10, 40):
            spread = float((1 / log_p.exp().min()).sqrt())
            check.at_most(
                gaps[-1], steep * spread * second**sweeps, SLACK * steep,
                f"the bias of {sweeps} sweeps, against the second eigenvalue {second:.4g} to that power,",
            )  # fmt: skip
    check.at_least(gaps[0], 0.0, SLACK, "the bias of one sweep")


@claim(
    "theory.gibbs_chain_follows_its_matrix",
    r"\Pr[v_k = v' \mid v_0 = v] = (T^k)(v, v')",
    sources=[f"{HINTON}, section 3"],
    why="""The sampler draws what the matrix says: all hidden units given the visible ones, then all
    visible units given those, and nothing of the old visible state survives but through them. Many
    chains are run from one state and their ends tested against the row of the matrix that the claim
    computes from the conditionals itself.""",
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
    why="""Corrupting and then drawing from the posterior over what it was leaves the pair (x, x~) in
    its joint law, so the data's distribution is stationary; where the corruption connects everything
    it is the only one. That is why a denoiser that learns only a local posterior gives a sampler of
    the whole. A reconstruction that returns the likeliest point instead of a draw has another law.""",
    assumptions=["the corruption connects all states that have probability"],
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
