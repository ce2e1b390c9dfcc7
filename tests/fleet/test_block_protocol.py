"""Device and server together, over a wire that is cut: nothing that was verified comes again."""

from __future__ import annotations

import contextlib
import itertools
import random
from collections import deque
from pathlib import Path

import pytest

from edgekiln.fleet.blocks import BlockServer
from edgekiln.runtime.block_window import MAX_WINDOW, BlockWindow, Tally
from edgekiln.runtime.errors import TransferError
from edgekiln.runtime.merkle import leaf_hashes
from edgekiln.runtime.protocol import Block, GetRequest, Topics, decode, encode
from edgekiln.runtime.transfer import PartFile

BLOCK = 64
DATA = random.Random(3).randbytes(BLOCK * 90 + 17)
LEAVES = leaf_hashes(DATA, BLOCK)
NAME = "targets/a.ekb"


class Wire:
    """One device, one server and a broker between them that forgets who is not there.

    Messages keep their order and take a random number of steps. A cut loses what was on its way to
    the device and what the device had just sent; what the server sends while nobody is there is
    lost too, and what it sends to the broker before the cut may still arrive after it.
    """

    def __init__(self, folder: Path, rng: random.Random) -> None:
        (folder / "targets").mkdir()
        (folder / "targets" / "a.ekb").write_bytes(DATA)
        self.rng = rng
        self.connected = True
        self.up: deque[bytes] = deque()
        self.at_broker: deque[Block] = deque()
        self.down: deque[Block] = deque()
        self.delivered: list[int] = []
        self.server = BlockServer(folder, Topics("default"), self)
        ids = itertools.count()
        self.part = PartFile(folder / "part", len(DATA), LEAVES, BLOCK)
        self.tally = Tally()
        self.now_s = 0.0
        self.new_id = lambda: str(next(ids))
        self.window = self.open()

    def open(self) -> BlockWindow:
        return BlockWindow(NAME, self.part, self.new_id, 5.0, self.now_s, self.tally)

    def offer(self, topic: str, payload: bytes) -> None:
        self.at_broker.append(decode(payload, Block))

    def room(self, timeout_s: float) -> bool:
        return len(self.at_broker) < 20

    retain = confirm = offer

    def cut(self) -> None:
        self.connected = False
        self.down.clear()
        for _ in range(self.rng.randint(0, len(self.up))):
            self.up.pop()

    def reconnect(self) -> None:
        self.connected = True
        self.window.reconnected(self.now_s)

    def step(self) -> None:
        self.now_s += 0.1
        actions = [self._serve, self._forward, self._hand_over, self._ask, self._request]
        self.rng.choice(actions)()

    def _serve(self) -> None:
        if self.room(0):
            self.server.step()

    def _forward(self) -> None:
        if self.at_broker:
            block = self.at_broker.popleft()
            if self.connected:
                self.down.append(block)

    def _hand_over(self) -> None:
        if not self.down:
            return
        block = self.down.popleft()
        if block.data:
            self.delivered.append(block.index)
        self.window.take(block, self.now_s)

    def _ask(self) -> None:
        if not self.connected:
            return
        if self.now_s >= self.window.deadline_s:
            try:
                self.window.silent(self.now_s)
            except TransferError:  # given up for now, then begun anew, as the agent does
                self.window = self.open()
        request = self.window.due()
        if request is not None:
            self.up.append(encode(request))

    def _request(self) -> None:
        if self.up:
            self.server.receive("a", self.up.popleft())


@pytest.mark.parametrize("seed", range(30))
def test_no_verified_block_comes_twice_when_connections_are_cut(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    wire = Wire(tmp_path, rng)
    cuts = 0
    for _ in range(100_000):
        if not wire.part.missing:
            break
        wire.step()
        if wire.connected and rng.random() < 0.02:
            wire.cut()
            cuts += 1
        elif not wire.connected and rng.random() < 0.05:
            wire.reconnect()
    assert cuts > 1
    assert sorted(wire.delivered) == list(range(len(LEAVES)))
    assert (wire.tally.good, wire.tally.repeated) == (len(LEAVES), 0)
    wire.part.close()
    assert (tmp_path / "part").read_bytes() == DATA


def test_block_that_comes_late_counts_and_is_not_asked_for_again(tmp_path: Path) -> None:
    wire = Wire(tmp_path, random.Random(0))

    def say() -> None:
        while (request := wire.window.due()) is not None:
            wire.server.receive("a", encode(request))

    say()
    while wire.server.step() or wire.at_broker:
        wire._forward()
        wire._hand_over()
        say()
        if wire.part.have == 10:
            break
    late = list(wire.at_broker)
    wire.window.reconnected(0.0)
    for block in late:
        assert wire.window.take(block, 0.0)
    assert wire.part.have == 10 + len(late)
    wire.at_broker.clear()
    say()
    asked: list[int] = []
    while wire.part.missing:
        wire.server.step()
        while wire.at_broker:
            asked.append(wire.at_broker[0].index)
            wire._forward()
            wire._hand_over()
        say()
    assert not set(asked[1:]) & {block.index for block in late}
    assert wire.tally.repeated == 0
    wire.part.close()


def test_window_doubles_until_the_first_silence_and_then_grows_by_one(tmp_path: Path) -> None:
    wire = Wire(tmp_path, random.Random(0))
    window = wire.window

    def take(count: int) -> None:
        for _ in range(count):
            index = min(wire.part.missing)
            data = DATA[index * BLOCK : (index + 1) * BLOCK]
            block = Block(request_id="?", path=NAME, index=index, total_bytes=len(DATA), data=data)
            assert window.take(block, 0.0)

    sizes = [window.size]
    for _ in range(2):
        take(window.size)
        sizes.append(window.size)
    assert sizes == [8, 16, 32]
    assert MAX_WINDOW == 32
    window.silent(10.0)
    assert window.size == 16
    take(16)
    assert window.size == 17
    with contextlib.suppress(TransferError):
        for _ in range(10):
            window.silent(20.0)
    assert window.size >= 1
    wire.part.close()


def test_answers_to_strangers_do_not_end_a_download(tmp_path: Path) -> None:
    wire = Wire(tmp_path, random.Random(0))
    fence = wire.window.due()
    assert isinstance(fence, GetRequest)
    assert fence.count == 0
    assert wire.window.due() is None
    stranger = Block(request_id="x", path=NAME, index=0, total_bytes=0, data=b"", error="not_found")
    assert not wire.window.take(stranger, 0.0)
    forged = Block(request_id="x", path=NAME, index=0, total_bytes=1, data=b"forged")
    for _ in range(100):
        assert not wire.window.take(forged, 0.0)
    assert wire.tally.wrong == 100
    wire.part.close()
