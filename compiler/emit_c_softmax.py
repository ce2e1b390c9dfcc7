"""SOFTMAX and LOG_SOFTMAX of int8 as kernel calls."""

from __future__ import annotations

from .emit_c_call import Call
from .emit_c_layer import Fields
from .graph import Graph, Node
from .int_kernels.common import params
from .softmax import smallest_difference, softmax_multiplier


def softmax(graph: Graph, node: Node, symbol: str) -> Call:
    """Along the last axis."""
    fields = _fields(graph, node)
    return Call("ek_kernels.h", "ek_softmax", "ek_softmax_params", fields, (), 0)


def log_softmax(graph: Graph, node: Node, symbol: str) -> Call:
    """The parameters are softmax's."""
    fields = _fields(graph, node)
    return Call("ek_axes_kernels.h", "ek_log_softmax", "ek_softmax_params", fields, (), 0)


def _fields(graph: Graph, node: Node) -> Fields:
    classes = graph.values[node.output].shape[-1]
    factor = softmax_multiplier(params(graph, node.inputs[0]).scale[0])
    return (
        ("rows", graph.values[node.output].elements // classes),
        ("classes", classes),
        ("multiplier", factor.multiplier),
        ("shift", factor.shift),
        ("smallest", smallest_difference(factor)),
    )
