"""Blocks of the TUF repository for devices that have nothing but MQTT.

Only files below `metadata/` and `targets/` are served. The server holds no state of a download:
the device knows what it lacks and asks for it, a window at a time.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from edgekiln.runtime.errors import ProtocolError
from edgekiln.runtime.protocol import Block, GetRequest, Topics, decode, encode

from .link import Publisher

MAX_WINDOW = 64
MAX_BLOCK_BYTES = 256 * 1024
OPEN_FOLDERS = ("metadata", "targets")
QUEUE_REQUESTS = 2000
IDLE_S = 0.25


def resolve(repository: Path, path: str) -> Path | None:
    """The file that a device may read under this name; None for every other name.

    Nothing hidden (a half-written file is), nothing that leaves the folder, links included.
    """
    parts = PurePosixPath(path).parts
    if "\0" in path or len(parts) < 2 or parts[0] not in OPEN_FOLDERS:
        return None
    if any(part.startswith(".") for part in parts):
        return None
    base = (repository / parts[0]).resolve()
    file = (repository / path).resolve()
    return file if file.is_relative_to(base) and file.is_file() else None


def answer(repository: Path, request: GetRequest) -> Iterator[Block]:
    """The blocks that were asked for, at most 64; one block with `error` where there is none.

    Errors: `bad_request`, `not_found`, `out_of_range`.
    """
    size = request.block_bytes
    if not (0 < size <= MAX_BLOCK_BYTES and request.count > 0 and request.first >= 0):
        yield _refusal(request, "bad_request")
        return
    try:
        file = resolve(repository, request.path)
        data = file.open("rb") if file else None
    except OSError:  # a name that is too long, or a file that went away
        data = None
    if data is None:
        yield _refusal(request, "not_found")
        return
    with data:
        total = data.seek(0, 2)
        blocks = max(1, -(-total // size))  # an empty file is one empty block
        if request.first >= blocks:
            yield _refusal(request, "out_of_range", total)
            return
        data.seek(request.first * size)
        for index in range(
            request.first, min(blocks, request.first + min(MAX_WINDOW, request.count))
        ):
            yield Block(
                request_id=request.request_id,
                path=request.path,
                index=index,
                total_bytes=total,
                data=data.read(size),
            )


class BlockServer:
    """Answers `get` messages in a thread of its own, so that downloads never delay reports."""

    def __init__(self, repository: Path, topics: Topics, publisher: Publisher) -> None:
        self._repository = repository
        self._topics = topics
        self._publisher = publisher
        self._waiting: queue.Queue[tuple[str, bytes]] = queue.Queue(QUEUE_REQUESTS)

    def receive(self, device: str, payload: bytes) -> None:
        """Queue a request; one too many is dropped, and the device asks again."""
        try:
            self._waiting.put_nowait((device, payload))
        except queue.Full:
            return

    def run(self, stop: threading.Event) -> None:
        """Answer until `stop`."""
        while not stop.is_set():
            self.step(IDLE_S)

    def step(self, wait_s: float = 0.0) -> int:
        """Answer one request; returns the number of blocks sent."""
        try:
            device, payload = self._waiting.get(wait_s > 0, wait_s or None)
        except queue.Empty:
            return 0
        try:
            request = decode(payload, GetRequest)
        except ProtocolError:
            return 0
        blocks = tuple(answer(self._repository, request))
        for block in blocks:
            self._publisher.offer(self._topics.down(device, "block"), encode(block))
        return len(blocks)


def _refusal(request: GetRequest, error: str, total: int = 0) -> Block:
    return Block(
        request_id=request.request_id,
        path=request.path,
        index=request.first,
        total_bytes=total,
        data=b"",
        error=error,
    )
