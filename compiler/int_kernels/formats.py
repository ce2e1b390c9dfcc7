"""QUANTIZE and DEQUANTIZE: from float32 to codes, between encodings, and back.

LiteRT's reference/quantize.h, requantize.h and integer_ops/dequantize.h.
"""

from __future__ import annotations

import numpy as np

from ..fixedpoint import multiply, quantize_multiplier
from ..float_kernels.common import Float
from ..graph import Array, Graph, Node
from ..ops import Op
from .codes import Codes, scale_of, steps
from .requantize import code_range, encoded
from .tables import round_away


def quantize(graph: Graph, node: Node, x: Float) -> Codes:
    """float32 to int8 or int16: divided in float32, rounded half away from zero, saturated."""
    value = graph.values[node.output]
    assert value.quant is not None
    low, high = code_range(value.dtype)
    rounded = round_away(x.astype(np.float32) / scale_of(graph, node.output)).astype(np.float64)
    return np.clip(rounded + value.quant.zero_point[0], low, high).astype(value.dtype.numpy)


def requantize(graph: Graph, node: Node, x: Codes) -> Codes:
    """int8 or int16 to another encoding in int8 or int16; the factor in double precision."""
    real = float(scale_of(graph, node.inputs[0])) / float(scale_of(graph, node.output))
    factor = quantize_multiplier(real)
    return encoded(graph, node, multiply(steps(graph, node.inputs[0], x), (factor,)))


def dequantize(graph: Graph, node: Node, x: Codes) -> Float:
    """int8 or int16 to float32: multiplied in double precision, rounded once."""
    scale = np.float64(scale_of(graph, node.inputs[0]))
    return (steps(graph, node.inputs[0], x) * scale).astype(np.float32)


def widen(graph: Graph, node: Node, x: Array) -> Float:
    """float16 to float32, exact."""
    return x.astype(np.float32)


FORMATS = {Op.QUANTIZE: requantize, Op.DEQUANTIZE: dequantize}
"""Of int8 and int16."""
