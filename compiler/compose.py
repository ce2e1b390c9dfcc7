"""Short ways to say with a `GraphBuilder` what takes attributes or constants of its own.

Every function appends nodes and returns the name of its result (or of several). Axes are the
graph's: axis 0 counts samples. Constants stand beside an operator as its second operand, of shape
(1,) where they are one number. Code that thinks in a framework's axes uses `importers.layout`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from .builder import GraphBuilder
from .graph import Array
from .ops import (
    Attrs,
    AxisAttrs,
    BinaryAttrs,
    Op,
    ReduceAttrs,
    SliceAttrs,
)

_FUSES_CLAMP = (Op.ADD, Op.SUB, Op.MUL, Op.DIV)


def with_constant(
    builder: GraphBuilder, op: Op, x: str, constant: float | Array, source: str = ""
) -> str:
    """op(x, constant); an array broadcasts from the right."""
    data = np.atleast_1d(np.asarray(constant, np.float32))
    operand = builder.constant(builder.unique(op, "constant"), data)
    return of_two(builder, op, x, operand, source)


def of_two(builder: GraphBuilder, op: Op, a: str, b: str, source: str = "") -> str:
    """op(a, b) of two values already there."""
    if op in _FUSES_CLAMP:
        return builder.node(op, (a, b), BinaryAttrs(), source)
    return builder.node(op, (a, b), source=source)


def reduce_axes(
    builder: GraphBuilder,
    op: Op,
    x: str,
    axes: Sequence[int],
    *,
    keep_dims: bool = False,
    source: str = "",
) -> str:
    """MEAN, SUM or REDUCE_MAX over `axes` in any order."""
    return builder.node(op, (x,), ReduceAttrs(tuple(sorted(axes)), keep_dims), source)


def scale_shift(
    builder: GraphBuilder, x: str, scale: Array | None, offset: Array | None, source: str = ""
) -> str:
    """x · scale + offset; None leaves a step out."""
    if scale is not None:
        x = with_constant(builder, Op.MUL, x, scale, source)
    return x if offset is None else with_constant(builder, Op.ADD, x, offset, source)


def slice_axis(
    builder: GraphBuilder,
    x: str,
    axis: int,
    begin: int,
    size: int,
    stride: int = 1,
    source: str = "",
) -> str:
    """`size` elements along `axis` from `begin`, every `stride`-th."""
    shape = builder.shape(x)
    begins, sizes, strides = [0] * len(shape), list(shape), [1] * len(shape)
    begins[axis], sizes[axis], strides[axis] = begin, size, stride
    attrs = SliceAttrs(tuple(begins), tuple(sizes), tuple(strides))
    return builder.node(Op.SLICE, (x,), attrs, source)


def split(
    builder: GraphBuilder, x: str, axis: int, sizes: Sequence[int], source: str = ""
) -> tuple[str, ...]:
    """Neighbouring parts of `sizes` along `axis`."""
    begins = (0, *itertools.accumulate(sizes))
    return tuple(
        slice_axis(builder, x, axis, begin, size, source=source)
        for begin, size in zip(begins, sizes, strict=False)
    )


def flip(builder: GraphBuilder, x: str, axis: int, source: str = "") -> str:
    """The elements along `axis` in the other order."""
    size = builder.shape(x)[axis]
    return slice_axis(builder, x, axis, size - 1, size, -1, source)


def concatenate(builder: GraphBuilder, parts: Sequence[str], axis: int, source: str = "") -> str:
    """One after the other along `axis`; a single one is left alone."""
    if len(parts) == 1:
        return parts[0]
    return builder.node(Op.CONCATENATION, tuple(parts), AxisAttrs(axis), source)


def take(builder: GraphBuilder, x: str, axis: int, indices: Array, source: str = "") -> str:
    """Elements along `axis` by constant `indices`, whose shape replaces the axis."""
    name = builder.constant(builder.unique(Op.GATHER, "indices"), np.asarray(indices, np.int32))
    attrs: Attrs = AxisAttrs(axis)
    return builder.node(Op.GATHER, (x, name), attrs, source)


def drop_axis(builder: GraphBuilder, x: str, axis: int, source: str = "") -> str:
    """Without `axis`, which has one element."""
    shape = builder.shape(x)
    return builder.reshape(x, (*shape[:axis], *shape[axis + 1 :]), source)


def insert_axis(builder: GraphBuilder, x: str, axis: int, source: str = "") -> str:
    """With a new axis of one element at `axis`."""
    shape = builder.shape(x)
    return builder.reshape(x, (*shape[:axis], 1, *shape[axis:]), source)
