"""Generative adversarial networks: the losses of both players, the game's value, its regularisers.

Scores are a discriminator's raw outputs, one number for each item; a critic is any callable from
`(N, *event)` to `(N,)`.
"""

from reference.adversarial.alternation import (
    discriminator_step,
    generator_step,
)
from reference.adversarial.biggan import (
    BigGANDiscriminator,
    BigGANGenerator,
)
from reference.adversarial.class_conditional_norm import (
    ClassConditionalBatchNorm2d,
)
from reference.adversarial.conditional import (
    ConditionalDiscriminator,
    ConditionalGenerator,
    ProjectionDiscriminator,
    conditional_game_value,
)
from reference.adversarial.cycle import (
    cycle_consistency_loss,
)
from reference.adversarial.cyclegan import (
    CycleGANGenerator,
    PatchDiscriminator,
)
from reference.adversarial.cyclegan_objective import (
    CycleGANLoss,
    cyclegan_loss,
    exchange_with_pool,
    identity_loss,
)
from reference.adversarial.dcgan import (
    DCGANDiscriminator,
    DCGANGenerator,
)
from reference.adversarial.dynamics import (
    dirac_gan_eigenvalues,
    dirac_gan_field,
    follow_field,
)
from reference.adversarial.fully_connected_gan import (
    FullyConnectedDiscriminator,
    FullyConnectedGenerator,
    Maxout,
)
from reference.adversarial.game import (
    game_value,
    game_value_at_optimum,
    optimal_discriminator,
)
from reference.adversarial.growing_layers import (
    fade_in,
    minibatch_stddev,
    pixel_norm,
)
from reference.adversarial.image_sizes import (
    nearest_doubling,
    smallest_map,
)
from reference.adversarial.instance_noise import (
    blurred_js,
)
from reference.adversarial.latent_space import (
    slerp,
    vector_arithmetic,
)
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
from reference.adversarial.losses import (
    GanLosses,
    gan_losses,
)
from reference.adversarial.one_dimensional import (
    play_turns,
    taylor_polynomial,
)
from reference.adversarial.progressive import (
    ProgressiveDiscriminator,
    ProgressiveGenerator,
)
from reference.adversarial.residual_blocks import (
    ConditionalBatchNorm2d,
    DownBlock,
    UpBlock,
)
from reference.adversarial.slope_critic import (
    cell_features,
    segment_shares,
    train_slopes,
    transport_turn,
)
from reference.adversarial.spectral_norm import (
    SpectralNorm,
    flattened_weight,
    power_iteration,
    spectral_norm,
)
from reference.adversarial.tabular_game import (
    best_scores,
    tabular_turn,
)
from reference.adversarial.truncation import (
    orthogonal_penalty,
    redrawn_normal,
    truncated_normal,
)
from reference.adversarial.turn_matrix import (
    turn_matrix,
)

__all__ = [
    "BigGANDiscriminator",
    "BigGANGenerator",
    "ClassConditionalBatchNorm2d",
    "ConditionalBatchNorm2d",
    "ConditionalDiscriminator",
    "ConditionalGenerator",
    "CycleGANGenerator",
    "CycleGANLoss",
    "DCGANDiscriminator",
    "DCGANGenerator",
    "DownBlock",
    "FullyConnectedDiscriminator",
    "FullyConnectedGenerator",
    "GanLosses",
    "Maxout",
    "PatchDiscriminator",
    "ProgressiveDiscriminator",
    "ProgressiveGenerator",
    "ProjectionDiscriminator",
    "SlopeBound",
    "SpectralNorm",
    "UpBlock",
    "best_scores",
    "blurred_js",
    "cell_features",
    "clip_weights",
    "clipped_layer_bound",
    "clipped_network_bound",
    "conditional_game_value",
    "conv_norm_bound",
    "conv_operator_norm",
    "cycle_consistency_loss",
    "cyclegan_loss",
    "dirac_gan_eigenvalues",
    "dirac_gan_field",
    "discriminator_step",
    "exchange_with_pool",
    "fade_in",
    "flattened_weight",
    "follow_field",
    "game_value",
    "game_value_at_optimum",
    "gan_losses",
    "generator_step",
    "gradient_penalty",
    "identity_loss",
    "input_gradient",
    "minibatch_stddev",
    "nearest_doubling",
    "optimal_discriminator",
    "orthogonal_penalty",
    "pixel_norm",
    "play_turns",
    "power_iteration",
    "r1_penalty",
    "redrawn_normal",
    "segment_points",
    "segment_shares",
    "slerp",
    "smallest_map",
    "spectral_bound",
    "spectral_norm",
    "tabular_turn",
    "taylor_polynomial",
    "train_slopes",
    "transport_turn",
    "truncated_normal",
    "turn_matrix",
    "vector_arithmetic",
]
