r"""Adversarial training: weights that are clipped to a box after every step."""

from __future__ import annotations

import copy
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from spec_tests import check
from spec_tests.contracts.normalisable_layers import (
    networks,
)
from spec_tests.handle import Handle
from spec_tests.judge import stratified
from spec_tests.registry import claim
from spec_tests.tolerance import rounding

WGAN = "Arjovsky, Chintala, Bottou 2017, 'Wasserstein GAN'"
LECTURE = "CS182 2021 L19"


def clippings(makes: tuple[str, ...] = ("patchwork", "layer", "sequence", "empty")) -> Any:
    """Modules and bounds, from far below the weights to far above."""
    bounds = st.sampled_from([1e-6, 0.01, 0.3, 2.0, 1e6])
    return stratified([st.tuples(networks(make), bounds) for make in makes])


def _clip(subject: Handle, module: nn.Module, bound: float) -> None:
    result = subject(module, bound)
    check.that(result is None, f"clip_weights returned {type(result).__name__}, expected None")


def _copies(tensors: Any) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors}


@claim(
    "clip_weights.in_range",
    r"\theta \leftarrow \max(-c, \min(c, \theta)) \text{ for every entry } \theta "
    r"\text{ of every parameter}",
    sources=[f"{WGAN}, Algorithm 1, line 7", f"{LECTURE}, 'Wasserstein GAN'"],
    why=r"""The nearest point of the interval :math:`[-c, c]` is :math:`\theta` itself if it lies
    inside, and otherwise the end on its own side; entry by entry this is the nearest point of the
    box, in the Euclidean norm and in every other that grows with each entry's distance. Scaling a
    tensor down, clipping its norm or zeroing what sticks out also bound the weights, and give other
    weights.

    "Every parameter" is where code goes wrong, since the bound on the slope
    (``theory.clipping_bounds_slope``) is a product over all layers: one that is passed over voids
    it. The test's patchwork has parameters of its own, one without dimensions, a list, nested
    layers, batch normalisation, a weight that two layers share, and a frozen one. Copies made
    before the call, clamped, are the oracle; the bounds run from far below the weights to far
    above.
    """,
    assumptions={
        "c is positive": "for c = 0 every parameter becomes zero, and for c < 0 the box is empty",
    },
    sentence="moves every parameter to the nearest point of the box",
)
@given(case=clippings())
def test_every_parameter_moves_to_the_nearest_point_of_the_box(
    subject: Handle, device: str, dtype: torch.dtype, case: tuple[nn.Module, float]
) -> None:
    module, bound = case
    before = _copies(module.named_parameters())
    _clip(subject, module, bound)
    after = dict(module.named_parameters())
    check.that(list(after) == list(before), f"the parameters {list(before)} became {list(after)}")
    for name, old in before.items():
        check.close(
            after[name],
            old.clamp(-bound, bound),
            rounding(dtype, scale=min(bound, 1e3)),
            f"{name}, clipped to [-{bound}, {bound}],",
        )


@claim(
    "clip_weights.idempotent",
    r"\text{clip}_c \circ \text{clip}_c = \text{clip}_c, \qquad "
    r"\text{clip}_a \circ \text{clip}_b = \text{clip}_{\min(a, b)}, \qquad a, b, c > 0",
    sources=[f"{WGAN}, Algorithm 1, line 7"],
    why=r"""Clipping is a projection: what lies in the box is its own nearest point, so a second
    clipping finds nothing to do. For two bounds, let :math:`a \le b`. An entry outside the larger
    box goes to its end on the same side, then to that of the smaller one; an entry between the two
    goes to the end of the smaller; one inside stays. The order does not matter, and the smaller
    bound decides.

    Both laws hold bit for bit, since the ends are the same floating-point numbers every time, so
    the test compares without tolerance, and needs no oracle: the subject is compared with itself. A
    smooth squashing such as :math:`c \tanh(\theta / c)` lands in the box too, and moves every
    weight again at every call, which over thousands of steps pulls a critic's weights to zero.
    """,
    assumptions={
        "the sets are boxes, so that each entry goes its own way": (
            "projections onto the lines y = 0 and y = x take (0, 1) to (0, 0) in this order, "
            "and to (1/2, 0) in the other"
        ),
    },
    sentence="clips twice as it clips once",
)
@given(case=clippings(("patchwork", "layer", "sequence")), wider=st.sampled_from([1.0, 3.0]))
def test_clipping_twice_is_clipping_once(
    subject: Handle, device: str, dtype: torch.dtype, case: tuple[nn.Module, float], wider: float
) -> None:
    module, bound = case
    other = copy.deepcopy(module)
    _clip(subject, module, bound)
    once = _copies(module.named_parameters())
    _clip(subject, module, wider * bound)
    for name, parameter in module.named_parameters():
        check.equal(parameter.detach(), once[name], f"{name} after a second clipping")
    _clip(subject, other, wider * bound)
    _clip(subject, other, bound)
    for name, parameter in other.named_parameters():
        check.equal(
            parameter.detach(), once[name], f"{name}, clipped to {wider * bound}, then {bound},"
        )


@claim(
    "clip_weights.leaves_small_weights_alone",
    r"|\theta| \le c \;\Rightarrow\; \theta \text{ stays as it is, whatever its neighbours do}",
    sources=[f"{WGAN}, Algorithm 1, line 7"],
    why="""A point of the box is its own nearest point, and the box is a product of intervals:
    whether an entry moves depends on that entry alone. A tensor that is scaled until its largest
    entry or its norm fits shrinks its small entries along with the large ones; applied after every
    step of training, that is a strong weight decay which nobody asked for.

    No rounding is involved in keeping a number, so the comparison is bit for bit. The test clips
    first with the largest magnitude that occurs, which must change nothing at all, not even the
    entry that lies on the boundary; then with its own bound, and looks at the entries within 0.999
    of it, next to others that are clipped. The oracle is a copy made before the call.
    """,
    assumptions={
        "the bound can be written in the weights' precision": (
            "0.1 rounds up in float32, so that a float32 weight may exceed the float64 bound by "
            "a rounding; the test keeps away from it by 0.1 per cent"
        ),
    },
    sentence="leaves weights within the bound as they are, bit for bit",
)
@given(case=clippings(("patchwork", "layer", "sequence")))
def test_weights_within_the_bound_stay_bit_for_bit(
    subject: Handle, device: str, dtype: torch.dtype, case: tuple[nn.Module, float]
) -> None:
    module, bound = case
    before = _copies(module.named_parameters())
    widest = max(float(value.abs().max()) for value in before.values())
    _clip(subject, module, widest)
    for name, parameter in module.named_parameters():
        check.equal(parameter.detach(), before[name], f"{name}, with a bound that nothing exceeds,")
    _clip(subject, module, bound)
    for name, parameter in module.named_parameters():
        inside = before[name].abs() <= 0.999 * bound
        check.equal(
            parameter.detach()[inside],
            before[name][inside],
            f"the entries of {name} that lie within {bound}",
        )


@claim(
    "clip_weights.leaves_buffers_alone",
    r"\text{buffers and the mode of every module stay as they are}",
    sources=["contracts.md, clip_weights", f"{WGAN}, Algorithm 1, line 7"],
    why="""Clipping bounds what is trained, and buffers are not: the running mean and variance of
    batch normalisation are estimates of the data's statistics. Clamped to 0.01, as all tensors of a
    state dict would be, a running variance of 1 becomes 0.01, and a network in eval mode divides by
    0.1 in place of 1: its outputs are ten times too large, while in training mode, where the
    batch's own statistics are used, nothing is seen. A counter of batches, an integer, would become
    zero or raise an error.

    The test's module has batch normalisation, a buffer that looks like a weight, and one that is
    not saved. Copies made before the call are the oracle, compared bit for bit and by name; and
    every submodule must stay in the mode, training or eval, in which it was.
    """,
    sentence="leaves buffers and modes as they are",
)
@given(case=clippings(("patchwork",)), training=st.booleans())
def test_buffers_and_modes_stay_as_they_are(
    subject: Handle, device: str, dtype: torch.dtype, case: tuple[nn.Module, float], training: bool
) -> None:
    module, bound = case
    module.train(training)
    before = _copies(module.named_buffers())
    _clip(subject, module, bound)
    after = dict(module.named_buffers())
    check.that(list(after) == list(before), f"the buffers {list(before)} became {list(after)}")
    for name, old in before.items():
        check.equal(after[name], old, f"the buffer {name}, after clipping to {bound},")
    check.that(
        all(m.training == training for m in module.modules()), "clipping changed the module's mode"
    )


@claim(
    "clip_weights.keeps_the_parameters",
    r"\theta \text{ is the same Parameter, with its } \texttt{.grad} \text{ and } "
    r"\texttt{requires\_grad}",
    sources=["contracts.md, clip_weights: in place", f"{WGAN}, Algorithm 1, line 7"],
    why="""An optimiser holds references to the Parameter objects, with its momenta filed under
    them. If clipping puts new Parameters into the module, the optimiser goes on to train the old
    ones, which nobody uses: the loss stops moving, and no error is raised. For the same reason a
    weight that two layers share must stay one object, a frozen parameter frozen, and each a leaf of
    autograd's graph; a ``.grad`` that has been computed must survive for whoever reads it next.

    The test checks these on the objects themselves: identity by name, shared names included,
    ``requires_grad``, being a leaf, and ``.grad``, which it sets to 0.5 before. Then comes the
    consequence: a step of an optimiser that was made before the clipping must move every trainable
    parameter of the module as it is now.
    """,
    sentence="changes the parameters in place",
)
@given(case=clippings(("patchwork", "layer", "sequence")))
def test_the_parameters_are_changed_in_place(
    subject: Handle, device: str, dtype: torch.dtype, case: tuple[nn.Module, float]
) -> None:
    module, bound = case
    before = dict(module.named_parameters(remove_duplicate=False))
    flags = {name: p.requires_grad for name, p in before.items()}
    for p in before.values():
        p.grad = torch.full_like(p, 0.5)
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=bound)
    _clip(subject, module, bound)
    after = dict(module.named_parameters(remove_duplicate=False))
    for name, p in before.items():
        check.that(after.get(name) is p, f"{name} is another Parameter now: optimisers lose it")
        check.that(p.requires_grad == flags[name], f"clipping changed requires_grad of {name}")
        check.that(
            p.is_leaf and p.grad_fn is None, f"{name} is no leaf of autograd's graph any more"
        )
        check.that(
            p.grad is not None and bool((p.grad == 0.5).all()),
            f"clipping changed the .grad of {name}",
        )
    old = _copies(after.items())
    optimizer.step()
    moved = {name for name, p in after.items() if not torch.equal(p.detach(), old[name])}
    still = {name for name in after if flags[name]} - moved
    check.that(not still, f"an optimiser made before the clipping does not move {sorted(still)}")
