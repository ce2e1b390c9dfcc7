"""A node of an int8 graph as a kernel call: its parameters and its constant arrays.

The fields written here are those of the structs in c/ek_kernels.h; the fixed-point factors are
those of the integer reference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .emit_c_text import braces
from .errors import EmitError
from .fixedpoint import Multiplier
from .grammar import WEIGHTED
from .graph import Array, Graph, Node
from .int_kernels.common import (
    add_multipliers,
    channel_multipliers,
    dense_factors,
    mean_multiplier,
    output_range,
    params,
)
from .ops import BinaryAttrs, ConvAttrs, DenseAttrs, Op, PadAttrs, PoolAttrs, ReduceAttrs
from .softmax import smallest_difference, softmax_multiplier

Fields = tuple[tuple[str, int | str], ...]


@dataclass(frozen=True, slots=True)
class Constant:
    """An array of the weights file; `c_type` is the element type."""

    name: str
    c_type: str
    literals: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Layer:
    """One call `kernel(&params, inputs…, output)`."""

    symbol: str
    kernel: str
    params_type: str
    params: str
    constants: tuple[Constant, ...]
    inputs: tuple[str, ...]  # names of the activations it reads
    output: str


def layer(graph: Graph, node: Node, index: int) -> Layer:
    """`node` as a call; `index` makes its symbols unique. Raises EmitError without a kernel."""
    if node.op not in _FIELDS:
        raise EmitError(f"{graph.name}: node '{node.name}' ({node.op}) has no C kernel")
    kernel = f"ek_{node.op}"
    symbol = f"{node.op}_{index}"
    constants = _constants(graph, node, symbol)
    weighted = _weighted(graph, node, constants) if constants else ()
    activations = tuple(name for name in node.inputs if graph.values[name].data is None)
    return Layer(
        symbol=symbol,
        kernel=kernel,
        params_type=_PARAMS_TYPES.get(node.op, f"{kernel}_params"),
        params=braces((*_FIELDS[node.op](graph, node), *weighted)),
        constants=constants,
        inputs=activations,
        output=node.output,
    )


def _constants(graph: Graph, node: Node, symbol: str) -> tuple[Constant, ...]:
    if node.op not in WEIGHTED:
        return ()
    weights, bias = (graph.constant(name) for name in node.inputs[1:])
    return (
        Constant(f"model_{symbol}_weights", "int8_t", _literals(weights)),
        Constant(f"model_{symbol}_bias", "int32_t", _literals(bias)),
        *_factors(graph, node, symbol),
    )


def _factors(graph: Graph, node: Node, symbol: str) -> tuple[Constant, ...]:
    if node.op is Op.FULLY_CONNECTED:
        literals = tuple(factor.hex() for factor in dense_factors(graph, node))
        return (Constant(f"model_{symbol}_factor", "double", literals),)
    factors = channel_multipliers(graph, node)
    multipliers, shifts = zip(*((str(f.multiplier), str(f.shift)) for f in factors), strict=True)
    return (
        Constant(f"model_{symbol}_multiplier", "int32_t", multipliers),
        Constant(f"model_{symbol}_shift", "int8_t", shifts),
    )


def _literals(data: Array) -> tuple[str, ...]:
    return tuple(map(str, data.reshape(-1).tolist()))


def _weighted(graph: Graph, node: Node, constants: tuple[Constant, ...]) -> Fields:
    """The fields that every operator with weights ends with."""
    names = [constant.name for constant in constants]
    operands: Fields = (
        ("input_zero_point", _zero_point(graph, node.inputs[0])),
        ("weights", names[0]),
        ("bias", names[1]),
    )
    bounds: Fields = (("zero_point", _zero_point(graph, node.output)), *_range(graph, node))
    if node.op is Op.FULLY_CONNECTED:
        return (*operands, ("factor", names[2]), *bounds)
    output: Fields = (("multiplier", names[2]), ("shift", names[3]), *bounds)
    return (*operands, ("output", braces(output)))


def _conv2d(graph: Graph, node: Node) -> Fields:
    channels, _, _, in_channels = graph.values[node.inputs[1]].shape
    if in_channels != graph.values[node.inputs[0]].shape[3]:
        raise EmitError(f"{node.name} (conv2d): C has no grouped convolution; compile for tflite")
    window = _conv_window(graph, node)
    return (("window", window), ("in_channels", in_channels), ("out_channels", channels))


def _depthwise_conv2d(graph: Graph, node: Node) -> Fields:
    window = _conv_window(graph, node)
    channels = graph.values[node.output].shape[3]
    if channels != graph.values[node.inputs[0]].shape[3]:
        raise EmitError(f"{node.name} (depthwise_conv2d): C makes one channel of each, not several")
    return (("window", window), ("channels", channels))


def _fully_connected(graph: Graph, node: Node) -> Fields:
    if len(graph.values[node.output].shape) != 2:
        raise EmitError(f"{node.name} (fully_connected): C takes inputs of rank 2 only")
    out_size, in_size = graph.values[node.inputs[1]].shape
    return (("in_size", in_size), ("out_size", out_size))


def _add(graph: Graph, node: Node) -> Fields:
    a, b, output = (params(graph, name) for name in (*node.inputs, node.output))
    factor_a, factor_b, factor = add_multipliers(a, b, output)
    return (
        ("size", graph.values[node.output].elements),
        ("a", _addend(a.zero_point[0], factor_a)),
        ("b", _addend(b.zero_point[0], factor_b)),
        ("output_multiplier", factor.multiplier),
        ("output_shift", factor.shift),
        ("output_zero_point", output.zero_point[0]),
        *_range(graph, node),
    )


def _addend(zero_point: int, factor: Multiplier) -> str:
    return braces(
        (("zero_point", zero_point), ("multiplier", factor.multiplier), ("shift", factor.shift))
    )


def _pool2d(graph: Graph, node: Node) -> Fields:
    attrs = node.attrs
    assert isinstance(attrs, PoolAttrs)
    window = _window(graph, node, attrs.kernel, attrs)
    return (("window", window), ("channels", graph.values[node.output].shape[3]))


def _mean(graph: Graph, node: Node) -> Fields:
    assert isinstance(node.attrs, ReduceAttrs)
    if node.attrs.axes != (1, 2) or len(graph.values[node.inputs[0]].shape) != 4:
        raise EmitError(f"{node.name} (mean): C takes the mean of height and width only")
    _, height, width, channels = graph.values[node.inputs[0]].shape
    x, output = params(graph, node.inputs[0]), params(graph, node.output)
    factor = mean_multiplier(x, output, height * width)
    return (
        ("positions", height * width),
        ("channels", channels),
        ("input_zero_point", x.zero_point[0]),
        ("output_zero_point", output.zero_point[0]),
        ("multiplier", factor.multiplier),
        ("shift", factor.shift),
    )


def _pad(graph: Graph, node: Node) -> Fields:
    assert isinstance(node.attrs, PadAttrs)
    _, height, width, channels = graph.values[node.inputs[0]].shape
    padding = node.attrs.image_padding
    if padding is None:
        raise EmitError(f"{node.name} (pad): C pads zeros around images only")
    (top, bottom), (left, right) = padding
    return (
        *(("in_height", height), ("in_width", width), ("channels", channels)),
        *(("top", top), ("bottom", bottom), ("left", left), ("right", right)),
        ("zero_point", _zero_point(graph, node.inputs[0])),
    )


def _softmax(graph: Graph, node: Node) -> Fields:
    classes = graph.values[node.output].shape[-1]
    factor = softmax_multiplier(params(graph, node.inputs[0]).scale[0])
    return (
        ("rows", graph.values[node.output].elements // classes),
        ("classes", classes),
        ("multiplier", factor.multiplier),
        ("shift", factor.shift),
        ("smallest", smallest_difference(factor)),
    )


def _conv_window(graph: Graph, node: Node) -> str:
    assert isinstance(node.attrs, ConvAttrs)
    _, height, width, _ = graph.values[node.inputs[1]].shape
    return _window(graph, node, (height, width), node.attrs)


def _window(graph: Graph, node: Node, kernel: tuple[int, int], attrs: ConvAttrs | PoolAttrs) -> str:
    _, in_height, in_width, _ = graph.values[node.inputs[0]].shape
    _, out_height, out_width, _ = graph.values[node.output].shape
    dilation = attrs.dilation if isinstance(attrs, ConvAttrs) else (1, 1)
    return braces(
        (
            *(("in_height", in_height), ("in_width", in_width)),
            *(("out_height", out_height), ("out_width", out_width)),
            *(("kernel_height", kernel[0]), ("kernel_width", kernel[1])),
            *(("stride_height", attrs.stride[0]), ("stride_width", attrs.stride[1])),
            *(("dilation_height", dilation[0]), ("dilation_width", dilation[1])),
            *(("pad_top", attrs.padding[0][0]), ("pad_left", attrs.padding[1][0])),
        )
    )


def _zero_point(graph: Graph, name: str) -> int:
    return params(graph, name).zero_point[0]


def _range(graph: Graph, node: Node) -> Fields:
    attrs = node.attrs
    assert isinstance(attrs, ConvAttrs | DenseAttrs | BinaryAttrs)
    low, high = output_range(params(graph, node.output), attrs.activation)
    return (("minimum", low), ("maximum", high))


_FIELDS: Mapping[Op, Callable[[Graph, Node], Fields]] = {
    Op.CONV_2D: _conv2d,
    Op.DEPTHWISE_CONV_2D: _depthwise_conv2d,
    Op.FULLY_CONNECTED: _fully_connected,
    Op.ADD: _add,
    Op.MAX_POOL_2D: _pool2d,
    Op.AVERAGE_POOL_2D: _pool2d,
    Op.MEAN: _mean,
    Op.PAD: _pad,
    Op.SOFTMAX: _softmax,
}
_PARAMS_TYPES = {
    Op.MAX_POOL_2D: "ek_pool2d_params",
    Op.AVERAGE_POOL_2D: "ek_pool2d_params",
}
