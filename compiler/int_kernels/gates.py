"""Sigmoid and tanh of 16-bit fixed point, as LSTM cells have them.

gemmlowp's fixedpoint.h with int16 as the raw type; LiteRT's portable_tensor_utils.cc calls it so.
Qm.n means m integer bits before n fraction bits; arrays are int64 that hold int16 numbers.
"""

from __future__ import annotations

import numpy as np

from ..fixedpoint import Int64, rounding_shift

_ONE = (1 << 15) - 1  # Q0.15 has no 1
_LOWEST = -(1 << 15)
_EIGHTH = 1 << 12  # Q0.15
_EXP_MINUS_EIGHTH = 28918
_THIRD = 10923
_48_OVER_17, _MINUS_32_OVER_17, _ONE_Q2 = 23130, -15420, 1 << 13  # Q2.13
# (exponent, exp(-2^exponent) in Q0.15)
_EXP_OF_POWERS = ((-2, 25520), (-1, 19875), (0, 12055), (1, 4435), (2, 600), (3, 11), (4, 0))
_SIGMOID_BITS = 3
_CLAMPED_ABOVE_BITS = 5  # formats that reach below -32, where nothing is left


def sigmoid(values: Int64) -> Int64:
    """Q0.15 of Q3.12."""
    positive = _one_over_one_plus(_exp(-np.abs(values), _SIGMOID_BITS))
    answers = np.where(values > 0, positive, _ONE - positive)
    return np.where(values == 0, 1 << 14, answers)


def tanh(values: Int64, integer_bits: int) -> Int64:
    """Q0.15 of numbers with 0 to 6 integer bits."""
    # The same raw number with one more integer bit is twice as large.
    power = _exp(-np.abs(values), integer_bits + 1)
    positive = _saturated((_newton(power) - _ONE_Q2) << 2)
    return np.where(values == 0, 0, np.where(values < 0, -positive, positive))


def _exp(values: Int64, integer_bits: int) -> Int64:
    """exp of numbers ≤ 0 as Q0.15: near zero by a series, then by the bits of what is left."""
    fraction_bits = 15 - integer_bits
    quarter = 1 << (fraction_bits - 2)
    fraction = (values & (quarter - 1)) - quarter
    result = _exp_near_zero(fraction << integer_bits)
    remainder = fraction - values
    for exponent, factor in _EXP_OF_POWERS:
        if exponent < integer_bits:
            chosen = (remainder >> (fraction_bits + exponent)) & 1 == 1
            result = np.where(chosen, _product(result, np.array(factor)), result)
    if integer_bits > _CLAMPED_ABOVE_BITS:
        result = np.where(values < -(32 << fraction_bits), 0, result)
    return np.where(values == 0, _ONE, result)


def _exp_near_zero(values: Int64) -> Int64:
    """exp of Q0.15 numbers in [-1/4, 0): a Taylor polynomial around -1/8."""
    x = values + _EIGHTH
    x2 = _product(x, x)
    x3, x4 = _product(x2, x), _product(x2, x2)
    series = _product(rounding_shift(x4, np.array(2)) + x3, np.array(_THIRD)) + x2
    tail = x + rounding_shift(series, np.array(1))
    constant = np.array(_EXP_MINUS_EIGHTH)
    return _saturated(_EXP_MINUS_EIGHTH + _product(tail, constant))


def _one_over_one_plus(values: Int64) -> Int64:
    """1 / (1 + x) of Q0.15 numbers in [0, 1)."""
    return _saturated(_newton(values) << 1)


def _newton(values: Int64) -> Int64:
    """2 / (1 + x) of Q0.15 numbers as Q2.13: three steps of Newton and Raphson."""
    half = (values + _ONE + 1) >> 1
    x = _48_OVER_17 + _product(half, np.array(_MINUS_32_OVER_17))
    for _ in range(3):
        error = _ONE_Q2 - _product(half, x)
        x = x + _saturated(_product(x, error) << 2)
    return x


def _product(a: Int64, b: Int64) -> Int64:
    """round(a · b / 2^15), half up; of -1 and -1 there is none."""
    return (a * b + (1 << 14)) >> 15


def _saturated(values: Int64) -> Int64:
    return np.clip(values, _LOWEST, _ONE)
