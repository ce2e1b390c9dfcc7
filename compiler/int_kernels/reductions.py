"""Operators on int8 and int16 that work along axes; LiteRT's reference/reduce.h."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..fixedpoint import Int64, multiply, quantize_multiplier
from ..float_kernels.reductions import arg_max
from ..graph import Array, Graph, Node
from ..ops import Op, ReduceAttrs
from ..softmax import softmax_int8
from .codes import Codes, scale_of
from .common import mean_multiplier, params
from .log_softmax import log_softmax_int8
from .requantize import encoded
from .softmax_int16 import softmax_int16


def _total(graph: Graph, node: Node, x: Codes) -> tuple[Int64, int]:
    """The sums of steps from the zero point, and how many each has."""
    attrs = node.attrs
    assert isinstance(attrs, ReduceAttrs)
    count = math.prod(x.shape[axis] for axis in attrs.axes)
    total: Int64 = x.sum(axis=attrs.axes, dtype=np.int64, keepdims=attrs.keep_dims)
    return total - params(graph, node.inputs[0]).zero_point[0] * count, count


def _mean(graph: Graph, node: Node, x: Codes) -> Codes:
    total, count = _total(graph, node, x)
    quant, output = params(graph, node.inputs[0]), params(graph, node.output)
    return encoded(graph, node, multiply(total, (mean_multiplier(quant, output, count),)))


def _sum(graph: Graph, node: Node, x: Codes) -> Codes:
    """The factor is a quotient in double precision."""
    total, _ = _total(graph, node, x)
    real = float(scale_of(graph, node.inputs[0])) / float(scale_of(graph, node.output))
    return encoded(graph, node, multiply(total, (quantize_multiplier(real),)))


def _reduce_max(graph: Graph, node: Node, x: Codes) -> Codes:
    assert isinstance(node.attrs, ReduceAttrs)
    largest: Codes = x.max(axis=node.attrs.axes, keepdims=node.attrs.keep_dims)
    return largest


def _softmax(graph: Graph, node: Node, x: Codes) -> Codes:
    return softmax_int8(x, params(graph, node.inputs[0]).scale[0])


def _softmax_int16(graph: Graph, node: Node, x: Codes) -> Codes:
    return softmax_int16(x, params(graph, node.inputs[0]).scale[0])


def _log_softmax(graph: Graph, node: Node, x: Codes) -> Codes:
    return log_softmax_int8(x, params(graph, node.inputs[0]).scale[0])


REDUCTIONS: dict[Op, Callable[..., Array]] = {
    Op.MEAN: _mean,
    Op.SUM: _sum,
    Op.REDUCE_MAX: _reduce_max,
    Op.SOFTMAX: _softmax,
    Op.LOG_SOFTMAX: _log_softmax,
    Op.ARG_MAX: arg_max,
}
"""int8."""

REDUCTIONS_INT16: dict[Op, Callable[..., Array]] = {
    Op.MEAN: _mean,
    Op.REDUCE_MAX: _reduce_max,
    Op.SOFTMAX: _softmax_int16,
}
