r"""The sums that stand for integrals in claims of latent variable models: how exact they are."""

from __future__ import annotations

import pytest
import torch

from spec_tests.contracts.latent import VAEConfig
from spec_tests.handle import Built, Handle
from spec_tests.marginals import on_lattices
from spec_tests.registry import CONTRACTS, SUBJECTS, Unsupported

SIZES = [(1, 1), (3, 1), (2, 2)]


def reference(name: str, config: VAEConfig) -> Built:
    """A reference model with parameters of the usual size."""
    from spec_tests import catalogue

    catalogue.load_subjects("reference")
    entry = next(e for e in SUBJECTS if e.key == ("vae", name))
    torch.manual_seed(3)
    return Handle(entry, CONTRACTS["vae"]).build(config)


def points(config: VAEConfig) -> torch.Tensor:
    x = torch.randn(4, config.data_dim, dtype=torch.float64)
    return (x > 0).to(x) if config.likelihood == "bernoulli" else x


@pytest.mark.parametrize("sizes", SIZES)
def test_the_lattice_finds_the_evidence_of_a_linear_model(sizes: tuple[int, int]) -> None:
    config = VAEConfig(*sizes, "gaussian")
    model = reference("reference.LinearGaussianVAE", config)
    x = points(config)
    exact = model.module.log_evidence(x).detach()
    found = torch.tensor([one.log_evidence for one in on_lattices(model, x)], dtype=exact.dtype)
    assert float((found - exact).abs().max()) < 1e-8


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
@pytest.mark.parametrize("sizes", SIZES)
def test_a_finer_lattice_finds_the_same(sizes: tuple[int, int], likelihood: str) -> None:
    config = VAEConfig(*sizes, likelihood)
    model = reference("reference.VAE", config)
    x = points(config)
    for one, other in zip(on_lattices(model, x), on_lattices(model, x, 1.6), strict=True):
        assert abs(one.log_evidence - other.log_evidence) < 1e-8
        assert abs(one.elbo - other.elbo) < 1e-8
        assert abs(one.divergence - other.divergence) < 1e-8


def test_a_lattice_too_coarse_for_the_posterior_is_noticed() -> None:
    config = VAEConfig(2, 2, "gaussian")
    with pytest.raises(Unsupported, match="not resolved"):
        on_lattices(reference("reference.VAE", config), points(config), 0.05)
