r"""The reference models under their contracts: one registration a model."""

from __future__ import annotations

from typing import Any

from spec_tests.contracts.theory import Pieces
from spec_tests.registry import Unsupported, subject  # noqa: F401


@subject("theory", name="reference")
def pieces(pieces: Pieces) -> Pieces:
    """The reference pieces as they are."""
    return pieces


# Divergences and transport -----------------------------------------------------------------------

# Autoregressive models ---------------------------------------------------------------------------

# Autoencoders --------------------------------------------------------------------------------------

# Latent variable models ----------------------------------------------------------------------------

# Adversarial models --------------------------------------------------------------------------------
