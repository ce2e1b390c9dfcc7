"""`Calm`: whether the machine is as fast as it has been, told from a fixed piece of work.

What else runs on a machine, or beside it on the same hardware, slows everything on it for moments
that last longer than the runs of a small model. A product of two small matrices, timed beside them,
shows such moments: then it is better to time again than to average.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

SLOWER = 1.04  # than the fastest seen: disturbed
_SIDE = 96
_RUNS = 5


class Calm:
    """Remembers the shortest time of its work, as `clock` (nanoseconds) told it."""

    def __init__(
        self,
        work: Callable[[], object] | None = None,
        clock: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        matrix = np.linspace(-1, 1, _SIDE * _SIDE, dtype=np.float32).reshape(_SIDE, _SIDE)
        self._work = work or (lambda: matrix @ matrix)
        self._clock = clock
        self._fastest_ns = float("inf")

    def now(self) -> bool:
        """Whether the work takes about as long as it ever did."""
        shortest = min(self._run() for _ in range(_RUNS))
        self._fastest_ns = min(self._fastest_ns, shortest)
        return shortest <= SLOWER * self._fastest_ns

    def _run(self) -> int:
        start = self._clock()
        self._work()
        return self._clock() - start
