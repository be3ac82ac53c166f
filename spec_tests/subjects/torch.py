r"""PyTorch's own implementations under the contracts: nobody here wrote what is judged."""

from __future__ import annotations

from spec_tests.registry import Unsupported, subject  # noqa: F401

# Divergences and transport -----------------------------------------------------------------------

# Latent variable models ----------------------------------------------------------------------------

# Adversarial models --------------------------------------------------------------------------------
