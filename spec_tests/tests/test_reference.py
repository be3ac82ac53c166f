r"""What the references refuse, quoting the value, and the tiny models that they offer for tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn, ones, zeros

from reference import adversarial, autoencoders, autoregressive, divergences, flows, latent

HALF = torch.tensor([0.5, 0.5])
POINTS = zeros(2, 1)
PIXELCNN = autoregressive.PixelCNN.tiny()

REFUSALS: dict[str, tuple[Callable[[], Any], str]] = {
    "kl lengths": (lambda: divergences.kl_divergence(HALF, ones(3)), r"\(3,\)"),
    "kl sign": (lambda: divergences.kl_divergence(-HALF, HALF), r"-0\.5"),
    "js lengths": (lambda: divergences.js_divergence(HALF, ones(3)), r"\(3,\)"),
    "js sign": (lambda: divergences.js_divergence(HALF, -HALF), r"-0\.5"),
    "w1 dimensions": (
        lambda: divergences.wasserstein1(POINTS, zeros(2, 3), HALF, HALF),
        r"\(2, 3\)",
    ),
    "w1 number of weights": (
        lambda: divergences.wasserstein1(POINTS, POINTS, HALF, ones(3)),
        r"one weight",
    ),
    "w1 total": (lambda: divergences.wasserstein1(POINTS, POINTS, HALF, 2 * HALF), r"1\.0"),
    "w1 dual shapes": (
        lambda: divergences.wasserstein1_dual(POINTS, POINTS, HALF, ones(3)),
        r"\(3,\)",
    ),
    "w1 line shapes": (
        lambda: divergences.wasserstein1_on_the_line(POINTS, HALF, HALF, HALF),
        r"\(2, 1\)",
    ),
    "autoencoder data": (lambda: autoencoders.linear_autoencoder(zeros(3), 1), r"\(3,\)"),
    "autoencoder code": (lambda: autoencoders.linear_autoencoder(zeros(3, 2), 3), "got 3"),
    "directions": (lambda: autoencoders.principal_directions(zeros(3, 2), 0), "got 0"),
    "reconstruction": (
        lambda: autoencoders.reconstruction_loss(zeros(3, 2), zeros(3, 1)),
        r"\(3, 1\)",
    ),
    "likelihood shapes": (lambda: latent.gaussian_kl(zeros(3, 2), zeros(2, 2)), r"\(2, 2\)"),
    "vae likelihood": (lambda: latent.VAE(3, 2, 4, "poisson"), "'poisson'"),
    "vae noise": (lambda: latent.VAE.tiny().elbo(zeros(4, 5), zeros(4, 2)), r"\(4, 2\)"),
    "linear vae noise": (
        lambda: latent.LinearGaussianVAE(3, 2).elbo(zeros(4, 3), zeros(4, 2)),
        r"\(4, 2\)",
    ),
    "sampled elbo": (lambda: latent.elbo_sampled(zeros(3, 2), zeros(3, 2), zeros(2)), r"\(2,\)"),
    "analytic elbo": (lambda: latent.elbo_analytic(zeros(3, 2), zeros(3)), r"\(3,\)"),
    "minibatch": (lambda: latent.minibatch_objective(zeros(4), 3), "4 from a data set of 3"),
    "log mean exp": (lambda: latent.log_mean_exp(zeros(0, 2)), r"\(0, 2\)"),
    "marginal": (
        lambda: latent.log_marginal_likelihood(lambda x, z: x, zeros(4, 1), zeros(3, 2)),
        r"\(S, 4, L\)",
    ),
    "event": (lambda: autoregressive.raster_order((2, 2)), r"\(2, 2\)"),
    "known": (
        lambda: autoregressive.complete(
            lambda x: x, zeros(2, 3).long(), ones(2).bool(), torch.arange(3)
        ),
        r"\(2,\)",
    ),
    "kernel": (lambda: autoregressive.raster_mask(1, 1, 4, "A"), "not 4"),
    "mask type": (lambda: autoregressive.raster_mask(1, 1, 3, "C"), "'C'"),
    "groups": (lambda: autoregressive.raster_mask(4, 3, 3, "A", 3), "4 channels"),
    "joint": (lambda: autoregressive.conditional_tables(ones(2, 3)), r"\(2, 3\)"),
    "labels missing": (lambda: autoregressive.class_labels(zeros(2, 3), None, 4), "num_classes=4"),
    "labels": (lambda: autoregressive.class_labels(zeros(2, 3), zeros(3).long(), 4), r"\(3,\)"),
    "pixelcnn event": (lambda: autoregressive.PixelCNN((3,), 2), r"\(3,\)"),
    "pixelcnn image": (lambda: PIXELCNN.logits(zeros(1, 9, 9, 9).long()), r"\(9, 9, 9\)"),
    "pixelrnn event": (lambda: autoregressive.RowLSTM((3,), 2), r"\(3,\)"),
    "pixelrnn image": (
        lambda: autoregressive.DiagonalBiLSTM.tiny().logits(zeros(1, 9, 9, 9).long()),
        r"\(9, 9, 9\)",
    ),
    "unskew": (lambda: autoregressive.unskew(zeros(5, 4)), "not 4 of H = 5"),
    "gates": (lambda: autoregressive.lstm_update(zeros(1, 9, 2), zeros(1, 3, 2)), "not 9"),
    "gated event": (lambda: autoregressive.GatedPixelCNN((3,), 2), r"\(3,\)"),
    "gated image": (
        lambda: autoregressive.GatedPixelCNN.tiny().logits(zeros(1, 9, 9, 9).long()),
        r"\(9, 9, 9\)",
    ),
    "no condition": (lambda: autoregressive.ConditionalPixelCNN((1, 2, 3), 2), "embedding=0"),
    "condition": (
        lambda: autoregressive.ConditionalPixelCNN((1, 2, 3), 2, embedding=4).logits(
            zeros(5, 1, 2, 3).long(), embedding=zeros(5, 6)
        ),
        r"\(5, 4\), not \(5, 6\)",
    ),
    "subsampling": (lambda: autoregressive.subsampled_order((1, 2, 3), 0), r"\(1, 2, 3\), 0"),
    "multiscale image": (
        lambda: autoregressive.MultiscalePixelCNN.tiny().logits(zeros(1, 9, 9, 9).long()),
        r"\(9, 9, 9\)",
    ),
    "cache": (
        lambda: autoregressive.cached_complete(
            autoregressive.PixelCNNCache(PIXELCNN, 2),
            zeros(5, 3, 4, 5).long(),
            ones(3, 4, 5).bool(),
        ),
        r"\(5, 3, 4, 5\)",
    ),
    "order": (lambda: autoregressive.NADE((3,), 2, order=[0, 2, 2]), r"\[0, 2, 2\]"),
    "made layers": (lambda: autoregressive.MADE((3,), 2, hidden=()), r"hidden=\(\)"),
    "made masks": (lambda: autoregressive.MADE((3,), 2, num_masks=0), "num_masks=0"),
    "nade known": (
        lambda: autoregressive.nade_complete(
            autoregressive.NADE((3,), 2), zeros(2, 3).long(), ones(2).bool()
        ),
        r"\(2,\)",
    ),
    "stream": (lambda: autoregressive.shifted_pad(zeros(1, 1, 2, 3), (2, 3), "up"), "'up'"),
    "stream down": (
        lambda: autoregressive.shifted_pad(zeros(1, 1, 2, 3), (2, 4), "down"),
        "width, not 4",
    ),
    "logistic levels": (
        lambda: autoregressive.discretized_logistic(zeros(1).long(), HALF, HALF, 1),
        "not 1",
    ),
    "pixelcnn++ event": (lambda: autoregressive.PixelCNNPlusPlus((3,), 2), r"\(3,\)"),
    "pixelcnn++ image": (
        lambda: autoregressive.PixelCNNPlusPlus.tiny().logits(zeros(1, 9, 9, 9).long()),
        r"\(9, 9, 9\)",
    ),
    "pixelsnail levels": (lambda: autoregressive.PixelSNAIL((3, 4, 5), 1), "1 levels"),
    "pixelsnail image": (
        lambda: autoregressive.PixelSNAIL.tiny().logits(zeros(1, 9, 9, 9).long()),
        r"\(9, 9, 9\)",
    ),
    "table size": (lambda: autoregressive.TabularChainRule((30,), 4), "4 levels"),
    "table axes": (
        lambda: autoregressive.TabularChainRule.from_joint(ones(2, 2) / 4, (3,)),
        "2 axes",
    ),
    "nice features": (lambda: flows.NICE((1,), 3, 4), r"\(1,\)"),
    "realnvp features": (lambda: flows.RealNVP(1, 3, 4), "dim = 1"),
    "realnvp scales": (lambda: flows.ImageRealNVP((1, 6, 4), 3, 4), "6 x 4 do not have 3"),
    "glow scales": (lambda: flows.Glow((3, 2, 3), 2, 1, 4), "2 x 3 do not have 2"),
    "glow channels": (lambda: flows.Glow((1, 2, 3), 1, 1, 4), "1 channel"),
    "squeeze": (lambda: flows.squeeze(zeros(1, 2, 3, 4)), "3 x 4"),
    "unsqueeze": (lambda: flows.unsqueeze(zeros(1, 6, 2, 2)), "not 6"),
    "dequantization noise": (
        lambda: flows.dequantized_log_prob(lambda v: v, zeros(2, 3).long(), zeros(3), 4),
        r"\(3,\) for x of \(2, 3\)",
    ),
    "pairs": (
        lambda: adversarial.gradient_penalty(nn.Identity(), zeros(2, 3), zeros(2, 4)),
        r"2, 4",
    ),
    "bound": (lambda: adversarial.clip_weights(nn.Linear(1, 1), -0.1), r"-0\.1"),
    "layer": (lambda: adversarial.spectral_norm(nn.ReLU()), r"ReLU"),
    "quantile threshold": (lambda: adversarial.truncated_normal(HALF, -2.0), r"-2\.0"),
    "redrawing threshold": (
        lambda: adversarial.redrawn_normal((3,), 0.0, torch.Generator()),
        r"0\.0",
    ),
    "one number a channel": (
        lambda: adversarial.ClassConditionalBatchNorm2d.tiny()(zeros(1, 3, 1, 1), zeros(1).long()),
        "not 1",
    ),
    "kind": (lambda: adversarial.gan_losses("softmax"), "'softmax'"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_the_callers_error_is_a_value_error_that_quotes_the_value(name: str) -> None:
    call, quoted = REFUSALS[name]
    with pytest.raises(ValueError, match=quoted):
        call()


def test_an_impossible_outcome_costs_infinitely_much() -> None:
    assert torch.isposinf(divergences.kl_divergence(HALF, torch.tensor([1.0, 0.0])))


@pytest.mark.parametrize(
    "model",
    [autoencoders.LinearBottleneck.tiny(), autoencoders.DeepBottleneck.tiny()],
    ids=lambda model: type(model).__name__,
)
def test_a_bottleneck_reconstructs_every_point_through_its_code(model: Any) -> None:
    x = torch.randn(6, 5)
    code = model.encode(x)
    assert code.shape[1] < x.shape[1]
    assert torch.equal(model(x), model.decode(code))
    assert torch.linalg.matrix_rank(model.decode(code) - model.decode(code).mean(0)) <= x.shape[1]


def test_tiny_models_sample_what_they_model() -> None:
    generator = torch.Generator().manual_seed(0)
    fvbn = autoregressive.FullyVisibleBeliefNetwork.tiny()
    table = autoregressive.TabularChainRule.tiny()
    nade, made = autoregressive.NADE.tiny(), autoregressive.MADE.tiny()
    for model in (fvbn, table, nade, made, PIXELCNN):
        assert len(model.sample(3, generator=generator)) == 3
    assert latent.LinearGaussianVAE.tiny().sample(3, generator).shape[0] == 3
    assert PIXELCNN.features(PIXELCNN.sample(2, generator=generator)).shape[0] == 2
