r"""One row of a table: a model trained, its figures and its picture, and kept for the next time."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
from argparse import Namespace
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from spec_tests.registry import UsageError
from spec_tests.train import autoregressive, loop, trainer
from spec_tests.train.adversarial import Contest
from spec_tests.train.checkpoint import write_atomically
from spec_tests.train.models import trainable
from spec_tests.train.run import parameters

__all__ = ["LATITUDE", "PARAMETERS", "Row", "fingerprint", "pictures_folder", "trained"]

PARAMETERS, LATITUDE = 60_000, 0.1


@dataclass(frozen=True)
class Row:
    """A line of a table."""

    key: str
    title: str
    model: str
    size: Mapping[str, Any] = field(default_factory=dict)
    cifar10: str = ""  # what the notes give for CIFAR-10, test (train)
    small: bool = False  # may have fewer parameters than the others


def trained(row: Row, minutes: float, seed: int, work: Path) -> dict[str, Any]:
    """The row's result, from its file if it is that of the same training."""
    from spec_tests.train.prepare import prepare

    out = work / row.key
    asked = Namespace(
        model=row.model, data="digits", minutes=minutes, steps=None, seed=seed,
        size=list(row.size.items()), classes=None, device="cpu", out=out, resume=None,
        overwrite=True, pictures=10,
    )  # fmt: skip
    run = prepare(asked)
    count = parameters(run.training)
    if not row.small and abs(count / PARAMETERS - 1) > LATITUDE:
        raise UsageError(f"{row.title} has {count} parameters, more than a tenth off {PARAMETERS}")
    about = {
        "model": run.title,
        "minutes": minutes,
        "recipe": asdict(run.training.recipe),
        "images": run.data.fingerprint,
        "torch": torch.__version__,
        "code": fingerprint(row.model),
    }
    done = out / "result.json"
    if done.exists():
        known: dict[str, Any] = json.loads(done.read_text())
        if known["about"] == about:
            print(f"{row.title}: kept, {known['score']:.3f}")
            return known
    print(f"{row.title}: {run.title}", flush=True)
    run.train()
    result = {**run.report(), "parameters": count, "about": about}
    write_atomically(done, json.dumps(result, indent=1).encode())
    return result


def fingerprint(model: str) -> str:
    """Changes with what a run of the model depends on, and not with other models.

    That is the loop, the module that says how this kind of model is trained, the packages of
    reference code that the module names, and how the figure is got.
    """
    entry = trainable(model)
    source = Path(inspect.getsourcefile(inspect.unwrap(entry.builder)) or "")
    kind = source if source.parent == Path(__file__).parent else Path(autoregressive.__file__)
    root = Path(__file__).parents[2] / "reference"
    named = sorted(set(re.findall(r"reference\.(\w+)", kind.read_text())))
    files = [Path(loop.__file__), Path(trainer.__file__), kind]
    if isinstance(entry, Contest):
        files += [kind.with_name(f"{name}.py") for name in entry.modules]
    files += [path for name in named for path in sorted((root / name).glob("*.py"))]
    code = [path.read_bytes() for path in files]
    figure = f"{entry.family.score_name}{entry.family.standing}".encode()
    return hashlib.sha256(b"".join([*code, figure])).hexdigest()[:16]


def pictures_folder(docs: Path, work: Path, rows: Iterable[Row]) -> Path:
    """Where the book has the pictures of the rows; put there."""
    folder = docs / "_static" / "digits"
    folder.mkdir(parents=True, exist_ok=True)
    for row in rows:
        write_atomically(folder / f"{row.key}.png", (work / row.key / "samples.png").read_bytes())
    return folder
