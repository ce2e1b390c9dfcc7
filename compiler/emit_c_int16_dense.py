"""Fully connected layers and products of matrices of int16 as kernel calls of c/int16/."""

from __future__ import annotations

import math

from . import emit_c_int16_dsp as int16_dsp
from .emit_c_axes import broadcast_of
from .emit_c_binary import operands
from .emit_c_call import HEADER_16, Call, bounds, weights_and_bias
from .emit_c_family import Family
from .emit_c_int16_conv import wide_bias, wide_factor
from .emit_c_int16_dsp import narrow_bias
from .emit_c_layer import Constant, Fields, constant
from .emit_c_matmul import batches_of, product_factor
from .emit_c_pack import blocks_of_rows, ordered_pairs_of_rows, pair_count
from .errors import EmitError
from .graph import Graph, Node
from .int_kernels.common import dense_factors
from .ops import MatmulAttrs

_LARGEST_INNER = 1 << 17  # of products of 30 bits whose sum has 47


def fully_connected(graph: Graph, node: Node, symbol: str, family: Family) -> Call:
    """A fully connected layer, scaled in double precision.

    The integer factors of int8 have no like here: 65,536 outputs have steps at sums that no
    factor of 64 bits tells apart.
    """
    rows, bias = weights_and_bias(graph, node, filters_axis=0)
    factors = dense_factors(graph, node)
    own = len(set(factors)) > 1  # else one factor serves all channels
    literals = tuple(factor.hex() for factor in (factors if own else factors[:1]))
    factor = Constant(f"model_{symbol}_factor", "double", literals)
    name, pairs = f"model_{symbol}_weights", pair_count(rows.shape[1])
    narrow = narrow_bias(symbol, rows, bias)
    if family is Family.DSP and narrow is not None:
        header, kernel, scratch = int16_dsp.HEADER, "ek_dsp_fully_connected_16", 4 * pairs
        weights, biases = constant(name, ordered_pairs_of_rows(rows)), narrow
        own_fields: Fields = (("pairs", pairs),)
    else:
        header, kernel, scratch = HEADER_16, "ek_fully_connected_16", 0
        weights, biases = constant(name, blocks_of_rows(rows)), wide_bias(node, symbol, rows, bias)
        own_fields = ()
    fields: Fields = (
        ("rows", math.prod(graph.values[node.output].shape[:-1])),
        *(("in_size", rows.shape[1]), ("out_size", rows.shape[0])),
        *own_fields,
        *(("weights", weights.name), ("bias", biases.name), ("factor", factor.name)),
        ("channels", -1 if own else 0),
        *zip(("minimum", "maximum"), bounds(graph, node), strict=True),
    )
    arrays = (weights, biases, factor)
    return Call(header, kernel, f"{kernel}_params", fields, arrays, scratch)


def batch_matmul(graph: Graph, node: Node, symbol: str) -> Call:
    """One product of matrices for each place of the axes before them."""
    assert isinstance(node.attrs, MatmulAttrs)
    output = graph.values[node.output].shape
    inner = graph.values[node.inputs[0]].shape[-1]
    if inner >= _LARGEST_INNER:
        raise EmitError(f"{node.name} ({node.op}): sums of this layer exceed 47 bits")
    transposed = node.attrs.transpose_b
    factor = wide_factor(node, product_factor(graph, node))
    fields: Fields = (
        ("batches", broadcast_of(batches_of(graph, node))),
        *(("rows", output[-2]), ("inner", inner), ("columns", output[-1])),
        ("b_row", 1 if transposed else output[-1]),
        ("b_column", inner if transposed else 1),
        *(("multiplier", factor.multiplier), ("shift", factor.shift)),
    )
    kernel, read = "ek_batch_matmul_16", operands(graph, node, symbol)
    return Call(HEADER_16, kernel, f"{kernel}_params", fields, (), 0, read)
