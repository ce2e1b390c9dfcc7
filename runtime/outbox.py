"""The durable outbox: a message stays on disk until the fleet acknowledges that it has stored it.

MQTT client libraries keep their sessions in memory only, so a restart would lose what was on its
way. Delivery is at least once: `boot_id` and `seq`, which every message carries, let the fleet
drop a second copy. The box is bounded; when it is full the oldest report goes first, because a
report is one window of many while a state or an event is said once.
"""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from .errors import AgentError

REPORT = "report"
MAX_MESSAGES = 4000
MAX_BYTES = 16 << 20

_SCHEMA = """
CREATE TABLE IF NOT EXISTS message (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  kind TEXT NOT NULL,
  boot_id TEXT NOT NULL,
  seq INTEGER NOT NULL,
  payload BLOB NOT NULL,
  UNIQUE (boot_id, seq)
);
CREATE TABLE IF NOT EXISTS counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
INSERT OR IGNORE INTO counter VALUES ('dropped', 0);
"""
_VICTIM = "SELECT id FROM message ORDER BY kind != ?, id LIMIT 1"


@dataclass(frozen=True, slots=True)
class Message:
    """One message on its way: `kind` is its topic's last word, `id` grows with age's end."""

    id: int
    kind: str
    boot_id: str
    seq: int
    payload: bytes


class Outbox:
    """The box at `path`; used by one thread. A damaged file is put aside and a new box begun."""

    def __init__(
        self, path: Path, max_messages: int = MAX_MESSAGES, max_bytes: int = MAX_BYTES
    ) -> None:
        """Open or begin the box.

        Raises:
            AgentError: the disk is full, or the folder cannot be written.
        """
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        try:
            self._db = _open(path)
        except sqlite3.OperationalError as error:  # a full disk, a folder without permission
            raise AgentError(f"{path} cannot be used: {error}") from error
        except sqlite3.DatabaseError:
            path.replace(path.with_name(path.name + ".damaged"))
            for tail in ("-wal", "-shm"):
                path.with_name(path.name + tail).unlink(missing_ok=True)
            self._db = _open(path)
        row = self._db.execute("SELECT COUNT(*), TOTAL(LENGTH(payload)) FROM message").fetchone()
        self._count, self._bytes = int(row[0]), int(row[1])
        self._dropped = int(self._db.execute("SELECT value FROM counter").fetchone()[0])

    @property
    def dropped(self) -> int:
        """Messages that had to go unsent since the box was made."""
        return self._dropped

    def __len__(self) -> int:
        return self._count

    def put(self, kind: str, boot_id: str, seq: int, payload: bytes) -> None:
        """Keep a message; it is on disk when this returns. A known (boot_id, seq) is kept once."""
        with self._db:
            added = self._db.execute(
                "INSERT OR IGNORE INTO message (kind, boot_id, seq, payload) VALUES (?, ?, ?, ?)",
                (kind, boot_id, seq, payload),
            ).rowcount
            count, size = self._count + added, self._bytes + added * len(payload)
            dropped = self._dropped
            while count > self._max_messages or (size > self._max_bytes and count > 1):
                size -= self._drop_oldest()
                count -= 1
                dropped += 1
            self._db.execute("UPDATE counter SET value = ?", (dropped,))
        self._count, self._bytes, self._dropped = count, size, dropped

    def pending(self, after_id: int, limit: int) -> tuple[Message, ...]:
        """The oldest messages behind `after_id`, in the order in which they were put."""
        rows = self._db.execute(
            "SELECT id, kind, boot_id, seq, payload FROM message WHERE id > ? ORDER BY id LIMIT ?",
            (after_id, limit),
        )
        return tuple(Message(*row) for row in rows)

    def ack(self, boot_id: str, seq: int) -> int:
        """Forget a message that the fleet has; its id, 0 where there is none."""
        with self._db:
            row = self._db.execute(
                "DELETE FROM message WHERE boot_id = ? AND seq = ? RETURNING id, LENGTH(payload)",
                (boot_id, seq),
            ).fetchone()
        if row is None:
            return 0
        self._count -= 1
        self._bytes -= int(row[1])
        return int(row[0])

    def close(self) -> None:
        """Close the file; messages stay."""
        self._db.close()

    def _drop_oldest(self) -> int:
        """Remove the oldest report, or the oldest message where there is none; its bytes."""
        row = self._db.execute(
            f"DELETE FROM message WHERE id = ({_VICTIM}) RETURNING LENGTH(payload)", (REPORT,)
        ).fetchone()
        return int(row[0])


def _open(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=5.0, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.executescript(_SCHEMA)
        db.execute("SELECT COUNT(*) FROM message").fetchone()
    except sqlite3.DatabaseError:
        with contextlib.suppress(sqlite3.Error):
            db.close()
        raise
    return db
