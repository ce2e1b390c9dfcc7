"""Corrections of a cost table: exact where nothing blurs, never negative, free of the unit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekiln.targets.corrections import corrections, left_out_ratios

seeds = st.integers(0, 2**32 - 1)


def drawn(seed: int, count: int, parts: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    predicted = rng.lognormal(5, 1.5, (count, parts))
    return predicted, predicted @ rng.uniform(0, 3, parts) * rng.lognormal(0, 0.2, count)


def test_factors_are_those_of_the_device_when_nothing_blurs_them() -> None:
    predicted, _ = drawn(0, 12)
    truth = np.array([1.0, 2.0, 0.5, 1.5])
    found = corrections(predicted, predicted @ truth)
    assert found.factors == pytest.approx(truth, rel=0.02)
    assert left_out_ratios(predicted, predicted @ truth) == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize("count", [2, 3, 9])
def test_answer_is_found_when_the_table_was_right(count: int) -> None:
    predicted, _ = drawn(1, count)
    found = corrections(predicted, predicted.sum(axis=1) + 700.0)
    assert found.answer_us == pytest.approx(700.0, rel=0.02)
    assert found.factors == pytest.approx(1.0, rel=0.02)


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_scale_is_found_when_all_is_slower(count: int) -> None:
    predicted, _ = drawn(2, count)
    found = corrections(predicted, 3.0 * predicted.sum(axis=1))
    assert found.factors == pytest.approx(3.0, rel=0.02)
    assert found.answer_us == pytest.approx(0.0, abs=1.0)


def test_part_that_no_bundle_has_moves_with_the_scale() -> None:
    predicted, _ = drawn(3, 6)
    predicted[:, 2] = 0.0
    found = corrections(predicted, 3.0 * predicted.sum(axis=1))
    assert found.factors[2] == pytest.approx(3.0)


@settings(max_examples=12, deadline=None)
@given(seeds, st.integers(1, 7), st.floats(1e-3, 1e3))
def test_unit_does_not_matter_and_nothing_is_negative(seed: int, count: int, unit: float) -> None:
    predicted, observed = drawn(seed, count)
    one, other = corrections(predicted, observed), corrections(predicted * unit, observed * unit)
    assert (one.factors >= 0).all()
    assert one.answer_us >= 0
    assert other.factors == pytest.approx(one.factors, rel=1e-4, abs=1e-6)
    assert other.answer_us == pytest.approx(one.answer_us * unit, rel=1e-4, abs=1e-6 * unit)
