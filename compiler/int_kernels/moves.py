"""Operators that move integers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..float_kernels.moves import concatenation, gather, reshape, slice_axes, transpose
from ..graph import Array, Graph, Node
from ..ops import Op, PadAttrs
from .common import params


def _pad(graph: Graph, node: Node, x: Array) -> Array:
    """Zero is the zero point."""
    assert isinstance(node.attrs, PadAttrs)
    fill = params(graph, node.inputs[0]).zero_point[0]
    return np.pad(x, node.attrs.amounts, constant_values=fill)


MOVES: dict[Op, Callable[..., Array]] = {
    Op.PAD: _pad,
    Op.RESHAPE: reshape,
    Op.TRANSPOSE: transpose,
    Op.CONCATENATION: concatenation,
    Op.SLICE: slice_axes,
    Op.GATHER: gather,
}
