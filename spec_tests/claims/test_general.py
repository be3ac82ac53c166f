r"""The general claims: what the conventions of the contracts ask of every subject, written once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from spec_tests import check
from spec_tests.check import Violation
from spec_tests.devices import DeviceAudit, MixedDevices
from spec_tests.general import (
    Case,
    cases,
    clone,
    general_claim,
    modules_in,
    outputs,
    probe_of,
    start,
)
from spec_tests.handle import Built, Handle, SubjectError, placed
from spec_tests.numerics import gradients, slope
from spec_tests.registry import NotOffered, Probe
from spec_tests.state import generators, modes, seed_everything
from spec_tests.tolerance import eps, guarded, rounding


def allowed(probe: Probe, value: Tensor, length: int = 64) -> float:
    """The tolerance between two ways of asking a subject for one value."""
    size = float(value.detach().abs().nan_to_num(0.0, 0.0, 0.0).max()) if value.numel() else 1.0
    bound = guarded if probe.guard else rounding
    dtype = value.dtype if value.is_floating_point() else torch.float64
    return bound(dtype, length=length, scale=max(size, 1.0))


def agree(
    probe: Probe, actual: tuple[Tensor, ...], expected: tuple[Tensor, ...], what: str
) -> None:
    """Result by result, ``actual`` equals ``expected`` up to rounding."""
    for index, (one, other) in enumerate(zip(actual, expected, strict=True)):
        part = f" (part {index})" if len(expected) > 1 else ""
        check.close(one, other, allowed(probe, other), f"{_name(probe)}{part} {what}")


def _name(probe: Probe) -> str:
    return "the result" if probe.name == "call" else probe.name


def _leaves(probe: Probe, inputs: dict[str, Any]) -> dict[str, Any]:
    """The inputs with gradients asked for where the contract is differentiable."""
    return {
        name: value.requires_grad_() if name in probe.differentiable else value
        for name, value in clone(inputs).items()
    }


# Untouched inputs and state ---------------------------------------------------------------------


def _photograph(value: Any) -> list[tuple[str, Any]]:
    """What a subject could change about an input, as comparable items."""
    if isinstance(value, Tensor):
        grad = None if value.grad is None else value.grad.clone()
        return [
            ("values", value.detach().clone()),
            ("requires_grad", value.requires_grad),
            ("grad", grad),
        ]
    seen: list[tuple[str, Any]] = []
    for module in modules_in(value):
        seen += [
            (f"mode of {name or 'the module'}", m.training) for name, m in module.named_modules()
        ]
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            seen += [(f"{name}: {what}", item) for what, item in _photograph(tensor)]
    return seen


def _same(before: Any, after: Any) -> bool:
    if isinstance(before, Tensor) and isinstance(after, Tensor):
        return before.shape == after.shape and bool(
            ((before == after) | ((before != before) & (after != after))).all()
        )
    return type(before) is type(after) and before == after


@general_claim(
    "leaves_inputs_alone",
    r"x_{\text{after the call}} = x_{\text{before}}",
    why="""A function that writes to what it is handed changes results elsewhere: the training loop
    goes on with other data, another parameter, another mode than it set. Values, ``requires_grad``,
    ``.grad``, and the modes and buffers of modules are compared bit by bit.""",
    draw=lambda contract: cases(contract),
)
def test_leaves_its_inputs_as_they_were(
    subject: Handle, device: str, dtype: torch.dtype, case: Case
) -> None:
    probe = probe_of(subject, case)
    target = start(subject, case)
    for inputs in (clone(case.inputs), _leaves(probe, case.inputs)):
        for module in modules_in(inputs):
            for parameter in module.parameters():
                parameter.grad = torch.ones_like(parameter)
        watched = {name: value for name, value in inputs.items() if name not in probe.changes}
        before = {name: _photograph(value) for name, value in watched.items()}
        outputs(probe, target, inputs)
        for name, value in watched.items():
            for (what, old), (_, new) in zip(before[name], _photograph(value), strict=True):
                check.that(_same(old, new), f"the call changed {name} ({what}): {old} became {new}")


@general_claim(
    "leaves_global_state_alone",
    r"\text{state}_{\text{after}} = \text{state}_{\text{before}}",
    why="""Default dtype and device, autograd's mode and NumPy's error handling belong to the caller,
    and so does the mode of a module, which a sampler that turns to eval must turn back; a subject may draw from the global generators, but one that reseeds them makes every later draw
    of the program the same: two calls that start from different generator states then end in one.""",
    draw=lambda contract: cases(contract),
    effort=0.5,
)
def test_leaves_global_state_as_it_was(
    subject: Handle, device: str, dtype: torch.dtype, case: Case
) -> None:
    probe = probe_of(subject, case)
    settings, ends = modes(), []
    for seed in (11, 12):
        seed_everything(seed)
        target = start(subject, case, redraw=False)
        training = _training(target)
        outputs(probe, target, placed(case.inputs, subject.device, subject.dtype))
        ends.append(generators())
        changed = [
            n or "the module" for n, mode in _training(target).items() if training[n] != mode
        ]
        check.that(not changed, f"the call changed the mode (train or eval) of {changed}")
        for name, value in modes().items():
            check.that(
                value == settings[name],
                f"the call changed the {name}: {settings[name]} became {value}",
            )
    for name in ("torch", "numpy", "python"):
        same = getattr(ends[0], name) == getattr(ends[1], name)
        check.that(
            not same,
            f"{name}'s global generator was reseeded: it ends in one state whatever "
            f"state it started from",
        )
    check.that(
        not _turns_autograd_on(lambda: outputs(probe, target, clone(case.inputs))),
        "the call, within torch.no_grad(), left the grad mode on: the caller's block ends early",
    )


def _turns_autograd_on(call: Callable[[], Any]) -> bool:
    """Whether autograd is on after a call that found it off; the call itself may refuse."""
    with torch.no_grad():
        with suppress(SubjectError, Violation):
            call()
        return torch.is_grad_enabled()


def _training(target: Handle | Built) -> dict[str, bool]:
    """The mode of every part of a built module."""
    if not (isinstance(target, Built) and target.is_module):
        return {}
    return {name: module.training for name, module in target.module.named_modules()}


@general_claim(
    "repeats_itself",
    r"f(x) = f(x)",
    why="""Without noise of its own among the arguments, a result is a function of the inputs: the
    same call again, with the global generators elsewhere, gives the same value.""",
    draw=lambda contract: cases(contract, lambda probe: probe.deterministic),
)
def test_gives_the_same_result_again(
    subject: Handle, device: str, dtype: torch.dtype, case: Case
) -> None:
    probe = probe_of(subject, case)
    target = start(subject, case)
    first = outputs(probe, target, clone(case.inputs))
    seed_everything(4242)
    for again in ("when called again", "at the third call"):
        agree(probe, outputs(probe, target, clone(case.inputs)), first, again)


@general_claim(
    "same_value_under_autograd",
    r"f(x)\big|_{\nabla\text{ on}} = f(x)\big|_{\nabla\text{ off}}",
    why="""Whether a gradient is asked for is no input: a value that depends on ``requires_grad`` is
    one thing in training and another in evaluation.""",
    draw=lambda contract: cases(
        contract, lambda probe: probe.deterministic and bool(probe.differentiable)
    ),
    effort=0.5,
)
def test_gives_the_same_value_with_and_without_gradients(
    subject: Handle, device: str, dtype: torch.dtype, case: Case
) -> None:
    probe = probe_of(subject, case)
    target = start(subject, case)
    plain = outputs(probe, target, clone(case.inputs))
    agree(
        probe, outputs(probe, target, _leaves(probe, case.inputs)), plain, "with requires_grad set"
    )


# Batches, modes, moves ---------------------------------------------------------------------------


CROWD = 37  # items: more than a chunk of any usual size, and a multiple of none


@general_claim(
    "item_by_item",
    r"f(x_{1..N})_i = f(x_{i:i})_1",
    why="""The items of a batch are independent: each gives alone what it gives among others, and a
    batch of one is a batch. Losses are means over the batch, so the mean over single items is the
    loss of all. A batch of 37, which the items fill by turns, comes last: code that works through
    its batch in chunks of 4, 8 or 32 has a shorter chunk there.""",
    draw=lambda contract: cases(contract, lambda probe: bool(probe.batched)),
)
def test_gives_item_by_item_what_it_gives_for_the_batch(
    subject: Handle, device: str, dtype: torch.dtype, case: Case
) -> None:
    probe = probe_of(subject, case)
    target = start(subject, case)
    whole = outputs(probe, target, clone(case.inputs))
    name, dim = next(iter(probe.batched.items()))
    singles = []
    for index in range(case.inputs[name].shape[dim]):
        item = clone(case.inputs)
        for key, axis in probe.batched.items():
            item[key] = item[key].narrow(axis, index, 1)
        singles.append(outputs(probe, target, item))
    agree(probe, whole, _together(probe, singles), "of the batch, against its items one by one,")
    crowd = [index % len(singles) for index in range(CROWD)]
    many = clone(case.inputs)
    for key, axis in probe.batched.items():
        at = torch.tensor(crowd, device=many[key].device)
        many[key] = many[key].detach().index_select(axis, at)
    expected = _together(probe, [singles[index] for index in crowd])
    agree(probe, outputs(probe, target, many), expected, f"of a batch of {CROWD}")


def _together(probe: Probe, singles: list[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """What the results of single items make of a batch."""
    parts = zip(*singles, strict=True)
    if probe.combine == "stack":
        return tuple(torch.cat(list(part)) for part in parts)
    return tuple(torch.stack(list(part)).mean(0) for part in parts)


@general_claim(
    "train_and_eval_agree",
    r"f_{\text{train}}(x) = f_{\text{eval}}(x)",
    why="""What a mode may change is only what the contract asks for (dropout, batch statistics), and
    here nothing does.""",
    draw=lambda contract: (
        cases(contract, lambda probe: probe.mode_free) if contract.kind == "factory" else None
    ),
)
def test_gives_the_same_in_train_and_eval_mode(
    subject: Handle, device: str, dtype: torch.dtype, case: Case
) -> None:
    probe = probe_of(subject, case)
    built = subject.build(case.config)
    if case.probe in subject.contract.optional:
        built.needs(case.probe)
    built.module.eval()
    evaluated = outputs(probe, built, clone(case.inputs))
    built.module.train()
    seed_everything(77)
    agree(
        probe,
        outputs(probe, built, clone(case.inputs)),
        evaluated,
        "in train mode, against eval mode,",
    )
    built.module.eval()
    agree(probe, outputs(probe, built, clone(case.inputs)), evaluated, "back in eval mode")


@general_claim(
    "survives_moving",
    r"f_{\theta.\text{to}(d)}(x.\text{to}(d)) = f_\theta(x)",
    why="""``module.to(dtype)`` and ``.to(device)`` reach parameters and registered buffers and nothing
    else: a mask kept as a plain attribute stays behind. The module is used in float32, moved to
    float64, and used again; every call follows the dtype of its inputs.""",
    draw=lambda contract: (
        cases(contract, lambda probe: probe.deterministic) if contract.kind == "factory" else None
    ),
    effort=0.5,
)
def test_computes_the_same_after_moving(
    subject: Handle, device: str, dtype: torch.dtype, case: Case
) -> None:
    probe = probe_of(subject, case)
    seed_everything(5)
    built = subject.build(case.config, dtype=torch.float32)
    if case.probe in subject.contract.optional:
        built.needs(case.probe)
    single = placed(case.inputs, subject.device, torch.float32)
    double = placed(single, subject.device, torch.float64)
    module = built.module
    seed_everything(6)
    before = outputs(probe, built, single)
    subject.guarded(lambda: module.to(torch.float64))
    seed_everything(6)
    after = outputs(probe, built, double)
    for one, other in zip(before, after, strict=True):
        if one.is_floating_point():
            check.that(
                other.dtype == torch.float64,
                f"{_name(probe)} is {other.dtype} after the module moved to float64",
            )
            bound = 4096 * eps(torch.float32) * (1 + other.detach().abs())
            check.close(
                one.double(), other, bound, f"{_name(probe)} before the move, against after,"
            )
        else:
            check.equal(one, other, f"{_name(probe)} before the move, against after,")


@general_claim(
    "follows_its_inputs_device",
    r"\text{device}(f(x)) = \text{device}(x)",
    why="""A tensor that the code creates without saying where, or keeps as a plain attribute, is on the
    CPU while the inputs are elsewhere, and the first operation on both fails. Inputs, parameters and
    buffers are moved to the ``meta`` device, where any stray tensor shows on a machine without an
    accelerator.""",
    draw=lambda contract: cases(contract),
    dtypes=("float64",),
    effort=0.5,
)
def test_brings_no_tensor_from_another_device(
    subject: Handle, device: str, dtype: torch.dtype, case: Case
) -> None:
    if not subject.carries_gradients:
        raise NotOffered("NumPy arrays live on the CPU")
    probe = probe_of(subject, case)
    target = start(subject, case)
    if isinstance(target, Built):
        outputs(probe, target, clone(case.inputs))  # buffers that are built at the first call
        subject.guarded(lambda: target.module.to("meta"))
    inputs = placed(case.inputs, "meta", subject.dtype)
    subject.device = torch.device("meta")
    try:
        with DeviceAudit():
            outputs(probe, target, inputs)
    except SubjectError as failure:
        _judge_device_failure(failure)
    except MixedDevices as failure:
        raise Violation(f"a tensor was created or kept on the CPU: {failure}") from failure
    except Violation as failure:
        if "tensor on" in str(failure):
            raise
    except Exception:  # the probe itself read a value
        raise NotOffered("it reads values of its tensors") from None
    finally:
        subject.device = torch.device(device)


@general_claim(
    "names_its_devices",
    r"\text{device}(f(x)) = \text{device}(x)\quad\text{whatever the default device}",
    why="""Every tensor that the code creates on the way says where it belongs. The subject is called
    with real values while the default device is one on which nothing can be computed, so a tensor
    that follows the default meets the inputs on another device.""",
    draw=lambda contract: cases(contract),
    dtypes=("float64",),
    when="audit",
)
def test_names_the_device_of_what_it_creates(
    subject: Handle, device: str, dtype: torch.dtype, case: Case
) -> None:
    if not subject.carries_gradients:
        raise NotOffered("NumPy arrays live on the CPU")
    probe = probe_of(subject, case)
    target = start(subject, case)
    outputs(probe, target, clone(case.inputs))
    torch.set_default_device("meta")
    try:
        with DeviceAudit():
            outputs(probe, target, clone(case.inputs))
    except SubjectError as failure:
        _judge_device_failure(failure)
    finally:
        torch.set_default_device(None)


@general_claim(
    "agrees_with_cpu",
    r"f_{\text{device}}(x) = f_{\text{CPU}}(x)",
    why="""An accelerator adds in another order and rounds otherwise; with the same parameters and
    inputs it computes the same function. The CPU's answer, in the same dtype, is the oracle.""",
    draw=lambda contract: cases(contract, lambda probe: probe.deterministic),
    when="accelerator",
)
def test_agrees_with_the_cpu(subject: Handle, device: str, dtype: torch.dtype, case: Case) -> None:
    probe = probe_of(subject, case)
    subject.device = torch.device("cpu")
    target = start(subject, case)
    expected = outputs(probe, target, placed(case.inputs, "cpu", subject.dtype))
    subject.device = torch.device(device)
    if isinstance(target, Built):
        subject.guarded(lambda: target.module.to(device))
    found = outputs(probe, target, placed(case.inputs, device, subject.dtype))
    for one, other in zip(found, expected, strict=True):
        bound = 4096 * eps(dtype) * (1 + other.detach().double().abs()) + allowed(probe, other)
        check.close(one, other, bound, f"{_name(probe)} on {device}, against the CPU,")


def _judge_device_failure(failure: SubjectError) -> None:
    """A stray tensor is a violation; anything else that ``meta`` tensors cannot do is no finding."""
    cause: BaseException | None = failure
    while cause is not None:
        if isinstance(cause, MixedDevices) or "not on the expected device" in str(cause):
            text = str(failure).removeprefix("MixedDevices: ")
            raise Violation(f"a tensor was created or kept on the CPU: {text}") from failure
        cause = cause.__cause__
    raise NotOffered("it reads values of its tensors, so stray tensors cannot be looked for")


@general_claim(
    "state_dict_round_trips",
    r"f_{\text{load}(\text{state}(\theta))} = f_\theta",
    why="""A checkpoint is a state dict: a fresh instance that loads it must compute what the old one
    did, in eval mode and when training goes on. What is a plain attribute, or a non-persistent buffer
    that holds something learned, is lost; so is the flag that says that a layer has initialised itself
    from data already.""",
    draw=lambda contract: cases(contract) if contract.kind == "factory" else None,
    effort=0.5,
)
def test_computes_the_same_after_a_state_dict_round_trip(
    subject: Handle, device: str, dtype: torch.dtype, case: Case
) -> None:
    probe = probe_of(subject, case)
    old = subject.build(case.config, training=False)
    if case.probe in subject.contract.optional:
        old.needs(case.probe)
    state = {
        name: value.clone()
        for name, value in old.module.state_dict().items()
        if isinstance(value, Tensor)
    }
    seed_everything(991)
    new = _loaded(subject, case, state)
    for training in (False, True) if probe.mode_free else (False,):
        for built in (old, new):
            built.module.train(training)
        found = []
        for built in (old, new):
            seed_everything(6)
            found.append(outputs(probe, built, clone(case.inputs)))
        what = "after loading the state dict" + (", in train mode," if training else "")
        agree(probe, found[1], found[0], what)


def _loaded(subject: Handle, case: Case, state: dict[str, Tensor]) -> Built:
    """A fresh instance with that state; one that has no parameters before its first call gets one."""
    lost: list[str] = []
    for warm in (False, True):
        new = subject.build(case.config, training=False, warm=warm)
        try:
            missing, unexpected = new.module.load_state_dict(state, strict=False)
        except RuntimeError as failure:
            if warm:
                raise Violation(f"a fresh instance refuses the state dict: {failure}") from failure
            continue
        lost = [*missing, *unexpected]
        if not lost:
            break
    check.that(not lost, f"the state dict of one instance does not fit another: {lost}")
    return new


@general_claim(
    "follows_its_parameters",
    r"\theta \leftarrow \theta' \;\Rightarrow\; f = f_{\theta'}",
    why="""An optimiser writes new numbers into the parameters of a module that has been used. What was
    computed from the old ones and kept (a masked weight, an inverse, a table) is then stale: the
    result must be that of an instance which had the new parameters from the beginning.""",
    draw=lambda contract: cases(contract) if contract.kind == "factory" else None,
    effort=0.5,
)
def test_follows_parameters_that_change_after_use(
    subject: Handle, device: str, dtype: torch.dtype, case: Case
) -> None:
    probe = probe_of(subject, case)
    old = subject.build(case.config, training=False)
    if case.probe in subject.contract.optional:
        old.needs(case.probe)
    used = subject.build(case.config, training=False)
    kept = [dict(built.module.named_parameters()) for built in (old, used)]
    if kept[0].keys() != kept[1].keys():
        raise NotOffered("two instances have different parameters")
    outputs(probe, used, clone(case.inputs))
    with torch.no_grad():
        outputs(probe, used, clone(case.inputs))
        state = {**old.module.state_dict(), **kept[0]}
        for name, tensor in {**used.module.state_dict(keep_vars=True), **kept[1]}.items():
            if isinstance(tensor, Tensor) and name in state:
                tensor.copy_(state[name])
    for graph in (True, False):
        found = []
        for built in (old, used):
            seed_everything(6)
            with torch.set_grad_enabled(graph):
                found.append(outputs(probe, built, clone(case.inputs)))
        what = "" if graph else " under no_grad"
        agree(probe, found[1], found[0], f"after its parameters have changed{what},")


# Values and gradients -------------------------------------------------------------------------------


def _directions(probe: Probe, name: str, x: Tensor) -> Tensor:
    """A random direction that stays in the domain of the input ``name``."""
    along = probe.directions.get(name)
    return torch.randn_like(x) if along is None else along(x)


@general_claim(
    "gradient_is_derivative",
    r"\langle \nabla f(x), v \rangle = \tfrac{d}{dt} f(x + t v)\big|_{t=0}",
    why="""Autograd differentiates the operations that it saw, not the function that was computed: a
    ``detach``, ``.data``, ``.item()``, an in-place write or a hand-written backward makes the two
    differ. Five-point finite differences in float64 along random directions know only the values.
    Where the function has a kink nothing is judged.""",
    draw=lambda contract: cases(
        contract,
        lambda probe: bool(probe.differentiable) or probe.parameters,
        lambda probe: probe.smooth or probe.inputs,
    ),
    dtypes=("float64",),
)
def test_has_the_gradient_of_its_value(
    subject: Handle, device: str, dtype: torch.dtype, case: Case
) -> None:
    subject.needs_gradients()
    probe = probe_of(subject, case)
    target = start(subject, case)
    inputs = _leaves(probe, case.inputs)
    parameters = _trained(probe, target, inputs) if probe.parameters else {}
    leaves = {name: inputs[name] for name in probe.differentiable} | parameters
    cotangents: list[Tensor] = []

    def total() -> Tensor:
        seed_everything(8)
        parts = outputs(probe, target, inputs)
        if not cotangents:
            cotangents.extend(torch.randn_like(part) for part in parts)
        return sum(
            ((c * part).sum() for c, part in zip(cotangents, parts, strict=True)),
            start=torch.zeros((), device=subject.device, dtype=subject.dtype),
        )

    found = gradients(total(), list(leaves.values()), what=_name(probe))
    for (name, leaf), gradient in zip(leaves.items(), found, strict=True):
        along = _directions(probe, name, leaf.detach())
        _compare_slope(total, leaf, along, gradient, f"the gradient of {_name(probe)} in {name}")


def _trained(probe: Probe, target: Handle | Built, inputs: dict[str, Any]) -> dict[str, Tensor]:
    """The parameters of the built module, or of the modules among the inputs."""
    built = isinstance(target, Built)
    owners = [target.module] if built and target.is_module else modules_in(inputs)
    return {
        f"parameter {name}": parameter
        for owner in owners
        for name, parameter in owner.named_parameters()
        if parameter.requires_grad and parameter.is_floating_point()
    }


def _compare_slope(total: Any, leaf: Tensor, along: Tensor, gradient: Tensor, what: str) -> None:
    origin = leaf.detach().clone()

    def moved(t: float) -> float:
        with torch.no_grad():
            leaf.copy_(origin + t * along)
        try:
            return float(total().detach())
        finally:
            with torch.no_grad():
                leaf.copy_(origin)

    measured = slope(moved)
    if not measured.smooth:
        return
    claimed = float((gradient * along).sum())
    size = max(float((gradient * along).abs().sum()), abs(measured.value), 1e-3)
    tolerance = 1e-6 * size + 10 * measured.error + 1e-9 * abs(moved(0.0))
    check.close(claimed, measured.value, tolerance, f"{what}, along a random direction,")


@general_claim(
    "finite_at_extremes",
    r"|x| \to \text{extreme} \;\Rightarrow\; |f(x)| < \infty,\ |\nabla f(x)| < \infty",
    why="""Overflow in an intermediate result (``exp`` before ``log``, a square, a quotient of tiny
    numbers) gives inf or NaN where the mathematics is finite, and one NaN ends a training run.""",
    draw=lambda contract: cases(
        contract, lambda probe: probe.extreme is not None, lambda probe: probe.extreme
    ),
)
def test_is_finite_at_extreme_inputs(
    subject: Handle, device: str, dtype: torch.dtype, case: Case
) -> None:
    probe = probe_of(subject, case)
    target = start(subject, case)
    inputs = _leaves(probe, case.inputs)
    results = outputs(probe, target, inputs)
    for result in results:
        check.finite(result, _name(probe))
    if not subject.carries_gradients or not probe.differentiable:
        return
    total = sum((part.sum() for part in results), start=torch.zeros((), device=subject.device))
    names = list(probe.differentiable)
    for name, gradient in zip(names, gradients(total, [inputs[n] for n in names]), strict=True):
        check.finite(gradient, f"the gradient of {_name(probe)} in {name}")


@general_claim(
    "float32_agrees_with_float64",
    r"|f_{32}(x) - f_{64}(x)| \le C\,\varepsilon_{32}\,(1 + |f| + \kappa)",
    why="""Single precision rounds, and does nothing else: the value may differ from that in double
    precision by a few units of rounding times the condition of the problem, measured here by
    perturbing the inputs.""",
    draw=lambda contract: cases(contract, lambda probe: probe.deterministic),
    dtypes=("float32",),
)
def test_agrees_in_float32_with_float64(
    subject: Handle, device: str, dtype: torch.dtype, case: Case
) -> None:
    probe = probe_of(subject, case)
    single = placed(case.inputs, subject.device, torch.float32)
    double = placed(single, subject.device, torch.float64)
    found, targets = [], []
    for kind, inputs in ((torch.float32, single), (torch.float64, double)):
        subject.dtype = kind
        seed_everything(3)
        targets.append(start(subject, case, **({} if case.config is None else {"dtype": kind})))
        found.append(outputs(probe, targets[-1], clone(inputs)))
    condition = _condition(probe, targets[-1], double, found[1])
    subject.dtype = dtype
    for one, other, kappa in zip(found[0], found[1], condition, strict=True):
        if not one.is_floating_point():
            continue
        both = torch.isfinite(other)
        bound = 512 * eps(torch.float32) * (1 + other.detach().abs() + kappa)
        expected = torch.where(both, other, other.float().double())
        check.close(one.double(), expected, bound, f"{_name(probe)} in float32, against float64,")


@general_claim(
    "keeps_double_precision",
    r"k \mapsto f\bigl((1 + 10^{-10} k)\, x\bigr) \text{ changes at every step}",
    why="""In float64 a step of 1e-10 is a thousand times coarser than rounding and six hundred times
    finer than what float32 can tell apart: a stage that was computed in single precision on the way
    is a staircase, and eight steps stay on one level of it. The entries that count most are moved,
    an input or a parameter at a time, where the gradient says that the result must follow.""",
    draw=lambda contract: cases(
        contract,
        lambda probe: (
            not probe.iterative
            and (bool(probe.differentiable) or probe.parameters or contract.kind == "factory")
        ),
        lambda probe: probe.smooth or probe.inputs,
    ),
    dtypes=("float64",),
    effort=0.5,
)
def test_follows_steps_that_single_precision_cannot_see(
    subject: Handle, device: str, dtype: torch.dtype, case: Case
) -> None:
    subject.needs_gradients()
    probe = probe_of(subject, case)
    target = start(subject, case)
    inputs = _leaves(probe, case.inputs)
    leaves = {name: inputs[name] for name in probe.differentiable}
    trained = _trained(probe, target, inputs)
    if trained:
        name = list(trained)[int(torch.randint(len(trained), ()))]
        leaves[name] = trained[name]
    if not leaves:
        raise NotOffered("nothing to move in small steps")
    weights: list[Tensor] = []

    def total() -> Tensor:
        seed_everything(8)
        parts = [p for p in outputs(probe, target, inputs) if p.is_floating_point()]
        if not weights:
            weights.extend(torch.randn_like(part) for part in parts)
        kept = [torch.where(part.isfinite(), part, 0.0) for part in parts]
        zero = torch.zeros((), device=subject.device, dtype=subject.dtype)
        return sum(((w * k).sum() for w, k in zip(weights, kept, strict=True)), start=zero)

    value = total()
    found = gradients(value, list(leaves.values()), what=_name(probe))
    for (name, leaf), gradient in zip(leaves.items(), found, strict=True):
        _follows(total, leaf, gradient, f"{_name(probe)} in steps of 1e-10 of {name}")


def _follows(total: Any, leaf: Tensor, gradient: Tensor, what: str) -> None:
    """Eight values a step apart differ, where the gradient makes a step far more than rounding."""
    origin = leaf.detach().clone()
    effect = (gradient * origin).nan_to_num(0.0, 0.0, 0.0).flatten()
    most = effect.abs().topk(min(2, effect.numel())).indices
    along = torch.zeros_like(effect)
    along[most] = effect[most].sign() * origin.flatten()[most]
    step, size = 1e-10, float(total().detach().abs())
    noise = eps(torch.float64) * (1 + size + float(effect.abs().sum()))
    if step * float(effect[most].abs().sum()) <= 64 * noise:
        return
    values = set()
    for index in range(8):
        with torch.no_grad():
            leaf.copy_(origin + index * step * along.view_as(origin))
        values.add(float(total().detach()))
    with torch.no_grad():
        leaf.copy_(origin)
    check.that(
        len(values) >= 6,
        f"{what} takes {len(values)} different values where 8 are due: part of it is computed in "
        f"less than double precision",
    )


def _condition(
    probe: Probe, target: Handle | Built, inputs: dict[str, Any], base: tuple[Tensor, ...]
) -> list[Tensor]:
    """The change of each result per relative change of the inputs, from four perturbations."""
    change = [torch.zeros_like(part) for part in base]
    for _ in range(4 if probe.differentiable else 0):
        near = clone(inputs)
        for name in probe.differentiable:
            sign = torch.randint(0, 2, near[name].shape, device=near[name].device) * 2 - 1
            near[name] = near[name] * (1 + 1e-6 * sign)
        for index, (part, old) in enumerate(zip(outputs(probe, target, near), base, strict=True)):
            moved = ((part - old).detach().abs() / 1e-6).nan_to_num(0.0, 0.0, 0.0)
            change[index] = torch.maximum(change[index], moved)
    return change
