"""Depthwise convolutions as kernel calls of a family."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from .emit_c_call import Call, dsp_can, finish, folded, helium_can, helium_finish, window_of
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
from .plan_rules import slide_of
from .plan_steps import Slide


@dataclass(frozen=True, slots=True)
class _Depthwise:
    graph: Graph
    node: Node
    symbol: str
    slide: Slide
    weights: Int8  # (channels, taps)
    sums: Sums
    factors: tuple[Multiplier, ...]

    @property
    def multiplier(self) -> int:
        """Outputs of each input channel."""
        return len(self.weights) // self.slide.image[2]

    @property
    def shifts(self) -> tuple[int, ...]:
        return tuple(factor.shift for factor in self.factors)

    def call(self, header: str, kernel: str, packed: Int8, scratch_bytes: int) -> Call:
        """A call whose sums and factors are in the order of the weights."""
        weights = constant(f"model_{self.symbol}_weights", packed)
        output, arrays = output_of(self.graph, self.node, self.symbol, self.sums, self.factors)
        return Call(
            header=header,
            kernel=kernel,
            params_type="ek_depthwise_conv2d_params",
            fields=(
                ("window", window_of(self.slide)),
                ("channels", len(self.weights)),
                ("multiplier", self.multiplier),
                ("input_zero_point", zero_point(self.graph, self.node.inputs[0])),
                ("plane_height", self.slide.plane[0]),
                ("plane_width", self.slide.plane[1]),
                ("weights", weights.name),
                ("output", output),
            ),
            constants=(weights, *arrays),
            scratch_bytes=scratch_bytes,
        )


def depthwise_conv2d(graph: Graph, node: Node, symbol: str, family: Family) -> Call:
    """A depthwise convolution: channel by channel on a padded plane, or (helium) row by row."""
    weights, sums = folded(graph, node, filters_axis=3)
    sums, factors = without_constants(graph, node, sums)
    layer = _Depthwise(graph, node, symbol, slide_of(graph, node), weights, sums, factors)
    if family is Family.HELIUM and _helium_can(layer):
        return _helium(layer)
    scratch_bytes = math.prod(layer.slide.plane) + 4  # words are read to their end
    fast = (layer.slide.kernel, layer.slide.dilation) == ((3, 3), (1, 1))
    fits = dsp_can(sums.largest, layer.shifts, zero_point(graph, node.output))
    if family is Family.DSP and fast and fits:
        kernel = f"ek_dsp_depthwise_{finish(graph, node)}"
        return layer.call("ek_dsp_kernels.h", kernel, taps_3x3(weights), scratch_bytes)
    return layer.call("ek_portable.h", "ek_depthwise_conv2d", weights, scratch_bytes)


def _helium_can(layer: _Depthwise) -> bool:
    return layer.multiplier == 1 and pairs_of_taps_fit(layer.weights) and helium_can(layer.shifts)


def _helium(layer: _Depthwise) -> Call:
    """Sums and factors in the order of vectors; those that fill the last one count for nothing.

    Few channels repeat, where the kernel takes pixels as one line.
    """
    slide, channels, weights = layer.slide.upright, len(layer.weights), layer.weights
    lanes = vector_lanes(channels)
    if channels < VECTOR and VECTOR % channels == 0 and slide.stride[1] == 1:
        lanes = [lane % channels for lane in vector_lanes(VECTOR)]
        weights = np.tile(weights, (VECTOR // channels, 1))
    bias, low, high = (
        np.append(part, 0)[lanes] for part in (layer.sums.bias, layer.sums.low, layer.sums.high)
    )
    factors = (*layer.factors, Multiplier(0, 0))
    ordered = dataclasses.replace(
        layer,
        slide=slide,
        sums=Sums(bias, low, high),
        factors=tuple(factors[lane] for lane in lanes),
    )
    rows = (slide.kernel[0] - 1) * slide.dilation[0] + 1
    band_bytes = rows * slide.plane[1] * channels
    offset_bytes, read_on = 4 * weights.shape[1], VECTOR - 1
    return ordered.call(
        "ek_helium_kernels.h",
        f"ek_helium_depthwise_{helium_finish(layer.graph, layer.node)}",
        sixteens_of_rows(weights),
        offset_bytes + band_bytes + read_on,
    )
