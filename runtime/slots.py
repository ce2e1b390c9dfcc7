"""Bundle files on the device, each under its own id and never changed once written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from .files import make_folder, write_atomic
from .record import Slot

SUFFIX = ".ekb"
_CHUNK_BYTES = 1 << 20


class SlotStore:
    """The folder `slots/`: one file a bundle, written atomically. The folder may go and come."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, slot: Slot) -> Path:
        """Where the slot's bundle is."""
        return self._folder / f"{slot.bundle_id}{SUFFIX}"

    def write(self, slot: Slot, data: bytes) -> None:
        """Put a verified bundle in place; a file of that name is replaced in one rename.

        Raises:
            OSError: the disk is full or cannot be written; no half file stays.
        """
        make_folder(self._folder)
        write_atomic(self.path(slot), data)

    def holds(self, slot: Slot) -> bool:
        """Whether the slot's file is there and still has the verified hash."""
        return is_file_of(slot, self.path(slot))

    def collect(self, keep: Iterable[Slot | None]) -> None:
        """Remove every bundle that no record names, and what a power cut left half written."""
        names = {self.path(slot).name for slot in keep if slot is not None}
        for path in (*self._folder.glob(f"*{SUFFIX}"), *self._folder.glob(".*.part")):
            if path.name not in names:
                path.unlink(missing_ok=True)


def is_file_of(slot: Slot, path: Path) -> bool:
    """Whether `path` can be read and has the slot's verified hash."""
    try:
        return file_sha256(path) == slot.sha256
    except OSError:
        return False


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
