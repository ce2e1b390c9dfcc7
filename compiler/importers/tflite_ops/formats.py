"""Operators between number formats."""

from __future__ import annotations

from ...ops import NoAttrs, Op
from ..tflite import TfliteReader, as_floats
from ..tflite_file import OperatorRecord
from .common import Handler


def _quantize(reader: TfliteReader, operator: OperatorRecord) -> None:
    """From a layer in float32, or from one encoding to another."""
    x = reader.value(reader.operand(operator, 0))
    output = reader.value(reader.output(operator))
    reader.append(Op.QUANTIZE, operator, (x,), output, NoAttrs())


def _dequantize(reader: TfliteReader, operator: OperatorRecord) -> None:
    """To a layer in float32; of weights kept in float16 or int8: a constant of the graph."""
    tensor, output = reader.operand(operator, 0), reader.output(operator)
    if tensor.data is None:
        names = (reader.value(tensor),)
        reader.append(Op.DEQUANTIZE, operator, names, reader.value(output), NoAttrs())
        return
    data = as_floats(tensor)
    if data is None or output.elements != tensor.elements:
        raise reader.unsupported(operator, f"it makes floats of {tensor.dtype.lower()} data")
    reader.define(output, data)


FORMATS: dict[str, Handler] = {
    "QUANTIZE": _quantize,
    "DEQUANTIZE": _dequantize,
}
