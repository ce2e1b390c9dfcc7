"""Telemetry: what a device says of its last few minutes, in a size that does not grow with them.

A `Window` counts; counts of two windows, two devices or two cohorts merge by addition.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence

import numpy as np

from .errors import ProtocolError
from .protocol import FeatureWindow, Report
from .reference import BINS, IntArray

# Four a decade, 1 µs to 1 s. Count i lies between edges i - 1 and i; the first and the last count
# are open.
LATENCY_EDGES_US = tuple(round(10 ** (step / 4), 3) for step in range(25))


def p95_from_histogram(counts: Sequence[int]) -> float:
    """The 95th percentile of latency in µs from counts in `LATENCY_EDGES_US`; 0 without samples.

    Interpolated in the logarithm of the time; an open count gives the edge that it has.
    """
    total = sum(counts)
    if total == 0:
        return 0.0
    wanted, below = 0.95 * total, 0
    for index, count in enumerate(counts):
        if below + count >= wanted:
            return _inside(index, (wanted - below) / count)
        below += count
    return LATENCY_EDGES_US[-1]


class LatencyHistogram:
    """Counts of latencies in `LATENCY_EDGES_US`."""

    def __init__(self) -> None:
        self._counts = [0] * (len(LATENCY_EDGES_US) + 1)

    @property
    def counts(self) -> tuple[int, ...]:
        """One more than there are edges."""
        return tuple(self._counts)

    def add(self, latency_us: float, samples: int = 1) -> None:
        """Count `samples` of the same latency."""
        self._counts[bisect.bisect_right(LATENCY_EDGES_US, latency_us)] += samples

    def p95_us(self) -> float:
        """See `p95_from_histogram`."""
        return p95_from_histogram(self._counts)


class Window:
    """Counts since `start_s`; for one thread."""

    def __init__(self, features: int, classes: int, start_s: float) -> None:
        self.start_s = start_s
        self.samples = 0
        self.violations = 0
        self.latency = LatencyHistogram()
        self.bins = np.zeros((features, BINS), np.int64)
        self.classes = np.zeros(classes, np.int64)
        self._rows = np.arange(features)

    def add(self, bins: IntArray, classes: IntArray, latency_us: float) -> None:
        """n answered samples: bins (n, features), classes (n,), latency per sample."""
        self.samples += len(bins)
        self.latency.add(latency_us, len(bins))
        np.add.at(self.classes, classes, 1)
        for row in bins:
            self.bins[self._rows, row] += 1


def merge(first: Report, second: Report) -> Report:
    """Two reports of one bundle as one: counts add, evidence is the larger, alarms are either's.

    The later report gives `boot_id` and `seq`. Commutative and associative.

    Raises:
        ProtocolError: they are of different bundles, or watch different features.
    """
    if first.bundle_id != second.bundle_id:
        raise ProtocolError("reports of different bundles cannot be merged")
    if len(first.features) != len(second.features):
        raise ProtocolError("reports that watch different features cannot be merged")
    later = max(first, second, key=lambda report: (report.end_s, report.boot_id, report.seq))
    return Report(
        boot_id=later.boot_id,
        seq=later.seq,
        bundle_id=later.bundle_id,
        start_s=min(first.start_s, second.start_s),
        end_s=later.end_s,
        samples=first.samples + second.samples,
        violations=first.violations + second.violations,
        latency_us=_add(first.latency_us, second.latency_us),
        confidence=_merge_windows(first.confidence, second.confidence),
        classes=_add(first.classes, second.classes),
        class_drift=_merge_windows(first.class_drift, second.class_drift),
        features=tuple(map(_merge_windows, first.features, second.features)),
        rss_bytes=max(first.rss_bytes, second.rss_bytes),
        dropped=first.dropped + second.dropped,
    )


def _merge_windows(first: FeatureWindow, second: FeatureWindow) -> FeatureWindow:
    if first.name != second.name:
        raise ProtocolError(f"'{first.name}' and '{second.name}' cannot be merged")
    return FeatureWindow(
        name=first.name,
        bins=_add(first.bins, second.bins),
        evidence=max(first.evidence, second.evidence),
        alarm=first.alarm or second.alarm,
    )


def _add(first: tuple[int, ...], second: tuple[int, ...]) -> tuple[int, ...]:
    if len(first) != len(second):
        raise ProtocolError(f"counts in {len(first)} and {len(second)} bins cannot be merged")
    return tuple(a + b for a, b in zip(first, second, strict=True))


def _inside(index: int, share: float) -> float:
    """Time at `share` of the way through count `index`."""
    if index == 0:
        return LATENCY_EDGES_US[0]
    if index == len(LATENCY_EDGES_US):
        return LATENCY_EDGES_US[-1]
    low, high = math.log(LATENCY_EDGES_US[index - 1]), math.log(LATENCY_EDGES_US[index])
    return math.exp(low + share * (high - low))
