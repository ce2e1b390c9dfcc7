"""Requantization arithmetic of the numeric contracts `int8.v1` and `int16x8.v1`.

Every operator but fully connected uses gemmlowp's fixed point for sums of 32 bits: a real factor is
`multiplier · 2^(shift - 31)` with `multiplier` in [2^30, 2^31), and products are rounded twice:
the high half of the doubled product, half up, then the right shift, half away from zero. All
arrays are int64 that hold int32 numbers, so no step overflows.

LiteRT's reference kernel of fully connected multiplies in double precision and rounds once, half
away from zero (`multiply_real`). Both were told apart on exact ties and on factors whose nearest
fixed-point number is another one; `tests/compiler/test_fixedpoint.py` keeps those cases.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Multiplier:
    """A real factor; `shift` > 0 shifts left."""

    multiplier: int
    shift: int


def quantize_multiplier(real: float) -> Multiplier:
    """The fixed-point factor nearest to `real` ≥ 0; 0 where it is below 2^-32."""
    if real == 0.0:
        return Multiplier(0, 0)
    mantissa, shift = math.frexp(real)
    # C's round(): half away from zero; the operand is positive.
    fixed = math.floor(mantissa * (1 << 31) + 0.5)
    if fixed == 1 << 31:
        fixed //= 2
        shift += 1
    return Multiplier(0, 0) if shift < -31 else Multiplier(fixed, shift)


def multiply(values: Int64, factors: tuple[Multiplier, ...]) -> Int64:
    """`values` times one factor, or one for each index of the last axis.

    Results of 32 bits are exact; what has more comes out with its sign and at least 2^31.
    """
    multipliers = np.array([factor.multiplier for factor in factors], np.int64)
    shifts = np.array([factor.shift for factor in factors], np.int64)
    shifted = _shift_left(values, shifts) if (shifts > 0).any() else values
    return rounding_shift(high_product(shifted, multipliers), np.maximum(-shifts, 0))


def _shift_left(values: Int64, shifts: Int64) -> Int64:
    """`values` · 2^shifts, at most 2^32 either way: multipliers halve it at most."""
    left = np.clip(shifts, 0, 32)
    largest = np.int64(1) << (32 - left)
    return np.clip(values, -largest, largest) << left


def multiply_wide(values: Int64, factors: tuple[Multiplier, ...]) -> Int64:
    """`values`, below 2^47, times factors of 15 bits, rounded once, half up.

    What LiteRT does to its 64-bit sums: the contract `int16x8.v1`.
    """
    multipliers = np.array([factor.multiplier for factor in factors], np.int64)
    shifts = np.array([factor.shift for factor in factors], np.int64)
    reduced = np.where(multipliers < 0x7FFF0000, (multipliers + (1 << 15)) >> 16, 0x7FFF)
    right = 15 - shifts
    scaled: Int64 = (values * reduced + (np.int64(1) << (right - 1))) >> right
    return scaled


def high_product(values: Int64, multipliers: Int64) -> Int64:
    """SaturatingRoundingDoublingHighMul: round(values · multipliers / 2^31).

    Its C form nudges by sign and truncates; both halves agree with rounding half up. The one
    saturating case, -2^31 · -2^31, cannot occur: multipliers are not negative.
    """
    products = values * multipliers
    products += 1 << 30
    products >>= 31
    return products


def rounding_shift(values: Int64, exponents: Int64) -> Int64:
    """RoundingDivideByPOT: round(values / 2^exponents), half away from zero.

    Negative numbers are nudged by one less than half, so that the floor rounds their ties down;
    where nothing is shifted nothing is nudged.
    """
    nudged = values >> 63  # -1 for negative numbers
    nudged &= np.where(exponents > 0, np.int64(-1), np.int64(0))
    nudged += values
    nudged += (np.int64(1) << exponents) >> 1
    nudged >>= exponents
    return nudged


def multiply_real(values: Int64, factors: npt.NDArray[np.float64]) -> Int64:
    """round(values · factors) in double precision, half away from zero."""
    products = values.astype(np.float64) * factors
    return (np.sign(products) * np.floor(np.abs(products) + 0.5)).astype(np.int64)
