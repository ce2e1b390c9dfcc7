"""ONNX: a graph written in QDQ form (quantized) or plainly (float32).

Input (n, h, w, c) or (n, features) float32, preprocessed; output (n, classes) float32 logits; n
is free. Inside, images are NCHW: one transpose at the entry where there are several channels, a
reshape otherwise. Activations are uint8 (the graph's int8 plus 128), because on x86 ONNX Runtime
fuses only those; weights are int8, one scale for each channel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .errors import EmitError
from .graph import Array, Graph, Node, QuantParams
from .ops import Activation, BinaryAttrs, ConvAttrs, DenseAttrs, Op, PadAttrs, Padding, PoolAttrs

_OPSET = 17
_IR_VERSION = 8
_UINT8_SHIFT = 128  # int8 zero point + 128 = uint8 zero point


def emit_onnx(graph: Graph) -> bytes:
    """The checked model of an optimized float32 or a quantized graph; deterministic."""
    import onnx

    for node in graph.nodes:
        if node.op not in _EMITTERS:
            raise EmitError(f"{node.name}: '{node.op}' cannot be written; optimize the graph first")
    writer = _Writer(graph)
    for node in graph.nodes:
        _EMITTERS[node.op](writer, node)
    model = writer.model()
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


class _Writer:
    """Collects nodes and initializers. `real[v]` names the float tensor of the value v."""

    def __init__(self, graph: Graph) -> None:
        from onnx import helper, numpy_helper

        self.graph = graph
        self._helper: Any = helper
        self._numpy: Any = numpy_helper
        self._nodes: list[Any] = []
        self._initializers: dict[str, Any] = {}
        self.real: dict[str, str] = {}
        # Flattened values whose elements lie in channel, row, column order: (c, h, w).
        self.channels_first: dict[str, tuple[int, int, int]] = {}
        self._enter()

    def op(self, op_type: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Append a node and return its output."""
        node = self._helper.make_node(op_type, inputs, [output], name=output, **attributes)
        self._nodes.append(node)
        return output

    def constant(self, name: str, data: Array) -> str:
        """Add an initializer and return its name."""
        self._initializers[name] = self._numpy.from_array(np.asarray(data, order="C"), name)
        return name

    def weights(self, name: str, data: Array) -> str:
        """A constant with channels on axis 0, through DequantizeLinear where it is quantized."""
        quant = self.graph.values[name].quant
        stored = self.constant(name if quant is None else f"{name}.q", data)
        if quant is None:
            return stored
        channels = len(data)
        scales = np.broadcast_to(np.asarray(quant.scale, np.float32), channels)
        scale = self.constant(f"{name}.scale", scales)
        zero = self.constant(f"{name}.zero", np.zeros(channels, data.dtype))
        return self.op("DequantizeLinear", [stored, scale, zero], name, axis=0)

    def define(self, value: str, raw: str, activation: Activation = Activation.NONE) -> None:
        """`raw` is the value's float tensor: clamp it, and round-trip it where quantized."""
        quant = self.graph.values[value].quant
        if activation is not Activation.NONE and not _saturates(quant, activation):
            raw = self._clamp(raw, value, activation)
        self.real[value] = raw if quant is None else self.round_trip(value, raw, quant)

    def round_trip(self, name: str, raw: str, quant: QuantParams) -> str:
        """QuantizeLinear and DequantizeLinear to uint8 and back."""
        zero_point = np.array(quant.zero_point[0] + _UINT8_SHIFT, np.uint8)
        scale = self.constant(f"{name}.scale", np.array(quant.scale[0], np.float32))
        zero = self.constant(f"{name}.zero", zero_point)
        quantized = self.op("QuantizeLinear", [raw, scale, zero], f"{name}.q")
        return self.op("DequantizeLinear", [quantized, scale, zero], f"{name}.dq")

    def shape(self, value: str) -> tuple[int, ...]:
        """The value's shape in the graph."""
        return self.graph.values[value].shape

    def to_shape(self, x: str, shape: tuple[int, ...], output: str) -> str:
        """Reshape all but the batch axis."""
        target = self.constant(f"{output}.shape", np.array([0, *shape[1:]], np.int64))
        return self.op("Reshape", [x, target], output)

    def model(self) -> Any:
        """The ModelProto."""
        helper, graph = self._helper, self.graph
        output = graph.outputs[0]
        if len(graph.output.shape) == 4:
            self.op("Transpose", [self.real[output]], output, perm=[0, 2, 3, 1])
        else:
            self.op("Identity", [self.real[output]], output)
        float_type = 1
        body = helper.make_graph(
            self._nodes,
            graph.name,
            [
                helper.make_tensor_value_info(
                    graph.inputs[0], float_type, ["n", *graph.input.shape[1:]]
                )
            ],
            [helper.make_tensor_value_info(output, float_type, ["n", *graph.output.shape[1:]])],
            list(self._initializers.values()),
        )
        opset = helper.make_opsetid("", _OPSET)
        return helper.make_model(
            body, producer_name="edgekiln", opset_imports=[opset], ir_version=_IR_VERSION
        )

    def _enter(self) -> None:
        name = self.graph.inputs[0]
        shape = self.graph.input.shape
        raw = name
        if len(shape) == 4 and not self.input_stays_channels_last():
            _, height, width, channels = shape
            if channels == 1:
                raw = self.to_shape(name, (1, 1, height, width), f"{name}.nchw")
            else:
                raw = self.op("Transpose", [name], f"{name}.nchw", perm=[0, 3, 1, 2])
        self.define(name, raw)

    def input_stays_channels_last(self) -> bool:
        """Whether only reshapes read the input image: then nothing needs NCHW."""
        return all(node.op is Op.RESHAPE for node in self.graph.consumers(self.graph.inputs[0]))

    def _clamp(self, raw: str, value: str, activation: Activation) -> str:
        if activation is Activation.RELU:
            return self.op("Relu", [raw], f"{value}.relu")
        low = self.constant("clip.low", np.array(0.0, np.float32))
        high = self.constant("clip.high", np.array(6.0, np.float32))
        return self.op("Clip", [raw, low, high], f"{value}.relu6")


def _saturates(quant: QuantParams | None, activation: Activation) -> bool:
    """Whether rounding to int8 already clamps: then the activation needs no node."""
    if quant is None or quant.zero_point[0] != -128:
        return False
    return activation is Activation.RELU or quant.scale[0] * 255 <= 6.0


def _pads(padding: Padding) -> list[int]:
    (top, bottom), (left, right) = padding
    return [top, left, bottom, right]


def _conv(writer: _Writer, node: Node) -> None:
    attrs = node.attrs
    assert isinstance(attrs, ConvAttrs)
    x, weights, bias = node.inputs
    data = writer.graph.constant(weights)
    depthwise = node.op is Op.DEPTHWISE_CONV_2D
    data = data.transpose(3, 0, 1, 2) if depthwise else data.transpose(0, 3, 1, 2)
    operands = [
        writer.real[x],
        writer.weights(weights, data),
        writer.weights(bias, writer.graph.constant(bias)),
    ]
    raw = writer.op(
        "Conv",
        operands,
        f"{node.output}.raw",
        kernel_shape=list(data.shape[2:]),
        strides=list(attrs.stride),
        pads=_pads(attrs.padding),
        dilations=list(attrs.dilation),
        group=data.shape[0] if depthwise else 1,
    )
    writer.define(node.output, raw, attrs.activation)


def _dense(writer: _Writer, node: Node) -> None:
    assert isinstance(node.attrs, DenseAttrs)
    x, weights, bias = node.inputs
    data = writer.graph.constant(weights)
    if x in writer.channels_first:
        channels, height, width = writer.channels_first[x]
        image = data.reshape(-1, height, width, channels)
        data = image.transpose(0, 3, 1, 2).reshape(data.shape)
    operands = [
        writer.real[x],
        writer.weights(weights, data),
        writer.weights(bias, writer.graph.constant(bias)),
    ]
    raw = writer.op("Gemm", operands, f"{node.output}.raw", transB=1)
    writer.define(node.output, raw, node.attrs.activation)


def _add(writer: _Writer, node: Node) -> None:
    assert isinstance(node.attrs, BinaryAttrs)
    raw = writer.op("Add", [writer.real[name] for name in node.inputs], f"{node.output}.raw")
    writer.define(node.output, raw, node.attrs.activation)


def _max_pool(writer: _Writer, node: Node) -> None:
    _pool(writer, node, "MaxPool", {})


def _average_pool(writer: _Writer, node: Node) -> None:
    _pool(writer, node, "AveragePool", {"count_include_pad": 0})


def _pool(writer: _Writer, node: Node, op_type: str, extra: Mapping[str, int]) -> None:
    attrs = node.attrs
    assert isinstance(attrs, PoolAttrs)
    raw = writer.op(
        op_type,
        [writer.real[node.inputs[0]]],
        f"{node.output}.raw",
        kernel_shape=list(attrs.kernel),
        strides=list(attrs.stride),
        pads=_pads(attrs.padding),
        **extra,
    )
    writer.define(node.output, raw)


def _mean(writer: _Writer, node: Node) -> None:
    # Pooled and rounded first: ONNX Runtime has an integer kernel for that, not for ReduceMean.
    pooled = writer.op("GlobalAveragePool", [writer.real[node.inputs[0]]], f"{node.output}.pool")
    quant = writer.graph.values[node.output].quant
    if quant is not None:
        pooled = writer.round_trip(f"{node.output}.pooled", pooled, quant)
    writer.define(node.output, writer.op("Flatten", [pooled], f"{node.output}.raw", axis=1))


def _pad(writer: _Writer, node: Node) -> None:
    assert isinstance(node.attrs, PadAttrs)
    padding = node.attrs.image_padding
    if padding is None:
        raise EmitError(f"{node.name}: padding that is no zeros around an image")
    (top, bottom), (left, right) = padding
    output = node.output
    readers = writer.graph.consumers(output)
    # ONNX Runtime merges a float Pad into the MaxPool that reads it, though zeros are not -inf.
    # One row too many, sliced off again, keeps them apart.
    spare = 1 if any(reader.op is Op.MAX_POOL_2D for reader in readers) else 0
    amount = np.array([0, 0, top, left, 0, 0, bottom + spare, right], np.int64)
    operands = [writer.real[node.inputs[0]], writer.constant(f"{output}.pads", amount)]
    raw = writer.op("Pad", operands, f"{output}.padded")
    if spare:
        bounds = {"starts": 0, "ends": writer.shape(output)[1], "axes": 2}
        constants = [
            writer.constant(f"{output}.{name}", np.array([bound], np.int64))
            for name, bound in bounds.items()
        ]
        raw = writer.op("Slice", [raw, *constants], f"{output}.raw")
    writer.define(output, raw)


def _reshape(writer: _Writer, node: Node) -> None:
    x, output = node.inputs[0], node.output
    before, after = writer.shape(x), writer.shape(output)
    raw = writer.real[x]
    channels_last = x == writer.graph.inputs[0] and writer.input_stays_channels_last()
    if len(before) == 4 and not channels_last:
        _, height, width, channels = before
        readers = writer.graph.consumers(output)
        if len(after) == 2 and readers and all(r.op is Op.FULLY_CONNECTED for r in readers):
            writer.channels_first[output] = (channels, height, width)
        elif channels > 1 and height * width > 1:
            raw = writer.op("Transpose", [raw], f"{output}.nhwc", perm=[0, 2, 3, 1])
    raw = writer.to_shape(raw, after, f"{output}.raw")
    if len(after) == 4:
        raw = writer.op("Transpose", [raw], f"{output}.nchw", perm=[0, 3, 1, 2])
    writer.define(output, raw)


def _softmax(writer: _Writer, node: Node) -> None:
    axis = -1 if len(writer.shape(node.output)) == 2 else 1
    raw = writer.op("Softmax", [writer.real[node.inputs[0]]], f"{node.output}.raw", axis=axis)
    writer.define(node.output, raw)


_EMITTERS: Mapping[Op, Callable[[_Writer, Node], None]] = {
    Op.CONV_2D: _conv,
    Op.DEPTHWISE_CONV_2D: _conv,
    Op.FULLY_CONNECTED: _dense,
    Op.ADD: _add,
    Op.MAX_POOL_2D: _max_pool,
    Op.AVERAGE_POOL_2D: _average_pool,
    Op.MEAN: _mean,
    Op.PAD: _pad,
    Op.RESHAPE: _reshape,
    Op.SOFTMAX: _softmax,
}
