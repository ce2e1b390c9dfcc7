"""Merging reports: windows of one device into longer ones, devices into a cohort.

Counts add, sketches merge, evidence and most figures of the system take their extreme. In whatever
order and grouping reports are merged, counts and extremes are the same and ranks are within the
sketches' guarantee.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import msgspec
import numpy as np

from .errors import ProtocolError
from .kll import merge_sketches
from .kll_bytes import decode_sketch, encode_sketch
from .protocol import BrokenRules, FeatureWindow, Lost, Report, SystemFigures

Counts = tuple[int, ...]
Sums = TypeVar("Sums", BrokenRules, Lost)
Value = TypeVar("Value", int, float, bool)


def merge(reports: Sequence[Report], rng: np.random.Generator) -> Report:
    """One or more reports of one bundle as one; `rng` is for the sketches.

    The last to end gives `boot_id` and `seq`.

    Raises:
        ProtocolError: they are of different bundles or watch different features, or a sketch in
            them cannot be read.
    """
    if len({report.bundle_id for report in reports}) > 1:
        raise ProtocolError("reports of different bundles cannot be merged")
    if len({len(report.features) for report in reports}) > 1:
        raise ProtocolError("reports that watch different features cannot be merged")
    if len(reports) == 1:
        return reports[0]
    last = max(reports, key=lambda report: (report.end_s, report.boot_id, report.seq))
    watched = zip(*(report.features for report in reports), strict=True)
    return Report(
        boot_id=last.boot_id,
        seq=last.seq,
        bundle_id=last.bundle_id,
        start_s=min(report.start_s for report in reports),
        end_s=last.end_s,
        samples=sum(report.samples for report in reports),
        violations=sum(report.violations for report in reports),
        latency_us=_counts([report.latency_us for report in reports]),
        confidence=_merge_windows([report.confidence for report in reports], rng),
        classes=_counts([report.classes for report in reports]),
        class_drift=_merge_windows([report.class_drift for report in reports], rng),
        features=tuple(_merge_windows(windows, rng) for windows in watched),
        rss_bytes=max(report.rss_bytes for report in reports),
        dropped=sum(report.dropped for report in reports),
        merged=sum(report.merged for report in reports),
        engine_errors=sum(report.engine_errors for report in reports),
        broken_rules=_sums([report.broken_rules for report in reports], BrokenRules),
        latency_sketch=_sketch([report.latency_sketch for report in reports], rng),
        system=_system([report.system for report in reports]),
        lost=add_lost(report.lost for report in reports),
    )


def add_lost(parts: Iterable[Lost]) -> Lost:
    """The sums."""
    return _sums(list(parts), Lost)


def thinned(report: Report) -> Report:
    """The report without its features' sketches, which are counted as lost."""
    bare = tuple(msgspec.structs.replace(window, sketch=b"") for window in report.features)
    gone = sum(bool(window.sketch) for window in report.features)
    lost = add_lost((report.lost, Lost(sketches=gone)))
    return msgspec.structs.replace(report, features=bare, lost=lost)


def _merge_windows(windows: Sequence[FeatureWindow], rng: np.random.Generator) -> FeatureWindow:
    names = sorted({window.name for window in windows})
    if len(names) > 1:
        raise ProtocolError(f"'{names[0]}' and '{names[1]}' cannot be merged")
    return FeatureWindow(
        name=names[0],
        bins=_counts([window.bins for window in windows]),
        evidence=max(window.evidence for window in windows),
        alarm=any(window.alarm for window in windows),
        sketch=_sketch([window.sketch for window in windows], rng),
    )


def _counts(rows: Sequence[Counts]) -> Counts:
    sizes = sorted({len(row) for row in rows})
    if len(sizes) > 1:
        raise ProtocolError(f"counts in {sizes[0]} and {sizes[1]} bins cannot be merged")
    return tuple(map(sum, zip(*rows, strict=True)))


def _sketch(parts: Sequence[bytes], rng: np.random.Generator) -> bytes:
    told = [part for part in parts if part]
    if len(told) < 2:
        return told[0] if told else b""
    return encode_sketch(merge_sketches([decode_sketch(part) for part in told], rng))


def _sums(parts: Sequence[Sums], kind: type[Sums]) -> Sums:
    names = kind.__struct_fields__
    return kind(**{name: sum(getattr(part, name) for part in parts) for name in names})


def _system(parts: Sequence[SystemFigures]) -> SystemFigures:
    return SystemFigures(
        cpu_s=math.fsum(part.cpu_s for part in parts),
        wall_s=math.fsum(part.wall_s for part in parts),
        load=_extreme(max, [part.load for part in parts]),
        temperature_c=_extreme(max, [part.temperature_c for part in parts]),
        throttled=_extreme(max, [part.throttled for part in parts]),
        disk_free_bytes=_extreme(min, [part.disk_free_bytes for part in parts]),
        uptime_s=_extreme(max, [part.uptime_s for part in parts]),
    )


def _extreme(choose: Callable[[list[Value]], Value], found: Sequence[Value | None]) -> Value | None:
    """Of those that are known."""
    known = [value for value in found if value is not None]
    return choose(known) if known else None
