"""Operators on two integer tensors, element by element; shapes broadcast from the right.

LiteRT's reference/integer_ops/add.h and mul.h, reference/sub.h. Some factors are computed in
float32 there and widened, others in double precision; each kernel says which.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..fixedpoint import Int64, multiply, quantize_multiplier
from ..graph import DType, Graph, Node
from ..ops import BinaryAttrs, Op
from .codes import Codes, encoded, scale_of, steps

_LEFT_SHIFTS = {DType.INT8: 20, DType.INT16: 15}
"""Bits by which operands of sums are made finer, so that rounding them costs nothing."""

Kernel = Callable[[Graph, Node, Codes, Codes], Codes]


def _sum(combine: Callable[[Int64, Int64], Int64]) -> Kernel:
    """Both sides on the scale of twice the larger one, combined, then on the output's scale."""

    def kernel(graph: Graph, node: Node, a: Codes, b: Codes) -> Codes:
        assert isinstance(node.attrs, BinaryAttrs)
        shift = _LEFT_SHIFTS[graph.values[node.output].dtype]
        scales = [float(scale_of(graph, name)) for name in node.inputs]
        common = 2.0 * max(scales)
        sides = [
            multiply(steps(graph, name, codes) << shift, (quantize_multiplier(scale / common),))
            for name, codes, scale in zip(node.inputs, (a, b), scales, strict=True)
        ]
        real = common / ((1 << shift) * float(scale_of(graph, node.output)))
        total = multiply(combine(*sides), (quantize_multiplier(real),))
        return encoded(graph, node.output, total, node.attrs.activation)

    return kernel


def _mul(graph: Graph, node: Node, a: Codes, b: Codes) -> Codes:
    """One factor for the product, computed in float32."""
    assert isinstance(node.attrs, BinaryAttrs)
    product = steps(graph, node.inputs[0], a) * steps(graph, node.inputs[1], b)
    left, right = (scale_of(graph, name) for name in node.inputs)
    real = left * right / scale_of(graph, node.output)
    scaled = multiply(product, (quantize_multiplier(float(real)),))
    return encoded(graph, node.output, scaled, node.attrs.activation)


def _choice(choose: Callable[[Codes, Codes], Codes]) -> Kernel:
    """All three share one encoding, so codes compare as what they stand for."""
    return lambda graph, node, a, b: choose(a, b)


BINARY: dict[Op, Kernel] = {
    Op.ADD: _sum(lambda a, b: a + b),
    Op.SUB: _sum(lambda a, b: a - b),
    Op.MUL: _mul,
    Op.MINIMUM: _choice(np.minimum),
    Op.MAXIMUM: _choice(np.maximum),
}
"""int8 and int16."""
