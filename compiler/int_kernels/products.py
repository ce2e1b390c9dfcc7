"""Matrix products of int8 and int16 codes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..fixedpoint import multiply, multiply_real, multiply_wide, quantize_multiplier
from ..graph import Array, DType, Graph, Node
from ..ops import DenseAttrs, MatmulAttrs, Op
from .common import dense_factors, params
from .requantize import centred, encoded, exact_product


def _dense(graph: Graph, node: Node, x: Array, weights: Array, bias: Array) -> Array:
    assert isinstance(node.attrs, DenseAttrs)
    total = exact_product(graph, node, centred(graph, node.inputs[0], x), weights.T) + bias
    scaled = multiply_real(total, np.array(dense_factors(graph, node)))
    return encoded(graph, node, scaled, node.attrs.activation)


def _matmul(graph: Graph, node: Node, a: Array, b: Array) -> Array:
    assert isinstance(node.attrs, MatmulAttrs)
    left, right = (
        centred(graph, name, codes) for name, codes in zip(node.inputs, (a, b), strict=True)
    )
    if node.attrs.transpose_b:
        right = np.swapaxes(right, -1, -2)
    total = exact_product(graph, node, left, right)
    scales = [params(graph, name).scale[0] for name in (*node.inputs, node.output)]
    # The product of the operands' scales is a float32 in the kernel.
    real = float(np.float32(scales[0]) * np.float32(scales[1])) / scales[2]
    wide = graph.values[node.output].dtype is DType.INT16
    scaled = (multiply_wide if wide else multiply)(total, (quantize_multiplier(real),))
    return encoded(graph, node, scaled)


PRODUCTS: dict[Op, Callable[..., Array]] = {
    Op.FULLY_CONNECTED: _dense,
    Op.BATCH_MATMUL: _matmul,
}
