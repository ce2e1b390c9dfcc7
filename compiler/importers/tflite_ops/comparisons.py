"""Comparisons, whose results TensorFlow Lite keeps in booleans until a CAST makes floats of them.

Integers are not compared: the codes of two encodings do not compare as what they stand for.
"""

from __future__ import annotations

import numpy as np

from ...graph import DType, Value
from ...ops import BinaryAttrs, NoAttrs, Op
from ..tflite import Comparison, TfliteReader
from ..tflite_file import OperatorRecord
from .common import Handler
from .nodes import append, between, operand


def _less_equal(reader: TfliteReader, operator: OperatorRecord) -> None:
    _compare(reader, operator, turned=False, negated=False)


def _greater_equal(reader: TfliteReader, operator: OperatorRecord) -> None:
    _compare(reader, operator, turned=True, negated=False)


def _less(reader: TfliteReader, operator: OperatorRecord) -> None:
    _compare(reader, operator, turned=True, negated=True)


def _greater(reader: TfliteReader, operator: OperatorRecord) -> None:
    _compare(reader, operator, turned=False, negated=True)


def _compare(
    reader: TfliteReader, operator: OperatorRecord, *, turned: bool, negated: bool
) -> None:
    a, b = operand(reader, operator, 0), operand(reader, operator, 1)
    smaller, larger = (b, a) if turned else (a, b)
    reader.compare(reader.output(operator), Comparison(smaller, larger, negated))


def _cast(reader: TfliteReader, operator: OperatorRecord) -> None:
    """1.0 where the comparison holds, else 0.0."""
    tensor, output = reader.operand(operator, 0), reader.output(operator)
    compared = reader.comparison(tensor)
    if compared is None or output.dtype != "FLOAT32":
        raise reader.unsupported(
            operator, f"it makes {output.dtype.lower()} of {tensor.dtype.lower()}"
        )
    operands = (compared.smaller, compared.larger)
    if not compared.negated:
        append(reader, operator, Op.LESS_EQUAL, operands, NoAttrs())
        return
    name = reader.value(output)
    holds = between(reader, operator, name, "negated")
    reader.append(Op.LESS_EQUAL, operator, operands, holds, NoAttrs())
    one = reader.add_value(Value(f"{name}.one", (), DType.FLOAT32, None, np.array(1.0, np.float32)))
    append(reader, operator, Op.SUB, (one, holds), BinaryAttrs())


COMPARISONS: dict[str, Handler] = {
    "LESS_EQUAL": _less_equal,
    "GREATER_EQUAL": _greater_equal,
    "LESS": _less,
    "GREATER": _greater,
    "CAST": _cast,
}
