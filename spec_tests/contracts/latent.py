r"""Latent variable models: Gaussian codes, the densities around them, and variational autoencoders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from hypothesis import strategies as st
from torch import Tensor

from spec_tests.contracts import add
from spec_tests.contracts.draws import drawn_from, draws
from spec_tests.judge import stratified
from spec_tests.registry import Contract, Probe, Result
from spec_tests.strategies import integers_below, normals, reals

__all__ = [
    "BernoulliLogLikelihood",
    "GaussianKL",
    "GaussianLogLikelihood",
    "Reparameterize",
    "VAEConfig",
    "VariationalAutoencoder",
    "batches",
    "bits",
    "shaped",
]


class GaussianKL(Protocol):
    """``(mean (N,L), log_var (N,L)) -> (N,)``."""

    def __call__(self, mean: Tensor, log_var: Tensor) -> Tensor: ...


class Reparameterize(Protocol):
    """``(mean (N,L), log_var (N,L), noise (N,L)) -> z (N,L)``."""

    def __call__(self, mean: Tensor, log_var: Tensor, noise: Tensor) -> Tensor: ...


class GaussianLogLikelihood(Protocol):
    """``(x (N,D), mean (N,D), log_var (N,D)) -> (N,)``."""

    def __call__(self, x: Tensor, mean: Tensor, log_var: Tensor) -> Tensor: ...


class BernoulliLogLikelihood(Protocol):
    """``(x (N,D) in {0,1}, logits (N,D)) -> (N,)``."""

    def __call__(self, x: Tensor, logits: Tensor) -> Tensor: ...


class VariationalAutoencoder(Protocol):
    """What the factory returns; ``sample(n, generator) -> (n,D)`` is optional."""

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]: ...

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor: ...

    def elbo(self, x: Tensor, noise: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class VAEConfig:
    """Sizes, and the family of p(x|z): ``"gaussian"`` or ``"bernoulli"``."""

    data_dim: int
    latent_dim: int
    likelihood: str


# Functions ---------------------------------------------------------------------------------------

SHAPES = ((1, 1), (1, 3), (4, 1), (3, 2), (2, 5))


def bits(shape: tuple[int, ...]) -> st.SearchStrategy[Tensor]:
    """Tensors of ``shape`` with entries 0.0 and 1.0."""
    return integers_below(2, shape).map(lambda drawn: drawn.to(torch.float64))


def shaped(
    shapes: tuple[tuple[int, int], ...] = SHAPES, **entries: Callable[[Any], Any]
) -> st.SearchStrategy[dict[str, Tensor]]:
    """Named tensors of one shape ``(N, D)``, with a stratum for each of ``shapes``."""

    def of(shape: tuple[int, int]) -> st.SearchStrategy[dict[str, Tensor]]:
        # A tuple first: Hypothesis shuffles the keys of fixed dictionaries.
        drawn = st.tuples(*(make(shape) for make in entries.values()))
        return drawn.map(lambda values: dict(zip(entries, values, strict=True)))

    return stratified([of(shape) for shape in shapes])


def _within(low: float, high: float) -> Callable[[Any], Any]:
    return lambda shape: reals(shape, low, high)


def _among(*values: float) -> Callable[[Any], Any]:
    def entries(shape: tuple[int, ...]) -> st.SearchStrategy[Tensor]:
        chosen = integers_below(len(values), shape)
        return chosen.map(lambda index: torch.tensor(values, dtype=torch.float64)[index])

    return entries


def _function(
    name: str,
    protocol: type,
    summary: str,
    signature: str,
    result: Callable[..., Result],
    inputs: dict[str, Any],
    extreme: dict[str, Any],
    differentiable: tuple[str, ...],
    guard: bool = False,
) -> None:
    probe = Probe(
        "call",
        inputs=lambda config: shaped(**inputs),
        call=lambda subject, drawn: subject(*drawn.values()),
        batched=dict.fromkeys(inputs, 0),
        differentiable=differentiable,
        extreme=lambda config: shaped(((1, 1), (3, 2)), **extreme),
        guard=guard,
    )
    add(
        Contract(
            name=name,
            family="latent",
            kind="function",
            signature=signature,
            summary=summary,
            protocol=protocol,
            results={"call": result},
            probes=(probe,),
        )
    )


_MEANS, _LOG_VARS = _within(-3, 3), _within(-6, 6)

_function(
    "gaussian_kl",
    GaussianKL,
    "The Kullback-Leibler divergence of N(mean, diag exp log_var) from N(0, I), in nats.",
    "(mean (N,L), log_var (N,L)) -> (N,)",
    lambda config, mean, log_var: Result((len(mean),)),
    {"mean": _MEANS, "log_var": _LOG_VARS},
    {"mean": _among(0.0, -1e4, 1e4), "log_var": _among(-60.0, -30.0, 0.0, 30.0, 60.0)},
    ("mean", "log_var"),
)

_function(
    "reparameterize",
    Reparameterize,
    "A draw from N(mean, diag exp log_var): mean + exp(log_var / 2) * noise.",
    "(mean (N,L), log_var (N,L), noise (N,L)) -> z (N,L)",
    lambda config, mean, log_var, noise: Result(tuple(mean.shape)),
    {"mean": _MEANS, "log_var": _LOG_VARS, "noise": _MEANS},
    {
        "mean": _among(0.0, -1e4, 1e4),
        "log_var": _among(-40.0, 0.0, 40.0),
        "noise": _among(0.0, -8.0, 8.0),
    },
    ("mean", "log_var", "noise"),
    guard=True,
)

_function(
    "gaussian_log_likelihood",
    GaussianLogLikelihood,
    "The log-density of x under N(mean, diag exp log_var), every constant included.",
    "(x (N,D), mean (N,D), log_var (N,D)) -> (N,)",
    lambda config, x, mean, log_var: Result((len(x),)),
    {"x": _MEANS, "mean": _MEANS, "log_var": _LOG_VARS},
    {"x": _among(0.0, -10.0, 10.0), "mean": _among(0.0, 3.0), "log_var": _among(-40.0, 0.0, 40.0)},
    ("x", "mean", "log_var"),
)

_function(
    "bernoulli_log_likelihood",
    BernoulliLogLikelihood,
    "The log-probability of binary x under independent coins with these logits.",
    "(x (N,D) in {0,1}, logits (N,D)) -> (N,)",
    lambda config, x, logits: Result((len(x),)),
    {"x": bits, "logits": _LOG_VARS},
    {"x": bits, "logits": _among(-1e4, -200.0, 0.0, 40.0, 1e4)},
    ("logits",),
)


# Variational autoencoders ------------------------------------------------------------------------


def data(config: VAEConfig, items: int) -> st.SearchStrategy[Tensor]:
    """Points ``(items, D)`` of the kind that the likelihood is for."""
    drawn = normals((items, config.data_dim), scale=1.2)
    return drawn.map(lambda x: (x > 0).to(x)) if config.likelihood == "bernoulli" else drawn


@st.composite
def batches(
    draw: st.DrawFn,
    config: VAEConfig,
    items: tuple[int, int] = (1, 4),
    samples: tuple[int, int] = (1, 5),
) -> dict[str, Tensor]:
    """A batch ``x`` with its ``noise (S, N, L)``: one item and one sample occur, and S differs from
    N wherever either is more than one."""
    n = draw(st.integers(*items))
    s = draw(st.integers(*samples).filter(lambda s: s != n or s == 1))
    return {"x": draw(data(config, n)), "noise": draw(normals((s, n, config.latent_dim)))}


@st.composite
def _points_and_codes(draw: st.DrawFn, config: VAEConfig, size: float = 1.0) -> dict[str, Tensor]:
    n = draw(st.sampled_from([1, 2, 5]))
    codes = draw(normals((n, config.latent_dim), scale=size))
    return {"x": draw(data(config, n)), "z": codes}


def _extreme_codes(config: VAEConfig) -> Any:
    """Codes far out for coins, whose log-probability is finite there; ordinary ones for Gaussians,
    whose precision may overflow."""
    return _points_and_codes(config, size=1000.0 if config.likelihood == "bernoulli" else 1.0)


def configs(likelihood: str, data_dims: tuple[int, ...], latent_dims: tuple[int, ...]) -> Any:
    """Configs of one likelihood over these sizes."""
    return st.builds(
        VAEConfig, st.sampled_from(data_dims), st.sampled_from(latent_dims), st.just(likelihood)
    )


add(
    Contract(
        name="vae",
        family="latent",
        kind="factory",
        signature="(data_dim, latent_dim, likelihood) -> encode(x) -> (mean (N,L), log_var (N,L)), "
        "log_likelihood(x, z) -> (N,), elbo(x, noise (S,N,L)) -> (N,); sample(n, generator)?",
        summary="A Gaussian latent variable model with an approximate posterior: prior N(0, I), p(x|z) "
        "Gaussian or Bernoulli, q(z|x) a diagonal Gaussian, the bound a mean over S draws.",
        protocol=VariationalAutoencoder,
        config=VAEConfig,
        strata=(
            configs("gaussian", (1, 2), (1, 2)),
            configs("gaussian", (4, 5), (2, 3)),
            configs("bernoulli", (1, 4), (1, 2, 3)),
        ),
        results={
            "encode": lambda config, x: (Result((len(x), config.latent_dim)),) * 2,
            "log_likelihood": lambda config, x, z: Result((len(x),)),
            "elbo": lambda config, x, noise: Result((len(x),)),
        },
        optional=("sample",),
        warm_up=lambda config: {
            "x": torch.zeros(2, config.data_dim),
            "noise": torch.zeros(1, 2, config.latent_dim),
        },
        probes=(
            Probe(
                "elbo",
                inputs=batches,
                call=lambda model, i: model.elbo(i["x"], i["noise"]),
                batched={"x": 0, "noise": 1},
                differentiable=("noise",),
                parameters=True,
                guard=False,
            ),
            Probe(
                "encode",
                inputs=lambda config: st.sampled_from([1, 2, 5]).flatmap(
                    lambda n: st.fixed_dictionaries({"x": data(config, n)})
                ),
                call=lambda model, i: model.encode(i["x"]),
                batched={"x": 0},
                parameters=True,
                guard=False,
            ),
            Probe(
                "log_likelihood",
                inputs=_points_and_codes,
                call=lambda model, i: model.log_likelihood(i["x"], i["z"]),
                batched={"x": 0, "z": 0},
                differentiable=("z",),
                parameters=True,
                extreme=_extreme_codes,
                guard=False,
            ),
            Probe(
                "sample",
                inputs=lambda config: draws(),
                call=drawn_from,
                deterministic=False,
            ),
        ),
    )
)
