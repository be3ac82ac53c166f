r"""Gaussian codes: their divergence from the prior, and draws of them that gradients can follow.

Expectations over the noise are Gauss-Hermite sums, exact for polynomials: nothing is estimated.
"""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spec_tests import check
from spec_tests.contracts.latent import shaped
from spec_tests.entries import EXTREME, among, constant, slack, within
from spec_tests.handle import Handle
from spec_tests.judge import stratified
from spec_tests.marginals import cpu, kl_formula, kl_terms
from spec_tests.numerics import gradients
from spec_tests.quadrature import hermite, log_normal
from spec_tests.registry import claim
from spec_tests.tolerance import guarded

KINGMA = "Kingma and Welling 2013, 'Auto-Encoding Variational Bayes'"
L17 = "CS182 2021 L17, 'Variational autoencoders'"


# gaussian_kl ---------------------------------------------------------------------------------------


@claim(
    "gaussian_kl.matches_quadrature",
    r"D_{\mathrm{KL}}\bigl(\mathcal N(\mu, \mathrm{diag}\,\sigma^2) \,\|\, \mathcal N(0, I)\bigr)"
    r" = \mathbb E_{z \sim q}[\log q(z) - \log p(z)]",
    sources=[f"{KINGMA}, appendix B", L17],
    why=r"""The divergence is the mean, over codes z drawn from the posterior q, of the logarithm of
    the ratio of the two densities. With :math:`v = \log \sigma^2` it is, in one dimension,

    .. math::

        \log \frac{q(z)}{p(z)} = \tfrac12 \Bigl(z^2 - \frac{(z - \mu)^2}{\sigma^2} - v\Bigr) .

    Under q the mean of :math:`z^2` is :math:`\mu^2 + \sigma^2` and that of :math:`(z - \mu)^2` is
    :math:`\sigma^2`, which leaves :math:`\tfrac12(\mu^2 + \sigma^2 - 1 - v)`; dimensions add up,
    as ``gaussian_kl.additive_over_dims`` says.

    The oracle knows nothing of this closed form. It evaluates both log-densities at the nodes
    :math:`z = \mu + \sigma u` of a Gauss-Hermite rule and adds them up with the rule's weights.
    The log-ratio is quadratic in z, and a rule of 20 nodes is exact for every polynomial up to
    degree 39, so that only rounding separates the two numbers.""",
    assumptions={
        "every variance is positive": (
            r"with :math:`\mu = 0` the divergence grows like :math:`-\log \sigma` as q shrinks to "
            r"a point: 22.5 nats at :math:`\sigma = 10^{-10}`"
        ),
        "the posterior has independent dimensions": (
            "with unit variances and correlation 0.9 the formula gives 0, and the divergence is "
            r":math:`-\tfrac12 \log(1 - 0.81) = 0.830`"
        ),
        "the prior is the standard normal": (
            r"of :math:`\mathcal N(0, 1)` from :math:`\mathcal N(0, 4)` the divergence is "
            r":math:`\log 2 - \tfrac38 = 0.318`, and the formula gives 0"
        ),
    },
    sentence="is the expected log-ratio of the densities",
)
@given(drawn=shaped(mean=within(-5, 5), log_var=within(-6, 6)))
def test_is_the_expected_log_ratio_of_the_densities(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Tensor]
) -> None:
    found = subject(drawn["mean"], drawn["log_var"])
    mean, log_var = (v[..., None, None] for v in cpu(drawn["mean"], drawn["log_var"]))
    nodes, weights = hermite(20)
    z = mean + (0.5 * log_var).exp() * nodes
    ratio = log_normal(z, mean, log_var) - log_normal(z)  # (N, L, K)
    terms = kl_terms(mean[..., 0, 0], log_var[..., 0, 0])
    check.close(found, (ratio * weights).sum((-1, -2)), slack(dtype, terms, 20), "the divergence")


@claim(
    "gaussian_kl.nonnegative_zero_iff_standard",
    r"D_{\mathrm{KL}} \ge 0, \qquad D_{\mathrm{KL}} = 0 \iff \mu = 0,\ \sigma = 1",
    sources=["Cover and Thomas 2006, 'Elements of Information Theory', Theorem 2.6.3", L17],
    why=r"""By Jensen's inequality every divergence is nonnegative: :math:`-D_{\mathrm{KL}} =
    \mathbb E_q[\log (p/q)] \le \log \mathbb E_q[p/q] \le 0`, with equality only where p/q is
    constant. Here it can be read off the sum. With :math:`v = \log \sigma^2` a dimension adds

    .. math::

        \tfrac12 \mu^2 + \tfrac12 h(v), \qquad h(v) = e^v - 1 - v ,

    and h is convex with :math:`h(0) = h'(0) = 0`, so both parts vanish at 0 alone.

    The test asks for more than a sign: the value must be at least :math:`\tfrac12\|\mu\|^2` and
    at least :math:`\tfrac12 \sum_d h(v_d)`, each of which leaves one of the parts out, and it
    must be 0 for the standard normal itself. Means of 0.01 and log-variances of 0.02 are drawn as
    well: there the divergence is of the size of :math:`10^{-4}`, and an implementation that
    rounds it away, or starts from another constant, is seen.""",
    assumptions={
        "both densities have total mass one": (
            r"for :math:`q = \tfrac12 p` the mean log-ratio is "
            r":math:`\tfrac12 \log \tfrac12 = -0.347`"
        ),
    },
)
@given(
    drawn=stratified(
        [
            shaped(mean=constant(0.0), log_var=constant(0.0)),
            shaped(mean=among(0.0, 0.01, -0.01), log_var=constant(0.0)),
            shaped(mean=constant(0.0), log_var=among(0.0, 0.02, -0.02)),
            shaped(mean=within(-3, 3), log_var=within(-6, 6)),
        ]
    )
)
def test_is_zero_for_the_standard_normal_and_positive_elsewhere(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Tensor]
) -> None:
    found = subject(drawn["mean"], drawn["log_var"])
    mean, log_var = cpu(drawn["mean"], drawn["log_var"])
    room = slack(dtype, kl_terms(mean, log_var))
    check.at_least(found, 0.0, room, "the divergence")
    check.at_least(found, 0.5 * mean.square().sum(-1), room, "the divergence, against |mean|²/2,")
    curve = 0.5 * (log_var.expm1() - log_var).sum(-1)
    check.at_least(found, curve, room, "the divergence, against that of the variance alone,")
    standard = (mean == 0).all(-1) & (log_var == 0).all(-1)
    check.close(
        cpu(found)[0][standard],
        torch.zeros(int(standard.sum())),
        room[standard],
        "the divergence of the standard normal from itself",
    )


@claim(
    "gaussian_kl.additive_over_dims",
    r"D_{\mathrm{KL}}(q_1 \otimes q_2 \,\|\, p_1 \otimes p_2)"
    r" = D_{\mathrm{KL}}(q_1 \| p_1) + D_{\mathrm{KL}}(q_2 \| p_2)",
    sources=["Cover and Thomas 2006, 'Elements of Information Theory', Theorem 2.5.3"],
    why=r"""The densities of independent dimensions multiply, so the logarithm of their ratio is a
    sum, of which every term depends on its own dimension alone:

    .. math::

        \mathbb E_{q_1 \otimes q_2} \log \frac{q_1(z_1)\, q_2(z_2)}{p_1(z_1)\, p_2(z_2)}
        = \mathbb E_{q_1} \log \frac{q_1(z_1)}{p_1(z_1)} + \mathbb E_{q_2} \log
        \frac{q_2(z_2)}{p_2(z_2)} .

    A mean over dimensions in place of the sum divides the divergence by their number L, which is
    a weight of 1/L on it in the bound, and one that changes when the code is made longer.

    No formula is needed to judge it: the divergence of a code of several dimensions is compared
    with the sum of what the same implementation says of each dimension alone, and with the
    divergence of the same dimensions in reverse order.""",
    assumptions={
        "both distributions have independent dimensions": (
            "a pair of standard normals with correlation 0.9 has two marginal divergences of 0, "
            "and a joint one of 0.830"
        ),
    },
)
@given(drawn=shaped(((1, 2), (3, 2), (2, 5)), mean=within(-3, 3), log_var=within(-6, 6)))
def test_adds_up_over_the_dimensions(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Tensor]
) -> None:
    mean, log_var = drawn["mean"], drawn["log_var"]
    room = slack(dtype, kl_terms(*cpu(mean, log_var)), 4)
    whole = cpu(subject(mean, log_var))[0]
    parts = [
        subject(mean[:, d : d + 1].contiguous(), log_var[:, d : d + 1].contiguous())
        for d in range(mean.shape[1])
    ]
    check.close(whole, cpu(sum(parts))[0], room, "the divergence, against the sum over dimensions,")
    check.close(
        subject(mean.flip(-1), log_var.flip(-1)),
        whole,
        room,
        "the divergence, with the dimensions in reverse order,",
    )


@claim(
    "gaussian_kl.gradient",
    r"\nabla_\mu D_{\mathrm{KL}} = \mu, \qquad \nabla_{\log \sigma^2} D_{\mathrm{KL}} ="
    r" \tfrac12(\sigma^2 - 1)",
    sources=[f"{KINGMA}, appendix B, differentiated"],
    why=r"""Differentiate :math:`\tfrac12 \sum_d (\mu_d^2 + e^{v_d} - 1 - v_d)` with
    :math:`v = \log \sigma^2`. The pull on a mean is that of a spring towards 0. The pull on a
    log-variance is towards :math:`\sigma = 1` from both sides, and lopsided: it grows like
    :math:`\tfrac12 \sigma^2` where the posterior is too wide, and is never stronger than
    :math:`\tfrac12` where it is too narrow.

    Many mistakes leave the value alone and spoil the training: a variance that is detached is
    pushed up without end, a clamp ends the gradient beyond its limits. So autograd's gradient is
    compared with the two formulas, also at means of :math:`\pm 1000` and log-variances of
    :math:`\pm 60`. Item n enters the sum that is differentiated with weight n, so that a gradient
    that goes to the wrong item is seen.""",
    assumptions={
        "the second argument is the logarithm of the variance": (
            r"at :math:`\sigma = 3` the slope in :math:`\log \sigma^2` is 4, that in "
            r":math:`\sigma` is :math:`\sigma - 1/\sigma = 2.67` and that in :math:`\sigma^2` is "
            r":math:`\tfrac12(1 - 1/\sigma^2) = 0.44`"
        ),
    },
)
@given(
    drawn=stratified(
        [
            shaped(mean=within(-3, 3), log_var=within(-6, 6)),
            shaped(EXTREME, mean=among(0.0, -1e3, 1e3), log_var=among(-60.0, -12.0, 12.0, 60.0)),
        ]
    )
)
def test_has_the_gradient_of_the_closed_form(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Tensor]
) -> None:
    subject.needs_gradients()
    mean, log_var = (drawn[k].requires_grad_() for k in ("mean", "log_var"))
    pull = torch.arange(1, len(mean) + 1, device=mean.device, dtype=dtype)
    found = gradients((pull * subject(mean, log_var)).sum(), [mean, log_var])
    m, v, c = cpu(mean, log_var, pull[:, None])
    check.close(found[0], c * m, slack(dtype, c * m.abs()), "the gradient in mean")
    check.close(found[1], 0.5 * c * v.expm1(), slack(dtype, c * v.exp()), "the gradient in log_var")


@claim(
    "gaussian_kl.holds_at_extremes",
    r"|v_d| \le 60 \;\Rightarrow\; D_{\mathrm{KL}} = \tfrac12 \sum_d \bigl(\mu_d^2 + e^{v_d} -"
    r" 1 - v_d\bigr) < \infty, \qquad v = \log \sigma^2",
    sources=[f"{KINGMA}, appendix B"],
    why=r"""An untrained encoder, or one that meets an outlier, can put out any log-variance v.
    Nothing in the sum is delicate: :math:`e^v` is the only term that grows fast, and
    :math:`e^{60} \approx 10^{26}` fits easily into single precision. There is no need for a
    clamp, and a clamp is not harmless: it changes the value, and beyond its limits the gradient
    in v is 0, so that an encoder that has got there is never called back.

    Means up to 1000 are combined with log-variances up to :math:`\pm 60`. The value must be
    finite and equal to the closed form in double precision, which
    ``gaussian_kl.matches_quadrature`` ties to the definition. The tolerance is rounding alone,
    relative to the size of the terms.""",
    assumptions={
        "the log-variance is not so large that its exponential overflows": (
            ":math:`e^v` is infinite in single precision from :math:`v = 88.8` on, in double "
            "precision from :math:`v = 709.8` on"
        ),
    },
)
@given(
    drawn=shaped(
        EXTREME,
        mean=among(0.0, -1e3, 1.0, 1e3),
        log_var=among(-60.0, -35.5, -11.0, 0.0, 11.0, 35.5, 60.0),
    )
)
def test_holds_at_extreme_variances(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Tensor]
) -> None:
    found = subject(drawn["mean"], drawn["log_var"])
    mean, log_var = cpu(drawn["mean"], drawn["log_var"])
    check.finite(found, "the divergence")
    check.close(
        found, kl_formula(mean, log_var), slack(dtype, kl_terms(mean, log_var), 4), "the divergence"
    )


# reparameterize --------------------------------------------------------------------------------------


@claim(
    "reparameterize.affine_in_noise",
    r"z = \mu + e^{\frac12 \log \sigma^2} \odot \epsilon",
    sources=[f"{KINGMA}, section 2.4", L17],
    why=r"""A normal family has a location and a scale: if :math:`\epsilon` has the density
    :math:`\mathcal N(0, I)`, then by the change of variables
    :math:`z = \mu + \sigma \odot \epsilon` has

    .. math::

        q(z)
        = \prod_d \frac{1}{\sigma_d}\, \mathcal N\Bigl(\frac{z_d - \mu_d}{\sigma_d};\, 0,
        1\Bigr) = \mathcal N\bigl(z;\, \mu, \mathrm{diag}\,\sigma^2\bigr), \qquad \sigma
        = e^{\frac12 \log \sigma^2} .

    All randomness is in the argument :math:`\epsilon`, so the draw is a formula and can be judged
    as one: the mean where the noise is 0, one standard deviation away where it is 1, every entry
    from its own mean, variance and noise, at log-variances up to :math:`\pm 40`.

    A small guard on the standard deviation is legal. None is needed on the mean: the draw less
    the draw from mean 0 must be :math:`\mu` up to rounding.""",
    assumptions={
        "the family has a location and a scale": (
            "a coin takes two values, so a map that makes one of continuous noise is a step, "
            "with slope 0 almost everywhere"
        ),
    },
)
@given(
    drawn=stratified(
        [
            shaped(mean=within(-3, 3), log_var=within(-6, 6), noise=within(-3, 3)),
            shaped(EXTREME, mean=within(-3, 3), log_var=within(-6, 6), noise=constant(0.0)),
            shaped(EXTREME, mean=constant(0.0), log_var=within(-6, 6), noise=constant(1.0)),
            shaped(EXTREME, mean=within(-3, 3), log_var=constant(0.0), noise=within(-3, 3)),
            shaped(
                EXTREME,
                mean=among(0.0, 1.0),
                log_var=among(-40.0, -11.0, 11.0, 40.0),
                noise=among(-2.0, 0.5),
            ),
        ]
    )
)
def test_is_the_mean_plus_the_standard_deviation_times_the_noise(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Tensor]
) -> None:
    arguments = drawn["mean"], drawn["log_var"], drawn["noise"]
    found = subject(*arguments)
    mean, log_var, noise = cpu(*arguments)
    step = (0.5 * log_var).exp() * noise
    size = mean.abs() + step.abs()
    check.close(found, mean + step, guarded(dtype) * (1 + size), "the draw")
    moved = cpu(subject(torch.zeros_like(arguments[0]), *arguments[1:]))[0]
    check.close(
        cpu(found)[0] - moved, mean, slack(dtype, size), "the draw less the draw from mean 0"
    )


@claim(
    "reparameterize.moments",
    r"\epsilon \sim \mathcal N(0, I) \;\Rightarrow\; \mathbb E z = \mu,\quad"
    r" \operatorname{Cov} z = \operatorname{diag} \sigma^2",
    sources=[f"{KINGMA}, section 2.4"],
    why=r"""Expectation is linear, and the noise has mean 0 and covariance I:

    .. math::

        \mathbb E z = \mu + \sigma \odot \mathbb E \epsilon = \mu, \qquad \operatorname{Cov} z
        = \operatorname{diag}(\sigma)\, \mathbb E[\epsilon \epsilon^\top]
        \operatorname{diag}(\sigma) = \operatorname{diag} \sigma^2 .

    An affine image of a normal vector is normal, so these two moments determine its law.

    The test fixes no formula for z. It calls the subject at the nodes of a Gauss-Hermite rule
    with 4 nodes for each dimension, and takes the weighted mean and covariance of what comes
    back. The rule integrates polynomials up to degree 7 exactly, and second moments of an affine
    draw have degree 2: the comparison has no sampling error. A scale that is the variance shows
    on the diagonal, noise that is shared by the dimensions beside it.""",
    assumptions={
        "the noise has mean 0 and variance 1": (
            r"uniform noise on [0, 1] moves the mean by :math:`\tfrac12 \sigma` and leaves a "
            "twelfth of the variance"
        ),
        "the entries of the noise are uncorrelated": (
            "one number for two dimensions gives them the "
            r"covariance :math:`\sigma_1 \sigma_2`"
        ),
    },
)
@given(drawn=shaped(((1, 1), (1, 2), (3, 2)), mean=within(-3, 3), log_var=within(-4, 4)))
def test_has_the_mean_and_the_variance_asked_for(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Tensor]
) -> None:
    mean, log_var = drawn["mean"], drawn["log_var"]
    nodes, weights = hermite(4, mean.shape[1])
    count = len(nodes)
    noise = nodes.to(mean).repeat(len(mean), 1)
    draws = subject(mean.repeat_interleave(count, 0), log_var.repeat_interleave(count, 0), noise)
    z = cpu(draws)[0].reshape(len(mean), count, -1)
    m, v = cpu(mean, log_var)
    first = (weights[:, None] * z).sum(1)
    room = guarded(dtype) * (1 + m.square() + v.exp())
    check.close(first, m, room, "the mean of the draws")
    centred = z - first[:, None]
    second = torch.einsum("k,nki,nkj->nij", weights, centred, centred)
    check.close(
        second,
        torch.diag_embed(v.exp()),
        guarded(dtype) * (1 + float(v.exp().max())),
        "the covariance of the draws",
    )


@claim(
    "reparameterize.gradient_equals_exact",
    r"\mathbb E_\epsilon\bigl[\nabla f(\mu + \sigma \epsilon)\bigr] = \nabla\, \mathbb E_{z}[f(z)]",
    sources=[f"{KINGMA}, section 2.4", "CS182 2021 L17, 'The reparameterization trick'"],
    why=r"""The law of the noise does not depend on the parameters, so derivative and expectation
    may be exchanged, and the chain rule goes through the draw:
    :math:`\partial z / \partial \mu = 1` and
    :math:`\partial z / \partial v = \tfrac12 \sigma \epsilon` with :math:`v = \log \sigma^2`.

    The test takes :math:`f(z) = z + b z^2 + c z^3`, whose expectation is known:

    .. math::

        \mathbb E f = \mu + b(\mu^2 + \sigma^2) + c(\mu^3 + 3 \mu \sigma^2),
        \quad \partial_\mu \mathbb E f = 1 + 2 b \mu + 3 c (\mu^2 + \sigma^2),
        \quad \partial_v \mathbb E f = \sigma^2 (b + 3 c \mu) .

    The average of autograd's gradients over the 6 nodes of a Gauss-Hermite rule, exact for these
    polynomials, must give both. Where the path through the mean or through the deviation is cut,
    its share is missing, although every value is right.""",
    assumptions={
        "f is differentiable along the path": (
            "for the step f(z) = 1 where z > 0 every pathwise derivative is 0, and that of "
            r":math:`\Phi(\mu/\sigma)` is 0.399 at :math:`\mu = 0`, :math:`\sigma = 1`"
        ),
        "the law of the noise is free of the parameters": (
            r"for :math:`z = \epsilon` with :math:`\epsilon \sim \mathcal N(0, \theta^2)` no path "
            r"leads to :math:`\theta`, and :math:`\mathbb E z^2` has the slope :math:`2\theta`"
        ),
    },
)
@given(
    drawn=shaped(((1, 1), (1, 3), (3, 2)), mean=within(-2, 2), log_var=within(-4, 2)),
    b=st.sampled_from([-1.0, 0.5, 2.0]),
    c=st.sampled_from([0.0, 0.5]),
)
def test_has_pathwise_gradients_that_average_to_the_exact_one(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Tensor], b: float, c: float
) -> None:
    subject.needs_gradients()
    mean, log_var = (drawn[k].requires_grad_() for k in ("mean", "log_var"))
    nodes, weights = hermite(6)
    total = torch.zeros((), device=mean.device, dtype=dtype)
    for node, weight in zip(nodes[:, 0].tolist(), weights.tolist(), strict=True):
        z = subject(mean, log_var, torch.full_like(mean, node).detach())
        total = total + weight * (z + b * z.square() + c * z**3).sum()
    found = gradients(total, [mean, log_var])
    m, v = cpu(mean, log_var)
    room = guarded(dtype) * (1 + m.square() + v.exp()) * (1 + v.exp())
    exact = 1 + 2 * b * m + 3 * c * (m.square() + v.exp())
    check.close(found[0], exact, room, "the expected gradient in mean")
    check.close(found[1], v.exp() * (b + 3 * c * m), room, "the expected gradient in log_var")


@claim(
    "reparameterize.lower_variance_than_score",
    r"f(z) = z^2:\quad \operatorname{Var}\bigl[\nabla_\mu f(\mu + \sigma\epsilon)\bigr] ="
    r" 4\sigma^2 < \operatorname{Var}\bigl[f(z)\, \nabla_\mu \log q(z)\bigr]",
    sources=[f"{KINGMA}, section 2.2", "Mohamed et al. 2020, section 3"],
    why=r"""Both estimators have mean :math:`\nabla_\mu \mathbb E f = 2\mu`. The pathwise one is
    :math:`2(\mu + \sigma\epsilon)`, with variance :math:`4\sigma^2`. The other multiplies the
    value of f by the score :math:`\nabla_\mu \log q(z) = \epsilon/\sigma`:

    .. math::

        \operatorname{Var}\Bigl[(\mu + \sigma\epsilon)^2\, \frac{\epsilon}{\sigma}\Bigr]
        = \frac{\mu^4 + 18 \mu^2 \sigma^2 + 15 \sigma^4}{\sigma^2} - 4\mu^2
        = \frac{\mu^4 + 14 \mu^2 \sigma^2 + 15 \sigma^4}{\sigma^2} ,

    which is larger by :math:`11\sigma^2 + 14\mu^2 + \mu^4/\sigma^2`. The value of f is felt even
    where f is flat; the slope is not.

    It is no theorem for all f, and the test says so: it computes both variances with a rule of 40
    nodes for the quadratic, and for a fast cosine, where the order must be the reverse. Gradients
    come from the subject by autograd, scores from the density of q.""",
    sentence="varies less than the score-function estimator",
    assumptions={
        r"f varies slowly on the scale of :math:`\sigma`": (
            r"for :math:`f = \cos(4z/\sigma)` the pathwise gradient has variance "
            r":math:`8/\sigma^2` up to tiny terms, the score-function one :math:`0.5/\sigma^2`"
        ),
    },
)
@given(drawn=shaped(((1, 1), (3, 2)), mean=within(-2, 2), log_var=within(-3, 2)))
def test_varies_less_than_the_score_function_estimator(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Tensor]
) -> None:
    subject.needs_gradients()
    mean, log_var = drawn["mean"].requires_grad_(), drawn["log_var"]
    nodes, weights = hermite(40)
    m, v = cpu(mean, log_var)
    deviation, mass = (0.5 * v).exp(), weights[:, None, None]
    paths: list[list[Tensor]] = [[], []]
    for node in nodes[:, 0].tolist():
        z = subject(mean, log_var, torch.full_like(mean, node).detach())
        rate = 4 / deviation.to(z)
        paths[0].append(cpu(gradients(z.square().sum(), [mean])[0])[0])
        paths[1].append(cpu(gradients((rate * z).cos().sum(), [mean])[0])[0])
    draws = m + deviation * nodes[:, :, None]
    score = nodes[:, :, None] / deviation
    for path, values, smooth in (
        (torch.stack(paths[0]), draws.square(), True),
        (torch.stack(paths[1]), (4 / deviation * draws).cos(), False),
    ):
        spread = [
            (mass * g.square()).sum(0) - (mass * g).sum(0).square() for g in (path, values * score)
        ]
        if smooth:
            room = guarded(dtype) * (1 + m.square() + v.exp())
            check.close(spread[0], 4 * v.exp(), room, "the variance of the pathwise gradient of z²")
        low, high = spread if smooth else spread[::-1]
        check.that(
            (low < high).all(),
            f"the pathwise gradient of {'z²' if smooth else 'cos(4z/σ)'} "
            f"has variance {spread[0].tolist()}, the score-function one {spread[1].tolist()}: "
            f"the {'former' if smooth else 'latter'} must be smaller",
        )
