r"""Everything that the registries and the reference packages hold, arranged for pages."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any

from plain_text import literal

from spec_tests import catalogue
from spec_tests.contracts import CONTRACTS
from spec_tests.registry import Claim, Contract, Subject

__all__ = ["Known", "Package"]

TITLES = {
    "divergences": "Divergences and transport",
    "autoregressive": "Autoregressive models",
    "autoencoders": "Autoencoders",
    "latent": "Latent variable models",
    "flows": "Normalising flows",
    "energy": "Energy models and Markov chains",
    "adversarial": "Adversarial models",
    "foundations": "Foundations",
    "vision": "Vision",
}


@dataclass(frozen=True)
class Package:
    """A family's reference code."""

    name: str
    module: ModuleType

    @property
    def public(self) -> list[str]:
        return list(getattr(self.module, "__all__", ()))


class Known:
    """Claims, contracts, mutants, controls, subjects and reference packages."""

    def __init__(self) -> None:
        self.claims: dict[str, Claim] = {claim.id: claim for claim in catalogue.claims()}
        self.contracts: dict[str, Contract] = dict(CONTRACTS)
        self.mutants: list[Subject] = catalogue.mutants()
        self.controls: list[Subject] = catalogue.controls()
        self.subjects: dict[str, list[Subject]] = {
            bundle: catalogue.load_subjects(bundle) for bundle in catalogue.BUNDLES
        }

    @cached_property
    def packages(self) -> list[Package]:
        """The reference packages in the order of the families."""
        root = importlib.import_module("reference")
        names = [m.name for m in pkgutil.iter_modules(root.__path__) if m.ispkg]
        found = [Package(name, importlib.import_module(f"reference.{name}")) for name in names]
        return sorted((p for p in found if p.public), key=lambda package: _rank(package.name))

    @cached_property
    def families(self) -> list[str]:
        """Every family that a contract or a claim is filed under."""
        names = {c.family for c in self.contracts.values() if c.name != "theory"}
        names |= {claim.family for claim in self.claims.values()}
        return sorted(names, key=_rank)

    def title(self, family: str) -> str:
        return TITLES.get(family, family.replace("_", " ").capitalize())

    def family(self, contract: str) -> str:
        """The family of a contract; empty for theory, whose claims are filed one by one."""
        found = self.contracts.get(contract)
        return found.family if found and contract != "theory" else ""

    def contracts_of(self, family: str) -> list[Contract]:
        return [c for c in self.contracts.values() if c.family == family and c.name != "theory"]

    def claims_of(self, contract: str, family: str, general: bool = False) -> list[Claim]:
        """The claims of a contract, or of theory, that are filed under a family."""
        return [
            claim
            for claim in self.claims.values()
            if claim.contract == contract and claim.family == family and claim.general == general
        ]

    def rejected(self, claim: Claim) -> list[Subject]:
        """The mutants that a claim must reject."""
        return [mutant for mutant in self.mutants if claim.id in mutant.rejected_by]

    def objects(self, package: Package) -> dict[str, Any]:
        """The public functions, classes and values of a reference package."""
        return {name: getattr(package.module, name) for name in package.public}

    def page_of(self, name: str) -> str | None:
        """The reference page that shows the public name ``name``."""
        return next((p.name for p in self.packages if name in p.public), None)

    def link(self, code: str) -> str | None:
        """A reference to a claim, a contract or a public name of the reference; else ``None``."""
        if code in self.claims or (code in self.contracts and code != "theory"):
            return f":ref:`{code} <{code}>`"
        return self.reference(code)

    def reference(self, name: str) -> str | None:
        """A reference to a public name of the reference code."""
        page = self.page_of(name)
        return f":ref:`{name} <reference.{page}.{name}>`" if page else None

    def linked(self, code: str) -> str:
        return self.link(code) or literal(code)


def _rank(family: str) -> tuple[int, str]:
    order = list(TITLES)
    return (order.index(family) if family in order else len(order), family)


def is_code(thing: Any) -> bool:
    """Whether ``thing`` is a function or a class."""
    return inspect.isfunction(thing) or inspect.isclass(thing)
