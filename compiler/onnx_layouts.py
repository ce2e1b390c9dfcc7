"""`Layout`: in which order an ONNX tensor holds the axes of a graph's value. Pure functions.

Axis i of the tensor is axis layout[i] of the value. The first axis, the samples, always stays
first. Graphs are channels last; ONNX's convolutions want channels first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from .shapes import Shape

Layout = tuple[int, ...]

CHANNELS_FIRST: Layout = (0, 3, 1, 2)


def natural(rank: int) -> Layout:
    """The graph's own order."""
    return tuple(range(rank))


def arrange(shape: Shape, layout: Layout) -> Shape:
    """Shape of the tensor that holds a value of `shape` in `layout`."""
    return tuple(shape[axis] for axis in layout)


def permutation(before: Layout, after: Layout) -> Layout:
    """What ONNX's Transpose must be given to turn one layout into another."""
    return tuple(before.index(axis) for axis in after)


def same_elements(shape: Shape, a: Layout, b: Layout) -> bool:
    """Whether both layouts hold the elements in one order: only axes of length 1 move."""
    return _long(shape, a) == _long(shape, b)


def without(layout: Layout, axes: Iterable[int]) -> Layout:
    """The layout that is left when the value loses `axes`."""
    gone = set(axes)
    kept = [axis for axis in range(len(layout)) if axis not in gone]
    return tuple(kept.index(axis) for axis in layout if axis not in gone)


def transposed(layout: Layout, perm: tuple[int, ...]) -> Layout:
    """The layout in which the same tensor holds the value's transpose by `perm`."""
    return tuple(perm.index(axis) for axis in layout)


def reshaped(before: Shape, after: Shape, layout: Layout) -> Layout | None:
    """A layout of `after` that holds the elements as `layout` holds those of `before`.

    None where axes other than those of length 1 change, so that only the graph's own order will
    do. Channels first is chosen where it serves.
    """
    axes = [axis for axis, size in enumerate(before) if axis and size > 1]
    new_axes = [axis for axis, size in enumerate(after) if axis and size > 1]
    if [before[axis] for axis in axes] != [after[axis] for axis in new_axes]:
        return None
    moved = [new_axes[axes.index(axis)] for axis in _long(before, layout)]
    short = [axis for axis, size in enumerate(after) if axis and size == 1]
    usual = [CHANNELS_FIRST] if len(after) == len(CHANNELS_FIRST) else []
    for candidate in (*usual, natural(len(after))):
        if _long(after, candidate) == moved:
            return candidate
    return (0, *short, *moved)


def cost(shape: Shape, have: Iterable[Layout], want: Layout) -> int:
    """Elements that must move to get `want` where the value is there in the layouts `have`."""
    free = any(same_elements(shape, layout, want) for layout in have)
    return 0 if free else math.prod(shape)


def _long(shape: Shape, layout: Layout) -> list[int]:
    """Axes that hold more than one element, in the order of the tensor; never the samples."""
    return [axis for axis in layout if axis and shape[axis] > 1]
