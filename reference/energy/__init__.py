"""Models whose density is given by an energy up to a constant, and Markov chains that end in one."""

from reference.energy.boltzmann import BoltzmannMachine, all_states, correlations
from reference.energy.contrastive_divergence import (
    contrastive_divergence,
    exact_log_likelihood,
    gibbs_chain,
    gibbs_transition,
)
from reference.energy.diffusion import (
    DiffusionSchedule,
    cosine_alpha_bar,
    linear_alpha_bar,
    noised_mean_variance,
    step_back_mean_variance,
)
from reference.energy.diffusion_bound import diffusion_elbo, diffusion_sample, gaussian_divergence
from reference.energy.gsn import gsn_reconstruction, gsn_transition, stationary_distribution
from reference.energy.rbm import RBM

__all__ = [
    "RBM",
    "BoltzmannMachine",
    "DiffusionSchedule",
    "all_states",
    "contrastive_divergence",
    "correlations",
    "cosine_alpha_bar",
    "diffusion_elbo",
    "diffusion_sample",
    "exact_log_likelihood",
    "gaussian_divergence",
    "gibbs_chain",
    "gibbs_transition",
    "gsn_reconstruction",
    "gsn_transition",
    "linear_alpha_bar",
    "noised_mean_variance",
    "stationary_distribution",
    "step_back_mean_variance",
]
