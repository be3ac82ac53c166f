r"""What the README shows is what happens: its commands, its adapter, its transcript."""

from __future__ import annotations

import re
from pathlib import Path

from spec_tests.tests.running import genspec

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def transcript() -> str:
    return next(block for block in blocks("text") if block.startswith("VIOLATED"))


def test_continuous_integration_runs_the_readmes_test_command() -> None:
    command = next(line for line in "".join(blocks("sh")).splitlines() if line.endswith("tox"))
    assert command in (ROOT / ".ci" / "run").read_text()


def test_the_adapter_is_judged_as_the_transcript_says(tmp_path: Path) -> None:
    adapter = next(block for block in blocks("python") if "@subject" in block)
    (tmp_path / "my_subjects.py").write_text(adapter)
    outcome = genspec("verify", "my_subjects.py", "--claims", "gaussian_kl.*", cwd=tmp_path)
    assert outcome.status == 1
    shown = [line.strip() for line in transcript().splitlines()]
    printed = [line.strip() for line in outcome.out.splitlines()]
    missing = [line for line in shown if line and line not in printed]
    assert not missing, f"the README shows what is not printed: {missing}"


def test_every_command_in_the_readme_exists() -> None:
    for line in "".join(blocks("sh")).splitlines():
        words = line.partition("#")[0].split()
        if words and words[0] == "genspec":
            assert words[1] in ("verify", "claims", "explain", "kill-matrix", "train"), line


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)", README):
        assert (ROOT / target).exists(), target
