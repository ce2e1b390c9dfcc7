"""The chart's numbers: nothing is lost, nothing is invented."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgekiln.fleet.series import SLICES, UNTOLD_S, Received, settled, throughput

NOW_S, SPAN_S = 1_795_000_000.0, 180.0
FIRST_S = NOW_S - SPAN_S
WIDTH_S = SPAN_S / SLICES

moments = st.one_of(
    st.floats(FIRST_S - 400, NOW_S + 400),
    st.integers(-20, SLICES + 20).map(lambda slot: FIRST_S + slot * WIDTH_S),  # on an edge
)
reports = st.builds(
    lambda start_s, length_s, samples: Received(("all",), start_s, start_s + length_s, samples),
    moments,
    st.one_of(st.floats(0.1, 900), st.integers(1, 100).map(lambda n: n * WIDTH_S)),
    st.integers(0, 10**9),
)


def inside(report: Received) -> float:
    """The part of a report's samples that lies in the span."""
    overlap = min(report.end_s, NOW_S) - max(report.start_s, FIRST_S)
    return report.samples * max(0.0, overlap) / (report.end_s - report.start_s)


@given(st.lists(reports, max_size=8))
@example([Received(("all",), FIRST_S + 3 * WIDTH_S, FIRST_S + 4 * WIDTH_S, 100)])
@example([Received(("all",), FIRST_S - 100, NOW_S + 100, 100)])
def test_sum_over_slices_equals_the_samples_inside_the_span(found: list[Received]) -> None:
    series = throughput(found, NOW_S, SPAN_S)
    drawn = math.fsum(v for line in series.lines for v in line.values if v is not None) * WIDTH_S
    wanted = math.fsum(inside(report) for report in found)
    assert drawn == pytest.approx(wanted, rel=1e-5, abs=1e-3)


@given(reports)
def test_samples_fall_only_where_the_window_was(report: Received) -> None:
    series = throughput([report], NOW_S, SPAN_S)
    for line in series.lines:
        for end_s, value in zip(series.time_s, line.values, strict=True):
            if value is not None:
                assert value > 0
                assert end_s > report.start_s
                assert end_s - WIDTH_S < report.end_s


anything = st.floats(allow_nan=False, allow_infinity=False)


@given(st.builds(Received, st.just(("all",)), anything, anything, st.integers(0, 1 << 40)))
def test_no_window_breaks_the_chart_whatever_a_device_claims(report: Received) -> None:
    until_s = settled([report], NOW_S)
    assert NOW_S - UNTOLD_S <= until_s < NOW_S
    series = throughput([report], until_s, SPAN_S)
    for line in series.lines:
        assert all(v is None or (math.isfinite(v) and v >= 0) for v in line.values)


def test_each_cohort_gets_its_own_line_and_a_device_counts_in_all_of_its() -> None:
    found = [
        Received(("all", "line-a"), NOW_S - 10, NOW_S, 100),
        Received(("all", "line-b"), NOW_S - 10, NOW_S, 300),
    ]
    series = throughput(found, NOW_S, SPAN_S)
    last = {line.name: line.values[-1] for line in series.lines}
    assert last == {
        "all": pytest.approx(40.0),
        "line-a": pytest.approx(10.0),
        "line-b": pytest.approx(30.0),
    }
    assert series.unit == "inferences/s"


def test_times_are_equally_spaced_and_slices_without_a_report_are_none() -> None:
    series = throughput([Received(("all",), NOW_S - 10, NOW_S, 50)], NOW_S, SPAN_S)
    assert len(series.time_s) == SLICES
    assert series.time_s[0] == pytest.approx(FIRST_S + WIDTH_S)
    assert series.time_s[-1] == pytest.approx(NOW_S)
    assert series.lines[0].values[: SLICES - 5] == (None,) * (SLICES - 5)


def test_line_ends_before_windows_that_nobody_has_told_of_yet() -> None:
    steady = [Received(("all",), NOW_S - 2.0 * n - 2, NOW_S - 2.0 * n, 50) for n in range(1, 80)]
    assert settled(steady, NOW_S) == pytest.approx(NOW_S - 2.5)
    series = throughput(steady, settled(steady, NOW_S), 60.0)
    assert series.lines[0].values == tuple(pytest.approx(25.0) for _ in range(SLICES))


def test_nothing_reported_gives_no_line() -> None:
    assert throughput([], NOW_S, SPAN_S).lines == ()
    assert settled([], NOW_S) < NOW_S
