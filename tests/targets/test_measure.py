"""Measuring: order statistics of a scripted clock, and the thread given back as it was."""

from __future__ import annotations

import os

import pytest

from edgekiln.targets import Measurement, MeasurementError, measure_callable
from edgekiln.targets.measure import MAX_RUNS, WARM_UP_CALLS


class Machine:
    """A clock in ns and a callable that takes the scripted times on it, then the last for ever."""

    def __init__(self, *durations_us: float) -> None:
        self.now_ns = 0
        self.calls = 0
        self.durations_us = durations_us

    def clock(self) -> int:
        return self.now_ns

    def run(self) -> None:
        index = min(self.calls, len(self.durations_us) - 1)
        self.now_ns += round(self.durations_us[index] * 1e3)
        self.calls += 1

    def measure(self, **options: float) -> Measurement:
        return measure_callable(self.run, clock=self.clock, **options)


def test_measure_reports_the_time_of_a_steady_callable() -> None:
    result = Machine(100.0).measure(min_runs=30, budget_s=0.0)
    assert result == Measurement(100.0, 100.0, 100.0, 100.0, runs=30)


def test_measure_throws_the_first_calls_away() -> None:
    machine = Machine(*[9000.0] * WARM_UP_CALLS, 100.0)
    result = machine.measure(min_runs=10, budget_s=0.0)
    assert result.p95_us == 100.0
    assert machine.calls == WARM_UP_CALLS + 10


def test_median_does_not_move_when_one_run_is_interrupted() -> None:
    warm = [100.0] * WARM_UP_CALLS
    result = Machine(*warm, *[100.0] * 15, 50_000.0, 100.0).measure(min_runs=31, budget_s=0.0)
    assert (result.median_us, result.high_us, result.p95_us) == (100.0, 100.0, 100.0)


def test_quartiles_and_p95_are_those_of_the_runs() -> None:
    warm = [1000.0] * WARM_UP_CALLS
    runs = [float(100 + index) for index in range(101)]
    result = Machine(*warm, *runs).measure(min_runs=101, budget_s=0.0)
    assert (result.low_us, result.median_us, result.high_us, result.p95_us) == (125, 150, 175, 195)


def test_measure_goes_on_until_the_budget_is_spent() -> None:
    assert Machine(1000.0).measure(min_runs=3, budget_s=0.1).runs == 100


def test_short_calls_are_timed_in_groups() -> None:
    machine = Machine(2.0)
    result = machine.measure(min_runs=5, budget_s=0.0)
    assert result.calls_per_run == 10
    assert result.median_us == pytest.approx(2.0)
    assert machine.calls == WARM_UP_CALLS + 5 * 10


def test_runs_are_bounded_when_the_budget_is_huge() -> None:
    assert Machine(20.0).measure(min_runs=1, budget_s=1e6).runs == MAX_RUNS


def test_measure_is_an_error_when_the_clock_stands_still() -> None:
    with pytest.raises(MeasurementError, match="did not advance"):
        measure_callable(lambda: None, clock=lambda: 5, min_runs=2, budget_s=0.0)


def test_real_clock_gives_a_plausible_time() -> None:
    result = measure_callable(lambda: sum(range(2000)), min_runs=5, budget_s=0.01)
    assert 0 < result.low_us <= result.median_us <= result.high_us
    assert result.runs >= 5


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot pin threads")
def test_thread_is_pinned_to_one_core_and_given_back_even_when_the_callable_raises() -> None:
    before = os.sched_getaffinity(0)
    seen: list[int] = []

    def fail() -> None:
        seen.append(len(os.sched_getaffinity(0)))
        raise ValueError("model failed")

    with pytest.raises(ValueError, match="model failed"):
        measure_callable(fail)
    assert seen == [1]
    assert os.sched_getaffinity(0) == before


def test_measure_works_when_pinning_is_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setaffinity", forbidden, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    assert Machine(100.0).measure(min_runs=3, budget_s=0.0).runs == 3


def test_measure_works_when_the_system_cannot_pin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    assert Machine(100.0).measure(min_runs=3, budget_s=0.0).runs == 3
