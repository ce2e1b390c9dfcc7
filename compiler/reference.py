"""The integer reference: the living definition of `int8.v1`.

Byte for byte what LiteRT's reference kernels compute (`OpResolverType.BUILTIN_REF`), vectorised
over the batch. Matrix products run in floating point where every sum fits its mantissa, so they
are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from edgekiln.runtime.quant import dequantize_array, quantize_array

from .fixedpoint import Int64, Multiplier, multiply, multiply_real, quantize_multiplier
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
    QuantParams,
)
from .interpret import check_input, pool_counts, sum_pool
from .kernels import pad_image, patches, taps
from .softmax import softmax_int8

Int8 = npt.NDArray[np.int8]
_BATCH = 256  # samples at once: bounds the memory of unrolled windows
_ADD_LEFT_SHIFT = 20


def run_int8(graph: Graph, xq: Int8) -> Int8:
    """Quantized logits (n, classes) of quantized samples (n, …)."""
    batches = [
        run_int8_all(graph, xq[start : start + _BATCH])[graph.outputs[0]]
        for start in range(0, max(len(xq), 1), _BATCH)
    ]
    return np.concatenate(batches)


def run_int8_all(graph: Graph, xq: Int8) -> dict[str, Int8]:
    """Every value but the constants by name, batch axis first."""
    known: dict[str, Int8] = {graph.inputs[0]: check_input(graph, xq).astype(np.int8)}
    for node in graph.nodes:
        operands = [known[name] if name in known else graph.constant(name) for name in node.inputs]
        known[node.output] = INT8_KERNELS[node.op](graph, node, *operands)
    return known


def quantize_input(graph: Graph, x: npt.NDArray[np.float32]) -> Int8:
    """Preprocessed samples in the input's int8, by the rule that every engine uses."""
    quant = params(graph, graph.inputs[0])
    return quantize_array(x, quant.scale[0], quant.zero_point[0])


def dequantize_output(graph: Graph, yq: Int8) -> npt.NDArray[np.float32]:
    """Logits in real numbers."""
    quant = params(graph, graph.outputs[0])
    return dequantize_array(yq, quant.scale[0], quant.zero_point[0])


def params(graph: Graph, name: str) -> QuantParams:
    """Quantization parameters of the value `name`."""
    quant = graph.values[name].quant
    if quant is None:
        raise KeyError(f"'{name}' is not quantized")
    return quant


def output_range(quant: QuantParams, activation: Activation) -> tuple[int, int]:
    """Smallest and largest int8 that a fused activation lets through."""
    scale, zero_point = np.float32(quant.scale[0]), quant.zero_point[0]
    if activation is Activation.NONE:
        return -128, 127
    low = max(-128, zero_point)
    if activation is Activation.RELU:
        return low, 127
    # TfLiteRound: half away from zero, in float32.
    return low, min(127, zero_point + int(np.floor(np.float32(6.0) / scale + np.float32(0.5))))


def channel_multipliers(graph: Graph, node: Node) -> tuple[Multiplier, ...]:
    """The requantization factor of every output channel of a convolution."""
    x, output = params(graph, node.inputs[0]), params(graph, node.output)
    return tuple(
        quantize_multiplier(x.scale[0] * scale / output.scale[0])
        for scale in weight_scales(graph, node)
    )


def dense_factors(graph: Graph, node: Node) -> tuple[float, ...]:
    """The double-precision requantization factor of every output of a fully connected layer."""
    x, output = params(graph, node.inputs[0]), params(graph, node.output)
    return tuple(x.scale[0] * scale / output.scale[0] for scale in weight_scales(graph, node))


def weight_scales(graph: Graph, node: Node) -> tuple[float, ...]:
    """One weight scale for each output channel, also where one scale holds for them all."""
    scales = params(graph, node.inputs[1]).scale
    channels = graph.values[node.inputs[2]].elements
    return scales * channels if len(scales) == 1 else scales


def add_multipliers(a: QuantParams, b: QuantParams, output: QuantParams) -> tuple[Multiplier, ...]:
    """Factors of ADD: first operand, second operand, output."""
    twice = 2.0 * max(a.scale[0], b.scale[0])
    return (
        quantize_multiplier(a.scale[0] / twice),
        quantize_multiplier(b.scale[0] / twice),
        quantize_multiplier(twice / ((1 << _ADD_LEFT_SHIFT) * output.scale[0])),
    )


def mean_multiplier(x: QuantParams, output: QuantParams, count: int) -> Multiplier:
    """The factor of MEAN over `count` elements: the division is folded into it."""
    real = quantize_multiplier(x.scale[0] / output.scale[0])
    shift = min(count.bit_length() - 1, 32, 31 + real.shift)
    return Multiplier((real.multiplier << shift) // count, real.shift - shift)


def _saturate(values: Int64, low: int, high: int) -> Int8:
    return np.clip(values, low, high).astype(np.int8)


def _requantize(graph: Graph, node: Node, total: Array, activation: Activation) -> Int8:
    output = params(graph, node.output)
    scaled = multiply(total.astype(np.int64), channel_multipliers(graph, node))
    return _saturate(scaled + output.zero_point[0], *output_range(output, activation))


def _exact_matmul(columns: Array, matrix: Int8) -> Array:
    """Integer product: |x| ≤ 255 and |w| ≤ 128, so sums below 2^24 fit a float32."""
    exact = np.float32 if columns.shape[-1] * 255 * 128 < 1 << 24 else np.float64
    product: Array = np.rint(columns.astype(exact) @ matrix.astype(exact)).astype(np.int64)
    return product


def _centred(graph: Graph, node: Node, x: Int8) -> Array:
    return x.astype(np.int32) - params(graph, node.inputs[0]).zero_point[0]


def _conv2d(graph: Graph, node: Node, x: Int8, weights: Int8, bias: Array) -> Int8:
    attrs = node.attrs
    assert isinstance(attrs, ConvAttrs)
    padded = pad_image(_centred(graph, node, x).astype(np.int16), attrs.padding, 0)
    columns = patches(padded, weights.shape[1:3], attrs.stride, attrs.dilation)
    total = _exact_matmul(columns, weights.reshape(weights.shape[0], -1).T) + bias
    return _requantize(graph, node, total, attrs.activation)


def _depthwise(graph: Graph, node: Node, x: Int8, weights: Int8, bias: Array) -> Int8:
    attrs = node.attrs
    assert isinstance(attrs, ConvAttrs)
    padded = pad_image(_centred(graph, node, x), attrs.padding, 0)
    total: Array = np.zeros((), np.int32)
    for row, column, view in taps(padded, weights.shape[1:3], attrs.stride, attrs.dilation):
        total = total + view * weights[0, row, column].astype(np.int32)
    return _requantize(graph, node, total + bias, attrs.activation)


def _dense(graph: Graph, node: Node, x: Int8, weights: Int8, bias: Array) -> Int8:
    assert isinstance(node.attrs, DenseAttrs)
    total = _exact_matmul(_centred(graph, node, x), weights.T) + bias
    output = params(graph, node.output)
    scaled = multiply_real(total, np.array(dense_factors(graph, node)))
    return _saturate(scaled + output.zero_point[0], *output_range(output, node.attrs.activation))


def _add(graph: Graph, node: Node, a: Int8, b: Int8) -> Int8:
    assert isinstance(node.attrs, AddAttrs)
    quants = [params(graph, name) for name in (*node.inputs, node.output)]
    factors = add_multipliers(quants[0], quants[1], quants[2])
    total = sum(
        multiply((side.astype(np.int64) - quant.zero_point[0]) << _ADD_LEFT_SHIFT, (factor,))
        for side, quant, factor in zip((a, b), quants[:2], factors[:2], strict=True)
    )
    scaled = multiply(np.asarray(total, np.int64), (factors[2],)) + quants[2].zero_point[0]
    return _saturate(scaled, *output_range(quants[2], node.attrs.activation))


def _max_pool(graph: Graph, node: Node, x: Int8) -> Int8:
    attrs = node.attrs
    assert isinstance(attrs, PoolAttrs)
    padded = pad_image(x, attrs.padding, -128)
    views = [view for _, _, view in taps(padded, attrs.kernel, attrs.stride, (1, 1))]
    largest: Int8 = np.maximum.reduce(views)
    return largest


def _average_pool(graph: Graph, node: Node, x: Int8) -> Int8:
    attrs = node.attrs
    assert isinstance(attrs, PoolAttrs)
    total = sum_pool(x.astype(np.int64), attrs)
    count = pool_counts(x, attrs)
    # C division truncates: half away from zero after adding half the count.
    rounded = np.sign(total) * ((np.abs(total) + count // 2) // count)
    return _saturate(rounded, -128, 127)


def _mean(graph: Graph, node: Node, x: Int8) -> Int8:
    quant, output = params(graph, node.inputs[0]), params(graph, node.output)
    count = x.shape[1] * x.shape[2]
    total = x.sum(axis=(1, 2), dtype=np.int64) - quant.zero_point[0] * count
    scaled = multiply(total, (mean_multiplier(quant, output, count),))
    return _saturate(scaled + output.zero_point[0], -128, 127)


def _pad(graph: Graph, node: Node, x: Int8) -> Int8:
    assert isinstance(node.attrs, PadAttrs)
    return pad_image(x, node.attrs.padding, params(graph, node.inputs[0]).zero_point[0])


def _reshape(graph: Graph, node: Node, x: Int8) -> Int8:
    return x.reshape(x.shape[0], *graph.values[node.output].shape[1:])


def _softmax(graph: Graph, node: Node, x: Int8) -> Int8:
    return softmax_int8(x, params(graph, node.inputs[0]).scale[0])


INT8_KERNELS: Mapping[Op, Callable[..., Int8]] = {
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
}
