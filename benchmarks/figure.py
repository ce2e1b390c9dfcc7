"""The vocabulary of benchmarks: how much to do, and what came out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Scale:
    """How much work a run may do: `repeats` timed calls, `samples` inputs, one seed."""

    repeats: int
    samples: int
    seed: int


QUICK = Scale(repeats=5, samples=200, seed=0)
FULL = Scale(repeats=30, samples=2000, seed=0)


@dataclass(frozen=True, slots=True)
class Figure:
    """One number. `tier` is an evidence tier or `exact`; `at_most` bounds in-run ratios."""

    name: str
    value: float
    unit: str
    tier: str = "T3"
    at_most: float | None = None

    @property
    def passed(self) -> bool:
        """False when a bounded ratio got worse than its bound."""
        return self.at_most is None or self.value <= self.at_most


def median_seconds(call: Callable[[], object], repeats: int) -> float:
    """Median wall time of `call` in seconds, after one warm-up."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return median(times)
