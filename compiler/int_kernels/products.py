"""Matrix products of int8."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..fixedpoint import multiply_real
from ..graph import Array, Graph, Node
from ..ops import DenseAttrs, Op
from .common import Int8, centred, dense_factors, exact_matmul, output_range, params, saturate


def _dense(graph: Graph, node: Node, x: Int8, weights: Int8, bias: Array) -> Int8:
    assert isinstance(node.attrs, DenseAttrs)
    total = exact_matmul(centred(graph, node, x), weights.T) + bias
    output = params(graph, node.output)
    scaled = multiply_real(total, np.array(dense_factors(graph, node)))
    return saturate(scaled + output.zero_point[0], *output_range(output, node.attrs.activation))


PRODUCTS: dict[Op, Callable[..., Int8]] = {
    Op.FULLY_CONNECTED: _dense,
}
