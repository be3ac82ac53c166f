r"""The page ``docs/digits.md``: the table and the pictures, with all that is needed to read them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import combinations

from spec_tests.train.data import Data
from spec_tests.train.loop import Recipe

__all__ = ["Line", "page"]

# Title, parameters, steps, bits per dimension on digits, and on CIFAR-10 by the notes.
Line = tuple[str, int | str, int | str, str, str]

_HEAD = """\
<!-- Written by `python -m spec_tests.train.table`; do not edit. -->

# Bits per dimension on digits

How many bits does each model spend on a pixel that it has not seen? The lecture notes compare models
on CIFAR-10, where training takes days on accelerators. Here the references of this book are compared
on the 8 x 8 digits that ship with scikit-learn, where it takes minutes on one core, and the notes'
figures stand beside theirs.
"""

_TABLE = """
| model | parameters | steps | bits per dimension, held-out digits | CIFAR-10, test (train), by the notes |
|---|--:|--:|--:|--:|
"""

_READ = """
## How to read it

- **The digits**: {counts},
  by a permutation that never changes. A writer's digits may fall into more than one part, since
  scikit-learn does not say who wrote which.
- **Equal budgets**: {minutes:g} minutes of processor time for the training steps of each model, on one
  thread, and 60 000 parameters to within a tenth. A masked weight counts as a parameter although it
  never acts, and a model whose steps cost more takes fewer of them.
- **One recipe**: Adam with learning rate {lr:g} after {warmup} steps of warm-up, batches of {batch},
  gradients clipped at norm {clip:g}, weights averaged with decay {average:g}, and of the averages at
  every {every} steps the best on the validation part. It was tuned for no model. Seed {seed}.
- **The figure** is −log₂ p(x) / {dims} on the held-out digits, which chose nothing; ± is the standard
  error over the digits, not over seeds. For the autoregressive models p is exact.
- **Uniform** is log₂ {levels}, exactly: the same for every image.
- **The Gaussian** has a density where images have levels. Level k is spread over [k, k + 1) by uniform
  noise; mean and covariance are fitted to the training digits with the noise, and the figure is the
  mean of the log-density over the noise, both in closed form. By Jensen's inequality the mass that
  this Gaussian puts on an image's cell costs no more bits than that: it is an upper bound. Part of its
  mass lies where there is no level, which the figure does not forgive.
- **CIFAR-10** has 256 levels of three channels; only the order of the rows compares. Its figures are
  those of CS182's lecture 16. (Its second table has 'Row Pixel RNN' at 3.00, which in the first one is
  the diagonal BiLSTM's figure, and row LSTM's is 3.07.)
{agreement}
- **Block sizes** of the image transformer are in pixels: 8 is a row of a digit, 64 all of it.

Do it again: `python -m spec_tests.train.table --minutes {minutes:g}`; or train one model, with other
sizes or longer, by [`genspec train`](train.md).

## What they draw

The first row shows held-out digits; the model is told their upper halves and completes them, twice.
Below are its own samples.
"""


def page(
    lines: Sequence[Line],
    shown: Sequence[tuple[str, str]],
    data: Data,
    recipe: Recipe,
    minutes: float,
) -> str:
    """The page as MyST Markdown."""
    rows = "".join(
        f"| {title} | {_grouped(count)} | {_grouped(steps)} | {bits} | {cifar10} |\n"
        for title, count, steps, bits, cifar10 in lines
    )
    read = _READ.format(
        counts=str(data).partition(";")[0],
        minutes=minutes,
        lr=recipe.lr,
        warmup=recipe.warmup,
        batch=recipe.batch_size,
        clip=recipe.clip,
        average=recipe.average,
        every=recipe.every,
        seed=recipe.seed,
        dims=math.prod(data.event_shape),
        levels=data.levels,
        agreement=agreement(lines),
    )
    pictures = "".join(
        f"\n### {title}\n\n![Samples and completions: {title}](_static/digits/{key}.png)\n"
        for key, title in shown
    )
    return _HEAD + _TABLE + rows + read + pictures


def agreement(lines: Sequence[Line]) -> str:
    """Which models stand in the notes' order, and which clearly do not."""
    same, turned, level = 0, [], 0
    for one, other in combinations([line for line in lines if line[4]], 2):
        (a, a_error), (b, b_error) = (_figure(line[3]) for line in (one, other))
        (a_notes, _), (b_notes, _) = (_figure(line[4]) for line in (one, other))
        if abs(a - b) <= 2 * math.hypot(a_error, b_error):
            level += 1
        elif (a - b) * (a_notes - b_notes) > 0:
            same += 1
        else:
            turned.append(f"{one[0]} and {other[0]}")
    are = "is" if len(turned) == 1 else "are"
    text = (
        f"- **The order**: of the pairs of rows, {same} stand as on CIFAR-10, {level} are closer "
        f"than twice their standard error, and {len(turned)} {are} the other way round"
    )
    return f"{text}: {'; '.join(turned)}." if turned else f"{text}."


def _figure(text: str) -> tuple[float, float]:
    """A figure and its standard error, 0 where there is none."""
    found = [float(number) for number in re.findall(r"\d+\.\d+", text)]
    return found[0], found[1] if "±" in text else 0.0


def _grouped(count: int | str) -> str:
    return f"{count:,}".replace(",", " ") if isinstance(count, int) else count
