"""Operators on int8 that work element by element."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..fixedpoint import multiply
from ..graph import Graph, Node
from ..ops import BinaryAttrs, Op
from .common import ADD_LEFT_SHIFT, Int8, add_multipliers, output_range, params, saturate


def _add(graph: Graph, node: Node, a: Int8, b: Int8) -> Int8:
    assert isinstance(node.attrs, BinaryAttrs)
    quants = [params(graph, name) for name in (*node.inputs, node.output)]
    factors = add_multipliers(quants[0], quants[1], quants[2])
    total = sum(
        multiply((side.astype(np.int64) - quant.zero_point[0]) << ADD_LEFT_SHIFT, (factor,))
        for side, quant, factor in zip((a, b), quants[:2], factors[:2], strict=True)
    )
    scaled = multiply(np.asarray(total, np.int64), (factors[2],)) + quants[2].zero_point[0]
    return saturate(scaled, *output_range(quants[2], node.attrs.activation))


ELEMENTWISE: dict[Op, Callable[..., Int8]] = {
    Op.ADD: _add,
}
