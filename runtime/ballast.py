"""Ballast: room on the disk that is held while there is some, and let go when there is none."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

BALLAST_BYTES = 1 << 20


class Ballast:
    """A file at `path` that takes up `size_bytes`; it is made only where as much again stays free.

    Without it a full disk would keep the outbox from noting even that the fleet has a message,
    although that makes room.
    """

    def __init__(self, path: Path, size_bytes: int = BALLAST_BYTES) -> None:
        self._path = path
        self._size_bytes = size_bytes

    def hold(self) -> None:
        """Take the room up, where there is enough."""
        with contextlib.suppress(OSError):
            if self._path.exists() and self._path.stat().st_size == self._size_bytes:
                return
            status = os.statvfs(self._path.parent)
            if status.f_bavail * status.f_frsize >= 2 * self._size_bytes:
                # Written, not only made long: a hole would be no room.
                self._path.touch(mode=0o600)
                self._path.write_bytes(bytes(self._size_bytes))

    def release(self) -> bool:
        """Let the room go; whether there was any."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True
