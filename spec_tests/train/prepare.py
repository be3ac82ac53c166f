r"""What ``genspec train`` was asked for, checked and made into a run."""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from spec_tests.registry import UsageError
from spec_tests.train import checkpoint
from spec_tests.train import data as images
from spec_tests.train.adversarial import Contest
from spec_tests.train.game_run import GameRun
from spec_tests.train.loop import Budget, Recipe, Training
from spec_tests.train.models import Trainable, trainable
from spec_tests.train.run import Run
from spec_tests.train.trainer import Trainer

__all__ = ["prepare", "start"]


def start(
    entry: Trainable,
    data: images.Data,
    size: dict[str, Any],
    recipe: Recipe,
    classes: bool,
    device: torch.device,
) -> Trainer:
    """A model as the seed draws it, not yet trained."""
    torch.manual_seed(recipe.seed)
    model = entry.build(data.event_shape, data.levels, data.num_classes if classes else 0, size)
    if isinstance(entry, Contest):
        return entry.match(model.to(device), entry.family, recipe, classes, data.levels)
    return Training(model.to(device), entry.family, recipe, classes)


def prepare(options: argparse.Namespace) -> Run:
    """What the options, and the checkpoint that they name, ask for.

    Raises:
        UsageError: something asked for is not there, or does not fit the checkpoint.
    """
    entry, device = trainable(options.model), _device(options.device)
    tensors, about = checkpoint.read(options.resume) if options.resume else (None, None)
    if about is not None:
        _check_same(options, about)
    data = images.load(options.data or "digits")
    given = {f.name: getattr(options, f.name, None) for f in fields(Recipe)}
    given = {name: value for name, value in given.items() if value is not None}
    recipe = Recipe(**(about["recipe"] if about else {**entry.recipe, **given}))
    size = about["size"] if about else entry.sizes(dict(options.size))
    classes = about["classes"] if about else entry.classes or bool(options.classes)
    training = start(entry, data, size, recipe, classes, device)
    if about is not None and tensors is not None:
        _resume(training, data, tensors, about, options.resume)
    minutes = options.minutes or (math.inf if options.steps else 3.0)
    budget = Budget(options.steps or math.inf, 60 * minutes)
    out = _folder(options, data)
    kind = GameRun if isinstance(entry, Contest) else Run
    run = kind(options.model, data, size, training, budget, out, options.pictures)
    run.saved_step = training.step if options.resume == run.checkpoint else None
    return run


def _check_same(options: argparse.Namespace, about: dict[str, Any]) -> None:
    """What is given beside --resume must be what the checkpoint says."""
    where = options.resume
    if about["model"] != options.model:
        raise UsageError(f"{where}: a checkpoint of {about['model']}, not of {options.model}")
    data = (options.data or "digits").partition(":")[0]
    if data != about["data"]:
        raise UsageError(f"{where}: trained on {about['data']}, not on {data}")
    trained = {**about["recipe"], "classes": about["classes"], **about["size"]}
    asked = {name: getattr(options, name, None) for name in (*about["recipe"], "classes")}
    for name, value in (asked | dict(options.size)).items():
        if value is not None and value != trained.get(name):
            raise UsageError(
                f"{where}: trained with {name} {trained.get(name)}, which --resume keeps; "
                f"{name} {value} is another run"
            )


def _resume(
    training: Trainer,
    data: images.Data,
    tensors: dict[str, torch.Tensor],
    about: dict[str, Any],
    path: Path,
) -> None:
    if data.fingerprint != about["images"]:
        raise UsageError(f"{path}: trained on other {data.noun} than --data gives")
    try:
        checkpoint.restore(training, tensors, about)
    except (KeyError, RuntimeError) as problem:
        raise UsageError(f"{path}: does not fit this genspec's {about['model']}") from problem


def _folder(options: argparse.Namespace, data: images.Data) -> Path:
    """Where to write; made, and found to hold no other run."""
    beside = (
        options.resume.parent if options.resume else Path("trained", f"{options.model}-{data.name}")
    )
    out: Path = options.out or beside
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / f".writable-{time.monotonic_ns()}"
        probe.touch()
        probe.unlink()
    except OSError as problem:
        raise UsageError(f"--out {out}: cannot be written to ({problem.strerror})") from problem
    held = out / "checkpoint.safetensors"
    same = options.resume and options.resume.resolve() == held.resolve()
    if held.exists() and not same and not options.overwrite:
        raise UsageError(
            f"{held}: there already; go on with --resume {held}, or choose another --out, "
            "or --overwrite it"
        )
    return out


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as problem:
        first = str(problem).splitlines()[0]
        raise UsageError(f"--device {name!r}: not on this machine ({first})") from problem
    return device
