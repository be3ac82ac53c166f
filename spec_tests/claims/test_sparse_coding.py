r"""Claims about sparse codes: the conditions that the minimiser alone fulfils, and its known cases.

A solver may stop within the accuracy that ``contracts.md`` allows; every tolerance here is what an
error of that size in the code does to the quantity that is judged.
"""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spec_tests import check
from spec_tests.contracts.sparse_coding import lambda_max, problems
from spec_tests.handle import Handle
from spec_tests.judge import stratified
from spec_tests.registry import claim
from spec_tests.strategies import normals
from spec_tests.tolerance import guarded, rounding

TIBSHIRANI = "Tibshirani 1996, 'Regression Shrinkage and Selection via the Lasso'"
OLSHAUSEN = "Olshausen and Field 1996, 'Emergence of simple-cell receptive field properties'"
LECTURE = "CS182 2021 L17, 'Generative Modeling'"


def _accuracy(dtype: torch.dtype, codes: Tensor, dictionary: Tensor) -> float:
    """How far an entry of a code may be off: a solver's share, and the rounding of the system."""
    size = max(float(codes.detach().abs().max()), 1.0)
    gram = dictionary.double() @ dictionary.double().mT
    spread = torch.linalg.eigvalsh(gram)
    steep = float(spread[-1] / spread[spread > 1e-9 * spread[-1]][0])
    return guarded(dtype, scale=size) + rounding(dtype, scale=size) * steep


def _wide(*tensors: Tensor) -> list[Tensor]:
    return [tensor.detach().cpu().double() for tensor in tensors]


@claim(
    "sparse_code.kkt",
    r"c = A(x - z A)^\top: \qquad |c_k| \le \lambda, \qquad z_k \ne 0 \Rightarrow c_k = \lambda\, "
    r"\mathrm{sign}(z_k)",
    sources=[TIBSHIRANI, OLSHAUSEN, LECTURE],
    why=r"""The objective :math:`\tfrac12 \|x - zA\|^2 + \lambda \|z\|_1` is convex, so its minimisers are
    exactly the points at which 0 is a subgradient. The first term has the gradient :math:`-c` with
    :math:`c = A (x - zA)^\top`; the second contributes :math:`\lambda\, \mathrm{sign}(z_k)` where
    :math:`z_k \ne 0`, and anything between :math:`-\lambda` and :math:`\lambda` where :math:`z_k =
    0`. So what is left of :math:`x` correlates with no atom more than the penalty, and with those
    in use exactly as much, with the sign of their share.

    No other code fulfils this, whatever method found it, and no solver is needed to see it: the
    conditions are the oracle. The tolerance is what an error of a solver's size in the code does
    to :math:`c`. Half the shrinkage, a hard threshold, too few sweeps and a refit without the
    penalty all leave the wrong remainder.""",
    sentence=("leaves a remainder that correlates as much as the penalty with the atoms in use"),
    assumptions={
        "the penalty is convex": (
            "with a count of nonzero entries as the penalty, atoms in use correlate with "
            "the remainder not at all, and many codes are local minima"
        ),
    },
)
@given(
    drawn=stratified(
        [*problems().genspec_strata, *problems((1e-3, 0.02), ("few", "many")).genspec_strata]
    )
)
def test_what_is_left_correlates_as_much_as_the_penalty_with_the_atoms_in_use(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Any]
) -> None:
    penalty = drawn["penalty"]
    z, x, atoms = _wide(subject(*drawn.values()), drawn["x"], drawn["dictionary"])
    off = _accuracy(dtype, z, atoms)
    left = (x - z @ atoms) @ atoms.mT
    slack = off * (atoms @ atoms.mT).abs().sum(-1) + rounding(dtype, length=8) * left.abs().max()
    check.at_most(
        left.abs(), penalty, slack.expand_as(left),
        f"the correlation of the remainder with each atom (the penalty is {penalty:.6g})",
    )  # fmt: skip
    used = z.abs() > 2 * off
    check.close(
        left[used], penalty * z.sign()[used], slack.expand_as(left)[used],
        "the correlation of the remainder with an atom in use, against the penalty with its sign,",
    )  # fmt: skip


@st.composite
def _orthogonal(draw: st.DrawFn, atoms: int, dims: int, lengths: str) -> dict[str, Any]:
    """Atoms at right angles, of length one or of several."""
    q = torch.linalg.qr(draw(normals((dims, dims)))).Q[:atoms]
    if lengths == "several":
        q = q * torch.linspace(0.5, 2.5, atoms, dtype=torch.float64)[:, None]
    x = draw(normals((draw(st.sampled_from([1, 3])), dims), scale=2.0))
    penalty = draw(st.floats(0.1, 0.9)) * float(lambda_max(x, q).max())
    return {"x": x, "dictionary": q, "penalty": max(penalty, 0.01)}


@claim(
    "sparse_code.soft_threshold",
    r"A A^\top = \mathrm{diag}(\ell^2) \;\Rightarrow\; z_k = \mathrm{sign}(a_k \cdot x)\,"
    r"\frac{\max(|a_k \cdot x| - \lambda, 0)}{\ell_k^2}",
    sources=[f"{TIBSHIRANI}, §2.2"],
    why=r"""At right angles atoms do not compete: :math:`\|zA\|^2 = \sum_k \ell_k^2 z_k^2`, where
    :math:`\ell_k` is the length of atom :math:`a_k`, and the objective falls apart into one
    parabola with a kink for each,

    .. math::

        \tfrac12 \ell_k^2 z_k^2 - (a_k \cdot x)\, z_k + \lambda |z_k| + \text{const}.

    For :math:`z_k > 0` the slope is :math:`\ell_k^2 z_k - a_k \cdot x + \lambda`, which vanishes
    at the stated value if :math:`a_k \cdot x > \lambda`; mirrored for :math:`z_k < 0`; otherwise
    the minimum is the kink. What is weak is dropped, and what is kept is shrunk by the penalty.

    The test draws atoms at right angles, fewer than or as many as dimensions, of length one or of
    several, so that code that divides by the wrong power of the length, or scales atoms to length
    one, is seen.""",
    assumptions={
        "the atoms are at right angles": (
            r"for two equal atoms of length one, :math:`a \cdot x = 1` and :math:`\lambda "
            r"= \tfrac12` the formula says (½, ½), which rebuilds all of the projection; "
            "the minimisers share ½ in all"
        ),
    },
)
@given(
    drawn=stratified(
        [
            _orthogonal(atoms, dims, lengths)
            for atoms, dims in ((4, 4), (2, 5), (1, 3))
            for lengths in ("one", "several")
        ]
    )
)
def test_shrinks_each_projection_by_the_penalty_where_atoms_are_orthogonal(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Any]
) -> None:
    z, x, atoms = _wide(subject(*drawn.values()), drawn["x"], drawn["dictionary"])
    along, lengths = x @ atoms.mT, atoms.square().sum(-1)
    expected = along.sign() * (along.abs() - drawn["penalty"]).clamp_min(0) / lengths
    size = max(float(expected.abs().max()), 1.0)
    check.close(z, expected, guarded(dtype, length=8, scale=size), "the code, by item and atom,")


@claim(
    "sparse_code.zero_above_lambda_max",
    r"z = 0 \iff \lambda \ge \max_k |a_k \cdot x|",
    sources=[TIBSHIRANI, "the conditions of sparse_code.kkt at z = 0"],
    why=r"""At :math:`z = 0` the remainder is :math:`x` itself, and the conditions of ``sparse_code.kkt``
    read :math:`|a_k \cdot x| \le \lambda` for all :math:`k`. If they hold, using no atom is best;
    if one fails, it is not, because a small step along this atom gains :math:`|a_k \cdot x|` for
    each unit and costs :math:`\lambda`. So the largest correlation is the end of the range of
    penalties worth trying.

    The test stands a little beyond this value, where the code must be zero, and below it, where
    the code must be of a certain size: it has to take :math:`|a_k \cdot x| - \lambda` away from
    the strongest correlation, and each unit of :math:`\|z\|_1` takes at most the largest entry of
    :math:`A A^\top`. An error divided by the dimensions, or a code without negative shares, moves
    the threshold.""",
    sentence="is zero just where no atom outweighs the penalty",
    assumptions={
        "the squared error is halved": r"with the full square the threshold is :math:`2 \max_k |a_k \cdot x|`",
    },
)
@given(drawn=problems(), share=stratified([st.floats(1.01, 3.0), st.floats(0.3, 0.95)]))
def test_code_is_zero_just_where_no_atom_outweighs_the_penalty(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Any], share: float
) -> None:
    x, dictionary = drawn["x"], drawn["dictionary"]
    largest = lambda_max(x, dictionary)
    strongest = int(largest.argmax())
    penalty = share * float(largest[strongest])
    z = subject(x, dictionary, penalty).detach()
    off = guarded(dtype)
    if share > 1:
        check.close(
            z, torch.zeros_like(z), off, f"the code at {share:.3g} times the largest penalty"
        )
        return
    spare = (1 - share) * float(largest[strongest])  # the correlation that z must take away
    gram = float((dictionary @ dictionary.mT).abs().max())
    check.at_least(
        z[strongest].abs().sum(), spare / gram, 10 * off * len(dictionary),
        f"the code's size at {share:.3g} times the penalty from which on it is zero",
    )  # fmt: skip


@claim(
    "sparse_code.penalty_path",
    r"\lambda < \lambda' \;\Rightarrow\; \|z_\lambda\|_1 \ge \|z_{\lambda'}\|_1, \quad "
    r"\|x - z_\lambda A\| \le \|x - z_{\lambda'} A\|",
    sources=[TIBSHIRANI, LECTURE],
    why=r"""Write :math:`E` and :math:`S` for the halved squared error and the size :math:`\|z\|_1` at
    :math:`\lambda`, and :math:`E'`, :math:`S'` at :math:`\lambda' > \lambda`. Each code is no
    worse than the other under its own penalty:

    .. math::

        E + \lambda S \le E' + \lambda S', \qquad E' + \lambda' S' \le E + \lambda' S.

    Added up this leaves :math:`(\lambda' - \lambda)(S' - S) \le 0`, so :math:`S' \le S`; and then
    the first inequality gives :math:`E \le E' - \lambda (S - S') \le E'`. A larger penalty buys a
    smaller code, and pays with a worse reconstruction. The argument needs minimisers only, no
    convexity.

    The subject is compared with itself at two penalties. One that takes the parameter for its
    reciprocal, as some libraries do, runs along the path backwards.""",
    assumptions={
        "both codes are minimisers": (
            "a descent that stops early may leave more in use at the larger penalty than "
            "at the smaller"
        ),
        "the whole code is measured": (
            "of the atoms (1, 0, 0), (0, 1, 0) and (0.7, 0.7, 0.14) the code of (1, 1, 0) "
            r"uses only the third at :math:`\lambda = 1.2`, and hardly any of it as "
            r":math:`\lambda \to 0`"
        ),
    },
    sentence="gets smaller and rebuilds worse as the penalty grows",
)
@given(drawn=problems((0.05, 0.5)), factor=st.floats(1.1, 3.0))
def test_larger_penalty_gives_a_smaller_code_and_a_worse_reconstruction(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Any], factor: float
) -> None:
    x, dictionary, penalty = drawn.values()
    found = [subject(x, dictionary, penalty * scale) for scale in (1.0, factor)]
    (small, large), (points, atoms) = _wide(*found), _wide(x, dictionary)
    off = 2 * len(atoms) * _accuracy(dtype, small, atoms)
    check.at_most(
        large.abs().sum(-1), small.abs().sum(-1), off,
        f"the size of the code when the penalty grows by a factor {factor:.3g}",
    )  # fmt: skip
    errors = [(points - z @ atoms).norm(dim=-1) for z in (small, large)]
    check.at_least(
        errors[1], errors[0], off * float(atoms.norm(dim=-1).max()),
        f"the error when the penalty grows by a factor {factor:.3g}",
    )  # fmt: skip
