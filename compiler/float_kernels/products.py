"""Matrix products."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..graph import Graph, Node
from ..ops import DenseAttrs, MatmulAttrs, Op
from .common import Float, activate


def _dense(graph: Graph, node: Node, x: Float, weights: Float, bias: Float) -> Float:
    assert isinstance(node.attrs, DenseAttrs)
    return activate(x @ weights.T + bias, node.attrs.activation)


def _matmul(graph: Graph, node: Node, a: Float, b: Float) -> Float:
    assert isinstance(node.attrs, MatmulAttrs)
    product: Float = a @ (np.swapaxes(b, -1, -2) if node.attrs.transpose_b else b)
    return product


PRODUCTS: dict[Op, Callable[..., Float]] = {
    Op.FULLY_CONNECTED: _dense,
    Op.BATCH_MATMUL: _matmul,
}
