r"""Observation models, gradients without a path, and classifying by generating."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spec_tests import check
from spec_tests.handle import Handle
from spec_tests.registry import claim
from spec_tests.strategies import reals, seeded, simplexes, standard_normal
from spec_tests.tolerance import guarded, rounding

LECTURE = "CS182 2021 L17, 'Latent variable models'"
WILLIAMS = "Williams 1992, 'Simple Statistical Gradient-Following Algorithms'"
SEEDS = st.integers(0, 2**31 - 1)
SLACK = rounding(torch.float64, length=64, scale=4.0)


@claim(
    "theory.observation_models_are_densities",
    r"\int \mathcal N(x; \mu, \sigma^2 I)\, dx = 1, \qquad \sum_{x \in [K]^D} \prod_d "
    r"\operatorname{softmax}(\ell_d)_{x_d} = 1",
    sources=[f"{LECTURE}, 'Representing latent variable models'",
             "Kingma and Welling 2013, 'Auto-Encoding Variational Bayes', appendix C"],
    why=r"""Given the code, a decoder may describe x as real numbers of one spread :math:`\sigma`,
    or as one of K levels for each feature with logits :math:`\ell_d`. Both are products over
    the D features, so it suffices that each factor has a total of one:
    :math:`\int \mathcal N(x_d; \mu_d, \sigma^2)\,dx_d = 1` by the substitution
    :math:`u = (x_d - \mu_d)/\sigma`, and a softmax over levels sums to one by its denominator.

    Squared error is such a log-density up to two terms, the factor :math:`1/(2\sigma^2)` and
    :math:`\log \sigma`. Without the second the best :math:`\sigma` is infinite; without the
    first, models of different :math:`\sigma`, or of levels and numbers, cannot be compared.

    The density of one feature, the other held at its mean, is summed over a fine grid, out to
    :math:`12\sigma`: the total must be the other feature's density at its mean,
    :math:`1/(\sigma\sqrt{2\pi})`. The :math:`K^3` events of three features are listed: their
    probabilities must add up to one, and each must be the product of its levels' own.""",
    assumptions={
        "the softmax runs over levels, not over features": (
            r"with all logits 0, two levels and three features each level gets :math:`\tfrac13`, "
            "and the total is :math:`8/27`"
        ),
    },
    effort=0.3,
)  # fmt: skip
@given(
    sigma=st.sampled_from([0.1, 0.5, 1.0, 3.0]), mean=reals((1, 2)), levels=st.sampled_from([2, 3, 5]),
    seed=SEEDS,
)  # fmt: skip
def test_observation_models_integrate_to_one(
    subject: Handle, device: str, dtype: torch.dtype, sigma: float, mean: Tensor, levels: int,
    seed: int,
) -> None:  # fmt: skip
    pieces, mean = subject.pieces().raw, mean.cpu().double()
    line = torch.linspace(-12, 12, 2401, dtype=torch.float64) * sigma
    for d in range(2):
        x = mean.expand(len(line), 2).clone()
        x[:, d] += line
        density = pieces.fixed_gaussian_log_likelihood(x, mean.expand_as(x), sigma).exp()
        other = 1 / (sigma * math.sqrt(2 * math.pi))  # the other feature, at its mean
        total = density.sum() * float(line[1] - line[0])
        check.close(total, other, guarded(torch.float64, scale=other), "the integrated density")
    logits = 2 * standard_normal(seeded(seed), 1, levels, 3)
    events = torch.tensor(list(product(range(levels), repeat=3)))
    log_p = pieces.categorical_log_likelihood(events, logits.expand(len(events), -1, -1))
    check.close(log_p.exp().sum(), 1.0, SLACK, "the sum over all events")
    chosen = logits[0].log_softmax(0)
    exact = sum(chosen[events[:, d], d] for d in range(3))
    check.close(log_p, exact, SLACK, "log p of each event")


@claim(
    "theory.score_function_is_unbiased",
    r"\nabla_\theta \mathbb E_{q_\theta}[f] = \mathbb E_{q_\theta}\bigl[f\, \nabla \log q_\theta\bigr]",
    sources=[f"{WILLIAMS}, section 4", "CS182 2020 L16, 'REINFORCE'"],
    why=r"""Since :math:`\nabla q = q\, \nabla \log q`,

    .. math::

        \nabla \sum_z q_\theta(z) f(z) = \sum_z f(z)\, \nabla q_\theta(z)
        = \mathbb E_{q_\theta}\bigl[f(z)\, \nabla \log q_\theta(z)\bigr] :

    the derivative is moved from the value to the probability, and f is never differentiated. So z
    may be one of a few classes, and f may be a step, a program or a score given by a person. The
    price is variance (``reparameterize.lower_variance_than_score``).

    Nothing is sampled. All classes are listed and weighted by their probability, and the average
    gradient of the surrogate must be autograd's gradient of the exact expectation. For a Gaussian
    z and the step :math:`f(z) = 1` where :math:`z > 0.3`, through which no path has a slope, the
    average is an integral by Gauss-Legendre quadrature, and the answer is known: the slope of
    :math:`\Phi(\mu - 0.3)` in :math:`\mu` is the normal density there.""",
    assumptions={
        "f does not depend on the parameters but through z": (
            r"for :math:`f(z) = \theta` the expectation has the slope 1, and the estimator, whose "
            "score has mean 0, gives 0"
        ),
        "the support of q does not move with the parameters": (
            r"for z uniform on :math:`[0, \theta]` and :math:`f = z` the slope is "
            r":math:`\tfrac12`, and :math:`f\, \nabla \log q = -z/\theta` has mean "
            r":math:`-\tfrac12`"
        ),
    },
    effort=0.3,
)
@given(seed=SEEDS, classes=st.sampled_from([2, 3, 5]))
def test_weighting_values_by_scores_gives_the_gradient(
    subject: Handle, device: str, dtype: torch.dtype, seed: int, classes: int
) -> None:
    pieces, source = subject.pieces().raw, seeded(seed)
    logits = standard_normal(source, classes).requires_grad_()
    value = 3 * standard_normal(source, classes)
    (exact,) = torch.autograd.grad((logits.softmax(0) * value).sum(), logits)
    p, log_q = logits.softmax(0).detach(), logits.log_softmax(0)
    average = torch.zeros_like(logits)
    for k in range(classes):
        surrogate = pieces.score_function_surrogate(value[k].view(1, 1), log_q[k].view(1, 1))
        (gradient,) = torch.autograd.grad(surrogate.sum(), logits, retain_graph=True)
        average = average + p[k] * gradient
    check.close(average, exact, SLACK, "the average over all draws of a class")
    mean = standard_normal(source, 1).requires_grad_()
    nodes, weights = np.polynomial.legendre.leggauss(200)
    z = 0.3 + 6 * (1 + torch.from_numpy(nodes))  # above the step the value is 1, below it 0
    log_normal = -0.5 * (z - mean).square() - 0.5 * math.log(2 * math.pi)
    mass = 6 * torch.from_numpy(weights) * log_normal.detach().exp()
    single = pieces.score_function_surrogate(torch.ones_like(z)[None], log_normal[None])
    (slope,) = torch.autograd.grad((single * mass).sum(), mean, retain_graph=True)
    density = math.exp(-0.5 * (0.3 - float(mean.detach())) ** 2) / math.sqrt(2 * math.pi)
    accuracy = guarded(torch.float64)
    check.close(
        slope[0], density, accuracy, "the slope of the probability of exceeding a threshold"
    )
    ones = torch.ones(3, 4, dtype=torch.float64)
    several = pieces.score_function_surrogate(ones, log_normal[:4].expand(3, 4))
    check.close(several, log_normal[:4], SLACK * 50, "the mean over three equal draws")


@claim(
    "theory.baseline_keeps_the_mean",
    r"\mathbb E_q[b\, \nabla \log q] = 0, \qquad \operatorname{Var}[(f - b) \nabla \log q] < "
    r"\operatorname{Var}[f\, \nabla \log q] \text{ where } f \text{ is far from } 0",
    sources=[f"{WILLIAMS}, section 4", "Mnih and Rezende 2016, 'Variational Inference for Monte Carlo "
             "Objectives', §2.4"],
    why=r"""Probabilities add up to one, so
    :math:`\mathbb E_q[\nabla \log q] = \nabla \sum_z q(z) = 0`, and a number b that does not
    depend on the draw may be taken off its value f. The mean of the other draws is such a
    number. It removes what all values have in common, which tells nothing about where to go and
    multiplies all the noise of the score. A mean over all S draws is not: with it the draw's
    own value enters with the factor :math:`1 - 1/S`, and the gradient shrinks by as much.

    All nine pairs of draws from three classes are listed, with values near 50. With and without
    the baseline, the mean gradient must be that of the exact expectation, by autograd, and with
    it the variance must be the smaller one.""",
    assumptions={
        "the baseline does not depend on the draw that it is used for": (
            "for :math:`b = f(z)` the estimate is always 0; for the mean over two draws it is "
            "half the gradient"
        ),
        "f is far from 0 compared with its spread, for the variance to fall": (
            "for two equally likely classes with values 1 and -1 the plain estimate, in the "
            r"first logit, is always :math:`\tfrac12`; with the other of two draws as a baseline "
            "it is 0 or 1"
        ),
    },
    sentence="the mean of the other draws may be taken off as a baseline",
    effort=0.3,
)  # fmt: skip
@given(p=simplexes(3, interior=True), seed=SEEDS)
def test_the_mean_of_the_others_may_be_taken_off(
    subject: Handle, device: str, dtype: torch.dtype, p: Tensor, seed: int
) -> None:
    pieces = subject.pieces().raw
    logits = p.cpu().double().log().requires_grad_()
    value = 50 + standard_normal(seeded(seed), 3)
    (exact,) = torch.autograd.grad((logits.softmax(0) * value).sum(), logits)
    log_q, q = logits.log_softmax(0), logits.softmax(0).detach()
    means, squares = (
        [torch.zeros(3).double() for _ in "ab"],
        [torch.zeros(3).double() for _ in "ab"],
    )
    for a, b in product(range(3), repeat=2):
        values, scores = value[[a, b]].view(2, 1), log_q[[a, b]].view(2, 1)
        baseline = pieces.leave_one_out_baseline(values)
        check.close(baseline.flatten(), value[[b, a]], SLACK * 50, "the baseline of two draws")
        for which, taken_off in enumerate((0.0, baseline)):
            surrogate = pieces.score_function_surrogate(values, scores, taken_off)
            (g,) = torch.autograd.grad(surrogate.sum(), logits, retain_graph=True)
            means[which] += q[a] * q[b] * g
            squares[which] += q[a] * q[b] * g.square()
    for mean, name in zip(means, ("without", "with"), strict=True):
        check.close(mean, exact, SLACK * 50, f"the mean gradient {name} a baseline")
    spread = [float((s - m.square()).sum()) for s, m in zip(squares, means, strict=True)]
    check.that(
        spread[1] < spread[0],
        f"with the baseline the variance is {spread[1]:.4g}, without it {spread[0]:.4g}",
    )


@claim(
    "theory.generative_classifier",
    r"p(y \mid x) = \frac{p(y)\, p(x \mid y)}{\sum_{y'} p(y')\, p(x \mid y')}, \qquad p(x) \to 0 "
    r"\text{ away from the data while } p(y \mid x) \to 1",
    sources=["EECS notes, 'Generative models: outlier rejection'",
             "Ng and Jordan 2001, 'On Discriminative vs. Generative Classifiers'"],
    why=r"""A density for each class and the frequencies of the classes are a model of pairs:
    :math:`p(x, y) = p(y)\,p(x|y)`. Divide by the sum over classes and it classifies; the sum
    itself, :math:`p(x)`, says whether x looks like anything seen so far. Only ratios enter the
    first, so far out one class may win by any margin although all of them are absurd.

    For normal densities of unit variance around the centres :math:`c_y` the logarithm of a ratio
    is linear in x:

    .. math::

        \log \frac{p(y|x)}{p(y'|x)}
        = (c_y - c_{y'})\,x - \tfrac12(c_y^2 - c_{y'}^2) + \log \frac{p(y)}{p(y')} .

    With centres -2, 0 and 2 the test knows this slope, 4, and the joint table. At :math:`x = 30`
    the class is certain, and the point must be flagged as less likely than 99% of the data; a
    point between two classes is flagged only if the data's quantile says so.""",
    assumptions={
        "the class densities fall off at the same rate, for certainty far out": (
            "if they are equal beyond some point, p(y|x) is the "
            "prior there, however far x is"
        ),
    },
    sentence="Bayes' rule classifies, and the evidence knows what has not been seen",
    effort=0.3,
)  # fmt: skip
@given(seed=SEEDS, p=simplexes(3, interior=True))
def test_bayes_rule_classifies_and_knows_what_it_has_not_seen(
    subject: Handle, device: str, dtype: torch.dtype, seed: int, p: Tensor
) -> None:
    pieces, source = subject.pieces().raw, seeded(seed)
    prior, centres = p.cpu().double().log(), torch.tensor([[-2.0], [0.0], [2.0]]).double()

    def conditional(x: Tensor) -> Tensor:
        return -0.5 * (x - centres.T).square() - 0.5 * math.log(2 * math.pi)

    x = 2 * standard_normal(source, 6, 1)
    joint = conditional(x).exp() * prior.exp()
    evidence = pieces.log_evidence(conditional(x), prior)
    check.close(evidence, joint.sum(1).log(), SLACK, "log p(x)")
    posterior = pieces.class_posterior(conditional(x), prior)
    check.close(posterior, joint / joint.sum(1, keepdim=True), SLACK, "p(y|x)")
    odds = posterior.log()[:, 2] - posterior.log()[:, 0]
    check.close(odds, 4 * x[:, 0] + prior[2] - prior[0], 1e3 * SLACK, "the log-odds of two classes")
    far, between = torch.tensor([[30.0]]).double(), torch.tensor([[1.0]]).double()
    sure = float(pieces.class_posterior(conditional(far), prior).max())
    check.close(sure, 1.0, guarded(torch.float64), "the probability of a class far from all data")
    data = centres[torch.multinomial(prior.exp(), 400, replacement=True, generator=source)]
    data = data + standard_normal(source, 400, 1)
    seen = pieces.log_evidence(conditional(data), prior)
    asked = pieces.log_evidence(conditional(torch.cat([far, between])), prior)
    found = pieces.flags_outliers(asked, seen, 0.01)
    check.that(
        found.tolist() == [True, bool(asked[1] < np.quantile(seen.numpy(), 0.01))],
        f"a point far from all data and one between two classes are flagged as {found.tolist()}",
    )
    share = float(pieces.flags_outliers(seen, seen, 0.1).double().mean())
    check.close(share, 0.1, 1 / 400, "the share of the data that is flagged at a rate of 0.1")


@claim(
    "theory.conv_vae_covers_every_pixel",
    r"\frac{\partial \log p(x \mid z)}{\partial x_i} \ne 0 \text{ and } \frac{\partial \mu(x)}"
    r"{\partial x_i} \ne 0 \text{ for every pixel } i",
    sources=[f"{LECTURE}, 'VAE with convolutions'"],
    why=r"""A stride of 2 halves a size and rounds. If kernel, stride and padding do not fit, the
    last row or column of an image lies outside every window of the encoder; if the decoder's
    output is cropped or padded on the way back, some pixels are never predicted. Nothing fails,
    the loss goes down, and a border of the image is not modelled.

    With a kernel of 3, a padding of 1 and a stride of 2, windows are centred at pixels 0, 2, 4,
    ... and reach one pixel to either side, so every pixel is covered for any size;
    :math:`\lceil n/2 \rceil` values come out for n pixels, and doubling gives at least n again.

    The test asks autograd, for odd, even and one-pixel sizes: a random combination of the code's
    means :math:`\mu(x)` must have a nonzero slope in every pixel, and so must
    :math:`\log p(x|z)`. For smooth nonlinearities and random weights a slope that is not
    structurally zero is 0 with probability 0.""",
    assumptions={
        "weights in general position": (
            "with all weights 0 every slope of the code is 0, whatever the strides are"
        ),
    },
    effort=0.3,
)
@given(size=st.sampled_from([(5, 6), (7, 7), (1, 9), (8, 4), (3, 10)]), seed=SEEDS)
def test_no_pixel_is_lost_to_a_stride(
    subject: Handle, device: str, dtype: torch.dtype, size: tuple[int, int], seed: int
) -> None:
    torch.manual_seed(seed % 10_000)
    model = subject.pieces().raw.ConvolutionalVAE((2, *size), 3, 4, "gaussian").double()
    source = seeded(seed)
    x = standard_normal(source, 1, 2 * math.prod(size)).requires_grad_()
    z = standard_normal(source, 1, 3)
    weight = standard_normal(source, 3)
    coded = torch.autograd.grad((model.encode(x)[0] * weight).sum(), x)[0]
    said = torch.autograd.grad(model.log_likelihood(x, z).sum(), x)[0]
    for gradient, what in ((coded, "reaches the code"), (said, "is explained by it")):
        lost = (gradient.view(2, *size) == 0).nonzero()
        check.that(
            len(lost) == 0,
            f"of an image of {size[0]} x {size[1]} the entry {lost[:1].tolist()} never {what}",
        )
