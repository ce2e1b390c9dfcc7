"""The write-ahead journal: one JSON line a record, fsynced before anything is done about it.

Each line holds a whole `AgentRecord` and a CRC, so the last line that checks is the truth and a
line torn by a power cut costs nothing but itself. When the file has grown it is replaced, in one
rename, by its last line. A journal that a newer version of this software wrote is read for its
models only, and never written.
"""

from __future__ import annotations

import contextlib
import errno
import os
import zlib
from pathlib import Path

import msgspec

from .errors import JournalError
from .files import remove_parts, sync_folder, write_atomic
from .record import SCHEMA, AgentRecord, Slot

COMPACT_BYTES = 128 * 1024


class JournalLine(msgspec.Struct, frozen=True):
    """`check` is the CRC-32 of the exact bytes of `record`."""

    check: int
    record: msgspec.Raw


class _Models(msgspec.Struct, frozen=True):
    """What every schema says of models."""

    schema: int = 1
    last_known_good: Slot | None = None
    previous_good: Slot | None = None
    floor: int = 0


class Journal:
    """The agent's journal; `record` is the last one appended, None in a new journal.

    `damaged` tells that a file was there and no line of it checks: it was put aside as
    `<name>.damaged`, where the disk allowed it. `newer` tells that a newer version wrote it.
    """

    def __init__(self, path: Path, compact_bytes: int = COMPACT_BYTES) -> None:
        """Read what is there.

        Raises:
            JournalError: the file may not be read.
        """
        self._path = path
        self._compact_bytes = compact_bytes
        data = _read(path)
        self.record, self._end = last_record(data or b"")
        self.damaged = data is None or (self.record is None and b"\n" in data)
        self.newer = self.record is not None and self.record.schema > SCHEMA
        with contextlib.suppress(OSError):  # a disk that takes nothing keeps no model from running
            remove_parts(path)
            if self.damaged:
                path.replace(path.with_name(path.name + ".damaged"))

    def append(self, record: AgentRecord) -> None:
        """Make `record` the truth. Returns once it is on disk.

        Raises:
            JournalError: it could not be written; the record before it still holds.
        """
        if self.newer:
            raise JournalError(
                f"{self._path} was written by a newer version of this software: install that "
                "version again, or put the file aside to begin with the factory release"
            )
        line = encode_line(record)
        try:
            if self._end + len(line) > self._compact_bytes:
                write_atomic(self._path, line, 0o600)
                self._end = len(line)
            else:
                self._append(line)
        except OSError as error:
            raise JournalError(f"{self._path} cannot be written: {error.strerror}") from error
        self.record = record

    def _append(self, line: bytes) -> None:
        new = not self._path.exists()
        if new:
            self._end = 0  # somebody has removed the file meanwhile
        with os.fdopen(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
            file.truncate(self._end)  # a torn tail must not become part of the new line
            file.seek(self._end)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        if new:
            sync_folder(self._path.parent)
        self._end += len(line)


def encode_line(record: AgentRecord) -> bytes:
    """One line of the journal, with its newline."""
    raw = msgspec.json.encode(record)
    return msgspec.json.encode(JournalLine(check=zlib.crc32(raw), record=msgspec.Raw(raw))) + b"\n"


def last_record(data: bytes) -> tuple[AgentRecord | None, int]:
    """The last record that checks, and the offset behind its line."""
    end = len(data)
    while (end := data.rfind(b"\n", 0, end)) >= 0:
        start = data.rfind(b"\n", 0, end) + 1
        record = _decode(data[start:end])
        if record is not None:
            return record, end + 1
    return None, 0


def _decode(line: bytes) -> AgentRecord | None:
    try:
        entry = msgspec.json.decode(line, type=JournalLine)
        raw = bytes(entry.record)
        if zlib.crc32(raw) != entry.check:
            return None
        models = msgspec.json.decode(raw, type=_Models)
        if models.schema <= SCHEMA:
            return msgspec.json.decode(raw, type=AgentRecord)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return AgentRecord(
        last_known_good=models.last_known_good,
        previous_good=models.previous_good,
        floor=models.floor,
        schema=models.schema,
    )


def _read(path: Path) -> bytes | None:
    """Its bytes; None where the disk has lost them, so that the factory release runs at least."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        if error.errno == errno.EIO:
            return None
        raise JournalError(f"{path} cannot be read: {error.strerror}") from error
