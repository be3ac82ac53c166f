r"""How adversarial training moves: the Dirac-GAN, instance noise, and one step for each player."""

from __future__ import annotations

import cmath
import copy
import math
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from spec_tests import check
from spec_tests.handle import Handle, redraw_parameters
from spec_tests.quadrature import hermite_line
from spec_tests.registry import claim
from spec_tests.state import seed_everything
from spec_tests.strategies import reals
from spec_tests.tolerance import guarded, rounding

MESCHEDER = (
    "Mescheder, Geiger, Nowozin 2018, 'Which Training Methods for GANs do actually Converge?'"
)
LECTURE = "CS182 2021 L19"
GAN = "Goodfellow et al. 2014, 'Generative Adversarial Networks'"
SEEDS = st.integers(0, 2**31 - 1)
SLACK = rounding(torch.float64, length=64, scale=4.0)
SMOOTH = ("gan", "non_saturating", "wasserstein", "instance_noise", "r1")


def _written_out(state: Tensor, kind: str, strength: float) -> Tensor:
    """The field from the paper's formulas, without autograd; instance noise by its moments at 0."""
    theta, psi = state.unbind(-1)
    t = psi * theta
    seen = torch.ones_like(t) if kind.startswith("wasserstein") else t.sigmoid()  # f'(-t)
    wanted = (-t).sigmoid() if kind == "non_saturating" else seen
    pull = {"r1": strength * psi}.get(kind, torch.zeros_like(psi))
    if kind == "wasserstein_gp":
        pull = strength * (psi.abs() - 1) * psi.sign()
    return torch.stack([psi * wanted, -theta * seen - pull], -1)


def _jacobian(field: Any, at: Tensor) -> Tensor:
    """By central differences: the field may be a number machine."""
    step = 1e-5
    columns = [(field(at + step * e) - field(at - step * e)) / (2 * step)
               for e in torch.eye(2, dtype=torch.float64)]  # fmt: skip
    return torch.stack(columns, -1)


def _same_pair(found: Any, expected: Any, what: str) -> None:
    """Two pairs of complex numbers, in any order."""
    a, b = (sorted(pair, key=lambda z: (z.real, z.imag)) for pair in (found, expected))
    for one, other in zip(a, b, strict=True):
        accuracy = guarded(torch.float64, scale=1.0)
        check.close(one.real, other.real, accuracy, f"{what}, real part,")
        check.close(abs(one.imag), abs(other.imag), accuracy, f"{what}, imaginary part,")


@claim(
    "theory.dirac_gan",
    r"\lambda = \pm f'(0) i \text{ (no penalty)}, \quad -\tfrac\gamma2 \pm \sqrt{\tfrac{\gamma^2}4 - "
    r"f'(0)^2} \text{ (R1)}, \quad -\tfrac{\sigma^2}4 \pm \sqrt{\tfrac{\sigma^4}{16} - \tfrac14} "
    r"\text{ (noise)}",
    sources=[f"{MESCHEDER}, sections 2 to 4", f"{LECTURE}, 'Improving GAN training'"],
    why=r"""One datum at 0, one sample at :math:`\theta`, a discriminator :math:`D(x) = \psi
    x`: the logistic game moves :math:`\dot\theta = \psi f'(\theta \psi)` and :math:`\dot\psi =
    -\theta f'(\theta \psi)`, with f' the sigmoid, or 1 in the Wasserstein game. R1 adds
    :math:`-\gamma \psi`. Noise of variance :math:`\sigma^2` on data and samples adds the slope of
    :math:`\mathbb E[\nu \sigma(-\psi \nu)] - \mathbb E[\nu \sigma(\psi \nu)]` (inside, the
    sigmoid), which is :math:`-\sigma^2 / 2` at :math:`\psi = 0`. With d for either damping,

    .. math::

        \begin{pmatrix} 0 & f'(0) \\ -f'(0) & -d \end{pmatrix}, \qquad \lambda^2 + d \lambda + f'(0)^2
        = 0,

    is the Jacobian at rest, and its eigenvalues. Without damping they are imaginary and the
    players circle; with it the real part is negative.

    The oracle is the field written out without autograd, and a Jacobian by central differences.
    It compares the eigenvalues' sum and product, which are well-conditioned even where both are
    equal.""",
    assumptions={
        "a penalty is smooth at rest": (
            r"one around slope one, :math:`\gamma (|\psi| - 1)^2 / 2`, pushes a small "
            r":math:`\psi > 0` away from zero at the rate :math:`\gamma (1 - \psi)`: there is no "
            "Jacobian and no rest"
        ),
        "noise is added to data and samples alike": (
            r"on the samples alone it damps by :math:`\sigma^2 / 4` in place of :math:`\sigma^2 "
            "/ 2`"
        ),
    },
    effort=0.3,
)
@given(
    kind=st.sampled_from(SMOOTH), strength=st.sampled_from([0.3, 1.0, 2.5]),
    state=reals((3, 2), -2.0, 2.0),
)  # fmt: skip
def test_eigenvalues_say_who_circles_and_who_converges(
    subject: Handle, device: str, dtype: torch.dtype, kind: str, strength: float, state: Tensor
) -> None:
    pieces, state = subject.pieces().raw, state.cpu().double()

    def field(at: Tensor) -> Tensor:
        found: Tensor = pieces.dirac_gan_field(at, kind, strength)
        return found

    if kind != "instance_noise":
        check.close(
            field(state), _written_out(state, kind, strength), SLACK, f"the field of {kind}"
        )
    origin = torch.zeros(2, dtype=torch.float64)
    check.close(field(origin), origin, SLACK, f"the field of {kind} at the equilibrium")
    measured = torch.linalg.eigvals(_jacobian(field, origin)).tolist()
    turn = 1.0 if kind == "wasserstein" else 0.5
    pull = {"r1": strength, "instance_noise": strength**2 / 2}.get(kind, 0.0)
    root = cmath.sqrt(pull**2 / 4 - turn**2)
    expected = (-pull / 2 + root, -pull / 2 - root)
    # A double eigenvalue moves by the root of a perturbation: compare what is well-conditioned.
    found = pieces.dirac_gan_eigenvalues(kind, strength)
    for pair, who in ((measured, "of the measured Jacobian"), (found, "as documented")):
        what = f"the eigenvalues of {kind} (strength {strength}) {who}"
        total, product = pair[0] + pair[1], pair[0] * pair[1]
        _same_pair((total, product), (sum(expected), expected[0] * expected[1]), what)
    pushed = pieces.dirac_gan_field(torch.tensor([0.0, 0.1]).double(), "wasserstein_gp", strength)
    check.that(
        float(pushed[1]) > 0,
        "with a penalty around slope one a small slope is not pushed away from zero",
    )
    off = pieces.dirac_gan_field(state, "wasserstein_gp", strength)
    exact = _written_out(state, "wasserstein_gp", strength)
    kink = state[:, 1] == 0
    check.close(off[~kink], exact[~kink], SLACK, "the field of wasserstein_gp")


@claim(
    "theory.dirac_gan_trajectories",
    r"|z_t| \to 0 \text{ for R1 and noise}, \qquad |z_{t+1}|^2 \ge |z_t|^2 \text{ without}, \qquad "
    r"|z_t| \not\to 0 \text{ for WGAN, clipped or with a penalty}",
    sources=[f"{MESCHEDER}, figure 2 and section 2.2", f"{LECTURE}, 'Improving GAN training'"],
    why=r"""Write z for :math:`(\theta, \psi)`. Without a penalty the field is :math:`f' \cdot
    (\psi, -\theta)`, at right angles to z, so that Pythagoras gives for both players at once

    .. math::

        |z + h v|^2 = |z|^2 + h^2 |v|^2 > |z|^2.

    In turns the same steps preserve area, and stay on a ring. With R1 or noise a simultaneous
    step is, near rest, multiplication by :math:`I + h J`, whose eigenvalues :math:`1 + h \lambda`
    have modulus below one for small h: deviations fall like the power of the largest. A penalty
    around slope one pushes a flat discriminator away from rest.

    Each claim is checked on the path itself: the first step against the field, growth at every
    step, the ring, and after 600 steps the distance that the documented eigenvalues allow. The
    start is drawn on a circle of radius one half.""",
    assumptions={
        "the step size is small against the eigenvalues": (
            r"for :math:`\gamma = 1` both are :math:`-1/2`, and h = 5 multiplies deviations by "
            "-1.5"
        ),
        "the players move at once (for growth without a penalty)": (
            "in turns |z| stays between 0.3 and 0.8 for 400 steps from 0.5"
        ),
    },
    effort=0.15,
)
@given(seed=SEEDS)
def test_trajectories_do_what_the_eigenvalues_say(
    subject: Handle, device: str, dtype: torch.dtype, seed: int
) -> None:
    pieces = subject.pieces().raw
    source = torch.Generator().manual_seed(seed)
    angle = 2 * math.pi * float(torch.rand(1, generator=source))
    start = 0.5 * torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float64)
    h = 0.1

    def path(kind: str, strength: float, steps: int, alternating: bool = False) -> Tensor:
        def field(at: Tensor) -> Tensor:
            found: Tensor = pieces.dirac_gan_field(at, kind, strength)
            return found

        found = pieces.follow_field(field, start, h, steps, alternating)
        check.that(found.shape == (steps + 1, 2), f"the path has shape {tuple(found.shape)}")
        check.equal(found[0], start, "the start of the path")
        one = start + h * field(start)
        if not alternating:
            check.close(found[1], one, SLACK, f"the first step of {kind}")
        else:
            seen = torch.stack([one[0], start[1]])
            check.close(
                found[1], torch.stack([one[0], start[1] + h * field(seen)[1]]), SLACK,
                "the first step in turns",
            )  # fmt: skip
        return found.norm(dim=-1)

    for kind in ("gan", "wasserstein"):
        out = path(kind, 1.0, 150)
        check.that(bool((out[1:] > out[:-1]).all()), f"simultaneous steps of {kind} come closer")
    ring = path("gan", 1.0, 400, alternating=True)
    check.that(
        bool(ring.min() > 0.3) and bool(ring.max() < 0.8),
        f"steps in turns leave the ring: |z| runs from {ring.min():.3g} to {ring.max():.3g}",
    )
    for kind, strength in (("r1", 1.0), ("r1", 0.3), ("instance_noise", 1.0)):
        fall = path(kind, strength, 600)
        slowest = max(abs(1 + h * z) for z in pieces.dirac_gan_eigenvalues(kind, strength))
        check.that(slowest < 1, f"the eigenvalues of {kind} do not contract")
        reached = float(fall[-1] / start.norm())
        allowed = 100 * 600 * slowest**600
        check.at_most(reached, allowed, SLACK, f"|z| after 600 steps of {kind} ({strength})")
    away = path("wasserstein_gp", 1.0, 2000)[-500:]
    check.that(
        bool(away.max() > 0.05), "the game with a penalty around slope one came to rest at zero"
    )


# Instance noise -----------------------------------------------------------------------------------


@claim(
    "theory.instance_noise_restores_gradient",
    r"\frac{d}{d\theta} D_{\mathrm{JS}}(\delta_0 \,\|\, \delta_\theta) = 0, \qquad \frac{d}{d\theta} "
    r"D_{\mathrm{JS}}\bigl(\mathcal N(0, \sigma^2) \,\|\, \mathcal N(\theta, \sigma^2)\bigr) > 0 "
    r"\qquad (\theta > 0)",
    sources=[f"{LECTURE}, 'Improving GAN training: instance noise'",
             "Sønderby et al. 2016, 'Amortised MAP Inference', section 4",
             "Arjovsky and Bottou 2017, 'Towards Principled Methods for Training GANs', section 3"],
    why=r"""Two points apart are told apart perfectly: JS is :math:`\log 2` however far they
    are, and has no slope. Blurred, the log-ratio at a draw of the first density is :math:`L \sim
    \mathcal N(v/2, v)` with :math:`v = (\theta / \sigma)^2`, and

    .. math::

        D_{\mathrm{JS}} = \log 2 - \mathbb E \log(1 + e^{-L}), \qquad \frac{d D_{\mathrm{JS}}}{dv} =
        \tfrac12\, \mathbb E\bigl[\sigma(-L)^2\bigr] > 0,

    since the derivative of :math:`\mathbb E g(L)` in v is :math:`\mathbb E[g' + g''] / 2`; with
    :math:`g = \log(1 + e^{-L})` that is minus the mean of a squared sigmoid :math:`\sigma(-L)`,
    halved. So the divergence rises with the distance, from 0 (like v/8) to :math:`\log 2`, and
    depends on distance over :math:`\sigma` alone.

    The oracle is Gauss-Hermite quadrature of the first formula; the slope that autograd finds is
    compared with its central difference.""",
    assumptions={
        "noise is on both sides": (
            "a blurred sample against a sharp datum is told apart with certainty again: JS is "
            r":math:`\log 2`"
        ),
        "the points are not the same": (
            "at distance 0 the blurred divergence has its minimum, and slope 0"
        ),
    },
    effort=0.3,
)  # fmt: skip
@given(
    distance=st.sampled_from([0.25, 1.0, 2.0, 3.5]), sigma=st.sampled_from([0.5, 1.0, 2.0]), seed=SEEDS
)  # fmt: skip
def test_blurred_supports_have_a_slope(
    subject: Handle, device: str, dtype: torch.dtype, distance: float, sigma: float, seed: int
) -> None:
    pieces = subject.pieces().raw
    one = torch.ones(1, dtype=torch.float64)
    nodes, weights = hermite_line(150)

    def exact(u: float) -> float:
        """JS of two unit normals u apart: minus the mean of log((1 + e^{-t})/2) under one of them."""
        log_ratio = u * nodes + u**2 / 2  # log p/q at a draw of p
        return float((weights * (math.log(2) - torch.nn.functional.softplus(-log_ratio))).sum())

    theta = torch.tensor([distance], dtype=torch.float64, requires_grad=True)
    found = pieces.blurred_js(0 * one, theta, one, one, sigma)
    accuracy = guarded(torch.float64)
    check.close(found, exact(distance / sigma), accuracy, "the blurred divergence")
    (slope,) = torch.autograd.grad(found, theta)
    step = 1e-3
    measured = (exact((distance + step) / sigma) - exact((distance - step) / sigma)) / (2 * step)
    check.close(slope[0], measured, accuracy, "its slope in the distance")
    check.that(float(slope) > 0, "the slope towards the data vanishes")
    scaled = pieces.blurred_js(0 * one, 3 * theta.detach(), one, one, 3 * sigma)
    check.close(scaled, found, accuracy, "the divergence of everything three times as large")
    sharp = pieces.blurred_js(0 * one, 40 * sigma * one, one, one, sigma)
    check.close(sharp, math.log(2), accuracy, "the divergence far apart")
    source = torch.Generator().manual_seed(seed)
    points = torch.randn(4, generator=source, dtype=torch.float64)
    p = torch.rand(4, generator=source, dtype=torch.float64) + 0.1
    p = p / p.sum()
    same = pieces.blurred_js(points, points.flip(0), p, p.flip(0), sigma)
    check.close(same, 0.0, accuracy, "the divergence of a set of points from itself")


# Taking turns -------------------------------------------------------------------------------------


def _players(seed: int) -> tuple[nn.Module, nn.Module, Tensor, Tensor]:
    seed_everything(seed % 10_000)
    generator = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).double()
    judge = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1), nn.Flatten(0)).double()
    for module in (generator, judge):
        redraw_parameters(module)
    return generator, judge, torch.randn(6, 2).double(), torch.randn(7, 3).double()


@claim(
    "theory.one_sgd_step_each",
    r"\phi' = \phi - \eta \nabla_\phi L_D(\phi, \theta), \qquad \theta' = \theta - \eta \nabla_\theta "
    r"L_G(\phi', \theta)",
    sources=[f"{GAN}, algorithm 1", f"{LECTURE}, 'GAN training'"],
    why=r"""Each player moves its own parameters and no other's, by the gradient of its own
    loss, and the generator answers the discriminator as it is after its step. The losses L_D and
    L_G share a graph: :math:`L_D(\phi, \theta)` depends on the generator's parameters
    :math:`\theta` through the fakes, and :math:`L_G` on the discriminator's :math:`\phi` through
    the scores. A backward pass without care fills both gradients. The generator's step then
    leaves

    .. math::

        \nabla_\phi L_G \quad \text{in the discriminator, added to } \nabla_\phi L_D \text{ next time},

    and in the minimax game the two are opposed on the fakes, so that it unlearns what it was
    taught.

    The expected parameters are computed on copies: ``torch.autograd.grad`` of the loss in the
    player's own parameters, and one plain step. The other player must be equal bit for bit, and
    no gradient may be left in either.""",
    assumptions={
        "the optimiser is plain gradient descent": (
            r"the first step of Adam moves each number by :math:`\eta`, whatever its gradient"
        ),
    },
    effort=0.3,
)
@given(seed=SEEDS, kind=st.sampled_from(["minimax", "non_saturating", "wasserstein", "hinge"]))
def test_each_player_moves_its_own_parameters(
    subject: Handle, device: str, dtype: torch.dtype, seed: int, kind: str
) -> None:
    pieces = subject.pieces().raw
    losses = pieces.gan_losses(kind)
    generator, judge, real, noise = _players(seed)
    for player in ("discriminator", "generator"):
        g, d = copy.deepcopy(generator), copy.deepcopy(judge)
        own, other = (d, g) if player == "discriminator" else (g, d)
        if player == "discriminator":
            loss = losses.discriminator_loss(d(real), d(g(noise)))
        else:
            loss = losses.generator_loss(d(g(noise)))
        slopes = torch.autograd.grad(loss, list(own.parameters()))
        expected = [p.detach() - 0.5 * s for p, s in zip(own.parameters(), slopes, strict=True)]
        kept = [p.detach().clone() for p in other.parameters()]
        optimizer = torch.optim.SGD(own.parameters(), lr=0.5)
        if player == "discriminator":
            found = pieces.discriminator_step(g, d, losses, optimizer, real, noise)
        else:
            found = pieces.generator_step(g, d, losses, optimizer, noise)
        check.close(found, loss.detach(), SLACK, f"the {player}'s loss before its step")
        for p, e in zip(own.parameters(), expected, strict=True):
            check.close(p, e, SLACK, f"a parameter of the {player} after its step")
        for p, k in zip(other.parameters(), kept, strict=True):
            check.equal(p.detach(), k, f"a parameter of the other player after the {player}'s step")
        for who, module in (("itself", own), ("the other player", other)):
            left = [p for p in module.parameters() if p.grad is not None and bool(p.grad.any())]
            check.that(not left, f"the {player}'s step leaves gradients in {who}")


@claim(
    "theory.a_fixed_discriminator_is_no_game",
    r"\theta_t \to \arg\max_x D(x) \text{ for a fixed } D, \qquad \text{while in turns } q \to p",
    sources=[f"{LECTURE}, 'The naive algorithm', slide on why it fails"],
    why=r"""For a fixed D the generator's loss :math:`\sum_x q(x) \log(1 - D(x))` is linear in
    q, and a linear function on the simplex is least at a corner: all mass at the point that D
    likes best. Gradient steps on the logits go there, for the loss's gradient in logit x is
    :math:`q(x)` times how much x costs above the mean. If D answers every q with :math:`D = p /
    (p + q)`, the same steps follow

    .. math::

        \max_D V(D, q) = 2\, D_{\mathrm{JS}}(p \,\|\, q) - \log 4,

    for at the maximum the derivative through D vanishes (the envelope theorem), and this is least
    at q = p alone.

    The generator is a table over three or five points, which starts uniform; both trainings take
    400 steps of Adam on ``game_value``. Against the fixed D over 0.9 of the mass must collapse
    onto its favourite; in turns q must come within 0.1 of p.""",
    assumptions={
        "the first q is not the data": (
            "where q = p the best answer is 1/2 everywhere: nothing is preferred, and q stays"
        ),
        "the generator can put its mass anywhere": (
            "one that is uniform on pairs of points cannot collapse further than to a pair"
        ),
    },
    effort=0.2,
)
@given(seed=SEEDS, size=st.sampled_from([3, 5]))
def test_a_discriminator_that_does_not_answer_is_fooled(
    subject: Handle, device: str, dtype: torch.dtype, seed: int, size: int
) -> None:
    pieces, source = subject.pieces().raw, torch.Generator().manual_seed(seed)
    p = torch.rand(size, generator=source, dtype=torch.float64) + 0.5
    p = p / p.sum()
    ends = {}
    for answers in (False, True):
        logits = torch.zeros(size, dtype=torch.float64, requires_grad=True)
        judge = pieces.optimal_discriminator(p, logits.softmax(0)).detach()
        favourite = int(judge.argmax())
        optimizer = torch.optim.Adam([logits], lr=0.1)
        for _ in range(400):
            q = logits.softmax(0)
            if answers:
                judge = pieces.optimal_discriminator(p, q).detach()
            optimizer.zero_grad()
            pieces.game_value(judge, p, q).backward()
            optimizer.step()
        ends[answers] = logits.softmax(0).detach()
    collapsed = float(ends[False][favourite])
    check.that(collapsed > 0.9, f"against a fixed D only {collapsed:.0%} of q reach its favourite")
    distance = float((ends[True] - p).abs().sum())
    check.that(distance < 0.1, f"in turns q stays {distance:.3g} from the data")
