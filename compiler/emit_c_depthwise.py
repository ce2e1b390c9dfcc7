"""Depthwise convolutions as kernel calls of a family."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from .emit_c_call import Call, dsp_can, finish, folded, helium_can, helium_finish, window
from .emit_c_family import Family
from .emit_c_layer import constant, zero_point
from .emit_c_pack import (
    VECTOR,
    Int8,
    Sums,
    pairs_of_taps_fit,
    sixteens_of_rows,
    taps_3x3,
    vector_lanes,
)
from .emit_c_scaled import output_of, without_constants
from .fixedpoint import Multiplier
from .graph import Graph, Node
from .ops import ConvAttrs, Pair


@dataclass(frozen=True, slots=True)
class _Depthwise:
    graph: Graph
    node: Node
    symbol: str
    attrs: ConvAttrs
    weights: Int8  # (channels, taps)
    sums: Sums
    factors: tuple[Multiplier, ...]

    @property
    def kernel(self) -> Pair:
        _, height, width, _ = self.graph.values[self.node.inputs[1]].shape
        return height, width

    @property
    def multiplier(self) -> int:
        """Outputs of each input channel."""
        return len(self.weights) // self.graph.values[self.node.inputs[0]].shape[3]

    def call(self, header: str, kernel: str, packed: Int8, scratch_bytes: int) -> Call:
        """A call whose sums and factors are in the order of the weights."""
        weights = constant(f"model_{self.symbol}_weights", packed)
        output, arrays = output_of(self.graph, self.node, self.symbol, self.sums, self.factors)
        plane = plane_of(self.graph, self.node)
        return Call(
            header=header,
            kernel=kernel,
            params_type="ek_depthwise_conv2d_params",
            fields=(
                ("window", window(self.graph, self.node, self.kernel, self.attrs)),
                ("channels", len(self.weights)),
                ("multiplier", self.multiplier),
                ("input_zero_point", zero_point(self.graph, self.node.inputs[0])),
                ("plane_height", plane[0]),
                ("plane_width", plane[1]),
                ("weights", weights.name),
                ("output", output),
            ),
            constants=(weights, *arrays),
            scratch_bytes=scratch_bytes,
        )


def depthwise_conv2d(graph: Graph, node: Node, symbol: str, family: Family) -> Call:
    """A depthwise convolution, channel by channel on a padded plane, or by rows of pixels."""
    assert isinstance(node.attrs, ConvAttrs)
    weights, sums = folded(graph, node, filters_axis=3)
    sums, factors = without_constants(graph, node, sums)
    layer = _Depthwise(graph, node, symbol, node.attrs, weights, sums, factors)
    shifts = [factor.shift for factor in factors]
    if family is Family.HELIUM and _helium_can(layer):
        return _helium(layer)
    plane = plane_of(graph, node)
    scratch_bytes = plane[0] * plane[1] + 4  # words are read to their end
    fast = layer.kernel == (3, 3) and node.attrs.dilation == (1, 1)
    fits = dsp_can(sums.largest, shifts, zero_point(graph, node.output))
    if family is Family.DSP and fast and fits:
        kernel = f"ek_dsp_depthwise_{finish(graph, node)}"
        return layer.call("ek_dsp_kernels.h", kernel, taps_3x3(weights), scratch_bytes)
    return layer.call("ek_portable.h", "ek_depthwise_conv2d", weights, scratch_bytes)


def plane_of(graph: Graph, node: Node) -> Pair:
    """Rows and columns that windows reach over, padding included."""
    attrs = node.attrs
    assert isinstance(attrs, ConvAttrs)
    kernel, out = graph.values[node.inputs[1]].shape[1:3], graph.values[node.output].shape[1:3]
    height, width = (
        (size - 1) * stride + (taps - 1) * dilation + 1
        for size, stride, taps, dilation in zip(
            out, attrs.stride, kernel, attrs.dilation, strict=True
        )
    )
    return height, width


def _helium_can(layer: _Depthwise) -> bool:
    fits = pairs_of_taps_fit(layer.weights) and layer.multiplier == 1
    return fits and helium_can(factor.shift for factor in layer.factors)


def _helium(layer: _Depthwise) -> Call:
    """Sums and factors in the order of vectors; those that fill the last one count for nothing."""
    lanes = vector_lanes(len(layer.weights))
    bias, low, high = (
        np.append(part, 0)[lanes] for part in (layer.sums.bias, layer.sums.low, layer.sums.high)
    )
    factors = (*layer.factors, Multiplier(0, 0))
    ordered = dataclasses.replace(
        layer, sums=Sums(bias, low, high), factors=tuple(factors[lane] for lane in lanes)
    )
    height, _ = layer.kernel
    rows = (height - 1) * layer.attrs.dilation[0] + 1
    band_bytes = rows * plane_of(layer.graph, layer.node)[1] * len(layer.weights)
    offset_bytes, read_on = 4 * layer.weights.shape[1], VECTOR - 1
    return ordered.call(
        "ek_helium_kernels.h",
        f"ek_helium_depthwise_{helium_finish(layer.graph, layer.node)}",
        sixteens_of_rows(layer.weights),
        offset_bytes + band_bytes + read_on,
    )
