r"""Checkpoints: one safetensors file that holds all that a run needs to go on.

.. code-block:: text

    weights/NAME  average/NAME  kept/NAME       the model now, its moving average, the best so far
    beside/NAME                                 curves, and translations kept to be shown again
    adam/exp_avg/NAME  adam/exp_avg_sq/NAME  adam/step/NAME
    metadata: {"genspec": JSON}                 model, sizes, data, recipe, step, versions, score

A file is written beside its place and then moved there, so that whoever reads finds the old one or
the new one and never a half. A checksum in the metadata tells a damaged file from a whole one.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from spec_tests.registry import UsageError
from spec_tests.train.trainer import Trainer

__all__ = ["read", "restore", "save", "save_weights", "state", "write_atomically"]

_FORMAT = 1


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file that is there in full or not at all, whatever happens meanwhile.

    Raises:
        UsageError: it cannot be written; what was there before is untouched.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as problem:
        raise UsageError(f"{path}: cannot be written ({problem.strerror})") from problem
    finally:
        beside.unlink(missing_ok=True)


def state(training: Trainer) -> dict[str, Tensor]:
    """Every tensor of a run under its name in the file."""
    found = {f"weights/{n}": v for n, v in training.model.state_dict().items()}
    found |= {f"average/{n}": v for n, v in training.average.items()}
    found |= {f"kept/{n}": v for n, v in training.kept.items()}
    found |= {f"beside/{n}": v for n, v in training.beside().items()}
    for name, held in _adam(training):
        found |= {f"adam/{key}/{name}": value for key, value in held.items()}
    return {name: value.detach().cpu().clone().contiguous() for name, value in found.items()}


def _adam(training: Trainer) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """The name of every parameter, and what its optimizer holds of it."""
    names = {parameter: name for name, parameter in training.model.named_parameters()}
    for optimizer in training.optimizers:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                yield names[parameter], optimizer.state[parameter]


def restore(training: Trainer, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Puts a fresh run where the checkpoint's was.

    Raises:
        KeyError, RuntimeError: the tensors are not those of this model.
    """
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        part, _, rest = name.partition("/")
        parts.setdefault(part, {})[rest] = value.to(training.device)
    training.model.load_state_dict(parts["weights"])
    for name, average in training.average.items():
        average.copy_(parts["average"][name])
    training.kept = parts.get("kept", {})
    training.take(parts.get("beside", {}))
    for name, held in _adam(training):
        for key in ("exp_avg", "exp_avg_sq", "step"):
            if f"{key}/{name}" in parts.get("adam", {}):
                value = parts["adam"][f"{key}/{name}"]
                held[key] = value.cpu() if key == "step" else value
    training.step, training.seconds = about["step"], about["seconds"]
    training.kept_score = about["score"]["validation"]


def save(path: Path, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Writes tensors and what is to be known about them, atomically."""
    about = {"format": _FORMAT, **about, "sha256": _checksum(tensors)}
    metadata = {"genspec": json.dumps(about)}
    write_atomically(path, safetensors.torch.save(tensors, metadata))


def save_weights(path: Path, training: Trainer, about: dict[str, Any]) -> None:
    """Writes the kept weights alone, under the names of the model's own ``state_dict``."""
    kept = {name: value.cpu().contiguous() for name, value in training.kept.items()}
    save(path, kept, about)


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a checkpoint and what is known about them.

    Raises:
        UsageError: there is no such file, or it is damaged, or none of ours.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("genspec")
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except FileNotFoundError as problem:
        raise UsageError(f"{path}: no such file") from problem
    except OSError as problem:
        raise UsageError(f"{path}: cannot be read ({problem})") from problem
    except safetensors.SafetensorError as problem:
        raise UsageError(f"{path}: no checkpoint, or a damaged one ({problem})") from problem
    if text is None:
        raise UsageError(f"{path}: a safetensors file, but no checkpoint of `genspec train`")
    about: dict[str, Any] = json.loads(text)
    if about.get("format") != _FORMAT:
        raise UsageError(f"{path}: of format {about.get('format')}, this genspec reads {_FORMAT}")
    if about.get("sha256") != _checksum(tensors):
        raise UsageError(f"{path}: damaged: its tensors are not those that were written")
    if not any(name.startswith("weights/") for name in tensors):
        raise UsageError(
            f"{path}: holds the weights alone; --resume takes the checkpoint.safetensors"
        )
    return tensors, about


def _checksum(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
