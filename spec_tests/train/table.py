r"""The table of bits per dimension: the references side by side on the digits.

.. code-block:: sh

    python -m spec_tests.train.table --minutes 3        writes docs/digits.md and its pictures

Every model has sixty thousand parameters, to within a tenth, the same recipe and the same processor
time. Each row is kept under ``--work`` as it is done, and is not trained again when the command is
run again with the same options and the same code.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import json
import math
import sys
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from spec_tests.registry import UsageError
from spec_tests.train import data as images
from spec_tests.train.baseline import gaussian
from spec_tests.train.checkpoint import write_atomically
from spec_tests.train.extras import need
from spec_tests.train.loop import Recipe
from spec_tests.train.models import trainable
from spec_tests.train.page import page
from spec_tests.train.run import parameters

__all__ = ["ROWS", "Row", "main"]

PARAMETERS, LATITUDE = 60_000, 0.1


@dataclass(frozen=True)
class Row:
    """A line of the table; the last figure is what the notes give for CIFAR-10, test (train)."""

    key: str
    title: str
    model: str
    size: Mapping[str, Any] = field(default_factory=dict)
    cifar10: str = ""


ROWS = (
    Row("pixelcnn", "PixelCNN", "pixelcnn", cifar10="3.14 (3.08)"),
    Row("gated_pixelcnn", "Gated PixelCNN", "gated_pixelcnn", cifar10="3.03"),
    Row("row_lstm", "PixelRNN, row LSTM", "row_lstm", cifar10="3.07 (3.00)"),
    Row("diagonal_bilstm", "PixelRNN, diagonal BiLSTM", "diagonal_bilstm", cifar10="3.00 (2.93)"),
    Row("pixelcnn_pp", "PixelCNN++", "pixelcnn_pp", cifar10="2.92"),
    *(
        Row(
            f"image_transformer_{block}",
            f"Image Transformer, 1-D local, block {block}",
            "image_transformer",
            {"block": block},
            figure,
        )
        for block, figure in ((8, "4.06"), (16, "3.47"), (64, "3.13"))
    ),
)


def main(arguments: list[str] | None = None) -> int:
    """Trains what is not yet trained, and writes the page; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        need("safetensors", "sklearn", "tqdm", "PIL")
        torch.set_num_threads(1)  # processor time is then time
        results = [_trained(row, options) for row in ROWS]
        _write(options, images.digits(), results)
    except UsageError as problem:
        print(f"genspec: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\ngenspec: interrupted; the rows in {options.work} are kept", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    from spec_tests.train.command import positive

    parser = argparse.ArgumentParser(
        prog="python -m spec_tests.train.table", description="Writes docs/digits.md."
    )
    add = parser.add_argument
    add("--minutes", type=positive(float), default=3.0, help="for each model (default 3)")
    add("--seed", type=positive(int, zero=True), default=0)
    add("--docs", type=Path, default=Path("docs"), help="where digits.md goes (default docs)")
    add("--work", type=Path, default=Path("trained", "table"), help="default trained/table")
    return parser


def _trained(row: Row, options: Namespace) -> dict[str, Any]:
    """The row's result, from its file if it is that of the same training."""
    from spec_tests.train.prepare import prepare

    out = options.work / row.key
    asked = Namespace(
        model=row.model, data="digits", minutes=options.minutes, steps=None, seed=options.seed,
        size=list(row.size.items()), classes=None, device="cpu", out=out, resume=None,
        overwrite=True, pictures=10,
    )  # fmt: skip
    run = prepare(asked)
    count = parameters(run.training)
    if abs(count / PARAMETERS - 1) > LATITUDE:
        raise UsageError(f"{row.title} has {count} parameters, more than a tenth off {PARAMETERS}")
    about = {
        "model": run.title,
        "minutes": options.minutes,
        "recipe": asdict(run.training.recipe),
        "torch": torch.__version__,
        "code": _fingerprint(row.model),
    }
    done = out / "result.json"
    if done.exists():
        known: dict[str, Any] = json.loads(done.read_text())
        if known["about"] == about:
            print(f"{row.title}: kept, {known['bits']:.3f} bits per dimension")
            return known
    print(f"{row.title}: {run.title}", flush=True)
    run.train()
    result = {**run.report(), "parameters": count, "about": about}
    write_atomically(done, json.dumps(result, indent=1).encode())
    return result


def _fingerprint(model: str) -> str:
    """Changes with any line of the model's family or of the training."""
    family = inspect.getsourcefile(trainable(model).builder)
    assert family is not None
    folders = Path(family).parent, Path(__file__).parent
    code = [path.read_bytes() for folder in folders for path in sorted(folder.glob("*.py"))]
    return hashlib.sha256(b"".join(code)).hexdigest()[:16]


def _write(options: Namespace, data: images.Data, results: list[dict[str, Any]]) -> None:
    """The page and its pictures."""
    pictures = options.docs / "_static" / "digits"
    pictures.mkdir(parents=True, exist_ok=True)
    bits, error, count, picture = gaussian(data, options.seed)
    write_atomically(pictures / "gaussian.png", picture)
    for row in ROWS:
        write_atomically(
            pictures / f"{row.key}.png", (options.work / row.key / "samples.png").read_bytes()
        )
    lines = [
        ("uniform", 0, "", f"{math.log2(data.levels):.3f}", "8.00"),
        ("multivariate Gaussian, a bound", count, "", f"≤ {bits:.3f} ± {error:.3f}", "4.70"),
    ]
    for row, result in zip(ROWS, results, strict=True):
        found = f"{result['bits']:.3f} ± {result['error']:.3f}"
        lines.append((row.title, result["parameters"], result["steps"], found, row.cifar10))
    shown = [("gaussian", "Multivariate Gaussian"), *((row.key, row.title) for row in ROWS)]
    recipe = Recipe(**results[0]["about"]["recipe"])
    text = page(lines, shown, data, recipe, options.minutes)
    write_atomically(options.docs / "digits.md", text.encode())
    print(f"written   {options.docs / 'digits.md'} and {pictures}")


if __name__ == "__main__":
    sys.exit(main())
