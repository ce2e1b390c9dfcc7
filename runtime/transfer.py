"""Files of the TUF repository, block by block over the message link.

Two ways to fetch. Metadata and leaf lists are small and whole: `fetch_bytes`. A bundle goes into
a `PartFile`: a window of blocks is asked for at a time, each is checked against its leaf hash on
arrival, and only checked blocks reach the disk, so that a download continues where it stopped,
after a lost connection or a power cut, and never fetches a good block twice. Which block is asked
for when is decided in `block_window.py`.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from .block_window import ATTEMPTS, MAX_WINDOW, BlockWindow, Tally
from .errors import AbsentFileError, TransferError
from .merkle import leaf_hash
from .protocol import BLOCK_BYTES, Block, GetRequest

TIMEOUT_S = 4.0  # without any useful block before what is missing is asked for again
POLL_S = 0.1  # between two calls of `on_wait`
QUEUE_BLOCKS = 2 * MAX_WINDOW
MAX_BLOCK_BYTES = 256 * 1024  # no server sends larger ones


class PartFile:
    """A bundle under download; which blocks it holds is read from its bytes, not from a list."""

    def __init__(
        self, path: Path, length: int, leaves: Sequence[bytes], block_bytes: int = BLOCK_BYTES
    ) -> None:
        """Open or create the file and find the blocks that are already good.

        Raises:
            OSError: the file cannot be read or written.
        """
        self.path = path
        self.leaves = leaves
        self.block_bytes = block_bytes
        self.length = length
        self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
        self._file.truncate(length)
        self.missing = {i for i in range(len(leaves)) if leaf_hash(self._block(i)) != leaves[i]}

    @property
    def have(self) -> int:
        """Number of good blocks on disk."""
        return len(self.leaves) - len(self.missing)

    def write(self, index: int, data: bytes) -> bool:
        """Store a block if it is the signed one; whether it was.

        Raises:
            OSError: the disk is full or cannot be written.
        """
        if not 0 <= index < len(self.leaves) or leaf_hash(data) != self.leaves[index]:
            return False
        self._file.seek(index * self.block_bytes)
        self._file.write(data)
        self.missing.discard(index)
        return True

    def read(self) -> bytes:
        """The whole file."""
        self._file.flush()
        self._file.seek(0)
        return self._file.read()

    def sync(self) -> None:
        """Return once every block is on disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Flush and close; the file stays."""
        self._file.close()

    def _block(self, index: int) -> bytes:
        self._file.seek(index * self.block_bytes)
        return self._file.read(min(self.block_bytes, self.length - index * self.block_bytes))


class Transfer:
    """Asks for blocks and waits for them, in the agent's thread.

    `ask` sends a request and says whether it left the device. `receive` and `reconnected` are
    called by the network thread. `on_wait` is called several times a second while waiting, so that
    reports keep flowing; a `TransferError` that it raises ends the transfer. `new_id` gives request
    ids, `monotonic` seconds.
    """

    def __init__(
        self,
        ask: Callable[[GetRequest], bool],
        new_id: Callable[[], str],
        monotonic: Callable[[], float] = time.monotonic,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._ask = ask
        self._new_id = new_id
        self.on_wait: Callable[[], None] = lambda: None
        self.tally = Tally()
        self._monotonic = monotonic
        self._timeout_s = timeout_s
        self._blocks: queue.Queue[Block] = queue.Queue(QUEUE_BLOCKS)
        self._anew = threading.Event()  # the connection is another one now

    def receive(self, block: Block) -> None:
        """Take a block that arrived; one too many is dropped and will be asked for again."""
        if len(block.data) > MAX_BLOCK_BYTES:
            return
        try:
            self._blocks.put_nowait(block)
        except queue.Full:
            return

    def reconnected(self) -> None:
        """The link is there again: what was asked for before may never come."""
        self._anew.set()

    def fetch_bytes(self, path: str, max_bytes: int) -> bytes:
        """A small file, whole.

        Raises:
            AbsentFileError: the repository has no such file.
            TransferError: it is larger than `max_bytes`, or does not come.
        """
        first = self._one(path, 0)
        if first.total_bytes > max_bytes:
            raise TransferError(f"'{path}' has {first.total_bytes} bytes, at most {max_bytes} fit")
        parts = [first.data]
        have = len(first.data)
        while have < first.total_bytes:
            block = self._one(path, len(parts))
            if block.total_bytes != first.total_bytes or not block.data:
                raise TransferError(f"'{path}' changed while it was fetched")
            parts.append(block.data)
            have += len(block.data)
        if have != first.total_bytes:
            raise TransferError(f"'{path}' came with {have} bytes instead of {first.total_bytes}")
        return b"".join(parts)

    def fetch_part(self, path: str, part: PartFile) -> Iterator[int]:
        """Fill the missing blocks of `part`; yields the number of good blocks as it grows.

        Raises:
            AbsentFileError: the repository has no such file.
            TransferError: blocks do not come, or are wrong; what came is kept.
            OSError: the disk is full.
        """
        self._anew.clear()
        window = BlockWindow(
            path, part, self._new_id, self._timeout_s, self._monotonic(), self.tally
        )
        while part.missing:
            if self._anew.is_set():
                self._anew.clear()
                window.reconnected(self._monotonic())
            while (request := window.due()) is not None:
                self._send(request)
            block = self._next(path)
            now_s = self._monotonic()
            if block is not None and window.take(block, now_s):
                yield part.have
            elif now_s >= window.deadline_s:
                window.silent(now_s)

    def _one(self, path: str, index: int) -> Block:
        for _ in range(ATTEMPTS):
            request = GetRequest(request_id=self._new_id(), path=path, first=index, count=1)
            self._forget_waiting()
            self._send(request)
            deadline = self._monotonic() + self._timeout_s
            while self._monotonic() < deadline:
                block = self._next(path)
                if block is not None and block.request_id == request.request_id:
                    if block.error:
                        raise AbsentFileError(f"'{path}' is not there: {block.error[:64]}")
                    if block.index == index:
                        return block
        raise TransferError(f"'{path}' does not come: no answer in {ATTEMPTS} attempts")

    def _forget_waiting(self) -> None:
        """Let go of what came before a request: it is no answer to it."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._blocks.get_nowait()

    def _send(self, request: GetRequest) -> None:
        if not self._ask(request):
            raise TransferError(f"'{request.path}' cannot be asked for: the device is offline")

    def _next(self, path: str) -> Block | None:
        """The next block of `path`; None when none came for a moment."""
        self.on_wait()
        try:
            block = self._blocks.get(timeout=POLL_S)
        except queue.Empty:
            return None
        return block if block.path == path else None
