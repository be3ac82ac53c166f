r"""The packages that training needs and judging does not: the extra ``genspec[data]``."""

from __future__ import annotations

import importlib

from spec_tests.registry import UsageError

__all__ = ["EXTRAS", "need"]

# Import name -> the package that a person installs.
EXTRAS = {
    "PIL": "pillow",
    "safetensors": "safetensors",
    "sklearn": "scikit-learn",
    "tqdm": "tqdm",
}


def need(*modules: str) -> None:
    """Raises :class:`UsageError`, with the command that installs them, unless all can be imported."""
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as problem:
            raise UsageError(
                f"this needs {EXTRAS[module]} ({problem}): pip install 'genspec[data]'"
            ) from problem
