"""Models whose density is given by an energy up to a constant, and Markov chains that end in one."""

from reference.energy.diffusion import (
    DiffusionSchedule,
    cosine_alpha_bar,
    linear_alpha_bar,
    noised_mean_variance,
    step_back_mean_variance,
)
from reference.energy.diffusion_bound import diffusion_elbo, diffusion_sample, gaussian_divergence
from reference.energy.rbm import RBM

__all__ = [
    "RBM",
    "DiffusionSchedule",
    "cosine_alpha_bar",
    "diffusion_elbo",
    "diffusion_sample",
    "gaussian_divergence",
    "linear_alpha_bar",
    "noised_mean_variance",
    "step_back_mean_variance",
]
