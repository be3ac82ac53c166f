r"""Classic mistakes of denoising losses: in the target, the corruption and the scale."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from spec_tests.registry import mutant

PREFIX = "denoising_loss"


@mutant(PREFIX, rejected_by=[f"{PREFIX}.target_is_clean", f"{PREFIX}.matches_definition"])
def corrupted_point_as_the_target(denoiser: Any, clean: Tensor, noise: Tensor) -> Tensor:
    """An ordinary autoencoder on noisy data: copying is free, noise and all."""
    shown = clean + noise
    return (denoiser(shown) - shown).square().sum(-1).mean()  # wrong: - clean


@mutant(PREFIX, rejected_by=[f"{PREFIX}.denoiser_sees_the_corrupted", f"{PREFIX}.target_is_clean"])
def clean_point_shown(denoiser: Any, clean: Tensor, noise: Tensor) -> Tensor:
    """The noise never reaches the denoiser: the answer is handed over with the question."""
    return (denoiser(clean) - clean).square().sum(-1).mean()  # wrong: denoiser(clean + noise)


@mutant(PREFIX, rejected_by=[f"{PREFIX}.target_is_clean", f"{PREFIX}.matches_definition"])
def noise_as_the_target(denoiser: Any, clean: Tensor, noise: Tensor) -> Tensor:
    """The noise asked for, as in diffusion models, of a network that gives points."""
    return (denoiser(clean + noise) - noise).square().sum(-1).mean()  # wrong: - clean


@mutant(PREFIX, rejected_by=[f"{PREFIX}.matches_definition", f"{PREFIX}.target_is_clean"])
def mean_over_the_dimensions(denoiser: Any, clean: Tensor, noise: Tensor) -> Tensor:
    """``mse_loss`` as it comes: divided by D too, right in one dimension alone."""
    return functional.mse_loss(denoiser(clean + noise), clean)  # wrong: summed over D


@mutant(PREFIX, rejected_by=[f"{PREFIX}.matches_definition", f"{PREFIX}.item_by_item"])
def sum_over_the_batch(denoiser: Any, clean: Tensor, noise: Tensor) -> Tensor:
    """A sum over the items: the step grows with the batch."""
    return (denoiser(clean + noise) - clean).square().sum()  # wrong: mean over N


@mutant(PREFIX, rejected_by=[f"{PREFIX}.matches_definition", f"{PREFIX}.gradient_reaches_denoiser"])
def halved_squares(denoiser: Any, clean: Tensor, noise: Tensor) -> Tensor:
    """Half the squared error, another convention, which halves every step."""
    return 0.5 * (denoiser(clean + noise) - clean).square().sum(-1).mean()  # wrong: no half


@mutant(PREFIX, rejected_by=[f"{PREFIX}.matches_definition"])
def distance_not_squared(denoiser: Any, clean: Tensor, noise: Tensor) -> Tensor:
    """The norm itself, whose best answer is a median and not the posterior mean."""
    return (denoiser(clean + noise) - clean).norm(dim=-1).mean()  # wrong: squared


@mutant(PREFIX, rejected_by=[f"{PREFIX}.denoiser_sees_the_corrupted"])
def noise_that_multiplies(denoiser: Any, clean: Tensor, noise: Tensor) -> Tensor:
    """x (1 + noise): what is zero stays clean."""
    return (denoiser(clean * (1 + noise)) - clean).square().sum(-1).mean()  # wrong: clean + noise


@mutant(PREFIX, rejected_by=[f"{PREFIX}.denoiser_sees_the_corrupted", f"{PREFIX}.item_by_item"])
def noise_of_another_item(denoiser: Any, clean: Tensor, noise: Tensor) -> Tensor:
    """The noise in reverse order: right in distribution, but not what the caller asked for."""
    return (denoiser(clean + noise.flip(0)) - clean).square().sum(-1).mean()  # wrong: no flip


@mutant(PREFIX, rejected_by=[f"{PREFIX}.denoiser_sees_the_corrupted", f"{PREFIX}.repeats_itself"])
def noise_of_its_own(denoiser: Any, clean: Tensor, noise: Tensor) -> Tensor:
    """Fresh noise from the global generator, of which the argument gives the shape only."""
    # wrong: noise
    return (denoiser(clean + torch.randn_like(noise)) - clean).square().sum(-1).mean()


@mutant(PREFIX, rejected_by=[f"{PREFIX}.matches_definition", f"{PREFIX}.target_is_clean"])
def denoised_added_to_the_input(denoiser: Any, clean: Tensor, noise: Tensor) -> Tensor:
    """The denoiser taken for a residual, to be added to what it was shown."""
    shown = clean + noise
    return (shown + denoiser(shown) - clean).square().sum(-1).mean()  # wrong: denoiser(shown)


@mutant(PREFIX, rejected_by=[f"{PREFIX}.leaves_inputs_alone"])
def noise_added_in_place(denoiser: Any, clean: Tensor, noise: Tensor) -> Tensor:
    """``clean += noise`` on the caller's data: every epoch trains on noisier points."""
    target = clean.detach().clone()
    clean.data += noise.detach()  # wrong: clean + noise
    return (denoiser(clean) - target).square().sum(-1).mean()


@mutant(PREFIX, rejected_by=[f"{PREFIX}.leaves_inputs_alone"])
def denoiser_put_into_eval_mode(denoiser: Any, clean: Tensor, noise: Tensor) -> Tensor:
    """``eval()`` on the network that is being trained, and never back."""
    if isinstance(denoiser, nn.Module):
        denoiser.eval()  # wrong: mode unchanged
    return (denoiser(clean + noise) - clean).square().sum(-1).mean()


@mutant(
    PREFIX,
    rejected_by=[f"{PREFIX}.gradient_reaches_denoiser", f"{PREFIX}.gradient_is_derivative"],
)
def denoised_points_detached(denoiser: Any, clean: Tensor, noise: Tensor) -> Tensor:
    """The rebuilt points out of the graph: a number to report, from which nothing is learned."""
    return (denoiser(clean + noise).detach() - clean).square().sum(-1).mean()  # wrong: no detach


@mutant(PREFIX, rejected_by=[f"{PREFIX}.leaves_global_state_alone"])
def generator_seeded_again(denoiser: Any, clean: Tensor, noise: Tensor) -> Tensor:
    """``manual_seed(0)`` for the sake of reproducibility: every later draw of the program is one."""
    torch.manual_seed(0)  # wrong: no seed
    return (denoiser(clean + noise) - clean).square().sum(-1).mean()
