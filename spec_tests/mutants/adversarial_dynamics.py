r"""Classic mistakes in the dynamics of adversarial training and in who moves what."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from spec_tests.registry import mutant

_DIRAC, _PATHS = "theory.dirac_gan", "theory.dirac_gan_trajectories"
_NOISE, _TURNS = "theory.instance_noise_restores_gradient", "theory.one_sgd_step_each"
_FIXED = "theory.a_fixed_discriminator_is_no_game"


def _field(pieces: Any, kind: str, change: Any) -> Any:
    """The pieces with the field of one game changed."""
    right = pieces.dirac_gan_field

    def field(state: Tensor, of: str, strength: float = 1.0) -> Tensor:
        found = right(state, of, strength)
        return change(state, found, strength) if of == kind else found

    pieces.dirac_gan_field = field
    return pieces


@mutant("theory", rejected_by=[_DIRAC])
def players_that_agree(pieces: Any) -> Any:
    """One sign for both: the generator helps the discriminator, and the game is no game."""
    # wrong: v, in which theta moves by + psi f'
    return _field(pieces, "gan", lambda state, v, _: torch.stack([-v[..., 0], v[..., 1]], -1))


@mutant("theory", rejected_by=[_DIRAC, _PATHS])
def penalty_with_the_wrong_sign(pieces: Any) -> Any:
    """The penalty is added to the discriminator's payoff: it is paid to be steep."""
    return _field(
        pieces,
        "r1",
        # wrong: v alone, which has its pull - strength * psi already
        lambda state, v, strength: v + 2 * strength * state * torch.tensor([0.0, 1.0]),
    )


@mutant("theory", rejected_by=[_DIRAC])
def penalty_without_its_half(pieces: Any) -> Any:
    """gamma psi^2 in place of half of it: twice the pull that is documented."""
    return _field(
        pieces,
        "r1",
        # wrong: v alone, which has its pull - strength * psi already
        lambda state, v, strength: v - strength * state * torch.tensor([0.0, 1.0]),
    )


@mutant("theory", rejected_by=[_DIRAC])
def noise_on_the_samples_alone(pieces: Any) -> Any:
    """Data stay sharp: half of the damping."""
    right = pieces.dirac_gan_field

    def field(state: Tensor, kind: str, strength: float = 1.0) -> Tensor:
        # wrong: strength itself, for data and samples are blurred
        scaled = strength / math.sqrt(2) if kind == "instance_noise" else strength
        return right(state, kind, scaled)

    pieces.dirac_gan_field = field
    return pieces


@mutant("theory", rejected_by=[_DIRAC])
def non_saturating_by_name_only(pieces: Any) -> Any:
    """The generator's loss is the minimax one: its step dies where the discriminator is sure."""
    right = pieces.dirac_gan_field
    pieces.dirac_gan_field = lambda state, kind, strength=1.0: right(
        state,
        "gan" if kind == "non_saturating" else kind,  # wrong: kind
        strength,
    )
    return pieces


@mutant("theory", rejected_by=[_DIRAC])
def eigenvalues_with_the_whole_slope(pieces: Any) -> Any:
    """f'(0) is taken for 1: the logistic function's slope at 0 is a half."""
    right = pieces.dirac_gan_eigenvalues
    pieces.dirac_gan_eigenvalues = lambda kind, strength=1.0: right(
        "wasserstein" if kind == "gan" else kind,  # wrong: kind
        strength,
    )
    return pieces


@mutant("theory", rejected_by=[_PATHS])
def steps_in_turns_called_simultaneous(pieces: Any) -> Any:
    """The discriminator always sees the generator's new parameters: circles look stable."""
    right = pieces.follow_field
    pieces.follow_field = lambda field, start, step_size, steps, alternating=False: right(
        field,
        start,
        step_size,
        steps,
        True,  # wrong: alternating
    )
    return pieces


@mutant("theory", rejected_by=[_NOISE])
def noise_that_is_narrower_than_it_says(pieces: Any) -> Any:
    """sigma is used as a variance."""
    right = pieces.blurred_js
    # wrong: sigma
    pieces.blurred_js = lambda x, y, p, q, sigma: right(x, y, p, q, math.sqrt(sigma))
    return pieces


@mutant("theory", rejected_by=[_NOISE])
def divergence_of_the_sharp_points(pieces: Any) -> Any:
    """log 2 wherever the points differ: what there was before the noise."""

    def sharp(x: Tensor, y: Tensor, p: Tensor, q: Tensor, sigma: float) -> Tensor:
        apart = float(torch.equal(x.sort().values, y.sort().values))
        return (1 - apart) * math.log(2) + 0 * y.sum()  # wrong: blur both sets first

    pieces.blurred_js = sharp
    return pieces


@mutant("theory", rejected_by=[_NOISE])
def divergence_without_weights(pieces: Any) -> Any:
    """Every point counts alike."""
    right = pieces.blurred_js

    def equal(x: Tensor, y: Tensor, p: Tensor, q: Tensor, sigma: float) -> Tensor:
        # wrong: q, and y as it is
        return right(x, y.flip(0) if len(y) > 1 else y, p, torch.full_like(q, 1 / len(q)), sigma)

    pieces.blurred_js = equal
    return pieces


@mutant("theory", rejected_by=[_TURNS])
def fakes_with_their_graph(pieces: Any) -> Any:
    """The fakes are not cut off: the discriminator's backward pass leaves gradients in the
    generator."""

    def step(
        generator: nn.Module, discriminator: nn.Module, losses: Any, optimizer: Any, real: Tensor,
        noise: Tensor,
    ) -> Tensor:  # fmt: skip
        # wrong: generator(noise).detach()
        loss = losses.discriminator_loss(discriminator(real), discriminator(generator(noise)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    pieces.discriminator_step = step
    return pieces


@mutant("theory", rejected_by=[_TURNS])
def gradients_left_in_the_discriminator(pieces: Any) -> Any:
    """The generator's backward pass fills the discriminator's gradients, and nobody empties them."""

    def step(
        generator: nn.Module, discriminator: nn.Module, losses: Any, optimizer: Any, noise: Tensor
    ) -> Tensor:
        loss = losses.generator_loss(discriminator(generator(noise)))
        optimizer.zero_grad()
        loss.backward()  # wrong: gradients for the generator alone
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    pieces.generator_step = step
    return pieces


@mutant("theory", rejected_by=[_TURNS])
def generator_that_minimises_the_discriminators_loss(pieces: Any) -> Any:
    """One loss for both players: the generator learns to be recognised."""

    def step(
        generator: nn.Module, discriminator: nn.Module, losses: Any, optimizer: Any, noise: Tensor
    ) -> Tensor:
        scores = discriminator(generator(noise))
        loss = losses.discriminator_loss(scores, scores)  # wrong: generator_loss(scores)
        own = list(generator.parameters())
        for p, g in zip(own, torch.autograd.grad(loss, own), strict=True):
            p.grad = g
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    pieces.generator_step = step
    return pieces


@mutant("theory", rejected_by=[_FIXED])
def best_answer_to_the_wrong_player(pieces: Any) -> Any:
    """q/(p + q): the discriminator calls the data fake, and the generator flees from them."""
    right = pieces.optimal_discriminator
    pieces.optimal_discriminator = lambda p, q: right(q, p)  # wrong: right(p, q)
    return pieces
