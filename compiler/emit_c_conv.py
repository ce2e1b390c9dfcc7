"""Convolutions as kernel calls of a family."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .emit_c_call import Call, finish, folded, helium_can, helium_finish, window
from .emit_c_family import Family
from .emit_c_layer import Constant, Fields, constant, zero_point
from .emit_c_output import outputs
from .emit_c_pack import Int8, blocks_of_rows, pair_count, pairs_of_rows, strips_of_rows
from .emit_c_text import braces
from .graph import Graph, Node
from .ops import ConvAttrs


def conv2d(graph: Graph, node: Node, symbol: str, family: Family) -> Call:
    """A convolution; one pixel that moves by one pixel is a kernel of its own."""
    weights, sums = folded(graph, node, filters_axis=0)
    scaled = outputs(graph, node, symbol, sums)
    name = f"model_{symbol}_weights"
    layer = _Convolution(graph, node, name, weights, scaled.text, scaled.arrays)
    if layer.groups > 1:
        return _grouped(layer)
    if family is Family.DSP and scaled.dsp:
        return _dsp(layer)
    if family is Family.HELIUM and helium_can(scaled.shifts):
        return _helium(layer)
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


def _helium(layer: _Convolution) -> Call:
    kind = "pointwise" if layer.pointwise else "conv2d"
    return Call(
        header="ek_helium_kernels.h",
        kernel=f"ek_helium_{kind}_{helium_finish(layer.graph, layer.node)}",
        params_type="ek_conv2d_params",
        fields=layer.fields(("taps", layer.taps)),
        constants=(constant(layer.name, strips_of_rows(layer.weights)), *layer.arrays),
        scratch_bytes=layer.taps,
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
