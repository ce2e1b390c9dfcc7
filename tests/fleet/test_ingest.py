"""From a topic and bytes to the store and back to an acknowledgement."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekiln.fleet.captures import forget_captures, read_captures
from edgekiln.fleet.errors import FleetFolderError
from edgekiln.fleet.inbound import CAPTURE_KEPT_S, CAPTURES_KEPT
from edgekiln.fleet.ingest import Ingest
from edgekiln.fleet.store import Store, open_store
from edgekiln.runtime.kll import sketch_of
from edgekiln.runtime.kll_bytes import encode_sketch
from edgekiln.runtime.protocol import (
    Ack,
    Birth,
    BrokenRules,
    Capture,
    CaptureReason,
    DeviceState,
    Event,
    FeatureWindow,
    Lost,
    Report,
    State,
    SystemFigures,
    Topics,
    TrialEvidence,
    decode,
    encode,
)
from edgekiln.runtime.telemetry import LATENCY_EDGES_US

TOPICS = Topics("default")
LATENCY = (0, 16, *(0,) * (len(LATENCY_EDGES_US) - 1))
QUIET = FeatureWindow(name="confidence", bins=(1,) * 16, evidence=0.5, alarm=False)


class Sent:
    """A publisher that remembers."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes]] = []

    def retain(self, topic: str, payload: bytes) -> None:
        self.messages.append((topic, payload))

    confirm = offer = retain

    def acks(self) -> list[tuple[str, int]]:
        return [(topic.split("/")[-3], decode(data, Ack).seq) for topic, data in self.messages]


class Bench:
    """An ingest with its surroundings."""

    def __init__(self, path: Path) -> None:
        self.store = open_store(path)
        self.sent = Sent()
        self.now_s = 100.0
        self.ingest = Ingest(self.store, TOPICS, self.sent, lambda: self.now_s)

    def say(
        self, message: Birth | State | Report | Event, device: str = "a", retained: bool = False
    ) -> int:
        kind = type(message).__name__.lower()
        self.ingest.receive(TOPICS.up(device, kind), encode(message), retained)
        return self.ingest.step()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "fleet.db")
    yield made
    made.store.close()


def state(seq: int = 1, boot_id: str = "boot", **changes: object) -> State:
    base = State(boot_id=boot_id, seq=seq, at_s=1.0, state=DeviceState.IDLE, running="r" * 64)
    return msgspec.structs.replace(base, **changes)


def report(seq: int = 2, **changes: object) -> Report:
    base = Report(
        boot_id="boot",
        seq=seq,
        bundle_id="r" * 64,
        start_s=90.0,
        end_s=99.0,
        samples=16,
        violations=0,
        latency_us=LATENCY,
        confidence=QUIET,
        classes=(8, 8),
        class_drift=msgspec.structs.replace(QUIET, name="classes", bins=(8, 8)),
        features=(msgspec.structs.replace(QUIET, name="x", alarm=True),),
    )
    return msgspec.structs.replace(base, **changes)


def test_birth_state_and_report_make_a_device(bench: Bench) -> None:
    bench.say(Birth(device="liar", boot_id="boot", online=True, device_class="host"))
    bench.say(state())
    bench.say(report())
    (view,) = bench.store.devices()
    assert view.device == "a"  # the topic's, not the payload's
    assert view.online
    assert view.running == "r" * 64
    assert view.samples == 16
    assert view.p95_latency_ms == pytest.approx(0.001, rel=0.8)
    assert view.drifting == ("x",)
    assert view.last_seen_s == 100.0
    assert bench.sent.acks() == [("a", 0), ("a", 1), ("a", 2)]


def test_message_is_stored_once_and_acknowledged_twice_when_it_comes_twice(bench: Bench) -> None:
    assert bench.say(report()) == 1
    assert bench.say(report()) == 0
    assert len(bench.store.received_since(0.0)) == 1
    assert bench.sent.acks() == [("a", 2), ("a", 2)]


def test_same_number_of_another_boot_or_device_is_new(bench: Bench) -> None:
    assert bench.say(report()) == 1
    assert bench.say(report(boot_id="other")) == 1
    assert bench.say(report(), device="b") == 1


def test_older_message_does_not_undo_a_newer_state(bench: Bench) -> None:
    bench.say(state(5, state=DeviceState.COMMITTED))
    bench.say(state(4, state=DeviceState.TRIAL))
    assert bench.store.device("a").state is DeviceState.COMMITTED
    bench.say(state(1, boot_id="next", state=DeviceState.IDLE))
    assert bench.store.device("a").state is DeviceState.IDLE


def test_death_says_offline_and_keeps_when_it_was_seen(bench: Bench) -> None:
    bench.say(Birth(device="a", boot_id="boot", online=True))
    bench.now_s = 500.0
    bench.say(Birth(device="a", boot_id="boot", online=False), retained=True)
    view = bench.store.device("a")
    assert (view.online, view.last_seen_s) == (False, 100.0)


def test_retained_birth_is_not_acknowledged_and_proves_no_life(bench: Bench) -> None:
    bench.say(Birth(device="a", boot_id="boot", online=True), retained=True)
    assert bench.store.device("a").last_seen_s == 0.0
    assert bench.sent.acks() == []


def test_birth_after_a_reboot_names_what_runs_until_a_state_does(bench: Bench) -> None:
    bench.say(state())
    bench.say(Birth(device="a", boot_id="second", online=True, running="s" * 64))
    assert bench.store.device("a").running == "s" * 64
    bench.say(state(1, boot_id="second", running="t" * 64))
    assert bench.store.device("a").running == "t" * 64


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff\xff",
        encode(Birth(device="a", boot_id="b", online=True)),
        encode(report(seq=-1)),
        encode(report(boot_id="b" * 65)),
        encode(report(confidence=msgspec.structs.replace(QUIET, bins=(1, 2)))),
        encode(report(confidence=msgspec.structs.replace(QUIET, bins=(-1,) * 16))),
        encode(report(confidence=msgspec.structs.replace(QUIET, evidence=float("nan")))),
        encode(report(confidence=msgspec.structs.replace(QUIET, evidence=float("inf")))),
        encode(report(end_s=float("inf"))),
        encode(report(samples=-1)),
        encode(report(latency_us=(1 << 50, *LATENCY[1:]))),
        encode(report(latency_us=(1, 2, 3))),
        encode(report(latency_sketch=b"x" * (1 << 15))),
        encode(report(features=(msgspec.structs.replace(QUIET, sketch=b"x" * 15_000),) * 80)),
        encode(report(lost=Lost(samples=-1))),
        encode(report(broken_rules=BrokenRules(shape=1 << 50))),
        encode(report(system=SystemFigures(load=float("inf")))),
        encode(report(merged=-1)),
        encode(report(features=(QUIET,) * 5000)),
    ],
)
def test_malformed_report_is_counted_and_the_next_one_stored(bench: Bench, payload: bytes) -> None:
    bench.ingest.receive(TOPICS.up("a", "report"), payload, False)
    bench.ingest.receive(TOPICS.up("a", "report"), encode(report()), False)
    assert bench.ingest.step() == 1
    assert bench.store.counter("malformed") == 1
    assert bench.sent.acks()[-1] == ("a", 2)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_number_that_json_cannot_hold_does_not_spoil_what_is_read_back(
    bench: Bench, number: float
) -> None:
    trial = TrialEvidence(
        samples=10,
        disagreements=0,
        mean_confidence=0.9,
        baseline_confidence=0.9,
        p95_latency_ms=1.0,
    )
    bench.say(state(at_s=number))
    for seq, change in ((3, {"at_s": number}), (4, {"trial": odd(trial, number)})):
        event = Event(boot_id="boot", seq=seq, at_s=1.0, kind="trial", rollout_id="r", trial=trial)
        bench.say(msgspec.structs.replace(event, **change))
    assert bench.store.counter("malformed") == 3
    assert bench.store.devices() == ()
    assert bench.store.events("r") == ()


def odd(trial: TrialEvidence, number: float) -> TrialEvidence:
    return msgspec.structs.replace(trial, mean_confidence=number)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=40), st.binary(max_size=60), st.booleans())
def test_anything_at_all_is_survived(
    bench: Bench, topic: str, payload: bytes, retained: bool
) -> None:
    bench.ingest.receive(topic, payload, retained)
    for kind in ("birth", "state", "report", "event", "capture"):
        bench.ingest.receive(TOPICS.up("a", kind), payload, retained)
    bench.ingest.step()


def test_events_are_found_by_their_rollout(bench: Bench) -> None:
    event = Event(boot_id="boot", seq=9, at_s=1.0, kind="trial", rollout_id="r1", reason="slow")
    bench.say(event)
    assert bench.store.events("r1") == (("a", event),)
    assert bench.store.events("r2") == ()


def test_revision_grows_with_each_change_and_subscribers_hear_of_it(bench: Bench) -> None:
    heard: list[int] = []
    stop = bench.store.subscribe(heard.append)
    before = bench.store.revision
    bench.say(state())
    assert bench.store.revision == before + 1
    stop()
    bench.say(state(2))
    assert heard == [before + 1]


def test_two_stores_share_one_file(tmp_path: Path) -> None:
    one, two = open_store(tmp_path / "db"), open_store(tmp_path / "db")
    before = two.revision
    one.count("x")
    assert two.revision == before + 1
    assert two.counter("x") == 1
    one.close()
    two.close()


def test_store_says_so_when_the_file_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "db").write_bytes(b"something else entirely, long enough to be read" * 20)
    with pytest.raises(FleetFolderError, match="cannot be used"):
        Store(tmp_path / "db")


@pytest.mark.slow
def test_many_reports_of_one_device_are_bounded(bench: Bench) -> None:
    for first in range(0, 1200, 200):
        for seq in range(first, first + 200):
            bench.ingest.receive(TOPICS.up("a", "report"), encode(report(seq)), False)
        while bench.ingest.step():
            continue
    assert 500 <= len(bench.store.received_since(0.0)) < 1000
    assert bench.store.latest_reports()["a"].seq == 1199


def test_p95_comes_from_the_sketch_and_from_the_counts_where_it_cannot_be_read(
    bench: Bench,
) -> None:
    times_us = np.array([700.0] * 90 + [2345.0] * 10)
    sketch = encode_sketch(sketch_of(times_us, 200, np.random.default_rng(0)))
    bench.say(report(2, latency_sketch=sketch))
    assert bench.store.device("a").p95_latency_ms == pytest.approx(2.345)
    bench.say(report(3, latency_sketch=sketch[:30]))
    assert bench.store.device("a").p95_latency_ms == pytest.approx(0.001, rel=0.8)


def capture(seq: int = 9, **changes: object) -> Capture:
    base = Capture(
        boot_id="boot",
        seq=seq,
        at_s=90.0,
        bundle_id="r" * 64,
        reason=CaptureReason.LOW_CONFIDENCE,
        dtype="float32",
        shape=(2, 3),
        sample=bytes(24),
        ttl_s=3600.0,
        label="yes",
        confidence=0.4,
    )
    return msgspec.structs.replace(base, **changes)


def say(bench: Bench, message: Capture, device: str = "a") -> int:
    bench.ingest.receive(TOPICS.up(device, "capture"), encode(message), False)
    return bench.ingest.step()


def test_capture_is_stored_once_acknowledged_and_forgotten_in_time(bench: Bench) -> None:
    assert say(bench, capture()) == 1
    assert say(bench, capture()) == 0
    assert say(bench, capture(ttl_s=1e7), device="b") == 1
    assert bench.sent.acks() == [("a", 9), ("a", 9), ("b", 9)]
    told = read_captures(bench.store, bench.now_s)
    assert [(one.device, one.received_s) for one in told] == [("a", 100.0), ("b", 100.0)]
    assert told[0].capture == capture()
    assert read_captures(bench.store, bench.now_s, "b") == told[1:]
    assert read_captures(bench.store, 100.0 + 3600.0) == told[1:]
    assert forget_captures(bench.store, 100.0 + 3600.0) == 1
    assert forget_captures(bench.store, 100.0 + 3600.0) == 0
    assert forget_captures(bench.store, 100.0 + CAPTURE_KEPT_S) == 1  # not the 1e7 s it asked for


def test_newest_captures_of_a_device_are_kept(bench: Bench) -> None:
    for seq in range(CAPTURES_KEPT + 5):
        bench.ingest.receive(TOPICS.up("a", "capture"), encode(capture(seq)), False)
    say(bench, capture(1), device="b")
    while bench.ingest.step():
        pass
    told = read_captures(bench.store, bench.now_s, "a")
    assert [one.capture.seq for one in told] == list(range(5, CAPTURES_KEPT + 5))
    assert len(read_captures(bench.store, bench.now_s, "b")) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"dtype": "object"},
        {"dtype": "float32", "shape": (2, 4)},
        {"shape": (-2, -3)},
        {"shape": (1,) * 9, "sample": bytes(4)},
        {"sample": b"", "shape": ()},
        {"sample": bytes(1 << 20), "shape": (1 << 18,)},
        {"ttl_s": 0.0},
        {"ttl_s": float("inf")},
        {"ttl_s": 1e9},
        {"confidence": float("nan")},
        {"label": "x" * 2000},
    ],
)
def test_capture_that_cannot_be_true_is_counted_and_forgotten(
    bench: Bench, changes: dict[str, object]
) -> None:
    assert say(bench, capture(**changes)) == 0
    assert bench.store.counter("malformed") == 1
    assert read_captures(bench.store, 0.0) == ()


def test_unusable_report_leaves_the_devices_outbox_when_it_says_which_one_it_is(
    bench: Bench,
) -> None:
    """Sent again for ever, a window full of them would hold up all that comes after."""
    bad = msgspec.msgpack.encode({"boot_id": "b", "seq": 7, "samples": "many"})
    bench.ingest.receive(TOPICS.up("cam", "report"), bad, False)
    bench.ingest.step()
    assert bench.sent.acks() == [("cam", 7)]
    for nameless in (b"\xc1", msgspec.msgpack.encode({"samples": 1})):
        bench.ingest.receive(TOPICS.up("cam", "report"), nameless, False)
    bench.ingest.receive(TOPICS.up("cam", "report"), bad, True)  # the broker's own memory
    bench.ingest.step()
    assert len(bench.sent.messages) == 1
    assert bench.store.counter("malformed") == 4
