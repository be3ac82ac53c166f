r"""The processes that subjects run in.

::

    genspec ── zygote ──┬── my_subjects.py ──┬── judges one subject's cells
                        │                    ├── judges another's
                        └── torch ───────────┴── ...

The zygote imports torch and the claims once; for each source it forks a child that imports the
source once; that one forks a fresh process for each subject. So a subject starts from untouched
state in a hundredth of a second, and whatever it does to its process (crash, hang, exhaust memory)
ends with it.

A request is JSON on a socket together with the write end of a pipe; the answer is JSON lines
on that pipe, the last of them ``{"exit": status}``, written by whoever forked the answering process.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from typing import Any

from spec_tests.registry import UsageError

__all__ = ["main"]

_GIB = 1024**3


class Answer:
    """The write end of a pipe that takes JSON lines."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        os.set_inheritable(descriptor, False)

    def send(self, **fields: Any) -> None:
        data = (json.dumps(fields) + "\n").encode()
        try:
            while data:
                data = data[os.write(self.descriptor, data) :]
        except BrokenPipeError:  # the parent is gone, and so is the reason to go on
            os._exit(1)

    def close(self) -> None:
        os.close(self.descriptor)


def serve(control: socket.socket, handle: Callable[[dict[str, Any], Answer], None]) -> None:
    """Answers each request on ``control`` in a process forked for it, until the socket closes."""
    children: dict[int, Answer] = {}
    wake, alarm = os.pipe()
    os.set_blocking(alarm, False)
    signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        ready, _, _ = select.select([control, wake], [], [], 1.0)
        if wake in ready:
            os.read(wake, 4096)
        for pid in list(children):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                answer = children.pop(pid)
                answer.send(exit=os.waitstatus_to_exitcode(status))
                answer.close()
        if control not in ready:
            continue
        request, descriptors = _receive(control)
        if request is None:
            return
        answer = Answer(descriptors[0])
        pid = os.fork()
        if pid == 0:
            _child(control, answer, request, descriptors, handle, list(children.values()))
        children[pid] = answer
        for extra in descriptors[1:]:
            os.close(extra)


def _receive(control: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """One request with its descriptors, or ``None`` when the other side has closed.

    The length comes first, in four bytes that carry the descriptors, so that no read crosses into
    the next request and drops its descriptors.
    """
    head, descriptors, _, _ = socket.recv_fds(control, 4, 2)
    length, data = int.from_bytes(head, "big"), b""
    while len(data) < length:
        more = control.recv(length - len(data))
        if not more:
            return None, descriptors
        data += more
    return (json.loads(data) if data else None), descriptors


def _child(
    control: socket.socket,
    answer: Answer,
    request: dict[str, Any],
    descriptors: list[int],
    handle: Callable[[dict[str, Any], Answer], None],
    others: list[Answer],
) -> None:
    """The forked side: answers one request and ends."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    control.close()
    for other in others:
        other.close()
    status = 0
    try:
        request["descriptors"] = descriptors
        answer.send(pid=os.getpid())
        handle(request, answer)
    except BaseException as failure:
        kind, text = type(failure).__name__, str(failure).partition("\n")[0]
        memory = " (--memory-limit)" if isinstance(failure, MemoryError) else ""
        answer.send(failure=f"{kind}: {text}".rstrip(": ") + memory)
        status = 70
    finally:
        os._exit(status)


def load(request: dict[str, Any], answer: Answer) -> None:
    """Imports a source, sends what it registered, and serves judgements of its subjects."""
    from spec_tests import catalogue, registry

    name = request["source"]
    try:
        entries = catalogue.load_subjects(name)
    except SystemExit as stop:
        answer.send(problem=f"{name}: it called sys.exit({stop.code}) while being imported")
        return
    except BaseException as failure:
        answer.send(problem=import_failure(name, failure))
        return
    cards = [{"name": e.name, "contract": e.contract, "place": str(e.place)} for e in entries]
    answer.send(subjects=cards, problems=registry.PROBLEMS, cuda=_cuda_is_up())
    by_key = {entry.key: entry for entry in entries}
    serve(
        socket.socket(fileno=request["descriptors"][1]),
        lambda job, pipe: judge_cells(by_key[(job["contract"], job["subject"])], job, pipe),
    )


def _cuda_is_up() -> bool:
    import torch

    return bool(torch.cuda.is_initialized())


def import_failure(source: str, failure: BaseException) -> str:
    """What went wrong while importing an adapter, with the line of the adapter."""
    if isinstance(failure, SyntaxError):
        text = (failure.text or "").rstrip()
        caret = " " * max((failure.offset or 1) - 1, 0) + "^"
        where = f"{failure.filename}:{failure.lineno}"
        return f"{source}: syntax error at {where}: {failure.msg}\n    {text}\n    {caret}"
    kind, detail = type(failure).__name__, str(failure)
    frames = traceback.extract_tb(failure.__traceback__)
    path = os.path.realpath(source)
    own = [f for f in frames if os.path.realpath(f.filename) == path]
    if own:
        return f"{source}:{own[-1].lineno}: {kind}: {detail}\n    {own[-1].line}"
    if isinstance(failure, FileNotFoundError):
        return f"{source}: no such file"
    if isinstance(failure, UsageError):  # a bundle lacks its library
        return f"{source}: {detail}"
    if isinstance(failure, ModuleNotFoundError) and failure.name == source.split(".")[0]:
        return f"{source}: neither a file, nor an importable module, nor a built-in bundle"
    return f"{source}: {kind}: {detail}"


def judge_cells(entry: Any, job: dict[str, Any], answer: Answer) -> None:
    """Judges cells of one subject in this process, sending each verdict as it falls."""
    os.setsid()
    _limit_memory(job)
    import torch

    from spec_tests.judge import PROFILES, judge
    from spec_tests.registry import CLAIMS

    torch.set_num_threads(1)
    for index, (claim, device, dtype) in job["cells"]:
        answer.send(start=index)

        def note(kind: str, message: str, counterexample: str, index: int = index) -> None:
            answer.send(
                failing=index, verdict=kind, message=message[:8000], counterexample=counterexample
            )

        verdict = judge(
            CLAIMS[claim],
            entry,
            device=device,
            dtype=dtype,
            profile=PROFILES[job["profile"]],
            seed=job["seed"],
            shrink=job["shrink"],
            seconds=job["time_limit"] / 2,
            on_failure=note,
        )
        answer.send(index=index, decided=verdict.line())
        if job["first_violation"] and verdict.verdict in ("violated", "error"):
            return


def _limit_memory(job: dict[str, Any]) -> None:
    """Caps the address space, except where a GPU's driver maps more than any cap."""
    if job["memory_limit"] <= 0 or any(cell[1] != "cpu" for _, cell in job["cells"]):
        return
    try:
        with open("/proc/self/statm") as numbers:
            used = int(numbers.read().split()[0]) * resource.getpagesize()
    except OSError:
        used = 0
    cap = used + int(job["memory_limit"] * _GIB)
    resource.setrlimit(resource.RLIMIT_AS, (cap, cap))


def warm_up() -> None:
    """Judges something once, so that what torch and Hypothesis load at first use is forked along."""
    import gc

    import torch

    from spec_tests.judge import PROFILES, judge
    from spec_tests.registry import CLAIMS, Place, Subject

    def mean(mean: torch.Tensor, log_var: torch.Tensor) -> torch.Tensor:
        return (mean * log_var).sum(-1)

    entry = Subject("warm-up", "gaussian_kl", mean, Place(__file__, 0))
    for name in ("repeats_itself", "gradient_is_derivative", "leaves_global_state_alone"):
        judge(CLAIMS[f"gaussian_kl.{name}"], entry, profile=PROFILES["quick"])
    gc.collect()
    gc.freeze()  # no collection in a forked process touches, and so copies, the pages of this one


def describe_claims() -> dict[str, Any]:
    """Every claim as the parent needs it."""
    from spec_tests import catalogue

    return {
        c.id: {
            "id": c.id,
            "contract": c.contract,
            "family": c.family,
            "title": c.title,
            "statement": c.statement,
            "why": c.why,
            "sources": c.sources,
            "dtypes": c.dtypes,
            "error": c.error,
            "place": str(c.place),
            "code": c.code,
            "when": c.when,
        }
        for c in catalogue.claims()
    }


def main() -> None:
    """Started by the parent with the control socket's descriptor and the name of a first pipe."""
    control = socket.socket(fileno=int(sys.argv[1]))
    answer = Answer(int(sys.argv[2]))
    silence = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(silence, stream)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        import torch

        torch.set_num_threads(1)
        from spec_tests.contracts import CONTRACTS

        answer.send(
            claims=describe_claims(),
            contracts=sorted(CONTRACTS),
            torch=torch.__version__,
            devices=["cpu"]
            + [f"cuda:{i}" for i in range(torch.cuda.device_count())]
            + (["mps"] if torch.backends.mps.is_available() else []),
        )
        warm_up()
    except BaseException as failure:
        answer.send(failure="".join(traceback.format_exception(failure)))
        return
    answer.close()
    serve(control, load)


if __name__ == "__main__":
    main()
