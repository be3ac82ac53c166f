r"""Multi-scale flows: after each scale half of the numbers are finished, the rest goes on.

.. code-block:: text

    (C, H, W) ──layers──> squeeze ──layers──> (4C, H/2, W/2) ─┬─> 2C channels: finished
                                                              └─> 2C channels ──> next scale
                                                                                 (again in two)
    z is put together on the way back up: finished and rest are joined and unsqueezed, so that
    every number of the noise lies where the block that it describes is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from reference.flows.composition import Bijection, Composition
from reference.flows.realnvp import AffineCoupling
from reference.flows.squeeze import channel_mask, checkerboard_mask, squeeze, unsqueeze

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = ["ImageRealNVP", "Squeezed"]


class Squeezed(nn.Module):
    r"""Squeeze, transform, finish half of the channels, hand the others on, unsqueeze.

    .. math::

        (h, r) = f(\operatorname{squeeze}(x)), \qquad
        z = \operatorname{unsqueeze}(h, g(r)), \qquad
        \log \Bigl|\det \frac{\partial z}{\partial x}\Bigr| =
        \log \Bigl|\det \frac{\partial f}{\partial x}\Bigr| +
        \log \Bigl|\det \frac{\partial g}{\partial r}\Bigr|

    Paper: Density estimation using Real NVP (Dinh, Sohl-Dickstein, Bengio, 2016), Section 3.6,
    Equations 13 to 16, https://arxiv.org/abs/1605.08803
    Claims: flow.round_trip, flow.log_det_is_jacobian, theory.factored_out_half_is_finished
    Differs: the finished numbers are put back in their places; the paper makes a list of them.

    Args:
        transform: f, a `Bijection` of images (4 C, H / 2, W / 2).
        rest: g, a `Bijection` of images (2 C, H / 2, W / 2): the next scale.

    >>> identity = Composition((4, 1, 1), [])
    >>> Squeezed(identity, identity)(torch.ones(5, 1, 2, 2))[0].shape
    torch.Size([5, 1, 2, 2])
    """

    def __init__(self, transform: nn.Module, rest: nn.Module) -> None:
        super().__init__()
        self.transform = transform
        self.rest = rest

    def forward(
        self, x: Float[Tensor, "n c h w"]
    ) -> tuple[Float[Tensor, "n c h w"], Float[Tensor, " n"]]:
        """From data towards noise, with the log-determinant of each item."""
        y, log_det = self.transform(squeeze(x))
        finished, rest = y.chunk(2, dim=1)
        rest, added = self.rest(rest)
        return unsqueeze(torch.cat([finished, rest], dim=1)), log_det + added

    def inverse(self, z: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """From noise towards data: the coarsest scale first."""
        finished, rest = squeeze(z).chunk(2, dim=1)
        rest = cast("Bijection", self.rest).inverse(rest)
        transform = cast("Bijection", self.transform)
        return unsqueeze(transform.inverse(torch.cat([finished, rest], dim=1)))


def _coupling(keeps: Float[Tensor, "c h w"], hidden: int) -> AffineCoupling:
    """A coupling of images with a small convolutional network."""
    c = len(keeps)
    first, last = nn.Conv2d(c, hidden, 3, padding=1), nn.Conv2d(hidden, 2 * c, 3, padding=1)
    return AffineCoupling(keeps, nn.Sequential(first, nn.ReLU(), last))


def _scale(shape: tuple[int, int, int], scales: int, hidden: int) -> list[nn.Module]:
    """Three checkerboards, three channel masks, the next scale; or four checkerboards to end with."""
    c, h, w = shape
    last = scales == 1
    boards: list[nn.Module] = [
        _coupling(checkerboard_mask(shape, k % 2), hidden) for k in range(4 if last else 3)
    ]
    if last:
        return boards
    squeezed, half = (4 * c, h // 2, w // 2), (2 * c, h // 2, w // 2)
    channels = [_coupling(channel_mask(squeezed, k % 2), hidden) for k in range(3)]
    rest = Composition(half, _scale(half, scales - 1, hidden))
    return [*boards, Squeezed(Composition(squeezed, channels), rest)]


class ImageRealNVP(Composition):
    r"""RealNVP for images: checkerboards, squeeze, channel masks, and half is finished; again.

    .. math::

        z^{(i)}, h^{(i)} = f^{(i)}(h^{(i-1)}), \qquad h^{(0)} = x, \qquad
        z = (z^{(1)}, \dots, z^{(L)})

    Paper: Density estimation using Real NVP (Dinh, Sohl-Dickstein, Bengio, 2016), Sections 3.4 to
    3.6, https://arxiv.org/abs/1605.08803
    Claims: flow.round_trip, flow.log_det_is_jacobian, flow.log_prob_change_of_variables,
    flow.sample_matches_density, flow.bijection, flow.sample_uses_its_generator
    Differs: networks of two convolutions, not residual ones; no batch or weight normalisation;
    for CIFAR-10 the paper has two scales, 8 residual blocks and 64 features.

    Args:
        event_shape: (C, H, W), height and width divisible by 2 ** (scales - 1).
        scales: L, at least 1.
        hidden: features of the networks.

    Raises:
        ValueError: an image cannot be halved that often, or has one pixel only.

    >>> ImageRealNVP.tiny()(torch.zeros(5, 1, 4, 2))[0].shape
    torch.Size([5, 1, 4, 2])
    """

    def __init__(self, event_shape: tuple[int, int, int], scales: int, hidden: int) -> None:
        _, h, w = event_shape
        if scales < 1 or h % 2 ** (scales - 1) or w % 2 ** (scales - 1) or h * w < 2:
            raise ValueError(f"images {h} x {w} do not have {scales} scales")
        super().__init__(event_shape, _scale(event_shape, scales, hidden))

    @classmethod
    def tiny(cls) -> ImageRealNVP:
        """A model small enough for tests."""
        return cls(event_shape=(1, 4, 2), scales=2, hidden=3)
