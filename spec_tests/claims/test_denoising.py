r"""Claims about the denoising loss: what the denoiser is shown, and what it is compared with."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spec_tests import check
from spec_tests.contracts.denoising import SHAPES, tasks
from spec_tests.handle import Handle
from spec_tests.judge import stratified
from spec_tests.numerics import gradients
from spec_tests.registry import claim
from spec_tests.strategies import integers_below, normals
from spec_tests.tolerance import rounding

VINCENT = (
    "Vincent et al. 2008, 'Extracting and Composing Robust Features with Denoising Autoencoders'"
)
LECTURE = "CS182 2021 L17, 'Generative Modeling'"


def _room(dtype: torch.dtype, expected: Tensor) -> float:
    return rounding(dtype, length=16, scale=max(float(expected.detach().abs().max()), 1.0))


def _loss(rebuilt: Tensor, target: Tensor) -> Tensor:
    """Squares summed over D, averaged over N, one item after the other."""
    total = sum(((a - b) @ (a - b) for a, b in zip(rebuilt, target, strict=True)))
    return torch.as_tensor(total) / len(target)


@claim(
    "denoising_loss.matches_definition",
    r"L = \frac1N \sum_{i=1}^N \bigl\| r(x_i + \epsilon_i) - x_i \bigr\|^2",
    sources=[VINCENT, "contracts.md, denoising_loss"],
    why=r"""The contract fixes the scale: items are averaged, so that the size of a batch does not set the
    length of a step; dimensions are summed, as in minus the log-density of a Gaussian, up to its
    factor :math:`1 / 2\sigma^2`. The denoiser sees the point with its own noise added, once and as
    given.

    What breaks otherwise is comparison. A mean over dimensions as well, as ``mse_loss`` takes it,
    is smaller by :math:`D`, so that no learning rate, and no weight against another term, carries
    over; a norm that is not squared is minimised by another denoiser, a median in place of the
    posterior mean. The oracle adds up scalar products, one item after the other, for linear and
    curved denoisers and several sizes of batch and point.""",
    assumptions={
        "the error is squared": (
            "of clean points 0, 0 and 9 behind one noisy point the squared error is least "
            "at 3, the distance at 0"
        ),
    },
)
@given(drawn=tasks())
def test_is_the_mean_squared_distance_of_the_denoised_from_the_clean_points(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Any]
) -> None:
    denoiser, clean, noise = drawn.values()
    expected = _loss(denoiser(clean + noise), clean)
    check.close(subject(denoiser, clean, noise), expected, _room(dtype, expected), "the loss")


@st.composite
def _lattices(draw: st.DrawFn, shape: tuple[int, int]) -> dict[str, Tensor]:
    """Whole numbers, and noise that does not reach the next one."""
    clean = draw(integers_below(9, shape)).double() - 4
    return {"clean": clean, "noise": 0.4 * draw(normals(shape)).tanh()}


def _to_the_lattice(x: Tensor) -> Tensor:
    return x.round()


def _as_it_is(x: Tensor) -> Tensor:
    return x


@claim(
    "denoising_loss.target_is_clean",
    r"r(x + \epsilon) = x \;\Rightarrow\; L = 0, \qquad r = \mathrm{id} \;\Rightarrow\; L = "
    r"\overline{\|\epsilon\|^2}",
    sources=[VINCENT, LECTURE],
    why=r"""If :math:`r(x + \epsilon) = x` every term of the loss is zero; if :math:`r` is the identity
    each is :math:`\|x + \epsilon - x\|^2 = \|\epsilon\|^2`. The two cases tell the possible
    targets apart without looking inside. The loss of an ordinary autoencoder, whose target is its
    input, has it the other way round: it rewards copying, noise and all. One that asks for the
    noise, as diffusion models do, charges both.

    The test needs a perfect denoiser, and has one: clean points are whole numbers and the noise is
    below ½, so that rounding restores them exactly. It must cost nothing, and the identity must
    cost the mean squared length of the noise.""",
    assumptions={
        "the noise can be undone": (
            "for noise of size 1 on whole numbers rounding restores another number, and "
            "the loss is not 0"
        ),
    },
)
@given(drawn=stratified([_lattices(shape) for shape in SHAPES]))
def test_costs_nothing_to_restore_and_the_noise_to_copy(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Tensor]
) -> None:
    clean, noise = drawn.values()
    restored = subject(_to_the_lattice, clean, noise)
    check.close(restored, torch.zeros(()), _room(dtype, clean), "the loss of a perfect denoiser")
    expected = _loss(noise, torch.zeros_like(noise))
    copied = subject(_as_it_is, clean, noise)
    check.close(copied, expected, _room(dtype, clean.square()), "the loss of the identity")


@claim(
    "denoising_loss.denoiser_sees_the_corrupted",
    r"\tilde x = x + \epsilon",
    sources=[VINCENT, "contracts.md, denoising_loss"],
    why="""The noise is an argument of the contract: its size and its kind are the caller's choice,
    Gaussian or masking (``theory.masking_noise_deletes``). If the loss drew noise of its own, or
    scaled or shuffled what it is given, the denoiser would learn another posterior mean than the
    one that is asked for; if it showed the clean point, the answer would be handed over with the
    question, and the identity would be optimal.

    The test watches: the denoiser that it passes writes down each input. What was shown must be
    the sum, each point with its own noise, in every pass over the batch. Noise in reverse order
    has the right distribution, and only this record finds it.""",
    sentence="shows the denoiser each point with its own noise",
    assumptions={
        "the noise is added": r"noise that multiplies, :math:`x (1 + \epsilon)`, leaves what is zero clean",
    },
)
@given(drawn=tasks())
def test_denoiser_is_shown_each_point_with_its_own_noise(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Any]
) -> None:
    denoiser, clean, noise = drawn.values()
    seen: list[Tensor] = []

    def watched(x: Tensor) -> Tensor:
        seen.append(torch.as_tensor(x).detach().clone())
        return denoiser(x)  # type: ignore[no-any-return]

    subject(watched, clean, noise)
    check.that(bool(seen), "the denoiser was never called")
    shown = torch.cat([x.reshape(-1, clean.shape[1]) for x in seen]).to(clean)
    check.that(
        len(shown) % len(clean) == 0,
        f"the denoiser was shown {len(shown)} points, the batch has {len(clean)}",
    )
    for part in shown.split(len(clean)):
        check.close(part, clean + noise, _room(dtype, clean + noise), "what the denoiser was shown")


@claim(
    "denoising_loss.gradient_reaches_denoiser",
    r"r(x) = Wx + b: \quad \nabla_W L = \frac2N \sum_i (r(\tilde x_i) - x_i)\, \tilde x_i^\top, "
    r"\quad \nabla_b L = \frac2N \sum_i (r(\tilde x_i) - x_i)",
    sources=[VINCENT],
    why=r"""For an affine denoiser the loss is a quadratic in :math:`W` and :math:`b`, and by the chain
    rule

    .. math::

        \frac{\partial}{\partial W} \frac1N \sum_i \|W \tilde x_i + b - x_i\|^2
        = \frac2N \sum_i (W \tilde x_i + b - x_i)\, \tilde x_i^\top,

    and the same without :math:`\tilde x_i^\top` for :math:`b`: the regression of the error on what
    was shown. Set to zero these are the normal equations, whose solution is the filter of
    ``theory.linear_denoiser_is_wiener``.

    The loss is there to train the denoiser, so its gradient is judged and not only its value. The
    oracle multiplies matrices, with no automatic differentiation. A loss whose rebuilt points are
    detached is a number to report; halved squares halve every step.""",
    sentence="has the regression of the error as its gradient in an affine denoiser",
    assumptions={
        "the denoiser is affine": (
            r"for :math:`r(x) = \tanh(Wx)` each error is multiplied by the slope of tanh "
            "first"
        ),
    },
)
@given(drawn=tasks(kinds=("linear",)))
def test_gradient_in_an_affine_denoiser_is_the_regression_of_its_error(
    subject: Handle, device: str, dtype: torch.dtype, drawn: dict[str, Any]
) -> None:
    subject.needs_gradients()
    denoiser, clean, noise = drawn.values()
    shown = clean + noise
    error = 2 * (denoiser(shown) - clean).detach() / len(clean)
    found = gradients(
        subject(denoiser, clean, noise), [denoiser.weight, denoiser.bias], what="loss"
    )
    room = rounding(
        dtype, length=32, scale=max(float(error.abs().max() * (1 + shown.abs().max())), 1.0)
    )
    check.close(found[0], error.mT @ shown, room, "the gradient in the weight")
    check.close(found[1], error.sum(0), room, "the gradient in the bias")
