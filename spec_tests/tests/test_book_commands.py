r"""What the book and the README tell a reader to type: commands that parse, claims that exist."""

from __future__ import annotations

import ast
import fnmatch
import re
import shlex
from pathlib import Path

import pytest

from spec_tests import catalogue
from spec_tests.cli import _parser
from spec_tests.contracts import CONTRACTS

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
NAMES = [path.name for path in PAGES]
CLAIMS = [claim.id for claim in catalogue.claims()]


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)


def commands(path: Path) -> list[str]:
    lines = "\n".join(blocks(path, "sh")).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith("genspec ")]


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_every_command_is_one(path: Path) -> None:
    for line in commands(path):
        options = _parser().parse_args(shlex.split(line, comments=True)[1:])
        for pattern in [
            *getattr(options, "claims", []),
            *filter(None, [vars(options).get("claim")]),
        ]:
            assert fnmatch.filter(CLAIMS, pattern), f"{line}: no claim is called {pattern}"
        contract = vars(options).get("contract")
        assert contract is None or contract in CONTRACTS, f"{line}: no contract {contract}"


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_every_piece_of_python_is_python_and_imports_what_exists(path: Path) -> None:
    for block in blocks(path, "python"):
        for node in ast.parse(block).body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
                ("reference", "spec_tests")
            ):
                exec(compile(ast.Module([node], []), str(path), "exec"), {})
