r"""Classic mistakes in restricted Boltzmann machines."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from reference.energy import RBM
from spec_tests.contracts.energy import RBMConfig
from spec_tests.registry import mutant

_FREE, _CONDITIONALS = "rbm.free_energy_marginalises", "rbm.conditionals_match_joint"
_GIBBS = "rbm.gibbs_leaves_it_stationary"


def _built(config: RBMConfig, **members: Callable[..., Any] | None) -> Any:
    """The reference with some members replaced by functions of (model, ...), or left out by None."""
    model = RBM(config.visible, config.hidden)
    for name, member in members.items():
        bound = None if member is None else member.__get__(model)
        object.__setattr__(model, name, bound)
    return model


@mutant("rbm", rejected_by=[_FREE])
def free_energy_with_the_sign_of_a_log_probability(config: RBMConfig) -> Any:
    """log Σ exp(-E) instead of its negative: training lowers the probability of the data."""
    return _built(config, free_energy=lambda m, v: -RBM.free_energy(m, v))  # wrong: no minus


@mutant("rbm", rejected_by=[_FREE, _GIBBS])
def free_energy_without_the_visible_bias(config: RBMConfig) -> Any:
    """The term of the visible units is forgotten, as if every pixel were on half of the time."""

    def free_energy(m: RBM, v: Tensor) -> Tensor:
        inputs = m.hidden_bias + v @ m.weight
        return -functional.softplus(inputs).sum(-1)  # wrong: less v @ m.visible_bias

    return _built(config, free_energy=free_energy)


@mutant("rbm", rejected_by=[_FREE, _GIBBS])
def free_energy_at_the_expected_hidden_state(config: RBMConfig) -> Any:
    """E(v, p(h|v)) leaves out the entropy of the hidden units."""

    def free_energy(m: RBM, v: Tensor) -> Tensor:
        return m.energy(v, m.hidden_probability(v))  # wrong: summed over every h

    return _built(config, free_energy=free_energy)


@mutant("rbm", rejected_by=[_FREE])
def free_energy_averaged_over_hidden_states(config: RBMConfig) -> Any:
    """The sum over hidden states is divided by their number: off by H log 2."""

    def free_energy(m: RBM, v: Tensor) -> Tensor:
        inputs = m.hidden_bias + v @ m.weight
        each = functional.softplus(inputs) - math.log(2)  # wrong: softplus(inputs)
        return -(v @ m.visible_bias) - each.sum(-1)

    return _built(config, free_energy=free_energy)


@mutant("rbm", rejected_by=[_FREE, "rbm.item_by_item"])
def free_energy_summed_over_the_batch(config: RBMConfig) -> Any:
    """The sum runs over the batch as well as over the hidden units."""

    def free_energy(m: RBM, v: Tensor) -> Tensor:
        hidden = functional.softplus(m.hidden_bias + v @ m.weight).sum()  # wrong: sum(-1)
        return -(v @ m.visible_bias) - hidden

    return _built(config, free_energy=free_energy)


@mutant("rbm", rejected_by=[_FREE, _GIBBS])
def free_energy_of_units_that_are_plus_or_minus_one(config: RBMConfig) -> Any:
    """log 2 cosh is the sum over h in {-1, 1}; these units are 0 or 1."""

    def free_energy(m: RBM, v: Tensor) -> Tensor:
        inputs = m.hidden_bias + v @ m.weight
        each = (inputs.exp() + (-inputs).exp()).log()  # wrong: softplus(inputs)
        return -(v @ m.visible_bias) - each.sum(-1)

    return _built(config, free_energy=free_energy)


@mutant("rbm", rejected_by=[_FREE, _GIBBS])
def free_energy_without_energy_and_without_visible_bias(config: RBMConfig) -> Any:
    """No energy is offered, and the free energy lacks the visible units' own term."""

    def free_energy(m: RBM, v: Tensor) -> Tensor:
        inputs = m.hidden_bias + v @ m.weight
        return -functional.softplus(inputs).sum(-1)  # wrong: less v @ m.visible_bias

    return _built(config, energy=None, free_energy=free_energy)


@mutant("rbm", rejected_by=[_CONDITIONALS, _GIBBS])
def hidden_probability_without_its_bias(config: RBMConfig) -> Any:
    """The bias is left out of the upward pass, and the chain drifts to another density."""
    return _built(
        config,
        hidden_probability=lambda m, v: (v @ m.weight).sigmoid(),  # wrong: + m.hidden_bias
    )


@mutant("rbm", rejected_by=[_CONDITIONALS, _GIBBS])
def visible_probability_with_the_sign_of_the_energy(config: RBMConfig) -> Any:
    """sigmoid of the energy's slope, not of its negative: units turn on where they should be off."""

    def visible_probability(m: RBM, h: Tensor) -> Tensor:
        return (-m.visible_bias - h @ m.weight.T).sigmoid()  # wrong: + and +

    return _built(config, visible_probability=visible_probability)


@mutant("rbm", rejected_by=[_CONDITIONALS, "rbm.layers_interact"])
def visible_probability_from_the_bias_alone(config: RBMConfig) -> Any:
    """The downward pass ignores the hidden units, so that what is drawn is noise."""

    def visible_probability(m: RBM, h: Tensor) -> Tensor:
        inputs = m.visible_bias.expand(len(h), -1) + 0 * h.sum()  # wrong: h @ m.weight.T
        return inputs.sigmoid()

    return _built(config, visible_probability=visible_probability)


@mutant("rbm", rejected_by=["rbm.layers_interact"])
def layers_that_are_not_connected(config: RBMConfig) -> Any:
    """A detached, zero weight: independent coins, of which every identity is true."""
    model = RBM(config.visible, config.hidden)
    del model.weight
    unconnected = torch.zeros(config.visible, config.hidden)  # wrong: a parameter, drawn
    model.register_buffer("weight", unconnected)
    return model


@mutant("rbm", rejected_by=[_CONDITIONALS, _GIBBS])
def conditionals_at_two_temperatures(config: RBMConfig) -> Any:
    """The hidden units are drawn at a temperature of 2 and the visible ones at 1: no density has
    both conditionals."""

    def hidden_probability(m: RBM, v: Tensor) -> Tensor:
        return (0.5 * (m.hidden_bias + v @ m.weight)).sigmoid()  # wrong: without 0.5

    return _built(config, hidden_probability=hidden_probability)


@mutant("rbm", rejected_by=["rbm.energy_is_bilinear", _CONDITIONALS])
def energy_with_a_connection_within_the_hidden_layer(config: RBMConfig) -> Any:
    """Neighbouring hidden units are joined: a Boltzmann machine, but not a restricted one."""

    def energy(m: RBM, v: Tensor, h: Tensor) -> Tensor:
        return RBM.energy(m, v, h) - 0.5 * (h[:, 1:] * h[:, :-1]).sum(-1)  # wrong: no second term

    return _built(config, energy=energy)


@mutant("rbm", rejected_by=["rbm.gradient_is_derivative"])
def free_energy_with_detached_weights(config: RBMConfig) -> Any:
    """``.data`` keeps the weights out of the graph: the biases alone are trained."""

    def free_energy(m: RBM, v: Tensor) -> Tensor:
        inputs = m.hidden_bias + v @ m.weight.data  # wrong: m.weight
        return -(v @ m.visible_bias) - functional.softplus(inputs).sum(-1)

    return _built(config, free_energy=free_energy)


@mutant("rbm", rejected_by=["rbm.repeats_itself"])
def hidden_probability_that_is_a_sample(config: RBMConfig) -> Any:
    """Zeros and ones drawn from the probabilities are returned in their place."""

    def hidden_probability(m: RBM, v: Tensor) -> Tensor:
        return torch.bernoulli(RBM.hidden_probability(m, v))  # wrong: not drawn

    return _built(config, hidden_probability=hidden_probability)


@mutant("rbm", rejected_by=[_CONDITIONALS, _GIBBS])
def hidden_probability_that_is_the_likelier_state(config: RBMConfig) -> Any:
    """Each probability is rounded to 0 or 1: a deterministic network in place of a random one."""
    return _built(
        config,
        hidden_probability=lambda m, v: RBM.hidden_probability(m, v).round(),  # wrong: no round
    )


@mutant("rbm", rejected_by=["rbm.free_energy_of_strong_weights"])
def free_energy_that_overflows(config: RBMConfig) -> Any:
    """log(1 + exp) as it is written: inf for a unit that is certain."""

    def free_energy(m: RBM, v: Tensor) -> Tensor:
        inputs = m.hidden_bias + v @ m.weight
        each = (1 + inputs.exp()).log()  # wrong: softplus(inputs)
        return -(v @ m.visible_bias) - each.sum(-1)

    return _built(config, free_energy=free_energy)


@mutant("rbm", rejected_by=["rbm.free_energy_of_strong_weights"])
def free_energy_with_an_early_shortcut(config: RBMConfig) -> Any:
    """log(1 + e^a) is taken for a where a exceeds 4: off by up to 0.018 a unit."""

    def free_energy(m: RBM, v: Tensor) -> Tensor:
        inputs = m.hidden_bias + v @ m.weight
        each = functional.softplus(inputs, threshold=4.0)  # wrong: logaddexp of inputs and 0
        return -(v @ m.visible_bias) - each.sum(-1)

    return _built(config, free_energy=free_energy)


@mutant("rbm", rejected_by=["rbm.conditionals_of_strong_weights"])
def probabilities_kept_away_from_certainty(config: RBMConfig) -> Any:
    """Clamped to [0.001, 0.999] before drawing: units that are certain flip once in a thousand."""

    def hidden_probability(m: RBM, v: Tensor) -> Tensor:
        return RBM.hidden_probability(m, v).clamp(1e-3, 1 - 1e-3)  # wrong: no clamp

    return _built(config, hidden_probability=hidden_probability)


@mutant("rbm", rejected_by=["rbm.conditionals_of_strong_weights"])
def probability_that_overflows(config: RBMConfig) -> Any:
    """e^a / (1 + e^a) as it is written: NaN for a large field."""

    def hidden_probability(m: RBM, v: Tensor) -> Tensor:
        odds = (m.hidden_bias + v @ m.weight).exp()
        return odds / (1 + odds)  # wrong: sigmoid of the field

    return _built(config, hidden_probability=hidden_probability)
