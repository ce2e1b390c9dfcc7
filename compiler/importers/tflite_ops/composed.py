"""Operators without a word in the graph, composed of float ones that have one."""

from __future__ import annotations

import dataclasses

import numpy as np

from ...graph import DType, Value
from ...ops import BinaryAttrs, NoAttrs, Op, ReduceAttrs
from ..tflite import TfliteReader
from ..tflite_file import OperatorRecord
from .common import Handler
from .nodes import append, between, is_quantized, operand
from .reductions import reduced_axes

_SMALLEST_SQUARE = 1e-12  # LiteRT takes norms below 1e-6 as that


def _floats(reader: TfliteReader, operator: OperatorRecord, position: int) -> str:
    x = operand(reader, operator, position)
    if is_quantized(reader, x):
        raise reader.unsupported(operator, "in integers its parts would be rounded on their way")
    return x


def _scalar(reader: TfliteReader, like: str, what: str, number: float) -> str:
    data = np.array(number, np.float32)
    return reader.add_value(Value(f"{like}.{what}", (), DType.FLOAT32, None, data))


def _square(reader: TfliteReader, operator: OperatorRecord) -> None:
    x = _floats(reader, operator, 0)
    append(reader, operator, Op.MUL, (x, x), BinaryAttrs())


def _squared_difference(reader: TfliteReader, operator: OperatorRecord) -> None:
    operands = (_floats(reader, operator, 0), _floats(reader, operator, 1))
    output = reader.value(reader.output(operator))
    difference = between(reader, operator, output, "difference")
    reader.append(Op.SUB, operator, operands, difference, BinaryAttrs())
    append(reader, operator, Op.MUL, (difference, difference), BinaryAttrs())


def _negate(reader: TfliteReader, operator: OperatorRecord) -> None:
    x = _floats(reader, operator, 0)
    append(reader, operator, Op.MUL, (x, _scalar(reader, x, "minus_one", -1.0)), BinaryAttrs())


def _add_all(reader: TfliteReader, operator: OperatorRecord) -> None:
    """From the first to the last, as LiteRT's reference kernel adds."""
    names = [_floats(reader, operator, position) for position in range(len(operator.inputs))]
    output = reader.value(reader.output(operator))
    if len(names) < 2:
        raise reader.unsupported(operator, "it adds fewer than two operands")
    total = names[0]
    for name in names[1:-1]:
        partial = between(reader, operator, output, "partial")
        reader.append(Op.ADD, operator, (total, name), partial, BinaryAttrs())
        total = partial
    append(reader, operator, Op.ADD, (total, names[-1]), BinaryAttrs())


def _reduce_min(reader: TfliteReader, operator: OperatorRecord) -> None:
    """The largest of the negated, negated."""
    x = _floats(reader, operator, 0)
    attrs = reduced_axes(reader, operator, x)
    minus_one = _scalar(reader, x, "minus_one", -1.0)
    negated = between(reader, operator, x, "negated")
    reader.append(Op.MUL, operator, (x, minus_one), negated, BinaryAttrs())
    largest = between(reader, operator, reader.value(reader.output(operator)), "negated")
    reader.append(Op.REDUCE_MAX, operator, (negated,), largest, attrs)
    append(reader, operator, Op.MUL, (largest, minus_one), BinaryAttrs())


def _l2_normalization(reader: TfliteReader, operator: OperatorRecord) -> None:
    """x / |x| along the last axis."""
    x = _floats(reader, operator, 0)
    chosen = operator.options
    if chosen is not None and chosen.FusedActivationFunction():
        raise reader.unsupported(operator, "a fused activation")
    value = reader.known(x)
    rank = len(value.shape)
    squares = between(reader, operator, x, "squares")
    reader.append(Op.MUL, operator, (x, x), squares, BinaryAttrs())
    single = dataclasses.replace(value, shape=(*value.shape[:-1], 1), data=None)
    total, kept, inverse = (
        reader.add_value(dataclasses.replace(single, name=f"{x}.{what}"))
        for what in ("total", "kept", "inverse")
    )
    reader.append(Op.SUM, operator, (squares,), total, ReduceAttrs((rank - 1,), True))
    smallest = _scalar(reader, x, "smallest", _SMALLEST_SQUARE)
    reader.append(Op.MAXIMUM, operator, (total, smallest), kept, NoAttrs())
    reader.append(Op.RSQRT, operator, (kept,), inverse, NoAttrs())
    append(reader, operator, Op.MUL, (x, inverse), BinaryAttrs())


def _power(reader: TfliteReader, operator: OperatorRecord) -> None:
    """To a power that products and roots make."""
    x = _floats(reader, operator, 0)
    exponents = set(reader.constant(operator, 1).reshape(-1).tolist())
    exponent = exponents.pop() if len(exponents) == 1 else None
    if exponent == 2.0:
        append(reader, operator, Op.MUL, (x, x), BinaryAttrs())
    elif exponent == 0.5:
        append(reader, operator, Op.SQRT, (x,), NoAttrs())
    elif exponent == -0.5:
        append(reader, operator, Op.RSQRT, (x,), NoAttrs())
    elif exponent == -1.0:
        append(reader, operator, Op.DIV, (_scalar(reader, x, "one", 1.0), x), BinaryAttrs())
    else:
        raise reader.unsupported(operator, "its exponent is not 2, ½, -½ or -1 throughout")


COMPOSED: dict[str, Handler] = {
    "SQUARE": _square,
    "SQUARED_DIFFERENCE": _squared_difference,
    "NEG": _negate,
    "ADD_N": _add_all,
    "REDUCE_MIN": _reduce_min,
    "L2_NORMALIZATION": _l2_normalization,
    "POW": _power,
}
