r"""Classic mistakes in Boltzmann machines, contrastive divergence and denoising chains."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spec_tests.registry import mutant


def _machine(pieces: Any, **members: Any) -> Any:
    """The pieces with some members of the Boltzmann machine replaced."""
    pieces.BoltzmannMachine = type("Changed", (pieces.BoltzmannMachine,), members)
    return pieces


@mutant("theory", rejected_by=["theory.boltzmann_conditionals"])
def pairs_counted_twice(pieces: Any) -> Any:
    """The quadratic form of a symmetric matrix holds every pair twice, and the half is forgotten."""

    def energy(self: Any, s: Tensor) -> Tensor:
        return -(s @ self.bias) - ((s @ self.weight) * s).sum(-1)  # wrong: half of the last

    return _machine(pieces, energy=energy)


@mutant("theory", rejected_by=["theory.boltzmann_conditionals"])
def units_that_speak_to_themselves(pieces: Any) -> Any:
    """The diagonal is kept: a unit that is on sees a reason to stay on."""

    def weight(self: Any) -> Tensor:
        upper = self.upper.triu(0)  # wrong: triu(1)
        return upper + upper.mT

    return _machine(pieces, weight=property(weight))


@mutant("theory", rejected_by=["theory.boltzmann_conditionals"])
def units_drawn_with_the_sign_of_the_energy(pieces: Any) -> Any:
    """sigmoid of the energy's slope, not of its negative: units avoid what the machine prefers."""
    return _machine(
        pieces,
        on_probability=lambda self, s: (-self.bias - s @ self.weight).sigmoid(),  # wrong: + and +
    )


@mutant("theory", rejected_by=["theory.boltzmann_learning_rule"])
def averages_without_their_weights(pieces: Any) -> Any:
    """Every state counts alike, as if the machine dreamt at random."""
    pieces.correlations = lambda probability, states: (
        states.T @ states / len(states)  # wrong: weighted by the probability of each
    )
    return pieces


@mutant("theory", rejected_by=["theory.boltzmann_learning_rule"])
def covariances_for_correlations(pieces: Any) -> Any:
    """The product of the means is taken off: the rule is about raw moments."""
    right = pieces.correlations

    def centred(probability: Tensor, states: Tensor) -> Tensor:
        mean = probability @ states
        return right(probability, states) - mean[:, None] * mean  # wrong: no product of means

    pieces.correlations = centred
    return pieces


@mutant("theory", rejected_by=["theory.gibbs_sweep_is_stationary"])
def all_units_at_once(pieces: Any) -> Any:
    """Every unit is drawn from the old state of the others: the sweep has another stationary law."""

    def sweep(self: Any, s: Tensor, generator: torch.Generator | None = None) -> Tensor:
        on = self.on_probability(s)  # wrong: anew for each unit
        return torch.bernoulli(on, generator=generator)

    return _machine(pieces, gibbs_sweep=sweep)


@mutant("theory", rejected_by=["theory.gibbs_sweep_is_stationary"])
def a_sweep_that_thresholds(pieces: Any) -> Any:
    """Units go to their likelier state: descent to a mode, no sampling."""

    def sweep(self: Any, s: Tensor, generator: torch.Generator | None = None) -> Tensor:
        s = s.clone()
        for i in range(s.shape[1]):
            s[:, i] = (self.on_probability(s)[:, i] > 0.5).to(s)  # wrong: a draw
        return s

    return _machine(pieces, gibbs_sweep=sweep)


@mutant("theory", rejected_by=["theory.rbm_gradient"])
def a_constant_without_gradient(pieces: Any) -> Any:
    """The normalising constant is detached: training lowers the free energy of everything."""

    def log_likelihood(model: Any, v: Tensor) -> Tensor:
        states = pieces.all_states(v.shape[1]).to(v)
        constant = (-model.free_energy(states)).logsumexp(0)
        return -model.free_energy(v) - constant.detach()  # wrong: no detach

    pieces.exact_log_likelihood = log_likelihood
    return pieces


@mutant("theory", rejected_by=["theory.rbm_gradient"])
def a_constant_over_the_batch(pieces: Any) -> Any:
    """Normalised over the first states of the batch instead of over all: a probability among neighbours."""
    pieces.exact_log_likelihood = lambda model, v: (
        -model.free_energy(v) - (-model.free_energy(v[:-1])).logsumexp(0)  # wrong: over all states
    )
    return pieces


@mutant("theory", rejected_by=["theory.cd_converges_to_gradient"])
def divergence_with_its_terms_swapped(pieces: Any) -> Any:
    """Dreams are lowered and data raised: the sign of the gradient is lost."""
    right = pieces.contrastive_divergence

    def loss(model: Any, data: Tensor, dreamt: Tensor) -> Tensor:
        return right(model, dreamt, data)  # wrong: data, dreamt

    pieces.contrastive_divergence = loss
    return pieces


@mutant("theory", rejected_by=["theory.cd_converges_to_gradient"])
def divergence_of_the_data_alone(pieces: Any) -> Any:
    """The dreamt states are used without gradient in the parameters: only the data dig."""

    def loss(model: Any, data: Tensor, dreamt: Tensor) -> Tensor:
        raised = model.free_energy(dreamt).mean().detach()  # wrong: no detach
        return model.free_energy(data).mean() - raised

    pieces.contrastive_divergence = loss
    return pieces


@mutant("theory", rejected_by=["theory.gibbs_chain_follows_its_matrix"])
def chain_that_reconstructs_from_probabilities(pieces: Any) -> Any:
    """Hidden probabilities stand in for hidden draws: less noise, and another chain."""

    def chain(model: Any, v: Tensor, sweeps: int, generator: Any = None) -> Tensor:
        with torch.no_grad():
            for _ in range(sweeps):
                h = model.hidden_probability(v)  # wrong: drawn
                v = torch.bernoulli(model.visible_probability(h), generator=generator)
        return v

    pieces.gibbs_chain = chain
    return pieces


@mutant("theory", rejected_by=["theory.gibbs_chain_follows_its_matrix"])
def chain_one_sweep_short(pieces: Any) -> Any:
    """The loop starts at 1: one sweep is none, and the dreams are the data."""
    right = pieces.gibbs_chain
    pieces.gibbs_chain = lambda model, v, sweeps, generator=None: right(
        model,
        v,
        sweeps - 1,  # wrong: sweeps
        generator,
    )
    return pieces


@mutant("theory", rejected_by=["theory.gsn_stationary"])
def reconstruction_of_the_likeliest_point(pieces: Any) -> Any:
    """The mode of the posterior instead of a draw: the chain collapses on a few points."""
    right = pieces.gsn_reconstruction

    def likeliest(p: Tensor, corruption: Tensor) -> Tensor:
        found = right(p, corruption)
        return torch.nn.functional.one_hot(found.argmax(1), len(p)).to(found)  # wrong: found

    pieces.gsn_reconstruction = likeliest
    return pieces


@mutant("theory", rejected_by=["theory.gsn_stationary"])
def reconstruction_without_the_prior(pieces: Any) -> Any:
    """The likelihood of what is seen, normalised, with all data equally likely."""
    right = pieces.gsn_reconstruction
    pieces.gsn_reconstruction = lambda p, corruption: right(
        torch.full_like(p, 1 / len(p)),  # wrong: p
        corruption,
    )
    return pieces


@mutant("theory", rejected_by=["theory.gsn_stationary"])
def stationary_distribution_of_the_columns(pieces: Any) -> Any:
    """The right eigenvector in place of the left one, which is constant for every chain."""
    right = pieces.stationary_distribution
    pieces.stationary_distribution = lambda transition: right(transition.T)  # wrong: transition
    return pieces
