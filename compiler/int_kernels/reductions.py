"""Operators on int8 that work along axes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..fixedpoint import multiply
from ..graph import Graph, Node
from ..ops import Op, ReduceAttrs
from ..softmax import softmax_int8
from .common import Int8, mean_multiplier, params, saturate


def _mean(graph: Graph, node: Node, x: Int8) -> Int8:
    quant, output = params(graph, node.inputs[0]), params(graph, node.output)
    assert isinstance(node.attrs, ReduceAttrs)
    axes = node.attrs.axes
    count = math.prod(x.shape[axis] for axis in axes)
    total = (
        x.sum(axis=axes, dtype=np.int64, keepdims=node.attrs.keep_dims)
        - quant.zero_point[0] * count
    )
    scaled = multiply(total, (mean_multiplier(quant, output, count),))
    return saturate(scaled + output.zero_point[0], -128, 127)


def _softmax(graph: Graph, node: Node, x: Int8) -> Int8:
    return softmax_int8(x, params(graph, node.inputs[0]).scale[0])


REDUCTIONS: dict[Op, Callable[..., Int8]] = {
    Op.MEAN: _mean,
    Op.SOFTMAX: _softmax,
}
