r"""The sparse autoencoder: a wide code, most of which is asked to be zero; and its L2 look-alike.

.. code-block:: text

    x (N, D) ──> code (N, K), K may exceed D ──> reconstruction (N, D)
                   │
                   └──> penalty on its size: L1 makes zeros, L2 makes everything small
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from reference.autoencoders.bottleneck import reconstruction_loss

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = ["SparseAutoencoder", "code_penalty", "ridge_code"]


def code_penalty(code: Float[Tensor, "n k"], norm: Literal["l1", "l2"]) -> Float[Tensor, ""]:
    r"""The size of the codes, mean over the batch.

    .. math::

        \frac1N \sum_n \|z_n\|_1 \qquad\text{or}\qquad \frac1{2N} \sum_n \|z_n\|_2^2

    Paper: Emergence of simple-cell receptive field properties by learning a sparse code for natural
    images (Olshausen, Field, 1996), equations 2 to 4, https://doi.org/10.1038/381607a0
    Claims: theory.l1_sparsifies_l2_shrinks
    Differs: L2 is here for contrast; the paper has only functions that make zeros.

    Args:
        code: (N, K).
        norm: "l1" or "l2".

    Returns:
        A scalar.

    Raises:
        ValueError: another norm.

    >>> code_penalty(torch.tensor([[3.0, -4.0]]), "l1"), code_penalty(torch.tensor([[3.0, -4.0]]), "l2")
    (tensor(7.), tensor(12.5000))
    """
    if norm == "l1":
        return code.abs().sum(-1).mean()
    if norm == "l2":
        return 0.5 * code.square().sum(-1).mean()
    raise ValueError(f"norm must be 'l1' or 'l2', not {norm!r}")


def ridge_code(
    x: Float[Tensor, "n d"], dictionary: Float[Tensor, "k d"], penalty: float
) -> Float[Tensor, "n k"]:
    r"""The code that reconstructs each point best for its squared length: shrunk, never sparse.

    .. math::

        z = \arg\min_z\, \tfrac12 \|x - zA\|^2 + \tfrac\lambda2 \|z\|_2^2
            = x A^\top (A A^\top + \lambda I)^{-1}

    Paper: Ridge Regression: Biased Estimation for Nonorthogonal Problems (Hoerl, Kennard, 1970),
    Section 2, https://doi.org/10.1080/00401706.1970.10488634
    Claims: theory.l1_sparsifies_l2_shrinks
    Differs: none.

    Args:
        x: points (N, D).
        dictionary: atoms as rows (K, D).
        penalty: lambda, positive.

    Returns:
        (N, K).

    >>> ridge_code(torch.tensor([[3.0, 0.5]]), torch.eye(2), penalty=1.0)
    tensor([[1.5000, 0.2500]])
    """
    eye = torch.eye(len(dictionary), dtype=x.dtype, device=x.device)
    gram = dictionary @ dictionary.mT + penalty * eye
    found: Tensor = torch.linalg.solve(gram, dictionary @ x.mT).mT
    return found


class SparseAutoencoder(nn.Module):
    r"""An autoencoder with a rectified wide code and a price on its size.

    .. math::

        z = \max(W_e x + b_e, 0), \quad \hat x = W_d z + b_d, \quad
        L = \frac1N \sum_n \|x_n - \hat x_n\|^2 + \lambda\, \text{penalty}(z)

    Paper: Sparse deep belief net model for visual area V2 (Lee, Ekanadham, Ng, 2008) for the idea
    of a price on activity, https://papers.nips.cc/paper/3313; in this form, CS294A lecture notes
    (Ng, 2011), Section 3
    Claims: theory.l1_price_empties_the_code
    Differs: an absolute value as the price of activity; rectified units.

    Args:
        data_dim: D.
        code_dim: K, which may exceed D.
        price: lambda.
        norm: "l1" or "l2".

    >>> SparseAutoencoder.tiny()(torch.zeros(2, 4)).shape
    torch.Size([2, 4])
    """

    def __init__(
        self, data_dim: int, code_dim: int, price: float, norm: Literal["l1", "l2"] = "l1"
    ) -> None:
        super().__init__()
        self.price, self.norm = price, norm
        self.encoder = nn.Linear(data_dim, code_dim)
        self.decoder = nn.Linear(code_dim, data_dim)

    @classmethod
    def tiny(cls) -> SparseAutoencoder:
        """D = 4, K = 7."""
        return cls(4, 7, price=0.1)

    def encode(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """The code of each point, never negative."""
        code: Tensor = self.encoder(x)
        return code.relu()

    def forward(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """The reconstruction of each point."""
        reconstruction: Tensor = self.decoder(self.encode(x))
        return reconstruction

    def loss(self, x: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
        """Squared error plus the price of the code, a scalar."""
        code = self.encode(x)
        error = reconstruction_loss(x, self.decoder(code))
        return error + self.price * code_penalty(code, self.norm)
