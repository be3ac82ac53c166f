r"""Energy models on images: a machine of binary units, and a chain that takes noise back step by step.

.. code-block:: text

    RBM          ink or paper (D units) ── W ── hidden units, few enough to list all their states
    diffusion    levels ──uniform noise──> numbers ──T steps of noise──> N(0, I), and back
"""

from __future__ import annotations

from math import prod
from typing import cast

import torch
from torch import Tensor, nn

from reference.energy import (
    RBM,
    all_states,
    contrastive_divergence,
    cosine_alpha_bar,
    diffusion_elbo,
    diffusion_sample,
    gibbs_chain,
    noised_mean_variance,
    step_back_mean_variance,
)
from reference.flows import ActNorm, VectorField, dequantized_log_prob
from spec_tests.train.data import Data
from spec_tests.train.views import Row, binary, shown

__all__ = ["BinaryRBM", "Diffusion", "coins", "diffusion", "rbm"]


Shape = tuple[int, int, int]


class BinaryRBM(nn.Module):
    """A restricted Boltzmann machine of ink and paper, trained by contrastive divergence.

    Both layers are alike: a machine's mirror image has the hidden units for its visible ones. The
    free energy of the mirror image, summed over all states of the hidden units, is log Z.
    """

    def __init__(self, event_shape: Shape, levels: int, hidden: int, sweeps: int) -> None:
        super().__init__()
        if not 0 < hidden <= 18:
            raise ValueError(f"the states of {hidden} hidden units cannot be listed; 1 to 18 can")
        self.model = RBM(prod(event_shape), hidden)
        self.event_shape, self.levels, self.sweeps = tuple(event_shape), levels, sweeps

    def mirrored(self) -> tuple[Tensor, Tensor]:
        """All states of the hidden units and minus the free energy of each."""
        model = self.model
        mirror = RBM(len(model.hidden_bias), 1).to(model.weight)
        mirror.weight = nn.Parameter(model.weight.mT)
        mirror.visible_bias = nn.Parameter(model.hidden_bias)
        mirror.hidden_bias = nn.Parameter(model.visible_bias)
        states = all_states(len(model.hidden_bias)).to(model.weight)
        return states, -mirror.free_energy(states)

    def seen(self, x: Tensor) -> Tensor:
        """The visible units, (N, D)."""
        return binary(x, self.levels).flatten(1).to(self.model.weight)

    def drawn(self, v: Tensor) -> Tensor:
        """Images of visible units, or of their probabilities."""
        return shown(v, self.event_shape, self.levels)

    # What training asks for.

    def loss(self, x: Tensor) -> Tensor:
        """A number whose gradient is the training's; its value means nothing."""
        v = self.seen(x)
        return contrastive_divergence(self.model, v, gibbs_chain(self.model, v, self.sweeps))

    def nats(self, x: Tensor) -> Tensor:
        """Minus log P(v), exactly."""
        return self.model.free_energy(self.seen(x)) + self.mirrored()[1].logsumexp(0)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Exact draws: a hidden state by its probability, then the visible units given it."""
        states, log_weight = self.mirrored()
        at = torch.multinomial(log_weight.softmax(0), n, replacement=True, generator=generator)
        given = self.model.visible_probability(states[at])
        return self.drawn(torch.bernoulli(given, generator=generator))

    def reconstruct(self, x: Tensor, generator: torch.Generator) -> list[Row]:
        """What is told of an image, and what its expected hidden units say."""
        v = self.seen(x)
        rebuilt = self.model.visible_probability(self.model.hidden_probability(v))
        return [("told", self.drawn(v)), ("rebuilt", self.drawn(rebuilt))]

    def traverse(self, x: Tensor, generator: torch.Generator) -> list[Row]:
        """Where a Markov chain goes from some images: each is ten sweeps after the one before."""
        rows = []
        for start in self.seen(x[:3]):
            v, seen = start[None], []
            for _ in range(len(x)):
                seen.append(v)
                v = gibbs_chain(self.model, v, 10, generator)
            rows.append(("chain", self.drawn(torch.cat(seen))))
        return rows


def coins(model: nn.Module, data: Data) -> list[tuple[str, str]]:
    """Fair coins, and one coin for each pixel with the training images' share of ink."""
    train, held_out = (binary(part.x, data.levels) for part in (data.train, data.held_out))
    ink = (train.sum(0) + 1) / (len(train) + 2)
    cost = -(held_out * ink.log2() + (1 - held_out) * (1 - ink).log2()).mean()
    return [("uniform", "1.000 = log2 2"), ("pixels", f"{cost:.3f}, each a coin of its own")]


class Diffusion(nn.Module):
    """A chain of Gaussian steps back from noise, trained on the variational bound itself.

    The network is the vector field of a continuous flow. Told x_t and how clear it is (the log of the
    ratio of signal to noise), it guesses v = sqrt(a) noise - sqrt(1 - a) x_0, of which x_0 follows:
    sqrt(a) x_t - sqrt(1 - a) v. How far the guess may be off is learnt for each step and pixel.
    """

    alpha_bar: Tensor

    def __init__(self, event_shape: Shape, levels: int, steps: int, hidden: int) -> None:
        super().__init__()
        self.scale, self.network = ActNorm(event_shape[0]), VectorField(prod(event_shape), hidden)
        self.register_buffer("alpha_bar", cosine_alpha_bar(steps).float())
        self.log_spread = nn.Parameter(torch.zeros(steps, prod(event_shape)))
        self.event_shape, self.levels = tuple(event_shape), levels

    def guess(self, x: Tensor, t: Tensor) -> Tensor:
        """What x_0 was, given x_t (N, D)."""
        left = self.alpha_bar[t][:, None]
        clear = (left / (1 - left)).log() / 4
        return left.sqrt() * x - (1 - left).sqrt() * self.network(cast("float", clear), x)

    def denoise(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of the step back, as if the guess were true but for the spread."""
        mean, variance = step_back_mean_variance(self.alpha_bar, self.guess(x, t), x, t)
        variance = torch.where(t[:, None] > 0, variance, 1 - self.alpha_bar[0])
        return mean, variance * self.log_spread[t].exp()

    def noise(self, n: int, layers: int, generator: torch.Generator | None = None) -> Tensor:
        """Standard normal, (layers, N, D)."""
        like = self.alpha_bar.new_empty(layers, n, prod(self.event_shape))
        return like.normal_(generator=generator)

    def log_prob(self, values: Tensor) -> Tensor:
        """A bound, from one draw of the noise, on the log-density of numbers in [0, 1)."""
        x0, log_det = self.scale(values)
        noise = self.noise(len(x0), len(self.alpha_bar))
        return diffusion_elbo(self.alpha_bar, self.denoise, x0.flatten(1), noise) + log_det

    def seen(self, flat: Tensor) -> Tensor:
        """The levels whose cells the numbers of a chain lie in, or the nearest ones."""
        values = self.scale.inverse(flat.view(-1, *self.event_shape))
        return (values * self.levels).floor().clamp(0, self.levels - 1).long()

    # What training asks for.

    def loss(self, x: Tensor) -> Tensor:
        """The mean of `nats`."""
        return self.nats(x).mean()

    def nats(self, x: Tensor, draws: int = 1) -> Tensor:
        """An upper bound of minus log P(x), averaged over draws of all the noise."""
        uniform = [torch.rand(x.shape, device=x.device) for _ in range(draws)]
        bound = [dequantized_log_prob(self.log_prob, x, one, self.levels) for one in uniform]
        return -torch.stack(bound).mean(0)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Images of levels: from noise, all the steps back."""
        steps = len(self.alpha_bar)
        return self.seen(diffusion_sample(steps, self.denoise, self.noise(n, steps + 1, generator)))

    def traverse(self, x: Tensor, generator: torch.Generator) -> list[Row]:
        """One image after more and more steps of noise, and what is guessed from each."""
        x0, _ = self.scale((x[:2] + 0.5) / self.levels)
        t = torch.linspace(0, len(self.alpha_bar) - 1, len(x), device=x.device).long()
        rows = []
        for one in x0.flatten(1):
            mean, variance = noised_mean_variance(self.alpha_bar, one.expand(len(x), -1), t)
            noised = mean + variance.sqrt() * self.noise(len(x), 1, generator)[0]
            rows += [("noised", self.seen(noised)), ("guessed", self.seen(self.guess(noised, t)))]
        return rows


rbm, diffusion = BinaryRBM, Diffusion
