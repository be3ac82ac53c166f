r"""Classic mistakes in denoisers, sparse codes and stacks of autoencoders."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from spec_tests.registry import mutant

_MEAN, _TWEEDIE = "theory.optimal_denoiser_is_posterior_mean", "theory.tweedie"
_WIENER, _MASK = "theory.linear_denoiser_is_wiener", "theory.masking_noise_deletes"
_SPARSE, _EMPTIES = "theory.l1_sparsifies_l2_shrinks", "theory.l1_price_empties_the_code"
_SLAB, _FREEZES = "theory.spike_and_slab_is_exact", "theory.layerwise_freezes_the_rest"
_GREEDY, _COPIES = (
    "theory.greedy_linear_layers_find_pca",
    "theory.pretraining_initialises_supervised",
)
_INVERTS, _EXCITES = "theory.implicit_inversion", "theory.activation_maximisation_finds_the_weights"
_MOVES = "theory.convolutional_code_moves_with_the_image"


@mutant("theory", rejected_by=[_MEAN, _TWEEDIE])
def denoiser_to_the_nearest_point(pieces: Any) -> Any:
    """The likeliest clean point instead of the mean: right for hits, dear between two points."""

    def nearest(x: Tensor, points: Tensor, weights: Tensor, sigma: float) -> Tensor:
        return points[torch.cdist(x, points).argmin(1)]  # wrong: the weighted mean of points

    pieces.posterior_mean_denoiser = nearest
    return pieces


@mutant("theory", rejected_by=[_MEAN, _TWEEDIE])
def denoiser_without_the_prior(pieces: Any) -> Any:
    """All clean points are taken to be equally likely."""
    right = pieces.posterior_mean_denoiser
    pieces.posterior_mean_denoiser = lambda x, points, weights, sigma: right(
        x,
        points,
        torch.full_like(weights, 1 / len(weights)),  # wrong: weights
        sigma,
    )
    return pieces


@mutant("theory", rejected_by=[_MEAN, _TWEEDIE])
def denoiser_of_the_variance(pieces: Any) -> Any:
    """sigma where its square is meant: the noise is taken to be larger than it is, or smaller."""
    right = pieces.posterior_mean_denoiser
    pieces.posterior_mean_denoiser = lambda x, points, weights, sigma: right(
        x,
        points,
        weights,
        math.sqrt(sigma),  # wrong: sigma
    )
    return pieces


@mutant("theory", rejected_by=[_TWEEDIE])
def density_of_the_clean_points(pieces: Any) -> Any:
    """The density is smoothed by half of the noise, as if the data had been denoised already."""
    right = pieces.noisy_log_density
    pieces.noisy_log_density = lambda x, points, weights, sigma: right(
        x,
        points,
        weights,
        sigma / math.sqrt(2),  # wrong: sigma
    )
    return pieces


@mutant("theory", rejected_by=[_WIENER])
def filter_without_the_mean(pieces: Any) -> Any:
    """Points are shrunk towards zero instead of towards the mean of the data."""
    right = pieces.wiener_denoiser
    pieces.wiener_denoiser = lambda x, mean, covariance, sigma: right(
        x,
        torch.zeros_like(mean),  # wrong: mean
        covariance,
        sigma,
    )
    return pieces


@mutant("theory", rejected_by=[_WIENER])
def filter_that_whitens(pieces: Any) -> Any:
    """The inverse covariance alone: what has little variance is blown up, noise and all."""

    def whiten(x: Tensor, mean: Tensor, covariance: Tensor, sigma: float) -> Tensor:
        noisy = covariance + sigma**2 * torch.eye(len(mean), dtype=x.dtype)
        return mean + torch.linalg.solve(noisy, (x - mean).T).T  # wrong: covariance @ solve(...)

    pieces.wiener_denoiser = whiten
    return pieces


@mutant("theory", rejected_by=[_MASK])
def masking_that_keeps_what_it_should_delete(pieces: Any) -> Any:
    """The mask is read the wrong way round."""
    right = pieces.masking_noise
    pieces.masking_noise = lambda clean, keep: right(clean, 1 - keep)  # wrong: keep
    return pieces


@mutant("theory", rejected_by=[_SPARSE])
def penalty_that_is_a_square_by_another_name(pieces: Any) -> Any:
    """The L1 penalty is computed as a mean of squares: nothing becomes zero."""
    right = pieces.code_penalty
    pieces.code_penalty = lambda code, norm: right(code, "l2")  # wrong: norm
    return pieces


@mutant("theory", rejected_by=[_SPARSE])
def hard_threshold_for_a_soft_one(pieces: Any) -> Any:
    """What survives the threshold is not shrunk by it: sparse, and not the minimum."""

    def code(x: Tensor, dictionary: Tensor, penalty: float) -> Tensor:
        worth = x @ dictionary.T
        return torch.where(worth.abs() > penalty, worth, 0.0)  # wrong: worth less the penalty

    pieces.sparse_code = code
    return pieces


@mutant("theory", rejected_by=[_SPARSE])
def ridge_with_twice_the_price(pieces: Any) -> Any:
    """The half in front of the squared error is forgotten in the normal equations."""
    right = pieces.ridge_code
    # wrong: penalty
    pieces.ridge_code = lambda x, dictionary, penalty: right(x, dictionary, 2 * penalty)
    return pieces


@mutant("theory", rejected_by=[_EMPTIES])
def price_on_the_weights(pieces: Any) -> Any:
    """The price is paid for the encoder's weights, as weight decay, and the code is free."""

    class Decayed(pieces.SparseAutoencoder):  # type: ignore[misc, name-defined]
        def loss(self, x: Tensor) -> Tensor:
            error = (x - self(x)).square().sum(1).mean()
            # wrong: the price of the code
            return error + self.price * self.encoder.weight.abs().sum()

    pieces.SparseAutoencoder = Decayed
    return pieces


@mutant("theory", rejected_by=[_EMPTIES])
def price_averaged_over_the_code(pieces: Any) -> Any:
    """The mean over the code's entries in place of the sum: the price depends on the width."""

    class Averaged(pieces.SparseAutoencoder):  # type: ignore[misc, name-defined]
        def loss(self, x: Tensor) -> Tensor:
            code = self.encode(x)
            error = (x - self(x)).square().sum(1).mean()
            size = code.abs() if self.norm == "l1" else code.square() / 2
            return error + self.price * size.mean()  # wrong: size.sum(1).mean()

    pieces.SparseAutoencoder = Averaged
    return pieces


def _slab(pieces: Any, **members: Any) -> Any:
    pieces.SpikeAndSlab = type("Changed", (pieces.SpikeAndSlab,), members)
    return pieces


@mutant("theory", rejected_by=[_SLAB])
def slab_everywhere_and_no_spike(pieces: Any) -> Any:
    """Every atom is in use with a slab of variance pi: the right variance, and never a zero."""
    right = pieces.SpikeAndSlab

    def blurred(dictionary: Tensor, rate: float, sigma: float) -> Any:
        # wrong: dictionary, rate, sigma
        return right(math.sqrt(rate) * dictionary, 1 - 1e-12, sigma)

    pieces.SpikeAndSlab = blurred
    return pieces


@mutant("theory", rejected_by=[_SLAB])
def code_of_the_likeliest_subset(pieces: Any) -> Any:
    """One subset, the likeliest, in place of the average over all."""

    def code(self: Any, x: Tensor) -> Tensor:
        best = self._log_joint(x).argmax(1)  # wrong: all subsets, weighed
        gain = torch.linalg.solve(self.covariance, self.kept.mT)
        return torch.einsum("nd,ndk->nk", x, gain[best])

    return _slab(pieces, code=code)


@mutant("theory", rejected_by=[_SLAB])
def subsets_without_their_determinant(pieces: Any) -> Any:
    """The Gaussian's normaliser is left out: large subsets explain everything at no cost."""

    def joint(self: Any, x: Tensor) -> Tensor:
        whitened = torch.linalg.solve(self.covariance, x.mT).transpose(0, 1)
        distance = (whitened * x.mT[:, None]).sum(0)
        # wrong: less half the log det
        return self.log_prior - math.log(2 * math.pi) - 0.5 * distance.mT

    return _slab(pieces, _log_joint=joint)


@mutant("theory", rejected_by=[_FREEZES])
def every_layer_trained_at_once(pieces: Any) -> Any:
    """The layers below are not cut off, and forget what they were trained for."""

    def loss(layers: Any, decoder: nn.Module, x: Tensor) -> Tensor:
        for layer in layers[:-1]:
            x = layer(x)  # wrong: without gradient
        return (decoder(layers[-1](x)) - x).square().sum(1).mean()

    pieces.layer_loss = loss
    return pieces


@mutant("theory", rejected_by=[_FREEZES])
def layer_cut_off_with_the_rest(pieces: Any) -> Any:
    """The detach sits after the new layer: only its decoder is trained."""

    def loss(layers: Any, decoder: nn.Module, x: Tensor) -> Tensor:
        below = x
        with torch.no_grad():
            for layer in layers[:-1]:
                below = layer(below)
            code = layers[-1](below)  # wrong: outside no_grad
        return (decoder(code) - below).square().sum(1).mean()

    pieces.layer_loss = loss
    return pieces


@mutant("theory", rejected_by=[_GREEDY])
def layers_fed_with_the_data(pieces: Any) -> Any:
    """Every layer is fitted to the data's first entries instead of to the codes below it."""
    right = pieces.greedy_linear_stack

    def stack(x: Tensor, dims: tuple[int, ...]) -> list[Any]:
        found, width = [], x.shape[1]
        for code_dim in dims:
            found += right(x[:, :width], (code_dim,))  # wrong: the codes below
            width = code_dim
        return found

    pieces.greedy_linear_stack = stack
    return pieces


@mutant("theory", rejected_by=[_GREEDY])
def layers_that_whiten_their_codes(pieces: Any) -> Any:
    """Codes are divided by their variance between the layers: what was strong is weak to the next."""
    right = pieces.greedy_linear_stack

    def stack(x: Tensor, dims: tuple[int, ...]) -> list[Any]:
        found = []
        for code_dim in dims:
            ((weight, bias),) = right(x, (code_dim,))
            spread = (x @ weight.T + bias).var(0)
            weight, bias = weight / spread[:, None], bias / spread  # wrong: no division
            found.append((weight, bias))
            x = x @ weight.T + bias
        return found

    pieces.greedy_linear_stack = stack
    return pieces


@mutant("theory", rejected_by=[_COPIES])
def classifier_that_shares_the_encoder(pieces: Any) -> Any:
    """The encoder itself, not a copy: fine-tuning ruins the autoencoder."""

    def classifier(encoder: nn.Module, code_dim: int, num_classes: int) -> nn.Sequential:
        head = nn.Linear(code_dim, num_classes).double()
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        return nn.Sequential(encoder, head)  # wrong: a deep copy

    pieces.classifier_from_encoder = classifier
    return pieces


@mutant("theory", rejected_by=[_COPIES])
def classifier_that_starts_afresh(pieces: Any) -> Any:
    """The encoder's architecture with new weights: pretraining was for nothing."""
    right = pieces.classifier_from_encoder

    def classifier(encoder: nn.Module, code_dim: int, num_classes: int) -> nn.Sequential:
        fresh = copy.deepcopy(encoder)
        for module in fresh.modules():
            if isinstance(module, nn.Linear):
                module.reset_parameters()  # wrong: keep the weights
        return right(fresh, code_dim, num_classes)

    pieces.classifier_from_encoder = classifier
    return pieces


@mutant("theory", rejected_by=[_INVERTS])
def inversion_by_the_transpose(pieces: Any) -> Any:
    """One step from zero: the decoder's transpose, which inverts orthonormal decoders alone."""
    right = pieces.invert_decoder
    pieces.invert_decoder = lambda decoder, x, start, step_size, steps: right(
        decoder,
        x,
        start,
        1.0,  # wrong: step_size
        1,  # wrong: steps
    )
    return pieces


@mutant("theory", rejected_by=[_INVERTS])
def inversion_averaged_over_the_batch(pieces: Any) -> Any:
    """A mean over the batch in the error: the more points, the smaller the step of each."""
    right = pieces.invert_decoder
    pieces.invert_decoder = lambda decoder, x, start, step_size, steps: right(
        decoder,
        x,
        start,
        step_size / len(x) ** 2,  # wrong: step_size
        steps,
    )
    return pieces


@mutant("theory", rejected_by=[_EXCITES])
def excitation_downhill(pieces: Any) -> Any:
    """The sign of a loss: the input that silences the unit."""
    right = pieces.activation_maximisation
    # wrong: unit(x)
    pieces.activation_maximisation = lambda unit, *rest: right(lambda x: -unit(x), *rest)
    return pieces


@mutant("theory", rejected_by=[_EXCITES])
def excitation_without_its_length(pieces: Any) -> Any:
    """The result is normalised to length one whatever was asked for."""
    right = pieces.activation_maximisation
    pieces.activation_maximisation = lambda unit, start, step_size, steps, radius: right(
        unit,
        start,
        step_size,
        steps,
        1.0,  # wrong: radius
    )
    return pieces


@mutant("theory", rejected_by=[_MOVES])
def code_averaged_over_the_image(pieces: Any) -> Any:
    """The mean over positions is taken off: every code knows of the whole image."""

    class Centred(pieces.ConvolutionalAutoencoder):  # type: ignore[misc, name-defined]
        def encode(self, x: Tensor) -> Tensor:
            weight = torch.arange(x.shape[3]).to(x)
            # wrong: nothing taken off
            return super().encode(x) - (x * weight).mean((1, 2, 3), keepdim=True)

    pieces.ConvolutionalAutoencoder = Centred
    return pieces


@mutant("theory", rejected_by=[_MOVES])
def image_one_row_short(pieces: Any) -> Any:
    """Kernel and padding of the transposed convolution do not fit: the image comes back smaller."""

    class Short(pieces.ConvolutionalAutoencoder):  # type: ignore[misc, name-defined]
        def decode(self, code: Tensor) -> Tensor:
            return super().decode(code)[:, :, :-1]  # wrong: every row

    pieces.ConvolutionalAutoencoder = Short
    return pieces
