r"""What the harness itself costs: imports, planning, and a verdict."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

__all__ = ["rows"]

_SUBJECT = """
@subject("gaussian_kl", name="number {0}")
def subject_{0}(mean, log_var):
    return 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(-1)
"""


def _import_seconds() -> float:
    """Seconds that importing every reference family adds to importing torch."""
    code = (
        "import importlib, pkgutil, time, torch, reference; t = time.perf_counter(); "
        "[importlib.import_module(m.name) for m in "
        "pkgutil.iter_modules(reference.__path__, 'reference.')]; print(time.perf_counter() - t)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def _run_with(subjects: int) -> tuple[float, float]:
    """Seconds to start and plan, and to judge, one claim of that many subjects."""
    text = "from spec_tests import subject\n" + "".join(map(_SUBJECT.format, range(subjects)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "many.py"
        path.write_text(text)
        words = [sys.executable, "-m", "spec_tests.cli", "verify", str(path), "--profile", "quick"]
        started = time.perf_counter()
        with subprocess.Popen(
            [*words, "--claims", "gaussian_kl.repeats_itself"], stdout=subprocess.PIPE, text=True
        ) as run:
            assert run.stdout is not None
            run.stdout.readline()
            planned = time.perf_counter() - started
            run.stdout.read()
        return planned, time.perf_counter() - started - planned


def rows() -> list[tuple[str, str]]:
    """What is measured, and the time."""
    found = [("importing reference, beyond torch", f"{_import_seconds():.3f} s")]
    for count in (100, 500):
        planned, judged = _run_with(count)
        found.append((f"{count} subjects: until planned", f"{planned:.1f} s"))
        found.append((f"{count} subjects: judged, per subject", f"{1000 * judged / count:.0f} ms"))
    return found
