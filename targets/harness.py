"""`time_callable`: a latency that this machine can stand for (T3), or the reasons why it cannot.

`measure_callable` takes a number in a fraction of a second; this takes as long as the interval of
the median asks for, looks at the machine before and after, runs once more to see drift, and
refuses to certify what a busy machine gave.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .conditions import Conditions, read_conditions
from .errors import MeasurementError
from .evidence import Estimate, Tier
from .measure import MAX_RUNS, calls_per_run, pinned_thread
from .steadiness import Rules, Steadiness, median_interval, outlier_share, refusals

EVIDENCE_ID = "timed"
WARM_UP_S = 0.2

Clock = Callable[[], int]  # nanoseconds


@dataclass(frozen=True, slots=True)
class Timing:
    """Microseconds of one call; figures are of groups of `calls_per_run` calls, as `Measurement`.

    `median_low_us` and `median_high_us` hold the median with 95 % confidence. `refusals` say why
    it is not certified.
    """

    median_us: float
    median_low_us: float
    median_high_us: float
    p10_us: float
    p90_us: float
    p95_us: float
    runs: int
    calls_per_run: int
    steadiness: Steadiness
    before: Conditions
    after: Conditions
    refusals: tuple[str, ...]

    @property
    def certified(self) -> bool:
        """True when every rule was kept."""
        return not self.refusals

    def estimate(self, tier: Tier) -> Estimate:
        """The latency in ms with the 10 % and 90 % quantiles of the runs; `tier` is T3, or T4 on
        the device itself."""
        return Estimate(
            value=self.median_us / 1e3,
            low=self.p10_us / 1e3,
            high=self.p90_us / 1e3,
            unit="ms",
            tier=tier,
            evidence_id=EVIDENCE_ID,
        )


DEFAULT_RULES = Rules()


def time_callable(
    fn: Callable[[], object],
    rules: Rules = DEFAULT_RULES,
    *,
    clock: Clock = time.perf_counter_ns,
    thread_clock: Clock = time.thread_time_ns,
    look: Callable[[int | None], Conditions] = read_conditions,
) -> Timing:
    """Time `fn`, which computes in the calling thread, until the rules are content or time is up.

    `clock` is wall time, `thread_clock` the thread's own time, `look` reads the machine's state.
    What `fn` raises goes through.

    Raises:
        MeasurementError: the clock stood still.
    """
    with pinned_thread() as core:
        calls = _warm_up(fn, clock)
        before = look(core)
        began, ran = clock(), thread_clock()
        times = _runs(fn, clock, calls, rules)
        off_core = 1 - (thread_clock() - ran) / max(clock() - began, 1)
        again = [_run(fn, clock, calls) for _ in range(min(len(times), rules.min_runs))]
        after = look(core)
    return _summary(times, again, max(0.0, off_core), calls, rules, before, after)


def _warm_up(fn: Callable[[], object], clock: Clock) -> int:
    """Caches, branch predictors and clocks settle in; returns the calls that make one run."""
    calls = calls_per_run(fn, clock)
    began = clock()
    for _ in range(MAX_RUNS):
        if clock() - began >= WARM_UP_S * 1e9:
            break
        _run(fn, clock, calls)
    return calls


def _run(fn: Callable[[], object], clock: Clock, calls: int) -> float:
    start = clock()
    for _ in range(calls):
        fn()
    return (clock() - start) / calls


def _runs(fn: Callable[[], object], clock: Clock, calls: int, rules: Rules) -> list[float]:
    """Nanoseconds of a call; the interval is looked at each time that the runs have doubled."""
    began, look_at = clock(), rules.min_runs
    times: list[float] = []
    while len(times) < MAX_RUNS:
        times.append(_run(fn, clock, calls))
        if len(times) < rules.min_runs:
            continue
        spent_s = (clock() - began) / 1e9
        if spent_s >= rules.budget_s:
            break
        if len(times) >= look_at and spent_s >= rules.min_s:
            interval = median_interval(times)
            if interval.median > 0 and interval.precision <= rules.precision:
                break
            look_at = 2 * len(times)
    return times


def _summary(
    times: list[float],
    again: list[float],
    off_core: float,
    calls: int,
    rules: Rules,
    before: Conditions,
    after: Conditions,
) -> Timing:
    interval = median_interval(times)
    if interval.median <= 0:
        msg = "the clock did not advance while the model ran, so there is no latency to report"
        raise MeasurementError(msg)
    found = Steadiness(
        precision=interval.precision,
        drift=abs(float(np.median(again)) / interval.median - 1),
        outliers=outlier_share(times),
        off_core=off_core,
    )
    p10, p90, p95 = (float(value) / 1e3 for value in np.percentile(times, (10, 90, 95)))
    return Timing(
        median_us=interval.median / 1e3,
        median_low_us=interval.low / 1e3,
        median_high_us=interval.high / 1e3,
        p10_us=p10,
        p90_us=p90,
        p95_us=p95,
        runs=len(times),
        calls_per_run=calls,
        steadiness=found,
        before=before,
        after=after,
        refusals=refusals(found, rules, before, after),
    )
