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
from .shapes import Shape
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
        _check_form(lowered, node)
    writer = _Writer(lowered)
    for node in lowered.nodes:
        writer.add(node)
    return writer.finish()


def _check_form(graph: Graph, node: Node) -> None:
    dtype = graph.values[node.inputs[0]].dtype
    if node.op not in FORMS or dtype not in FORMS[node.op].versions:
        raise EmitError(f"{node.name}: TensorFlow Lite has no {dtype} '{node.op}'")
    most = FORMS[node.op].most_axes
    rank = max(len(graph.values[name].shape) for name in (*node.inputs, node.output))
    if rank > most:
        raise EmitError(
            f"{node.name}: LiteRT's '{node.op}' takes at most {most} axes, not {rank}; reshape "
            "before it so that fewer are left"
        )


class _Writer:
    """Collects tensors, buffers and operators in the order of the nodes."""

    def __init__(self, graph: Graph) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self._schema: Any = schema
        self._graph = graph
        self._buffers: list[Any] = [schema.BufferT()]  # buffer 0 is empty by convention
        self._tensors: list[Any] = []
        self._index: dict[str, int] = {}
        self._added: dict[tuple[DType, Shape, bytes, QuantParams | None], int] = {}
        self._codes: dict[tuple[str, int], int] = {}
        self._operators: list[Any] = []
        for name in graph.inputs:
            self._tensor(name)

    def add(self, node: Node) -> None:
        """Append one operator and its tensors."""
        form = FORMS[node.op]
        own = [self._tensor(name) for name in node.inputs]
        extra = form.operands(self._graph, node)
        added = [self._constant(node, *pair) for pair in enumerate(extra)]
        added += [self._variable(value) for value in form.variables(self._graph, node)]
        inputs = form.arrange(own, added)
        key = (form.operator(node), form.version(self._graph, node))
        options = form.options(self._schema, self._graph, node)
        if form.boolean:
            truth = self._truth(node)
            self._append(key, inputs, truth, options)
            key, inputs, options = ("CAST", 1), [truth], self._from_bool()
        self._append(key, inputs, self._tensor(node.output), options)
        inner = [self._inner(value) for value in form.intermediates(self._graph, node)]
        self._operators[-1].intermediates = inner or None

    def _append(
        self, key: tuple[str, int], inputs: list[int], output: int, options: tuple[str, Any]
    ) -> None:
        operator = self._schema.OperatorT()
        operator.opcodeIndex = self._codes.setdefault(key, len(self._codes))
        operator.inputs, operator.outputs = inputs, [output]
        operator.builtinOptionsType = getattr(self._schema.BuiltinOptions, options[0])
        operator.builtinOptions = options[1]
        self._operators.append(operator)

    def _truth(self, node: Node) -> int:
        """A tensor of booleans with the shape of the node's output."""
        tensor = self._tensor_of(self._graph.values[node.output])
        tensor.name, tensor.type = f"{node.output}.bool", self._schema.TensorType.BOOL
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def _from_bool(self) -> tuple[str, Any]:
        options = self._schema.CastOptionsT()
        options.inDataType = self._schema.TensorType.BOOL
        options.outDataType = self._schema.TensorType.FLOAT32
        return "CastOptions", options

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
        """A tensor of an operand that the format adds; equal ones are one."""
        dtype, output = DType(data.dtype.name), self._graph.values[node.output]
        quant = output.quant if dtype is output.dtype else None
        key = (dtype, data.shape, data.tobytes(), quant)
        if key not in self._added:
            name = f"{node.name}.operand{position}"
            self._added[key] = len(self._tensors)
            self._tensors.append(self._tensor_of(Value(name, data.shape, dtype, quant, data)))
        return self._added[key]

    def _variable(self, value: Value) -> int:
        """A tensor of zeros that lives on from one invocation to the next."""
        index = self._inner(value)
        self._tensors[index].isVariable = True
        return index

    def _inner(self, value: Value) -> int:
        """A tensor of one operator alone."""
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
