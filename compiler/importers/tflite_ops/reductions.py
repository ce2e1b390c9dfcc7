"""Operators that work along axes."""

from __future__ import annotations

from ...graph import Value
from ...ops import (
    NoAttrs,
    Op,
    ReduceAttrs,
)
from ..tflite import TfliteReader
from ..tflite_file import OperatorRecord
from .common import Handler, options


def _mean(reader: TfliteReader, operator: OperatorRecord) -> None:
    x = reader.value(reader.operand(operator, 0))
    shape = reader.known(x).shape
    axes = sorted({int(axis) % len(shape) for axis in reader.constant(operator, 1).reshape(-1)})
    if len(shape) != 4 or axes != [1, 2]:
        raise reader.unsupported(operator, "only the mean over height and width is")
    output = reader.value(reader.output(operator))
    value = reader.known(output)
    if len(value.shape) == 2:
        reader.append(Op.MEAN, operator, (x,), output, ReduceAttrs((1, 2)))
        return
    flat = (1, shape[3])
    mean = reader.add_value(Value(f"{output}.mean", flat, value.dtype, value.quant))
    reader.append(Op.MEAN, operator, (x,), mean, ReduceAttrs((1, 2)))
    reader.append(Op.RESHAPE, operator, (mean,), output, NoAttrs())


def _softmax(reader: TfliteReader, operator: OperatorRecord) -> None:
    chosen = options(reader, operator, "Beta")
    if chosen.Beta() != 1.0:
        raise reader.unsupported(operator, f"its beta is {chosen.Beta():g}, not 1")
    x = reader.value(reader.operand(operator, 0))
    reader.append(Op.SOFTMAX, operator, (x,), reader.value(reader.output(operator)), NoAttrs())


REDUCTIONS: dict[str, Handler] = {
    "MEAN": _mean,
    "SOFTMAX": _softmax,
}
