"""Runs the command line as a user would: another process, a folder of the user's own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Outcome", "genspec", "verdicts_in"]


@dataclass(frozen=True)
class Outcome:
    """What a user sees of one command."""

    status: int
    out: str
    err: str


def genspec(*words: str | Path, cwd: Path, timeout: float = 300) -> Outcome:
    """``genspec WORDS`` in ``cwd``."""
    command = [sys.executable, "-P", "-m", "spec_tests.cli", *map(str, words)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout)
    return Outcome(done.returncode, done.stdout, done.stderr)


def verdicts_in(directory: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """The lines of a report's ``verdicts.jsonl`` by (subject, claim)."""
    lines = (directory / "verdicts.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return {(line["subject"], line["claim"]): line for line in found}
