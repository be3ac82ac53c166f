r"""The pytest plugin: every claim is a test, parametrized by subject, device and dtype.

::

    pytest spec_tests/claims --subjects my_subjects.py --device cuda --dtype float32

A claim that holds passes, one that is unsupported or whose device is absent is skipped with the
reason, anything else fails with the verdict's message. Tests run in pytest's own process:
`genspec verify` is the command for code that may crash or hang.
"""

from __future__ import annotations

import fnmatch
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch

from spec_tests import catalogue
from spec_tests.judge import PROFILES, judge
from spec_tests.plan import Verdict
from spec_tests.registry import CLAIMS, Claim, Subject

__all__: list[str] = []

_DTYPES = ("float64", "float32")


@dataclass(frozen=True)
class Cell:
    """The parameter of one test: what a claim is judged on."""

    claim: Claim
    entry: Subject
    device: str
    dtype: str

    def __str__(self) -> str:
        return f"{self.claim.id}-{self.entry.name}-{self.device}-{self.dtype}"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("genspec", "claims about generative models")
    add = group.addoption
    add(
        "--subjects",
        action="append",
        default=[],
        metavar="SOURCE",
        help="a file, module or bundle to judge (repeatable; default: reference)",
    )
    add("--claims", action="append", default=[], metavar="GLOB", help="claims to judge")
    add("--device", action="append", default=[], metavar="DEVICE", help="cpu, cuda, ... or all")
    add("--dtype", action="append", default=[], metavar="DTYPE", help="float64, float32 or all")
    add("--profile", default="ci", choices=sorted(PROFILES), help="examples for each claim")
    add("--genspec-seed", type=int, default=0, metavar="SEED", help="draws other examples")
    add("--time-limit", type=float, default=60.0, metavar="SECONDS", help="for one claim")
    add("--device-audit", action="store_true", help="plan the claims of the device audit as well")
    add("--verdicts", type=Path, metavar="FILE", help="append verdicts to this file as JSON lines")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "deep: exhaustive and slow; runs in `tox -e deep`")
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _no_tf32() -> Iterator[None]:
    """TF32 rounds float32 products to ten bits; it is off while claims are judged."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    claims = _claims_of(metafunc.function)
    if not claims:
        return
    config = metafunc.config
    cells = [
        Cell(claim, entry, device, dtype)
        for claim in claims
        if _wanted(claim, config)
        for entry in _subjects(config)
        if entry.contract == claim.contract
        for device in _devices(config)
        if {"accelerator": device != "cpu", "audit": config.getoption("device_audit")}.get(
            claim.when, True
        )
        for dtype in _dtypes(config) or claim.dtypes[:1]
        if dtype in claim.dtypes
    ]
    _parametrize(metafunc, cells)


def _parametrize(metafunc: pytest.Metafunc, cells: list[Cell]) -> None:
    """All arguments of a claim's test are the harness's to fill: each is the cell until then."""
    names = [name for name in metafunc.fixturenames if name not in ("request", "_no_tf32")]
    values = [[cell] * len(names) if len(names) > 1 else cell for cell in cells]
    metafunc.parametrize(names, values, ids=[str(cell) for cell in cells])


def _claims_of(function: Any) -> list[Claim]:
    if hasattr(function, "claim_id"):
        return [CLAIMS[function.claim_id]]
    name = getattr(function, "general_claim", None)
    return (
        sorted(
            (c for c in CLAIMS if c.general and c.id.endswith(f".{name}")),
            key=lambda claim: claim.id,
        )
        if name
        else []
    )


def _wanted(claim: Claim, config: pytest.Config) -> bool:
    patterns = config.getoption("claims")
    return not patterns or any(fnmatch.fnmatchcase(claim.id, p) for p in patterns)


_loaded: dict[str, list[Subject]] = {}


def _subjects(config: pytest.Config) -> list[Subject]:
    sources = config.getoption("subjects") or ["reference"]
    for source in sources:
        if source not in _loaded:
            _loaded[source] = catalogue.load_subjects(source)
    return [entry for source in sources for entry in _loaded[source]]


def _devices(config: pytest.Config) -> list[str]:
    wanted = config.getoption("device") or ["cpu"]
    if "all" in wanted:
        count = torch.cuda.device_count()
        return ["cpu", *(f"cuda:{i}" for i in range(count))]
    return list(wanted)


def _dtypes(config: pytest.Config) -> tuple[str, ...]:
    wanted = config.getoption("dtype")
    return _DTYPES if "all" in wanted else tuple(wanted)


def _absent(device: str) -> bool:
    return device.startswith("cuda") and not torch.cuda.is_available()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    callspec = getattr(pyfuncitem, "callspec", None)
    cell = (
        next((v for v in callspec.params.values() if isinstance(v, Cell)), None)
        if callspec
        else None
    )
    if cell is None:
        return None
    config = pyfuncitem.config
    if _absent(cell.device):
        pytest.skip(f"device {cell.device} is absent on this machine")
    with _time_limit(config.getoption("time_limit")):
        verdict = judge(
            cell.claim,
            cell.entry,
            device=cell.device,
            dtype=cell.dtype,
            profile=PROFILES[config.getoption("profile")],
            seed=config.getoption("genspec_seed"),
        )
    _record(verdict, config.getoption("verdicts"))
    pyfuncitem.user_properties.append(("verdict", verdict.verdict))
    if verdict.verdict == "unsupported":
        pytest.skip(verdict.message)
    if verdict.verdict != "holds":
        pytest.fail(_failure(cell, verdict), pytrace=False)
    return True


def _failure(cell: Cell, verdict: Verdict) -> str:
    counterexample = verdict.counterexample.replace("\n", "\n    ")
    return (
        f"{verdict.verdict}: {cell.claim.id} by {cell.entry.name} ({cell.entry.place})\n"
        f"  {cell.claim.contract} {cell.claim.title}\n  {verdict.message}\n"
        f"  counterexample:\n    {counterexample}"
    )


def _record(verdict: Verdict, path: Path | None) -> None:
    if path is not None:
        with path.open("a") as file:
            file.write(json.dumps(verdict.line()) + "\n")


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Fails the test after ``seconds``, on systems that have interval timers."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def late(number: int, frame: FrameType | None) -> None:
        pytest.fail(f"timeout: no verdict within {seconds:g} s (--time-limit)", pytrace=False)

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
