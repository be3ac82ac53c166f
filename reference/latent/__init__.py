"""Models that explain each point by a latent variable z: p(x) = ∫ p(x|z) p(z) dz.

The densities (`likelihoods`, `observation_models`), the bounds and estimates of log p(x) made of
them (`estimators`, `iwae`, `marginal`, `score_function`), and the models: the variational autoencoder
(`VAE`, `ConvolutionalVAE`), and its linear Gaussian case, in which everything has a closed form
(`LinearGaussianVAE`). Class-conditional densities classify, and know what they have never seen
(`generative_classifier`).
"""

from reference.latent.convolutional_vae import ConvolutionalVAE
from reference.latent.estimators import elbo_analytic, elbo_sampled, minibatch_objective
from reference.latent.generative_classifier import (
    class_posterior,
    flags_outliers,
    log_evidence,
)
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
from reference.latent.observation_models import (
    categorical_log_likelihood,
    fixed_gaussian_log_likelihood,
)
from reference.latent.score_function import leave_one_out_baseline, score_function_surrogate
from reference.latent.vae import VAE

__all__ = [
    "VAE",
    "ConvolutionalVAE",
    "LinearGaussianVAE",
    "bernoulli_log_likelihood",
    "categorical_log_likelihood",
    "class_posterior",
    "elbo_analytic",
    "elbo_sampled",
    "fixed_gaussian_log_likelihood",
    "flags_outliers",
    "gaussian_kl",
    "gaussian_log_likelihood",
    "iwae_bound",
    "leave_one_out_baseline",
    "linear_gaussian_log_evidence",
    "linear_gaussian_posterior",
    "log_evidence",
    "log_marginal_likelihood",
    "log_mean_exp",
    "minibatch_objective",
    "reparameterize",
    "score_function_surrogate",
]
