"""Convolutions of int16 with int8 weights as kernel calls of a family."""

from __future__ import annotations

import math

import numpy as np

from . import emit_c_int16_dsp as int16_dsp
from .emit_c_call import HEADER_16, Call, bounds, weights_and_bias, window
from .emit_c_family import Family
from .emit_c_int16_dsp import SUM_BITS, narrow_output
from .emit_c_layer import Constant, Fields, constant
from .emit_c_pack import Int8, blocks_of_rows
from .emit_c_text import braces
from .errors import EmitError
from .fixedpoint import Multiplier, to_15_bits
from .graph import Array, DType, Graph, Node
from .int_kernels.common import channel_multipliers
from .ops import ConvAttrs, TransposeConvAttrs
from .plan_rules import slide_of

_CODE_BYTES = 2
_LARGEST_CODE = 1 << 15
_LONGEST_ROW = 508  # of a depthwise kernel: EK_RUN of c/int16/ek_rows_16.h


def conv2d(graph: Graph, node: Node, symbol: str, family: Family) -> Call:
    """A convolution; one pixel that moves by one pixel is a kernel of its own."""
    attrs = node.attrs
    assert isinstance(attrs, ConvAttrs)
    rows, bias = weights_and_bias(graph, node, filters_axis=0)
    channels, height, width, in_channels = graph.values[node.inputs[1]].shape
    groups = graph.values[node.inputs[0]].shape[3] // in_channels
    taps = rows.shape[1]
    slid = window(graph, node, (height, width), attrs)
    pointwise = taps == in_channels and attrs.stride == (1, 1) and not np.any(attrs.padding)
    narrow = narrow_output(graph, node, symbol, rows, bias, family)
    if groups == 1 and narrow is not None:
        return int16_dsp.conv2d(symbol, slid, in_channels, rows, narrow, pointwise)
    output, arrays = _output(graph, node, symbol, rows, bias)
    parts = [blocks_of_rows(part) for part in np.split(rows, groups)]
    weights = constant(f"model_{symbol}_weights", np.concatenate(parts))
    fields: Fields = (
        ("window", slid),
        *(("in_channels", in_channels), ("out_channels", channels // groups)),
        *(("taps", taps), ("weights", weights.name), ("output", output)),
    )
    kernel, patches = ("ek_pointwise_16", 0) if pointwise else ("ek_conv2d_16", 2)
    params_type = "ek_conv2d_16_params"
    if groups > 1:
        kernel, patches, params_type = "ek_grouped_conv2d_16", 1, "ek_grouped_conv2d_16_params"
        fields = (("groups", groups), ("group", braces(fields)))
    scratch = patches * taps * _CODE_BYTES
    return Call(HEADER_16, kernel, params_type, fields, (weights, *arrays), scratch)


def depthwise_conv2d(graph: Graph, node: Node, symbol: str, family: Family) -> Call:
    """A depthwise convolution, channel by channel on a padded plane."""
    attrs = node.attrs
    assert isinstance(attrs, ConvAttrs)
    rows, bias = weights_and_bias(graph, node, filters_axis=3)
    _, height, width, channels = graph.values[node.inputs[1]].shape
    if width > _LONGEST_ROW:
        raise EmitError(f"{node.name} ({node.op}): C takes kernels up to {_LONGEST_ROW} wide")
    plane = slide_of(graph, node).plane
    fast = (height, width) == (3, 3) and attrs.dilation == (1, 1)
    narrow = narrow_output(graph, node, symbol, rows, bias, family)
    if fast and narrow is not None:
        header, kernel = int16_dsp.HEADER, "ek_dsp_depthwise_16"
        output, arrays = narrow.output, narrow.arrays
    else:
        header, kernel = HEADER_16, "ek_depthwise_conv2d_16"
        output, arrays = _output(graph, node, symbol, rows, bias)
    weights = constant(f"model_{symbol}_weights", rows)
    planes = braces(
        (
            ("window", window(graph, node, (height, width), attrs)),
            ("channels", channels),
            ("multiplier", channels // graph.values[node.inputs[0]].shape[3]),
            *(("height", plane[0]), ("width", plane[1])),
        )
    )
    fields: Fields = (("planes", planes), ("weights", weights.name), ("output", output))
    scratch = math.prod(plane) * _CODE_BYTES
    return Call(header, kernel, f"{kernel}_params", fields, (weights, *arrays), scratch)


def transpose_conv2d(graph: Graph, node: Node, symbol: str) -> Call:
    """Each output sums the windows that reach it."""
    attrs = node.attrs
    assert isinstance(attrs, TransposeConvAttrs)
    rows, bias = weights_and_bias(graph, node, filters_axis=0)
    channels, height, width, in_channels = graph.values[node.inputs[1]].shape
    output, arrays = _output(graph, node, symbol, rows, bias)
    weights = constant(f"model_{symbol}_weights", rows)
    fields: Fields = (
        ("window", window(graph, node, (height, width), attrs)),
        *(("in_channels", in_channels), ("channels", channels)),
        *(("weights", weights.name), ("output", output)),
    )
    kernel = "ek_transpose_conv2d_16"
    return Call(HEADER_16, kernel, f"{kernel}_params", fields, (weights, *arrays), 0)


def wide_bias(node: Node, symbol: str, rows: Int8, bias: Array) -> Constant:
    """The bias as the kernels take it.

    Raises EmitError where it has not 64 bits, as the 16x8 specification has it, or where sums
    exceed what can be scaled.
    """
    if bias.dtype != DType.INT64.numpy:
        raise EmitError(
            f"{node.name} ({node.op}): beside int16 activations C takes biases of int64, not "
            f"{bias.dtype}"
        )
    reach = np.abs(rows.astype(np.int64)).sum(axis=1) * _LARGEST_CODE + np.abs(bias)
    if int(reach.max()) >> SUM_BITS:
        raise EmitError(f"{node.name} ({node.op}): sums of this layer exceed {SUM_BITS} bits")
    return constant(f"model_{symbol}_bias", bias)


def wide_factor(node: Node, factor: Multiplier) -> Multiplier:
    """15 bits and a right shift of at least 1. Raises EmitError where the factor has none."""
    reduced = to_15_bits(factor)
    if reduced.shift > -1:
        raise EmitError(f"{node.name} ({node.op}): its factor is above 2^14; C has no kernel")
    return Multiplier(reduced.multiplier, -reduced.shift)


def _output(
    graph: Graph, node: Node, symbol: str, rows: Int8, bias: Array
) -> tuple[str, tuple[Constant, ...]]:
    """The initialiser of an `ek_output_16`, and the arrays that it names."""
    factors = [wide_factor(node, factor) for factor in channel_multipliers(graph, node)]
    arrays = (
        wide_bias(node, symbol, rows, bias),
        constant(f"model_{symbol}_multiplier", np.array([f.multiplier for f in factors], np.int16)),
        constant(f"model_{symbol}_shift", np.array([f.shift for f in factors], np.int8)),
    )
    names = (array.name for array in arrays)
    ends = zip(("minimum", "maximum"), bounds(graph, node), strict=True)
    return braces((*zip(("bias", "multiplier", "shift"), names, strict=True), *ends)), arrays
