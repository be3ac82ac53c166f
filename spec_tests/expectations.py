r"""Known violations: a TOML file that lists each with its reason, applied strictly.

::

    [[expected]]
    claim = "js_divergence.zero_iff_equal"      # a glob is allowed
    subject = "scipy.spatial.distance.jensenshannon"
    verdict = "violated"
    reason = "the square root of a rounding error below zero is NaN"
    reference = "SciPy 1.17, scipy.spatial.distance.jensenshannon, Notes"

``device`` and ``dtype`` narrow an entry down. An entry whose every claim now holds is reported and
fails the run: the file says something that is no longer true.
"""

from __future__ import annotations

import fnmatch
import tomllib
from dataclasses import dataclass
from pathlib import Path

from spec_tests.plan import REJECTIONS, Verdict

__all__ = ["Expectation", "ExpectationError", "apply", "read", "shipped"]

_REQUIRED = ("claim", "subject", "verdict", "reason")
_OPTIONAL = ("reference", "device", "dtype")


class ExpectationError(ValueError):
    """The file does not say what an expectation file says; the message names the entry."""


@dataclass(frozen=True)
class Expectation:
    """One known violation."""

    claim: str
    subject: str
    verdict: str
    reason: str
    reference: str = ""
    device: str = "*"
    dtype: str = "*"

    def covers(self, verdict: Verdict) -> bool:
        """Whether the entry speaks of this verdict's cell."""
        pairs = [
            (verdict.claim, self.claim),
            (verdict.subject, self.subject),
            (verdict.device, self.device),
            (verdict.dtype, self.dtype),
        ]
        return all(name == p or fnmatch.fnmatchcase(name, p) for name, p in pairs)


def read(path: Path) -> list[Expectation]:
    """The entries of a file, each checked for names and types."""
    try:
        data = tomllib.loads(path.read_text())
    except OSError as failure:
        raise ExpectationError(f"{path}: {failure.strerror}") from failure
    except tomllib.TOMLDecodeError as failure:
        raise ExpectationError(f"{path}: {failure}") from failure
    entries = data.get("expected")
    if set(data) != {"expected"} or not isinstance(entries, list):
        raise ExpectationError(f"{path}: holds nothing but [[expected]] tables, found {list(data)}")
    return [_entry(path, number, entry) for number, entry in enumerate(entries, 1)]


def _entry(path: Path, number: int, entry: dict[str, object]) -> Expectation:
    where = f"{path}, entry {number}"
    for key, value in entry.items():
        if key not in (*_REQUIRED, *_OPTIONAL):
            raise ExpectationError(f"{where}: unknown key {key!r}")
        if not isinstance(value, str) or not value.strip():
            raise ExpectationError(f"{where}: {key} is {value!r}, expected a non-empty string")
    missing = [key for key in _REQUIRED if key not in entry]
    if missing:
        raise ExpectationError(f"{where}: lacks {', '.join(missing)}")
    if entry["verdict"] not in REJECTIONS:
        raise ExpectationError(
            f"{where}: verdict {entry['verdict']!r} is none of {', '.join(REJECTIONS)}"
        )
    return Expectation(**entry)  # type: ignore[arg-type]


def shipped(bundle: str) -> list[Expectation]:
    """What is known of a built-in bundle: ``subjects/<bundle>.toml``, if there is one."""
    path = Path(__file__).parent / "subjects" / f"{bundle}.toml"
    return read(path) if path.exists() else []


def apply(expectations: list[Expectation], verdicts: list[Verdict]) -> list[Expectation]:
    """Marks expected verdicts with their reasons; returns the entries that no longer hold."""
    stale = []
    for entry in expectations:
        covered = [v for v in verdicts if entry.covers(v)]
        met = [v for v in covered if v.verdict == entry.verdict]
        for verdict in met:
            verdict.expected = entry.reason + (f" ({entry.reference})" if entry.reference else "")
        if covered and not met:
            stale.append(entry)
    return stale
