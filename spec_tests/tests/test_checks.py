r"""The assertions, tolerances and derivatives that claims are made of: each catches a small wrong."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spec_tests import check
from spec_tests.check import Violation
from spec_tests.numerics import gradients, slope
from spec_tests.strategies import (
    integers_below,
    normals,
    positives,
    reals,
    simplex_pairs,
    simplexes,
)
from spec_tests.tolerance import guarded, rounding

X = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)


def test_close_accepts_the_tolerance_and_no_more() -> None:
    check.close(X + 0.9e-3, X, 1e-3, "x")
    with pytest.raises(Violation, match=r"x at \[1\] is 2\.0011, expected 2 .*allowed 0\.001"):
        check.close(X + torch.tensor([0, 1.1e-3, 0]), X, 1e-3, "x")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_close_rejects_what_is_not_finite_unless_expected(bad: float) -> None:
    with pytest.raises(Violation):
        check.close(torch.tensor([bad]), torch.tensor([1.0]), 1e300, "x")
    if not math.isnan(bad):
        check.close(torch.tensor([bad]), torch.tensor([bad]), 1e-9, "x")


def test_close_rejects_another_shape() -> None:
    with pytest.raises(Violation, match="shape"):
        check.close(X, X[:2], 1.0, "x")


def test_headroom_is_the_largest_share_of_a_tolerance_that_was_used() -> None:
    token = check.headroom.set(None)
    check.close(X + 0.25e-3, X, 1e-3, "x")
    check.at_most(X - 1, X, 1e-3, "x")
    assert check.headroom.get() == pytest.approx(0.25)
    check.headroom.reset(token)


def test_bounds_reject_nan_and_excess() -> None:
    check.at_most(X, X, 1e-12, "x")
    check.at_least(X, X, 1e-12, "x")
    for wrong in (X + 1e-3, X * math.nan):
        with pytest.raises(Violation):
            check.at_most(wrong, X, 1e-4, "x")
    for wrong in (X - 1e-3, X * math.nan):
        with pytest.raises(Violation):
            check.at_least(wrong, X, 1e-4, "x")


def test_equal_is_bit_for_bit() -> None:
    check.equal(X * math.nan, X * math.nan, "x")
    with pytest.raises(Violation, match="expected exactly"):
        check.equal(X + torch.tensor([0, 0, 4.5e-16]), X, "x")


def test_finite_names_the_place() -> None:
    with pytest.raises(Violation, match=r"x is inf at \[0, 1\]"):
        check.finite(torch.tensor([[1.0, math.inf]]), "x")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_tolerances_grow_with_length_and_scale(dtype: torch.dtype) -> None:
    assert rounding(dtype, length=10, scale=3.0) == pytest.approx(30 * rounding(dtype))
    assert guarded(dtype, scale=100.0) >= 1e-3
    assert rounding(torch.float64) < 1e-12 < 1e-5 <= guarded(torch.float64)


def test_a_slope_is_exact_to_nine_digits_and_knows_kinks() -> None:
    found = slope(lambda t: math.exp(math.sin(1 + t)))
    assert found.smooth
    assert found.value == pytest.approx(math.cos(1) * math.exp(math.sin(1)), rel=1e-9)
    assert not slope(abs).smooth
    assert not slope(lambda t: abs(t - 1e-6)).smooth
    assert slope(lambda t: abs(t - 1e-4)).value == pytest.approx(-1.0)  # by smaller steps
    assert not slope(lambda t: math.sqrt(abs(t))).smooth
    assert slope(lambda t: abs(t - 1.0)).smooth


def test_a_derivative_wrong_by_a_twentieth_of_a_percent_shows() -> None:
    true = slope(lambda t: math.tanh(0.3 + t)).value
    assert abs(true * 1.0005 - true) > 1e-6 * abs(true) * 100


def test_gradients_blame_the_backward_pass() -> None:
    class Broken(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):  # type: ignore[no-untyped-def, override]
            return x.sum()

        @staticmethod
        def backward(ctx, g):  # type: ignore[no-untyped-def, override]
            raise RuntimeError("no derivative")

    x = X.clone().requires_grad_()
    with pytest.raises(Violation, match="backward pass of the result raised: no derivative"):
        gradients(Broken.apply(x), [x])
    assert gradients(torch.zeros(()), [x])[0].tolist() == [0, 0, 0]


@given(p=simplexes(4), pair=simplex_pairs(2, 5, interior=True))
def test_simplexes_are_probability_vectors(
    p: torch.Tensor, pair: tuple[torch.Tensor, torch.Tensor]
) -> None:
    assert (p >= 0).all() and abs(float(p.sum()) - 1) < 1e-12
    assert len(pair[0]) == len(pair[1]) and (pair[0] > 0).all() and (pair[1] > 0).all()


@given(
    x=reals((2, 3), -2, 4),
    y=positives((4,)),
    z=normals((5, 2)),
    k=integers_below(3, (2, 2)),
    seed=st.integers(0, 9),
)
def test_strategies_stay_in_their_domains(
    x: torch.Tensor, y: torch.Tensor, z: torch.Tensor, k: torch.Tensor, seed: int
) -> None:
    assert x.shape == (2, 3) and (x >= -2).all() and (x <= 4).all() and x.dtype == torch.float64
    assert (y > 0).all() and z.shape == (5, 2) and torch.isfinite(z).all()
    assert k.dtype == torch.long and (k >= 0).all() and (k < 3).all()
