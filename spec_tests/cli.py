r"""``genspec``: verify implementations, list and explain the claims, train the references."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from spec_tests import expectations
from spec_tests.plan import BUNDLES, REJECTIONS, Cell, Plan, Settings, Verdict, make_plan
from spec_tests.registry import UsageError, nearest
from spec_tests.report.records import Records
from spec_tests.report.terminal import Terminal
from spec_tests.train import command

if TYPE_CHECKING:
    from spec_tests.supervisor import Harness

__all__ = ["main"]

_DTYPES = ("float64", "float32")

_VERIFY = """\
judges implementations against the claims of their contracts.

A SOURCE is a Python file or an importable module that registers subjects, or a built-in bundle:
reference, torch, scipy, sklearn. A whole adapter file:

    from spec_tests import subject

    @subject("gaussian_kl")
    def my_kl(mean, log_var):
        return -0.5 * (1 + log_var - mean.square() - log_var.exp()).sum(-1)

`genspec claims` lists the contracts and what is claimed of each."""

_VERDICTS = """\
verdicts
  holds        no counterexample among the examples drawn
  violated     a claim failed, or a result had the wrong shape or dtype or was not finite
  unsupported  the subject says that it does not offer this (never counted as a pass)
  error        the adapter or the subject raised
  timeout      no verdict within --time-limit
  crashed      the process died
  missing      planned, but never decided

exit status
  0 all verdicts hold, are unsupported or expected    1 anything else
  2 bad usage, or a source that does not import or registers nothing

examples
  genspec verify torch
  genspec verify my_subjects.py --claims 'masked_conv2d.*' --profile thorough
  genspec verify my_subjects.py --report out/        then open out/index.html"""


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line and returns its exit status."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
        return status
    except (UsageError, expectations.ExpectationError) as problem:
        print(f"genspec: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ngenspec: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="genspec",
        description="The executable specification of deep generative models.",
        epilog="Start with `genspec verify torch`, which judges PyTorch's own implementations.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_verify(commands)
    _add_catalogue(commands)
    command.add_train(commands)
    return parser


def _add_verify(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verify = commands.add_parser(
        "verify",
        help="judge implementations",
        description=_VERIFY,
        epilog=_VERDICTS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = verify.add_argument
    add("sources", nargs="+", metavar="SOURCE", help="a file, a module, or a built-in bundle")
    add(
        "--claims",
        action="append",
        default=[],
        metavar="GLOB",
        help="judge only claims whose id matches, such as 'vae.*' (repeatable)",
    )
    add(
        "--subject",
        action="append",
        default=[],
        metavar="GLOB",
        help="judge only subjects whose name matches (repeatable)",
    )
    add(
        "--device",
        action="append",
        default=[],
        metavar="DEVICE",
        help="cpu, cuda, cuda:1, ... or all (repeatable; default cpu)",
    )
    add(
        "--dtype",
        action="append",
        default=[],
        metavar="DTYPE",
        help="float64, float32 or all (default: each claim's own, mostly float64)",
    )
    add(
        "--profile",
        choices=("smoke", "quick", "ci", "thorough"),
        default="ci",
        help="examples for each claim: 4, 10, 40 or 1000 (default ci)",
    )
    add("--seed", type=int, default=0, help="draws other examples (default 0)")
    add(
        "--time-limit",
        type=_positive,
        default=60.0,
        metavar="SECONDS",
        help="for one claim of one subject (default 60)",
    )
    add(
        "--memory-limit",
        type=_positive,
        default=4.0,
        metavar="GIB",
        help="for one subject's process, beyond what importing takes (default 4; not on GPUs)",
    )
    add("--jobs", type=int, default=0, metavar="N", help="processes at a time (default: the cores)")
    add(
        "--report",
        type=Path,
        metavar="DIR",
        help="write verdicts.jsonl, junit.xml and index.html there",
    )
    add(
        "--book",
        default=os.environ.get("GENSPEC_BOOK", ""),
        metavar="ADDRESS",
        help="of the built book, which the report links to (default $GENSPEC_BOOK, or the one that "
        "`tox -e docs` built here)",
    )
    add("--resume", action="store_true", help="keep what --report DIR has decided; run the rest")
    add(
        "--expect",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="TOML file of known violations, applied strictly",
    )
    add("--first-violation", action="store_true", help="a subject is done at its first rejection")
    add("--no-shrink", action="store_true", help="report counterexamples as they were drawn")
    add(
        "--device-audit",
        action="store_true",
        help="build and call subjects with a default device on which nothing can be computed",
    )
    add("--shard", type=_shard, default=(1, 1), metavar="I/N", help="judge the I-th of N parts")
    add("--quiet", "-q", action="store_true", help="print rejections and totals only")
    verify.set_defaults(run=verify_command)


def _add_catalogue(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from spec_tests import listing

    claims = commands.add_parser("claims", help="list the contracts and their claims")
    claims.add_argument("--contract", metavar="NAME", help="one contract only")
    claims.set_defaults(run=listing.claims_command)
    explain = commands.add_parser(
        "explain", help="a claim: why it is true, its test, its classic mistakes"
    )
    explain.add_argument(
        "claim", metavar="CLAIM", help="an id, such as gaussian_kl.additive_over_dims"
    )
    explain.set_defaults(run=listing.explain_command)
    matrix = commands.add_parser("kill-matrix", help="which claims reject which mutants")
    matrix.add_argument("--contract", metavar="NAME", help="one contract only")
    matrix.set_defaults(run=listing.kill_matrix_command)


def _positive(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return value


def _shard(text: str) -> tuple[int, int]:
    try:
        index, count = (int(part) for part in text.split("/"))
    except ValueError:
        index = count = 0
    if not 1 <= index <= count:
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N with 1 <= I <= N")
    return index, count


def verify_command(options: argparse.Namespace) -> int:
    """``genspec verify``: plan, judge, report."""
    from spec_tests.supervisor import Harness, HarnessError

    known = [entry for path in options.expect for entry in expectations.read(path)]
    for bundle in BUNDLES:
        known += expectations.shipped(bundle) if bundle in options.sources else []
    _check_writable(options)
    settings = Settings(
        profile=options.profile,
        seed=options.seed,
        time_limit=options.time_limit,
        memory_limit=options.memory_limit,
        shrink=not options.no_shrink,
        jobs=options.jobs,
        first_violation=options.first_violation,
    )
    terminal = Terminal(options.quiet)
    try:
        with Harness() as harness:
            return _verify(options, harness, settings, known, terminal)
    except HarnessError as problem:
        raise UsageError(f"the judging process did not start: {problem}") from problem


def _verify(
    options: argparse.Namespace,
    harness: Harness,
    settings: Settings,
    known: list[expectations.Expectation],
    terminal: Terminal,
) -> int:
    devices, absent = _devices(options.device, harness.devices)
    dtypes = _dtypes(options.dtype)
    _check_patterns(options.claims, list(harness.claims))
    sources, problems = harness.load(options.sources)
    for problem in problems:
        print(f"genspec: {problem}", file=sys.stderr)
    plan = make_plan(
        harness.claims,
        sources,
        patterns=options.claims,
        subjects=options.subject,
        devices=devices,
        dtypes=dtypes,
        shard=options.shard,
        audit=options.device_audit,
    )
    if not plan.cells:
        if not problems:
            names = [card.name for source in sources for card in source.subjects]
            raise UsageError(
                f"nothing to judge: no planned claim fits the subjects {names}"
                + (f" and --subject {options.subject}" if options.subject else "")
            )
        return 2
    verdicts = _judge(options, harness, settings, plan, terminal)
    stale = expectations.apply(known, verdicts)
    terminal.summary(verdicts, harness.claims, plan.error_budget)
    for device in absent:
        terminal.line(f"skipped: device {device} is absent on this machine")
    for entry in stale:
        terminal.line(
            f"no longer {entry.verdict}: {entry.subject} {entry.claim}, which an "
            f"expectation lists ({entry.reason}); remove the entry"
        )
    if options.report:
        _write_reports(options.report, verdicts, harness, plan, options.book or _book())
        terminal.line(f"report: {options.report / 'index.html'}")
    for problem in problems:
        print(f"genspec: not judged: {problem}", file=sys.stderr)
    rejected = any(v.verdict in REJECTIONS and not v.expected for v in verdicts)
    return 2 if problems else int(rejected or bool(stale))


def _judge(
    options: argparse.Namespace,
    harness: Harness,
    settings: Settings,
    plan: Plan,
    terminal: Terminal,
) -> list[Verdict]:
    """Runs what is not yet decided; returns a verdict for every planned cell, in the plan's order."""
    records = Records(options.report, plan, options.resume) if options.report else None
    found = {verdict.key: verdict for verdict in (records.known if records else [])}
    terminal.start(plan, len(found), harness.torch)

    def record(verdict: Verdict) -> None:
        found[verdict.key] = verdict
        if records:
            records.add(verdict)
        terminal.verdict(verdict)

    try:
        harness.run(plan, settings, set(found), record)
    finally:
        ordered = [found[cell.key] for cell in plan.cells if cell.key in found]
    done = (
        {(v.contract, v.subject) for v in ordered if v.verdict in REJECTIONS}
        if settings.first_violation
        else set()
    )
    for cell in plan.cells:
        if cell.key not in found and (cell.contract, cell.subject) not in done:
            ordered.append(_missing(cell, settings))
    if records:
        records.rewrite(ordered)
    return ordered


def _missing(cell: Cell, settings: Settings) -> Verdict:
    return Verdict(
        cell.claim,
        cell.contract,
        cell.subject,
        cell.device,
        cell.dtype,
        "missing",
        "planned, but no verdict was reached",
        seed=settings.seed,
    )


def _book() -> str:
    """The address of the book that `tox -e docs` built beside this package, if it did."""
    built = Path(__file__).parents[1] / "docs" / "_build" / "html"
    return built.as_uri() if (built / "index.html").exists() else ""


def _write_reports(
    directory: Path, verdicts: list[Verdict], harness: Harness, plan: Plan, book: str
) -> None:
    import json

    from spec_tests.report import html, junit

    lines = "".join(json.dumps(verdict.line()) + "\n" for verdict in verdicts)
    (directory / "verdicts.jsonl").write_text(lines)
    (directory / "junit.xml").write_text(junit.render(verdicts))
    (directory / "index.html").write_text(html.render(verdicts, plan, harness.torch, book))


def _check_writable(options: argparse.Namespace) -> None:
    if options.resume and not options.report:
        raise UsageError("--resume needs --report DIR: that is where verdicts are kept")
    if not options.report:
        return
    try:
        options.report.mkdir(parents=True, exist_ok=True)
        probe = options.report / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as failure:
        raise UsageError(
            f"--report {options.report}: cannot be written to ({failure.strerror})"
        ) from failure


def _check_patterns(patterns: list[str], known: list[str]) -> None:
    import fnmatch

    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(id, pattern) for id in known):
            hint = nearest(pattern, known)
            if hint.startswith("; known"):
                hint = "; `genspec claims` lists them"
            raise UsageError(f"--claims {pattern!r} matches no claim{hint}")


def _devices(wanted: list[str], present: list[str]) -> tuple[list[str], list[str]]:
    """The devices to judge on, and those asked for that this machine lacks."""
    chosen: list[str] = []
    absent: list[str] = []
    for device in wanted or ["cpu"]:
        kind, _, index = device.partition(":")
        if device == "all":
            chosen += present
        elif kind not in ("cpu", "cuda", "mps", "xpu") or (index and not index.isdigit()):
            raise UsageError(
                f"--device {device!r} is no torch device; present: {', '.join(present)}"
            )
        elif device in present or f"{device}:0" in present:
            chosen.append(device)
        else:
            absent.append(device)
    if not chosen:
        raise UsageError(
            f"--device {' '.join(absent)}: absent on this machine; present: {', '.join(present)}"
        )
    return list(dict.fromkeys(chosen)), absent


def _dtypes(wanted: list[str]) -> list[str]:
    chosen: list[str] = []
    for dtype in wanted:
        name = dtype.removeprefix("torch.")
        if name == "all":
            chosen += _DTYPES
        elif name in _DTYPES:
            chosen.append(name)
        else:
            raise UsageError(f"--dtype {dtype!r} is none of {', '.join(_DTYPES)}, all")
    return list(dict.fromkeys(chosen))


def run() -> None:
    """The console script."""
    sys.exit(main())


if __name__ == "__main__":
    run()
