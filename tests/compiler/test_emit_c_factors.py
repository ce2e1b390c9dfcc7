"""Integer factors equal LiteRT's double-precision scaling for every sum, ties included."""

from __future__ import annotations

import numpy as np
import pytest

from edgekiln.compiler.emit_c_factors import (
    NarrowFactors,
    WideFactors,
    dense_steps,
    narrow_factors,
    wide_factors,
)
from edgekiln.compiler.fixedpoint import multiply_real
from edgekiln.compiler.graph import Array

BOUNDS = (-128, 127)
# Fractions with exact ties at many sums, on both sides of zero, and awkward neighbours of them.
TIES = (0.125, 3 / 16, 3 / 64, 1 / 256, 5 / 512, 0.125 + 2**-54)
# Its ties go towards zero for small sums, away from it for large ones: no line does that.
NEITHER = float(np.nextafter(0.125, 0.0))


def _expected(factor: float, zero_point: int, sums: Array) -> Array:
    return np.clip(zero_point + multiply_real(sums, np.float64(factor)), *BOUNDS)


def _narrow(found: NarrowFactors, zero_point: int, sums: Array) -> Array:
    """What ek_scale_once computes."""
    high = (sums * found.multipliers[0]) >> 32
    half = (1 << found.shifts[0]) >> 1
    return np.clip(zero_point + ((high + half) >> found.shifts[0]), *BOUNDS)


def _wide(found: WideFactors, zero_point: int, sums: Array) -> Array:
    """What ek_scale_once_wide computes."""
    half = 1 << (found.shift - 1)
    return np.clip(zero_point + ((sums * found.multipliers[0] + half) >> found.shift), *BOUNDS)


def _every_sum(factor: float) -> Array:
    """All sums whose outputs are not clamped, and beyond."""
    end = int(300 / factor) + 5
    return np.arange(-end, end + 1, dtype=np.int64)


@pytest.mark.parametrize("zero_point", [-128, 0, 17, 127])
@pytest.mark.parametrize("factor", TIES)
def test_narrow_factor_equals_double_at_every_sum_when_ties_are_many(
    factor: float, zero_point: int
) -> None:
    sums = _every_sum(float(factor))
    steps = dense_steps(float(factor), zero_point, BOUNDS, (int(sums[0]), int(sums[-1])))
    found = narrow_factors((float(factor),), (steps,), zero_point, BOUNDS)
    assert found is not None
    expected = _expected(factor, zero_point, sums)
    np.testing.assert_array_equal(_narrow(found, zero_point, sums), expected)


@pytest.mark.parametrize("factor", [*TIES, 0.5, 0.75, 1.0, 1.5, 2.0, 37.5, 0.3, 0.999])
def test_wide_factor_equals_double_at_every_sum_when_ties_are_many(factor: float) -> None:
    sums = _every_sum(float(factor))
    steps = dense_steps(float(factor), 3, BOUNDS, (int(sums[0]), int(sums[-1])))
    found = wide_factors((float(factor),), (steps,), 3, BOUNDS)
    assert found is not None
    np.testing.assert_array_equal(_wide(found, 3, sums), _expected(factor, 3, sums))


@pytest.mark.slow
def test_factors_equal_double_at_every_sum_when_they_are_random() -> None:
    rng = np.random.default_rng(0)
    for factor in 2.0 ** rng.uniform(-13, 0, 60):
        zero_point = int(rng.integers(-128, 128))
        sums = _every_sum(factor)
        steps = dense_steps(factor, zero_point, BOUNDS, (int(sums[0]), int(sums[-1])))
        expected = _expected(factor, zero_point, sums)
        found = narrow_factors((factor,), (steps,), zero_point, BOUNDS)
        if found is not None:
            np.testing.assert_array_equal(_narrow(found, zero_point, sums), expected)
        wide = wide_factors((factor,), (steps,), zero_point, BOUNDS)
        assert wide is not None
        np.testing.assert_array_equal(_wide(wide, zero_point, sums), expected)


def test_steps_hold_both_sides_of_every_change_when_sums_reach_far() -> None:
    steps = dense_steps(0.01, -128, BOUNDS, (-100_000, 100_000))
    sums = np.arange(-100_000, 100_001)
    outputs = _expected(0.01, -128, sums)
    changes = np.flatnonzero(np.diff(outputs))
    assert len(changes) == 255
    assert set(sums[changes]) | set(sums[changes + 1]) <= set(steps.sums)


def test_factor_is_refused_by_narrow_when_it_is_a_quarter_or_more() -> None:
    steps = dense_steps(0.25, 0, BOUNDS, (-2000, 2000))
    assert narrow_factors((0.25,), (steps,), 0, BOUNDS) is None


def test_no_factor_is_found_when_ties_go_both_ways() -> None:
    sums = _every_sum(NEITHER)
    steps = dense_steps(NEITHER, 0, BOUNDS, (int(sums[0]), int(sums[-1])))
    assert narrow_factors((NEITHER,), (steps,), 0, BOUNDS) is None
    assert wide_factors((NEITHER,), (steps,), 0, BOUNDS) is None


def test_no_factor_is_found_when_sums_fill_every_bit() -> None:
    steps = dense_steps(0.3, 0, BOUNDS, (-(1 << 61), 1 << 61))
    assert wide_factors((0.3,), (steps,), 0, BOUNDS) is None
