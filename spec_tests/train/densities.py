r"""The page ``docs/digits-latent.md``: what models other than autoregressive ones learn of the digits."""

from __future__ import annotations

import math
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from spec_tests.train import data as images
from spec_tests.train.baseline import gaussian
from spec_tests.train.checkpoint import write_atomically
from spec_tests.train.loop import Recipe
from spec_tests.train.rows import Row, pictures_folder, trained

__all__ = ["BINARY", "DENSITIES", "REBUILDERS", "page", "write"]

DENSITIES = (
    Row("vae", "variational autoencoder", "vae"),
    Row("convolutional_vae", "the same of convolutions", "convolutional_vae"),
    Row("nice", "NICE", "nice"),
    Row("realnvp", "RealNVP, two scales", "realnvp"),
    Row("glow", "Glow, two scales of four steps", "glow"),
    Row("maf", "masked autoregressive flow", "maf"),
    Row("diffusion", "diffusion, eight steps", "diffusion"),
)
BINARY = (
    Row("bernoulli_vae", "variational autoencoder, Bernoulli", "bernoulli_vae"),
    Row("rbm", "restricted Boltzmann machine, 14 hidden units", "rbm", small=True),
)
REBUILDERS = (
    Row("bottleneck", "autoencoder, a code of 8", "bottleneck"),
    Row(
        "convolutional_autoencoder",
        "convolutional, a code of 2 x 2 x 2",
        "convolutional_autoencoder",
    ),
    Row("sparse_autoencoder", "sparse, a code of 460 at a price", "sparse_autoencoder"),
    Row("denoising_autoencoder", "denoising, noise of 0.3 added", "denoising_autoencoder"),
)

_HEAD = """\
<!-- Written by `python -m spec_tests.train.table --page digits-latent`; do not edit. -->

# What the other densities learn

[Autoregressive models](digits.md) give the probability of an image exactly. Latent variable models,
flows and diffusion give a bound on it; a Boltzmann machine gives it up to a constant; an autoencoder
gives none. Here each is trained on the 8 x 8 digits that ship with scikit-learn, for {seconds:.0f} seconds
of processor time, and asked about digits that it has not seen.

## Levels of ink

How many bits for a pixel of 17 levels? Every figure but the first is an upper bound of what the
model itself would charge, and by how much it is too high is not known.

| model | parameters | steps | bits per dimension, at most | how it is got |
|---|--:|--:|--:|---|
"""

_BINARY = """
## Ink or paper

The upper half of the levels is ink, the rest is paper: one bit for a pixel, if nothing is known.

| model | parameters | steps | bits per dimension | how it is got |
|---|--:|--:|--:|---|
"""

_REBUILD = """
## Without a likelihood

Pixels are numbers in [0, 1]. The figure is the mean squared error of a pixel of a held-out digit.
Principal components have the width of the model's code (of the sparse one, as many as its code has
units on, on average), and are the best that any affine code of that width can do on the training
digits; the best affine denoiser knows their mean and covariance.

| model | parameters | steps | squared error per pixel | beside it |
|---|--:|--:|--:|---|
"""

_READ = """
## How to read the figures

- **Short and untuned**: {seconds:.0f} seconds each on one thread, one seed, one recipe (Adam with
  learning rate {lr:g}, batches of {batch}, averaged weights, the best on the validation part), sixty
  thousand parameters to within a tenth; the Boltzmann machine has fewer. Steps differ in price. Most of
  these models would improve with more time, and many tricks that are usual are absent. The order of the
  rows is that of these runs, and no verdict on the ideas.
- **Variational autoencoders** speak of levels: each pixel is a logistic that is collected into bins. The
  bound is the importance weighted one; with more draws it would come down a little.
- **Flows and diffusion** are densities of real numbers. Level k becomes k + u with uniform noise u, and the
  mean log-density over u is below the log of the mass that they give to the cell. The price is high
  here: {blank:.0%} of the training pixels have level 0. A model of levels pays next to nothing for a
  pixel that is always blank; a Gaussian of the best width pays ½ log₂(2πe / 12) = {price:.3f} bits for
  covering its cell, and a flow does only as well as it bends into a box.
- **The multivariate Gaussian** is a flow of one affine layer, fitted in closed form: its figure is what
  the flows have to beat.
- **Diffusion** has a network of one hidden layer and eight steps, trained on the bound itself. Published
  ones have hundreds of steps and deep convolutional networks.
- **The Boltzmann machine** is exact because its 2¹⁴ hidden states can be listed. Contrastive divergence
  does without that figure; only the choice of the weights that are kept looks at it.
- **A figure is no beauty contest**: what costs few bits need not look best when drawn. Compare the samples
  below with the order of the rows.
- **±** is the standard error over the {count} held-out digits, not over seeds.

Do it again: `python -m spec_tests.train.table --page digits-latent --minutes {minutes:g}`; or train one
model, with other sizes or longer, by [`genspec train`](train.md).

## What they draw

*Rebuilt*: what comes back from the code of a held-out digit. *Samples* are draws of the model with the
noise of its pixels; *noiseless* ones are what codes from the prior stand for. *Between*: along a
straight line of codes from one digit to another. *z moves*: one coordinate of the first digit's code from
−2.5 to 2.5, those coordinates first that say most. *Chain*: ten sweeps of Gibbs sampling from each to
the next. *Noised* and *guessed*: a digit after more and more steps of noise, and what it is taken for.
"""


def write(options: Namespace, data: images.Data) -> None:
    """Trains the rows that are not kept, and writes the page and its pictures."""
    minutes, rows = options.minutes or 0.6, [*DENSITIES, *BINARY, *REBUILDERS]
    results = {row.key: trained(row, minutes, options.seed, options.work) for row in rows}
    folder = pictures_folder(options.docs, options.work, rows)
    path = options.docs / "digits-latent.md"
    write_atomically(path, page(results, data, options.seed, minutes).encode())
    print(f"written   {path} and {folder}")


def page(results: dict[str, dict[str, Any]], data: images.Data, seed: int, minutes: float) -> str:
    """The page as MyST Markdown."""
    recipe = Recipe(**results[DENSITIES[0].key]["about"]["recipe"])
    bits, error, count, _ = gaussian(data, seed)
    lines = [
        f"| uniform | 0 | | {math.log2(data.levels):.3f} | log₂ {data.levels}, exactly |",
        f"| multivariate Gaussian | {_grouped(count)} | | {bits:.3f} ± {error:.3f} "
        "| dequantised, in closed form |",
        *_lines(DENSITIES, results),
    ]
    known = dict(results[BINARY[-1].key]["beside"])
    coins = [
        "| fair coins | 0 | | 1.000 | exactly |",
        f"| a coin for each pixel | {math.prod(data.event_shape)} | "
        f"| {known['pixels'].partition(',')[0]} | exactly |",
    ]
    read = _READ.format(
        seconds=60 * minutes, minutes=minutes, lr=recipe.lr, batch=recipe.batch_size,
        blank=float((data.train.x == 0).double().mean()), count=len(data.held_out),
        price=0.5 * math.log2(2 * math.pi * math.e / 12),
    )  # fmt: skip
    parts = [
        _HEAD.format(seconds=60 * minutes), _table(lines),
        _BINARY, _table([*coins, *_lines(BINARY, results)]),
        _REBUILD, _table(_lines(REBUILDERS, results)),
        read, *(_picture(row) for row in (*DENSITIES, *BINARY, *REBUILDERS)),
    ]  # fmt: skip
    return "".join(parts)


def _table(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _lines(rows: Sequence[Row], results: dict[str, dict[str, Any]]) -> list[str]:
    """A line of a table for each row."""
    return [_line(row, results[row.key]) for row in rows]


def _line(row: Row, result: dict[str, Any]) -> str:
    from spec_tests.train.models import trainable

    family = trainable(row.model).family
    digits = family.digits
    counts = " | ".join(_grouped(result[key]) for key in ("parameters", "steps"))
    figure = f"{result['score']:.{digits}f} ± {result['error']:.{digits}f}"
    beside = "; ".join(f"{name} {figure.partition(',')[0]}" for name, figure in result["beside"])
    last = family.standing.removeprefix(", ") or beside
    return f"| {row.title} | {counts} | {figure} | {last} |"


def _grouped(count: int) -> str:
    return f"{count:,}".replace(",", " ")


def _picture(row: Row) -> str:
    title = row.title[0].upper() + row.title[1:]
    return f"\n### {title}\n\n![What it draws: {title}](_static/digits/{row.key}.png)\n"
