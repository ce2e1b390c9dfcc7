"""Operators of one code as a table of 256 bytes, which our own kernel fills: exact by construction.

Operators of two operands belong here where one is a single number.
"""

from __future__ import annotations

import numpy as np

from .emit_c_axes import HEADER
from .emit_c_call import Call
from .emit_c_layer import Fields, constant, zero_point
from .graph import Array, DType, Graph, Node
from .interpret import KERNELS
from .ops import Op

ONE_CODE = (
    *(Op.RELU, Op.RELU6, Op.LEAKY_RELU, Op.ELU, Op.HARD_SWISH, Op.LOGISTIC, Op.TANH, Op.GELU),
    *(Op.EXP, Op.RSQRT, Op.ABS, Op.QUANTIZE),
)
"""Operators with one operand."""


def lookup(graph: Graph, node: Node, symbol: str) -> Call:
    """Each output is the table's entry for the one activation's code."""
    table = constant(f"model_{symbol}_table", _outputs(graph, node))
    fields: Fields = (("size", graph.values[node.output].elements), ("table", table.name))
    read = next(name for name in node.inputs if graph.values[name].data is None)
    return Call(HEADER, "ek_lookup", "ek_lookup_params", fields, (table,), 0, (read,))


def depends_on_one_code(graph: Graph, node: Node) -> bool:
    """Whether all operands but one activation of the output's shape are single numbers."""
    read = {name for name in node.inputs if graph.values[name].data is None}
    shapes = {graph.values[name].shape for name in read}
    numbers = (graph.values[name].elements for name in node.inputs if name not in read)
    return (
        len(read) == 1
        and shapes == {graph.values[node.output].shape}
        and all(count == 1 for count in numbers)
    )


def _outputs(graph: Graph, node: Node) -> Array:
    codes = np.arange(-128, 128, dtype=np.int8)
    if node.op is Op.RSQRT:  # has no value for negative numbers, which never reach it
        codes = np.maximum(codes, np.int8(zero_point(graph, node.inputs[0])))
    values = (graph.values[name].data for name in node.inputs)
    operands = (codes if data is None else data.reshape(()) for data in values)
    outputs: Array = KERNELS[DType.INT8][node.op](graph, node, *operands)
    return outputs.reshape(-1)
