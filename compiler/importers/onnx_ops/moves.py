"""Operators that move elements or only give them another shape."""

from __future__ import annotations

import math

import numpy as np

from ...graph import Array
from .. import layout
from ..layout import Operand
from .common import Call, Handler, Result
from .spatial import paired

_COPIES = ("reflect", "edge", "wrap")


def _reshape(call: Call) -> Operand:
    x = call.movable()
    wanted = call.integers(1, "shape")
    if wanted is None:
        raise call.unsupported("it has no shape")
    if not call.integer("allowzero", 0):
        wanted = [x.shape[axis] if size == 0 else size for axis, size in enumerate(wanted)]
    if wanted.count(-1) == 1:
        rest = math.prod(size for size in wanted if size != -1)
        wanted[wanted.index(-1)] = math.prod(x.shape) // rest
    return layout.reshape(call.frame, x, wanted)


def _flatten(call: Call) -> Operand:
    x, axis = call.movable(), call.integer("axis", 1)
    axis += len(x.shape) if axis < 0 else 0
    return layout.reshape(call.frame, x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))


def _squeeze(call: Call) -> Operand:
    x = call.movable()
    axes = call.integers(1, "axes")
    if axes is None:
        axes = [axis for axis, size in enumerate(x.shape) if size == 1]
    return layout.squeeze(call.frame, x, axes)


def _unsqueeze(call: Call) -> Operand:
    axes = call.integers(1, "axes")
    if axes is None:
        raise call.unsupported("it has no axes")
    return layout.unsqueeze(call.frame, call.movable(), axes)


def _transpose(call: Call) -> Operand:
    x = call.movable()
    return layout.transpose(call.frame, x, call.several("perm", range(len(x.shape))[::-1]))


def _concat(call: Call) -> Operand:
    parts = [call.movable(place) for place in range(len(call.node.inputs))]
    return layout.concat(call.frame, parts, call.integer("axis", 0) % len(parts[0].shape))


def _split(call: Call) -> Result:
    x = call.movable()
    axis = call.integer("axis", 0) % len(x.shape)
    length, count = x.shape[axis], len(call.node.outputs)
    sizes = call.integers(1, "split")
    if sizes is None:
        count = call.integer("num_outputs", count)
        each = -(-length // count)
        sizes = [min(each, length - begin * each) for begin in range(count)]
    return list(layout.split(call.frame, x, axis, sizes))


def _slice(call: Call) -> Operand:
    x = call.movable()
    begins, ends = call.integers(1, "starts"), call.integers(2, "ends")
    if begins is None or ends is None:
        raise call.unsupported("it has no starts or no ends")
    axes = call.integers(3, "axes") or list(range(len(begins)))
    steps = call.integers(4, "steps") or [1] * len(begins)
    for axis, begin, end, step in zip(axes, begins, ends, steps, strict=True):
        chosen = range(x.shape[axis])[begin:end:step]
        first = chosen[0] if chosen else 0
        x = layout.slice_axis(call.frame, x, axis, first, len(chosen), step)
    return x


def _gather(call: Call) -> Operand:
    indices = call.constant(1, "indices")
    if indices is None or indices.dtype.kind not in "iu":
        raise call.unsupported("its indices are no integers")
    return layout.gather(call.frame, call.movable(), call.integer("axis", 0), indices)


def _pad(call: Call) -> Operand:
    x = call.movable()
    pads = call.integers(1, "pads")
    if pads is None:
        raise call.unsupported("it has no pads")
    axes = call.integers(3, "axes") or list(range(len(x.shape)))
    amounts = [(0, 0)] * len(x.shape)
    for axis, pair in zip(axes, paired(pads), strict=True):
        amounts[axis] = pair
    mode = call.text("mode", "constant")
    if mode in _COPIES:
        return layout.pad_by_copies(call.frame, x, amounts, mode)
    fill = call.floats(2, "fill")
    value = call.number("value", 0.0) if fill is None else float(fill.reshape(()))
    return layout.pad(call.frame, x, amounts, value)


def _expand(call: Call) -> Operand:
    x = call.movable()
    wanted = call.integers(1, "shape")
    if wanted is None:
        raise call.unsupported("it has no shape")
    shape = np.broadcast_shapes(x.shape, tuple(wanted))
    x = layout.reshape(call.frame, x, (1,) * (len(shape) - len(x.shape)) + tuple(x.shape))
    for axis, size in enumerate(shape):
        if x.shape[axis] != size:
            x = layout.gather(call.frame, x, axis, np.zeros(size, np.int32))
    return x


def _where(call: Call) -> Operand:
    """By a known condition: a gather from both sides.

    Nothing is ever computed of what is left out, which may be infinite or no number at all.
    """
    condition = call.constant(0, "condition")
    if condition is None or condition.dtype.kind != "b":
        raise call.unsupported("its condition is no truth value")
    sides = [call.operand(1), call.operand(2)]
    shape = np.broadcast_shapes(condition.shape, *(side.shape for side in sides))
    elements = math.prod(shape)
    rows: list[Operand] = []
    places: list[Array] = []
    for side in sides:
        start = sum(row.shape[0] for row in rows)
        own = np.arange(math.prod(side.shape)).reshape(side.shape)
        places.append(start + np.broadcast_to(own, shape).reshape(elements))
        rows.append(layout.reshape(call.frame, side, (own.size,)))
    chosen = np.where(np.broadcast_to(condition, shape).reshape(elements), *places)
    found = layout.gather(call.frame, layout.concat(call.frame, rows, 0), 0, chosen)
    return layout.reshape(call.frame, found, shape)


def _tile(call: Call) -> Operand:
    x = call.movable()
    repeats = call.integers(1, "repeats")
    if repeats is None or len(repeats) != len(x.shape):
        raise call.unsupported("its repeats do not fit")
    for axis, count in enumerate(repeats):
        if count != 1:
            copies = np.tile(np.arange(x.shape[axis]), count)
            x = layout.gather(call.frame, x, axis, copies)
    return x


def _depth_to_space(call: Call) -> Operand:
    x, block = call.movable(), call.integer("blocksize", 1)
    samples, channels, height, width = x.shape
    each = channels // (block * block)
    if call.text("mode", "DCR") == "DCR":
        split, perm = (samples, block, block, each, height, width), (0, 3, 4, 1, 5, 2)
    else:
        split, perm = (samples, each, block, block, height, width), (0, 1, 4, 2, 5, 3)
    moved = layout.transpose(call.frame, layout.reshape(call.frame, x, split), perm)
    return layout.reshape(call.frame, moved, (samples, each, height * block, width * block))


def _space_to_depth(call: Call) -> Operand:
    x, block = call.movable(), call.integer("blocksize", 1)
    samples, channels, height, width = x.shape
    rows, columns = height // block, width // block
    split = layout.reshape(call.frame, x, (samples, channels, rows, block, columns, block))
    perm = (0, 3, 5, 1, 2, 4) if call.text("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    moved = layout.transpose(call.frame, split, perm)
    return layout.reshape(call.frame, moved, (samples, channels * block * block, rows, columns))


MOVES: dict[str, Handler] = {
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "Pad": _pad,
    "Expand": _expand,
    "Tile": _tile,
    "Where": _where,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
}
