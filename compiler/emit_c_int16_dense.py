"""Fully connected layers and products of matrices of int16 as kernel calls of c/int16/."""

from __future__ import annotations

import math

import numpy as np

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
from .emit_c_text import braces
from .errors import EmitError
from .graph import Graph, Node
from .int_kernels.common import dense_factors
from .ops import MatmulAttrs

_LARGEST_INNER = 1 << 17  # of products of 30 bits whose sum has 47


def fully_connected(graph: Graph, node: Node, symbol: str, family: Family) -> Call:
    """A fully connected layer, scaled as in double precision."""
    rows, bias = weights_and_bias(graph, node, filters_axis=0)
    name, pairs = f"model_{symbol}_weights", pair_count(rows.shape[1])
    narrow = None if family is Family.PORTABLE else narrow_bias(symbol, rows, bias)
    if narrow is not None:
        header, kernel, scratch = int16_dsp.HEADER, "ek_dsp_fully_connected_16", 4 * pairs
        weights, biases = constant(name, ordered_pairs_of_rows(rows)), narrow
        own_fields: Fields = (("pairs", pairs),)
    else:
        header, kernel, scratch = HEADER_16, "ek_fully_connected_16", 0
        weights, biases = constant(name, blocks_of_rows(rows)), wide_bias(node, symbol, rows, bias)
        own_fields = ()
    output, arrays = _output(graph, node, symbol)
    fields: Fields = (
        ("rows", math.prod(graph.values[node.output].shape[:-1])),
        *(("in_size", rows.shape[1]), ("out_size", rows.shape[0])),
        *own_fields,
        *(("weights", weights.name), ("bias", biases.name), ("output", output)),
    )
    constants = (weights, biases, *arrays)
    return Call(header, kernel, f"{kernel}_params", fields, constants, scratch)


def _output(graph: Graph, node: Node, symbol: str) -> tuple[str, tuple[Constant, ...]]:
    """The initialiser of an `ek_real_output_16`, and the arrays that it names.

    The integer factors of int8 have no like here: outputs of int16 have 65,536 steps, which no
    factor of 64 bits tells apart.
    """
    factors = dense_factors(graph, node)
    own = len(set(factors)) > 1  # else one factor serves all channels
    factors = factors if own else factors[:1]
    integers = [_integer_factor(factor) for factor in factors]
    arrays = (
        Constant(f"model_{symbol}_factor", "double", tuple(factor.hex() for factor in factors)),
        constant(f"model_{symbol}_multiplier", np.array([m for m, _ in integers], np.int32)),
        constant(f"model_{symbol}_shift", np.array([shift for _, shift in integers], np.int8)),
    )
    names = zip(("factor", "multiplier", "shift"), (array.name for array in arrays), strict=True)
    ends = zip(("minimum", "maximum"), bounds(graph, node), strict=True)
    return braces((*names, ("channels", -1 if own else 0), *ends)), arrays


def _integer_factor(factor: float) -> tuple[int, int]:
    """Multiplier and shift of c/int16/ek_scale_real.h; (0, 1) leaves every sum to doubles."""
    mantissa, exponent = math.frexp(factor)
    multiplier, shift = round(mantissa * 2.0**31), -exponent - 1
    return (multiplier, shift) if multiplier < 1 << 31 and 1 <= shift <= 30 else (0, 1)


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
