r"""``tox -e bench``: what the references and the harness cost, as ratios measured in one run.

Each row times two things turn by turn and prints the ratio of their medians, so that a slow or busy
machine changes both sides alike. Nothing here passes or fails.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

__all__ = ["main"]


def ratio(ours: Callable[[], object], other: Callable[[], object], rounds: int = 30) -> float:
    """Median time of ``ours`` over that of ``other``, measured turn by turn."""
    times: tuple[list[float], list[float]] = ([], [])
    for call in (ours, other):
        call()
    for _ in range(rounds):
        for call, seconds in zip((ours, other), times, strict=True):
            started = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - started)
    return statistics.median(times[0]) / statistics.median(times[1])


def step(module: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], None]:
    """A forward and a backward pass."""

    def run() -> None:
        module(x).square().mean().backward()

    return run


def masked_convolution() -> float:
    """Masked convolution against a plain one of the same shape."""
    from reference.autoregressive import MaskedConv2d

    x = torch.randn(16, 32, 32, 32)
    return ratio(step(MaskedConv2d(32, 32, 5, "B"), x), step(nn.Conv2d(32, 32, 5, padding=2), x))


def spectral_normalisation() -> float:
    """Our spectral norm on a convolution's training step, against PyTorch's."""
    from reference.adversarial import spectral_norm

    x = torch.randn(16, 32, 32, 32)
    theirs = torch.nn.utils.parametrizations.spectral_norm(nn.Conv2d(32, 64, 3, padding=1))
    return ratio(step(spectral_norm(nn.Conv2d(32, 64, 3, padding=1)), x), step(theirs, x))


def gradient_penalty_step() -> float:
    """A critic's step with gradient penalty, against the plain one."""
    from reference.adversarial import gradient_penalty

    critic = nn.Sequential(nn.Linear(256, 256), nn.Tanh(), nn.Linear(256, 1), nn.Flatten(0))
    real, fake = torch.randn(64, 256), torch.randn(64, 256)

    def plain() -> None:
        (critic(fake).mean() - critic(real).mean()).backward()

    def penalised() -> None:
        loss = critic(fake).mean() - critic(real).mean()
        (loss + 10 * gradient_penalty(critic, real, fake)).backward()

    return ratio(penalised, plain)


def import_seconds() -> float:
    """Seconds that importing every reference family adds to importing torch."""
    code = (
        "import time, torch; t = time.perf_counter(); import reference.adversarial, "
        "reference.autoencoders, reference.autoregressive, reference.divergences, "
        "reference.latent; print(time.perf_counter() - t)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


_SUBJECT = """
@subject("gaussian_kl", name="number {0}")
def subject_{0}(mean, log_var):
    return 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(-1)
"""


def run_with(subjects: int) -> tuple[float, float]:
    """Seconds to start and plan, and to judge, one claim of that many subjects."""
    text = "from spec_tests import subject\n" + "".join(map(_SUBJECT.format, range(subjects)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "many.py"
        path.write_text(text)
        words = [
            sys.executable,
            "-m",
            "spec_tests.cli",
            "verify",
            str(path),
            "--profile",
            "quick",
            "--claims",
            "gaussian_kl.repeats_itself",
        ]
        started = time.perf_counter()
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as run:
            assert run.stdout is not None
            run.stdout.readline()
            planned = time.perf_counter() - started
            run.stdout.read()
        return planned, time.perf_counter() - started - planned


def main() -> None:
    """Prints the table."""
    torch.set_num_threads(1)
    rows = [
        ("masked_conv2d / nn.Conv2d, forward and backward", f"{masked_convolution():.2f}"),
        ("spectral_norm / torch's, convolution's step", f"{spectral_normalisation():.2f}"),
        ("critic step with gradient penalty / without", f"{gradient_penalty_step():.2f}"),
        ("importing reference, beyond torch", f"{import_seconds():.3f} s"),
    ]
    for count in (100, 500):
        planned, judged = run_with(count)
        rows.append((f"{count} subjects: until planned", f"{planned:.1f} s"))
        rows.append((f"{count} subjects: judged, per subject", f"{1000 * judged / count:.0f} ms"))
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {value:>8}")


if __name__ == "__main__":
    main()
