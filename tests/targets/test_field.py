"""Counts from the field: they add up, and a quantile is where its bin is."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edgekiln.runtime.telemetry import LATENCY_EDGES_US, LatencyHistogram, p95_from_histogram
from edgekiln.targets import MeasurementError, Workload
from edgekiln.targets.field import FieldLatency, median, merge, quantile_ms

EDGES_MS = tuple(edge / 1e3 for edge in LATENCY_EDGES_US)
WORK = Workload((), "int8")
BINS = len(EDGES_MS) + 1

histograms = st.lists(st.integers(0, 10**6), min_size=BINS, max_size=BINS).filter(any).map(tuple)


def field(counts: tuple[int, ...], devices: int = 1) -> FieldLatency:
    return FieldLatency("b" * 64, "litert", WORK, EDGES_MS, counts, devices)


@settings(max_examples=20)
@given(histograms, histograms, histograms)
def test_merging_adds_and_does_not_care_about_order(
    one: tuple[int, ...], two: tuple[int, ...], three: tuple[int, ...]
) -> None:
    a, b, c = field(one, 1), field(two, 2), field(three, 4)
    left, right = merge(merge(a, b), c), merge(c, merge(b, a))
    assert left == right
    assert left.counts == tuple(np.sum([one, two, three], axis=0).tolist())
    assert (left.samples, left.devices) == (a.samples + b.samples + c.samples, 7)


@settings(max_examples=50)
@given(histograms)
def test_quantile_is_the_devices_own_p95_where_a_bin_holds_it(counts: tuple[int, ...]) -> None:
    found = quantile_ms(EDGES_MS, counts, 0.95)
    told = p95_from_histogram(counts) / 1e3
    if found is None:
        assert told in (EDGES_MS[0], EDGES_MS[-1])
    else:
        assert found == pytest.approx(told)


@settings(max_examples=50)
@given(st.floats(0.01, 500.0), st.floats(0.02, 0.4), st.integers(0, 1000))
def test_median_is_within_half_a_bin_of_the_samples_when_they_are_one_hump(
    true_ms: float, jitter: float, seed: int
) -> None:
    times = true_ms * np.random.default_rng(seed).lognormal(0, jitter, 201)
    assume(times.max() < EDGES_MS[-1])
    histogram = LatencyHistogram()
    for time_ms in times:
        histogram.add(1e3 * time_ms)
    found = median(field(histogram.counts))
    assert found.half_bin == pytest.approx(10 ** (1 / 8), rel=1e-3)
    off = abs(math.log(found.value_ms / float(np.median(times))))
    assert off <= math.log(found.half_bin) * 1.01


@pytest.mark.parametrize("where", [0, BINS - 1])
def test_median_is_an_error_when_it_is_in_an_open_count(where: int) -> None:
    counts = tuple(9 if index == where else 0 for index in range(BINS))
    with pytest.raises(MeasurementError, match=r"bundle bbbbbbbbbbbb in litert.*0.001 to 1000 ms"):
        median(field(counts))
    assert quantile_ms(EDGES_MS, counts, 0.5) is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"counts": (1, 2)}, "25 edges make 26 counts, there are 2"),
        ({"counts": (-1,) * BINS}, "below 0"),
        ({"counts": (0,) * BINS}, "no device has reported"),
        ({"devices": 0}, "no device has reported"),
        ({"edges_ms": (2.0, 1.0)}, "must be two or more, rise"),
    ],
)
def test_counts_are_refused_when_they_are_no_histogram(
    change: dict[str, object], says: str
) -> None:
    with pytest.raises(MeasurementError, match=says):
        dataclasses.replace(field((1,) * BINS), **change)  # type: ignore[arg-type]
