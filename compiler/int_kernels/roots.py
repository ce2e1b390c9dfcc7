"""RSQRT of int8: gemmlowp's fixed-point Newton iteration, as in LiteRT's elementwise.cc."""

from __future__ import annotations

import functools

import numpy as np

from ..errors import CompileError
from ..fixedpoint import (
    Int64,
    Multiplier,
    high_product,
    multiply,
    quantize_multiplier,
    rounding_shift,
)
from ..graph import Graph, Node
from .codes import Codes, scale_of, steps
from .requantize import code_range, encoded

_SHIFT = 20  # keeps 1 / √steps an integer
_THREE_HALVES = (1 << 28) + (1 << 27)  # Q3.28
_HALF_SQRT_2 = 1518500250  # Q0.31
_STEPS = 256  # int8 codes are at most 255 steps above their zero point


def rsqrt_int8(graph: Graph, node: Node, x: Codes) -> Codes:
    """1 / √x; the largest code where x is 0.

    Raises CompileError where x is negative, as LiteRT stops there.
    """
    values = steps(graph, node.inputs[0], x)
    if (values < 0).any():
        raise CompileError(
            f"{graph.name}: node '{node.name}' ({node.op}) reads negative numbers; it has no "
            "value for them"
        )
    scale, output = scale_of(graph, node.inputs[0]), scale_of(graph, node.output)
    # The square root and the product are float32, the reciprocal is double precision.
    factor = quantize_multiplier(1.0 / float(np.sqrt(scale) * output))
    final = Multiplier(factor.multiplier, factor.shift - _SHIFT)
    codes = encoded(graph, node, multiply(_inverse_roots()[values], (final,)))
    largest = code_range(graph.values[node.output].dtype)[1]
    return np.where(values == 0, codes.dtype.type(largest), codes)


@functools.cache
def _inverse_roots() -> Int64:
    """2^20 / √count, rounded, of every count."""
    factors = [_inverse_root_factor(count) for count in range(_STEPS)]
    raised = tuple(Multiplier(factor.multiplier, factor.shift + _SHIFT) for factor in factors)
    return multiply(np.ones(_STEPS, np.int64), raised)


def _inverse_root_factor(count: int) -> Multiplier:
    """1 / √count: five steps of Newton and Raphson from 1, in Q3.28."""
    if count <= 1:
        return Multiplier((1 << 31) - 1, 0)
    pairs = (31 - count.bit_length()) // 2 - 1
    value = (count << (2 * pairs)) >> 1
    half = int(rounding_shift(np.array(value), np.array(1)))
    root = 1 << 28
    for _ in range(5):
        cube = _saturate(_product(_product(root, root), root) << 6)
        root = _saturate((_product(_THREE_HALVES, root) - _product(half, cube)) << 3)
    return Multiplier(_product(root, _HALF_SQRT_2), pairs - 11)


def _product(a: int, b: int) -> int:
    return int(high_product(np.array(a, np.int64), np.array(b, np.int64)))


def _saturate(value: int) -> int:
    return min(max(value, -(1 << 31)), (1 << 31) - 1)
