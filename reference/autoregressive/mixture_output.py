r"""Two ways to say which level comes next: a logit for each, or a few logistics over all of them.

.. code-block:: text

    categorical             K numbers, any distribution, levels are names
    mixture of logistics    3 M numbers, whatever K is; levels are places on a line:

        weight, mean, scale, M times  -->  one density  -->  its mass in each of K bins  -->  logits
"""

from __future__ import annotations

__all__ = ["LogisticMixtureHead", "mixture_logits"]

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from reference.autoregressive.logistic_mixture import discretized_logistic_mixture

if TYPE_CHECKING:
    from jaxtyping import Float


def mixture_logits(parameters: Float[Tensor, "*batch p"], levels: int) -> Float[Tensor, "*batch k"]:
    r"""The log-masses of all levels under a mixture of logistics, which serve as logits.

    .. math::

        \ell_k = \log \sum_m \pi_m \left[
            \sigma\!\left(\frac{v_k + h - \mu_m}{s_m}\right)
            - \sigma\!\left(\frac{v_k - h - \mu_m}{s_m}\right) \right], \qquad
        \sum_k e^{\ell_k} = 1

    Paper: Image Transformer (Parmar et al., 2018), Section 3.4, https://arxiv.org/abs/1802.05751
    Claims: theory.mixture_output_is_ordinal
    Differs: none.

    Args:
        parameters: M logarithms of weights, M means, M logarithms of scales (..., 3M).
        levels: K, two or more.

    Returns:
        (..., K), nats.

    Raises:
        ValueError: as for `discretized_logistic_mixture`.

    >>> mixture_logits(torch.tensor([0.0, 5.0, -5.0]), levels=3).exp()  # far right, and narrow
    tensor([0., 0., 1.])
    """
    batch = parameters.shape[:-1]
    parts = parameters.reshape(*batch, 3, 1, -1).expand(*batch, 3, levels, -1)
    weights, means, scales = (part.flatten(0, -2) for part in parts.unbind(-3))  # (N K, M)
    level = torch.arange(levels, device=parameters.device).repeat(len(means) // max(levels, 1))
    found = discretized_logistic_mixture(level, weights, means, scales, levels)
    return found.view(*batch, levels)


class LogisticMixtureHead(nn.Module):
    r"""The last layer of a model whose levels are ordered: 3M numbers in place of K logits.

    .. math::

        \ell = \texttt{mixture\_logits}(W h + b), \qquad W \in \mathbb{R}^{3M \times E}

    Paper: Image Transformer (Parmar et al., 2018), Section 3.4, https://arxiv.org/abs/1802.05751
    Claims: theory.mixture_output_is_ordinal
    Differs: every channel has a mixture of its own, given the earlier channels by the network; in
    the paper three channels share the weights, and means are linear in the earlier channels.

    The paper's size: ten components.

    Args:
        embed_dim: E.
        levels: K, two or more.
        components: M.

    Raises:
        ValueError: too few levels or components.

    >>> LogisticMixtureHead.tiny()(torch.zeros(3, 6)).shape
    torch.Size([3, 5])
    """

    def __init__(self, embed_dim: int, levels: int, components: int) -> None:
        super().__init__()
        if levels < 2 or components < 1:
            raise ValueError(f"no mixture of {components} components over {levels} levels")
        self.levels = levels
        self.project = nn.Linear(embed_dim, 3 * components)

    @classmethod
    def tiny(cls) -> LogisticMixtureHead:
        """E = 6, K = 5, M = 2."""
        return cls(6, levels=5, components=2)

    def forward(self, h: Float[Tensor, "*batch e"]) -> Float[Tensor, "*batch k"]:
        return mixture_logits(self.project(h), self.levels)
