r"""Spike and slab: codes that are exactly zero most of the time, and Gaussian when they are not.

.. code-block:: text

    density of one entry of the code
            |
            |            a spike at zero holds 1 - pi of the mass,
         .--|--.         a Gaussian slab the rest
    ----'   |   '----
            0

Which entries are in use is a binary vector; all 2**K of them are enumerated.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = ["SpikeAndSlab"]


class SpikeAndSlab:
    r"""A linear model of noisy points with a spike-and-slab prior on the code.

    .. math::

        z_k = s_k h_k, \quad s_k \sim \mathrm{Bernoulli}(\pi), \quad h_k \sim \mathcal N(0, 1),
        \qquad x \mid z \sim \mathcal N(zA, \sigma^2 I)

    Given which entries are in use, x is Gaussian, so that both the density of x and the mean of the
    code are sums over the subsets:

    .. math::

        p(x) = \sum_s p(s)\, \mathcal N(x;\, 0,\, A_s^\top A_s + \sigma^2 I), \qquad
        \mathbb E[z \mid x] = \sum_s p(s \mid x)\, x (A_s^\top A_s + \sigma^2 I)^{-1} A_s^\top

    Paper: Bayesian Variable Selection in Linear Regression (Mitchell, Beauchamp, 1988),
    https://doi.org/10.1080/01621459.1988.10478694; as a prior on codes, Large-Scale Feature
    Learning With Spike-and-Slab Sparse Coding (Goodfellow, Courville, Bengio, 2012),
    https://arxiv.org/abs/1206.6407
    Claims: theory.spike_and_slab_is_exact
    Differs: exact enumeration in place of a variational bound; one rate and one slab for all atoms.

    Args:
        dictionary: A, atoms as rows (K, D); K small enough for 2**K subsets.
        rate: pi, the probability that an atom is in use, in (0, 1).
        sigma: standard deviation of the noise, positive.

    Raises:
        ValueError: the rate is not a probability strictly between 0 and 1.

    >>> SpikeAndSlab(torch.eye(2), rate=0.5, sigma=1.0).log_prob(torch.zeros(3, 2)).shape
    torch.Size([3])
    """

    def __init__(self, dictionary: Float[Tensor, "k d"], rate: float, sigma: float) -> None:
        if not 0 < rate < 1:
            raise ValueError(f"rate must lie strictly between 0 and 1, not {rate}")
        self.dictionary, self.sigma = dictionary, sigma
        atoms, size = dictionary.shape
        number = torch.arange(2**atoms, device=dictionary.device)[:, None]
        bits = number >> torch.arange(atoms, device=dictionary.device) & 1
        self.used = bits.to(dictionary.dtype)  # (2**K, K)
        count = self.used.sum(1)
        self.log_prior = count * math.log(rate) + (atoms - count) * math.log1p(-rate)
        noise = sigma**2 * torch.eye(size, dtype=dictionary.dtype, device=dictionary.device)
        kept = self.used[:, :, None] * dictionary  # (2**K, K, D): A_s
        self.kept, self.covariance = kept, kept.mT @ kept + noise

    def _log_joint(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n s"]:
        """log p(s, x) of every subset."""
        whitened = torch.linalg.solve(self.covariance, x.mT).transpose(0, 1)  # (D, 2**K, N)
        distance = (whitened * x.mT[:, None]).sum(0)  # (2**K, N)
        constant = self.covariance.logdet() + x.shape[1] * math.log(2 * math.pi)
        found: Tensor = (self.log_prior - 0.5 * constant) - 0.5 * distance.mT
        return found

    def log_prob(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """(N,), nats."""
        return self._log_joint(x).logsumexp(1)

    def in_use(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """The probability, given x, that each atom is in use."""
        return self._log_joint(x).softmax(1) @ self.used

    def code(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """The mean of the code given x."""
        gain = torch.linalg.solve(self.covariance, self.kept.mT)  # (2**K, D, K)
        each = torch.einsum("nd,sdk->nsk", x, gain)
        weights = self._log_joint(x).softmax(1)
        return torch.einsum("ns,nsk->nk", weights, each)
