"""A node of an int8 graph as a kernel call: its parameters and its constant arrays.

The fields written here are those of the structs in c/common/ek_kernels.h; operators that are not
of windows or products are in files of their own, one for each kind. The fixed-point factors
are those of the integer reference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .emit_c_add import add
from .emit_c_binary import binary
from .emit_c_call import Call, window
from .emit_c_conv import conv2d
from .emit_c_dense import fully_connected
from .emit_c_depthwise import depthwise_conv2d
from .emit_c_family import Family
from .emit_c_images import resize_bilinear, transpose_conv2d
from .emit_c_layer import Constant, Fields, Layer
from .emit_c_lookup import ONE_CODE, lookup
from .emit_c_matmul import batch_matmul
from .emit_c_moves import concatenation, gather, pad, resize_nearest, slice_axes, transpose
from .emit_c_reduce import mean, reduce_max, total
from .emit_c_text import braces
from .errors import EmitError
from .graph import DType, Graph, Node
from .int_kernels.common import params
from .ops import ConvAttrs, Op, PoolAttrs
from .softmax import smallest_difference, softmax_multiplier


def layer(graph: Graph, node: Node, index: int, family: Family) -> Layer:
    """`node` as a call; `index` makes its symbols unique. Raises EmitError without a kernel."""
    symbol = f"{node.op}_{index}"
    call = _call(graph, node, symbol, family)
    operands = call.operands
    if operands is None:
        operands = tuple(name for name in node.inputs if graph.values[name].data is None)
    return Layer(
        symbol=symbol,
        header=call.header,
        kernel=call.kernel,
        params_type=call.params_type,
        params=braces(call.fields),
        constants=(*call.constants, *(c for c in operands if isinstance(c, Constant))),
        operands=operands,
        listed=call.listed,
        output=node.output,
        scratch_bytes=call.scratch_bytes,
        remark=_remark(graph, node, symbol),
    )


def _call(graph: Graph, node: Node, symbol: str, family: Family) -> Call:
    activations = (graph.values[name] for name in (*node.inputs, node.output))
    others = {v.dtype for v in activations if v.data is None} - {DType.INT8}
    if others:
        found = ", ".join(sorted(others))
        raise EmitError(f"{graph.name}: node '{node.name}' ({node.op}) is {found}; C takes int8")
    if node.op in _OF_FAMILY:
        return _OF_FAMILY[node.op](graph, node, symbol, family)
    if node.op in _ANY:
        return _ANY[node.op](graph, node, symbol)
    if node.op not in _FIELDS:
        raise EmitError(f"{graph.name}: node '{node.name}' ({node.op}) has no C kernel")
    kernel = f"ek_{node.op}"
    params_type = _PARAMS_TYPES.get(node.op, f"{kernel}_params")
    return Call("ek_kernels.h", kernel, params_type, _FIELDS[node.op](graph, node), (), 0)


def _remark(graph: Graph, node: Node, symbol: str) -> str:
    """`symbol: 32 x 32 x 16 -> 32 x 32 x 16, window 3 x 3 by 1 x 1; from 'source'`."""
    shapes = (graph.values[name].shape[1:] for name in (node.inputs[0], node.output))
    text = f"{symbol}: " + " -> ".join(" x ".join(map(str, shape)) for shape in shapes)
    if isinstance(node.attrs, ConvAttrs):
        kernel = graph.values[node.inputs[1]].shape[1:3]
        text += ", window {} x {} by {} x {}".format(*kernel, *node.attrs.stride)
    return f"{text}; from {node.source}" if node.source else text


def _pool2d(graph: Graph, node: Node) -> Fields:
    attrs = node.attrs
    assert isinstance(attrs, PoolAttrs)
    slid = window(graph, node, attrs.kernel, attrs)
    return (("window", slid), ("channels", graph.values[node.output].shape[3]))


def _softmax(graph: Graph, node: Node) -> Fields:
    classes = graph.values[node.output].shape[-1]
    factor = softmax_multiplier(params(graph, node.inputs[0]).scale[0])
    return (
        ("rows", graph.values[node.output].elements // classes),
        ("classes", classes),
        ("multiplier", factor.multiplier),
        ("shift", factor.shift),
        ("smallest", smallest_difference(factor)),
    )


def _log_softmax(graph: Graph, node: Node, symbol: str) -> Call:
    """The parameters are softmax's."""
    fields = _softmax(graph, node)
    return Call("ek_axes_kernels.h", "ek_log_softmax", "ek_softmax_params", fields, (), 0)


_OF_FAMILY: Mapping[Op, Callable[[Graph, Node, str, Family], Call]] = {
    Op.CONV_2D: conv2d,
    Op.DEPTHWISE_CONV_2D: depthwise_conv2d,
    Op.FULLY_CONNECTED: fully_connected,
    Op.ADD: add,
}
_ANY: Mapping[Op, Callable[[Graph, Node, str], Call]] = {
    **dict.fromkeys(ONE_CODE, lookup),
    Op.PRELU: binary,
    Op.SUB: binary,
    Op.MUL: binary,
    Op.MINIMUM: binary,
    Op.MAXIMUM: binary,
    Op.PAD: pad,
    Op.TRANSPOSE: transpose,
    Op.SLICE: slice_axes,
    Op.GATHER: gather,
    Op.RESIZE_NEAREST_NEIGHBOR: resize_nearest,
    Op.CONCATENATION: concatenation,
    Op.MEAN: mean,
    Op.SUM: total,
    Op.REDUCE_MAX: reduce_max,
    Op.RESIZE_BILINEAR: resize_bilinear,
    Op.TRANSPOSE_CONV: transpose_conv2d,
    Op.BATCH_MATMUL: batch_matmul,
    Op.LOG_SOFTMAX: _log_softmax,
}
_FIELDS: Mapping[Op, Callable[[Graph, Node], Fields]] = {
    Op.MAX_POOL_2D: _pool2d,
    Op.AVERAGE_POOL_2D: _pool2d,
    Op.SOFTMAX: _softmax,
}
_PARAMS_TYPES = {
    Op.MAX_POOL_2D: "ek_pool2d_params",
    Op.AVERAGE_POOL_2D: "ek_pool2d_params",
}

C_OPERATORS = frozenset({*_OF_FAMILY, *_ANY, *_FIELDS, Op.RESHAPE})
"""What generated C can compute; a reshape needs no code."""
