"""Operators that move elements. A transpose moves nothing: it renames the axes of the layout."""

from __future__ import annotations

import numpy as np

from ..graph import Node
from ..onnx_layouts import Layout, natural, reshaped, transposed, without
from ..onnx_writer import Writer
from ..ops import AxisAttrs, Op, PadAttrs, SliceAttrs, TransposeAttrs
from .common import Form, common_layout, operand

_BEFORE_FIRST = -(2**31)  # the end of a slice that runs backwards to the first element

_POOLS = (Op.MAX_POOL_2D, Op.AVERAGE_POOL_2D)


def _pad(writer: Writer, node: Node) -> None:
    attrs = node.attrs
    assert isinstance(attrs, PadAttrs)
    x, layout = writer.own(node.inputs[0])
    output = node.output
    before = [attrs.amounts[axis][0] for axis in layout]
    after = [attrs.amounts[axis][1] for axis in layout]
    # ONNX Runtime merges a float Pad into the pool that reads it, though zeros are not -inf and
    # it cannot pad more than a window. One row too many, sliced off again, keeps them apart.
    spare = any(reader.op in _POOLS for reader in writer.graph.consumers(output))
    if spare:
        after[layout.index(1)] += 1
    operands = [x, writer.integers(f"{output}.pads", *before, *after)]
    if attrs.fill != 0.0:
        operands.append(writer.constant(f"{output}.fill", np.array(attrs.fill, np.float32)))
    raw = writer.op("Pad", operands, f"{output}.padded")
    if spare:
        bounds = {"starts": 0, "ends": writer.shape(output)[1], "axes": layout.index(1)}
        constants = [writer.integers(f"{output}.{name}", n) for name, n in bounds.items()]
        raw = writer.op("Slice", [raw, *constants], f"{output}.raw")
    writer.define(output, raw, layout)


def _reshape(writer: Writer, node: Node) -> None:
    x, output = node.inputs[0], node.output
    before, after = writer.shape(x), writer.shape(output)
    layout = writer.layouts(x)[0]
    kept = reshaped(before, after, layout)
    if kept is None and _feeds_gemm_only(writer, output):
        _flatten(writer, node, layout)
        return
    tensor = writer.in_order(x) if kept is None else writer.want(x, layout)
    given = kept or natural(len(after))
    shape = tuple(after[axis] for axis in given)
    writer.define(output, writer.reshape(tensor, shape, f"{output}.raw"), given)


def _feeds_gemm_only(writer: Writer, output: str) -> bool:
    readers = writer.graph.consumers(output)
    dense = bool(readers) and all(node.op is Op.FULLY_CONNECTED for node in readers)
    return dense and len(writer.shape(output)) == 2 and output not in writer.graph.outputs


def _flatten(writer: Writer, node: Node, layout: Layout) -> None:
    """The elements as they lie: the weights of the readers will be put in their order."""
    x, output = node.inputs[0], node.output
    rows = writer.shape(x)[1:]
    order = [axis - 1 for axis in layout[1:]]
    writer.columns[output] = np.arange(np.prod(rows)).reshape(rows).transpose(order).ravel()
    raw = writer.reshape(writer.want(x, layout), writer.shape(output), f"{output}.raw")
    writer.define(output, raw, natural(2))


def _transpose(writer: Writer, node: Node) -> None:
    assert isinstance(node.attrs, TransposeAttrs)
    x, layout = writer.own(node.inputs[0])
    writer.alias(node.output, x, transposed(layout, node.attrs.perm))


def _concatenation(writer: Writer, node: Node) -> None:
    assert isinstance(node.attrs, AxisAttrs)
    rank = len(writer.shape(node.output))
    layout = common_layout(writer, node.inputs, rank)
    parts = [operand(writer, name, layout) for name in node.inputs]
    computed = [writer.source(name).data is None for name in node.inputs]
    if any(computed):
        like = parts[computed.index(True)]
        parts = [
            part if known else _for_every_sample(writer, part, like, rank)
            for part, known in zip(parts, computed, strict=True)
        ]
    raw = writer.op("Concat", parts, f"{node.output}.raw", axis=layout.index(node.attrs.axis))
    writer.define(node.output, raw, layout)


def _for_every_sample(writer: Writer, constant: str, like: str, rank: int) -> str:
    """A constant repeated as often as `like` has samples."""
    samples = writer.op("Shape", [like], f"{constant}.samples", start=0, end=1)
    ones = writer.integers(f"{constant}.ones", *[1] * (rank - 1))
    shape = writer.op("Concat", [samples, ones], f"{constant}.shape", axis=0)
    return writer.op("Expand", [constant, shape], f"{constant}.repeated")


def _slice(writer: Writer, node: Node) -> None:
    attrs = node.attrs
    assert isinstance(attrs, SliceAttrs)
    x, layout = writer.own(node.inputs[0])
    output, shape = node.output, writer.shape(node.inputs[0])
    axes = [
        axis
        for axis in range(1, len(shape))
        if (attrs.begin[axis], attrs.size[axis], attrs.stride[axis]) != (0, shape[axis], 1)
    ]
    if not axes:
        writer.alias(output, x, layout)
        return
    ends = [attrs.begin[axis] + attrs.size[axis] * attrs.stride[axis] for axis in axes]
    bounds = {
        "starts": [attrs.begin[axis] for axis in axes],
        "ends": [end if end >= 0 else _BEFORE_FIRST for end in ends],
        "axes": [layout.index(axis) for axis in axes],
        "steps": [attrs.stride[axis] for axis in axes],
    }
    constants = [writer.integers(f"{output}.{name}", *row) for name, row in bounds.items()]
    writer.define(output, writer.op("Slice", [x, *constants], f"{output}.raw"), layout)


def _gather(writer: Writer, node: Node) -> None:
    assert isinstance(node.attrs, AxisAttrs)
    x, indices = node.inputs
    axis, rank = node.attrs.axis, len(writer.shape(indices))
    layout = writer.layouts(x)[0] if rank <= 1 else natural(len(writer.shape(x)))
    given = layout
    if rank == 0:
        given = without(layout, [axis])
    elif rank > 1:
        given = natural(len(writer.shape(node.output)))
    stored = writer.constant(indices, writer.data(indices))
    raw = writer.op(
        "Gather", [writer.want(x, layout), stored], f"{node.output}.raw", axis=layout.index(axis)
    )
    writer.define(node.output, raw, given)


MOVES: dict[Op, Form] = {
    Op.PAD: _pad,
    Op.RESHAPE: _reshape,
    Op.TRANSPOSE: _transpose,
    Op.CONCATENATION: _concatenation,
    Op.SLICE: _slice,
    Op.GATHER: _gather,
}
