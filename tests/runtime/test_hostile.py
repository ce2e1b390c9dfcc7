"""Messages that nobody honest sends, against the device's real agent, trust, transfer and link.

Everything but the socket is real: a message enters where paho would hand it over. Whatever comes,
nothing is installed that was not rolled out, nothing raises, and memory stays bounded.
"""

from __future__ import annotations

import gc
import json
import random
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import paho.mqtt.client as mqtt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import edgekiln.runtime
from edgekiln.runtime import transfer
from edgekiln.runtime.device import _Process
from edgekiln.runtime.link import Link, LinkConfig
from edgekiln.runtime.protocol import Birth, Block, Topics, encode
from edgekiln.runtime.protocol import DeviceState as S
from edgekiln.runtime.signing import key_id, sign_document

TOPICS = Topics("default")
ME, OTHER = "device-1", "device-2"
ROLLOUT, COMMAND, BLOCK = "rollout", "command", "block"
PLACES = {
    ROLLOUT: TOPICS.cohort("all", "rollout"),
    COMMAND: TOPICS.down(ME, "command"),
    BLOCK: TOPICS.down(ME, "block"),
    "other cohort": TOPICS.cohort("edge", "rollout"),
    "strange cohort": TOPICS.cohort("strangers", "rollout"),
    "other device": TOPICS.down(OTHER, "command"),
    "other device's block": TOPICS.down(OTHER, "block"),
    "unknown kind": TOPICS.down(ME, "firmware"),
    "other tenant": Topics("rival").down(ME, "command"),
    "no topic of ours": "$SYS/broker/uptime",
    "empty": "",
}
DEPTH = 3_000
LARGEST_BLOCK = 64_000
STRANGER = Ed25519PrivateKey.generate()


@dataclass(frozen=True)
class Hostile:
    """One message, told in short when it did harm."""

    topic: str
    payload: bytes

    def __repr__(self) -> str:
        return f"Hostile({self.topic!r}, {len(self.payload)} bytes: {self.payload[:80]!r})"


def deep(opening: bytes, count: int = DEPTH) -> bytes:
    return opening * count


BOMBS = (
    deep(b"["),
    b'{"x":' + deep(b"["),
    b'{"keyid":"a","signature":"00","signed":' + deep(b"[") + deep(b"]") + b"}",
    deep(b"\x91"),
    b"\x81\xa1x" + deep(b"\x91"),
    b"\x81\xa1x" + deep(b"\x81\xa1x"),
    b"\xdf\xff\xff\xff\xff",
    b"\xdd\xff\xff\xff\xff",
    b"\x81\xa4data\xc6\xff\xff\xff\xff",
    b"\x81\xa7boot_id\xdb\xff\xff\xff\xff",
    b"\x82\xa7boot_id\xa2\xff\xfe\xa3seq\x01",  # no UTF-8
    b'{"keyid":"\xff\xfe","signature":"","signed":{}}',
    b'{"keyid":"\\ud800","signature":"","signed":{}}',
    b'{"keyid":"a","keyid":"b","signature":"","signature":"","signed":{},"signed":[]}',
    b'{"keyid":"a","signature":"","signed":NaN}',
    b'{"keyid":"a","signature":"","signed":' + b"9" * 5_000 + b"}",
    b'{"keyid":"a","signature":"","signed":1e400}',
    b'{"a":' * DEPTH,
    b"\x00" * 40_000,
    b"\xff" * 40_000,
    b"\xc1",
    b"",
    b" " * 100_000,
    b"x" * 400_000,
)


class Hall:
    """A device, and what an attacker has heard on the wire so far."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.old = world.repository.add(json.dumps({"name": "old", "filler": "x" * 900}).encode())
        weak = json.dumps({"name": "weak"}).encode()
        self.weak = world.repository.add(weak, counter=0)
        self.foreign = world.repository.add(b'{"name":"foreign"}', targets=("m4",))
        world.boot()
        self.link = Link(
            LinkConfig("127.0.0.1", 1, ME, "", ME, "default", ("all", "edge")),
            lambda online: Birth(device=ME, boot_id="b", online=online),
            self._receive,
            lambda: None,
            random.Random(0),
        )

    def _receive(self, topic: str, payload: bytes) -> None:
        process = SimpleNamespace(
            agent=self.world.agent,
            _transfer=self.world.transfer,
            _topics=TOPICS,
            _config=SimpleNamespace(device=ME),
        )
        _Process._receive(process, topic, payload)  # type: ignore[arg-type]

    def hear(self, topic: str, payload: bytes) -> None:
        """What paho does with a message."""
        message = mqtt.MQTTMessage(topic=topic.encode())
        message.payload = payload
        self.link._received(None, None, message)  # type: ignore[arg-type]

    def signed(self, **changes: Any) -> bytes:
        release = changes.pop("release", self.old)
        return sign_document(self.world.document(release, **changes), self.world.key)


Maker = Callable[[Hall, bytes, int, int], Hostile]  # an honest document, and two random numbers


def other_key(hall: Hall, good: bytes, number: int, _: int) -> Hostile:
    document = hall.world.document(hall.old, rollout_id=f"h{number}", version=number)
    return Hostile(PLACES[ROLLOUT], sign_document(document, STRANGER))


def other_key_under_our_name(hall: Hall, good: bytes, number: int, _: int) -> Hostile:
    document = json.loads(good)
    document["signature"] = STRANGER.sign(json.dumps(document["signed"]).encode()).hex()
    document["keyid"] = key_id(hall.world.key.public_key())
    return Hostile(PLACES[ROLLOUT], json.dumps(document).encode())


def altered(hall: Hall, good: bytes, number: int, _: int) -> Hostile:
    return Hostile(PLACES[ROLLOUT], good.replace(b'"permille":1000', b'"permille":1001'))


def cut_short(hall: Hall, good: bytes, number: int, place: int) -> Hostile:
    return Hostile(PLACES[ROLLOUT], good[: place % len(good)])


def one_bit_changed(hall: Hall, good: bytes, number: int, place: int) -> Hostile:
    changed = bytearray(good)
    changed[place % len(good)] ^= 1 << (number % 8)
    return Hostile(PLACES[ROLLOUT], bytes(changed))


def of_another_cohort(hall: Hall, good: bytes, number: int, _: int) -> Hostile:
    return Hostile(PLACES["other cohort"], good)


def of_a_strange_cohort(hall: Hall, good: bytes, number: int, _: int) -> Hostile:
    return Hostile(PLACES["strange cohort"], good)


def ours(**changes: Any) -> Maker:
    """Signed by the fleet, and still nothing to install."""

    def make(hall: Hall, good: bytes, number: int, _: int) -> Hostile:
        name = "-".join(changes)
        return Hostile(
            PLACES[ROLLOUT], hall.signed(rollout_id=f"{name}-{number}", version=number, **changes)
        )

    return make


def not_for_this_hardware(hall: Hall, good: bytes, number: int, _: int) -> Hostile:
    return ours(release=hall.foreign)(hall, good, number, 0)


MAKERS: tuple[Maker, ...] = (
    other_key,
    other_key_under_our_name,
    altered,
    cut_short,
    one_bit_changed,
    of_another_cohort,
    of_a_strange_cohort,
    not_for_this_hardware,
    ours(permille=0),
    ours(expires_s=1.0),
    ours(not_before_s=1e12),
    ours(sha256="0" * 64),
    ours(aborted=True),
    ours(target_path="../../etc/passwd"),
    ours(target_path="bundles/none.ekb"),
    ours(target_path="x" * 300),
    ours(target_path="\0"),
    ours(release="0" * 64),
)


@st.composite
def documents(draw: st.DrawFn, hall: Hall) -> Hostile:
    """Rollout documents: forged, altered, for others, played back, or for what may not be."""
    make = MAKERS[draw(st.integers(0, len(MAKERS) - 1))]
    number = draw(st.integers(1, 5))
    honest = hall.signed(rollout_id=f"h{number}", version=number)
    return make(hall, honest, number, draw(st.integers(0, 2000)))


@st.composite
def blocks(draw: st.DrawFn) -> Hostile:
    """Blocks never asked for, of other requests, with forged data or errors."""
    path = draw(
        st.sampled_from(
            ["metadata/timestamp.json", "metadata/2.root.json", "targets/x", "", "\0", "../x"]
        )
    )
    block = Block(
        request_id=draw(st.sampled_from(["1-0", "1-1", "1-7", "", "x" * 1000])),
        path=path,
        index=draw(st.sampled_from([0, 1, 7, -1, -(1 << 62), 1 << 62, (1 << 64) - 1])),
        total_bytes=draw(st.sampled_from([0, 10, -5, 1 << 62, 5_000_000])),
        data=draw(st.binary(max_size=LARGEST_BLOCK // 1000)) * draw(st.sampled_from([1, 1000])),
        error=draw(st.sampled_from(["", "", "not_found", "e" * 5000])),
    )
    return Hostile(PLACES[BLOCK], encode(block))


@st.composite
def acks(draw: st.DrawFn) -> Hostile:
    """Acknowledgements of what was never sent."""
    boot = draw(st.sampled_from(["boot-1", "boot-2", "", "x" * 2000, "b\0"]))
    seq = draw(st.sampled_from([0, 1, 2**31, 2**63 - 1, 2**63, 2**64 - 1, -1, -(2**63)]))
    return Hostile(PLACES[COMMAND], msgspec.msgpack.encode({"boot_id": boot, "seq": seq}))


@st.composite
def rubbish(draw: st.DrawFn) -> Hostile:
    """Bytes, and well-formed values of the wrong shape, anywhere."""
    leaves = st.none() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=8) | st.floats()
    values = leaves | st.binary(max_size=8) | st.lists(leaves, max_size=3)
    names = ["boot_id", "seq", "schema", "request_id", "path", "index", "data", "x"]
    fields = st.dictionaries(st.sampled_from(names), values, max_size=4)
    place = draw(st.sampled_from(list(PLACES.values())))
    if draw(st.booleans()):
        return Hostile(place, draw(st.binary(max_size=200)))
    return Hostile(place, msgspec.msgpack.encode(draw(values | fields)))


def messages(hall: Hall) -> st.SearchStrategy[Hostile]:
    bomb = st.integers(0, len(BOMBS) - 1).map(BOMBS.__getitem__)
    bombs = st.builds(Hostile, st.sampled_from(list(PLACES.values())), bomb)
    return st.one_of(documents(hall), blocks(), acks(), rubbish(), bombs)


@pytest.fixture
def hall(world: Any, monkeypatch: pytest.MonkeyPatch) -> Hall:
    monkeypatch.setattr(transfer, "POLL_S", 0.0005)
    return Hall(world)


def unharmed(hall: Hall) -> None:
    """The factory's model answers, and no other was ever loaded or written."""
    world = hall.world
    assert world.models.running == world.factory
    assert set(world.models.loads) == {world.factory}
    assert world.agent.record.last_known_good.bundle_id == world.factory
    assert [path.name for path in (world.folder / "slots").glob("*.ekb")] == [
        f"{world.factory}.ekb"
    ]


BATCH = 50
MESSAGES = 5_000
RUNTIME = Path(edgekiln.runtime.__file__).parent


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")  # a long batch
def test_hostile_messages_install_nothing_and_crash_nothing(hall: Hall) -> None:
    """5,000 of them, in batches that arrive between two steps of the agent."""
    heard = 0

    @settings(
        max_examples=MESSAGES // BATCH,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],  # a found message is told as it is: shrinking takes minutes
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(messages(hall), min_size=BATCH, max_size=BATCH))
    def attack(batch: list[Hostile]) -> None:
        nonlocal heard
        for message in batch:
            hall.hear(message.topic, message.payload)
        heard += len(batch)
        if heard == MESSAGES - 20 * BATCH:  # whatever fills up once has done so
            tracemalloc.start()
        hall.world.settle(20)
        hall.world.now_s += 60.0
        unharmed(hall)

    attack()
    assert heard >= MESSAGES
    hall.world.settle()
    unharmed(hall)
    assert hall.world.agent.record.state in (S.IDLE, S.REJECTED, S.SUPERSEDED)
    waiting = transfer.QUEUE_BLOCKS * LARGEST_BLOCK  # forged ones that nobody has looked at yet
    assert kept_bytes() < waiting + (1 << 20)


def kept_bytes() -> int:
    """What code of the runtime has allocated since tracing began, and still holds."""
    gc.collect()
    traces = tracemalloc.take_snapshot().statistics("filename")
    tracemalloc.stop()
    files = {trace.traceback[0].filename: trace.size for trace in traces}
    return sum(size for name, size in files.items() if Path(name).parent == RUNTIME)


# Each found by the messages above, or by thinking like them ---------------------------------------


@pytest.mark.parametrize("place", [ROLLOUT, COMMAND, BLOCK])
def test_bombs_are_messages_that_cannot_be_read(hall: Hall, place: str) -> None:
    for payload in BOMBS:
        hall.hear(PLACES[place], payload)
        hall.world.agent.tick()
    unharmed(hall)


@pytest.mark.parametrize("seq", [2**63, 2**64 - 1, -1])
def test_ack_of_a_number_that_no_database_holds_is_ignored(hall: Hall, seq: int) -> None:
    hall.hear(PLACES[COMMAND], msgspec.msgpack.encode({"boot_id": "boot-1", "seq": seq}))
    hall.world.settle(3)
    unharmed(hall)


def test_document_of_an_earlier_rollout_is_not_taken_when_played_back(hall: Hall) -> None:
    """Signed by the fleet, not expired, never ended here: and yet of the past."""
    world = hall.world
    world.agent.post(PLACES[ROLLOUT], hall.signed(rollout_id="new", permille=0, version=7))
    world.settle(5)
    world.agent.post(PLACES[ROLLOUT], hall.signed(rollout_id="past", version=6))
    world.settle()
    unharmed(hall)
    assert "older than 7" in [event.reason for event in world.events][-1]
    world.boot()
    world.agent.post(PLACES[ROLLOUT], hall.signed(rollout_id="past", version=6))
    world.settle()
    unharmed(hall)


@pytest.mark.slow
def test_what_waits_for_the_agent_is_bounded_in_bytes(hall: Hall) -> None:
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(3_000):
        hall.hear(PLACES[ROLLOUT], b"x" * 300_000 + number.to_bytes(4, "big"))
        hall.hear(PLACES[BLOCK], encode(forged(number)))
    kept = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert kept < 24 << 20
    hall.world.settle(3)
    unharmed(hall)


def forged(number: int) -> Block:
    return Block(request_id="x", path="targets/x", index=number, total_bytes=1, data=b"x" * 300_000)


@pytest.mark.slow
def test_forged_documents_of_one_boot_are_told_of_a_bounded_number_of_times(hall: Hall) -> None:
    for number in range(300):
        document = hall.world.document(hall.old, rollout_id=f"forged{number}")
        hall.hear(PLACES[ROLLOUT], sign_document(document, STRANGER))
        hall.world.agent.tick()
    hall.world.settle(5)
    assert len([event for event in hall.world.events if event.kind == "rejected"]) == 64
    unharmed(hall)


def test_forged_blocks_do_not_keep_a_rollout_from_its_end(hall: Hall) -> None:
    world = hall.world
    good = world.roll_out(name="good")
    path = f"targets/bundles/{good}.ekb"
    honest = world.transfer.receive

    def beset(block: Block) -> None:
        waits = ((block.index, "x"), (block.index, "1-1"), (-1, ""))
        for index, request_id in waits if block.path == path else ():
            base = Block(request_id=request_id, path=path, index=index, total_bytes=9, data=b"x")
            honest(base)
            honest(msgspec.structs.replace(base, data=b"", error="not_found"))
        honest(block)

    world.transfer.receive = beset
    world.transfer._timeout_s = 50.0  # here every look at the clock takes a while
    world.settle()
    assert world.models.running == good
