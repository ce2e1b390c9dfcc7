"""Reads blocks of the files that devices may have; the last few files stay open.

Only files below `metadata/` and `targets/` are read. Metadata is replaced in place, so a file that
is another one now is opened again.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

OPEN_FOLDERS = ("metadata", "targets")
MAX_OPEN = 32


@dataclass(frozen=True, slots=True)
class _Open:
    handle: int
    file: Path
    identity: tuple[int, int, int]  # inode, time of change, size


def resolve(repository: Path, path: str) -> Path | None:
    """The file that a device may read under this name; None for every other name.

    Nothing hidden (a half-written file is), nothing that leaves the folder, links included.
    """
    parts = PurePosixPath(path).parts
    if "\0" in path or len(parts) < 2 or parts[0] not in OPEN_FOLDERS:
        return None
    if any(part.startswith(".") for part in parts):
        return None
    try:
        base = (repository / parts[0]).resolve()
        file = (repository / path).resolve()
        return file if file.is_relative_to(base) and file.is_file() else None
    except (OSError, ValueError):  # a name that is too long, or that no file system can hold
        return None


class BlockFiles:
    """The files of one repository. Not for several threads."""

    def __init__(self, repository: Path) -> None:
        self._repository = repository
        self._open: OrderedDict[str, _Open] = OrderedDict()

    def size(self, path: str) -> int | None:
        """Bytes of a file; None where a device may not have it or it is not there."""
        found = self._find(path)
        return None if found is None else found.identity[2]

    def read(self, path: str, start: int, count: int) -> bytes | None:
        """At most `count` bytes from `start`; None as `size`."""
        found = self._find(path)
        return None if found is None else os.pread(found.handle, count, start)

    def close(self) -> None:
        """Close every file."""
        while self._open:
            os.close(self._open.popitem()[1].handle)

    def _find(self, path: str) -> _Open | None:
        known = self._open.get(path)
        if known is not None and _identity(known.file) == known.identity:
            self._open.move_to_end(path)
            return known
        if known is not None:
            os.close(self._open.pop(path).handle)
        file = resolve(self._repository, path)
        if file is None:
            return None
        try:
            handle = os.open(file, os.O_RDONLY)
        except OSError:  # it went away, or may not be read
            return None
        about = os.fstat(handle)
        opened = _Open(handle, file, (about.st_ino, about.st_mtime_ns, about.st_size))
        self._open[path] = opened
        if len(self._open) > MAX_OPEN:
            os.close(self._open.popitem(last=False)[1].handle)
        return opened


def _identity(file: Path) -> tuple[int, int, int] | None:
    try:
        about = file.stat()
    except OSError:
        return None
    return about.st_ino, about.st_mtime_ns, about.st_size
