"""Operators that work element by element."""

from __future__ import annotations

import numpy as np

from ...graph import Array, Value
from ...ops import BinaryAttrs, GeluAttrs, LeakyAttrs, NoAttrs, Op
from ..tflite import TfliteReader
from ..tflite_file import OperatorRecord
from .common import Handler, activation, options
from .nodes import append, between, operand, unary

_UNARY = ("ELU", "HARD_SWISH", "LOGISTIC", "TANH", "EXP", "SQRT", "RSQRT", "ABS", "RELU", "RELU6")


def _binary(op: Op) -> Handler:
    """Two operands, either of them a constant, and a fused activation."""

    def handler(reader: TfliteReader, operator: OperatorRecord) -> None:
        chosen = operator.options
        code = 0 if chosen is None else chosen.FusedActivationFunction()
        attrs = BinaryAttrs(activation(reader, operator, code))
        append(reader, operator, op, _two(reader, operator), attrs)

    return handler


def _choice(op: Op) -> Handler:
    def handler(reader: TfliteReader, operator: OperatorRecord) -> None:
        append(reader, operator, op, _two(reader, operator), NoAttrs())

    return handler


def _two(reader: TfliteReader, operator: OperatorRecord) -> tuple[str, str]:
    return operand(reader, operator, 0), operand(reader, operator, 1)


def _leaky_relu(reader: TfliteReader, operator: OperatorRecord) -> None:
    alpha = float(options(reader, operator, "Alpha").Alpha())
    x = operand(reader, operator, 0)
    append(reader, operator, Op.LEAKY_RELU, (x,), LeakyAttrs(alpha))


def _prelu(reader: TfliteReader, operator: OperatorRecord) -> None:
    reader.constant(operator, 1)
    append(reader, operator, Op.PRELU, _two(reader, operator), NoAttrs())


def _gelu(reader: TfliteReader, operator: OperatorRecord) -> None:
    approximate = bool(options(reader, operator, "Approximate").Approximate())
    append(reader, operator, Op.GELU, (operand(reader, operator, 0),), GeluAttrs(approximate))


def _clip(low: float) -> Handler:
    """The larger of x and `low`, then the smaller of that and 1."""

    def handler(reader: TfliteReader, operator: OperatorRecord) -> None:
        x = operand(reader, operator, 0)
        output = reader.known(reader.value(reader.output(operator)))
        if reader.known(x).quant != output.quant:
            raise reader.unsupported(operator, "its input and its output have different encodings")
        raised = between(reader, operator, output.name, "raised")
        lowest = _constant(reader, x, "lowest", low)
        reader.append(Op.MAXIMUM, operator, (x, lowest), raised, NoAttrs())
        highest = _constant(reader, x, "highest", 1.0)
        append(reader, operator, Op.MINIMUM, (raised, highest), NoAttrs())

    return handler


def _constant(reader: TfliteReader, like: str, what: str, number: float) -> str:
    """A scalar in the format and the encoding of the value `like`."""
    value = reader.known(like)
    data: Array = np.array(number, np.float32)
    if value.quant is not None:
        limits = np.iinfo(value.dtype.numpy)
        steps = _half_away(np.float32(number) / np.float32(value.quant.scale[0]))
        code = np.clip(steps + value.quant.zero_point[0], limits.min, limits.max)
        data = np.array(code, value.dtype.numpy)
    return reader.add_value(Value(f"{like}.{what}", (), value.dtype, value.quant, data))


def _half_away(steps: np.float32) -> int:
    return int(np.sign(steps) * np.floor(np.abs(steps) + np.float32(0.5)))


ELEMENTWISE: dict[str, Handler] = {
    **{name: _binary(Op[name]) for name in ("ADD", "SUB", "MUL", "DIV")},
    **{name: _choice(Op[name]) for name in ("MINIMUM", "MAXIMUM")},
    **{name: unary(Op[name]) for name in _UNARY},
    "LEAKY_RELU": _leaky_relu,
    "PRELU": _prelu,
    "GELU": _gelu,
    "RELU_N1_TO_1": _clip(-1.0),
    "RELU_0_TO_1": _clip(0.0),
}
