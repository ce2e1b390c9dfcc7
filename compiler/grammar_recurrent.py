"""Rules of operators along time, in integers: what LiteRT's kernels take, and nothing more.

Their weights have one scale, and so does what they remember.
"""

from __future__ import annotations

import math

from .errors import GrammarError
from .graph import DType, Graph, Node, QuantParams, Value
from .ops import Op, SvdfAttrs

OPERANDS_ALONG_TIME = {Op.SVDF: 4}
_LARGEST_FACTOR = 2.0**30
_LIKE = 1e-6  # scales that are products of others, in float32


def check_along_time(graph: Graph, node: Node, where: str) -> None:
    """Raise GrammarError where constants of an int8 node are not encoded as its kernel reads them.

    `where` begins the message.
    """
    x = graph.values[node.inputs[0]]
    if x.dtype is not DType.INT8:
        raise GrammarError(f"{where} has no {x.dtype} form")
    _check_svdf(graph, node, [graph.values[name] for name in node.inputs[1:]], where)


def _check_svdf(graph: Graph, node: Node, constants: list[Value], where: str) -> None:
    assert isinstance(node.attrs, SvdfAttrs)
    weights, in_time, bias = constants
    _symmetric(weights, DType.INT8, where)
    scale = _symmetric(in_time, DType.INT16, where).scale[0] * _positive(node, where)
    if not math.isclose(_symmetric(bias, DType.INT32, where).scale[0], scale, rel_tol=_LIKE):
        raise GrammarError(f"{where}: the bias scale is not state scale · weight scale")
    x, output = (_scale(graph.values[name], where) for name in (node.inputs[0], node.output))
    _check_factor(x * _scale(weights, where) / node.attrs.state_scale, where)
    _check_factor(scale / output, where)


def _check_factor(factor: float, where: str) -> None:
    """Kernels shift by at most 30 bits."""
    if not 0.0 <= factor < _LARGEST_FACTOR:
        raise GrammarError(f"{where}: its scales are too far apart, by a factor of {factor:g}")


def _scale(value: Value, where: str) -> float:
    if value.quant is None:
        raise GrammarError(f"{where}: '{value.name}' is not quantized")
    return value.quant.scale[0]


def _positive(node: Node, where: str) -> float:
    assert isinstance(node.attrs, SvdfAttrs)
    scale = node.attrs.state_scale
    if not (math.isfinite(scale) and scale > 0.0):
        raise GrammarError(f"{where}: its state has scale {scale:g}")
    return scale


def _symmetric(value: Value, dtype: DType, where: str) -> QuantParams:
    """The encoding of a constant, which must be symmetric with one scale."""
    quant = value.quant
    if value.dtype is not dtype or quant is None or len(quant.scale) != 1 or any(quant.zero_point):
        raise GrammarError(f"{where}: '{value.name}' must be symmetric {dtype} with one scale")
    return quant
