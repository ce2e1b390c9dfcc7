"""The int8 softmax of `int8.v1`: gemmlowp's fixed-point exponential and reciprocal.

LiteRT's reference kernel computes it this way; its optimized kernel reads a table of floats
instead and differs by one step now and then. Formulas and constants are those of gemmlowp's
fixedpoint.h. Qm.n below means a raw int32 with m integer bits before n fraction bits; all arrays
are int64 that hold int32 numbers.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .fixedpoint import Int64, Multiplier, high_product, quantize_multiplier, rounding_shift
from .graph import QuantParams

OUTPUT_QUANT = QuantParams((1.0 / 256.0,), (-128,))
"""The only output quantization of an int8 softmax: shares from 0 to 255/256."""

SMALLEST_SCALE = 2.0**-26
"""Scales of logits must be larger: their factor to Q5.26 must exceed 1."""

MOST_CLASSES = 4095
"""A sum of more exponentials could leave Q12.19."""

_DIFFERENCE_BITS = 5  # differences to the largest logit are Q5.26
_SUM_BITS = 12  # sums of exponentials are Q12.19
_INT32_MAX = 2**31 - 1
_QUARTER = 1 << 24  # 1/4 in Q5.26
_EIGHTH = 1 << 28  # 1/8 in Q0.31
_EXP_MINUS_EIGHTH = 1895147668
_THIRD = 715827883
_48_OVER_17 = 1515870810  # Q2.29
_MINUS_32_OVER_17 = -1010580540  # Q2.29
_ONE_Q2 = 1 << 29
# (bit of a Q5.26 number, exp(-its value) in Q0.31), from 1/4 to 16
_EXP_OF_BITS = (
    (24, 1672461947),
    (25, 1302514674),
    (26, 790015084),
    (27, 290630308),
    (28, 39332535),
    (29, 720401),
    (30, 242),
)


def softmax_multiplier(scale: float) -> Multiplier:
    """The factor that turns a difference of logits into Q5.26; `scale` is theirs, above 2^-26."""
    return quantize_multiplier(min(scale * (1 << 26), float(_INT32_MAX)))


def smallest_difference(factor: Multiplier) -> int:
    """Logits further below the largest one count as zero."""
    return -int((31 * (1 << 26)) // (1 << factor.shift))


def softmax_int8(x: npt.NDArray[np.int8], scale: float) -> npt.NDArray[np.int8]:
    """Softmax over the last axis of logits with that scale; the output has OUTPUT_QUANT."""
    factor = softmax_multiplier(scale)
    difference = x.astype(np.int64) - x.max(axis=-1, keepdims=True)
    counted = difference >= smallest_difference(factor)
    scaled = np.where(counted, difference, 0) << factor.shift
    powers = exp_on_negative_values(high_product(scaled, np.array(factor.multiplier)))
    terms = np.where(counted, rounding_shift(powers, np.array(_SUM_BITS)), 0)
    inverse, exponent = _reciprocal(terms.sum(axis=-1, keepdims=True))
    shares = rounding_shift(high_product(inverse, powers), exponent) - 128
    return np.where(counted, np.clip(shares, -128, 127), -128).astype(np.int8)


def exp_on_negative_values(values: Int64) -> Int64:
    """exp of Q5.26 numbers ≤ 0 as Q0.31."""
    fraction = (values & (_QUARTER - 1)) - _QUARTER
    result = _exp_near_zero(fraction << _DIFFERENCE_BITS)
    remainder = fraction - values
    for bit, factor in _EXP_OF_BITS:
        chosen = (remainder >> bit) & 1 == 1
        result = np.where(chosen, high_product(result, np.array(factor)), result)
    return np.where(values == 0, _INT32_MAX, result)


def _exp_near_zero(values: Int64) -> Int64:
    """exp of Q0.31 numbers in [-1/4, 0): a Taylor polynomial around -1/8."""
    x = values + _EIGHTH
    x2 = high_product(x, x)
    x3, x4 = high_product(x2, x), high_product(x2, x2)
    quarter = rounding_shift(x4, np.array(2))
    series = high_product(quarter + x3, np.array(_THIRD)) + x2
    tail = x + rounding_shift(series, np.array(1))
    return _EXP_MINUS_EIGHTH + high_product(tail, np.array(_EXP_MINUS_EIGHTH))


def _reciprocal(total: Int64) -> tuple[Int64, Int64]:
    """(1 / total as Q0.31 of its leading bits, the right shift that is left), total in Q12.19."""
    # frexp counts the bits of an integer exactly below 2^53.
    headroom = 32 - np.frexp(total.astype(np.float64))[1].astype(np.int64)
    inverse = one_over_one_plus(((total << headroom) & 0xFFFFFFFF) - (1 << 31))
    return inverse, _SUM_BITS - headroom + 31 - 8


def one_over_one_plus(values: Int64) -> Int64:
    """1 / (1 + x) of Q0.31 numbers in [0, 1): three steps of Newton and Raphson."""
    half = (values + _INT32_MAX + 1) >> 1
    x = _48_OVER_17 + high_product(half, np.array(_MINUS_32_OVER_17))
    for _ in range(3):
        error = _ONE_Q2 - high_product(half, x)
        x = x + saturate_int32(high_product(x, error) << 2)
    return saturate_int32(x << 1)


def saturate_int32(values: Int64) -> Int64:
    """Clamped to what an int32 holds."""
    return np.clip(values, -_INT32_MAX - 1, _INT32_MAX)
