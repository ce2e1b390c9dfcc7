"""Operators along axes, as kernel calls."""

from __future__ import annotations

import math

from .emit_c_axes import HEADER, axes_of, dense_strides, factor_fields, merged
from .emit_c_call import HEADER_16, Call, is_int16
from .emit_c_layer import Fields, zero_point
from .errors import EmitError
from .fixedpoint import Multiplier, quantize_multiplier
from .graph import Graph, Node
from .int_kernels.codes import scale_of
from .int_kernels.common import mean_multiplier, params
from .ops import ReduceAttrs

_LARGEST_COUNT = (1 << 31) // 256  # of int8 codes whose sum fits 32 bits
_LARGEST_COUNT_16 = 1 << 16


def mean(graph: Graph, node: Node, symbol: str) -> Call:
    """Height and width of an int8 image by a kernel of their own; else any axes."""
    assert isinstance(node.attrs, ReduceAttrs)
    shape = graph.values[node.inputs[0]].shape
    factor = mean_multiplier(
        params(graph, node.inputs[0]), params(graph, node.output), _count(graph, node)
    )
    if is_int16(graph, node) or node.attrs.axes != (1, 2) or len(shape) != 4:
        return _sum_axes(graph, node, factor)
    fields: Fields = (
        *(("positions", shape[1] * shape[2]), ("channels", shape[3])),
        ("input_zero_point", zero_point(graph, node.inputs[0])),
        ("output_zero_point", zero_point(graph, node.output)),
        *(("multiplier", factor.multiplier), ("shift", factor.shift)),
    )
    return Call("ek_kernels.h", "ek_mean", "ek_mean_params", fields, (), 0)


def total(graph: Graph, node: Node, symbol: str) -> Call:
    """A sum is a mean with another factor."""
    real = float(scale_of(graph, node.inputs[0])) / float(scale_of(graph, node.output))
    return _sum_axes(graph, node, quantize_multiplier(real))


def reduce_max(graph: Graph, node: Node, symbol: str) -> Call:
    """The largest code."""
    return _call(graph, node, "ek_reduce_max", _axes(graph, node))


def _sum_axes(graph: Graph, node: Node, factor: Multiplier) -> Call:
    count = _count(graph, node)
    if count >= (_LARGEST_COUNT_16 if is_int16(graph, node) else _LARGEST_COUNT):
        raise EmitError(f"{node.name} ({node.op}): sums of this layer exceed 32 bits")
    fields: Fields = (
        *_axes(graph, node),
        ("first", -zero_point(graph, node.inputs[0]) * count),
        ("output_zero_point", zero_point(graph, node.output)),
        *factor_fields(factor),
    )
    return _call(graph, node, "ek_sum_axes", fields)


def _call(graph: Graph, node: Node, kernel: str, fields: Fields) -> Call:
    header, name = (HEADER_16, f"{kernel}_16") if is_int16(graph, node) else (HEADER, kernel)
    return Call(header, name, f"{kernel}_params", fields, (), 0)


def _axes(graph: Graph, node: Node) -> Fields:
    assert isinstance(node.attrs, ReduceAttrs)
    shape = graph.values[node.inputs[0]].shape
    strides, reduced = dense_strides(shape), node.attrs.axes
    kept = tuple(axis for axis in range(len(shape)) if axis not in reduced)
    return tuple(
        (
            name,
            axes_of(merged(node, [shape[a] for a in axes], [strides[a] for a in axes])),
        )
        for name, axes in (("kept", kept), ("reduced", reduced))
    )


def _count(graph: Graph, node: Node) -> int:
    assert isinstance(node.attrs, ReduceAttrs)
    return math.prod(graph.values[node.inputs[0]].shape[axis] for axis in node.attrs.axes)
