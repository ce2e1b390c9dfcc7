"""`Ledger`: what a search has paid for, one JSON line per event, append-only.

Invariants:
- A line counts once it ends in a newline; a torn tail is cut off when the ledger is opened.
- A line that ends in a newline and cannot be read is damage, not a crash: opening fails.
- The first line names the search; another search in the same folder is refused, and so is a
  second process with the same one.
- Resume is replay: the loop asks `outcome(candidate, rung)` before it pays for a training.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import msgspec

from .errors import LedgerError


class Opened(msgspec.Struct, frozen=True, tag="opened"):
    """The search that this ledger belongs to."""

    search_id: str
    schema: int = 1


class Trained(msgspec.Struct, frozen=True, tag="trained"):
    """One training that ended; accuracy is on the validation split, weights lie in `weights`."""

    candidate_id: str
    rung: str
    epochs: int
    accuracy: float
    weights: str  # file name inside the search's weights folder
    wall_s: float
    cpu_s: float


class Lost(msgspec.Struct, frozen=True, tag="lost"):
    """One training whose worker died, failed or ran out of time."""

    candidate_id: str
    rung: str
    reason: str


Event = Opened | Trained | Lost
Outcome = Trained | Lost


def parse(data: bytes) -> tuple[tuple[Event, ...], int]:
    """Whole events of `data` and the number of bytes that they take.

    Raises:
        LedgerError: a complete line is no event; names its number.
    """
    events: list[Event] = []
    decoder = msgspec.json.Decoder(Event)
    length = data.rfind(b"\n") + 1
    for number, line in enumerate(data[:length].splitlines(), start=1):
        try:
            events.append(decoder.decode(line))
        except msgspec.DecodeError as error:
            msg = f"line {number} of the ledger is damaged ({error}); search into a new folder"
            raise LedgerError(msg) from error
    return tuple(events), length


def read_own(path: Path, search_id: str) -> tuple[tuple[Event, ...], int]:
    """`parse` of the ledger at `path`; no events where there is none.

    Raises:
        LedgerError: the ledger is damaged, or belongs to another search.
    """
    events, length = parse(path.read_bytes()) if path.exists() else ((), 0)
    if events and events[0] != Opened(search_id):
        msg = (
            f"{path.parent} holds another search (other data, targets, budgets, seed or "
            "number of candidates); choose another folder with -o, or delete this one"
        )
        raise LedgerError(msg)
    return events, length


class Ledger:
    """An open ledger; close it, or use it as a context manager."""

    def __init__(self, file: BinaryIO, events: Iterable[Event]) -> None:
        self._file = file
        self._outcomes: dict[tuple[str, str], Outcome] = {}
        for event in events:
            self._remember(event)

    @classmethod
    def open(cls, path: Path, search_id: str) -> Ledger:
        """Open or start the ledger at `path`.

        Raises:
            LedgerError: the ledger is damaged, in use, or belongs to another search.
        """
        file = path.open("ab")
        try:
            _lock(file, path)
            events, length = read_own(path, search_id)
            file.truncate(length)
        except BaseException:
            file.close()
            raise
        ledger = cls(file, events)
        if not events:
            ledger.append(Opened(search_id))
        return ledger

    def append(self, event: Event) -> None:
        """Write one event and wait until the disk has it."""
        self._file.write(msgspec.json.encode(event) + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._remember(event)

    def outcome(self, candidate_id: str, rung: str) -> Outcome | None:
        """What became of this training, or None when it has not been paid for yet."""
        return self._outcomes.get((candidate_id, rung))

    def outcomes(self) -> tuple[Outcome, ...]:
        """Every training paid for so far, in the order of the ledger."""
        return tuple(self._outcomes.values())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _remember(self, event: Event) -> None:
        if not isinstance(event, Opened):
            self._outcomes[event.candidate_id, event.rung] = event


def _lock(file: BinaryIO, path: Path) -> None:
    """Held until the file is closed, if only because the process ended."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        msg = f"another search is running in {path.parent}; wait for it, or choose another folder"
        raise LedgerError(msg) from error
