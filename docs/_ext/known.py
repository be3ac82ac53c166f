r"""Everything that the registries and the reference packages hold, arranged for pages."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any

from plain_text import literal

from spec_tests import catalogue
from spec_tests.contracts import CONTRACTS
from spec_tests.registry import Claim, Contract, Subject

__all__ = ["Known", "Module", "Package", "is_code"]

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


@dataclass(frozen=True)
class Module:
    """A file of a family's reference code, and the public names that it defines."""

    module: ModuleType
    public: list[str]

    @property
    def name(self) -> str:
        return self.module.__name__.rpartition(".")[2]

    @property
    def path(self) -> str:
        return self.module.__name__.replace(".", "/") + ".py"


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
        """The claims of a contract, or of theory, filed under a family, in the order of the code."""
        found = [
            claim
            for claim in self.claims.values()
            if claim.contract == contract and claim.family == family and claim.general == general
        ]
        return sorted(found, key=lambda claim: (claim.place.path, claim.place.line))

    def rejected(self, claim: Claim) -> list[Subject]:
        """The mutants that a claim must reject."""
        return [mutant for mutant in self.mutants if claim.id in mutant.rejected_by]

    def home(self, mutant: Subject) -> Claim:
        """The first claim that rejects a mutant: the mutant is filed where it is."""
        return self.claims[mutant.rejected_by[0]]

    def neighbours(self, claim: Claim) -> tuple[Claim | None, Claim | None]:
        """The claims before and after it on its family's page."""
        order = self._reading_order[claim.family]
        at = order.index(claim)
        return (order[at - 1] if at else None, order[at + 1] if at + 1 < len(order) else None)

    @cached_property
    def _reading_order(self) -> dict[str, list[Claim]]:
        """The claims of each family: contract by contract, then theory, then the general ones."""
        found = {}
        for family in self.families:
            names = [c.name for c in self.contracts_of(family)]
            own = [claim for name in [*names, "theory"] for claim in self.claims_of(name, family)]
            general = [c for name in names for c in self.claims_of(name, family, general=True)]
            found[family] = own + general
        return found

    @cached_property
    def public(self) -> dict[str, Any]:
        """Every public function, class and value of the reference code."""
        return {name: getattr(p.module, name) for p in self.packages for name in p.public}

    def modules(self, package: Package) -> list[Module]:
        """The modules of a package, each with the public names that it defines."""
        return self._modules[package.name]

    @cached_property
    def _modules(self) -> dict[str, list[Module]]:
        found = {}
        for package in self.packages:
            names = [m.name for m in pkgutil.iter_modules(package.module.__path__)]
            modules = [importlib.import_module(f"{package.module.__name__}.{n}") for n in names]
            found[package.name] = [Module(m, _own(m, package.public)) for m in modules]
        return found

    def link(self, code: str) -> str | None:
        """A reference to a claim, a contract or a public name of the reference; else ``None``."""
        if code in self.claims or (code in self.contracts and code != "theory"):
            return f":ref:`{code} <{code}>`"
        return self.reference(code)

    def reference(self, name: str) -> str | None:
        """A reference to a public name of the reference code."""
        package = next((p.name for p in self.packages if name in p.public), None)
        return f":ref:`{name} <reference.{package}.{name}>`" if package else None

    def linked(self, code: str) -> str:
        return self.link(code) or literal(code)


def _own(module: ModuleType, public: list[str]) -> list[str]:
    """The public names that a module defines; a value belongs to the module that assigns it."""
    text = inspect.getsource(module)
    return [
        name
        for name in public
        if hasattr(module, name)
        and (
            getattr(getattr(module, name), "__module__", None) == module.__name__
            if is_code(getattr(module, name))
            else re.search(rf"^{name}\b.*=", text, re.MULTILINE)
        )
    ]


def _rank(family: str) -> tuple[int, str]:
    order = list(TITLES)
    return (order.index(family) if family in order else len(order), family)


def is_code(thing: Any) -> bool:
    """Whether ``thing`` is a function or a class."""
    return inspect.isfunction(thing) or inspect.isclass(thing)
