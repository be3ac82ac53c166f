r"""Variational autoencoders: the bound and its gradient, batches, likelihood and sampler.

Nothing here is estimated that can be computed. Expectations over the noise are Gauss-Hermite sums,
p(x) is a sum over a lattice of codes, binary data are enumerated, and a Gaussian likelihood is read
off a few of its values. The sampler alone is sampled, and judged by bounds that hold at every
sample size.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spec_tests import check
from spec_tests.concentration import no_closer_than_chance
from spec_tests.contracts.latent import VAEConfig, batches, configs
from spec_tests.handle import Handle
from spec_tests.judge import stratified
from spec_tests.marginals import (
    ALARM,
    DRAWS,
    chance_of_repeating,
    compare_slopes,
    cpu,
    draw_samples,
    encoder_parameters,
    expectations,
    gaussian_of,
    judge_counts,
    judge_projections,
    on_lattices,
    outcomes,
    seeded,
)
from spec_tests.numerics import gradients
from spec_tests.registry import Unsupported, claim
from spec_tests.state import generators, seed_everything
from spec_tests.strategies import normals
from spec_tests.tolerance import guarded, rounding

KINGMA = "Kingma and Welling 2013, 'Auto-Encoding Variational Bayes'"
L17 = "CS182 2021 L17, 'Variational autoencoders'"
CALLS = 120


# vae: the bound -------------------------------------------------------------------------------------


@st.composite
def _models(
    draw: st.DrawFn,
    likelihood: str,
    data_dims: tuple[int, ...],
    latent_dims: tuple[int, ...],
    items: tuple[int, int] = (1, 4),
    samples: tuple[int, int] = (1, 5),
) -> dict[str, Any]:
    config = draw(configs(likelihood, data_dims, latent_dims))
    return {"config": config, **draw(batches(config, items, samples))}


def models(
    sizes: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (((1, 3), (1,)), ((2, 4), (2, 3))),
    **options: Any,
) -> Any:
    """A config with a batch and noise for it, a stratum for each likelihood and pair of sizes."""
    return stratified(
        [_models(kind, *size, **options) for kind in ("gaussian", "bernoulli") for size in sizes]
    )


SMALL = (((1, 3), (1,)), ((2,), (2,)))


_NODES = {1: 16, 2: 8, 3: 5}


@claim(
    "vae.two_estimators_agree",
    r"\mathbb E_\epsilon\,\hat{\mathcal L}(x) = \mathbb E_{q(z|x)}[\log p(x|z)] - D_{\mathrm{KL}}(q \| p(z))"
    r" = \mathbb E_{q(z|x)}[\log p(x|z) + \log p(z) - \log q(z|x)]",
    sources=[f"{KINGMA}, equations 6 and 7", L17],
    why=r"""Let :math:`\hat{\mathcal L}(x, \epsilon)` be what ``elbo`` returns for noise
    :math:`\epsilon \sim \mathcal N(0, I)`, and :math:`z = \mu + \sigma \odot \epsilon` the draw
    from :math:`q(z|x) = \mathcal N(\mu, \mathrm{diag}\,\sigma^2)`. The divergence is itself an
    expectation under q,

    .. math::

        D_{\mathrm{KL}}(q \,\|\, p(z)) = \mathbb E_{q(z|x)}[\log q(z|x) - \log p(z)] ,

    so whether it is put in as a formula, or sampled with the rest, the mean over the noise is the
    same; only the spread differs.

    The mean is computed by Gauss-Hermite quadrature, every node an item of its own, and compared
    with both forms, made of the subject's own ``encode`` and ``log_likelihood``. All three use
    the same nodes, so a decoder that is too rough for the rule spoils none of the comparisons.
    Any unbiased estimator passes. A weight on the divergence, a missing term, a wrong scale of
    the draw, or a decoder that never sees the noise does not.""",
    assumptions={
        "z is drawn from q itself": (
            r"for :math:`q = \mathcal N(1, 1)` and draws from the prior in its place "
            r":math:`\log p(z) - \log q(z|x)` has mean :math:`+\tfrac12`, where "
            r":math:`-D_{\mathrm{KL}} = -\tfrac12`"
        ),
    },
)
@given(batch=models((((1, 3), (1,)), ((2, 4), (2,)), ((2,), (3,)))))
def test_has_the_expectation_of_both_estimators(
    subject: Handle, device: str, dtype: torch.dtype, batch: dict[str, Any]
) -> None:
    config = batch["config"]
    model = subject.build(config)
    found = expectations(model, batch["x"], config.latent_dim, _NODES[config.latent_dim])
    room = guarded(dtype) * (1 + found.size)
    what = "the expectation of elbo over the noise"
    check.close(found.elbo, cpu(found.analytic)[0], room, f"{what}, against E log p(x|z) - KL,")
    check.close(
        found.elbo,
        cpu(found.sampled)[0],
        room,
        f"{what}, against E[log p(x|z) + log p(z) - log q(z|x)],",
    )


@claim(
    "vae.elbo_below_log_likelihood",
    r"\mathbb E_\epsilon\,\hat{\mathcal L}(x) \le \log p(x) = \log \int p(x|z)\,p(z)\,dz",
    sources=[f"{KINGMA}, section 2.2", L17],
    why=r"""The logarithm is concave, so by Jensen's inequality

    .. math::

        \mathbb E_{q(z|x)} \log \frac{p(x, z)}{q(z|x)}
        \;\le\; \log \mathbb E_{q(z|x)} \frac{p(x, z)}{q(z|x)} = \log \int p(x, z)\,dz
        = \log p(x) .

    What is lost is a divergence (``vae.gap_is_kl``), so Pinsker's inequality gives more: the
    bound lies lower by at least twice the squared total variation between q and the posterior,
    and touches :math:`\log p(x)` at the posterior alone.

    :math:`\hat{\mathcal L}(x)` is ``elbo`` at one draw of the noise :math:`\epsilon`. The oracle
    for :math:`\log p(x)` is a sum of :math:`p(x|z)\,p(z)` over a lattice of codes in one or two
    dimensions, which covers q and the prior; the noise that leads to a lattice point is
    :math:`(z - \mu)/\sigma`, so ``elbo`` is averaged over the same points. Both inequalities hold
    for sums as for integrals, so the test does not depend on how well the lattice resolves the
    decoder.""",
    sentence="lies below the log-likelihood",
    assumptions={
        "the expectation is taken: no single draw is bounded": (
            r"for :math:`p(x|z) = \mathcal N(z, 1)`, :math:`x = 0` and q the posterior, the draw "
            r":math:`z = 0` gives -1.016, and :math:`\log p(x) = -1.266`"
        ),
    },
    dtypes=("float64",),
    effort=0.6,
)
@given(batch=models(SMALL, items=(1, 2), samples=(1, 1)))
def test_lies_below_the_log_likelihood(
    subject: Handle, device: str, dtype: torch.dtype, batch: dict[str, Any]
) -> None:
    model = subject.build(batch["config"])
    for index, found in enumerate(on_lattices(model, batch["x"])):
        room = guarded(dtype, scale=found.size)
        check.at_most(
            found.elbo,
            found.log_evidence,
            room,
            f"the expected elbo of item {index}, against log p(x),",
        )
        check.at_least(
            found.log_evidence - found.elbo,
            2 * found.distance**2,
            room,
            f"log p(x) - elbo of item {index}, against twice the squared total variation "
            f"between q and the posterior,",
        )


@claim(
    "vae.gap_is_kl",
    r"\log p(x) - \mathbb E_\epsilon\,\hat{\mathcal L}(x) = D_{\mathrm{KL}}\bigl(q(z|x) \,\|\, p(z|x)\bigr)",
    sources=[f"{KINGMA}, equation 1", L17],
    why=r"""By Bayes' rule :math:`\log p(x) = \log p(x|z) + \log p(z) - \log p(z|x)` at every code
    z. The left side does not depend on z, so it may be averaged over q; add and subtract
    :math:`\log q(z|x)`:

    .. math::

        \log p(x) =
        \underbrace{\mathbb E_q\bigl[\log p(x|z) + \log p(z) - \log q(z|x)\bigr]}_{\mathbb E_\epsilon \hat{\mathcal L}(x)}
        + \mathbb E_q\bigl[\log q(z|x) - \log p(z|x)\bigr] .

    The last term is the divergence of q from the posterior. Raising the bound in the encoder's
    parameters therefore lowers that divergence, as :math:`\log p(x)` does not depend on them.

    The test knows the posterior: likelihood times prior on a lattice of codes, divided by its
    sum, which is :math:`p(x)`. With q from ``encode`` the divergence is a sum over the lattice,
    and an equation is checked where ``vae.elbo_below_log_likelihood`` has an inequality. It sees
    bounds that are too low as well, such as those with a weight above 1 on the divergence.""",
    assumptions={
        "every code that q draws can produce x": (
            r"if p(x|z) = 0 on codes of q-mass 0.01 the bound is :math:`-\infty`, however large "
            "p(x) is"
        ),
    },
    sentence="misses the log-likelihood by the divergence from the posterior",
    dtypes=("float64",),
    effort=0.6,
)
@given(batch=models(SMALL, items=(1, 2), samples=(1, 1)))
def test_misses_the_log_likelihood_by_the_divergence_from_the_posterior(
    subject: Handle, device: str, dtype: torch.dtype, batch: dict[str, Any]
) -> None:
    model = subject.build(batch["config"])
    for index, found in enumerate(on_lattices(model, batch["x"])):
        check.close(
            found.log_evidence - found.elbo,
            found.divergence,
            guarded(dtype, scale=found.size),
            f"log p(x) - elbo of item {index}, against KL(q || posterior),",
        )


@claim(
    "vae.is_reparameterised",
    r"\mathbb E_\epsilon \bigl[\nabla_\phi\, \hat{\mathcal L}(x, \epsilon)\bigr] = \nabla_\phi"
    r" \bigl(\mathbb E_{q_\phi}[\log p(x|z)] - D_{\mathrm{KL}}(q_\phi \,\|\, p(z))\bigr)",
    sources=[f"{KINGMA}, section 2.4", "CS182 2021 L17, 'The reparameterization trick'"],
    why=r"""With :math:`\phi` the encoder's parameters and
    :math:`z = \mu_\phi(x) + \sigma_\phi(x) \odot \epsilon`, the noise has a law without
    :math:`\phi`, so the gradient may be taken under the expectation
    (``reparameterize.gradient_equals_exact``). It has two parts: one through the draw into the
    likelihood, which makes codes informative, and one through the divergence, which makes them
    cheap. A draw that is detached leaves the second alone, and the encoder forgets its data; a
    divergence that is detached leaves the first, and nothing keeps the code near the prior.

    The encoder's parameters are found by moving each of them and watching ``encode``. The oracle
    never differentiates: it is the slope of the exact bound, by finite differences of its values
    along a random direction in all these parameters, and for real data in x. Autograd's gradient
    of the expected ``elbo``, taken over the nodes of a Gauss-Hermite rule, must have the same
    slope.""",
    assumptions={
        "the log-likelihood is differentiable in the code": (
            "behind a decoder that thresholds its code the path has slope 0 almost everywhere, "
            "and the divergence alone teaches the encoder"
        ),
    },
    sentence="sends the gradient through the draw to the encoder",
    dtypes=("float64",),
    effort=0.6,
)
@given(batch=models(samples=(1, 1)))
def test_sends_the_gradient_through_the_draw_to_the_encoder(
    subject: Handle, device: str, dtype: torch.dtype, batch: dict[str, Any]
) -> None:
    subject.needs_gradients()
    config, x = batch["config"], batch["x"]
    model = subject.build(config)
    groups = {}
    if model.is_module and (encoder := encoder_parameters(model, x)):
        groups["its encoder's parameters"] = encoder
    if config.likelihood == "gaussian":
        groups["x"] = [x.requires_grad_()]
    if not groups:
        raise Unsupported("a plain object, whose parameters cannot be found, and binary data")
    pull = torch.randn(len(x), device=x.device, dtype=dtype)

    def exact() -> float:
        found = expectations(model, x, config.latent_dim, 4)
        return float((pull * found.analytic).sum().detach())

    found = expectations(model, x, config.latent_dim, 4)
    total = (pull * found.elbo).sum()
    slopes = {name: gradients(total, leaves, what="elbo") for name, leaves in groups.items()}
    for name, leaves in groups.items():
        along = [torch.randn_like(leaf) for leaf in leaves]
        compare_slopes(
            exact, leaves, along, slopes[name], f"the expected gradient of elbo in {name}"
        )


# vae: batches and samples -----------------------------------------------------------------------------


def _room(dtype: torch.dtype, *values: Tensor) -> float:
    scale = max(float(v.detach().abs().max()) for v in values)
    return rounding(dtype, length=64, scale=max(scale, 1.0))


@claim(
    "vae.averages_over_samples",
    r"\hat{\mathcal L}(x, \epsilon_{1..S}) = \frac1S \sum_{s=1}^S \hat{\mathcal L}(x, \epsilon_s)",
    sources=[f"{KINGMA}, equation 7"],
    why=r"""The estimate from S draws is the mean of S estimates: of the same expectation for every
    S, by linearity, and with a variance smaller by the factor S where the draws are
    independent.

    Two other ways to combine draws occur in practice. The sum of the S likelihoods less one
    divergence makes the weight of the divergence 1/S, so a setting that should only lower the
    noise changes the model. And a logarithm of a mean,

    .. math::

        \log \frac1S \sum_s e^{\hat{\mathcal L}(x, \epsilon_s)}
        \ge \frac1S \sum_s \hat{\mathcal L}(x, \epsilon_s) ,

    is larger by Jensen's inequality: made of the importance weights it is the bound of
    ``iwae_bound``, a good one, but of another name, another expectation and another gradient.

    The oracle is the subject itself, called with each draw alone; the mean of what it returns
    must agree up to rounding.""",
)
@given(batch=models(items=(1, 4), samples=(2, 5)))
def test_is_the_mean_over_the_samples(
    subject: Handle, device: str, dtype: torch.dtype, batch: dict[str, Any]
) -> None:
    model, x, noise = subject.build(batch["config"]), batch["x"], batch["noise"]
    singles = torch.stack([model.elbo(x, one[None].contiguous()) for one in noise])
    check.close(
        model.elbo(x, noise),
        cpu(singles.mean(0))[0],
        _room(dtype, singles),
        f"elbo with {len(noise)} samples, against the mean over them one by one,",
    )


@claim(
    "vae.batch_independent",
    r"\frac{\partial \hat{\mathcal L}(x_i)}{\partial (x_j, \epsilon_j)} = 0 \quad (i \ne j)",
    sources=[f"{KINGMA}, section 2.1: i.i.d. data, a code for each"],
    why=r"""The data are independent given the parameters and each item has a code of its own, so
    :math:`\log p(x_1, \dots, x_N) = \sum_i \log p(x_i)` and the bound splits in the same way:
    the term of item i is a function of :math:`x_i` and of its own noise :math:`\epsilon_i`. If
    other items enter, the sum over a batch is the bound of no model, and what is reported for
    an item depends on its company. If all items share one draw of the noise, each expectation
    is still right, but the errors of the items no longer average out.

    The test exchanges all items but the last, and all noise but the last item's, for other
    values. The bound of the last one must stay, up to rounding. That its own noise does enter is
    seen by ``vae.two_estimators_agree``.""",
    assumptions={
        "no statistic of the batch enters the model": (
            "the batches (0, 2) and (0, 4), centred by their means, encode the item 0 as -1 and "
            "as -2"
        ),
    },
)
@given(batch=models(items=(2, 5)))
def test_gives_each_item_its_own_noise_and_no_other(
    subject: Handle, device: str, dtype: torch.dtype, batch: dict[str, Any]
) -> None:
    model, x, noise = subject.build(batch["config"]), batch["x"], batch["noise"]
    before = model.elbo(x, noise)
    last = len(x) - 1
    others = x.roll(1, 0)
    others[last], other_noise = x[last], noise.flip(0).roll(1, 1) + 1
    other_noise[:, last] = noise[:, last]
    after = model.elbo(others, other_noise)
    check.close(
        after[last],
        cpu(before[last])[0],
        _room(dtype, before, after),
        "elbo of the last item, with other items and noise beside it,",
    )


@claim(
    "vae.minibatch_unbiased",
    r"\binom NM^{-1} \sum_{|B| = M} \frac NM \sum_{i \in B} \hat{\mathcal L}(x_i) = \sum_{i=1}^N \hat{\mathcal L}(x_i)",
    sources=[f"{KINGMA}, equation 8"],
    why=r"""Of the :math:`\binom NM` minibatches of size M, item i is in :math:`\binom{N-1}{M-1}`,
    the share M/N. If the bound :math:`\hat{\mathcal L}(x_i)` does not depend on the rest of the
    minibatch,

    .. math::

        \binom NM^{-1} \sum_{|B| = M} \frac NM \sum_{i \in B} \hat{\mathcal L}(x_i)
        = \frac NM \sum_i \frac MN\, \hat{\mathcal L}(x_i) = \sum_i \hat{\mathcal L}(x_i) ,

    and gradients, being linear, obey the same equation: stochastic ascent follows the bound of
    the whole data set.

    No minibatch is drawn at random: all of them, of all sizes below N, are listed, each item
    keeps its noise, and the mean of the rescaled sums must be the sum that the subject gives for
    the full batch. An item whose worth depends on its neighbours breaks the equation.""",
    assumptions={
        "every minibatch is equally likely": (
            "of three items the first alone is always drawn: the estimate is three times its "
            "bound, whatever the others are"
        ),
        "an item is worth the same in every minibatch": (
            "centring by the batch mean encodes any item that is alone as 0, and the mean over "
            "batches of one is the bound of other codes"
        ),
    },
)
@given(batch=models(items=(2, 4), samples=(1, 3)))
def test_is_estimated_without_bias_from_minibatches(
    subject: Handle, device: str, dtype: torch.dtype, batch: dict[str, Any]
) -> None:
    model, x, noise = subject.build(batch["config"]), batch["x"], batch["noise"]
    values = model.elbo(x, noise)
    count, full = len(x), cpu(values)[0].sum()
    for size in range(1, count):
        chosen = [list(b) for b in itertools.combinations(range(count), size)]
        sums = [model.elbo(x[b], noise[:, b]).sum() * (count / size) for b in chosen]
        check.close(
            torch.stack(sums).mean(),
            full,
            count * _room(dtype, values),
            f"the mean over all minibatches of {size} of {count} items, rescaled,",
        )


# vae: the likelihood and the sampler ------------------------------------------------------------------


@st.composite
def _codes(draw: st.DrawFn, likelihood: str, data_dims: tuple[int, ...]) -> dict[str, Any]:
    config = draw(configs(likelihood, data_dims, (1, 2)))
    return {"config": config, "z": draw(normals((3, config.latent_dim)))}


@claim(
    "vae.likelihood_is_normalised",
    r"\int p(x|z)\,dx = 1 \;\text{ for real data}, \qquad \sum_{x \in \{0, 1\}^D} p(x|z) = 1"
    r" \;\text{ for binary data}",
    sources=[f"{KINGMA}, appendix C", L17],
    why="""The bound is a bound on the logarithm of a probability only if :math:`p(x|z)` is one,
    constants and all. A squared error without its variance, or a cross-entropy that is averaged
    over pixels, is a loss and no log-likelihood: it weighs reconstruction against divergence by
    an accident of scale, and its values cannot be compared with anybody's nats.

    ``log_likelihood`` is exponentiated and added up, for given codes z. Binary outcomes are
    listed. Real ones are summed over a lattice with a spacing of half a standard deviation, out
    to nine, whose error is far below rounding (``gaussian_log_likelihood.integrates_to_one`` says
    why). Where to put the lattice is asked of the subject: the logarithm of a Gaussian density is
    a quadratic in x, whose second differences give the precision and whose slope gives the mean.
    If they are not those of a Gaussian, that is the message.""",
    assumptions={
        "x lives where the density does: real numbers for a Gaussian, bits for coins": (
            r"a Gaussian with :math:`\sigma = 0.1` says :math:`\log 3.99 = 1.38` of a bit at its "
            "mean, and no log-probability is positive"
        ),
    },
    dtypes=("float64",),
)
@given(
    drawn=stratified(
        [
            _codes("gaussian", (1,)),
            _codes("gaussian", (2,)),
            _codes("bernoulli", (1, 2)),
            _codes("bernoulli", (3, 4)),
        ]
    )
)
def test_has_a_likelihood_of_total_one(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Any]
) -> None:
    config, z = drawn["config"], drawn["z"]
    model, dims = subject.build(config), config.data_dim
    if config.likelihood == "bernoulli":
        x = outcomes(dims)
        volume = torch.ones(len(z), dtype=torch.float64)
        points = x.repeat(len(z), 1)
        count = len(x)
    else:
        shape = gaussian_of(model, z, dims)
        factor = torch.linalg.cholesky(shape.precision)  # (3, D, D)
        line = 0.5 * torch.arange(-18, 19, dtype=torch.float64)
        lattice = torch.cartesian_prod(*[line] * dims).reshape(-1, dims)
        offsets = torch.linalg.solve_triangular(
            factor.mT, lattice.T.expand(len(z), -1, -1), upper=True
        ).mT
        points = (shape.mean[:, None] + offsets).reshape(-1, dims)
        volume = 0.5**dims / factor.diagonal(dim1=-2, dim2=-1).prod(-1)
        count = len(lattice)
    found = cpu(model.log_likelihood(points.to(z), z.repeat_interleave(count, 0)))[0]
    total = found.reshape(len(z), count).exp().sum(-1) * volume
    check.close(
        total, torch.ones_like(total), guarded(dtype, scale=dims), "the total of p(x|z) over all x"
    )


@claim(
    "vae.sample_matches_density",
    r"z \sim \mathcal N(0, I),\ x \sim p(x|z) \;\Rightarrow\; x \sim p(x) = \int p(x|z)\,p(z)\,dz",
    sources=[f"{KINGMA}, section 2.1", L17],
    why=r"""To sample is to draw a code from the prior and then x from :math:`p(x|z)`; the pair has
    the joint density, so x has the marginal :math:`p(x)`. The decoder's mean is not a sample: a
    model whose likelihood has noise draws noisy data.

    The oracle is the subject's own ``log_likelihood``, averaged over codes that stand for the
    prior. Binary samples are counted: n times the relative entropy of the frequencies from the k
    probabilities exceeds t with a probability of at most :math:`(e t/(k-1))^{k-1} e^{-t}`
    (Agrawal). Real samples are compared in the distribution functions of their coordinates and of
    random projections, which are mixtures of normal ones; by the Dvoretzky-Kiefer-Wolfowitz
    inequality

    .. math::

        P\bigl(\sup_t |F_n(t) - F(t)| > \delta\bigr) \le 2 e^{-2 n \delta^2} .

    Both hold at every sample size, here 10 001 draws, with a false-alarm probability of
    :math:`10^{-13}` for each of at most 5000 tests.""",
    assumptions={
        "the draws are independent": (
            "with one code for all draws each of them still has the law p(x), and their shares "
            "are those of p(x|z) for that code"
        ),
    },
    dtypes=("float64",),
    error=1e-9,
    effort=0.6,
)
@given(
    drawn=stratified(
        [
            _codes("gaussian", (1,)),
            _codes("gaussian", (2,)),
            _codes("bernoulli", (1, 2)),
            _codes("bernoulli", (3, 4)),
        ]
    ),
    seed=st.integers(0, 2**31 - 1),
)
def test_draws_from_its_own_marginal(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Any], seed: int
) -> None:
    config, like = drawn["config"], drawn["z"]
    model = subject.build(config)
    model.needs("sample")
    x = cpu(draw_samples(model, DRAWS, seeded(subject, seed)))[0]
    if config.likelihood == "bernoulli":
        judge_counts(model, config, x, like)
    else:
        judge_projections(model, config, x, like)


@claim(
    "vae.sample_uses_its_generator",
    r"x = \mathrm{sample}(n, g) \text{ is a function of } n \text{ and the state of } g \text{"
    r" alone, and advances that state}",
    sources=[
        "contracts.md: where a signature has a generator, the subject uses that and nothing else"
    ],
    why="""An experiment can be repeated, and a failure looked at again, only if every random
    number has a known origin. If one of them comes from the global generator, the sample
    depends on whatever ran before it; if the sampler seeds the global generator, it changes
    whatever runs after it; and if it works on a copy of its own generator, all its batches are
    the same.

    There are three observations, one for each. Two generators of the same seed must give the same
    sample, with the global generators seeded differently in between. The state of the global
    generators, compared before and after, must not have moved. And a second sample from the same
    generator, and one from another seed, must differ from the first. A right sampler may repeat
    itself by chance, so the last is asked only where that has a probability below
    :math:`10^{-13}`.""",
)
@given(
    drawn=stratified([_codes("gaussian", (1, 3)), _codes("bernoulli", (2, 4))]),
    n=st.sampled_from([1, 2, 7]),
    seed=st.integers(0, 2**20),
)
def test_draws_from_the_generator_it_is_given_and_from_no_other(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Any], n: int, seed: int
) -> None:
    model = subject.build(drawn["config"])
    model.needs("sample")
    for count in (n, 256):
        seed_everything(1)
        before = generators()
        generator = seeded(subject, seed)
        first = draw_samples(model, count, generator)
        check.that(generators() == before, "sample drew from, or reseeded, a global generator")
        second = draw_samples(model, count, generator)
        seed_everything(2)
        check.equal(
            draw_samples(model, count, seeded(subject, seed)),
            first,
            "the sample from a generator of the same seed",
        )
    other = draw_samples(model, 256, seeded(subject, seed + 1))
    if chance_of_repeating(first, drawn["config"].likelihood) < math.log(ALARM):
        check.that((second != first).any(), "two samples in a row from one generator are the same")
        check.that((other != first).any(), "generators of different seeds give the same sample")


@st.composite
def _wide_models(draw: st.DrawFn, likelihood: str) -> VAEConfig:
    """Many features of few codes: what is shared is seen in all of them."""
    return VAEConfig(draw(st.sampled_from([6, 9])), draw(st.sampled_from([1, 2])), likelihood)


@claim(
    "vae.samples_are_independent",
    r"x^{(a)} \perp x^{(b)} \qquad (a \ne b \text{ of one call of } \mathrm{sample})",
    sources=["contracts.md, vae"],
    why=r"""Each sample has a code and noise of its own. A sampler that copies into an odd place,
    spreads one code over neighbours, or doubles a half batch gives every sample the right law
    (``vae.sample_matches_density`` has nothing to object to) and says the same thing twice.

    Two samples of a density are never equal; binary ones may be, and samples of one code differ
    by their noise. So distances are compared. Let (a, b) and (a', b') be two pairs from the same
    places. If all four are independent and of one law, exchanging b and b' changes nothing, and

    .. math::

        d(a, b) + d(a', b') < d(a, b') + d(a', b)

    is as probable as its opposite, whatever the law is. The number of times that it holds, ties
    left out, is binomial with probability :math:`\tfrac12`, at any sample size; an excess means
    that samples of one call are closer to each other than to those of another. It is counted for
    every pair of places, for both halves of a call, and for neighbours in a long one.""",
    assumptions={
        "all samples have one law": (
            "if the sign of the mean alternates from place to place, two even places are close "
            "without any dependence"
        ),
    },
    sentence="says nothing twice",
    error=1e-9,
    effort=0.3,
)
@given(
    config=stratified([_wide_models("gaussian"), _wide_models("bernoulli")]),
    n=stratified([st.sampled_from([2, 4]), st.sampled_from([3, 5])]),
    seed=st.integers(0, 2**31 - 1),
)
def test_says_nothing_twice(
    subject: Handle, device: str, dtype: torch.dtype, config: VAEConfig, n: int, seed: int
) -> None:
    model = subject.build(config)
    model.needs("sample")
    generator = seeded(subject, seed)
    calls = torch.stack([draw_samples(model, n, generator) for _ in range(CALLS)])
    calls = cpu(calls)[0]  # (calls, n, D)
    for a, b in itertools.combinations(range(n), 2):
        what = f"samples {a} and {b} of {n}"
        equal = (calls[:, a] == calls[:, b]).all(-1)
        check.that(config.likelihood == "bernoulli" or not equal.any(), f"{what} are equal")
        no_closer_than_chance(calls[:, [a, b]], ALARM, what)
    many = cpu(draw_samples(model, DRAWS, generator))[0][: DRAWS - 1]
    for what, pairs in (
        ("neighbours, 0 with 1,", many.unflatten(0, (-1, 2))),
        ("neighbours, 1 with 2,", many[1:-1].unflatten(0, (-1, 2))),
        ("the two halves, item by item,", many.unflatten(0, (2, -1)).transpose(0, 1)),
    ):
        no_closer_than_chance(pairs, ALARM, f"of {DRAWS} samples {what}")
