"""From codes to float32, and from one encoding to another."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..fixedpoint import multiply, quantize_multiplier
from ..graph import Array, Graph, Node
from ..ops import Op
from .common import params


def _dequantize(graph: Graph, node: Node, x: Array) -> Array:
    """The product in double precision, rounded to float32 once."""
    quant = params(graph, node.inputs[0])
    centred = x.astype(np.float64) - quant.zero_point[0]
    return (centred * quant.scale[0]).astype(np.float32)


def _requantize(graph: Graph, node: Node, x: Array) -> Array:
    """LiteRT's Requantize: one fixed-point factor."""
    quant, output = params(graph, node.inputs[0]), params(graph, node.output)
    dtype = graph.values[node.output].dtype.numpy
    factor = quantize_multiplier(quant.scale[0] / output.scale[0])
    scaled = multiply(x.astype(np.int64) - quant.zero_point[0], (factor,))
    limits = np.iinfo(dtype)
    return np.clip(scaled + output.zero_point[0], limits.min, limits.max).astype(dtype)


FORMATS: dict[Op, Callable[..., Array]] = {
    Op.DEQUANTIZE: _dequantize,
    Op.QUANTIZE: _requantize,
}
"""The same for every dtype of codes."""
