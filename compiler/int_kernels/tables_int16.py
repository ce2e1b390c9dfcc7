"""Operators on int16 that LiteRT interpolates between the entries of a table.

Two kinds. `table_of` is its `LUTPopulate` (internal/common.h): 513 samples of a function over the
input's whole range, shifted by half the error in the middle between two of them. LOGISTIC and TANH
share a published table of sigmoid(i / 24) as Q0.16 (reference/integer_ops/logistic.h, tanh.h).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import CompileError
from ..fixedpoint import Int64, Multiplier
from ..graph import Graph, Node
from ..ops import Op
from .codes import Codes, scale_of, steps
from .tables import function_of, round_away

Real = npt.NDArray[Any]  # float32 or float64
RealFunction = Callable[[Real], Real]
Scalar = np.floating[Any]

_LOW, _HIGH = -32768, 32767
_STEPS = 512


def table_of(function: RealFunction, x_low: Scalar, x_high: Scalar, inverse: Scalar) -> Int64:
    """513 samples of `function` from `x_low` to `x_high`, in steps of 1 / `inverse`.

    The dtype of all three is the precision to compute in.
    """
    kind = x_low.dtype.type
    step = (x_high - x_low) / kind(_STEPS)
    index = np.arange(_STEPS).astype(x_low.dtype)
    here = function(x_low + index * step) * inverse
    between = function(x_low + index * step + step / kind(2)) * inverse
    following = function(x_low + (index + kind(1)) * step) * inverse
    middle = round_away((following + round_away(here)) / kind(2))
    bias = round_away((middle - round_away(between)) / kind(2))
    last = round_away(function(np.array([x_high])) * inverse)
    samples: Int64 = np.append(round_away(here) - bias, last).clip(_LOW, _HIGH).astype(np.int64)
    return samples


def interpolate(table: Int64, codes: Int64) -> Int64:
    """Between the two entries around each int16 code, half up."""
    index, offset = 256 + (codes >> 7), codes & 127
    base = table[index]
    # The slope is an int16 in LiteRT: steeper than that, it wraps.
    slope = (table[index + 1] - base).astype(np.int16).astype(np.int64)
    value: Int64 = (base + ((slope * offset + 64) >> 7)).astype(np.int16).astype(np.int64)
    return value


def samples_of(graph: Graph, node: Node) -> Int64:
    """The table of EXP, GELU or RSQRT between the encodings of its input and its output."""
    scale, output = scale_of(graph, node.inputs[0]), scale_of(graph, node.output)
    if node.op is Op.RSQRT:
        function = _inverse_root(np.float32(_HIGH) * output)
    else:
        function = function_of(node.op, node.attrs)
    ends = (scale * np.float32(_LOW), scale * np.float32(_HIGH))
    span = output * np.float32(_HIGH) - output * np.float32(_LOW)
    return table_of(function, *ends, np.float32(1 << 16) / span)


def _look_up(graph: Graph, node: Node, x: Codes) -> Codes:
    return interpolate(samples_of(graph, node), x.astype(np.int64)).astype(np.int16)


def _inverse_root(largest: np.float32) -> RealFunction:
    def function(values: Real) -> Real:
        one = np.float32(1.0)
        return np.where(values <= 0, largest, one / np.sqrt(np.where(values <= 0, one, values)))

    return function


def _rsqrt(graph: Graph, node: Node, x: Codes) -> Codes:
    """The largest code where x is 0. Raises CompileError where x is negative, as LiteRT does."""
    if (x < 0).any():
        raise CompileError(
            f"{graph.name}: node '{node.name}' ({node.op}) reads negative numbers; it has no "
            "value for them"
        )
    return _look_up(graph, node, x)


def _sigmoid_table() -> Int64:
    """sigmoid(i / 24) as Q0.16, shifted by half the error of its interpolation."""

    def sample(position: float) -> float:
        return 65536 / (1 + math.exp(-position / 24))

    def entry(i: int) -> int:
        error = sample(i + 0.5) - (sample(i) + sample(i + 1)) / 2
        return math.floor(sample(i) + error / 2 + 0.5)

    return np.array([*map(entry, range(_SATURATED)), 65535], np.int64)


_SATURATED = 255  # the first position behind the table
SIGMOID = _sigmoid_table()
"""256 entries, uint16."""


def _logistic(graph: Graph, node: Node, x: Codes) -> Codes:
    position = _positions(graph, node, x)
    share = _interpolated_sigmoid(np.abs(position), 9, 0x7FFF << 10)
    mirrored = np.where(position >= 0, share + (1 << 9), (1 << 25) - share + (1 << 9) - 1)
    return (mirrored >> 10).astype(np.int16)


def _tanh(graph: Graph, node: Node, x: Codes) -> Codes:
    """2 · sigmoid(2x) - 1."""
    position = _positions(graph, node, x)
    share = _interpolated_sigmoid(np.abs(position), 8, 0xFFFF << 8)
    centred = np.where(position >= 0, share - (1 << 23), (1 << 23) - share - 1)
    return ((centred + (1 << 7)) >> 8).astype(np.int16)


def _interpolated_sigmoid(position: Int64, bits: int, saturated: int) -> Int64:
    """The table at positions with that many fraction bits, as Q0.16 with as many more."""
    index = np.minimum(position >> bits, _SATURATED - 1)
    base, slope = SIGMOID[index], SIGMOID[index + 1] - SIGMOID[index]
    value = (base << bits) + (position & ((1 << bits) - 1)) * slope
    return np.where(position >> bits >= _SATURATED, saturated, value)


def _positions(graph: Graph, node: Node, x: Codes) -> Int64:
    """Inputs on a scale of 1 / 12288, so that 2^9 (sigmoid) or 2^8 (tanh) is one entry."""
    factor = place_factor(graph, node)
    right = -factor.shift
    half = (1 << right) >> 1
    return (steps(graph, node.inputs[0], x) * factor.multiplier + half) >> right


def place_factor(graph: Graph, node: Node) -> Multiplier:
    """An input's scale in 1 / 12288 as `multiplier · 2^shift`, its shift at most 0.

    Scales of 2^-12, and for TANH 2^-11, need no rounding.
    """
    scale = scale_of(graph, node.inputs[0])
    power = _power_of_two(scale)
    exact = (0, 1) if node.op is Op.TANH else (0,)
    if power is not None and 12 + power in exact:
        return Multiplier(3 << (12 + power), 0)
    multiplier, shift = float(scale) * 12288.0, 0
    while multiplier <= 32767.0 / 2.0 and shift <= 30:
        multiplier, shift = multiplier * 2.0, shift + 1
    return Multiplier(int(multiplier), -shift)


def _power_of_two(scale: np.float32) -> int | None:
    """The exponent of a scale that is a power of two to one part in a thousand (`CheckedLog2`)."""
    exponent = np.log(scale) * (np.float32(1.0) / np.log(np.float32(2.0)))
    nearest = round(float(exponent))
    return nearest if abs(float(exponent) - nearest) < 1e-3 else None


TABLES_INT16: dict[Op, Callable[..., Codes]] = {
    Op.LOGISTIC: _logistic,
    Op.TANH: _tanh,
    Op.EXP: _look_up,
    Op.GELU: _look_up,
    Op.RSQRT: _rsqrt,
}
