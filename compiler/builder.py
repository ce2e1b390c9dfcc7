"""`GraphBuilder`: writes a float32 graph node by node, with names and shapes filled in.

Importers use it, and so does everything that needs a graph without a framework. Names come from
the order of calls, so the same calls give the same graph.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from .graph import Array, DType, Graph, Node, Value
from .ops import (
    NO_PADDING,
    Activation,
    Attrs,
    BatchNormAttrs,
    BinaryAttrs,
    ConvAttrs,
    DenseAttrs,
    NoAttrs,
    Op,
    Padding,
    Pair,
    PoolAttrs,
    ReduceAttrs,
    image_pad,
)
from .shapes import Shape, output_shape

PLAIN = NoAttrs()
_MOVES = (Op.RESHAPE, Op.TRANSPOSE, Op.SLICE)


class GraphBuilder:
    """Methods append one node and return the name of its output value."""

    def __init__(self, name: str, input_shape: Iterable[int]) -> None:
        self._name = name
        self.input = "input"
        self._values = {self.input: Value(self.input, tuple(input_shape), DType.FLOAT32)}
        self._nodes: list[Node] = []
        self._inputs = [self.input]

    def shape(self, name: str) -> Shape:
        """Shape of a value already there."""
        return self._values[name].shape

    def conv2d(
        self,
        x: str,
        weights: Array,
        bias: Array | None = None,
        *,
        stride: Pair = (1, 1),
        padding: Padding = NO_PADDING,
        dilation: Pair = (1, 1),
        activation: Activation = Activation.NONE,
        source: str = "",
    ) -> str:
        """`weights` (out, kh, kw, in)."""
        attrs = ConvAttrs(stride, padding, dilation, activation)
        return self._weighted(Op.CONV_2D, x, weights, bias, attrs, source, weights.shape[0])

    def depthwise_conv2d(
        self,
        x: str,
        weights: Array,
        bias: Array | None = None,
        *,
        stride: Pair = (1, 1),
        padding: Padding = NO_PADDING,
        dilation: Pair = (1, 1),
        activation: Activation = Activation.NONE,
        source: str = "",
    ) -> str:
        """`weights` (1, kh, kw, channels)."""
        attrs = ConvAttrs(stride, padding, dilation, activation)
        return self._weighted(
            Op.DEPTHWISE_CONV_2D, x, weights, bias, attrs, source, weights.shape[3]
        )

    def fully_connected(
        self,
        x: str,
        weights: Array,
        bias: Array | None = None,
        *,
        activation: Activation = Activation.NONE,
        source: str = "",
    ) -> str:
        """`weights` (out, in)."""
        attrs = DenseAttrs(activation)
        return self._weighted(Op.FULLY_CONNECTED, x, weights, bias, attrs, source, weights.shape[0])

    def add(
        self, a: str, b: str, *, activation: Activation = Activation.NONE, source: str = ""
    ) -> str:
        """Element-wise sum of two values of one shape."""
        return self.node(Op.ADD, (a, b), BinaryAttrs(activation), source)

    def max_pool2d(
        self, x: str, kernel: Pair, stride: Pair, padding: Padding = NO_PADDING, source: str = ""
    ) -> str:
        """Largest element of each window."""
        return self.node(Op.MAX_POOL_2D, (x,), PoolAttrs(kernel, stride, padding), source)

    def average_pool2d(
        self, x: str, kernel: Pair, stride: Pair, padding: Padding = NO_PADDING, source: str = ""
    ) -> str:
        """Mean of each window; padding does not count."""
        return self.node(Op.AVERAGE_POOL_2D, (x,), PoolAttrs(kernel, stride, padding), source)

    def mean(self, x: str, source: str = "") -> str:
        """Mean over height and width: (1, channels)."""
        return self.node(Op.MEAN, (x,), ReduceAttrs((1, 2)), source)

    def pad(self, x: str, padding: Padding, source: str = "") -> str:
        """Zeros around height and width."""
        return self.node(Op.PAD, (x,), image_pad(padding), source)

    def relu(self, x: str, source: str = "") -> str:
        """max(x, 0)."""
        return self.node(Op.RELU, (x,), NoAttrs(), source)

    def relu6(self, x: str, source: str = "") -> str:
        """min(max(x, 0), 6)."""
        return self.node(Op.RELU6, (x,), NoAttrs(), source)

    def batch_norm(self, x: str, scale: Array, offset: Array, source: str = "") -> str:
        """x · scale + offset, both (channels,)."""
        name = self._next_name(Op.BATCH_NORM)
        operands = (
            x,
            self.constant(f"{name}.scale", scale),
            self.constant(f"{name}.offset", offset),
        )
        return self.node(Op.BATCH_NORM, operands, BatchNormAttrs(), source)

    def reshape(self, x: str, shape: Shape, source: str = "") -> str:
        """The same elements in another shape, batch axis included."""
        return self._append(Op.RESHAPE, (x,), NoAttrs(), source, shape)

    def add_input(self, name: str, shape: Iterable[int]) -> str:
        """A further float32 input."""
        self._values[name] = Value(name, tuple(shape), DType.FLOAT32)
        self._inputs.append(name)
        return name

    def constant(self, name: str, data: Array) -> str:
        """A constant: int32 where `data` holds integers, else float32."""
        dtype = DType.INT32 if data.dtype.kind in "iu" else DType.FLOAT32
        array = np.ascontiguousarray(data, dtype.numpy).reshape(data.shape)
        self._values[name] = Value(name, array.shape, dtype, data=array)
        return name

    def node(self, op: Op, inputs: tuple[str, ...], attrs: Attrs = PLAIN, source: str = "") -> str:
        """Any operator but a reshape; operands are names of values already there."""
        shape = output_shape(op, attrs, tuple(self.shape(name) for name in inputs))
        return self._append(op, inputs, attrs, source, shape)

    def unique(self, op: Op, what: str) -> str:
        """A name for a constant of the node that comes next."""
        return f"{self._next_name(op)}.{what}"

    def data(self, name: str) -> Array | None:
        """What the value `name` holds; None where it is computed."""
        return self._values[name].data

    def finish(self, *outputs: str) -> Graph:
        """The graph with these outputs."""
        return Graph.build(
            self._name, self._values.values(), self._nodes, tuple(self._inputs), outputs
        )

    def _weighted(
        self,
        op: Op,
        x: str,
        weights: Array,
        bias: Array | None,
        attrs: Attrs,
        source: str,
        channels: int,
    ) -> str:
        name = self._next_name(op)
        filled = np.zeros(channels, np.float32) if bias is None else bias
        operands = (
            x,
            self.constant(f"{name}.weights", weights),
            self.constant(f"{name}.bias", filled),
        )
        return self.node(op, operands, attrs, source)

    def _next_name(self, op: Op) -> str:
        return f"{op.value}_{len(self._nodes)}"

    def _append(
        self, op: Op, inputs: tuple[str, ...], attrs: Attrs, source: str, shape: Shape
    ) -> str:
        name = self._next_name(op)
        dtype = DType.INT32 if op is Op.ARG_MAX else DType.FLOAT32
        if op in _MOVES:  # indices stay indices
            dtype = self._values[inputs[0]].dtype
        self._values[name] = Value(name, shape, dtype)
        self._nodes.append(Node(op, name, inputs, (name,), attrs, source))
        return name
