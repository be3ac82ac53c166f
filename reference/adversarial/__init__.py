"""Generative adversarial networks: the losses of both players, the game's value, its regularisers.

Scores are a discriminator's raw outputs, one number for each item; a critic is any callable from
`(N, *event)` to `(N,)`.
"""

from reference.adversarial.cycle import cycle_consistency_loss
from reference.adversarial.game import game_value, game_value_at_optimum, optimal_discriminator
from reference.adversarial.lipschitz import (
    clip_weights,
    gradient_penalty,
    input_gradient,
    r1_penalty,
    segment_points,
)
from reference.adversarial.lipschitz_bounds import (
    SlopeBound,
    clipped_layer_bound,
    clipped_network_bound,
    conv_norm_bound,
    conv_operator_norm,
    spectral_bound,
)
from reference.adversarial.losses import GanLosses, gan_losses
from reference.adversarial.spectral_norm import (
    SpectralNorm,
    flattened_weight,
    power_iteration,
    spectral_norm,
)

__all__ = [
    "GanLosses",
    "SlopeBound",
    "SpectralNorm",
    "clip_weights",
    "clipped_layer_bound",
    "clipped_network_bound",
    "conv_norm_bound",
    "conv_operator_norm",
    "cycle_consistency_loss",
    "flattened_weight",
    "game_value",
    "game_value_at_optimum",
    "gan_losses",
    "gradient_penalty",
    "input_gradient",
    "optimal_discriminator",
    "power_iteration",
    "r1_penalty",
    "segment_points",
    "spectral_bound",
    "spectral_norm",
]
