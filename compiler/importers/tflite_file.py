"""Reads a TensorFlow Lite flatbuffer into plain records, bounds first.

The generated accessors follow any offset they find. Every offset here is therefore read where a
failure becomes one ImportModelError, and vectors and names are paid for out of a budget that
grows with the file: tables that overlap cannot make a small file cost a lot of work.
"""

from __future__ import annotations

import dataclasses
import math
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ImportModelError
from ..graph import Array

_FILE_ID = b"TFL3"
_MOST_TABLES = 100_000  # tensors, operators, buffers; real models have hundreds
_MOST_ACTIVATION_ELEMENTS = 1 << 26
_MOST_RANK = 8
_LONGEST_NAME = 4096
_BUDGET_PER_BYTE = 4  # writers may share a string or a vector between tables
_DAMAGES = (
    struct.error,
    IndexError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    OverflowError,
)


@dataclass(frozen=True, slots=True)
class TensorRecord:
    """A tensor as the file has it; `data` is set for constants. `zero_points` fits `scales`."""

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str  # the schema's name: FLOAT32, INT8, …
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int
    data: Array | None

    @property
    def elements(self) -> int:
        """Number of scalars."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class OperatorRecord:
    """An operator as the file has it; -1 among `inputs` is an operand left out."""

    index: int
    op: str  # the schema's name: CONV_2D, …; `CUSTOM 'name'` for custom ones
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any  # the generated accessor of its options, None where the file has none
    intermediates: tuple[int, ...] = ()  # tensors that hold no more than an encoding


@dataclass(frozen=True, slots=True)
class FileRecord:
    """The one subgraph of a file."""

    tensors: tuple[TensorRecord, ...]
    operators: tuple[OperatorRecord, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_file(data: bytes, source: str) -> FileRecord:
    """The records of a file's bytes; `source` names the file in errors.

    Raises ImportModelError where the bytes are no TensorFlow Lite file, a damaged one, one of
    unreasonable size, or one that keeps its data elsewhere.
    """
    if data[4:8] != _FILE_ID:
        raise ImportModelError(f"{source}: not a TensorFlow Lite file (it has no TFL3 identifier)")
    with damage_named(source):
        return _Reader(data, source).read()


@contextmanager
def damage_named(source: str) -> Iterator[None]:
    """What damaged offsets make the generated accessors raise, as one ImportModelError."""
    try:
        yield
    except _DAMAGES as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ImportModelError(f"{source}: a damaged TensorFlow Lite file ({reason})") from error


class _Reader:
    def __init__(self, data: bytes, source: str) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self._schema: Any = schema
        self._source = source
        self._empty: frozenset[int] = frozenset()
        self._budget = _BUDGET_PER_BYTE * len(data)
        self._model: Any = schema.Model.GetRootAs(data, 0)
        self._types = _names(schema.TensorType)
        self._ops = _names(schema.BuiltinOperator)
        self._options = _names(schema.BuiltinOptions)

    def read(self) -> FileRecord:
        count = self._model.SubgraphsLength()
        if count == 0:
            raise ImportModelError(f"{self._source}: it holds no model; it is damaged")
        if count > 1:
            raise ImportModelError(
                f"{self._source}: it has {count} subgraphs; models with control flow are not "
                "supported, convert one function without branches"
            )
        graph = self._model.Subgraphs(0)
        count = self._count(graph.TensorsLength())
        operators = tuple(
            self._operator(graph, index, count)
            for index in range(self._count(graph.OperatorsLength()))
        )
        ends = (
            self._indices(graph.InputsLength(), graph.InputsAsNumpy, count, 0),
            self._indices(graph.OutputsLength(), graph.OutputsAsNumpy, count, 0),
        )
        self._empty = _beside(operators, ends)
        tensors = tuple(self._tensor(graph, index) for index in range(count))
        return FileRecord(tensors, operators, *ends)

    def _tensor(self, graph: Any, index: int) -> TensorRecord:
        tensor = graph.Tensors(index)
        shape = self._vector(tensor.ShapeLength(), tensor.ShapeAsNumpy)
        dtype = self._types[tensor.Type()]
        name = self._name(tensor, index)
        if len(shape) > _MOST_RANK or any(size < self._least(index) for size in shape):
            raise ImportModelError(
                f"{self._source}: tensor {index} ('{name}') has shape {shape[:_MOST_RANK]}; "
                "fix every size when you convert, with a batch of 1"
            )
        if tensor.Sparsity() is not None or tensor.ExternalBuffer() != 0:
            raise ImportModelError(
                f"{self._source}: tensor {index} ('{name}') is sparse or stored in another file; "
                "convert without sparsity and with weights inside"
            )
        record = TensorRecord(index, name, shape, dtype, *self._quantization(tensor), None)
        record = dataclasses.replace(record, data=self._constant(tensor.Buffer(), record))
        if record.data is None and record.elements > _MOST_ACTIVATION_ELEMENTS:
            raise ImportModelError(
                f"{self._source}: tensor {index} ('{name}') has {record.elements} elements, "
                f"at most {_MOST_ACTIVATION_ELEMENTS} are supported"
            )
        return record

    def _least(self, index: int) -> int:
        """Sizes are at least 1, but for tensors that stand for an encoding alone."""
        return 0 if index in self._empty else 1

    def _name(self, tensor: Any, index: int) -> str:
        raw = tensor.Name() or b""
        self._spend(len(raw))
        text = raw[:_LONGEST_NAME].decode("utf-8", "replace")
        return "".join(c if c.isprintable() else "?" for c in text) or f"tensor_{index}"

    def _quantization(self, tensor: Any) -> tuple[tuple[float, ...], tuple[int, ...], int]:
        quant = tensor.Quantization()
        if quant is None:
            return (), (), 0
        scales = self._vector(quant.ScaleLength(), quant.ScaleAsNumpy)
        zeros = self._vector(quant.ZeroPointLength(), quant.ZeroPointAsNumpy)
        if not zeros:
            zeros = (0,) * len(scales)
        return scales, zeros, int(quant.QuantizedDimension())

    def _constant(self, position: int, tensor: TensorRecord) -> Array | None:
        """The data of a tensor; None where it has none."""
        if position == 0:
            return None
        if position >= self._count(self._model.BuffersLength()):
            raise ImportModelError(
                f"{self._source}: tensor {tensor.index} ('{tensor.name}') is in buffer "
                f"{position}, which is not there"
            )
        buffer = self._model.Buffers(position)
        if buffer.Offset() > 1:
            raise ImportModelError(
                f"{self._source}: its weights lie behind the flatbuffer, as in models above "
                "2 GB; those are not supported"
            )
        if buffer.DataLength() == 0:
            return None
        self._spend(buffer.DataLength())
        raw = buffer.DataAsNumpy()
        dtype = _NUMPY.get(tensor.dtype)
        if dtype is None:
            return np.asarray(raw)
        packed = tensor.dtype == "INT4"
        needed = -(-tensor.elements // 2) if packed else tensor.elements * dtype.itemsize
        if len(raw) != needed:
            raise ImportModelError(
                f"{self._source}: tensor {tensor.index} ('{tensor.name}') has {len(raw)} bytes, "
                f"its shape {tensor.shape} needs {needed}"
            )
        data = np.frombuffer(raw.tobytes(), dtype)
        return (_unpacked(data)[: tensor.elements] if packed else data).reshape(tensor.shape)

    def _operator(self, graph: Any, index: int, tensors: int) -> OperatorRecord:
        operator = graph.Operators(index)
        position = operator.OpcodeIndex()
        if position >= self._count(self._model.OperatorCodesLength()):
            raise ImportModelError(f"{self._source}: operator {index} has no operator code")
        return OperatorRecord(
            index,
            self._op_name(self._model.OperatorCodes(position)),
            self._indices(operator.InputsLength(), operator.InputsAsNumpy, tensors, -1),
            self._indices(operator.OutputsLength(), operator.OutputsAsNumpy, tensors, 0),
            self._options_of(operator),
            self._indices(
                operator.IntermediatesLength(), operator.IntermediatesAsNumpy, tensors, 0
            ),
        )

    def _op_name(self, code: Any) -> str:
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        if number != self._schema.BuiltinOperator.CUSTOM:
            return self._ops.get(number, f"operator code {number}")
        raw = (code.CustomCode() or b"")[:64]
        self._spend(len(raw))
        return f"CUSTOM {raw.decode('utf-8', 'replace')!a}"

    def _options_of(self, operator: Any) -> Any:
        table = operator.BuiltinOptions()
        name = self._options.get(operator.BuiltinOptionsType(), "NONE")
        accessor = getattr(self._schema, name, None)
        if table is None or accessor is None:
            return None
        options = accessor()
        options.Init(table.Bytes, table.Pos)
        return options

    def _indices(self, length: int, read: Any, tensors: int, lowest: int) -> tuple[int, ...]:
        indices: tuple[int, ...] = self._vector(length, read)
        if any(not lowest <= index < tensors for index in indices):
            raise ImportModelError(f"{self._source}: it names a tensor that is not there")
        return indices

    def _vector(self, length: int, read: Any) -> tuple[Any, ...]:
        if length == 0:
            return ()
        self._spend(length)
        return tuple(read().tolist())

    def _count(self, count: int) -> int:
        if count > _MOST_TABLES:
            raise ImportModelError(f"{self._source}: it claims {count} tables; it is damaged")
        return count

    def _spend(self, amount: int) -> None:
        self._budget -= amount + 1
        if self._budget < 0:
            raise ImportModelError(f"{self._source}: its vectors overlap; it is damaged")


_NUMPY: Mapping[str, np.dtype[Any]] = {
    "FLOAT32": np.dtype("<f4"),
    "FLOAT16": np.dtype("<f2"),
    "INT4": np.dtype(np.int8),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "UINT8": np.dtype(np.uint8),
}


def _beside(
    operators: tuple[OperatorRecord, ...], ends: tuple[tuple[int, ...], tuple[int, ...]]
) -> frozenset[int]:
    """Intermediates that nothing reads or writes: they may be empty."""
    used = {*ends[0], *ends[1]}
    for operator in operators:
        used.update(operator.inputs, operator.outputs)
    return frozenset(index for each in operators for index in each.intermediates) - used


def _unpacked(data: Array) -> Array:
    """Two numbers of 4 bits from each byte, the low half first; int8."""
    halves = np.stack([data << 4, data], axis=-1) >> 4  # the right shift keeps the sign
    return halves.reshape(-1).astype(np.int8)


def _names(enum: Any) -> dict[int, str]:
    return {number: name for name, number in vars(enum).items() if isinstance(number, int)}
