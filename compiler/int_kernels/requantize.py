"""From exact sums to codes: what the integer contracts share, and where they differ.

32-bit sums are requantized by 31-bit factors, 64-bit ones by 15-bit factors. Sums are 64 bits wide
in `int16x8.v1`, but for weighted operators whose bias has 32.
"""

from __future__ import annotations

import numpy as np

from ..fixedpoint import Int64, multiply, multiply_wide
from ..graph import Array, DType, Graph, Node
from ..ops import Activation
from .common import channel_multipliers, params

_LARGEST_OFFSET = {DType.INT8: 255, DType.INT16: 65535}  # of a code from its zero point
_FLOAT32_EXACT = 1 << 24


def code_range(dtype: DType) -> tuple[int, int]:
    """The smallest and the largest code."""
    limits = np.iinfo(dtype.numpy)
    return int(limits.min), int(limits.max)


def clamped_range(graph: Graph, node: Node, activation: Activation) -> tuple[int, int]:
    """The codes of the node's output that a fused activation lets through."""
    quant = params(graph, node.output)
    lowest, highest = code_range(graph.values[node.output].dtype)
    if activation is Activation.NONE:
        return lowest, highest
    zero_point = quant.zero_point[0]
    if activation is Activation.RELU:
        return max(lowest, zero_point), highest
    # TfLiteRound: half away from zero, in float32.
    six = np.floor(np.float32(6.0) / np.float32(quant.scale[0]) + np.float32(0.5))
    return max(lowest, zero_point), min(highest, zero_point + int(six))


def encoded(
    graph: Graph, node: Node, scaled: Int64, activation: Activation = Activation.NONE
) -> Array:
    """Steps of the output's scale as its codes, clamped."""
    shifted = scaled + params(graph, node.output).zero_point[0]
    clipped = np.clip(shifted, *clamped_range(graph, node, activation))
    return clipped.astype(graph.values[node.output].dtype.numpy)


def requantize(graph: Graph, node: Node, total: Array, activation: Activation) -> Array:
    """Sums of a convolution as its output's codes, each channel by its own factor."""
    wide = graph.values[node.inputs[2]].dtype is DType.INT64
    scaled = (multiply_wide if wide else multiply)(
        total.astype(np.int64), channel_multipliers(graph, node)
    )
    return encoded(graph, node, scaled, activation)


def centred(graph: Graph, name: str, codes: Array) -> Array:
    """Codes of the value `name` less its zero point, int32."""
    return codes.astype(np.int32) - params(graph, name).zero_point[0]


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
