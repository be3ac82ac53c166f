r"""Theory of the adversarial game: what the generator minimises against the best discriminator."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spec_tests import check
from spec_tests.handle import Handle
from spec_tests.judge import stratified
from spec_tests.numerics import array
from spec_tests.registry import claim
from spec_tests.strategies import simplex_pairs, simplexes
from spec_tests.tolerance import guarded

GAN = "Goodfellow et al. 2014, 'Generative Adversarial Networks'"
LECTURE = "CS182 2021 L19"


def _js(p: np.ndarray[Any, Any], q: np.ndarray[Any, Any]) -> float:
    middle = (p + q) / 2

    def kl(a: np.ndarray[Any, Any]) -> float:
        on = a > 0
        return float((a[on] * np.log(a[on] / middle[on])).sum())

    return (kl(p) + kl(q)) / 2


@claim(
    "theory.gan_value_is_js",
    r"V(D^*, G) = 2\, D_{\mathrm{JS}}(p \,\|\, q) - \log 4 \ge -\log 4, \qquad "
    r"D^* = \frac{p}{p + q}",
    sources=[f"{GAN}, Theorem 1", f"{LECTURE}, 'What does the GAN optimize?'"],
    why=r"""Let :math:`p` be the data's distribution and :math:`q` the generator's. At one point
    :math:`p \log D + q \log(1 - D)` is concave in :math:`D` with its maximum at :math:`D^* = p/(p +
    q)`, so no discriminator reaches a higher value. Put in, with :math:`m = (p + q)/2`,

    .. math::

        V(D^*, G) = \sum_x p \log \frac{p}{2m} + q \log \frac{q}{2m}
            = D_{\mathrm{KL}}(p \,\|\, m) + D_{\mathrm{KL}}(q \,\|\, m) - 2 \log 2,

    and the sum of the two divergences is :math:`2 D_{\mathrm{JS}}`. Both are zero only for :math:`p
    = q`: the least value is :math:`-\log 4`, and the generator reaches it by finding the data
    alone.

    The oracle sums the divergences in NumPy over the points where they have mass. Pinsker's
    inequality, :math:`2 D_{\mathrm{JS}} \ge \frac14 \lVert p - q \rVert_1^2`, tells by how much the
    value must exceed :math:`-\log 4`.
    """,
    assumptions={
        "the discriminator is the best answer to q": "the constant D = 1/2 gives -log 4 for every generator",
        "the discriminator may be any function": (
            "if it is the same at two points, the value compares only the sums of p and q over "
            "both: it is -log 4 for p = (1, 0) and q = (0, 1)"
        ),
    },
    sentence="against the best discriminator the generator minimises the Jensen-Shannon divergence",
)
@given(
    pair=stratified(
        [
            simplex_pairs(),
            simplex_pairs(interior=True),
            simplex_pairs(2, 5).map(lambda t: (t[0], t[0])),
        ]
    ),
    shift=st.floats(-0.4, 0.4),
)
def test_against_the_best_discriminator_the_generator_minimises_jensen_shannon(
    subject: Handle, device: str, dtype: torch.dtype, pair: tuple[Tensor, Tensor], shift: float
) -> None:
    pieces = subject.pieces()
    p, q = pair
    js = _js(array(p), array(q))
    allowed = guarded(dtype, length=8)
    value = pieces.game_value_at_optimum(p, q)
    check.close(value, 2 * js - math.log(4), allowed, "V(D*, G), 2 JS(p, q) - log 4,")
    check.close(
        value,
        2 * pieces.js_divergence(p, q) - math.log(4),
        allowed,
        "V(D*, G), against js_divergence,",
    )
    check.at_least(value, -math.log(4), allowed, "V(D*, G)")
    equal = float((p - q).abs().sum()) < 1e-9
    check.that(
        equal or float(value) > -math.log(4) + float((p - q).abs().sum()) ** 2 / 8,
        f"V(D*, G) = {float(value)} is -log 4 though the generator differs from the data",
    )  # Pinsker: 2 JS >= ||p - q||_1^2 / 4
    best = pieces.optimal_discriminator(p, q)
    check.close(pieces.game_value(best, p, q), value, allowed, "V at D* = p/(p + q)")
    other = (best + shift).clamp(0.01, 0.99)
    check.at_most(pieces.game_value(other, p, q), value, allowed, "V at another discriminator")


@claim(
    "theory.more_modes_lower_value",
    r"S' \subsetneq S \;\Rightarrow\; V(D^*, p|_{S'}) > V(D^*, p|_S), \qquad "
    r"p|_S = \frac{p\, 1_S}{p(S)}",
    sources=[f"{LECTURE}, 'What does the GAN optimize?'", f"{GAN}, Theorem 1"],
    why=r"""Let the generator cover modes of total mass :math:`a` in the data's proportions, :math:`q
    = p / a` there. On these modes :math:`m = \frac{1 + a}{2a}\, p`, and on the others :math:`m =
    p/2`, so

    .. math::

        2 D_{\mathrm{JS}} &= a \log \frac{2a}{1 + a} + (1 - a) \log 2 + \log \frac{2}{1 + a} \\
            &= a \log a - (1 + a) \log(1 + a) + 2 \log 2,

    with derivative :math:`\log \frac{a}{1 + a} < 0` in :math:`a`. Fewer modes are less mass, and a
    higher value of the game by ``theory.gan_value_is_js``: at the optimum of the discriminator
    dropping a mode never pays. That training drops modes all the same is therefore not the fault of
    the criterion but of the players, who do not reach their optima.

    The test drops one mode after another, compares each value with this formula, and checks the
    order.
    """,
    assumptions={
        "the proportions of the modes that are covered are right": (
            "for p = (0.98, 0.01, 0.01) the generator (1, 0, 0) has a divergence of 0.007 and "
            "(0.01, 0.01, 0.98), which covers all, one of 0.63"
        ),
        "the dropped mode has positive probability": "a mode without mass in the data is rightly left out, and the value stays",
        "the discriminator is the best one": "against the constant D = 1/2 the value is -log 4, whatever is dropped",
    },
)
@given(p=stratified([simplexes(n, interior=True) for n in (2, 3, 5)]))
def test_dropping_a_mode_raises_the_value(
    subject: Handle, device: str, dtype: torch.dtype, p: Tensor
) -> None:
    pieces = subject.pieces()
    values = []
    for kept in range(len(p), 0, -1):
        q = torch.where(torch.arange(len(p), device=p.device) < kept, p, 0)
        values.append(float(pieces.game_value_at_optimum(p, q / q.sum())))
        a = float(p[:kept].sum())
        exact = a * math.log(2 * a / (1 + a)) + (1 - a) * math.log(2) + math.log(2 / (1 + a))
        check.close(
            values[-1],
            exact - math.log(4),
            guarded(dtype, length=8),
            f"V(D*, G) for a generator that covers {kept} of {len(p)} modes",
        )
    for more, fewer in pairwise(values):
        check.that(fewer > more, f"dropping a mode lowered V(D*, G) from {more} to {fewer}")


@claim(
    "theory.gan_fits",
    r"\text{descent on } V(D^*_q, q) \;\Rightarrow\; D_{\mathrm{JS}}(p \,\|\, q) \to 0",
    sources=[f"{GAN}, Proposition 2"],
    why=r"""The generator is a table, :math:`q = \operatorname{softmax}(\ell)`, and the discriminator
    answers every step with its best, :math:`D^* = p/(p + q)`, held fixed while the generator moves.
    Since :math:`D^*` maximises :math:`V`, its own dependence on :math:`q` has no first-order
    effect, and the gradient is that of the Jensen-Shannon divergence:

    .. math::

        \frac{\partial V}{\partial q_i} = \log(1 - D_i^*) = \log \frac{q_i}{p_i + q_i}.

    In the logits descent rests only where this is the same for all :math:`i`, since every
    :math:`q_i` is positive: then :math:`q_i / p_i` is constant, and :math:`q = p`. So there is no
    false resting place, and the criterion, convex in :math:`q`, falls towards its only minimum.

    The test runs 400 steps of Adam from random logits and computes the divergence that is left in
    NumPy.
    """,
    assumptions={
        "the discriminator answers every step": (
            "against one that was trained once and kept, q runs to the point that it likes best "
            "(``theory.a_fixed_discriminator_is_no_game``)"
        ),
        "the generator can be any distribution": (
            "of the form (r, r, 1 - 2r) none is p = (0.5, 0.3, 0.2), and the best one keeps a "
            "positive divergence"
        ),
        "every point starts with positive probability": (
            "a q that is exactly zero at a point stays zero under softmax, whose derivative "
            "there is zero"
        ),
    },
    effort=0.2,
    dtypes=("float64",),
)
@given(p=stratified([simplexes(n, interior=True) for n in (2, 4)]), seed=st.integers(0, 99))
def test_a_tabular_generator_finds_the_data(
    subject: Handle, device: str, dtype: torch.dtype, p: Tensor, seed: int
) -> None:
    pieces = subject.pieces()
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p).requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.1)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.99)
    start = _js(array(p), array(logits.softmax(0)))
    for _ in range(400):
        optimizer.zero_grad()
        q = logits.softmax(0)
        best = pieces.optimal_discriminator(p, q).detach()
        pieces.game_value(best, p, q).backward()
        optimizer.step()
        schedule.step()
    end = _js(array(p), array(logits.softmax(0)))
    check.at_most(
        end,
        0.0,
        guarded(dtype),
        f"JS(p, q) after 400 steps of the game (it was {start:.4g} at the start)",
    )
