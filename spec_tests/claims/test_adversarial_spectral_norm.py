r"""Adversarial training: layers divided by their largest singular value."""

from __future__ import annotations

import copy
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from spec_tests import check
from spec_tests.contracts.adversarial import normalised, settle
from spec_tests.contracts.normalisable_layers import (
    as_matrix,
    largest,
    layers,
    rank_one_layers,
)
from spec_tests.handle import Handle
from spec_tests.judge import stratified
from spec_tests.numerics import gradients
from spec_tests.registry import Unsupported, claim
from spec_tests.tolerance import guarded, rounding

SN = "Miyato et al. 2018, 'Spectral Normalization for GANs'"
LECTURE = "CS182 2021 L19"


MAKES = (
    "wide",
    "tall",
    "one output",
    "one input",
    "conv",
    "grouped",
    "pointwise",
    "transposed",
    "transposed, fewer outputs",
)


def weighted_layers(makes: tuple[str, ...] = MAKES, gap: float = 0.6) -> Any:
    """Layers of each make, with a batch to run forwards on."""
    return stratified([layers(make, gap) for make in makes])


def _raw(layer: nn.Module, shape: torch.Size) -> nn.Parameter:
    """The trainable parameter behind the weight, whatever it is called."""
    for parameter in layer.parameters():
        if parameter.shape == shape and parameter.requires_grad:
            return parameter
    raise Unsupported("no trainable parameter has the shape of the weight")


def _with_weight(layer: nn.Module, weight: Tensor, x: Tensor) -> Tensor:
    """What the layer as it was handed over computes with another weight."""
    result: Tensor = torch.func.functional_call(layer, {"weight": weight}, (x,))
    return result


def _judge_gradient(subject: Handle, layer: nn.Module, made: nn.Module, x: Tensor) -> None:
    """The gradient in the trainable weight is that of the layer with W / sigma(W), exactly."""
    raw = _raw(made, layer.weight.shape)
    output = subject.guarded(lambda: made(x))
    cotangent = torch.randn_like(output)
    (found,) = gradients((cotangent * output).sum(), [raw], what="normalised layer's output")
    exact = raw.detach().clone().requires_grad_()
    sigma = torch.linalg.matrix_norm(as_matrix(layer, exact), 2)
    loss = (cotangent * _with_weight(layer, exact / sigma, x)).sum()
    (expected,) = torch.autograd.grad(loss, exact)
    allowed = guarded(raw.dtype, length=32) * (float(expected.abs().max()) + 1 / float(sigma))
    check.close(
        found, expected, allowed, "the gradient in the trainable weight, against W / sigma(W),"
    )


@claim(
    "spectral_norm.unit_norm",
    r"\sigma\bigl(W / \sigma(W)\bigr) = 1, \qquad \sigma(W)"
    r" = \max_{\lVert h \rVert_2 \le 1} \lVert W h \rVert_2, \quad W \ne 0",
    sources=[f"{SN}, Equation 8", f"{LECTURE}, 'Spectral norm'"],
    why=r"""The largest singular value is a norm, so a factor comes out: :math:`\sigma(W / c) =
    \sigma(W) / c` for :math:`c > 0`, which is one for :math:`c = \sigma(W)`. Whether
    :math:`\sigma(W)` was above one or below makes no difference: the layer is rescaled to slope
    one, not merely kept from exceeding it.

    The contract lets the layer find :math:`\sigma` by power iteration over its forwards in training
    mode, so the test runs these until the weight moves no more, and takes the singular values of
    ``.weight`` with output channels as rows from a decomposition in double precision. The weights
    are made with known singular values, the largest between 0.001 and 1000 and the others at most
    0.6 of it, so that every step shrinks the other components by a factor of at least
    :math:`0.6^2`. In eval mode the norm must still be one.
    """,
    assumptions={
        "W is not zero": "the zero matrix has no direction, and 0/0 is not a number",
        "the iteration starts off the orthogonal complement of the leading singular vector": (
            "for W = diag(2, 1) started at (0, 1) it stays there, finds 1, and leaves a weight "
            "of norm 2; a random start avoids this with probability one"
        ),
    },
    sentence="makes the largest singular value one",
)
@given(case=weighted_layers())
def test_the_largest_singular_value_becomes_one(
    subject: Handle, device: str, dtype: torch.dtype, case: dict[str, Any]
) -> None:
    layer, x = case["layer"], case["x"]
    original = float(largest(layer, layer.weight))
    made = normalised(subject, layer)
    weight = settle(subject, made, x)
    about = f"(the original's was {original:.6g})"
    check.close(
        largest(layer, weight),
        1.0,
        guarded(dtype, length=16),
        f"the largest singular value after training-mode forwards {about}",
    )
    made.eval()
    subject.guarded(lambda: made(x))
    check.close(
        largest(layer, made.weight),
        1.0,
        guarded(dtype, length=16),  # type: ignore[arg-type]
        f"the largest singular value in eval mode {about}",
    )


@claim(
    "spectral_norm.keeps_direction",
    r"\bar W = W / \sigma(W), \qquad \bar W \text{ acts with the layer's own bias, stride, padding}",
    sources=[f"{SN}, Equation 8"],
    why=r"""Dividing by a number keeps the direction of the weight: all singular values shrink or
    grow by one factor and the singular vectors stay. That is the method, and other maps also reach
    norm one. Clipping the singular values at one, or setting them all to one, changes the matrix;
    dividing by the Frobenius norm keeps the direction and makes the layer flatter than asked for,
    except at rank one; dividing by :math:`\max(1, \sigma)` leaves small weights small. The bias
    shifts the output and does not enter the slope, so it stays as it is.

    The expected weight is :math:`W / \sigma(W)` with :math:`\sigma` from a singular value
    decomposition. The expected output is what the layer as it was handed over computes with that
    weight in place of its own: so the test covers bias, groups and dilation, and strides and
    paddings that differ between height and width, in training and in eval mode.
    """,
    assumptions={
        "the largest singular value stands out from the second": (
            "with a ratio of 0.999 between the two the estimate needs thousands of forwards to "
            "agree to many digits"
        ),
    },
    sentence="divides the weight by one number and keeps the rest of the layer",
)
@given(case=weighted_layers())
def test_the_weight_is_divided_by_one_number_and_the_rest_of_the_layer_is_kept(
    subject: Handle, device: str, dtype: torch.dtype, case: dict[str, Any]
) -> None:
    layer, x = case["layer"], case["x"]
    made = normalised(subject, layer)
    weight = settle(subject, made, x)
    exact = layer.weight.detach() / largest(layer, layer.weight).to(layer.weight)
    check.close(weight, exact, guarded(dtype, length=16), "the normalised weight, W / sigma(W),")
    for mode in (True, False):
        made.train(mode)
        found = subject.guarded(lambda: made(x))
        expected = _with_weight(layer, exact, x).detach()
        check.close(
            found,
            expected,
            guarded(dtype, length=32, scale=float(expected.abs().max())),
            f"the output of the normalised layer in {'train' if mode else 'eval'} mode",
        )


@claim(
    "spectral_norm.transposed_layout",
    r"\sigma\bigl(\bar w \text{ as } C_{\text{out}} \times (C_{\text{in}} k_h k_w)\bigr) = 1",
    sources=[f"{SN}, Section 2.1", "torch.nn.ConvTranspose2d: weight (in, out / groups, kh, kw)"],
    why=r"""A convolution stores its weight as (out, in, kh, kw), a transposed one as (in, out, kh,
    kw). The method reads a weight as the matrix with one row for each output channel, so the first
    two dimensions of a transposed one must be exchanged before it is flattened. Flattened as it is
    stored, the matrix has a row for each input channel, and it is not the transpose of the right
    one: the taps of the kernel stay in the columns.

    Take two channels in, two out and a kernel of width two, :math:`w_{i,o,k}`, zero but for
    :math:`w_{0,0,0} = w_{0,1,1} = 1`. By output channel the rows are :math:`(1, 0, 0, 0)` and
    :math:`(0, 1, 0, 0)` with norm 1; as it is stored, (1, 0, 0, 1) and a row of zeros, with norm
    :math:`\sqrt 2`. Shapes agree, no error is raised, and the layer is normalised to the wrong
    slope. The oracle is a singular value decomposition of the right matrix; the message shows that
    of the other.
    """,
    assumptions={
        "the kernel has more than one tap": (
            "for a 1 by 1 kernel one flattening is the transpose of the other, and transposed "
            "matrices have the same singular values"
        ),
    },
    sentence="takes the output channels of a transposed convolution as rows",
)
@given(case=weighted_layers(("transposed", "transposed, fewer outputs")))
def test_transposed_convolutions_have_their_output_channels_as_rows(
    subject: Handle, device: str, dtype: torch.dtype, case: dict[str, Any]
) -> None:
    layer, x = case["layer"], case["x"]
    weight = settle(subject, normalised(subject, layer), x)
    stored = float(torch.linalg.matrix_norm(weight.flatten(1).double(), 2))
    check.close(
        largest(layer, weight),
        1.0,
        guarded(dtype, length=16),
        f"the largest singular value with output channels as rows (it is {stored:.6g} with input "
        f"channels as rows)",
    )


@claim(
    "spectral_norm.gradient_through_sigma",
    r"\frac{\partial L}{\partial W} = \frac{1}{\sigma} \bigl( G - \langle G, \bar W \rangle\, "
    r"u v^\top \bigr), \qquad G = \frac{\partial L}{\partial \bar W}",
    sources=[f"{SN}, Equation 12 and Section 2.1"],
    why=r"""With unit singular vectors :math:`u`, :math:`v` of a simple largest singular value,
    :math:`\sigma = u^\top W v`. Their own changes do not count to first order, since a unit vector
    moves at right angles to itself and :math:`W v = \sigma u`, so :math:`d\sigma = u^\top dW\, v`.
    For :math:`\bar W = W / \sigma` and :math:`G = \partial L / \partial \bar W`

    .. math::

        dL = \Bigl\langle G, \frac{dW}{\sigma} - \frac{W}{\sigma^2}\, d\sigma \Bigr\rangle
           = \frac1\sigma \bigl\langle G - \langle G, \bar W \rangle\, u v^\top, dW \bigr\rangle.

    The gradient has no component along :math:`W`, as :math:`\langle u v^\top, W \rangle = \sigma`:
    scaling the weight changes nothing. With :math:`\sigma` held constant the second term is lost,
    and steps inflate a scale that is divided out again.

    The oracle is PyTorch's derivative of an exact largest singular value, without power iteration,
    put through the layer as it was handed over. The test compares it with the gradient in the
    trainable parameter.
    """,
    assumptions={
        "the largest singular value is simple": "for W = diag(1 + t, 1) it is max(1 + t, 1), which has a kink at t = 0",
        "u and v have converged": (
            r"after one step from a random start the estimate is below :math:`\sigma`, and its "
            "gradient that of another function"
        ),
    },
    sentence="sends the gradient through the norm",
)
@given(case=weighted_layers(gap=0.4))
def test_the_gradient_goes_through_the_norm(
    subject: Handle, device: str, dtype: torch.dtype, case: dict[str, Any]
) -> None:
    subject.needs_gradients()
    layer, x = case["layer"], case["x"]
    made = normalised(subject, layer)
    settle(subject, made, x)
    _judge_gradient(subject, layer, made, x)


@claim(
    "spectral_norm.eval_is_frozen",
    r"\text{eval mode: } \bar W_{k+1} = \bar W_k, \quad \text{state}_{k+1}"
    r" = \text{state}_k \quad \text{for each forward } k",
    sources=[f"{SN}, Algorithm 1", "contracts.md, conventions: what a mode may change"],
    why="""Power iterations belong to training. A model in eval mode is a fixed function: if a
    forward improved the estimate, two evaluations of one input would differ, a metric would depend
    on the order of the batches, and looking at the samples during training would change the
    training.

    The difference is only visible while the estimate is on the move. So the test puts another
    random weight in place after a few forwards, as a large step of the optimiser would, runs one
    forward in training mode, and switches to eval: the vectors are now far from converged, and the
    two largest singular values may be close. Four more forwards, on other inputs, must leave the
    weight, every tensor of the state dict and the output bit for bit as they were. The layer is its
    own oracle, and no tolerance is needed.
    """,
    sentence="changes nothing in eval mode",
)
@given(
    case=weighted_layers(("wide", "tall", "conv", "transposed"), gap=0.95), warm=st.integers(1, 3)
)
def test_eval_mode_changes_nothing(
    subject: Handle, device: str, dtype: torch.dtype, case: dict[str, Any], warm: int
) -> None:
    layer, x = case["layer"], case["x"]
    made = normalised(subject, layer)
    settle(subject, made, x, forwards=warm)
    with torch.no_grad():  # another weight, as after a large step: the estimate is stale
        _raw(made, layer.weight.shape).copy_(torch.randn_like(layer.weight))
    settle(subject, made, x, forwards=1)
    made.eval()
    output = subject.guarded(lambda: made(x)).detach().clone()
    weight = made.weight.detach().clone()  # type: ignore[operator, union-attr]
    state = {k: v.clone() for k, v in made.state_dict().items() if isinstance(v, Tensor)}
    for _ in range(4):
        subject.guarded(lambda: made(x + 1))
    check.equal(made.weight.detach(), weight, "the weight after forwards in eval mode")  # type: ignore[operator, union-attr]
    for name, value in made.state_dict().items():
        if name in state:
            check.equal(value, state[name], f"{name} of the state dict after forwards in eval mode")
    check.equal(subject.guarded(lambda: made(x)), output, "the output after forwards in eval mode")


@claim(
    "spectral_norm.follows_training",
    r"W \to W' \;\Rightarrow\; \bar W \to W' / \sigma(W')",
    sources=[f"{SN}, Algorithm 1"],
    why=r"""The norm is that of the weight as it is now. If it is computed once, when the layer is
    wrapped, it is right until the first step of the optimiser and arbitrary afterwards; if the
    stored vectors are lost at every step, the estimate starts from noise for ever. Power iteration
    keeps up since a small step turns the singular vectors by little, and the vectors of the last
    forward are a good start for the next.

    The test takes two steps of gradient descent, each half as long as the weight itself, and makes
    sure that the trainable parameter has moved. After further forwards the normalised weight must
    be :math:`W' / \sigma(W')` with the new weight :math:`W'`, its singular values from a
    decomposition in double precision. Where the second lies above 0.9 of the first, the case is
    passed over.
    """,
    assumptions={
        "enough forwards in training mode follow the step": (
            "after a step from diag(2, 1) to ((1, 0), (0.1, 2)) the next forward estimates "
            "1.005, and the norm is 2.003"
        ),
        "the largest singular value stands out": (
            "each forward shrinks the error of the vectors by their ratio, squared: by 0.2 per "
            "cent where the ratio is 0.999"
        ),
    },
    sentence="follows the weight through training",
)
@given(case=weighted_layers(("wide", "tall", "one output", "conv", "transposed")))
def test_the_norm_follows_the_weight_through_training(
    subject: Handle, device: str, dtype: torch.dtype, case: dict[str, Any]
) -> None:
    subject.needs_gradients()
    layer, x = case["layer"], case["x"]
    made = normalised(subject, layer)
    settle(subject, made, x, forwards=3)
    raw = _raw(made, layer.weight.shape)
    before = raw.detach().clone()
    optimizer = torch.optim.SGD(made.parameters(), lr=1.0)
    for _ in range(2):
        optimizer.zero_grad()
        loss = subject.guarded(lambda: made(x).square().mean())
        subject.guarded(loss.backward)
        if raw.grad is not None:
            raw.grad.mul_(0.5 * raw.detach().norm() / raw.grad.norm().clamp_min(1e-30))
        optimizer.step()
    check.that(
        float((raw.detach() - before).norm()) > 1e-3 * float(before.norm()),
        "an optimiser's steps on the layer's parameters leave its weight where it was",
    )
    values = torch.linalg.svdvals(as_matrix(layer, raw.detach()).double())
    if len(values) > 1 and values[1] > 0.9 * values[0]:
        return  # a thousand forwards need not tell two nearly equal singular values apart
    weight = settle(subject, made, x)
    check.close(
        weight,
        raw.detach() / values[0].to(raw),
        guarded(dtype, length=16),
        "the normalised weight after two steps of an optimiser and more forwards, W' / sigma(W'),",
    )


@claim(
    "spectral_norm.state_round_trips",
    r"\bar W\bigl(\text{a fresh layer with the loaded state}\bigr) = \bar W",
    sources=[
        f"{SN}, Algorithm 1",
        "contracts.md, conventions: after its state dict went into a fresh instance",
    ],
    why=r"""What a layer computes in eval mode depends on the raw weight and on the estimate of its
    norm, so on the stored vectors. They are not trained, but they are state. If they stay out of
    the state dict, a model that is loaded for evaluation starts with random ones: it divides by
    :math:`u^\top W v` for a random pair, a number that is far too small, and samples come out wrong
    although every parameter was restored.

    The oracle is the old layer. A second one is made from the same layer with all parameters
    redrawn, so that nothing is right by chance; the state dict must fit it without missing or
    unexpected keys, and in eval mode both must agree on a batch. After 1 or 2 forwards the estimate
    has not converged, so that no recomputation from the weight can stand in for the stored vectors.
    """,
    sentence="computes the same in a fresh layer from the state dict",
)
@given(
    case=weighted_layers(("wide", "tall", "one output", "conv", "grouped", "transposed"), gap=0.9),
    warm=st.sampled_from([1, 2, 60]),
)
def test_a_fresh_layer_computes_the_same_from_the_state_dict(
    subject: Handle, device: str, dtype: torch.dtype, case: dict[str, Any], warm: int
) -> None:
    layer, x = case["layer"], case["x"]
    made = normalised(subject, layer)
    settle(subject, made, x, forwards=warm)
    made.eval()
    expected = subject.guarded(lambda: made(x)).detach().clone()
    state = {k: v.clone() if isinstance(v, Tensor) else v for k, v in made.state_dict().items()}
    other = copy.deepcopy(layer)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.copy_(torch.randn_like(parameter))
    fresh = normalised(subject, other)
    missing, unexpected = subject.guarded(lambda: fresh.load_state_dict(state, strict=False))
    lost = [*missing, *unexpected]
    check.that(not lost, f"the state dict of one layer does not fit another: {lost}")
    fresh.eval()
    check.close(
        subject.guarded(lambda: fresh(x)),
        expected,
        rounding(dtype, length=32, scale=1 + float(expected.abs().max())),
        f"the output of a fresh layer that loaded the state dict after {warm} forwards",
    )


@claim(
    "spectral_norm.power_iteration_monotone",
    r"|\sigma(\bar W_{k+1}) - 1| \le |\sigma(\bar W_k) - 1| \to 0",
    sources=[f"{SN}, Algorithm 1", "Golub and Van Loan 2013, 'Matrix Computations', §8.2.1"],
    why=r"""One step takes :math:`v_k` along :math:`W^\top u_{k-1}` and :math:`u_k` along :math:`W
    v_k`, both of length one. The estimate is :math:`s_k = u_k^\top W v_k = \lVert W v_k \rVert`,
    which never exceeds :math:`\sigma`, and it never falls:

    .. math::

        s_k = v_k^\top (W^\top u_k) \le \lVert W^\top u_k \rVert
            = u_k^\top W v_{k+1} \le \lVert W v_{k+1} \rVert = s_{k+1}.

    So :math:`\sigma(\bar W_k) = \sigma / s_k \ge 1` and it falls. In the basis of right singular
    vectors the component of :math:`v` along the :math:`i`-th is multiplied by :math:`\sigma_i^2` at
    each step: all others die out against the first, and :math:`s_k \to \sigma`.

    The test permutes the weight's outputs and its last dimension, which keeps the singular values
    and misplaces the stored vectors, and measures the exact norm of the effective weight over
    twelve forwards.
    """,
    assumptions={
        "the start has a component along the leading singular vector": (
            "for W = diag(2, 1) and the start (0, 1) all estimates are 1, and the norm stays at 2"
        ),
        "the vectors are kept from forward to forward": "started afresh from noise at each forward the estimate goes up and down for ever",
    },
    sentence="improves its estimate at every forward",
)
@given(case=weighted_layers(("wide", "tall", "conv", "transposed")), seed=st.integers(0, 2**31 - 1))
def test_every_forward_improves_the_estimate(
    subject: Handle, device: str, dtype: torch.dtype, case: dict[str, Any], seed: int
) -> None:
    layer, x = case["layer"], case["x"]
    made = normalised(subject, layer)
    settle(subject, made, x, forwards=3)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(layer.weight.shape[-1], generator=generator)
    rows = torch.randperm(as_matrix(layer, layer.weight).shape[0], generator=generator)
    with torch.no_grad():  # the same singular values, other vectors
        raw = _raw(made, layer.weight.shape)
        shuffled = layer.weight.detach()[..., order]
        raw.copy_(shuffled[:, rows] if isinstance(layer, nn.ConvTranspose2d) else shuffled[rows])
    errors = []
    for _ in range(12):
        weight = settle(subject, made, x, forwards=1)
        errors.append(abs(float(largest(layer, weight)) - 1))
    for index in range(1, len(errors)):
        check.at_most(
            errors[index],
            errors[index - 1],
            guarded(dtype, length=16),
            f"the distance of the largest singular value from one after {index + 1} forwards",
        )
    check.close(
        largest(layer, settle(subject, made, x)),
        1.0,
        guarded(dtype, length=16),
        "the largest singular value once the estimate has come to rest",
    )


@claim(
    "spectral_norm.survives_rank_one",
    r"W = s\, a b^\top, \ s > 0, \ \lVert a \rVert = \lVert b \rVert = 1 \;\Rightarrow\; \bar W"
    r" = a b^\top, \quad \lVert \nabla_W L \rVert < \infty",
    sources=[f"{SN}, Section 2.1"],
    why=r"""An outer product maps :math:`h` to :math:`s\, a\, (b \cdot h)`: one singular value is
    :math:`s` and all others are zero. Power iteration is there in one step, and the derivative of
    :math:`\sigma` is :math:`a b^\top`, so the gradient is the finite :math:`\frac1s (G - \langle G,
    a b^\top \rangle\, a b^\top)` of ``spectral_norm.gradient_through_sigma``.

    Two shortcuts fail here. Differentiating a full decomposition divides by :math:`\sigma_i^2 -
    \sigma_j^2`, and among the zeros that is 0/0, though the largest value has nothing to do with
    them. And a guard such as :math:`\sigma + 0.01` is hardly seen at :math:`\sigma = 1` but halves
    a weight with :math:`\sigma = 0.01`. The scales of the test are 0.01, 0.4 and 30; now and then
    all outputs but one are dead, which makes the zeros exact. Weight and gradient are judged by an
    exact largest singular value.
    """,
    assumptions={
        "s is not zero": "a zero weight has no direction, and no multiple of it has norm one",
    },
    sentence="normalises outer products and has their gradient",
)
@given(
    case=stratified(
        [
            rank_one_layers(m)
            for m in ("wide", "tall", "one output", "conv", "pointwise", "transposed")
        ]
    )
)
def test_outer_products_are_normalised_and_have_their_gradient(
    subject: Handle, device: str, dtype: torch.dtype, case: dict[str, Any]
) -> None:
    layer, x = case["layer"], case["x"]
    made = normalised(subject, layer)
    weight = settle(subject, made, x)
    exact = layer.weight.detach() / largest(layer, layer.weight).to(layer.weight)
    check.close(weight, exact, guarded(dtype, length=16), "the normalised weight of rank one")
    if not subject.carries_gradients:
        return
    _judge_gradient(subject, layer, made, x)
