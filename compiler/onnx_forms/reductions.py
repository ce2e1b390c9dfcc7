"""Operators that work along axes, which they name in the layout that is there."""

from __future__ import annotations

from ..graph import Node
from ..onnx_layouts import CHANNELS_FIRST, Layout, natural, without
from ..onnx_writer import Writer
from ..ops import AxisAttrs, Op, ReduceAttrs
from .common import Form

_AXES_ARE_INPUTS = 18  # of ReduceMean and ReduceMax; ReduceSum has them so since 13


def _along_last(op_type: str) -> Form:
    def form(writer: Writer, node: Node) -> None:
        x, layout = writer.own(node.inputs[0])
        axis = layout.index(len(layout) - 1)
        raw = writer.op(op_type, [x], f"{node.output}.raw", axis=axis)
        writer.define(node.output, raw, layout)

    return form


def _softmax(writer: Writer, node: Node) -> None:
    if writer.shape(node.output)[-1] > 1:
        _along_last("Softmax")(writer, node)
        return
    # Of one class: e^(x - x). ONNX Runtime's integer kernel lets the one overflow to zero.
    x, layout = writer.own(node.inputs[0])
    nothing = writer.op("Sub", [x, x], f"{node.output}.nothing")
    writer.define(node.output, writer.op("Exp", [nothing], f"{node.output}.raw"), layout)


def _mean(writer: Writer, node: Node) -> None:
    """ONNX Runtime has an integer kernel for GlobalAveragePool, but none for ReduceMean."""
    assert isinstance(node.attrs, ReduceAttrs)
    x = node.inputs[0]
    shape = writer.shape(x)
    kept = [axis for axis in range(1, len(shape)) if axis not in node.attrs.axes]
    channels = kept if len(kept) == 1 else [axis for axis in kept if shape[axis] > 1]
    layout = (0, *channels, *(axis for axis in range(1, len(shape)) if axis not in channels))
    if len(channels) == 1 and len(shape) > 2 and _pools(writer, x, layout):
        _global_pool(writer, node, layout)
    else:
        _reduce(writer, node, "ReduceMean", _AXES_ARE_INPUTS)


def _pools(writer: Writer, x: str, layout: Layout) -> bool:
    """Whether the layout is there, or worth a transpose as it is for images."""
    return layout == CHANNELS_FIRST or writer.cost(x, layout) == 0


def _global_pool(writer: Writer, node: Node, layout: Layout) -> None:
    """`layout`: samples, the only long axis that is kept, and all that may be averaged."""
    assert isinstance(node.attrs, ReduceAttrs)
    x, output = node.inputs[0], node.output
    pooled = writer.op("GlobalAveragePool", [writer.want(x, layout)], f"{output}.pool")
    if node.attrs.keep_dims:
        writer.define(output, pooled, layout)
        return
    shape = writer.shape(output)
    pooled = writer.rounded(writer.graph.values[output], pooled, f"{output}.pooled")
    writer.define(output, writer.reshape(pooled, shape, f"{output}.raw"), natural(len(shape)))


def _sum(writer: Writer, node: Node) -> None:
    _reduce(writer, node, "ReduceSum", 13)


def _max(writer: Writer, node: Node) -> None:
    _reduce(writer, node, "ReduceMax", _AXES_ARE_INPUTS)


def _reduce(writer: Writer, node: Node, op_type: str, axes_are_inputs: int) -> None:
    attrs = node.attrs
    assert isinstance(attrs, ReduceAttrs)
    x, layout = writer.own(node.inputs[0])
    axes = sorted(layout.index(axis) for axis in attrs.axes)
    name, keep = f"{node.output}.raw", int(attrs.keep_dims)
    if writer.opset >= axes_are_inputs:
        named = writer.integers(f"{node.output}.axes", *axes)
        raw = writer.op(op_type, [x, named], name, keepdims=keep)
    else:
        raw = writer.op(op_type, [x], name, axes=axes, keepdims=keep)
    writer.define(node.output, raw, layout if keep else without(layout, attrs.axes))


def _arg_max(writer: Writer, node: Node) -> None:
    assert isinstance(node.attrs, AxisAttrs)
    from onnx import TensorProto

    x, layout = writer.own(node.inputs[0])
    axis = layout.index(node.attrs.axis)
    found = writer.op("ArgMax", [x], f"{node.output}.wide", axis=axis, keepdims=0)
    kind = getattr(TensorProto, writer.graph.values[node.output].dtype.name)
    raw = writer.op("Cast", [found], f"{node.output}.raw", to=kind)
    writer.define(node.output, raw, without(layout, [node.attrs.axis]))


REDUCTIONS: dict[Op, Form] = {
    Op.SOFTMAX: _softmax,
    Op.LOG_SOFTMAX: _along_last("LogSoftmax"),
    Op.MEAN: _mean,
    Op.SUM: _sum,
    Op.REDUCE_MAX: _max,
    Op.ARG_MAX: _arg_max,
}
