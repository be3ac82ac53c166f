r"""Prints the table."""

from __future__ import annotations

import sys

import torch

from spec_tests.bench import autoregressive, flows, harness, latent, layers, transport

PARTS = {
    "layers": layers,
    "autoregressive": autoregressive,
    "flows": flows,
    "latent": latent,
    "transport": transport,
    "harness": harness,
}


def main(chosen: list[str]) -> None:
    """Prints the rows of the parts that were asked for, or of all."""
    unknown = [name for name in chosen if name not in PARTS]
    if unknown:
        raise SystemExit(f"no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    torch.set_num_threads(1)
    for name in chosen or PARTS:
        for what, value in PARTS[name].rows():
            print(f"{what:<50}  {value:>8}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
