r"""Claims about the cycle-consistency loss: what it is, when it vanishes, and whom it teaches."""

from __future__ import annotations

import math
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spec_tests import check
from spec_tests.contracts.cycle import DOMAINS, AffineFunction, AffineMap, cycles, matrices
from spec_tests.handle import Handle
from spec_tests.judge import stratified
from spec_tests.numerics import gradients
from spec_tests.registry import claim
from spec_tests.strategies import normals
from spec_tests.tolerance import guarded, rounding

ZHU = "Zhu et al. 2017, 'Unpaired Image-to-Image Translation'"
LECTURE = "CS182 2021 L19, 'Generative Adversarial Networks'"


def _cycle(there: Any, back: Any, x: Tensor) -> Tensor:
    """The mean absolute error of one journey."""
    apart: Tensor = back(there(x)) - x
    return torch.where(apart < 0, -apart, apart).sum() / apart.numel()


def _room(dtype: torch.dtype, drawn: dict[str, Any]) -> float:
    size = max(float(drawn[name].detach().abs().max()) for name in ("x", "y"))
    return rounding(dtype, length=64, scale=max(size, 1.0))


@claim(
    "cycle_consistency_loss.matches_definition",
    r"L(G, F) = \overline{|F(G(x)) - x|} + \overline{|G(F(y)) - y|}",
    sources=[f"{ZHU}, equation 2", "contracts.md, cycle_consistency_loss"],
    why="""A definition, of which each part has its reason. There are no pairs to compare
    with, but a translation that loses nothing can be undone: :math:`F(G(x))` should be x, and
    :math:`G(F(y))` should be y. The bars are means over all numbers of a batch. The error is
    absolute, not squared: the value that squares prefer between two possible pixels is their
    mean, a blur, while absolute errors prefer a median. And each journey has its own mean, for
    batches and domains may differ in size: pooled into one, the larger would outweigh the other.

    The oracle writes the sum out with a case distinction for the sign, on affine, smooth and
    otherwise drawn maps between domains of several shapes.""",
    assumptions={
        "absolute values, not squares": (
            "an error of 3 at one pixel of four costs 0.75 by this loss, and 2.25 by a mean of "
            "squares"
        ),
    },
)
@given(drawn=cycles())
def test_is_the_sum_of_the_two_mean_absolute_errors(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Any]
) -> None:
    there, back, x, y = drawn.values()
    expected = _cycle(there, back, x) + _cycle(back, there, y)
    found = subject(there, back, x, y)
    check.close(found, expected, guarded(dtype, scale=float(expected.detach())), "the loss")


@st.composite
def _inverses(draw: st.DrawFn, domain: tuple[Any, Any], function: bool) -> dict[str, Any]:
    """Maps that undo each other, between domains of one size."""
    here, there = domain
    size = math.prod(here)
    matrix, bias = draw(matrices(size, size)), draw(normals((size,)))
    make = AffineFunction if function else AffineMap
    n, m = draw(st.sampled_from([(1, 3), (4, 2)]))
    return {
        "x_to_y": make(matrix, bias, there),
        "y_to_x": make(matrix.mT.contiguous(), -bias @ matrix, here),
        "x": draw(normals((n, *here))),
        "y": draw(normals((m, *there))),
    }


INVERSES = stratified(
    [
        _inverses(domain, function)
        for domain in DOMAINS
        if math.prod(domain[0]) == math.prod(domain[1])
        for function in (False, True)
    ]
)


@claim(
    "cycle_consistency_loss.zero_iff_inverse",
    r"L(G, F) = 0 \iff F \circ G = \mathrm{id} \text{ on } x,\ G \circ F = \mathrm{id} \text{ on } y",
    sources=[f"{ZHU}, §3.2", LECTURE],
    why=r"""A mean of absolute values vanishes only with all of them, so L = 0 says that every
    x of the batch comes home, and every y; the converse is plain. How far the points travel in
    between costs nothing.

    The test builds :math:`G(x) = A x + b` with an orthogonal A and :math:`F(y) = A^\top (y - b)`,
    which undo each other exactly. Then F is moved by a number c in each coordinate:

    .. math::

        F(G(x)) - x = c\, \mathbf 1, \qquad G(F(y)) - y = c\, A \mathbf 1,

    so that the loss is |c| and the mean of :math:`|c\, A \mathbf 1|`, in closed form and without
    running the maps.""",
    assumptions={
        "x and y are the points that were drawn": (
            "with G the identity and F(y) = |y| the loss is 0 on any positive batch, and F "
            "inverts nothing at -1"
        ),
        "both journeys count": (
            "for G(x) = (x, 0) and F(y) = y_1 every x comes home, and y = (0, 1) does not"
        ),
    },
)
@given(drawn=INVERSES, offset=st.sampled_from([0.0, 0.01, -0.5, 3.0]))
def test_is_zero_for_inverse_maps_and_counts_what_is_missing(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Any], offset: float
) -> None:
    there, back, x, y = drawn.values()

    def beside(codes: Tensor) -> Tensor:
        return back(codes) + offset  # type: ignore[no-any-return]

    step = torch.full_like(x[:1], offset).flatten(1) @ there.matrix.mT
    expected = abs(offset) + step.detach().abs().mean()
    found = subject(there, back if offset == 0.0 else beside, x, y)
    where = "exact inverses" if offset == 0.0 else f"inverses of which one is off by {offset}"
    room = _room(dtype, drawn) + guarded(dtype, scale=float(expected))
    check.close(found, expected, room, f"the loss of {where}")


@st.composite
def _one_way(draw: st.DrawFn, x_is_small: bool) -> dict[str, Any]:
    """A small domain that fits into a large one and comes back unharmed; the large one does not."""
    small, large = draw(st.sampled_from([((2,), (5,)), ((1,), (2, 2)), ((3,), (4,))]))
    matrix = draw(matrices(math.prod(large), math.prod(small)))
    up = AffineMap(matrix, torch.zeros(math.prod(large)).double(), large)
    down = AffineMap(matrix.mT.contiguous(), torch.zeros(math.prod(small)).double(), small)
    n, m = draw(st.sampled_from([(1, 4), (3, 2)]))
    few, many = draw(normals((n, *small), scale=2.0)), draw(normals((m, *large), scale=2.0))
    if x_is_small:
        return {"x_to_y": up, "y_to_x": down, "x": few, "y": many}
    return {"x_to_y": down, "y_to_x": up, "x": many, "y": few}


@claim(
    "cycle_consistency_loss.both_directions_count",
    r"F \circ G = \mathrm{id} \;\Rightarrow\; L = \overline{|G(F(y)) - y|}, \qquad "
    r"G \circ F = \mathrm{id} \;\Rightarrow\; L = \overline{|F(G(x)) - x|}",
    sources=[f"{ZHU}, equation 2 and Table 4 (one direction alone)"],
    why=r"""Let G embed a small domain in a larger one by a matrix with orthonormal columns,
    :math:`G(x) = Q x`, and let F project back, :math:`F(y) = Q^\top y`. Then

    .. math::

        F(G(x)) = Q^\top Q x = x, \qquad G(F(y)) - y = -(I - Q Q^\top)\, y,

    which is the part of y outside of G's images, and not zero where the domain is larger. One
    cycle alone is content here: it says nothing of what F does away from those images, and in the
    paper's comparison training with one direction lets a map collapse.

    The test draws such a pair in either role. The perfect journey contributes rounding, and the
    loss must be the mean absolute error of the other, computed by itself.""",
    assumptions={
        "one journey is perfect": (
            "if both miss something the loss is the sum of two errors, and not one of them"
        ),
    },
)
@given(drawn=stratified([_one_way(True), _one_way(False)]))
def test_counts_the_lossy_direction_when_the_other_is_perfect(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Any]
) -> None:
    there, back, x, y = drawn.values()
    lossy = "y" if x.flatten(1).shape[1] < y.flatten(1).shape[1] else "x"
    expected = _cycle(back, there, y) if lossy == "y" else _cycle(there, back, x)
    check.close(
        subject(there, back, x, y), expected, _room(dtype, drawn) + guarded(dtype),
        f"the loss, of which all is due to the cycle of {lossy},",
    )  # fmt: skip


@claim(
    "cycle_consistency_loss.symmetric_in_roles",
    r"L(G, F; x, y) = L(F, G; y, x)",
    sources=[f"{ZHU}, equation 2"],
    why="""Exchange (G, x) with (F, y) in the definition, and its two terms change places; a
    sum does not mind. So neither domain is the first: whoever calls them x and y the other way
    round asks for the same number.

    An implementation can miss this by leaving out a cycle, by weighing the two differently, or
    by taking one error squared, and still train without a sign of it. The test asks for both numbers on the same drawn maps and compares
    them up to rounding; no oracle is needed, and the claim holds for any weight that both cycles
    share.""",
    assumptions={
        "both cycles have one weight": (
            "with weights 10 and 5, as some code has them, errors of 1 and 2 give 20, and 25 "
            "with the roles exchanged"
        ),
    },
)
@given(drawn=cycles())
def test_exchanging_the_domains_changes_nothing(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Any]
) -> None:
    there, back, x, y = drawn.values()
    one, other = subject(there, back, x, y), subject(back, there, y, x)
    size = max(float(one.detach().abs()), 1.0)
    check.close(
        other, one.detach(), rounding(dtype, length=64, scale=size), "the loss, roles exchanged,"
    )


@claim(
    "cycle_consistency_loss.batches_are_averaged",
    r"L(G, F; x \oplus x, y) = L(G, F; x, y \oplus y \oplus y) = L(G, F; x, y)",
    sources=["contracts.md, conventions"],
    why=r"""Each cycle is a mean over its own batch, and a mean over a batch that is repeated
    k times is

    .. math::

        \frac{1}{k n} \sum_{j=1}^k \sum_{i=1}^n e_i = \frac1n \sum_{i=1}^n e_i,

    with e the mean absolute errors of the items. Nothing pairs the two batches, which may differ
    in size: showing the same images twice, in either domain, is the same question. With a sum the
    weight :math:`\lambda` of the loss would mean another thing at each batch size; with one mean
    over both batches the larger would outweigh the other.

    The test repeats x twice, and y three times, each alone (:math:`\oplus` puts batches
    together), and compares with the loss before.""",
    assumptions={
        "the maps treat items one by one": (
            "a map that adds the sum of the batch to every item adds twice as much when the "
            "batch is repeated"
        ),
    },
)
@given(drawn=cycles())
def test_repeating_a_batch_changes_nothing(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Any]
) -> None:
    there, back, x, y = drawn.values()
    base = subject(there, back, x, y).detach()
    room = rounding(dtype, length=64, scale=max(float(base.abs()), 1.0))
    check.close(subject(there, back, torch.cat([x, x]), y), base, room, "the loss with x repeated")
    check.close(subject(there, back, x, torch.cat([y] * 3)), base, room, "the loss with y repeated")


@claim(
    "cycle_consistency_loss.gradient_reaches_both",
    r"\nabla_{G} L = \nabla_G \overline{|F(G(x)) - x|} + \nabla_G \overline{|G(F(y)) - y|} \ne 0, "
    r"\quad \text{and so for } F",
    sources=[f"{ZHU}, equations 2 and 3", LECTURE],
    why=r"""Each map appears in both cycles, once as the way out and once as the way back, and
    by the chain rule its gradient is a sum of two parts. In the first cycle of scalar maps, with
    s the sign of :math:`F(G(x)) - x`,

    .. math::

        \partial_G \text{ part} = s\, F'(G(x))\, \delta G(x), \qquad \partial_F \text{ part} = s\, \delta
        F(G(x)),

    where :math:`\delta` is the change of a map with its parameters. Detaching the translated
    batch, as is right in the discriminator's step, takes the first part away: the way out is no
    longer told where it should have gone.

    The oracle differentiates the definition written out, and compares the gradients in every
    parameter of both maps; a missing part shows, and not only a missing gradient.""",
    assumptions={
        "no error is exactly zero": (
            "where F(G(x)) = x the absolute value has a kink, and any slope in [-1, 1] is a "
            "subgradient"
        ),
    },
)
@given(drawn=cycles(kinds=("smooth", "affine")))
def test_both_maps_learn_from_both_cycles(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Any]
) -> None:
    subject.needs_gradients()
    there, back, x, y = drawn.values()
    for name, module in (("x_to_y", there), ("y_to_x", back)):
        parameters = [p for p in module.parameters() if p.requires_grad]
        wanted = gradients(_cycle(there, back, x) + _cycle(back, there, y), parameters)
        found = gradients(subject(there, back, x, y), parameters, what="loss")
        size = max(max(float(g.abs().max()) for g in wanted), 1.0)
        for one, other in zip(found, wanted, strict=True):
            check.close(
                one,
                other,
                guarded(dtype, length=64, scale=size),
                f"the gradient in {name}'s parameters",
            )


@claim(
    "cycle_consistency_loss.leaves_what_maps_hand_back",
    r"G = F = \mathrm{id} \;\Rightarrow\; L(G, F) = 0 \text{ and } x, y \text{ stay as they are}",
    sources=["contracts.md, cycle_consistency_loss"],
    why=r"""The identity undoes itself, so no journey misses anything. What it returns is the caller's
    own tensor, and so is what a map that only reshapes returns. A loss that writes its difference
    into the reconstruction, to save memory, then writes zeros into the batch, and the rest of the
    training step goes on with black images. The identity is no corner case: it is what residual
    translators are initialised to, and what an identity loss asks for.""",
    assumptions={
        "both domains have items of one shape": "the identity is no map from vectors of 2 numbers "
        "to vectors of 5, and nothing is said"
    },
)
@given(x=normals((3, 2, 2)), y=normals((2, 2, 2)))
def test_identity_maps_cost_nothing_and_their_batches_are_left_alone(
    subject: Handle, device: str, dtype: torch.dtype, x: Tensor, y: Tensor
) -> None:
    kept = x.clone(), y.clone()
    found = subject(torch.nn.Identity(), torch.nn.Identity(), x, y)
    check.close(found, torch.zeros_like(found), guarded(dtype), "the loss of identity maps")
    for name, now, before in zip("xy", (x, y), kept, strict=True):
        check.equal(now, before, f"{name} after the call, which its map handed back,")
