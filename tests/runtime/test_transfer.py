"""Blocks over a wire that loses, repeats, reorders and forges."""

from __future__ import annotations

import contextlib
import itertools
import random
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from edgekiln.runtime.block_window import MAX_WINDOW
from edgekiln.runtime.errors import AbsentFileError, TransferError
from edgekiln.runtime.merkle import leaf_hashes
from edgekiln.runtime.protocol import Block, GetRequest
from edgekiln.runtime.transfer import PartFile, Transfer

SIZE = 32 * 1024
DATA = random.Random(5).randbytes(SIZE * 20 + 77)
LEAVES = leaf_hashes(DATA, SIZE)


class Wire:
    """Answers requests from `files`; `change` may drop, repeat or forge the blocks of a request."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.online = True
        self.asked: list[GetRequest] = []
        self.change: Callable[[list[Block]], list[Block]] = lambda blocks: blocks
        self.now_s = 0.0
        ids = itertools.count()
        self.transfer = Transfer(self.ask, lambda: str(next(ids)), self.clock, timeout_s=1.0)

    def clock(self) -> float:
        self.now_s += 0.3
        return self.now_s

    def ask(self, request: GetRequest) -> bool:
        self.asked.append(request)
        if not self.online:
            return False
        data = self.files.get(request.path)
        if request.count == 0:  # a fence
            self.transfer.receive(
                Block(
                    request_id=request.request_id,
                    path=request.path,
                    index=0,
                    total_bytes=0,
                    data=b"",
                )
            )
            return True
        blocks = [
            Block(
                request_id=request.request_id,
                path=request.path,
                index=index,
                total_bytes=len(data or b""),
                data=(data or b"")[index * request.block_bytes : (index + 1) * request.block_bytes],
                error="" if data is not None else "not found",
            )
            for index in range(request.first, request.first + request.count)
        ]
        for block in self.change(blocks):
            self.transfer.receive(block)
        return True

    def fetch(self, path: Path) -> list[int]:
        part = PartFile(path, len(DATA), LEAVES)
        try:
            return list(self.transfer.fetch_part("b", part))
        finally:
            part.close()


def test_fetch_bytes_returns_the_file_whatever_its_size() -> None:
    wire = Wire({"empty": b"", "small": b"abc", "large": DATA, "exact": DATA[: 2 * SIZE]})
    for name, data in wire.files.items():
        assert wire.transfer.fetch_bytes(name, 1 << 20) == data


def test_fetch_bytes_refuses_when_the_file_is_too_large() -> None:
    with pytest.raises(TransferError, match="at most 100"):
        Wire({"large": DATA}).transfer.fetch_bytes("large", 100)


def test_fetch_bytes_says_absent_when_the_fleet_has_no_such_file() -> None:
    with pytest.raises(AbsentFileError, match="not found"):
        Wire({}).transfer.fetch_bytes("metadata/2.root.json", 100)


def test_fetch_bytes_refuses_when_the_file_changes_under_it() -> None:
    wire = Wire({"large": DATA})

    def grow(blocks: list[Block]) -> list[Block]:
        return [msgspec.structs.replace(b, total_bytes=len(DATA) + b.index) for b in blocks]

    wire.change = grow
    with pytest.raises(TransferError, match="changed"):
        wire.transfer.fetch_bytes("large", 1 << 20)


def test_fetch_bytes_ignores_answers_to_older_requests() -> None:
    wire = Wire({"small": b"new"})
    stale = Block(request_id="old", path="small", index=0, total_bytes=3, data=b"old")
    wire.change = lambda blocks: [stale, *blocks]
    assert wire.transfer.fetch_bytes("small", 100) == b"new"


def test_fetch_bytes_gives_up_when_nothing_comes() -> None:
    wire = Wire({"small": b"x"})
    wire.change = lambda blocks: []
    with pytest.raises(TransferError, match="no answer in 3"):
        wire.transfer.fetch_bytes("small", 100)


def test_fetch_fails_at_once_when_offline(tmp_path: Path) -> None:
    wire = Wire({"b": DATA})
    wire.online = False
    with pytest.raises(TransferError, match="offline"):
        wire.transfer.fetch_bytes("b", 100)
    with pytest.raises(TransferError, match="offline"):
        wire.fetch(tmp_path / "part")


def test_fetch_part_keeps_to_its_window_and_asks_once_for_each_block(tmp_path: Path) -> None:
    wire = Wire({"b": DATA})
    assert wire.fetch(tmp_path / "part") == list(range(1, 22))
    assert (tmp_path / "part").read_bytes() == DATA
    assert max(request.count for request in wire.asked) <= MAX_WINDOW
    asked = [i for r in wire.asked for i in range(r.first, r.first + r.count)]
    assert sorted(asked) == list(range(21))


@pytest.mark.parametrize("seed", range(6))
def test_fetch_part_arrives_over_a_bad_wire(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    wire = Wire({"b": DATA})
    spoiled = 0

    def mistreat(blocks: list[Block]) -> list[Block]:
        nonlocal spoiled
        came = [block for block in blocks if rng.random() > 0.2]
        came += [block for block in came if rng.random() < 0.2]
        rng.shuffle(came)
        for place, block in enumerate(came):
            if spoiled < 10 and rng.random() < 0.2:
                spoiled += 1
                came[place] = msgspec.structs.replace(block, data=block.data[::-1])
        return came

    wire.change = mistreat
    for _ in range(5):
        with contextlib.suppress(TransferError):  # given up for now, as the agent sees it
            wire.fetch(tmp_path / "part")
            break
    assert (tmp_path / "part").read_bytes() == DATA


def test_fetch_part_continues_without_the_blocks_on_disk(tmp_path: Path) -> None:
    wire = Wire({"b": DATA})
    part = PartFile(tmp_path / "part", len(DATA), LEAVES)
    for index in (0, 1, 2, 9, 20):
        assert part.write(index, DATA[index * SIZE : (index + 1) * SIZE])
    part.close()
    wire.fetch(tmp_path / "part")
    asked = {i for r in wire.asked for i in range(r.first, r.first + r.count)}
    assert asked == set(range(21)) - {0, 1, 2, 9, 20}
    assert (tmp_path / "part").read_bytes() == DATA


def test_part_file_finds_damage_in_what_it_has(tmp_path: Path) -> None:
    damaged = bytearray(DATA)
    damaged[3 * SIZE + 5] ^= 1
    (tmp_path / "part").write_bytes(damaged)
    part = PartFile(tmp_path / "part", len(DATA), LEAVES)
    assert part.missing == {3}
    assert not part.write(3, bytes(damaged[3 * SIZE : 4 * SIZE]))
    assert not part.write(99, b"x")
    assert part.write(3, DATA[3 * SIZE : 4 * SIZE])
    assert part.read() == DATA
    part.close()


def test_fetch_part_gives_up_when_every_block_is_forged(tmp_path: Path) -> None:
    wire = Wire({"b": DATA[::-1]})
    with pytest.raises(TransferError, match="not the signed ones"):
        wire.fetch(tmp_path / "part")
    assert DATA[:SIZE] not in (tmp_path / "part").read_bytes()


def test_fetch_part_gives_up_when_blocks_stop_and_keeps_what_came(tmp_path: Path) -> None:
    wire = Wire({"b": DATA})
    wire.change = lambda blocks: [block for block in blocks if block.index < 5]
    with pytest.raises(TransferError, match="no block in 3 attempts"):
        wire.fetch(tmp_path / "part")
    part = PartFile(tmp_path / "part", len(DATA), LEAVES)
    assert part.have == 5
    part.close()


def test_a_wait_ends_when_the_agent_says_so(tmp_path: Path) -> None:
    def superseded() -> None:
        raise TransferError("superseded")

    wire = Wire({"b": DATA})
    wire.transfer.on_wait = superseded
    with pytest.raises(TransferError, match="superseded"):
        wire.fetch(tmp_path / "part")
