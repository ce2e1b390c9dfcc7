"""Operators that move integers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..float_kernels.moves import concatenation, gather, reshape, slice_axes, transpose
from ..graph import Array, Graph, Node
from ..ops import Op, PadAttrs
from .common import params
from .requantize import code_range


def fill_code(graph: Graph, node: Node) -> int:
    """The code nearest to what a PAD fills with; zero is the zero point."""
    assert isinstance(node.attrs, PadAttrs)
    quant = params(graph, node.output)
    steps = np.rint(node.attrs.fill / quant.scale[0]) + quant.zero_point[0]
    return int(np.clip(steps, *code_range(graph.values[node.output].dtype)))


def _pad(graph: Graph, node: Node, x: Array) -> Array:
    assert isinstance(node.attrs, PadAttrs)
    return np.pad(x, node.attrs.amounts, constant_values=fill_code(graph, node))


MOVES: dict[Op, Callable[..., Array]] = {
    Op.PAD: _pad,
    Op.RESHAPE: reshape,
    Op.TRANSPOSE: transpose,
    Op.CONCATENATION: concatenation,
    Op.SLICE: slice_axes,
    Op.GATHER: gather,
}
