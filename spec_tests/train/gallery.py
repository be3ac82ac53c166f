r"""The page ``docs/digits-games.md``: what adversarial models draw, and how far it is from the digits."""

from __future__ import annotations

import textwrap
from argparse import Namespace
from typing import Any

from spec_tests.train import data as images
from spec_tests.train.checkpoint import write_atomically
from spec_tests.train.fidelity import Figure, mean_distance, signed
from spec_tests.train.rows import Row, pictures_folder, trained

__all__ = ["FROM_NOISE", "TRANSLATORS", "page", "write"]

FROM_NOISE = (
    Row("dcgan", "DCGAN, non-saturating", "dcgan"),
    Row("wgan_gp", "WGAN, gradient penalty", "wgan_gp"),
    Row("sn_gan", "spectral norms, hinge", "sn_gan"),
    Row("conditional_gan", "conditional DCGAN", "conditional_gan"),
)
TRANSLATORS = (Row("cyclegan", "CycleGAN", "cyclegan"),)

_HEAD = """\
<!-- Written by `python -m spec_tests.train.table --page digits-games`; do not edit. -->

# Games on digits

An adversarial model draws and says no probability, so that there are no bits to compare. What can be
asked: are its images spread as the digits are, are all ten labels among them, are they more than copies?
Each game is played for {seconds:.0f} seconds of processor time on the 8 x 8 digits that ship with
scikit-learn.

## From noise to digits

As many images are drawn as digits are held out. In the last column, other real digits stand in the place
of the drawn ones: that is what a perfect generator would get.

"""

_READ = """
- **Energy distance**: 2 E|A − B| − E|A − A′| − E|B − B′| for drawn A and held-out B, with Euclidean
  distances of whole images whose pixels lie in [−1, 1]. It is 0 only for equal distributions; the
  estimate is unbiased and falls on either side of 0 there.
- **Mean pixel**: the Wasserstein-1 distance between the brightnesses of whole images.
- **Labels** are read by a logistic regression on the pixels of the training part, which reads
  {accuracy:.1%} of the held-out digits aright. Label shares are apart by their total variation. A label is
  drawn if it has a tenth of an equal share at least.
- **The nearest training image** is at distance 0 for a copy. The real ones are held-out digits. A figure
  below theirs means images nearer to the training digits than new digits are: blander, or copied.
- **Real** is a part of the training digits of the same size against the held-out ones; for the last two
  rows it is the held-out digits themselves. The conditional model is asked for the labels of the
  held-out digits.
- **Parameters**: about sixty thousand, both players together. The generator's weights are averaged over the
  steps, with its batch statistics, and of the averages at every {every} steps those are kept that are
  nearest to the validation part in energy distance. One seed, and learning rates that were tried out on
  digits by hand: a figure a little better than its neighbour's says nothing.

{found}

## From digits to digits turned and inverted

CycleGAN has two domains: digits (x), and digits with ink and paper exchanged and a quarter turn to the
left (y). The domains come from disjoint halves of the training part, so that no image has its
partner in the game. For held-out digits the true partner is known.

"""

_CYCLE = """
Pixels lie in [−1, 1] and errors are mean absolute ones. In the column *real*, training digits stand in the
place of translations: the right domain, and nothing of what was given. *Label kept* undoes the turn and
reads the translation; there the last column is the reader's success on the held-out digits themselves.

{cycle}

Do it again: `python -m spec_tests.train.table --page digits-games --minutes {minutes:g}`; or play one game,
longer or with other sizes, by [`genspec train`](train.md).

## What they draw

*Between*: along a great circle from one latent to another. *One latent*: the same for all labels in a
row, on its way down to another one. The curves are means of neighbouring steps; the scale of the
gradient's norm is logarithmic.
"""


def write(options: Namespace, data: images.Data) -> None:
    """Plays the games whose results are not kept, and writes the page, pictures and curves."""
    minutes, rows = options.minutes or 1.5, [*FROM_NOISE, *TRANSLATORS]
    results = {row.key: trained(row, minutes, options.seed, options.work) for row in rows}
    folder = pictures_folder(options.docs, options.work, rows)
    for row in rows:
        drawn = (options.work / row.key / "curves.svg").read_bytes()
        write_atomically(folder / f"{row.key}-curves.svg", drawn)
    path = options.docs / "digits-games.md"
    write_atomically(path, page(results, data, minutes).encode())
    print(f"written   {path} and {folder}")


def page(results: dict[str, dict[str, Any]], data: images.Data, minutes: float) -> str:
    """The page as MyST Markdown."""
    spread = mean_distance(signed(data.held_out.x, data.levels).flatten(1))
    figures = {
        key: {name: Figure(name, *rest) for name, *rest in result["figures"]}
        for key, result in results.items()
    }
    translated = figures[TRANSLATORS[0].key]
    parts = [
        _HEAD.format(seconds=60 * minutes),
        _table(FROM_NOISE, figures, results),
        _READ.format(
            accuracy=translated["label kept, x to y"].real,
            every=results[FROM_NOISE[0].key]["about"]["recipe"]["every"],
            found=textwrap.fill(_found(figures, float(spread)), 104),
        ),
        _table(TRANSLATORS, figures, results),
        _CYCLE.format(cycle=textwrap.fill(_partners(translated), 104), minutes=minutes),
        *(_shown(row) for row in (*FROM_NOISE, *TRANSLATORS)),
    ]
    return "".join(parts)


def _table(
    rows: tuple[Row, ...],
    figures: dict[str, dict[str, Figure]],
    results: dict[str, dict[str, Any]],
) -> str:
    """A line for each figure, a column for each model, and one for real digits."""
    lines = [
        ["held out", *(row.title for row in rows), "real"],
        ["---", *["--:"] * (len(rows) + 1)],
        *(
            [name, *(f"{results[row.key][name]:,}".replace(",", " ") for row in rows), ""]
            for name in ("parameters", "steps")
        ),
    ]
    for name in dict.fromkeys(name for row in rows for name in figures[row.key]):
        known = [figures[row.key].get(name) for row in rows]
        some = next(figure for figure in known if figure)
        drawn = [f"{f.drawn:.{f.digits}f}" if f else "" for f in known]
        lines.append([name, *drawn, f"{some.real:.{some.digits}f}"])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _found(figures: dict[str, dict[str, Figure]], spread: float) -> str:
    """What the figures say in words, whatever they are."""
    drawn = {row.title: figures[row.key] for row in FROM_NOISE}
    label = next(name for name in next(iter(drawn.values())) if name.startswith("labels drawn"))
    missing = [title for title, f in drawn.items() if f[label].drawn < f[label].real]
    labels = f"Labels are missing from {_listed(missing)}." if missing else "No label is missing."
    worst = max(drawn, key=lambda title: drawn[title]["energy distance"].drawn)
    largest, real = drawn[worst]["energy distance"].drawn, drawn[worst]["energy distance"].real
    return (
        f"{labels} The largest energy distance, {largest:.3f}, is that of {worst}, where real digits "
        f"give {real:.3f} and two different digits are {spread:.1f} apart on average."
    )


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _partners(figures: dict[str, Figure]) -> str:
    """Whether the translators found the true partners, in words."""
    back = max(figures[f"there and back, {domain}"].drawn for domain in ("x", "y"))
    ways = [figures[f"to the true partner, {way}"] for way in ("x to y", "y to x")]
    share, other = min(way.drawn / way.real for way in ways), ways[0].real
    if share > 0.9:
        found = (
            "but the translations are no nearer to the true partner than any digit of that domain"
        )
    else:
        found = f"and the translations are at {share:.0%} of that distance from the true partner"
    return (
        f"The way back finds what was given to within {back:.2f}, where another digit would be "
        f"{other:.2f} off; {found}. No loss asks for the true partner: every map that can be undone and "
        "takes one domain's distribution to the other's has, together with its inverse, cycle loss zero, "
        "and fools the critics. Which one is found depends on the networks and on the seed."
    )


def _shown(row: Row) -> str:
    title = row.title[0].upper() + row.title[1:]
    return (
        f"\n### {title}\n\n![What it draws: {title}](_static/digits/{row.key}.png)\n"
        f"\n![Losses and gradient norms: {title}](_static/digits/{row.key}-curves.svg)\n"
    )
