r"""Classifying by generating: how likely is x under each class, and under any of them?

.. code-block:: text

    log p(x | y = 1) --+                     +--> p(y | x)    which class
    log p(x | y = 2) --+-- Bayes' rule ------+
    log p(x | y = 3) --+   with p(y)         +--> p(x)        any class at all?

A discriminative classifier has the first output alone, and is sure of itself far from all data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

__all__ = ["class_posterior", "flags_outliers", "log_evidence"]


def log_evidence(
    log_conditional: Float[Tensor, "n y"], log_prior: Float[Tensor, " y"]
) -> Float[Tensor, " n"]:
    r"""The log-density of x, whatever its class.

    .. math::

        \log p(x) = \log \sum_y p(y)\, p(x \mid y)

    Paper: On Discriminative vs. Generative Classifiers (Ng, Jordan, 2001), Section 2,
    https://papers.nips.cc/paper/2020-on-discriminative-vs-generative-classifiers
    Claims: theory.generative_classifier
    Differs: none.

    Args:
        log_conditional: log p(x | y) of each item and class (N, Y), nats.
        log_prior: log p(y) (Y,).

    Returns:
        (N,), nats.

    >>> import torch
    >>> log_evidence(torch.tensor([[0.2, 0.6]]).log(), torch.tensor([0.5, 0.5]).log()).exp()
    tensor([0.4000])
    """
    return (log_conditional + log_prior).logsumexp(-1)


def class_posterior(
    log_conditional: Float[Tensor, "n y"], log_prior: Float[Tensor, " y"]
) -> Float[Tensor, "n y"]:
    r"""The probability of each class given x, by Bayes' rule.

    .. math::

        p(y \mid x) = \frac{p(y)\, p(x \mid y)}{\sum_{y'} p(y')\, p(x \mid y')}

    Paper: On Discriminative vs. Generative Classifiers (Ng, Jordan, 2001), Section 2,
    https://papers.nips.cc/paper/2020-on-discriminative-vs-generative-classifiers
    Claims: theory.generative_classifier
    Differs: none.

    Args:
        log_conditional, log_prior: as for `log_evidence`.

    Returns:
        (N, Y), rows that sum to 1.

    >>> import torch
    >>> class_posterior(torch.tensor([[0.2, 0.6]]).log(), torch.tensor([0.5, 0.5]).log())
    tensor([[0.2500, 0.7500]])
    """
    return (log_conditional + log_prior).softmax(-1)


def flags_outliers(
    log_p: Float[Tensor, " n"], log_p_of_data: Float[Tensor, " m"], rate: float
) -> Bool[Tensor, " n"]:
    r"""Which items are less likely than nearly all of the data.

    .. math::

        \log p(x) < q_\alpha, \qquad q_\alpha \text{ the quantile of } \log p \text{ over the data}

    Paper: Novelty detection and neural network validation (Bishop, 1994), Section 2,
    https://doi.org/10.1049/ip-vis:19941330
    Claims: theory.generative_classifier
    Differs: the threshold is a quantile of held-out data.

    Args:
        log_p: of the items in question (N,), nats.
        log_p_of_data: of data that are none (M,).
        rate: alpha, the share of such data that is flagged all the same, in (0, 1).

    Returns:
        (N,), True for outliers.

    Raises:
        ValueError: the rate is no share.

    >>> import torch
    >>> flags_outliers(torch.tensor([-9.0, 0.0]), torch.arange(-5.0, 0.0), rate=0.2)
    tensor([ True, False])
    """
    if not 0 < rate < 1:
        raise ValueError(f"rate must lie strictly between 0 and 1, not {rate}")
    return log_p < log_p_of_data.quantile(rate)
