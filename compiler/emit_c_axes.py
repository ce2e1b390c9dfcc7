"""Shapes and strides as c/common/ek_axes_kernels.h has them: at most EK_AXES axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .emit_c_layer import Fields
from .emit_c_text import braces
from .errors import EmitError
from .fixedpoint import Multiplier
from .graph import Node

AXES = 6
HEADER = "ek_axes_kernels.h"
_LARGEST_SHIFT = 31

Ints = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Walk:
    """A shape and, for each tensor that is walked over, its strides."""

    shape: Ints
    strides: tuple[Ints, ...]


def dense_strides(shape: Sequence[int]) -> Ints:
    """Elements from one index to the next along each axis."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def broadcast_strides(shape: Sequence[int], output: Sequence[int]) -> Ints:
    """Strides of a dense tensor along the axes of a shape that it is broadcast to."""
    strides = zip(shape, dense_strides(shape), strict=True)
    own = tuple(0 if size == 1 else stride for size, stride in strides)
    return (0,) * (len(output) - len(shape)) + own


def merged(node: Node, shape: Sequence[int], *strides: Sequence[int], axes: int = AXES) -> Walk:
    """The same walk over exactly `axes` axes. Raises EmitError where it needs more."""
    columns: list[tuple[int, Ints]] = []
    for size, *steps in zip(shape, *strides, strict=True):
        if size == 1:
            continue
        if columns and all(
            outer == inner * size for outer, inner in zip(columns[-1][1], steps, strict=True)
        ):
            columns[-1] = (columns[-1][0] * size, tuple(steps))
        else:
            columns.append((size, tuple(steps)))
    if len(columns) > axes:
        raise EmitError(f"{node.name} ({node.op}): C walks over {axes} axes, not {len(columns)}")
    columns = [(1, (0,) * len(strides))] * (axes - len(columns)) + columns
    return Walk(
        tuple(size for size, _ in columns),
        tuple(tuple(steps[i] for _, steps in columns) for i in range(len(strides))),
    )


def axes_of(walk: Walk) -> str:
    """The initialiser of an `ek_axes`."""
    return braces((("shape", ints(walk.shape)), ("strides", ints(walk.strides[0]))))


def broadcast_of(walk: Walk) -> str:
    """The initialiser of an `ek_broadcast`."""
    a, b = walk.strides
    return braces((("shape", ints(walk.shape)), ("a", ints(a)), ("b", ints(b))))


def ints(numbers: Sequence[int]) -> str:
    """`{1, 2, 3}`."""
    return "{" + ", ".join(map(str, numbers)) + "}"


def factor_fields(factor: Multiplier, prefix: str = "") -> Fields:
    """For `ek_scale_bounded`, to which larger shifts mean the same as its largest."""
    shift = min(factor.shift, _LARGEST_SHIFT)
    return ((f"{prefix}multiplier", factor.multiplier), (f"{prefix}shift", shift))
