r"""Ancestral sampling and completion, straight from the definition: one network pass a dimension.

.. code-block:: text

    step    0          1          2          3           x: drawn   k: known   .: not yet
            . . .      x . .      x k .      x k x
            . . .      . . .      . . .      . . .  ...  a known entry costs no pass

This is what any faster sampler must agree with.
"""

from __future__ import annotations

__all__ = ["complete", "raster_order", "sample"]

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    Logits = Callable[[Int[Tensor, " n *event"]], Float[Tensor, "n k *event"]]


def raster_order(event_shape: Sequence[int]) -> list[int]:
    r"""List the flattened indices of an event, first generated first.

    .. math::

        (0{,}0,R), (0{,}0,G), (0{,}0,B), (0{,}1,R), \dots
        \quad\text{at}\quad cHW + hW + w \text{ in memory}

    Paper: Pixel Recurrent Neural Networks (van den Oord, Kalchbrenner, Kavukcuoglu, 2016),
    Section 2, Equations 1 and 2, https://arxiv.org/abs/1601.06759
    Claims: autoregressive_model.causality
    Differs: none.

    Args:
        event_shape: (D,), or (C, H, W).

    Returns:
        D indices: pixel by pixel, and within a pixel channel by channel.

    Raises:
        ValueError: the shape has neither one nor three axes, or an empty one.

    >>> raster_order((3, 1, 2))
    [0, 2, 4, 1, 3, 5]
    """
    if len(event_shape) not in (1, 3) or min(event_shape) < 1:
        raise ValueError(f"event_shape must be (D,) or (C, H, W), not {tuple(event_shape)}")
    if len(event_shape) == 1:
        return list(range(event_shape[0]))
    channels, height, width = event_shape
    pixels = height * width
    return [c * pixels + pixel for pixel in range(pixels) for c in range(channels)]


@torch.no_grad()
def complete(
    logits: Logits,
    x: Int[Tensor, " n *event"],
    known: Bool[Tensor, "*event"],
    order: Sequence[int] | None = None,
    generator: torch.Generator | None = None,
) -> Int[Tensor, " n *event"]:
    r"""Draw the unknown entries of x one by one, each given all that precede it.

    .. math::

        x_i \sim p(x_i \mid x_{<i}) \quad \text{for each unknown } i, \text{ in order}

    An entry that is known later in the order is kept but cannot inform an earlier draw: this is
    the exact conditional when the known entries come first, and only then.

    Paper: Pixel Recurrent Neural Networks (van den Oord, Kalchbrenner, Kavukcuoglu, 2016),
    Figure 1 (completions), https://arxiv.org/abs/1601.06759
    Claims: autoregressive_model.completion_keeps_known_pixels,
    theory.passes_to_sample
    Differs: none.

    Args:
        logits: takes (N, *event), long, to (N, K, *event).
        x: levels in [0, K), long; its unknown entries are ignored.
        known: True where x is given.
        order: flattened indices, first generated first; raster order if None.
        generator: the only source of randomness; torch's own if None.

    Returns:
        a fresh (N, *event), long.

    Raises:
        ValueError: `known` has another shape than the event.

    >>> uniform = lambda x: torch.full((*x.shape, 4), 0.0).movedim(-1, 1)
    >>> complete(uniform, torch.tensor([[3, 9, 2]]), torch.tensor([True, False, True]))[0, ::2]
    tensor([3, 2])
    """
    if known.shape != x.shape[1:]:
        raise ValueError(f"known has shape {tuple(known.shape)}, the event {tuple(x.shape[1:])}")
    # Zeros, lest the junk in unknown entries (9 of 4 levels, say) break an embedding.
    flat, is_known = torch.where(known, x, 0).flatten(1), known.flatten().tolist()
    for i in raster_order(known.shape) if order is None else order:
        if not is_known[i]:
            probability = logits(flat.view(x.shape)).flatten(2)[:, :, i].softmax(dim=1)  # (N, K)
            flat[:, i] = torch.multinomial(probability, 1, generator=generator)[:, 0]
    return flat.view(x.shape)


def sample(
    logits: Logits,
    n: int,
    event_shape: Sequence[int],
    order: Sequence[int] | None = None,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
) -> Int[Tensor, " n *event"]:
    r"""Draw n events from scratch: a completion in which nothing is known.

    .. math::

        x_1 \sim p(x_1),\; x_2 \sim p(x_2 \mid x_1),\; \dots,\; x_D \sim p(x_D \mid x_{<D})

    Paper: Pixel Recurrent Neural Networks (van den Oord, Kalchbrenner, Kavukcuoglu, 2016),
    Section 2.1, https://arxiv.org/abs/1601.06759
    Claims: autoregressive_model.sampler_matches_density,
    autoregressive_model.sampling_is_ancestral, autoregressive_model.sampler_uses_its_generator
    Differs: none.

    Args:
        logits: takes (N, *event), long, to (N, K, *event).
        n: how many.
        event_shape: (D,), or (C, H, W).
        order, generator: as for `complete`.
        device: where to sample: that of the logits and of the generator.

    Returns:
        (n, *event), long.

    Raises:
        ValueError: as for `raster_order`.

    >>> step = lambda x: torch.tensor([-torch.inf, 0.0]).view(1, 2, 1).expand(len(x), 2, 3)
    >>> sample(step, 2, (3,))
    tensor([[1, 1, 1],
            [1, 1, 1]])
    """
    x = torch.zeros((n, *event_shape), dtype=torch.long, device=device)
    return complete(
        logits,
        x,
        torch.zeros(tuple(event_shape), dtype=torch.bool, device=device),
        order,
        generator,
    )
