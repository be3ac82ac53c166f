r"""The tables of figures on the digits: the references side by side.

.. code-block:: sh

    python -m spec_tests.train.table                        all pages and their pictures
    python -m spec_tests.train.table --page digits-latent   one of them

Models that are compared have sixty thousand parameters, to within a tenth, the same recipe and the
same processor time. Each row is kept under ``--work`` as it is done, and is not trained again when
the command is run again with the same options and the same code.
"""

from __future__ import annotations

import argparse
import math
import sys
from argparse import Namespace
from collections.abc import Callable
from typing import Any

import torch

from spec_tests.registry import UsageError
from spec_tests.train import data as images
from spec_tests.train import densities, gallery
from spec_tests.train.baseline import gaussian
from spec_tests.train.checkpoint import write_atomically
from spec_tests.train.extras import need
from spec_tests.train.loop import Recipe
from spec_tests.train.page import page
from spec_tests.train.rows import LATITUDE, PARAMETERS, Row, pictures_folder, trained

__all__ = ["LATITUDE", "PAGES", "PARAMETERS", "ROWS", "Row", "main"]

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
    """Trains what is not yet trained, and writes the pages; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        need("safetensors", "sklearn", "tqdm", "PIL")
        torch.set_num_threads(1)  # processor time is then time
        for name in options.page or PAGES:
            PAGES[name](options, images.digits())
    except UsageError as problem:
        print(f"genspec: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\ngenspec: interrupted; the rows in {options.work} are kept", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    from pathlib import Path

    from spec_tests.train.command import positive

    parser = argparse.ArgumentParser(
        prog="python -m spec_tests.train.table", description="Writes pages with figures on digits."
    )
    add = parser.add_argument
    add("--page", action="append", choices=sorted(PAGES), help="one of them (default: all)")
    add(
        "--minutes",
        type=positive(float),
        help="for each model (default 3; digits-games 1.5; digits-latent 0.6)",
    )
    add("--seed", type=positive(int, zero=True), default=0)
    add("--docs", type=Path, default=Path("docs"), help="where the pages go (default docs)")
    add("--work", type=Path, default=Path("trained", "table"), help="default trained/table")
    return parser


def write_digits(options: Namespace, data: images.Data) -> None:
    """``digits.md``: autoregressive models beside what the notes say of CIFAR-10."""
    minutes = options.minutes or 3.0
    results = [trained(row, minutes, options.seed, options.work) for row in ROWS]
    pictures = pictures_folder(options.docs, options.work, ROWS)
    bits, error, count, picture = gaussian(data, options.seed)
    write_atomically(pictures / "gaussian.png", picture)
    lines = [
        ("uniform", 0, "", f"{math.log2(data.levels):.3f}", "8.00"),
        ("multivariate Gaussian, a bound", count, "", f"≤ {bits:.3f} ± {error:.3f}", "4.70"),
    ]
    for row, result in zip(ROWS, results, strict=True):
        found = f"{result['score']:.3f} ± {result['error']:.3f}"
        lines.append((row.title, result["parameters"], result["steps"], found, row.cifar10))
    shown = [("gaussian", "Multivariate Gaussian"), *((row.key, row.title) for row in ROWS)]
    recipe = Recipe(**results[0]["about"]["recipe"])
    text = page(lines, shown, data, recipe, minutes)
    write_atomically(options.docs / "digits.md", text.encode())
    print(f"written   {options.docs / 'digits.md'} and {pictures}")


PAGES: dict[str, Callable[[Namespace, images.Data], Any]] = {
    "digits": write_digits,
    "digits-games": gallery.write,
    "digits-latent": densities.write,
}

if __name__ == "__main__":
    sys.exit(main())
