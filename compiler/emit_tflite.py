"""TensorFlow Lite: a graph written as a flatbuffer, without TensorFlow.

The file holds one subgraph whose tensors bear the graph's value names. The same graph gives the
same bytes. Operator versions are the lowest that have int8 with per-channel weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .errors import EmitError
from .graph import Array, DType, Graph, Node, QuantParams, Value
from .ops import (
    Activation,
    BinaryAttrs,
    ConvAttrs,
    DenseAttrs,
    Op,
    PadAttrs,
    PoolAttrs,
    ReduceAttrs,
)
from .passes import lower_padding

# (float32, int8) versions of each operator.
_VERSIONS: Mapping[Op, tuple[int, int]] = {
    Op.CONV_2D: (1, 3),
    Op.DEPTHWISE_CONV_2D: (1, 3),
    Op.FULLY_CONNECTED: (1, 4),
    Op.ADD: (1, 2),
    Op.MAX_POOL_2D: (1, 2),
    Op.AVERAGE_POOL_2D: (1, 2),
    Op.MEAN: (1, 2),
    Op.PAD: (1, 2),
    Op.RESHAPE: (1, 1),
    Op.SOFTMAX: (1, 2),
}
_DILATED_DEPTHWISE = (2, 3)
_ALIGNMENT = 16  # bytes; the schema's `force_align` of constant data
_FILE_ID = b"TFL3"
_SCHEMA_VERSION = 3
_DESCRIPTION = "edgekiln int8.v1"


def emit_tflite(graph: Graph) -> bytes:
    """The file of an optimized float32 or a quantized graph.

    Raises EmitError where TensorFlow Lite has no equivalent of a node.
    """
    lowered = lower_padding(graph)
    for node in lowered.nodes:
        if node.op not in _VERSIONS:
            raise EmitError(f"{node.name}: '{node.op}' cannot be written; optimize the graph first")
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
        self._codes: dict[tuple[Op, int], int] = {}
        self._operators: list[Any] = []
        self._tensor(graph.inputs[0])

    def add(self, node: Node) -> None:
        """Append one operator and its tensors."""
        schema = self._schema
        operator = schema.OperatorT()
        operator.opcodeIndex = self._code(node)
        inputs = [self._tensor(name) for name in node.inputs]
        extra = _extra_operand(self._graph, node)
        operator.inputs = inputs if extra is None else [*inputs, self._constant(node, extra)]
        operator.outputs = [self._tensor(node.output)]
        name, options = _OPTIONS[node.op](schema, self._graph, node)
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, name)
        operator.builtinOptions = options
        self._operators.append(operator)

    def finish(self) -> bytes:
        """The file's bytes."""
        import flatbuffers

        schema = self._schema
        subgraph = schema.SubGraphT()
        subgraph.name = self._graph.name
        subgraph.tensors = self._tensors
        subgraph.inputs = [self._index[self._graph.inputs[0]]]
        subgraph.outputs = [self._index[self._graph.outputs[0]]]
        subgraph.operators = self._operators
        model = schema.ModelT()
        model.version = _SCHEMA_VERSION
        model.description = _DESCRIPTION
        model.buffers = self._buffers
        model.subgraphs = [subgraph]
        model.operatorCodes = [self._operator_code(*key) for key in self._codes]
        builder = flatbuffers.Builder(1 << 14)
        builder.Finish(model.Pack(builder), _FILE_ID)
        return bytes(builder.Output())

    def _code(self, node: Node) -> int:
        versions = _VERSIONS[node.op]
        if isinstance(node.attrs, ConvAttrs) and node.op is Op.DEPTHWISE_CONV_2D:
            versions = versions if node.attrs.dilation == (1, 1) else _DILATED_DEPTHWISE
        version = versions[self._graph.input.dtype is DType.INT8]
        return self._codes.setdefault((node.op, version), len(self._codes))

    def _operator_code(self, op: Op, version: int) -> Any:
        code = self._schema.OperatorCodeT()
        code.builtinCode = getattr(self._schema.BuiltinOperator, op.name)
        code.deprecatedBuiltinCode = code.builtinCode  # all below 127
        code.version = version
        return code

    def _tensor(self, name: str) -> int:
        if name not in self._index:
            self._index[name] = len(self._tensors)
            self._tensors.append(self._tensor_of(self._graph.values[name]))
        return self._index[name]

    def _constant(self, node: Node, data: Array) -> int:
        value = Value(f"{node.name}.operand", data.shape, DType.INT32, data=data)
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
            self._buffers.append(_buffer(self._schema, value.data))
        if value.quant is not None:
            tensor.quantization = _quantization(self._schema, value.quant)
        return tensor


def _buffer(schema: Any, data: Array) -> Any:
    """A buffer whose data starts at a multiple of 16 bytes; the generated code aligns to one."""

    class Aligned(schema.BufferT):  # type: ignore[misc]
        def Pack(self, builder: Any) -> Any:  # noqa: N802 - the generated code calls it
            payload = np.ascontiguousarray(data).tobytes()
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


def _extra_operand(graph: Graph, node: Node) -> Array | None:
    """What TensorFlow Lite passes as a tensor and the graph as an attribute or a shape."""
    if isinstance(node.attrs, ReduceAttrs):
        return np.array(node.attrs.axes, np.int32)
    if isinstance(node.attrs, PadAttrs):
        return np.array(node.attrs.amounts, np.int32)
    if node.op is Op.RESHAPE:
        return np.array(_any_batch(graph, node), np.int32)
    return None


def _any_batch(graph: Graph, node: Node) -> list[int]:
    """The output shape with a free batch axis, so that readers may resize the input."""
    return [-1, *graph.values[node.output].shape[1:]]


def _activation(schema: Any, activation: Activation) -> int:
    return int(getattr(schema.ActivationFunctionType, activation.name))


def _window(schema: Any, options: Any, attrs: ConvAttrs | PoolAttrs) -> Any:
    padded = attrs.padding != ((0, 0), (0, 0))
    options.padding = schema.Padding.SAME if padded else schema.Padding.VALID
    options.strideH, options.strideW = attrs.stride
    return options


def _conv(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
    attrs = node.attrs
    assert isinstance(attrs, ConvAttrs)
    depthwise = node.op is Op.DEPTHWISE_CONV_2D
    name = "DepthwiseConv2DOptions" if depthwise else "Conv2DOptions"
    options = _window(schema, getattr(schema, f"{name}T")(), attrs)
    options.dilationHFactor, options.dilationWFactor = attrs.dilation
    options.fusedActivationFunction = _activation(schema, attrs.activation)
    if depthwise:
        options.depthMultiplier = 1
    return name, options


def _dense(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
    assert isinstance(node.attrs, DenseAttrs)
    options = schema.FullyConnectedOptionsT()
    options.fusedActivationFunction = _activation(schema, node.attrs.activation)
    return "FullyConnectedOptions", options


def _add(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
    assert isinstance(node.attrs, BinaryAttrs)
    options = schema.AddOptionsT()
    options.fusedActivationFunction = _activation(schema, node.attrs.activation)
    return "AddOptions", options


def _pool(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
    assert isinstance(node.attrs, PoolAttrs)
    options = _window(schema, schema.Pool2DOptionsT(), node.attrs)
    options.filterHeight, options.filterWidth = node.attrs.kernel
    return "Pool2DOptions", options


def _mean(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
    assert isinstance(node.attrs, ReduceAttrs)
    options = schema.ReducerOptionsT()
    options.keepDims = node.attrs.keep_dims
    return "ReducerOptions", options


def _pad(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
    return "PadOptions", schema.PadOptionsT()


def _reshape(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
    options = schema.ReshapeOptionsT()
    options.newShape = _any_batch(graph, node)
    return "ReshapeOptions", options


def _softmax(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
    options = schema.SoftmaxOptionsT()
    options.beta = 1.0
    return "SoftmaxOptions", options


_OPTIONS: Mapping[Op, Callable[[Any, Graph, Node], tuple[str, Any]]] = {
    Op.CONV_2D: _conv,
    Op.DEPTHWISE_CONV_2D: _conv,
    Op.FULLY_CONNECTED: _dense,
    Op.ADD: _add,
    Op.MAX_POOL_2D: _pool,
    Op.AVERAGE_POOL_2D: _pool,
    Op.MEAN: _mean,
    Op.PAD: _pad,
    Op.RESHAPE: _reshape,
    Op.SOFTMAX: _softmax,
}
