"""Operators along time as kernel calls; what they remember lies beside the activations."""

from __future__ import annotations

import numpy as np

from .emit_c_call import Call
from .emit_c_layer import Fields, constant, zero_point
from .emit_c_pack import fold
from .graph import Graph, Node
from .int_kernels.recurrent import svdf_factors
from .ops import SvdfAttrs
from .streams import variables

HEADER = "ek_recurrent.h"


def svdf(graph: Graph, node: Node, symbol: str) -> Call:
    """Products of the frame as in a dense layer without a bias, then sums in time."""
    assert isinstance(node.attrs, SvdfAttrs)
    weights, in_time, bias = (graph.constant(name) for name in node.inputs[1:])
    filters, features = weights.shape
    nothing = np.zeros(filters, np.int32)
    filter_bias = fold(weights, nothing, zero_point(graph, node.inputs[0])).bias
    arrays = tuple(
        constant(f"model_{symbol}_{what}", data)
        for what, data in (
            ("weights", weights),
            ("filter_bias", filter_bias.astype(np.int32)),
            ("in_time", in_time),
            ("bias", bias),
        )
    )
    to_state, to_output = svdf_factors(graph, node)
    fields: Fields = (
        *(("features", features), ("memory", in_time.shape[1])),
        *(("units", node.attrs.units(filters)), ("rank", node.attrs.rank)),
        *((array.name.removeprefix(f"model_{symbol}_"), array.name) for array in arrays),
        *(("state_multiplier", to_state.multiplier), ("state_shift", to_state.shift)),
        *(("output_multiplier", to_output.multiplier), ("output_shift", to_output.shift)),
        ("output_zero_point", zero_point(graph, node.output)),
    )
    state = sum(value.nbytes for value in variables(graph, node))
    return Call(HEADER, "ek_svdf", "ek_svdf_params", fields, arrays, 0, state_bytes=state)
