r"""One run of ``genspec train``: options and checkpoint made into a model, its training, its report."""

from __future__ import annotations

import math
import platform
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from spec_tests.train import checkpoint
from spec_tests.train import data as images
from spec_tests.train.loop import Budget, Training, bits_per_dim, fit, lent, nats
from spec_tests.train.pictures import portrait

__all__ = ["Run", "parameters"]


@dataclass
class Run:
    """All that a run needs, and where it has got to."""

    name: str
    data: images.Data
    size: dict[str, Any]
    training: Training
    budget: Budget
    out: Path
    columns: int  # of the picture
    saved_step: int | None = None  # of the last checkpoint

    @property
    def checkpoint(self) -> Path:
        """Where the run is kept."""
        return self.out / "checkpoint.safetensors"

    @property
    def title(self) -> str:
        """The model with its sizes."""
        sizes = "".join(f", {key} {value}" for key, value in self.size.items())
        classes = f", given one of {self.data.num_classes} labels" if self.training.classes else ""
        return f"{self.name}{classes}: {parameters(self.training):,} parameters{sizes}"

    def about(self, held_out: float | None = None) -> dict[str, Any]:
        """What the checkpoint says of itself."""
        return {
            "model": self.name,
            "size": self.size,
            "data": self.data.name,
            "images": self.data.fingerprint,
            "classes": self.training.classes,
            "event_shape": self.data.event_shape,
            "levels": self.data.levels,
            "recipe": asdict(self.training.recipe),
            "step": self.training.step,
            "seconds": self.training.seconds,
            "bits_per_dim": {"validation": self.training.kept_bits, "held_out": held_out},
            "parameters": parameters(self.training),
            "versions": {"torch": torch.__version__, "python": platform.python_version()},
        }

    def save(self, held_out: float | None = None) -> None:
        """Writes the checkpoint."""
        checkpoint.save(self.checkpoint, checkpoint.state(self.training), self.about(held_out))
        self.saved_step = self.training.step

    def train(self) -> None:
        """Trains until the budget is spent, with a bar on a terminal."""
        in_steps = math.isfinite(self.budget.steps)
        total = self.budget.steps if in_steps else round(self.budget.seconds, 1)
        form = "{l_bar}{bar}| {n:.0f}/{total:.0f} {unit} [{elapsed}{postfix}]"
        unit = "steps" if in_steps else "s"
        bar = tqdm(total=total, unit=unit, bar_format=form, disable=None, file=sys.stderr)

        def after_step(loss: float) -> None:
            done = self.training.step if in_steps else self.training.seconds
            bits = loss / (math.prod(self.data.event_shape) * math.log(2))
            bar.n = min(done, total)
            validated = self.training.last_bits
            found = "" if math.isnan(validated) else f", validation {validated:.3f}"
            step = f"step {self.training.step}: " if not in_steps else ""
            bar.set_postfix_str(f"{step}{bits:.3f} bits per dim{found}", refresh=False)
            bar.update(0)

        with bar:
            fit(self.training, self.data, self.budget, after_step, self.save)

    def report(self) -> dict[str, Any]:
        """Evaluates on the held-out part, writes the files, and prints what came out."""
        training, data = self.training, self.data
        written = ["checkpoint.safetensors", "model.safetensors"]
        with lent(training.model, training.kept):
            bits, error = bits_per_dim(nats(training, data.held_out), data.event_shape)
            print(
                f"trained   {training.step} steps in {training.seconds:.1f} s of processor time\n"
                f"held out  {bits:.3f} bits per dimension, "
                f"{'at most' if training.family.bound else 'exactly'}; ± {error:.3f} over the "
                f"{len(data.held_out)} {data.noun}\n"
                f"uniform   {math.log2(data.levels):.3f} = log2 {data.levels}",
                flush=True,
            )
            self.save(bits)
            checkpoint.save_weights(self.out / written[1], training, self.about(bits))
            if self.columns:
                picture = portrait(training, data, self.columns)
                written.append("samples.png")
                checkpoint.write_atomically(self.out / written[2], picture)
        print(f"written   {self.out}: {', '.join(written)}")
        return {"bits": bits, "error": error, "steps": training.step}


def parameters(training: Training) -> int:
    """How many numbers are trained."""
    return sum(p.numel() for p in training.model.parameters() if p.requires_grad)
