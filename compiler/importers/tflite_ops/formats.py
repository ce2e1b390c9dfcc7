"""Operators between number formats."""

from __future__ import annotations

from ..tflite import TfliteReader, as_floats
from ..tflite_file import OperatorRecord
from .common import Handler


def _dequantize(reader: TfliteReader, operator: OperatorRecord) -> None:
    """Weights kept in float16 or int8: a constant of the graph."""
    tensor = reader.operand(operator, 0)
    reader.constant(operator, 0)
    data = as_floats(tensor)
    output = reader.output(operator)
    if data is None or output.elements != tensor.elements:
        raise reader.unsupported(operator, f"it makes floats of {tensor.dtype.lower()} data")
    reader.define(output, data)


FORMATS: dict[str, Handler] = {
    "DEQUANTIZE": _dequantize,
}
