r"""What autoencoders of every kind learn, where it can be computed: denoisers, sparse codes, stacks."""

from __future__ import annotations

import math
from itertools import pairwise, product

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from spec_tests import check
from spec_tests.handle import Handle, redraw_parameters
from spec_tests.quadrature import hermite_line
from spec_tests.registry import claim
from spec_tests.state import seed_everything
from spec_tests.strategies import normals, seeded, standard_normal
from spec_tests.tolerance import guarded, rounding

LECTURE = "CS182 2021 L17, 'Autoencoders'"
ALAIN = "Alain and Bengio 2014, 'What Regularized Auto-Encoders Learn'"
VINCENT = (
    "Vincent et al. 2008, 'Extracting and Composing Robust Features with Denoising Autoencoders'"
)
BENGIO = "Bengio et al. 2007, 'Greedy Layer-Wise Training of Deep Networks'"
SEEDS = st.integers(0, 2**31 - 1)
SLACK = rounding(torch.float64, length=64, scale=4.0)


# Denoisers ----------------------------------------------------------------------------------------


@claim(
    "theory.optimal_denoiser_is_posterior_mean",
    r"r^*(\tilde x) = \mathbb E[x \mid \tilde x] = \arg\min_r \mathbb E\, \| r(x + \epsilon) - x \|^2",
    sources=[
        f"{ALAIN}, section 3",
        f"{VINCENT}, section 2.3",
        f"{LECTURE}, 'Denoising autoencoder'",
    ],
    why=r"""For every noisy point by itself, with :math:`m = \mathbb{E}[x \mid \tilde x]`,

    .. math::

        \mathbb{E}\bigl[\|r - x\|^2 \mid \tilde x\bigr] = \|r - m\|^2
        + \mathbb{E}\bigl[\|m - x\|^2 \mid \tilde x\bigr],

    as the mixed term :math:`2 (r - m) \cdot \mathbb{E}[m - x \mid \tilde x]` vanishes; so :math:`r
    = m` is best. For data on finitely many points :math:`x_m` with weights :math:`w_m` the
    posterior mean is their average with weights proportional to :math:`w_m \mathcal{N}(\tilde x;
    x_m, \sigma^2)`, which stays in their hull.

    The joint density of clean and noisy points is summed over a fine grid of noisy points. The
    denoiser is judged in two ways that know nothing of its formula: every perturbed version must
    have a larger loss, and the error must be uncorrelated with each of five functions of the noisy
    point (the mixed term above).""",
    assumptions={
        "the error is squared": (
            "for the absolute error the posterior median is best: of the points 0 and 1 "
            "with posterior weights ⅔ and ⅓ it is 0, and the mean ⅓"
        ),
    },
    effort=0.3,
)
@given(seed=SEEDS, size=st.sampled_from([2, 3, 5]), sigma=st.sampled_from([0.3, 0.7, 1.5]))
def test_nothing_denoises_better_than_the_posterior_mean(
    subject: Handle, device: str, dtype: torch.dtype, seed: int, size: int, sigma: float
) -> None:
    pieces, source = subject.pieces().raw, seeded(seed)
    points = standard_normal(source, size, 1)
    weights = standard_normal(source, size).softmax(0)
    line = torch.linspace(-12, 12, 4801, dtype=torch.float64)[:, None]  # the noisy points
    width = float(line[1] - line[0])
    likelihood = (-(line - points.T).square() / (2 * sigma**2)).exp() / (
        sigma * math.sqrt(2 * math.pi)
    )
    joint = width * likelihood * weights  # (noisy point, clean point)
    found = pieces.posterior_mean_denoiser(line, points, weights, sigma)

    def loss(rebuilt: Tensor) -> Tensor:
        return (joint * (rebuilt - points.T).square()).sum()

    best = loss(found)
    for test in (torch.ones_like(line), line, line.sin(), line.square(), (line > 0).double()):
        error = (joint * (found - points.T) * test).sum()
        check.close(error, 0.0, guarded(torch.float64), "the error against a function of the point")
        for size_of_step in (0.1, -0.1):
            other = loss(found + size_of_step * test)
            check.at_least(other, best, SLACK, "the loss of another denoiser")
    check.that(
        bool(found.min() >= points.min() - 1e-9) and bool(found.max() <= points.max() + 1e-9),
        "the posterior mean leaves the hull of the data",
    )


@claim(
    "theory.tweedie",
    r"r^*(\tilde x) - \tilde x = \sigma^2\, \nabla \log p_\sigma(\tilde x)",
    sources=[f"{ALAIN}, theorem 1", "Efron 2011, 'Tweedie's Formula and Selection Bias'",
             f"{LECTURE}, 'Denoising autoencoder'"],
    why=r"""Differentiate :math:`p_\sigma(\tilde x) = \sum_m w_m \mathcal{N}(\tilde x; x_m, \sigma^2 I)`.
    Each term brings down :math:`(x_m - \tilde x) / \sigma^2`, so

    .. math::

        \nabla \log p_\sigma(\tilde x) = \sum_m \underbrace{\frac{w_m \mathcal{N}(\tilde x; x_m, \sigma^2 I)}
        {p_\sigma(\tilde x)}}_{\text{posterior of } x_m} \frac{x_m - \tilde x}{\sigma^2}
        = \frac{\mathbb{E}[x \mid \tilde x] - \tilde x}{\sigma^2}.

    A denoiser is a compass that points uphill on the density of noisy points, without ever
    computing that density; score-based models are built on this. Autograd's gradient of the
    log-density is the oracle, and the log-density itself is first checked against SciPy's normal
    density. The smoothed density is the one at the full :math:`\sigma`: half of the noise gives
    another compass.""",
    assumptions={
        "the noise is Gaussian": (
            "for noise of ±1 with even chances and clean points 0 and 2 the noisy point 1 "
            "may have come from both, and there is no density to climb"
        ),
    },
    effort=0.3,
)  # fmt: skip
@given(
    seed=SEEDS,
    shape=st.sampled_from([(1, 1), (2, 3), (5, 2)]),
    sigma=st.sampled_from([0.1, 0.5, 2.0]),
)
def test_a_denoiser_points_uphill(
    subject: Handle,
    device: str,
    dtype: torch.dtype,
    seed: int,
    shape: tuple[int, int],
    sigma: float,
) -> None:
    from scipy.stats import multivariate_normal

    pieces, source = subject.pieces().raw, seeded(seed)
    points, weights = standard_normal(source, *shape), standard_normal(source, shape[0]).softmax(0)
    x = (points[:1] + 2 * sigma * standard_normal(source, 4, shape[1])).requires_grad_()
    log_p = pieces.noisy_log_density(x, points, weights, sigma)
    each = [
        multivariate_normal(m.numpy(), sigma**2).pdf(x.detach().numpy()).reshape(4) for m in points
    ]
    density = torch.from_numpy(np.stack(each, 1)) @ weights
    check.close(log_p, density.log(), 1e3 * SLACK, "the log-density of noisy points")
    (score,) = torch.autograd.grad(log_p.sum(), x)
    pull = pieces.posterior_mean_denoiser(x.detach(), points, weights, sigma) - x.detach()
    check.close(pull, sigma**2 * score, SLACK, "what the denoiser moves a point by")


@claim(
    "theory.linear_denoiser_is_wiener",
    r"W^* = \Sigma (\Sigma + \sigma^2 I)^{-1}, \qquad \text{shrinkage } \frac{\lambda_i}{\lambda_i + "
    r"\sigma^2} \text{ along principal direction } i",
    sources=["Bishop 2006, 'Pattern Recognition and Machine Learning', equation 2.116",
             f"{LECTURE}, 'Denoising autoencoder'"],
    why=r"""Let :math:`x` have the mean :math:`\mu` and the covariance :math:`\Sigma`, and the noise
    :math:`\sigma^2 I`. The affine denoiser :math:`W \tilde x + b` has the error

    .. math::

        \operatorname{tr} (W - I) \Sigma (W - I)^\top + \sigma^2 \|W\|^2 + \|W \mu + b - \mu\|^2,

    a convex quadratic that needs only these two moments. The last term asks for :math:`b = \mu - W
    \mu`; the slope in :math:`W` is then :math:`2 (W - I) \Sigma + 2 \sigma^2 W`, which vanishes at
    :math:`W^* = \Sigma (\Sigma + \sigma^2 I)^{-1}`. In the eigenbasis of :math:`\Sigma` this is
    the shrinkage by :math:`\lambda_i / (\lambda_i + \sigma^2)`: directions with little variance
    hold mostly noise.

    Autograd differentiates the error as written, at the filter's own weights, which are read off
    its values; the slope must be zero in every one. For Gaussian data the filter is the posterior
    mean as well, so that nothing non-linear does better.""",
    assumptions={
        "only affine denoisers compete": (
            r"for data at ±1 the posterior mean :math:`\tanh(\tilde x / \sigma^2)` beats "
            r"the line :math:`\tilde x / (1 + \sigma^2)`"
        ),
        "the noise is uncorrelated with the data": r"noise :math:`\epsilon = -x / 2` is undone exactly by :math:`W = 2I`",
    },
    sentence="the best linear denoiser shrinks principal directions",
    effort=0.3,
)  # fmt: skip
@given(seed=SEEDS, size=st.sampled_from([1, 2, 4]), sigma=st.sampled_from([0.2, 1.0, 3.0]))
def test_the_best_linear_denoiser_shrinks_principal_directions(
    subject: Handle, device: str, dtype: torch.dtype, seed: int, size: int, sigma: float
) -> None:
    pieces, source = subject.pieces().raw, seeded(seed)
    mean, root = standard_normal(source, size), standard_normal(source, size, size)
    covariance = root @ root.T

    def filtered(x: Tensor) -> Tensor:
        found: Tensor = pieces.wiener_denoiser(x, mean, covariance, sigma)
        return found

    shift = filtered(torch.zeros(1, size).double())[0]
    weight = (filtered(torch.eye(size).double()) - shift).T.requires_grad_()
    bias = shift.clone().requires_grad_()
    gap = weight - torch.eye(size)
    mistaken = weight @ mean + bias - mean
    error = (
        (gap @ covariance @ gap.T).trace() + sigma**2 * weight.square().sum()
        + mistaken.square().sum()
    )  # fmt: skip
    for gradient, name in zip(
        torch.autograd.grad(error, (weight, bias)), ("weights", "bias"), strict=True
    ):
        zero = torch.zeros_like(gradient)
        check.close(gradient, zero, 1e2 * SLACK, f"the error's slope in the filter's {name}")
    values, directions = torch.linalg.eigh(covariance)
    shrunk = filtered(mean + directions.T) - mean
    expected = (values / (values + sigma**2))[:, None] * directions.T
    check.close(shrunk, expected, 1e2 * SLACK, "a principal direction after the filter")


@claim(
    "theory.masking_noise_deletes",
    r"x + \epsilon = k \odot x",
    sources=[f"{VINCENT}, section 2.3"],
    why=r"""Let :math:`k` be a mask of zeros and ones, and :math:`\epsilon = (k - 1) \odot x`. Then
    :math:`x + \epsilon = k \odot x`: deleting entries is adding noise that depends on the point,
    its negative where it is deleted and zero where it is kept. So one loss serves for both kinds
    of corruption. A denoiser that copies what it is shown pays

    .. math::

        \|k \odot x - x\|^2 = \sum_{j :\, k_j = 0} x_j^2,

    exactly for what was deleted. The test multiplies by the mask, adds up the squares of the
    deleted entries, and compares; a mask that is read the wrong way round is wrong in both. Note
    that ``theory.tweedie`` does not hold for this noise.""",
    assumptions={
        "the mask has zeros and ones only": (
            r"with :math:`k_j = \tfrac12` an entry is halved, and copying costs "
            ":math:`x_j^2 / 4`"
        ),
    },
    effort=0.3,
)
@given(x=normals((3, 4)), seed=SEEDS)
def test_masking_is_noise_that_depends_on_the_point(
    subject: Handle, device: str, dtype: torch.dtype, x: Tensor, seed: int
) -> None:
    pieces, x = subject.pieces().raw, x.cpu().double()
    keep = (torch.rand(3, 4, generator=seeded(seed)) < 0.5).double()
    noise = pieces.masking_noise(x, keep)
    check.close(x + noise, keep * x, SLACK, "the corrupted points")
    deleted = ((1 - keep) * x).square().sum(1).mean()
    copied = pieces.denoising_loss(lambda points: points, x, noise)
    check.close(copied, deleted, SLACK, "the loss of a denoiser that copies")


# Sparse codes -------------------------------------------------------------------------------------


@claim(
    "theory.l1_sparsifies_l2_shrinks",
    r"\text{L1: } z_k = 0 \iff |x \cdot a_k| \le \lambda, \qquad \text{L2: } z_k = \frac{x \cdot a_k}"
    r"{1 + \lambda} \ne 0 \qquad (A A^\top = I)",
    sources=[f"{LECTURE}, 'Sparse autoencoder: L1, not L2'",
             "Tibshirani 1996, 'Regression Shrinkage and Selection via the Lasso', §2.2"],
    why=r"""Over an orthonormal dictionary :math:`\tfrac12 \|x - zA\|^2` is, up to a constant,
    :math:`\sum_k \tfrac12 (z_k - c_k)^2` with :math:`c_k = x \cdot a_k`: each entry is a problem
    of its own. The slope of :math:`\lambda |z|` jumps at zero from :math:`-\lambda` to
    :math:`\lambda`, so 0 is the minimiser for all :math:`|c_k| \le \lambda`: an atom must be worth
    more than its price before it is used at all. The slope of :math:`\lambda z^2 / 2` vanishes at
    zero: a little of every atom is always worth it, and :math:`z_k = c_k / (1 + \lambda)`.

    The oracles are the objectives: moving any entry by 0.01 either way must not lower them. And
    over a dictionary that is not orthonormal the ridge code must make the gradient of its
    objective zero.""",
    assumptions={
        "the dictionary is orthonormal, for the threshold": (
            r"for two equal atoms of length one and :math:`x \cdot a = 1`, :math:`\lambda "
            r"= \tfrac12`, the code (½, 0) is optimal although the second atom is worth as "
            "much as the first"
        ),
        "no atom is orthogonal to the point, for the L2 code": r":math:`x \cdot a_k = 0` gives :math:`z_k = 0` for any penalty",
    },
    effort=0.3,
)  # fmt: skip
@given(seed=SEEDS, price=st.sampled_from([0.2, 0.8, 2.0]))
def test_absolute_values_make_zeros_and_squares_do_not(
    subject: Handle, device: str, dtype: torch.dtype, seed: int, price: float
) -> None:
    pieces, source = subject.pieces().raw, seeded(seed)
    x = standard_normal(source, 5, 3)
    atoms = torch.linalg.qr(standard_normal(source, 3, 3)).Q
    worth = x @ atoms.T
    sparse, shrunk = pieces.sparse_code(x, atoms, price), pieces.ridge_code(x, atoms, price)
    cheap = worth.abs() <= price
    check.that(
        bool(((sparse == 0) == cheap).all()),
        "an atom is used although it is worth less than its price, or unused although worth more",
    )
    check.close(shrunk, worth / (1 + price), SLACK, "the ridge code over an orthonormal dictionary")
    check.that(bool((shrunk != 0).all()), "a ridge code has an exact zero")
    for norm, code in (("l1", sparse), ("l2", shrunk)):
        size = {"l1": code.abs().sum(1), "l2": code.square().sum(1) / 2}[norm]
        check.close(pieces.code_penalty(code, norm), size.mean(), SLACK, f"the {norm} penalty")
        for change in (0.01, -0.01):
            moved = code + change
            gain = 0.5 * (worth - moved).square() - 0.5 * (worth - code).square()
            dearer = {"l1": moved.abs() - code.abs(),
                      "l2": (moved.square() - code.square()) / 2}[norm]  # fmt: skip
            check.at_least(
                gain + price * dearer, 0.0, SLACK, f"the cost of leaving the {norm} code"
            )
    skewed = standard_normal(source, 4, 3)
    z = pieces.ridge_code(x, skewed, price)
    slope = (z @ skewed - x) @ skewed.T + price * z
    check.close(slope, torch.zeros_like(slope), 1e2 * SLACK, "the slope at the ridge code")


@claim(
    "theory.l1_price_empties_the_code",
    r"L = \frac1N \sum_n \|x_n - \hat x_n\|^2 + \lambda\, \text{penalty}(z), \qquad "
    r"\#\{z = 0\} \text{ after training: L1 more than L2}",
    sources=[f"{LECTURE}, 'Sparse autoencoder'", "Ng 2011, CS294A lecture notes, section 3"],
    why="""The loss of a sparse autoencoder is its reconstruction error plus the price of its code, and
    with the price at zero it is an ordinary autoencoder. By ``theory.l1_sparsifies_l2_shrinks``
    the pull of an absolute value towards zero is as strong at a small entry as at a large one,
    while that of a square fades: so the one that pays for absolute values leaves units unused
    which the other spreads over.

    This is a statement about training, which no theorem makes for a network; the test runs it. Two
    networks from one start, on data of rank three with sixteen units, are trained alike, and the
    share of codes above 0.001 is compared. The loss itself is first recomputed from its
    definition: a sum over units, a mean over points. A price on the weights, or one averaged over
    the code, is caught there.""",
    assumptions={
        "the price is not zero": "then both losses are the same, and so are the two trained networks",
        "the code is free to be zero": (
            "sigmoid units are above 0, and a small code can be made up for by large "
            "weights of the decoder"
        ),
    },
    effort=0.1,
)
@given(seed=SEEDS)
def test_a_price_on_absolute_values_empties_the_code(
    subject: Handle, device: str, dtype: torch.dtype, seed: int
) -> None:
    pieces, source = subject.pieces().raw, seeded(seed)
    x = standard_normal(source, 64, 3) @ standard_normal(source, 3, 6)
    used = {}
    for norm in ("l1", "l2"):
        seed_everything(seed % 1000)
        model = pieces.SparseAutoencoder(6, 16, 1.0, norm).double()
        code, rebuilt = model.encode(x), model(x)
        size = {"l1": code.abs().sum(1), "l2": code.square().sum(1) / 2}[norm]
        expected = (x - rebuilt).square().sum(1).mean() + size.mean()
        check.close(model.loss(x), expected, 1e2 * SLACK, f"the loss with an {norm} price of 1")
        model.price = 2.0
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        for _ in range(200):
            optimizer.zero_grad()
            model.loss(x).backward()
            optimizer.step()
        used[norm] = float((model.encode(x) > 1e-3).double().mean())
    check.that(
        used["l1"] < used["l2"],
        f"after training {used['l1']:.0%} of the code is in use under L1 and {used['l2']:.0%} under L2",
    )


@claim(
    "theory.spike_and_slab_is_exact",
    r"p(x) = \sum_s p(s)\, \mathcal N(x; 0, A_s^\top A_s + \sigma^2 I), \qquad "
    r"\mathbb E[z \mid x] = \sum_s p(s \mid x)\, \mathbb E[h_s \mid x, s]",
    sources=["Mitchell and Beauchamp 1988, 'Bayesian Variable Selection in Linear Regression'",
             "Goodfellow et al. 2012, 'Large-Scale Feature Learning With Spike-and-Slab Sparse "
             "Coding'", f"{LECTURE}, 'Sparse autoencoder'"],
    why=r"""An L1 penalty is the density of a prior that is merely pointed at zero: no draw from it is
    sparse. Here each atom is in use with probability :math:`\pi` (the spike is at zero, the slab a
    standard normal). Given the subset :math:`s` in use, with the rows :math:`A_s` of the
    dictionary, :math:`x = h_s A_s + \text{noise}` is Gaussian with the covariance :math:`A_s^\top
    A_s + \sigma^2 I`, and the posterior of :math:`h_s` is that of ridge regression. Both then are
    averaged over all :math:`2^K` subsets: exact sparsity is paid for with this sum.

    Density, mean code and probability of use are integrated in the test by quadrature over the
    slab of every atom, with no Gaussian algebra. At :math:`\pi \to 1` the mean code must be the
    ridge regression's.""",
    assumptions={
        "all subsets are summed": (
            r"for :math:`p(s \mid x) = 0.6, 0.4` with an atom in and out of use, the "
            "likeliest subset alone gives an entry too large by a factor of 5/3"
        ),
        "the slab is Gaussian": (
            "with another slab the sum stays, but each term is an integral without a "
            "closed form"
        ),
    },
    effort=0.3,
)  # fmt: skip
@given(seed=SEEDS, atoms=st.sampled_from([1, 2]), rate=st.sampled_from([0.1, 0.5, 0.9]))
def test_a_sum_over_subsets_is_the_density(
    subject: Handle, device: str, dtype: torch.dtype, seed: int, atoms: int, rate: float
) -> None:
    pieces, source = subject.pieces().raw, seeded(seed)
    dictionary, x, sigma = standard_normal(source, atoms, 2), standard_normal(source, 3, 2), 1.0
    dictionary = dictionary / dictionary.norm(dim=1, keepdim=True)
    model = pieces.SpikeAndSlab(dictionary, rate, sigma)
    nodes, weights = hermite_line(60)
    density = torch.zeros(3, dtype=torch.float64)
    mean, use = torch.zeros(3, atoms).double(), torch.zeros(3, atoms).double()
    for s in product((0, 1), repeat=atoms):
        prior = math.prod(rate if on else 1 - rate for on in s)
        axes = [nodes if on else torch.zeros(1).double() for on in s]
        mass = [weights if on else torch.ones(1).double() for on in s]
        codes = torch.cartesian_prod(*axes).view(-1, atoms)
        share = torch.cartesian_prod(*mass).view(-1, atoms).prod(1)
        distance = (x[:, None] - codes @ dictionary).square().sum(-1)
        likelihood = (-0.5 * distance / sigma**2).exp() / (2 * math.pi * sigma**2)
        joint = prior * likelihood * share  # (point, code)
        density += joint.sum(1)
        mean += joint @ codes
        use += joint.sum(1, keepdim=True) * torch.tensor(s)
    accuracy = guarded(torch.float64)
    check.close(model.log_prob(x), density.log(), accuracy, "log p(x)")
    check.close(model.code(x), mean / density[:, None], accuracy, "the mean code")
    check.close(model.in_use(x), use / density[:, None], accuracy, "the probability of use")
    always = pieces.SpikeAndSlab(dictionary, 1 - 1e-12, sigma).code(x)
    ridge = torch.linalg.solve(
        dictionary @ dictionary.T + sigma**2 * torch.eye(atoms), dictionary @ x.T
    ).T
    check.close(always, ridge, accuracy, "the mean code with every atom in use")


# Stacks -------------------------------------------------------------------------------------------


def _layers(seed: int, *widths: int) -> list[nn.Module]:
    """Sigmoid layers of these widths, with drawn parameters."""
    seed_everything(seed % 10_000)
    stack: list[nn.Module] = [
        nn.Sequential(nn.Linear(a, b), nn.Sigmoid()) for a, b in pairwise(widths)
    ]
    for layer in stack:
        redraw_parameters(layer.double())
    return stack


@claim(
    "theory.layerwise_freezes_the_rest",
    r"\frac{\partial L_k}{\partial \theta_j} = 0 \text{ for } j < k, \qquad "
    r"\frac{\partial L_k}{\partial \theta_k} \ne 0",
    sources=[f"{BENGIO}, section 3", f"{LECTURE}, 'Layerwise pretraining'"],
    why=r"""Greedy pretraining trains layer :math:`k` as a shallow autoencoder of what it is given,
    :math:`c = f_{k-1} \cdots f_1(x)`, with a decoder of its own: :math:`L_k = \frac1N \sum
    \|d(f_k(c)) - c\|^2`. The layers below are a fixed preprocessing. If a gradient reached them
    the target :math:`c` would move as well, and the loss has a cheap minimum: codes that are all
    equal are rebuilt perfectly.

    The test recomputes the loss layer by layer, calls backward, and looks at every parameter: none
    below may have a gradient, and the new layer and its decoder must both have one. A detach one
    line too late trains the decoder alone. The loss is that of rebuilding the codes below, not the
    data.""",
    assumptions={
        "the codes below are detached": (
            "with sigmoid layers trained at once, weights of zero below make all codes ½ "
            "and the loss 0, whatever the data are"
        ),
    },
    effort=0.3,
)
@given(seed=SEEDS, depth=st.sampled_from([1, 2, 3]))
def test_only_the_new_layer_is_trained(
    subject: Handle, device: str, dtype: torch.dtype, seed: int, depth: int
) -> None:
    pieces = subject.pieces().raw
    layers = _layers(seed, 5, 4, 3, 2)[:depth]
    given_, made = (5, 4, 3, 2)[depth - 1 : depth + 1]
    decoder = nn.Linear(made, given_).double()
    x = standard_normal(seeded(seed), 6, 5)
    loss = pieces.layer_loss(layers, decoder, x)
    below = x
    for layer in layers[:-1]:
        below = layer(below)
    expected = (decoder(layers[-1](below)) - below).square().sum(1).mean()
    check.close(loss, expected, SLACK, "the loss of the layer")
    loss.backward()
    for index, layer in enumerate(layers[:-1]):
        grads = [p.grad for p in layer.parameters() if p.grad is not None]
        idle = all(not bool(g.any()) for g in grads)
        check.that(idle, f"layer {index + 1} gets a gradient while layer {depth} is trained")
    for name, part in (("the new layer", layers[-1]), ("its decoder", decoder)):
        moved = all(p.grad is not None and bool(p.grad.any()) for p in part.parameters())
        check.that(moved, f"{name} gets no gradient")


@claim(
    "theory.greedy_linear_layers_find_pca",
    r"\operatorname{span}(W_1^\top \cdots W_k^\top) = \text{the first } d_k \text{ principal directions}",
    sources=[f"{BENGIO}, section 3", f"{LECTURE}, 'Layerwise pretraining'"],
    why=r"""The first layer keeps the :math:`d_1` leading directions of the data: its codes are
    :math:`V_{d_1}^\top (x - \bar x)` with the diagonal covariance of :math:`s_1^2, \ldots,
    s_{d_1}^2`. The principal directions of these codes are the unit vectors in the same order, so
    the second layer keeps the first :math:`d_2` of them, and the composed encoder spans
    :math:`V_{d_2}`. Greed costs nothing here, because the best plane of each size contains the
    smaller ones; but the codes have to keep their lengths.

    The oracle is NumPy's decomposition of the data, with singular values well apart. The composed
    weights must lie in the leading subspace and have full rank, and the best affine decoder of the
    final codes must leave just the trailing variance.""",
    assumptions={
        "codes keep their lengths": (
            "a layer that divides each code by its variance makes the weakest direction "
            "the strongest for the next"
        ),
        "the layers are linear": (
            "with non-linear layers the best code of length one need not be a part of the "
            "best code of length two"
        ),
    },
    effort=0.3,
)
@given(seed=SEEDS, dims=st.sampled_from([(3,), (3, 2), (4, 2, 1)]))
def test_greedy_linear_layers_span_the_principal_subspace(
    subject: Handle, device: str, dtype: torch.dtype, seed: int, dims: tuple[int, ...]
) -> None:
    pieces, source = subject.pieces().raw, seeded(seed)
    scales = torch.tensor([5.0, 3.0, 2.0, 1.0, 0.3]).double()
    x = (standard_normal(source, 40, 5) * scales) @ torch.linalg.qr(
        standard_normal(source, 5, 5)
    ).Q + 3.0
    code, product_ = x, torch.eye(5).double()
    for weight, bias in pieces.greedy_linear_stack(x, dims):
        code, product_ = code @ weight.T + bias, weight @ product_
    check.that(code.shape == (40, dims[-1]), f"the codes have shape {tuple(code.shape)}")
    centred = (x - x.mean(0)).numpy()
    directions = torch.from_numpy(np.linalg.svd(centred, full_matrices=False)[2][: dims[-1]].copy())
    inside = product_ @ directions.T @ directions
    check.close(
        inside, product_, 1e3 * SLACK, "the composed encoder, within the principal subspace,"
    )
    rank = int(torch.linalg.matrix_rank(product_))
    check.that(rank == dims[-1], f"the composed encoder has rank {rank}, not {dims[-1]}")
    affine = torch.cat([code, torch.ones(40, 1).double()], 1)
    rebuilt = affine @ torch.linalg.lstsq(affine, x).solution
    left = np.linalg.svd(centred, compute_uv=False)[dims[-1] :]
    error = (x - rebuilt).square().sum()
    check.close(error, float((left**2).sum()), 1e5 * SLACK, "the squared error left by the codes")


@claim(
    "theory.pretraining_initialises_supervised",
    r"\theta_{\text{classifier}}^{(0)} = \theta_{\text{encoder}}, \qquad \text{the encoder stays}",
    sources=[f"{BENGIO}, section 2.3", f"{LECTURE}, 'Layerwise pretraining'", "CS231n lecture 12"],
    why=r"""The point of pretraining is that fine-tuning starts somewhere: the classifier's features must
    be the encoder's, bit for bit, and its new output layer impartial, so that the first gradient
    is that of the features and not of random scores. With scores all equal the cross-entropy is
    that of a uniform guess over :math:`C` classes, :math:`\log C`. And it must be a copy: a
    classifier that shares the tensors ruins the autoencoder while it learns.

    It is a requirement, and the test observes it: equal features and equal scores before, the
    value :math:`\log C`, thirty steps of descent that lower it and move the copied encoder, and
    the original's parameters unchanged to the last bit afterwards.""",
    assumptions={
        "the encoder is copied, not shared": (
            "after thirty steps of fine-tuning the shared encoder no longer fits the "
            "autoencoder's decoder"
        ),
    },
    effort=0.3,
)
@given(seed=SEEDS, classes=st.sampled_from([2, 3, 5]))
def test_the_classifier_starts_from_the_encoder(
    subject: Handle, device: str, dtype: torch.dtype, seed: int, classes: int
) -> None:
    pieces, source = subject.pieces().raw, seeded(seed)
    encoder = nn.Sequential(*_layers(seed, 5, 4, 3))
    before = [p.detach().clone() for p in encoder.parameters()]
    classifier = pieces.classifier_from_encoder(encoder, 3, classes)
    x = standard_normal(source, 7, 5)
    check.equal(classifier[0](x), encoder(x), "the features of the new classifier")
    scores = classifier(x)
    check.that(scores.shape == (7, classes), f"the scores have shape {tuple(scores.shape)}")
    spread = float((scores - scores[:, :1]).abs().max())
    check.close(spread, 0.0, SLACK, "how far the scores of two classes are apart at first")
    optimizer = torch.optim.SGD(classifier.parameters(), lr=0.5)
    labels = torch.arange(7) % classes
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(classifier(x), labels)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    check.close(losses[0], math.log(classes), SLACK, "the cross-entropy before fine-tuning")
    check.that(losses[-1] < losses[0], "fine-tuning does not lower the cross-entropy")
    moved = any(
        not torch.equal(a, b) for a, b in zip(before, classifier[0].parameters(), strict=True)
    )
    check.that(moved, "fine-tuning does not reach the copied encoder")
    for old, new in zip(before, encoder.parameters(), strict=True):
        check.equal(new.detach(), old, "a parameter of the autoencoder after fine-tuning")


# Codes without an encoder -------------------------------------------------------------------------


@claim(
    "theory.implicit_inversion",
    r"z^* = \arg\min_z \| g(z) - x \|^2, \qquad g(z) = zA + b \;\Rightarrow\; z^* = (x - b) A^+",
    sources=["CS182 2020 L16, 'Implicit autoencoder'",
             "Creswell and Bharath 2016, 'Inverting The Generator Of A Generative Adversarial Network'"],
    why=r"""A decoder alone is an autoencoder: the code of a point is whatever input makes the decoder say
    it. For :math:`g(z) = zA + b` the gradient of :math:`\|zA + b - x\|^2` is :math:`2 (zA + b - x)
    A^\top`, which lies in the image of :math:`A^\top`; descent from zero never leaves this space,
    and in it the minimiser is unique: the shortest of all minimisers, :math:`(x - b) A^+`. So it
    does not matter that the code may be longer than the point.

    NumPy's pseudo-inverse is the oracle, for codes shorter than, as long as and longer than the
    point. Each point is inverted by itself: a mean over the batch shortens every step. Of a
    decoder bent by tanh, codes of points that it has said are found again.""",
    assumptions={
        "descent starts from zero, where the code is longer than the point": (
            "for :math:`g(z) = z_1 + z_2` and :math:`x = 0` a start at (1, -1) is a "
            "solution already, and stays"
        ),
        "the decoder is linear": ":math:`g(z) = z^2` says 4 for 2 and for -2, and descent from 0 does not move",
    },
    sentence="inverting a linear decoder is the pseudo-inverse",
    effort=0.2,
)  # fmt: skip
@given(seed=SEEDS, shape=st.sampled_from([(2, 4), (3, 3), (4, 2)]))
def test_inverting_a_linear_decoder_is_the_pseudo_inverse(
    subject: Handle, device: str, dtype: torch.dtype, seed: int, shape: tuple[int, int]
) -> None:
    pieces, source = subject.pieces().raw, seeded(seed)
    codes, size = shape
    left = torch.linalg.qr(standard_normal(source, codes, codes)).Q
    right = torch.linalg.qr(standard_normal(source, size, size)).Q
    rank = min(shape)
    strength = torch.linspace(1.0, 2.0, rank).double()
    weight, bias = (left[:, :rank] * strength) @ right[:rank], standard_normal(source, size)
    x = standard_normal(source, 3, size)
    start = torch.zeros(3, codes).double()
    found = pieces.invert_decoder(lambda z: z @ weight + bias, x, start, 0.25, 120)
    exact = (x - bias) @ torch.from_numpy(np.linalg.pinv(weight.numpy()))
    check.close(found, exact, guarded(torch.float64), "the codes of a linear decoder")
    truth = 0.3 * standard_normal(source, 3, codes)
    if codes > size:
        return

    def bent(z: Tensor) -> Tensor:
        return (z @ weight).tanh()

    again = pieces.invert_decoder(bent, bent(truth), start, 0.25, 400)
    check.close(again, truth, guarded(torch.float64, scale=1.0), "the codes of a bent decoder")


@claim(
    "theory.activation_maximisation_finds_the_weights",
    r"\arg\max_{\|x\| = \rho} w \cdot x = \rho\, \frac{w}{\|w\|}",
    sources=["Erhan et al. 2009, 'Visualizing Higher-Layer Features of a Deep Network', §3.2",
             "CS182 2020 L16, 'Implicit autoencoder'"],
    why=r"""By the Cauchy-Schwarz inequality :math:`w \cdot x \le \|w\| \, \|x\|`, with equality exactly if
    :math:`x` is a positive multiple of :math:`w`. So what excites a linear unit most, for its
    length :math:`\rho`, is its own weight vector, :math:`\rho w / \|w\|`; a monotone function of
    the unit is excited by the same. Without the constraint on the length the question has no
    answer. On the sphere the only other stationary point is the opposite one, the least exciting
    input, which ascent leaves.

    Three random starts are moved, each by its own gradient, for a linear and a sigmoid unit, and
    must all end at the weight vector. It is how one sees what a unit of a network has learned.""",
    assumptions={
        "the length is fixed": r":math:`w \cdot x` has no maximum: it is doubled with :math:`x`",
        "the start is not the opposite point": r"at :math:`x = -\rho w / \|w\|` the gradient has no part along the sphere",
    },
    effort=0.3,
)  # fmt: skip
@given(seed=SEEDS, size=st.sampled_from([1, 2, 5]), radius=st.sampled_from([0.5, 3.0]))
def test_a_unit_is_excited_most_by_its_weights(
    subject: Handle, device: str, dtype: torch.dtype, seed: int, size: int, radius: float
) -> None:
    pieces, source = subject.pieces().raw, seeded(seed)
    weight = standard_normal(source, size)
    weight = weight / weight.norm()
    start = standard_normal(source, 3, size)
    start = start * (start @ weight).sign()[:, None]  # not the point opposite, which is stationary
    for unit in (lambda x: x @ weight, lambda x: (x @ weight).sigmoid()):
        found = pieces.activation_maximisation(unit, start, 2.0 * radius, 400, radius)
        check.close(found.norm(dim=1), torch.full((3,), radius), SLACK, "the length of the input")
        expected = (radius * weight).expand(3, -1)
        check.close(found, expected, guarded(torch.float64, scale=radius), "the input found")


@claim(
    "theory.convolutional_code_moves_with_the_image",
    r"f(\tau_{4} x) = \tau_1 f(x) \text{ away from the border}, \qquad g(\tau_1 z) = \tau_4 g(z)",
    sources=["Masci et al. 2011, 'Stacked Convolutional Auto-Encoders'",
             f"{LECTURE}, 'Convolutional autoencoder'"],
    why=r"""Write :math:`\tau_s` for a shift by :math:`s` pixels. A convolution of stride 2 reads its input
    at every second place, so :math:`f_1(\tau_2 x) = \tau_1 f_1(x)`; two of them give
    :math:`f(\tau_4 x) = \tau_1 f(x)`, and the transposed ones the converse. Near the border the
    padding is seen, so only the inner part is compared.

    The test shifts an image of 24 x 28 pixels by four in either direction and compares the subject
    with itself, with random weights. A code that mixes positions (a dense layer, a mean over the
    image) loses this, and with it the sharing of weights. Height and width of the code must be a
    quarter of the image's, and come back exactly: kernel, padding and stride of the transposed
    convolutions have to fit.""",
    assumptions={
        "the shift is a multiple of four pixels": (
            "after a shift by one the filters are read at other pixels, and the code is "
            "no shift of the old one"
        ),
        "positions are away from the border": "there zeros enter from outside the image",
    },
    effort=0.2,
)  # fmt: skip
@given(seed=SEEDS, across=st.booleans())
def test_a_code_moves_with_its_image(
    subject: Handle, device: str, dtype: torch.dtype, seed: int, across: bool
) -> None:
    seed_everything(seed % 10_000)
    model = subject.pieces().raw.ConvolutionalAutoencoder(2, 3, 5).double()
    redraw_parameters(model)
    source = seeded(seed)
    axis = 3 if across else 2

    def inner(image: Tensor, margin: int) -> Tensor:
        return image[:, :, margin:-margin, margin:-margin]

    x = standard_normal(source, 2, 2, 24, 28)
    code = model.encode(x)
    check.that(code.shape == (2, 5, 6, 7), f"the code of 24 x 28 is {tuple(code.shape)}")
    moved = model.encode(x.roll(4, axis))
    check.close(inner(moved, 2), inner(code.roll(1, axis), 2), SLACK, "the code of a moved image")
    image = model.decode(code)
    check.that(image.shape == x.shape, f"the image comes back as {tuple(image.shape)}")
    again = model.decode(code.roll(1, axis))
    check.close(inner(again, 8), inner(image.roll(4, axis), 8), SLACK, "the image of a moved code")
    check.that(bool((moved != code).any()), "the code does not notice that the image moved")
