r"""Estimates of log p(x), and the linear Gaussian model, in which all of them can be compared with it.

Draws are listed, not sampled; evidence and posterior of the linear model are SciPy's.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spec_tests import check
from spec_tests.contracts.latent import shaped
from spec_tests.entries import constant, within
from spec_tests.handle import Built, Handle
from spec_tests.judge import stratified
from spec_tests.marginals import kl_formula
from spec_tests.quadrature import hermite, log_normal
from spec_tests.registry import claim
from spec_tests.strategies import normals, reals
from spec_tests.tolerance import guarded, rounding

KINGMA = "Kingma and Welling 2013, 'Auto-Encoding Variational Bayes'"
L17 = "CS182 2021 L17, 'Variational autoencoders'"


def tuples(count: int, size: int) -> list[tuple[int, ...]]:
    """All draws of ``size`` from ``count`` equally likely codes."""
    return list(itertools.product(range(count), repeat=size))


def _table(pieces: Built, table: Tensor, picks: tuple[int, ...]) -> Tensor:
    """The reference estimate of log p(x) from the codes ``picks``, the likelihoods being a table
    (K codes, N items)."""
    items = torch.arange(table.shape[1])
    z = torch.tensor(picks, dtype=table.dtype)[:, None, None].expand(-1, len(items), 1)
    estimate: Tensor = pieces.log_marginal_likelihood(
        lambda x, z: table[z[:, 0].long(), items], torch.zeros(len(items), 2, dtype=table.dtype), z
    )
    return estimate


@claim(
    "theory.jensen",
    r"\mathbb E \log \tfrac1S \sum_{s=1}^S p(x|z_s) \;\le\; \mathbb E \log \tfrac1{S+1}"
    r" \sum_{s=1}^{S+1} p(x|z_s) \;\le\; \log p(x), \qquad z_s \sim p(z)",
    sources=[
        "Burda, Grosse, Salakhutdinov 2015, 'Importance Weighted Autoencoders', theorem 1",
        L17,
    ],
    why=r"""The average of S + 1 terms is the mean, over which one is left out, of the averages of
    the S others. All of these have the same law, so by concavity of the logarithm

    .. math::

        \mathbb E \log \bar p_{S+1} = \mathbb E \log \frac{1}{S+1} \sum_j \bar p_{-j}
        \ge \frac{1}{S+1} \sum_j \mathbb E \log \bar p_{-j} = \mathbb E \log \bar p_S ,

    and once more :math:`\mathbb E \log \bar p_S \le \log \mathbb E \bar p_S = \log p(x)`. The
    estimate of :math:`\log p(x)` is biased downwards at every S, and less so with every draw.

    Over K equally likely codes all :math:`K^S` draws are listed. One draw must give the mean
    log-likelihood. What the second adds is known:
    :math:`\log \tfrac12(e^a + e^b) = \tfrac12(a + b) + \log \cosh \tfrac12(a - b)`, so the mean
    of the last term over pairs, which is 0 only where the code does not matter.""",
    assumptions={
        "the draws are exchangeable, as independent ones are": (
            "of two codes with likelihoods 0.9 and 0.1 the better always comes first: the "
            r"estimate falls from log 0.9, above :math:`\log p(x)`, to log 0.5"
        ),
    },
    sentence="the mean log of an average rises with the number of draws to the log of the mean",
    dtypes=("float64",),
)
@given(table=stratified([reals((3, 2), -4, 2), reals((4, 1), -4, 2), reals((2, 3), -700, -690)]))
def test_the_mean_log_of_an_average_rises_with_the_draws_to_the_log_of_the_mean(
    subject: Handle, device: str, dtype: torch.dtype, table: Tensor
) -> None:
    pieces = subject.pieces()
    count = len(table)
    room = rounding(dtype, length=count**3, scale=float(table.abs().max()) + 1)
    bounds = [
        torch.stack([_table(pieces, table, picks) for picks in tuples(count, size)]).mean(0)
        for size in (1, 2, 3)
    ]
    evidence = table.logsumexp(0) - math.log(count)
    check.close(bounds[0], table.mean(0), room, "the mean of log p(x|z) over single draws")
    gain = (table[:, None] - table[None]).mul(0.5).cosh().log().mean((0, 1))
    check.close(bounds[1] - bounds[0], gain, room, "what a second draw adds")
    check.at_most(bounds[1], bounds[2], room, "the bound with two draws, against three,")
    check.at_most(bounds[2], evidence, room, "the bound with three draws, against log p(x),")


@st.composite
def linear_models(draw: st.DrawFn, latent_dim: int, orthogonal: bool = False) -> dict[str, Tensor]:
    """Weight, bias and noise of a linear Gaussian model, with data; its columns, scaled by the noise,
    are orthogonal where asked, so that the posterior is diagonal."""
    dims = draw(st.sampled_from([latent_dim, latent_dim + 1, 4]))
    log_var = draw(reals((dims,), -1, 1))
    weight = draw(normals((dims, latent_dim)))
    if orthogonal:
        basis = torch.linalg.qr(weight).Q
        sizes = draw(reals((latent_dim,), 0.25, 2))
        weight = (0.5 * log_var).exp()[:, None] * basis * sizes
    return {
        "weight": weight,
        "bias": draw(reals((dims,), -1, 1)),
        "log_var": log_var,
        "x": draw(reals((3, dims), -2, 2)),
    }


def _parts(model: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    return model["weight"], model["bias"], model["log_var"]


def _evidence(model: dict[str, Tensor]) -> Tensor:
    """log p(x) by SciPy."""
    weight, bias, log_var = _parts(model)
    covariance = weight @ weight.T + log_var.exp().diag()
    oracle = scipy.stats.multivariate_normal(bias.numpy(), covariance.numpy())
    return torch.from_numpy(np.atleast_1d(oracle.logpdf(model["x"].numpy())))


@claim(
    "theory.marginal_monte_carlo_unbiased",
    r"\mathbb E_{z_{1..S} \sim p(z)} \Bigl[\tfrac1S \sum_s p(x|z_s)\Bigr] = p(x)",
    sources=[
        "Burda, Grosse, Salakhutdinov 2015, 'Importance Weighted Autoencoders', section 3",
        L17,
    ],
    why=r"""An expectation is linear, so an average of draws has the mean of a single draw, for any
    S:

    .. math::

        \mathbb E\Bigl[\tfrac1S \sum_s p(x|z_s)\Bigr] = \mathbb E_{p(z)}[p(x|z)]
        = \int p(x|z)\,p(z)\,dz = p(x) .

    It is the estimate of :math:`p(x)` that is unbiased; its logarithm lies too low on average
    (``theory.jensen``). And unbiased is not good: where few codes explain x, nearly all draws
    give next to nothing, and now and then one gives a great deal.

    There are two oracles. Over finitely many codes all draws of one, two and three are listed,
    and their mean must be the mean of the table. For a linear Gaussian model the mean of the
    estimate over the prior is a sum over a fine lattice, and :math:`p(x)` a Gaussian in closed
    form.""",
    assumptions={
        "the codes are drawn from the prior": (
            r"for :math:`p(x|z) = \mathcal N(z, 1)` and :math:`x = 0`, codes that are all 0 give "
            "0.399, and p(x) = 0.282"
        ),
        "probabilities are averaged, not their logarithms": (
            "with likelihoods 0.9 and 0.1 the mean logarithm is -1.204, and "
            r":math:`\log p(x) = \log 0.5 = -0.693`"
        ),
    },
    dtypes=("float64",),
)
@given(table=reals((3, 2), -4, 2), model=linear_models(1))
def test_the_average_likelihood_is_unbiased_for_the_marginal(
    subject: Handle, device: str, dtype: torch.dtype, table: Tensor, model: dict[str, Tensor]
) -> None:
    pieces = subject.pieces()
    for size in (1, 2, 3):
        estimates = [_table(pieces, table, picks).exp() for picks in tuples(len(table), size)]
        check.close(
            torch.stack(estimates).mean(0),
            table.exp().mean(0),
            rounding(dtype, length=27, scale=float(table.exp().max())),
            f"the mean of the estimate of p(x) over all draws of {size} codes",
        )
    weight, bias, log_var = _parts(model)
    line = torch.linspace(-10, 10, 321, dtype=torch.float64)
    mass = (-0.5 * line.square()).softmax(0)
    x = model["x"]
    estimate = pieces.log_marginal_likelihood(
        lambda x, z: log_normal(x, z @ weight.T + bias, log_var),
        x.repeat_interleave(len(line), 0),
        line.repeat(len(x))[None, :, None],
    )
    found = (mass * estimate.exp().reshape(len(x), -1)).sum(-1)
    exact = pieces.linear_gaussian_log_evidence(x, weight, bias, log_var)
    check.close(
        found.log(),
        exact,
        guarded(dtype, scale=float(exact.abs().max())),
        "the logarithm of the mean of the estimate, against the evidence in closed form,",
    )


@claim(
    "theory.linear_gaussian_posterior_is_bayes",
    r"\log p(x|z) + \log p(z) = \log p(x) + \log p(z|x) \quad \text{for every } z",
    sources=["Tipping and Bishop 1999, section 3.1"],
    why=r"""Let :math:`x = W z + b + \psi^{1/2} \epsilon` with z and :math:`\epsilon` standard
    normal. As an affine image of a normal vector x is normal, with mean b and covariance
    :math:`W W^\top + \mathrm{diag}\,\psi`. In z the logarithm of the joint density is a
    quadratic, so the posterior is normal too; completing the square gives

    .. math::

        \Sigma^{-1} = I + W^\top \psi^{-1} W, \qquad \mathbb E[z|x]
        = \Sigma\, W^\top \psi^{-1} (x - b) .

    The precision of the prior and that of the data add up; without the I it would be least
    squares.

    The joint density needs neither result: it is prior times likelihood. At random codes, near
    and far, evidence times posterior must be equal to it. The evidence is compared with
    ``scipy.stats.multivariate_normal`` as well, so that two errors cannot cancel.""",
    assumptions={
        "the code enters linearly": (
            r"for :math:`p(x|z) = \mathcal N(z^2, 1)` the posterior at :math:`x = 4` has two "
            r"modes, near :math:`\pm 1.87`, and is no Gaussian"
        ),
    },
    sentence="the linear Gaussian posterior obeys Bayes' rule",
    dtypes=("float64",),
)
@given(model=stratified([linear_models(1), linear_models(2)]), scale=st.sampled_from([0.5, 3.0]))
def test_the_linear_gaussian_posterior_obeys_bayes_rule(
    subject: Handle, device: str, dtype: torch.dtype, model: dict[str, Tensor], scale: float
) -> None:
    pieces = subject.pieces()
    weight, bias, log_var = _parts(model)
    x, evidence = model["x"], _evidence(model)
    found = pieces.linear_gaussian_log_evidence(x, weight, bias, log_var)
    size = float(evidence.abs().max()) + float(weight.square().sum()) * scale**2 + 10
    room = guarded(dtype, scale=size)
    check.close(found, evidence, room, "the log-evidence, against SciPy,")
    mean, covariance = pieces.linear_gaussian_posterior(x, weight, bias, log_var)
    z = scale * torch.randn(len(x), weight.shape[1], dtype=dtype)
    joint = log_normal(x, z @ weight.T + bias, log_var) + log_normal(z)
    posterior = torch.distributions.MultivariateNormal(mean, covariance).log_prob(z)
    check.close(found + posterior, joint, room, "log p(x) + log p(z|x), against log p(x, z),")


def _linear_vae(
    pieces: Built, model: dict[str, Tensor], encoder: Tensor, offset: Tensor, latent_log_var: Tensor
) -> Any:
    """The reference's linear autoencoder with these parameters."""
    weight, bias, log_var = _parts(model)
    vae = pieces.LinearGaussianVAE(weight.shape[0], weight.shape[1]).to(weight)
    with torch.no_grad():
        vae.decoder.weight.copy_(weight)
        vae.decoder.bias.copy_(bias)
        vae.noise_log_var.copy_(log_var)
        vae.encoder.weight.copy_(encoder)
        vae.encoder.bias.copy_(offset)
        vae.latent_log_var.copy_(latent_log_var)
    return vae


def _at_the_posterior(pieces: Built, model: dict[str, Tensor]) -> Any:
    """The linear autoencoder whose encoder is the exact posterior."""
    weight, bias, log_var = _parts(model)
    corners = torch.cat(
        [torch.zeros(1, len(bias), dtype=bias.dtype), torch.eye(len(bias), dtype=bias.dtype)]
    )
    means, covariance = pieces.linear_gaussian_posterior(corners, weight, bias, log_var)
    return _linear_vae(
        pieces, model, (means[1:] - means[0]).T, means[0], covariance.diagonal().log()
    )


def _bound(vae: Any, x: Tensor) -> Tensor:
    """The expected bound: quadratic in the noise, so that few nodes are exact."""
    dims = vae.latent_log_var.numel()
    u, w = hermite(3, dims)
    values: Tensor = torch.stack([vae.elbo(x, node.expand(1, len(x), dims)) for node in u])
    return (w[:, None] * values).sum(0)


@claim(
    "theory.tight_at_the_posterior",
    r"q(z|x) = p(z|x) \iff \mathcal L(x) = \log p(x)",
    sources=[f"{KINGMA}, equation 1", "Lucas et al. 2019, section 4"],
    why=r"""The bound misses :math:`\log p(x)` by the divergence of q from the posterior, which is 0
    for equal distributions and for no others. Where the columns of :math:`\psi^{-1/2} W` are
    orthogonal, W being the decoder's matrix and :math:`\psi` the noise variances, the posterior
    of a linear Gaussian model is a diagonal Gaussian whose mean is affine in x, and an affine
    encoder can be exact. Then :math:`\log p(x, z) - \log q(z|x) = \log p(x)` at every z, so
    even the sampled estimate is :math:`\log p(x)`, draw by draw.

    The oracle is SciPy's Gaussian with covariance :math:`W W^\top + \mathrm{diag}\,\psi`.
    Afterwards the posterior is missed on purpose: with every mean moved by :math:`\delta` and
    every variance :math:`\sigma_l^2` multiplied by :math:`e^f`, the gap must be the divergence of
    two Gaussians,

    .. math::

        \tfrac12 \sum_l \Bigl(\frac{\delta^2}{\sigma_l^2} + e^f - 1 - f\Bigr) .""",
    assumptions={
        "the posterior is in the family of q": (
            r"for :math:`x = z_1 + z_2 + \epsilon` with unit noise the codes are correlated given "
            r"x, and the best diagonal q misses :math:`\log p(x)` by "
            r":math:`\tfrac12 \log \tfrac43 = 0.144`"
        ),
    },
    dtypes=("float64",),
)
@given(
    model=stratified([linear_models(1), linear_models(2, orthogonal=True)]),
    shift=st.sampled_from([-1.0, 0.5]),
    factor=st.sampled_from([-1.0, 0.0, 0.5]),
)
def test_the_bound_is_attained_at_the_posterior_and_nowhere_else(
    subject: Handle,
    device: str,
    dtype: torch.dtype,
    model: dict[str, Tensor],
    shift: float,
    factor: float,
) -> None:
    pieces = subject.pieces()
    x, evidence = model["x"], _evidence(model)
    room = guarded(dtype, scale=float(evidence.abs().max()) + 10)
    vae = _at_the_posterior(pieces, model)
    check.close(vae.log_evidence(x), evidence, room, "the model's own log_evidence, against SciPy,")
    check.close(_bound(vae, x), evidence, room, "the bound at the posterior, against log p(x),")
    mean, log_var = vae.encode(x)
    z = mean + (0.5 * log_var).exp() * torch.randn(5, *mean.shape, dtype=dtype)
    sampled = [
        pieces.elbo_sampled(
            vae.log_likelihood(x, one)[None],
            log_normal(one)[None],
            log_normal(one, mean, log_var)[None],
        )
        for one in z
    ]
    check.close(
        torch.stack(sampled),
        evidence.expand(5, -1),
        room,
        "the sampled estimate at the posterior, draw by draw, against log p(x),",
    )
    with torch.no_grad():
        variance = vae.latent_log_var.exp()
        vae.encoder.bias.add_(shift)
        vae.latent_log_var.add_(factor)
    gap = 0.5 * (shift**2 / variance + math.exp(factor) - 1 - factor).sum()
    check.close(
        evidence - _bound(vae, x),
        gap.expand(len(x)),
        room * (1 + float(gap)),
        "the gap with the posterior moved, against the divergence of two Gaussians,",
    )


@claim(
    "theory.linear_vae_is_ppca",
    r"\max \tfrac1N \sum_n \mathcal L(x_n) = -\tfrac12 \Bigl(D \log 2\pi + \sum_{l \le L} \log"
    r" \lambda_l + (D - L) \log \sigma^2 + D\Bigr), \quad W = U_L (\Lambda_L - \sigma^2 I)^{1/2}",
    sources=["Tipping and Bishop 1999, section 3.2", "Lucas et al. 2019, section 4"],
    why=r"""Let :math:`\lambda_1 \ge \dots \ge \lambda_D` be the eigenvalues of the data's
    covariance S, the first L in :math:`\Lambda_L` with eigenvectors :math:`U_L`, and
    :math:`\sigma^2` the mean of the others. With W as stated the model's covariance
    :math:`C = W W^\top + \sigma^2 I` has S's eigenvectors and the eigenvalues
    :math:`\lambda_1, \dots, \lambda_L, \sigma^2, \dots, \sigma^2`, so
    :math:`\operatorname{tr} C^{-1} S = D`, and the mean log-likelihood
    :math:`-\tfrac12(D \log 2\pi + \log |C| + \operatorname{tr} C^{-1} S)` is the right-hand
    side. Tipping and Bishop show that no W does better.

    The columns of W are orthogonal, hence the posterior is diagonal and an affine encoder attains
    it: the bound :math:`\mathcal L` is the likelihood there, and nowhere exceeds its maximum.

    The test gets the eigenvalues from NumPy, puts these parameters into the model, and asks for
    that value, for gradients that vanish, for an encoder that projects on the principal subspace,
    and for no larger bound at random other parameters.""",
    assumptions={
        "all features share one noise variance": (
            "with one for each it is factor analysis: a feature of pure noise with variance 100 "
            "is PCA's first direction, and factor analysis leaves it to the noise"
        ),
        "the data do not lie in an affine subspace of L dimensions": (
            r"then :math:`\sigma^2 = 0` and the "
            "likelihood has no maximum"
        ),
    },
    sentence="the linear autoencoder at its optimum is probabilistic PCA",
    dtypes=("float64",),
)
@given(
    x=stratified([normals((9, 3), 1.0, 0.5), normals((12, 4)), normals((7, 2), 2.0)]),
    latent_dim=st.sampled_from([1, 2]),
    away=st.sampled_from([0.1, 1.0]),
)
def test_the_linear_autoencoder_at_its_optimum_is_probabilistic_pca(
    subject: Handle, device: str, dtype: torch.dtype, x: Tensor, latent_dim: int, away: float
) -> None:
    pieces = subject.pieces()
    dims = x.shape[1]
    latent_dim = min(latent_dim, dims - 1)
    x = x * torch.linspace(1, 2, dims, dtype=dtype)
    values, vectors = np.linalg.eigh(np.cov(x.numpy().T, bias=True))
    top = torch.from_numpy(values[::-1].copy())
    directions = torch.from_numpy(vectors[:, ::-1].copy())[:, :latent_dim]
    noise = top[latent_dim:].mean()
    weight = directions * (top[:latent_dim] - noise).sqrt()
    model = {"weight": weight, "bias": x.mean(0), "log_var": noise.log().repeat(dims), "x": x}
    vae = _at_the_posterior(pieces, model)
    best = -0.5 * (
        dims * math.log(2 * math.pi)
        + top[:latent_dim].log().sum()
        + (dims - latent_dim) * noise.log()
        + dims
    )
    room = guarded(dtype, scale=float(best.abs()) + dims)
    reached = _bound(vae, x).mean()
    check.close(reached, best, room, "the bound at the solution of probabilistic PCA")
    check.close(vae.log_evidence(x).mean(), best, room, "the log-evidence there")
    for (name, _), slope_ in zip(
        vae.named_parameters(), torch.autograd.grad(reached, list(vae.parameters())), strict=True
    ):
        flat = slope_.sum() if name == "noise_log_var" else slope_
        check.close(
            flat, torch.zeros_like(flat), room * 10, f"the bound's gradient in {name} there"
        )
    rows = vae.encoder.weight.detach()
    check.close(
        rows @ directions @ directions.T,
        rows,
        room,
        "the encoder, projected on the principal subspace,",
    )
    with torch.no_grad():
        for name, parameter in vae.named_parameters():
            moved = torch.randn(()) if name == "noise_log_var" else torch.randn_like(parameter)
            parameter.add_(away * moved)
    check.at_most(_bound(vae, x).mean(), best, room, "the bound at other parameters")


@claim(
    "theory.elbo_estimators_agree",
    r"\mathbb E\,\hat{\mathcal L}^A = \mathbb E\,\hat{\mathcal L}^B; \qquad \operatorname{Var} \hat{\mathcal"
    r" L}^B = 0 \text{ if } p(x|z) = p(x), \quad \hat{\mathcal L}^A = \hat{\mathcal L}^B \text{ if } q = p(z)",
    sources=[f"{KINGMA}, section 2.3"],
    why=r"""Let :math:`\hat{\mathcal L}^A` be the mean over draws :math:`z \sim q` of
    :math:`\log p(x|z) + \log p(z) - \log q(z|x)`, and :math:`\hat{\mathcal L}^B` the mean of
    :math:`\log p(x|z)` less the divergence. Their difference is that of the divergence from its
    own sample mean, which has expectation 0. If the decoder ignores the code,
    :math:`\log p(x|z)` is constant and so is :math:`\hat{\mathcal L}^B`; if q is the prior, the
    log-ratio is 0 at every draw and the two are the same number.

    B is what one uses, because its divergence has no noise. But noise can cancel, and A's may
    cancel altogether: at the posterior its three terms add up to :math:`\log p(x)` at every draw.

    The expectation is a Gauss-Hermite sum. The log-likelihood is a random quadratic in z, for
    which a rule of 6 nodes is exact, and the functions under test see nothing but numbers.""",
    assumptions={
        "the decoder ignores the code, where B is to have no variance": (
            r"for :math:`p(x|z) = \mathcal N(z, 1)`, :math:`x = 0` and q the posterior, B has the "
            r"variance :math:`\tfrac18` and A has none"
        ),
    },
    dtypes=("float64",),
)
@given(
    drawn=stratified(
        [
            shaped(((1, 2), (3, 2)), mean=constant(0.0), log_var=constant(0.0)),
            shaped(((1, 1), (3, 2)), mean=within(-2, 2), log_var=within(-2, 2)),
        ]
    ),
    slopes=reals((2,), -2, 2),
)
def test_the_two_estimators_of_the_bound_have_one_expectation(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Tensor], slopes: Tensor
) -> None:
    pieces = subject.pieces()
    mean, log_var = drawn["mean"], drawn["log_var"]
    u, w = hermite(6, mean.shape[1])
    z = mean + (0.5 * log_var).exp() * u[:, None]  # (K, N, L)
    prior, posterior = log_normal(z), log_normal(z, mean, log_var)
    likelihood = (slopes[: mean.shape[1]] * z).sum(-1) - z.square().sum(-1)
    kl = kl_formula(mean, log_var)
    room = rounding(dtype, length=36) * (
        1 + (prior.abs() + posterior.abs() + likelihood.abs()).amax(0)
    )
    sampled = torch.stack(
        [
            pieces.elbo_sampled(*(t[k : k + 1] for t in (likelihood, prior, posterior)))
            for k in range(len(u))
        ]
    )
    analytic = torch.stack([pieces.elbo_analytic(likelihood[k : k + 1], kl) for k in range(len(u))])
    check.close(
        (w[:, None] * sampled).sum(0),
        (w[:, None] * (likelihood + prior - posterior)).sum(0),
        room,
        "the mean of elbo_sampled over the noise",
    )
    check.close(
        (w[:, None] * analytic).sum(0),
        (w[:, None] * sampled).sum(0),
        room,
        "the mean of elbo_analytic over the noise, against that of elbo_sampled,",
    )
    check.close(
        pieces.elbo_sampled(likelihood, prior, posterior),
        sampled.mean(0),
        room,
        "elbo_sampled of all draws at once, against the mean over them,",
    )
    check.close(
        pieces.elbo_analytic(likelihood, kl),
        analytic.mean(0),
        room,
        "elbo_analytic of all draws at once, against the mean over them,",
    )
    if bool((mean == 0).all() and (log_var == 0).all()):
        check.close(
            analytic, sampled, room.expand_as(sampled), "elbo_analytic where q is the prior"
        )
    ignored = pieces.elbo_analytic(torch.full_like(likelihood, -2.0), kl)
    check.close(ignored, -2.0 - kl, room, "elbo_analytic where the decoder ignores the code")


@claim(
    "theory.minibatch_objective_unbiased",
    r"\binom NM^{-1} \sum_{|B| = M} \frac NM \sum_{i \in B} \mathcal L_i = \sum_{i=1}^N \mathcal L_i",
    sources=[f"{KINGMA}, equation 8"],
    why=r"""The function under test gets the bounds of M items and the number N of all, and returns
    their sum times N/M. Item i is in :math:`\binom{N-1}{M-1}` of the :math:`\binom NM`
    minibatches, so the mean of its indicator is M/N, the factor takes that back, and the mean
    over all minibatches is :math:`\sum_i \mathcal L_i`.

    Without the factor the gradient has the right direction on average, so it is often left out
    and its absence absorbed by the learning rate. That ends as soon as something else is added to
    the objective that does not grow with the data, such as a prior on the parameters: it would
    count N/M times too much.

    All minibatches of all sizes are listed, the full one included. The oracle is the plain sum.""",
    assumptions={
        "all minibatches of a size are equally likely": (
            "if of three items the first alone is ever drawn, the estimate is "
            r":math:`3 \mathcal L_1`"
        ),
    },
    dtypes=("float64",),
)
@given(elbo=stratified([reals((n,), -50, 5) for n in (1, 3, 5)]))
def test_the_minibatch_objective_is_unbiased(
    subject: Handle, device: str, dtype: torch.dtype, elbo: Tensor
) -> None:
    pieces = subject.pieces()
    count = len(elbo)
    for size in range(1, count + 1):
        found = [
            pieces.minibatch_objective(elbo[list(b)], count)
            for b in itertools.combinations(range(count), size)
        ]
        check.close(
            torch.stack(found).mean(),
            elbo.sum(),
            rounding(dtype, length=count, scale=50.0 * count),
            f"the mean over all minibatches of {size} of {count} items",
        )
