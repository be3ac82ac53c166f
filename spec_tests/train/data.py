r"""Images to train on: scikit-learn's 8x8 digits, and CIFAR-10 from a folder of the user's own.

.. code-block:: text

    1797 digits --RandomState(0).permutation--> | 1257 train | 180 validation | 360 held out |

The permutation is NumPy's legacy one, whose numbers are frozen, so that the parts are the same
everywhere. Training stops and chooses by the validation part; the held-out part is only reported.
The digits come without the names of their writers: a writer's digits fall into all three parts.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy
import torch
from torch import Tensor

from spec_tests.registry import UsageError, nearest
from spec_tests.train.extras import need

__all__ = ["Data", "Part", "cifar10", "digits", "load"]

_CIFAR_RECORD = 1 + 3 * 32 * 32
_CIFAR_TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
_CIFAR_TEST = "test_batch.bin"


@dataclass(frozen=True)
class Part:
    """Images ``x``, uint8 (N, C, H, W), and their labels ``y``, long (N,)."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.x)

    def at(self, index: Tensor) -> Part:
        """The items at those places."""
        return Part(self.x[index], self.y[index])


@dataclass(frozen=True)
class Data:
    """Levels in [0, levels), labels in [0, num_classes), and the three parts."""

    name: str
    noun: str  # what one item is called, in the plural
    levels: int
    num_classes: int
    train: Part
    validation: Part
    held_out: Part

    @property
    def event_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        c, h, w = self.train.x.shape[1:]
        return c, h, w

    @cached_property
    def fingerprint(self) -> str:
        """Tells these training images from any others."""
        return hashlib.sha256(self.train.x.numpy().tobytes()).hexdigest()[:16]

    def __str__(self) -> str:
        counts = f"{len(self.train)} to train, {len(self.validation)} to validate"
        c, h, w = self.event_shape
        return f"{counts}, {len(self.held_out)} held out; {c} x {h} x {w} of {self.levels} levels"


def load(word: str) -> Data:
    """Reads ``digits`` or ``cifar10:PATH``.

    Raises:
        UsageError: the word is neither, or the data are absent or damaged.
    """
    name, colon, path = word.partition(":")
    if name == "digits" and not colon:
        return digits()
    if name == "cifar10" and path:
        return cifar10(Path(path))
    if name == "cifar10":
        raise UsageError("--data cifar10 needs the folder of its .bin files: --data cifar10:PATH")
    if name == "digits":
        raise UsageError(f"--data {word}: the digits come with scikit-learn and take no path")
    raise UsageError(f"--data {word}: unknown data{nearest(name, ['digits', 'cifar10'])}")


def digits() -> Data:
    """The 1797 digits of 8 x 8 pixels with 17 levels of ink that ship with scikit-learn."""
    need("sklearn")
    from sklearn.datasets import load_digits

    bunch = load_digits()
    whole = Part(
        torch.from_numpy(bunch.images.astype(numpy.uint8))[:, None],
        torch.from_numpy(bunch.target.astype(numpy.int64)),
    )
    train, validation, held_out = _shuffled(whole, 1257, 180, 360)
    return Data("digits", "digits", 17, 10, train, validation, held_out)


def cifar10(folder: Path) -> Data:
    """CIFAR-10, binary version: records of one label and 3072 bytes, the R, G and B planes.

    A tenth of the training files is the validation part, and ``test_batch.bin`` is held out. A file
    may hold any number of whole records, so that a part of the data will do.
    """
    inner = folder / "cifar-10-batches-bin"
    folder = inner if inner.is_dir() else folder
    if not folder.is_dir():
        raise UsageError(f"--data cifar10:{folder}: no such folder")
    files = [_cifar_file(folder / name) for name in _CIFAR_TRAIN]
    whole = Part(torch.cat([f.x for f in files]), torch.cat([f.y for f in files]))
    kept = max(len(whole) // 10, 1)
    train, validation = _shuffled(whole, len(whole) - kept, kept)
    test = _cifar_file(folder / _CIFAR_TEST)
    return Data("cifar10", "images", 256, 10, train, validation, test)


def _cifar_file(path: Path) -> Part:
    try:
        raw = path.read_bytes()
    except FileNotFoundError as problem:
        hint = (
            f"; {path.with_suffix('').name} is of the Python version, the binary one is read"
            if path.with_suffix("").exists()
            else ""
        )
        raise UsageError(f"{path}: no such file{hint}") from problem
    except OSError as problem:
        raise UsageError(f"{path}: cannot be read ({problem.strerror})") from problem
    if not raw or len(raw) % _CIFAR_RECORD:
        raise UsageError(
            f"{path}: {len(raw)} bytes, which is no whole number of records of {_CIFAR_RECORD} "
            "(1 label and 3072 pixels); is the download complete?"
        )
    records = torch.frombuffer(bytearray(raw), dtype=torch.uint8).view(-1, _CIFAR_RECORD)
    labels = records[:, 0].long()
    wrong = (labels > 9).nonzero()
    if len(wrong):
        at = int(wrong[0])
        raise UsageError(f"{path}: record {at} has the label {labels[at]}, outside 0 to 9")
    return Part(records[:, 1:].reshape(-1, 3, 32, 32), labels)


def _shuffled(whole: Part, *sizes: int) -> list[Part]:
    """Parts of those sizes, which add up to all, in an order that never changes."""
    order = torch.from_numpy(numpy.random.RandomState(0).permutation(len(whole)))
    return [whole.at(index) for index in order.split(list(sizes))]
