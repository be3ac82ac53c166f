r"""The plan: which cells a run has to decide, and the settings that it decides them under.

Light enough for the parent process, which never imports torch: plans and verdicts cross process
borders as JSON.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

__all__ = ["Cell", "ClaimCard", "Plan", "Settings", "Source", "SubjectCard", "Verdict", "make_plan"]

BUNDLES = ("reference", "torch", "scipy", "sklearn")
REJECTIONS = ("violated", "error", "timeout", "crashed", "missing")


@dataclass
class Verdict:
    """One line of ``verdicts.jsonl``: what one claim says of one subject on one device and dtype."""

    claim: str
    contract: str
    subject: str
    device: str
    dtype: str
    verdict: str
    message: str = ""
    counterexample: str = ""
    reproduce: str = ""
    seed: int = 0
    seconds: float = 0.0
    headroom: float | None = None
    examples: int = 0
    expected: str = ""

    def line(self) -> dict[str, Any]:
        """The fields as JSON knows them: an infinite headroom is no number there."""
        fields = asdict(self)
        if self.headroom is not None and not math.isfinite(self.headroom):
            fields["headroom"] = None
        return fields

    @classmethod
    def read(cls, line: dict[str, Any]) -> Verdict:
        known = {f.name for f in fields(cls)}
        return cls(**{key: value for key, value in line.items() if key in known})

    @property
    def key(self) -> tuple[str, str, str, str]:
        return (self.claim, self.subject, self.device, self.dtype)


@dataclass(frozen=True)
class Settings:
    """How cells are judged; the same settings and seed give the same verdicts."""

    profile: str = "ci"
    seed: int = 0
    time_limit: float = 60.0
    memory_limit: float = 4.0
    shrink: bool = True
    first_violation: bool = False
    jobs: int = 0


@dataclass(frozen=True)
class ClaimCard:
    """What a report needs to know of a claim."""

    id: str
    contract: str
    family: str
    title: str
    statement: str
    why: str
    sources: tuple[str, ...]
    dtypes: tuple[str, ...]
    error: float
    place: str
    code: str
    when: str = "always"

    def applies(self, device: str, audit: bool) -> bool:
        """Whether the claim is planned on ``device`` in a run with or without ``--device-audit``."""
        return {"accelerator": device != "cpu", "audit": audit}.get(self.when, True)


@dataclass(frozen=True)
class SubjectCard:
    """What a report needs to know of a subject."""

    name: str
    contract: str
    place: str


@dataclass(frozen=True)
class Source:
    """An adapter file, module or bundle, and what it registered."""

    name: str
    subjects: tuple[SubjectCard, ...]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cell:
    """One verdict to come."""

    claim: str
    contract: str
    subject: str
    device: str
    dtype: str

    @property
    def key(self) -> tuple[str, str, str, str]:
        return (self.claim, self.subject, self.device, self.dtype)


@dataclass
class Plan:
    """Every cell of a run, grouped by the subject that they belong to."""

    claims: dict[str, ClaimCard]
    groups: list[tuple[str, SubjectCard, list[Cell]]] = field(default_factory=list)

    @property
    def cells(self) -> list[Cell]:
        return [cell for _, _, cells in self.groups for cell in cells]

    @property
    def error_budget(self) -> float:
        """The summed false-alarm probabilities of the statistical claims that are planned."""
        return sum(self.claims[cell.claim].error for cell in self.cells)


def make_plan(
    claims: dict[str, ClaimCard],
    sources: Iterable[Source],
    *,
    patterns: list[str],
    subjects: list[str],
    devices: list[str],
    dtypes: list[str],
    shard: tuple[int, int] = (1, 1),
    audit: bool = False,
) -> Plan:
    """Claim x subject x device x dtype, sorted; without ``dtypes`` each claim's first is judged.

    ``shard`` ``(i, n)`` keeps every n-th subject, starting with the i-th.
    """
    plan = Plan(claims)
    chosen = [c for c in sorted(claims.values(), key=lambda c: c.id) if _matches(c.id, patterns)]
    position = 0
    for source in sources:
        for card in source.subjects:
            if subjects and not _matches(card.name, subjects):
                continue
            cells = [
                Cell(claim.id, card.contract, card.name, device, dtype)
                for claim in chosen
                if claim.contract == card.contract
                for device in devices
                if claim.applies(device, audit)
                for dtype in (dtypes or claim.dtypes[:1])
                if dtype in claim.dtypes
            ]
            position += 1
            if cells and position % shard[1] == shard[0] % shard[1]:
                plan.groups.append((source.name, card, cells))
    return plan


def _matches(name: str, patterns: list[str]) -> bool:
    return not patterns or any(name == p or fnmatch.fnmatchcase(name, p) for p in patterns)
