"""Operators that work along axes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..graph import Array, Graph, Node
from ..ops import AxisAttrs, Op, ReduceAttrs
from .common import Float


def _reduce(function: Callable[..., Float]) -> Callable[..., Float]:
    def kernel(graph: Graph, node: Node, x: Float) -> Float:
        assert isinstance(node.attrs, ReduceAttrs)
        return function(x, axis=node.attrs.axes, keepdims=node.attrs.keep_dims)

    return kernel


def _softmax(graph: Graph, node: Node, x: Float) -> Float:
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    shares: Float = (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)
    return shares


def _log_softmax(graph: Graph, node: Node, x: Float) -> Float:
    below = x - x.max(axis=-1, keepdims=True)
    shares: Float = below - np.log(np.exp(below).sum(axis=-1, keepdims=True))
    return shares


def arg_max(graph: Graph, node: Node, x: Array) -> Array:
    """The first of the largest elements; integers of any encoding compare as real numbers do."""
    assert isinstance(node.attrs, AxisAttrs)
    indices: Array = x.argmax(axis=node.attrs.axis)
    return indices.astype(graph.values[node.output].dtype.numpy)


REDUCTIONS: dict[Op, Callable[..., Float]] = {
    Op.MEAN: _reduce(np.mean),
    Op.SUM: _reduce(np.sum),
    Op.REDUCE_MAX: _reduce(np.max),
    Op.SOFTMAX: _softmax,
    Op.LOG_SOFTMAX: _log_softmax,
    Op.ARG_MAX: arg_max,
}
