r"""The house's own lint: what every public function, claim and test here owes its reader."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from spec_tests import catalogue
from spec_tests.contracts import CONTRACTS
from spec_tests.registry import CLAIMS

ROOT = Path(__file__).parents[2]
catalogue.claims()


def public() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every name that a family of :mod:`reference` exports."""
    package = importlib.import_module("reference")
    for family in pkgutil.iter_modules(package.__path__, "reference."):
        module = importlib.import_module(family.name)
        for name in module.__all__:
            yield f"{family.name}.{name}", getattr(module, name)


PUBLIC = dict(public())
MODULES = sorted((ROOT / "reference").rglob("*.py"))


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_gives_its_equation_paper_and_claims(name: str) -> None:
    text = inspect.getdoc(PUBLIC[name]) or ""
    if inspect.isclass(PUBLIC[name]) and issubclass(PUBLIC[name], tuple):
        return  # a named tuple is described where it is made
    for part in (".. math::", "Paper:", "Claims:", "Differs:"):
        assert part in text, f"{name} has no {part}"


@pytest.mark.parametrize("name", PUBLIC)
def test_claim_ids_in_docstrings_exist(name: str) -> None:
    text = inspect.getdoc(PUBLIC[name]) or ""
    block = re.search(r"Claims:(.*?)(?:\n\s*\n|\n\w+:)", text + "\n\n", re.DOTALL)
    prefixes = "|".join(map(re.escape, CONTRACTS))
    for id in re.findall(rf"\b(?:{prefixes})\.[a-z_0-9]+", block.group(1) if block else ""):
        assert id in CLAIMS, f"{name} names the claim {id}, which does not exist"


@pytest.mark.parametrize("claim", sorted(CLAIMS, key=lambda c: c.id), ids=lambda c: c.id)
def test_a_claim_has_a_contract_sources_and_a_reason(claim: Any) -> None:
    assert claim.contract in CONTRACTS
    assert claim.sources and all(claim.sources)
    assert len(claim.why.split()) >= 8, "why it is true takes a sentence"
    assert claim.statement.strip()
    assert 0 <= claim.error < 1e-9 or claim.error == 1e-9


def test_no_claim_imports_a_reference_model() -> None:
    for path in (ROOT / "spec_tests" / "claims").glob("*.py"):
        assert not re.search(r"^\s*(from|import) reference", path.read_text(), re.MULTILINE), path


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_reference_files_know_nothing_of_tests(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"^\s*(from|import) (spec_tests|hypothesis|pytest)", text, re.MULTILINE)
    assert len(text.splitlines()) <= 220, "one sitting no longer covers this file"


def test_names_of_tests_are_unique() -> None:
    names = Counter(
        node.name
        for folder in ("claims", "tests")
        for path in (ROOT / "spec_tests" / folder).glob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    )
    assert [name for name, count in names.items() if count > 1] == []


def test_specimens_are_described() -> None:
    for entry in [*catalogue.mutants(), *catalogue.controls()]:
        assert len(entry.doc.split()) >= 4, f"{entry.place}: {entry.name} has no description"


def test_importing_reference_loads_torch_and_little_else() -> None:
    code = (
        "import sys, torch; before = set(sys.modules); import reference, reference.divergences, "
        "reference.latent, reference.adversarial, reference.autoregressive, "
        "reference.autoencoders; print(*(set(sys.modules) - before))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    foreign = {name.partition(".")[0] for name in loaded.stdout.split()} - {"reference"}
    assert not foreign & {"scipy", "jaxtyping", "beartype", "hypothesis", "pytest", "numpy"}


def test_the_parent_of_a_run_never_imports_torch() -> None:
    code = "import sys, spec_tests.cli, spec_tests.supervisor; print('torch' in sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert loaded.stdout.strip() == "False"


def test_doctests_of_the_reference_pass() -> None:
    import doctest

    for path in MODULES:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        failures, _ = doctest.testmod(importlib.import_module(name))
        assert failures == 0, name
