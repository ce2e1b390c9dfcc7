"""A TFLite flatbuffer as `ModelFacts`.

The file is read by the importer's own bounds-first reader, so a damaged or hostile file is one
line, and one whose operators cannot be imported is shown all the same.
"""

from __future__ import annotations

import math

from .importers.tflite import import_tflite
from .importers.tflite_file import FileRecord, OperatorRecord, TensorRecord, read_file
from .inspect_facts import (
    Histogram,
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
    texts = _Texts()
    return ModelFacts(
        ", ".join(texts.tensor(record.tensors[index]) for index in record.inputs),
        ", ".join(texts.tensor(record.tensors[index]) for index in record.outputs),
        tuple(_layer(record, texts, operator) for operator in record.operators if operator.outputs),
        remarks,
        arena,
    )


class _Texts:
    """What is said of a tensor, made once: a hostile file lets thousands of operators share one."""

    def __init__(self) -> None:
        self._quantizations: dict[int, str] = {}
        self._histograms: dict[int, Histogram | None] = {}

    def quantization(self, tensor: TensorRecord) -> str:
        if tensor.index not in self._quantizations:
            text = quantization_text(tensor.scales, tensor.zero_points)
            self._quantizations[tensor.index] = text
        return self._quantizations[tensor.index]

    def histogram(self, tensor: TensorRecord) -> Histogram | None:
        if tensor.index not in self._histograms:
            self._histograms[tensor.index] = histogram(tensor.data)
        return self._histograms[tensor.index]

    def tensor(self, tensor: TensorRecord) -> str:
        return f"{tensor.name} {self.unnamed(tensor)}"

    def unnamed(self, tensor: TensorRecord) -> str:
        quantization = self.quantization(tensor)
        return tensor_text("", tensor.shape, tensor.dtype.lower(), quantization).strip()


def _layer(record: FileRecord, texts: _Texts, operator: OperatorRecord) -> LayerDescription:
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
        quantization=texts.quantization(output),
        inputs=tuple(_id(tensor) for tensor in operands if tensor.data is None),
        output=_id(output),
        weights="" if weights is None else texts.unnamed(weights),
        histogram=None if weights is None else texts.histogram(weights),
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


def _svdf(shapes: list[tuple[int, ...]], output: tuple[int, ...]) -> int:
    return sum(math.prod(shape) for shape in shapes[1:3])


def _lstm(shapes: list[tuple[int, ...]], output: tuple[int, ...]) -> int:
    """All matrices at every step; what stands behind the biases but a projection is state."""
    matrices = (shape for shape in (*shapes[1:9], *shapes[16:17]) if len(shape) > 1)
    return math.prod(output[:-1]) * sum(math.prod(shape) for shape in matrices)


_MACS = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _dense,
    "TRANSPOSE_CONV": _transpose_conv,
    "BATCH_MATMUL": _matmul,
    "SVDF": _svdf,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm,
}


def _nbytes(tensor: TensorRecord) -> int:
    return -(-tensor.elements * _ITEM_BITS.get(tensor.dtype, 8) // 8)


def _id(tensor: TensorRecord) -> str:
    """A name that is the tensor's alone: files may give one name to several."""
    return f"{tensor.name}#{tensor.index}"
