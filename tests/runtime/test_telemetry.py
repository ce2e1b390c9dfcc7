"""Telemetry: counts that merge by addition, and alarms that reach the report."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.runtime.contract import Contract, TensorSpec
from edgekiln.runtime.errors import MemberError
from edgekiln.runtime.kll_bytes import decode_sketch
from edgekiln.runtime.monitor import Monitor
from edgekiln.runtime.prediction import Prediction
from edgekiln.runtime.protocol import BrokenRules, Report, decode, encode
from edgekiln.runtime.reference import build_reference
from edgekiln.runtime.telemetry import (
    LATENCY_EDGES_US,
    LatencyHistogram,
    Verdict,
    Window,
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
    monitor.observe(rng.normal(size=(500, 3)), _answer(rng, 500))
    small = len(encode(monitor.close(1.0)))
    monitor.observe(rng.normal(size=(5000, 3)), _answer(rng, 5000))
    # Counts have more digits and sketches some levels of eight items; nothing else may change.
    assert len(encode(monitor.close(2.0))) < 1.5 * small


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


def _verdict(evidence: list[float], raised: list[bool]) -> Verdict:
    names = (*(f"x{row}" for row in range(len(evidence) - 1)), "confidence")
    return Verdict(names, np.array(evidence), np.array(raised), 0.0, False)


def _fill(window: Window, rng: np.random.Generator, batches: list[int], rows: int) -> np.ndarray:
    """Latencies of all samples."""
    told = []
    for count in batches:
        latencies = rng.lognormal(3, 1, count).astype(np.float32)
        bins, classes = rng.integers(0, 16, (count, rows)), rng.integers(0, 2, count)
        window.add(bins, classes, latencies, rng.normal(size=(count, rows)).astype(np.float32))
        told.append(latencies)
    return np.concatenate(told)


def test_window_counts_the_same_whatever_the_batches() -> None:
    rng = np.random.default_rng(7)
    bins, classes = rng.integers(0, 16, (300, 4)), rng.integers(0, 3, 300)
    latencies = rng.lognormal(3, 1, 300).astype(np.float32)
    values = rng.normal(size=(300, 4)).astype(np.float32)
    reports = []
    for step in (1, 7, 300):
        window = Window(4, 3, 0.0, np.random.default_rng(8))
        for at in range(0, 300, step):
            part = slice(at, at + step)
            window.add(bins[part], classes[part], latencies[part], values[part])
        reports.append(window.close("b", 9.0, _verdict([0.0] * 4, [False] * 4)))
    assert reports[0] == reports[1] == reports[2]
    assert reports[0].classes == tuple(np.bincount(classes))
    counts = [[int((bins[:, row] == at).sum()) for at in range(16)] for row in range(4)]
    assert [list(w.bins) for w in (*reports[0].features, reports[0].confidence)] == counts
    expected = np.histogram(latencies, bins=(0, *LATENCY_EDGES_US, np.inf))[0]
    assert reports[0].latency_us == tuple(expected)


def test_latency_sketch_tells_percentiles_that_the_histogram_cannot() -> None:
    window = Window(2, 2, 0.0, np.random.default_rng(0))
    latencies = _fill(window, np.random.default_rng(9), [64] * 50, 2)
    sketch = decode_sketch(window.close("b", 1.0, _verdict([0, 0], [False] * 2)).latency_sketch)
    for share, told in zip((0.5, 0.95, 0.99), sketch.quantiles((0.5, 0.95, 0.99)), strict=True):
        assert abs((latencies <= told).mean() - share) <= 0.02


def test_features_in_alarm_get_their_sketches_first_and_what_is_left_out_is_counted() -> None:
    window = Window(6, 2, 0.0, np.random.default_rng(0))
    _fill(window, np.random.default_rng(1), [64], 6)
    verdict = _verdict([5.0, 1.0, 9.0, 2.0, 0.0, 7.0], [False, True, False, False, False, True])
    report = window.close("b", 1.0, verdict, sketch_bytes=700)  # two of 288 bytes
    assert [bool(feature.sketch) for feature in report.features] == [
        False,
        True,
        True,
        False,
        False,
    ]
    assert report.lost.sketches == 3
    assert decode_sketch(report.confidence.sketch).n == decode_sketch(report.latency_sketch).n == 64


def test_empty_window_has_no_sketch_and_has_lost_none() -> None:
    report = Window(3, 2, 0.0, np.random.default_rng(0)).close(
        "b", 1.0, _verdict([0] * 3, [False] * 3)
    )
    assert not any(window.sketch for window in (*report.features, report.confidence))
    assert (report.latency_sketch, report.lost.sketches) == (b"", 0)


def test_violations_are_told_by_rule_and_unknown_rules_as_other() -> None:
    window = Window(2, 2, 0.0, np.random.default_rng(0))
    for rule in ("shape", "range", "range", "phase of the moon"):
        window.violation(rule)
    window.engine_errors += 1
    report = window.close("b", 1.0, _verdict([0, 0], [False, False]))
    assert (report.violations, report.engine_errors) == (4, 1)
    assert report.broken_rules == BrokenRules(shape=1, range=2, other=1)
    assert window.close("b", 2.0, _verdict([0, 0], [False, False])).violations == 0


def test_old_and_new_readers_understand_each_other() -> None:
    class OldReport(msgspec.Struct):
        samples: int
        latency_us: tuple[int, ...]

    window = Window(2, 2, 0.0, np.random.default_rng(0))
    _fill(window, np.random.default_rng(1), [10], 2)
    report = window.close("b", 1.0, _verdict([0, 0], [False, False]))
    assert decode(encode(report), OldReport).samples == 10
    new = ("merged", "engine_errors", "broken_rules", "latency_sketch", "system", "lost")
    told = msgspec.to_builtins(report, builtin_types=(bytes,))
    old = {name: value for name, value in told.items() if name not in new}
    read = decode(msgspec.msgpack.encode(old), Report)
    assert (read.merged, read.latency_sketch, read.lost.samples) == (1, b"", 0)
