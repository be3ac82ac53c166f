r"""An adapter to copy for a contract, made from its Protocol and its Config."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

from spec_tests.registry import Contract

__all__ = ["adapter", "members"]


def members(contract: Contract) -> list[str]:
    """What the object of a factory offers: the Protocol's methods, as written in the class."""
    return [
        name
        for name, value in vars(contract.protocol).items()
        if inspect.isfunction(value) and not (name.startswith("_") and name != "__call__")
    ]


def adapter(contract: Contract) -> str:
    """The file that a user of the contract starts from."""
    body = _factory(contract) if contract.kind == "factory" else _function(contract)
    return f"# my_subjects.py\nimport mylib\nfrom spec_tests import subject\n\n\n{body}"


def _function(contract: Contract) -> str:
    call: Any = contract.protocol.__call__
    names = [name for name in inspect.signature(call).parameters if name != "self"]
    listed = ", ".join(names)
    return (
        f'@subject("{contract.name}", name="mylib.{contract.name}")\n'
        f"def {contract.name}({listed}):\n"
        f"    return mylib.{contract.name}({listed})\n"
    )


def _factory(contract: Contract) -> str:
    kind = "".join(part.capitalize() for part in contract.name.split("_"))
    fields = dataclasses.fields(contract.config) if contract.config else ()
    arguments = [f"config.{field.name}" for field in fields]
    call = f"mylib.{kind}({', '.join(arguments)})"
    if len(call) > 80:
        inner = "".join(f"        {argument},\n" for argument in arguments)
        call = f"mylib.{kind}(\n{inner}    )"
    return (
        f'@subject("{contract.name}", name="mylib.{kind}")\n'
        f"def {contract.name}(config):\n"
        f"    return {call}\n"
    )
