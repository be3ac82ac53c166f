r"""Batch normalisation by class: one set of statistics for all, a gain and a bias for each class.

.. code-block:: text

    x (N,C,H,W) ──┬── mean, variance over N, H, W ──> (x - mean) / root ── * gain[y] + bias[y] ──>
                  │        │ training: moves                 ^
                  │        v                                 │ y (N,)
                  └── running mean, variance ── eval ────────┘
"""

from __future__ import annotations

__all__ = ["ClassConditionalBatchNorm2d"]

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float, Int


class ClassConditionalBatchNorm2d(nn.Module):
    r"""Batch normalisation whose gain and bias are looked up by the class of the item.

    .. math::

        y_{nchw} = (1 + g_{k_n c})\, \frac{x_{nchw} - \mu_c}{\sqrt{\sigma_c^2 + \epsilon}}
            + b_{k_n c}

    In training the mean and the variance are those of the batch, over items and pixels; in
    evaluation those that the batches left behind, each with the weight of the momentum m:

    .. math::

        \mu \leftarrow (1 - m)\, \mu + m\, \bar x, \qquad
        \sigma^2 \leftarrow (1 - m)\, \sigma^2 + m\, \tfrac{1}{M - 1} \textstyle\sum (x - \bar x)^2

    The table for all classes at once; in BigGAN itself a linear map of an embedding that its layers
    share gives gain and bias, as in `ConditionalBatchNorm2d`.

    Paper: Modulating early visual processing by language (de Vries et al., 2017), Section 3,
    https://arxiv.org/abs/1707.00683
    Claims: class_conditional_batch_norm.normalises_the_batch,
    class_conditional_batch_norm.eval_uses_running_statistics,
    class_conditional_batch_norm.running_statistics_follow_momentum,
    class_conditional_batch_norm.label_acts_on_its_item_alone,
    class_conditional_batch_norm.gain_and_bias_are_applied
    Differs: the table holds gain and bias, not changes predicted from a question.

    Args:
        num_features: C.
        num_classes: K.
        eps: under the root.
        momentum: m, the weight of a new batch.

    Raises:
        ValueError: a training batch has one number a channel, which has no unbiased variance.

    >>> layer = ClassConditionalBatchNorm2d.tiny()
    >>> layer(torch.zeros(2, 3, 5, 7), torch.tensor([3, 0])).shape
    torch.Size([2, 3, 5, 7])
    """

    mean: Float[Tensor, " c"]
    variance: Float[Tensor, " c"]

    def __init__(
        self, num_features: int, num_classes: int, eps: float = 1e-5, momentum: float = 0.1
    ) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.gain = nn.Parameter(torch.zeros(num_classes, num_features))  # above one
        self.bias = nn.Parameter(torch.zeros(num_classes, num_features))
        self.register_buffer("mean", torch.zeros(num_features))
        self.register_buffer("variance", torch.ones(num_features))

    @classmethod
    def tiny(cls) -> ClassConditionalBatchNorm2d:
        """Three channels, four classes."""
        return cls(3, 4)

    def gain_and_bias(
        self, y: Int[Tensor, " n"]
    ) -> tuple[Float[Tensor, "n c"], Float[Tensor, "n c"]]:
        """What the normalised items of these classes are multiplied by, and what is added."""
        return 1 + self.gain[y], self.bias[y]

    def forward(
        self, x: Float[Tensor, "n c h w"], y: Int[Tensor, " n"]
    ) -> Float[Tensor, "n c h w"]:
        if self.training:
            variance, mean = torch.var_mean(x, (0, 2, 3), correction=0)
            self._remember(mean.detach(), variance.detach(), x[:, 0].numel())
        else:
            variance, mean = self.variance, self.mean
        gain, bias = (part[:, :, None, None] for part in self.gain_and_bias(y))
        shift, root = mean[:, None, None], (variance + self.eps).sqrt()[:, None, None]
        return gain * (x - shift) / root + bias

    @torch.no_grad()
    def _remember(
        self, mean: Float[Tensor, " c"], variance: Float[Tensor, " c"], count: int
    ) -> None:
        """Move the running statistics; `count` numbers a channel make the variance unbiased."""
        if count < 2:
            raise ValueError(f"a training batch needs two numbers a channel or more, not {count}")
        self.mean.lerp_(mean, self.momentum)
        self.variance.lerp_(variance * count / (count - 1), self.momentum)
