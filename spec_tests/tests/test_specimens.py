r"""The suite judged by what it should reject and accept: mutants, controls, bundles, reference.

Mutants get the examples that a user's code gets; right subjects get a few of every stratum here, and
the full number with many seeds in `tox -e deep`.
"""

from __future__ import annotations

import pytest

from spec_tests import catalogue, expectations
from spec_tests.judge import PROFILES, judge
from spec_tests.plan import BUNDLES, REJECTIONS
from spec_tests.registry import CLAIMS, Claim, Subject

ALL = catalogue.claims()


def planned(entries: list[Subject]) -> list[tuple[Claim, Subject]]:
    """Every claim that is judged of each subject on a CPU."""
    return [(c, e) for e in entries for c in ALL if c.contract == e.contract and c.when == "always"]


def named(cells: list[tuple[Claim, Subject]]) -> list[str]:
    return [f"{claim.id}-{entry.name}" for claim, entry in cells]


def sentenced(entries: list[Subject]) -> list[tuple[Claim, Subject]]:
    """Each mutant with each claim that must reject it."""
    return [(CLAIMS[id], entry) for entry in entries for id in entry.rejected_by]


MUTANTS = sentenced(catalogue.mutants())
# Of the general claims those that right code fails most easily; `tox -e deep` has them all.
GENERAL = ("gradient_is_derivative", "item_by_item", "keeps_double_precision")
CONTROLS = [
    (claim, entry)
    for claim, entry in planned(catalogue.controls())
    if not claim.general or claim.id.endswith(GENERAL)
]
LIBRARIES = [name for name in BUNDLES if name != "reference"]
LIBRARY_CELLS = planned([e for name in LIBRARIES for e in catalogue.load_subjects(name)])


@pytest.mark.parametrize(("claim", "entry"), MUTANTS, ids=named(MUTANTS))
def test_the_mutant_is_rejected(claim: Claim, entry: Subject) -> None:
    verdict = judge(claim, entry, dtype=claim.dtypes[0], shrink=False)
    assert verdict.verdict in REJECTIONS, (
        f"{claim.id} says '{verdict.verdict}' of a mutant that {entry.doc}"
    )


@pytest.mark.parametrize(("claim", "entry"), CONTROLS, ids=named(CONTROLS))
def test_the_control_is_accepted(claim: Claim, entry: Subject) -> None:
    verdict = judge(claim, entry, dtype=claim.dtypes[0], profile=PROFILES["smoke"])
    assert verdict.verdict in ("holds", "unsupported"), (
        f"{claim.id} rejects a right subject ({entry.place}): {verdict.message}\n"
        f"{verdict.counterexample}"
    )


@pytest.mark.parametrize(("claim", "entry"), LIBRARY_CELLS, ids=named(LIBRARY_CELLS))
def test_the_bundle_holds_or_its_finding_is_on_record(claim: Claim, entry: Subject) -> None:
    verdict = judge(claim, entry, dtype=claim.dtypes[0], profile=PROFILES["smoke"])
    verdict.device, verdict.dtype = "cpu", claim.dtypes[0]
    known = [e for name in LIBRARIES for e in expectations.shipped(name)]
    covering = [e for e in known if e.covers(verdict)]
    allowed = {e.verdict for e in covering}
    if all("*" in e.claim for e in covering):  # which is not to say that all that it covers fail
        allowed |= {"holds", "unsupported"}
    assert verdict.verdict in allowed, f"{sorted(allowed)} on record, found: {verdict.message}"


def test_every_claim_rejects_a_mutant() -> None:
    rejecting = {id for entry in catalogue.mutants() for id in entry.rejected_by}
    for claim in ALL:
        if claim.general:  # one mutant for each general claim, whatever its contract
            name = claim.id.partition(".")[2]
            has_one = any(id.endswith(f".{name}") for id in rejecting) or claim.when != "always"
        else:
            has_one = claim.id in rejecting
        assert has_one, f"no mutant is registered as rejected by {claim.id}"


def test_mutants_name_claims_that_judge_them() -> None:
    for entry in catalogue.mutants():
        assert entry.rejected_by, f"{entry.place}: rejected by nothing"
        for id in entry.rejected_by:
            assert id in CLAIMS, f"{entry.place}: unknown claim {id}"
            assert CLAIMS[id].contract == entry.contract, f"{entry.place}: {id}"


@pytest.mark.deep
@pytest.mark.parametrize("seed", range(1, 21))
def test_verdicts_do_not_depend_on_the_seed(seed: int) -> None:
    entries = [*catalogue.load_subjects("reference"), *catalogue.controls()]
    for claim, entry in planned(entries):
        verdict = judge(claim, entry, dtype=claim.dtypes[0], seed=seed, profile=PROFILES["ci"])
        assert verdict.verdict in ("holds", "unsupported"), (
            f"seed {seed}: {claim.id} on {entry.name}: {verdict.message}"
        )
