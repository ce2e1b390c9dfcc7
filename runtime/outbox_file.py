"""The outbox's file: its tables, and how it is opened."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

JOURNAL_PAGES = 64  # of SQLite's journal before it starts from the beginning again

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
CREATE INDEX IF NOT EXISTS message_of_kind ON message (kind);
INSERT OR IGNORE INTO counter VALUES ('dropped', 0);
"""
# Columns that a box of an earlier version lacks. Nobody knows which of its messages have left.
_ADDED = {
    "sent": "INTEGER NOT NULL DEFAULT 1",  # 1: it may have left the device
    "bundle_id": "TEXT NOT NULL DEFAULT ''",  # of a report that may be merged
    "start_s": "REAL NOT NULL DEFAULT 0",
    "rich": "INTEGER NOT NULL DEFAULT 0",  # 1: a report with features' sketches
    "expires_s": "REAL NOT NULL DEFAULT 0",  # Unix seconds; 0: never
}


def lacks_room(error: sqlite3.OperationalError) -> bool:
    """Whether the disk may be full: SQLite has several words for a file that does not grow."""
    primary = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return primary in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)


def open_file(path: Path) -> sqlite3.Connection:
    """The box's database, made or brought up to this version.

    Raises:
        sqlite3.OperationalError: it cannot be written or extended.
        sqlite3.DatabaseError: it is damaged, or no database.
    """
    db = sqlite3.connect(path, timeout=5.0, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA wal_autocheckpoint = {JOURNAL_PAGES}")
        db.executescript(_SCHEMA)
        there = {row[1] for row in db.execute("PRAGMA table_info(message)")}
        for name, kind in _ADDED.items():
            if name not in there:
                db.execute(f"ALTER TABLE message ADD COLUMN {name} {kind}")
        # Met later, a rotten page would fail every step of the agent, and every update with it.
        if (found := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(found)
    except sqlite3.DatabaseError:
        with contextlib.suppress(sqlite3.Error):
            db.close()
        raise
    return db
