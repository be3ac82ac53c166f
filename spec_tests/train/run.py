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
from spec_tests.train.loop import Budget, Training, bits_per_dim, fit, nats
from spec_tests.train.pictures import portrait
from spec_tests.train.trainer import Trainer, lent

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

    def about(self, held_out: Any = None) -> dict[str, Any]:
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
            "score": {
                "name": self.training.family.score_name,
                "validation": self.training.kept_score,
                "held_out": held_out,
            },
            "parameters": parameters(self.training),
            "versions": {"torch": torch.__version__, "python": platform.python_version()},
        }

    def save(self, held_out: Any = None) -> None:
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
            bar.n = min(done, total)
            validated = self.training.last_score
            found = "" if math.isnan(validated) else f", validation {validated:.3f}"
            step = f"step {self.training.step}: " if not in_steps else ""
            bar.set_postfix_str(f"{step}loss {self.each(loss):.3f}{found}", refresh=False)
            bar.update(0)

        with bar:
            fit(self.training, self.data, self.budget, after_step, self.save)

    def each(self, loss: float) -> float:
        """A loss in the unit of the score."""
        return loss / (math.prod(self.data.event_shape) * self.training.family.unit)

    def report(self) -> dict[str, Any]:
        """Evaluates on the held-out part, writes the files, and prints what came out."""
        training = self.training
        with lent(training.learner, training.kept):
            result, held_out, findings = self.measured()
            spent = f"{training.step} steps in {training.seconds:.1f} s of processor time"
            print(f"trained   {spent}\n{findings}", flush=True)
            drawn = self.drawn()
        self.save(held_out)
        checkpoint.save_weights(self.out / "model.safetensors", training, self.about(held_out))
        for name, content in drawn.items():
            checkpoint.write_atomically(self.out / name, content)
        written = ["checkpoint.safetensors", "model.safetensors", *drawn]
        print(f"written   {self.out}: {', '.join(written)}")
        return {**result, "steps": training.step}

    def measured(self) -> tuple[dict[str, Any], Any, str]:
        """The figures on the held-out part: all, those for the files, and those in words."""
        family = self.training.family
        costs = nats(self.training, self.data.held_out, final=True)
        score, error = bits_per_dim(costs, self.data.event_shape, family.unit)
        beside = family.beside(self.training.model, self.data)
        result = {"score": score, "error": error, "beside": beside}
        return result, score, self._findings(score, error, beside)

    def drawn(self) -> dict[str, bytes]:
        """The files with pictures, under their names."""
        if not self.columns:
            return {}
        return {"samples.png": portrait(self.training, self.data, self.columns)}

    def _findings(self, score: float, error: float, beside: list[tuple[str, str]]) -> str:
        """The figure on the held-out part, and those to compare it with."""
        family = self.training.family
        lines = [
            f"held out  {score:.{family.digits}f} {family.score_name}{family.standing}; "
            f"± {error:.{family.digits}f} over the {len(self.data.held_out)} {self.data.noun}",
        ]
        return "\n".join([*lines, *(f"{name:<9} {figure}" for name, figure in beside)])


def parameters(training: Trainer) -> int:
    """How many numbers are trained."""
    return sum(p.numel() for p in training.model.parameters() if p.requires_grad)
