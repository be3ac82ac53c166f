r"""What a claim holds in its hands: a subject behind its contract, every call checked and blamed.

A :class:`Handle` calls or builds the subject; a :class:`Built` is what a factory returned. Both turn
the subject's own exceptions into :class:`SubjectError`, convert NumPy arrays on the way, and check
type, shape, dtype and device of every result, so that claims compare values only.
"""

from __future__ import annotations

import copy
import dataclasses
import os
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spec_tests.check import Violation
from spec_tests.registry import Contract, NotOffered, Place, Result, Subject, Unsupported

__all__ = ["Built", "Handle", "SubjectError", "placed"]


class SubjectError(Exception):
    """The adapter or the subject raised; the message says what, and where in the user's file."""


def placed(value: Any, device: torch.device | str, dtype: torch.dtype) -> Any:
    """A fresh copy of ``value`` in which tensors and modules are on ``device`` and in ``dtype``."""
    if isinstance(value, nn.Module):
        return copy.deepcopy(value).to(device=device, dtype=dtype)
    if isinstance(value, Tensor):
        target = dtype if value.is_floating_point() else value.dtype
        return value.detach().to(device=device, dtype=target, copy=True)
    if isinstance(value, Mapping):
        return {key: placed(item, device, dtype) for key, item in value.items()}
    if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
        return type(value)(placed(item, device, dtype) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
        moved = {name: placed(item, device, dtype) for name, item in fields.items()}
        if all(moved[name] is item for name, item in fields.items()):
            return value
        return dataclasses.replace(value, **moved)
    return value


def _blame(failure: BaseException, place: Place) -> str:
    """``TypeError: ... (my_subjects.py:12, in my_kl)``: the deepest frame in the user's file."""
    frames = traceback.extract_tb(failure.__traceback__)
    own = [f for f in frames if f.filename == place.path]
    frame = own[-1] if own else (frames[-1] if frames else None)
    text = str(failure).strip().split("\n\n")[0]
    kind = type(failure).__name__
    where = f" ({os.path.relpath(frame.filename)}:{frame.lineno}, in {frame.name})" if frame else ""
    return f"{kind}: {text[:600]}{where}"


class Handle:
    r"""A subject under its contract, on one device and in one dtype.

    Function contracts are called: ``subject(p, q)``. Factory contracts are built first:
    ``model = subject.build(config)``.
    """

    def __init__(
        self,
        entry: Subject,
        contract: Contract,
        device: str = "cpu",
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self.entry, self.contract = entry, contract
        self.device, self.dtype = torch.device(device), dtype
        self.training = False  # the mode of built modules, drawn for each example

    @property
    def carries_gradients(self) -> bool:
        """Whether results may depend on tensors by autograd: NumPy arrays do not."""
        return self.entry.arrays == "torch"

    def needs_gradients(self) -> None:
        """Ends the example where the subject works on NumPy arrays, which carry no gradient."""
        if not self.carries_gradients:
            raise NotOffered("NumPy arrays carry no gradient")

    def __call__(self, *arguments: Any) -> Any:
        """Calls a function subject; the result is checked against the contract."""
        return self.invoke(self.entry.make, "call", None, arguments, {})

    def build(
        self,
        config: Any,
        *,
        training: bool | None = None,
        redraw: bool = True,
        warm: bool = True,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> Built:
        r"""Calls the factory and moves the result, if a module, to the device and dtype.

        Args:
            config: the contract's config.
            training: train or eval mode; by default the mode drawn for this example.
            redraw: give every trainable parameter a fresh value, so that no zero-initialised layer
                hides a mistake.
            warm: give a subject that may initialise itself from data its call on a batch.
        """
        raw = self.guarded(lambda: self.entry.make(config))
        if self.contract.kind == "theory":
            return Built(self, raw, None)
        if raw is None:
            raise Violation(f"the factory returned None for {config}")
        built = Built(self, raw, config)
        if isinstance(raw, nn.Module):
            self.guarded(lambda: raw.to(device=device or self.device, dtype=dtype or self.dtype))
            if warm and (self.contract.data_dependent or _is_lazy(raw)):
                raw.train()
                built.warm_up(device or self.device, dtype or self.dtype)
            if redraw and not _is_lazy(raw):
                redraw_parameters(raw)
                if self.contract.settle is not None:
                    self.contract.settle(built)
            raw.train(self.training if training is None else training)
        return built

    def pieces(self) -> Built:
        """The pieces that a ``theory.*`` claim judges."""
        from spec_tests.contracts.theory import Pieces

        return self.build(Pieces())

    def guarded(self, action: Callable[[], Any]) -> Any:
        """Runs the subject's code; what it raises becomes a :class:`SubjectError` that names it."""
        try:
            return action()
        except (Unsupported, Violation, SubjectError):
            raise
        except (Exception, SystemExit) as failure:
            raise SubjectError(_blame(failure, self.entry.place)) from failure

    def invoke(
        self,
        function: Callable[..., Any],
        member: str,
        config: Any,
        arguments: tuple[Any, ...],
        keywords: dict[str, Any],
    ) -> Any:
        """Calls ``function``, a member of this subject, and checks what it returns."""
        given, named = arguments, keywords
        if self.entry.arrays == "numpy":
            given = tuple(self._to_numpy(a) for a in arguments)
            named = {key: self._to_numpy(a) for key, a in keywords.items()}
        result = self.guarded(lambda: function(*given, **named))
        dtype = next((a.dtype for a in arguments if _is_float(a)), self.dtype)
        expected = None
        if member in self.contract.results:
            expected = self.contract.results[member](config, *arguments, **keywords)
        return self._received(result, expected, dtype, self._label(member))

    def _label(self, member: str) -> str:
        return self.contract.name if member == "call" else f"{self.contract.name}'s {member}"

    def _to_numpy(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.detach().cpu().numpy().copy()
        if callable(value) and not isinstance(value, nn.Module):
            return lambda *a: self._to_numpy(value(*(self._to_tensor(x, self.dtype) for x in a)))
        return value

    def _to_tensor(self, value: Any, dtype: torch.dtype) -> Any:
        if isinstance(value, (np.ndarray, np.generic)):
            tensor = torch.as_tensor(np.array(value))
            target = dtype if tensor.is_floating_point() else tensor.dtype
            return tensor.to(device=self.device, dtype=target)
        if isinstance(value, (list, tuple)):
            return type(value)(self._to_tensor(item, dtype) for item in value)
        return value

    def _received(self, result: Any, expected: Any, dtype: torch.dtype, label: str) -> Any:
        if self.entry.arrays == "numpy":
            result = self._to_tensor(result, dtype)
            if callable(result):
                return self._numpy_callable(result, dtype)
            if isinstance(result, tuple) and any(callable(item) for item in result):
                return tuple(
                    self._numpy_callable(item, dtype) if callable(item) else item for item in result
                )
        if isinstance(expected, tuple):
            if not isinstance(result, (tuple, list)) or len(result) != len(expected):
                raise Violation(
                    f"{label} returned {_describe(result)}, expected a tuple of {len(expected)}"
                )
            return tuple(
                self._tensor(item, one, dtype, f"{label} (part {index})")
                for index, (item, one) in enumerate(zip(result, expected, strict=True))
            )
        return result if expected is None else self._tensor(result, expected, dtype, label)

    def _numpy_callable(self, function: Callable[..., Any], dtype: torch.dtype) -> Any:
        def call(*arguments: Any) -> Any:
            given = [self._to_numpy(a) for a in arguments]
            result = self.guarded(lambda: function(*given))
            return self._to_tensor(result, dtype)

        return call

    def _tensor(self, value: Any, expected: Result, dtype: torch.dtype, label: str) -> Tensor:
        number = isinstance(value, (bool, int, float, np.generic))
        if number and expected.shape == () and expected.kind == "float":
            return torch.tensor(float(value), device=self.device, dtype=dtype)
        if not isinstance(value, Tensor):
            raise Violation(f"{label} returned {_describe(value)}, expected a tensor")
        if tuple(value.shape) != expected.shape:
            raise Violation(
                f"{label} returned shape {tuple(value.shape)}, expected {expected.shape}"
            )
        wanted = {"float": dtype, "long": torch.long, "bool": torch.bool}[expected.kind]
        if value.dtype != wanted:
            raise Violation(f"{label} returned {value.dtype}, expected {wanted}")
        if value.device.type != self.device.type:
            raise Violation(f"{label} returned a tensor on {value.device}, not on {self.device}")
        return value


class Built:
    r"""What a factory returned: members are called by name, the object itself when it is callable.

    ``raw`` is the object as the subject made it.
    """

    def __init__(self, handle: Handle, raw: Any, config: Any) -> None:
        self.handle, self.raw, self.config = handle, raw, config

    @property
    def module(self) -> nn.Module:
        """The object as a module; a plain object has no parameters, modes or state dict to judge."""
        if not isinstance(self.raw, nn.Module):
            raise NotOffered("a plain object, not an nn.Module")
        return self.raw

    @property
    def is_module(self) -> bool:
        return isinstance(self.raw, nn.Module)

    def has(self, member: str) -> bool:
        """Whether the optional ``member`` is offered."""
        return getattr(self.raw, member, None) is not None

    def needs(self, *members: str) -> None:
        """Ends the example as unsupported where an optional member is not offered."""
        for member in members:
            if not self.has(member):
                raise NotOffered(f"no {member}")

    def value(self, member: str) -> Any:
        """An optional attribute, called if it is a method, or ``None`` if it is not offered."""
        found = getattr(self.raw, member, None)
        if callable(found) and not isinstance(found, Tensor):
            found = self.handle.guarded(found)
        return self.handle._to_tensor(found, self.handle.dtype)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        if not callable(self.raw):
            raise Violation(
                f"the factory of {self.handle.contract.name} returned {_describe(self.raw)}, which "
                f"cannot be called"
            )
        return self.handle.invoke(self.raw, "call", self.config, arguments, keywords)

    def __getattr__(self, member: str) -> Callable[..., Any]:
        if member.startswith("__"):
            raise AttributeError(member)
        function = getattr(self.raw, member, None)
        if function is None:
            if member in self.handle.contract.optional:
                raise NotOffered(f"no {member}")
            raise Violation(
                f"{_describe(self.raw)} has no member {member!r}, which the contract asks for"
            )

        def call(*arguments: Any, **keywords: Any) -> Any:
            return self.handle.invoke(function, member, self.config, arguments, keywords)

        return call

    def warm_up(self, device: str | torch.device, dtype: torch.dtype) -> None:
        """One training-mode call, for subjects that initialise themselves from data."""
        contract = self.handle.contract
        if contract.warm_up is None:
            raise NotOffered("lazily built, and the contract has no warm-up call")
        inputs = placed(contract.warm_up(self.config), device, dtype)
        # Parameters made by this call draw otherwise in float32; what is drawn next must not differ.
        with torch.random.fork_rng(devices=[]):
            contract.probes[0].call(self, inputs)


def _is_lazy(module: nn.Module) -> bool:
    return any(isinstance(p, nn.parameter.UninitializedParameter) for p in module.parameters())


def redraw_parameters(module: nn.Module) -> None:
    r"""Gives every trainable parameter a fresh normal value of its layer's usual size.

    Matrices and kernels get variance 1 / fan-in, vectors and scalars a standard deviation of one
    half around what they were if that was constant one (a gain), else around zero.
    """
    with torch.no_grad():
        for parameter in module.parameters():
            if not parameter.requires_grad or not parameter.is_floating_point():
                continue
            noise = torch.randn(parameter.shape, dtype=torch.float64)
            if parameter.ndim >= 2:
                fan_in = max(parameter[0].numel(), 1)
                fresh = noise / fan_in**0.5
            else:
                centre = 1.0 if bool((parameter == 1).all()) else 0.0
                fresh = centre + 0.5 * noise
            parameter.copy_(fresh.to(parameter))


def _is_float(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, (list, tuple)):
        return f"a {type(value).__name__} of {len(value)}"
    return "None" if value is None else f"a {type(value).__module__}.{type(value).__qualname__}"
