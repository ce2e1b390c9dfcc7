"""Operators that move elements, as kernel calls.

The kernels move bytes: an element of two or four bytes is a last axis of so many, or so many times
the channels.
"""

from __future__ import annotations

import math

import numpy as np

from .emit_c_axes import HEADER, Ints, axes_of, dense_strides, merged
from .emit_c_binary import operands
from .emit_c_call import HEADER_16, Call
from .emit_c_layer import Fields, constant, zero_point
from .float_kernels.windows import nearest_rows
from .graph import Array, Graph, Node
from .int_kernels.moves import fill_code
from .ops import AxisAttrs, PadAttrs, ResizeAttrs, SliceAttrs, TransposeAttrs


def transpose(graph: Graph, node: Node, symbol: str) -> Call:
    """Reads along other axes."""
    assert isinstance(node.attrs, TransposeAttrs)
    strides = dense_strides(graph.values[node.inputs[0]].shape)
    return _copy(graph, node, tuple(strides[axis] for axis in node.attrs.perm), 0)


def slice_axes(graph: Graph, node: Node, symbol: str) -> Call:
    """Reads from a corner on, with strides."""
    assert isinstance(node.attrs, SliceAttrs)
    dense = dense_strides(graph.values[node.inputs[0]].shape)
    steps = tuple(a * b for a, b in zip(dense, node.attrs.stride, strict=True))
    start = sum(a * b for a, b in zip(dense, node.attrs.begin, strict=True))
    return _copy(graph, node, steps, start)


def _copy(graph: Graph, node: Node, strides: Ints, start: int) -> Call:
    size = _element_bytes(graph, node)
    wide = tuple(stride * size for stride in strides)
    walk = merged(node, (*graph.values[node.output].shape, size), (*wide, 1))
    fields: Fields = (("axes", axes_of(walk)), ("start", start * size))
    return Call(HEADER, "ek_copy", "ek_copy_params", fields, (), 0, as_bytes=size > 1)


def _element_bytes(graph: Graph, node: Node) -> int:
    return graph.values[node.output].dtype.numpy.itemsize


def pad(graph: Graph, node: Node, symbol: str) -> Call:
    """Zeros around an image by a kernel of their own; else any axes, any number."""
    assert isinstance(node.attrs, PadAttrs)
    size = _element_bytes(graph, node)
    padding = node.attrs.image_padding
    shape = graph.values[node.inputs[0]].shape
    if padding is not None:
        _, height, width, channels = shape
        (top, bottom), (left, right) = padding
        image: Fields = (
            *(("in_height", height), ("in_width", width), ("channels", channels * size)),
            *(("top", top), ("bottom", bottom), ("left", left), ("right", right)),
            ("zero_point", zero_point(graph, node.inputs[0])),
        )
        return Call("ek_kernels.h", "ek_pad", "ek_pad_params", image, (), 0, as_bytes=size > 1)
    output = graph.values[node.output]
    dense = dense_strides(output.shape)
    start = sum(before * step for (before, _), step in zip(node.attrs.amounts, dense, strict=True))
    fields: Fields = (
        ("axes", axes_of(merged(node, shape, dense))),
        *(("start", start), ("size", output.elements), ("fill", fill_code(graph, node))),
    )
    header, kernel = (HEADER, "ek_pad_axes") if size == 1 else (HEADER_16, "ek_pad_axes_16")
    return Call(header, kernel, "ek_pad_axes_params", fields, (), 0)


def gather(graph: Graph, node: Node, symbol: str) -> Call:
    """Selects along one axis."""
    assert isinstance(node.attrs, AxisAttrs)
    shape, axis = graph.values[node.inputs[0]].shape, node.attrs.axis
    indices = graph.constant(node.inputs[1]).reshape(-1)
    # Indices that count from the end are allowed.
    rows = np.where(indices < 0, indices + shape[axis], indices)
    image = (math.prod(shape[:axis]), shape[axis], 1, math.prod(shape[axis + 1 :]))
    return _select(graph, node, symbol, image, rows, np.zeros(1, np.int32))


def resize_nearest(graph: Graph, node: Node, symbol: str) -> Call:
    """Selects rows and columns."""
    assert isinstance(node.attrs, ResizeAttrs)
    _, height, width, channels = graph.values[node.inputs[0]].shape
    rows = nearest_rows(height, node.attrs.size[0], node.attrs)
    columns = nearest_rows(width, node.attrs.size[1], node.attrs)
    return _select(graph, node, symbol, (1, height, width, channels), rows, columns)


def _select(
    graph: Graph,
    node: Node,
    symbol: str,
    image: tuple[int, int, int, int],
    rows: Array,
    columns: Array,
) -> Call:
    size = _element_bytes(graph, node)
    row = constant(f"model_{symbol}_rows", rows.astype(np.int32))
    column = constant(f"model_{symbol}_columns", columns.astype(np.int32))
    groups, in_rows, in_columns, channels = image
    fields: Fields = (
        *(("groups", groups), ("in_rows", in_rows), ("in_columns", in_columns)),
        *(("channels", channels * size), ("rows", rows.size), ("columns", columns.size)),
        *(("row", row.name), ("column", column.name)),
    )
    arrays = (row, column)
    return Call(HEADER, "ek_select", "ek_select_params", fields, arrays, 0, as_bytes=size > 1)


def concatenation(graph: Graph, node: Node, symbol: str) -> Call:
    """Row by row, a row being all from the axis on."""
    assert isinstance(node.attrs, AxisAttrs)
    axis, size = node.attrs.axis, _element_bytes(graph, node)
    shapes = [graph.values[name].shape for name in node.inputs]
    lengths = np.array([math.prod(shape[axis:]) * size for shape in shapes], np.int32)
    sizes = constant(f"model_{symbol}_sizes", lengths)
    fields: Fields = (
        *(("rows", math.prod(shapes[0][:axis])), ("parts", len(shapes))),
        ("sizes", sizes.name),
    )
    return Call(
        header=HEADER,
        kernel="ek_concatenation",
        params_type="ek_concatenation_params",
        fields=fields,
        constants=(sizes,),
        scratch_bytes=0,
        operands=operands(graph, node, symbol),
        listed=True,
        as_bytes=size > 1,
    )
