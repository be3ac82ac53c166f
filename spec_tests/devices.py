r"""Device-correctness without the device.

A tensor on the ``meta`` device has a shape and a dtype and no memory. Calling a subject with
everything that it was handed moved there shows which tensors it brought along from elsewhere: the
first operation that mixes a ``meta`` tensor with a CPU tensor of one dimension or more would fail
on an accelerator in the same way. Zero-dimensional CPU tensors mix with any device, and so do CPU
indices; both are let through. Where the subject reads a value (``.item()``, ``if tensor:``) the
audit ends without a finding, as ``meta`` tensors have none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["DeviceAudit", "MixedDevices"]

_COPIES = (
    "aten::_to_copy",
    "aten::copy_",
    "aten::index",
    "aten::index_put",
    "aten::index_put_",
    "aten::_index_put_impl_",
    "aten::set_",
    "aten::to",
)


class MixedDevices(Exception):
    """An operation met tensors of two devices."""


class DeviceAudit(TorchDispatchMode):
    """Raises :class:`MixedDevices` at the first operation that mixes ``meta`` and CPU tensors."""

    def __torch_dispatch__(
        self, func: Any, types: Sequence[Any], args: Any = (), kwargs: Any = None
    ) -> Any:
        name = func.name().partition(".")[0]
        if name not in _COPIES:
            leaves = tree_leaves((args, kwargs or {}))
            devices = {t.device.type for t in leaves if isinstance(t, Tensor) and t.ndim > 0}
            if len(devices) > 1:
                shapes = [
                    f"{tuple(t.shape)} on the {'CPU' if t.device.type == 'cpu' else 'other device'}"
                    for t in leaves
                    if isinstance(t, Tensor) and t.ndim > 0
                ]
                raise MixedDevices(f"{name.removeprefix('aten::')} met {' and '.join(shapes)}")
        return func(*args, **(kwargs or {}))
