"""Simulated devices: many in one process, each with a connection of its own to a real broker.

What to ask for next, what to accept and what to write are the product's (`BlockWindow`,
`PartFile`); only the socket is lighter than paho's: MQTT 3.1.1 on asyncio, QoS 0, no threads.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import random
import resource
import struct
import time
from dataclasses import dataclass, field
from pathlib import Path

from edgekiln.runtime.block_window import BlockWindow, Tally
from edgekiln.runtime.merkle import decode_leaves
from edgekiln.runtime.protocol import Block, GetRequest, Topics, decode, encode
from edgekiln.runtime.transfer import TIMEOUT_S, PartFile

TOPICS = Topics("default")
CONNECT, CONNACK, PUBLISH, SUBSCRIBE, PINGREQ = 0x10, 0x20, 0x30, 0x82, 0xC0
KEEPALIVE_S = 120
LOOK_S = 0.25  # between two looks at the deadlines
AWAY_S = (0.05, 0.5)  # a cut connection comes back within this time
SPREAD_S = 0.5  # connections begin within this time


@dataclass(frozen=True)
class Update:
    """What every device fetches."""

    path: str
    leaves_path: str
    length: int
    block_bytes: int
    merkle_root: str
    sha256: str


@dataclass
class Outcome:
    """What the devices of one process saw; times are of the machine's monotonic clock."""

    finished_s: list[float] = field(default_factory=list)
    verified: list[tuple[str, int, float]] = field(default_factory=list)
    received: int = 0  # blocks, good or not
    repeated: int = 0
    wrong: int = 0
    bytes_down: int = 0
    bytes_up: int = 0
    cuts: int = 0
    damaged: int = 0  # files that are not the published one


class Device:
    """One device: connect, fetch the leaf list, then the blocks; reconnect when cut."""

    def __init__(
        self, name: str, password: str, update: Update, folder: Path, cut_at: int, seed: int
    ) -> None:
        """`cut_at` blocks on disk end its connection once; 0 never."""
        self.name = name
        self._password = password
        self._update = update
        self._path = folder / name
        self._cut_at = cut_at
        self._rng = random.Random(seed)
        self._ids = itertools.count()
        self._writer: asyncio.StreamWriter | None = None
        self._part: PartFile | None = None
        self._window: BlockWindow | None = None
        self.tally = Tally()

    async def run(self, port: int, out: Outcome) -> None:
        """Until every block is verified."""
        await asyncio.sleep(self._rng.uniform(0, SPREAD_S))
        while not self._done:
            reader, self._writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                await self._session(reader, out)
            except (ConnectionError, asyncio.IncompleteReadError):
                out.cuts += 1
                await asyncio.sleep(self._rng.uniform(*AWAY_S))
            finally:
                self._writer.transport.abort()
        out.finished_s.append(time.monotonic())
        self._check(out)

    @property
    def _done(self) -> bool:
        return self._part is not None and not self._part.missing

    async def _session(self, reader: asyncio.StreamReader, out: Outcome) -> None:
        self._write(_connect(self.name, self._password), out)
        kind, _ = await _packet(reader, out)
        if kind != CONNACK:
            raise ConnectionError(f"the broker answered {kind:#x}")
        self._write(_subscribe(TOPICS.down(self.name, "block")), out)
        if self._window is not None:
            self._window.reconnected(time.monotonic())
        looking = asyncio.create_task(self._look(out))
        try:
            self._ask(out)
            while not self._done:
                kind, body = await _packet(reader, out)
                if kind & 0xF0 == PUBLISH:
                    self._take(decode(_payload(body), Block), out)
                    self._ask(out)
        finally:
            looking.cancel()

    async def _look(self, out: Outcome) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            now_s = time.monotonic()
            if self._window is not None and now_s >= self._window.deadline_s:
                self._window.silent(now_s)
                self._ask(out)

    def _ask(self, out: Outcome) -> None:
        if self._window is None:
            path = self._update.leaves_path
            self._say(GetRequest(request_id="leaves", path=path, first=0, count=1), out)
            return
        while (request := self._window.due()) is not None:
            self._say(request, out)

    def _say(self, request: GetRequest, out: Outcome) -> None:
        self._write(_publish(TOPICS.up(self.name, "get"), encode(request)), out)

    def _take(self, block: Block, out: Outcome) -> None:
        now_s = time.monotonic()
        if self._part is None or self._window is None:
            self._open(block.data, now_s)
            return
        out.received += bool(block.data)
        if self._window.take(block, now_s):
            out.verified.append((self.name, block.index, now_s))
            if self._part.have == self._cut_at and self._writer is not None:
                self._cut_at = 0
                self._writer.transport.abort()
                raise ConnectionError("cut")

    def _open(self, leaf_list: bytes, now_s: float) -> None:
        update = self._update
        blocks = -(-update.length // update.block_bytes)
        leaves = decode_leaves(leaf_list, bytes.fromhex(update.merkle_root), blocks)
        self._part = PartFile(self._path, update.length, leaves, update.block_bytes)
        self._window = BlockWindow(
            update.path, self._part, self._new_id, TIMEOUT_S, now_s, self.tally
        )

    def _new_id(self) -> str:
        return f"{self.name}-{next(self._ids)}"

    def _check(self, out: Outcome) -> None:
        if self._part is not None:
            out.damaged += hashlib.sha256(self._part.read()).hexdigest() != self._update.sha256
            self._part.close()
        self._path.unlink()
        out.repeated += self.tally.repeated
        out.wrong += self.tally.wrong

    def _write(self, data: bytes, out: Outcome) -> None:
        if self._writer is not None:
            self._writer.write(data)
            out.bytes_up += len(data)


def run_devices(
    names: dict[str, str], port: int, update: Update, folder: Path, cut_share: float, seed: int
) -> Outcome:
    """Run all devices (`names`: name to password) of this process to their end."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    rng = random.Random(seed)
    blocks = -(-update.length // update.block_bytes)
    cut = set(rng.sample(sorted(names), round(cut_share * len(names))))
    devices = [
        Device(
            name, password, update, folder, rng.randrange(1, blocks) if name in cut else 0, seed + i
        )
        for i, (name, password) in enumerate(names.items())
    ]
    out = Outcome()

    async def all_devices() -> None:
        await asyncio.gather(*(device.run(port, out) for device in devices))

    asyncio.run(all_devices())
    return out


# MQTT 3.1.1, as far as it is needed ---------------------------------------------------------------


async def _packet(reader: asyncio.StreamReader, out: Outcome) -> tuple[int, bytes]:
    kind = (await reader.readexactly(1))[0]
    length = shift = 0
    while True:
        byte = (await reader.readexactly(1))[0]
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    body = await reader.readexactly(length)
    out.bytes_down += 1 + shift // 7 + length
    return kind, body


def _framed(kind: int, body: bytes) -> bytes:
    length, head = len(body), bytearray((kind,))
    while True:
        length, low = divmod(length, 128)
        head.append(low | (0x80 if length else 0))
        if not length:
            return bytes(head) + body


def _text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("!H", len(data)) + data


def _connect(name: str, password: str) -> bytes:
    head = _text("MQTT") + bytes((4, 0xC2)) + struct.pack("!H", KEEPALIVE_S)
    return _framed(CONNECT, head + _text(name) + _text(name) + _text(password))


def _subscribe(topic: str) -> bytes:
    return _framed(SUBSCRIBE, b"\x00\x01" + _text(topic) + b"\x00")


def _publish(topic: str, payload: bytes) -> bytes:
    return _framed(PUBLISH, _text(topic) + payload)


def _payload(body: bytes) -> bytes:
    """Of a PUBLISH at QoS 0."""
    (length,) = struct.unpack_from("!H", body)
    return body[2 + length :]
