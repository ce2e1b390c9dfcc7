"""Reports that the disk does not take: kept in memory, a bounded number, until it does."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np

from .protocol import Lost, Report
from .rollup import add_lost, merge

MAX_HELD = 4


class HeldReports:
    """Reports on their way into the outbox; for one thread.

    While none gets there they are merged; where they cannot be, the oldest goes and the next one
    tells of it. None of them has left the device, so merging counts nothing twice.
    """

    def __init__(self, put: Callable[[Report], None], rng: np.random.Generator) -> None:
        """`put` writes a report and raises where it cannot; `rng` is for merging sketches."""
        self._put = put
        self._rng = rng
        self._held: list[Report] = []

    def add(self, report: Report) -> None:
        """Put a report, behind those that wait; what `put` raises is raised here too."""
        self._held.append(report)
        try:
            while self._held:
                self._put(self._held[0])
                self._held.pop(0)
        finally:
            if len(self._held) > MAX_HELD:
                self._shrink()

    def _shrink(self) -> None:
        first, second, *rest = self._held
        if first.bundle_id == second.bundle_id:
            self._held = [merge((first, second), self._rng), *rest]
            return
        lost = add_lost((second.lost, first.lost, Lost(samples=first.samples)))
        dropped = second.dropped + first.dropped + first.merged
        self._held = [msgspec.structs.replace(second, dropped=dropped, lost=lost), *rest]
