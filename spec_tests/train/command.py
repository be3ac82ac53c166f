r"""``genspec train``: its options, and what a run does from beginning to end."""

from __future__ import annotations

import argparse
import ast
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spec_tests.train.models import GAMES, TRAINABLES

if TYPE_CHECKING:
    from spec_tests.train.run import Run

__all__ = ["add_train", "positive"]

_TRAIN = """\
trains a reference model, and writes its weights, a checkpoint and a picture of what it draws.

The figure is taken on held-out images. Autoregressive models and the Boltzmann machine give bits per
dimension exactly; latent variable models, flows and diffusion an upper bound, whose kind is named;
autoencoders, which have no likelihood, the squared error of a pixel; games, which have none either,
distances between what they draw and held-out images, beside those of real images.

  digits        the 1797 digits of 8 x 8 pixels and 17 levels that ship with scikit-learn
  cifar10:PATH  CIFAR-10 in its binary version: data_batch_1.bin, ..., test_batch.bin

A run is fixed by its options: --steps gives the same weights each time (on one machine's CPU), and
a run that goes on from a checkpoint with --resume is the run that was never interrupted. --minutes
counts the processor time of the training steps, all threads together, and not the clock's."""

_FILES = """\
files, in --out
  checkpoint.safetensors  all that --resume needs
  model.safetensors       the weights that are kept, under the names of the model's state_dict
  samples.png             samples, and what the model makes of held-out images: completions,
                          reconstructions, lines from one code to another
  curves.svg              of a game: losses and gradient norms of both players

exit status
  0 trained    1 the loss was no number any more    2 bad usage or data    130 interrupted

examples
  genspec train pixelcnn --data digits --minutes 3
  genspec train vae --size latent_dim=8 --minutes 1
  genspec train dcgan --seed 1 --size latent_dim=8
  genspec train pixelcnn --data digits --steps 500 --classes --size hidden=32 --size blocks=6
  genspec train pixelcnn --resume trained/pixelcnn-digits/checkpoint.safetensors --minutes 6"""


def add_train(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the sub-command."""
    names = textwrap.fill(f"models: {', '.join(sorted(TRAINABLES))}", 100)
    names += "\n\n" + textwrap.fill(f"games of two players: {', '.join(sorted(GAMES))}", 100)
    train = commands.add_parser(
        "train",
        help="train a reference model on digits or on CIFAR-10",
        description=f"{_TRAIN}\n\n{names}",
        epilog=_FILES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = train.add_argument
    add("model", metavar="MODEL", help="one of those above")
    add("--data", metavar="DATA", help="digits, or cifar10:PATH (default digits)")
    add("--minutes", type=positive(float), help="of processor time (default 3, if no --steps)")
    add("--steps", type=positive(int), help="of training; exactly reproducible")
    add("--seed", type=positive(int, zero=True), help="of everything random (default 0)")
    add("--batch-size", type=positive(int), metavar="N", help="images in a step (default 32)")
    add("--lr", type=positive(float), help="Adam's learning rate (default 0.002; a game's own)")
    add(
        "--clip",
        type=positive(float, zero=True),
        help="the largest norm of the gradient; 0: any (default 1; of a game 0)",
    )
    add(
        "--average",
        type=_below_one,
        metavar="DECAY",
        help="of the moving average of the weights; 0: none (default 0.995)",
    )
    add("--keep", choices=("best", "last"), help="best: on the validation part (default)")
    add("--every", type=positive(int), help="steps from one checkpoint to the next (default 100)")
    add("--classes", action="store_true", default=None, help="condition on the labels")
    add(
        "--size",
        action="append",
        type=_assignment,
        default=[],
        metavar="NAME=VALUE",
        help="an argument of the model's constructor (repeatable)",
    )
    add(
        "--pictures",
        type=positive(int, zero=True),
        default=10,
        metavar="N",
        help="columns of samples.png (default 10); 0: none, as drawing takes a pass per pixel",
    )
    add("--device", default="cpu", help="cpu, cuda, cuda:1, ... (default cpu)")
    add("--out", type=Path, metavar="DIR", help="default trained/MODEL-DATA")
    add("--resume", type=Path, metavar="CHECKPOINT", help="go on from there, with its options")
    add("--overwrite", action="store_true", help="replace the checkpoint that --out holds")
    train.set_defaults(run=train_command)


def positive(kind: type[int] | type[float], zero: bool = False) -> Any:
    """A type for argparse: numbers above zero, or not below it."""

    def read(text: str) -> float:
        value = kind(text)
        if not (0 < value < float("inf") or (zero and value == 0)):
            raise argparse.ArgumentTypeError(f"{text} is not positive")
        return value

    read.__name__ = kind.__name__  # argparse names it where the text is no number at all
    return read


def _below_one(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not in [0, 1)")
    return value


def _assignment(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    try:
        read = ast.literal_eval(value)
    except (ValueError, SyntaxError):
        read = value  # a word
    return name, list(read) if isinstance(read, tuple) else read


def train_command(options: argparse.Namespace) -> int:
    """Trains, reports, and returns the exit status."""
    from spec_tests.train.extras import need

    need("safetensors", "tqdm", "PIL")
    from spec_tests.train.prepare import prepare
    from spec_tests.train.trainer import Diverged

    run = prepare(options)
    print(f"data      {run.data.name}: {run.data}")
    print(f"model     {run.title}", flush=True)
    try:
        run.train()
        run.report()
    except KeyboardInterrupt:
        print(f"\ngenspec: interrupted {_left(run)}", file=sys.stderr)
        return 130
    except Diverged as problem:
        print(f"\ngenspec: {problem}; a smaller --lr may help. Ended {_left(run)}", file=sys.stderr)
        return 1
    return 0


def _left(run: Run) -> str:
    at = f"at step {run.training.step}"
    if run.saved_step is None:
        return f"{at}, before the first checkpoint: nothing was written"
    return (
        f"{at}; the checkpoint of step {run.saved_step} is kept: "
        f"--resume {run.checkpoint} goes on from it"
    )
