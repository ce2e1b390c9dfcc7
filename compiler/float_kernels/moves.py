"""Operators that move elements: they mean the same for every dtype but for what padding holds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..graph import Array, Graph, Node
from ..ops import AxisAttrs, Op, PadAttrs, SliceAttrs, TransposeAttrs
from .common import Float, row_shape


def _pad(graph: Graph, node: Node, x: Float) -> Float:
    assert isinstance(node.attrs, PadAttrs)
    return np.pad(x, node.attrs.amounts, constant_values=node.attrs.fill)


def reshape(graph: Graph, node: Node, x: Array) -> Array:
    """The same elements in the output's shape."""
    return x.reshape(x.shape[0], *row_shape(graph, node))


def transpose(graph: Graph, node: Node, x: Array) -> Array:
    """Axes in another order."""
    assert isinstance(node.attrs, TransposeAttrs)
    return x.transpose(node.attrs.perm)


def concatenation(graph: Graph, node: Node, *operands: Array) -> Array:
    """Operands one after the other along an axis; constants are repeated for every sample."""
    assert isinstance(node.attrs, AxisAttrs)
    samples = max(len(operand) for operand in operands)
    full = [np.broadcast_to(part, (samples, *part.shape[1:])) for part in operands]
    return np.concatenate(full, axis=node.attrs.axis)


def slice_axes(graph: Graph, node: Node, x: Array) -> Array:
    """A window with strides along every axis but the first."""
    assert isinstance(node.attrs, SliceAttrs)
    attrs = node.attrs
    for axis in range(1, x.ndim):
        begin, size, stride = attrs.begin[axis], attrs.size[axis], attrs.stride[axis]
        if (begin, size, stride) != (0, x.shape[axis], 1):
            x = np.take(x, begin + np.arange(size) * stride, axis=axis)
    return x


def gather(graph: Graph, node: Node, x: Array, indices: Array) -> Array:
    """Elements along an axis by constant indices."""
    assert isinstance(node.attrs, AxisAttrs)
    return np.take(x, indices, axis=node.attrs.axis)


MOVES: dict[Op, Callable[..., Float]] = {
    Op.PAD: _pad,
    Op.RESHAPE: reshape,
    Op.TRANSPOSE: transpose,
    Op.CONCATENATION: concatenation,
    Op.SLICE: slice_axes,
    Op.GATHER: gather,
}
