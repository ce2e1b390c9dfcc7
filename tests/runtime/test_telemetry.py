"""Telemetry: counts that merge by addition, and alarms that reach the report."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.runtime.contract import Contract, TensorSpec
from edgekiln.runtime.errors import MemberError, ProtocolError
from edgekiln.runtime.monitor import Monitor
from edgekiln.runtime.prediction import Prediction
from edgekiln.runtime.protocol import FeatureWindow, Report, decode, encode
from edgekiln.runtime.reference import build_reference
from edgekiln.runtime.telemetry import (
    LATENCY_EDGES_US,
    LatencyHistogram,
    merge,
    p95_from_histogram,
)

CONTRACT = Contract(TensorSpec("x", (3,)), ("a", "b"))


def _model(contract: Contract = CONTRACT) -> SimpleNamespace:
    rng = np.random.default_rng(0)
    raw = rng.normal(size=(600, 3)).astype(np.float32)
    reference = build_reference(CONTRACT, raw, _confidences(rng, 600), rng.integers(0, 2, 600))
    return SimpleNamespace(bundle_id="b1", contract=contract, reference=reference)


def _confidences(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.uniform(0.5, 1, count).astype(np.float32)


def _answer(rng: np.random.Generator, count: int, latency_us: float = 40.0) -> Prediction:
    indices = rng.integers(0, 2, count)
    empty = np.zeros((count, 2), np.float32)
    labels = tuple("ab"[index] for index in indices)
    return Prediction(indices, labels, _confidences(rng, count), empty, "b1", latency_us)


def _monitor() -> Monitor:
    return Monitor(_model(), np.random.default_rng(1), start_s=100.0)  # type: ignore[arg-type]


def test_close_reports_what_was_observed_and_starts_again() -> None:
    rng, monitor = np.random.default_rng(2), _monitor()
    monitor.observe(rng.normal(size=3), _answer(rng, 1, latency_us=2.0))
    monitor.observe(rng.normal(size=(9, 3)), _answer(rng, 9))
    monitor.violation()
    report = monitor.close(110.0)
    assert (report.bundle_id, report.start_s, report.end_s) == ("b1", 100.0, 110.0)
    assert (report.samples, report.violations, sum(report.classes)) == (10, 1, 10)
    assert sum(report.latency_us) == 10
    assert len(report.latency_us) == len(LATENCY_EDGES_US) + 1
    assert [window.name for window in report.features] == ["x[0]", "x[1]", "x[2]", "mean", "std"]
    assert all(sum(window.bins) == 10 for window in (*report.features, report.confidence))
    assert (report.confidence.name, report.class_drift.name) == ("confidence", "classes")
    assert report.class_drift.bins == report.classes
    assert decode(encode(report), Report) == report
    empty = monitor.close(120.0)
    assert (empty.start_s, empty.samples, empty.violations) == (110.0, 0, 0)


def test_close_names_the_feature_that_moved_and_its_evidence_grows() -> None:
    rng, monitor = np.random.default_rng(3), _monitor()
    for _ in range(300):
        monitor.observe(rng.normal(size=3), _answer(rng, 1))
    calm = monitor.close(1.0)
    assert not any(window.alarm for window in (*calm.features, calm.confidence, calm.class_drift))
    for _ in range(400):
        monitor.observe(rng.normal(size=3) + np.array([0, 2.0, 0]), _answer(rng, 1))
    moved = monitor.close(2.0)
    alarms = [window.name for window in moved.features if window.alarm]
    assert "x[1]" in alarms
    assert {"x[0]", "x[2]"}.isdisjoint(alarms)
    assert moved.features[1].evidence > calm.features[1].evidence


def test_alarm_stays_in_the_report_when_it_ended_inside_the_window() -> None:
    rng, monitor = np.random.default_rng(4), _monitor()
    for _ in range(300):
        monitor.observe(rng.normal(size=3) + np.array([0, 3.0, 0]), _answer(rng, 1))
    for _ in range(600):
        monitor.observe(rng.normal(size=3), _answer(rng, 1))
    report = monitor.close(1.0)
    assert not monitor.drift.binned.alarms.any()
    assert report.features[1].alarm
    assert not any(window.alarm for window in monitor.close(2.0).features)


@pytest.mark.slow
def test_monitor_tells_a_looped_pool_of_real_images_from_darker_ones() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    rng = np.random.default_rng(7)
    images = rng.permutation(datasets.load_digits().images).astype(np.float32)[..., None]
    contract = Contract(TensorSpec("image", (8, 8, 1)), ("a", "b"))
    train, pool = images[:1000], images[1000:1300]
    reference = build_reference(contract, train, _confidences(rng, 1000), rng.integers(0, 2, 1000))
    model = SimpleNamespace(bundle_id="b1", contract=contract, reference=reference)
    monitor = Monitor(model, rng, 0.0)  # type: ignore[arg-type]
    for _ in range(30):
        order = rng.permutation(300)
        monitor.observe(pool[order], _answer(rng, 300))
    calm = monitor.close(1.0)
    assert not any(window.alarm for window in (*calm.features, calm.confidence, calm.class_drift))
    monitor.observe(pool[:100] * 0.6, _answer(rng, 100))
    dark = monitor.close(2.0)
    assert dark.features[-2].name == "mean"
    assert any(window.alarm for window in dark.features)
    assert not dark.confidence.alarm


def test_report_does_not_grow_with_the_number_of_samples() -> None:
    rng, monitor = np.random.default_rng(5), _monitor()
    monitor.observe(rng.normal(size=(10, 3)), _answer(rng, 10))
    small = len(encode(monitor.close(1.0)))
    monitor.observe(rng.normal(size=(5000, 3)), _answer(rng, 5000))
    # Counts have more digits; nothing else may change.
    assert len(encode(monitor.close(2.0))) < 3 * small


def test_monitor_refuses_when_the_reference_is_of_another_contract() -> None:
    for other in (
        Contract(TensorSpec("y", (3,)), ("a", "b")),
        Contract(TensorSpec("x", (3,)), ("a", "b", "c")),
    ):
        with pytest.raises(MemberError, match=r"reference\.bin"):
            Monitor(_model(other), np.random.default_rng(0), 0.0)  # type: ignore[arg-type]


@given(st.lists(st.floats(0.5, 2e6), min_size=1, max_size=200))
def test_p95_lies_in_the_bin_of_the_exact_percentile(latencies: list[float]) -> None:
    histogram = LatencyHistogram()
    for latency in latencies:
        histogram.add(latency)
    exact = float(np.percentile(latencies, 95, method="inverted_cdf"))
    edges = np.array(LATENCY_EDGES_US)
    place = int(np.searchsorted(edges, exact, side="right"))
    low = edges[max(place - 1, 0)]
    high = edges[min(place, len(edges) - 1)]
    assert low * (1 - 1e-9) <= p95_from_histogram(histogram.counts) <= high * (1 + 1e-9)


def test_p95_is_zero_without_samples_and_the_last_edge_when_open() -> None:
    assert p95_from_histogram([0] * (len(LATENCY_EDGES_US) + 1)) == 0.0
    assert p95_from_histogram([0] * len(LATENCY_EDGES_US) + [5]) == 1e6
    assert (LATENCY_EDGES_US[0], LATENCY_EDGES_US[-1]) == (1.0, 1e6)


counts = st.integers(0, 10**6)


def _windows(name: str, bins: int) -> st.SearchStrategy[FeatureWindow]:
    return st.builds(
        FeatureWindow,
        name=st.just(name),
        bins=st.tuples(*[counts] * bins),
        evidence=st.floats(0, 1e9),
        alarm=st.booleans(),
    )


reports = st.builds(
    Report,
    boot_id=st.sampled_from("pq"),
    seq=counts,
    bundle_id=st.just("b1"),
    start_s=st.floats(0, 1e9),
    end_s=st.floats(0, 1e9),
    samples=counts,
    violations=counts,
    latency_us=st.tuples(*[counts] * 4),
    confidence=_windows("confidence", 4),
    classes=st.tuples(counts, counts),
    class_drift=_windows("classes", 2),
    features=st.tuples(_windows("x", 4), _windows("y", 4)),
    rss_bytes=counts,
    dropped=counts,
)


@given(reports, reports, reports)
def test_merge_is_addition_in_any_order_and_grouping(a: Report, b: Report, c: Report) -> None:
    assert merge(a, b) == merge(b, a)
    assert merge(merge(a, b), c) == merge(a, merge(b, c))
    both = merge(a, b)
    assert both.samples == a.samples + b.samples
    assert both.features[1].bins == tuple(np.add(a.features[1].bins, b.features[1].bins))
    assert both.latency_us == tuple(np.add(a.latency_us, b.latency_us))


def test_merge_of_two_windows_is_the_window_of_both() -> None:
    rng = np.random.default_rng(6)
    samples = [(rng.normal(size=3), _answer(rng, 1)) for _ in range(40)]
    whole, split = _monitor(), _monitor()
    for raw, answer in samples:
        whole.observe(raw, answer)
    for raw, answer in samples[:15]:
        split.observe(raw, answer)
    first = split.close(105.0)
    for raw, answer in samples[15:]:
        split.observe(raw, answer)
    merged, together = merge(first, split.close(110.0)), whole.close(110.0)
    assert merged.latency_us == together.latency_us
    assert [window.bins for window in merged.features] == [w.bins for w in together.features]


def test_merge_refuses_when_reports_do_not_belong_together() -> None:
    report = _monitor().close(1.0)
    renamed = msgspec.structs.replace(report.features[0], name="z")
    changed = (
        {"bundle_id": "b2"},
        {"features": report.features[1:]},
        {"features": (renamed, *report.features[1:])},
        {"latency_us": (1, 2)},
    )
    for change in changed:
        with pytest.raises(ProtocolError, match="cannot be merged"):
            merge(report, msgspec.structs.replace(report, **change))
