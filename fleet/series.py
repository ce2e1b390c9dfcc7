"""The chart's numbers: inferences a second by cohort, from the reports that came in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from .requests import Line, Series

SLICES = 90  # points on the time axis


@dataclass(frozen=True, slots=True)
class Received:
    """One report's share in the chart."""

    cohorts: tuple[str, ...]
    start_s: float
    end_s: float
    samples: int


def throughput(reports: Iterable[Received], now_s: float, span_s: float) -> Series:
    """Inferences per second by cohort over the last `span_s`, in `SLICES` equal slices.

    A report's samples are spread evenly over its window; slices without any report are None.
    """
    width = span_s / SLICES
    first = now_s - span_s
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0] * SLICES)
    for report in reports:
        length = max(report.end_s - report.start_s, 1e-9)
        begin = max(0, int((report.start_s - first) / width))
        for slot in range(begin, SLICES):
            left = max(first + slot * width, report.start_s)
            right = min(first + (slot + 1) * width, report.end_s)
            if right <= left:
                break
            for cohort in report.cohorts:
                sums[cohort][slot] += report.samples * (right - left) / length
    lines = tuple(
        Line(name=name, values=tuple(value / width if value else None for value in sums[name]))
        for name in sorted(sums)
    )
    times = tuple(first + (slot + 1) * width for slot in range(SLICES))
    return Series(unit="inferences/s", time_s=times, lines=lines)
