"""Depthwise convolutions as kernel calls of a family: channel by channel on a padded plane."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .emit_c_call import Call, finish, folded, window_of
from .emit_c_family import Family
from .emit_c_layer import Fields, constant, zero_point
from .emit_c_output import Outputs, outputs
from .emit_c_pack import Int8, taps_3x3
from .graph import Graph, Node
from .ops import ConvAttrs, Pair

_SLACK = 4  # bytes after a plane: words are read to their end
# Taps of a row at a time, c/dsp/ek_dsp_depthwise_any.h: blocks of 8, and a last one of up to 9.
_BLOCK, _LAST = 8, 9


def depthwise_conv2d(graph: Graph, node: Node, symbol: str, family: Family) -> Call:
    """A depthwise convolution; 3 by 3 windows without dilation have kernels of their own."""
    weights, sums = folded(graph, node, filters_axis=3)
    layer = _Depthwise(graph, node, symbol, weights, outputs(graph, node, symbol, sums))
    if family is not Family.DSP or not layer.outputs.dsp:
        return _whole_plane(layer, "ek_portable.h", "ek_depthwise_conv2d", weights)
    if layer.slide.kernel == (3, 3) and layer.slide.dilation == (1, 1):
        kernel = f"ek_dsp_depthwise_{finish(graph, node)}"
        return _whole_plane(layer, "ek_dsp_kernels.h", kernel, taps_3x3(weights))
    if math.isinf(min(_instructions(layer.slide), _instructions(layer.slide.transposed))):
        return _whole_plane(layer, "ek_portable.h", "ek_depthwise_conv2d", weights)
    return _any_window(layer)


@dataclass(frozen=True, slots=True)
class _Slide:
    """Windows over an image, each as (of rows, of columns)."""

    image: Pair
    out: Pair
    kernel: Pair
    stride: Pair
    dilation: Pair
    before: Pair  # padding at the top and at the left

    @property
    def plane(self) -> Pair:
        """What all windows reach."""
        rows, columns = (
            (out - 1) * stride + (kernel - 1) * dilation + 1
            for out, stride, kernel, dilation in zip(
                self.out, self.stride, self.kernel, self.dilation, strict=True
            )
        )
        return rows, columns

    @property
    def transposed(self) -> _Slide:
        """Rows and columns in each other's place."""
        turned = (
            pair[::-1]
            for pair in (
                *(self.image, self.out, self.kernel),
                *(self.stride, self.dilation, self.before),
            )
        )
        return _Slide(*turned)

    @property
    def text(self) -> str:
        """The initialiser of an `ek_window`."""
        return window_of(self.image, self.out, self.kernel, self.stride, self.dilation, self.before)


@dataclass(frozen=True, slots=True)
class _Depthwise:
    graph: Graph
    node: Node
    symbol: str
    weights: Int8  # (channels, taps)
    outputs: Outputs

    @property
    def slide(self) -> _Slide:
        attrs = self.node.attrs
        assert isinstance(attrs, ConvAttrs)
        image, out, kernel = (
            self.graph.values[name].shape[1:3]
            for name in (self.node.inputs[0], self.node.output, self.node.inputs[1])
        )
        before = attrs.padding[0][0], attrs.padding[1][0]
        return _Slide(
            (image[0], image[1]),
            (out[0], out[1]),
            (kernel[0], kernel[1]),
            attrs.stride,
            attrs.dilation,
            before,
        )

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
            ("window", slide.text),
            *layer.fields,
            *(("plane_height", height), ("plane_width", width)),
            *(("weights", packed.name), ("output", layer.outputs.text)),
        ),
        constants=(packed, *layer.outputs.arrays),
        scratch_bytes=height * width + _SLACK,
    )


def _any_window(layer: _Depthwise) -> Call:
    slide = layer.slide
    turned = _instructions(slide.transposed) < _instructions(slide)
    weights = layer.weights.reshape(-1, *slide.kernel)
    steps = _Steps.of(layer, turned)
    if turned:
        slide, weights = slide.transposed, weights.transpose(0, 2, 1)
    flat = np.append(weights.reshape(-1), np.zeros(_read_further(slide.kernel[1]), np.int8))
    packed = constant(f"model_{layer.symbol}_weights", flat)
    words = slide.kernel[0] * sum(map(_row_words, _blocks(slide.kernel[1])))
    phase_width = -(-slide.plane[1] // slide.dilation[1])
    return Call(
        header="ek_dsp_kernels.h",
        kernel=f"ek_dsp_depthwise_any_{finish(layer.graph, layer.node)}",
        params_type="ek_dsp_depthwise_any_params",
        fields=(
            ("window", slide.text),
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


def _instructions(slide: _Slide) -> float:
    """About what an output takes, from the loops of c/dsp/ek_rows_dot.h.

    It does not depend on the image, so that a layer and its strips are turned alike.
    """
    if slide.stride[1] > 1 and slide.dilation[1] > 1:
        return math.inf  # no kernel
    rows, blocks = slide.kernel[0], list(_blocks(slide.kernel[1]))
    if slide.stride[1] == 1:
        return sum(rows * (3 + 17 * _quads(taps) + 8 * (taps % 4 == 1)) for taps in blocks) / 4
    return sum(rows * (4 + 11 * _quads(taps) + 5 * (taps % 4 == 1)) for taps in blocks) / 2


def _blocks(width: int) -> Iterator[int]:
    """Taps of each block of a row."""
    for _ in range(_whole_blocks(width)):
        yield _BLOCK
    yield width - _BLOCK * _whole_blocks(width)


def _whole_blocks(width: int) -> int:
    return max(0, -(-(width - _LAST) // _BLOCK))


def _row_words(taps: int) -> int:
    return 2 * _quads(taps) + (taps % 4 == 1)


def _quads(taps: int) -> int:
    return (taps + 2) // 4


def _read_further(width: int) -> int:
    """Bytes that are read after the last row of weights."""
    return -width % 4 if width % 4 > 1 else 0
