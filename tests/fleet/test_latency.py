"""Latencies in the field: counts of reports add up by bundle and target, and none is invented."""

from __future__ import annotations

import msgspec
import pytest

from edgekiln.fleet.folder import FleetFolder
from edgekiln.fleet.inbound import Inbound
from edgekiln.fleet.latency import EDGES_MS, fleet_latency
from edgekiln.fleet.registry import register_release
from edgekiln.fleet.store import Enrolment, open_store
from edgekiln.runtime.protocol import FeatureWindow, Report
from edgekiln.runtime.telemetry import LATENCY_EDGES_US, LatencyHistogram
from edgekiln.targets import UnknownTargetError
from edgekiln.targets.field_file import LatencyDocument

WINDOW = FeatureWindow(name="x", bins=(1,) * 16, evidence=0.0, alarm=False)


def report(bundle_id: str, seq: int, latency_us: tuple[int, ...]) -> Report:
    return Report(
        boot_id="boot",
        seq=seq,
        bundle_id=bundle_id,
        start_s=0.0,
        end_s=2.0,
        samples=sum(latency_us),
        violations=0,
        latency_us=latency_us,
        confidence=WINDOW,
        classes=(1, 1),
        class_drift=WINDOW,
        features=(WINDOW,),
    )


def took(latency_us: float, samples: int) -> tuple[int, ...]:
    histogram = LatencyHistogram()
    histogram.add(latency_us, samples)
    return histogram.counts


def said(folder: FleetFolder, targets: dict[str, str], reports: list[tuple[str, Report]]) -> None:
    store = open_store(folder.database)
    for device, target in targets.items():
        store.put_enrolment(
            Enrolment(device=device, target=target, cohorts=("all",), enrolled_s=0.0)
        )
    store.apply([Inbound(device, message) for device, message in reports], now_s=10.0)
    store.close()


def test_counts_of_devices_and_windows_add_up_by_bundle_and_target(
    copied_fleet: FleetFolder, make_bundle
) -> None:
    made = register_release(copied_fleet, make_bundle(targets=("host", "raspberry-pi-4")))
    first = made.bundle_id
    reports = [
        ("a", report(first, 1, took(120.0, 30))),
        ("a", report(first, 2, took(120.0, 10))),
        ("b", report(first, 1, took(400.0, 60))),
        ("pi", report(first, 1, took(9_000.0, 5))),
        ("pi", report("f" * 64, 2, took(2e6, 7))),
    ]
    said(copied_fleet, {"a": "host", "b": "host", "pi": "raspberry-pi-4"}, reports)
    found = fleet_latency(copied_fleet)
    assert found.edges_ms == pytest.approx(tuple(edge / 1e3 for edge in LATENCY_EDGES_US))
    assert found.left_out == 0
    rows = {(row.bundle_id, row.target): row for row in found.latencies}
    host, pi = rows[first, "host"], rows[first, "raspberry-pi-4"]
    unknown = rows["f" * 64, "raspberry-pi-4"]
    assert host.counts == tuple(a + b for a, b in zip(took(120, 40), took(400, 60), strict=True))
    assert (host.devices, host.samples, host.engine, host.tier) == (2, 100, "litert", "T4")
    assert host.name == "model"
    assert host.median_ms == pytest.approx(0.36, rel=0.2)
    assert (pi.devices, pi.samples) == (1, 5)
    assert (unknown.engine, unknown.name) == ("", "")
    assert unknown.median_ms is None


def test_reports_are_left_out_and_counted_when_they_have_no_place(
    copied_fleet: FleetFolder,
) -> None:
    reports = [
        ("a", report("b" * 64, 1, took(120.0, 3))),
        ("a", report("b" * 64, 2, (1, 2, 3))),
        ("a", report("b" * 64, 3, (-1,) * (len(EDGES_MS) + 1))),
        ("stranger", report("b" * 64, 1, took(120.0, 3))),
    ]
    said(copied_fleet, {"a": "host"}, reports)
    found = fleet_latency(copied_fleet)
    assert found.left_out == 3
    assert [row.samples for row in found.latencies] == [3]


def test_document_is_read_back_as_it_was_written(copied_fleet: FleetFolder) -> None:
    said(copied_fleet, {"a": "host"}, [("a", report("b" * 64, 1, took(120.0, 3)))])
    found = fleet_latency(copied_fleet)
    assert msgspec.json.decode(msgspec.json.encode(found), type=LatencyDocument) == found


def test_fleet_without_reports_has_no_row(copied_fleet: FleetFolder) -> None:
    assert fleet_latency(copied_fleet).latencies == ()


def test_target_without_a_profile_is_an_error_that_names_it(
    copied_fleet: FleetFolder, make_bundle
) -> None:
    made = register_release(copied_fleet, make_bundle(targets=("my-own",)))
    said(copied_fleet, {"a": "my-own"}, [("a", report(made.bundle_id, 1, took(120.0, 3)))])
    with pytest.raises(UnknownTargetError, match="my-own"):
        fleet_latency(copied_fleet)
