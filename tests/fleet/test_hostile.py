"""Messages that no honest device sends, against the server's real ingest, blocks, desk and store.

They enter where the link hands them over. Whatever comes, nothing raises (an error that is not
named ends the whole server), nothing but sound messages is stored, and memory stays bounded.
"""

from __future__ import annotations

import gc
import itertools
import threading
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import edgekiln.fleet
from edgekiln.fleet.blocks import BlockServer
from edgekiln.fleet.desk import Desk
from edgekiln.fleet.engine import Engine
from edgekiln.fleet.folder import FleetFolder
from edgekiln.fleet.ingest import MAX_QUEUED_BYTES, Ingest
from edgekiln.fleet.snapshot import Snapshots
from edgekiln.fleet.store import Enrolment, open_store
from edgekiln.runtime.protocol import (
    Birth,
    Capture,
    CaptureReason,
    DeviceState,
    Event,
    FeatureWindow,
    GetRequest,
    IdentityRequest,
    Report,
    State,
    Topics,
    TrialEvidence,
)
from edgekiln.runtime.telemetry import LATENCY_EDGES_US

TOPICS = Topics("default")
KINDS = (
    "birth", "state", "report", "event", "capture", "get", "enrol", "enrolled", "renew", "other",
)  # fmt: skip
QUIET = FeatureWindow(name="x", bins=(1,) * 16, evidence=0.5, alarm=False)
HONEST: dict[str, msgspec.Struct] = {
    "birth": Birth(device="a", boot_id="b", online=True),
    "state": State(boot_id="b", seq=1, at_s=1.0, state=DeviceState.IDLE),
    "event": Event(
        boot_id="b",
        seq=1,
        at_s=1.0,
        kind="trial",
        trial=TrialEvidence(
            samples=1,
            disagreements=0,
            mean_confidence=0.5,
            baseline_confidence=0.5,
            p95_latency_ms=1.0,
        ),
    ),
    "report": Report(
        boot_id="b",
        seq=1,
        bundle_id="r" * 64,
        start_s=1.0,
        end_s=2.0,
        samples=1,
        violations=0,
        latency_us=(0,) * (len(LATENCY_EDGES_US) + 1),
        confidence=QUIET,
        classes=(1, 0),
        class_drift=msgspec.structs.replace(QUIET, bins=(1, 0)),
        features=(QUIET,),
    ),
    "capture": Capture(
        boot_id="b",
        seq=1,
        at_s=1.0,
        bundle_id="r" * 64,
        reason=CaptureReason.RANDOM,
        dtype="uint8",
        shape=(2, 2),
        sample=b"1234",
        ttl_s=60.0,
    ),
    "get": GetRequest(request_id="q", path="metadata/timestamp.json", first=0, count=1),
    "enrol": IdentityRequest(request=b"x"),
}
DEPTH = 3_000
BOMBS = (
    b"\x91" * DEPTH,
    b"\x81\xa1x" + b"\x91" * DEPTH,
    b"\x81\xa1x" * DEPTH,
    b"\xdf\xff\xff\xff\xff",
    b"\xdd\xff\xff\xff\xff",
    b"\x81\xa7boot_id\xdb\xff\xff\xff\xff",
    b"\x82\xa7boot_id\xa2\xff\xfe\xa3seq\x01",
    b"\x00" * 1_000_000,
    b"\xc1",
    b"",
)
EXTREMES = (
    None, True, 0, -1, 2**31, 2**62, 2**63 - 1, 2**63, 2**64 - 1, -(2**63), 1e308, -1e308,
    float("nan"), float("inf"), "", "\0", "../x", "x" * 3000, "'; DROP TABLE twin; --",
    "<script>", "é\u202e", b"\xff", [], [0] * 5000, [-1], {}, {"x": 1}, [[]] * 100,
)  # fmt: skip


@dataclass(frozen=True)
class Hostile:
    """One message of one device."""

    device: str
    kind: str
    payload: bytes


class Sent:
    """A publisher that counts."""

    def __init__(self) -> None:
        self.count = 0

    def offer(self, topic: str, payload: bytes) -> None:
        self.count += 1

    retain = confirm = offer

    def room(self, timeout_s: float) -> bool:
        return True


class House:
    """The server's threads, stepped by hand."""

    def __init__(self, folder: FleetFolder) -> None:
        self.store = open_store(folder.database)
        self.sent = Sent()
        seconds = itertools.count(1_000)
        self.ingest = Ingest(self.store, TOPICS, self.sent, lambda: float(next(seconds)))
        self.blocks = BlockServer(folder.repository, TOPICS, self.sent)
        self.desk = Desk(folder, self.store, self.sent)
        self.snapshots = Snapshots(self.store, "default")
        self.engine = Engine(folder, self.store, self.sent)
        for device in ("a", "b"):
            enrolment = Enrolment(device=device, target="host", cohorts=("all",), enrolled_s=0.0)
            self.store.put_enrolment(enrolment)

    def hear(self, message: Hostile) -> None:
        """As `server.py` routes what the link hands over."""
        if message.kind == "get":
            self.blocks.receive(message.device, message.payload)
        elif message.kind in ("enrol", "enrolled", "renew"):
            self.desk.receive(message.device, message.kind, message.payload)
        else:
            topic = TOPICS.up(message.device, message.kind)
            self.ingest.receive(topic, message.payload, retained=False)

    def work(self) -> None:
        while self.ingest.step() or self.ingest.waiting:
            pass
        while self.blocks.step():
            pass
        while self.desk.step():
            pass
        self.engine.tick(2_000.0)
        self.snapshots.newest()  # what was stored can be read


@pytest.fixture
def house(copied_fleet: FleetFolder) -> Iterator[House]:
    made = House(copied_fleet)
    yield made
    made.store.close()


def one_field_wrong(kind: str, place: int, value: Any) -> bytes:
    """An honest message with one field, at any depth, replaced."""
    fields = msgspec.to_builtins(HONEST[kind], builtin_types=(bytes,))
    inner = fields
    while True:
        name = sorted(inner)[place % len(inner)]
        place //= len(inner)
        if not isinstance(inner[name], dict) or not inner[name] or place == 0:
            break
        inner = inner[name]
    inner[name] = value
    return msgspec.msgpack.encode(fields)


def hostile() -> st.SearchStrategy[Hostile]:
    devices = st.sampled_from(["a", "b", "x" * 64, "é"])
    wrong = st.builds(
        one_field_wrong,
        st.sampled_from(sorted(HONEST)),
        st.integers(0, 400),
        st.integers(0, len(EXTREMES) - 1).map(EXTREMES.__getitem__),
    )
    bomb = st.integers(0, len(BOMBS) - 1).map(BOMBS.__getitem__)
    cut = st.builds(
        lambda kind, end: msgspec.msgpack.encode(HONEST[kind])[:end],
        st.sampled_from(sorted(HONEST)),
        st.integers(0, 200),
    )
    payload = st.one_of(wrong, wrong, wrong, bomb, cut, st.binary(max_size=60))
    return st.builds(Hostile, devices, st.sampled_from(KINDS), payload)


BATCH = 50
MESSAGES = 5_000
ROOM = Path(edgekiln.fleet.__file__).parent


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")  # a long batch
def test_hostile_messages_end_nothing_and_fill_nothing(house: House) -> None:
    heard = 0

    @settings(
        max_examples=MESSAGES // BATCH,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(hostile(), min_size=BATCH, max_size=BATCH))
    def attack(batch: list[Hostile]) -> None:
        nonlocal heard
        if heard == MESSAGES - 20 * BATCH:
            tracemalloc.start()
        for message in batch:
            house.hear(message)
        heard += len(batch)
        house.work()

    attack()
    gc.collect()
    traces = tracemalloc.take_snapshot().statistics("filename")
    tracemalloc.stop()
    kept = sum(t.size for t in traces if Path(t.traceback[0].filename).parent == ROOM)
    assert heard >= MESSAGES
    assert kept < 4 << 20
    assert house.store.counter("malformed") > 1_000
    assert {view.device for view in house.store.devices()} <= {"a", "b", "x" * 64, "é"}


@pytest.mark.parametrize("kind", KINDS)
def test_bombs_are_messages_that_cannot_be_read(house: House, kind: str) -> None:
    for payload in BOMBS:
        house.hear(Hostile("a", kind, payload))
    house.work()


@pytest.mark.parametrize("kind", sorted(HONEST))
def test_extreme_values_in_any_field_leave_what_can_be_read(house: House, kind: str) -> None:
    for place, value in itertools.product(range(40), EXTREMES):
        house.hear(Hostile("a", kind, one_field_wrong(kind, place, value)))
    house.work()
    house.hear(Hostile("b", "state", msgspec.msgpack.encode(HONEST["state"])))
    house.work()
    assert "b" in {view.device for view in house.store.devices()}


def test_what_waits_to_be_stored_is_bounded_in_bytes(house: House) -> None:
    payload = b"x" * 900_000
    for _ in range(300):
        house.ingest.receive(TOPICS.up("a", "report"), payload, False)
    assert house.ingest.waiting <= MAX_QUEUED_BYTES // len(payload)
    house.work()
    house.ingest.receive(TOPICS.up("a", "report"), payload, False)
    assert house.ingest.waiting == 1  # there is room again


def test_event_that_is_too_large_is_not_stored(house: House) -> None:
    event = msgspec.structs.replace(HONEST["event"], reason="x" * 200_000)
    house.hear(Hostile("a", "event", msgspec.msgpack.encode(event)))
    house.work()
    assert house.store.counter("malformed") == 1


@pytest.mark.slow
def test_requests_of_many_devices_are_bounded(house: House) -> None:
    ask = msgspec.structs.replace(HONEST["get"], count=64)
    for number in range(30_000):
        house.hear(Hostile(f"d{number}", "get", msgspec.msgpack.encode(ask)))
    stop = threading.Event()
    stop.set()
    house.blocks.run(stop)
    house.work()
    assert house.sent.count <= 10_000
