"""Blocks of the TUF repository for devices that have nothing but MQTT.

The device knows what it lacks and asks for it, a window at a time; the server remembers only what
it has still to send. A request for no block is a *fence*: what was still to be sent to that device
is forgotten and the fence answered at once. Since messages keep their order, the device then knows
that nothing which it asked for before is still on its way (`runtime/block_window.py`).
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path

from edgekiln.runtime.block_window import FENCE_BLOCKS
from edgekiln.runtime.errors import ProtocolError
from edgekiln.runtime.protocol import Block, GetRequest, Topics, decode, encode

from .block_files import BlockFiles
from .lanes import Lanes, Turn
from .link import Publisher
from .pacing import TokenBucket

MAX_WINDOW = 64
MAX_BLOCK_BYTES = 256 * 1024
MAX_REQUEST_BYTES = 4096
MAX_INDEX = 1 << 40
QUEUE_REQUESTS = 10_000
IDLE_S = 0.25


class BlockServer:
    """Answers `get` messages in a thread of its own, so that downloads never delay reports.

    Blocks leave no faster than the publisher's network takes them, and than `bucket` lets them.
    """

    def __init__(
        self,
        repository: Path,
        topics: Topics,
        publisher: Publisher,
        bucket: TokenBucket | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._files = BlockFiles(repository)
        self._topics = topics
        self._publisher = publisher
        self._bucket = bucket
        self._monotonic = monotonic
        self._waiting: queue.Queue[tuple[str, bytes]] = queue.Queue(QUEUE_REQUESTS)
        self._lanes = Lanes()

    def receive(self, device: str, payload: bytes) -> None:
        """Queue a request; one too many is dropped, and the device asks again."""
        if len(payload) > MAX_REQUEST_BYTES:
            return
        try:
            self._waiting.put_nowait((device, payload))
        except queue.Full:
            return

    def run(self, stop: threading.Event) -> None:
        """Answer until `stop`."""
        while not stop.is_set():
            pause_s = self._bucket.wait_s(self._monotonic()) if self._bucket else 0.0
            if pause_s > 0:
                stop.wait(min(pause_s, IDLE_S))
            elif self._publisher.room(IDLE_S):
                self.step(IDLE_S)

    def step(self, wait_s: float = 0.0) -> int:
        """Hear what waits, a queue of it at most, then send one block; returns the blocks sent."""
        self._hear(0.0 if len(self._lanes) else wait_s)
        turn = self._lanes.turn()
        if turn is None:
            return 0
        block = self._read(turn)
        if block.error:
            self._lanes.clear(turn.device)
        self._send(turn.device, block)
        return 1

    def _hear(self, wait_s: float) -> None:
        try:
            self._sort(*self._waiting.get(wait_s > 0, wait_s or None))
            for _ in range(QUEUE_REQUESTS):  # who asks without end holds up nobody else
                self._sort(*self._waiting.get_nowait())
        except queue.Empty:
            return

    def _sort(self, device: str, payload: bytes) -> None:
        try:
            request = decode(payload, GetRequest)
        except ProtocolError:
            return
        if request.count == FENCE_BLOCKS:
            self._lanes.clear(device)
            self._send(device, _empty(request, 0))
            return
        refused = self._why_refused(request)
        if refused is not None:
            self._send(device, refused)
            return
        size = self._files.size(request.path) or 0
        blocks = max(1, -(-size // request.block_bytes))  # an empty file is one empty block
        count = min(request.count, MAX_WINDOW, blocks - request.first)
        self._lanes.put(device, request, count)

    def _why_refused(self, request: GetRequest) -> Block | None:
        """A block with `error` (`bad_request`, `not_found`, `out_of_range`); None where it fits."""
        sizes = 0 < request.block_bytes <= MAX_BLOCK_BYTES
        if not (sizes and request.count > 0 and 0 <= request.first < MAX_INDEX):
            return _empty(request, 0, "bad_request")
        size = self._files.size(request.path)
        if size is None:
            return _empty(request, 0, "not_found")
        if request.first >= max(1, -(-size // request.block_bytes)):
            return _empty(request, size, "out_of_range")
        return None

    def _read(self, turn: Turn) -> Block:
        request = turn.request
        total = self._files.size(request.path)
        start = turn.index * request.block_bytes
        data = self._files.read(request.path, start, request.block_bytes)
        if total is None or data is None:  # it went away since
            return _empty(request, 0, "not_found")
        return Block(
            request_id=request.request_id,
            path=request.path,
            index=turn.index,
            total_bytes=total,
            data=data,
        )

    def _send(self, device: str, block: Block) -> None:
        payload = encode(block)
        self._publisher.offer(self._topics.down(device, "block"), payload)
        if self._bucket:
            self._bucket.spend(len(payload))


def _empty(request: GetRequest, total: int, error: str = "") -> Block:
    return Block(
        request_id=request.request_id,
        path=request.path,
        index=request.first,
        total_bytes=total,
        data=b"",
        error=error,
    )
