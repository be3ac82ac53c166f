r"""Glow: every step normalises the channels, mixes them, and couples their halves.

.. code-block:: text

    one step     x ──> actnorm ──> 1 x 1 convolution ──> affine coupling ──> z
                       scale and   mixes channels        second half given the first
                       shift of
                       a channel

    one scale    squeeze, steps, half of the channels finished given the other half
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from reference.flows.composition import Composition
from reference.flows.multiscale import Squeezed
from reference.flows.one_by_one import InvertibleConv1x1, LUConv1x1, random_rotation
from reference.flows.realnvp import AffineCoupling
from reference.flows.squeeze import channel_mask

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = ["ActNorm", "Glow"]


class ActNorm(nn.Module):
    r"""Scale and shift each channel, from the first training batch on: then they are parameters.

    .. math::

        z_{cij} = e^{s_c} (x_{cij} + b_c), \qquad
        \log \Bigl|\det \frac{\partial z}{\partial x}\Bigr| = H W \sum_c s_c, \qquad
        b_c = -\overline{x_c}, \; e^{-2 s_c} = \overline{(x_c + b_c)^2} \text{ at first}

    It starts where batch normalisation would, and then treats every item by itself.

    Paper: Glow: Generative Flow with Invertible 1x1 Convolutions (Kingma, Dhariwal, 2018), Section
    3.1 and Table 1, https://arxiv.org/abs/1807.03039
    Claims: flow.round_trip, flow.log_det_is_jacobian, theory.actnorm_first_batch
    Differs: none. The one layer whose forward writes parameters: once, in training mode, before
    any gradient; that it has happened is a buffer, and so part of the state dict.

    Args:
        channels: C.

    >>> layer = ActNorm(3)
    >>> layer(torch.randn(8, 3, 4, 5))[0].mean((0, 2, 3)).abs() < 1e-5
    tensor([True, True, True])
    """

    initialised: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(channels))
        self.shift = nn.Parameter(torch.zeros(channels))
        self.register_buffer("initialised", torch.tensor(False))

    @torch.no_grad()
    def initialise(self, x: Float[Tensor, "n c h w"]) -> None:
        """Set scale and shift so that x comes out with mean 0 and variance 1 in each channel."""
        mean = x.mean((0, 2, 3))
        spread = (x - mean[:, None, None]).square().mean((0, 2, 3)).sqrt()
        self.shift.copy_(-mean)
        self.log_scale.copy_(-spread.clamp_min(1e-6).log())  # a constant channel has no spread
        self.initialised.fill_(True)

    def forward(
        self, x: Float[Tensor, "n c h w"]
    ) -> tuple[Float[Tensor, "n c h w"], Float[Tensor, " n"]]:
        """From data towards noise; every pixel counts in the log-determinant."""
        if self.training and not self.initialised:
            self.initialise(x)
        z = (x + self.shift[:, None, None]) * self.log_scale.exp()[:, None, None]
        return z, (self.log_scale.sum() * x.shape[2] * x.shape[3]).expand(len(x))

    def inverse(self, z: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """From noise towards data."""
        return z * (-self.log_scale).exp()[:, None, None] - self.shift[:, None, None]


def _coupling(shape: tuple[int, int, int], hidden: int, first: int = 1) -> AffineCoupling:
    """A coupling of channels; its network ends in zeros, so that it starts as the identity."""
    c = shape[0]
    last = nn.Conv2d(hidden, 2 * c, 3, padding=1)
    for parameter in last.parameters():
        nn.init.zeros_(parameter)
    inner = nn.Conv2d(hidden, hidden, 1)
    network = nn.Sequential(nn.Conv2d(c, hidden, 3, padding=1), nn.ReLU(), inner, nn.ReLU(), last)
    return AffineCoupling(channel_mask(shape, first), network)


def _scale(
    shape: tuple[int, int, int], scales: int, steps: int, hidden: int, lu: bool
) -> list[nn.Module]:
    """The steps of the last scale, or a squeeze around the steps of this one and the scales after."""
    if scales > 1:
        c, h, w = shape
        squeezed, half = (4 * c, h // 2, w // 2), (2 * c, h // 2, w // 2)
        # Glow's prior for the finished half is a Gaussian given the rest: one coupling more.
        layers = [*_scale(squeezed, 1, steps, hidden, lu), _coupling(squeezed, hidden, first=0)]
        rest = Composition(half, _scale(half, scales - 1, steps, hidden, lu))
        return [Squeezed(Composition(squeezed, layers), rest)]
    conv = LUConv1x1 if lu else InvertibleConv1x1
    step = [
        (ActNorm(shape[0]), conv(random_rotation(shape[0])), _coupling(shape, hidden))
        for _ in range(steps)
    ]
    return [layer for layers in step for layer in layers]


class Glow(Composition):
    r"""Steps of actnorm, 1 x 1 convolution and coupling, at several scales.

    .. math::

        z = f_L \circ \dots \circ f_1(x), \qquad
        f_l = (\text{coupling} \circ \text{mixing} \circ \text{actnorm})^K \circ
        \operatorname{squeeze}

    Paper: Glow: Generative Flow with Invertible 1x1 Convolutions (Kingma, Dhariwal, 2018), Section 3
    and Figure 2, https://arxiv.org/abs/1807.03039
    Claims: flow.round_trip, flow.log_det_is_jacobian, flow.log_prob_change_of_variables,
    flow.sample_matches_density, flow.bijection, flow.sample_uses_its_generator
    Differs: the last scale is not squeezed; the scale of a coupling is exp(tanh), in the paper's
    code a sigmoid. The paper has K = 32 steps, L = 3 scales and 512 features for CIFAR-10.

    Args:
        event_shape: (C, H, W), height and width divisible by 2 ** (scales - 1).
        scales: L, at least 1; with 1, two channels or more.
        steps: K, in each scale.
        hidden: features of the networks.
        lu: whether the convolutions are kept as triangular factors.

    Raises:
        ValueError: an image cannot be halved that often, or there is nothing to couple.

    >>> Glow.tiny()(torch.randn(5, 1, 4, 2))[1].shape
    torch.Size([5])
    """

    def __init__(
        self,
        event_shape: tuple[int, int, int],
        scales: int,
        steps: int,
        hidden: int,
        lu: bool = False,
    ) -> None:
        c, h, w = event_shape
        if scales < 1 or h % 2 ** (scales - 1) or w % 2 ** (scales - 1):
            raise ValueError(f"images {h} x {w} do not have {scales} scales")
        if scales == 1 and c < 2:
            raise ValueError(f"one scale of {c} channel: there is nothing to couple")
        super().__init__(event_shape, _scale(event_shape, scales, steps, hidden, lu))

    @classmethod
    def tiny(cls) -> Glow:
        """A model small enough for tests."""
        return cls(event_shape=(1, 4, 2), scales=2, steps=2, hidden=3)
