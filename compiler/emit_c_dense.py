"""Fully connected layers as kernel calls of a family."""

from __future__ import annotations

import math

import numpy as np

from .emit_c_call import Call, bounds, folded
from .emit_c_factors import WideFactors, dense_steps, narrow_factors, wide_factors
from .emit_c_family import Family
from .emit_c_layer import Constant, Fields, constant, zero_point
from .emit_c_pack import Int8, Sums, Words, blocks_of_rows, pair_count, pairs_of_rows
from .emit_c_text import braces
from .graph import Graph, Node
from .int_kernels.common import dense_factors
from .ops import DenseAttrs


def fully_connected(graph: Graph, node: Node, symbol: str, family: Family) -> Call:
    """A fully connected layer, which rounds once; its factors are proven exact here."""
    assert isinstance(node.attrs, DenseAttrs)
    weights, sums = folded(graph, node, filters_axis=0)
    out_size, in_size = weights.shape
    dsp = family is Family.DSP
    packed_weights: Int8 | Words = pairs_of_rows(weights) if dsp else blocks_of_rows(weights)
    packed = constant(f"model_{symbol}_weights", packed_weights)
    output, arrays, wide = _dense_output(graph, node, symbol, sums)
    stem = "ek_dsp_fully_connected" if dsp else "ek_fully_connected"
    kernel = f"{stem}_wide" if wide else stem
    pairs: Fields = (("pairs", pair_count(in_size)),) if dsp else ()
    return Call(
        header="ek_dsp_kernels.h" if dsp else "ek_portable.h",
        kernel=kernel,
        params_type=f"{kernel}_params",
        fields=(
            ("rows", math.prod(graph.values[node.output].shape[:-1])),
            ("in_size", in_size),
            ("out_size", out_size),
            *pairs,
            ("weights", packed.name),
            ("output", output),
        ),
        constants=(packed, *arrays),
        scratch_bytes=4 * pair_count(in_size) if dsp else 0,
    )


def _dense_output(
    graph: Graph, node: Node, symbol: str, sums: Sums
) -> tuple[str, tuple[Constant, ...], bool]:
    """The initialiser of an `ek_dense_output` or, third, of its wide form; and its arrays."""
    offset, ends = zero_point(graph, node.output), bounds(graph, node)
    factors = dense_factors(graph, node)
    reach = zip(sums.low.tolist(), sums.high.tolist(), strict=True)
    steps = tuple(
        dense_steps(factor, offset, ends, reached)
        for factor, reached in zip(factors, reach, strict=True)
    )
    bias = constant(f"model_{symbol}_bias", sums.bias.astype(np.int32))
    where = f"{node.name} (fully_connected)"
    found = narrow_factors(factors, steps, offset, ends) or wide_factors(
        factors, steps, offset, ends, where
    )
    wide = isinstance(found, WideFactors)
    multipliers = np.array(found.multipliers, np.int64 if wide else np.int32)
    multiplier = constant(f"model_{symbol}_multiplier", multipliers)
    fields: Fields = (
        *(("bias", bias.name), ("multiplier", multiplier.name)),
        ("shift", found.shift if isinstance(found, WideFactors) else f"model_{symbol}_shift"),
        *(("zero_point", offset), ("minimum", ends[0]), ("maximum", ends[1])),
    )
    if isinstance(found, WideFactors):
        return braces(fields), (bias, multiplier), True
    shift = constant(f"model_{symbol}_shift", np.array(found.shifts, np.int8))
    return braces(fields), (bias, multiplier, shift), False
