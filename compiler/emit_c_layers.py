"""A node of a quantized graph as a kernel call: its parameters and its constant arrays.

The fields are those of the structs in c/; what writes them is in files of its own, one for each
kind of operator. The fixed-point factors are those of the integer reference.
"""

from __future__ import annotations

from .emit_c_call import Call
from .emit_c_family import Family
from .emit_c_layer import Constant, Layer
from .emit_c_operators import MAKERS
from .emit_c_text import braces
from .errors import EmitError
from .graph import Graph, Node
from .ops import ConvAttrs


def layer(graph: Graph, node: Node, index: int, family: Family) -> Layer:
    """`node` as a call; `index` makes its symbols unique. Raises EmitError without a kernel."""
    symbol = f"{node.op}_{index}"
    call = _call(graph, node, symbol, family)
    operands = call.operands
    if operands is None:
        operands = tuple(name for name in node.inputs if graph.values[name].data is None)
    return Layer(
        symbol=symbol,
        header=call.header,
        kernel=call.kernel,
        params_type=call.params_type,
        params=braces(call.fields),
        constants=(*call.constants, *(c for c in operands if isinstance(c, Constant))),
        operands=operands,
        listed=call.listed,
        as_bytes=call.as_bytes,
        output=node.output,
        scratch_bytes=call.scratch_bytes,
        state_bytes=call.state_bytes,
        remark=_remark(graph, node, symbol),
    )


def _call(graph: Graph, node: Node, symbol: str, family: Family) -> Call:
    dtype = graph.values[node.inputs[0]].dtype
    place = f"{graph.name}: node '{node.name}' ({node.op})"
    make = MAKERS.get(dtype, {}).get(node.op)
    if make is None:
        raise EmitError(f"{place} has no C kernel of {dtype}; C takes int8 and int16")
    return make(graph, node, symbol, family)


def _remark(graph: Graph, node: Node, symbol: str) -> str:
    """`symbol: 32 x 32 x 16 -> 32 x 32 x 16, window 3 x 3 by 1 x 1; from 'source'`."""
    shapes = (graph.values[name].shape[1:] for name in (node.inputs[0], node.output))
    text = f"{symbol}: " + " -> ".join(" x ".join(map(str, shape)) for shape in shapes)
    if isinstance(node.attrs, ConvAttrs):
        kernel = graph.values[node.inputs[1]].shape[1:3]
        text += ", window {} x {} by {} x {}".format(*kernel, *node.attrs.stride)
    return f"{text}; from {node.source}" if node.source else text
