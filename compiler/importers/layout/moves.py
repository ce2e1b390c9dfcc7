"""Operators that move elements: concatenation, slices, gathers and padding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...graph import Array
from ...ops import AxisAttrs, Op, PadAttrs, Pair, SliceAttrs
from .follow import check_samples, constant_like, follow, ready_leader
from .frame import Frame
from .tensor import NoWordError, Operand, SamplesTouchedError, Tensor
from .views import reshape


def concat(frame: Frame, parts: Sequence[Operand], axis: int) -> Operand:
    """One after the other along `axis`; all take the layout of the first that is computed."""
    parts = [part for part in parts if 0 not in part.shape] or parts
    computed = [part for part in parts if isinstance(part, Tensor)]
    if not computed:
        return np.concatenate([np.asarray(part) for part in parts], axis=axis)
    if len(parts) == 1:
        return computed[0]
    axis %= computed[0].rank
    others = [part for part in parts if part is not computed[0]]
    leader = frame.with_axis(ready_leader(frame, computed[0], *others), axis)
    values = []
    for place, part in enumerate(parts):
        if isinstance(part, Tensor):
            values.append(
                leader.value
                if part is computed[0]
                else follow(frame, leader, part, Op.CONCATENATION, "")
            )
        else:
            check_samples(leader, part)
            data = constant_like(frame, leader, part)
            values.append(frame.constant(Op.CONCATENATION, f"operand{place}", data))
    (graph,) = leader.axes[axis]
    value = frame.node(Op.CONCATENATION, values, AxisAttrs(graph))
    total = sum(part.shape[axis] for part in parts)
    shape = (*leader.shape[:axis], total, *leader.shape[axis + 1 :])
    return Tensor(value, shape, leader.axes)


def slice_axis(
    frame: Frame, x: Operand, axis: int, begin: int, size: int, step: int = 1
) -> Operand:
    """Elements begin, begin + step, … along `axis`: `size` of them."""
    axis %= len(x.shape)
    if (begin, size, step) == (0, x.shape[axis], 1):
        return x
    if not isinstance(x, Tensor):
        return x.take(begin + np.arange(size) * step, axis=axis)
    if size < 1:  # nothing is computed there: an empty constant, which concatenations drop
        return np.zeros((*x.shape[:axis], 0, *x.shape[axis + 1 :]), np.float32)
    if x.shape[axis] == 1:  # whatever the step, its one element
        return x
    x = frame.with_axis(x, axis)
    (graph,) = frame.graph_axes(x, (axis,))
    shape = frame.build.shape(x.value)
    attrs = SliceAttrs(
        tuple(begin if place == graph else 0 for place in range(len(shape))),
        tuple(size if place == graph else length for place, length in enumerate(shape)),
        tuple(step if place == graph and size > 1 else 1 for place in range(len(shape))),
    )
    value = frame.node(Op.SLICE, (x.value,), attrs)
    return Tensor(value, (*x.shape[:axis], size, *x.shape[axis + 1 :]), x.axes)


def split(frame: Frame, x: Operand, axis: int, sizes: Sequence[int]) -> list[Operand]:
    """Slices of these sizes, one after the other."""
    if sum(sizes) != x.shape[axis]:
        raise NoWordError(f"a split of {x.shape[axis]} into {tuple(sizes)}")
    if isinstance(x, Tensor) and len(sizes) > 1 and x.shape[axis] > 1:
        x = frame.with_axis(x, axis)  # once for all
    begins = np.cumsum([0, *sizes[:-1]])
    return [
        slice_axis(frame, x, axis, int(begin), size)
        for begin, size in zip(begins, sizes, strict=True)
    ]


def gather(frame: Frame, x: Operand, axis: int, indices: Array) -> Operand:
    """numpy's take along `axis` by constant indices, which may be below 0; a slice where it can."""
    axis %= len(x.shape)
    length = x.shape[axis]
    if indices.size == 0 or indices.min() < -length or indices.max() >= length:
        raise NoWordError(f"a gather by indices outside of {length}")
    if not isinstance(x, Tensor):
        return x.take(indices, axis=axis)
    flat = np.where(indices < 0, indices + length, indices).reshape(-1).astype(np.int32)
    shape = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
    steps = set(np.diff(flat).tolist())
    if len(steps) <= 1 and steps != {0}:
        step = steps.pop() if steps else 1
        chosen = slice_axis(frame, x, axis, int(flat[0]), len(flat), step)
        return reshape(frame, chosen, shape)
    x = frame.with_axis(x, axis)
    (graph,) = frame.graph_axes(x, (axis,))
    operands = x.value, frame.constant(Op.GATHER, "indices", flat)
    value = frame.node(Op.GATHER, operands, AxisAttrs(graph))
    flat_shape = (*x.shape[:axis], len(flat), *x.shape[axis + 1 :])
    return reshape(frame, Tensor(value, flat_shape, x.axes), shape)


def pad(frame: Frame, x: Operand, amounts: Sequence[Pair], fill: float = 0.0) -> Operand:
    """`fill` before and after each axis; amounts below 0 cut off."""
    for axis, (before, after) in enumerate(amounts):
        if min(before, after) < 0:
            kept = x.shape[axis] + min(before, 0) + min(after, 0)
            x = slice_axis(frame, x, axis, max(-before, 0), kept)
    grown = [(max(before, 0), max(after, 0)) for before, after in amounts]
    if not any(map(any, grown)):
        return x
    if not isinstance(x, Tensor):
        return np.pad(x, grown, constant_values=fill)
    for axis, pair in enumerate(grown):
        if any(pair):
            x = frame.with_axis(x, axis)
    by_graph = {x.axes[axis][0]: pair for axis, pair in enumerate(grown) if any(pair)}
    if 0 in by_graph:
        raise SamplesTouchedError
    rank = len(frame.build.shape(x.value))
    attrs = PadAttrs(tuple(by_graph.get(graph, (0, 0)) for graph in range(rank)), float(fill))
    shape = tuple(size + sum(pair) for size, pair in zip(x.shape, grown, strict=True))
    return Tensor(frame.node(Op.PAD, (x.value,), attrs), shape, x.axes)


def pad_by_copies(frame: Frame, x: Operand, amounts: Sequence[Pair], mode: str) -> Operand:
    """numpy's `reflect`, `edge` or `wrap` padding: a gather along each padded axis."""
    for axis, pair in enumerate(amounts):
        if any(pair):
            if min(pair) < 0:
                raise NoWordError(f"a {mode} padding by {pair}")
            indices = _copied(x.shape[axis], pair, mode)
            x = gather(frame, x, axis, indices)
    return x


def _copied(length: int, pair: Pair, mode: str) -> Array:
    line = np.arange(length)
    if mode == "reflect":
        return np.pad(line, pair, mode="reflect")
    if mode == "edge":
        return np.pad(line, pair, mode="edge")
    if mode == "wrap":
        return np.pad(line, pair, mode="wrap")
    raise NoWordError(f"a padding of mode '{mode}'")
