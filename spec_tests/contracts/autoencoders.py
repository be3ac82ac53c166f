r"""Autoencoders: the linear one, whose optimum is known in closed form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from hypothesis import strategies as st
from torch import Tensor

from spec_tests import check
from spec_tests.contracts import add
from spec_tests.handle import Handle
from spec_tests.judge import stratified
from spec_tests.registry import Contract, Probe, Result

__all__ = [
    "LinearAutoencoder",
    "any_data",
    "data_with_gap",
    "few_points",
    "fit",
    "full_rank_data",
    "tied_data",
]

Map = Callable[[Tensor], Tensor]


class LinearAutoencoder(Protocol):
    """``(x (N,D), code_dim) -> (encode, decode)``, maps of single points and single codes."""

    def __call__(self, x: Tensor, code_dim: int) -> tuple[Map, Map]: ...


def fit(subject: Handle, x: Tensor, code_dim: int) -> tuple[Map, Map]:
    """The subject's encoder and decoder; each call of theirs is checked and blamed like its own."""
    pair = subject(x, code_dim)
    check.that(
        isinstance(pair, (tuple, list)) and len(pair) == 2 and all(map(callable, pair)),
        f"linear_autoencoder returned {type(pair).__name__}, expected (encode, decode), two callables",
    )
    encode, decode = pair
    return (
        lambda points: subject.invoke(encode, "encode", code_dim, (points,), {}),
        lambda codes: subject.invoke(decode, "decode", x.shape[1], (codes,), {}),
    )


# Data with a known spectrum ------------------------------------------------------------------------


def _with_spectrum(x: Tensor, spectrum: Tensor, mean: Tensor) -> Tensor:
    """Points ``(N, D)`` with these singular values about this mean, in the directions of ``x``."""
    left, _, right = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    return (left * spectrum) @ right + mean


@st.composite
def _data(
    draw: st.DrawFn,
    count: Any,
    dim: Any,
    *,
    rank: Any = None,
    code_dim: Any = None,
    mean_size: float = 2.0,
    tied: bool = False,
    in_hull: bool = True,
) -> dict[str, Any]:
    r"""``x``, ``code_dim`` and fresh ``points`` in the affine hull of ``x``, or anywhere.

    Neighbouring singular values differ by a quarter at least, or, where ``tied``, some are equal at
    the cut. ``count``, ``dim``, ``rank`` and ``code_dim`` are strategies; the last two may depend
    on the dimension.
    """
    N, D = draw(count), draw(dim)
    most = min(N - 1, D)
    r = most if rank is None else min(draw(rank(D)), most)
    k = draw(st.integers(1, D) if code_dim is None else code_dim(D))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31 - 1)))

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    ratios = draw(st.lists(st.floats(1.25, 2.0), min_size=min(N, D), max_size=min(N, D)))
    spectrum = torch.tensor(ratios, dtype=torch.float64).cumprod(0).flip(0)
    if tied:
        spectrum[max(k - 1, 0) :] = spectrum[min(k, r) - 1].clone()
    spectrum[r:] = 0
    x = _with_spectrum(normal(N, D), spectrum, mean_size * normal(D))
    M = draw(st.integers(1, 4).filter(lambda size: size != N))
    if in_hull:
        mixing = normal(M, N)
        points = x.mean(0) + mixing @ (x - x.mean(0)) / N**0.5
    else:
        points = x.mean(0) + 2 * normal(M, D)
    return {"x": x, "code_dim": k, "points": points}


_TALL = {"count": st.integers(6, 9), "dim": st.integers(2, 5)}


def full_rank_data() -> Any:
    """More points than dimensions in general position: encoder and decoder matter everywhere."""
    return stratified(
        [
            _data(**_TALL, code_dim=lambda D: st.integers(1, D - 1), in_hull=False),
            _data(**_TALL, code_dim=st.just, in_hull=False),
            _data(**_TALL, mean_size=5e3, in_hull=False),
            _data(st.integers(2, 5), st.just(1), in_hull=False),
        ]
    )


def data_with_gap() -> Any:
    """Data whose best code is unique on their affine hull: of full rank, of less, and too few."""
    return stratified(
        [
            *full_rank_data().genspec_strata,
            _data(**_TALL, rank=lambda D: st.integers(1, D - 1)),
            _data(st.integers(2, 4), st.integers(4, 6)),
            _data(st.just(1), st.integers(1, 4)),
        ]
    )


def few_points() -> Any:
    """No more points than dimensions, down to one, with codes shorter and longer than their rank."""
    wide = st.integers(4, 6)
    return stratified(
        [
            _data(st.just(1), st.integers(1, 4)),
            _data(st.integers(2, 4), wide, code_dim=lambda D: st.integers(3, D)),
            _data(st.integers(3, 4), wide, code_dim=lambda D: st.just(1)),
            _data(st.integers(2, 4), wide, mean_size=1e3),
        ]
    )


def tied_data() -> Any:
    """Full-rank data with equal singular values on both sides of the cut: many codes are best."""
    return _data(**_TALL, code_dim=lambda D: st.integers(1, D - 1), tied=True, in_hull=False)


def any_data() -> Any:
    """Data of every kind."""
    return stratified([*data_with_gap().genspec_strata, tied_data()])


# The contract --------------------------------------------------------------------------------------


def _reconstruct(subject: Any, inputs: dict[str, Any]) -> Tensor:
    encode, decode = fit(subject, inputs["x"], inputs["code_dim"])
    return decode(encode(inputs["points"]))


def _extreme() -> Any:
    return st.sampled_from([1e-3, 1e3]).flatmap(
        lambda size: _data(**_TALL, mean_size=10.0, in_hull=False).map(
            lambda drawn: {key: v * size if key != "code_dim" else v for key, v in drawn.items()}
        )
    )


add(
    Contract(
        name="linear_autoencoder",
        family="autoencoders",
        kind="function",
        signature="(x (N,D), code_dim) -> (encode, decode), (M,D) -> (M,code_dim) -> (M,D)",
        summary="The affine encoder and decoder with the least squared error of reconstruction.",
        protocol=LinearAutoencoder,
        results={
            "encode": lambda code_dim, points: Result((len(points), code_dim)),
            "decode": lambda dim, codes: Result((len(codes), dim)),
        },
        probes=(
            Probe(
                "the reconstruction",
                iterative=True,
                inputs=lambda config: data_with_gap(),
                call=_reconstruct,
                batched={"points": 0},
                differentiable=("x", "points"),
                smooth=lambda config: _data(**_TALL, in_hull=False),
                extreme=lambda config: _extreme(),
            ),
        ),
    )
)
