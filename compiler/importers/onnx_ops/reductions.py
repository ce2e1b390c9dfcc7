"""Operators along axes."""

from __future__ import annotations

import math

from ...ops import Op
from .. import layout
from ..layout import Operand
from ..layout.composed import last_arg_max, smallest
from .common import Call, Handler, Result


def _reduced(call: Call) -> tuple[Operand, tuple[int, ...], bool]:
    """Operand, axes (none: nothing is reduced) and whether they stay as 1."""
    x = call.operand()
    axes = call.integers(1, "axes")
    if not axes:
        axes = [] if call.integer("noop_with_empty_axes", 0) else list(range(len(x.shape)))
    rank = len(x.shape)
    if any(not -rank <= axis < rank for axis in axes):
        raise call.unsupported(f"axes {axes} of {x.shape}")
    return x, tuple(axes), bool(call.integer("keepdims", 1))


def _reduce(op: Op) -> Handler:
    def handler(call: Call) -> Operand:
        x, axes, keep = _reduced(call)
        return layout.reduce(call.frame, op, x, axes, keep_dims=keep) if axes else x

    return handler


def _minimum(call: Call) -> Operand:
    x, axes, keep = _reduced(call)
    return smallest(call.frame, x, axes, keep_dims=keep) if axes else x


def _absolute_sum(call: Call) -> Operand:
    x, axes, keep = _reduced(call)
    positive = layout.unary(call.frame, Op.ABS, x)
    return layout.reduce(call.frame, Op.SUM, positive, axes, keep_dims=keep)


def _square_sum(call: Call) -> Operand:
    x, axes, keep = _reduced(call)
    square = layout.binary(call.frame, Op.MUL, x, x)
    return layout.reduce(call.frame, Op.SUM, square, axes, keep_dims=keep)


def _length(call: Call) -> Operand:
    return layout.unary(call.frame, Op.SQRT, _square_sum(call))


def _softmax(op: Op) -> Handler:
    def handler(call: Call) -> Operand:
        x = call.computed()
        if call.version >= 13:
            return layout.softmax(call.frame, op, x, call.integer("axis", -1))
        axis = call.integer("axis", 1) % max(x.rank, 1)  # all axes from here on, as one
        if axis == x.rank - 1:
            return layout.softmax(call.frame, op, x, axis)
        flat = layout.reshape(call.frame, x, (*x.shape[:axis], math.prod(x.shape[axis:])))
        return layout.reshape(call.frame, layout.softmax(call.frame, op, flat, axis), x.shape)

    return handler


def _arg_max(call: Call) -> Result:
    from ..onnx import Indices

    x, axis = call.computed(), call.integer("axis", 0)
    keep = bool(call.integer("keepdims", 1))
    if call.integer("select_last_index", 0):
        return Indices(last_arg_max(call.frame, x, axis, keep_dims=keep))
    return Indices(layout.arg_max(call.frame, x, axis, keep_dims=keep))


def _arg_min(call: Call) -> Result:
    from ..layout.composed import scaled
    from ..onnx import Indices

    x, axis = (
        call.frame.computed(scaled(call.frame, call.computed(), -1.0)),
        call.integer("axis", 0),
    )
    keep = bool(call.integer("keepdims", 1))
    if call.integer("select_last_index", 0):
        return Indices(last_arg_max(call.frame, x, axis, keep_dims=keep))
    return Indices(layout.arg_max(call.frame, x, axis, keep_dims=keep))


REDUCTIONS: dict[str, Handler] = {
    "ReduceMean": _reduce(Op.MEAN),
    "ReduceSum": _reduce(Op.SUM),
    "ReduceMax": _reduce(Op.REDUCE_MAX),
    "ReduceMin": _minimum,
    "ReduceL1": _absolute_sum,
    "ReduceL2": _length,
    "ReduceSumSquare": _square_sum,
    "Softmax": _softmax(Op.SOFTMAX),
    "LogSoftmax": _softmax(Op.LOG_SOFTMAX),
    "ArgMax": _arg_max,
    "ArgMin": _arg_min,
}
