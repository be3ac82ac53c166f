"""Models that explain each point by a latent variable z: p(x) = ∫ p(x|z) p(z) dz.

The densities (`likelihoods`), the bounds and estimates of log p(x) made of them (`estimators`,
`marginal`), and two models: the variational autoencoder (`VAE`), and its linear Gaussian case, in
which everything has a closed form (`LinearGaussianVAE`).
"""

from reference.latent.estimators import elbo_analytic, elbo_sampled, minibatch_objective
from reference.latent.iwae import iwae_bound
from reference.latent.likelihoods import (
    bernoulli_log_likelihood,
    gaussian_kl,
    gaussian_log_likelihood,
    reparameterize,
)
from reference.latent.linear_gaussian import (
    LinearGaussianVAE,
    linear_gaussian_log_evidence,
    linear_gaussian_posterior,
)
from reference.latent.marginal import log_marginal_likelihood, log_mean_exp
from reference.latent.vae import VAE

__all__ = [
    "VAE",
    "LinearGaussianVAE",
    "bernoulli_log_likelihood",
    "elbo_analytic",
    "elbo_sampled",
    "gaussian_kl",
    "gaussian_log_likelihood",
    "iwae_bound",
    "linear_gaussian_log_evidence",
    "linear_gaussian_posterior",
    "log_marginal_likelihood",
    "log_mean_exp",
    "minibatch_objective",
    "reparameterize",
]
