r"""Claims about two baselines of density tables: the deep Gaussian mixture, and the mixture under RIDE.

Both are mixtures that can be written out: every path of the deep one is a Gaussian that SciPy knows,
and every expert's prediction is a conditional of a joint Gaussian.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import scipy.special
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spec_tests import check
from spec_tests.concentration import FALSE_ALARM
from spec_tests.handle import Handle
from spec_tests.judge import stratified
from spec_tests.registry import claim
from spec_tests.strategies import integers_below, reals, seeded, standard_normal
from spec_tests.tolerance import guarded, rounding

OORD = (
    "van den Oord and Schrauwen 2014, 'Factoring Variations in Natural Images with Deep Gaussian "
    "Mixture Models'"
)
RIDE = "Theis and Bethge 2015, 'Generative Image Modeling Using Spatial LSTMs'"
MCGSM = "Theis, Hosseini, Bethge 2012, 'Mixtures of Conditional Gaussian Scale Mixtures'"
L16 = "CS182 2020 L16, table of NLL on CIFAR-10"
SEEDS = st.integers(0, 2**31 - 1)
SLACK = rounding(torch.float64, length=64, scale=16.0)
Layers = list[tuple[Tensor, Tensor, Tensor]]


def _layers(seed: int, dims: int, widths: tuple[int, ...], narrow: float = 0.5) -> Layers:
    """Maps with singular values in ``[narrow, 1 / narrow]``, neither symmetric nor of one sign."""
    source, made = seeded(seed), []
    for k in widths:
        turns = [torch.linalg.qr(standard_normal(source, k, dims, dims)).Q for _ in range(2)]
        stretch = narrow ** (2 * torch.rand(k, dims, generator=source, dtype=torch.float64) - 1)
        matrices = turns[0] @ (stretch[..., None] * turns[1])
        made.append((standard_normal(source, k), matrices, standard_normal(source, k, dims)))
    return made


def _paths(layers: Layers) -> list[tuple[float, np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """Log-weight, mean and root of every path, each composed from the inside out."""
    found = []
    for path in itertools.product(*(range(len(w)) for w, _, _ in layers)):
        log_weight, mean, root = 0.0, 0.0, np.eye(layers[0][1].shape[-1])
        for (w, a, b), k in reversed(list(zip(layers, path, strict=True))):
            log_weight += float(w[k] - w.logsumexp(0))
            mean = a[k].numpy() @ (mean + np.zeros(len(root))) + b[k].numpy()
            root = a[k].numpy() @ root
        found.append((log_weight, mean, root))
    return found


def _each(layers: Layers, x: Tensor) -> np.ndarray[Any, Any]:
    """The logarithm of every path's share of the density, (P, N)."""
    return np.array(
        [
            weight + np.atleast_1d(scipy.stats.multivariate_normal(mean, root @ root.T).logpdf(x))
            for weight, mean, root in _paths(layers)
        ]
    )


SHAPES = st.sampled_from([(1, (3, 2)), (2, (2, 3)), (3, (4,)), (2, (2, 1, 3)), (3, (2, 2, 2))])


@claim(
    "theory.deep_mixture_is_flat",
    r"p(x) = \sum_{k_1 \dots k_L} \Bigl(\prod_l \pi_{l k_l}\Bigr)\, \mathcal N(x; \mu, R R^\top), "
    r"\qquad R = A_{1 k_1} \cdots A_{L k_L}",
    sources=[f"{OORD}, section 2", L16],
    why=r"""Layer l draws a map k with probability :math:`\pi_{lk}` and applies :math:`h
    \mapsto A_{lk} h + b_{lk}`, the last layer first, to normal noise z. Given the path :math:`k_1
    \dots k_L` these are affine maps, and so is their composition:

    .. math::

        x = R z + \mu, \qquad R = A_{1 k_1} \cdots A_{L k_L}, \qquad \mu = b_{1 k_1} + A_{1 k_1} (b_{2
        k_2} + \cdots),

    a Gaussian with covariance :math:`R R^\top`. Paths are drawn layer by layer on their own, so
    weights multiply, and the deep mixture is a flat one whose components share their parts: a
    dozen Gaussians from seven maps, say in layers of 3 and 4.

    Undoing layer after layer must give the density that SciPy gives for the paths one by one, and
    weights, means and covariances must be those of the paths.""",
    assumptions={
        "every map is invertible": (
            "through a map of rank one the samples lie on a line, and there is no density in "
            "the plane"
        ),
        "the maps are affine": ("z squared is no Gaussian, and neither is a path with it"),
    },
    effort=0.5,
    dtypes=("float64",),
)
@given(shape=SHAPES, seed=SEEDS)
def test_the_deep_mixture_is_the_flat_one_of_its_paths(
    subject: Handle, device: str, dtype: torch.dtype, shape: tuple[int, tuple[int, ...]], seed: int
) -> None:
    pieces, (dims, widths) = subject.pieces().raw, shape
    layers = _layers(seed, dims, widths)
    x = 2 * standard_normal(seeded(seed + 1), 4, dims)
    shares = _each(layers, x)
    expected = torch.from_numpy(scipy.special.logsumexp(shares, axis=0))
    scale = float(np.abs(shares).max())  # the steepest path, of maps within a factor of eight
    allowed = rounding(torch.float64, length=64, scale=16 * (1 + scale))
    check.close(pieces.deep_gmm_log_prob(x, layers), expected, allowed, "the density of all paths")
    log_weights, means, roots = pieces.deep_gmm_components(layers)
    paths = _paths(layers)
    check.that(len(log_weights) == len(paths), f"{len(log_weights)} components, not {len(paths)}")
    check.close(log_weights, [w for w, _, _ in paths], SLACK, "the log-weights of the paths")
    check.close(means, np.array([m for _, m, _ in paths]), SLACK, "the means of the paths")
    check.close(roots @ roots.mT, np.array([r @ r.T for _, _, r in paths]), SLACK * 16,
                "the covariances of the paths")  # fmt: skip
    model = pieces.DeepGMM(dims, widths).double()
    flat = _each([tuple(part.detach() for part in layer) for layer in model.layers], x)
    check.close(
        model.log_prob(x), scipy.special.logsumexp(flat, axis=0), guarded(torch.float64),
        "the density of a new model",
    )  # fmt: skip


@claim(
    "theory.deep_mixture_integrates_to_one",
    r"\int p(x)\, dx = 1, \qquad \int p(x_1, x_2)\, dx_2 = \sum_k \pi_k\, \mathcal N(x_1; \mu_{k1}, "
    r"\Sigma_{k11})",
    sources=[f"{OORD}, section 2"],
    why=r"""A map :math:`x = A h + b` stretches volumes by :math:`|\det A|` and thins the
    density out by as much, so that each path's Gaussian keeps mass one, and weights that sum to
    one in each layer give paths whose weights do:

    .. math::

        \sum_{k_1 \dots k_L} \prod_l \pi_{l k_l} = \prod_l \sum_k \pi_{lk} = 1.

    Without the determinant a model would win every table by shrinking. The marginal of a mixture
    is the mixture of the marginals, with the same weights.

    The integral is a sum over a lattice. For a Gaussian of width :math:`\sigma` its error is of
    size :math:`\exp(-2 (\pi \sigma / \text{step})^2)`, below :math:`10^{-20}` here; so mass and
    marginal are found to rounding, whatever way the density was computed.""",
    assumptions={
        "weights are normalised in each layer": ("with weights (1, 1) in two layers the mass is 4"),
        "the lattice is fine against the narrowest path (for the test)": (
            "a Gaussian of width 0.1 between points 0.35 apart is missed: the error is "
            ":math:`e^{-1.6}` and not :math:`10^{-20}`"
        ),
    },
    effort=0.4,
    dtypes=("float64",),
)
@given(shape=stratified([st.just((1, (3, 2))), st.just((2, (2, 2)))]), seed=SEEDS)
def test_the_deep_mixture_has_mass_one_and_mixtures_for_marginals(
    subject: Handle, device: str, dtype: torch.dtype, shape: tuple[int, tuple[int, ...]], seed: int
) -> None:
    pieces, (dims, widths) = subject.pieces().raw, shape
    layers = _layers(seed, dims, widths, narrow=0.75)
    paths, step = _paths(layers), 0.35  # the narrowest path has 0.75^2 = 0.56: exp(-50) is lost
    reach = 9 * 0.75**-2 + max(float(np.abs(mean).max()) for _, mean, _ in paths)
    line = step * torch.arange(-math.ceil(reach / step), math.ceil(reach / step) + 1).double()
    points = torch.cartesian_prod(*[line] * dims).reshape(-1, dims)
    density = pieces.deep_gmm_log_prob(points, layers).exp().reshape([len(line)] * dims)
    allowed = guarded(torch.float64)
    check.close(density.sum() * step**dims, 1.0, allowed, "the mass of the density")
    first = density if dims == 1 else density.sum(1) * step
    expected = sum(
        math.exp(w) * scipy.stats.norm.pdf(line, m[0], math.sqrt((r @ r.T)[0, 0]))
        for w, m, r in paths
    )
    check.close(first, expected, allowed, "the marginal of the first coordinate")


@claim(
    "theory.deep_mixture_samples_its_density",
    r"x = \mu_k + R_k z, \qquad \mathbb E\, e^{i t^\top x} = \sum_k \pi_k\, e^{i t^\top \mu_k - \frac12 "
    r"t^\top \Sigma_k t}",
    sources=[f"{OORD}, section 2"],
    why=r"""A sample takes one path, drawn layer by layer, and its maps from the last layer to
    the first. Given path k and noise z that is :math:`\mu_k + R_k z`, compared exactly, for every
    path. The average of :math:`e^{i t^\top x}` over z is a Gaussian's characteristic function,

    .. math::

        \mathbb E_z\, e^{i t^\top (\mu + R z)} = e^{i t^\top \mu} e^{-\frac12 \lVert R^\top t \rVert^2},
        \qquad \Sigma = R R^\top,

    and paths average it with their weights; it determines the law.

    Cosine and sine lie in [-1, 1], so by Hoeffding's inequality the mean over n samples strays by
    more than :math:`\varepsilon` with probability at most :math:`2 e^{-n \varepsilon^2 / 2}`,
    whatever the mixture. The allowance at 20000 samples is solved from that and from the false
    alarms that are accepted; no other sampler is needed.""",
    assumptions={
        "each item draws its own path": (
            "with one path for the batch the mean is that of one Gaussian, and does not settle "
            "as n grows"
        ),
    },
    effort=0.15,
    error=1e-9,
    dtypes=("float64",),
)
@given(shape=SHAPES, seed=SEEDS)
def test_samples_of_the_deep_mixture_follow_its_paths(
    subject: Handle, device: str, dtype: torch.dtype, shape: tuple[int, tuple[int, ...]], seed: int
) -> None:
    pieces, (dims, widths) = subject.pieces().raw, shape
    source, layers = seeded(seed), _layers(seed, dims, widths)
    paths = _paths(layers)
    taken = torch.tensor(list(itertools.product(*map(range, widths))))
    z = standard_normal(source, len(taken), dims)
    exact = [mean + root @ z[i].numpy() for i, (_, mean, root) in enumerate(paths)]
    pushed = pieces.deep_gmm_push(z, taken, layers)
    check.close(pushed, np.array(exact), SLACK, "a sample, given path and noise")
    model, n = pieces.DeepGMM(dims, widths).double(), 20_000
    with torch.no_grad():
        for own, drawn in zip(model.layers, layers, strict=True):
            for parameter, value in zip(own, drawn, strict=True):
                parameter.copy_(value)
    x = model.sample(n, generator=seeded(seed))
    check.that(x.shape == (n, dims), f"{n} samples have shape {tuple(x.shape)}")
    check.equal(model.sample(n, generator=seeded(seed)), x, "samples of one generator's seed")
    t = standard_normal(source, dims, 6) / math.sqrt(dims)
    expected = torch.zeros(2, 6, dtype=torch.float64)
    for weight, mean, root in paths:
        phase = torch.from_numpy(mean) @ t
        size = math.exp(weight) * (-0.5 * (torch.from_numpy(root).mT @ t).square().sum(0)).exp()
        expected += size * torch.stack([phase.cos(), phase.sin()])
    found = torch.stack([(x @ t).cos().mean(0), (x @ t).sin().mean(0)])
    stray = math.sqrt(
        2 * math.log(2 / FALSE_ALARM) / n
    )  # of numbers within an interval of length 2
    check.close(found, expected, stray, "the characteristic function of the samples")


@claim(
    "theory.responsibilities_are_the_gradient",
    r"\frac{\partial \log p(x)}{\partial \log \pi_{lk}} = r_{lk}(x) - \pi_{lk}, \qquad \frac{\partial "
    r"\log p(x)}{\partial b_{1k}} = \sum_{\text{paths through } k} r(x)\, \Sigma^{-1} (x - \mu)",
    sources=[f"{OORD}, section 3", "Bishop 2006, section 9.2"],
    why=r"""Let :math:`r(x)` be the posterior probability of a path given x. The derivative of
    the logarithm of a sum is the mean of the terms' logarithmic derivatives under their shares,

    .. math::

        \partial \log \sum_k e^{f_k} = \sum_k r_k\, \partial f_k, \qquad r_k = \frac{e^{f_k}}{\sum_j
        e^{f_j}}.

    A path's log-weight contains the logit of map (l, k) if it goes through it, and always minus
    the layer's normalising constant, whose derivative is :math:`\pi_{lk}`: so the slope is the
    responsibility :math:`r_{lk}` less the weight. A shift of the outermost layer moves
    :math:`\mu`, and the Gaussian's logarithm has slope :math:`\Sigma^{-1} (x - \mu)` in it. What
    expectation-maximisation reads from the posterior of the path, differentiation finds by
    itself.

    The shares come from SciPy's densities of the paths, and autograd must agree.""",
    assumptions={
        "weights are a softmax of what is differentiated": (
            r"in free weights :math:`\pi` the slope is :math:`r / \pi`, and nothing is "
            "subtracted"
        ),
    },
    effort=0.3,
    dtypes=("float64",),
)
@given(shape=SHAPES, seed=SEEDS)
def test_gradients_of_the_deep_mixture_are_responsibilities(
    subject: Handle, device: str, dtype: torch.dtype, shape: tuple[int, tuple[int, ...]], seed: int
) -> None:
    pieces, (dims, widths) = subject.pieces().raw, shape
    layers = _layers(seed, dims, widths)
    x = 2 * standard_normal(seeded(seed + 1), 3, dims)
    shares = _each(layers, x)
    r = np.exp(shares - scipy.special.logsumexp(shares, axis=0))  # (P, N)
    free = [tuple(part.clone().requires_grad_() for part in layer) for layer in layers]
    value = pieces.deep_gmm_log_prob(x, free).sum()
    slopes = torch.autograd.grad(value, [w for w, _, _ in free] + [free[0][2]])
    paths = list(itertools.product(*map(range, widths)))
    for level, width in enumerate(widths):
        through = [r[[p[level] == k for p in paths]].sum() for k in range(width)]
        expected = np.array(through) - len(x) * layers[level][0].softmax(0).numpy()
        check.close(
            slopes[level], expected, guarded(torch.float64), f"the slope in weights {level}"
        )
    pull = np.zeros((widths[0], dims))
    for path, (_, mean, root), share in zip(paths, _paths(layers), r, strict=True):
        pull[path[0]] += np.linalg.solve(
            root @ root.T, ((x.numpy() - mean) * share[:, None]).sum(0)
        )
    allowed = guarded(torch.float64, scale=float(np.abs(pull).max()))
    check.close(slopes[-1], pull, allowed, "the slope in the shifts of the first layer")


# The mixture under RIDE ---------------------------------------------------------------------------


@claim(
    "theory.mcgsm_is_a_conditional_of_gaussians",
    r"\sum_{c,s} p(c, s \mid h)\, \mathcal N(x; a_c^\top h, e^{-\alpha_{cs}}) = \frac{\sum \pi_{cs}\, "
    r"\mathcal N((h, x); 0, (e^{\alpha_{cs}} P_c)^{-1})}{\sum \pi_{cs}\, \mathcal N(h; 0, "
    r"(e^{\alpha_{cs}} K_c)^{-1})}",
    sources=[MCGSM, f"{RIDE}, section 2.1"],
    why=r"""Let features h and pixel x together follow a mixture over experts c and scales s
    of Gaussians with precision :math:`e^{\alpha} P`, where

    .. math::

        P = \begin{pmatrix} K + a a^\top & -a \\ -a^\top & 1 \end{pmatrix}, \qquad (h, x) P (h, x)^\top =
        h^\top K h + (x - a^\top h)^2.

    So x given h is :math:`\mathcal N(a^\top h, e^{-\alpha})`, h alone has precision
    :math:`e^\alpha K`, and conditioning weighs the components by :math:`\pi\, \mathcal N(h; 0,
    (e^\alpha K)^{-1})`: the gate. Up to a constant its logarithm is :math:`\eta - \tfrac12
    e^\alpha h^\top K h` with :math:`\eta = \log \pi + F \alpha / 2 + \log |K| / 2` for F
    features: an expert speaks up where the features look as its scale expects.

    The right-hand side is computed from SciPy's joint and marginal densities, with full
    covariance matrices; the left from gates and predictions of ``mcgsm``.""",
    assumptions={
        "K is positive definite": (
            "for K = 0 the features have no density, and the gates do not depend on them"
        ),
        "features and pixel have mean zero": (
            "for features of mean 1 the gate is least surprised at h = 1, not at 0"
        ),
    },
    effort=0.5,
    dtypes=("float64",),
    sentence="the experts are conditionals of joint Gaussians",
)
@given(size=st.integers(1, 3), experts=st.integers(1, 3), scales=st.integers(1, 3), seed=SEEDS)
def test_the_experts_are_conditionals_of_joint_gaussians(
    subject: Handle,
    device: str,
    dtype: torch.dtype,
    size: int,
    experts: int,
    scales: int,
    seed: int,
) -> None:
    pieces, source = subject.pieces().raw, seeded(seed)
    log_pi = standard_normal(source, experts, scales).flatten().log_softmax(0).view(experts, scales)
    alpha = 0.5 * standard_normal(source, experts, scales)
    a = standard_normal(source, experts, size)
    loadings = 0.5 + torch.rand(experts, size + 1, generator=source, dtype=torch.float64)
    features = torch.cat([torch.eye(size).double(), standard_normal(source, 1, size)])
    inner = features.mT @ (loadings.square()[..., None] * features)  # K_c, (C, F, F)
    eta = log_pi + size * alpha / 2 + 0.5 * torch.linalg.slogdet(inner).logabsdet[:, None]
    h, x = standard_normal(source, 4, size), 2 * standard_normal(source, 4)
    gates, predictions = pieces.mcgsm(h, eta, alpha, a, loadings, features)
    check.close(gates.exp().sum((1, 2)), torch.ones(4), SLACK, "the sum of the gates")
    spread = (-0.5 * alpha).exp().numpy()
    density = scipy.stats.norm.logpdf(x[:, None, None], predictions[..., None], spread)
    found = scipy.special.logsumexp(gates.numpy() + density, axis=(1, 2))
    joint: list[Any] = []
    alone: list[Any] = []
    for c, s in itertools.product(range(experts), range(scales)):
        k, row = inner[c], a[c]
        whole = torch.cat([torch.cat([k + row.outer(row), -row[:, None]], 1),
                           torch.cat([-row[None], torch.ones(1, 1).double()], 1)])  # fmt: skip
        for precision, at, log_p in ((whole, torch.cat([h, x[:, None]], 1), joint), (k, h, alone)):
            covariance = torch.linalg.inv(alpha[c, s].exp() * precision).numpy()
            covariance = (covariance + covariance.T) / 2
            normal = scipy.stats.multivariate_normal(np.zeros(len(covariance)), covariance)
            log_p.append(float(log_pi[c, s]) + np.atleast_1d(normal.logpdf(at)))
    expected = scipy.special.logsumexp(joint, axis=0) - scipy.special.logsumexp(alone, axis=0)
    scale = float(np.abs(np.array(joint)).max())
    allowed = guarded(torch.float64, scale=scale)
    check.close(found, expected, allowed, "the conditional log-density of a pixel")


@claim(
    "theory.discretized_gaussian_is_a_difference_of_cdfs",
    r"p(k) = \Phi\Bigl(\frac{b_k - \mu}\sigma\Bigr) - \Phi\Bigl(\frac{a_k - \mu}\sigma\Bigr), \qquad "
    r"\sum_k p(k) = 1",
    sources=["Ho, Jain, Abbeel 2020, equation 13", f"{RIDE}, section 3"],
    why=r"""Levels are bins :math:`(a_k, b_k]` of the line with :math:`b_k = a_{k+1}`; the
    mass of a bin is what the density collects there, and the first and the last bin take the
    tails, so that the sum telescopes:

    .. math::

        \sum_k p(k) = \Phi(\infty) - \Phi(-\infty) = 1.

    Far above the mean both values are 1 in floating point, and their difference is 0. Mirrored,
    :math:`\Phi(b) - \Phi(a) = \Phi(-a) - \Phi(-b)`, they are small numbers with all their digits;
    with their logarithms u for the larger and l for the smaller, the mass is :math:`u + \log(1 -
    e^{l - u})`. Mixtures add up masses, not densities, and a precision :math:`e^\alpha` is a
    scale of :math:`e^{-\alpha / 2}`.

    The oracle is this formula on SciPy's log-distribution function in double precision; slopes
    must be finite, however far out a level lies.""",
    assumptions={
        "the outermost bins take the tails": (
            "with a mean of 4 and a scale of 1 two bins that end at 1 collect 0.1% of the mass"
        ),
    },
    effort=0.5,
    sentence="a rounded Gaussian collects the mass of its bins",
)
@given(
    levels=st.sampled_from([2, 3, 5, 17]), mean=reals((3,), -4, 4), log_scale=reals((3,), -4, 1),
    seed=SEEDS,
)  # fmt: skip
def test_a_rounded_gaussian_collects_the_mass_of_its_bins(
    subject: Handle, device: str, dtype: torch.dtype, levels: int, mean: Tensor, log_scale: Tensor,
    seed: int,
) -> None:  # fmt: skip
    pieces = subject.pieces().raw
    level = torch.arange(levels, device=device)[:, None]
    mean, log_scale = mean.requires_grad_(), log_scale.requires_grad_()
    found = pieces.discretized_gaussian(level, mean, log_scale, levels)
    check.that(found.dtype == dtype, f"the log-masses are {found.dtype}, not {dtype}")
    inner = (2 * np.arange(1, levels) - levels) / (levels - 1)
    ends = np.concatenate([[-np.inf], inner, [np.inf]])[:, None]
    centre, width = (t.detach().double().cpu().numpy() for t in (mean, log_scale.exp()))
    expected = _log_mass(ends[:-1], ends[1:], centre, width)
    # Rounding of the standardised ends moves a tail's logarithm by their size, squared.
    far = float(((np.abs(inner[:, None] - centre).max() + 1) / width).max())
    allowed = guarded(dtype) + rounding(dtype, scale=far**2)
    check.close(found, expected, allowed, "the log-mass of a bin")
    for slope in torch.autograd.grad(found.sum(), (mean, log_scale)):
        check.finite(slope, "the slope of the log-masses")
    source = seeded(seed)
    gates = standard_normal(source, 6).log_softmax(0).view(3, 2).to(mean)
    alpha = standard_normal(source, 3, 2).to(mean)
    masses = pieces.mcgsm_logits(gates, mean.detach(), alpha, levels).exp()
    by_hand = np.zeros(levels)
    for c, s in itertools.product(range(3), range(2)):
        bins = _log_mass(ends[:-1], ends[1:], centre[c], math.exp(-0.5 * float(alpha[c, s])))
        by_hand += math.exp(float(gates[c, s])) * np.exp(bins[:, 0])
    check.close(masses, by_hand, guarded(dtype), "the mass of a bin under the mixture")
    check.close(masses.sum(), 1.0, guarded(dtype), "the mass of all bins under the mixture")


def _log_mass(low: Any, high: Any, mean: Any, scale: Any) -> np.ndarray[Any, Any]:
    """The logarithm of a Gaussian's mass between two ends, from the tail that is thinner."""
    a, b = (low - mean) / scale, (high - mean) / scale
    a, b = np.where(a > 0, -b, a), np.where(a > 0, -a, b)
    upper, lower = scipy.stats.norm.logcdf(b), scipy.stats.norm.logcdf(a)
    mass: np.ndarray[Any, Any] = upper + np.log(-np.expm1(lower - upper))
    return mass


@claim(
    "theory.spatial_lstm_equations",
    r"m_{ij} = g \odot i + m_{i,j-1} \odot c + m_{i-1,j} \odot r, \qquad h_{ij} = \tanh(m_{ij} \odot o)",
    sources=[f"{RIDE}, section 2.2"],
    why=r"""A definition. The gates g (tanh), i, o, c and r (sigmoids) of pixel (i, j) are
    affine in the input there and in the states to the left and above. The memory m has two ways
    in, and a forget gate for each: c keeps what comes from the left, r what comes from above; the
    output gate stands inside the hyperbolic tangent. Beyond the border all is zero.

    By induction over rows and columns the state depends on every pixel (a, b) with :math:`a \le
    i` and :math:`b \le j`, for each step to the right or down passes something on, and on no
    other: a state reads a quarter of the image, which grows as it goes.

    The oracle is a loop over pixels in NumPy with weights of the two ways drawn apart; which
    inputs are felt is read from the gradient, and must be just that quarter, of the same item.""",
    assumptions={
        "the weights are not zero (for the whole quarter to be felt)": (
            "with weights and forget gates at zero a state feels its own pixel alone"
        ),
    },
    effort=0.3,
    dtypes=("float64",),
)
@given(shape=st.sampled_from([(1, 4), (3, 1), (2, 3), (4, 3)]), seed=SEEDS)
def test_each_state_comes_from_the_left_and_from_above(
    subject: Handle, device: str, dtype: torch.dtype, shape: tuple[int, int], seed: int
) -> None:
    pieces, source, (height, width), size = subject.pieces().raw, seeded(seed), shape, 2
    u = standard_normal(source, 2, 5 * size, height, width)
    left, above = (standard_normal(source, 5 * size, size) for _ in range(2))
    h = np.zeros((2, size, height + 1, width + 1))
    m = np.zeros_like(h)  # row and column 0 are the border
    for i, j in itertools.product(range(1, height + 1), range(1, width + 1)):
        gates = u[:, :, i - 1, j - 1].numpy()
        gates = gates + h[:, :, i, j - 1] @ left.numpy().T + h[:, :, i - 1, j] @ above.numpy().T
        g, o, take, down, along = np.split(gates, 5, axis=1)
        o, take, down, along = (scipy.special.expit(gate) for gate in (o, take, down, along))
        m[:, :, i, j] = np.tanh(g) * take + m[:, :, i, j - 1] * along + m[:, :, i - 1, j] * down
        h[:, :, i, j] = np.tanh(m[:, :, i, j] * o)
    found = pieces.spatial_lstm(u.requires_grad_(), left, above)
    check.close(found, h[:, :, 1:, 1:], SLACK, "the states of the spatial LSTM")
    row, column = height // 2, width // 2
    (felt,) = torch.autograd.grad(found[0, :, row, column].sum(), u)
    reached = felt[0].abs().amax(0) > 0
    past = torch.zeros(height, width, dtype=torch.bool)
    past[: row + 1, : column + 1] = True
    check.that(not bool((reached & ~past).any()), "a state feels what is right of it or below it")
    check.that(bool(reached[past].all()), "a state does not feel all that is above and to the left")
    check.that(not bool(felt[1].any()), "a state feels another item of the batch")


@claim(
    "theory.ride_predicts_from_its_state",
    r"\ell_{\cdot c i j} = \texttt{mcgsm\_logits}\bigl(\texttt{mcgsm}(h_{ij}, x_{<c,ij}, 1)\bigr), "
    r"\qquad h = \texttt{spatial\_lstm}(\texttt{read}(x))",
    sources=[f"{RIDE}, section 2.3 and figure 1"],
    why=r"""The model is its parts, in this order: ``read`` is a convolution masked to the
    neighbours above and to the left, whose outputs feed the gates; ``spatial_lstm`` carries what
    was read over the image; and for channel c of a pixel ``mcgsm`` turns the state, the channels
    before c and a constant into experts, which ``mcgsm_logits`` makes masses of levels. By the
    chain rule the image's log-likelihood is the sum of these, if no part sees the value that it
    predicts:

    .. math::

        \log p(x) = \sum_{i, j} \sum_c \log p\bigl(x_{cij} \mid x_{<c, ij}, h_{ij}\bigr).

    A model can look right and skip a part; without the recurrence it is still a fair mixture.

    Here the parts are put together by hand from the parameters by name, one pixel at a time, with
    the mask written as slices, and all weights drawn so that none is zero.""",
    assumptions={
        "the neighbourhood is masked": (
            "if ``read`` saw the pixel itself the state would contain the answer, and the "
            "likelihood would have no bound but the bins'"
        ),
    },
    effort=0.2,
    dtypes=("float64",),
)
@given(x=stratified([integers_below(3, (2, 3, 2, 3)), integers_below(3, (1, 1, 3, 4))]), seed=SEEDS)
def test_the_model_is_its_recurrence_and_its_mixture(
    subject: Handle, device: str, dtype: torch.dtype, x: Tensor, seed: int
) -> None:
    pieces, x = subject.pieces().raw, x.cpu()
    channels, height, width = shape = tuple(x.shape[1:])
    model = pieces.RIDE(shape, 3, hidden=4).double()
    source = seeded(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.5 * standard_normal(source, *parameter.shape))
        values = x.double() - 1  # levels 0, 1, 2 at -1, 0, 1
        padded = torch.nn.functional.pad(values, (1, 1, 1, 1))
        kernel, gates = model.read.weight, []
        for i, j in itertools.product(range(height), range(width)):
            seen = padded[:, :, i : i + 3, j : j + 3].clone()
            seen[:, :, 1, 1:], seen[:, :, 2] = 0, 0  # the pixel itself and what comes later
            gates.append(model.read.bias + torch.einsum("ncab,ocab->no", seen, kernel))
        u = torch.stack(gates, 2).view(len(x), -1, height, width)
        h = pieces.spatial_lstm(u, model.from_left, model.from_above)
        found = model.logits(x)
        for c, i, j in itertools.product(range(channels), range(height), range(width)):
            before = values[:, :, i, j] * (torch.arange(channels) < c)
            shown = torch.cat([h[:, :, i, j], before, torch.ones(len(x), 1).double()], 1)
            alpha = model.log_precisions[c]
            mixture = pieces.mcgsm(
                shown, model.log_priors[c], alpha, model.predictors[c], model.loadings[c],
                model.features[c],
            )  # fmt: skip
            expected = pieces.mcgsm_logits(*mixture, alpha, 3)
            check.close(found[:, :, c, i, j], expected, guarded(torch.float64), "the logits")
