"""Payload capture: only what the owner allows, redacted, within its quota and its time."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edgekiln.runtime.capture import (
    MAX_SAMPLE_BYTES,
    Candidate,
    CaptureTable,
    CaptureTap,
    Seen,
    check_capture,
)
from edgekiln.runtime.capture_desk import MAX_WAITING, CaptureDesk, Redact, load_hook
from edgekiln.runtime.errors import DeviceConfigError
from edgekiln.runtime.outbox import Outbox
from edgekiln.runtime.prediction import Head, Prediction
from edgekiln.runtime.protocol import Capture, CaptureReason, decode
from edgekiln.runtime.relief import read_losses
from edgekiln.runtime.reporter import Reporter

EVERY = tuple(CaptureReason)
DAY_S = 86400.0


def table(**changes: Any) -> CaptureTable:
    base: dict[str, Any] = {"reasons": EVERY, "redact": "none", "max_per_day": 1000}
    return CaptureTable(**(base | changes))


def answered(confidences: list[float], drifting: tuple[str, ...] = ()) -> Seen:
    count = len(confidences)
    samples = np.arange(count * 6, dtype=np.float32).reshape(count, 2, 3)
    told = np.array(confidences, np.float32)
    return Seen("b1", ("no", "yes"), samples, np.arange(count) % 2, told, drifting)


def prediction(*labels: str) -> Prediction:
    count = len(labels)
    told = np.full(count, 0.75, np.float32)
    return Prediction(np.zeros(count, np.int64), labels, told, told[:, None], "b2", 1.0)


class Taken:
    """A tap whose candidates are looked at, and its clock."""

    def __init__(self, **changes: Any) -> None:
        self.candidates: list[Candidate] = []
        self.now_s = 1000.0
        rng = np.random.default_rng(0)
        self.tap = CaptureTap(table(**changes), self.candidates.append, lambda: self.now_s, rng)

    @property
    def reasons(self) -> list[str]:
        return [candidate.reason.value for candidate in self.candidates]


def test_least_confident_sample_of_a_batch_is_taken_with_its_answer() -> None:
    taken = Taken(reasons=("low_confidence",))
    batch = answered([0.9, 0.45, 0.3, 0.8])
    taken.tap.answered(batch)
    (candidate,) = taken.candidates
    assert (candidate.label, candidate.bundle_id) == ("no", "b1")
    assert candidate.confidence == pytest.approx(0.3)
    assert np.array_equal(candidate.sample, batch.samples[2])
    batch.samples[2] = 0
    assert candidate.sample.any()  # a copy
    taken.tap.answered(answered([0.6]))
    assert len(taken.candidates) == 1


def test_confidence_that_is_no_number_is_not_told() -> None:
    taken = Taken(reasons=("random",), random_share=1.0)
    taken.tap.answered(answered([float("nan")]))
    assert [candidate.confidence for candidate in taken.candidates] == [None]


def test_drifting_samples_name_what_drifts() -> None:
    taken = Taken(reasons=("drifted",))
    taken.tap.answered(answered([0.9]))
    assert not taken.candidates
    taken.tap.answered(answered([0.9], drifting=("mean", "classes")))
    assert (taken.reasons, taken.candidates[0].detail) == (["drifted"], "mean, classes")


def test_share_at_random_is_as_asked_for_in_any_batches() -> None:
    taken = Taken(reasons=("random",), random_share=0.01, max_per_day=10**9)
    rng = np.random.default_rng(1)
    seen = 0
    while seen < 200_000:
        count = int(rng.integers(1, 65))
        seen += count
        taken.now_s += 1.0
        taken.tap.answered(answered([0.9] * count))
    # Two in one batch count once: 64 samples at 1 % hold a second one in a quarter of cases.
    assert 0.7 * 2000 < len(taken.candidates) < 1.1 * 2000


def test_violations_and_disagreements_carry_what_was_wrong() -> None:
    taken = Taken()
    taken.tap.refused(np.full((2, 3), np.nan), "finite", "b1")
    batch = answered([0.9, 0.8])
    taken.tap.differed(batch.samples, prediction("no", "yes"), prediction("no", "no"))
    refused, disagreed = taken.candidates
    assert (refused.reason, refused.detail, refused.label) == ("violation", "finite", "")
    assert (disagreed.label, disagreed.other_label) == ("yes", "no")
    assert np.array_equal(disagreed.sample, batch.samples[1])


def test_single_sample_that_two_models_disagree_on_keeps_its_shape() -> None:
    taken = Taken()
    head = Head("b2", ("no", "yes"), 1.0, 0)
    new, old = (
        Prediction.of_logits(np.array(logits, np.float32), head, 1.0)
        for logits in ([0.0, 3.0], [3.0, 0.0])
    )
    taken.tap.differed(np.zeros((1, 4), np.float32), new, old)
    (candidate,) = taken.candidates
    assert (candidate.sample.shape, candidate.label, candidate.other_label) == ((1, 4), "yes", "no")


@pytest.mark.parametrize(
    "raw",
    [
        np.array(["a name"]),
        np.array([{"who": 1}]),
        np.zeros(0),
        np.zeros(MAX_SAMPLE_BYTES + 1, np.uint8),
    ],
)
def test_what_is_no_sample_is_never_taken(raw: np.ndarray) -> None:
    taken = Taken()
    taken.tap.refused(raw, "dtype", "b1")
    assert not taken.candidates


def test_each_reason_rests_for_its_share_of_the_day() -> None:
    taken = Taken(reasons=("low_confidence", "violation"), max_per_day=48)
    for _ in range(24 * 60):
        taken.now_s += 60.0
        taken.tap.answered(answered([0.1]))
        taken.tap.refused(np.zeros(3), "range", "b1")
    assert taken.reasons.count("low_confidence") == 24
    assert taken.reasons.count("violation") == 24


def test_reasons_that_are_not_asked_for_take_nothing() -> None:
    taken = Taken(reasons=("violation",), random_share=1.0)
    for _ in range(50):
        taken.tap.answered(answered([0.1, 0.1], drifting=("mean",)))
    taken.tap.differed(answered([0.9]).samples, prediction("no"), prediction("yes"))
    assert not taken.candidates


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("reasons", ()),
        ("reasons", ("random", "random")),
        ("redact", "module"),
        ("redact", ""),
        ("random_share", 0.0),
        ("random_share", 1.5),
        ("confidence_below", 0.0),
        ("max_per_day", 2),
        ("max_bytes", 0),
        ("ttl_days", 0.0),
        ("ttl_days", 400.0),
        ("ttl_days", float("nan")),
    ],
)
def test_table_that_makes_no_sense_is_refused_and_the_key_named(key: str, value: Any) -> None:
    with pytest.raises(DeviceConfigError, match=rf"\[capture\] {key}"):
        check_capture(table(**{key: value}))
    assert check_capture(table()) == table()


class Desk:
    """A desk on a real outbox."""

    def __init__(self, path: Path, hook: Redact, boot_id: str = "boot", **changes: Any) -> None:
        self.now_s = 20_000 * DAY_S
        self.box = Outbox(path)
        rules = table(**changes)
        reporter = Reporter(self.box, boot_id)
        self.desk = CaptureDesk(rules, hook, self.box, reporter, lambda: self.now_s)

    def take(self, count: int = 1, sample: Any = None) -> None:
        for _ in range(count):
            array = np.arange(6, dtype=np.float32).reshape(2, 3) if sample is None else sample
            self.desk.post(Candidate(CaptureReason.RANDOM, "b1", array, "yes", 0.9))
            self.desk.keep()

    @property
    def kept(self) -> list[Capture]:
        return [decode(message.payload, Capture) for message in self.box.pending(0, 10_000)]

    @property
    def lost(self) -> int:
        return read_losses(self.box._db).lost.captures


@pytest.fixture
def made(tmp_path: Path) -> Iterator[list[Desk]]:
    desks: list[Desk] = []
    yield desks
    for desk in desks:
        desk.box.close()


def desk(
    made: list[Desk], tmp_path: Path, hook: Redact = lambda sample, reason: sample, **changes: Any
) -> Desk:
    made.append(Desk(tmp_path / f"o{len(made)}", hook, **changes))
    return made[-1]


def test_sample_arrives_as_it_was_and_numbered(made: list[Desk], tmp_path: Path) -> None:
    one = desk(made, tmp_path)
    one.take(sample=np.array([[1, 2], [3, 4]], ">i2"))
    one.take()
    first, second = one.kept
    assert (first.seq, second.seq) == (1, 2)
    array = np.frombuffer(first.sample, np.dtype(first.dtype).newbyteorder("<"))
    assert array.reshape(first.shape).tolist() == [[1, 2], [3, 4]]
    assert (second.dtype, second.shape, second.redacted_by) == ("float32", (2, 3), "")
    assert (first.reason, first.label, first.ttl_s) == ("random", "yes", 7 * DAY_S)


def test_hook_decides_what_leaves_the_device(made: list[Desk], tmp_path: Path) -> None:
    told: list[str] = []

    def blur(sample: np.ndarray, reason: str) -> np.ndarray:
        told.append(reason)
        return np.full_like(sample, sample.mean())

    one = desk(made, tmp_path, blur, redact="my:blur")
    one.take()
    (kept,) = one.kept
    assert np.frombuffer(kept.sample, "<f4").tolist() == [2.5] * 6
    assert (kept.redacted_by, told) == ("my:blur", ["random"])


def _raises(sample: np.ndarray, reason: str) -> np.ndarray:
    raise RuntimeError("no face found")


@pytest.mark.parametrize(
    "redact",
    [
        _raises,
        lambda sample, reason: None,
        lambda sample, reason: "text",
        lambda sample, reason: np.array(["text"]),
        lambda sample, reason: np.zeros(MAX_SAMPLE_BYTES + 1, np.uint8),
    ],
)
def test_nothing_is_kept_when_the_hook_fails_and_that_is_counted(
    made: list[Desk], tmp_path: Path, redact: Redact
) -> None:
    one = desk(made, tmp_path, redact)
    one.take(3)
    assert (one.kept, one.lost) == ([], 3)


def test_quota_of_a_day_outlives_restarts_and_ends_with_the_day(
    made: list[Desk], tmp_path: Path
) -> None:
    one = desk(made, tmp_path, max_per_day=5)
    one.take(4)
    one.box.close()
    again = Desk(tmp_path / "o0", lambda sample, reason: sample, "later", max_per_day=5)
    made[0] = again
    again.take(4)
    assert (len(again.kept), again.lost) == (5, 3)
    again.now_s += DAY_S
    again.take(1)
    assert len(again.kept) == 6


def test_oldest_captures_go_when_the_bytes_are_used_up(made: list[Desk], tmp_path: Path) -> None:
    one = desk(made, tmp_path, max_bytes=600)
    one.take(10)
    assert sum(len(message.payload) for message in one.box.pending(0, 99)) <= 600
    assert 0 < len(one.kept) < 10
    assert [kept.seq for kept in one.kept] == list(range(11 - len(one.kept), 11))
    assert one.lost == 10 - len(one.kept)


def test_captures_are_gone_when_their_time_is_over(made: list[Desk], tmp_path: Path) -> None:
    one = desk(made, tmp_path, ttl_days=0.5)
    one.take(2)
    one.now_s += 0.4 * DAY_S
    one.take(1)
    one.now_s += 0.2 * DAY_S
    one.desk.keep()
    assert ([kept.seq for kept in one.kept], one.lost) == ([3], 2)


def test_inference_never_waits_and_what_does_not_fit_is_counted(
    made: list[Desk], tmp_path: Path
) -> None:
    one = desk(made, tmp_path)
    for _ in range(MAX_WAITING + 7):
        one.desk.post(Candidate(CaptureReason.RANDOM, "b1", np.zeros(3)))
    one.desk.keep()
    assert (len(one.kept), one.lost) == (MAX_WAITING, 7)


def test_nothing_is_lost_uncounted_when_the_outbox_cannot_be_written(
    made: list[Desk], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = desk(made, tmp_path)

    def full(*_args: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    one.desk.post(Candidate(CaptureReason.RANDOM, "b1", np.zeros(3)))
    with monkeypatch.context() as patch:
        patch.setattr(one.box, "put", full)
        with pytest.raises(sqlite3.OperationalError):
            one.desk.keep()
    one.desk.keep()
    assert (one.kept, one.lost) == ([], 1)


def test_hook_is_loaded_by_name_or_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("owners_own")
    module.blur = lambda sample, reason: sample  # type: ignore[attr-defined]
    module.number = 3  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "owners_own", module)
    assert load_hook("owners_own:blur") is module.blur
    sample = np.zeros(2)
    assert load_hook("none")(sample, "random") is sample
    for name in ("owners_own:missing", "owners_own:number", "no_such_module:blur"):
        with pytest.raises(DeviceConfigError, match="redact"):
            load_hook(name)
