"""From exact sums to codes: what the integer contracts share, and where they differ.

32-bit sums are requantized by 31-bit factors, 64-bit ones by 15-bit factors. Sums are 64 bits wide
in `int16x8.v1`, but for weighted operators whose bias has 32.
"""

from __future__ import annotations

import numpy as np

from ..fixedpoint import Int64, multiply, multiply_wide
from ..graph import Array, DType, Graph, Node
from ..ops import Activation
from .codes import encoded, steps
from .common import channel_multipliers

_LARGEST_OFFSET = {DType.INT8: 255, DType.INT16: 65535}  # of a code from its zero point
_FLOAT32_EXACT = 1 << 24


def requantize(graph: Graph, node: Node, total: Array, activation: Activation) -> Array:
    """Sums of a convolution as its output's codes, each channel by its own factor."""
    wide = graph.values[node.inputs[2]].dtype is DType.INT64
    scaled = (multiply_wide if wide else multiply)(
        total.astype(np.int64), channel_multipliers(graph, node)
    )
    return encoded(graph, node.output, scaled, activation)


def centred(graph: Graph, name: str, codes: Array) -> Array:
    """Codes of the value `name` less its zero point, int32: windows repeat them."""
    return steps(graph, name, codes).astype(np.int32)


def exact_product(graph: Graph, node: Node, a: Array, b: Array) -> Int64:
    """Integer matrix product of centred codes, in floating point wherever that is exact.

    Sums below 2^24 fit a float32; 64-bit floats take rows of 2^37 int8 or 2^21 int16 codes.
    """
    largest = _LARGEST_OFFSET[graph.values[node.inputs[0]].dtype]
    widest = int(np.abs(b.astype(np.int32)).max(initial=0))
    fits = a.shape[-1] * largest * widest < _FLOAT32_EXACT
    exact = np.float32 if fits else np.float64
    product: Int64 = np.rint(a.astype(exact) @ b.astype(exact)).astype(np.int64)
    return product
