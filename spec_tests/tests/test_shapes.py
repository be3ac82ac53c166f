r"""The shapes that the reference's signatures promise are those that its tensors have."""

from __future__ import annotations

import subprocess
import sys


def test_signatures_tell_the_shapes_of_what_is_computed() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "spec_tests.tests.shape_checked"],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout == ""
