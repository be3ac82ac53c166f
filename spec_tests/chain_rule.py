r"""What the chain rule says of an autoregressive model, computed from its logits by enumeration."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from spec_tests import check
from spec_tests.check import Violation
from spec_tests.contracts.autoregressive import AutoregressiveModelConfig, log_prob, logits
from spec_tests.handle import Built
from spec_tests.numerics import wide

__all__ = [
    "all_events",
    "ancestral_log_joint",
    "chain_of",
    "classes",
    "dimension_name",
    "documented_field",
    "event_names",
    "gathered",
    "index_of",
    "log_p_of",
    "of_class",
    "order_in_words",
    "order_of",
    "past_of",
    "raster",
]


def raster(event_shape: tuple[int, ...]) -> list[int]:
    """Flattened indices in raster order: pixel by pixel, within a pixel channel by channel."""
    if len(event_shape) == 1:
        return list(range(event_shape[0]))
    channels, height, width = event_shape
    return [c * height * width + p for p in range(height * width) for c in range(channels)]


def order_of(model: Built) -> list[int]:
    """The documented ``order`` where it is a permutation, else raster order."""
    plain = raster(model.config.event_shape)
    found = model.value("order")
    if found is None:
        return plain
    listed = [int(i) for i in torch.as_tensor(found).flatten()]
    return listed if sorted(listed) == sorted(plain) else plain


def past_of(order: list[int]) -> Tensor:
    """Bool ``(D, D)``: row i, column j is True where j is generated before i."""
    rank = torch.empty(len(order), dtype=torch.long)
    rank[torch.tensor(order)] = torch.arange(len(order))
    return rank[None, :] < rank[:, None]


def all_events(config: AutoregressiveModelConfig, device: torch.device) -> Tensor:
    """All K**D events, ``(K**D, *event)``."""
    every = list(product(range(config.levels), repeat=config.dims))
    return torch.tensor(every, device=device).view(-1, *config.event_shape)


def event_names(config: AutoregressiveModelConfig) -> list[str]:
    """The same events as a person reads them."""
    return [str(list(e)) for e in product(range(config.levels), repeat=config.dims)]


def index_of(x: Tensor, levels: int) -> Tensor:
    """The position of each event of a batch among all events."""
    flat = x.flatten(1).cpu()
    weights = levels ** torch.arange(flat.shape[1] - 1, -1, -1)
    return (flat * weights).sum(1)


def classes(config: AutoregressiveModelConfig, n: int, device: torch.device) -> list[Tensor]:
    """One batch of ``n`` equal labels for every class; without classes one batch of zeros."""
    return [torch.full((n,), c, device=device) for c in range(max(config.num_classes, 1))]


def gathered(found: Tensor, x: Tensor) -> Tensor:
    """Log-probabilities ``(N, D)`` of the levels that occurred, in float64 on the CPU."""
    log_p = found.detach().cpu().double().flatten(2).log_softmax(1)  # (N, K, D)
    return log_p.gather(1, x.cpu().flatten(1)[:, None]).squeeze(1)


def ancestral_log_joint(model: Built, y: Tensor) -> Tensor:
    """log p of every event, each conditional asked for with zeros in place of what comes later."""
    config = model.config
    events = all_events(config, model.handle.device)
    total = torch.zeros(len(events), dtype=torch.float64)
    seen = torch.zeros_like(events).flatten(1)
    for i in order_of(model):
        found = logits(model, seen.view(events.shape).clone(), y)
        total += gathered(found, events)[:, i]
        seen[:, i] = events.flatten(1)[:, i]
    return total


def chain_of(model: Built, x: Tensor, y: Tensor) -> Tensor:
    """log p(x) in float64: the gathered log-softmax of the logits, added up."""
    return gathered(logits(model, x, y), x).sum(1)


def log_p_of(model: Built, x: Tensor, y: Tensor) -> Tensor:
    """log p(x) by the subject's own ``log_prob`` where it has one, else from its logits."""
    return wide(log_prob(model, x, y)) if model.has("log_prob") else chain_of(model, x, y)


def of_class(model: Built, y: Tensor) -> str:
    """The class of a batch of equal labels, for a message; nothing where there are no classes."""
    return f" given class {int(y[0])}" if model.config.num_classes else ""


def dimension_name(event_shape: tuple[int, ...], index: int) -> str:
    """A dimension of the flattened event as a person names it."""
    if len(event_shape) == 1:
        return f"dimension {index}"
    channels, height, width = event_shape
    channel, pixel = divmod(index, height * width)
    colour = f"{'RGB'[channel]} of " if channels == 3 else ""
    return f"{colour}pixel ({pixel // width}, {pixel % width})"


def order_in_words(model: Built) -> str:
    """What the order of generation is called in a message."""
    return "the documented order" if model.has("order") else "raster order, channel by channel"


def documented_field(model: Built, past: Tensor) -> Tensor | None:
    """The documented receptive field, checked to be one, or ``None``."""
    found = model.value("receptive_field")
    if found is None:
        return None
    d = model.config.dims
    right = isinstance(found, Tensor) and found.dtype == torch.bool and found.shape == (d, d)
    check.that(right, f"receptive_field must be a bool tensor of shape {(d, d)}")
    field = found.detach().cpu()
    future = torch.nonzero(field & ~past)
    if len(future):
        i, j = (dimension_name(model.config.event_shape, int(n)) for n in future[0])
        raise Violation(
            f"receptive_field lets the logits of {i} use {j}, which does not precede it in "
            f"{order_in_words(model)}"
        )
    return field
