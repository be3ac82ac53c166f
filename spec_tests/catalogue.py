"""Loads what the registries hold: claims, mutants, controls, built-in bundles and adapter files."""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
import sys
from pathlib import Path
from types import ModuleType

from spec_tests.plan import BUNDLES
from spec_tests.registry import CLAIMS, CONTROLS, MUTANTS, SUBJECTS, Claim, Subject

__all__ = ["claims", "claims_for", "controls", "load_subjects", "mutants"]


def _import_all(package: str) -> None:
    found = importlib.import_module(package)
    for module in sorted(m.name for m in pkgutil.iter_modules(found.__path__)):
        importlib.import_module(f"{package}.{module}")


def claims() -> list[Claim]:
    """Every claim, sorted by id."""
    _import_all("spec_tests.claims")
    return sorted(CLAIMS, key=lambda claim: claim.id)


def claims_for(contract: str) -> list[Claim]:
    """The claims that judge one contract, sorted by id."""
    return [claim for claim in claims() if claim.contract == contract]


def mutants() -> list[Subject]:
    """Every mutant, sorted by contract and name."""
    _import_all("spec_tests.mutants")
    return sorted(MUTANTS, key=lambda entry: entry.key)


def controls() -> list[Subject]:
    """Every control, sorted by contract and name."""
    _import_all("spec_tests.controls")
    return sorted(CONTROLS, key=lambda entry: entry.key)


def load_subjects(source: str) -> list[Subject]:
    """Imports a bundle, a file or a module, and returns the subjects that it registered, sorted.

    A file may import modules that lie beside it.
    """
    before = {entry.key for entry in SUBJECTS}
    if source in BUNDLES:
        module = importlib.import_module(f"spec_tests.subjects.{source}")
        return _of(module)
    if source.endswith(".py") or "/" in source:
        _import_file(Path(source).resolve())
    else:
        sys.path.append(os.getcwd())
        importlib.import_module(source)
    return sorted((e for e in SUBJECTS if e.key not in before), key=lambda entry: entry.key)


def _of(module: ModuleType) -> list[Subject]:
    """The subjects that a bundle's own file registered, also when it was imported before."""
    own = [entry for entry in SUBJECTS if entry.place.path == module.__file__]
    return sorted(own, key=lambda entry: entry.key)


def _import_file(path: Path) -> ModuleType:
    """Imports a file under its own name, with its folder importable."""
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module
