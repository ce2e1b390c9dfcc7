"""Fully connected layers as kernel calls of a family."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .emit_c_call import Call, bounds, folded
from .emit_c_factors import dense_steps, narrow_factors, wide_factors
from .emit_c_family import Family
from .emit_c_layer import Constant, Fields, constant, zero_point
from .emit_c_pack import (
    Int8,
    Sums,
    Words,
    blocks_of_rows,
    halves_fit,
    halves_of_rows,
    pair_count,
    strips_of_rows,
)
from .emit_c_text import braces
from .graph import Graph, Node
from .int_kernels.common import dense_factors
from .ops import DenseAttrs


def fully_connected(graph: Graph, node: Node, symbol: str, family: Family) -> Call:
    """A fully connected layer, which rounds once; its factors are proven exact here."""
    assert isinstance(node.attrs, DenseAttrs)
    weights, sums = folded(graph, node, filters_axis=0)
    out_size, in_size = weights.shape
    form = _form(weights, sums, family)
    packed = constant(f"model_{symbol}_weights", form.weights)
    bias = constant(f"model_{symbol}_bias", sums.bias.astype(np.int32))
    scaling = _scaling(graph, node, symbol, sums)
    low, high = bounds(graph, node)
    output: Fields = (
        *scaling.fields,
        *(("zero_point", zero_point(graph, node.output)), ("minimum", low), ("maximum", high)),
    )
    dense: Fields = (
        ("rows", math.prod(graph.values[node.output].shape[:-1])),
        ("in_size", in_size),
        ("out_size", out_size),
        *form.fields,
        ("weights", packed.name),
        ("bias", bias.name),
    )
    return Call(
        header=form.header,
        kernel=f"{form.kernel}{scaling.suffix}",
        params_type=f"{form.params}{scaling.suffix}_params",
        fields=(("dense", braces(dense)), ("output", braces(output))),
        constants=(packed, bias, *scaling.arrays),
        scratch_bytes=form.scratch_bytes,
    )


@dataclass(frozen=True, slots=True)
class _Form:
    """A family's kernel: its header and stems of names, its weights, and what it adds to them."""

    header: str
    kernel: str
    params: str
    weights: Int8 | Words
    fields: Fields = ()
    scratch_bytes: int = 0


def _form(weights: Int8, sums: Sums, family: Family) -> _Form:
    plain = "ek_fully_connected"
    if family is Family.DSP and halves_fit(weights, sums):
        kernel, pairs = "ek_dsp_fully_connected", pair_count(weights.shape[1])
        words = halves_of_rows(weights)
        return _Form("ek_dsp_kernels.h", kernel, kernel, words, (("pairs", pairs),), 4 * pairs)
    if family is Family.HELIUM:
        kernel = "ek_helium_fully_connected"
        return _Form("ek_helium_kernels.h", kernel, plain, strips_of_rows(weights))
    return _Form("ek_portable.h", plain, plain, blocks_of_rows(weights))


@dataclass(frozen=True, slots=True)
class _Scaling:
    """How sums become outputs: the kernel's suffix, the fields and arrays of its output struct."""

    suffix: str
    fields: Fields
    arrays: tuple[Constant, ...]


def _scaling(graph: Graph, node: Node, symbol: str, sums: Sums) -> _Scaling:
    """The cheapest form that is exact for every sum: 31 bits, more bits, double precision."""
    offset, ends = zero_point(graph, node.output), bounds(graph, node)
    factors = dense_factors(graph, node)
    reach = list(zip(sums.low.tolist(), sums.high.tolist(), strict=True))
    own = len(set(factors)) > 1  # else one factor serves all channels
    if not own:
        factors, reach = factors[:1], [(int(sums.low.min()), int(sums.high.max()))]
    steps = tuple(
        dense_steps(factor, offset, ends, reached)
        for factor, reached in zip(factors, reach, strict=True)
    )
    channels = ("channels", -1 if own else 0)
    name = f"model_{symbol}_multiplier"
    narrow = narrow_factors(factors, steps, offset, ends)
    if narrow is not None:
        multiplier = constant(name, np.array(narrow.multipliers, np.int32))
        shift = constant(f"model_{symbol}_shift", np.array(narrow.shifts, np.int8))
        fields: Fields = (("multiplier", name), ("shift", shift.name), channels)
        return _Scaling("", fields, (multiplier, shift))
    wide = wide_factors(factors, steps, offset, ends)
    if wide is not None:
        multiplier = constant(name, np.array(wide.multipliers, np.int64))
        return _Scaling(
            "_wide", (("multiplier", name), ("shift", wide.shift), channels), (multiplier,)
        )
    doubles = Constant(f"model_{symbol}_factor", "double", tuple(f.hex() for f in factors))
    return _Scaling("_double", (("factor", doubles.name), channels), (doubles,))
