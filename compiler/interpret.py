"""The float interpreter: a slow, obvious numpy meaning of every operator.

It is the oracle of the passes and the source of calibration ranges. Inputs are preprocessed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from .errors import CompileError
from .graph import (
    Activation,
    AddAttrs,
    Array,
    ConvAttrs,
    DenseAttrs,
    Graph,
    Node,
    Op,
    PadAttrs,
    PoolAttrs,
)
from .kernels import pad_image, patches, taps

Float = npt.NDArray[np.float32]


def run_float(graph: Graph, x: Float) -> Float:
    """Logits (n, classes) of `x` (n, …); the batch axis may have any length."""
    return run_float_all(graph, x)[graph.outputs[0]]


def run_float_all(graph: Graph, x: Float) -> dict[str, Float]:
    """Every value but the constants by name, batch axis first."""
    known: dict[str, Float] = {graph.inputs[0]: check_input(graph, x).astype(np.float32)}
    for node in graph.nodes:
        operands = [known[name] if name in known else graph.constant(name) for name in node.inputs]
        known[node.output] = FLOAT_KERNELS[node.op](graph, node, *operands)
    return known


def check_input(graph: Graph, x: Array) -> Array:
    """`x` itself where its samples have the graph's input shape, else CompileError."""
    expected = graph.input.shape[1:]
    if x.ndim == 0 or x.shape[1:] != expected:
        raise CompileError(f"{graph.name}: samples must have shape {expected}, not {x.shape[1:]}")
    return x


def _activate(x: Float, activation: Activation) -> Float:
    if activation is Activation.NONE:
        return x
    return np.clip(x, 0.0, 6.0 if activation is Activation.RELU6 else None)


def _conv2d(graph: Graph, node: Node, x: Float, weights: Float, bias: Float) -> Float:
    attrs = node.attrs
    assert isinstance(attrs, ConvAttrs)
    padded = pad_image(x, attrs.padding, 0.0)
    columns = patches(padded, weights.shape[1:3], attrs.stride, attrs.dilation)
    matrix = weights.reshape(weights.shape[0], -1).T
    return _activate(columns @ matrix + bias, attrs.activation)


def _depthwise(graph: Graph, node: Node, x: Float, weights: Float, bias: Float) -> Float:
    attrs = node.attrs
    assert isinstance(attrs, ConvAttrs)
    padded = pad_image(x, attrs.padding, 0.0)
    total: Float = np.zeros((), np.float32)
    for row, column, view in taps(padded, weights.shape[1:3], attrs.stride, attrs.dilation):
        total = total + view * weights[0, row, column]
    return _activate(total + bias, attrs.activation)


def _dense(graph: Graph, node: Node, x: Float, weights: Float, bias: Float) -> Float:
    assert isinstance(node.attrs, DenseAttrs)
    return _activate(x @ weights.T + bias, node.attrs.activation)


def _add(graph: Graph, node: Node, a: Float, b: Float) -> Float:
    assert isinstance(node.attrs, AddAttrs)
    return _activate(a + b, node.attrs.activation)


def _max_pool(graph: Graph, node: Node, x: Float) -> Float:
    attrs = node.attrs
    assert isinstance(attrs, PoolAttrs)
    padded = pad_image(x, attrs.padding, -np.inf)
    views = [view for _, _, view in taps(padded, attrs.kernel, attrs.stride, (1, 1))]
    largest: Float = np.maximum.reduce(views)
    return largest


def _average_pool(graph: Graph, node: Node, x: Float) -> Float:
    attrs = node.attrs
    assert isinstance(attrs, PoolAttrs)
    total = sum_pool(x, attrs)
    return (total / pool_counts(x, attrs)).astype(np.float32)


def sum_pool(x: Array, attrs: PoolAttrs) -> Array:
    """Sum of each window; padding adds nothing."""
    padded = pad_image(x, attrs.padding, 0)
    views = [view for _, _, view in taps(padded, attrs.kernel, attrs.stride, (1, 1))]
    total: Array = np.add.reduce(views)
    return total


def pool_counts(x: Array, attrs: PoolAttrs) -> Array:
    """(1, oh, ow, 1): elements of each window that are no padding."""
    return sum_pool(np.ones((1, *x.shape[1:3], 1), np.int32), attrs)


def _mean(graph: Graph, node: Node, x: Float) -> Float:
    average: Float = x.mean(axis=(1, 2), dtype=np.float32)
    return average


def _pad(graph: Graph, node: Node, x: Float) -> Float:
    assert isinstance(node.attrs, PadAttrs)
    return pad_image(x, node.attrs.padding, 0.0)


def _reshape(graph: Graph, node: Node, x: Float) -> Float:
    return x.reshape(x.shape[0], *graph.values[node.output].shape[1:])


def _softmax(graph: Graph, node: Node, x: Float) -> Float:
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    shares: Float = (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)
    return shares


def _batch_norm(graph: Graph, node: Node, x: Float, scale: Float, offset: Float) -> Float:
    return x * scale + offset


def _relu(graph: Graph, node: Node, x: Float) -> Float:
    return _activate(x, Activation.RELU)


def _relu6(graph: Graph, node: Node, x: Float) -> Float:
    return _activate(x, Activation.RELU6)


FLOAT_KERNELS: Mapping[Op, Callable[..., Float]] = {
    Op.CONV_2D: _conv2d,
    Op.DEPTHWISE_CONV_2D: _depthwise,
    Op.FULLY_CONNECTED: _dense,
    Op.ADD: _add,
    Op.MAX_POOL_2D: _max_pool,
    Op.AVERAGE_POOL_2D: _average_pool,
    Op.MEAN: _mean,
    Op.PAD: _pad,
    Op.RESHAPE: _reshape,
    Op.SOFTMAX: _softmax,
    Op.BATCH_NORM: _batch_norm,
    Op.RELU: _relu,
    Op.RELU6: _relu6,
}
