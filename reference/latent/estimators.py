r"""Two estimators of the evidence lower bound, and its form for minibatches.

All work on log-densities that are already computed, so that any model can use them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

__all__ = ["elbo_analytic", "elbo_sampled", "minibatch_objective"]


def elbo_sampled(
    log_likelihood: Float[Tensor, "s n"],
    log_prior: Float[Tensor, "s n"],
    log_posterior: Float[Tensor, "s n"],
) -> Float[Tensor, " n"]:
    r"""The lower bound with every term sampled: q need only be drawn from and evaluated.

    .. math::

        \hat{\mathcal L}^{A}(x) = \frac1S \sum_{s=1}^{S}
        \log p(x \mid z_s) + \log p(z_s) - \log q(z_s \mid x), \qquad z_s \sim q(z \mid x)

    At the true posterior every summand is log p(x), and the estimate has no variance.

    Paper: Auto-Encoding Variational Bayes (Kingma, Welling, 2013), equation 6,
    https://arxiv.org/abs/1312.6114
    Claims: vae.two_estimators_agree, theory.tight_at_the_posterior
    Differs: S in place of the paper's L.

    Args:
        log_likelihood: log p(x | z) at each draw (S, N).
        log_prior: log p(z) at each draw (S, N).
        log_posterior: log q(z | x) at each draw (S, N).

    Returns:
        The estimate for each item in nats (N,).

    Raises:
        ValueError: The shapes differ.

    >>> import torch
    >>> elbo_sampled(torch.full((3, 2), -5.0), torch.full((3, 2), -2.0), torch.full((3, 2), -1.0))
    tensor([-6., -6.])
    """
    shapes = [(*term.shape,) for term in (log_likelihood, log_prior, log_posterior)]
    if len(set(shapes)) > 1:
        raise ValueError(f"all terms must have one shape (S, N), got {shapes}")
    return (log_likelihood + log_prior - log_posterior).mean(0)


def elbo_analytic(
    log_likelihood: Float[Tensor, "s n"], kl: Float[Tensor, " n"]
) -> Float[Tensor, " n"]:
    r"""The lower bound with its divergence in closed form: typically of lower variance.

    .. math::

        \hat{\mathcal L}^{B}(x) = -D_{\mathrm{KL}}\bigl(q(z \mid x) \,\|\, p(z)\bigr)
        + \frac1S \sum_{s=1}^{S} \log p(x \mid z_s), \qquad z_s \sim q(z \mid x)

    Only the divergence, and its gradient, is exact; the likelihood term is sampled, and so is its
    gradient, in the decoder and in the encoder alike.

    Paper: Auto-Encoding Variational Bayes (Kingma, Welling, 2013), equation 7,
    https://arxiv.org/abs/1312.6114
    Claims: vae.two_estimators_agree, vae.elbo_below_log_likelihood
    Differs: S in place of the paper's L.

    Args:
        log_likelihood: log p(x | z) at each draw (S, N).
        kl: The divergence of q(z | x) from the prior (N,).

    Returns:
        The estimate for each item in nats (N,).

    Raises:
        ValueError: The numbers of items differ.

    >>> import torch
    >>> elbo_analytic(torch.tensor([[-4.0], [-6.0]]), torch.tensor([1.0]))
    tensor([-6.])
    """
    if log_likelihood.shape[1:] != kl.shape:
        shapes = f"{(*log_likelihood.shape,)} and {(*kl.shape,)}"
        raise ValueError(f"shapes must be (S, N) and (N,), got {shapes}")
    return log_likelihood.mean(0) - kl


def minibatch_objective(elbo: Float[Tensor, " m"], dataset_size: int) -> Float[Tensor, ""]:
    r"""The bound of a whole data set, estimated without bias from a minibatch of it.

    .. math::

        \mathcal L(X) \simeq \frac{N}{M} \sum_{m=1}^{M} \hat{\mathcal L}(x_m)

    Paper: Auto-Encoding Variational Bayes (Kingma, Welling, 2013), equation 8,
    https://arxiv.org/abs/1312.6114
    Claims: vae.minibatch_unbiased
    Differs: none.

    Args:
        elbo: The bound of each of the M items of the minibatch (M,).
        dataset_size: N, the number of items in the data set.

    Returns:
        The estimate of the sum over the data set in nats, a 0-d tensor, to be maximised.

    Raises:
        ValueError: The minibatch is empty, or larger than the data set.

    >>> import torch
    >>> minibatch_objective(torch.tensor([-1.0, -3.0]), dataset_size=10)
    tensor(-20.)
    """
    if not 1 <= len(elbo) <= dataset_size:
        raise ValueError(f"a minibatch of {len(elbo)} from a data set of {dataset_size} items")
    return dataset_size / len(elbo) * elbo.sum()
