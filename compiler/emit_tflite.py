"""TensorFlow Lite: a graph written as a flatbuffer, without TensorFlow.

The file holds one subgraph whose tensors bear the graph's value names. The same graph gives the
same bytes. Operator versions are the lowest that have int8 with per-channel weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .errors import EmitError
from .graph import Array, DType, Graph, Node, QuantParams, Value
from .numerics import numerics_of
from .passes import lower_padding
from .passes.halves import dequantize_halves
from .tflite_forms import FORMS

_LAST_DEPRECATED_CODE = 127  # what the field holds for operators that came later
_ALIGNMENT = 16  # bytes; the schema's `force_align` of constant data
_FILE_ID = b"TFL3"
_SCHEMA_VERSION = 3


def emit_tflite(graph: Graph) -> bytes:
    """The file of an optimized float32 or a quantized graph.

    Raises EmitError where TensorFlow Lite has no equivalent of a node.
    """
    lowered = dequantize_halves(lower_padding(graph))
    for node in lowered.nodes:
        dtype = lowered.values[node.inputs[0]].dtype
        if node.op not in FORMS or dtype not in FORMS[node.op].versions:
            raise EmitError(f"{node.name}: TensorFlow Lite has no {dtype} '{node.op}'")
    writer = _Writer(lowered)
    for node in lowered.nodes:
        writer.add(node)
    return writer.finish()


class _Writer:
    """Collects tensors, buffers and operators in the order of the nodes."""

    def __init__(self, graph: Graph) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self._schema: Any = schema
        self._graph = graph
        self._buffers: list[Any] = [schema.BufferT()]  # buffer 0 is empty by convention
        self._tensors: list[Any] = []
        self._index: dict[str, int] = {}
        self._codes: dict[tuple[str, int], int] = {}
        self._operators: list[Any] = []
        for name in graph.inputs:
            self._tensor(name)

    def add(self, node: Node) -> None:
        """Append one operator and its tensors."""
        schema = self._schema
        operator = schema.OperatorT()
        operator.opcodeIndex = self._code(node)
        inputs = [self._tensor(name) for name in node.inputs]
        form = FORMS[node.op]
        extra = form.operands(self._graph, node)
        added = [self._constant(node, *pair) for pair in enumerate(extra)]
        operator.inputs = form.arrange(inputs, added)
        output = self._tensor(node.output)
        operator.outputs = [self._booleans(node) if form.gives_booleans else output]
        name, options = form.options(schema, self._graph, node)
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, name)
        operator.builtinOptions = options
        self._operators.append(operator)
        if form.gives_booleans:
            self._operators.append(self._cast(operator.outputs[0], output))

    def finish(self) -> bytes:
        """The file's bytes."""
        import flatbuffers

        schema = self._schema
        subgraph = schema.SubGraphT()
        subgraph.name = self._graph.name
        subgraph.tensors = self._tensors
        subgraph.inputs = [self._index[name] for name in self._graph.inputs]
        subgraph.outputs = [self._index[name] for name in self._graph.outputs]
        subgraph.operators = self._operators
        model = schema.ModelT()
        model.version = _SCHEMA_VERSION
        model.description = f"edgekiln {numerics_of(self._graph)}"
        model.buffers = self._buffers
        model.subgraphs = [subgraph]
        model.operatorCodes = [self._operator_code(*key) for key in self._codes]
        builder = flatbuffers.Builder(1 << 14)
        builder.Finish(model.Pack(builder), _FILE_ID)
        return bytes(builder.Output())

    def _code(self, node: Node) -> int:
        form = FORMS[node.op]
        return self._code_of(form.operator(node), form.version(self._graph, node))

    def _code_of(self, operator: str, version: int) -> int:
        return self._codes.setdefault((operator, version), len(self._codes))

    def _booleans(self, node: Node) -> int:
        """A tensor that the graph does not have: ones and zeros before they are numbers."""
        tensor = self._schema.TensorT()
        tensor.name = f"{node.output}.booleans"
        tensor.shape = list(self._graph.values[node.output].shape)
        tensor.type = self._schema.TensorType.BOOL
        tensor.buffer = 0
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def _cast(self, booleans: int, numbers: int) -> Any:
        schema = self._schema
        operator = schema.OperatorT()
        operator.opcodeIndex = self._code_of("CAST", 1)
        operator.inputs, operator.outputs = [booleans], [numbers]
        operator.builtinOptionsType = schema.BuiltinOptions.CastOptions
        operator.builtinOptions = schema.CastOptionsT()
        operator.builtinOptions.inDataType = schema.TensorType.BOOL
        operator.builtinOptions.outDataType = schema.TensorType.FLOAT32
        return operator

    def _operator_code(self, name: str, version: int) -> Any:
        code = self._schema.OperatorCodeT()
        code.builtinCode = getattr(self._schema.BuiltinOperator, name)
        code.deprecatedBuiltinCode = min(code.builtinCode, _LAST_DEPRECATED_CODE)
        code.version = version
        return code

    def _tensor(self, name: str) -> int:
        if name not in self._index:
            self._index[name] = len(self._tensors)
            self._tensors.append(self._tensor_of(self._graph.values[name]))
        return self._index[name]

    def _constant(self, node: Node, position: int, data: Array) -> int:
        dtype, output = DType(data.dtype.name), self._graph.values[node.output]
        quant = output.quant if dtype is output.dtype else None
        value = Value(f"{node.name}.operand{position}", data.shape, dtype, quant, data)
        self._tensors.append(self._tensor_of(value))
        return len(self._tensors) - 1

    def _tensor_of(self, value: Value) -> Any:
        tensor = self._schema.TensorT()
        tensor.name = value.name
        tensor.shape = list(value.shape)
        tensor.type = getattr(self._schema.TensorType, value.dtype.name)
        tensor.buffer = 0
        if value.data is not None:
            tensor.buffer = len(self._buffers)
            self._buffers.append(_buffer(self._schema, _payload(value.dtype, value.data)))
        if value.quant is not None:
            tensor.quantization = _quantization(self._schema, value.quant)
        return tensor


def _payload(dtype: DType, data: Array) -> bytes:
    """A constant's bytes; int4 holds two elements in each, the first in the low half."""
    if dtype is not DType.INT4:
        return np.ascontiguousarray(data).tobytes()
    nibbles = data.reshape(-1).view(np.uint8) & 0xF
    even = np.pad(nibbles, (0, len(nibbles) % 2))
    packed: Array = even[::2] | even[1::2] << 4
    return packed.tobytes()


def _buffer(schema: Any, payload: bytes) -> Any:
    """A buffer whose data starts at a multiple of 16 bytes; the generated code aligns to one."""

    class Aligned(schema.BufferT):  # type: ignore[misc]
        def Pack(self, builder: Any) -> Any:  # noqa: N802 - the generated code calls it
            builder.StartVector(1, len(payload), _ALIGNMENT)
            builder.head -= len(payload)
            builder.Bytes[builder.head : builder.head + len(payload)] = payload
            vector = builder.EndVector()
            schema.BufferStart(builder)
            schema.BufferAddData(builder, vector)
            return schema.BufferEnd(builder)

    return Aligned()


def _quantization(schema: Any, quant: QuantParams) -> Any:
    params = schema.QuantizationParametersT()
    params.scale = np.asarray(quant.scale, np.float32)
    params.zeroPoint = np.asarray(quant.zero_point, np.int64)
    params.quantizedDimension = quant.axis or 0
    return params
