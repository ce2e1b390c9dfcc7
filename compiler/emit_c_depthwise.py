"""Depthwise convolutions as kernel calls of a family: channel by channel on a padded plane, or
(helium) row by row."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .emit_c_call import Call, finish, folded, helium_can, helium_finish, window_of
from .emit_c_family import Family
from .emit_c_layer import Fields, constant, zero_point
from .emit_c_output import Outputs, ordered, outputs
from .emit_c_pack import (
    VECTOR,
    Int8,
    Sums,
    pairs_of_taps_fit,
    sixteens_of_rows,
    taps_3x3,
    vector_lanes,
)
from .fixedpoint import Multiplier
from .graph import Graph, Node
from .plan_rules import slide_of
from .plan_steps import Slide

_SLACK = 4  # bytes after a plane: words are read to their end
# Taps of a row at a time, c/dsp/ek_dsp_depthwise_any.h: blocks of 8, and a last one of up to 9.
BLOCK_TAPS, LAST_TAPS = 8, 9


def depthwise_conv2d(graph: Graph, node: Node, symbol: str, family: Family) -> Call:
    """A depthwise convolution; 3 by 3 windows without dilation have kernels of their own."""
    weights, sums = folded(graph, node, filters_axis=3)
    layer = _Depthwise(graph, node, symbol, weights, outputs(graph, node, symbol, sums))
    if family is Family.HELIUM and _helium_can(layer):
        return _helium(layer)
    if family is not Family.DSP or not layer.outputs.dsp:
        return _whole_plane(layer, "ek_portable.h", "ek_depthwise_conv2d", weights)
    if layer.slide.kernel == (3, 3) and layer.slide.dilation == (1, 1):
        kernel = f"ek_dsp_depthwise_{finish(graph, node)}"
        return _whole_plane(layer, "ek_dsp_kernels.h", kernel, taps_3x3(weights))
    slide = any_window_slide(layer.slide)
    if slide is None:
        return _whole_plane(layer, "ek_portable.h", "ek_depthwise_conv2d", weights)
    return _any_window(layer, slide)


def any_window_slide(slide: Slide) -> Slide | None:
    """How ek_dsp_depthwise_any runs over the image: along columns where that is cheaper.

    None where it cannot.
    """
    if math.isinf(min(_instructions(slide), _instructions(slide.transposed))):
        return None
    return slide.transposed if _instructions(slide.transposed) < _instructions(slide) else slide


def row_blocks(width: int) -> Iterator[int]:
    """Taps of each block of a row, as ek_dsp_depthwise_any takes them."""
    for _ in range(_whole_blocks(width)):
        yield BLOCK_TAPS
    yield width - BLOCK_TAPS * _whole_blocks(width)


def quads(taps: int) -> int:
    """Quads of a block; what they leave is one tap or none."""
    return (taps + 2) // 4


@dataclass(frozen=True, slots=True)
class _Depthwise:
    graph: Graph
    node: Node
    symbol: str
    weights: Int8  # (channels, taps)
    outputs: Outputs

    @property
    def slide(self) -> Slide:
        return slide_of(self.graph, self.node)

    @property
    def fields(self) -> Fields:
        """What the structs have in common after the window."""
        channels = len(self.weights)
        in_channels = self.graph.values[self.node.inputs[0]].shape[3]
        return (
            ("channels", channels),
            ("multiplier", channels // in_channels),
            ("input_zero_point", zero_point(self.graph, self.node.inputs[0])),
        )


def _whole_plane(layer: _Depthwise, header: str, kernel: str, weights: Int8) -> Call:
    slide = layer.slide
    packed = constant(f"model_{layer.symbol}_weights", weights)
    height, width = slide.plane
    return Call(
        header=header,
        kernel=kernel,
        params_type="ek_depthwise_conv2d_params",
        fields=(
            ("window", window_of(slide)),
            *layer.fields,
            *(("plane_height", height), ("plane_width", width)),
            *(("weights", packed.name), ("output", layer.outputs.text)),
        ),
        constants=(packed, *layer.outputs.arrays),
        scratch_bytes=height * width + _SLACK,
    )


def _any_window(layer: _Depthwise, slide: Slide) -> Call:
    turned = slide != layer.slide
    weights = layer.weights.reshape(-1, *layer.slide.kernel)
    steps = _Steps.of(layer, turned)
    if turned:
        weights = weights.transpose(0, 2, 1)
    flat = np.append(weights.reshape(-1), np.zeros(_read_further(slide.kernel[1]), np.int8))
    packed = constant(f"model_{layer.symbol}_weights", flat)
    words = slide.kernel[0] * sum(map(_row_words, row_blocks(slide.kernel[1])))
    phase_width = -(-slide.plane[1] // slide.dilation[1])
    return Call(
        header="ek_dsp_kernels.h",
        kernel=f"ek_dsp_depthwise_any_{finish(layer.graph, layer.node)}",
        params_type="ek_dsp_depthwise_any_params",
        fields=(
            ("window", window_of(slide)),
            *layer.fields,
            *(("in_row", steps.in_row), ("in_column", steps.in_column)),
            *(("out_row", steps.out_row), ("out_column", steps.out_column)),
            *(("plane_height", slide.plane[0]), ("phase_width", phase_width)),
            *(("words", words), ("weights", packed.name), ("output", layer.outputs.text)),
        ),
        constants=(packed, *layer.outputs.arrays),
        scratch_bytes=4 * words + slide.plane[0] * phase_width * slide.dilation[1] + _SLACK,
    )


@dataclass(frozen=True, slots=True)
class _Steps:
    """Bytes from one row or column of the plane's image to the next, in input and output."""

    in_row: int
    in_column: int
    out_row: int
    out_column: int

    @staticmethod
    def of(layer: _Depthwise, turned: bool) -> _Steps:
        ends = (layer.node.inputs[0], layer.node.output)
        shapes = (layer.graph.values[name].shape for name in ends)
        steps = [(shape[2] * shape[3], shape[3]) for shape in shapes]
        (in_row, in_column), (out_row, out_column) = (
            step[::-1] if turned else step for step in steps
        )
        return _Steps(in_row, in_column, out_row, out_column)


def _instructions(slide: Slide) -> float:
    """About what an output takes, from the loops of c/dsp/ek_rows_dot.h.

    It does not depend on the image, so that a layer and its strips are turned alike.
    """
    if slide.stride[1] > 1 and slide.dilation[1] > 1:
        return math.inf  # no kernel
    rows, blocks = slide.kernel[0], list(row_blocks(slide.kernel[1]))
    if slide.stride[1] == 1:
        return sum(rows * (3 + 17 * quads(taps) + 8 * (taps % 4 == 1)) for taps in blocks) / 4
    return sum(rows * (4 + 11 * quads(taps) + 5 * (taps % 4 == 1)) for taps in blocks) / 2


def _whole_blocks(width: int) -> int:
    return max(0, -(-(width - LAST_TAPS) // BLOCK_TAPS))


def _row_words(taps: int) -> int:
    return 2 * quads(taps) + (taps % 4 == 1)


def _read_further(width: int) -> int:
    """Bytes that are read after the last row of weights."""
    return -width % 4 if width % 4 > 1 else 0


def _helium_can(layer: _Depthwise) -> bool:
    multiplier = len(layer.weights) // layer.slide.image[2]
    fits = pairs_of_taps_fit(layer.weights) and helium_can(layer.outputs.shifts)
    return multiplier == 1 and fits


def _helium(layer: _Depthwise) -> Call:
    """Sums and factors in the order of vectors; those that fill the last one count for nothing.

    Few channels repeat, where the kernel takes pixels as one line.
    """
    slide, channels, weights = layer.slide.upright, len(layer.weights), layer.weights
    lanes = vector_lanes(channels)
    if channels < VECTOR and VECTOR % channels == 0 and slide.stride[1] == 1:
        lanes = [lane % channels for lane in vector_lanes(VECTOR)]
        weights = np.tile(weights, (VECTOR // channels, 1))
    sums, factors = layer.outputs.sums, (*layer.outputs.factors, Multiplier(0, 0))
    bias, low, high = (np.append(part, 0)[lanes] for part in (sums.bias, sums.low, sums.high))
    vectors = tuple(factors[lane] for lane in lanes)
    scaled = ordered(layer.graph, layer.node, layer.symbol, Sums(bias, low, high), vectors)
    height, width = slide.plane
    rows = (slide.kernel[0] - 1) * slide.dilation[0] + 1
    packed = constant(f"model_{layer.symbol}_weights", sixteens_of_rows(weights))
    return Call(
        header="ek_helium_kernels.h",
        kernel=f"ek_helium_depthwise_{helium_finish(layer.graph, layer.node)}",
        params_type="ek_depthwise_conv2d_params",
        fields=(
            ("window", window_of(slide)),
            *layer.fields,
            *(("plane_height", height), ("plane_width", width)),
            *(("weights", packed.name), ("output", scaled.text)),
        ),
        constants=(packed, *scaled.arrays),
        scratch_bytes=4 * weights.shape[1] + rows * width * channels + VECTOR - 1,
    )
