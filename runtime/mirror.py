"""Blocks of a bundle from a web server: range requests, each block checked on arrival.

A mirror is trusted with nothing, so any static host will do, over http as over https. It is read in
a thread of its own, so that the agent goes on hearing the fleet however slow the server is; a
server that brings no whole block for a while is left. A server that knows no ranges sends the whole
file, of which only the missing blocks are kept.
"""

from __future__ import annotations

import http.client
import logging
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from urllib.parse import quote

from .errors import MirrorError
from .http_client import HttpClient
from .transfer import POLL_S, PartFile, Transfer

BLOCK_TIMEOUT_S = 20.0  # for one whole block, however steadily it drips
ATTEMPTS = 3  # in a row that bring no block
REST_S = 1.0  # between two attempts, where the server names no time
MAX_REST_S = 10.0  # a server that asks for more is left: there are other sources
AHEAD_BLOCKS = 4  # read before they are checked and written
MAX_MIRRORS = 8  # of one rollout
PASSING = frozenset((0, 408, 425, 429))  # no answer, or one that may be another soon

_RANGE = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15}|\*)")
_LOG = logging.getLogger(__name__)

Found = tuple[int, bytes] | MirrorError | None  # a block, why there are no more, or the end


def fetch_part(
    transfer: Transfer, mirrors: Sequence[str], path: str, part: PartFile
) -> Iterator[int]:
    """Fill `part` from the first mirror that serves it, else over the message link.

    What one source brought the next need not. Yields and raises as `Transfer.fetch_part`.
    """
    for address in mirrors[:MAX_MIRRORS]:
        try:
            yield from Mirror(address, lambda: transfer.on_wait()).fetch_part(path, part)
        except MirrorError as error:
            _LOG.warning("%s", error)
        if not part.missing:
            return
    yield from transfer.fetch_part(path, part)


class Mirror:
    """The repository's files below an address.

    `on_wait` is called several times a second; what it raises ends the transfer.
    """

    def __init__(
        self,
        address: str,
        on_wait: Callable[[], None],
        new_client: Callable[[], HttpClient] = HttpClient,
        monotonic: Callable[[], float] = time.monotonic,
        block_timeout_s: float = BLOCK_TIMEOUT_S,
    ) -> None:
        self._address = address.rstrip("/")
        self._on_wait = on_wait
        self._new_client = new_client
        self._monotonic = monotonic
        self._block_timeout_s = block_timeout_s

    def fetch_part(self, path: str, part: PartFile) -> Iterator[int]:
        """Fill the missing blocks of `part`; yields the number of good blocks as it grows.

        Raises:
            MirrorError: the mirror does not serve the file; what came is kept.
            OSError: the disk is full.
        """
        url = f"{self._address}/{quote(path)}"
        first, failures = part.have, 0
        while part.missing:
            before = part.have
            try:
                yield from self._attempt(url, part)
            except MirrorError as error:
                failures = 1 if part.have > before else failures + 1
                rest_s = REST_S if error.retry_after_s is None else error.retry_after_s
                known = error.status > 0 or part.have > first  # it has answered at all
                if not known or not _may_pass(error) or failures >= ATTEMPTS:
                    raise
                if rest_s > MAX_REST_S:
                    raise
                self._rest(rest_s)

    def _attempt(self, url: str, part: PartFile) -> Iterator[int]:
        reader = _Reader(self._new_client(), url, part)
        reader.start()
        try:
            deadline_s = self._monotonic() + self._block_timeout_s
            while True:
                self._on_wait()
                try:
                    found = reader.found.get(timeout=POLL_S)
                except queue.Empty:
                    if self._monotonic() > deadline_s:
                        raise MirrorError(f"{url}: is too slow") from None
                    continue
                if found is None:
                    return
                if isinstance(found, MirrorError):
                    raise found
                if not part.write(*found):
                    raise MirrorError(f"{url}: block {found[0]} is not the signed one", 200)
                deadline_s = self._monotonic() + self._block_timeout_s
                yield part.have
        finally:
            reader.end()

    def _rest(self, rest_s: float) -> None:
        until_s = self._monotonic() + rest_s
        while self._monotonic() < until_s:
            self._on_wait()
            time.sleep(min(POLL_S, rest_s))


class _Reader(threading.Thread):
    """Reads the missing blocks of a file, in order, into `found`."""

    def __init__(self, client: HttpClient, url: str, part: PartFile) -> None:
        super().__init__(name="edgekiln-mirror", daemon=True)
        self.found: queue.Queue[Found] = queue.Queue(AHEAD_BLOCKS)
        self._client = client
        self._url = url
        self._missing = frozenset(part.missing)
        self._length = part.length
        self._block_bytes = part.block_bytes
        self._ended = threading.Event()

    def run(self) -> None:
        try:
            for first, last in _runs(self._missing):
                if self._read_run(first, last):
                    break  # it sent the whole file
            self._put(None)
        except MirrorError as error:
            self._put(error)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._put(MirrorError(f"{self._url}: {type(error).__name__}"))
        finally:
            self._client.close()

    def end(self) -> None:
        """Stop reading; from the other thread. A thread that hangs in a look-up ends by itself."""
        self._ended.set()
        self._client.abort()
        self.join(POLL_S)

    def _read_run(self, first: int, last: int) -> bool:
        """Blocks `first` to `last`; whether the server sent all others, too."""
        start, end = first * self._block_bytes, self._end(last)
        answer = self._client.get(self._url, start, end - 1)
        if answer.status == 200:
            self._check_whole(answer)
            self._read_blocks(answer, 0, max(self._missing))
            return True
        self._check_range(answer, start, end)
        self._read_blocks(answer, first, last)
        answer.close()
        return False

    def _read_blocks(self, answer: http.client.HTTPResponse, first: int, last: int) -> None:
        for index in range(first, last + 1):
            wanted = self._end(index) - index * self._block_bytes
            data = answer.read(wanted)
            if len(data) != wanted:
                raise MirrorError(f"{self._url}: ended before its end")
            if index in self._missing:
                self._put((index, data))

    def _check_whole(self, answer: http.client.HTTPResponse) -> None:
        length = answer.getheader("Content-Length")
        if length is not None and length.strip() != str(self._length):
            told = f"{self._url}: has {length[:20]} bytes instead of {self._length}"
            raise MirrorError(told, answer.status)

    def _check_range(self, answer: http.client.HTTPResponse, start: int, end: int) -> None:
        given = answer.getheader("Content-Range", "")
        found = _RANGE.fullmatch(given.strip())
        total = (str(self._length), "*")
        good = found and (int(found[1]), int(found[2])) == (start, end - 1) and found[3] in total
        if not good:
            told = f"{self._url}: sends '{given[:60]}' where bytes {start}-{end - 1} were asked for"
            raise MirrorError(told, answer.status)

    def _end(self, index: int) -> int:
        return min((index + 1) * self._block_bytes, self._length)

    def _put(self, found: Found) -> None:
        while not self._ended.is_set():
            try:
                self.found.put(found, timeout=POLL_S)
            except queue.Full:
                continue
            return


def _runs(missing: frozenset[int]) -> Iterator[tuple[int, int]]:
    """First and last of each unbroken run of blocks, in order."""
    ordered = sorted(missing)
    first = ordered[0] if ordered else 0
    for index, following in zip(ordered, [*ordered[1:], -1], strict=True):
        if following != index + 1:
            yield first, index
            first = following


def _may_pass(error: MirrorError) -> bool:
    return error.status in PASSING or error.status >= 500
