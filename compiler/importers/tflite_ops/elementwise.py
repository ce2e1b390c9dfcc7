"""Operators that work element by element."""

from __future__ import annotations

from ...graph import DType
from ...ops import (
    BinaryAttrs,
    NoAttrs,
    Op,
)
from ..tflite import TfliteReader
from ..tflite_file import OperatorRecord
from .common import Handler, activation


def _add(reader: TfliteReader, operator: OperatorRecord) -> None:
    operands = [reader.operand(operator, position) for position in (0, 1)]
    if any(tensor.data is not None for tensor in operands):
        raise reader.unsupported(operator, "one side is a constant")
    if operands[0].shape != operands[1].shape:
        raise reader.unsupported(operator, "its sides have different shapes")
    chosen = operator.options
    code = 0 if chosen is None else chosen.FusedActivationFunction()
    attrs = BinaryAttrs(activation(reader, operator, code))
    names = (reader.value(operands[0]), reader.value(operands[1]))
    reader.append(Op.ADD, operator, names, reader.value(reader.output(operator)), attrs)


def _relu(reader: TfliteReader, operator: OperatorRecord) -> None:
    _activate(reader, operator, Op.RELU)


def _relu6(reader: TfliteReader, operator: OperatorRecord) -> None:
    _activate(reader, operator, Op.RELU6)


def _activate(reader: TfliteReader, operator: OperatorRecord, op: Op) -> None:
    x = reader.value(reader.operand(operator, 0))
    if reader.known(x).dtype is not DType.FLOAT32:
        raise reader.unsupported(operator, "a quantized activation that no operator carries")
    reader.append(op, operator, (x,), reader.value(reader.output(operator)), NoAttrs())


ELEMENTWISE: dict[str, Handler] = {
    "ADD": _add,
    "RELU": _relu,
    "RELU6": _relu6,
}
