"""Judges the reference with the shapes in its signatures checked at every call, and prints rejections.

The annotations are imported for type checkers only, so ``TYPE_CHECKING`` is set while the reference
is imported under jaxtyping's hook.
"""

from __future__ import annotations

import importlib
import pkgutil
import typing

import torch
from beartype import beartype
from jaxtyping import Float, install_import_hook, jaxtyped
from torch import Tensor


@jaxtyped(typechecker=beartype)
def warm_up(x: Float[Tensor, " n"], y: list[int] | None = None) -> Float[Tensor, " n"]:
    """Makes beartype load what it loads at first use, before ``TYPE_CHECKING`` is set."""
    return x


CALLS = ("leaves_inputs_alone", "gradient_is_derivative")  # every member, and its backward pass


def main() -> None:
    torch.set_num_threads(1)
    warm_up(torch.zeros(2))
    with install_import_hook("reference", "beartype.beartype"):
        typing.TYPE_CHECKING = True
        package = importlib.import_module("reference")
        for module in pkgutil.walk_packages(package.__path__, "reference."):
            importlib.import_module(module.name)
        typing.TYPE_CHECKING = False

    from spec_tests import catalogue
    from spec_tests.judge import PROFILES, judge
    from spec_tests.plan import REJECTIONS

    for entry in catalogue.load_subjects("reference"):
        for claim in catalogue.claims_for(entry.contract):
            name = claim.id.partition(".")[2]
            if claim.when != "always" or claim.error or (claim.general and name not in CALLS):
                continue
            verdict = judge(claim, entry, dtype=claim.dtypes[0], profile=PROFILES["smoke"])
            if "global generator" in verdict.message:
                continue  # it is beartype that draws: it checks a random entry of each sequence
            if verdict.verdict in REJECTIONS:
                print(claim.id, entry.name, verdict.message)


if __name__ == "__main__":
    main()
