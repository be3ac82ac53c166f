r"""What the suite finds against each classic mistake: its own verdicts, kept until the code changes.

Every pair of a mutant and a claim that must reject it is judged as a user's code is, with the
counterexample shrunk. A pair is judged again when the source of the mutant's or the claim's file
changes; the first build therefore takes some minutes and later ones seconds.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path

__all__ = ["Found", "counterexamples"]

Found = dict[str, str]  # "verdict", "message", "counterexample"
Pair = tuple[str, str, str]  # claim, contract, mutant


@cache
def _digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


def _pairs() -> dict[str, Pair]:
    """Every pair by its key, which changes when one of the two files does."""
    from spec_tests import catalogue
    from spec_tests.registry import CLAIMS

    found = {}
    catalogue.claims()
    for mutant in catalogue.mutants():
        for id in mutant.rejected_by:
            test = inspect.getsourcefile(CLAIMS[id].test) or ""
            key = f"{id} {mutant.name} {_digest(test)} {_digest(mutant.place.path)}"
            found[key] = (id, mutant.contract, mutant.name)
    return found


def _judge(pair: Pair) -> Found:
    import torch

    from spec_tests import catalogue
    from spec_tests.judge import PROFILES, judge
    from spec_tests.registry import CLAIMS

    torch.set_num_threads(1)
    id, contract, name = pair
    catalogue.claims()
    claim = CLAIMS[id]
    mutant = next(m for m in catalogue.mutants() if m.key == (contract, name))
    verdict = judge(claim, mutant, dtype=claim.dtypes[0], profile=PROFILES["quick"])
    if verdict.verdict in ("holds", "unsupported"):
        verdict = judge(claim, mutant, dtype=claim.dtypes[0])
    return {
        "verdict": verdict.verdict,
        "message": verdict.message,
        "counterexample": verdict.counterexample,
    }


def counterexamples(kept: Path) -> dict[tuple[str, str, str], Found]:
    """The verdicts by claim, contract and mutant; ``kept`` is the file of those that still stand."""
    pairs = _pairs()
    known: dict[str, Found] = json.loads(kept.read_text()) if kept.exists() else {}
    known = {key: found for key, found in known.items() if key in pairs}
    missing = [key for key in pairs if key not in known]
    if missing:
        workers = ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn"))
        with workers:
            answers = workers.map(_judge, [pairs[key] for key in missing], chunksize=8)
            known.update(zip(missing, answers, strict=True))
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(known, indent=1, sort_keys=True), encoding="utf-8")
    return {pairs[key]: found for key, found in known.items()}
