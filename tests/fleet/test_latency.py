"""Latencies in the field: counts of reports add up by bundle and target, and none is invented."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from edgekiln.fleet.folder import FleetFolder
from edgekiln.fleet.inbound import Inbound
from edgekiln.fleet.latency import EDGES_MS, FINE_EDGES_MS, fleet_latency
from edgekiln.fleet.registry import register_release
from edgekiln.fleet.store import Enrolment, open_store
from edgekiln.runtime.kll import sketch_of
from edgekiln.runtime.kll_bytes import encode_sketch
from edgekiln.runtime.protocol import FeatureWindow, Report
from edgekiln.runtime.telemetry import LATENCY_EDGES_US, LatencyHistogram
from edgekiln.targets import UnknownTargetError, Workload
from edgekiln.targets.field import FieldLatency, median
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


def sketched(bundle_id: str, seq: int, times_us: np.ndarray) -> Report:
    histogram = LatencyHistogram()
    for time_us in times_us:
        histogram.add(float(time_us))
    sketch = encode_sketch(sketch_of(times_us, 200, np.random.default_rng(seq)))
    return msgspec.structs.replace(report(bundle_id, seq, histogram.counts), latency_sketch=sketch)


def test_sketches_tell_median_and_p95_closer_than_bins_of_a_quarter_decade(
    copied_fleet: FleetFolder,
) -> None:
    rng = np.random.default_rng(3)
    times = [rng.lognormal(5.0, 0.05, 600) for _ in range(150)]
    reports = [("ab"[at % 2], sketched("b" * 64, at, part)) for at, part in enumerate(times)]
    said(copied_fleet, {"a": "host", "b": "host"}, reports)
    (row,) = fleet_latency(copied_fleet).latencies
    every = np.concatenate(times) / 1e3
    assert (row.samples, row.devices) == (90_000, 2)
    assert row.edges_ms == FINE_EDGES_MS
    assert 0 < row.rank_error < 0.014
    assert row.median_ms == pytest.approx(float(np.median(every)), rel=0.04)
    assert row.p95_ms == pytest.approx(float(np.percentile(every, 95)), rel=0.04)
    field = FieldLatency(
        "b", "litert", Workload((), "int8"), row.edges_ms, row.counts, 2, row.rank_error
    )
    assert median(field).half_bin < 1.05
    assert fleet_latency(copied_fleet) == fleet_latency(copied_fleet)


def test_counts_are_the_reports_own_when_one_device_is_too_old_for_sketches(
    copied_fleet: FleetFolder,
) -> None:
    new = sketched("b" * 64, 1, np.full(40, 120.0))
    said(copied_fleet, {"a": "host"}, [("a", new), ("a", report("b" * 64, 2, took(120.0, 10)))])
    (row,) = fleet_latency(copied_fleet).latencies
    assert (row.edges_ms, row.rank_error, row.counts) == ((), 0.0, took(120.0, 50))


def test_sketch_that_cannot_be_read_is_left_out_and_counted(copied_fleet: FleetFolder) -> None:
    good = sketched("b" * 64, 1, np.full(40, 120.0))
    bad = msgspec.structs.replace(good, seq=2, latency_sketch=b"\x05\x01\x0f")
    lie = msgspec.structs.replace(good, seq=3, latency_us=took(120.0, 39))
    said(copied_fleet, {"a": "host"}, [("a", good), ("a", bad), ("a", lie)])
    found = fleet_latency(copied_fleet)
    assert (found.left_out, [row.samples for row in found.latencies]) == (2, [40])


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
