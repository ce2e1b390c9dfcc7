"""The chart's numbers: inferences a second by cohort, from the reports that came in."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from .requests import Line, Series

SLICES = 90  # points on the time axis
ON_THE_WAY_S = 0.5
UNTOLD_S = 61.0
BRIEFEST_S = 1e-3  # a window that claims to be shorter is taken as that long


@dataclass(frozen=True, slots=True)
class Received:
    """One report's share in the chart; Unix seconds of the device's clock."""

    cohorts: tuple[str, ...]
    start_s: float
    end_s: float
    samples: int


def settled(reports: Iterable[Received], now_s: float) -> float:
    """Until when the reports are complete: the longest window in use has not been told yet.

    At most `UNTOLD_S` ago, so that one device's long windows do not hold everybody's line back.
    """
    longest_s = max((report.end_s - report.start_s for report in reports), default=0.0)
    return now_s - min(max(longest_s, 0.0) + ON_THE_WAY_S, UNTOLD_S)


def throughput(reports: Iterable[Received], until_s: float, span_s: float) -> Series:
    """Inferences per second by cohort over `span_s` up to `until_s`, in `SLICES` equal slices.

    A report's samples are spread evenly over its window; what lies outside the span is left out.
    Slices without any report are None. `time_s` is where each slice ends.
    """
    first = until_s - span_s
    edges = [first + slot * span_s / SLICES for slot in range(SLICES + 1)]
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0] * SLICES)
    for report in reports:
        for slot, share in _shares(report, edges):
            for cohort in report.cohorts:
                sums[cohort][slot] += share
    width = span_s / SLICES
    lines = tuple(
        Line(name=name, values=tuple(value / width if value else None for value in sums[name]))
        for name in sorted(sums)
    )
    return Series(unit="inferences/s", time_s=tuple(edges[1:]), lines=lines)


def _shares(report: Received, edges: list[float]) -> Iterable[tuple[int, float]]:
    """(slice, samples) for every slice that the report's window touches."""
    end_s = max(report.end_s, report.start_s + BRIEFEST_S)
    length = end_s - report.start_s
    slot = max(0, bisect_right(edges, report.start_s) - 1)
    while slot < SLICES and edges[slot] < end_s:
        inside = min(edges[slot + 1], end_s) - max(edges[slot], report.start_s)
        yield slot, report.samples * max(0.0, inside / length)
        slot += 1
