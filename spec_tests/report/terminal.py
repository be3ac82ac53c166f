r"""The terminal: a line per verdict, a progress line, a table, and each rejection in words."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import Counter
from typing import TextIO

from spec_tests.plan import REJECTIONS, ClaimCard, Plan, Verdict

__all__ = ["Terminal"]

_COLOURS = {
    "holds": "32",
    "unsupported": "90",
    "violated": "31",
    "error": "31",
    "timeout": "35",
    "crashed": "35",
    "missing": "33",
    "expected": "33",
}
_ORDER = ("holds", "unsupported", "violated", "error", "timeout", "crashed", "missing", "expected")


class Terminal:
    """Prints a run as it goes. Colour and the progress line appear on a terminal only."""

    def __init__(self, quiet: bool = False, out: TextIO | None = None) -> None:
        self.out = out or sys.stdout
        self.quiet = quiet
        self.live = self.out.isatty() and os.environ.get("TERM") != "dumb"
        self.colour = self.live and "NO_COLOR" not in os.environ
        self.done = self.total = self.rejected = 0
        self.started = time.monotonic()

    def start(self, plan: Plan, known: int, torch: str) -> None:
        """Announces the plan."""
        self.total, self.done = len(plan.cells), known
        subjects, claims = len(plan.groups), len({cell.claim for cell in plan.cells})
        resumed = f", {known} already decided" if known else ""
        self.line(
            f"genspec: {subjects} subjects x their claims = {self.total} verdicts to reach "
            f"({claims} different claims{resumed}; torch {torch})"
        )

    def verdict(self, verdict: Verdict) -> None:
        """One verdict as it falls."""
        self.done += 1
        rejected = verdict.verdict in REJECTIONS
        self.rejected += rejected
        if rejected or not self.quiet:
            word = self.paint(f"{verdict.verdict:<11}", verdict.verdict)
            where = f"{verdict.device} {verdict.dtype}"
            why = f"  ({verdict.message})" if verdict.verdict == "unsupported" else ""
            self.line(f"{word} {verdict.claim:<48} {verdict.subject:<36} {where}{why}".rstrip())
        self.progress()

    def progress(self) -> None:
        """The line at the bottom of a terminal."""
        if not self.live:
            return
        passed = time.monotonic() - self.started
        left = passed / self.done * (self.total - self.done) if self.done else 0.0
        text = f"{self.done}/{self.total} verdicts, {self.rejected} rejections, {passed:.0f} s"
        text += f", about {left:.0f} s left" if self.done < self.total else ""
        self.out.write("\r\x1b[K" + text[: shutil.get_terminal_size().columns - 1])
        self.out.flush()

    def line(self, text: str = "") -> None:
        """A whole line, above the progress line."""
        self.out.write(("\r\x1b[K" if self.live else "") + text + "\n")
        self.out.flush()

    def paint(self, text: str, kind: str) -> str:
        return f"\x1b[{_COLOURS[kind]}m{text}\x1b[0m" if self.colour else text

    def summary(self, verdicts: list[Verdict], claims: dict[str, ClaimCard], budget: float) -> None:
        """The table of subjects, then every rejection, then the totals."""
        self.line()
        self.table(verdicts)
        for verdict in verdicts:
            if verdict.verdict in REJECTIONS:
                self.explain(verdict, claims.get(verdict.claim))
        self.totals(verdicts, budget)

    def table(self, verdicts: list[Verdict]) -> None:
        """Subject x number of verdicts of each kind."""
        rows: dict[tuple[str, str], Counter[str]] = {}
        for verdict in verdicts:
            kind = "expected" if verdict.expected else verdict.verdict
            rows.setdefault((verdict.contract, verdict.subject), Counter())[kind] += 1
        shown = [kind for kind in _ORDER if any(row[kind] for row in rows.values())]
        names = {key: f"{key[0]}: {key[1]}" for key in rows}
        width = max((len(name) for name in names.values()), default=7)
        self.line(f"{'subject':<{width}}  " + "  ".join(f"{kind:>11}" for kind in shown))
        for key, row in rows.items():
            cells = [
                self.paint(f"{row[kind] or '.':>11}", kind) if row[kind] else f"{'.':>11}"
                for kind in shown
            ]
            self.line(f"{names[key]:<{width}}  " + "  ".join(cells))
        self.line()

    def explain(self, verdict: Verdict, card: ClaimCard | None) -> None:
        """One rejection: what is claimed, what was found, on what, and how to see it again."""
        kind = "expected" if verdict.expected else verdict.verdict
        head = f"{verdict.verdict.upper()}  {verdict.claim}  by {verdict.subject}"
        self.line(self.paint(head, kind) + f"  ({verdict.device}, {verdict.dtype})")
        if card is not None:
            self.line(f"  the claim       {card.contract} {card.title}")
            self.line(f"                  {' '.join(card.statement.split())}")
        self._block("what was found", verdict.message)
        self._block("counterexample", verdict.counterexample)
        if verdict.expected:
            self._block("expected", verdict.expected)
        self._block("reproduce", verdict.reproduce)
        self.line()

    def _block(self, label: str, text: str) -> None:
        for index, line in enumerate(text.splitlines()):
            self.line(f"  {label if index == 0 else '':<15} {line}")

    def totals(self, verdicts: list[Verdict], budget: float) -> None:
        """One line of totals, the reasons of what is unsupported, and the error budget."""
        kinds = Counter("expected" if v.expected else v.verdict for v in verdicts)
        parts = [f"{kinds[kind]} {kind}" for kind in _ORDER if kinds[kind]]
        reasons = Counter(v.message for v in verdicts if v.verdict == "unsupported")
        for reason, count in sorted(reasons.items()):
            self.line(f"unsupported {count}x: {reason}")
        if budget:
            self.line(
                f"error budget: {budget:.2g} (the chance that a statistical claim of this run "
                f"rejects a right subject)"
            )
        self.line(
            f"{len(verdicts)} verdicts in {time.monotonic() - self.started:.1f} s: "
            + ", ".join(parts)
        )
