"""Convolutions and products of int16 as kernel calls of c/dsp/, where their sums fit 32 bits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .emit_c_call import Call, bounds
from .emit_c_family import Family
from .emit_c_layer import Constant, Fields, constant
from .emit_c_pack import Int8, ordered_pairs_of_rows, pair_count
from .emit_c_text import braces
from .fixedpoint import Multiplier, multiply_wide, to_15_bits
from .graph import Array, Graph, Node
from .int_kernels.common import channel_multipliers

HEADER = "ek_dsp_int16_kernels.h"
_INT32 = (1 << 31) - 1
_LARGEST_CODE = 1 << 15
# A sum of 8 y with the factor 1/8 gives the output y, whatever it is.
_CONSTANT_STEP, _CONSTANT_FACTOR = 8, np.array([1 << 14, 1])
SUM_BITS = 47  # that a factor of 15 bits leaves in 64


@dataclass(frozen=True, slots=True)
class Narrow:
    """The initialiser of an `ek_dsp_output_16`, and the arrays that it names."""

    output: str
    arrays: tuple[Constant, ...]


def narrow_bias(symbol: str, rows: Int8, bias: Array) -> Constant | None:
    """The bias in 32 bits; None where it, or a sum on its way, needs more."""
    reach = np.abs(rows.astype(np.int64)).sum(axis=1) * _LARGEST_CODE + np.abs(bias)
    if int(reach.max()) > _INT32:
        return None
    return constant(f"model_{symbol}_bias", bias.astype(np.int32))


def narrow_output(
    graph: Graph, node: Node, symbol: str, rows: Int8, bias: Array, family: Family
) -> Narrow | None:
    """What makes outputs of sums of 32 bits; None where sums or factors are too large.

    Cores with Helium have these instructions, too.
    """
    if family is Family.PORTABLE:
        return None
    factors = np.array([_reduced(factor) for factor in channel_multipliers(graph, node)])
    constants = _constant_channels(graph, node, rows, bias)
    bias = np.where(constants.channels, constants.outputs * _CONSTANT_STEP, bias)
    factors = np.where(constants.channels[:, None], _CONSTANT_FACTOR, factors)
    biases = narrow_bias(symbol, rows, bias)
    if biases is None or factors[:, 1].min() < 1:
        return None
    arrays = (
        biases,
        constant(f"model_{symbol}_multiplier", factors[:, 0].astype(np.int16)),
        constant(f"model_{symbol}_shift", factors[:, 1].astype(np.int8)),
    )
    names = (array.name for array in arrays)
    ends = zip(("minimum", "maximum"), bounds(graph, node), strict=True)
    output = braces((*zip(("bias", "multiplier", "shift"), names, strict=True), *ends))
    return Narrow(output, arrays)


def _reduced(factor: Multiplier) -> tuple[int, int]:
    """Multiplier and shift of `factor` = multiplier / 2^(16 + shift)."""
    reduced = to_15_bits(factor)
    return reduced.multiplier, -16 - reduced.shift


@dataclass(frozen=True, slots=True)
class _Constants:
    channels: npt.NDArray[np.bool_]
    outputs: Array  # of all channels, were they constant


def _constant_channels(graph: Graph, node: Node, rows: Int8, bias: Array) -> _Constants:
    """Channels whose weights are all 0 have biases of any size, as training leaves them."""
    small = np.abs(bias) >> SUM_BITS == 0
    low, high = bounds(graph, node)
    scaled = multiply_wide(np.where(small, bias, 0), channel_multipliers(graph, node))
    return _Constants(small & ~rows.any(axis=1), np.clip(scaled, low, high))


def conv2d(
    symbol: str, window: str, in_channels: int, rows: Int8, narrow: Narrow, pointwise: bool
) -> Call:
    """A convolution of one group; `window` is the initialiser of its `ek_window`."""
    pairs = pair_count(rows.shape[1])
    kind = "pointwise" if pointwise and in_channels % 4 == 0 else "conv2d"
    weights = constant(f"model_{symbol}_weights", ordered_pairs_of_rows(rows))
    fields: Fields = (
        ("window", window),
        *(("in_channels", in_channels), ("out_channels", len(rows)), ("pairs", pairs)),
        *(("weights", weights.name), ("output", narrow.output)),
    )
    patch = 4 * pairs if in_channels % 2 else 0
    arrays = (weights, *narrow.arrays)
    return Call(
        HEADER, f"ek_dsp_{kind}_16", "ek_dsp_conv2d_16_params", fields, arrays, 16 * pairs + patch
    )
