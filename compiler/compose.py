"""Operators that the graph has no word for, composed of those that it has.

Every function appends nodes through a `GraphBuilder` and returns the name of its result (or of
several). Axes are the graph's: images are (1, height, width, channels), and axis 0 counts samples.
Constants stand beside an operator as its second operand, of shape (1,) where they are one number.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from .builder import GraphBuilder
from .graph import Array
from .ops import (
    Attrs,
    AxisAttrs,
    BinaryAttrs,
    LeakyAttrs,
    MatmulAttrs,
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


def of_many(builder: GraphBuilder, op: Op, operands: Sequence[str], source: str = "") -> str:
    """The minimum, maximum, sum or product of one or more values, two at a time."""
    value = operands[0]
    for operand in operands[1:]:
        value = of_two(builder, op, value, operand, source)
    return value


def clip(builder: GraphBuilder, x: str, low: float, high: float, source: str = "") -> str:
    """min(max(x, low), high), by the graph's clamps where it has one; an infinite bound is none."""
    if (low, high) == (0.0, 6.0):
        return builder.relu6(x, source)
    if low == 0.0:
        x = builder.relu(x, source)
    elif low != -math.inf:
        x = with_constant(builder, Op.MAXIMUM, x, low, source)
    return x if high == math.inf else with_constant(builder, Op.MINIMUM, x, high, source)


def hard_sigmoid(
    builder: GraphBuilder, x: str, alpha: float = 1 / 6, beta: float = 0.5, source: str = ""
) -> str:
    """clip(alpha · x + beta, 0, 1), as relu6(6 · alpha · x + 6 · beta) / 6."""
    if not math.isclose(alpha, 1 / 6, rel_tol=1e-6):
        x = with_constant(builder, Op.MUL, x, 6 * alpha, source)
    x = builder.relu6(with_constant(builder, Op.ADD, x, 6 * beta, source), source)
    return with_constant(builder, Op.MUL, x, 1 / 6, source)


def elu(builder: GraphBuilder, x: str, alpha: float = 1.0, source: str = "") -> str:
    """x where x > 0, else alpha · (e^x - 1): the graph's ELU, its negative part scaled."""
    x = builder.node(Op.ELU, (x,), source=source)
    return x if alpha == 1.0 else builder.node(Op.LEAKY_RELU, (x,), LeakyAttrs(alpha), source)


def silu(builder: GraphBuilder, x: str, source: str = "") -> str:
    """x · sigmoid(x)."""
    return of_two(builder, Op.MUL, x, builder.node(Op.LOGISTIC, (x,), source=source), source)


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


def global_pool(builder: GraphBuilder, op: Op, x: str, source: str = "") -> str:
    """MEAN or REDUCE_MAX over everything between samples and channels, kept as ones."""
    axes = range(1, len(builder.shape(x)) - 1)
    return reduce_axes(builder, op, x, axes, keep_dims=True, source=source)


def normalize(
    builder: GraphBuilder, x: str, axes: Sequence[int], epsilon: float, source: str = ""
) -> str:
    """(x - mean) / sqrt(variance + epsilon) over `axes`; the variance divides by the count."""
    mean = reduce_axes(builder, Op.MEAN, x, axes, keep_dims=True, source=source)
    centred = of_two(builder, Op.SUB, x, mean, source)
    square = of_two(builder, Op.MUL, centred, centred, source)
    variance = reduce_axes(builder, Op.MEAN, square, axes, keep_dims=True, source=source)
    shifted = with_constant(builder, Op.ADD, variance, epsilon, source)
    return of_two(
        builder, Op.MUL, centred, builder.node(Op.RSQRT, (shifted,), source=source), source
    )


def scale_shift(
    builder: GraphBuilder, x: str, scale: Array | None, offset: Array | None, source: str = ""
) -> str:
    """x · scale + offset; None leaves a step out."""
    if scale is not None:
        x = with_constant(builder, Op.MUL, x, scale, source)
    return x if offset is None else with_constant(builder, Op.ADD, x, offset, source)


def layer_norm(
    builder: GraphBuilder,
    x: str,
    axes: Sequence[int],
    scale: Array | None,
    offset: Array | None,
    epsilon: float,
    source: str = "",
) -> str:
    """`normalize` over `axes`, then a scale and an offset that broadcast from the right."""
    return scale_shift(builder, normalize(builder, x, axes, epsilon, source), scale, offset, source)


def group_norm(
    builder: GraphBuilder,
    x: str,
    groups: int,
    scale: Array | None,
    offset: Array | None,
    epsilon: float,
    source: str = "",
) -> str:
    """Channels (last axis) in equal groups, each normalized with everything before it."""
    shape = builder.shape(x)
    grouped = builder.reshape(x, (*shape[:-1], groups, shape[-1] // groups), source)
    axes = (*range(1, len(shape) - 1), len(shape))
    normal = builder.reshape(normalize(builder, grouped, axes, epsilon, source), shape, source)
    return scale_shift(builder, normal, scale, offset, source)


def attention(
    builder: GraphBuilder,
    query: str,
    key: str,
    value: str,
    scale: float,
    mask: str | None = None,
    source: str = "",
) -> str:
    """softmax(query · keyᵀ · scale + mask) · value, of (1, …, steps, features)."""
    scores = builder.node(Op.BATCH_MATMUL, (query, key), MatmulAttrs(transpose_b=True), source)
    if scale != 1.0:
        scores = with_constant(builder, Op.MUL, scores, scale, source)
    if mask is not None:
        scores = of_two(builder, Op.ADD, scores, mask, source)
    shares = builder.node(Op.SOFTMAX, (scores,), source=source)
    return builder.node(Op.BATCH_MATMUL, (shares, value), MatmulAttrs(), source)


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


def pad_by_copies(
    builder: GraphBuilder, x: str, axis: int, before: int, after: int, mode: str, source: str = ""
) -> str:
    """Padding along `axis` by the tensor's own elements; `mode` is numpy's: reflect, edge, wrap.

    A reflection must be shorter than the axis.
    """
    if before == after == 0:
        return x
    indices = np.arange(builder.shape(x)[axis])
    padded = np.pad(indices, (before, after), mode=mode)  # type: ignore[call-overload]
    return take(builder, x, axis, padded, source)


def drop_axis(builder: GraphBuilder, x: str, axis: int, source: str = "") -> str:
    """Without `axis`, which has one element."""
    shape = builder.shape(x)
    return builder.reshape(x, (*shape[:axis], *shape[axis + 1 :]), source)


def insert_axis(builder: GraphBuilder, x: str, axis: int, source: str = "") -> str:
    """With a new axis of one element at `axis`."""
    shape = builder.shape(x)
    return builder.reshape(x, (*shape[:axis], 1, *shape[axis:]), source)
