"""Convolutions and fully connected layers as kernel calls of a family."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .emit_c_factors import WideFactors, dense_steps, narrow_factors, wide_factors
from .emit_c_family import Family
from .emit_c_layer import Constant, Fields, constant, zero_point
from .emit_c_pack import (
    Int8,
    Sums,
    Words,
    blocks_of_rows,
    fold,
    pair_count,
    pairs_of_rows,
    taps_3x3,
)
from .emit_c_text import braces
from .errors import EmitError
from .fixedpoint import Multiplier, multiply
from .graph import Graph, Node
from .int_kernels.common import channel_multipliers, dense_factors, output_range, params
from .ops import ConvAttrs, DenseAttrs, PoolAttrs

# Beyond these the few instructions of c/dsp/ek_finish.h would overflow.
_DSP_SUM = 1 << 29
_DSP_SHIFT = 22
_INT32 = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class Call:
    """What a layer with weights adds to its call."""

    header: str
    kernel: str
    params_type: str
    fields: Fields
    constants: tuple[Constant, ...]
    scratch_bytes: int


def window(graph: Graph, node: Node, kernel: tuple[int, int], attrs: ConvAttrs | PoolAttrs) -> str:
    """The initialiser of an `ek_window`."""
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


def conv2d(graph: Graph, node: Node, symbol: str, family: Family) -> Call:
    """A convolution; one pixel that moves by one pixel is a kernel of its own."""
    attrs = node.attrs
    assert isinstance(attrs, ConvAttrs)
    weights, sums = _folded(graph, node, filters_axis=0)
    channels, height, width, in_channels = graph.values[node.inputs[1]].shape
    if in_channels != graph.values[node.inputs[0]].shape[3]:
        raise EmitError(f"{node.name} (conv2d): C has no kernel of grouped convolutions")
    taps = height * width * in_channels
    pointwise = (height, width) == attrs.stride == (1, 1) and attrs.padding == ((0, 0), (0, 0))
    fields: Fields = (
        ("window", window(graph, node, (height, width), attrs)),
        ("in_channels", in_channels),
        ("out_channels", channels),
        ("input_zero_point", zero_point(graph, node.inputs[0])),
    )
    sums, factors = _without_constants(graph, node, sums)
    output, arrays = _output(graph, node, symbol, sums, factors)
    if family is Family.DSP and _dsp_can(sums, factors):
        aligned = in_channels % 4 == 0
        kind = "pointwise" if pointwise and aligned else "conv2d"
        pairs = pair_count(taps)
        packed = constant(f"model_{symbol}_weights", pairs_of_rows(weights))
        return Call(
            header="ek_dsp_kernels.h",
            kernel=f"ek_dsp_{kind}_{_finish(graph, node)}",
            params_type="ek_dsp_conv2d_params",
            fields=(*fields, ("pairs", pairs), ("weights", packed.name), ("output", output)),
            constants=(packed, *arrays),
            scratch_bytes=16 * pairs + (0 if aligned else 2 * pairs),
        )
    packed = constant(f"model_{symbol}_weights", blocks_of_rows(weights))
    return Call(
        header="ek_portable.h",
        kernel="ek_pointwise" if pointwise else "ek_conv2d",
        params_type="ek_conv2d_params",
        fields=(*fields, ("taps", taps), ("weights", packed.name), ("output", output)),
        constants=(packed, *arrays),
        scratch_bytes=0 if pointwise else 2 * taps,
    )


def depthwise_conv2d(graph: Graph, node: Node, symbol: str, family: Family) -> Call:
    """A depthwise convolution, channel by channel on a padded plane."""
    attrs = node.attrs
    assert isinstance(attrs, ConvAttrs)
    weights, sums = _folded(graph, node, filters_axis=3)
    _, height, width, channels = graph.values[node.inputs[1]].shape
    _, out_height, out_width, _ = graph.values[node.output].shape
    plane = tuple(
        (size - 1) * stride + (kernel - 1) * dilation + 1
        for size, stride, kernel, dilation in zip(
            (out_height, out_width), attrs.stride, (height, width), attrs.dilation, strict=True
        )
    )
    sums, factors = _without_constants(graph, node, sums)
    output, arrays = _output(graph, node, symbol, sums, factors)
    fast = (height, width) == (3, 3) and attrs.dilation == (1, 1)
    dsp = family is Family.DSP and fast and _dsp_can(sums, factors)
    packed = constant(f"model_{symbol}_weights", taps_3x3(weights) if dsp else weights)
    return Call(
        header="ek_dsp_kernels.h" if dsp else "ek_portable.h",
        kernel=f"ek_dsp_depthwise_{_finish(graph, node)}" if dsp else "ek_depthwise_conv2d",
        params_type="ek_depthwise_conv2d_params",
        fields=(
            ("window", window(graph, node, (height, width), attrs)),
            ("channels", channels),
            ("multiplier", channels // graph.values[node.inputs[0]].shape[3]),
            ("input_zero_point", zero_point(graph, node.inputs[0])),
            ("plane_height", plane[0]),
            ("plane_width", plane[1]),
            ("weights", packed.name),
            ("output", output),
        ),
        constants=(packed, *arrays),
        scratch_bytes=plane[0] * plane[1] + 4,  # words are read to their end
    )


def fully_connected(graph: Graph, node: Node, symbol: str, family: Family) -> Call:
    """A fully connected layer, which rounds once; its factors are proven exact here."""
    assert isinstance(node.attrs, DenseAttrs)
    weights, sums = _folded(graph, node, filters_axis=0)
    out_size, in_size = weights.shape
    dsp = family is Family.DSP
    packed_weights: Int8 | Words = pairs_of_rows(weights) if dsp else blocks_of_rows(weights)
    packed = constant(f"model_{symbol}_weights", packed_weights)
    output, arrays, wide = _dense_output(graph, node, symbol, sums)
    stem = "ek_dsp_fully_connected" if dsp else "ek_fully_connected"
    kernel = f"{stem}_wide" if wide else stem
    pairs: Fields = (("pairs", pair_count(in_size)),) if dsp else ()
    return Call(
        header="ek_dsp_kernels.h" if dsp else "ek_portable.h",
        kernel=kernel,
        params_type=f"{kernel}_params",
        fields=(
            ("rows", math.prod(graph.values[node.output].shape[:-1])),
            ("in_size", in_size),
            ("out_size", out_size),
            *pairs,
            ("weights", packed.name),
            ("output", output),
        ),
        constants=(packed, *arrays),
        scratch_bytes=4 * pair_count(in_size) if dsp else 0,
    )


def _folded(graph: Graph, node: Node, filters_axis: int) -> tuple[Int8, Sums]:
    """Weights (channels, taps) and what their sums with stored inputs can be."""
    if any(graph.values[name].data is None for name in node.inputs[1:]):
        raise EmitError(f"{node.name} ({node.op}): C takes constant weights and biases only")
    weights, bias = (graph.constant(name) for name in node.inputs[1:])
    rows = np.moveaxis(weights, filters_axis, 0).reshape(weights.shape[filters_axis], -1)
    sums = fold(np.ascontiguousarray(rows, np.int8), bias, zero_point(graph, node.inputs[0]))
    if max(sums.largest, int(np.abs(sums.bias).max())) > _INT32:
        raise EmitError(f"{node.name} ({node.op}): sums of this layer exceed 32 bits")
    return rows, sums


def _without_constants(
    graph: Graph, node: Node, sums: Sums
) -> tuple[Sums, tuple[Multiplier, ...]]:
    """Factors and sums, with those of channels whose weights are all 0 replaced by plain ones.

    Training leaves such channels dead, with factors and biases of any size; sums of twice the
    output and a factor of 1/2 give the same constant.
    """
    offset, (low, high) = zero_point(graph, node.output), _bounds(graph, node)
    factors = channel_multipliers(graph, node)
    outputs = np.clip(offset + multiply(sums.low, factors), low, high)
    constant_channels = sums.low == sums.high
    plain = 2 * (outputs - offset)
    replaced = (np.where(constant_channels, plain, s) for s in (sums.bias, sums.low, sums.high))
    half = Multiplier(1 << 30, 0)
    return Sums(*replaced), tuple(
        half if dead else factor for dead, factor in zip(constant_channels, factors, strict=True)
    )


def _dsp_can(sums: Sums, factors: tuple[Multiplier, ...]) -> bool:
    return sums.largest < _DSP_SUM and all(-_DSP_SHIFT <= f.shift <= 0 for f in factors)


def _bounds(graph: Graph, node: Node) -> tuple[int, int]:
    assert isinstance(node.attrs, ConvAttrs | DenseAttrs)
    return output_range(params(graph, node.output), node.attrs.activation)


def _finish(graph: Graph, node: Node) -> str:
    """The suffix of the kernel whose outputs fit the layer: c/dsp/ek_dsp_kernels.h."""
    if _bounds(graph, node) != (-128, 127):
        return "clamped"
    assert isinstance(node.attrs, ConvAttrs)
    return "rectified" if zero_point(graph, node.output) == -128 else "signed"


def _output(
    graph: Graph, node: Node, symbol: str, sums: Sums, factors: tuple[Multiplier, ...]
) -> tuple[str, tuple[Constant, ...]]:
    """The initialiser of an `ek_output`, and the arrays that it names."""
    low, high = _bounds(graph, node)
    arrays = (
        constant(f"model_{symbol}_bias", sums.bias.astype(np.int32)),
        constant(f"model_{symbol}_multiplier", np.array([f.multiplier for f in factors], np.int32)),
        constant(f"model_{symbol}_shift", np.array([f.shift for f in factors], np.int8)),
    )
    names = (array.name for array in arrays)
    fields = (
        *zip(("bias", "multiplier", "shift"), names, strict=True),
        ("zero_point", zero_point(graph, node.output)),
        *(("minimum", low), ("maximum", high)),
    )
    return braces(fields), arrays


def _dense_output(
    graph: Graph, node: Node, symbol: str, sums: Sums
) -> tuple[str, tuple[Constant, ...], bool]:
    """The initialiser of an `ek_dense_output` or, third, of its wide form; and its arrays."""
    offset, bounds = zero_point(graph, node.output), _bounds(graph, node)
    factors = dense_factors(graph, node)
    reach = zip(sums.low.tolist(), sums.high.tolist(), strict=True)
    steps = tuple(
        dense_steps(factor, offset, bounds, ends)
        for factor, ends in zip(factors, reach, strict=True)
    )
    bias = constant(f"model_{symbol}_bias", sums.bias.astype(np.int32))
    where = f"{node.name} (fully_connected)"
    found = narrow_factors(factors, steps, offset, bounds) or wide_factors(
        factors, steps, offset, bounds, where
    )
    wide = isinstance(found, WideFactors)
    multipliers = np.array(found.multipliers, np.int64 if wide else np.int32)
    multiplier = constant(f"model_{symbol}_multiplier", multipliers)
    fields: Fields = (
        *(("bias", bias.name), ("multiplier", multiplier.name)),
        ("shift", found.shift if isinstance(found, WideFactors) else f"model_{symbol}_shift"),
        *(("zero_point", offset), ("minimum", bounds[0]), ("maximum", bounds[1])),
    )
    if isinstance(found, WideFactors):
        return braces(fields), (bias, multiplier), True
    shift = constant(f"model_{symbol}_shift", np.array(found.shifts, np.int8))
    return braces(fields), (bias, multiplier, shift), False
