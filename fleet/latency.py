"""Latencies of a fleet's bundles by target, from the reports that are kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgekiln.runtime.bundle import open_bundle
from edgekiln.runtime.telemetry import LATENCY_EDGES_US
from edgekiln.targets import engine_of, load_target
from edgekiln.targets.field import histogram_problem, quantile_ms
from edgekiln.targets.field_file import LatencyDocument, LatencyRow

from .folder import FleetFolder
from .model import Release
from .store import Store, open_store

Key = tuple[str, str]  # bundle, target

EDGES_MS = tuple(edge / 1e3 for edge in LATENCY_EDGES_US)


def fleet_latency(folder: FleetFolder, profiles: Sequence[Path] = ()) -> LatencyDocument:
    """Counts of all kept reports, merged by bundle and the target of the device.

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
    for (bundle_id, target), counts in sorted(merged.items()):
        release = releases.get(bundle_id)
        engine = _engine(folder, release, target, profiles) if release else ""
        name = release.name if release else ""
        rows.append(_row(bundle_id, name, target, engine, devices[bundle_id, target], counts))
    return LatencyDocument(edges_ms=EDGES_MS, latencies=tuple(rows), left_out=left_out)


def _row(
    bundle_id: str, name: str, target: str, engine: str, devices: set[str], counts: list[int]
) -> LatencyRow:
    return LatencyRow(
        bundle_id=bundle_id,
        name=name,
        target=target,
        engine=engine,
        devices=len(devices),
        samples=sum(counts),
        counts=tuple(counts),
        median_ms=quantile_ms(EDGES_MS, counts, 0.5),
        p95_ms=quantile_ms(EDGES_MS, counts, 0.95),
    )


def _engine(folder: FleetFolder, release: Release, target_id: str, profiles: Sequence[Path]) -> str:
    bundle = open_bundle(folder.repository / "targets" / release.target_path)
    return engine_of(load_target(target_id, profiles), bundle.artifact(target_id).format)


def _merged(store: Store) -> tuple[Mapping[Key, list[int]], Mapping[Key, set[str]], int]:
    """Counts and devices by (bundle, target), and how many reports had no place there."""
    targets = {name: enrolment.target for name, enrolment in store.enrolments().items()}
    counts: dict[Key, list[int]] = defaultdict(lambda: [0] * (len(EDGES_MS) + 1))
    devices: dict[Key, set[str]] = defaultdict(set)
    left_out = 0
    for device, bundle_id, latency in store.report_latencies():
        if device not in targets or histogram_problem(EDGES_MS, latency):
            left_out += 1
        elif any(latency):
            key = (bundle_id, targets[device])
            counts[key] = [a + b for a, b in zip(counts[key], latency, strict=True)]
            devices[key].add(device)
    return counts, devices, left_out
