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
from .codes import Codes, scale_of, steps
from .common import ADD_LEFT_SHIFT, add_multipliers, params
from .requantize import encoded

FINER_BITS = {DType.INT8: ADD_LEFT_SHIFT, DType.INT16: 15}
"""By which operands of sums are made finer before they are rescaled."""

Kernel = Callable[[Graph, Node, Codes, Codes], Codes]


def _sum(combine: Callable[[Int64, Int64], Int64]) -> Kernel:
    """Both sides on the scale of twice the larger one, combined, then on the output's scale."""

    def kernel(graph: Graph, node: Node, a: Codes, b: Codes) -> Codes:
        assert isinstance(node.attrs, BinaryAttrs)
        shift = FINER_BITS[graph.values[node.output].dtype]
        quants = [params(graph, name) for name in (*node.inputs, node.output)]
        *factors, last = add_multipliers(quants[0], quants[1], quants[2], shift)
        sides = [
            multiply(steps(graph, name, codes) << shift, (factor,))
            for name, codes, factor in zip(node.inputs, (a, b), factors, strict=True)
        ]
        total = multiply(combine(sides[0], sides[1]), (last,))
        return encoded(graph, node, total, node.attrs.activation)

    return kernel


def _mul(graph: Graph, node: Node, a: Codes, b: Codes) -> Codes:
    """One factor for the product, computed in float32."""
    assert isinstance(node.attrs, BinaryAttrs)
    product = steps(graph, node.inputs[0], a) * steps(graph, node.inputs[1], b)
    left, right = (scale_of(graph, name) for name in node.inputs)
    real = left * right / scale_of(graph, node.output)
    scaled = multiply(product, (quantize_multiplier(float(real)),))
    return encoded(graph, node, scaled, node.attrs.activation)


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
