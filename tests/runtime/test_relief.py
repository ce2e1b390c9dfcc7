"""What a full outbox gives up: in the order that `relief` names, and nothing uncounted."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edgekiln.runtime import courier as courier_module
from edgekiln.runtime.courier import Courier
from edgekiln.runtime.errors import AgentError
from edgekiln.runtime.holding import MAX_HELD, HeldReports
from edgekiln.runtime.kll import sketch_of
from edgekiln.runtime.kll_bytes import decode_sketch, encode_sketch
from edgekiln.runtime.outbox import Outbox
from edgekiln.runtime.protocol import FeatureWindow, Lost, Report, decode, encode
from edgekiln.runtime.relief import DAY_S, HOUR_S, read_losses

SKETCH = encode_sketch(sketch_of(np.arange(40.0), 64, np.random.default_rng(0)))


def report(
    seq: int, start_s: float = 0.0, samples: int = 10, bundle: str = "b1", boot: str = "boot"
) -> Report:
    window = FeatureWindow(name="x", bins=(samples,) * 16, evidence=0.0, alarm=False, sketch=SKETCH)
    return Report(
        boot_id=boot,
        seq=seq,
        bundle_id=bundle,
        start_s=start_s,
        end_s=start_s + 60.0,
        samples=samples,
        violations=0,
        latency_us=(samples,),
        confidence=window,
        classes=(samples,),
        class_drift=msgspec.structs.replace(window, sketch=b""),
        features=(window, window),
    )


def reports(box: Outbox) -> list[Report]:
    return [decode(m.payload, Report) for m in box.pending(0, 10_000) if m.kind == "report"]


def kinds(box: Outbox) -> list[str]:
    return [message.kind for message in box.pending(0, 10_000)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox"


def opened(path: Path, max_messages: int = 4000, max_bytes: int = 1 << 24) -> Outbox:
    return Outbox(path, max_messages, max_bytes, np.random.default_rng(0))


@pytest.fixture
def box(path: Path) -> Iterator[Outbox]:
    made = opened(path, max_messages=4)
    yield made
    made.close()


def test_captures_go_before_anything_else(box: Outbox) -> None:
    box.put("capture", "boot", 1, b"c")
    for seq in range(2, 6):
        box.put_report(report(seq, seq * DAY_S))
    assert kinds(box) == ["report"] * 4
    box.put_report(report(6, 6 * DAY_S + 1))
    assert reports(box)[-1].lost.captures == 1


def test_reports_of_an_hour_become_one_and_nothing_but_resolution_is_lost(box: Outbox) -> None:
    for seq in range(1, 5):
        box.put_report(report(seq, 60.0 * seq))
    box.put_report(report(5, HOUR_S + 1.0))
    first, second = reports(box)
    assert (first.merged, first.samples, first.seq) == (4, 40, 4)
    assert (first.start_s, first.end_s) == (60.0, 300.0)
    assert first.features[0].bins == (40,) * 16
    assert decode_sketch(first.features[1].sketch).n == 160
    assert (second.merged, second.seq) == (1, 5)
    assert first.lost == second.lost == Lost()
    assert box.dropped == 0


def test_hours_become_days_only_when_no_hour_has_two_reports(box: Outbox) -> None:
    for hour in range(4):
        box.put_report(report(hour + 1, hour * HOUR_S + 5.0))
    box.put_report(report(5, 3 * HOUR_S + 100.0))
    assert [told.merged for told in reports(box)] == [1, 1, 1, 2]
    box.put_report(report(6, DAY_S + 1.0))
    assert [told.merged for told in reports(box)] == [5, 1]
    assert [told.samples for told in reports(box)] == [50, 10]


def test_reports_of_different_bundles_stay_apart(box: Outbox) -> None:
    for seq in range(1, 6):
        box.put_report(report(seq, 60.0 * seq, bundle=f"b{seq % 2}"))
    assert [(told.bundle_id, told.merged) for told in reports(box)] == [
        ("b0", 1),
        ("b0", 1),
        ("b1", 3),
    ]


def test_report_that_may_have_left_is_never_merged(box: Outbox) -> None:
    for seq in range(1, 4):
        box.put_report(report(seq, 60.0 * seq))
    box.mark_sent([box.pending(0, 1)[0].id])
    for seq in range(4, 6):
        box.put_report(report(seq, 60.0 * seq))
    told = reports(box)
    assert [(one.seq, one.merged) for one in told] == [(1, 1), (5, 4)]


def test_sketches_go_before_reports_and_both_are_told_by_the_next_report(path: Path) -> None:
    size = len(encode(report(1)))
    box = opened(path, max_bytes=3 * size + 60)
    for day in range(4):
        box.put_report(report(day + 1, day * DAY_S))
    rich = [bool(told.features[0].sketch) for told in reports(box)]
    assert rich == sorted(rich)
    assert set(rich) == {False, True}
    assert [told.lost.sketches for told in reports(box)] == [0 if one else 2 for one in rich]
    assert all(told.confidence.sketch for told in reports(box))
    for day in range(4, 12):
        box.put_report(report(day + 1, day * DAY_S))
    told = reports(box)
    gone = 12 - len(told)
    waiting = read_losses(box._db)
    assert sum(one.dropped for one in told) + waiting.windows == gone > 0
    assert sum(one.lost.samples for one in told) + waiting.lost.samples == 10 * gone
    assert box.dropped == gone
    box.close()


def test_states_go_before_events_when_no_report_is_left(box: Outbox) -> None:
    for seq, kind in enumerate(("event", "state", "event", "report", "state", "event"), 1):
        box.put(kind, "boot", seq, b"x")
    assert kinds(box) == ["event", "event", "state", "event"]
    for seq in range(7, 10):
        box.put("event", "boot", seq, b"x")
    assert [m.seq for m in box.pending(0, 9)] == [6, 7, 8, 9]
    assert read_losses(box._db).lost.messages == 4


def test_reports_that_cannot_be_read_are_dropped_in_their_turn(box: Outbox) -> None:
    for seq in range(1, 7):
        box.put_report(report(seq, 60.0 * seq))
        box._db.execute("UPDATE message SET payload = ? WHERE seq = ?", (b"?", seq))
    assert len(box) == 4
    assert box.dropped == 2


@pytest.mark.slow
def test_month_without_a_broker_fits_and_loses_no_count(path: Path) -> None:
    bounds = {"max_messages": 60, "max_bytes": 100_000}
    box = opened(path, **bounds)
    windows = 30 * 24 * 2  # of half an hour
    for at in range(windows):
        box.put_report(report(at + 1, at * 1800.0))
        if at == 500:
            box.close()
            box = opened(path, **bounds)
    told = reports(box)
    assert sum(one.samples for one in told) == 10 * windows
    assert sum(one.merged for one in told) == windows
    assert (box.dropped, sum(one.lost.samples for one in told)) == (0, 0)
    assert box.size_bytes <= 100_000
    spans = [one.end_s - one.start_s for one in told]
    assert spans[0] > HOUR_S > spans[-1]
    box.close()


def test_box_of_an_earlier_version_is_taken_over_and_its_reports_are_not_merged(
    path: Path,
) -> None:
    db = sqlite3.connect(path)
    db.executescript(
        "CREATE TABLE message (id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, boot_id "
        "TEXT NOT NULL, seq INTEGER NOT NULL, payload BLOB NOT NULL, UNIQUE (boot_id, seq));"
        "CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL);"
        "INSERT INTO counter VALUES ('dropped', 7);"
    )
    for seq in (1, 2):
        row = ("report", "old", seq, encode(report(seq, boot="old")))
        db.execute("INSERT INTO message (kind, boot_id, seq, payload) VALUES (?, ?, ?, ?)", row)
    db.commit()
    db.close()
    box = opened(path, max_messages=3)
    assert box.dropped == 7
    box.put_report(report(1, 60.0))
    box.put_report(report(2, 120.0))
    assert [(one.boot_id, one.merged) for one in reports(box)] == [
        ("old", 1),
        ("old", 1),
        ("boot", 2),
    ]
    box.close()


def test_captures_expire_and_are_counted(box: Outbox) -> None:
    box.put("capture", "boot", 1, b"c", expires_s=50.0)
    box.put("capture", "boot", 2, b"c", expires_s=150.0)
    box.put("event", "boot", 3, b"e")
    box.expire(100.0)
    assert [m.seq for m in box.pending(0, 9)] == [2, 3]
    assert (len(box), box.size_bytes) == (2, 2)
    assert read_losses(box._db).lost.captures == 1


class Fleet:
    """Stores each message once, as `store_inbound` does, and answers when it can."""

    def __init__(self) -> None:
        self.seen: dict[tuple[str, int], Report] = {}

    def take(self, payload: bytes) -> Report:
        told = decode(payload, Report)
        return self.seen.setdefault((told.boot_id, told.seq), told)

    @property
    def samples(self) -> int:
        return sum(told.samples for told in self.seen.values())

    @property
    def lost_samples(self) -> int:
        return sum(told.lost.samples for told in self.seen.values())


def accounted(box: Outbox, fleet: Fleet) -> int:
    """Samples that arrived, wait, or are said to be lost; each once."""
    waiting = [r for r in reports(box) if (r.boot_id, r.seq) not in fleet.seen]
    held = sum(told.samples + told.lost.samples for told in waiting)
    return fleet.samples + fleet.lost_samples + held + read_losses(box._db).lost.samples


class Loss(RuleBasedStateMachine):
    """Restarts, a broker that comes and goes, lost acknowledgements, failing transactions."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(courier_module, "IN_FLIGHT", 3)
        self.fleet = Fleet()
        self.boot = self.seq = self.put_samples = 0
        self.start_s = 0.0
        self.left = 0  # publishes until the broker goes away
        self.heard: list[Report] = []
        self.box: Outbox | None = None
        self.reopen()

    @rule()
    def reopen(self) -> None:
        if self.box is not None:
            self.box.close()
        path = Path(self.folder.name) / "o"
        self.box = Outbox(path, max_messages=9, max_bytes=7000, rng=np.random.default_rng(0))
        self.boot, self.seq = self.boot + 1, 0
        self.courier = Courier(self.box, self.publish, lambda: 0.0)

    def publish(self, kind: str, payload: bytes) -> bool:
        self.left -= 1
        if self.left < 0:
            return False
        self.heard.append(self.fleet.take(payload))
        return True

    def next_report(self) -> Report:
        self.seq += 1
        return report(self.seq, self.start_s, self.seq, boot=f"boot{self.boot}")

    @rule(step_s=st.sampled_from([0.0, 60.0, 2000.0, 90_000.0]))
    def put(self, step_s: float) -> None:
        self.start_s += step_s
        told = self.next_report()
        self.box.put_report(told)
        self.put_samples += told.samples

    @rule()
    def put_fails_at_the_end(self) -> None:
        told = self.next_report()
        before = len(self.box), self.box.size_bytes
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.box, "_make_room", lambda: (_ for _ in ()).throw(OSError("full")))
            with pytest.raises(OSError, match="full"):
                self.box.put_report(told)
        assert (len(self.box), self.box.size_bytes) == before

    @rule(left=st.integers(0, 5))
    def send(self, left: int) -> None:
        self.left = left
        self.courier.reconnected()
        self.courier.pump()

    @precondition(lambda self: self.heard)
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        told = data.draw(st.sampled_from(self.heard))
        self.courier.acknowledged(told.boot_id, told.seq)

    @rule()
    def forget_acknowledgements(self) -> None:
        self.heard.clear()

    @invariant()
    def every_sample_is_counted_once(self) -> None:
        assert accounted(self.box, self.fleet) == self.put_samples
        assert self.box.size_bytes <= 7000
        assert len(self.box) <= 9

    def teardown(self) -> None:
        self.box.close()
        self.patch.undo()
        self.folder.cleanup()


TestLoss = pytest.mark.slow(Loss.TestCase)
TestLoss.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)

_CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from test_relief import opened, report
from edgekiln.runtime.courier import Courier
box = opened(Path(sys.argv[1]), max_messages=40, max_bytes=30_000)
boot = sys.argv[2]
spool = open(sys.argv[1] + ".wire", "ab", buffering=0)
def publish(kind, payload):
    spool.write(len(payload).to_bytes(4, "big") + payload)
    return True
courier = Courier(box, publish, lambda: 0.0)
for seq in range(1, 100_000):
    box.put_report(report(seq, 1000.0 * int(boot) + 100.0 * seq, 1, boot=boot))
    print(seq, flush=True)
    if seq % 7 == 0:
        courier.pump()
    if seq % 11 == 0:
        for message in box.pending(0, 5):
            if message.sent:
                courier.acknowledged(message.boot_id, message.seq)
"""


@pytest.mark.slow
def test_killed_at_any_time_the_box_counts_every_sample_once(path: Path) -> None:
    rng = np.random.default_rng(1)
    put = 0
    for boot in range(6):
        wanted = int(rng.integers(1, 80))
        with subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(path), str(boot), str(Path(__file__).parent)],
            stdout=subprocess.PIPE,
            text=True,
        ) as child:
            assert child.stdout is not None
            for line in child.stdout:
                if int(line) >= wanted:
                    child.kill()
                put += 1
        assert child.returncode == -9
    box, fleet = opened(path), Fleet()
    wire = path.with_name(path.name + ".wire").read_bytes()
    while len(wire) > 4 and len(wire) >= 4 + int.from_bytes(wire[:4], "big"):
        size = int.from_bytes(wire[:4], "big")
        fleet.take(wire[4 : 4 + size])
        wire = wire[4 + size :]
    total = accounted(box, fleet)
    assert fleet.samples > 0
    assert box.dropped == 0
    assert put <= total <= put + 6  # a put may be done and not yet said
    for message in box.pending(0, 1000):
        fleet.take(message.payload)
    assert fleet.samples == total
    assert sum(one.merged for one in fleet.seen.values()) == total
    box.close()


class Disk:
    """An outbox that is full for a while."""

    def __init__(self) -> None:
        self.full = False
        self.stored: list[Report] = []

    def put(self, told: Report) -> None:
        if self.full:
            raise sqlite3.OperationalError("database or disk is full")
        self.stored.append(told)


def test_reports_wait_in_bounded_memory_while_the_disk_is_full() -> None:
    disk = Disk()
    held = HeldReports(disk.put, np.random.default_rng(0))
    disk.full = True
    for seq in range(1, 101):
        with pytest.raises(sqlite3.OperationalError):
            held.add(report(seq, 60.0 * seq, bundle="b1" if seq <= 90 else f"b{seq}"))
        assert len(held._held) <= MAX_HELD
    disk.full = False
    held.add(report(101, 6060.0))
    assert sum(one.samples + one.lost.samples for one in disk.stored) == 1010
    assert sum(one.merged + one.dropped for one in disk.stored) == 101
    assert [one.seq for one in disk.stored] == sorted(one.seq for one in disk.stored)
    assert held._held == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root may mount a small disk: sudo make test")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("waiting", [0, 60])
def test_full_disk_stops_neither_acknowledgements_nor_new_reports(
    small_disk: Path, waiting: int
) -> None:
    box = opened(small_disk / "outbox")
    for seq in range(1, waiting + 1):
        box.put_report(report(seq, 90_000.0 * seq))
    with contextlib.suppress(OSError), (small_disk / "someone-elses").open("wb", 0) as other:
        while True:
            other.write(bytes(4096))
    seq = waiting
    put = 10 * waiting
    for _ in range(300):
        seq += 1
        box.put_report(report(seq, 90_000.0 * seq))
        put += 10
        if seq % 5 == 0:
            (first,) = box.pending(0, 1)
            box.mark_sent([first.id])
    fleet = Fleet()
    assert accounted(box, fleet) == put
    while len(box):
        (first,) = box.pending(0, 1)
        fleet.take(first.payload)
        assert box.ack(first.boot_id, first.seq)
    lost = read_losses(box._db).lost.samples
    assert fleet.samples + fleet.lost_samples + lost == put
    assert fleet.samples > 500
    box.close()
    (small_disk / "someone-elses").unlink()
    again = opened(small_disk / "outbox")
    assert (small_disk / "outbox.ballast").exists()
    again.close()


@pytest.mark.slow
def test_box_opens_on_a_full_disk_and_goes_on_with_what_it_held(small_disk: Path) -> None:
    box = opened(small_disk / "outbox")
    box.put_report(report(1))
    box.close()
    with contextlib.suppress(OSError), (small_disk / "someone-elses").open("wb", 0) as other:
        while True:
            other.write(bytes(4096))
    again = opened(small_disk / "outbox")
    for seq in range(2, 300):
        again.put_report(report(seq, 90_000.0 * seq))
    assert accounted(again, Fleet()) == 2990
    assert again.ack("boot", reports(again)[0].seq)
    again.close()


def test_folder_that_cannot_be_written_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="cannot be used"):
        Outbox(tmp_path / "missing" / "outbox")
