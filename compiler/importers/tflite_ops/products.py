"""Matrix products."""

from __future__ import annotations

from ...errors import ImportModelError
from ...ops import (
    DenseAttrs,
    Op,
)
from ..tflite import TfliteReader
from ..tflite_file import OperatorRecord
from .bias import bias_of
from .common import Handler, activation, options


def _fully_connected(reader: TfliteReader, operator: OperatorRecord) -> None:
    chosen = options(reader, operator, "WeightsFormat")
    if chosen.WeightsFormat() != 0:
        raise reader.unsupported(operator, "its weights are shuffled")
    weights = reader.value(reader.operand(operator, 1))
    reader.constant(operator, 1)
    x = reader.value(reader.operand(operator, 0))
    shape = reader.known(weights).shape
    if len(shape) != 2:
        raise ImportModelError(f"{reader.place(operator)} has weights of shape {shape}")
    flat = reader.reshaped(operator, x, (1, shape[1]))
    output = reader.value(reader.output(operator))
    if reader.known(output).shape != (1, shape[0]):
        raise reader.unsupported(operator, "its output keeps more axes than two")
    clamp = activation(reader, operator, chosen.FusedActivationFunction())
    operands = (flat, weights, bias_of(reader, operator, x, weights))
    reader.append(Op.FULLY_CONNECTED, operator, operands, output, DenseAttrs(clamp))


PRODUCTS: dict[str, Handler] = {
    "FULLY_CONNECTED": _fully_connected,
}
