"""`Database`: SQLite in WAL mode, one writer at a time, and a revision that every change raises.

The revision lives in the file, so a reader sees changes of other processes too; callbacks tell
only of this process's own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import DatabaseError

from . import schema
from .errors import FleetFolderError

BUSY_TIMEOUT_S = 15.0
REVISION = "revision"


class Database:
    """Connections to one database file. Thread-safe."""

    def __init__(self, path: Path) -> None:
        """Open or create the file.

        Raises:
            FleetFolderError: it is there and no database, or cannot be written.
        """
        url = f"sqlite:///{path}"
        options: dict[str, Any] = {"connect_args": {"timeout": BUSY_TIMEOUT_S}}
        self._reader = create_engine(url, isolation_level="AUTOCOMMIT", **options)
        self._writer = create_engine(url, pool_size=1, max_overflow=0, **options)
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[int], None]] = []
        _take_write_lock_at_begin(self._writer)
        for engine in (self._reader, self._writer):
            event.listen(engine, "connect", _set_pragmas)
        try:
            with self._writer.begin() as connection:
                schema.metadata.create_all(connection)
                connection.execute(
                    insert(schema.meta).values(key=REVISION, value=0).on_conflict_do_nothing()
                )
        except DatabaseError as error:
            self.close()
            raise FleetFolderError(f"{path} cannot be used: {error.orig}") from error

    @property
    def revision(self) -> int:
        """Grows with every change, by whichever process."""
        query = select(schema.meta.c.value).where(schema.meta.c.key == REVISION)
        with self.reading() as connection:
            return int(connection.execute(query).scalar_one())

    def subscribe(self, callback: Callable[[int], None]) -> Callable[[], None]:
        """Call `callback(revision)` after each change made here, in the thread that made it.

        Returns a function that ends the subscription.
        """
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees what is committed."""
        with self._reader.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction: everything or nothing, and the revision grows by one."""
        with self._lock, self._writer.begin() as connection:
            yield connection
            row = (
                update(schema.meta)
                .where(schema.meta.c.key == REVISION)
                .values(value=schema.meta.c.value + 1)
                .returning(schema.meta.c.value)
            )
            revision = int(connection.execute(row).scalar_one())
        for callback in tuple(self._callbacks):
            callback(revision)

    def close(self) -> None:
        """Close every connection."""
        self._reader.dispose()
        self._writer.dispose()


def _set_pragmas(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def _take_write_lock_at_begin(engine: Engine) -> None:
    """BEGIN IMMEDIATE instead of sqlite3's late BEGIN, which can fail halfway when others write."""

    def connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None

    def begun(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", begun)
