"""What a subject must offer: one module per family, each a Protocol, a Config and its strategies.

Importing this package fills :data:`CONTRACTS`.
"""

from spec_tests.registry import CONTRACTS, Contract

__all__ = ["CONTRACTS", "add"]


def add(contract: Contract) -> Contract:
    """Adds a contract to the registry."""
    if contract.name in CONTRACTS:
        raise ValueError(f"two contracts are called {contract.name!r}")
    CONTRACTS[contract.name] = contract
    return contract


from spec_tests.contracts import (  # noqa: E402  (they call ``add``)
    adversarial,
    attention,
    autoencoders,
    autoregressive,
    biggan,
    cycle,
    denoising,
    diffusion,
    divergences,
    energy,
    flows,
    images,
    importance,
    latent,
    logistic_mixture,
    sparse_coding,
    theory,
)
