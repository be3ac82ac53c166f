r"""Classic mistakes with the linear autoencoder, which is PCA."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from spec_tests.registry import mutant

Maps = tuple[Any, Any]


def _directions(centred: Tensor, code_dim: int) -> Tensor:
    """Leading directions as rows, also where there are fewer points than the code is long."""
    thin = code_dim <= min(centred.shape)
    return torch.linalg.svd(centred, full_matrices=not thin).Vh[:code_dim]


def _about(mean: Tensor, rows: Tensor) -> Maps:
    return lambda u: (u - mean) @ rows.T, lambda z: z @ rows + mean


@mutant(
    "linear_autoencoder",
    rejected_by=[
        "linear_autoencoder.attains_pca_error",
        "linear_autoencoder.keeps_the_mean",
        "linear_autoencoder.spans_principal_subspace",
        "linear_autoencoder.translation_equivariant",
        "linear_autoencoder.tolerates_fewer_points_than_dims",
    ],
)
def pca_without_centring(x: Tensor, code_dim: int) -> Maps:
    """The singular vectors of the data as they are: the first of them points at the mean, and a
    dimension of the code is spent on it."""
    return _about(torch.zeros_like(x[0]), _directions(x, code_dim))  # wrong: about the mean


@mutant(
    "linear_autoencoder",
    rejected_by=["linear_autoencoder.keeps_the_mean", "linear_autoencoder.attains_pca_error"],
)
def decoder_that_forgets_the_mean(x: Tensor, code_dim: int) -> Maps:
    """The mean is taken off and never put back: everything is rebuilt about the origin."""
    mean = x.mean(0)
    rows = _directions(x - mean, code_dim)
    return lambda u: (u - mean) @ rows.T, lambda z: z @ rows  # wrong: z @ rows + mean


@mutant("linear_autoencoder", rejected_by=["linear_autoencoder.codes_single_points"])
def encoder_that_centres_its_batch(x: Tensor, code_dim: int) -> Maps:
    """The encoder takes off the mean of the batch that it is given: right on the training data, and a
    single new point is always coded as 0."""
    mean = x.mean(0)
    rows = _directions(x - mean, code_dim)
    return lambda u: (u - u.mean(0)) @ rows.T, lambda z: z @ rows + mean  # wrong: u - mean of x


@mutant(
    "linear_autoencoder",
    rejected_by=[
        "linear_autoencoder.no_linear_code_beats_it",
        "linear_autoencoder.attains_pca_error",
        "linear_autoencoder.error_falls_with_code_dim",
    ],
)
def pca_of_the_least_variance(x: Tensor, code_dim: int) -> Maps:
    """The first eigenvectors that ``eigh`` returns: it sorts eigenvalues upwards, so these are the
    directions in which the data hardly vary."""
    mean = x.mean(0)
    vectors = torch.linalg.eigh((x - mean).T @ (x - mean)).eigenvectors
    return _about(mean, vectors.T[:code_dim])  # wrong: the last columns


@mutant(
    "linear_autoencoder",
    rejected_by=[
        "linear_autoencoder.translation_equivariant",
        "linear_autoencoder.attains_pca_error",
    ],
)
def pca_of_standardised_features(x: Tensor, code_dim: int) -> Maps:
    """Each feature is divided by its standard deviation first: the plane is the best in other units,
    and the error in the data's own is larger."""
    mean, scale = x.mean(0), (x - x.mean(0)).square().mean(0).sqrt() + 1e-12
    rows = _directions((x - mean) / scale, code_dim)  # wrong: x - mean, no scale
    return lambda u: (u - mean) / scale @ rows.T, lambda z: z @ rows * scale + mean


@mutant(
    "linear_autoencoder",
    rejected_by=["linear_autoencoder.projection", "linear_autoencoder.spans_principal_subspace"],
)
def decoder_that_does_not_undo_whitening(x: Tensor, code_dim: int) -> Maps:
    """Codes are divided by the singular values, and the decoder does not multiply them back."""
    mean = x.mean(0)
    values = torch.linalg.svdvals(x - mean)
    scale = torch.ones(code_dim).to(x)
    scale[: len(values)] = values[:code_dim].clamp(min=1e-6)
    rows = _directions(x - mean, code_dim)
    # wrong: z * scale @ rows
    return lambda u: (u - mean) @ rows.T / scale, lambda z: z @ rows + mean


@mutant(
    "linear_autoencoder",
    rejected_by=[
        "linear_autoencoder.attains_pca_error",
        "linear_autoencoder.error_falls_with_code_dim",
    ],
)
def right_singular_vectors_transposed(x: Tensor, code_dim: int) -> Maps:
    """The leading columns of Vh for its rows: orthonormal, of the right shape, and no principal
    directions; the two agree only for codes of full length."""
    mean = x.mean(0)
    # wrong: Vh[:code_dim]
    columns = torch.linalg.svd(x - mean, full_matrices=True).Vh[:, :code_dim]
    return _about(mean, columns.T)


@mutant(
    "linear_autoencoder",
    rejected_by=["linear_autoencoder.tolerates_fewer_points_than_dims"],
)
def pca_that_needs_more_points_than_dimensions(x: Tensor, code_dim: int) -> Maps:
    """The thin decomposition has min(N, D) directions; where the code is longer the slice silently is
    shorter than it should be."""
    mean = x.mean(0)
    # wrong: full_matrices=True
    return _about(mean, torch.linalg.svd(x - mean, full_matrices=False).Vh[:code_dim])


@mutant(
    "linear_autoencoder",
    rejected_by=["linear_autoencoder.tolerates_fewer_points_than_dims"],
)
def pca_of_the_unbiased_covariance(x: Tensor, code_dim: int) -> Maps:
    """The covariance is divided by N - 1 and decomposed: NaN for a single point."""
    mean = x.mean(0)
    covariance = (x - mean).T @ (x - mean) / (len(x) - 1)  # wrong: / len(x)
    vectors = torch.linalg.eigh(covariance).eigenvectors
    return _about(mean, vectors.T.flip(0)[:code_dim])


@mutant(
    "linear_autoencoder",
    rejected_by=[
        "linear_autoencoder.spans_principal_subspace",
        "linear_autoencoder.attains_pca_error",
    ],
)
def pca_after_two_power_iterations(x: Tensor, code_dim: int) -> Maps:
    """Orthogonal iteration stopped long before it has converged: close where the spectrum falls fast,
    and elsewhere a mixture of neighbouring directions."""
    mean = x.mean(0)
    basis = torch.eye(x.shape[1]).to(x)[:, :code_dim] + 0.1
    for _ in range(2):  # wrong: until it converges
        basis = torch.linalg.qr((x - mean).T @ ((x - mean) @ basis)).Q
    return _about(mean, basis.T)


@mutant("linear_autoencoder", rejected_by=["linear_autoencoder.leaves_inputs_alone"])
def pca_that_centres_in_place(x: Tensor, code_dim: int) -> Maps:
    """``x -= mean`` writes to the caller's data: whatever is computed from them next is centred too."""
    mean = x.mean(0)
    with torch.no_grad():
        x -= mean  # wrong: x = x - mean
    return _about(mean, _directions(x.clone(), code_dim))


@mutant("linear_autoencoder", rejected_by=["linear_autoencoder.error_falls_with_code_dim"])
def code_with_a_wasted_dimension(x: Tensor, code_dim: int) -> Maps:
    """Directions are counted from 1: the strongest is left out."""
    mean = x.mean(0)
    rows = torch.linalg.svd(x - mean, full_matrices=True).Vh
    return _about(mean, rows.roll(-1, 0)[:code_dim])  # wrong: no roll


@mutant("linear_autoencoder", rejected_by=["linear_autoencoder.gradient_is_derivative"])
def pca_that_detaches_the_directions(x: Tensor, code_dim: int) -> Maps:
    """The directions are computed without gradient, although they depend on the data."""
    mean = x.mean(0)
    return _about(mean, _directions((x - mean).detach(), code_dim))  # wrong: no detach


# Theory --------------------------------------------------------------------------------------------


@mutant("theory", rejected_by=["theory.gradient_descent_finds_pca"])
def bottleneck_with_biases_frozen(pieces: Any) -> Any:
    """Biases that do not train: descent finds the best linear map, which on data off the origin is not
    PCA."""

    class Frozen(pieces.LinearBottleneck):  # type: ignore[misc, name-defined]
        def __init__(self, data_dim: int, code_dim: int) -> None:
            super().__init__(data_dim, code_dim)
            for layer in (self.encoder, self.decoder):
                nn.init.zeros_(layer.bias).requires_grad_(False)  # wrong: biases train

    pieces.LinearBottleneck = Frozen
    return pieces


@mutant(
    "theory",
    rejected_by=["theory.gradient_descent_finds_pca", "theory.other_critical_points_are_saddles"],
)
def bottleneck_with_a_rectified_code(pieces: Any) -> Any:
    """A ReLU on the code: only half of each direction can be coded, and PCA is out of reach."""

    class Rectified(pieces.LinearBottleneck):  # type: ignore[misc, name-defined]
        def encode(self, x: Tensor) -> Tensor:
            return torch.relu(self.encoder(x))  # wrong: self.encoder(x)

    pieces.LinearBottleneck = Rectified
    return pieces


@mutant("theory", rejected_by=["theory.other_critical_points_are_saddles"])
def loss_averaged_over_features(pieces: Any) -> Any:
    """The mean over features as well as over the batch: smaller by a factor D than PCA's error."""
    # wrong: .sum(1).mean()
    pieces.reconstruction_loss = lambda x, rebuilt: (x - rebuilt).square().mean()
    return pieces


@mutant("theory", rejected_by=["theory.pca_needs_centring"])
def directions_of_least_variance(pieces: Any) -> Any:
    """Principal directions sorted upwards: the last come first."""
    right = pieces.principal_directions
    # wrong: no flip
    pieces.principal_directions = lambda centred, count: right(centred, centred.shape[1]).flip(0)[
        :count
    ]
    return pieces


@mutant("theory", rejected_by=["theory.pca_needs_centring"])
def autoencoder_about_the_origin(pieces: Any) -> Any:
    """The closed form without centring: it spends its only direction on the mean."""

    def without(x: Tensor, code_dim: int) -> Maps:
        # wrong: x.mean(0), x - x.mean(0)
        return _about(torch.zeros_like(x[0]), _directions(x, code_dim))

    pieces.linear_autoencoder = without
    return pieces
