"""A watched model: every answer and every refusal is in exactly one report."""

from __future__ import annotations

import itertools
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from edgekiln.runtime.agent_ports import Clock
from edgekiln.runtime.capture import Candidate, CaptureTable, CaptureTap
from edgekiln.runtime.contract import Contract, FloatArray, TensorSpec
from edgekiln.runtime.drift import DriftDetector
from edgekiln.runtime.errors import ContractError, DriftStateError, EngineError
from edgekiln.runtime.monitor import Monitor
from edgekiln.runtime.prediction import Head, Prediction
from edgekiln.runtime.protocol import BrokenRules, CaptureReason, Report
from edgekiln.runtime.reference import build_reference
from edgekiln.runtime.report_folder import ReportFolder
from edgekiln.runtime.ring import RING_BYTES, RING_SAMPLES, Ring
from edgekiln.runtime.session import LiveSession
from edgekiln.runtime.watch import Watch

CONTRACT = Contract(TensorSpec("x", (3,), minimum=-50, maximum=50), ("a", "b"))
RNG = np.random.default_rng(0)
RAW = RNG.normal(size=(600, 3)).astype(np.float32)


class Signs:
    """Answers by the sign of the first number; fails where it is over 40."""

    def __init__(self, bundle_id: str = "b1") -> None:
        self.bundle_id = bundle_id
        self.contract = CONTRACT
        logits = self._logits(RAW)
        answers = Prediction.of_logits(logits, self._head, 0.0)
        self.reference = build_reference(CONTRACT, RAW, answers.confidences, answers.indices)

    @property
    def _head(self) -> Head:
        return Head(self.bundle_id, CONTRACT.classes, 1.0, 0)

    @staticmethod
    def _logits(samples: FloatArray) -> FloatArray:
        return np.stack((samples[:, 0], -samples[:, 0]), axis=1)

    def predict(self, raw: np.ndarray) -> Prediction:
        samples = CONTRACT.check(raw if raw.ndim == 2 else raw[None])
        if (samples[:, 0] > 40).any():
            raise EngineError("burnt")
        logits = self._logits(samples)
        return Prediction.of_logits(logits if raw.ndim == 2 else logits[0], self._head, 30.0)


def captured(reasons: tuple[str, ...]) -> tuple[Watch, list[Candidate]]:
    """A watch with a tap that takes as much as it may."""
    table = CaptureTable(
        reasons=tuple(map(CaptureReason, reasons)), redact="none", max_per_day=10**9
    )
    candidates: list[Candidate] = []
    clock = itertools.count()
    tap = CaptureTap(table, candidates.append, lambda: float(next(clock)), np.random.default_rng(0))
    session = LiveSession(Signs())  # type: ignore[arg-type]
    watch = Watch(session, lambda report, state: None, rng=np.random.default_rng(1), tap=tap)
    return watch, candidates


def test_refused_samples_are_captured_as_they_came_with_the_rule() -> None:
    watch, candidates = captured(("violation",))
    for raw in (np.array([99.0, 0, 0]), np.array([1, 2]), np.array([np.nan, 0, 0])):
        with pytest.raises(ContractError):
            watch.predict(raw)
    with pytest.raises(EngineError):
        watch.predict(np.array([45.0, 0, 0]))
    watch.predict(RAW[0])
    watch.close()
    assert [one.detail for one in candidates] == ["range", "shape", "finite"]
    assert candidates[0].sample.tolist() == [99.0, 0.0, 0.0]
    assert {one.bundle_id for one in candidates} == {"b1"}


def test_samples_are_captured_while_a_feature_drifts_and_not_before() -> None:
    watch, candidates = captured(("drifted",))
    for sample in RAW[:400]:
        watch.predict(sample)
    watch.close()
    assert not candidates
    moved = RAW[:400] + np.array([0, 3, 0], np.float32)
    for sample in moved:
        watch.predict(sample)
    watch.close()
    assert candidates
    assert all("x[1]" in one.detail for one in candidates)
    assert all((moved == one.sample).all(axis=1).any() for one in candidates)
    assert {one.label for one in candidates} <= {"a", "b"}


class Posted:
    """A watch whose clock the test moves, and what it posts."""

    def __init__(self, window_s: float = 10.0, drift: bytes = b"") -> None:
        self.now_s = 100.0
        self.reports: list[Report] = []
        self.state = b""
        self.session = LiveSession(Signs())  # type: ignore[arg-type]
        clock = Clock(lambda: self.now_s, lambda: self.now_s)
        self.watch = Watch(
            self.session, self.take, window_s, clock, np.random.default_rng(1), drift
        )

    def take(self, report: Report, state: bytes) -> None:
        self.reports.append(report)
        self.state = state


def test_every_answer_is_in_one_report_when_windows_end_by_the_clock() -> None:
    posted = Posted()
    for place in range(1000):
        posted.watch.predict(RAW[place % 600])
        posted.now_s += 0.07
    posted.watch.close()
    assert sum(report.samples for report in posted.reports) == 1000
    assert [report.start_s for report in posted.reports[1:]] == [
        report.end_s for report in posted.reports[:-1]
    ]
    assert sum(sum(report.classes) for report in posted.reports) == 1000
    assert all(sum(report.confidence.bins) == report.samples for report in posted.reports)


def test_a_slow_stream_is_counted_whole_when_the_ring_never_fills() -> None:
    posted = Posted()
    for sample in RAW[:3]:
        posted.watch.predict(sample)
        posted.now_s += 4.0
    assert posted.reports == []
    posted.watch.tick()
    assert [report.samples for report in posted.reports] == [3]
    posted.now_s += 9.9
    posted.watch.tick()
    assert len(posted.reports) == 1


def test_a_report_is_the_same_when_samples_come_alone_or_in_batches() -> None:
    alone, batches = Posted(), Posted()
    for sample in RAW:
        alone.watch.predict(sample)
    for start in range(0, 600, 200):
        batches.watch.predict(RAW[start : start + 200])
    alone.watch.close()
    batches.watch.close()
    (one,), (other,) = alone.reports, batches.reports
    assert one.samples == other.samples == 600
    for name in ("classes", "confidence", "features", "class_drift", "latency_us"):
        first, second = getattr(one, name), getattr(other, name)
        # Sketches choose what they keep at random.
        assert _without_sketches(first) == _without_sketches(second)
    assert alone.state == batches.state


def _without_sketches(found: object) -> object:
    if isinstance(found, tuple):
        return tuple(map(_without_sketches, found))
    if isinstance(found, msgspec.Struct):
        return msgspec.structs.replace(found, sketch=b"")
    return found


def test_refusals_and_failures_are_raised_and_counted_by_their_rule() -> None:
    posted = Posted()
    hostile = {
        "finite": np.array([np.nan, 0, 0], np.float32),
        "range": np.array([99, 0, 0], np.float32),
        "shape": np.zeros(4, np.float32),
        "dtype": np.array(["a", "b", "c"]),
    }
    for sample in hostile.values():
        with pytest.raises(ContractError):
            posted.watch.predict(sample)
    with pytest.raises(EngineError, match="burnt"):
        posted.watch.predict(np.array([45, 0, 0], np.float32))
    posted.watch.close()
    (report,) = posted.reports
    assert (report.samples, report.violations, report.engine_errors) == (0, 4, 1)
    assert report.broken_rules == BrokenRules(finite=1, range=1, shape=1, dtype=1)


def test_what_is_no_array_is_refused_and_counted_when_samples_are_captured() -> None:
    contract_error = ContractError("input 'x' is no array", "shape")

    class Ragged(Signs):
        def predict(self, raw: object) -> Prediction:
            raise contract_error

    taken: list[tuple[object, ...]] = []
    tap = SimpleNamespace(refused=lambda *what: taken.append(what))
    reports: list[Report] = []
    watch = Watch(
        LiveSession(Ragged()),  # type: ignore[arg-type]
        lambda report, state: reports.append(report),
        tap=tap,  # type: ignore[arg-type]
    )
    for raw in ([[1.0], [2.0, 3.0]], [1.0, 2.0]):
        with pytest.raises(ContractError):
            watch.predict(raw)
    watch.close()
    assert reports[0].broken_rules == BrokenRules(shape=2)
    assert [what[1:] for what in taken] == [("shape", "b1")]


def test_nothing_is_lost_or_counted_twice_when_threads_answer_while_windows_end() -> None:
    posted = Posted(window_s=1.0)
    start = threading.Barrier(6)

    def call(thread: int) -> None:
        start.wait()
        for turn in range(400):
            posted.watch.predict(RAW[(thread * 100 + turn) % 600])
            posted.now_s += 0.01
            if turn % 50 == 0:
                posted.watch.tick()
            if turn == 200 and thread == 0:
                posted.session.use(Signs("b2"))  # type: ignore[arg-type]

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(call, range(6)))
    posted.watch.close()
    total = sum(report.samples for report in posted.reports)
    # An answer of the model that has just been replaced belongs to no open window.
    assert 2400 - 6 <= total <= 2400
    assert {report.bundle_id for report in posted.reports} == {"b1", "b2"}
    assert all(sum(report.classes) == report.samples for report in posted.reports)


def test_a_sample_may_be_overwritten_when_it_was_answered() -> None:
    """A driver hands over one buffer again and again."""
    reused, fresh = Posted(), Posted()
    buffer = np.zeros(3, np.float32)
    for sample in RAW[:300]:
        buffer[:] = sample
        reused.watch.predict(buffer)
        buffer[:] = 49.0
        fresh.watch.predict(sample)
    reused.watch.close()
    fresh.watch.close()
    assert reused.reports == fresh.reports


def test_drift_state_is_taken_up_and_a_foreign_one_is_ignored() -> None:
    moved = Posted()
    for sample in RAW:
        moved.watch.predict(sample + np.float32(3))
    moved.watch.close()
    after = Posted(drift=moved.state)
    for drift in (moved.state, b"rubbish"):
        after = Posted(drift=drift)
        after.watch.predict(RAW[0])
        after.watch.close()
        evidence = max(feature.evidence for feature in after.reports[0].features)
        assert (evidence > 100) is (drift == moved.state)


def test_what_a_post_raises_reaches_its_caller_and_the_next_window_goes_on() -> None:
    posted = Posted()

    def refuse(report: Report, state: bytes) -> None:
        posted.take(report, state)
        raise RuntimeError("no")

    watch = Watch(posted.session, refuse, 10.0, Clock(lambda: posted.now_s, lambda: posted.now_s))
    watch.predict(RAW[0])
    posted.now_s += 11
    with pytest.raises(RuntimeError, match="no"):
        watch.predict(RAW[1])
    assert watch.predict(RAW[2]).label in ("a", "b")
    assert posted.reports[0].samples == 2


@pytest.mark.parametrize(
    ("shape", "capacity"),
    [((3,), RING_SAMPLES), ((96, 96, 3), RING_BYTES // (96 * 96 * 3 * 4)), ((1000, 1000), 1)],
)
def test_ring_keeps_its_bounds_whatever_the_samples(shape: tuple[int, ...], capacity: int) -> None:
    ring = Ring(shape)
    assert ring.capacity == capacity
    answer = Prediction.of_logits(np.zeros(2, np.float32), Head("b", ("a", "b"), 1.0, 0), 1.0)
    sample = np.zeros(shape, np.float32)
    assert [ring.put(sample, answer) for _ in range(capacity)] == [False] * (capacity - 1) + [True]
    taken = ring.take()
    assert taken.samples.shape == (capacity, *shape)
    assert len(taken.indices) == len(taken.confidences) == len(taken.latencies_us) == capacity
    assert len(ring) == 0


def test_monitor_counts_large_samples_one_by_one_when_the_ring_holds_one() -> None:
    contract = Contract(TensorSpec("x", (600, 500), minimum=0), ("a", "b"))
    rng = np.random.default_rng(0)
    raw = rng.uniform(size=(8, 600, 500)).astype(np.float32)
    reference = build_reference(contract, raw, np.full(8, 0.9, np.float32), np.arange(8) % 2)
    model = SimpleNamespace(bundle_id="b", contract=contract, reference=reference)
    monitor = Monitor(model, rng, 0.0)  # type: ignore[arg-type]
    head = Head("b", ("a", "b"), 1.0, 0)
    for sample in raw:
        monitor.observe(sample, Prediction.of_logits(np.ones(2, np.float32), head, 1.0))
    assert monitor.close(1.0).samples == 8


def test_folder_keeps_the_newest_reports_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    folder = ReportFolder(tmp_path / "telemetry", kept=3)
    assert folder.drift == b""
    posted = Posted()
    with Watch(
        posted.session,
        folder.post,
        10.0,
        Clock(lambda: posted.now_s, lambda: posted.now_s),
    ) as watch:
        for sample in RAW[:60]:
            watch.predict(sample)
            posted.now_s += 1.0
    files = sorted((tmp_path / "telemetry").glob("report-*.json"))
    assert len(files) == 3
    last = json.loads(files[-1].read_text())
    assert (last["bundle_id"], last["end_s"]) == ("b1", 160.0)
    assert ReportFolder(tmp_path / "telemetry").drift == folder.drift != b""


def test_folder_counts_what_it_could_not_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, posted = ReportFolder(tmp_path), Posted()
    posted.watch.predict(RAW[0])
    posted.watch.close()
    (report,) = posted.reports

    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr("edgekiln.runtime.report_folder.write_atomic", full)
        folder.post(report, b"")
        folder.post(report, b"")
    assert list(tmp_path.iterdir()) == []
    folder.post(report, b"")
    (file,) = tmp_path.glob("report-*.json")
    assert json.loads(file.read_text())["dropped"] == 2


def test_tolerance_is_the_detectors_when_the_owner_sets_one() -> None:
    states: list[bytes] = []
    live = LiveSession(Signs())  # type: ignore[arg-type]
    clock = Clock(lambda: 0.0, lambda: 0.0)
    with Watch(live, lambda _, state: states.append(state), clock=clock, drift_tolerance=0.1) as w:
        w.predict(RAW[0])
    DriftDetector(Signs().reference, tolerance=0.1).restore(states[0])
    with pytest.raises(DriftStateError, match="tolerance"):
        DriftDetector(Signs().reference).restore(states[0])


def test_report_folder_keeps_what_comes_when_the_clock_was_set_back(tmp_path: Path) -> None:
    posted = Posted()
    posted.watch.predict(RAW[0])
    posted.watch.close()
    (report,) = posted.reports
    folder = ReportFolder(tmp_path, kept=3)
    for end_s in (4e9, 4e9 + 1, 4e9 + 2, 1e9, 1e9 + 1):
        folder.post(msgspec.structs.replace(report, end_s=end_s), b"")
    ends_s = [json.loads(path.read_text())["end_s"] for path in tmp_path.glob("report-*.json")]
    assert sorted(ends_s) == [1e9, 1e9 + 1, 4e9 + 2]
