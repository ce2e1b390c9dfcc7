"""`Writer`: what the graph's values are in the ONNX model: tensors, layouts and encodings.

Every value of the graph is a float tensor here. A quantized one went through QuantizeLinear and
DequantizeLinear; runtimes fuse those pairs with what stands between them. Activations are uint8
(the graph's int8 plus 128), because on x86 ONNX Runtime fuses only those; weights are int8, one
scale for each channel.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .errors import EmitError
from .graph import Array, DType, Graph, QuantParams, Value
from .onnx_layouts import (
    CHANNELS_FIRST,
    Layout,
    arrange,
    cost,
    natural,
    permutation,
    same_elements,
)
from .onnx_nodes import Nodes
from .onnx_tensors import CODES, narrow_bias
from .ops import Activation
from .shapes import Shape


class Writer(Nodes):
    """Forms append their nodes here; `want` gives them a value's tensor in a layout."""

    def __init__(self, graph: Graph, opset: int) -> None:
        super().__init__((*graph.inputs, *graph.outputs))
        self.graph = graph
        self.opset = opset
        self.columns: dict[str, Array] = {}
        """Flattened values whose columns lie in another order: where each is in the graph."""
        self._constants: dict[str, str] = {}
        self._tensors: dict[str, dict[Layout, str]] = {}
        self._written: dict[tuple[str, Shape, bytes], str] = {}

    def shape(self, value: str) -> Shape:
        """The value's shape in the graph."""
        return self.graph.values[value].shape

    def source(self, name: str) -> Value:
        """The value, or the constant that a dequantization made it of."""
        return self.graph.values[self._constants.get(name, name)]

    def data(self, name: str) -> Array:
        """What a weight, a bias or an index holds: codes where it is quantized."""
        return self.graph.constant(self._constants.get(name, name))

    def stand_for(self, name: str, constant: str) -> None:
        """The value is what `constant` says; it is written where and how it is read."""
        self._constants[name] = constant

    def want(self, name: str, layout: Layout) -> str:
        """The tensor of a value in `layout`; made where it is not there yet."""
        known = self._tensors.setdefault(name, {})
        if layout not in known:
            known[layout] = self._arranged(self.source(name), layout)
        return known[layout]

    def in_order(self, name: str) -> str:
        """A tensor of a value with its elements in the graph's order, whatever its shape."""
        order = natural(len(self.shape(name)))
        for layout in self.layouts(name):
            if same_elements(self.shape(name), layout, order):
                return self.want(name, layout)
        return self.want(name, order)

    def own(self, name: str) -> tuple[str, Layout]:
        """The tensor of a value in the layout that it was made in, and that layout."""
        layout = self.layouts(name)[0]
        return self.want(name, layout), layout

    def layouts(self, name: str) -> tuple[Layout, ...]:
        """The layouts in which a value is there at no cost."""
        return tuple(self._tensors.get(name, ())) or (natural(len(self.shape(name))),)

    def cost(self, name: str, layout: Layout) -> int:
        """Elements to move before the value is there in `layout`; a constant is written so."""
        if self.source(name).data is not None:
            return 0
        return cost(self.shape(name), self.layouts(name), layout)

    def define(
        self, name: str, raw: str, layout: Layout, activation: Activation = Activation.NONE
    ) -> None:
        """`raw` is the value's float tensor in `layout`, neither clamped nor rounded yet."""
        self.alias(name, self.settled(name, raw, activation), layout)

    def settled(self, name: str, raw: str, activation: Activation) -> str:
        """`raw` clamped, and rounded where the value is quantized."""
        value = self.graph.values[name]
        if activation is not Activation.NONE and not _saturates(value, activation):
            # Rounded first too: an integer kernel can only be fused with what it rounds to.
            raw = self._clamp(self.rounded(value, raw, f"{name}.unclamped"), name, activation)
        return self.rounded(value, raw, name)

    def alias(self, name: str, tensor: str, layout: Layout) -> None:
        """`tensor`, already rounded as the value asks, is the value."""
        self._tensors[name] = {layout: tensor}

    def rounded(self, value: Value, raw: str, name: str) -> str:
        """`raw` to the codes of a quantized `value` and back; `raw` itself of a float one."""
        if value.quant is None or value.dtype not in CODES:
            return raw
        encoding = self.encoding(value.dtype, value.quant, name)
        quantized = self.op("QuantizeLinear", [raw, *encoding], f"{name}.q")
        return self.op("DequantizeLinear", [quantized, *encoding], f"{name}.dq")

    def encoding(self, dtype: DType, quant: QuantParams, name: str) -> list[str]:
        """Scale and zero point of an activation."""
        codes = CODES[dtype]
        zero_point = np.array(quant.zero_point[0] + codes.shift, codes.numpy)
        return [
            self.constant(f"{name}.scale", np.array(quant.scale[0], np.float32)),
            self.constant(f"{name}.zero", zero_point),
        ]

    def weights(self, name: str, data: Array, axis: int = 0) -> str:
        """A constant with its output channels on `axis`; a quantized one is dequantized."""
        return self._once(name, data, lambda: self._weights(name, data, axis))

    def operand(self, name: str, data: Array) -> str:
        """A constant where activations are read, holding `data` in place of its own."""
        return self._once(name, data, lambda: self._operand(name, data))

    def _once(self, name: str, data: Array, write: Callable[[], str]) -> str:
        """What `write` gave for the same constant: unrolled loops read their weights often."""
        key = (name, data.shape, data.tobytes())
        if key not in self._written:
            self._written[key] = write()
        return self._written[key]

    def _weights(self, name: str, data: Array, axis: int) -> str:
        value = self.source(name)
        if value.quant is None:
            return self._float(name, data)
        channels, dtype = data.shape[axis], value.dtype
        scales = np.broadcast_to(np.asarray(value.quant.scale, np.float32), channels)
        if dtype is DType.INT64:
            dtype = DType.INT32
            data, scales = narrow_bias(data, scales)
        stored = self.constant(f"{name}.q", data, dtype)
        scale = self.constant(f"{name}.scale", scales)
        zero = self.constant(f"{name}.zero", np.zeros(channels, dtype.numpy), dtype)
        return self.op("DequantizeLinear", [stored, scale, zero], name, axis=axis)

    def _operand(self, name: str, data: Array) -> str:
        value = self.source(name)
        if value.quant is None:
            return self._float(name, data)
        if value.dtype not in CODES or len(value.quant.scale) > 1:
            raise EmitError(f"'{name}' is encoded as weights are, and read as an activation")
        stored = self.constant(f"{name}.q", CODES[value.dtype].encode(data))
        encoding = self.encoding(value.dtype, value.quant, name)
        return self.op("DequantizeLinear", [stored, *encoding], f"{name}.dq")

    def _arranged(self, value: Value, layout: Layout) -> str:
        if value.data is not None:
            return self.operand(value.name, value.data.transpose(layout))
        tensor, before = self._nearest(value, layout)
        name = f"{value.name}.{_ORDERS.get(layout, 'ordered')}"
        if layout == before:
            raw = tensor
        elif same_elements(value.shape, before, layout):
            raw = self.reshape(tensor, arrange(value.shape, layout), name)
        else:
            perm = list(permutation(before, layout))
            raw = self.op("Transpose", [tensor], name, perm=perm)
        return self.rounded(value, raw, name)

    def _nearest(self, value: Value, layout: Layout) -> tuple[str, Layout]:
        """A tensor of the value to start from; inputs are moved before they are rounded."""
        if value.name in self.graph.inputs:
            return value.name, natural(len(value.shape))
        known = self._tensors[value.name]
        near = min(known, key=lambda have: cost(value.shape, [have], layout))
        return known[near], near

    def _float(self, name: str, data: Array) -> str:
        if data.dtype != np.float16:
            return self.constant(name, data)
        half = self.constant(f"{name}.half", data)
        return self.op("Cast", [half], name, to=1)

    def _clamp(self, raw: str, name: str, activation: Activation) -> str:
        if activation is Activation.RELU:
            return self.op("Relu", [raw], f"{name}.relu")
        low = self.constant(f"{name}.low", np.array(0.0, np.float32))
        high = self.constant(f"{name}.high", np.array(6.0, np.float32))
        return self.op("Clip", [raw, low, high], f"{name}.relu6")


_ORDERS = {CHANNELS_FIRST: "nchw", natural(4): "nhwc"}


def _saturates(value: Value, activation: Activation) -> bool:
    """Whether rounding to int8 already clamps: then the activation needs no node."""
    quant = value.quant
    if quant is None or value.dtype is not DType.INT8 or quant.zero_point[0] != -128:
        return False
    return activation is Activation.RELU or quant.scale[0] * 255 <= 6.0
