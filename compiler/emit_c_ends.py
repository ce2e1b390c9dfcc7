"""Conversions to and from float32, and ARG_MAX, as kernel calls."""

from __future__ import annotations

import math

from .emit_c_call import Call
from .emit_c_layer import Fields, zero_point
from .emit_c_text import float_literal
from .graph import DType, Graph, Node
from .int_kernels.codes import scale_of
from .ops import AxisAttrs

_HEADER = "ek_float_kernels.h"
_BITS = {DType.INT8: "8", DType.INT16: "16"}
_COMPARED = {DType.INT8: "8", DType.FLOAT32: "float"}
_PLACES = {DType.INT32: "", DType.INT64: "_long"}


def quantize(graph: Graph, node: Node, symbol: str) -> Call:
    """float32 to codes."""
    return _conversion(graph, node, node.output, "ek_quantize")


def dequantize(graph: Graph, node: Node, symbol: str) -> Call:
    """Codes to float32: a product that single precision rounds as the reference does, once."""
    return _conversion(graph, node, node.inputs[0], "ek_dequantize")


def _conversion(graph: Graph, node: Node, codes: str, stem: str) -> Call:
    fields: Fields = (
        ("size", graph.values[codes].elements),
        ("zero_point", zero_point(graph, codes)),
        ("scale", float_literal(float(scale_of(graph, codes)))),
    )
    kernel = f"{stem}_{_BITS[graph.values[codes].dtype]}"
    return Call(_HEADER, kernel, "ek_float_params", fields, (), 0)


def arg_max(graph: Graph, node: Node, symbol: str) -> Call:
    """The first of the largest along an axis. int16 has no form of its own in LiteRT."""
    assert isinstance(node.attrs, AxisAttrs)
    x, axis = graph.values[node.inputs[0]], node.attrs.axis
    fields: Fields = (
        ("outer", math.prod(x.shape[:axis])),
        *(("count", x.shape[axis]), ("inner", math.prod(x.shape[axis + 1 :]))),
    )
    kernel = f"ek_arg_max_{_COMPARED[x.dtype]}{_PLACES[graph.values[node.output].dtype]}"
    return Call(_HEADER, kernel, "ek_arg_max_params", fields, (), 0)
