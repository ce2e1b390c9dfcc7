"""Timing a callable on this machine so that the number can be trusted (tier T3).

The calling thread is pinned to one core where the system can (Linux) and released afterwards, the
first calls are thrown away, and the summary is made of order statistics: one interrupted run
cannot move a median.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from .errors import MeasurementError

WARM_UP_CALLS = 5
MIN_INTERVAL_NS = 20_000  # shorter calls are timed in groups, so that the clock costs under 1 %
MAX_RUNS = 10_000  # bounds memory when the callable is far faster than the budget


@dataclass(frozen=True, slots=True)
class Measurement:
    """Microseconds of one call over `runs` timed runs.

    `low_us` and `high_us` are the quartiles. A call shorter than 20 µs is timed in groups of
    `calls_per_run`, and every figure is then that of the groups' means.
    """

    median_us: float
    p95_us: float
    low_us: float
    high_us: float
    runs: int
    calls_per_run: int = 1


def measure_callable(
    fn: Callable[[], object],
    *,
    clock: Callable[[], int] = time.perf_counter_ns,
    min_runs: int = 30,
    budget_s: float = 0.3,
) -> Measurement:
    """Time `fn` for at least `min_runs` runs and until `budget_s` is spent.

    `clock` returns nanoseconds. What `fn` raises goes through.

    Raises:
        MeasurementError: the clock stood still.
    """
    with pinned_thread():
        calls = calls_per_run(fn, clock)
        times_ns = _timed_runs(fn, clock, calls, min_runs, budget_s * 1e9)
    low, median, high, p95 = np.percentile(np.asarray(times_ns) / 1e3, (25, 50, 75, 95))
    if median <= 0:
        msg = "the clock did not advance while the model ran, so there is no latency to report"
        raise MeasurementError(msg)
    return Measurement(float(median), float(p95), float(low), float(high), len(times_ns), calls)


def calls_per_run(fn: Callable[[], object], clock: Callable[[], int]) -> int:
    """Run `fn` a few times; returns how many calls make one timed run long enough."""
    shortest_ns = MIN_INTERVAL_NS
    for _ in range(WARM_UP_CALLS):
        start = clock()
        fn()
        shortest_ns = min(shortest_ns, clock() - start)
    return max(1, round(MIN_INTERVAL_NS / max(shortest_ns, 100)))


def _timed_runs(
    fn: Callable[[], object],
    clock: Callable[[], int],
    calls: int,
    min_runs: int,
    budget_ns: float,
) -> list[float]:
    times: list[float] = []
    begin = clock()
    while len(times) < min_runs or (len(times) < MAX_RUNS and clock() - begin < budget_ns):
        start = clock()
        for _ in range(calls):
            fn()
        times.append((clock() - start) / calls)
    return times


@contextmanager
def pinned_thread() -> Iterator[int | None]:
    """Keep the calling thread on one of its cores; yields None where that cannot be done."""
    if not hasattr(os, "sched_setaffinity"):
        yield None
        return
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {max(allowed)})
    except OSError:  # a container may forbid it
        yield None
        return
    try:
        yield max(allowed)
    finally:
        os.sched_setaffinity(0, allowed)
