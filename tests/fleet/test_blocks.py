from __future__ import annotations

import threading
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekiln.fleet import blocks as blocks_module
from edgekiln.fleet.block_files import resolve
from edgekiln.fleet.blocks import BlockServer
from edgekiln.fleet.pacing import TokenBucket
from edgekiln.runtime.protocol import Block, GetRequest, Topics, decode, encode

DATA = bytes(range(256)) * 40


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    (root / "targets" / "bundles").mkdir(parents=True)
    (root / "metadata").mkdir()
    (root / "targets" / "bundles" / "a.ekb").write_bytes(DATA)
    (root / "targets" / "empty").write_bytes(b"")
    (root / "targets" / ".a.ekb.part").write_bytes(b"half")
    (root / "metadata" / "timestamp.json").write_bytes(b"{}")
    (root / "secret.pem").write_bytes(b"key")
    (tmp_path / "outside").write_bytes(b"key")
    (root / "targets" / "link").symlink_to(tmp_path / "outside")
    return root


class Offered:
    """A publisher that keeps what it is given."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, Block]] = []

    def offer(self, topic: str, payload: bytes) -> None:
        self.messages.append((topic, decode(payload, Block)))

    def room(self, timeout_s: float) -> bool:
        return True

    retain = confirm = offer

    @property
    def blocks(self) -> list[Block]:
        return [block for _, block in self.messages]


def answer(repository: Path, *requests: GetRequest) -> list[Block]:
    """What one device gets for its requests."""
    sent = Offered()
    server = BlockServer(repository, Topics("default"), sent)
    for request in requests:
        server.receive("a", encode(request))
    while server.step():
        pass
    return sent.blocks


def ask(path: str, first: int = 0, count: int = 8, block_bytes: int = 1000) -> GetRequest:
    return GetRequest(request_id="q", path=path, first=first, count=count, block_bytes=block_bytes)


def test_windows_together_are_the_file(repository: Path) -> None:
    got = b""
    while len(got) < len(DATA):
        blocks = list(answer(repository, ask("targets/bundles/a.ekb", len(got) // 1000, 3)))
        assert len(blocks) <= 3
        assert all(block.total_bytes == len(DATA) and not block.error for block in blocks)
        got += b"".join(block.data for block in blocks)
    assert got == DATA


def test_window_is_bounded(repository: Path) -> None:
    blocks = list(answer(repository, ask("targets/bundles/a.ekb", 0, 10**9, 1)))
    assert len(blocks) == 64


def test_empty_file_is_one_empty_block(repository: Path) -> None:
    (block,) = answer(repository, ask("targets/empty"))
    assert (block.data, block.total_bytes, block.error) == (b"", 0, "")


@pytest.mark.parametrize(
    "path",
    [
        "secret.pem",
        "targets",
        "targets/../secret.pem",
        "targets/bundles/../../secret.pem",
        "/targets/bundles/a.ekb",
        "targets/.a.ekb.part",
        "targets/link",
        "targets/none",
        "targets/a\0b",
        "",
        "../outside",
        "metadata/" + "x" * 3000,
    ],
)
def test_everything_else_is_not_found(repository: Path, path: str) -> None:
    (block,) = answer(repository, ask(path))
    assert (block.error, block.data) == ("not_found", b"")


@given(st.text(max_size=30))
def test_resolve_never_leaves_the_two_folders(path: str) -> None:
    root = Path(__file__).parent.parent
    assert resolve(root, path) is None


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (ask("targets/bundles/a.ekb", 11), "out_of_range"),
        (ask("targets/bundles/a.ekb", -1), "bad_request"),
        (ask("targets/bundles/a.ekb", 0, -1), "bad_request"),
        (ask("targets/bundles/a.ekb", 1 << 62), "bad_request"),
        (ask("targets/bundles/a.ekb", 0, 1, 0), "bad_request"),
        (ask("targets/bundles/a.ekb", 0, 1, 1 << 30), "bad_request"),
    ],
)
def test_senseless_request_gets_an_error(
    repository: Path, request_: GetRequest, error: str
) -> None:
    (block,) = answer(repository, request_)
    assert block.error == error


def test_blocks_go_to_the_device_that_asked(repository: Path) -> None:
    sent = Offered()
    server = BlockServer(repository, Topics("default"), sent)
    server.receive("a", b"nonsense")
    server.receive("a", encode(ask("metadata/timestamp.json")))
    assert server.step() == 1
    assert server.step() == 0
    ((topic, block),) = sent.messages
    assert topic == "edgekiln/v1/default/d/a/dn/block"
    assert (block.request_id, block.data) == ("q", b"{}")


def test_devices_take_turns_whatever_each_asked_for(repository: Path) -> None:
    sent = Offered()
    server = BlockServer(repository, Topics("default"), sent)
    for device, count in (("greedy", 10), ("modest", 2), ("late", 3)):
        server.receive(device, encode(ask("targets/bundles/a.ekb", 0, count)))
    while server.step():
        pass
    order = [topic.split("/")[4] for topic, _ in sent.messages]
    assert order[:6] == ["greedy", "modest", "late"] * 2
    assert order[6:] == ["greedy", "late"] + ["greedy"] * 7


def test_fence_is_answered_at_once_and_forgets_what_was_to_come(repository: Path) -> None:
    sent = Offered()
    server = BlockServer(repository, Topics("default"), sent)
    server.receive("a", encode(ask("targets/bundles/a.ekb", 0, 8)))
    server.receive("b", encode(ask("targets/bundles/a.ekb", 0, 2)))
    assert server.step() == 1
    fence = GetRequest(request_id="fence", path="targets/bundles/a.ekb", first=0, count=0)
    server.receive("a", encode(fence))
    while server.step():
        pass
    told = [(topic.split("/")[4], block.request_id) for topic, block in sent.messages]
    assert told == [("a", "q"), ("a", "fence"), ("b", "q"), ("b", "q")]
    assert sent.blocks[1].data == b""


def test_requests_of_one_device_are_bounded(repository: Path) -> None:
    blocks = answer(repository, *(ask("targets/bundles/a.ekb", 0, 1) for _ in range(50)))
    assert len(blocks) == 8


def test_file_that_is_replaced_is_read_anew(repository: Path) -> None:
    sent = Offered()
    server = BlockServer(repository, Topics("default"), sent)
    timestamp = repository / "metadata" / "timestamp.json"
    for data in (b"{}", b'{"version": 2}', b"[]"):
        fresh = timestamp.with_name("new")
        fresh.write_bytes(data)
        fresh.replace(timestamp)
        server.receive("a", encode(ask("metadata/timestamp.json")))
        server.step()
    assert [block.data for block in sent.blocks] == [b"{}", b'{"version": 2}', b"[]"]


def test_file_that_goes_away_under_a_request_ends_it(repository: Path) -> None:
    sent = Offered()
    server = BlockServer(repository, Topics("default"), sent)
    server.receive("a", encode(ask("targets/bundles/a.ekb", 0, 8)))
    server.step()
    (repository / "targets" / "bundles" / "a.ekb").unlink()
    while server.step():
        pass
    assert [block.error for block in sent.blocks] == ["", "not_found"]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 2), st.integers(1, 5000)), max_size=60))
def test_bucket_lets_no_more_through_than_its_rate(steps: list[tuple[float, int]]) -> None:
    """Sent at a time when the bucket lets it: never over burst + rate * time + one message."""
    now_s, sent = 0.0, 0
    bucket = TokenBucket(1000.0, 2000.0, now_s)
    for waited_s, size in steps:
        now_s += waited_s
        pause_s = bucket.wait_s(now_s)
        assert pause_s >= 0
        now_s += pause_s + 1e-9
        assert bucket.wait_s(now_s) <= 1e-9
        assert sent <= 2000 + 1000 * now_s + 1e-3
        bucket.spend(size)
        sent += size


def test_server_waits_for_the_bucket(repository: Path) -> None:
    now = [0.0]
    stop = threading.Event()

    class Stopping(Offered):
        def offer(self, topic: str, payload: bytes) -> None:
            super().offer(topic, payload)
            if len(self.messages) == 10:
                stop.set()

    def clock() -> float:
        now[0] += 0.05  # a look at the clock takes that long here
        return now[0]

    sent = Stopping()
    bucket = TokenBucket(10_000.0, 1.0, 0.0)
    server = BlockServer(repository, Topics("default"), sent, bucket, clock)
    server.receive("a", encode(ask("targets/bundles/a.ekb", 0, 10)))
    stop.wait = lambda timeout=None: now.__setitem__(0, now[0] + timeout) or False  # type: ignore
    server.run(stop)
    assert now[0] > 9 * 1000 / 10_000


def test_server_sends_nothing_while_the_network_has_no_room(repository: Path) -> None:
    stop = threading.Event()
    looks: list[float] = []

    class Full(Offered):
        def room(self, timeout_s: float) -> bool:
            looks.append(timeout_s)
            if len(looks) == 3:
                stop.set()
            return False

    sent = Full()
    server = BlockServer(repository, Topics("default"), sent)
    server.receive("a", encode(ask("targets/bundles/a.ekb", 0, 8)))
    server.run(stop)
    assert sent.messages == []


def test_blocks_come_when_another_device_asks_faster_than_it_is_answered(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks_module, "QUEUE_REQUESTS", 20)
    fence = encode(msgspec.structs.replace(ask("targets/bundles/a.ekb"), count=0))

    class Flooded(Offered):
        def offer(self, topic: str, payload: bytes) -> None:
            super().offer(topic, payload)
            assert len(self.messages) < 1000
            server.receive("flood", fence)

    sent = Flooded()
    server = BlockServer(repository, Topics("default"), sent)
    server.receive("flood", fence)
    server.receive("a", encode(ask("targets/bundles/a.ekb", count=2)))
    for _ in range(2):
        server.step()
    assert [block.index for topic, block in sent.messages if "/d/a/" in topic] == [0, 1]
