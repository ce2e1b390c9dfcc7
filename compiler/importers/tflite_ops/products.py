"""Matrix products."""

from __future__ import annotations

from ...errors import ImportModelError
from ...ops import (
    DenseAttrs,
    MatmulAttrs,
    Op,
    TransposeAttrs,
)
from ..tflite import TfliteReader
from ..tflite_file import OperatorRecord
from .bias import bias_of
from .common import Handler, activation, intermediate, options


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
    output = reader.value(reader.output(operator))
    rows = (*reader.known(output).shape[:-1], shape[1])
    flat = reader.reshaped(operator, x, rows)
    clamp = activation(reader, operator, chosen.FusedActivationFunction())
    operands = (flat, weights, bias_of(reader, operator, x, weights))
    reader.append(Op.FULLY_CONNECTED, operator, operands, output, DenseAttrs(clamp))


def _batch_matmul(reader: TfliteReader, operator: OperatorRecord) -> None:
    chosen = options(reader, operator, "AdjY")
    a, b = (reader.value(reader.operand(operator, position)) for position in (0, 1))
    if chosen.AdjX():
        rank = len(reader.known(a).shape)
        perm = (*range(rank - 2), rank - 1, rank - 2)
        a = intermediate(reader, operator, Op.TRANSPOSE, (a,), TransposeAttrs(perm))
    output = reader.value(reader.output(operator))
    attrs = MatmulAttrs(transpose_b=bool(chosen.AdjY()))
    reader.append(Op.BATCH_MATMUL, operator, (a, b), output, attrs)


PRODUCTS: dict[str, Handler] = {
    "FULLY_CONNECTED": _fully_connected,
    "BATCH_MATMUL": _batch_matmul,
}
