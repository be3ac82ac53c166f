r"""The registries: subjects, claims, mutants and controls, and the decorators that fill them.

This module imports nothing heavy, so that an adapter file costs no more than its own imports.
Every entry remembers where it was written; a second entry of the same name is refused with a
message that names both places.
"""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

__all__ = [
    "CLAIMS",
    "CONTRACTS",
    "CONTROLS",
    "MUTANTS",
    "SUBJECTS",
    "Claim",
    "Contract",
    "NotOffered",
    "Place",
    "Probe",
    "RegistrationError",
    "Registry",
    "Result",
    "Subject",
    "Unsupported",
    "UsageError",
    "claim",
    "control",
    "mutant",
    "nearest",
    "subject",
]

K = TypeVar("K")
V = TypeVar("V")
F = TypeVar("F", bound=Callable[..., Any])


class Unsupported(Exception):
    """Raised by an adapter: what was asked for is outside what the implementation offers."""


class NotOffered(Unsupported):
    """Raised by the harness: the subject lacks what a claim needs, in every configuration alike."""


class RegistrationError(ValueError):
    """An entry that cannot be registered; the message names the place in the adapter."""


class UsageError(Exception):
    """Bad usage of the command line; the message says what and where, and the exit status is 2."""


@dataclass(frozen=True)
class Place:
    """Where something was written."""

    path: str
    line: int

    def __str__(self) -> str:
        return f"{os.path.relpath(self.path) if self.path else '<unknown>'}:{self.line}"


@dataclass(frozen=True)
class Subject:
    """An implementation under test, together with the contract that it is judged by."""

    name: str
    contract: str
    make: Callable[..., Any]
    place: Place
    arrays: str = "torch"
    bundle: str = ""
    doc: str = ""
    rejected_by: tuple[str, ...] = ()  # mutants only: the claims that must reject it

    @property
    def key(self) -> tuple[str, str]:
        return (self.contract, self.name)


@dataclass(frozen=True)
class Probe:
    r"""One way of calling a subject, on which the general claims are judged.

    Args:
        name: the member that is called, or ``"call"``; appears in messages.
        inputs: ``config -> strategy`` of a ``dict`` of named inputs. ``config`` is ``None`` for
            function contracts.
        call: ``(subject or built object, inputs) -> tensor or tuple of tensors``.
        batched: the inputs that carry the batch, with the dimension it runs along. Empty where
            items cannot be taken apart.
        combine: how the results of single items make up the result of the batch: ``"stack"``
            (one row per item) or ``"mean"`` (a scalar).
        differentiable: the inputs in which the result is differentiable.
        directions: how to perturb an input within its domain, ``x -> direction``; normal otherwise.
        smooth: ``config -> strategy`` of inputs for derivatives, away from kinks and boundaries;
            ``inputs`` where left out.
        parameters: whether the result is differentiable in the parameters of the built module, or
            of the modules among the inputs.
        deterministic: the same inputs give the same result whatever the global generators hold.
        mode_free: train and eval mode give the same result.
        changes: the inputs that the contract allows the subject to change.
        extreme: ``config -> strategy`` of inputs at which value and gradient must be finite.
        guard: whether a legal numerical guard (``contracts.md``) may move the result.
        iterative: whether a right subject may find the result by iteration, up to a tolerance.
    """

    name: str
    inputs: Callable[[Any], Any]
    call: Callable[[Any, dict[str, Any]], Any]
    batched: Mapping[str, int] = field(default_factory=dict)
    combine: str = "stack"
    differentiable: tuple[str, ...] = ()
    directions: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)
    smooth: Callable[[Any], Any] | None = None
    parameters: bool = False
    deterministic: bool = True
    mode_free: bool = True
    changes: tuple[str, ...] = ()
    extreme: Callable[[Any], Any] | None = None
    guard: bool = True
    iterative: bool = False


@dataclass(frozen=True)
class Result:
    r"""What one call must return: a tensor of this shape, ``float`` (the inputs' dtype), ``long`` or
    ``bool``."""

    shape: tuple[int, ...]
    kind: str = "float"


@dataclass(frozen=True)
class Contract:
    r"""The signature that a kind of subject offers.

    Args:
        name: the public name, as in ``@subject("name")``.
        family: the page of the book that it belongs to.
        kind: ``"function"`` (the subject is the callable) or ``"factory"`` (it is called with a
            frozen config and returns the object).
        signature: one line, shapes included.
        summary: what is computed, in one or two plain sentences.
        protocol: the :class:`typing.Protocol` of what the subject, or what it builds, offers.
        config: the frozen dataclass that a factory is called with.
        strata: ``config`` strategies that together cover every case; each gets its share of the
            examples, so that a mistake in one configuration is not missed by luck.
        results: per member (``"call"`` for the subject or object itself), ``(config, *arguments)`` to
            the :class:`Result` (or a tuple of them) that a call must return; checked at every call
            that any claim makes. A member without an entry is not checked.
        optional: the members that a subject may leave out.
        probes: the ways of calling it on which the general claims are judged.
        warm_up: ``config -> dict`` of inputs of the first probe, for one training-mode call before
            judging: of lazily built modules, and of all where ``data_dependent``.
        data_dependent: subjects may initialise themselves from the first batch they see.
        settle: called with what was built once its parameters have been redrawn, for buffers that
            follow them only slowly (running statistics, power iterations).
        exempt: general claims that do not apply, each with its reason.
    """

    name: str
    family: str
    kind: str
    signature: str
    summary: str
    protocol: type
    config: type | None = None
    strata: tuple[Any, ...] = ()
    results: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    optional: tuple[str, ...] = ()
    probes: tuple[Probe, ...] = ()
    warm_up: Callable[[Any], Any] | None = None
    data_dependent: bool = False
    settle: Callable[[Any], None] | None = None
    exempt: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Claim:
    r"""One theorem or requirement and the property test that checks it.

    ``when`` says in which runs it is planned: ``"always"``, ``"accelerator"`` (on devices other than
    the CPU) or ``"audit"`` (under ``--device-audit``).
    ``error`` is the false-alarm probability of one run of a statistical claim (0 for an exact one),
    ``dtypes`` those in which it can be judged, the first being judged when none is asked for.
    """

    id: str
    contract: str
    statement: str
    sources: tuple[str, ...]
    why: str
    assumptions: Mapping[str, str]
    test: Callable[..., None]
    strategies: Mapping[str, Any]
    place: Place
    dtypes: tuple[str, ...] = ("float64", "float32")
    error: float = 0.0
    effort: float = 1.0
    general: bool = False
    when: str = "always"
    sentence: str = ""

    @property
    def family(self) -> str:
        """The family that the claim is filed under: its contract's, or its module's for theory.

        A module ``test_<family>_<part>.py`` belongs to the family.
        """
        if self.contract in CONTRACTS and self.contract != "theory":
            return CONTRACTS[self.contract].family
        return self.test.__module__.rpartition("test_")[2].partition("_")[0]

    @property
    def title(self) -> str:
        """The sentence that the test checks: as given, or from the test's name."""
        return self.sentence or self.test.__name__.removeprefix("test_").replace("_", " ")

    @property
    def code(self) -> str:
        """The test without its registration, which the other fields hold."""
        lines = inspect.getsource(self.test).splitlines(keepends=True)
        starts = ("@given", "def ")
        return "".join(lines[next(i for i, s in enumerate(lines) if s.startswith(starts)) :])


class Registry(Generic[K, V]):
    """A dictionary that refuses a second entry of the same key and names both places."""

    def __init__(self, noun: str) -> None:
        self.noun = noun
        self.entries: dict[K, V] = {}

    def add(self, key: K, entry: V) -> None:
        if key in self.entries:
            first, second = self.entries[key].place, entry.place  # type: ignore[attr-defined]
            label = " ".join(repr(part) for part in key) if isinstance(key, tuple) else repr(key)
            raise RegistrationError(
                f"two {self.noun}s are called {label}: the first at {first}, the second at {second}"
            )
        self.entries[key] = entry

    def __iter__(self) -> Iterator[V]:
        return iter(self.entries.values())

    def __getitem__(self, key: K) -> V:
        return self.entries[key]

    def __contains__(self, key: object) -> bool:
        return key in self.entries

    def __len__(self) -> int:
        return len(self.entries)


CONTRACTS: dict[str, Contract] = {}
CLAIMS: Registry[str, Claim] = Registry("claim")
SUBJECTS: Registry[tuple[str, str], Subject] = Registry("subject")
MUTANTS: Registry[tuple[str, str], Subject] = Registry("mutant")
CONTROLS: Registry[tuple[str, str], Subject] = Registry("control")

# What could not be registered, kept so that the other subjects of a file are still judged.
PROBLEMS: list[str] = []


def nearest(word: str, known: list[str]) -> str:
    """A hint such as ``; did you mean 'flow'?`` for a misspelt name, or the whole list."""
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.4)
    if close:
        return "; did you mean " + " or ".join(repr(name) for name in close) + "?"
    return "; known: " + ", ".join(sorted(known))


def place_of(function: Callable[..., Any]) -> Place:
    """File and line of a function or class; of the decorated line for anything else."""
    try:
        target: Any = inspect.unwrap(function)
        path = inspect.getsourcefile(target) or ""
        return Place(path, inspect.getsourcelines(target)[1])
    except (TypeError, OSError):
        frame = inspect.stack()[2]
        return Place(frame.filename, frame.lineno)


def _entry(
    contract: str,
    make: Callable[..., Any],
    name: str | None,
    arrays: str,
    rejected_by: tuple[str, ...] = (),
) -> Subject:
    code = getattr(make, "__code__", None)
    place = Place(code.co_filename, code.co_firstlineno) if code else place_of(make)
    label = name or getattr(make, "__name__", type(make).__name__)
    if arrays not in ("torch", "numpy"):
        raise RegistrationError(
            f"{place}: subject {label!r}: arrays={arrays!r} is neither 'torch' nor 'numpy'"
        )
    return Subject(
        name=label,
        contract=contract,
        make=make,
        place=place,
        arrays=arrays,
        doc=inspect.getdoc(make) or "",
        rejected_by=rejected_by,
    )


def _known_contracts() -> list[str]:
    from spec_tests import contracts  # noqa: F401  (fills CONTRACTS)

    return list(CONTRACTS)


def subject(contract: str, *, name: str | None = None, arrays: str = "torch") -> Callable[[F], F]:
    r"""Registers an implementation to be judged.

    Args:
        contract: what it implements, such as ``"gaussian_kl"``.
        name: how reports call it; the function's own name where it is left out.
        arrays: ``"numpy"`` if it takes and returns NumPy arrays.

    A registration that cannot be (an unknown contract, a name taken twice) is reported by the run
    and does not keep the file's other subjects from being judged.
    """

    def register(make: F) -> F:
        try:
            entry = _entry(contract, make, name, arrays)
            if contract not in _known_contracts():
                raise RegistrationError(
                    f"{entry.place}: subject {entry.name!r} names an unknown contract "
                    f"{contract!r}{nearest(contract, _known_contracts())}"
                )
            SUBJECTS.add(entry.key, entry)
        except RegistrationError as problem:
            PROBLEMS.append(str(problem))
        return make

    return register


def mutant(
    contract: str,
    *,
    rejected_by: tuple[str, ...] | list[str],
    name: str | None = None,
    arrays: str = "torch",
) -> Callable[[F], F]:
    """Registers a known-wrong implementation with the ids of the claims that must reject it."""

    def register(make: F) -> F:
        entry = _entry(contract, make, name, arrays, tuple(rejected_by))
        MUTANTS.add(entry.key, entry)
        return make

    return register


def control(contract: str, *, name: str | None = None, arrays: str = "torch") -> Callable[[F], F]:
    """Registers an unusual but right implementation that every claim must accept."""

    def register(make: F) -> F:
        entry = _entry(contract, make, name, arrays)
        CONTROLS.add(entry.key, entry)
        return make

    return register


def claim(
    id: str,
    statement: str,
    *,
    sources: list[str],
    why: str,
    assumptions: Mapping[str, str] | list[str] | None = None,
    dtypes: tuple[str, ...] = ("float64", "float32"),
    error: float = 0.0,
    effort: float = 1.0,
    sentence: str = "",
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    r"""Registers a property test as a claim about every subject of its contract.

    Args:
        id: ``contract.claim``; the part before the dot names the contract.
        statement: the claim in LaTeX.
        sources: where it is stated or proved.
        why: why it is true: a short proof in paragraphs, with ``:math:`` where symbols help.
        assumptions: what it needs, and of each the counterexample when it is dropped.
        dtypes: those in which it can be judged; the first is judged by default.
        error: false-alarm probability of one run, for statistical claims.
        effort: multiplies the profile's number of examples.
        sentence: what the test checks, where the words of its name need capitals or signs.
    """

    def register(test: Callable[..., None]) -> Callable[..., None]:
        hypothesis = getattr(test, "hypothesis", None)
        inner = hypothesis.inner_test if hypothesis else test
        CLAIMS.add(
            id,
            Claim(
                id=id,
                contract=id.partition(".")[0],
                statement=statement,
                sources=tuple(sources),
                why=inspect.cleandoc(why),
                assumptions=dict.fromkeys(assumptions, "")
                if isinstance(assumptions, list)
                else dict(assumptions or {}),
                test=inner,
                strategies=dict(hypothesis._given_kwargs) if hypothesis else {},
                place=place_of(inner),
                dtypes=dtypes,
                error=error,
                effort=effort,
                sentence=sentence,
            ),
        )
        test.claim_id = id  # type: ignore[attr-defined]
        return test

    return register
