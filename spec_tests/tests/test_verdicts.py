r"""What a run leaves behind: lines, resumption, reproduction, expectations, exit status, reports."""

from __future__ import annotations

import json
import math
import re
import shlex
from pathlib import Path
from xml.etree import ElementTree

import pytest

from spec_tests.plan import Verdict
from spec_tests.tests.running import Outcome, genspec, verdicts_in

ADAPTER = """\
import torch
from spec_tests import subject, Unsupported

@subject("gaussian_kl", name="drops <script>alert(1)</script> the half")
def wrong(mean, log_var):
    return (mean.square() + log_var.exp() - 1 - log_var).sum(-1)

@subject("gaussian_kl", name="right")
def right(mean, log_var):
    return 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(-1)
"""
CLAIMS = ("--claims", "gaussian_kl.matches*", "--claims", "gaussian_kl.repeats_itself")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, Path]:
    folder = tmp_path_factory.mktemp("verdicts")
    (folder / "mine.py").write_text(ADAPTER)
    return genspec("verify", "mine.py", *CLAIMS, "--report", "report", cwd=folder), folder


def wrong_verdict(folder: Path, report: str = "report") -> dict[str, object]:
    found = verdicts_in(folder / report)
    return next(v for (_, claim), v in found.items() if v["verdict"] == "violated")


def test_a_line_has_the_fields_of_the_design(run: tuple[Outcome, Path]) -> None:
    line = wrong_verdict(run[1])
    for field in (
        "claim",
        "contract",
        "subject",
        "device",
        "dtype",
        "verdict",
        "message",
        "counterexample",
        "reproduce",
        "seed",
        "seconds",
        "headroom",
    ):
        assert field in line
    assert line["device"] == "cpu" and line["dtype"] == "float64"
    assert "mean = " in str(line["counterexample"])
    assert run[0].status == 1


def test_the_reproduce_command_reproduces(run: tuple[Outcome, Path]) -> None:
    line = wrong_verdict(run[1])
    words = shlex.split(str(line["reproduce"]))
    assert words[0] == "genspec"
    again = genspec(*words[1:], "--report", "again", cwd=run[1])
    assert again.status == 1
    repeated = wrong_verdict(run[1], "again")
    assert len(verdicts_in(run[1] / "again")) == 1
    for field in ("claim", "subject", "verdict", "message", "counterexample", "seed"):
        assert repeated[field] == line[field]


def test_a_killed_run_is_resumed_with_what_it_had(run: tuple[Outcome, Path]) -> None:
    folder = run[1]
    lines = (folder / "report" / "verdicts.jsonl").read_text().splitlines()
    (folder / "torn").mkdir()
    kept = json.loads(lines[0]) | {"message": "decided before"}
    (folder / "torn" / "verdicts.jsonl").write_text(f"{json.dumps(kept)}\n{lines[1][:40]}")
    outcome = genspec("verify", "mine.py", *CLAIMS, "--report", "torn", "--resume", cwd=folder)
    assert "1 already decided" in outcome.out
    found = verdicts_in(folder / "torn")
    assert len(found) == len(lines)
    assert found[(kept["subject"], kept["claim"])]["message"] == "decided before"


def test_expected_violations_pass_and_stale_ones_fail(run: tuple[Outcome, Path]) -> None:
    folder = run[1]
    entry = (
        '[[expected]]\nclaim = "gaussian_kl.*"\nsubject = "{}"\nverdict = "violated"\n'
        'reason = "known since May"\n'
    )
    (folder / "known.toml").write_text(entry.format("drops*"))
    outcome = genspec("verify", "mine.py", *CLAIMS, "--expect", "known.toml", cwd=folder)
    assert outcome.status == 0 and "known since May" in outcome.out
    (folder / "stale.toml").write_text(entry.format("right"))
    outcome = genspec(
        "verify", "mine.py", *CLAIMS, "--subject", "right", "--expect", "stale.toml", cwd=folder
    )
    assert outcome.status == 1 and "no longer violated: right" in outcome.out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[expected]]\nclaim = 3\n", "claim is 3"),
        ('[[expected]]\nclaims = "x"\n', "unknown key 'claims'"),
        ('[[expected]]\nclaim = "x"\n', "lacks subject, verdict, reason"),
        ('[[expected]]\nclaim="x"\nsubject="x"\nreason="x"\nverdict="bad"\n', "'bad' is none of"),
        ("[other]\n", "[[expected]] tables"),
        ("[[expected\n", "Expected"),
    ],
)
def test_an_expectation_file_is_typed(run: tuple[Outcome, Path], text: str, message: str) -> None:
    (run[1] / "typed.toml").write_text(text)
    outcome = genspec("verify", "mine.py", "--expect", "typed.toml", cwd=run[1])
    assert outcome.status == 2 and message in outcome.err


def test_first_violation_ends_a_subject_and_no_other(run: tuple[Outcome, Path]) -> None:
    outcome = genspec(
        "verify",
        "mine.py",
        "--claims",
        "gaussian_kl.*",
        "--first-violation",
        "--no-shrink",
        "--report",
        "first",
        cwd=run[1],
    )
    found = verdicts_in(run[1] / "first")
    wrong = [v["verdict"] for (subject, _), v in found.items() if subject.startswith("drops")]
    right = [v["verdict"] for (subject, _), v in found.items() if subject == "right"]
    assert wrong[-1] == "violated" and "violated" not in wrong[:-1]
    assert len(right) > len(wrong) and "missing" not in right + wrong
    assert outcome.status == 1


def test_shards_split_the_plan_without_loss(run: tuple[Outcome, Path]) -> None:
    parts = []
    for part in ("1/2", "2/2"):
        genspec("verify", "mine.py", *CLAIMS, "--shard", part, "--report", part[0], cwd=run[1])
        parts.append(set(verdicts_in(run[1] / part[0])))
    assert not parts[0] & parts[1]
    assert parts[0] | parts[1] == set(verdicts_in(run[1] / "report"))


def test_the_terminal_says_what_is_wrong_in_words(run: tuple[Outcome, Path]) -> None:
    out = run[0].out
    assert "\x1b[" not in out  # no colour outside a terminal
    assert re.search(r"VIOLATED  gaussian_kl\.matches\w+  by drops", out)
    for label in ("the claim ", "what was found", "counterexample", "reproduce"):
        assert label in out


def test_the_page_is_self_contained_and_escaped(run: tuple[Outcome, Path]) -> None:
    page = (run[1] / "report" / "index.html").read_text()
    assert "<script>alert" not in page
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:)""", page)
    assert "http" not in re.sub(r"http-equiv|https?://(?:arxiv|doi)", "", page)
    assert "{{" not in page.split("<script")[0]


def test_lines_and_page_are_strict_json_whatever_the_headroom() -> None:
    verdict = Verdict("c.x", "c", "s", "cpu", "float64", "violated", headroom=math.inf)
    assert json.loads(json.dumps(verdict.line(), allow_nan=False))["headroom"] is None


def test_the_junit_file_counts_the_failures(run: tuple[Outcome, Path]) -> None:
    root = ElementTree.parse(run[1] / "report" / "junit.xml").getroot()
    failures = {suite.get("name"): int(suite.get("failures", 0)) for suite in root}
    assert failures["right"] == 0 and sum(failures.values()) >= 1
    assert sum(1 for _ in root.iter("testcase")) == len(verdicts_in(run[1] / "report"))
