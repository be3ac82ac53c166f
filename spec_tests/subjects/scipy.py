r"""SciPy's and NumPy's implementations under the contracts: nobody here wrote what is judged."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy import linalg, special, stats
from scipy.spatial import distance

from spec_tests.registry import Unsupported, subject

# Divergences and transport -----------------------------------------------------------------------


@subject("kl_divergence", name="scipy.stats.entropy", arrays="numpy")
def kl_by_entropy(p: Any, q: Any) -> Any:
    return stats.entropy(p, q)


@subject("kl_divergence", name="scipy.special.rel_entr", arrays="numpy")
def kl_by_rel_entr(p: Any, q: Any) -> Any:
    return special.rel_entr(p, q).sum()


@subject("kl_divergence", name="scipy.special.kl_div", arrays="numpy")
def kl_by_kl_div(p: Any, q: Any) -> Any:
    """Its terms carry an extra ``q - p``, which sums to 0 over probability vectors."""
    return special.kl_div(p, q).sum()


@subject("js_divergence", name="scipy.spatial.distance.jensenshannon", arrays="numpy")
def js_by_distance(p: Any, q: Any) -> Any:
    """SciPy returns the distance, the square root of the divergence."""
    return distance.jensenshannon(p, q) ** 2


@subject("wasserstein1", name="scipy.stats.wasserstein_distance", arrays="numpy")
def wasserstein_on_the_line(x: Any, y: Any, p: Any, q: Any) -> Any:
    if x.shape[1] != 1:
        raise Unsupported("points of one dimension only")
    return stats.wasserstein_distance(x[:, 0], y[:, 0], p, q)


@subject("wasserstein1", name="scipy.stats.wasserstein_distance_nd", arrays="numpy")
def wasserstein_in_space(x: Any, y: Any, p: Any, q: Any) -> Any:
    return stats.wasserstein_distance_nd(x, y, p, q)


@subject("optimal_discriminator", name="scipy.special.expit", arrays="numpy")
def discriminator_by_expit(p: Any, q: Any) -> Any:
    """The logistic function of the log-odds; NaN where neither has mass."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return special.expit(np.log(p) - np.log(q))


# Autoencoders --------------------------------------------------------------------------------------


@subject("linear_autoencoder", name="scipy.linalg.svd", arrays="numpy")
def pca_by_svd(x: Any, code_dim: int) -> Any:
    mean = x.mean(0)
    directions = linalg.svd(x - mean, full_matrices=True)[2][:code_dim]
    return lambda points: (points - mean) @ directions.T, lambda codes: codes @ directions + mean


@subject("linear_autoencoder", name="scipy.linalg.eigh", arrays="numpy")
def pca_by_eigh(x: Any, code_dim: int) -> Any:
    """The covariance matrix's leading eigenvectors; ``eigh`` sorts eigenvalues upwards."""
    mean, dim = x.mean(0), x.shape[1]
    covariance = (x - mean).T @ (x - mean) / len(x)
    vectors = linalg.eigh(covariance, subset_by_index=(dim - code_dim, dim - 1))[1]
    return lambda points: (points - mean) @ vectors, lambda codes: codes @ vectors.T + mean


# Latent variable models ----------------------------------------------------------------------------


@subject("gaussian_log_likelihood", name="scipy.stats.norm", arrays="numpy")
def gaussian_by_norm(x: Any, mean: Any, log_var: Any) -> Any:
    return stats.norm.logpdf(x, mean, np.exp(0.5 * log_var)).sum(-1)


@subject("bernoulli_log_likelihood", name="scipy.stats.bernoulli", arrays="numpy")
def bernoulli_by_probabilities(x: Any, logits: Any) -> Any:
    """Its parameter is the probability of a one, to which large logits round."""
    return stats.bernoulli.logpmf(x, special.expit(logits)).sum(-1)


@subject("bernoulli_log_likelihood", name="scipy.special.log_expit", arrays="numpy")
def bernoulli_by_log_expit(x: Any, logits: Any) -> Any:
    return (x * special.log_expit(logits) + (1 - x) * special.log_expit(-logits)).sum(-1)


# What BigGAN adds --------------------------------------------------------------------------------


@subject("orthogonal_penalty", name="scipy.spatial.distance.pdist", arrays="numpy")
def orthogonal_penalty_by_pairs(weight: Any) -> Any:
    """Inner products as the distances of all pairs, each of which is met once."""
    return 2 * (distance.pdist(weight.reshape(len(weight), -1), np.dot) ** 2).sum()


@subject("truncated_normal", name="scipy.stats.truncnorm", arrays="numpy")
def truncated_normal_by_truncnorm(shape: Any, threshold: float, generator: Any) -> Any:
    """NumPy's generator draws, from a seed that torch's gives."""
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    source = np.random.default_rng(seed)
    return stats.truncnorm.rvs(-threshold, threshold, size=shape, random_state=source)
