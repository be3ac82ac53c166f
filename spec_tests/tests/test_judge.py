r"""The judge: what it draws, what it makes of what a subject does, and that it repeats itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spec_tests import check, contracts  # noqa: F401  (fills the registry of contracts)
from spec_tests.handle import Handle
from spec_tests.judge import PROFILES, judge, show, stratified
from spec_tests.plan import Verdict
from spec_tests.registry import Claim, Place, RegistrationError, Registry, Subject, Unsupported

PLACE = Place(__file__, 1)


def judged(
    test: Callable[..., None], make: Callable[..., Any] = lambda p, q: (p - q).sum(), **options: Any
) -> Verdict:
    """A verdict of an ad-hoc claim about an ad-hoc divergence."""
    drawn = dict(test.hypothesis._given_kwargs)  # type: ignore[attr-defined]
    inner = test.hypothesis.inner_test  # type: ignore[attr-defined]
    claim = Claim("kl_divergence.ad_hoc", "kl_divergence", "", (), "", (), inner, drawn, PLACE)
    return judge(claim, Subject("ad hoc", "kl_divergence", make, PLACE), **options)


P = torch.tensor([0.25, 0.75], dtype=torch.float64)


def test_a_claim_holds_where_no_example_fails() -> None:
    @given(n=st.integers(0, 1000))
    def claim(subject: Handle, device: str, dtype: torch.dtype, n: int) -> None:
        check.close(subject(P, P), 0.0, 1e-12, "the divergence")

    verdict = judged(claim)
    assert (verdict.verdict, verdict.examples, verdict.headroom) == ("holds", 40, 0.0)


def test_a_counterexample_is_shrunk_and_described() -> None:
    @given(n=st.integers(0, 1000))
    def claim(subject: Handle, device: str, dtype: torch.dtype, n: int) -> None:
        check.that(n < 17, f"{n} is too large")

    verdict = judged(claim)
    assert (verdict.verdict, verdict.message) == ("violated", "17 is too large")
    assert verdict.counterexample.splitlines()[0] == "n = 17"
    first = judged(claim, shrink=False)
    assert first.verdict == "violated" and first.message != ""


def test_the_same_seed_draws_the_same_examples_for_every_subject() -> None:
    drawn: list[list[int]] = []

    @given(n=st.integers(0, 10**9))
    def claim(subject: Handle, device: str, dtype: torch.dtype, n: int) -> None:
        drawn[-1].append(n)

    for seed in (0, 0, 1):
        drawn.append([])
        judged(claim, seed=seed)
    assert drawn[0] == drawn[1] != drawn[2]


def test_torchs_generator_differs_between_examples_and_repeats_between_runs() -> None:
    runs: list[list[float]] = []

    @given(n=st.integers(0, 10**9))
    def claim(subject: Handle, device: str, dtype: torch.dtype, n: int) -> None:
        runs[-1].append(float(torch.rand(())))

    for _ in range(2):
        runs.append([])
        judged(claim)
    assert runs[0] == runs[1]
    assert len(set(runs[0])) > 20  # Hypothesis repeats itself on purpose


def test_every_stratum_gets_its_share() -> None:
    seen: Counter[str] = Counter()

    @given(kind=stratified([st.just(kind) for kind in "abcd"]), n=st.integers(0, 10**9))
    def claim(subject: Handle, device: str, dtype: torch.dtype, kind: str, n: int) -> None:
        seen[kind] += 1

    judged(claim)
    assert seen == {kind: PROFILES["ci"].examples // 4 for kind in "abcd"}


def test_unsupported_is_never_a_pass() -> None:
    @given(kind=stratified([st.just("a"), st.just("b")]))
    def claim(subject: Handle, device: str, dtype: torch.dtype, kind: str) -> None:
        subject(P if kind == "a" else P[:1], P if kind == "a" else P[:1])

    def none(p: Any, q: Any) -> Any:
        raise Unsupported("nothing is offered")

    def half(p: Any, q: Any) -> Any:
        if len(p) == 1:
            raise Unsupported("one point only")
        return (p - q).sum()

    assert judged(claim, none).verdict == "unsupported"
    assert judged(claim, none).message == "nothing is offered"
    verdict = judged(claim, half)
    assert verdict.verdict == "holds" and "one point only" in verdict.message


def test_a_failure_is_told_before_it_is_shrunk() -> None:
    told: list[str] = []

    @given(n=st.integers(0, 1000))
    def claim(subject: Handle, device: str, dtype: torch.dtype, n: int) -> None:
        check.that(n < 17, f"{n}")

    judged(claim, on_failure=lambda kind, message, example: told.append(message))
    assert len(told) > 1 and told[-1] == "17"


def test_a_slow_subject_is_judged_by_fewer_examples_of_every_stratum() -> None:
    seen: Counter[str] = Counter()

    @given(kind=stratified([st.just(kind) for kind in "abcd"]), n=st.integers(0, 10**9))
    def claim(subject: Handle, device: str, dtype: torch.dtype, kind: str, n: int) -> None:
        seen[kind] += 1

    verdict = judged(claim, seconds=0.0)
    assert verdict.verdict == "holds" and seen == {kind: 2 for kind in "abcd"}
    assert "8 examples only" in verdict.message


def test_a_flaky_subject_is_rejected_all_the_same() -> None:
    calls = iter(range(10**6))

    @given(n=st.integers(0, 1000))
    def claim(subject: Handle, device: str, dtype: torch.dtype, n: int) -> None:
        check.close(subject(P, P), 0.0, 1e-9, "the divergence")

    verdict = judged(claim, lambda p, q: (p - q).sum() + (next(calls) == 5))
    assert verdict.verdict == "violated"


def test_what_a_subject_changes_is_restored() -> None:
    @given(n=st.integers(0, 1000))
    def claim(subject: Handle, device: str, dtype: torch.dtype, n: int) -> None:
        subject(P, P)

    def vandal(p: Any, q: Any) -> Any:
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        torch.manual_seed(1)
        return (p - q).sum()

    state = torch.get_rng_state()
    judged(claim, vandal)
    assert torch.get_default_dtype() == torch.float32 and torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), state)


def test_numpy_adapters_get_and_may_return_arrays() -> None:
    import numpy as np

    @given(n=st.integers(0, 10))
    def claim(subject: Handle, device: str, dtype: torch.dtype, n: int) -> None:
        result = subject(P, P)
        assert isinstance(result, torch.Tensor) and result.dtype == P.dtype

    for make in (lambda p, q: np.sum(p - q), lambda p, q: float((p - q).sum())):
        entry = Subject("ad hoc", "kl_divergence", make, PLACE, arrays="numpy")
        inner = claim.hypothesis.inner_test  # type: ignore[attr-defined]
        ad_hoc = Claim(
            "kl_divergence.ad_hoc",
            "kl_divergence",
            "",
            (),
            "",
            (),
            inner,
            {"n": st.integers(0, 10)},
            PLACE,
        )
        assert judge(ad_hoc, entry).verdict == "holds"


def test_the_registry_names_both_places() -> None:
    registry: Registry[str, Subject] = Registry("subject")
    registry.add("a", Subject("a", "c", abs, Place("one.py", 3)))
    with pytest.raises(RegistrationError, match=r"one\.py:3, the second at .*two\.py:7"):
        registry.add("a", Subject("a", "c", abs, Place("two.py", 7)))


def test_drawn_values_are_shown_exactly_when_short() -> None:
    assert show(torch.tensor([1 / 3, 2.0], dtype=torch.float64)) == "[0.3333333333333333, 2.0]"
    assert show(torch.zeros(7, 9)) == "tensor of shape (7, 9), float32"
    assert show({"x": torch.tensor(1)}) == "{x: 1}"
