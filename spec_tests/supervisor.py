r"""Runs a plan: keeps judging processes busy, watches their clocks, and loses no verdict.

The parent imports neither torch nor any adapter. It reads the lines that the judging processes
write, kills one that exceeds the time limit of a claim, records a death as the verdict of the cell
that was being judged, and starts a fresh process for the cells after it.
"""

from __future__ import annotations

import json
import os
import selectors
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from spec_tests.plan import Cell, ClaimCard, Plan, Settings, Source, SubjectCard, Verdict

__all__ = ["Harness", "HarnessError"]

_IMPORT_LIMIT = 120.0  # seconds that importing one source may take
_SHRINK_ALLOWANCE = 30.0  # seconds beyond the limit for shrinking what has already failed


class HarnessError(Exception):
    """genspec's own processes did not start; nothing about any subject follows."""


class Pipe:
    """The read end of an answer: whole lines as they arrive, ``exit`` last."""

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()
        self.buffer = b""
        self.ended = False

    def sent(self) -> None:
        """Called once the write end is with the other process."""
        os.close(self.write_end)

    def lines(self) -> Iterator[dict[str, Any]]:
        """What has arrived; sets ``ended`` after the last line."""
        data = os.read(self.read_end, 1 << 16)
        if not data:
            self.ended = True
        self.buffer += data
        *whole, self.buffer = self.buffer.split(b"\n")
        for line in whole:
            message = json.loads(line)
            self.ended = self.ended or "exit" in message
            yield message

    def close(self) -> None:
        os.close(self.read_end)


@dataclass
class Zygote:
    """A loaded source: the socket that judgements are asked on, and what it registered."""

    source: Source
    control: socket.socket
    pid: int

    def ask(self, request: dict[str, Any]) -> Pipe:
        return _ask(self.control, request)


def _ask(control: socket.socket, request: dict[str, Any], *descriptors: int) -> Pipe:
    pipe = Pipe()
    data = json.dumps(request).encode()
    socket.send_fds(control, [len(data).to_bytes(4, "big")], [pipe.write_end, *descriptors])
    control.sendall(data)
    pipe.sent()
    return pipe


@dataclass
class Job:
    """One process judging the remaining cells of one subject."""

    zygote: Zygote
    card: SubjectCard
    cells: list[Cell]
    pipe: Pipe
    pid: int = 0
    current: int | None = None
    deadline: float = float("inf")
    started: float = field(default_factory=time.monotonic)
    failing: dict[str, Any] | None = None
    decided: int = 0
    timed_out: bool = False
    status: int | None = None


class Harness:
    """The zygote and what can be asked of it; a context manager that leaves no process behind."""

    def __init__(self) -> None:
        self.claims: dict[str, ClaimCard] = {}
        self.contracts: list[str] = []
        self.devices: list[str] = []
        self.torch = ""
        self.zygotes: dict[str, Zygote] = {}

    def __enter__(self) -> Harness:
        ours, theirs = socket.socketpair()
        pipe = Pipe()
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        handed = (theirs.fileno(), pipe.write_end)
        self.process = subprocess.Popen(
            # -P: a folder of the user's called `reference` must not stand in for ours
            [sys.executable, "-P", "-m", "spec_tests.zygote", *map(str, handed)],
            pass_fds=handed,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
        theirs.close()
        pipe.sent()
        self.control = ours
        facts: dict[str, Any] = {}
        while not pipe.ended:
            for message in pipe.lines():
                facts.update(message)
        pipe.close()
        if "claims" not in facts:
            self.__exit__()
            raise HarnessError(facts.get("failure", "the zygote process did not start"))
        for id, card in facts["claims"].items():
            card["sources"], card["dtypes"] = tuple(card["sources"]), tuple(card["dtypes"])
            self.claims[id] = ClaimCard(**card)
        self.contracts, self.devices = facts["contracts"], facts["devices"]
        self.torch = facts["torch"]
        return self

    def __exit__(self, *exception: object) -> None:
        for zygote in self.zygotes.values():
            zygote.control.close()
        self.control.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def load(self, names: list[str]) -> tuple[list[Source], list[str]]:
        """Imports sources, each in a process of its own; returns them, and what went wrong."""
        waiting = {name: self._start_loading(name) for name in dict.fromkeys(names)}
        sources, problems = [], []
        for name, (pipe, control) in waiting.items():
            facts = self._loaded(pipe)
            if "subjects" not in facts:
                problems.append(facts.get("problem") or f"{name}: {_import_death(facts)}")
                control.close()
                continue
            problems += facts["problems"]
            if facts["cuda"]:
                problems.append(
                    f"{name}: initialises CUDA while being imported, which processes "
                    f"forked from it cannot use; move that into the adapters"
                )
            cards = tuple(self._unique(facts["subjects"], sources, problems))
            if not cards and not facts["problems"]:
                problems.append(
                    f'{name}: registers no subject; decorate one with @subject("contract")'
                )
            source = Source(name, cards, tuple(facts["problems"]))
            self.zygotes[name] = Zygote(source, control, facts["pid"])
            sources.append(source)
        return sources, problems

    def _unique(
        self, entries: list[dict[str, str]], sources: list[Source], problems: list[str]
    ) -> Iterator[SubjectCard]:
        """The subjects of a source, without those whose name another source has taken."""
        taken = {(c.contract, c.name): c.place for source in sources for c in source.subjects}
        for entry in entries:
            card = SubjectCard(**entry)
            first = taken.get((card.contract, card.name))
            if first is None:
                yield card
            else:
                problems.append(
                    f"two subjects are called '{card.contract}' '{card.name}': the first "
                    f"at {first}, the second at {card.place}"
                )

    def _start_loading(self, name: str) -> tuple[Pipe, socket.socket]:
        ours, theirs = socket.socketpair()
        pipe = _ask(self.control, {"source": name}, theirs.fileno())
        theirs.close()
        return pipe, ours

    def _loaded(self, pipe: Pipe) -> dict[str, Any]:
        facts: dict[str, Any] = {}
        selector = selectors.DefaultSelector()
        selector.register(pipe.read_end, selectors.EVENT_READ)
        limit = time.monotonic() + _IMPORT_LIMIT
        while not pipe.ended and "subjects" not in facts:
            if not selector.select(max(limit - time.monotonic(), 0)):
                facts["late"] = True
                os.kill(facts["pid"], signal.SIGKILL)
                break
            for message in pipe.lines():
                facts.update(message)
        selector.close()
        pipe.close()
        return facts

    def run(
        self,
        plan: Plan,
        settings: Settings,
        decided: set[tuple[str, str, str, str]],
        record: Callable[[Verdict], None],
    ) -> None:
        """Judges every cell that is not ``decided`` and hands each verdict to ``record``."""
        queue: deque[tuple[Zygote, SubjectCard, list[Cell]]] = deque()
        for name, card, cells in plan.groups:
            left = [cell for cell in cells if cell.key not in decided]
            if left:
                queue.append((self.zygotes[name], card, left))
        _Run(self, settings, record, queue).go()


def _import_death(facts: dict[str, Any]) -> str:
    if facts.get("late"):
        return f"importing it took more than {_IMPORT_LIMIT:.0f} s"
    if "failure" in facts:
        return f"importing it failed: {facts['failure']}"
    return f"importing it killed the process ({_death(facts.get('exit'))})"


def _death(status: int | None) -> str:
    """``signal SIGSEGV`` or ``exit status 3``."""
    if status is not None and status < 0:
        return f"signal {signal.Signals(-status).name}"
    return f"exit status {status}"


class _Run:
    """The event loop of one run."""

    def __init__(
        self,
        harness: Harness,
        settings: Settings,
        record: Callable[[Verdict], None],
        queue: deque[tuple[Zygote, SubjectCard, list[Cell]]],
    ) -> None:
        self.harness, self.settings, self.queue = harness, settings, queue
        self.emit = record
        self.jobs: dict[int, Job] = {}
        self.selector = selectors.DefaultSelector()

    def go(self) -> None:
        limit = self.settings.jobs or os.cpu_count() or 1
        try:
            while self.queue or self.jobs:
                while self.queue and len(self.jobs) < limit:
                    self._launch(*self.queue.popleft())
                self._step()
        finally:
            for job in self.jobs.values():
                self._kill(job)
            self.selector.close()

    def _launch(self, zygote: Zygote, card: SubjectCard, cells: list[Cell]) -> None:
        s = self.settings
        request = {
            "contract": card.contract,
            "subject": card.name,
            "profile": s.profile,
            "seed": s.seed,
            "shrink": s.shrink,
            "first_violation": s.first_violation,
            "memory_limit": s.memory_limit,
            "time_limit": s.time_limit,
            "cells": [(i, (c.claim, c.device, c.dtype)) for i, c in enumerate(cells)],
        }
        try:
            pipe = zygote.ask(request)
        except OSError as failure:
            for cell in cells:
                self._record(zygote, cell, "crashed", f"the adapter's process is gone: {failure}")
            return
        job = Job(zygote, card, cells, pipe)
        self.jobs[pipe.read_end] = job
        self.selector.register(pipe.read_end, selectors.EVENT_READ, job)

    def _step(self) -> None:
        now = time.monotonic()
        nearest = min((job.deadline for job in self.jobs.values()), default=now)
        for key, _ in self.selector.select(max(min(nearest - now, 5.0), 0.0)):
            job = key.data
            for message in job.pipe.lines():
                self._hear(job, message)
            if job.pipe.ended:
                self._finish(job)
        now = time.monotonic()
        for job in list(self.jobs.values()):
            if now > job.deadline and not job.timed_out:
                job.timed_out = True
                self._kill(job)

    def _hear(self, job: Job, message: dict[str, Any]) -> None:
        if "pid" in message:
            job.pid = message["pid"]
            job.deadline = time.monotonic() + self.settings.time_limit
        elif "start" in message:
            job.current, job.failing = message["start"], None
            job.started = time.monotonic()
            job.deadline = job.started + self.settings.time_limit
        elif "failing" in message:
            if job.failing is None:
                job.deadline += _SHRINK_ALLOWANCE
            job.failing = message
        elif "decided" in message:
            verdict = Verdict.read(message["decided"])
            self._record(job.zygote, job.cells[message["index"]], verdict=verdict)
            job.decided, job.current = message["index"] + 1, None
            if self.settings.first_violation and verdict.verdict in ("violated", "error"):
                job.decided = len(job.cells)
        elif "exit" in message:
            job.status = message["exit"]
        elif "failure" in message and job.current is not None:
            job.failing = {"verdict": "error", "message": message["failure"], "counterexample": ""}

    def _finish(self, job: Job) -> None:
        """The process has ended: the cell it was at gets its verdict, the rest a new process."""
        self.selector.unregister(job.pipe.read_end)
        del self.jobs[job.pipe.read_end]
        job.pipe.close()
        if job.decided >= len(job.cells):
            return
        cell = job.cells[job.decided]
        seconds = time.monotonic() - job.started
        if job.failing is not None:
            self._record(
                job.zygote,
                cell,
                job.failing["verdict"],
                job.failing["message"],
                job.failing["counterexample"],
                seconds,
            )
        elif job.timed_out:
            text = f"no verdict within {self.settings.time_limit:g} s (--time-limit)"
            self._record(job.zygote, cell, "timeout", text, "", seconds)
        else:
            text = f"the process died ({_death(job.status)}) while this claim was judged"
            self._record(job.zygote, cell, "crashed", text, "", seconds)
        rest = job.cells[job.decided + 1 :]
        if rest and not self.settings.first_violation:
            self.queue.appendleft((job.zygote, job.card, rest))

    def _kill(self, job: Job) -> None:
        if job.pid:
            for kill in (os.killpg, os.kill):
                try:
                    kill(job.pid, signal.SIGKILL)
                except (ProcessLookupError, PermissionError):
                    continue

    def _record(
        self,
        zygote: Zygote,
        cell: Cell,
        kind: str = "",
        message: str = "",
        counterexample: str = "",
        seconds: float = 0.0,
        verdict: Verdict | None = None,
    ) -> None:
        if verdict is None:
            verdict = Verdict(
                cell.claim,
                cell.contract,
                cell.subject,
                cell.device,
                cell.dtype,
                kind,
                message,
                counterexample,
                seed=self.settings.seed,
                seconds=round(seconds, 4),
            )
        if verdict.verdict not in ("holds", "unsupported"):
            verdict.reproduce = reproduce(zygote.source.name, cell, self.settings)
        self.emit(verdict)


def reproduce(source: str, cell: Cell, settings: Settings) -> str:
    """One command that judges one cell again, drawing the same examples."""
    words = [
        "genspec",
        "verify",
        source,
        "--subject",
        cell.subject,
        "--claims",
        cell.claim,
        "--device",
        cell.device,
        "--dtype",
        cell.dtype,
        "--seed",
        str(settings.seed),
    ]
    if settings.profile != "ci":
        words += ["--profile", settings.profile]
    if settings.time_limit != Settings.time_limit:
        words += ["--time-limit", f"{settings.time_limit:g}"]
    return shlex.join(words)
