"""Observers: batches change nothing, memory is bounded, ranges agree with the full data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgekiln.compiler.graph import Array
from edgekiln.compiler.observers import (
    BINS,
    OBSERVERS,
    Histogram,
    HistogramObserver,
    ObserverName,
    Range,
)

FINITE = st.floats(-1e6, 1e6, width=32)
ARRAYS = hnp.arrays(np.float32, st.integers(1, 200), elements=FINITE)


def ranged(name: ObserverName, data: Array, cuts: int = 1, percentile: float = 99.0) -> Range:
    observer = OBSERVERS[name](percentile)
    for batch in np.array_split(data, cuts):
        observer.update(batch)
    return observer.range()


def histogram_of(data: Array) -> Histogram:
    histogram = Histogram()
    histogram.update(data)
    return histogram


@given(ARRAYS, st.integers(1, 12), st.sampled_from(ObserverName))
def test_range_is_the_same_when_data_is_cut_into_batches(
    data: Array, cuts: int, name: ObserverName
) -> None:
    assert ranged(name, data, cuts) == ranged(name, data)


@given(ARRAYS, st.integers(1, 12))
def test_histogram_counts_exactly_when_it_grows(data: Array, cuts: int) -> None:
    histogram = Histogram()
    for batch in np.array_split(data, cuts):
        histogram.update(batch)
    edges, counts = histogram.bins()
    exact, _ = np.histogram(
        data.astype(np.float64), np.append(edges, np.inf if len(edges) == 1 else edges[-1] + 1e30)
    )
    np.testing.assert_array_equal(counts, exact)
    assert counts.sum() == data.size
    assert len(counts) <= BINS
    assert histogram.nbytes == 2 * BINS * 8


@given(ARRAYS, st.sampled_from(ObserverName))
def test_range_holds_zero_and_is_no_wider_than_the_data(data: Array, name: ObserverName) -> None:
    low, high = ranged(name, data)
    assert min(float(data.min()), 0.0) <= low <= 0.0 <= high <= max(float(data.max()), 0.0)


@given(ARRAYS, st.floats(50, 100))
def test_percentile_is_within_one_bin_of_numpy_when_data_is_any(data: Array, share: float) -> None:
    low, high = ranged(ObserverName.PERCENTILE, data, 3, share)
    width = histogram_of(data).width
    tail = (100 - share) / 200
    ordered = np.sort(data.astype(np.float64))
    ranks = [max(int(np.ceil(part * data.size)), 1) - 1 for part in (tail, 1 - tail)]
    assert abs(low - min(ordered[ranks[0]], 0.0)) <= width
    assert abs(high - max(ordered[ranks[1]], 0.0)) <= width


def test_percentile_matches_numpy_percentile_when_data_is_long() -> None:
    data = np.random.default_rng(0).normal(size=200_000).astype(np.float32)
    low, high = ranged(ObserverName.PERCENTILE, data, 7, 99.9)
    expected = np.percentile(data, [0.05, 99.95])
    assert (low, high) == pytest.approx(tuple(expected), abs=2 * histogram_of(data).width)


def full_error(data: Array, low: float, high: float) -> float:
    step = (high - low) / 255
    zero = np.rint(-low / step)
    codes = np.clip(np.rint(data / step) + zero, 0, 255)
    return float(np.mean((data - (codes - zero) * step) ** 2))


@pytest.mark.parametrize("shape", ["normal", "outlier", "relu", "laplace"])
def test_mse_is_near_the_brute_force_best_when_searched_on_full_data(shape: str) -> None:
    rng = np.random.default_rng(1)
    data = {
        "normal": rng.normal(size=20_000),
        "outlier": np.append(rng.normal(size=20_000), 60.0),
        "relu": np.maximum(rng.normal(size=20_000), 0.0),
        "laplace": rng.laplace(size=20_000),
    }[shape]
    found = full_error(data, *ranged(ObserverName.MSE, data, 5))
    low, high = min(data.min(), 0.0), max(data.max(), 0.0)
    steps = np.linspace(0.05, 1.0, 30)
    best = min(
        full_error(data, low * a, high * b) for a in (steps if low else [1.0]) for b in steps
    )
    assert found <= best * 1.05
    assert found <= full_error(data, low, high)


@pytest.mark.parametrize("name", [ObserverName.ENTROPY, ObserverName.MSE, ObserverName.PERCENTILE])
def test_outlier_is_clipped_when_the_rule_weighs_it_against_the_rest(name: ObserverName) -> None:
    data = np.append(np.random.default_rng(2).normal(size=100_000), 40.0).astype(np.float32)
    low, high = ranged(name, data, percentile=99.99)
    assert 2.0 < high < 38.0  # one outlier in 100,000 is worth some rounding error
    assert -6.0 < low < -1.5


@pytest.mark.parametrize("name", ObserverName)
def test_range_is_empty_when_everything_is_zero(name: ObserverName) -> None:
    assert ranged(name, np.zeros(10, np.float32)) == (0.0, 0.0)
    assert OBSERVERS[name](99.0).range() == (0.0, 0.0)


def test_memory_stays_when_a_million_elements_of_growing_size_come() -> None:
    observer = HistogramObserver(lambda histogram: histogram.extremes)
    rng = np.random.default_rng(3)
    for power in range(-8, 12):
        observer.update(rng.normal(0, 10.0**power, 50_000))
    assert observer.histogram.nbytes == 2 * BINS * 8
    assert observer.histogram.bins()[1].sum() == 1_000_000
