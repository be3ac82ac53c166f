r"""Classic mistakes in the deep Gaussian mixture and in the mixture under RIDE."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from spec_tests.registry import mutant

_FLAT, _MASS = "theory.deep_mixture_is_flat", "theory.deep_mixture_integrates_to_one"
_DRAWS = "theory.deep_mixture_samples_its_density"
_SLOPES = "theory.responsibilities_are_the_gradient"
_EXPERTS = "theory.mcgsm_is_a_conditional_of_gaussians"
_BINS = "theory.discretized_gaussian_is_a_difference_of_cdfs"
_STATES, _RIDE = "theory.spatial_lstm_equations", "theory.ride_predicts_from_its_state"


@mutant("theory", rejected_by=[_FLAT, _MASS])
def volume_forgotten(pieces: Any) -> Any:
    """No determinants: a map that shrinks everything makes every point likely."""
    right = pieces.deep_gmm_log_prob

    def log_prob(x: Tensor, layers: Any) -> Tensor:
        # wrong: w, from which each map takes its log-determinant
        return right(x, [(w + torch.linalg.slogdet(a).logabsdet, a, b) for w, a, b in layers])

    pieces.deep_gmm_log_prob = log_prob
    return pieces


@mutant("theory", rejected_by=[_FLAT, _SLOPES])
def the_likeliest_path_alone(pieces: Any) -> Any:
    """The greatest term in place of the sum: the bound of the paper's training, taken for p(x)."""

    def log_prob(x: Tensor, layers: Any) -> Tensor:
        log_weights, means, roots = pieces.deep_gmm_components(layers)
        apart = torch.linalg.solve(roots, (x[:, None] - means)[..., None])[..., 0]
        normal = -0.5 * (apart.square() + math.log(2 * math.pi)).sum(-1)
        # wrong: logsumexp(1)
        return (log_weights + normal - torch.linalg.slogdet(roots).logabsdet).amax(1)

    pieces.deep_gmm_log_prob = log_prob
    return pieces


@mutant("theory", rejected_by=[_FLAT, _MASS])
def weights_that_do_not_sum_to_one(pieces: Any) -> Any:
    """The logarithms of the weights are used as they are, not normalised in each layer."""
    right = pieces.deep_gmm_log_prob
    pieces.deep_gmm_log_prob = lambda x, layers: (
        # wrong: right(x, layers), where the weights of a layer sum to one
        right(x, layers) + sum(w.logsumexp(0) for w, _, _ in layers)
    )
    return pieces


@mutant("theory", rejected_by=[_FLAT])
def shifts_that_are_not_carried_out(pieces: Any) -> Any:
    """The shifts of inner layers are added without the maps outside them."""
    right = pieces.deep_gmm_components

    def components(layers: Any) -> Any:
        log_weights, _, roots = right(layers)
        shifts = layers[0][2]
        for _, _, b in layers[1:]:
            shifts = (shifts[:, None] + b).flatten(0, 1)  # wrong: the outer map applied to b
        return log_weights, shifts, roots

    pieces.deep_gmm_components = components
    return pieces


@mutant("theory", rejected_by=[_DRAWS])
def maps_in_the_order_of_their_numbers(pieces: Any) -> Any:
    """The first layer is applied first; but it is the nearest to x, and comes last."""
    right = pieces.deep_gmm_push
    # wrong: path, layers
    pieces.deep_gmm_push = lambda z, path, layers: right(z, path.flip(1), layers[::-1])
    return pieces


@mutant("theory", rejected_by=[_DRAWS])
def every_path_as_likely(pieces: Any) -> Any:
    """The sampler draws uniform paths, whatever the weights say."""

    class Uniform(pieces.DeepGMM):
        def sample(self, n: int, generator: Any = None) -> Tensor:
            kept = [w.detach().clone() for w in self.log_weights]
            with torch.no_grad():
                for weights in self.log_weights:
                    weights.zero_()  # wrong: the weights as they are
                found = super().sample(n, generator)
                for weights, old in zip(self.log_weights, kept, strict=True):
                    weights.copy_(old)
            return found

    pieces.DeepGMM = Uniform
    return pieces


@mutant("theory", rejected_by=[_DRAWS])
def one_path_for_the_whole_batch(pieces: Any) -> Any:
    """A single path is drawn, and all items take it: a batch looks like one Gaussian."""

    class OnePath(pieces.DeepGMM):
        def sample(self, n: int, generator: Any = None) -> Tensor:
            # wrong: n draws for each layer
            taken = [torch.multinomial(w.detach().softmax(0), 1, generator=generator)
                     for w in self.log_weights]  # fmt: skip
            like = self.shifts[0].detach()
            z = torch.randn(n, like.shape[1], generator=generator, dtype=like.dtype)
            with torch.no_grad():
                return pieces.deep_gmm_push(z, torch.stack(taken, 1).expand(n, -1), self.layers)

    pieces.DeepGMM = OnePath
    return pieces


@mutant("theory", rejected_by=[_SLOPES])
def responsibilities_that_are_cut_off(pieces: Any) -> Any:
    """The shares of the first layer are constants to the gradient, and its weights never learn."""
    right = pieces.deep_gmm_log_prob
    pieces.deep_gmm_log_prob = lambda x, layers: right(
        x,
        # wrong: layers[0][0], with its gradient
        [(layers[0][0].detach() + 0 * layers[0][0], *layers[0][1:]), *layers[1:]],
    )
    return pieces


@mutant("theory", rejected_by=[_EXPERTS])
def gates_that_ignore_the_scale(pieces: Any) -> Any:
    """Every scale weighs the features alike: contrast no longer says how sure to be."""
    right = pieces.mcgsm

    def gated(h: Tensor, priors: Tensor, alpha: Tensor, *rest: Tensor) -> Any:
        return right(h, priors, torch.zeros_like(alpha), *rest)  # wrong: alpha

    pieces.mcgsm = gated
    return pieces


@mutant("theory", rejected_by=[_EXPERTS])
def gates_normalised_for_each_expert(pieces: Any) -> Any:
    """The softmax runs over the scales alone: each expert has mass one, and all together too much."""
    right = pieces.mcgsm

    def gated(*parts: Tensor) -> Any:
        gates, predictions = right(*parts)
        return gates.log_softmax(-1), predictions  # wrong: gates

    pieces.mcgsm = gated
    return pieces


@mutant("theory", rejected_by=[_EXPERTS])
def loadings_without_their_square(pieces: Any) -> Any:
    """K is weighed by beta in place of its square."""
    right = pieces.mcgsm
    pieces.mcgsm = lambda h, priors, alpha, a, loadings, features: right(
        h,
        priors,
        alpha,
        a,
        loadings.abs().sqrt(),  # wrong: loadings
        features,
    )
    return pieces


@mutant("theory", rejected_by=[_BINS])
def density_times_width(pieces: Any) -> Any:
    """The density in the middle of a bin, times its width: no mass function, and no tails."""

    def rounded(x: Tensor, mean: Tensor, log_scale: Tensor, levels: int) -> Tensor:
        values = 2 * x / (levels - 1) - 1
        normal = -0.5 * ((values - mean) / log_scale.exp()).square() - log_scale
        # wrong: a difference of cdfs
        return normal - 0.5 * math.log(2 * math.pi) + math.log(2 / (levels - 1))

    pieces.discretized_gaussian = rounded
    return pieces


@mutant("theory", rejected_by=[_BINS])
def differences_next_to_one(pieces: Any) -> Any:
    """Phi(b) - Phi(a) as it stands, with a floor: far above the mean nothing is left but the floor."""

    def rounded(x: Tensor, mean: Tensor, log_scale: Tensor, levels: int) -> Tensor:
        values, half, scale = 2 * x / (levels - 1) - 1, 1 / (levels - 1), log_scale.exp()
        upper = torch.special.ndtr((values + half - mean) / scale).masked_fill(x == levels - 1, 1)
        lower = torch.special.ndtr((values - half - mean) / scale).masked_fill(x == 0, 0)
        return (upper - lower).clamp_min(1e-12).log()  # wrong: mirror to the thinner tail first

    pieces.discretized_gaussian = rounded
    return pieces


@mutant("theory", rejected_by=[_BINS])
def precision_taken_for_a_variance(pieces: Any) -> Any:
    """exp(alpha) is used as a variance: sure experts are vague, and vague ones sure."""
    right = pieces.mcgsm_logits
    pieces.mcgsm_logits = lambda gates, predictions, alpha, levels: right(
        gates,
        predictions,
        -alpha,  # wrong: alpha
        levels,
    )
    return pieces


@mutant("theory", rejected_by=[_STATES])
def one_forget_gate_for_both_ways(pieces: Any) -> Any:
    """The memory from above is kept by the gate of the memory from the left."""
    right = pieces.spatial_lstm

    def run(inputs: Tensor, left: Tensor, above: Tensor) -> Tensor:
        g, o, i, _, c = inputs.chunk(5, 1)  # wrong: the fourth gate has its own say
        shared = [torch.cat([*w.chunk(5)[:3], *[w.chunk(5)[4]] * 2]) for w in (left, above)]
        return right(torch.cat([g, o, i, c, c], 1), *shared)

    pieces.spatial_lstm = run
    return pieces


@mutant("theory", rejected_by=[_STATES])
def columns_and_rows_exchanged(pieces: Any) -> Any:
    """The weights of the state above are applied to the state to the left."""
    right = pieces.spatial_lstm
    # wrong: left, above
    pieces.spatial_lstm = lambda inputs, left, above: right(inputs, above, left)
    return pieces


@mutant("theory", rejected_by=[_STATES])
def rows_read_on_their_own(pieces: Any) -> Any:
    """Every row starts anew: the states above are never looked at."""
    right = pieces.spatial_lstm

    def run(inputs: Tensor, left: Tensor, above: Tensor) -> Tensor:
        # wrong: the whole image
        return torch.cat([right(row, left, above) for row in inputs.split(1, 2)], 2)

    pieces.spatial_lstm = run
    return pieces


@mutant("theory", rejected_by=[_RIDE])
def mixture_without_the_recurrence(pieces: Any) -> Any:
    """The states do not reach one another: a mixture of experts on the neighbourhood alone."""

    class Local(pieces.RIDE):
        def logits(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                kept = self.from_left.clone(), self.from_above.clone()
                self.from_left.zero_()  # wrong: left as it is
                self.from_above.zero_()  # wrong: left as it is
                found = super().logits(x)
                self.from_left.copy_(kept[0])
                self.from_above.copy_(kept[1])
            return found

    pieces.RIDE = Local
    return pieces
