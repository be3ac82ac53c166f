r"""The events that claims about autoregressive models are judged on: few enough to list, or not."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from spec_tests.contracts.autoregressive import models
from spec_tests.judge import stratified

__all__ = [
    "ENUMERABLE",
    "LARGE",
    "LARGE_COLOUR",
    "LARGE_GREY",
    "LONG_VECTORS",
    "SAMPLED",
    "WITH_CLASSES",
]

LONG_VECTORS = ((1,), (2,), (3,), (4,), (5,), (7,))
LARGE_GREY = ((1, 3, 4), (1, 4, 3), (1, 2, 7), (1, 5, 2), (1, 1, 6), (1, 6, 1), (1, 4, 5))
LARGE_COLOUR = ((3, 2, 3), (3, 3, 2), (3, 1, 4), (3, 4, 1), (3, 2, 4))

LARGE = stratified(
    [
        models(events, kinds)
        for events in (LONG_VECTORS, LARGE_GREY, LARGE_COLOUR)
        for kinds in ((0,), (2, 3))
    ]
)


def _few(*pairs: tuple[tuple[int, ...], tuple[int, ...]], kinds: tuple[int, ...] = (0,)) -> Any:
    """Configs of the event shapes, each with the levels at which its events can be listed."""
    return st.one_of(*(models((event,), kinds, levels) for event, levels in pairs))


_VECTORS = (((1,), (2, 5)), ((2,), (3, 4, 5)), ((3,), (2, 3, 4)), ((4,), (2, 3)))
_GREY = (((1, 1, 3), (2, 3, 4)), ((1, 3, 1), (2, 4)), ((1, 2, 2), (2, 3)), ((1, 2, 3), (2,)),
         ((1, 3, 2), (2,)), ((1, 1, 1), (3,)))  # fmt: skip
_COLOUR = (((3, 1, 1), (2, 3, 4)), ((3, 1, 2), (2,)), ((3, 2, 1), (2,)))

ENUMERABLE = stratified(
    [_few(*few, kinds=kinds) for few in (_VECTORS, _GREY, _COLOUR) for kinds in ((0,), (2, 3))]
)
# A class may act through the past alone, through the row above too: more than a row and a column.
WITH_CLASSES = stratified(
    [
        models(events, (2, 3, 4))
        for events in (((2,), (3,), (5,)), ((1, 2, 3), (1, 3, 2)), ((3, 2, 3), (3, 3, 2)))
    ]
)
SAMPLED = stratified(
    [
        _few(((2,), (3, 4)), ((3,), (2, 3)), ((3,), (2, 3)), kinds=(0, 2)),
        _few(((1, 1, 3), (2, 3)), ((1, 2, 2), (2,)), ((1, 3, 1), (2, 3)), kinds=(0, 2)),
        _few(((3, 1, 1), (2, 3)), kinds=(0, 2)),
        _few(((3, 1, 2), (2,)), ((3, 2, 1), (2,)), kinds=(0, 2)),
    ]
)
