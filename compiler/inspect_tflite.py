"""A TFLite flatbuffer as `ModelFacts`.

The file is read by the importer's own bounds-first reader, so a damaged or hostile file is one
line, and one whose operators cannot be imported is shown all the same.
"""

from __future__ import annotations

import math

from .importers.tflite import import_tflite
from .importers.tflite_file import FileRecord, OperatorRecord, TensorRecord, read_file
from .inspect_facts import (
    LayerDescription,
    ModelFacts,
    histogram,
    quantization_text,
    tensor_text,
)
from .inspect_graph import planned

_ITEM_BITS = {
    "FLOAT64": 64,
    "INT64": 64,
    "FLOAT32": 32,
    "INT32": 32,
    "UINT32": 32,
    "FLOAT16": 16,
    "BFLOAT16": 16,
    "INT16": 16,
    "UINT16": 16,
    "INT4": 4,
}


def read_tflite(data: bytes, source: str) -> ModelFacts:
    """Facts of the one subgraph; `source` names the file in errors.

    Raises:
        ImportModelError: the bytes are no TFLite file, a damaged one, or one of several subgraphs.
    """
    record = read_file(data, source)
    arena, remarks = planned(lambda: import_tflite(data, source))
    return ModelFacts(
        ", ".join(_text(record.tensors[index]) for index in record.inputs),
        ", ".join(_text(record.tensors[index]) for index in record.outputs),
        tuple(_layer(record, operator) for operator in record.operators if operator.outputs),
        remarks,
        arena,
    )


def _layer(record: FileRecord, operator: OperatorRecord) -> LayerDescription:
    output = record.tensors[operator.outputs[0]]
    operands = [record.tensors[index] for index in operator.inputs if index >= 0]
    constants = [tensor for tensor in operands if tensor.data is not None]
    weights = constants[0] if constants else None
    return LayerDescription(
        name=output.name,
        op=operator.op.lower(),
        shape=output.shape,
        dtype=output.dtype.lower(),
        macs=_macs(record, operator, output),
        weight_bytes=sum(_nbytes(tensor) for tensor in constants),
        quantization=_quantization(output),
        inputs=tuple(_id(tensor) for tensor in operands if tensor.data is None),
        output=_id(output),
        weights="" if weights is None else _weights_text(weights),
        histogram=None if weights is None else histogram(weights.data),
    )


def _macs(record: FileRecord, operator: OperatorRecord, output: TensorRecord) -> int:
    """Multiply-accumulates; operators without weights have none."""
    shapes = [record.tensors[index].shape if index >= 0 else () for index in operator.inputs]
    count = _MACS.get(operator.op)
    return count(shapes, output.shape) if count and len(shapes) > 1 else 0


def _dense(shapes: list[tuple[int, ...]], output: tuple[int, ...]) -> int:
    return math.prod(output) * math.prod(shapes[1][-1:])


def _conv(shapes: list[tuple[int, ...]], output: tuple[int, ...]) -> int:
    return math.prod(output) * math.prod(shapes[1][1:])


def _depthwise(shapes: list[tuple[int, ...]], output: tuple[int, ...]) -> int:
    return math.prod(output) * math.prod(shapes[1][1:3])


def _transpose_conv(shapes: list[tuple[int, ...]], output: tuple[int, ...]) -> int:
    """Operands: output shape, weights, x; every position of x adds a window."""
    return math.prod(shapes[2][1:3]) * math.prod(shapes[1]) if len(shapes) > 2 else 0


def _matmul(shapes: list[tuple[int, ...]], output: tuple[int, ...]) -> int:
    return math.prod(output) * math.prod(shapes[0]) // max(1, math.prod(output[:-1]))


_MACS = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _dense,
    "TRANSPOSE_CONV": _transpose_conv,
    "BATCH_MATMUL": _matmul,
}


def _nbytes(tensor: TensorRecord) -> int:
    return -(-tensor.elements * _ITEM_BITS.get(tensor.dtype, 8) // 8)


def _id(tensor: TensorRecord) -> str:
    """A name that is the tensor's alone: files may give one name to several."""
    return f"{tensor.name}#{tensor.index}"


def _text(tensor: TensorRecord) -> str:
    return tensor_text(tensor.name, tensor.shape, tensor.dtype.lower(), _quantization(tensor))


def _weights_text(tensor: TensorRecord) -> str:
    return tensor_text("", tensor.shape, tensor.dtype.lower(), _quantization(tensor)).strip()


def _quantization(tensor: TensorRecord) -> str:
    return quantization_text(tensor.scales, tensor.zero_points)
