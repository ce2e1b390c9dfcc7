"""The int8 log softmax: exponentials, their sum and its logarithm in gemmlowp's fixed point.

LiteRT's reference/integer_ops/log_softmax.h and the logarithm of internal/common.h. Qm.n is a raw
int32 with m integer bits before n fraction bits; arrays are int64 that hold int32 numbers. The
output's encoding is given: scale 1/16, zero point 127.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..fixedpoint import Int64, high_product, multiply
from ..fixedpoint import rounding_shift as shift_right
from ..softmax import (
    exp_on_negative_values,
    one_over_one_plus,
    saturate_int32,
    smallest_difference,
    softmax_multiplier,
)

Int8 = npt.NDArray[np.int8]

_ZERO_POINT = 127
_SUM_BITS = 12  # sums of exponentials are Q12.19
_TO_SIXTEENTHS = 22  # from Q5.26 to steps of 1/16
_LOG_2 = 1488522236  # Q0.31, as all that follow
_ROOT_OF_ROOT_OF_HALF = 1805811301
_ROOT_OF_HALF = 1518500250
_QUARTER_Q6 = 8388608  # 1/4 in Q6.25
# Numerator and denominator of a quotient for log around the fourth root of 1/2.
_NUMERATOR = 117049297
_DENOMINATOR_SQUARE = 127690142
_DENOMINATOR_ONE = 1057819769
_DENOMINATOR_LINEAR = 638450708


def log_softmax_int8(x: Int8, scale: float) -> Int8:
    """Log softmax over the last axis of logits with that scale, above 2^-24."""
    factor = softmax_multiplier(scale)
    difference = x.astype(np.int64) - x.max(axis=-1, keepdims=True)
    counted = difference >= smallest_difference(factor)
    scaled = multiply(np.where(counted, difference, 0), (factor,))
    powers = shift_right(exp_on_negative_values(scaled), np.array(_SUM_BITS))
    log_sum = log_of_sum(np.where(counted, powers, 0).sum(axis=-1, keepdims=True))
    # LiteRT skips more of what lies far below; all of that would be the smallest code anyway.
    shares = shift_right(scaled - log_sum, np.array(_TO_SIXTEENTHS)) + _ZERO_POINT
    return np.where(counted, np.clip(shares, -128, 127), -128).astype(np.int8)


def log_of_sum(total: Int64) -> Int64:
    """The logarithm of Q12.19 numbers ≥ 1 as Q5.26.

    x = 2^k · r with r near the fourth root of 1/2; log r is a quotient of polynomials. Of two ways
    to choose k the one with the smaller r is taken.
    """
    headroom = _leading_zeros(total) - 1
    first = saturate_int32(high_product(total << headroom, np.array(_ROOT_OF_HALF)) << 1)
    first_power = ((_SUM_BITS - headroom - 1) << 25) + _QUARTER_Q6
    other_headroom = _leading_zeros(high_product(total, np.array(_ROOT_OF_HALF))) - 1
    other = saturate_int32(total << other_headroom)
    other_power = ((_SUM_BITS - other_headroom) << 25) - _QUARTER_Q6
    rest = _log_near_root(np.minimum(first, other))
    power = high_product(np.maximum(first_power, other_power), np.array(_LOG_2))
    return saturate_int32((power + rest) << 1)


def _log_near_root(r: Int64) -> Int64:
    """log r of Q0.31 numbers, as Q6.25, less the part that the power of two carries."""
    mean = (r + _ROOT_OF_ROOT_OF_HALF + 1) >> 1
    q = (r - _ROOT_OF_ROOT_OF_HALF) * 2
    square = high_product(q, q)
    cubic = high_product(high_product(q, square), np.array(_NUMERATOR))
    numerator = high_product(q, r) + cubic
    quadratic = high_product(np.array(_DENOMINATOR_SQUARE), square)
    denominator = high_product(mean, _DENOMINATOR_ONE + q + quadratic)
    denominator = denominator + high_product(np.array(_DENOMINATOR_LINEAR), q)
    return high_product(shift_right(numerator, np.array(6)), one_over_one_plus(denominator))


def _leading_zeros(values: Int64) -> Int64:
    """Of positive int32 numbers; frexp counts bits exactly below 2^53."""
    return 32 - np.frexp(values.astype(np.float64))[1].astype(np.int64)
