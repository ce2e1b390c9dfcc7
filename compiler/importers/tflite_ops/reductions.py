"""Operators that work along axes."""

from __future__ import annotations

import dataclasses

import numpy as np

from ...errors import ImportModelError
from ...graph import DType, Value
from ...ops import AxisAttrs, BinaryAttrs, NoAttrs, Op, ReduceAttrs
from ..tflite import TfliteReader
from ..tflite_file import OperatorRecord
from .common import Handler, options
from .nodes import append, is_quantized, operand


def _reduction(op: Op) -> Handler:
    def handler(reader: TfliteReader, operator: OperatorRecord) -> None:
        x = operand(reader, operator, 0)
        append(reader, operator, op, (x,), reduced_axes(reader, operator, x))

    return handler


def reduced_axes(reader: TfliteReader, operator: OperatorRecord, x: str) -> ReduceAttrs:
    """What a reduction of `x` says; the samples' axis, which has one element, must be kept."""
    keep = bool(options(reader, operator, "KeepDims").KeepDims())
    axes = _axes(reader, operator, x)
    if axes[:1] == (0,):
        if not keep or len(axes) == 1:
            raise reader.unsupported(operator, "it reduces the axis that counts samples")
        axes = axes[1:]
    return ReduceAttrs(axes, keep)


def _axes(reader: TfliteReader, operator: OperatorRecord, x: str) -> tuple[int, ...]:
    """Ascending, counted from the front."""
    rank = len(reader.known(x).shape)
    given = [int(axis) for axis in reader.constant(operator, 1).reshape(-1)]
    if not given or not all(-rank <= axis < rank for axis in given):
        raise ImportModelError(f"{reader.place(operator)} has axes {given} of {rank}")
    return tuple(sorted({axis % rank for axis in given}))


def _arg_max(reader: TfliteReader, operator: OperatorRecord) -> None:
    x = operand(reader, operator, 0)
    axes = _axes(reader, operator, x)
    if len(axes) != 1 or axes[0] == 0:
        raise reader.unsupported(operator, "it works along the axis that counts samples")
    append(reader, operator, Op.ARG_MAX, (x,), AxisAttrs(axes[0]))


def _softmax(reader: TfliteReader, operator: OperatorRecord) -> None:
    """A factor other than 1 scales the logits of a float model first."""
    beta = float(options(reader, operator, "Beta").Beta())
    x = operand(reader, operator, 0)
    if beta != 1.0:
        x = _scaled(reader, operator, x, beta)
    append(reader, operator, Op.SOFTMAX, (x,), NoAttrs())


def _scaled(reader: TfliteReader, operator: OperatorRecord, x: str, beta: float) -> str:
    if is_quantized(reader, x):
        raise reader.unsupported(operator, f"its beta is {beta:g}, not 1")
    factor = np.array(beta, np.float32)
    name = reader.add_value(Value(f"{x}.beta", (), DType.FLOAT32, None, factor))
    value = dataclasses.replace(reader.known(x), name=f"{x}.scaled", data=None)
    scaled = reader.add_value(value)
    reader.append(Op.MUL, operator, (x, name), scaled, BinaryAttrs())
    return scaled


def _log_softmax(reader: TfliteReader, operator: OperatorRecord) -> None:
    append(reader, operator, Op.LOG_SOFTMAX, (operand(reader, operator, 0),), NoAttrs())


REDUCTIONS: dict[str, Handler] = {
    **{name: _reduction(Op[name]) for name in ("MEAN", "SUM", "REDUCE_MAX")},
    "ARG_MAX": _arg_max,
    "SOFTMAX": _softmax,
    "LOG_SOFTMAX": _log_softmax,
}
