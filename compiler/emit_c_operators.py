"""Which function writes the kernel call of an operator, by the format that the operator reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from . import emit_c_int16 as int16
from . import emit_c_int16_conv as int16_conv
from . import emit_c_int16_dense as int16_dense
from .emit_c_add import add
from .emit_c_binary import binary
from .emit_c_call import HEADER_16, Call, is_int16, window
from .emit_c_conv import conv2d
from .emit_c_dense import fully_connected
from .emit_c_depthwise import depthwise_conv2d
from .emit_c_ends import arg_max, dequantize, quantize
from .emit_c_family import Family
from .emit_c_images import resize_bilinear, transpose_conv2d
from .emit_c_layer import Fields
from .emit_c_lookup import ONE_CODE, lookup
from .emit_c_matmul import batch_matmul
from .emit_c_moves import concatenation, gather, pad, resize_nearest, slice_axes, transpose
from .emit_c_recurrent import lstm, svdf
from .emit_c_reduce import mean, reduce_max, total
from .emit_c_softmax import log_softmax, softmax
from .graph import DType, Graph, Node
from .ops import Op, PoolAttrs

Maker = Callable[[Graph, Node, str, Family], Call]
"""(graph, node, symbol, family) -> the call."""


def _same(make: Callable[[Graph, Node, str], Call]) -> Maker:
    """Of an operator whose kernel is the same in every family."""
    return lambda graph, node, symbol, family: make(graph, node, symbol)


def _pool2d(graph: Graph, node: Node, symbol: str) -> Call:
    attrs = node.attrs
    assert isinstance(attrs, PoolAttrs)
    header, suffix = (HEADER_16, "_16") if is_int16(graph, node) else ("ek_kernels.h", "")
    fields: Fields = (
        ("window", window(graph, node, attrs.kernel, attrs)),
        ("channels", graph.values[node.output].shape[3]),
    )
    return Call(header, f"ek_{node.op}{suffix}", "ek_pool2d_params", fields, (), 0)


def _quantize(graph: Graph, node: Node, symbol: str) -> Call:
    """From int8 to int8 by a table."""
    to_int8 = graph.values[node.output].dtype is DType.INT8
    return (lookup if to_int8 else int16.requantize)(graph, node, symbol)


_INDEX_MOVES: Mapping[Op, Maker] = {Op.TRANSPOSE: _same(transpose), Op.SLICE: _same(slice_axes)}
_MOVES: Mapping[Op, Maker] = {
    **_INDEX_MOVES,
    Op.GATHER: _same(gather),
    Op.RESIZE_NEAREST_NEIGHBOR: _same(resize_nearest),
    Op.CONCATENATION: _same(concatenation),
}
_FLOAT: Mapping[Op, Maker] = {
    **_MOVES,
    Op.QUANTIZE: _same(quantize),
    Op.ARG_MAX: _same(arg_max),
}
_OF_BOTH: Mapping[Op, Maker] = {
    **_MOVES,
    Op.DEQUANTIZE: _same(dequantize),
    Op.PAD: _same(pad),
    Op.ADD: add,
    Op.SUB: _same(binary),
    Op.MUL: _same(binary),
    Op.MINIMUM: _same(binary),
    Op.MAXIMUM: _same(binary),
    Op.MAX_POOL_2D: _same(_pool2d),
    Op.AVERAGE_POOL_2D: _same(_pool2d),
    Op.MEAN: _same(mean),
    Op.REDUCE_MAX: _same(reduce_max),
    Op.RESIZE_BILINEAR: _same(resize_bilinear),
}
_INT8: Mapping[Op, Maker] = {
    **_OF_BOTH,
    Op.ARG_MAX: _same(arg_max),
    **dict.fromkeys(ONE_CODE, _same(lookup)),
    Op.QUANTIZE: _same(_quantize),
    Op.CONV_2D: conv2d,
    Op.DEPTHWISE_CONV_2D: depthwise_conv2d,
    Op.FULLY_CONNECTED: fully_connected,
    Op.PRELU: _same(binary),
    Op.SUM: _same(total),
    Op.TRANSPOSE_CONV: _same(transpose_conv2d),
    Op.BATCH_MATMUL: _same(batch_matmul),
    Op.SOFTMAX: _same(softmax),
    Op.LOG_SOFTMAX: _same(log_softmax),
    Op.SVDF: _same(svdf),
    Op.UNIDIRECTIONAL_SEQUENCE_LSTM: _same(lstm),
}
_INT16: Mapping[Op, Maker] = {
    **_OF_BOTH,
    Op.CONV_2D: int16_conv.conv2d,
    Op.DEPTHWISE_CONV_2D: int16_conv.depthwise_conv2d,
    Op.TRANSPOSE_CONV: _same(int16_conv.transpose_conv2d),
    Op.FULLY_CONNECTED: int16_dense.fully_connected,
    Op.BATCH_MATMUL: _same(int16_dense.batch_matmul),
    Op.RELU: _same(int16.relu),
    Op.RELU6: _same(int16.relu),
    Op.LEAKY_RELU: _same(int16.leaky_relu),
    Op.ABS: _same(int16.absolute),
    Op.LOGISTIC: _same(int16.sigmoid),
    Op.TANH: _same(int16.sigmoid),
    Op.EXP: _same(int16.lookup),
    Op.GELU: _same(int16.lookup),
    Op.RSQRT: _same(int16.lookup),
    Op.SOFTMAX: _same(int16.softmax),
    Op.QUANTIZE: _same(int16.requantize),
}
MAKERS: Mapping[DType, Mapping[Op, Maker]] = {
    DType.INT8: _INT8,
    DType.INT16: _INT16,
    DType.INT32: _INDEX_MOVES,
    DType.FLOAT32: _FLOAT,
}
"""By the dtype of the first operand; a reshape needs no call."""

C_OPERATORS = frozenset({*_INT8, Op.RESHAPE})
"""What generated C can compute on int8."""
