r"""The two sides of each game, put together from the reference's networks."""

from __future__ import annotations

from torch import nn

from reference.adversarial import (
    ConditionalDiscriminator,
    ConditionalGenerator,
    CycleGANGenerator,
    DCGANDiscriminator,
    DCGANGenerator,
    PatchDiscriminator,
    spectral_norm,
)

__all__ = ["Players", "conditional_dcgan", "cyclegan", "dcgan", "spectral_dcgan", "unnormed_dcgan"]

Shape = tuple[int, int, int]


class Players(nn.Module):
    """A generator and a critic; latent_dim is 0 where the generator takes images."""

    def __init__(self, generator: nn.Module, critic: nn.Module, latent_dim: int = 0) -> None:
        super().__init__()
        self.generator, self.critic, self.latent_dim = generator, critic, latent_dim


def _counts(**sizes: object) -> None:
    for name, value in sizes.items():
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a whole number above 0, not {value!r}")


def dcgan(
    event_shape: Shape, levels: int, latent_dim: int, features: int, doublings: int
) -> Players:
    """Batch normalisation on both sides."""
    _counts(latent_dim=latent_dim, features=features, doublings=doublings)
    generator = DCGANGenerator(latent_dim, event_shape, doublings, features)
    return Players(generator, DCGANDiscriminator(event_shape, doublings, features), latent_dim)


def unnormed_dcgan(
    event_shape: Shape, levels: int, latent_dim: int, features: int, doublings: int
) -> Players:
    """No normalisation in the critic, whose slope is penalised item by item."""
    players = dcgan(event_shape, levels, latent_dim, features, doublings)
    players.critic = DCGANDiscriminator(event_shape, doublings, features, batch_norm=False)
    return players


def spectral_dcgan(
    event_shape: Shape, levels: int, latent_dim: int, features: int, doublings: int
) -> Players:
    """Spectral normalisation of every layer of the critic, and no other."""
    players = unnormed_dcgan(event_shape, levels, latent_dim, features, doublings)
    for layer in list(players.critic.modules()):
        if isinstance(layer, nn.Conv2d):
            spectral_norm(layer)
    return players


def conditional_dcgan(
    event_shape: Shape,
    levels: int,
    num_classes: int,
    latent_dim: int,
    features: int,
    doublings: int,
    embed_dim: int,
) -> Players:
    """A DCGAN told the class on both sides."""
    _counts(latent_dim=latent_dim, features=features, doublings=doublings, embed_dim=embed_dim)
    channels, height, width = event_shape
    generator = DCGANGenerator(latent_dim + embed_dim, event_shape, doublings, features)
    critic = DCGANDiscriminator((channels + 1, height, width), doublings, features)
    return Players(
        ConditionalGenerator(generator, num_classes, embed_dim),
        ConditionalDiscriminator(critic, num_classes, height, width),
        latent_dim,
    )


def cyclegan(
    event_shape: Shape, levels: int, blocks: int, features: int, critic_features: int
) -> Players:
    """Two translators, x_to_y and y_to_x, and a critic for each domain, x and y."""
    _counts(blocks=blocks, features=features, critic_features=critic_features)
    channels, height, width = event_shape
    if height != width or height % 4 or height < 8:
        raise ValueError(f"{height} by {width} is no square whose side is a multiple of 4 above 4")
    translators = {
        way: CycleGANGenerator(channels, blocks, features) for way in ("x_to_y", "y_to_x")
    }
    critics = {domain: PatchDiscriminator(channels, critic_features) for domain in ("x", "y")}
    return Players(nn.ModuleDict(translators), nn.ModuleDict(critics))
