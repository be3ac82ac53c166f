r"""How a restricted Boltzmann machine is trained: the exact gradient, and what replaces it.

.. code-block:: text

    data v_0 --> h_0 --> v_1 --> h_1 --> ... --> v_k        k sweeps of Gibbs sampling
      |                                           |
      lower the free energy here                  raise it here
"""

from __future__ import annotations

__all__ = ["contrastive_divergence", "exact_log_likelihood", "gibbs_chain", "gibbs_transition"]

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from reference.energy.boltzmann import all_states
from reference.energy.rbm import RBM

if TYPE_CHECKING:
    from jaxtyping import Float


def exact_log_likelihood(model: RBM, v: Float[Tensor, "n v"]) -> Float[Tensor, " n"]:
    r"""The log-probability of visible states, the constant summed over all of them.

    .. math::

        \log p(v) = -F(v) - \log \sum_{v'} e^{-F(v')}, \qquad
        \nabla \log p(v) = -\nabla F(v) + \mathbb E_{p(v')} \nabla F(v')

    Paper: Training Products of Experts by Minimizing Contrastive Divergence (Hinton, 2002),
    Section 2, https://doi.org/10.1162/089976602760128018
    Claims: theory.rbm_gradient
    Differs: none.

    Args:
        model: a machine small enough to enumerate.
        v: visible states (N, V).

    Returns:
        (N,), nats.

    >>> exact_log_likelihood(RBM.tiny(), torch.zeros(3, 4)).shape
    torch.Size([3])
    """
    states = all_states(v.shape[1]).to(v)
    return -model.free_energy(v) - (-model.free_energy(states)).logsumexp(0)


def gibbs_transition(model: RBM) -> Float[Tensor, "s s"]:
    r"""The exact transition matrix of one Gibbs sweep over the visible states.

    .. math::

        T(v, v') = \sum_h p(h \mid v)\, p(v' \mid h)

    Paper: Training Products of Experts by Minimizing Contrastive Divergence (Hinton, 2002),
    Section 2, https://doi.org/10.1162/089976602760128018
    Claims: theory.cd_converges_to_gradient, theory.gibbs_chain_follows_its_matrix
    Differs: none.

    Args:
        model: a machine small enough to enumerate.

    Returns:
        (2**V, 2**V), rows that sum to 1; states in the order of `all_states`.

    >>> gibbs_transition(RBM.tiny()).shape
    torch.Size([16, 16])
    """
    v = all_states(len(model.visible_bias)).to(model.weight)
    h = all_states(len(model.hidden_bias)).to(model.weight)

    def of_states(p: Tensor, states: Tensor) -> Tensor:
        each = torch.where(states > 0, p[:, None], 1 - p[:, None])  # (P, S, units)
        return each.prod(-1)

    up = of_states(model.hidden_probability(v), h)
    return up @ of_states(model.visible_probability(h), v)


def gibbs_chain(
    model: RBM, v: Float[Tensor, "n v"], sweeps: int, generator: torch.Generator | None = None
) -> Float[Tensor, "n v"]:
    r"""Where some Gibbs sweeps lead.

    .. math::

        v_0 = v, \qquad v_k \sim T(v_{k-1}, \cdot)

    Paper: Training Products of Experts by Minimizing Contrastive Divergence (Hinton, 2002),
    Section 3, https://doi.org/10.1162/089976602760128018
    Claims: theory.gibbs_chain_follows_its_matrix
    Differs: none.

    Args:
        model: the machine.
        v: where the chains begin (N, V).
        sweeps: k.
        generator: the only source of randomness; torch's own if None.

    Returns:
        (N, V), cut off from the graph.

    >>> gibbs_chain(RBM.tiny(), torch.zeros(5, 4), sweeps=2).shape
    torch.Size([5, 4])
    """
    with torch.no_grad():
        for _ in range(sweeps):
            v = model.gibbs_step(v, generator)
    return v


def contrastive_divergence(
    model: RBM, data: Float[Tensor, "n v"], dreamt: Float[Tensor, "m v"]
) -> Float[Tensor, ""]:
    r"""A number whose gradient replaces that of the negative log-likelihood.

    .. math::

        \frac1N \sum_n F(v_n) - \frac1M \sum_m F(v'_m)

    With v' from the model itself the gradient would be exact on average; contrastive divergence
    takes them from `gibbs_chain`, a few sweeps away from the data. The value means nothing.

    Paper: Training Products of Experts by Minimizing Contrastive Divergence (Hinton, 2002),
    Section 3, https://doi.org/10.1162/089976602760128018
    Claims: theory.cd_converges_to_gradient
    Differs: none.

    Args:
        model: the machine.
        data: visible states of the data (N, V).
        dreamt: visible states of the chain (M, V); no gradient flows through them.

    Returns:
        A scalar.

    >>> v = torch.ones(3, 4)
    >>> contrastive_divergence(RBM.tiny(), v, v).item()
    0.0
    """
    return model.free_energy(data).mean() - model.free_energy(dreamt.detach()).mean()
