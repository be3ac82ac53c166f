r"""A subject may do anything to its process; its own verdicts say so, and no other's change."""

from __future__ import annotations

from pathlib import Path

import pytest

from spec_tests.tests.running import Outcome, genspec, verdicts_in

HOSTILE = Path(__file__).parent / "hostile_subjects.py"
CLAIMS = ("matches_definition", "leaves_inputs_alone", "leaves_global_state_alone")

# subject -> verdict of (matches_definition, leaves_inputs_alone, leaves_global_state_alone)
EXPECTED = {
    "good": ("holds", "holds", "holds"),
    "raises": ("error", "error", "error"),
    "asserts": ("error", "error", "error"),
    "leaves_by_exit": ("crashed", "crashed", "crashed"),
    "leaves_by_sys_exit": ("error", "error", "error"),
    "interrupts": ("error", "error", "error"),
    "segfaults": ("crashed", "crashed", "crashed"),
    "sleeps": ("timeout", "timeout", "timeout"),
    "spins": ("timeout", "timeout", "timeout"),
    "prints_megabytes": ("holds", "holds", "holds"),
    "allocates_tensors": ("error", "error", "error"),
    "allocates_lists": ("error", "error", "error"),
    "forks": ("holds", "holds", "holds"),
    "supports_nothing": ("unsupported", "unsupported", "unsupported"),
    "changes_default_dtype": ("holds", "holds", "violated"),
    "turns_gradients_off": ("holds", "holds", "violated"),
    "reseeds_torch": ("holds", "holds", "violated"),
    "reseeds_numpy": ("holds", "holds", "violated"),
    "reseeds_python": ("holds", "holds", "violated"),
    "writes_to_its_input": ("holds", "violated", "holds"),
    "returns_nan": ("violated", "holds", "holds"),
    "returns_a_string": ("violated", "violated", "violated"),
    "returns_a_vector": ("violated", "violated", "violated"),
    "returns_float32": ("violated", "violated", "violated"),
    "returns_another_device": ("violated", "violated", "violated"),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, Path]:
    folder = tmp_path_factory.mktemp("hostile")
    globs = [word for claim in CLAIMS for word in ("--claims", f"kl_divergence.{claim}")]
    outcome = genspec(
        "verify",
        HOSTILE,
        *globs,
        "--time-limit",
        5,
        "--memory-limit",
        0.25,
        "--report",
        folder / "report",
        cwd=folder,
    )
    return outcome, folder / "report"


@pytest.mark.parametrize("subject", EXPECTED)
def test_each_subject_gets_its_own_verdicts(run: tuple[Outcome, Path], subject: str) -> None:
    found = verdicts_in(run[1])
    verdicts = tuple(found[(subject, f"kl_divergence.{claim}")]["verdict"] for claim in CLAIMS)
    messages = [found[(subject, f"kl_divergence.{claim}")]["message"] for claim in CLAIMS]
    assert verdicts == EXPECTED[subject], messages


def test_every_planned_cell_has_a_verdict(run: tuple[Outcome, Path]) -> None:
    outcome, report = run
    vandal = 1  # breaks_torch: what becomes of it is open, as long as it hurts nobody else
    assert len(verdicts_in(report)) == (len(EXPECTED) + vandal) * len(CLAIMS), outcome.err
    assert outcome.status == 1


def test_messages_name_the_line_of_the_adapter(run: tuple[Outcome, Path]) -> None:
    found = verdicts_in(run[1])
    message = found[("raises", "kl_divergence.matches_definition")]["message"]
    assert "ValueError: <b>the matrix is singular</b>" in message
    assert "hostile_subjects.py:" in message and "in raises" in message
    death = found[("segfaults", "kl_divergence.matches_definition")]["message"]
    assert "SIGSEGV" in death
    assert "--time-limit" in found[("sleeps", "kl_divergence.matches_definition")]["message"]


def test_what_a_subject_says_is_escaped_in_the_report(run: tuple[Outcome, Path]) -> None:
    page = (run[1] / "index.html").read_text()
    assert "<b>the matrix" not in page
    assert "\\u003cb>the matrix is singular" in page


def test_what_a_subject_prints_stays_out_of_the_terminal(run: tuple[Outcome, Path]) -> None:
    assert len(run[0].out) < 200_000 and "xxxxxx" not in run[0].out + run[0].err
