r"""``verdicts.jsonl``: a verdict a line, flushed as it falls, and the plan beside it."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType

from spec_tests.plan import Plan, Verdict

__all__ = ["Records", "read_verdicts"]


class Records:
    """The report directory of a run: ``plan.json`` is written first, then a line per verdict.

    A line that a killed run left half written is dropped when the run is resumed.
    """

    def __init__(self, directory: Path, plan: Plan, resume: bool) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory, self.path = directory, directory / "verdicts.jsonl"
        self.known = read_verdicts(self.path) if resume and self.path.exists() else []
        planned = {cell.key for cell in plan.cells}
        self.known = [verdict for verdict in self.known if verdict.key in planned]
        cells = [list(cell.key) for cell in plan.cells]
        (directory / "plan.json").write_text(json.dumps({"cells": cells}, indent=0) + "\n")
        self.file = self.path.open("w")
        for verdict in self.known:
            self.add(verdict)

    def add(self, verdict: Verdict) -> None:
        """Appends a verdict and flushes it."""
        self.file.write(json.dumps(verdict.line(), allow_nan=False) + "\n")
        self.file.flush()

    def rewrite(self, verdicts: list[Verdict]) -> None:
        """Writes the final list: missing cells and expectations included."""
        self.file.close()
        fresh = self.path.with_suffix(".tmp")
        fresh.write_text("".join(json.dumps(v.line(), allow_nan=False) + "\n" for v in verdicts))
        fresh.replace(self.path)

    def __enter__(self) -> Records:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.file.close()


def read_verdicts(path: Path) -> list[Verdict]:
    """The verdicts of a file, in order; a torn last line is left out, the last word on a cell wins."""
    found: dict[tuple[str, str, str, str], Verdict] = {}
    for line in path.read_text().splitlines():
        try:
            verdict = Verdict.read(json.loads(line))
        except (json.JSONDecodeError, TypeError):
            continue
        found[verdict.key] = verdict
    return list(found.values())
