"""The durable outbox: a message stays on disk until the fleet acknowledges that it has stored it.

MQTT client libraries keep their sessions in memory only, so a restart would lose what was on its
way. Delivery is at least once: `boot_id` and `seq`, which every message carries, let the fleet
drop a second copy. The box is bounded; `relief` says what it gives up when it is full.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np

from .ballast import Ballast
from .errors import AgentError
from .outbox_file import JOURNAL_PAGES, lacks_room, open_file
from .protocol import Lost, Report, encode
from .relief import (
    CAPTURE,
    EXPIRED,
    REPORT,
    Freed,
    add_losses,
    clear_losses,
    drop_capture,
    drop_expired,
    is_rich,
    read_losses,
    relieve,
)
from .rollup import add_lost

IN_MEMORY = Path(":memory:")  # a box that ends with its process
MAX_MESSAGES = 4000
MAX_BYTES = 16 << 20

Result = TypeVar("Result")

_MESSAGES = "SELECT id, kind, boot_id, seq, payload, sent FROM message"


@dataclass(frozen=True, slots=True)
class Message:
    """One message on its way: `kind` is its topic's last word, `id` grows with age's end.

    `sent`: it may have left before, and must not change its meaning any more.
    """

    id: int
    kind: str
    boot_id: str
    seq: int
    payload: bytes
    sent: int = 0


@dataclass(frozen=True, slots=True)
class _Row:
    """What a message's row holds besides its id."""

    kind: str
    boot_id: str
    seq: int
    payload: bytes
    bundle_id: str = ""
    start_s: float = 0.0
    rich: bool = False
    expires_s: float = 0.0


class Outbox:
    """The box at `path`; used by one thread. A damaged file is put aside and a new box begun."""

    def __init__(
        self,
        path: Path,
        max_messages: int = MAX_MESSAGES,
        max_bytes: int = MAX_BYTES,
        rng: np.random.Generator | None = None,
    ) -> None:
        """Open or begin the box; `rng` is for merging sketches, seeded by the system without one.

        Raises:
            AgentError: the disk is full, or the folder cannot be written.
        """
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._rng = rng or np.random.default_rng()
        self._ballast = Ballast(path.with_name(path.name + ".ballast"))
        try:
            if path != IN_MEMORY:
                path.touch(mode=0o600)  # captured samples are nobody else's business
            self._db = self._opened(path)
        except (OSError, sqlite3.OperationalError) as error:  # no room, no permission
            raise AgentError(f"{path} cannot be used: {error}") from error
        except sqlite3.DatabaseError:
            path.replace(path.with_name(path.name + ".damaged"))
            for tail in ("-wal", "-shm"):
                path.with_name(path.name + tail).unlink(missing_ok=True)
            self._db = open_file(path)
        if path != IN_MEMORY:
            self._ballast.hold()
        row = self._db.execute("SELECT COUNT(*), TOTAL(LENGTH(payload)) FROM message").fetchone()
        self._count, self._bytes = int(row[0]), int(row[1])

    @property
    def dropped(self) -> int:
        """Messages that had to go unsent since the box was made."""
        return self.counter("dropped")

    @property
    def size_bytes(self) -> int:
        """Of all messages."""
        return self._bytes

    def __len__(self) -> int:
        return self._count

    def put(
        self, kind: str, boot_id: str, seq: int, payload: bytes, expires_s: float = 0.0
    ) -> None:
        """Keep a message; it is on disk when this returns. A known (boot_id, seq) is kept once.

        `expires_s`: Unix seconds, for `expire`; 0 for what never does.
        """
        row = _Row(kind, boot_id, seq, payload, expires_s=expires_s)
        self._change(lambda: self._insert(row))

    def put_report(self, report: Report) -> None:
        """Keep a report, and let it tell what was lost since the one before."""
        self._change(lambda: self._insert_report(report))

    def pending(self, after_id: int, limit: int) -> tuple[Message, ...]:
        """The oldest messages behind `after_id`, in the order in which they were put."""
        rows = self._db.execute(f"{_MESSAGES} WHERE id > ? ORDER BY id LIMIT ?", (after_id, limit))
        return tuple(Message(*row) for row in rows)

    def waiting(self, messages: int, captures: int) -> tuple[Message, ...]:
        """The oldest messages of all other kinds, and behind them the oldest captures.

        Apart, so that a fleet which takes no captures holds nothing else up.
        """
        if not self._count:
            return ()
        rows = [
            *self._db.execute(
                f"{_MESSAGES} WHERE kind != ? ORDER BY id LIMIT ?", (CAPTURE, messages)
            ),
            *self._db.execute(
                f"{_MESSAGES} WHERE kind = ? ORDER BY id LIMIT ?", (CAPTURE, captures)
            ),
        ]
        return tuple(Message(*row) for row in rows)

    def mark_sent(self, ids: Sequence[int]) -> None:
        """Note, before they leave, that these messages may be with the fleet from now on."""
        rows = [(one,) for one in ids]
        self._change(lambda: self._db.executemany("UPDATE message SET sent = 1 WHERE id = ?", rows))

    def ack(self, boot_id: str, seq: int) -> int:
        """Forget a message that the fleet has; its id, 0 where there is none."""
        return self._change(lambda: self._forget(boot_id, seq))

    def expire(self, now_s: float) -> None:
        """Drop the captures whose time to live is over, and count them."""
        due = f"SELECT 1 FROM message WHERE {EXPIRED} LIMIT 1"
        if self._db.execute(due, (now_s,)).fetchone() is not None:
            self._change(lambda: self._drop_expired(now_s))

    def trim_captures(self, max_bytes: int) -> None:
        """Drop the oldest captures until the others have at most so many bytes; count them."""
        self._change(lambda: self._trim_captures(max_bytes))

    def count_lost(self, lost: Lost) -> None:
        """Let the next report tell of it."""
        self._change(lambda: add_losses(self._db, lost))

    def counter(self, name: str) -> int:
        """A number that is kept with the messages; 0 where it was never set."""
        row = self._db.execute("SELECT value FROM counter WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else 0

    def set_counter(self, name: str, value: int) -> None:
        """Keep a number."""
        statement = "INSERT OR REPLACE INTO counter VALUES (?, ?)"
        self._change(lambda: self._db.execute(statement, (name, value)))

    def close(self) -> None:
        """Close the file; messages stay."""
        self._db.close()

    def _change(self, action: Callable[[], Result]) -> Result:
        """Do it in one transaction that ends within the bounds; on a full disk, in what is held."""
        try:
            return self._transact(action)
        except sqlite3.OperationalError as error:
            if not (lacks_room(error) and self._ballast.release()):
                raise
            self._stop_growing(self._db)
            return self._transact(action)

    def _transact(self, action: Callable[[], Result]) -> Result:
        before = self._count, self._bytes
        try:
            with self._db:
                result = action()
                self._make_room()
        except BaseException:
            self._count, self._bytes = before
            raise
        return result

    def _opened(self, path: Path) -> sqlite3.Connection:
        try:
            return open_file(path)
        except sqlite3.OperationalError as error:
            if not (lacks_room(error) and self._ballast.release()):
                raise
            db = open_file(path)
            self._stop_growing(db)
            return db

    def _stop_growing(self, db: sqlite3.Connection) -> None:
        """Live in the file as it is, a third of it for payloads, until the next start."""
        db.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
        pages, page_bytes = (
            int(db.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_count", "page_size")
        )
        db.execute(f"PRAGMA max_page_count = {max(pages, JOURNAL_PAGES)}").fetchall()
        self._max_bytes = min(self._max_bytes, max(pages, JOURNAL_PAGES) * page_bytes // 3)

    def _insert_report(self, report: Report) -> None:
        losses = read_losses(self._db)
        told = msgspec.structs.replace(
            report,
            dropped=report.dropped + losses.windows,
            lost=add_lost((report.lost, losses.lost)),
        )
        row = _Row(
            kind=REPORT,
            boot_id=report.boot_id,
            seq=report.seq,
            payload=encode(told),
            bundle_id=report.bundle_id,
            start_s=report.start_s,
            rich=is_rich(report),
        )
        if self._insert(row):
            clear_losses(self._db)

    def _forget(self, boot_id: str, seq: int) -> int:
        row = self._db.execute(
            "DELETE FROM message WHERE boot_id = ? AND seq = ? RETURNING id, LENGTH(payload)",
            (boot_id, seq),
        ).fetchone()
        if row is None:
            return 0
        self._take(Freed(1, int(row[1])))
        return int(row[0])

    def _drop_expired(self, now_s: float) -> None:
        while (freed := drop_expired(self._db, now_s)) is not None:
            self._take(freed)

    def _trim_captures(self, max_bytes: int) -> None:
        query = "SELECT TOTAL(LENGTH(payload)) FROM message WHERE kind = ?"
        held = int(self._db.execute(query, (CAPTURE,)).fetchone()[0])
        while held > max_bytes and (freed := drop_capture(self._db)) is not None:
            held -= freed.bytes
            self._take(freed)

    def _insert(self, row: _Row) -> bool:
        """Whether it was not there yet."""
        added = self._db.execute(
            "INSERT OR IGNORE INTO message (kind, boot_id, seq, payload, sent, bundle_id, start_s, "
            "rich, expires_s) VALUES (?, ?, ?, ?, 0, ?, ?, ?, ?)",
            (
                row.kind,
                row.boot_id,
                row.seq,
                row.payload,
                row.bundle_id,
                row.start_s,
                row.rich,
                row.expires_s,
            ),
        ).rowcount
        self._count += added
        self._bytes += added * len(row.payload)
        return added == 1

    def _make_room(self) -> None:
        while self._full and (freed := relieve(self._db, self._rng)) is not None:
            self._take(freed)

    @property
    def _full(self) -> bool:
        too_large = self._bytes > self._max_bytes and self._count > 1  # a huge message fits alone
        return too_large or self._count > self._max_messages

    def _take(self, freed: Freed) -> None:
        self._count -= freed.messages
        self._bytes -= freed.bytes
