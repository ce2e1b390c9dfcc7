"""Integer factors for LiteRT's fully connected layers, which scale in double precision.

A sum s gives y(s) = zero point + round(s · factor), the product rounded to a double and then half
away from zero, clamped. Fixed point gives f(s) = zero point + floor((s · m + 2^(b-1)) / 2^b). Both
never fall, so they are equal for every sum when they are equal at the ends of what sums can be and
on both sides of each step of y; there are at most 255 steps. Where the nearest m fails, because of
ties or because 31 bits are too few, its neighbours and then multipliers of more bits are tried.
A factor one unit in the last place beside a plain fraction may have none: its ties go one way for
small sums and the other way for large ones. Such a layer keeps double precision.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .fixedpoint import multiply_real

Int64 = npt.NDArray[np.int64]
_NEIGHBOURS = (0, 1, -1, 2, -2, 3, -3, 4)
_SMALLEST_SHIFT, _LARGEST_SHIFT = 1, 22
_PRODUCT_BITS = 61  # of sum · multiplier in the wide form


@dataclass(frozen=True, slots=True)
class NarrowFactors:
    """factor = multiplier / 2^(32 + shift), 31 bits, one of each for each channel."""

    multipliers: tuple[int, ...]
    shifts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class WideFactors:
    """factor = multiplier / 2^shift, multipliers of up to 62 bits."""

    multipliers: tuple[int, ...]
    shift: int


@dataclass(frozen=True, slots=True)
class Steps:
    """Sums of one channel at which its outputs are compared, and those outputs."""

    sums: Int64
    outputs: Int64


def dense_steps(
    factor: float, zero_point: int, bounds: tuple[int, int], reach: tuple[int, int]
) -> Steps:
    """Both sides of each step of y for sums within `reach`; outputs are clamped to `bounds`."""
    low, high = bounds
    # A step up to k is where the product reaches k - zero point - 1/2: search around it.
    edges = (np.arange(low, high + 1, dtype=np.float64) - zero_point - 0.5) / factor
    within = edges[(edges >= reach[0] - 2.0) & (edges <= reach[1] + 2.0)]
    near = np.floor(within).astype(np.int64)[:, None] + np.arange(-2, 4)
    sums = np.unique(np.clip(np.append(near.reshape(-1), reach), *reach))
    outputs = np.clip(zero_point + multiply_real(sums, np.array([factor])), low, high)
    return Steps(sums, outputs)


def narrow_factors(
    factors: tuple[float, ...],
    steps: tuple[Steps, ...],
    zero_point: int,
    bounds: tuple[int, int],
) -> NarrowFactors | None:
    """31-bit factors that are exact for every channel, or None."""
    found = []
    for factor, channel in zip(factors, steps, strict=True):
        mantissa, exponent = math.frexp(factor)
        shift = -exponent - 1  # mantissa · 2^31 / 2^(32 + shift)
        if not _SMALLEST_SHIFT <= shift <= _LARGEST_SHIFT:
            return None
        near = _near(mantissa * 2.0**31, (1 << 31) - 1)
        multiplier = _first(near, channel, 32 + shift, zero_point, bounds)
        if multiplier is None:
            return None
        found.append((multiplier, shift))
    multipliers, shifts = zip(*found, strict=True)
    return NarrowFactors(multipliers, shifts)


def wide_factors(
    factors: tuple[float, ...],
    steps: tuple[Steps, ...],
    zero_point: int,
    bounds: tuple[int, int],
) -> WideFactors | None:
    """Factors of as many bits as the sums leave in 64, exact for every channel, or None."""
    largest = max(int(np.abs(channel.sums).max()) for channel in steps)
    # sum · factor · 2^shift < 2^61
    shift = min(_PRODUCT_BITS - math.frexp(max(largest, 1) * max(factors))[1], 61)
    if shift < 1:
        return None
    found = []
    for factor, channel in zip(factors, steps, strict=True):
        near = _near(math.ldexp(factor, shift), (1 << 62) - 1)
        multiplier = _first(near, channel, shift, zero_point, bounds)
        if multiplier is None:
            return None
        found.append(multiplier)
    return WideFactors(tuple(found), shift)


def _near(exact: float, largest: int) -> Iterator[int]:
    """Integers by their distance to `exact`, from 0 to `largest`."""
    nearest = round(exact)
    return (n for d in _NEIGHBOURS if 0 <= (n := nearest + d) <= largest)


def _first(
    multipliers: Iterator[int],
    channel: Steps,
    shift: int,
    zero_point: int,
    bounds: tuple[int, int],
) -> int | None:
    half = 1 << (shift - 1)
    for multiplier in multipliers:
        outputs = zero_point + ((channel.sums * multiplier + half) >> shift)
        if np.array_equal(np.clip(outputs, *bounds), channel.outputs):
            return multiplier
    return None
