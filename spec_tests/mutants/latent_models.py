r"""Classic mistakes in observation models, score functions and generative classifiers."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from spec_tests.registry import mutant

_DENSITIES, _SCORE = "theory.observation_models_are_densities", "theory.score_function_is_unbiased"
_BASELINE, _BAYES = "theory.baseline_keeps_the_mean", "theory.generative_classifier"
_PIXELS = "theory.conv_vae_covers_every_pixel"


@mutant("theory", rejected_by=[_DENSITIES])
def gaussian_without_its_scale(pieces: Any) -> Any:
    """log sigma is dropped as a constant: the best sigma is then infinite."""
    right = pieces.fixed_gaussian_log_likelihood

    def density(x: Tensor, mean: Tensor, sigma: float) -> Tensor:
        return right(x, mean, sigma) + x.shape[1] * math.log(sigma)  # wrong: no last term

    pieces.fixed_gaussian_log_likelihood = density
    return pieces


@mutant("theory", rejected_by=[_DENSITIES])
def gaussian_of_a_variance(pieces: Any) -> Any:
    """sigma is taken for the variance."""
    right = pieces.fixed_gaussian_log_likelihood
    # wrong: right(x, mean, sigma)
    pieces.fixed_gaussian_log_likelihood = lambda x, mean, sigma: right(x, mean, math.sqrt(sigma))
    return pieces


@mutant("theory", rejected_by=[_DENSITIES])
def levels_normalised_over_features(pieces: Any) -> Any:
    """The softmax runs over the features instead of over the levels."""

    def density(x: Tensor, logits: Tensor) -> Tensor:
        return logits.log_softmax(2).gather(1, x[:, None])[:, 0].sum(-1)  # wrong: .log_softmax(1)

    pieces.categorical_log_likelihood = density
    return pieces


@mutant("theory", rejected_by=[_DENSITIES])
def levels_averaged_over_features(pieces: Any) -> Any:
    """The mean over features, as a loss has it: off by a factor of D."""
    right = pieces.categorical_log_likelihood
    # wrong: no division
    pieces.categorical_log_likelihood = lambda x, logits: right(x, logits) / x.shape[1]
    return pieces


@mutant("theory", rejected_by=[_SCORE])
def score_with_the_path_left_in(pieces: Any) -> Any:
    """Values are multiplied by the probability, not by its logarithm: p twice."""
    pieces.score_function_surrogate = lambda value, log_q, baseline=0.0: (
        # wrong: * log_q
        ((value - baseline).detach() * log_q.exp()).mean(0)
    )
    return pieces


@mutant("theory", rejected_by=[_SCORE])
def score_of_a_loss(pieces: Any) -> Any:
    """The sign of policy-gradient code, where a reward is to be raised by a step downhill."""
    right = pieces.score_function_surrogate
    pieces.score_function_surrogate = lambda value, log_q, baseline=0.0: (
        -right(value, log_q, baseline)  # wrong: no minus
    )
    return pieces


@mutant("theory", rejected_by=[_SCORE])
def score_summed_over_draws(pieces: Any) -> Any:
    """The sum over draws: the step grows with their number."""
    pieces.score_function_surrogate = lambda value, log_q, baseline=0.0: (
        (value - baseline).detach() * log_q
    ).sum(0)  # wrong: .mean(0)
    return pieces


@mutant("theory", rejected_by=[_BASELINE])
def baseline_of_all_draws(pieces: Any) -> Any:
    """The mean includes the draw itself: what it takes off depends on the draw, and biases."""
    # wrong: the mean of the other S - 1
    pieces.leave_one_out_baseline = lambda value: value.mean(0).expand_as(value)
    return pieces


@mutant("theory", rejected_by=[_BASELINE])
def baseline_with_the_wrong_sign(pieces: Any) -> Any:
    """Added where it should be taken off: unbiased still, and four times as noisy."""
    right = pieces.score_function_surrogate
    pieces.score_function_surrogate = lambda value, log_q, baseline=0.0: right(
        value,
        log_q,
        # wrong: baseline
        0.0 - baseline if isinstance(baseline, float) else -baseline,
    )
    return pieces


@mutant("theory", rejected_by=[_BAYES])
def posterior_without_a_prior(pieces: Any) -> Any:
    """The class of largest likelihood: rare classes are found too often."""
    # wrong: (log_conditional + log_prior)
    pieces.class_posterior = lambda log_conditional, log_prior: log_conditional.softmax(-1)
    return pieces


@mutant("theory", rejected_by=[_BAYES])
def evidence_of_the_best_class(pieces: Any) -> Any:
    """The largest term instead of the sum."""
    # wrong: .logsumexp(-1)
    pieces.log_evidence = lambda log_conditional, log_prior: (log_conditional + log_prior).amax(-1)
    return pieces


@mutant("theory", rejected_by=[_BAYES])
def outliers_by_confidence(pieces: Any) -> Any:
    """What is likelier than the data is flagged: the comparison is the wrong way round."""
    right = pieces.flags_outliers
    pieces.flags_outliers = lambda log_p, data, rate: ~right(log_p, data, rate)  # wrong: no ~
    return pieces


@mutant("theory", rejected_by=[_PIXELS])
def images_cut_to_a_multiple_of_four(pieces: Any) -> Any:
    """What does not divide by the strides is cut off before encoding: the border is never seen."""

    class Cut(pieces.ConvolutionalVAE):  # type: ignore[misc, name-defined]
        def encode(self, x: Tensor) -> Any:
            image = x.view(-1, *self.event_shape)
            kept = torch.zeros_like(image)
            height, width = (max(s // 2 * 2, 1) for s in self.event_shape[1:])
            kept[:, :, :height, :width] = image[:, :, :height, :width]  # wrong: the whole image
            return super().encode(kept.flatten(1))

    pieces.ConvolutionalVAE = Cut
    return pieces
