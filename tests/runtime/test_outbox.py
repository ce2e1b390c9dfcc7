"""The outbox keeps, bounds and forgets; the courier repeats until told to stop."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from edgekiln.runtime.courier import CAPTURES_IN_FLIGHT, IN_FLIGHT, Courier
from edgekiln.runtime.outbox import IN_MEMORY, Outbox


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Outbox]:
    outbox = Outbox(tmp_path / "outbox.sqlite3", max_messages=6, max_bytes=1000)
    yield outbox
    outbox.close()


def seqs(box: Outbox) -> list[int]:
    return [message.seq for message in box.pending(0, 100)]


def test_messages_survive_until_acknowledged(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "o")
    box.put("state", "b", 1, b"one")
    box.put("event", "b", 2, b"two")
    box.close()
    again = Outbox(tmp_path / "o")
    assert [m.payload for m in again.pending(0, 9)] == [b"one", b"two"]
    assert again.ack("b", 1)
    assert not again.ack("b", 1)
    assert not again.ack("other", 2)
    assert seqs(again) == [2]
    again.close()


def test_only_the_owner_reads_the_box(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "o")
    box.put("capture", "b", 1, b"a face")
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("o*")} == {0o600}
    box.close()


def test_box_in_memory_leaves_nothing_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    box = Outbox(IN_MEMORY)
    box.put("event", "b", 1, b"x")
    assert seqs(box) == [1]
    box.close()
    assert not list(tmp_path.iterdir())


def test_same_number_is_kept_once(box: Outbox) -> None:
    box.put("event", "b", 1, b"one")
    box.put("event", "b", 1, b"one")
    assert len(box) == 1


def test_oldest_report_goes_first_when_full(box: Outbox) -> None:
    for seq, kind in enumerate(("state", "report", "event", "report", "state", "report"), 1):
        box.put(kind, "b", seq, b"x")
    box.put("event", "b", 7, b"x")
    assert seqs(box) == [1, 3, 4, 5, 6, 7]
    box.put("report", "b", 8, b"x")
    box.put("report", "b", 9, b"x")
    assert seqs(box) == [1, 3, 5, 7, 8, 9]
    assert box.dropped == 3


def test_oldest_message_goes_when_no_report_is_left(box: Outbox) -> None:
    for seq in range(1, 9):
        box.put("event", "b", seq, b"x")
    assert seqs(box) == [3, 4, 5, 6, 7, 8]


def test_bytes_are_bounded_too_and_a_huge_message_still_fits_alone(box: Outbox) -> None:
    for seq in range(1, 4):
        box.put("report", "b", seq, b"x" * 400)
    assert seqs(box) == [2, 3]
    box.put("event", "b", 4, b"x" * 5000)
    assert seqs(box) == [4]


def test_dropped_is_remembered_over_restarts(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "o", max_messages=1)
    box.put("report", "b", 1, b"x")
    box.put("report", "b", 2, b"x")
    box.close()
    again = Outbox(tmp_path / "o", max_messages=1)
    assert again.dropped == 1
    again.close()


@pytest.mark.parametrize(
    "data", [b"this is no database at all" * 50, b"SQLite format 3\0" + b"z" * 5000]
)
def test_damaged_file_is_put_aside(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "o").write_bytes(data)
    box = Outbox(tmp_path / "o")
    box.put("event", "b", 1, b"x")
    assert seqs(box) == [1]
    box.close()
    assert (tmp_path / "o.damaged").read_bytes() == data


ORDER = ("capture", "report", "state", "event")


class BoxModel(RuleBasedStateMachine):
    """Against a plain list."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "o"
        self.box = Outbox(self.path, max_messages=5, max_bytes=60)
        self.kept: list[tuple[str, int, int]] = []
        self.dropped = self.seq = 0

    @rule(kind=st.sampled_from(ORDER), size=st.integers(0, 30))
    def put(self, kind: str, size: int) -> None:
        self.seq += 1
        self.box.put(kind, "b", self.seq, b"x" * size)
        self.kept.append((kind, self.seq, size))
        while len(self.kept) > 5 or (sum(k[2] for k in self.kept) > 60 and len(self.kept) > 1):
            self.kept.remove(min(self.kept, key=lambda k: (ORDER.index(k[0]), k[1])))
            self.dropped += 1

    @rule(seq=st.integers(1, 30))
    def ack(self, seq: int) -> None:
        self.box.ack("b", seq)
        self.kept = [k for k in self.kept if k[1] != seq]

    @rule()
    def restart(self) -> None:
        self.box.close()
        self.box = Outbox(self.path, max_messages=5, max_bytes=60)

    @invariant()
    def same(self) -> None:
        assert [(m.kind, m.seq, len(m.payload)) for m in self.box.pending(0, 99)] == self.kept
        assert (len(self.box), self.box.dropped) == (len(self.kept), self.dropped)

    def teardown(self) -> None:
        self.box.close()
        self.folder.cleanup()


TestBoxModel = pytest.mark.slow(BoxModel.TestCase)
TestBoxModel.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)


class Post:
    """A fleet that may be away."""

    def __init__(self, box: Outbox) -> None:
        self.sent: list[bytes] = []
        self.up = True
        self.now_s = 0.0
        self.courier = Courier(box, self.publish, lambda: self.now_s, resend_s=10.0)

    def publish(self, kind: str, payload: bytes) -> bool:
        if self.up:
            self.sent.append(payload)
        return self.up


def test_courier_repeats_only_what_is_not_acknowledged_in_time(box: Outbox) -> None:
    post = Post(box)
    box.put("event", "b", 1, b"one")
    box.put("event", "b", 2, b"two")
    post.courier.pump()
    post.courier.pump()
    assert post.sent == [b"one", b"two"]
    post.courier.acknowledged("b", 1)
    post.now_s = 11.0
    post.courier.pump()
    assert post.sent == [b"one", b"two", b"two"]


def test_courier_sends_all_again_when_the_connection_is_new(box: Outbox) -> None:
    post = Post(box)
    post.up = False
    box.put("event", "b", 1, b"one")
    post.courier.pump()
    post.up = True
    post.courier.pump()
    post.courier.reconnected()
    post.courier.pump()
    assert post.sent == [b"one", b"one"]


def test_courier_keeps_to_its_window(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "o")
    post = Post(box)
    for seq in range(1, IN_FLIGHT * 2):
        box.put("report", "b", seq, str(seq).encode())
    post.courier.pump()
    assert len(post.sent) == IN_FLIGHT
    post.courier.acknowledged("b", 3)
    post.courier.pump()
    assert post.sent[-1] == str(IN_FLIGHT + 1).encode()
    box.close()


def test_captures_that_nobody_takes_hold_up_nothing_else(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "o")
    post = Post(box)
    for seq in range(1, 100):
        box.put("capture", "b", seq, b"capture")
    for seq in range(100, 105):
        box.put("event", "b", seq, b"event")
    post.courier.pump()
    assert post.sent == [b"event"] * 5 + [b"capture"] * CAPTURES_IN_FLIGHT
    for seq in range(100, 105):
        post.courier.acknowledged("b", seq)
    box.put("event", "b", 105, b"later")
    post.courier.pump()
    assert post.sent[-1] == b"later"
    box.close()
