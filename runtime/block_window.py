"""Which blocks of a part file to ask for next: decisions only, no queue, no network, no clock.

No block that was verified is asked for again, whatever happens to the connection:

- Blocks are remembered as asked for until they come. One that comes late is as good as any.
- After a reconnection or a silence nobody knows which blocks are still on their way. Then the first
  request is a *fence*, a request for no block: the server forgets what it still had to send here
  and answers at once. Messages of one sender keep their order, so whatever was sent before has
  arrived before that answer or never will, and what is missing then may be asked for.

The window doubles with every full window that comes, until the first silence, then grows by one;
a silence halves it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from .errors import AbsentFileError, TransferError
from .protocol import Block, GetRequest

FIRST_WINDOW = 8  # blocks in flight
MAX_WINDOW = 32
ATTEMPTS = 3  # silences in a row before a transfer is given up for now
MAX_WRONG = 16  # wrong blocks before a transfer is given up for now
FENCE_BLOCKS = 0  # what a fence asks for


class Part(Protocol):
    """A file under download, as far as asking for it goes."""

    missing: set[int]
    block_bytes: int

    def write(self, index: int, data: bytes) -> bool:
        """Store a block if it is the signed one; whether it was."""
        ...


@dataclass(slots=True)
class Tally:
    """Blocks that arrived: good ones, ones that were there already, wrong ones."""

    good: int = 0
    repeated: int = 0
    wrong: int = 0


class BlockWindow:
    """One download: `due` says what to send, `take` hears what came, `silent` what did not.

    Times are seconds of any one monotonic clock.
    """

    def __init__(
        self,
        path: str,
        part: Part,
        new_id: Callable[[], str],
        timeout_s: float,
        now_s: float,
        tally: Tally,
    ) -> None:
        self._path = path
        self._part = part
        self._new_id = new_id
        self._timeout_s = timeout_s
        self._heard_s = now_s
        self._tally = tally
        self._asked: dict[int, str] = {}  # block -> id of the request
        self._fence = ""  # id of the fence that was sent; empty while none is
        self._fenced = False
        self._silences = 0
        self._wrong = 0
        self._size = FIRST_WINDOW
        self._growth = 0  # good blocks since the window last grew
        self._lost = False

    @property
    def size(self) -> int:
        """Blocks that may be in flight now."""
        return self._size

    @property
    def deadline_s(self) -> float:
        """When to call `silent` if nothing useful has come until then."""
        return self._heard_s + self._timeout_s

    def due(self) -> GetRequest | None:
        """The next request to send; None while there is nothing to ask for yet."""
        if not self._fenced:
            if self._fence:
                return None
            self._fence = self._new_id()
            return self._request(self._fence, 0, FENCE_BLOCKS)
        if len(self._asked) > self._size // 2:
            return None
        run = self._next_run()
        if not run:
            return None
        request_id = self._new_id()
        self._asked.update(dict.fromkeys(run, request_id))
        return self._request(request_id, run[0], len(run))

    def take(self, block: Block, now_s: float) -> bool:
        """Whether a block was new and the signed one. Answers to strangers' requests are ignored.

        Raises:
            AbsentFileError: the repository has no such file.
            TransferError: too many blocks are not the signed ones.
        """
        if self._fence and block.request_id == self._fence:
            self._fence, self._fenced, self._heard_s = "", True, now_s
            return False
        ours = self._asked.get(block.index) == block.request_id
        if block.error:
            if ours:
                raise AbsentFileError(f"'{self._path}' is not there: {block.error[:64]}")
            return False
        if not block.data:
            return False  # the answer to an older fence
        if block.index not in self._part.missing:
            self._tally.repeated += 1
            return False
        if self._part.write(block.index, block.data):
            self._good(block.index, now_s)
            return True
        self._tally.wrong += 1
        if ours:  # an answer all the same: `MAX_WRONG` bounds these, not the silence
            del self._asked[block.index]
            self._wrong += 1
            self._heard_s = now_s
        if self._wrong > MAX_WRONG:
            raise TransferError(f"'{self._path}' comes with blocks that are not the signed ones")
        return False

    def silent(self, now_s: float) -> None:
        """The deadline passed.

        Raises:
            TransferError: for the last time that counts.
        """
        self._silences += 1
        if self._silences >= ATTEMPTS:
            raise TransferError(f"'{self._path}' does not come: no block in {ATTEMPTS} attempts")
        self._size = max(1, self._size // 2)
        self._lost = True
        self.reconnected(now_s)

    def reconnected(self, now_s: float) -> None:
        """What was asked for before may have been lost: begin with a fence."""
        self._asked.clear()
        self._fence, self._fenced = "", False
        self._heard_s = now_s

    def _good(self, index: int, now_s: float) -> None:
        self._asked.pop(index, None)
        self._tally.good += 1
        self._silences, self._heard_s = 0, now_s
        self._growth += 1
        if self._growth >= self._size:
            self._growth = 0
            self._size = min(MAX_WINDOW, self._size + (1 if self._lost else self._size))

    def _next_run(self) -> list[int]:
        """The first missing blocks in a row, as far as the window allows."""
        waiting = sorted(self._part.missing - self._asked.keys())
        run = waiting[:1]
        for index in waiting[1 : self._size - len(self._asked)]:
            if index != run[-1] + 1:
                break
            run.append(index)
        return run

    def _request(self, request_id: str, first: int, count: int) -> GetRequest:
        return GetRequest(
            request_id=request_id,
            path=self._path,
            first=first,
            count=count,
            block_bytes=self._part.block_bytes,
        )
