"""Latencies of a fleet's bundles by target, from the reports that are kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from edgekiln.runtime.bundle import open_bundle
from edgekiln.runtime.errors import ProtocolError
from edgekiln.runtime.kll import KllSketch, merge_sketches
from edgekiln.runtime.kll_bytes import decode_sketch
from edgekiln.runtime.telemetry import LATENCY_EDGES_US
from edgekiln.targets import engine_of, load_target
from edgekiln.targets.field import histogram_problem, quantile_ms
from edgekiln.targets.field_file import LatencyDocument, LatencyRow

from .folder import FleetFolder
from .model import Release
from .store import Latency, Store, open_store

Key = tuple[str, str]  # bundle, target

EDGES_MS = tuple(edge / 1e3 for edge in LATENCY_EDGES_US)
# 32 a decade, 1 µs to 10 s: half a bin is 4 %, less than machines differ by.
_FINE_EDGES_US = tuple(round(10 ** (step / 32), 4) for step in range(225))
FINE_EDGES_MS = tuple(edge / 1e3 for edge in _FINE_EDGES_US)
_AT_ONCE = 64  # sketches that are merged in one step


def fleet_latency(folder: FleetFolder, profiles: Sequence[Path] = ()) -> LatencyDocument:
    """All kept reports, merged by bundle and the target of the device.

    A row's counts are those of the reports' sketches, in bins of its own; where one of its reports
    comes from a device too old for sketches, they are the reports' own counts, four bins a decade.
    The engine is that of the format that the target runs best of the release; `profiles` are
    folders with target profiles of one's own.

    Raises:
        TargetError: no profile of a target that devices were enrolled with.
        BundleError: a release's file in the repository is damaged.
    """
    store = open_store(folder.database)
    try:
        releases = {release.bundle_id: release for release in store.releases()}
        merged, devices, left_out = _merged(store)
    finally:
        store.close()
    rows = []
    for bundle_id, target in sorted(devices):
        release = releases.get(bundle_id)
        engine = _engine(folder, release, target, profiles) if release else ""
        name = release.name if release else ""
        seen_on, told = devices[bundle_id, target], merged[bundle_id, target]
        rows.append(_row(bundle_id, name, target, engine, seen_on, told))
    return LatencyDocument(edges_ms=EDGES_MS, latencies=tuple(rows), left_out=left_out)


def _row(
    bundle_id: str, name: str, target: str, engine: str, devices: set[str], told: _Told
) -> LatencyRow:
    sketch = told.sketch()
    edges_ms = EDGES_MS if sketch is None else FINE_EDGES_MS
    counts = tuple(told.counts) if sketch is None else sketch.histogram(_FINE_EDGES_US)
    return LatencyRow(
        bundle_id=bundle_id,
        name=name,
        target=target,
        engine=engine,
        devices=len(devices),
        samples=sum(counts),
        counts=counts,
        median_ms=quantile_ms(edges_ms, counts, 0.5),
        p95_ms=quantile_ms(edges_ms, counts, 0.95),
        edges_ms=() if sketch is None else edges_ms,
        rank_error=0.0 if sketch is None else sketch.rank_error,
    )


class _Told:
    """What the reports of one key say: counts that add up, and sketches while all have one."""

    def __init__(self) -> None:
        self.counts = [0] * (len(EDGES_MS) + 1)
        self._sketches: list[KllSketch] | None = []
        # Reading twice must give the same document.
        self._rng = np.random.default_rng(0)

    def add(self, latency: Latency) -> None:
        """One report, whose counts are in `EDGES_MS`.

        Raises:
            ProtocolError: its sketch cannot be read or tells of other samples than its counts;
                nothing of it is added.
        """
        sketch = decode_sketch(latency.latency_sketch) if latency.latency_sketch else None
        if sketch is not None and sketch.n != sum(latency.latency_us):
            raise ProtocolError("a report's latencies are counted and sketched differently")
        self.counts = [a + b for a, b in zip(self.counts, latency.latency_us, strict=True)]
        if sketch is None or self._sketches is None:
            self._sketches = None
            return
        self._sketches.append(sketch)
        if len(self._sketches) >= _AT_ONCE:
            self._sketches = [merge_sketches(self._sketches, self._rng)]

    def sketch(self) -> KllSketch | None:
        """Of all reports; None where one has none: old devices send counts only."""
        return merge_sketches(self._sketches, self._rng) if self._sketches else None


def _engine(folder: FleetFolder, release: Release, target_id: str, profiles: Sequence[Path]) -> str:
    bundle = open_bundle(folder.repository / "targets" / release.target_path)
    return engine_of(load_target(target_id, profiles), bundle.artifact(target_id).format)


def _merged(store: Store) -> tuple[Mapping[Key, _Told], Mapping[Key, set[str]], int]:
    """What was told, and devices, by (bundle, target); and how many reports had no place there."""
    targets = {name: enrolment.target for name, enrolment in store.enrolments().items()}
    told: dict[Key, _Told] = defaultdict(_Told)
    devices: dict[Key, set[str]] = defaultdict(set)
    left_out = 0
    for device, bundle_id, latency in store.report_latencies():
        if device not in targets or histogram_problem(EDGES_MS, latency.latency_us):
            left_out += 1
        elif any(latency.latency_us):
            key = (bundle_id, targets[device])
            try:
                told[key].add(latency)
            except ProtocolError:
                left_out += 1
                continue
            devices[key].add(device)
    return told, devices, left_out
