r"""What can be trained: the tables of all kinds of models, joined.

A trainable is a class, or a function that builds one, the sizes that give it about sixty thousand
parameters on the digits, and a `Family` that says how such a model is trained, evaluated and shown.
A kind of model is a module: `autoregressive`, whose table is there too, `latent`, `flows`, `energy`
and `autoencoders`, which import torch and are therefore named here and not imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from spec_tests.registry import UsageError, nearest
from spec_tests.train import adversarial, autoregressive
from spec_tests.train.autoregressive import AUTOREGRESSIVE
from spec_tests.train.family import Family, Trainable

if TYPE_CHECKING:
    from torch import nn

    from spec_tests.train.data import Data

__all__ = ["AUTOREGRESSIVE", "GAMES", "TRAINABLES", "Family", "Trainable", "trainable"]


def _of_ink(model: nn.Module, data: Data) -> list[tuple[str, str]]:
    from spec_tests.train.energy import coins

    return coins(model, data)


def _of_pixels(model: nn.Module, data: Data) -> list[tuple[str, str]]:
    from spec_tests.train.autoencoders import compared

    return compared(model, data)


def _drawn(family: Family, draws: int, note: str) -> Family:
    """With a figure for the held-out part that takes more draws."""

    def held_out(model: Any, x: Any, y: Any) -> Any:
        return model.nats(x, draws)

    return replace(family, held_out=held_out, bound=True, note=note.format(draws))


# The models of these kinds do it all by themselves.
_OWN = Family(
    loss=lambda model, x, y: model.loss(x),
    nats=lambda model, x, y: model.nats(x),
    sample=lambda model, n, y, generator: model.sample(n, generator),
    traverse=lambda model, x, generator: model.traverse(x, generator),
)
_REBUILDS = replace(_OWN, reconstruct=lambda model, x, generator: model.reconstruct(x, generator))
_INK = "bits per dimension of ink or paper"

LATENT = _drawn(_REBUILDS, 200, "importance weighted, {} draws")
FLOW = _drawn(_OWN, 8, "dequantised, {} draws of the noise")
DIFFUSION = _drawn(_OWN, 8, "variational and dequantised, {} draws of the noise")
BINARY_LATENT = replace(LATENT, score_name=_INK, beside=_of_ink)
BOLTZMANN = replace(_REBUILDS, score_name=_INK, beside=_of_ink)
AUTOENCODER = replace(
    _REBUILDS,
    sample=None,
    beside=_of_pixels,
    score_name="squared error per pixel",
    unit=1.0,
    digits=4,
)


def _kind(module: str, family: Family, **sizes: Mapping[str, Any]) -> dict[str, Trainable]:
    """Models that a module builds by functions of their names."""
    places = {name: f"spec_tests.train.{module}:{name}" for name in sizes}
    return {name: Trainable(places[name], size, family) for name, size in sizes.items()}


TRAINABLES: dict[str, Trainable] = {
    **autoregressive.MODELS,
    **_kind(
        "latent",
        LATENT,
        vae={"latent_dim": 16, "hidden_dim": 248},
        convolutional_vae={"latent_dim": 16, "hidden": 30},
    ),
    **_kind("latent", BINARY_LATENT, bernoulli_vae={"latent_dim": 16, "hidden_dim": 335}),
    **_kind(
        "flows",
        FLOW,
        nice={"layers": 6, "hidden": 76},
        realnvp={"scales": 2, "hidden": 96},
        glow={"scales": 2, "steps": 4, "hidden": 48},
        maf={"layers": 4, "hidden": 76},
        iaf={"layers": 2, "hidden": 154},
    ),
    **_kind("energy", BOLTZMANN, rbm={"hidden": 14, "sweeps": 5}),  # 974: its states are listed
    **_kind("energy", DIFFUSION, diffusion={"steps": 8, "hidden": 460}),
    **_kind(
        "autoencoders",
        AUTOENCODER,
        bottleneck={"hidden_dim": 410, "code_dim": 8},
        linear_bottleneck={"code_dim": 8},  # 1096
        convolutional_autoencoder={"hidden": 600, "code_channels": 2},
        sparse_autoencoder={"code_dim": 460, "price": 0.3},
        denoising_autoencoder={"hidden_dim": 336, "code_dim": 24, "sigma": 0.3},
    ),
}


GAMES = adversarial.MODELS  # of two players, who bring rules instead of a family


def trainable(name: str) -> Trainable:
    """The table's entry.

    Raises:
        UsageError: there is none; the message names the nearest and lists all.
    """
    table = {**TRAINABLES, **GAMES}
    if name not in table:
        hint = nearest(name, list(table))
        known = "" if hint.startswith("; known") else f"; known: {', '.join(sorted(table))}"
        raise UsageError(f"unknown model {name!r}{hint}{known}")
    return table[name]
