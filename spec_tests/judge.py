r"""Judges one cell: one claim, of one subject, on one device, in one dtype.

Hypothesis draws the examples. Each is run with the global state guarded, the generators seeded by a
drawn number and, for factories, a drawn mode; the first failure is shrunk and becomes the
counterexample. Where a strategy has strata, each is searched on its own, so that a mistake in one
configuration is not missed by luck.
"""

from __future__ import annotations

import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from hypothesis import HealthCheck, Phase, given, register_random, reject, settings
from hypothesis import seed as hypothesis_seed
from hypothesis import strategies as st
from hypothesis.errors import HypothesisException, Unsatisfiable, UnsatisfiedAssumption
from torch import Tensor

from spec_tests.check import Violation, headroom
from spec_tests.handle import Handle, SubjectError, placed
from spec_tests.plan import Verdict
from spec_tests.registry import CONTRACTS, Claim, NotOffered, Subject, Unsupported
from spec_tests.state import TorchGenerator, guarded_state, seed_everything

__all__ = ["PROFILES", "Profile", "judge", "stratified"]

_TORCH = TorchGenerator()  # Hypothesis holds only a weak reference
register_random(_TORCH)  # type: ignore[arg-type]


def _ignore_local_constants() -> None:
    """Keeps Hypothesis from drawing numbers that it finds in the source of local modules.

    It would make what is drawn depend on the adapter file and on how genspec was installed, and
    would read every local module again in every judging process.
    """
    from hypothesis.internal.conjecture import providers

    if hasattr(providers, "_get_local_constants"):
        nothing = getattr(providers, "_local_constants")  # noqa: B009  (private, may be absent)
        providers._get_local_constants = lambda: nothing


_ignore_local_constants()

# Examples that a stratum may spend finding a configuration that is supported: where the adapter says
# so it may support another, where the harness finds something lacking it hardly will.
_PATIENCE = 40
_LEAST = 2  # examples that every stratum of a slow subject gets
_PATIENCE_WITH_LACKS = 4


@dataclass(frozen=True)
class Profile:
    """How many examples a claim gets, each stratum at least, and how long one is shrunk."""

    name: str
    examples: int
    shrink_seconds: float
    least: int = 4


PROFILES = {
    "smoke": Profile("smoke", 4, 2.0, least=2),
    "quick": Profile("quick", 10, 2.0),
    "ci": Profile("ci", 40, 6.0),
    "thorough": Profile("thorough", 1000, 15.0),
}


def stratified(strata: tuple[Any, ...] | list[Any]) -> Any:
    """One strategy made of several, each of which gets its share of a claim's examples."""
    union = st.one_of(*strata) if len(strata) > 1 else strata[0].map(lambda drawn: drawn)
    union.genspec_strata = tuple(strata)
    return union


class _Enough(BaseException):
    """Ends Hypothesis's search: time for shrinking is over, or nothing here is supported."""


@dataclass
class _Search:
    """What is known so far about one cell."""

    claim: Claim
    handle: Handle
    device: str
    profile: Profile
    shrink: bool
    on_failure: Callable[[str, str, str], None] | None
    kind: str = ""
    message: str = ""
    counterexample: str = ""
    failed_at: float = 0.0
    reasons: dict[str, int] = field(default_factory=dict)
    passed: int = 0
    passed_here: int = 0  # in the stratum that is being searched
    fruitless: int = 0
    until: float = float("inf")  # when the next stratum must have its turn
    hurried: bool = False

    def example(self, drawn: dict[str, Any]) -> None:
        """Runs the claim's test on one draw."""
        if self.kind and time.perf_counter() - self.failed_at > self.profile.shrink_seconds:
            raise _Enough
        if not self.kind and self.passed_here >= _LEAST and time.perf_counter() > self.until:
            self.hurried = True
            raise _Enough
        number = drawn.pop("_seed")
        self.handle.training = drawn.pop("_training", False)
        with guarded_state(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            seed_everything(number)
            try:
                arguments = placed(drawn, self.handle.device, self.handle.dtype)
                self.claim.test(
                    subject=self.handle, device=self.device, dtype=self.handle.dtype, **arguments
                )
            except NotOffered as reason:
                self._pass_over(str(reason), _PATIENCE_WITH_LACKS)
            except Unsupported as reason:
                self._pass_over(str(reason), _PATIENCE)
            except (Violation, AssertionError) as failure:
                self._fail("violated", str(failure), drawn, number)
                raise
            except SubjectError as failure:
                self._fail("error", str(failure), drawn, number)
                raise
            except (UnsatisfiedAssumption, HypothesisException):
                raise
            except Exception as failure:
                text = f"{type(failure).__name__}: {failure} (while judging, not in the subject)"
                self._fail("error", text, drawn, number)
                raise
        self.passed += 1
        self.passed_here += 1
        self.fruitless = 0

    def _pass_over(self, reason: str, patience: int) -> None:
        reason = reason or "no reason given"
        self.reasons[reason] = self.reasons.get(reason, 0) + 1
        self.fruitless += 1
        if self.fruitless >= patience:
            raise _Enough
        reject()

    def _fail(self, kind: str, message: str, drawn: dict[str, Any], number: int) -> None:
        if not self.kind:
            self.failed_at = time.perf_counter()
        lines = [line for name, value in drawn.items() for line in describe(name, value)]
        if self.handle.contract.kind == "factory":
            lines.append(f"mode = {'train' if self.handle.training else 'eval'}")
        lines.append(f"seed = {number}")
        self.kind, self.message, self.counterexample = kind, message, "\n".join(lines)
        if self.on_failure is not None:
            self.on_failure(kind, message, self.counterexample)
        if not self.shrink:
            raise _Enough


def describe(name: str, value: Any) -> list[str]:
    """One drawn argument as lines ``name = value``; what knows better describes itself."""
    lines = getattr(value, "lines", None)
    if callable(lines):
        return list(lines())
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return [line for key, item in value.items() for line in describe(key, item)]
    return [f"{name} = {show(value)}"]


def show(value: Any) -> str:
    """A drawn value as a person reads it."""
    if isinstance(value, Tensor):
        if value.numel() > 48:
            return f"tensor of shape {tuple(value.shape)}, {value.dtype}".replace("torch.", "")
        short = value.numel() <= 12
        return _numbers(value.tolist(), short)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {show(item)}" for key, item in value.items()) + "}"
    return repr(value)


def _numbers(value: Any, exact: bool) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_numbers(item, exact) for item in value) + "]"
    if isinstance(value, float):
        return repr(value) if exact else f"{value:.6g}"
    return str(value)


def _choices(strategies: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The strategies stratum by stratum: the product over the arguments that have strata."""
    for name, strategy in strategies.items():
        strata = getattr(strategy, "genspec_strata", None)
        if strata and len(strata) > 1:
            for stratum in strata:
                yield from _choices({**strategies, name: stratum})
            return
    yield strategies


def judge(
    claim: Claim,
    entry: Subject,
    *,
    device: str = "cpu",
    dtype: str = "float64",
    profile: Profile = PROFILES["ci"],
    seed: int = 0,
    shrink: bool = True,
    seconds: float = float("inf"),
    on_failure: Callable[[str, str, str], None] | None = None,
) -> Verdict:
    r"""Runs ``claim`` on ``entry`` and returns the verdict; never raises for what the subject does.

    Args:
        seed: of the run; the examples of a claim depend on it and the claim's id alone, so that
            every subject meets the same ones.
        seconds: after which no more examples are drawn than two from each stratum, so that a slow
            subject is judged by fewer examples rather than not at all.
        on_failure: told ``(kind, message, counterexample)`` at every failing example, so that what
            is known survives the end of the process.
    """
    started = time.perf_counter()
    spent = headroom.set(None)
    handle = Handle(entry, CONTRACTS[claim.contract], device, getattr(torch, dtype))
    search = _Search(claim, handle, device, profile, shrink, on_failure)
    harness: dict[str, Any] = {"_seed": st.integers(0, 2**31 - 1)}
    if handle.contract.kind == "factory":
        harness["_training"] = st.booleans()
    choices = list(_choices(dict(claim.strategies)))
    share = max(round(profile.examples * claim.effort / len(choices)), profile.least)
    try:
        for index, strategies in enumerate(choices):
            number = zlib.crc32(f"{claim.id}/{index}/{seed}".encode())
            search.until = started + seconds * (index + 1) / len(choices)
            _explore(search, {**strategies, **harness}, share, number)
            if search.kind:
                break
        result = _conclude(search)
        result.headroom = headroom.get()
    finally:
        headroom.reset(spent)
    result.device, result.dtype, result.seed = device, dtype, seed
    result.seconds = round(time.perf_counter() - started, 4)
    return result


def _explore(search: _Search, strategies: dict[str, Any], examples: int, seed: int) -> None:
    """Searches one stratum for a failing example."""
    search.fruitless = search.passed_here = 0
    phases = (Phase.explicit, Phase.generate) + ((Phase.shrink,) if search.shrink else ())

    def body(**drawn: Any) -> None:
        search.example(drawn)

    test = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=phases,
        derandomize=False,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        print_blob=False,
    )(hypothesis_seed(seed)(given(**strategies)(body)))
    try:
        test()
    except (_Enough, Unsatisfiable):
        pass
    except Exception:
        if not search.kind:  # nothing recorded: the failure is the harness's own
            raise


def _conclude(search: _Search) -> Verdict:
    claim, entry = search.claim, search.handle.entry
    verdict = Verdict(claim.id, claim.contract, entry.name, "", "", "holds", examples=search.passed)
    if search.kind:
        verdict.verdict, verdict.message = search.kind, search.message
        verdict.counterexample = search.counterexample
    elif search.passed == 0:
        verdict.verdict = "unsupported"
        verdict.message = "; ".join(search.reasons) or "no example could be drawn"
    else:
        notes = [f"judged on {search.passed} examples only: it is slow"] if search.hurried else []
        if search.reasons:
            notes.append("not judged where unsupported: " + "; ".join(search.reasons))
        verdict.message = "; ".join(notes)
    return verdict
