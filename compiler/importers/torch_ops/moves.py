"""Handlers of operators that move elements: joins, slices, gathers, copies, padding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...ops import Pair
from ..layout import (
    NoWordError,
    Operand,
    concat,
    gather,
    pad,
    pad_by_copies,
    reshape,
    slice_axis,
    split,
)
from ..layout.composed import flip
from .call import Call, Handler, axis_of, operand

_NUMPY_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def _cat(call: Call) -> Operand:
    parts = [operand(part) for part in call["tensors"]]
    parts = [part for part in parts if part.shape != (0,)]  # torch skips these
    return concat(call.frame, parts, axis_of(call["dim"], parts[0]))


def _stack(call: Call) -> Operand:
    axis = call["dim"] % len(call.shape)
    one = (*call.shape[:axis], 1, *call.shape[axis + 1 :])
    parts = [reshape(call.frame, operand(part), one) for part in call["tensors"]]
    return concat(call.frame, parts, axis)


def _split(call: Call) -> list[Operand]:
    """Every way to split: torch says how long the parts are."""
    x = call.operand("self")
    axis = axis_of(call["dim"], x)
    return split(call.frame, x, axis, [shape[axis] for shape in call.shapes])


def _unbind(call: Call) -> list[Operand]:
    x = call.operand("self")
    axis = axis_of(call["dim"], x)
    parts = split(call.frame, x, axis, [1] * x.shape[axis])
    return [reshape(call.frame, part, call.shape) for part in parts]


def _slice(call: Call) -> Operand:
    x = call.operand("self")
    axis = axis_of(call["dim"], x)
    chosen = range(x.shape[axis])[slice(call["start"], call["end"], call["step"])]
    return slice_axis(call.frame, x, axis, chosen.start, len(chosen), chosen.step)


def _select(call: Call) -> Operand:
    x = call.operand("self")
    axis = axis_of(call["dim"], x)
    part = slice_axis(call.frame, x, axis, call["index"] % x.shape[axis], 1)
    return reshape(call.frame, part, call.shape)


def _narrow(call: Call) -> Operand:
    x = call.operand("self")
    axis = axis_of(call["dim"], x)
    return slice_axis(call.frame, x, axis, call["start"] % x.shape[axis], call["length"])


def _index_select(call: Call) -> Operand:
    x = call.operand("self")
    return gather(call.frame, x, axis_of(call["dim"], x), call.weights("index"))


def _index(call: Call) -> Operand:
    """x[:, i, j] by constants: a gather along each axis, where they form an outer product."""
    x = call.operand("self")
    chosen = [(axis, index) for axis, index in enumerate(call["indices"]) if index is not None]
    if not all(isinstance(index, np.ndarray) and index.dtype != bool for _, index in chosen):
        raise NoWordError("an index that is computed, or a mask")
    if len(chosen) == 1:
        return gather(call.frame, x, *chosen[0])
    rank = max(index.ndim for _, index in chosen)
    for place, (axis, index) in enumerate(chosen):
        full = index.reshape((1,) * (rank - index.ndim) + index.shape)
        is_outer = rank == len(chosen) and full.size == full.shape[place]
        if not is_outer or axis != chosen[0][0] + place:
            raise NoWordError("an index by several tensors that is no outer product")
        x = gather(call.frame, x, axis, full.reshape(-1))
    return x


def _flip(call: Call) -> Operand:
    x = call.operand("self")
    for axis in (axis_of(axis, x) for axis in call["dims"]):
        x = flip(call.frame, x, axis)
    return x


def _roll(call: Call) -> Operand:
    x = call.operand("self")
    if not call["dims"]:
        raise NoWordError("a roll over all axes at once")
    for dim, shift in zip(call["dims"], call["shifts"], strict=True):
        axis = axis_of(dim, x)
        begin = -shift % x.shape[axis]
        if begin:
            tail = slice_axis(call.frame, x, axis, begin, x.shape[axis] - begin)
            x = concat(call.frame, [tail, slice_axis(call.frame, x, axis, 0, begin)], axis)
    return x


def _expand(call: Call) -> Operand:
    """Copies along axes of length 1."""
    x = call.operand("self")
    x = reshape(call.frame, x, (1,) * (len(call.shape) - len(x.shape)) + tuple(x.shape))
    for axis, (size, wanted) in enumerate(zip(x.shape, call.shape, strict=True)):
        if size != wanted:
            x = gather(call.frame, x, axis, np.zeros(wanted, np.int32))
    return x


def _repeat(call: Call) -> Operand:
    x = call.operand("self")
    repeats = call["repeats"]
    x = reshape(call.frame, x, (1,) * (len(repeats) - len(x.shape)) + tuple(x.shape))
    for axis, count in enumerate(repeats):
        if count != 1:
            x = gather(call.frame, x, axis, np.tile(np.arange(x.shape[axis]), count))
    return x


def _slice_scatter(call: Call) -> Operand:
    """x with a part along an axis replaced."""
    x, part = call.operand("self"), call.operand("src")
    axis = axis_of(call["dim"], x)
    chosen = range(x.shape[axis])[slice(call["start"], call["end"], call["step"])]
    if chosen.step != 1:
        raise NoWordError("a write to every other element")
    rest = x.shape[axis] - chosen.stop
    before = slice_axis(call.frame, x, axis, 0, chosen.start) if chosen.start else None
    after = slice_axis(call.frame, x, axis, chosen.stop, rest) if rest else None
    return concat(call.frame, [y for y in (before, part, after) if y is not None], axis)


def _copy(call: Call) -> Operand:
    """What is written over a tensor of the same shape."""
    return call.operand("src")


def _filled(number: float | None) -> Handler:
    """A constant of the shape of a tensor, or of another."""
    return lambda call: np.full(call.shape, call["fill_value"] if number is None else number)


def _pad(call: Call) -> Operand:
    mode = call.args.get("mode", "constant")
    amounts = _amounts(call["pad"], len(call.shape))
    if mode != "constant":
        return pad_by_copies(call.frame, call.operand("self"), amounts, _NUMPY_MODES[mode])
    return pad(call.frame, call.operand("self"), amounts, float(call.args.get("value") or 0.0))


def _copying_pad(mode: str) -> Handler:
    def handler(call: Call) -> Operand:
        amounts = _amounts(call["padding"], len(call.shape))
        return pad_by_copies(call.frame, call.operand("self"), amounts, mode)

    return handler


def _amounts(flat: Sequence[int], rank: int) -> list[Pair]:
    """(before, after) of every axis; torch begins with the last."""
    pairs = [(int(flat[place]), int(flat[place + 1])) for place in range(0, len(flat), 2)]
    return [(0, 0)] * (rank - len(pairs)) + pairs[::-1]


MOVES: dict[str, Handler] = {
    "aten.cat.default": _cat,
    "aten.concat.default": _cat,
    "aten.stack.default": _stack,
    "aten.split.Tensor": _split,
    "aten.split.sizes": _split,
    "aten.split_with_sizes.default": _split,
    "aten.chunk.default": _split,
    "aten.unbind.int": _unbind,
    "aten.slice.Tensor": _slice,
    "aten.select.int": _select,
    "aten.narrow.default": _narrow,
    "aten.index_select.default": _index_select,
    "aten.index.Tensor": _index,
    "aten.flip.default": _flip,
    "aten.roll.default": _roll,
    "aten.expand.default": _expand,
    "aten.expand_as.default": _expand,
    "aten.repeat.default": _repeat,
    "aten.slice_scatter.default": _slice_scatter,
    "aten.copy.default": _copy,
    "aten.full_like.default": _filled(None),
    "aten.new_full.default": _filled(None),
    "aten.zeros_like.default": _filled(0.0),
    "aten.new_zeros.default": _filled(0.0),
    "aten.ones_like.default": _filled(1.0),
    "aten.new_ones.default": _filled(1.0),
    "aten.empty_like.default": _filled(0.0),
    "aten.new_empty.default": _filled(0.0),
    "aten.pad.default": _pad,
    "aten.constant_pad_nd.default": _pad,
    "aten.reflection_pad1d.default": _copying_pad("reflect"),
    "aten.reflection_pad2d.default": _copying_pad("reflect"),
    "aten.replication_pad1d.default": _copying_pad("edge"),
    "aten.replication_pad2d.default": _copying_pad("edge"),
}
