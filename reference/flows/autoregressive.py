r"""Autoregressive flows: each feature is scaled and shifted by functions of those before it.

.. code-block:: text

    one pass: all of the input is known        D passes: one feature more is known after each

    x1 ────────────────────> z1                z1 ──> x1
    x1 ──> scale, shift                        x1 ──> scale, shift
    x2 ──> ─ shift, / scale > z2               z2 ──> * scale, + shift ──> x2 ──> and so on

    MAF: data to noise in one pass, samples in D        IAF: the other way around
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from reference.flows.composition import Composition
from reference.flows.masked_conditioner import MaskedConditioner

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = ["IAF", "MAF", "AutoregressiveLayer", "InverseAutoregressiveLayer"]


def _one_pass(
    conditioner: nn.Module, x: Float[Tensor, "n d"]
) -> tuple[Float[Tensor, "n d"], Float[Tensor, " n"]]:
    """Standardise every feature given those before it; all of x is known, so one pass does."""
    shift, log_scale = conditioner(x)
    return (x - shift) * (-log_scale).exp(), -log_scale.sum(1)


def _feature_by_feature(
    conditioner: nn.Module, z: Float[Tensor, "n d"]
) -> tuple[Float[Tensor, "n d"], Float[Tensor, " n"]]:
    """The inverse of `_one_pass`: after pass i, the first i features of x are right."""
    x, log_scale = torch.zeros_like(z), torch.zeros_like(z)
    for _ in range(z.shape[1]):
        shift, log_scale = conditioner(x)
        x = z * log_scale.exp() + shift
    return x, log_scale.sum(1)


class AutoregressiveLayer(nn.Module):
    r"""From data to noise in one pass, from noise to data in D: a layer of MAF.

    .. math::

        z_i = (x_i - \mu_i(x_{<i}))\, e^{-\alpha_i(x_{<i})}, \qquad
        \log \Bigl|\det \frac{\partial z}{\partial x}\Bigr| = -\sum_i \alpha_i(x_{<i})

    Paper: Masked Autoregressive Flow for Density Estimation (Papamakarios, Pavlakou, Murray, 2017),
    Equations 3 to 5, https://arxiv.org/abs/1705.07057
    Claims: flow.round_trip, flow.log_det_is_jacobian, theory.maf_iaf_mutual_inverses
    Differs: none.

    Args:
        conditioner: from x (N, D) to mu and alpha, (N, D) each; feature i reads x before i alone.

    >>> layer, x = AutoregressiveLayer(MaskedConditioner(3, 4)), torch.ones(5, 3)
    >>> torch.allclose(layer.inverse(layer(x)[0]), x, atol=1e-5)
    True
    """

    def __init__(self, conditioner: nn.Module) -> None:
        super().__init__()
        self.conditioner = conditioner

    def forward(self, x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n d"], Float[Tensor, " n"]]:
        """From data towards noise, in one pass."""
        return _one_pass(self.conditioner, x)

    def inverse(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """From noise towards data, in D passes."""
        return _feature_by_feature(self.conditioner, z)[0]


class InverseAutoregressiveLayer(nn.Module):
    r"""From noise to data in one pass, from data to noise in D: a layer of IAF.

    .. math::

        x_i = (z_i - \mu_i(z_{<i}))\, e^{-\alpha_i(z_{<i})}, \qquad
        \log \Bigl|\det \frac{\partial z}{\partial x}\Bigr| = \sum_i \alpha_i(z_{<i})

    With one conditioner it is the inverse of `AutoregressiveLayer`: the same function, of which
    the other end is called data.

    Paper: Improving Variational Inference with Inverse Autoregressive Flow (Kingma, Salimans,
    Jozefowicz, Chen, Sutskever, Welling, 2016), Section 3, https://arxiv.org/abs/1606.04934
    Claims: flow.round_trip, flow.log_det_is_jacobian, theory.maf_iaf_mutual_inverses
    Differs: the paper scales first and then shifts, x = z sigma + mu, which is the same family; it
    has a density for its own samples only, here one for every x, in D passes.

    Args:
        conditioner: from z (N, D) to mu and alpha, (N, D) each; feature i reads z before i alone.

    >>> layer, x = InverseAutoregressiveLayer(MaskedConditioner(3, 4)), torch.ones(5, 3)
    >>> torch.allclose(layer.inverse(layer(x)[0]), x, atol=1e-5)
    True
    """

    def __init__(self, conditioner: nn.Module) -> None:
        super().__init__()
        self.conditioner = conditioner

    def forward(self, x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n d"], Float[Tensor, " n"]]:
        """From data towards noise, in D passes."""
        return _feature_by_feature(self.conditioner, x)

    def inverse(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """From noise towards data, in one pass."""
        return _one_pass(self.conditioner, z)[0]


class Reversal(nn.Module):
    """The features in the opposite order: who came first comes last in the next layer."""

    def forward(self, x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n d"], Float[Tensor, " n"]]:
        return x.flip(1), x.new_zeros(len(x))

    def inverse(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return z.flip(1)


class MAF(Composition):
    r"""Masked autoregressive flow: densities in one pass a layer, samples in D.

    .. math::

        z = f_K \circ \dots \circ f_1(x), \qquad f_k \text{ autoregressive, the order reversed
        between layers}

    Paper: Masked Autoregressive Flow for Density Estimation (Papamakarios, Pavlakou, Murray, 2017),
    Section 3, https://arxiv.org/abs/1705.07057
    Claims: flow.round_trip, flow.log_det_is_jacobian, flow.log_prob_change_of_variables,
    flow.density_integrates_to_one, flow.sample_matches_density, flow.bijection,
    flow.sample_uses_its_generator
    Differs: no batch normalisation between the layers.

    Args:
        dim: D.
        layers: number of layers.
        hidden: units of each conditioner.

    >>> MAF.tiny().log_prob(torch.zeros(5, 3)).shape
    torch.Size([5])
    """

    def __init__(self, dim: int, layers: int, hidden: int) -> None:
        pairs = [
            (AutoregressiveLayer(MaskedConditioner(dim, hidden)), Reversal()) for _ in range(layers)
        ]
        super().__init__((dim,), [layer for pair in pairs for layer in pair])

    @classmethod
    def tiny(cls) -> MAF:
        """A model small enough for tests."""
        return cls(dim=3, layers=2, hidden=5)


class IAF(Composition):
    r"""Inverse autoregressive flow: samples in one pass a layer, densities in D.

    .. math::

        x = g_1 \circ \dots \circ g_K(z), \qquad g_k \text{ autoregressive, the order reversed
        between layers}

    Paper: Improving Variational Inference with Inverse Autoregressive Flow (Kingma, Salimans,
    Jozefowicz, Chen, Sutskever, Welling, 2016), Section 4, https://arxiv.org/abs/1606.04934
    Claims: flow.round_trip, flow.log_det_is_jacobian, flow.log_prob_change_of_variables,
    flow.density_integrates_to_one, flow.sample_matches_density, flow.bijection,
    flow.sample_uses_its_generator
    Differs: a model of data; the paper's makes the posterior of a VAE, with a context for each
    item, of its noise.

    Args:
        dim: D.
        layers: number of layers.
        hidden: units of each conditioner.

    >>> IAF.tiny().sample(5).shape
    torch.Size([5, 3])
    """

    def __init__(self, dim: int, layers: int, hidden: int) -> None:
        pairs = [
            (InverseAutoregressiveLayer(MaskedConditioner(dim, hidden)), Reversal())
            for _ in range(layers)
        ]
        super().__init__((dim,), [layer for pair in pairs for layer in pair])

    @classmethod
    def tiny(cls) -> IAF:
        """A model small enough for tests."""
        return cls(dim=3, layers=2, hidden=5)
