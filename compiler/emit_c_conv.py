"""Convolutions as kernel calls of a family."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .emit_c_call import Call, bounds, dsp_can, finish, folded, plane_of, window
from .emit_c_family import Family
from .emit_c_layer import Constant, Fields, constant, zero_point
from .emit_c_pack import (
    Int8,
    Sums,
    blocks_of_rows,
    pair_count,
    pairs_of_rows,
    taps_3x3,
)
from .emit_c_text import braces
from .fixedpoint import Multiplier, multiply
from .graph import Graph, Node
from .int_kernels.common import channel_multipliers
from .ops import ConvAttrs


def conv2d(graph: Graph, node: Node, symbol: str, family: Family) -> Call:
    """A convolution; one pixel that moves by one pixel is a kernel of its own."""
    weights, sums = folded(graph, node, filters_axis=0)
    sums, factors = _without_constants(graph, node, sums)
    output, arrays = _output(graph, node, symbol, sums, factors)
    layer = _Convolution(graph, node, f"model_{symbol}_weights", weights, output, arrays)
    if layer.groups > 1:
        return _grouped(layer)
    if family is Family.DSP and _dsp_can(graph, node, sums, factors):
        return _dsp(layer)
    return _portable(layer)


@dataclass(frozen=True, slots=True)
class _Convolution:
    graph: Graph
    node: Node
    name: str  # of the packed weights
    weights: Int8  # (out channels, taps)
    output: str  # initialiser of an ek_output
    arrays: tuple[Constant, ...]

    @property
    def in_channels(self) -> int:
        """Channels that one output channel reads."""
        return self.graph.values[self.node.inputs[1]].shape[3]

    @property
    def groups(self) -> int:
        return self.graph.values[self.node.inputs[0]].shape[3] // self.in_channels

    @property
    def taps(self) -> int:
        return int(self.weights.shape[1])

    @property
    def pointwise(self) -> bool:
        attrs = self.node.attrs
        assert isinstance(attrs, ConvAttrs)
        one_pixel = self.taps == self.in_channels
        return one_pixel and attrs.stride == (1, 1) and attrs.padding == ((0, 0), (0, 0))

    def fields(self, *own: tuple[str, int | str]) -> Fields:
        """Of one group, in the order of the structs; `own` is what the family's struct adds."""
        attrs = self.node.attrs
        assert isinstance(attrs, ConvAttrs)
        channels, height, width, in_channels = self.graph.values[self.node.inputs[1]].shape
        return (
            ("window", window(self.graph, self.node, (height, width), attrs)),
            ("in_channels", in_channels),
            ("out_channels", channels // self.groups),
            ("input_zero_point", zero_point(self.graph, self.node.inputs[0])),
            *own,
            *(("weights", self.name), ("output", self.output)),
        )


def _dsp(layer: _Convolution) -> Call:
    pairs = pair_count(layer.taps)
    aligned = layer.in_channels % 4 == 0  # pixels are whole words
    kind = "pointwise" if layer.pointwise and aligned else "conv2d"
    return Call(
        header="ek_dsp_kernels.h",
        kernel=f"ek_dsp_{kind}_{finish(layer.graph, layer.node)}",
        params_type="ek_dsp_conv2d_params",
        fields=layer.fields(("pairs", pairs)),
        constants=(constant(layer.name, pairs_of_rows(layer.weights)), *layer.arrays),
        scratch_bytes=16 * pairs + (0 if aligned else 2 * pairs),
    )


def _portable(layer: _Convolution) -> Call:
    return Call(
        header="ek_portable.h",
        kernel="ek_pointwise" if layer.pointwise else "ek_conv2d",
        params_type="ek_conv2d_params",
        fields=layer.fields(("taps", layer.taps)),
        constants=(constant(layer.name, blocks_of_rows(layer.weights)), *layer.arrays),
        scratch_bytes=0 if layer.pointwise else 2 * layer.taps,
    )


def _grouped(layer: _Convolution) -> Call:
    parts = [blocks_of_rows(rows) for rows in np.split(layer.weights, layer.groups)]
    group = braces(layer.fields(("taps", layer.taps)))
    return Call(
        header="ek_portable.h",
        kernel="ek_grouped_conv2d",
        params_type="ek_grouped_conv2d_params",
        fields=(("groups", layer.groups), ("group", group)),
        constants=(constant(layer.name, np.concatenate(parts)), *layer.arrays),
        scratch_bytes=layer.taps,
    )


def depthwise_conv2d(graph: Graph, node: Node, symbol: str, family: Family) -> Call:
    """A depthwise convolution, channel by channel on a padded plane."""
    attrs = node.attrs
    assert isinstance(attrs, ConvAttrs)
    weights, sums = folded(graph, node, filters_axis=3)
    _, height, width, channels = graph.values[node.inputs[1]].shape
    plane = plane_of(graph, node)
    sums, factors = _without_constants(graph, node, sums)
    output, arrays = _output(graph, node, symbol, sums, factors)
    fast = (height, width) == (3, 3) and attrs.dilation == (1, 1)
    dsp = family is Family.DSP and fast and _dsp_can(graph, node, sums, factors)
    packed = constant(f"model_{symbol}_weights", taps_3x3(weights) if dsp else weights)
    return Call(
        header="ek_dsp_kernels.h" if dsp else "ek_portable.h",
        kernel=f"ek_dsp_depthwise_{finish(graph, node)}" if dsp else "ek_depthwise_conv2d",
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


def _without_constants(graph: Graph, node: Node, sums: Sums) -> tuple[Sums, tuple[Multiplier, ...]]:
    """Factors and sums, with those of channels whose weights are all 0 replaced by plain ones.

    Training leaves such channels dead, with factors and biases of any size; sums of twice the
    output and a factor of 1/2 give the same constant.
    """
    offset, (low, high) = zero_point(graph, node.output), bounds(graph, node)
    factors = channel_multipliers(graph, node)
    outputs = np.clip(offset + multiply(sums.low, factors), low, high)
    constant_channels = sums.low == sums.high
    plain = 2 * (outputs - offset)
    replaced = (np.where(constant_channels, plain, s) for s in (sums.bias, sums.low, sums.high))
    half = Multiplier(1 << 30, 0)
    return Sums(*replaced), tuple(
        half if dead else factor for dead, factor in zip(constant_channels, factors, strict=True)
    )


def _dsp_can(graph: Graph, node: Node, sums: Sums, factors: tuple[Multiplier, ...]) -> bool:
    shifts = (factor.shift for factor in factors)
    return dsp_can(sums.largest, shifts, zero_point(graph, node.output))


def _output(
    graph: Graph, node: Node, symbol: str, sums: Sums, factors: tuple[Multiplier, ...]
) -> tuple[str, tuple[Constant, ...]]:
    """The initialiser of an `ek_output`, and the arrays that it names."""
    low, high = bounds(graph, node)
    arrays = (
        constant(f"model_{symbol}_bias", sums.bias.astype(np.int32)),
        constant(f"model_{symbol}_multiplier", np.array([f.multiplier for f in factors], np.int32)),
        constant(f"model_{symbol}_shift", np.array([f.shift for f in factors], np.int8)),
    )
    names = (array.name for array in arrays)
    fields: Fields = (
        *zip(("bias", "multiplier", "shift"), names, strict=True),
        ("zero_point", zero_point(graph, node.output)),
        *(("minimum", low), ("maximum", high)),
    )
    return braces(fields), arrays
