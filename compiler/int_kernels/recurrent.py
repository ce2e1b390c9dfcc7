"""Operators along time in int8; what they remember is int16.

LiteRT's reference/svdf.h. Sums have 32 bits there and wrap around, which takes weights
that no training gives; they wrap here too.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..fixedpoint import Int64, Multiplier, multiply, quantize_multiplier
from ..float_kernels.recurrent import weigh_in_time
from ..graph import Array, Graph, Node
from ..ops import Op, SvdfAttrs
from .common import params
from .requantize import centred, encoded, exact_product

_INT16 = (-(1 << 15), (1 << 15) - 1)


def svdf_factors(graph: Graph, node: Node) -> tuple[Multiplier, Multiplier]:
    """From sums of a frame to what is remembered, and from sums of that to the output."""
    assert isinstance(node.attrs, SvdfAttrs)
    x, weights, in_time = (params(graph, name).scale[0] for name in node.inputs[:3])
    state, output = node.attrs.state_scale, params(graph, node.output).scale[0]
    return quantize_multiplier(x * weights / state), quantize_multiplier(state * in_time / output)


def _svdf(graph: Graph, node: Node, x: Array, weights: Array, in_time: Array, bias: Array) -> Array:
    assert isinstance(node.attrs, SvdfAttrs)
    to_state, to_output = svdf_factors(graph, node)
    sums = exact_product(graph, node, centred(graph, node.inputs[0], x), weights.T)
    filters = np.clip(_scaled(sums, to_state), *_INT16)
    weighed = weigh_in_time(filters, in_time.astype(np.int64))
    totals = weighed.reshape(len(x), -1, node.attrs.rank).sum(axis=2) + bias
    return encoded(graph, node, _scaled(totals, to_output))


def _scaled(values: Int64, factor: Multiplier) -> Int64:
    """`fixedpoint.multiply` of sums that wrap around, also where the factor shifts left."""
    left = max(factor.shift, 0)
    shifted = _wrapped(_wrapped(values) << left)
    return multiply(shifted, (Multiplier(factor.multiplier, factor.shift - left),))


def _wrapped(values: Int64) -> Int64:
    """What 32 bits hold of them."""
    return values.astype(np.uint32).view(np.int32).astype(np.int64)


RECURRENT: dict[Op, Callable[..., Array]] = {Op.SVDF: _svdf}
"""int8."""
